//! OpenVPN over TCP: an IP tunnel between both hosts.

use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use super::{Proof, Running, Side, command_line, which};
use crate::keys::{Keys, Pair, write_secret};
use crate::media::{Camera, Viewer};
use crate::process::Process;
use crate::rig::Rig;

const PORT: u16 = 1194;
const SERVER: &str = "10.99.0.1";
const CAMERA: &str = "10.99.0.2";
const START_LIMIT: Duration = Duration::from_secs(20);

pub(super) fn start(rig: &Rig<'_>, keys: &Keys, camera: &Camera) -> Result<Running> {
    let server_text = format!(
        "proto tcp-server\nlocal {}\nport {PORT}\ntls-server\ndh none\nifconfig {SERVER} {CAMERA}\n{}",
        rig.ends.server,
        common(&keys.server, &keys.camera),
    );
    let camera_text = format!(
        "proto tcp-client\nremote {} {PORT}\nnobind\ntls-client\nifconfig {CAMERA} {SERVER}\n{}",
        rig.ends.server,
        common(&keys.camera, &keys.server),
    );
    let program = which("openvpn")?;
    let mut server_command = Command::new(&program);
    server_command
        .arg("--config")
        .arg(write_secret(&rig.dir, "openvpn-server.conf", &server_text)?);
    let mut camera_command = Command::new(&program);
    camera_command
        .arg("--config")
        .arg(write_secret(&rig.dir, "openvpn-camera.conf", &camera_text)?);
    let mut server = Process::start(&rig.server, &rig.dir, "openvpn-server", &mut server_command)?;
    server.wait_log("Listening for incoming TCP connection", START_LIMIT)?;
    let mut client = Process::start(&rig.camera, &rig.dir, "openvpn-camera", &mut camera_command)?;
    client.wait_log("Initialization Sequence Completed", START_LIMIT)?;
    Ok(Running {
        camera: vec![client],
        server: vec![server],
        viewer: Viewer {
            url: camera.url(CAMERA),
            credentials: None,
        },
        proof: Proof {
            side: Side::Camera,
            marker: "Outgoing Data Channel: Cipher",
            cipher: "CHACHA20-POLY1305",
        },
        commands: vec![command_line(&camera_command), command_line(&server_command)],
    })
}

fn common(own: &Pair, other: &Pair) -> String {
    format!(
        "dev tun\ndisable-dco\nsocket-flags TCP_NODELAY\ndata-ciphers CHACHA20-POLY1305\n\
         cert {}\nkey {}\npeer-fingerprint {}\nverb 4\n",
        own.cert.display(),
        own.key.display(),
        other.cert_sha256_colons,
    )
}
