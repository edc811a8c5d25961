//! A fault at every step of the file system.

use std::cell::Cell;
use std::rc::Rc;

use super::*;
use crate::engine::{confirm, recover, roll_back, undo, waiting};
use crate::journal::Journal;
use crate::proof::{prove, unproven};
use crate::root::{Attributes, Step};
use crate::transaction::Store;
use nix::errno::Errno;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// The power fails: no later step happens either.
    Power,
    /// One step fails, the next works.
    Once(Errno),
    /// From here on everything fails.
    Lasting(Errno),
}

const FAULTS: &[Fault] = &[
    Fault::Power,
    Fault::Once(Errno::EIO),
    Fault::Once(Errno::ENOSPC),
    Fault::Once(Errno::EROFS),
    Fault::Lasting(Errno::EIO),
    Fault::Lasting(Errno::ENOSPC),
    Fault::Lasting(Errno::EROFS),
];

/// Lets `count` steps pass, then fails. Says whether it came to that.
fn arm(root: &mut Root, count: u32, fault: Fault) -> Rc<Cell<bool>> {
    let steps = Cell::new(0);
    let hit = Rc::new(Cell::new(false));
    let seen = Rc::clone(&hit);
    root.gate = Some(Box::new(move |_, _| {
        let step = steps.replace(steps.get() + 1);
        let fails = match fault {
            Fault::Power | Fault::Lasting(_) => step >= count,
            Fault::Once(_) => step == count,
        };
        if !fails {
            return Ok(());
        }
        seen.set(true);
        Err(match fault {
            Fault::Power => io::Error::other("the power failed"),
            Fault::Once(errno) | Fault::Lasting(errno) => errno.into(),
        })
    }));
    hit
}

/// Calls `run` with each fault, armed at one step after the other, until a run ends before its fault's turn.
fn at_every_step(least: usize, mut run: impl FnMut(&str, Fault, u32) -> bool) {
    for fault in FAULTS {
        let hit = |step: &u32| run(&format!("{fault:?} at step {step}"), *fault, *step);
        let steps = (0..).take_while(hit).count();
        assert!(steps > least, "{steps} steps");
    }
}

fn journal(camera: &Camera) -> Journal {
    Store::new(&camera.root, &camera.settings.state_dir)
        .journal()
        .unwrap()
}

fn each_file_is_old_or_new(now: &Snapshot, old: &Snapshot, new: &Snapshot, what: &str) {
    for (path, file) in now {
        assert!(
            old.get(path) == Some(file) || new.get(path) == Some(file),
            "{what}: {path} is neither old nor new"
        );
    }
}

/// A camera before and after, and what was learned about its hashes.
fn both(name: &str) -> (Snapshot, Snapshot, String) {
    let mut camera = Camera::new(name);
    let old = own(&camera.snapshot());
    camera.harden().result.unwrap();
    (old, own(&camera.snapshot()), camera.memory)
}

#[test]
fn hardening_accounts_survives_a_fault_at_every_step() {
    hardening_survives("busybox");
}

#[test]
fn hardening_dependents_survives_a_fault_at_every_step() {
    hardening_survives("thingino");
}

fn hardening_survives(name: &str) {
    let (old, new, memory) = both(name);
    at_every_step(30, |what, fault, step| {
        let what = format!("{name}, {what}");
        let mut camera = Camera::remembering(name, &memory);
        camera.applied_at = Some(("boot", Duration::ZERO));
        let hit = arm(&mut camera.root, step, fault);
        let run = camera.harden();
        camera.root.gate = None;
        let now = own(&camera.snapshot());
        each_file_is_old_or_new(&now, &old, &new, &what);
        let gone = old.keys().find(|path| !now.contains_key(*path));
        assert_eq!(gone, None, "{what}");
        match &run.result {
            Ok(()) => same(&now, &new, &what),
            Err(Failure::Unchanged(_)) => same(&now, &old, &what),
            Err(Failure::Unfinished(_)) => {}
        }
        // Whoever finds the new password in a table was told it before.
        assert!(now == old || run.disclosed, "{what}");
        next_run_finishes(camera, &old, &new, &what);
        hit.get()
    });
}

