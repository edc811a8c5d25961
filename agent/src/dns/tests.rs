//! Whole lookups against scripted servers.

use proptest::prelude::*;

use super::message::tests::{cname, reply};
use super::*;

const SECOND: Duration = Duration::from_secs(1);
const T0: Now = Duration::from_secs(1000);

fn resolver(conf: &str) -> Resolver {
    Resolver::new(conf, "10.9.9.9 known.example known\n")
}

fn start(conf: &str, host: &str) -> Lookup {
    resolver(conf).start(T0, host, [3; 16])
}

fn sent(lookup: &mut Lookup) -> Vec<Transmit> {
    std::iter::from_fn(|| lookup.poll_transmit()).collect()
}

fn is_aaaa(transmit: &Transmit) -> bool {
    transmit.payload.ends_with(&[0, 28, 0, 1])
}

fn a(last: u8) -> (Option<&'static str>, u16, Vec<u8>) {
    (None, 1, vec![10, 0, 0, last])
}

fn aaaa(last: u8) -> (Option<&'static str>, u16, Vec<u8>) {
    let mut address = vec![0x20, 1];
    address.resize(15, 0);
    address.push(last);
    (None, 28, address)
}

fn answer(lookup: &mut Lookup, to: &Transmit, flags: u16, records: &[(Option<&str>, u16, Vec<u8>)]) {
    lookup.handle_datagram(T0, to.query, to.server, &reply(&to.payload, flags, records));
}

fn shown(result: Option<Result<Vec<IpAddr>, DnsError>>) -> String {
    match result {
        None => "none".into(),
        Some(Ok(addresses)) => addresses
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(" "),
        Some(Err(error)) => format!("{error:?}"),
    }
}

#[test]
fn what_is_known_needs_no_query() {
    for (host, expected) in [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::1"),
        ("Known.Example.", "10.9.9.9"),
        ("localhost", "127.0.0.1 ::1"),
        ("a b", "BadName"),
        ("", "BadName"),
    ] {
        let mut lookup = start("", host);
        assert_eq!(lookup.poll_transmit(), None);
        assert_eq!(lookup.poll_timeout(), None);
        assert_eq!(shown(lookup.poll_result()), expected);
        assert_eq!(lookup.poll_result(), None);
    }
}

#[test]
fn both_families_are_asked_and_take_turns() {
    let mut lookup = start("nameserver 10.0.0.53", "gw.example");
    let queries = sent(&mut lookup);
    assert_eq!(queries.len(), 2);
    assert!(!is_aaaa(&queries[0]) && is_aaaa(&queries[1]));
    assert_ne!(queries[0].payload[..2], queries[1].payload[..2]);
    assert!(
        queries
            .iter()
            .all(|query| query.server.to_string() == "10.0.0.53:53" && query.protocol == Protocol::Udp)
    );
    answer(&mut lookup, &queries[1], 0, &[aaaa(1), aaaa(2), aaaa(3)]);
    assert_eq!(lookup.poll_result(), None);
    assert!(!lookup.wants(queries[1].query) && lookup.wants(queries[0].query));
    answer(&mut lookup, &queries[0], 0, &[a(1), a(2)]);
    assert_eq!(
        shown(lookup.poll_result()),
        "10.0.0.1 2001::1 10.0.0.2 2001::2 2001::3"
    );
    assert_eq!(lookup.poll_timeout(), None);
    assert!(!lookup.wants(queries[0].query));
}

#[test]
fn results_are_capped() {
    let mut lookup = start("", "gw.example");
    let queries = sent(&mut lookup);
    let many: Vec<_> = (1..=30).map(a).collect();
    answer(&mut lookup, &queries[0], 0, &many);
    let many: Vec<_> = (1..=30).map(aaaa).collect();
    answer(&mut lookup, &queries[1], 0, &many);
    assert_eq!(lookup.poll_result().unwrap().unwrap().len(), MAX_ADDRESSES);
}

#[test]
fn a_family_that_is_never_answered_costs_half_a_second() {
    let mut lookup = start("", "gw.example");
    let queries = sent(&mut lookup);
    answer(&mut lookup, &queries[0], 0, &[a(1)]);
    assert_eq!(lookup.poll_timeout(), Some(T0 + Duration::from_millis(500)));
    lookup.handle_timeout(T0 + Duration::from_millis(500));
    assert_eq!(shown(lookup.poll_result()), "10.0.0.1");
    assert!(!lookup.wants(queries[1].query));
}

