//! What the fuzz targets do with their input. The same functions replay the corpus on a stable compiler.
//!
//! Each takes any bytes and panics when a promise is broken: parsers survive everything, and where the input is cut
//! makes no difference. To add a target: a function here, a row in [`TARGETS`], a file in `tests/fuzz/fuzz_targets`
//! with its `[[bin]]`, and seeds in `tests/fuzz/corpus/<name>`.

use lenscap_uplink::h2::{Bodies, Body, BodyRead, Config, Connection, ErrorCode, Event, StreamId};
use lenscap_uplink::upgrade::{Progress, Reply, Request, UpgradeError};
use lenscap_uplink::url::Url;
use lenscap_uplink::{hpack, ws};
use std::collections::BTreeMap;
use std::time::Duration;

/// A target's name, and what it does with its input.
pub type Target = (&'static str, fn(&[u8]));

/// Every target: its name, which is its folder in the corpus, and its function.
pub const TARGETS: &[Target] = &[
    ("hpack", hpack),
    ("h2_connection", h2_connection),
    ("ws", ws),
    ("upgrade", upgrade),
    ("rtsp_framing", crate::fuzz_rtsp::rtsp_framing),
    ("rtsp_session", crate::fuzz_rtsp::rtsp_session),
    ("rtsp_sdp", crate::fuzz_rtsp::rtsp_sdp),
    ("rtsp_auth", crate::fuzz_rtsp::rtsp_auth),
];

const MAX_LIST: usize = 2000;
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const EMPTY_SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];

/// Header blocks, each behind its length in two bytes, for one decoder.
pub fn hpack(input: &[u8]) {
    let mut decoder = hpack::Decoder::new(hpack::DEFAULT_TABLE_SIZE);
    let mut rest = input;
    while let Some((length, after)) = rest.split_first_chunk::<2>() {
        let (block, after) = after.split_at(usize::from(u16::from_be_bytes(*length)).min(after.len()));
        rest = after;
        let mut size = 0;
        let result = decoder.decode(block, MAX_LIST, &mut |name, value| {
            size += name.len() + value.len() + hpack::ENTRY_OVERHEAD;
        });
        assert!(size <= MAX_LIST);
        if result.is_err() {
            return;
        }
    }
}

/// A body of as many bytes as its stream's number asks for.
#[derive(Default)]
struct Numbered(BTreeMap<StreamId, usize>);

impl Bodies for Numbered {
    fn read(&mut self, stream: StreamId, out: &mut Vec<u8>, max: usize) -> BodyRead {
        assert!(max > 0);
        let Some(left) = self.0.get_mut(&stream) else {
            return BodyRead::Drained;
        };
        let n = max.min(*left);
        out.resize(out.len() + n, 0);
        *left -= n;
        if *left == 0 {
            BodyRead::End
        } else {
            BodyRead::Bytes
        }
    }
}

/// Frames behind a preface and SETTINGS, cut into pieces of the length in the first byte. Each request is answered.
pub fn h2_connection(input: &[u8]) {
    let Some((&piece, frames)) = input.split_first() else {
        return;
    };
    let bytes = [PREFACE, EMPTY_SETTINGS, frames].concat();
    let mut connection = Connection::new(Config::default(), Duration::ZERO);
    let mut bodies = Numbered::default();
    let mut sent = Vec::new();
    let mut closed = false;
    for (index, piece) in bytes.chunks(usize::from(piece.max(1))).enumerate() {
        let now = Duration::from_millis(index as u64);
        connection.handle_input(now, piece);
        while let Some(event) = connection.poll_event() {
            assert!(!closed, "an event after the end: {event:?}");
            closed = matches!(event, Event::Closed(_));
            answer(&mut connection, &mut bodies, &event);
        }
        assert_eq!(closed, connection.is_closed());
        while connection.poll_output(now, &mut sent, 1000, &mut bodies) > 0 {}
        assert!(
            connection
                .poll_timeout()
                .is_none_or(|due| due > now || connection.stats().live_streams > 0)
        );
    }
    check_frames(&sent);
}

