//! Where log lines go: standard error, or the system's log.

use log::LevelFilter;

use crate::config::LogTarget;

/// Starts logging. Call it once; later calls change the level alone.
pub fn init(target: LogTarget, level: LevelFilter) {
    let _ = (target, level);
    unimplemented!()
}
