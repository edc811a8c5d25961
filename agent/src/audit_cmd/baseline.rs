//! The first clean audit's inventory, kept so that later ones can tell what is new.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use lenscap_audit::Report;
use lenscap_audit::facts::{Baseline, Fact, Facts, Missing};
use lenscap_audit::inventory::MAX_LINES;

use super::{Request, missing};
use crate::{config, files, sys};

const HEAD: &str = "lenscap-baseline 2";
/// How the second line begins: what was kept because it was clean is told from what the owner accepted. The salt follows.
const KINDS: [&str; 2] = ["first ", "accepted "];
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

/// Loads it, with its salt; a new one, where there is none.
#[inline(never)]
pub(super) fn load(request: &Request, facts: &mut Facts) {
    let random: [u8; 16] = sys::random().unwrap_or_default();
    facts.salt = super::files::hex(&random);
    let loaded = read(request, &mut facts.salt);
    facts.baseline.becomes(loaded);
}

fn read(request: &Request, salt: &mut String) -> Fact<Option<Baseline>> {
    let Some(path) = path(request) else {
        return Fact::seen("--baseline", None);
    };
    let source = path.display().to_string();
    match files::read(&path, MAX_BYTES) {
        Ok(bytes) => match parse(&String::from_utf8_lossy(&bytes)) {
            Some((baseline, kept)) => {
                *salt = kept;
                Fact::seen(source, Some(baseline))
            }
            None => Fact::missing(source, Missing::because("is damaged; --accept makes a new one")),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Fact::seen(source, None),
        Err(error) => Fact::missing(source, missing(&error)),
    }
}

/// The baseline, and its salt.
fn parse(text: &str) -> Option<(Baseline, String)> {
    let rest = text.strip_prefix(HEAD)?.strip_prefix('\n')?;
    // Without the last line it was cut short.
    let rest = rest.strip_suffix("end\n")?;
    let (kind, rest) = rest.split_once('\n')?;
    let accepted = kind.starts_with(KINDS[1]);
    let salt = kind.strip_prefix(KINDS[usize::from(accepted)])?;
    let lines = rest.lines().take(2 * MAX_LINES).map(str::to_owned).collect();
    Some((Baseline { lines, accepted }, salt.to_owned()))
}

/// Stores what is there: the first time that it is clean, or when the owner accepts it.
#[inline(never)]
pub(super) fn keep(request: &Request, report: &Report<'_>) -> Result<(), String> {
    let first = matches!(report.facts.baseline.value, Ok(None));
    if !(request.accept || first && report.is_clean()) {
        return Ok(());
    }
    let Some(path) = path(request) else { return Ok(()) };
    let (kind, salt) = (KINDS[usize::from(request.accept)], &report.facts.salt);
    let mut text = format!("{HEAD}\n{kind}{salt}\n");
    let inventory = &report.inventory;
    for line in inventory.lines.iter().chain(&inventory.logins) {
        // Who may be a peer is not known by itself.
        if request.accept || !inventory.doubtful.contains(line) {
            text.push_str(line);
            text.push('\n');
        }
    }
    text.push_str("end\n");
    if let Some(folder) = path
        .parent()
        .filter(|_| request.accept && request.baseline.is_none())
    {
        make(folder).map_err(|error| format!("cannot make {}: {error}", folder.display()))?;
    }
    match files::replace(&path, text.as_bytes()) {
        Ok(()) => Ok(()),
        // Whoever is not root, or has no state folder yet, gets the report all the same.
        Err(_) if !request.accept && request.baseline.is_none() => Ok(()),
        Err(error) => Err(format!("cannot write {}: {error}", path.display())),
    }
}

/// The state folder, for its owner alone, if there is none yet.
fn make(folder: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn a_baseline_is_whole_or_none() {
        let (none, salt) = parse("lenscap-baseline 2\nfirst 1f\nend\n").unwrap();
        assert!(none.lines.is_empty() && !none.accepted && salt == "1f");
        let two = "lenscap-baseline 2\naccepted 2e\naccount a\nmodule b\nend\n";
        let (two, salt) = parse(two).unwrap();
        assert!(two.accepted && salt == "2e");
        assert_eq!(two.lines, ["account a", "module b"]);
        for bad in [
            "",
            "lenscap-baseline 2\nfirst 1f\naccount a\n",
            "lenscap-baseline 2\nend\n",
            "lenscap-baseline 2\naccount a\nend\n",
            "lenscap-baseline 1\naccount a\nend\n",
            "\u{0}",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
