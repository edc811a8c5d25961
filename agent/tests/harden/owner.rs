//! A running camera's owner: without one nothing closes, and what is not confirmed is taken back.

use super::*;

#[test]
fn a_running_camera_waits_for_its_owner() {
    if without_root() {
        return;
    }
    // Where telnet is the only login, it is one that is closed.
    let last = running("busybox", ON_FLASH);
    without_ssh(last.path());
    let before = std::fs::read(last.path().join("etc/inittab")).unwrap();
    let closed = in_camera(last.path(), &["--apply"]);
    assert_eq!(code(&closed), 1);
    assert!(text(&closed).contains("telnet is not changed: waiting for an owner"));
    assert_eq!(std::fs::read(last.path().join("etc/inittab")).unwrap(), before);

    // So it is where a server runs that lets nobody in: root's password is empty, and Dropbear takes none of those.
    for options in ["dropbear", "dropbear -Bs", "dropbear -B -g", "sshd"] {
        let last = running("busybox", ON_FLASH);
        std::fs::write(last.path().join("etc/passwd"), "root::0:0::/root:/bin/sh\n").unwrap();
        let cmdline = last.path().join("proc/1/cmdline");
        std::fs::write(cmdline, options.replace(' ', "\0")).unwrap();
        let closed = in_camera(last.path(), &["--apply"]);
        assert!(
            text(&closed).contains("telnet is not changed: waiting for an owner"),
            "{options}: {}",
            text(&closed)
        );
    }

    let dir = running("busybox", ON_FLASH);
    let shadow = |dir: &tempfile::TempDir| roots_hash(dir.path(), "etc/passwd");
    assert_eq!(code(&in_camera(dir.path(), &[])), 1);
    let closed = in_camera(dir.path(), &["--apply"]);
    assert_eq!(code(&closed), 1);
    assert!(text(&closed).contains("credentials is not changed: waiting for an owner"));
    assert_eq!(shadow(&dir), "", "no login is closed");
    let inittab = std::fs::read_to_string(dir.path().join("etc/inittab")).unwrap();
    assert!(
        inittab.contains("#lenscap: ::respawn:/usr/sbin/telnetd"),
        "telnet is"
    );
    assert_eq!(code(&in_camera(dir.path(), &["--confirm"])), 1, "nothing waits");
    assert_eq!(code(&in_camera(dir.path(), &["--undo", "--restore-insecure"])), 0);

    // With a password that the owner has.
    std::fs::write(dir.path().join("label"), "label-7Q2M-9ZKD\n").unwrap();
    let with_owner = ["--apply", "--password-file", "/label"];
    let closed = in_camera(dir.path(), &with_owner);
    assert_eq!(code(&closed), 0, "{}", text(&closed));
    assert!(text(&closed).contains("`lenscap harden --confirm` within 10 minutes"));
    assert!(fits("label-7Q2M-9ZKD", &shadow(&dir)));
    let unconfirmed = dir.path().join("etc/lenscap/harden/unconfirmed");
    // As if it had been applied when this machine started, ten minutes ago and more.
    let waiting = std::fs::read_to_string(&unconfirmed).unwrap();
    let (_, paths) = waiting.split_once('\n').unwrap();
    std::fs::write(&unconfirmed, format!("{BOOT_ID} 0\n{paths}")).unwrap();
    assert_eq!(code(&in_camera_later(dir.path(), &["--roll-back"])), 0);
    assert_eq!(shadow(&dir), "", "every login works as before");
    assert!(!unconfirmed.exists());

    assert_eq!(code(&in_camera(dir.path(), &with_owner)), 0);
    assert_eq!(code(&in_camera(dir.path(), &["--confirm"])), 0);
    assert!(!unconfirmed.exists());
    assert_eq!(code(&in_camera(dir.path(), &["--roll-back"])), 0);
    assert!(fits("label-7Q2M-9ZKD", &shadow(&dir)));
}

