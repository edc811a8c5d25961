//! Figures of a process, from `/proc`.

use std::fs;

/// Resident memory in KiB.
#[track_caller]
pub fn rss_kib(pid: u32) -> u64 {
    status_field(pid, "VmRSS:")
}

/// The most resident memory it ever had, in KiB.
#[track_caller]
pub fn peak_rss_kib(pid: u32) -> u64 {
    status_field(pid, "VmHWM:")
}

/// How often it went to sleep by itself, over all its threads: each time is one wake-up later.
#[track_caller]
pub fn voluntary_switches(pid: u32) -> u64 {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("the process runs");
    tasks
        .filter_map(Result::ok)
        .map(|task| {
            let status = fs::read_to_string(task.path().join("status")).unwrap_or_default();
            field(&status, "voluntary_ctxt_switches:").unwrap_or(0)
        })
        .sum()
}

/// CPU seconds used so far, user and system.
#[track_caller]
pub fn cpu_seconds(pid: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process runs");
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks: u64 = after_name
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|n| n.parse::<u64>().ok())
        .sum();
    // USER_HZ is 100 on every Linux the tests run on.
    ticks as f64 / 100.0
}

/// Its command line, arguments separated by spaces.
#[track_caller]
pub fn cmdline(pid: u32) -> String {
    let raw = fs::read(format!("/proc/{pid}/cmdline")).expect("the process runs");
    String::from_utf8_lossy(&raw).replace('\0', " ")
}

/// Its environment, as text.
#[track_caller]
pub fn environ(pid: u32) -> String {
    let raw = fs::read(format!("/proc/{pid}/environ")).expect("the process runs");
    String::from_utf8_lossy(&raw).replace('\0', "\n")
}

/// The processes it has started and that still run.
pub fn children(pid: u32) -> Vec<u32> {
    let processes = fs::read_dir("/proc").expect("/proc is mounted");
    processes
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok())
        .filter(|&child| {
            let stat = fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
            let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
            after_name
                .split_whitespace()
                .nth(1)
                .and_then(|parent| parent.parse().ok())
                == Some(pid)
        })
        .collect()
}

fn status_field(pid: u32, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))
        .unwrap_or_else(|error| panic!("process {pid} is gone: {error}"));
    field(&status, name).unwrap_or_else(|| panic!("no {name} for process {pid}"))
}

fn field(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find(|line| line.starts_with(name))?;
    line[name.len()..].split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_of_this_process_are_sane() {
        let me = std::process::id();
        assert!(rss_kib(me) > 100);
        assert!(peak_rss_kib(me) >= rss_kib(me) / 2);
        assert!(cpu_seconds(me) >= 0.0);
        assert!(!cmdline(me).is_empty());
    }
}
