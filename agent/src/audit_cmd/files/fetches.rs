//! Start entries that fetch programs and run them, run what lies where everybody writes, or give a shell to somebody outside.
//!
//! A script or table is split into its commands, as far as that needs no shell: separators, quotes, variables that are set to
//! a plain text, what `sh -c`, `eval`, `$(…)` and backticks run, and where its output goes.

mod cards;
mod fetchers;
mod functions;
mod lexer;
mod tables;
mod ways;
mod words;
mod written;

use lenscap_harden::root::name_of;

pub(super) use cards::Point;
use functions::Function;
use lexer::{Command, Lexer};
pub(super) use tables::{command_of, is_rules};
use words::{gives_execution, operands, said, unwrap, value};
pub(super) use words::{is_assignment, is_flag};

use super::console;
use super::starts::{is_loose, is_table, is_unit};

/// Programs that fetch files; netcat too, where it only asks.
const FETCHERS: &[&str] = &[
    "wget",
    "curl",
    "tftp",
    "ftpget",
    "uclient-fetch",
    "scp",
    "rsync",
    "nc",
    "ncat",
    "netcat",
    "telnet",
];
const SHELLS: &[&str] = &["sh", "ash", "bash", "dash", "hush"];
/// Programs that run a file that they are given.
const RUNNERS: &[&str] = &["python", "python3", "lua", "perl", "php", "node"];
/// Programs that run the command behind them.
const WRAPPERS: &[&str] = &[
    "busybox", "nohup", "setsid", "exec", "nice", "ionice", "env", "time", "timeout", "sudo", "xargs",
    "command", "taskset", "chrt", "respawn", "unshare", "chroot",
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
/// The most programs that one script names as commands.
const MAX_STARTS: usize = 1024;
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

/// What is known of all scripts together.
#[derive(Default)]
pub(super) struct Known<'k> {
    /// Where cards and flash are mounted.
    pub(super) points: &'k [Point],
    /// Whether somebody may call a function of that name; `None`: whoever is there.
    pub(super) callable: Option<&'k dyn Fn(&str) -> bool>,
}

/// What a script does.
#[derive(Debug, Default)]
pub(super) struct Looked {
    /// What it fetches and runs, or runs from where everybody writes.
    pub(super) found: Vec<Found>,
    /// What it runs of memory cards.
    pub(super) cards: Vec<Found>,
    /// Where it gives a shell to whoever is at a console.
    pub(super) consoles: Vec<Found>,
    /// The programs that it names as commands, each once.
    pub(super) starts: Vec<String>,
    /// What it mounts.
    pub(super) mounted: Vec<Point>,
}

/// What a script, table or unit does. Tables and units are read as one script: one line may run what another fetches.
#[inline(never)]
pub(super) fn look(path: &str, text: &[u8], known: &Known<'_>) -> Looked {
    // Shells leave NUL out.
    let text = String::from_utf8_lossy(text).replace('\0', "");
    let mut reader = Reader {
        points: known.points,
        ..Reader::default()
    };
    if is_table(path) || is_unit(path) || is_rules(path) {
        for (line, number) in text.lines().zip(1..) {
            for command in command_of(path, line) {
                reader.cwd.clear();
                reader.text(&command, number, 0);
            }
        }
    } else {
        reader.text(&text, 1, 0);
    }
    let callable = |name: &str| known.callable.is_none_or(|callable| callable(name));
    reader.call_the_rest(&callable);
    reader.judge()
}

/// What is known of a script so far.
#[derive(Debug, Default)]
struct Reader<'k> {
    points: &'k [Point],
    mounted: Vec<Point>,
    /// Files that were copied from cards, and folders.
    carded: Vec<String>,
    card: Vec<Found>,
    consoles: Vec<Found>,
    functions: Vec<Function>,
    reading: Option<Function>,
    calls: u32,
    /// Whether a command's name is one of its caller's words.
    dynamic: bool,
    /// Sorted.
    starts: Vec<String>,
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
    /// What `echo` gives to the pipe, and the card's file whose contents or name goes through it.
    echoed: Option<String>,
    card_piped: Option<String>,
    /// Whether what is read is what a script writes, which need be none.
    written: bool,
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

