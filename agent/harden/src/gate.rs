//! When a running camera may be changed, and when a change is taken back: pure rules over facts that others collect.
//!
//! A tree that is not running is always changed; nothing here is about it.

use core::time::Duration;
use std::collections::VecDeque;

use crate::firmware::Tried;
use crate::report::Measure;
use crate::storage::Storage;

/// How long the owner has to confirm.
pub const CONFIRM_WITHIN: Duration = Duration::from_secs(600);
/// How long the owner's way in is looked for in a boot, once that time is over.
pub const SHOWN_WITHIN: Duration = Duration::from_secs(60);
/// How long hardening may hold up a boot.
pub const BOOT_LIMIT: Duration = Duration::from_secs(20);
/// Boots in a row that did not become healthy, after which it stands aside.
pub const MAX_BAD_BOOTS: u8 = 3;
/// How often an hour something that was put back is closed again.
pub const MAX_RESTORES: usize = 5;
const HOUR: Duration = Duration::from_secs(3600);

/// What is known of the owner's ways in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OwnerFacts {
    /// An SSH server runs that lets root in with a key.
    pub authorised_key: bool,
    /// An address on the LAN may reach that server.
    pub allowed_lan: bool,
    /// The uplink belongs to an owner and is connected.
    pub claimed_uplink: bool,
    /// The login password was given at production, or stands on the label, and a login that stays will take it.
    pub secret_given: bool,
}

/// A way in that is proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OwnerPath {
    /// A key, and an address to use it from.
    SshKey,
    /// The uplink.
    Uplink,
    /// A password that the owner has.
    Secret,
}

/// The owner's way in, if there is one. A key without an address that may reach SSH is none.
#[must_use]
pub fn owner_path(facts: &OwnerFacts) -> Option<OwnerPath> {
    if facts.claimed_uplink {
        Some(OwnerPath::Uplink)
    } else if facts.authorised_key && facts.allowed_lan {
        Some(OwnerPath::SshKey)
    } else if facts.secret_given {
        Some(OwnerPath::Secret)
    } else {
        None
    }
}

/// How SSH lets root in, the surest way last.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum SshLogin {
    /// Not at all, or it could not be told.
    #[default]
    None,
    /// With a password. Whether the owner knows it, nobody says.
    Password,
    /// With none.
    Blank,
    /// With a key.
    Key,
}

/// How far hardening goes by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Nothing is changed.
    Off,
    /// What is applied must be confirmed.
    Confirm,
    /// What is applied stays: a vendor's image says so.
    Enforce,
}

/// Everything that decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Situation {
    /// What the configuration says.
    pub mode: Mode,
    /// Whether somebody asked for it now.
    pub asked: bool,
    /// The least tried of the adapters that fit.
    pub tried: Tried,
    /// The owner's way in.
    pub owner: Option<OwnerPath>,
    /// The login that no measure but the firewall closes. Without it telnet is the last one.
    pub other_login: SshLogin,
    /// Where journal and files lie.
    pub storage: Storage,
    /// Boots so far that did not become healthy.
    pub bad_boots: u8,
}

/// What may be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It is applied.
    Apply {
        /// It is taken back unless it is confirmed within [`CONFIRM_WITHIN`].
        confirm: bool,
    },
    /// It is only planned.
    PlanOnly(Why),
}

/// Why something is only planned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// The configuration says so.
    Off,
    /// Boots went wrong, one after the other.
    StandingAside,
    /// What is written would be gone after a reboot, or may be.
    NoStorage,
    /// The firmware's adapter was never tried on a device, and nobody asked.
    NotTried,
    /// The owner would be locked out.
    NoOwner,
    /// The login password is to be given, and was not.
    NoSecret,
}

impl Why {
    /// A sentence that says what to do.
    #[must_use]
    pub fn explain(self) -> &'static str {
        match self {
            Self::Off => "the configuration switches hardening off",
            Self::StandingAside => {
                "three boots in a row did not become healthy: it stands aside until somebody asks"
            }
            Self::NoStorage => "what is written here is not known to survive a reboot",
            Self::NotTried => "this firmware's adapter was never tried on a device: --apply takes the risk",
            Self::NoSecret => "the configuration wants a given login password: --password-file",
            Self::NoOwner => {
                "waiting for an owner: claim the uplink, authorise an SSH key and allow an address, or give a password"
            }
        }
    }
}

