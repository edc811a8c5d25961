use super::*;
use std::fs;
use std::os::unix::fs::symlink;

#[test]
fn sockets_are_read_in_both_families() {
    for (line, expected) in [
        (
            "   0: 00000000:0017 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 101 1 0",
            Some((101, (23, false))),
        ),
        (
            "   1: 0100007F:022A 00000000:0000 0A 0:0 0:0 0 0 0 102 1",
            Some((102, (554, true))),
        ),
        (
            // 10.0.0.127: an address of its own.
            "   1: 7F00000A:022A 00000000:0000 0A 0:0 0:0 0 0 0 102 1",
            Some((102, (554, false))),
        ),
        ("   1: 0100007F:022A 00000000:0000 01 0:0 0:0 0 0 0 103 1", None),
        (
            "   2: 00000000000000000000000000000000:1BB3 0:0 0A 0:0 0:0 0 0 0 104 1",
            Some((104, (7091, false))),
        ),
        (
            "   2: 00000000000000000000000001000000:1BB3 0:0 0A 0:0 0:0 0 0 0 104 1",
            Some((104, (7091, true))),
        ),
        (
            "   2: 0000000000000000FFFF00000100007F:1BB3 0:0 0A 0:0 0:0 0 0 0 104 1",
            Some((104, (7091, true))),
        ),
        ("nonsense", None),
        ("", None),
    ] {
        let found = socket(line).map(|(inode, (address, port))| (inode, (port, address.is_loopback())));
        assert_eq!(found, expected, "{line}");
    }
}

/// A `/proc` as a camera has it.
fn camera(processes: &[(u32, &str, &str, &[&str])], sockets: &[(u16, u32)]) -> (tempfile::TempDir, Root) {
    let dir = tempfile::tempdir().unwrap();
    let proc = dir.path().join("proc");
    fs::create_dir_all(proc.join("net")).unwrap();
    let mut table = String::from("  sl  local_address\n");
    for (port, inode) in sockets {
        table.push_str(&format!(
            " 0: 00000000:{port:04X} 00000000:0000 0A 0:0 0:0 0 0 0 {inode} 1\n"
        ));
    }
    fs::write(proc.join("net/tcp"), table).unwrap();
    for (pid, exe, cmdline, descriptors) in processes {
        let folder = proc.join(pid.to_string());
        fs::create_dir_all(folder.join("fd")).unwrap();
        symlink(exe, folder.join("exe")).unwrap();
        fs::write(folder.join("cmdline"), cmdline.replace(' ', "\0") + "\0").unwrap();
        let library = "00400000-00410000 r-xp 00000000 1f:02 77         /lib/libc.so\n";
        fs::write(folder.join("maps"), library).unwrap();
        for (number, target) in descriptors.iter().enumerate() {
            symlink(target, folder.join("fd").join(number.to_string())).unwrap();
        }
    }
    let root = Root::tree(dir.path()).unwrap();
    (dir, root)
}

#[test]
fn who_gives_a_shell_is_told() {
    let (_dir, root) = camera(
        &[
            (
                10,
                "/bin/busybox",
                "telnetd -l /bin/sh",
                &["/dev/null", "socket:[1]"],
            ),
            (
                11,
                "/usr/bin/Sofia",
                "/usr/bin/Sofia",
                &["socket:[2]", "socket:[3]", "/dev/watchdog"],
            ),
            (12, "/usr/sbin/dropbear", "dropbear -R", &["socket:[4]"]),
            (
                15,
                "/usr/bin/socat",
                "socat TCP-LISTEN:99,fork EXEC:/bin/sh,pty",
                &["socket:[7]"],
            ),
            (
                16,
                "/usr/bin/socat",
                "socat TCP-LISTEN:98,fork TCP:127.0.0.1:80",
                &["socket:[8]"],
            ),
            (13, "/tmp/x (deleted)", "kjhgf", &["socket:[5]"]),
            (14, "/bin/busybox", "sh", &["/dev/console"]),
        ],
        &[
            (23, 1),
            (9527, 2),
            (34567, 3),
            (22, 4),
            (2323, 5),
            (4321, 6),
            (99, 7),
            (98, 8),
        ],
    );
    assert_eq!(stoppable(&read(&root).unwrap(), Close::default()), [10, 15]);
    let mut edits = Edits::new(&root);
    report(Close::default(), None, &mut edits);
    let found: Vec<(Status, &str)> = edits
        .findings
        .iter()
        .map(|finding| (finding.status, finding.text.as_str()))
        .collect();
    assert_eq!(
        found,
        [
            (
                Status::Fails,
                "port 23 gives a shell: process 10 of /bin/busybox, started as `telnetd -l /bin/sh`"
            ),
            (
                Status::Fails,
                "port 99 gives a shell: process 15 of /usr/bin/socat, started as `socat TCP-LISTEN:99,fork EXEC:/bin/sh,pty`"
            ),
            (
                Status::Unknown,
                "port 2323 is open, where cameras give shells: process 13 of /tmp/x (deleted), started as `kjhgf`"
            ),
            (
                Status::Unknown,
                "port 4321 is open, where cameras give shells: a program that could not be told"
            ),
            (
                Status::Unknown,
                "port 9527 is open, where cameras give shells: process 11 of /usr/bin/Sofia, started as `/usr/bin/Sofia`; it must not be stopped: it feeds the watchdog; not enforceable without the firewall"
            ),
            (
                Status::Notice,
                "port 34567 (DVRIP) is open: process 11 of /usr/bin/Sofia, started as `/usr/bin/Sofia`; `list close 'dvrip'` closes it; it must not be stopped: it feeds the watchdog"
            ),
        ]
    );
}

