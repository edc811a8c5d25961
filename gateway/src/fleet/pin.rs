//! The PIN on a camera's label, and what is proven with it (docs/protocol.md, section 4).
//!
//! The camera proves that it has the PIN before the gateway knows it; the gateway proves that it was given the
//! PIN before the camera trusts its operator. Neither sends the PIN or what it could be used elsewhere for.

use std::num::NonZeroU32;

use ring::{hmac, pbkdf2};
use thiserror::Error;

use crate::config::Sha256Hash;
use crate::rtsp::digest::hex;

/// Least strength of a PIN.
pub const MIN_BITS: u32 = 64;
/// Longest PIN, in characters.
pub const MAX_CHARS: usize = 64;
/// Makes guessing slower by this factor; a camera computes it once.
const ITERATIONS: NonZeroU32 = NonZeroU32::new(100_000).unwrap();

/// Why a text is no PIN.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum PinError {
    /// Something else than letters, digits, spaces and `-`.
    #[error("a PIN has letters and digits only")]
    Characters,
    /// Too long.
    #[error("a PIN has at most 64 characters")]
    Long,
    /// Too easy to guess.
    #[error(
        "this PIN is worth {0} bits at most, 64 are needed: 13 letters and digits, 16 hex digits, or 20 digits"
    )]
    Weak(u32),
}

/// A PIN as it is compared: upper case, without separators, misreadings mended.
#[derive(Clone, PartialEq, Eq)]
pub struct Pin(String);

impl std::fmt::Debug for Pin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pin(redacted)")
    }
}

impl Pin {
    /// Reads what somebody typed.
    ///
    /// # Errors
    /// See [`PinError`].
    pub fn parse(text: &str) -> Result<Self, PinError> {
        let mut pin = String::with_capacity(text.len().min(MAX_CHARS));
        for character in text.chars().filter(|c| !c.is_whitespace() && *c != '-') {
            if !character.is_ascii_alphanumeric() {
                return Err(PinError::Characters);
            }
            if pin.len() == MAX_CHARS {
                return Err(PinError::Long);
            }
            pin.push(match character.to_ascii_uppercase() {
                'O' => '0',
                'I' | 'L' => '1',
                other => other,
            });
        }
        match bits(&pin) {
            bits if bits < MIN_BITS => Err(PinError::Weak(bits)),
            _ => Ok(Self(pin)),
        }
    }

    /// K: what the camera and the gateway compute their proofs with. Takes some 50 ms.
    #[must_use]
    pub fn key(&self, serial: &str) -> [u8; 32] {
        let mut key = [0; 32];
        let salt = format!("lenscap-pin-1\n{serial}");
        pbkdf2::derive(
            pbkdf2::PBKDF2_HMAC_SHA256,
            ITERATIONS,
            salt.as_bytes(),
            self.0.as_bytes(),
            &mut key,
        );
        key
    }
}

/// An upper bound of what guessing it costs, by the smallest alphabet that it fits.
fn bits(pin: &str) -> u32 {
    let length = u32::try_from(pin.len()).unwrap_or(u32::MAX);
    let hundredths = if pin.bytes().all(|byte| byte.is_ascii_digit()) {
        332
    } else if pin.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        400
    } else {
        500
    };
    length.saturating_mul(hundredths) / 100
}

/// What a camera shows in `Lenscap-Pin-Proof`.
#[must_use]
pub fn proof(key: &[u8; 32], fingerprint: &Sha256Hash) -> [u8; 32] {
    mac(key, &format!("lenscap-proof-1\n{}", hex(fingerprint)))
}

/// What a gateway shows with its operator's public key.
#[must_use]
pub fn operator_proof(key: &[u8; 32], fingerprint: &Sha256Hash, operator: &[u8]) -> [u8; 32] {
    let text = format!("lenscap-operator-1\n{}\n{}", hex(fingerprint), hex(operator));
    mac(key, &text)
}

fn mac(key: &[u8; 32], text: &str) -> [u8; 32] {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes());
    let mut out = [0; 32];
    out.copy_from_slice(tag.as_ref());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_type_is_mended() {
        let pin = Pin::parse("7K3M-9QX0-1BCD-EF2G").unwrap();
        for typed in ["7k3m9qxoibcdef2g", " 7K3M 9QXO lBCD EF2G\n"] {
            assert_eq!(Pin::parse(typed).unwrap(), pin);
        }
        assert_eq!(Pin::parse("7K3M_9QX0_1BCD"), Err(PinError::Characters));
        assert_eq!(Pin::parse(&"A".repeat(65)), Err(PinError::Long));
    }

    #[test]
    fn weak_pins_are_refused() {
        for (pin, bits) in [
            ("", 0),
            ("1234", 13),
            ("1234567890123456789", 63),
            ("ABCDEF012345678", 60),
            ("GHJKMNPQRSTV", 60),
        ] {
            assert_eq!(Pin::parse(pin), Err(PinError::Weak(bits)), "{pin}");
        }
        for pin in ["12345678901234567890", "ABCDEF0123456789", "GHJKMNPQRSTVW"] {
            assert!(Pin::parse(pin).is_ok(), "{pin}");
        }
    }

    /// Made with Python's hashlib and hmac, for whoever writes the other side.
    #[test]
    fn agrees_with_another_implementation() {
        let key = Pin::parse("7K3M-9QX0-1BCD-EF2G").unwrap().key("SN1");
        assert_eq!(hex(&key), KEY);
        assert_eq!(hex(&proof(&key, &[1; 32])), PROOF);
        assert_eq!(hex(&operator_proof(&key, &[1; 32], &[2; 32])), OPERATOR);
    }

    const KEY: &str = "25471940cce3d53dc0e8a05590e786c6f437921e86081d3741b61379038480b3";
    const PROOF: &str = "617742bb955b29174b6ae01ec9e62938d024b896a911c00329aca2bb88164ba9";
    const OPERATOR: &str = "7d3d2ec6cd0f2c0e48ac2d6a4f3e3ea1674b9d06a14eda5b7d619cfd806b769a";
}
