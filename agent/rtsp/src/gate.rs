//! Which access units of one video track are forwarded (whole) and which are not (at all).

use core::time::Duration;

use crate::access_unit::{Codec, Contents, RandomAccess, Rtp};
use crate::queue::{Kind, Queue};
use crate::{Counters, Dropped, Limits, Now};

/// Patience for a random access point while the distance between them is not known.
const PATIENCE: Duration = Duration::from_secs(5);
/// Least patience, however close together random access points have been.
const MIN_PATIENCE: Duration = Duration::from_secs(1);
/// Longest distance between random access points that is believed.
const MAX_GOP: Duration = Duration::from_secs(10);
/// Parameter sets and SEI kept while it is not known what picture they belong to.
const MAX_HELD: usize = 8 << 10;
/// The recent largest access unit sinks by this share per unit: half of it is left after 177 units.
const DECAY: usize = 256;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reason {
    Full,
    Late,
    Waiting,
    Rasl,
    Oversize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// Packets are held until a slice says what picture this is.
    Undecided,
    Forward(u32),
    Drop(Reason),
}

#[derive(Debug)]
struct Unit {
    timestamp: u32,
    fate: Fate,
    /// Bytes seen, frame heads included.
    bytes: usize,
    /// Bytes given to the queue.
    queued: usize,
    slice_seen: bool,
    /// The last packet so far had the marker.
    marked: bool,
}

impl Unit {
    /// Whether a packet with this timestamp belongs to another access unit. Some cameras mark every slice, so
    /// the marker alone ends none; some clocks stand still, so beyond `bound` bytes it does.
    fn ends_before(&self, timestamp: u32, bound: usize) -> bool {
        self.timestamp != timestamp || (self.marked && self.bytes > bound)
    }
}

/// What a gate works on besides itself.
pub(crate) struct Outlet<'a> {
    pub(crate) now: Now,
    pub(crate) limits: &'a Limits,
    pub(crate) queue: &'a mut Queue,
    pub(crate) counters: &'a mut Counters,
}

/// The policy of one video track.
#[derive(Debug)]
pub(crate) struct Gate {
    codec: Codec,
    unit: Option<Unit>,
    /// Recent largest access unit, in bytes.
    largest: usize,
    /// Dropped something, or saw the last random access point that did not fit, at this time.
    waiting: Option<Now>,
    random_access_at: Option<Now>,
    gop: Option<Duration>,
    skip_rasl: bool,
    /// Whole frames of an undecided unit, each with its length before it.
    held: Vec<u8>,
}

impl Gate {
    pub(crate) fn new(codec: Codec) -> Self {
        Self {
            codec,
            unit: None,
            largest: 0,
            waiting: None,
            random_access_at: None,
            gop: None,
            skip_rasl: false,
            held: Vec::new(),
        }
    }

    /// Playing has stopped or started anew: the pause says nothing about random access points.
    pub(crate) fn restart(&mut self) {
        self.random_access_at = None;
    }

    /// Takes one packet: `head` is the viewer's `$` frame head.
    pub(crate) fn handle_packet(
        &mut self,
        head: [u8; 4],
        packet: &[u8],
        rtp: &Rtp<'_>,
        outlet: &mut Outlet<'_>,
    ) {
        let len = head.len() + packet.len();
        if self
            .unit
            .as_ref()
            .is_none_or(|unit| unit.ends_before(rtp.timestamp, outlet.limits.queue_bytes))
        {
            self.end_unit(outlet);
            let fate = self.first_fate(len, outlet);
            if let Fate::Drop(reason) = fate {
                dropped(outlet.counters, reason).units += 1;
            }
            self.unit = Some(Unit {
                timestamp: rtp.timestamp,
                fate,
                bytes: 0,
                queued: 0,
                slice_seen: false,
                marked: false,
            });
        }
        self.look(rtp, len, outlet);
        let Some(unit) = &mut self.unit else { return };
        unit.bytes += len;
        unit.marked = rtp.marker;
        match unit.fate {
            Fate::Forward(_) => self.forward(head, packet, outlet),
            Fate::Drop(reason) => dropped(outlet.counters, reason).add_packet(len),
            Fate::Undecided => self.hold(head, packet, outlet),
        }
    }

