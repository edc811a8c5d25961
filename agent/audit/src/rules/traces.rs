//! Traces of Mirai and its successors. An open watchdog alone is none: streamers feed it too.

use super::network::{describe, tables};
use crate::facts::{
    Fact, Facts, Image, Log, Missing, Module, ModuleFile, Mount, Place, Process, Proto, SYN_SENT, Text,
};
use crate::inventory::{Class, sockets};
use crate::judge::Judge;

/// Where scanners knock.
const SCANNED_PORTS: &[u16] = &[22, 23, 2323, 7547, 5555, 37215, 52869, 60001];
/// Half-open connections that no client has.
const MAX_HALF_OPEN: usize = 20;
/// Half-open connections to [`SCANNED_PORTS`] that no client has.
const MAX_KNOCKS: usize = 3;
/// Places that everybody may write to, or that are empty after a restart.
const LOOSE: &[&str] = &[
    "/tmp/",
    "/var/tmp/",
    "/var/run/",
    "/run/",
    "/dev/",
    "/memfd:",
    "/var/lock/",
    "/proc/",
];
/// What the kernel itself logs.
const KERNEL_LOG: &str = "/dev/kmsg";
/// Raw sockets' protocol that scanners send by themselves.
const IPPROTO_TCP: u16 = 6;

/// Adds what keeps the list of processes from being whole.
fn processes<'f>(facts: &'f Facts, judge: &mut Judge) -> Option<&'f [Process]> {
    let processes = judge.need(&facts.processes)?;
    if let Some(doubt) = processes.doubt() {
        judge.unknown(&facts.processes.source, doubt);
    }
    if processes.list.is_empty() {
        judge.unknown(&facts.processes.source, "no process was found");
    }
    Some(&processes.list)
}

pub(super) fn deleted(facts: &Facts, judge: &mut Judge) {
    let Some(list) = processes(facts, judge) else {
        return;
    };
    for mount in hiding(facts, judge) {
        judge.unknown(
            &mount.point,
            "a mount is in the way: what runs there was not seen",
        );
    }
    let mut seen = Seen::default();
    for process in list {
        let Process { pid, image, name, .. } = process;
        let source = format!("/proc/{pid}/exe");
        let file = match &process.program {
            Ok(file) => file,
            Err(Missing { errno, why }) => {
                judge.unknown(&source, format!("{name}: {why} (errno {errno})"));
                continue;
            }
        };
        let watchdog = if process.watchdog {
            "; it holds the watchdog"
        } else {
            ""
        };
        let who = format!("as {name}");
        seen.file(
            facts,
            judge,
            &source,
            (file, *image, &process.place),
            (&who, watchdog),
        );
        if let Some((script, place)) = &process.script {
            let source = format!("/proc/{pid}/cmdline");
            if is_loose(script) && !matches!(place, Place::Card(_)) {
                judge.fail(&source, format!("{script} is a script and runs as {name}"));
            } else {
                seen.place(facts, judge, &source, (script, place), &who);
            }
        }
        if let Some(Missing { errno, why }) = &process.unmapped {
            let text = format!("what {name} has loaded: {why} (errno {errno})");
            judge.unknown(&format!("/proc/{pid}/maps"), text);
        }
    }
    for mapped in facts.processes.value().into_iter().flat_map(|all| &all.mapped) {
        let Some(Process { pid, name, .. }) = list.get(mapped.process) else {
            continue;
        };
        let file = (mapped.file.as_str(), mapped.image, &mapped.place);
        let source = format!("/proc/{pid}/maps");
        if mapped.shared {
            let is_memory = matches!(mapped.place, Place::Memory(_));
            if is_memory || is_loose(&mapped.file) && !matches!(mapped.place, Place::Card(_)) {
                let text = format!("{} may run in {name}, and is shared", mapped.file);
                judge.unknown(&source, text);
            }
            continue;
        }
        seen.file(facts, judge, &source, file, (&format!("in {name}"), ""));
    }
    seen.finish(judge);
    let text = seen.text(list.len());
    judge.pass_otherwise(&facts.processes.source, text);
}

fn is_loose(file: &str) -> bool {
    LOOSE.iter().any(|place| file.starts_with(place))
}

