//! One page that needs nothing else: no script, no font, no picture.

use super::markup::{escape, fill};
use super::{ALWAYS_BLIND, counts, subject, timestamp};
use crate::Verdict;
use crate::judge::Report;

const HEAD: &str = "<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\">\
<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\
<meta name=\"viewport\" content=\"width=device-width\"><title>Lenscap audit</title><style>\
body{font:15px/1.5 system-ui,sans-serif;margin:2em auto;max-width:62em;padding:0 1em;color:#222;background:#fff}\
h1{margin:0}p{margin:.3em 0}details{border-top:1px solid #ddd;padding:.45em 0}\
summary{cursor:pointer;display:flex;gap:.8em;align-items:baseline}\
b{font-size:.8em;min-width:8.2em;text-align:center;border-radius:3px;padding:.1em .3em;background:#ddd}\
i{min-width:4.5em;color:#666;font-style:normal;font-size:.85em}\
.fail{background:#c62828;color:#fff}.error,.unknown{background:#f9a825}.pass{background:#2e7d32;color:#fff}\
ul{margin:.4em 0 .4em 1em}li,p{overflow-wrap:anywhere}code{color:#444}small{color:#666}\
</style></head><body><h1>Lenscap audit</h1>";

pub(super) fn write(report: &Report<'_>) -> String {
    let mut out = String::from(HEAD);
    let verdict = report.verdict().name();
    let about = &report.facts.about;
    let time = timestamp(about.time);
    let frame = "<p>%<br><small>% · lenscap %</small></p><p><b class=\"%\">%</b> %</p>";
    let texts = [
        &subject(report),
        &time,
        &about.version,
        verdict,
        verdict,
        &counts(report),
    ];
    fill(&mut out, frame, &texts);
    for outcome in report.worst_first() {
        let rule = outcome.rule;
        let verdict = outcome.verdict.name();
        let open = if outcome.verdict == Verdict::Fail {
            " open"
        } else {
            ""
        };
        out.push_str("<details");
        out.push_str(open);
        let frame = "><summary><b class=\"%\">%</b><i>%</i><span>% <small>%</small></span></summary><ul>";
        let texts = [verdict, verdict, rule.severity.name(), rule.title, rule.id];
        fill(&mut out, frame, &texts);
        for evidence in &outcome.evidence {
            fill(
                &mut out,
                "<li><code>%</code>: %</li>",
                &[&evidence.source, &evidence.text],
            );
        }
        out.push_str("</ul>");
        if outcome.verdict < Verdict::Pass {
            fill(&mut out, "<p>What to do: %</p>", &[rule.remedy]);
        }
        out.push_str("<small>");
        for (_, standard, provisions) in rule.provisions() {
            fill(&mut out, "% %. ", &[standard, provisions]);
        }
        out.push_str("</small></details>");
    }
    out.push_str("<h2>What could not be seen</h2><ul>");
    for (source, why) in &report.blind {
        fill(&mut out, "<li><code>%</code>: %</li>", &[source, why]);
    }
    for text in ALWAYS_BLIND {
        fill(&mut out, "<li>%</li>", &[text]);
    }
    out.push_str("</ul><details><summary>What is on the camera</summary><ul>");
    for line in &report.inventory.lines {
        out.push_str("<li>");
        escape(&mut out, line);
        out.push_str("</li>");
    }
    out + "</ul></details></body></html>\n"
}
