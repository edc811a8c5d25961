//! The state as text, in lines of fields with tabs between them, and back.

use core::fmt::{Display, Write as _};
use core::str::{FromStr, Split};

use super::{
    Connection, Counts, Flow, Interface, MAX_BLIND, MAX_CONNECTIONS, MAX_FLOWS, MAX_INTERFACES, Opener,
    Source, State, clean_name,
};

/// The first line of a file that this version reads.
const HEADING: &str = "lenscap flows 1";
const NONE: &str = "-";
/// The longest file, in bytes: every table full, and some room.
pub const MAX_BYTES: usize = 256 * 1024;

impl State {
    fn numbers(&mut self) -> [&mut u64; 17] {
        let Self {
            epoch,
            cursor,
            started_ms,
            time_ms,
            uptime_ms,
            samples,
            evicted,
            untracked,
            resets,
            carried: [a, b, c, d],
            explained: [e, f, g, h],
            ..
        } = self;
        [
            epoch, cursor, started_ms, time_ms, uptime_ms, samples, evicted, untracked, resets, a, b, c, d,
            e, f, g, h,
        ]
    }

    /// The whole state.
    #[must_use]
    pub fn to_text(&mut self) -> String {
        let mut text = String::from(HEADING);
        text.push_str("\ns");
        for number in self.numbers() {
            field(&mut text, number);
        }
        for interface in &self.interfaces {
            text.push_str("\ni");
            field(&mut text, &interface.name);
            interface
                .counters
                .iter()
                .for_each(|count| field(&mut text, count));
        }
        for sentence in &self.blind {
            text.push_str("\nb");
            field(&mut text, sentence);
        }
        for flow in &self.flows {
            text.push_str("\nf");
            for number in [flow.cursor, flow.first_ms, flow.last_ms, flow.connections] {
                field(&mut text, &number);
            }
            for number in [
                u16::from(flow.protocol),
                flow.port,
                flow.opener as u16,
                flow.source as u16,
            ] {
                field(&mut text, &number);
            }
            field(&mut text, &flow.peer);
            field(&mut text, &flow.local);
            counts(&mut text, &flow.counts);
            field(&mut text, &flow.program.as_deref().unwrap_or(NONE));
        }
        for connection in &self.connections {
            text.push_str("\nc");
            field(&mut text, &connection.protocol);
            field(&mut text, &connection.local);
            field(&mut text, &connection.remote);
            counts(&mut text, &connection.counts);
        }
        text.push('\n');
        text
    }

    /// What [`to_text`](Self::to_text) wrote; `None` for anything else.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        let mut lines = text.strip_suffix('\n')?.split('\n');
        if lines.next()? != HEADING {
            return None;
        }
        let mut state = Self::default();
        for line in lines {
            let mut fields = line.split('\t');
            match fields.next()? {
                "s" => {
                    for number in state.numbers() {
                        *number = next(&mut fields)?;
                    }
                }
                "i" if state.interfaces.len() < MAX_INTERFACES => {
                    let name = clean_name(fields.next()?);
                    let mut counters = [0; 4];
                    for count in &mut counters {
                        *count = next(&mut fields)?;
                    }
                    state.interfaces.push(Interface { name, counters });
                }
                "b" if state.blind.len() < MAX_BLIND => state.blind.push(fields.next()?.to_owned()),
                "f" if state.flows.len() < MAX_FLOWS => {
                    let flow = flow(&mut fields)?;
                    // The order of the cursors is what an answer since one of them rests on.
                    let last = state.flows.last().map_or(0, |flow| flow.cursor);
                    (last < flow.cursor && flow.cursor <= state.cursor).then_some(())?;
                    state.flows.push(flow);
                }
                "c" if state.connections.len() < MAX_CONNECTIONS => {
                    state.connections.push(connection(&mut fields)?);
                }
                _ => return None,
            }
        }
        Some(state)
    }
}

fn field(text: &mut String, value: &dyn Display) {
    // Writing to a String does not fail.
    let _ = write!(text, "\t{value}");
}

fn counts(text: &mut String, counts: &Counts) {
    for count in &counts.0 {
        match count {
            Some(count) => field(text, count),
            None => field(text, &NONE),
        }
    }
}

fn next<T: FromStr>(fields: &mut Split<'_, char>) -> Option<T> {
    fields.next()?.parse().ok()
}

fn next_counts(fields: &mut Split<'_, char>) -> Option<Counts> {
    let mut counts = Counts::default();
    for count in &mut counts.0 {
        *count = match fields.next()? {
            NONE => None,
            number => Some(number.parse().ok()?),
        };
    }
    Some(counts)
}

fn flow(fields: &mut Split<'_, char>) -> Option<Flow> {
    let mut numbers = [0; 4];
    for number in &mut numbers {
        *number = next(fields)?;
    }
    let [cursor, first_ms, last_ms, connections] = numbers;
    Some(Flow {
        cursor,
        first_ms,
        last_ms,
        connections,
        protocol: next(fields)?,
        port: next(fields)?,
        opener: match fields.next()? {
            "0" => Opener::Camera,
            "1" => Opener::Peer,
            _ => return None,
        },
        source: match fields.next()? {
            "0" => Source::Proc,
            "1" => Source::Diag,
            "2" => Source::Conntrack,
            _ => return None,
        },
        peer: next(fields)?,
        local: next(fields)?,
        counts: next_counts(fields)?,
        program: match fields.next()? {
            NONE => None,
            name => Some(clean_name(name)),
        },
    })
}

fn connection(fields: &mut Split<'_, char>) -> Option<Connection> {
    Some(Connection {
        protocol: next(fields)?,
        local: next(fields)?,
        remote: next(fields)?,
        counts: next_counts(fields)?,
        opener: Opener::Camera,
        source: Source::Proc,
        program: None,
    })
}
