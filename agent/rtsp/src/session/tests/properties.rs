use proptest::prelude::*;

use super::*;

#[test]
fn every_split_of_both_streams_gives_the_same() {
    let reply = format!("RTSP/1.0 200\nCSeq: 1\nContent-Length: {}\n\n{SDP}", SDP.len());
    let request = b"DESCRIBE rtsp://gw/main RTSP/1.0\r\nCSeq: 1\r\n\r\nOPTIONS * RTSP/1.0\r\nCSeq: 2\r\n\r\n";
    let run = |cut_request: usize, cut_reply: usize| {
        let mut rig = Rig::new();
        rig.session.handle_viewer(rig.now, &request[..cut_request]);
        rig.session.handle_viewer(rig.now, &request[cut_request..]);
        rig.session.handle_camera_connected(rig.now);
        rig.camera(&reply.as_bytes()[..cut_reply]);
        rig.camera(&reply.as_bytes()[cut_reply..]);
        rig.viewer()
    };
    let whole = run(0, 0);
    assert!(text(&whole).contains("track1") && text(&whole).contains("Public"));
    (0..request.len()).for_each(|cut| assert_eq!(run(cut, 0), whole));
    (0..reply.len()).for_each(|cut| assert_eq!(run(0, cut), whole));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_bytes_from_either_side_keep_the_bounds(
        steps in prop::collection::vec((any::<bool>(), prop::collection::vec(any::<u8>(), 0..300), 0u8..6), 1..60),
    ) {
        let mut rig = Rig::new();
        rig.play();
        for (camera, bytes, extra) in steps {
            let mut bytes = bytes;
            match extra {
                0 => bytes = frame(0, &rtp(1, 1, &bytes)),
                1 => bytes.splice(0..0, *b"RTSP/1.0 200 OK\r\nCSeq: 5\r\n").for_each(drop),
                2 => bytes.splice(0..0, *b"SETUP rtsp://gw/main/track0 RTSP/1.0\r\nCSeq: 5\r\n\r\n").for_each(drop),
                3 => bytes.splice(0..0, *b"$\x00\x00\x20\x80").for_each(drop),
                _ => {}
            }
            if camera { rig.camera(&bytes) } else { rig.session.handle_viewer(rig.now, &bytes) }
            rig.now += Duration::from_millis(100);
            if rig.session.poll_timeout().is_some_and(|at| at <= rig.now) {
                rig.session.handle_timeout(rig.now);
            }
            prop_assert!(rig.session.poll_camera().len() <= Limits::default().camera_queue_bytes + 20_000);
            prop_assert!(rig.session.viewer_pending() <= Limits::default().queue_hard_bytes);
            rig.events();
        }
        rig.session.close(rig.now);
        rig.now += 3 * SECOND;
        rig.session.handle_timeout(rig.now);
        prop_assert!(rig.session.is_finished());
    }
}

/// Pictures of `packets` packets each, an IDR every `gop`, as one camera stream with audio in between.
fn stream(pictures: &[(u16, usize)], gop: usize) -> Vec<Vec<u8>> {
    let mut sequence = 0;
    let mut frames = Vec::new();
    for (n, &(packets, size)) in pictures.iter().enumerate() {
        for i in 0..packets {
            let kind = if n % gop == 0 { 5 } else { 1 };
            let mut payload = vec![0x7c, kind | if i == 0 { 0x80 } else { 0 }];
            payload.resize(size, 0x24);
            let mut packet = rtp(sequence, n as u32, &payload);
            if i + 1 < packets {
                packet[1] = 0x60;
            }
            frames.push(frame(0, &packet));
            sequence = sequence.wrapping_add(1);
        }
        frames.push(frame(2, &rtp(n as u16, n as u32, &[0x55; 160])));
    }
    frames
}

/// Splits the viewer's bytes into frames: channel and packet.
fn frames_of(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut found = Vec::new();
    while let [b'$', channel, high, low, rest @ ..] = bytes {
        let (packet, after) = rest.split_at(usize::from(u16::from_be_bytes([*high, *low])));
        found.push((*channel, packet.to_vec()));
        bytes = after;
    }
    assert!(bytes.is_empty());
    found
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// A reader that keeps up gets every packet, byte for byte, however the camera's bytes are cut.
    #[test]
    fn fast_uplink_loses_nothing(
        pictures in prop::collection::vec((1u16..6, 2usize..1400), 1..40),
        gop in 1usize..20,
        cut in 1usize..5000,
        max in 100usize..20_000,
    ) {
        let mut rig = Rig::new();
        rig.play();
        let frames = stream(&pictures, gop);
        let mut out = Vec::new();
        for chunk in frames.concat().chunks(cut) {
            rig.camera(chunk);
            while rig.session.poll_viewer(rig.now, &mut out, max) > 0 {}
        }
        let sent: Vec<_> = frames.iter().map(|frame| (frame[1] + 4, frame[4..].to_vec())).collect();
        prop_assert!(frames_of(&out) == sent);
        prop_assert_eq!(rig.session.counters().camera_resyncs, 0);
    }

    /// A reader that does not keep up gets whole pictures in order, and all audio its share has room for.
    #[test]
    fn slow_uplink_tears_nothing(
        pictures in prop::collection::vec((1u16..12, 2usize..1400), 20..150),
        gop in 1usize..20,
        rate in 200usize..6000,
    ) {
        let mut rig = Rig::new();
        rig.play();
        let mut out = Vec::new();
        let mut timestamp = 0;
        for frame in stream(&pictures, gop) {
            let at = u32::from_be_bytes([frame[8], frame[9], frame[10], frame[11]]);
            if at != timestamp {
                timestamp = at;
                rig.now += Duration::from_millis(40);
                rig.session.poll_viewer(rig.now, &mut out, rate);
            }
            rig.camera(&frame);
            prop_assert!(rig.session.viewer_pending() <= Limits::default().queue_hard_bytes);
        }
        while rig.session.poll_viewer(rig.now, &mut out, 16_000) > 0 {}
        let mut seen = std::collections::BTreeMap::<u32, u16>::new();
        for (_, packet) in frames_of(&out).iter().filter(|(channel, _)| *channel == 4) {
            let at = u32::from_be_bytes([packet[4], packet[5], packet[6], packet[7]]);
            prop_assert!(seen.last_key_value().is_none_or(|(last, _)| *last <= at));
            *seen.entry(at).or_default() += 1;
        }
        for (at, packets) in seen {
            prop_assert_eq!(packets, pictures[at as usize].0);
        }
        prop_assert_eq!(rig.session.counters().torn_units, 0);
    }
}
