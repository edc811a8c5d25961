//! Lines of inittab(5) whose console asks nobody.

use lenscap_harden::root::{Root, name_of};

use super::fetches::is_flag;
use crate::audit_cmd::processes::SHELLS;

/// What only starts the program behind it.
const WRAPPERS: &[&str] = &[
    "busybox", "setsid", "cttyhack", "exec", "env", "nice", "nohup", "openvt", "command", "time", "su-exec",
];
/// Options of getty and agetty that have a value.
const VALUED: &[char] = &['I', 'H', 'f', 'l', 't', 'a', 'o', 'r', 'd', 'C'];

/// What a console does.
#[derive(Debug, PartialEq, Eq)]
enum Asks {
    /// A name and a password, or it is no console.
    All,
    /// Nobody.
    Nobody,
    /// It is not known.
    Unknown,
}

/// A line of inittab(5) whose console asks nobody, or may: whether that is certain, and a sentence.
#[inline(never)]
pub(super) fn open(root: &Root, line: &str) -> Option<(bool, String)> {
    let mut fields = line.trim().splitn(4, ':');
    let (id, _, action) = (fields.next()?, fields.next()?, fields.next()?);
    let process = fields.next()?.trim_start_matches('-');
    if matches!(
        action,
        "ctrlaltdel" | "shutdown" | "restart" | "off" | "initdefault" | "powerfail"
    ) {
        return None;
    }
    let first = process.split_whitespace().next().unwrap_or_default();
    let quotes = ['"', '\''];
    let words: Vec<&str> = process
        .split_whitespace()
        .map(|word| word.trim_matches(quotes))
        .collect();
    // The settings of OpenWrt's `login.sh` are read where it is.
    let asks = match asks(&words) {
        Asks::Unknown if name_of(first) == "login.sh" => openwrt(root),
        asks => asks,
    };
    let terminal = id.starts_with("tty") || id.starts_with("console") || id.starts_with("/dev/");
    let waits =
        matches!(action, "askfirst" | "askconsole" | "askconsolelate") || terminal && action != "sysinit";
    match asks {
        Asks::Nobody => Some((true, format!("gives a shell to whoever is there: `{first}`"))),
        Asks::Unknown if waits => Some((
            false,
            format!("whether it asks for a password is not known: `{first}`"),
        )),
        _ => None,
    }
}

/// It asks for a password only if it is told to.
fn openwrt(root: &Root) -> Asks {
    let settings = root.read("/etc/config/system").unwrap_or_default();
    let told = String::from_utf8_lossy(&settings).lines().any(|line| {
        let mut words = line.split_whitespace();
        words.next() == Some("option")
            && words.next() == Some("ttylogin")
            && words
                .next()
                .is_some_and(|value| value.trim_matches(['\'', '"']) == "1")
    });
    if told { Asks::All } else { Asks::Nobody }
}

/// Whether a program of a console asks nobody for a password.
pub(super) fn asks_nobody(words: &[&str]) -> bool {
    asks(words) == Asks::Nobody
}

fn asks(mut words: &[&str]) -> Asks {
    while let [head, rest @ ..] = words {
        let name = name_of(head.trim_start_matches('-'));
        if !WRAPPERS.contains(&name) && !head.contains('=') {
            break;
        }
        let own = |word: &&&str| word.starts_with('-') || word.starts_with(|c: char| c.is_ascii_digit());
        words = rest
            .get(rest.iter().take_while(own).count()..)
            .unwrap_or_default();
    }
    let [head, rest @ ..] = words else {
        return Asks::Unknown;
    };
    match name_of(head.trim_start_matches('-')) {
        // Where it reads and writes is no script.
        name if SHELLS.contains(&name) => {
            match rest.iter().position(|word| !word.starts_with(['-', '<', '>'])) {
                // A script, or commands in words.
                Some(0) => Asks::Unknown,
                Some(at)
                    if rest[..at]
                        .iter()
                        .any(|word| !word.starts_with("--") && word.contains('c')) =>
                {
                    let inner: Vec<&str> = rest.get(at..).unwrap_or_default().to_vec();
                    asks(&inner)
                }
                Some(_) => Asks::Unknown,
                None => Asks::Nobody,
            }
        }
        // As root it asks for no password.
        "su" => Asks::Nobody,
        "login" => match rest.iter().any(|word| is_flag(word, 'f')) {
            true => Asks::Nobody,
            false => Asks::All,
        },
        "sulogin" => Asks::All,
        "getty" | "agetty" | "mingetty" | "mgetty" => getty(rest),
        _ => Asks::Unknown,
    }
}

