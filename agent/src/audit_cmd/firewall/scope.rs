//! Whom a rule that accepts lets in, of those who were not asked for.
//!
//! A condition that is not known here is passed over: the rule then seems to let in more than it does, never less; and it is
//! not said to be for whoever comes.

use lenscap_harden::firewall::nft::{attributes, messages};

use super::{attribute, half, name, number, word};

/// Whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// Answers, the camera itself, one peer, or protocols without ports.
    Nobody,
    /// Those who come to one port: the protocol's number (0: any), the port, and whether it is whoever comes.
    Port(u8, u16, bool),
    /// Whoever comes, as far as it was worked out.
    Anybody,
}

/// ICMP, IGMP, ICMPv6: no service waits there.
const NO_SERVICE: [u8; 3] = [1, 2, 58];
/// `NF_CT_STATE_BIT` of established and related.
const ANSWERS: u32 = 2 | 4;
/// The same of a connection's first packet, and of what belongs to none.
const NEW: u32 = 8;
const INVALID: u32 = 1;
/// SYN of SYN and ACK: a connection's first packet.
const SYN_ALONE: (u8, u8) = (0x12, 0x02);
const REGISTER_OF_VERDICTS: u32 = 0;
/// `NFT_CMP_EQ`, `NFT_CMP_NEQ`.
const EQUAL: u32 = 0;
const NOT_EQUAL: u32 = 1;
/// `NF_ACCEPT`, `NF_DROP`; `NFT_JUMP` and `NFT_GOTO`.
const ACCEPT: u32 = 1;
const DROP: u32 = 0;
const JUMPS: [u32; 2] = [-3i32 as u32, -4i32 as u32];
/// `NFT_CONTINUE`.
const CONTINUE: u32 = -1i32 as u32;

/// What a condition of nf_tables looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    /// `NFT_META_IIF`.
    Interface,
    /// `NFT_META_IIFNAME`.
    InterfaceName,
    /// `NFT_META_OIF`, `NFT_META_OIFNAME`: what comes in has none.
    Outward,
    Protocol,
    /// Addresses of IPv4 and IPv6.
    Source,
    Port,
    /// Source and destination.
    Ports,
    Flags(u8),
    State(u32),
}

/// What becomes of a packet that a rule is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum To {
    Accept,
    /// Dropped, or it leaves the chain.
    Drop,
    Chain(String),
}

/// A rule with a verdict.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) family: u8,
    pub(super) table: String,
    pub(super) chain: String,
    pub(super) class: Class,
    pub(super) to: To,
    /// The map that has its verdicts, by connection tracking's states.
    pub(super) states: Option<String>,
}

/// Reads a rule's message. `None`: it has no verdict.
#[inline(never)]
pub(super) fn rule(body: &[u8]) -> Option<Rule> {
    let family = *body.first()?;
    let rule = body.get(4..)?;
    let mut conditions = Conditions::default();
    let mut to = None;
    let (mut states, mut verdicts) = (None, 0);
    for (_, expression) in attributes(attribute(rule, super::RULE_EXPRESSIONS)?) {
        let data = attribute(expression, super::EXPRESSION_DATA).unwrap_or_default();
        let register = attribute(data, 1).and_then(number);
        match attribute(expression, super::EXPRESSION_NAME)? {
            b"immediate\0" if register == Some(REGISTER_OF_VERDICTS) => {
                verdicts += 1;
                let verdict = attribute(data, 2).and_then(|data| attribute(data, 2));
                let verdict = verdict.unwrap_or_default();
                to = match attribute(verdict, 1).and_then(number) {
                    Some(ACCEPT) => Some(To::Accept),
                    Some(code) if JUMPS.contains(&code) => Some(To::Chain(name(verdict, 2))),
                    Some(CONTINUE) => to,
                    _ => Some(To::Drop),
                };
            }
            b"reject\0" | b"synproxy\0" => to = Some(To::Drop),
            // A program decides; a map has verdicts.
            b"queue\0" => {
                to = Some(To::Accept);
                conditions.narrowed = true;
                verdicts += 1;
            }
            b"lookup\0" if attribute(data, 3).and_then(number) == Some(REGISTER_OF_VERDICTS) => {
                to = Some(To::Accept);
                conditions.narrowed = true;
                verdicts += 1;
                let state = conditions.key(attribute(data, 2).and_then(number)) == Some(Key::State(u32::MAX));
                states = state.then(|| name(data, 1));
            }
            b"counter\0" | b"log\0" => {}
            b"limit\0" | b"lookup\0" => conditions.narrowed = true,
            b"cmp\0" => conditions.compare(data),
            kind => conditions.load(kind, data),
        }
    }
    let to = to?;
    // Such packets open no connection, and are nobody's loss.
    conditions.nobody |= to == To::Drop && conditions.invalid;
    Some(Rule {
        family,
        table: name(rule, super::RULE_TABLE),
        chain: name(rule, super::RULE_CHAIN),
        class: conditions.class(),
        to,
        // What follows it is another matter.
        states: states.filter(|_| verdicts == 1),
    })
}

