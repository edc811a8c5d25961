//! The command line. Commands act on the running gateway over its local socket, or on the data folder itself when no
//! gateway runs there.

mod cameras;
mod check;
mod client;
mod keep;
mod people;
mod place;
mod run;
mod show;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::logging::LogFormat;
use cameras::CameraCommand;
use keep::CaCommand;
use people::{TokenCommand, ViewerCommand};
use place::Failure;
pub use place::Place;

/// Takes uplinks from cameras and gives their video to viewers.
#[derive(Parser)]
#[command(name = "lenscap-gateway", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve cameras and viewers until SIGTERM; SIGHUP reloads the certificate.
    Run(RunArgs),
    /// Check a configuration and every file it names, or without one the data folder alone, and exit.
    Check {
        #[command(flatten)]
        place: Place,
    },
    /// Cameras: list, claim, release, move.
    #[command(subcommand)]
    Camera(CameraCommand),
    /// Users of RTSP.
    #[command(subcommand)]
    Viewer(ViewerCommand),
    /// Tokens for the HTTP API.
    #[command(subcommand)]
    Token(TokenCommand),
    /// Make an address that plays without a login for a while.
    Link(people::LinkArgs),
    /// Who watched what and when.
    Views(people::ViewsArgs),
    /// The gateway's own certificate authority.
    #[command(subcommand)]
    Ca(CaCommand),
    /// Write everything that is kept into one file. It holds secrets.
    Backup(keep::BackupArgs),
    /// Put a backup in place; what is there is renamed, not lost.
    Restore(keep::BackupArgs),
}

#[derive(Args)]
struct RunArgs {
    #[command(flatten)]
    place: Place,
    /// How log lines on stderr look.
    #[arg(long, value_enum, default_value_t)]
    log_format: LogFormat,
    /// error, warn, info, debug or trace, or a filter such as `info,lenscap_gateway=debug`.
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    log_level: String,
    /// Without a configuration: by which name or address cameras reach this machine.
    #[arg(long, value_name = "NAME")]
    host: Vec<String>,
    /// Without a configuration: where cameras dial in.
    #[arg(long, value_name = "IP:PORT", default_value = "0.0.0.0:8443")]
    uplink_listen: String,
    /// Without a configuration: where viewers connect.
    #[arg(long, value_name = "IP:PORT", default_value = "0.0.0.0:8554")]
    rtsp_listen: String,
    /// Without a configuration: where viewers connect with TLS.
    #[arg(long, value_name = "IP:PORT", default_value = "0.0.0.0:8322")]
    rtsps_listen: String,
    /// Without a configuration: where programs connect.
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:8080")]
    http_listen: String,
}

/// What a command that lists something takes.
#[derive(Args, Clone, Debug)]
struct Listed {
    #[command(flatten)]
    place: Place,
    /// For programs: JSON as the HTTP API has it.
    #[arg(long)]
    json: bool,
}

/// A file that is read, `-` for standard input.
fn read_input(path: &PathBuf) -> Result<String, Failure> {
    let read = if path.as_os_str() == "-" {
        std::io::read_to_string(std::io::stdin())
    } else {
        std::fs::read_to_string(path)
    };
    read.map_err(|error| Failure::Failed(format!("{} cannot be read: {error}", path.display())))
}

/// One line of a file or of standard input, for what must not be on a command line.
fn read_secret(path: &PathBuf, what: &str) -> Result<String, Failure> {
    let text = read_input(path)?;
    match text.lines().next().map(str::trim) {
        Some(line) if !line.is_empty() => Ok(line.to_owned()),
        Some(_) | None => Err(Failure::Failed(format!(
            "{}: no {what} in the first line",
            path.display()
        ))),
    }
}

/// Runs the program.
#[must_use]
pub fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Run(args) => return run::run(args),
        Command::Check { place } => return check::check(&place),
        Command::Camera(command) => cameras::run(command),
        Command::Viewer(command) => people::viewer(command),
        Command::Token(command) => people::token(command),
        Command::Link(args) => people::link(&args),
        Command::Views(args) => people::views(&args),
        Command::Ca(command) => keep::ca(command),
        Command::Backup(args) => keep::backup(&args),
        Command::Restore(args) => keep::restore(&args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{failure}");
            failure.exit_code()
        }
    }
}
