//! What monitor and agent say to each other: messages of one fixed size over a socketpair that keeps their bounds.
//!
//! `kind`, three lengths of 16 bits (little endian), a zero byte, 16 bytes of numbers, then the texts one behind the
//! other, and zeros to the end. There is one encoding for each message; anything else is refused, and whoever sent it
//! is not trusted any further.

/// The size of every message: the longest URL, with the name of an uplink and a pin.
pub const MESSAGE_BYTES: usize = 2304;
/// The longest path of a file that can be handed over.
pub const MAX_PATH_BYTES: usize = 2048;
/// The longest explanation of what the sandbox lacks.
pub const MAX_REASON_BYTES: usize = 1024;

const NUMBERS_AT: usize = 8;
const TEXTS_AT: usize = 24;

/// A message as it travels.
pub type Wire = [u8; MESSAGE_BYTES];

/// From the agent to the monitor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// What the agent has reached.
    Health(Health),
    /// Asks for the configuration to be read again.
    Reload,
    /// Asks for files that have changed; answered by [`Order::Refreshed`].
    Refresh,
    /// Asks for a new audit.
    Audit,
    /// Asks for a socket of the system's log, which an agent without a file system cannot open; answered by
    /// [`Order::Log`].
    Log,
    /// Asks for something to be kept.
    Store(Store),
    /// How an uplink is.
    Uplink(UplinkState),
}

/// What is to be kept of an uplink.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Store {
    /// The uplink's name in the configuration.
    pub uplink: String,
    /// What.
    pub fact: Fact,
    /// The last reset that whoever says this knows of, shortened; 0: none.
    pub reset: u32,
}

/// Something that a gateway gave for good.
#[derive(Clone, PartialEq, Eq)]
pub enum Fact {
    /// Its new address.
    Endpoint {
        /// The address.
        url: String,
        /// The new address' pin; empty if it has none.
        pin: String,
    },
    /// The operator's key.
    Operator {
        /// The key, base64.
        key: String,
        /// 0 without a proof, 1 with one, 2 released.
        standing: u8,
        /// The latest that was followed of what it signed.
        issued: u64,
    },
    /// A streamer's credential.
    Resume {
        /// The credential; empty if there is none any more.
        credential: String,
        /// Where it may be shown, with blanks between.
        addresses: String,
    },
}

impl std::fmt::Debug for Fact {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Endpoint { .. } => "Endpoint",
            Self::Operator { .. } => "Operator",
            Self::Resume { .. } => "Resume",
        })
    }
}

/// How an uplink is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UplinkState {
    /// Its name in the configuration.
    pub uplink: String,
    /// Host and port that it is connected to, or dials.
    pub peer: String,
    /// What went wrong last, and what to do about it.
    pub error: String,
    /// Bits: [`UP`](Self::UP) and the following.
    pub flags: u32,
    /// Since when it is up or down, on the monotonic clock.
    pub since_s: u32,
}

impl UplinkState {
    /// A connection is up.
    pub const UP: u32 = 1;
    /// The peer is an activation address.
    pub const ACTIVATION: u32 = 2;
    /// The peer is a streamer. Without either it is an endpoint.
    pub const STREAMER: u32 = 4;
    /// The camera can be claimed.
    pub const CLAIMABLE: u32 = 8;
    /// It is.
    pub const CLAIMED: u32 = 16;
    /// The gateway waits for somebody to claim it.
    pub const PENDING: u32 = 32;

    /// Whether a bit is set.
    #[must_use]
    pub fn is(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }
}

/// How the agent is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Health {
    /// Configured uplinks.
    pub uplinks: u16,
    /// Uplinks with a live connection.
    pub uplinks_up: u16,
    /// RTSP sessions.
    pub sessions: u16,
    /// The sandbox' measures in force, a bit for each.
    pub sandbox: u16,
    /// Why the others are not: printable ASCII.
    pub reasons: String,
}

/// From the monitor to the agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// The first message.
    Start(Start),
    /// A file; its descriptor comes with the message.
    File {
        /// The name that the configuration has for it.
        path: String,
        /// Why it could not be opened; 0 when there is a descriptor.
        errno: u32,
    },
    /// All files are there: the configuration is to be read.
    Configure,
    /// All files that had changed are there.
    Refreshed,
    /// Counters are to be logged.
    Report,
    /// An orderly end.
    Terminate,
    /// The network may have come: uplinks are dialled at once.
    Reconnect,
    /// A socket of the system's log; its descriptor comes with the message.
    Log,
}

