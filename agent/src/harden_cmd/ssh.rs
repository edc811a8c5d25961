//! How the owner comes in by SSH: what the servers that run take, where, and whether somebody is let through to them.
//!
//! What cannot be told is no way in.

use core::ops::Range;
use std::path::Path;

use base64ct::{Base64, Encoding as _};
use lenscap_harden::accounts;
use lenscap_harden::firewall::{Allowed, own_addresses6};
use lenscap_harden::gate::{OwnerFacts, SshLogin};
use lenscap_harden::listeners::{self, Logins, OPENSSH, Ssh};
use lenscap_harden::root::{MAX_TEXT_BYTES, Root, folder_of};
use lenscap_harden::started::{self, stays};
use lenscap_harden::survey::Survey;

use super::live::owned_since;

/// Where SSH servers look for keys, in root's home.
const KEYS: &str = "/.ssh/authorized_keys";
/// OpenWrt's Dropbear looks for them in a place of its own. Only OpenWrt has the other file.
const OPENWRTS_KEYS: &str = "/etc/dropbear/authorized_keys";
const OPENWRT: &str = "/etc/openwrt_release";
/// OpenSSH's settings, without which it does not start.
const SSHD_CONFIG: &str = "/etc/ssh/sshd_config";
/// How its lines begin that may refuse root a key, and the values that do not.
const REFUSING: &[(&str, &[&str])] = &[
    (
        "permitrootlogin",
        &["yes", "prohibit-password", "without-password"],
    ),
    ("pubkeyauthentication", &["yes"]),
    (
        "authorizedkeysfile",
        &[".ssh/authorized_keys", "%h/.ssh/authorized_keys"],
    ),
    ("allowusers", &["root"]),
    ("allowgroups", &[]),
    ("deny", &[]),
    ("match", &[]),
    ("include", &[]),
    ("authenticationmethods", &[]),
    ("forcecommand", &[]),
    ("chrootdirectory", &[]),
    ("pubkeyaccepted", &[]),
    ("revokedkeys", &[]),
    ("refuse", &[]),
    ("requiredrsasize", &[]),
    ("maxsessions", &[]),
    ("listenaddress", &["0.0.0.0"]),
    ("addressfamily", &["any", "inet"]),
];
/// The shells of users that may log in.
const LISTED: &str = "/etc/shells";
/// Dropbear lets nobody in whose shell is not among these, where the system names none (getusershell(3)).
const SHELLS: &str = "/bin/sh\n/bin/csh\n";

/// This camera's addresses in IPv6: none where that is switched off.
const ADDRESSES: &str = "/proc/net/if_inet6";
/// The keys that servers take: how many parts they have, and how long they are at least (RFC 4253, section 6.6, RFC 5656,
/// RFC 8709; OpenSSH's PROTOCOL.u2f), with RSA's of 1024 bits.
const KINDS: &[(&str, u8, u8)] = &[
    ("ssh-rsa", 3, 151),
    ("ssh-ed25519", 2, 51),
    ("ecdsa-sha2-nistp256", 3, 104),
    ("ecdsa-sha2-nistp384", 3, 136),
    ("ecdsa-sha2-nistp521", 3, 172),
    // Dropbear takes none of these.
    ("sk-ssh-ed25519@openssh.com", 3, 70),
    ("sk-ecdsa-sha2-nistp256@openssh.com", 4, 123),
];
const DROPBEARS: usize = 5;
/// The longest key: RSA's of 16384 bits has 2080.
const MAX_KEY_BYTES: usize = 2304;

/// What the servers that run take.
#[derive(Default)]
pub(super) struct Ways {
    /// The surest login, wherever it is.
    pub(super) surest: SshLogin,
    /// Whether somebody who is allowed can use a key.
    reached: bool,
    /// Whether anybody is asked for root's password, by a server that lets in whoever has root's shell.
    pub(super) asks: bool,
    /// The same of somebody who is allowed.
    pub(super) asked: bool,
    /// Whether no server is seen, and somebody is let through to where one usually is.
    pub(super) unseen: bool,
    /// Why a key, or a server, is no way in, if there is one: goes behind a sentence.
    pub(super) unreached: String,
}

