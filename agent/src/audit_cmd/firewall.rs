//! What becomes of a packet that nobody asked for, as the kernel's packet filters say it: chains of nf_tables by netlink,
//! the filter tables of iptables by socket options.
//!
//! A filter that drops by default has rules that take packets. Those for answers, the loopback interface, ICMP, one peer or one
//! port are worked out; any other, as those of OpenWrt's zones, may take everything.

mod scope;

use std::io;

use lenscap_audit::facts::{Fact, Filter, Inbound, Opening};
use lenscap_harden::firewall::nft::{MAX_MESSAGES, attributes, messages};
use lenscap_harden::root::Root;
use nix::errno::Errno;
use nix::sys::socket::SockProtocol;

use scope::{Class, To};

use super::missing;
use super::processes::text;
use crate::{netlink, sys};

/// The most bytes of an answer.
const MAX_ANSWER_BYTES: usize = 256 * 1024;
/// `NFNL_SUBSYS_NFTABLES`: `NFT_MSG_NEWTABLE`, `NFT_MSG_GETTABLE`, and the same for chains and rules.
const NEW_TABLE: u16 = 0x0a00;
const GET_TABLE: u16 = 0x0a01;
const NEW_CHAIN: u16 = 0x0a03;
const GET_CHAIN: u16 = 0x0a04;
const NEW_RULE: u16 = 0x0a06;
const GET_RULE: u16 = 0x0a07;
/// `NFT_MSG_NEWSETELEM`, `NFT_MSG_GETSETELEM`.
const NEW_ELEMENTS: u16 = 0x0a0c;
const GET_ELEMENTS: u16 = 0x0a0d;
/// `NFTA_TABLE_*`, `NFTA_CHAIN_*`, `NFTA_HOOK_*` and `NFTA_RULE_*` of linux/netfilter/nf_tables.h.
const TABLE_NAME: u16 = 1;
const TABLE_FLAGS: u16 = 2;
const CHAIN_TABLE: u16 = 1;
const CHAIN_NAME: u16 = 3;
const CHAIN_HOOK: u16 = 4;
const CHAIN_POLICY: u16 = 5;
const HOOK_NUMBER: u16 = 1;
const RULE_TABLE: u16 = 1;
const RULE_CHAIN: u16 = 2;
const RULE_EXPRESSIONS: u16 = 4;
/// `NFTA_EXPR_NAME`, `NFTA_EXPR_DATA`.
const EXPRESSION_NAME: u16 = 1;
const EXPRESSION_DATA: u16 = 2;
/// `NFT_TABLE_F_DORMANT`: its chains are there and see no packet.
const DORMANT: u32 = 1;
/// ICMP and ICMPv6.
const ICMP: [u8; 2] = [1, 58];
/// `NF_INET_LOCAL_IN`.
const LOCAL_IN: u32 = 1;
/// `IPT_SO_GET_INFO`, `IPT_SO_GET_ENTRIES` (`IP6T_*` are the same).
const GET_INFO: i32 = 64;
const GET_ENTRIES: i32 = 65;
/// The most ports that rules let in.
const MAX_PORTS: usize = 64;
/// The most maps of states that are looked into.
const MAX_MAPS: usize = 16;
/// The deepest chain of chains.
const MAX_DEPTH: u32 = 8;
/// The most rules that are gone through.
const MAX_STEPS: u32 = 10_000;

/// IPv4, then IPv6.
pub(super) fn read(root: &Root) -> [Fact<Filter>; 2] {
    let found = nft_read();
    [false, true].map(|v6| family(root, v6, &found))
}

