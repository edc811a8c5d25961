use super::*;
use crate::root::Root;

mod told;

fn tree(files: &[(&str, &str)]) -> (tempfile::TempDir, Root) {
    let dir = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = dir.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let root = Root::tree(dir.path()).unwrap();
    (dir, root)
}

fn hardened(path: &str, text: &str) -> (String, Vec<Status>) {
    let (_dir, root) = tree(&[(path, text)]);
    let survey = Survey::take(&root, "/etc/lenscap");
    let mut edits = Edits::new(&root);
    plan(&survey, Close::default(), &mut edits).unwrap();
    let statuses = edits.findings.iter().map(|finding| finding.status).collect();
    let text = edits.read(&format!("/{path}")).unwrap().unwrap();
    (String::from_utf8(text).unwrap(), statuses)
}

#[test]
fn starters_in_scripts_do_nothing_afterwards() {
    for (before, after) in [
        ("telnetd &\n", ": telnetd &\n"),
        (
            "/usr/sbin/telnetd -l /bin/sh -p 4321",
            ": /usr/sbin/telnetd -l /bin/sh -p 4321",
        ),
        ("telnetd -p9527 &", ": telnetd -p9527 &"),
        (
            "busybox telnetd -F -p 4321 -l /bin/sh &",
            ": busybox telnetd -F -p 4321 -l /bin/sh &",
        ),
        (
            "while true; do\n  pidof telnetd >/dev/null || telnetd\n  sleep 10\ndone &\n",
            "while true; do\n  pidof telnetd >/dev/null || : telnetd\n  sleep 10\ndone &\n",
        ),
        (
            "while :; do telnetd -F -l /bin/sh; done &",
            "while :; do sleep 86400; : telnetd -F -l /bin/sh; done &",
        ),
        (
            "D=/usr/sbin/telnetd\nstart-stop-daemon -S -b -x $D -- -F\nstart-stop-daemon -K -x $D\n",
            "D=/usr/sbin/telnetd\n: start-stop-daemon -S -b -x $D -- -F\nstart-stop-daemon -K -x $D\n",
        ),
        (
            "ARGS=\"-F -p 4321 -l /bin/sh\"\nstart-stop-daemon -S -q -m -b \\\n\t-x /usr/sbin/telnetd -- $ARGS\n",
            "ARGS=\"-F -p 4321 -l /bin/sh\"\n: start-stop-daemon -S -q -m -b \\\n\t-x /usr/sbin/telnetd -- $ARGS\n",
        ),
        (
            "if [ -x /usr/sbin/telnetd ]; then telnetd; fi",
            "if [ -x /usr/sbin/telnetd ]; then : telnetd; fi",
        ),
        ("sh -c 'sleep 5; telnetd' &", ": sh -c 'sleep 5; telnetd' &"),
        (
            "script -c 'telnetd -l /bin/sh' /dev/null",
            ": script -c 'telnetd -l /bin/sh' /dev/null",
        ),
        (
            "sh -c 'while :; do nc -l -p 23 -e /bin/sh; done' &",
            ": sh -c 'while :; do nc -l -p 23 -e /bin/sh; done' &",
        ),
        (
            "socat TCP-LISTEN:4444,reuseaddr,fork EXEC:'/bin/sh -i',pty &",
            ": socat TCP-LISTEN:4444,reuseaddr,fork EXEC:'/bin/sh -i',pty &",
        ),
        (
            "/usr/bin/socat SYSTEM:/bin/login tcp4-l:23 &",
            ": /usr/bin/socat SYSTEM:/bin/login tcp4-l:23 &",
        ),
        (
            "busybox tcpsvd -E 0 2323 /bin/sh",
            ": busybox tcpsvd -E 0 2323 /bin/sh",
        ),
        (
            "ncat --listen 23 --sh-exec \"sh -i\" &",
            ": ncat --listen 23 --sh-exec \"sh -i\" &",
        ),
        ("nc -ll -p 9527 -e /bin/sh &", ": nc -ll -p 9527 -e /bin/sh &"),
        (
            "stunnel -d 992 -l /usr/sbin/telnetd\nipcam &\n",
            ": stunnel -d 992 -l /usr/sbin/telnetd\nipcam &\n",
        ),
        // Outside a loop nothing spins, and the boot would wait.
        (
            "start-stop-daemon -S -q -m -b -p P -x /usr/sbin/telnetd -- -F -f /etc/issue.net\n",
            ": start-stop-daemon -S -q -m -b -p P -x /usr/sbin/telnetd -- -F -f /etc/issue.net\n",
        ),
        (
            "telnetd -F 2>&1 | logger -t telnetd &\n",
            ": telnetd -F 2>&1 | logger -t telnetd &\n",
        ),
        (
            "telnetd -F || telnetd -F -p 24 &\n",
            ": telnetd -F || : telnetd -F -p 24 &\n",
        ),
        ("telnetd -F\nipcam &\n", ": telnetd -F\nipcam &\n"),
        (
            "while sleep 9; do ipcam; done &\ntelnetd -F\n",
            "while sleep 9; do ipcam; done &\n: telnetd -F\n",
        ),
        (
            "for p in 1 2; do telnetd -F; done\n",
            "for p in 1 2; do : telnetd -F; done\n",
        ),
        // In one, what goes to the background would pile up.
        (
            "while sleep 9; do start-stop-daemon -S --background -x telnetd -- -F -f x; done &\n",
            "while sleep 9; do : start-stop-daemon -S --background -x telnetd -- -F -f x; done &\n",
        ),
        (
            "while sleep 9; do telnetd -F | logger & done &\n",
            "while sleep 9; do : telnetd -F | logger & done &\n",
        ),
        (
            "while sleep 9; do { telnetd -F && echo x; } & done\n",
            "while sleep 9; do { : telnetd -F && echo x; } & done\n",
        ),
        (
            "until telnetd -F; do sleep 1; done\nipcam &\n",
            "until : telnetd -F; do sleep 1; done\nipcam &\n",
        ),
        (
            "(while :; do telnetd -F; done) &\n",
            "(while :; do sleep 86400; : telnetd -F; done) &\n",
        ),
        (
            "while :; do for p in 1 2; do telnetd -F; done; done &\n",
            "while :; do for p in 1 2; do sleep 86400; : telnetd -F; done; done &\n",
        ),
        (
            "while :; do start-stop-daemon -S -x telnetd -- -F; done &\n",
            "while :; do sleep 86400; : start-stop-daemon -S -x telnetd -- -F; done &\n",
        ),
        (
            "while :; do stunnel -f -d 992 -l /usr/sbin/telnetd; done &\n",
            "while :; do sleep 86400; : stunnel -f -d 992 -l /usr/sbin/telnetd; done &\n",
        ),
        (
            "while pidof telnetd; do sleep 1; done\ntelnetd\n",
            "while pidof telnetd; do sleep 1; done\n: telnetd\n",
        ),
        ("TELNETD=yes\n", "TELNETD=no\n"),
        ("T=telnetd; $T &\n", "T=telnetd; : $T &\n"),
        (
            "start() {\n\t$T -l /bin/sh &\n}\nT=telnetd\nstart\n",
            "start() {\n\t: $T -l /bin/sh &\n}\nT=telnetd\nstart\n",
        ),
        (
            "T=telnet\n\"${T}d\" -l /bin/sh &\n",
            "T=telnet\n: \"${T}d\" -l /bin/sh &\n",
        ),
        (
            "D=/usr/sbin N=telnetd\nnice $D/$N &\n",
            "D=/usr/sbin N=telnetd\n: nice $D/$N &\n",
        ),
        ("T=telnetd; U=$T\neval $U\n", "T=telnetd; U=$T\n: eval $U\n"),
        (
            "A=-F\n[ x ] && A=\"$A -p 24\"\ntelnetd $A &\n",
            "A=-F\n[ x ] && A=\"$A -p 24\"\n: telnetd $A &\n",
        ),
        (
            "export T=telnetd\neval \"$T -l /bin/sh\"\n",
            "export T=telnetd\n: eval \"$T -l /bin/sh\"\n",
        ),
        ("$(which telnetd) -p 24 &\n", ": $(which telnetd) -p 24 &\n"),
        ("T=`command -v telnetd`\n$T\n", "T=`command -v telnetd`\n: $T\n"),
        (
            "start-stop-daemon -S -x \"$(which telnetd)\"\n",
            ": start-stop-daemon -S -x \"$(which telnetd)\"\n",
        ),
        (
            "procd_set_param command /usr/sbin/telnetd -F",
            ": procd_set_param command /usr/sbin/telnetd -F",
        ),
    ] {
        let script = format!("#!/bin/sh\n{before}");
        let (text, statuses) = hardened("etc/init.d/S50x", &script);
        assert_eq!(text, format!("#!/bin/sh\n{after}"));
        assert!(statuses.contains(&Status::Planned), "{before}");
        let (again, statuses) = hardened("etc/init.d/S50x", &text);
        assert_eq!(again, text);
        assert_eq!(statuses, [Status::Holds], "{text}");
    }
}

