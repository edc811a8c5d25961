//! What the agent gives up before the first byte of a peer reaches it, and what of it is in force.
//!
//! Kernels of cameras are old: a step that the kernel does not know is noted and the rest must hold. One failure is
//! fatal: the agent never talks to the network as root.

use std::io;
use std::path::Path;

use super::message::{MAX_REASON_BYTES, Start};
use crate::json::Writer;
use crate::sys;

/// Descriptors of the agent: its sockets ([`crate::run`] has at most 256), and those of the poller, the log and the
/// monitor.
const MAX_DESCRIPTORS: u32 = 288;
/// The agent's address space: 5 MiB are used as a rule, full queues and snapshots take some 50 MiB.
const MAX_ADDRESS_SPACE_BYTES: u32 = 128 * 1024 * 1024;

/// One thing that protects the camera from the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// A monitor stands behind it and does what needs root.
    Monitor,
    /// A user and a group of its own, and no further groups.
    User,
    /// No capability in any set, the bounding set included.
    Capabilities,
    /// No privileges by starting a program.
    NoNewPrivs,
    /// Not traceable, no core dump.
    NotDumpable,
    /// Bounded descriptors and memory, no further processes.
    Limits,
    /// An empty folder for a root.
    Root,
    /// A filter of system calls.
    Seccomp,
    /// Rules for files by the kernel.
    Landlock,
}

impl Measure {
    /// All of them, in the order of their bits.
    pub const ALL: [Self; 9] = [
        Self::Monitor,
        Self::User,
        Self::Capabilities,
        Self::NoNewPrivs,
        Self::NotDumpable,
        Self::Limits,
        Self::Root,
        Self::Seccomp,
        Self::Landlock,
    ];

    /// The name in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Monitor => "monitor",
            Self::User => "user",
            Self::Capabilities => "capabilities",
            Self::NoNewPrivs => "no_new_privs",
            Self::NotDumpable => "not_dumpable",
            Self::Limits => "limits",
            Self::Root => "chroot",
            Self::Seccomp => "seccomp",
            Self::Landlock => "landlock",
        }
    }
}

/// Which measures are in force, and why the others are not.
#[derive(Debug, Clone, Default)]
pub struct Sandbox {
    missing: Vec<(Measure, String)>,
}

impl Sandbox {
    /// Nothing is in force, for one reason.
    #[must_use]
    pub fn none(why: &str) -> Self {
        let missing = Measure::ALL.map(|measure| (measure, why.to_owned()));
        Self {
            missing: missing.into(),
        }
    }

    /// Gives up everything.
    ///
    /// # Errors
    /// When the process would stay root, or the monitor is gone.
    pub fn enter(start: &Start) -> Result<Self, String> {
        let mut sandbox = Self::default();
        let bounding = sys::drop_bounding_set();
        if start.root.is_empty() {
            sandbox.miss(Measure::Root, &start.why_no_root);
        } else {
            sandbox.note(Measure::Root, sys::change_root(Path::new(&start.root)));
        }
        sys::become_user(start.uid, start.gid)
            .map_err(|error| format!("cannot become user {}: {error}", start.uid))?;
        // Not before: Linux 3.0 and earlier refuse a user who has no process left (setuid(2), EAGAIN).
        sandbox.limit();
        sandbox.note(
            Measure::Capabilities,
            bounding.and_then(|()| sys::clear_capabilities()),
        );
        sandbox.harden();
        sys::die_with_parent(start.monitor).map_err(|error| error.to_string())?;
        sandbox.not_built();
        Ok(sandbox)
    }

    /// Gives up what takes no privileges to give up.
    #[must_use]
    pub fn enter_unprivileged() -> Self {
        let mut sandbox = Self::default();
        sandbox.miss(Measure::Monitor, "not started as root");
        // Whoever started it chose the user: it is none of the agent's own.
        sandbox.miss(Measure::User, "not started as root");
        sandbox.note(Measure::Capabilities, sys::clear_capabilities());
        sandbox.miss(Measure::Root, "not started as root");
        sandbox.limit();
        sandbox.harden();
        sandbox.not_built();
        sandbox
    }

    fn limit(&mut self) {
        let limits = sys::Limits {
            descriptors: MAX_DESCRIPTORS,
            address_space_bytes: MAX_ADDRESS_SPACE_BYTES,
        };
        self.note(Measure::Limits, sys::set_limits(limits));
    }

    fn harden(&mut self) {
        self.note(Measure::NoNewPrivs, sys::set_no_new_privs());
        self.note(Measure::NotDumpable, sys::set_not_dumpable());
    }

    fn not_built(&mut self) {
        for measure in [Measure::Seccomp, Measure::Landlock] {
            self.miss(measure, "not in this version");
        }
    }

    fn note(&mut self, measure: Measure, result: io::Result<()>) {
        if let Err(error) = result {
            self.miss(measure, &error.to_string());
        }
    }

    fn miss(&mut self, measure: Measure, why: &str) {
        self.missing.push((measure, why.to_owned()));
    }

    /// Whether a measure is in force.
    #[must_use]
    pub fn holds(&self, measure: Measure) -> bool {
        self.missing.iter().all(|(missing, _)| *missing != measure)
    }

    /// A bit for each measure in force, in the order of [`Measure::ALL`].
    #[must_use]
    pub fn bits(&self) -> u16 {
        let bit = |(index, measure): (usize, &Measure)| u16::from(self.holds(*measure)) << index;
        Measure::ALL.iter().enumerate().map(bit).sum()
    }

    /// Why measures are not in force, in one line of printable ASCII.
    #[must_use]
    pub fn reasons(&self) -> String {
        let mut line = String::new();
        for (measure, why) in &self.missing {
            let separator = if line.is_empty() { "" } else { "; " };
            line.push_str(&format!("{separator}{}: {why}", measure.as_str()));
        }
        let printable = |c: char| if c == ' ' || c.is_ascii_graphic() { c } else { '?' };
        line.chars().map(printable).take(MAX_REASON_BYTES).collect()
    }

    /// Writes a member for each measure, and the reasons.
    pub fn write(&self, json: &mut Writer) {
        json.object(|o| {
            for measure in Measure::ALL {
                o.key(measure.as_str()).bool(self.holds(measure));
            }
            o.key("reasons").object(|o| {
                for (measure, why) in &self.missing {
                    o.key(measure.as_str()).string(why);
                }
            });
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named() {
        let mut sandbox = Sandbox::default();
        assert_eq!((sandbox.bits(), sandbox.reasons().as_str()), (0x1ff, ""));
        sandbox.miss(Measure::User, "a\nb");
        sandbox.not_built();
        assert_eq!(sandbox.bits(), 0x1ff & !(2 | 0x180));
        assert_eq!(
            sandbox.reasons(),
            "user: a?b; seccomp: not in this version; landlock: not in this version"
        );
        assert!(!sandbox.holds(Measure::Seccomp) && sandbox.holds(Measure::Root));
        let mut json = Writer::new();
        sandbox.write(&mut json);
        let json: serde_json::Value = serde_json::from_str(&json.finish()).unwrap();
        assert_eq!(json["user"], false);
        assert_eq!(json["chroot"], true);
        assert_eq!(json["reasons"]["seccomp"], "not in this version");
        assert_eq!(Sandbox::none("x").bits(), 0);
    }

    #[test]
    fn reasons_fit_a_message() {
        let why = "é".repeat(4000);
        assert_eq!(Sandbox::none(&why).reasons().len(), MAX_REASON_BYTES);
    }
}