#[inline(never)]
fn family(root: &Root, v6: bool, found: &io::Result<Found>) -> Fact<Filter> {
    if v6 && let Some(off) = ipv6_off(root) {
        return off;
    }
    let by_nft = match found {
        Ok(found) => nft_verdict(found, v6),
        // A kernel without it.
        Err(error) if unsupported(error) => None,
        Err(error) => return Fact::missing("nf_tables", missing(error)),
    };
    let xt = is_loaded(root, v6).and_then(|()| xt_table(v6));
    if let Some(filter) = &by_nft
        && filter.inbound == Inbound::Dropped
    {
        let takes_all = match &xt {
            Ok((inbound, _)) => *inbound == Inbound::Taken,
            Err(error) => unsupported(error),
        };
        return Fact::seen("nf_tables", beside(filter.clone(), !takes_all));
    }
    let source = if v6 { "ip6_tables" } else { "ip_tables" };
    let by_xt = match xt {
        Ok((inbound, lets_in)) => Some(Filter {
            how: format!("{source} INPUT"),
            inbound,
            lets_in,
        }),
        // Linux 6.17 and later have it no more; others load it when it is asked for.
        Err(error) if unsupported(&error) => None,
        Err(error) => return Fact::missing(source, missing(&error)),
    };
    match (by_nft, by_xt) {
        (nft, Some(filter)) if filter.inbound == Inbound::Dropped => {
            Fact::seen(source, beside(filter, nft.is_some()))
        }
        (Some(filter), _) => Fact::seen("nf_tables", filter),
        (None, Some(filter)) => Fact::seen(source, filter),
        (None, None) => {
            let how = "no packet filter is in force".into();
            let filter = Filter {
                how,
                inbound: Inbound::NoFilter,
                lets_in: Vec::new(),
            };
            Fact::seen(source, filter)
        }
    }
}

/// What one filter takes another may drop.
fn beside(mut filter: Filter, other: bool) -> Filter {
    for opening in &mut filter.lets_in {
        opening.for_all &= !other;
    }
    filter
}

/// Asking for a table would load the module that has it; what is not loaded filters nothing.
fn is_loaded(root: &Root, v6: bool) -> io::Result<()> {
    let names = if v6 {
        "/proc/net/ip6_tables_names"
    } else {
        "/proc/net/ip_tables_names"
    };
    match text(root, names, 1024) {
        Ok(names) if names.lines().any(|name| name == "filter") => Ok(()),
        Ok(_) => Err(Errno::ENOENT.into()),
        // Where nothing of the kernel is seen, this tells nothing.
        Err(error) if super::is_absent(&error) && !root.exists("/proc/net/tcp") => Err(Errno::EACCES.into()),
        Err(error) => Err(error),
    }
}

fn unsupported(error: &io::Error) -> bool {
    let known = [
        Errno::ENOPROTOOPT,
        Errno::EPROTONOSUPPORT,
        Errno::EAFNOSUPPORT,
        Errno::EOPNOTSUPP,
        Errno::EINVAL,
        Errno::ENOENT,
    ];
    known
        .iter()
        .any(|errno| error.raw_os_error() == Some(*errno as i32))
}

/// Whether the kernel has no IPv6, or none that is on: everywhere, or on every interface but the loopback and on those to
/// come, as Lenscap leaves it where nothing filters it.
fn ipv6_off(root: &Root) -> Option<Fact<Filter>> {
    let source = "/proc/sys/net/ipv6/conf";
    let is_off = |name: &str| {
        text(root, &format!("{source}/{name}/disable_ipv6"), 16).map(|value| value.trim() == "1")
    };
    let how = match is_off("all") {
        // An interface may say otherwise since.
        Ok(all) => {
            let listing = root.listing(source).ok()?;
            let mut names = listing.entries.iter().map(|entry| entry.name.as_str());
            let open = |name: &str| name != "lo" && name != "all" && !is_off(name).unwrap_or(false);
            if listing.cut || !listing.odd.is_empty() || names.any(open) || listing.entries.is_empty() {
                return None;
            }
            if all {
                "disable_ipv6"
            } else {
                "disable_ipv6 of every interface but lo"
            }
        }
        Err(error) if super::is_absent(&error) && root.exists("/proc/sys/net/ipv4") => {
            "no IPv6 in the kernel"
        }
        Err(error) => return Some(Fact::missing(source, missing(&error))),
    };
    let filter = Filter {
        how: how.into(),
        inbound: Inbound::Off,
        lets_in: Vec::new(),
    };
    Some(Fact::seen(source, filter))
}

