//! Writes a self-signed X.509v3 certificate (RFC 5280) over a P-256 key.

use ring::rand::SystemRandom;
use ring::signature::{EcdsaKeyPair, KeyPair as _};

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const UTF8_STRING: u8 = 0x0c;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

const ECDSA_WITH_SHA256: &[u8] = &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];
const EC_PUBLIC_KEY: &[u8] = &[0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
const PRIME256V1: &[u8] = &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const COMMON_NAME: &[u8] = &[0x06, 0x03, 0x55, 0x04, 0x03];
const BASIC_CONSTRAINTS: &[u8] = &[0x06, 0x03, 0x55, 0x1d, 0x13];
const KEY_USAGE: &[u8] = &[0x06, 0x03, 0x55, 0x1d, 0x0f];
const EXTENDED_KEY_USAGE: &[u8] = &[0x06, 0x03, 0x55, 0x1d, 0x25];
const CLIENT_AUTH: &[u8] = &[0x06, 0x08, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x02];
const TRUE: &[u8] = &[0x01, 0x01, 0xff];

/// The SubjectPublicKeyInfo of a P-256 key (RFC 5480).
pub(super) fn public_key_info(key: &EcdsaKeyPair) -> Vec<u8> {
    let algorithm = element(SEQUENCE, &[EC_PUBLIC_KEY, PRIME256V1]);
    let point = element(BIT_STRING, &[&[0], key.public_key().as_ref()]);
    element(SEQUENCE, &[&algorithm, &point])
}

/// A certificate for `name`, valid at any time: it is made before the camera has a clock, and a gateway knows it by
/// its key. `None` when the key cannot sign, which means no random bytes.
pub(super) fn self_signed(
    key: &EcdsaKeyPair,
    name: &str,
    serial: [u8; 16],
    rng: &SystemRandom,
) -> Option<Vec<u8>> {
    let tbs = to_be_signed(&public_key_info(key), name, serial);
    let signature = key.sign(rng, &tbs).ok()?;
    let algorithm = element(SEQUENCE, &[ECDSA_WITH_SHA256]);
    let signature = element(BIT_STRING, &[&[0], signature.as_ref()]);
    Some(element(SEQUENCE, &[&tbs, &algorithm, &signature]))
}

fn to_be_signed(public_key_info: &[u8], name: &str, mut serial: [u8; 16]) -> Vec<u8> {
    // Positive, and without a leading zero byte (section 4.1.2.2).
    serial[0] = serial[0] & 0x7f | 0x40;
    let version = element(0xa0, &[&element(INTEGER, &[&[2]])]);
    let serial = element(INTEGER, &[&serial]);
    let algorithm = element(SEQUENCE, &[ECDSA_WITH_SHA256]);
    let common_name = element(
        SEQUENCE,
        &[COMMON_NAME, &element(UTF8_STRING, &[name.as_bytes()])],
    );
    let name = element(SEQUENCE, &[&element(SET, &[&common_name])]);
    // No well-defined end: section 4.1.2.5.
    let from = element(UTC_TIME, &[b"700101000000Z"]);
    let to = element(GENERALIZED_TIME, &[b"99991231235959Z"]);
    let validity = element(SEQUENCE, &[&from, &to]);
    element(
        SEQUENCE,
        &[
            &version,
            &serial,
            &algorithm,
            &name,
            &validity,
            &name,
            public_key_info,
            &extensions(),
        ],
    )
}

/// An end entity that signs handshakes as a TLS client.
fn extensions() -> Vec<u8> {
    let basic = extension(BASIC_CONSTRAINTS, TRUE, &element(SEQUENCE, &[]));
    let usage = extension(KEY_USAGE, TRUE, &element(BIT_STRING, &[&[7, 0x80]]));
    let extended = extension(EXTENDED_KEY_USAGE, &[], &element(SEQUENCE, &[CLIENT_AUTH]));
    element(0xa3, &[&element(SEQUENCE, &[&basic, &usage, &extended])])
}

fn extension(oid: &[u8], critical: &[u8], value: &[u8]) -> Vec<u8> {
    element(SEQUENCE, &[oid, critical, &element(OCTET_STRING, &[value])])
}

/// One element (X.690, section 10.1). Contents are shorter than 64 KiB by construction.
fn element(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut der = vec![tag];
    let [.., high, low] = length.to_be_bytes();
    match length {
        0..0x80 => der.push(low),
        0x80..0x100 => der.extend([0x81, low]),
        _ => der.extend([0x82, high, low]),
    }
    for part in parts {
        der.extend_from_slice(part);
    }
    der
}
