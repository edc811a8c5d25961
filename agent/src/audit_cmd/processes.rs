//! The processes of a running camera, and which of them has which socket (proc(5)).

mod maps;

use std::fs;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;

use lenscap_audit::facts::{Fact, Image, Mapped, Missing, Place, Process, Processes, Sockets, Text};
use lenscap_harden::root::{Root, name_of};

use super::{is_absent, missing};

/// The most processes that are kept.
const MAX_PROCESSES: usize = 1024;
/// The most files that are mapped to run, of all processes together.
const MAX_MAPPED: usize = 1024;
/// How often processes are listed, as long as each time some have ended that came from nowhere.
const MAX_LOOKS: u32 = 16;
/// The most descriptors that are looked at, of all processes together.
const MAX_DESCRIPTORS: usize = 32_768;
/// Of a command line, in characters; and the bytes that are read of it, to find the script of an interpreter.
const MAX_WORDS: usize = 192;
const MAX_LINE: u64 = 4096;
/// Programs that run a script; BusyBox by the names of its shells alone.
pub(super) const SHELLS: &[&str] = &["sh", "ash", "bash", "dash", "hush", "ksh", "zsh"];
const INTERPRETERS: &[&str] = &[
    "python",
    "perl",
    "lua",
    "php",
    "node",
    "micropython",
    "tclsh",
    "ruby",
];
/// How the names of dynamic loaders begin: whatever they are given runs as theirs.
const LOADERS: &[&str] = &["ld-", "ld.so", "libc.so", "ld64"];
/// The flag of kernel threads in `/proc/PID/stat` (`PF_KTHREAD`).
const KERNEL_THREAD: u32 = 0x0020_0000;
/// The flag of those that are about to end, and have no memory and no files any more (`PF_EXITING`).
const EXITING: u32 = 4;
/// `CAP_SYS_PTRACE`: whoever has it sees processes of others where `hidepid` hides them.
const SEES_ALL: u64 = 1 << 19;
/// The bit of a process' personality with which whatever it reads may run (`READ_IMPLIES_EXEC`).
const READ_RUNS: u32 = 0x0040_0000;
const DELETED: &str = " (deleted)";
/// The network of whoever asks.
const OWN_NETWORK: &str = "/proc/self/ns/net";
/// The process that reaches a streamer in a network that Lenscap gave it.
const RELAY: &str = "lenscap-apart";
/// The most that is read of the tables of a network with nothing but a loopback interface.
const MAX_SHUT: u64 = 8192;

/// Reads the processes and gives the sockets their owners.
#[inline(never)]
pub(super) fn read(root: &Root, tables: &mut [Fact<Sockets>]) -> Fact<Processes> {
    let (pids, cut) = match listed(root, &[]) {
        Ok(listed) => listed,
        Err(error) => return Fact::missing("/proc", missing(&error)),
    };
    if pids.is_empty() {
        return Fact::missing("/proc", Missing::because("shows no process"));
    }
    let mut look = Look {
        root,
        owners: Owners::new(tables),
        ours: root.link(OWN_NETWORK).ok(),
        processes: Processes {
            list: Vec::new(),
            left_out: u32::from(cut),
            hidden: hidden(root, &pids),
            mapped: Vec::new(),
        },
    };
    if !look.at_all(pids) {
        let why = "shows processes that end before they can be looked at, each time anew";
        look.processes.hidden.get_or_insert(why.into());
    }
    let Look {
        owners,
        mut processes,
        ..
    } = look;
    forget_streamers(root, &mut processes.list);
    for table in tables.iter_mut() {
        let Ok(sockets) = &mut table.value else { continue };
        for socket in &mut sockets.list {
            let at = owners.wanted.partition_point(|(inode, _)| *inode < socket.inode);
            let found = owners.wanted.get(at).filter(|(inode, _)| *inode == socket.inode);
            socket.owner = found.and_then(|(_, owner)| *owner);
        }
    }
    Fact::seen("/proc", processes)
}