/// Decides about one measure. The first reason against it counts.
#[must_use]
pub fn decide(measure: Measure, situation: &Situation) -> Decision {
    let Situation {
        mode,
        asked,
        tried,
        owner,
        other_login,
        storage,
        bad_boots,
    } = situation;
    // How the owner comes in then, if that is known.
    let left = match measure {
        Measure::Credentials | Measure::Firewall => SshLogin::None,
        Measure::Telnet => *other_login,
    };
    if *mode == Mode::Off && !asked {
        Decision::PlanOnly(Why::Off)
    } else if *bad_boots >= MAX_BAD_BOOTS && !asked {
        Decision::PlanOnly(Why::StandingAside)
    } else if *storage != Storage::Persistent {
        Decision::PlanOnly(Why::NoStorage)
    } else if *tried < Tried::Device && !asked && *mode != Mode::Enforce {
        Decision::PlanOnly(Why::NotTried)
    } else if left == SshLogin::None && owner.is_none() {
        Decision::PlanOnly(Why::NoOwner)
    } else {
        Decision::Apply {
            confirm: left <= SshLogin::Password && *mode != Mode::Enforce,
        }
    }
}

/// Something that was applied and waits for the owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confirmation {
    /// The boot in which it was applied.
    pub boot_id: String,
    /// When, since that boot.
    pub applied_at: Duration,
    /// The files that were changed. None: all of the journal.
    pub paths: Vec<String>,
}

/// What a confirmation that did not come means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// There is still time.
    Wait(Duration),
    /// All is taken back, default passwords too.
    RollBack,
}

impl Confirmation {
    /// What is due at `now`, a time since the boot `boot_id`. In a later boot the time starts anew: how long the camera
    /// was off, no clock tells.
    #[must_use]
    pub fn due(&self, boot_id: &str, now: Duration) -> Due {
        let start = if boot_id == self.boot_id {
            self.applied_at
        } else {
            Duration::ZERO
        };
        match (start + CONFIRM_WITHIN).checked_sub(now) {
            Some(left) if !left.is_zero() => Due::Wait(left),
            _ => Due::RollBack,
        }
    }

    /// Lines for a file.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = format!("{} {}\n", self.boot_id, self.applied_at.as_secs());
        for path in &self.paths {
            text.push_str(path);
            text.push('\n');
        }
        text
    }

    /// Reads those lines. What is damaged was applied in another boot, to all files, so that it is taken back in time.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut lines = text.lines();
        let (boot_id, seconds) = lines
            .next()
            .unwrap_or_default()
            .split_once(' ')
            .unwrap_or_default();
        let mut paths: Vec<String> = lines.map(str::to_owned).collect();
        if boot_id.is_empty() || paths.iter().any(|path| !path.starts_with('/')) {
            paths.clear();
        }
        Self {
            boot_id: boot_id.to_owned(),
            applied_at: Duration::from_secs(seconds.parse().unwrap_or(0)),
            paths,
        }
    }
}

/// Counts boots that did not become healthy.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Boots {
    boot_id: String,
    started: u8,
}

impl Boots {
    /// Counts this boot, once.
    pub fn begin(&mut self, boot_id: &str) {
        if self.boot_id != boot_id {
            boot_id.clone_into(&mut self.boot_id);
            self.started = self.started.saturating_add(1);
        }
    }

    /// This boot became healthy: the count starts anew. Not where it stands aside: what made the boots bad may be what
    /// it would do again.
    pub fn healthy(&mut self) {
        if self.bad() < MAX_BAD_BOOTS {
            self.started = 0;
        }
    }

    /// Somebody asked for hardening: the count starts anew.
    pub fn forget(&mut self) {
        self.started = 0;
    }

    /// Boots before this one that did not.
    #[must_use]
    pub fn bad(&self) -> u8 {
        self.started.saturating_sub(1)
    }

    /// One line for a file.
    #[must_use]
    pub fn to_text(&self) -> String {
        format!("{} {}\n", self.boot_id, self.started)
    }

