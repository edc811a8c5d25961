//! Any policy: the kernel takes it, and what is read back is what was meant.

use std::net::IpAddr;

use lenscap::firewall::Rung;
use lenscap_harden::firewall::nft::Found;
use lenscap_harden::firewall::{Abilities, Allowed, Family, Net, Policy, Rule, Rules, to_nft_text};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::{alone, output, run, without_root};

fn address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        any::<u32>().prop_map(|bits| IpAddr::V4(bits.into())),
        any::<u128>().prop_map(|bits| IpAddr::V6(bits.into())),
    ]
}

fn allowed() -> impl Strategy<Value = Allowed> {
    (address(), 0..=128_u8, 1..=u16::MAX, 0..3_u8).prop_map(|(addr, prefix, port, kind)| Allowed {
        net: Net::new(addr, prefix),
        port,
        tcp: kind != 0,
        udp: kind != 1,
    })
}

fn policies() -> impl Strategy<Value = (Policy, Abilities)> {
    let policy = (
        any::<Option<u32>>(),
        vec(1..=u16::MAX, 0..4),
        vec(allowed(), 0..6),
        vec(allowed(), 0..6),
        vec(address(), 0..4),
        vec(address(), 0..4),
        any::<bool>(),
    );
    (policy, any::<[bool; 3]>()).prop_map(|((uid, ports, allow_in, allow_out, dns, ntp, discovery), can)| {
        let policy = Policy {
            uid,
            ports,
            allow_in,
            allow_out,
            dns,
            ntp,
            discovery,
            ..Policy::default()
        };
        let [established, owner, limit] = can;
        let can = Abilities {
            established,
            owner,
            limit,
        };
        (policy, can)
    })
}

/// The whole filter table as `iptables-restore` reads it: written after iptables(8) and iptables-extensions(8).
fn to_iptables_text(rules: &Rules, family: Family) -> String {
    let mut text = String::from(
        "*filter\n:INPUT ACCEPT\n:FORWARD ACCEPT\n:OUTPUT ACCEPT\n:lenscap-in -\n:lenscap-out -\n\
         -A INPUT -j lenscap-in\n-A OUTPUT -j lenscap-out\n",
    );
    let other = if family == Family::V4 {
        Family::V6
    } else {
        Family::V4
    };
    for (chain, list) in [("lenscap-in", &rules.input), ("lenscap-out", &rules.output)] {
        for rule in list.iter().filter(|rule| rule.family() != Some(other)) {
            text.push_str(&format!("-A {chain}{}\n", words(rule, chain == "lenscap-in")));
        }
    }
    text + "COMMIT\n"
}

fn words(rule: &Rule, input: bool) -> String {
    let mut words = String::new();
    let mut add = |word: String| {
        words.push(' ');
        words.push_str(&word);
    };
    if rule.loopback {
        add(format!("{} lo", if input { "-i" } else { "-o" }));
    }
    if let Some(net) = rule.remote {
        add(format!("{} {net}", if input { "-s" } else { "-d" }));
    }
    let protocol = match rule.protocol {
        Some(6) => "tcp",
        Some(17) => "udp",
        Some(1) => "icmp",
        Some(58) => "ipv6-icmp",
        Some(2) => "igmp",
        Some(other) => panic!("protocol {other}"),
        None => "",
    };
    if !protocol.is_empty() {
        add(format!("-p {protocol}"));
    }
    let (source, destination) = if input {
        (rule.remote_port, rule.local_port)
    } else {
        (rule.local_port, rule.remote_port)
    };
    let ports = [("--sport", source), ("--dport", destination)];
    let ports = ports.iter().filter(|(_, range)| *range != (0, u16::MAX));
    if rule.flags.is_some() || ports.clone().count() > 0 {
        add(format!("-m {protocol}"));
    }
    for (option, (first, last)) in ports {
        add(format!("{option} {first}:{last}"));
    }
    if let Some(flags) = rule.flags {
        let names = ["FIN", "SYN", "RST", "PSH", "ACK", "URG"];
        let list = |bits: u8| {
            let set = (0..6).filter(|bit| bits & (1 << bit) != 0);
            let set: Vec<&str> = set.map(|bit| names[bit]).collect();
            if set.is_empty() {
                "NONE".to_owned()
            } else {
                set.join(",")
            }
        };
        let not = if flags.inverted { "! " } else { "" };
        add(format!(
            "{not}--tcp-flags {} {}",
            list(flags.mask),
            list(flags.value)
        ));
    }
    match (rule.icmp, protocol) {
        (Some(kind), "icmp") => add(format!("-m icmp --icmp-type {kind}")),
        (Some(kind), _) => add(format!("-m icmp6 --icmpv6-type {kind}")),
        (None, _) => {}
    }
    if rule.established {
        add("-m conntrack --ctstate RELATED,ESTABLISHED".into());
    }
    if let Some(uid) = rule.uid {
        add(format!("-m owner --uid-owner {uid}"));
    }
    if let Some((rate, burst)) = rule.limit {
        add(format!("-m limit --limit {rate}/second --limit-burst {burst}"));
    }
    add(format!("-j {}", if rule.accept { "RETURN" } else { "DROP" }));
    words
}

#[test]
fn the_kernel_takes_and_gives_any_policy() {
    if without_root() {
        return;
    }
    let iptables = Rung::Iptables { v6: true };
    let nothing_dropped = Found::Same {
        dropped_in: 0,
        dropped_out: 0,
    };
    alone(|| {
        let mut runner = TestRunner::new(Config {
            cases: 48,
            failure_persistence: None,
            ..Config::default()
        });
        let outcome = runner.run(&policies(), |(policy, can)| {
            prop_assert_eq!(Policy::parse(&policy.to_text()), Some(policy.clone()));
            let rules = policy.rules(can);
            for rung in [Rung::Nft, iptables] {
                rung.put(&rules).unwrap();
                prop_assert_eq!(rung.find(&rules).unwrap(), nothing_dropped, "{:?}", rung);
            }
            let listed = run("nft", &["-n", "list", "table", "inet", "lenscap"]);
            let loaded = output("nft", &["-f", "-"], &to_nft_text(&rules));
            prop_assert!(
                loaded.status.success(),
                "{}",
                String::from_utf8_lossy(&loaded.stderr)
            );
            prop_assert_eq!(run("nft", &["-n", "list", "table", "inet", "lenscap"]), listed);
            prop_assert_eq!(Rung::Nft.find(&rules).unwrap(), nothing_dropped);
            for (family, list, restore) in [
                (Family::V4, "iptables-legacy", "iptables-legacy-restore"),
                (Family::V6, "ip6tables-legacy", "ip6tables-legacy-restore"),
            ] {
                let listed = run(list, &["-S"]);
                let text = to_iptables_text(&rules, family);
                let loaded = output(restore, &[], &text);
                prop_assert!(
                    loaded.status.success(),
                    "{}\n{text}",
                    String::from_utf8_lossy(&loaded.stderr)
                );
                prop_assert_eq!(run(list, &["-S"]), listed, "{}", text);
            }
            // The program writes the very bytes that we do.
            prop_assert_eq!(iptables.find(&rules).unwrap(), nothing_dropped);
            Ok(())
        });
        if let Err(failure) = outcome {
            panic!("{failure}");
        }
    });
}
