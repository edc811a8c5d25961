//! Cameras that are claimed, and that come back to streamers.

use super::*;
use crate::claim::tests::{FINGERPRINT, Signer};
use crate::claim::{Claim, ClaimError, Standing};
use crate::upgrade::Welcome;
use alloc::string::String;
use base64ct::{Base64UrlUnpadded, Encoding as _};

const S1: &str = "https://s1.stream.net/up";
const S2: &str = "https://s2.stream.net/up";
const E: &str = "https://e.stream.net/up";

fn claimable(endpoints: &[&str]) -> Dialer {
    let mut dialer = dialer(endpoints);
    dialer.set_claim(Claim::new(&FINGERPRINT));
    dialer
}

pub(in crate::dial) fn credential(issued: u64) -> String {
    let json = alloc::format!("{{\"i\":{issued},\"e\":0}}");
    alloc::format!("{}.x", Base64UrlUnpadded::encode_string(json.as_bytes()))
}

fn welcome(resume: Option<u64>, alternates: &[&str], operator: Option<&Signer>) -> Outcome {
    Outcome::Reply(Reply::Switched(Welcome {
        operator: operator.map(|signer| signer.introduction(None)),
        resume: resume.map(credential),
        alternates: alternates.iter().map(|text| text.to_string()).collect(),
    }))
}

fn signed(signer: &Signer, issued: u64, to: &str) -> Outcome {
    Outcome::Reply(Reply::Redirect(Redirect {
        permanent: true,
        targets: vec![to.to_string(), S2.to_string()],
        signature: Some(signer.redirect(issued, to, None)),
        ..Redirect::default()
    }))
}

fn events(dialer: &mut Dialer) -> Vec<Event> {
    core::iter::from_fn(|| dialer.poll_event()).collect()
}

/// Dials the endpoint, is sent to S1 with a ticket, and is up there.
fn streaming(dialer: &mut Dialer, now: Now, operator: &Signer) {
    assert_eq!(dial(dialer, now).hop, 0);
    let ticket = alloc::format!("{S1}?ticket=t");
    dialer.handle_outcome(now, redirect(false, &[&ticket], None));
    assert_eq!(dial(dialer, now).role, Role::Streamer);
    dialer.handle_outcome(
        now,
        welcome(Some(1000), &[S2, "https://evil.net/"], Some(operator)),
    );
    assert_eq!(dialer.poll(now), Step::Connected);
}

#[test]
fn a_lost_streamer_is_replaced_by_another_and_the_endpoint_is_not_needed() {
    let owner = Signer::new();
    let mut dialer = claimable(&[A]);
    streaming(&mut dialer, ZERO, &owner);
    let kept = events(&mut dialer);
    assert!(matches!(&kept[0], Event::OperatorChanged(o) if o.standing == Standing::Unproven));
    let Event::ResumeChanged(Some(resume)) = &kept[1] else {
        panic!("{kept:?}");
    };
    assert_eq!(resume.addresses, [S1, S2].map(|text| Url::parse(text).unwrap()));
    // Killed every 10 s, each time soon back: at the other one, and at the endpoint if there is none.
    let mut now = Duration::from_secs(10);
    for turn in 0..20 {
        let here = if turn % 2 == 0 { S1 } else { S2 };
        let there = if turn % 2 == 0 { S2 } else { S1 };
        dialer.handle_outcome(now, Outcome::Lost);
        let (delay, why) = wait(&mut dialer, now);
        assert!((MIN_DELAY..=QUICK_DELAY).contains(&delay) && why == Waiting::Backoff);
        now += delay;
        let target = dial(&mut dialer, now);
        assert_eq!((target.url.as_str(), target.resumes), (there, true));
        assert_eq!(dialer.credential(), Some(credential(1000 + turn).as_str()));
        dialer.handle_outcome(now, welcome(Some(1001 + turn), &[here], Some(&owner)));
        assert_eq!(events(&mut dialer), [], "nothing worth writing");
        now += Duration::from_secs(10);
    }
    dialer.handle_outcome(now, Outcome::Lost);
    now += wait(&mut dialer, now).0;
    for (url, resumes) in [(S2, true), (S1, true), (A, false)] {
        let target = dial(&mut dialer, now);
        assert_eq!((target.url.as_str(), target.resumes), (url, resumes));
        let refused = Reply::Unauthorized {
            status: 401,
            retry_after: None,
        };
        let outcome = if url == S2 {
            Outcome::Reply(refused)
        } else {
            FAILED
        };
        dialer.handle_outcome(now, outcome);
    }
    wait(&mut dialer, now);
}

