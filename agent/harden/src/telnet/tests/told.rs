//! What is told and not changed: variables of the boot loader, cards, and servers in disguise.

use super::*;

#[test]
fn ways_in_from_a_card_are_told() {
    let (_, statuses) = hardened(
        "etc/init.d/rcS",
        "[ -f /mnt/mmc/autostart.sh ] && sh /mnt/mmc/autostart.sh\nx=$(fw_printenv)\nfw_printenv xmuart\n",
    );
    assert_eq!(statuses, [Status::Notice, Status::Notice, Status::Holds]);
}

#[test]
fn of_the_boot_loaders_variables_those_that_run_something_are_told() {
    for (line, told) in [
        ("[ \"$(fw_printenv -n telnet_on)\" = 1 ] && telnet_up", true),
        ("fw_printenv -n after | sh", true),
        ("$(fw_printenv -n after)", true),
        ("`fw_printenv -n after` &", true),
        ("cmd=`fw_printenv -n after`; $cmd", true),
        ("cmd=$(fw_printenv -n after)\neval \"$cmd\"", true),
        ("fw_printenv | grep -q ^telnet", true),
        ("fw_printenv -n DEBUG2", true),
        ("fw_printenv | while read l; do x $l; done", true),
        ("fw_printenv | grep sensor | cut -d= -f2", false),
        ("fw_printenv -n description", false),
        ("fw_printenv -n tftpserver", false),
        ("fw_printenv -n ftp_path", false),
        ("fw_printenv -n after | cut -c1", false),
        (
            "s=$(fw_printenv -n soc | tr A-Z a-z)\ncase $1 in\nx-*|\"$s\"|'') y;;\nesac",
            false,
        ),
        ("h=$(fw_printenv -n x)\nf=$((0x${h:-0}))", false),
        ("s=$(fw_printenv -n sensor)\nsh /usr/bin/load.sh $s", false),
        ("debug=$(fw_printenv -n debug)", true),
        ("eval \"$(fw_printenv -n after)\"", true),
        ("sh -c \"$(fw_printenv -n after)\"", true),
        ("fw_printenv | sh", true),
        ("fw_printenv -n watchdog_timeout", false),
        ("fw_setenv ethaddr \"$mac\" 2>/dev/null", false),
        ("export SENSOR=$(fw_printenv -n sensor)", false),
        ("fw_printenv >/mnt/backup", false),
    ] {
        let (_, statuses) = hardened("etc/init.d/rcS", &format!("{line}\n"));
        assert_eq!(statuses.contains(&Status::Notice), told, "{line}: {statuses:?}");
    }
}

#[test]
fn servers_that_are_named_before_they_are_started_are_unknown() {
    for script in [
        "set -- telnetd; \"$@\"\n",
        "alias td=telnetd\ntd\n",
        "alias td='busybox telnetd -l /bin/sh'\ntd\n",
        "printf 'telnetd\\n' > /tmp/a; . /tmp/a\n",
        "echo '/usr/sbin/telnetd &' >/tmp/x.sh\nchmod +x /tmp/x.sh\n/tmp/x.sh\n",
    ] {
        let script = format!("#!/bin/sh\n{script}");
        let (text, statuses) = hardened("etc/init.d/rcS", &script);
        assert_eq!(text, script);
        assert_eq!(statuses, [Status::Unknown], "{script}");
    }
    // Put together from parts.
    for script in ["T=tel; T=${T}netd; $T &\n", "busybox tel\"\"netd\n"] {
        let (_, statuses) = hardened("etc/init.d/rcS", script);
        assert_eq!(statuses.len(), 1, "{script}");
    }
    // Words about it start nothing.
    for script in [
        "echo 'telnetd is off' >/dev/console\n",
        "echo telnetd >/var/log/off\ncat /var/log/off\n",
        "alias telnet=true\nalias ll='ls -l'\n",
        "set -e\n",
    ] {
        let (text, statuses) = hardened("etc/init.d/rcS", script);
        assert_eq!(text, script);
        assert!(
            statuses.iter().all(|status| *status == Status::Holds),
            "{script}: {statuses:?}"
        );
    }
}

#[test]
fn a_script_that_says_much_is_looked_through_soon() {
    let mut text = String::from("#!/bin/sh\n");
    for n in 0..7000 {
        text.push_str(&format!("echo telnetd>/{n}\n"));
    }
    text.push_str(&"x\n".repeat(50_000));
    let started = std::time::Instant::now();
    let (_, statuses) = hardened("etc/init.d/rcS", &text);
    assert_eq!(statuses, [Status::Holds]);
    // Without optimisation, on a busy machine.
    assert!(started.elapsed().as_secs() < 20, "{:?}", started.elapsed());
}
