//! An audit as a camera sent it, and what of it goes into metrics. Everything here comes from a camera, which may lie.

use serde::Deserialize;
use serde::de::Error as _;
use serde_json::Value;
use thiserror::Error;

/// Largest audit, in bytes.
pub const MAX_AUDIT_BYTES: usize = 512 << 10;
/// Most rules that are read of an audit.
pub const MAX_RULES: usize = 256;
/// Longest id of a rule.
const MAX_ID_BYTES: usize = 64;

/// Why an audit is of no use.
#[derive(Debug, Error)]
pub enum BadAudit {
    /// It is no JSON, or not of the form. serde's own words are not said: they quote what the camera sent.
    #[error("not an audit (line {}, column {})", .0.line(), .0.column())]
    Json(#[from] serde_json::Error),
    /// Too many rules.
    #[error("more than {MAX_RULES} rules")]
    TooMany,
}

/// XCCDF's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It holds.
    Pass,
    /// It does not.
    Fail,
    /// It could not be told.
    Unknown,
    /// Judging failed.
    Error,
    /// It makes no sense on this camera.
    NotApplicable,
    /// It was not looked at.
    NotChecked,
}

impl Verdict {
    /// Every one.
    pub const ALL: [Self; 6] = [
        Self::Pass,
        Self::Fail,
        Self::Unknown,
        Self::Error,
        Self::NotApplicable,
        Self::NotChecked,
    ];

    /// The word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Unknown => "unknown",
            Self::Error => "error",
            Self::NotApplicable => "notapplicable",
            Self::NotChecked => "notchecked",
        }
    }
}

/// What is read of an audit. The whole goes to whoever asks, as it came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Rules and their verdicts, in the camera's order, each rule once.
    pub rules: Vec<(String, Verdict)>,
}

#[derive(Deserialize)]
struct Raw {
    rules: Vec<RawRule>,
}

#[derive(Deserialize)]
struct RawRule {
    id: String,
    verdict: Verdict,
}

impl Summary {
    /// Reads an audit: an object with `rules`, each with `id` and `verdict`. Rules with odd ids are left out.
    ///
    /// # Errors
    /// See [`BadAudit`].
    pub fn parse(body: &[u8]) -> Result<Self, BadAudit> {
        // The whole of it goes on to others, so the whole of it has to be JSON; nesting is bounded by serde_json.
        let whole: Value = serde_json::from_slice(body)?;
        if !whole.is_object() {
            return Err(serde_json::Error::custom("not an object").into());
        }
        // From the text, which refuses a key that comes twice: readers differ in which of the two they take.
        let Raw { rules } = serde_json::from_slice(body)?;
        if rules.len() > MAX_RULES {
            return Err(BadAudit::TooMany);
        }
        let mut summary = Self::default();
        for RawRule { id, verdict } in rules {
            if is_plain(&id) && !summary.rules.iter().any(|(known, _)| *known == id) {
                summary.rules.push((id, verdict));
            }
        }
        Ok(summary)
    }
}

fn is_plain(id: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:/".contains(&byte);
    !id.is_empty() && id.len() <= MAX_ID_BYTES && id.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rules_and_verdicts_are_read() {
        let body = br#"{"format":"x/1","rules":[{"id":"telnet.off","verdict":"fail","evidence":[{"text":"..."}]},
            {"id":"clock","verdict":"notapplicable"},{"id":"telnet.off","verdict":"pass"},{"id":"a\"b","verdict":"pass"}]}"#;
        let summary = Summary::parse(body).unwrap();
        let expected = [("telnet.off", Verdict::Fail), ("clock", Verdict::NotApplicable)];
        assert_eq!(
            summary.rules,
            expected.map(|(id, verdict)| (id.to_owned(), verdict))
        );
    }

    #[test]
    fn what_is_no_audit_is_refused() {
        let many = format!(
            "{{\"rules\":[{}]}}",
            vec![r#"{"id":"a","verdict":"pass"}"#; MAX_RULES + 1].join(",")
        );
        for bad in [
            "",
            "{}",
            "[]",
            "{\"rules\":1}",
            "[[[\"a\",\"pass\"]]]",
            "{\"rules\":[{\"id\":\"a\"}]}",
            "{\"rules\":[]} x",
            "{\"rules\":[{\"id\":\"a\",\"verdict\":\"fail\"}],\"rules\":[]}",
            "{\"rules\":[],\"r\\u0075les\":[]}",
            "{\"rules\":[{\"id\":\"a\",\"verdict\":\"fail\",\"verdict\":\"pass\"}]}",
            "{\"rules\":[{\"id\":\"a\",\"verdict\":\"great\"}]}",
            &many,
            &"[".repeat(10_000),
            &format!(
                "{{\"rules\":[],\"deep\":{}1{}}}",
                "[".repeat(200),
                "]".repeat(200)
            ),
        ] {
            let said = Summary::parse(bad.as_bytes()).expect_err(bad).to_string();
            assert!(!said.contains("great"), "{said}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Summary::parse(&bytes);
        }
    }
}
