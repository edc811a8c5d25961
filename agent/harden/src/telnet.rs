//! Telnet and other shells on a port: what starts them, in files. FTP and DVRIP as well, where they are to be closed.
//!
//! A starter is made harmless where it stands, by the smallest edit: a command becomes an argument of `:`, a line of a
//! table a comment, a switch its opposite.

mod outside;
mod waits;

use std::io;

use crate::edits::{Edit, Edits};
use crate::listeners::{Close, FTP_SERVERS, SHELL_SERVERS};
use crate::locate::{Form, locate};
use crate::report::{Measure, Status};
use crate::root::name_of;
use crate::shell::{self, Command, NOT, UNTIL, WHILE};
use crate::survey::{Survey, contains};

/// What is looked for.
#[derive(Debug, Clone, Copy)]
struct Target {
    /// Programs that are it.
    servers: &'static [&'static str],
    /// A script without any of these, nor one of the words that [`Target::is_hinted`] knows, has nothing to do with it.
    hints: &'static [&'static [u8]],
    /// What it is, for people.
    what: &'static str,
    /// Whether it is closed; else it is only told.
    close: bool,
    /// How many shells are to run what is looked at, one in another.
    depth: u8,
}

/// The most of these.
const MAX_DEPTH: u8 = 4;

const SHELLS: Target = Target {
    servers: SHELL_SERVERS,
    hints: &[
        b"telnet",
        b"netd",
        b"netcat",
        b"socat",
        b"tcpsvd",
        b"adbd",
        b"ttyd",
        b"shellinabox",
        b"rshd",
        b"rlogind",
        b"rexecd",
    ],
    what: "a shell on a port",
    close: true,
    depth: 0,
};
const FTP: Target = Target {
    servers: FTP_SERVERS,
    hints: &[b"ftpd"],
    what: "FTP",
    close: false,
    depth: 0,
};
/// Switches of an FTP server. What uploads by FTP has other names, and SFTP is SSH's.
const FTP_SWITCHES: &[&str] = &[
    "ftpd",
    "ftpd_enable",
    "ftpd_enabled",
    "enable_ftpd",
    "ftp_server",
    "ftpserver",
    "ftp_server_enable",
    "enable_ftp_server",
];
/// Where streamers have a switch for DVRIP.
const DVRIP_SWITCHES: &[(&str, Form)] = &[("/etc/majestic.yaml", Form::Yaml(&["netip", "enabled"]))];
/// Programs that run the program named after them.
pub(crate) const WRAPPERS: &[&str] = &[
    "busybox",
    "nohup",
    "exec",
    "setsid",
    "nice",
    "ionice",
    "env",
    "command",
    "sudo",
    "service_start",
    "daemonize",
    "chroot",
    "unshare",
];
/// Languages whose scripts are not followed.
const OTHERS: &[&[u8]] = &[b"python", b"lua", b"perl", b"php"];
/// Programs that do not start what they name.
pub(crate) const HARMLESS: &[&str] = &[
    ":",
    "[",
    "[[",
    "test",
    "pidof",
    "killall",
    "killall5",
    "pkill",
    "pgrep",
    "kill",
    "grep",
    "echo",
    "printf",
    "rm",
    "chmod",
    "chown",
    "which",
    "type",
    "ps",
    "ln",
    "cp",
    "mv",
    "cat",
    "sed",
    "awk",
    "logger",
    "log",
    "for",
    "case",
    "export",
    "unset",
    "service_stop",
    "ls",
    "touch",
    "return",
    "wait",
    "sleep",
    "local",
    "readonly",
    "rmmod",
    "iptables",
    "ip6tables",
    "nft",
    "fuser",
];
/// The comment that disables a line of a table.
const COMMENT: &str = "#lenscap: ";

/// What a command does, as far as shells on a port go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    Nothing,
    /// Starts a server; whether the script then waits for its end.
    Starts {
        waits: bool,
    },
    /// Names a server, in a way that is not understood.
    Mentions,
}

