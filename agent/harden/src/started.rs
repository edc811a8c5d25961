//! Which servers a boot starts: by the commands of start scripts, of what those run, and of tables.
//!
//! What is not followed counts as not started: who asks wants to know whether a server that runs is there after a boot.

use crate::root::{Root, folder_of, name_of};
use crate::shell;
use crate::storage::{self, Storage};
use crate::survey::{RUNNERS, Survey, contains};
use crate::telnet::{HARMLESS, WRAPPERS, is_option, stops};

/// How deep shells are followed that are given a text.
const MAX_DEPTH: u8 = 3;
/// Where start scripts are linked. On OpenWrt nothing else runs them.
const LINKS: &[&str] = &[
    "/etc/rc.d",
    "/etc/rcS.d",
    "/etc/rc2.d",
    "/etc/rc3.d",
    "/etc/rc5.d",
];
const OPENWRT: &str = "/etc/openwrt_release";
/// Scripts that no ordinary boot runs: those of a login, of a web page, and of OpenWrt's failsafe mode.
const NO_BOOT: &[&str] = &["/profile", "/www", ".cgi", "/cgi-bin/", "/lib/preinit/"];
/// What runs the program that is named after it, beside [`WRAPPERS`].
const STARTERS: &[&str] = &["dropbearmulti", "start_daemon", "daemon"];

/// The words behind a server's name in each command by which a boot starts it, with a blank between them.
#[must_use]
pub fn starts(root: &Root, survey: &Survey, server: &str) -> Vec<String> {
    let mut found = Vec::new();
    let units = survey.settings.iter().filter(|path| path.contains("/systemd/"));
    let tables = survey.tables().chain(units).map(|path| (path, true));
    let scripts = survey.scripts.iter().map(|path| (path, false));
    for (path, is_table) in tables.chain(scripts) {
        let text = root.read(path).unwrap_or_default();
        if !contains(&text, server.as_bytes()) || !stays(root, path) {
            continue;
        }
        let before = found.len();
        // To a shell it would be an assignment.
        let text = String::from_utf8_lossy(&text).replace("ExecStart=", "");
        in_text(root, text.as_bytes(), server, is_table, 0, &mut found);
        if found.len() > before && !is_table && !is_run(root, survey, path) {
            found.truncate(before);
        }
    }
    found
}

/// Whether a file is there after a boot.
#[must_use]
pub fn stays(root: &Root, path: &str) -> bool {
    if !root.is_live() {
        return true;
    }
    let place = root.canonical(path).ok().zip(root.mounts());
    place.is_some_and(|(path, mounts)| {
        matches!(
            storage::judge(&mounts, &path),
            Storage::Persistent | Storage::ReadOnly
        )
    })
}

fn in_text(root: &Root, text: &[u8], server: &str, is_table: bool, depth: u8, found: &mut Vec<String>) {
    for command in shell::commands(text) {
        let words: Vec<&str> = command.meant.iter().flat_map(|word| word.split(' ')).collect();
        let texts = command.meant.iter().filter(|word| word.contains(' '));
        if let Some((program, behind)) = started(&words, server, is_table) {
            // One that is named by its path must be there then.
            if !program.starts_with('/') || root.exists(program) && stays(root, program) {
                found.push(behind.join(" "));
            }
        } else if depth < MAX_DEPTH && words.iter().any(|word| RUNNERS.contains(&name_of(word))) {
            for text in texts {
                in_text(root, text.as_bytes(), server, false, depth + 1, found);
            }
        }
    }
}

/// The server's name and the words behind it, where these words start it.
fn started<'w>(words: &'w [&'w str], server: &str, is_table: bool) -> Option<(&'w str, &'w [&'w str])> {
    let mut rest = words;
    while let [first, after @ ..] = rest {
        // `id:levels:action:program` of inittab(5).
        let program = if is_table {
            first.rsplit(':').next()?
        } else {
            first
        };
        let name = name_of(program);
        if name == server {
            return Some((program, after));
        }
        let at = || after.iter().position(|word| name_of(word) == server);
        rest = match name {
            "procd_set_param" if after.first() == Some(&"command") => after.get(1..)?,
            "start-stop-daemon" => {
                let at = at().filter(|_| !stops(after))?;
                let options = after.iter().skip_while(|word| **word != "--").count();
                return Some((
                    after.get(at)?,
                    after.get(after.len() - options.saturating_sub(1)..)?,
                ));
            }
            _ if WRAPPERS.contains(&name) || STARTERS.contains(&name) => {
                let options = after.iter().take_while(|word| is_option(word)).count();
                after.get(options..)?
            }
            // Times and users stand before it.
            _ if is_table && !first.starts_with('/') && !HARMLESS.contains(&name) => after,
            _ => return None,
        };
    }
    None
}

/// Whether a boot runs a script, as far as is known.
fn is_run(root: &Root, survey: &Survey, path: &str) -> bool {
    let (folder, name) = (folder_of(path), name_of(path));
    if NO_BOOT.iter().any(|part| path.contains(part)) {
        return false;
    }
    let runs = name.ends_with(".sh") || root.stat(path).is_ok_and(|file| file.mode & 0o111 != 0);
    let named = || {
        let mut others = survey
            .scripts
            .iter()
            .chain(survey.tables())
            .filter(|other| *other != path);
        others.any(|other| {
            root.read(other)
                .is_ok_and(|text| contains(&text, path.as_bytes()))
        })
    };
    let numbered = |name: &str| matches!(name.as_bytes(), [b'S', b'0'..=b'9', b'0'..=b'9', ..]);
    let linked = || {
        let mut links = LINKS
            .iter()
            .flat_map(|folder| root.list(folder).unwrap_or_default());
        links.any(|link| numbered(&link.name) && link.name.get(3..) == Some(name))
    };
    match name_of(folder) {
        "init.d" if root.exists(OPENWRT) => runs && linked(),
        "init.d" => runs && (numbered(name) || name.starts_with("rc") || linked() || named()),
        "bin" | "sbin" => named(),
        _ => runs || named(),
    }
}