/// The uplink lives for weeks, and is cut while the endpoint is down.
#[test]
fn a_credential_is_renewed_over_the_live_uplink_and_written_once_a_day() {
    const DAY: u64 = 86_400;
    let renewal = |issued| Welcome {
        operator: Some(Signer::new().introduction(None)),
        resume: Some(credential(issued)),
        alternates: vec![S2.to_string(), "https://evil.net/".to_string()],
    };
    let owner = Signer::new();
    let mut dialer = claimable(&[A]);
    assert!(!dialer.handle_renewal(&renewal(5)), "not up yet");
    streaming(&mut dialer, ZERO, &owner);
    events(&mut dialer);
    let mut writes = 0;
    // Each hour for ten days; a gateway does it once a day.
    for hour in 1..=240 {
        assert!(dialer.handle_renewal(&renewal(1000 + hour * 3600)));
        for event in events(&mut dialer) {
            let Event::ResumeChanged(Some(resume)) = event else {
                panic!("{event:?}");
            };
            assert_eq!(resume.addresses, [S1, S2].map(|text| Url::parse(text).unwrap()));
            writes += 1;
        }
    }
    assert_eq!(writes, 10);
    assert_eq!(
        dialer.claim().unwrap().held(),
        owner.id(),
        "no operator comes this way"
    );
    assert!(!dialer.handle_renewal(&Welcome::default()), "nothing in it");
    let now = Duration::from_secs(10 * DAY);
    dialer.handle_outcome(now, Outcome::Lost);
    assert!(!dialer.handle_renewal(&renewal(u64::MAX)), "down");
    let soon = now + wait(&mut dialer, now).0;
    let target = dial(&mut dialer, soon);
    assert_eq!((target.url.as_str(), target.resumes), (S2, true));
    assert_eq!(dialer.credential(), Some(credential(1000 + 10 * DAY).as_str()));
    // A camera without a key takes none.
    let mut keyless = super::dialer(&[A]);
    dial(&mut keyless, ZERO);
    keyless.handle_outcome(ZERO, Outcome::Established);
    assert!(!keyless.handle_renewal(&renewal(5)));
}

#[test]
fn a_server_that_accepts_and_drops_is_not_hurried_to() {
    for (lives, most) in [(1, 270), (3, 600)] {
        let owner = Signer::new();
        let mut dialer = claimable(&[A]);
        streaming(&mut dialer, ZERO, &owner);
        let (mut now, mut dials) = (ZERO, 0);
        while now < Duration::from_secs(3600) {
            now += Duration::from_secs(lives);
            dialer.handle_outcome(now, Outcome::Lost);
            now += wait(&mut dialer, now).0;
            dial(&mut dialer, now);
            dials += 1;
            dialer.handle_outcome(now, welcome(Some(1), &[S1, S2], None));
        }
        assert!(dials <= most, "{dials} dials in an hour at lives of {lives} s");
    }
}

/// Both streamers are away, and the endpoint carries the camera itself.
#[test]
fn a_gateway_that_gives_no_credential_leaves_the_one_before() {
    let owner = Signer::new();
    let mut dialer = claimable(&[A]);
    streaming(&mut dialer, ZERO, &owner);
    events(&mut dialer);
    let start = Duration::from_secs(100);
    dialer.handle_outcome(start, Outcome::Lost);
    let now = start + wait(&mut dialer, start).0;
    for _ in [S2, S1] {
        assert!(dial(&mut dialer, now).resumes);
        dialer.handle_outcome(now, FAILED);
    }
    assert_eq!(dial(&mut dialer, now).url.as_str(), A);
    dialer.handle_outcome(now, welcome(None, &[], None));
    assert_eq!(dialer.credential(), Some(credential(1000).as_str()));
    assert_eq!(events(&mut dialer), [], "flash has it still");
    // One is back, and does not take it: the camera was moved, or its credentials are void.
    let start = now + Duration::from_secs(100);
    dialer.handle_outcome(start, Outcome::Lost);
    let now = start + wait(&mut dialer, start).0;
    assert!(dial(&mut dialer, now).resumes);
    dialer.handle_outcome(now, redirect(false, &[A], None));
    assert_eq!(dial(&mut dialer, now).url.as_str(), A);
    dialer.handle_outcome(now, welcome(None, &[], None));
    assert_eq!(dialer.credential(), None);
    assert_eq!(events(&mut dialer), [Event::ResumeChanged(None)]);
}

/// The round through both streamers to the endpoint, which carries the camera itself.
fn carried_by_the_endpoint(dialer: &mut Dialer, lost: Duration) -> Duration {
    dialer.handle_outcome(lost, Outcome::Lost);
    let now = lost + wait(dialer, lost).0;
    while dial(dialer, now).url.as_str() != A {
        dialer.handle_outcome(now, FAILED);
    }
    dialer.handle_outcome(now, welcome(None, &[], None));
    now
}

