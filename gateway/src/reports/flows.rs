//! Flow records as a camera sent them (docs/protocol.md, "Flows"), and what is new in them. Everything here comes from a
//! camera, which may lie: sizes are bounded, names cleaned, and counters that cannot be are not believed.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::ipfix::Record;

/// Largest answer of a camera, in bytes.
pub const MAX_FLOWS_BYTES: usize = 512 << 10;
/// Most records that are kept of a camera.
pub const MAX_FLOWS: usize = 512;
/// Longest sentence, most sentences, and longest name that are taken over.
const MAX_SENTENCE_BYTES: usize = 256;
const MAX_SENTENCES: usize = 16;
const MAX_NAME_BYTES: usize = 128;
/// More than this between two reports is no camera's doing.
const MAX_OCTETS: u64 = 1 << 44;
/// A camera whose clock differs by more gets the gateway's time.
const MAX_CLOCK_ERROR_MS: u64 = 10 * 60 * 1000;

/// Why flows are of no use.
#[derive(Debug, Error)]
pub enum BadFlows {
    /// A line is no JSON, or not of the form. serde's own words are not said: they quote what the camera sent.
    #[error("line {} is no JSON of the form (column {})", .0, .1.column())]
    Json(usize, serde_json::Error),
    /// Too many records.
    #[error("more than {MAX_FLOWS} records")]
    TooMany,
    /// Nothing at all.
    #[error("no lines")]
    Empty,
    /// The first line does not say which accounts these are.
    #[error("no epoch in the first line")]
    Nameless,
}

/// Bytes and packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Counters {
    /// Bytes of IP packets that left the camera.
    #[serde(default)]
    pub bytes_out: Option<u64>,
    /// Bytes of IP packets that came to it.
    #[serde(default)]
    pub bytes_in: Option<u64>,
    /// Packets that left it.
    #[serde(default)]
    pub packets_out: Option<u64>,
    /// Packets that came to it.
    #[serde(default)]
    pub packets_in: Option<u64>,
}

impl Counters {
    fn each(&self) -> [Option<u64>; 4] {
        [self.bytes_out, self.bytes_in, self.packets_out, self.packets_in]
    }
}

/// The first line: of the accounts as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct Head {
    /// Which accounts these are.
    pub epoch: String,
    /// The highest cursor in them.
    pub cursor: u64,
    /// When they began, by the camera's clock, in milliseconds since 1970.
    pub started_ms: u64,
    /// The last sample's time.
    pub time_ms: u64,
    /// Samples taken.
    pub samples: u64,
    /// Records that made room.
    pub evicted: u64,
    /// Connections that were not counted.
    pub untracked: u64,
    /// Counters that began anew.
    pub resets: u64,
    /// What the interfaces carried.
    pub carried: Counters,
    /// What of that belongs to known connections.
    pub explained: Counters,
    /// The rest.
    pub unexplained: Counters,
    /// What the camera could not see.
    pub blind: Vec<String>,
}

/// Who opened the connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// The camera; the port is the peer's.
    Out,
    /// The peer; the port is the camera's.
    In,
}

/// How the camera counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// Not at all.
    Proc,
    /// By segments.
    TcpInfo,
    /// By packets.
    Conntrack,
    /// In a way that this version does not know.
    #[serde(other)]
    Other,
}

/// A protocol by IANA's number; common ones are written by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Protocol(pub u8);

const PROTOCOLS: [(&str, u8); 4] = [("icmp", 1), ("tcp", 6), ("udp", 17), ("icmpv6", 58)];

impl TryFrom<String> for Protocol {
    type Error = std::num::ParseIntError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let known = PROTOCOLS.iter().find(|(name, _)| *name == text);
        known
            .map_or_else(|| text.parse(), |(_, number)| Ok(*number))
            .map(Self)
    }
}

impl From<Protocol> for String {
    fn from(Protocol(number): Protocol) -> Self {
        let known = PROTOCOLS.iter().find(|(_, known)| *known == number);
        known.map_or_else(|| number.to_string(), |(name, _)| (*name).to_owned())
    }
}

/// One record.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Flow {
    /// Grows when the record changes.
    pub cursor: u64,
    /// The other end.
    pub peer: IpAddr,
    /// The camera's address.
    pub local: IpAddr,
    /// Above IP.
    pub protocol: Protocol,
    /// Of whoever was called.
    pub port: u16,
    /// Who called.
    pub direction: Direction,
    /// The camera's program, where it is known.
    #[serde(default)]
    pub program: Option<String>,
    /// How it was counted.
    pub source: Source,
    /// What passed.
    #[serde(flatten)]
    pub counters: Counters,
    /// Connections seen.
    #[serde(default)]
    pub connections: u64,
    /// First seen, by the camera's clock.
    pub first_ms: u64,
    /// Last active.
    pub last_ms: u64,
}

