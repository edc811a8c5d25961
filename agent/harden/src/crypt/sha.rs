//! SHA-crypt, `$5$` and `$6$`: Drepper's scheme, "Unix crypt using SHA-256 and SHA-512", 2007.

use ring::digest::{Algorithm, Context, Digest, SHA256, SHA512};

use super::{Scheme, encode24};

const DEFAULT_ROUNDS: u32 = 5000;
const MIN_ROUNDS: u32 = 1000;
const MAX_ROUNDS: u32 = 999_999_999;
const MAX_SALT: usize = 16;

/// What stands before the hash.
pub(super) struct Parsed<'a> {
    pub(super) scheme: Scheme,
    pub(super) rounds: u32,
    /// Whether the number is written out.
    explicit: bool,
    salt: &'a str,
}

impl<'a> Parsed<'a> {
    pub(super) fn new(scheme: Scheme, salt: &'a str) -> Self {
        Self {
            scheme,
            rounds: DEFAULT_ROUNDS,
            explicit: false,
            salt,
        }
    }
}

pub(super) fn parse(setting: &str) -> Option<Parsed<'_>> {
    let scheme = match setting.get(..3)? {
        "$5$" => Scheme::Sha256,
        "$6$" => Scheme::Sha512,
        _ => return None,
    };
    let mut rest = setting.get(3..)?;
    let mut parsed = Parsed::new(scheme, "");
    if let Some((number, after)) = rest.strip_prefix("rounds=").and_then(|text| text.split_once('$')) {
        let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        let number: u64 = if digits {
            number.parse().unwrap_or(u64::MAX)
        } else {
            return None;
        };
        parsed.rounds = u32::try_from(number)
            .unwrap_or(MAX_ROUNDS)
            .clamp(MIN_ROUNDS, MAX_ROUNDS);
        parsed.explicit = true;
        rest = after;
    }
    let salt = rest.split('$').next().unwrap_or_default();
    parsed.salt = match salt.char_indices().nth(MAX_SALT) {
        Some((end, _)) => salt.get(..end)?,
        None => salt,
    };
    Some(parsed)
}

/// `crypt(password, setting)`.
pub(super) fn crypt(password: &[u8], setting: &Parsed<'_>) -> String {
    let Parsed {
        scheme,
        rounds,
        explicit,
        salt,
    } = setting;
    let long = *scheme == Scheme::Sha512;
    let digest = digest(
        if long { &SHA512 } else { &SHA256 },
        password,
        salt.as_bytes(),
        *rounds,
    );
    let mut out = String::from(if long { "$6$" } else { "$5$" });
    if *explicit {
        out.push_str(&format!("rounds={rounds}$"));
    }
    out.push_str(salt);
    out.push('$');
    encode(&mut out, digest.as_ref());
    out
}

/// The digest's bytes come in groups of three, a third of the digest apart, turning by one place each time.
fn encode(out: &mut String, digest: &[u8]) {
    let groups = digest.len() / 3;
    // SHA-512 turns the other way round than SHA-256.
    let turn = if digest.len() == 64 { 1 } else { 2 };
    for index in 0..groups {
        let at = |place: usize| digest[index + groups * ((place + turn * index) % 3)];
        encode24(out, [at(0), at(1), at(2)], 4);
    }
    match digest {
        [.., a, b] if digest.len() == 32 => encode24(out, [0, *b, *a], 3),
        [.., last] => encode24(out, [0, 0, *last], 2),
        [] => {}
    }
}

fn digest(algorithm: &'static Algorithm, password: &[u8], salt: &[u8], rounds: u32) -> Digest {
    let inner = all(algorithm, &[password, salt, password]);
    let mut context = Context::new(algorithm);
    context.update(password);
    context.update(salt);
    repeat(inner.as_ref(), password.len(), |part| context.update(part));
    let mut bits = password.len();
    while bits > 0 {
        context.update(if bits & 1 == 1 { inner.as_ref() } else { password });
        bits >>= 1;
    }
    let mut digest = context.finish();

    let mut context = Context::new(algorithm);
    for _ in 0..password.len() {
        context.update(password);
    }
    let hashed = context.finish();
    let mut p = Vec::with_capacity(password.len());
    repeat(hashed.as_ref(), password.len(), |part| p.extend_from_slice(part));

    let mut context = Context::new(algorithm);
    for _ in 0..16 + u32::from(digest.as_ref()[0]) {
        context.update(salt);
    }
    let hashed = context.finish();
    let mut s = Vec::with_capacity(salt.len());
    repeat(hashed.as_ref(), salt.len(), |part| s.extend_from_slice(part));

    for round in 0..rounds {
        let odd = round % 2 == 1;
        let parts = [
            if odd { &p } else { digest.as_ref() },
            if round % 3 == 0 { &[] } else { &s },
            if round % 7 == 0 { &[] } else { &p },
            if odd { digest.as_ref() } else { &p },
        ];
        digest = all(algorithm, &parts);
    }
    digest
}

fn all(algorithm: &'static Algorithm, parts: &[&[u8]]) -> Digest {
    let mut context = Context::new(algorithm);
    for part in parts {
        context.update(part);
    }
    context.finish()
}

/// Gives `length` bytes of a text that is repeated as often as needed.
fn repeat(text: &[u8], length: usize, mut take: impl FnMut(&[u8])) {
    let mut left = length;
    while left > 0 {
        let part = text.get(..left).unwrap_or(text);
        take(part);
        left -= part.len();
    }
}
