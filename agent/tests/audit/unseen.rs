//! What is easily passed over: what a process loads beside its program, networks of processes' own, and processes that never stay.

use std::fs;
use std::os::unix::fs::symlink;

use super::hiding::among_own_processes;
use super::places::layered;
use super::running::{Camera, inode_of, mapped};
use super::*;

/// Rules that rest on the tables of sockets.
const SOCKETS: [&str; 5] = [
    "service.telnet",
    "network.exposed",
    "network.owner",
    "network.peer",
    "trace.scan",
];

fn network(camera: &Camera, folder: &str, name: &str) {
    let link = camera.path(&format!("proc/{folder}/ns/net"));
    fs::create_dir_all(link.parent().unwrap()).unwrap();
    symlink(name, link).unwrap();
}

/// In a network without anything, and without Lenscap's processes of this machine.
#[test]
fn a_process_with_a_network_of_its_own_is_no_pass() {
    if without_root() {
        return;
    }
    let only = SOCKETS.join(",");
    let report = |before: &str| {
        let script = format!(
            "runs() {{ until readlink /proc/$1/exe | grep -q sleep; do :; done; }}
            {before}
            exec {LENSCAP} audit --json --only {only}"
        );
        among_own_processes(&format!("exec unshare --net sh -c '{script}'"))
    };
    let plain = report("sleep 60 & runs $!");
    let apart = report("unshare --net sleep 60 & runs $!");
    for id in SOCKETS {
        let told = evidence(&apart, id);
        assert!(!evidence(&plain, id).contains("network of its own"), "{id}");
        assert_eq!(verdict(&apart, id), "unknown", "{id}: {told}");
        assert!(
            told.contains("(sleep) has a network of its own; its sockets were not seen"),
            "{told}"
        );
    }
}

#[test]
fn a_network_that_lenscap_gave_a_streamer_is_known() {
    if without_root() {
        return;
    }
    const SHUT: &str = "Main:\n  +-- 127.0.0.0/8 2 0 2\n     |-- 127.0.0.1\n        /32 host LOCAL\n";
    let camera = Camera::new("openmiko");
    camera.process(50, "/bin/busybox", b"streamer", b"streamer", &[]);
    network(&camera, "self", "net:[1]");
    network(&camera, "1", "net:[1]");
    network(&camera, "50", "net:[2]");
    symlink("/lenscap", camera.path("proc/self/exe")).unwrap();
    let expect = |expected: &str| {
        let report = camera.report();
        for id in ["network.owner", "trace.scan"] {
            assert_eq!(verdict(&report, id), expected, "{}", rule(&report, id));
        }
    };
    expect("unknown");
    camera.process(51, "/lenscap", b"lenscap-apart", b"lenscap", &[]);
    network(&camera, "51", "net:[2]");
    camera.write("proc/51/net/packet", "sk       RefCnt Type Proto\n");
    expect("unknown");
    camera.write("proc/51/net/fib_trie", SHUT);
    camera.write("proc/51/net/if_inet6", "01 01 80 10 80       lo\n");
    expect("pass");
    // Somebody led a way there.
    camera.write("proc/51/net/fib_trie", format!("{SHUT}     |-- 10.0.0.9\n"));
    expect("unknown");
    camera.write("proc/51/net/fib_trie", SHUT);
    camera.write("proc/51/net/if_inet6", "fe80 04 40 20 80     eth0\n");
    expect("unknown");
    fs::remove_file(camera.path("proc/51/net/if_inet6")).unwrap();
    expect("pass");
    // Whoever is called so is not it.
    fs::remove_file(camera.path("proc/51/exe")).unwrap();
    symlink("/bin/busybox", camera.path("proc/51/exe")).unwrap();
    expect("unknown");
}

#[test]
fn a_thread_with_a_network_of_its_own_is_no_pass() {
    if without_root() {
        return;
    }
    let camera = Camera::new("openmiko");
    for folder in ["self", "1", "1/task/1", "1/task/7"] {
        network(&camera, folder, "net:[1]");
    }
    assert_eq!(verdict(&camera.report(), "network.owner"), "pass");
    network(&camera, "1/task/8", "net:[2]");
    assert_eq!(verdict(&camera.report(), "network.owner"), "unknown");
}

