//! Keys and certificates of one run, none of which outlives its folder's use.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use lenscap_tests::digest::hex;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, PublicKeyData as _};
use sha2::{Digest as _, Sha256};

use crate::peers::which;
use crate::rig::{CABLE, LINE};

/// A certificate and its key.
pub(crate) struct Pair {
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
    pub(crate) spki_sha256_hex: String,
    pub(crate) cert_sha256_colons: String,
}

/// Everything the peers authenticate with.
pub(crate) struct Keys {
    pub(crate) ca: PathBuf,
    pub(crate) server: Pair,
    pub(crate) camera: Pair,
    pub(crate) ssh_host: PathBuf,
    pub(crate) ssh_client: PathBuf,
    pub(crate) dropbear_client: PathBuf,
    pub(crate) authorized: PathBuf,
}

impl Keys {
    /// Makes them in `dir`. SSH keys are made by the programs that use them.
    pub(crate) fn generate(dir: &Path) -> Result<Self> {
        fs::create_dir_all(dir)?;
        let mut params = CertificateParams::new(Vec::<String>::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(DnType::CommonName, "benchmark authority");
        let ca_key = KeyPair::generate()?;
        let ca_cert = params.self_signed(&ca_key)?;
        let ca = dir.join("ca.pem");
        fs::write(&ca, ca_cert.pem())?;
        let issuer = Issuer::new(params, ca_key);
        let names = [CABLE.server, CABLE.camera, LINE.server, LINE.camera]
            .map(str::to_owned)
            .to_vec();
        let mut keys = Self {
            ca,
            server: leaf(dir, "server", names, &issuer)?,
            camera: leaf(dir, "camera", vec!["camera".to_owned()], &issuer)?,
            ssh_host: dir.join("ssh_host_key"),
            ssh_client: dir.join("ssh_client_key"),
            dropbear_client: dir.join("dropbear_client_key"),
            authorized: dir.join("authorized_keys"),
        };
        keys.generate_ssh()?;
        Ok(keys)
    }

    /// A peer that is not installed has no keys; starting it will say so.
    fn generate_ssh(&mut self) -> Result<()> {
        let mut authorized = String::new();
        if let Ok(program) = which("ssh-keygen") {
            for file in [&self.ssh_host, &self.ssh_client] {
                run(Command::new(&program)
                    .args(["-q", "-t", "ed25519", "-N", "", "-C", "", "-f"])
                    .arg(file))?;
            }
            authorized += &fs::read_to_string(self.ssh_client.with_extension("pub"))?;
        }
        if let Ok(program) = which("dropbearkey") {
            let output = run(Command::new(program)
                .args(["-t", "ed25519", "-f"])
                .arg(&self.dropbear_client))?;
            let public = output.lines().find(|line| line.starts_with("ssh-ed25519"));
            authorized += public.context("dropbearkey shows no public key")?;
        }
        fs::write(&self.authorized, authorized + "\n")?;
        Ok(())
    }

    /// The public half of the SSH host key.
    pub(crate) fn ssh_host_public(&self) -> Result<String> {
        Ok(fs::read_to_string(self.ssh_host.with_extension("pub"))?)
    }
}

fn leaf(dir: &Path, name: &str, names: Vec<String>, issuer: &Issuer<'_, KeyPair>) -> Result<Pair> {
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name.push(DnType::CommonName, name);
    let key = KeyPair::generate()?;
    let cert = params.signed_by(&key, issuer)?;
    let cert_path = dir.join(format!("{name}.pem"));
    fs::write(&cert_path, cert.pem())?;
    let fingerprint: Vec<String> = Sha256::digest(cert.der())
        .iter()
        .map(|b| format!("{b:02X}"))
        .collect();
    Ok(Pair {
        cert: cert_path,
        key: write_secret(dir, &format!("{name}.key"), &key.serialize_pem())?,
        spki_sha256_hex: hex(&Sha256::digest(key.subject_public_key_info())),
        cert_sha256_colons: fingerprint.join(":"),
    })
}

/// Writes a file that its owner alone can read.
pub(crate) fn write_secret(dir: &Path, name: &str, text: &str) -> Result<PathBuf> {
    let path = dir.join(name);
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .with_context(|| format!("writing {}", path.display()))?;
    Ok(path)
}

fn run(command: &mut Command) -> Result<String> {
    let output = command
        .output()
        .with_context(|| format!("running {:?}", command.get_program()))?;
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "{:?}: {}",
        command.get_program(),
        error.trim()
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