/// Without the server the loop would go on for ever, and the boot would hang in it, or the camera restart again and again.
#[test]
fn a_server_that_is_waited_for_is_left_and_that_is_unknown() {
    for script in [
        "until pidof telnetd >/dev/null; do\n\ttelnetd\n\tsleep 1\ndone\nipcam &\n",
        "telnetd\nwhile ! pidof telnetd; do sleep 1; done\nipcam &\n",
        "telnetd\nuntil ps | grep -q telnetd; do sleep 1; done\nipcam &\n",
        "telnetd\nwhile [ -z \"$(pidof telnetd)\" ]; do sleep 1; done\nipcam &\n",
        "telnetd\nwhile [ \"x$(pidof telnetd)\" = x ]; do sleep 1; done\nipcam &\n",
        "telnetd\nwhile true; do\n\tpidof telnetd && break\n\tsleep 1\ndone\nipcam &\n",
        "telnetd\nwhile :; do\n\tif busybox pidof telnetd; then\n\t\tbreak\n\tfi\n\tsleep 1\ndone\n",
        "telnetd\nup() { pidof telnetd; }\nuntil up; do sleep 1; done\n",
        "telnetd\nup() {\n\tpidof telnetd && return\n\tfalse\n}\nwhile ! up; do sleep 1; done\n",
        "telnetd\nP=\nuntil [ -n \"$P\" ]; do P=$(pidof telnetd); sleep 1; done\n",
        "telnetd\nuntil [ \"$UP\" = 1 ]; do pidof telnetd && UP=1; sleep 1; done\n",
        "telnetd\nuntil [ -f /var/run/telnetd.pid ]; do sleep 1; done\n",
        "telnetd\nuntil netstat -ltn | grep -q ':23 '; do sleep 1; done\n",
        "telnetd\nuntil nc -z 127.0.0.1 23; do sleep 1; done\n",
        "telnetd\nuntil grep -qi ':0017 ' /proc/net/tcp; do sleep 1; done\n",
        "telnetd\nsleep 5; pidof telnetd || reboot\n",
        "while sleep 5; do\n\tif ! pgrep telnetd; then\n\t\tsync; /sbin/reboot -f\n\tfi\ndone &\ntelnetd\n",
        "telnetd\nuntil killall -0 telnetd; do sleep 1; done\n",
        "telnetd\nwhile ! ps | grep -q [t]elnetd; do sleep 1; done\n",
        "telnetd\nwhile [ \"$(ps | grep -c [t]elnetd)\" = 0 ]; do sleep 1; done\n",
        "wait_for() {\n\tuntil pidof \"$1\"; do sleep 1; done\n}\ntelnetd\nwait_for telnetd\n",
        "check() { pidof telnetd; }\ntelnetd\nwhile true; do check && break; sleep 1; done\n",
        "telnetd\nsleep 9\npidof telnetd\nif [ $? -ne 0 ]; then\n\ta\n\tb\n\tc\n\td\n\te\n\treboot\nfi\n",
        "telnetd\n[ $(ps | grep -c [t]elnetd) -gt 0 ] || {\n\tsync\n\ta\n\tb\n\tc\n\treboot\n}\n",
        "telnetd\nif pidof telnetd; then\n\ta\nelse\n\treboot\nfi\n",
        "telnetd\nuntil grep -q 0017 /proc/net/tcp; do sleep 1; done\n",
        "telnetd\nuntil fuser 23/tcp; do sleep 1; done\n",
        "telnetd\nuntil pgrep telnet; do sleep 1; done\n",
        "telnetd -F & P=$!\nuntil kill -0 $P; do sleep 1; done\n",
        "telnetd &\nP=$!\nsleep 5\n[ -d /proc/$P ] || reboot\n",
        "telnetd\nwhile :; do case \"$(ps)\" in *telnetd*) break;; esac; sleep 1; done\n",
        "telnetd\nwhile :; do\n\tcase `pidof telnetd` in\n\t?*) break;;\n\tesac\ndone\n",
        "while telnetd; do sleep 1; done\nipcam &\n",
        "while [ -f /etc/on ] && telnetd -p 23; do sleep 1; done\n",
        "until ! telnetd; do sleep 1; done\n",
    ] {
        let script = format!("#!/bin/sh\n{script}");
        let (text, statuses) = hardened("etc/init.d/rcS", &script);
        assert_eq!(text, script);
        assert!(statuses.contains(&Status::Unknown), "{script}: {statuses:?}");
        let done = [Status::Planned, Status::Holds];
        assert!(
            !statuses.iter().any(|status| done.contains(status)),
            "{script}: {statuses:?}"
        );
    }
    // Another script than that which starts it.
    let wait = "#!/bin/sh\nuntil pidof telnetd; do sleep 1; done\nipcam &\n";
    let inittab = "::respawn:/usr/sbin/telnetd -F\n";
    let (_dir, root) = tree(&[
        ("etc/init.d/rcS", wait),
        ("etc/inittab", inittab),
        ("etc/x.conf", "telnet=1\n"),
    ]);
    let survey = Survey::take(&root, "/etc/lenscap");
    let mut edits = Edits::new(&root);
    plan(&survey, Close::default(), &mut edits).unwrap();
    assert_eq!(edits.files().count(), 0);
    assert!(edits.awaited);
}