/// What the kernel shows of one that is always gone when it is looked at, played by a link that leads nowhere.
#[test]
fn a_process_that_never_stays_is_no_pass() {
    if without_root() {
        return;
    }
    let ids = ["trace.deleted", "trace.name", "network.owner"];
    let why = "end before they can be looked at";
    let camera = Camera::new("openmiko");
    // One that has ended, and that nobody waits for.
    camera.write("proc/60/stat", "60 (x) Z 1 1 1 0 -1 4194304 0 0\n");
    // One that is about to, and has given its memory back.
    camera.write("proc/62/stat", "62 (x) R 1 1 1 0 -1 4194308 0 0\n");
    camera.write("proc/62/maps", "");
    let plain = camera.report();
    symlink("gone", camera.path("proc/61")).unwrap();
    let report = camera.report();
    for id in ids {
        assert_eq!(verdict(&plain, id), "pass", "{}", rule(&plain, id));
        assert_eq!(verdict(&report, id), "unknown", "{}", rule(&report, id));
        assert!(evidence(&report, id).contains(why), "{}", rule(&report, id));
    }
}

/// On this machine, which takes long to look at a process, longer than any lives that a script starts.
#[test]
fn what_a_script_starts_again_and_again_is_told_from_what_starts_itself() {
    if without_root() {
        return;
    }
    let camera = Camera::new("openmiko");
    fs::remove_dir_all(camera.path("proc")).unwrap();
    fs::create_dir(camera.path("proc")).unwrap();
    let root = camera.0.path().display();
    let slow = "strace -qq -o /dev/null -e trace=openat -e inject=openat:delay_enter=2000";
    let report = among_own_processes(&format!(
        "(while :; do /bin/sleep .02; done) & mount -t proc none {root}/proc || exit 99
        {slow} chroot {root} /lenscap audit --json --no-probe; exit $?"
    ));
    for id in ["trace.deleted", "trace.name", "network.owner"] {
        let told = evidence(&report, id);
        assert!(!told.contains("end before they can be looked at"), "{told}");
        assert!(!told.contains("has loaded: shows nothing"), "{told}");
    }
}

/// On this machine: each lives for a moment, long enough to start the next. It is caught, or what it does is.
#[test]
fn a_program_that_starts_itself_again_and_again_is_no_pass() {
    if without_root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let evil = folder.path().join("evil");
    let bot = "import os, sys, time\nos.unlink(sys.argv[1])\nwhile True:\n if os.fork(): time.sleep(.0015); os._exit(0)\n";
    // The first process waits for all others.
    let script = format!(
        "cp $(python3 -c 'import os, sys; print(os.path.realpath(sys.executable))') {0} && {0} -c \"$BOT\" {0} && {LENSCAP} audit --json --only trace.deleted; exit $?",
        evil.display()
    );
    let script = format!("BOT='{bot}'; {script}");
    let report = among_own_processes(&script);
    let told = evidence(&report, "trace.deleted");
    assert!(
        told.contains("evil is deleted and runs as") || told.contains("end before they can be looked at"),
        "{told}"
    );
}