#[test]
fn what_waits_for_its_owner_does_not_hold() {
    if without_root() {
        return;
    }
    let dir = running("busybox", ON_FLASH);
    without_ssh(dir.path());
    let mut shell = Ended(Command::new("sleep").arg("1000").spawn().unwrap());
    listens(dir.path(), shell.0.id(), 2323, "telnetd -l /bin/sh", "/dev/null");
    let before = archive(dir.path());
    let output = in_camera(dir.path(), &["--apply"]);
    assert_eq!(code(&output), 1);
    assert_eq!(text(&output).matches("\nverdict      does not hold\n").count(), 2);
    let output = in_camera(dir.path(), &["--apply", "--json"]);
    assert_eq!(code(&output), 1);
    let said = text(&output);
    let events: Vec<Value> = said
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(events.len(), 2);
    for event in &events {
        assert_eq!(event["verdict"], "does not hold", "{event}");
        assert_eq!(event["changes"].as_array().unwrap().len(), 0);
        for (measure, status, what) in [
            ("telnet", "fails", "port 2323 gives a shell"),
            ("telnet", "fails", "telnet is not changed: waiting for an owner"),
            ("credentials", "planned", "root has no password"),
            (
                "credentials",
                "fails",
                "credentials is not changed: waiting for an owner",
            ),
        ] {
            let mut findings = event["findings"].as_array().unwrap().iter();
            let told = findings.any(|finding| {
                finding["measure"] == measure
                    && finding["status"] == status
                    && finding["text"].as_str().unwrap().contains(what)
            });
            assert!(told, "{what}: {event}");
        }
    }
    assert!(shell.0.try_wait().unwrap().is_none());
    assert_eq!(archive(dir.path()), before);
}

/// Whether the owner knows a password that SSH asks for, nobody says.
#[test]
fn telnet_waits_for_a_confirmation_where_a_password_is_all_that_is_left() {
    if without_root() {
        return;
    }
    const ENFORCE: &str = "config uplink 'main'\n\toption endpoint 'https://gw.example.net/u'\nconfig profile 'main'\n\
        \toption rtsp 'rtsp://127.0.0.1/'\nconfig harden\n\toption firewall '0'\n\toption mode 'enforce'\n";
    for (key, config, waits) in [
        (false, None, true),
        (true, None, false),
        (false, Some(ENFORCE), false),
    ] {
        let dir = running("busybox", ON_FLASH);
        std::fs::write(dir.path().join("proc/1/cmdline"), "dropbear\0-R\0").unwrap();
        let table = "root:$1$gu$x2gFlYY3YNyqMHApn217S0:0:0:root:/root:/bin/sh\n";
        std::fs::write(dir.path().join("etc/passwd"), table).unwrap();
        if key {
            authorise(dir.path(), "root/.ssh");
        }
        if let Some(config) = config {
            configure(dir.path(), config);
        }
        let inittab = || std::fs::read_to_string(dir.path().join("etc/inittab")).unwrap();
        let before = inittab();
        let output = in_camera(dir.path(), &["--apply"]);
        assert_eq!(code(&output), 1, "credentials wait for an owner");
        assert!(inittab().contains("#lenscap"), "{}", text(&output));
        assert_eq!(
            text(&output).contains("within 10 minutes"),
            waits,
            "{}",
            text(&output)
        );
        let unconfirmed = dir.path().join("etc/lenscap/harden/unconfirmed");
        assert_eq!(unconfirmed.exists(), waits);
        assert_eq!(code(&in_camera(dir.path(), &["--roll-back", "--now"])), 0);
        assert_eq!(inittab() == before, waits, "{key}");
    }
}