/// A chain at a hook.
#[derive(Debug, PartialEq, Eq)]
struct Chain {
    family: u8,
    table: String,
    name: String,
    drops: bool,
}

/// What nf_tables has.
#[derive(Debug, Default)]
struct Found {
    /// Family and name of tables that are asleep.
    dormant: Vec<(u8, String)>,
    /// At the input hook.
    chains: Vec<Chain>,
    /// That have verdicts, of all chains, in their order.
    rules: Vec<scope::Rule>,
}

impl Found {
    /// What the rules that lead from a chain let in. `None`: that was not worked out.
    fn lets_in(&self, base: &Chain) -> Option<Vec<Opening>> {
        let (mut ports, mut ways) = (Vec::new(), vec![base.name.as_str()]);
        // Whether every packet of a stranger's comes as far as this rule.
        let mut all_come = true;
        let mut next = 0;
        while let Some(way) = ways.get(next).copied() {
            all_come &= next == 0;
            next += 1;
            let here = |rule: &&scope::Rule| {
                (rule.family, rule.table.as_str(), rule.chain.as_str()) == (base.family, &base.table, way)
            };
            for rule in self.rules.iter().filter(here) {
                match (rule.class, &rule.to) {
                    (Class::Nobody, _) => {}
                    (_, To::Drop) => all_come = false,
                    (_, To::Chain(to)) => {
                        all_come = false;
                        if !ways.contains(&to.as_str()) {
                            ways.push(to);
                        }
                    }
                    (Class::Port(protocol, port, for_all), To::Accept) => {
                        let for_all = for_all && all_come;
                        add_port(
                            &mut ports,
                            Opening {
                                protocol,
                                port,
                                for_all,
                            },
                        )?;
                    }
                    (Class::Anybody, To::Accept) => return None,
                }
            }
        }
        Some(ports)
    }
}

fn add_port(ports: &mut Vec<Opening>, new: Opening) -> Option<()> {
    let mut have = ports.iter_mut();
    match have.find(|have| (have.protocol, have.port) == (new.protocol, new.port)) {
        Some(have) => have.for_all |= new.for_all,
        None => ports.push(new),
    }
    (ports.len() <= MAX_PORTS).then_some(())
}

fn nft_verdict(found: &Found, v6: bool) -> Option<Filter> {
    // NFPROTO_INET, and NFPROTO_IPV4 or NFPROTO_IPV6.
    let ours = |chain: &&Chain| chain.family == 1 || chain.family == if v6 { 10 } else { 2 };
    let all = || found.chains.iter().filter(ours);
    // A packet has to pass all chains at the hook: the strictest counts.
    let dropping = all().filter(|chain| chain.drops);
    let dropping = dropping.filter_map(|chain| Some((chain, found.lets_in(chain)?)));
    let dropping = dropping.min_by_key(|(_, ports)| ports.len());
    let (chain, inbound, lets_in) = match dropping {
        Some((chain, ports)) => (chain, Inbound::Dropped, ports),
        None => (all().next()?, Inbound::Rules, Vec::new()),
    };
    let how = format!("nf_tables {} {}", chain.table, chain.name);
    let several = all().nth(1).is_some();
    let filter = Filter {
        how,
        inbound,
        lets_in,
    };
    Some(beside(filter, several))
}

fn nft_read() -> io::Result<Found> {
    let mut found = Found::default();
    take(&ask(GET_TABLE, 0, &[])?, &mut found);
    take(&ask(GET_CHAIN, 0, &[])?, &mut found);
    wake(&mut found);
    // Rules of tables without an input chain are nothing to us.
    if found.chains.iter().any(|chain| chain.drops) {
        take(&ask(GET_RULE, 0, &[])?, &mut found);
    }
    // `ct state vmap { established : accept, related : accept }`, as OpenWrt has it.
    let maps = found.rules.iter_mut().filter(|rule| rule.states.is_some());
    for rule in maps.take(MAX_MAPS) {
        let map = rule.states.as_deref().unwrap_or_default();
        let names = [(1, rule.table.as_str()), (2, map)];
        if scope::takes_answers(&ask(GET_ELEMENTS, rule.family, &names)?) {
            rule.class = Class::Nobody;
        }
    }
    Ok(found)
}

