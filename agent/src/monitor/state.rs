//! `status.json` in the run folder: how the service is, for `lenscap status` and for other programs. Everyone may read
//! it, so it holds no address and no secret.
//!
//! The file is JSON with one member in each line and no nesting, so that it can be read back without a JSON parser.

use std::io;
use std::path::{Path, PathBuf};

use super::message::Health;
use super::sandbox::Measure;
use super::uplinks;
use crate::flat::{Lines, Read};
use crate::json::Writer;
use crate::{files, sys};

const FILE_NAME: &str = "status.json";
/// What the last look at hardening said, in the same form.
pub(crate) const HARDENING_FILE: &str = "harden.json";
/// Most that is read of it.
const MAX_BYTES: u64 = 16 * 1024;

/// Where the state is.
pub(super) fn path(run_dir: &Path) -> PathBuf {
    run_dir.join(FILE_NAME)
}

/// Where the last look at hardening is told.
pub(super) fn hardening_path(run_dir: &Path) -> PathBuf {
    run_dir.join(HARDENING_FILE)
}

/// What the monitor knows.
#[derive(Debug, Default)]
pub(super) struct State<'a> {
    pub(super) state: &'static str,
    /// Why it is not up.
    pub(super) reason: &'a str,
    pub(super) agent_pid: u32,
    pub(super) restarts: u64,
    /// Since when the monitor runs, on the monotonic clock.
    pub(super) started_s: u64,
    /// The configuration in force is the last good copy.
    pub(super) last_good: bool,
    /// Why what gateways gave is not kept.
    pub(super) unkept: &'a str,
    pub(super) health: Health,
    /// Since when all uplinks are up, on the monotonic clock; 0: they are not.
    pub(super) all_up_s: u64,
}

impl State<'_> {
    pub(super) fn to_text(&self) -> String {
        let pid = std::process::id();
        let health = &self.health;
        let mut held = Vec::new();
        for (index, measure) in Measure::ALL.iter().enumerate() {
            if health.sandbox & (1 << index) != 0 {
                held.push(measure.as_str());
            }
        }
        let mut lines = Lines::default();
        lines.string("version", env!("CARGO_PKG_VERSION"));
        lines.string("state", self.state);
        lines.string("reason", self.reason);
        lines.string(
            "config",
            if self.last_good {
                "last good copy"
            } else {
                "current"
            },
        );
        lines.number("monitor_pid", pid.into());
        lines.number("monitor_start", start_time(pid).unwrap_or(0));
        lines.number("agent_pid", self.agent_pid.into());
        lines.number("restarts", self.restarts);
        lines.number("started_s", self.started_s);
        lines.number("uplinks", health.uplinks.into());
        lines.number("uplinks_up", health.uplinks_up.into());
        lines.number("all_up_s", self.all_up_s);
        lines.number("sessions", health.sessions.into());
        lines.string("sandbox", &held.join(" "));
        lines.string("sandbox_missing", &health.reasons);
        lines.string("unkept", self.unkept);
        lines.finish()
    }
}

/// Whether the process that wrote it is still there; a process id alone may be another program's by now.
pub(super) fn is_running(read: &Read) -> bool {
    let pid = u32::try_from(read.number("monitor_pid")).unwrap_or(0);
    pid != 0 && start_time(pid) == Some(read.number("monitor_start"))
}

/// When a process started, in ticks since boot: field 22 of `/proc/PID/stat`.
fn start_time(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The program's name, in parentheses, may hold anything.
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

/// What `lenscap status` says, and whether the service runs.
#[must_use]
pub fn describe(run_dir: &Path, json: bool) -> (String, bool) {
    let path = path(run_dir);
    let text = match files::read(&path, MAX_BYTES) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return not_running(
                json,
                "not running (or started without root, when it leaves no status)",
            );
        }
        Err(error) => return not_running(json, &format!("cannot read {}: {error}", path.display())),
    };
    let Some(read) = Read::parse(&text) else {
        return not_running(json, &format!("{} is damaged", path.display()));
    };
    if !is_running(&read) {
        return not_running(
            json,
            "not running; it ended without saying why, see the system's log",
        );
    }
    let links = uplinks::read(run_dir);
    let hardening = files::read(&hardening_path(run_dir), MAX_BYTES).unwrap_or_default();
    let hardening = String::from_utf8_lossy(&hardening);
    let looked = Read::parse(&hardening);
    if json {
        let hardening = looked.map_or("null", |_| hardening.trim_end());
        let links = links.as_deref().unwrap_or("null").trim_end();
        let first = format!("{{\n\"running\": true,\n\"links\": {links},\n\"hardening\": {hardening},\n");
        return (text.replacen("{\n", &first, 1), true);
    }
    let links = uplinks::describe(links.as_deref());
    (to_lines(&read) + &links + &hardening_lines(looked.as_ref()), true)
}

fn hardening_lines(looked: Option<&Read>) -> String {
    let Some(looked) = looked else {
        return "hardening not looked at\n".into();
    };
    let ago = sys::monotonic()
        .as_secs()
        .saturating_sub(looked.number("looked_s"));
    let mut text = format!("hardening {}, {} ago", looked.value("verdict"), duration(ago));
    let restores = looked.number("restores_last_hour");
    if restores > 0 {
        text.push_str(&format!(", closed again {restores} times in the last hour"));
    }
    for (name, words) in [
        ("gave_up", "gave up for now"),
        ("waiting_for_owner", "waiting for an owner"),
        (
            "waiting_for_confirmation",
            "waiting for `lenscap harden --confirm`",
        ),
        (
            "waiting_for_boot",
            "waiting for a boot after which SSH lets the owner in",
        ),
        ("standing_aside", "standing aside"),
    ] {
        if looked.is(name) {
            text.push_str(&format!(", {words}"));
        }
    }
    if !looked.value("reason").is_empty() {
        text.push_str(&format!("\nbecause   {}", looked.value("reason")));
    }
    text + "\n"
}

