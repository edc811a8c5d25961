//! Huffman decoding (RFC 7541, section 5.2 and appendix B).
//!
//! The code is canonical: within a length, and from one length to the next, codes count upwards. So the number of
//! codes of each length and the symbols in the order of their codes are the whole table.

use super::Error;
use alloc::vec::Vec;

const SHORTEST: u32 = 5;
const LONGEST: u32 = 30;

/// How many symbols have a code of 0, 1, 2, ... 30 bits.
const COUNTS: [u8; 31] = [
    0, 0, 0, 0, 0, 10, 26, 32, 6, 0, 5, 3, 2, 6, 2, 3, 0, 0, 0, 3, 8, 13, 26, 29, 12, 4, 15, 19, 29, 0, 4,
];

/// The symbols in the order of their codes. The code behind the last one is EOS, which must not be sent.
const SYMBOLS: [u8; 256] = [
    48, 49, 50, 97, 99, 101, 105, 111, 115, 116, 32, 37, 45, 46, 47, 51, 52, 53, 54, 55, 56, 57, 61, 65, 95,
    98, 100, 102, 103, 104, 108, 109, 110, 112, 114, 117, 58, 66, 67, 68, 69, 70, 71, 72, 73, 74, 75, 76, 77,
    78, 79, 80, 81, 82, 83, 84, 85, 86, 87, 89, 106, 107, 113, 118, 119, 120, 121, 122, 38, 42, 44, 59, 88,
    90, 33, 34, 40, 41, 63, 39, 43, 124, 35, 62, 0, 36, 64, 91, 93, 126, 94, 125, 60, 96, 123, 92, 195, 208,
    128, 130, 131, 162, 184, 194, 224, 226, 153, 161, 167, 172, 176, 177, 179, 209, 216, 217, 227, 229, 230,
    129, 132, 133, 134, 136, 146, 154, 156, 160, 163, 164, 169, 170, 173, 178, 181, 185, 186, 187, 189, 190,
    196, 198, 228, 232, 233, 1, 135, 137, 138, 139, 140, 141, 143, 147, 149, 150, 151, 152, 155, 157, 158,
    165, 166, 168, 174, 175, 180, 182, 183, 188, 191, 197, 231, 239, 9, 142, 144, 145, 148, 159, 171, 206,
    215, 225, 236, 237, 199, 207, 234, 235, 192, 193, 200, 201, 202, 205, 210, 213, 218, 219, 238, 240, 242,
    243, 255, 203, 204, 211, 212, 214, 221, 222, 223, 241, 244, 245, 246, 247, 248, 250, 251, 252, 253, 254,
    2, 3, 4, 5, 6, 7, 8, 11, 12, 14, 15, 16, 17, 18, 19, 20, 21, 23, 24, 25, 26, 27, 28, 29, 30, 31, 127,
    220, 249, 10, 13, 22,
];

/// Appends the decoded text to `out`.
pub(super) fn decode(text: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
    let mut bits: u64 = 0;
    let mut held: u32 = 0;
    let mut input = text.iter();
    loop {
        while held <= 56 {
            let Some(byte) = input.next() else { break };
            bits |= u64::from(*byte) << (56 - held);
            held += 8;
        }
        let Some((symbol, length)) = first_symbol(bits, held)? else {
            break;
        };
        out.push(symbol);
        bits <<= length;
        held -= length;
    }
    // What is left is padding: fewer than 8 bits, all ones.
    if held > 7 || (held > 0 && bits >> (64 - held) != (1 << held) - 1) {
        return Err(Error("wrong padding of a Huffman string"));
    }
    Ok(())
}

/// The symbol whose code leads the `held` upper bits, and its length; `None` when they hold no whole code.
fn first_symbol(bits: u64, held: u32) -> Result<Option<(u8, u32)>, Error> {
    let mut code: u32 = 0;
    let mut index: u32 = 0;
    for length in SHORTEST..=LONGEST.min(held) {
        let count = u32::from(COUNTS.get(length as usize).copied().unwrap_or(0));
        let prefix = (bits >> (64 - length)) as u32;
        if prefix < code + count {
            return match SYMBOLS.get((index + prefix - code) as usize) {
                Some(symbol) => Ok(Some((*symbol, length))),
                None => Err(Error("EOS in a Huffman string")),
            };
        }
        code = (code + count) << 1;
        index += count;
    }
    Ok(None)
}