#[test]
fn what_ends_without_the_server_is_no_wait_for_it() {
    for script in [
        "while pidof telnetd; do sleep 1; done\ntelnetd\n",
        "for i in 1 2 3; do telnetd; pidof telnetd && break; sleep 1; done\n",
        "n=0\nwhile [ $n -lt 5 ]; do pidof telnetd || telnetd; n=$((n+1)); done\n",
        "while :; do pidof telnetd || telnetd; sleep 5; done &\n",
        "while ! ping -c1 gateway; do sleep 1; done\npidof telnetd || telnetd\n",
        "while :; do ipcam; done &\ntelnetd\n",
        "start() {\n\tpidof telnetd && return\n\ttelnetd\n}\nstop() {\n\tkillall telnetd\n\tsync\n\treboot\n}\n",
        "telnetd\nuntil netstat -ltn | grep -q ':2323 '; do sleep 1; done\n",
        "telnetd -l /bin/sh &\n[ -f /tmp/fail ] && reboot\n",
        "touch /etc/telnetd_enabled; sync; reboot\ntelnetd\n",
        "if factory; then\n\tsed -i s/telnetd/x/ /etc/rc; reboot\nfi\ntelnetd\n",
        "while [ -n \"$(pidof telnetd)\" ]; do sleep 1; done\ntelnetd\n",
        "while true; do pidof telnetd || break; sleep 1; done\ntelnetd\n",
        "while true; do\n\tif ! pidof telnetd; then break; fi\n\tsleep 1\ndone\ntelnetd\n",
        "i=0\nwhile [ $i != 10 ]; do pidof telnetd || telnetd; i=$((i+1)); done\n",
        "telnetd\nif pidof telnetd; then\n\tkillall telnetd\nfi\nflashcp && reboot\n",
        "telnetd -F & P=$!\nwhile kill -0 $P; do sleep 1; done\n",
        "ipcam & P=$!\nkill -0 $P || reboot\ntelnetd\n",
        "until telnetd; do sleep 1; done\nipcam &\n",
        "while ! telnetd; do sleep 1; done\nipcam &\n",
        "while :; do case $1 in -x) break;; esac; done\ntelnetd\n",
    ] {
        let script = format!("#!/bin/sh\n{script}");
        let (text, statuses) = hardened("etc/init.d/rcS", &script);
        assert_ne!(text, script);
        assert!(!statuses.contains(&Status::Unknown), "{script}: {statuses:?}");
    }
}

