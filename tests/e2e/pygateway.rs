//! A second, independent gateway (Python, the `h2` and `wsproto` packages): what our own gateway does right by the same
//! misunderstanding, this one would not.

use std::process::Command;
use std::time::Duration;

use lenscap_tests::harness::certs::Leaf;
use lenscap_tests::harness::dir::workspace_root;
use lenscap_tests::harness::gateway::{CameraKey, ONLINE_LIMIT};
use lenscap_tests::harness::peers::PyGateway;
use lenscap_tests::harness::{
    Agent, AgentConfig, Camera, Codec, Gateway, GatewayConfig, Pki, Simcam, TestDir, tools,
};
use serde_json::Value;

use crate::support::some_profile;

/// The token agents show here: this gateway takes anyone.
const TOKEN: &str = "Python-Token-30c1";
/// How long a scenario without media may take.
const SHORT: Duration = Duration::from_secs(90);
/// How long one with media, or with several reconnects, may take.
const LONG: Duration = Duration::from_secs(180);
/// What `--timeout` must be for an agent that takes its 15 s to give up a silent gateway: a third of more than that.
const PATIENCE: &str = "8";
/// Violations in a row by one agent. Each costs a reconnect, and back-off doubles.
const VIOLATIONS_EACH: usize = 4;

/// One agent at one scenario.
struct Meeting {
    python: PyGateway,
    agent: Agent,
    camera: Option<Camera>,
}

enum Carrier {
    Reverse,
    WebSocket,
}

/// Starts scenario, camera (where asked) and agent.
#[track_caller]
fn meet(dir: &TestDir, carrier: &Carrier, scenario: &str, args: &[&str], camera: Option<Camera>) -> Meeting {
    let pki = Pki::new(dir);
    let python = PyGateway::start(dir, &pki.leaf(Leaf::Good), scenario, args);
    let endpoint = match carrier {
        Carrier::Reverse => python.endpoint(),
        Carrier::WebSocket => python.websocket_endpoint(),
    };
    let profile = camera
        .as_ref()
        .map_or_else(some_profile, |camera| camera.profile("main"));
    let mut config = AgentConfig::new(&endpoint, &pki, &pki.client("front"))
        .token(TOKEN)
        .profile(profile);
    config.redirect_to = vec!["localhost".to_owned()];
    let agent = Agent::start(dir, &config);
    Meeting {
        python,
        agent,
        camera,
    }
}

/// A meeting with a simcam that plays and has a snapshot.
#[track_caller]
fn meet_camera(test: &str, carrier: &Carrier, scenario: &str, args: &[&str]) -> Meeting {
    let dir = TestDir::new(test);
    let camera = Simcam::playing(Codec::H264).snapshot().start(&dir);
    meet(&dir, carrier, scenario, args, Some(camera))
}

impl Meeting {
    #[track_caller]
    fn ends_well(mut self, limit: Duration) -> Self {
        self.python.wait_ok(limit);
        self.agent.process.assert_running();
        self
    }

    #[track_caller]
    fn teardowns(&self, count: usize) {
        self.camera
            .as_ref()
            .expect("this meeting has a camera")
            .wait_teardowns(count);
    }
}

#[track_caller]
fn plays_over(carrier: &Carrier, name: &str) {
    let args = ["--seconds", "4", "--count", "2", "--snapshot"];
    let meeting = meet_camera(&format!("pygateway::plays_{name}"), carrier, "play", &args).ends_well(SHORT);
    meeting.teardowns(2);
    assert_eq!(meeting.python.events("upgrade")[0]["carrier"], name);
}

#[test]
fn plays_over_h2c_reverse() {
    plays_over(&Carrier::Reverse, "h2c-reverse");
}

#[test]
fn plays_over_a_websocket() {
    plays_over(&Carrier::WebSocket, "websocket");
}

#[test]
fn however_a_session_ends_the_camera_gets_its_teardown() {
    for end in ["ws-close", "end-stream", "reset"] {
        let args = ["--seconds", "1", "--end", end];
        let meeting = meet_camera(&format!("pygateway::end_{end}"), &Carrier::Reverse, "play", &args);
        // After a reset the session may need a moment longer than the scenario looks; the camera decides.
        if end != "reset" {
            let meeting = meeting.ends_well(SHORT);
            meeting.teardowns(1);
        } else {
            meeting.teardowns(1);
        }
    }
}

