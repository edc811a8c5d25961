//! Firmwares that put things back, and what a later run without anybody to talk to does about it.

use super::*;
use crate::journal::Journal;
use crate::look::{stamp, strayed};
use crate::secret::LoginPassword;
use crate::transaction::Store;

fn journal(camera: &Camera) -> Journal {
    Store::new(&camera.root, &camera.settings.state_dir)
        .journal()
        .unwrap()
}

#[test]
fn what_a_firmware_puts_back_is_closed_with_the_same_passwords() {
    for name in FIXTURES {
        let mut camera = Camera::new(name);
        let original = camera.snapshot();
        camera.harden().result.unwrap();
        let closed = own(&camera.snapshot());
        assert!(strayed(&camera.root, &journal(&camera)).unwrap().is_empty());

        // As an update or a restored configuration does: every file of the firmware is what it was.
        for (path, (mode, contents)) in &original {
            if mode & 0o170_000 == 0o100_000 {
                let path = camera.dir.path().join(path.trim_start_matches('/'));
                fs::write(path, contents).unwrap();
            }
        }
        assert!(
            !strayed(&camera.root, &journal(&camera)).unwrap().is_empty(),
            "{name}"
        );
        camera.settings.login_password = LoginPassword::Kept;
        // Whatever is random now is something else than before.
        camera.seed = 99;
        let again = camera.harden();
        again.result.unwrap();
        assert!(
            again.secrets.login.is_none(),
            "{name}: nobody is there to be told"
        );
        same(&own(&camera.snapshot()), &closed, name);
        assert!(strayed(&camera.root, &journal(&camera)).unwrap().is_empty());

        engine::undo(&camera.root, &camera.settings, true).unwrap();
        same(&camera.snapshot(), &original, name);
    }
}

#[test]
fn a_starter_that_the_journal_does_not_know_is_no_longer_trusted_once_it_changes() {
    let mut camera = Camera::new("openwrt");
    let script = camera.dir.path().join("etc/init.d/vendor");
    fs::write(&script, "#!/bin/sh\nstart() { :; }\n").unwrap();
    symlink("../init.d/vendor", camera.dir.path().join("etc/rc.d/S99vendor")).unwrap();
    camera.harden().result.unwrap();
    let journal = journal(&camera);
    assert!(journal.entry("/etc/init.d/vendor").is_none());
    let before = stamp(&camera.root, &journal);
    assert_eq!(stamp(&camera.root, &journal), before);
    let mut text = fs::read_to_string(&script).unwrap();
    text.push_str("telnetd -l /bin/sh\n");
    fs::write(&script, &text).unwrap();
    let after = stamp(&camera.root, &journal);
    assert_ne!(after, before);
    // As long as before.
    fs::write(&script, text.replace("telnetd -l /bin/sh", "telnetd -p9 -l /bi")).unwrap();
    assert_ne!(stamp(&camera.root, &journal), after);
}

#[test]
fn a_rewritten_hash_alone_gets_the_kept_one() {
    let mut camera = Camera::new("openwrt");
    camera.harden().result.unwrap();
    let kept = engine::applied(&camera.root, &camera.settings);
    let hash = kept.field("login").unwrap().to_owned();
    let closed = camera.text("/etc/shadow");
    assert!(closed.contains(&hash));
    // A boot script that writes the empty password, and leaves the rest.
    let path = camera.dir.path().join("etc/shadow");
    fs::write(
        &path,
        closed.replace(&hash, "$1$$qRPK7m23GJusamGpoGLby/") + "new:*:0:0:99999:7:::\n",
    )
    .unwrap();
    camera.settings.login_password = LoginPassword::Kept;
    camera.seed = 99;
    let again = camera.harden();
    assert_eq!(again.changes.len(), 1, "{:?}", again.changes);
    assert_eq!(camera.text("/etc/shadow"), closed + "new:*:0:0:99999:7:::\n");
}

#[test]
fn what_was_locked_stays_locked_and_what_was_taken_back_is_forgotten() {
    let mut camera = Camera::new("busybox");
    camera.settings.login_password = LoginPassword::Lock;
    camera.harden().result.unwrap();
    let kept = engine::applied(&camera.root, &camera.settings);
    assert_eq!(kept.field("login"), Some("*"));
    assert_eq!(kept.measures, camera.settings.measures);
    engine::undo(&camera.root, &camera.settings, false).unwrap();
    let kept = engine::applied(&camera.root, &camera.settings);
    assert_eq!(kept.measures, [crate::report::Measure::Credentials]);
    engine::undo(&camera.root, &camera.settings, true).unwrap();
    assert_eq!(
        engine::applied(&camera.root, &camera.settings),
        Default::default()
    );
}
