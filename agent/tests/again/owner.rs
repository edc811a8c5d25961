//! How the owner comes in once a login is closed: with a key that a server reads, or a password that is theirs.

use super::*;

#[test]
fn a_new_password_is_for_the_owners_key_alone() {
    if without_root() {
        return;
    }
    let keys = tempfile::tempdir().unwrap();
    let identity = keys.path().join("identity");
    let age = |program: &str, args: &[&std::ffi::OsStr]| {
        let output = Command::new(program).args(args).output();
        let output = output.unwrap_or_else(|error| panic!("{program}: {error}; Debian's package age"));
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    };
    age("age-keygen", &["-o".as_ref(), identity.as_ref()]);
    let recipient = age("age-keygen", &["-y".as_ref(), identity.as_ref()]);
    let option = format!(
        "\toption owner_key '{}'\n\tlist allow_lan '192.168.1.2:22'\n",
        recipient.trim()
    );
    for args in [&["--apply"][..], &["--recheck"]] {
        let mode = if args == ["--recheck"] {
            "\toption mode 'enforce'\n"
        } else {
            ""
        };
        let dir = open("busybox", ON_FLASH, &format!("{option}{mode}"));
        authorise(dir.path(), KEYS);
        let output = in_camera(dir.path(), args);
        assert_eq!(code(&output), 0, "{}", text(&output));
        let sealed = dir.path().join("etc/lenscap/login.age");
        let password = age(
            "age",
            &["-d".as_ref(), "-i".as_ref(), identity.as_ref(), sealed.as_ref()],
        );
        assert!(fits(&password, &roots_hash(dir.path(), "etc/passwd")));
        assert!(!text(&output).contains(&password), "{}", text(&output));
        let found = Command::new("grep")
            .args(["-rlF", &password])
            .arg(dir.path())
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&found.stdout), "", "nowhere in clear");
    }
}

#[test]
fn a_key_that_no_server_reads_is_no_way_in() {
    if without_root() {
        return;
    }
    let options = format!("{ALLOWED}\toption mode 'enforce'\n");
    for (server, folder, home) in [
        (None, KEYS, "/"),
        (Some("dropbear -R"), "etc/dropbear", "/"),
        (Some("dropbear -R"), KEYS, "/root"),
        (Some("dropbear -R"), "root/.ssh", "/"),
        (Some("dropbear -R -D /mnt/keys"), KEYS, "/"),
        (Some("dropbear -R -w"), KEYS, "/"),
    ] {
        let dir = open("busybox", ON_FLASH, &options);
        authorise(dir.path(), folder);
        match server {
            None => without_ssh(dir.path()),
            Some(words) => fs::write(dir.path().join("proc/1/cmdline"), words.replace(' ', "\0")).unwrap(),
        }
        let table = format!("root:$1$gu$x2gFlYY3YNyqMHApn217S0:0:0:root:{home}:/bin/sh\n");
        fs::write(dir.path().join("etc/passwd"), &table).unwrap();
        let (status, said) = recheck(dir.path());
        assert_eq!(
            (status, &said["waiting_for_owner"]),
            (1, &true.into()),
            "{server:?} {folder} {home}: {said}"
        );
        let read = |path: &str| fs::read_to_string(dir.path().join(path)).unwrap();
        assert_eq!(read("etc/passwd"), table, "a login is left");
        // Without SSH telnet is the last one; else root's password opens another.
        let closed = read("etc/inittab").contains("#lenscap");
        let password = server.is_some_and(|words| !words.contains("-w"));
        assert_eq!(closed, password, "{server:?} {folder} {home}");
    }
    // OpenWrt's own reads that one.
    let dir = open("openwrt", ON_FLASH, &options);
    fs::write(dir.path().join("etc/shells"), "/bin/ash\n").unwrap();
    authorise(dir.path(), "etc/dropbear");
    let (_, said) = recheck(dir.path());
    assert_eq!(said["waiting_for_owner"], false, "{said}");
}