/// The processes' numbers, sorted, but those that are known; and whether there are more.
#[inline(never)]
fn listed(root: &Root, known: &[u32]) -> io::Result<(Vec<u32>, bool)> {
    let listing = root.listing("/proc")?;
    let mut pids: Vec<u32> = Vec::new();
    for pid in listing.entries.iter().filter_map(|entry| entry.name.parse().ok()) {
        let at = pids.partition_point(|have| *have < pid);
        if known.binary_search(&pid).is_err() {
            pids.insert(at, pid);
        }
    }
    Ok((pids, listing.cut))
}

/// A look at processes, which come and go meanwhile.
struct Look<'r> {
    root: &'r Root,
    owners: Owners,
    ours: Option<String>,
    processes: Processes,
}

impl Look<'_> {
    /// Looks at processes, and at those that came meanwhile, until none has ended that came from nowhere: whoever ends and is
    /// there again under another number is never seen otherwise. `false`: each time one had.
    #[inline(never)]
    fn at_all(&mut self, mut pids: Vec<u32>) -> bool {
        let (mut known, mut from) = (Vec::new(), Vec::new());
        for _ in 0..MAX_LOOKS {
            // First, as a look at one process takes longer than another lives.
            let folder = |pid: u32| format!("/proc/{pid}");
            let parents: Vec<u32> = pids
                .iter()
                .map(|pid| state(self.root, &folder(*pid)).parent)
                .collect();
            let mut whole = true;
            for (pid, parent) in pids.into_iter().zip(parents) {
                let seen = self.at(pid);
                whole &= is_told(pid, parent, seen, &mut from);
                // One that has ended may stay in the list. Another gets the number of one that is gone.
                if seen || self.root.exists(&folder(pid)) {
                    let at = known.partition_point(|have| *have < pid);
                    known.insert(at, pid);
                }
            }
            if whole {
                return true;
            }
            match listed(self.root, &known) {
                Ok((more, _)) => pids = more,
                Err(_) => break,
            }
        }
        false
    }

    /// Looks at a process; `false`: it has ended.
    #[inline(never)]
    fn at(&mut self, pid: u32) -> bool {
        let State { ended, kernel, .. } = state(self.root, &format!("/proc/{pid}"));
        if kernel {
            return true;
        }
        if self.processes.list.len() == MAX_PROCESSES {
            self.processes.left_out += 1;
            return true;
        }
        let (folder, mut process) = match one(self.root, pid, ended) {
            Ok(Some(found)) => found,
            Ok(None) => return false,
            Err(_) => {
                self.processes.left_out += 1;
                return true;
            }
        };
        let index = self.processes.list.len();
        process.open = self.owners.look(self.root, &folder, &mut process, index);
        process.network = network(self.root, &folder, self.ours.as_deref());
        process.unmapped = self.maps(&folder, &mut process, index).err();
        let ended = process.unmapped.is_some() && state(self.root, &folder).ended;
        let there = !ended && self.root.exists(&format!("/proc/{pid}"));
        if there {
            self.processes.list.push(process);
        } else {
            self.owners.forget(index);
            self.processes.mapped.retain(|mapped| mapped.process != index);
        }
        there
    }

    /// Adds the files that a process has mapped to run, beside its program.
    #[inline(never)]
    fn maps(&mut self, folder: &str, process: &mut Process, index: usize) -> Result<(), Missing> {
        let (root, mapped) = (self.root, &mut self.processes.mapped);
        let personality = text(root, &format!("{folder}/personality"), 16).unwrap_or_default();
        let personality = u32::from_str_radix(personality.trim_end(), 16);
        let data_runs = personality.is_ok_and(|bits| bits & READ_RUNS != 0);
        let (mut cut, mut own) = (false, None);
        let read = maps::read(root, folder, &mut |map| {
            let (inode, shared) = (map.inode, map.shared);
            // So the kernel writes the only character that it does not leave as it is.
            let file = map.file.replace("\\012", "\n");
            let is = |image| (image != Image::There) == map.deleted;
            if !shared && process.program.as_deref() == Ok(file.as_str()) && is(process.image) {
                // One of two that are called so is another.
                if *own.get_or_insert(inode) != inode && !map.deleted {
                    process.image = Image::Elsewhere;
                }
                return;
            }
            let is_known = |have: &Mapped| {
                have.inode == inode && have.shared == shared && have.file == file && is(have.image)
            };
            let is_data = || match shared {
                // Nor does a device's memory run.
                true => data_runs || root.exists(&file) && root.reader(&file).is_err(),
                false => {
                    data_runs
                        && !map
                            .start
                            .is_some_and(|start| maps::is_program(root, folder, start))
                }
            };
            if mapped.iter().any(is_known) || is_data() {
                return;
            }
            if mapped.len() == MAX_MAPPED {
                cut = true;
                return;
            }
            let image = match map.deleted {
                false => Image::There,
                true if root.exists(&file) => Image::Replaced,
                true => Image::Deleted,
            };
            mapped.push(Mapped {
                file,
                image,
                place: Place::Unknown(Missing::because("was not looked at")),
                process: index,
                shared,
                inode,
            });
        });
        match read {
            Ok(()) if cut => Err(Missing::because("has more than is looked at")),
            read => read.map_err(|error| missing(&error)),
        }
    }
}

