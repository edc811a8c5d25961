//! Which servers a boot starts: by the commands of start scripts, of what those run, and of tables.
//!
//! What is not followed counts as not started: who asks wants to know whether a server that runs is there after a boot.

use crate::root::{Root, folder_of, name_of};
use crate::shell;
use crate::storage::{self, Storage};
use crate::survey::{NO_BOOT, RUNNERS, Survey, contains};
use crate::telnet::{WRAPPERS, is_option, stops};

/// How deep shells are followed that are given a text, and how many of them.
const MAX_DEPTH: u8 = 3;
const MAX_TEXTS: u8 = 64;
/// Where start scripts are linked. On OpenWrt nothing else runs them.
const LINKS: &[&str] = &[
    "/etc/rc.d",
    "/etc/rcS.d",
    "/etc/rc2.d",
    "/etc/rc3.d",
    "/etc/rc5.d",
];
const OPENWRT: &str = "/etc/openwrt_release";
/// Scripts that are run by what no camera shows: OpenWrt's last step, and the boot of dafang-hacks, whose `/etc` lies below
/// that of the card.
const BOOTED: &[&str] = &["/etc/rc.local", "/system/sdcard/run.sh"];
/// What runs the program that is named after it, beside [`WRAPPERS`].
const STARTERS: &[&str] = &["dropbearmulti", "start_daemon", "daemon"];
/// Where units of systemd are put by hand, and linked to be started (systemctl(1), `enable`).
const UNITS: &str = "/etc/systemd/system/";
const WANTED: &str = "/etc/systemd/system/multi-user.target.wants/";
/// What stands before a command in crontab(5) and interfaces(5), beside times.
const BEFORE: &[&str] = &["root", "up", "pre-up", "post-up"];
/// The actions of inittab(5) by which a boot starts what is behind them.
const ACTIONS: &[&str] = &["sysinit", "boot", "bootwait", "wait", "once", "respawn"];

/// What a text is.
#[derive(Clone, Copy, PartialEq)]
enum Form {
    Table,
    Unit,
    Script,
}

struct Search<'a> {
    root: &'a Root,
    survey: &'a Survey,
    server: &'a str,
    /// What the links of start scripts are called, behind their numbers.
    linked: Vec<String>,
    /// How many texts were given to shells.
    texts: u8,
    found: Vec<String>,
}

/// The words behind a server's name in each command by which a boot starts it, with a blank between them.
#[must_use]
pub fn starts(root: &Root, survey: &Survey, server: &str) -> Vec<String> {
    let mut search = Search {
        root,
        survey,
        server,
        linked: Vec::new(),
        texts: 0,
        found: Vec::new(),
    };
    for folder in LINKS {
        for link in root.list(folder).unwrap_or_default() {
            search.linked.extend(numbered(&link.name).map(str::to_owned));
        }
    }
    for path in survey.tables() {
        search.in_file(path, Form::Table);
    }
    for path in survey.settings.iter().filter(|path| is_wanted(root, path)) {
        search.in_file(path, Form::Unit);
    }
    for path in &survey.scripts {
        search.in_file(path, Form::Script);
    }
    search.found
}

/// Whether a file is there after a boot.
#[must_use]
pub fn stays(root: &Root, path: &str) -> bool {
    !root.is_live()
        || matches!(
            storage::place(root, path),
            Storage::Persistent | Storage::ReadOnly
        )
}

