//! The server side of Lenscap: takes uplinks from cameras and gives RTSP and HTTP to viewers.
//!
//! One process, three listeners: cameras dial the *uplink* listener (TLS), viewers come over RTSP, and
//! programs over HTTP. The protocol cores ([`ws`], [`rtsp::splitter`], [`rtsp::guard`],
//! [`rtsp::digest`], [`uplink::upgrade`]) do no input or output of their own.

pub mod ca;
pub mod cli;
pub mod clock;
pub mod config;
pub mod data;
pub mod expiry;
pub mod fleet;
pub mod http;
pub mod ipfix;
pub mod logging;
pub mod metrics;
pub mod net;
pub mod ordinary;
pub mod owner;
pub mod registry;
pub mod reports;
pub mod roles;
pub mod rtsp;
pub mod server;
pub mod store;
pub mod tls;
pub mod uplink;
pub mod ws;
