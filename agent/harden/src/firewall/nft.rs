//! Rules as nf_tables reads and shows them: netlink messages of `NFNL_SUBSYS_NFTABLES` (`linux/netfilter/nf_tables.h`).
//!
//! One table of the `inet` family with two chains is replaced as a whole, in one batch. The kernel takes a batch or
//! leaves it; one without its end is judged and left, which is how abilities are found out.

use super::NAME;
use super::rule::{ANY_PORT, Family, Rule, Rules};

const NLMSG_HEADER: usize = 16;
const NFGEN_HEADER: usize = 4;
const ATTRIBUTE_HEADER: usize = 4;
const NESTED: u16 = 0x8000;
const KIND_MASK: u16 = 0x3fff;
/// The deepest nesting of attributes that is looked into.
const MAX_DEPTH: usize = 8;
/// The most messages of one answer that are looked at.
pub const MAX_MESSAGES: usize = 4096;

const REQUEST: u16 = 1;
pub(super) const ACK: u16 = 4;
pub(super) const DUMP: u16 = 0x300;
pub(super) const CREATE: u16 = 0x400;
const APPEND: u16 = 0x800;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const SUBSYSTEM: u16 = 10;
const fn nft(message: u16) -> u16 {
    SUBSYSTEM << 8 | message
}
const NEW_TABLE: u16 = nft(0);
const GET_TABLE: u16 = nft(1);
const DELETE_TABLE: u16 = nft(2);
const NEW_CHAIN: u16 = nft(3);
const GET_CHAIN: u16 = nft(4);
const NEW_RULE: u16 = nft(6);
const GET_RULE: u16 = nft(7);

const INET: u8 = 1;
/// `struct nfgenmsg` of a batch, and of all else.
const BATCH: [u8; NFGEN_HEADER] = [0, 0, 0, SUBSYSTEM as u8];
const TABLES: [u8; NFGEN_HEADER] = [INET, 0, 0, 0];
/// After connection tracking, before a firewall of the firmware's.
pub(super) const PRIORITY: i32 = -10;
/// `NF_INET_LOCAL_IN` and `NF_INET_LOCAL_OUT`.
const CHAINS: [(&str, u32); 2] = [("in", 1), ("out", 3)];
const DROP: u32 = 0;
const ACCEPT: u32 = 1;
/// The register that verdicts go to, and the one that is compared.
const VERDICT: u32 = 0;
const REGISTER: u32 = 1;
const EQUAL: u32 = 0;
const NOT_EQUAL: u32 = 1;
const AT_MOST: u32 = 3;
const AT_LEAST: u32 = 5;
const NETWORK: u32 = 1;
const TRANSPORT: u32 = 2;
const META_IIF: u32 = 4;
const META_OIF: u32 = 5;
const META_SKUID: u32 = 10;
const META_NFPROTO: u32 = 15;
const META_L4PROTO: u32 = 16;
/// `lo` has this number in every network namespace.
const LOOPBACK_INDEX: u32 = 1;
/// Established and related, as bits of the state.
pub(super) const ESTABLISHED: u32 = 2 | 4;

/// A value in an expression.
#[derive(Clone, Copy)]
enum Value<'a> {
    Number(u32),
    /// A number that the kernel keeps in 64 bits.
    Wide(u16),
    /// What is compared, in the order of the network.
    Data(&'a [u8]),
    Verdict(u32),
}

/// Attributes of netlink, as they are written.
#[derive(Default)]
pub(super) struct Attributes(pub(super) Vec<u8>);

impl Attributes {
    pub(super) fn put(&mut self, kind: u16, payload: &[u8]) {
        let at = self.open(kind);
        self.0.extend_from_slice(payload);
        self.close(at);
    }

    fn number(&mut self, kind: u16, value: u32) {
        self.put(kind, &value.to_be_bytes());
    }

    fn text(&mut self, kind: u16, text: &str) {
        let mut bytes = text.as_bytes().to_vec();
        bytes.push(0);
        self.put(kind, &bytes);
    }