/// Whether the owner accepted a program or script as it is.
fn is_accepted(facts: &Facts, file: &str) -> bool {
    let baseline = facts.baseline.value().and_then(Option::as_ref);
    let Some(baseline) = baseline.filter(|baseline| baseline.accepted) else {
        return false;
    };
    let known = |class: Class, what: &str| {
        let line = format!("{}{file} {what}", class.word());
        baseline.lines.contains(&line)
    };
    let mut programs = facts.programs.value().into_iter().flatten();
    let mut starts = facts.starts.value().into_iter().flatten();
    programs.any(|program| program.place == file && known(Class::Program, &program.hash))
        || starts.any(|start| start.place == file && known(Class::Start, &start.what))
}

/// Where the programs lie that were judged.
#[derive(Default)]
struct Seen {
    firmware: u32,
    packaged: u32,
    own: u32,
    accepted: u32,
    /// Reasons why it could not be told, of how many, and the first.
    doubts: Vec<(Text, u32, String)>,
}

impl Seen {
    /// Judges a program, or a library, by what became of its file and where that lies.
    fn file(
        &mut self,
        facts: &Facts,
        judge: &mut Judge,
        source: &str,
        at: (&str, Image, &Place),
        who: (&str, &str),
    ) {
        let ((file, image, place), (who, also)) = (at, who);
        if image == Image::Deleted {
            judge.fail(source, format!("{file} is deleted and runs {who}{also}"));
        } else if is_loose(file) && !matches!(place, Place::Card(_)) {
            judge.fail(source, format!("{file} runs {who}{also}"));
        } else if image == Image::Replaced {
            let text = format!("{file} was replaced while it ran {who}: restart it and look again");
            judge.unknown(source, text);
        } else if image == Image::Elsewhere {
            let text = format!(
                "{file} is not the file that runs {who}: that one lies behind a mount, or in mounts that are not seen{also}"
            );
            judge.unknown(source, text);
        } else {
            self.place(facts, judge, source, (file, place), who);
        }
    }

    /// Judges a program or script by where it lies.
    fn place(&mut self, facts: &Facts, judge: &mut Judge, source: &str, at: (&str, &Place), who: &str) {
        let (file, place) = at;
        let layer = match place {
            Place::Firmware => return self.firmware += 1,
            Place::Packaged => return self.packaged += 1,
            Place::Own => return self.own += 1,
            Place::Memory(mount) => {
                return judge.fail(source, format!("{file} runs {who} from memory: {mount}"));
            }
            Place::Card(mount) => {
                let mut text = format!("{file} runs {who} from a memory card, disk or server: {mount}");
                if !facts.about.firmwares.is_empty() {
                    let firmwares = facts.about.firmwares.join(", ");
                    text.push_str(&format!("; the firmware is {firmwares}"));
                }
                return judge.unknown(source, text);
            }
            Place::Unknown(why) => return self.doubt(why.why.clone(), file, who),
            _ if is_accepted(facts, file) => return self.accepted += 1,
            Place::Writable => {
                let why = "the firmware lies in a file system that can be written as a whole: what came later cannot be \
                           told (lenscap audit --accept keeps a baseline)";
                return self.doubt(why.into(), file, who);
            }
            Place::Added => "lies in the writable layer alone",
            Place::Changed => "lies in the writable layer, above another file of the firmware",
        };
        let text = format!("{file} runs {who}, {layer}, and no package names it");
        judge.fail(source, text);
    }

    fn doubt(&mut self, why: Text, file: &str, who: &str) {
        match self.doubts.iter_mut().find(|(have, ..)| *have == why) {
            Some((_, count, _)) => *count += 1,
            None => self.doubts.push((why, 1, format!("{file} {who}"))),
        }
    }

    fn finish(&self, judge: &mut Judge) {
        for (why, count, first) in &self.doubts {
            judge.unknown(
                "/proc/mounts",
                format!("{count} programs, the first {first}: {why}"),
            );
        }
    }

    fn text(&self, processes: usize) -> String {
        let mut text = format!(
            "{processes} processes; programs, libraries and scripts of the firmware: {}",
            self.firmware
        );
        for (count, what) in [
            (self.packaged, "of installed packages"),
            (self.own, "Lenscap's own"),
            (self.accepted, "accepted by the owner"),
        ] {
            if count > 0 {
                text.push_str(&format!(", {what}: {count}"));
            }
        }
        text
    }
}

