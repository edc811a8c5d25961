//! Start entries that fetch programs and run them, run what lies where everybody writes, or give a shell to somebody outside.
//!
//! A script or table is split into its commands, as far as that needs no shell: separators, quotes, variables that are set to
//! a plain text, what `sh -c`, `eval`, `$(…)` and backticks run, and where its output goes.

mod lexer;

use lenscap_harden::root::name_of;

use lexer::{Command, Lexer};

use super::starts::{is_loose, is_table, is_unit, server};

/// Programs that fetch files; netcat too, where it only asks.
const FETCHERS: &[&str] = &[
    "wget",
    "curl",
    "tftp",
    "ftpget",
    "uclient-fetch",
    "nc",
    "ncat",
    "netcat",
    "telnet",
];
const NETCATS: &[&str] = &["nc", "ncat", "netcat", "telnet"];
const SHELLS: &[&str] = &["sh", "ash", "bash", "dash", "hush"];
/// Programs that run a file that they are given.
const RUNNERS: &[&str] = &["python", "python3", "lua", "perl", "php", "node"];
/// Programs that run the command behind them.
const WRAPPERS: &[&str] = &[
    "busybox", "nohup", "setsid", "exec", "nice", "ionice", "env", "time", "timeout", "sudo", "xargs",
    "command", "taskset", "chrt", "respawn",
];
/// Programs that put a file at the last of their words.
const COPIERS: &[&str] = &["cp", "mv", "ln", "install"];
/// Programs that make files whose names are not told.
const UNPACKERS: &[&str] = &["tar", "unzip", "cpio", "gunzip"];
/// Commands that set variables.
const SETTERS: &[&str] = &["export", "local", "readonly"];
/// Words after which a command starts.
const RESERVED: &[&str] = &[
    "if", "then", "else", "elif", "do", "while", "until", "!", "{", "}", "fi", "done",
];
/// Where what is fetched lies until the next boot.
const VOLATILE: &[&str] = &["/tmp/", "/var/", "/dev/shm/", "/run/"];
/// How deep commands in commands are looked into; the most commands of one script, and of each list that is kept of it; the
/// longest value of a variable. What goes beyond is told.
const MAX_DEPTH: u32 = 4;
const MAX_COMMANDS: usize = 8192;
const MAX_NAMES: usize = 128;
const MAX_WORD: usize = 1024;
/// The most bytes of a script that are read, commands in commands and variables' values each time anew; and what a word counts
/// beside, which is compared with what is known.
const MAX_WORK: usize = 4 * 1024 * 1024;
const WORD_WORK: usize = 64;

/// What is wrong with an entry.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) line: u32,
    pub(super) certain: bool,
    pub(super) text: String,
}

/// What a script, table or unit does. Tables and units are read as one script: one line may run what another fetches.
#[inline(never)]
pub(super) fn look(path: &str, text: &[u8]) -> Vec<Found> {
    // Shells leave NUL out.
    let text = String::from_utf8_lossy(text).replace('\0', "");
    let mut reader = Reader::default();
    if is_table(path) || is_unit(path) {
        for (line, number) in text.lines().zip(1..) {
            if let Some(command) = command_of(path, line) {
                reader.cwd.clear();
                reader.text(&command, number, 0);
            }
        }
    } else {
        reader.text(&text, 1, 0);
    }
    reader.judge()
}

/// The command of a line of a table or unit.
fn command_of(path: &str, line: &str) -> Option<String> {
    let line = line.trim();
    if line.is_empty() || line.starts_with(['#', ';']) {
        return None;
    }
    let words = |n: usize| {
        let mut rest = line;
        for _ in 0..n {
            rest = rest.split_once(char::is_whitespace)?.1.trim_start();
        }
        Some(rest.to_owned())
    };
    if is_unit(path) {
        let (key, value) = line.split_once('=')?;
        return match key.trim() {
            // Signs for how it is run (systemd.service(5)).
            key if key.starts_with("Exec") => {
                Some(value.trim().trim_start_matches(['-', '@', '+', '!', ':']).into())
            }
            "Environment" => Some(format!("export {value}")),
            _ => None,
        };
    }
    match name_of(path) {
        "inittab" => Some(line.splitn(4, ':').nth(3)?.trim_start_matches('-').to_owned()),
        "inetd.conf" => words(5),
        "mdev.conf" => Some(words(3)?.trim_start_matches(['@', '$', '*']).to_owned()),
        name => {
            // `NAME=value`, for the jobs below.
            let first = line.split_whitespace().next()?;
            if first.contains('=') && !first.starts_with(['*', '@']) {
                return Some(format!("export {line}"));
            }
            let times = if line.starts_with('@') { 1 } else { 5 };
            // The system's own tables name the user.
            let user = name == "crontab" && !path.contains("/crontabs/") || path.contains("/cron.d/");
            words(times + usize::from(user))
        }
    }
}

