use super::*;
use crate::accounts;
use crate::crypt::{Field, Scheme, classify, verify};
use crate::defaults::known;
use crate::engine::undo;
use crate::firmware::recognise;
use crate::journal::sha256;
use crate::locate::{Form, locate};
use crate::secret::{LoginPassword, Secret};

/// The password field of a user.
fn field(camera: &Camera, table: &str, user: &str) -> String {
    let text = camera.text(table);
    let accounts = accounts::parse(text.as_bytes());
    let account = accounts.iter().find(|account| account.user == user).unwrap();
    account.field.clone()
}

fn value(camera: &Camera, path: &str, form: Form) -> String {
    let text = camera.text(path);
    let ranges = locate(text.as_bytes(), form);
    assert_eq!(ranges.len(), 1, "{path} {form:?}");
    text[ranges[0].clone()].to_owned()
}

#[test]
fn every_fixture_is_closed_and_taken_back() {
    for name in FIXTURES {
        let mut camera = Camera::new(name);
        let original = camera.snapshot();
        let first = camera.harden();
        first.result.as_ref().unwrap();
        assert!(first.has(Status::Planned), "{name}");
        assert!(first.disclosed, "{name}");
        assert!(!first.changes.is_empty(), "{name}");
        let closed = camera.snapshot();

        let second = camera.harden();
        second.result.as_ref().unwrap();
        assert_eq!(second.changes, Vec::<String>::new(), "{name}");
        assert!(!second.disclosed, "{name}");
        assert!(
            !second.has(Status::Planned) && !second.has(Status::Fails),
            "{name}: {:?}",
            second.findings
        );
        assert_eq!(
            second.has(Status::Unknown),
            *name == "xiongmai",
            "{name}: {:?}",
            second.findings
        );
        same(&own(&camera.snapshot()), &own(&closed), name);
        for (path, (mode, _)) in &original {
            assert_eq!(closed[path].0, *mode, "{name}: mode of {path}");
        }

        // Without the word, passwords that everybody knows do not come back.
        let undone = undo(&camera.root, &camera.settings, false).unwrap();
        assert!(!undone.kept.is_empty(), "{name}");
        let again = camera.harden();
        again.result.as_ref().unwrap();
        assert!(
            !again
                .findings
                .iter()
                .any(|finding| finding.measure == crate::report::Measure::Credentials
                    && finding.status == Status::Planned),
            "{name}"
        );
        same(&own(&camera.snapshot()), &own(&closed), name);

        let undone = undo(&camera.root, &camera.settings, true).unwrap();
        assert!(
            undone.kept.is_empty() && undone.changed_since.is_empty(),
            "{name}: {undone:?}"
        );
        same(&camera.snapshot(), &original, name);
    }
}

#[test]
fn no_known_password_fits_afterwards() {
    for name in FIXTURES {
        let mut camera = Camera::new(name);
        camera.harden().result.unwrap();
        let mut fields = 0;
        for (path, (_, contents)) in camera.snapshot() {
            if !(path.ends_with("/passwd") || path.ends_with("/shadow")) {
                continue;
            }
            for account in accounts::parse(&contents) {
                if matches!(classify(&account.field), Field::Locked | Field::Shadowed) {
                    continue;
                }
                fields += 1;
                for known in known() {
                    assert_eq!(
                        verify(&account.field, known.password.as_bytes()),
                        Some(false),
                        "{name} {path} {}",
                        account.user
                    );
                }
            }
        }
        assert!(fields > 0, "{name}");
    }
}

#[test]
fn firmwares_are_recognised_by_what_they_have() {
    for (name, expected) in [
        ("busybox", "BusyBox"),
        ("dafang-hacks", "dafang-hacks"),
        ("hikvision", "Hikvision"),
        ("onvif", "ONVIF service"),
        ("openipc", "OpenIPC"),
        ("openmiko", "openmiko"),
        ("openwrt", "OpenWrt"),
        ("thingino", "thingino"),
        ("wz_mini", "wz_mini"),
        ("xiongmai", "XiongMai"),
        ("yi-hack", "yi-hack"),
    ] {
        let camera = Camera::new(name);
        let recognised = recognise(&camera.root, &engine::survey(&camera.root, &camera.settings));
        assert_eq!(recognised[0].adapter.name, expected, "{name}");
        assert!(recognised.iter().all(|known| camera.root.exists(&known.evidence)));
        assert_eq!(recognised.last().unwrap().adapter.name, "BusyBox", "{name}");
    }
}

