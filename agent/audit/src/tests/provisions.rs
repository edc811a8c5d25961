//! What the rules refer to.

use crate::rules::{GROUPS, RULES};

#[test]
fn ids_groups_and_references_are_whole() {
    for (n, rule) in RULES.iter().enumerate() {
        assert!(RULES[..n].iter().all(|other| other.id != rule.id), "{}", rule.id);
        assert!(
            GROUPS.iter().any(|(group, _)| *group == rule.group()),
            "{}",
            rule.id
        );
        assert!(
            rule.remedy.ends_with('.') && !rule.title.ends_with('.'),
            "{}",
            rule.id
        );
        assert_eq!(
            rule.references.split('|').count(),
            PROVISIONS.len(),
            "{}",
            rule.id
        );
        for ((standard, there), provisions) in PROVISIONS.iter().zip(rule.references.split('|')) {
            for one in provisions.split_whitespace() {
                let known = there.split_whitespace().any(|have| have == one);
                assert!(known, "{}: {standard} has no {one}", rule.id);
            }
        }
    }
}

/// What each document has, of the parts that are about a device: the table of implementations of EN 303 645 (table B.1); the
/// mechanisms of EN 18031-1, clause 6, those left out that it asks of network equipment alone (NMM, TCM); PSTI's paragraph 1,
/// which is about passwords and says that keys are none; the CRA's annex I part I (2); NISTIR 8259A's table 1; OWASP's ten.
const PROVISIONS: [(&str, &str); 6] = [
    (
        "EN 303 645",
        "5.1-1 5.1-2 5.1-2A 5.1-3 5.1-4 5.1-5 5.2-1 5.2-2 5.2-3 5.3-1 5.3-2 5.3-3 5.3-4A 5.3-4B 5.3-5 5.3-6A 5.3-6B \
         5.3-7 5.3-8 5.3-9 5.3-10 5.3-11 5.3-12 5.3-13 5.3-14 5.3-15A 5.3-15B 5.3-16 5.4-1 5.4-2 5.4-3 5.4-4 5.5-1 5.5-2 \
         5.5-3 5.5-4 5.5-5 5.5-6 5.5-7 5.5-8 5.6-1 5.6-2 5.6-3 5.6-4A 5.6-4B 5.6-5 5.6-6 5.6-7 5.6-8 5.6-9 5.7-1 5.7-2 \
         5.8-1 5.8-2 5.8-3 5.9-1 5.9-2 5.9-3 5.10-1 5.11-1 5.11-2 5.11-3 5.11-4 5.12-1 5.12-2 5.12-3 5.13-1A 5.13-1B",
    ),
    (
        "EN 18031-1",
        "ACM-1 ACM-2 AUM-1-1 AUM-1-2 AUM-2 AUM-3 AUM-4 AUM-5-1 AUM-5-2 AUM-6 SUM-1 SUM-2 SUM-3 SSM-1 SSM-2 SSM-3 SCM-1 \
         SCM-2 SCM-3 SCM-4 RLM-1 CCK-1 CCK-2 CCK-3 GEC-1 GEC-2 GEC-3 GEC-4 GEC-5 GEC-6 CRY-1",
    ),
    ("PSTI", "1"),
    ("CRA", "2a 2b 2c 2d 2e 2f 2g 2h 2i 2j 2k 2l 2m"),
    (
        "NISTIR 8259A",
        "device-identification device-configuration data-protection logical-access-to-interfaces software-update \
         cybersecurity-state-awareness",
    ),
    ("OWASP", "I1 I2 I3 I4 I5 I6 I7 I8 I9 I10"),
];
