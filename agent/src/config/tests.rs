//! Whole files: what is read from them, and what is said about their mistakes.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use proptest::prelude::*;

use super::*;

const GOOD: &str = "config uplink 'main'\n\toption endpoint 'https://gw.example.net/u'\n\
                    config profile 'main'\n\toption rtsp 'rtsp://127.0.0.1/a'\n";

struct Files {
    dir: tempfile::TempDir,
}

impl Files {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>, mode: u32) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    fn load(&self, text: impl AsRef<[u8]>) -> Result<Loaded, Errors> {
        load(&self.write("config", text, 0o600))
    }

    /// The errors as `line:column: message`.
    fn errors(&self, text: impl AsRef<[u8]>) -> Vec<String> {
        short(&self.load(text).unwrap_err().errors)
    }

    fn warnings(&self, text: impl AsRef<[u8]>) -> Vec<String> {
        short(&self.load(text).unwrap().warnings)
    }
}

fn short(diagnostics: &[Diagnostic]) -> Vec<String> {
    diagnostics
        .iter()
        .map(|d| format!("{}:{}: {}", d.position.line, d.position.column, d.message))
        .collect()
}

#[track_caller]
fn assert_one(found: &[String], place: &str, part: &str) {
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(
        found[0].starts_with(&format!("{place}: ")) && found[0].contains(part),
        "{found:#?}"
    );
}

#[test]
fn the_shipped_file_is_right() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../packaging/config/lenscap");
    let loaded = load(std::path::Path::new(path)).unwrap();
    assert_eq!(loaded.warnings, []);
    assert_eq!(loaded.config.agent.log, LogTarget::Syslog);
    assert_eq!(loaded.config.agent.state_dir, PathBuf::from("/etc/lenscap"));
    assert_eq!(loaded.config.uplinks[0].level, Level::Operator);
    assert_eq!(loaded.config.profiles[0].rtsp_addr.to_string(), "127.0.0.1:554");
}

#[test]
fn what_the_shipped_file_leaves_out_is_right_too() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../packaging/config/lenscap");
    let files = Files::new();
    let dir = files.dir.path().display().to_string();
    for name in ["camera.pem", "camera.key", "ca.pem", "token", "camera-password"] {
        files.write(name, "secret\n", 0o600);
    }
    let text: String = std::fs::read_to_string(path)
        .unwrap()
        .lines()
        .map(|line| {
            let bare = line.trim_start().trim_start_matches('#').trim_start();
            let is_statement = ["config ", "option ", "list "]
                .iter()
                .any(|word| bare.starts_with(word));
            if is_statement {
                format!("{bare}\n")
            } else {
                format!("{line}\n")
            }
        })
        .collect();
    let loaded = files
        .load(text.replace("/etc/lenscap/", &format!("{dir}/")))
        .unwrap();
    assert_eq!(loaded.warnings, []);
    let Config {
        agent,
        uplinks,
        profiles,
        harden,
    } = loaded.config;
    assert_eq!(agent.serial.as_deref(), Some("SN12345678"));
    assert!(agent.certificate.is_some());
    assert_eq!(uplinks[0].trust.pins, [Pin([0; 32])]);
    assert!(matches!(uplinks[0].auth, ClientAuth::Bearer { .. }));
    assert_eq!(profiles.len(), 2);
    assert_eq!(
        profiles[0]
            .login
            .as_ref()
            .unwrap()
            .credentials()
            .unwrap()
            .password
            .expose(),
        b"secret"
    );
    assert_eq!(harden.mode, HardenMode::Confirm);
    assert_eq!(harden.allow_lan, ["192.168.1.10:554"]);
}