#[test]
fn a_key_is_no_way_in_where_openssh_takes_the_account_for_locked() {
    if without_root() {
        return;
    }
    let options = format!("{ALLOWED}\toption mode 'enforce'\n");
    for (server, field, waits) in [
        ("sshd", "!", true),
        ("sshd", "*", false),
        ("dropbear", "!", false),
    ] {
        let dir = open("busybox", ON_FLASH, &options);
        authorise(dir.path(), KEYS);
        fs::write(dir.path().join("proc/1/cmdline"), format!("{server}\0")).unwrap();
        set_up_openssh(dir.path(), "");
        let weak = "guest:$1$gu$x2gFlYY3YNyqMHApn217S0:100:100::/tmp:/bin/sh\n";
        let table = format!("root:{field}:0:0:root:/:/bin/sh\n{weak}");
        fs::write(dir.path().join("etc/passwd"), table).unwrap();
        let (_, said) = recheck(dir.path());
        assert_eq!(said["waiting_for_owner"], waits, "{server} {field}: {said}");
    }
}

fn set_up_openssh(dir: &Path, settings: &str) {
    starts_ssh(dir, "#!/bin/sh\ndropbear -R\ndropbear -p 2222\nsshd\n");
    fs::create_dir_all(dir.join("etc/ssh")).unwrap();
    fs::write(dir.join("etc/ssh/sshd_config"), format!("Port 22\n{settings}\n")).unwrap();
}

/// With `mode 'enforce'` nobody confirms: the port that is let through must be the one where the server listens.
#[test]
fn a_key_is_no_way_in_through_a_port_that_stays_closed() {
    if without_root() {
        return;
    }
    for (allowed, waits) in [
        ("192.168.1.2:22", true),
        ("192.168.1.2:2222/udp", true),
        ("127.0.0.1:2222", true),
        ("192.168.1.2:2222", false),
    ] {
        let options = format!("\tlist allow_lan '{allowed}'\n\toption mode 'enforce'\n");
        let dir = open("busybox", ON_FLASH, &options);
        authorise(dir.path(), KEYS);
        without_ssh(dir.path());
        listens(dir.path(), 7, 2222, "dropbear -R -p 2222", "/dev/null");
        starts_ssh(dir.path(), "#!/bin/sh\ndropbear -R -p 2222\n");
        let before = roots_hash(dir.path(), "etc/passwd");
        let output = in_camera(dir.path(), &["--apply"]);
        let why = "credentials is not changed: waiting for an owner: claim the uplink, authorise an SSH key and allow an \
                   address, or give a password; dropbear listens at 0.0.0.0:2222, and `list allow_lan` lets nobody there";
        assert_eq!(text(&output).contains(why), waits, "{allowed}: {}", text(&output));
        assert_eq!(roots_hash(dir.path(), "etc/passwd") == before, waits, "{allowed}");
        let (_, said) = recheck(dir.path());
        assert_eq!(said["waiting_for_owner"], waits, "{allowed}: {said}");
    }
}

/// A socket of these servers takes one family, and IPv6 may be off.
#[test]
fn a_key_is_no_way_in_through_a_socket_of_another_family() {
    if without_root() {
        return;
    }
    const ANY6: &str = "00000000000000000000000000000000";
    let fd00 = ["000000FD", "00000000", "00000000", "01000000"].concat();
    let mapped = ["00000000", "00000000", "FFFF0000", "1401A8C0"].concat();
    let up = "fd000000000000000000000000000001 02 40 00 80 eth0\n";
    let lo = "00000000000000000000000000000001 01 80 10 80 lo\n";
    for (allowed, socket, addresses, waits) in [
        ("192.168.1.2:2222", ANY6, up, true),
        ("192.168.1.2:2222", fd00.as_str(), up, true),
        ("192.168.1.2:2222", mapped.as_str(), up, false),
        ("[fd00::2]:2222", ANY6, up, false),
        ("[fd00::2]:2222", fd00.as_str(), up, false),
        ("[fd00::2]:2222", ANY6, lo, true),
        ("[fd00::2]:2222", ANY6, "", true),
        ("[fd00::2]:2222", "00000000", up, true),
    ] {
        let options = format!("\tlist allow_lan '{allowed}'\n\toption mode 'enforce'\n");
        let dir = open("busybox", ON_FLASH, &options);
        authorise(dir.path(), KEYS);
        without_ssh(dir.path());
        listens(dir.path(), 7, 2222, "dropbear -R -p 2222", "/dev/null");
        starts_ssh(dir.path(), "#!/bin/sh\ndropbear -R -p 2222\n");
        let [table4, table6] = ["proc/net/tcp", "proc/net/tcp6"].map(|table| dir.path().join(table));
        let lines = fs::read_to_string(&table4).unwrap();
        let lines = lines.replace("00000000:08AE", &format!("{socket}:08AE"));
        if socket.len() == 32 {
            fs::write(&table4, "  sl  local_address\n").unwrap();
            fs::write(&table6, lines).unwrap();
        }
        fs::write(dir.path().join("proc/net/if_inet6"), addresses).unwrap();
        let (_, said) = recheck(dir.path());
        assert_eq!(
            said["waiting_for_owner"], waits,
            "{allowed} {socket} {addresses}: {said}"
        );
    }
}

