mod flow;
mod violations;

use super::frame::{self, HEADER_LEN, Head, PREFACE, flag, kind, setting};
use super::*;
use alloc::collections::BTreeMap;
use alloc::vec;
use proptest::prelude::*;

/// GET https /status with the authority "cam", without indexing.
pub(super) const GET: &[u8] = b"\x82\x87\x04\x07/status\x01\x03cam";
/// An extended CONNECT to /rtsp.
pub(super) const CONNECT: &[u8] =
    b"\x02\x07CONNECT\x00\x09:protocol\x09websocket\x87\x04\x05/rtsp\x01\x03cam";
pub(super) const ZERO: Now = Duration::ZERO;

pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = Head {
        len: payload.len(),
        kind,
        flags,
        stream,
    }
    .encode()
    .to_vec();
    out.extend_from_slice(payload);
    out
}

pub(super) fn get(stream: u32) -> Vec<u8> {
    frame(kind::HEADERS, flag::END_HEADERS | flag::END_STREAM, stream, GET)
}

pub(super) fn connect(stream: u32) -> Vec<u8> {
    frame(kind::HEADERS, flag::END_HEADERS, stream, CONNECT)
}

pub(super) fn data(stream: u32, len: usize, end: bool) -> Vec<u8> {
    frame(
        kind::DATA,
        if end { flag::END_STREAM } else { 0 },
        stream,
        &vec![7; len],
    )
}

pub(super) fn settings(entries: &[(u16, u32)]) -> Vec<u8> {
    let mut out = Vec::new();
    frame::push_settings(&mut out, entries);
    out
}

pub(super) fn window_update(stream: u32, increment: u32) -> Vec<u8> {
    frame(kind::WINDOW_UPDATE, 0, stream, &increment.to_be_bytes())
}

