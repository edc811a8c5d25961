//! Routes that stand in for a filter.

use std::net::TcpListener;

use lenscap::firewall::{put_routes, remove};
use lenscap_harden::firewall::Policy;

use super::lan::{CAMERA, FRIEND, STRANGER, connect, count, flood, socket, with_lan};
use super::{addresses, allowed, run, without_root};

const INTERNET: &str = "203.0.113.9";
const GATEWAY: &str = "198.51.100.1";

#[test]
fn the_internet_gets_no_answer_and_is_not_reached() {
    if without_root() {
        return;
    }
    with_lan(|lan| {
        let _video = TcpListener::bind("0.0.0.0:554").unwrap();
        for address in [INTERNET, GATEWAY] {
            lan.run(move || run("ip", &["addr", "add", &format!("{address}/32"), "dev", "eth0"]));
        }
        let gateway = lan.listen(GATEWAY, 8443);
        let sinks = [lan.receive(INTERNET, 9999), lan.receive("2001:db8::3", 9999)];
        let far = [socket(INTERNET, 9999), socket("2001:db9::3", 9999)];
        assert!(lan.dial(INTERNET, CAMERA, 554).is_some());
        flood(&far[..1], 3);
        assert_eq!(count(&sinks[0]), 3);

        let before = run("ip", &["route"]) + &run("ip", &["-6", "route"]);
        let policy = Policy {
            allow_out: allowed(&["198.51.100.1:8443"]),
            blackhole: true,
            ..Policy::default()
        };
        let by = addresses(&[FRIEND, "fd00::2"]);
        assert!(put_routes(&policy, &by).unwrap());
        assert!(!put_routes(&policy, &by).unwrap(), "nothing to do");
        let list = run("ip", &["route", "show", "proto", "112"]);
        let words: Vec<&str> = list.split_whitespace().collect();
        assert_eq!(list.lines().count(), 3, "{list}");
        assert!(
            list.contains("blackhole 0.0.0.0/1") && list.contains("blackhole 128.0.0.0/1"),
            "{list}"
        );
        assert!(words.windows(3).any(|w| w == [GATEWAY, "via", FRIEND]), "{list}");
        let list6 = run("ip", &["-6", "route", "show", "proto", "112"]);
        assert!(
            list6.contains("blackhole ::/1") && list6.contains("blackhole 8000::/1"),
            "{list6}"
        );

        assert!(lan.dial(INTERNET, CAMERA, 554).is_none());
        flood(&far, 100);
        assert_eq!(sinks.each_ref().map(count), [0, 0]);
        assert!(connect(None, socket(GATEWAY, 8443)).is_some(), "the uplink");
        assert!(
            lan.dial(STRANGER, CAMERA, 554).is_some(),
            "the local network is not kept out by routes"
        );
        drop(gateway);

        // Another gateway, and nothing more to allow: what is no longer wanted goes.
        let less = Policy {
            allow_out: Vec::new(),
            ..policy.clone()
        };
        assert!(put_routes(&less, &by).unwrap());
        assert!(connect(None, socket(GATEWAY, 8443)).is_none());
        remove(&policy).unwrap();
        assert_eq!(run("ip", &["route"]) + &run("ip", &["-6", "route"]), before);
        assert!(lan.dial(INTERNET, CAMERA, 554).is_some());
    });
}
