//! SSH host keys that other devices have as well: whoever has one of those devices can pose as this one.
//!
//! A key is known to be shared when it is on the public list, when it is part of the firmware's image, or when the tree
//! that becomes an image holds it.

use ring::digest::{SHA256, digest};

use crate::edits::Edits;
use crate::report::{Measure, Status};
use crate::root::{Root, name_of};

/// `fingerprint,product`: the first 16 characters of the SHA-256 as OpenSSH shows it, of host keys that were found in
/// more than one device and published.
const CSV: &str = include_str!("../data/shared-host-keys.csv");
const FINGERPRINT: usize = 16;
/// Where servers keep them: Dropbear's own form, and OpenSSH's public halves.
const FILES: &[&str] = &[
    "/etc/dropbear/dropbear_rsa_host_key",
    "/etc/dropbear/dropbear_dss_host_key",
    "/etc/dropbear/dropbear_ecdsa_host_key",
    "/etc/dropbear/dropbear_ed25519_host_key",
    "/etc/ssh/ssh_host_rsa_key.pub",
    "/etc/ssh/ssh_host_dsa_key.pub",
    "/etc/ssh/ssh_host_ecdsa_key.pub",
    "/etc/ssh/ssh_host_ed25519_key.pub",
];
const MAX_STRINGS: usize = 8;
const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// A host key that is shared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shared {
    /// Its file.
    pub path: &'static str,
    /// How that is known.
    pub why: String,
    /// What Dropbear's key program calls its kind; `None`: it is not Dropbear's, or of a kind that is no longer made.
    pub kind: Option<&'static str>,
}

/// The host keys of a root that are known to be shared.
#[must_use]
pub fn shared(root: &Root) -> Vec<Shared> {
    let mut found = Vec::new();
    for path in FILES {
        let Ok(contents) = root.read(path) else {
            continue;
        };
        let known = fingerprint(&contents).and_then(|print| known(&print));
        let why = if let Some(product) = known {
            format!("everybody can have it: it was published, from {product}")
        } else if root
            .read(&format!("/rom{path}"))
            .is_ok_and(|below| below == contents)
        {
            "it is part of the firmware's image: every camera of this kind has it".into()
        } else if !root.is_live() {
            "it is part of the image: every camera will have it".into()
        } else {
            continue;
        };
        let kind = ["rsa", "ecdsa", "ed25519"]
            .into_iter()
            .find(|kind| name_of(path) == format!("dropbear_{kind}_host_key"));
        found.push(Shared { path, why, kind });
    }
    found
}

/// Tells them. A running camera gets others where Dropbear's key program is.
pub(crate) fn report(edits: &mut Edits<'_>) {
    for key in shared(edits.root()) {
        let text = format!("the SSH host key is shared: {}", key.why);
        edits.find(Measure::Credentials, Status::Fails, Some((key.path, 0)), text);
    }
}

fn known(fingerprint: &str) -> Option<&'static str> {
    let mut lines = CSV.lines().skip(1).filter_map(|line| line.split_once(','));
    lines
        .find(|(have, _)| fingerprint.get(..FINGERPRINT) == Some(have))
        .map(|(_, product)| product)
}

/// The SHA-256 of a public key as OpenSSH shows it, without the `SHA256:`. `None`: it is no key.
fn fingerprint(contents: &[u8]) -> Option<String> {
    let blob = match std::str::from_utf8(contents)
        .ok()
        .and_then(|text| text.split(' ').nth(1))
    {
        Some(word) => decode(word.trim_end())?,
        None => dropbear_blob(contents)?,
    };
    Some(encode(digest(&SHA256, &blob).as_ref()))
}