pub(super) fn reset(stream: u32) -> Vec<u8> {
    frame(kind::RST_STREAM, 0, stream, &8u32.to_be_bytes())
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Sent {
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
    pub(super) payload: Vec<u8>,
}

impl Sent {
    pub(super) fn code(&self) -> ErrorCode {
        let at = if self.kind == kind::GOAWAY { 4 } else { 0 };
        ErrorCode(frame::be_u32(&self.payload[at..]).unwrap())
    }
}

pub(super) fn frames(mut bytes: &[u8]) -> Vec<Sent> {
    let mut frames = Vec::new();
    while let Some(head) = Head::parse(bytes) {
        let payload = bytes[HEADER_LEN..HEADER_LEN + head.len].to_vec();
        frames.push(Sent {
            kind: head.kind,
            flags: head.flags,
            stream: head.stream,
            payload,
        });
        bytes = &bytes[HEADER_LEN + head.len..];
    }
    assert!(bytes.is_empty());
    frames
}

/// How many bytes each stream's body still has; it ends behind them.
#[derive(Default)]
pub(super) struct Lengths(pub(super) BTreeMap<u32, usize>);

impl Bodies for Lengths {
    fn read(&mut self, stream: StreamId, out: &mut Vec<u8>, max: usize) -> BodyRead {
        assert!(max > 0);
        let Some(left) = self.0.get_mut(&stream.0) else {
            return BodyRead::Drained;
        };
        let n = max.min(*left);
        out.resize(out.len() + n, stream.0 as u8);
        *left -= n;
        if *left == 0 {
            BodyRead::End
        } else {
            BodyRead::Bytes
        }
    }
}

/// A connection whose opening exchange is done, and its peer's view of the output.
pub(super) struct Peer {
    pub(super) connection: Connection,
    pub(super) bodies: Lengths,
}

impl Peer {
    pub(super) fn raw(config: Config) -> Self {
        Self {
            connection: Connection::new(config, ZERO),
            bodies: Lengths::default(),
        }
    }

    pub(super) fn new(config: Config) -> Self {
        let mut peer = Self::raw(config);
        peer.send(PREFACE);
        peer.send(&settings(&[]));
        peer.send(&frame(kind::SETTINGS, flag::ACK, 0, &[]));
        peer.sent();
        assert!(peer.connection.poll_event().is_none());
        peer
    }

    pub(super) fn send(&mut self, bytes: &[u8]) {
        self.send_at(ZERO, bytes);
    }

    pub(super) fn send_at(&mut self, now: Now, bytes: &[u8]) {
        self.connection.handle_input(now, bytes);
    }

    pub(super) fn sent(&mut self) -> Vec<Sent> {
        let mut out = Vec::new();
        while self
            .connection
            .poll_output(ZERO, &mut out, 16_384, &mut self.bodies)
            > 0
        {}
        frames(&out)
    }

    pub(super) fn events(&mut self) -> Vec<Event> {
        core::iter::from_fn(|| self.connection.poll_event()).collect()
    }

    /// The GOAWAY's code, with `Closed` reported; `None` while the connection lives.
    pub(super) fn closed(&mut self) -> Option<ErrorCode> {
        let goaway = self.sent().into_iter().find(|frame| frame.kind == kind::GOAWAY)?;
        let reported = self
            .events()
            .into_iter()
            .rfind(|event| matches!(event, Event::Closed(_)));
        match reported {
            Some(Event::Closed(Error::Violation { code, .. })) => assert_eq!(code, goaway.code()),
            other => panic!("{other:?}"),
        }
        assert!(self.connection.is_closed());
        Some(goaway.code())
    }

    /// The code of the RST_STREAM on a stream.
    pub(super) fn was_reset(&mut self, stream: u32) -> Option<ErrorCode> {
        let frame = self
            .sent()
            .into_iter()
            .find(|frame| frame.kind == kind::RST_STREAM && frame.stream == stream);
        frame.map(|frame| frame.code())
    }
}

#[test]
fn opens_with_the_settings_of_the_uplink() {
    let mut peer = Peer::raw(Config::default());
    let sent = peer.sent();
    let expected = settings(&[
        (setting::ENABLE_CONNECT_PROTOCOL, 1),
        (setting::INITIAL_WINDOW_SIZE, 32_768),
        (setting::MAX_CONCURRENT_STREAMS, 32),
        (setting::MAX_HEADER_LIST_SIZE, 16_384),
    ]);
    assert_eq!(sent, frames(&expected));
    peer.send(PREFACE);
    peer.send(&settings(&[(setting::MAX_FRAME_SIZE, 20_000), (0x99, 1)]));
    assert_eq!(peer.sent(), frames(&frame(kind::SETTINGS, flag::ACK, 0, &[])));
}

#[test]
fn a_request_and_its_answer() {
    let mut peer = Peer::new(Config::default());
    peer.send(&get(1));
    let events = peer.events();
    let [
        Event::Request {
            stream,
            request,
            end_stream: true,
        },
    ] = events.as_slice()
    else {
        panic!("{events:?}")
    };
    assert_eq!(
        (request.method.as_str(), request.path.as_str()),
        ("GET", "/status")
    );
    assert_eq!(
        (request.scheme.as_str(), request.authority.as_str()),
        ("https", "cam")
    );
    peer.connection
        .respond(*stream, 200, &[("content-length", "20000")], Body::Streaming)
        .unwrap();
    assert_eq!(
        peer.connection.respond(*stream, 200, &[], Body::None),
        Err(StreamGone)
    );
    peer.bodies.0.insert(1, 20_000);
    peer.connection.set_body_ready(*stream);
    assert!(peer.connection.wants_output());
    let sent = peer.sent();
    let shape: Vec<_> = sent.iter().map(|f| (f.kind, f.flags, f.payload.len())).collect();
    assert_eq!(
        shape[1..],
        [(kind::DATA, 0, 16_357), (kind::DATA, flag::END_STREAM, 3_643)]
    );
    assert_eq!((shape[0].0, shape[0].1), (kind::HEADERS, flag::END_HEADERS));
    assert!(!peer.connection.wants_output());
    assert_eq!(peer.connection.stats().live_streams, 0);
}

#[test]
fn trailers_end_a_request_and_early_answers_stop_it() {
    let mut peer = Peer::new(Config::default());
    let post = b"\x83\x87\x84\x01\x03cam";
    peer.send(&frame(kind::HEADERS, flag::END_HEADERS, 1, post));
    peer.send(&data(1, 3, false));
    peer.send(&frame(
        kind::HEADERS,
        flag::END_HEADERS | flag::END_STREAM,
        1,
        b"\x00\x01x\x01y",
    ));
    let events = peer.events();
    assert_eq!(
        events[1],
        Event::Data {
            stream: StreamId(1),
            data: vec![7; 3],
            end_stream: true
        }
    );
    peer.send(&frame(kind::HEADERS, flag::END_HEADERS, 3, post));
    peer.connection
        .respond(StreamId(3), 404, &[], Body::None)
        .unwrap();
    assert_eq!(peer.was_reset(3), Some(ErrorCode::NO_ERROR));
    // What was under way is ignored, but counts for the connection.
    peer.send(&data(3, 100, true));
    assert_eq!(peer.closed(), None);
}

#[test]
fn tunnels_close_half_by_half_and_linger_for_a_while() {
    let mut peer = Peer::new(Config::default());
    for stream in [1, 3] {
        peer.send(&connect(stream));
        peer.connection
            .respond(StreamId(stream), 200, &[], Body::Streaming)
            .unwrap();
        peer.bodies.0.insert(stream, 0);
        peer.connection.set_body_ready(StreamId(stream));
    }
    assert_eq!(
        peer.sent()
            .iter()
            .filter(|f| f.flags & flag::END_STREAM != 0 && f.kind == kind::DATA)
            .count(),
        2
    );
    peer.send(&data(1, 5, true));
    assert_eq!(peer.connection.stats().live_streams, 1);
    assert_eq!(peer.connection.poll_timeout(), Some(Duration::from_secs(10)));
    peer.connection.handle_timeout(Duration::from_secs(10));
    assert_eq!(peer.was_reset(3), Some(ErrorCode::CANCEL));
    assert!(peer.events().contains(&Event::Reset {
        stream: StreamId(3),
        code: ErrorCode::CANCEL
    }));
}

#[test]
fn a_drain_takes_two_steps() {
    let mut peer = Peer::new(Config::default());
    peer.send(&get(1));
    peer.connection.drain(ZERO);
    let sent = peer.sent();
    assert_eq!(
        (sent[0].kind, &sent[0].payload[..4]),
        (kind::GOAWAY, &[0x7f, 0xff, 0xff, 0xff][..])
    );
    // A request that was under way is still taken.
    peer.send(&get(3));
    peer.send(&frame(kind::PING, flag::ACK, 0, &sent[1].payload));
    let sent = peer.sent();
    assert_eq!(
        (sent[0].kind, &sent[0].payload[..4]),
        (kind::GOAWAY, &[0, 0, 0, 3][..])
    );
    peer.send(&get(5));
    assert_eq!(peer.events().len(), 2);
    assert!(!peer.connection.is_drained());
    for stream in [1, 3] {
        peer.connection
            .respond(StreamId(stream), 204, &[], Body::None)
            .unwrap();
    }
    assert!(!peer.connection.is_drained());
    peer.sent();
    assert!(peer.connection.is_drained() && !peer.connection.is_closed());
}

#[test]
fn a_drain_does_not_wait_for_ever() {
    let mut peer = Peer::new(Config::default());
    peer.connection.drain(ZERO);
    let due = peer.connection.poll_timeout().unwrap();
    assert_eq!(due, Duration::from_secs(5));
    peer.connection.handle_timeout(due);
    peer.sent();
    assert!(peer.connection.is_drained());
}

#[test]
fn silence_is_probed_and_then_ends_the_connection() {
    let secs = Duration::from_secs;
    let mut peer = Peer::new(Config::default());
    assert_eq!(peer.connection.poll_timeout(), Some(secs(22)));
    peer.connection.handle_timeout(secs(22));
    let ping = peer.sent().remove(0);
    assert_eq!((ping.kind, ping.flags), (kind::PING, 0));
    assert_eq!(peer.connection.poll_timeout(), Some(secs(30)));
    // Any byte counts, even a part of a frame.
    peer.send_at(secs(29), &[0]);
    assert_eq!(peer.connection.poll_timeout(), Some(secs(51)));
    peer.connection.handle_timeout(secs(51));
    peer.connection.handle_timeout(secs(59));
    assert_eq!(peer.events(), [Event::Closed(Error::Timeout)]);
    assert_eq!(peer.connection.poll_timeout(), None);
}

#[test]
fn settings_must_be_acknowledged() {
    let mut peer = Peer::raw(Config::default());
    for at in 1..30 {
        peer.send_at(Duration::from_secs(at), &PREFACE[at as usize - 1..at as usize]);
        if at as usize == PREFACE.len() {
            break;
        }
    }
    peer.connection.handle_timeout(Duration::from_secs(30));
    assert_eq!(peer.closed(), Some(ErrorCode::SETTINGS_TIMEOUT));
}

#[test]
fn goaway_from_the_peer_is_reported() {
    let mut peer = Peer::new(Config::default());
    peer.send(&frame(kind::GOAWAY, 0, 0, &[0, 0, 0, 0, 0, 0, 0, 11, b'x']));
    assert_eq!(
        peer.events(),
        [Event::PeerGoAway {
            code: ErrorCode::ENHANCE_YOUR_CALM
        }]
    );
}

/// A script that touches every frame type, and ends in a violation.
fn script() -> Vec<u8> {
    let (first, second) = GET.split_at(4);
    [
        PREFACE.to_vec(),
        settings(&[
            (setting::INITIAL_WINDOW_SIZE, 100_000),
            (setting::HEADER_TABLE_SIZE, 0),
        ]),
        frame(kind::SETTINGS, flag::ACK, 0, &[]),
        connect(1),
        data(1, 300, false),
        frame(kind::HEADERS, flag::END_STREAM, 3, first),
        frame(kind::CONTINUATION, flag::END_HEADERS, 3, second),
        frame(kind::PRIORITY, 0, 3, &[0; 5]),
        frame(kind::DATA, flag::PADDED, 1, &[4, 1, 2, 3, 0, 0, 0, 0]),
        window_update(0, 1000),
        window_update(1, 1000),
        frame(kind::PING, 0, 0, b"12345678"),
        frame(0x42, 0xff, 7, b"unknown"),
        reset(3),
        frame(kind::GOAWAY, 0, 0, &[0; 8]),
        data(1, 1, true),
        data(1, 1, true),
        window_update(0, 0),
    ]
    .concat()
}

fn run(bytes: &[u8], cuts: &[usize]) -> (Vec<Event>, Vec<Sent>, Stats) {
    let mut peer = Peer::raw(Config::default());
    let mut events: Vec<Event> = Vec::new();
    let mut from = 0;
    for cut in cuts.iter().copied().chain([bytes.len()]) {
        peer.send(&bytes[from..cut]);
        from = cut;
        for event in peer.events() {
            match (events.last_mut(), event) {
                // Pieces of a body are joined while they wait, so cuts may change how many there are.
                (
                    Some(Event::Data {
                        stream,
                        data,
                        end_stream,
                    }),
                    Event::Data {
                        stream: s,
                        data: d,
                        end_stream: e,
                    },
                ) if *stream == s => {
                    data.extend(d);
                    *end_stream = e;
                }
                (_, event) => events.push(event),
            }
        }
    }
    // Bytes behind the end of a connection count only when they came with it.
    let stats = Stats {
        bytes_received: 0,
        ..peer.connection.stats()
    };
    (events, peer.sent(), stats)
}

#[test]
fn every_split_point_gives_the_same() {
    let bytes = script();
    let whole = run(&bytes, &[]);
    assert!(matches!(
        whole.0.last(),
        Some(Event::Closed(Error::Violation {
            code: ErrorCode::PROTOCOL_ERROR,
            ..
        }))
    ));
    for cut in 0..bytes.len() {
        assert_eq!(run(&bytes, &[cut]), whole, "{cut}");
    }
    let each: Vec<usize> = (0..bytes.len()).collect();
    assert_eq!(run(&bytes, &each), whole);
}

fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    let payload = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..40),
        Just(GET.to_vec()),
        Just(CONNECT.to_vec()),
        Just(vec![0; 4]),
        Just(vec![0, 0, 1, 0]),
        Just(vec![0; 8]),
    ];
    (
        0u8..12,
        prop::sample::select(vec![0u8, 1, 4, 5, 8, 0x2d, 0xff]),
        0u32..8,
        payload,
    )
        .prop_map(|(kind, flags, stream, payload)| frame(kind, flags, stream, &payload))
}

proptest! {
    #[test]
    fn any_frames_in_any_pieces(
        script in prop::collection::vec(any_frame(), 0..30),
        tail in prop::collection::vec(any::<u8>(), 0..30),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let bytes = [PREFACE.to_vec(), settings(&[]), script.concat(), tail].concat();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len())).collect();
        cuts.sort_unstable();
        prop_assert_eq!(run(&bytes, &cuts), run(&bytes, &[]));
    }
}