fn not_running(json: bool, why: &str) -> (String, bool) {
    if !json {
        return (format!("lenscap: {why}\n"), false);
    }
    let mut writer = Writer::new();
    writer.object(|o| {
        o.key("running").bool(false);
        o.key("reason").string(why);
    });
    (writer.finish() + "\n", false)
}

fn to_lines(read: &Read) -> String {
    let up_s = sys::monotonic()
        .as_secs()
        .saturating_sub(read.number("started_s"));
    let mut text = format!(
        "state     {} for {}\nversion   {}\nprocesses monitor {}, agent {}, restarted {} times\n\
         uplinks   {} of {} up\nsessions  {}\nsandbox   {}\n",
        read.value("state"),
        duration(up_s),
        read.value("version"),
        read.value("monitor_pid"),
        match read.value("agent_pid") {
            "0" => "none",
            pid => pid,
        },
        read.value("restarts"),
        read.value("uplinks_up"),
        read.value("uplinks"),
        read.value("sessions"),
        read.value("sandbox"),
    );
    for (label, name) in [
        ("without", "sandbox_missing"),
        ("because", "reason"),
        ("unkept ", "unkept"),
    ] {
        if !read.value(name).is_empty() {
            text.push_str(&format!("{label}   {}\n", read.value(name)));
        }
    }
    if read.value("config") != "current" {
        text.push_str("config    the last good copy, as the file cannot be used; see `lenscap check`\n");
    }
    text
}

/// The monitor's process, if it runs.
#[must_use]
pub fn running_monitor(run_dir: &Path) -> Option<u32> {
    let bytes = files::read(&path(run_dir), MAX_BYTES).ok()?;
    let read = Read::parse(&String::from_utf8_lossy(&bytes)).filter(is_running)?;
    u32::try_from(read.number("monitor_pid")).ok()
}

pub(super) fn duration(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, m) => format!("{m} min"),
        (0, h, m) => format!("{h} h {m} min"),
        (d, h, _) => format!("{d} d {h} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn state(reason: &str) -> State<'_> {
        State {
            state: "up",
            reason,
            agent_pid: 7,
            restarts: 3,
            started_s: sys::monotonic().as_secs(),
            last_good: true,
            unkept: "cannot be kept",
            health: Health {
                uplinks: 2,
                uplinks_up: 1,
                sessions: 4,
                sandbox: 0b11,
                reasons: "chroot: \"no\"".into(),
            },
            all_up_s: 0,
        }
    }

    #[test]
    fn it_is_json_and_is_read_back() {
        let text = state("a \\ \"b\"").to_text();
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(json["reason"], "a \\ \"b\"");
        assert_eq!(json["sandbox"], "monitor user");
        let read = Read::parse(&text).unwrap();
        assert_eq!(read.value("reason"), "a \\ \"b\"");
        assert!(is_running(&read));
        let dir = tempfile::tempdir().unwrap();
        files::replace_volatile(&path(dir.path()), text.as_bytes()).unwrap();
        let (said, running) = describe(dir.path(), false);
        assert!(running);
        for part in [
            "1 of 2 up",
            "restarted 3 times",
            "monitor user",
            "chroot: \"no\"",
            "last good",
            "unkept    cannot",
            "uplink    only root may see",
        ] {
            assert!(said.contains(part), "{said}");
        }
        let (said, _) = describe(dir.path(), true);
        let json: serde_json::Value = serde_json::from_str(&said).unwrap();
        assert_eq!((&json["running"], &json["sessions"]), (&true.into(), &4.into()));
    }

    #[test]
    fn what_does_not_run_is_said_so() {
        let dir = tempfile::tempdir().unwrap();
        let status = |json| describe(dir.path(), json);
        assert!(status(false).0.contains("not running"));
        let file = path(dir.path());
        std::fs::write(&file, "{}").unwrap();
        assert!(status(false).0.contains("damaged"));
        let own = format!("\"monitor_start\": {}", start_time(std::process::id()).unwrap());
        let reused = state("").to_text().replace(&own, "\"monitor_start\": 1");
        std::fs::write(&file, reused).unwrap();
        let (said, running) = status(true);
        assert!(!running);
        let json: serde_json::Value = serde_json::from_str(&said).unwrap();
        assert_eq!(json["running"], false);
    }

    #[test]
    fn times_are_short() {
        let said = [59, 60, 3 * 3600 + 120, 2 * 86_400 + 3600].map(duration);
        assert_eq!(said, ["59 s", "1 min", "3 h 2 min", "2 d 1 h"]);
    }

    proptest! {
        #[test]
        fn any_reason_is_read_back(reason in "[^\\p{Cc}]{0,60}") {
            let text = state(&reason).to_text();
            prop_assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok());
            let read = Read::parse(&text).unwrap();
            prop_assert_eq!(read.value("reason"), reason);
        }

        #[test]
        fn any_text_is_read_or_refused(text in "(\\{\n)?(\"[a-z]{1,3}\": (\"\\PC{0,8}\"|[0-9]{1,30})(,\n)?){0,4}(\n\\}\n)?") {
            let _ = Read::parse(&text);
        }
    }
}
