//! The configuration: the shipped example, and every kind of mistake with its place.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod support;

use std::path::Path;

use lenscap_gateway::config;
use support::{self_signed, write_private};

const HASH: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let pair = self_signed("localhost");
    std::fs::write(folder.path().join("gw.pem"), pair.cert.pem()).unwrap();
    write_private(&folder.path().join("gw.key"), &pair.signing_key.serialize_pem());
    write_private(
        &folder.path().join("other.key"),
        &self_signed("x").signing_key.serialize_pem(),
    );
    write_private(&folder.path().join("pw"), "secret\n");
    write_private(&folder.path().join("token"), "0123456789abcdefghij\n");
    write_private(&folder.path().join("empty"), "\n");
    std::fs::write(folder.path().join("open"), "secret\n").unwrap();
    folder
}

const UPLINK: &str = "[uplink]\nlisten = \"127.0.0.1:0\"\ncert = \"gw.pem\"\nkey = \"gw.key\"\n";

fn errors(folder: &Path, text: &str) -> String {
    config::parse(&folder.join("gateway.toml"), text)
        .expect_err(text)
        .to_string()
}

#[test]
fn every_mistake_has_its_place() {
    let folder = folder();
    let camera = format!("[[camera]]\nname = \"a\"\ntoken_sha256 = \"{HASH}\"\n");
    for (text, expected) in [
        (
            format!("{UPLINK}[rtsp]\nlisten = \"127.0.0.1:0\"\nrelm = \"x\"\n"),
            "gateway.toml:7:1: unknown field `relm`, expected one of `listen`, `listen_tls`, `realm`, `max_viewers` (did you mean `realm`?)",
        ),
        ("[uplink\n".to_owned(), "gateway.toml:1:"),
        (UPLINK.replace("listen", "lisen"), "(did you mean `listen`?)"),
        (
            UPLINK.replace("127.0.0.1:0", "localhost"),
            ":2:10: must be IP:PORT",
        ),
        (UPLINK.replace("gw.pem", "none.pem"), ":3:8: "),
        (
            UPLINK.replace("gw.key", "other.key"),
            "other.key is not the private key of ",
        ),
        (UPLINK.replace("gw.key", "pw"), "no usable PEM private key"),
        (UPLINK.replace("gw.key", "open"), ":4:7: "),
        (
            format!("{UPLINK}[ipfix]\ncollector = \"nowhere\"\n"),
            ":6:13: must be HOST:PORT",
        ),
        (
            format!("{UPLINK}[ipfix]\ncollector = \"[::1]:4739\"\ntransport = \"sctp\"\n"),
            ":7:13: must be \"udp\" or \"tcp\"",
        ),
        (
            format!("{UPLINK}[ipfix]\ncollector = \"a:1\"\nmtu = 100\n"),
            ":7:7: must be 512 to 65535",
        ),
        (
            format!("{UPLINK}[reports]\nflows_every_s = 0\n"),
            ":6:17: must be 1 to 604800 seconds",
        ),
        (format!("{UPLINK}path = \"uplink\"\n"), "must begin with `/`"),
        (
            format!("{UPLINK}[http]\nlisten = \"0.0.0.0:0\"\n"),
            "would be open to everyone: add `token_file`",
        ),
        (
            format!("{UPLINK}[http]\nlisten = \"127.0.0.1:0\"\ntoken_file = \"pw\"\n"),
            "shorter than 16",
        ),
        (
            format!("{UPLINK}[[camera]]\nname = \"a\"\n"),
            "needs `fingerprint`",
        ),
        (
            format!("{UPLINK}[[camera]]\nname = \"a/b\"\ntoken_sha256 = \"{HASH}\"\n"),
            ":6:8: must have 1 to 64",
        ),
        (
            format!("{UPLINK}[[camera]]\nname = \"a\"\nfingerprint = \"{HASH}\"\n"),
            "must be `sha256:` and 64 hex digits",
        ),
        (
            format!("{UPLINK}{camera}{camera}"),
            "there is a camera of this name already",
        ),
        (
            format!("{UPLINK}{camera}{}", camera.replace("\"a\"", "\"b\"")),
            "belongs to another camera already",
        ),
        (
            format!("{UPLINK}[[viewer]]\nuser = \"u\"\n"),
            "needs `password_file`",
        ),
        (
            format!("{UPLINK}[[viewer]]\nuser = \"u\"\npassword_file = \"none\"\n"),
            "cannot be read",
        ),
        (
            format!("{UPLINK}[[viewer]]\nuser = \"u\"\npassword_file = \"empty\"\n"),
            "empty first line",
        ),
        (
            format!("{UPLINK}[[viewer]]\nuser = \"u\"\npassword_file = \"open\"\n"),
            "chmod 600",
        ),
        (
            format!("{UPLINK}[[viewer]]\nuser = \"u\"\nha1_md5 = \"abc\"\n"),
            "must be 32 hex digits",
        ),
        (
            format!("{UPLINK}[[viewer]]\nuser = \"u\"\npassword_file = \"pw\"\ncameras = [\"b\"]\n"),
            ":8:12: there is no camera \"b\"",
        ),
        (
            format!("{UPLINK}[claims]\ncallback = \"https://x/\"\ncallback_secret_file = \"pw\"\n"),
            ":6:12: claims need a data folder",
        ),
        (
            format!(
                "data = \"d\"\n{UPLINK}[claims]\ncallback = \"http://x/\"\ncallback_secret_file = \"pw\"\n"
            ),
            ":7:12: must be https://HOST/..., or http:// to a loopback address",
        ),
        (
            format!("{UPLINK}[endpoint]\nuplink_url = \"http://x/\"\njoin_token_file = \"token\"\n"),
            ":6:14: must be an address that begins with https:// or wss://",
        ),
        (
            format!(
                "data = \"d\"\n{UPLINK}[endpoint]\nuplink_url = \"https://x/u\"\njoin_token_file = \"pw\"\n"
            ),
            ":8:19: the token is shorter than 16 characters",
        ),
        (
            format!(
                "data = \"d\"\n{UPLINK}[streamer]\nname = \"a b\"\nendpoint = \"x\"\nuplink_url = \"https://x/u\"\njoin_token_file = \"token\"\n"
            ),
            ":8:12: must be HOST:PORT of the endpoint's [uplink]",
        ),
        (
            format!(
                "data = \"d\"\n{UPLINK}[endpoint]\nuplink_url = \"https://x/u\"\njoin_token_file = \"token\"\n\
                 [streamer]\nname = \"a\"\nendpoint = \"x:1\"\nuplink_url = \"https://x/u\"\njoin_token_file = \"token\"\n"
            ),
            "give one section, not both",
        ),
    ] {
        let shown = errors(folder.path(), &text);
        assert!(
            shown.contains(expected),
            "{text}\ngave: {shown}\nexpected: {expected}"
        );
        assert!(!shown.contains("secret"));
    }
}

