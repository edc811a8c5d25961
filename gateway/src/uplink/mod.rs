//! Uplinks: TLS, the HTTP/1.1 upgrade, then HTTP/2 in the client's role over the reversed connection.

pub mod carrier;
pub mod link;
pub mod listener;
pub mod meter;
pub mod renew;
pub mod requests;
pub mod upgrade;
