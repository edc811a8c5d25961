//! Password hashes of crypt(3), computed without libc: a build machine's libc knows other schemes than the camera's.
//!
//! Traditional DES, MD5, SHA-256 and SHA-512 are computed, bcrypt is checked. scrypt, yescrypt and BSDi's extended DES
//! are recognised and not computed.

mod bcrypt;
mod des;
mod dvrip;
mod md5crypt;
mod sha;

use core::fmt;

pub use dvrip::dvrip_hash;

/// The alphabet of salts and hashes, in order of value.
const ALPHABET: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// Rounds of SHA-crypt beyond which a check would stop a camera: it is not tried.
const MAX_ROUNDS: u32 = 100_000;
/// The longest password that is hashed. crypt(3) has no use for longer ones.
pub const MAX_PASSWORD_BYTES: usize = 256;

/// A way to hash a password, weakest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scheme {
    /// Traditional DES: 8 characters count.
    Des,
    /// `$1$`.
    Md5,
    /// `$5$`.
    Sha256,
    /// `$6$`.
    Sha512,
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Des => "DES",
            Self::Md5 => "MD5",
            Self::Sha256 => "SHA-256",
            Self::Sha512 => "SHA-512",
        })
    }
}

/// What the password field of an account says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// Nothing: no password is asked for.
    Empty,
    /// No password fits.
    Locked,
    /// The hash is in the shadow file.
    Shadowed,
    /// A hash that can be computed.
    Hash(Scheme),
    /// A hash that can be checked.
    Bcrypt,
    /// A hash that cannot be computed here.
    Unknown,
}

/// Reads a password field, of passwd(5) or shadow(5).
#[must_use]
pub fn classify(field: &str) -> Field {
    match field.as_bytes() {
        [] => Field::Empty,
        [b'x'] => Field::Shadowed,
        [b'!' | b'*', ..] => Field::Locked,
        [b'$', b'1', b'$', ..] => Field::Hash(Scheme::Md5),
        [b'$', b'5' | b'6', b'$', ..] => match sha::parse(field) {
            Some(parsed) if parsed.rounds <= MAX_ROUNDS => Field::Hash(parsed.scheme),
            _ => Field::Unknown,
        },
        [b'$', b'2', ..] if bcrypt::parse(field).is_some() => Field::Bcrypt,
        [b'$' | b'_', ..] => Field::Unknown,
        bytes if bytes.len() == 13 && bytes.iter().all(|byte| ALPHABET.contains(byte)) => {
            Field::Hash(Scheme::Des)
        }
        // Words such as `NP` or `LK` that no hash is equal to.
        _ => Field::Locked,
    }
}

/// Whether a password fits a hash. `None`: the hash cannot be computed here.
#[must_use]
pub fn verify(hash: &str, password: &[u8]) -> Option<bool> {
    if password.len() > MAX_PASSWORD_BYTES {
        return None;
    }
    match classify(hash) {
        Field::Empty => Some(password.is_empty()),
        Field::Locked => Some(false),
        Field::Shadowed | Field::Unknown => None,
        Field::Bcrypt => Some(bcrypt::fits(password, &bcrypt::parse(hash)?)),
        Field::Hash(Scheme::Des) => Some(des::crypt(password, hash)? == hash),
        Field::Hash(Scheme::Md5) => Some(md5crypt::crypt(password, hash) == hash),
        Field::Hash(Scheme::Sha256 | Scheme::Sha512) => {
            Some(sha::crypt(password, &sha::parse(hash)?) == hash)
        }
    }
}

/// Hashes a password. Of `random`, as many bytes as the scheme's salt needs are used.
#[must_use]
pub fn hash(scheme: Scheme, password: &[u8], random: &[u8; 16]) -> String {
    let salt: String = random
        .iter()
        .map(|byte| char::from(ALPHABET[usize::from(byte % 64)]))
        .collect();
    match scheme {
        Scheme::Des => des::crypt(password, &salt).unwrap_or_default(),
        Scheme::Md5 => md5crypt::crypt(password, &format!("$1${}", &salt[..8])),
        Scheme::Sha256 => sha::crypt(password, &sha::Parsed::new(Scheme::Sha256, &salt)),
        Scheme::Sha512 => sha::crypt(password, &sha::Parsed::new(Scheme::Sha512, &salt)),
    }
}

/// How much work one check of this scheme is, in units of about one MD5 block: what a slow processor's budget counts.
#[must_use]
pub fn cost(hash: &str) -> u32 {
    match classify(hash) {
        Field::Hash(Scheme::Des) => 200,
        Field::Hash(Scheme::Md5) => 1_000,
        Field::Hash(_) => sha::parse(hash).map_or(1, |parsed| parsed.rounds.saturating_mul(3)),
        Field::Bcrypt => bcrypt::parse(hash).map_or(1, |parsed| 260 << parsed.cost),
        Field::Empty | Field::Locked | Field::Shadowed | Field::Unknown => 1,
    }
}

/// Appends 24 bits as characters, lowest first.
fn encode24(out: &mut String, bytes: [u8; 3], characters: usize) {
    let mut value = u32::from(bytes[0]) << 16 | u32::from(bytes[1]) << 8 | u32::from(bytes[2]);
    for _ in 0..characters {
        out.push(char::from(ALPHABET[(value & 63) as usize]));
        value >>= 6;
    }
}

#[cfg(test)]
mod tests;
