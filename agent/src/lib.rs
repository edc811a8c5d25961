//! Lenscap's agent: runs on the camera, dials the gateway, and carries what the gateway asks for.
//!
//! This crate is the only one on the camera that touches the operating system.

pub mod check;
pub mod cli;
pub mod clock;
pub mod config;
pub mod dns;
pub mod files;
pub mod firewall;
pub mod flat;
pub mod harden_cmd;
pub mod identity;
pub mod json;
pub mod logging;
pub mod monitor;
pub mod run;
pub mod seal;
pub mod sys;
pub mod tls;
