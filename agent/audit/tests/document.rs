//! `docs/audit-rules.md` says what the rules say. `LENSCAP_WRITE_DOCS=1 cargo test -p lenscap-audit` writes it.

#![allow(clippy::unwrap_used)]

use std::fmt::Write as _;
use std::path::Path;

use lenscap_audit::rules::{GROUPS, RULES};

fn document() -> String {
    let mut text = String::from(
        "# Audit rules\n\n\
         Made from `agent/audit/src/rules` by `LENSCAP_WRITE_DOCS=1 cargo test -p lenscap-audit`; do not edit it by hand.\n\
         [audit.md](audit.md) says how the rules are judged. *Running*: a root file system tree cannot tell.\n",
    );
    for (group, title) in GROUPS {
        writeln!(text, "\n## {title} (`{group}`)").unwrap();
        for rule in RULES.iter().filter(|rule| rule.group() == group) {
            let running = if rule.live { ", running" } else { "" };
            writeln!(text, "\n### {}\n", rule.id).unwrap();
            writeln!(text, "{}. *{}{running}*\n", rule.title, rule.severity.name()).unwrap();
            writeln!(text, "{}\n", rule.remedy).unwrap();
            for (_, standard, provisions) in rule.provisions() {
                writeln!(text, "- {standard} {}", provisions.replace(' ', ", ")).unwrap();
            }
        }
    }
    text
}

#[test]
fn the_document_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/audit-rules.md");
    let expected = document();
    if std::env::var_os("LENSCAP_WRITE_DOCS").is_some() {
        std::fs::write(&path, &expected).unwrap();
    }
    let have = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        have == expected,
        "docs/audit-rules.md is not what the rules say: LENSCAP_WRITE_DOCS=1 cargo test -p lenscap-audit"
    );
}
