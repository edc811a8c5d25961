//! What waits for the viewer: one contiguous ring of bytes and, beside it, where each message or `$` frame
//! ends, when it came and which access unit it belongs to.

use core::time::Duration;
use std::collections::VecDeque;

use crate::Now;

/// Capacity that is kept when the queue is idle.
const IDLE_CAPACITY: usize = 16 << 10;
const IDLE_RECORDS: usize = 64;
/// How long the queue must have been larger than needed before memory is given back.
const SHRINK_AFTER: Duration = Duration::from_secs(5);

/// What a queued item is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// An RTSP message: never dropped.
    Message,
    /// A packet of this access unit of video.
    Video(u32),
    /// Audio, metadata, RTCP.
    Side,
}

#[derive(Debug)]
struct Record {
    len: u32,
    at_ms: u32,
    kind: Kind,
}

/// The viewer's queue.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    bytes: VecDeque<u8>,
    records: VecDeque<Record>,
    side_bytes: usize,
    message_bytes: usize,
    next_unit: u32,
    /// The time of the last push, and the same in milliseconds: old CPUs divide slowly, and many packets come at once.
    stamp: (Now, u32),
    /// Most bytes held since memory was last given back.
    peak: usize,
    shrunk_at: Now,
}

impl Queue {
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(crate) fn side_bytes(&self) -> usize {
        self.side_bytes
    }

    pub(crate) fn message_bytes(&self) -> usize {
        self.message_bytes
    }

    /// Age of the oldest queued byte.
    pub(crate) fn age(&self, now: Now) -> Duration {
        self.records.front().map_or(Duration::ZERO, |oldest| {
            Duration::from_millis(u64::from(millis(now).wrapping_sub(oldest.at_ms)))
        })
    }

    /// A name for the next access unit.
    pub(crate) fn begin_unit(&mut self) -> u32 {
        self.next_unit = self.next_unit.wrapping_add(1);
        self.next_unit
    }

    pub(crate) fn push(&mut self, now: Now, kind: Kind, head: &[u8], payload: &[u8]) {
        let len = head.len() + payload.len();
        self.bytes.extend(head);
        self.bytes.extend(payload);
        match kind {
            Kind::Message => self.message_bytes += len,
            Kind::Side => self.side_bytes += len,
            Kind::Video(_) => {}
        }
        if self.stamp.0 != now {
            self.stamp = (now, millis(now));
        }
        // A message is at most a head and a body, a frame 64 KiB: far below 4 GiB.
        self.records.push_back(Record {
            len: len as u32,
            at_ms: self.stamp.1,
            kind,
        });
        self.peak = self.peak.max(self.bytes.len());
    }

    /// Bytes of an access unit that are still here.
    pub(crate) fn unit_bytes(&self, unit: u32) -> usize {
        let of_unit = self
            .records
            .iter()
            .filter(|record| record.kind == Kind::Video(unit));
        of_unit.map(|record| record.len as usize).sum()
    }

    /// Takes an access unit out again, wherever its packets stand. Rare, so it may copy.
    pub(crate) fn remove_unit(&mut self, unit: u32) {
        let mut kept = VecDeque::with_capacity(self.bytes.len());
        let mut at = 0;
        self.records.retain(|record| {
            let end = at + record.len as usize;
            let keep = record.kind != Kind::Video(unit);
            if keep {
                kept.extend(self.bytes.range(at..end));
            }
            at = end;
            keep
        });
        self.bytes = kept;
    }

    /// Appends whole items while they fit into `max`; the first one is split when it alone does not.
    pub(crate) fn read(&mut self, out: &mut Vec<u8>, max: usize) -> usize {
        let mut total = 0;
        while let Some(front) = self.records.front_mut() {
            let len = front.len as usize;
            let take = if total + len <= max {
                len
            } else if total == 0 {
                max
            } else {
                break;
            };
            match front.kind {
                Kind::Message => self.message_bytes -= take,
                Kind::Side => self.side_bytes -= take,
                Kind::Video(_) => {}
            }
            total += take;
            if take < len {
                front.len -= take as u32;
                break;
            }
            self.records.pop_front();
        }
        let (first, second) = self.bytes.as_slices();
        let cut = total.min(first.len());
        out.extend_from_slice(first.get(..cut).unwrap_or_default());
        out.extend_from_slice(second.get(..total - cut).unwrap_or_default());
        self.bytes.drain(..total);
        total
    }

    /// Gives memory back when the queue is empty and has been oversized for a while.
    pub(crate) fn shrink(&mut self, now: Now) {
        if !self.bytes.is_empty() || now < self.shrunk_at + SHRINK_AFTER {
            return;
        }
        self.shrunk_at = now;
        if self.bytes.capacity() > 2 * self.peak.max(IDLE_CAPACITY) {
            self.bytes.shrink_to(self.peak.max(IDLE_CAPACITY));
            self.records.shrink_to(IDLE_RECORDS);
        }
        self.peak = 0;
    }

    /// When [`shrink`](Self::shrink) has something to do, if the queue stays idle.
    pub(crate) fn poll_timeout(&self) -> Option<Now> {
        let oversized = self.bytes.is_empty() && self.bytes.capacity() > 2 * IDLE_CAPACITY;
        oversized.then_some(self.shrunk_at + SHRINK_AFTER)
    }
}

/// Wraps after 49 days; only differences are used.
fn millis(now: Now) -> u32 {
    now.as_millis() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn read(queue: &mut Queue, max: usize) -> Vec<u8> {
        let mut out = Vec::new();
        let n = queue.read(&mut out, max);
        assert_eq!(n, out.len());
        out
    }

    #[test]
    fn whole_items_or_a_split_first_one() {
        let mut queue = Queue::default();
        queue.push(MS, Kind::Message, b"ab", b"cd");
        queue.push(2 * MS, Kind::Side, b"ef", b"");
        queue.push(3 * MS, Kind::Video(1), b"", b"ghi");
        assert_eq!(read(&mut queue, 3), b"abc");
        assert_eq!((queue.message_bytes(), queue.side_bytes()), (1, 2));
        assert_eq!(queue.age(11 * MS), 10 * MS);
        assert_eq!(read(&mut queue, 5), b"def");
        assert_eq!(queue.age(11 * MS), 8 * MS);
        assert_eq!(read(&mut queue, 5), b"ghi");
        assert_eq!(read(&mut queue, 5), b"");
        assert_eq!(
            (queue.len(), queue.message_bytes(), queue.side_bytes()),
            (0, 0, 0)
        );
    }

    #[test]
    fn removes_one_unit_between_others() {
        let mut queue = Queue::default();
        queue.push(MS, Kind::Video(1), b"", b"11");
        queue.push(MS, Kind::Video(2), b"", b"22");
        queue.push(MS, Kind::Side, b"", b"s");
        queue.push(MS, Kind::Video(2), b"", b"2");
        assert_eq!(queue.unit_bytes(2), 3);
        queue.remove_unit(2);
        assert_eq!(read(&mut queue, 99), b"11s");
    }

    #[test]
    fn gives_memory_back() {
        let mut queue = Queue::default();
        queue.push(MS, Kind::Side, b"", &[0; 500_000]);
        read(&mut queue, 500_000);
        assert!(queue.poll_timeout().is_some());
        for s in 1..4 {
            queue.shrink(Duration::from_secs(6 * s));
        }
        assert!(queue.bytes.capacity() <= 2 * IDLE_CAPACITY);
        assert_eq!(queue.poll_timeout(), None);
    }
}