/// Mounts over the folders of processes.
fn hiding<'f>(facts: &'f Facts, judge: &mut Judge) -> impl Iterator<Item = &'f Mount> + use<'f> {
    let mounts = judge.need(&facts.mounts).into_iter().flatten();
    mounts.filter(|mount| {
        let over = mount.point.strip_prefix("/proc/");
        over.is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    })
}

pub(super) fn port(facts: &Facts, judge: &mut Judge) {
    let source = tables(facts, judge, |proto| proto < Proto::Raw);
    for socket in sockets(facts) {
        let (address, port) = socket.remote;
        if socket.is_botnets() {
            let text = describe(facts, socket);
            judge.fail(&source, format!("{text} (other end {address} port {port})"));
        }
    }
    judge.pass_otherwise(&source, "no socket has such a port");
}

pub(super) fn scan(facts: &Facts, judge: &mut Judge) {
    let source = tables(facts, judge, |proto| {
        proto < Proto::Udp || matches!(proto, Proto::Raw | Proto::Raw6)
    });
    let (mut all, mut knocks, mut first) = (0, 0, None);
    for socket in sockets(facts) {
        if socket.proto.is_tcp() && socket.state == SYN_SENT {
            all += 1;
            knocks += usize::from(SCANNED_PORTS.contains(&socket.remote.1));
            first = first.or(Some(socket));
        } else if matches!(socket.proto, Proto::Raw | Proto::Raw6) && socket.local.1 == IPPROTO_TCP {
            let text = format!("makes TCP packets by itself: {}", describe(facts, socket));
            judge.fail(&source, text);
        }
    }
    if let Some(first) = first.filter(|_| all > MAX_HALF_OPEN || knocks > MAX_KNOCKS) {
        let who = describe(facts, first);
        let text = format!("{all} connections half open, {knocks} of them to ports that are scanned; {who}");
        judge.fail(&source, text);
    }
    judge.pass_otherwise(&source, format!("{all} connections half open"));
}

pub(super) fn names(facts: &Facts, judge: &mut Judge) {
    let Some(list) = processes(facts, judge) else {
        return;
    };
    for process in list {
        let file = process.program.as_deref().unwrap_or_default();
        let base = file.rsplit('/').next().unwrap_or_default();
        let first = process.words.split(' ').next().unwrap_or_default();
        let first = first.rsplit('/').next().unwrap_or_default();
        for name in [process.name.as_str(), first] {
            if !is_random(name) {
                continue;
            }
            let same = !base.is_empty() && (base.starts_with(name) || name.starts_with(base));
            let source = format!("/proc/{}/comm", process.pid);
            let text = format!("`{name}`, program {file}");
            // Whoever may write a file may call it as its process.
            match process.place {
                Place::Firmware | Place::Packaged | Place::Own if same => continue,
                _ if same && is_accepted(facts, file) => continue,
                Place::Writable | Place::Unknown(_) | Place::Card(_) if same => {
                    judge.unknown(&source, text + ": whether the firmware brought it is not known");
                }
                _ => judge.fail(&source, text),
            }
            break;
        }
    }
    for mount in hiding(facts, judge) {
        judge.fail(&mount.point, "a mount hides this process");
    }
    judge.pass_otherwise(&facts.processes.source, format!("{} names", list.len()));
}

/// Whether nobody would call a program so: ten and more small letters and digits that no tongue can say.
fn is_random(name: &str) -> bool {
    const WORDS: &[&str] = &[
        "http", "rtsp", "serv", "stream", "video", "cam", "watch", "client", "onvif",
    ];
    let bytes = name.as_bytes();
    let plain = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    if bytes.len() < 10 || !bytes.iter().all(plain) || WORDS.iter().any(|word| name.contains(word)) {
        return false;
    }
    let digits = bytes.iter().filter(|byte| byte.is_ascii_digit()).count();
    let mut turns = 0;
    let (mut run, mut longest) = (0, 0);
    for pair in bytes.windows(2) {
        turns += u32::from(pair[0].is_ascii_digit() && !pair[1].is_ascii_digit());
        let consonant = !matches!(pair[1], b'a' | b'e' | b'i' | b'o' | b'u' | b'y' | b'0'..=b'9');
        run = if consonant { run + 1 } else { 0 };
        longest = longest.max(run);
    }
    digits >= 3 && turns >= 2 || longest >= 6
}