/// Looks for starters and plans to disable them.
///
/// # Errors
/// When a file that was seen cannot be read.
pub fn plan(survey: &Survey, close: Close, edits: &mut Edits<'_>) -> io::Result<()> {
    let before = edits.findings.len();
    let ftp = Target {
        close: close.ftp,
        ..FTP
    };
    let scripts = survey
        .scripts
        .iter()
        .filter(|path| edits.root().is_believed(path));
    // Anybody may write one that does nothing but wait.
    let believed = Survey {
        scripts: scripts.cloned().collect(),
        ..Survey::default()
    };
    for mut target in [SHELLS, ftp] {
        if target.close && waits::is_awaited(&target, &believed, edits)? {
            target.close = false;
            edits.awaited |= target.is_shell();
        }
        starters(&target, survey, edits)?;
    }
    dvrip(close.dvrip, edits)?;
    for path in &survey.programs {
        let text = "holds the word telnetd and may start it; only a running camera can tell";
        edits.find(Measure::Telnet, Status::Unknown, Some((path, 0)), text);
    }
    outside::outside(survey, edits)?;
    if !survey.complete {
        let text = "some files could not be looked at";
        edits.find(Measure::Telnet, Status::Unknown, None, text);
    }
    if edits.findings[before..]
        .iter()
        .all(|finding| finding.status == Status::Notice)
    {
        edits.find(
            Measure::Telnet,
            Status::Holds,
            None,
            "no file starts a shell on a port",
        );
    }
    Ok(())
}

fn starters(target: &Target, survey: &Survey, edits: &mut Edits<'_>) -> io::Result<()> {
    for path in &survey.scripts {
        script(target, path, edits)?;
        switches(target, path, edits)?;
    }
    for path in &survey.settings {
        match name_of(path) {
            "inittab" => table(target, path, "at boot", edits)?,
            "inetd.conf" => table(target, path, "for whoever connects", edits)?,
            "crontab" => table(target, path, "at times", edits)?,
            _ if path.contains("/crontabs/") || path.contains("/cron.d/") => {
                table(target, path, "at times", edits)?;
            }
            "mdev.conf" => table(target, path, "with a device", edits)?,
            name if is_events(name) => table(target, path, "when something happens", edits)?,
            _ if is_of_network(path) => table(target, path, "with the network", edits)?,
            _ => {
                switches(target, path, edits)?;
                names(target, path, edits)?;
            }
        }
    }
    Ok(())
}

/// Rules of udev, and Android's init.
fn is_events(name: &str) -> bool {
    name.ends_with(".rules") || name.ends_with(".rc")
}

/// Tables of ifupdown.
fn is_of_network(path: &str) -> bool {
    path.contains("/network/interfaces")
}

/// A finding about a starter, and whether it is edited away.
fn found(target: &Target, path: &str, line: u32, what: &str, edits: &mut Edits<'_>) {
    let status = if target.close {
        Status::Planned
    } else {
        Status::Notice
    };
    edits.find(Measure::Telnet, status, Some((path, line)), what);
}

