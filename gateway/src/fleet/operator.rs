//! The operator's key: what a claimed camera obeys, and what streamers trust tickets by.

use std::fmt;

use base64ct::{Base64, Encoding as _};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, UnparsedPublicKey,
};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::sealed;
use crate::config::Sha256Hash;
use crate::rtsp::digest::hex;
use crate::store::Forward;
use crate::tls::sha256;

/// How long a ticket is good.
pub const TICKET_SECONDS: u64 = 60;
/// How far the clocks of endpoint and streamer may be apart.
const SKEW_SECONDS: u64 = 30;
const TICKET: &str = "lenscap-ticket-1";

/// A public key: an uncompressed point of P-256 (SEC 1, section 2.3.3). Of this curve, because a camera has its code in any
/// case; Ed25519 would cost it 13 kB of flash.
pub type PublicKey = [u8; 65];

/// The stored key is damaged.
#[derive(Debug, Error)]
#[error("the operator's key in the database is damaged; restore a backup")]
pub struct OperatorKeyError;

/// The private key; it never leaves the endpoint.
pub struct OperatorKey {
    pair: EcdsaKeyPair,
    rng: SystemRandom,
    id: String,
    public: PublicKey,
}

impl fmt::Debug for OperatorKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OperatorKey")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl OperatorKey {
    /// A new key as it is stored (PKCS #8); empty when the system gives no random bytes.
    #[must_use]
    pub fn generate() -> Vec<u8> {
        EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new())
            .map(|key| key.as_ref().to_vec())
            .unwrap_or_default()
    }

    /// Reads what [`OperatorKey::generate`] made.
    ///
    /// # Errors
    /// The bytes are no such key.
    pub fn from_pkcs8(bytes: &[u8]) -> Result<Self, OperatorKeyError> {
        let rng = SystemRandom::new();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, bytes, &rng)
            .map_err(|_| OperatorKeyError)?;
        let public: PublicKey = pair
            .public_key()
            .as_ref()
            .try_into()
            .map_err(|_| OperatorKeyError)?;
        Ok(Self {
            pair,
            rng,
            id: key_id(&public),
            public,
        })
    }

    /// What cameras name it by.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// A signature of 64 bytes. Empty, and so refused by everybody, when the system gives no random bytes.
    fn sign(&self, message: &[u8]) -> Vec<u8> {
        let signature = self.pair.sign(&self.rng, message);
        signature
            .map(|signature| signature.as_ref().to_vec())
            .unwrap_or_default()
    }

    /// The value of `Lenscap-Signature` for a 308 to one camera.
    #[must_use]
    pub fn sign_redirect(&self, camera: &Sha256Hash, issued: u64, to: &Forward) -> String {
        let signature = sealed::encode(&self.sign(redirect_message(camera, issued, to).as_bytes()));
        format!("key={}, issued={issued}, sig={signature}", self.id)
    }

    /// The value of `Lenscap-Release` for one camera: its claim has ended.
    #[must_use]
    pub fn sign_release(&self, camera: &Sha256Hash, issued: u64) -> String {
        let message = format!("lenscap-release-1\n{}\n{issued}", hex(camera));
        let signature = sealed::encode(&self.sign(message.as_bytes()));
        format!("key={}, issued={issued}, sig={signature}", self.id)
    }

    /// A ticket for one camera at one streamer.
    #[must_use]
    pub fn sign_ticket(&self, ticket: &Ticket) -> String {
        sealed::seal(TICKET, ticket, |message| self.sign(message))
    }
}

/// The value of `Lenscap-Operator` in a 101.
#[must_use]
pub fn introduction(public: &PublicKey, proof: Option<&[u8; 32]>) -> String {
    let key = Base64::encode_string(public);
    match proof {
        Some(proof) => format!("p256/{key}, proof={}", sealed::encode(proof)),
        None => format!("p256/{key}"),
    }
}

/// A public key out of hex digits, as streamers are told it.
#[must_use]
pub fn parse_public(text: &str) -> Option<PublicKey> {
    let mut key = [0; 65];
    if text.len() != 2 * key.len() || !text.is_ascii() {
        return None;
    }
    for (byte, digits) in key.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(key)
}

/// The first 16 hex digits of the public key's SHA-256.
#[must_use]
pub fn key_id(public: &PublicKey) -> String {
    hex(&sha256(public)[..8])
}

fn redirect_message(camera: &Sha256Hash, issued: u64, to: &Forward) -> String {
    let pin = to.pin.as_deref().unwrap_or("-");
    format!("lenscap-redirect-1\n{}\n{issued}\n{}\n{pin}", hex(camera), to.url)
}

/// What a ticket says. Short names: it travels in an address.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ticket {
    v: u8,
    k: String,
    s: String,
    c: String,
    o: String,
    e: u64,
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket")
            .field("camera", &self.c)
            .field("streamer", &self.s)
            .finish_non_exhaustive()
    }
}

/// Why a ticket is refused.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum TicketError {
    /// Not signed by the operator, or no ticket.
    #[error("the ticket is forged or damaged")]
    Forged,
    /// Too old.
    #[error("the ticket has expired")]
    Expired,
    /// Shown with another key.
    #[error("the ticket belongs to another camera's key")]
    Key,
    /// Shown at another streamer.
    #[error("the ticket is for another streamer")]
    Streamer,
}

