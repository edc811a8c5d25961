//! From sections to the configuration: names, types, and what belongs together.

use std::path::PathBuf;
use std::time::Duration;

use lenscap_harden::firewall::Allowed;
use lenscap_harden::listeners::Close;
use lenscap_uplink::upgrade::Carrier;
use lenscap_uplink::url::{HostPattern, Url};
use log::LevelFilter;

use super::DEFAULT_RUN_DIR;
use super::diagnostic::Position;
use super::secret::Secret;
use super::section::{Reader, Sink, absolute_path, boolean};
use super::types::{
    AgentConfig, CertificateFiles, ClientAuth, Config, Harden, HardenMode, HardenPassword, Level, LogTarget,
    Login, Password, Pin, Profile, Trust, Uplink,
};
use super::uci::{self, Section};
use super::url;
use crate::seal;

const SECTIONS: &[&str] = &["agent", "uplink", "profile", "harden"];
const AGENT: &[&str] = &[
    "state_dir",
    "run_dir",
    "user",
    "group",
    "log",
    "log_level",
    "serial",
    "model",
    "cert",
    "key",
    "resolv_conf",
    "hosts",
    "capture",
    "reports",
];
const UPLINK: &[&str] = &["endpoint", "redirect_to", "ca_file", "pin", "token_file", "level"];
const PROFILE: &[&str] = &["rtsp", "snapshot", "user", "password", "password_file"];
const HARDEN: &[&str] = &[
    "mode",
    "telnet",
    "credentials",
    "firewall",
    "allow_lan",
    "allow_out",
    "discovery",
    "recheck",
    "password",
    "owner_key",
    "blackhole",
    "close",
    "streamer",
];

/// The most uplinks, and the most profiles.
const MAX_SECTIONS: usize = 16;
/// The most values of a list.
const MAX_LIST: usize = 32;
/// The longest user name or serial number, in bytes.
const MAX_NAME_BYTES: usize = 64;

/// Everything. `None` when so much is wrong that nothing can be said for it; the sink then has errors.
pub(super) fn config(text: &str, sink: &mut Sink) -> Option<Config> {
    let sections = sections(text, sink);
    for section in &sections {
        if !SECTIONS.contains(&section.kind.text.as_str()) {
            sink.unknown(&section.kind, "section", SECTIONS);
        }
    }
    let agent = agent(&sections, sink);
    let uplinks = named(&sections, "uplink", sink, uplink);
    let profiles = named(&sections, "profile", sink, profile);
    let harden = harden(&sections, sink);
    Some(Config {
        agent,
        uplinks: uplinks?,
        profiles: profiles?,
        harden,
    })
}

/// `config harden` alone.
pub(super) fn harden_only(text: &str, sink: &mut Sink) -> Harden {
    harden(&sections(text, sink), sink)
}

/// `config agent` alone.
pub(super) fn agent_only(text: &str, sink: &mut Sink) -> AgentConfig {
    let sections = sections(text, sink);
    agent(&sections, sink)
}

/// For a file that every user may read.
pub(super) fn warn_inline_passwords(text: &str, sink: &mut Sink) {
    let (sections, _) = uci::parse(text);
    for section in sections.iter().filter(|section| section.kind.text == "profile") {
        for entry in &section.entries {
            let in_url = entry.name.text == "rtsp"
                && url::rtsp(&entry.value.text).is_ok_and(|url| url.login.is_some());
            if in_url || entry.name.text == "password" {
                let message = "every user may read this file, and it holds a password; run `chmod 600` on it, or use `option password_file`";
                sink.warn(entry.name.position, message.into());
            }
        }
    }
}

fn sections(text: &str, sink: &mut Sink) -> Vec<Section> {
    let (sections, errors) = uci::parse(text);
    for error in errors {
        sink.error(error.position, error.message);
    }
    sections
}