/// Commands of a script.
fn script(target: &Target, path: &str, edits: &mut Edits<'_>) -> io::Result<()> {
    let Some(mut text) = edits.read(path)? else {
        return Ok(());
    };
    if !target.is_hinted(&text) {
        return Ok(());
    }
    let first = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
    if first.starts_with(b"#!") && OTHERS.iter().any(|other| contains(first, other)) {
        let named = |server: &&str| contains(&text, server.as_bytes());
        if target.servers.iter().any(named) {
            mentioned(target, path, 1, &String::from_utf8_lossy(first), edits);
        }
        return Ok(());
    }
    let mut changed = false;
    let shell::Script { commands, inner, cut } = shell::scan(&text);
    let run = run_words(&commands);
    // From the end, so that earlier places stay where they are.
    for (at, command) in commands.iter().enumerate().rev() {
        let words = command.words.join(" ");
        let mut effect = effect(target, &command.plain, command.background);
        if effect == Effect::Nothing
            && (may_start(target, command)
                || feeds_shell(target, command, commands.get(at + 1))
                || feeds_script(target, command, &run))
        {
            effect = Effect::Mentions;
        }
        match effect {
            Effect::Nothing => {}
            Effect::Starts { waits } => {
                if target.close {
                    // A loop around it would otherwise spin, unless this ends it; without one the boot may wait for it.
                    let ends = [UNTIL, WHILE | NOT].contains(&(command.lead & (WHILE | UNTIL | NOT)));
                    let spins = waits && command.loops != 0 && !ends;
                    let instead: &[u8] = if spins { b"sleep 86400; : " } else { b": " };
                    text.splice(command.start..command.start, instead.iter().copied());
                    changed = true;
                }
                let what = format!("starts {}: `{words}`", target.what);
                found(target, path, command.line, &what, edits);
            }
            Effect::Mentions => mentioned(target, path, command.line, &words, edits),
        }
    }
    for command in inner {
        if may_start(target, &command) {
            mentioned(target, path, command.line, &command.words.join(" "), edits);
        }
    }
    if cut && target.close {
        let what = "is too long or too tangled to be followed to its end";
        edits.find(Measure::Telnet, Status::Unknown, Some((path, 0)), what);
    }
    if changed {
        let why = format!("commands that start {} do nothing", target.what);
        edits.change(path, text, false, &why)?;
    }
    Ok(())
}

/// A server is named in a way that is not understood. Where it may stay open, it may be started in any way.
fn mentioned(target: &Target, path: &str, line: u32, words: &str, edits: &mut Edits<'_>) {
    if !target.close {
        return;
    }
    let server = target.servers.first().copied().unwrap_or_default();
    let what = format!("names {server} in a way that is not understood: `{words}`");
    edits.find(Measure::Telnet, Status::Unknown, Some((path, line)), what);
}

/// Whether it may start a server, by any value of its variables.
fn may_start(target: &Target, command: &Command) -> bool {
    let words: Vec<&str> = command.meant.iter().map(String::as_str).collect();
    // Nothing of what a variable may be is passed over for being harmless.
    let any = command.plain.first().is_some_and(|first| first.contains('$'));
    effect(target, &command.meant, command.background) != Effect::Nothing
        || any && names_server(target, &words)
}

/// Whether a command's words go to a shell that starts a server, or it connects a shell with the network.
fn feeds_shell(target: &Target, command: &Command, next: Option<&Command>) -> bool {
    let Some(next) = next.filter(|_| command.piped) else {
        return false;
    };
    let shell = |command: &Command| {
        let mut words = command.words.iter();
        let named = words
            .next()
            .is_some_and(|first| matches!(name_of(first), "sh" | "ash" | "bash"));
        named && words.all(|word| word.starts_with('-'))
    };
    let listens = |command: &Command| {
        let words: Vec<&str> = command.words.iter().map(String::as_str).collect();
        words
            .split_first()
            .is_some_and(|(name, words)| nc_listens(name, words))
    };
    if target.is_shell() && (shell(command) && listens(next) || listens(command) && shell(next)) {
        return true;
    }
    let said = command.meant.get(1..).unwrap_or_default().join(" ");
    shell(next) && runs_server(target, &said) != Effect::Nothing
}

/// The words of a script that a shell may run, sorted: programs, and what shells are given.
fn run_words(all: &[Command]) -> Vec<&str> {
    let mut run = Vec::new();
    for Command { words, .. } in all {
        let is_shell = |first: &String| matches!(name_of(first), "sh" | "ash" | "bash" | "." | "source");
        let count = if words.first().is_some_and(is_shell) {
            words.len()
        } else {
            1
        };
        run.extend(words.iter().take(count).map(String::as_str));
    }
    run.sort_unstable();
    run
}

