//! The syntax of UCI files: sections, options and lists, with where each word stands.
//!
//! As `uci` reads them: words are bare, 'single' (nothing is special in them) or "double" quoted (a backslash takes
//! the next character as it is), pieces that touch are one word, `#` outside quotes starts a comment, `;` ends a
//! statement. Unlike in `uci` a quoted value may not span lines: no option here has such a value, and a
//! forgotten quote is then reported where it is.

use super::diagnostic::Position;

/// A word and where it starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Word {
    pub(super) text: String,
    pub(super) position: Position,
}

/// `config KIND ['NAME']` and what follows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Section {
    pub(super) kind: Word,
    pub(super) name: Option<Word>,
    pub(super) entries: Vec<Entry>,
}

/// `option NAME VALUE` or `list NAME VALUE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) is_list: bool,
    pub(super) name: Word,
    pub(super) value: Word,
}

/// A mistake in the syntax. The message never shows a value, since that may be a password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SyntaxError {
    pub(super) position: Position,
    pub(super) message: String,
}

/// Reads a file's text. Statements with mistakes are left out of the sections.
pub(super) fn parse(text: &str) -> (Vec<Section>, Vec<SyntaxError>) {
    let mut parser = Parser {
        sections: Vec::new(),
        errors: Vec::new(),
        orphan_reported: false,
    };
    for (index, line) in text.split('\n').enumerate() {
        let number = u32::try_from(index + 1).unwrap_or(u32::MAX);
        parser.line(number, line.strip_suffix('\r').unwrap_or(line));
    }
    (parser.sections, parser.errors)
}

struct Parser {
    sections: Vec<Section>,
    errors: Vec<SyntaxError>,
    /// Options before the first section are one mistake, not many.
    orphan_reported: bool,
}

impl Parser {
    fn line(&mut self, number: u32, line: &str) {
        let mut lexer = Lexer {
            line: number,
            column: 1,
            rest: line,
        };
        loop {
            match lexer.statement() {
                Ok(Some(words)) => self.statement(words),
                Ok(None) => return,
                Err(error) => {
                    self.errors.push(error);
                    return;
                }
            }
        }
    }

    fn statement(&mut self, words: Vec<Word>) {
        let mut words = words.into_iter();
        let Some(keyword) = words.next() else {
            return;
        };
        match keyword.text.as_str() {
            "config" => self.section(&keyword, words),
            "option" => self.entry(&keyword, words, false),
            "list" => self.entry(&keyword, words, true),
            // `uci export` writes it; it says nothing that the file's name does not.
            "package" => {}
            _ => self.fail(
                keyword.position,
                "a line starts with `config`, `option` or `list`; a comment starts with `#`".into(),
            ),
        }
    }

    fn section(&mut self, keyword: &Word, mut words: impl Iterator<Item = Word>) {
        let Some(kind) = words.next() else {
            return self.fail(
                keyword.position,
                "`config` needs a kind of section: `config uplink 'main'`".into(),
            );
        };
        let name = words.next();
        if let Some(extra) = words.next() {
            self.fail(
                extra.position,
                "unexpected word after the section's name; put the name in quotes".into(),
            );
        }
        for word in [Some(&kind), name.as_ref()].into_iter().flatten() {
            if !is_name(&word.text) {
                let message = "a section's kind and name have letters, digits and `_` only".into();
                self.fail(word.position, message);
            }
        }
        self.sections.push(Section {
            kind,
            name,
            entries: Vec::new(),
        });
    }

    fn entry(&mut self, keyword: &Word, mut words: impl Iterator<Item = Word>, is_list: bool) {
        let what = if is_list { "list" } else { "option" };
        let Some(name) = words.next() else {
            return self.fail(
                keyword.position,
                format!("`{what}` needs a name and a value: `{what} name 'value'`"),
            );
        };
        if !is_name(&name.text) {
            let message = format!("the name after `{what}` has letters, digits and `_` only");
            return self.fail(name.position, message);
        }
        let Some(value) = words.next() else {
            return self.fail(
                name.position,
                format!("`{what} {}` has no value; an empty one is ''", name.text),
            );
        };
        if let Some(extra) = words.next() {
            let message = format!(
                "unexpected word after the value of `{}`; put the value in quotes",
                name.text
            );
            return self.fail(extra.position, message);
        }
        match self.sections.last_mut() {
            Some(section) => section.entries.push(Entry { is_list, name, value }),
            None if self.orphan_reported => {}
            None => {
                self.orphan_reported = true;
                self.fail(
                    keyword.position,
                    format!("`{what}` before the first section; start one with `config`"),
                );
            }
        }
    }

    fn fail(&mut self, position: Position, message: String) {
        self.errors.push(SyntaxError { position, message });
    }
}

/// Names as `uci` allows them, of a length worth showing.
fn is_name(text: &str) -> bool {
    const MAX_NAME: usize = 64;
    (1..=MAX_NAME).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// Cuts one line into words.
struct Lexer<'a> {
    line: u32,
    column: u32,
    rest: &'a str,
}

