//! Lenscap itself: the agent with its release profile, the gateway with the server profile.

use std::fmt::Write as _;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use lenscap_tests::digest::Credentials;

use super::{Proof, Running, Side, command_line};
use crate::keys::{Keys, write_secret};
use crate::media::{Camera, Viewer};
use crate::process::Process;
use crate::rig::Rig;

const START_LIMIT: Duration = Duration::from_secs(10);
const UPLINK_PORT: u16 = 8443;
const RTSP_PORT: u16 = 8554;
const VIEWER: &str = "bench";
const PASSWORD: &str = "a-viewer-of-this-run-alone";

pub(super) fn start(rig: &Rig<'_>, keys: &Keys, camera: &Camera) -> Result<Running> {
    let (gateway_file, agent_file) = (gateway_config(rig, keys)?, agent_config(rig, keys, camera)?);
    let mut gateway = Command::new(&rig.binaries.gateway);
    gateway.arg("run").arg("--config").arg(gateway_file);
    let mut gateway_process = Process::start(&rig.server, &rig.dir, "gateway", &mut gateway)?;
    gateway_process.wait_event("listening", START_LIMIT)?;
    let mut agent = Command::new(&rig.binaries.agent);
    agent.arg("run").arg("--config").arg(agent_file);
    let agent_process = Process::start(&rig.camera, &rig.dir, "agent", &mut agent)?;
    Ok(Running {
        commands: vec![command_line(&agent), command_line(&gateway)],
        camera: vec![agent_process],
        server: vec![gateway_process],
        viewer: Viewer {
            url: format!("rtsp://127.0.0.1:{RTSP_PORT}/front/main"),
            credentials: Some(Credentials {
                user: VIEWER.to_owned(),
                password: PASSWORD.to_owned(),
            }),
        },
        proof: Proof {
            side: Side::Camera,
            marker: "TLS13_",
            cipher: "TLS13_CHACHA20_POLY1305_SHA256",
        },
    })
}

fn gateway_config(rig: &Rig<'_>, keys: &Keys) -> Result<std::path::PathBuf> {
    let password = write_secret(&rig.dir, "viewer.password", PASSWORD)?;
    let text = format!(
        "[uplink]\nlisten = \"{}:{UPLINK_PORT}\"\ncert = {:?}\nkey = {:?}\n\n\
         [rtsp]\nlisten = \"127.0.0.1:{RTSP_PORT}\"\n\n[http]\nlisten = \"127.0.0.1:8080\"\n\n\
         [[camera]]\nname = \"front\"\nfingerprint = \"sha256:{}\"\n\n\
         [[viewer]]\nuser = \"{VIEWER}\"\npassword_file = {password:?}\n",
        rig.ends.server, keys.server.cert, keys.server.key, keys.camera.spki_sha256_hex,
    );
    write_secret(&rig.dir, "gateway.toml", &text)
}

fn agent_config(rig: &Rig<'_>, keys: &Keys, camera: &Camera) -> Result<std::path::PathBuf> {
    let state = rig.dir.join("agent-state");
    std::fs::create_dir_all(&state)?;
    let mut text = String::from("config agent 'agent'\n");
    let mut option =
        |name: &str, value: &str| writeln!(text, "\toption {name} '{value}'").context("formatting");
    option("state_dir", &state.display().to_string())?;
    option("log", "stderr")?;
    option("log_level", "debug")?;
    // The daily audit comes in the first seconds, and is none of what the others do.
    option("reports", "0")?;
    option("cert", &keys.camera.cert.display().to_string())?;
    option("key", &keys.camera.key.display().to_string())?;
    write!(
        text,
        "\nconfig uplink 'main'\n\tlist endpoint 'https://{}:{UPLINK_PORT}/onvif/uplink'\n\toption ca_file '{}'\n\
         \nconfig profile 'main'\n\toption rtsp '{}'\n",
        rig.ends.server,
        keys.ca.display(),
        camera.url("127.0.0.1"),
    )?;
    write_secret(&rig.dir, "lenscap.conf", &text)
}
