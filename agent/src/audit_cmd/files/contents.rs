//! What is in files that let somebody in or start by themselves, by hashes, so that one audit can be compared with another.

use std::io;

use lenscap_audit::facts::{Content, Fact, Missing};
use lenscap_harden::credentials::PROGRAM;
use lenscap_harden::root::{Kind, Root, name_of};
use lenscap_harden::survey::Survey;
use ring::digest::{Context, SHA256, digest};

use super::starts::{SSHD_CONFIG, hash_of_all, short_hash};
use super::texts::Texts;
use super::{LOOSE, MAX_ENTRIES, is_absent, missing};

/// Where programs are that scripts name without a path.
pub(super) const PROGRAMS: &[&str] = &[
    "/bin",
    "/sbin",
    "/usr/bin",
    "/usr/sbin",
    "/usr/local/bin",
    "/usr/local/sbin",
    "/opt/bin",
];
/// What all programs together may have, in bytes: flash is slow.
const MAX_PROGRAM_BYTES: u64 = 64 * 1024 * 1024;
/// The most names and words that are looked at, and the longest word.
const MAX_NAMES: usize = 8192;
const MAX_WORD_BYTES: usize = 512;
/// Where SSH servers look for keys: in homes, and OpenWrt's Dropbear.
const KEYS: &[&str] = &[
    ".ssh/authorized_keys",
    ".ssh/authorized_keys2",
    "/etc/dropbear/authorized_keys",
];

/// A hash of an account's line that tells nothing to whoever has another salt.
pub(super) fn login(salt: &str, text: &[u8], line: u32) -> String {
    let mut lines = text.split(|byte| *byte == b'\n');
    let line = lines.nth(line.saturating_sub(1) as usize).unwrap_or_default();
    let mut context = Context::new(&SHA256);
    context.update(salt.as_bytes());
    context.update(line.trim_ascii_end());
    short_hash(context.finish().as_ref())
}

/// The lines of all files of keys that let somebody in. They hold no secrets.
#[inline(never)]
pub(super) fn authorised(root: &Root, survey: &Survey) -> Fact<Vec<Content>> {
    let mut patterns: Vec<String> = KEYS.iter().map(|path| (*path).to_owned()).collect();
    let settings = root.read(SSHD_CONFIG).unwrap_or_default();
    for line in String::from_utf8_lossy(&settings).lines() {
        let mut words = line.split([' ', '\t', '=', '"']).filter(|word| !word.is_empty());
        let own = words
            .next()
            .is_some_and(|word| word.eq_ignore_ascii_case("authorizedkeysfile"));
        patterns.extend(words.filter(|_| own).map(str::to_owned));
    }
    let mut files: Vec<String> = Vec::new();
    let mut add = |user: &str, home: &str| {
        for pattern in &patterns {
            let path = pattern.replace("%h", home).replace("%u", user);
            let path = if path.starts_with('/') {
                path
            } else {
                format!("{home}/{path}")
            };
            let path = root.canonical(&path).unwrap_or(path);
            if !files.contains(&path) && files.len() < MAX_ENTRIES {
                files.push(path);
            }
        }
    };
    add("root", "/root");
    for table in &survey.accounts {
        // What cannot be read is missed as a table of accounts.
        let text = root.read(table).unwrap_or_default();
        for line in String::from_utf8_lossy(&text).lines() {
            if let [user, _, _, _, _, home, _] = line.split(':').collect::<Vec<_>>()[..] {
                add(user, home.trim_end_matches('/'));
            }
        }
    }
    let mut found: Vec<Content> = Vec::new();
    for path in &files {
        let text = match root.read(path) {
            Ok(text) => text,
            Err(error) if is_absent(&error) => continue,
            Err(error) => return Fact::missing(path.clone(), missing(&error)),
        };
        let lines = text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
        for line in lines.filter(|line| !line.is_empty() && !line.starts_with(b"#")) {
            found.push(Content {
                place: path.clone(),
                hash: short_hash(digest(&SHA256, line).as_ref()),
            });
        }
    }
    if files.len() == MAX_ENTRIES || found.len() > MAX_ENTRIES {
        return Fact::missing(KEYS[0], Missing::because("there are too many to look at"));
    }
    Fact::seen(KEYS[0], found)
}

