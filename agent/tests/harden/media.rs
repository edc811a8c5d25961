//! Media passwords: of whoever watches, and of an image's first boot.

use super::*;

/// The firewall is off: a recorder that lost the password would be cut off all the same.
#[test]
fn whoever_watches_keeps_the_media_password_until_somebody_decides() {
    if without_root() {
        return;
    }
    const PLAIN: &str = "config uplink 'main'\n\toption endpoint 'https://gw.example.net/u'\nconfig profile 'main'\n\
        \toption rtsp 'rtsp://127.0.0.1:7070/'\nconfig harden\n\toption firewall '0'\n";
    let label = ["--only", "credentials", "--apply", "--password-file", "/label"];
    let camera = |name: &str, port: u16| {
        let dir = running(name, ON_FLASH);
        configure(dir.path(), PLAIN);
        std::fs::write(dir.path().join("label"), "label-7Q2M-9ZKD\n").unwrap();
        // The owner's own login, and the camera's connection with itself.
        watches(dir.path(), [192, 168, 1, 30], 22);
        watches(dir.path(), [192, 168, 1, 20], 554);
        watches(dir.path(), [192, 168, 1, 10], port);
        dir
    };
    let read = |dir: &tempfile::TempDir, path: &str| std::fs::read_to_string(dir.path().join(path)).unwrap();
    // The usual port, that of the configuration, and any other of what holds the camera.
    for (port, what) in [(554, "RTSP"), (7070, "video"), (6000, "video")] {
        let dir = camera("thingino", port);
        listens(dir.path(), 4711, 6000, "streamer", "/dev/video0");
        let before = read(&dir, "etc/prudynt.json");
        let plan = text(&in_camera(dir.path(), &["--only", "credentials"]));
        let waits = format!(
            "credentials  fails    waits: 192.168.1.10 is connected to port {port} ({what}). `list allow_lan \
             '192.168.1.10:{port}'` lets it stay, --cut cuts it off\n"
        );
        assert!(plan.contains(&waits), "{plan}");
        assert!(
            !plan.contains("192.168.1.30") && !plan.contains("192.168.1.20 "),
            "{plan}"
        );
        let waited = in_camera(dir.path(), &label);
        assert!(
            code(&waited) == 1 && text(&waited).contains(&waits),
            "{}",
            text(&waited)
        );
        assert_eq!(read(&dir, "etc/prudynt.json"), before);
        assert!(!dir.path().join("etc/lenscap/camera-password").exists());
        assert!(
            fits("label-7Q2M-9ZKD", &roots_hash(dir.path(), "etc/shadow")),
            "logins do not wait"
        );
        let allowed = format!("{PLAIN}\tlist allow_lan '192.168.1.10:{port}'\n");
        let (config, args) = if port == 554 {
            (allowed.as_str(), &label[..])
        } else {
            (PLAIN, &[&label[..], &["--cut"]].concat()[..])
        };
        configure(dir.path(), config);
        let closed = in_camera(dir.path(), args);
        assert_eq!(code(&closed), 0, "{}", text(&closed));
        let told = format!("192.168.1.10 is connected to port {port} ({what}) and needs the new password");
        assert!(text(&closed).contains(&told), "{}", text(&closed));
        let media = read(&dir, "etc/lenscap/camera-password");
        assert!(read(&dir, "etc/prudynt.json").contains(media.trim()));
        // What was decided is put back without another question.
        configure(dir.path(), PLAIN);
        std::fs::write(dir.path().join("etc/prudynt.json"), &before).unwrap();
        assert_eq!(code(&in_camera(dir.path(), &label)), 0);
        assert!(read(&dir, "etc/prudynt.json").contains(media.trim()));
    }
    // Where RTSP asks for root's own password, that one waits, and no script makes it a worse one.
    let dir = camera("openipc", 554);
    authorise(dir.path(), "root/.ssh");
    configure(
        dir.path(),
        &format!("{PLAIN}\tlist allow_lan '192.168.1.30:22'\n"),
    );
    let shadow = read(&dir, "etc/shadow");
    let known = roots_hash(dir.path(), "etc/shadow");
    for before in [known.as_str(), ""] {
        std::fs::write(dir.path().join("etc/shadow"), shadow.replace(&known, before)).unwrap();
        let script = writes_roots_hash(dir.path(), &known);
        let waited = text(&in_camera(dir.path(), &label));
        assert!(
            waited.contains("waits: 192.168.1.10 is connected to port 554"),
            "{waited}"
        );
        let told = format!("fails    /{ROOTS_SCRIPT}:2: writes the hash of a password that everybody knows");
        assert!(waited.contains(&told), "{waited}");
        assert_eq!(roots_hash(dir.path(), "etc/shadow"), before);
        assert_eq!(read(&dir, ROOTS_SCRIPT), script);
    }
    assert_eq!(
        code(&in_camera(dir.path(), &[&label[..], &["--cut"]].concat())),
        0
    );
    let own = roots_hash(dir.path(), "etc/shadow");
    assert!(fits(read(&dir, "etc/lenscap/camera-password").trim(), &own));
    assert!(read(&dir, ROOTS_SCRIPT).contains(&own));
}