    /// Reads that line. What is damaged counts for nothing.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let (boot_id, started) = text.trim_end().split_once(' ').unwrap_or_default();
        Self {
            boot_id: boot_id.to_owned(),
            started: started.parse().unwrap_or(0),
        }
    }
}

/// Limits how often something that a firmware puts back is closed again.
#[derive(Debug, Clone, Default)]
pub struct Restores {
    times: VecDeque<Duration>,
}

impl Restores {
    /// Whether one more is allowed at `now`, and counts it if so.
    pub fn allow(&mut self, now: Duration) -> bool {
        if self.count(now) >= MAX_RESTORES {
            return false;
        }
        while self.times.len() >= MAX_RESTORES {
            self.times.pop_front();
        }
        self.times.push_back(now);
        true
    }

    /// Those of the last hour.
    #[must_use]
    pub fn count(&self, now: Duration) -> usize {
        let recent = |time: &&Duration| now.saturating_sub(**time) < HOUR;
        self.times.iter().filter(recent).count()
    }

    /// One line for a file.
    #[must_use]
    pub fn to_text(&self) -> String {
        let times: Vec<String> = self.times.iter().map(|time| time.as_secs().to_string()).collect();
        times.join(" ")
    }

    /// Reads that line. Times that are still to come are of another boot.
    #[must_use]
    pub fn parse(text: &str, now: Duration) -> Self {
        let times = text.split(' ').filter_map(|word| word.parse().ok());
        let times = times.map(Duration::from_secs).filter(|time| *time <= now);
        Self {
            times: times.take(MAX_RESTORES).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn situation() -> Situation {
        Situation {
            mode: Mode::Confirm,
            asked: true,
            tried: Tried::Fixture,
            owner: Some(OwnerPath::Uplink),
            other_login: SshLogin::Key,
            storage: Storage::Persistent,
            bad_boots: 0,
        }
    }

    #[test]
    fn the_owner_keeps_a_way_in() {
        let facts = OwnerFacts::default();
        assert_eq!(owner_path(&facts), None);
        let key = OwnerFacts {
            authorised_key: true,
            ..facts
        };
        assert_eq!(owner_path(&key), None, "a key that no address may use");
        assert_eq!(
            owner_path(&OwnerFacts {
                allowed_lan: true,
                ..key
            }),
            Some(OwnerPath::SshKey)
        );
        assert_eq!(
            owner_path(&OwnerFacts {
                allowed_lan: true,
                ..facts
            }),
            None
        );
        assert_eq!(
            owner_path(&OwnerFacts {
                claimed_uplink: true,
                ..key
            }),
            Some(OwnerPath::Uplink)
        );
        assert_eq!(
            owner_path(&OwnerFacts {
                secret_given: true,
                ..facts
            }),
            Some(OwnerPath::Secret)
        );

        let nobody = Situation {
            owner: None,
            ..situation()
        };
        for mode in [Mode::Off, Mode::Confirm, Mode::Enforce] {
            let nobody = Situation {
                mode,
                ..nobody.clone()
            };
            assert_eq!(
                decide(Measure::Credentials, &nobody),
                Decision::PlanOnly(Why::NoOwner)
            );
            assert_eq!(
                decide(Measure::Firewall, &nobody),
                Decision::PlanOnly(Why::NoOwner)
            );
            assert_eq!(
                decide(Measure::Telnet, &nobody),
                Decision::Apply { confirm: false }
            );
            let password = Situation {
                other_login: SshLogin::Password,
                ..nobody.clone()
            };
            assert_eq!(
                decide(Measure::Telnet, &password),
                Decision::Apply {
                    confirm: mode != Mode::Enforce
                },
                "a password that the owner may not know"
            );
            let last = Situation {
                other_login: SshLogin::None,
                ..nobody
            };
            assert_eq!(
                decide(Measure::Telnet, &last),
                Decision::PlanOnly(Why::NoOwner),
                "the only login of the camera"
            );
        }
    }

    #[test]
    fn each_reason_against_it_counts() {
        let good = situation();
        let last = Situation {
            other_login: SshLogin::None,
            ..good.clone()
        };
        assert_eq!(
            decide(Measure::Telnet, &last),
            Decision::Apply { confirm: true },
            "the only login of the camera"
        );
        assert_eq!(
            decide(Measure::Credentials, &good),
            Decision::Apply { confirm: true }
        );
        let quiet = Situation {
            asked: false,
            ..good.clone()
        };
        for (situation, expected) in [
            (
                Situation {
                    mode: Mode::Off,
                    ..quiet.clone()
                },
                Decision::PlanOnly(Why::Off),
            ),
            (
                Situation {
                    bad_boots: 3,
                    ..quiet.clone()
                },
                Decision::PlanOnly(Why::StandingAside),
            ),
            (
                Situation {
                    bad_boots: 3,
                    ..good.clone()
                },
                Decision::Apply { confirm: true },
            ),
            (
                Situation {
                    storage: Storage::Volatile,
                    ..good.clone()
                },
                Decision::PlanOnly(Why::NoStorage),
            ),
            (
                Situation {
                    storage: Storage::Unknown,
                    ..good.clone()
                },
                Decision::PlanOnly(Why::NoStorage),
            ),
            (quiet.clone(), Decision::PlanOnly(Why::NotTried)),
            (
                // An emulator is no device.
                Situation {
                    tried: Tried::Emulated,
                    ..quiet.clone()
                },
                Decision::PlanOnly(Why::NotTried),
            ),
            (
                Situation {
                    tried: Tried::Device,
                    ..quiet.clone()
                },
                Decision::Apply { confirm: true },
            ),
            (
                Situation {
                    mode: Mode::Enforce,
                    ..quiet
                },
                Decision::Apply { confirm: false },
            ),
        ] {
            assert_eq!(
                decide(Measure::Credentials, &situation),
                expected,
                "{situation:?}"
            );
        }
    }

    #[test]
    fn what_is_not_confirmed_is_taken_back() {
        let applied = Confirmation {
            boot_id: "a-b".into(),
            applied_at: Duration::from_secs(100),
            paths: vec!["/etc/shadow".into()],
        };
        let at = |seconds| applied.due("a-b", Duration::from_secs(seconds));
        assert_eq!(at(100), Due::Wait(CONFIRM_WITHIN));
        assert_eq!(at(699), Due::Wait(Duration::from_secs(1)));
        assert_eq!(at(700), Due::RollBack);
        assert_eq!(at(100_000), Due::RollBack);
        assert_eq!(
            applied.due("c", Duration::from_secs(5)),
            Due::Wait(Duration::from_secs(595))
        );
        assert_eq!(applied.due("c", Duration::from_secs(600)), Due::RollBack);
        assert_eq!(Confirmation::parse(&applied.to_text()), applied);
        let damaged = Confirmation::parse("\u{0}");
        assert_eq!(damaged.due("a-b", Duration::from_secs(600)), Due::RollBack);
        assert_eq!(Confirmation::parse("\u{0}\n/etc/\nx\u{1}\n").paths, [""; 0]);
    }

    #[test]
    fn three_bad_boots_are_enough() {
        let mut boots = Boots::default();
        for (boot, bad) in [("1", 0), ("1", 0), ("2", 1), ("3", 2), ("4", 3)] {
            boots = Boots::parse(&boots.to_text());
            boots.begin(boot);
            assert_eq!(boots.bad(), bad, "{boot}");
        }
        assert!(boots.bad() >= MAX_BAD_BOOTS);
        boots.healthy();
        boots.begin("5");
        assert_eq!(boots.bad(), 4, "it stands aside until somebody asks");
        boots.forget();
        boots.begin("6");
        boots.begin("7");
        boots.healthy();
        boots.begin("8");
        assert_eq!(boots.bad(), 0);
        assert_eq!(Boots::parse("damage"), Boots::default());
    }

    #[test]
    fn five_restores_an_hour_are_enough() {
        let mut restores = Restores::default();
        let minute = |minutes: u64| Duration::from_secs(60 * minutes);
        let allowed: Vec<bool> = (0..7).map(|n| restores.allow(minute(10 * n))).collect();
        assert_eq!(allowed, [true, true, true, true, true, false, true]);
        assert!(!restores.allow(minute(61)));
        let mut restores = Restores::parse(&restores.to_text(), minute(65));
        assert_eq!(restores.count(minute(65)), 5);
        assert!(restores.allow(minute(70)));
        assert_eq!(
            Restores::parse(&restores.to_text(), minute(5)).count(minute(5)),
            0
        );
    }
}