/// Why there may be processes that the listing does not have.
#[inline(never)]
fn hidden(root: &Root, pids: &[u32]) -> Option<Text> {
    if pids.first() != Some(&1) {
        return Some("does not show process 1: others are hidden, too".into());
    }
    let table = text(root, "/proc/mounts", 64 * 1024).unwrap_or_default();
    let hides = |option: &str| {
        let value = option.strip_prefix("hidepid=");
        value.is_some_and(|value| !matches!(value, "0" | "off"))
    };
    let mut mounts = table.lines().map(|line| line.split(' ').skip(1));
    let hides = mounts.any(|mut fields| {
        fields.next() == Some("/proc") && fields.nth(1).is_some_and(|options| options.split(',').any(hides))
    });
    let own = text(root, "/proc/self/status", 4096).unwrap_or_default();
    let all = field(&own, "CapEff:").and_then(|all| u64::from_str_radix(all, 16).ok());
    let sees_all = all.is_some_and(|all| all & SEES_ALL != 0);
    (hides && !sees_all).then(|| "is mounted with hidepid: processes of others are hidden".into())
}

/// The network of a process, or of a thread of it, that is not `ours`.
#[inline(never)]
fn network(root: &Root, folder: &str, ours: Option<&str>) -> Option<String> {
    let of = |folder: &str| root.link(&format!("{folder}/ns/net")).ok();
    let other = |folder: &str| of(folder).filter(|network| Some(network.as_str()) != ours);
    let of_all = other(folder);
    // A kernel that has one network alone shows none.
    if of_all.is_some() || ours.is_none() {
        return of_all;
    }
    let threads = root.listing(&format!("{folder}/task")).unwrap_or_default();
    let mut threads = threads.entries.iter();
    threads.find_map(|thread| other(&format!("{folder}/task/{}", thread.name)))
}

/// A network that Lenscap gave a streamer is none that anybody hides in: it has a loopback interface and nothing else, and
/// only Lenscap leads there.
#[inline(never)]
fn forget_streamers(root: &Root, list: &mut [Process]) {
    let relays = list
        .iter()
        .filter(|process| process.name == RELAY && process.network.is_some() && is_self(process.pid));
    let known = relays.filter(|relay| is_shut(root, relay.pid));
    let known: Vec<_> = known.filter_map(|relay| relay.network.clone()).collect();
    for process in list {
        process.network = process.network.take().filter(|network| !known.contains(network));
    }
}