#[test]
fn what_somebody_else_changed_is_named_when_it_is_not_taken_back() {
    if without_root() {
        return;
    }
    let dir = running("busybox", ON_FLASH);
    std::fs::write(dir.path().join("label"), "label-7Q2M-9ZKD\n").unwrap();
    let with_owner = ["--apply", "--password-file", "/label"];
    assert_eq!(code(&in_camera(dir.path(), &with_owner)), 0);
    let table = dir.path().join("etc/passwd");
    let changed = std::fs::read_to_string(&table).unwrap() + "new:!:1001:1001::/:/bin/false\n";
    std::fs::write(&table, &changed).unwrap();
    let output = in_camera(dir.path(), &["--roll-back", "--now"]);
    assert_eq!(code(&output), 1);
    let why = "not confirmed, and not taken back, since somebody else changed it meanwhile or it cannot be: \
               /etc/passwd";
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains(why), "{said}");
    assert_eq!(std::fs::read_to_string(&table).unwrap(), changed);
    // A process in the background tells nobody: looks do, until somebody asks for something.
    for _ in 0..2 {
        let output = in_camera(dir.path(), &["--recheck", "--json"]);
        let said: Value = serde_json::from_str(&text(&output)).unwrap();
        assert_eq!(
            (code(&output), &said["verdict"], &said["reason"]),
            (1, &"fails".into(), &why.into())
        );
    }
    let output = in_camera(dir.path(), &with_owner);
    assert!(
        code(&output) == 0 && text(&output).contains(why),
        "{}",
        text(&output)
    );
    let output = in_camera(dir.path(), &["--recheck"]);
    assert!(!text(&output).contains(why), "{}", text(&output));
}

/// Whoever may put another file, or a link, in the place of one while a run is at work would have it written.
#[test]
fn files_that_others_than_root_could_swap_are_told_and_left_alone() {
    if without_root() {
        return;
    }
    let dir = running("busybox", ON_FLASH);
    std::fs::write(dir.path().join("label"), "label-7Q2M-9ZKD\n").unwrap();
    let theirs = dir.path().join("home/u/a");
    let roots = dir.path().join("opt/backup");
    let table = "root::0:0::/root:/bin/sh\nmine:x:0:0::/:/bin/sh\n";
    for folder in [&theirs, &roots] {
        std::fs::create_dir_all(folder).unwrap();
        for (name, text) in [("passwd", table), ("go.sh", "#!/bin/sh\ntelnetd -p 24 &\n")] {
            std::fs::write(folder.join(name), text).unwrap();
        }
    }
    let owned = Command::new("chown")
        .args(["-R", "99:99"])
        .arg(theirs.parent().unwrap())
        .status();
    assert!(owned.unwrap().success());

    let closed = in_camera(dir.path(), &["--apply", "--password-file", "/label"]);
    let report = text(&closed);
    assert_eq!(code(&closed), 2, "{report}");
    for line in [
        "credentials  unknown  /home/u/a/passwd:1: a weak password is left as it is: ",
        "credentials  unknown  /opt/backup/passwd:1: a weak password is left as it is: ",
        "telnet       unknown  /home/u/a/go.sh:2: starts a shell on a port",
        "telnet       unknown  /home/u/a/go.sh: left as it is: others than root own",
    ] {
        assert!(
            report.lines().any(|have| have.starts_with(line)),
            "{line}\n{report}"
        );
    }
    assert!(fits("label-7Q2M-9ZKD", &roots_hash(dir.path(), "etc/passwd")));
    let read = |path: &Path| std::fs::read_to_string(path).unwrap();
    assert_eq!(read(&theirs.join("passwd")), table);
    assert_eq!(read(&roots.join("passwd")), table);
    assert_eq!(read(&theirs.join("go.sh")), "#!/bin/sh\ntelnetd -p 24 &\n");
    assert_eq!(read(&roots.join("go.sh")), "#!/bin/sh\n: telnetd -p 24 &\n");
    assert_eq!(code(&in_camera(dir.path(), &["--undo", "--restore-insecure"])), 0);
    assert_eq!(read(&roots.join("go.sh")), "#!/bin/sh\ntelnetd -p 24 &\n");

    // What a login reads must not stay open unsaid.
    let etc = dir.path().join("etc/passwd");
    std::fs::remove_file(&etc).unwrap();
    std::os::unix::fs::symlink("/home/u/a/passwd", &etc).unwrap();
    let closed = in_camera(dir.path(), &["--apply", "--password-file", "/label"]);
    let report = text(&closed);
    assert_eq!(code(&closed), 1, "{report}");
    let line = "credentials  fails    /etc/passwd:1: a weak password is left as it is: ";
    assert!(report.lines().any(|have| have.starts_with(line)), "{report}");
    assert_eq!(read(&theirs.join("passwd")), table);
}