#[test]
fn names_that_do_not_exist_or_have_no_address() {
    for (flags_a, flags_aaaa, expected) in [(3, 3, "NotFound"), (0, 0, "NoAddress"), (3, 0, "NotFound")] {
        let mut lookup = start("", "gw.example");
        let queries = sent(&mut lookup);
        answer(&mut lookup, &queries[0], flags_a, &[]);
        answer(&mut lookup, &queries[1], flags_aaaa, &[]);
        assert_eq!(shown(lookup.poll_result()), expected);
    }
    // A server that denies the name for one family alone is wrong, and common.
    let mut lookup = start("", "gw.example");
    let queries = sent(&mut lookup);
    answer(&mut lookup, &queries[1], 3, &[]);
    answer(
        &mut lookup,
        &queries[0],
        0,
        &[
            (None, 5, cname("b.example")),
            (Some("b.example"), 1, vec![10, 0, 0, 9]),
        ],
    );
    assert_eq!(shown(lookup.poll_result()), "10.0.0.9");
}

#[test]
fn a_server_that_fails_is_followed_by_the_next() {
    let mut lookup = start(
        "nameserver 10.0.0.1\nnameserver 2001:db8::2\noptions attempts:1",
        "gw.example",
    );
    for query in sent(&mut lookup) {
        answer(&mut lookup, &query, 2, &[]);
    }
    let second = sent(&mut lookup);
    assert_eq!(second.len(), 2);
    for query in &second {
        assert_eq!(query.server.to_string(), "[2001:db8::2]:53");
        answer(&mut lookup, query, 5, &[]);
    }
    assert_eq!(shown(lookup.poll_result()), "ServerFailure");
}

#[test]
fn silence_is_waited_out_server_by_server_and_round_by_round() {
    let mut lookup = start(
        "nameserver 10.0.0.1\nnameserver 10.0.0.2\noptions timeout:2 attempts:2",
        "gw.example",
    );
    let mut now = T0;
    let mut servers = Vec::new();
    for _ in 0..4 {
        let queries = sent(&mut lookup);
        assert_eq!(queries.len(), 2);
        servers.push(queries[0].server.ip().to_string());
        lookup.handle_timeout(now + SECOND);
        assert_eq!(sent(&mut lookup), []);
        assert_eq!(lookup.poll_timeout(), Some(now + 2 * SECOND));
        now += 2 * SECOND;
        lookup.handle_timeout(now);
        assert!(!lookup.wants(queries[0].query));
    }
    assert_eq!(servers, ["10.0.0.1", "10.0.0.2", "10.0.0.1", "10.0.0.2"]);
    assert_eq!(shown(lookup.poll_result()), "Timeout");
}

#[test]
fn a_lookup_ends_within_thirty_seconds() {
    let mut lookup = start(
        "nameserver 10.0.0.1\nnameserver 10.0.0.2\noptions timeout:99 attempts:99",
        "gw.example",
    );
    for _ in 0..100 {
        sent(&mut lookup);
        let Some(at) = lookup.poll_timeout() else {
            break;
        };
        assert!(at <= T0 + 30 * SECOND);
        lookup.handle_timeout(at);
    }
    assert_eq!(shown(lookup.poll_result()), "Timeout");
}

#[test]
fn a_socket_that_fails_is_a_server_that_fails() {
    let mut lookup = start("options attempts:2", "gw.example");
    for _ in 0..2 {
        for query in sent(&mut lookup) {
            lookup.handle_failure(T0, query.query);
        }
    }
    assert_eq!(sent(&mut lookup), []);
    assert_eq!(shown(lookup.poll_result()), "ServerFailure");
}

#[test]
fn an_answer_too_long_for_a_datagram_is_asked_for_by_tcp() {
    let many: Vec<_> = (1..=12).map(a).collect();
    for step in 1..40 {
        let mut lookup = start("", "gw.example");
        let queries = sent(&mut lookup);
        answer(&mut lookup, &queries[1], 0, &[]);
        answer(&mut lookup, &queries[0], 0x0200, &[]);
        assert!(!lookup.wants(queries[0].query));
        let [tcp] = &sent(&mut lookup)[..] else {
            panic!("one query by TCP");
        };
        assert_eq!((tcp.protocol, tcp.server), (Protocol::Tcp, queries[0].server));
        assert_eq!(
            usize::from(u16::from_be_bytes([tcp.payload[0], tcp.payload[1]])),
            tcp.payload.len() - 2
        );
        let message = reply(&tcp.payload[2..], 0, &many);
        let stream = [&(message.len() as u16).to_be_bytes()[..], &message[..]].concat();
        // A datagram to the socket of a connection counts for nothing.
        lookup.handle_datagram(T0, tcp.query, tcp.server, &message);
        for piece in stream.chunks(step) {
            assert_eq!(lookup.poll_result(), None);
            lookup.handle_stream(T0, tcp.query, piece);
        }
        assert_eq!(lookup.poll_result().unwrap().unwrap().len(), 12);
    }
}