/// Looks at them. What a boot ends is no way that stays: a server that nothing starts, keys and accounts in memory.
/// `nets`: who is let through. Without a survey it is not asked what starts a server.
pub(super) fn ways(root: &Root, mut nets: Vec<Allowed>, survey: Option<&Survey>, state_dir: &str) -> Ways {
    let servers = listeners::ssh_servers(&listeners::read(root).unwrap_or_default());
    let (logins, listed, lost) = roots_logins(root, &servers);
    let addresses = root.head(ADDRESSES, MAX_TEXT_BYTES as u64).unwrap_or_default();
    let ipv6 = !own_addresses6(&String::from_utf8_lossy(&addresses)).is_empty();
    nets.retain(|Allowed { net, tcp, .. }| *tcp && !net.addr.is_loopback() && (ipv6 || net.addr.is_ipv4()));
    let mut ways = Ways {
        unseen: servers.is_empty() && nets.iter().any(|allowed| allowed.port == 22),
        ..Ways::default()
    };
    let mut taken = None;
    let survey = if survey.is_some_and(|survey| survey.scripts.is_empty()) && !servers.is_empty() {
        // The firewall alone needed no walk.
        Some(&*taken.insert(Survey::take(root, state_dir)))
    } else {
        survey
    };
    if lost {
        "; root's account, shells or keys of SSH are in memory, or nobody knows where: a boot may end them"
            .clone_into(&mut ways.unreached);
    }
    let mut starts = ("", Vec::new());
    for server in &servers {
        let Ssh {
            at,
            program,
            path,
            words,
        } = server;
        // One that was replaced is started anew from there.
        let path = path.strip_suffix(" (deleted)").unwrap_or(path);
        let same = |other: &Ssh| other.program != *program || other.at.port() == at.port();
        let alone = servers.iter().all(same);
        // Once for a server's sockets, which follow each other.
        if let Some(survey) = survey.filter(|_| starts.0 != *program) {
            starts = (program, started::starts(root, survey, program));
        }
        let (mut login, mut asks) = server.login(words, &logins);
        let mut started = survey.is_none();
        let there = root.exists(path) && stays(root, path);
        // Which of them starts it, nobody knows: the least counts.
        for script in starts
            .1
            .iter()
            .filter(|script| server.is_started_by(script, alone))
        {
            let least = server.login(script, &logins);
            (login, asks) = (login.min(least.0), asks && least.1);
            started = true;
        }
        let no_way = if started && there {
            let reaches =
                |allowed: &Allowed| allowed.port == at.port() && allowed.net.addr.is_ipv4() == at.is_ipv4();
            let allowed = nets.iter().any(reaches);
            ways.surest = ways.surest.max(login);
            ways.asks |= asks && listed;
            ways.asked |= allowed && asks && listed;
            if login == SshLogin::Key {
                ways.reached |= allowed;
                "`list allow_lan` lets nobody there"
            } else if lost {
                continue;
            } else {
                "it takes no key: there is none, or its options, /etc/ssh/sshd_config or /etc/shells refuse root's"
            }
        } else {
            "no script is known to start it, or it lies in memory: a boot may end it"
        };
        ways.unreached = format!("; {program} listens at {at}, and {no_way}");
    }
    if ways.reached {
        ways.unreached.clear();
    }
    ways
}

/// A word for the way in that a boot is to show again: the surest of those that somebody is let through to, if any is.
pub(super) fn word(ways: &Ways) -> Option<&'static str> {
    let key = ways.reached || ways.surest == SshLogin::Key && !ways.asked;
    // It may ask for a password that is to be the owner's yet.
    let password = ways.surest > SshLogin::None || ways.asks;
    if key {
        Some("key")
    } else {
        password.then_some("password")
    }
}