/// No two cameras of an image have the same one for long.
#[test]
fn the_first_boot_makes_another_media_password_than_the_images() {
    if without_root() {
        return;
    }
    for name in ["thingino", "openipc", "yi-hack"] {
        let dir = with_program(name);
        configure(dir.path(), CLOSES);
        if name == "thingino" {
            let given = dir.path().join("etc/lenscap/camera-password");
            std::fs::create_dir_all(given.parent().unwrap()).unwrap();
            std::fs::write(&given, "image-media-9ZKD\n").unwrap();
            std::fs::set_permissions(given, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        }
        if name == "openipc" {
            writes_roots_hash(dir.path(), &roots_hash(dir.path(), "etc/shadow"));
        }
        let stored = || std::fs::read_to_string(dir.path().join("etc/lenscap/camera-password")).unwrap();
        let credentials = ["--only", "credentials"];
        let closed = harden(dir.path(), &credentials);
        assert_eq!(code(&closed), 0, "{}", text(&closed));
        let told = "notice   the media password is part of the image: the first boot makes another";
        assert!(text(&closed).contains(told), "{}", text(&closed));
        let of_image = stored();
        let holders = |password: &str| {
            let grep = Command::new("grep")
                .args(["-rlF", password.trim(), "--exclude-dir=harden", "etc", "home"])
                .current_dir(dir.path())
                .output();
            let mut files: Vec<String> = String::from_utf8(grep.unwrap().stdout)
                .unwrap()
                .lines()
                .map(str::to_owned)
                .collect();
            files.sort();
            files
        };
        let before = holders(&of_image);
        support::run(dir.path(), ON_FLASH);
        assert!(before.len() > 1, "{name}: {before:?}");
        let boot = [&credentials[..], &["--boot"]].concat();
        if name == "thingino" {
            // Whoever made the image chose it, and a recorder has it: it waits, and is not taken for renewed.
            let connections = dir.path().join("proc/net/tcp");
            let nobody = std::fs::read(&connections).unwrap();
            watches(dir.path(), [192, 168, 1, 10], 554);
            assert_eq!(code(&in_camera(dir.path(), &boot)), 1);
            assert_eq!((stored(), holders(&of_image)), (of_image.clone(), before.clone()));
            std::fs::write(connections, nobody).unwrap();
        }
        let booted = in_camera(dir.path(), &boot);
        assert_eq!(code(&booted), 0, "{name}: {}", text(&booted));
        let own = stored();
        assert_ne!(own, of_image);
        assert_eq!(
            (holders(&own), holders(&of_image)),
            (before, Vec::new()),
            "{name}"
        );
        if name != "yi-hack" {
            let shadow = std::fs::read_to_string(dir.path().join("etc/shadow")).unwrap();
            let user = if name == "thingino" { "thingino:" } else { "root:" };
            let line = shadow.lines().find(|line| line.starts_with(user)).unwrap();
            let hash = line.split(':').nth(1).unwrap();
            assert!(fits(own.trim(), hash), "{line}");
            if name == "openipc" {
                let script = std::fs::read_to_string(dir.path().join(ROOTS_SCRIPT)).unwrap();
                assert!(script.contains(hash), "{script}");
            }
        }
        // Once.
        assert_eq!(code(&in_camera(dir.path(), &boot)), 0);
        assert_eq!(stored(), own);
    }
}
