//! Which files say what starts: scripts that the system runs by itself, what those run, tables and units.

use lenscap_harden::root::{Kind, Root};
use lenscap_harden::storage;
use lenscap_harden::survey::Survey;

use super::MAX_ENTRIES;
use super::contents::PROGRAMS;
use super::fetches::{self, Found, Known, Point};
use super::starts::{is_loose, is_table, is_unit};
use crate::audit_cmd::places;

/// Folders and files of hooks that others run, beside those of start scripts: preinit, netifd, DHCP clients, mdev, ifupdown,
/// udev and modprobe.
const HOOKS: &[&str] = &[
    "/lib/preinit",
    "/lib/netifd",
    "/lib/netifd/proto",
    "/lib/mdev",
    "/lib/udev",
    "/usr/share/udhcpc",
    "/usr/share/udhcpc/default.script.d",
    "/etc/udhcpc",
    "/etc/udhcpc.user",
    "/etc/udhcpc.user.d",
    "/etc/udhcpc.script",
    "/etc/mdev",
    "/etc/network/interfaces",
    "/etc/network/interfaces.d",
    "/etc/network/if-pre-up.d",
    "/etc/network/if-up.d",
    "/etc/network/if-down.d",
    "/etc/network/if-post-down.d",
    "/etc/udev/rules.d",
    "/lib/udev/rules.d",
    "/usr/lib/udev/rules.d",
    "/etc/modprobe.d",
    "/lib/modprobe.d",
    "/etc/modprobe.conf",
    "/etc/wpa_supplicant",
    "/etc/ppp",
    "/etc/ppp/ip-up.d",
    "/etc/ppp/ip-down.d",
];
/// The most paths of commands that are looked for, and the most functions that are known by name.
const MAX_LOOKUPS: usize = 16_384;
const MAX_FUNCTIONS: usize = 4096;
/// What is told of one file about cards, what is certain first.
const MAX_CARDS: usize = 8;

/// Whether the system runs it by itself: what lies where programs are is run by others.
fn starts_itself(path: &str) -> bool {
    // Rust's attributes begin as scripts do.
    if path.ends_with(".rs") {
        return false;
    }
    let programs = ["/usr/", "/lib/", "/bin/", "/sbin/", "/opt/bin/"];
    let hooks = [
        "/init.d/",
        "/rc.d/",
        "/hotplug.d/",
        "/uci-defaults/",
        "/profile.d/",
        "/if-up.d/",
    ];
    hooks.iter().any(|hook| path.contains(hook)) || !programs.iter().any(|place| path.starts_with(place))
}

/// The files that say what starts, each once.
#[derive(Default)]
pub(super) struct Texts {
    /// Files of commands; scripts read those of `/etc/default`.
    pub(super) commands: Vec<String>,
    /// Files whose lines are commands, some or all.
    pub(super) tables: Vec<String>,
    /// What is wrong with them: the file, what it fetches, what it runs of cards, and what it opens a console with.
    pub(super) looked: Vec<(String, [Vec<Found>; 3])>,
    /// Whether there was more than is looked at.
    pub(super) cut: bool,
}

impl Texts {
    #[inline(never)]
    pub(super) fn take(root: &Root, survey: &Survey, mounts: &str) -> Self {
        let mut texts = Self::default();
        for path in &survey.settings {
            if is_table(path) || is_unit(path) || fetches::is_rules(path) {
                texts.tables.push(path.clone());
            }
        }
        let read = |path: &&String| path.starts_with("/etc/default/");
        let scripts = survey.scripts.iter().filter(|path| starts_itself(path));
        for path in scripts.chain(survey.settings.iter().filter(read)) {
            texts.add(path);
        }
        for hook in HOOKS {
            texts.add_hook(root, hook);
        }
        let points = texts.follow(root, survey, mounts);
        texts.judge(root, &points);
        texts
    }

    /// All files that say what starts.
    pub(super) fn all(&self) -> impl Iterator<Item = &String> {
        self.commands.iter().chain(&self.tables)
    }