#[test]
fn a_media_password_in_an_image_is_every_cameras() {
    let every = |run: &Run| {
        let known = |finding: &&crate::report::Finding| {
            finding
                .text
                .starts_with("the media password is part of the image")
        };
        run.findings.iter().find(known).map(|finding| finding.status)
    };
    let mut camera = Camera::new("thingino");
    // The first boot makes another, if there is what does that.
    assert_eq!(every(&camera.harden()), Some(Status::Notice));
    fs::remove_file(camera.dir.path().join(super::PROGRAM)).unwrap();
    let run = camera.harden();
    assert_eq!((every(&run), run.changes.len()), (Some(Status::Fails), 0));
    assert_eq!(every(&Camera::new("busybox").harden()), None);
}

#[test]
fn openipc_keeps_one_password_for_rtsp_and_none_for_ssh() {
    let mut camera = Camera::new("openipc");
    let run = camera.harden();
    let media = run.secrets.media.unwrap().reveal().to_owned();
    let login = run.secrets.login.unwrap().reveal().to_owned();
    assert_ne!(media, login);
    assert_eq!(camera.text("/etc/lenscap/camera-password"), format!("{media}\n"));
    let root = field(&camera, "/etc/shadow", "root");
    assert_eq!(classify(&root), Field::Hash(Scheme::Sha512));
    assert_eq!(verify(&root, media.as_bytes()), Some(true));
    assert_eq!(
        camera.text("/etc/default/dropbear"),
        "DROPBEAR_ARGS=\"-R -K 300 -s\"\n"
    );
    assert_eq!(
        value(&camera, "/etc/majestic.yaml", Form::Yaml(&["netip", "password"])),
        media
    );
    assert_eq!(value(&camera, "/etc/onvif.conf", Form::Key("password")), media);
    assert_eq!(
        value(&camera, "/etc/webface.passwd", Form::WebHash),
        sha256(login.as_bytes())
    );
    assert_eq!(run.secrets.media_user.as_deref(), Some("admin"));
}

/// As OpenIPC itself has it.
const DROPBEAR: &str = "#!/bin/sh\nDAEMON=\"dropbear\"\nDAEMON_ARGS=\"-R -B -k -p 22 -K 300\"\nOTHER_ARGS=\"-x\"\n\
    start() {\n\tstart-stop-daemon -S -q -p \"$PIDFILE\" \\\n\t\t-x \"$DAEMON\" -- $DAEMON_ARGS\n\techo $OTHER_ARGS\n}\n";

#[test]
fn the_options_of_ssh_are_those_of_the_line_that_starts_it() {
    let mut camera = Camera::new("openipc");
    let etc = camera.dir.path().join("etc");
    fs::remove_file(etc.join("default/dropbear")).unwrap();
    fs::write(etc.join("init.d/S50dropbear"), DROPBEAR).unwrap();
    let run = camera.harden();
    assert!(!run.has(Status::Fails), "{:?}", run.findings);
    let keys = DROPBEAR.replace("-K 300", "-K 300 -s");
    assert_eq!(camera.text("/etc/init.d/S50dropbear"), keys);
    let root = field(&camera, "/etc/shadow", "root");
    let media = run.secrets.media.unwrap().reveal().to_owned();
    assert_eq!(verify(&root, media.as_bytes()), Some(true));
    assert_eq!(camera.harden().changes, [""; 0]);
}

