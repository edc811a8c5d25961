//! What scripts run from memory cards, and where they mount them.

use lenscap_harden::root::name_of;

use super::ways::starts_by_place;
use super::{Found, Reader, operands};

/// Where cards and sticks are mounted as a rule.
const CARDS: &[&str] = &[
    "/mnt/mmc",
    "/mnt/sd",
    "/mnt/usb",
    "/mnt/*",
    "/media/*",
    "/media/mmc",
    "/media/sd",
    "/media/usb",
    "/tmp/sd",
    "/tmp/mmc",
    "/sdcard",
    "/system/sdcard",
];
/// Flash, by the names that firmwares give it.
const FLASH: &[&str] = &["/mnt/mtd", "/mnt/rom", "/mnt/flash", "/mnt/nand", "/mnt/ubi"];
/// Cards' devices, and the file systems that cards alone have.
const DEVICES: &[&str] = &["/dev/mmc", "/dev/sd", "/dev/$", "LABEL=", "UUID="];
const KINDS: &[&str] = &["vfat", "msdos", "exfat", "ntfs"];
/// Folders whose files start, or are started.
const SYSTEM: &[&str] = &[
    "",
    "/etc",
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/root",
    "/opt",
    "/etc/init.d",
];

/// Where something is mounted, and whether that is a card.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::audit_cmd::files) struct Point {
    pub(in crate::audit_cmd::files) place: String,
    pub(in crate::audit_cmd::files) card: bool,
}

impl Point {
    /// Whether it is worth knowing. The root itself is no card, whatever it lies on.
    pub(in crate::audit_cmd::files) fn new(device: &str, place: &str, kind: &str) -> Option<Self> {
        let place = place.trim_end_matches('/');
        let card = DEVICES.iter().any(|known| device.starts_with(known)) || KINDS.contains(&kind);
        let odd = matches!(
            place,
            "" | "/rom" | "/overlay" | "/proc" | "/sys" | "/dev" | "/tmp" | "/var" | "/run" | "/etc"
        );
        (place.starts_with('/') && !odd && !place.starts_with("/$")).then(|| Self {
            place: place.to_owned(),
            card,
        })
    }

    /// Whether a path leads below it; a variable stands for any one name.
    fn holds(&self, path: &str) -> bool {
        let (fixed, open) = match self.place.split_once(['$', '*']) {
            Some((fixed, _)) => (fixed, true),
            None => (self.place.as_str(), false),
        };
        let Some(rest) = path.strip_prefix(fixed) else {
            return false;
        };
        if open {
            rest.contains('/')
        } else {
            rest.starts_with('/')
        }
    }
}

impl Reader<'_> {
    /// Whether a file lies on a card; `None`: it may.
    fn is_on_card(&self, path: &str) -> Option<bool> {
        let points = || self.points.iter().chain(&self.mounted);
        // The longest says it: flash may be mounted beside cards.
        let held = points().filter(|point| point.holds(path));
        if let Some(point) = held.max_by_key(|point| (point.place.len(), point.card)) {
            return Some(point.card);
        }
        if CARDS.iter().any(|card| path.starts_with(card)) {
            return Some(true);
        }
        if FLASH.iter().any(|flash| path.starts_with(flash)) {
            return Some(false);
        }
        let below = |folder| {
            path.strip_prefix(folder)
                .is_some_and(|rest: &str| rest.contains('/'))
        };
        if below("/mnt/") || below("/media/") {
            None
        } else {
            Some(false)
        }
    }

    /// Notes that a file is run, if it is a card's.
    pub(super) fn run_of_card(&mut self, line: u32, path: &str) -> bool {
        let copied = self.carded.iter().any(|have| {
            have == path || have.ends_with('/') && have.len() > 1 && path.starts_with(have.as_str())
        });
        let text = match self.is_on_card(path) {
            _ if copied => format!("runs what was copied from a memory card: `{path}`"),
            Some(false) => return false,
            Some(true) => format!("runs what a memory card holds: `{path}`"),
            None => format!("may run what a memory card holds: `{path}`"),
        };
        let certain = copied || self.is_on_card(path) == Some(true);
        self.tell_of_card(line, certain, text);
        certain
    }

    fn tell_of_card(&mut self, line: u32, certain: bool, text: String) {
        let found = Found { line, certain, text };
        Self::keep(&mut self.card, found, &mut self.cut);
    }

    pub(super) fn mounts(&mut self, line: u32, rest: &[String]) {
        let kind = super::value(rest, &["-t"]).unwrap_or_default();
        let binds = rest
            .iter()
            .any(|word| matches!(word.as_str(), "--bind" | "-B" | "bind"));
        if let [from, to] = operands(rest, &["-t", "-o", "-O"])[..]
            && binds
        {
            return self.takes_of_card(line, from, to, true);
        }
        if let [device, place] = operands(rest, &["-t", "-o", "-O"])[..]
            && let Some(point) = Point::new(device, &self.place(place), kind)
        {
            Self::keep(&mut self.mounted, point, &mut self.cut);
        }
    }

    /// What a program gives of a card: to a file, or through a pipe.
    pub(super) fn shows_card(&mut self, line: u32, words: &[String], output: Option<&str>) {
        const SHOW: &[&str] = &["cat", "ls", "find", "zcat", "dd"];
        let Some((_, rest)) = words
            .split_first()
            .filter(|(head, _)| SHOW.contains(&name_of(head)))
        else {
            return;
        };
        for word in rest {
            let word = word.strip_prefix("if=").unwrap_or(word);
            if word.starts_with('-') || self.is_on_card(&self.place(word)) != Some(true) {
                continue;
            }
            match output {
                Some(output) => self.takes_of_card(line, word, output, false),
                None => self.card_piped = Some(self.place(word)),
            }
        }
    }

    /// Folders of programs and libraries that lie on a card.
    pub(super) fn path_of_card(&mut self, line: u32, folder: &str, what: &str) {
        if self.is_on_card(&format!("{folder}/")) == Some(true) {
            let text = format!("takes {what} from a memory card: `{folder}`");
            self.tell_of_card(line, false, text);
        }
    }

    /// What is copied or unpacked from a card: over the system's own files, or somewhere else.
    pub(super) fn takes_of_card(&mut self, line: u32, from: &str, to: &str, all: bool) {
        let from = self.place(from);
        if self.is_on_card(&from) != Some(true) {
            return;
        }
        let to = self.place(to);
        let folder = to.trim_end_matches('/');
        let put = format!("{folder}/{}", name_of(&from));
        let starts = starts_by_place(&to) || starts_by_place(&put);
        if starts || all && SYSTEM.contains(&folder) {
            let text = format!("puts what a memory card holds over the system's own files: `{from}`");
            return self.tell_of_card(line, true, text);
        }
        for path in [to.clone(), format!("{folder}/"), put] {
            Self::keep(&mut self.carded, path, &mut self.cut);
        }
    }
}
