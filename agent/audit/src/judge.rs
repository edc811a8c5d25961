//! Verdicts, and how evidence adds up to them.

use crate::facts::{Fact, Facts, Missing, Text};
use crate::inventory::{self, Class, Inventory};
use crate::rules::{RULES, Rule, Severity};

/// The most pieces of evidence of one rule; the rest is counted.
const MAX_EVIDENCE: usize = 24;
/// The longest text of one piece of evidence, in bytes.
pub(crate) const MAX_TEXT: usize = 200;

/// The verdicts of XCCDF (NISTIR 7275 r4, table 26) that a camera can get, the worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// It does not hold.
    Fail,
    /// What was read makes no sense.
    Error,
    /// It could not be told.
    Unknown,
    /// It holds.
    Pass,
    /// There is nothing here that it is about.
    NotApplicable,
    /// Nobody asked, or this is no running camera.
    NotChecked,
}

impl Verdict {
    /// All of them, the worst first.
    pub const ALL: [Self; 6] = [
        Self::Fail,
        Self::Error,
        Self::Unknown,
        Self::Pass,
        Self::NotApplicable,
        Self::NotChecked,
    ];

    /// XCCDF's word.
    #[must_use]
    pub fn name(self) -> &'static str {
        ["fail", "error", "unknown", "pass", "notapplicable", "notchecked"][self as usize]
    }
}

/// What a verdict rests on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// How this piece alone is judged.
    pub verdict: Verdict,
    /// Where it was read.
    pub source: Text,
    /// What was there, or why it could not be told.
    pub text: Text,
}

/// A rule with its verdict.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The rule.
    pub rule: &'static Rule,
    /// The worst of the evidence; without any, unknown.
    pub verdict: Verdict,
    /// What it rests on, the worst first.
    pub evidence: Vec<Evidence>,
}

/// All rules judged.
#[derive(Debug)]
pub struct Report<'a> {
    /// What was judged.
    pub facts: &'a Facts,
    /// In the order of [`RULES`].
    pub outcomes: Vec<Outcome>,
    /// What could not be looked at: source, and why.
    pub blind: Vec<(Text, Text)>,
    /// What listens, who has an account, what starts, who is talked to.
    pub inventory: Inventory,
}

impl Report<'_> {
    /// The verdict of all rules that were checked: fail, unknown or pass. Nothing passes while anything is unknown.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        match self.outcomes.iter().map(|outcome| outcome.verdict).min() {
            Some(Verdict::Fail) => Verdict::Fail,
            Some(Verdict::Pass) => Verdict::Pass,
            _ => Verdict::Unknown,
        }
    }

    /// How many rules got a verdict.
    #[must_use]
    pub fn count(&self, verdict: Verdict) -> usize {
        let all = self.outcomes.iter();
        all.filter(|outcome| outcome.verdict == verdict).count()
    }

    /// Whether the inventory may be kept as what belongs on the camera: it is whole, and no rule that is more than worth
    /// knowing fails or was left out, those about the system itself aside.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        let bad = |outcome: &Outcome| {
            let Rule {
                id, severity, live, ..
            } = outcome.rule;
            let matters = *severity > Severity::Low && outcome.rule.group() != "system";
            // What is new cannot be told the first time, and a tree does not run.
            let left_out = outcome.verdict == Verdict::NotChecked
                && !id.ends_with("drift")
                && (self.facts.about.live || !live);
            matters && (outcome.verdict <= Verdict::Error || left_out)
        };
        self.inventory.is_whole(self.facts, &Class::ALL) && !self.outcomes.iter().any(bad)
    }

    /// The outcomes, fails first, and of those the severest.
    #[must_use]
    pub fn worst_first(&self) -> Vec<&Outcome> {
        let mut sorted: Vec<&Outcome> = Vec::with_capacity(self.outcomes.len());
        let key = |outcome: &Outcome| (outcome.verdict, core::cmp::Reverse(outcome.rule.severity));
        for outcome in &self.outcomes {
            let at = sorted.partition_point(|have| key(have) <= key(outcome));
            sorted.insert(at, outcome);
        }
        sorted
    }

    /// The severity of the worst fail.
    #[must_use]
    pub fn worst(&self) -> Option<Severity> {
        let fails = self
            .outcomes
            .iter()
            .filter(|outcome| outcome.verdict == Verdict::Fail);
        fails.map(|outcome| outcome.rule.severity).max()
    }
}

