//! aead: encrypts so many MiB with ring's ChaCha20-Poly1305 in TLS records and does nothing else: the least that
//! anything which carries video over TLS can cost. `make bench-arm` counts its instructions.

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

/// The largest TLS record (RFC 8446, section 5.1).
const RECORD_BYTES: usize = 16 << 10;
/// Header of a TLS record, which is authenticated with it (RFC 8446, section 5.2).
const RECORD_HEADER: [u8; 5] = [23, 3, 3, 0x40, 0x11];

fn main() -> anyhow::Result<()> {
    let mib: u64 = std::env::args()
        .nth(1)
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| anyhow::anyhow!("usage: aead MIB"))?;
    let failed = |_| anyhow::anyhow!("ring refuses");
    let key = LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, &[7; 32]).map_err(failed)?);
    let mut record = vec![0x5a; RECORD_BYTES];
    let mut sum = 0_u8;
    for number in 0..mib * ((1 << 20) / RECORD_BYTES as u64) {
        let mut nonce = [0; NONCE_LEN];
        nonce[4..].copy_from_slice(&number.to_be_bytes());
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = key
            .seal_in_place_separate_tag(nonce, Aad::from(RECORD_HEADER), &mut record)
            .map_err(failed)?;
        sum ^= tag.as_ref().first().copied().unwrap_or_default();
    }
    println!("{sum:02x}");
    Ok(())
}