    fn open(&mut self, kind: u16) -> usize {
        let at = self.0.len();
        self.0.extend_from_slice(&[0, 0]);
        self.0.extend_from_slice(&kind.to_ne_bytes());
        at
    }

    /// The length counts the header, and not what fills up to four bytes.
    fn close(&mut self, at: usize) {
        let length = (self.0.len() - at) as u16;
        self.0[at..at + 2].copy_from_slice(&length.to_ne_bytes());
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }

    /// An expression: its name, and what it works with.
    fn expression(&mut self, name: &str, values: &[(u16, Value<'_>)]) {
        let element = self.open(1 | NESTED);
        self.text(1, name);
        let all = self.open(2 | NESTED);
        for (kind, value) in values {
            match value {
                Value::Number(number) => self.number(*kind, *number),
                Value::Wide(number) => self.put(*kind, &u64::from(*number).to_be_bytes()),
                Value::Data(bytes) => {
                    let data = self.open(kind | NESTED);
                    self.put(1, bytes);
                    self.close(data);
                }
                Value::Verdict(code) => {
                    let data = self.open(kind | NESTED);
                    let verdict = self.open(2 | NESTED);
                    self.number(1, *code);
                    self.close(verdict);
                    self.close(data);
                }
            }
        }
        self.close(all);
        self.close(element);
    }

    fn meta(&mut self, key: u32, value: &[u8]) {
        self.expression("meta", &[(1, Value::Number(REGISTER)), (2, Value::Number(key))]);
        self.compare(EQUAL, value);
    }

    fn payload(&mut self, base: u32, offset: usize, length: usize) {
        let numbers = [REGISTER, base, offset as u32, length as u32];
        let [register, base, offset, length] = numbers.map(Value::Number);
        self.expression("payload", &[(1, register), (2, base), (3, offset), (4, length)]);
    }

    fn mask(&mut self, mask: &[u8]) {
        let [from, to, length] = [REGISTER, REGISTER, mask.len() as u32].map(Value::Number);
        let flip = Value::Data(&[0; 16][..mask.len()]);
        self.expression(
            "bitwise",
            &[(1, from), (2, to), (3, length), (4, Value::Data(mask)), (5, flip)],
        );
    }

    fn compare(&mut self, operator: u32, value: &[u8]) {
        let [register, operator] = [REGISTER, operator].map(Value::Number);
        self.expression("cmp", &[(1, register), (2, operator), (3, Value::Data(value))]);
    }

    /// The form that `nft` gives a rule, so that one that it loaded from text is recognised.
    fn rule(&mut self, rule: &Rule, input: bool) {
        if rule.loopback {
            let key = if input { META_IIF } else { META_OIF };
            self.meta(key, &LOOPBACK_INDEX.to_ne_bytes());
        }
        match rule.family() {
            Some(Family::V4) => self.meta(META_NFPROTO, &[2]),
            Some(Family::V6) => self.meta(META_NFPROTO, &[10]),
            None => {}
        }
        if let Some(protocol) = rule.protocol {
            self.meta(META_L4PROTO, &[protocol]);
        }
        if let Some(net) = rule.remote.filter(|net| net.prefix > 0) {
            let (address, mask) = net.bytes();
            let offset = match (address.len(), input) {
                (4, true) => 12,
                (4, false) => 16,
                (_, true) => 8,
                (_, false) => 24,
            };
            let whole = usize::from(net.prefix / 8);
            if net.prefix % 8 == 0 {
                self.payload(NETWORK, offset, whole);
                self.compare(EQUAL, &address[..whole]);
            } else {
                self.payload(NETWORK, offset, address.len());
                self.mask(&mask);
                self.compare(EQUAL, &address);
            }
        }
        self.ports(rule, input);
        if let Some(flags) = rule.flags {
            self.payload(TRANSPORT, 13, 1);
            self.mask(&[flags.mask]);
            let operator = if flags.inverted { NOT_EQUAL } else { EQUAL };
            self.compare(operator, &[flags.value]);
        }
        if let Some(icmp) = rule.icmp {
            self.payload(TRANSPORT, 0, 1);
            self.compare(EQUAL, &[icmp]);
        }
        if rule.established {
            self.expression("ct", &[(1, Value::Number(REGISTER)), (2, Value::Number(0))]);
            self.mask(&ESTABLISHED.to_ne_bytes());
            self.compare(NOT_EQUAL, &[0; 4]);
        }
        if let Some(uid) = rule.uid {
            self.meta(META_SKUID, &uid.to_ne_bytes());
        }
        if let Some((rate, burst)) = rule.limit {
            let (rate, burst) = (Value::Wide(rate), Value::Number(burst.into()));
            self.expression("limit", &[(1, rate), (2, Value::Wide(1)), (3, burst)]);
        }
        self.expression("counter", &[]);
        let code = if rule.accept { ACCEPT } else { DROP };
        self.expression(
            "immediate",
            &[(1, Value::Number(VERDICT)), (2, Value::Verdict(code))],
        );
    }

    fn ports(&mut self, rule: &Rule, input: bool) {
        let (source, destination) = if input {
            (rule.remote_port, rule.local_port)
        } else {
            (rule.local_port, rule.remote_port)
        };
        let exact = |(first, last): (u16, u16)| first == last;
        if exact(source) && exact(destination) {
            self.payload(TRANSPORT, 0, 4);
            let [a, b] = source.0.to_be_bytes();
            let [c, d] = destination.0.to_be_bytes();
            return self.compare(EQUAL, &[a, b, c, d]);
        }
        for (range, offset) in [(source, 0), (destination, 2)] {
            if range == ANY_PORT {
                continue;
            }
            self.payload(TRANSPORT, offset, 2);
            if exact(range) {
                self.compare(EQUAL, &range.0.to_be_bytes());
                continue;
            }
            if range.0 > 0 {
                self.compare(AT_LEAST, &range.0.to_be_bytes());
            }
            if range.1 < u16::MAX {
                self.compare(AT_MOST, &range.1.to_be_bytes());
            }
        }
    }
}

fn chain_attributes((name, hook): (&str, u32)) -> Vec<u8> {
    let mut attributes = Attributes::default();
    attributes.text(1, NAME);
    attributes.text(3, name);
    let place = attributes.open(4 | NESTED);
    attributes.number(1, hook);
    attributes.put(2, &PRIORITY.to_be_bytes());
    attributes.close(place);
    attributes.number(5, DROP);
    attributes.text(7, "filter");
    attributes.0
}

fn rule_attributes(rule: &Rule, chain: usize) -> Vec<u8> {
    let mut attributes = Attributes::default();
    attributes.text(1, NAME);
    attributes.text(2, CHAINS[chain].0);
    let list = attributes.open(4 | NESTED);
    attributes.rule(rule, chain == 0);
    attributes.close(list);
    attributes.0
}

fn all_rules(rules: &Rules) -> impl Iterator<Item = Vec<u8>> {
    let input = rules.input.iter().map(|rule| rule_attributes(rule, 0));
    input.chain(rules.output.iter().map(|rule| rule_attributes(rule, 1)))
}

/// Messages of netlink, numbered from 1.
#[derive(Default)]
pub(super) struct Messages {
    pub(super) bytes: Vec<u8>,
    sequence: u32,
    last: usize,
}

impl Messages {
    /// Adds a message: `head` is what its kind begins with.
    pub(super) fn push(&mut self, kind: u16, flags: u16, head: &[u8], attributes: &[u8]) {
        self.sequence += 1;
        self.last = self.bytes.len();
        let length = (NLMSG_HEADER + head.len() + attributes.len()) as u32;
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(&(REQUEST | flags).to_ne_bytes());
        self.bytes.extend_from_slice(&self.sequence.to_ne_bytes());
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(head);
        self.bytes.extend_from_slice(attributes);
    }

    fn begin() -> Self {
        let mut messages = Self::default();
        messages.push(BATCH_BEGIN, 0, &BATCH, &[]);
        messages
    }

    /// The table is made first, so that there is one to delete.
    fn delete(&mut self) {
        let mut table = Attributes::default();
        table.text(1, NAME);
        self.push(NEW_TABLE, CREATE, &TABLES, &table.0);
        self.push(DELETE_TABLE, 0, &TABLES, &table.0);
    }

    /// The last message is answered in any case; with `commit`, what stands before it is done.
    fn finish(mut self, commit: bool) -> Vec<u8> {
        let flags = self.last + 6;
        if let Some(flags) = self.bytes.get_mut(flags..flags + 2) {
            let with_ack = u16::from_ne_bytes([flags[0], flags[1]]) | ACK;
            flags.copy_from_slice(&with_ack.to_ne_bytes());
        }
        if commit {
            self.push(BATCH_END, 0, &BATCH, &[]);
        }
        self.bytes
    }
}

/// A batch that replaces our table, or, without `commit`, only has the kernel judge it.
#[must_use]
pub fn replace(rules: &Rules, commit: bool) -> Vec<u8> {
    let mut messages = Messages::begin();
    messages.delete();
    let mut table = Attributes::default();
    table.text(1, NAME);
    messages.push(NEW_TABLE, CREATE, &TABLES, &table.0);
    for chain in CHAINS {
        messages.push(NEW_CHAIN, CREATE, &TABLES, &chain_attributes(chain));
    }
    for rule in all_rules(rules) {
        messages.push(NEW_RULE, CREATE | APPEND, &TABLES, &rule);
    }
    messages.finish(commit)
}

/// A batch that removes our table, whether there is one or not.
#[must_use]
pub fn remove() -> Vec<u8> {
    let mut messages = Messages::begin();
    messages.delete();
    messages.finish(true)
}

/// The questions that [`read`] takes the answers of: tables and chains, which it takes together, and rules.
#[must_use]
pub fn questions() -> [Vec<u8>; 3] {
    let mut table = Attributes::default();
    table.text(1, NAME);
    [(GET_TABLE, &[][..]), (GET_CHAIN, &[]), (GET_RULE, &table.0)].map(|(kind, attributes)| {
        let mut messages = Messages::default();
        messages.push(kind, DUMP, &TABLES, attributes);
        messages.bytes
    })
}

/// How an answer ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// More is to come.
    Open,
    /// All is said, or done.
    Done,
    /// A message was refused, with this error number.
    Refused(i32),
}

/// Looks for the end of an answer. An error counts more than what else was said.
#[must_use]
pub fn end(answer: &[u8]) -> End {
    let mut end = End::Open;
    for (kind, body) in messages(answer) {
        let code = body.get(..4).and_then(|code| code.try_into().ok());
        match (kind, code.map(i32::from_ne_bytes)) {
            (NLMSG_ERROR, Some(0)) => end = End::Done,
            (NLMSG_ERROR, Some(code)) => return End::Refused(code.saturating_neg()),
            (NLMSG_DONE, Some(code)) if code < 0 => return End::Refused(code.saturating_neg()),
            (NLMSG_DONE, _) => end = End::Done,
            _ => {}
        }
    }
    end
}

/// What the kernel has of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// Nothing.
    Absent,
    /// Something else than these rules.
    Different,
    /// These rules; and the packets that were dropped coming in and going out.
    Same {
        /// Dropped coming in.
        dropped_in: u64,
        /// Dropped going out.
        dropped_out: u64,
    },
}