#[test]
fn scripts_still_parse_and_start_nothing() {
    let script = "#!/bin/sh\nD=telnetd\nfor i in 1 2; do\n if true; then $D -l /bin/sh; else telnetd & fi\ndone\ncase x in\n x) telnetd;;\n telnetd) ;;\nesac\nf() { telnetd; }\nf\necho done\n";
    let (text, _) = hardened("etc/init.d/rcS", script);
    let output = std::process::Command::new("sh")
        .args(["-c", &text])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert_eq!(output.stdout, b"done\n");
}

#[test]
fn tables_and_settings_are_switched_off() {
    for (path, before, after) in [
        (
            "etc/inittab",
            "::respawn:/usr/sbin/telnetd -F\n::respawn:/bin/getty\n",
            "#lenscap: ::respawn:/usr/sbin/telnetd -F\n::respawn:/bin/getty\n",
        ),
        ("etc/inittab", "::once:telnetd", "#lenscap: ::once:telnetd"),
        (
            "etc/inittab",
            "::respawn:socat TCP-LISTEN:23,fork EXEC:/bin/login\n::respawn:/bin/getty\n",
            "#lenscap: ::respawn:socat TCP-LISTEN:23,fork EXEC:/bin/login\n::respawn:/bin/getty\n",
        ),
        (
            "etc/crontabs/root",
            "@reboot /usr/bin/tcpsvd 0 23 /bin/sh -i\n",
            "#lenscap: @reboot /usr/bin/tcpsvd 0 23 /bin/sh -i\n",
        ),
        (
            "etc/inetd.conf",
            "telnet stream tcp nowait root /usr/sbin/telnetd telnetd -i\n",
            "#lenscap: telnet stream tcp nowait root /usr/sbin/telnetd telnetd -i\n",
        ),
        (
            "etc/inetd.conf",
            "99 stream tcp nowait root /bin/sh sh -i\n98 stream tcp nowait root /bin/sh sh /x\n",
            "#lenscap: 99 stream tcp nowait root /bin/sh sh -i\n98 stream tcp nowait root /bin/sh sh /x\n",
        ),
        (
            "etc/inittab",
            "::respawn:/bin/sh -c 'telnetd -F'\n::respawn:/bin/getty\n",
            "#lenscap: ::respawn:/bin/sh -c 'telnetd -F'\n::respawn:/bin/getty\n",
        ),
        (
            "etc/crontabs/root",
            "* * * * * [ -e /x ]||telnetd\n",
            "#lenscap: * * * * * [ -e /x ]||telnetd\n",
        ),
        (
            "etc/crontabs/root",
            "* * * * * pidof telnetd || telnetd\n",
            "#lenscap: * * * * * pidof telnetd || telnetd\n",
        ),
        (
            "home/yi-hack/etc/system.conf",
            "HTTPD=yes\nTELNETD=yes\r\nFTPD=yes\n",
            "HTTPD=yes\nTELNETD=no\r\nFTPD=yes\n",
        ),
        (
            "etc/camera.ini",
            "telnet_enable = \"1\"\ndisable_telnet=1\n",
            "telnet_enable = \"0\"\ndisable_telnet=1\n",
        ),
    ] {
        let (text, statuses) = hardened(path, before);
        assert_eq!(text, after);
        assert!(statuses.contains(&Status::Planned), "{path}");
        // FTP is told.
        let (text, mut statuses) = hardened(path, &text);
        statuses.retain(|status| *status != Status::Notice);
        assert_eq!(
            (text.as_str(), statuses.as_slice()),
            (after, &[Status::Holds][..])
        );
    }
}

