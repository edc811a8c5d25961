//! Where programs and scripts lie: in the firmware, in the layer above it, in memory, on a card.

use std::io::{self, Read as _};

use lenscap_audit::facts::{Fact, Facts, Missing, Place};
use lenscap_harden::root::Root;
use lenscap_harden::storage;

use super::files::starts;
use super::{missing, processes, system};

/// File systems in memory.
pub(super) const MEMORY: &[&str] = &["tmpfs", "ramfs", "devtmpfs", "rootfs"];
/// File systems that nobody writes to.
const IMAGES: &[&str] = &["squashfs", "cramfs", "romfs", "erofs"];
/// Servers.
const SERVERS: &[&str] = &["nfs", "nfs4", "cifs", "smb3", "smbfs", "9p"];
/// What is read of files to compare them, in bytes: flash is slow.
const MAX_COMPARED: u64 = 64 * 1024 * 1024;
/// The most places that are worked out.
const MAX_PLACES: usize = 1024;

fn unknown(why: &'static str) -> Place {
    Place::Unknown(Missing::because(why))
}

/// A line of `/proc/mounts`.
pub(super) struct Spot<'t> {
    pub(super) device: &'t str,
    pub(super) point: String,
    pub(super) kind: &'t str,
    options: &'t str,
}

pub(super) fn spots(mounts: &str) -> impl Iterator<Item = Spot<'_>> {
    mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ');
        Some(Spot {
            device: fields.next()?,
            point: fields.next()?.replace("\\040", " "),
            kind: fields.next()?,
            options: fields.next()?,
        })
    })
}

/// What is mounted where a path without links leads to. A later mount covers an earlier one at the same place.
fn spot<'t>(mounts: &'t str, path: &str) -> Option<Spot<'t>> {
    let below = |point: &str| {
        let rest = path.strip_prefix(point.trim_end_matches('/'));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    spots(mounts)
        .filter(|spot| below(&spot.point))
        .max_by_key(|spot| spot.point.len())
}

impl Spot<'_> {
    /// Whether it is a memory card, a disk or a server, and not of the disk that the firmware is on.
    pub(super) fn is_card(&self, mounts: &str) -> bool {
        let own = |spot: Spot<'_>| {
            matches!(spot.point.as_str(), "/" | "/rom") && disk(spot.device) == disk(self.device)
        };
        if MEMORY.contains(&self.kind) {
            return false;
        }
        let removable = self.device.starts_with("/dev/sd") || self.device.starts_with("/dev/mmcblk");
        SERVERS.contains(&self.kind) || removable && !spots(mounts).any(own)
    }
}

/// The disk of a partition: `mmcblk0` of `mmcblk0p2`, `sda` of `sda1`.
fn disk(device: &str) -> &str {
    let disk = device.trim_end_matches(|c: char| c.is_ascii_digit());
    match disk.strip_suffix('p') {
        Some(disk) if disk.ends_with(|c: char| c.is_ascii_digit()) => disk,
        _ if device.starts_with("/dev/mmcblk") => device,
        _ => disk,
    }
}

/// Where memory cards and the like are mounted.
pub(super) fn cards(mounts: &str) -> Vec<String> {
    spots(mounts)
        .filter(|spot| spot.point != "/" && spot.is_card(mounts))
        .map(|spot| spot.point)
        .collect()
}

/// Where more lies in memory than what every system has there. What the root itself shows is judged by its layers.
pub(super) fn memory(mounts: &str) -> Vec<String> {
    let upper = spots(mounts).filter(|spot| spot.point == "/").last();
    let upper = upper.and_then(|root| {
        let upper = root
            .options
            .split(',')
            .find_map(|option| option.strip_prefix("upperdir="))?;
        spot(mounts, upper).map(|spot| spot.point)
    });
    let system = |point: &str| point == "/" || point.starts_with("/sys") || point.starts_with("/proc");
    spots(mounts)
        .filter(|spot| {
            MEMORY.contains(&spot.kind) && !system(&spot.point) && Some(&spot.point) != upper.as_ref()
        })
        .map(|spot| spot.point)
        .collect()
}

/// Says of all processes where their files lie.
#[inline(never)]
pub(super) fn mark(root: &Root, facts: &mut Facts) {
    let mounts = system::mount_table(root);
    let Ok(list) = facts.processes.value.as_mut() else {
        return;
    };
    let mut finder = match &mounts {
        Ok(mounts) => Ok(Finder {
            layers: Layers::new(root, mounts),
            mounts,
            left: MAX_COMPARED,
            known: Vec::new(),
        }),
        Err(error) => Err(missing(error)),
    };
    let mut find = |path: &str| match &mut finder {
        Ok(finder) => finder.find(root, path),
        Err(why) => Place::Unknown(why.clone()),
    };
    for process in &mut list.list {
        if let Ok(file) = &process.program {
            process.place = if processes::is_self(process.pid) {
                Place::Own
            } else {
                find(file)
            };
        }
        process.script = process.script.take().map(|(path, _)| {
            let real = root.canonical(&path).unwrap_or_else(|_| path.clone());
            if root.exists(&real) {
                let place = find(&real);
                return (real, place);
            }
            (path, unknown("its script is gone"))
        });
    }
}

