//! Passwords that everybody knows, and whether a hash is of one of them.

use crate::crypt::{self, Field};
use crate::journal::sha256;

/// `user,password,source`, most tried first: the list of the Mirai source code, then those of firmwares.
const CSV: &str = include_str!("../data/default-credentials.csv");
/// The most verdicts that are remembered.
const MAX_REMEMBERED: usize = 256;

/// A pair that everybody knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// The user.
    pub user: &'static str,
    /// The password; may be empty.
    pub password: &'static str,
    /// Where it is known from.
    pub source: &'static str,
}

/// All known pairs.
pub fn known() -> impl Iterator<Item = Known> {
    CSV.lines().skip(1).filter_map(|line| {
        let mut fields = line.split(',');
        Some(Known {
            user: fields.next()?,
            password: fields.next()?,
            source: fields.next()?,
        })
    })
}

/// Whether a password in clear is one that everybody knows, for whatever user. The empty one is.
#[must_use]
pub fn is_known(password: &str) -> bool {
    known().any(|known| known.password == password)
}

/// What stands behind a password field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strength {
    /// No password is asked for.
    Empty,
    /// One that everybody knows.
    Known(Known),
    /// None of those.
    Own,
    /// No password fits.
    Locked,
    /// The hash is elsewhere.
    Shadowed,
    /// It could not be told, and why.
    Unknown(&'static str),
}

impl Strength {
    /// Whether strangers can log in.
    #[must_use]
    pub fn is_weak(self) -> bool {
        matches!(self, Self::Empty | Self::Known(_))
    }
}

/// Tests hashes, remembers verdicts, and stops at a budget: on a slow processor the list takes minutes.
#[derive(Debug)]
pub struct Checker {
    /// By SHA-256 of the hash: how many passwords of the list do not fit, and whether the next one does.
    seen: Vec<(String, usize, bool)>,
    budget: u64,
    changed: bool,
}

impl Checker {
    /// Knows nothing. `budget` is the work allowed, in units of [`crypt::cost`].
    #[must_use]
    pub fn new(budget: u64) -> Self {
        Self {
            seen: Vec::new(),
            budget,
            changed: false,
        }
    }

    /// Knows what an earlier one learned. Text that is damaged teaches nothing.
    #[must_use]
    pub fn with_memory(budget: u64, text: &str) -> Self {
        let mut checker = Self::new(budget);
        let mut lines = text.lines();
        // Another list, another verdict.
        if lines.next() != Some(&sha256(CSV.as_bytes())) {
            return checker;
        }
        for line in lines.take(MAX_REMEMBERED) {
            let mut fields = line.split(' ');
            if let (Some(hash), Some(Ok(tried)), Some(fits)) =
                (fields.next(), fields.next().map(str::parse), fields.next())
            {
                checker.learn(hash.to_owned(), tried, fits == "1");
            }
        }
        checker
    }

    /// What was learned, if it is more than was remembered.
    #[must_use]
    pub fn memory(&self) -> Option<String> {
        if !self.changed {
            return None;
        }
        let mut text = sha256(CSV.as_bytes()) + "\n";
        for (hash, tried, fits) in self.seen.iter().take(MAX_REMEMBERED) {
            text.push_str(&format!("{hash} {tried} {}\n", u8::from(*fits)));
        }
        Some(text)
    }

    /// Tells that a hash is of a password that nobody knows: one that was just made.
    pub fn trust(&mut self, hash: &str) {
        let all = known().count();
        self.learn(sha256(hash.as_bytes()), all, false);
        self.changed = true;
    }

    fn learn(&mut self, hash: String, tried: usize, fits: bool) {
        match self.seen.iter_mut().find(|(have, ..)| *have == hash) {
            Some(seen) => (seen.1, seen.2) = (tried, fits),
            None => self.seen.push((hash, tried, fits)),
        }
    }