/// A line may start the camera itself beside the server, or tell it of one.
#[test]
fn a_line_that_starts_something_else_stays_and_is_unknown() {
    for (path, line) in [
        ("etc/inittab", "::respawn:/bin/sh -c 'telnetd & exec ipcam'"),
        (
            "etc/inittab",
            "::respawn:/bin/sh -c 'sleep 1; telnetd & exec ipcam'",
        ),
        ("etc/inittab", "::sysinit:mount -a && telnetd"),
        (
            "etc/inittab",
            "::once:socat TCP-LISTEN:23,fork EXEC:/bin/login & ipcam",
        ),
        ("etc/inittab", "::respawn:/usr/bin/ipcam --off=telnetd"),
        ("etc/crontabs/root", "* * * * * sh -c 'telnetd & exec ipcam'"),
        ("etc/crontabs/root", "* * * * * [ -e /x ]&&telnetd"),
    ] {
        let before = format!("{line}\n::respawn:/bin/getty\n");
        let (text, statuses) = hardened(path, &before);
        assert_eq!((text, statuses.as_slice()), (before, &[Status::Unknown][..]));
    }
}

#[test]
fn what_serves_no_shell_stays() {
    for script in [
        "tcpsvd 0 8080 sh /usr/share/page.sh &",
        "socat TCP-LISTEN:8554,fork TCP:127.0.0.1:554 &",
        "socat TCP-LISTEN:80,fork EXEC:'sh /usr/share/page.sh' &",
        "socat EXEC:/bin/sh UNIX-CONNECT:/run/x &",
        "nc 10.0.0.1 99 -e /bin/echo",
    ] {
        let script = format!("#!/bin/sh\n{script}\n");
        let (text, statuses) = hardened("etc/init.d/S50x", &script);
        assert_eq!(
            (text, statuses.as_slice()),
            (script.clone(), &[Status::Holds][..])
        );
    }
}

#[test]
fn what_may_start_a_server_is_named_and_left_alone() {
    for (text, line) in [
        ("if true; then T=telnetd; else T=dropbear; fi\n$T &\n", 3),
        ("for d in telnetd httpd; do\n$d &\ndone\n", 3),
        ("for d in a b c d e f g h telnetd; do\n$d &\ndone\n", 3),
        ("U=x\nf() { U=$T; }\n$U &\nT=telnetd\n", 4),
        (
            &format!("A={}\nT=x\nT=telnetd\neval \"$A; $T\"\n", "x".repeat(5000)),
            5,
        ),
        ("${TELNET:-telnetd} &\n", 2),
        ("T=echo\nT=telnetd\n[ x ] && T=echo\n$T\n", 5),
        ("x=$(\ntelnetd)\n", 3),
        ("echo `telnetd -l /bin/sh`\n", 2),
        ("$(cat /etc/telnetd.path; echo telnetd) &\n", 2),
        ("sh <<EOF\nsleep 1\ntelnetd &\nEOF\n", 4),
        ("cat >/tmp/x.sh <<'EOF'\n#!/bin/sh\ntelnetd\nEOF\n", 4),
        ("cat >/etc/inittab <<-E\n::respawn:/usr/sbin/telnetd -F\nE\n", 3),
        ("echo 'telnetd &' | sh\n", 2),
    ] {
        let script = format!("#!/bin/sh\n{text}");
        let (_dir, root) = tree(&[("etc/init.d/S50x", &script)]);
        let survey = Survey::take(&root, "/etc/lenscap");
        let mut edits = Edits::new(&root);
        plan(&survey, Close::default(), &mut edits).unwrap();
        assert_eq!(edits.files().count(), 0, "{text}");
        let unknown = edits
            .findings
            .iter()
            .find(|finding| finding.status == Status::Unknown);
        let at = unknown.map(|finding| (finding.path.as_deref(), finding.line));
        assert_eq!(at, Some((Some("/etc/init.d/S50x"), Some(line))), "{text}");
    }
    let (_, statuses) = hardened(
        "etc/telnet.conf",
        "# DAEMON=telnetd\nDAEMON='/usr/sbin/telnetd'\n",
    );
    assert_eq!(statuses, [Status::Unknown]);
    for nothing in [
        "p=$(pidof telnetd)\nkill $p\n",
        "p=`pidof telnetd`\n[ -n \"`pidof telnetd`\" ] && kill $p\n",
        "if command -v telnetd >/dev/null; then echo telnetd is there; fi\n",
        "cat <<EOF\nusage: $0 start|stop\nEOF\n: telnetd\n",
        "echo telnetd | logger\n",
        "for p in telnetd httpd; do killall $p; done\n",
    ] {
        let (_, statuses) = hardened("etc/init.d/S50x", &format!("#!/bin/sh\n{nothing}"));
        assert_eq!(statuses, [Status::Holds], "{nothing}");
    }
}

