//! Closes a camera: finds what lets strangers in, says what it would change, changes it, looks whether it helped, and
//! can take it back.
//!
//! It works on a [`root::Root`]: the running system or a root file system tree. It reads no clock and no randomness:
//! both are given. It opens no socket, starts no program and prints nothing.

pub mod accounts;
mod anew;
pub mod applied;
pub mod credentials;
pub mod crypt;
pub mod defaults;
pub mod edits;
pub mod engine;
pub mod firewall;
pub mod firmware;
pub mod gate;
pub mod hostkeys;
pub mod journal;
pub mod listeners;
pub mod locate;
pub mod look;
pub mod proof;
pub mod report;
pub mod respawn;
pub mod root;
pub mod secret;
pub mod shell;
pub mod started;
pub mod storage;
pub mod survey;
mod taking_back;
pub mod telnet;
pub mod transaction;

#[cfg(test)]
mod tests;
