//! Encrypts a secret to its owner: the file format of age (age-encryption.org/v1, C2SP `age`), for one X25519 recipient.
//! Whoever has the identity opens it with `age -d`; this program cannot.

use base64ct::{Base64, Encoding as _};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use ring::agreement::{EphemeralPrivateKey, UnparsedPublicKey, X25519, agree_ephemeral};
use ring::hkdf::{HKDF_SHA256, KeyType, Salt};
use ring::hmac;
use ring::rand::SystemRandom;

use crate::sys;

const KEY_BYTES: usize = 32;
/// Bech32's characters (BIP 173), by value.
const ALPHABET: &[u8; 32] = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";
const GENERATOR: [u32; 5] = [0x3b6a_57b2, 0x2650_8e6d, 0x1ea1_19fa, 0x3d42_33dd, 0x2a14_62b3];
/// `age` as Bech32 puts a prefix into its checksum.
const PREFIX: [u32; 7] = [3, 3, 3, 0, 1, 7, 5];
/// Characters of a recipient behind `age1`: 52 of the key, 6 of the checksum.
const DATA: usize = 58;
const CHECKSUM: usize = 6;

/// Who can open it: an X25519 public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipient([u8; KEY_BYTES]);

impl Recipient {
    /// Reads `age1…`, as `age-keygen` prints it.
    ///
    /// # Errors
    /// A sentence for the user.
    pub fn parse(text: &str) -> Result<Self, String> {
        const EXPECTED: &str = "expected what `age-keygen -y` prints: age1 and 58 characters";
        let data = text.strip_prefix("age1").filter(|data| data.len() == DATA);
        let mut sum = PREFIX.iter().fold(1, |sum, value| step(sum, *value));
        let mut key = [0; KEY_BYTES];
        let (mut bits, mut count, mut at) = (0u32, 0, 0);
        for (index, byte) in data.ok_or(EXPECTED)?.bytes().enumerate() {
            let value = ALPHABET.iter().position(|known| *known == byte).ok_or(EXPECTED)?;
            let value = u32::try_from(value).unwrap_or(0);
            sum = step(sum, value);
            if index >= DATA - CHECKSUM {
                continue;
            }
            bits = bits << 5 | value;
            count += 5;
            if count >= 8 {
                count -= 8;
                if let Some(slot) = key.get_mut(at) {
                    *slot = (bits >> count) as u8;
                }
                at += 1;
                bits &= (1 << count) - 1;
            }
        }
        if sum == 1 && bits == 0 {
            Ok(Self(key))
        } else {
            Err("a character of this key is wrong: its checksum does not fit".into())
        }
    }

    /// Encrypts at most 64 KiB. Each time it is another text.
    ///
    /// # Errors
    /// When there is no randomness, or the recipient is no key at all.
    pub fn seal(&self, secret: &[u8]) -> Result<Vec<u8>, String> {
        let no_random = |error: std::io::Error| error.to_string();
        let failed = |_| "the owner's key cannot be used".to_owned();
        let file_key: [u8; 16] = sys::random().map_err(no_random)?;
        let nonce: [u8; 16] = sys::random().map_err(no_random)?;
        let private = EphemeralPrivateKey::generate(&X25519, &SystemRandom::new()).map_err(failed)?;
        let share = private.compute_public_key().map_err(failed)?;
        let salt = [share.as_ref(), self.0.as_slice()].concat();
        let wrap_key = agree_ephemeral(private, &UnparsedPublicKey::new(&X25519, self.0), |shared| {
            derive(&salt, shared, b"age-encryption.org/v1/X25519")
        })
        .map_err(failed)?;
        let wrapped = encrypt(&wrap_key, [0; 12], &file_key)?;
        let mut text = format!(
            "age-encryption.org/v1\n-> X25519 {}\n{}\n---",
            unpadded(share.as_ref()),
            unpadded(&wrapped)
        );
        let mac_key = hmac::Key::new(hmac::HMAC_SHA256, &derive(&[], &file_key, b"header"));
        let mac = hmac::sign(&mac_key, text.as_bytes());
        text.push_str(&format!(" {}\n", unpadded(mac.as_ref())));
        // One chunk, the last: the counter is 0, the final byte 1.
        let mut last = [0; 12];
        last[11] = 1;
        let body = encrypt(&derive(&nonce, &file_key, b"payload"), last, secret)?;
        Ok([text.as_bytes(), &nonce, &body].concat())
    }
}

