//! Servers that a boot starts.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use crate::root::Root;
use crate::started::starts;
use crate::survey::Survey;

fn started(tree: &Path, server: &str) -> Vec<String> {
    let root = Root::tree(tree).unwrap();
    let survey = Survey::take(&root, "/etc/lenscap/harden");
    starts(&root, &survey, server)
}

fn tree(files: &[(&str, &str, u32)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (path, text, mode) in files {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(*mode)).unwrap();
    }
    dir
}

#[test]
fn firmwares_start_dropbear() {
    for (name, words) in [
        ("openmiko", "-R"),
        ("thingino", "-k -K 300 -R"),
        ("openipc", "-R -R -K 300"),
        ("yi-hack", "-R"),
        ("dafang-hacks", "-R"),
        ("hikvision", "-R -I 1800"),
    ] {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures");
        let found = started(&fixtures.join(name), "dropbear");
        assert_eq!(found.last().map(String::as_str), Some(words), "{name}: {found:?}");
    }
}

#[test]
fn commands_start_a_server_and_names_do_not() {
    const SCRIPT: &str = "etc/init.d/S50ssh";
    for (path, text, found) in [
        (SCRIPT, "dropbear -R &", Some("-R")),
        (SCRIPT, "/usr/sbin/dropbear", Some("")),
        (SCRIPT, "D=/usr/sbin/dropbear\n$D -R", Some("-R")),
        (SCRIPT, "nice -n 5 dropbear -R", Some("-R")),
        (SCRIPT, "dropbearmulti dropbear -s", Some("-s")),
        (
            SCRIPT,
            "start-stop-daemon -S -p /run/d.pid -x /usr/sbin/dropbear -- -R -p 22",
            Some("-R -p 22"),
        ),
        (
            SCRIPT,
            "start-stop-daemon -S -p /run/d.pid -x /usr/sbin/dropbear",
            Some(""),
        ),
        (
            SCRIPT,
            "D=dropbear\nA='-R -K 300'\nstart-stop-daemon -S -x $D -- $A",
            Some("-R -K 300"),
        ),
        (
            SCRIPT,
            "[ -r /etc/default/dropbear ] && . /etc/default/dropbear\ndropbear $EXTRA",
            Some("-s -p 2222"),
        ),
        (
            "etc/init.d/S50dropbear",
            "KEY=/etc/dropbear/key\nDAEMON_ARGS=\"-k -K 300 -R\"\n. /usr/share/common\nstart() {\nstart_daemon\n}",
            Some("-k -K 300 -R"),
        ),
        (
            SCRIPT,
            "start-stop-daemon -S -x /usr/sbin/dropbear -- $@",
            Some("$@"),
        ),
        (SCRIPT, "sh -c 'sleep 1; dropbear -R'", Some("-R")),
        (
            SCRIPT,
            "start-stop-daemon -K -p /run/d.pid -x /usr/sbin/dropbear",
            None,
        ),
        (SCRIPT, "# dropbear", None),
        (SCRIPT, "mkdir -p /etc/dropbear", None),
        (SCRIPT, "killall dropbear", None),
        (SCRIPT, "pidof dropbear || echo dropbear", None),
        (SCRIPT, "cp keys /etc/dropbear/dropbear_rsa_host_key", None),
        (SCRIPT, "dropbearkey -t rsa -f /etc/dropbear/key", None),
        (
            SCRIPT,
            "case $1 in\ntelnetd|dropbear|sshd) echo $1 ;;\nesac",
            None,
        ),
        (SCRIPT, "dropbear -V", None),
        (SCRIPT, "command -v dropbear || exit 0", None),
        (
            SCRIPT,
            "dropbear -R -P/var/run/dropbear.pid",
            Some("-R -P/var/run/dropbear.pid"),
        ),
        (SCRIPT, "dropbear -i", None),
        (SCRIPT, "/etc/init.d/dropbear start", None),
        // It is not there.
        (SCRIPT, "/tmp/dropbear -R", None),
        ("etc/inittab", "::respawn:/usr/sbin/dropbear -F", Some("-F")),
        ("etc/inittab", "#::respawn:/usr/sbin/dropbear -F", None),
        (
            "etc/crontabs/root",
            "* * * * * pidof dropbear || /usr/sbin/dropbear -R",
            Some("-R"),
        ),
        ("etc/inittab", "::shutdown:/usr/sbin/dropbear -F", None),
        ("etc/inittab", "::off:/usr/sbin/dropbear -F", None),
        ("etc/inittab", "1:2345:respawn:/usr/sbin/dropbear -F", Some("-F")),
        ("etc/crontabs/root", "@reboot root dropbear -R", Some("-R")),
        ("etc/crontabs/root", "0 3 * * * /etc/init.d/dropbear stop", None),
        ("etc/crontabs/root", "0 3 * * * service dropbear stop", None),
        ("etc/crontabs/root", "0 3 * * * systemctl stop dropbear", None),
        (
            "etc/network/interfaces",
            "iface eth0 inet dhcp\n\tpost-up /usr/sbin/dropbear -R",
            Some("-R"),
        ),
        (
            "etc/network/interfaces",
            "iface eth0 inet dhcp\n\tdown /usr/sbin/dropbear -R",
            None,
        ),
        ("etc/init.d/rcS", "dropbear -R", Some("-R")),
        ("etc/rc.local", "dropbear -R", Some("-R")),
        ("system/sdcard/run.sh", "dropbear -R", Some("-R")),
        // Nothing runs these.
        ("home/hack/start.sh", "dropbear -R", None),
        ("mnt/backup/etc/init.d/S50dropbear", "dropbear -R", None),
        ("etc/init.d/ssh", "dropbear -R", None),
        ("lib/preinit/99_failsafe.sh", "dropbear -R", None),
        ("etc/profile", "dropbear -R", None),
        ("var/www/ssh.cgi", "dropbear -R", None),
        ("usr/bin/ssh-on", "dropbear -R", None),
    ] {
        let text = if path.starts_with("etc/inittab") || path.contains("cron") || path.contains("network") {
            format!("{text}\n")
        } else {
            format!("#!/bin/sh\n{text}\n")
        };
        let dir = tree(&[
            (path, &text, 0o755),
            ("usr/sbin/dropbear", "\x7fELF", 0o755),
            ("etc/init.d/dropbear", "#!/bin/sh\n", 0o755),
            ("etc/default/dropbear", "# extra -w\nEXTRA='-s -p 2222'\n", 0o644),
        ]);
        let found: Vec<&str> = found.into_iter().collect();
        assert_eq!(started(dir.path(), "dropbear"), found, "{path}: {text}");
    }
}

