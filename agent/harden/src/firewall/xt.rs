//! Rules as iptables' kernel half keeps them: the filter table of `ip_tables` and `ip6_tables` as one block of entries
//! (`linux/netfilter_ipv4/ip_tables.h`, `linux/netfilter_ipv6/ip6_tables.h`, `linux/netfilter/x_tables.h`).
//!
//! The block is read, our two chains and the jumps to them are taken out or put in, and the whole goes back. All other
//! entries stay as they are and keep their counters. What we let pass returns to the firmware's own rules.

use super::nft::{ESTABLISHED, Found};
use super::rule::{ANY_PORT, Family, ICMP, ICMPV6, Rule, Rules, TCP};

/// The length of names of tables, and of `struct xt_counters`.
const NAME_BYTES: usize = 32;
const COUNTER_BYTES: usize = 16;
const TABLE: &[u8] = b"filter";
/// The length of `struct ipt_getinfo`.
pub const INFO_BYTES: usize = 84;
/// The largest table that is worked on.
pub const MAX_TABLE_BYTES: usize = 1 << 20;
/// Where `struct ipt_replace` has the address that the old counters are written to.
const COUNTERS_AT: usize = 88;
const REPLACE_BYTES: usize = COUNTERS_AT + 8;
const HOOKS: usize = 5;
/// `NF_INET_LOCAL_IN` and `NF_INET_LOCAL_OUT`, and our chains for them.
const CHAINS: [(usize, &[u8]); 2] = [(1, b"lenscap-in"), (3, b"lenscap-out")];
/// The header of a match or target: its size, its name and its revision.
const HEADER: usize = 32;
/// The name of a target that begins a chain, or ends the table.
const ERROR: &[u8] = b"ERROR";
const VERDICT_DROP: i32 = -1;
const VERDICT_RETURN: i32 = -5;

/// How this processor lays structures out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// What a number of 64 bits is aligned to; 4 on i386 alone.
    pub align: usize,
    /// The bytes of a `long`, and of an address.
    pub long: usize,
}

impl Layout {
    /// This processor's.
    pub const NATIVE: Self = Self {
        align: align_of::<u64>(),
        long: size_of::<usize>(),
    };

    fn entry(self, family: Family) -> (usize, usize) {
        let ip = match family {
            Family::V4 => 84,
            Family::V6 => 136,
        };
        // After the addresses: nfcache, two offsets, comefrom; then the counters.
        (ip, (ip + 12).next_multiple_of(self.align))
    }

    /// The bytes before the entries in `struct ipt_get_entries`.
    #[must_use]
    pub fn entries_at(self) -> usize {
        (NAME_BYTES + 4).next_multiple_of(self.align)
    }

    fn replace_header(self) -> usize {
        (COUNTERS_AT + self.long)
            .next_multiple_of(self.align)
            .min(REPLACE_BYTES)
    }
}

/// The names of matches beyond the least, with their revisions: how abilities are asked for.
pub const MATCHES: [(&str, u8); 3] = [("conntrack", 3), ("owner", 1), ("limit", 0)];

/// A filter table as it is.
#[derive(Debug, Clone)]
pub struct Table {
    family: Family,
    layout: Layout,
    valid_hooks: u32,
    hooks: [u32; HOOKS],
    underflows: [u32; HOOKS],
    entries: Vec<Entry>,
}

#[derive(Debug, Clone)]
struct Entry {
    bytes: Vec<u8>,
    /// Where it stood, if it comes from the kernel.
    old: Option<u32>,
    /// Where it jumps to.
    jump: Jump,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Jump {
    None,
    /// To what stood there.
    Old(u32),
    /// To one of our chains.
    Ours(usize),
}

/// A table that is to be put in place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replacement {
    /// `struct ipt_replace`, without the address that the old counters go to.
    pub block: Vec<u8>,
    /// The entries of the old table: so many counters the kernel gives back.
    old_entries: usize,
    /// For each new entry, the old one whose counters it keeps.
    counters_of: Vec<Option<usize>>,
    layout: Layout,
}

impl Replacement {
    /// The room that the kernel needs for the old table's counters.
    #[must_use]
    pub fn old_counter_bytes(&self) -> usize {
        self.old_entries * COUNTER_BYTES
    }

