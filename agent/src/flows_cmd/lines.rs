//! The accounts as JSON lines: one line on the accounts themselves, then the records, by cursor.

use lenscap_audit::flows::{COUNTERS, Flow, State, protocol_name};

use crate::json::Writer;

/// How each record begins; [`since`] rests on it.
const RECORD: &[u8] = b"{\"cursor\":";

/// All lines.
pub(super) fn to_lines(state: &State) -> String {
    let mut json = Writer::new();
    json.object(|o| head(o, state));
    let mut text = json.finish();
    for flow in &state.flows {
        let mut json = Writer::new();
        json.object(|o| record(o, flow));
        text.push('\n');
        text.push_str(&json.finish());
    }
    text.push('\n');
    text
}

fn head(o: &mut Writer, state: &State) {
    let State {
        epoch,
        cursor,
        started_ms,
        time_ms,
        samples,
        evicted,
        untracked,
        resets,
        ..
    } = state;
    o.key("epoch").string(&format!("{epoch:016x}"));
    for (name, number) in [
        ("cursor", cursor),
        ("started_ms", started_ms),
        ("time_ms", time_ms),
        ("samples", samples),
        ("evicted", evicted),
        ("untracked", untracked),
        ("resets", resets),
    ] {
        o.key(name).number(*number);
    }
    for (name, counters) in [
        ("carried", state.carried),
        ("explained", state.explained),
        ("unexplained", state.unexplained()),
    ] {
        o.key(name).object(|o| {
            for (name, count) in COUNTERS.iter().zip(counters) {
                o.key(name).number(count);
            }
        });
    }
    o.key("blind").array(|a| {
        for sentence in &state.blind {
            a.item().string(sentence);
        }
    });
}

fn record(o: &mut Writer, flow: &Flow) {
    o.key("cursor").number(flow.cursor);
    for (name, text) in [
        ("peer", flow.peer.to_string()),
        ("local", flow.local.to_string()),
        ("protocol", protocol_name(flow.protocol)),
    ] {
        o.key(name).string(&text);
    }
    o.key("port").number(flow.port.into());
    o.key("direction").string(flow.opener.as_str());
    o.key("program").optional(flow.program.as_deref());
    o.key("source").string(flow.source.as_str());
    for (name, count) in COUNTERS.iter().zip(flow.counts.0) {
        match count {
            Some(count) => o.key(name).number(count),
            None => o.key(name).null(),
        }
    }
    for (name, number) in [
        ("connections", flow.connections),
        ("first_ms", flow.first_ms),
        ("last_ms", flow.last_ms),
    ] {
        o.key(name).number(number);
    }
}

/// Out of all lines, what `GET /flows?since=CURSOR` answers: the first line, and the records that changed after the
/// cursor. Nothing is copied: the answer is the two parts one after the other.
#[must_use]
pub fn since(lines: &[u8], cursor: u64) -> (&[u8], &[u8]) {
    let end_of_line = |from: usize| {
        let rest = lines.get(from..).unwrap_or_default();
        let length = rest.iter().position(|byte| *byte == b'\n');
        from + length.map_or(rest.len(), |length| length + 1)
    };
    let head = end_of_line(0);
    let mut start = head;
    while start < lines.len() && cursor_at(lines.get(start..).unwrap_or_default()) <= cursor {
        start = end_of_line(start);
    }
    (
        lines.get(..head).unwrap_or_default(),
        lines.get(start..).unwrap_or_default(),
    )
}

/// The cursor of the record that begins here; 0 for anything else.
fn cursor_at(line: &[u8]) -> u64 {
    let digits = line.strip_prefix(RECORD).unwrap_or_default();
    let mut cursor = 0u64;
    for digit in digits.iter().take_while(|byte| byte.is_ascii_digit()) {
        cursor = cursor.saturating_mul(10).saturating_add(u64::from(digit - b'0'));
    }
    cursor
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use lenscap_audit::flows::{Connection, Counts, Interface, Opener, Sample, Source};
    use proptest::prelude::*;

    pub(in super::super) fn state() -> State {
        let mut state = State::new(0xabc);
        let connection = |peer: &str, counts| Connection {
            protocol: 17,
            local: "192.168.1.20:4000".parse().unwrap(),
            remote: peer.parse().unwrap(),
            opener: Opener::Camera,
            counts,
            source: Source::Conntrack,
            program: Some("/usr/bin/\"odd\"".into()),
        };
        state.handle_sample(
            Sample {
                time_ms: 1_700_000_000_000,
                uptime_ms: 1,
                connections: vec![
                    connection("203.0.113.7:53", Counts::known(1, 2, 3, 4)),
                    connection("[2001:db8::1]:123", Counts::default()),
                    connection("203.0.113.9:1", Counts::known(u64::MAX, 0, 0, 0)),
                ],
                interfaces: vec![Interface {
                    name: "eth0".into(),
                    counters: [1; 4],
                }],
                blind: vec!["so \"it\" is".into()],
            },
            1,
        );
        state
    }

    #[test]
    fn each_line_is_json_and_the_first_tells_of_the_rest() {
        let text = to_lines(&state());
        let lines: Vec<serde_json::Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines.len(), 4);
        assert_eq!(
            (&lines[0]["epoch"], &lines[0]["cursor"]),
            (&"0000000000000abc".into(), &3.into())
        );
        assert_eq!(lines[0]["blind"][0], "so \"it\" is");
        assert_eq!(
            (&lines[1]["bytes_in"], &lines[1]["packets_in"]),
            (&2.into(), &4.into())
        );
        assert_eq!(
            (&lines[2]["peer"], &lines[2]["bytes_out"]),
            (&"2001:db8::1".into(), &serde_json::Value::Null)
        );
        assert_eq!(
            (&lines[3]["bytes_out"], &lines[3]["protocol"]),
            (&u64::MAX.into(), &"udp".into())
        );
        assert_eq!(lines[3]["program"], "/usr/bin/\"odd\"");
    }

    #[test]
    fn an_answer_has_what_changed_after_the_cursor() {
        let text = to_lines(&state());
        let count = |cursor| {
            let (head, rest) = since(text.as_bytes(), cursor);
            assert!(head.starts_with(b"{\"epoch\":") && head.ends_with(b"\n"));
            rest.iter().filter(|byte| **byte == b'\n').count()
        };
        assert_eq!([0, 1, 2, 3, u64::MAX].map(count), [3, 2, 1, 0, 0]);
        assert_eq!(since(b"", 0), (&b""[..], &b""[..]));
        assert_eq!(since(b"{}", 0), (&b"{}"[..], &b""[..]));
    }

    proptest! {
        #[test]
        fn any_file_is_cut_at_lines(bytes in proptest::collection::vec(prop_oneof![Just(b'\n'), any::<u8>()], 0..200), cursor: u64) {
            let (head, rest) = since(&bytes, cursor);
            prop_assert!(bytes.starts_with(head) && bytes.ends_with(rest));
        }
    }
}
