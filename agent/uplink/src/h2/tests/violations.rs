//! One row per rule of RFC 9113 that a peer can break.

use super::*;

/// What must come of it.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    Connection(ErrorCode),
    Stream(ErrorCode),
    Ignored,
}

use Fate::{Connection as C, Ignored, Stream as S};

const PROTOCOL: ErrorCode = ErrorCode::PROTOCOL_ERROR;
const FLOW: ErrorCode = ErrorCode::FLOW_CONTROL_ERROR;
const SIZE: ErrorCode = ErrorCode::FRAME_SIZE_ERROR;
const CLOSED: ErrorCode = ErrorCode::STREAM_CLOSED;
const CALM: ErrorCode = ErrorCode::ENHANCE_YOUR_CALM;

/// Plays frames to an open connection on which stream 1 is a tunnel, stream 3 a finished request that was answered,
/// stream 5 one that waits for its answer with its own half closed, stream 7 one that was reset by the peer.
fn fate(bytes: &[u8]) -> Fate {
    let mut peer = Peer::new(Config::default());
    peer.send(&[connect(1), get(3), get(5), get(7), reset(7)].concat());
    peer.connection
        .respond(StreamId(3), 204, &[], Body::None)
        .unwrap();
    peer.sent();
    peer.events();
    peer.send(bytes);
    let sent = peer.sent();
    let find = |kind| {
        sent.iter()
            .find(|frame: &&Sent| frame.kind == kind)
            .map(Sent::code)
    };
    match (find(kind::GOAWAY), find(kind::RST_STREAM)) {
        (Some(code), _) => {
            assert!(peer.connection.is_closed());
            assert!(
                matches!(peer.events().last(), Some(Event::Closed(Error::Violation { code: c, .. })) if *c == code)
            );
            C(code)
        }
        (None, Some(code)) => {
            assert!(!peer.connection.is_closed());
            S(code)
        }
        (None, None) => Ignored,
    }
}

fn headers(stream: u32, flags: u8, block: &[u8]) -> Vec<u8> {
    frame(kind::HEADERS, flags, stream, block)
}

const WHOLE: u8 = flag::END_HEADERS | flag::END_STREAM;

#[test]
fn frames_on_wrong_streams() {
    for (bytes, expected) in [
        (data(0, 1, false), C(PROTOCOL)),
        (data(9, 1, false), C(PROTOCOL)),
        (data(2, 1, false), C(PROTOCOL)),
        (data(3, 1, false), S(CLOSED)),
        (data(5, 1, false), S(CLOSED)),
        (data(7, 1, false), S(CLOSED)),
        (headers(0, WHOLE, GET), C(PROTOCOL)),
        (headers(2, WHOLE, GET), C(PROTOCOL)),
        (headers(3, WHOLE, GET), C(CLOSED)),
        (headers(5, WHOLE, b""), S(CLOSED)),
        (headers(7, WHOLE, GET), C(CLOSED)),
        ([get(11), get(9)].concat(), C(PROTOCOL)),
        (headers(1, flag::END_HEADERS, b""), S(PROTOCOL)),
        (headers(1, WHOLE, GET), S(PROTOCOL)),
        (reset(0), C(PROTOCOL)),
        (reset(9), C(PROTOCOL)),
        (reset(3), Ignored),
        (window_update(9, 1), C(PROTOCOL)),
        (window_update(3, 1), Ignored),
        (frame(kind::PRIORITY, 0, 0, &[0; 5]), C(PROTOCOL)),
        (frame(kind::PRIORITY, 0, 99, &[0; 5]), Ignored),
        (frame(kind::SETTINGS, 0, 1, &[]), C(PROTOCOL)),
        (frame(kind::PING, 0, 1, &[0; 8]), C(PROTOCOL)),
        (frame(kind::GOAWAY, 0, 1, &[0; 8]), C(PROTOCOL)),
        (
            frame(kind::PUSH_PROMISE, flag::END_HEADERS, 1, &[0; 8]),
            C(PROTOCOL),
        ),
        (frame(0x55, 0xff, 1, &[0; 8]), Ignored),
    ] {
        assert_eq!(fate(&bytes), expected, "{bytes:?}");
    }
}

#[test]
fn frames_of_wrong_sizes() {
    for (bytes, expected) in [
        (frame(kind::DATA, 0, 1, &[0; 16_385]), C(SIZE)),
        (frame(kind::PRIORITY, 0, 1, &[0; 4]), S(SIZE)),
        (frame(kind::RST_STREAM, 0, 1, &[0; 3]), C(SIZE)),
        (frame(kind::RST_STREAM, 0, 1, &[0; 5]), C(SIZE)),
        (frame(kind::SETTINGS, 0, 0, &[0; 5]), C(SIZE)),
        (frame(kind::SETTINGS, flag::ACK, 0, &[0; 6]), C(SIZE)),
        (frame(kind::PING, 0, 0, &[0; 7]), C(SIZE)),
        (frame(kind::GOAWAY, 0, 0, &[0; 7]), C(SIZE)),
        (frame(kind::WINDOW_UPDATE, 0, 0, &[0; 3]), C(SIZE)),
        (frame(kind::DATA, flag::PADDED, 1, &[]), C(SIZE)),
        (frame(kind::DATA, flag::PADDED, 1, &[2, 0]), C(PROTOCOL)),
        (frame(kind::DATA, flag::PADDED, 1, &[1, 0]), Ignored),
        (headers(9, flag::END_HEADERS | flag::PRIORITY, &[0; 4]), C(SIZE)),
        (headers(9, flag::END_HEADERS | flag::PADDED, &[9, 0]), C(PROTOCOL)),
        (
            headers(9, WHOLE | flag::PRIORITY, &[&[0; 5], GET].concat()),
            Ignored,
        ),
    ] {
        assert_eq!(fate(&bytes), expected, "{bytes:?}");
    }
}

