//! What starts a shell on a port again while a camera runs, whatever becomes of the file that told it to: loops, which a
//! shell has in its memory, and the first process.

use std::io;

use crate::journal::Journal;
use crate::listeners::{Listener, MAX_PROCESSES, is_called, is_device, proc_text};
use crate::root::{Root, name_of};
use crate::survey::contains;

/// Programs that run scripts.
const SHELLS: &[&str] = &["sh", "ash", "bash"];

/// Whether the first process is BusyBox's or sysvinit's, which read `/etc/inittab` again when they get `SIGHUP`. What cannot
/// be told is none of both.
#[must_use]
pub fn is_init(root: &Root) -> bool {
    let stat = proc_text(root, "/proc/1/stat").unwrap_or_default();
    stat.starts_with("1 (init)") || stat.starts_with("1 (linuxrc)")
}

/// What may start again what these processes are: their parents, and shells that run a script of the journal, as it was
/// when they began. Each with whether it may be ended: a shell that surely does, and that nothing else depends on.
#[must_use]
pub fn starters(root: &Root, listeners: &[Listener], pids: &[u32], journal: &Journal) -> Vec<(u32, bool)> {
    let list = root.list("/proc").unwrap_or_default();
    let all = list.iter().take(MAX_PROCESSES);
    let all = all.filter_map(|entry| entry.name.parse().ok());
    let all: Vec<(u32, Option<u32>)> = all.map(|pid| (pid, parent(root, pid))).collect();
    let mut found = Vec::new();
    for (pid, _) in all.iter().copied().filter(|(pid, _)| !pids.contains(pid)) {
        let said = proc_text(root, &format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let mut words = said.split('\0').skip_while(|word| name_of(word) == "busybox");
        let shell = words.next().is_some_and(|word| SHELLS.contains(&name_of(word)));
        let script = words.find(|word| shell && !word.starts_with('-'));
        let script = script.unwrap_or_default();
        let file = place(root, pid, script).unwrap_or_default();
        let name = name_of(if file.is_empty() { script } else { &file });
        // Who went elsewhere since is waited for by that name, and not ended.
        let loops = journal.entries.iter().any(|entry| name_of(&entry.path) == name);
        let children = || {
            let children = all.iter().filter(move |(_, parent)| *parent == Some(pid));
            children.map(|(child, _)| *child)
        };
        let starts = children().any(|child| pids.contains(&child));
        if loops || starts && !(pid == 1 && is_init(root)) {
            let listens = || {
                let mut all = listeners.iter().flat_map(|listener| &listener.processes);
                all.any(|process| process.pid == pid)
            };
            let no_device = || {
                let plain = |(number, link): (String, io::Result<String>)| {
                    link.is_ok_and(|link| !is_device(&number, &link))
                };
                let links = root.links(&format!("/proc/{pid}/fd"));
                links.is_ok_and(|links| links.into_iter().all(plain))
            };
            let known = starts || journal.entry(&file).is_some();
            let others = children().filter(|child| !pids.contains(child));
            let may_end = shell && pid > 1 && known && is_free(root, others, &file);
            found.push((pid, may_end && !listens() && no_device()));
        }
    }
    found
}

/// Where a shell's script lies.
fn place(root: &Root, pid: u32, script: &str) -> io::Result<String> {
    let folder = match script.as_bytes() {
        [] => return Err(io::ErrorKind::NotFound.into()),
        [b'/', ..] => String::new(),
        _ => root.link(&format!("/proc/{pid}/cwd"))?,
    };
    root.canonical(&format!("{folder}/{script}"))
}

/// Whether a shell waits for nobody but its sleep, and so for none that waits for us, and its script does not feed the
/// watchdog, now or at its next round. What cannot be told is no.
fn is_free(root: &Root, mut others: impl Iterator<Item = u32>, file: &str) -> bool {
    others.all(|child| is_called(root, child, "sleep"))
        && root
            .read(file)
            .is_ok_and(|text| !contains(&text, b"/dev/watchdog"))
}

/// What has ended is nobody's child.
fn parent(root: &Root, pid: u32) -> Option<u32> {
    let stat = proc_text(root, &format!("/proc/{pid}/stat")).ok()?;
    let (_, after) = stat.rsplit_once(')')?;
    let mut fields = after.split_ascii_whitespace();
    fields.next().filter(|state| *state != "Z")?;
    fields.next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::journal::Entry;

    #[test]
    fn loops_and_parents_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        for folder in ["etc/init.d", "mnt"] {
            fs::create_dir_all(path(folder)).unwrap();
        }
        for (script, text) in [
            ("etc/init.d/loop", ""),
            ("mnt/loop", ""),
            ("etc/init.d/app", ""),
            ("etc/init.d/dog", "echo >/dev/watchdog"),
            ("etc/init.d/rcS", ""),
            ("etc/init.d/other", ""),
        ] {
            fs::write(path(script), text).unwrap();
        }
        symlink("loop", path("etc/init.d/S99loop")).unwrap();
        for (pid, parent, words, open) in [
            (1, 0, "/sbin/init", "/dev/console"),
            (10, 1, "telnetd", "socket:[1]"),
            (11, 1, "/bin/sh /etc/init.d/S99loop start", "/dev/ttyS0"),
            (12, 1, "busybox ash -e ./loop", "pipe:[1]"),
            (13, 1, "/bin/sh /etc/init.d/loop", "/dev/watchdog"),
            (14, 1, "/bin/sh /etc/init.d/other", "pipe:[1]"),
            (15, 1, "/bin/sh", "pipe:[1]"),
            (16, 1, "vi /etc/init.d/loop", "pipe:[1]"),
            (17, 1, "sh loop", "pipe:[1]"),
            (18, 11, "sleep 5", "pipe:[1]"),
            // Nobody has asked yet how it ended.
            (19, 11, "", "pipe:[1]"),
            (20, 21, "telnetd -F", "socket:[1]"),
            (21, 1, "/bin/sh -c while", "socket:[1]"),
            (22, 23, "telnetd -F", "socket:[1]"),
            (23, 1, "supervisor", "pipe:[1]"),
            (24, 25, "telnetd -F", "socket:[1]"),
            (25, 1, "-sh", "pipe:[1]"),
            (26, 27, "telnetd -F", "socket:[1]"),
            (27, 1, "/bin/sh other", "pipe:[1]"),
            (28, 29, "telnetd -F", "socket:[1]"),
            (29, 1, "/bin/sh -c while", "pipe:[1]"),
            (30, 1, "/bin/sh /etc/init.d/app", "pipe:[1]"),
            (31, 30, "/bin/sh /etc/init.d/app", "pipe:[1]"),
            (32, 31, "ipcam", "/dev/venc"),
            (33, 1, "/bin/sh /etc/init.d/dog", "pipe:[1]"),
            (34, 1, "/bin/sh /etc/init.d/rcS", "pipe:[1]"),
            (35, 34, "/bin/sh /etc/init.d/S34lenscap start", "pipe:[1]"),
            (36, 35, "/usr/sbin/lenscap harden --boot", "pipe:[1]"),
        ] {
            let folder = path(&format!("proc/{pid}"));
            fs::create_dir_all(folder.join("fd")).unwrap();
            fs::write(folder.join("cmdline"), words.replace(' ', "\0") + "\0").unwrap();
            let name = words.split(' ').next().unwrap().trim_start_matches("/sbin/");
            let state = if words.is_empty() { 'Z' } else { 'S' };
            fs::write(
                folder.join("stat"),
                format!("{pid} ({name}) {state} {parent} 1 1 0\n"),
            )
            .unwrap();
            symlink(open, folder.join("fd/0")).unwrap();
            let here = if pid == 17 { "/mnt" } else { "/etc/init.d" };
            symlink(here, folder.join("cwd")).unwrap();
        }
        fs::create_dir_all(path("proc/net")).unwrap();
        let table = " 0: 00000000:0017 00000000:0000 0A 0:0 0:0 0 0 0 1 1\n";
        fs::write(path("proc/net/tcp"), format!("sl\n{table}")).unwrap();
        let root = Root::tree(dir.path()).unwrap();
        let listeners = crate::listeners::read(&root).unwrap();
        let of = |pids: &[u32], scripts: &[&str]| {
            let mut journal = Journal::default();
            for script in scripts {
                journal.put(Entry {
                    path: (*script).to_owned(),
                    original: None,
                    written: String::new(),
                    insecure: false,
                    below: false,
                    why: String::new(),
                });
            }
            starters(&root, &listeners, pids, &journal)
        };
        let edited = &["/etc/init.d/loop", "/etc/passwd"];
        // One holds the watchdog, and another is of the same name alone.
        let needed = [(13, false), (17, false)];
        assert_eq!(of(&[10], edited), [[(11, true), (12, true)], needed].concat());
        // They start the camera's program, feed the watchdog now and then, or wait for us at boot.
        let edited = &["/etc/init.d/app", "/etc/init.d/dog", "/etc/init.d/rcS"];
        let needed = [(30, false), (31, false), (33, false), (34, false)];
        assert_eq!(of(&[10], edited), needed);
        // A process of its own that listens on what is open is not ended, nor what is no shell that runs a script that
        // can be read.
        let parents = of(&[20, 22, 24, 26, 28], &[]);
        let needed = [(21, false), (23, false), (25, false)];
        assert_eq!(parents, [&needed[..], &[(27, true), (29, false)]].concat());
        assert!(is_init(&root));
        assert_eq!(of(&[10], &[]), []);
        fs::write(path("proc/1/stat"), "1 (procd) S 0 0 0 0\n").unwrap();
        assert!(!is_init(&root));
        assert_eq!(of(&[10], &[]), [(1, false)]);
    }
}