/// Whether nobody reaches a process' network, and it reaches nobody: it has no address but those of its loopback interface,
/// and nobody in it sends below IP.
fn is_shut(root: &Root, pid: u32) -> bool {
    let all = |table: &str, holds: fn(&str) -> bool| {
        match text(root, &format!("/proc/{pid}/net/{table}"), MAX_SHUT) {
            Ok(text) => (text.len() as u64) < MAX_SHUT && text.lines().all(holds),
            // A kernel without IPv6 or packet sockets.
            Err(error) => is_absent(&error) && table != "fib_trie",
        }
    };
    all("if_inet6", |line| line.ends_with(" lo"))
        && all("packet", |line| line.starts_with("sk "))
        // Every address, network and way there is a leaf of this tree.
        && all("fib_trie", |line| line.split_once("|-- ").is_none_or(|(_, leaf)| leaf.starts_with("127.")))
}

/// What `/proc/PID/stat` says of a process or thread.
struct State {
    /// It has ended, or is about to.
    ended: bool,
    /// It is one of the kernel's.
    kernel: bool,
    /// Who started it, or process 1 where that one has ended; 0: nobody, or it is not told.
    parent: u32,
}

#[inline(never)]
fn state(root: &Root, folder: &str) -> State {
    let stat = text(root, &format!("{folder}/stat"), 1024).unwrap_or_default();
    // The name, in parentheses, may hold anything.
    let mut fields = stat
        .rsplit_once(')')
        .map_or("", |(_, rest)| rest)
        .split_whitespace();
    let ended = matches!(fields.next(), Some("Z" | "X"));
    let mut number = |skip| fields.nth(skip).and_then(|field| field.parse::<u32>().ok());
    let parent = number(0).unwrap_or(0);
    let flags = number(4).unwrap_or(0);
    State {
        ended: ended || flags & EXITING != 0,
        kernel: flags & KERNEL_THREAD != 0,
        parent,
    }
}

/// Whether it is told where a process comes from: it was seen, or its parent's parents go back to one `from` the list that was.
/// What a script starts and soon ends is told so; whoever starts itself again has ended, and its child is process 1's.
fn is_told(pid: u32, parent: u32, seen: bool, from: &mut Vec<u32>) -> bool {
    let told = seen || parent > 1 && from.contains(&parent);
    if told {
        from.push(pid);
    }
    told
}

/// A thread that goes on though the first of its process has ended; that one's folder shows nothing then.
#[inline(never)]
fn survivor(root: &Root, folder: &str) -> io::Result<Option<String>> {
    let listing = match root.listing(&format!("{folder}/task")) {
        Err(error) if is_absent(&error) => return Ok(None),
        listing => listing?,
    };
    let mut threads = listing.entries.iter();
    let alive = threads.find_map(|thread| {
        let folder = format!("{folder}/task/{}", thread.name);
        (root.exists(&folder) && !state(root, &folder).ended).then_some(folder)
    });
    match alive {
        None if listing.cut => Err(io::ErrorKind::FileTooLarge.into()),
        alive => Ok(alive),
    }
}