#[test]
fn openipc_without_a_way_to_close_ssh_keeps_its_passwords_and_fails() {
    for script in [None, Some("#!/bin/sh\ndropbear -R\n")] {
        let mut camera = Camera::new("openipc");
        let etc = camera.dir.path().join("etc");
        fs::remove_file(etc.join("default/dropbear")).unwrap();
        match script {
            Some(text) => fs::write(etc.join("init.d/S50dropbear"), text).unwrap(),
            None => fs::remove_file(etc.join("init.d/S50dropbear")).unwrap(),
        }
        let before = own(&camera.snapshot());
        for _ in 0..2 {
            assert!(camera.harden().has(Status::Fails), "{script:?}");
            let now = own(&camera.snapshot());
            assert!(!now.contains_key("/etc/lenscap/camera-password"), "{script:?}");
            for path in ["/etc/shadow", "/etc/majestic.yaml", "/etc/onvif.conf"] {
                assert_eq!(now.get(path), before.get(path), "{script:?} {path}");
            }
        }
    }
}

#[test]
fn a_password_of_openipcs_root_that_the_agent_has_not_is_a_failure() {
    for (stored, fails) in [
        ("label-7Q2M-9ZKD", false),
        ("another-password", true),
        ("", false),
    ] {
        let mut camera = Camera::new("openipc");
        let etc = camera.dir.path().join("etc");
        let hash = crate::crypt::hash(Scheme::Sha512, b"label-7Q2M-9ZKD", &[7; 16]);
        fs::write(etc.join("shadow"), format!("root:{hash}:10933:0:99999:7:::\n")).unwrap();
        for path in ["majestic.yaml", "onvif.conf"] {
            fs::remove_file(etc.join(path)).unwrap();
        }
        if !stored.is_empty() {
            fs::create_dir_all(etc.join("lenscap")).unwrap();
            fs::write(etc.join("lenscap/camera-password"), format!("{stored}\n")).unwrap();
        }
        for _ in 0..2 {
            let run = camera.harden();
            assert_eq!(run.has(Status::Fails), fails, "{stored}: {:?}", run.findings);
        }
    }
}