/// Leaves out chains of tables that are asleep.
fn wake(found: &mut Found) {
    let Found { dormant, chains, .. } = found;
    let asleep = |chain: &Chain| {
        dormant
            .iter()
            .any(|(family, name)| (*family, name) == (chain.family, &chain.table))
    };
    chains.retain(|chain| !asleep(chain));
}

/// Asks for all of a kind; `names` are attributes.
fn ask(kind: u16, family: u8, names: &[(u16, &str)]) -> io::Result<Vec<u8>> {
    let mut asked = Vec::new();
    for (kind, name) in names {
        asked.extend_from_slice(&(name.len() as u16 + 5).to_ne_bytes());
        asked.extend_from_slice(&kind.to_ne_bytes());
        asked.extend_from_slice(name.as_bytes());
        asked.resize((asked.len() + 1).next_multiple_of(4), 0);
    }
    // nlmsghdr (length, type, NLM_F_REQUEST | NLM_F_DUMP, sequence, port), nfgenmsg (family, version, resource).
    let mut question = (asked.len() as u32 + 20).to_ne_bytes().to_vec();
    question.extend_from_slice(&kind.to_ne_bytes());
    question.extend_from_slice(&0x301u16.to_ne_bytes());
    question.extend_from_slice(&[0; 8]);
    question.extend_from_slice(&[family, 0, 0, 0]);
    question.extend_from_slice(&asked);
    let answer = netlink::ask(SockProtocol::NetlinkNetFilter, &question)?;
    if messages(&answer).count() == MAX_MESSAGES {
        return Err(Errno::EMSGSIZE.into());
    }
    Ok(answer)
}

/// Takes the chains and rules of an answer.
fn take(answer: &[u8], found: &mut Found) {
    for (kind, body) in messages(answer) {
        match kind {
            NEW_TABLE => found.dormant.extend(dormant(body)),
            NEW_CHAIN => found.chains.extend(
                chain(body)
                    .filter(|(hook, _)| *hook == LOCAL_IN)
                    .map(|(_, chain)| chain),
            ),
            NEW_RULE => found.rules.extend(scope::rule(body)),
            _ => {}
        }
    }
}

fn number(bytes: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.try_into().ok()?))
}

fn name(all: &[u8], kind: u16) -> String {
    let bytes = attribute(all, kind).unwrap_or_default();
    String::from_utf8_lossy(bytes).trim_end_matches('\0').to_owned()
}

/// A table that is asleep.
fn dormant(body: &[u8]) -> Option<(u8, String)> {
    let (family, table) = (*body.first()?, body.get(4..)?);
    let flags = number(attribute(table, TABLE_FLAGS)?)?;
    (flags & DORMANT != 0).then(|| (family, name(table, TABLE_NAME)))
}

/// A chain and the hook that it is at.
#[inline(never)]
fn chain(body: &[u8]) -> Option<(u32, Chain)> {
    let family = *body.first()?;
    let chain = body.get(4..)?;
    let hook = number(attribute(attribute(chain, CHAIN_HOOK)?, HOOK_NUMBER)?)?;
    let drops = attribute(chain, CHAIN_POLICY) == Some(&[0, 0, 0, 0]);
    let (table, name) = (name(chain, CHAIN_TABLE), name(chain, CHAIN_NAME));
    let chain = Chain {
        family,
        table,
        name,
        drops,
    };
    Some((hook, chain))
}

fn attribute(bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    let mut all = attributes(bytes);
    all.find(|(kind, _)| *kind == wanted).map(|(_, value)| value)
}

