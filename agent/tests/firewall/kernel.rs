//! What we say to the kernel is what its own programs read.

use lenscap::firewall::{Rung, ladder, remove};
use lenscap_harden::firewall::nft::Found;
use lenscap_harden::firewall::{Abilities, Policy, Rule, Rules, to_nft_text};

use super::{alone, output, policy, run, without_root};

const IPTABLES: Rung = Rung::Iptables { v6: true };
const NOTHING_DROPPED: Found = Found::Same {
    dropped_in: 0,
    dropped_out: 0,
};

#[test]
fn this_kernel_offers_the_highest_rung() {
    if without_root() {
        return;
    }
    let held = alone(|| (ladder(&policy()).unwrap(), run("nft", &["list", "ruleset"])));
    assert_eq!(
        held,
        ((Rung::Nft, Abilities::ALL), String::new()),
        "and nothing was changed"
    );
}

#[test]
fn nft_reads_what_was_sent() {
    if without_root() {
        return;
    }
    let rules = policy().rules(Abilities::ALL);
    let list = alone(|| {
        run("nft", &["add", "table", "inet", "vendor"]);
        assert_eq!(Rung::Nft.find(&rules).unwrap(), Found::Absent);
        Rung::Nft.put(&rules).unwrap();
        Rung::Nft.put(&rules).unwrap();
        assert_eq!(Rung::Nft.find(&rules).unwrap(), NOTHING_DROPPED);
        let list = run("nft", &["-n", "list", "ruleset"]);
        // As OpenWrt's firewall loads it from our file.
        let loaded = output("nft", &["-f", "-"], &to_nft_text(&rules));
        assert!(
            loaded.status.success(),
            "{}",
            String::from_utf8_lossy(&loaded.stderr)
        );
        assert_eq!(run("nft", &["-n", "list", "ruleset"]), list);
        assert_eq!(Rung::Nft.find(&rules).unwrap(), NOTHING_DROPPED);
        // Asleep, it filters nothing.
        run("nft", &["add table inet lenscap { flags dormant; }"]);
        assert_eq!(Rung::Nft.find(&rules).unwrap(), Found::Different);
        Rung::Nft.put(&rules).unwrap();
        assert_eq!(Rung::Nft.find(&rules).unwrap(), NOTHING_DROPPED);
        list
    });
    for line in [
        "table inet vendor {",
        "table inet lenscap {",
        "type filter hook input priority -10; policy drop;",
        "type filter hook output priority -10; policy drop;",
        "iif \"lo\" counter packets 0 bytes 0 accept",
        "oif \"lo\" counter packets 0 bytes 0 accept",
        "icmp type 3 ct state 0x2,0x4 counter packets 0 bytes 0 accept",
        "icmpv6 type 135 counter packets 0 bytes 0 accept",
        "ip saddr 172.16.0.0/12 udp sport 67 udp dport 68 counter packets 0 bytes 0 accept",
        "ip6 daddr ff02::1:2 udp sport 546 udp dport 547 limit rate 5/second burst 10 packets counter packets 0 bytes 0 accept",
        "ip daddr 10.9.0.2 udp dport 53 limit rate 20/second burst 40 packets counter packets 0 bytes 0 accept",
        "ip6 saddr fd00::53 udp sport 53 ct state 0x2,0x4 counter packets 0 bytes 0 accept",
        "tcp dport 443 tcp flags 0x2 / 0x2,0x10 meta skuid 312 limit rate 5/second burst 20 packets counter packets 0 bytes 0 accept",
        "tcp dport 443 tcp flags != 0x2 / 0x2,0x10 meta skuid 312 counter packets 0 bytes 0 accept",
        "tcp dport 443 tcp flags 0x1,0x4 counter packets 0 bytes 0 accept",
        "ip saddr 10.9.0.2 tcp dport 554 counter packets 0 bytes 0 accept",
        "ip saddr 192.168.0.0/17 udp dport 22 counter packets 0 bytes 0 accept",
        "ip6 saddr fd00::/8 tcp dport 22 counter packets 0 bytes 0 accept",
        "ip daddr 10.9.0.2 udp dport 7000 counter packets 0 bytes 0 accept",
        "ip daddr 239.255.255.250 udp dport 3702 counter packets 0 bytes 0 accept",
        "counter packets 0 bytes 0 drop",
    ] {
        assert!(list.lines().any(|have| have.trim() == line), "{line}\n{list}");
    }
}

