//! How DVRIP says a password: MD5, of which each two bytes make one of 62 characters. 47 bits of a password count.

use lenscap_md5::md5;

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// The eight characters for a password.
#[must_use]
pub fn dvrip_hash(password: &str) -> String {
    md5(password.as_bytes())
        .chunks_exact(2)
        .map(|pair| pair.iter().map(|byte| usize::from(*byte)).sum::<usize>() % DIGITS.len())
        .map(|digit| char::from(DIGITS[digit]))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_as_cameras_have_it() {
        // As they stand in the configurations of XiongMai's cameras.
        for (password, hash) in [("", "tlJwpbo6"), ("admin", "6QNMIQGe"), ("123456", "nTBCS19C")] {
            assert_eq!(dvrip_hash(password), hash, "{password}");
        }
    }
}
