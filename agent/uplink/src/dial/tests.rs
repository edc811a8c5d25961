pub(super) mod claimed;

use super::*;
use crate::upgrade::Redirect;
use alloc::string::ToString;
use alloc::vec;
use core::time::Duration;
use proptest::prelude::*;

const A: &str = "https://a.example.net/up";
const B: &str = "https://b.example.net/up";
const PIN: &str = "sha256/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

fn config(endpoints: &[&str], allowed: &[&str]) -> DialConfig {
    DialConfig {
        endpoints: endpoints.iter().map(|text| Url::parse(text).unwrap()).collect(),
        redirect_to: allowed
            .iter()
            .map(|text| HostPattern::parse(text).unwrap())
            .collect(),
    }
}

fn dialer(endpoints: &[&str]) -> Dialer {
    Dialer::new(config(endpoints, &["*.stream.net"]), 7)
}

fn dial(dialer: &mut Dialer, now: Now) -> Target {
    match dialer.poll(now) {
        Step::Dial(target) => target,
        other => panic!("{other:?}"),
    }
}

fn wait(dialer: &mut Dialer, now: Now) -> (Duration, Waiting) {
    match dialer.poll(now) {
        Step::Wait { until, why } => (until - now, why),
        other => panic!("{other:?}"),
    }
}

fn redirect(permanent: bool, targets: &[&str], pin: Option<&str>) -> Outcome {
    let targets = targets.iter().map(|text| text.to_string()).collect();
    Outcome::Reply(Reply::Redirect(Redirect {
        permanent,
        targets,
        pin: pin.map(ToString::to_string),
        ..Redirect::default()
    }))
}

const FAILED: Outcome = Outcome::Failed(FailureKind::Connect);
const ZERO: Now = Duration::ZERO;

/// One that is connected since the start.
fn connected(endpoints: &[&str]) -> Dialer {
    let mut dialer = dialer(endpoints);
    dial(&mut dialer, ZERO);
    dialer.handle_outcome(ZERO, Outcome::Established);
    dialer
}

/// One whose backoff has grown, and when: its ninth attempt is under way.
fn failed_eight_times() -> (Dialer, Now) {
    let mut dialer = dialer(&[A]);
    let mut now = ZERO;
    for _ in 0..8 {
        dial(&mut dialer, now);
        dialer.handle_outcome(now, FAILED);
        now += wait(&mut dialer, now).0;
    }
    dial(&mut dialer, now);
    (dialer, now)
}

#[test]
fn a_network_that_comes_is_used_soon_and_refusals_are_respected() {
    let (mut dialer, mut now) = failed_eight_times();
    dialer.handle_outcome(now, FAILED);
    for _ in 0..3 {
        dialer.hurry(now);
        let (left, why) = wait(&mut dialer, now);
        assert!((MIN_DELAY..=MIN_BACKOFF).contains(&left) && why == Waiting::Backoff);
    }
    now += MIN_BACKOFF;
    dial(&mut dialer, now);
    dialer.hurry(now);
    assert_eq!(dialer.poll(now), Step::InProgress);
    let refused = Reply::Unauthorized {
        status: 403,
        retry_after: None,
    };
    dialer.handle_outcome(now, Outcome::Reply(refused));
    let before = wait(&mut dialer, now);
    dialer.hurry(now);
    assert_eq!(wait(&mut dialer, now), before);
}

#[test]
fn endpoints_take_turns_and_backoff_doubles() {
    let mut dialer = dialer(&[A, B]);
    let mut now = ZERO;
    for turn in 0..10u32 {
        let target = dial(&mut dialer, now);
        assert_eq!(target.url.as_str(), if turn % 2 == 0 { A } else { B });
        assert!(target.send_bearer);
        assert_eq!(dialer.poll(now), Step::InProgress);
        dialer.handle_outcome(now, FAILED);
        let (delay, why) = wait(&mut dialer, now);
        assert_eq!(why, Waiting::Backoff);
        assert!(
            delay >= MIN_DELAY && delay <= MAX_BACKOFF.min(MIN_BACKOFF * (1 << turn)),
            "{delay:?}"
        );
        now += delay;
    }
}

