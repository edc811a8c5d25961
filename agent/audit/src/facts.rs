//! What was seen on a camera, and what could not be.
//!
//! A [`Fact`] is either a value or the reason why there is none; both name where it was looked for. Everything starts as
//! "was not looked at", so that what a collector forgets is unknown and not well.

use core::net::IpAddr;
use std::borrow::Cow;

/// Text that is mostly known when the program is made.
pub type Text = Cow<'static, str>;

/// Why something could not be seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// What the kernel said (errno(3)); 0: it said nothing.
    pub errno: i32,
    /// A few words.
    pub why: Text,
}

impl Missing {
    /// For a reason that is no error of the kernel.
    #[must_use]
    pub fn because(why: impl Into<Text>) -> Self {
        Self {
            errno: 0,
            why: why.into(),
        }
    }
}

/// Something that was looked for at one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact<T> {
    /// The file, address or system call.
    pub source: Text,
    /// What was there.
    pub value: Result<T, Missing>,
}

impl<T> Fact<T> {
    /// It was seen.
    #[must_use]
    pub fn seen(source: impl Into<Text>, value: T) -> Self {
        Self {
            source: source.into(),
            value: Ok(value),
        }
    }

    /// It could not be seen.
    #[must_use]
    pub fn missing(source: impl Into<Text>, why: Missing) -> Self {
        Self {
            source: source.into(),
            value: Err(why),
        }
    }

    /// The value, if it was seen.
    pub fn value(&self) -> Option<&T> {
        self.value.as_ref().ok()
    }
}

impl<T> Fact<T> {
    /// Nobody looked.
    pub const UNSEEN: Self = Self {
        source: Cow::Borrowed("collector"),
        value: Err(Missing {
            errno: 0,
            why: Cow::Borrowed("was not looked at"),
        }),
    };

    /// Becomes what was seen. What was there before is not dropped: that nobody looked holds no memory.
    pub fn becomes(&mut self, fact: Self) {
        core::mem::forget(core::mem::replace(self, fact));
    }
}

impl<T> Default for Fact<T> {
    fn default() -> Self {
        Self::UNSEEN
    }
}

/// Everything that is known of one camera or root file system tree.
#[derive(Debug, Clone)]
pub struct Facts {
    /// What was looked at, and when.
    pub about: About,
    /// One for each table of the kernel's sockets.
    pub sockets: Vec<Fact<Sockets>>,
    /// The processes, kernel threads left out.
    pub processes: Fact<Processes>,
    /// What the configuration lets out.
    pub allowed: Fact<Allowed>,
    /// What becomes of a packet that comes in: IPv4, IPv6.
    pub filters: [Fact<Filter>; 2],
    /// Services that were asked, on the camera itself.
    pub probes: Vec<Fact<Probe>>,
    /// Accounts of every table there is.
    pub accounts: Fact<Vec<Account>>,
    /// What the hardener found in files; missing where not all files could be looked at.
    pub findings: Fact<Vec<Finding>>,
    /// Findings though not all files could be looked at.
    pub partial: Vec<Finding>,
    /// What starts by itself.
    pub starts: Fact<Vec<Start>>,
    /// Whether the firmware and what was added to it can be told apart.
    pub layers: Fact<()>,
    /// Files whose owner or mode matters.
    pub files: Fact<Vec<FileState>>,
    /// Programs and known files of malware in places that everybody can write to.
    pub droppings: Fact<Vec<String>>,
    /// What came after the firmware, and runs with root's rights whoever runs it.
    pub rights: Fact<Vec<String>>,
    /// What `/etc/ld.so.preload` holds; `None`: there is none.
    pub preload: Fact<Option<String>>,
    /// Private keys.
    pub keys: Fact<Vec<Key>>,
    /// Loaded modules, with their files.
    pub modules: Fact<Vec<Module>>,
    /// Files of modules where firmwares keep none, loaded or not.
    pub strays: Fact<Vec<String>>,
    /// Mounted file systems.
    pub mounts: Fact<Vec<Mount>>,
    /// Logs: the kernel's and the system's.
    pub logs: Vec<Fact<Log>>,
    /// The kernel's release, as `uname -r`.
    pub kernel: Fact<String>,
    /// BusyBox' version; `None`: there is none.
    pub busybox: Fact<Option<String>>,
    /// The clock.
    pub clock: Fact<Clock>,
    /// Memory: all, and what is to be had, in KiB.
    pub memory: Fact<(u64, u64)>,
    /// What becomes of the agent's files in a reboot, and the bytes that are free there.
    pub storage: Fact<(Storage, Option<u64>)>,
    /// How the agent is protected from itself; `None`: it does not run.
    pub sandbox: Fact<Option<Sandbox>>,
    /// Whether a hardening waits for its confirmation.
    pub unconfirmed: Fact<bool>,
    /// How SSH takes passwords; `None`: there is no SSH server.
    pub ssh_passwords: Fact<Option<bool>>,
    /// Installed packages.
    pub packages: Fact<Vec<Package>>,
    /// What was there at the first clean audit; `None`: there was none yet.
    pub baseline: Fact<Option<Baseline>>,
    /// What the digests in [`Account::login`] were made with.
    pub salt: String,
    /// Lines of keys that log in, by SSH.
    pub authorised: Fact<Vec<Content>>,
    /// Programs that start entries name.
    pub programs: Fact<Vec<Content>>,
}

