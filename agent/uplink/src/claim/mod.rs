//! Whom a camera obeys: the operator's key that it was given, and what that key signs (docs/protocol.md, section 4).
//!
//! It keeps nothing and dials nothing; [`crate::dial`] asks it.

#[cfg(test)]
pub(crate) mod tests;

use alloc::format;
use alloc::string::String;
use base64ct::{Base64, Base64UrlUnpadded, Encoding};
use core::fmt;
use ring::digest::{SHA256, digest};
use ring::hmac;
use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};

/// An uncompressed point of P-256 (SEC 1, section 2.3.3).
pub type PublicKey = [u8; 65];
const SIGNATURE_LEN: usize = 64;
/// Hex digits of a key's id.
const ID_LEN: usize = 16;

/// How far an operator's key counts. The numbers are those that are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Standing {
    /// It came without a proof: from a gateway where the camera was claimed by its fingerprint.
    Unproven = 0,
    /// Whoever showed it knew the PIN on the label.
    Proven = 1,
    /// It has ended its claim. It is remembered, so that nothing signed before can be shown again.
    Released = 2,
}

/// An operator's key.
#[derive(Clone, PartialEq, Eq)]
pub struct Operator {
    /// The public key.
    pub key: PublicKey,
    /// How far it counts.
    pub standing: Standing,
    /// The latest that was followed of what it signed, in seconds since 1970 by the operator's clock.
    pub issued: u64,
}

impl Operator {
    /// The key as text, base64.
    pub fn key_text(&self) -> String {
        Base64::encode_string(&self.key)
    }

    /// A key out of its text.
    pub fn parse_key(text: &str) -> Option<PublicKey> {
        let mut key = [0; 65];
        let decoded = Base64::decode(text, &mut key).ok()?;
        (decoded.len() == 65 && decoded.first() == Some(&4)).then_some(key)
    }

    /// Whether its claim has not ended.
    pub fn is_obeyed(&self) -> bool {
        self.standing != Standing::Released
    }

    /// What gateways know the key by.
    pub fn id(&self) -> String {
        let mut id = hex(digest(&SHA256, &self.key).as_ref());
        id.truncate(ID_LEN);
        id
    }
}

impl fmt::Debug for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Operator({}, {:?})", self.id(), self.standing)
    }
}

/// Why what a gateway says of an operator does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClaimError {
    /// No key, or no proof, in the form of the protocol.
    Malformed,
    /// The proof is not made with this camera's PIN.
    WrongProof,
    /// The camera obeys another operator.
    OtherOperator,
    /// It is not signed.
    Unsigned,
    /// The signature is not the operator's, or for something else.
    WrongSignature,
    /// It was followed before, or is older than what was.
    Stale,
}

impl fmt::Display for ClaimError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "what it says of the operator cannot be read",
            Self::WrongProof => "its proof was not made with the PIN of this camera's label",
            Self::OtherOperator => {
                "this camera obeys another operator; if it has a new owner, run `lenscap enroll --reset` on it"
            }
            Self::Unsigned => "its operator has not signed it",
            Self::WrongSignature => "the signature is not its operator's",
            Self::Stale => "it is an old one, shown again",
        })
    }
}

impl core::error::Error for ClaimError {}

/// What this camera knows of its claim.
#[derive(Clone)]
pub struct Claim {
    /// The SHA-256 of the camera's own key (SubjectPublicKeyInfo), in hex.
    fingerprint: String,
    pin_key: Option<hmac::Key>,
    operator: Option<Operator>,
    was_reset: bool,
}

impl fmt::Debug for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { operator, .. } = self;
        f.debug_struct("Claim")
            .field("operator", operator)
            .finish_non_exhaustive()
    }
}

impl Claim {
    /// Of a camera that nobody has claimed, known by the SHA-256 of its key.
    pub fn new(fingerprint: &[u8; 32]) -> Self {
        Self {
            fingerprint: hex(fingerprint),
            pin_key: None,
            operator: None,
            was_reset: false,
        }
    }

    /// Takes K, which is made of the PIN; `None` where the camera has no PIN.
    pub fn set_pin_key(&mut self, key: Option<&[u8; 32]>) {
        self.pin_key = key.map(|key| hmac::Key::new(hmac::HMAC_SHA256, key));
    }

    /// Takes what an earlier process kept; `None` forgets the operator.
    pub fn set_operator(&mut self, operator: Option<Operator>) {
        self.operator = operator;
    }

    /// Takes whether the owner ended the claim at the device. A camera that merely lost what it kept must not say so.
    pub fn set_reset(&mut self, was_reset: bool) {
        self.was_reset = was_reset;
    }

    /// The key, if one was ever shown.
    pub fn operator(&self) -> Option<&Operator> {
        self.operator.as_ref()
    }

    fn obeyed(&self) -> Option<&Operator> {
        self.operator.as_ref().filter(|operator| operator.is_obeyed())
    }

    /// Whether the camera obeys an operator.
    pub fn is_claimed(&self) -> bool {
        self.obeyed().is_some()
    }

    /// The value of `Lenscap-Operator` in a request.
    pub fn held(&self) -> String {
        let nobody = if self.was_reset { "reset" } else { "none" };
        self.obeyed().map_or_else(|| nobody.into(), Operator::id)
    }