/// What the agent becomes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    /// Its user.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// The monitor's process.
    pub monitor: u32,
    /// The name of the configuration among the files.
    pub config: String,
    /// The folder that becomes its root; empty when there is none.
    pub root: String,
    /// Why there is none.
    pub why_no_root: String,
}

impl Report {
    /// The message's bytes. `None` if a text is too long.
    #[must_use]
    pub fn encode(&self) -> Option<Wire> {
        match self {
            Self::Health(health) => {
                let low = u32::from(health.uplinks) | u32::from(health.uplinks_up) << 16;
                let high = u32::from(health.sessions) | u32::from(health.sandbox) << 16;
                encode(1, [low, high, 0, 0], [&health.reasons, "", ""])
            }
            Self::Reload => encode(2, [0; 4], ["", "", ""]),
            Self::Refresh => encode(3, [0; 4], ["", "", ""]),
            Self::Audit => encode(5, [0; 4], ["", "", ""]),
            Self::Log => encode(6, [0; 4], ["", "", ""]),
            Self::Uplink(state) => encode(
                9,
                [state.flags, state.since_s, 0, 0],
                [&state.uplink, &state.peer, &state.error],
            ),
            Self::Store(Store { uplink, fact, reset }) => match fact {
                Fact::Endpoint { url, pin } => encode(4, [0, 0, 0, *reset], [uplink, url, pin]),
                Fact::Operator {
                    key,
                    standing,
                    issued,
                } => {
                    let (low, high) = (*issued as u32, (*issued >> 32) as u32);
                    encode(7, [(*standing).into(), low, high, *reset], [uplink, key, ""])
                }
                Fact::Resume {
                    credential,
                    addresses,
                } => encode(8, [0, 0, 0, *reset], [uplink, credential, addresses]),
            },
        }
    }

    /// Reads a message from the agent, which may be anything. `None` if it is no message.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (kind, numbers, [a, b, c]) = decode(bytes)?;
        let report = match (kind, numbers) {
            (1, [low, high, 0, 0]) if a.len() <= MAX_REASON_BYTES && (b, c) == ("", "") => {
                Self::Health(Health {
                    uplinks: low as u16,
                    uplinks_up: (low >> 16) as u16,
                    sessions: high as u16,
                    sandbox: (high >> 16) as u16,
                    reasons: a.to_owned(),
                })
            }
            (2, [0, 0, 0, 0]) if (a, b, c) == ("", "", "") => Self::Reload,
            (3, [0, 0, 0, 0]) if (a, b, c) == ("", "", "") => Self::Refresh,
            (5, [0, 0, 0, 0]) if (a, b, c) == ("", "", "") => Self::Audit,
            (6, [0, 0, 0, 0]) if (a, b, c) == ("", "", "") => Self::Log,
            (9, [flags, since_s, 0, 0]) => Self::Uplink(UplinkState {
                uplink: a.to_owned(),
                peer: b.to_owned(),
                error: c.to_owned(),
                flags,
                since_s,
            }),
            (4 | 7 | 8, numbers) => Self::Store(Store {
                uplink: a.to_owned(),
                reset: numbers[3],
                fact: match (kind, numbers) {
                    (4, [0, 0, 0, _]) => Fact::Endpoint {
                        url: b.to_owned(),
                        pin: c.to_owned(),
                    },
                    (7, [standing, low, high, _]) if c.is_empty() => Fact::Operator {
                        key: b.to_owned(),
                        standing: u8::try_from(standing).ok()?,
                        issued: u64::from(high) << 32 | u64::from(low),
                    },
                    (8, [0, 0, 0, _]) => Fact::Resume {
                        credential: b.to_owned(),
                        addresses: c.to_owned(),
                    },
                    _ => return None,
                },
            }),
            _ => return None,
        };
        Some(report)
    }
}