/// The public part of a private key in Dropbear's form: the first strings of it (RFC 4251, section 5; RFC 4253, section
/// 6.6; RFC 5656, section 3.1).
fn dropbear_blob(contents: &[u8]) -> Option<Vec<u8>> {
    let mut strings = Vec::new();
    let mut rest = contents;
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        let (string, after) = after.split_at_checked(length)?;
        strings.push(string);
        rest = after;
        if strings.len() == MAX_STRINGS {
            break;
        }
    }
    let public = match *strings.first()? {
        b"ssh-rsa" => 3,
        b"ssh-dss" => 5,
        name if name.starts_with(b"ecdsa-sha2-") => 3,
        // The seed and the public key are one string there.
        b"ssh-ed25519" => {
            let key = strings.get(1)?.get(32..64)?;
            return Some(join(&[b"ssh-ed25519", key]));
        }
        _ => return None,
    };
    strings.get(..public).map(join)
}

fn join(strings: &[&[u8]]) -> Vec<u8> {
    let mut blob = Vec::new();
    for string in strings {
        blob.extend_from_slice(&u32::try_from(string.len()).unwrap_or(0).to_be_bytes());
        blob.extend_from_slice(string);
    }
    blob
}

fn encode(bytes: &[u8]) -> String {
    let mut text = String::new();
    let (mut bits, mut count) = (0u32, 0);
    for byte in bytes {
        bits = bits << 8 | u32::from(*byte);
        count += 8;
        while count >= 6 {
            count -= 6;
            text.push(char::from(BASE64[(bits >> count & 63) as usize]));
        }
    }
    if count > 0 {
        text.push(char::from(BASE64[(bits << (6 - count) & 63) as usize]));
    }
    text
}

fn decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let (mut bits, mut count) = (0u32, 0);
    for character in text.trim_end_matches('=').bytes() {
        let value = BASE64.iter().position(|known| *known == character)?;
        bits = bits << 6 | u32::try_from(value).ok()?;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
            bits &= (1 << count) - 1;
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::process::Command;

    /// An IP camera's, which the list has.
    const TRENDNET: &str = "kTEn/MpGqbKcbRbB";

    #[test]
    fn the_list_is_whole() {
        assert!(CSV.lines().count() >= 50);
        assert_eq!(known(&format!("{TRENDNET}rest")), Some("Trendnet tvip310pi"));
        assert!(CSV.lines().skip(1).all(|line| {
            line.split_once(',')
                .is_some_and(|(print, _)| print.len() == FINGERPRINT)
        }));
        assert_eq!(known("short"), None);
    }

    #[test]
    fn fingerprints_are_dropbears_own() {
        let dir = tempfile::tempdir().unwrap();
        for kind in ["rsa", "ecdsa", "ed25519"] {
            let path = dir.path().join(kind);
            let run = |args: &[&str]| {
                let output = Command::new("dropbearkey")
                    .args(args)
                    .arg("-f")
                    .arg(&path)
                    .output();
                let output = output
                    .unwrap_or_else(|error| panic!("dropbearkey: {error}; Debian's package dropbear-bin"));
                String::from_utf8(output.stdout).unwrap()
            };
            run(&["-t", kind]);
            let shown = run(&["-y"]);
            let private = fs::read(&path).unwrap();
            let own = fingerprint(&private).unwrap();
            assert!(shown.contains(&own), "{kind}: {own}\n{shown}");
            // The public half, as OpenSSH has it in a file.
            let public = shown.lines().find(|line| line.contains("AAAA")).unwrap();
            assert_eq!(fingerprint(public.as_bytes()).as_ref(), Some(&own));
            for cut in 0..private.len() {
                let _ = fingerprint(&private[..cut]);
            }
        }
        assert_eq!(fingerprint(b""), None);
        assert_eq!(fingerprint(b"\xff\xff\xff\xff"), None);
        assert_eq!(fingerprint(b"ssh-rsa \x00"), None);
    }

    #[test]
    fn a_key_in_an_image_is_shared() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("etc/dropbear")).unwrap();
        fs::write(dir.path().join("etc/dropbear/dropbear_rsa_host_key"), "key").unwrap();
        let root = Root::tree(dir.path()).unwrap();
        let mut edits = Edits::new(&root);
        report(&mut edits);
        assert_eq!(edits.findings[0].status, Status::Fails);
        assert_eq!(shared(&root)[0].kind, Some("rsa"));
    }
}