/// Whether a command says what starts a server into a file that the same script runs.
fn feeds_script(target: &Target, command: &Command, run: &[&str]) -> bool {
    let is_run = |file: &String| !file.is_empty() && run.binary_search(&file.as_str()).is_ok();
    let said = || {
        let said = command.meant.get(1..).unwrap_or_default();
        said.join(" ").replace("\\n", "\n")
    };
    matches!(command.words.first().map(String::as_str), Some("echo" | "printf"))
        && command.output.iter().any(is_run)
        && runs_server(target, &said()) != Effect::Nothing
}

/// What a word is that asks for a program's place, such as `$(which telnetd)`.
fn resolved(word: &str) -> &str {
    let inside = word
        .strip_prefix("$(")
        .and_then(|word| word.strip_suffix(')'))
        .or_else(|| word.strip_prefix('`')?.strip_suffix('`'));
    let mut words = inside.unwrap_or_default().split_ascii_whitespace();
    let asks = match words.next() {
        Some("which") => true,
        Some("command") => words.next() == Some("-v"),
        Some(_) | None => false,
    };
    match (words.next(), words.next()) {
        (Some(program), None) if asks && !program.contains([';', '|', '&', '$']) => program,
        _ => word,
    }
}

fn effect(target: &Target, words: &[String], background: bool) -> Effect {
    let words: Vec<&str> = words.iter().map(|word| resolved(word)).collect();
    let mut rest = words.as_slice();
    let waits = |words: &[&str]| !background && words.contains(&"-F");
    while let [first, after @ ..] = rest {
        let name = name_of(first);
        // What runs within it says what it is.
        if first.contains(['(', '`']) && target.servers.iter().any(|server| first.contains(server)) {
            return Effect::Mentions;
        }
        if target.servers.contains(&name) {
            return Effect::Starts { waits: waits(after) };
        }
        match name {
            "procd_set_param" if after.first() == Some(&"command") => {
                rest = after.get(1..).unwrap_or_default();
                return if names_server(target, rest) {
                    Effect::Starts { waits: false }
                } else {
                    Effect::Nothing
                };
            }
            // These go to the background by themselves, unless they are told not to.
            "start-stop-daemon" | "inetd" | "stunnel" => {
                let starts = !stops(after) && names_server(target, after);
                return if starts {
                    let own = after.split(|word| *word == "--").next().unwrap_or_default();
                    let leaves = |word: &&str| *word == "--background" || short_flag(word, 'b');
                    Effect::Starts {
                        waits: waits(after) && !own.iter().any(leaves) || !background && own.contains(&"-f"),
                    }
                } else {
                    Effect::Nothing
                };
            }
            "tcpsvd" | "socat" if names_server(target, after) => {
                return Effect::Starts { waits: !background };
            }
            _ if target.is_shell() && relays_shell(name, after) => {
                return Effect::Starts { waits: !background };
            }
            "sh" | "ash" | "bash" | "su" | "eval" | "script" | "alias" => {
                return given(target, name, after);
            }
            // Asks where it is.
            "command" if after.first().is_some_and(|word| short_flag(word, 'v')) => return Effect::Nothing,
            // By another name it may be started anywhere.
            "cp" | "ln" | "mv"
                if after
                    .split_last()
                    .is_some_and(|(_, from)| names_server(target, from)) =>
            {
                return Effect::Mentions;
            }
            _ if HARMLESS.contains(&name) => return Effect::Nothing,
            _ if WRAPPERS.contains(&name) => {
                let options = after.iter().take_while(|word| is_option(word)).count();
                rest = after.get(options..).unwrap_or_default();
            }
            _ if names_server(target, after) => return Effect::Mentions,
            _ => return Effect::Nothing,
        }
    }
    Effect::Nothing
}

/// What a shell does that is given these words, or `alias`.
fn given(target: &Target, name: &str, words: &[&str]) -> Effect {
    let texts = words.iter().map(|word| match word.split_once('=') {
        value if name == "alias" => value.map_or("", |(_, value)| value),
        _ => word,
    });
    let mut effects = texts.map(|text| runs_server(target, text));
    match effects.find(|effect| *effect != Effect::Nothing) {
        Some(found) if name != "alias" => found,
        None if name == "alias" || !names_server(target, words) => Effect::Nothing,
        _ => Effect::Mentions,
    }
}

