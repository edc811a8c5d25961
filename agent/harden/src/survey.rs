//! One walk over a root that sorts its files by what can be in them.

use crate::credentials::PROGRAM;
use crate::root::{Entry, Kind, MAX_BINARY_BYTES, Root, folder_of, is_data, name_of};
use crate::shell;
use crate::storage::{self, is_below};
use crate::telnet::{WRAPPERS, is_option};

/// Where every ONVIF service is asked first: the ONVIF Core Specification fixes it for the service of device management.
const ONVIF: &[u8] = b"/onvif/device_service";

/// What runs, or reads, the script that is named after it, beside [`WRAPPERS`].
pub(crate) const RUNNERS: &[&str] = &[
    ".",
    "source",
    "sh",
    "ash",
    "bash",
    "su",
    "eval",
    "run-parts",
    "procd_set_param",
];
/// Scripts that no ordinary boot runs: those of a login, of a web page, and of OpenWrt's failsafe mode.
pub(crate) const NO_BOOT: &[&str] = &["/profile", "/www", ".cgi", "/cgi-bin/", "/lib/preinit/"];
/// Words by which a script is told to start nothing.
const NO_START: &[&str] = &["stop", "disable", "status"];
/// How many patterns and folders of scripts are looked through.
const MAX_PATTERNS: usize = 256;
/// How many values of a variable are looked at.
const MAX_VALUES: usize = 64;

/// The files of a root that matter, after all links.
#[derive(Debug, Default)]
pub struct Survey {
    /// Shell scripts.
    pub scripts: Vec<String>,
    /// Other small text files below the usual folders of settings.
    pub settings: Vec<String>,
    /// Tables of accounts: passwd(5) and shadow(5), wherever they lie.
    pub accounts: Vec<String>,
    /// Programs, other than BusyBox, the server itself and this one, that hold the word `telnetd`.
    pub programs: Vec<String>,
    /// The first program that serves ONVIF. On a running camera the service itself is asked.
    pub onvif: Option<String>,
    /// Whether everything was seen.
    pub complete: bool,
    /// Those of the scripts that another one, or a table, runs at other times than at logins, for web pages or to stop.
    pub(crate) run: Vec<String>,
    /// The patterns that were looked through, and whether as folders.
    pub(crate) patterns: Vec<(String, bool)>,
}

impl Survey {
    /// Walks the root. `own` is the folder that is not looked into, however it is reached: what this program keeps.
    #[must_use]
    pub fn take(root: &Root, own: &str) -> Self {
        let mut survey = Self {
            complete: true,
            ..Self::default()
        };
        let mounts = root.mounts().unwrap_or_default();
        let (layers, foreign) = (storage::layers(&mounts), storage::foreign(&mounts));
        // Overlays number their folders anew as often as the kernel forgets them.
        let is_mine = |folder: &str| {
            folder == own || name_of(folder) == name_of(own) && root.identity(folder) == root.identity(own)
        };
        let mut unread = false;
        let mut links = Vec::new();
        let mut aside = Vec::new();
        let complete = root.walk_all(&mut |path, kind| {
            let folder = folder_of(path);
            if is_mine(folder)
                || is_mine(folder_of(folder))
                || layers.iter().any(|layer| is_below(path, layer))
                || path == "/etc/config/lenscap"
                || is_data(path) && !is_script(path)
            {
                return;
            }
            match foreign.iter().find(|(point, _)| is_below(path, point)) {
                // What others fill; what is run of it is found below.
                Some((_, true)) => {}
                Some((point, false)) => aside.push((point, path.to_owned(), kind)),
                None => unread |= !survey.see(root, path, kind, &mut links),
            }
        });
        loop {
            for link in links.drain(..) {
                survey.add_link(root, &link);
            }
            survey.follow(root);
            // A memory card is the firmware's where something that starts runs a script of it.
            let scripts = survey.scripts.clone();
            aside.retain(|(point, ..)| scripts.iter().any(|script| is_below(script, point)));
            if aside.is_empty() {
                break;
            }
            for (_, path, kind) in aside.drain(..) {
                unread |= !scripts.contains(&path) && !survey.see(root, &path, kind, &mut links);
            }
        }
        survey.complete &= complete && !unread;
        // What a login reads, wherever links lead.
        for path in ["/etc/passwd", "/etc/shadow"] {
            let real = root.canonical(path);
            if real.as_deref().ok() != Some(path) {
                survey.accounts.retain(|have| Some(have) != real.as_ref().ok());
                survey.accounts.push(path.to_owned());
            }
        }
        survey
    }

