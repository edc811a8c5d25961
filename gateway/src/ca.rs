//! The gateway's own certificate authority, for where there is no other.
//!
//! It lives in the data folder: `ca.pem` and `ca.key`, and by it the gateway's `gateway.pem` and `gateway.key`.
//! Cameras pin the gateway's key, so the key stays when the certificate is renewed.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use base64ct::{Base64, Encoding as _};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use thiserror::Error;

use crate::clock;
use crate::ordinary;
use crate::owner;
use crate::rtsp::digest::hex;
use crate::tls;

/// How long a CA lives.
pub const CA_DAYS: u64 = 20 * 365;
/// How long a certificate lives unless it is said otherwise; clients refuse longer ones.
pub const LEAF_DAYS: u64 = 820;
/// A certificate is renewed when it has less left than this.
pub const RENEW_DAYS: u64 = 60;
/// Most names in the gateway's own certificate, unless more are asked for at once.
pub const MAX_NAMES: usize = 32;
/// Clocks of clients may be behind.
const BACKDATE: Duration = Duration::from_secs(86_400);
const DAY: Duration = Duration::from_secs(86_400);

/// Why there is no certificate.
#[derive(Debug, Error)]
pub enum CaError {
    /// Files.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is one.
    #[error("{} is there already; cameras and viewers trust it, so it is not replaced", .0.display())]
    Exists(PathBuf),
    /// There is none.
    #[error("there is no CA in {}; make one: lenscap-gateway ca init", .0.display())]
    Missing(PathBuf),
    /// The CA's time is over.
    #[error(
        "the CA in {} has expired; put ca.pem and ca.key aside, make another with `lenscap-gateway ca init`, \
         and give ca.pem to those who trust the old one",
        .0.display()
    )]
    Expired(PathBuf),
    /// The files are damaged or do not belong together.
    #[error("the CA in {} cannot be used ({why}); restore a backup", folder.display())]
    Damaged {
        /// Where.
        folder: PathBuf,
        /// Why.
        why: String,
    },
    /// The gateway's own key.
    #[error(
        "{}: no usable private key ({why}); restore a backup, or put the file and gateway.pem aside: another key is made, \
         and cameras that pin the old one need its pin",
        path.display()
    )]
    Key {
        /// Which file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// The gateway's own key is gone, and its certificate is not.
    #[error(
        "{} is missing, the key of gateway.pem beside it, which cameras may pin; restore a backup, or put gateway.pem \
         aside: another key is made, and cameras that pin the old one need its pin",
        .0.display()
    )]
    LostKey(PathBuf),
    /// The gateway's own certificate.
    #[error(
        "{}: no usable certificate ({why}); it is not replaced, since cameras may dial the names that it had. Restore a \
         backup, or put the file aside, but not gateway.key, and start with --host for each name that cameras dial",
        path.display()
    )]
    Certificate {
        /// Which file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// The CA is gone, and the certificate that it issued is not.
    #[error(
        "the CA of gateway.pem is lost: neither ca.pem nor ca.key is in {}, and cameras and viewers that trust it \
         (`option ca_file`) would refuse a certificate of another. Restore a backup: lenscap-gateway restore FILE. \
         Without one, make another CA knowingly: lenscap-gateway ca init, and give its ca.pem to them; cameras that pin \
         the gateway's key need nothing, as long as gateway.key stays",
        .0.display()
    )]
    LostCa(PathBuf),
    /// The dates would make no sense.
    #[error(transparent)]
    Clock(#[from] clock::WrongClock),
    /// A name that cannot be in a certificate.
    #[error("{0}")]
    Make(#[from] rcgen::Error),
}

/// What a certificate is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// TLS servers: gateways.
    Server,
    /// TLS clients: cameras.
    Client,
}

/// A certificate with its key, in PEM form.
pub struct Issued {
    /// The certificate, and the CA's behind it.
    pub chain: String,
    /// The private key.
    pub key: String,
}

impl std::fmt::Debug for Issued {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Issued")
    }
}

/// Makes a CA. One that has lost its certificate, but not its key, gets another that those who have the old one
/// believe as well.
///
/// # Errors
/// See [`CaError`]; an existing one is left alone.
pub fn init(folder: &Path, now: SystemTime) -> Result<PathBuf, CaError> {
    init_for(folder, now, CA_DAYS)
}

