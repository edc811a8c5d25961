//! RTSP between one viewer and one camera: framing, authentication, rewriting, method policy and the
//! media queue, without sockets, clock or randomness.
//!
//! A [`Session`] takes bytes from the viewer's side and from the camera's TCP connection, and gives bytes
//! for both; the caller owns the sockets. After each `handle_*` call, and after [`Session::poll_viewer`], drain
//! [`Session::poll_event`], [`Session::poll_camera`] and [`Session::poll_udp`] to their ends; pull [`Session::poll_viewer`] as late
//! as the uplink allows, since that is where slow links show.
//!
//! Not here: RTSP over TLS, recording (ANNOUNCE/RECORD), multicast, RTP reordering.

#![forbid(unsafe_code)]

pub mod access_unit;
pub mod auth;
mod config;
mod counters;
mod event;
pub mod framing;
mod gate;
pub mod message;
mod queue;
pub mod sdp;
mod session;
pub mod transport;
pub mod uri;

pub use config::{Credentials, Limits, Profile, Secret, SessionConfig};
pub use counters::{Counters, Dropped};
pub use event::{CameraError, Datagram, Event, FinishReason, Notice, UdpId};
pub use session::Session;
pub use uri::CameraUrl;

/// Monotonic time since an arbitrary fixed start.
pub type Now = core::time::Duration;
