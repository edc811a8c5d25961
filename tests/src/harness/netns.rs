//! Two network namespaces joined by a cable whose speed can be set: the camera's side and the gateway's side.
//!
//! Needs root. The names carry the process id, so runs do not meet; both are deleted when the value is dropped.

use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use super::tools;
use crate::netns::{Namespace, join};

/// The gateway's address on the cable.
pub const GATEWAY_IP: &str = "10.77.0.1";
/// The camera's address on the cable.
pub const CAMERA_IP: &str = "10.77.0.2";
/// The gateway's and the camera's IPv6 addresses, where a test adds them.
pub const GATEWAY_IP6: &str = "fd00:77::1";
/// See [`GATEWAY_IP6`].
pub const CAMERA_IP6: &str = "fd00:77::2";
/// The cable's name at both ends.
const DEVICE: &str = "cable";

static COUNTER: AtomicU32 = AtomicU32::new(0);

/// A pair of namespaces.
#[derive(Debug)]
pub struct Cable {
    camera: Namespace,
    gateway: Namespace,
}

impl Cable {
    /// Makes both namespaces and the cable between them. TCP uses CUBIC, as cameras do.
    #[track_caller]
    pub fn new() -> Self {
        tools::need_root("network namespaces");
        tools::outside("ip");
        let id = format!(
            "{}-{}",
            std::process::id(),
            COUNTER.fetch_add(1, Ordering::Relaxed)
        );
        let make = |side: &str| {
            let namespace =
                Namespace::create(&format!("lenscap-{side}-{id}")).expect("namespaces need CAP_NET_ADMIN");
            namespace
                .tune_tcp()
                .expect("a namespace has TCP settings of its own");
            namespace
        };
        let cable = Self {
            camera: make("camera"),
            gateway: make("gateway"),
        };
        let (camera, gateway) = (format!("{CAMERA_IP}/24"), format!("{GATEWAY_IP}/24"));
        join(&cable.camera, &cable.gateway, DEVICE, &camera, &gateway).expect("veth is in every kernel");
        cable
    }

    /// Limits what leaves the camera to `bits_per_second`, in a token bucket with `queue_ms` of queue behind it.
    #[track_caller]
    pub fn throttle(&self, bits_per_second: u64, queue_ms: u32) {
        let (rate, latency) = (format!("{bits_per_second}bit"), format!("{queue_ms}ms"));
        // A segment of 64 KiB would not pass a bucket of 8 KiB: let the stack cut them.
        let small = ["gso_max_size", "3000", "gso_max_segs", "2"];
        run(Command::new(tools::outside("ip"))
            .args(["-n", self.camera.name(), "link", "set", DEVICE])
            .args(small));
        run(Command::new(tools::outside("tc"))
            .args([
                "-n",
                self.camera.name(),
                "qdisc",
                "replace",
                "dev",
                DEVICE,
                "root",
                "tbf",
            ])
            .args(["rate", &rate, "burst", "8kb", "latency", &latency]));
    }

    /// Sends each segment by itself, as a camera's own hardware shows them to whoever counts.
    #[track_caller]
    pub fn send_single_segments(&self) {
        for side in [&self.camera, &self.gateway] {
            run(Command::new(tools::outside("ip")).args([
                "-n",
                side.name(),
                "link",
                "set",
                DEVICE,
                "gso_max_segs",
                "1",
            ]));
        }
    }

    /// Gives both ends an IPv6 address as well, usable at once.
    #[track_caller]
    pub fn add_ipv6(&self) {
        for (side, address) in [(&self.camera, CAMERA_IP6), (&self.gateway, GATEWAY_IP6)] {
            let address = format!("{address}/64");
            let add = ["addr", "add", &address, "dev", DEVICE, "nodad"];
            run(Command::new(tools::outside("ip"))
                .args(["-n", side.name()])
                .args(add));
        }
    }

    /// The cable's name at both ends.
    pub fn device(&self) -> &'static str {
        DEVICE
    }

    /// `command`, to run on the camera's side.
    pub fn on_camera(&self, command: &Command) -> Command {
        inside(&self.camera, command)
    }

    /// `command`, to run on the gateway's side.
    pub fn on_gateway(&self, command: &Command) -> Command {
        inside(&self.gateway, command)
    }

    /// Runs `work` in this process, with the camera's view of the network.
    pub fn at_camera<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.camera
            .run(|| Ok(work()))
            .expect("root may enter a namespace")
    }

    /// Runs `work` in this process, with the gateway's view of the network.
    pub fn at_gateway<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.gateway
            .run(|| Ok(work()))
            .expect("root may enter a namespace")
    }
}

impl Default for Cable {
    fn default() -> Self {
        Self::new()
    }
}

/// A child of a thread inside a namespace would do, but dies with that thread (see [`super::process`]).
fn inside(namespace: &Namespace, command: &Command) -> Command {
    let mut wrapped = Command::new(tools::outside("ip"));
    wrapped
        .args(["netns", "exec", namespace.name()])
        .arg(command.get_program())
        .args(command.get_args());
    for (key, value) in command.get_envs() {
        if let Some(value) = value {
            wrapped.env(key, value);
        }
    }
    wrapped
}

#[track_caller]
fn run(command: &mut Command) {
    let output = command.output().expect("iproute2 can be started");
    assert!(
        output.status.success(),
        "{command:?} failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}