/// A process, and the folder that tells of it, if it or its first thread alone has `ended`. `None`: it has.
#[inline(never)]
fn one(root: &Root, pid: u32, ended: bool) -> io::Result<Option<(String, Process)>> {
    let mut folder = format!("/proc/{pid}");
    if ended {
        match survivor(root, &folder)? {
            Some(thread) => folder = thread,
            None => return Ok(None),
        }
    }
    let name = text(root, &format!("{folder}/comm"), 64).unwrap_or_default();
    let line = text(root, &format!("{folder}/cmdline"), MAX_LINE).unwrap_or_default();
    let status = text(root, &format!("{folder}/status"), 4096).unwrap_or_default();
    let exe = format!("{folder}/exe");
    let (program, image) = match root.link_target(&exe) {
        Ok(target) => image(root, &exe, target.to_string_lossy().into_owned()),
        Err(error) => (Err(missing(&error)), Image::There),
    };
    let words: Vec<&str> = line.trim_end_matches('\0').split('\0').collect();
    let script = program.as_deref().ok().and_then(|program| {
        let input = || root.link(&format!("{folder}/fd/0")).ok();
        let path = script(name_of(program), &words, input)?;
        let path = match path.strip_prefix("./").unwrap_or(&path) {
            path if path.starts_with('/') => path.to_owned(),
            path => format!("{}/{path}", root.link(&format!("{folder}/cwd")).ok()?),
        };
        let unseen = Place::Unknown(Missing::because("was not looked at"));
        Some((path, unseen))
    });
    let words = words.join(" ").chars().take(MAX_WORDS).collect();
    let process = Process {
        pid,
        name: name.trim_end_matches('\n').to_owned(),
        program,
        image,
        place: Place::Unknown(Missing::because("was not looked at")),
        script,
        words,
        uid: field(&status, "Uid:").and_then(|uid| uid.parse().ok()),
        open: false,
        watchdog: false,
        network: None,
        unmapped: None,
    };
    Ok(Some((folder, process)))
}

/// The script that an interpreter was given: by its words, or as its input where no word says what it runs.
fn script(program: &str, words: &[&str], input: impl Fn() -> Option<String>) -> Option<String> {
    if LOADERS.iter().any(|loader| program.starts_with(loader)) {
        let words = loaded(words);
        let program = name_of(words.first()?);
        return if program.starts_with(LOADERS[0]) {
            None
        } else {
            script(program, words, input)
        };
    }
    let mut words = words.iter().copied();
    let first = name_of(words.next().unwrap_or_default());
    let mut applet = program;
    if program.starts_with("busybox") {
        applet = match first {
            first if first.starts_with("busybox") => words.next().unwrap_or_default(),
            first => first,
        };
    }
    if applet.ends_with("awk") {
        return awk(words);
    }
    let shell = SHELLS.contains(&applet.trim_start_matches('-'));
    if !shell && !INTERPRETERS.iter().any(|known| program.starts_with(known)) {
        return None;
    }
    // Commands and modules that stand in the words.
    let inline: &[char] = if shell { &['c'] } else { &['c', 'e', 'm', 'r'] };
    while let Some(word) = words.next() {
        match word.strip_prefix(['-', '+']) {
            None => return Some(word.to_owned()).filter(|word| !word.is_empty()),
            Some("" | "-") => return words.next().map(str::to_owned),
            Some("o" | "O" | "-rcfile" | "-init-file") if shell => drop(words.next()),
            Some(long) if long.starts_with('-') => {}
            Some(flags) if flags.contains(inline) => return None,
            // It reads what comes.
            Some(flags) if shell && flags.contains('s') => break,
            Some(_) => {}
        }
    }
    let path = input()?;
    let file = path.strip_suffix(DELETED).unwrap_or(&path);
    (file.starts_with('/') && !file.starts_with("/dev/")).then(|| file.to_owned())
}

/// What a dynamic loader was given to start, by the words that started it.
fn loaded<'w, 't>(words: &'w [&'t str]) -> &'w [&'t str] {
    const FLAGS: &[&str] = &["--inhibit-cache", "--list", "--verify"];
    let mut rest = words.get(1..).unwrap_or_default();
    while let [option, after @ ..] = rest
        && option.starts_with("--")
    {
        let alone = option.contains('=') || *option == "--" || FLAGS.contains(option);
        rest = after.get(usize::from(!alone)..).unwrap_or_default();
    }
    rest
}