#[test]
fn thingino_agrees_with_its_dependents() {
    let mut camera = Camera::new("thingino");
    let run = camera.harden();
    let media = run.secrets.media.unwrap().reveal().to_owned();
    let login = run.secrets.login.unwrap().reveal().to_owned();
    for (path, form) in [
        ("/etc/prudynt.json", Form::Json(&["rtsp", "password"])),
        ("/etc/prudynt.json", Form::Json(&["http", "password"])),
        ("/etc/onvif.json", Form::Json(&["server", "password"])),
    ] {
        assert_eq!(value(&camera, path, form), media, "{path}");
    }
    let url = format!("rtsp://thingino:{media}@127.0.0.1");
    for (path, count) in [
        ("/etc/init.d/S32prudyntwd", 1),
        ("/etc/init.d/S97stream-watchdog", 1),
        ("/etc/go2rtc.yaml", 2),
    ] {
        assert_eq!(camera.text(path).matches(&url).count(), count, "{path}");
    }
    assert_eq!(
        verify(&field(&camera, "/etc/shadow", "thingino"), media.as_bytes()),
        Some(true)
    );
    let root = field(&camera, "/etc/shadow", "root");
    assert_eq!(verify(&root, login.as_bytes()), Some(true));
    assert_eq!(verify(&root, media.as_bytes()), Some(false));
    assert_eq!(classify(&root), Field::Hash(Scheme::Sha512));
    assert_eq!(camera.text("/etc/lenscap/camera-password"), format!("{media}\n"));
    // There is no group of the agent's own.
    let mode = camera.snapshot()["/etc/lenscap/camera-password"].0;
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn the_media_password_is_for_the_agents_group_alone_whatever_the_file_was_before() {
    use std::os::unix::fs::{MetadataExt as _, chown};
    let is_root = nix::unistd::Uid::effective().is_root();
    for (group, mode, gid) in [("", 0o600, 0), ("lenscap:x:62000:\n", 0o640, 62_000)] {
        // One that stays, and one that is no password.
        for given in ["label-media-9ZKD\n", "\n"] {
            let mut camera = Camera::new("thingino");
            let groups = camera.dir.path().join("etc/group");
            let text = fs::read_to_string(&groups).unwrap() + group;
            fs::write(groups, text).unwrap();
            let file = camera.dir.path().join("etc/lenscap/camera-password");
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(&file, given).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
            if is_root {
                chown(&file, Some(7), Some(8)).unwrap();
            }
            let before = own(&camera.snapshot());
            camera.harden().result.unwrap();
            let data = fs::metadata(&file).unwrap();
            assert_eq!(data.mode() & 0o777, mode, "{group} {given}");
            if is_root {
                assert_eq!((data.uid(), data.gid()), (0, gid));
            }
            assert_eq!(camera.harden().changes, [""; 0]);
            engine::undo(&camera.root, &camera.settings, true).unwrap();
            same(&own(&camera.snapshot()), &before, "undone");
            if is_root {
                let data = fs::metadata(&file).unwrap();
                assert_eq!((data.uid(), data.gid()), (7, 8));
            }
        }
    }
}

#[test]
fn a_service_that_falls_back_gets_the_same_password_again() {
    let mut camera = Camera::new("thingino");
    let media = camera.harden().secrets.media.unwrap();
    fs::copy(
        fixture("thingino").join("etc/prudynt.json"),
        camera.dir.path().join("etc/prudynt.json"),
    )
    .unwrap();
    camera.seed = 99;
    let run = camera.harden();
    assert_eq!(run.changes, ["/etc/prudynt.json"]);
    assert_eq!(run.secrets.media, Some(media.clone()));
    assert_eq!(
        value(&camera, "/etc/prudynt.json", Form::Json(&["rtsp", "password"])),
        media.reveal()
    );
}

#[test]
fn yi_hack_writes_the_new_hash_at_boot() {
    let mut camera = Camera::new("yi-hack");
    let run = camera.harden();
    let login = run.secrets.login.unwrap().reveal().to_owned();
    let media = run.secrets.media.unwrap().reveal().to_owned();
    let root = field(&camera, "/home/yi-hack/etc/passwd", "root");
    assert_eq!(verify(&root, login.as_bytes()), Some(true));
    assert!(
        camera
            .text("/home/yi-hack/script/system.sh")
            .contains(&format!("PASSWORD_MD5='{root}'"))
    );
    let conf = camera.text("/home/yi-hack/etc/system.conf");
    for line in [
        "TELNETD=no",
        "USERNAME=lenscap",
        &format!("PASSWORD={media}"),
        "SSH_PASSWORD=",
    ] {
        assert!(conf.lines().any(|have| have == line), "{line}");
    }
    assert!(!conf.contains(&login), "the login password is not kept in clear");
}

#[test]
fn dafang_and_wz_mini_ask_for_a_user() {
    let mut camera = Camera::new("dafang-hacks");
    let run = camera.harden();
    let media = run.secrets.media.unwrap().reveal().to_owned();
    let conf = camera.text("/system/sdcard/config/rtspserver.conf");
    assert!(
        conf.contains(&format!("RTSPH264OPTS=\"-U lenscap:{media} \"")),
        "{conf}"
    );
    assert!(
        conf.contains(&format!("RTSPMJPEGOPTS=\"-U lenscap:{media} -W640 -H360\"")),
        "{conf}"
    );
    let login = run.secrets.login.unwrap();
    for table in [
        "/etc/passwd",
        "/system/sdcard/etc/passwd",
        "/system/sdcard/etc/shadow",
    ] {
        assert_eq!(
            verify(&field(&camera, table, "root"), login.reveal().as_bytes()),
            Some(true),
            "{table}"
        );
    }

    let mut camera = Camera::new("wz_mini");
    let run = camera.harden();
    let media = run.secrets.media.unwrap().reveal().to_owned();
    assert_eq!(
        value(&camera, "/opt/wz_mini/wz_mini.conf", Form::Key("RTSP_PASSWORD")),
        media
    );
    assert_eq!(
        value(
            &camera,
            "/opt/wz_mini/wz_mini.conf",
            Form::Key("RTSP_AUTH_DISABLE")
        ),
        "false"
    );
    assert_eq!(
        field(&camera, "/opt/wz_mini/etc/shadow", "root"),
        field(&camera, "/etc/shadow", "root")
    );
}

#[test]
fn openwrt_follows_links_and_first_boot_scripts() {
    let mut camera = Camera::new("openwrt");
    let run = camera.harden();
    let root = field(&camera, "/etc/shadow", "root");
    assert_eq!(
        verify(&root, run.secrets.login.unwrap().reveal().as_bytes()),
        Some(true)
    );
    assert!(
        camera
            .text("/etc/uci-defaults/50-root-passwd")
            .contains(&format!("root:{root}:"))
    );
    assert!(
        camera
            .text("/etc/init.d/telnet")
            .contains("\t: procd_set_param command")
    );
    let link = fs::read_link(camera.dir.path().join("etc/rc.d/S50telnet")).unwrap();
    assert_eq!(link, Path::new("../init.d/telnet"));
    assert_eq!(run.secrets.media, None);
    assert!(!camera.dir.path().join("etc/lenscap/camera-password").exists());
}

#[test]
fn busybox_accounts_are_closed_by_what_they_are() {
    let mut camera = Camera::new("busybox");
    let run = camera.harden();
    let login = run.secrets.login.unwrap();
    for user in ["root", "admin"] {
        assert_eq!(
            verify(&field(&camera, "/etc/passwd", user), login.reveal().as_bytes()),
            Some(true),
            "{user}"
        );
    }
    assert_eq!(field(&camera, "/etc/passwd", "guest"), "*");
    assert_eq!(field(&camera, "/etc/passwd", "ftp"), "*");
    assert!(camera.text("/etc/inetd.conf").contains("\nftp\tstream"));
    assert!(
        camera
            .text("/etc/rc.local")
            .contains("|| : telnetd -l /bin/sh -p 2323")
    );
}

#[test]
fn users_that_no_file_holds_are_told_of_in_a_tree() {
    let told = |camera: &Camera, run: &Run| {
        let told = run
            .findings
            .iter()
            .find(|finding| finding.text.starts_with("users of services are in no file here"));
        let path = told.map(|finding| finding.path.clone().unwrap());
        assert!(path.iter().all(|path| camera.root.exists(path)));
        path
    };
    for (name, evidence) in [
        ("hikvision", Some("/etc/app")),
        ("onvif", Some("/usr/bin/ipcam")),
        ("xiongmai", Some("/usr/bin/Sofia")),
        // Its ONVIF server has them in a file.
        ("thingino", None),
        ("busybox", None),
    ] {
        let mut camera = Camera::new(name);
        let server = camera.dir.path().join("usr/bin/onvif_server");
        if name == "thingino" {
            fs::create_dir_all(server.parent().unwrap()).unwrap();
            fs::write(&server, b"\x7fELF /onvif/device_service\0").unwrap();
        }
        // This program asks such services, and serves none.
        let program = camera.dir.path().join(PROGRAM);
        fs::write(&program, b"\x7fELF /onvif/device_service\0telnetd\0").unwrap();
        let run = camera.harden();
        assert_eq!(told(&camera, &run).as_deref(), evidence, "{name}");
        assert_eq!(
            run.has(Status::Unknown),
            name == "xiongmai",
            "{name}: {:?}",
            run.findings
        );
    }
    // What the vendor's programs keep stays as it is.
    let mut camera = Camera::new("hikvision");
    camera.harden().result.unwrap();
    let root = field(&camera, "/etc/passwd", "root");
    assert_eq!(classify(&root), Field::Hash(Scheme::Md5));
    let text = camera.text("/etc/passwd");
    assert!(text.ends_with(":/bin/psh\n"), "{text}");
}

#[test]
fn logins_can_be_locked_or_given_a_password() {
    let mut camera = Camera::new("openmiko");
    camera.settings.login_password = LoginPassword::Lock;
    let run = camera.harden();
    run.result.unwrap();
    assert_eq!(run.secrets.login, None);
    assert_eq!(field(&camera, "/etc/shadow", "root"), "*");

    let mut camera = Camera::new("openmiko");
    camera.settings.login_password = LoginPassword::Given(Secret::given("label-7Q2M-9ZKD").unwrap());
    let run = camera.harden();
    run.result.unwrap();
    assert_eq!(run.secrets.login, None);
    let root = field(&camera, "/etc/shadow", "root");
    assert_eq!(verify(&root, b"label-7Q2M-9ZKD"), Some(true));
    // Its libc is uClibc and it uses SHA-256 itself.
    assert_eq!(classify(&root), Field::Hash(Scheme::Sha256));
}

#[test]
fn what_somebody_else_wrote_is_not_overwritten_by_undo() {
    let mut camera = Camera::new("busybox");
    camera.harden().result.unwrap();
    let path = camera.dir.path().join("etc/crontabs/root");
    fs::write(&path, "# mine\n").unwrap();
    let undone = undo(&camera.root, &camera.settings, true).unwrap();
    assert_eq!(undone.changed_since, ["/etc/crontabs/root"]);
    assert_eq!(fs::read_to_string(&path).unwrap(), "# mine\n");
    // What a firmware puts back is closed again, and undo returns to what it put.
    fs::write(&path, "* * * * * telnetd\n").unwrap();
    camera.harden().result.unwrap();
    assert_eq!(
        fs::read_to_string(&path).unwrap(),
        "#lenscap: * * * * * telnetd\n"
    );
    undo(&camera.root, &camera.settings, true).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "* * * * * telnetd\n");
}