#[test]
fn a_key_is_no_way_in_where_openssh_refuses_root() {
    if without_root() {
        return;
    }
    let options = format!("{ALLOWED}\toption mode 'enforce'\n");
    for (settings, waits) in [
        (None, true),
        (Some("PermitRootLogin no"), true),
        (Some("PubkeyAuthentication no"), true),
        (Some("Match User root\n\tPermitRootLogin no"), true),
        (Some("AllowUsers admin"), true),
        (Some("PermitRootLogin prohibit-password"), false),
    ] {
        let dir = open("busybox", ON_FLASH, &options);
        authorise(dir.path(), KEYS);
        fs::write(dir.path().join("proc/1/cmdline"), "/usr/sbin/sshd\0-D\0").unwrap();
        if let Some(settings) = settings {
            set_up_openssh(dir.path(), settings);
        }
        let before = roots_hash(dir.path(), "etc/passwd");
        let (_, said) = recheck(dir.path());
        assert_eq!(said["waiting_for_owner"], waits, "{settings:?}: {said}");
        assert_eq!(
            roots_hash(dir.path(), "etc/passwd") == before,
            waits,
            "{settings:?}"
        );
        let inittab = fs::read_to_string(dir.path().join("etc/inittab")).unwrap();
        assert_eq!(
            inittab.contains("#lenscap"),
            !waits,
            "{settings:?}: telnet is the last login"
        );
    }
}

#[test]
fn a_password_that_is_to_be_given_is_waited_for() {
    if without_root() {
        return;
    }
    let missing = "the configuration wants a given login password: --password-file";
    let mode = "\toption mode 'enforce'\n";
    let dir = open(
        "busybox",
        ON_FLASH,
        &format!("{ALLOWED}{mode}\toption password 'secret'\n"),
    );
    authorise(dir.path(), KEYS);
    let output = in_camera(dir.path(), &["--apply"]);
    assert_eq!(code(&output), 1);
    let said = text(&output);
    assert!(
        said.contains(&format!("credentials is not changed: {missing}")),
        "{said}"
    );
    assert!(!said.contains("telnet is not changed"), "{said}");
    // Nor does a look make one, which may do anything else.
    let (status, said) = recheck(dir.path());
    assert_eq!((status, &said["reason"]), (1, &missing.into()), "{said}");
    assert_eq!(roots_hash(dir.path(), "etc/passwd"), "");
    assert!(!dir.path().join("etc/lenscap/camera-password").exists());

    let output = in_camera(dir.path(), &["--apply", "--password-file", "/label"]);
    assert_eq!(code(&output), 0, "{}", text(&output));
    assert!(fits(LABEL, &roots_hash(dir.path(), "etc/passwd")));
    // What was given once is put back without being given again.
    fs::write(dir.path().join("etc/passwd"), original("busybox", "etc/passwd")).unwrap();
    let (status, said) = recheck(dir.path());
    assert_eq!((status, &said["restored"]), (0, &"/etc/passwd".into()), "{said}");
    assert!(fits(LABEL, &roots_hash(dir.path(), "etc/passwd")));
}

#[test]
fn a_login_that_is_to_be_locked_is_locked() {
    if without_root() {
        return;
    }
    // Even where there is somebody to encrypt a password to.
    let key = "age1t7rxyev2z3rw82stdlrrepyc39nvn86l5078zqkf5uasdy86jp6svpy7pa";
    let options = format!("{ALLOWED}\toption password 'lock'\n\toption owner_key '{key}'\n");
    for (args, mode) in [
        (&["--apply"][..], ""),
        (&["--recheck"], "\toption mode 'enforce'\n"),
    ] {
        let dir = open("busybox", ON_FLASH, &format!("{options}{mode}"));
        authorise(dir.path(), KEYS);
        let output = in_camera(dir.path(), args);
        assert_eq!(code(&output), 0, "{args:?}: {}", text(&output));
        assert_eq!(roots_hash(dir.path(), "etc/passwd"), "*");
        assert!(!text(&output).contains("new login password"), "{}", text(&output));
        assert!(!dir.path().join("etc/lenscap/login.age").exists());
    }
    // What is given on the command line goes before.
    let dir = open("busybox", ON_FLASH, &options);
    let output = in_camera(dir.path(), &["--apply", "--password-file", "/label"]);
    assert_eq!(code(&output), 0, "{}", text(&output));
    assert!(fits(LABEL, &roots_hash(dir.path(), "etc/passwd")));
}

