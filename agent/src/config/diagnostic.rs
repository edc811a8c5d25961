//! What is wrong with a configuration, where, and what to do.

use std::fmt;

/// Where in a file: line and column, from 1. Columns count characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Position {
    /// The line, from 1; 0 when the whole file is meant.
    pub line: u32,
    /// The column, from 1.
    pub column: u32,
}

/// Sorts them by their places; what concerns the whole file comes last.
pub(crate) fn sort(diagnostics: &mut [Diagnostic]) {
    diagnostics.sort_by_key(|Diagnostic { position, .. }| (position.line.wrapping_sub(1), position.column));
}

/// One mistake, or one thing to know. It never shows a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// The file, as it was named.
    pub file: String,
    /// Where in it.
    pub position: Position,
    /// What is wrong and what to do.
    pub message: String,
    /// A name that the program does not know: an error for `lenscap check`, a warning for `lenscap run`, since an
    /// older program must start with a newer file.
    pub unknown_name: bool,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            file,
            position,
            message,
            ..
        } = self;
        if position.line == 0 {
            write!(f, "{file}: {message}")
        } else {
            write!(f, "{file}:{}:{}: {message}", position.line, position.column)
        }
    }
}

/// Why a configuration cannot be used: every mistake, in the order of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Errors {
    /// At least one mistake.
    pub errors: Vec<Diagnostic>,
    /// What else there was to say.
    pub warnings: Vec<Diagnostic>,
}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.errors.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            error.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Errors {}
