//! Who listens on a running camera: socket, by its inode to the process, to its program (proc(5)).

use core::net::{IpAddr, SocketAddr};
use std::io;

use crate::edits::Edits;
use crate::firewall::{Policy, facts};
use crate::gate::SshLogin;
use crate::report::{Measure, Status};
use crate::root::{Root, name_of};
use crate::telnet::relays_shell;

/// `TCP_LISTEN` in `/proc/net/tcp`.
const LISTEN: &str = "0A";
/// The most processes that are looked at.
pub(crate) const MAX_PROCESSES: usize = 4096;
/// Ports where cameras of many makers give a shell.
const SHELL_PORTS: &[u16] = &[23, 512, 513, 514, 2323, 4321, 5555, 7681, 9527, 9530];
/// Ports worth knowing, and what the configuration calls them.
const NOTED_PORTS: &[(u16, &str, &str)] = &[(21, "FTP", "ftp"), (34567, "DVRIP", "dvrip")];
/// Programs that give a shell.
pub(crate) const SHELL_SERVERS: &[&str] = &[
    "telnetd",
    "utelnetd",
    "in.telnetd",
    "adbd",
    "ttyd",
    "shellinaboxd",
    "in.rshd",
    "in.rlogind",
    "in.rexecd",
    "rshd",
    "rlogind",
    "rexecd",
];
/// SSH servers.
const DROPBEAR: &str = "dropbear";
/// What OpenSSH's server is called.
pub const OPENSSH: &str = "sshd";
/// Programs that give files.
pub(crate) const FTP_SERVERS: &[&str] = &[
    "ftpd",
    "in.ftpd",
    "vsftpd",
    "proftpd",
    "pure-ftpd",
    "bftpd",
    "stupid-ftpd",
];
/// What a streamer listens on.
const RTSP_PORTS: &[u16] = &[554, 8554];
/// Video devices: of Video4Linux, and of the makers' own interfaces (HiSilicon and Goke, SigmaStar, Ingenic, Ambarella,
/// Rockchip).
const VIDEO_DEVICES: &[&str] = &[
    "/dev/video",
    "/dev/vi",
    "/dev/venc",
    "/dev/vpss",
    "/dev/isp",
    "/dev/mmz_userdev",
    "/dev/mi_",
    "/dev/tx-isp",
    "/dev/avpu",
    "/dev/iav",
    "/dev/mpp_service",
];

/// Device files that say nothing about what a program is for. Terminals count only as its first three descriptors: others
/// are serial lines, to which a camera's motors listen.
const COMMON_DEVICES: &[&str] = &[
    "/dev/null",
    "/dev/zero",
    "/dev/full",
    "/dev/random",
    "/dev/urandom",
    "/dev/tty",
    "/dev/console",
    "/dev/ptmx",
    "/dev/log",
];
const COMMON_FOLDERS: &[&str] = &["/dev/pts/", "/dev/shm/"];
/// Buffers of a media driver have these names.
const BUFFERS: &[&str] = &["/dmabuf:", "anon_inode:dmabuf", "anon_inode:sync_file"];

/// Services that are closed only where somebody says so.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Close {
    /// FTP.
    pub ftp: bool,
    /// DVRIP, the protocol of XiongMai's cameras and their kin.
    pub dvrip: bool,
}

impl Close {
    /// One of them, by its name in the configuration.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let (ftp, dvrip) = (name == "ftp", name == "dvrip");
        (ftp || dvrip).then_some(Self { ftp, dvrip })
    }

    fn wants(self, port: u16) -> bool {
        match port {
            21 => self.ftp,
            34567 => self.dvrip,
            _ => false,
        }
    }
}

/// A TCP port that is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// The port.
    pub port: u16,
    /// Where it is open.
    pub address: IpAddr,
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
    /// Why a program that is known by its port alone must not be stopped, if so: it may be the camera's own.
    pub doubt: Option<&'static str>,
    /// All the TCP ports that it listens on.
    pub ports: Vec<u16>,
}

impl Process {
    /// Its program, or what BusyBox is told to be by its first or second word.
    fn is_named(&self, servers: &[&str]) -> bool {
        let named = |word: &String| servers.contains(&name_of(word));
        self.program.as_ref().is_some_and(named) || self.words.iter().take(2).any(named)
    }

    fn gives_shell(&self) -> bool {
        let nc = matches!(
            self.words.first().map(|word| name_of(word)),
            Some("nc" | "ncat" | "netcat" | "busybox")
        ) && self.words.iter().any(|word| word == "-e");
        let words: Vec<&str> = self.words.iter().map(String::as_str).collect();
        let words = match words.as_slice() {
            [first, rest @ ..] if name_of(first) == "busybox" => rest,
            words => words,
        };
        let relays = matches!(words, [first, rest @ ..] if relays_shell(name_of(first), rest));
        nc || relays || self.is_named(SHELL_SERVERS)
    }