#[test]
fn a_lost_connection_comes_back_with_jitter() {
    let delays: Vec<Duration> = (0..20)
        .map(|seed| {
            let mut dialer = Dialer::new(config(&[A], &[]), seed);
            dial(&mut dialer, ZERO);
            dialer.handle_outcome(ZERO, Outcome::Established);
            assert_eq!(dialer.poll(ZERO), Step::Connected);
            let now = Duration::from_secs(3600);
            dialer.handle_outcome(now, Outcome::Lost);
            wait(&mut dialer, now).0
        })
        .collect();
    assert!(
        delays
            .iter()
            .all(|delay| (MIN_DELAY..=MIN_BACKOFF).contains(delay))
    );
    assert!(
        delays
            .iter()
            .max()
            .unwrap()
            .abs_diff(*delays.iter().min().unwrap())
            > Duration::from_millis(500)
    );
}

#[test]
fn connections_that_die_young_keep_the_backoff() {
    let mut dialer = dialer(&[A]);
    let mut now = ZERO;
    let mut longest = ZERO;
    for _ in 0..30 {
        dial(&mut dialer, now);
        dialer.handle_outcome(now, Outcome::Established);
        now += Duration::from_secs(1);
        dialer.handle_outcome(now, Outcome::Lost);
        let (delay, _) = wait(&mut dialer, now);
        longest = longest.max(delay);
        now += delay;
    }
    assert!(longest > Duration::from_secs(10));
}

#[test]
fn a_307_is_followed_without_the_bearer_and_not_kept() {
    let mut dialer = dialer(&[A]);
    dial(&mut dialer, ZERO);
    dialer.handle_outcome(
        ZERO,
        redirect(false, &["wss://s1.stream.net/x?ticket=1"], Some(PIN)),
    );
    let target = dial(&mut dialer, ZERO);
    assert_eq!(target.url.as_str(), "wss://s1.stream.net/x?ticket=1");
    assert_eq!((target.send_bearer, target.pin, target.hop), (false, None, 1));
    dialer.handle_outcome(ZERO, Outcome::Established);
    dialer.handle_outcome(Duration::from_secs(60), Outcome::Lost);
    let again = dial(&mut dialer, Duration::from_secs(70));
    assert_eq!(again.url.as_str(), A);
    assert_eq!(dialer.poll_event(), None);
}

#[test]
fn alternates_are_tried_in_order_then_the_round_ends() {
    let mut dialer = dialer(&[A]);
    dial(&mut dialer, ZERO);
    dialer.handle_outcome(
        ZERO,
        redirect(false, &["https://s1.stream.net/", "https://s2.stream.net/"], None),
    );
    assert_eq!(dial(&mut dialer, ZERO).url.host(), "s1.stream.net");
    dialer.handle_outcome(ZERO, FAILED);
    assert_eq!(dial(&mut dialer, ZERO).url.host(), "s2.stream.net");
    dialer.handle_outcome(ZERO, FAILED);
    wait(&mut dialer, ZERO);
}

#[test]
fn a_kept_endpoint_is_dialled_first_where_the_configuration_allows_it() {
    let mut dialer = dialer(&[A]);
    let url = |text| Url::parse(text).unwrap();
    let kept = |text, pin: Option<&str>| Kept {
        endpoint: Some((url(text), pin.map(ToString::to_string))),
        ..Kept::default()
    };
    dialer.restore(kept("https://elsewhere.example/up", None));
    assert_eq!(dialer.moved, None);
    dialer.restore(kept("https://e.stream.net/up", Some(PIN)));
    let target = dial(&mut dialer, ZERO);
    assert_eq!(
        (target.url.as_str(), target.pin.as_deref(), target.send_bearer),
        ("https://e.stream.net/up", Some(PIN), false)
    );
    dialer.handle_outcome(ZERO, FAILED);
    assert_eq!(dial(&mut dialer, Duration::from_secs(100)).url.as_str(), A);
}