/// An answer to `GET /flows`, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Its first line.
    pub head: Head,
    /// The others.
    pub flows: Vec<Flow>,
}

impl Report {
    /// Reads JSON lines.
    ///
    /// # Errors
    /// See [`BadFlows`].
    pub fn parse(body: &[u8]) -> Result<Self, BadFlows> {
        let mut lines = body
            .split(|byte| *byte == b'\n')
            .enumerate()
            .filter(|(_, line)| !line.trim_ascii().is_empty());
        let (_, first) = lines.next().ok_or(BadFlows::Empty)?;
        let mut head: Head = object(first).map_err(|error| BadFlows::Json(1, error))?;
        head.epoch = clean(&head.epoch, MAX_NAME_BYTES);
        if head.epoch.is_empty() {
            return Err(BadFlows::Nameless);
        }
        head.blind.truncate(MAX_SENTENCES);
        for sentence in &mut head.blind {
            *sentence = clean(sentence, MAX_SENTENCE_BYTES);
        }
        let mut flows = Vec::new();
        for (index, line) in lines {
            if flows.len() == MAX_FLOWS {
                return Err(BadFlows::TooMany);
            }
            let mut flow: Flow = object(line).map_err(|error| BadFlows::Json(index + 1, error))?;
            flow.program = flow.program.map(|program| clean(&program, MAX_NAME_BYTES));
            flows.push(flow);
        }
        Ok(Self { head, flows })
    }
}

/// serde takes an array for a structure as well; nobody sends one in good faith.
fn object<T: for<'a> Deserialize<'a>>(line: &[u8]) -> serde_json::Result<T> {
    if !line.trim_ascii_start().starts_with(b"{") {
        return Err(serde::de::Error::custom("not an object"));
    }
    serde_json::from_slice(line)
}

fn clean(text: &str, max_bytes: usize) -> String {
    let mut clean = String::new();
    for c in text.chars().filter(|c| !c.is_control()) {
        if clean.len() + c.len_utf8() > max_bytes {
            break;
        }
        clean.push(c);
    }
    clean
}

type Key = (IpAddr, Protocol, u16, Direction);

/// What is known of one camera's flows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// The last first line; its epoch is empty before the first report.
    pub head: Head,
    flows: BTreeMap<Key, Flow>,
}

impl Table {
    /// Where to go on.
    #[must_use]
    pub fn cursor(&self) -> u64 {
        self.head.cursor
    }

    /// Whether a report is of other accounts than those of the cursor that was asked with, and so lacks their beginning.
    #[must_use]
    pub fn is_stranger(&self, report: &Report) -> bool {
        self.head.cursor > 0 && self.head.epoch != report.head.epoch
    }

    /// The records.
    pub fn flows(&self) -> impl Iterator<Item = &Flow> {
        self.flows.values()
    }

    /// Takes a report in and gives what it adds, for the export. `now_ms` is the gateway's time, and `before_ms` what it was
    /// at the report before; 0: that is not known.
    pub fn absorb(&mut self, report: Report, now_ms: u64, before_ms: u64) -> Vec<Record> {
        if self.head.epoch != report.head.epoch {
            self.flows.clear();
        }
        let clock = Clock::new(report.head.time_ms, now_ms);
        // The clock that told the times of the report before may have been set since: cameras start in 1970.
        let clock_before = match before_ms {
            0 => clock,
            _ => Clock::new(self.head.time_ms, before_ms),
        };
        let mut records = Vec::new();
        for flow in report.flows {
            let key = (flow.peer, flow.protocol, flow.port, flow.direction);
            let before = self.flows.get(&key);
            if before.is_some_and(|before| before.cursor >= flow.cursor) {
                continue;
            }
            let start_ms = match before {
                Some(before) => clock_before.at(before.last_ms),
                None => clock.at(flow.first_ms),
            };
            let end_ms = clock.at(flow.last_ms).max(start_ms);
            if flow.local.is_ipv4() == flow.peer.is_ipv4() {
                records.extend(news(&flow, added(before, &flow), (start_ms, end_ms)));
            }
            self.flows.insert(key, flow);
            self.make_room();
        }
        self.head = report.head;
        records
    }

