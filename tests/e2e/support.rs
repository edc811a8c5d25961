//! What several test modules share.

use std::time::Duration;

use lenscap_tests::harness::Agent;
use lenscap_tests::harness::agent::Profile;

/// How long a log line may take to appear.
pub(crate) const LOG_LIMIT: Duration = Duration::from_secs(30);

/// Waits for a line of the agent's log with all these words in it, in any case.
#[track_caller]
pub(crate) fn agent_says(agent: &mut Agent, words: &[&str]) -> String {
    agent
        .process
        .wait_log(&words.join(" + "), LOG_LIMIT, |line| has_all(line, words))
}

/// Whether a line has all these words, in any case.
pub(crate) fn has_all(line: &str, words: &[&str]) -> bool {
    let line = line.to_lowercase();
    words.iter().all(|word| line.contains(&word.to_lowercase()))
}

/// Seconds each viewer plays: 10, or what `LENSCAP_PLAY_SECONDS` says (`make soak` says 60).
pub(crate) fn play_seconds() -> u64 {
    match std::env::var("LENSCAP_PLAY_SECONDS") {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("LENSCAP_PLAY_SECONDS={text}: a number of seconds")),
        Err(_) => 10,
    }
}

/// A profile for agents that never get as far as a camera.
pub(crate) fn some_profile() -> Profile {
    Profile {
        name: "main".to_owned(),
        rtsp: "rtsp://127.0.0.1:9/stream".to_owned(),
        snapshot: None,
        login: None,
    }
}