    /// `struct xt_counters_info`: what the entries had counted before, as the kernel gave it back.
    #[must_use]
    pub fn counters(&self, old: &[u8]) -> Vec<u8> {
        let mut bytes = name(TABLE, NAME_BYTES);
        bytes.extend_from_slice(&(self.counters_of.len() as u32).to_ne_bytes());
        bytes.resize(bytes.len().next_multiple_of(self.layout.align), 0);
        for of in &self.counters_of {
            let counter = of.and_then(|at| old.get(at * COUNTER_BYTES..(at + 1) * COUNTER_BYTES));
            bytes.extend_from_slice(counter.unwrap_or(&[0; COUNTER_BYTES]));
        }
        bytes
    }
}

/// A question for the table: `struct ipt_getinfo`, empty but for the name.
#[must_use]
pub fn info_request() -> Vec<u8> {
    name(TABLE, INFO_BYTES)
}

/// A question for the entries: `struct ipt_get_entries` with room for as many bytes as the table has. `None`: no table
/// of the size that `info` tells is worked on.
#[must_use]
pub fn entries_request(info: &[u8], layout: Layout) -> Option<Vec<u8>> {
    let size = number(info, INFO_BYTES - 4)? as usize;
    if size > MAX_TABLE_BYTES {
        return None;
    }
    let mut bytes = name(TABLE, NAME_BYTES);
    bytes.extend_from_slice(&(size as u32).to_ne_bytes());
    bytes.resize(layout.entries_at() + size, 0);
    Some(bytes)
}

/// A question for a match: `struct xt_get_revision`.
#[must_use]
pub fn revision_request((match_name, revision): (&str, u8)) -> Vec<u8> {
    let mut bytes = name(match_name.as_bytes(), 29);
    bytes.push(revision);
    bytes
}

impl Table {
    /// Takes the answers to [`info_request`] and [`entries_request`]. `None`: they are not as the kernel makes them.
    #[must_use]
    pub fn parse(family: Family, layout: Layout, info: &[u8], answer: &[u8]) -> Option<Self> {
        let all = answer.get(layout.entries_at()..)?;
        let (ip, counters) = layout.entry(family);
        let mut entries = Vec::new();
        let mut at = 0;
        while at < all.len() {
            let target = usize::from(half(all, at + ip + 4)?);
            let next = usize::from(half(all, at + ip + 6)?);
            if target < counters + COUNTER_BYTES || next < target + HEADER {
                return None;
            }
            let bytes = all.get(at..at + next)?;
            let standard = bytes.get(target + 2)? == &0;
            let verdict = if standard {
                signed(bytes, target + HEADER)?
            } else {
                -1
            };
            entries.push(Entry {
                bytes: bytes.to_vec(),
                old: Some(at as u32),
                jump: u32::try_from(verdict).map_or(Jump::None, Jump::Old),
            });
            at += next;
        }
        let words = |at: usize| {
            let mut words = [0; HOOKS];
            for (index, word) in words.iter_mut().enumerate() {
                *word = number(info, at + 4 * index)?;
            }
            Some(words)
        };
        Some(Self {
            family,
            layout,
            valid_hooks: number(info, NAME_BYTES)?,
            hooks: words(NAME_BYTES + 4)?,
            underflows: words(NAME_BYTES + 4 + 4 * HOOKS)?,
            entries,
        })
    }

    /// Whether something of ours is in it.
    #[must_use]
    pub fn is_marked(&self) -> bool {
        CHAINS.iter().any(|(_, chain)| self.chain(chain).is_some())
    }

    /// The table without our chains and the jumps to them, or, with `rules`, with these.
    #[must_use]
    pub fn with(&self, rules: Option<&Rules>) -> Replacement {
        let mut rest = self.without_ours();
        let wanted = rules.map(|rules| self.chains(rules));
        if let Some(chains) = &wanted {
            // The table ends with an entry that ends it.
            let end = rest.pop();
            rest.extend(chains.iter().flatten().cloned());
            rest.extend(end);
            for (index, (hook, _)) in CHAINS.iter().enumerate() {
                let first = self.hooks[*hook];
                let at = rest.iter().position(|entry| entry.old >= Some(first));
                let jump = Entry {
                    jump: Jump::Ours(index),
                    ..self.plain(0)
                };
                rest.insert(at.unwrap_or(0), jump);
            }
        }
        self.assemble(&rest, wanted.is_some())
    }

