//! Reading the reply's fields: token lists, `Retry-After`, `Link`, redirect addresses.

use super::{MAX_TARGETS, Redirect, Welcome};
use crate::url::MAX_URL;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;

const MAX_PIN: usize = 128;
/// Longest signature, introduction or credential.
const MAX_SHORT: usize = 1024;

pub(super) struct Fields<'a>(pub(super) &'a [httparse::Header<'a>]);

impl<'a> Fields<'a> {
    fn all<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'a [u8]> + 's {
        self.0
            .iter()
            .filter(move |field| field.name.eq_ignore_ascii_case(name))
            .map(|field| field.value)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.all(name).next().is_some()
    }

    /// The value of a field that is there exactly once.
    pub(super) fn only(&self, name: &str) -> Option<&'a [u8]> {
        let mut values = self.all(name);
        let first = values.next()?;
        values.next().is_none().then_some(first.trim_ascii())
    }

    /// Whether a comma-separated list holds a token, in any letter case.
    pub(super) fn has_token(&self, name: &str, token: &str) -> bool {
        self.all(name)
            .flat_map(|value| value.split(|b| *b == b','))
            .any(|item| item.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
    }

    fn text(&self, name: &str) -> Option<&'a str> {
        core::str::from_utf8(self.only(name)?).ok()
    }

    /// RFC 9110, section 10.2.3. A date counts from the reply's own `Date`, for a camera may have no clock.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        let text = self.text("retry-after")?;
        if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
            return Some(Duration::from_secs(text.parse().unwrap_or(u64::from(u32::MAX))));
        }
        let (then, now) = (seconds_of(text)?, seconds_of(self.text("date")?)?);
        Some(Duration::from_secs(then.saturating_sub(now)))
    }

    pub(super) fn redirect(&self, permanent: bool) -> Redirect {
        let mut targets: Vec<String> = Vec::new();
        let location = self.text("location").filter(|text| !text.is_empty());
        targets.extend(
            location
                .filter(|text| text.len() <= MAX_URL)
                .map(ToString::to_string),
        );
        self.links(&mut targets);
        let pin = self
            .short_text("lenscap-pin")
            .filter(|text| text.len() <= MAX_PIN);
        Redirect {
            permanent,
            targets,
            pin,
            signature: self.short_text("lenscap-signature"),
            release: self.short_text("lenscap-release"),
        }
    }

    pub(super) fn welcome(&self) -> Welcome {
        let mut alternates = Vec::new();
        self.links(&mut alternates);
        Welcome {
            operator: self.short_text("lenscap-operator"),
            resume: self.short_text("lenscap-resume"),
            alternates,
        }
    }

    /// Printable ASCII of bounded length that is there exactly once.
    pub(super) fn short_text(&self, name: &str) -> Option<String> {
        let is_printable = |text: &str| text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
        let text = self
            .text(name)
            .filter(|text| text.len() <= MAX_SHORT && is_printable(text));
        text.map(ToString::to_string)
    }

    fn links(&self, targets: &mut Vec<String>) {
        for value in self.all("link") {
            if let Ok(text) = core::str::from_utf8(value) {
                alternates(text, targets);
            }
        }
    }
}

/// Appends the targets of a `Link` field (RFC 8288, section 3) whose relation is `alternate`.
fn alternates(field: &str, targets: &mut Vec<String>) {
    let mut rest = field;
    while targets.len() < MAX_TARGETS {
        let Some((_, after)) = rest.split_once('<') else {
            return;
        };
        let Some((target, after)) = after.split_once('>') else {
            return;
        };
        let (params, next) = after.split_at(params_end(after));
        rest = next;
        if is_alternate(params) && !target.is_empty() && target.len() <= MAX_URL {
            targets.push(target.to_string());
        }
    }
}

/// Where the parameters of a link end: at the first comma that is not in quotes.
fn params_end(text: &str) -> usize {
    let mut quoted = false;
    let end = text.char_indices().find(|(_, c)| {
        quoted ^= *c == '"';
        *c == ',' && !quoted
    });
    end.map_or(text.len(), |(at, _)| at)
}

fn is_alternate(params: &str) -> bool {
    params
        .split(';')
        .filter_map(|param| param.split_once('='))
        .any(|(name, value)| {
            name.trim().eq_ignore_ascii_case("rel")
                && value
                    .trim()
                    .trim_matches('"')
                    .split_ascii_whitespace()
                    .any(|rel| rel.eq_ignore_ascii_case("alternate"))
        })
}

/// Seconds since 1970 of an IMF-fixdate, `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110, section 5.6.7).
fn seconds_of(date: &str) -> Option<u64> {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let mut parts = date.split_once(", ")?.1.split(' ');
    let day: u64 = parts.next()?.parse().ok().filter(|day| (1..=31).contains(day))?;
    let name = parts.next()?;
    let month = MONTHS.iter().position(|known| *known == name)? as u64 + 1;
    let year: u64 = parts
        .next()?
        .parse()
        .ok()
        .filter(|year| (1970..=9999).contains(year))?;
    let mut clock = parts
        .next()?
        .split(':')
        .map(|part| part.parse::<u64>().ok().filter(|v| *v <= 60));
    let (hours, minutes, seconds) = (clock.next()??, clock.next()??, clock.next()??);
    // Years begin in March, so that the leap day is their last (a proleptic Gregorian day count).
    let (y, m) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let days = y * 365 + y / 4 - y / 100 + y / 400 + (m * 153 + 2) / 5 + day - 1;
    let since_1970 = days.checked_sub(719_468)?;
    Some(((since_1970 * 24 + hours) * 60 + minutes) * 60 + seconds)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn dates() {
        assert_eq!(seconds_of("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(seconds_of("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
        assert_eq!(seconds_of("Thu, 29 Feb 2024 12:00:00 GMT"), Some(1_709_208_000));
        for bad in [
            "",
            "Sunday",
            "Sun, 99 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 08:49",
            "a, b c d e",
        ] {
            assert_eq!(seconds_of(bad), None);
        }
    }

    #[test]
    fn links() {
        let mut targets = Vec::new();
        alternates(
            "<https://a/>; rel=alternate, </b,c>; title=\"x, y\"; REL=\"prev Alternate\", <https://no/>; rel=next",
            &mut targets,
        );
        assert_eq!(targets, vec!["https://a/", "/b,c"]);
        for bad in ["", "<", "<a", "<>;rel=alternate", "a>;rel=alternate"] {
            alternates(bad, &mut targets);
        }
        assert_eq!(targets.len(), 2);
        alternates(&"<x>;rel=alternate,".repeat(50), &mut targets);
        assert_eq!(targets.len(), MAX_TARGETS);
    }
}