struct Finder<'m> {
    mounts: &'m str,
    layers: Layers,
    left: u64,
    known: Vec<(String, Place)>,
}

impl Finder<'_> {
    fn find(&mut self, root: &Root, path: &str) -> Place {
        if let Some((_, place)) = self.known.iter().find(|(have, _)| have == path) {
            return place.clone();
        }
        let place = self.place(root, path);
        if self.known.len() < MAX_PLACES {
            self.known.push((path.to_owned(), place.clone()));
        }
        place
    }

    fn place(&mut self, root: &Root, path: &str) -> Place {
        // A layer's own folder shows what the root shows.
        let upper = self.layers.upper.as_deref().filter(|upper| upper.len() > 1);
        if let Some(rest) = upper.and_then(|upper| path.strip_prefix(upper)) {
            let path = rest.to_owned();
            return self.layers.of_overlay(root, self.mounts, &path, &mut self.left);
        }
        let Some(spot) = spot(self.mounts, path) else {
            return unknown("what is mounted there is not told");
        };
        let what = format!("{} ({})", spot.point, spot.kind);
        let read_only = spot.options.split(',').any(|option| option == "ro");
        if spot.is_card(self.mounts) {
            Place::Card(format!("{} ({}, {})", spot.point, spot.device, spot.kind))
        } else if MEMORY.contains(&spot.kind) {
            match spot.point.as_str() {
                "/" => unknown(
                    "the whole root is in memory: what the firmware brought is not told from what came later",
                ),
                _ => Place::Memory(what),
            }
        } else if spot.kind.starts_with("overlay") && spot.point == "/" {
            self.layers.of_overlay(root, self.mounts, path, &mut self.left)
        } else if spot.kind.starts_with("overlay") {
            unknown("the layers of an overlay that is not the root's are not compared")
        } else if spot.device.starts_with("/dev/loop") {
            unknown("it lies in a file that is mounted")
        } else if IMAGES.contains(&spot.kind) || read_only && spot.point == "/" {
            Place::Firmware
        } else {
            Place::Writable
        }
    }
}

/// Whether two files hold the same.
fn is_same(root: &Root, one: &str, other: &str, left: &mut u64) -> io::Result<bool> {
    let (mut one, mut other) = (root.reader(one)?, root.reader(other)?);
    let length = one.metadata()?.len();
    if length != other.metadata()?.len() {
        return Ok(false);
    }
    *left = left
        .checked_sub(length)
        .ok_or_else(|| io::Error::other("there is too much to compare"))?;
    let (mut this, mut that) = ([0; 4096], [0; 4096]);
    let mut rest = length;
    while rest > 0 {
        let part = usize::try_from(rest.min(4096)).unwrap_or(4096);
        let (this, that) = (&mut this[..part], &mut that[..part]);
        one.read_exact(this)?;
        other.read_exact(that)?;
        if this != that {
            return Ok(false);
        }
        rest -= part as u64;
    }
    Ok(true)
}

/// The firmware below an overlay, and what was changed above it.
pub(super) struct Layers {
    upper: Option<String>,
    lower: Option<String>,
    live: bool,
}

impl Layers {
    #[inline(never)]
    pub(super) fn new(root: &Root, mounts: &str) -> Self {
        let mut layers = Self {
            upper: None,
            lower: None,
            live: root.is_live(),
        };
        let overlay = mounts.lines().rev().find_map(|line| {
            let mut fields = line.split(' ').skip(1);
            let root_itself = fields.next() == Some("/");
            let overlay = fields.next().is_some_and(|kind| kind.starts_with("overlay"));
            fields.next().filter(|_| root_itself && overlay)
        });
        for option in overlay.unwrap_or_default().split(',') {
            if let Some(upper) = option.strip_prefix("upperdir=") {
                layers.upper = Some(upper.to_owned()).filter(|upper| root.exists(upper));
            }
        }
        let rom = ["/rom/etc", "/rom/root/etc"].iter().find(|etc| root.exists(etc));
        layers.lower = rom.and_then(|etc| etc.strip_suffix("/etc")).map(str::to_owned);
        layers
    }