impl Search<'_> {
    fn in_file(&mut self, path: &str, form: Form) {
        let text = self.root.read(path).unwrap_or_default();
        let is_run = || form != Form::Script || self.is_run(path);
        if !contains(&text, self.server.as_bytes()) || !is_run() || !stays(self.root, path) {
            return;
        }
        let mut text = String::from_utf8_lossy(&text).into_owned();
        if form == Form::Unit {
            let mut commands = String::new();
            for line in text.lines().filter(|line| line.starts_with("ExecStart=")) {
                // Signs may stand before it.
                commands.push_str(line.find('/').and_then(|at| line.get(at..)).unwrap_or_default());
                commands.push('\n');
            }
            text = commands;
        }
        // thingino's scripts are called after what they start.
        if numbered(name_of(path)) == Some(self.server) && text.contains("start_daemon") {
            text.push('\n');
            text.push_str(self.server);
            text.push_str(" $DAEMON_ARGS");
        }
        if text.contains("/etc/default/") {
            let path = ["/etc/default/", self.server].concat();
            let settings = self.root.read(&path).unwrap_or_default();
            text = [&String::from_utf8_lossy(&settings), "\n", &text].concat();
        }
        self.in_text(&text, form == Form::Table, 0);
    }

    fn in_text(&mut self, text: &str, is_table: bool, depth: u8) {
        for command in shell::commands(text.as_bytes()) {
            let line = command.meant.join(" ");
            let words: Vec<&str> = line.split(' ').collect();
            // The patterns of `case`.
            if command.piped && words.len() == 1 {
                continue;
            }
            let words = if is_table {
                behind_times(&words)
            } else {
                words.as_slice()
            };
            if let Some((program, behind)) = started(words, self.server, is_table) {
                if self.is_there(program) && !only_tells(self.server, behind) {
                    self.found.push(behind.join(" "));
                }
            } else if depth < MAX_DEPTH && words.iter().any(|word| RUNNERS.contains(&name_of(word))) {
                let named = |word: &&String| word.contains(' ') && word.contains(self.server);
                let texts: Vec<&String> = command.meant.iter().filter(named).collect();
                for text in texts {
                    if self.texts < MAX_TEXTS {
                        self.texts += 1;
                        self.in_text(text, false, depth + 1);
                    }
                }
            }
        }
    }

    /// Whether a program that is named by its path is there after a boot. What a script runs that is called so, that says itself.
    fn is_there(&self, program: &str) -> bool {
        !program.starts_with('/')
            || self.root.canonical(program).is_ok_and(|real| {
                self.root.exists(&real) && stays(self.root, &real) && !self.survey.scripts.contains(&real)
            })
    }

    /// Whether a boot runs a script, as far as is known.
    fn is_run(&self, path: &str) -> bool {
        let name = name_of(path);
        if NO_BOOT.iter().any(|part| path.contains(part)) {
            return false;
        }
        let stat = self.root.stat(path);
        let runs = name.ends_with(".sh") || stat.is_ok_and(|file| file.mode & 0o111 != 0);
        let linked = || self.linked.iter().any(|link| link == name);
        let named = || self.survey.run.iter().any(|run| run == path);
        match folder_of(path) {
            "/etc/init.d" if self.root.exists(OPENWRT) => runs && linked(),
            "/etc/init.d" => {
                runs && (numbered(name).is_some() || name.starts_with("rc") || linked() || named())
            }
            _ => named() || runs && BOOTED.contains(&path),
        }
    }
}

/// The words of a table's line that are its command's.
fn behind_times<'w>(words: &'w [&'w str]) -> &'w [&'w str] {
    let is_before = |word: &&&str| {
        let time = matches!(word.as_bytes(), [b'0'..=b'9' | b'*' | b'@', ..]);
        BEFORE.contains(word) || time && !word.contains(':')
    };
    let before = words.iter().take_while(is_before).count();
    words.get(before..).unwrap_or_default()
}

/// Whether these options have a server print something, or serve one connection that another accepted.
fn only_tells(server: &str, words: &[&str]) -> bool {
    let letters: &[char] = if server == "dropbear" {
        &['V', 'i']
    } else {
        &['V', 'i', 'T', 't', 'G']
    };
    // Paths may be joined to theirs.
    words
        .iter()
        .any(|word| word.starts_with('-') && !word.contains('/') && word.contains(letters))
}

/// The server's name and the words behind it, where these words start it.
fn started<'w>(words: &'w [&'w str], server: &str, is_table: bool) -> Option<(&'w str, &'w [&'w str])> {
    let mut rest = words;
    while let [first, after @ ..] = rest {
        let mut program = *first;
        // `id:levels:action:program` of inittab(5).
        if let Some((before, behind)) = first.rsplit_once(':').filter(|_| is_table) {
            let action = before.rsplit(':').next()?;
            if !ACTIONS.contains(&action) {
                return None;
            }
            program = behind;
        }
        let name = name_of(program);
        if name == server {
            return Some((program, after));
        }
        let at = || after.iter().position(|word| name_of(word) == server);
        rest = match name {
            "procd_set_param" if after.first() == Some(&"command") => after.get(1..)?,
            "start-stop-daemon" => {
                let at = at().filter(|_| !stops(after))?;
                let options = after.iter().skip_while(|word| **word != "--").count();
                return Some((
                    after.get(at)?,
                    after.get(after.len() - options.saturating_sub(1)..)?,
                ));
            }
            // It says where that is.
            "command" if matches!(after, ["-v" | "-V", ..]) => return None,
            _ if WRAPPERS.contains(&name) || STARTERS.contains(&name) => {
                let options = after.iter().take_while(|word| is_option(word)).count();
                after.get(options..)?
            }
            _ => return None,
        };
    }
    None
}

/// Whether a unit of systemd is started with the system: linked so, and not hidden by another of its name.
fn is_wanted(root: &Root, path: &str) -> bool {
    let name = name_of(path);
    let exists = |folder: &str| root.exists(&format!("{folder}{name}"));
    path.contains("/systemd/") && exists(WANTED) && (path.starts_with(UNITS) || !exists(UNITS))
}

/// The name behind the number of a start script, or of a link to one.
fn numbered(name: &str) -> Option<&str> {
    let number = matches!(name.as_bytes(), [b'S', b'0'..=b'9', b'0'..=b'9', ..]);
    name.get(3..).filter(|_| number)
}