#[test]
fn serves_what_it_says_and_nothing_else() {
    let paths = [
        "/",
        "/audit",
        "/flows",
        "/snapshot/nothing",
        "/snapshot/../status",
        "/etc/passwd",
        "/rtsp",
    ];
    let mut args = Vec::new();
    for path in paths {
        args.extend(["--path", path]);
    }
    let meeting = meet_camera("pygateway::nothing_else", &Carrier::Reverse, "get", &args).ends_well(SHORT);
    let answers = meeting.python.events("get");
    assert_eq!(answers.len(), paths.len());
    for answer in answers {
        let status = answer["status"].as_u64().unwrap_or(0);
        assert!((400..500).contains(&status), "{answer}");
    }
}

#[test]
fn drains_when_told_by_goaway() {
    let args = ["--seconds", "5"];
    let meeting = meet_camera("pygateway::drain", &Carrier::Reverse, "drain", &args).ends_well(LONG);
    print_overlap(&meeting);
}

#[test]
fn moves_make_before_break() {
    let args = ["--seconds", "5"];
    let meeting = meet_camera("pygateway::move", &Carrier::Reverse, "move", &args).ends_well(LONG);
    // The old uplink carried the media to the end: the gap is none at all.
    assert_eq!(meeting.python.events("old_stream")[0]["whole"], true);
    print_overlap(&meeting);
}

fn print_overlap(meeting: &Meeting) {
    for kind in ["new_uplink", "old_stream", "drained"] {
        for event in meeting.python.events(kind) {
            println!("{event}");
        }
    }
}

#[test]
fn moves_elsewhere() {
    let dir = TestDir::new("pygateway::move_elsewhere");
    let pki = Pki::new(&dir);
    let gateway = Gateway::start(
        &dir,
        &GatewayConfig::new(&pki.leaf(Leaf::Good), CameraKey::Token(TOKEN.to_owned())),
    );
    let target = gateway.endpoint();
    let camera = Simcam::playing(Codec::H264).start(&dir);
    let python = PyGateway::start(
        &dir,
        &pki.leaf(Leaf::Good),
        "move",
        &["--seconds", "3", "--location", &target],
    );
    let mut config = AgentConfig::new(&python.endpoint(), &pki, &pki.client("front"))
        .token(TOKEN)
        .profile(camera.profile("main"));
    config.redirect_to = vec!["localhost".to_owned()];
    let agent = Agent::start(&dir, &config);
    gateway.wait_online("front", ONLINE_LIMIT);
    Meeting {
        python,
        agent,
        camera: Some(camera),
    }
    .ends_well(LONG);
}

#[test]
fn a_forbidden_move_is_refused() {
    let args = ["--status", "403", "--location", "https://elsewhere.example/x"];
    meet_camera(
        "pygateway::move_forbidden",
        &Carrier::Reverse,
        "move-refused",
        &args,
    )
    .ends_well(SHORT);
}

#[test]
fn a_malformed_move_is_refused() {
    let args = [
        "--status",
        "400",
        "--location",
        "gibberish",
        "--location",
        "https://",
    ];
    meet_camera(
        "pygateway::move_malformed",
        &Carrier::Reverse,
        "move-refused",
        &args,
    )
    .ends_well(SHORT);
}

#[test]
fn redirects_307_and_308() {
    for status in ["307", "308"] {
        let dir = TestDir::new(&format!("pygateway::redirect_{status}"));
        let pki = Pki::new(&dir);
        let leaf = pki.leaf(Leaf::Good);
        let gateway = Gateway::start(
            &dir,
            &GatewayConfig::new(&leaf, CameraKey::Token(TOKEN.to_owned())),
        );
        let target = gateway.endpoint();
        let args = ["--status", status, "--location", &target, "--seconds", "30"];
        let python = PyGateway::start(&dir, &leaf, "redirect", &args);
        let mut config = AgentConfig::new(&python.endpoint(), &pki, &pki.client("front"))
            .token(TOKEN)
            .profile(some_profile());
        config.redirect_to = vec!["localhost".to_owned()];
        let agent = Agent::start(&dir, &config);
        gateway.wait_online("front", ONLINE_LIMIT);
        Meeting {
            python,
            agent,
            camera: None,
        }
        .ends_well(SHORT);
    }
}

