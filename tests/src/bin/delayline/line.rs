//! One direction of the link: a bounded queue before a rate, then loss, then a delay. Sans-IO.

use std::collections::{BTreeSet, VecDeque};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::Serialize;

use crate::sniff;

/// Packets on the wire (sent, not yet arrived) beyond which the line drops: 100 MB of full packets.
const MAX_PACKETS_ON_WIRE: usize = 70_000;
/// Buffers kept for reuse.
const MAX_SPARE_BUFFERS: usize = 4096;
/// Bytes of queue that every rate gets, so that one full packet always passes.
const MIN_QUEUE_BYTES: u64 = 3000;

/// What one direction does to packets.
#[derive(Clone, Debug)]
pub(crate) struct LineConfig {
    /// One-way delay, nanoseconds.
    pub(crate) delay_ns: u64,
    /// Probability of losing a packet, 0 to 1.
    pub(crate) loss: f64,
    /// Bits per second; `None` is as fast as packets come.
    pub(crate) rate_bps: Option<u64>,
    /// Bytes that may wait for the rate; more are dropped at the tail.
    pub(crate) queue_bytes: u64,
    /// Seed of the loss.
    pub(crate) seed: u64,
}

/// What one direction did.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct LineStats {
    /// Packets taken from the sender.
    pub(crate) packets_in: u64,
    /// Their bytes.
    pub(crate) bytes_in: u64,
    /// Packets handed to the receiver.
    pub(crate) packets_out: u64,
    /// Their bytes.
    pub(crate) bytes_out: u64,
    /// Packets lost by chance.
    pub(crate) lost: u64,
    /// Packets dropped because the queue was full.
    pub(crate) queue_dropped: u64,
    /// The longest queue seen, bytes.
    pub(crate) queue_peak_bytes: u64,
    /// How late packets left, at most, microseconds.
    pub(crate) late_max_us: u64,
    /// How late packets left, in the mean, microseconds.
    pub(crate) late_mean_us: f64,
    /// Cipher suites of the TLS ServerHello messages that passed.
    pub(crate) tls_ciphers: BTreeSet<String>,
    #[serde(skip)]
    late_sum_ns: u64,
}

/// One direction. Time is nanoseconds since an arbitrary start.
pub(crate) struct Line {
    config: LineConfig,
    wire: VecDeque<(u64, Vec<u8>)>,
    spare: Vec<Vec<u8>>,
    free_at_ns: u64,
    rng: StdRng,
    stats: LineStats,
}

impl Line {
    pub(crate) fn new(config: LineConfig) -> Self {
        let rng = StdRng::seed_from_u64(config.seed);
        Self {
            config,
            wire: VecDeque::new(),
            spare: Vec::new(),
            free_at_ns: 0,
            rng,
            stats: LineStats::default(),
        }
    }

    /// Takes one packet from the sender.
    pub(crate) fn handle_packet(&mut self, now_ns: u64, packet: &[u8]) {
        let len = packet.len() as u64;
        self.stats.packets_in += 1;
        self.stats.bytes_in += len;
        let Some(sent_ns) = self.pass_queue(now_ns, len) else {
            self.stats.queue_dropped += 1;
            return;
        };
        if self.config.loss > 0.0 && self.rng.random::<f64>() < self.config.loss {
            self.stats.lost += 1;
            return;
        }
        if let Some(cipher) = sniff::server_hello_cipher(packet) {
            self.stats.tls_ciphers.insert(cipher);
        }
        let mut buffer = self.spare.pop().unwrap_or_default();
        buffer.extend_from_slice(packet);
        self.wire.push_back((sent_ns + self.config.delay_ns, buffer));
    }

    /// The moment the packet has left the sender, or nothing if the queue has no room.
    fn pass_queue(&mut self, now_ns: u64, len: u64) -> Option<u64> {
        if self.wire.len() >= MAX_PACKETS_ON_WIRE {
            return None;
        }
        let Some(rate) = self.config.rate_bps else {
            return Some(now_ns);
        };
        let backlog_ns = self.free_at_ns.saturating_sub(now_ns);
        let backlog_bytes = scale(backlog_ns, rate, 8_000_000_000);
        if backlog_bytes + len > self.config.queue_bytes.max(MIN_QUEUE_BYTES) {
            return None;
        }
        self.stats.queue_peak_bytes = self.stats.queue_peak_bytes.max(backlog_bytes + len);
        self.free_at_ns = self.free_at_ns.max(now_ns) + scale(len, 8_000_000_000, rate);
        Some(self.free_at_ns)
    }