#[test]
fn a_password_that_cannot_be_told_stops_everything() {
    let camera = Camera::new("openmiko");
    let before = camera.snapshot();
    let mut checker = Checker::new(u64::MAX);
    let mut random = |bytes: &mut [u8]| {
        bytes.fill(1);
        Ok(())
    };
    let plan = engine::plan(&camera.root, &camera.settings, &mut checker, &mut random).unwrap();
    let told = engine::apply(&plan, &camera.settings, None, &mut |_| {
        Err(io::ErrorKind::BrokenPipe.into())
    });
    assert!(matches!(told, Err(Failure::Unchanged(_))));
    same(&files(&camera.snapshot()), &files(&before), "openmiko");
}

#[test]
fn what_is_not_confirmed_comes_back_and_nothing_else() {
    let mut camera = Camera::new("yi-hack");
    let original = own(&camera.snapshot());
    camera.settings.measures = vec![crate::report::Measure::Telnet];
    camera.harden().result.unwrap();
    let without_telnet = own(&camera.snapshot());
    camera.settings.measures = vec![crate::report::Measure::Credentials];
    camera.applied_at = Some(("boot", Duration::from_secs(5)));
    camera.harden().result.unwrap();
    let waiting = engine::waiting(&camera.root, &camera.settings).unwrap().unwrap();
    assert_eq!(
        (waiting.boot_id.as_str(), waiting.applied_at.as_secs()),
        ("boot", 5)
    );
    assert!(
        waiting
            .paths
            .iter()
            .any(|path| path == "/home/yi-hack/etc/passwd")
    );

    let undone = engine::roll_back(&camera.root, &camera.settings, None, &|_| false).unwrap();
    assert!(undone.changed_since.is_empty() && undone.kept.is_empty());
    assert_eq!(engine::waiting(&camera.root, &camera.settings).unwrap(), None);
    let now = own(&camera.snapshot());
    assert_eq!(
        now["/home/yi-hack/etc/passwd"],
        original["/home/yi-hack/etc/passwd"]
    );
    // Both runs changed these two: they go back to what the firmware had, telnet's switch too.
    for shared in ["/home/yi-hack/etc/system.conf", "/home/yi-hack/script/system.sh"] {
        assert_ne!(without_telnet[shared], original[shared]);
        assert_eq!(now[shared], original[shared]);
    }

    camera.harden().result.unwrap();
    assert!(engine::confirm(&camera.root, &camera.settings).unwrap());
    assert!(!engine::confirm(&camera.root, &camera.settings).unwrap());
    assert_eq!(engine::waiting(&camera.root, &camera.settings).unwrap(), None);
    assert_eq!(
        verify(&field(&camera, "/home/yi-hack/etc/passwd", "root"), b""),
        Some(false)
    );
}

