use super::*;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use proptest::prelude::*;

#[derive(Debug, PartialEq, Eq, Clone)]
enum Seen {
    Data(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<u16>),
}

fn decode(role: Role, bytes: &[u8], cuts: &[usize]) -> (Vec<Seen>, Result<(), WsError>) {
    let mut decoder = Decoder::new(role, Limits::default());
    let mut seen: Vec<Seen> = Vec::new();
    let mut from = 0;
    for cut in cuts.iter().copied().chain([bytes.len()]) {
        let mut piece = bytes[from..cut].to_vec();
        from = cut;
        let result = decoder.handle_input(&mut piece, &mut |event| match (event, seen.last_mut()) {
            (Event::Data(data), Some(Seen::Data(before))) => before.extend_from_slice(data),
            (Event::Data(data), _) => seen.push(Seen::Data(data.to_vec())),
            (Event::Ping(data), _) => seen.push(Seen::Ping(data.to_vec())),
            (Event::Pong(data), _) => seen.push(Seen::Pong(data.to_vec())),
            (Event::Close { code }, _) => seen.push(Seen::Close(code)),
        });
        if result.is_err() {
            return (seen, result);
        }
    }
    (seen, Ok(()))
}

/// An unmasked frame with this first byte.
fn plain(first: u8, payload: &[u8]) -> Vec<u8> {
    [&[first, payload.len() as u8], payload].concat()
}

fn script() -> Vec<u8> {
    [
        plain(0x02, b"ab"),
        plain(0x89, b"ping"),
        plain(0x00, b""),
        plain(0x80, b"cd"),
        plain(0x8a, b""),
        [&[0x82, 126, 1, 0][..], &[9; 256]].concat(),
        plain(0x88, &[0x03, 0xe8, b'x']),
        plain(0x0f, b"ignored"),
    ]
    .concat()
}

#[test]
fn frames_of_every_kind_at_every_split_point() {
    let bytes = script();
    let whole = decode(Role::Client, &bytes, &[]);
    let expected = [
        Seen::Data(b"ab".to_vec()),
        Seen::Ping(b"ping".to_vec()),
        Seen::Data(b"cd".to_vec()),
        Seen::Pong(vec![]),
        Seen::Data(vec![9; 256]),
        Seen::Close(Some(1000)),
    ];
    assert_eq!(whole, (expected.to_vec(), Ok(())));
    for cut in 0..bytes.len() {
        assert_eq!(decode(Role::Client, &bytes, &[cut]), whole, "{cut}");
    }
    let each: Vec<usize> = (0..bytes.len()).collect();
    assert_eq!(decode(Role::Client, &bytes, &each), whole);
}

