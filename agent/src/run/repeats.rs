//! Keeps a fault that lasts from filling the log: the same line again is said once in a while, with its count.

use std::time::Duration;

use log::Level;

/// How long the same line stays quiet.
const QUIET: Duration = Duration::from_secs(600);
/// Different lines remembered.
const MAX_LINES: usize = 16;

#[derive(Debug)]
struct Line {
    text: String,
    said_at: Duration,
    again: u32,
}

/// The lines said lately.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    lines: Vec<Line>,
}

impl Repeats {
    /// Logs `text`, unless it was said less than ten minutes ago.
    pub(super) fn say(&mut self, now: Duration, level: Level, text: String) {
        if let Some(again) = self.admit(now, &text) {
            if again > 0 {
                log::log!(level, "{text} (and {again} times before)");
            } else {
                log::log!(level, "{text}");
            }
        }
    }

    /// Forgets everything: the fault is over, so that its return is said at once.
    pub(super) fn clear(&mut self) {
        self.lines.clear();
    }

    /// `Some(times kept quiet)` when the line is to be said now.
    fn admit(&mut self, now: Duration, text: &str) -> Option<u32> {
        if let Some(line) = self.lines.iter_mut().find(|line| line.text == text) {
            if now < line.said_at + QUIET {
                line.again = line.again.saturating_add(1);
                return None;
            }
            line.said_at = now;
            return Some(std::mem::take(&mut line.again));
        }
        if self.lines.len() >= MAX_LINES {
            self.lines.remove(0);
        }
        self.lines.push(Line {
            text: text.to_owned(),
            said_at: now,
            again: 0,
        });
        Some(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_line_is_said_once_in_a_while() {
        let mut repeats = Repeats::default();
        let at = Duration::from_secs;
        assert_eq!(repeats.admit(at(0), "a"), Some(0));
        assert_eq!(repeats.admit(at(1), "a"), None);
        assert_eq!(repeats.admit(at(1), "b"), Some(0));
        assert_eq!(repeats.admit(at(2), "a"), None);
        assert_eq!(repeats.admit(at(601), "a"), Some(2));
        repeats.clear();
        assert_eq!(repeats.admit(at(602), "a"), Some(0));
        for n in 0..100 {
            repeats.admit(at(602), &n.to_string());
        }
        assert_eq!(repeats.lines.len(), MAX_LINES);
    }
}
