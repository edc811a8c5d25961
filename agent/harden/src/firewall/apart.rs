//! Where nothing filters: a streamer that lives in a network namespace of its own, which has no way out but the one that
//! `lenscap apart` lends it. Only the start is planned here.

use std::io;
use std::path::Path;

use super::STARTS_APART;
use crate::edits::Edits;
use crate::listeners;
use crate::report::{Measure, Status};
use crate::root::{Root, name_of};
use crate::shell::{self, Command};
use crate::survey::{Survey, contains};
use crate::telnet::{HARMLESS, stops};

/// What starts a program in that network. It is printed, and so put before a command, only where it can be had: without
/// this program, or in a kernel without namespaces, the streamer starts as ever.
pub const START: &str = "/usr/sbin/lenscap apart";
const PREFIX: &str = "$(/usr/sbin/lenscap apart 2>/dev/null) ";
/// Programs that may stand before the streamer. What the shell itself does, or a function, cannot be started anew.
const BEFORE: &[&str] = &[
    "start-stop-daemon",
    "nohup",
    "setsid",
    "nice",
    "ionice",
    "env",
    "busybox",
];
const EXEC: &[u8] = b"exec ";
/// What procd starts: it gets words, which the start script's shell has made.
const PROCD: [&str; 2] = ["procd_set_param", "command"];
/// What procd starts in a jail finds no `/proc` there.
const JAIL: &[u8] = b"procd_add_jail";
/// What init starts by itself. Of its commands BusyBox has a shell start those with any of what a shell does something
/// about, so with a `$`, by `exec`; and System V's init too, which takes 127 bytes.
const INITTAB: &str = "/etc/inittab";
const STARTED: &[&str] = &[
    "respawn", "once", "wait", "sysinit", "boot", "bootwait", "askfirst",
];
const MAX_COMMAND_BYTES: usize = 127;
/// The most processes that are looked at.
const MAX_PROCESSES: usize = 4096;

/// Plans to start the streamer there. Ports of other programs stay open, and nothing holds up what goes out: this is no
/// firewall.
///
/// # Errors
/// When a file that was seen cannot be read.
pub fn apart(edits: &mut Edits<'_>, survey: &Survey, streamer: &Path) -> io::Result<()> {
    let streamer = streamer.to_str().unwrap_or_default();
    let (mut planned, mut done) = (false, false);
    let inittab = survey.settings.iter().filter(|path| *path == INITTAB);
    for path in survey.scripts.iter().chain(inittab) {
        let Some(mut text) = edits.read(path)? else {
            continue;
        };
        let before = text.len();
        let commands = if path == INITTAB {
            of_init(&text)
        } else {
            shell::commands(&text)
        };
        for command in commands.iter().rev() {
            let found = if path == INITTAB {
                by_init(&text, command, streamer)
            } else {
                start(&text, command, streamer)
            };
            match found {
                Start::Other => {}
                Start::Apart => done = true,
                Start::At(place) => {
                    text.splice(place..place, PREFIX.bytes());
                    find(
                        edits,
                        Status::Planned,
                        path,
                        command,
                        "starts the streamer, which will live in a network of its own from its next start on",
                    );
                }
                Start::Strange => find(
                    edits,
                    Status::Unknown,
                    path,
                    command,
                    "names the streamer in a way that is not understood",
                ),
            }
        }
        if text.len() != before {
            planned = true;
            edits.change(path, text, false, STARTS_APART)?;
        }
    }
    if planned {
        return Ok(());
    }
    let (status, what) = if done {
        judge(edits.root(), streamer)
    } else {
        (Status::Fails, "no script is known to start it")
    };
    edits.find(Measure::Firewall, status, None, format!("{streamer}: {what}"));
    Ok(())
}

fn find(edits: &mut Edits<'_>, status: Status, path: &str, command: &Command, what: &str) {
    let text = format!("{what}: `{}`", command.words.join(" "));
    edits.find(Measure::Firewall, status, Some((path, command.line)), text);
}