fn answer(connection: &mut Connection, bodies: &mut Numbered, event: &Event) {
    match event {
        Event::Request { stream, request, .. } => {
            let body = if stream.value() % 3 == 0 {
                Body::None
            } else {
                Body::Streaming
            };
            let name = if request.protocol.is_some() {
                "tunnel"
            } else {
                "request"
            };
            // A violation behind the request may have ended the stream before it is answered.
            if connection.respond(*stream, 200, &[("kind", name)], body).is_ok() {
                bodies.0.insert(*stream, stream.value() as usize % 50_000);
                connection.set_body_ready(*stream);
            }
        }
        Event::Data { stream, data, .. } if data.first() == Some(&b'!') => {
            connection.reset(*stream, ErrorCode::CANCEL);
        }
        Event::Data { stream, .. } => connection.set_body_ready(*stream),
        Event::Reset { .. } | Event::PeerGoAway { .. } | Event::Closed(_) => {}
    }
}

/// What a connection sends must be whole frames of a length any peer takes.
fn check_frames(mut sent: &[u8]) {
    while let Some((head, after)) = sent.split_first_chunk::<9>() {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        assert!(length <= 16_384 && length <= after.len());
        sent = &after[length..];
    }
    assert!(sent.is_empty());
}

/// The role in the first byte, the first cut in the second, then frames.
pub fn ws(input: &[u8]) {
    let Some((&[role, cut], frames)) = input.split_first_chunk::<2>() else {
        return;
    };
    let role = if role % 2 == 0 {
        ws::Role::Server
    } else {
        ws::Role::Client
    };
    let cut = usize::from(cut).min(frames.len());
    assert_eq!(
        decode_ws(role, &[frames]),
        decode_ws(role, &[&frames[..cut], &frames[cut..]])
    );
    let mut carrier = ws::Carrier::new([0; 16]);
    let mut inner = Vec::new();
    let result = carrier.handle_input(&mut frames.to_vec(), &mut inner);
    assert!(inner.len() <= frames.len());
    assert!(result.is_ok() || carrier.is_closing());
    let mut out = Vec::new();
    carrier.poll_output(&mut out);
    let answers = decode_ws(ws::Role::Server, &[&out]);
    assert!(answers.1.is_ok(), "{answers:?}");
}

fn decode_ws(role: ws::Role, pieces: &[&[u8]]) -> (Vec<String>, Result<(), ws::WsError>) {
    let mut decoder = ws::Decoder::new(role, ws::Limits::default());
    let mut data = Vec::new();
    let mut seen = Vec::new();
    for piece in pieces {
        let result = decoder.handle_input(&mut piece.to_vec(), &mut |event| match event {
            ws::Event::Data(bytes) => data.extend_from_slice(bytes),
            other => seen.push(format!("{} {other:?}", data.len())),
        });
        if result.is_err() {
            return (seen, result);
        }
    }
    seen.push(format!("{data:?}"));
    (seen, Ok(()))
}

/// The carrier in the first byte, the cut in the second, then the reply.
pub fn upgrade(input: &[u8]) {
    let Some((&[carrier, cut], reply)) = input.split_first_chunk::<2>() else {
        return;
    };
    let text = if carrier % 2 == 0 {
        "https://gw.example.net/up"
    } else {
        "wss://gw.example.net/up"
    };
    let Ok(url) = Url::parse(text) else { return };
    let cut = usize::from(cut).min(reply.len());
    let whole = judge(&url, &[reply]);
    assert_eq!(whole, judge(&url, &[&reply[..cut], &reply[cut..]]));
    if let Ok(Some((Reply::Redirect(redirect), _))) = whole {
        for target in &redirect.targets {
            if let Ok(target) = url.join(target) {
                assert_eq!(Url::parse(target.as_str()).as_ref(), Ok(&target));
            }
        }
    }
}

fn judge(url: &Url, pieces: &[&[u8]]) -> Result<Option<(Reply, Vec<u8>)>, UpgradeError> {
    let request = Request {
        url,
        bearer: None,
        user_agent: "lenscap/fuzz",
        ws_nonce: *b"the sample nonce",
        fields: &[],
    };
    let mut expect = request.encode().1;
    for (index, piece) in pieces.iter().enumerate() {
        match expect.handle_input(piece)? {
            Progress::NeedMore(next) => expect = next,
            Progress::Done { reply, mut rest } => {
                rest.extend(pieces[index + 1..].concat());
                return Ok(Some((reply, rest)));
            }
        }
    }
    Ok(None)
}