pub(super) fn files(facts: &Facts, judge: &mut Judge) {
    for file in judge.need(&facts.droppings).into_iter().flatten() {
        judge.fail(file, "a program, or a name of known malware");
    }
    for file in judge.need(&facts.rights).into_iter().flatten() {
        judge.fail(
            file,
            "gives root's rights to whoever runs it, and came after the firmware",
        );
    }
    judge.pass_otherwise(&facts.droppings.source, "no program lies there");
}

pub(super) fn preload(facts: &Facts, judge: &mut Judge) {
    let source = &facts.preload.source;
    match judge.need(&facts.preload) {
        None => {}
        Some(Some(what)) => judge.fail(source, what.clone()),
        Some(None) => judge.pass(source, "there is none"),
    }
}

pub(super) fn modules(facts: &Facts, judge: &mut Judge) {
    let Some(modules) = judge.need(&facts.modules) else {
        return;
    };
    let source = &facts.modules.source;
    for Module { name, file } in modules {
        match file {
            ModuleFile::Found => {}
            ModuleFile::Added(path) => {
                let text = format!(
                    "{name} is loaded and its file is none of the firmware's: it lies in the writable layer, and no \
                     package names it"
                );
                judge.unknown(path, text);
            }
            ModuleFile::Nowhere => judge.unknown(source, format!("{name}: its file was not found")),
            ModuleFile::Loose(path) => judge.fail(path, format!("{name} is loaded and its file lies here")),
            ModuleFile::Hidden => judge.fail("/sys/module", format!("{name} is loaded and not in {source}")),
        }
    }
    for path in judge.need(&facts.strays).into_iter().flatten() {
        let loaded = |module: &Module| matches!(&module.file, ModuleFile::Loose(file) if file == path);
        if !modules.iter().any(loaded) {
            judge.unknown(path, "a module lies where firmwares keep none");
        }
    }
    judge.pass_otherwise(
        &facts.modules.source,
        format!("{} modules, each with its file", modules.len()),
    );
}

pub(super) fn logs(facts: &Facts, judge: &mut Judge) {
    for log in &facts.logs {
        let Some(found) = judge.need(log) else { continue };
        let (crashes, ooms, failures) = (found.crashes, found.ooms, found.failures);
        let text = format!(
            "{crashes} crashes, {ooms} times no memory, {failures} failed logins in {} lines",
            found.lines
        );
        if crashes + ooms + failures > 0 {
            judge.fail(&log.source, format!("{text}; last: {}", found.last));
        } else if found.lines > 0 {
            judge.pass(&log.source, text);
        } else if log.source == KERNEL_LOG || !facts.logs.iter().any(is_kept) {
            judge.unknown(&log.source, "nothing is in it");
        }
    }
}

/// Whether it is a log of the system's that holds anything: others may be empty.
fn is_kept(log: &Fact<Log>) -> bool {
    log.source != KERNEL_LOG && log.value().is_some_and(|log| log.lines > 0)
}

#[cfg(test)]
mod tests {
    use super::is_random;

    #[test]
    fn random_names_are_told_from_odd_ones() {
        for name in [
            "dvqbi2h4vtfb3lk",
            "ukfhpq6w5t1n",
            "kdm2gvwlq83ehu",
            "xjqwkrtplmnz",
            "3k5jdu7a1bvq",
        ] {
            assert!(is_random(name), "{name}");
        }
        for name in [
            "systemd-journal",
            "wpa_supplicant",
            "majestic",
            "prudynt",
            "v4l2rtspserver",
            "mjpg_streamer",
            "odhcp6c",
            "lighttpd",
            "rtspserver",
            "avahi-daemon",
            "nvramdaemon",
            "telnetd",
            "onvif_simple_server",
            "snapshotserver",
            "ubusd",
            "chromium",
            "python3",
            "gst-launch-1.0",
            "lenscap",
            "watchdogd",
            "cameraservice",
            "iotcserver",
            "p2pclient2",
            "streamer1080p",
            "node_exporter",
            "containerd",
        ] {
            assert!(!is_random(name), "{name}");
        }
    }
}