/// One step of Bech32's checksum.
fn step(sum: u32, value: u32) -> u32 {
    let next = (sum & 0x01ff_ffff) << 5 ^ value;
    let mix = |next: u32, (bit, generator): (usize, &u32)| {
        if sum >> (25 + bit) & 1 == 1 {
            next ^ generator
        } else {
            next
        }
    };
    GENERATOR.iter().enumerate().fold(next, mix)
}

struct Length;

impl KeyType for Length {
    fn len(&self) -> usize {
        KEY_BYTES
    }
}

/// HKDF-SHA-256 (RFC 5869).
fn derive(salt: &[u8], secret: &[u8], info: &[u8]) -> [u8; KEY_BYTES] {
    let mut key = [0; KEY_BYTES];
    let salt = Salt::new(HKDF_SHA256, salt).extract(secret);
    // Neither fails at this length.
    if let Ok(output) = salt.expand(&[info], Length) {
        let _ = output.fill(&mut key);
    }
    key
}

fn encrypt(key: &[u8; KEY_BYTES], nonce: [u8; 12], plain: &[u8]) -> Result<Vec<u8>, String> {
    let failed = |_| "encryption failed".to_owned();
    let key = LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, key).map_err(failed)?);
    let mut text = plain.to_vec();
    key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::empty(), &mut text)
        .map_err(failed)?;
    Ok(text)
}

/// Of the encoding that is there already, an alphabet of its own costs flash.
fn unpadded(bytes: &[u8]) -> String {
    let text = Base64::encode_string(bytes);
    text.trim_end_matches('=').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    /// A tool of Debian's package `age`.
    fn tool(name: &str, args: &[&str], input: &[u8]) -> (bool, Vec<u8>) {
        let mut child = Command::new(name)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{name}: {error}; it is in Debian's package age"));
        child.stdin.take().unwrap().write_all(input).unwrap();
        let output = child.wait_with_output().unwrap();
        (output.status.success(), output.stdout)
    }

    #[test]
    fn age_opens_what_was_sealed() {
        let dir = tempfile::tempdir().unwrap();
        let identity = dir.path().join("identity");
        let identity = identity.to_str().unwrap();
        for secret in [&b""[..], b"a password", &[7; 1000]] {
            let _ = std::fs::remove_file(identity);
            assert!(tool("age-keygen", &["-o", identity], b"").0);
            let (_, recipient) = tool("age-keygen", &["-y", identity], b"");
            let recipient = String::from_utf8(recipient).unwrap();
            let sealed = Recipient::parse(recipient.trim()).unwrap().seal(secret).unwrap();
            let (good, opened) = tool("age", &["-d", "-i", identity], &sealed);
            assert!(good && opened == secret, "{recipient}");
            // A changed byte anywhere is noticed.
            for at in [0, 30, 80, 120, 170, sealed.len() - 1] {
                let mut changed = sealed.clone();
                changed[at] ^= 1;
                assert!(!tool("age", &["-d", "-i", identity], &changed).0, "{at}");
            }
        }
    }

    #[test]
    fn a_mistyped_key_is_refused() {
        let good = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p";
        let parsed = Recipient::parse(good).unwrap();
        assert_ne!(parsed.0, [0; KEY_BYTES]);
        for at in 4..good.len() {
            let mut bytes = good.as_bytes().to_vec();
            bytes[at] = if bytes[at] == b'q' { b'p' } else { b'q' };
            assert!(
                Recipient::parse(std::str::from_utf8(&bytes).unwrap()).is_err(),
                "{at}"
            );
        }
        for bad in [
            "",
            "age1",
            "AGE1QL3Z7",
            &good[..61],
            &good.to_uppercase(),
            "age1é",
        ] {
            assert!(Recipient::parse(bad).is_err(), "{bad}");
        }
        // No point of the curve that gives a secret.
        assert!(Recipient([0; KEY_BYTES]).seal(b"x").is_err());
    }
}