    /// Whether exactly these rules are there, before all others.
    #[must_use]
    pub fn find(&self, rules: &Rules) -> Found {
        if !self.is_marked() {
            return Found::Absent;
        }
        let mut dropped = [0; 2];
        for (index, expected) in self.chains(rules).iter().enumerate() {
            let (hook, chain) = CHAINS[index];
            let Some(range) = self.chain(chain) else {
                return Found::Different;
            };
            let have = &self.entries[range.clone()];
            let same = have.len() == expected.len()
                && have
                    .iter()
                    .zip(expected)
                    .all(|(have, expected)| self.same(have, expected));
            // The chain's first rule is behind its name.
            let head = self.entries.get(range.start + 1).and_then(|entry| entry.old);
            let first = self
                .entries
                .iter()
                .find(|entry| entry.old == Some(self.hooks[hook]));
            let jumped = first.is_some_and(|entry| {
                head.map(Jump::Old) == Some(entry.jump) && self.same(entry, &self.plain(0))
            });
            if !same || !jumped {
                return Found::Different;
            }
            let (_, counters) = self.layout.entry(self.family);
            let drop = have.len().wrapping_sub(2);
            let last = have
                .get(drop)
                .and_then(|entry| entry.bytes.get(counters..counters + 8));
            dropped[index] = last
                .and_then(|packets| Some(u64::from_ne_bytes(packets.try_into().ok()?)))
                .unwrap_or(0);
        }
        Found::Same {
            dropped_in: dropped[0],
            dropped_out: dropped[1],
        }
    }

    /// Everything that the kernel does not keep for itself.
    fn same(&self, have: &Entry, expected: &Entry) -> bool {
        let (ip, counters) = self.layout.entry(self.family);
        let (a, b) = (&have.bytes, &expected.bytes);
        let target = usize::from(half(b, ip + 4).unwrap_or(0));
        if a.len() != b.len() || a[..ip] != b[..ip] || a[ip + 4..ip + 8] != b[ip + 4..ip + 8] {
            return false;
        }
        let mut at = counters + COUNTER_BYTES;
        while at < target {
            let size = usize::from(half(b, at).unwrap_or(0)).max(HEADER);
            // A limit's rate and burst; the rest is its state.
            let matters = if b[at + 2..].starts_with(b"limit\0") {
                HEADER + 8
            } else {
                size
            };
            if a.get(at..at + matters) != b.get(at..at + matters) {
                return false;
            }
            at += size;
        }
        let jump = matches!(have.jump, Jump::Old(_));
        let matters = if jump { HEADER } else { b.len() - target };
        a[target..target + matters] == b[target..target + matters]
    }

    /// The entries of a chain, its name first.
    fn chain(&self, chain: &[u8]) -> Option<core::ops::Range<usize>> {
        let names = || {
            let named = |(at, entry): (usize, &Entry)| Some((at, self.chain_name(entry)?.to_vec()));
            self.entries.iter().enumerate().filter_map(named)
        };
        let (start, _) = names().find(|(_, have)| have == chain)?;
        let end = names().map(|(at, _)| at).find(|at| *at > start)?;
        Some(start..end)
    }

