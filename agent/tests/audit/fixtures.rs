//! Root file system trees, before and after they are hardened.

use super::*;

const FIXTURES: &[&str] = &[
    "busybox",
    "dafang-hacks",
    "hikvision",
    "onvif",
    "openipc",
    "openmiko",
    "openwrt",
    "thingino",
    "wz_mini",
    "xiongmai",
    "yi-hack",
];

fn audit(dir: &Path, args: &[&str]) -> Output {
    let dir = dir.to_str().unwrap();
    run(LENSCAP, &[&["audit", "--root", dir], args].concat())
}

fn verdicts(dir: &Path) -> Vec<(String, String, String)> {
    let report = report(&audit(dir, &["--json"]));
    let rules = report["rules"].as_array().unwrap();
    let checked = rules.iter().filter(|rule| rule["verdict"] != "notchecked");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    checked
        .map(|rule| {
            let first = &rule["evidence"][0];
            let why = format!("{}: {}", text(&first["source"]), text(&first["text"]));
            (text(&rule["id"]), text(&rule["verdict"]), why)
        })
        .collect()
}

/// What each rule says of each fixture, and why, before and after `lenscap harden`. A change must be read by somebody:
/// `LENSCAP_WRITE_SNAPSHOTS=1` writes the files anew.
#[test]
fn every_rule_says_what_was_read_by_hand() {
    let write = std::env::var_os("LENSCAP_WRITE_SNAPSHOTS").is_some();
    let folder = workspace().join("agent/tests/audit/snapshots");
    let mut differ = Vec::new();
    for name in FIXTURES {
        let dir = fixture(name);
        let before = verdicts(dir.path());
        run(
            LENSCAP,
            &[
                "harden",
                "--root",
                dir.path().to_str().unwrap(),
                "--password",
                "lock",
            ],
        );
        let after = verdicts(dir.path());
        let mut text = String::new();
        for ((id, verdict, why), (_, then, reason)) in before.iter().zip(&after) {
            text.push_str(&format!("{id} {verdict}: {why}\n"));
            if (verdict, why) != (then, reason) {
                text.push_str(&format!("\thardened {then}: {reason}\n"));
            }
        }
        let file = folder.join(format!("{name}.txt"));
        if write {
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(&file, &text).unwrap();
        }
        if std::fs::read_to_string(&file).unwrap_or_default() != text {
            differ.push(format!("{name}:\n{text}"));
        }
        // Nothing that was closed is open again, and nothing passes by hiding.
        for ((id, verdict, _), (_, then, _)) in before.iter().zip(&after) {
            assert!(!(verdict == "pass" && then == "fail"), "{name} {id}");
        }
        let closed = |id: &str| {
            after
                .iter()
                .any(|(have, verdict, _)| have == id && verdict != "fail")
        };
        for id in [
            "account.default",
            "account.service",
            "account.boot",
            "start.telnet",
        ] {
            assert!(closed(id), "{name} {id}");
        }
    }
    assert!(differ.is_empty(), "{}", differ.join("\n"));
}

#[test]
fn exit_statuses_are_for_scripts() {
    let dir = fixture("busybox");
    let status = |args: &[&str]| code(&audit(dir.path(), args));
    assert_eq!(status(&[]), 1);
    assert_eq!(status(&["--only", "trace.preload"]), 0);
    assert_eq!(status(&["--only", "trace.preload", "--fail-on", "unknown"]), 0);
    assert_eq!(status(&["--only", "system.kernel"]), 2);
    assert_eq!(status(&["--only", "system.kernel", "--fail-on", "fail"]), 0);
    assert_eq!(status(&["--only", "system.kernel", "--fail-on", "unknown"]), 1);
    assert_eq!(status(&["--only", "trace,account", "--fail-on", "fail"]), 1);
    std::fs::write(dir.path().join("etc/ld.so.preload"), "/tmp/x.so\n").unwrap();
    assert_eq!(status(&["--only", "trace.preload"]), 1);
    // What no tree can tell is not well.
    assert_eq!(status(&["--only", "network"]), 2);
    for wrong in [
        &["--format", "pdf"][..],
        &["--only", "nothing"],
        &["--only", ""],
        &["--fail-on", "pass"],
        &["--root"],
    ] {
        let output = audit(dir.path(), wrong);
        assert_eq!(code(&output), 64, "{wrong:?}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty());
    }
    assert_eq!(code(&audit(Path::new("/nonexistent"), &[])), 64);
}

/// A tree keeps no baseline of its own, and has one where its owner says.
#[test]
fn a_tree_has_a_baseline_where_its_owner_says() {
    let dir = fixture("openipc");
    let elsewhere = tempfile::tempdir().unwrap();
    let root = dir.path().to_str().unwrap();
    let audit = |args: &[&str]| {
        let mut command = Command::new(LENSCAP);
        let all = [&["audit", "--json", "--root", root], args].concat();
        command.args(all).current_dir(elsewhere.path()).output().unwrap()
    };
    let named = ["--baseline", "kept"];
    assert_eq!(verdict(&report(&audit(&named)), "start.drift"), "notchecked");
    assert!(!elsewhere.path().join("kept").exists(), "it is open");
    let wrong = audit(&["--accept"]);
    assert_eq!(code(&wrong), 64);
    assert!(
        String::from_utf8_lossy(&wrong.stderr).contains("--baseline"),
        "{wrong:?}"
    );
    report(&audit(&["--baseline", "kept", "--accept"]));
    let same = report(&audit(&named));
    for id in ["start.drift", "account.drift"] {
        assert_eq!(verdict(&same, id), "pass", "{}", rule(&same, id));
    }
    for id in ["network.drift", "network.peer-drift"] {
        assert_eq!(verdict(&same, id), "notchecked");
    }
    let path = dir.path().join("etc/passwd");
    let passwd = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, passwd + "evil:!:0:0::/:/bin/sh\n").unwrap();
    std::fs::write(dir.path().join("etc/init.d/S99evil"), "#!/bin/sh\n: x\n").unwrap();
    let other = report(&audit(&named));
    assert!(evidence(&other, "account.drift").contains("account /etc/passwd evil 0"));
    assert!(evidence(&other, "start.drift").contains("start /etc/init.d/S99evil"));
}