    fn make_room(&mut self) {
        if self.flows.len() > MAX_FLOWS {
            let oldest = self.flows.iter().min_by_key(|(_, flow)| flow.cursor);
            if let Some(key) = oldest.map(|(key, _)| *key) {
                self.flows.remove(&key);
            }
        }
    }

    /// As JSON lines, as a camera would send them.
    #[must_use]
    pub fn to_lines(&self) -> Vec<u8> {
        let mut lines = Vec::new();
        let mut flows: Vec<&Flow> = self.flows.values().collect();
        flows.sort_by_key(|flow| flow.cursor);
        // Numbers, strings and addresses: writing them to memory cannot fail.
        let _ = serde_json::to_writer(&mut lines, &self.head);
        lines.push(b'\n');
        for flow in flows {
            let _ = serde_json::to_writer(&mut lines, flow);
            lines.push(b'\n');
        }
        lines
    }

    /// What [`to_lines`](Self::to_lines) wrote.
    ///
    /// # Errors
    /// See [`BadFlows`].
    pub fn from_lines(lines: &[u8]) -> Result<Self, BadFlows> {
        let report = Report::parse(lines)?;
        let mut table = Self::default();
        table.head.epoch.clone_from(&report.head.epoch);
        let _ = table.absorb(report, 0, 0);
        Ok(table)
    }
}

/// How a camera's times are told by the gateway's clock.
#[derive(Clone, Copy)]
struct Clock {
    shift_ms: i64,
    now_ms: u64,
}

impl Clock {
    /// By what the camera's clock said, and what the gateway's did.
    fn new(camera_ms: u64, now_ms: u64) -> Self {
        let is_right = camera_ms.abs_diff(now_ms) <= MAX_CLOCK_ERROR_MS;
        let shift_ms = now_ms.cast_signed().wrapping_sub(camera_ms.cast_signed());
        Self {
            shift_ms: if is_right { 0 } else { shift_ms },
            now_ms,
        }
    }

    fn at(self, time_ms: u64) -> u64 {
        time_ms.saturating_add_signed(self.shift_ms).min(self.now_ms)
    }
}

/// What is told of a record: one way and the other, as far as anything passed. What cannot be is not told.
fn news(
    flow: &Flow,
    [bytes_out, bytes_in, packets_out, packets_in]: [Option<u64>; 4],
    (start_ms, end_ms): (u64, u64),
) -> impl Iterator<Item = Record> {
    let ways = [(true, bytes_out, packets_out), (false, bytes_in, packets_in)];
    ways.into_iter().filter_map(move |(egress, octets, packets)| {
        let octets = octets.filter(|octets| (1..=MAX_OCTETS).contains(octets))?;
        let (source, destination) = ends(flow, egress);
        Some(Record {
            start_ms,
            end_ms,
            octets,
            // Each has a header.
            packets: packets.filter(|packets| *packets <= octets),
            source,
            destination,
            protocol: flow.protocol.0,
            egress,
        })
    })
}

/// What a record adds to the one before. A counter that went back, or fewer connections, mean that the camera forgot
/// the record and began it anew.
fn added(before: Option<&Flow>, flow: &Flow) -> [Option<u64>; 4] {
    let new = flow.counters.each();
    let Some(before) = before else {
        return new;
    };
    let old = before.counters.each();
    let is_less = |(new, old): (&Option<u64>, &Option<u64>)| new < old;
    if flow.connections < before.connections || new.iter().zip(&old).any(is_less) {
        return new;
    }
    std::array::from_fn(|index| new[index].map(|new| new - old[index].unwrap_or(0)))
}

