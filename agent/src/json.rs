//! Writes JSON (RFC 8259). It does not read it.
//!
//! ```
//! use lenscap::json::Writer;
//! let mut json = Writer::new();
//! json.object(|o| {
//!     o.key("name").string("front");
//!     o.key("sessions").number(2);
//!     o.key("tags").array(|a| a.item().string("a\"b"));
//! });
//! assert_eq!(json.finish(), r#"{"name":"front","sessions":2,"tags":["a\"b"]}"#);
//! ```

use core::fmt::Write as _;

/// Builds one JSON document.
#[derive(Debug, Default)]
pub struct Writer {
    text: String,
    /// Whether the next key or item needs a comma before it.
    comma: bool,
}

impl Writer {
    /// An empty document.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The document's text.
    #[must_use]
    pub fn finish(self) -> String {
        self.text
    }

    /// Writes an object; `fill` writes its members, each a [`key`](Self::key) and one value.
    pub fn object(&mut self, fill: impl FnOnce(&mut Self)) {
        self.nest('{', '}', fill);
    }

    /// Writes an array; `fill` writes its items, each an [`item`](Self::item) and one value.
    pub fn array(&mut self, fill: impl FnOnce(&mut Self)) {
        self.nest('[', ']', fill);
    }

    /// Writes a member's name. One value must follow.
    pub fn key(&mut self, name: &str) -> &mut Self {
        self.item();
        self.escape(name);
        self.text.push(':');
        self
    }

    /// Starts an item of an array. One value must follow.
    pub fn item(&mut self) -> &mut Self {
        if self.comma {
            self.text.push(',');
        }
        self.comma = true;
        self
    }

    /// Writes a string.
    pub fn string(&mut self, value: &str) {
        self.escape(value);
    }

    /// Writes a string, or `null`.
    pub fn optional(&mut self, value: Option<&str>) {
        match value {
            Some(value) => self.escape(value),
            None => self.null(),
        }
    }

    /// Writes an unsigned number.
    pub fn number(&mut self, value: u64) {
        let _ = write!(self.text, "{value}");
    }

    /// Writes a signed number.
    pub fn signed(&mut self, value: i64) {
        let _ = write!(self.text, "{value}");
    }

    /// Writes `true` or `false`.
    pub fn bool(&mut self, value: bool) {
        self.text.push_str(if value { "true" } else { "false" });
    }

    /// Writes a value that is JSON already.
    pub fn raw(&mut self, json: &str) {
        self.text.push_str(json);
    }

    /// Writes `null`.
    pub fn null(&mut self) {
        self.text.push_str("null");
    }

    fn nest(&mut self, open: char, close: char, fill: impl FnOnce(&mut Self)) {
        self.text.push(open);
        self.comma = false;
        fill(self);
        self.text.push(close);
        self.comma = true;
    }

    fn escape(&mut self, value: &str) {
        self.text.push('"');
        for c in value.chars() {
            match c {
                '"' => self.text.push_str("\\\""),
                '\\' => self.text.push_str("\\\\"),
                '\n' => self.text.push_str("\\n"),
                '\r' => self.text.push_str("\\r"),
                '\t' => self.text.push_str("\\t"),
                // U+007F is allowed as it is, but not wanted on a terminal.
                c if c.is_control() => {
                    let _ = write!(self.text, "\\u{:04x}", u32::from(c));
                }
                c => self.text.push(c),
            }
        }
        self.text.push('"');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_nest_with_commas_where_they_belong() {
        let mut json = Writer::new();
        json.object(|o| {
            o.key("empty").object(|_| {});
            o.key("list").array(|a| {
                a.item().array(|_| {});
                a.item().object(|o| o.key("x").signed(-1));
                a.item().null();
            });
            o.key("yes").bool(true);
            o.key("none").optional(None);
        });
        assert_eq!(
            json.finish(),
            r#"{"empty":{},"list":[[],{"x":-1},null],"yes":true,"none":null}"#
        );
    }

    #[test]
    fn strings_are_escaped() {
        let mut json = Writer::new();
        json.string("a\"b\\c\n\r\t\u{1}\u{7f}é");
        assert_eq!(json.finish(), "\"a\\\"b\\\\c\\n\\r\\t\\u0001\\u007fé\"");
    }
}