/// The filter table, as one block.
#[inline(never)]
fn xt_table(v6: bool) -> io::Result<(Inbound, Vec<Opening>)> {
    let level = if v6 {
        nix::libc::IPPROTO_IPV6
    } else {
        nix::libc::IPPROTO_IP
    };
    let raw = sys::raw_socket(v6)?;
    // struct ipt_getinfo: name, valid_hooks, hook_entry[5], underflow[5], num_entries, size.
    let mut info = [0; 84];
    info[..6].copy_from_slice(b"filter");
    sys::socket_option(&raw, level, GET_INFO, &mut info)?;
    let size = word(&info, 80).unwrap_or(0) as usize;
    if size > MAX_ANSWER_BYTES {
        return Err(Errno::EMSGSIZE.into());
    }
    // struct ipt_get_entries: name, size, entries aligned as numbers of 64 bits are.
    let start = 36usize.next_multiple_of(align_of::<u64>());
    let mut block = vec![0; start + size];
    block[..6].copy_from_slice(b"filter");
    block[32..36].copy_from_slice(&(size as u32).to_ne_bytes());
    sys::socket_option(&raw, level, GET_ENTRIES, &mut block)?;
    let table = Table {
        entries: block.get(start..).unwrap_or_default(),
        address_bytes: if v6 { 136 } else { 84 },
    };
    let entry = |at: usize| word(&info, at + 4 * LOCAL_IN as usize).map(|offset| offset as usize);
    let (Some(first), Some(policy)) = (entry(36), entry(56)) else {
        return Err(Errno::EBADMSG.into());
    };
    let mut walk = Walk {
        steps: MAX_STEPS,
        // What leaves a chain is dropped in the end, or it may be taken.
        returns: !table.drops(policy),
        ports: Some(Vec::new()),
        all_come: true,
    };
    let end = table.walk(first, Some(policy), 0, &mut walk);
    Ok(match (end, walk.ports) {
        (End::Drops, Some(ports)) => (Inbound::Dropped, ports),
        (End::Takes, _) if first == policy => (Inbound::Taken, Vec::new()),
        (End::Drops | End::Takes | End::Returns, _) => (Inbound::Rules, Vec::new()),
    })
}

/// What a walk finds.
struct Walk {
    steps: u32,
    /// Whether packets that leave a chain early are let in.
    returns: bool,
    /// The ports that are let in; `None`: more than was worked out.
    ports: Option<Vec<Opening>>,
    /// Whether every packet of a stranger's comes as far as the entry at hand.
    all_come: bool,
}

impl Walk {
    fn lets_in(&mut self, class: Class, depth: u32) {
        match (class, &mut self.ports) {
            (Class::Nobody, _) | (_, None) => {}
            (Class::Port(protocol, port, for_all), Some(ports)) => {
                let for_all = for_all && self.all_come && depth == 0;
                if add_port(
                    ports,
                    Opening {
                        protocol,
                        port,
                        for_all,
                    },
                )
                .is_none()
                {
                    self.ports = None;
                }
            }
            (Class::Anybody, Some(_)) => self.ports = None,
        }
    }
}

/// Entries of `struct ipt_entry` or `struct ip6t_entry`.
struct Table<'t> {
    entries: &'t [u8],
    /// The addresses at the start of an entry.
    address_bytes: usize,
}

/// What becomes of a packet that no rule with a condition fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Drops,
    Takes,
    Returns,
}