/// Firmwares have such: what root alone owns there is closed, and nothing that somebody else put beside it.
#[test]
fn folders_that_all_may_write_hold_up_nothing() {
    use std::os::unix::fs::{PermissionsExt as _, chown};
    if without_root() {
        return;
    }
    let dir = running("busybox", ON_FLASH);
    std::fs::write(dir.path().join("label"), "label-7Q2M-9ZKD\n").unwrap();
    let at = |path: &str| dir.path().join(path);
    let starter = "#!/bin/sh\ntelnetd -p 24 &\n";
    for name in [
        "etc/init.d/S90theirs",
        "etc/init.d/S91linked",
        "etc/init.d/S92roots",
    ] {
        std::fs::write(at(name), starter).unwrap();
        std::fs::set_permissions(at(name), std::fs::Permissions::from_mode(0o777)).unwrap();
    }
    chown(at("etc/init.d/S90theirs"), Some(99), None).unwrap();
    std::fs::hard_link(at("etc/init.d/S91linked"), at("etc/linked")).unwrap();
    for folder in ["etc", "etc/init.d"] {
        std::fs::set_permissions(at(folder), std::fs::Permissions::from_mode(0o777)).unwrap();
    }
    let before = std::fs::read(at("etc/passwd")).unwrap();
    let closed = in_camera(dir.path(), &["--apply", "--password-file", "/label"]);
    let report = text(&closed);
    assert_eq!(code(&closed), 2, "{report}");
    for name in ["S90theirs", "S91linked"] {
        let line = format!("telnet       unknown  /etc/init.d/{name}: left as it is: others than root own");
        assert!(report.contains(&line), "{line}\n{report}");
        assert_eq!(
            std::fs::read_to_string(at("etc/init.d").join(name)).unwrap(),
            starter
        );
    }
    assert!(fits("label-7Q2M-9ZKD", &roots_hash(dir.path(), "etc/passwd")));
    let roots = at("etc/init.d/S92roots");
    assert_eq!(
        std::fs::read_to_string(&roots).unwrap(),
        "#!/bin/sh\n: telnetd -p 24 &\n"
    );
    assert_eq!(
        std::fs::metadata(&roots).unwrap().permissions().mode() & 0o7777,
        0o777
    );
    assert_eq!(code(&in_camera(dir.path(), &["--undo", "--restore-insecure"])), 0);
    assert_eq!(std::fs::read(at("etc/passwd")).unwrap(), before);
    assert_eq!(std::fs::read_to_string(&roots).unwrap(), starter);
}

