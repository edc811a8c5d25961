//! Endpoint and streamers apart: one process knows the cameras and places them, others carry their media.
//!
//! A streamer joins by a connection to the endpoint's uplink port (`Upgrade: lenscap-control`) and shows the join
//! token; lines of JSON go both ways. The endpoint says who may watch what and how tickets are checked; the
//! streamer says which cameras it has. What it was told last it keeps, so that it goes on, also after a restart,
//! while the endpoint is down.

pub mod control;
pub mod join;
pub mod message;
pub mod remote;
pub mod streamers;

/// Path of the control connection's request.
pub const CONTROL_PATH: &str = "/lenscap/control";
/// What it is upgraded to.
pub const CONTROL_PROTOCOL: &str = "lenscap-control";
