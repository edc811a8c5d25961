//! What is true about a camera, with evidence. Facts go in, rules judge them, a report comes out.
//!
//! It reads no file, no socket and no clock: whoever collects facts gives them, with what was read and what could not be.

pub mod facts;
pub mod flows;
pub mod inventory;
pub mod json;
pub mod judge;
pub mod report;
pub mod rules;

pub use judge::{Report, Verdict, audit};

#[cfg(test)]
mod tests;