/// Whether that way is there again. `behind`: the firewall.
pub(super) fn is_back(ways: &Ways, way: &str, behind: bool) -> bool {
    let key = way == "key";
    let surest = if key { SshLogin::Key } else { SshLogin::Password };
    ways.surest >= surest && (!behind || ways.reached || ways.asked && !key)
}

/// What is known of the owner's ways in.
pub(super) fn owner_facts(root: &Root, config: &Path, secret_given: bool, ways: &Ways) -> OwnerFacts {
    OwnerFacts {
        authorised_key: ways.surest == SshLogin::Key,
        allowed_lan: ways.reached,
        claimed_uplink: owned_since(root, config).is_some(),
        secret_given,
    }
}

/// What opens a login of root's; whether Dropbear lets in whoever has root's shell; and whether something of that is there
/// until the next boot alone, and counts for nothing.
fn roots_logins(root: &Root, servers: &[Ssh]) -> (Logins, bool, bool) {
    let mut logins = Logins::default();
    let mut any_listed = false;
    let tables = ["/etc/passwd", "/etc/shadow", LISTED];
    if !tables
        .iter()
        .all(|table| !root.exists(table) || stays(root, table))
    {
        return (logins, false, true);
    }
    let mut lost = false;
    let mut has_key = |path: &str, kinds| {
        let has = has_key(root, path, kinds);
        let stays = !has || stays(root, path);
        lost |= !stays;
        has && stays
    };
    let read = |path: &str| root.read(path).unwrap_or_default();
    let [passwd, shadow, _] = tables.map(read);
    let shells = root.read(LISTED).unwrap_or_else(|_| SHELLS.into());
    let shells = String::from_utf8_lossy(&shells);
    let openssh = root
        .read(SSHD_CONFIG)
        .is_ok_and(|text| lets_root_in(&text, servers))
        && stays(root, SSHD_CONFIG);
    let openwrt = root.exists(OPENWRT);
    let old = shadow;
    let shadow = accounts::parse(&old);
    for account in accounts::parse(&passwd)
        .iter()
        .filter(|account| account.is_root())
    {
        let home = behind(&account.range, &passwd).nth(4).unwrap_or_default();
        let home = String::from_utf8_lossy(home).into_owned();
        let file = home.trim_end_matches('/').to_owned() + KEYS;
        let kept = shadow.iter().find(|kept| kept.user == account.user);
        let field = match account.field.as_str() {
            "x" => kept.map_or("x", |kept| &kept.field),
            field => field,
        };
        // Without PAM OpenSSH takes none for an account that is locked so, or that expires.
        let expires = kept.is_some_and(|kept| {
            behind(&kept.range, &old)
                .nth(6)
                .is_some_and(|date| !date.is_empty())
        });
        let may = account.user == "root" && account.has_shell() && !field.starts_with('!') && !expires;
        logins.other_key |= openssh && may && has_key(&file, KINDS.len());
        let shell = account.shell.as_deref().unwrap_or_default();
        if !shell.is_empty() && shells.lines().all(|listed| listed.trim() != shell) {
            continue;
        }
        any_listed |= account.user == "root";
        let file = if openwrt { OPENWRTS_KEYS } else { &file };
        logins.dropbear_key |= has_key(file, DROPBEARS);
        logins.blank |= field.is_empty();
        // No hash is shorter than that of DES.
        logins.password |= field.len() >= 13 && !field.starts_with(['!', '*']);
    }
    (logins, any_listed, lost)
}

/// Whether OpenSSH's settings (sshd_config(5)) let root in with a key from its home. A line that may refuse it for some
/// does for all, and so do files that are included, and ports where it does not listen now.
fn lets_root_in(text: &[u8], servers: &[Ssh]) -> bool {
    let text = String::from_utf8_lossy(text).to_ascii_lowercase();
    // Options come before settings.
    let listens = |port: &str| {
        let mut openssh = servers.iter().filter(|server| server.program == OPENSSH);
        openssh.any(|server| server.at.port().to_string() == port || server.words.contains(" -p"))
    };
    let mut usual = true;
    let lets = text.lines().all(|line| {
        let line = line.split('#').next().unwrap_or_default();
        let words = line.split(|c: char| c.is_whitespace() || matches!(c, '=' | '"'));
        let mut words = words.filter(|word| !word.is_empty());
        let name = words.next().unwrap_or_default();
        if name == "port" {
            usual = false;
            return words.next().is_some_and(listens);
        }
        let known = REFUSING.iter().find(|(start, _)| name.starts_with(start));
        known.is_none_or(|(_, lets)| words.any(|word| lets.contains(&word)))
    });
    lets && (!usual || listens("22"))
}