fn init_for(folder: &Path, now: SystemTime, days: u64) -> Result<PathBuf, CaError> {
    let (cert, key) = (folder.join("ca.pem"), folder.join("ca.key"));
    if is_file(&cert)? {
        return Err(CaError::Exists(cert));
    }
    clock::check(clock::unix(now))?;
    let pair = |pem: String| {
        KeyPair::from_pem(&pem).map_err(|error| CaError::Damaged {
            folder: folder.to_owned(),
            why: format!("ca.key: {error}"),
        })
    };
    let kept = read(&key)?.map(pair).transpose()?;
    let pair = match &kept {
        Some(pair) => pair,
        None => &KeyPair::generate()?,
    };
    let mut params = CertificateParams::new(Vec::new())?;
    let id = &hex(&tls::sha256(pair.public_key_raw()))[..8];
    params.distinguished_name = common_name(&format!("Lenscap gateway CA {id}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    set_dates(&mut params, now, days);
    let certificate = params.self_signed(pair)?;
    if kept.is_none() {
        write(&key, &pair.serialize_pem(), 0o600)?;
    }
    write(&cert, &certificate.pem(), 0o644)?;
    Ok(cert)
}

/// Makes a certificate with a new key.
///
/// # Errors
/// See [`CaError`].
pub fn issue(
    folder: &Path,
    names: &[String],
    what: Use,
    days: u64,
    now: SystemTime,
) -> Result<Issued, CaError> {
    let pair = KeyPair::generate()?;
    Ok(Issued {
        chain: certify(folder, &pair, names, what, days, now)?,
        key: pair.serialize_pem(),
    })
}

/// What [`ensure`] has made or found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ensured {
    /// The certificate was made just now.
    pub is_new: bool,
    /// What it is for beside what was asked for: cameras may still dial its names of before.
    pub kept: Vec<String>,
    /// Names of before that found no place in the new one.
    pub dropped: Vec<String>,
}

/// Makes sure that the gateway has a certificate for `names` with some time left. It keeps the names that it had, at
/// most [`MAX_NAMES`] in all, the latest first.
///
/// # Errors
/// See [`CaError`].
pub fn ensure(folder: &Path, names: &[String], now: SystemTime) -> Result<Ensured, CaError> {
    let (cert, key) = (folder.join("gateway.pem"), folder.join("gateway.key"));
    let known = own_key(folder)?;
    let mut asked: Vec<String> = Vec::new();
    for name in names.iter().map(|name| canonical(name)) {
        if !asked.contains(&name) {
            asked.push(name);
        }
    }
    let shown = own_certificate(folder)?;
    if let (Some(shown), Some(pair)) = (&shown, &known)
        && !is_of(shown, pair)
    {
        let why = "it is not the private key of gateway.pem".to_owned();
        return Err(CaError::Key { path: key, why });
    }
    let old = shown.as_ref().map(names_in).unwrap_or_default();
    let has_all = asked.iter().all(|name| old.contains(name));
    let mut kept: Vec<String> = old.into_iter().filter(|name| !asked.contains(name)).collect();
    if known.is_some() && has_all && shown.as_ref().is_some_and(|shown| is_lasting(shown, now)) {
        return Ok(Ensured {
            is_new: false,
            kept,
            dropped: Vec::new(),
        });
    }
    let dropped = kept.split_off(kept.len().min(MAX_NAMES.saturating_sub(asked.len())));
    asked.extend_from_slice(&kept);
    // By a wrong clock nothing is made, whatever else is wrong.
    clock::check(clock::unix(now))?;
    if let Some(lost) = lost_ca(folder)? {
        return Err(lost);
    }
    if !is_file(&folder.join("ca.pem"))? {
        init(folder, now)?;
    }
    let pair = match &known {
        Some(pair) => pair,
        None => &KeyPair::generate()?,
    };
    let chain = certify(folder, pair, &asked, Use::Server, LEAF_DAYS, now)?;
    if known.is_none() {
        write(&key, &pair.serialize_pem(), 0o600)?;
    }
    write(&cert, &chain, 0o644)?;
    Ok(Ensured {
        is_new: true,
        kept,
        dropped,
    })
}

/// The gateway's own key; none where there is no certificate of it either.
///
/// # Errors
/// [`CaError::Key`] and [`CaError::LostKey`].
pub fn own_key(folder: &Path) -> Result<Option<KeyPair>, CaError> {
    let path = folder.join("gateway.key");
    match read(&path)? {
        Some(pem) => KeyPair::from_pem(&pem).map(Some).map_err(|error| CaError::Key {
            path,
            why: error.to_string(),
        }),
        None if is_file(&folder.join("gateway.pem"))? => Err(CaError::LostKey(path)),
        None => Ok(None),
    }
}

/// The gateway's own certificate, if there is one.
///
/// # Errors
/// [`CaError::Certificate`]: it is not worth nothing, for its names are in no other file.
pub fn own_certificate(folder: &Path) -> Result<Option<CertificateDer<'static>>, CaError> {
    let path = folder.join("gateway.pem");
    let Some(pem) = read(&path)? else {
        return Ok(None);
    };
    let damaged = |why: String| CaError::Certificate {
        path: path.clone(),
        why,
    };
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|error| damaged(error.to_string()))?;
    x509_parser::parse_x509_certificate(&der).map_err(|error| damaged(error.to_string()))?;
    Ok(Some(der))
}

