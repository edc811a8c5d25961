//! What is kept of a stream while it lives, and for a while afterwards.

use crate::Now;
use alloc::collections::VecDeque;

/// How many closed streams are remembered, to tell a late frame from a broken peer.
const MAX_RECENT: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Send {
    /// The request waits for its answer.
    Awaiting,
    /// The body is pulled.
    Streaming,
    /// END_STREAM was sent.
    Ended,
}

#[derive(Debug)]
pub(super) struct Stream {
    /// The peer has not ended its half.
    pub(super) recv_open: bool,
    pub(super) recv_window: i64,
    /// Received bytes whose credit has not been returned yet.
    pub(super) recv_credit: u32,
    /// What `content-length` still promises.
    pub(super) expected: Option<u64>,
    /// An extended CONNECT: each half ends by itself.
    pub(super) tunnel: bool,
    pub(super) send: Send,
    pub(super) send_window: i64,
    /// The body has bytes.
    pub(super) body_ready: bool,
    /// It stands in the line of ready streams.
    pub(super) queued: bool,
    /// When the peer's half is cut off after this side's has ended.
    pub(super) linger_until: Option<Now>,
}

impl Stream {
    pub(super) fn can_send(&self) -> bool {
        self.send == Send::Streaming && self.body_ready && self.send_window > 0
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// Reset or refused by this side: what is still under way is ignored.
    Here,
    /// Ended by both sides, or reset by the peer.
    ByPeer,
}

#[derive(Debug, Default)]
pub(super) struct Recent(VecDeque<(u32, Ended)>);

impl Recent {
    pub(super) fn push(&mut self, id: u32, how: Ended) {
        if self.0.len() >= MAX_RECENT {
            self.0.pop_front();
        }
        self.0.push_back((id, how));
    }

    pub(super) fn find(&self, id: u32) -> Option<Ended> {
        self.0
            .iter()
            .rev()
            .find(|(known, _)| *known == id)
            .map(|(_, how)| *how)
    }
}
