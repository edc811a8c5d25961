//! The programs that are compared. Each carries the camera's RTSP port to the server's host in its
//! own way; all must use ChaCha20-Poly1305 and prove it.

mod lenscap;
mod openvpn;
mod ssh;
mod stunnel;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::keys::Keys;
use crate::media::{Camera, Viewer};
use crate::process::Process;
use crate::rig::Rig;

/// Port on the server's host where a peer offers the camera's RTSP.
const FORWARDED_PORT: u16 = 18554;

/// One program to compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    Lenscap,
    Stunnel,
    OpenSsh,
    Dropbear,
    OpenVpn,
}

impl Peer {
    /// In the order of the table.
    pub(crate) const ALL: [Self; 5] = [
        Self::Lenscap,
        Self::Stunnel,
        Self::OpenSsh,
        Self::Dropbear,
        Self::OpenVpn,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Lenscap => "lenscap",
            Self::Stunnel => "stunnel",
            Self::OpenSsh => "openssh -R",
            Self::Dropbear => "dropbear -R",
            Self::OpenVpn => "openvpn tcp",
        }
    }

    /// What it does, in one line.
    pub(crate) fn note(self) -> &'static str {
        match self {
            Self::Lenscap => "agent dials the gateway; RTSP inside WebSocket, HTTP/2 and TLS 1.3",
            Self::Stunnel => {
                "plain TLS 1.3 forwarding; it has no reverse mode, so the server side dials the camera side"
            }
            Self::OpenSsh => "ssh -R on the camera's side, sshd on the server's",
            Self::Dropbear => "dbclient -R on the camera's side, OpenSSH's sshd on the server's",
            Self::OpenVpn => {
                "TCP, tun, in user space (no kernel offload); RTSP to the camera's tunnel address"
            }
        }
    }

    /// The program on the camera, for its size.
    pub(crate) fn camera_program(self, rig_agent: &Path) -> Result<PathBuf> {
        match self {
            Self::Lenscap => Ok(rig_agent.to_owned()),
            Self::Stunnel => which("stunnel4"),
            Self::OpenSsh => which("ssh"),
            Self::Dropbear => which("dbclient"),
            Self::OpenVpn => which("openvpn"),
        }
    }

    /// Its version, one line a side.
    pub(crate) fn version(self, agent: &Path, gateway: &Path) -> Result<String> {
        match self {
            Self::Lenscap => Ok(format!(
                "{}; {}",
                first_line(agent, "--version")?,
                first_line(gateway, "--version")?
            )),
            Self::Stunnel => first_line_with(&which("stunnel4")?, "-version", "stunnel "),
            Self::OpenSsh => first_line(&which("ssh")?, "-V"),
            Self::Dropbear => first_line(&which("dbclient")?, "-V"),
            Self::OpenVpn => first_line(&which("openvpn")?, "--version"),
        }
    }

    /// Starts both sides; the viewer can connect when [`crate::media::Sink::wait_ready`] says so.
    pub(crate) fn start(self, rig: &Rig<'_>, keys: &Keys, camera: &Camera) -> Result<Running> {
        match self {
            Self::Lenscap => lenscap::start(rig, keys, camera),
            Self::Stunnel => stunnel::start(rig, keys, camera),
            Self::OpenSsh => ssh::start_openssh(rig, keys, camera),
            Self::Dropbear => ssh::start_dropbear(rig, keys, camera),
            Self::OpenVpn => openvpn::start(rig, keys, camera),
        }
    }
}

/// A peer at work.
pub(crate) struct Running {
    /// What counts as the camera's side.
    pub(crate) camera: Vec<Process>,
    /// What counts as the server's side.
    pub(crate) server: Vec<Process>,
    pub(crate) viewer: Viewer,
    /// Which log says the cipher: on the camera's or on the server's side, and what it must say.
    pub(crate) proof: Proof,
    /// Command lines, camera first.
    pub(crate) commands: Vec<String>,
}

/// How a peer shows its cipher.
#[derive(Clone, Copy)]
pub(crate) struct Proof {
    pub(crate) side: Side,
    /// Text that the line about the cipher holds, whatever the cipher is.
    pub(crate) marker: &'static str,
    /// Text that must be in each such line.
    pub(crate) cipher: &'static str,
}

#[derive(Clone, Copy)]
pub(crate) enum Side {
    Camera,
    Server,
}

impl Running {
    /// The lines in which the peer says what it negotiated; an error if one names another cipher.
    pub(crate) fn prove_cipher(&self) -> Result<String> {
        let programs = match self.proof.side {
            Side::Camera => &self.camera,
            Side::Server => &self.server,
        };
        let log: String = programs.iter().map(Process::log).collect();
        let mut lines: Vec<&str> = log
            .lines()
            .filter(|line| line.contains(self.proof.marker))
            .map(str::trim)
            .collect();
        lines.dedup();
        let first = lines
            .first()
            .context("the log does not say which cipher was negotiated")?;
        if let Some(other) = lines.iter().find(|line| !line.contains(self.proof.cipher)) {
            anyhow::bail!("another cipher than {}: {other}", self.proof.cipher);
        }
        let at = first.find(self.proof.marker).unwrap_or_default();
        Ok(first[at..].to_owned())
    }
}

/// A program of the system, also from where unprivileged users do not look.
pub(crate) fn which(name: &str) -> Result<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    path.split(':')
        .map(|dir| Path::new(dir).join(name))
        .find(|candidate| candidate.is_file())
        .with_context(|| format!("{name} is not installed"))
}

fn first_line(program: &Path, argument: &str) -> Result<String> {
    first_line_with(program, argument, "")
}

fn first_line_with(program: &Path, argument: &str, start: &str) -> Result<String> {
    let output = Command::new(program)
        .arg(argument)
        .output()
        .with_context(|| format!("running {}", program.display()))?;
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    let line = text
        .lines()
        .find(|line| line.starts_with(start) && !line.trim().is_empty());
    Ok(line.context("it does not say its version")?.trim().to_owned())
}

fn command_line(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy().into_owned()];
    words.extend(command.get_args().map(|word| word.to_string_lossy().into_owned()));
    words.join(" ")
}