    pub(super) fn told(&self) -> Fact<()> {
        match (&self.upper, &self.lower) {
            (Some(_), Some(_)) => Fact::seen("/proc/mounts", ()),
            _ => Fact::missing(
                "/proc/mounts",
                Missing::because("shows no firmware below a writable layer"),
            ),
        }
    }

    /// Whether a file is in the writable layer alone; `None`: it cannot be told.
    pub(super) fn added(&self, root: &Root, path: &str) -> Option<bool> {
        let (upper, lower) = (self.upper.as_ref()?, self.lower.as_ref()?);
        Some(root.exists(&format!("{upper}{path}")) && !root.exists(&format!("{lower}{path}")))
    }

    /// Where a file lies that the overlay at `/` shows.
    fn of_overlay(&self, root: &Root, mounts: &str, path: &str, left: &mut u64) -> Place {
        let (Some(upper), Some(lower)) = (&self.upper, &self.lower) else {
            return unknown("the layers below the overlay are out of sight");
        };
        // What is called so must be a layer, and none that somebody made since the restart.
        match spot(mounts, lower) {
            Some(spot) if spot.point != "/" && !MEMORY.contains(&spot.kind) => {}
            _ => return unknown("the firmware below the overlay is out of sight"),
        }
        let (above, below) = (format!("{upper}{path}"), format!("{lower}{path}"));
        match (root.exists(&above), root.exists(&below)) {
            (false, true) => Place::Firmware,
            (false, false) => unknown("it is in neither layer of the overlay"),
            (true, there) => match is_same(root, &above, &below, left) {
                Ok(true) if there => Place::Firmware,
                Err(error) if there => Place::Unknown(missing(&error)),
                _ if starts::is_ours(root, path) => Place::Own,
                _ if starts::is_installed(root, upper, path) => Place::Packaged,
                _ if there => Place::Changed,
                _ => Place::Added,
            },
        }
    }

    /// Whether a file in use is the firmware's own; `None`: it cannot be told.
    pub(super) fn is_firmware(&self, root: &Root, path: &str, mounts: &str) -> Option<bool> {
        if !self.live {
            return Some(true);
        }
        if let Some(upper) = &self.upper {
            return Some(!root.exists(&format!("{upper}{path}")));
        }
        match storage::judge(mounts, path) {
            storage::Storage::ReadOnly => Some(true),
            // Made since the restart.
            storage::Storage::Volatile => Some(false),
            storage::Storage::Persistent | storage::Storage::Unknown => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cards_are_told_from_the_disk_that_the_firmware_is_on() {
        let card = |root: &str, device: &str, kind: &str| {
            let mounts = format!("{root} / ext4 rw 0 0\n{device} /x/y {kind} rw 0 0\n");
            spot(&mounts, "/x/y/z").unwrap().is_card(&mounts)
        };
        for (root, device, kind, expected) in [
            ("/dev/root", "/dev/mmcblk0p1", "vfat", true),
            ("/dev/mmcblk0p2", "/dev/mmcblk0p3", "ext4", false),
            ("/dev/mmcblk0p2", "/dev/mmcblk1p1", "ext4", true),
            ("/dev/mmcblk0p2", "/dev/mmcblk1", "vfat", true),
            ("/dev/sda2", "/dev/sda3", "ext4", false),
            ("/dev/sda2", "/dev/sdb1", "vfat", true),
            ("/dev/root", "/dev/sda1", "tmpfs", false),
            ("/dev/root", "192.0.2.1:/x", "nfs", true),
            ("/dev/root", "/dev/mtdblock3", "jffs2", false),
        ] {
            assert_eq!(card(root, device, kind), expected, "{root} {device} {kind}");
        }
    }

    #[test]
    fn memory_below_an_overlay_is_no_place_of_its_own() {
        let mounts = "t /overlay tmpfs rw 0 0\no / overlay rw,lowerdir=/,upperdir=/overlay/upper 0 0\n\
            t /mnt tmpfs rw 0 0\ns /sys sysfs rw 0 0\nd /dev devtmpfs rw 0 0\n";
        assert_eq!(memory(mounts), ["/mnt", "/dev"]);
    }

    #[test]
    fn the_mount_that_shows_is_the_one() {
        let mounts = "a / jffs2 rw 0 0\nb /x jffs2 rw 0 0\nc /x tmpfs rw 0 0\nd /a\\040b ext4 rw 0 0\n";
        for (path, device) in [
            ("/", "a"),
            ("/xy", "a"),
            ("/x", "c"),
            ("/x/y", "c"),
            ("/a b/c", "d"),
        ] {
            assert_eq!(spot(mounts, path).unwrap().device, device, "{path}");
        }
    }
}
