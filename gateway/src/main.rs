//! `lenscap-gateway`: command line.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use lenscap_gateway::config::{self, Loaded};
use lenscap_gateway::logging::{self, LogFormat};
use lenscap_gateway::server::{Addresses, Gateway};
use serde::Serialize;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{error, warn};

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
    Run {
        /// Configuration file (TOML).
        #[arg(
            long,
            value_name = "FILE",
            default_value = "/etc/lenscap-gateway/gateway.toml"
        )]
        config: PathBuf,
        /// How log lines on stderr look.
        #[arg(long, value_enum, default_value_t)]
        log_format: LogFormat,
        /// error, warn, info, debug or trace, or a filter such as `info,lenscap_gateway=debug`.
        #[arg(long, value_name = "LEVEL", default_value = "info")]
        log_level: String,
    },
    /// Check a configuration and every file it names, and exit.
    Check {
        /// Configuration file (TOML).
        #[arg(
            long,
            value_name = "FILE",
            default_value = "/etc/lenscap-gateway/gateway.toml"
        )]
        config: PathBuf,
    },
}

/// The line on stdout that says that everything is bound.
#[derive(Serialize)]
struct Listening {
    event: &'static str,
    #[serde(flatten)]
    addresses: Addresses,
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Check { config } => check(&config),
        Command::Run {
            config,
            log_format,
            log_level,
        } => {
            logging::init(log_format, &log_level);
            run(&config)
        }
    }
}

fn check(path: &Path) -> ExitCode {
    match config::load(path) {
        Ok(Loaded { config, warnings }) => {
            for warning in warnings {
                eprintln!("warning: {warning}");
            }
            println!(
                "{}: ok, {} cameras, {} viewers",
                path.display(),
                config.cameras.len(),
                config.viewers.len()
            );
            ExitCode::SUCCESS
        }
        Err(errors) => {
            eprintln!("{errors}");
            ExitCode::from(2)
        }
    }
}

fn run(path: &Path) -> ExitCode {
    let Loaded { config, warnings } = match config::load(path) {
        Ok(loaded) => loaded,
        Err(errors) => {
            eprintln!("{errors}");
            return ExitCode::from(2);
        }
    };
    for warning in warnings {
        warn!("{warning}");
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error),
    };
    match runtime.block_on(serve(config)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(error.as_ref()),
    }
}

fn fail(error: &dyn std::error::Error) -> ExitCode {
    error!("{error}");
    ExitCode::FAILURE
}

async fn serve(config: config::Config) -> Result<(), Box<dyn std::error::Error>> {
    let hangups = signal(SignalKind::hangup())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let gateway = Gateway::bind(config).await?;
    let line = Listening {
        event: "listening",
        addresses: gateway.addresses(),
    };
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{}", serde_json::to_string(&line)?)?;
    stdout.flush()?;
    drop(stdout);
    tokio::spawn(reload_on(hangups, gateway.reloader()));
    gateway
        .serve(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        })
        .await;
    Ok(())
}

async fn reload_on(mut hangups: Signal, reloader: lenscap_gateway::server::Reloader) {
    while hangups.recv().await.is_some() {
        reloader.reload();
    }
}