#[test]
fn the_smallest_file_and_its_defaults() {
    let loaded = Files::new().load(GOOD).unwrap();
    assert_eq!(loaded.warnings, []);
    let Config {
        agent,
        uplinks,
        profiles,
        harden,
    } = loaded.config;
    assert_eq!(
        (agent.log, agent.log_level),
        (LogTarget::Stderr, log::LevelFilter::Info)
    );
    assert_eq!(uplinks[0].endpoints[0].host(), "gw.example.net");
    assert_eq!(uplinks[0].trust, Trust::default());
    assert_eq!(uplinks[0].auth, ClientAuth::Certificate);
    assert_eq!(profiles[0].rtsp.request_uri(), "rtsp://127.0.0.1/a");
    assert_eq!(profiles[0].login, None);
    assert_eq!(harden.mode, HardenMode::Off);
}

#[test]
fn unknown_names_are_warnings_with_the_nearest_name() {
    let text = format!(
        "{GOOD}config uplnk 'x'\n\toption a b\nconfig agent\n\toption log-level x\n\toption loglevel debug\n"
    );
    let found = Files::new().errors(&text);
    assert_one(&found, "8:9", "letters, digits and `_`");
    let text = text.replace("\toption log-level x\n", "");
    let loaded = Files::new().load(&text).unwrap();
    assert!(loaded.warnings.iter().all(|warning| warning.unknown_name));
    assert_eq!(
        short(&loaded.warnings),
        [
            "5:8: unknown section `uplnk`; did you mean `uplink`?",
            "8:9: unknown option in `config agent`: `loglevel`; did you mean `log_level`?",
        ]
    );
}

#[test]
fn each_wrong_value_says_what_is_expected() {
    let files = Files::new();
    for (section, option, part) in [
        ("harden", "option telnet 'maybe'", "expected a truth value"),
        ("harden", "option mode 'on'", "off, confirm or enforce"),
        ("harden", "option recheck '5'", "from 30 to 86400"),
        ("harden", "option password 'mine'", "random, lock or secret"),
        ("harden", "option owner_key 'age1x'", "age-keygen"),
        ("harden", "list allow_lan '192.168.1.10'", "an address and a port"),
        (
            "harden",
            "list allow_lan 'camera.local:554'",
            "an address and a port",
        ),
        (
            "harden",
            "list allow_out '10.0.0.0/33:1'",
            "an address and a port",
        ),
        ("harden", "list allow_out 'fd00::1:554'", "an address and a port"),
        ("agent", "option log 'file'", "stderr or syslog"),
        ("agent", "option log_level 'loud'", "off, error, warn"),
        ("agent", "option state_dir 'here'", "starts with `/`"),
        ("agent", "option state_dir ''", "is empty"),
        ("agent", "option serial 'a b'", "letters, digits"),
        ("agent", "list log 'stderr'", "write `option log`"),
    ] {
        let found = files.errors(format!("{GOOD}config {section}\n{option}\n"));
        assert_eq!(found.len(), 1, "{found:#?}");
        assert!(
            found[0].starts_with("6:") && found[0].contains(part),
            "{option}: {found:#?}"
        );
    }
    for value in [
        "yes", "1", "on", "true", "enabled", "no", "0", "off", "false", "disabled",
    ] {
        let loaded = files
            .load(format!("{GOOD}config harden\noption telnet '{value}'\n"))
            .unwrap();
        assert_eq!(
            loaded.config.harden.telnet,
            ["yes", "1", "on", "true", "enabled"].contains(&value)
        );
    }
}

#[test]
fn each_wrong_uplink_value_says_what_is_expected() {
    let files = Files::new();
    for (option, part) in [
        ("option endpoint 'http://x/'", "https://"),
        ("option endpoint 'https://u:s3cret@x/'", "user name or password"),
        ("list redirect_to 'a*b'", "redirect_to"),
        ("list pin 'sha256/short='", "expected sha256/"),
        ("list pin 's3cret'", "expected sha256/"),
        ("option level 'root'", "viewer, operator or admin"),
        ("option ca_file '/nowhere/ca'", "cannot open"),
        ("option ca_file '/'", "is a directory"),
        ("option endpoint 'wss://x/'", "needs `option token_file`"),
    ] {
        let text = GOOD.replace("config profile", &format!("{option}\nconfig profile"));
        let found = files.errors(text);
        assert_eq!(found.len(), 1, "{option}: {found:#?}");
        assert!(
            found[0].contains(part) && !found[0].contains("s3cret"),
            "{option}: {found:#?}"
        );
    }
}