#[test]
fn a_running_camera_keeps_nothing_in_memory() {
    if without_root() {
        return;
    }
    let dir = running(
        "busybox",
        "overlay / overlay rw,upperdir=/tmp/root/upper 0 0\ntmpfs /tmp tmpfs rw 0 0\n",
    );
    let before = archive(dir.path());
    let output = in_camera(dir.path(), &["--apply"]);
    assert_eq!(code(&output), 1);
    assert!(
        text(&output)
            .contains("telnet is not changed: what is written here is not known to survive a reboot")
    );
    assert_eq!(archive(dir.path()), before);

    // One file of a measure in memory is enough against that measure, and against no other.
    let dir = running(
        "busybox",
        &format!("{ON_FLASH}tmpfs /etc/crontabs tmpfs rw 0 0\n"),
    );
    std::fs::write(dir.path().join("label"), "label-7Q2M-9ZKD\n").unwrap();
    let output = text(&in_camera(dir.path(), &["--apply", "--password-file", "/label"]));
    assert!(
        output.contains("telnet is not changed") && !output.contains("credentials is not changed"),
        "{output}"
    );
    assert!(fits("label-7Q2M-9ZKD", &roots_hash(dir.path(), "etc/passwd")));
    assert!(dir.path().join("etc/lenscap/harden/verdicts").exists());
}

const ENFORCED: &str = "config uplink 'main'\n\toption endpoint 'https://gw.example.net/u'\nconfig profile 'main'\n\
    \toption rtsp 'rtsp://127.0.0.1/'\nconfig harden\n\toption firewall '0'\n\toption mode 'enforce'\n\
    \toption password 'secret'\n\tlist allow_lan '192.168.1.2:22'\n";

/// A password that no login asks for is nobody's way in.
#[test]
fn a_given_password_counts_where_a_login_that_stays_takes_it() {
    if without_root() {
        return;
    }
    let own = "root:$5$saltsalt$8g9b1F1G0dlL4dVPYdsFMlqbcp6nYFMuFqPrJVJGhQ2:0:0:root:/root:/bin/sh\n";
    let weak = "root::0:0:root:/root:/bin/sh\n";
    for (name, words, table, shells, owned) in [
        ("busybox", "dropbear -R", Some(weak), "/bin/sh", true),
        // What asks for none, or for root's own, which stays.
        ("busybox", "", Some(weak), "/bin/sh", false),
        ("busybox", "dropbear -R -s", Some(weak), "/bin/sh", false),
        ("busybox", "sshd", Some(weak), "/bin/sh", false),
        ("busybox", "dropbear -R", Some(own), "/bin/sh", false),
        ("busybox", "dropbear -R", Some(weak), "/bin/ash", false),
        // RTSP asks for root's password, and SSH would for none.
        ("openipc", "dropbear -R", None, "/bin/sh", false),
    ] {
        let dir = running(name, ON_FLASH);
        configure(dir.path(), ENFORCED);
        let at = |path: &str| dir.path().join(path);
        std::fs::write(at("label"), "label-7Q2M-9ZKD\n").unwrap();
        std::fs::write(at("etc/shells"), format!("{shells}\n")).unwrap();
        if let Some(table) = table {
            let weak = "guest:$1$gu$x2gFlYY3YNyqMHApn217S0:100:100::/tmp:/bin/sh\n";
            std::fs::write(at("etc/passwd"), format!("{table}{weak}")).unwrap();
        }
        if words.is_empty() {
            without_ssh(dir.path());
        } else {
            std::fs::write(at("proc/1/cmdline"), words.replace(' ', "\0")).unwrap();
            starts_ssh(dir.path(), &format!("#!/bin/sh\n{words}\n"));
        }
        let files = [
            "etc/passwd",
            "etc/shadow",
            "etc/default/dropbear",
            "etc/majestic.yaml",
        ];
        let read = || files.map(|path| std::fs::read_to_string(at(path)).unwrap_or_default());
        let starters =
            || ["etc/inittab", "etc/init.d/S50telnet"].map(|path| std::fs::read_to_string(at(path)).ok());
        let (before, started) = (read(), starters());
        let what = format!("{name} `{words}` {table:?} {shells}");
        let closed = in_camera(dir.path(), &["--apply", "--password-file", "/label"]);
        assert_eq!(code(&closed) == 0, owned, "{what}: {}", text(&closed));
        assert_eq!(read() != before, owned, "{what}");
        for told in [
            "credentials is not changed: waiting for an owner: claim the uplink, authorise an SSH key and allow an address, or \
             give a password",
            "; no SSH server that stays would take the given password",
        ] {
            assert_eq!(text(&closed).contains(told), !owned, "{what}: {}", text(&closed));
        }
        let other = words == "dropbear -R" && shells == "/bin/sh";
        assert_eq!(starters() != started, other, "{what}: telnet");
    }
    // With a key it goes on.
    let dir = running("openipc", ON_FLASH);
    configure(dir.path(), ENFORCED);
    std::fs::write(dir.path().join("label"), "label-7Q2M-9ZKD\n").unwrap();
    authorise(dir.path(), "root/.ssh");
    let closed = in_camera(dir.path(), &["--apply", "--password-file", "/label"]);
    assert_eq!(code(&closed), 0, "{}", text(&closed));
    let media = std::fs::read_to_string(dir.path().join("etc/lenscap/camera-password")).unwrap();
    assert!(fits(media.trim(), &roots_hash(dir.path(), "etc/shadow")));
}