/// What is known of a script so far.
#[derive(Debug, Default)]
struct Reader {
    /// Sorted by name.
    variables: Vec<(String, String)>,
    /// Where it is; empty: not known.
    cwd: String,
    commands: usize,
    work: usize,
    /// Whether something was left out: there was too much.
    cut: bool,
    /// Whether the pipe at hand brings what was fetched, from a host, and whether a shell's answers.
    piped: Option<(u32, String)>,
    shell_piped: bool,
    /// What fetches: line, and what is said of it.
    fetches: Vec<(u32, String)>,
    fetched: Vec<String>,
    made: Vec<String>,
    /// Whether names of made files are not known.
    unpacked: bool,
    /// What is run: line, how, and the file.
    runs: Vec<(u32, &'static str, String)>,
    /// Files that become programs.
    marked: Vec<(u32, String)>,
    found: Vec<Found>,
}

impl Reader {
    fn text(&mut self, text: &str, line: u32, depth: u32) {
        if depth > MAX_DEPTH || self.is_spent(text.len()) {
            self.cut = true;
            return;
        }
        let mut lexer = Lexer::new(text, line);
        let (piped, shell) = (self.piped.take(), core::mem::take(&mut self.shell_piped));
        while let Some(command) = lexer.next() {
            self.commands += 1;
            if self.commands > MAX_COMMANDS || self.is_spent(0) {
                self.cut = true;
                break;
            }
            self.command(command, depth);
        }
        (self.piped, self.shell_piped) = (piped, shell);
    }

    /// Whether there was work enough, with so many bytes more.
    fn is_spent(&mut self, bytes: usize) -> bool {
        self.work = self.work.saturating_add(bytes);
        self.work > MAX_WORK
    }

    /// Adds to a list, as long as there is room.
    fn keep<T: PartialEq>(list: &mut Vec<T>, new: T, cut: &mut bool) {
        if !list.contains(&new) {
            *cut |= list.len() >= MAX_NAMES;
            if list.len() < MAX_NAMES {
                list.push(new);
            }
        }
    }

    fn expand(&mut self, word: &str) -> String {
        self.work += WORD_WORK;
        let mut out = String::new();
        let mut parts = word.split('$');
        out.push_str(parts.next().unwrap_or_default());
        for part in parts {
            let (name, rest) = match part.strip_prefix('{').and_then(|part| part.split_once('}')) {
                Some(found) => found,
                None => {
                    let end = part.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
                    part.split_at(end.unwrap_or(part.len()))
                }
            };
            let at = self.variables.partition_point(|(have, _)| have.as_str() < name);
            match self.variables.get(at).filter(|(have, _)| have == name) {
                Some((_, value)) => {
                    self.work += value.len();
                    out.push_str(value);
                }
                None => {
                    out.push('$');
                    out.push_str(name);
                }
            }
            out.push_str(rest);
            if self.is_spent(0) {
                break;
            }
        }
        out
    }

    fn set(&mut self, word: &str) {
        let Some((name, value)) = word.split_once('=') else {
            return;
        };
        let at = self.variables.partition_point(|(have, _)| have.as_str() < name);
        if value.len() > MAX_WORD {
            self.cut = true;
        } else if let Some((_, have)) = self.variables.get_mut(at).filter(|(have, _)| have == name) {
            value.clone_into(have);
        } else if self.variables.len() < MAX_NAMES {
            self.variables.insert(at, (name.to_owned(), value.to_owned()));
        } else {
            self.cut = true;
        }
    }

    /// A path as it is after `cd`.
    fn place(&self, path: &str) -> String {
        let path = path.strip_prefix("./").unwrap_or(path);
        if path.starts_with(['/', '$', '-', '`']) || self.cwd.is_empty() {
            return path.to_owned();
        }
        format!("{}/{path}", self.cwd.trim_end_matches('/'))
    }

