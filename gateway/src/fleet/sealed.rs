//! Small JSON texts that carry their own proof: `B64U(JSON) "." B64U(proof)`.
//!
//! The proof is over a context and the encoded JSON, so that one kind can never be taken for another.

use base64ct::{Base64UrlUnpadded, Encoding as _};
use ring::hmac;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Longest text that is looked at, in bytes.
pub const MAX_BYTES: usize = 2048;

/// The encoded JSON of `value`, followed by what `prove` makes of it.
#[must_use]
pub fn seal(context: &str, value: &impl Serialize, prove: impl Fn(&[u8]) -> Vec<u8>) -> String {
    // The values here are plain structures, which always have a JSON form.
    let json = serde_json::to_vec(value).unwrap_or_default();
    let body = encode(&json);
    let proof = prove(message(context, &body).as_bytes());
    format!("{body}.{}", encode(&proof))
}

/// The value, if `verify` takes its proof.
#[must_use]
pub fn open<T: DeserializeOwned>(
    context: &str,
    text: &str,
    verify: impl Fn(&[u8], &[u8]) -> bool,
) -> Option<T> {
    if text.len() > MAX_BYTES {
        return None;
    }
    let (body, proof) = text.split_once('.')?;
    if !verify(message(context, body).as_bytes(), &decode(proof)?) {
        return None;
    }
    serde_json::from_slice(&decode(body)?).ok()
}

/// Seals with HMAC-SHA-256.
#[must_use]
pub fn seal_with(key: &hmac::Key, context: &str, value: &impl Serialize) -> String {
    seal(context, value, |message| {
        hmac::sign(key, message).as_ref().to_vec()
    })
}

/// Opens what [`seal_with`] made.
#[must_use]
pub fn open_with<T: DeserializeOwned>(key: &hmac::Key, context: &str, text: &str) -> Option<T> {
    open(context, text, |message, proof| {
        hmac::verify(key, message, proof).is_ok()
    })
}

/// base64url without padding.
#[must_use]
pub fn encode(bytes: &[u8]) -> String {
    Base64UrlUnpadded::encode_string(bytes)
}

/// Out of base64url without padding.
#[must_use]
pub fn decode(text: &str) -> Option<Vec<u8>> {
    Base64UrlUnpadded::decode_vec(text).ok()
}

fn message(context: &str, body: &str) -> String {
    format!("{context}\n{body}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_changed_bit_or_another_context_is_refused() {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &[1; 32]);
        let text = seal_with(&key, "a", &("front", 5));
        let read: Option<(String, u64)> = open_with(&key, "a", &text);
        assert_eq!(read, Some(("front".to_owned(), 5)));
        assert_eq!(open_with::<(String, u64)>(&key, "b", &text), None);
        let other = hmac::Key::new(hmac::HMAC_SHA256, &[2; 32]);
        assert_eq!(open_with::<(String, u64)>(&other, "a", &text), None);
        for at in 0..text.len() {
            let mut bad = text.clone().into_bytes();
            bad[at] ^= 1;
            let bad = String::from_utf8_lossy(&bad).into_owned();
            assert_eq!(open_with::<(String, u64)>(&key, "a", &bad), None, "at {at}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in ".{0,100}") {
            let key = hmac::Key::new(hmac::HMAC_SHA256, &[1; 32]);
            let _ = open_with::<u64>(&key, "a", &text);
            let _ = open_with::<u64>(&key, "a", &format!("{text}.{text}"));
        }
    }
}
