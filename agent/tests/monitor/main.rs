//! The two processes of `lenscap run`, started from the real program.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
// Not on a camera.
#![allow(clippy::disallowed_methods)]

#[path = "../support/changes.rs"]
mod changes;
mod service;

use std::fs;
use std::os::fd::AsFd as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::time::Duration;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::signal::Signal;

use service::{
    Place, Service, accept, descriptors, field, may_be_root, network_sockets, send, status_of, wait,
    wait_gone,
};

/// nobody: the agent's user on a machine without `lenscap`, and the user of the unprivileged test.
const NOBODY: u32 = 65534;

/// Runs $2 with the configuration $3 where `/dev/log` leads to $1.
const PRIVATE_LOG: &str = "set -e
mount -t tmpfs none /dev
mknod -m 666 /dev/null c 1 3
mknod -m 666 /dev/random c 1 8
mknod -m 666 /dev/urandom c 1 9
ln -s \"$1\" /dev/log
exec \"$2\" run --config \"$3\"";

/// Runs a test with a service that is up and its agent's process.
fn up(test: impl FnOnce(&Place, Service<'_>, u32)) {
    if may_be_root() {
        let place = Place::new();
        let service = place.start();
        let agent = service.wait_up(0);
        test(&place, service, agent);
    }
}

#[test]
fn the_agent_has_given_up_everything() {
    if !may_be_root() {
        return;
    }
    let place = Place::new();
    place.configure(&format!(
        "\toption user '4711'\n\toption group '4712'\n{}",
        place.uplink("main", "https://localhost:9/x")
    ));
    // A folder that whoever starts the service has left open would be a way out of the agent's root.
    let leaked = fs::File::open("/usr").unwrap();
    fcntl(leaked.as_fd(), FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
    let service = place.start();
    let agent = service.wait_up(0);
    drop(leaked);

    let status = status_of(agent);
    assert_eq!(field(&status, "PPid:"), service.pid().to_string());
    assert_eq!(field(&status, "Name:"), "lenscap");
    assert_eq!(field(&status, "Uid:"), "4711\t4711\t4711\t4711");
    assert_eq!(field(&status, "Gid:"), "4712\t4712\t4712\t4712");
    assert_eq!(field(&status, "Groups:"), "");
    assert_eq!(field(&status, "Threads:"), "1");
    for set in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
        assert_eq!(field(&status, set), "0000000000000000", "{set}");
    }
    assert_eq!(field(&status, "NoNewPrivs:"), "1");
    // Files in /proc of a process that cannot be dumped belong to root.
    assert_eq!(fs::metadata(format!("/proc/{agent}/environ")).unwrap().uid(), 0);
    assert_eq!(fs::read(format!("/proc/{agent}/environ")).unwrap(), b"");

    let limits = fs::read_to_string(format!("/proc/{agent}/limits")).unwrap();
    for (name, values) in [
        ("Max processes", "0 0"),
        ("Max core file size", "0 0"),
        ("Max open files", "288 288"),
        ("Max address space", "134217728 134217728"),
    ] {
        let line = field(&limits, name);
        let found: Vec<&str> = line.split_whitespace().take(2).collect();
        assert_eq!(found.join(" "), values, "{name}");
    }

    let root = fs::read_link(format!("/proc/{agent}/root")).unwrap();
    assert_eq!(root, place.path("run/empty"));
    assert_eq!(fs::read_link(format!("/proc/{agent}/cwd")).unwrap(), root);
    let data = fs::metadata(&root).unwrap();
    assert_eq!((data.uid(), data.permissions().mode() & 0o777), (0, 0o555));
    assert_eq!(fs::read_dir(&root).unwrap().count(), 0);
    assert!(descriptors(agent).iter().all(|target| target != "/usr"));

    let said = place.status();
    assert_eq!(
        said["sandbox"],
        "monitor user capabilities no_new_privs not_dumpable limits chroot"
    );
    let missing = said["sandbox_missing"].as_str().unwrap();
    assert_eq!(
        missing,
        "seccomp: not in this version; landlock: not in this version"
    );
}

/// The service in a mount namespace whose system log is `devlog`.
fn with_private_log(place: &Place, script: &str) -> Command {
    let mut command = Command::new("unshare");
    command
        .arg("-m")
        .args(["sh", "-c", script, "sh"])
        .arg(place.path("devlog"))
        .arg(env!("CARGO_BIN_EXE_lenscap"))
        .arg(place.path("lenscap"));
    command
}

/// BusyBox's start-stop-daemon gives a service /dev/null to complain to.
#[test]
fn a_service_without_standard_error_tells_the_system_log_what_is_wrong() {
    if !may_be_root() {
        return;
    }
    let place = Place::new();
    let syslog = UnixDatagram::bind(place.path("devlog")).unwrap();
    syslog.set_nonblocking(true).unwrap();
    place.configure("config uplink 'main'\n\toption endpoint 'http://x'\n");
    let script = format!("{PRIVATE_LOG} 2>/dev/null");
    let mut service = place.start_command(with_private_log(&place, &script));
    assert_eq!(service.wait_exit().code(), Some(78));
    let mut bytes = [0; 2048];
    let mut said = String::new();
    while let Ok(length) = syslog.recv(&mut bytes) {
        said += &String::from_utf8_lossy(&bytes[..length]);
    }
    assert!(said.contains("https") && said.contains("lenscap check"), "{said}");
}

/// What an agent without a file system says still reaches the system's log, and does so again when that was away.
#[test]
fn the_agent_is_heard_in_the_system_log() {
    if !may_be_root() {
        return;
    }
    let place = Place::new();
    let socket = place.path("devlog");
    let syslog = UnixDatagram::bind(&socket).unwrap();
    place.configure(&format!(
        "\toption log 'syslog'\n{}",
        place.uplink("main", "https://localhost:9/x")
    ));
    let service = place.start_command(with_private_log(&place, PRIVATE_LOG));
    let agent = service.wait_up(0);
    let next = |log: &UnixDatagram| {
        let mut bytes = [0; 2048];
        let length = log.recv(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes[..length]).into_owned())
    };
    let of_agent = format!("lenscap[{agent}]: ");
    let ready = Duration::from_millis(200);
    syslog.set_read_timeout(Some(ready)).unwrap();
    wait("the agent's word in the log", || {
        next(&syslog).filter(|line| line.contains(&of_agent) && line.contains("no connection to the gateway"))
    });
    // syslogd is started again.
    drop(syslog);
    fs::remove_file(&socket).unwrap();
    send(agent, Signal::SIGUSR1);
    let syslog = UnixDatagram::bind(&socket).unwrap();
    syslog.set_read_timeout(Some(ready)).unwrap();
    wait("the agent's word in the new log", || {
        send(agent, Signal::SIGUSR1);
        next(&syslog).filter(|line| line.contains(&of_agent) && line.contains("were lost"))
    });
}

