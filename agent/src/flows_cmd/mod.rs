//! `lenscap flows`: who this camera talks to, and how much.

mod collect;
mod lines;
mod table;

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use lenscap_audit::flows::{State, saved};

use crate::cli::{EXIT_FAILURE, EXIT_OK};
use crate::{config, files, sys};

/// The state's name in the folder that a restart forgets.
pub const FILE_NAME: &str = "flows";

/// What is asked for.
#[derive(Debug)]
pub struct Request {
    /// JSON lines instead of a table.
    pub json: bool,
    /// Look now, and keep what was seen.
    pub sample: bool,
    /// Where the state is, unless in the folder that the configuration names.
    pub state: Option<PathBuf>,
    /// The configuration.
    pub config: PathBuf,
}

/// Does it. Gives the exit status.
#[must_use]
pub fn run(request: &Request) -> u8 {
    let path = request.state.clone().unwrap_or_else(|| {
        config::load_agent_leniently(&request.config)
            .run_dir
            .join(FILE_NAME)
    });
    let state = match current(request.sample, &path) {
        Ok(state) => state,
        Err(why) => {
            let _ = writeln!(io::stderr(), "lenscap: {why}");
            return EXIT_FAILURE;
        }
    };
    let text = if request.json {
        lines::to_lines(&state)
    } else if request.sample {
        return EXIT_OK;
    } else {
        table::to_table(&state, sys::monotonic())
    };
    // A reader that is gone is no failure.
    let _ = io::stdout().write_all(text.as_bytes());
    EXIT_OK
}

fn current(keep: bool, path: &Path) -> Result<State, String> {
    let saved = read(path)?;
    if let (false, Some(state)) = (keep, saved.as_ref()) {
        return Ok(state.clone());
    }
    let random = || sys::random::<8>().map(u64::from_ne_bytes);
    let epoch = random().map_err(|error| format!("no random bytes: {error}"))?;
    let mut state = saved.unwrap_or_else(|| State::new(epoch));
    state.handle_sample(collect::sample(), epoch);
    if keep {
        let text = state.to_text();
        files::replace_volatile_private(path, text.as_bytes())
            .map_err(|error| format!("{}: {error}; name another file with --state", path.display()))?;
    }
    Ok(state)
}

/// What was kept, if anything that can be used.
fn read(path: &Path) -> Result<Option<State>, String> {
    let bytes = match files::read(path, saved::MAX_BYTES as u64 + 1) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("{}: {error}", path.display())),
    };
    let text = core::str::from_utf8(&bytes).ok();
    let state = text
        .filter(|text| text.len() <= saved::MAX_BYTES)
        .and_then(State::from_text);
    if state.is_none() {
        let _ = writeln!(
            io::stderr(),
            "lenscap: {} is damaged; the accounts begin anew",
            path.display()
        );
    }
    Ok(state)
}
