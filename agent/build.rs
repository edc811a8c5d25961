//! Fixes what a build decides: its time, the floor below which the agent believes no clock, and the CAs it trusts.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

/// DER tags of the strings that a CA's name is made of: UTF8String and PrintableString (X.680, universal tags 12 and 19).
const STRING_TAGS: [u8; 2] = [0x0c, 0x13];

fn main() {
    println!("cargo:rerun-if-env-changed=SOURCE_DATE_EPOCH");
    println!("cargo:rerun-if-changed=build.rs");
    let epoch = from_env().or_else(from_git).unwrap_or_else(from_clock);
    println!("cargo:rustc-env=LENSCAP_BUILD_EPOCH={epoch}");
    // A file that the packaging made: what the program is made of.
    println!("cargo:rerun-if-env-changed=LENSCAP_DEPENDENCIES");
    println!("cargo:rustc-check-cfg=cfg(lenscap_dependencies)");
    if let Ok(path) = std::env::var("LENSCAP_DEPENDENCIES") {
        println!("cargo:rerun-if-changed={path}");
        println!("cargo:rustc-env=LENSCAP_DEPENDENCIES={path}");
        println!("cargo:rustc-cfg=lenscap_dependencies");
    }
    if let Err(error) = write_roots() {
        println!("cargo:error={error}");
    }
}

/// Reproducible builds name their time (reproducible-builds.org, SOURCE_DATE_EPOCH).
fn from_env() -> Option<u64> {
    std::env::var("SOURCE_DATE_EPOCH").ok()?.trim().parse().ok()
}

fn from_git() -> Option<u64> {
    let output = Command::new("git")
        .args(["log", "-1", "--format=%ct"])
        .output()
        .ok()?;
    String::from_utf8(output.stdout).ok()?.trim().parse().ok()
}

fn from_clock() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// Writes `roots.rs`: the CAs of the web that the program trusts where its configuration names none, each as subject,
/// key and name constraints in DER. `LENSCAP_ROOTS` chooses them: `all` (as without it), `common` (`data/common-roots`)
/// or `none`.
fn write_roots() -> Result<(), String> {
    println!("cargo:rerun-if-env-changed=LENSCAP_ROOTS");
    println!("cargo:rerun-if-changed=data/common-roots");
    let choice = std::env::var("LENSCAP_ROOTS").unwrap_or_else(|_| "all".to_owned());
    let common = std::fs::read_to_string("data/common-roots")
        .map_err(|error| format!("data/common-roots: {error}"))?;
    let common: Vec<&str> = common
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect();
    let roots = webpki_roots::TLS_SERVER_ROOTS;
    // A name that the list of CAs no longer has must not be left out in silence.
    for name in &common {
        if !roots.iter().any(|root| is_named(&root.subject, name)) {
            return Err(format!(
                "data/common-roots: webpki-roots has no {name:?} (any more)"
            ));
        }
    }
    let wanted = |subject: &[u8]| match choice.as_str() {
        "all" => Ok(true),
        "common" => Ok(common.iter().any(|name| is_named(subject, name))),
        "none" => Ok(false),
        other => Err(format!("LENSCAP_ROOTS={other}: not one of all, common, none")),
    };
    let mut text = String::from("&[\n");
    for root in roots {
        if wanted(&root.subject)? {
            let constraints = root.name_constraints.as_ref().map(|der| der.as_ref());
            let key = root.subject_public_key_info.as_ref();
            let _ = writeln!(text, "(&{:?}, &{key:?}, ", root.subject.as_ref());
            let _ = match constraints {
                Some(der) => writeln!(text, "Some(&{der:?})),"),
                None => writeln!(text, "None),"),
            };
        }
    }
    text.push_str("]\n");
    let folder = std::env::var("OUT_DIR").map_err(|error| format!("OUT_DIR: {error}"))?;
    std::fs::write(Path::new(&folder).join("roots.rs"), text).map_err(|error| format!("roots.rs: {error}"))
}

/// Whether one string of a subject is `name`, as a whole.
fn is_named(subject: &[u8], name: &str) -> bool {
    let Ok(length) = u8::try_from(name.len()) else {
        return false;
    };
    STRING_TAGS.iter().any(|&tag| {
        let attribute = [&[tag, length], name.as_bytes()].concat();
        subject.windows(attribute.len()).any(|window| window == attribute)
    })
}