fn next_run_finishes(mut camera: Camera, old: &Snapshot, new: &Snapshot, what: &str) {
    recover(&camera.root, &camera.settings).unwrap();
    let now = own(&camera.snapshot());
    assert!(
        &now == old || &now == new,
        "{what}: after recovery it is a mixture"
    );
    assert!(
        !camera.snapshot().keys().any(|path| path.contains("/.lenscap-")),
        "{what}: something is left"
    );
    let run = camera.harden();
    run.result.unwrap();
    same(&own(&camera.snapshot()), new, what);
    undo(&camera.root, &camera.settings, true).unwrap();
    same(&own(&camera.snapshot()), old, what);
}

#[test]
fn undoing_survives_a_fault_at_every_step() {
    let name = "thingino";
    let (old, new, memory) = both(name);
    at_every_step(20, |what, fault, step| {
        let mut camera = Camera::remembering(name, &memory);
        camera.harden().result.unwrap();
        let hit = arm(&mut camera.root, step, fault);
        let _ = undo(&camera.root, &camera.settings, true);
        camera.root.gate = None;
        each_file_is_old_or_new(&own(&camera.snapshot()), &old, &new, what);
        recover(&camera.root, &camera.settings).unwrap();
        undo(&camera.root, &camera.settings, true).unwrap();
        same(&own(&camera.snapshot()), &old, what);
        hit.get()
    });
}

/// A camera that waits for its owner.
fn unconfirmed(name: &str, memory: &str) -> Camera {
    unconfirmed_with(name, memory, None)
}

/// The same; a boot is to show a way in after it.
fn unconfirmed_with(name: &str, memory: &str, proof: Option<&str>) -> Camera {
    let mut camera = Camera::remembering(name, memory);
    camera.settings.proof = proof.map(str::to_owned);
    camera.applied_at = Some(("boot", Duration::ZERO));
    camera.harden().result.unwrap();
    camera
}

#[test]
fn rolling_back_survives_a_fault_at_every_step() {
    let name = "thingino";
    let (old, new, memory) = both(name);
    at_every_step(20, |what, fault, step| {
        let mut camera = unconfirmed(name, &memory);
        let hit = arm(&mut camera.root, step, fault);
        let first = roll_back(&camera.root, &camera.settings, None, &|_| false);
        camera.root.gate = None;
        let now = own(&camera.snapshot());
        each_file_is_old_or_new(&now, &old, &new, what);
        // Whoever waits goes on as long as something waits: not before all is taken back may nothing wait.
        let waits = waiting(&camera.root, &camera.settings).unwrap().is_some();
        assert!(waits || now == old, "{what}: forgotten halfway");
        if first.is_ok() {
            same(&now, &old, what);
        }
        recover(&camera.root, &camera.settings).unwrap();
        if waiting(&camera.root, &camera.settings).unwrap().is_some() {
            let undone = roll_back(&camera.root, &camera.settings, None, &|_| false).unwrap();
            assert_eq!(undone.changed_since, Vec::<String>::new(), "{what}");
        }
        same(&own(&camera.snapshot()), &old, what);
        assert!(
            waiting(&camera.root, &camera.settings).unwrap().is_none(),
            "{what}"
        );
        let left = camera
            .snapshot()
            .into_keys()
            .find(|path| path.contains("/.lenscap-"));
        assert_eq!(left, None, "{what}: something is left");
        hit.get()
    });
}

#[test]
fn confirming_survives_a_fault_at_every_step() {
    let name = "thingino";
    let (_, new, memory) = both(name);
    for proof in [None, Some("boot key")] {
        at_every_step(1, |what, fault, step| {
            let mut camera = unconfirmed_with(name, &memory, proof);
            let hit = arm(&mut camera.root, step, fault);
            let first = confirm(&camera.root, &camera.settings);
            camera.root.gate = None;
            let waits = waiting(&camera.root, &camera.settings).unwrap().is_some();
            // Said to be confirmed, it is; what failed may be asked for again.
            assert!(!(first.is_ok() && waits), "{what}");
            assert_eq!(confirm(&camera.root, &camera.settings).unwrap(), waits, "{what}");
            assert!(
                waiting(&camera.root, &camera.settings).unwrap().is_none(),
                "{what}"
            );
            let unproven = unproven(&camera.root, &camera.settings);
            assert_eq!(unproven.len(), usize::from(proof.is_some()), "{what}");
            same(&own(&camera.snapshot()), &new, what);
            hit.get()
        });
    }
}