    fn make(&mut self, path: &str, fetched: bool) {
        let path = self.place(path);
        let list = if fetched {
            &mut self.fetched
        } else {
            &mut self.made
        };
        if path != "/dev/null" {
            Self::keep(list, path, &mut self.cut);
        }
    }

    fn fetches(&mut self, line: u32, text: String) {
        Self::keep(&mut self.fetches, (line, text), &mut self.cut);
    }

    fn says(&mut self, line: u32, text: impl Into<String>) {
        self.tell(line, true, text.into());
    }

    fn tell(&mut self, line: u32, certain: bool, text: String) {
        Self::keep(&mut self.found, Found { line, certain, text }, &mut self.cut);
    }

    fn run(&mut self, line: u32, how: &'static str, path: &str) {
        if self.runs.len() < MAX_COMMANDS {
            let path = self.place(path);
            self.runs.push((line, how, path));
        } else {
            self.cut = true;
        }
    }

    #[inline(never)]
    fn command(&mut self, command: Command, depth: u32) {
        let Command { line, inner, fed, .. } = &command;
        let line = *line;
        if !fed {
            self.piped = None;
            self.shell_piped = false;
        }
        let mut words: Vec<String> = command.words.iter().map(|word| self.expand(word)).collect();
        // A variable that holds a command and its words.
        if command.words.first().is_some_and(|word| word.starts_with('$'))
            && let Some(first) = words.first().cloned()
        {
            words.splice(..1, first.split_whitespace().map(str::to_owned));
        }
        let output = command.output.as_ref().map(|output| self.expand(output));
        for text in inner {
            self.text(text, line, depth + 1);
        }
        let set = words.iter().take_while(|word| is_assignment(word)).count();
        for word in words.iter().take(set) {
            self.set(word);
        }
        for word in &words {
            self.preload(line, word);
        }
        let outward = output.iter().chain(&words);
        if outward
            .into_iter()
            .any(|word| word.contains("/dev/tcp/") || word.contains("/dev/udp/"))
        {
            self.says(
                line,
                "opens a connection from the shell to somebody outside (`/dev/tcp/`)",
            );
        }
        let words = words.get(set..).unwrap_or_default();
        if let Some(first) = words.first().filter(|first| first.contains('/')) {
            self.run(line, "runs", first);
        }
        let words = unwrap(words);
        let fetched = match words {
            [] => None,
            [head, rest @ ..] => self.program(line, head, rest, inner, output.as_deref(), depth),
        };
        if let Some(text) = fetched {
            // What goes to a file is one; the rest goes on through the pipe, and ends there.
            match &output {
                Some(output) => {
                    self.fetches(line, text);
                    self.make(output, true);
                }
                None => self.piped = Some((line, text)),
            }
        } else if let Some(output) = &output {
            if let Some((line, text)) = self.piped.clone() {
                self.fetches(line, text);
                self.make(output, true);
            } else {
                self.make(output, false);
            }
        }
    }

    fn preload(&mut self, line: u32, word: &str) {
        if let Some(files) = word.strip_prefix("LD_PRELOAD=") {
            for file in files.split([':', ' ']).filter(|file| !file.is_empty()) {
                self.run(line, "preloads", file);
            }
        }
    }