impl Target {
    fn is_shell(&self) -> bool {
        self.servers == SHELL_SERVERS
    }

    fn is_hinted(&self, text: &[u8]) -> bool {
        let mut words = text.split(|byte| !byte.is_ascii_alphabetic());
        self.hints.iter().any(|hint| contains(text, hint))
            || self.is_shell() && words.any(|word| matches!(word, b"nc" | b"ncat"))
    }
}

fn names_server(target: &Target, words: &[&str]) -> bool {
    words.iter().any(|word| target.servers.contains(&name_of(word)))
}

/// What a text does that a shell is to run. Where that cannot be followed, the text is not understood.
fn runs_server(target: &Target, text: &str) -> Effect {
    if !target.is_hinted(text.as_bytes()) {
        return Effect::Nothing;
    }
    if target.depth == MAX_DEPTH {
        return Effect::Mentions;
    }
    let target = Target {
        depth: target.depth + 1,
        ..*target
    };
    let shell::Script { commands, inner, cut } = shell::scan(text.as_bytes());
    let mut all = commands.iter().chain(&inner);
    if all.any(|command| may_start(&target, command)) {
        Effect::Starts { waits: false }
    } else if cut {
        Effect::Mentions
    } else {
        Effect::Nothing
    }
}

/// Whether a program that connects what it is told to the network gives a shell to whoever comes.
pub(crate) fn relays_shell(name: &str, words: &[&str]) -> bool {
    let mut all = words.iter();
    match name {
        _ if nc_listens(name, words) => all.any(|word| runs_shell(word.split(' '))),
        // Two addresses, such as `TCP-LISTEN:23,fork` and `EXEC:/bin/sh -i,pty`.
        "socat" => {
            let listens = |word: &&str| {
                let word = word.to_ascii_lowercase();
                !word.starts_with("unix") && (word.contains("-listen:") || word.contains("-l:"))
            };
            let program = |word: &str| {
                let (_, program) = word.split_once(':')?;
                program.split(',').next().map(str::to_owned)
            };
            let shell = |word: &&str| program(word).is_some_and(|program| runs_shell(program.split(' ')));
            words.iter().any(listens) && all.any(shell)
        }
        "tcpsvd" => runs_shell(all.copied()),
        _ => false,
    }
}

fn nc_listens(name: &str, words: &[&str]) -> bool {
    let listens = |word: &&str| short_flag(word, 'l') || *word == "--listen";
    matches!(name_of(name), "nc" | "ncat" | "netcat") && words.iter().any(listens)
}

/// Whether there is a shell that is given no script: with one it serves what that does.
fn runs_shell<'a>(mut words: impl Iterator<Item = &'a str>) -> bool {
    let quotes = ['"', '\''];
    while let Some(word) = words.next() {
        match name_of(word.trim_matches(quotes)) {
            "login" => return true,
            "sh" | "ash" | "bash" => {
                return words
                    .next()
                    .is_none_or(|next| next.starts_with('-') && !short_flag(next, 'c'));
            }
            _ => {}
        }
    }
    false
}

/// Whether a word behind one of [`WRAPPERS`] is for that.
pub(crate) fn is_option(word: &str) -> bool {
    matches!(word.bytes().next(), Some(b'-' | b'0'..=b'9')) || word.contains('=')
}

/// Whether these words tell `start-stop-daemon` to stop something.
pub(crate) fn stops<T: AsRef<str>>(words: &[T]) -> bool {
    // What follows `--` is for what it starts.
    let mut words = words.iter().map(AsRef::as_ref).take_while(|word| *word != "--");
    words.any(|word| word == "--stop" || short_flag(word, 'K'))
}

fn short_flag(word: &str, letter: char) -> bool {
    word.strip_prefix('-')
        .is_some_and(|flags| !flags.starts_with('-') && flags.contains(letter))
}