/// A boot that did not show the owner's way in has what was confirmed taken back, whatever happens meanwhile.
#[test]
fn what_no_boot_shows_is_taken_back_in_spite_of_faults() {
    let name = "thingino";
    let (old, _, memory) = both(name);
    at_every_step(1, |what, fault, step| {
        let mut camera = unconfirmed_with(name, &memory, Some("boot key"));
        confirm(&camera.root, &camera.settings).unwrap();
        let hit = arm(&mut camera.root, step, fault);
        let first = prove(&camera.root, &camera.settings, &[Some(false)]);
        camera.root.gate = None;
        let is_unproven = || !unproven(&camera.root, &camera.settings).is_empty();
        assert!(!(first.is_ok() && is_unproven()), "{what}");
        if is_unproven() {
            prove(&camera.root, &camera.settings, &[Some(false)]).unwrap();
        }
        let waits = waiting(&camera.root, &camera.settings).unwrap().unwrap();
        assert_eq!(
            waits.due("another", std::time::Duration::from_secs(600)),
            crate::gate::Due::RollBack,
            "{what}"
        );
        roll_back(&camera.root, &camera.settings, None, &|_| false).unwrap();
        same(&own(&camera.snapshot()), &old, what);
        hit.get()
    });
}

#[test]
fn recovery_survives_the_power_failing_again() {
    let name = "thingino";
    let (_, new, memory) = both(name);
    for first in (20..90).step_by(7) {
        for second in 0..12 {
            let mut camera = Camera::remembering(name, &memory);
            arm(&mut camera.root, first, Fault::Power);
            let _ = camera.harden();
            arm(&mut camera.root, second, Fault::Power);
            let _ = recover(&camera.root, &camera.settings);
            camera.root.gate = None;
            recover(&camera.root, &camera.settings).unwrap();
            camera.harden().result.unwrap();
            same(&own(&camera.snapshot()), &new, &format!("{first}, then {second}"));
        }
    }
}

/// Has these steps fail for one file, for ever.
fn refuse(camera: &mut Camera, file: &str, steps: &'static [Step], errno: Errno) {
    let file = file.to_owned();
    camera.root.gate = Some(Box::new(move |step, path| {
        if path == file && steps.contains(&step) {
            return Err(errno.into());
        }
        Ok(())
    }));
}

fn nothing_is_left_halfway(camera: &Camera, what: &str) {
    let left = |path: &String| {
        path.contains("/.lenscap-") || path.ends_with("/pending") || path.ends_with("/preparing")
    };
    let left = camera.snapshot().into_keys().find(left);
    assert_eq!(left, None, "{what}");
}

/// The files of a fixture that a run changes.
fn changed(old: &Snapshot, new: &Snapshot) -> Vec<String> {
    let changed = old.iter().filter(|(path, file)| new.get(*path) != Some(*file));
    changed.map(|(path, _)| path.clone()).collect()
}

#[test]
fn a_file_that_is_known_to_be_immutable_is_told_and_the_others_are_changed() {
    let name = "thingino";
    let (old, new, memory) = both(name);
    for file in changed(&old, &new) {
        let mut camera = unconfirmed_but(name, &memory, &file, &[Step::Rename, Step::Remove], Errno::EPERM);
        let run = camera.harden();
        run.result.as_ref().unwrap();
        let of_file = |finding: &&Finding| finding.path.as_ref() == Some(&file);
        let mut told = run.findings.iter().filter(of_file);
        assert!(
            told.any(|finding| finding.text.contains("left as it is")),
            "{file}"
        );
        assert!(run.has(Status::Unknown) || run.has(Status::Fails), "{file}");
        assert!(!run.changes.contains(&file), "{file}");
        let now = own(&camera.snapshot());
        assert_eq!(now[&file], old[&file]);
        let others = changed(&old, &now);
        assert!(!others.is_empty(), "{file}");
        // Media changes as a whole or not at all.
        let media = now.contains_key("/etc/lenscap/camera-password");
        assert_eq!(
            media,
            ![".json", ".yaml"].iter().any(|end| file.ends_with(end)),
            "{file}: {others:?}"
        );
        nothing_is_left_halfway(&camera, &file);
        assert!(confirm(&camera.root, &camera.settings).unwrap());
        undo(&camera.root, &camera.settings, true).unwrap();
        same(&own(&camera.snapshot()), &old, &file);
    }
}