impl Facts {
    /// Nobody looked at anything.
    pub const UNSEEN: Self = Self {
        about: About {
            live: false,
            root: String::new(),
            firmwares: Vec::new(),
            version: String::new(),
            time: 0,
            device: None,
        },
        sockets: Vec::new(),
        processes: Fact::UNSEEN,
        allowed: Fact::UNSEEN,
        filters: [Fact::UNSEEN, Fact::UNSEEN],
        probes: Vec::new(),
        accounts: Fact::UNSEEN,
        findings: Fact::UNSEEN,
        partial: Vec::new(),
        starts: Fact::UNSEEN,
        layers: Fact::UNSEEN,
        files: Fact::UNSEEN,
        droppings: Fact::UNSEEN,
        rights: Fact::UNSEEN,
        preload: Fact::UNSEEN,
        keys: Fact::UNSEEN,
        modules: Fact::UNSEEN,
        strays: Fact::UNSEEN,
        mounts: Fact::UNSEEN,
        logs: Vec::new(),
        kernel: Fact::UNSEEN,
        busybox: Fact::UNSEEN,
        clock: Fact::UNSEEN,
        memory: Fact::UNSEEN,
        storage: Fact::UNSEEN,
        sandbox: Fact::UNSEEN,
        unconfirmed: Fact::UNSEEN,
        ssh_passwords: Fact::UNSEEN,
        packages: Fact::UNSEEN,
        baseline: Fact::UNSEEN,
        salt: String::new(),
        authorised: Fact::UNSEEN,
        programs: Fact::UNSEEN,
    };
}

impl Default for Facts {
    fn default() -> Self {
        Self::UNSEEN
    }
}

/// What was looked at.
#[derive(Debug, Clone, Default)]
pub struct About {
    /// A running camera, not a tree.
    pub live: bool,
    /// Where: `/`, or the tree's folder.
    pub root: String,
    /// The firmwares that fit.
    pub firmwares: Vec<String>,
    /// The agent's version.
    pub version: String,
    /// Seconds since 1970 by the camera's clock.
    pub time: i64,
    /// The fingerprint of the camera's key, where it was asked for.
    pub device: Option<String>,
}

/// A table of sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Proto {
    /// TCP over IPv4.
    Tcp,
    /// TCP over IPv6.
    Tcp6,
    /// UDP over IPv4.
    Udp,
    /// UDP over IPv6.
    Udp6,
    /// UDP-Lite (RFC 3828) over IPv4.
    UdpLite,
    /// UDP-Lite over IPv6.
    UdpLite6,
    /// Raw IPv4.
    Raw,
    /// Raw IPv6.
    Raw6,
    /// Below IP (packet(7)).
    Packet,
}

