//! End-to-end tests: the real programs on real sockets, watched by viewers that are not ours.
//!
//! One binary, so that it links once. What each module proves is in `docs/testing.md`.

// A helper that cannot go on fails its test.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod bad_config;
mod bad_input;
mod claims;
mod direct;
mod flows;
mod lifecycle;
mod play;
mod pygateway;
mod quirks;
mod redirects;
mod reports;
mod same_bytes;
mod secrets;
mod snapshots;
mod support;
mod throttle;
