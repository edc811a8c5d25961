//! Whether SSH takes passwords, by the command lines of the servers that run.

use lenscap_audit::facts::{Fact, Facts, Missing, Process, Socket};
use lenscap_audit::inventory::sockets;
use lenscap_harden::root::{Root, name_of};

use super::whole;
use crate::audit_cmd::files;

/// SSH's own port.
const PORT: u16 = 22;
/// Dropbear's options that have a value.
const VALUED: &[u8] = b"brpPKIWcTlDj";

/// What kind of server a process is, by its name, its program's, or what it was called as.
fn kind(process: &Process) -> Option<&'static str> {
    let program = process.program.as_deref().unwrap_or_default();
    let words = process.words.split(' ').take(2);
    let mut names = words.chain([process.name.as_str(), program]).map(name_of);
    names.find_map(|name| match name {
        "dropbear" | "dropbearmulti" => Some("dropbear"),
        // Older ones name what each connection is for.
        "sshd" | "sshd:" | "in.sshd" => Some("sshd"),
        _ => None,
    })
}

/// Whether Dropbear takes no passwords: `-s`, alone or among others.
pub(in crate::audit_cmd) fn refuses<'w>(mut words: impl Iterator<Item = &'w str>) -> bool {
    while let Some(word) = words.next() {
        let flags = word.strip_prefix('-').unwrap_or_default().as_bytes();
        for (n, flag) in flags.iter().enumerate() {
            if *flag == b's' {
                return true;
            }
            if VALUED.contains(flag) {
                if n + 1 == flags.len() {
                    words.next();
                }
                break;
            }
        }
    }
    false
}

#[inline(never)]
pub(super) fn read(root: &Root, facts: &Facts) -> Fact<Option<bool>> {
    let processes = &facts.processes;
    let list = match &processes.value {
        Ok(processes) => &processes.list,
        Err(why) => return Fact::missing(processes.source.clone(), why.clone()),
    };
    // Of several servers the one that takes passwords counts, and before one that takes none, one that is not understood.
    let mut found: Option<Fact<Option<bool>>> = None;
    let at = |socket: &&Socket| socket.waits() && socket.local.1 == PORT && socket.proto.is_tcp();
    let all = sockets(facts).into_iter();
    let waiting: Vec<Option<usize>> = all.filter(at).map(|socket| socket.owner).collect();
    let mut at_port = false;
    for (index, process) in list.iter().enumerate() {
        let source = format!("/proc/{}/cmdline", process.pid);
        let mut words = process.words.split(' ');
        let server = match kind(process) {
            Some("dropbear") => Fact::seen(source, Some(!refuses(words))),
            // Settings of its own.
            Some(_) if words.any(|word| word.starts_with("-f") || word.starts_with("-o")) => {
                Fact::missing(source, Missing::because("has settings that are not read"))
            }
            Some(_) => files::sshd(root),
            None => continue,
        };
        at_port |= waiting.contains(&Some(index));
        let takes = server.value == Ok(Some(true));
        if takes || server.value.is_err() || found.is_none() {
            found = Some(server);
        }
        if takes {
            break;
        }
    }
    let stranger = (!waiting.is_empty() && !at_port).then(|| {
        let why =
            "somebody waits on port 22 who is no SSH server by name: how it takes passwords is not known";
        Fact::missing("/proc/net/tcp", Missing::because(why))
    });
    match (whole(processes).or(stranger), found) {
        (_, Some(found)) if found.value == Ok(Some(true)) => found,
        (Some(doubt), _) => doubt,
        (None, Some(found)) => found,
        (None, None) => Fact::seen("/proc", None),
    }
}

#[cfg(test)]
mod tests {
    use super::refuses;

    #[test]
    fn dropbears_options_are_read_as_it_does() {
        for (line, expected) in [
            ("dropbear -s", true),
            ("dropbear -sg", true),
            ("dropbear -gs -p 22", true),
            ("dropbear -FEs", true),
            ("dropbear -R -p 22 -s", true),
            ("dropbear", false),
            ("dropbear -g", false),
            ("dropbear -p -s", false),
            ("dropbear -r/etc/keys", false),
            ("dropbear -P /run/s.pid", false),
        ] {
            assert_eq!(refuses(line.split(' ')), expected, "{line}");
        }
    }
}
