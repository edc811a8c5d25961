//! The components of a camera's software: CycloneDX 1.6 (ECMA-424), in JSON.

use super::timestamp;
use crate::json::Writer;
use crate::judge::{Report, clean};

pub(super) fn write(report: &Report<'_>) -> String {
    let facts = report.facts;
    let about = &facts.about;
    let mut json = Writer::new();
    json.object(|o| {
        o.key("bomFormat").string("CycloneDX");
        o.key("specVersion").string("1.6");
        o.key("version").number(1);
        o.key("metadata").object(|o| {
            o.key("timestamp").string(&timestamp(about.time));
            o.key("tools").object(|o| {
                o.key("components")
                    .array(|a| component(a.item(), "application", "lenscap", Some(&about.version), "", ""));
            });
            let name = about.firmwares.first().map_or("camera", String::as_str);
            component(o.key("component"), "firmware", name, None, "", "");
        });
        o.key("components").array(|a| {
            if let Some(kernel) = facts.kernel.value() {
                component(
                    a.item(),
                    "operating-system",
                    "linux",
                    Some(kernel),
                    "generic/",
                    "GPL-2.0-only",
                );
            }
            if let Some(Some(busybox)) = facts.busybox.value() {
                let version = Some(busybox.as_str()).filter(|version| !version.is_empty());
                component(
                    a.item(),
                    "application",
                    "busybox",
                    version,
                    "generic/",
                    "GPL-2.0-only",
                );
            }
            if facts.sandbox.value().is_some_and(Option::is_some) {
                let version = Some(about.version.as_str());
                component(
                    a.item(),
                    "application",
                    "lenscap",
                    version,
                    "generic/",
                    "MIT OR Apache-2.0",
                );
            }
            let kind = if facts.packages.source.contains("apk") {
                "apk/openwrt/"
            } else {
                "opkg/"
            };
            for package in facts.packages.value().into_iter().flatten() {
                let version = Some(package.version.as_str());
                component(
                    a.item(),
                    "application",
                    &package.name,
                    version,
                    kind,
                    &package.licence,
                );
            }
        });
        // What is known of the components is not known to be all.
        o.key("compositions").array(|a| {
            a.item().object(|o| o.key("aggregate").string("incomplete"));
        });
    });
    json.finish() + "\n"
}

fn component(json: &mut Writer, kind: &str, name: &str, version: Option<&str>, purl: &str, licence: &str) {
    let name = clean(name.to_owned().into());
    json.object(|o| {
        o.key("type").string(kind);
        o.key("name").string(&name);
        if let Some(version) = version {
            let version = clean(version.to_owned().into());
            o.key("version").string(&version);
            if !purl.is_empty() {
                o.key("purl")
                    .string(&format!("pkg:{purl}{}@{}", percent(&name), percent(&version)));
            }
        }
        if !licence.is_empty() {
            o.key("licenses").array(|a| {
                a.item().object(|o| {
                    o.key("license")
                        .object(|o| o.key("name").string(&clean(licence.to_owned().into())));
                });
            });
        }
    });
}

/// Percent-encoding of the package URL specification.
fn percent(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}
