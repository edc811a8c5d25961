//! Who listens on a running camera: socket, by its inode to the process, to its program (proc(5)).

use std::io;

use crate::edits::Edits;
use crate::report::{Measure, Status};
use crate::root::{Root, name_of};

/// `TCP_LISTEN` in `/proc/net/tcp`.
const LISTEN: &str = "0A";
/// The most processes that are looked at.
const MAX_PROCESSES: usize = 4096;
/// Ports where cameras of many makers give a shell.
const SHELL_PORTS: &[u16] = &[23, 2323, 4321, 9527, 9530];
/// Ports worth knowing.
const NOTED_PORTS: &[(u16, &str)] = &[(21, "FTP"), (34567, "DVRIP")];
/// Programs that give a shell.
const SERVERS: &[&str] = &["telnetd", "utelnetd", "in.telnetd"];
/// What a streamer listens on.
const RTSP_PORTS: &[u16] = &[554, 8554];

/// A TCP port that is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// The port.
    pub port: u16,
    /// Whether only this camera reaches it.
    pub loopback: bool,
    /// Who has it. Empty: it could not be told, or the kernel itself.
    pub processes: Vec<Process>,
}

/// A process that listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// Its program's file, if it may be known; ends in ` (deleted)` if that is gone.
    pub program: Option<String>,
    /// Its command line.
    pub words: Vec<String>,
    /// Why it must never be stopped, if so.
    pub vital: Option<&'static str>,
}

impl Process {
    fn gives_shell(&self) -> bool {
        let named = |word: &String| SERVERS.contains(&name_of(word));
        let program = self.program.as_ref().is_some_and(named);
        let nc = matches!(
            self.words.first().map(|word| name_of(word)),
            Some("nc" | "ncat" | "netcat" | "busybox")
        ) && self.words.iter().any(|word| word == "-e");
        // BusyBox is told what to be by its first or second word.
        program || nc || self.words.iter().take(2).any(named)
    }
}

/// The open TCP ports of a running camera.
///
/// # Errors
/// When `/proc` cannot be read.
pub fn read(root: &Root) -> io::Result<Vec<Listener>> {
    let mut listeners: Vec<(u64, Listener)> = Vec::new();
    for (table, required) in [("/proc/net/tcp", true), ("/proc/net/tcp6", false)] {
        match proc_text(root, table) {
            Ok(text) => text
                .lines()
                .skip(1)
                .filter_map(socket)
                .for_each(|socket| add_socket(socket, &mut listeners)),
            // A kernel without IPv6.
            Err(_) if !required => {}
            Err(error) => return Err(error),
        }
    }
    for entry in root.list("/proc")?.iter().take(MAX_PROCESSES) {
        if let Ok(pid) = entry.name.parse() {
            add_process(root, pid, &mut listeners);
        }
    }
    Ok(listeners.into_iter().map(|(_, listener)| listener).collect())
}

/// Sorted by port.
fn add_socket((inode, (port, loopback)): (u64, (u16, bool)), listeners: &mut Vec<(u64, Listener)>) {
    let at = listeners.partition_point(|(_, have)| (have.port, have.loopback) < (port, loopback));
    let processes = Vec::new();
    listeners.insert(
        at,
        (
            inode,
            Listener {
                port,
                loopback,
                processes,
            },
        ),
    );
}