/// The script of awk; without one it stands in the words.
fn awk<'w>(mut words: impl Iterator<Item = &'w str>) -> Option<String> {
    while let Some(word) = words.next() {
        match word.strip_prefix('-')? {
            "f" | "E" | "-file" | "-exec" => return words.next().map(str::to_owned),
            "v" | "F" => drop(words.next()),
            "-" => return None,
            option => {
                let file = ["-file=", "-exec=", "f", "E"]
                    .iter()
                    .find_map(|name| option.strip_prefix(name));
                if let Some(file) = file {
                    return Some(file.to_owned());
                }
            }
        }
    }
    None
}

fn image(root: &Root, exe: &str, target: String) -> (Result<String, Missing>, Image) {
    match target.strip_suffix(DELETED) {
        // A file may be called so, and anybody may make one: it must be the one that runs.
        Some(_) if is_same(exe, &target) => (Ok(target), Image::There),
        Some(file) if root.exists(file) => (Ok(file.to_owned()), Image::Replaced),
        Some(file) => (Ok(file.to_owned()), Image::Deleted),
        None if is_same(exe, &target) => (Ok(target), Image::There),
        None => (Ok(target), Image::Elsewhere),
    }
}

/// Whether a process runs this very program.
pub(super) fn is_self(pid: u32) -> bool {
    is_same("/proc/self/exe", &format!("/proc/{pid}/exe"))
}

/// Whether two names, after all links, are one file. Only where this program's root is the camera's.
fn is_same(one: &str, other: &str) -> bool {
    let file = |path: &str| fs::metadata(path).map(|data| (data.dev(), data.ino()));
    matches!((file(one), file(other)), (Ok(one), Ok(other)) if one == other)
}

/// A file of `/proc`, as far as it is wanted.
pub(super) fn text(root: &Root, path: &str, limit: u64) -> io::Result<String> {
    let mut bytes = Vec::new();
    root.reader(path)?.take(limit).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The first word after a name in `/proc/PID/status`.
pub(super) fn field<'t>(status: &'t str, name: &str) -> Option<&'t str> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()
}

/// Inodes of sockets, sorted, each with the process that has it: of several the one with the lowest number, as netstat
/// says it.
struct Owners {
    wanted: Vec<(u64, Option<usize>)>,
    descriptors: usize,
}

impl Owners {
    fn new(tables: &[Fact<Sockets>]) -> Self {
        let mut wanted: Vec<(u64, Option<usize>)> = Vec::new();
        let sockets = tables
            .iter()
            .filter_map(Fact::value)
            .flat_map(|table| &table.list);
        for inode in sockets.map(|socket| socket.inode).filter(|inode| *inode != 0) {
            let at = wanted.partition_point(|(have, _)| *have < inode);
            if wanted.get(at).is_none_or(|(have, _)| *have != inode) {
                wanted.insert(at, (inode, None));
            }
        }
        Self {
            wanted,
            descriptors: 0,
        }
    }

    /// A process has ended, and the next one gets its place.
    fn forget(&mut self, index: usize) {
        for (_, owner) in &mut self.wanted {
            if *owner == Some(index) {
                *owner = None;
            }
        }
    }

    /// Says whether all descriptors of a process could be seen.
    #[inline(never)]
    fn look(&mut self, root: &Root, folder: &str, process: &mut Process, index: usize) -> bool {
        let folder = format!("{folder}/fd");
        let listing = match root.listing(&folder) {
            Ok(listing) => listing,
            // It has just ended.
            Err(error) => return is_absent(&error),
        };
        for entry in &listing.entries {
            self.descriptors += 1;
            if self.descriptors > MAX_DESCRIPTORS {
                return false;
            }
            let Ok(target) = root.link(&format!("{folder}/{}", entry.name)) else {
                continue;
            };
            process.watchdog |= target.starts_with("/dev/watchdog");
            let inode = target
                .strip_prefix("socket:[")
                .and_then(|rest| rest.strip_suffix(']'));
            let Some(inode) = inode.and_then(|inode| inode.parse::<u64>().ok()) else {
                continue;
            };
            let at = self.wanted.partition_point(|(have, _)| *have < inode);
            if let Some((_, owner)) = self.wanted.get_mut(at).filter(|(have, _)| *have == inode) {
                owner.get_or_insert(index);
            }
        }
        !listing.cut
    }
}