#[test]
fn neither_process_listens_and_the_monitor_has_no_network_socket() {
    if !may_be_root() {
        return;
    }
    // A gateway that takes the connection and says nothing: the agent then holds a socket.
    let (place, gateway) = Place::with_gateway("localhost");
    let service = place.start();
    let agent = service.wait_up(0);
    let _connection = accept(&gateway);
    wait("the agent's connection in /proc", || {
        (network_sockets(agent, false).len() == 1).then_some(())
    });
    assert!(network_sockets(agent, true).is_empty());
    assert!(network_sockets(service.pid(), false).is_empty());
    assert_eq!(field(&status_of(service.pid()), "Threads:"), "1");
    // One socket in all: the channel.
    let sockets = descriptors(service.pid());
    assert_eq!(
        sockets
            .iter()
            .filter(|target| target.starts_with("socket:"))
            .count(),
        1,
        "{sockets:?}"
    );
}

#[test]
fn a_killed_agent_comes_back_and_a_killed_monitor_ends_both() {
    up(|place, mut service, first| {
        send(first, Signal::SIGKILL);
        let second = service.wait_up(first);
        wait_gone(first);
        assert_eq!(place.status()["restarts"], 1);
        // An agent that is told to end is not the service being told so.
        send(second, Signal::SIGTERM);
        let third = service.wait_up(second);
        assert_eq!(place.status()["restarts"], 2);
        service.signal(Signal::SIGKILL);
        service.wait_exit();
        wait_gone(third);
        let output = place.status_command(&[]);
        assert_eq!(output.status.code(), Some(1));
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(said.contains("not running"), "{said}");
    });
}