/// Files of `/proc` are of size 0 and end when they end.
fn proc_text(root: &Root, path: &str) -> io::Result<String> {
    let text = root.head(path, crate::root::MAX_TEXT_BYTES as u64)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// A listening socket's inode, port, and whether it is bound to the loopback.
fn socket(line: &str) -> Option<(u64, (u16, bool))> {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let [_, local, _, state, _, _, _, _, _, inode, ..] = fields.as_slice() else {
        return None;
    };
    if *state != LISTEN {
        return None;
    }
    let (address, port) = local.split_once(':')?;
    // Numbers of 32 bits in the byte order of the machine; `::1`, `127/8` and `::ffff:127/8` in either.
    let loopback = match address.len() {
        8 => address.ends_with("7F") || address.starts_with("7F"),
        32 => {
            let (prefix, last) = address.split_at(24);
            let zero = prefix.bytes().all(|byte| byte == b'0');
            let mapped = prefix.starts_with("0000000000000000") && prefix.contains("FFFF");
            zero && matches!(last, "01000000" | "00000001")
                || mapped && (last.ends_with("7F") || last.starts_with("7F"))
        }
        _ => return None,
    };
    Some((
        inode.parse().ok()?,
        (u16::from_str_radix(port, 16).ok()?, loopback),
    ))
}

fn add_process(root: &Root, pid: u32, listeners: &mut [(u64, Listener)]) {
    let folder = format!("/proc/{pid}");
    // Processes end while they are looked at.
    let Ok(descriptors) = root.list(&format!("{folder}/fd")) else {
        return;
    };
    let links: Vec<String> = descriptors
        .iter()
        .filter_map(|entry| root.link(&format!("{folder}/fd/{}", entry.name)).ok())
        .collect();
    let inodes: Vec<u64> = links
        .iter()
        .filter_map(|link| link.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok())
        .filter(|inode| listeners.iter().any(|(have, _)| have == inode))
        .collect();
    if inodes.is_empty() {
        return;
    }
    let rtsp = listeners
        .iter()
        .any(|(inode, have)| inodes.contains(inode) && RTSP_PORTS.contains(&have.port));
    let vital = if rtsp {
        Some("it serves RTSP")
    } else if links.iter().any(|link| link.starts_with("/dev/video")) {
        Some("it holds a video device")
    } else if links.iter().any(|link| link.starts_with("/dev/watchdog")) {
        Some("it feeds the watchdog")
    } else {
        None
    };
    let words = proc_text(root, &format!("{folder}/cmdline")).unwrap_or_default();
    let process = Process {
        pid,
        program: root.link(&format!("{folder}/exe")).ok(),
        words: words
            .split('\0')
            .filter(|word| !word.is_empty())
            .map(str::to_owned)
            .collect(),
        vital,
    };
    for inode in inodes {
        if let Some((_, listener)) = listeners.iter_mut().find(|(have, _)| *have == inode)
            && !listener.processes.contains(&process)
        {
            listener.processes.push(process.clone());
        }
    }
}

/// The processes that give shells to the network and may be stopped.
#[must_use]
pub fn stoppable(listeners: &[Listener]) -> Vec<u32> {
    let open = listeners.iter().filter(|listener| !listener.loopback);
    let processes = open.flat_map(|listener| &listener.processes);
    let shells =
        processes.filter(|process| process.gives_shell() && process.vital.is_none() && process.pid > 1);
    shells.map(|process| process.pid).collect()
}

/// Judges the open ports of a running camera.
pub(crate) fn report(root: &Root, edits: &mut Edits<'_>) {
    let listeners = match read(root) {
        Ok(listeners) => listeners,
        Err(error) => {
            let text = format!("open ports could not be read: {error}");
            return edits.find(Measure::Telnet, Status::Unknown, None, text);
        }
    };
    for listener in listeners.iter().filter(|listener| !listener.loopback) {
        let port = listener.port;
        let who = listener.processes.first();
        let name = who.map_or("a program that could not be told".into(), describe);
        let shell = listener.processes.iter().any(Process::gives_shell);
        let noted = NOTED_PORTS.iter().find(|(noted, _)| *noted == port);
        let (status, text) = if shell {
            (Status::Fails, format!("port {port} gives a shell: {name}"))
        } else if SHELL_PORTS.contains(&port) {
            (
                Status::Unknown,
                format!("port {port} is open, where cameras give shells: {name}"),
            )
        } else if let Some((_, protocol)) = noted {
            (
                Status::Notice,
                format!("port {port} ({protocol}) is open: {name}"),
            )
        } else {
            continue;
        };
        let vital = who.and_then(|process| process.vital);
        let text = vital.map_or(text.clone(), |why| {
            format!("{text}; it must not be stopped: {why}")
        });
        edits.find(Measure::Telnet, status, None, text);
    }
}

fn describe(process: &Process) -> String {
    let program = process.program.as_deref().unwrap_or("an unknown file");
    format!(
        "process {} of {program}, started as `{}`",
        process.pid,
        process.words.join(" ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn sockets_are_read_in_both_families() {
        for (line, expected) in [
            (
                "   0: 00000000:0017 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 101 1 0",
                Some((101, (23, false))),
            ),
            (
                "   1: 0100007F:022A 00000000:0000 0A 0:0 0:0 0 0 0 102 1",
                Some((102, (554, true))),
            ),
            (
                "   1: 7F000001:022A 00000000:0000 0A 0:0 0:0 0 0 0 102 1",
                Some((102, (554, true))),
            ),
            ("   1: 0100007F:022A 00000000:0000 01 0:0 0:0 0 0 0 103 1", None),
            (
                "   2: 00000000000000000000000000000000:1BB3 0:0 0A 0:0 0:0 0 0 0 104 1",
                Some((104, (7091, false))),
            ),
            (
                "   2: 00000000000000000000000001000000:1BB3 0:0 0A 0:0 0:0 0 0 0 104 1",
                Some((104, (7091, true))),
            ),
            (
                "   2: 0000000000000000FFFF00000100007F:1BB3 0:0 0A 0:0 0:0 0 0 0 104 1",
                Some((104, (7091, true))),
            ),
            ("nonsense", None),
            ("", None),
        ] {
            assert_eq!(socket(line), expected, "{line}");
        }
    }

    /// A `/proc` as a camera has it.
    fn camera(processes: &[(u32, &str, &str, &[&str])], sockets: &[(u16, u32)]) -> (tempfile::TempDir, Root) {
        let dir = tempfile::tempdir().unwrap();
        let proc = dir.path().join("proc");
        fs::create_dir_all(proc.join("net")).unwrap();
        let mut table = String::from("  sl  local_address\n");
        for (port, inode) in sockets {
            table.push_str(&format!(
                " 0: 00000000:{port:04X} 00000000:0000 0A 0:0 0:0 0 0 0 {inode} 1\n"
            ));
        }
        fs::write(proc.join("net/tcp"), table).unwrap();
        for (pid, exe, cmdline, descriptors) in processes {
            let folder = proc.join(pid.to_string());
            fs::create_dir_all(folder.join("fd")).unwrap();
            symlink(exe, folder.join("exe")).unwrap();
            fs::write(folder.join("cmdline"), cmdline.replace(' ', "\0") + "\0").unwrap();
            for (number, target) in descriptors.iter().enumerate() {
                symlink(target, folder.join("fd").join(number.to_string())).unwrap();
            }
        }
        let root = Root::tree(dir.path()).unwrap();
        (dir, root)
    }

    #[test]
    fn who_gives_a_shell_is_told() {
        let (_dir, root) = camera(
            &[
                (
                    10,
                    "/bin/busybox",
                    "telnetd -l /bin/sh",
                    &["/dev/null", "socket:[1]"],
                ),
                (
                    11,
                    "/usr/bin/Sofia",
                    "/usr/bin/Sofia",
                    &["socket:[2]", "socket:[3]", "/dev/watchdog"],
                ),
                (12, "/usr/sbin/dropbear", "dropbear -R", &["socket:[4]"]),
                (13, "/tmp/x (deleted)", "kjhgf", &["socket:[5]"]),
                (14, "/bin/busybox", "sh", &["/dev/console"]),
            ],
            &[(23, 1), (9527, 2), (34567, 3), (22, 4), (2323, 5), (4321, 6)],
        );
        assert_eq!(stoppable(&read(&root).unwrap()), [10]);
        let mut edits = Edits::new(&root);
        report(&root, &mut edits);
        let found: Vec<(Status, &str)> = edits
            .findings
            .iter()
            .map(|finding| (finding.status, finding.text.as_str()))
            .collect();
        assert_eq!(
            found,
            [
                (
                    Status::Fails,
                    "port 23 gives a shell: process 10 of /bin/busybox, started as `telnetd -l /bin/sh`"
                ),
                (
                    Status::Unknown,
                    "port 2323 is open, where cameras give shells: process 13 of /tmp/x (deleted), started as `kjhgf`"
                ),
                (
                    Status::Unknown,
                    "port 4321 is open, where cameras give shells: a program that could not be told"
                ),
                (
                    Status::Unknown,
                    "port 9527 is open, where cameras give shells: process 11 of /usr/bin/Sofia, started as `/usr/bin/Sofia`; it must not be stopped: it feeds the watchdog"
                ),
                (
                    Status::Notice,
                    "port 34567 (DVRIP) is open: process 11 of /usr/bin/Sofia, started as `/usr/bin/Sofia`; it must not be stopped: it feeds the watchdog"
                ),
            ]
        );
    }

    #[test]
    fn a_real_listener_is_found() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        let root = Root::live().unwrap();
        let listeners = read(&root).unwrap();
        let own = listeners.iter().find(|listener| listener.port == port).unwrap();
        assert!(own.loopback);
        assert_eq!(own.processes[0].pid, std::process::id());
        let exe = std::env::current_exe().unwrap();
        assert_eq!(own.processes[0].program.as_deref(), exe.to_str());
    }

    #[test]
    fn a_camera_whose_proc_cannot_be_read_is_unknown() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::tree(dir.path()).unwrap();
        let mut edits = Edits::new(&root);
        report(&root, &mut edits);
        assert_eq!(edits.findings[0].status, Status::Unknown);
    }
}