/// What stands behind the field of a line, from nothing on.
fn behind<'t>(field: &Range<usize>, text: &'t [u8]) -> impl Iterator<Item = &'t [u8]> {
    let line = text.get(field.end..).unwrap_or_default();
    let line = line.split(|byte| *byte == b'\n').next().unwrap_or_default();
    line.split(|byte| *byte == b':')
}

/// Whether a file authorises a key of the first kinds. Servers pass by one that others than root may write, or may put another in the place of.
fn has_key(root: &Root, path: &str, kinds: usize) -> bool {
    let folder = folder_of(path);
    let of_root = [path, folder, folder_of(folder)].iter().all(|path| {
        let stat = root.stat(path);
        stat.is_ok_and(|attributes| attributes.uid == 0 && attributes.mode & 0o022 == 0)
    });
    let text = root.read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    of_root
        && text
            .lines()
            .any(|line| key_kind(line).is_some_and(|kind| kind < kinds))
}

/// Which kind of key a line of `authorized_keys` holds whole (sshd(8)): its name, and then its parts, each behind its length
/// (RFC 4253, section 6.6). Options before it may be for a command alone, or from elsewhere.
fn key_kind(line: &str) -> Option<usize> {
    let mut words = line.split_whitespace();
    let name = words.next()?;
    let kind = KINDS.iter().position(|(kind, ..)| *kind == name)?;
    let (_, parts, least) = KINDS.get(kind)?;
    let mut bytes = [0; MAX_KEY_BYTES];
    let mut rest = Base64::decode(words.next()?.as_bytes(), &mut bytes).ok()?;
    let whole = rest.len() >= usize::from(*least);
    let mut found = 0_u16;
    while let Some((length, behind)) = rest.split_first_chunk() {
        let (part, behind) = behind.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        if found == 0 && part != name.as_bytes() {
            return None;
        }
        found += 1;
        rest = behind;
    }
    (whole && rest.is_empty() && found == u16::from(*parts)).then_some(kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_of_openssh_that_may_refuse_root_do() {
        for (line, lets) in [
            ("", true),
            ("#PermitRootLogin no", true),
            ("PermitRootLogin yes", true),
            ("permitrootlogin=without-password", true),
            ("PermitRootLogin prohibit-password", true),
            ("PermitRootLogin no", false),
            ("PermitRootLogin no # yes", false),
            ("PermitRootLogin yes # no", true),
            ("AllowUsers admin # not root", false),
            ("  PermitRootLogin=\"no\"", false),
            ("PermitRootLogin forced-commands-only", false),
            ("PubkeyAuthentication yes", true),
            ("PubkeyAuthentication no", false),
            (
                "AuthorizedKeysFile\t.ssh/authorized_keys .ssh/authorized_keys2",
                true,
            ),
            ("AuthorizedKeysFile /etc/ssh/keys/%u", false),
            ("AuthorizedKeysFile none", false),
            ("AllowUsers admin root", true),
            ("AllowUsers admin", false),
            ("DenyUsers root", false),
            ("AllowGroups wheel", false),
            ("Match User root", false),
            ("Include /etc/ssh/sshd_config.d/*.conf", false),
            ("AuthenticationMethods publickey,password", false),
            ("ForceCommand /bin/false", false),
            ("Port 2222", false),
            ("ListenAddress 0.0.0.0", true),
            ("ListenAddress 127.0.0.1", false),
            ("AddressFamily inet6", false),
        ] {
            let text = format!("Port 22\n{line}\nSubsystem sftp internal-sftp\n");
            assert_eq!(lets_root_in(text.as_bytes(), &[sshd("", 22)]), lets, "{line}");
        }
    }

    fn sshd(options: &str, port: u16) -> Ssh {
        Ssh {
            at: ([0, 0, 0, 0], port).into(),
            program: OPENSSH,
            path: "/usr/sbin/sshd".to_owned(),
            words: format!("/usr/sbin/sshd{options}"),
        }
    }

    #[test]
    fn openssh_listens_after_a_boot_where_its_settings_say() {
        for (text, options, port, lets) in [
            ("", "", 22, true),
            ("", "", 2222, false),
            ("", " -p 2222", 2222, true),
            ("Port 2222\n", "", 2222, true),
            ("Port 2222\n", "", 22, false),
            ("Port 22\nPort 2222\n", "", 22, false),
        ] {
            let found = lets_root_in(text.as_bytes(), &[sshd(options, port)]);
            assert_eq!(found, lets, "{text} {options} {port}");
        }
        assert!(!lets_root_in(b"", &[]), "none runs");
    }

    #[test]
    fn a_key_with_options_is_none() {
        let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHRoZSBvd25lcidzIGtleSBpbiB0aGVzZSB0ZXN0cy4u owner";
        let is_key = |line: &str| key_kind(line).is_some();
        assert!(is_key(key) && is_key(&format!(" {key}")));
        for line in ["", "#", "owner", "ssh-ed25519 AAAA owner"] {
            assert!(!is_key(line), "{line}");
        }
        for options in ["#", "command=\"/bin/false\" ", "from=\"10.0.0.1\" ", "restrict "] {
            assert!(!is_key(&format!("{options}{key}")), "{options}");
        }
        for cut in 0..key.len() - " owner".len() {
            assert!(!is_key(&key[..cut]), "cut at {cut}");
        }
    }

    /// A line of a key that has these parts behind its kind's name.
    fn line(kind: &str, parts: &[usize]) -> String {
        let mut bytes = Vec::new();
        let zeros = parts.iter().map(|length| vec![0; *length]);
        for part in [kind.as_bytes().to_vec()].into_iter().chain(zeros) {
            bytes.extend_from_slice(&(part.len() as u32).to_be_bytes());
            bytes.extend(part);
        }
        format!("{kind} {}", Base64::encode_string(&bytes))
    }

    #[test]
    fn a_key_is_whole_and_of_a_kind_that_servers_take() {
        for (kind, parts, taken) in [
            ("ssh-rsa", &[3, 129][..], Some(true)),
            ("ssh-rsa", &[3, 2049], Some(true)),
            ("ssh-rsa", &[3, 65], None),
            ("ssh-rsa", &[129], None),
            ("ssh-rsa", &[3, 129, 0], None),
            ("ssh-dss", &[129, 21, 129, 129], None),
            ("ssh-ed25519", &[32], Some(true)),
            ("ssh-ed448", &[57], None),
            ("ecdsa-sha2-nistp256", &[8, 65], Some(true)),
            ("ecdsa-sha2-nistp384", &[8, 97], Some(true)),
            ("ecdsa-sha2-nistp521", &[8, 133], Some(true)),
            ("ecdsa-sha2-nistp256", &[8], None),
            ("sk-ssh-ed25519@openssh.com", &[32, 4], Some(false)),
            ("sk-ecdsa-sha2-nistp256@openssh.com", &[8, 65, 4], Some(false)),
        ] {
            let found = key_kind(&line(kind, parts)).map(|kind| kind < DROPBEARS);
            assert_eq!(found, taken, "{kind} {parts:?}");
        }
        // As many parts as there can be.
        assert_eq!(key_kind(&line("ssh-rsa", &[0; 500])), None);
        let other = line("ssh-rsa", &[3, 129]).replace("ssh-rsa ", "ssh-ed25519 ");
        assert_eq!(key_kind(&other), None);
    }
}