    /// The value of `Lenscap-Pin-Proof` in a request: while unclaimed, and with a PIN.
    pub fn pin_proof(&self) -> Option<String> {
        let key = self.pin_key.as_ref().filter(|_| !self.is_claimed())?;
        let message = format!("lenscap-proof-1\n{}", self.fingerprint);
        let tag = hmac::sign(key, message.as_bytes());
        // The encoder of another alphabet would cost flash.
        let text = Base64::encode_string(tag.as_ref());
        Some(text.trim_end_matches('=').replace('+', "-").replace('/', "_"))
    }

    /// Takes `Lenscap-Operator` of a 101. True if the camera obeys it from now on, or trusts it more than before.
    ///
    /// A camera that obeys nobody takes the first key that it is shown, as it has no other way to tell; one with a proof
    /// takes the place of one without, so that the owner with the label wins.
    pub fn handle_introduction(&mut self, text: &str) -> Result<bool, ClaimError> {
        let rest = text.strip_prefix("p256/").ok_or(ClaimError::Malformed)?;
        let (key_text, proof) = match rest.split_once(", proof=") {
            Some((key, proof)) => (key, Some(proof)),
            None => (rest, None),
        };
        let key = Operator::parse_key(key_text).ok_or(ClaimError::Malformed)?;
        let standing = match proof {
            Some(proof) => self.check_proof(&key, proof)?,
            None => Standing::Unproven,
        };
        let issued = match &self.operator {
            Some(known) if known.key == key => {
                if known.standing == standing || known.standing == Standing::Proven {
                    return Ok(false);
                }
                known.issued
            }
            Some(known) if known.standing == Standing::Proven => return Err(ClaimError::OtherOperator),
            Some(known) if known.standing == Standing::Unproven && standing == Standing::Unproven => {
                return Err(ClaimError::OtherOperator);
            }
            Some(_) | None => 0,
        };
        self.operator = Some(Operator {
            key,
            standing,
            issued,
        });
        Ok(true)
    }

    /// Without a PIN a proof cannot be judged, and counts as none.
    fn check_proof(&self, key: &PublicKey, proof: &str) -> Result<Standing, ClaimError> {
        let Some(pin_key) = &self.pin_key else {
            return Ok(Standing::Unproven);
        };
        let mut tag = [0; 32];
        let tag = Base64UrlUnpadded::decode(proof, &mut tag).map_err(|_| ClaimError::Malformed)?;
        let message = format!("lenscap-operator-1\n{}\n{}", self.fingerprint, hex(key));
        hmac::verify(pin_key, message.as_bytes(), tag).map_err(|_| ClaimError::WrongProof)?;
        Ok(Standing::Proven)
    }

    /// Takes `Lenscap-Release`: the claim has ended.
    pub fn handle_release(&mut self, text: &str) -> Result<(), ClaimError> {
        let fingerprint = &self.fingerprint;
        let issued = self.verify(text, |issued| {
            format!("lenscap-release-1\n{fingerprint}\n{issued}")
        })?;
        if let Some(operator) = &mut self.operator {
            operator.standing = Standing::Released;
            operator.issued = issued;
        }
        Ok(())
    }

    /// Judges `Lenscap-Signature` of a 308. When it was issued; [`note_followed`](Self::note_followed) is told it once
    /// the redirect is followed.
    pub fn check_redirect(
        &self,
        text: Option<&str>,
        location: &str,
        pin: Option<&str>,
    ) -> Result<u64, ClaimError> {
        let (fingerprint, pin) = (&self.fingerprint, pin.unwrap_or("-"));
        let text = text.ok_or(ClaimError::Unsigned)?;
        self.verify(text, |issued| {
            format!("lenscap-redirect-1\n{fingerprint}\n{issued}\n{location}\n{pin}")
        })
    }

    /// A signed redirect was followed.
    pub fn note_followed(&mut self, issued: u64) {
        if let Some(operator) = &mut self.operator {
            operator.issued = operator.issued.max(issued);
        }
    }

    /// Checks `key=<id>, issued=<seconds>, sig=<B64U>` over what `message` makes of the seconds.
    fn verify(&self, text: &str, message: impl FnOnce(u64) -> String) -> Result<u64, ClaimError> {
        let operator = self.obeyed().ok_or(ClaimError::OtherOperator)?;
        let parts = || {
            let (id, rest) = text.strip_prefix("key=")?.split_once(", issued=")?;
            let (issued, signature) = rest.split_once(", sig=")?;
            Some((id, issued.parse::<u64>().ok()?, signature))
        };
        let (id, issued, signature) = parts().ok_or(ClaimError::Malformed)?;
        if id != operator.id() {
            return Err(ClaimError::OtherOperator);
        }
        let mut bytes = [0; SIGNATURE_LEN];
        let signature =
            Base64UrlUnpadded::decode(signature, &mut bytes).map_err(|_| ClaimError::Malformed)?;
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &operator.key)
            .verify(message(issued).as_bytes(), signature)
            .map_err(|_| ClaimError::WrongSignature)?;
        if issued <= operator.issued {
            return Err(ClaimError::Stale);
        }
        Ok(issued)
    }
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |value: u8| char::from(*DIGITS.get(usize::from(value)).unwrap_or(&b'0'));
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(digit(byte >> 4));
        text.push(digit(byte & 15));
    }
    text
}