    fn has(&self, path: &str) -> bool {
        self.all().any(|have| have == path)
    }

    fn add(&mut self, path: &str) {
        if self.has(path) {
            return;
        }
        if self.commands.len() + self.tables.len() >= MAX_ENTRIES {
            self.cut = true;
        } else if fetches::is_rules(path) {
            self.tables.push(path.to_owned());
        } else {
            self.commands.push(path.to_owned());
        }
    }

    /// Adds a file of commands or rules, or those of a folder.
    fn add_hook(&mut self, root: &Root, hook: &str) {
        let Ok(listing) = root.listing(hook) else {
            return self.add_text(root, hook);
        };
        self.cut |= listing.cut || !listing.odd.is_empty();
        for entry in listing.entries {
            if matches!(entry.kind(), Kind::File | Kind::Link) {
                self.add_text(root, &format!("{hook}/{}", entry.name));
            }
        }
    }

    /// Adds a file, if it is a text. Programs are none.
    fn add_text(&mut self, root: &Root, path: &str) {
        let Ok(real) = root.canonical(path) else { return };
        let kernels = ["/proc/", "/sys/", "/dev/"];
        if self.has(&real) || is_loose(&real) || kernels.iter().any(|place| real.starts_with(place)) {
            return;
        }
        match root.head(&real, 4) {
            Ok(head) if head.is_empty() || head.contains(&0x7f) => return,
            Ok(_) => {}
            Err(_) => return,
        }
        match root.read(&real) {
            Ok(text) if text.contains(&0) => {}
            Ok(_) => self.add(&real),
            Err(_) => self.cut |= root.head(&real, 2).is_ok_and(|head| head == b"#!"),
        }
    }

    /// Adds what the files run, and what that runs. Gives where cards and flash are mounted.
    fn follow(&mut self, root: &Root, survey: &Survey, mounts: &str) -> Vec<Point> {
        let mut points: Vec<Point> = Vec::new();
        for mount in storage::all(mounts).iter().filter(|mount| mount.point != "/") {
            let card = places::is_card(mount, mounts);
            let point = Point::new(&mount.source, &mount.point, &mount.kind);
            points.extend(point.map(|point| Point { card, ..point }));
        }
        let fstab = root.read("/etc/fstab").unwrap_or_default();
        for line in String::from_utf8_lossy(&fstab).lines() {
            let words: Vec<&str> = line.split_whitespace().take(3).collect();
            if let [device, place, kind] = words[..] {
                points.extend(Point::new(device, place, kind));
            }
        }
        let mut scripts: Vec<&str> = survey.scripts.iter().map(String::as_str).collect();
        scripts.sort_unstable();
        let mut asked: Vec<String> = Vec::new();
        let mut at = 0;
        while let Some(path) = self.tables.iter().chain(&self.commands).nth(at).cloned() {
            at += 1;
            let text = root.read(&path).unwrap_or_default();
            let looked = fetches::look(&path, &text, &Known::default());
            for point in looked.mounted {
                if points.len() < MAX_ENTRIES && !points.contains(&point) {
                    points.push(point);
                }
            }
            for name in looked.starts {
                let Err(place) = asked.binary_search(&name) else {
                    continue;
                };
                if asked.len() == MAX_LOOKUPS {
                    self.cut = true;
                    break;
                }
                self.add_start(root, &scripts, &name);
                asked.insert(place, name);
            }
        }
        points
    }

    /// Adds the script that a command names.
    fn add_start(&mut self, root: &Root, scripts: &[&str], name: &str) {
        if let Some((head, tail)) = name.split_once('*').filter(|_| name.starts_with('/')) {
            let from = scripts.partition_point(|have| *have < head);
            let named = scripts
                .iter()
                .skip(from)
                .take_while(|have| have.starts_with(head));
            for path in named.filter(|path| path.ends_with(tail.trim_start_matches('*'))) {
                self.add(path);
            }
        } else if name.starts_with('/') {
            self.add_text(root, name);
        } else if !name.contains(['/', '$', '=', '(']) {
            for folder in PROGRAMS {
                let path = format!("{folder}/{name}");
                if scripts.binary_search(&path.as_str()).is_ok() {
                    self.add(&path);
                }
            }
        }
    }

