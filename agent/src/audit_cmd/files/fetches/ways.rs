//! Ways in and ways to be started that are no plain command: the kernel's helpers, tunnels, loaders' paths, and files that
//! start by where they lie.

use lenscap_harden::root::name_of;

use super::super::contents::PROGRAMS;
use super::super::starts::is_loose;
use super::words::{said, value};
use super::{Reader, SHELLS, is_flag};

/// What the kernel runs, by where it is told so.
const HELPERS: &[&str] = &[
    "/proc/sys/kernel/hotplug",
    "/proc/sys/kernel/core_pattern",
    "/proc/sys/kernel/modprobe",
    "/sys/kernel/uevent_helper",
];
/// What starts, or lets somebody in, by its place: files, and folders of such.
const STARTS: &[&str] = &[
    "/etc/init.d/",
    "/etc/rc.d/",
    "/etc/rc.local",
    "/etc/crontabs/",
    "/etc/cron.d/",
    "/etc/hotplug.d/",
    "/etc/inittab",
    "/etc/profile",
    "/etc/profile.d/",
    "/root/.profile",
    "/etc/ld.so.preload",
    "/etc/passwd",
    "/etc/shadow",
    "/var/spool/cron/",
];
/// Where libraries lie that every program may take.
const LIBRARIES: &[&str] = &["/lib/", "/usr/lib/"];
/// Programs that connect their input and output with somebody outside.
const CONNECTORS: &[&str] = &[
    "openssl",
    "ssl_client",
    "socat",
    "mosquitto_sub",
    "ssh",
    "dbclient",
];

/// Whether a file starts, or lets somebody in, by its place. The root's folder holds all that does.
pub(super) fn starts_by_place(path: &str) -> bool {
    let program = |folder: &str| {
        path.strip_prefix(folder)
            .is_some_and(|rest| rest.starts_with('/') && rest.len() > 1)
    };
    let is_there = |place: &&str| path == *place || place.ends_with('/') && path.starts_with(*place);
    path == "/"
        || STARTS.iter().any(is_there)
        || LIBRARIES.iter().any(|folder| path.starts_with(folder))
            && name_of(path).split('.').skip(1).any(|part| part == "so")
        || PROGRAMS.iter().any(|folder| program(folder))
        || name_of(path).starts_with("authorized_keys")
}

impl Reader<'_> {
    /// What the kernel is told to run: words that go to one of its files, or settings of sysctl.
    pub(super) fn helper(&mut self, line: u32, words: &[String], output: Option<&str>) {
        if let Some(file) = output.filter(|output| HELPERS.contains(output)) {
            for word in words.iter().skip(1) {
                self.helps(line, file, word);
            }
        }
        if words.first().is_some_and(|head| name_of(head) == "sysctl") {
            for (name, value) in words.iter().filter_map(|word| word.split_once('=')) {
                let path = format!("/proc/sys/{}", name.trim().replace('.', "/"));
                if HELPERS.contains(&path.as_str()) {
                    self.helps(line, &path, value);
                }
            }
        }
    }

    fn helps(&mut self, line: u32, file: &str, word: &str) {
        let program = word.trim_start_matches('|');
        // Where cores go, or what they are piped into.
        if program == word && file.ends_with("core_pattern") {
            return;
        }
        let program = program.trim_start().split(' ').next().unwrap_or_default();
        if program.starts_with('/') {
            self.run(line, "has the kernel run", program);
        }
    }

    /// Libraries and programs that are looked for where everybody writes, and libraries that all programs get.
    pub(super) fn paths(&mut self, line: u32, word: &str, exported: bool) {
        for (name, what) in [("LD_LIBRARY_PATH=", "libraries"), ("PATH=", "programs")] {
            let folders: Vec<&str> = word.strip_prefix(name).unwrap_or_default().split(':').collect();
            // Behind all others it pushes nothing aside.
            let behind = folders.iter().rev().skip(usize::from(name == "PATH="));
            for folder in behind.rev() {
                if is_loose(folder) {
                    self.tell(line, false, format!("takes {what} from `{folder}`"));
                }
                self.path_of_card(line, folder, what);
            }
        }
        if let Some(files) = word.strip_prefix("LD_PRELOAD=") {
            for file in files.split([':', ' ']).filter(|file| !file.is_empty()) {
                self.run(line, "preloads", file);
                if exported {
                    self.tell(
                        line,
                        false,
                        format!("pushes `{file}` into every program that it starts"),
                    );
                }
            }
        }
    }

    /// A program that connects with somebody outside. Gives what is said of it if its output comes from there.
    pub(super) fn connector(&mut self, line: u32, name: &str, rest: &[String]) -> Option<String> {
        if !CONNECTORS.contains(&name) || name == "openssl" && !rest.iter().any(|word| word == "s_client") {
            return None;
        }
        let words = rest.join(" ").to_ascii_lowercase();
        let calls = ["tcp:", "tcp4:", "tcp6:", "tcp-connect:", "openssl:", "udp:"];
        if name == "socat" && !calls.iter().any(|call| words.contains(call)) {
            return None;
        }
        if self.shell_piped || name == "socat" && (words.contains("exec:") || words.contains("system:")) {
            self.says(line, format!("gives a shell to somebody outside: `{name}`"));
        }
        if matches!(name, "ssh" | "dbclient") && rest.iter().any(|word| is_flag(word, 'R')) {
            self.tell(
                line,
                false,
                format!("lets somebody outside in, by a tunnel: `{name} -R`"),
            );
        }
        Some(said(name, rest))
    }

    /// What a program starts that it is given by an option or behind words of its own.
    pub(super) fn started_by(
        &mut self,
        line: u32,
        name: &str,
        rest: &[String],
        inner: &[String],
        depth: u32,
    ) {
        match (name, rest) {
            ("script", _) => {
                if let Some(script) = value(rest, &["-c"]) {
                    self.evaluates(line, script, inner, depth);
                }
            }
            ("trap", [script, _, ..]) if script.len() > 1 => self.evaluates(line, script, inner, depth),
            ("ip", [object, exec, _, program, ..]) if object.starts_with("netns") && exec == "exec" => {
                self.run(line, "runs", program);
            }
            ("find", _) => {
                let mut words = rest
                    .iter()
                    .skip_while(|word| *word != "-exec" && *word != "-execdir");
                if let Some(program) = words.nth(1) {
                    self.run(line, "runs", program);
                    if let Some(folder) = rest.first().filter(|_| SHELLS.contains(&name_of(program))) {
                        self.run_of_card(line, &format!("{folder}/*"));
                    }
                }
            }
            ("awk" | "gawk" | "mawk", _) => {
                if let Some(file) = value(rest, &["-f"]) {
                    self.run(line, "runs", file);
                }
            }
            _ => {}
        }
    }
}
