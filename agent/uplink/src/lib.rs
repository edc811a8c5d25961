//! The uplink's protocols without sockets, clocks or randomness: the HTTP/1.1 upgrade, HTTP/2 in the server
//! role over a connection this side dialled, HPACK, WebSocket frames, whom the camera obeys, and the dialling state machine.
//!
//! The caller moves bytes and time: `handle_*` takes input, `poll_*` gives output, `wants_*` asks. This crate
//! does *not* resolve names, speak TLS, or know what the requests mean.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod claim;
pub mod dial;
pub mod h2;
pub mod hpack;
mod rng;
pub mod table;
pub mod upgrade;
pub mod url;
pub mod ws;

/// Monotonic time since an arbitrary fixed start.
pub type Now = core::time::Duration;