    /// Looks at all of them, with what is known of all together.
    fn judge(&mut self, root: &Root, points: &[Point]) {
        let mut functions = Functions::default();
        let every: Vec<String> = self.tables.iter().chain(&self.commands).cloned().collect();
        for count in [false, true] {
            for path in &every {
                let text = root.read(path).unwrap_or_default();
                functions.read(&String::from_utf8_lossy(&text), count);
            }
        }
        let callable = |name: &str| functions.is_named(name);
        let known = Known {
            points,
            callable: Some(&callable),
        };
        let mut left = MAX_ENTRIES;
        for path in every {
            let text = root.read(&path).unwrap_or_default();
            let mut looked = fetches::look(&path, &text, &known);
            // Firmwares that live on a card name it in every line.
            let (certain, others): (Vec<Found>, Vec<Found>) =
                looked.cards.into_iter().partition(|found| found.certain);
            looked.cards = certain;
            looked.cards.extend(others);
            looked.cards.truncate(MAX_CARDS);
            if path.ends_with("/inittab") {
                // Its lines say more.
                looked.consoles.clear();
            }
            let count = looked.found.len() + looked.cards.len() + looked.consoles.len();
            if count == 0 {
                continue;
            }
            self.cut |= count > left;
            left = left.saturating_sub(count);
            if left > 0 {
                self.looked
                    .push((path, [looked.found, looked.cards, looked.consoles]));
            }
        }
    }
}

/// Names of functions, by a hash, and how often they stand in all files together: one that stands once is called by nobody.
#[derive(Default)]
struct Functions {
    names: Vec<(u32, u32)>,
    full: bool,
}

impl Functions {
    /// Adds the names that a text defines, or counts those that are known.
    fn read(&mut self, text: &str, count: bool) {
        let name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-' || c == '.';
        let mut rest = text;
        let mut keyword = false;
        while let Some(start) = rest.find(name) {
            let (_, from) = rest.split_at(start);
            let (word, after) = from.split_at(from.find(|c| !name(c)).unwrap_or(from.len()));
            rest = after;
            let hash = hash(word);
            let at = self.names.partition_point(|(have, _)| *have < hash);
            let known = self.names.get_mut(at).filter(|(have, _)| *have == hash);
            let defines = keyword || after.trim_start_matches([' ', '\t']).starts_with('(');
            match known {
                Some((_, times)) if count => *times = times.saturating_add(1),
                None if !count && defines => {
                    self.full |= self.names.len() >= MAX_FUNCTIONS;
                    if !self.full {
                        self.names.insert(at, (hash, 0));
                    }
                }
                _ => {}
            }
            keyword = word == "function";
        }
    }

    fn is_named(&self, name: &str) -> bool {
        let hash = hash(name);
        let at = self.names.partition_point(|(have, _)| *have < hash);
        let times = self.names.get(at).filter(|(have, _)| *have == hash);
        self.full || times.is_none_or(|(_, times)| *times > 1)
    }
}

/// FNV-1a.
fn hash(word: &str) -> u32 {
    word.bytes().fold(0x811c_9dc5, |hash: u32, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    })
}

#[cfg(test)]
mod tests {
    use super::Functions;

    #[test]
    fn functions_that_nobody_names_are_called_by_nobody() {
        let mut functions = Functions::default();
        for count in [false, true] {
            for text in [
                "lonely() {\n x\n}\nown () { y; }\nown\nfunction odd { z; }\n",
                "trap other EXIT\nother() { :; }",
            ] {
                functions.read(text, count);
            }
        }
        for (name, named) in [("lonely", false), ("own", true), ("odd", false), ("other", true)] {
            assert_eq!(functions.is_named(name), named, "{name}");
        }
    }
}
