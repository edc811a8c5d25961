//! Any policy: the kernel takes it, and what is read back is what was meant.

use std::net::IpAddr;

use lenscap::firewall::Rung;
use lenscap_harden::firewall::nft::Found;
use lenscap_harden::firewall::{Abilities, Allowed, Net, Policy, to_nft_text};
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
            // One line for each rule of the family, a jump and a name for each chain, a policy for each hook.
            for (program, other) in [("iptables-legacy", 6), ("ip6tables-legacy", 4)] {
                let family = |rule: &&lenscap_harden::firewall::Rule| match rule.family() {
                    Some(lenscap_harden::firewall::Family::V4) => other != 4,
                    Some(lenscap_harden::firewall::Family::V6) => other != 6,
                    None => true,
                };
                let count = rules.input.iter().chain(&rules.output).filter(family).count();
                prop_assert_eq!(run(program, &["-S"]).lines().count(), count + 2 + 2 + 3);
            }
            Ok(())
        });
        if let Err(failure) = outcome {
            panic!("{failure}");
        }
    });
}