/// Judges facts. `only` names rules or groups; empty: all.
#[must_use]
#[inline(never)]
pub fn audit<'a>(facts: &'a Facts, only: &[&str]) -> Report<'a> {
    let mut outcomes = Vec::with_capacity(RULES.len());
    let mut blind: Vec<(Text, Text)> = Vec::new();
    let mut judge = Judge {
        evidence: Vec::new(),
        left_out: 0,
        inventory: inventory::take(facts),
    };
    for rule in RULES {
        if !only.is_empty() && !only.iter().any(|name| rule.is_named(name)) {
            judge.say(Verdict::NotChecked, "--only", "nobody asked for it");
        } else if rule.live && !facts.about.live {
            let text = "only a running camera can tell";
            judge.say(Verdict::NotChecked, "--root", text);
        } else {
            (rule.judge)(facts, &mut judge);
        }
        for evidence in &judge.evidence {
            let pair = (evidence.source.clone(), evidence.text.clone());
            if matches!(evidence.verdict, Verdict::Unknown | Verdict::Error) && !blind.contains(&pair) {
                blind.push(pair);
            }
        }
        outcomes.push(judge.finish(rule));
    }
    Report {
        facts,
        outcomes,
        blind,
        inventory: judge.inventory,
    }
}

/// Collects the evidence, one rule after the other.
#[derive(Debug)]
pub struct Judge {
    /// Of the rule at hand, the worst first.
    evidence: Vec<Evidence>,
    left_out: u32,
    /// What is there, taken once for all rules.
    pub(crate) inventory: Inventory,
}

impl Judge {
    /// Adds a piece of evidence.
    pub fn say(&mut self, verdict: Verdict, source: impl Into<Text>, text: impl Into<Text>) {
        self.add(verdict, source.into(), text.into());
    }

    fn add(&mut self, verdict: Verdict, source: Text, text: Text) {
        let at = self.evidence.partition_point(|have| have.verdict <= verdict);
        if at == MAX_EVIDENCE {
            self.left_out += 1;
            return;
        }
        if self.evidence.len() == MAX_EVIDENCE {
            self.evidence.pop();
            self.left_out += 1;
        }
        let evidence = Evidence {
            verdict,
            source: clean(source),
            text: clean(text),
        };
        self.evidence.insert(at, evidence);
    }

    /// It does not hold.
    pub fn fail(&mut self, source: &str, text: impl Into<Text>) {
        self.add(Verdict::Fail, Text::Owned(source.into()), text.into());
    }

    /// It could not be told.
    pub fn unknown(&mut self, source: &str, text: impl Into<Text>) {
        self.add(Verdict::Unknown, Text::Owned(source.into()), text.into());
    }

    /// It holds.
    pub fn pass(&mut self, source: &str, text: impl Into<Text>) {
        self.add(Verdict::Pass, Text::Owned(source.into()), text.into());
    }

    /// There is nothing here that it is about.
    pub fn none(&mut self, source: &str, text: impl Into<Text>) {
        self.add(Verdict::NotApplicable, Text::Owned(source.into()), text.into());
    }

    /// Something could not be seen.
    pub fn missing(&mut self, source: &str, why: &Missing) {
        let text = match why.errno {
            0 => why.why.clone(),
            errno => format!("{} (errno {errno})", why.why).into(),
        };
        self.unknown(source, text);
    }

    /// A fact's value. That it is missing is evidence.
    pub fn need<'f, T>(&mut self, fact: &'f Fact<T>) -> Option<&'f T> {
        match &fact.value {
            Ok(value) => Some(value),
            Err(why) => {
                self.missing(&fact.source, why);
                None
            }
        }
    }

    /// Whether any evidence so far is worse than well.
    #[must_use]
    pub fn has_doubts(&self) -> bool {
        let first = self.evidence.first();
        first.is_some_and(|evidence| evidence.verdict < Verdict::Pass)
    }

    /// Adds that it holds, unless there are doubts.
    pub fn pass_otherwise(&mut self, source: &str, text: impl Into<Text>) {
        if !self.has_doubts() {
            self.pass(source, text);
        }
    }

    /// The rule's outcome; the next begins with nothing.
    fn finish(&mut self, rule: &'static Rule) -> Outcome {
        if self.evidence.is_empty() {
            self.unknown("rule", "nothing was looked at");
        }
        let mut evidence = core::mem::take(&mut self.evidence);
        let left_out = core::mem::take(&mut self.left_out);
        let verdict = evidence.first().map_or(Verdict::Unknown, |e| e.verdict);
        if left_out > 0 {
            let text = format!("{left_out} more are left out");
            evidence.push(Evidence {
                verdict,
                source: "rule".into(),
                text: text.into(),
            });
        }
        Outcome {
            rule,
            verdict,
            evidence,
        }
    }
}

/// What a camera's files and processes call themselves must not move a terminal's cursor, turn its writing round, or fill
/// a page.
#[must_use]
pub fn clean(text: Text) -> Text {
    let odd = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
                | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{fffe}' | '\u{ffff}' | '\u{e0000}'..='\u{e007f}')
    };
    if text.len() <= MAX_TEXT && !text.contains(odd) {
        return text;
    }
    let mut out = String::with_capacity(text.len().min(MAX_TEXT) + 16);
    for c in text.chars() {
        if out.len() >= MAX_TEXT {
            out.push('…');
            break;
        }
        if odd(c) {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    out.into()
}