#[test]
fn settings_out_of_range() {
    for (id, value, expected) in [
        (setting::ENABLE_PUSH, 2, C(PROTOCOL)),
        (setting::ENABLE_PUSH, 1, Ignored),
        (setting::INITIAL_WINDOW_SIZE, 0x8000_0000, C(FLOW)),
        (setting::INITIAL_WINDOW_SIZE, 0x7fff_ffff, Ignored),
        (setting::MAX_FRAME_SIZE, 16_383, C(PROTOCOL)),
        (setting::MAX_FRAME_SIZE, 16_777_216, C(PROTOCOL)),
        (setting::ENABLE_CONNECT_PROTOCOL, 2, C(PROTOCOL)),
        (0xffff, 0xffff_ffff, Ignored),
    ] {
        assert_eq!(fate(&settings(&[(id, value)])), expected, "{id} {value}");
    }
    let overflow = [
        window_update(1, 0x7fff_0000),
        settings(&[(setting::INITIAL_WINDOW_SIZE, 100_000)]),
    ]
    .concat();
    assert_eq!(fate(&overflow), C(FLOW));
}

#[test]
fn windows_that_break() {
    for (bytes, expected) in [
        (window_update(0, 0), C(PROTOCOL)),
        (window_update(1, 0), S(PROTOCOL)),
        (window_update(0, 0x7fff_ffff), C(FLOW)),
        (window_update(1, 0x7fff_ffff), S(FLOW)),
    ] {
        assert_eq!(fate(&bytes), expected, "{bytes:?}");
    }
    // Credit comes back on receipt, so only DATA that came in one piece can exceed a window.
    assert_eq!(
        fate(&[data(1, 16_384, false), data(1, 16_384, false), data(1, 1, false)].concat()),
        S(FLOW)
    );
    assert_eq!(
        fate(&[data(1, 16_384, false), data(1, 16_384, false)].concat()),
        Ignored
    );
    let flood = vec![data(1, 16_384, false); 5].concat();
    assert_eq!(fate(&flood), C(FLOW));
}

#[test]
fn header_blocks_that_break() {
    let continuation = |flags, stream, block: &[u8]| frame(kind::CONTINUATION, flags, stream, block);
    for (bytes, expected) in [
        (continuation(flag::END_HEADERS, 9, GET), C(PROTOCOL)),
        ([headers(9, 0, GET), data(1, 1, false)].concat(), C(PROTOCOL)),
        (
            [headers(9, 0, GET), continuation(flag::END_HEADERS, 11, b"")].concat(),
            C(PROTOCOL),
        ),
        ([headers(9, 0, GET), frame(0x77, 0, 0, b"")].concat(), C(PROTOCOL)),
        (
            [headers(9, 0, GET), continuation(flag::END_HEADERS, 9, b"")].concat(),
            Ignored,
        ),
        (headers(9, WHOLE, b"\x80"), C(ErrorCode::COMPRESSION_ERROR)),
        (headers(9, WHOLE, b"\xff"), C(ErrorCode::COMPRESSION_ERROR)),
        (headers(9, WHOLE, b""), S(PROTOCOL)),
        (headers(9, WHOLE, &[GET, b"\x00\x01X\x01y"].concat()), S(PROTOCOL)),
        (
            headers(9, WHOLE, &[GET, b"\x00\x0aconnection\x01y"].concat()),
            S(PROTOCOL),
        ),
        (
            headers(9, WHOLE, &[GET, b"\x00\x02te\x04gzip"].concat()),
            S(PROTOCOL),
        ),
        (headers(9, WHOLE, &[GET, b"\x82"].concat()), S(PROTOCOL)),
        (headers(9, WHOLE, &[GET, b"\x88"].concat()), S(PROTOCOL)),
        (headers(9, WHOLE, &[GET, b"\x0f\x0d\x011"].concat()), S(PROTOCOL)),
    ] {
        assert_eq!(fate(&bytes), expected, "{bytes:?}");
    }
}