/// Of two tables logins read one.
#[test]
fn a_given_password_in_a_table_that_no_login_reads_is_no_way_in() {
    if without_root() {
        return;
    }
    let own = "root:$5$saltsalt$8g9b1F1G0dlL4dVPYdsFMlqbcp6nYFMuFqPrJVJGhQ2:19000::::::\n";
    for (shadow, owned) in [
        (own, false),
        ("root::19000::::::\n", true),
        ("guest:*:19000::::::\n", true),
    ] {
        let dir = running("busybox", ON_FLASH);
        configure(dir.path(), ENFORCED);
        let at = |path: &str| dir.path().join(path);
        std::fs::write(at("label"), "label-7Q2M-9ZKD\n").unwrap();
        std::fs::write(at("etc/passwd"), "root::0:0:root:/root:/bin/sh\n").unwrap();
        std::fs::write(at("etc/shadow"), shadow).unwrap();
        let closed = in_camera(dir.path(), &["--apply", "--password-file", "/label"]);
        let waits = text(&closed).contains("credentials is not changed: waiting for an owner");
        assert_eq!(waits, !owned, "{shadow}: {}", text(&closed));
    }
}

/// Whoever has a program read what this one says learns all of it that a person does.
#[test]
fn what_waits_and_what_came_of_it_is_told_in_json() {
    if without_root() {
        return;
    }
    let dir = running("busybox", ON_FLASH);
    let heard = |output: &Output| -> Vec<Value> {
        let said = String::from_utf8_lossy(&output.stdout);
        let lines = said.lines().map(|line| serde_json::from_str(line).unwrap());
        lines.collect()
    };
    let events = |args: &[&str]| -> Vec<Value> {
        let mut args = args.to_vec();
        args.push("--json");
        heard(&in_camera(dir.path(), &args))
    };
    let last = |args: &[&str]| events(args).pop().unwrap();
    let apply = ["--apply", "--password-file", "/label"];
    std::fs::write(dir.path().join("label"), "label-7Q2M-9ZKD\n").unwrap();
    let waiting = last(&apply);
    assert_eq!(
        (&waiting["event"], &waiting["confirm_within_seconds"]),
        (&"waiting".into(), &600.into())
    );
    assert_eq!(last(&["--confirm"])["event"], "confirmed");
    assert_eq!(last(&["--confirm"])["event"], "nothing_waits");
    assert_eq!(events(&["--undo", "--restore-insecure"]).len(), 1);
    assert_eq!(last(&apply)["event"], "waiting");
    assert_eq!(last(&["--roll-back", "--now"])["event"], "taken_back");
    // What somebody changed meanwhile stays, and is told once.
    let passwd = dir.path().join("etc/passwd");
    let original = std::fs::read(&passwd).unwrap();
    assert_eq!(last(&apply)["event"], "waiting");
    let changed = std::fs::read_to_string(&passwd).unwrap() + "more:*:100:100::/:/bin/false\n";
    std::fs::write(&passwd, changed).unwrap();
    assert_eq!(code(&in_camera_later(dir.path(), &["--roll-back"])), 1);
    let told = |events: &[Value]| events.iter().any(|event| event["event"] == "not_taken_back");
    let first = events(&apply);
    assert!(told(&first), "{first:?}");
    let text = first
        .iter()
        .find(|event| event["event"] == "not_taken_back")
        .unwrap()["text"]
        .to_string();
    assert!(text.contains("/etc/passwd"), "{text}");
    assert!(!told(&events(&["--confirm"])));
    assert_eq!(events(&["--undo", "--restore-insecure"]).len(), 1);
    // At once it is told as well; and so is what came too late.
    std::fs::write(&passwd, &original).unwrap();
    assert_eq!(last(&apply)["event"], "waiting");
    let changed = std::fs::read_to_string(&passwd).unwrap() + "again:*:101:100::/:/bin/false\n";
    std::fs::write(&passwd, changed).unwrap();
    assert!(told(&heard(&in_camera(
        dir.path(),
        &["--roll-back", "--now", "--json"]
    ))));
    events(&["--undo", "--restore-insecure"]);
    assert_eq!(last(&apply)["event"], "waiting");
    let late = heard(&in_camera_later(dir.path(), &["--confirm", "--json"]));
    assert_eq!(late.last().unwrap()["event"], "too_late", "{late:?}");
}