#[test]
fn sigterm_ends_both_in_order() {
    up(|place, mut service, agent| {
        let output = place.status_command(&[]);
        assert_eq!(output.status.code(), Some(0));
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(
            said.contains(&format!("monitor {}, agent {agent}", service.pid())),
            "{said}"
        );
        service.signal(Signal::SIGUSR1);
        service.wait_log("dial_failures");
        service.signal(Signal::SIGTERM);
        assert_eq!(service.wait_exit().code(), Some(0), "{}", service.log());
        wait_gone(agent);
        assert!(service.log().contains("told to end"), "{}", service.log());
        assert!(!place.path("run/status.json").exists());
    });
}

#[test]
fn root_is_told_where_uplinks_lead_and_a_reset_reaches_the_agent() {
    up(|place, service, agent| {
        let link = wait("the uplink's fault", || {
            let link = place.status()["links"][0].clone();
            let error = link["last_error"].as_str().unwrap_or_default();
            error.contains("nothing listens there").then_some(link)
        });
        assert_eq!((&link["uplink"], &link["up"]), (&"main".into(), &false.into()));
        assert_eq!(
            (&link["phase"], &link["peer"]),
            (&"activation".into(), &"localhost:9".into())
        );
        assert_eq!(link["claim"], "unclaimed");
        let mode = fs::metadata(place.path("run/uplinks.json")).unwrap().mode();
        assert_eq!(mode & 0o777, 0o600);
        let said = String::from_utf8(place.status_command(&[]).stdout).unwrap();
        assert!(
            said.contains("dialling the activation localhost:9, not claimed"),
            "{said}"
        );

        let output = Command::new(env!("CARGO_BIN_EXE_lenscap"))
            .args(["enroll", "--reset", "--json", "--config"])
            .arg(place.path("lenscap"))
            .output()
            .unwrap();
        let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((&said["reset"], &said["told"]), (&true.into(), &true.into()));
        service.wait_log("this camera was reset");
        assert_eq!(place.status()["agent_pid"], agent);
        // Another signal changes nothing more.
        service.signal(Signal::SIGHUP);
        wait("the second reading", || {
            (service.log().matches("the configuration was read again").count() == 2).then_some(())
        });
        assert_eq!(service.log().matches("this camera was reset").count(), 1);
    });
}

#[test]
fn a_reset_is_obeyed_with_a_configuration_that_is_broken() {
    up(|place, service, agent| {
        wait("the copy", || {
            place.path("state/config.good").exists().then_some(())
        });
        let good = fs::read_to_string(place.path("lenscap")).unwrap();
        place.write("lenscap", &good[..good.find("config uplink").unwrap() + 20]);
        let output = Command::new(env!("CARGO_BIN_EXE_lenscap"))
            .args(["enroll", "--reset", "--json", "--config"])
            .arg(place.path("lenscap"))
            .output()
            .unwrap();
        let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((&said["reset"], &said["told"]), (&true.into(), &true.into()));
        service.wait_log("this camera was reset");
        assert!(service.log().contains("the last good one stays in force"));
        assert_eq!(
            (&place.status()["agent_pid"], &place.status()["uplinks"]),
            (&agent.into(), &1.into())
        );
    });
}

#[test]
fn sighup_hands_over_what_the_configuration_names_now() {
    up(|place, service, agent| {
        assert_eq!(place.status()["uplinks"], 1);
        // Root's alone: the agent could not open it.
        place.write("token", "s3cret-token\n");
        let private = fs::Permissions::from_mode(0o600);
        fs::set_permissions(place.path("token"), private).unwrap();
        let first = place.uplink("main", "https://localhost:9/x");
        let second = place.uplink("second", "https://localhost:9/y");
        let token = format!("\toption token_file '{}'\n", place.path("token").display());
        place.configure(&format!("{first}{second}{token}"));
        service.signal(Signal::SIGHUP);
        wait("the second uplink", || {
            (place.status()["uplinks"] == 2).then_some(())
        });
        place.configure("config uplink 'broken'\n");
        service.signal(Signal::SIGHUP);
        service.wait_log("the last good one stays in force");
        assert_eq!(place.status()["uplinks"], 2);
        assert_eq!(place.status()["agent_pid"], agent);
        assert!(!service.log().contains("s3cret-token"));
    });
}