    /// Judges a password field.
    pub fn judge(&mut self, field: &str) -> Strength {
        match crypt::classify(field) {
            Field::Empty => return Strength::Empty,
            Field::Locked => return Strength::Locked,
            Field::Shadowed => return Strength::Shadowed,
            Field::Unknown => return Strength::Unknown("its hash is of a kind that is not computed here"),
            Field::Hash(_) | Field::Bcrypt => {}
        }
        let key = sha256(field.as_bytes());
        let seen = self.seen.iter().find(|(hash, ..)| *hash == key);
        let (mut tried, mut fits) = seen.map_or((0, false), |(_, tried, fits)| (*tried, *fits));
        let cost = u64::from(crypt::cost(field));
        while !fits {
            let Some(next) = known().nth(tried) else {
                return Strength::Own;
            };
            // Users differ more than passwords.
            let repeated = known().take(tried).any(|known| known.password == next.password);
            if !repeated {
                if self.budget < cost {
                    return Strength::Unknown("not all known passwords were tried yet; the next run goes on");
                }
                self.budget -= cost;
                fits = crypt::verify(field, next.password.as_bytes()) == Some(true);
            }
            if !fits {
                tried += 1;
            }
            self.learn(key.clone(), tried, fits);
            self.changed = true;
        }
        known().nth(tried).map_or(Strength::Own, Strength::Known)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypt::{Scheme, hash};

    #[test]
    fn the_list_is_whole() {
        assert!(known().count() >= 80);
        for (user, password) in [
            ("root", "xc3511"),
            ("root", ""),
            ("root", "xmhdipc"),
            ("root", "ismart12"),
            ("root", "hiklinux"),
            ("thingino", "thingino"),
            ("root", "12345"),
            ("mother", "fucker"),
        ] {
            assert!(
                known().any(|known| known.user == user && known.password == password),
                "{password}"
            );
        }
        assert_eq!(known().filter(|known| known.source == "mirai").count(), 61);
    }

    #[test]
    fn weak_hashes_are_told_from_own_ones() {
        let mut checker = Checker::new(u64::MAX);
        for scheme in [Scheme::Des, Scheme::Md5, Scheme::Sha256, Scheme::Sha512] {
            let weak = hash(scheme, b"ismart12", &[scheme as u8; 16]);
            assert!(matches!(checker.judge(&weak), Strength::Known(known) if known.source == "dafang"));
            let own = hash(scheme, b"w8Zq0mTq", &[3; 16]);
            assert_eq!(checker.judge(&own), Strength::Own);
        }
        let bcrypt = "$2y$05$abcdefghijklmnopqrstuus5tHJ8Pk2iuRkwUSRwL8QyDtDv7FGCe";
        assert!(matches!(checker.judge(bcrypt), Strength::Known(known) if known.password == "xc3511"));
        assert_eq!(checker.judge(""), Strength::Empty);
        assert_eq!(checker.judge("!x"), Strength::Locked);
        assert!(matches!(checker.judge("$y$j9T$a$b"), Strength::Unknown(_)));
    }

    #[test]
    fn a_slow_processor_goes_on_where_it_stopped() {
        let own = hash(Scheme::Md5, b"w8Zq0mTq", &[3; 16]);
        let once = u64::from(crypt::cost(&own));
        let mut memory = String::new();
        let mut runs = 0;
        loop {
            let mut checker = Checker::with_memory(once * 20, &memory);
            runs += 1;
            let strength = checker.judge(&own);
            memory = checker.memory().unwrap();
            if strength == Strength::Own {
                break;
            }
            assert!(matches!(strength, Strength::Unknown(_)));
            assert!(runs < 10);
        }
        assert!(runs > 2);
        let mut checker = Checker::with_memory(0, &memory);
        assert_eq!(checker.judge(&own), Strength::Own);
        assert_eq!(checker.memory(), None);
        let _ = Checker::with_memory(0, "damage\n\u{0} x y");
    }
}
