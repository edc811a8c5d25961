//! Every kind of mistake in a configuration: `lenscap check` refuses it, says where and what to do.

use lenscap_tests::harness::agent::check;
use lenscap_tests::harness::{AgentConfig, Pki, TestDir};

use crate::support::has_all;

/// A configuration without a mistake; each case changes one line of it.
const GOOD: &str = "\
config agent 'agent'
\toption state_dir '/tmp'

config uplink 'main'
\toption endpoint 'https://uplink.example.net/onvif/uplink'
\tlist redirect_to '*.example.net'

config profile 'main'
\toption rtsp 'rtsp://127.0.0.1:554/stream=0'
\toption snapshot 'http://127.0.0.1/image.jpg'
";

struct Mistake {
    name: &'static str,
    replace: &'static str,
    with: &'static str,
    /// The line the message must name; 0 for the whole file.
    line: usize,
    /// Words the message must have.
    says: &'static [&'static str],
}

const MISTAKES: &[Mistake] = &[
    Mistake {
        name: "unknown section",
        replace: "config uplink 'main'",
        with: "config uplnk 'main'",
        line: 4,
        says: &["uplnk", "uplink"],
    },
    Mistake {
        name: "unknown option",
        replace: "option endpoint",
        with: "option endpont",
        line: 5,
        says: &["endpont", "endpoint"],
    },
    Mistake {
        name: "endpoint without TLS",
        replace: "https://uplink",
        with: "http://uplink",
        line: 5,
        says: &["https"],
    },
    Mistake {
        name: "endpoint that is no URL",
        replace: "https://uplink.example.net/onvif/uplink",
        with: "uplink.example.net",
        line: 5,
        says: &["https"],
    },
    Mistake {
        name: "password in the endpoint",
        replace: "https://uplink.example.net/",
        with: "https://me:secretpw@uplink.example.net/",
        line: 5,
        says: &["token_file"],
    },
    Mistake {
        name: "uplink without endpoint",
        replace: "\toption endpoint 'https://uplink.example.net/onvif/uplink'\n",
        with: "\n",
        line: 4,
        says: &["endpoint"],
    },
    Mistake {
        name: "profile without rtsp",
        replace: "\toption rtsp 'rtsp://127.0.0.1:554/stream=0'\n",
        with: "\n",
        line: 8,
        says: &["rtsp"],
    },
    Mistake {
        name: "camera by name",
        replace: "rtsp://127.0.0.1:554",
        with: "rtsp://camera.lan:554",
        line: 9,
        says: &["address"],
    },
    Mistake {
        name: "another scheme for the camera",
        replace: "rtsp://127.0.0.1:554",
        with: "http://127.0.0.1:554",
        line: 9,
        says: &["rtsp://"],
    },
    Mistake {
        name: "quote that does not end",
        replace: "'/tmp'",
        with: "'/tmp",
        line: 2,
        says: &["quote"],
    },
    Mistake {
        name: "word that is no keyword",
        replace: "\tlist redirect_to",
        with: "\tlst redirect_to",
        line: 6,
        says: &["list"],
    },
    Mistake {
        name: "option before any section",
        replace: "config agent 'agent'\n",
        with: "\n",
        line: 2,
        says: &["section"],
    },
    Mistake {
        name: "redirect pattern",
        replace: "'*.example.net'",
        with: "'uplink.*.net'",
        line: 6,
        says: &["redirect_to", "DNS name"],
    },
    Mistake {
        name: "pin that is none",
        replace: "list redirect_to '*.example.net'",
        with: "list pin 'sha256/short'",
        line: 6,
        says: &["pin", "sha256/"],
    },
    Mistake {
        name: "log level",
        replace: "option state_dir '/tmp'",
        with: "option log_level 'loud'",
        line: 2,
        says: &["log_level", "debug"],
    },
    Mistake {
        name: "level of an uplink",
        replace: "list redirect_to '*.example.net'",
        with: "option level 'boss'",
        line: 6,
        says: &["level", "operator"],
    },
    Mistake {
        name: "two profiles of one name",
        replace: "\toption snapshot 'http://127.0.0.1/image.jpg'\n",
        with: "config profile 'main'\n\toption rtsp 'rtsp://127.0.0.1:554/stream=1'\n",
        line: 10,
        says: &["main"],
    },
    Mistake {
        name: "file that is not there",
        replace: "list redirect_to '*.example.net'",
        with: "option ca_file '/nonexistent/ca.pem'",
        line: 6,
        says: &["/nonexistent/ca.pem"],
    },
    Mistake {
        name: "option given twice",
        replace: "list redirect_to '*.example.net'",
        with: "option level 'viewer'\n\toption level 'admin'",
        line: 7,
        says: &["level", "twice", "line 6"],
    },
    Mistake {
        name: "list where there is one value",
        replace: "option state_dir '/tmp'",
        with: "list state_dir '/tmp'",
        line: 2,
        says: &["state_dir", "option"],
    },
    Mistake {
        name: "certificate without its key",
        replace: "option state_dir '/tmp'",
        with: "option cert '/dev/null'",
        line: 1,
        says: &["cert", "key", "belong together"],
    },
    Mistake {
        name: "user without a password",
        replace: "option snapshot 'http://127.0.0.1/image.jpg'",
        with: "option user 'viewer'",
        line: 8,
        says: &["without a password"],
    },
    Mistake {
        name: "WebSocket without a token",
        replace: "https://uplink",
        with: "wss://uplink",
        line: 4,
        says: &["token_file"],
    },
    Mistake {
        name: "uplink without a name",
        replace: "config uplink 'main'",
        with: "config uplink",
        line: 4,
        says: &["name"],
    },
    Mistake {
        name: "mode of hardening",
        replace: "config agent 'agent'\n\toption state_dir '/tmp'\n",
        with: "config harden\n\toption mode 'maybe'\n",
        line: 2,
        says: &["mode", "confirm"],
    },
];