/// Source and destination of what passed one way; the caller's ports are many, and so 0.
fn ends(flow: &Flow, egress: bool) -> (SocketAddr, SocketAddr) {
    let (local, peer) = match flow.direction {
        Direction::Out => (
            SocketAddr::new(flow.local, 0),
            SocketAddr::new(flow.peer, flow.port),
        ),
        Direction::In => (
            SocketAddr::new(flow.local, flow.port),
            SocketAddr::new(flow.peer, 0),
        ),
    };
    if egress { (local, peer) } else { (peer, local) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: u64 = 1_700_000_000_000;

    fn head(epoch: &str, cursor: u64) -> String {
        format!(
            "{{\"epoch\":\"{epoch}\",\"cursor\":{cursor},\"time_ms\":{NOW},\"unexplained\":{{\"bytes_out\":5}},\"blind\":[\"a\\u0007b\"]}}\n"
        )
    }

    fn line(cursor: u64, port: u16, bytes_out: &str, connections: u64) -> String {
        format!(
            "{{\"cursor\":{cursor},\"peer\":\"203.0.113.7\",\"local\":\"192.168.1.20\",\"protocol\":\"tcp\",\"port\":{port},\
             \"direction\":\"out\",\"program\":\"/bin/\\u001bx\",\"source\":\"tcp_info\",\"bytes_out\":{bytes_out},\"bytes_in\":10,\
             \"packets_out\":null,\"packets_in\":1,\"connections\":{connections},\"first_ms\":{},\"last_ms\":{}}}\n",
            NOW - 5000,
            NOW - 1000
        )
    }

    fn report(text: &str) -> Report {
        Report::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_report_adds_what_is_new() {
        let mut table = Table::default();
        let first = report(&(head("a", 1) + &line(1, 443, "1000", 1)));
        assert!(!table.is_stranger(&first));
        let records = table.absorb(first, NOW, NOW);
        assert_eq!(records.len(), 2);
        let out = records[0];
        assert_eq!((out.octets, out.packets, out.egress), (1000, None, true));
        assert_eq!((out.start_ms, out.end_ms), (NOW - 5000, NOW - 1000));
        assert_eq!(out.source, "192.168.1.20:0".parse().unwrap());
        assert_eq!(out.destination, "203.0.113.7:443".parse().unwrap());
        assert_eq!(
            (records[1].source, records[1].packets),
            (out.destination, Some(1))
        );
        // The same again is not news, and one that grew adds the difference, here one way alone.
        assert_eq!(
            table.absorb(report(&(head("a", 1) + &line(1, 443, "1000", 1))), NOW, NOW),
            []
        );
        let records = table.absorb(report(&(head("a", 2) + &line(2, 443, "1500", 1))), NOW, NOW);
        assert_eq!(
            records.iter().map(|record| record.octets).collect::<Vec<_>>(),
            [500]
        );
        assert_eq!(records[0].start_ms, NOW - 1000);
        // The camera forgot the record and began it anew.
        let records = table.absorb(report(&(head("a", 3) + &line(3, 443, "700", 1))), NOW, NOW);
        assert_eq!(
            records.iter().map(|record| record.octets).collect::<Vec<_>>(),
            [700, 10]
        );
        // The camera began its accounts anew.
        let other = report(&(head("b", 1) + &line(1, 443, "9", 1)));
        assert!(table.is_stranger(&other));
        assert_eq!(table.absorb(other, NOW, NOW)[0].octets, 9);
        assert_eq!((table.cursor(), table.flows().count()), (1, 1));
    }

    #[test]
    fn what_cannot_be_is_not_believed() {
        let mut table = Table::default();
        let text = head("a", 9) + &line(1, 1, "18446744073709551615", 1) + &line(2, 2, "null", 1);
        let records = table.absorb(report(&text), NOW, NOW);
        assert!(records.iter().all(|record| !record.egress), "{records:?}");
        // A camera of 1970: its times are moved to ours.
        let text = (head("c", 1) + &line(1, 1, "5", 1))
            .replace(&NOW.to_string(), "60000")
            .replace(&(NOW - 5000).to_string(), "55000")
            .replace(&(NOW - 1000).to_string(), "59000");
        let records = table.absorb(report(&text), NOW, NOW);
        assert_eq!((records[0].start_ms, records[0].end_ms), (NOW - 5000, NOW - 1000));
        // One of the far future ends now.
        let text =
            (head("d", 1) + &line(1, 1, "5", 1)).replace(&(NOW - 1000).to_string(), &u64::MAX.to_string());
        let records = table.absorb(report(&text), NOW, NOW);
        assert_eq!(records[0].end_ms, NOW);
        let flow = table.flows().next().unwrap();
        assert_eq!(flow.program.as_deref(), Some("/bin/x"));
        assert_eq!(table.head.blind, ["ab"]);
    }

    #[test]
    fn a_clock_that_is_set_makes_no_flow_of_decades() {
        let mut table = Table::default();
        let at = |text: &str, time: u64| {
            let times = [NOW, NOW - 5000, NOW - 1000];
            let moved =
                |text: String, ms: u64| text.replace(&ms.to_string(), &(time - (NOW - ms)).to_string());
            times.into_iter().fold(text.to_owned(), moved)
        };
        // It starts in 1970.
        let first = at(&(head("a", 1) + &line(1, 443, "1000", 1)), 60_000);
        let records = table.absorb(report(&first), NOW - 60_000, 0);
        assert_eq!(
            (records[0].start_ms, records[0].end_ms),
            (NOW - 65_000, NOW - 61_000)
        );
        // A minute later it knows what time it is.
        let records = table.absorb(
            report(&(head("a", 2) + &line(2, 443, "3000", 1))),
            NOW,
            NOW - 60_000,
        );
        assert_eq!(records[0].octets, 2000);
        assert_eq!(
            (records[0].start_ms, records[0].end_ms),
            (NOW - 61_000, NOW - 1000)
        );
        // And back.
        let again = at(&(head("a", 3) + &line(3, 443, "3500", 1)), 60_000);
        let records = table.absorb(report(&again), NOW + 60_000, NOW);
        assert_eq!(
            (records[0].start_ms, records[0].end_ms),
            (NOW - 1000, NOW + 59_000)
        );
    }

    #[test]
    fn what_no_packet_can_be_is_not_exported() {
        let mut table = Table::default();
        let text = head("a", 2)
            + &line(1, 1, "5", 1).replace("\"packets_out\":null", "\"packets_out\":18446744073709551615");
        let mixed = line(2, 2, "5", 1).replace("192.168.1.20", "2001:db8::1");
        let records = table.absorb(report(&(text + &mixed)), NOW, NOW);
        assert_eq!(records.len(), 2, "one flow, both ways: {records:?}");
        assert_eq!((records[0].octets, records[0].packets), (5, None));
    }

    #[test]
    fn a_refusal_quotes_nothing() {
        let good = line(1, 1, "1", 1);
        for (from, to) in [
            ("\"direction\":\"out\"", "\"direction\":\"198.51.100.9\\n\""),
            ("\"port\":1", "\"port\":\"198.51.100.9\\n\""),
        ] {
            let bad = head("a", 1) + &good.replace(from, to);
            let said = Report::parse(bad.as_bytes()).unwrap_err().to_string();
            assert!(!said.contains("198.51") && said.starts_with("line 2 "), "{said}");
        }
    }

    #[test]
    fn what_is_no_report_is_refused() {
        let many: String = (0..=MAX_FLOWS as u64).map(|n| line(n, 1, "1", 1)).collect();
        for bad in [
            "",
            "\n\n",
            "x",
            "[]",
            "{\"epoch\":1}",
            "{\"cursor\":-1}",
            "{}",
            &(head("a", 1) + "{}"),
            &(head("a", 1) + "x"),
            &(head("a", 1) + &many),
            &(head("a", 1) + &line(1, 1, "1", 1).replace("tcp\"", "256\"")),
            &(head("a", 1) + &line(1, 1, "1", 1).replace("203.0.113.7", "host.example")),
        ] {
            assert!(Report::parse(bad.as_bytes()).is_err(), "{bad:.80}");
        }
    }

    #[test]
    fn a_camera_cannot_fill_the_memory() {
        let mut table = Table::default();
        for round in 0..4u64 {
            let lines: String = (0..MAX_FLOWS as u64)
                .map(|n| line(round * 1000 + n + 1, (round * 1000 + n) as u16, "1", 1))
                .collect();
            let _ = table.absorb(report(&(head("a", round * 1000 + 999) + &lines)), NOW, NOW);
        }
        assert_eq!(table.flows().count(), MAX_FLOWS);
        assert!(table.flows().all(|flow| flow.cursor > 3000));
    }

    #[test]
    fn a_table_is_kept_and_read_back() {
        let mut table = Table::default();
        let text =
            head("a", 2) + &line(1, 443, "1000", 1) + &line(2, 53, "null", 3).replace("\"tcp\"", "\"47\"");
        let _ = table.absorb(report(&text), NOW, NOW);
        assert_eq!(Table::from_lines(&table.to_lines()).unwrap(), table);
        assert!(
            String::from_utf8(table.to_lines())
                .unwrap()
                .contains("\"protocol\":\"47\"")
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200), text in "\\{.{0,60}\\}\n\\{.{0,60}\\}") {
            let _ = Report::parse(&bytes);
            let _ = Report::parse(text.as_bytes());
        }

        /// Over any growth, what is exported adds up to the last counter.
        #[test]
        fn what_is_exported_adds_up(steps in proptest::collection::vec(0..5000u64, 1..30)) {
            let (mut table, mut total, mut exported) = (Table::default(), 0, 0);
            for (cursor, step) in (1..).zip(steps) {
                total += step;
                let text = head("a", cursor) + &line(cursor, 443, &total.to_string(), cursor);
                let records = table.absorb(report(&text), NOW, NOW);
                exported += records.iter().filter(|record| record.egress).map(|record| record.octets).sum::<u64>();
            }
            prop_assert_eq!(exported, total);
        }
    }
}
