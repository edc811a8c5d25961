use super::*;

fn tunnel(peer: &mut Peer, stream: u32, body: usize) {
    peer.send(&connect(stream));
    peer.connection
        .respond(StreamId(stream), 200, &[], Body::Streaming)
        .unwrap();
    peer.bodies.0.insert(stream, body);
    peer.connection.set_body_ready(StreamId(stream));
}

fn data_of(sent: &[Sent], stream: u32) -> usize {
    sent.iter()
        .filter(|f| f.kind == kind::DATA && f.stream == stream)
        .map(|f| f.payload.len())
        .sum()
}

#[test]
fn both_windows_bound_what_is_sent() {
    let mut peer = Peer::new(Config::default());
    tunnel(&mut peer, 1, 1 << 20);
    assert_eq!(data_of(&peer.sent(), 1), 65_535);
    assert!(!peer.connection.wants_output());
    peer.send(&window_update(1, 1000));
    assert!(!peer.connection.wants_output());
    peer.send(&window_update(0, 400));
    assert_eq!(data_of(&peer.sent(), 1), 400);
    peer.send(&window_update(0, 10_000));
    assert_eq!(data_of(&peer.sent(), 1), 600);
}

#[test]
fn a_new_initial_window_changes_live_streams() {
    let mut peer = Peer::new(Config::default());
    peer.send(&window_update(0, 1 << 20));
    tunnel(&mut peer, 1, 1 << 20);
    assert_eq!(data_of(&peer.sent(), 1), 65_535);
    // Down by 65,435: the window is negative, and the first credit only fills the hole.
    peer.send(&settings(&[(setting::INITIAL_WINDOW_SIZE, 100)]));
    peer.send(&window_update(1, 65_435));
    assert_eq!(data_of(&peer.sent(), 1), 0);
    peer.send(&window_update(1, 7));
    assert_eq!(data_of(&peer.sent(), 1), 7);
    peer.send(&settings(&[(setting::INITIAL_WINDOW_SIZE, 150)]));
    assert_eq!(data_of(&peer.sent(), 1), 50);
    tunnel(&mut peer, 3, 1 << 20);
    assert_eq!(data_of(&peer.sent(), 3), 150);
}

#[test]
fn streams_take_turns_and_control_goes_first() {
    let mut peer = Peer::new(Config::default());
    peer.send(&settings(&[(setting::INITIAL_WINDOW_SIZE, 1 << 20)]));
    peer.send(&window_update(0, 1 << 20));
    for stream in [1, 3, 5] {
        tunnel(&mut peer, stream, 100_000);
    }
    let mut out = Vec::new();
    let taken = peer
        .connection
        .poll_output(ZERO, &mut out, 100_000, &mut peer.bodies);
    assert!(taken == out.len() && taken <= 100_000);
    let sent = frames(&out);
    let first_data = sent.iter().position(|f| f.kind == kind::DATA).unwrap();
    assert!(sent[first_data..].iter().all(|f| f.kind == kind::DATA));
    let order: Vec<u32> = sent[first_data..].iter().map(|f| f.stream).collect();
    assert_eq!(order[..6], [1, 3, 5, 1, 3, 5]);
    peer.send(&frame(kind::PING, 0, 0, b"01234567"));
    let mut out = Vec::new();
    peer.connection
        .poll_output(ZERO, &mut out, 1000, &mut peer.bodies);
    let sent = frames(&out);
    assert_eq!(
        (sent[0].kind, sent[0].payload.as_slice()),
        (kind::PING, &b"01234567"[..])
    );
}

#[test]
fn every_budget_is_kept() {
    for budget in 1..600 {
        let mut peer = Peer::new(Config::default());
        tunnel(&mut peer, 1, 3000);
        peer.send(&frame(kind::PING, 0, 0, b"01234567"));
        let mut all = Vec::new();
        loop {
            let taken = peer
                .connection
                .poll_output(ZERO, &mut all, budget, &mut peer.bodies);
            assert!(taken <= budget);
            if taken == 0 {
                break;
            }
        }
        if budget >= 16 {
            assert_eq!(data_of(&frames(&all), 1), 3000, "{budget}");
        }
    }
}

#[test]
fn a_full_data_frame_is_one_tls_record() {
    let mut peer = Peer::new(Config::default());
    tunnel(&mut peer, 1, 50_000);
    let mut out = Vec::new();
    peer.connection
        .poll_output(ZERO, &mut out, usize::MAX, &mut peer.bodies);
    let longest = frames(&out).iter().map(|f| f.payload.len()).max();
    assert_eq!(longest, Some(16_375));
}

#[test]
fn credit_returns_on_receipt() {
    let mut peer = Peer::new(Config::default());
    tunnel(&mut peer, 1, 0);
    peer.sent();
    let (mut stream, mut connection) = (32_768i64, 65_535i64);
    let mut received = 0;
    for len in [1usize, 8000, 16_000, 100, 16_384, 16_384, 9_000]
        .into_iter()
        .cycle()
        .take(200)
    {
        assert!(
            stream >= len as i64 && connection >= len as i64,
            "a sender would be blocked"
        );
        peer.send(&data(1, len, false));
        stream -= len as i64;
        connection -= len as i64;
        received += len;
        for frame in peer.sent().iter().filter(|f| f.kind == kind::WINDOW_UPDATE) {
            let credit = i64::from(frame::be_u32(&frame.payload).unwrap());
            *(if frame.stream == 0 {
                &mut connection
            } else {
                &mut stream
            }) += credit;
        }
    }
    let events = peer.events();
    let total: usize = events
        .iter()
        .map(|e| {
            if let Event::Data { data, .. } = e {
                data.len()
            } else {
                0
            }
        })
        .sum();
    assert_eq!(total, received);
}

#[test]
fn before_the_acknowledgement_the_default_window_holds() {
    let mut peer = Peer::raw(Config::default());
    peer.send(&[PREFACE.to_vec(), settings(&[]), connect(1)].concat());
    let three = vec![data(1, 16_384, false); 3].concat();
    peer.send(&three);
    assert_eq!(peer.closed(), None);
    peer.send(&frame(kind::SETTINGS, flag::ACK, 0, &[]));
    peer.send(&connect(3));
    peer.send(&[data(3, 16_384, false), data(3, 16_384, false), data(3, 1, false)].concat());
    assert_eq!(peer.was_reset(3), Some(ErrorCode::FLOW_CONTROL_ERROR));
}

#[test]
fn a_larger_connection_window_is_announced() {
    let mut peer = Peer::raw(Config {
        connection_window: 100_000,
        ..Config::default()
    });
    let sent = peer.sent();
    assert_eq!(
        (sent[1].kind, sent[1].payload.as_slice()),
        (kind::WINDOW_UPDATE, &34_465u32.to_be_bytes()[..])
    );
}

struct Rude;

impl Bodies for Rude {
    fn read(&mut self, _: StreamId, out: &mut Vec<u8>, max: usize) -> BodyRead {
        out.resize(out.len() + max + 1, 0);
        BodyRead::Bytes
    }
}

#[test]
fn a_body_that_gives_too_much_loses_its_stream_alone() {
    let mut peer = Peer::new(Config::default());
    tunnel(&mut peer, 1, 10);
    let mut out = Vec::new();
    while peer.connection.poll_output(ZERO, &mut out, 16_384, &mut Rude) > 0 {}
    let sent = frames(&out);
    assert_eq!(data_of(&sent, 1), 0);
    assert_eq!(sent.last().map(Sent::code), Some(ErrorCode::INTERNAL_ERROR));
    assert!(!peer.connection.is_closed());
}