#[test]
fn each_kind_of_mistake_is_named_with_its_line() {
    let dir = TestDir::new("bad_config::each_kind");
    for (number, mistake) in MISTAKES.iter().enumerate() {
        let text = GOOD.replacen(mistake.replace, mistake.with, 1);
        assert_ne!(text, GOOD, "{}: the case changes nothing", mistake.name);
        let path = dir.write(&format!("mistake-{number}"), &text);
        let finished = check(&dir, &path);
        assert!(
            !finished.status.success(),
            "{}: accepted\n{}",
            mistake.name,
            finished.output()
        );
        let place = format!("{}:{}:", path.display(), mistake.line);
        let said = finished.output();
        assert!(
            said.lines().any(|line| line.starts_with(&place)
                && has_column(&line[place.len()..])
                && has_all(line, mistake.says)),
            "{}: no line with {place}COLUMN: error: and {:?}\n{said}",
            mistake.name,
            mistake.says
        );
        assert!(
            !said.contains("secretpw"),
            "{}: the message shows a secret\n{said}",
            mistake.name
        );
    }
}

/// Whether the rest of a line goes on with a column and says that it is an error.
fn has_column(rest: &str) -> bool {
    rest.split_once(": error: ")
        .is_some_and(|(column, _)| column.parse::<usize>().is_ok_and(|column| column > 0))
}

#[test]
fn a_missing_file_is_said_so() {
    let dir = TestDir::new("bad_config::missing");
    let finished = check(&dir, &dir.join("nothing-here"));
    assert!(!finished.status.success());
    assert!(
        finished.output().contains("nothing-here"),
        "{}",
        finished.output()
    );
}

#[test]
fn a_good_configuration_passes() {
    let dir = TestDir::new("bad_config::good");
    let finished = check(&dir, &dir.write("good", GOOD));
    assert!(finished.status.success(), "{}", finished.output());
    let pki = Pki::new(&dir);
    let config = AgentConfig::new("https://localhost/onvif/uplink", &pki, &pki.client("front"));
    let config = config.profile(lenscap_tests::harness::agent::Profile {
        name: "main".to_owned(),
        rtsp: "rtsp://127.0.0.1/stream".to_owned(),
        snapshot: None,
        login: Some(("user".to_owned(), "password".to_owned())),
    });
    let finished = check(&dir, &config.write(&dir));
    assert!(finished.status.success(), "{}", finished.output());
}
