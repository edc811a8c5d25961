//! The bodies of the fuzz targets, shared with the corpus replay of `lenscap-tests` but built without what the other
//! test tools need.

#[path = "../../src/fuzz.rs"]
mod bodies;

pub use bodies::*;
