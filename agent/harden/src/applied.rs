//! What a run applied, as far as a later look needs it to put it back: the measures, and what it wrote into the tables.
//!
//! Passwords are not in it: a login field is the hash that the tables have as well.

use crate::report::Measure;

/// The most bytes of a field.
const MAX_FIELD_BYTES: usize = 256;
/// A note of a tree: its media password is that of the image, until a camera makes its own.
pub(crate) const IMAGE: &str = "image";
pub(crate) const OF_IMAGE: &str = "media";
const MEASURES: &[Measure] = &[Measure::Telnet, Measure::Credentials, Measure::Firewall];

/// What was applied.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Applied {
    /// The measures.
    pub measures: Vec<Measure>,
    /// What stands in the tables, by whose it is: `login`, `media`, `web`; and whether `image` gave it.
    pub fields: Vec<(String, String)>,
}

impl std::fmt::Debug for Applied {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.measures.fmt(f)
    }
}

impl Applied {
    /// A field, by whose it is.
    #[must_use]
    pub fn field(&self, whose: &str) -> Option<&str> {
        let found = self.fields.iter().find(|(name, _)| name == whose);
        found.map(|(_, field)| field.as_str())
    }

    /// Whether the media password is that of all cameras of the image still.
    #[must_use]
    pub fn has_media_of_image(&self) -> bool {
        self.field(IMAGE) == Some(OF_IMAGE)
    }

    /// Notes a field, in the place of an earlier one.
    pub fn put(&mut self, whose: &str, field: &str) {
        match self.fields.iter_mut().find(|(name, _)| name == whose) {
            Some((_, old)) => field.clone_into(old),
            None => self.fields.push((whose.to_owned(), field.to_owned())),
        }
    }

    /// Lines for a file that root alone reads.
    #[must_use]
    pub fn to_text(&self) -> String {
        let measures = self.measures.iter().map(|measure| measure.name().to_owned());
        let fields = self
            .fields
            .iter()
            .map(|(whose, field)| format!("{whose} {field}"));
        measures.chain(fields).map(|line| line + "\n").collect()
    }

    /// Reads those lines. What is damaged says nothing.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut applied = Self::default();
        for line in text.lines() {
            match line.split_once(' ') {
                Some((whose @ ("login" | "media" | "web" | "image"), field))
                    if !field.is_empty() && field.len() <= MAX_FIELD_BYTES && !field.contains([':', ' ']) =>
                {
                    applied.put(whose, field);
                }
                Some(_) => {}
                None => applied.measures.extend(
                    MEASURES
                        .iter()
                        .find(|measure| measure.name() == line && !applied.measures.contains(measure)),
                ),
            }
        }
        applied
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_applied_is_read_as_it_was_written() {
        let mut applied = Applied {
            measures: vec![Measure::Credentials, Measure::Telnet],
            fields: Vec::new(),
        };
        applied.put("login", "!");
        applied.put("login", "$6$salt$hash");
        assert_eq!(Applied::parse(&applied.to_text()), applied);
        assert_eq!(applied.field("login"), Some("$6$salt$hash"));
        let damaged = Applied::parse("telnet\ntelnet\nlogin a:b\nother x\nlogin \n\u{0}\n");
        assert_eq!(damaged.measures, [Measure::Telnet]);
        assert!(damaged.fields.is_empty());
    }
}