/// Whether a map of states takes answers alone, and hands nothing on.
pub(super) fn takes_answers(answer: &[u8]) -> bool {
    let lists = messages(answer)
        .filter(|(kind, _)| *kind == super::NEW_ELEMENTS)
        .filter_map(|(_, body)| attribute(body.get(4..)?, 3));
    let mut seen = false;
    for (_, element) in lists.flat_map(attributes) {
        seen = true;
        let value = |kind, inner| attribute(element, kind).and_then(|data| attribute(data, inner));
        let state = value(1, 1).and_then(|key| word(key, 0)).unwrap_or(u32::MAX);
        let code = value(2, 2)
            .and_then(|verdict| attribute(verdict, 1))
            .and_then(number);
        if code != Some(DROP) && (code != Some(ACCEPT) || state & !ANSWERS != 0) {
            return false;
        }
    }
    seen
}

/// What the conditions of a rule leave.
#[derive(Debug, Default)]
struct Conditions {
    registers: Vec<(u32, Key)>,
    nobody: bool,
    /// What belongs to no connection alone.
    invalid: bool,
    /// Something else is asked for, too.
    narrowed: bool,
    protocol: u8,
    port: Option<u16>,
}

impl Conditions {
    fn class(&self) -> Class {
        match (self.nobody, self.port) {
            (true, _) => Class::Nobody,
            (false, Some(port)) => Class::Port(self.protocol, port, !self.narrowed),
            (false, None) => Class::Anybody,
        }
    }

    fn key(&self, register: Option<u32>) -> Option<Key> {
        let found = self
            .registers
            .iter()
            .rev()
            .find(|(have, _)| Some(*have) == register);
        found.map(|(_, key)| *key)
    }

    #[inline(never)]
    fn load(&mut self, kind: &[u8], data: &[u8]) {
        let field = |kind| attribute(data, kind).and_then(number);
        let (register, key) = match kind {
            b"meta\0" => (
                field(1),
                match field(2) {
                    Some(4) => Some(Key::Interface),
                    Some(6) => Some(Key::InterfaceName),
                    Some(5 | 7) => Some(Key::Outward),
                    Some(16) => Some(Key::Protocol),
                    _ => None,
                },
            ),
            b"payload\0" => (
                field(1),
                match (field(2), field(3), field(4)) {
                    (Some(1), Some(9), Some(1)) => Some(Key::Protocol),
                    (Some(1), Some(12), Some(4)) | (Some(1), Some(8), Some(16)) => Some(Key::Source),
                    (Some(2), Some(2), Some(2)) => Some(Key::Port),
                    (Some(2), Some(0), Some(4)) => Some(Key::Ports),
                    (Some(2), Some(13), Some(1)) => Some(Key::Flags(u8::MAX)),
                    _ => None,
                },
            ),
            b"ct\0" => (field(1), (field(2) == Some(0)).then_some(Key::State(u32::MAX))),
            b"bitwise\0" => {
                let value = |kind| attribute(data, kind).and_then(|data| attribute(data, 1));
                let mask = value(4).unwrap_or_default();
                // What is turned round, or shifted, is another matter.
                let plain = value(5).is_some_and(|flip| flip.iter().all(|byte| *byte == 0))
                    && field(6).unwrap_or(0) == 0;
                let key = match (self.key(field(1)).filter(|_| plain), mask) {
                    (Some(Key::Flags(_)), [mask]) => Some(Key::Flags(*mask)),
                    (Some(Key::State(_)), mask) => word(mask, 0).map(Key::State),
                    _ => None,
                };
                (field(2), key)
            }
            // It may write to any register, and ask for anything.
            _ => {
                self.narrowed |= kind != b"immediate\0";
                (None, None)
            }
        };
        match register {
            Some(register) => self.registers.retain(|(have, _)| *have != register),
            None => self.registers.clear(),
        }
        self.registers
            .extend(register.and_then(|register| Some((register, key?))));
    }

