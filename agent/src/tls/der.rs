//! Reads from a certificate (X.509, RFC 5280) what rustls does not tell: `notBefore`, and whether it is self-issued.
//!
//! Nothing is judged here; webpki does that. Lengths are bounded by the input, and nothing recurses.

/// What is read from a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Facts {
    /// Seconds since 1970.
    pub(super) not_before: i64,
    /// Seconds since 1970.
    pub(super) not_after: i64,
    /// Issuer and subject are the same.
    pub(super) self_issued: bool,
}

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// `None` for what is not a certificate.
pub(super) fn facts(certificate: &[u8]) -> Option<Facts> {
    let mut outer = Der(certificate);
    let mut certificate = Der(outer.take(SEQUENCE)?);
    let mut tbs = Der(certificate.take(SEQUENCE)?);
    if tbs.0.first() == Some(&VERSION) {
        tbs.take(VERSION)?;
    }
    tbs.take(INTEGER)?;
    tbs.take(SEQUENCE)?;
    let issuer = tbs.take(SEQUENCE)?;
    let mut validity = Der(tbs.take(SEQUENCE)?);
    let subject = tbs.take(SEQUENCE)?;
    Some(Facts {
        not_before: validity.time()?,
        not_after: validity.time()?,
        self_issued: issuer == subject,
    })
}

/// What is left to read.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// The contents of the next element, which must have this tag (X.690, section 8.1).
    fn take(&mut self, expected: u8) -> Option<&'a [u8]> {
        let (tag, contents) = self.any()?;
        (tag == expected).then_some(contents)
    }

    fn any(&mut self) -> Option<(u8, &'a [u8])> {
        let (&[tag, first], mut rest) = self.0.split_first_chunk::<2>()?;
        let length = if first < 0x80 {
            usize::from(first)
        } else {
            // Up to three bytes of length, as TLS allows a certificate no more.
            let count = usize::from(first & 0x7f);
            if !(1..=3).contains(&count) {
                return None;
            }
            let (bytes, after) = rest.split_at_checked(count)?;
            rest = after;
            bytes
                .iter()
                .fold(0, |length, byte| length << 8 | usize::from(*byte))
        };
        let (contents, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, contents))
    }

    /// UTCTime or GeneralizedTime as RFC 5280, section 4.1.2.5, restricts them: to the second, in Zulu time.
    fn time(&mut self) -> Option<i64> {
        let (tag, text) = self.any()?;
        let (year, rest) = match tag {
            UTC_TIME => {
                let (year, rest) = digits(text, 2)?;
                (if year < 50 { 2000 + year } else { 1900 + year }, rest)
            }
            GENERALIZED_TIME => digits(text, 4)?,
            _ => return None,
        };
        let (month, rest) = digits(rest, 2)?;
        let (day, rest) = digits(rest, 2)?;
        let (hour, rest) = digits(rest, 2)?;
        let (minute, rest) = digits(rest, 2)?;
        let (second, rest) = digits(rest, 2)?;
        let in_range =
            (1..=12).contains(&month) && (1..=31).contains(&day) && hour < 24 && minute < 60 && second < 60;
        if rest != b"Z" || !in_range {
            return None;
        }
        Some(days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second)
    }
}

fn digits(text: &[u8], count: usize) -> Option<(i64, &[u8])> {
    let (digits, rest) = text.split_at_checked(count)?;
    let mut value = 0;
    for digit in digits {
        value = value * 10 + i64::from(char::from(*digit).to_digit(10)?);
    }
    Some((value, rest))
}

/// Days from 1970-01-01 to a date of the Gregorian calendar, for years from 0.
fn days(year: i64, month: i64, day: i64) -> i64 {
    // Years that start in March put the leap day last.
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    year * 365 + leap_days + (month * 153 + 2) / 5 + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rcgen::{CertificateParams, DnType, KeyPair, date_time_ymd};

    fn certificate(from: (i32, u8, u8), to: (i32, u8, u8)) -> Vec<u8> {
        let mut params = CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
        params.not_before = date_time_ymd(from.0, from.1, from.2);
        params.not_after = date_time_ymd(to.0, to.1, to.2);
        params.distinguished_name.push(DnType::CommonName, "x");
        params
            .self_signed(&KeyPair::generate().unwrap())
            .unwrap()
            .der()
            .to_vec()
    }

    #[test]
    fn dates_are_read() {
        for (from, to) in [
            ((1970, 1, 1), (2049, 12, 31)),
            ((2000, 2, 29), (2050, 1, 1)),
            ((2024, 3, 1), (9999, 12, 31)),
        ] {
            let facts = facts(&certificate(from, to)).unwrap();
            assert_eq!(
                facts.not_before,
                date_time_ymd(from.0, from.1, from.2).unix_timestamp()
            );
            assert_eq!(facts.not_after, date_time_ymd(to.0, to.1, to.2).unix_timestamp());
            assert!(facts.self_issued);
        }
    }

    #[test]
    fn every_cut_certificate_is_none() {
        let whole = certificate((2020, 1, 1), (2030, 1, 1));
        for end in 0..whole.len() {
            assert_eq!(facts(&whole[..end]), None);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = facts(&bytes);
        }

        #[test]
        fn a_damaged_certificate_is_read_without_panic(at in 0usize..200, byte in any::<u8>()) {
            let mut bytes = certificate((2020, 1, 1), (2030, 1, 1));
            bytes[at] = byte;
            let _ = facts(&bytes);
        }

        #[test]
        fn dates_agree_with_the_time_crate(year in 1950i32..2100, month in 1u8..=12, day in 1u8..=28) {
            let expected = date_time_ymd(year, month, day).unix_timestamp();
            prop_assert_eq!(days(year.into(), month.into(), day.into()) * 86_400, expected);
        }
    }
}
