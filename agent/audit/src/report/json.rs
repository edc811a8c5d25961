//! One object for machines; `docs/audit.schema.json` is its schema.

use super::{ALWAYS_BLIND, timestamp};
use crate::Verdict;
use crate::facts::{Socket, Text};
use crate::inventory::{owner, program, sockets};
use crate::json::Writer;
use crate::judge::{Report, clean};

/// The most sockets that are written.
const MAX_SOCKETS: usize = 512;
/// Where evidence beyond a rule's first, blind spots, the inventory and sockets stop, in bytes: whoever fills a camera with
/// names must not make the report too long to be passed on. It stays below 256 KiB.
const STOPS: [usize; 4] = [112 * 1024, 144 * 1024, 192 * 1024, 240 * 1024];

#[inline(never)]
pub(super) fn write(report: &Report<'_>) -> String {
    let facts = report.facts;
    let about = &facts.about;
    let mut json = Writer::new();
    let mut left_out = [0; 4];
    json.object(|o| {
        o.key("format").string("lenscap-audit/1");
        o.key("version").string(&about.version);
        o.key("time").string(&timestamp(about.time));
        o.key("subject").object(|o| {
            o.key("live").bool(about.live);
            o.key("root").string(&cleaned(&about.root));
            o.key("firmwares").array(|a| {
                about
                    .firmwares
                    .iter()
                    .for_each(|name| a.item().string(&cleaned(name)));
            });
            o.key("kernel")
                .optional(facts.kernel.value().map(|text| cleaned(text)).as_deref());
            o.key("device").optional(about.device.as_deref());
        });
        o.key("verdict").string(report.verdict().name());
        o.key("worst").optional(report.worst().map(|worst| worst.name()));
        o.key("counts").object(|o| {
            for verdict in Verdict::ALL {
                o.key(verdict.name()).number(report.count(verdict) as u64);
            }
        });
        o.key("rules").array(|a| {
            for outcome in &report.outcomes {
                let rule = outcome.rule;
                a.item().object(|o| {
                    o.key("id").string(rule.id);
                    o.key("severity").string(rule.severity.name());
                    o.key("verdict").string(outcome.verdict.name());
                    o.key("title").string(rule.title);
                    o.key("remedy").string(rule.remedy);
                    o.key("references").object(|o| {
                        for (key, _, provisions) in rule.provisions() {
                            o.key(key)
                                .array(|a| provisions.split(' ').for_each(|one| a.item().string(one)));
                        }
                    });
                    o.key("evidence").array(|a| {
                        for (n, evidence) in outcome.evidence.iter().enumerate() {
                            if n > 0 && a.written() > STOPS[0] {
                                left_out[0] += 1;
                                continue;
                            }
                            a.item().object(|o| {
                                o.key("verdict").string(evidence.verdict.name());
                                o.key("source").string(&evidence.source);
                                o.key("text").string(&evidence.text);
                            });
                        }
                    });
                });
            }
        });
        o.key("blind_spots").array(|a| {
            ALWAYS_BLIND.iter().for_each(|text| a.item().string(text));
            for (source, why) in &report.blind {
                if a.written() < STOPS[1] {
                    a.item().string(&format!("{source}: {why}"));
                } else {
                    left_out[1] += 1;
                }
            }
        });
        o.key("inventory").array(|a| {
            for line in &report.inventory.lines {
                if a.written() < STOPS[2] {
                    a.item().string(line);
                } else {
                    left_out[2] += 1;
                }
            }
        });
        o.key("sockets").array(|a| {
            for (n, socket) in sockets(facts).into_iter().enumerate() {
                if n < MAX_SOCKETS && a.written() < STOPS[3] {
                    a.item();
                    one_socket(a, report, socket);
                } else {
                    left_out[3] += 1;
                }
            }
        });
        o.key("left_out").object(|o| {
            for (name, count) in ["evidence", "blind_spots", "inventory", "sockets"]
                .iter()
                .zip(left_out)
            {
                o.key(name).number(count);
            }
        });
    });
    json.finish() + "\n"
}

fn cleaned(text: &str) -> Text {
    clean(Text::Owned(text.to_owned()))
}

#[inline(never)]
fn one_socket(json: &mut Writer, report: &Report<'_>, socket: &Socket) {
    let facts = report.facts;
    let owner = owner(facts, socket);
    json.object(|o| {
        o.key("protocol").string(socket.proto.name());
        for (name, (address, port)) in [("local", socket.local), ("remote", socket.remote)] {
            o.key(name).object(|o| {
                o.key("address").string(&address.to_string());
                o.key("port").number(port.into());
            });
        }
        o.key("state").number(socket.state.into());
        if let Some(owner) = owner {
            o.key("pid").number(owner.pid.into());
            o.key("program").string(&cleaned(program(facts, socket)));
            // The words after it may be passwords.
            let command = owner.words.split(' ').next().unwrap_or_default();
            o.key("command").string(&cleaned(command));
        }
    });
}
