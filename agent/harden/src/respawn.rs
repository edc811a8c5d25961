//! What starts a shell on a port again while a camera runs, whatever becomes of the file that told it to: loops, which a
//! shell has in its memory, and the first process.

use std::io;

use crate::journal::Journal;
use crate::listeners::{Listener, MAX_PROCESSES, is_device, proc_text};
use crate::root::{Root, name_of};

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
/// when they began. Each with whether it may be ended: a shell that nothing else depends on.
#[must_use]
pub fn starters(root: &Root, listeners: &[Listener], pids: &[u32], journal: &Journal) -> Vec<(u32, bool)> {
    let parents: Vec<u32> = pids.iter().filter_map(|pid| parent(root, *pid)).collect();
    let mut found = Vec::new();
    for entry in root.list("/proc").unwrap_or_default().iter().take(MAX_PROCESSES) {
        let Ok(pid) = entry.name.parse() else {
            continue;
        };
        let words = proc_text(root, &format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let mut words = words.split('\0').skip_while(|word| name_of(word) == "busybox");
        let shell = words.next().is_some_and(|word| SHELLS.contains(&name_of(word)));
        let script = words.find(|word| !word.starts_with('-')).unwrap_or_default();
        let loops = shell && was_edited(root, script, journal);
        if !pids.contains(&pid) && (loops || parents.contains(&pid) && !(pid == 1 && is_init(root))) {
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
            found.push((pid, shell && pid > 1 && !listens() && no_device()));
        }
    }
    found
}

/// A script that somebody started where it lies is known by its name alone.
fn was_edited(root: &Root, script: &str, journal: &Journal) -> bool {
    let path = if script.starts_with('/') {
        root.canonical(script).unwrap_or_default()
    } else {
        format!("/{}", name_of(script))
    };
    path.len() > 1 && journal.entries.iter().any(|entry| entry.path.ends_with(&path))
}

fn parent(root: &Root, pid: u32) -> Option<u32> {
    let stat = proc_text(root, &format!("/proc/{pid}/stat")).ok()?;
    let (_, after) = stat.rsplit_once(')')?;
    after.split_ascii_whitespace().nth(1)?.parse().ok()
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
        fs::create_dir_all(path("etc/init.d")).unwrap();
        fs::write(path("etc/init.d/loop"), "").unwrap();
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
            (20, 21, "telnetd -F", "socket:[1]"),
            (21, 1, "/bin/sh -c while", "socket:[1]"),
            (22, 23, "telnetd -F", "socket:[1]"),
            (23, 1, "supervisor", "pipe:[1]"),
            (24, 25, "telnetd -F", "socket:[1]"),
            (25, 1, "-sh", "pipe:[1]"),
        ] {
            let folder = path(&format!("proc/{pid}"));
            fs::create_dir_all(folder.join("fd")).unwrap();
            fs::write(folder.join("cmdline"), words.replace(' ', "\0") + "\0").unwrap();
            let name = words.split(' ').next().unwrap().trim_start_matches("/sbin/");
            fs::write(folder.join("stat"), format!("{pid} ({name}) S {parent} 1 1 0\n")).unwrap();
            symlink(open, folder.join("fd/0")).unwrap();
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
                    why: String::new(),
                });
            }
            starters(&root, &listeners, pids, &journal)
        };
        let edited = &["/etc/init.d/loop", "/etc/passwd"];
        let watched = (13, false);
        assert_eq!(of(&[10], edited), [(11, true), (12, true), watched]);
        // A process of its own that listens on what is open is not ended, nor what is no shell that runs a script.
        let parents = of(&[20, 22, 24], &[]);
        assert_eq!(parents, [(21, false), (23, false), (25, false)]);
        assert!(is_init(&root));
        assert_eq!(of(&[10], &[]), []);
        fs::write(path("proc/1/stat"), "1 (procd) S 0 0 0 0\n").unwrap();
        assert!(!is_init(&root));
        assert_eq!(of(&[10], &[]), [(1, false)]);
    }
}
