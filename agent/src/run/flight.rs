//! How much may be on its way at a time. A link that slows down shows at first as a queue inside the network, where what
//! is too old can no longer be dropped; loss comes late, and costs a second to repair. So when round trips grow, no more is sent
//! than the link delivers in a short time. A link without such a queue is not bounded here, however long its round trip.

use std::time::Duration;

/// This much may always be on its way: one TLS record.
const MIN_BYTES: usize = 16 * 1024;
/// The queue in the network that is left standing, so that the link never idles.
const STANDING: Duration = Duration::from_millis(80);
/// Round trips longer by this show that there is a queue.
const QUEUE_SEEN: Duration = Duration::from_millis(25);
/// The time over which the delivered rate is measured.
const WINDOW: Duration = Duration::from_millis(50);
/// The best of so many windows counts, for acknowledgements come in clumps.
const WINDOWS: usize = 3;
/// The shortest round trip is known for one to two of these. Then it may have become longer for good.
const BASE_FOR: Duration = Duration::from_secs(10);
/// How soon to look again, at the least and at the most.
const LOOK_AGAIN: [Duration; 2] = [Duration::from_millis(5), Duration::from_millis(50)];

/// What the kernel knows of a connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Look {
    /// All that it was ever given, in its own bytes: those of TLS.
    pub(super) sent_bytes: u64,
    /// Those of them that are not known to have arrived.
    pub(super) outstanding_bytes: usize,
    /// The smoothed round trip.
    pub(super) rtt: Duration,
}

/// The measure of one connection.
#[derive(Debug, Default)]
pub(super) struct Flight {
    /// What the kernel had been given by the last look.
    looked_at: u64,
    /// When the present window began, and what had been delivered by then.
    window: Option<(Duration, u64)>,
    /// Bytes a second of the last windows, the latest first. Empty until one is whole.
    rates: Vec<u64>,
    base: Base,
    /// Since when round trips are longer than what is on its way explains.
    unexplained_since: Option<Duration>,
}

impl Flight {
    /// How long to wait until the next look, if enough is on its way.
    pub(super) fn handle_look(&mut self, now: Duration, look: Look) -> Option<Duration> {
        let fresh = look.sent_bytes.saturating_sub(self.looked_at);
        self.looked_at = look.sent_bytes;
        let base = self.base.handle_rtt(now, look.rtt);
        if look.outstanding_bytes as u64 <= fresh {
            // All else has arrived: whatever the link can carry, it was not asked for more.
            self.window = None;
            self.rates.clear();
            self.unexplained_since = None;
            return None;
        }
        self.measure(now, look);
        let rate = self.rates.iter().copied().max()?;
        let limit = u128::from(rate) * (base + STANDING).as_micros() / 1_000_000;
        let limit = usize::try_from(limit).unwrap_or(usize::MAX).max(MIN_BYTES);
        if self.is_not_ours(now, look, base, limit) {
            self.base.set(now, look.rtt.saturating_sub(STANDING));
            return None;
        }
        if look.rtt < base + QUEUE_SEEN || look.outstanding_bytes <= limit {
            return None;
        }
        let excess_us = (look.outstanding_bytes - limit) as u64 * 1_000_000 / rate.max(1);
        let [least, most] = LOOK_AGAIN;
        Some(Duration::from_micros(excess_us).clamp(least, most))
    }

    /// A queue of others, or a longer way, for less on our part does not shorten it: waiting would only give them our share.
    fn is_not_ours(&mut self, now: Duration, look: Look, base: Duration, limit: usize) -> bool {
        let rate = self.rates.iter().max().copied().unwrap_or(0).max(1);
        let one_pull = Duration::from_micros(MIN_BYTES as u64 * 1_000_000 / rate);
        let explained = base + STANDING + QUEUE_SEEN + one_pull;
        if look.outstanding_bytes > limit + MIN_BYTES || look.rtt <= explained {
            self.unexplained_since = None;
            return false;
        }
        let since = *self.unexplained_since.get_or_insert(now);
        let is_long = now.saturating_sub(since) > 2 * look.rtt;
        if is_long {
            self.unexplained_since = None;
        }
        is_long
    }

    fn measure(&mut self, now: Duration, look: Look) {
        let delivered = look.sent_bytes.saturating_sub(look.outstanding_bytes as u64);
        let Some((began, at_begin)) = self.window else {
            self.window = Some((now, delivered));
            return;
        };
        let elapsed = now.saturating_sub(began);
        if elapsed < WINDOW {
            return;
        }
        let rate = u128::from(delivered.saturating_sub(at_begin)) * 1_000_000 / elapsed.as_micros();
        self.rates.truncate(WINDOWS - 1);
        self.rates.insert(0, u64::try_from(rate).unwrap_or(u64::MAX));
        self.window = Some((now, delivered));
    }
}

