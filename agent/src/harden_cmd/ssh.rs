//! How the owner comes in by SSH: what the servers that run take, where, and whether somebody is let through to them.
//!
//! What cannot be told is no way in.

use std::path::Path;

use base64ct::{Base64, Encoding as _};
use lenscap_harden::accounts;
use lenscap_harden::firewall::Allowed;
use lenscap_harden::gate::{OwnerFacts, SshLogin};
use lenscap_harden::listeners::{self, Logins, Ssh};
use lenscap_harden::root::{Root, folder_of};

use super::live::owned_since;
use crate::config::Harden;

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
];
/// Dropbear lets nobody in whose shell is not among these, where the system names none (getusershell(3)).
const SHELLS: &str = "/bin/sh\n/bin/csh\n";

/// What the servers that run take.
#[derive(Default)]
pub(super) struct Ways {
    /// The surest login, wherever it is.
    pub(super) surest: SshLogin,
    /// Whether somebody who is allowed can use a key.
    reached: bool,
    /// Whether somebody who is allowed is asked for root's password: where a server is seen, there alone.
    pub(super) asked: bool,
    /// Why a key is no way in, if there is one: goes behind a sentence.
    pub(super) unreached: String,
}

/// Looks at them.
pub(super) fn ways(root: &Root, harden: &Harden) -> Ways {
    let servers = listeners::ssh_servers(&listeners::read(root).unwrap_or_default(), &roots_logins(root));
    let mut ways = Ways {
        asked: servers.is_empty() && is_allowed(harden, 22),
        ..Ways::default()
    };
    for Ssh { port, login, asks } in servers {
        let allowed = is_allowed(harden, port);
        ways.surest = ways.surest.max(login);
        ways.asked |= allowed && asks;
        if login == SshLogin::Key {
            ways.reached |= allowed;
            ways.unreached =
                format!("; SSH takes a key on port {port}, which `list allow_lan` does not name");
        }
    }
    if ways.reached {
        ways.unreached.clear();
    }
    ways
}

/// What is known of the owner's ways in.
pub(super) fn owner_facts(config: &Path, secret_given: bool, ways: &Ways) -> OwnerFacts {
    OwnerFacts {
        authorised_key: ways.surest == SshLogin::Key,
        allowed_lan: ways.reached,
        claimed_uplink: owned_since(config).is_some(),
        secret_given,
    }
}

/// Whether the firewall lets somebody through to a port.
fn is_allowed(harden: &Harden, port: u16) -> bool {
    let allowed = Allowed::parse_all(&harden.allow_lan);
    let mut allowed = allowed.iter().filter(|allowed| !allowed.net.addr.is_loopback());
    allowed.any(|allowed| allowed.tcp && allowed.port == port)
}

fn roots_logins(root: &Root) -> Logins {
    let mut logins = Logins::default();
    let read = |path: &str| root.read(path).unwrap_or_default();
    let [passwd, shadow] = ["/etc/passwd", "/etc/shadow"].map(read);
    let shells = root.read("/etc/shells").unwrap_or_else(|_| SHELLS.into());
    let shells = String::from_utf8_lossy(&shells);
    let openssh = root.read(SSHD_CONFIG).is_ok_and(|text| lets_root_in(&text));
    let openwrt = root.exists(OPENWRT);
    let shadow = accounts::parse(&shadow);
    for account in accounts::parse(&passwd)
        .iter()
        .filter(|account| account.is_root())
    {
        let line = passwd.get(account.range.end..).unwrap_or_default();
        let line = line.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let home = line.split(|byte| *byte == b':').nth(4).unwrap_or_default();
        let home = String::from_utf8_lossy(home).into_owned();
        let key = has_key(root, &(home.trim_end_matches('/').to_owned() + KEYS));
        let kept = shadow.iter().find(|kept| kept.user == account.user);
        let field = match account.field.as_str() {
            "x" => kept.map_or("x", |kept| &kept.field),
            field => field,
        };
        // Without PAM OpenSSH takes none for an account that is locked so.
        let may = account.user == "root" && account.has_shell() && !field.starts_with('!');
        logins.other_key |= key && openssh && may;
        let shell = account.shell.as_deref().unwrap_or_default();
        if !shell.is_empty() && shells.lines().all(|listed| listed.trim() != shell) {
            continue;
        }
        logins.dropbear_key |= if openwrt {
            has_key(root, OPENWRTS_KEYS)
        } else {
            key
        };
        logins.blank |= field.is_empty();
        // No hash is shorter than that of DES.
        logins.password |= field.len() >= 13 && !field.starts_with(['!', '*']);
    }
    logins
}

/// Whether OpenSSH's settings (sshd_config(5)) let root in with a key from its home. A line that may refuse it for some
/// does for all, and so do files that are included.
fn lets_root_in(text: &[u8]) -> bool {
    let text = String::from_utf8_lossy(text).to_ascii_lowercase();
    text.lines().all(|line| {
        let words = line.split(|c: char| c.is_whitespace() || matches!(c, '=' | '"'));
        let mut words = words.filter(|word| !word.is_empty());
        let name = words.next().unwrap_or_default();
        let known = REFUSING.iter().find(|(start, _)| name.starts_with(start));
        known.is_none_or(|(_, lets)| words.any(|word| lets.contains(&word)))
    })
}

/// Whether a file authorises a key. Servers pass by one that others than root may write, or may put another in the place of.
fn has_key(root: &Root, path: &str) -> bool {
    let folder = folder_of(path);
    let of_root = [path, folder, folder_of(folder)].iter().all(|path| {
        let stat = root.stat(path);
        stat.is_ok_and(|attributes| attributes.uid == 0 && attributes.mode & 0o022 == 0)
    });
    let text = root.read(path).unwrap_or_default();
    of_root && String::from_utf8_lossy(&text).lines().any(is_key)
}

/// Whether a line of `authorized_keys` holds a key (sshd(8)): its kind, and then its bytes, which begin with the length
/// of the kind and the kind (RFC 4253, section 6.6). Options before it may be for a command alone, or from elsewhere.
fn is_key(line: &str) -> bool {
    let mut words = line.split_whitespace();
    let (Some(kind), Some(key)) = (words.next(), words.next()) else {
        return false;
    };
    let mut bytes = [0; 512];
    // The beginning is enough, and a whole number of groups.
    let key = key.get(..key.len().min(512) / 4 * 4).unwrap_or_default();
    let decoded = Base64::decode(key.as_bytes(), &mut bytes).unwrap_or_default();
    decoded.split_at_checked(4).is_some_and(|(length, rest)| {
        length == (kind.len() as u32).to_be_bytes()
            && rest.len() > kind.len()
            && rest.starts_with(kind.as_bytes())
    })
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
        ] {
            let text = format!("Port 22\n{line}\nSubsystem sftp internal-sftp\n");
            assert_eq!(lets_root_in(text.as_bytes()), lets, "{line}");
        }
    }

    #[test]
    fn a_key_with_options_is_none() {
        let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHRoZSBvd25lcidzIGtleSBpbiB0aGVzZSB0ZXN0cy4u owner";
        assert!(is_key(key) && is_key(&format!(" {key}")));
        for line in ["", "#", "owner", "ssh-ed25519 AAAA owner"] {
            assert!(!is_key(line), "{line}");
        }
        for options in ["#", "command=\"/bin/false\" ", "from=\"10.0.0.1\" ", "restrict "] {
            assert!(!is_key(&format!("{options}{key}")), "{options}");
        }
    }
}