#[test]
fn a_table_that_was_changed_is_seen() {
    if without_root() {
        return;
    }
    let rules = policy().rules(Abilities::ALL);
    alone(|| {
        for change in [
            &["insert", "rule", "inet", "lenscap", "in", "accept"][..],
            &["add", "rule", "inet", "lenscap", "out", "drop"],
            &["flush", "chain", "inet", "lenscap", "in"],
            &["add", "chain", "inet", "lenscap", "in", "{ policy accept; }"],
            &["add", "chain", "inet", "lenscap", "more"],
        ] {
            Rung::Nft.put(&rules).unwrap();
            run("nft", change);
            assert_eq!(Rung::Nft.find(&rules).unwrap(), Found::Different, "{change:?}");
        }
        run("nft", &["flush", "ruleset"]);
        assert_eq!(Rung::Nft.find(&rules).unwrap(), Found::Absent);
        let other = Policy {
            uid: Some(313),
            ..policy()
        };
        Rung::Nft.put(&other.rules(Abilities::ALL)).unwrap();
        assert_eq!(Rung::Nft.find(&rules).unwrap(), Found::Different);
    });
}

/// A firmware's own rules: chains, jumps, matches and targets that we know nothing of, policies, and counts.
const VENDOR: &[&str] = &[
    "-P FORWARD DROP",
    "-N vendor",
    "-N also",
    "-A vendor -p tcp -m multiport --dports 80,443 -m comment --comment web -j ACCEPT",
    "-A vendor -m limit --limit 3/min -j LOG --log-prefix vendor",
    "-A vendor",
    "-A also -j RETURN",
    "-A INPUT -i lo -j ACCEPT",
    "-A INPUT -p udp --dport 5000:6000 -j vendor",
    "-A INPUT -j vendor",
    "-A OUTPUT -o nothing0 -g also",
    "-A OUTPUT -p tcp -j vendor",
    "-A FORWARD -j also",
];

fn vendor(program: &str) -> String {
    for rule in VENDOR {
        run(program, &rule.split(' ').collect::<Vec<_>>());
    }
    // Packets that were counted before.
    let address = if program.starts_with("ip6") {
        "::1"
    } else {
        "127.0.0.1"
    };
    let socket = std::net::UdpSocket::bind((address, 0)).unwrap();
    for _ in 0..5 {
        socket.send_to(b"x", socket.local_addr().unwrap()).unwrap();
    }
    let saved = run(&format!("{program}-save"), &["-c"]);
    assert!(saved.contains("[5:"), "{saved}");
    without_comments(&saved)
}

fn without_comments(text: &str) -> String {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.to_owned() + "\n").collect()
}