/// What a streamer once refused says nothing of the credential that came afterwards.
#[test]
fn a_refusal_counts_for_the_credential_that_was_refused() {
    let owner = Signer::new();
    let mut dialer = claimable(&[A]);
    streaming(&mut dialer, ZERO, &owner);
    let start = Duration::from_secs(100);
    dialer.handle_outcome(start, Outcome::Lost);
    let now = start + wait(&mut dialer, start).0;
    assert!(dial(&mut dialer, now).resumes);
    dialer.handle_outcome(now, redirect(false, &[A], None));
    assert_eq!(dial(&mut dialer, now).url.as_str(), A);
    dialer.handle_outcome(now, welcome(Some(1200), &[S1, S2], None));
    events(&mut dialer);
    carried_by_the_endpoint(&mut dialer, now + Duration::from_secs(100));
    assert_eq!(dialer.credential(), Some(credential(1200).as_str()));
    assert_eq!(events(&mut dialer), []);
}

/// A fleet that has no streamers any more: they are not asked for ever.
#[test]
fn a_credential_that_nobody_can_take_any_more_is_given_up() {
    let owner = Signer::new();
    let mut dialer = claimable(&[A]);
    streaming(&mut dialer, ZERO, &owner);
    events(&mut dialer);
    let first = carried_by_the_endpoint(&mut dialer, Duration::from_secs(100));
    let day = Duration::from_secs(24 * 3600);
    carried_by_the_endpoint(&mut dialer, first + 6 * day);
    assert_eq!(dialer.credential(), Some(credential(1000).as_str()));
    carried_by_the_endpoint(&mut dialer, first + 7 * day);
    assert_eq!(dialer.credential(), None);
    assert_eq!(events(&mut dialer), [Event::ResumeChanged(None)]);
}

#[test]
fn after_a_restart_the_kept_streamer_comes_first() {
    let owner = Signer::new();
    let mut before = claimable(&[A]);
    streaming(&mut before, ZERO, &owner);
    let mut kept = Kept::default();
    for event in events(&mut before) {
        match event {
            Event::OperatorChanged(operator) => kept.operator = Some(operator),
            Event::ResumeChanged(resume) => kept.resume = resume,
            other => panic!("{other:?}"),
        }
    }
    let mut dialer = claimable(&[A]);
    dialer.restore(kept.clone());
    assert_eq!(dialer.claim().unwrap().held(), owner.id());
    for url in [S1, S2, A] {
        assert_eq!(dial(&mut dialer, ZERO).url.as_str(), url);
        dialer.handle_outcome(ZERO, FAILED);
    }
    let now = wait(&mut dialer, ZERO).0;
    // One that does not take the credential sends it to the endpoint, which may be down: then the other is asked.
    assert_eq!(dial(&mut dialer, now).url.as_str(), S1);
    dialer.handle_outcome(now, redirect(false, &[A], None));
    assert_eq!(dial(&mut dialer, now).url.as_str(), A);
    dialer.handle_outcome(now, FAILED);
    assert_eq!(dial(&mut dialer, now).url.as_str(), S2);
    dialer.handle_outcome(now, welcome(Some(1500), &[S1], None));
    assert_eq!(events(&mut dialer), []);
    dialer.handle_outcome(now, Outcome::Lost);
    // A day later the fresher credential is worth a write.
    let now = Duration::from_secs(100);
    dial(&mut dialer, now);
    dialer.handle_outcome(now, welcome(Some(90_000), &[S2], None));
    assert!(matches!(
        &events(&mut dialer)[..],
        [Event::ResumeChanged(Some(_))]
    ));
    // Where the configuration no longer allows the hosts, nothing is left of it.
    let mut strict = Dialer::new(config(&[A], &[]), 1);
    strict.set_claim(Claim::new(&FINGERPRINT));
    strict.restore(kept);
    assert_eq!(dial(&mut strict, ZERO).url.as_str(), A);
}

#[test]
fn a_move_asks_the_endpoint_and_leaves_the_streamer_that_wants_it() {
    let owner = Signer::new();
    let mut dialer = claimable(&[A]);
    streaming(&mut dialer, ZERO, &owner);
    let now = Duration::from_secs(100);
    dialer.retarget(now, None).unwrap();
    for url in [A, S2] {
        assert_eq!(dial(&mut dialer, now).url.as_str(), url);
        dialer.handle_outcome(now, FAILED);
    }
    let (delay, _) = wait(&mut dialer, now);
    // It goes before anybody else took the camera.
    dialer.handle_outcome(now, Outcome::Lost);
    assert_eq!(dial(&mut dialer, now + delay).url.as_str(), S2);
}

