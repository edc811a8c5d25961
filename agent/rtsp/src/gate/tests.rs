use super::*;
use proptest::prelude::*;

const CLOCK: u32 = 3600;

struct Rig {
    gate: Gate,
    queue: Queue,
    counters: Counters,
    limits: Limits,
    now: Now,
    sequence: u16,
}

impl Rig {
    fn new(codec: Codec) -> Self {
        Self {
            gate: Gate::new(codec),
            queue: Queue::default(),
            counters: Counters::default(),
            limits: Limits::default(),
            now: Duration::from_secs(1),
            sequence: 0,
        }
    }

    fn packet(&mut self, timestamp: u32, marker: bool, payload: &[u8]) {
        let mut packet = vec![0x80, if marker { 0xe0 } else { 0x60 }];
        packet.extend(self.sequence.to_be_bytes());
        packet.extend(timestamp.to_be_bytes());
        packet.extend([0, 0, 0, 1]);
        packet.extend(payload);
        self.sequence = self.sequence.wrapping_add(1);
        let rtp = Rtp::parse(&packet).unwrap();
        let len = u16::try_from(packet.len()).unwrap().to_be_bytes();
        let mut outlet = Outlet {
            now: self.now,
            limits: &self.limits,
            queue: &mut self.queue,
            counters: &mut self.counters,
        };
        self.gate
            .handle_packet([b'$', 0, len[0], len[1]], &packet, &rtp, &mut outlet);
    }

    /// One picture in `packets` packets.
    fn picture(&mut self, n: u32, nal: &[u8], packets: usize, size: usize) {
        for i in 0..packets {
            let mut payload = nal.to_vec();
            payload.resize(size, 0xaa);
            if i > 0 && nal.len() == 2 && nal[0] & 0x1f == 28 {
                payload[1] &= 0x7f;
            }
            self.packet(n * CLOCK, i + 1 == packets, &payload);
        }
    }

    fn read(&mut self, max: usize) -> Vec<u8> {
        let mut out = Vec::new();
        self.queue.read(&mut out, max);
        out
    }

    fn units(&mut self) -> Vec<(u32, usize)> {
        let out = self.read(usize::MAX);
        units(&out)
    }
}

/// Timestamps (as picture numbers) and packets of each, in order.
fn units(mut bytes: &[u8]) -> Vec<(u32, usize)> {
    let mut found: Vec<(u32, usize)> = Vec::new();
    while let [b'$', 0, high, low, rest @ ..] = bytes {
        let (packet, after) = rest.split_at(usize::from(u16::from_be_bytes([*high, *low])));
        let picture = Rtp::parse(packet).unwrap().timestamp / CLOCK;
        match found.last_mut() {
            Some((last, packets)) if *last == picture => *packets += 1,
            _ => found.push((picture, 1)),
        }
        bytes = after;
    }
    assert!(bytes.is_empty());
    found
}

const IDR: &[u8] = &[0x7c, 0x85];
const P: &[u8] = &[0x7c, 0x81];
const SPS: &[u8] = &[0x67, 1];

#[test]
fn late_queue_starts_nothing_until_the_next_idr() {
    let mut rig = Rig::new(Codec::H264);
    rig.picture(1, IDR, 3, 100);
    rig.now += Duration::from_millis(200);
    rig.picture(2, P, 2, 100);
    rig.now += Duration::from_millis(101);
    rig.picture(3, P, 2, 100);
    assert_eq!(rig.units(), [(1, 3), (2, 2)]);
    rig.picture(4, P, 2, 100);
    rig.packet(5 * CLOCK, false, SPS);
    rig.picture(5, IDR, 3, 100);
    rig.picture(6, P, 2, 100);
    assert_eq!(rig.units(), [(5, 4), (6, 2)]);
    assert_eq!(
        (rig.counters.dropped_late.units, rig.counters.dropped_late.packets),
        (1, 2)
    );
    assert_eq!(
        (
            rig.counters.dropped_waiting.units,
            rig.counters.dropped_waiting.packets
        ),
        (1, 2)
    );
    assert_eq!(rig.counters.resumed_random_access, 1);
}

#[test]
fn a_started_unit_is_completed_though_the_queue_grows_old() {
    let mut rig = Rig::new(Codec::H264);
    rig.packet(CLOCK, false, IDR);
    rig.now += Duration::from_secs(2);
    rig.packet(CLOCK, true, P);
    assert_eq!(rig.units(), [(1, 2)]);
}

