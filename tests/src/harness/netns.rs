//! Two network namespaces joined by a cable whose speed can be set: the camera's side and the gateway's side.
//!
//! Needs root. The names carry the process id, so runs do not meet; both are deleted when the value is dropped.

use std::fs::{self, File};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::sched::{CloneFlags, setns};

use super::tools;

/// The gateway's address on the cable.
pub const GATEWAY_IP: &str = "10.77.0.1";
/// The camera's address on the cable.
pub const CAMERA_IP: &str = "10.77.0.2";

static COUNTER: AtomicU32 = AtomicU32::new(0);

/// A pair of namespaces.
#[derive(Debug)]
pub struct Cable {
    camera: String,
    gateway: String,
    camera_if: String,
}

impl Cable {
    /// Makes both namespaces and the cable between them.
    #[track_caller]
    pub fn new() -> Self {
        tools::need_root("network namespaces");
        let id = format!("{}-{}", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed));
        let cable = Self {
            camera: format!("lcc{id}"),
            gateway: format!("lcg{id}"),
            camera_if: "lencam".to_owned(),
        };
        ip(&["netns", "add", &cable.camera]);
        ip(&["netns", "add", &cable.gateway]);
        ip(&["-n", &cable.camera, "link", "add", &cable.camera_if, "type", "veth", "peer", "name", "lengw"]);
        ip(&["-n", &cable.camera, "link", "set", "lengw", "netns", &cable.gateway]);
        for (ns, interface, address) in
            [(&cable.camera, cable.camera_if.as_str(), CAMERA_IP), (&cable.gateway, "lengw", GATEWAY_IP)]
        {
            ip(&["-n", ns, "addr", "add", &format!("{address}/24"), "dev", interface]);
            ip(&["-n", ns, "link", "set", interface, "up"]);
            ip(&["-n", ns, "link", "set", "lo", "up"]);
            // What cameras and servers run, whatever this machine's default is.
            inside_thread(ns, || fs::write("/proc/sys/net/ipv4/tcp_congestion_control", "cubic"))
                .expect("CUBIC is in every kernel");
        }
        cable
    }

    /// Limits what leaves the camera to `bits_per_second`, in a token bucket with `queue_ms` of queue behind it.
    #[track_caller]
    pub fn throttle(&self, bits_per_second: u64, queue_ms: u32) {
        let rate = format!("{bits_per_second}bit");
        let latency = format!("{queue_ms}ms");
        self.tc(&[
            "qdisc", "replace", "dev", &self.camera_if, "root", "tbf", "rate", &rate, "burst", "8kb", "latency",
            &latency,
        ]);
        // A segment of 64 KiB would not pass a bucket of 8 KiB: let the stack cut them.
        run(Command::new(tools::outside("ip")).args([
            "-n", &self.camera, "link", "set", &self.camera_if, "gso_max_size", "3000", "gso_max_segs", "2",
        ]));
    }

    /// `command`, to run on the camera's side.
    pub fn on_camera(&self, command: &Command) -> Command {
        inside(&self.camera, command)
    }

    /// `command`, to run on the gateway's side.
    pub fn on_gateway(&self, command: &Command) -> Command {
        inside(&self.gateway, command)
    }

    /// Runs `work` in this process, with the gateway's view of the network.
    pub fn at_gateway<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        inside_thread(&self.gateway, work)
    }

    fn tc(&self, args: &[&str]) {
        run(Command::new(tools::outside("tc")).args(["-n", &self.camera]).args(args));
    }
}

impl Default for Cable {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        for name in [&self.camera, &self.gateway] {
            let _ = Command::new("ip").args(["netns", "del", name]).status();
        }
    }
}

fn inside(namespace: &str, command: &Command) -> Command {
    let mut wrapped = Command::new(tools::outside("ip"));
    wrapped.args(["netns", "exec", namespace]).arg(command.get_program()).args(command.get_args());
    for (key, value) in command.get_envs() {
        if let Some(value) = value {
            wrapped.env(key, value);
        }
    }
    wrapped
}

/// A namespace belongs to a thread, so the work gets one of its own.
fn inside_thread<T: Send>(namespace: &str, work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let file = File::open(format!("/run/netns/{namespace}")).expect("the namespace is there");
            setns(file, CloneFlags::CLONE_NEWNET).expect("root may enter a namespace");
            work()
        });
        match thread.join() {
            Ok(value) => value,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

#[track_caller]
fn ip(args: &[&str]) {
    run(Command::new(tools::outside("ip")).args(args));
}

#[track_caller]
fn run(command: &mut Command) {
    let output = command.output().expect("iproute2 can be started");
    assert!(
        output.status.success(),
        "{command:?} failed: {} (network namespaces need root and CAP_NET_ADMIN)",
        String::from_utf8_lossy(&output.stderr)
    );
}
