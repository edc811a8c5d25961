//! The PIN on a camera's label, and the key made of it, by which owner and camera prove to each other that they know it
//! (docs/protocol.md, section 4).
//!
//! The PIN is for root alone. The key is made once, as that takes an old ARM some seconds, and is what the agent gets: a
//! gateway that is shown a proof learns neither.

use std::io;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use ring::pbkdf2;

use super::{IdentityError, file, hex, read_error};
use crate::{files, sys};

/// The PIN's file in the state folder.
pub const PIN_FILE: &str = "pin";
/// The key's.
const KEY_FILE: &str = "pin.key";
const MAX_BYTES: u64 = 256;
const MAX_CHARS: usize = 64;
const ITERATIONS: NonZeroU32 = NonZeroU32::new(100_000).unwrap();
/// Nothing that is easily taken for something else.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// A PIN as it is compared: capital letters and digits. Shown in groups of four.
#[derive(Clone, PartialEq, Eq)]
pub struct ClaimPin(String);

impl ClaimPin {
    /// 80 random bits.
    ///
    /// # Errors
    /// The kernel gives none.
    fn random() -> io::Result<Self> {
        let bytes: [u8; 16] = sys::random()?;
        let chars = bytes
            .iter()
            .filter_map(|byte| ALPHABET.get(usize::from(byte & 31)))
            .map(|c| char::from(*c));
        Ok(Self(chars.collect()))
    }

    /// Reads what is on a label. `None` if it is no PIN, or is worth less than 64 bits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut pin = String::new();
        for c in text.chars().filter(|c| !c.is_whitespace() && *c != '-') {
            if !c.is_ascii_alphanumeric() || pin.len() == MAX_CHARS {
                return None;
            }
            pin.push(match c.to_ascii_uppercase() {
                'O' => '0',
                'I' | 'L' => '1',
                other => other,
            });
        }
        let least = if pin.bytes().all(|b| b.is_ascii_digit()) {
            20
        } else if pin.bytes().all(|b| b.is_ascii_hexdigit()) {
            16
        } else {
            13
        };
        (pin.len() >= least).then_some(Self(pin))
    }

    /// The characters alone.
    #[must_use]
    pub fn plain(&self) -> &str {
        &self.0
    }

    /// As it is printed: groups of four.
    #[must_use]
    pub fn grouped(&self) -> String {
        let mut text = String::new();
        for (index, c) in self.0.chars().enumerate() {
            if index > 0 && index % 4 == 0 {
                text.push('-');
            }
            text.push(c);
        }
        text
    }

    fn key(&self, serial: &str) -> [u8; 32] {
        let mut key = [0; 32];
        let salt = format!("lenscap-pin-1\n{serial}");
        let algorithm = pbkdf2::PBKDF2_HMAC_SHA256;
        pbkdf2::derive(
            algorithm,
            ITERATIONS,
            salt.as_bytes(),
            self.0.as_bytes(),
            &mut key,
        );
        key
    }
}

/// Where the key is.
#[must_use]
pub fn key_path(state_dir: &Path) -> PathBuf {
    state_dir.join(KEY_FILE)
}

