//! MD5-crypt, `$1$`: FreeBSD's scheme of 1994.

use super::encode24;

const ROUNDS: usize = 1000;
const MAX_SALT: usize = 8;
/// Which bytes of the digest make each group of four characters.
const ORDER: [[usize; 3]; 5] = [[0, 6, 12], [1, 7, 13], [2, 8, 14], [3, 9, 15], [4, 10, 5]];

/// `crypt(password, setting)` of a setting that starts with `$1$`.
pub(super) fn crypt(password: &[u8], setting: &str) -> String {
    let salt = setting.get(3..).unwrap_or_default();
    let salt = salt.split('$').next().unwrap_or_default();
    let salt = match salt.char_indices().nth(MAX_SALT) {
        Some((end, _)) => salt.get(..end).unwrap_or_default(),
        None => salt,
    };
    let digest = digest(password, salt.as_bytes());
    let mut out = format!("$1${salt}$");
    for [a, b, c] in ORDER {
        encode24(&mut out, [digest[a], digest[b], digest[c]], 4);
    }
    encode24(&mut out, [0, 0, digest[11]], 2);
    out
}

fn digest(password: &[u8], salt: &[u8]) -> [u8; 16] {
    let inner = md5(&[password, salt, password]);
    let mut text = [password, b"$1$", salt].concat();
    let mut left = password.len();
    while left > 0 {
        let take = left.min(16);
        text.extend_from_slice(&inner[..take]);
        left -= take;
    }
    let mut bits = password.len();
    while bits > 0 {
        // Historic: a set bit adds a zero, a clear one the password's first byte.
        text.extend_from_slice(if bits & 1 == 1 { &[0][..] } else { &password[..1] });
        bits >>= 1;
    }
    let mut digest = md5(&[&text]);
    for round in 0..ROUNDS {
        let odd = round % 2 == 1;
        let parts = [
            if odd { password } else { &digest },
            if round % 3 == 0 { &[] } else { salt },
            if round % 7 == 0 { &[] } else { password },
            if odd { &digest } else { password },
        ];
        digest = md5(&parts);
    }
    digest
}

fn md5(parts: &[&[u8]]) -> [u8; 16] {
    lenscap_md5::md5(&parts.concat())
}