impl Proto {
    /// The name that netstat(8) has for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        [
            "tcp", "tcp6", "udp", "udp6", "udplite", "udplite6", "raw", "raw6", "packet",
        ][self as usize]
    }

    /// Whether it is TCP.
    #[must_use]
    pub fn is_tcp(self) -> bool {
        matches!(self, Self::Tcp | Self::Tcp6)
    }
}

/// `TCP_LISTEN`.
pub const LISTEN: u8 = 10;
/// `TCP_SYN_SENT`.
pub const SYN_SENT: u8 = 2;
/// `TCP_ESTABLISHED`; of UDP: connected.
pub const ESTABLISHED: u8 = 1;
/// `TCP_TIME_WAIT`.
pub const TIME_WAIT: u8 = 6;

/// Ports of known botnets: Mirai's one instance holds it.
pub const BOTNET_PORTS: &[u16] = &[48_101];

/// A socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Socket {
    /// Its table.
    pub proto: Proto,
    /// Its own address and port; of raw sockets the port is the protocol, of packet sockets the protocol's number.
    pub local: (IpAddr, u16),
    /// The other end.
    pub remote: (IpAddr, u16),
    /// The state's number in `/proc/net/tcp`.
    pub state: u8,
    /// Its inode; 0: nobody holds it any more.
    pub inode: u64,
    /// The process that has it, as an index of [`Processes::list`].
    pub owner: Option<usize>,
    /// The kernel has it when it is asked, and leaves it out of its table.
    pub hidden: bool,
}

impl Socket {
    /// Whether only this camera reaches it.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        is_loopback(self.local.0)
    }

    /// Whether either end is on one of [`BOTNET_PORTS`].
    #[must_use]
    pub fn is_botnets(&self) -> bool {
        let known = |port| BOTNET_PORTS.contains(&port);
        self.proto < Proto::Raw && (known(self.local.1) || known(self.remote.1))
    }

    /// Whether it waits for whoever comes.
    #[must_use]
    pub fn waits(&self) -> bool {
        match self.proto {
            Proto::Tcp | Proto::Tcp6 => self.state == LISTEN,
            Proto::Udp | Proto::Udp6 | Proto::UdpLite | Proto::UdpLite6 => self.remote.1 == 0,
            Proto::Raw | Proto::Raw6 | Proto::Packet => false,
        }
    }
}

/// Whether an address is the camera's own, `::ffff:127.0.0.1` too.
#[must_use]
pub fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

/// A table's sockets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sockets {
    /// In the table's order, as many as are kept.
    pub list: Vec<Socket>,
    /// How many more there are, or may be.
    pub left_out: u64,
    /// Lines that could not be understood.
    pub odd: u32,
}

/// What became of a running program's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Image {
    /// It is where it was.
    There,
    /// It is gone.
    Deleted,
    /// It is gone, and another is in its place.
    Replaced,
    /// What lies at its path, if anything, is not what runs: a mount hides it, or was taken away.
    Elsewhere,
}

/// Where the file of a program or script lies, by the table of mounts and the layers of the root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In the firmware's own layer, which cannot be written.
    Firmware,
    /// In the writable layer, and a package that was installed there names it.
    Packaged,
    /// It is this program.
    Own,
    /// In memory: what is mounted there, and its kind.
    Memory(String),
    /// On a memory card, disk or server: what is mounted there, and from where.
    Card(String),
    /// In the writable layer alone.
    Added,
    /// In the writable layer, above another file of the firmware.
    Changed,
    /// In a file system that can be written as a whole.
    Writable,
    /// It could not be told.
    Unknown(Missing),
}

/// A process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// The name that it goes by.
    pub name: String,
    /// Its program's file, without ` (deleted)`.
    pub program: Result<String, Missing>,
    /// What became of that file.
    pub image: Image,
    /// Where that file lies.
    pub place: Place,
    /// The script that it runs, and where that lies; missing: it is gone.
    pub script: Option<(String, Place)>,
    /// Its command line, cut.
    pub words: String,
    /// Whose it is.
    pub uid: Option<u32>,
    /// Whether its descriptors could be seen.
    pub open: bool,
    /// Whether it holds `/dev/watchdog`.
    pub watchdog: bool,
    /// The network that it, or a thread of it, has of its own, so that no table shows its sockets; `None`: it has the
    /// camera's, or one that Lenscap gave a streamer.
    pub network: Option<String>,
    /// Why the files that it has mapped to run are not known.
    pub unmapped: Option<Missing>,
}

