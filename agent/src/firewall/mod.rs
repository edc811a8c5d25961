//! The firewall of a running camera: which rung of the ladder its kernel offers, rules put in place, looked at, and taken
//! away. What is wanted is kept in one file beside the journal ([`RECORD`]): the file is there if and only if the rules
//! should be, so that undo, roll-back and a reboot need nothing else.
//!
//! This is no protection from root: who has root removes rules, or sends past them (`AF_PACKET`).

mod nft;
mod plan;
mod probe;
mod request;
mod xt;

use std::io::{self, Read as _};
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::OnceLock;

use lenscap_harden::firewall::nft::Found;
use lenscap_harden::firewall::routes::{self, Route};
use lenscap_harden::firewall::{Abilities, Family, Policy, RECORD, Rules, name_servers, time_servers};
use lenscap_harden::journal::sha256;
use lenscap_harden::root::Root;
use nix::errno::Errno;
use nix::sys::socket::SockProtocol;

use crate::netlink;

pub use plan::{include, plan, tried};
pub use request::Request;

/// Files of name servers: the usual one first, then those that a local resolver asks.
const RESOLV_CONF: &[&str] = &[
    "/etc/resolv.conf",
    "/tmp/resolv.conf",
    "/tmp/resolv.conf.auto",
    "/tmp/resolv.conf.d/resolv.conf.auto",
];
/// The most name servers of one file: no resolver asks more (`MAXNS` of resolv.conf(5)).
const MAX_OF_FILE: usize = 3;
/// Files of time servers.
const TIME_CONF: &[&str] = &["/etc/config/system", "/etc/ntp.conf", "/etc/chrony.conf"];
/// The longest of these.
const MAX_CONF_BYTES: u64 = 64 * 1024;
/// Where IPv6 is switched, one folder for each interface.
const IPV6: &str = "/proc/sys/net/ipv6/conf";

/// A way in which this kernel filters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rung {
    /// nf_tables, by netlink.
    Nft,
    /// iptables' kernel half, with IPv6 or without.
    Iptables {
        /// Whether IPv6 can be filtered too.
        v6: bool,
    },
}

impl Rung {
    /// Its name in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Nft => "nf_tables",
            Self::Iptables { v6: true } => "iptables",
            Self::Iptables { v6: false } => "iptables, IPv4 alone",
        }
    }

    fn families(self) -> &'static [Family] {
        match self {
            Self::Nft | Self::Iptables { v6: true } => &[Family::V4, Family::V6],
            Self::Iptables { v6: false } => &[Family::V4],
        }
    }

    /// Puts rules in place, instead of earlier ones of ours.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn put(self, rules: &Rules) -> io::Result<()> {
        match self {
            Self::Nft => nft::put(rules),
            Self::Iptables { .. } => self
                .families()
                .iter()
                .try_for_each(|family| xt::replace(*family, Some(rules))),
        }
    }

    /// Compares what is there with rules.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn find(self, rules: &Rules) -> io::Result<Found> {
        if self == Self::Nft {
            return nft::find(rules);
        }
        let [mut in_, mut out, mut same, mut absent] = [0_u64; 4];
        for family in self.families() {
            match xt::find(*family, rules)? {
                Found::Same {
                    dropped_in,
                    dropped_out,
                } => {
                    in_ += dropped_in;
                    out += dropped_out;
                    same += 1;
                }
                Found::Absent => absent += 1,
                Found::Different => {}
            }
        }
        let all = self.families().len() as u64;
        Ok(if same == all {
            Found::Same {
                dropped_in: in_,
                dropped_out: out,
            }
        } else if absent == all {
            Found::Absent
        } else {
            Found::Different
        })
    }
}

/// The highest rung that this kernel offers, and what its filter can ask. Nothing is changed.
///
/// # Errors
/// A sentence: why nothing is enforceable here.
pub fn ladder(policy: &Policy) -> Result<(Rung, Abilities), String> {
    // Each question for what a kernel lacks has it start modprobe: a run asks once.
    static IPTABLES: OnceLock<(Rung, Abilities)> = OnceLock::new();
    if let Some(held) = IPTABLES.get() {
        return Ok(*held);
    }
    let nft_error = match nft::judge(&Rules::default()) {
        Ok(()) => {
            let fits = Abilities::best_first().find(|can| nft::judge(&policy.rules(*can)).is_ok());
            if let Some(can) = fits {
                return Ok((Rung::Nft, can));
            }
            io::Error::other("it takes none of the rules")
        }
        Err(error) => error,
    };
    xt::load();
    let v6 = match xt::read(Family::V4) {
        Ok(_) => xt::read(Family::V6).is_ok(),
        Err(error) => {
            return Err(format!(
                "this kernel has no filter that can be used (nf_tables: {nft_error}; iptables: {error})"
            ));
        }
    };
    let rung = Rung::Iptables { v6 };
    let held = (rung, xt::abilities(rung.families()));
    Ok(
        if nft_error.raw_os_error() == Some(Errno::EPROTONOSUPPORT as i32) {
            *IPTABLES.get_or_init(|| held)
        } else {
            held
        },
    )
}

