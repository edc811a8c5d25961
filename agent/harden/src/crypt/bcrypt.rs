//! bcrypt (Provos and Mazières, 1999) as `$2a$`, `$2b$` and `$2y$`: to check hashes, not to make them.
//!
//! Blowfish starts from 1042 words of pi's fraction, 4 KiB that no compression makes smaller. They are computed when a
//! first hash is met, which takes as long as a check or two.

use std::sync::OnceLock;

/// Words of pi behind the point.
const WORDS: usize = 18 + 4 * 256;
/// Words that take up rounding.
const GUARD: usize = 2;
/// A check beyond this would stop a camera: 4096 rounds.
const MAX_COST: u32 = 12;
const ALPHABET: &[u8; 64] = b"./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
const TEXT: &[u8; 24] = b"OrpheanBeholderScryDoubt";
/// Characters of the salt, and of the hash behind it.
const SALT: usize = 22;
const HASH: usize = 31;
/// What counts of a password, with the NUL behind it.
const MAX_KEY_BYTES: usize = 72;

/// A hash that can be checked.
pub(super) struct Parsed<'a> {
    /// 2 to its power are the rounds.
    pub(super) cost: u32,
    salt: [u8; 16],
    hash: &'a str,
}

/// Reads a hash. `None`: it is none, or too expensive to check.
pub(super) fn parse(field: &str) -> Option<Parsed<'_>> {
    let rest = ["$2a$", "$2b$", "$2y$"]
        .iter()
        .find_map(|id| field.strip_prefix(id))?;
    let (cost, rest) = rest.split_once('$')?;
    let number: u32 = cost.parse().ok()?;
    if cost.len() != 2 || !(4..=MAX_COST).contains(&number) || rest.len() != SALT + HASH {
        return None;
    }
    let (salt, hash) = rest.split_at_checked(SALT)?;
    let mut bytes = [0; 16];
    let (mut bits, mut count, mut at) = (0u32, 0, 0);
    for character in salt.bytes() {
        let value = ALPHABET.iter().position(|known| *known == character)?;
        bits = bits << 6 | u32::try_from(value).ok()?;
        count += 6;
        if count >= 8 {
            count -= 8;
            *bytes.get_mut(at)? = (bits >> count) as u8;
            at += 1;
        }
    }
    Some(Parsed {
        cost: number,
        salt: bytes,
        hash,
    })
}

/// Whether a password fits.
pub(super) fn fits(password: &[u8], parsed: &Parsed<'_>) -> bool {
    let mut key: Vec<u8> = password.iter().copied().chain([0]).collect();
    key.truncate(MAX_KEY_BYTES);
    let mut cipher = Blowfish::new();
    cipher.expand(&parsed.salt, &key);
    for _ in 0..1u32 << parsed.cost {
        cipher.expand(&[0; 16], &key);
        cipher.expand(&[0; 16], &parsed.salt);
    }
    let mut out = Vec::new();
    for block in TEXT.chunks_exact(8) {
        let mut halves = [word(block, 0), word(block, 4)];
        for _ in 0..64 {
            cipher.encrypt(&mut halves);
        }
        out.extend(halves.iter().flat_map(|half| half.to_be_bytes()));
    }
    // The last byte was left out by the first program, and so by all.
    out.truncate(23);
    encode(&out) == parsed.hash
}

/// Base64 of its own, without padding.
fn encode(bytes: &[u8]) -> String {
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let mut bits = 0u32;
        for index in 0..3 {
            bits = bits << 8 | u32::from(group.get(index).copied().unwrap_or(0));
        }
        for index in 0..=group.len() {
            text.push(char::from(ALPHABET[(bits >> (18 - 6 * index) & 63) as usize]));
        }
    }
    text
}

/// A word of bytes that go round.
fn word(bytes: &[u8], at: usize) -> u32 {
    let byte = |at: usize| u32::from(bytes[at % bytes.len()]);
    byte(at) << 24 | byte(at + 1) << 16 | byte(at + 2) << 8 | byte(at + 3)
}

struct Blowfish {
    /// The subkeys, then the four boxes.
    state: Vec<u32>,
}