enum Start {
    /// Starts something else, or nothing.
    Other,
    /// Starts it there already.
    Apart,
    /// Starts it; what changes that belongs here.
    At(usize),
    Strange,
}

/// The commands of `inittab`: `id:runlevels:action:command`, each for itself and without what follows in its line.
fn of_init(text: &[u8]) -> Vec<Command> {
    let mut commands = Vec::new();
    let mut at = 0;
    for (number, line) in (1..).zip(text.split_inclusive(|byte| *byte == b'\n')) {
        let fields: Vec<&[u8]> = line.splitn(4, |byte| *byte == b':').collect();
        if let [_, _, action, command] = fields.as_slice()
            && !line.starts_with(b"#")
            && STARTED.iter().any(|known| known.as_bytes() == *action)
        {
            let start = at + line.len() - command.len();
            let first = shell::commands(command).into_iter().next();
            commands.extend(first.map(|first| Command {
                start: start + first.start,
                line: number,
                ..first
            }));
        }
        at += line.len();
    }
    commands
}

/// The same for what init starts.
fn by_init(text: &[u8], command: &Command, streamer: &str) -> Start {
    let rest = text.get(command.start..).unwrap_or_default();
    let length = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
    let starts_a_field = text
        .get(..command.start)
        .is_some_and(|before| before.ends_with(b":"));
    match start(text, command, streamer) {
        Start::At(_) if length + PREFIX.len() > MAX_COMMAND_BYTES || !starts_a_field => Start::Strange,
        found => found,
    }
}

/// Where the words begin that procd starts.
fn by_procd(text: &[u8], command: &Command) -> Option<usize> {
    let mut at = command.start;
    for word in PROCD {
        let rest = text.get(at..)?.strip_prefix(word.as_bytes())?;
        let blanks = rest
            .iter()
            .take_while(|byte| matches!(byte, b' ' | b'\t'))
            .count();
        if blanks == 0 {
            return None;
        }
        at += word.len() + blanks;
    }
    Some(at)
}

fn start(text: &[u8], command: &Command, streamer: &str) -> Start {
    let is_it = |word: &String| word == streamer || word.as_str() == name_of(streamer);
    let Some(first) = command.words.first().filter(|_| command.words.iter().any(is_it)) else {
        return Start::Other;
    };
    // It may stand behind `exec`.
    if command.words.iter().any(|word| word.contains(START)) {
        return Start::Apart;
    }
    let raw = text.get(command.start..).unwrap_or_default();
    let end = raw.iter().position(u8::is_ascii_whitespace).unwrap_or(raw.len());
    let name = name_of(first);
    if HARMLESS.contains(&name) || name == "start-stop-daemon" && stops(&command.words) {
        Start::Other
    } else if let [set, what, first, ..] = command.words.as_slice()
        && [set, what] == PROCD
    {
        let known = is_it(first) || BEFORE.contains(&name_of(first));
        let place = by_procd(text, command).filter(|_| known && !contains(text, JAIL));
        place.map_or(Start::Strange, Start::At)
    } else if raw.starts_with(EXEC) {
        Start::At(command.start + EXEC.len())
    } else if raw.iter().take(end).any(|byte| *byte == b'=') {
        // An assignment behind a command's name is none.
        Start::Strange
    } else if is_it(first) || BEFORE.contains(&name) {
        Start::At(command.start)
    } else {
        Start::Strange
    }
}