/// A camera that waits for its owner, but for one file that could not be changed.
fn unconfirmed_but(name: &str, memory: &str, file: &str, steps: &'static [Step], errno: Errno) -> Camera {
    let mut camera = Camera::remembering(name, memory);
    camera.applied_at = Some(("boot", Duration::ZERO));
    refuse(&mut camera, file, steps, errno);
    camera.harden().result.unwrap();
    camera
}

#[test]
fn a_file_that_cannot_be_replaced_for_good_holds_up_no_other() {
    let name = "thingino";
    let (old, new, memory) = both(name);
    for file in changed(&old, &new) {
        for errno in [Errno::EPERM, Errno::EROFS, Errno::EBUSY] {
            let what = format!("{file} {errno}");
            let mut camera = unconfirmed_but(name, &memory, &file, &[Step::Rename], errno);
            let mut but_one = new.clone();
            but_one.insert(file.clone(), old[&file].clone());
            same(&own(&camera.snapshot()), &but_one, &what);
            nothing_is_left_halfway(&camera, &what);
            assert_eq!(journal(&camera).entry(&file), None, "{what}: it was not written");
            // The next run asks for it again.
            let again = camera.harden();
            again.result.unwrap();
            assert!(again.changes.contains(&file), "{what}");
            nothing_is_left_halfway(&camera, &what);
            roll_back(&camera.root, &camera.settings, None, &|_| false).unwrap();
            same(&own(&camera.snapshot()), &old, &what);
            assert!(waiting(&camera.root, &camera.settings).unwrap().is_none());
        }
    }
}

#[test]
fn what_became_immutable_is_named_when_it_is_not_taken_back() {
    let name = "thingino";
    let (old, new, memory) = both(name);
    for file in changed(&old, &new) {
        // It shows before anything is written, or at the rename alone.
        for (steps, errno) in [
            (&[Step::Rename, Step::Remove][..], Errno::EPERM),
            (&[Step::Rename], Errno::EBUSY),
        ] {
            let mut camera = unconfirmed(name, &memory);
            refuse(&mut camera, &file, steps, errno);
            let undone = roll_back(&camera.root, &camera.settings, None, &|_| false).unwrap();
            assert_eq!(undone.changed_since, [file.as_str()]);
            assert!(!undone.restored.contains(&file));
            assert_eq!(engine::left(&camera.root, &camera.settings), [file.as_str()]);
            let mut but_one = old.clone();
            but_one.insert(file.clone(), new[&file].clone());
            same(&own(&camera.snapshot()), &but_one, &file);
            nothing_is_left_halfway(&camera, &file);
            // Nothing counts as applied, so that no look closes it unasked.
            assert!(journal(&camera).entry(&file).is_some() && !journal(&camera).applies(&file));
            let applied = engine::applied(&camera.root, &camera.settings);
            assert_eq!(applied, Default::default(), "{file}");
            camera.root.gate = None;
            undo(&camera.root, &camera.settings, true).unwrap();
            same(&own(&camera.snapshot()), &old, &file);
            assert_eq!(journal(&camera), Journal::default());
        }
    }
}

/// What cannot be read, its original or itself, holds up no other file's way back.
#[test]
fn an_original_that_is_lost_holds_up_no_other() {
    let name = "thingino";
    let (old, new, memory) = both(name);
    for file in changed(&old, &new) {
        let camera = unconfirmed(name, &memory);
        let saved = journal(&camera)
            .entry(&file)
            .unwrap()
            .original
            .clone()
            .unwrap()
            .name;
        let saved = format!("etc/lenscap/harden/saved/{saved}");
        fs::write(camera.dir.path().join(saved), "lost").unwrap();
        let undone = roll_back(&camera.root, &camera.settings, None, &|_| false).unwrap();
        assert_eq!(undone.changed_since, [file.as_str()]);
        let mut but_one = old.clone();
        but_one.insert(file.clone(), new[&file].clone());
        same(&own(&camera.snapshot()), &but_one, &file);
    }
}