/// Compares the answers to the [`questions`] with rules. A table with a flag is not ours as it was: a dormant one's chains
/// are there and filter nothing.
#[must_use]
pub fn read(chains: &[u8], dumped: &[u8], rules: &Rules) -> Found {
    let ours = |kind: u16, answer| -> Vec<&[u8]> {
        messages(answer)
            .filter(|(have, _)| *have == kind)
            .filter_map(|(_, body)| match body {
                [INET, _, _, _, attributes @ ..] => Some(attributes),
                _ => None,
            })
            .filter(|attributes| named(attributes, NAME))
            .collect()
    };
    let awake = |table: &&[u8]| attributes(table).any(|found| found == (2, &[0; 4]));
    let awake = ours(NEW_TABLE, chains).iter().any(awake);
    let (chains, dumped) = (ours(NEW_CHAIN, chains), ours(NEW_RULE, dumped));
    if chains.is_empty() && dumped.is_empty() {
        return Found::Absent;
    }
    let expected: Vec<Vec<u8>> = all_rules(rules).collect();
    let same = awake
        && chains.len() == CHAINS.len()
        && CHAINS
            .iter()
            .zip(&chains)
            .all(|(chain, have)| covers(&chain_attributes(*chain), have, 0))
        && dumped.len() == expected.len()
        && expected
            .iter()
            .zip(&dumped)
            .all(|(rule, have)| covers(rule, have, 0));
    if !same {
        return Found::Different;
    }
    let packets = |at: usize| dumped.get(at).map_or(0, |rule| packets(rule));
    Found::Same {
        dropped_in: packets(rules.input.len().wrapping_sub(1)),
        dropped_out: packets(expected.len().wrapping_sub(1)),
    }
}