/// The section of a kind that is there at most once.
fn single<'a>(sections: &'a [Section], kind: &str, sink: &mut Sink) -> Option<&'a Section> {
    let mut of_kind = sections.iter().filter(|section| section.kind.text == kind);
    let first = of_kind.next()?;
    for extra in of_kind {
        let line = first.kind.position.line;
        let message =
            format!("a second `config {kind}`, the first is in line {line}; put the options together");
        sink.error(extra.kind.position, message);
    }
    Some(first)
}

/// All sections of a kind that has names. `None` if there is none, or one is unusable.
fn named<T>(
    sections: &[Section],
    kind: &str,
    sink: &mut Sink,
    read: fn(&Section, String, &mut Sink) -> Option<T>,
) -> Option<Vec<T>> {
    let mut names: Vec<(&str, u32)> = Vec::new();
    let mut values = Vec::new();
    let mut complete = true;
    for section in sections.iter().filter(|section| section.kind.text == kind) {
        let position = section.kind.position;
        let name = match &section.name {
            Some(name) if !name.text.is_empty() => name.text.as_str(),
            _ => {
                sink.error(
                    position,
                    format!("`config {kind}` needs a name: `config {kind} 'main'`"),
                );
                ""
            }
        };
        if let Some((_, line)) = names
            .iter()
            .find(|(earlier, _)| *earlier == name && !name.is_empty())
        {
            sink.error(
                position,
                format!("a second {kind} `{name}`, the first is in line {line}; rename one"),
            );
        }
        if names.len() == MAX_SECTIONS {
            sink.error(
                position,
                format!("more than {MAX_SECTIONS} sections `config {kind}`; remove some"),
            );
            return None;
        }
        names.push((name, position.line));
        match read(section, name.to_owned(), sink) {
            Some(value) => values.push(value),
            None => complete = false,
        }
    }
    if names.is_empty() {
        sink.error(
            Position::default(),
            format!("no `config {kind}` section; at least one is needed"),
        );
    }
    (complete && !values.is_empty()).then_some(values)
}

fn agent(sections: &[Section], sink: &mut Sink) -> AgentConfig {
    let mut agent = AgentConfig {
        state_dir: PathBuf::from("/etc/lenscap"),
        run_dir: PathBuf::from(DEFAULT_RUN_DIR),
        user: "lenscap".into(),
        group: None,
        log: LogTarget::Stderr,
        log_level: LevelFilter::Info,
        serial: None,
        model: None,
        certificate: None,
        resolv_conf: PathBuf::from("/etc/resolv.conf"),
        hosts: PathBuf::from("/etc/hosts"),
        capture: false,
        reports: true,
    };
    let Some(section) = single(sections, "agent", sink) else {
        return agent;
    };
    let mut reader = Reader::new(section, AGENT, sink);
    set(&mut agent.state_dir, reader.parsed("state_dir", absolute_path));
    set(&mut agent.run_dir, reader.parsed("run_dir", absolute_path));
    set(&mut agent.user, reader.parsed("user", account));
    agent.group = reader.parsed("group", account);
    set(&mut agent.log, reader.parsed("log", log_target));
    set(&mut agent.log_level, reader.parsed("log_level", log_level));
    set(
        &mut agent.resolv_conf,
        reader.parsed("resolv_conf", absolute_path),
    );
    set(&mut agent.hosts, reader.parsed("hosts", absolute_path));
    set(&mut agent.capture, reader.parsed("capture", boolean));
    set(&mut agent.reports, reader.parsed("reports", boolean));
    agent.serial = reader.parsed("serial", serial);
    agent.model = reader.parsed("model", label);
    agent.certificate = match (reader.file("cert"), reader.secret_file("key")) {
        (Some(cert), Some(key)) => Some(CertificateFiles { cert, key }),
        (None, None) => None,
        _ => {
            let position = reader.position();
            reader.error(
                position,
                "`cert` and `key` belong together: give both, or none for an identity of its own",
            );
            None
        }
    };
    agent
}