#[test]
fn iptables_reads_what_was_set_and_keeps_the_firmwares_own() {
    if without_root() {
        return;
    }
    let rules = policy().rules(Abilities::ALL);
    alone(|| {
        let programs = ["iptables-legacy", "ip6tables-legacy"];
        let saved = |program: &str| without_comments(&run(&format!("{program}-save"), &["-c"]));
        let before = programs.map(vendor);
        assert_eq!(IPTABLES.find(&rules).unwrap(), Found::Absent);
        IPTABLES.put(&rules).unwrap();
        remove(&policy()).unwrap();
        assert_eq!(programs.map(saved), before, "counts too");
        IPTABLES.put(&rules).unwrap();
        IPTABLES.put(&rules).unwrap();
        assert_eq!(IPTABLES.find(&rules).unwrap(), NOTHING_DROPPED);
        let v4 = run("iptables-legacy", &["-S"]);
        let v6 = run("ip6tables-legacy", &["-S"]);
        for (list, line) in [
            (&v4, "-N lenscap-in"),
            (&v4, "-A lenscap-in -i lo -j RETURN"),
            (
                &v4,
                "-A lenscap-in -p icmp -m icmp --icmp-type 3 -m conntrack --ctstate RELATED,ESTABLISHED -j RETURN",
            ),
            (
                &v4,
                "-A lenscap-in -s 192.168.0.0/17 -p udp -m udp --dport 22 -j RETURN",
            ),
            (
                &v4,
                "-A lenscap-in -p tcp -m tcp --sport 443 --dport 1024:65535 ! --tcp-flags SYN,ACK SYN -m conntrack --ctstate RELATED,ESTABLISHED -j RETURN",
            ),
            (&v4, "-A lenscap-in -j DROP"),
            (&v4, "-A lenscap-out -o lo -j RETURN"),
            (
                &v4,
                "-A lenscap-out -d 10.9.0.2/32 -p udp -m udp --dport 53 -m limit --limit 20/sec --limit-burst 40 -j RETURN",
            ),
            (
                &v4,
                "-A lenscap-out -p tcp -m tcp --dport 443 --tcp-flags SYN,ACK SYN -m owner --uid-owner 312 -m limit --limit 5/sec --limit-burst 20 -j RETURN",
            ),
            (
                &v4,
                "-A lenscap-out -p tcp -m tcp --dport 443 ! --tcp-flags FIN,RST NONE -j RETURN",
            ),
            (&v4, "-A lenscap-out -j DROP"),
            (
                &v6,
                "-A lenscap-in -p ipv6-icmp -m icmp6 --icmpv6-type 135 -j RETURN",
            ),
            (
                &v6,
                "-A lenscap-in -s fd00::/8 -p tcp -m tcp --dport 22 -j RETURN",
            ),
            (
                &v6,
                "-A lenscap-out -d ff02::1:2/128 -p udp -m udp --sport 546 --dport 547 -m limit --limit 5/sec --limit-burst 10 -j RETURN",
            ),
            (&v6, "-A lenscap-out -j DROP"),
        ] {
            assert!(list.lines().any(|have| have == line), "{line}\n{list}");
        }
        for list in [&v4, &v6] {
            let first = |chain: &str| list.lines().find(|line| line.starts_with(chain)).unwrap();
            assert_eq!(first("-A INPUT"), "-A INPUT -j lenscap-in");
            assert_eq!(first("-A OUTPUT"), "-A OUTPUT -j lenscap-out");
        }
        // Somebody appends to what is there: both are still whole.
        run("iptables-legacy", &["-A", "also", "-s", "1.2.3.4", "-j", "DROP"]);
        assert_eq!(IPTABLES.find(&rules).unwrap(), NOTHING_DROPPED);
        run("iptables-legacy", &["-D", "also", "-s", "1.2.3.4", "-j", "DROP"]);
        for change in [
            "-I INPUT -j ACCEPT",
            "-F lenscap-in",
            "-D OUTPUT -j lenscap-out",
            "-I lenscap-out -j ACCEPT",
        ] {
            IPTABLES.put(&rules).unwrap();
            run("iptables-legacy", &change.split(' ').collect::<Vec<_>>());
            assert_eq!(IPTABLES.find(&rules).unwrap(), Found::Different, "{change}");
        }
        run("iptables-legacy", &["-D", "INPUT", "-j", "ACCEPT"]);
        remove(&policy()).unwrap();
        remove(&policy()).unwrap();
        let rules_of = |text: &str| -> Vec<String> {
            let lines = text.lines().filter_map(|line| line.split_once("] -A"));
            lines.map(|(_, rule)| rule.to_owned()).collect()
        };
        for (program, before) in programs.into_iter().zip(before) {
            assert_eq!(rules_of(&saved(program)), rules_of(&before));
        }
        assert_eq!(IPTABLES.find(&rules).unwrap(), Found::Absent);
    });
}

#[test]
fn an_empty_list_is_no_open_door() {
    if without_root() {
        return;
    }
    // Nothing but what drops, and nothing at all: the chain's own policy.
    for rules in [
        Rules {
            input: vec![Rule::DROP],
            output: vec![Rule::DROP],
        },
        Rules::default(),
    ] {
        alone(|| {
            Rung::Nft.put(&rules).unwrap();
            let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
            let sent = socket.send_to(b"x", socket.local_addr().unwrap());
            assert_eq!(sent.unwrap_err().kind(), std::io::ErrorKind::PermissionDenied);
        });
    }
}
