//! What the operating system offers and `std` does not. The only place with unsafe code.

#![allow(unsafe_code)]

mod channel;
mod dependencies;
mod netlink;
mod packet;
mod privileges;
mod random;
mod signals;
mod socket;
mod time;
mod tun;
mod xtables;

#[cfg(feature = "flows")]
pub use channel::wait_either;
pub use channel::{channel, is_channel, receive, send, wait_readable, wait_writable};
pub use dependencies::keep_dependencies;
pub use netlink::{Netlink, dump};
pub use packet::{Packet, Packets};
pub use privileges::{
    Limits, become_user, change_root, clear_capabilities, close_inherited, die_with_parent,
    drop_bounding_set, is_root, make_minor, offer_to_die, set_limits, set_no_new_privs, set_not_dumpable,
    set_process_name,
};
pub use random::{Entropy, entropy, random};
pub use signals::{Signal, Signals};
pub use socket::{out_queue, set_notsent_lowat, tcp_flight, unsent};
pub use time::{clock_synchronised, monotonic, realtime, since_1970};
pub use tun::{loopback_up, tun};
pub use xtables::{raw_socket, replace_table, set_socket_option, socket_option};