/// Whether the streamer that runs now is there, and reached.
fn judge(root: &Root, streamer: &str) -> (Status, &'static str) {
    let ours = root.link("/proc/self/ns/net").ok();
    let (mut running, mut outside) = (false, false);
    for entry in root.list("/proc").unwrap_or_default().iter().take(MAX_PROCESSES) {
        let folder = format!("/proc/{}", entry.name);
        if root
            .link(&format!("{folder}/exe"))
            .is_ok_and(|exe| exe == streamer)
        {
            running = true;
            outside |= root.link(&format!("{folder}/ns/net")).ok() == ours;
        }
    }
    let listeners = listeners::read(root).unwrap_or_default();
    if !running {
        (Status::Unknown, "it does not run")
    } else if outside {
        (
            Status::Fails,
            "it still runs in the camera's own network, until it starts again",
        )
    } else if listeners.iter().any(|listener| listener.loopback) {
        (
            Status::Holds,
            "it lives in a network of its own, reached over the loopback interface alone",
        )
    } else {
        (
            Status::Fails,
            "nothing leads to the network that it lives in: start it again",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    const STREAMER: &str = "/usr/bin/majestic";

    fn planned(script: &str) -> (String, Vec<Status>) {
        planned_in("/etc/init.d/S95majestic", script)
    }

    fn planned_in(name: &str, script: &str) -> (String, Vec<Status>) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name.trim_start_matches('/'));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, script).unwrap();
        let root = Root::tree(dir.path()).unwrap();
        let survey = Survey::take(&root, "/etc/lenscap");
        let mut edits = Edits::new(&root);
        apart(&mut edits, &survey, Path::new(STREAMER)).unwrap();
        let text = edits.read(name).unwrap().unwrap();
        let statuses = edits.findings.iter().map(|finding| finding.status).collect();
        (String::from_utf8(text).unwrap(), statuses)
    }

    #[test]
    fn the_streamers_start_is_found_and_no_more() {
        for (before, after) in [
            ("/usr/bin/majestic -s &\n", "@/usr/bin/majestic -s &\n"),
            ("majestic &", "@majestic &"),
            ("exec majestic\n", "exec @majestic\n"),
            (
                "if true; then nohup majestic & fi",
                "if true; then @nohup majestic & fi",
            ),
            (
                "D=/usr/bin/majestic\nstart-stop-daemon -b -S -x $D\nstart-stop-daemon -K -x $D\n",
                "D=/usr/bin/majestic\n@start-stop-daemon -b -S -x $D\nstart-stop-daemon -K -x $D\n",
            ),
            (
                "pidof majestic || majestic\nkillall majestic\n",
                "pidof majestic || @majestic\nkillall majestic\n",
            ),
        ] {
            let after = after.replace('@', PREFIX);
            let (text, statuses) = planned(before);
            assert_eq!(
                (text.as_str(), statuses.as_slice()),
                (after.as_str(), &[Status::Planned][..])
            );
            // Once more it stays: now it is to be seen running.
            let (again, statuses) = planned(&after);
            assert_eq!(
                (again.as_str(), statuses.as_slice()),
                (after.as_str(), &[Status::Unknown][..])
            );
        }
        for strange in ["A=b majestic &\n", "service_start majestic\n"] {
            let (text, statuses) = planned(strange);
            assert_eq!(
                (text.as_str(), statuses.as_slice()),
                (strange, &[Status::Unknown, Status::Fails][..])
            );
        }
        assert_eq!(planned("killall majestic\n").1, [Status::Fails]);
    }

    /// Words as procd gets them, from a script that runs as `rc.common` runs it, where this program has a network to offer
    /// and where it is not there.
    fn given_to_procd(script: &str, offers: bool) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lenscap");
        if offers {
            fs::write(&path, "#!/bin/sh\necho /usr/sbin/lenscap apart\n").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let text = format!(
            "procd_open_instance() {{ :; }}\nprocd_close_instance() {{ :; }}\n\
             procd_set_param() {{ [ \"$1\" != command ] || {{ shift; printf '%s\\n' \"$@\"; }}; }}\n{}\nstart_service\n",
            script.replace("/usr/sbin/lenscap", path.to_str().unwrap())
        );
        let output = std::process::Command::new("sh")
            .args(["-c", &text])
            .output()
            .unwrap();
        let words = String::from_utf8(output.stdout).unwrap();
        words.lines().map(str::to_owned).collect()
    }

    #[test]
    fn what_procd_starts_is_found() {
        let script = |command: &str, more: &str| {
            format!(
                "#!/bin/sh /etc/rc.common\nUSE_PROCD=1\nPROG=/usr/bin/majestic\nstart_service() {{\n\tprocd_open_instance\n\
                 \tprocd_set_param command {command}\n\tprocd_set_param respawn\n{more}\tprocd_close_instance\n}}\n"
            )
        };
        for command in [
            "\"$PROG\" -c '/etc/a b'",
            "/usr/bin/majestic -c '/etc/a b'",
            "nice -n 5 majestic",
        ] {
            let (text, statuses) = planned(&script(command, ""));
            let wanted = script(&format!("{PREFIX}{command}"), "");
            assert_eq!(
                (text.as_str(), statuses.as_slice()),
                (wanted.as_str(), &[Status::Planned][..])
            );
            assert_eq!(planned(&text), (text.clone(), vec![Status::Unknown]), "once more");
            let before = given_to_procd(&script(command, ""), false);
            assert!(before.len() > 2, "{before:?}");
            // Where it cannot be had, nothing is different.
            assert_eq!(given_to_procd(&text, false), before);
            let apart = [vec!["/usr/sbin/lenscap".to_owned(), "apart".to_owned()], before].concat();
            assert_eq!(given_to_procd(&text, true), apart);
        }
        let jailed = script("\"$PROG\"", "\tprocd_add_jail majestic log\n");
        for strange in [
            jailed,
            script("/bin/sh -c majestic", ""),
            script("\"$PROG\"", "").replace("procd_set_param", "procd_append_param"),
        ] {
            let (text, statuses) = planned(&strange);
            assert_eq!(text, strange);
            // The jail is told too.
            assert!(
                statuses.starts_with(&[Status::Unknown]) && statuses.ends_with(&[Status::Fails]),
                "{statuses:?}"
            );
        }
    }

    #[test]
    fn what_init_starts_is_found() {
        for (before, after) in [
            (
                "::sysinit:/etc/init.d/rcS\n::respawn:/usr/bin/majestic -s\n::respawn:/sbin/getty ttyS0\n",
                "::sysinit:/etc/init.d/rcS\n::respawn:@/usr/bin/majestic -s\n::respawn:/sbin/getty ttyS0\n",
            ),
            ("null::once:majestic", "null::once:@majestic"),
            (
                "m:345:respawn:nice -n -5 /usr/bin/majestic >/dev/null 2>&1\n",
                "m:345:respawn:@nice -n -5 /usr/bin/majestic >/dev/null 2>&1\n",
            ),
        ] {
            let after = after.replace('@', PREFIX);
            assert_eq!(
                planned_in(INITTAB, before),
                (after.clone(), vec![Status::Planned])
            );
            assert_eq!(
                planned_in(INITTAB, &after),
                (after, vec![Status::Unknown]),
                "once more"
            );
        }
        let long = format!("::respawn:majestic -c {}\n", "x".repeat(80));
        for strange in [
            "::respawn:-majestic\n",
            "::respawn:/bin/sh -c majestic\n",
            "::respawn: majestic\n",
            "::respawn:A=1 majestic\n",
            &long,
        ] {
            let (text, statuses) = planned_in(INITTAB, strange);
            assert_eq!(text, strange);
            assert_eq!(statuses.last(), Some(&Status::Fails), "{strange}: {statuses:?}");
        }
        for other in [
            "#::respawn:majestic\n",
            "::shutdown:killall majestic\n",
            "majestic\n",
            ":::\n",
            "",
        ] {
            assert_eq!(
                planned_in(INITTAB, other),
                (other.to_owned(), vec![Status::Fails])
            );
        }
    }

    #[test]
    fn without_this_program_the_script_does_what_it_did() {
        for script in ["echo started\n", "exec echo started\n"] {
            let (text, _) = planned(&script.replace("echo", "majestic"));
            let text = text.replace("majestic", "echo");
            let output = std::process::Command::new("sh")
                .args(["-c", &text])
                .output()
                .unwrap();
            assert_eq!(String::from_utf8_lossy(&output.stdout), "started\n", "{text}");
        }
    }
}