/// What is to be said where a certificate has outlived its CA: [`CaError::LostCa`]. A CA of which the key is left is not
/// lost.
///
/// # Errors
/// It could not be looked for.
pub fn lost_ca(folder: &Path) -> Result<Option<CaError>, CaError> {
    for name in ["ca.pem", "ca.key"] {
        if is_file(&folder.join(name))? {
            return Ok(None);
        }
    }
    // The key tells of a certificate that is lost as well.
    let is_lost = is_file(&folder.join("gateway.pem"))? || is_file(&folder.join("gateway.key"))?;
    Ok(is_lost.then(|| CaError::LostCa(folder.to_owned())))
}

/// True for a file that is there; what is neither there nor away must not be made anew.
fn is_file(path: &Path) -> Result<bool, CaError> {
    ordinary::is_file(path).map_err(|source| io_error(path, source))
}

/// The text of a file that is there.
fn read(path: &Path) -> Result<Option<String>, CaError> {
    let content = ordinary::read(path).map_err(|source| io_error(path, source))?;
    // What is no text is no PEM either.
    Ok(content.map(|content| String::from_utf8_lossy(&content).into_owned()))
}

fn io_error(path: &Path, source: io::Error) -> CaError {
    CaError::Io {
        path: path.to_owned(),
        source,
    }
}

fn is_of(certificate: &CertificateDer<'_>, pair: &KeyPair) -> bool {
    x509_parser::parse_x509_certificate(certificate).is_ok_and(|(_, parsed)| {
        parsed.public_key().subject_public_key.data.as_ref() == pair.public_key_raw()
    })
}

/// The pin of the first certificate of a PEM file: `sha256/` and base64.
#[must_use]
pub fn pin(cert: &Path) -> Option<String> {
    let certificate = CertificateDer::from_pem_file(cert).ok()?;
    let hash = tls::spki_fingerprint(&certificate)?;
    Some(format!("sha256/{}", Base64::encode_string(&hash)))
}

/// By which names and addresses this machine is most likely reached: its own name, and the address that it would
/// send from.
#[must_use]
pub fn own_names() -> Vec<String> {
    let mut names = Vec::new();
    for (from, to) in [("0.0.0.0:0", "192.0.2.1:9"), ("[::]:0", "[2001:db8::1]:9")] {
        // Nothing is sent: the kernel only chooses a route.
        let address = std::net::UdpSocket::bind(from)
            .and_then(|socket| socket.connect(to).and_then(|()| socket.local_addr()));
        if let Ok(address) = address
            && !address.ip().is_unspecified()
        {
            names.push(address.ip().to_string());
        }
    }
    if let Ok(name) = fs::read_to_string("/proc/sys/kernel/hostname") {
        names.extend(Some(name.trim().to_ascii_lowercase()).filter(|name| is_host(name)));
    }
    names.extend(["localhost".to_owned(), "127.0.0.1".to_owned()]);
    names
}

/// True for a DNS name or an address.
#[must_use]
pub fn is_host(name: &str) -> bool {
    let label = |label: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        !label.is_empty() && label.len() <= 63 && !label.starts_with('-') && label.bytes().all(plain)
    };
    name.parse::<IpAddr>().is_ok() || (name.len() <= 253 && name.split('.').all(label))
}

/// A name as certificates have it.
fn canonical(name: &str) -> String {
    let address = name.parse::<IpAddr>().map(|address| address.to_string());
    address.unwrap_or_else(|_| name.to_ascii_lowercase())
}

/// The CA: its certificate in PEM form and parsed, and its key.
///
/// # Errors
/// [`CaError::Missing`] and [`CaError::Damaged`]; one that has expired is none.
pub fn load(folder: &Path) -> Result<(String, CertificateDer<'static>, KeyPair), CaError> {
    let missing = || CaError::Missing(folder.to_owned());
    let damaged = |why: String| CaError::Damaged {
        folder: folder.to_owned(),
        why,
    };
    let ca = read(&folder.join("ca.pem"))?.ok_or_else(missing)?;
    let key = read(&folder.join("ca.key"))?.ok_or_else(|| damaged("ca.key is missing".to_owned()))?;
    let key = KeyPair::from_pem(&key).map_err(|error| damaged(format!("ca.key: {error}")))?;
    let der =
        CertificateDer::from_pem_slice(ca.as_bytes()).map_err(|error| damaged(format!("ca.pem: {error}")))?;
    let (_, parsed) =
        x509_parser::parse_x509_certificate(&der).map_err(|error| damaged(error.to_string()))?;
    if parsed.public_key().subject_public_key.data.as_ref() != key.public_key_raw() {
        return Err(damaged("ca.key is not the private key of ca.pem".to_owned()));
    }
    Ok((ca, der, key))
}

