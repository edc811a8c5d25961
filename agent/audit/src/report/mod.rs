//! Reports for people and for machines, all over the same outcomes.
//!
//! What a camera calls its files and processes arrives here already [cleaned](crate::judge::clean); each format adds the
//! escapes of its own.

#[cfg(feature = "formats")]
mod cyclonedx;
#[cfg(feature = "formats")]
mod html;
mod json;
#[cfg(feature = "formats")]
mod markup;
mod text;
#[cfg(feature = "formats")]
mod xccdf;

use crate::judge::{Report, clean};
use crate::rules::date;

/// What no audit from within a camera can see.
pub const ALWAYS_BLIND: &[&str] = &[
    "A kernel that an intruder changed can hide what it likes from every program on the camera.",
    "The boot loader, a camera's processors of their own, and whoever has it in their hands.",
    "What compiled programs start, fetch or let in by themselves: only scripts and settings are read.",
    "Doors that a vendor's programs keep without a port of their own, through connections they open themselves.",
    "What is inside encrypted connections, and what the vendor's cloud does with it.",
    "What the vendor promises: how long there are updates, and who takes reports of flaws (PSTI schedule 1, 2 and 3).",
];

/// How a report is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Lines for people.
    Text,
    /// One object, as `docs/audit.schema.json` says.
    Json,
    /// One page.
    #[cfg(feature = "formats")]
    Html,
    /// A benchmark with its test result (XCCDF 1.2, NISTIR 7275 r4).
    #[cfg(feature = "formats")]
    Xccdf,
    /// The components (CycloneDX 1.6, ECMA-424).
    #[cfg(feature = "formats")]
    CycloneDx,
}

/// The names of all formats that this program has.
pub const FORMATS: &str = if cfg!(feature = "formats") {
    "text, json, html, xccdf, cyclonedx"
} else {
    "text, json; programs for other machines than cameras have html, xccdf, cyclonedx too"
};

impl Format {
    /// By its name on the command line.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "text" => Self::Text,
            "json" => Self::Json,
            #[cfg(feature = "formats")]
            "html" => Self::Html,
            #[cfg(feature = "formats")]
            "xccdf" => Self::Xccdf,
            #[cfg(feature = "formats")]
            "cyclonedx" => Self::CycloneDx,
            _ => return None,
        })
    }
}

/// How text is shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Style {
    /// With a terminal's colours.
    pub colour: bool,
    /// With all evidence, remedies and references.
    pub details: bool,
}

/// Writes a report.
#[must_use]
pub fn write(report: &Report<'_>, format: Format, style: Style) -> String {
    match format {
        Format::Text => text::write(report, style),
        Format::Json => json::write(report),
        #[cfg(feature = "formats")]
        Format::Html => html::write(report),
        #[cfg(feature = "formats")]
        Format::Xccdf => xccdf::write(report),
        #[cfg(feature = "formats")]
        Format::CycloneDx => cyclonedx::write(report),
    }
}

/// What was looked at, in a few words.
fn subject(report: &Report<'_>) -> String {
    let about = &report.facts.about;
    let firmware = match about.firmwares.as_slice() {
        [] => "unknown firmware".to_owned(),
        names => names.join(", "),
    };
    let kernel = report.facts.kernel.value().map_or("?", String::as_str);
    let kind = if about.live { "camera" } else { "tree" };
    let text = format!("{kind} {}, {firmware}, kernel {kernel}", about.root);
    clean(text.into()).into_owned()
}

/// RFC 3339, in UTC. Clocks outside of its years stand at its ends.
fn timestamp(time: i64) -> String {
    let time = time.clamp(0, 253_402_300_799);
    let (year, month, day) = date(time);
    let second = time.rem_euclid(86_400);
    let (hour, minute) = (second / 3600, second / 60 % 60);
    format!(
        "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{:02}Z",
        second % 60
    )
}

/// Counts of verdicts, as `3 fail, 1 unknown`.
fn counts(report: &Report<'_>) -> String {
    let mut text = String::new();
    for verdict in crate::Verdict::ALL {
        let count = report.count(verdict);
        if count > 0 {
            let comma = if text.is_empty() { "" } else { ", " };
            text.push_str(&format!("{comma}{count} {}", verdict.name()));
        }
    }
    text
}