/// The shortest round trip of late.
#[derive(Debug, Default)]
struct Base {
    since: Duration,
    present: Option<Duration>,
    before: Option<Duration>,
}

impl Base {
    fn handle_rtt(&mut self, now: Duration, rtt: Duration) -> Duration {
        if now.saturating_sub(self.since) >= BASE_FOR {
            self.before = self.present.take();
            self.since = now;
        }
        let present = self.present.map_or(rtt, |known| known.min(rtt));
        self.present = Some(present);
        self.before.map_or(present, |before| before.min(present))
    }

    fn set(&mut self, now: Duration, rtt: Duration) {
        *self = Self {
            since: now,
            present: Some(rtt),
            before: None,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// A connection of which the kernel says what a test says.
    #[derive(Default)]
    struct Connection {
        flight: Flight,
        sent_bytes: u64,
    }

    impl Connection {
        fn handle_written(&mut self, bytes: u64) {
            self.sent_bytes += bytes;
        }

        fn handle_look(
            &mut self,
            now: Duration,
            (outstanding_bytes, rtt): (usize, Duration),
        ) -> Option<Duration> {
            let look = Look {
                sent_bytes: self.sent_bytes,
                outstanding_bytes,
                rtt,
            };
            self.flight.handle_look(now, look)
        }
    }

    fn look(outstanding_bytes: usize, rtt_ms: u64) -> (usize, Duration) {
        (outstanding_bytes, ms(rtt_ms))
    }

    /// A link of 200,000 bytes a second that is given 300,000, its queue growing with each round trip.
    fn slowed_down(flight: &mut Connection) -> Option<(u64, Duration)> {
        for step in 1..=20 {
            flight.handle_written(15_000);
            let (now, outstanding) = (step * 50, step * 5_000 + 10_000);
            let wait = flight.handle_look(ms(now), look(outstanding as usize, outstanding / 200));
            if let Some(wait) = wait {
                return Some((now, wait));
            }
        }
        None
    }

    #[test]
    fn a_link_that_slows_down_is_waited_for() {
        let mut flight = Connection::default();
        flight.handle_written(15_000);
        assert_eq!(flight.handle_look(ms(0), look(15_000, 1)), None);
        let (at, wait) = slowed_down(&mut flight).expect("a queue grew");
        assert!(at <= 250, "seen after {at} ms");
        assert!((ms(5)..=ms(50)).contains(&wait));
        // Drained: it goes on.
        assert_eq!(flight.handle_look(ms(at) + wait, look(12_000, 60)), None);
    }

    #[test]
    fn a_stalled_link_is_asked_again_and_may_have_one_record() {
        let mut flight = Connection::default();
        flight.handle_written(10_000);
        flight.handle_look(ms(0), look(10_000, 1));
        flight.handle_written(50_000);
        assert_eq!(
            flight.handle_look(ms(10), look(60_000, 1)),
            None,
            "nothing is measured yet"
        );
        assert_eq!(flight.handle_look(ms(70), look(60_000, 90)), Some(LOOK_AGAIN[1]));
        assert_eq!(flight.handle_look(ms(120), look(MIN_BYTES, 90)), None);
    }

    #[test]
    fn a_long_round_trip_without_a_queue_is_not_bounded() {
        let mut flight = Connection::default();
        for step in 1..=40 {
            flight.handle_written(100_000);
            assert_eq!(flight.handle_look(ms(step * 20), look(2_000_000, 300)), None);
        }
    }

    #[test]
    fn a_queue_of_others_is_not_waited_for_long() {
        let mut flight = Connection::default();
        flight.handle_written(10_000);
        flight.handle_look(ms(0), look(10_000, 20));
        let mut waited = Vec::new();
        for step in 1..=60 {
            flight.handle_written(10_000);
            // 200,000 bytes a second all the while, over a way that is suddenly ten times as long.
            if flight.handle_look(ms(step * 50), look(32_000, 300)).is_some() {
                waited.push(step * 50);
            }
        }
        assert!(waited.last().is_some_and(|last| *last <= 800), "{waited:?}");
    }

    #[test]
    fn a_burst_on_an_idle_link_is_not_bounded() {
        let mut flight = Connection::default();
        for step in 1..=20 {
            flight.handle_written(80_000);
            assert_eq!(flight.handle_look(ms(step * 40), look(80_000, 1)), None);
        }
    }

    #[test]
    fn a_round_trip_that_became_longer_is_believed_in_time() {
        let mut base = Base::default();
        assert_eq!(base.handle_rtt(ms(0), ms(5)), ms(5));
        assert_eq!(base.handle_rtt(ms(10_000), ms(200)), ms(5));
        assert_eq!(base.handle_rtt(ms(20_000), ms(210)), ms(200));
    }
}
