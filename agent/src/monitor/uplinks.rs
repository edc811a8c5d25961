//! `uplinks.json` in the run folder: how each uplink is, for `lenscap status`. It names peers, so it is root's alone.
//!
//! The file is a list of the objects that [`crate::flat`] reads.

use std::path::{Path, PathBuf};

use super::message::UplinkState;
use super::state::duration;
use crate::config::Config;
use crate::flat::{Lines, Read};
use crate::{files, sys};

const FILE_NAME: &str = "uplinks.json";
const MAX_BYTES: u64 = 64 * 1024;
const BETWEEN: &str = ",\n";

/// Where it is.
pub(super) fn path(run_dir: &Path) -> PathBuf {
    run_dir.join(FILE_NAME)
}

/// What the agent said of each uplink, and the file as it was written last.
#[derive(Debug, Default)]
pub(super) struct Uplinks {
    states: Vec<UplinkState>,
    pub(super) written: String,
}

impl Uplinks {
    /// Takes the word on a configured uplink, and so on few.
    pub(super) fn handle_state(&mut self, state: UplinkState) {
        match self.states.iter_mut().find(|known| known.uplink == state.uplink) {
            Some(known) => *known = state,
            None => self.states.push(state),
        }
    }

    /// Forgets uplinks that are not configured any more.
    pub(super) fn retain(&mut self, config: &Config) {
        self.states
            .retain(|state| config.uplinks.iter().any(|uplink| uplink.name == state.uplink));
    }

    /// Writes the file, if it would say something new. A failure is no one's concern but the log's.
    pub(super) fn write(&mut self, run_dir: &Path) {
        let objects: Vec<String> = self.states.iter().map(object).collect();
        let text = format!("[\n{}]\n", objects.join(BETWEEN));
        if text == self.written || !run_dir.is_dir() {
            return;
        }
        if let Err(error) = files::replace_volatile_private(&path(run_dir), text.as_bytes()) {
            log::debug!("{}: {error}", run_dir.display());
        }
        self.written = text;
    }
}

fn role(state: &UplinkState) -> &'static str {
    // Whoever was claimed there is at its operator's endpoint.
    if state.is(UplinkState::ACTIVATION) && !state.is(UplinkState::CLAIMED) {
        "activation"
    } else if state.is(UplinkState::STREAMER) {
        "streamer"
    } else {
        "endpoint"
    }
}

fn claim(state: &UplinkState) -> &'static str {
    if state.is(UplinkState::CLAIMED) {
        "claimed"
    } else if state.is(UplinkState::PENDING) {
        "pending"
    } else if state.is(UplinkState::CLAIMABLE) {
        "unclaimed"
    } else {
        ""
    }
}

fn object(state: &UplinkState) -> String {
    let mut lines = Lines::default();
    lines.string("uplink", &state.uplink);
    lines.bool("up", state.is(UplinkState::UP));
    lines.string("phase", role(state));
    lines.string("peer", &state.peer);
    lines.number("since_s", state.since_s.into());
    lines.string("claim", claim(state));
    lines.string("last_error", &state.error);
    lines.finish()
}

/// The file's text, if this user may read it.
pub(super) fn read(run_dir: &Path) -> Option<String> {
    let bytes = files::read(&path(run_dir), MAX_BYTES).ok()?;
    String::from_utf8(bytes).ok()
}

/// The file's text in words, a paragraph for each uplink.
pub(super) fn describe(text: Option<&str>) -> String {
    let Some(text) = text else {
        return "uplink    only root may see where uplinks lead\n".into();
    };
    let body = text.strip_prefix("[\n").and_then(|text| text.strip_suffix("]\n"));
    let mut out = String::new();
    for object in body.unwrap_or_default().split_inclusive("\n}\n") {
        let object = object.strip_prefix(BETWEEN).unwrap_or(object);
        if let Some(read) = Read::parse(object) {
            out += &describe_one(&read);
        }
    }
    out
}

fn describe_one(read: &Read) -> String {
    let for_s = sys::monotonic().as_secs().saturating_sub(read.number("since_s"));
    let (state, way) = match read.is("up") {
        true => ("up", "at"),
        false => ("down", "dialling"),
    };
    let mut text = format!(
        "uplink    {} {state} for {}",
        read.value("uplink"),
        duration(for_s)
    );
    if !read.value("peer").is_empty() {
        text += &format!(", {way} the {} {}", read.value("phase"), read.value("peer"));
    }
    text += match read.value("claim") {
        "claimed" => ", claimed\n",
        "unclaimed" => ", not claimed\n",
        "pending" => {
            "\n          nobody has claimed this camera: claim it at the gateway with what `lenscap enroll` shows\n"
        }
        _ => "\n",
    };
    if !read.value("last_error").is_empty() {
        text += &format!("          last error: {}\n", read.value("last_error"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(uplink: &str, flags: u32, error: &str) -> UplinkState {
        UplinkState {
            uplink: uplink.into(),
            peer: "s1.example:8443".into(),
            error: error.into(),
            flags,
            since_s: u32::try_from(sys::monotonic().as_secs())
                .unwrap()
                .saturating_sub(120),
        }
    }

    #[test]
    fn it_is_roots_alone_and_read_back() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let mut uplinks = Uplinks::default();
        uplinks.write(dir.path());
        assert_eq!(describe(read(dir.path()).as_deref()), "");
        uplinks.handle_state(state("main", 0, ""));
        let up = UplinkState::UP | UplinkState::STREAMER | UplinkState::CLAIMABLE | UplinkState::CLAIMED;
        uplinks.handle_state(state("main", up, "the \"old\" one broke"));
        uplinks.handle_state(state(
            "second",
            UplinkState::ACTIVATION | UplinkState::CLAIMABLE | UplinkState::PENDING,
            "",
        ));
        uplinks.write(dir.path());
        let mode = std::fs::metadata(path(dir.path())).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let text = read(dir.path()).unwrap();
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(json[0]["phase"], "streamer");
        assert_eq!(
            (&json[1]["up"], &json[1]["claim"]),
            (&false.into(), &"pending".into())
        );
        let said = describe(Some(&text));
        for part in [
            "main up for 2 min, at the streamer s1.example:8443, claimed\n",
            "last error: the \"old\" one broke",
            "second down for 2 min, dialling the activation s1.example:8443\n",
            "claim it at the gateway",
        ] {
            assert!(said.contains(part), "{said}");
        }
        // Claimed over the connection that is up, and not dialled again since.
        let claimed =
            UplinkState::UP | UplinkState::ACTIVATION | UplinkState::CLAIMABLE | UplinkState::CLAIMED;
        uplinks.handle_state(state("second", claimed, ""));
        uplinks.write(dir.path());
        let said = describe(read(dir.path()).as_deref());
        assert!(
            said.contains("second up for 2 min, at the endpoint s1.example:8443, claimed\n"),
            "{said}"
        );
        assert!(describe(Some("[\n{}]")).is_empty() && describe(Some("")).is_empty());
    }
}