#[test]
fn what_is_missing_or_given_twice_is_said_all_at_once() {
    let found = Files::new().errors(
        "config uplink\nconfig profile 'a'\nconfig profile 'a'\n\toption rtsp 'rtsp://127.0.0.1/'\n\
         \toption rtsp 'rtsp://127.0.0.1/'\nconfig agent\nconfig agent\n\toption cert '/dev/null'\n",
    );
    let parts = [
        "1:8: `config uplink` needs a name",
        "1:8: this uplink has no `option endpoint",
        "2:8: this profile has no `option rtsp",
        "3:8: a second profile `a`, the first is in line 2",
        "5:9: `rtsp` is given twice, first in line 4",
        "7:8: a second `config agent`, the first is in line 6",
    ];
    assert_eq!(found.len(), parts.len(), "{found:#?}");
    for (found, part) in found.iter().zip(parts) {
        assert!(found.starts_with(part), "{found} / {part}");
    }
    let found = Files::new().errors(format!("{GOOD}config agent\n\toption cert '/dev/null'\n"));
    assert_one(&found, "5:8", "belong together");
    let found = Files::new().errors("");
    assert_eq!(found.len(), 2, "{found:#?}");
    assert!(found[0].contains("no `config uplink` section"));
}

#[test]
fn files_that_are_no_configuration() {
    let files = Files::new();
    assert_one(&files.errors(b"config a\n\toption b \0\n"), "2:11", "NUL");
    assert_one(&files.errors(b"config a\n\xc3\xa9 \xff\n"), "2:3", "UTF-8");
    assert_one(
        &files.errors(vec![b'#'; MAX_FILE_BYTES + 1]),
        "0:0",
        "longer than 64 KiB",
    );
    assert_one(
        &short(&load(files.dir.path()).unwrap_err().errors),
        "0:0",
        "cannot read",
    );
    let none = load(&files.dir.path().join("none")).unwrap_err();
    assert_one(&short(&none.errors), "0:0", "--config");
    assert!(none.to_string().contains("/none: cannot read the configuration"));
}

#[test]
fn logins_in_each_form() {
    let files = Files::new();
    let path = files.write("pw", "s3cret\n", 0o600);
    let with = |url: &str, more: &str| GOOD.replace("rtsp://127.0.0.1/a'\n", &format!("{url}'\n{more}"));
    let file_option = format!("option user 'u'\noption password_file '{}'\n", path.display());
    for (text, warned) in [
        (with("rtsp://u:s3cret@127.0.0.1/a", ""), true),
        (
            with("rtsp://127.0.0.1/a", "option user u\noption password s3cret\n"),
            false,
        ),
        (with("rtsp://127.0.0.1/a", &file_option), false),
    ] {
        let loaded = files.load(&text).unwrap();
        let profile = &loaded.config.profiles[0];
        assert_eq!(profile.rtsp.request_uri(), "rtsp://127.0.0.1/a");
        let credentials = profile.login.as_ref().unwrap().credentials().unwrap();
        assert_eq!(
            (credentials.user.as_str(), credentials.password.expose()),
            ("u", &b"s3cret"[..])
        );
        assert_eq!(!loaded.warnings.is_empty(), warned, "{:?}", loaded.warnings);
        assert!(!format!("{loaded:?}").contains("s3cret"));
    }
    for (url, more, part) in [
        (
            "rtsp://u:s3cret@127.0.0.1/a",
            "option user u\noption password s3cret\n",
            "and so do the options",
        ),
        ("rtsp://127.0.0.1/a", "option user u\n", "without a password"),
        ("rtsp://127.0.0.1/a", "option password s3cret\n", "without a user"),
        (
            "rtsp://127.0.0.1/a",
            "option user u\noption password_file /nowhere/pw\n",
            "cannot open",
        ),
        ("rtsp://u:s3cret@camera/a", "", "IP address or `localhost`"),
    ] {
        let found = files.errors(with(url, more));
        assert_eq!(found.len(), 1, "{found:#?}");
        assert!(
            found[0].contains(part) && !found[0].contains("s3cret"),
            "{found:#?}"
        );
    }
    let both = with(
        "rtsp://127.0.0.1/a",
        &format!("{file_option}option password s3cret\n"),
    );
    assert_one(&files.errors(both), "7:17", "both");
}