/// What a boot ends, or may end, lets nobody in after it.
#[test]
fn what_a_boot_ends_is_no_way_in() {
    if without_root() {
        return;
    }
    let options = format!("{ALLOWED}\toption mode 'enforce'\n");
    let volatile = |path: &str| format!("{ON_FLASH}tmpfs {path} tmpfs rw 0 0\n");
    let starter = "#!/bin/sh\ndropbear -R\n";
    let on_flash = || ON_FLASH.to_owned();
    let lost = "are in memory, or nobody knows where";
    let unstarted = "dropbear listens at 0.0.0.0:22, and no script is known to start it";
    for (mounts, script, mode, why) in [
        (on_flash(), starter, 0o755, None),
        (volatile("/mnt"), starter, 0o755, None),
        (volatile("/.ssh"), starter, 0o755, Some(lost)),
        (volatile("/etc/passwd"), starter, 0o755, Some(lost)),
        (volatile("/etc/init.d/S50ssh"), starter, 0o755, Some(unstarted)),
        // So does the program that runs.
        (volatile("/bin"), starter, 0o755, Some(unstarted)),
        (on_flash(), starter, 0o644, Some(unstarted)),
        (on_flash(), "#!/bin/sh\n#dropbear -R\n", 0o755, Some(unstarted)),
        (on_flash(), "#!/bin/sh\nsshd\n", 0o755, Some(unstarted)),
        (
            on_flash(),
            "#!/bin/sh\nmkdir -p /etc/dropbear\n",
            0o755,
            Some(unstarted),
        ),
        (
            on_flash(),
            "#!/bin/sh\n/tmp/dropbear -R\n",
            0o755,
            Some(unstarted),
        ),
        (
            on_flash(),
            "#!/bin/sh\ndropbear -R -p 2222\n",
            0o755,
            Some(unstarted),
        ),
        (
            on_flash(),
            "#!/bin/sh\ndropbear -R -w\n",
            0o755,
            Some("dropbear listens at 0.0.0.0:22, and it takes no key"),
        ),
        (
            format!("{ON_FLASH}tmpfs /.ssh tmpfs ro 0 0\n"),
            starter,
            0o755,
            Some(lost),
        ),
        (volatile("/etc/shells"), starter, 0o755, Some(lost)),
    ] {
        let dir = open("busybox", &mounts, &options);
        authorise(dir.path(), KEYS);
        starts_ssh(dir.path(), script);
        let file = dir.path().join("etc/init.d/S50ssh");
        fs::set_permissions(file, fs::Permissions::from_mode(mode)).unwrap();
        let table = "root:*:0:0:root:/:/bin/sh\n";
        fs::write(dir.path().join("etc/passwd"), table).unwrap();
        fs::write(dir.path().join("etc/shells"), "/bin/sh\n").unwrap();
        let what = format!("{mounts} {script} {mode:o}");
        let output = in_camera(dir.path(), &["--apply", "--only", "telnet"]);
        let said = text(&output);
        let waits = "telnet is not changed: waiting for an owner";
        assert_eq!(said.contains(waits), why.is_some(), "{what}: {said}");
        assert!(why.is_none_or(|why| said.contains(why)), "{what}: {said}");
        let inittab = fs::read_to_string(dir.path().join("etc/inittab")).unwrap();
        assert_eq!(inittab.contains("#lenscap"), why.is_none(), "{what}");
        let (_, said) = recheck(dir.path());
        assert_eq!(said["waiting_for_owner"], why.is_some(), "{what}: {said}");
    }
    // There a link starts it.
    for linked in [true, false] {
        let dir = open("openwrt", ON_FLASH, &options);
        fs::write(dir.path().join("etc/shells"), "/bin/ash\n").unwrap();
        authorise(dir.path(), "etc/dropbear");
        if !linked {
            fs::remove_file(dir.path().join("etc/rc.d/S50S50ssh")).unwrap();
        }
        let (_, said) = recheck(dir.path());
        assert_eq!(said["waiting_for_owner"], !linked, "{said}");
    }
}

