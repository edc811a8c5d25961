//! Whether what is written to a path is there after a reboot, by the table of mounts (proc(5), `/proc/mounts`).

use crate::root::{Root, folder_of};

/// The deepest overlay on an overlay.
const MAX_LAYERS: usize = 4;
/// The longest table of mounts that is read, in bytes.
pub const MAX_MOUNTS_BYTES: u64 = 64 * 1024;
/// In memory.
const VOLATILE: &[&str] = &["tmpfs", "ramfs", "rootfs", "devtmpfs", "sysfs", "proc"];
/// On flash, disk or a server.
const PERSISTENT: &[&str] = &[
    "jffs2", "ubifs", "yaffs", "yaffs2", "ext2", "ext3", "ext4", "f2fs", "vfat", "exfat", "xfs", "btrfs",
    "nfs", "nfs4", "littlefs", "logfs",
];

/// On a network, or whatever a program makes of it.
const REMOTE: &[&str] = &["nfs", "cifs", "smb", "9p", "fuse", "ceph", "afs"];
/// The devices of memory cards.
const CARDS: &[&str] = &["/dev/mmcblk", "/dev/sd"];

/// What becomes of a file in a reboot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Storage {
    /// It is there.
    Persistent,
    /// It is gone.
    Volatile,
    /// It cannot be written.
    ReadOnly,
    /// It could not be told.
    Unknown,
}

/// Judges where a file of a running camera lies, or would.
#[must_use]
pub fn place(root: &Root, mut path: &str) -> Storage {
    while !root.exists(path) && path.len() > 1 {
        path = folder_of(path);
    }
    match root.canonical(path).ok().zip(root.mounts()) {
        Some((path, mounts)) => judge(&mounts, &path),
        None => Storage::Unknown,
    }
}

/// Judges an absolute path without links by the text of `/proc/mounts`.
#[must_use]
pub fn judge(mounts: &str, path: &str) -> Storage {
    let mut path = path.to_owned();
    for _ in 0..MAX_LAYERS {
        let Some(mount) = holding(mounts, &path) else {
            return Storage::Unknown;
        };
        let kind = mount.kind.as_str();
        if VOLATILE.contains(&kind) {
            return Storage::Volatile;
        }
        if mount.options.iter().any(|option| option == "ro") {
            return Storage::ReadOnly;
        }
        if PERSISTENT.contains(&kind) {
            return Storage::Persistent;
        }
        let upper = mount
            .options
            .iter()
            .find_map(|option| option.strip_prefix("upperdir="));
        match (kind, upper) {
            ("overlay" | "overlayfs", Some(upper)) => path = upper.to_owned(),
            ("overlay" | "overlayfs", None) => return Storage::ReadOnly,
            ("squashfs" | "cramfs" | "romfs" | "erofs", _) => return Storage::ReadOnly,
            _ => return Storage::Unknown,
        }
    }
    Storage::Unknown
}

/// Where something is mounted.
#[must_use]
pub fn points(mounts: &str) -> Vec<String> {
    all(mounts).into_iter().map(|mount| mount.point).collect()
}

/// Where overlays write, and what they need for it: files there are seen where these are mounted.
#[must_use]
pub fn layers(mounts: &str) -> Vec<String> {
    let mut layers = Vec::new();
    for mount in all(mounts) {
        for name in ["upperdir=", "workdir="] {
            layers.extend(mount.layer(name));
        }
    }
    layers
}

/// What holds a path. A later mount covers an earlier one at the same place.
#[must_use]
pub fn holding(mounts: &str, path: &str) -> Option<Mount> {
    let mut mounts = all(mounts);
    mounts.retain(|mount| is_below(path, &mount.point));
    mounts.into_iter().max_by_key(|mount| mount.point.len())
}

/// The folder below the overlay that the root is, if it is one and holds a path: as it was named when it was mounted. What
/// was the root before lies elsewhere since.
#[must_use]
pub fn below_root(mounts: &str, path: &str) -> Option<String> {
    let root = holding(mounts, path).filter(|mount| mount.point == "/")?;
    let lower = root.layer("lowerdir=")?;
    lower.split(':').next().map(str::to_owned)
}

/// Where file systems are mounted that others fill: of a network, or of a program (`true`); and of memory cards.
#[must_use]
pub fn foreign(mounts: &str) -> Vec<(String, bool)> {
    let starts = |text: &str, with: &[&str]| with.iter().any(|start| text.starts_with(start));
    let mut foreign = Vec::new();
    for mount in all(mounts) {
        let remote = starts(&mount.kind, REMOTE) && mount.kind != "fuseblk";
        let card = starts(&mount.source, CARDS) && starts(&mount.point, &["/mnt/", "/media/"]);
        if mount.point != "/" && (remote || card) {
            foreign.push((mount.point, remote));
        }
    }
    foreign
}

