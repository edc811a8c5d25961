//! What is kept of an audit, and what later ones make of it.

use super::rules::FAIL;
use super::*;
use crate::report::{Format, Style, write};

#[test]
fn a_baseline_is_made_of_clean_cameras_alone() {
    for (id, clean) in [
        ("trace.deleted", false),
        ("system.clock", true),
        ("account.default", false),
        ("network.peer", false),
        ("network.raw", false),
        ("service.rtsp", false),
        ("start.added", false),
        ("account.ssh", true),
    ] {
        let (_, change) = FAIL.iter().find(|(name, _)| *name == id).unwrap();
        let mut facts = good();
        change(&mut facts);
        assert_eq!(audit(&facts, &[]).is_clean(), clean, "{id}");
    }
    let mut facts = good();
    facts.baseline = Fact::seen("b", None);
    assert!(audit(&facts, &[]).is_clean(), "the first time");
    facts.sockets[0].value.as_mut().unwrap().left_out = 1;
    assert!(!audit(&facts, &[]).is_clean());
    assert!(!audit(&good(), &["network"]).is_clean());
    // A tree does not run, and that is no doubt about its files.
    let mut facts = good();
    facts.about.live = false;
    facts.sockets.clear();
    facts.modules = Fact::default();
    assert!(audit(&facts, &[]).is_clean());
    facts.programs = Fact::default();
    assert!(!audit(&facts, &[]).is_clean());
}

/// Only what the owner accepts is known by being there: what merely was there at an earlier audit still fails.
#[test]
fn no_baseline_but_an_accepted_one_makes_a_fail_a_pass() {
    for (id, drift) in [
        ("network.peer", "network.peer-drift"),
        ("start.added", "start.drift"),
    ] {
        let (_, change) = FAIL.iter().find(|(name, _)| *name == id).unwrap();
        let mut facts = good();
        change(&mut facts);
        for (accepted, expected) in [(false, Verdict::Fail), (true, Verdict::Pass)] {
            keep(&mut facts, accepted);
            let report = audit(&facts, &[]);
            assert_eq!(verdict(&report, id), expected, "{id} {accepted}");
            assert_eq!(verdict(&report, drift), Verdict::Pass, "{drift}");
        }
    }
}

#[test]
fn no_report_holds_a_hash_of_a_login() {
    let mut facts = good();
    facts.accounts.value.as_mut().unwrap()[0].login = "5ec2e7".into();
    let report = audit(&facts, &[]);
    assert_eq!(verdict(&report, "account.drift"), Verdict::Fail);
    assert_eq!(report.inventory.logins, ["login /etc/shadow root 5ec2e7"]);
    let style = Style {
        colour: false,
        details: true,
    };
    for format in [
        Format::Text,
        Format::Json,
        Format::Html,
        Format::Xccdf,
        Format::CycloneDx,
    ] {
        assert!(!write(&report, format, style).contains("5ec2e7"), "{format:?}");
    }
    assert!(write(&report, Format::Text, style).contains("what its line holds: login /etc/shadow root"));
}