/// The policy that is to be in force, if one is.
#[must_use]
pub fn record(root: &Root, state_dir: &str) -> Option<Policy> {
    let text = root.read(&record_path(state_dir)).ok()?;
    Policy::parse(&String::from_utf8_lossy(&text))
}

/// The policy of the record, if the kernel has its rules now. Routes block no port.
#[must_use]
pub fn in_force(root: &Root, state_dir: &str, resolv_conf: Option<&str>) -> Option<Policy> {
    let (policy, rung, _) = held(root, state_dir, resolv_conf)?;
    (!leaves_ipv6(rung)).then_some(policy)
}

/// The same, with its rules and what holds them.
fn held(root: &Root, state_dir: &str, resolv_conf: Option<&str>) -> Option<(Policy, Rung, Rules)> {
    let mut policy = record(root, state_dir).filter(|policy| !policy.blackhole)?;
    let (dns, ntp, _) = servers(root, resolv_conf);
    policy.add_servers(&dns, &ntp);
    let (rung, can) = ladder(&policy).ok()?;
    let rules = policy.rules(can);
    matches!(rung.find(&rules), Ok(Found::Same { .. })).then_some((policy, rung, rules))
}

/// Where it is kept.
#[must_use]
pub fn record_path(state_dir: &str) -> String {
    format!("{}/{RECORD}", state_dir.trim_end_matches('/'))
}

/// Makes the kernel agree with the record: rules in place if there is one, gone if there is none. `before` is the record
/// of a moment ago, if there was one. Idempotent, and no file is written. Says whether something had to be done; without
/// `act` it is not done.
///
/// # Errors
/// A sentence: what could not be put in place or taken away.
pub fn sync(
    root: &Root,
    state_dir: &str,
    resolv_conf: Option<&str>,
    before: Option<&Policy>,
    act: bool,
) -> Result<bool, String> {
    let mut policy = match (record(root, state_dir), before) {
        (Some(policy), _) => policy,
        (None, Some(before)) => {
            remove(before).map_err(|error| format!("the firewall stays: {error}"))?;
            return Ok(true);
        }
        (None, None) => return Ok(false),
    };
    let (dns, ntp, _) = servers(root, resolv_conf);
    policy.add_servers(&dns, &ntp);
    if policy.blackhole {
        if !act {
            return Ok(!routes_hold(root, &policy));
        }
        let put = put_routes(&policy, &default_gateways(root));
        return put.map_err(|error| format!("the routes cannot be set: {error}"));
    }
    if before.is_some_and(|before| before.blackhole) {
        remove_routes(&[]).map_err(|error| format!("the routes stay: {error}"))?;
    }
    let (rung, can) = ladder(&policy)?;
    let rules = policy.rules(can);
    let is_there = || matches!(rung.find(&rules), Ok(Found::Same { .. }));
    let absent = !is_there();
    let ipv6 = policy.no_ipv6 && !ipv6_is_off(root);
    let lacks = absent || ipv6;
    if !act {
        return Ok(lacks);
    }
    if absent {
        rung.put(&rules)
            .map_err(|error| format!("the kernel refuses the rules: {error}"))?;
    }
    if ipv6 {
        switch_ipv6(root, false).map_err(|error| format!("IPv6 cannot be switched off: {error}"))?;
    }
    if lacks && !is_there() {
        return Err("the rules are not there after they were put in place".into());
    }
    Ok(lacks)
}

/// Takes away what is ours, from every rung, and nothing else. Where `before` switched IPv6 off, it is on again.
///
/// # Errors
/// What the kernel says.
pub fn remove(before: &Policy) -> io::Result<()> {
    let nothing = Rules::default();
    if !matches!(nft::find(&nothing), Ok(Found::Absent) | Err(_)) {
        nft::remove()?;
    }
    for family in [Family::V4, Family::V6] {
        if xt::read(family).is_ok_and(|table| table.is_marked()) {
            xt::replace(family, None)?;
        }
    }
    if before.no_ipv6 && !before.ipv6_was_off {
        switch_ipv6(&Root::live()?, true)?;
    }
    if before.blackhole {
        remove_routes(&[])?;
    }
    Ok(())
}