    /// Why it may not be stopped for a service on a port of its, if so. A program that does more than that service is
    /// needed for something else: `inetd`, or the camera's own.
    fn bound(&self, port: u16) -> Option<&'static str> {
        if self.gives_shell() {
            return self.vital;
        }
        let alone = self.ports.iter().all(|have| *have == port);
        let other = (!alone).then_some("it serves other ports too");
        self.vital.or(other).or(self.doubt)
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
    let mut cameras = Vec::new();
    for entry in root.list("/proc")?.iter().take(MAX_PROCESSES) {
        if let Ok(pid) = entry.name.parse() {
            add_process(root, pid, &mut listeners, &mut cameras);
        }
    }
    // Another process of the camera's own program is a part of it.
    for (_, listener) in &mut listeners {
        for process in &mut listener.processes {
            if process
                .program
                .as_ref()
                .is_some_and(|program| cameras.contains(program))
            {
                process.doubt = Some("its program is the camera's own");
            }
        }
    }
    Ok(listeners.into_iter().map(|(_, listener)| listener).collect())
}

/// What opens a root login by SSH.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Logins {
    /// A key that Dropbear asks for.
    pub dropbear_key: bool,
    /// A key that OpenSSH asks for.
    pub other_key: bool,
    /// A password that can be typed.
    pub password: bool,
    /// None at all.
    pub blank: bool,
}

/// An SSH server at a port where others reach it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ssh {
    /// Where it listens. Each of these servers has a socket for IPv4 and one for IPv6, which takes nothing else.
    pub at: SocketAddr,
    /// What its program is called.
    pub program: &'static str,
    /// Its file; empty if that cannot be told.
    pub path: String,
    /// The words that it was started with, and a blank between them.
    pub words: String,
}

/// The SSH servers that listen for others.
#[must_use]
pub fn ssh_servers(listeners: &[Listener]) -> Vec<Ssh> {
    let mut servers = Vec::new();
    for listener in listeners.iter().filter(|listener| !listener.loopback) {
        for process in &listener.processes {
            let dropbear = process.is_named(&[DROPBEAR]);
            if !dropbear && !process.is_named(&[OPENSSH]) {
                continue;
            }
            servers.push(Ssh {
                at: SocketAddr::new(listener.address, listener.port),
                program: if dropbear { DROPBEAR } else { OPENSSH },
                path: process.program.clone().unwrap_or_default(),
                words: process.words.join(" "),
            });
        }
    }
    servers
}

impl Ssh {
    /// How a server that has these words lets root in, and whether it asks for root's password: with a key, or with a password
    /// where Dropbear takes those. What others are told of passwords stands in files of their own, and counts as no.
    #[must_use]
    pub fn login(&self, words: &str, logins: &Logins) -> (SshLogin, bool) {
        // Options may be joined.
        let has = |options: &[char]| {
            let mut words = words.split(' ');
            // Paths may be joined to theirs.
            words.any(|word| word.starts_with('-') && !word.contains('/') && word.contains(options))
        };
        let dropbear = self.program == DROPBEAR;
        // Dropbear takes no root, its own command alone, a group alone, or both a key and a password; OpenSSH's
        // settings stand elsewhere.
        let none = has(if dropbear {
            &['w', 'c', 'G', 't']
        } else {
            &['f', 'o']
        });
        let asks = dropbear && !none && !has(&['s', 'g']);
        // Dropbear's keys may lie elsewhere.
        let key = if dropbear {
            logins.dropbear_key && !has(&['D'])
        } else {
            logins.other_key
        };
        let login = if key && !none {
            SshLogin::Key
        } else if asks && logins.blank && has(&['B']) {
            SshLogin::Blank
        } else if asks && logins.password {
            SshLogin::Password
        } else {
            SshLogin::None
        };
        (login, asks)
    }

    /// The ports that words name; none: where it listens by itself.
    fn ports<'w>(&self, words: &'w str) -> Vec<&'w str> {
        let usual = if self.program == DROPBEAR { "22" } else { "" };
        let mut ports = Vec::new();
        let mut words = words.split(' ');
        while let Some(word) = words.next() {
            let port = match word.strip_prefix("-p") {
                Some("") => words.next(),
                joined => joined,
            };
            // An address may stand before it.
            let port = port.and_then(|port| port.rsplit(':').next());
            ports.extend(port.filter(|port| *port != usual));
        }
        ports
    }

    /// Whether the words of a start script start this one. `alone`: whether no other server of its program listens elsewhere;
    /// then a port that cannot be told is this one's.
    #[must_use]
    pub fn is_started_by(&self, words: &str, alone: bool) -> bool {
        let ports = self.ports(words);
        let untold = |text: &str| text.contains(['$', '`']);
        ports == self.ports(&self.words) || alone && untold(words) && ports.iter().all(|port| untold(port))
    }
}