#[test]
fn taking_back_what_is_no_password_confirms_nothing() {
    let mut camera = Camera::new("busybox");
    let original = own(&camera.snapshot());
    camera.applied_at = Some(("boot", Duration::from_secs(5)));
    camera.harden().result.unwrap();
    let undone = engine::undo(&camera.root, &camera.settings, false).unwrap();
    assert!(!undone.restored.is_empty() && !undone.kept.is_empty());
    let waiting = engine::waiting(&camera.root, &camera.settings).unwrap().unwrap();
    assert!(undone.kept.iter().all(|path| waiting.paths.contains(path)));
    assert!(undone.restored.iter().all(|path| !waiting.paths.contains(path)));
    engine::roll_back(&camera.root, &camera.settings, None, &|_| false).unwrap();
    assert_eq!(engine::waiting(&camera.root, &camera.settings).unwrap(), None);
    same(&own(&camera.snapshot()), &original, "busybox");
}

/// A service that could not be told keeps the media password waiting, and nothing else.
#[test]
fn what_was_taken_back_waits_no_more() {
    let mut camera = Camera::new("yi-hack");
    camera.applied_at = Some(("boot", Duration::from_secs(5)));
    camera.harden().result.unwrap();
    let file = camera.settings.password_file.clone();
    let back = |camera: &Camera| engine::roll_back(&camera.root, &camera.settings, Some(&file), &|_| false);
    assert!(!back(&camera).unwrap().restored.is_empty());
    let waiting = engine::waiting(&camera.root, &camera.settings).unwrap().unwrap();
    assert_eq!(waiting.to_text(), format!("boot 5\n{file}\n"));
    camera.applied_at = None;
    camera.harden().result.unwrap();
    let closed = own(&camera.snapshot());
    assert!(back(&camera).unwrap().restored.is_empty());
    same(&own(&camera.snapshot()), &closed, "yi-hack");
}