/// Sets the routes of the blackhole rung, and removes those of ours that are not among them. Says whether there was
/// something to do.
///
/// # Errors
/// What the kernel says.
pub fn put_routes(policy: &Policy, gateways: &[IpAddr]) -> io::Result<bool> {
    let mut wanted = routes::routes(policy, gateways);
    if !has_ipv6() {
        wanted.retain(|route| route.net.addr.is_ipv4());
    }
    let have = our_routes()?;
    let missing: Vec<Route> = wanted
        .iter()
        .filter(|route| !have.contains(route))
        .copied()
        .collect();
    if !missing.is_empty() {
        netlink::ask(SockProtocol::NetlinkRoute, &routes::change(&missing, true))?;
    }
    Ok(remove_routes(&wanted)? || !missing.is_empty())
}

/// Removes our routes but for those that are wanted. Says whether there were others.
fn remove_routes(wanted: &[Route]) -> io::Result<bool> {
    let stale: Vec<Route> = our_routes()?
        .into_iter()
        .filter(|route| !wanted.contains(route))
        .collect();
    if !stale.is_empty() {
        netlink::ask(SockProtocol::NetlinkRoute, &routes::change(&stale, false))?;
    }
    Ok(!stale.is_empty())
}

fn our_routes() -> io::Result<Vec<Route>> {
    let mut found = Vec::new();
    for v6 in [false, true] {
        if !v6 || has_ipv6() {
            let answer = netlink::ask(SockProtocol::NetlinkRoute, &routes::question(v6))?;
            found.extend(routes::read(&answer));
        }
    }
    Ok(found)
}

fn default_gateways(root: &Root) -> Vec<IpAddr> {
    let read = |path: &str| {
        let text = root.head(path, MAX_CONF_BYTES).unwrap_or_default();
        String::from_utf8_lossy(&text).into_owned()
    };
    routes::gateways(&read("/proc/net/route"), &read("/proc/net/ipv6_route"))
}

/// Whether the routes are as the policy has them.
fn routes_hold(root: &Root, policy: &Policy) -> bool {
    let mut wanted = routes::routes(policy, &default_gateways(root));
    wanted.retain(|route| route.net.addr.is_ipv4() || has_ipv6());
    our_routes()
        .is_ok_and(|have| have.len() == wanted.len() && wanted.iter().all(|route| have.contains(route)))
}

/// Name servers, time servers, and the names of time servers, as the camera has them. Those that its programs are told to
/// ask come first. What lies in a folder where anybody makes files counts only if nobody but root may write it.
fn servers(root: &Root, resolv_conf: Option<&str>) -> (Vec<IpAddr>, Vec<IpAddr>, Vec<String>) {
    let read = |path: &str, anybodys: bool| {
        let text = root.reader(path).and_then(|file| {
            let about = file.metadata()?;
            let mut text = Vec::new();
            if !anybodys || about.uid() == 0 && about.mode() & 0o022 == 0 {
                file.take(MAX_CONF_BYTES).read_to_end(&mut text)?;
            }
            Ok(text)
        });
        String::from_utf8_lossy(&text.unwrap_or_default()).into_owned()
    };
    let mut all = (Vec::new(), Vec::new(), Vec::new());
    let configured = resolv_conf.iter().chain(RESOLV_CONF.first());
    let paths = configured.map(|path| (path, false));
    for (path, anybodys) in paths.chain(RESOLV_CONF.iter().skip(1).map(|path| (path, true))) {
        let found = name_servers(&read(path, anybodys));
        all.0.extend(found.into_iter().take(MAX_OF_FILE));
    }
    for path in TIME_CONF {
        let text = read(path, false);
        let (addresses, names) = time_servers(&text);
        all.1.extend(addresses);
        all.2.extend(names.into_iter().map(str::to_owned));
    }
    all
}

/// One word that is another when the camera has other name or time servers.
#[must_use]
pub fn known_servers(root: &Root, resolv_conf: Option<&str>) -> String {
    let (dns, ntp, _) = servers(root, resolv_conf);
    let mut text = String::new();
    for list in [dns, ntp] {
        for address in list {
            text.push_str(&address.to_string());
            text.push(' ');
        }
        text.push('\n');
    }
    sha256(text.as_bytes())
}

/// The files that name servers, where a firewall is to be in force: their change is worth a look. With where links lead.
#[must_use]
pub fn watched(root: &Root, state_dir: &str, resolv_conf: Option<&str>) -> Vec<String> {
    if !root.exists(&record_path(state_dir)) {
        return Vec::new();
    }
    let named = resolv_conf.iter().chain(RESOLV_CONF).chain(TIME_CONF);
    let mut paths: Vec<String> = named.map(|path| (*path).to_owned()).collect();
    // What is there later is seen when its folder comes.
    paths.push("/tmp/resolv.conf.d".to_owned());
    let led = |path: &&str| root.canonical(path).ok();
    paths.extend(resolv_conf.iter().chain(RESOLV_CONF).filter_map(led));
    paths
}

