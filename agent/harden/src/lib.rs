//! Closes a camera: finds what lets strangers in, says what it would change, changes it, looks whether it helped, and
//! can take it back.
//!
//! It works on a [`root::Root`]: the running system or a root file system tree. It reads no clock and no randomness:
//! both are given. It opens no socket, starts no program and prints nothing.

pub mod crypt;
pub mod root;