impl Order {
    /// The message's bytes. `None` if a text is too long.
    #[must_use]
    pub fn encode(&self) -> Option<Wire> {
        match self {
            Self::Start(start) => encode(
                65,
                [start.uid, start.gid, start.monitor, 0],
                [&start.config, &start.root, &start.why_no_root],
            ),
            Self::File { path, errno } => encode(66, [*errno, 0, 0, 0], [path, "", ""]),
            Self::Configure => encode(67, [0; 4], ["", "", ""]),
            Self::Refreshed => encode(68, [0; 4], ["", "", ""]),
            Self::Report => encode(69, [0; 4], ["", "", ""]),
            Self::Terminate => encode(70, [0; 4], ["", "", ""]),
            Self::Reconnect => encode(71, [0; 4], ["", "", ""]),
            Self::Log => encode(72, [0; 4], ["", "", ""]),
        }
    }

    /// Reads a message from the monitor. `None` if it is no message.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (kind, numbers, [a, b, c]) = decode(bytes)?;
        let order = match (kind, numbers) {
            (65, [uid, gid, monitor, 0]) => Self::Start(Start {
                uid,
                gid,
                monitor,
                config: a.to_owned(),
                root: b.to_owned(),
                why_no_root: c.to_owned(),
            }),
            (66, [errno, 0, 0, 0]) if a.len() <= MAX_PATH_BYTES && (b, c) == ("", "") => Self::File {
                path: a.to_owned(),
                errno,
            },
            (67..=72, [0, 0, 0, 0]) if (a, b, c) == ("", "", "") => match kind {
                67 => Self::Configure,
                68 => Self::Refreshed,
                69 => Self::Report,
                70 => Self::Terminate,
                71 => Self::Reconnect,
                _ => Self::Log,
            },
            _ => return None,
        };
        Some(order)
    }
}

fn encode(kind: u8, numbers: [u32; 4], texts: [&str; 3]) -> Option<Wire> {
    let mut wire = [0; MESSAGE_BYTES];
    wire[0] = kind;
    let mut lengths = [0u8; 6];
    let mut at = TEXTS_AT;
    for (text, length) in texts.iter().zip(lengths.chunks_exact_mut(2)) {
        // The other side would take the whole message for an attack.
        if text.chars().any(char::is_control) {
            return None;
        }
        length.copy_from_slice(&u16::try_from(text.len()).ok()?.to_le_bytes());
        wire.get_mut(at..at + text.len())?
            .copy_from_slice(text.as_bytes());
        at += text.len();
    }
    wire[1..7].copy_from_slice(&lengths);
    for (number, slot) in numbers.iter().zip(wire[NUMBERS_AT..TEXTS_AT].chunks_exact_mut(4)) {
        slot.copy_from_slice(&number.to_le_bytes());
    }
    Some(wire)
}