impl Blowfish {
    fn new() -> Self {
        static PI: OnceLock<Vec<u32>> = OnceLock::new();
        Self {
            state: PI.get_or_init(pi).clone(),
        }
    }

    fn encrypt(&self, halves: &mut [u32; 2]) {
        let [mut left, mut right] = *halves;
        let boxed = |number: usize, index: u32| self.state[18 + 256 * number + (index & 255) as usize];
        for subkey in &self.state[..16] {
            left ^= subkey;
            let mixed = boxed(0, left >> 24).wrapping_add(boxed(1, left >> 16)) ^ boxed(2, left >> 8);
            right ^= mixed.wrapping_add(boxed(3, left));
            (left, right) = (right, left);
        }
        *halves = [right ^ self.state[17], left ^ self.state[16]];
    }

    /// The key schedule with a salt; a salt of zeros is Blowfish's own.
    fn expand(&mut self, salt: &[u8; 16], key: &[u8]) {
        for index in 0..18 {
            self.state[index] ^= word(key, 4 * index);
        }
        let mut halves = [0; 2];
        for index in (0..WORDS).step_by(2) {
            halves[0] ^= word(salt, 4 * index);
            halves[1] ^= word(salt, 4 * index + 4);
            self.encrypt(&mut halves);
            self.state[index..index + 2].copy_from_slice(&halves);
        }
    }
}

/// The first words of pi's fraction, by Machin's formula: pi = 16 arctan(1/5) - 4 arctan(1/239).
fn pi() -> Vec<u32> {
    let mut sum = vec![0u32; 1 + WORDS + GUARD];
    for (factor, inverse, subtract) in [(16, 5u32, 0), (4, 239, 1)] {
        let mut power = vec![0u32; sum.len()];
        power[0] = factor;
        divide(&mut power, inverse, 0);
        let mut zeros = 0;
        for term in 0u32.. {
            while power.get(zeros) == Some(&0) {
                zeros += 1;
            }
            if zeros == power.len() {
                break;
            }
            let mut part = power.clone();
            divide(&mut part, 2 * term + 1, zeros);
            add(&mut sum, &part, (term + subtract) % 2 == 1);
            divide(&mut power, inverse * inverse, zeros);
        }
    }
    sum[1..=WORDS].to_vec()
}

/// Divides a number whose first words are zeros.
fn divide(number: &mut [u32], by: u32, zeros: usize) {
    let mut rest = 0u64;
    for word in &mut number[zeros..] {
        let value = rest << 32 | u64::from(*word);
        *word = (value / u64::from(by)) as u32;
        rest = value % u64::from(by);
    }
}

fn add(sum: &mut [u32], part: &[u32], subtract: bool) {
    let mut carry = false;
    for (word, part) in sum.iter_mut().zip(part).rev() {
        let (value, first, second);
        if subtract {
            (value, first) = word.overflowing_sub(*part);
            (*word, second) = value.overflowing_sub(carry.into());
        } else {
            (value, first) = word.overflowing_add(*part);
            (*word, second) = value.overflowing_add(carry.into());
        }
        carry = first || second;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pi_is_pi() {
        let pi = pi();
        // The first and last subkeys, and the last word of the last box, as Blowfish's tables have them.
        assert_eq!(pi[..4], [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344]);
        assert_eq!(pi[17], 0x8979_fb1b);
        assert_eq!((pi.len(), pi[WORDS - 1]), (WORDS, 0x3ac3_72e6));
    }

    #[test]
    fn what_is_no_hash_is_refused() {
        let good = "$2b$04$abcdefghijklmnopqrstuuABCDEFGHIJKLMNOPQRSTUVWXYZ01234";
        assert!(parse(good).is_some());
        for bad in [
            &good[..good.len() - 1],
            &good.replace("$04$", "$4$"),
            &good.replace("$04$", "$13$"),
            &good.replace("$04$", "$03$"),
            &good.replace("$2b$", "$2x$"),
            &good.replace('a', "!"),
            &good.replace("ab", "é"),
        ] {
            assert!(parse(bad).is_none(), "{bad}");
        }
    }
}