impl Ticket {
    /// For the camera with this key, at `streamer`, from `now` on.
    #[must_use]
    pub fn new(key: &Sha256Hash, camera: &str, streamer: &str, proof: Option<&[u8; 32]>, now: u64) -> Self {
        Self {
            v: 1,
            k: hex(key),
            s: streamer.to_owned(),
            c: camera.to_owned(),
            o: proof.map(|proof| sealed::encode(proof)).unwrap_or_default(),
            e: now + TICKET_SECONDS,
        }
    }

    /// The camera's name.
    #[must_use]
    pub fn camera(&self) -> &str {
        &self.c
    }

    /// When it was made, in seconds since 1970.
    #[must_use]
    pub fn issued(&self) -> u64 {
        self.e.saturating_sub(TICKET_SECONDS)
    }

    /// What shows the camera that the PIN was known.
    #[must_use]
    pub fn proof(&self) -> Option<[u8; 32]> {
        sealed::decode(&self.o)?.try_into().ok()
    }

    /// Judges a ticket at a streamer.
    ///
    /// # Errors
    /// See [`TicketError`].
    pub fn accept(
        text: &str,
        operator: &PublicKey,
        key: &Sha256Hash,
        streamer: &str,
        now: u64,
    ) -> Result<Self, TicketError> {
        let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, operator);
        let verify = |message: &[u8], signature: &[u8]| public.verify(message, signature).is_ok();
        let ticket: Self = sealed::open(TICKET, text, verify).ok_or(TicketError::Forged)?;
        if ticket.v != 1 || ticket.e > now + TICKET_SECONDS + SKEW_SECONDS {
            return Err(TicketError::Forged);
        }
        if ticket.e < now {
            return Err(TicketError::Expired);
        }
        if ticket.k != hex(key) {
            return Err(TicketError::Key);
        }
        if ticket.s != streamer {
            return Err(TicketError::Streamer);
        }
        Ok(ticket)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_000_000;

    fn key() -> OperatorKey {
        OperatorKey::from_pkcs8(&OperatorKey::generate()).unwrap()
    }

    #[test]
    fn tickets_are_for_one_key_one_streamer_and_one_minute() {
        let operator = key();
        let ticket = Ticket::new(&[1; 32], "front", "s1", Some(&[9; 32]), NOW);
        let text = operator.sign_ticket(&ticket);
        let accept = |text: &str, key: u8, streamer, now| {
            Ticket::accept(text, operator.public(), &[key; 32], streamer, now).map(|ticket| ticket.c)
        };
        assert_eq!(accept(&text, 1, "s1", NOW + 60), Ok("front".to_owned()));
        assert_eq!(accept(&text, 1, "s1", NOW + 61), Err(TicketError::Expired));
        assert_eq!(accept(&text, 2, "s1", NOW), Err(TicketError::Key));
        assert_eq!(accept(&text, 1, "s2", NOW), Err(TicketError::Streamer));
        let foreign = key().sign_ticket(&ticket);
        assert_eq!(accept(&foreign, 1, "s1", NOW), Err(TicketError::Forged));
        let long = Ticket {
            e: NOW + 3600,
            ..ticket.clone()
        };
        assert_eq!(
            accept(&operator.sign_ticket(&long), 1, "s1", NOW),
            Err(TicketError::Forged)
        );
        let (body, signature) = text.split_once('.').unwrap();
        for bad in [
            "",
            ".",
            body,
            signature,
            &format!("{body}x.{signature}"),
            &text[1..],
        ] {
            assert_eq!(accept(bad, 1, "s1", NOW), Err(TicketError::Forged), "{bad}");
        }
        assert_eq!(ticket.proof(), Some([9; 32]));
        assert!(!format!("{ticket:?} {operator:?}").contains(&hex(&[1; 32])));
    }

    #[test]
    fn redirects_are_signed_for_one_camera_and_one_address() {
        let operator = key();
        let to = Forward {
            url: "https://next.example/onvif/uplink".into(),
            pin: Some("sha256/AAAA".into()),
        };
        let value = operator.sign_redirect(&[1; 32], NOW, &to);
        let (head, signature) = value.split_once(", sig=").unwrap();
        assert_eq!(head, format!("key={}, issued={NOW}", operator.id()));
        let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, operator.public());
        let signature = sealed::decode(signature).unwrap();
        let message = format!(
            "lenscap-redirect-1\n{}\n{NOW}\nhttps://next.example/onvif/uplink\nsha256/AAAA",
            "01".repeat(32)
        );
        public.verify(message.as_bytes(), &signature).unwrap();
        let other = redirect_message(&[2; 32], NOW, &to);
        assert!(public.verify(other.as_bytes(), &signature).is_err());
        assert_eq!(operator.id(), key_id(operator.public()));
        let shown = introduction(operator.public(), Some(&[0; 32]));
        assert!(
            shown.starts_with("p256/") && shown.contains("=, proof=AAAA"),
            "{shown}"
        );
        assert_eq!(parse_public(&hex(operator.public())), Some(*operator.public()));
        for bad in ["", "00", &"0".repeat(129), &"x".repeat(130), &"é".repeat(65)] {
            assert_eq!(parse_public(bad), None, "{bad}");
        }
    }
}