#[test]
fn reserves_one_and_a_half_of_the_largest() {
    let mut rig = Rig::new(Codec::H264);
    rig.limits.queue_bytes = 10_161;
    rig.picture(1, IDR, 4, 1000);
    rig.picture(2, P, 1, 10);
    assert_eq!(rig.queue.len(), 4 * 1016 + 26);
    // 4090 queued and 6073 reserved make 10,163.
    rig.picture(3, P, 1, 10);
    assert_eq!(rig.counters.dropped_full.units, 1);
    assert_eq!(rig.units(), [(1, 4), (2, 1)]);
}

#[test]
fn outgrown_unit_is_completed_or_removed_whole() {
    let mut rig = Rig::new(Codec::H264);
    rig.limits.queue_bytes = 5_000;
    rig.limits.queue_hard_bytes = 20_000;
    rig.picture(1, IDR, 1, 1000);
    rig.picture(2, P, 15, 1000);
    rig.picture(3, P, 1, 10);
    assert_eq!(rig.units(), [(1, 1), (2, 15)]);
    rig.picture(4, IDR, 1, 1000);
    assert_eq!(rig.units(), [(4, 1)]);
    rig.picture(5, P, 30, 1000);
    assert_eq!(rig.units(), []);
    assert_eq!(
        (rig.counters.dropped_oversize.units, rig.counters.torn_units),
        (1, 0)
    );
}

#[test]
fn torn_only_when_its_first_bytes_had_left() {
    let mut rig = Rig::new(Codec::H264);
    rig.limits.queue_hard_bytes = 5_000;
    rig.packet(CLOCK, false, IDR);
    rig.read(10);
    for _ in 0..6 {
        rig.packet(CLOCK, false, &[0x7c, 0x05].repeat(500));
    }
    assert_eq!(rig.counters.torn_units, 1);
}

#[test]
fn resumes_anywhere_after_two_gops_or_five_seconds() {
    for (gop, patience) in [(None, 5.0), (Some(1.0), 2.0)] {
        let mut rig = Rig::new(Codec::H264);
        let second = Duration::from_secs(1);
        if let Some(gop) = gop {
            rig.picture(1, IDR, 1, 100);
            rig.units();
            rig.now += second.mul_f64(gop);
            rig.picture(2, IDR, 1, 100);
        }
        rig.picture(3, P, 1, 100);
        rig.now += second;
        rig.picture(4, P, 1, 100);
        rig.units();
        rig.now += second.mul_f64(patience - 0.01);
        rig.picture(5, P, 1, 100);
        assert_eq!(rig.units(), []);
        rig.now += second.mul_f64(0.02);
        rig.picture(6, P, 1, 100);
        assert_eq!(rig.units(), [(6, 1)]);
        assert_eq!(rig.counters.resumed_anywhere, 1);
    }
}

#[test]
fn rasl_pictures_after_a_cra_are_left_out() {
    let (cra, rasl, trail, idr) = ([21 << 1, 1], [8 << 1, 1], [1 << 1, 1], [19 << 1, 1]);
    let mut rig = Rig::new(Codec::H265);
    rig.picture(1, &idr, 1, 100);
    rig.now += Duration::from_secs(1);
    rig.picture(2, &trail, 1, 100);
    rig.units();
    rig.picture(3, &cra, 1, 100);
    rig.picture(4, &rasl, 2, 100);
    rig.picture(5, &trail, 1, 100);
    rig.picture(6, &cra, 1, 100);
    rig.picture(7, &rasl, 1, 100);
    assert_eq!(rig.units(), [(3, 1), (5, 1), (6, 1), (7, 1)]);
    assert_eq!(
        (rig.counters.dropped_rasl.units, rig.counters.dropped_rasl.packets),
        (1, 2)
    );
}

#[test]
fn parameter_sets_of_their_own_timestamp_pass() {
    let mut rig = Rig::new(Codec::H264);
    rig.picture(1, IDR, 1, 100);
    rig.now += Duration::from_secs(1);
    rig.picture(2, P, 1, 100);
    rig.units();
    rig.packet(3 * CLOCK, true, SPS);
    rig.picture(4, P, 1, 100);
    rig.picture(5, IDR, 2, 100);
    assert_eq!(rig.units(), [(3, 1), (5, 2)]);
}

