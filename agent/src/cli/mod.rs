//! The command line.

mod args;
mod commands;

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use args::{Asked, Given};
use commands::PROGRAM;

#[cfg(feature = "firewall")]
use crate::apart;
#[cfg(feature = "audit")]
use crate::audit_cmd;
use crate::config::{self, DEFAULT_PATH, LogTarget};
use crate::identity::{self, Identity, Source};
use crate::json::Writer;
#[cfg(feature = "flows")]
use crate::{capture_cmd, flows_cmd};
use crate::{check, enroll, harden_cmd, logging, monitor, run, sys};

/// Everything went well.
pub const EXIT_OK: u8 = 0;
/// The program could not do its work.
pub const EXIT_FAILURE: u8 = 1;
/// The command line is wrong (`EX_USAGE` of sysexits(3)).
pub const EXIT_USAGE: u8 = 64;
/// The configuration is wrong (`EX_CONFIG` of sysexits(3)).
pub const EXIT_CONFIG: u8 = 78;

/// Whether this program has a command.
#[must_use]
pub fn knows(command: &str) -> bool {
    PROGRAM.commands.iter().any(|known| known.name == command)
}

/// Runs the program with the process' arguments.
#[must_use]
pub fn main() -> ExitCode {
    let mut args = Vec::new();
    for arg in std::env::args_os().skip(1) {
        match arg.into_string() {
            Ok(arg) => args.push(arg),
            Err(_) => return usage("an argument is not UTF-8\n"),
        }
    }
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    #[cfg(feature = "firewall")]
    if let [apart::COMMAND, words @ ..] = args.as_slice() {
        return ExitCode::from(apart::main(words));
    }
    if args == [monitor::AGENT_COMMAND] {
        return monitor::agent_main();
    }
    if !monitor::obey_job() {
        return ExitCode::from(EXIT_FAILURE);
    }
    let given = match PROGRAM.read(&args) {
        Ok(Asked::Command(given)) => given,
        Ok(Asked::Help(text)) => return out(&text, EXIT_OK),
        Ok(Asked::Version) => return out(&version(), EXIT_OK),
        Ok(Asked::Nothing) => {
            return usage(
                "a command is missing: run, check, identity, enroll, status, harden, audit, flows or capture\n",
            );
        }
        Err(why) => return usage(&why),
    };
    obey(&given)
}

fn obey(given: &Given<'_>) -> ExitCode {
    let config = || config_of(given);
    let json = || given.has("--json");
    match given.spec.name {
        "run" => run_agent(&config()),
        "check" => check_config(&config(), json()),
        "identity" => show_identity(&config(), json()),
        "enroll" => {
            let request = enroll::Request {
                config: &config(),
                json: json(),
                reset: given.has("--reset"),
            };
            match enroll::run(&request) {
                Ok((text, status)) => out(&text, status),
                Err((why, status)) => ExitCode::from(finish(Err(Stop(why, status)))),
            }
        }
        "harden" => match harden(given) {
            Ok(request) => ExitCode::from(harden_cmd::run(&request)),
            Err(why) => usage(why),
        },
        #[cfg(feature = "audit")]
        "audit" => ExitCode::from(audit_cmd::run(&audit(given))),
        #[cfg(feature = "flows")]
        "flows" => ExitCode::from(flows_cmd::run(&flows(given))),
        #[cfg(feature = "flows")]
        "capture" => match capture(given) {
            Ok(request) => ExitCode::from(capture_cmd::run(&request)),
            Err(why) => usage(&why),
        },
        "status" => show_status(&config(), json()),
        _ => usage("this program cannot do that\n"),
    }
}

/// Why nothing came of a command: a sentence, and the exit status.
#[derive(Debug)]
pub(crate) struct Stop(pub(crate) String, pub(crate) u8);

/// The exit status of a command that may have been stopped; why is said on standard error.
pub(crate) fn finish(done: Result<u8, Stop>) -> u8 {
    done.unwrap_or_else(|Stop(why, status)| {
        let _ = writeln!(io::stderr(), "lenscap: {why}");
        status
    })
}

fn version() -> String {
    sys::keep_dependencies();
    format!("lenscap {}\n", env!("CARGO_PKG_VERSION"))
}

fn run_agent(path: &Path) -> ExitCode {
    if sys::is_root() {
        return ExitCode::from(monitor::run(path));
    }
    let loaded = match config::load(path) {
        Ok(loaded) => loaded,
        Err(errors) => {
            return fail(
                &format!("{errors}\nlenscap: the configuration cannot be used\n"),
                EXIT_CONFIG,
            );
        }
    };
    let log_target = loaded.config.agent.log;
    logging::init(log_target, loaded.config.agent.log_level);
    match run::run(path, loaded) {
        Ok(()) => ExitCode::from(EXIT_OK),
        Err(error) => {
            log::error!("{error}");
            match log_target {
                LogTarget::Stderr => ExitCode::from(EXIT_FAILURE),
                LogTarget::Syslog => fail(&format!("lenscap: {error}\n"), EXIT_FAILURE),
            }
        }
    }
}

fn check_config(path: &Path, json: bool) -> ExitCode {
    let report = check::check(path);
    let status = if report.is_good() { EXIT_OK } else { EXIT_CONFIG };
    let text = if json {
        format!("{}\n", report.to_json())
    } else {
        report.to_text()
    };
    out(&text, status)
}

