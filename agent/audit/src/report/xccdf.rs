//! A benchmark with its test result: XCCDF 1.2 (NISTIR 7275 r4).

use super::markup::fill;
use super::{counts, subject, timestamp};
use crate::Verdict;
use crate::judge::Report;
use crate::rules::{GROUPS, Severity};

const HEAD: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
<Benchmark xmlns=\"http://checklists.nist.gov/xccdf/1.2\" id=\"xccdf_org.lenscap_benchmark_camera\" resolved=\"true\" xml:lang=\"en\">\
<status>accepted</status><title>Lenscap: what is true about a camera</title><version>%</version>\n";

pub(super) fn write(report: &Report<'_>) -> String {
    let mut out = String::new();
    let about = &report.facts.about;
    fill(&mut out, HEAD, &[&about.version]);
    for (group, title) in GROUPS {
        fill(
            &mut out,
            "<Group id=\"xccdf_org.lenscap_group_%\"><title>%</title>\n",
            &[group, title],
        );
        for outcome in report
            .outcomes
            .iter()
            .filter(|outcome| outcome.rule.group() == group)
        {
            let rule = outcome.rule;
            let texts = [rule.id, severity(rule.severity), rule.title];
            fill(
                &mut out,
                "<Rule id=\"xccdf_org.lenscap_rule_%\" severity=\"%\"><title>%</title>",
                &texts,
            );
            for (_, standard, provisions) in rule.provisions() {
                fill(&mut out, "<reference>% %</reference>", &[standard, provisions]);
            }
            fill(&mut out, "<fixtext>%</fixtext></Rule>\n", &[rule.remedy]);
        }
        out.push_str("</Group>\n");
    }
    let time = timestamp(about.time);
    let frame = "<TestResult id=\"xccdf_org.lenscap_testresult_camera\" end-time=\"%\" test-system=\"lenscap\" version=\"%\">\
<benchmark href=\"#xccdf_org.lenscap_benchmark_camera\" id=\"xccdf_org.lenscap_benchmark_camera\"/>\
<title>%</title><remark>%</remark><target>%</target>\n";
    let device = about.device.as_deref().unwrap_or("camera");
    let texts = [&time, &about.version, &counts(report), &subject(report), device];
    fill(&mut out, frame, &texts);
    for outcome in &report.outcomes {
        let rule = outcome.rule;
        let frame =
            "<rule-result idref=\"xccdf_org.lenscap_rule_%\" severity=\"%\" time=\"%\"><result>%</result>";
        let texts = [rule.id, severity(rule.severity), &time, outcome.verdict.name()];
        fill(&mut out, frame, &texts);
        for evidence in &outcome.evidence {
            let level = match evidence.verdict {
                Verdict::Fail | Verdict::Error => "error",
                Verdict::Unknown => "warning",
                Verdict::Pass | Verdict::NotApplicable | Verdict::NotChecked => "info",
            };
            let texts = [level, &evidence.source, &evidence.text];
            fill(&mut out, "<message severity=\"%\">%: %</message>", &texts);
        }
        out.push_str("</rule-result>\n");
    }
    let passed = report.count(Verdict::Pass);
    let judged = Verdict::ALL[..4]
        .iter()
        .map(|verdict| report.count(*verdict))
        .sum::<usize>();
    let frame = "<score system=\"urn:xccdf:scoring:flat-unweighted\" maximum=\"%\">%</score></TestResult></Benchmark>\n";
    fill(&mut out, frame, &[&judged.to_string(), &passed.to_string()]);
    out
}

/// XCCDF knows nothing above high.
fn severity(severity: Severity) -> &'static str {
    severity.min(Severity::High).name()
}