#[test]
fn several_mistakes_are_told_at_once_and_hashes_are_not_quoted() {
    let folder = folder();
    let text = format!(
        "{UPLINK}path = \"x\"\n[[viewer]]\nuser = \"u\"\nha1_md5 = \"deadbeef\"\ncameras = [\"b\"]\n"
    );
    let shown = errors(folder.path(), &text);
    assert_eq!(shown.lines().count(), 3, "{shown}");
    assert!(!shown.contains("deadbeef"));
}

#[test]
fn the_shipped_example_is_valid() {
    let folder = folder();
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/gateway/gateway.toml");
    let text = std::fs::read_to_string(example).unwrap();
    for (name, from) in [
        ("gateway.pem", "gw.pem"),
        ("gateway.key", "gw.key"),
        ("alice.password", "pw"),
        ("http.token", "token"),
    ] {
        std::fs::copy(folder.path().join(from), folder.path().join(name)).unwrap();
    }
    let loaded = config::parse(&folder.path().join("gateway.toml"), &text).unwrap();
    assert_eq!(loaded.warnings, []);
    assert_eq!(loaded.config.cameras, ["front", "yard"]);
}

#[test]
fn the_guides_fragments_are_valid() {
    let folder = folder();
    for (name, from) in [
        ("gw.pem", "gw.pem"),
        ("gw.key", "gw.key"),
        ("s1.pem", "gw.pem"),
        ("s1.key", "gw.key"),
        ("ca.pem", "gw.pem"),
        ("join.token", "token"),
        ("http.token", "token"),
    ] {
        if name != from {
            std::fs::copy(folder.path().join(from), folder.path().join(name)).unwrap();
        }
    }
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/gateway.md");
    let guide = std::fs::read_to_string(guide).unwrap();
    let fragments: Vec<&str> = guide
        .split("```toml\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap())
        .collect();
    assert_eq!(fragments.len(), 2);
    for fragment in fragments {
        let loaded = config::parse(&folder.path().join("gateway.toml"), fragment)
            .unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(loaded.warnings, []);
    }
}
