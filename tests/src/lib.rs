//! Test tools of Lenscap: a scriptable camera, players that measure, and what they share.
//!
//! Nothing here is shipped. The RTSP client, the RTP code and the Digest code are written
//! apart from those of the agent, so that a test compares two implementations.

pub mod annexb;
pub mod depacketize;
pub mod digest;
#[cfg(feature = "harness")]
pub mod fuzz;
#[cfg(feature = "harness")]
pub mod fuzz_rtsp;
#[cfg(feature = "harness")]
pub mod harness;
#[cfg(feature = "harness")]
pub mod netns;
pub mod packetize;
pub mod rtp;
#[cfg(feature = "harness")]
pub mod rtspclient;
pub mod simcam;
pub mod synthetic;
