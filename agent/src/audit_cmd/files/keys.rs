//! Private keys: which the camera made, and which came with the image or are published.

use base64ct::{Base64, Encoding as _};
use lenscap_audit::facts::{Fact, Key, Missing, Origin};
use lenscap_harden::root::{Root, name_of};
use ring::digest::{SHA256, digest};

use super::starts::hex;
use super::{Layers, Walked, missing};

/// What is read of a key.
const MAX_KEY_BYTES: u64 = 16 * 1024;
/// Keys that are published.
const PUBLISHED_KEYS: &str = include_str!("../../../data/published-keys.csv");

#[inline(never)]
pub(super) fn all(root: &Root, walked: &Walked, layers: &Layers, mounts: &str) -> Fact<Vec<Key>> {
    let mut keys = Vec::new();
    for path in &walked.keys {
        let origin = match root.head(path, MAX_KEY_BYTES) {
            Ok(text) if is_private(path, &text) => origin(root, path, &text, layers, mounts),
            Ok(_) => continue,
            Err(error) => Origin::Unknown(missing(&error)),
        };
        keys.push(Key {
            path: path.clone(),
            origin,
        });
    }
    if walked.cut {
        keys.push(Key {
            path: "*key* *.pem".into(),
            origin: Origin::Unknown(Missing::because("there are too many to look at")),
        });
    }
    if !walked.complete && keys.is_empty() {
        return Fact::missing("keys", Missing::because("not all folders could be looked at"));
    }
    Fact::seen("*key* id_* *.pem *.der *.crt", keys)
}

/// Whether a file may be a key by its name: what it holds tells.
pub(super) fn is_named(path: &str) -> bool {
    let name = name_of(path).to_ascii_lowercase();
    let odd = [
        ".so", ".ko", ".js", ".html", ".htm", ".lua", ".cgi", ".sh", ".py", ".css", ".svg", ".png", ".pub",
        ".list",
    ];
    let known = [".pem", ".der", ".crt", ".cert", ".p8", ".pk8"];
    known.iter().any(|end| name.ends_with(end))
        || name.starts_with("id_")
        || name.contains("key") && !odd.iter().any(|end| name.ends_with(end))
}

fn is_private(path: &str, text: &[u8]) -> bool {
    let dropbear = name_of(path).starts_with("dropbear_") && !text.starts_with(b"ssh-");
    dropbear || lenscap_harden::survey::contains(text, b"PRIVATE KEY-----") || is_der(text)
}

/// Whether it begins as a private key in DER does: PKCS #1 (RFC 8017), SEC 1 (RFC 5915), PKCS #8 (RFC 5958).
fn is_der(text: &[u8]) -> bool {
    // A sequence, as long as the file, of a small number and what follows it.
    let (length, rest) = match text {
        [0x30, 0x82, high, low, rest @ ..] => (usize::from(*high) << 8 | usize::from(*low), rest),
        [0x30, 0x81, length, rest @ ..] => (usize::from(*length), rest),
        [0x30, length @ 0..=0x7f, rest @ ..] => (usize::from(*length), rest),
        _ => return false,
    };
    rest.len() == length && matches!(rest, [0x02, 0x01, 0x00 | 0x01, 0x02 | 0x04 | 0x30, ..])
}

#[inline(never)]
fn origin(root: &Root, path: &str, text: &[u8], layers: &Layers, mounts: &str) -> Origin {
    match (
        published(text, PUBLISHED_KEYS),
        layers.is_firmware(root, path, mounts),
    ) {
        (Some(place), _) => Origin::Published(place.to_owned()),
        (None, Some(true)) => Origin::Image,
        (None, Some(false)) => Origin::Own,
        (None, None) => Origin::Unknown(Missing::because(
            "no layer of the firmware to compare with: compare the key with another camera's",
        )),
    }
}

/// Where a key in PEM form (RFC 7468), or its DER, is published.
fn published<'l>(text: &[u8], list: &'l str) -> Option<&'l str> {
    let body: String = if is_der(text) {
        Base64::encode_string(text)
    } else {
        let text = str::from_utf8(text).ok()?;
        let (_, rest) = text.split_once("PRIVATE KEY-----")?;
        let (body, _) = rest.split_once("-----END")?;
        body.split_whitespace().collect()
    };
    let hash = hex(digest(&SHA256, body.as_bytes()).as_ref());
    list.lines()
        .find_map(|line| line.strip_prefix(&hash)?.strip_prefix(','))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_keys_are_known_however_they_are_broken() {
        let hash = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let list = format!("# x\n{hash},somewhere\n");
        for text in [
            "-----BEGIN PRIVATE KEY-----\nabc\n-----END PRIVATE KEY-----\n",
            "x\n-----BEGIN EC PRIVATE KEY-----\r\nab\r\nc\r\n-----END EC PRIVATE KEY-----",
        ] {
            assert_eq!(published(text.as_bytes(), &list), Some("somewhere"));
            assert_eq!(published(text.as_bytes(), PUBLISHED_KEYS), None);
        }
        assert_eq!(
            published(b"-----BEGIN PRIVATE KEY-----\nabd\n-----END", &list),
            None
        );
        assert_eq!(published(b"\xff", &list), None);
        let lines = PUBLISHED_KEYS.lines().skip(1);
        assert!(lines.clone().count() >= 3 && lines.into_iter().all(|line| line.find(',') == Some(64)));
    }

    #[test]
    fn keys_are_known_by_what_they_hold() {
        let der = |inside: &[u8]| [&[0x30, u8::try_from(inside.len()).unwrap()], inside].concat();
        for inside in [&[2, 1, 0, 2, 1, 5][..], &[2, 1, 1, 4, 1, 5], &[2, 1, 0, 0x30, 0]] {
            assert!(is_private("/etc/uhttpd.key", &der(inside)), "{inside:?}");
            assert!(!is_private("/etc/uhttpd.key", &[&der(inside)[..], &[0]].concat()));
        }
        // A certificate.
        assert!(!is_private("/etc/uhttpd.crt", &der(&[0x30, 2, 2, 0])));
        for path in [
            "/etc/uhttpd.key",
            "/root/.ssh/id_rsa",
            "/etc/server.crt",
            "/etc/privkey",
            "/etc/ssl/certs/server.pem",
            "/etc/dropbear/dropbear_rsa_host_key",
        ] {
            assert!(is_named(path), "{path}");
        }
        for path in ["/www/keyboard.js", "/etc/passwd", "/lib/modules/keys.ko"] {
            assert!(!is_named(path), "{path}");
        }
    }

    #[test]
    fn a_published_key_is_known_in_der_too() {
        let key = [0x30, 6, 2, 1, 0, 2, 1, 5];
        let list = format!(
            "{},here\n",
            hex(digest(&SHA256, Base64::encode_string(&key).as_bytes()).as_ref())
        );
        assert_eq!(published(&key, &list), Some("here"));
    }
}