#[test]
fn secrets_that_everyone_may_read_are_warned_of() {
    let files = Files::new();
    let token = files.write("token", "s3cret\n", 0o644);
    let text = GOOD.replace(
        "config profile",
        &format!("option token_file '{}'\nconfig profile", token.display()),
    );
    let found = files.warnings(&text);
    assert_one(&found, "3:19", "every user may read");
    assert!(!found[0].contains("s3cret"));

    let inline = GOOD.replace("/a'\n", "/a'\noption user u\noption password s3cret\n");
    let open = files.write("open", &inline, 0o644);
    assert_one(&short(&load(&open).unwrap().warnings), "6:8", "chmod 600");
    assert_eq!(files.warnings(&inline), Vec::<String>::new());
}

#[test]
fn a_token_that_no_header_can_carry_is_refused() {
    let files = Files::new();
    for bad in ["s3c ret\n", "s3crét\n", "s3cret \n"] {
        let token = files.write("token", bad, 0o600);
        let text = GOOD.replace(
            "config profile",
            &format!("option token_file '{}'\nconfig profile", token.display()),
        );
        let found = files.errors(text);
        assert_one(&found, "1:8", "no blanks");
        assert!(!found[0].contains("s3c"), "{found:?}");
    }
}

#[test]
fn an_empty_token_or_another_device_is_seen() {
    let files = Files::new();
    let token = files.write("token", "\n", 0o600);
    let text = GOOD.replace(
        "config profile",
        &format!("option token_file '{}'\nconfig profile", token.display()),
    );
    assert_one(&files.errors(text), "1:8", "is empty");
    let found = files.warnings(GOOD.replace("127.0.0.1", "192.168.1.8"));
    assert_one(&found, "4:14", "another device");
}

#[test]
fn the_agent_section_can_be_read_alone() {
    let files = Files::new();
    let path = files.write("c", "config agent\n\toption serial 'X1'\nconfig uplink\n", 0o600);
    assert_eq!(load_agent(&path).unwrap().serial.as_deref(), Some("X1"));
    assert!(load(&path).is_err());
}

#[test]
fn diagnostics_are_bounded() {
    let errors = Files::new().load("x\n".repeat(10_000)).unwrap_err().errors;
    assert_eq!(errors.len(), 51);
    assert!(errors.iter().any(|error| error.message == "and more, not shown"));
}

proptest! {
    #[test]
    fn any_file_is_read_without_panic(lines in proptest::collection::vec(
        "config (agent|uplink|profile|harden)( '?[a-z]{0,3}'?)?|(option|list) (endpoint|rtsp|pin|user|password|log|telnet|allow_lan|serial|level|snapshot) ['\"]?(\\PC{0,20}|https?://[a-z.:\\[\\]0-9@/]{0,20}|rtsp://[a-z.:\\[\\]0-9@/]{0,20})['\"]?", 0..20))
    {
        if let Err(errors) = parse("f", &lines.join("\n")) {
            prop_assert!(!errors.errors.is_empty());
        }
    }
}