/// Whether IPv6 can neither be filtered nor switched off.
fn leaves_ipv6(rung: Rung) -> bool {
    rung == (Rung::Iptables { v6: false }) && has_ipv6() && !Path::new(IPV6).is_dir()
}

fn has_ipv6() -> bool {
    Path::new("/proc/net/if_inet6").exists()
}

/// The switches of every interface but the loopback, and of those to come.
fn ipv6_switches(root: &Root) -> io::Result<Vec<String>> {
    let names = root.list(IPV6)?.into_iter().map(|entry| entry.name);
    let names = names.filter(|name| name != "lo" && name != "all");
    Ok(names.map(|name| format!("{IPV6}/{name}/disable_ipv6")).collect())
}

fn switch_ipv6(root: &Root, on: bool) -> io::Result<()> {
    let value = if on { "0" } else { "1" };
    let switches = ipv6_switches(root)?;
    switches
        .iter()
        .try_for_each(|switch| std::fs::write(switch, value))
}

/// Whether all of them say so.
fn ipv6_is_off(root: &Root) -> bool {
    let off = |switch: &String| root.head(switch, 1).is_ok_and(|text| text == b"1");
    ipv6_switches(root).is_ok_and(|switches| switches.iter().all(off))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::process::Command;

    use super::*;

    #[test]
    fn configured_name_servers_are_not_pushed_out() {
        let dir = tempfile::tempdir().unwrap();
        let write = |path: &str, net: u8, mode: u32| {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            let lines = (1..=9).map(|host| format!("nameserver 10.0.{net}.{host}\n"));
            std::fs::write(&path, lines.collect::<String>()).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        // Lease programs of cameras write it for everybody, and it is what is asked all the same.
        write("etc/resolv.conf", 1, 0o666);
        write("etc/own.conf", 0, 0o644);
        write("tmp/resolv.conf", 2, 0o666);
        write("tmp/resolv.conf.auto", 3, 0o664);
        let root = Root::tree(dir.path()).unwrap();
        let known = || {
            let mut policy = Policy::parse("lenscap-firewall 1\ndns 10.0.9.9\n").unwrap();
            policy.add_servers(&servers(&root, Some("/etc/own.conf")).0, &[]);
            policy.dns.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let configured = [
            "10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.1.1", "10.0.1.2", "10.0.1.3",
        ];
        let others = |names: &[&'static str]| [&configured, names].concat();
        assert_eq!(known(), others(&["10.0.9.9"]));
        if nix::unistd::geteuid().is_root() {
            write("tmp/resolv.conf.d/resolv.conf.auto", 4, 0o644);
            assert_eq!(known(), others(&["10.0.4.1", "10.0.4.2"]));
            let auto = dir.path().join("tmp/resolv.conf.d/resolv.conf.auto");
            std::os::unix::fs::chown(auto, Some(31_200), None).unwrap();
            assert_eq!(known(), others(&["10.0.9.9"]));
        }
    }

    #[test]
    fn ipv6_is_switched_off_and_on() {
        if std::env::var_os("LENSCAP_TEST_UNPRIVILEGED").is_some() {
            return;
        }
        let ip = |args: &[&str]| {
            let output = Command::new("ip").args(args).output().unwrap();
            assert!(output.status.success(), "{output:?}");
            String::from_utf8(output.stdout).unwrap()
        };
        let inside = move || {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET)
                .expect("this test needs root; LENSCAP_TEST_UNPRIVILEGED=1 leaves it out");
            ip(&["link", "set", "lo", "up"]);
            let root = Root::live().unwrap();
            ip(&["link", "add", "eth0", "type", "veth", "peer", "name", "eth1"]);
            ip(&["addr", "add", "fd00::1/64", "dev", "eth0"]);
            assert!(!ipv6_is_off(&root));
            switch_ipv6(&root, false).unwrap();
            assert!(ipv6_is_off(&root));
            assert!(!ip(&["-6", "addr"]).contains("fd00::1") && ip(&["-6", "addr"]).contains("::1/128"));
            // An interface that comes later has none either.
            ip(&["link", "add", "eth2", "type", "veth", "peer", "name", "eth3"]);
            assert!(ipv6_is_off(&root));
            switch_ipv6(&root, true).unwrap();
            assert!(!ipv6_is_off(&root));
        };
        std::thread::spawn(inside).join().unwrap();
    }
}