    #[inline(never)]
    fn compare(&mut self, data: &[u8]) {
        let field = |kind| attribute(data, kind).and_then(number);
        let value = attribute(data, 3).and_then(|data| attribute(data, 1));
        let (Some(key), Some(value)) = (self.key(field(1)), value) else {
            self.narrowed = true;
            return;
        };
        let (equal, other) = (field(2) == Some(EQUAL), field(2) == Some(NOT_EQUAL));
        // Whether the first packet of whoever comes is as asked for.
        let mut all = equal;
        match key {
            // The loopback interface has the number 1 everywhere.
            Key::Interface => self.nobody |= equal && value == 1u32.to_ne_bytes(),
            Key::InterfaceName => self.nobody |= equal && value.starts_with(b"lo\0"),
            Key::Outward | Key::Source => self.nobody |= equal,
            Key::Protocol if equal => {
                self.protocol = value.first().copied().unwrap_or(0);
                self.nobody |= NO_SERVICE.contains(&self.protocol);
            }
            Key::Port if equal => self.port = big(value),
            Key::Ports if equal => self.port = value.get(2..).and_then(big),
            Key::Flags(mask) => {
                self.nobody |= other && (mask, value) == (SYN_ALONE.0, &[SYN_ALONE.1]);
                all &= value == [SYN_ALONE.1];
            }
            Key::State(u32::MAX) => {
                let state = word(value, 0).unwrap_or(u32::MAX);
                self.nobody |= equal && state != 0 && state & !ANSWERS == 0;
                self.invalid |= equal && state == INVALID;
                all &= state == NEW;
            }
            Key::State(mask) => {
                let any = other && value.iter().all(|byte| *byte == 0);
                self.nobody |= any && mask & !ANSWERS == 0;
                self.invalid |= any && mask == INVALID;
                all = any && mask & NEW != 0;
            }
            Key::Protocol | Key::Port | Key::Ports => {}
        }
        let whole = !matches!(
            key,
            Key::Interface | Key::InterfaceName | Key::Outward | Key::Source | Key::Ports
        );
        self.narrowed |= !(all && whole);
    }
}

fn big(bytes: &[u8]) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.try_into().ok()?))
}

