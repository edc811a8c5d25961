//! Traditional crypt(3): DES (FIPS 46-3) with the salt in its expansion, 25 times over a block of zeroes.
//!
//! Bit by bit from the standard's tables: some 100 checks take less than a second on the slowest camera, and fast
//! tables would be 20 times larger than the program that uses them.

use super::ALPHABET;

/// The eight S-boxes, four rows of sixteen hexadecimal digits each.
const S: [[u64; 4]; 8] = [
    [
        0xe4d1_2fb8_3a6c_5907,
        0x0f74_e2d1_a6cb_9538,
        0x41e8_d62b_fc97_3a50,
        0xfc82_4917_5b3e_a06d,
    ],
    [
        0xf18e_6b34_972d_c05a,
        0x3d47_f28e_c01a_69b5,
        0x0e7b_a4d1_58c6_932f,
        0xd8a1_3f42_b67c_05e9,
    ],
    [
        0xa09e_63f5_1dc7_b428,
        0xd709_346a_285e_cbf1,
        0xd649_8f30_b12c_5ae7,
        0x1ad0_6987_4fe3_b52c,
    ],
    [
        0x7de3_069a_1285_bc4f,
        0xd8b5_6f03_472c_1ae9,
        0xa690_cb7d_f13e_5284,
        0x3f06_a1d8_945b_c72e,
    ],
    [
        0x2c41_7ab6_853f_d0e9,
        0xeb2c_47d1_50fa_3986,
        0x421b_ad78_f9c5_630e,
        0xb8c7_1e2d_6f09_a453,
    ],
    [
        0xc1af_9268_0d34_e75b,
        0xaf42_7c95_61de_0b38,
        0x9ef5_28c3_704a_1db6,
        0x432c_95fa_be17_608d,
    ],
    [
        0x4b2e_f08d_3c97_5a61,
        0xd0b7_491a_e35c_2f86,
        0x14bd_c37e_af68_0592,
        0x6bd8_14a7_950f_e23c,
    ],
    [
        0xd284_6fb1_a93e_50c7,
        0x1fd8_a374_c56b_0e92,
        0x7b41_9ce2_06ad_f358,
        0x21e7_4a8d_fc90_356b,
    ],
];
/// The permutation after the S-boxes.
const P: [u8; 32] = [
    16, 7, 20, 21, 29, 12, 28, 17, 1, 15, 23, 26, 5, 18, 31, 10, 2, 8, 24, 14, 32, 27, 3, 9, 19, 13, 30, 6,
    22, 11, 4, 25,
];
/// The key's bits without parity.
const PC1: [u8; 56] = [
    57, 49, 41, 33, 25, 17, 9, 1, 58, 50, 42, 34, 26, 18, 10, 2, 59, 51, 43, 35, 27, 19, 11, 3, 60, 52, 44,
    36, 63, 55, 47, 39, 31, 23, 15, 7, 62, 54, 46, 38, 30, 22, 14, 6, 61, 53, 45, 37, 29, 21, 13, 5, 28, 20,
    12, 4,
];
/// The bits of a round's key.
const PC2: [u8; 48] = [
    14, 17, 11, 24, 1, 5, 3, 28, 15, 6, 21, 10, 23, 19, 12, 4, 26, 8, 16, 7, 27, 20, 13, 2, 41, 52, 31, 37,
    47, 55, 30, 40, 51, 45, 33, 48, 44, 49, 39, 56, 34, 53, 46, 42, 50, 36, 29, 32,
];
/// Rounds whose key is moved by one bit; all others by two.
const SINGLE_SHIFTS: u16 = 1 << 0 | 1 << 1 | 1 << 8 | 1 << 15;
const MASK28: u32 = 0x0fff_ffff;

/// `crypt(password, setting)`, where the setting's first two characters are the salt. `None`: they are no salt.
pub(super) fn crypt(password: &[u8], setting: &str) -> Option<String> {
    let salt = setting.get(..2)?;
    let mut swaps = 0u32;
    for (index, byte) in salt.bytes().enumerate() {
        let value = ALPHABET.iter().position(|&letter| letter == byte)?;
        swaps |= (value as u32) << (6 * index);
    }
    let keys = schedule(key(password));
    let (mut left, mut right) = (0u32, 0u32);
    for _ in 0..25 {
        for key in keys {
            (left, right) = (right, left ^ round(right, key, swaps));
        }
        // The standard's initial and final permutations between two encryptions cancel out.
        (left, right) = (right, left);
    }
    let block = final_permutation(u64::from(left) << 32 | u64::from(right));
    let mut out = String::from(salt);
    for index in 0..11 {
        let shift = 58 - 6 * index;
        let value = if shift >= 0 {
            block >> shift
        } else {
            block << -shift
        };
        out.push(char::from(ALPHABET[(value & 63) as usize]));
    }
    Some(out)
}

/// Seven bits of each of the first eight characters; a NUL ends a password, as in C.
fn key(password: &[u8]) -> u64 {
    let mut key = [0u8; 8];
    for (to, from) in key.iter_mut().zip(password.iter().take_while(|&&byte| byte != 0)) {
        *to = from << 1;
    }
    u64::from_be_bytes(key)
}

fn schedule(key: u64) -> [u64; 16] {
    let start = permute(key, 64, &PC1);
    let (mut c, mut d) = ((start >> 28) as u32 & MASK28, start as u32 & MASK28);
    let mut keys = [0; 16];
    for (index, key) in keys.iter_mut().enumerate() {
        let shift = if SINGLE_SHIFTS >> index & 1 == 1 { 1 } else { 2 };
        c = (c << shift | c >> (28 - shift)) & MASK28;
        d = (d << shift | d >> (28 - shift)) & MASK28;
        *key = permute(u64::from(c) << 28 | u64::from(d), 56, &PC2);
    }
    keys
}

fn round(half: u32, key: u64, swaps: u32) -> u32 {
    // Six bits for each S-box: four of the half block and their neighbours, going round.
    let mut expanded = 0u64;
    for index in 0..8u32 {
        expanded = expanded << 6 | u64::from(half.rotate_left(4 * index + 5) & 63);
    }
    // A salt's bit n exchanges the expanded bits n and n + 24, counted from the top.
    let (mut high, mut low) = ((expanded >> 24) as u32, expanded as u32 & 0x00ff_ffff);
    let exchange = (high ^ low) & (swaps.reverse_bits() >> 8);
    high ^= exchange;
    low ^= exchange;
    let keyed = (u64::from(high) << 24 | u64::from(low)) ^ key;
    let mut out = 0u64;
    for (index, table) in S.iter().enumerate() {
        let six = (keyed >> (42 - 6 * index)) as usize & 63;
        let row = (six >> 4 & 2) | (six & 1);
        let column = six >> 1 & 15;
        out = out << 4 | (table[row] >> (60 - 4 * column) & 15);
    }
    permute(out, 32, &P) as u32
}

/// Bits are counted from 1 at the top, as in the standard.
fn permute(input: u64, width: u32, table: &[u8]) -> u64 {
    table
        .iter()
        .fold(0, |out, &bit| out << 1 | (input >> (width - u32::from(bit)) & 1))
}

fn final_permutation(block: u64) -> u64 {
    const COLUMNS: [u32; 8] = [40, 8, 48, 16, 56, 24, 64, 32];
    (0..64u32).fold(0, |out, index| {
        let bit = COLUMNS[(index % 8) as usize] - index / 8;
        out << 1 | (block >> (64 - bit) & 1)
    })
}