#[test]
fn other_video_resumes_at_any_unit() {
    let mut rig = Rig::new(Codec::Other);
    rig.picture(1, &[1], 1, 100);
    rig.now += Duration::from_secs(1);
    rig.picture(2, &[1], 1, 100);
    rig.units();
    rig.picture(3, &[1], 2, 100);
    assert_eq!(rig.units(), [(3, 2)]);
}

#[test]
fn a_clock_that_stands_still_does_not_stop_the_video_for_ever() {
    let mut rig = Rig::new(Codec::H264);
    rig.limits.queue_bytes = 50_000;
    rig.limits.queue_hard_bytes = 200_000;
    let mut arrived = 0;
    for n in 0..1000_u32 {
        let nal = if n.is_multiple_of(10) { IDR } else { P };
        rig.packet(7, false, nal);
        rig.packet(7, true, &[nal[0], nal[1] & 0x7f].repeat(500));
        rig.now += Duration::from_millis(40);
        // Nobody reads for a while.
        if !(100..400).contains(&n) {
            let read = rig.read(usize::MAX).len();
            arrived += if n >= 600 { read } else { 0 };
        }
    }
    assert!(arrived > 300_000, "{arrived} {:?}", rig.counters);
    assert_eq!(rig.counters.torn_units, 0);
}

/// A picture of 400 KiB every second and small ones between them, over an uplink of twice the bit rate.
#[test]
fn a_large_picture_does_not_cost_the_small_ones_after_it() {
    let mut rig = Rig::new(Codec::H264);
    for n in 1..=100 {
        match n % 25 {
            1 => rig.picture(n, IDR, 300, 1300),
            _ => rig.picture(n, P, 10, 1300),
        }
        rig.now += Duration::from_millis(40);
        rig.read(56_000);
    }
    assert_eq!(rig.counters.dropped_full.units, 0, "{:?}", rig.counters);
}

#[test]
fn pictures_within_paci_packets_are_seen() {
    let mut rig = Rig::new(Codec::H265);
    // Payload header 50, cType 19 or 1, PHSsize 3.
    let paci = |kind: u8| [50 << 1, 1, kind << 1, 3 << 4, 0, 0, 0];
    rig.picture(1, &paci(19), 1, 9000);
    rig.now += Duration::from_secs(1);
    rig.picture(2, &paci(1), 1, 9000);
    rig.units();
    rig.picture(3, &paci(1), 1, 9000);
    rig.picture(4, &paci(19), 2, 9000);
    assert_eq!(rig.units(), [(4, 2)]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever the sizes, the pace and the reader do: units arrive whole, in order, and only after a random
    /// access point that follows the last gap.
    #[test]
    fn no_unit_is_torn(
        pictures in prop::collection::vec((1usize..12, 20usize..1400, 0u64..90, 0usize..40_000), 1..200),
        gop in 1usize..30,
        queue_kib in 8usize..64,
    ) {
        let mut rig = Rig::new(Codec::H264);
        rig.limits.queue_bytes = queue_kib << 10;
        rig.limits.queue_hard_bytes = 1 << 20;
        let mut out = Vec::new();
        for (n, &(packets, size, pause_ms, drain)) in pictures.iter().enumerate() {
            let n = n as u32 + 1;
            let nal = if (n as usize - 1).is_multiple_of(gop) { IDR } else { P };
            rig.picture(n, nal, packets, size);
            rig.now += Duration::from_millis(pause_ms);
            rig.queue.read(&mut out, drain);
            prop_assert!(rig.queue.len() <= rig.limits.queue_bytes + 12 * 1420);
        }
        rig.queue.read(&mut out, usize::MAX);
        let (mut last, mut elsewhere) = (0, 0);
        for (n, packets) in units(&out) {
            prop_assert_eq!(packets, pictures[n as usize - 1].0);
            prop_assert!(n > last);
            if n != last + 1 && !(n as usize - 1).is_multiple_of(gop) {
                elsewhere += 1;
            }
            last = n;
        }
        let counters = rig.counters;
        prop_assert_eq!(elsewhere, counters.resumed_anywhere);
        let lost = counters.dropped_late.packets + counters.dropped_full.packets + counters.dropped_waiting.packets;
        let sent: usize = pictures.iter().map(|picture| picture.0).sum();
        prop_assert_eq!(counters.packets_queued + lost, sent as u64);
        prop_assert_eq!(counters.torn_units, 0);
    }
}
