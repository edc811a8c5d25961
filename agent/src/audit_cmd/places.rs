//! Where programs and scripts lie: in the firmware, in the layer above it, in memory, on a card.

use std::io::{self, Read as _};

use lenscap_audit::facts::{Fact, Facts, Image, Mapped, Missing, Place};
use lenscap_harden::root::{MAX_BINARY_BYTES, Root, folder_of, name_of};
use lenscap_harden::storage::{self, Mount};

use super::files::starts;
use super::{missing, processes, system};

/// File systems in memory.
const MEMORY: &[&str] = &["tmpfs", "ramfs", "devtmpfs", "rootfs"];
/// File systems that nobody writes to.
const IMAGES: &[&str] = &["squashfs", "cramfs", "romfs", "erofs"];
/// Others that show a mapped file as `stat` does; those that lie above others do not.
const PLAIN: &[&str] = &["jffs2", "ubifs", "yaffs2", "ext2", "ext3", "ext4", "f2fs", "vfat"];
/// Servers.
const SERVERS: &[&str] = &["nfs", "nfs4", "cifs", "smb3", "smbfs", "9p"];
/// What is read of files to compare them, in bytes: flash is slow.
const MAX_COMPARED: u64 = 64 * 1024 * 1024;
/// The most places that are worked out.
const MAX_PLACES: usize = 1024;

fn unknown(why: &'static str) -> Place {
    Place::Unknown(Missing::because(why))
}

/// Whether it is a memory card, a disk or a server, and not of the disk that the firmware is on.
pub(super) fn is_card(mount: &Mount, mounts: &str) -> bool {
    if is_memory(mount) {
        return false;
    }
    let own = |other: &Mount| {
        matches!(other.point.as_str(), "/" | "/rom") && disk(&other.source) == disk(&mount.source)
    };
    let removable = mount.source.starts_with("/dev/sd") || mount.source.starts_with("/dev/mmcblk");
    SERVERS.contains(&mount.kind.as_str()) || removable && !storage::all(mounts).iter().any(own)
}

fn is_memory(mount: &Mount) -> bool {
    MEMORY.contains(&mount.kind.as_str())
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
    let mut cards = storage::all(mounts);
    cards.retain(|mount| mount.point != "/" && is_card(mount, mounts));
    cards.into_iter().map(|mount| mount.point).collect()
}

/// Where more lies in memory than what every system has there. What the root itself shows is judged by its layers.
pub(super) fn memory(mounts: &str) -> Vec<String> {
    let upper = upper_of_root(mounts);
    let upper = upper.and_then(|upper| storage::holding(mounts, &upper));
    let system = |point: &str| point == "/" || point.starts_with("/sys") || point.starts_with("/proc");
    let mut memory = storage::all(mounts);
    memory.retain(|mount| {
        let is_upper = upper.as_ref().is_some_and(|upper| upper.point == mount.point);
        is_memory(mount) && !system(&mount.point) && !is_upper
    });
    memory.into_iter().map(|mount| mount.point).collect()
}

