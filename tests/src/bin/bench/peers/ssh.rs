//! Remote forwarding over SSH, with OpenSSH's client or with Dropbear's, to OpenSSH's server.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use super::{FORWARDED_PORT, Proof, Running, Side, command_line, which};
use crate::keys::{Keys, write_secret};
use crate::media::{Camera, Viewer};
use crate::process::Process;
use crate::rig::Rig;

const SSH_PORT: u16 = 2222;
const CIPHER: &str = "chacha20-poly1305@openssh.com";
const START_LIMIT: Duration = Duration::from_secs(10);

pub(super) fn start_openssh(rig: &Rig<'_>, keys: &Keys, camera: &Camera) -> Result<Running> {
    let known = format!("[{}]:{SSH_PORT} {}", rig.ends.server, keys.ssh_host_public()?);
    let known = write_secret(&rig.dir, "known_hosts", &known)?;
    let mut command = Command::new(which("ssh")?);
    command.args(["-v", "-N", "-T", "-F", "none", "-p", &SSH_PORT.to_string()]);
    command.arg("-i").arg(&keys.ssh_client);
    command.args([
        "-o",
        &format!("Ciphers={CIPHER}"),
        "-o",
        "Compression=no",
        "-o",
        "ExitOnForwardFailure=yes",
    ]);
    command.args([
        "-o",
        "StrictHostKeyChecking=yes",
        "-o",
        "BatchMode=yes",
        "-o",
        "IdentitiesOnly=yes",
    ]);
    command.args(["-o", &format!("UserKnownHostsFile={}", known.display())]);
    command.args(["-R", &forward(camera), &format!("root@{}", rig.ends.server)]);
    start(rig, keys, command, "ssh")
}

pub(super) fn start_dropbear(rig: &Rig<'_>, keys: &Keys, camera: &Camera) -> Result<Running> {
    let mut command = Command::new(which("dbclient")?);
    // The host key is this run's own, in a namespace of this run: there is nobody to be fooled by.
    command.args(["-y", "-y", "-N", "-T", "-c", CIPHER]);
    command.arg("-i").arg(&keys.dropbear_client);
    command.args([
        "-R",
        &forward(camera),
        &format!("root@{}/{SSH_PORT}", rig.ends.server),
    ]);
    start(rig, keys, command, "dbclient")
}

fn forward(camera: &Camera) -> String {
    format!("127.0.0.1:{FORWARDED_PORT}:127.0.0.1:{}", camera.port)
}

fn start(rig: &Rig<'_>, keys: &Keys, mut client: Command, name: &str) -> Result<Running> {
    let mut sshd = Command::new(which("sshd")?);
    sshd.args(["-D", "-e", "-f"]).arg(sshd_config(rig, keys)?);
    let mut sshd_process = Process::start(&rig.server, &rig.dir, "sshd", &mut sshd)?;
    sshd_process.wait_log("Server listening", START_LIMIT)?;
    let client_process = Process::start(&rig.camera, &rig.dir, name, &mut client)?;
    Ok(Running {
        commands: vec![command_line(&client), command_line(&sshd)],
        camera: vec![client_process],
        server: vec![sshd_process],
        viewer: Viewer {
            url: format!("rtsp://127.0.0.1:{FORWARDED_PORT}/stream"),
            credentials: None,
        },
        proof: Proof {
            side: Side::Server,
            marker: "client->server cipher:",
            cipher: CIPHER,
        },
    })
}

fn sshd_config(rig: &Rig<'_>, keys: &Keys) -> Result<PathBuf> {
    // sshd wants its empty folder, which the service file would have made.
    std::fs::create_dir_all("/run/sshd")?;
    // DEBUG1 names the cipher once a connection and says nothing for bytes.
    let text = format!(
        "ListenAddress {}\nPort {SSH_PORT}\nHostKey {}\nAuthorizedKeysFile {}\nStrictModes no\n\
         PermitRootLogin prohibit-password\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n\
         UsePAM {}\nCiphers {CIPHER}\nCompression no\nAllowTcpForwarding remote\nPidFile none\nLogLevel DEBUG1\n",
        rig.ends.server,
        keys.ssh_host.display(),
        keys.authorized.display(),
        if root_is_locked() { "yes" } else { "no" },
    );
    write_secret(&rig.dir, "sshd_config", &text)
}

/// Without PAM, sshd refuses an account whose password begins with `!`, keys or not.
fn root_is_locked() -> bool {
    let shadow = std::fs::read_to_string("/etc/shadow").unwrap_or_default();
    shadow.lines().any(|line| line.starts_with("root:!"))
}