fn show_identity(path: &Path, json: bool) -> ExitCode {
    let agent = match config::load_agent(path) {
        Ok(agent) => agent,
        Err(errors) => return fail(&format!("{errors}\n"), EXIT_CONFIG),
    };
    let identity = match identity::load_or_create(&agent) {
        Ok(identity) => identity,
        Err(error) => return fail(&format!("lenscap: {error}\n"), EXIT_FAILURE),
    };
    let file = identity::path(&agent).display().to_string();
    let text = if json {
        identity_json(&identity, &file)
    } else {
        identity_text(&identity, &file)
    };
    out(&text, EXIT_OK)
}

fn show_status(path: &Path, json: bool) -> ExitCode {
    // The service may run on a last good copy: a damaged file is no reason to say nothing.
    let agent = config::load_agent_leniently(path);
    let (text, running) = monitor::describe(&agent.run_dir, json);
    out(&text, if running { EXIT_OK } else { EXIT_FAILURE })
}

fn identity_text(identity: &Identity, file: &str) -> String {
    let Identity {
        fingerprint,
        certificate_fingerprint,
        ..
    } = identity;
    let origin = match identity.source {
        Source::Configured => "given by the configuration",
        Source::Stored => "made at an earlier start",
        Source::Created => "made just now",
    };
    format!(
        "fingerprint  {fingerprint}\ncertificate  {certificate_fingerprint}\nfile         {file}\norigin       {origin}\n"
    )
}

fn identity_json(identity: &Identity, file: &str) -> String {
    let mut json = Writer::new();
    json.object(|o| {
        o.key("fingerprint").string(&identity.fingerprint);
        o.key("certificate_fingerprint")
            .string(&identity.certificate_fingerprint);
        o.key("file").string(file);
        o.key("created").bool(identity.source == Source::Created);
    });
    json.finish() + "\n"
}

/// Writes to standard output. A reader that is gone (`lenscap check | head -1`) is no failure.
fn out(text: &str, status: u8) -> ExitCode {
    let _ = std::io::stdout().write_all(text.as_bytes());
    ExitCode::from(status)
}

fn fail(text: &str, status: u8) -> ExitCode {
    let _ = std::io::stderr().write_all(text.as_bytes());
    ExitCode::from(status)
}

fn usage(text: &str) -> ExitCode {
    fail(
        &format!("{}\nlenscap --help lists the commands.\n", text.trim_end()),
        EXIT_USAGE,
    )
}

fn harden(given: &Given<'_>) -> Result<harden_cmd::Request, &'static str> {
    let root = given.path("--root");
    let has = |name| given.has(name);
    let (apply, undo) = (has("--apply"), has("--undo"));
    let (confirm, roll_back, restore) = (has("--confirm"), has("--roll-back"), has("--restore"));
    let (recheck, boot) = (has("--recheck"), has("--boot"));
    let (dry_run, restore_insecure) = (has("--dry-run"), has("--restore-insecure"));
    // What a start script starts is given both.
    if [dry_run, apply, confirm, roll_back, recheck || boot, undo, restore]
        .iter()
        .filter(|given| **given)
        .count()
        > 1
    {
        return Err(
            "give one of --dry-run, --apply, --confirm, --roll-back, --recheck, --boot, --undo and --restore\n",
        );
    }
    if restore_insecure && !undo {
        return Err("--restore-insecure goes with --undo\n");
    }
    if has("--now") && !roll_back {
        return Err("--now goes with --roll-back\n");
    }
    if (confirm || roll_back || recheck || boot || restore) && root.is_some() {
        return Err("a tree is not running: leave --root out\n");
    }
    let action = if undo {
        harden_cmd::Action::Undo { restore_insecure }
    } else if confirm {
        harden_cmd::Action::Confirm
    } else if roll_back {
        harden_cmd::Action::RollBack { now: has("--now") }
    } else if restore {
        harden_cmd::Action::Restore
    } else if recheck {
        harden_cmd::Action::Recheck
    } else if boot {
        harden_cmd::Action::Boot
    } else if apply || root.is_some() && !dry_run {
        harden_cmd::Action::Apply
    } else {
        harden_cmd::Action::Plan
    };
    Ok(harden_cmd::Request {
        root,
        action,
        config: config_of(given),
        only: given.text("--only"),
        password: given.text("--password"),
        password_file: given.path("--password-file"),
        cut: has("--cut"),
        json: has("--json"),
        boot,
    })
}

#[cfg(feature = "audit")]
fn audit(given: &Given<'_>) -> audit_cmd::Request {
    let format = if given.has("--json") {
        Some("json")
    } else {
        given.value("--format")
    };
    audit_cmd::Request {
        root: given.path("--root"),
        config: config_of(given),
        format: format.unwrap_or("text").to_owned(),
        baseline: given.path("--baseline"),
        accept: given.has("--accept"),
        only: given.text("--only"),
        fail_on: given.text("--fail-on"),
        details: given.has("--details"),
        sign: given.path("--sign"),
        no_probe: given.has("--no-probe"),
    }
}

#[cfg(feature = "flows")]
fn flows(given: &Given<'_>) -> flows_cmd::Request {
    flows_cmd::Request {
        json: given.has("--json"),
        sample: given.has("--sample"),
        state: given.path("--state"),
        config: config_of(given),
    }
}

#[cfg(feature = "flows")]
fn capture(given: &Given<'_>) -> Result<capture_cmd::Request, String> {
    Ok(capture_cmd::Request {
        interface: given.text("--interface"),
        seconds: given.number("--seconds", 60)?,
        bytes: given.number("--bytes", 1024 * 1024)?,
        snaplen: given.number("--snaplen", 128)?,
        file: given.word().into(),
        config: config_of(given),
    })
}

fn config_of(given: &Given<'_>) -> PathBuf {
    given.path("--config").unwrap_or_else(|| DEFAULT_PATH.into())
}