/// Lines of inittab, inetd.conf, crontabs and the like.
fn table(target: &Target, path: &str, when: &str, edits: &mut Edits<'_>) -> io::Result<()> {
    let Some(text) = edits.read(path)? else {
        return Ok(());
    };
    let mut out = Vec::with_capacity(text.len() + 32);
    for (line, number) in text.split_inclusive(|byte| *byte == b'\n').zip(1..) {
        let readable = String::from_utf8_lossy(line);
        if readable.trim_start().starts_with('#') {
            out.extend_from_slice(line);
            continue;
        }
        let several = readable.contains([';', '&']);
        let names = |anyhow: bool| {
            let ends_word = |c: char| match c {
                ':' | ';' => true,
                '\'' | '"' | '|' => anyhow || !several,
                '/' | '.' | '_' | '-' => false,
                c if anyhow => !c.is_ascii_alphanumeric(),
                c => c.is_whitespace(),
            };
            let words: Vec<&str> = readable.split(ends_word).collect();
            names_server(target, &words)
        };
        // inetd starts what the seventh field begins, for the service that the first names.
        let served = || {
            let mut words = readable.split_whitespace();
            let service = words.next().and_then(|word| word.rsplit(':').next());
            name_of(path) == "inetd.conf"
                && (matches!(service, Some("telnet" | "23" | "shell" | "login" | "exec"))
                    || runs_shell(words.skip(5)))
        };
        let relays = target.is_shell() && (line_relays_shell(&readable) || served());
        let starts = relays || names(false);
        // The rest of the line may be what the camera is there for.
        let stays = match name_of(path) {
            "inittab" => several,
            "mdev.conf" => true,
            name if is_events(name) => true,
            _ => is_of_network(path) && readable.contains([';', '&', '|', '\\']),
        };
        if starts && !(target.close && stays) {
            if target.close {
                out.extend_from_slice(COMMENT.as_bytes());
            }
            let text = format!("starts {} {when}: `{}`", target.what, readable.trim());
            found(target, path, number, &text, edits);
        } else if starts || names(true) {
            mentioned(target, path, number, readable.trim(), edits);
        }
        out.extend_from_slice(line);
    }
    if out != text {
        let why = format!("lines that start {} are comments", target.what);
        edits.change(path, out, false, &why)?;
    }
    Ok(())
}

/// How many lines a change takes out of inetd's table.
#[must_use]
pub fn inetd_lines((path, edit): (&str, &Edit)) -> usize {
    let ours = |text: &[u8]| {
        let lines = text.split(|byte| *byte == b'\n');
        lines.filter(|line| line.starts_with(COMMENT.as_bytes())).count()
    };
    if name_of(path) != "inetd.conf" {
        return 0;
    }
    let before = edit.original.as_deref().map_or(0, ours);
    ours(&edit.contents).saturating_sub(before)
}

/// Whether a change puts lines of init's table in comments, and does nothing else: of what it reads anew, it would start
/// one beside the other.
#[must_use]
pub fn is_inittab((path, edit): (&str, &Edit)) -> bool {
    let bare = |text: &[u8]| String::from_utf8_lossy(text).replace(COMMENT, "");
    let before = edit.original.as_deref().unwrap_or_default();
    name_of(path) == "inittab" && bare(before) == bare(&edit.contents)
}

/// The same for a line of a table, where the program may follow a colon.
fn line_relays_shell(line: &str) -> bool {
    let words: Vec<&str> = line.split(|c: char| c.is_whitespace() || c == ';').collect();
    let relays = |(at, word): (usize, &&str)| {
        let name = name_of(word.rsplit(':').next().unwrap_or_default());
        relays_shell(name, words.get(at + 1..).unwrap_or_default())
    };
    words.iter().enumerate().any(relays)
}

