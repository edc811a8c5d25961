//! The bodies of the fuzz targets, shared with the corpus replay of `lenscap-tests` but built without what the other
//! test tools need.

#[path = "../../src/fuzz.rs"]
mod bodies;

#[path = "../../src/fuzz_programs.rs"]
pub mod fuzz_programs;
#[path = "../../src/fuzz_rtsp.rs"]
pub mod fuzz_rtsp;

pub use bodies::*;
pub use fuzz_programs::*;
pub use fuzz_rtsp::*;
