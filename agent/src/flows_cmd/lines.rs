//! The accounts as JSON lines: one line on the accounts themselves, then the records, by cursor.

use lenscap_audit::flows::{COUNTERS, Flow, State, protocol_name};

use crate::json::Writer;

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
    // First, since an answer to `GET /flows?since=N` is cut by it.
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

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use lenscap_audit::flows::{Connection, Counts, Interface, Opener, Sample, Source};

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
        for (line, cursor) in text.lines().skip(1).zip(1..) {
            assert!(line.starts_with(&format!("{{\"cursor\":{cursor},")), "{line}");
        }
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
}
