//! What is logged with `{:?}` shows no token, password, PIN, ticket or credential.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::{Path, PathBuf};

use lenscap_gateway::ca::Issued;
use lenscap_gateway::config::CallbackConfig;
use lenscap_gateway::fleet::import::Row;
use lenscap_gateway::fleet::operator::{OperatorKey, Ticket};
use lenscap_gateway::fleet::outbound::Callback;
use lenscap_gateway::fleet::pin::Pin;
use lenscap_gateway::fleet::resume::Resume;
use lenscap_gateway::fleet::{Admission, ClaimRequest, NewViewer, WayOut};
use lenscap_gateway::roles::message::{RuleViewer, Rules, ToEndpoint, ToStreamer};
use lenscap_gateway::rtsp::digest::Ha1;
use lenscap_gateway::rtsp::guard::Viewer;
use lenscap_gateway::rtsp::head::{Field, Fields, Request};
use lenscap_gateway::rtsp::uri::ViewerUri;
use lenscap_gateway::store::{Camera, Details, Method, Secret, ViewerRow};
use lenscap_gateway::uplink::link::Peer;
use lenscap_gateway::uplink::renew::WayBack;
use lenscap_gateway::uplink::upgrade::handle_head;
use serde_json::json;

/// In every field that is secret; also a PIN's letters.
const SECRET: &str = "5EC2E7";

fn secret() -> String {
    SECRET.to_owned()
}

fn shows(value: &dyn Debug) -> bool {
    let shown = format!("{value:?} {value:#?}");
    // A list of bytes is no less readable.
    let bytes = SECRET.bytes().map(|byte| byte.to_string());
    let bytes: Vec<String> = bytes.collect();
    shown.contains(SECRET) || shown.contains(&bytes.join(", ")) || shown.contains("221, 221")
}

#[test]
fn what_can_be_formatted_shows_no_secret() {
    let ha1 = Ha1 {
        md5: Some(secret()),
        sha256: Some(secret()),
    };
    let head = format!(
        "GET /u?ticket={SECRET} HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: h2c-reverse\r\n\
         Authorization: Bearer {SECRET}\r\nLenscap-Resume: {SECRET}\r\n\r\n"
    );
    let upgrade = handle_head(head.as_bytes(), "/u").unwrap().unwrap();
    assert!(upgrade.bearer.is_some() && upgrade.introduction.resume.is_some());
    let fields = format!("Lenscap-Resume: {SECRET}\r\n");
    let operator = OperatorKey::from_pkcs8(&OperatorKey::generate()).unwrap();
    let uri = format!("rtsp://{SECRET}@h/front/main?link={SECRET}");
    let details = Details {
        stream: Some(format!("rtsp://admin:{SECRET}@10.0.0.1/")),
        snapshot: Some(format!("http://10.0.0.1/?pwd={SECRET}")),
        ..Details::default()
    };
    let mut camera = Camera::claimed("front", "", [1; 32], Method::Pin, 1);
    camera.pin_key = Some([221; 32]);
    camera.operator_proof = Some([221; 32]);
    camera.details = details.clone();
    let pin = Pin::parse("5EC2-E70X-1BCD-EF2G").unwrap();
    let list = lenscap_gateway::fleet::import::parse(&format!(
        "name,serial,pin_key\nfront,SN1,{}\n",
        "dd".repeat(32)
    ));
    let rows: Vec<Row> = list.unwrap();
    let rules = Rules {
        resume_key: secret(),
        link_key: secret(),
        ..Rules::default()
    };
    let types: Vec<Box<dyn Debug>> = vec![
        Box::new(Peer {
            camera: 0,
            address: ([127, 0, 0, 1], 1).into(),
            version: None,
            boot: None,
            resume: Some(secret()),
        }),
        Box::new(WayBack::new(Some(secret()), 1)),
        Box::new(upgrade),
        Box::new(Admission::Admit {
            camera: 0,
            name: "front".into(),
            fields: fields.clone(),
        }),
        Box::new(Admission::Redirect {
            fields: fields.clone(),
        }),
        Box::new(Admission::Forward {
            fields: fields.clone(),
        }),
        Box::new(Admission::Wait { seconds: 1, fields }),
        Box::new(WayOut::Streamer(format!("https://s1/?ticket={SECRET}"))),
        Box::new(ToStreamer::Move {
            camera: "front".into(),
            target: Some(format!("https://s1/?ticket={SECRET}")),
        }),
        Box::new(ToStreamer::Rules(Box::new(rules.clone()))),
        Box::new(rules),
        Box::new(RuleViewer {
            md5: Some(secret()),
            sha256: None,
            cameras: None,
        }),
        Box::new(ToEndpoint::Alive),
        Box::new(Viewer {
            ha1: ha1.clone(),
            cameras: None,
        }),
        Box::new(ViewerRow {
            user: "carol".into(),
            ha1: ha1.clone(),
            account: String::new(),
            cameras: None,
            created: 1,
            expires: None,
        }),
        Box::new(ha1),
        Box::new(ViewerUri::parse(&uri).unwrap()),
        Box::new(Request {
            method: "DESCRIBE".into(),
            uri: uri.clone(),
            fields: Fields(vec![Field {
                name: "Authorization".into(),
                value: SECRET.into(),
            }]),
        }),
        Box::new(details),
        Box::new(camera),
        Box::new(rows),
        Box::new(pin),
        Box::new(Secret::new(SECRET.into())),
        Box::new(Ticket::new(&[1; 32], "front", "s1", Some(&[221; 32]), 1)),
        Box::new(Resume::new(&[1; 32], "front", Some(&[221; 32]), 1)),
        Box::new(operator),
        Box::new(Issued {
            chain: String::new(),
            key: secret(),
        }),
        Box::new(CallbackConfig {
            url: "https://h/".into(),
            secret: SECRET.into(),
            ca: None,
        }),
        Box::new(Callback::new("http://127.0.0.1:1/", SECRET.as_bytes(), None).unwrap()),
        Box::new(serde_json::from_value::<ClaimRequest>(json!({"serial": "SN1", "pin": SECRET})).unwrap()),
        Box::new(serde_json::from_value::<NewViewer>(json!({"user": "carol", "password": SECRET})).unwrap()),
    ];
    for value in &types {
        assert!(!shows(value), "{value:?}");
    }
}