const ADDED: &str = "lies in the writable layer alone";
/// What is loaded, a file that is there, what is found, and why.
const LOADED: &[(&str, &str, &str, &str)] = &[
    (
        "/tmp/.x (deleted)",
        "",
        "fail",
        "/tmp/.x is deleted and runs in streamer",
    ),
    (
        "/usr/lib/.x (deleted)",
        "",
        "fail",
        "/usr/lib/.x is deleted and runs in streamer",
    ),
    (
        "/usr/lib/l.so (deleted)",
        "rom/usr/lib/l.so",
        "unknown",
        "was replaced while it ran in streamer",
    ),
    (
        "/memfd:x (deleted)",
        "",
        "fail",
        "/memfd:x is deleted and runs in streamer",
    ),
    (
        "/usr/lib/libx-1.2.so (deleted)",
        "usr/lib/libx-1.3.so",
        "unknown",
        "was replaced while it ran in streamer",
    ),
    (
        "/usr/lib/libx.so.1 (deleted)",
        "usr/lib/libxy.so.1",
        "fail",
        "/usr/lib/libx.so.1 is deleted and runs in streamer",
    ),
    (
        "/mnt/libx.so.1 (deleted)",
        "mnt/libx.so.2",
        "fail",
        "/mnt/libx.so.1 is deleted and runs in streamer",
    ),
    (
        "/tmp/libx.so.1 (deleted)",
        "tmp/libx.so.2",
        "fail",
        "/tmp/libx.so.1 is deleted and runs in streamer",
    ),
    (
        "/usr/lib/libgone.so (deleted)",
        "rom/usr/lib/libgone.so",
        "unknown",
        "was replaced while it ran in streamer",
    ),
    (
        "/dev/shm/l.so",
        "dev/shm/l.so",
        "fail",
        "/dev/shm/l.so runs in streamer",
    ),
    (
        "/mnt/l.so",
        "mnt/l.so",
        "fail",
        "/mnt/l.so runs in streamer from memory: /mnt (tmpfs)",
    ),
    ("/usr/lib/evil", "overlay/upper/usr/lib/evil", "fail", ADDED),
    (
        "/usr/lib/nowhere.so",
        "",
        "unknown",
        "it is not where it was mapped from",
    ),
    (
        "/usr/lib/libc.so",
        "rom/usr/lib/libc.so",
        "pass",
        "libraries and scripts of the firmware: 3",
    ),
];

#[test]
fn what_a_process_has_loaded_is_judged_like_a_program() {
    if without_root() {
        return;
    }
    for (file, path, expected, why) in LOADED {
        let camera = layered();
        camera.process(60, "/bin/busybox", b"streamer", b"streamer", &[]);
        if !path.is_empty() {
            camera.write(path, "\x7fELF");
        }
        if !path.is_empty() && !file.contains("lib/libgone") && !file.contains("/libx") {
            camera.write(file.split(' ').next().unwrap().trim_start_matches('/'), "\x7fELF");
        }
        // As a device, it is no file.
        fs::create_dir_all(camera.path("dev/folder")).unwrap();
        let table = format!(
            "{}b6e00000-b6e90000 rw-p 00000000 1f:03 7 /tmp/data\nb6f00000-b6f90000 rwxs 00000000 00:06 7 /dev/folder\n\
             bee00000-bef00000 r-xp 00000000 00:00 0 [vdso]\n{}",
            mapped("/bin/busybox"),
            mapped(file)
        );
        camera.write("proc/60/maps", table);
        let report = camera.report();
        let told = evidence(&report, "trace.deleted");
        assert_eq!(verdict(&report, "trace.deleted"), *expected, "{file}: {told}");
        assert!(told.contains(why), "{file}: {told}");
        if *expected != "pass" && !why.starts_with("it is not") {
            assert!(told.contains("/proc/60/maps"), "{file}: {told}");
        }
        if *why == ADDED {
            camera.audit(&["--accept"]);
            assert_eq!(
                verdict(&camera.report(), "trace.deleted"),
                "pass",
                "the owner knows it"
            );
        }
    }
}