/// Sorted by port.
fn add_socket((inode, (address, port)): (u64, (IpAddr, u16)), listeners: &mut Vec<(u64, Listener)>) {
    let loopback = address.is_loopback();
    let at = listeners.partition_point(|(_, have)| (have.port, have.loopback) < (port, loopback));
    let processes = Vec::new();
    listeners.insert(
        at,
        (
            inode,
            Listener {
                port,
                address,
                loopback,
                processes,
            },
        ),
    );
}

/// Files of `/proc` are of size 0 and end when they end.
pub(crate) fn proc_text(root: &Root, path: &str) -> io::Result<String> {
    let text = root.head(path, crate::root::MAX_TEXT_BYTES as u64)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// A listening socket's inode, address and port.
fn socket(line: &str) -> Option<(u64, (IpAddr, u16))> {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let [_, local, _, state, _, _, _, _, _, inode, ..] = fields.as_slice() else {
        return None;
    };
    if *state != LISTEN {
        return None;
    }
    Some((inode.parse().ok()?, facts::socket(local)?))
}

/// `cameras` gets the programs that hold what only the camera's own do.
fn add_process(root: &Root, pid: u32, listeners: &mut [(u64, Listener)], cameras: &mut Vec<String>) {
    let folder = format!("/proc/{pid}");
    // Processes end while they are looked at.
    let Ok(descriptors) = root.links(&format!("{folder}/fd")) else {
        return;
    };
    // Neither have the kernel's own.
    if descriptors.is_empty() {
        return;
    }
    let mut unread = false;
    let mut links = Vec::new();
    let mut strange = false;
    for (number, link) in descriptors {
        match link {
            Ok(link) => {
                strange |= is_device(&number, &link);
                links.push(link);
            }
            // It is closed by now.
            Err(error) => unread |= error.kind() != io::ErrorKind::NotFound,
        }
    }
    let inodes: Vec<u64> = links
        .iter()
        .filter_map(|link| link.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok())
        .filter(|inode| listeners.iter().any(|(have, _)| have == inode))
        .collect();
    let rtsp = listeners
        .iter()
        .any(|(inode, have)| inodes.contains(inode) && RTSP_PORTS.contains(&have.port));
    let holds = |devices: &[&str]| {
        let of_these = |link: &String| devices.iter().any(|device| link.starts_with(device));
        links.iter().any(of_these)
    };
    let vital = if rtsp {
        Some("it serves RTSP")
    } else if holds(VIDEO_DEVICES) {
        Some("it holds a video device")
    } else if holds(&["/dev/watchdog"]) {
        Some("it feeds the watchdog")
    } else {
        None
    };
    let program = root.link(&format!("{folder}/exe")).ok();
    if vital.is_some()
        && let Some(program) = program.as_ref().filter(|program| name_of(program) != "busybox")
    {
        cameras.push(program.clone());
    }
    if inodes.is_empty() {
        return;
    }
    let ports: Vec<u16> = listeners
        .iter()
        .filter(|(inode, _)| inodes.contains(inode))
        .map(|(_, listener)| listener.port)
        .collect();
    let noted = |port: &u16| NOTED_PORTS.iter().any(|(noted, ..)| noted == port);
    let doubt = if strange {
        Some("it holds a device, and may be the camera's own program")
    } else if unread || ports.iter().any(noted) && maps_device(root, &folder) != Some(false) {
        Some("what it holds cannot be told, or is a device")
    } else {
        None
    };
    let words = proc_text(root, &format!("{folder}/cmdline")).unwrap_or_default();
    let process = Process {
        pid,
        program,
        words: words
            .split('\0')
            .filter(|word| !word.is_empty())
            .map(str::to_owned)
            .collect(),
        vital,
        doubt,
        ports,
    };
    for inode in inodes {
        if let Some((_, listener)) = listeners.iter_mut().find(|(have, _)| *have == inode)
            && !listener.processes.contains(&process)
        {
            listener.processes.push(process.clone());
        }
    }
}

/// Whether a descriptor leads to a device that has a purpose.
pub(crate) fn is_device(number: &str, link: &str) -> bool {
    let name = link.strip_suffix(" (deleted)").unwrap_or(link);
    let common = || {
        COMMON_DEVICES.contains(&name)
            || COMMON_FOLDERS.iter().any(|folder| name.starts_with(folder))
            || matches!(number, "0" | "1" | "2") && name.starts_with("/dev/tty")
    };
    ["/dev/", "/sys/"].iter().any(|folder| name.starts_with(folder)) && !common()
        || BUFFERS.iter().any(|start| name.starts_with(start))
}

/// Whether a process has a device in its memory, which needs no descriptor. `None`: it could not be told.
fn maps_device(root: &Root, folder: &str) -> Option<bool> {
    let text = proc_text(root, &format!("{folder}/maps")).ok()?;
    // Addresses, access, offset, device, inode, and what is mapped.
    let path = |line: &str| {
        line.find('/')
            .is_some_and(|at| line.get(at..).is_some_and(|path| is_device("", path)))
    };
    Some(text.lines().any(path))
}

/// The processes that give shells to the network, or a service that is to be closed, and may be stopped.
#[must_use]
pub fn stoppable(listeners: &[Listener], close: Close) -> Vec<u32> {
    let mut pids = Vec::new();
    for Listener { port, processes, .. } in listeners.iter().filter(|listener| !listener.loopback) {
        for process in processes {
            let unwanted =
                process.gives_shell() || close.wants(*port) || close.ftp && process.is_named(FTP_SERVERS);
            if unwanted && process.bound(*port).is_none() && process.pid > 1 && !pids.contains(&process.pid) {
                pids.push(process.pid);
            }
        }
    }
    pids
}

/// What inetd listens on: its process and the port of each socket. One that must not be signalled is left out.
#[must_use]
pub fn inetd(listeners: &[Listener]) -> Vec<(u32, u16)> {
    let mut found = Vec::new();
    for Listener { port, processes, .. } in listeners {
        let inetd = processes
            .iter()
            .filter(|process| process.vital.is_none() && process.pid > 1);
        let inetd = inetd.filter(|process| process.is_named(&["inetd"]));
        found.extend(inetd.map(|process| (process.pid, *port)));
    }
    found.sort_unstable();
    found
}

/// The processes that are this by their first word, or by BusyBox's second.
#[must_use]
pub fn named(root: &Root, name: &str) -> Vec<u32> {
    let pids = root
        .list("/proc")
        .unwrap_or_default()
        .into_iter()
        .take(MAX_PROCESSES);
    let pids = pids.filter_map(|entry| entry.name.parse().ok());
    pids.filter(|pid| *pid > 1 && is_called(root, *pid, name))
        .collect()
}

pub(crate) fn is_called(root: &Root, pid: u32, name: &str) -> bool {
    let words = proc_text(root, &format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let mut words = words.split('\0').map(name_of);
    let first = words.next().unwrap_or_default();
    first == name || first == "busybox" && words.next() == Some(name)
}

/// Judges the open ports of a running camera. `filter` is what the kernel's filter lets pass, if one is in force.
pub(crate) fn report(close: Close, filter: Option<&Policy>, edits: &mut Edits<'_>) {
    if let Err(error) = edits.listeners() {
        let text = format!("open ports could not be read: {error}");
        return edits.find(Measure::Telnet, Status::Unknown, None, text);
    }
    let known = core::mem::take(&mut edits.listeners);
    let listeners = known.get().and_then(|known| known.as_ref().ok());
    for listener in listeners
        .into_iter()
        .flatten()
        .filter(|listener| !listener.loopback)
    {
        let port = listener.port;
        let who = listener.processes.first();
        let name = who.map_or("a program that could not be told".into(), describe);
        let shell = listener.processes.iter().any(Process::gives_shell);
        let ftp = listener
            .processes
            .iter()
            .any(|process| process.is_named(FTP_SERVERS));
        let noted = NOTED_PORTS
            .iter()
            .find(|(noted, ..)| *noted == port || *noted == 21 && ftp);
        let (mut status, mut text) = if shell {
            (Status::Fails, format!("port {port} gives a shell: {name}"))
        } else if SHELL_PORTS.contains(&port) {
            (
                Status::Unknown,
                format!("port {port} is open, where cameras give shells: {name}"),
            )
        } else if let Some((number, protocol, word)) = noted {
            let text = format!("port {port} ({protocol}) is open: {name}");
            if close.wants(*number) {
                (Status::Fails, text)
            } else {
                (Status::Notice, format!("{text}; `list close '{word}'` closes it"))
            }
        } else {
            continue;
        };
        let blocked = filter.is_some_and(|filter| filter.allow_in.iter().all(|allowed| allowed.port != port));
        if let Some(why) = who.and_then(|process| process.bound(port)) {
            text.push_str("; it must not be stopped: ");
            text.push_str(why);
            // What is open by decision is not to be enforced.
            if !blocked && status != Status::Notice {
                text.push_str("; not enforceable without the firewall");
            }
        }
        // What is to be stopped is not well before it is.
        let stays = !shell || who.is_some_and(|process| process.bound(port).is_some());
        if blocked && stays {
            status = Status::Notice;
            text.push_str("; the firewall blocks the port");
        }
        edits.find(Measure::Telnet, status, None, text);
    }
    edits.listeners = known;
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
mod tests;
