//! Nobody is shut out by rules that cannot be taken back, nor is anybody let in by a configuration that cannot be read.

use std::fs;
use std::net::TcpListener;

use super::command::{APPLY, BOOTS, Camera, RECORD, SSH, Unmounted, open_to_strangers};
use super::lan::with_lan;
use super::{run, without_root};

/// What no boot has shown and cannot be taken back is told, and rules that it is about let the owner in all the same.
#[test]
fn what_cannot_be_taken_back_keeps_nobody_out() {
    if without_root() {
        return;
    }
    for of_firewall in [true, false] {
        with_lan(|lan| {
            let camera = Camera::new();
            camera.lets_its_owner_in();
            let _video = TcpListener::bind("0.0.0.0:554").unwrap();
            assert_eq!(camera.harden(APPLY).0, 0);
            assert_eq!(camera.harden(&["--confirm"]).0, 0);
            let path = if of_firewall { RECORD } else { "etc/inittab" };
            camera.write(
                "etc/lenscap/harden/unproven",
                &format!("{} key\n/{path}\n", BOOTS[1]),
            );
            fs::remove_dir_all(camera.path(SSH)).unwrap();
            let etc = camera.path("etc");
            run("mount", &["--bind", &etc, &etc]);
            let _mounted = Unmounted(etc.clone());
            run("mount", &["-o", "remount,bind,ro", &etc]);
            let (code, said) = camera.harden(&["--recheck"]);
            let why = "hardening    does not hold; what was not confirmed in time is not taken back";
            assert!(code == 1 && said.contains(why), "{said}");
            assert_eq!(open_to_strangers(lan), of_firewall, "{said}");
            // No start script puts it in place again.
            let (code, said) = camera.harden(&["--restore"]);
            assert_eq!(code, i32::from(of_firewall), "{said}");
        });
    }
}

/// A configuration that nobody can read says nothing against the rules that are in force.
#[test]
fn a_broken_configuration_opens_nothing() {
    if without_root() {
        return;
    }
    with_lan(|lan| {
        let camera = Camera::new();
        let _video = TcpListener::bind("0.0.0.0:554").unwrap();
        assert_eq!(camera.harden(APPLY).0, 0);
        assert_eq!(camera.harden(&["--confirm"]).0, 0);
        camera.write("etc/config/lenscap", "config uplink 'main'\n\toption endpoint\n");
        run("nft", &["flush", "ruleset"]);
        assert!(open_to_strangers(lan));
        let (code, said) = camera.harden(&["--boot"]);
        assert_eq!(code, 1, "{said}");
        let why = "there is no configuration that says where the uplink leads";
        assert!(said.contains(why), "{said}");
        assert!(!open_to_strangers(lan));
    });
}