impl Table<'_> {
    /// Whether the entry of a chain's policy drops.
    fn drops(&self, policy: usize) -> bool {
        let entry = self.entries.get(policy..).unwrap_or_default();
        let target = half(entry, self.address_bytes + 4).map(usize::from);
        target.and_then(|target| word(entry, target + 32)) == Some(-1i32 as u32)
    }

    /// An entry, and where its target and the next entry begin, from its start.
    fn entry(&self, at: usize) -> Option<(&[u8], usize, usize)> {
        let entry = self.entries.get(at..)?;
        // After the addresses: nfcache, target_offset, next_offset, comefrom, counters.
        let part = |behind| half(entry, self.address_bytes + behind).map(usize::from);
        let (target, next) = (part(4)?, part(6)?);
        (next > 0).then_some((entry, target, next))
    }

    fn walk(&self, start: usize, policy: Option<usize>, depth: u32, walk: &mut Walk) -> End {
        let mut at = start;
        while walk.steps > 0 && depth < MAX_DEPTH {
            walk.steps -= 1;
            let Some((entry, target, next)) = self.entry(at) else {
                break;
            };
            let header = (self.address_bytes + 12).next_multiple_of(align_of::<u64>()) + 16;
            let scope = if target == header {
                self.scope(entry)
            } else {
                Scope::Some
            };
            let name = entry.get(target + 2..target + 31).unwrap_or_default();
            let verdict = word(entry, target + 32).map(|verdict| verdict as i32);
            let rejects = name.starts_with(b"REJECT\0");
            let standard = name.first() == Some(&0);
            let v6 = self.address_bytes == 136;
            let (accepts, drops) = (
                standard && verdict == Some(-2),
                rejects || standard && verdict == Some(-1),
            );
            let class = scope::entry(entry, v6, entry.get(header..target).unwrap_or_default(), drops);
            let queue = name.starts_with(b"NFQUEUE\0") || name.starts_with(b"QUEUE\0");
            let returns = verdict == Some(-5) && depth > 0 && walk.returns;
            if policy != Some(at) && (queue || accepts || standard && returns) {
                walk.lets_in(class, depth);
            }
            // It drops some, or what it leads to may.
            let goes_on = standard && verdict.is_some_and(|to| to as usize == at + next);
            walk.all_come &= accepts || goes_on || class == Class::Nobody || name.starts_with(b"LOG\0");
            match (scope, verdict) {
                // Those who are let in further down.
                (Scope::Some, Some(to))
                    if standard && to >= 0 && to as usize != at + next && class != Class::Nobody =>
                {
                    self.walk(to as usize, None, depth + 1, walk);
                }
                (Scope::Some, _) => {}
                (Scope::All, _) if rejects => return End::Drops,
                (Scope::All, Some(-1)) if standard => return End::Drops,
                (Scope::All | Scope::Broad, Some(-2)) if standard => return End::Takes,
                (Scope::All, Some(-5)) if standard => return End::Returns,
                (_, Some(to)) if standard && to >= 0 && to as usize != at + next => {
                    match (self.walk(to as usize, None, depth + 1, walk), scope) {
                        (End::Takes, _) => return End::Takes,
                        (End::Drops, Scope::All) => return End::Drops,
                        _ => {}
                    }
                }
                _ => {}
            }
            if policy == Some(at) {
                break;
            }
            at += next;
        }
        if depth >= MAX_DEPTH || walk.steps == 0 {
            walk.ports = None;
        }
        // What could not be followed is taken for the worse.
        End::Takes
    }

    /// What an entry without matches is about, by `struct ipt_ip` or `struct ip6t_ip6`.
    fn scope(&self, entry: &[u8]) -> Scope {
        let addresses = if self.address_bytes == 136 { 64 } else { 16 };
        let part = |from: usize, to: usize| entry.get(addresses + from..addresses + to).unwrap_or_default();
        let zero = |bytes: &[u8]| bytes.iter().all(|byte| *byte == 0);
        let all = entry.get(..self.address_bytes).unwrap_or_default();
        // iniface, outiface, their masks, the protocol.
        let (inward, protocol) = (part(0, 16), part(64, 66));
        if zero(all) {
            Scope::All
        } else if !zero(all.get(..addresses).unwrap_or_default())
            || !zero(part(16, 32))
            || inward.starts_with(b"lo\0")
            || half(protocol, 0).is_some_and(|protocol| ICMP.iter().any(|icmp| u16::from(*icmp) == protocol))
        {
            Scope::Some
        } else {
            Scope::Broad
        }
    }
}