/// Of an entry of iptables: what it asks of the packet itself, and the matches up to its target; whether that drops.
#[inline(never)]
pub(super) fn entry(entry: &[u8], v6: bool, matches: &[u8], drops: bool) -> Class {
    // struct ipt_ip or ip6t_ip6: addresses, masks, interfaces, their masks, protocol, flags, inversions.
    let address = if v6 { 16 } else { 4 };
    let part = |from: usize, length: usize| entry.get(from..from + length).unwrap_or_default();
    let interfaces = 4 * address;
    let inverted = entry.get(interfaces + if v6 { 68 } else { 67 }) != Some(&0);
    let protocol = half(entry, interfaces + 64).unwrap_or(0);
    let all = |bytes: &[u8], wanted: u8| !bytes.is_empty() && bytes.iter().all(|byte| *byte == wanted);
    let mut conditions = Conditions {
        protocol: u8::try_from(protocol).unwrap_or(0),
        ..Conditions::default()
    };
    let lo = part(interfaces, 3) == b"lo\0" && all(part(interfaces + 32, 3), u8::MAX);
    let outward = !all(part(interfaces + 16, 16), 0);
    conditions.nobody = lo
        || outward
        || all(part(2 * address, address), u8::MAX)
        || NO_SERVICE.iter().any(|known| u16::from(*known) == protocol);
    if inverted {
        conditions = Conditions::default();
    }
    // IP6T_F_PROTO says nothing more; no other flag is known here.
    let flags = entry
        .get(interfaces + if v6 { 67 } else { 66 })
        .map(|flags| flags & !u8::from(v6));
    conditions.narrowed = inverted || flags != Some(0) || !all(part(0, interfaces + 64), 0);
    let mut rest = matches;
    // struct xt_entry_match: size, name, revision, data.
    while let Some(size) = half(rest, 0).map(usize::from).filter(|size| *size >= 32) {
        let Some(one) = rest.get(..size) else { break };
        let (name, data) = (
            one.get(2..31).unwrap_or_default(),
            one.get(32..).unwrap_or_default(),
        );
        conditions.matching(name, one.get(31).copied().unwrap_or(0), data, inverted);
        rest = rest.get(size..).unwrap_or_default();
    }
    conditions.nobody |= drops && conditions.invalid;
    conditions.class()
}

impl Conditions {
    #[inline(never)]
    fn matching(&mut self, name: &[u8], revision: u8, data: &[u8], inverted: bool) {
        let is = |wanted: &[u8]| name.starts_with(wanted);
        let port = |inversions: usize| {
            let exact = half(data, 4).filter(|first| half(data, 6) == Some(*first));
            exact.filter(|_| data.get(inversions).is_some_and(|bits| bits & 2 == 0))
        };
        // Whether the first packet of whoever comes is as asked for.
        let mut all = half(data, 0) == Some(0) && half(data, 2) == Some(u16::MAX);
        if is(b"tcp\0") {
            // struct xt_tcp: two ranges of ports, the option, the flags' mask and value, inversions.
            let port = port(11);
            self.port = port.or(self.port);
            let flags = data.get(9..12).unwrap_or_default();
            self.nobody |=
                matches!(flags, [mask, value, bits] if (*mask, *value) == SYN_ALONE && bits & 4 != 0);
            let first = matches!(flags, [0, 0, 0] | [_, 2, 0]);
            all &= port.is_some() && data.get(8) == Some(&0) && first;
        } else if is(b"udp\0") {
            let port = port(8);
            self.port = port.or(self.port);
            all &= port.is_some() && data.get(8) == Some(&0);
        } else if is(b"state\0") {
            let mask = word(data, 0).unwrap_or(u32::MAX);
            all = self.states(mask);
        } else if is(b"conntrack\0") && revision > 0 {
            // struct xt_conntrack_mtinfo: after addresses, times and ports.
            let mask = match revision {
                1 => data.get(150).map(|mask| u16::from(*mask)),
                _ => half(data, 150),
            };
            let turned = half(data, 148).is_none_or(|flags| flags & 1 != 0);
            let asked = half(data, 146).filter(|flags| flags & 1 != 0 && !turned);
            let new = asked.is_some() && self.states(mask.map_or(u32::MAX, u32::from));
            all = new && asked == Some(1);
        } else {
            all = is(b"comment\0");
        }
        self.narrowed |= !all;
        // A protocol that it is not says nothing of ports.
        if inverted {
            self.protocol = 0;
        }
    }

    /// Takes in which states are asked for; says whether a connection's first packet has one of them.
    fn states(&mut self, mask: u32) -> bool {
        self.nobody |= mask & !ANSWERS == 0;
        self.invalid |= mask == INVALID;
        mask & NEW != 0
    }
}
