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
        ("openipc", "-R"),
        ("yi-hack", "-R"),
        ("dafang-hacks", "-R"),
        ("hikvision", "-R -I 1800"),
    ] {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures");
        assert_eq!(started(&fixtures.join(name), "dropbear"), [words], "{name}");
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
        // It is not there.
        (SCRIPT, "/tmp/dropbear -R", None),
        ("etc/inittab", "::respawn:/usr/sbin/dropbear -F", Some("-F")),
        ("etc/inittab", "#::respawn:/usr/sbin/dropbear -F", None),
        (
            "etc/crontabs/root",
            "* * * * * pidof dropbear || /usr/sbin/dropbear -R",
            Some("-R"),
        ),
        (
            "etc/systemd/system/ssh.service",
            "ExecStart=/usr/sbin/dropbear -F",
            Some("-F"),
        ),
        ("etc/init.d/rcS", "dropbear -R", Some("-R")),
        ("etc/rc.local", "dropbear -R", Some("-R")),
        ("home/hack/start.sh", "dropbear -R", Some("-R")),
        ("etc/init.d/ssh", "dropbear -R", None),
        ("lib/preinit/99_failsafe.sh", "dropbear -R", None),
        ("etc/profile", "dropbear -R", None),
        ("var/www/ssh.cgi", "dropbear -R", None),
        ("usr/bin/ssh-on", "dropbear -R", None),
    ] {
        let text = if path.starts_with("etc/inittab") || path.contains("cron") || path.contains("systemd") {
            format!("{text}\n")
        } else {
            format!("#!/bin/sh\n{text}\n")
        };
        let dir = tree(&[(path, &text, 0o755), ("usr/sbin/dropbear", "", 0o755)]);
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