#[test]
fn stays_while_it_is_asked() {
    let args = ["--seconds", "40"];
    meet_camera("pygateway::hold", &Carrier::Reverse, "hold", &args).ends_well(SHORT);
}

#[test]
fn gives_up_a_dead_uplink() {
    meet_camera("pygateway::silent", &Carrier::Reverse, "silent", &[]).ends_well(SHORT);
}

#[test]
fn bad_replies_are_given_up() {
    const REPLIES: &[&str] = &[
        "garbage",
        "not-http",
        "ok",
        "wrong-upgrade",
        "no-upgrade",
        "no-connection",
        "endless-head",
        "endless-interim",
        "cut",
        "redirect-without-location",
        "redirect-garbage",
        "silence",
    ];
    let dir = TestDir::new("pygateway::bad_replies");
    std::thread::scope(|scope| {
        for reply in REPLIES {
            let dir = dir.subdir(reply);
            scope.spawn(move || {
                meet(
                    &dir,
                    &Carrier::Reverse,
                    "bad-reply",
                    &["--reply", reply, "--timeout", PATIENCE],
                    None,
                )
                .ends_well(SHORT);
            });
        }
        let dir = dir.subdir("wrong-accept");
        scope.spawn(move || {
            meet(
                &dir,
                &Carrier::WebSocket,
                "bad-reply",
                &["--reply", "wrong-accept", "--timeout", PATIENCE],
                None,
            )
            .ends_well(SHORT);
        });
    });
}

#[test]
fn every_class_of_violation_gets_its_code_and_the_agent_comes_back() {
    let known = known_violations();
    violations(
        "pygateway::violations",
        &Carrier::Reverse,
        &names(&known["common"]),
    );
}

#[test]
fn every_violation_of_the_websocket_carrier_ends_it() {
    let known = known_violations();
    let mut all = names(&known["wss"]);
    // A few of HTTP/2's through this carrier as well.
    all.extend(["ping-flood", "rapid-reset", "settings-length", "bad-preface"].map(str::to_owned));
    violations("pygateway::violations_wss", &Carrier::WebSocket, &all);
}

/// Agents side by side, each with some violations in a row and a good uplink at the end.
#[track_caller]
fn violations(test: &str, carrier: &Carrier, all: &[String]) {
    let dir = TestDir::new(test);
    assert!(
        all.len() >= VIOLATIONS_EACH,
        "the list of violations is short: {all:?}"
    );
    let wrong: Vec<String> = std::thread::scope(|scope| {
        let handles: Vec<_> = all
            .chunks(VIOLATIONS_EACH)
            .enumerate()
            .map(|(number, names)| {
                let dir = dir.subdir(&number.to_string());
                scope.spawn(move || violate(&dir, carrier, names))
            })
            .collect();
        handles
            .into_iter()
            .flat_map(|handle| handle.join().expect("the agent stays up"))
            .collect()
    });
    assert!(wrong.is_empty(), "wrong answers:\n{}", wrong.join("\n"));
}

/// Commits these violations; gives the reports of those that were not answered right.
#[track_caller]
fn violate(dir: &TestDir, carrier: &Carrier, names: &[String]) -> Vec<String> {
    let mut args = vec!["--then", "accept"];
    for name in names {
        args.extend(["--violation", name]);
    }
    let mut meeting = meet(dir, carrier, "violate", &args, None);
    meeting.python.wait_event("result", LONG);
    meeting.agent.process.assert_running();
    let reports = meeting.python.events("violation");
    let mut wrong: Vec<String> = reports
        .iter()
        .filter(|report| report["ok"] != true)
        .map(Value::to_string)
        .collect();
    if reports.len() != names.len() || meeting.python.events("status").is_empty() {
        wrong.push(format!(
            "{names:?}: the agent did not come back after all of them"
        ));
    }
    wrong
}

#[track_caller]
fn known_violations() -> Value {
    let output = Command::new(tools::venv_python())
        .current_dir(workspace_root().join("tests"))
        .args(["-m", "pygateway", "--list-violations"])
        .output()
        .expect("Python can be started");
    serde_json::from_slice(&output.stdout).expect("a list of violations")
}

fn names(list: &Value) -> Vec<String> {
    list.as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect()
}