#[test]
fn ftp_and_dvrip_are_closed_by_option_and_never_with_the_streamer() {
    let (_dir, root) = camera(
        &[
            (10, "/bin/busybox", "tcpsvd -E 0 21 ftpd -w /", &["socket:[1]"]),
            (11, "/usr/bin/dvrip", "dvrip", &["socket:[2]"]),
            // Each of these has the port of a service, and something that the camera needs.
            (12, "/usr/bin/Sofia", "Sofia", &["socket:[3]", "/dev/watchdog0"]),
            (13, "/usr/bin/majestic", "majestic", &["socket:[4]", "/dev/venc"]),
            (14, "/usr/bin/app", "app", &["socket:[5]", "/dev/mi_sys"]),
            (15, "/usr/bin/cam", "cam", &["socket:[6]", "socket:[7]"]),
            (16, "/usr/sbin/inetd", "inetd", &["socket:[8]", "socket:[9]"]),
            (17, "/usr/sbin/vsftpd", "vsftpd", &["socket:[10]"]),
        ],
        &[
            (21, 1),
            (34567, 2),
            (34567, 3),
            (34567, 4),
            (21, 5),
            (34567, 6),
            (554, 7),
            (21, 8),
            (79, 9),
            (2121, 10),
        ],
    );
    let listeners = read(&root).unwrap();
    let [ftp, dvrip] = ["ftp", "dvrip"].map(|name| Close::parse(name).unwrap());
    assert_eq!(Close::parse("ssh"), None);
    let stopped = |close| {
        let mut pids = stoppable(&listeners, close);
        pids.sort_unstable();
        pids
    };
    assert_eq!(stopped(Close::default()), Vec::<u32>::new());
    assert_eq!(stopped(ftp), [10, 17]);
    assert_eq!(stopped(dvrip), [11]);

    let both = Close {
        ftp: true,
        dvrip: true,
    };
    let judged = |filter: Option<&Policy>| {
        let mut edits = Edits::new(&root);
        report(both, filter, &mut edits);
        let texts = edits.findings.into_iter();
        texts.map(|found| (found.status, found.text)).collect::<Vec<_>>()
    };
    let open = judged(None);
    assert!(
        open.iter().all(|(status, _)| *status == Status::Fails),
        "{open:?}"
    );
    let bound = |text: &String| text.contains("must not be stopped");
    assert_eq!(open.iter().filter(|(_, text)| bound(text)).count(), 5, "{open:?}");
    for (_, text) in &open {
        assert_eq!(
            bound(text),
            text.contains("not enforceable without the firewall"),
            "{text}"
        );
    }
    // Behind a filter that lets nobody in, what cannot be stopped is closed all the same.
    for (status, text) in judged(Some(&Policy::default())) {
        assert_eq!(status, Status::Notice, "{text}");
        assert!(text.ends_with("; the firewall blocks the port"), "{text}");
    }
    let nvr = Policy {
        allow_in: vec![crate::firewall::Allowed::parse("192.168.1.10:34567").unwrap()],
        ..Policy::default()
    };
    let fails = judged(Some(&nvr))
        .into_iter()
        .filter(|(status, _)| *status == Status::Fails);
    assert_eq!(fails.count(), 4, "somebody reaches DVRIP");
}