#[test]
fn a_script_that_cannot_be_followed_is_unknown() {
    let long = format!("#!/bin/sh\n# telnet\n{}$T\n", "T=$T$T\n".repeat(30_000));
    for (text, status) in [
        (long.as_str(), Status::Unknown),
        (&long.replace("telnet", "TELNET"), Status::Holds),
        ("#!/bin/sh\n# telnet\nA=\"$B x\"; B=\"$A y\"\n", Status::Unknown),
        ("#!/bin/sh\n/bin/nc x\nA=\"$B x\"; B=\"$A y\"\n", Status::Unknown),
        ("#!/bin/sh\nncat\nA=\"$B x\"; B=\"$A y\"\n", Status::Unknown),
        (
            "#!/bin/sh\nfunction truncate\nsync\nA=\"$B x\"; B=\"$A y\"\n",
            Status::Holds,
        ),
    ] {
        let (after, statuses) = hardened("etc/init.d/S50x", text);
        assert!(after == text && statuses == [status], "{statuses:?}");
    }
    // Nor does it take for ever.
    let (open, close) = ("sh -c $(".repeat(200), ")".repeat(200));
    let (_, statuses) = hardened("etc/init.d/S50x", &format!("#!/bin/sh\n{open}nc{close}\n"));
    assert!(statuses.contains(&Status::Unknown), "{statuses:?}");
}

#[test]
fn what_is_too_large_or_no_text_is_not_passed_by() {
    let large = format!("# {}\n::respawn:telnetd -F\n", "x".repeat(300_000));
    for (path, text) in [
        ("etc/inittab", large.as_str()),
        ("etc/inetd.conf", &large),
        ("usr/bin/start", "#!/bin/sh\n# \0\ntelnetd &\n"),
    ] {
        let (_dir, root) = tree(&[(path, text)]);
        let mut edits = Edits::new(&root);
        let survey = Survey::take(&root, "/etc/lenscap");
        plan(&survey, Close::default(), &mut edits).unwrap();
        assert_eq!(edits.findings.len(), 1, "{path}");
        assert_eq!(edits.findings[0].status, Status::Unknown, "{path}");
    }
    // An installer with an archive behind it.
    let (text, statuses) = hardened("usr/share/setup.sh", "#!/bin/sh\ntail -n +3 $0 | tar xz\n\0\0");
    assert_eq!((text.len(), statuses.as_slice()), (35, &[Status::Holds][..]));
}

#[test]
fn what_is_not_understood_is_unknown() {
    let (text, statuses) = hardened("usr/bin/go.sh", "run_service telnetd on\n");
    assert_eq!(
        (text.as_str(), statuses.as_slice()),
        ("run_service telnetd on\n", &[Status::Unknown][..])
    );
    let (_dir, root) = tree(&[("usr/bin/Sofia", "\u{7f}ELF .. telnetd")]);
    let mut edits = Edits::new(&root);
    plan(&Survey::take(&root, "/etc/lenscap"), Close::default(), &mut edits).unwrap();
    assert_eq!(edits.findings[0].status, Status::Unknown);
    assert_eq!(edits.findings[0].path.as_deref(), Some("/usr/bin/Sofia"));
}

#[test]
fn a_table_elsewhere_is_unknown() {
    for (line, status) in [
        ("inetd /opt/conf", Status::Unknown),
        ("busybox inetd -f -R 30 /opt/x.conf", Status::Unknown),
        ("crond -b -c /opt/tab", Status::Unknown),
        (
            "start-stop-daemon -S -x /usr/sbin/crond -- -c /opt/tab",
            Status::Unknown,
        ),
        ("inetd /etc/inetd.conf", Status::Holds),
        ("crond -c /etc/crontabs -L /tmp/log", Status::Holds),
    ] {
        let (_, statuses) = hardened("etc/init.d/rcS", &format!("#!/bin/sh\n{line}\n"));
        assert_eq!(statuses, [status], "{line}");
    }
    let (_, statuses) = hardened("etc/inittab", "::respawn:/usr/sbin/inetd -f /opt/conf\n");
    assert_eq!(statuses, [Status::Unknown]);
}

/// Each of many scripts may have a folder looked through.
#[test]
fn folders_are_looked_through_once_and_not_for_ever() {
    for (scripts, whole) in [(256, true), (257, false)] {
        let text: String = (0..scripts)
            .map(|at| format!("run-parts /opt/{at}\nrun-parts /opt/1\n"))
            .collect();
        let (_dir, root) = tree(&[("etc/init.d/rcS", &text), ("opt/255/x", "telnetd\n")]);
        let survey = Survey::take(&root, "/etc/lenscap");
        assert_eq!(survey.complete, whole, "{scripts}");
        assert!(survey.scripts.contains(&"/opt/255/x".to_owned()));
    }
}

