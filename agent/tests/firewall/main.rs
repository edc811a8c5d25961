//! The firewall in the kernel of this machine, in network namespaces: put in place by our own messages, read back by the
//! programs that everybody uses, tried from a second host. As root; `LENSCAP_TEST_UNPRIVILEGED=1` leaves these out.

#![allow(clippy::unwrap_used, clippy::panic)]

mod apart;
mod arbitrary;
mod command;
mod kernel;
mod lan;
mod routes;
mod shut_out;
mod traffic;

use std::net::IpAddr;
use std::process::{Command, Output, Stdio};

use lenscap_harden::firewall::{Allowed, Policy};
use nix::sched::{CloneFlags, unshare};

/// Making namespaces needs root. Whoever cannot says so.
fn without_root() -> bool {
    let unprivileged = std::env::var_os("LENSCAP_TEST_UNPRIVILEGED").is_some();
    assert!(
        unprivileged || nix::unistd::Uid::effective().is_root(),
        "this test needs root; LENSCAP_TEST_UNPRIVILEGED=1 leaves it out"
    );
    unprivileged
}

/// Runs on a thread of its own, in a network of its own with nothing in it but `lo`.
fn alone<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let inside = || {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            run("ip", &["link", "set", "lo", "up"]);
            work()
        };
        match scope.spawn(inside).join() {
            Ok(value) => value,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// Runs a program in the calling thread's network. It must succeed; gives what it wrote.
fn run(program: &str, args: &[&str]) -> String {
    let output = output(program, args, "");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {args:?}: {errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn output(program: &str, args: &[&str], input: &str) -> Output {
    use std::io::Write as _;
    let package = match program {
        "nft" => "nftables",
        "ip" => "iproute2",
        "nsenter" => "util-linux",
        "nmap" => "nmap",
        "tar" | "cp" | "mkdir" | "mknod" => "tar and coreutils",
        _ => "iptables",
    };
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{program} is missing ({error}): apt-get install {package}"));
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

fn addresses(list: &[&str]) -> Vec<IpAddr> {
    list.iter().map(|text| text.parse().unwrap()).collect()
}

fn allowed(list: &[&str]) -> Vec<Allowed> {
    list.iter().map(|text| Allowed::parse(text).unwrap()).collect()
}

/// Something of everything.
fn policy() -> Policy {
    Policy {
        uid: Some(312),
        ports: vec![443, 8443],
        allow_in: allowed(&["10.9.0.2:554/tcp", "192.168.0.0/17:22", "[fd00::/8]:22/tcp"]),
        allow_out: allowed(&["10.9.0.2:7000", "[fd00::5]:123/udp", "0.0.0.0/0:8883/tcp"]),
        dns: addresses(&["10.9.0.2", "fd00::53"]),
        ntp: addresses(&["10.9.0.2"]),
        discovery: true,
        ..Policy::default()
    }
}
