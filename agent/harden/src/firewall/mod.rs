//! The firewall: what may come in and go out, as rules that know nothing of a kernel; and two ways to say them to one.
//!
//! [`Policy`] is what is wanted, [`Rules`] is what follows from it on a kernel with given [`Abilities`]. [`nft`] and [`xt`]
//! encode rules for nf_tables and for the older iptables, and recognise them when they are read back. Nothing here
//! talks to a kernel.

mod apart;
pub(crate) mod facts;
mod net;
pub mod nft;
mod nft_text;
mod policy;
mod rebind;
pub mod routes;
mod rule;
pub mod xt;

pub use apart::{START, apart};
pub use facts::{
    Peer, Watch, name_servers, own_addresses, own_addresses6, peers, time_servers, watchers_agree,
};
pub use net::{Allowed, Net};
pub use nft_text::to_nft_text;
pub use policy::{MAX_SERVERS, Policy};
pub use rebind::rebind;
pub use rule::{Abilities, Family, Flags, Rule, Rules};

use crate::anew::ANEW;

/// The name of our table in nf_tables, and the beginning of our chains' names in iptables.
pub const NAME: &str = "lenscap";
/// Where the policy that is in force is kept, below the folder of the journal.
pub const RECORD: &str = "firewall";
/// Where OpenWrt's firewall 4 takes rules of others from, each time that it loads its own.
pub const FW4_FILE: &str = "/usr/share/nftables.d/ruleset-post/50-lenscap.nft";
/// What OpenWrt's firewall 3 runs after it has loaded its rules.
pub const FW3_FILE: &str = "/etc/firewall.user";

/// Why a file of a streamer is changed.
const REBINDS: &str = "binds a streamer to the loopback interface";
const STARTS_APART: &str = "starts the streamer in a network of its own";

/// Whether a file was changed for that alone.
pub(crate) fn is_streamers(why: &str) -> bool {
    let of_streamers = |why: &str| [REBINDS, STARTS_APART].contains(&why);
    let mut parts = why.split("; ");
    parts.clone().any(of_streamers) && parts.all(|why| of_streamers(why) || why == ANEW)
}

/// Whether a file is the firewall's alone.
#[must_use]
pub fn is_own(path: &str, state_dir: &str) -> bool {
    let record = path
        .strip_prefix(state_dir)
        .and_then(|rest| rest.strip_prefix('/'));
    record == Some(RECORD) || [FW4_FILE, FW3_FILE].contains(&path)
}

#[cfg(test)]
mod tests;