    /// Adds what the walk comes by. Says whether it could be read.
    fn see(&mut self, root: &Root, path: &str, kind: Kind, links: &mut Vec<String>) -> bool {
        if kind == Kind::Link {
            if is_script(path) || is_setting(path) || is_script(&format!("{path}/")) {
                links.push(path.to_owned());
            }
            return true;
        }
        // Most of a camera's files; each costs the flash a block.
        if root.is_live() && is_library(path) && !is_script(path) {
            return true;
        }
        let head = root.head(path, 4);
        head.is_ok_and(|head| self.sort(root, path, &head))
    }

    /// What is called a script or a setting by a link, whatever it is called where it lies. One that leads nowhere is none.
    fn add_link(&mut self, root: &Root, link: &str) {
        let Ok(real) = root.canonical(link) else { return };
        for entry in root.list(&real).unwrap_or_default() {
            self.add_script(root, &format!("{real}/{}", entry.name), false);
        }
        let named = name_of(link);
        if is_script(link) {
            self.add_script(root, &real, false);
        } else if name_of(&real) != named && root.read(&real).is_ok_and(|text| !text.contains(&0)) {
            // Tables are known by their names.
            self.settings.retain(|have| *have != real);
            self.settings.push(link.to_owned());
        }
    }

    /// Settings whose lines are commands.
    pub(crate) fn tables(&self) -> impl Iterator<Item = &String> {
        self.settings.iter().filter(|path| {
            let tables = ["/inittab", "/cron", "/network/interfaces"];
            tables.iter().any(|table| path.contains(table))
        })
    }

    /// Adds what scripts and tables run or have a shell read, whatever it is called.
    fn follow(&mut self, root: &Root) {
        let tables: Vec<String> = self.tables().cloned().collect();
        for path in tables {
            self.follow_one(root, &path, true);
        }
        let mut at = 0;
        while let Some(path) = self.scripts.get(at).cloned() {
            at += 1;
            self.follow_one(root, &path, false);
        }
    }

    fn follow_one(&mut self, root: &Root, path: &str, is_table: bool) {
        let text = root.read(path).unwrap_or_default();
        let mut here = String::new();
        let boots = !NO_BOOT.iter().any(|part| path.contains(part));
        for command in shell::commands(&text) {
            if let [cd, folder] = command.meant.as_slice()
                && cd == "cd"
            {
                here.clone_from(folder);
            }
            // A variable with several values is several words.
            let several = command.plain.iter().any(|word| word.contains('$'));
            let mut left = if several { MAX_VALUES } else { 1 };
            let (mut found, mut parts) = (false, false);
            let starts = boots && !command.meant.iter().any(|word| NO_START.contains(&word.as_str()));
            for mut word in command.meant.iter().flat_map(|words| words.split(' ')) {
                if is_table {
                    // Times, users and the like stand before it, or `id:levels:action:`.
                    word = word
                        .rsplit(':')
                        .next()
                        .unwrap_or_default()
                        .trim_start_matches('-');
                }
                let name = name_of(word);
                let before = RUNNERS.contains(&name) || WRAPPERS.contains(&name) || is_option(word);
                if !found && (before || is_table && !word.starts_with('/')) {
                    parts |= name == "run-parts";
                    continue;
                }
                let beside = format!("{here}/{word}");
                if word.starts_with("./") {
                    word = &beside;
                }
                if left == 0 || !word.starts_with('/') {
                    break;
                }
                (found, left) = (true, left - 1);
                self.add_run(root, word, parts, starts && word != path);
            }
        }
    }

    /// Adds what a path stands for, as a pattern too; `parts`: or the files of that folder; `starts`: it is run to start
    /// something.
    fn add_run(&mut self, root: &Root, path: &str, parts: bool, starts: bool) {
        let pattern = path.find(['*', '?', '[']);
        if pattern.is_none() && !parts {
            return self.add_script(root, path, starts);
        }
        // Else each script of a folder could have it looked through once more.
        let key = (path.to_owned(), parts);
        if self.patterns.contains(&key) {
            return;
        }
        if self.patterns.len() == MAX_PATTERNS {
            self.complete = false;
            return;
        }
        self.patterns.push(key);
        let folder = if parts { path } else { folder_of(path) };
        let head = path.get(..pattern.unwrap_or(0)).unwrap_or_default();
        let tail = path
            .rfind('*')
            .and_then(|at| path.get(at + 1..))
            .unwrap_or_default();
        for Entry { name, .. } in root.list(folder).unwrap_or_default() {
            let path = format!("{folder}/{name}");
            if path.starts_with(head) && path.ends_with(tail) && !is_setting(&path) {
                self.add_script(root, &path, starts);
            }
        }
    }

