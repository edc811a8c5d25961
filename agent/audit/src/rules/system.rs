//! The system below: kernel, clock, memory, storage, and the agent itself.

use crate::facts::{Facts, Mount, Storage};
use crate::judge::Judge;

/// A longterm series of the kernel, and the last month of its fixes as kernel.org plans them.
struct Series {
    version: (u32, u32),
    /// Year and month.
    until: (i64, i64),
}

const fn series(major: u32, minor: u32, year: i64) -> Series {
    Series {
        version: (major, minor),
        until: (year, 12),
    }
}

/// As planned in November 2026.
const SERIES: &[Series] = &[
    series(5, 10, 2026),
    series(5, 15, 2026),
    series(6, 1, 2027),
    series(6, 6, 2027),
    series(6, 12, 2028),
    series(6, 18, 2028),
];
/// BusyBox before it has flaws with a number that are known from 2021 (CVE-2021-42373 to 42386, CVE-2022-28391).
const BUSYBOX: (u32, u32) = (1, 35);
/// Below this share of memory, in per cent, and this size, cameras die.
const MIN_MEMORY: (u64, u64) = (5, 4096);
/// What must be free for an identity, a journal and a baseline.
const MIN_FREE_BYTES: u64 = 64 * 1024;

pub(super) fn hardening(facts: &Facts, judge: &mut Judge) {
    let source = &facts.unconfirmed.source;
    match judge.need(&facts.unconfirmed) {
        None => {}
        Some(true) => judge.fail(source, "waits for its confirmation"),
        Some(false) => judge.pass(source, "nothing waits for a confirmation"),
    }
}

pub(super) fn sandbox(facts: &Facts, judge: &mut Judge) {
    let Some(sandbox) = judge.need(&facts.sandbox) else {
        return;
    };
    let Some(sandbox) = sandbox else {
        return judge.none(&facts.sandbox.source, "the agent does not run");
    };
    let source = format!("/proc/{}/status", sandbox.pid);
    for (has, what) in [
        (sandbox.user, "runs as root"),
        (sandbox.capabilities, "has capabilities"),
        (sandbox.no_new_privs, "may gain privileges"),
    ] {
        if !has {
            judge.fail(&source, what);
        }
    }
    let seccomp = if sandbox.seccomp {
        ""
    } else {
        "; no filter of system calls"
    };
    judge.pass_otherwise(
        &source,
        format!("own user, no capabilities, no new privileges{seccomp}"),
    );
}

pub(super) fn kernel(facts: &Facts, judge: &mut Judge) {
    let Some(release) = judge.need(&facts.kernel) else {
        return;
    };
    let source = &facts.kernel.source;
    let Some(version) = version(release) else {
        return judge.unknown(source, format!("{release} is no version that is understood"));
    };
    let built = facts.clock.value().map_or(0, |clock| clock.built);
    let today = year_month(facts.about.time.max(built));
    let newest = SERIES.iter().map(|series| series.version).max();
    match SERIES.iter().find(|series| series.version == version) {
        Some(Series { until, .. }) => {
            let (year, month) = until;
            let text = format!("{release}; fixes until {year}-{month:02}");
            if *until >= today {
                judge.pass(source, text);
            } else {
                judge.fail(source, text);
            }
        }
        None if newest.is_some_and(|newest| version > newest) => {
            judge.unknown(source, format!("{release} is newer than this program knows"));
        }
        None => judge.fail(source, format!("{release}; its series gets no fixes")),
    }
}

pub(super) fn busybox(facts: &Facts, judge: &mut Judge) {
    let source = &facts.busybox.source;
    match judge.need(&facts.busybox) {
        None => {}
        Some(None) => judge.none(source, "there is no BusyBox"),
        Some(Some(text)) => match version(text) {
            None => judge.unknown(source, format!("its version could not be told{text}")),
            Some(version) if version < BUSYBOX => judge.fail(source, format!("BusyBox {text}")),
            Some(_) => judge.pass(source, format!("BusyBox {text}")),
        },
    }
}

