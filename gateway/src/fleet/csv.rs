//! CSV (RFC 4180) with the place of every field.
//!
//! Spreadsheets write what they like: a byte order mark, CR LF or LF, and fields that begin with `=`. The last are
//! read as they are and written behind a `'`, so that no spreadsheet takes them for a formula.

use std::fmt;

/// Longest field, in bytes.
pub const MAX_FIELD_BYTES: usize = 2048;
/// Most fields in a row.
pub const MAX_FIELDS: usize = 64;

/// Line and column, from 1; columns in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Line.
    pub line: usize,
    /// Column.
    pub column: usize,
}

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Where.
    pub place: Place,
    /// What is wrong and what to do.
    pub message: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Place { line, column } = self.place;
        write!(f, "line {line}, column {column}: {}", self.message)
    }
}

/// A field and where it begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Where.
    pub place: Place,
    /// Without quotes.
    pub text: String,
}

impl Field {
    /// Takes off the `'` that [`write_row`] puts before formulas.
    fn new(place: Place, mut text: String) -> Self {
        if text.strip_prefix('\'').is_some_and(is_formula) {
            text.remove(0);
        }
        Self { place, text }
    }
}

fn is_formula(text: &str) -> bool {
    text.starts_with(['=', '+', '-', '@', '\t'])
}

/// Reads rows one by one.
#[derive(Debug)]
pub struct Reader<'a> {
    rest: std::iter::Peekable<std::str::Chars<'a>>,
    at: Place,
}

impl<'a> Reader<'a> {
    /// Starts at the beginning of `text`.
    #[must_use]
    pub fn new(text: &'a str) -> Self {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        Self {
            rest: text.chars().peekable(),
            at: Place { line: 1, column: 1 },
        }
    }

    /// The next row that is not empty; `None` at the end.
    ///
    /// # Errors
    /// What makes the rest unreadable. There is nothing more to read after it.
    pub fn next_row(&mut self) -> Result<Option<Vec<Field>>, Mistake> {
        loop {
            if self.rest.peek().is_none() {
                return Ok(None);
            }
            let row = self.row()?;
            if row.len() > 1 || row.iter().any(|field| !field.text.trim().is_empty()) {
                return Ok(Some(row));
            }
        }
    }

    fn row(&mut self) -> Result<Vec<Field>, Mistake> {
        let mut row = Vec::new();
        loop {
            let field = self.field()?;
            if row.len() == MAX_FIELDS {
                return self.fail(field.place, format!("more than {MAX_FIELDS} fields"));
            }
            row.push(field);
            match self.bump() {
                Some(',') => {}
                Some('\r') if self.rest.peek() == Some(&'\n') => {
                    self.bump();
                    return Ok(row);
                }
                _ => return Ok(row),
            }
        }
    }

    /// Up to, not including, the separator.
    fn field(&mut self) -> Result<Field, Mistake> {
        let place = self.at;
        let mut text = String::new();
        if self.rest.peek() == Some(&'"') {
            self.bump();
            loop {
                let here = self.at;
                match self.bump() {
                    None => return self.fail(place, "this quote is not closed".to_owned()),
                    Some('"') if self.rest.peek() == Some(&'"') => {
                        self.bump();
                        text.push('"');
                    }
                    Some('"') => break,
                    Some(_) if text.len() >= MAX_FIELD_BYTES => return self.too_long(place),
                    Some('\0') => return self.fail(here, "a zero byte".to_owned()),
                    Some(other) => text.push(other),
                }
            }
            return match self.rest.peek() {
                None | Some(',' | '\n' | '\r') => Ok(Field::new(place, text)),
                Some(_) => self.fail(
                    self.at,
                    "text behind a closing quote; a quote inside is written twice".to_owned(),
                ),
            };
        }
        while let Some(next) = self.rest.peek() {
            match next {
                ',' | '\n' | '\r' => break,
                '"' => {
                    return self.fail(
                        self.at,
                        "a quote inside; put the whole field into quotes".to_owned(),
                    );
                }
                '\0' => return self.fail(self.at, "a zero byte".to_owned()),
                _ if text.len() >= MAX_FIELD_BYTES => return self.too_long(place),
                other => {
                    text.push(*other);
                    self.bump();
                }
            }
        }
        Ok(Field::new(place, text))
    }

    fn too_long<T>(&mut self, place: Place) -> Result<T, Mistake> {
        self.fail(
            place,
            format!("longer than {MAX_FIELD_BYTES} bytes; is a quote missing?"),
        )
    }

    fn fail<T>(&mut self, place: Place, message: String) -> Result<T, Mistake> {
        self.rest = "".chars().peekable();
        Err(Mistake { place, message })
    }

    fn bump(&mut self) -> Option<char> {
        let next = self.rest.next()?;
        if next == '\n' || (next == '\r' && self.rest.peek() != Some(&'\n')) {
            self.at.line += 1;
            self.at.column = 1;
        } else {
            self.at.column += 1;
        }
        Some(next)
    }
}