    fn chain_name<'a>(&self, entry: &'a Entry) -> Option<&'a [u8]> {
        let (ip, _) = self.layout.entry(self.family);
        let target = entry.bytes.get(usize::from(half(&entry.bytes, ip + 4)?)..)?;
        target.get(2..)?.starts_with(b"ERROR\0").then_some(())?;
        target.get(HEADER..)?.split(|byte| *byte == 0).next()
    }

    fn without_ours(&self) -> Vec<Entry> {
        let ranges = CHAINS.map(|(_, chain)| self.chain(chain).unwrap_or(0..0));
        let inside = |at: usize| ranges.iter().any(|range| range.contains(&at));
        let starts: Vec<u32> = self
            .entries
            .iter()
            .enumerate()
            .filter(|(at, _)| inside(*at))
            .filter_map(|(_, entry)| entry.old)
            .collect();
        let leads_to_ours = |jump| matches!(jump, Jump::Old(to) if starts.contains(&to));
        self.entries
            .iter()
            .enumerate()
            .filter(|(at, entry)| !inside(*at) && !leads_to_ours(entry.jump))
            .map(|(_, entry)| entry.clone())
            .collect()
    }

    fn assemble(&self, entries: &[Entry], ours: bool) -> Replacement {
        let mut offset = 0;
        let mut places = Vec::new();
        for entry in entries {
            places.push(offset);
            offset += entry.bytes.len() as u32;
        }
        // What was taken out leads to what stood behind it.
        let moved = |old: u32| {
            let behind = entries
                .iter()
                .zip(&places)
                .filter(|(entry, _)| entry.old >= Some(old));
            behind.map(|(_, place)| *place).min().unwrap_or(0)
        };
        let start_of = |index: usize| {
            let chain = CHAINS[index].1;
            let named = |entry: &Entry| entry.old.is_none() && self.chain_name(entry) == Some(chain);
            let at = entries.iter().position(named).map_or(0, |at| at + 1);
            places.get(at).copied().unwrap_or(0)
        };
        let jump_of = |index: usize| entries.iter().position(|entry| entry.jump == Jump::Ours(index));
        let (ip, _) = self.layout.entry(self.family);
        let mut body = Vec::with_capacity(offset as usize);
        for entry in entries {
            let at = body.len();
            body.extend_from_slice(&entry.bytes);
            let to = match entry.jump {
                Jump::None => continue,
                Jump::Old(to) => moved(to),
                Jump::Ours(index) => start_of(index),
            };
            let target = at + usize::from(half(&entry.bytes, ip + 4).unwrap_or(0)) + HEADER;
            body[target..target + 4].copy_from_slice(&to.to_ne_bytes());
        }
        let mut block = name(TABLE, NAME_BYTES);
        let mut word = |word: u32| block.extend_from_slice(&word.to_ne_bytes());
        word(self.valid_hooks);
        word(entries.len() as u32);
        word(body.len() as u32);
        for hook in 0..HOOKS {
            let own = CHAINS.iter().position(|(have, _)| *have == hook).filter(|_| ours);
            let jump = own.and_then(jump_of).and_then(|at| places.get(at).copied());
            word(jump.unwrap_or_else(|| moved(self.hooks[hook])));
        }
        self.underflows.iter().for_each(|old| word(moved(*old)));
        word(self.entries.len() as u32);
        block.resize(self.layout.replace_header(), 0);
        block.extend_from_slice(&body);
        let index_of = |old: u32| self.entries.iter().position(|entry| entry.old == Some(old));
        Replacement {
            block,
            old_entries: self.entries.len(),
            counters_of: entries.iter().map(|entry| entry.old.and_then(index_of)).collect(),
            layout: self.layout,
        }
    }

    /// Our chains: a name, the rules that this family has, and the return that iptables expects at the end of a chain.
    fn chains(&self, rules: &Rules) -> [Vec<Entry>; 2] {
        let other = match self.family {
            Family::V4 => Family::V6,
            Family::V6 => Family::V4,
        };
        let lists = [&rules.input, &rules.output];
        [0, 1].map(|index| {
            let (hook, chain) = CHAINS[index];
            let title = self.entry(&Rule::ACCEPT, true, &self.extension(ERROR, 0, &name(chain, 30)));
            let of_family = lists[index].iter().filter(|rule| rule.family() != Some(other));
            let entries = of_family.map(|rule| {
                let verdict = if rule.accept { VERDICT_RETURN } else { VERDICT_DROP };
                self.entry(rule, hook == CHAINS[0].0, &self.standard(verdict))
            });
            let end = self.plain(VERDICT_RETURN);
            core::iter::once(title).chain(entries).chain([end]).collect()
        })
    }

    fn standard(&self, verdict: i32) -> Vec<u8> {
        self.extension(b"", 0, &verdict.to_ne_bytes())
    }

    /// An entry that every packet fits.
    fn plain(&self, verdict: i32) -> Entry {
        self.entry(&Rule::ACCEPT, true, &self.standard(verdict))
    }

    /// A match or a target.
    fn extension(&self, extension: &[u8], revision: u8, data: &[u8]) -> Vec<u8> {
        let size = (HEADER + data.len()).next_multiple_of(self.layout.align);
        let mut bytes = (size as u16).to_ne_bytes().to_vec();
        bytes.extend_from_slice(&name(extension, 29));
        bytes.push(revision);
        bytes.extend_from_slice(data);
        bytes.resize(size, 0);
        bytes
    }

    fn entry(&self, rule: &Rule, input: bool, target: &[u8]) -> Entry {
        let (ip, counters) = self.layout.entry(self.family);
        let mut bytes = self.addresses(rule, input);
        let matches = self.matches(rule, input);
        let target_at = counters + COUNTER_BYTES + matches.len();
        bytes.resize(counters + COUNTER_BYTES, 0);
        bytes[ip + 4..ip + 6].copy_from_slice(&(target_at as u16).to_ne_bytes());
        bytes[ip + 6..ip + 8].copy_from_slice(&((target_at + target.len()) as u16).to_ne_bytes());
        bytes.extend_from_slice(&matches);
        bytes.extend_from_slice(target);
        Entry {
            bytes,
            old: None,
            jump: Jump::None,
        }
    }

    /// `struct ipt_ip` or `struct ip6t_ip6`.
    fn addresses(&self, rule: &Rule, input: bool) -> Vec<u8> {
        let (length, width) = match self.family {
            Family::V4 => (84, 4),
            Family::V6 => (136, 16),
        };
        let mut bytes = vec![0; length];
        let side = if input { 0 } else { 1 };
        if let Some(net) = rule.remote {
            let (address, mask) = net.bytes();
            bytes[side * width..][..width].copy_from_slice(&address);
            bytes[(2 + side) * width..][..width].copy_from_slice(&mask);
        }
        if rule.loopback {
            let interface = 4 * width + 16 * side;
            bytes[interface..][..2].copy_from_slice(b"lo");
            bytes[interface + 32..][..3].fill(0xff);
        }
        let protocol = 4 * width + 64;
        let number = u16::from(rule.protocol.unwrap_or(0));
        bytes[protocol..protocol + 2].copy_from_slice(&number.to_ne_bytes());
        if self.family == Family::V6 && number != 0 {
            // IP6T_F_PROTO
            bytes[protocol + 3] = 1;
        }
        bytes
    }

    fn matches(&self, rule: &Rule, input: bool) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut add = |name: &[u8], revision, data: &[u8]| bytes.extend(self.extension(name, revision, data));
        let (source, destination) = if input {
            (rule.remote_port, rule.local_port)
        } else {
            (rule.local_port, rule.remote_port)
        };
        let mut ports = [source.0, source.1, destination.0, destination.1]
            .map(u16::to_ne_bytes)
            .concat();
        let any = source == ANY_PORT && destination == ANY_PORT;
        match (rule.protocol, rule.icmp, rule.flags) {
            (Some(ICMP), Some(kind), _) => add(b"icmp", 0, &[kind, 0, 0xff, 0]),
            (Some(ICMPV6), Some(kind), _) => add(b"icmp6", 0, &[kind, 0, 0xff, 0]),
            (Some(TCP), _, flags) if flags.is_some() || !any => {
                let (mask, value, inverted) = flags.map_or((0, 0, false), |f| (f.mask, f.value, f.inverted));
                // XT_TCP_INV_FLAGS
                let inverse = if inverted { 4 } else { 0 };
                ports.extend_from_slice(&[0, mask, value, inverse]);
                add(b"tcp", 0, &ports);
            }
            (_, _, None) if !any => {
                ports.extend_from_slice(&[0, 0]);
                add(b"udp", 0, &ports);
            }
            _ => {}
        }
        if rule.established {
            // struct xt_conntrack_mtinfo3: XT_CONNTRACK_STATE, and the states.
            let mut data = [0; 164];
            data[146..148].copy_from_slice(&1_u16.to_ne_bytes());
            data[150..152].copy_from_slice(&(ESTABLISHED as u16).to_ne_bytes());
            add(b"conntrack", 3, &data);
        }
        if let Some(uid) = rule.uid {
            let mut data = [uid, uid, 0, 0].map(u32::to_ne_bytes).concat();
            // XT_OWNER_UID, not inverted.
            data.extend_from_slice(&[1, 0, 0, 0]);
            add(b"owner", 1, &data);
        }
        if let Some((rate, burst)) = rule.limit {
            // Tenths of milliseconds between two packets; the kernel's own part follows.
            let every = 10_000 / u32::from(rate.max(1));
            let mut data = [every, burst.into()].map(u32::to_ne_bytes).concat();
            let own = self.layout.long + 12;
            data.resize((8 + own).next_multiple_of(self.layout.long) + self.layout.long, 0);
            add(b"limit", 0, &data);
        }
        bytes
    }
}

fn name(text: &[u8], length: usize) -> Vec<u8> {
    let mut bytes = text.to_vec();
    bytes.resize(length, 0);
    bytes
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn signed(bytes: &[u8], at: usize) -> Option<i32> {
    Some(i32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}