    /// Whether a new access unit fits the queue.
    fn room(&self, packet: usize, outlet: &Outlet<'_>) -> Result<(), Reason> {
        if outlet.queue.is_empty() {
            return Ok(());
        }
        if outlet.queue.age(outlet.now) > outlet.limits.queue_age {
            return Err(Reason::Late);
        }
        let reserve = (self.largest + self.largest / 2).max(packet + self.held.len());
        if outlet.queue.len() + reserve > outlet.limits.queue_bytes {
            return Err(Reason::Full);
        }
        Ok(())
    }

    fn first_fate(&mut self, packet: usize, outlet: &mut Outlet<'_>) -> Fate {
        if self.waiting.is_some() || self.skip_rasl {
            return Fate::Undecided;
        }
        match self.room(packet, outlet) {
            Ok(()) => Fate::Forward(outlet.queue.begin_unit()),
            Err(reason) => {
                self.waiting = Some(outlet.now);
                Fate::Drop(reason)
            }
        }
    }

    /// Looks for the first slice of the unit, which says what picture it is.
    fn look(&mut self, rtp: &Rtp<'_>, len: usize, outlet: &mut Outlet<'_>) {
        let Some(unit) = &mut self.unit else { return };
        if unit.slice_seen {
            return;
        }
        let contents = Contents::inspect(self.codec, rtp.payload);
        unit.slice_seen = contents.slice;
        let undecided = unit.fate == Fate::Undecided;
        if contents.random_access.is_some() {
            self.note_random_access(outlet.now);
        }
        if !contents.slice || !undecided {
            return;
        }
        let fate = self.decide(contents, len, outlet);
        if let Some(unit) = &mut self.unit {
            unit.fate = fate;
        }
        match fate {
            Fate::Drop(reason) => self.drop_held(reason, outlet),
            Fate::Forward(_) | Fate::Undecided => self.flush_held(outlet),
        }
    }

    fn note_random_access(&mut self, now: Now) {
        if let Some(before) = self.random_access_at {
            let gop = now.saturating_sub(before);
            self.gop = (!gop.is_zero() && gop <= MAX_GOP).then_some(gop).or(self.gop);
        }
        self.random_access_at = Some(now);
    }

    fn decide(&mut self, contents: Contents, len: usize, outlet: &mut Outlet<'_>) -> Fate {
        let Some(since) = self.waiting else {
            // Only RASL pictures are held back.
            if contents.random_access.is_some() {
                self.skip_rasl = false;
            } else if contents.rasl {
                return Fate::Drop(Reason::Rasl);
            }
            return match self.room(len, outlet) {
                Ok(()) => Fate::Forward(outlet.queue.begin_unit()),
                Err(reason) => {
                    self.waiting = Some(outlet.now);
                    Fate::Drop(reason)
                }
            };
        };
        let patience = self.gop.map_or(PATIENCE, |gop| (gop * 2).max(MIN_PATIENCE));
        let in_time = outlet.now.saturating_sub(since) < patience;
        if contents.random_access.is_none() && in_time {
            return Fate::Drop(Reason::Waiting);
        }
        if let Err(reason) = self.room(len, outlet) {
            if contents.random_access.is_some() {
                self.waiting = Some(outlet.now);
            }
            return Fate::Drop(reason);
        }
        self.waiting = None;
        self.skip_rasl = contents.random_access == Some(RandomAccess::SkipRasl);
        match contents.random_access {
            Some(_) => outlet.counters.resumed_random_access += 1,
            None => outlet.counters.resumed_anywhere += 1,
        }
        Fate::Forward(outlet.queue.begin_unit())
    }

