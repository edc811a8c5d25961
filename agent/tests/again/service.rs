//! The service looks again by itself.

use super::*;

/// `lenscap run` in a camera; killed when dropped.
struct Service(Child);

impl Drop for Service {
    fn drop(&mut self) {
        let _ = nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(self.0.id().try_into().unwrap()),
            nix::sys::signal::Signal::SIGTERM,
        );
        let _ = self.0.wait();
    }
}

/// Starts it by these words.
fn service(dir: &Path, chroot: &[&str]) -> Service {
    fs::create_dir_all(dir.join("proc/self")).unwrap();
    symlink("/lenscap", dir.join("proc/self/exe")).unwrap();
    let log = fs::File::create(dir.join("log")).unwrap();
    let (program, words) = chroot.split_first().unwrap();
    let child = Command::new(program)
        .args(words)
        .arg(dir)
        .args(["/lenscap", "run"])
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap();
    Service(child)
}

/// Waits for what files of the camera say.
#[track_caller]
fn wait<T>(dir: &Path, what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let changes = Changes::of(&[&dir.join("etc"), &dir.join("run/lenscap")]);
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        let log = || fs::read_to_string(dir.join("log")).unwrap();
        assert!(changes.wait(end), "{what}: not within {PATIENCE:?}\n{}", log());
    }
}

/// A network of a camera's own; gone when dropped.
struct Network(String);

impl Network {
    fn new() -> Self {
        let name = format!("again-{}", std::process::id());
        let network = Self(name);
        network.ip(&["netns", "add", &network.0]);
        network
    }

    #[track_caller]
    fn ip(&self, args: &[&str]) {
        assert!(
            Command::new("ip").args(args).status().unwrap().success(),
            "ip {args:?}"
        );
    }

    fn run(&self, words: &[&std::ffi::OsStr]) -> std::process::Output {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.0]).args(words);
        command.output().unwrap()
    }

    fn harden(&self, dir: &Path, args: &[&str]) -> std::process::Output {
        let mut words: Vec<&std::ffi::OsStr> = vec![
            "chroot".as_ref(),
            dir.as_ref(),
            "/lenscap".as_ref(),
            "harden".as_ref(),
        ];
        words.extend(args.iter().map(std::ffi::OsStr::new));
        self.run(&words)
    }

    fn nft(&self, args: &[&str]) -> String {
        let mut words: Vec<&std::ffi::OsStr> = vec!["nft".as_ref()];
        words.extend(args.iter().map(std::ffi::OsStr::new));
        text(&self.run(&words))
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.0]).status();
    }
}

