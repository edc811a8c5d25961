//! The first clean audit's inventory, kept so that later ones can tell what is new.

use std::io;
use std::path::PathBuf;

use lenscap_audit::Report;
use lenscap_audit::facts::{Fact, Missing};
use lenscap_audit::inventory::MAX_LINES;

use super::{Request, missing};
use crate::{config, files};

const HEAD: &str = "lenscap-baseline 1";
/// The longest baseline.
const MAX_BYTES: u64 = 512 * 1024;

/// Where it is. `None`: a tree has none unless one is named.
fn path(request: &Request) -> Option<PathBuf> {
    match (&request.baseline, &request.root) {
        (Some(path), _) => Some(path.clone()),
        (None, Some(_)) => None,
        (None, None) => {
            let agent = config::load_agent_leniently(&request.config);
            Some(agent.state_dir.join("audit.baseline"))
        }
    }
}

#[inline(never)]
pub(super) fn load(request: &Request) -> Fact<Option<Vec<String>>> {
    let Some(path) = path(request) else {
        return Fact::seen("--baseline", None);
    };
    let source = path.display().to_string();
    match files::read(&path, MAX_BYTES) {
        Ok(bytes) => match parse(&String::from_utf8_lossy(&bytes)) {
            Some(lines) => Fact::seen(source, Some(lines)),
            None => Fact::missing(source, Missing::because("is damaged; --accept makes a new one")),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Fact::seen(source, None),
        Err(error) => Fact::missing(source, missing(&error)),
    }
}

fn parse(text: &str) -> Option<Vec<String>> {
    let rest = text.strip_prefix(HEAD)?.strip_prefix('\n')?;
    // Without the last line it was cut short.
    let rest = rest.strip_suffix("end\n")?;
    Some(rest.lines().take(MAX_LINES).map(str::to_owned).collect())
}

/// Stores what is there: the first time that it is clean, or when the owner accepts it.
#[inline(never)]
pub(super) fn keep(request: &Request, report: &Report<'_>) -> Result<(), String> {
    let first = matches!(report.facts.baseline.value, Ok(None));
    if !(request.accept || first && report.is_clean()) {
        return Ok(());
    }
    let Some(path) = path(request) else { return Ok(()) };
    let mut text = format!("{HEAD}\n");
    for line in &report.inventory.lines {
        text.push_str(line);
        text.push('\n');
    }
    text.push_str("end\n");
    match files::replace(&path, text.as_bytes()) {
        Ok(()) => Ok(()),
        // Whoever is not root, or has no state folder yet, gets the report all the same.
        Err(_) if !request.accept && request.baseline.is_none() => Ok(()),
        Err(error) => Err(format!("cannot write {}: {error}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn a_baseline_is_whole_or_none() {
        assert_eq!(parse("lenscap-baseline 1\nend\n"), Some(vec![]));
        let two = "lenscap-baseline 1\naccount a\nmodule b\nend\n";
        assert_eq!(parse(two).unwrap(), ["account a", "module b"]);
        for bad in [
            "",
            "lenscap-baseline 1\naccount a\n",
            "lenscap-baseline 2\nend\n",
            "\u{0}",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
