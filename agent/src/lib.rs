//! Lenscap's agent: runs on the camera, dials the gateway, and carries what the gateway asks for.
//!
//! This crate is the only one on the camera that touches the operating system.

#[cfg(feature = "firewall")]
pub mod apart;
#[cfg(feature = "audit")]
pub mod audit_cmd;
#[cfg(feature = "flows")]
pub mod capture_cmd;
pub mod check;
pub mod cli;
pub mod clock;
pub mod config;
pub mod dns;
pub mod enroll;
pub mod files;
#[cfg(feature = "firewall")]
pub mod firewall;
#[cfg(not(feature = "firewall"))]
#[path = "firewall_absent.rs"]
pub mod firewall;
pub mod flat;
#[cfg(feature = "flows")]
pub mod flows_cmd;
pub mod harden_cmd;
pub mod identity;
pub use lenscap_audit::json;
pub mod logging;
pub mod monitor;
#[cfg(any(feature = "audit", feature = "firewall"))]
mod netlink;
pub mod run;
pub mod seal;
pub mod sys;
pub mod tls;