#[test]
fn what_starts_with_the_network_a_clock_or_a_device_is_found() {
    let close = |path: &str, before: &str, after: &str| {
        let (text, statuses) = hardened(path, before);
        assert_eq!(
            (text.as_str(), statuses.as_slice()),
            (after, &[Status::Planned][..]),
            "{path}"
        );
    };
    close(
        "etc/network/interfaces",
        "iface eth0 inet dhcp\n\tpost-up /usr/sbin/telnetd -l /bin/sh\n",
        "iface eth0 inet dhcp\n#lenscap: \tpost-up /usr/sbin/telnetd -l /bin/sh\n",
    );
    close(
        "etc/cron.d/x",
        "* * * * * root telnetd\n",
        "#lenscap: * * * * * root telnetd\n",
    );
    close(
        "etc/hotplug.d/iface/10-t",
        "[ a = b ] && telnetd\n",
        "[ a = b ] && : telnetd\n",
    );
    close("etc/sys.conf", "ENABLE_TELNETD=y\n", "ENABLE_TELNETD=n\n");
    for table in [
        "telnet stream tcp nowait root /usr/lib/td td\n",
        "0.0.0.0:23 stream tcp nowait root internal\n",
    ] {
        close("etc/inetd.conf", table, &format!("#lenscap: {table}"));
    }
    for (path, text) in [
        ("etc/network/interfaces", "  up route add x; telnetd\n"),
        ("etc/network/interfaces.d/eth0", "  up a || telnetd\n"),
        ("etc/network/interfaces", "  up telnetd \\\n -F\n"),
        ("etc/mdev.conf", "sda1 0:0 660 @/usr/sbin/telnetd\n"),
        ("etc/mdev.conf", "sda1 0:0 660 *telnetd\n"),
        (
            "etc/xinetd.d/telnet",
            "service telnet\n{\n\tserver = /usr/lib/td\n}\n",
        ),
        ("etc/xinetd.d/x", "service x\n{\n\tserver=/bin/login\n}\n"),
        (
            "etc/xinetd.conf",
            "service x\n{\n\tserver = /usr/sbin/in.telnetd\n}\n",
        ),
        (
            "lib/systemd/system/t.service",
            "[Service]\nExecStart=-/usr/sbin/telnetd -F\n",
        ),
        (
            "lib/systemd/system/t.socket",
            "[Socket]\nListenStream=0.0.0.0:23\n",
        ),
        (
            "usr/bin/w",
            "#!/usr/bin/python\nimport os\nos.system(\"telnetd\")\n",
        ),
        ("usr/bin/w", "#!/usr/bin/lua\nos.execute(\"telnetd &\")\n"),
        ("usr/bin/w.sh", "cp /usr/sbin/telnetd /tmp/x; /tmp/x\n"),
        ("usr/bin/w.sh", "cat f | /bin/sh -i 2>&1 | nc -l -p 4444 >f &\n"),
        ("usr/bin/w.sh", "nc -l -p 4444 <f | sh >f\n"),
    ] {
        let (after, statuses) = hardened(path, text);
        assert_eq!(
            (after.as_str(), statuses.as_slice()),
            (text, &[Status::Unknown][..]),
            "{path}"
        );
    }
    for (path, text) in [
        ("etc/network/interfaces", "#\tup telnetd\n"),
        ("etc/inetd.conf", "time stream tcp nowait root internal\n"),
        ("lib/systemd/system/t.socket", "[Socket]\nListenStream=123\n"),
        ("usr/bin/w", "#!/usr/bin/python\nprint(1)\n"),
        (
            "usr/bin/w.sh",
            "ln -s ../bin/busybox /usr/sbin/telnetd\ncat f | nc -l -p 4444\n",
        ),
    ] {
        assert_eq!(hardened(path, text).1, [Status::Holds], "{path}");
    }
}

