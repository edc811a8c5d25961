//! What goes on in the streams of one connection.

use std::time::Duration;

use lenscap_uplink::h2::{Bodies, BodyRead, StreamId};
use lenscap_uplink::table::Table;

use crate::run::relay::Relay;
use crate::run::slots::Slot;
use crate::run::snapshot::Fetch;

/// Longest body of a request.
pub(super) const MAX_REQUEST_BODY_BYTES: usize = 4096;

/// One request from its head to the end of its answer.
pub(super) enum Exchange {
    /// An RTSP session.
    Relay(Box<Relay>),
    /// A snapshot on its way from the camera.
    Snapshot(Box<Fetch>),
    /// `POST /uplink/move`, whose body is still coming.
    Move { target: Option<String>, body: Vec<u8> },
    /// An answer being sent. A large one holds a permit, and not for longer than it may.
    Answer {
        body: Vec<u8>,
        sent: usize,
        held: Option<(Slot, Duration)>,
    },
}

/// The streams of one connection.
#[derive(Default)]
pub(super) struct Exchanges {
    pub(super) streams: Table<StreamId, Exchange>,
}

impl Exchanges {
    pub(super) fn relays(&self) -> impl Iterator<Item = &Relay> {
        self.streams.values().filter_map(|exchange| match exchange {
            Exchange::Relay(relay) => Some(relay.as_ref()),
            Exchange::Snapshot(_) | Exchange::Move { .. } | Exchange::Answer { .. } => None,
        })
    }

    pub(super) fn relays_mut(&mut self) -> impl Iterator<Item = &mut Relay> {
        self.streams.values_mut().filter_map(|exchange| match exchange {
            Exchange::Relay(relay) => Some(relay.as_mut()),
            Exchange::Snapshot(_) | Exchange::Move { .. } | Exchange::Answer { .. } => None,
        })
    }

    pub(super) fn poll_timeout(&self) -> Option<Duration> {
        self.streams
            .values()
            .filter_map(|exchange| match exchange {
                Exchange::Relay(relay) => relay.poll_timeout(),
                Exchange::Snapshot(fetch) => Some(fetch.poll_timeout()),
                Exchange::Answer { held, .. } => held.as_ref().map(|(_, until)| *until),
                Exchange::Move { .. } => None,
            })
            .min()
    }

    /// Answers that the gateway does not fetch.
    pub(super) fn overdue(&self, now: Duration) -> Vec<StreamId> {
        let is_overdue = |exchange: &Exchange| matches!(exchange, Exchange::Answer { held: Some((_, until)), .. } if *until <= now);
        self.streams
            .iter()
            .filter_map(|(stream, exchange)| is_overdue(exchange).then_some(*stream))
            .collect()
    }
}

/// The bodies as HTTP/2 pulls them, at one moment.
pub(super) struct Pull<'a> {
    pub(super) now: Duration,
    pub(super) exchanges: &'a mut Exchanges,
}

impl Bodies for Pull<'_> {
    fn read(&mut self, stream: StreamId, out: &mut Vec<u8>, max: usize) -> BodyRead {
        match self.exchanges.streams.get_mut(&stream) {
            Some(Exchange::Relay(relay)) => relay.poll_body(self.now, out, max),
            Some(Exchange::Answer { body, sent, .. }) => {
                let end = body.len().min(sent.saturating_add(max));
                out.extend_from_slice(body.get(*sent..end).unwrap_or_default());
                *sent = end;
                if end < body.len() {
                    return BodyRead::Bytes;
                }
                self.exchanges.streams.remove(&stream);
                BodyRead::End
            }
            Some(Exchange::Snapshot(_) | Exchange::Move { .. }) => BodyRead::Drained,
            None => BodyRead::End,
        }
    }
}
