//! The start of the agent's process: takes its files from the monitor, gives up everything else, and runs.

use std::path::Path;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use super::link::Link;
use super::message::{Order, Start};
use super::sandbox::Sandbox;
use crate::cli::{EXIT_CONFIG, EXIT_FAILURE, EXIT_USAGE};
use crate::run::RunError;
use crate::{config, files, logging, run, sys};

/// How long the monitor may take to hand everything over.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// Runs the agent's process.
#[must_use]
pub fn main() -> ExitCode {
    sys::close_inherited();
    let Some(link) = Link::from_stdin() else {
        eprintln!("lenscap: this command is for `lenscap run` alone");
        return ExitCode::from(EXIT_USAGE);
    };
    match start(Rc::new(link)) {
        Ok(()) => ExitCode::SUCCESS,
        Err((why, status)) => {
            log::error!("{why}");
            ExitCode::from(status)
        }
    }
}

fn start(link: Rc<Link>) -> Result<(), (String, u8)> {
    let failed = |why: String| (why, EXIT_FAILURE);
    sys::set_process_name(c"lenscap");
    files::seal();
    let start =
        receive_start(&link).map_err(|error| failed(format!("the monitor hands nothing over: {error}")))?;
    let path = Path::new(&start.config);
    let loaded = config::load(path).map_err(|errors| (errors.to_string(), EXIT_CONFIG))?;
    // What has to be opened is opened now: the log's socket, and, where the kernel has no getrandom, its device, which
    // ring and std's hash maps each keep open.
    logging::init(loaded.config.agent.log, loaded.config.agent.log_level);
    sys::random::<1>().map_err(|error| failed(error.to_string()))?;
    drop(std::collections::hash_map::RandomState::new());
    let sandbox = Sandbox::enter(&start).map_err(failed)?;
    run::run_monitored(path, loaded, link, sandbox).map_err(|error| match error {
        // Both come from files that the configuration names.
        RunError::Tls { .. } => (error.to_string(), EXIT_CONFIG),
        RunError::System { .. } | RunError::Identity(_) => failed(error.to_string()),
    })
}

/// Takes orders until everything is there.
fn receive_start(link: &Link) -> std::io::Result<Start> {
    let deadline = sys::monotonic() + START_TIMEOUT;
    let mut start = None;
    loop {
        match link.wait_order(deadline.saturating_sub(sys::monotonic()))? {
            Order::Start(order) => start = Some(order),
            Order::Configure => return start.ok_or_else(|| std::io::ErrorKind::InvalidData.into()),
            Order::Terminate => return Err(std::io::ErrorKind::ConnectionAborted.into()),
            Order::Refreshed | Order::Report | Order::Reconnect | Order::Log | Order::File { .. } => {}
        }
    }
}