#[test]
fn a_308_moves_the_endpoint_with_its_pin() {
    let mut dialer = dialer(&[A]);
    dial(&mut dialer, ZERO);
    let to = ["https://e.stream.net/up", "https://f.stream.net/up"];
    dialer.handle_outcome(ZERO, redirect(true, &to, Some(PIN)));
    let target = dial(&mut dialer, ZERO);
    assert_eq!((target.pin.as_deref(), target.send_bearer), (Some(PIN), false));
    assert_eq!(
        dialer.poll_event(),
        Some(Event::EndpointMoved {
            url: Url::parse(to[0]).unwrap(),
            pin: Some(PIN.to_string())
        })
    );
    dialer.handle_outcome(ZERO, FAILED);
    // The pin holds for the host of Location alone.
    assert_eq!(dial(&mut dialer, ZERO).pin, None);
    dialer.handle_outcome(ZERO, Outcome::Established);
    dialer.handle_outcome(ZERO, Outcome::Lost);
    let now = Duration::from_secs(100);
    let target = dial(&mut dialer, now);
    assert_eq!((target.url.as_str(), target.pin.as_deref()), (to[0], Some(PIN)));
    dialer.handle_outcome(now, FAILED);
    // A dead new address does not lose the camera: the configured one has its turn again.
    assert_eq!(dial(&mut dialer, now * 2).url.as_str(), A);
}

#[test]
fn a_308_behind_a_307_moves_nothing_and_a_bad_pin_does_not_count() {
    let mut dialer = dialer(&[A]);
    dial(&mut dialer, ZERO);
    dialer.handle_outcome(ZERO, redirect(false, &["https://s1.stream.net/"], None));
    dial(&mut dialer, ZERO);
    dialer.handle_outcome(
        ZERO,
        redirect(true, &["https://s2.stream.net/"], Some("sha256/short")),
    );
    assert_eq!(dial(&mut dialer, ZERO).pin, None);
    assert_eq!(dialer.poll_event(), None);
}

#[test]
fn redirects_that_are_not_followed() {
    for (target, error) in [
        (
            "http://s1.stream.net/",
            RedirectError::Malformed(ParseError::Scheme),
        ),
        ("https://evil.net/", RedirectError::Forbidden),
        ("https://stream.net/", RedirectError::Forbidden),
        (A, RedirectError::Loop),
    ] {
        let mut dialer = dialer(&[A]);
        dial(&mut dialer, ZERO);
        dialer.handle_outcome(ZERO, redirect(true, &[target], None));
        assert_eq!(
            dialer.poll_event(),
            Some(Event::RedirectRefused(error)),
            "{target}"
        );
        wait(&mut dialer, ZERO);
    }
    let mut dialer = dialer(&[A]);
    dial(&mut dialer, ZERO);
    dialer.handle_outcome(ZERO, redirect(false, &[], None));
    assert_eq!(
        dialer.poll_event(),
        Some(Event::RedirectRefused(RedirectError::NoTarget))
    );
    wait(&mut dialer, ZERO);
}

#[test]
fn three_hops_and_no_more() {
    let mut dialer = dialer(&[A]);
    for hop in 0..4 {
        assert_eq!(dial(&mut dialer, ZERO).hop, hop);
        dialer.handle_outcome(
            ZERO,
            redirect(false, &[&alloc::format!("https://s{hop}.stream.net/")], None),
        );
    }
    assert_eq!(
        dialer.poll_event(),
        Some(Event::RedirectRefused(RedirectError::TooManyHops))
    );
    wait(&mut dialer, ZERO);
}

#[test]
fn refusals_slow_down_and_never_stop() {
    let mut dialer = dialer(&[A]);
    let mut now = ZERO;
    for turn in 0..8 {
        dial(&mut dialer, now);
        dialer.handle_outcome(
            now,
            Outcome::Reply(Reply::Unauthorized {
                status: 401,
                retry_after: None,
            }),
        );
        let (delay, why) = wait(&mut dialer, now);
        let expected = if turn < 5 { SLOW_DELAY } else { HOURLY };
        assert_eq!(why, Waiting::Unauthorized);
        assert!(
            delay >= expected && delay <= expected + expected / 10,
            "{turn}: {delay:?}"
        );
        now += delay;
    }
}