/// The programs that start entries name, by the words in their files: with their paths, or by the names that programs have;
/// and those that run and may have come after the firmware.
#[inline(never)]
pub(super) fn programs(root: &Root, texts: &Texts, running: &[String]) -> Fact<Vec<Content>> {
    match try_programs(root, texts, running) {
        Ok(found) => Fact::seen("programs", found),
        Err((path, error)) => Fact::missing(path, missing(&error)),
    }
}

type Failure = (String, io::Error);

fn try_programs(root: &Root, texts: &Texts, running: &[String]) -> Result<Vec<Content>, Failure> {
    let too_many = || {
        (
            "programs".to_owned(),
            io::Error::other("there are too many to look at"),
        )
    };
    let mut known: Vec<(String, &str)> = Vec::new();
    for folder in PROGRAMS {
        let entries = match root.listing(folder) {
            Ok(listing) if listing.cut => return Err(too_many()),
            Ok(listing) => listing.entries,
            Err(error) if is_absent(&error) => continue,
            Err(error) => return Err(((*folder).to_owned(), error)),
        };
        let programs = entries
            .into_iter()
            .filter(|entry| matches!(entry.kind(), Kind::File | Kind::Link));
        known.extend(programs.map(|entry| (entry.name, *folder)));
    }
    if known.len() > MAX_NAMES {
        return Err(too_many());
    }
    known.sort_unstable();
    // Sorted, each once.
    let mut paths: Vec<String> = Vec::new();
    for path in texts.all() {
        let text = root.read(path).map_err(|error| (path.clone(), error))?;
        let odd = |c: char| !c.is_ascii_alphanumeric() && !"/._+-".contains(c);
        for word in String::from_utf8_lossy(&text).split(odd) {
            let word = word.trim_start_matches('-');
            let mut add = |path: String| {
                if let Err(at) = paths.binary_search(&path) {
                    paths.insert(at, path);
                }
            };
            if word.starts_with('/') && word.len() <= MAX_WORD_BYTES {
                add(word.to_owned());
            }
            let first = known.partition_point(|(name, _)| name.as_str() < word);
            let named = known.iter().skip(first).take_while(|(name, _)| name == word);
            named.for_each(|(name, folder)| add(format!("{folder}/{name}")));
            if paths.len() > MAX_NAMES {
                return Err(too_many());
            }
        }
    }
    paths.extend_from_slice(running);
    let mut found: Vec<Content> = Vec::new();
    let mut left = MAX_PROGRAM_BYTES;
    for path in paths {
        // Names of nothing, of folders and of devices are no programs.
        let Ok(path) = root.canonical(&path) else { continue };
        // A start entry is told as one; our own come and change with the program.
        let told = path == PROGRAM || found.iter().any(|have| have.place == path);
        if told || texts.all().any(|text| *text == path) || !root.exists(&path) || is_elsewhere(&path) {
            continue;
        }
        let runs = running.contains(&path);
        let hash = match hash_of(root, &path, runs, &mut left) {
            Ok(Some(hash)) => hash,
            Ok(None) => continue,
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => continue,
            Err(error) => return Err((path, error)),
        };
        found.push(Content { place: path, hash });
    }
    Ok(found)
}

/// Where the kernel shows itself, and what is judged by where it lies.
fn is_elsewhere(path: &str) -> bool {
    let below = |place: &str| path.strip_prefix(place).is_some_and(|rest| rest.starts_with('/'));
    below("/proc") || below("/sys") || LOOSE.iter().any(|place| below(place))
}

/// `None`: it is no program. What runs is one, and where programs are, every file is.
fn hash_of(root: &Root, path: &str, runs: bool, left: &mut u64) -> io::Result<Option<String>> {
    let head = root.head(path, 4)?;
    let folder = path.strip_suffix(name_of(path)).unwrap_or_default();
    if !runs
        && head != b"\x7fELF"
        && !head.starts_with(b"#!")
        && !PROGRAMS.contains(&folder.trim_end_matches('/'))
    {
        return Ok(None);
    }
    let within = |length| {
        let rest = left.checked_sub(length as u64);
        *left = rest.ok_or_else(|| io::Error::other("programs are too large to look at"))?;
        Ok(())
    };
    hash_of_all(root.reader(path)?, within).map(Some)
}
