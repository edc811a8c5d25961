//! RTSP for viewers (RFC 2326): `rtsp://HOST:PORT/<camera>/<profile>` over TCP, interleaved.

pub mod bridge;
pub mod digest;
pub mod guard;
pub mod head;
pub mod server;
pub mod splitter;
pub mod throttle;
pub mod uri;