    /// Adds a script that was not recognised as one.
    fn add_script(&mut self, root: &Root, path: &str, starts: bool) {
        let Ok(real) = root.canonical(path) else { return };
        // Programs are not read further.
        let is_text = || {
            root.head(&real, 4).is_ok_and(|head| !head.contains(&0x7f))
                && root.read(&real).is_ok_and(|text| !text.contains(&0))
        };
        let known = self.scripts.contains(&real);
        if real.starts_with("/proc/") || !known && !is_text() {
            return;
        }
        if starts && !self.run.contains(&real) {
            self.run.push(real.clone());
        }
        if !known {
            self.settings.retain(|have| *have != real);
            self.scripts.push(real);
        }
    }

    /// Says whether the file could be read.
    fn sort(&mut self, root: &Root, path: &str, head: &[u8]) -> bool {
        let name = name_of(path);
        if head == b"\x7fELF" {
            // On a running camera the processes themselves are looked at.
            if root.is_live()
                || matches!(name, "busybox" | "telnetd" | "utelnetd" | "in.telnetd")
                || path == PROGRAM
            {
                return true;
            }
            return match root.read_up_to(path, MAX_BINARY_BYTES) {
                Ok(bytes) => {
                    if contains(&bytes, b"telnetd") {
                        self.programs.push(path.to_owned());
                    }
                    if self.onvif.is_none() && contains(&bytes, ONVIF) {
                        self.onvif = Some(path.to_owned());
                    }
                    true
                }
                Err(_) => false,
            };
        }
        if matches!(name, "passwd" | "shadow") {
            self.accounts.push(path.to_owned());
        }
        let script = head.starts_with(b"#!") || is_script(path);
        if !script && !is_setting(path) {
            return true;
        }
        match root.read(path) {
            // A shell passes over these bytes; what else is in it is no text.
            Ok(text) if text.contains(&0) => {
                let hints: &[&[u8]] = &[b"telnet", b"nc ", b"socat", b"tcpsvd", b"passwd", b"shadow"];
                !script || !hints.iter().any(|hint| contains(&text, hint))
            }
            Ok(_) if script => {
                self.scripts.push(path.to_owned());
                true
            }
            Ok(_) => {
                self.settings.push(path.to_owned());
                true
            }
            // Too large to be a script or a setting of a camera.
            Err(_) => !script && !matches!(name, "inittab" | "inetd.conf"),
        }
    }
}

fn is_library(path: &str) -> bool {
    let name = name_of(path);
    name.ends_with(".so") || name.contains(".so.")
}

fn is_script(path: &str) -> bool {
    const FOLDERS: &[&str] = &["/profile.d/", "/init.d/", "/uci-defaults/", "/hotplug.d/"];
    let (name, folder) = (name_of(path), name_of(folder_of(path)));
    name.ends_with(".sh")
        || folder.starts_with("rc") && folder.ends_with(".d")
        || ["rcS", "rc.local", "rcK", "profile"].contains(&name)
        || FOLDERS.iter().any(|part| path.contains(part))
}

fn is_setting(path: &str) -> bool {
    const FOLDERS: &[&str] = &[
        "/crontabs/",
        "/cron.d/",
        "/spool/cron/",
        "/xinetd.d/",
        "/network/interfaces",
        "/systemd/system/",
    ];
    let name = name_of(path);
    [".conf", ".cfg", ".ini", ".rules", ".rc"]
        .iter()
        .any(|end| name.ends_with(end))
        || ["inittab", "crontab"].contains(&name)
        || FOLDERS.iter().any(|part| path.contains(part))
        || ["/etc/default/", "/etc/config/"]
            .iter()
            .any(|start| path.starts_with(start))
}

/// Whether `needle` occurs in `text`.
#[must_use]
pub fn contains(text: &[u8], needle: &[u8]) -> bool {
    text.windows(needle.len()).any(|window| window == needle)
}