/// Whom an entry is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scope {
    /// Everybody.
    All,
    /// Whatever comes in by an interface, or of a whole protocol.
    Broad,
    /// Some.
    Some,
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut out = ((value.len() + 4) as u16).to_ne_bytes().to_vec();
        out.extend_from_slice(&kind.to_ne_bytes());
        out.extend_from_slice(value);
        out.resize(out.len().next_multiple_of(4), 0);
        out
    }

    #[test]
    fn chains_are_read_and_damage_is_an_error() {
        let hook = put(HOOK_NUMBER, &1u32.to_be_bytes());
        let mut body = vec![1, 0, 0, 0];
        body.extend(put(CHAIN_TABLE, b"fw4\0"));
        body.extend(put(CHAIN_NAME, b"input\0"));
        body.extend(put(CHAIN_HOOK | 0x8000, &hook));
        body.extend(put(CHAIN_POLICY, &0u32.to_be_bytes()));
        let mut message = ((body.len() + 16) as u32).to_ne_bytes().to_vec();
        message.extend_from_slice(&NEW_CHAIN.to_ne_bytes());
        message.extend_from_slice(&[0; 10]);
        message.extend(&body);
        let mut found = Found::default();
        take(&message, &mut found);
        let filter = nft_verdict(&found, true).unwrap();
        assert_eq!(
            (filter.how.as_str(), filter.inbound),
            ("nf_tables fw4 input", Inbound::Dropped)
        );
        let mut lan = scope::Rule {
            family: 1,
            table: "fw4".into(),
            chain: "input_lan".into(),
            class: Class::Anybody,
            to: To::Accept,
            states: None,
        };
        found.rules.push(scope::Rule { ..lan });
        // Nothing leads there.
        assert_eq!(nft_verdict(&found, true).unwrap().inbound, Inbound::Dropped);
        lan = scope::Rule {
            family: 1,
            table: "fw4".into(),
            chain: "input".into(),
            class: Class::Port(6, 22, true),
            to: To::Chain("input_lan".into()),
            states: None,
        };
        found.rules.push(lan);
        assert_eq!(nft_verdict(&found, true).unwrap().inbound, Inbound::Rules);
        // A table that sleeps filters nothing; another of its name is another.
        let mut table = vec![2, 0, 0, 0];
        table.extend(put(TABLE_NAME, b"fw4\0"));
        table.extend(put(TABLE_FLAGS, &DORMANT.to_be_bytes()));
        found.dormant.extend(dormant(&table));
        wake(&mut found);
        assert_eq!(found.chains.len(), 1);
        table[0] = 1;
        found.dormant.extend(dormant(&table));
        wake(&mut found);
        assert_eq!(nft_verdict(&found, true), None);
        take(&message, &mut found);
        found.chains[0].family = 2;
        assert_eq!(nft_verdict(&found, true), None);
        for length in 0..message.len() {
            take(&message[..length], &mut Found::default());
            let mut damaged = message.clone();
            damaged[length] ^= 0xff;
            take(&damaged, &mut Found::default());
        }
    }

    proptest::proptest! {
        #[test]
        fn no_rule_makes_it_panic(bytes in proptest::collection::vec(0..=255u8, 0..300), size in 0..80u8) {
            let _ = scope::rule(&bytes);
            let _ = scope::takes_answers(&bytes);
            let matches: Vec<u8> = [&[size, 0][..], b"conntrack\0", &bytes].concat();
            for v6 in [false, true] {
                let _ = scope::entry(&bytes, v6, &matches, size > 40);
            }
        }
    }

    #[test]
    fn a_walk_through_nonsense_ends() {
        for seed in 0..64u8 {
            let entries: Vec<u8> = (0..4096u32)
                .map(|n| (n as u8).wrapping_mul(seed) & 0x71)
                .collect();
            let table = Table {
                entries: &entries,
                address_bytes: 84,
            };
            let mut walk = Walk {
                steps: 1000,
                returns: true,
                ports: Some(Vec::new()),
                all_come: true,
            };
            let _ = table.walk(0, Some(0), 0, &mut walk);
        }
    }
}