fn named(attributes_: &[u8], name: &str) -> bool {
    let table = attributes(attributes_).find(|(kind, _)| *kind == 1);
    table.is_some_and(|(_, text)| text.strip_suffix(&[0]) == Some(name.as_bytes()))
}

/// Whether all that is expected is there. The kernel adds handles, positions and counts; it adds nothing to a list.
fn covers(expected: &[u8], have: &[u8], depth: usize) -> bool {
    if depth == MAX_DEPTH {
        return false;
    }
    let of_kind = |bytes, kind| attributes(bytes).filter(move |(have, _)| *have == kind);
    attributes(expected).enumerate().all(|(at, (kind, value))| {
        let nth = attributes(expected)
            .take(at)
            .filter(|(other, _)| *other == kind)
            .count();
        let list = of_kind(expected, kind).count();
        let Some((_, found)) = of_kind(have, kind).nth(nth) else {
            return false;
        };
        if of_kind(have, kind).count() != list {
            return false;
        }
        match is_nested(expected, at) {
            true => covers(value, found, depth + 1),
            false => value == found,
        }
    })
}

fn is_nested(bytes: &[u8], at: usize) -> bool {
    raw_attributes(bytes)
        .nth(at)
        .is_some_and(|(kind, _)| kind & NESTED != 0)
}