#[test]
fn changed_files_reach_the_agent_without_a_signal() {
    if !may_be_root() {
        return;
    }
    let (place, gateway) = Place::with_gateway("gateway.invalid");
    // As at a boot where DHCP comes late.
    fs::remove_file(place.path("resolv.conf")).unwrap();
    let service = place.start();
    service.wait_log("does not resolve");
    place.write("hosts.new", "127.0.0.1 gateway.invalid\n");
    fs::rename(place.path("hosts.new"), place.path("hosts")).unwrap();
    accept(&gateway);
}

#[test]
fn a_damaged_configuration_is_replaced_by_its_last_good_copy() {
    up(|place, mut service, _| {
        wait("the copy", || {
            place.path("state/config.good").exists().then_some(())
        });
        let mode = fs::metadata(place.path("state/config.good")).unwrap().mode();
        assert_eq!(mode & 0o777, 0o600);
        service.signal(Signal::SIGTERM);
        service.wait_exit();

        let good = fs::read_to_string(place.path("lenscap")).unwrap();
        let half = &good[..good.find("config uplink").unwrap() + 20];
        place.write("lenscap", half);
        let service = place.start();
        service.wait_up(0);
        assert_eq!(place.status()["config"], "last good copy");
        assert!(service.log().contains("[ERROR]"), "{}", service.log());
        assert!(service.log().contains("running with its last good copy"));
        // Corrected, it counts again.
        place.write("lenscap", &good);
        service.signal(Signal::SIGHUP);
        wait("the corrected file", || {
            (place.status()["config"] == "current").then_some(())
        });
    });
}

#[test]
fn a_configuration_that_only_its_files_make_useless_is_neither_taken_nor_kept() {
    up(|place, mut service, _| {
        wait("the copy", || {
            place.path("state/config.good").exists().then_some(())
        });
        let good = fs::read(place.path("state/config.good")).unwrap();
        place.write("ca.pem", "no certificate\n");
        let ca = format!("\toption ca_file '{}'\n", place.path("ca.pem").display());
        place.configure(&(place.uplink("main", "https://localhost:9/x") + &ca));
        service.signal(Signal::SIGHUP);
        service.wait_log("holds no certificate");
        service.wait_log("the last good configuration stays in force");
        assert_eq!(place.status()["uplinks"], 1);
        service.signal(Signal::SIGTERM);
        service.wait_exit();
        assert!(fs::read(place.path("state/config.good")).unwrap() == good);
        // The next boot has something to fall back on.
        let service = place.start();
        service.wait_log("running with its last good copy");
        wait("the agent with the copy", || {
            let status = place.status();
            (status["state"] == "up" && status["config"] == "last good copy").then_some(())
        });
    });
}

#[test]
fn a_configuration_that_was_never_good_ends_the_service_with_every_error() {
    if !may_be_root() {
        return;
    }
    let place = Place::new();
    place.configure("config uplink 'main'\n\toption endpoint 'http://x'\n\toption level 'boss'\n");
    let mut service = place.start();
    assert_eq!(service.wait_exit().code(), Some(78));
    for part in ["https", "operator"] {
        assert!(service.log().contains(part), "{}", service.log());
    }
    // What only the agent finds out.
    place.write("ca.pem", "no certificate\n");
    let ca = format!("\toption ca_file '{}'\n", place.path("ca.pem").display());
    place.configure(&(place.uplink("main", "https://localhost:9/x") + &ca));
    let mut service = place.start();
    assert_eq!(service.wait_exit().code(), Some(78));
    assert!(
        service.log().contains("holds no certificate"),
        "{}",
        service.log()
    );
    fs::remove_file(place.path("lenscap")).unwrap();
    assert_eq!(place.start().wait_exit().code(), Some(78));
}

#[test]
fn a_state_folder_that_cannot_be_written_is_said_once_and_waited_for() {
    if !may_be_root() {
        return;
    }
    let place = Place::new();
    place.write("file", "in the way");
    let uplink = place.uplink("main", "https://localhost:9/x");
    place.configure_state(&place.path("file/state"), &uplink);
    let service = place.start();
    wait("two attempts", || {
        let status = place.status();
        let reason = status["reason"].as_str().unwrap_or_default().to_owned();
        (status["state"] == "waiting" && reason.contains("file/state")).then_some(())
    });
    fs::remove_file(place.path("file")).unwrap();
    fs::create_dir(place.path("file")).unwrap();
    service.wait_up(0);
    let log = service.log();
    assert_eq!(log.matches("; trying again").count(), 1, "{log}");
    assert_eq!(place.status()["reason"], "");
}

