//! stunnel: plain TLS forwarding, the least that any of these must do.

use std::process::Command;

use anyhow::Result;

use super::{FORWARDED_PORT, Proof, Running, Side, command_line, which};
use crate::keys::{Keys, write_secret};
use crate::media::{Camera, Viewer};
use crate::process::Process;
use crate::rig::Rig;

const TLS_PORT: u16 = 4433;
/// One line a connection at level 6 names the cipher; nothing is logged for bytes.
const COMMON: &str = "foreground = yes\nsyslog = no\npid =\ndebug = 6\nsslVersion = TLSv1.3\n\
                      ciphersuites = TLS_CHACHA20_POLY1305_SHA256\n";

pub(super) fn start(rig: &Rig<'_>, keys: &Keys, camera: &Camera) -> Result<Running> {
    let camera_text = format!(
        "{COMMON}[camera]\naccept = {}:{TLS_PORT}\nconnect = 127.0.0.1:{}\ncert = {}\nkey = {}\n",
        rig.ends.camera,
        camera.port,
        keys.server.cert.display(),
        keys.server.key.display(),
    );
    let server_text = format!(
        "{COMMON}[server]\nclient = yes\naccept = 127.0.0.1:{FORWARDED_PORT}\nconnect = {}:{TLS_PORT}\n\
         CAfile = {}\nverifyChain = yes\n",
        rig.ends.camera,
        keys.ca.display(),
    );
    let program = which("stunnel4")?;
    let mut camera_command = Command::new(&program);
    camera_command.arg(write_secret(&rig.dir, "stunnel-camera.conf", &camera_text)?);
    let mut server_command = Command::new(&program);
    server_command.arg(write_secret(&rig.dir, "stunnel-server.conf", &server_text)?);
    Ok(Running {
        camera: vec![Process::start(
            &rig.camera,
            &rig.dir,
            "stunnel-camera",
            &mut camera_command,
        )?],
        server: vec![Process::start(
            &rig.server,
            &rig.dir,
            "stunnel-server",
            &mut server_command,
        )?],
        viewer: Viewer {
            url: format!("rtsp://127.0.0.1:{FORWARDED_PORT}/stream"),
            credentials: None,
        },
        proof: Proof {
            side: Side::Camera,
            marker: "ciphersuite:",
            cipher: "TLS_CHACHA20_POLY1305_SHA256",
        },
        commands: vec![command_line(&camera_command), command_line(&server_command)],
    })
}