/// Whatever was thought of what starts a server: a boot shows it, or what was closed is taken back.
#[test]
fn a_boot_shows_the_owners_way_in_or_all_is_taken_back() {
    if without_root() {
        return;
    }
    let options = [ALLOWED, "\toption mode 'enforce'\n"].concat();
    for (options, args, confirmed) in [
        // The key is a login that stays: nothing is to be confirmed.
        (ALLOWED, &["--apply", "--only", "telnet"][..], false),
        (ALLOWED, &["--apply", "--password", "lock"], true),
        (&options, &["--apply", "--password", "lock"], false),
        (&options, &["--recheck"], false),
    ] {
        for shown in [true, false] {
            let what = format!("{options} {args:?} {shown}");
            let dir = open("busybox", ON_FLASH, options);
            authorise(dir.path(), KEYS);
            let inittab = || fs::read_to_string(dir.path().join("etc/inittab")).unwrap();
            let output = in_camera(dir.path(), args);
            assert_eq!(code(&output), 0, "{what}: {}", text(&output));
            assert!(inittab().contains("#lenscap"), "{what}");
            assert_eq!(
                recheck(dir.path()).1["waiting_for_confirmation"],
                confirmed,
                "{what}"
            );
            if confirmed {
                let output = in_camera(dir.path(), &["--confirm"]);
                assert_eq!(code(&output), 0, "{what}");
                assert!(
                    text(&output).contains("once a boot after it was applied"),
                    "{}",
                    text(&output)
                );
            }
            // In this boot nothing is missed.
            let output = support::in_camera_later(dir.path(), &["--recheck", "--json"]);
            let said: Value = serde_json::from_str(&text(&output)).unwrap();
            assert_eq!(said["waiting_for_boot"], true, "{what}: {said}");
            assert_eq!(said["waiting_for_confirmation"], false, "{what}: {said}");
            assert!(inittab().contains("#lenscap"), "{what}");
            end_waiters(dir.path());
            set_boot(dir.path(), 2);
            // A server may end again by then.
            let output = just_started(dir.path(), &["--recheck", "--json"]);
            let said: Value = serde_json::from_str(&text(&output)).unwrap();
            assert_eq!(said["waiting_for_boot"], true, "{what}: {said}");
            if !shown {
                without_ssh(dir.path());
            }
            let output = support::in_camera_later(dir.path(), &["--recheck", "--json"]);
            let said: Value = serde_json::from_str(&text(&output)).unwrap();
            assert_eq!(said["waiting_for_boot"], false, "{what}: {said}");
            assert_eq!(said["waiting_for_confirmation"], false, "{what}: {said}");
            assert_eq!(inittab().contains("#lenscap"), shown, "{what}: {said}");
            let hash = original("busybox", "etc/passwd") == fs::read(dir.path().join("etc/passwd")).unwrap();
            assert_eq!(hash, !shown || args.contains(&"telnet"), "{what}: {said}");
            assert!(!dir.path().join("etc/lenscap/harden/unproven").exists(), "{what}");
            let stopped = dir.path().join("etc/lenscap/harden/stopped");
            assert!(!stopped.exists(), "{what}");
            // What a boot has shown once stays.
            if shown {
                set_boot(dir.path(), 3);
                without_ssh(dir.path());
                support::in_camera_later(dir.path(), &["--recheck"]);
                assert!(inittab().contains("#lenscap"), "{what}");
            }
        }
    }
}

/// What waits for a boot after a key's login was closed to all but that.
fn closed_but_for_a_key() -> tempfile::TempDir {
    let options = [ALLOWED, "\toption mode 'enforce'\n"].concat();
    let dir = open("busybox", ON_FLASH, &options);
    authorise(dir.path(), KEYS);
    let output = in_camera(dir.path(), &["--apply", "--password", "lock"]);
    assert_eq!(code(&output), 0, "{}", text(&output));
    dir
}

fn later(dir: &Path) -> Value {
    let output = support::in_camera_later(dir, &["--recheck", "--json"]);
    serde_json::from_str(&text(&output)).unwrap()
}