#[test]
fn a_connection_that_ends_early_or_says_nonsense_is_a_failure() {
    for end_early in [true, false] {
        let mut lookup = start("options attempts:1", "gw.example");
        let queries = sent(&mut lookup);
        answer(&mut lookup, &queries[1], 0, &[]);
        answer(&mut lookup, &queries[0], 0x0200, &[]);
        let tcp = sent(&mut lookup).remove(0);
        if end_early {
            lookup.handle_stream(T0, tcp.query, &[0, 50, 1]);
            lookup.handle_failure(T0, tcp.query);
        } else {
            lookup.handle_stream(T0, tcp.query, &[0, 1, 0]);
        }
        assert_eq!(shown(lookup.poll_result()), "ServerFailure");
    }
}

#[test]
fn answers_from_elsewhere_or_to_something_else_are_passed_over() {
    let mut lookup = start("", "gw.example");
    let queries = sent(&mut lookup);
    let good = reply(&queries[0].payload, 0, &[a(1)]);
    lookup.handle_datagram(T0, queries[0].query, "10.6.6.6:53".parse().unwrap(), &good);
    lookup.handle_datagram(T0, queries[0].query, "127.0.0.1:54".parse().unwrap(), &good);
    lookup.handle_datagram(T0, queries[1].query, queries[1].server, &good);
    let mut other_id = good.clone();
    other_id[0] ^= 1;
    lookup.handle_datagram(T0, queries[0].query, queries[0].server, &other_id);
    assert!(lookup.wants(queries[0].query) && lookup.wants(queries[1].query));
    lookup.handle_datagram(T0, queries[0].query, queries[0].server, &good);
    assert!(!lookup.wants(queries[0].query));
}

#[test]
fn search_domains_are_for_names_without_dots() {
    let conf = "search a.example b.example";
    assert_eq!(sent(&mut start(conf, "gw.x")).len(), 2);
    let mut lookup = start(conf, "gw");
    for expected in [
        &b"\x02gw\x01a\x07example\0"[..],
        b"\x02gw\x01b\x07example\0",
        b"\x02gw\0",
    ] {
        let queries = sent(&mut lookup);
        assert_eq!(queries.len(), 2);
        assert!(queries[0].payload[12..].starts_with(expected));
        for query in &queries {
            answer(&mut lookup, query, 3, &[]);
        }
    }
    assert_eq!(shown(lookup.poll_result()), "NotFound");
}

proptest! {
    #[test]
    fn any_course_of_events_ends(steps in proptest::collection::vec((0u8..6, any::<u8>(), proptest::collection::vec(any::<u8>(), 0..40)), 0..60)) {
        let mut lookup = start("nameserver 10.0.0.1\nnameserver 10.0.0.2\nsearch a.example", "gw");
        let mut now = T0;
        let mut open: Vec<Transmit> = Vec::new();
        for (what, number, bytes) in steps {
            open.extend(sent(&mut lookup));
            open.retain(|query| lookup.wants(query.query));
            prop_assert!(open.len() <= 2);
            let Some(query) = open.get(usize::from(number) % 2).cloned() else {
                continue;
            };
            match what {
                0 => lookup.handle_datagram(now, query.query, query.server, &bytes),
                1 => lookup.handle_stream(now, query.query, &bytes),
                2 => lookup.handle_failure(now, query.query),
                3 => {
                    now += Duration::from_millis(u64::from(number) * 10);
                    lookup.handle_timeout(now);
                }
                4 => answer(&mut lookup, &query, u16::from(number % 6), &[]),
                _ => answer(&mut lookup, &query, 0x0200, &[]),
            }
        }
        for _ in 0..200 {
            sent(&mut lookup);
            let Some(at) = lookup.poll_timeout() else {
                break;
            };
            lookup.handle_timeout(at);
        }
        prop_assert!(lookup.poll_result().is_some());
        prop_assert_eq!(lookup.poll_timeout(), None);
    }
}