/// Programs of old compilers may run whatever they read; others that share what runs, share it with whoever writes there.
#[test]
fn data_is_told_from_what_runs() {
    if without_root() {
        return;
    }
    let deleted = "fail";
    for (rights, file, personality, memory, expected) in [
        ("r-xp", "/tmp/data", "", "", deleted),
        ("r-xp", "/tmp/data", "00000000\n", "data", deleted),
        ("r-xp", "/tmp/data", "00400000\n", "data", "pass"),
        ("r-xp", "/tmp/data", "00440000\n", "\x7fELF", deleted),
        ("r-xp", "/tmp/data (deleted)", "00400000\n", "data", "pass"),
        ("r-xp", "/tmp/data (deleted)", "00400000\n", "\x7fELF", deleted),
        // What cannot be read.
        ("r-xp", "/tmp/data", "00400000\n", "", deleted),
        ("r-xs", "/tmp/data", "00400000\n", "data", "pass"),
        ("r-xs", "/tmp/data", "", "", "unknown"),
        ("rwxs", "/mnt/data (deleted)", "", "", "unknown"),
        ("r-xs", "/tmp/sd/data", "", "", "pass"),
        ("r-xs", "/usr/data", "", "", "pass"),
        ("rw-s", "/tmp/data", "", "", "pass"),
    ] {
        let camera = layered();
        camera.process(60, "/bin/busybox", b"streamer", b"streamer", &[]);
        if let Some(file) = file.strip_prefix('/').filter(|file| !file.contains(' ')) {
            camera.write(file, "data");
        }
        let line = mapped(file)
            .replace("r-xp", rights)
            .replace("00010000-", "00008000-");
        camera.write("proc/60/maps", mapped("/bin/busybox") + &line);
        camera.write("proc/60/personality", personality);
        if !memory.is_empty() {
            camera.write("proc/60/mem", [&[0; 0x8000][..], memory.as_bytes()].concat());
        }
        let report = camera.report();
        let told = evidence(&report, "trace.deleted");
        let at = format!("{rights} {file} {personality}{memory}: {told}");
        assert_eq!(verdict(&report, "trace.deleted"), expected, "{at}");
        assert_eq!(
            expected == "unknown",
            told.contains("may run in streamer"),
            "{at}"
        );
    }
}

/// A mount over it, or one that was taken away, leaves its path to another.
#[test]
fn a_loaded_file_is_known_by_more_than_its_path() {
    if without_root() {
        return;
    }
    let file = "/usr/lib/libc.so";
    let other = |file: &str| format!("00010000-000a0000 r-xp 00000000 00:77 9 {file}\n");
    let told_of = |camera: &Camera, table: &[&str]| {
        camera.write("proc/60/maps", table.concat());
        let report = camera.report();
        let told = evidence(&report, "trace.deleted");
        (verdict(&report, "trace.deleted").to_owned(), told)
    };
    for camera in [Camera::new("openmiko"), layered()] {
        camera.process(60, "/bin/busybox", b"streamer", b"streamer", &[]);
        for path in ["usr/lib/libc.so", "rom/usr/lib/libc.so"] {
            camera.write(path, "\x7fELF");
        }
        let (program, library) = (mapped("/bin/busybox"), mapped(file));
        let (found, told) = told_of(&camera, &[&program, &library]);
        assert_eq!(found, "pass", "{told}");
        for table in [&[&program, &other(file)], &[&program, &library, &other(file)][..]] {
            let table: Vec<&str> = table.iter().map(|line| line.as_str()).collect();
            let (found, told) = told_of(&camera, &table);
            assert_eq!(found, "unknown", "{told}");
            let text = format!("{file} is not the file that runs in streamer");
            assert!(told.contains(&text), "{told}");
        }
        let (found, told) = told_of(&camera, &[&other("/bin/busybox"), &program]);
        assert_eq!(found, "unknown", "{told}");
        assert!(
            told.contains("/bin/busybox is not the file that runs as streamer"),
            "{told}"
        );
    }
}

/// Kernels before 6.7 show a layer's file, of a device of its own, where the root is an overlay.
#[test]
fn a_loaded_file_of_a_layer_is_the_one_at_its_path() {
    if without_root() {
        return;
    }
    let (camera, memory) = (layered(), tempfile::tempdir_in("/dev/shm").unwrap());
    camera.process(60, "/bin/busybox", b"streamer", b"streamer", &[]);
    let file = "usr/lib/libc.so";
    let at = memory.path().join(file);
    fs::create_dir_all(at.parent().unwrap()).unwrap();
    for path in [&at, &at.with_extension("old")] {
        fs::write(path, "\x7fELF").unwrap();
    }
    camera.write(file, "\x7fELF");
    fs::create_dir_all(camera.path("rom/usr")).unwrap();
    let root = camera.0.path().display();
    for (path, expected) in [(at.clone(), "pass"), (at.with_extension("old"), "unknown")] {
        let line = format!(
            "00010000-000a0000 r-xp 00000000 {} /{file}\n",
            inode_of(&fs::metadata(path).unwrap())
        );
        camera.write("proc/60/maps", mapped("/bin/busybox") + &line);
        camera.number_mapped();
        let script = format!(
            "mount --bind {}/usr {root}/rom/usr && exec chroot {root} /lenscap audit --json --no-probe",
            memory.path().display()
        );
        let report = report(&run("unshare", &["--mount", "sh", "-c", &script]));
        assert_eq!(
            verdict(&report, "trace.deleted"),
            expected,
            "{}",
            evidence(&report, "trace.deleted")
        );
    }
}