/// A file that a process has mapped to run, beside its program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapped {
    /// Without ` (deleted)`.
    pub file: String,
    /// What became of it.
    pub image: Image,
    /// Where it lies.
    pub place: Place,
    /// The first process that has it, as an index of [`Processes::list`].
    pub process: usize,
    /// Whether that one shares it: what others write into it runs.
    pub shared: bool,
    /// Its device and number, as `stat` tells them of a file.
    pub inode: (u64, u64),
}

/// The processes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Processes {
    /// By number; those that came while they were looked at last.
    pub list: Vec<Process>,
    /// How many are not in the list.
    pub left_out: u32,
    /// Why others may run that nobody sees.
    pub hidden: Option<Text>,
    /// Libraries and the like, each once.
    pub mapped: Vec<Mapped>,
}

impl Processes {
    /// Why this may not be all that runs; `None`: it is all.
    #[must_use]
    pub fn doubt(&self) -> Option<Text> {
        match self.left_out {
            0 => self.hidden.clone(),
            left_out => Some(format!("{left_out} processes were not looked at").into()),
        }
    }
}

/// What may be talked to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Allowed {
    /// The agent's program.
    pub agent: String,
    /// Ports of the uplinks' endpoints, for the agent's own connections.
    pub uplink_ports: Vec<u16>,
    /// Name servers.
    pub servers: Vec<IpAddr>,
    /// `list allow_out`: an address or network and the bits that count, and a port (0: any).
    pub out: Vec<(IpAddr, u8, u16)>,
    /// Entries of `list allow_out` that are no address.
    pub odd: Vec<String>,
    /// What `list allow_lan` and `option discovery` open for networks, over IPv4 and IPv6.
    pub lan: [Vec<Opening>; 2],
}

/// What becomes of a packet that nobody asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Inbound {
    /// Dropped, unless a rule lets it in.
    Dropped,
    /// Taken: there is a filter, and it has no rule.
    Taken,
    /// Rules decide, and end in taking it; what they drop was not worked out.
    Rules,
    /// Taken: the kernel filters nothing.
    NoFilter,
    /// There is no such protocol here.
    Off,
}

/// A packet filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    /// Its kind and its chain.
    pub how: String,
    /// What it does by default.
    pub inbound: Inbound,
    /// What rules let in all the same.
    pub lets_in: Vec<Opening>,
}

/// A port that a rule lets packets in to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opening {
    /// The protocol's number; 0: any.
    pub protocol: u8,
    /// The port.
    pub port: u16,
    /// Whether it is for whoever comes. If not, it may be for some: that was not worked out.
    pub for_all: bool,
}

/// What kind of service it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// A shell.
    Telnet,
    /// RTSP (RFC 2326).
    Rtsp,
    /// The address of one picture.
    Snapshot,
    /// A web interface's login.
    Web,
    /// ONVIF.
    Onvif,
    /// FTP.
    Ftp,
}

/// What a service said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It served without a login.
    Open(String),
    /// It asked for a login.
    AsksLogin,
    /// It took a login that everybody knows.
    DefaultLogin(String),
    /// It is there; nothing is judged.
    There(String),
}

/// A service that was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// What it is.
    pub service: Service,
    /// What it said; missing: no answer that could be understood.
    pub answer: Result<Answer, Missing>,
}

/// What stands behind a password field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Strength {
    /// None is asked for.
    Empty,
    /// One that everybody knows, from this list.
    Known(String),
    /// None of those.
    Own,
    /// No password fits, or the hash is elsewhere.
    Locked,
    /// It could not be told.
    Unknown(String),
}