#[test]
fn a_new_password_that_nobody_would_see_is_not_made() {
    if without_root() {
        return;
    }
    let dir = running("busybox", ON_FLASH);
    configure(dir.path(), &ENFORCED.replace("\toption password 'secret'\n", ""));
    authorise(dir.path(), ".ssh");
    let table = "root::0:0:root:/:/bin/sh\n";
    std::fs::write(dir.path().join("etc/passwd"), table).unwrap();
    let run = |into: &str| {
        let script = format!("exec chroot \"$0\" /lenscap harden --apply --password random {into}");
        Command::new("sh")
            .args(["-c", &script])
            .arg(dir.path())
            .output()
            .unwrap()
    };
    // The camera's own is a file of the test's, which the language opens where it finds nothing open.
    std::fs::remove_file(dir.path().join("dev/null")).unwrap();
    let mut node = Command::new("mknod");
    node.arg(dir.path().join("dev/null")).args(["c", "1", "3"]);
    assert!(node.status().unwrap().success());
    for into in [">&-", ">/dev/null"] {
        let output = run(into);
        let why = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(code(&output), 1, "{into}: {why}");
        assert!(
            why.contains("nobody would see the new login password"),
            "{into}: {why}"
        );
        assert_eq!(
            std::fs::read_to_string(dir.path().join("etc/passwd")).unwrap(),
            table,
            "{into}"
        );
    }
    let output = run("");
    assert!(
        text(&output).contains("new login password, shown only now"),
        "{}",
        text(&output)
    );
}

/// It would hold the lock, and others wait for that.
#[test]
fn whoever_reads_nothing_holds_up_no_run() {
    if without_root() {
        return;
    }
    let dir = running("busybox", ON_FLASH);
    let before = archive(dir.path());
    let (_unread, mut full) = std::io::pipe().unwrap();
    let size = nix::fcntl::fcntl(&full, nix::fcntl::FcntlArg::F_SETPIPE_SZ(4096)).unwrap();
    std::io::Write::write_all(&mut full, &vec![b'.'; size as usize]).unwrap();
    let mut run = Command::new("chroot");
    run.arg(dir.path())
        .args(["/lenscap", "harden", "--apply"])
        .stdout(full);
    let output = run
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap()
        .wait_with_output()
        .unwrap();
    let why = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(why.contains("standard output: nobody reads it"), "{why}");
    assert_eq!((code(&output), archive(dir.path())), (1, before));
}