impl Reader<'_> {
    fn text(&mut self, text: &str, line: u32, depth: u32) {
        if depth > MAX_DEPTH || self.is_spent(text.len()) {
            self.cut = true;
            return;
        }
        let mut lexer = Lexer::new(text, line);
        let (piped, shell) = (self.piped.take(), core::mem::take(&mut self.shell_piped));
        let (echoed, card_piped) = (self.echoed.take(), self.card_piped.take());
        while let Some(command) = lexer.next() {
            self.commands += 1;
            if self.commands > MAX_COMMANDS || self.is_spent(0) {
                self.cut = true;
                break;
            }
            self.step(command, depth);
        }
        if lexer.open && !self.written {
            let text = "is not understood to its end: a quote or the like is not closed";
            self.tell(line, false, text.into());
        }
        self.end_function(depth);
        (self.piped, self.shell_piped) = (piped, shell);
        (self.echoed, self.card_piped) = (echoed, card_piped);
    }

    /// Whether there was work enough, with so many bytes more.
    fn is_spent(&mut self, bytes: usize) -> bool {
        self.work = self.work.saturating_add(bytes);
        self.work > MAX_WORK
    }

    /// Adds to a list, as long as there is room.
    fn room<T>(list: &mut Vec<T>, new: T, cut: &mut bool) {
        *cut |= list.len() >= MAX_NAMES;
        if list.len() < MAX_NAMES {
            list.push(new);
        }
    }

    /// The same, each once.
    fn keep<T: PartialEq>(list: &mut Vec<T>, new: T, cut: &mut bool) {
        if !list.contains(&new) {
            Self::room(list, new, cut);
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
                    let place = part.starts_with(|c: char| c.is_ascii_digit());
                    part.split_at(if place { 1 } else { end.unwrap_or(part.len()) })
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
        let placed = self.place(path);
        if placed == "/dev/null" {
            return;
        }
        self.start(&placed);
        if self.run_of_card(line, &placed) {
            return;
        }
        if self.runs.len() < MAX_COMMANDS {
            self.runs.push((line, how, placed));
        } else {
            self.cut = true;
        }
    }

    /// Notes the name of a program that is started.
    fn start(&mut self, name: &str) {
        if name.len() > MAX_WORD || name.is_empty() {
            return;
        }
        if let Err(at) = self.starts.binary_search_by(|have| have.as_str().cmp(name)) {
            if self.starts.len() < MAX_STARTS {
                self.starts.insert(at, name.to_owned());
            } else {
                self.cut = true;
            }
        }
    }

    #[inline(never)]
    fn command(&mut self, command: &Command, depth: u32) {
        let Command { line, inner, fed, .. } = command;
        let line = *line;
        if let Some(document) = &command.document {
            return self.written("", document, line, depth);
        }
        // What ends a group ends no pipe.
        let closes = |word: &String| matches!(word.as_str(), "}" | "done" | "fi" | "esac");
        if !fed && (command.words.is_empty() || !command.words.iter().all(closes)) {
            self.piped = None;
            self.shell_piped = false;
            self.echoed = None;
            self.card_piped = None;
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
        let exported = words.first().is_some_and(|head| head == "export");
        for word in &words {
            self.paths(line, word, exported);
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
        self.helper(line, words, output.as_deref());
        if let Some(first) = words.first().filter(|first| first.contains('/')) {
            self.run(line, "runs", first);
        }
        let words = unwrap(words);
        self.shows_card(line, words, output.as_deref());
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
        } else if !self.call(head, rest, depth) {
            self.dynamic |= head.starts_with("$@") || head.starts_with("$*") || head.starts_with("$1");
            self.start(head);
        }
        let operand = || rest.iter().find(|word| !word.starts_with(['-', '+']));
        match name {
            "eval" => self.evaluates(line, &rest.join(" "), inner, depth),
            "echo" | "printf" => self.writes(line, rest, output, depth),
            "read" => self.reads(rest),
            "crontab" => {
                if let Some(text) = self.echoed.take() {
                    self.written("/etc/crontabs/root", &text, line, depth);
                }
            }
            "getty" | "agetty" | "mingetty" | "mgetty" | "login" => {
                let words: Vec<&str> = [head]
                    .into_iter()
                    .chain(rest.iter().map(String::as_str))
                    .collect();
                if console::asks_nobody(&words) {
                    self.opens_console(line, head);
                }
            }
            "crond" | "inetd" => self.table_elsewhere(line, name, rest),
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
            _ if COPIERS.contains(&name) => self.copies(line, rest),
            _ if UNPACKERS.contains(&name) => self.unpacks(line, rest),
            "tee" => self.pours(
                rest.iter()
                    .filter(|word| !word.starts_with('-'))
                    .map(String::as_str),
            ),
            "dd" => self.pours(rest.iter().filter_map(|word| word.strip_prefix("of="))),
            _ if FETCHERS.contains(&name) => return self.fetcher(line, name, rest, output),
            _ if self.prepares(line, name, rest) => {}
            _ if head.starts_with('$') || head.starts_with('`') => self.takes_from(line, inner),
            _ => {
                self.started_by(line, name, rest, inner, depth);
                return self.connector(line, name, rest);
            }
        }
        None
    }

    /// A program that writes what comes through its pipe to files.
    fn pours<'w>(&mut self, files: impl Iterator<Item = &'w str>) {
        let fetched = self.piped.clone();
        for file in files {
            self.make(file, fetched.is_some());
        }
        if let Some((line, text)) = fetched {
            self.fetches(line, text);
        }
    }

    /// What sets up where others run, or is told what to run. Says whether it is such a program.
    fn prepares(&mut self, line: u32, name: &str, rest: &[String]) -> bool {
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
            "mount" => self.mounts(line, rest),
            "udhcpc" => {
                if let Some(file) = value(rest, &["-s", "--script"]) {
                    self.run(line, "runs", file);
                }
            }
            "procd_set_param" => {
                if let [what, file, ..] = rest
                    && what == "command"
                {
                    self.run(line, "runs", file);
                }
            }
            "run-parts" => {
                if let Some(folder) = operand() {
                    self.run(line, "runs", &format!("{}/*", folder.trim_end_matches('/')));
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
            _ => return false,
        }
        true
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
            Some(file) if file.starts_with("/dev/tty") || file == "/dev/console" => {
                self.opens_console(line, "sh");
            }
            Some(file) => self.run(line, "runs", file),
            None => {
                self.reads_pipe(line);
                if let Some(text) = self.echoed.take() {
                    self.written("", &text, line, depth);
                }
                if let Some(file) = self.card_piped.take() {
                    self.run_of_card(line, &file);
                }
                self.shell_piped = true;
            }
        }
    }

    fn opens_console(&mut self, line: u32, program: &str) {
        let text = format!("gives a shell to whoever is there: `{program}`");
        let found = Found {
            line,
            certain: true,
            text,
        };
        Self::keep(&mut self.consoles, found, &mut self.cut);
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
    fn unpacks(&mut self, line: u32, rest: &[String]) {
        self.unpacked = true;
        let fetched = self.piped.is_some() || rest.iter().any(|word| self.is_fetched(&self.place(word)));
        if let Some((line, text)) = self.piped.clone() {
            self.fetches(line, text);
        }
        let into = value(rest, &["-C", "-d"]).unwrap_or(".");
        for word in rest {
            let to = if into == "." {
                self.cwd.clone()
            } else {
                into.to_owned()
            };
            self.takes_of_card(line, word, &to, true);
        }
        let into = if into == "." {
            String::new()
        } else {
            self.place(into)
        };
        if fetched {
            let into = if into.is_empty() { self.cwd.clone() } else { into };
            if !into.is_empty() {
                self.make(&format!("{}/", into.trim_end_matches('/')), true);
            }
        }
    }

    fn is_fetched(&self, path: &str) -> bool {
        let below =
            |folder: &String| folder.len() > 1 && folder.ends_with('/') && path.starts_with(folder.as_str());
        self.fetched.iter().any(|have| have == path || below(have))
    }

    fn copies(&mut self, line: u32, rest: &[String]) {
        let files: Vec<&String> = rest.iter().filter(|word| !word.starts_with('-')).collect();
        let Some((to, from)) = files.split_last() else {
            return;
        };
        let whole = rest
            .iter()
            .any(|word| ['r', 'R', 'a'].iter().any(|flag| is_flag(word, *flag)));
        for from in from {
            self.takes_of_card(line, from, to, whole || from.contains('*'));
            let placed = self.place(from);
            let fetched = self.is_fetched(&placed);
            let put = format!("{}/{}", to.trim_end_matches('/'), name_of(from));
            let starts = [to.as_str(), &put]
                .into_iter()
                .any(|to| ways::starts_by_place(&self.place(to)));
            if is_loose(&placed) && starts && !fetched && !self.unpacked && !self.made.contains(&placed) {
                self.tell(line, false, format!("copies `{placed}` over what starts"));
            }
            self.make(to, fetched);
            self.make(
                &format!("{}/{}", to.trim_end_matches('/'), name_of(from)),
                fetched,
            );
        }
    }

    /// What was fetched, or may have been, is run: that is certain. What lies where everybody writes, and was put there by
    /// the same script, may belong to the firmware.
    fn judge(mut self) -> Looked {
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
        ran |= self.fetched.iter().any(|file| ways::starts_by_place(file));
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
        Looked {
            found: self.found,
            cards: self.card,
            consoles: self.consoles,
            starts: self.starts,
            mounted: self.mounted,
        }
    }
}

#[cfg(test)]
#[path = "fetches/tests.rs"]
mod tests;