fn uplink(section: &Section, name: String, sink: &mut Sink) -> Option<Uplink> {
    let mut reader = Reader::new(section, UPLINK, sink);
    let position = reader.position();
    if !section.entries.iter().any(|entry| entry.name.text == "endpoint") {
        reader.error(
            position,
            "this uplink has no `option endpoint 'https://...'`: it is where the agent dials",
        );
    }
    let endpoints = reader.parsed_list("endpoint", MAX_LIST, |text| {
        Url::parse(text).map_err(|e| e.to_string())
    });
    let redirect_to = reader.parsed_list("redirect_to", MAX_LIST, |text| {
        HostPattern::parse(text).map_err(|e| e.to_string())
    });
    let ca_file = reader.file("ca_file");
    let pins = reader.parsed_list("pin", MAX_LIST, Pin::parse);
    let auth = match reader.secret_file("token_file") {
        Some(token_file) => {
            if let Err(message) = Secret::read(&token_file).and_then(|token| bearer(&token)) {
                reader.sink.error(position, format!("`token_file`: {message}"));
            }
            ClientAuth::Bearer { token_file }
        }
        None => ClientAuth::Certificate,
    };
    if auth == ClientAuth::Certificate && endpoints.iter().any(|url| url.carrier() == Carrier::WebSocket) {
        reader.error(
            position,
            "a wss: endpoint needs `option token_file`: a client certificate does not pass the proxy that ends TLS",
        );
    }
    let level = reader.parsed("level", level).unwrap_or(Level::Operator);
    let trust = Trust { ca_file, pins };
    (!endpoints.is_empty()).then_some(Uplink {
        name,
        endpoints,
        redirect_to,
        trust,
        auth,
        level,
    })
}

/// What `Authorization: Bearer` can carry unchanged (RFC 6750, section 2.1, and a little more).
fn bearer(token: &Secret) -> Result<(), String> {
    if token.expose().bytes().all(|b| b.is_ascii_graphic()) {
        Ok(())
    } else {
        Err("a token has no blanks and only ASCII characters".into())
    }
}

fn profile(section: &Section, name: String, sink: &mut Sink) -> Option<Profile> {
    let mut reader = Reader::new(section, PROFILE, sink);
    let position = reader.position();
    let Some(word) = reader.one("rtsp") else {
        if !section.entries.iter().any(|entry| entry.name.text == "rtsp") {
            reader.error(
                position,
                "this profile has no `option rtsp 'rtsp://127.0.0.1/...'`: it is the camera's URL",
            );
        }
        return None;
    };
    let rtsp_at = word.position;
    let rtsp = reader.value("rtsp", word, url::rtsp);
    let snapshot = reader.parsed("snapshot", url::snapshot);
    let from_url = rtsp.as_ref().and_then(|url| url.login.clone());
    let login = login(&mut reader, from_url, rtsp_at);
    let rtsp = rtsp?;
    if !rtsp.addr.ip().is_loopback() {
        let message =
            "`rtsp` leads to another device: video and password cross the network in clear; use 127.0.0.1";
        reader.sink.warn(rtsp_at, message.into());
    }
    if snapshot.as_ref().is_some_and(|url| !url.addr.ip().is_loopback()) {
        let message =
            "`snapshot` leads to another device: pictures and password cross the network; use 127.0.0.1";
        reader.sink.warn(position, message.into());
    }
    Some(Profile {
        name,
        rtsp: rtsp.url,
        rtsp_addr: rtsp.addr,
        snapshot,
        login,
    })
}

