//! What requests carry: JSON bodies and queries.

use axum::body::Bytes;
use axum::http::StatusCode;
use axum::response::Response;
use serde::de::DeserializeOwned;

use super::reply::problem;

/// A JSON body; an empty one is an empty object.
pub(super) fn json<T: DeserializeOwned>(body: &Bytes) -> Result<T, Box<Response>> {
    let text: &[u8] = if body.trim_ascii().is_empty() { b"{}" } else { body };
    // serde's message names the field and the place, and no value of a string.
    serde_json::from_slice(text).map_err(|error| {
        let why = match error.classify() {
            serde_json::error::Category::Data => {
                format!("the body is not what it should be: {}", safe(&error))
            }
            _ => format!(
                "the body is no JSON (line {}, column {})",
                error.line(),
                error.column()
            ),
        };
        Box::new(problem(StatusCode::BAD_REQUEST, &why))
    })
}

/// What serde says, unless it quotes what was given: that may be a PIN or a password.
fn safe(error: &serde_json::Error) -> String {
    let text = error.to_string();
    if text.starts_with("missing field") || text.starts_with("unknown field") {
        text
    } else {
        format!(
            "a value of the wrong kind at line {}, column {}",
            error.line(),
            error.column()
        )
    }
}

/// The parameters of a query.
#[derive(Default)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    /// Reads them; an error for escapes that are none, for text that is not UTF-8, and for names not in `known`.
    pub(super) fn parse(query: Option<&str>, known: &[&str]) -> Result<Self, Box<Response>> {
        let bad = |why: &str| Box::new(problem(StatusCode::BAD_REQUEST, why));
        let mut found = Vec::new();
        for part in query
            .unwrap_or_default()
            .split('&')
            .filter(|part| !part.is_empty())
        {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let decoded = decode(name).zip(decode(value));
            let (name, value) = decoded.ok_or_else(|| bad("the query has an escape that is none"))?;
            if !known.contains(&name.as_str()) {
                return Err(bad(&format!("the query knows only: {}", known.join(", "))));
            }
            if found.iter().any(|(other, _)| *other == name) {
                return Err(bad(&format!("{name} is in the query twice")));
            }
            found.push((name, value));
        }
        Ok(Self(found))
    }

    /// A parameter's text.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        self.0
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.clone())
    }

    /// A parameter that is a number.
    pub(super) fn number(&self, name: &str) -> Result<Option<i64>, Box<Response>> {
        self.text(name)
            .map(|text| text.parse::<i64>())
            .transpose()
            .map_err(|_| {
                Box::new(problem(
                    StatusCode::BAD_REQUEST,
                    &format!("{name} must be a whole number"),
                ))
            })
    }
}

fn decode(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits = [bytes.next()?, bytes.next()?];
                let digits = std::str::from_utf8(&digits).ok()?;
                if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                    return None;
                }
                u8::from_str_radix(digits, 16).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_read_whole() {
        let query = Query::parse(Some("user=a%20b+c&limit=5"), &["user", "limit"]).unwrap();
        assert_eq!(query.text("user").as_deref(), Some("a b c"));
        assert_eq!(query.number("limit").unwrap(), Some(5));
        for bad in [
            "x=1",
            "user=%zz",
            "user=%+1",
            "user=%ff",
            "user=%2",
            "user=1&user=2",
        ] {
            assert!(Query::parse(Some(bad), &["user"]).is_err(), "{bad}");
        }
        assert!(
            Query::parse(Some("limit=x"), &["limit"])
                .unwrap()
                .number("limit")
                .is_err()
        );
    }
}