#[test]
fn content_length_must_be_true() {
    let post = |length: &[u8]| {
        headers(
            9,
            flag::END_HEADERS,
            &[b"\x83\x87\x84\x01\x03cam\x0f\x0d\x01", length].concat(),
        )
    };
    for (bytes, expected) in [
        ([post(b"3"), data(9, 3, true)].concat(), Ignored),
        ([post(b"3"), data(9, 2, true)].concat(), S(PROTOCOL)),
        ([post(b"3"), data(9, 4, false)].concat(), S(PROTOCOL)),
        (
            [post(b"3"), data(9, 3, false), headers(9, WHOLE, b"")].concat(),
            Ignored,
        ),
        (
            [post(b"3"), data(9, 2, false), headers(9, WHOLE, b"")].concat(),
            S(PROTOCOL),
        ),
        (post(b"x"), S(PROTOCOL)),
    ] {
        assert_eq!(fate(&bytes), expected, "{bytes:?}");
    }
}

#[test]
fn a_list_that_is_too_long_is_answered_431() {
    let mut peer = Peer::new(Config {
        max_header_list: 200,
        ..Config::default()
    });
    let block = [GET, b"\x00\x01x\x7f\x01", &[b'y'; 128]].concat();
    peer.send(&headers(1, WHOLE, &block));
    let sent = peer.sent();
    assert_eq!((sent[0].kind, sent[0].flags), (kind::HEADERS, WHOLE));
    assert_eq!(&sent[0].payload, b"\x08\x03431");
    assert!(peer.events().is_empty() && !peer.connection.is_closed());
    peer.send(&get(3));
    assert_eq!(peer.events().len(), 1);
}

#[test]
fn too_many_streams_are_refused() {
    let mut peer = Peer::new(Config::default());
    for index in 0..32 {
        peer.send(&connect(index * 2 + 1));
    }
    peer.send(&connect(65));
    assert_eq!(peer.was_reset(65), Some(ErrorCode::REFUSED_STREAM));
    assert_eq!(peer.events().len(), 32);
    // The HPACK state and the connection live on.
    peer.send(&reset(1));
    peer.send(&connect(67));
    assert_eq!(peer.events().len(), 2);
}

#[test]
fn the_preface_and_the_first_frame() {
    let mut peer = Peer::raw(Config::default());
    peer.send(b"GET / HTTP/1.1\r\n");
    assert_eq!(peer.closed(), Some(PROTOCOL));
    for first in [
        get(1),
        frame(kind::SETTINGS, flag::ACK, 0, &[]),
        frame(kind::PING, 0, 0, &[0; 8]),
    ] {
        let mut peer = Peer::raw(Config::default());
        peer.send(&[PREFACE, &first].concat());
        assert_eq!(peer.closed(), Some(PROTOCOL));
    }
}

#[test]
fn floods_end_the_connection() {
    let repeat = |count: usize, bytes: Vec<u8>| bytes.repeat(count);
    let rapid: Vec<u8> = (0..200)
        .flat_map(|index| [connect(9 + 2 * index), reset(9 + 2 * index)].concat())
        .collect();
    let malformed: Vec<u8> = (0..200)
        .flat_map(|index| headers(9 + 2 * index, WHOLE, b""))
        .collect();
    let continuations = [
        headers(9, 0, b""),
        repeat(100, frame(kind::CONTINUATION, 0, 9, b"")),
    ]
    .concat();
    let long = [
        headers(9, 0, b""),
        repeat(3, frame(kind::CONTINUATION, 0, 9, &[0; 16_384])),
    ]
    .concat();
    for bytes in [
        rapid,
        malformed,
        continuations,
        long,
        repeat(50, settings(&[])),
        repeat(300, frame(kind::PING, 0, 0, &[0; 8])),
        repeat(300, data(1, 0, false)),
        repeat(300, frame(kind::DATA, flag::PADDED, 1, &[0])),
        repeat(20_000, window_update(0, 1)),
        repeat(500, frame(kind::PRIORITY, 0, 1, &[0; 5])),
        repeat(500, frame(0x99, 0, 0, &[])),
        repeat(500, frame(kind::SETTINGS, flag::ACK, 0, &[])),
    ] {
        assert_eq!(fate(&bytes), C(CALM));
    }
}

#[test]
fn a_long_and_busy_connection_is_not_a_flood() {
    let mut peer = Peer::new(Config::default());
    let mut now = ZERO;
    for index in 0..5_000u32 {
        let stream = index * 2 + 1;
        now += Duration::from_millis(200);
        peer.send_at(
            now,
            &[connect(stream), data(stream, 100, false), reset(stream)].concat(),
        );
        peer.send_at(now, &frame(kind::PING, 0, 0, &[0; 8]));
        peer.events();
        assert_eq!(peer.closed(), None, "{index}");
    }
}

#[test]
fn a_peer_that_does_not_read_is_not_buffered_for() {
    let mut peer = Peer::new(Config::default());
    let mut now = ZERO;
    for _ in 0..20_000 {
        now += Duration::from_millis(100);
        peer.send_at(now, &frame(kind::PING, 0, 0, &[0; 8]));
        if peer.connection.is_closed() {
            break;
        }
    }
    assert_eq!(peer.closed(), Some(CALM));
}