fn login(reader: &mut Reader<'_>, from_url: Option<(String, Secret)>, rtsp_at: Position) -> Option<Login> {
    let position = reader.position();
    let user = reader.parsed("user", short_text);
    let inline = reader
        .one("password")
        .map(|word| (word.position, Secret::new(word.text.clone())));
    let file = reader.secret_file("password_file");
    if let Some(message) = file.as_deref().and_then(|path| Secret::read(path).err()) {
        reader.sink.error(position, format!("`password_file`: {message}"));
    }
    if let (Some((at, _)), Some(_)) = (&inline, &file) {
        reader.sink.error(
            *at,
            "both `password` and `password_file`; keep `password_file`".into(),
        );
    }
    if let Some((user_in_url, password)) = from_url {
        if user.is_some() || inline.is_some() || file.is_some() {
            reader.error(
                rtsp_at,
                "`rtsp` holds a user, and so do the options; keep `user` and `password_file`",
            );
        } else {
            let message = "`rtsp` holds the password; `option user` and `option password_file` keep it out of this file";
            reader.sink.warn(rtsp_at, message.into());
        }
        return Some(Login {
            user: user_in_url,
            password: Password::Inline(password),
        });
    }
    let password = match (file, inline) {
        (Some(path), _) => Some(Password::File(path)),
        (None, Some((_, secret))) => Some(Password::Inline(secret)),
        (None, None) => None,
    };
    match (user, password) {
        (Some(user), Some(password)) => Some(Login { user, password }),
        (None, None) => None,
        (Some(user), None) => {
            if !reader
                .section
                .entries
                .iter()
                .any(|entry| entry.name.text.starts_with("password"))
            {
                reader.error(position, "`user` without a password; add `option password_file`");
            }
            Some(Login {
                user,
                password: Password::Inline(Secret::new(String::new())),
            })
        }
        (None, Some(_)) => {
            reader.error(position, "a password without a user; add `option user`");
            None
        }
    }
}

fn harden(sections: &[Section], sink: &mut Sink) -> Harden {
    let mut harden = Harden::default();
    let Some(section) = single(sections, "harden", sink) else {
        harden.mode = HardenMode::Off;
        return harden;
    };
    let mut reader = Reader::new(section, HARDEN, sink);
    set(&mut harden.mode, reader.parsed("mode", harden_mode));
    set(&mut harden.telnet, reader.parsed("telnet", boolean));
    set(&mut harden.credentials, reader.parsed("credentials", boolean));
    set(&mut harden.firewall, reader.parsed("firewall", boolean));
    set(&mut harden.discovery, reader.parsed("discovery", boolean));
    set(&mut harden.blackhole, reader.parsed("blackhole", boolean));
    for one in reader.parsed_list("close", MAX_LIST, closed_service) {
        harden.close.ftp |= one.ftp;
        harden.close.dvrip |= one.dvrip;
    }
    harden.streamer = reader.parsed("streamer", absolute_path);
    harden.allow_lan = reader.parsed_list("allow_lan", MAX_LIST, address_and_port);
    harden.allow_out = reader.parsed_list("allow_out", MAX_LIST, address_and_port);
    set(&mut harden.recheck, reader.parsed("recheck", recheck));
    set(&mut harden.password, reader.parsed("password", harden_password));
    harden.owner_key = reader.parsed("owner_key", |text| {
        seal::Recipient::parse(text).map(|_| text.to_owned())
    });
    harden
}

fn set<T>(field: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *field = value;
    }
}

fn log_target(text: &str) -> Result<LogTarget, String> {
    match text {
        "stderr" => Ok(LogTarget::Stderr),
        "syslog" => Ok(LogTarget::Syslog),
        _ => Err("expected stderr or syslog".into()),
    }
}

fn log_level(text: &str) -> Result<LevelFilter, String> {
    text.parse()
        .map_err(|_| "expected off, error, warn, info, debug or trace".into())
}

fn level(text: &str) -> Result<Level, String> {
    match text {
        "viewer" => Ok(Level::Viewer),
        "operator" => Ok(Level::Operator),
        "admin" => Ok(Level::Admin),
        _ => Err("expected viewer, operator or admin".into()),
    }
}