/// Names of fields that are secret where they are text or bytes.
const NAMES: [&str; 13] = [
    "password",
    "token",
    "secret",
    "ticket",
    "resume",
    "credential",
    "bearer",
    "cookie",
    "pin",
    "pin_key",
    "resume_key",
    "link_key",
    "private_key",
];
/// Fields with such names that are not.
const HARMLESS: [(&str, &str); 3] = [
    // `random` or `lock`.
    ("harden_cmd.rs", "password: Option<String>"),
    // Of a gateway's key, not a camera's.
    ("store/model.rs", "pin: Option<String>"),
    ("dial/mod.rs", "pin: Option<String>"),
];

/// A line without `pub`, `pub(crate)` or `pub(super)`.
fn without_visibility(line: &str) -> &str {
    let Some(rest) = line.strip_prefix("pub") else {
        return line;
    };
    let rest = match rest.strip_prefix('(') {
        Some(scope) => scope.split_once(')').map_or(rest, |(_, rest)| rest),
        None => rest,
    };
    rest.trim_start()
}

/// Which types derive `Debug` and have such a field.
fn careless(file: &Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let (mut derives, mut inside) = (false, false);
    for line in text.lines() {
        let line = line.trim_end();
        if line.starts_with("#[derive(") {
            derives = line.contains("Debug");
        }
        let item = without_visibility(line);
        if line.starts_with("pub") || item.starts_with("struct ") || item.starts_with("enum ") {
            inside =
                derives && (item.starts_with("struct ") || item.starts_with("enum ")) && line.ends_with('{');
            derives = false;
        }
        if line == "}" {
            inside = false;
        }
        let field = without_visibility(line.trim_start()).trim_end_matches(',');
        let Some((name, kind)) = field.split_once(": ").filter(|_| inside) else {
            continue;
        };
        let name = name.rsplit(' ').next().unwrap();
        let is_plain = ["String", "Vec<u8>", "&str", "&'a str", "[u8"]
            .iter()
            .any(|plain| kind.contains(plain));
        let is_harmless = HARMLESS
            .iter()
            .any(|(of, harmless)| file.ends_with(of) && field == *harmless);
        if NAMES.contains(&name) && is_plain && !is_harmless {
            found.push(format!("{}: {field}", file.display()));
        }
    }
    found
}

fn sources(folder: &Path, found: &mut BTreeMap<PathBuf, String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            found.insert(path, text);
        }
    }
}

#[test]
fn no_type_with_a_secret_in_plain_text_derives_debug() {
    let sample = "#[derive(Clone, Debug)]\npub struct Peer {\n    pub resume: Option<String>,\n}\n";
    assert_eq!(careless(Path::new("x.rs"), sample).len(), 1);
    let narrow = "#[derive(Debug)]\npub(super) struct Held {\n    pub(super) pin_key: [u8; 32],\n}\n";
    assert_eq!(careless(Path::new("x.rs"), narrow).len(), 1);
    let mut found = BTreeMap::new();
    for of in ["src", "../agent"] {
        sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join(of), &mut found);
    }
    assert!(found.len() > 100, "{}", found.len());
    let careless: Vec<String> = found
        .iter()
        .flat_map(|(file, text)| careless(file, text))
        .collect();
    assert!(careless.is_empty(), "{careless:#?}");
}
