//! The command line.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use argh::FromArgs;

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

/// Keeps this camera out of botnets and its video reachable: dials a gateway over TLS and carries the video that the
/// gateway asks for. Nothing listens on the camera.
#[derive(FromArgs, Debug)]
#[argh(
    example = "lenscap check\nlenscap identity\nlenscap enroll\nlenscap run --config /etc/config/lenscap\nlenscap status\nlenscap harden --root ./rootfs\nlenscap audit --details\nlenscap flows",
    note = "The configuration is /etc/config/lenscap, see lenscap(5).",
    error_code(0, "all is well"),
    error_code(
        1,
        "the program could not do its work; harden, audit: something does not hold"
    ),
    error_code(2, "harden, audit: something could not be told"),
    error_code(64, "the command line is wrong"),
    error_code(78, "the configuration is wrong")
)]
struct Lenscap {
    /// print the version
    #[argh(switch)]
    version: bool,

    #[argh(subcommand)]
    command: Option<Command>,
}

#[derive(FromArgs, Debug)]
#[argh(subcommand)]
enum Command {
    Run(Run),
    Check(Check),
    Identity(ShowIdentity),
    Enroll(Enroll),
    Status(Status),
    Harden(Harden),
    #[cfg(feature = "audit")]
    Audit(Audit),
    #[cfg(feature = "flows")]
    Flows(Flows),
    #[cfg(feature = "flows")]
    Capture(Capture),
}

/// Runs the agent in the foreground: dials the gateways and serves them. Started as root it is two processes, a monitor
/// that stays root and an agent that gives up everything. SIGTERM ends it orderly, SIGHUP reads the
/// configuration again, SIGUSR1 logs the counters.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "run")]
struct Run {
    /// configuration file (/etc/config/lenscap)
    #[argh(option, default = "PathBuf::from(DEFAULT_PATH)", arg_name = "file")]
    config: PathBuf,
}

/// Says what is wrong with a configuration: file, line, column, and what to do. Names that this version does not know
/// are errors. Exits with 78 if anything must be corrected.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "check")]
struct Check {
    /// configuration file (/etc/config/lenscap)
    #[argh(option, default = "PathBuf::from(DEFAULT_PATH)", arg_name = "file")]
    config: PathBuf,

    /// print one JSON object
    #[argh(switch)]
    json: bool,
}

/// Shows who this camera is: the fingerprint of its key, for the gateway's configuration. Makes the key and its
/// certificate if there are none yet.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "identity")]
struct ShowIdentity {
    /// configuration file (/etc/config/lenscap)
    #[argh(option, default = "PathBuf::from(DEFAULT_PATH)", arg_name = "file")]
    config: PathBuf,

    /// print one JSON object
    #[argh(switch)]
    json: bool,
}

/// Shows what belongs on this camera's label: serial number, model, fingerprint, and the PIN that its owner claims it
/// with, also as a QR code. Key and PIN are made if there are none yet. With --reset the camera's claim ends, and key and PIN stay.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "enroll")]
struct Enroll {
    /// configuration file (/etc/config/lenscap)
    #[argh(option, default = "PathBuf::from(DEFAULT_PATH)", arg_name = "file")]
    config: PathBuf,

    /// print one JSON object
    #[argh(switch)]
    json: bool,

    /// forget the operator and all addresses that gateways gave
    #[argh(switch)]
    reset: bool,
}

/// Shows whether the service runs, where its uplinks lead, and how far it is protected from itself. Exits with 1 if it does not run.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "status")]
struct Status {
    /// configuration file (/etc/config/lenscap)
    #[argh(option, default = "PathBuf::from(DEFAULT_PATH)", arg_name = "file")]
    config: PathBuf,

    /// print one JSON object
    #[argh(switch)]
    json: bool,
}

/// Closes a camera: telnet and other shells on a port, passwords that everybody knows, and the network by a firewall. With --root it works on a
/// root file system tree and applies its plan; without, it shows what it finds on this camera, and changes it only with
/// --apply. Exits with 0 if
/// everything holds, 1 if something does not, 2 if something could not be told.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "harden")]
struct Harden {
    /// root file system tree to work on, instead of this camera
    #[argh(option, arg_name = "dir")]
    root: Option<PathBuf>,

    /// show the plan and change nothing
    #[argh(switch)]
    dry_run: bool,

    /// change this camera, as far as the owner keeps a way in
    #[argh(switch)]
    apply: bool,

    /// keep what --apply did
    #[argh(switch)]
    confirm: bool,