#[test]
fn a_table_of_what_is_loaded_that_is_cut_or_none_is_no_pass() {
    if without_root() {
        return;
    }
    let camera = layered();
    camera.process(60, "/bin/busybox", b"streamer", b"streamer", &[]);
    let long = mapped("/bin/busybox").repeat(6000);
    for (text, why) in [
        ("", "shows nothing"),
        ("garbage\n", "makes no sense"),
        (&long, "is longer than what is read"),
    ] {
        camera.write("proc/60/maps", text);
        let report = camera.report();
        let told = evidence(&report, "trace.deleted");
        assert_eq!(verdict(&report, "trace.deleted"), "unknown", "{told}");
        assert!(
            told.contains(&format!("what streamer has loaded: {why}")),
            "{told}"
        );
    }
}

/// On this machine: a deleted program that the loader runs, and a library that is put into another and deleted.
#[test]
fn what_the_loader_runs_is_told() {
    if without_root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().display();
    let script = format!(
        "loads() {{ until grep -q \"$2\" /proc/$1/maps; do :; done; }}
        cd {at} && cp /bin/sleep evil || exit 99
        libc=$(ldd /bin/sleep | sed -n 's/.*=> \\(.*libc[.]so[^ ]*\\) .*/\\1/p')
        loader=$(ldd /bin/sleep | sed -n 's/^[^/]*\\(\\/.*ld-[^ ]*\\) .*/\\1/p')
        cp $libc put.so || exit 99
        $loader {at}/evil 60 & loads $! /evil; rm evil
        LD_PRELOAD={at}/put.so /bin/sleep 60 & loads $! /put.so; rm put.so
        exec {LENSCAP} audit --json --only trace.deleted"
    );
    let report = among_own_processes(&script);
    let told = evidence(&report, "trace.deleted");
    for file in ["evil", "put.so"] {
        let text = format!("{at}/{file} is deleted and runs in ");
        assert!(told.contains(&text), "{text}: {told}");
    }
}

#[test]
fn a_module_that_came_after_the_firmware_is_no_pass() {
    if without_root() {
        return;
    }
    let path = "lib/modules/6.12.1/sensor.ko";
    let with = |layers: &[(&str, &str)]| {
        let camera = layered();
        camera.write("proc/modules", "sensor 1 0 - Live 0\n");
        for (layer, contents) in layers {
            camera.write(&format!("{layer}{path}"), contents);
        }
        camera
    };
    for (layers, expected) in [
        (&[("", "own"), ("rom/", "own")][..], "pass"),
        (&[("", "own"), ("rom/", "own"), ("overlay/upper/", "own")], "pass"),
        (
            &[("", "new"), ("rom/", "own"), ("overlay/upper/", "new")],
            "unknown",
        ),
        (&[("", "new"), ("overlay/upper/", "new")], "unknown"),
    ] {
        let report = with(layers).report();
        let told = evidence(&report, "trace.module");
        assert_eq!(verdict(&report, "trace.module"), expected, "{layers:?}: {told}");
        assert_eq!(told.contains(&format!("/{path}")), expected != "pass", "{told}");
    }
    let camera = with(&[("", "new"), ("overlay/upper/", "new")]);
    camera.write("usr/lib/opkg/info/kmod.list", format!("/{path}\n"));
    camera.write("overlay/upper/usr/lib/opkg/info/kmod.list", format!("/{path}\n"));
    assert_eq!(
        verdict(&camera.report(), "trace.module"),
        "pass",
        "a package brought it"
    );
}