#[test]
fn retry_after_is_obeyed_up_to_an_hour() {
    for (asked, least) in [(600, 600), (86_400, 3600)] {
        let retry_after = Some(Duration::from_secs(asked));
        for reply in [
            Reply::Unavailable {
                status: 503,
                retry_after,
            },
            Reply::Unauthorized {
                status: 403,
                retry_after,
            },
        ] {
            let mut dialer = dialer(&[A]);
            dial(&mut dialer, ZERO);
            dialer.handle_outcome(ZERO, Outcome::Reply(reply));
            let least = Duration::from_secs(least);
            let (delay, _) = wait(&mut dialer, ZERO);
            assert!(delay >= least && delay <= least + least / 10, "{delay:?}");
        }
    }
}

#[test]
fn moves_make_before_break() {
    let mut dialer = connected(&[A]);
    let now = Duration::from_secs(10);
    assert_eq!(
        dialer.retarget(now, Some("https://evil.net/")),
        Err(RedirectError::Forbidden)
    );
    let malformed = RedirectError::Malformed(ParseError::Scheme);
    assert_eq!(
        dialer.retarget(now, Some("http://s1.stream.net/")),
        Err(malformed)
    );
    assert_eq!(dialer.poll(now), Step::Connected);
    dialer.retarget(now, Some("https://s1.stream.net/")).unwrap();
    assert_eq!(dial(&mut dialer, now).url.host(), "s1.stream.net");
    dialer.handle_outcome(now, FAILED);
    assert_eq!(
        (dialer.poll_event(), dialer.poll(now)),
        (Some(Event::MoveFailed), Step::Connected)
    );
    dialer.retarget(now, None).unwrap();
    assert_eq!(wait(&mut dialer, now), (MIN_DELAY, Waiting::MovePaced));
    let now = now + MIN_DELAY;
    assert_eq!(dial(&mut dialer, now).url.as_str(), A);
    // The old uplink dies while the new one is being made: the attempt goes on, and failing it is a failure.
    dialer.handle_outcome(now, Outcome::Lost);
    assert_eq!(dialer.poll(now), Step::InProgress);
    dialer.handle_outcome(now, FAILED);
    wait(&mut dialer, now);
}

#[test]
fn a_new_configuration_is_dialled() {
    let mut dialer = connected(&[A]);
    let now = Duration::from_secs(10);
    dialer.reconfigure(now, config(&[A], &["*.stream.net"]));
    assert_eq!(dialer.poll(now), Step::Connected);
    dialer.reconfigure(now, config(&[B], &[]));
    assert_eq!(dial(&mut dialer, now).url.as_str(), B);
    dialer.reconfigure(now, config(&[], &[]));
    let now = now + MIN_DELAY;
    assert_eq!(
        dialer.poll(now),
        Step::Wait {
            until: Now::MAX,
            why: Waiting::NoEndpoint
        }
    );
}

fn outcomes() -> impl Strategy<Value = Outcome> {
    let retry = prop::option::of((0u64..200_000).prop_map(Duration::from_secs));
    let targets = prop::collection::vec(
        prop::sample::select(vec![
            A,
            B,
            "https://s1.stream.net/",
            "https://s2.stream.net/a",
            "wss://s3.stream.net/",
            "https://evil.net/",
            "http://s1.stream.net/",
            "/other",
            "",
        ]),
        0..8,
    );
    prop_oneof![
        Just(FAILED),
        Just(Outcome::Established),
        Just(Outcome::Lost),
        (any::<bool>(), targets).prop_map(|(permanent, targets)| redirect(permanent, &targets, None)),
        retry
            .clone()
            .prop_map(|retry_after| Outcome::Reply(Reply::Unavailable {
                status: 503,
                retry_after
            })),
        retry.prop_map(|retry_after| Outcome::Reply(Reply::Unauthorized {
            status: 401,
            retry_after
        })),
        Just(Outcome::Reply(Reply::Refused { status: 404 })),
    ]
}