#[test]
fn a_program_known_by_its_port_alone_is_stopped_only_if_it_holds_no_device() {
    let all = Close {
        ftp: true,
        dvrip: true,
    };
    let holds = |descriptors: &[&str]| {
        let mut all = vec![
            "/dev/ttyS0",
            "socket:[1]",
            "/dev/null",
            "/dev/urandom",
            "/dev/pts/3",
        ];
        all.extend(descriptors);
        camera(&[(10, "/usr/bin/app", "app", &all)], &[(34567, 1)])
    };
    for (descriptor, stopped) in [
        ("/mnt/mtd/Config/Account1", true),
        ("pipe:[7]", true),
        ("anon_inode:[eventpoll]", true),
        ("/dev/shm/x (deleted)", true),
        ("/dev/mem", false),
        ("/dev/a_driver_of_next_year", false),
        ("/dev/ttyAMA1", false),
        ("/dev/gpio", false),
        ("/sys/class/gpio/gpio3/value", false),
        ("/dmabuf:isp", false),
    ] {
        let (_dir, root) = holds(&[descriptor]);
        let found = stoppable(&read(&root).unwrap(), all);
        assert_eq!(found == [10], stopped, "{descriptor}");
    }
    // Nor if it has one in its memory, if that cannot be told, or if it is a part of the camera's own program.
    let (dir, root) = holds(&[]);
    assert_eq!(stoppable(&read(&root).unwrap(), all), [10]);
    let maps = dir.path().join("proc/10/maps");
    fs::write(
        &maps,
        "b6f00000-b6f10000 rw-s 9b000000 00:06 1042       /dev/mem\n",
    )
    .unwrap();
    assert_eq!(stoppable(&read(&root).unwrap(), all), Vec::<u32>::new());
    fs::remove_file(&maps).unwrap();
    let listeners = read(&root).unwrap();
    assert_eq!(stoppable(&listeners, all), Vec::<u32>::new());
    assert!(
        listeners[0].processes[0]
            .bound(34567)
            .unwrap()
            .contains("cannot be told")
    );
    let (_dir, root) = camera(
        &[
            (10, "/usr/bin/app", "app net", &["socket:[1]"]),
            (11, "/usr/bin/app", "app", &["/dev/watchdog"]),
            (
                12,
                "/bin/busybox",
                "watchdog -F /dev/watchdog",
                &["/dev/watchdog0"],
            ),
            (13, "/bin/busybox", "tcpsvd 0 21 ftpd", &["socket:[2]"]),
        ],
        &[(34567, 1), (21, 2)],
    );
    let listeners = read(&root).unwrap();
    // What holds the watchdog is BusyBox, and so is half of the camera.
    assert_eq!(stoppable(&listeners, all), [13]);
    let app = &listeners
        .iter()
        .find(|listener| listener.port == 34567)
        .unwrap()
        .processes[0];
    assert_eq!(app.bound(34567), Some("its program is the camera's own"));
}

#[test]
fn a_real_listener_is_found() {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = socket.local_addr().unwrap().port();
    let root = Root::live().unwrap();
    let listeners = read(&root).unwrap();
    let own = listeners.iter().find(|listener| listener.port == port).unwrap();
    assert!(own.loopback);
    assert_eq!(own.processes[0].pid, std::process::id());
    let exe = std::env::current_exe().unwrap();
    assert_eq!(own.processes[0].program.as_deref(), exe.to_str());
}

#[test]
fn a_camera_whose_proc_cannot_be_read_is_unknown() {
    let dir = tempfile::tempdir().unwrap();
    let root = Root::tree(dir.path()).unwrap();
    let mut edits = Edits::new(&root);
    report(Close::default(), None, &mut edits);
    assert_eq!(edits.findings[0].status, Status::Unknown);
}

#[test]
fn shells_of_other_kinds_are_told_and_may_be_stopped() {
    let (_dir, root) = camera(
        &[
            (10, "/usr/bin/adbd", "/usr/bin/adbd", &["socket:[1]"]),
            (11, "/usr/bin/ttyd", "ttyd -p 99 sh", &["socket:[2]"]),
            (12, "/usr/sbin/inetd", "inetd", &["socket:[3]"]),
        ],
        &[(5555, 1), (99, 2), (514, 3)],
    );
    let mut edits = Edits::new(&root);
    report(Close::default(), None, &mut edits);
    let statuses: Vec<Status> = edits.findings.iter().map(|finding| finding.status).collect();
    assert_eq!(statuses, [Status::Fails, Status::Unknown, Status::Fails]);
    assert_eq!(stoppable(&read(&root).unwrap(), Close::default()), [11, 10]);
}