/// Settings such as `TELNETD=yes`.
fn switches(target: &Target, path: &str, edits: &mut Edits<'_>) -> io::Result<()> {
    let Some(mut text) = edits.read(path)? else {
        return Ok(());
    };
    let mut places = Vec::new();
    let mut start = 0;
    for (line, number) in text.split_inclusive(|byte| *byte == b'\n').zip(1u32..) {
        if let Some((range, off)) = switch(target, line) {
            places.push((start + range.start..start + range.end, off, number));
        }
        start += line.len();
    }
    let name = if target.is_shell() { "telnet" } else { target.what };
    for (range, off, number) in places.iter().rev() {
        text.splice(range.clone(), off.bytes());
        found(target, path, *number, &format!("switches {name} on"), edits);
    }
    if target.close && !places.is_empty() {
        edits.change(path, text, false, &format!("{name} is switched off"))?;
    }
    Ok(())
}

/// Settings such as `DAEMON=/usr/sbin/telnetd`: a script that reads them may start it, by the setting's name alone; and
/// services of xinetd and systemd.
fn names(target: &Target, path: &str, edits: &mut Edits<'_>) -> io::Result<()> {
    let text = edits
        .read(path)?
        .filter(|_| target.is_shell())
        .unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let xinetd = path.contains("/xinetd.");
    for (line, number) in text.lines().zip(1..) {
        let value = line.split_once('=').map_or("", |(_, value)| value);
        let value = if xinetd { line } else { value };
        let words: Vec<&str> = value
            .split(|c: char| c.is_whitespace() || matches!(c, '"' | '\''))
            .collect();
        let shell = |word: &&str| matches!(name_of(word), "telnet" | "login" | "sh" | "ash" | "bash");
        let socket = line.starts_with("ListenStream=") && value.rsplit(':').next() == Some("23");
        let named = names_server(target, &words) || socket || xinetd && words.iter().any(shell);
        if !line.trim_start().starts_with(['#', ';']) && named {
            let what = format!("names a program that gives {}, for whoever reads it", target.what);
            edits.find(Measure::Telnet, Status::Unknown, Some((path, number)), what);
        }
    }
    Ok(())
}

/// Settings of streamers that speak DVRIP themselves.
fn dvrip(close: bool, edits: &mut Edits<'_>) -> io::Result<()> {
    for (path, form) in DVRIP_SWITCHES {
        let Some(mut text) = edits.read(path)? else {
            continue;
        };
        let on =
            |place: &core::ops::Range<usize>| text.get(place.clone()).is_some_and(|value| value == b"true");
        let Some(place) = locate(&text, *form).into_iter().find(on) else {
            continue;
        };
        let target = Target { close, ..FTP };
        found(&target, path, 0, "switches DVRIP on", edits);
        if close {
            text.splice(place, *b"false");
            edits.change(path, text, false, "DVRIP is switched off")?;
        }
    }
    Ok(())
}

/// The place of a switch's value in a line, and what stands for off.
fn switch(target: &Target, line: &[u8]) -> Option<(core::ops::Range<usize>, &'static str)> {
    let text = str::from_utf8(line).ok()?;
    let (name, value) = text.split_once('=')?;
    let key = name
        .trim()
        .trim_start_matches("export ")
        .trim()
        .to_ascii_lowercase();
    let plain = key
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'));
    let known = if target.is_shell() {
        key.contains("telnet") && !key.contains("disable") && !key.contains("no_")
    } else {
        FTP_SWITCHES.contains(&key.as_str())
    };
    if !plain || !known {
        return None;
    }
    let value = value.trim_end();
    let inner = value.trim_start().trim_matches(|c| c == '"' || c == '\'');
    let off = match inner {
        "y" => "n",
        "yes" => "no",
        "YES" => "NO",
        "Yes" => "No",
        "1" => "0",
        "true" => "false",
        "TRUE" => "FALSE",
        "on" => "off",
        "ON" => "OFF",
        "enable" => "disable",
        "enabled" => "disabled",
        _ => return None,
    };
    let start = name.len() + 1 + value.find(inner)?;
    Some((start..start + inner.len(), off))
}

#[cfg(test)]
mod tests;
