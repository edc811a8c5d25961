//! What waits for the owner, or for a boot, beside files.

use super::*;
use crate::edits::Edits;
use crate::engine::{UNCONFIRMED, closes_telnet, keep, wait_with, waiting, waits_for};
use crate::proof::{UNPROVEN, prove, unproven};
use crate::root::Attributes;

const PASSWORD: &str = "/etc/lenscap/camera-password";

fn camera() -> Camera {
    let mut camera = Camera::new("busybox");
    camera.settings.proof = Some("boot key".into());
    camera.root.make_folders(&camera.settings.state_dir).unwrap();
    camera
}

#[test]
fn what_is_in_no_file_waits_for_both() {
    let camera = camera();
    let (root, settings) = (&camera.root, &camera.settings);
    for (at, confirms) in [(None, false), (Some(("boot", Duration::ZERO)), true)] {
        wait_with(root, settings, PASSWORD, at).unwrap();
        let found = unproven(root, settings);
        let [(way, of)] = found.as_slice() else {
            panic!("{found:?}");
        };
        assert_eq!((way.as_str(), of.boot_id.as_str()), ("key", "boot"));
        assert_eq!(of.paths, [PASSWORD], "it is noted once");
        assert_eq!(waiting(root, settings).unwrap().is_some(), confirms);
    }
}

/// A damaged note means all that was applied, and one more run does not make that fewer.
#[test]
fn a_note_of_all_stays_one() {
    let camera = camera();
    let (root, settings) = (&camera.root, &camera.settings);
    for damage in ["", "boot 0\n", "/etc/passwd\n", "boot 0\ngarbage\n"] {
        keep(root, settings, UNCONFIRMED, damage).unwrap();
        wait_with(root, settings, PASSWORD, Some(("boot", Duration::from_secs(1)))).unwrap();
        let waiting = waiting(root, settings).unwrap().unwrap();
        assert!(waits_for(&waiting, "/etc/shadow"), "{damage}: {waiting:?}");
    }
    for damage in ["", "boot key\n", "/etc/passwd\n", "\u{0}\n/etc/passwd\n"] {
        keep(root, settings, UNPROVEN, damage).unwrap();
        wait_with(root, settings, PASSWORD, None).unwrap();
        let found = unproven(root, settings);
        let all = |(_, of): &(String, _)| waits_for(of, "/etc/shadow");
        assert!(found.iter().any(all), "{damage}: {found:?}");
    }
}

/// The parts that a boot has shown, or not, or is still to.
#[test]
fn each_part_goes_its_way() {
    let camera = camera();
    let (root, settings) = (&camera.root, &camera.settings);
    let note = "one key\n/a\n/b\ntwo password\n/c\nthree key\n/d\nfour key\n/e\n";
    let lost = |shown: &[Option<bool>]| {
        keep(root, settings, UNPROVEN, note).unwrap();
        prove(root, settings, shown).unwrap();
        let left: Vec<String> = unproven(root, settings)
            .into_iter()
            .flat_map(|(_, of)| of.paths)
            .collect();
        let waiting = waiting(root, settings).unwrap();
        let _ = root.remove(&crate::engine::confirmation_path(settings));
        (left.concat(), waiting.map(|waiting| waiting.paths.concat()))
    };
    let (yes, no) = (Some(true), Some(false));
    let both = |what: &str| {
        keep(root, settings, UNCONFIRMED, what).unwrap();
        lost(&[no, yes, yes, yes]).1
    };
    assert_eq!(
        both("zero 0\n/z\n"),
        Some("/a/b/z".into()),
        "what could not be taken back yet"
    );
    assert_eq!(both(""), Some(String::new()), "all");
    assert_eq!(lost(&[yes, yes, yes, yes]), (String::new(), None));
    assert_eq!(lost(&[yes, None, yes, None]), ("/c/e".into(), None));
    assert_eq!(lost(&[no, yes, None, no]), ("/d".into(), Some("/a/b/e".into())));
    assert_eq!(
        lost(&[no, no, no, no]),
        (String::new(), Some("/a/b/c/d/e".into()))
    );
}

/// What is changed for the firewall's sake is not telnet's.
#[test]
fn a_streamers_file_is_not_telnets() {
    let camera = camera();
    let mut edits = Edits::new(&camera.root);
    edits
        .change(
            "/etc/inittab",
            Vec::new(),
            false,
            "binds a streamer to the loopback interface",
        )
        .unwrap();
    let why = edits.files().next().unwrap().1.why.join("; ");
    let mut entry = crate::journal::Entry {
        path: "/etc/inittab".into(),
        original: Some(crate::journal::Saved {
            name: String::new(),
            attributes: Attributes::PRIVATE,
        }),
        written: String::new(),
        insecure: false,
        below: false,
        why,
    };
    assert!(!closes_telnet(&entry, &camera.settings));
    entry.why.push_str("; begins anew from the firmware's file");
    assert!(!closes_telnet(&entry, &camera.settings));
    entry.why.push_str("; starts no telnet");
    assert!(closes_telnet(&entry, &camera.settings));
}
