//! What a log must not have in it: secrets anywhere, addresses above DEBUG.
//!
//! Checked of every agent and every gateway when its test ends well, so that each way to fail is covered.

use base64ct::{Base64, Encoding as _};

use super::camera::{PASSWORD, USER};
use super::gateway::VIEWER;

/// Words of a log line above DEBUG.
const LOUD: &[&str] = &["ERROR", "WARN", "INFO"];
/// In every token and every ticket that a test gives out (`Uplink-Token-c2d94e6a`).
const TOKEN_MARKS: &[&str] = &["-Token", "Ticket-", "ticket="];

/// Panics when a log has a secret in it, or an address in a line above DEBUG.
#[track_caller]
pub fn assert_discreet(who: &str, log: &str) {
    assert_no_secret(&format!("the {who}'s log"), log);
    for line in log.lines().filter(|line| is_loud(line)) {
        assert!(
            !has_ip_address(line),
            "an address above DEBUG in the {who}'s log: {line}"
        );
    }
}

/// Panics when a text has one of the tests' passwords, tokens, tickets or private keys in it.
#[track_caller]
pub fn assert_no_secret(place: &str, text: &str) {
    let basic = Base64::encode_string(format!("{USER}:{PASSWORD}").as_bytes());
    let secrets = [PASSWORD, VIEWER.1, basic.as_str(), "PRIVATE KEY"];
    for secret in secrets.iter().chain(TOKEN_MARKS) {
        if let Some(line) = text.lines().find(|line| line.contains(secret)) {
            panic!("{secret:?} is in {place}: {line}");
        }
    }
}

/// Whether a log line is above DEBUG.
pub fn is_loud(line: &str) -> bool {
    line.split_whitespace()
        .take(4)
        .any(|word| LOUD.contains(&word.trim_matches(|c: char| !c.is_ascii_alphabetic())))
}

/// Whether the line has something shaped like an IPv4 or IPv6 address.
fn has_ip_address(line: &str) -> bool {
    // Whole words: the end of a module's path (`fleet::claims`) would be an IPv6 address.
    line.split(|c: char| !(c.is_ascii_alphanumeric() || "_.:".contains(c)))
        .any(|word| {
            let word = word.trim_matches('.');
            let host = word
                .split_once(':')
                .filter(|(_, port)| !port.contains(':'))
                .map_or(word, |(host, _)| host);
            host.parse::<std::net::Ipv4Addr>().is_ok()
                || (word.contains("::") && word.trim_end_matches(':').parse::<std::net::Ipv6Addr>().is_ok())
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_detected() {
        assert!(has_ip_address("INFO connected to 127.0.0.1:8443"));
        assert!(has_ip_address("INFO connected to [::1]:8443"));
        assert!(has_ip_address("INFO from 10.0.0.7."));
        assert!(!has_ip_address(
            "2026-11-22T10:00:00Z INFO lenscap 0.1.0 lenscap_gateway::fleet::claims: up"
        ));
        assert!(!has_ip_address("12:34:56 [INFO] agent: up"));
        assert!(is_loud("12:34:56 [INFO] agent: up"));
        assert!(is_loud("2026-11-22T11:29:44Z [INFO ] uplink main: up"));
        assert!(!is_loud("12:34:56 [DEBUG] agent: up"));
    }

    #[test]
    fn an_address_at_debug_passes() {
        assert_discreet("agent", "T [DEBUG] connecting to 127.0.0.1:40897\nT [INFO ] up");
    }

    #[test]
    #[should_panic(expected = "an address above DEBUG")]
    fn an_address_at_info_does_not() {
        assert_discreet("agent", "T [INFO ] connecting to 127.0.0.1:40897");
    }

    #[test]
    #[should_panic(expected = "is in the agent's log")]
    fn a_token_does_not_even_at_debug() {
        assert_discreet("agent", "T [DEBUG] Authorization: Bearer Uplink-Token-c2d94e6a");
    }
}