#[test]
fn a_script_must_be_one_that_a_boot_runs() {
    let script = "#!/bin/sh\ndropbear -R\n";
    let ssh = "etc/init.d/ssh";
    for (more, mode, found) in [
        (None, 0o755, false),
        (
            Some(("etc/init.d/rcS", "#!/bin/sh\n/etc/init.d/ssh start\n")),
            0o755,
            true,
        ),
        (Some(("etc/inittab", "::sysinit:/etc/init.d/ssh\n")), 0o755, true),
        (
            Some(("etc/init.d/rcS", "#!/bin/sh\n/etc/init.d/ssh start\n")),
            0o644,
            false,
        ),
        (
            Some(("etc/init.d/rcS", "#!/bin/sh\n/etc/init.d/ssh stop\n")),
            0o755,
            false,
        ),
        (
            Some(("etc/init.d/rcS", "#!/bin/sh\necho /etc/init.d/ssh start\n")),
            0o755,
            false,
        ),
        (
            Some(("etc/profile", "#!/bin/sh\n/etc/init.d/ssh start\n")),
            0o755,
            false,
        ),
        (
            Some(("etc/inittab", "#::sysinit:/etc/init.d/ssh\n")),
            0o755,
            false,
        ),
        // There links alone count.
        (Some(("etc/openwrt_release", "")), 0o755, false),
    ] {
        let mut files = vec![(ssh, script, mode)];
        files.extend(more.map(|(path, text)| (path, text, 0o755)));
        let dir = tree(&files);
        let what = format!("{more:?} {mode:o}");
        assert_eq!(!started(dir.path(), "dropbear").is_empty(), found, "{what}");
        fs::create_dir_all(dir.path().join("etc/rc.d")).unwrap();
        symlink("../init.d/ssh", dir.path().join("etc/rc.d/S19ssh")).unwrap();
        assert_eq!(
            !started(dir.path(), "dropbear").is_empty(),
            mode == 0o755,
            "{what}"
        );
    }
    for (path, mode, found) in [
        ("etc/rc.local", 0o644, false),
        ("etc/init.d/S50ssh", 0o644, false),
        ("etc/init.d/S50ssh.sh", 0o644, true),
    ] {
        let dir = tree(&[(path, script, mode)]);
        assert_eq!(
            !started(dir.path(), "dropbear").is_empty(),
            found,
            "{path} {mode:o}"
        );
    }
}