    fn forward(&mut self, head: [u8; 4], packet: &[u8], outlet: &mut Outlet<'_>) {
        let len = head.len() + packet.len();
        let Some(unit) = &mut self.unit else { return };
        let Fate::Forward(id) = unit.fate else { return };
        if outlet.queue.len() + len <= outlet.limits.queue_hard_bytes {
            unit.queued += len;
            outlet.queue.push(outlet.now, Kind::Video(id), &head, packet);
            outlet.counters.packets_queued += 1;
            return;
        }
        let lost = dropped(outlet.counters, Reason::Oversize);
        lost.units += 1;
        lost.add_packet(len);
        unit.fate = Fate::Drop(Reason::Oversize);
        self.waiting = Some(outlet.now);
        let here = outlet.queue.unit_bytes(id);
        if here == unit.queued {
            outlet.queue.remove_unit(id);
            dropped(outlet.counters, Reason::Oversize).bytes += here as u64;
        } else {
            outlet.counters.torn_units += 1;
        }
    }

    fn hold(&mut self, head: [u8; 4], packet: &[u8], outlet: &mut Outlet<'_>) {
        let len = head.len() + packet.len();
        if self.held.len() + len > MAX_HELD {
            if let Some(unit) = &mut self.unit {
                unit.fate = Fate::Drop(Reason::Waiting);
            }
            self.drop_held(Reason::Waiting, outlet);
            outlet.counters.dropped_waiting.add_packet(len);
            return;
        }
        self.held.extend_from_slice(&(len as u32).to_be_bytes());
        self.held.extend_from_slice(&head);
        self.held.extend_from_slice(packet);
    }

    fn flush_held(&mut self, outlet: &mut Outlet<'_>) {
        let held = core::mem::take(&mut self.held);
        let mut rest = held.as_slice();
        while let Some((frame, after)) = split_held(rest) {
            if let Some((head, packet)) = frame.split_first_chunk::<4>() {
                self.forward(*head, packet, outlet);
            }
            rest = after;
        }
    }

    fn drop_held(&mut self, reason: Reason, outlet: &mut Outlet<'_>) {
        let held = core::mem::take(&mut self.held);
        let lost = dropped(outlet.counters, reason);
        lost.units += 1;
        let mut rest = held.as_slice();
        while let Some((frame, after)) = split_held(rest) {
            lost.add_packet(frame.len());
            rest = after;
        }
    }

    /// The timestamp has changed: the unit is whole.
    fn end_unit(&mut self, outlet: &mut Outlet<'_>) {
        let Some(unit) = &mut self.unit else { return };
        if unit.fate == Fate::Undecided {
            // Parameter sets alone: small, and the picture after them may need them.
            match outlet.queue.len() + unit.bytes <= outlet.limits.queue_bytes {
                true => {
                    unit.fate = Fate::Forward(outlet.queue.begin_unit());
                    self.flush_held(outlet);
                }
                false => self.drop_held(Reason::Full, outlet),
            }
        }
        let Some(unit) = self.unit.take() else { return };
        let sunk = self.largest - self.largest / DECAY;
        self.largest = sunk.max(unit.bytes);
        let largest = &mut outlet.counters.largest_access_unit_bytes;
        *largest = (*largest).max(unit.bytes as u64);
    }
}

fn split_held(held: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = held.split_first_chunk::<4>()?;
    rest.split_at_checked(u32::from_be_bytes(*len) as usize)
}

fn dropped(counters: &mut Counters, reason: Reason) -> &mut Dropped {
    match reason {
        Reason::Full => &mut counters.dropped_full,
        Reason::Late => &mut counters.dropped_late,
        Reason::Waiting => &mut counters.dropped_waiting,
        Reason::Rasl => &mut counters.dropped_rasl,
        Reason::Oversize => &mut counters.dropped_oversize,
    }
}

#[cfg(test)]
mod tests;