/// The PIN, made if there is none yet, and its key for this serial number, written if that is another than before.
///
/// # Errors
/// Files that are damaged, or cannot be read or written.
pub fn load_or_create(state_dir: &Path, serial: &str) -> Result<ClaimPin, IdentityError> {
    let path = state_dir.join(PIN_FILE);
    let write_error = |path: &Path, error: io::Error| {
        IdentityError(format!(
            "cannot write {}: {error}; `option state_dir` names the folder",
            path.display()
        ))
    };
    let read = || match file::read(&path) {
        Ok(text) => {
            let pin = ClaimPin::parse(&String::from_utf8_lossy(&text));
            pin.map(Some).ok_or_else(|| {
                IdentityError(format!(
                    "{} holds no PIN of 64 bits or more; write there what is on the label, or remove it for a new one",
                    path.display()
                ))
            })
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(read_error(&path, &error)),
    };
    let pin = match read()? {
        Some(pin) => pin,
        None => {
            let made = ClaimPin::random()
                .map_err(|_| IdentityError("cannot make a PIN: the kernel gives no random bytes".into()))?;
            match file::create(&path, format!("{}\n", made.grouped()).as_bytes()) {
                Ok(()) => made,
                // Another call was faster.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => read()?.unwrap_or(made),
                Err(error) => return Err(write_error(&path, error)),
            }
        }
    };
    let path = key_path(state_dir);
    let line = format!("{} {serial}\n", hex(&pin.key(serial)));
    if !files::read(&path, MAX_BYTES).is_ok_and(|known| known == line.as_bytes()) {
        files::replace(&path, line.as_bytes()).map_err(|error| write_error(&path, error))?;
    }
    Ok(pin)
}

/// The key that an earlier `lenscap enroll` made for this serial number.
#[must_use]
pub fn stored_key(state_dir: &Path, serial: &str) -> Option<[u8; 32]> {
    let bytes = files::read(&key_path(state_dir), MAX_BYTES).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    let (digits, of) = text.trim_end_matches('\n').split_once(' ')?;
    (of == serial).then(|| parse_hash(digits)).flatten()
}

/// 32 bytes out of 64 hex digits.
fn parse_hash(digits: &str) -> Option<[u8; 32]> {
    let mut hash = [0; 32];
    if digits.len() != 64 || !digits.is_ascii() {
        return None;
    }
    for (byte, pair) in hash.iter_mut().zip(digits.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    /// The figures of the gateway's tests, made with Python's hashlib.
    #[test]
    fn the_key_agrees_with_the_gateways() {
        let pin = ClaimPin::parse(" 7k3m-9QXO-lBCD-EF2G\n").unwrap();
        assert_eq!(pin.grouped(), "7K3M-9QX0-1BCD-EF2G");
        assert_eq!(
            hex(&pin.key("SN1")),
            "25471940cce3d53dc0e8a05590e786c6f437921e86081d3741b61379038480b3"
        );
    }

    #[test]
    fn weak_and_odd_ones_are_refused() {
        for bad in [
            "",
            "1234",
            "1234567890123456789",
            "ABCDEF012345678",
            "GHJKMNPQRSTV",
            "7K3M_9QX0_1BCD_EF2G",
            &"A".repeat(65),
        ] {
            assert!(ClaimPin::parse(bad).is_none(), "{bad}");
        }
        for good in ["12345678901234567890", "ABCDEF0123456789", "GHJKMNPQRSTVW"] {
            assert!(ClaimPin::parse(good).is_some(), "{good}");
        }
        let made = ClaimPin::random().unwrap();
        assert!(made.plain().len() == 16 && made != ClaimPin::random().unwrap());
        assert!(ClaimPin::parse(&made.grouped()).unwrap() == made);
    }

    #[test]
    fn it_is_made_once_and_for_root_alone() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        assert_eq!(stored_key(&state, "SN1"), None);
        let pin = load_or_create(&state, "SN1").unwrap();
        assert!(load_or_create(&state, "SN1").unwrap() == pin);
        for path in [state.join(PIN_FILE), key_path(&state)] {
            let mode = std::fs::metadata(path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        assert_eq!(stored_key(&state, "SN1"), Some(pin.key("SN1")));
        assert_eq!(stored_key(&state, ""), None);
        // Another label number makes another key of the same PIN.
        assert!(load_or_create(&state, "").unwrap() == pin);
        assert_eq!(stored_key(&state, ""), Some(pin.key("")));
        // The vendor's own PIN.
        std::fs::write(state.join(PIN_FILE), "12345 67890 12345 67890").unwrap();
        assert_eq!(
            load_or_create(&state, "").unwrap().grouped(),
            "1234-5678-9012-3456-7890"
        );
        std::fs::write(state.join(PIN_FILE), "1234").unwrap();
        let said = load_or_create(&state, "").err().unwrap().to_string();
        assert!(said.contains("64 bits"), "{said}");
        for damaged in ["", "00", "zz  \n", &format!("{} ", "é".repeat(32))] {
            std::fs::write(key_path(&state), damaged).unwrap();
            assert_eq!(stored_key(&state, ""), None, "{damaged}");
        }
    }
}