#[test]
fn an_interrupted_run_is_finished_but_for_what_cannot_be_replaced() {
    let name = "thingino";
    let (old, new, memory) = both(name);
    for file in changed(&old, &new) {
        let mut camera = Camera::remembering(name, &memory);
        let pending = "/etc/lenscap/harden/pending";
        // The power fails between the decision and the first of its renames.
        let decided = Cell::new(false);
        camera.root.gate = Some(Box::new(move |step, path| {
            if decided.get() && step == Step::Rename {
                return Err(io::Error::other("the power failed"));
            }
            decided.set(decided.get() || path == pending && step == Step::Rename);
            if decided.get() && step == Step::Remove {
                return Err(io::Error::other("the power failed"));
            }
            Ok(())
        }));
        assert!(matches!(camera.harden().result, Err(Failure::Unfinished(_))));
        refuse(&mut camera, &file, &[Step::Rename], Errno::EPERM);
        recover(&camera.root, &camera.settings).unwrap();
        let mut but_one = new.clone();
        but_one.insert(file.clone(), old[&file].clone());
        same(&own(&camera.snapshot()), &but_one, &file);
        nothing_is_left_halfway(&camera, &file);
    }
}

#[test]
fn what_somebody_writes_while_a_run_is_at_work_stays() {
    let name = "thingino";
    let (old, new, memory) = both(name);
    for file in changed(&old, &new) {
        let mut camera = Camera::remembering(name, &memory);
        let theirs = camera.dir.path().join(file.trim_start_matches('/'));
        camera.root.gate = Some(Box::new(move |step, path| {
            if step == Step::Rename && path.ends_with("/pending") {
                fs::write(&theirs, "theirs")?;
            }
            Ok(())
        }));
        camera.harden().result.unwrap();
        camera.root.gate = None;
        assert_eq!(camera.text(&file), "theirs");
        let mut but_one = new.clone();
        but_one.insert(file.clone(), (old[&file].0, b"theirs".to_vec()));
        same(&own(&camera.snapshot()), &but_one, &file);
        // It was never written: nothing is to be taken back.
        assert_eq!(journal(&camera).entry(&file), None);
        let undone = undo(&camera.root, &camera.settings, true).unwrap();
        assert!(undone.changed_since.is_empty());
        assert_eq!(camera.text(&file), "theirs");
    }
}

/// Whoever may write the folder above would have root write where only root may.
#[test]
fn what_comes_in_the_place_of_a_folder_is_not_written() {
    let name = "thingino";
    let (old, new, memory) = both(name);
    for file in changed(&old, &new)
        .iter()
        .filter(|file| file.matches('/').count() > 2)
    {
        let mut camera = Camera::remembering(name, &memory);
        let folder = camera.dir.path().join(file.trim_start_matches('/'));
        let folder = folder.parent().unwrap().to_owned();
        let roots = camera.dir.path().join("opt/roots");
        copy(&folder, &roots);
        let before = snapshot(&roots);
        let (link, target) = (folder.clone(), "/opt/roots");
        camera.root.gate = Some(Box::new(move |step, path| {
            if step == Step::Rename && path.ends_with("/pending") {
                fs::rename(&link, link.with_extension("aside"))?;
                symlink(target, &link)?;
            }
            Ok(())
        }));
        camera.harden().result.unwrap();
        camera.root.gate = None;
        same(&snapshot(&roots), &before, file);
    }
}

/// The folders of a fixture's files that a run changes.
fn folders_of(files: &[String]) -> std::collections::BTreeSet<&str> {
    files.iter().map(|file| crate::root::folder_of(file)).collect()
}