fn harden_mode(text: &str) -> Result<HardenMode, String> {
    match text {
        "off" => Ok(HardenMode::Off),
        "confirm" => Ok(HardenMode::Confirm),
        "enforce" => Ok(HardenMode::Enforce),
        _ => Err("expected off, confirm or enforce".into()),
    }
}

fn harden_password(text: &str) -> Result<HardenPassword, String> {
    match text {
        "random" => Ok(HardenPassword::Random),
        "lock" => Ok(HardenPassword::Lock),
        "secret" => Ok(HardenPassword::Secret),
        _ => Err("expected random, lock or secret".into()),
    }
}

/// A service that is closed only where somebody says so.
fn closed_service(text: &str) -> Result<Close, String> {
    Close::parse(text).ok_or_else(|| "expected ftp or dvrip".into())
}

/// Seconds between two looks: seldom enough for a slow processor, often enough to be of use.
fn recheck(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(seconds @ 30..=86_400) => Ok(Duration::from_secs(seconds)),
        _ => Err("expected seconds, from 30 to 86400".into()),
    }
}

/// A user or a group: a name as in passwd(5), or a number.
fn account(text: &str) -> Result<String, String> {
    match short_text(text) {
        Ok(name) if !name.contains([':', '/', ' ']) && name != "root" && name != "0" => Ok(name),
        _ => Err("expected the name of a user or group without privileges".into()),
    }
}

fn short_text(text: &str) -> Result<String, String> {
    if text.len() > MAX_NAME_BYTES || text.chars().any(char::is_control) {
        return Err(format!(
            "expected at most {MAX_NAME_BYTES} bytes without control characters"
        ));
    }
    Ok(text.to_owned())
}

/// It goes into a certificate's common name, which has at most 64 characters (RFC 5280, appendix A.1).
fn serial(text: &str) -> Result<String, String> {
    const MAX: usize = 32;
    let fits = text.len() <= MAX
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.:".contains(&b));
    if fits {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "expected at most {MAX} letters, digits, `-`, `_`, `.` or `:`"
        ))
    }
}

/// As gateways take it.
fn label(text: &str) -> Result<String, String> {
    let fits = (1..=MAX_NAME_BYTES).contains(&text.len())
        && text.trim() == text
        && text.bytes().all(|b| b.is_ascii_graphic() || b == b' ');
    if fits {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "expected at most {MAX_NAME_BYTES} printable ASCII characters"
        ))
    }
}

/// No host names in rules: an address, or a network, with a port.
fn address_and_port(text: &str) -> Result<String, String> {
    Allowed::parse(text).map(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_is_in_the_manual_and_in_the_shipped_file() {
        let manual = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/man/lenscap.5"));
        let shipped = include_str!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../packaging/config/lenscap"
        ));
        for (section, options) in [
            ("agent", AGENT),
            ("uplink", UPLINK),
            ("profile", PROFILE),
            ("harden", HARDEN),
        ] {
            assert!(manual.contains(&format!("config {section}")));
            for option in options {
                let is_in = |text: &str| {
                    text.contains(&format!("option {option} ")) || text.contains(&format!("list {option} "))
                };
                assert!(is_in(manual), "{option} is not in the manual");
                // A password belongs into a file of its own.
                assert!(
                    is_in(shipped) || *option == "password",
                    "{option} is not in the shipped file"
                );
            }
        }
    }

    #[test]
    fn the_manuals_example_is_right() {
        let manual = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/man/lenscap.5"));
        let start = manual.find("config uplink 'main'\n").unwrap();
        let example = manual[start..].split("\n.Ed").next().unwrap();
        let mut sink = Sink::new("example".into());
        let config = config(
            &example.replace("/etc/lenscap/camera-password", "/dev/null"),
            &mut sink,
        )
        .unwrap();
        assert_eq!(config.uplinks.len(), 1);
        // /dev/null is readable, by everyone, and empty.
        assert_eq!(sink.errors.len(), 1, "{:?}", sink.errors);
        assert!(sink.errors[0].message.contains("is empty"));
    }
}
