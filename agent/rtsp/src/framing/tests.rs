use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Item {
    Frame(u8, Vec<u8>),
    Message(Vec<u8>, Vec<u8>),
}

/// Channels 0 and 2 carry RTP, 1 and 3 RTCP.
#[derive(Debug, Default, PartialEq, Eq)]
struct Log {
    items: Vec<Item>,
    ssrc: Option<u32>,
    resyncs: usize,
    skipped: usize,
    cut: usize,
    oversize: bool,
}

impl Sink for Log {
    fn channel(&self, channel: u8) -> Option<ChannelUse> {
        match channel {
            0 | 2 => Some(ChannelUse::Rtp { ssrc: self.ssrc }),
            1 | 3 => Some(ChannelUse::Rtcp),
            _ => None,
        }
    }

    fn handle_frame(&mut self, channel: u8, payload: &[u8]) {
        if channel == 0 {
            self.ssrc = payload[8..12].try_into().ok().map(u32::from_be_bytes);
        }
        self.items.push(Item::Frame(channel, payload.to_vec()));
    }

    fn handle_message(&mut self, head: &[u8], body: &[u8]) {
        self.items.push(Item::Message(head.to_vec(), body.to_vec()));
    }

    fn handle_resync(&mut self) {
        self.resyncs += 1;
    }

    fn handle_skipped(&mut self, bytes: usize) {
        self.skipped += bytes;
    }

    fn handle_cut_frame(&mut self, bytes: usize) {
        self.cut += bytes;
    }

    fn handle_oversize(&mut self) {
        self.oversize = true;
    }
}

fn split<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Log {
    let mut log = Log::default();
    let mut splitter = Splitter::new();
    for chunk in chunks {
        splitter.handle_input(chunk, &mut log);
        assert!(splitter.buffered() <= MAX_HEAD + MAX_BODY + 65_536);
    }
    log
}

fn frame(channel: u8, len: usize, seed: u8) -> Vec<u8> {
    let mut packet = vec![
        0x80,
        if channel % 2 == 1 { 200 } else { 96 },
        0,
        seed,
        0,
        0,
        0,
        seed,
        7,
        7,
        7,
        7,
    ];
    packet.resize(12 + len, seed);
    let len = u16::try_from(packet.len()).unwrap().to_be_bytes();
    [&[b'$', channel, len[0], len[1]], packet.as_slice()].concat()
}

const REPLY: &[u8] = b"RTSP/1.0 200\nCSeq: 1\nContent-length : 5\nX: a\n b\n \n\n$body";
const REQUEST: &[u8] = b"GET_PARAMETER rtsp://h/ RTSP/1.0\r\nCSeq: 1\r\n\r\n";

#[test]
fn every_split_point_of_a_mixed_stream() {
    let garbage = b"\xff$\x09garbage \x00";
    let stream = [
        &frame(0, 40, 1)[..],
        REPLY,
        b"\r\n",
        &frame(1, 0, 2),
        garbage,
        &frame(0, 30, 3),
        REQUEST,
        &frame(2, 5, 4),
    ]
    .concat();
    let whole = split([&stream[..]]);
    assert_eq!(whole.items.len(), 6);
    assert_eq!((whole.resyncs, whole.skipped, whole.cut), (1, garbage.len(), 0));
    assert!(whole.items.contains(&Item::Message(
        REPLY[..REPLY.len() - 5].to_vec(),
        b"$body".to_vec()
    )));
    for at in 0..=stream.len() {
        let (a, b) = stream.split_at(at);
        assert_eq!(split([a, b]), whole, "cut at {at}");
    }
    assert_eq!(split(stream.chunks(1)), whole);
}