fn decode(bytes: &[u8]) -> Option<(u8, [u32; 4], [&str; 3])> {
    let wire: &Wire = bytes.try_into().ok()?;
    if wire[7] != 0 {
        return None;
    }
    let mut rest = &wire[TEXTS_AT..];
    let mut texts = [""; 3];
    for (text, length) in texts.iter_mut().zip(wire[1..7].chunks_exact(2)) {
        let length = u16::from_le_bytes(length.try_into().ok()?);
        let (this, after) = rest.split_at_checked(length.into())?;
        *text = std::str::from_utf8(this).ok()?;
        if text.chars().any(char::is_control) {
            return None;
        }
        rest = after;
    }
    if rest.iter().any(|byte| *byte != 0) {
        return None;
    }
    let mut numbers = [0; 4];
    for (number, slot) in numbers.iter_mut().zip(wire[NUMBERS_AT..TEXTS_AT].chunks_exact(4)) {
        *number = u32::from_le_bytes(slot.try_into().ok()?);
    }
    Some((wire[0], numbers, texts))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn reports() -> Vec<Report> {
        let health = Health {
            uplinks: 2,
            uplinks_up: 1,
            sessions: 65_535,
            sandbox: 0x8001,
            reasons: "chroot: no folder".into(),
        };
        vec![
            Report::Health(health),
            Report::Health(Health::default()),
            Report::Reload,
            Report::Refresh,
            Report::Audit,
            Report::Log,
            Report::Store(Store {
                uplink: "main".into(),
                reset: 0,
                fact: Fact::Endpoint {
                    url: "https://e.example/é".into(),
                    pin: String::new(),
                },
            }),
            Report::Store(Store {
                uplink: "main".into(),
                reset: u32::MAX,
                fact: Fact::Operator {
                    key: "BAAA".into(),
                    standing: 1,
                    issued: u64::MAX - 7,
                },
            }),
            Report::Store(Store {
                uplink: "second".into(),
                reset: 9,
                fact: Fact::Resume {
                    credential: "a.b".into(),
                    addresses: "https://s1/ https://s2/".into(),
                },
            }),
            Report::Uplink(UplinkState {
                uplink: "main".into(),
                peer: "gw.example:8443".into(),
                error: "no connection".into(),
                flags: UplinkState::UP | UplinkState::STREAMER,
                since_s: 77,
            }),
        ]
    }

    fn orders() -> Vec<Order> {
        vec![
            Order::Start(Start {
                uid: u32::MAX,
                gid: 1,
                monitor: 77,
                config: "/etc/config/lenscap".into(),
                root: String::new(),
                why_no_root: "read-only".into(),
            }),
            Order::File {
                path: "/etc/hosts".into(),
                errno: 2,
            },
            Order::Configure,
            Order::Refreshed,
            Order::Report,
            Order::Terminate,
            Order::Reconnect,
            Order::Log,
        ]
    }

    #[test]
    fn messages_come_back_and_the_two_directions_do_not_mix() {
        for report in reports() {
            let wire = report.encode().unwrap();
            assert_eq!(Report::decode(&wire), Some(report));
            assert_eq!(Order::decode(&wire), None);
        }
        for order in orders() {
            let wire = order.encode().unwrap();
            assert_eq!(Order::decode(&wire), Some(order));
            assert_eq!(Report::decode(&wire), None);
        }
    }

    #[test]
    fn what_does_not_fit_is_not_encoded() {
        let store = |url: usize| {
            Report::Store(Store {
                uplink: "u".repeat(64),
                reset: 1,
                fact: Fact::Endpoint {
                    url: "x".repeat(url),
                    pin: "p".repeat(128),
                },
            })
        };
        assert!(store(2048).encode().is_some());
        assert!(store(2300).encode().is_none() && store(70_000).encode().is_none());
    }

    #[test]
    fn every_changed_byte_is_refused_or_gives_another_canonical_message() {
        for wire in reports().iter().filter_map(Report::encode) {
            for at in 0..wire.len() {
                for value in [0, 1, 2, 3, 4, 7, 0x1f, 0x7f, 0x80, 0xc3, 0xff] {
                    let mut changed = wire;
                    changed[at] = value;
                    if let Some(report) = Report::decode(&changed) {
                        assert_eq!(report.encode(), Some(changed));
                    }
                }
            }
        }
        for wire in orders().iter().filter_map(Order::encode) {
            for at in 0..wire.len() {
                for value in [0, 1, 0x41, 0x46, 0x80, 0xff] {
                    let mut changed = wire;
                    changed[at] = value;
                    if let Some(order) = Order::decode(&changed) {
                        assert_eq!(order.encode(), Some(changed));
                    }
                }
            }
        }
    }

    #[test]
    fn other_lengths_are_no_messages() {
        let wire = Report::Reload.encode().unwrap();
        assert_eq!(Report::decode(&[]), None);
        assert_eq!(Report::decode(&wire[..MESSAGE_BYTES - 1]), None);
        let longer: Vec<u8> = wire.iter().copied().chain([0]).collect();
        assert_eq!(Report::decode(&longer), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_canonical_message_or_none(
            head in proptest::array::uniform24(any::<u8>()),
            kind in 0u8..80,
            body in proptest::collection::vec(any::<u8>(), MESSAGE_BYTES - 24),
            used in 0usize..400,
            trim in any::<bool>(),
        ) {
            let mut wire = [0; MESSAGE_BYTES];
            wire[..24].copy_from_slice(&head);
            wire[0] = kind;
            let used = if trim { used } else { body.len() };
            wire[24..24 + used].copy_from_slice(&body[..used]);
            if let Some(report) = Report::decode(&wire) {
                prop_assert_eq!(report.encode(), Some(wire));
            }
            if let Some(order) = Order::decode(&wire) {
                prop_assert_eq!(order.encode(), Some(wire));
            }
        }
    }
}