    /// wait for --confirm and take back what was not confirmed in time; for start scripts, in the background
    #[argh(switch)]
    roll_back: bool,

    /// look again, and close again what was opened since; the service does so by itself
    #[argh(switch)]
    recheck: bool,

    /// the same for start scripts before the network: in 20 seconds at most
    #[argh(switch)]
    boot: bool,

    /// configuration file (/etc/config/lenscap)
    #[argh(option, default = "PathBuf::from(DEFAULT_PATH)", arg_name = "file")]
    config: PathBuf,

    /// take back what earlier runs changed, but for default and empty passwords
    #[argh(switch)]
    undo: bool,

    /// with --undo: default and empty passwords too
    #[argh(switch)]
    restore_insecure: bool,

    /// put a firewall that was applied and confirmed in place again; for start scripts, before the network
    #[argh(switch)]
    restore: bool,

    /// with --apply: cut off whoever watches now and is not allowed
    #[argh(switch)]
    cut: bool,

    /// measures to take, with commas: telnet, credentials, firewall (all)
    #[argh(option, arg_name = "measures")]
    only: Option<String>,

    /// new login passwords: random (shown once) or lock (keys alone)
    #[argh(option, arg_name = "kind")]
    password: Option<String>,

    /// file whose first line becomes root's login password
    #[argh(option, arg_name = "file")]
    password_file: Option<PathBuf>,

    /// print one JSON object for each event
    #[argh(switch)]
    json: bool,
}

#[cfg(feature = "flows")]
/// Shows who this camera talks to: by peer, protocol and port the bytes and packets each way, the program, and what the
/// interfaces carried that no known connection explains. It shows what the service has kept; without that, one look.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "flows")]
struct Flows {
    /// print JSON lines: one on the whole, then a record a line
    #[argh(switch)]
    json: bool,

    /// look now and keep what was seen; the service does so every minute
    #[argh(switch)]
    sample: bool,

    /// where it is kept (flows in the run_dir of the configuration)
    #[argh(option, arg_name = "file")]
    state: Option<PathBuf>,

    /// configuration file (/etc/config/lenscap)
    #[argh(option, default = "PathBuf::from(DEFAULT_PATH)", arg_name = "file")]
    config: PathBuf,
}

#[cfg(feature = "flows")]
/// Writes the headers of packets to a pcap file; what they carry is cut off. Needs root and `option capture '1'` in
/// `config agent`. No interface becomes promiscuous.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "capture")]
struct Capture {
    /// file to make, or /dev/stdout
    #[argh(positional)]
    file: PathBuf,

    /// interface (all)
    #[argh(option, arg_name = "name")]
    interface: Option<String>,

    /// seconds, at most 3600 (60)
    #[argh(option, default = "60", arg_name = "n")]
    seconds: u32,

    /// size of the file in bytes, at most 67108864 (1048576)
    #[argh(option, default = "1024 * 1024", arg_name = "n")]
    bytes: u32,

    /// bytes of a packet's headers, at most 256 (128)
    #[argh(option, default = "128", arg_name = "n")]
    snaplen: u32,

    /// configuration file (/etc/config/lenscap)
    #[argh(option, default = "PathBuf::from(DEFAULT_PATH)", arg_name = "file")]
    config: PathBuf,
}

#[cfg(feature = "flows")]
impl Flows {
    fn request(self) -> flows_cmd::Request {
        let Self {
            json,
            sample,
            state,
            config,
        } = self;
        flows_cmd::Request {
            json,
            sample,
            state,
            config,
        }
    }
}

#[cfg(feature = "flows")]
impl Capture {
    fn request(self) -> capture_cmd::Request {
        let Self {
            file,
            interface,
            seconds,
            bytes,
            snaplen,
            config,
        } = self;
        capture_cmd::Request {
            interface,
            seconds,
            bytes,
            snaplen,
            file,
            config,
        }
    }
}

impl Harden {
    fn request(self) -> Result<harden_cmd::Request, &'static str> {
        let Self {
            dry_run,
            apply,
            confirm,
            roll_back,
            recheck,
            boot,
            undo,
            restore_insecure,
            restore,
            ..
        } = self;
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
        if (confirm || roll_back || recheck || boot || restore) && self.root.is_some() {
            return Err("a tree is not running: leave --root out\n");
        }
        let action = if undo {
            harden_cmd::Action::Undo { restore_insecure }
        } else if confirm {
            harden_cmd::Action::Confirm
        } else if roll_back {
            harden_cmd::Action::RollBack
        } else if restore {
            harden_cmd::Action::Restore
        } else if recheck {
            harden_cmd::Action::Recheck
        } else if boot {
            harden_cmd::Action::Boot
        } else if apply || self.root.is_some() && !dry_run {
            harden_cmd::Action::Apply
        } else {
            harden_cmd::Action::Plan
        };
        Ok(harden_cmd::Request {
            root: self.root,
            action,
            config: self.config,
            only: self.only,
            password: self.password,
            password_file: self.password_file,
            cut: self.cut,
            json: self.json,
            boot,
        })
    }
}

