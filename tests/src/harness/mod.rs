//! What the end-to-end tests stand on: folders, certificates, processes, configurations, measurements.
//!
//! Everything here is blocking and panics with a message on failure: a test's own failure is the only
//! thing it can report. Nothing uses a fixed port: every program listens on port 0 and says where, and what a
//! test started is killed with its process group when the value is dropped, panic or not.
//!
//! It does *not* decide what is right: assertions about the product live in `tests/e2e`. The one exception is
//! [`discreet`]: whatever a test does, no log may have a secret in it.

// A harness that cannot go on has nobody to return an error to.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod agent;
pub mod camera;
pub mod certs;
pub mod dir;
pub mod discreet;
pub mod fleet;
pub mod gateway;
pub mod http;
pub mod media;
pub mod netns;
pub mod peers;
pub mod players;
pub mod process;
pub mod stand;
pub mod stat;
pub mod tls_server;
pub mod tools;
pub mod wait;

pub use agent::{Agent, AgentConfig};
pub use camera::{Camera, Codec, Simcam};
pub use certs::Pki;
pub use dir::TestDir;
pub use gateway::{Gateway, GatewayConfig};
pub use process::Process;
pub use stand::Stand;
