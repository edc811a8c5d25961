//! Lines for people: groups, the worst first, one line a rule.

use super::{ALWAYS_BLIND, Style, counts, subject};
use crate::Verdict;
use crate::judge::{Outcome, Report};
use crate::rules::GROUPS;

/// Of a line with its evidence, in characters; a terminal wraps the rest.
const MAX_LINE: usize = 160;

#[inline(never)]
pub(super) fn write(report: &Report<'_>, style: Style) -> String {
    let mut out = format!("{}\n", subject(report));
    let sorted = report.worst_first();
    for (group, title) in groups(&sorted) {
        out.push_str(&format!("\n{title}\n"));
        for outcome in sorted.iter().filter(|outcome| outcome.rule.group() == group) {
            line(&mut out, outcome, style);
        }
    }
    if style.details {
        out.push_str("\nWhat could not be seen\n");
        for (source, why) in &report.blind {
            out.push_str(&format!("  {source}: {why}\n"));
        }
        for text in ALWAYS_BLIND {
            out.push_str(&format!("  {text}\n"));
        }
    } else if !report.blind.is_empty() {
        out.push_str(&format!(
            "\n{} things could not be seen: --details\n",
            report.blind.len()
        ));
    }
    let verdict = report.verdict();
    let (on, off) = colour(verdict, style.colour);
    out.push_str(&format!(
        "\nverdict {on}{}{off}: {}\n",
        verdict.name(),
        counts(report)
    ));
    out
}

/// The groups in the order of their worst rules.
#[inline(never)]
fn groups(sorted: &[&Outcome]) -> Vec<(&'static str, &'static str)> {
    let mut groups: Vec<(&'static str, &'static str)> = Vec::new();
    for outcome in sorted {
        let group = outcome.rule.group();
        let title = GROUPS.iter().find(|(name, _)| *name == group);
        if let Some(title) = title.filter(|title| !groups.contains(title)) {
            groups.push(*title);
        }
    }
    groups
}

#[inline(never)]
fn line(out: &mut String, outcome: &Outcome, style: Style) {
    let rule = outcome.rule;
    let (on, off) = colour(outcome.verdict, style.colour);
    let (verdict, severity) = (outcome.verdict.name(), rule.severity.name());
    let head = format!("  {on}{verdict:<13}{off} {severity:<8} {:<18}", rule.id);
    let first = outcome.evidence.first();
    let text = match first.filter(|_| !style.details && outcome.verdict < Verdict::Pass) {
        Some(first) => {
            let alike = outcome.evidence.iter().filter(|e| e.verdict == outcome.verdict);
            let more = match alike.count() {
                0 | 1 => String::new(),
                count => format!(" (and {} more)", count - 1),
            };
            cut(&format!("{}: {}", first.source, first.text)) + &more
        }
        None => rule.title.to_owned(),
    };
    out.push_str(&format!("{head} {text}\n"));
    if !style.details {
        return;
    }
    for evidence in &outcome.evidence {
        let (source, text) = (&evidence.source, &evidence.text);
        out.push_str(&format!(
            "      {:<13} {source}: {text}\n",
            evidence.verdict.name()
        ));
    }
    if outcome.verdict < Verdict::Pass {
        out.push_str(&format!("      remedy        {}\n", rule.remedy));
    }
    for (_, standard, provisions) in rule.provisions() {
        out.push_str(&format!("      {standard} {provisions}\n"));
    }
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(MAX_LINE) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

/// What switches a terminal's colour on and off.
fn colour(verdict: Verdict, wanted: bool) -> (&'static str, &'static str) {
    if !wanted {
        return ("", "");
    }
    let on = match verdict {
        Verdict::Fail => "\x1b[1;31m",
        Verdict::Error | Verdict::Unknown => "\x1b[33m",
        Verdict::Pass => "\x1b[32m",
        Verdict::NotApplicable | Verdict::NotChecked => "\x1b[2m",
    };
    (on, "\x1b[0m")
}