#[test]
fn bounds_of_heads_and_bodies() {
    let endless = [b"RTSP/1.0 200 OK\r\n".to_vec(), b"A: b\r\n".repeat(3000)].concat();
    assert!(split([&endless[..]]).oversize);
    assert!(split(endless.chunks(7)).oversize);
    for length in ["999999999", "-1", "1e3", "99999999999999999999", ""] {
        let text = format!("RTSP/1.0 200 OK\r\nContent-Length: {length}\r\n\r\n");
        assert!(
            split([text.as_bytes(), b"RTSP/1.0 200 OK\r\n\r\n"]).oversize,
            "{length}"
        );
    }
}

#[test]
fn text_that_is_no_message_is_skipped() {
    for text in [
        "HTTP/1.1 200 OK\r\n\r\n",
        "DEBUG hello\n",
        "RTSP/ nonsense\r\n\r\n",
        "RTSP/1.0 20\r\n\r\n",
    ] {
        let stream = [text.as_bytes(), &frame(0, 9, 1)].concat();
        let log = split([&stream[..]]);
        assert_eq!(log.items.len(), 1, "{text}");
        assert_eq!(log.skipped, text.len(), "{text}");
    }
}

#[test]
fn a_message_cut_by_a_frame_costs_only_itself() {
    let stream = [&b"RTSP/1.0 200 OK\r\nCSe"[..], &frame(0, 9, 1), &frame(0, 9, 2)].concat();
    assert_eq!(split([&stream[..]]).items.len(), 2);
}

#[test]
fn cut_frames_at_every_length() {
    for kept in 4..115 {
        let broken = &frame(0, 100, 2)[..kept];
        let stream = [
            &frame(0, 100, 1)[..],
            broken,
            &frame(0, 100, 3),
            &frame(0, 100, 4),
            &frame(0, 100, 5),
        ]
        .concat();
        let log = split([&stream[..]]);
        let whole: Vec<_> = [1, 3, 4, 5]
            .map(|n| Item::Frame(0, frame(0, 100, n)[4..].to_vec()))
            .into();
        assert_eq!(log.items, whole, "kept {kept}");
        assert_eq!(log.cut + log.skipped, kept);
    }
}

#[test]
fn unknown_channels_and_wrong_versions_are_not_trusted() {
    let mut wrong_version = frame(0, 20, 1);
    wrong_version[4] = 0;
    let stream = [&frame(9, 20, 1)[..], &wrong_version, &frame(0, 20, 2)].concat();
    let log = split([&stream[..]]);
    assert_eq!(log.items.len(), 1);
    assert_eq!(log.skipped, 2 * 36);
}

proptest! {
    #[test]
    fn any_chunks_of_a_clean_stream(
        frames in prop::collection::vec((0u8..4, 0usize..3000, any::<u8>()), 1..30),
        cuts in prop::collection::vec(1usize..4000, 1..40),
    ) {
        let mut stream = Vec::new();
        for &(channel, len, seed) in &frames {
            stream.extend(frame(channel, len, seed));
            if seed % 8 == 0 {
                stream.extend(REPLY);
            }
        }
        let whole = split([&stream[..]]);
        prop_assert_eq!(whole.skipped + whole.cut, 0);
        let mut rest = &stream[..];
        let mut chunks = Vec::new();
        for cut in cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (chunk, after) = rest.split_at((*cut).min(rest.len()));
            chunks.push(chunk);
            rest = after;
        }
        prop_assert_eq!(split(chunks), whole);
    }

    #[test]
    fn any_bytes(pieces in prop::collection::vec((any::<Vec<u8>>(), 0u8..5), 0..20)) {
        let mut stream = Vec::new();
        for (bytes, kind) in pieces {
            match kind {
                0 => stream.extend(frame(0, bytes.len(), 1)),
                1 => stream.extend_from_slice(b"$\x00\x00\x30\x80"),
                2 => stream.extend_from_slice(REPLY),
                3 => stream.extend_from_slice(b"RTSP/1.0 200 OK\r\n"),
                _ => {}
            }
            stream.extend(bytes);
        }
        split([&stream[..]]);
        split(stream.chunks(3));
    }
}