#[cfg(feature = "audit")]
/// Says what is true about this camera or a root file system tree, with evidence: what could not be looked at is unknown,
/// never well. Exits with 0 if every rule holds, 1 if one does not, 2 if something could not be told.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "audit")]
struct Audit {
    /// root file system tree to look at, instead of this camera
    #[argh(option, arg_name = "dir")]
    root: Option<PathBuf>,

    /// configuration file (/etc/config/lenscap)
    #[argh(option, default = "PathBuf::from(DEFAULT_PATH)", arg_name = "file")]
    config: PathBuf,

    /// text, json, html, xccdf or cyclonedx (text)
    #[argh(option, default = "\"text\".into()", arg_name = "format")]
    format: String,

    /// the same as --format json
    #[argh(switch)]
    json: bool,

    /// all evidence, remedies and references, in text
    #[argh(switch)]
    details: bool,

    /// rules or groups to judge, with commas (all)
    #[argh(option, arg_name = "rules")]
    only: Option<String>,

    /// what exits with 1, all else with 0: fail or unknown
    #[argh(option, arg_name = "verdict")]
    fail_on: Option<String>,

    /// baseline to compare with, instead of audit.baseline in the state folder
    #[argh(option, arg_name = "file")]
    baseline: Option<PathBuf>,

    /// keep what is there now as the baseline
    #[argh(switch)]
    accept: bool,

    /// write a signature of the report, with this camera's key
    #[argh(option, arg_name = "file")]
    sign: Option<PathBuf>,

    /// ask no service on this camera anything
    #[argh(switch)]
    no_probe: bool,
}

#[cfg(feature = "audit")]
impl Audit {
    fn request(self) -> audit_cmd::Request {
        audit_cmd::Request {
            root: self.root,
            config: self.config,
            format: if self.json { "json".into() } else { self.format },
            baseline: self.baseline,
            accept: self.accept,
            only: self.only,
            fail_on: self.fail_on,
            details: self.details,
            sign: self.sign,
            no_probe: self.no_probe,
        }
    }
}

/// Whether this program has a command.
#[must_use]
pub fn knows(command: &str) -> bool {
    let commands = <Command as argh::SubCommands>::COMMANDS;
    commands.iter().any(|known| known.name == command)
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
    let parsed = match Lenscap::from_args(&["lenscap"], &args) {
        Ok(parsed) => parsed,
        Err(early) if early.status.is_ok() => return out(&early.output, EXIT_OK),
        Err(early) => return usage(&early.output),
    };
    match parsed.command {
        _ if parsed.version => out(&version(), EXIT_OK),
        None => usage(
            "a command is missing: run, check, identity, enroll, status, harden, audit, flows or capture\n",
        ),
        Some(Command::Run(Run { config })) => run_agent(&config),
        Some(Command::Check(Check { config, json })) => check_config(&config, json),
        Some(Command::Identity(ShowIdentity { config, json })) => show_identity(&config, json),
        Some(Command::Enroll(Enroll { config, json, reset })) => {
            let request = enroll::Request {
                config: &config,
                json,
                reset,
            };
            match enroll::run(&request) {
                Ok((text, status)) => out(&text, status),
                Err((why, status)) => ExitCode::from(finish(Err(Stop(why, status)))),
            }
        }
        Some(Command::Status(Status { config, json })) => show_status(&config, json),
        Some(Command::Harden(harden)) => match harden.request() {
            Ok(request) => ExitCode::from(harden_cmd::run(&request)),
            Err(why) => usage(why),
        },
        #[cfg(feature = "audit")]
        Some(Command::Audit(audit)) => ExitCode::from(audit_cmd::run(&audit.request())),
        #[cfg(feature = "flows")]
        Some(Command::Flows(flows)) => ExitCode::from(flows_cmd::run(&flows.request())),
        #[cfg(feature = "flows")]
        Some(Command::Capture(capture)) => ExitCode::from(capture_cmd::run(&capture.request())),
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