#[cfg(test)]
mod tests {
    use super::{is_told, script};

    #[test]
    fn who_starts_itself_again_is_told_from_what_scripts_start() {
        // Each with its number, its parent, and whether it was seen; the kernel's threads are seen.
        let camera = [(1, 0, true), (2, 0, true), (40, 1, true), (41, 40, true)];
        for (list, expected) in [
            (&[][..], true),
            (&[(60, 41, false)], true),
            (&[(60, 2, false)], true),
            // Of a pipe in a subshell.
            (&[(60, 41, false), (61, 60, false), (62, 60, false)], true),
            // Its parent has ended, or is one that was not seen; or it ended before even that was read.
            (&[(60, 1, false)], false),
            (&[(61, 60, false)], false),
            (&[(60, 0, false)], false),
            (&[(60, 1, false), (61, 60, false)], false),
            (&[(60, 1, true), (61, 60, false)], true),
        ] {
            let mut from = Vec::new();
            let all = camera.iter().chain(list);
            let told = all.fold(true, |told, (pid, parent, seen)| {
                told & is_told(*pid, *parent, *seen, &mut from)
            });
            assert_eq!(told, expected, "{list:?}");
        }
    }

    #[test]
    fn scripts_are_found_in_the_words_of_interpreters() {
        for (program, words, expected) in [
            ("busybox", "sh /tmp/.x.sh", Some("/tmp/.x.sh")),
            ("busybox", "/bin/sh -e -- /tmp/.x.sh a", Some("/tmp/.x.sh")),
            ("busybox", "/bin/busybox ash -x x.sh", Some("x.sh")),
            ("busybox", "{x} /bin/ash", None),
            ("busybox", "sh -c /tmp/x", None),
            ("busybox", "-sh", Some("/mnt/in")),
            ("busybox", "sh -s a", Some("/mnt/in")),
            ("busybox", "udhcpc -s /usr/share/x", None),
            ("dash", "/bin/sh -o errexit /tmp/x", Some("/tmp/x")),
            ("python3.11", "python3 -u /var/x.py", Some("/var/x.py")),
            ("python3.11", "python3 -m http.server", None),
            ("lua5.1", "lua -e x /y", None),
            ("majestic", "majestic /tmp/x", None),
            ("busybox", "awk -f /tmp/.e", Some("/tmp/.e")),
            ("busybox", "busybox awk -v a=b -F : -f/tmp/.e x", Some("/tmp/.e")),
            ("busybox", "awk {print} -f /tmp/x", None),
            ("gawk", "awk -F: --file=/tmp/.e", Some("/tmp/.e")),
            (
                "ld-musl-arm.so.1",
                "ld --library-path /x /bin/busybox sh /tmp/.e",
                Some("/tmp/.e"),
            ),
            (
                "libc.so",
                "ld-musl --argv0=x -- /bin/ash /tmp/.e",
                Some("/tmp/.e"),
            ),
            ("ld-2.31.so", "/lib/ld.so.3 /usr/bin/majestic /tmp/x", None),
            ("ld-2.31.so", "/lib/ld.so.3 /lib/ld-2.31.so /bin/sh /tmp/x", None),
            ("ld-2.31.so", "/lib/ld.so.3", None),
        ] {
            let words: Vec<&str> = words.split(' ').collect();
            let found = script(program, &words, || Some("/mnt/in (deleted)".into()));
            assert_eq!(found.as_deref(), expected, "{program} {words:?}");
        }
        assert_eq!(script("busybox", &["sh"], || Some("/dev/null".into())), None);
        assert_eq!(script("busybox", &["sh"], || Some("pipe:[5]".into())), None);
    }
}