#[test]
fn without_root_it_is_one_process_that_works() {
    let (place, gateway) = Place::with_gateway("localhost");
    let mut command = place.command();
    if nix::unistd::Uid::effective().is_root() {
        // The program where that user may start it, and a folder where it may write.
        let program = place.path("program");
        // By another process: what a test beside this one starts must not hold the new program open for writing.
        let copied = Command::new("cp")
            .arg(env!("CARGO_BIN_EXE_lenscap"))
            .arg(&program)
            .status();
        assert!(copied.unwrap().success());
        fs::set_permissions(place.dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
        command = Command::new(program);
        command.arg("run").arg("--config").arg(place.path("lenscap"));
        command.uid(NOBODY).gid(NOBODY).current_dir("/");
    }
    let mut service = place.start_command(command);
    accept(&gateway);
    assert!(service.log().contains("not started as root"), "{}", service.log());
    let status = status_of(service.pid());
    assert_eq!(field(&status, "NoNewPrivs:"), "1");
    assert_eq!(field(&status, "CapEff:"), "0000000000000000");
    let children = format!("/proc/{0}/task/{0}/children", service.pid());
    assert_eq!(fs::read_to_string(children).unwrap_or_default().trim(), "");
    service.signal(Signal::SIGTERM);
    assert_eq!(service.wait_exit().code(), Some(0), "{}", service.log());
}

#[test]
fn the_agents_command_is_for_the_monitor_alone() {
    let output = Command::new(env!("CARGO_BIN_EXE_lenscap"))
        .arg("run-agent")
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(64));
}

/// The service under a filter of system calls, in a mount namespace where `prepare` (shell) has been run.
fn on_an_old_kernel(place: &Place, prepare: &str, getrandom: &str) -> Command {
    let filter = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/monitor/without_syscalls.py");
    let script = format!("{prepare}exec python3 \"$@\"");
    let mut command = Command::new("unshare");
    command
        .args(["-m", "--propagation", "private", "sh", "-ec", &script, "sh"])
        .args([filter, "--getrandom", getrandom, env!("CARGO_BIN_EXE_lenscap")])
        .args(["run", "--config"])
        .arg(place.path("lenscap"));
    command
}

#[test]
fn a_kernel_without_newer_system_calls_will_do() {
    if !may_be_root() {
        return;
    }
    let (place, gateway) = Place::with_gateway("localhost");
    let mut service = place.start_command(on_an_old_kernel(&place, "", "ENOSYS"));
    let agent = service.wait_up(0);
    // The handshake's first flight takes random bytes, which come from a device outside the agent's root.
    let mut connection = accept(&gateway);
    let mut record = [0; 5];
    std::io::Read::read_exact(&mut connection, &mut record).unwrap();
    assert_eq!(record[0], 22, "a TLS handshake record");
    assert_eq!(field(&status_of(agent), "NoNewPrivs:"), "1");
    assert_eq!(place.status()["restarts"], 0, "{}", service.log());
    service.signal(Signal::SIGTERM);
    assert_eq!(service.wait_exit().code(), Some(0), "{}", service.log());
}

#[test]
fn missing_randomness_is_said_once_and_waited_for() {
    if !may_be_root() {
        return;
    }
    let place = Place::new();
    let service = place.start_command(on_an_old_kernel(&place, "", "EAGAIN"));
    service.wait_log("no entropy");
    // Said first, then shown.
    wait("the state of waiting", || {
        (place.status()["state"] == "waiting").then_some(())
    });
    assert!(!place.path("state").exists(), "no key is made without randomness");

    let place = Place::new();
    let bare = "mount -t tmpfs none /dev; mknod -m 666 /dev/null c 1 3; ";
    let service = place.start_command(on_an_old_kernel(&place, bare, "ENOSYS"));
    service.wait_log("/dev/urandom");
    let made = Command::new("nsenter")
        .args(["-t", &service.pid().to_string(), "-m", "sh", "-ec"])
        .arg("mknod -m 666 /dev/random c 1 8; mknod -m 666 /dev/urandom c 1 9")
        .status()
        .unwrap();
    assert!(made.success());
    service.wait_up(0);
    assert_eq!(
        service.log().matches("; trying again").count(),
        1,
        "{}",
        service.log()
    );
}