#[test]
fn a_flushed_firewall_is_put_back() {
    if without_root() {
        return;
    }
    let network = Network::new();
    let dir = open("busybox", ON_FLASH, "\tlist allow_lan '192.168.1.2:22'\n");
    authorise(dir.path(), ".ssh");
    let config = dir.path().join("etc/config/lenscap");
    let text_on = fs::read_to_string(&config)
        .unwrap()
        .replace("firewall '0'", "firewall '1'")
        .replace("recheck '30'", "recheck '3600'");
    fs::write(&config, text_on).unwrap();
    let output = network.harden(
        dir.path(),
        &["--apply", "--only", "firewall", "--password-file", "/label"],
    );
    assert_ne!(code(&output), 64, "{output:?}");
    network.harden(dir.path(), &["--confirm"]);
    assert!(
        network.nft(&["list", "ruleset"]).contains("lenscap"),
        "{output:?}"
    );
    let recheck = |args: &[&str]| -> Value {
        let output = network.harden(dir.path(), args);
        serde_json::from_str(&text(&output)).unwrap()
    };
    assert_eq!(recheck(&["--recheck", "--json"])["restored"], "");
    for (args, counted) in [(["--recheck", "--json"], 1), (["--boot", "--json"], 1)] {
        network.nft(&["flush", "ruleset"]);
        let said = recheck(&args);
        assert_eq!(said["restored"], "firewall", "{said}");
        assert_eq!(said["restores_last_hour"], counted);
        assert!(network.nft(&["list", "ruleset"]).contains("lenscap"));
    }
    // Other name servers are no restore, however often they come.
    for host in 1..=7 {
        let server = format!("10.1.2.{host}");
        fs::write(
            dir.path().join("etc/resolv.conf"),
            format!("nameserver {server}\n"),
        )
        .unwrap();
        let said = recheck(&["--recheck", "--json"]);
        assert_eq!(
            (&said["restored"], &said["restores_last_hour"]),
            (&"".into(), &1.into())
        );
        assert!(network.nft(&["list", "ruleset"]).contains(&server));
    }
    // Five restores are enough for it as well, and what is left open does not hold, whatever was proven before.
    for count in 2..=5 {
        network.nft(&["flush", "ruleset"]);
        assert_eq!(recheck(&["--recheck", "--json"])["restores_last_hour"], count);
    }
    network.nft(&["flush", "ruleset"]);
    for _ in 0..2 {
        let said = recheck(&["--recheck", "--json"]);
        assert_eq!(
            (&said["verdict"], &said["gave_up"], &said["restored"]),
            (&"fails".into(), &true.into(), &"".into()),
            "{said}"
        );
        assert!(!network.nft(&["list", "ruleset"]).contains("lenscap"));
    }
    // The service sees them as they come, where links lead too; no interval has passed.
    fs::remove_file(dir.path().join("etc/resolv.conf")).unwrap();
    symlink("/tmp/dhcp/resolv.conf", dir.path().join("etc/resolv.conf")).unwrap();
    let folder = dir.path().join("tmp/dhcp");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("resolv.conf"), "nameserver 10.1.3.1\n").unwrap();
    let _service = service(dir.path(), &["ip", "netns", "exec", &network.0, "chroot"]);
    for host in 1..=2 {
        let server = format!("10.1.3.{host}");
        fs::write(folder.join("new"), format!("nameserver {server}\n")).unwrap();
        fs::rename(folder.join("new"), folder.join("resolv.conf")).unwrap();
        let end = Instant::now() + PATIENCE;
        while !network.nft(&["list", "ruleset"]).contains(&server) {
            assert!(
                Instant::now() < end,
                "{}",
                fs::read_to_string(dir.path().join("log")).unwrap()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

#[test]
fn the_monitor_sees_what_is_put_back_and_closes_it() {
    if without_root() {
        return;
    }
    let dir = closed("busybox", "");
    let _service = service(dir.path(), &["chroot"]);
    let said = || -> Option<Value> {
        serde_json::from_slice(&fs::read(dir.path().join("run/lenscap/harden.json")).ok()?).ok()
    };
    let first = wait(dir.path(), "a first look", said);
    assert_eq!(first["verdict"], "holds", "{first}");
    let table = dir.path().join("etc/passwd");
    let shut = fs::read(&table).unwrap();
    // No interval has passed: the change itself is what is seen.
    fs::write(&table, original("busybox", "etc/passwd")).unwrap();
    wait(dir.path(), "the closed table", || {
        (fs::read(&table).unwrap() == shut).then_some(())
    });
    let told = wait(dir.path(), "what it says", || {
        said().filter(|said| said["restored"] == "/etc/passwd")
    });
    assert_eq!(
        (&told["verdict"], &told["restores_last_hour"]),
        (&"holds".into(), &1.into())
    );
    // A look that cannot be had is no look that holds.
    fs::write(dir.path().join("etc/lenscap/harden/journal"), "damaged").unwrap();
    let told = wait(dir.path(), "a look at a damaged journal", || {
        said().filter(|said| said["verdict"] == "unknown")
    });
    assert!(
        told["reason"].as_str().unwrap().contains("journal is damaged"),
        "{told}"
    );
    let log = fs::read_to_string(dir.path().join("log")).unwrap();
    assert!(!log.contains(LABEL), "{log}");
}