fn certify(
    folder: &Path,
    pair: &KeyPair,
    names: &[String],
    what: Use,
    days: u64,
    now: SystemTime,
) -> Result<String, CaError> {
    let (ca, der, key) = load(folder)?;
    // Before the CA is taken for expired: by a clock that is far ahead each one is.
    clock::check(clock::unix(now))?;
    let left = time_left(&der, now).ok_or_else(|| CaError::Expired(folder.to_owned()))?;
    let issuer = Issuer::from_ca_cert_pem(&ca, key).map_err(|error| CaError::Damaged {
        folder: folder.to_owned(),
        why: error.to_string(),
    })?;
    let mut params = CertificateParams::new(names.to_vec())?;
    params.distinguished_name = common_name(names.first().map_or("lenscap", String::as_str));
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![match what {
        Use::Server => ExtendedKeyUsagePurpose::ServerAuth,
        Use::Client => ExtendedKeyUsagePurpose::ClientAuth,
    }];
    // Not longer than the CA itself.
    set_dates(&mut params, now, days.min(left.as_secs() / DAY.as_secs()));
    let certificate = params.signed_by(pair, &issuer)?;
    Ok(format!("{}{ca}", certificate.pem()))
}

/// True for a certificate that has enough time left.
fn is_lasting(certificate: &CertificateDer<'_>, now: SystemTime) -> bool {
    time_left(certificate, now).is_some_and(|left| left > DAY * RENEW_DAYS as u32)
}

/// The names and addresses that the first certificate of a PEM file is for; none if it cannot be read.
#[must_use]
pub fn names_of(cert: &Path) -> Vec<String> {
    CertificateDer::from_pem_file(cert).map_or_else(|_| Vec::new(), |certificate| names_in(&certificate))
}

fn names_in(certificate: &CertificateDer<'_>) -> Vec<String> {
    use x509_parser::extensions::GeneralName;
    let Ok((_, parsed)) = x509_parser::parse_x509_certificate(certificate) else {
        return Vec::new();
    };
    let shown = parsed.subject_alternative_name().ok().flatten();
    let names = shown.iter().flat_map(|shown| &shown.value.general_names);
    let name = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => {
            is_host(name.strip_prefix("*.").unwrap_or(name)).then(|| canonical(name))
        }
        GeneralName::IPAddress(bytes) => Some(address(bytes)?.to_string()),
        _ => None,
    };
    names.filter_map(name).collect()
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

/// How long a certificate is still good; `None` if it is not any more.
#[must_use]
pub fn time_left(certificate: &CertificateDer<'_>, now: SystemTime) -> Option<Duration> {
    let end = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(end_of(certificate)?))?;
    end.duration_since(now).ok()
}

/// When a certificate ends, in seconds since 1970.
#[must_use]
pub fn end_of(certificate: &CertificateDer<'_>) -> Option<u64> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    u64::try_from(parsed.validity().not_after.timestamp()).ok()
}

fn set_dates(params: &mut CertificateParams, now: SystemTime, days: u64) {
    params.not_before = now.checked_sub(BACKDATE).unwrap_or(now).into();
    params.not_after = now
        .checked_add(Duration::from_secs(days * DAY.as_secs()))
        .unwrap_or(now)
        .into();
}

fn common_name(name: &str) -> DistinguishedName {
    let mut names = DistinguishedName::new();
    names.push(DnType::CommonName, name);
    names
}

/// Writes a file of a data folder, whose owner it belongs to, whole or not at all.
///
/// # Errors
/// It cannot be written.
pub fn write(path: &Path, text: &str, mode: u32) -> Result<(), CaError> {
    put(path, text, mode, true)
}

/// The same anywhere else, for whoever runs this.
///
/// # Errors
/// It cannot be written.
pub fn hand_out(path: &Path, text: &str, mode: u32) -> Result<(), CaError> {
    put(path, text, mode, false)
}

fn put(path: &Path, text: &str, mode: u32, give: bool) -> Result<(), CaError> {
    let folder = owner::folder_of(path);
    let io_error = |source| io_error(path, source);
    let mut part = path.as_os_str().to_owned();
    part.push(".part");
    let part = PathBuf::from(part);
    let _ = fs::remove_file(&part);
    let mut file: File = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&part)
        .map_err(io_error)?;
    if give {
        owner::give(&file, folder);
    }
    // The folder too: a key must not be lost whose certificate is not.
    file.write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(&part, path))
        .and_then(|()| File::open(folder)?.sync_all())
        .map_err(io_error)
}

#[cfg(test)]
#[path = "ca_tests.rs"]
mod tests;