/// A link gives a file the name by which it is read, and a shell reads what it is told to.
#[test]
fn files_of_other_names_are_what_they_are_read_as() {
    use std::os::unix::fs::symlink;
    let starts = "telnetd -l /bin/sh &\n";
    let inittab = "::respawn:/usr/sbin/telnetd -F\n";
    for (path, text, link, to) in [
        ("etc/tab.real", inittab, "etc/inittab", "tab.real"),
        (
            "usr/lib/i",
            "telnet stream tcp nowait root /x x\n",
            "etc/inetd.conf",
            "/usr/lib/i",
        ),
        ("opt/start/boot", starts, "etc/init.d/S50x", "/opt/start/boot"),
        ("opt/start/boot", starts, "etc/rc.d/S50x", "../../opt/start/boot"),
        ("opt/start/S1", starts, "etc/init.d", "/opt/start"),
    ] {
        let (dir, root) = tree(&[(path, text), ("etc/x", "")]);
        let link = dir.path().join(link);
        std::fs::create_dir_all(link.parent().unwrap()).unwrap();
        symlink(to, &link).unwrap();
        let mut edits = Edits::new(&root);
        plan(&Survey::take(&root, "/etc/lenscap"), Close::default(), &mut edits).unwrap();
        let changed: Vec<&str> = edits.files().map(|(path, _)| path).collect();
        assert_eq!(changed, [format!("/{path}")], "{link:?}");
    }
    for how in [
        "sh /opt/boot",
        ". /opt/boot",
        "busybox ash -e /opt/boot &",
        "F=/opt/boot; sh $F",
        "sh /opt/first",
        "APP=/opt; sh $APP/boot",
        "A=/usr; [ x ] && A=/opt; sh $A/boot",
        "source \"${APPDIR:-/opt}/boot\"",
        "/opt/boot &",
        "nice -n 5 setsid nohup sh /opt/boot",
        "for f in /opt/b*t; do . $f; done",
        "run-parts /opt",
        "cd /opt; . ./boot",
        "cd /opt && ./boot &",
        "sh < /opt/boot",
        "sh -c '/opt/boot &'",
        "procd_set_param command /bin/sh /opt/boot",
        "::sysinit:/opt/boot",
        "::respawn:-/bin/sh /opt/boot",
        "*/5 * * * * sh /opt/boot",
    ] {
        let (place, rcs) = match how.bytes().next() {
            Some(b':') => ("etc/inittab", format!("{how}\n")),
            Some(b'*') => ("etc/crontabs/root", format!("{how}\n")),
            _ => ("etc/init.d/rcS", format!("#!/bin/sh\n{how}\n")),
        };
        let (_dir, root) = tree(&[
            (place, &rcs),
            ("opt/first", "[ -f /opt/boot ] && . /opt/boot\n"),
            ("opt/boot", starts),
        ]);
        let mut edits = Edits::new(&root);
        plan(&Survey::take(&root, "/etc/lenscap"), Close::default(), &mut edits).unwrap();
        let changed: Vec<&str> = edits.files().map(|(path, _)| path).collect();
        assert_eq!(changed, ["/opt/boot"], "{how}");
    }
    for path in ["etc/rcS.d/S50x", "etc/rc3.d/S50x", "etc/profile.d/x"] {
        assert_eq!(hardened(path, starts).0, format!(": {starts}"), "{path}");
    }
    // What programs are given is no script.
    for how in [
        "cat /opt/boot",
        "ipcam /opt/boot",
        "/usr/bin/ipcam /opt/boot",
        "sh /opt/a /opt/boot",
    ] {
        let rcs = format!("#!/bin/sh\n{how}\n");
        let (_dir, root) = tree(&[
            ("etc/init.d/rcS", &rcs),
            ("opt/boot", starts),
            ("usr/bin/ipcam", "\x7fELF"),
        ]);
        assert_eq!(
            Survey::take(&root, "/etc/lenscap").scripts,
            ["/etc/init.d/rcS"],
            "{how}"
        );
    }
}

#[test]
fn other_shells_on_ports_are_found_and_closed() {
    for (path, before, after) in [
        (
            "etc/init.d/S50usb",
            "export ADB_TCP_PORT=5555\nstart-stop-daemon --start --background --exec /usr/bin/adbd\n",
            "export ADB_TCP_PORT=5555\n: start-stop-daemon --start --background --exec /usr/bin/adbd\n",
        ),
        (
            "etc/init.d/S60ttyd",
            "ttyd -p 7681 /bin/sh &\n",
            ": ttyd -p 7681 /bin/sh &\n",
        ),
        ("etc/rc.local", "shellinaboxd -b\n", ": shellinaboxd -b\n"),
        (
            "etc/inittab",
            "::respawn:/usr/bin/adbd\n",
            "#lenscap: ::respawn:/usr/bin/adbd\n",
        ),
        (
            "etc/inetd.conf",
            "shell stream tcp nowait root /usr/sbin/in.rshd in.rshd\nlogin stream tcp nowait root /usr/sbin/in.rlogind in.rlogind\nexec stream tcp nowait root /usr/sbin/x x\ntime stream tcp nowait root internal\n",
            "#lenscap: shell stream tcp nowait root /usr/sbin/in.rshd in.rshd\n#lenscap: login stream tcp nowait root /usr/sbin/in.rlogind in.rlogind\n#lenscap: exec stream tcp nowait root /usr/sbin/x x\ntime stream tcp nowait root internal\n",
        ),
    ] {
        let (text, statuses) = hardened(path, before);
        assert_eq!(text, after);
        assert!(
            statuses.contains(&Status::Planned) && !statuses.contains(&Status::Holds),
            "{path}"
        );
    }
    // What else they do is not known: these stay.
    for (path, text) in [
        (
            "init.rc",
            "service telnetd /sbin/telnetd -l /system/bin/sh\n    oneshot\n",
        ),
        ("etc/init/adb.rc", "service adbd /sbin/adbd\n    disabled\n"),
        (
            "etc/udev/rules.d/99-net.rules",
            "ACTION==\"add\", SUBSYSTEM==\"net\", RUN+=\"/usr/sbin/telnetd -l /bin/sh\"\n",
        ),
    ] {
        assert_eq!(
            hardened(path, text),
            (text.to_owned(), vec![Status::Unknown]),
            "{path}"
        );
    }
    for (path, text) in [
        (
            "init.rc",
            "service rild /system/bin/rild\n# service telnetd /sbin/telnetd\n",
        ),
        (
            "lib/udev/rules.d/60.rules",
            "KERNEL==\"sd*\", RUN+=\"/sbin/mount.sh\"\n",
        ),
    ] {
        assert_eq!(
            hardened(path, text),
            (text.to_owned(), vec![Status::Holds]),
            "{path}"
        );
    }
}
