//! Reads and replaces the filter tables of iptables' kernel half.

use std::io;
use std::process::{Command, Stdio};

use lenscap_harden::firewall::nft::Found;
use lenscap_harden::firewall::xt::{Layout, MATCHES, Table, entries_request, info_request, revision_request};
use lenscap_harden::firewall::{Abilities, Family, Rules};

use crate::sys;

const GET_INFO: i32 = 64;
const GET_ENTRIES: i32 = 65;
const ADD_COUNTERS: i32 = 65;
/// A table that others change at the same moment is read again.
const TRIES: usize = 3;

/// The level of the options, and the one that asks for a match.
fn options(family: Family) -> (i32, i32) {
    match family {
        Family::V4 => (0, 66),
        Family::V6 => (41, 68),
    }
}

/// The table as it is.
pub(super) fn read(family: Family) -> io::Result<Table> {
    let socket = sys::raw_socket(family == Family::V6)?;
    let (level, _) = options(family);
    let mut info = info_request();
    sys::socket_option(&socket, level, GET_INFO, &mut info)?;
    let damaged = || io::Error::from(io::ErrorKind::InvalidData);
    let mut entries = entries_request(&info, Layout::NATIVE).ok_or_else(damaged)?;
    sys::socket_option(&socket, level, GET_ENTRIES, &mut entries)?;
    Table::parse(family, Layout::NATIVE, &info, &entries).ok_or_else(damaged)
}

/// Kernels with modules do not load these by themselves.
pub(super) fn load() {
    for (family, module) in [(Family::V4, "iptable_filter"), (Family::V6, "ip6table_filter")] {
        if read(family).is_err() {
            let _ = Command::new("modprobe")
                .arg(module)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status();
        }
    }
}

/// What both families' filters can ask.
pub(super) fn abilities(families: &[Family]) -> Abilities {
    let [established, owner, limit] = MATCHES.map(|wanted| {
        families.iter().all(|family| {
            let (level, option) = options(*family);
            let mut request = revision_request(wanted);
            sys::raw_socket(*family == Family::V6)
                .and_then(|socket| sys::socket_option(&socket, level, option, &mut request))
                .is_ok()
        })
    });
    Abilities {
        established,
        owner,
        limit,
    }
}

/// Puts our rules before all others, or takes them out. What others have stays, with its counts.
pub(super) fn replace(family: Family, rules: Option<&Rules>) -> io::Result<()> {
    let mut last = None;
    for _ in 0..TRIES {
        match replace_once(family, rules) {
            Ok(()) => return Ok(()),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| io::ErrorKind::Other.into()))
}

fn replace_once(family: Family, rules: Option<&Rules>) -> io::Result<()> {
    let (level, _) = options(family);
    let mut new = read(family)?.with(rules);
    let socket = sys::raw_socket(family == Family::V6)?;
    let mut counters = vec![0; new.old_counter_bytes()];
    sys::replace_table(&socket, level, &mut new.block, &mut counters)?;
    sys::set_socket_option(&socket, level, ADD_COUNTERS, &new.counters(&counters))
}

/// What is there.
pub(super) fn find(family: Family, rules: &Rules) -> io::Result<Found> {
    Ok(read(family)?.find(rules))
}