#[test]
fn a_tree_is_only_looked_at() {
    let dir = fixture("openipc");
    let list = || {
        run(
            "find",
            &[dir.path().to_str().unwrap(), "-printf", "%p %m %T@ %s\n"],
        )
        .stdout
    };
    let before = list();
    assert_eq!(code(&audit(dir.path(), &["--details"])), 1);
    assert_eq!(list(), before);
}

#[test]
fn formats_are_valid_for_readers_that_are_not_ours() {
    let odd = fixture("openwrt");
    let init = odd.path().join("etc/init.d");
    std::fs::write(
        init.join("<b>&\"'%s\u{202e}x"),
        "#!/bin/sh\ntelnetd '<script>' &\n",
    )
    .unwrap();
    std::fs::create_dir_all(odd.path().join("usr/lib/opkg")).unwrap();
    let status = "Package: a<b\nVersion: 1~2&3\nLicense: \u{1b}[0m\n\nPackage: musl\nVersion: 1.2.5-r4\n";
    std::fs::write(odd.path().join("usr/lib/opkg/status"), status).unwrap();
    let plain = fixture("thingino");
    for dir in [odd.path(), plain.path()] {
        let out = tempfile::tempdir().unwrap();
        for (format, file) in [
            ("json", "report.json"),
            ("xccdf", "report.xml"),
            ("cyclonedx", "report.cdx.json"),
            ("html", "report.html"),
        ] {
            let output = audit(dir, &["--format", format]);
            assert_eq!(code(&output), 1, "{output:?}");
            std::fs::write(out.path().join(file), output.stdout).unwrap();
        }
        validate(out.path(), &[]);
    }
}

#[test]
fn links_out_of_a_tree_lead_nowhere() {
    use std::os::unix::fs::symlink;
    let dir = fixture("busybox");
    let outside = tempfile::tempdir().unwrap();
    let secret = outside.path().join("passwd");
    std::fs::write(&secret, "outsider::0:0::/:/bin/sh\n").unwrap();
    let etc = dir.path().join("etc");
    std::fs::remove_file(etc.join("passwd")).unwrap();
    symlink(&secret, etc.join("passwd")).unwrap();
    symlink(&secret, etc.join("ld.so.preload")).unwrap();
    symlink("../../../../../../../../../etc", etc.join("up")).unwrap();
    symlink("loop", etc.join("loop")).unwrap();
    symlink(".", etc.join("init.d/round")).unwrap();
    // A file that says it is enormous, and a folder that nobody sees the end of.
    let huge = std::fs::File::create(dir.path().join("bin/huge.sh")).unwrap();
    huge.set_len(1 << 40).unwrap();
    std::fs::File::create(etc.join("init.d/S99huge"))
        .unwrap()
        .set_len(1 << 40)
        .unwrap();
    let mut deep = dir.path().join("opt");
    for _ in 0..40 {
        deep.push("d");
    }
    std::fs::create_dir_all(&deep).unwrap();
    let output = audit(dir.path(), &["--json"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(!text.contains("outsider"), "{text}");
    let report = report(&output);
    assert_eq!(verdict(&report, "account.default"), "unknown");
    assert_eq!(verdict(&report, "trace.preload"), "pass");
    // Telnet was found all the same, and what could not be seen is said.
    assert_eq!(verdict(&report, "start.telnet"), "fail");
    assert!(evidence(&report, "start.telnet").contains("not all files could be looked at"));
}
