//! One object for machines; `docs/audit.schema.json` is its schema.

use super::{ALWAYS_BLIND, timestamp};
use crate::Verdict;
use crate::facts::{Socket, Text};
use crate::inventory::{program, sockets};
use crate::json::Writer;
use crate::judge::{Report, clean};
use crate::rules::STANDARDS;

/// The most sockets that are written.
const MAX_SOCKETS: usize = 512;

pub(super) fn write(report: &Report<'_>) -> String {
    let facts = report.facts;
    let about = &facts.about;
    let mut json = Writer::new();
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
                        for ((key, _), provisions) in STANDARDS.iter().zip(rule.references) {
                            if provisions.is_empty() {
                                continue;
                            }
                            o.key(key)
                                .array(|a| provisions.split(' ').for_each(|one| a.item().string(one)));
                        }
                    });
                    o.key("evidence").array(|a| {
                        for evidence in &outcome.evidence {
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
            for (source, why) in &report.blind {
                a.item().string(&format!("{source}: {why}"));
            }
            ALWAYS_BLIND.iter().for_each(|text| a.item().string(text));
        });
        o.key("inventory")
            .array(|a| report.inventory.iter().for_each(|line| a.item().string(line)));
        o.key("sockets").array(|a| {
            for socket in sockets(facts).take(MAX_SOCKETS) {
                a.item();
                one_socket(a, report, socket);
            }
        });
    });
    json.finish() + "\n"
}

fn cleaned(text: &str) -> Text {
    clean(Text::Owned(text.to_owned()))
}

fn one_socket(json: &mut Writer, report: &Report<'_>, socket: &Socket) {
    let facts = report.facts;
    let owner = socket
        .owner
        .and_then(|owner| facts.processes.value()?.list.get(owner));
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
            o.key("command").string(&cleaned(&owner.words));
        }
    });
}