    /// One program, behind all that only starts it. Gives what is said of it if it fetches to its output.
    fn program(
        &mut self,
        line: u32,
        head: &str,
        rest: &[String],
        inner: &[String],
        output: Option<&str>,
        depth: u32,
    ) -> Option<String> {
        let name = name_of(head);
        if head.contains('/') {
            self.run(line, "runs", head);
        }
        let operand = || rest.iter().find(|word| !word.starts_with(['-', '+']));
        match name {
            _ if SETTERS.contains(&name) => {
                for word in rest {
                    self.set(word);
                }
            }
            "for" => {
                if let [name, keyword, first, ..] = rest
                    && keyword == "in"
                {
                    self.set(&format!("{name}={first}"));
                }
            }
            "cd" | "pushd" => self.cwd = operand().map_or(String::new(), |to| self.place(to)),
            "chmod" => {
                let is_program = rest.iter().any(|word| gives_execution(word));
                for file in rest.iter().skip(1).filter(|_| is_program) {
                    let file = self.place(file);
                    Self::keep(&mut self.marked, (line, file), &mut self.cut);
                }
            }
            "insmod" => {
                if let Some(file) = operand() {
                    self.run(line, "inserts", file);
                }
            }
            "start-stop-daemon" => {
                let stops = rest.iter().any(|word| is_flag(word, 'K') || word == "--stop");
                if !stops && let Some(file) = value(rest, &["-x", "--exec", "-a", "--startas"]) {
                    self.run(line, "runs", file);
                }
            }
            "tee" => {
                let fetched = self.piped.clone();
                for file in rest.iter().filter(|word| !word.starts_with('-')) {
                    self.make(file, fetched.is_some());
                }
                if let Some((line, text)) = fetched {
                    self.fetches(line, text);
                }
            }
            "eval" => self.evaluates(line, &rest.join(" "), inner, depth),
            "." | "source" => {
                if let Some(file) = operand() {
                    self.run(line, "runs", file);
                }
                self.takes_from(line, inner);
            }
            _ if SHELLS.contains(&name) || name == "su" => self.shell(line, rest, inner, depth),
            _ if RUNNERS.contains(&name) || name.starts_with("ld-") => {
                if let Some(file) = operand() {
                    self.run(line, "runs", file);
                }
                self.reads_pipe(line);
            }
            _ if COPIERS.contains(&name) => self.copies(rest),
            _ if UNPACKERS.contains(&name) => self.unpacks(rest),
            "dd" => {
                let fetched = self.piped.clone();
                for file in rest.iter().filter_map(|word| word.strip_prefix("of=")) {
                    self.make(file, fetched.is_some());
                }
                if let Some((line, text)) = fetched {
                    self.fetches(line, text);
                }
            }
            "socat" => self.socat(line, rest),
            _ if FETCHERS.contains(&name) => return self.fetcher(line, name, rest, output),
            _ if head.starts_with('$') || head.starts_with('`') => self.takes_from(line, inner),
            _ => {}
        }
        None
    }

    /// A shell: its script, the file that it reads, or the pipe.
    fn shell(&mut self, line: u32, rest: &[String], inner: &[String], depth: u32) {
        if let Some(script) = value(rest, &["-c", "-lc", "-ic", "-ec", "-xc"]) {
            return self.evaluates(line, script, inner, depth);
        }
        self.takes_from(line, inner);
        // With `-s` it reads what comes, and words are that script's.
        let reads = rest.iter().any(|word| is_flag(word, 's'));
        match rest.iter().find(|word| !reads && !word.starts_with(['-', '+'])) {
            Some(file) => self.run(line, "runs", file),
            None => {
                self.reads_pipe(line);
                self.shell_piped = true;
            }
        }
    }

    fn evaluates(&mut self, line: u32, script: &str, inner: &[String], depth: u32) {
        self.takes_from(line, inner);
        let cwd = self.cwd.clone();
        self.text(script, line, depth + 1);
        self.cwd = cwd;
    }

    /// What `$(…)` gives is run.
    fn takes_from(&mut self, line: u32, inner: &[String]) {
        for text in inner {
            let mut of_it = Lexer::new(text, line);
            if self.is_spent(text.len()) {
                self.cut = true;
                return;
            }
            while let Some(command) = of_it.next() {
                let words: Vec<String> = command.words.iter().map(|word| self.expand(word)).collect();
                if let [head, rest @ ..] = unwrap(&words)
                    && FETCHERS.contains(&name_of(head))
                {
                    let text = said(name_of(head), rest);
                    self.says(line, text);
                }
            }
        }
    }

    /// What was fetched comes through a pipe and is run.
    fn reads_pipe(&mut self, line: u32) {
        if let Some((_, text)) = self.piped.take() {
            self.says(line, text);
        }
    }

    /// Where what was fetched is unpacked, everything may be of it.
    fn unpacks(&mut self, rest: &[String]) {
        self.unpacked = true;
        let fetched = self.piped.is_some() || rest.iter().any(|word| self.is_fetched(&self.place(word)));
        if let Some((line, text)) = self.piped.clone() {
            self.fetches(line, text);
        }
        let into = value(rest, &["-C", "-d"]).unwrap_or(".");
        let into = if into == "." {
            String::new()
        } else {
            self.place(into)
        };
        if fetched {
            let into = if into.is_empty() { self.cwd.clone() } else { into };
            self.make(&format!("{}/", into.trim_end_matches('/')), true);
        }
    }