/// An account of the system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The user's name.
    pub user: String,
    /// Its number, in passwd(5).
    pub uid: Option<u32>,
    /// The file and line.
    pub place: String,
    /// The password.
    pub strength: Strength,
    /// A salted hash of its line, for the baseline alone: a report that held it would help to guess the password.
    pub login: String,
}

/// What was there at an earlier audit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Baseline {
    /// In the words of [`crate::inventory`].
    pub lines: Vec<String>,
    /// The owner accepted it; else it was kept because the audit was clean.
    pub accepted: bool,
}

/// What a file or a line of it holds, by its hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// The file.
    pub place: String,
    /// A hash.
    pub hash: String,
}

/// What a finding of the hardener is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topic {
    /// Something starts a shell on a port.
    Telnet,
    /// A password of a service.
    Service,
    /// A script sets a password.
    Boot,
    /// A memory card's files are run.
    Card,
    /// The boot loader's variables are used.
    Loader,
    /// The console asks nobody.
    Console,
    /// A start entry fetches programs, or runs them from where everybody can write.
    Download,
}

/// Something in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What it is about.
    pub topic: Topic,
    /// Whether it is certain.
    pub certain: bool,
    /// The file and line.
    pub place: String,
    /// A sentence.
    pub text: String,
}

/// Something that starts by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    /// The file, and the entry in it where it has several.
    pub place: String,
    /// A hash of it, or the entry itself.
    pub what: String,
    /// It lies in the writable layer, not in the firmware, and no package names it.
    pub added: bool,
    /// The firmware has something else in its place, and neither a package nor `lenscap harden` made it so.
    pub changed: bool,
    /// It is one of Lenscap's own files, by its place and its content: it comes and changes with the program.
    pub own: bool,
}

/// A file's owner and mode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileState {
    /// The file.
    pub path: String,
    /// Permission bits.
    pub mode: u32,
    /// The owner.
    pub uid: u32,
    /// Nobody but its owner and group should read it.
    pub secret: bool,
}

/// Why a key is not the camera's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// It was made here.
    Own,
    /// It came with the image: every camera of the series has it.
    Image,
    /// It is published, there.
    Published(String),
    /// It could not be told.
    Unknown(Missing),
}

/// A private key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// The file.
    pub path: String,
    /// Where it comes from.
    pub origin: Origin,
}

/// A loaded module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Module {
    /// Its name.
    pub name: String,
    /// Where it came from.
    pub file: ModuleFile,
}

/// Where a loaded module came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModuleFile {
    /// A file where firmwares keep them.
    Found,
    /// A file there that came after the firmware, or lies above another of it, and that no package names.
    Added(String),
    /// No file was found.
    Nowhere,
    /// This file, where everybody may write or firmwares keep none.
    Loose(String),
    /// The kernel has it and leaves it out of its list.
    Hidden,
}

/// A mounted file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Where.
    pub point: String,
    /// From where: a card, a server.
    pub device: String,
    /// Its kind.
    pub kind: String,
    /// Whether programs on it run.
    pub exec: bool,
}

/// What a log holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Log {
    /// Lines that were read.
    pub lines: u32,
    /// Programs that crashed.
    pub crashes: u32,
    /// Programs that were ended for want of memory.
    pub ooms: u32,
    /// Logins that failed.
    pub failures: u32,
    /// The last of those lines.
    pub last: String,
}

/// The clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clock {
    /// Seconds since 1970.
    pub now: i64,
    /// When this program was made.
    pub built: i64,
    /// Whether the kernel believes that something keeps it right.
    pub kept: bool,
}

/// What becomes of a file in a reboot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Storage {
    /// It stays.
    Persistent,
    /// It is gone.
    Volatile,
    /// It cannot be written.
    ReadOnly,
}

/// How a running agent is protected from itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sandbox {
    /// Its process.
    pub pid: u32,
    /// It is not root.
    pub user: bool,
    /// It has no capability.
    pub capabilities: bool,
    /// It gains nothing by starting a program.
    pub no_new_privs: bool,
    /// The kernel filters its system calls.
    pub seccomp: bool,
}

/// An installed package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its licence, where it is told.
    pub licence: String,
}