/// The streamer keeps its new password when default ones do not come back: so does the agent.
#[test]
fn the_agents_password_stays_as_long_as_the_streamers() {
    let place = Form::Json(&["rtsp", "password"]);
    for before in [None, Some("thingino\n")] {
        let mut camera = Camera::new("thingino");
        let file = camera.dir.path().join("etc/lenscap/camera-password");
        if let Some(before) = before {
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(&file, before).unwrap();
        }
        let media = camera.harden().secrets.media.unwrap().reveal().to_owned();
        undo(&camera.root, &camera.settings, false).unwrap();
        assert_eq!(value(&camera, "/etc/prudynt.json", place), media);
        assert_eq!(
            camera.text("/etc/lenscap/camera-password"),
            format!("{media}\n"),
            "{before:?}"
        );
        undo(&camera.root, &camera.settings, true).unwrap();
        assert_eq!(value(&camera, "/etc/prudynt.json", place), "thingino");
        assert_eq!(fs::read_to_string(&file).ok().as_deref(), before);
    }
}

#[test]
fn what_could_not_be_seen_is_unknown() {
    let mut camera = Camera::new("openmiko");
    camera.harden().result.unwrap();
    // Deeper than a walk goes.
    let deep = camera.dir.path().join("a/".repeat(20));
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("shadow"), "root::0:0:0:::\n").unwrap();
    let run = camera.harden();
    for measure in [
        crate::report::Measure::Telnet,
        crate::report::Measure::Credentials,
    ] {
        let statuses = run.findings.iter().filter(|finding| finding.measure == measure);
        let statuses: Vec<Status> = statuses.map(|finding| finding.status).collect();
        assert_eq!(statuses, [Status::Unknown]);
    }
}

/// Without folders: an empty one may stay.
fn files(all: &Snapshot) -> Snapshot {
    let mut all = all.clone();
    all.retain(|_, (mode, _)| *mode & 0o170_000 != 0o040_000);
    all
}
