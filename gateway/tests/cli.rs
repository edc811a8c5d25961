//! The program itself: its start line, its signals, its exit codes, and what it logs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod support;

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use support::{self_signed, write_private};

const SECRET: &str = "a-very-secret-word-indeed";

fn folder(more: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let pair = self_signed("localhost");
    std::fs::write(folder.path().join("gw.pem"), pair.cert.pem()).unwrap();
    write_private(&folder.path().join("gw.key"), &pair.signing_key.serialize_pem());
    write_private(&folder.path().join("pw"), SECRET);
    let text = format!(
        "[uplink]\nlisten = \"127.0.0.1:0\"\ncert = \"gw.pem\"\nkey = \"gw.key\"\n[rtsp]\nlisten = \"127.0.0.1:0\"\n{more}"
    );
    std::fs::write(folder.path().join("gateway.toml"), text).unwrap();
    folder
}

fn command(folder: &Path, verb: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lenscap-gateway"));
    command.arg(verb).arg("--config").arg(folder.join("gateway.toml"));
    command
}

fn send(signal: &str, child: &Child) {
    let status = Command::new("sh")
        .arg("-c")
        .arg(format!("kill -{signal} {}", child.id()))
        .status()
        .unwrap();
    assert!(status.success());
}

#[test]
fn says_where_it_listens_and_stops_on_sigterm() {
    let folder = folder(
        "[http]\nlisten = \"127.0.0.1:0\"\ntoken_file = \"pw\"\n[[viewer]]\nuser = \"alice\"\npassword_file = \"pw\"\n",
    );
    let mut child = command(folder.path(), "run")
        .args(["--log-format", "json", "--log-level", "trace"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let listening: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(listening["event"], "listening");
    for what in ["uplink", "rtsp", "http"] {
        let address: std::net::SocketAddr = listening[what].as_str().unwrap().parse().unwrap();
        assert_ne!(address.port(), 0);
        std::net::TcpStream::connect(address).unwrap();
    }
    send("HUP", &child);
    let mut log = BufReader::new(child.stderr.take().unwrap())
        .lines()
        .map(Result::unwrap);
    let mut seen = Vec::new();
    while !seen
        .last()
        .is_some_and(|line: &String| line.contains("certificate reloaded"))
    {
        seen.push(log.next().expect("the log ends before the reload"));
    }
    send("TERM", &child);
    seen.extend(log);
    assert!(child.wait().unwrap().success());
    assert!(seen.iter().any(|line| line.contains("no [[camera]]")), "{seen:?}");
    for line in &seen {
        let _: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(!line.contains(SECRET), "{line}");
    }
}

/// A shell gives a thousand, which would be the most cameras.
#[test]
fn takes_as_many_open_files_as_it_may() {
    let folder = folder("");
    let program = command(folder.path(), "run");
    let mut child = Command::new("sh")
        .args(["-c", "ulimit -S -n 64; ulimit -H -n 512; exec \"$@\"", "sh"])
        .arg(program.get_program())
        .args(program.get_args())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert!(line.contains("listening"), "{line}");
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", child.id())).unwrap();
    let files = limits
        .lines()
        .find(|line| line.starts_with("Max open files"))
        .unwrap();
    let figures: Vec<&str> = files.split_whitespace().skip(3).take(2).collect();
    assert_eq!(figures, ["512", "512"]);
    send("TERM", &child);
    assert!(child.wait().unwrap().success());
}

#[test]
fn mistakes_end_with_2_and_a_taken_port_with_1() {
    let open = folder("[http]\nlisten = \"0.0.0.0:0\"\n");
    for verb in ["run", "check"] {
        let output = command(open.path(), verb).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        let shown = String::from_utf8(output.stderr).unwrap();
        assert!(
            shown.contains("gateway.toml:8:10: the HTTP API would be open to everyone"),
            "{shown}"
        );
    }
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let busy = folder(&format!("[http]\nlisten = \"127.0.0.1:{port}\"\n"));
    let output = command(busy.path(), "run").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        String::from_utf8(output.stderr)
            .unwrap()
            .contains("cannot listen on 127.0.0.1:")
    );
}

#[test]
fn check_approves_a_good_file() {
    let good = folder("[[viewer]]\nuser = \"alice\"\npassword_file = \"pw\"\n");
    let mut child = command(good.path(), "check")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut shown = String::new();
    child.stdout.take().unwrap().read_to_string(&mut shown).unwrap();
    assert!(child.wait().unwrap().success());
    assert!(
        shown.ends_with("gateway.toml: ok, 0 cameras, 1 viewers\n"),
        "{shown}"
    );
}