/// Which program getty starts, and whether with a name already.
fn getty(rest: &[&str]) -> Asks {
    let mut words = rest.iter().copied();
    let mut asked = Asks::All;
    while let Some(word) = words.next() {
        let Some(flags) = word.strip_prefix('-') else {
            continue;
        };
        if let Some(long) = flags.strip_prefix('-') {
            let (name, value) = match long.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (long, None),
            };
            match name {
                "autologin" => return Asks::Nobody,
                "login-program" | "loginprog" => asked = program(value.or_else(|| words.next())),
                "login-options"
                    if value
                        .or_else(|| words.next())
                        .is_some_and(|value| value.contains("-f")) =>
                {
                    return Asks::Nobody;
                }
                _ => {}
            }
            continue;
        }
        let Some(at) = flags.find(VALUED) else { continue };
        let (option, value) = flags.split_at(at).1.split_at(1);
        let value = Some(value)
            .filter(|value| !value.is_empty())
            .or_else(|| words.next());
        match option {
            "a" => return Asks::Nobody,
            "l" => asked = program(value),
            "o" if value.is_some_and(|value| value.contains("-f")) => return Asks::Nobody,
            _ => {}
        }
    }
    asked
}

fn program(value: Option<&str>) -> Asks {
    match value.map(name_of) {
        Some("login" | "sulogin") => Asks::All,
        Some(name) if SHELLS.contains(&name) || name == "su" => Asks::Nobody,
        _ => Asks::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn consoles_that_ask_nobody_are_told_from_those_that_ask() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("etc/config")).unwrap();
        let root = Root::tree(folder.path()).unwrap();
        for line in [
            "ttyS0::respawn:/bin/login -f root",
            "ttyS0::respawn:/sbin/getty -nl /bin/sh 115200 ttyS0",
            "ttyS0::respawn:/sbin/getty -l/bin/sh 115200 ttyS0",
            "ttyS0::respawn:/sbin/getty -L -l /bin/ash ttyS0",
            "ttyS0::respawn:/bin/busybox sh",
            "ttyS0::respawn:/sbin/agetty --autologin root ttyS0",
            "ttyS0::respawn:/sbin/agetty --autologin=root ttyS0",
            "ttyS0::respawn:/sbin/agetty -a root ttyS0",
            "ttyS0::respawn:/sbin/agetty -o '-f root' ttyS0",
            "::respawn:/usr/bin/setsid /bin/cttyhack /bin/sh",
            "ttyS0::once:/bin/sh",
            "::respawn:/bin/su -",
            "::askfirst:-/bin/sh",
            "::askfirst:/bin/ash --login",
            "ttyS0::respawn:/bin/sh -c /bin/sh",
            "::askfirst:/usr/libexec/login.sh",
            "1:2345:respawn:env TERM=linux /bin/sh -i",
        ] {
            assert_eq!(
                open(&root, line).map(|(certain, _)| certain),
                Some(true),
                "{line}"
            );
        }
        for line in [
            "ttyS0::respawn:/sbin/getty -l /usr/bin/x ttyS0",
            "ttyS0::respawn:/usr/bin/x",
            "::askfirst:/usr/bin/x",
        ] {
            assert_eq!(
                open(&root, line).map(|(certain, _)| certain),
                Some(false),
                "{line}"
            );
        }
        for line in [
            "ttyS0::respawn:/sbin/getty -L ttyS0 115200 vt100",
            "ttyS0::respawn:/sbin/getty -n -l /bin/login 115200 ttyS0",
            "T0:23:respawn:/sbin/agetty -L ttyS0 115200 vt100",
            "::respawn:/sbin/getty 38400 tty1",
            "ttyS0::respawn:/bin/login",
            "::respawn:/usr/bin/streamer",
            "::sysinit:/bin/sh /etc/init.d/rcS",
            "::sysinit:/bin/sh -c '/etc/init.d/rcS start'",
            "null::sysinit:/bin/mount -t proc proc /proc",
            "::ctrlaltdel:/sbin/reboot",
            "::shutdown:/bin/umount -a -r",
        ] {
            assert_eq!(open(&root, line), None, "{line}");
        }
        fs::write(folder.path().join("etc/config/system"), "\toption ttylogin '1'\n").unwrap();
        assert_eq!(open(&root, "::askfirst:/usr/libexec/login.sh"), None);
    }
}