#[test]
fn a_script_is_run_by_its_name_or_by_a_pattern() {
    let script = "#!/bin/sh\ndropbear -R\n";
    for (runner, found) in [
        ("/home/hack/ssh.sh", true),
        (". /home/hack/ssh.sh", true),
        ("sh /home/hack/ssh.sh &", true),
        ("[ -f /home/hack/ssh.sh ] && exec /home/hack/ssh.sh", true),
        ("for i in /home/hack/*.sh; do\n$i\ndone", true),
        ("run-parts /home/hack", true),
        ("for i in /home/hack/*.sh; do\n$i stop\ndone", false),
        ("cp /home/hack/ssh.sh /tmp", false),
        ("# /home/hack/ssh.sh", false),
        ("", false),
    ] {
        let runner = format!("#!/bin/sh\n{runner}\n");
        let dir = tree(&[
            ("etc/init.d/rcS", &runner, 0o755),
            ("home/hack/ssh.sh", script, 0o755),
        ]);
        assert_eq!(!started(dir.path(), "dropbear").is_empty(), found, "{runner}");
    }
    // Itself is none.
    let own = "#!/bin/sh\n[ $1 ] || /home/hack/ssh.sh again\ndropbear -R\n";
    let dir = tree(&[("home/hack/ssh.sh", own, 0o755)]);
    assert!(started(dir.path(), "dropbear").is_empty());
}

#[test]
fn a_unit_must_be_wanted() {
    const UNIT: &str = "[Unit]\nDescription=dropbear -B\n[Service]\nExecStartPre=/bin/mkdir dropbear\n\
        ExecStart=-/usr/sbin/dropbear -F\nExecStop=/usr/bin/dropbear -w\n";
    let wants = "etc/systemd/system/multi-user.target.wants";
    for folder in ["etc/systemd/system", "lib/systemd/system"] {
        let unit = format!("{folder}/dropbear.service");
        let dir = tree(&[(&unit, UNIT, 0o644), ("usr/sbin/dropbear", "\x7fELF", 0o755)]);
        let words = || started(dir.path(), "dropbear");
        assert!(words().is_empty(), "{folder}: it is not wanted");
        fs::create_dir_all(dir.path().join(wants)).unwrap();
        let link = dir.path().join(wants).join("dropbear.service");
        symlink(format!("/{unit}"), &link).unwrap();
        assert_eq!(words(), ["-F"], "{folder}");
        if folder.starts_with("lib") {
            fs::create_dir_all(dir.path().join("dev")).unwrap();
            fs::write(dir.path().join("dev/null"), "").unwrap();
            let own = dir.path().join("etc/systemd/system/dropbear.service");
            symlink("/dev/null", &own).unwrap();
            assert!(words().is_empty(), "{folder}: it is masked");
            fs::remove_file(own).unwrap();
            assert_eq!(words(), ["-F"], "{folder}");
        }
        fs::remove_file(link).unwrap();
        assert!(words().is_empty(), "{folder}: it is wanted no more");
    }
}

/// Else each could be as long as the script.
#[test]
fn so_many_shells_are_followed_and_no_more() {
    let script = "sh -c 'dropbear -R'\n".repeat(1000);
    let dir = tree(&[("etc/init.d/S50ssh", &format!("#!/bin/sh\n{script}"), 0o755)]);
    assert_eq!(started(dir.path(), "dropbear").len(), 64);
}