    fn is_fetched(&self, path: &str) -> bool {
        let below =
            |folder: &String| folder.len() > 1 && folder.ends_with('/') && path.starts_with(folder.as_str());
        self.fetched.iter().any(|have| have == path || below(have))
    }

    fn copies(&mut self, rest: &[String]) {
        let files: Vec<&String> = rest.iter().filter(|word| !word.starts_with('-')).collect();
        let Some((to, from)) = files.split_last() else {
            return;
        };
        for from in from {
            let fetched = self.is_fetched(&self.place(from));
            self.make(to, fetched);
            self.make(
                &format!("{}/{}", to.trim_end_matches('/'), name_of(from)),
                fetched,
            );
        }
    }

    fn socat(&mut self, line: u32, rest: &[String]) {
        let words = rest.join(" ").to_ascii_lowercase();
        let runs = words.contains("exec:") || words.contains("system:");
        let calls = ["tcp:", "tcp4:", "tcp6:", "tcp-connect:", "openssl:"];
        if runs && calls.iter().any(|call| words.contains(call)) {
            self.says(line, "gives a shell to somebody outside: `socat`");
        }
    }

    /// Notes the file that is fetched; what goes to the output is told by its giver.
    fn fetcher(&mut self, line: u32, name: &str, rest: &[String], output: Option<&str>) -> Option<String> {
        let text = said(name, rest);
        if NETCATS.contains(&name) {
            let short = |word: &String| word.starts_with('-') && !word.starts_with("--");
            let has = |letter: char| rest.iter().any(|word| short(word) && word.contains(letter));
            if has('l') || has('z') || rest.iter().any(|word| word == "--listen") {
                return None;
            }
            if has('e')
                || self.shell_piped
                || rest
                    .iter()
                    .any(|word| word.starts_with("--exec") || word == "--sh-exec")
            {
                self.says(line, format!("gives a shell to somebody outside: `{name}`"));
            }
            return Some(text);
        }
        let operands = || rest.iter().filter(|word| !word.starts_with('-'));
        let url = rest.iter().rev().find(|word| word.contains('/'));
        let last = url
            .or(rest.last())
            .map(|url| name_of(url.split(['?', '#']).next().unwrap_or_default()));
        let file = match name {
            "curl" => match value(rest, &["-o", "--output"]) {
                Some(file) => Some(file.to_owned()),
                None if rest
                    .iter()
                    .any(|word| is_flag(word, 'O') || word == "--remote-name") =>
                {
                    last.map(str::to_owned)
                }
                None => None,
            },
            "tftp" => {
                if rest.iter().any(|word| is_flag(word, 'p')) {
                    return None;
                }
                let file = value(rest, &["-l"]).or_else(|| value(rest, &["-r"]).map(name_of));
                Some(file.map_or_else(|| "?".to_owned(), str::to_owned))
            }
            "ftpget" => {
                let mut plain = rest.iter().enumerate().filter(|(n, word)| {
                    let before = n.checked_sub(1).and_then(|n| rest.get(n));
                    !word.starts_with('-')
                        && !before.is_some_and(|word| matches!(word.as_str(), "-u" | "-p" | "-P"))
                });
                plain.nth(1).map(|(_, word)| word.clone())
            }
            // wget and what is like it.
            _ if rest.iter().any(|word| word == "--spider") => return None,
            _ => match value(rest, &["-O", "--output-document"]) {
                Some(file) => Some(file.to_owned()),
                None => match value(rest, &["-P", "--directory-prefix"]) {
                    Some(folder) => last.map(|last| format!("{}/{last}", folder.trim_end_matches('/'))),
                    None => {
                        // Whoever has a pipe behind it means what it fetches.
                        self.piped = Some((line, text.clone()));
                        last.map(str::to_owned)
                    }
                },
            },
        };
        match file.filter(|_| operands().next().is_some()) {
            Some(file) if matches!(file.as_str(), "-" | "/dev/stdout" | "/proc/self/fd/1") => Some(text),
            Some(file) if file == "/dev/null" => None,
            Some(file) => {
                self.fetches(line, text);
                self.make(&file, true);
                None
            }
            None if output.is_some() || name == "curl" => Some(text),
            None => None,
        }
    }

