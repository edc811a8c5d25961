//! Files that are reached by several paths.

use super::*;
use crate::engine::undo;

#[test]
fn what_is_kept_for_undo_is_not_hardened_where_etc_is_a_link() {
    for name in FIXTURES {
        let mut camera = Camera::new(name);
        let at = |path: &str| camera.dir.path().join(path);
        fs::create_dir_all(at("mnt/mtd")).unwrap();
        if !at("etc").exists() {
            fs::create_dir(at("etc")).unwrap();
        }
        fs::rename(at("etc"), at("mnt/mtd/etc")).unwrap();
        symlink("mnt/mtd/etc", at("etc")).unwrap();
        let original = camera.snapshot();
        for _ in 0..2 {
            camera.harden().result.unwrap();
        }
        assert_eq!(camera.harden().changes, [""; 0], "{name}");
        let undone = undo(&camera.root, &camera.settings, true).unwrap();
        assert!(
            undone.kept.is_empty() && undone.changed_since.is_empty(),
            "{name}: {undone:?}"
        );
        same(&own(&camera.snapshot()), &own(&original), name);
    }
}

#[test]
fn a_file_that_has_the_name_of_a_kept_one_is_never_changed() {
    let mut camera = Camera::new("busybox");
    let saved = camera.dir.path().join("data/etc/lenscap/harden/saved");
    fs::create_dir_all(&saved).unwrap();
    let text = "#!/bin/sh\ntelnetd &\n";
    let name = crate::journal::sha256(text.as_bytes());
    fs::write(saved.join(&name), text).unwrap();
    fs::write(saved.join("other"), text).unwrap();
    let run = camera.harden();
    run.result.as_ref().unwrap();
    assert!(run.has(Status::Unknown), "{:?}", run.findings);
    assert_eq!(fs::read_to_string(saved.join(name)).unwrap(), text);
    assert_ne!(fs::read_to_string(saved.join("other")).unwrap(), text);
}