    /// The next packet that has arrived by now.
    pub(crate) fn poll_packet(&mut self, now_ns: u64) -> Option<Vec<u8>> {
        let due_ns = self.poll_timeout()?;
        if due_ns > now_ns {
            return None;
        }
        let (_, packet) = self.wire.pop_front()?;
        let late_ns = now_ns - due_ns;
        self.stats.late_sum_ns += late_ns;
        self.stats.late_max_us = self.stats.late_max_us.max(late_ns / 1000);
        self.stats.packets_out += 1;
        self.stats.bytes_out += packet.len() as u64;
        Some(packet)
    }

    /// Takes a buffer back that `poll_packet` gave.
    pub(crate) fn recycle(&mut self, mut packet: Vec<u8>) {
        if self.spare.len() < MAX_SPARE_BUFFERS {
            packet.clear();
            self.spare.push(packet);
        }
    }

    /// When the next packet arrives.
    pub(crate) fn poll_timeout(&self) -> Option<u64> {
        self.wire.front().map(|(due_ns, _)| *due_ns)
    }

    pub(crate) fn stats(&self) -> LineStats {
        let mut stats = self.stats.clone();
        if stats.packets_out > 0 {
            stats.late_mean_us = stats.late_sum_ns as f64 / stats.packets_out as f64 / 1000.0;
        }
        stats
    }
}

/// `value * by / per` without overflow on the way.
fn scale(value: u64, by: u64, per: u64) -> u64 {
    let wide = u128::from(value) * u128::from(by) / u128::from(per.max(1));
    u64::try_from(wide).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn config() -> LineConfig {
        LineConfig {
            delay_ns: 50 * MS,
            loss: 0.0,
            rate_bps: None,
            queue_bytes: 15_000,
            seed: 1,
        }
    }

    fn drain(line: &mut Line) -> Vec<(u64, usize)> {
        let mut seen = Vec::new();
        while let Some(due) = line.poll_timeout() {
            assert!(
                line.poll_packet(due - 1).is_none(),
                "a packet arrived before its time"
            );
            let packet = line.poll_packet(due).unwrap();
            seen.push((due, packet.len()));
            line.recycle(packet);
        }
        seen
    }

    #[test]
    fn packets_arrive_after_the_delay_in_order() {
        let mut line = Line::new(config());
        line.handle_packet(0, &[1; 100]);
        line.handle_packet(3 * MS, &[2; 200]);
        assert_eq!(drain(&mut line), [(50 * MS, 100), (53 * MS, 200)]);
    }

    #[test]
    fn the_rate_spaces_packets_and_the_queue_drops_at_its_tail() {
        // 12 Mbit/s: a packet of 1500 bytes takes one millisecond; ten of them fill the queue.
        let mut line = Line::new(LineConfig {
            rate_bps: Some(12_000_000),
            ..config()
        });
        for _ in 0..15 {
            line.handle_packet(0, &[0; 1500]);
        }
        let arrivals: Vec<u64> = drain(&mut line).into_iter().map(|(due, _)| due).collect();
        assert_eq!(arrivals, (1..=10).map(|n| (50 + n) * MS).collect::<Vec<_>>());
        assert_eq!(line.stats().queue_dropped, 5);
        assert_eq!(line.stats().queue_peak_bytes, 15_000);
        line.handle_packet(10 * MS, &[0; 1500]);
        assert_eq!(drain(&mut line), [(61 * MS, 1500)], "an idle line has no memory");
    }

    #[test]
    fn loss_has_its_probability_and_repeats_with_its_seed() {
        let run = |seed| {
            let mut line = Line::new(LineConfig {
                loss: 0.01,
                seed,
                ..config()
            });
            for n in 0..20_000 {
                line.handle_packet(n, &[0; 40]);
                while let Some(packet) = line.poll_packet(n + 50 * MS) {
                    line.recycle(packet);
                }
            }
            line.stats().lost
        };
        assert_eq!(run(7), run(7));
        assert_ne!(run(7), run(8));
        assert!((150..250).contains(&run(7)), "{} of 20000 lost at 1 %", run(7));
    }
}