#[test]
fn a_claimed_camera_is_moved_for_good_by_its_operator_alone() {
    let (owner, other) = (Signer::new(), Signer::new());
    let mut dialer = claimable(&[A]);
    assert_eq!(dial(&mut dialer, ZERO).role, Role::Activation);
    dialer.handle_outcome(ZERO, welcome(None, &[], Some(&owner)));
    assert!(matches!(events(&mut dialer)[..], [Event::OperatorChanged(_)]));
    let mut now = Duration::from_secs(100);
    dialer.handle_outcome(now, Outcome::Lost);
    let mut next = |dialer: &mut Dialer| {
        now += wait(dialer, now).0;
        (now, dial(dialer, now))
    };
    let wrong = signed(&other, 5, E);
    let stolen = Outcome::Reply(Reply::Redirect(Redirect {
        permanent: true,
        targets: vec!["https://x.stream.net/".to_string()],
        signature: Some(owner.redirect(5, E, None)),
        ..Redirect::default()
    }));
    for (outcome, error) in [
        (redirect(true, &[E], None), ClaimError::Unsigned),
        (wrong, ClaimError::OtherOperator),
        (stolen, ClaimError::WrongSignature),
    ] {
        let (now, target) = next(&mut dialer);
        assert_eq!((target.url.as_str(), target.role), (A, Role::Endpoint));
        dialer.handle_outcome(now, outcome);
        let refused = Event::RedirectRefused(RedirectError::Claimed(error));
        assert_eq!(events(&mut dialer), [refused]);
    }
    let (at, _) = next(&mut dialer);
    dialer.handle_outcome(at, signed(&owner, 5, E));
    assert_eq!(dial(&mut dialer, at).url.as_str(), E);
    let moved = events(&mut dialer);
    assert!(matches!(&moved[0], Event::EndpointMoved { url, .. } if url.as_str() == E));
    assert!(matches!(&moved[1], Event::OperatorChanged(o) if o.issued == 5));
    // The alternate was not signed, and the activation address is left for good.
    let mut at = at;
    for _ in 0..5 {
        dialer.handle_outcome(at, FAILED);
        let (then, target) = next(&mut dialer);
        assert_eq!(target.url.as_str(), E);
        at = then;
    }
    // An old redirect, shown again where the endpoint is now.
    dialer.handle_outcome(at, signed(&owner, 5, A));
    let refused = Event::RedirectRefused(RedirectError::Claimed(ClaimError::Stale));
    assert_eq!(events(&mut dialer), [refused]);
}

#[test]
fn a_release_and_a_reset_open_the_way_to_activation_again() {
    let owner = Signer::new();
    let released = |text: String| Reply::Pending {
        retry_after: Some(Duration::from_secs(10)),
        release: Some(text),
    };
    let mut dialer = claimable(&[A]);
    streaming(&mut dialer, ZERO, &owner);
    dialer.moved = Some((Url::parse(E).unwrap(), None));
    events(&mut dialer);
    dialer.handle_outcome(ZERO, Outcome::Lost);
    let now = Duration::from_secs(100);
    dial(&mut dialer, now);
    let forged = Signer::new().release(9);
    dialer.handle_outcome(now, Outcome::Reply(released(forged)));
    assert_eq!(
        events(&mut dialer),
        [Event::ClaimRefused(ClaimError::OtherOperator)]
    );
    dial(&mut dialer, now);
    dialer.handle_outcome(now, Outcome::Reply(released(owner.release(9))));
    assert!(
        matches!(&events(&mut dialer)[..], [Event::OperatorChanged(o)] if o.standing == Standing::Released)
    );
    assert_eq!(
        (dialer.credential(), dialer.claim().unwrap().held().as_str()),
        (None, "none")
    );
    assert_eq!(dial(&mut dialer, now).url.as_str(), E);
    dialer.handle_outcome(now, FAILED);
    let now = now + wait(&mut dialer, now).0;
    assert_eq!(dial(&mut dialer, now).role, Role::Activation);
    // An unclaimed camera follows whoever it meets; a reset forgets that too.
    dialer.handle_outcome(now, redirect(true, &[S2], None));
    dial(&mut dialer, now);
    dialer.handle_outcome(now, welcome(Some(1), &[S1], Some(&owner)));
    dialer.forget(now);
    let now = now + wait(&mut dialer, now).0;
    let target = dial(&mut dialer, now);
    assert_eq!((target.url.as_str(), target.role), (A, Role::Activation));
    assert_eq!(
        (dialer.credential(), dialer.claim().unwrap().operator()),
        (None, None)
    );
}