pub(super) fn clock(facts: &Facts, judge: &mut Judge) {
    let Some(clock) = judge.need(&facts.clock) else {
        return;
    };
    let source = &facts.clock.source;
    if clock.now < clock.built {
        judge.fail(source, "it stands before the day this program was made");
    } else if !clock.kept {
        judge.fail(source, "nothing keeps it right");
    } else {
        judge.pass(source, "the kernel says that it is kept right");
    }
}

pub(super) fn memory(facts: &Facts, judge: &mut Judge) {
    let Some((all, left)) = judge.need(&facts.memory) else {
        return;
    };
    let text = format!("{left} of {all} KiB are left");
    if left * 100 < all * MIN_MEMORY.0 || *left < MIN_MEMORY.1 {
        judge.fail(&facts.memory.source, text);
    } else {
        judge.pass(&facts.memory.source, text);
    }
}

pub(super) fn storage(facts: &Facts, judge: &mut Judge) {
    let Some((storage, free)) = judge.need(&facts.storage) else {
        return;
    };
    let source = &facts.storage.source;
    match (storage, free) {
        (Storage::Volatile, _) => judge.fail(source, "it is memory: a restart loses what was changed"),
        (Storage::ReadOnly, _) => judge.fail(source, "it cannot be written"),
        (Storage::Persistent, None) => judge.unknown(source, "how much is free is not told"),
        (Storage::Persistent, Some(free)) if *free < MIN_FREE_BYTES => {
            judge.fail(source, format!("{free} bytes are free"));
        }
        (Storage::Persistent, Some(free)) => judge.pass(source, format!("{} KiB are free", free / 1024)),
    }
}

pub(super) fn mounts(facts: &Facts, judge: &mut Judge) {
    let Some(mounts) = judge.need(&facts.mounts) else {
        return;
    };
    // Where the firmware itself is on a disk of that kind, soldered or not, its other partitions are no memory card.
    let own = |mount: &&Mount| matches!(mount.point.as_str(), "/" | "/rom");
    let own: Vec<&str> = mounts
        .iter()
        .filter(own)
        .map(|mount| disk(&mount.device))
        .collect();
    for mount in mounts {
        let card = mount.device.starts_with("/dev/mmcblk") && !own.contains(&disk(&mount.device))
            || mount.device.starts_with("/dev/sd");
        let card = card
            && matches!(
                mount.kind.as_str(),
                "vfat" | "exfat" | "ntfs" | "fuseblk" | "ext4" | "ext3" | "ext2"
            );
        let server = mount.kind.starts_with("nfs") || matches!(mount.kind.as_str(), "cifs" | "smb3");
        if (card || server) && mount.exec && mount.point.starts_with("/") {
            let what = if card { "a memory card" } else { "a server" };
            judge.fail(
                &mount.point,
                format!("programs of {what} run ({}, {})", mount.device, mount.kind),
            );
        }
    }
    judge.pass_otherwise(&facts.mounts.source, format!("{} mounts", mounts.len()));
}

/// The disk of a partition, where its name tells (`mmcblk0p2`).
fn disk(device: &str) -> &str {
    let partition = device.rsplit_once('p');
    let number = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    partition
        .filter(|(_, part)| number(part))
        .map_or(device, |(disk, _)| disk)
}

/// The first two numbers of a version.
fn version(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.split(['.', '-', '+', ' ']);
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// Year and month of a time (days to civil date, as Howard Hinnant's algorithm has it).
pub(crate) fn year_month(time: i64) -> (i64, i64) {
    let (year, month, _) = date(time);
    (year, month)
}

/// Year, month and day of a time.
pub(crate) fn date(time: i64) -> (i64, i64, i64) {
    let days = time.div_euclid(86_400) + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::date;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (time, expected) in [
            (0, (1970, 1, 1)),
            (-1, (1969, 12, 31)),
            (951_782_400, (2000, 2, 29)),
            (1_709_164_800, (2024, 2, 29)),
            (1_767_225_599, (2025, 12, 31)),
            (4_102_444_800, (2100, 1, 1)),
        ] {
            assert_eq!(date(time), expected, "{time}");
        }
    }
}