/// The folder above the firmware, if the root is an overlay.
fn upper_of_root(mounts: &str) -> Option<String> {
    let mut roots = storage::all(mounts);
    roots.retain(|mount| mount.point == "/" && mount.kind.starts_with("overlay"));
    roots.last()?.layer("upperdir=")
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
    for mapped in &mut list.mapped {
        let nowhere =
            "it is not where it was mapped from: that lies behind a mount, or in mounts that are not seen";
        mapped.place = match &mut finder {
            Ok(finder) => {
                finder.see(root, mapped);
                match mapped.shared || root.exists(&mapped.file) {
                    true => finder.find(root, &mapped.file),
                    false => unknown(nowhere),
                }
            }
            Err(why) => Place::Unknown(why.clone()),
        };
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

    /// Says of a mapped file if it is another than lies there now, or another came in its place.
    #[inline(never)]
    fn see(&mut self, root: &Root, mapped: &mut Mapped) {
        let file = &mapped.file;
        match mapped.image {
            Image::There if root.exists(file) && !self.is_it(root, file, mapped.inode) => {
                mapped.image = Image::Elsewhere;
            }
            Image::Deleted if !matches!(self.find(root, file), Place::Memory(_)) => {
                let lower = self.layers.lower.as_ref();
                if lower.is_some_and(|lower| root.exists(&format!("{lower}{file}")))
                    || is_followed(root, file)
                {
                    mapped.image = Image::Replaced;
                }
            }
            _ => {}
        }
    }

    /// Whether a mapped file may be the one that its path leads to.
    fn is_it(&self, root: &Root, path: &str, inode: (u64, u64)) -> bool {
        let is = |path: &str| root.identity(path) == Some(inode);
        if is(path) {
            return true;
        }
        let Some(mount) = storage::holding(self.mounts, path) else {
            return true;
        };
        let kind = mount.kind.as_str();
        if mount.point != "/" || !kind.starts_with("overlay") {
            return !(IMAGES.contains(&kind) || PLAIN.contains(&kind) || is_memory(&mount));
        }
        // Of an overlay, most kernels show the file of a layer, and others one that it has for itself.
        let layer = |layer: &Option<String>| layer.as_ref().is_none_or(|layer| is(&format!("{layer}{path}")));
        layer(&self.layers.upper)
            || layer(&self.layers.lower)
            || root.identity("/").is_none_or(|(device, _)| device == inode.0)
    }

    fn place(&mut self, root: &Root, path: &str) -> Place {
        // A layer's own folder shows what the root shows.
        let upper = self.layers.upper.as_deref().filter(|upper| upper.len() > 1);
        if let Some(rest) = upper.and_then(|upper| path.strip_prefix(upper)) {
            let path = rest.to_owned();
            return self.layers.of_overlay(root, self.mounts, &path, &mut self.left);
        }
        let Some(mount) = storage::holding(self.mounts, path) else {
            return unknown("what is mounted there is not told");
        };
        let what = format!("{} ({})", mount.point, mount.kind);
        if is_card(&mount, self.mounts) {
            Place::Card(format!("{} ({}, {})", mount.point, mount.source, mount.kind))
        } else if is_memory(&mount) {
            match mount.point.as_str() {
                "/" => unknown(
                    "the whole root is in memory: what the firmware brought is not told from what came later",
                ),
                _ => Place::Memory(what),
            }
        } else if mount.kind.starts_with("overlay") && mount.point == "/" {
            self.layers.of_overlay(root, self.mounts, path, &mut self.left)
        } else if mount.kind.starts_with("overlay") {
            unknown("the layers of an overlay that is not the root's are not compared")
        } else if mount.source.starts_with("/dev/loop") {
            unknown("it lies in a file that is mounted")
        } else if IMAGES.contains(&mount.kind.as_str()) {
            Place::Firmware
        } else {
            Place::Writable
        }
    }
}

/// Whether a file runs with the rights of root, or of a group that has them, whoever runs it: by mode, user and group. What
/// cannot be asked about is no such file.
fn rights(root: &Root, path: &str) -> Option<(u32, u32, u32)> {
    /// root, disk, kmem and shadow, as Buildroot and Debian number them.
    const POWERFUL: &[u32] = &[0, 6, 9, 15, 42];
    let state = root.stat(path).ok()?;
    let (mode, uid, gid) = (state.mode & 0o6111, state.uid, state.gid);
    let gives = uid == 0 && mode & 0o4000 != 0 && mode & 0o111 != 0
        || POWERFUL.contains(&gid) && mode & 0o2010 == 0o2010;
    gives.then_some((mode, uid, gid))
}

/// Whether another version of a library lies beside where it was.
fn is_followed(root: &Root, path: &str) -> bool {
    let stem = |name: &str| {
        let (stem, _) = name.split_once(".so")?;
        let stem = stem.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.' || c == '-');
        Some(stem.to_owned()).filter(|stem| !stem.is_empty())
    };
    let own = stem(name_of(path));
    let folder = root.listing(folder_of(path)).unwrap_or_default();
    own.is_some() && folder.entries.iter().any(|entry| stem(&entry.name) == own)
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
        let rom = ["/rom/etc", "/rom/root/etc"].iter().find(|etc| root.exists(etc));
        Self {
            upper: upper_of_root(mounts).filter(|upper| root.exists(upper)),
            lower: rom.and_then(|etc| etc.strip_suffix("/etc")).map(str::to_owned),
            live: root.is_live(),
        }
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

    /// The firmware's file below one of the writable layer that holds something else, which no package brought. A file that cannot
    /// be compared holds something else.
    pub(super) fn below(&self, root: &Root, path: &str) -> Option<String> {
        let (upper, lower) = (self.upper.as_ref()?, self.lower.as_ref()?);
        let (above, below) = (format!("{upper}{path}"), format!("{lower}{path}"));
        let mut left = MAX_BINARY_BYTES as u64;
        let differs = root.exists(&above)
            && root.exists(&below)
            && !is_same(root, &above, &below, &mut left).unwrap_or(false)
            && !starts::is_installed(root, upper, path);
        differs.then_some(below)
    }

    /// Whether a file gives root's rights to whoever runs it, and came after the firmware: it is not what that has there, with
    /// the same rights, and lies where firmwares have none such (`stray`), or in the writable layer and is no package's.
    pub(super) fn gives_rights(&self, root: &Root, path: &str, stray: bool) -> bool {
        let Some(given) = rights(root, path) else {
            return false;
        };
        let (Some(upper), Some(lower)) = (&self.upper, &self.lower) else {
            return stray;
        };
        let below = format!("{lower}{path}");
        let above = || root.exists(&format!("{upper}{path}")) && !starts::is_installed(root, upper, path);
        if !stray && !above() {
            return false;
        }
        let mut left = MAX_BINARY_BYTES as u64;
        rights(root, &below) != Some(given) || !is_same(root, path, &below, &mut left).unwrap_or(false)
    }

    /// Whether a file is known to be none of the firmware's, and no package names it.
    pub(super) fn is_strange(&self, root: &Root, mounts: &str, path: &str) -> bool {
        let place = self.of_overlay(root, mounts, path, &mut { MAX_COMPARED });
        matches!(place, Place::Added | Place::Changed)
    }

    /// Where a file lies that the overlay at `/` shows.
    fn of_overlay(&self, root: &Root, mounts: &str, path: &str, left: &mut u64) -> Place {
        let (Some(upper), Some(lower)) = (&self.upper, &self.lower) else {
            return unknown("the layers below the overlay are out of sight");
        };
        // What is called so must be a layer, and none that somebody made since the restart.
        match storage::holding(mounts, lower) {
            Some(mount) if mount.point != "/" && !is_memory(&mount) => {}
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
            is_card(&storage::holding(&mounts, "/x/y/z").unwrap(), &mounts)
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
            assert_eq!(storage::holding(mounts, path).unwrap().source, device, "{path}");
        }
    }
}