/// The packets that a rule's counter has seen.
fn packets(rule: &[u8]) -> u64 {
    let inside = |bytes, kind| {
        attributes(bytes)
            .find(move |(have, _)| *have == kind)
            .map(|(_, value)| value)
    };
    let elements = attributes(inside(rule, 4).unwrap_or_default());
    let counter = elements
        .map(|(_, element)| element)
        .find(|element| named(element, "counter"));
    counter
        .and_then(|element| inside(inside(element, 2)?, 2))
        .and_then(|packets| Some(u64::from_be_bytes(packets.try_into().ok()?)))
        .unwrap_or(0)
}

/// Kind and value of each attribute.
pub fn attributes(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    raw_attributes(bytes).map(|(kind, value)| (kind & KIND_MASK, value))
}

fn raw_attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    core::iter::from_fn(move || {
        let [a, b, c, d, ..] = *bytes else {
            return None;
        };
        let length = usize::from(u16::from_ne_bytes([a, b]));
        let value = bytes.get(ATTRIBUTE_HEADER..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((u16::from_ne_bytes([c, d]), value))
    })
}

/// Kind and body of each message.
pub fn messages(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let all = core::iter::from_fn(move || {
        let [a, b, c, d, e, f, ..] = *bytes else {
            return None;
        };
        let length = u32::from_ne_bytes([a, b, c, d]) as usize;
        let body = bytes.get(NLMSG_HEADER..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((u16::from_ne_bytes([e, f]), body))
    });
    all.take(MAX_MESSAGES)
}
