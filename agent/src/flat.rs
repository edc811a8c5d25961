//! JSON with one member in each line and no nesting, so that it can be read back without a JSON parser.

use crate::json::Writer;

/// The members of an object, in order.
#[derive(Debug, Default)]
pub struct Lines(Vec<String>);

impl Lines {
    /// Adds a string.
    pub fn string(&mut self, name: &str, value: &str) {
        let mut json = Writer::new();
        json.string(value);
        self.0.push(format!("\"{name}\": {}", json.finish()));
    }

    /// Adds a number.
    pub fn number(&mut self, name: &str, value: u64) {
        self.0.push(format!("\"{name}\": {value}"));
    }

    /// Adds a truth value.
    pub fn bool(&mut self, name: &str, value: bool) {
        self.0.push(format!("\"{name}\": {value}"));
    }

    /// The text.
    #[must_use]
    pub fn finish(self) -> String {
        format!("{{\n{}\n}}\n", self.0.join(",\n"))
    }
}

/// An object, read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Read {
    members: Vec<(String, String)>,
}

impl Read {
    /// `None` for anything but text as [`Lines::finish`] gives it.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let body = text.strip_prefix("{\n")?.strip_suffix("\n}\n")?;
        let member = |line: &str| {
            let (name, value) = line.strip_prefix('"')?.split_once("\": ")?;
            let value = match value.strip_prefix('"') {
                Some(string) => unescape(string.strip_suffix('"')?)?,
                None if matches!(value, "true" | "false") => value.to_owned(),
                None => value.parse::<u64>().ok()?.to_string(),
            };
            Some((name.to_owned(), value))
        };
        let members = body.split(",\n").map(member).collect::<Option<_>>()?;
        Some(Self { members })
    }

    /// A member's value as text; empty if there is none.
    #[must_use]
    pub fn value(&self, name: &str) -> &str {
        let found = self.members.iter().find(|(candidate, _)| candidate == name);
        found.map_or("", |(_, value)| value)
    }

    /// A number; 0 if there is none.
    #[must_use]
    pub fn number(&self, name: &str) -> u64 {
        self.value(name).parse().unwrap_or(0)
    }

    /// Whether a member is true.
    #[must_use]
    pub fn is(&self, name: &str) -> bool {
        self.value(name) == "true"
    }
}

/// Undoes what [`Writer::string`] does to text without control characters.
fn unescape(text: &str) -> Option<String> {
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next()? {
                c @ ('"' | '\\') => out.push(c),
                'n' | 'r' | 't' => out.push(' '),
                _ => return None,
            },
            '"' => return None,
            c => out.push(c),
        }
    }
    Some(out)
}
