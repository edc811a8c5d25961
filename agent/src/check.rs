//! `lenscap check`: is the configuration right, and all that it names?

use std::path::Path;
use std::sync::Arc;

use crate::clock::Clock;
use crate::config::{self, Diagnostic, Errors, Loaded, Position, diagnostic};
use crate::json::Writer;
use crate::tls;

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The file, as it was named.
    pub file: String,
    /// What must be corrected.
    pub errors: Vec<Diagnostic>,
    /// What should be looked at.
    pub warnings: Vec<Diagnostic>,
}

/// Reads a configuration and the CA files it names. Names that the program does not know are errors here.
#[must_use]
pub fn check(path: &Path) -> Report {
    let file = path.display().to_string();
    let (mut errors, warnings) = match config::load(path) {
        Ok(loaded) => (check_uplinks(&file, &loaded), loaded.warnings),
        Err(Errors { errors, warnings }) => (errors, warnings),
    };
    let (unknown, warnings) = warnings.into_iter().partition(|warning| warning.unknown_name);
    let unknown: Vec<Diagnostic> = unknown;
    errors.extend(unknown);
    diagnostic::sort(&mut errors);
    Report {
        file,
        errors,
        warnings,
    }
}

/// What only TLS can say: whether a CA file holds certificates.
fn check_uplinks(file: &str, loaded: &Loaded) -> Vec<Diagnostic> {
    let clock = Arc::new(Clock::system());
    let refused = loaded.config.uplinks.iter().filter_map(|uplink| {
        let error = tls::Client::new(uplink, None, Arc::clone(&clock)).err()?;
        let message = format!("uplink `{}`: {error}", uplink.name);
        Some(Diagnostic {
            file: file.into(),
            position: Position::default(),
            message,
            unknown_name: false,
        })
    });
    refused.collect()
}

impl Report {
    /// Whether there is nothing to correct.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.errors.is_empty()
    }

    /// One line for each finding, and one for the verdict.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        for (kind, list) in [("error", &self.errors), ("warning", &self.warnings)] {
            for diagnostic in list {
                // file:line:column: kind: message, as compilers write it.
                let Diagnostic {
                    file,
                    position,
                    message,
                    ..
                } = diagnostic;
                let place = match position.line {
                    0 => file.clone(),
                    line => format!("{file}:{line}:{}", position.column),
                };
                text.push_str(&format!("{place}: {kind}: {message}\n"));
            }
        }
        let verdict = if self.is_good() {
            "the configuration is good"
        } else {
            "the configuration cannot be used"
        };
        text.push_str(&format!("{}: {verdict}\n", self.file));
        text
    }

    /// `{"file","ok","errors":[{"file","line","column","message"}],"warnings":[..]}`. Line and column are `null`
    /// where the whole file is meant.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut json = Writer::new();
        json.object(|o| {
            o.key("file").string(&self.file);
            o.key("ok").bool(self.is_good());
            for (name, list) in [("errors", &self.errors), ("warnings", &self.warnings)] {
                o.key(name).array(|a| {
                    list.iter()
                        .for_each(|diagnostic| write_diagnostic(a.item(), diagnostic))
                });
            }
        });
        json.finish()
    }
}

fn write_diagnostic(json: &mut Writer, diagnostic: &Diagnostic) {
    let Diagnostic {
        file,
        position,
        message,
        ..
    } = diagnostic;
    json.object(|o| {
        o.key("file").string(file);
        for (name, value) in [("line", position.line), ("column", position.column)] {
            let value_of = o.key(name);
            if position.line == 0 {
                value_of.null()
            } else {
                value_of.number(value.into())
            }
        }
        o.key("message").string(message);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "config uplink main\noption endpoint https://gw.example/\nconfig profile main\noption rtsp rtsp://127.0.0.1/\n";

    fn check_text(text: &str) -> Report {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c");
        std::fs::write(&path, text).unwrap();
        let mut report = check(&path);
        let whole = path.display().to_string();
        report.file = "c".into();
        for diagnostic in report.errors.iter_mut().chain(&mut report.warnings) {
            assert_eq!(diagnostic.file, whole);
            diagnostic.file = "c".into();
        }
        report
    }

    #[test]
    fn a_good_file() {
        let report = check_text(GOOD);
        assert!(report.is_good());
        assert_eq!(report.to_text(), "c: the configuration is good\n");
        assert_eq!(
            report.to_json(),
            r#"{"file":"c","ok":true,"errors":[],"warnings":[]}"#
        );
    }

    #[test]
    fn unknown_names_are_errors_here() {
        let report = check_text(&format!("{GOOD}config agent\noption logs x\n"));
        assert!(!report.is_good());
        assert_eq!(
            report.to_text(),
            "c:6:8: error: unknown option in `config agent`: `logs`; did you mean `log`?\nc: the configuration cannot be used\n"
        );
    }

    #[test]
    fn findings_as_json() {
        let report = check_text("config profile main\noption rtsp rtsp://10.0.0.1/\n");
        assert_eq!(report.errors.len(), 1);
        assert_eq!(
            report.to_json(),
            concat!(
                r#"{"file":"c","ok":false,"errors":[{"file":"c","line":null,"column":null,"#,
                r#""message":"no `config uplink` section; at least one is needed"}],"warnings":[{"file":"c","line":2,"column":13,"#,
                r#""message":"`rtsp` leads to another device: video and password cross the network in clear; use 127.0.0.1"}]}"#
            )
        );
    }

    #[test]
    fn ca_files_are_read() {
        let report = check_text(&GOOD.replace("config profile", "option ca_file /dev/null\nconfig profile"));
        assert!(
            report
                .to_text()
                .contains("c: error: uplink `main`: the CA file /dev/null holds no certificate")
        );
    }
}