/// A note that cannot be read is one of all that was applied, to be shown by this boot.
#[test]
fn a_damaged_note_is_one_of_all() {
    if without_root() {
        return;
    }
    for damage in ["", "\u{0}\n\u{1}garbage\n/etc/inittab", &"x".repeat(9 << 20)] {
        let dir = closed_but_for_a_key();
        fs::write(dir.path().join("etc/lenscap/harden/unproven"), damage).unwrap();
        without_ssh(dir.path());
        let said = later(dir.path());
        assert_eq!(said["waiting_for_boot"], false, "{said}");
        let inittab = fs::read(dir.path().join("etc/inittab")).unwrap();
        assert!(inittab == original("busybox", "etc/inittab"), "{said}");
    }
}

/// What `--undo` leaves closed waits on.
#[test]
fn what_undo_keeps_waits_for_a_boot() {
    if without_root() {
        return;
    }
    let dir = closed_but_for_a_key();
    let note = dir.path().join("etc/lenscap/harden/unproven");
    assert_eq!(code(&in_camera(dir.path(), &["--undo"])), 1, "a password is kept");
    assert!(note.exists());
    assert_eq!(code(&in_camera(dir.path(), &["--undo", "--restore-insecure"])), 0);
    assert!(!note.exists());
}

/// What is taken back in the same boot waits for none: neither is it noted, nor does telnet start again that was confirmed.
#[test]
fn what_is_taken_back_waits_for_no_boot() {
    if without_root() {
        return;
    }
    let dir = open("busybox", ON_FLASH, ALLOWED);
    authorise(dir.path(), KEYS);
    let state = |name: &str| dir.path().join("etc/lenscap/harden").join(name);
    // It stays without a confirmation.
    let output = in_camera(dir.path(), &["--apply", "--only", "telnet"]);
    assert_eq!(code(&output), 0, "{}", text(&output));
    let telnets = fs::read_to_string(state("unproven")).unwrap();
    fs::write(state("stopped"), "/bin/false\0telnetd\n").unwrap();
    let output = in_camera(
        dir.path(),
        &["--apply", "--only", "credentials", "--password", "lock"],
    );
    assert_eq!(code(&output), 0, "{}", text(&output));
    assert!(state("unconfirmed").exists());
    assert_ne!(fs::read_to_string(state("unproven")).unwrap(), telnets);
    later(dir.path());
    assert!(!state("unconfirmed").exists());
    let (mut left, mut before) = (String::new(), String::new());
    for (lines, text) in [
        (&mut left, fs::read_to_string(state("unproven")).unwrap()),
        (&mut before, telnets),
    ] {
        let mut sorted: Vec<&str> = text.lines().collect();
        sorted.sort_unstable();
        *lines = sorted.join("\n");
    }
    assert_eq!(left, before);
    assert!(state("stopped").exists());
    assert_eq!(code(&in_camera(dir.path(), &["--undo", "--restore-insecure"])), 0);
    assert!(!state("unproven").exists() && !state("stopped").exists());
}

/// Whatever keeps it from being closed again.
#[test]
fn what_is_open_is_not_unknown_because_a_disk_is_full() {
    if without_root() {
        return;
    }
    let dir = closed("busybox", "");
    let at = |path: &str| dir.path().join(path);
    fs::rename(at("etc"), at("brought")).unwrap();
    fs::create_dir(at("etc")).unwrap();
    let mut mount = Command::new("mount");
    mount
        .args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"])
        .arg(at("etc"));
    assert!(mount.status().unwrap().success());
    let copied = Command::new("cp")
        .arg("-a")
        .arg(at("brought/."))
        .arg(at("etc"))
        .status();
    assert!(copied.unwrap().success());
    fs::remove_dir_all(at("brought")).unwrap();
    fs::write(at("etc/inittab"), original("busybox", "etc/inittab")).unwrap();
    assert!(
        fs::write(at("etc/filler"), vec![1; 2 << 20]).is_err(),
        "it is full"
    );
    let full = recheck(dir.path());
    fs::remove_file(at("etc/filler")).unwrap();
    let freed = recheck(dir.path());
    let unmounted = Command::new("umount").args(["-l"]).arg(at("etc")).status();
    assert!(unmounted.unwrap().success());
    assert_eq!((full.0, &full.1["verdict"]), (1, &"fails".into()), "{}", full.1);
    let reason = full.1["reason"].as_str().unwrap();
    assert!(
        reason.contains("must be free") || reason.contains("No space left"),
        "{reason}"
    );
    assert_eq!(
        (freed.0, &freed.1["verdict"]),
        (0, &"holds".into()),
        "{}",
        freed.1
    );
}