    /// What was fetched, or may have been, is run: that is certain. What lies where everybody writes, and was put there by
    /// the same script, may belong to the firmware.
    fn judge(mut self) -> Vec<Found> {
        let fetches = core::mem::take(&mut self.fetches);
        let volatile = |path: &str| VOLATILE.iter().any(|place| path.starts_with(place));
        let mut ran = false;
        for (line, how, path) in core::mem::take(&mut self.runs) {
            if !fetches.is_empty() && (self.is_fetched(&path) || volatile(&path)) {
                ran = true;
                continue;
            }
            if is_loose(&path) {
                let certain = !self.unpacked && !self.made.contains(&path);
                self.tell(line, certain, format!("{how} `{path}`"));
            }
        }
        let marked = core::mem::take(&mut self.marked);
        ran |= marked.iter().any(|(_, file)| self.is_fetched(file));
        for (line, text) in fetches {
            if ran || marked.iter().any(|(at, _)| *at == line) {
                self.says(line, text);
            }
        }
        if self.cut {
            let text = "is too long, too deep or too much to be read to its end";
            self.found.push(Found {
                line: 1,
                certain: false,
                text: text.into(),
            });
        }
        self.found
    }
}

/// What is said of a program that fetches: whom it asks, and nothing else of its words.
fn said(name: &str, rest: &[String]) -> String {
    format!("fetches and runs: `{name}`{}", server(rest.join(" ").as_bytes()))
}

fn is_assignment(word: &str) -> bool {
    word.split_once('=').is_some_and(|(name, _)| {
        !name.is_empty()
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    })
}

/// Whether a word has this short option, alone or among others.
fn is_flag(word: &str, flag: char) -> bool {
    word.starts_with('-') && !word.starts_with("--") && word.contains(flag)
}

/// The value of an option: the next word, what follows `=`, or the rest of the word.
fn value<'w>(words: &'w [String], names: &[&str]) -> Option<&'w str> {
    for (n, word) in words.iter().enumerate() {
        for name in names {
            let long = name.starts_with("--");
            let Some(rest) = word.strip_prefix(name) else {
                // `-qO-` and `-qO file`.
                let flag = name.chars().nth(1).filter(|_| !long && name.len() == 2);
                let at = flag
                    .filter(|flag| is_flag(word, *flag))
                    .and_then(|flag| word.find(flag));
                match at.and_then(|at| word.get(at + 1..)) {
                    None => continue,
                    Some("") => return words.get(n + 1).map(String::as_str),
                    Some(rest) => return Some(rest),
                }
            };
            return match rest.strip_prefix('=').filter(|_| long) {
                Some(value) => Some(value),
                None if rest.is_empty() => words.get(n + 1).map(String::as_str),
                None if long => continue,
                None => Some(rest),
            };
        }
    }
    None
}

/// A mode of chmod(1) that makes a program.
fn gives_execution(mode: &str) -> bool {
    let odd = |digit: u8| digit.is_ascii_digit() && digit % 2 == 1;
    if !mode.is_empty() && mode.bytes().all(|byte| byte.is_ascii_digit()) {
        return mode.len() >= 3 && mode.bytes().rev().take(3).any(odd);
    }
    mode.split_once(['+', '='])
        .is_some_and(|(who, what)| who.bytes().all(|byte| b"ugoa".contains(&byte)) && what.contains('x'))
}

/// A command behind the words and programs that only start it.
fn unwrap(mut words: &[String]) -> &[String] {
    loop {
        words = match words {
            [head, rest @ ..] if RESERVED.contains(&head.as_str()) || is_assignment(head) => rest,
            [head, rest @ ..] if WRAPPERS.contains(&name_of(head)) => {
                // Its own options and numbers.
                let own = |word: &&String| {
                    word.starts_with('-') || word.bytes().next().is_some_and(|byte| byte.is_ascii_digit())
                };
                rest.get(rest.iter().take_while(own).count()..)
                    .unwrap_or_default()
            }
            words => return words,
        };
    }
}

#[cfg(test)]
#[path = "fetches/tests.rs"]
mod tests;