/// A line of the table.
#[derive(Debug)]
pub struct Mount {
    /// What is mounted: a device, a server, or a word.
    pub source: String,
    /// Where.
    pub point: String,
    /// The kind of file system.
    pub kind: String,
    /// How.
    pub options: Vec<String>,
}

impl Mount {
    /// Reads a line; `None`: it makes no sense.
    #[must_use]
    pub fn parse(line: &str) -> Option<Self> {
        let mut fields = line.split(' ');
        let source = fields.next()?.to_owned();
        let point = fields.next()?.replace("\\040", " ").replace("\\011", "\t");
        let kind = fields.next()?.to_owned();
        let options = fields.next()?.split(',').map(str::to_owned).collect();
        Some(Self {
            source,
            point,
            kind,
            options,
        })
    }

    /// An option's value, if this is an overlay: `name` ends with `=`.
    #[must_use]
    pub fn layer(&self, name: &str) -> Option<String> {
        let layer = self.options.iter().find_map(|option| option.strip_prefix(name));
        layer
            .filter(|_| self.kind.starts_with("overlay"))
            .map(str::to_owned)
    }
}

/// All lines that make sense.
#[must_use]
pub fn all(mounts: &str) -> Vec<Mount> {
    mounts.lines().filter_map(Mount::parse).collect()
}

/// Whether a path is another, or below that.
pub(crate) fn is_below(path: &str, point: &str) -> bool {
    point == "/"
        || path
            .strip_prefix(point)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_followed_to_what_holds_them() {
        let openwrt = "/dev/root /rom squashfs ro,relatime 0 0\ntmpfs /tmp tmpfs rw 0 0\n/dev/mtdblock6 /overlay jffs2 rw,noatime 0 0\noverlayfs:/overlay / overlay rw,lowerdir=/,upperdir=/overlay/upper,workdir=/overlay/work 0 0\n";
        assert_eq!(judge(openwrt, "/etc/lenscap"), Storage::Persistent);
        assert_eq!(judge(openwrt, "/tmp/x"), Storage::Volatile);
        assert_eq!(judge(openwrt, "/rom/etc"), Storage::ReadOnly);
        // OpenWrt's first boot, before mount_root is done; OpenIPC when the overlay cannot be mounted.
        let first = "/dev/root /rom squashfs ro 0 0\ntmpfs /tmp tmpfs rw 0 0\noverlayfs:/tmp/root / overlay rw,upperdir=/tmp/root/upper 0 0\n";
        assert_eq!(judge(first, "/etc/lenscap"), Storage::Volatile);
        let late = "rootfs / rootfs rw 0 0\n/dev/root / squashfs ro 0 0\n/dev/mtdblock4 / ext4 rw 0 0\n";
        assert_eq!(judge(late, "/etc"), Storage::Persistent);
        let fixed =
            "/dev/root / squashfs ro 0 0\n/dev/mtd3 /home ubifs rw 0 0\n/dev/mtd4 /homework odd rw 0 0\n";
        assert_eq!(judge(fixed, "/etc"), Storage::ReadOnly);
        assert_eq!(judge(fixed, "/home/yi-hack"), Storage::Persistent);
        assert_eq!(judge(fixed, "/homework/x"), Storage::Unknown);
        assert_eq!(judge("", "/etc"), Storage::Unknown);
        assert_eq!(layers(openwrt), ["/overlay/upper", "/overlay/work"]);
        let others = "/dev/mmcblk0p1 / ext4 rw 0 0\n10.0.0.1:/x / nfs rw 0 0\n/dev/mmcblk0p2 /data ext4 rw 0 0\n\
            /dev/mmcblk1p1 /mnt/card vfat rw 0 0\n/dev/sda1 /media/usb fuseblk rw 0 0\n10.0.0.1:/x /mnt/nas nfs4 rw 0 0\n\
            x /home/x fuse.sshfs rw 0 0\n/dev/mtdblock3 /mnt/mtd jffs2 rw 0 0\n";
        let named = |point: &str, remote| (point.to_owned(), remote);
        let wanted = [
            named("/mnt/card", false),
            named("/media/usb", false),
            named("/mnt/nas", true),
            named("/home/x", true),
        ];
        assert_eq!(foreign(others), wanted);
        assert_eq!(below_root(openwrt, "/etc/x").as_deref(), Some("/"));
        assert!(below_root(openwrt, "/tmp/x").is_none());
        let lower = below_root("overlay / overlay rw,lowerdir=/a:/b,upperdir=/c 0 0\n", "/etc");
        assert_eq!(lower.as_deref(), Some("/a"));
        assert!(below_root(fixed, "/etc").is_none() && below_root("", "/etc").is_none());
        let circle = "overlay / overlay rw,upperdir=/a 0 0\n";
        assert_eq!(judge(circle, "/etc"), Storage::Unknown);
    }
}
