//! Fuzz targets of what the agent and the gateway read besides the protocol cores: configuration, names, messages to
//! the monitor that stays root, snapshots, flow accounts, and what strangers and cameras send to the gateway. Apart
//! from `fuzz.rs`, so that the test tools need not be built with both programs in them.

use bytes::Bytes;
use lenscap::config;
use lenscap::dns::{Protocol, Resolver};
use lenscap::monitor::{MESSAGE_BYTES, Order, Report};
use lenscap::run::http;
use lenscap_audit::flows::{State, conntrack, interfaces, sockets};
use lenscap_gateway::reports::audit::Summary;
use lenscap_gateway::reports::flows::{Report as FlowReport, Table};
use lenscap_gateway::rtsp::head::Message;
use lenscap_gateway::rtsp::splitter::{MAX_HEAD_BYTES, Piece, Splitter};
use lenscap_gateway::uplink::upgrade::{Refusal, handle_head};
use lenscap_gateway::ws;
use std::time::Duration;

/// A target's name, which is its folder in the corpus, and its function.
pub type ProgramTarget = (&'static str, fn(&[u8]));

/// Every target here.
pub const PROGRAM_TARGETS: &[ProgramTarget] = &[
    ("config", config),
    ("dns", dns),
    ("monitor_message", monitor_message),
    ("snapshot", snapshot),
    ("flows", flows),
    ("gateway_reports", gateway_reports),
    ("gateway_rtsp", gateway_rtsp),
    ("gateway_upgrade", gateway_upgrade),
    ("gateway_ws", gateway_ws),
];

/// Options whose files would be opened: not of the fuzzer's choice.
const OPENS_FILES: &[&str] = &["file", "cert", "key"];
/// Answers a lookup may be given before it must have come to an end by itself.
const MAX_TIMEOUTS: usize = 200;

/// The text of a configuration.
pub fn config(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    let bare: String = text.chars().filter(|c| !matches!(c, '\'' | '"' | '\\')).collect();
    if OPENS_FILES.iter().any(|word| bare.contains(word)) {
        return;
    }
    let lines = text.split('\n').count();
    match config::parse("fuzz", text) {
        Ok(loaded) => assert!(!loaded.config.profiles.is_empty() && !loaded.config.uplinks.is_empty()),
        Err(errors) => {
            assert!(!errors.errors.is_empty(), "refused without a word");
            for error in &errors.errors {
                assert!(error.position.line as usize <= lines, "{error:?}");
            }
        }
    }
}

/// What the kernel, or whoever wrote into the run folder, may show: files of `/proc`, netlink messages, and a state.
pub fn flows(input: &[u8]) {
    let _ = conntrack::parse_message(0x0100, input, |address| address.is_ipv4());
    let _ = sockets::parse_message(sockets::DUMP, input);
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    for line in text.lines() {
        let _ = conntrack::parse_line(line, |address| address.is_ipv4());
        let _ = sockets::parse_line(sockets::TCP, line);
        let _ = interfaces::parse_line(line);
    }
    if let Some(mut state) = State::from_text(text) {
        let again = State::from_text(&state.to_text());
        assert_eq!(again.as_ref(), Some(&state), "a state does not survive its file");
    }
}

/// Flows and audits as a camera sends them.
pub fn gateway_reports(input: &[u8]) {
    let _ = Summary::parse(input);
    let Ok(report) = FlowReport::parse(input) else {
        return;
    };
    let mut table = Table::default();
    for record in table.absorb(report, 1_700_000_000_000, 1_699_999_700_000) {
        assert!(
            record.start_ms <= record.end_ms && record.octets > 0,
            "{record:?}"
        );
    }
    let again = Table::from_lines(&table.to_lines());
    assert_eq!(
        again.ok().as_ref(),
        Some(&table),
        "a table does not survive its file"
    );
}

/// Answers of a name server, each behind its kind and its length in two bytes: 0 a datagram, 1 bytes of a connection,
/// both for the oldest query and with its id in the first two bytes of a datagram; else time passes.
pub fn dns(input: &[u8]) {
    let resolver = Resolver::new("nameserver 10.0.0.1\nnameserver 10.0.0.2\n", "");
    let mut lookup = resolver.start(Duration::ZERO, "gw.example.net", [7; 16]);
    let (mut now, mut open, mut rest) = (Duration::ZERO, Vec::new(), input);
    while let Some((&[kind, high, low], after)) = rest.split_first_chunk::<3>() {
        let length = usize::from(u16::from_be_bytes([high, low])).min(after.len());
        let (bytes, after) = after.split_at(length);
        rest = after;
        open.extend(std::iter::from_fn(|| lookup.poll_transmit()));
        open.retain(|query| lookup.wants(query.query));
        let Some(query) = open.first() else { continue };
        match kind % 3 {
            0 if query.protocol == Protocol::Udp => {
                let mut message = bytes.to_vec();
                for (byte, id) in message.iter_mut().zip(&query.payload[..2]) {
                    *byte = *id;
                }
                lookup.handle_datagram(now, query.query, query.server, &message);
            }
            1 => lookup.handle_stream(now, query.query, bytes),
            _ => {
                now += Duration::from_millis(500);
                lookup.handle_timeout(now);
            }
        }
    }
    for _ in 0..MAX_TIMEOUTS {
        while lookup.poll_transmit().is_some() {}
        let Some(at) = lookup.poll_timeout() else { break };
        lookup.handle_timeout(at);
    }
    assert!(lookup.poll_result().is_some(), "a lookup ends");
}

/// A message between the agent and the monitor, without its zeros at the end: there is one way to write each.
pub fn monitor_message(input: &[u8]) {
    let mut wire = [0; MESSAGE_BYTES];
    for (byte, given) in wire.iter_mut().zip(input) {
        *byte = *given;
    }
    if let Some(report) = Report::decode(&wire) {
        assert_eq!(report.encode(), Some(wire));
    }
    if let Some(order) = Order::decode(&wire) {
        assert_eq!(order.encode(), Some(wire));
    }
    assert!(input.len() == MESSAGE_BYTES || (Report::decode(input), Order::decode(input)) == (None, None));
}

/// The length of the pieces in the first byte, then a camera's answer to the request for a snapshot.
pub fn snapshot(input: &[u8]) {
    let Some((&piece, answer)) = input.split_first() else {
        return;
    };
    let whole = response(answer, answer.len());
    assert_eq!(whole, response(answer, piece.into()));
    if let Ok(response) = whole {
        assert!(response.body.len() <= http::MAX_BODY_BYTES.min(answer.len()));
    }
}

fn response(answer: &[u8], piece: usize) -> Result<http::Response, http::Malformed> {
    let mut reader = http::Reader::new();
    for bytes in answer.chunks(piece.max(1)) {
        if reader.handle_input(bytes)? {
            return Ok(reader.into_response());
        }
    }
    reader.handle_end()?;
    Ok(reader.into_response())
}

/// The cut in the first byte, then what a viewer sends to the gateway.
pub fn gateway_rtsp(input: &[u8]) {
    let Some((&cut, stream)) = input.split_first() else {
        return;
    };
    let (before, after) = stream.split_at(usize::from(cut).min(stream.len()));
    let whole = pieces(&[stream]);
    assert_eq!(whole, pieces(&[before, after]));
    for piece in whole.iter().flatten() {
        if let Piece::Head(head) = piece {
            assert!(head.len() <= MAX_HEAD_BYTES);
            let _ = Message::parse(head);
        }
    }
}

/// Everything up to an error, neighbours of a kind joined; `None` at the end stands for the error.
fn pieces(chunks: &[&[u8]]) -> Vec<Option<Piece>> {
    let (mut splitter, mut out) = (Splitter::new(), Vec::new());
    for chunk in chunks {
        let mut input = Bytes::copy_from_slice(chunk);
        loop {
            match splitter.poll_piece(&mut input) {
                Ok(None) => break,
                Err(_) => {
                    out.push(None);
                    return out;
                }
                Ok(Some(piece)) => match (out.last_mut(), piece) {
                    (Some(Some(Piece::Frames(a))), Piece::Frames(b)) => *a = [&a[..], &b[..]].concat().into(),
                    (Some(Some(Piece::Body(a))), Piece::Body(b)) => *a = [&a[..], &b[..]].concat().into(),
                    (_, piece) => out.push(Some(piece)),
                },
            }
        }
    }
    out
}

/// The first bytes on the gateway's uplink port.
pub fn gateway_upgrade(input: &[u8]) {
    match handle_head(input, "/onvif/uplink") {
        Ok(_) | Err(Refusal::TooLarge) => {}
        Err(refusal) => assert!(refusal.response("").starts_with(b"HTTP/1.1 4")),
    }
}

/// The cut in the first byte, then WebSocket frames from an agent.
pub fn gateway_ws(input: &[u8]) {
    let Some((&cut, stream)) = input.split_first() else {
        return;
    };
    let (before, after) = stream.split_at(usize::from(cut).min(stream.len()));
    assert_eq!(frames(&[stream]), frames(&[before, after]));
}

fn frames(chunks: &[&[u8]]) -> (Vec<u8>, Vec<ws::Piece>, Option<u16>) {
    let mut decoder = ws::Decoder::new();
    let (mut data, mut others) = (Vec::new(), Vec::new());
    for chunk in chunks {
        let mut input = Bytes::copy_from_slice(chunk);
        loop {
            match decoder.poll_piece(&mut input) {
                Ok(None) => break,
                Ok(Some(ws::Piece::Data(bytes))) => data.extend_from_slice(&bytes),
                Ok(Some(other)) => others.push(other),
                Err(error) => return (data, others, Some(error.close_code())),
            }
        }
    }
    (data, others, None)
}