#[test]
fn the_example_of_rfc_6455() {
    // Section 5.7: a masked "Hello", as binary here.
    let bytes = [0x82, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
    assert_eq!(
        decode(Role::Server, &bytes, &[]).0,
        [Seen::Data(b"Hello".to_vec())]
    );
}

#[test]
fn broken_frames_and_their_close_codes() {
    let long = |first: u8, rest: &[u8]| [&[0x82, first], rest].concat();
    for (role, bytes, code) in [
        (Role::Server, plain(0x82, b"x"), 1002),
        (Role::Client, vec![0x82, 0x81, 0, 0, 0, 0, 0], 1002),
        (Role::Client, plain(0xc2, b""), 1002),
        (Role::Client, plain(0xa2, b""), 1002),
        (Role::Client, plain(0x92, b""), 1002),
        (Role::Client, plain(0x83, b""), 1002),
        (Role::Client, plain(0x8b, b""), 1002),
        (Role::Client, plain(0x81, b"text"), 1003),
        (Role::Client, plain(0x80, b""), 1002),
        (Role::Client, [plain(0x02, b""), plain(0x82, b"")].concat(), 1002),
        (Role::Client, plain(0x09, b""), 1002),
        (Role::Client, vec![0x89, 126, 0, 126], 1002),
        (Role::Client, long(126, &[0, 125]), 1002),
        (Role::Client, long(127, &[0, 0, 0, 0, 0, 0, 0xff, 0xff]), 1002),
        (Role::Client, long(127, &[0x80, 0, 0, 0, 0, 1, 0, 0]), 1002),
        (Role::Client, long(127, &[0, 0, 0, 0, 0x7f, 0, 0, 0]), 1009),
        (Role::Client, plain(0x88, b"x"), 1002),
        (Role::Client, plain(0x88, &[0x03, 0xec]), 1002),
        (Role::Client, plain(0x88, &[0x03, 0xed]), 1002),
        (Role::Client, plain(0x88, &[0x03, 0xe7]), 1002),
        (Role::Client, plain(0x88, &[0x13, 0x88]), 1002),
        (Role::Client, plain(0x88, &[0x03, 0xe8, 0xff]), 1007),
    ] {
        let (_, result) = decode(role, &bytes, &[]);
        assert_eq!(result.map_err(|error| error.close_code), Err(code), "{bytes:?}");
        let each: Vec<usize> = (0..bytes.len()).collect();
        assert_eq!(decode(role, &bytes, &each).1, result, "{bytes:?}");
    }
    assert_eq!(
        decode(Role::Client, &plain(0x88, b""), &[]).0,
        [Seen::Close(None)]
    );
}

#[test]
fn an_error_stays() {
    let mut decoder = Decoder::new(Role::Client, Limits::default());
    let first = decoder.handle_input(&mut plain(0x83, b""), &mut |_| {});
    assert!(first.is_err());
    assert_eq!(
        decoder.handle_input(&mut plain(0x82, b"x"), &mut |_| panic!()),
        first
    );
}

#[test]
fn frames_written_in_place() {
    for len in [0, 1, 125, 126, 127, 65_535, 65_536, 70_000] {
        for mask in [None, Some([1, 2, 3, 4])] {
            let payload: Vec<u8> = (0..len).map(|i| (i % 256) as u8).collect();
            let mut out = b"before".to_vec();
            let start = begin_frame(&mut out, mask.is_some());
            out.extend_from_slice(&payload);
            assert_eq!(finish_frame(&mut out, start, mask), len);
            let role = if mask.is_some() {
                Role::Server
            } else {
                Role::Client
            };
            let expected = if len == 0 {
                vec![]
            } else {
                vec![Seen::Data(payload.clone())]
            };
            assert_eq!(decode(role, &out[6..], &[]), (expected, Ok(())), "{len}");
            let mut header = Vec::new();
            encode_header(&mut header, Opcode::Binary, len, mask);
            assert!(header.len() <= MAX_HEADER && (len == 0 || out[6..].starts_with(&header)));
            assert_eq!(out.len(), 6 + if len == 0 { 0 } else { header.len() + len });
        }
    }
}

#[test]
fn the_carrier_answers_pings_and_closes() {
    let mut carrier = Carrier::new([7; 16]);
    let mut inner = Vec::new();
    let mut bytes = [plain(0x82, b"PRI"), plain(0x89, b"hi"), plain(0x82, b" *")].concat();
    carrier.handle_input(&mut bytes, &mut inner).unwrap();
    assert_eq!(inner, b"PRI *");
    let mut out = Vec::new();
    let start = carrier.begin(&mut out);
    out.extend_from_slice(&[5; 1000]);
    carrier.finish(&mut out, start);
    assert!(carrier.wants_output());
    carrier.poll_output(&mut out);
    assert_eq!(
        decode(Role::Server, &out, &[]).0,
        [Seen::Data(vec![5; 1000]), Seen::Pong(b"hi".to_vec())]
    );
    carrier
        .handle_input(&mut plain(0x88, &[0x03, 0xe9]), &mut inner)
        .unwrap();
    assert!(carrier.is_peer_closed() && carrier.is_closing());
    let mut out = Vec::new();
    carrier.poll_output(&mut out);
    let start = carrier.begin(&mut out);
    out.push(1);
    carrier.finish(&mut out, start);
    assert_eq!(decode(Role::Server, &out, &[]).0, [Seen::Close(Some(1001))]);
}

#[test]
fn the_carrier_bounds_its_pongs_and_reports_errors() {
    let mut carrier = Carrier::new([7; 16]);
    let mut inner = Vec::new();
    carrier
        .handle_input(&mut plain(0x89, &[0; 125]).repeat(1000), &mut inner)
        .unwrap();
    let mut out = Vec::new();
    carrier.poll_output(&mut out);
    assert!(out.len() < 5000);
    assert!(carrier.handle_input(&mut plain(0x83, b""), &mut inner).is_err());
    let mut out = Vec::new();
    carrier.poll_output(&mut out);
    assert_eq!(decode(Role::Server, &out, &[]).0, [Seen::Close(Some(1002))]);
}

#[test]
fn errors_explain_themselves() {
    let text: String = decode(Role::Server, &plain(0x82, b"x"), &[])
        .1
        .unwrap_err()
        .to_string();
    assert_eq!(
        text,
        "the peer broke the WebSocket protocol: a client must mask its frames (1002)"
    );
}

proptest! {
    #[test]
    fn any_bytes_in_any_pieces(
        frames in prop::collection::vec((any::<u8>(), prop::collection::vec(any::<u8>(), 0..60)), 0..10),
        tail in prop::collection::vec(any::<u8>(), 0..30),
        server: bool,
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..5),
    ) {
        let role = if server { Role::Server } else { Role::Client };
        let opcodes = [0x82, 0x02, 0x00, 0x80, 0x89, 0x8a, 0x88, 0x82];
        let mut bytes: Vec<u8> = Vec::new();
        for (kind, payload) in &frames {
            bytes.push(opcodes[usize::from(*kind % 8)]);
            bytes.push(payload.len() as u8 | if server { 0x80 } else { 0 });
            bytes.extend(payload);
        }
        bytes.extend(tail);
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.sort_unstable();
        prop_assert_eq!(decode(role, &bytes, &cuts), decode(role, &bytes, &[]));
    }

    #[test]
    fn masks_split_anywhere(bytes in prop::collection::vec(any::<u8>(), 0..100), mask: [u8; 4], at in any::<prop::sample::Index>()) {
        let expected: Vec<u8> = bytes.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key).collect();
        let at = at.index(bytes.len() + 1);
        let mut masked = bytes;
        let (left, right) = masked.split_at_mut(at);
        apply_mask(left, mask, 0);
        apply_mask(right, mask, at);
        prop_assert_eq!(masked, expected);
    }
}