/// Appends one row.
pub fn write_row<'a>(out: &mut String, fields: impl IntoIterator<Item = &'a str>) {
    for (index, field) in fields.into_iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        let formula = is_formula(field);
        if formula || field.contains([',', '"', '\n', '\r']) {
            out.push('"');
            if formula {
                out.push('\'');
            }
            out.push_str(&field.replace('"', "\"\""));
            out.push('"');
        } else {
            out.push_str(field);
        }
    }
    out.push_str("\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rows(text: &str) -> Result<Vec<Vec<String>>, Mistake> {
        let mut reader = Reader::new(text);
        let mut rows = Vec::new();
        while let Some(row) = reader.next_row()? {
            rows.push(row.into_iter().map(|field| field.text).collect());
        }
        Ok(rows)
    }

    #[test]
    fn reads_what_spreadsheets_write() {
        for text in [
            "\u{feff}a,b\r\n1,\"x, \"\"y\"\"\"\r\n",
            "a,b\n\n1,\"x, \"\"y\"\"\"",
            "a,b\r1,\"x, \"\"y\"\"\"\r",
        ] {
            assert_eq!(rows(text).unwrap(), [["a", "b"], ["1", "x, \"y\""]], "{text:?}");
        }
        let mut reader = Reader::new("a,é\"\n");
        assert_eq!(
            reader.next_row().unwrap_err().to_string(),
            "line 1, column 4: a quote inside; put the whole field into quotes"
        );
        assert_eq!(reader.next_row(), Ok(None));
        let mut reader = Reader::new("a,\"b\nc\",d\n,x");
        let places: Vec<Place> = reader
            .next_row()
            .unwrap()
            .unwrap()
            .iter()
            .map(|field| field.place)
            .collect();
        assert_eq!(places[2], Place { line: 2, column: 4 });
        assert_eq!(
            reader.next_row().unwrap().unwrap()[1].place,
            Place { line: 3, column: 2 }
        );
    }

    #[test]
    fn names_what_is_wrong() {
        for (text, expected) in [
            ("a\n\"b\nc", "line 2, column 1: this quote is not closed"),
            ("\"a\" ,b", "line 1, column 4: text behind a closing quote"),
            ("a\n\0", "line 2, column 1: a zero byte"),
        ] {
            let shown = rows(text).unwrap_err().to_string();
            assert!(shown.starts_with(expected), "{shown}");
        }
        assert!(
            rows(&"x".repeat(3000))
                .unwrap_err()
                .to_string()
                .contains("longer than 2048")
        );
        assert!(
            rows(&",".repeat(100))
                .unwrap_err()
                .to_string()
                .contains("more than 64 fields")
        );
    }

    #[test]
    fn formulas_are_written_as_text() {
        let mut out = String::new();
        write_row(&mut out, ["=1+1", "a,b", "", "x"]);
        assert_eq!(out, "\"'=1+1\",\"a,b\",,x\r\n");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(fields in proptest::collection::vec("[a-z \",=\r\n-]{1,12}", 2..6)) {
            let mut out = String::new();
            write_row(&mut out, fields.iter().map(String::as_str));
            prop_assert_eq!(rows(&out).unwrap(), [fields]);
        }

        #[test]
        fn never_panics(text in "[\",\r\n\0a=]{0,60}") {
            let _ = rows(&text);
        }
    }
}
