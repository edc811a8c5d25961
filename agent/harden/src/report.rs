//! What was found, what is planned, what holds.

use core::fmt;

/// What a finding is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Measure {
    /// Shells that the network can reach.
    Telnet,
    /// Passwords that everybody knows.
    Credentials,
    /// What may come in and go out.
    Firewall,
}

impl Measure {
    /// Its name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Telnet => "telnet",
            Self::Credentials => "credentials",
            Self::Firewall => "firewall",
        }
    }
}

impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How a finding is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// As it should be.
    Holds,
    /// Not as it should be, and the plan changes it.
    Planned,
    /// Not as it should be, and the plan does not change it.
    Fails,
    /// It could not be told.
    Unknown,
    /// Worth knowing; nothing is judged.
    Notice,
}

impl Status {
    /// One word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Holds => "holds",
            Self::Planned => "planned",
            Self::Fails => "fails",
            Self::Unknown => "unknown",
            Self::Notice => "notice",
        }
    }
}

/// One thing that was found, with its evidence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What it is about.
    pub measure: Measure,
    /// How it is judged.
    pub status: Status,
    /// The file, if it is about one.
    pub path: Option<String>,
    /// The line in that file, counted from 1.
    pub line: Option<u32>,
    /// A sentence.
    pub text: String,
}

impl Finding {
    /// One that is about no file.
    #[must_use]
    pub fn new(measure: Measure, status: Status, text: String) -> Self {
        Self {
            measure,
            status,
            path: None,
            line: None,
            text,
        }
    }
}

/// The whole's verdict, and the exit status of scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Everything that was looked at is as it should be.
    Holds,
    /// Something is not.
    Fails,
    /// Nothing is known to be wrong, but something could not be told.
    Unknown,
}

impl Verdict {
    /// One word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Holds => "holds",
            Self::Fails => "does not hold",
            Self::Unknown => "unknown",
        }
    }
}

/// Judges findings. What is planned does not hold yet.
#[must_use]
pub fn verdict(findings: &[Finding]) -> Verdict {
    let any = |status: Status| findings.iter().any(|finding| finding.status == status);
    if any(Status::Fails) || any(Status::Planned) {
        Verdict::Fails
    } else if any(Status::Unknown) {
        Verdict::Unknown
    } else {
        Verdict::Holds
    }
}
