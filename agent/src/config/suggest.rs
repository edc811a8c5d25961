//! The nearest known name to one that is not known.

/// Names further away than this are no help.
const MAX_DISTANCE: usize = 3;
/// Longer names are not compared.
const MAX_LENGTH: usize = 32;

/// The known name that differs least from `name`, if any is near.
pub(super) fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let limit = MAX_DISTANCE.min(1 + name.len() / 3);
    known
        .iter()
        .map(|candidate| (distance(name.as_bytes(), candidate.as_bytes()), *candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Levenshtein's distance, where two neighbours swapped count once, and case and `-` for `_` are free.
fn distance(a: &[u8], b: &[u8]) -> usize {
    if a.len() > MAX_LENGTH || b.len() > MAX_LENGTH {
        return usize::MAX;
    }
    let fold = |byte: u8| {
        if byte == b'-' {
            b'_'
        } else {
            byte.to_ascii_lowercase()
        }
    };
    let mut rows = [[0usize; MAX_LENGTH + 1]; 3];
    for (j, cell) in rows[0].iter_mut().enumerate() {
        *cell = j;
    }
    for i in 1..=a.len() {
        let (now, before, earlier) = (i % 3, (i + 2) % 3, (i + 1) % 3);
        rows[now][0] = i;
        for j in 1..=b.len() {
            let (x, y) = (fold(a[i - 1]), fold(b[j - 1]));
            let mut best = (rows[before][j] + 1).min(rows[now][j - 1] + 1);
            best = best.min(rows[before][j - 1] + usize::from(x != y));
            if i > 1 && j > 1 && x == fold(b[j - 2]) && fold(a[i - 2]) == y {
                best = best.min(rows[earlier][j - 2] + 1);
            }
            rows[now][j] = best;
        }
    }
    rows[a.len() % 3][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_found_and_far_ones_are_not() {
        let known = ["endpoint", "redirect_to", "ca_file", "pin"];
        assert_eq!(nearest("endpiont", &known), Some("endpoint"));
        assert_eq!(nearest("end_point", &known), Some("endpoint"));
        assert_eq!(nearest("redirect-to", &known), Some("redirect_to"));
        assert_eq!(nearest("CA_FILE", &known), Some("ca_file"));
        assert_eq!(nearest("pins", &known), Some("pin"));
        assert_eq!(nearest("volume", &known), None);
        assert_eq!(nearest(&"x".repeat(1000), &known), None);
    }

    #[test]
    fn distances() {
        for (a, b, expected) in [
            ("", "", 0),
            ("", "abc", 3),
            ("abc", "", 3),
            ("ab", "ba", 1),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(distance(a.as_bytes(), b.as_bytes()), expected, "{a} {b}");
        }
    }
}