/// Whoever may write a folder knows which names ours began with, and has them lead elsewhere or be folders.
#[test]
fn what_has_a_name_like_ours_is_neither_followed_nor_in_the_way() {
    let name = "thingino";
    let (old, new, memory) = both(name);
    let files = changed(&old, &new);
    for link in [true, false] {
        let mut camera = Camera::remembering(name, &memory);
        let at = |path: &str| camera.dir.path().join(path.trim_start_matches('/'));
        fs::write(at("/etc/victim"), "theirs").unwrap();
        for folder in folders_of(&files) {
            for number in 0..30 {
                let taken = at(&format!("{folder}/.lenscap-{number}"));
                if link {
                    symlink("/etc/victim", taken).unwrap();
                } else {
                    fs::create_dir(taken).unwrap();
                }
            }
        }
        let planted = camera.snapshot();
        camera.applied_at = Some(("boot", Duration::ZERO));
        camera.harden().result.unwrap();
        assert_eq!(camera.text("/etc/victim"), "theirs");
        let undone = roll_back(&camera.root, &camera.settings, None, &|_| false).unwrap();
        assert_eq!(undone.changed_since, Vec::<String>::new());
        same(&camera.snapshot(), &planted, "planted");
    }
}

#[test]
fn a_link_is_removed_and_not_what_it_leads_to() {
    let camera = Camera::new("busybox");
    let at = |path: &str| camera.dir.path().join(path);
    symlink("/etc/passwd", at("etc/link")).unwrap();
    symlink("/etc/new", at("etc/dangling")).unwrap();
    let made = camera.root.create("/etc/dangling", b"x", Attributes::PRIVATE);
    assert_eq!(made.unwrap_err().raw_os_error(), Some(Errno::EEXIST as i32));
    for link in ["etc/link", "etc/dangling"] {
        camera.root.remove(&format!("/{link}")).unwrap();
        assert!(at(link).symlink_metadata().is_err(), "{link}");
    }
    assert!(at("etc/passwd").exists() && !at("etc/new").exists());
}

#[test]
fn recovery_removes_files_of_ours_alone() {
    let camera = Camera::new("busybox");
    let at = |path: &str| camera.dir.path().join(path);
    fs::create_dir_all(at("etc/lenscap/harden")).unwrap();
    symlink("/etc/passwd", at("etc/.lenscap-0")).unwrap();
    fs::create_dir(at("etc/.lenscap-1")).unwrap();
    fs::write(at("etc/.lenscap-2"), "ours").unwrap();
    let names = "/etc/.lenscap-0\n/etc/.lenscap-1\n/etc/.lenscap-2\n";
    fs::write(at("etc/lenscap/harden/preparing"), names).unwrap();
    recover(&camera.root, &camera.settings).unwrap();
    assert!(at("etc/passwd").exists() && at("etc/.lenscap-0").is_symlink());
    assert!(at("etc/.lenscap-1").is_dir() && !at("etc/.lenscap-2").exists());
    assert!(!at("etc/lenscap/harden/preparing").exists());
}

/// A file system of its own that is full, or that can be read alone.
#[test]
fn a_folder_where_nothing_can_be_made_holds_up_no_other_files_way_back() {
    let name = "thingino";
    let (old, new, memory) = both(name);
    let files = changed(&old, &new);
    for file in &files {
        for errno in [Errno::ENOSPC, Errno::EROFS, Errno::EIO] {
            let what = format!("{file} {errno}");
            let mut camera = unconfirmed(name, &memory);
            // What is beside it in the same folder is as it.
            let folder = crate::root::folder_of(file).to_owned();
            let start = format!("{folder}/.lenscap-");
            camera.root.gate = Some(Box::new(move |step, path| {
                if step == Step::Create && path.starts_with(&start) {
                    return Err(errno.into());
                }
                Ok(())
            }));
            let undone = roll_back(&camera.root, &camera.settings, None, &|_| false).unwrap();
            let mut rest = old.clone();
            let beside = files.iter().filter(|path| crate::root::folder_of(path) == folder);
            for path in beside {
                assert!(undone.changed_since.contains(path), "{what}: {path}");
                rest.insert(path.clone(), new[path].clone());
            }
            same(&own(&camera.snapshot()), &rest, &what);
            nothing_is_left_halfway(&camera, &what);
            assert_eq!(
                engine::left(&camera.root, &camera.settings),
                undone.changed_since,
                "{what}"
            );
            camera.root.gate = None;
            undo(&camera.root, &camera.settings, true).unwrap();
            same(&own(&camera.snapshot()), &old, &what);
        }
    }
}
