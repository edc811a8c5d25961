//! Talks netlink with nf_tables.

use std::io;

use lenscap_harden::firewall::Rules;
use lenscap_harden::firewall::nft::{self, Found};
use nix::errno::Errno;
use nix::sys::socket::SockProtocol;

use crate::netlink;

/// Whether the kernel would take the rules. Nothing is changed.
pub(super) fn judge(rules: &Rules) -> io::Result<()> {
    ask(&nft::replace(rules, false)).map(|_| ())
}

/// Replaces our table.
pub(super) fn put(rules: &Rules) -> io::Result<()> {
    ask(&nft::replace(rules, true)).map(|_| ())
}

/// Removes our table.
pub(super) fn remove() -> io::Result<()> {
    ask(&nft::remove()).map(|_| ())
}

/// What is there.
pub(super) fn find(rules: &Rules) -> io::Result<Found> {
    let [tables, chains, dumped] = nft::questions();
    // Without chains there is no table to ask the rules of.
    let chains = [ask(&tables)?, ask(&chains)?].concat();
    let dumped = match ask(&dumped) {
        Err(error) if error.raw_os_error() == Some(Errno::ENOENT as i32) => Vec::new(),
        other => other?,
    };
    Ok(nft::read(&chains, &dumped, rules))
}

fn ask(question: &[u8]) -> io::Result<Vec<u8>> {
    netlink::ask(SockProtocol::NetlinkNetFilter, question)
}