impl Lexer<'_> {
    /// The words up to the line's end or a `;`. `None` at the line's end.
    fn statement(&mut self) -> Result<Option<Vec<Word>>, SyntaxError> {
        let mut words = Vec::new();
        loop {
            match self.peek() {
                None | Some('#') if words.is_empty() => return Ok(None),
                None | Some('#') => {
                    self.rest = "";
                    return Ok(Some(words));
                }
                Some(';') => {
                    self.next();
                    return Ok(Some(words));
                }
                Some(c) if c.is_whitespace() => {
                    self.next();
                }
                Some(_) => words.push(self.word()?),
            }
        }
    }

    fn word(&mut self) -> Result<Word, SyntaxError> {
        let position = self.position();
        let mut text = String::new();
        while let Some(c) = self.peek() {
            match c {
                '\'' => self.quoted('\'', &mut text)?,
                '"' => self.quoted('"', &mut text)?,
                ';' | '#' => break,
                c if c.is_whitespace() => break,
                '\\' => self.escaped(&mut text)?,
                c => {
                    self.next();
                    text.push(c);
                }
            }
        }
        Ok(Word { text, position })
    }

    fn quoted(&mut self, quote: char, text: &mut String) -> Result<(), SyntaxError> {
        let open = self.position();
        self.next();
        while let Some(c) = self.peek() {
            if c == quote {
                self.next();
                return Ok(());
            }
            if c == '\\' && quote == '"' {
                self.escaped(text)?;
            } else {
                self.next();
                text.push(c);
            }
        }
        let message =
            format!("the quote that starts here is not closed on its line; add {quote} at the value's end");
        Err(SyntaxError {
            position: open,
            message,
        })
    }

    fn escaped(&mut self, text: &mut String) -> Result<(), SyntaxError> {
        let position = self.position();
        self.next();
        match self.next() {
            Some(c) => {
                text.push(c);
                Ok(())
            }
            None => {
                let message = "a backslash at the end of a line; a value must be on one line".into();
                Err(SyntaxError { position, message })
            }
        }
    }

    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let mut chars = self.rest.chars();
        let c = chars.next()?;
        self.rest = chars.as_str();
        self.column = self.column.saturating_add(1);
        Some(c)
    }

    fn position(&self) -> Position {
        Position {
            line: self.line,
            column: self.column,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn values(text: &str) -> Vec<String> {
        let (sections, errors) = parse(text);
        assert_eq!(errors, []);
        sections
            .into_iter()
            .flat_map(|s| s.entries)
            .map(|e| e.value.text)
            .collect()
    }

    fn errors(text: &str) -> Vec<(u32, u32, String)> {
        parse(text)
            .1
            .into_iter()
            .map(|e| (e.position.line, e.position.column, e.message))
            .collect()
    }

    #[test]
    fn sections_options_and_lists() {
        let (sections, errors) = parse(
            "package lenscap\n# c\nconfig uplink 'main' # c\r\n\toption a b\r\n\tlist l 'x y'\n\nconfig agent\n",
        );
        assert_eq!(errors, []);
        assert_eq!(sections.len(), 2);
        assert_eq!(sections[0].kind.text, "uplink");
        assert_eq!(sections[0].name.as_ref().unwrap().text, "main");
        assert_eq!(sections[0].entries.len(), 2);
        assert!(sections[0].entries[1].is_list);
        assert_eq!(sections[0].entries[1].value.text, "x y");
        assert_eq!(
            sections[0].entries[1].value.position,
            Position { line: 5, column: 9 }
        );
        assert_eq!(sections[1].name, None);
    }

    #[test]
    fn quotes_and_escapes_as_uci_has_them() {
        let head = "config agent\noption a ";
        for (text, value) in [
            ("'a\\b\"c#d;e'", "a\\b\"c#d;e"),
            ("\"a\\\"b\\\\c'd\"", "a\"b\\c'd"),
            ("a\\ b", "a b"),
            ("'it'\\''s'", "it's"),
            ("'a'\"b\"c", "abc"),
            ("a#b", "a"),
            ("'a'#b", "a"),
            ("'a#b'\\#\"#\"", "a#b##"),
            ("''", ""),
            ("é", "é"),
        ] {
            assert_eq!(values(&format!("{head}{text}")), [value], "{text}");
        }
        assert_eq!(values("config agent; option a b; option c d # x"), ["b", "d"]);
    }

    #[test]
    fn every_mistake_is_reported_where_it_is() {
        let found = errors(
            "option x y\noption z y\nconfig\nconfig a b c\nconfig é\noption\noption a\noption a b c\nfoo\noption a 'b\noption a \"b\\\nlist b-c d\n  x\\\n",
        );
        let places: Vec<_> = found.iter().map(|(line, column, _)| (*line, *column)).collect();
        assert_eq!(
            places,
            [
                (1, 1),
                (3, 1),
                (4, 12),
                (5, 8),
                (6, 1),
                (7, 8),
                (8, 12),
                (9, 1),
                (10, 10),
                (11, 12),
                (12, 6),
                (13, 4)
            ]
        );
    }

    #[test]
    fn mistakes_do_not_show_values() {
        for text in [
            "config a\noption password hunter2 x",
            "hunter2",
            "config a\noption password 'hunter2",
            "config a\noption hunter2! x",
        ] {
            for (_, _, message) in errors(text) {
                assert!(!message.contains("hunter2"), "{message}");
            }
        }
    }

    /// Writes a value in single quotes, as `uci` does.
    fn quote(value: &str) -> String {
        format!("'{}'", value.replace('\'', "'\\''"))
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_panic(text in "\\PC*|[a-z'\"\\\\#; \\n\\t]{0,200}|(config|option|list|[ '\"\\\\\\n]){0,40}") {
            let lines = text.split('\n').count();
            for error in parse(&text).1 {
                prop_assert!(error.position.line >= 1 && error.position.line as usize <= lines);
            }
        }

        #[test]
        fn a_quoted_value_comes_back(value in "[^\\n\\r]{0,60}") {
            prop_assert_eq!(values(&format!("config a\noption b {}\n", quote(&value))), [value]);
        }
    }
}
