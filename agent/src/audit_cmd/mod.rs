//! `lenscap audit`: what is true about this camera or a root file system tree, with evidence.
//!
//! Collectors look and write down what they saw; `lenscap-audit` judges. Nothing is changed but the baseline and the
//! memory of password checks.

mod baseline;
mod files;
mod firewall;
mod net;
mod places;
mod probe;
mod processes;
mod sign;
mod sockets;
mod system;

use core::mem::ManuallyDrop;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::PathBuf;

use lenscap_audit::facts::{About, Fact, Facts, Missing, Socket};
use lenscap_audit::inventory;
use lenscap_audit::report::{FORMATS, Format, Style, write};
use lenscap_audit::rules::RULES;
use lenscap_audit::{Report, Verdict, audit};
use lenscap_harden::root::Root;
use lenscap_harden::survey::Survey;
use nix::errno::Errno;

use crate::cli::{EXIT_FAILURE, EXIT_OK, EXIT_USAGE, Stop, finish};
use crate::config;
use crate::harden_cmd::EXIT_UNKNOWN;
use crate::sys;

/// What is asked for.
#[derive(Debug)]
pub struct Request {
    /// A tree; `None`: the running camera.
    pub root: Option<PathBuf>,
    /// The configuration, for a running camera.
    pub config: PathBuf,
    /// One of [`FORMATS`].
    pub format: String,
    /// Where the baseline is, instead of the state folder.
    pub baseline: Option<PathBuf>,
    /// What is there now becomes the baseline.
    pub accept: bool,
    /// Rules or groups, with commas; `None`: all.
    pub only: Option<String>,
    /// `fail` or `unknown`: what exits with 1; `None`: fails exit with 1, doubts with 2.
    pub fail_on: Option<String>,
    /// All evidence, in text.
    pub details: bool,
    /// Where a signature of the report is written.
    pub sign: Option<PathBuf>,
    /// No service is asked anything.
    pub no_probe: bool,
}

/// Does it. Gives the exit status.
#[must_use]
pub fn run(request: &Request) -> u8 {
    finish(try_run(request))
}

#[inline(never)]
fn try_run(request: &Request) -> Result<u8, Stop> {
    let usage = |why: String| Stop(why, EXIT_USAGE);
    let format = Format::parse(&request.format)
        .ok_or_else(|| usage(format!("there is no format `{}`: {FORMATS}", request.format)))?;
    let status = exit_status(request.fail_on.as_deref()).map_err(usage)?;
    let only = only(request.only.as_deref()).map_err(usage)?;
    let root = match &request.root {
        Some(tree) => Root::tree(tree).map_err(|error| usage(format!("{}: {error}", tree.display())))?,
        None => Root::live().map_err(|error| Stop(error.to_string(), EXIT_UNKNOWN))?,
    };
    if request.accept && request.root.is_some() && request.baseline.is_none() {
        return Err(usage(
            "--accept with --root needs --baseline FILE: a tree keeps none".into(),
        ));
    }
    let signer = match &request.sign {
        Some(file) => Some((file, sign::Signer::load(&request.config).map_err(failed)?)),
        None => None,
    };
    // The process ends after this: code that frees what it knows would be flash for nothing.
    let facts = Box::leak(Box::new(Facts::UNSEEN));
    collect(request, &root, &only, facts);
    facts.about.device = signer.as_ref().map(|(_, signer)| signer.fingerprint.clone());
    let report = ManuallyDrop::new(audit(facts, &only));
    let style = Style {
        colour: io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
        details: request.details,
    };
    let text = write(&report, format, style);
    if let Some((file, signer)) = signer {
        signer.write(file, text.as_bytes()).map_err(failed)?;
    }
    baseline::keep(request, &report).map_err(failed)?;
    io::stdout()
        .write_all(text.as_bytes())
        .map_err(|error| Stop(format!("standard output: {error}"), EXIT_FAILURE))?;
    Ok(status(&report))
}

fn failed(why: String) -> Stop {
    Stop(why, EXIT_FAILURE)
}

fn only(names: Option<&str>) -> Result<Vec<&str>, String> {
    let names: Vec<&str> = names.map_or(Vec::new(), |names| names.split(',').collect());
    for name in &names {
        if !RULES.iter().any(|rule| rule.is_named(name)) {
            return Err(format!(
                "there is no rule or group `{name}`: docs/audit-rules.md lists them"
            ));
        }
    }
    Ok(names)
}

fn exit_status(fail_on: Option<&str>) -> Result<fn(&Report<'_>) -> u8, String> {
    Ok(match fail_on {
        None => |report| match report.verdict() {
            Verdict::Fail => EXIT_FAILURE,
            Verdict::Pass => EXIT_OK,
            _ => EXIT_UNKNOWN,
        },
        Some("fail") => |report| match report.verdict() {
            Verdict::Fail => EXIT_FAILURE,
            _ => EXIT_OK,
        },
        Some("unknown") => |report| match report.verdict() {
            Verdict::Pass => EXIT_OK,
            _ => EXIT_FAILURE,
        },
        Some(other) => return Err(format!("--fail-on takes fail or unknown, not `{other}`")),
    })
}

/// Looks at everything that the rules are about. What is not looked at stays unknown.
///
/// Here and below, what would be put into one large function is kept apart (`inline(never)`): Thumb reaches the near part
/// of a stack frame with short instructions.
#[inline(never)]
fn collect(request: &Request, root: &Root, only: &[&str], facts: &mut Facts) {
    let wanted = |groups: &[&str]| {
        let named = RULES
            .iter()
            .filter(|rule| only.iter().any(|name| rule.is_named(name)));
        only.is_empty() || named.into_iter().any(|rule| groups.contains(&rule.group()))
    };
    let shown = request
        .root
        .as_ref()
        .map_or("/".to_owned(), |tree| tree.display().to_string());
    facts.about = About {
        live: root.is_live(),
        root: shown,
        firmwares: files::firmwares(root, &Survey::default()),
        version: env!("CARGO_PKG_VERSION").into(),
        time: sys::realtime(),
        device: None,
    };
    baseline::load(request, facts);
    system::collect(root, facts);
    if root.is_live() {
        let agent = config::load_agent_leniently(&request.config);
        // A second look where a socket has no process: it may have closed it, or ended, in between.
        for _ in 0..2 {
            facts.sockets = sockets::read(root);
            facts.processes = processes::read(root, &mut facts.sockets);
            let nobodys = |socket: &&Socket| socket.inode != 0 && socket.owner.is_none();
            if !inventory::sockets(facts).iter().any(nobodys) {
                break;
            }
        }
        places::mark(root, facts);
        facts.filters = firewall::read(root);
        facts.allowed.becomes(net::allowed(&request.config, &agent));
        system::collect_live(root, &agent, facts);
        if !wanted(&["service"]) {
            // Nobody would hear the answers.
        } else if !request.no_probe {
            facts.probes = probe::all(root, &request.config, facts);
        } else {
            let why = Missing::because("no service was asked (--no-probe)");
            facts.probes = vec![Fact::missing("--no-probe", why)];
        }
    }
    if wanted(&["trace", "account", "start"]) || request.accept {
        files::collect(root, facts);
    }
}

/// What the system said, as a reason.
fn missing(error: &io::Error) -> Missing {
    match error.raw_os_error() {
        Some(errno) => Missing {
            errno,
            why: Errno::from_raw(errno).desc().into(),
        },
        None => Missing::because(error.to_string()),
    }
}

/// Whether nothing is there, rather than out of sight.
fn is_absent(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(errno) if errno == Errno::ENOENT as i32 || errno == Errno::ENOTDIR as i32)
}