proptest! {
    /// Whatever happens, rounds are at least MIN_DELAY apart, a round dials at most MAX_DIALS addresses, none twice
    /// and none that is forbidden, the bearer stays with its host, and the next dial is at most 66 minutes away.
    #[test]
    fn never_too_fast_and_always_back(
        script in prop::collection::vec((outcomes(), 0u64..5_000), 1..120),
        moves in prop::collection::vec(any::<bool>(), 120),
        seed: u64,
    ) {
        let mut dialer = Dialer::new(config(&[A, B], &["*.stream.net"]), seed);
        let mut now = ZERO;
        let mut round: (Now, Vec<Url>) = (ZERO, vec![]);
        for ((outcome, passed_ms), moved) in script.into_iter().zip(moves) {
            if let Step::Wait { until, .. } = dialer.poll(now) {
                prop_assert!(until - now <= HOURLY + HOURLY / 10);
                now = until;
            }
            match dialer.poll(now) {
                Step::Wait { .. } => prop_assert!(false, "still waiting when due"),
                Step::Connected => {
                    if moved {
                        dialer.retarget(now, None).unwrap();
                        continue;
                    }
                    now += Duration::from_millis(passed_ms);
                    dialer.handle_outcome(now, Outcome::Lost);
                    continue;
                }
                Step::InProgress => {}
                Step::Dial(target) => {
                    if target.hop == 0 {
                        prop_assert!(round.1.is_empty() || now - round.0 >= MIN_DELAY);
                        round = (now, vec![]);
                    }
                    prop_assert!(!round.1.contains(&target.url));
                    prop_assert!(target.url.host().ends_with(".stream.net") || target.send_bearer);
                    prop_assert_eq!(target.send_bearer, target.url.host().ends_with(".example.net"));
                    round.1.push(target.url);
                    prop_assert!(round.1.len() <= MAX_DIALS as usize);
                }
            }
            dialer.handle_outcome(now, outcome);
        }
    }
}

#[test]
fn a_move_without_a_target_is_tried_until_it_succeeds() {
    let mut dialer = connected(&[A, B]);
    let mut now = Duration::from_secs(3600);
    dialer.retarget(now, None).unwrap();
    for url in [A, B, A] {
        assert_eq!(dial(&mut dialer, now).url.as_str(), url);
        dialer.handle_outcome(now, FAILED);
        assert_eq!(dialer.poll_event(), Some(Event::MoveFailed));
        let (delay, why) = wait(&mut dialer, now);
        assert_eq!(why, Waiting::Backoff);
        now += delay;
    }
    dial(&mut dialer, now);
    dialer.handle_outcome(now, Outcome::Established);
    assert_eq!(dialer.poll(now), Step::Connected);
}

/// How often a gateway that asks for a move as soon as it is connected is dialled in an hour.
fn dials_per_hour(moved: impl Fn(&mut Dialer, Now), established: bool) -> u32 {
    let mut dialer = connected(&[A]);
    let (mut now, mut dials) = (Duration::from_secs(100), 0);
    let end = now + Duration::from_secs(3600);
    while now < end {
        moved(&mut dialer, now);
        match dialer.poll(now) {
            Step::Wait { until, .. } => {
                now = until;
                dial(&mut dialer, now);
            }
            step => assert!(matches!(step, Step::Dial(_)), "{step:?}"),
        }
        dials += 1;
        dialer.handle_outcome(now, if established { Outcome::Established } else { FAILED });
        now += Duration::from_millis(1);
    }
    dials
}

#[test]
fn gateways_that_move_the_camera_again_and_again_do_not_hurry_it() {
    let home = |dialer: &mut Dialer, now| dialer.retarget(now, None).unwrap();
    let away = |dialer: &mut Dialer, now| dialer.retarget(now, Some("https://s1.stream.net/")).unwrap();
    for dials in [
        dials_per_hour(home, true),
        dials_per_hour(away, true),
        dials_per_hour(away, false),
    ] {
        assert!((60..=600).contains(&dials), "{dials}");
    }
}

#[test]
fn a_moved_connection_that_lived_makes_the_backoff_start_anew() {
    let (mut dialer, mut now) = failed_eight_times();
    dialer.handle_outcome(now, Outcome::Established);
    now += Duration::from_secs(3600);
    dialer.retarget(now, None).unwrap();
    dial(&mut dialer, now);
    dialer.handle_outcome(now, Outcome::Established);
    dialer.handle_outcome(now, Outcome::Lost);
    assert!(wait(&mut dialer, now).0 <= MIN_BACKOFF);
}
