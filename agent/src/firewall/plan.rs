//! What the firewall measure finds and would change.

use std::io::{self, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use lenscap_harden::edits::Edits;
use lenscap_harden::firewall::nft::Found;
use lenscap_harden::firewall::{
    Abilities, Allowed, FW3_FILE, FW4_FILE, Policy, Watch, apart, own_addresses, rebind, to_nft_text,
    watchers_agree,
};
use lenscap_harden::listeners;
use lenscap_harden::report::{Measure, Status};
use lenscap_harden::root::{Attributes, Root};
use lenscap_harden::survey::Survey;

use super::probe::{Probe, STRANGER};
use super::{
    Request, Rung, has_ipv6, held, ipv6_is_off, ladder, leaves_ipv6, record, record_path, routes_hold,
    servers,
};
use crate::config::{Config, HardenMode};
use crate::monitor;

const FW4: &str = "/sbin/fw4";
const FW4_CONFIG: &str = "/etc/config/firewall";
const FW3: &str = "/sbin/fw3";
const FW3_LINE: &str = "/usr/sbin/lenscap harden --restore";
const HTTPS: u16 = 443;
const IPV6_STAYS: &str = "this kernel can neither filter IPv6 nor switch it off";
/// The most ports that are tried from outside.
const MAX_PROBES: usize = 8;
/// The longest table of the kernel that is read.
const MAX_TABLE_BYTES: u64 = 1 << 20;
const READABLE: Attributes = Attributes {
    mode: 0o644,
    ..Attributes::PRIVATE
};

/// Looks, and plans.
///
/// # Errors
/// When a file that was seen cannot be read.
pub fn plan(request: Request<'_>, edits: &mut Edits<'_>) -> io::Result<()> {
    let root = edits.root();
    let Some(config) = request.config else {
        let status = if root.is_live() {
            Status::Fails
        } else {
            Status::Notice
        };
        find(
            edits,
            status,
            "there is no configuration that says where the uplink leads: `lenscap check`",
        );
        return Ok(());
    };
    let path = record_path(request.state_dir);
    let kept = edits.read(&path)?;
    let kept = kept.and_then(|text| Policy::parse(&String::from_utf8_lossy(&text)));
    let (mut policy, names) = wanted(root, config, kept.as_ref());
    if !names.is_empty() {
        let text = format!(
            "time servers known by name only are closed ({}): `list allow_out 'address:123/udp'` opens one",
            names.join(", ")
        );
        find(edits, Status::Notice, &text);
    }
    if policy.dns.is_empty() {
        let text = "no name server is known yet: names are asked of any on the local network, or of none where the kernel does not track connections";
        find(edits, Status::Notice, text);
    }
    if !root.is_live() {
        put(edits, &path, &policy)?;
        put_include(edits, &policy, Abilities::ALL)?;
        let text =
            "each boot closes it with `lenscap harden --restore`; whether the kernel can, the camera tells";
        find(edits, Status::Notice, text);
        return Ok(());
    }
    let held = ladder(&policy).and_then(|held| {
        // Routes lead nowhere for both.
        let routes = config.harden.blackhole && leaves_ipv6(held.0);
        if routes { Err(IPV6_STAYS.into()) } else { Ok(held) }
    });
    let (rung, can) = match held {
        Ok(held) => held,
        Err(why) => {
            find(edits, Status::Fails, &format!("not enforceable here: {why}"));
            if !agree(edits, request.watch) {
                return Ok(());
            }
            without_filter(edits, request.state_dir, &policy, config)?;
            policy.blackhole = config.harden.blackhole;
            return if policy.blackhole {
                blackhole(root, edits, &path, &policy, kept.as_ref())
            } else {
                Ok(())
            };
        }
    };
    let open = leaves_ipv6(rung);
    if open {
        find(edits, Status::Fails, IPV6_STAYS);
    }
    policy.no_ipv6 = rung == (Rung::Iptables { v6: false }) && has_ipv6() && !open;
    policy.ipv6_was_off = policy.no_ipv6
        && kept
            .as_ref()
            .filter(|kept| kept.no_ipv6)
            .map_or_else(|| ipv6_is_off(root), |kept| kept.ipv6_was_off);
    if !agree(edits, request.watch) {
        return Ok(());
    }
    if open {
        without_filter(edits, request.state_dir, &policy, config)?;
    }
    // Servers come and go with the network: that alone is no reason to write flash.
    let in_force = kept.as_ref().is_some_and(|kept| kept.same_but_servers(&policy));
    let filed = kept.as_ref().filter(|_| in_force).unwrap_or(&policy);
    put(edits, &path, filed)?;
    // What waits for its owner must not come back after a boot.
    if config.harden.mode == HardenMode::Enforce || in_force && !request.unconfirmed {
        put_include(edits, filed, can)?;
    }
    weaknesses(edits, &policy, can);
    let found = rung.find(&policy.rules(can));
    match found {
        Ok(Found::Same {
            dropped_in,
            dropped_out,
        }) if in_force && (!policy.no_ipv6 || ipv6_is_off(root)) => {
            let text = format!(
                "closed by {}; dropped so far: {dropped_in} packets coming in, {dropped_out} going out",
                rung.name()
            );
            find(edits, Status::Holds, &text);
            if request.probe {
                let (status, text) = tried(root, request.state_dir, config.agent.resolv_conf.to_str());
                find(edits, status, &text);
            }
        }
        Ok(_) => {
            let what = if in_force {
                "; it was, and is not any more"
            } else {
                ""
            };
            let text = format!(
                "will be closed by {}: only the uplink, its servers and what is allowed pass{what}",
                rung.name()
            );
            find(edits, Status::Planned, &text);
        }
        Err(error) => find(
            edits,
            Status::Unknown,
            &format!("the rules cannot be read: {error}"),
        ),
    }
    Ok(())
}

fn find(edits: &mut Edits<'_>, status: Status, text: &str) {
    edits.find(Measure::Firewall, status, None, text);
}

fn agree(edits: &mut Edits<'_>, watch: Option<&Watch>) -> bool {
    watch.is_none_or(|watch| watchers_agree(edits, Measure::Firewall, watch))
}

/// What helps a little where there is none.
fn without_filter(
    edits: &mut Edits<'_>,
    state_dir: &str,
    policy: &Policy,
    config: &Config,
) -> io::Result<()> {
    let allowed = |port| policy.allow_in.iter().any(|allowed| allowed.port == port);
    rebind(edits, &allowed)?;
    match &config.harden.streamer {
        Some(streamer) => live_apart(edits, state_dir, streamer, policy, config),
        None => Ok(()),
    }
}

/// The streamer in a network of its own stands in for a filter, as far as it can.
fn live_apart(
    edits: &mut Edits<'_>,
    state_dir: &str,
    streamer: &Path,
    policy: &Policy,
    config: &Config,
) -> io::Result<()> {
    let doors = crate::apart::doors(config);
    let reached = |allowed: &Allowed| doors.iter().any(|door| door.port() == allowed.port);
    let why = if !crate::apart::has_networks() {
        "this kernel has no network namespaces"
    } else if policy.allow_in.iter().any(reached) {
        "`list allow_lan` lets somebody reach the streamer, which so stays where it is"
    } else {
        let survey = Survey::take(edits.root(), state_dir);
        return apart(edits, &survey, streamer);
    };
    find(edits, Status::Notice, why);
    Ok(())
}

/// Routes stand in for a filter, as far as they can.
fn blackhole(
    root: &Root,
    edits: &mut Edits<'_>,
    path: &str,
    policy: &Policy,
    kept: Option<&Policy>,
) -> io::Result<()> {
    let in_force = kept.is_some_and(|kept| kept.same_but_servers(policy));
    let filed = kept.filter(|_| in_force).unwrap_or(policy);
    let text = filed.to_text().into_bytes();
    edits.put(path, text, Attributes::PRIVATE, "what the routes lead to")?;
    let (status, text) = if in_force && routes_hold(root, policy) {
        (
            Status::Holds,
            "routes: nothing but the local network and what is allowed is reached or answered",
        )
    } else {
        (
            Status::Planned,
            "routes will lead nowhere but to the local network, the servers and what is allowed by address; the uplink's \
             address must be in `list allow_out`",
        )
    };
    find(edits, status, text);
    Ok(())
}

/// What the configuration and the camera's files ask for, and time servers that have names only. Servers that are known
/// from before stay known, so that a network that is not up yet changes nothing.
fn wanted(root: &Root, config: &Config, kept: Option<&Policy>) -> (Policy, Vec<String>) {
    let passwd = root.read("/etc/passwd").unwrap_or_default();
    let mut ports: Vec<u16> = Vec::new();
    let mut add = |port| {
        if !ports.contains(&port) {
            ports.push(port);
        }
    };
    for uplink in &config.uplinks {
        uplink.endpoints.iter().for_each(|url| add(url.port()));
        // Where a redirect leads, nobody knows before; this is where they usually lead.
        uplink.redirect_to.iter().for_each(|_| add(HTTPS));
    }
    if root.is_live() {
        for uplink in &config.uplinks {
            let kept = monitor::kept(&config.agent.state_dir, uplink);
            let streamers = kept.resume.into_iter().flat_map(|resume| resume.addresses);
            let endpoint = kept.endpoint.map(|(url, _)| url);
            endpoint
                .into_iter()
                .chain(streamers)
                .for_each(|url| add(url.port()));
        }
    }
    let mut policy = Policy {
        uid: Some(monitor::uid_in(&config.agent, &String::from_utf8_lossy(&passwd))),
        ports,
        allow_in: Allowed::parse_all(&config.harden.allow_lan),
        allow_out: Allowed::parse_all(&config.harden.allow_out),
        discovery: config.harden.discovery,
        ..Policy::default()
    };
    if let Some(kept) = kept {
        policy.dns.clone_from(&kept.dns);
        policy.ntp.clone_from(&kept.ntp);
    }
    let (dns, ntp, names) = servers(root, config.agent.resolv_conf.to_str());
    policy.add_servers(&dns, &ntp);
    (policy, names)
}

/// The record.
fn put(edits: &mut Edits<'_>, path: &str, policy: &Policy) -> io::Result<()> {
    let text = policy.to_text().into_bytes();
    edits.put(path, text, Attributes::PRIVATE, "what the firewall lets pass")
}

/// Plans what has OpenWrt's own firewall keep ours, as the record has it.
///
/// # Errors
/// When a file that was seen cannot be read.
pub fn include(state_dir: &str, edits: &mut Edits<'_>) -> io::Result<()> {
    let Some(policy) = record(edits.root(), state_dir).filter(|policy| !policy.blackhole) else {
        return Ok(());
    };
    match ladder(&policy) {
        Ok((_, can)) => put_include(edits, &policy, can),
        // It was in place without one that can be asked now: the next look tells.
        Err(_) => Ok(()),
    }
}

fn put_include(edits: &mut Edits<'_>, policy: &Policy, can: Abilities) -> io::Result<()> {
    let root = edits.root();
    if root.exists(FW4) {
        let settings = edits.read(FW4_CONFIG)?.unwrap_or_default();
        if String::from_utf8_lossy(&settings).lines().any(takes_no_files) {
            let text = "`option auto_includes '0'`: OpenWrt's firewall does not restore ours by itself after `fw4 flush`; the \
                        service's next look does";
            find(edits, Status::Notice, text);
        }
        let text = to_nft_text(&policy.rules(can));
        if root.is_live() && nft_refuses(&text) {
            let text = "`nft` refuses our file: OpenWrt's firewall will not restore ours by itself";
            find(edits, Status::Notice, text);
        } else {
            edits.put(
                FW4_FILE,
                text.into_bytes(),
                READABLE,
                "restores the firewall with OpenWrt's own",
            )?;
        }
    } else if root.exists(FW3)
        && let Some(script) = edits.read(FW3_FILE)?
    {
        let mut script = String::from_utf8_lossy(&script).into_owned();
        if !script.lines().any(|line| line == FW3_LINE) {
            if !script.is_empty() && !script.ends_with('\n') {
                script.push('\n');
            }
            script.push_str(FW3_LINE);
            script.push('\n');
            let why = "restores the firewall with OpenWrt's own";
            edits.change(FW3_FILE, script.into_bytes(), false, why)?;
        }
    }
    Ok(())
}

/// Whether a line of firewall 4's settings says that it takes no files from that folder.
fn takes_no_files(line: &str) -> bool {
    let mut words = line.split_ascii_whitespace();
    words.next() == Some("option")
        && words.next() == Some("auto_includes")
        && words
            .next()
            .is_some_and(|value| value.trim_matches(['\'', '"']) == "0")
}

/// Asks the program, where there is one.
fn nft_refuses(text: &str) -> bool {
    let child = Command::new("nft")
        .args(["-c", "-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let Ok(mut child) = child else {
        return false;
    };
    let written = child
        .stdin
        .take()
        .map(|mut stdin| stdin.write_all(text.as_bytes()));
    let status = child.wait();
    !matches!((written, status), (Some(Ok(())), Ok(status)) if status.success())
}

/// What this kernel's filter cannot ask.
fn weaknesses(edits: &mut Edits<'_>, policy: &Policy, can: Abilities) {
    let notes = [
        (
            can.owner,
            "weaker: this kernel cannot tell who sends, so every program may dial the uplink's ports anywhere",
        ),
        (can.established, "stateless: answers are told by ports and flags"),
        (
            can.limit,
            "weaker: this kernel cannot limit how many packets pass",
        ),
        (
            !policy.no_ipv6,
            "IPv6 is switched off: this kernel cannot filter it",
        ),
    ];
    for (fine, text) in notes {
        if !fine {
            find(edits, Status::Notice, text);
        }
    }
}

/// Knocks from outside at what is in force. Gives what came of it, in a sentence.
#[must_use]
pub fn tried(root: &Root, state_dir: &str, resolv_conf: Option<&str>) -> (Status, String) {
    let knocked = match held(root, state_dir, resolv_conf) {
        Some((policy, rung, rules)) => knock(root, &policy, &|| match rung.find(&rules) {
            Ok(Found::Same { dropped_in, .. }) => dropped_in,
            _ => 0,
        }),
        None => Err(io::Error::other("its rules are gone")),
    };
    match knocked {
        Ok(Knocked::Silent(ports)) => (
            Status::Holds,
            format!("packets from outside to port {ports} are dropped"),
        ),
        Ok(Knocked::Lost) => (
            Status::Unknown,
            "packets made to come in from outside do not reach the firewall: whether others do was not seen"
                .into(),
        ),
        Ok(Knocked::Answered(ports)) => (
            Status::Fails,
            format!("a packet from outside to port {ports} is answered"),
        ),
        // Until there is one.
        Ok(Knocked::Nothing) => (
            Status::Notice,
            "no port of this camera is open to others, with the firewall or without".into(),
        ),
        Err(error) => (
            Status::Unknown,
            format!("whether packets from outside are dropped could not be tried: {error}"),
        ),
    }
}

enum Knocked {
    /// These ports did not answer, and the packets were counted as dropped.
    Silent(String),
    /// No port answered, and the packets were not counted.
    Lost,
    Answered(String),
    Nothing,
}

fn knock(root: &Root, policy: &Policy, dropped: &dyn Fn() -> u64) -> io::Result<Knocked> {
    let trie = root.head("/proc/net/fib_trie", MAX_TABLE_BYTES)?;
    let address = own_addresses(&String::from_utf8_lossy(&trie)).into_iter().next();
    let address = address.ok_or_else(|| io::Error::other("this camera has no address yet"))?;
    let mut ports: Vec<u16> = listeners::read(root)?
        .iter()
        .filter(|listener| !listener.loopback)
        .map(|listener| listener.port)
        .filter(|port| {
            let let_in = |allowed: &Allowed| allowed.covers(STRANGER.into(), *port);
            !policy.allow_in.iter().any(let_in)
        })
        .collect();
    ports.dedup();
    ports.truncate(MAX_PROBES);
    if ports.is_empty() {
        return Ok(Knocked::Nothing);
    }
    let mut probe = Probe::new()?;
    let before = dropped();
    let answered = probe.answered(address, &ports)?;
    let list = |ports: &[u16]| ports.iter().map(u16::to_string).collect::<Vec<_>>().join(", ");
    Ok(if !answered.is_empty() {
        Knocked::Answered(list(&answered))
    } else if dropped() >= before + ports.len() as u64 {
        Knocked::Silent(list(&ports))
    } else {
        Knocked::Lost
    })
}
