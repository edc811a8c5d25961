//! MD5 (RFC 1321), for RTSP's Digest and crypt(3), which still mean it. It is broken as a hash and proves nothing else.
//!
//! Loops and tables, where libraries unroll all 64 steps: a tenth of their flash, on cameras that hash a few lines a day.

#![no_std]

const BLOCK: usize = 64;
/// The message's length, in bits, at the end of the last block.
const LENGTH_AT: usize = BLOCK - 8;
/// The bits that each step turns by, four of each round.
const TURNS: [[u8; 4]; 4] = [[7, 12, 17, 22], [5, 9, 14, 20], [4, 11, 16, 23], [6, 10, 15, 21]];
/// In each round, which word of the block step `i` takes: `factor * i + offset`.
const WORDS: [(u8, u8); 4] = [(1, 0), (5, 1), (3, 5), (7, 0)];
/// The whole part of 2^32 times the sine's absolute value of 1 to 64.
#[rustfmt::skip]
const SINES: [u32; 64] = [
    0xd76a_a478, 0xe8c7_b756, 0x2420_70db, 0xc1bd_ceee, 0xf57c_0faf, 0x4787_c62a, 0xa830_4613, 0xfd46_9501,
    0x6980_98d8, 0x8b44_f7af, 0xffff_5bb1, 0x895c_d7be, 0x6b90_1122, 0xfd98_7193, 0xa679_438e, 0x49b4_0821,
    0xf61e_2562, 0xc040_b340, 0x265e_5a51, 0xe9b6_c7aa, 0xd62f_105d, 0x0244_1453, 0xd8a1_e681, 0xe7d3_fbc8,
    0x21e1_cde6, 0xc337_07d6, 0xf4d5_0d87, 0x455a_14ed, 0xa9e3_e905, 0xfcef_a3f8, 0x676f_02d9, 0x8d2a_4c8a,
    0xfffa_3942, 0x8771_f681, 0x6d9d_6122, 0xfde5_380c, 0xa4be_ea44, 0x4bde_cfa9, 0xf6bb_4b60, 0xbebf_bc70,
    0x289b_7ec6, 0xeaa1_27fa, 0xd4ef_3085, 0x0488_1d05, 0xd9d4_d039, 0xe6db_99e5, 0x1fa2_7cf8, 0xc4ac_5665,
    0xf429_2244, 0x432a_ff97, 0xab94_23a7, 0xfc93_a039, 0x655b_59c3, 0x8f0c_cc92, 0xffef_f47d, 0x8584_5dd1,
    0x6fa8_7e4f, 0xfe2c_e6e0, 0xa301_4314, 0x4e08_11a1, 0xf753_7e82, 0xbd3a_f235, 0x2ad7_d2bb, 0xeb86_d391,
];

/// The hash of a message.
#[must_use]
pub fn md5(message: &[u8]) -> [u8; 16] {
    let mut state = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];
    let (blocks, rest) = message.as_chunks::<BLOCK>();
    for block in blocks {
        step(&mut state, block);
    }
    let mut last = [0; BLOCK];
    last[..rest.len()].copy_from_slice(rest);
    last[rest.len()] = 0x80;
    if rest.len() >= LENGTH_AT {
        step(&mut state, &last);
        last = [0; BLOCK];
    }
    let bits = (message.len() as u64).wrapping_mul(8);
    last[LENGTH_AT..].copy_from_slice(&bits.to_le_bytes());
    step(&mut state, &last);
    let mut out = [0; 16];
    for (bytes, word) in out.as_chunks_mut::<4>().0.iter_mut().zip(state) {
        *bytes = word.to_le_bytes();
    }
    out
}

fn step(state: &mut [u32; 4], block: &[u8; BLOCK]) {
    let (words, _) = block.as_chunks::<4>();
    let [mut a, mut b, mut c, mut d] = *state;
    for (i, sine) in SINES.into_iter().enumerate() {
        let round = i / 16;
        let mixed = match round {
            0 => b & c | !b & d,
            1 => b & d | c & !d,
            2 => b ^ c ^ d,
            _ => c ^ (b | !d),
        };
        let (factor, offset) = WORDS[round];
        let word = u32::from_le_bytes(words[(usize::from(factor) * i + usize::from(offset)) % 16]);
        let sum = a.wrapping_add(mixed).wrapping_add(sine).wrapping_add(word);
        a = d;
        d = c;
        c = b;
        b = b.wrapping_add(sum.rotate_left(TURNS[round][i % 4].into()));
    }
    for (word, more) in state.iter_mut().zip([a, b, c, d]) {
        *word = word.wrapping_add(more);
    }
}

#[cfg(test)]
mod tests {
    extern crate alloc;

    use alloc::vec::Vec;

    use super::md5;

    fn agrees(message: &[u8]) {
        assert_eq!(md5(message), md5_by_others(message), "{} bytes", message.len());
    }

    fn md5_by_others(message: &[u8]) -> [u8; 16] {
        ::md5::compute(message).0
    }

    /// RFC 1321, appendix A.5.
    #[test]
    fn the_hashes_are_those_of_the_document() {
        for (message, expected) in [
            ("", 0xd41d_8cd9_8f00_b204_e980_0998_ecf8_427e_u128),
            ("abc", 0x9001_5098_3cd2_4fb0_d696_3f7d_28e1_7f72),
            (
                "12345678901234567890123456789012345678901234567890123456789012345678901234567890",
                0x57ed_f4a2_2be3_c955_ac49_da2e_2107_b67a,
            ),
        ] {
            assert_eq!(md5(message.as_bytes()), expected.to_be_bytes(), "{message}");
        }
    }

    #[test]
    fn every_length_around_a_block_agrees_with_another_library() {
        for length in 0..300 {
            agrees(&(0..length).map(|n| (n * 7) as u8).collect::<Vec<u8>>());
        }
    }

    proptest::proptest! {
        #[test]
        fn any_message_agrees_with_another_library(message in proptest::collection::vec(0..=255u8, 0..2000)) {
            agrees(&message);
        }
    }
}
