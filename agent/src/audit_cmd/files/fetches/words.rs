//! Words of commands: their options, and the programs that only start others.

use lenscap_harden::root::name_of;

use super::super::starts::server;
use super::{RESERVED, WRAPPERS};

/// The words of a command that are no options, nor the values of these.
pub(super) fn operands<'w>(words: &'w [String], valued: &[&str]) -> Vec<&'w str> {
    let mut out = Vec::new();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if valued.contains(&word.as_str()) {
            words.next();
        } else if !word.starts_with('-') {
            out.push(word.as_str());
        }
    }
    out
}

/// What is said of a program that fetches: whom it asks, and nothing else of its words.
pub(super) fn said(name: &str, rest: &[String]) -> String {
    format!("fetches and runs: `{name}`{}", server(rest.join(" ").as_bytes()))
}

pub(in crate::audit_cmd::files) fn is_assignment(word: &str) -> bool {
    word.split_once('=').is_some_and(|(name, _)| {
        !name.is_empty()
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    })
}

/// Whether a word has this short option, alone or among others.
pub(in crate::audit_cmd::files) fn is_flag(word: &str, flag: char) -> bool {
    word.starts_with('-') && !word.starts_with("--") && word.contains(flag)
}

/// The value of an option: the next word, what follows `=`, or the rest of the word.
pub(super) fn value<'w>(words: &'w [String], names: &[&str]) -> Option<&'w str> {
    for (n, word) in words.iter().enumerate() {
        for name in names {
            let long = name.starts_with("--");
            let Some(rest) = word.strip_prefix(name) else {
                // `-qO-` and `-qO file`.
                let flag = name.chars().nth(1).filter(|_| !long && name.len() == 2);
                let at = flag
                    .filter(|flag| is_flag(word, *flag))
                    .and_then(|flag| word.find(flag));
                match at.and_then(|at| word.get(at + 1..)) {
                    None => continue,
                    Some("") => return words.get(n + 1).map(String::as_str),
                    Some(rest) => return Some(rest),
                }
            };
            return match rest.strip_prefix('=').filter(|_| long) {
                Some(value) => Some(value),
                None if rest.is_empty() => words.get(n + 1).map(String::as_str),
                None if long => continue,
                None => Some(rest),
            };
        }
    }
    None
}

/// A mode of chmod(1) that makes a program.
pub(super) fn gives_execution(mode: &str) -> bool {
    let odd = |digit: u8| digit.is_ascii_digit() && digit % 2 == 1;
    if !mode.is_empty() && mode.bytes().all(|byte| byte.is_ascii_digit()) {
        return mode.len() >= 3 && mode.bytes().rev().take(3).any(odd);
    }
    mode.split_once(['+', '='])
        .is_some_and(|(who, what)| who.bytes().all(|byte| b"ugoa".contains(&byte)) && what.contains('x'))
}

/// A command behind the words and programs that only start it.
pub(super) fn unwrap(mut words: &[String]) -> &[String] {
    loop {
        words = match words {
            [head, rest @ ..] if RESERVED.contains(&head.as_str()) || is_assignment(head) => rest,
            [head, rest @ ..] if WRAPPERS.contains(&name_of(head)) => {
                // Its own options and numbers.
                let own = |word: &&String| {
                    word.starts_with('-') || word.bytes().next().is_some_and(|byte| byte.is_ascii_digit())
                };
                rest.get(rest.iter().take_while(own).count()..)
                    .unwrap_or_default()
            }
            words => return words,
        };
    }
}
