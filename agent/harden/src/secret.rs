//! New passwords, and what the camera's libc can check.

use core::fmt;
use std::io;

use crate::crypt::{self, Scheme};
use crate::locate;
use crate::root::{MAX_BINARY_BYTES, Root};
use crate::survey::{Survey, contains};

/// Random bytes of a password.
const SECRET_BYTES: usize = 16;
/// Letters and digits that are not taken for one another, five bits each.
const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
/// A password shorter than this is not taken for a new one.
pub const MIN_SECRET_BYTES: usize = 12;

/// Dropbear refuses any that is longer (its `DROPBEAR_MAX_PASSWORD_LEN`).
const MAX_LOGIN_BYTES: usize = 100;

/// Fills a buffer with random bytes.
pub type Random<'a> = &'a mut dyn FnMut(&mut [u8]) -> io::Result<()>;

/// A password, which no log shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// A given password.
    ///
    /// # Errors
    /// A sentence that says why it is none.
    pub fn given(text: &str) -> Result<Self, &'static str> {
        if text.len() < MIN_SECRET_BYTES || text.len() > crypt::MAX_PASSWORD_BYTES {
            return Err("a password has at least 12 and at most 256 characters");
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("a password is made of letters, digits and signs of ASCII, without blanks");
        }
        Ok(Self(text.to_owned()))
    }

    /// A given password of a login.
    ///
    /// # Errors
    /// A sentence that says why it is none.
    pub fn of_login(text: &str) -> Result<Self, &'static str> {
        if text.len() > MAX_LOGIN_BYTES {
            return Err("a login password has at most 100 characters: SSH servers take no longer one");
        }
        Self::given(text)
    }

    /// A password of 128 random bits.
    ///
    /// # Errors
    /// When there is no randomness.
    pub fn random(random: Random<'_>) -> io::Result<Self> {
        let mut bytes = [0; SECRET_BYTES];
        random(&mut bytes)?;
        let mut bits = u128::from_be_bytes(bytes);
        let mut text = String::new();
        for _ in 0..(SECRET_BYTES * 8).div_ceil(5) {
            text.push(char::from(LETTERS[(bits & 31) as usize]));
            bits >>= 5;
        }
        Ok(Self(text))
    }

    /// The password.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Its hash, with a random salt.
    ///
    /// # Errors
    /// When there is no randomness.
    pub fn hash(&self, scheme: Scheme, random: Random<'_>) -> io::Result<String> {
        let mut salt = [0; 16];
        random(&mut salt)?;
        Ok(crypt::hash(scheme, self.0.as_bytes(), &salt))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// How new login passwords are made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LoginPassword {
    /// At random; told once.
    Random,
    /// None fits: keys alone open a login.
    Lock,
    /// Given.
    Given(Secret),
    /// To be given: until then there is none.
    Missing,
    /// That of an earlier run, of which the hash alone is known.
    Kept,
}

/// The strongest scheme that the root's libc is known to check, and how that is known.
#[must_use]
pub fn strongest(root: &Root, survey: &Survey, used: &[Scheme]) -> (Scheme, &'static str) {
    let libraries: Vec<(&str, Vec<String>)> = ["/lib", "/usr/lib", "/lib64"]
        .iter()
        .map(|folder| (*folder, names(root, folder)))
        .collect();
    let any = |prefix: &str| {
        libraries
            .iter()
            .any(|(_, names)| names.iter().any(|name| name.starts_with(prefix)))
    };
    if any("ld-musl-") {
        return (Scheme::Sha512, "musl checks it");
    }
    if any("ld-linux") {
        return (Scheme::Sha512, "glibc checks it");
    }
    for (folder, names) in &libraries {
        let candidates = names
            .iter()
            .filter(|name| name.starts_with("libcrypt") || name.starts_with("libuClibc"));
        for name in candidates {
            let library = root
                .read_up_to(&format!("{folder}/{name}"), MAX_BINARY_BYTES)
                .unwrap_or_default();
            if contains(&library, b"$6$") {
                return (Scheme::Sha512, "the camera's library knows it");
            }
        }
    }
    match used.iter().max() {
        Some(Scheme::Sha512) => return (Scheme::Sha512, "the firmware uses it"),
        Some(Scheme::Sha256) => return (Scheme::Sha256, "the firmware uses it"),
        _ => {}
    }
    let scripts = survey.scripts.iter().filter_map(|path| root.read(path).ok());
    for text in scripts {
        let sha512 =
            |range: core::ops::Range<usize>| text.get(range).is_some_and(|hash| hash.starts_with(b"$6$"));
        if locate::hashes(&text).into_iter().any(sha512) {
            return (Scheme::Sha512, "the firmware's scripts use it");
        }
    }
    (
        Scheme::Md5,
        "every libc of cameras checks it, and nothing shows that this one checks a stronger",
    )
}

fn names(root: &Root, folder: &str) -> Vec<String> {
    let entries = root.list(folder).unwrap_or_default();
    entries.into_iter().map(|entry| entry.name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_of_128_bits_and_stay_unseen() {
        let mut next = 0u8;
        let mut random = |bytes: &mut [u8]| {
            bytes.fill_with(|| {
                next = next.wrapping_mul(5).wrapping_add(113);
                next
            });
            Ok(())
        };
        let one = Secret::random(&mut random).unwrap();
        let two = Secret::random(&mut random).unwrap();
        assert_ne!(one, two);
        assert_eq!(one.reveal().len(), 26);
        assert_eq!(format!("{one:?}"), "Secret(…)");
        let mut zeros = |bytes: &mut [u8]| {
            bytes.fill(0xff);
            Ok(())
        };
        // 128 bits in 26 letters of 5: the last has 3.
        assert_eq!(Secret::random(&mut zeros).unwrap().reveal(), "9".repeat(25) + "h");
        assert!(Secret::given("short").is_err());
        assert!(Secret::given("long enough but blank").is_err());
        assert!(Secret::given("long-enough-and-plain").is_ok());
        assert!(Secret::of_login(&"l".repeat(100)).is_ok());
        assert!(Secret::of_login(&"l".repeat(101)).is_err() && Secret::given(&"l".repeat(256)).is_ok());
    }
}
