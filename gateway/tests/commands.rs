//! The program as people use it: from nothing, on a running gateway and beside one that does not run.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod support;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use lenscap_gateway::uplink::carrier::CarrierStream;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::Value;
use support::*;

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lenscap-gateway"));
    command.env_clear().stdin(Stdio::null());
    command
}

/// A gateway without a configuration, in a process of its own.
struct Running {
    child: Child,
    addresses: Value,
    log: std::thread::JoinHandle<String>,
}

impl Running {
    fn start(data: &Path, format: &str) -> Self {
        let any = "127.0.0.1:0";
        let mut child = program()
            .args([
                "run",
                "--log-level",
                "trace",
                "--log-format",
                format,
                "--host",
                "localhost",
                "--data",
            ])
            .arg(data)
            .args([
                "--uplink-listen",
                any,
                "--rtsp-listen",
                any,
                "--rtsps-listen",
                any,
                "--http-listen",
                any,
            ])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let mut stderr = child.stderr.take().unwrap();
        let log = std::thread::spawn(move || {
            let mut text = String::new();
            stderr.read_to_string(&mut text).unwrap();
            text
        });
        let addresses = serde_json::from_str(&line).unwrap_or_else(|_| panic!("it did not start: {line}"));
        Self {
            child,
            addresses,
            log,
        }
    }

    fn address(&self, what: &str) -> SocketAddr {
        self.addresses[what].as_str().unwrap().parse().unwrap()
    }

    fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    }

    /// Stops it; gives what it has logged.
    fn stop(mut self) -> String {
        self.signal("TERM");
        assert!(self.child.wait().unwrap().success());
        self.log.join().unwrap()
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// Runs a command with its words split at spaces; exit code, what it printed, and what it complained of.
fn command(data: &Path, words: &str, input: &str) -> (i32, String, String) {
    let mut child = program()
        .args(words.split(' '))
        .arg("--data")
        .arg(data)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.code().unwrap(),
        text(output.stdout),
        text(output.stderr),
    )
}

#[track_caller]
fn good(data: &Path, words: &str, input: &str) -> String {
    let (code, out, error) = command(data, words, input);
    assert_eq!(code, 0, "{words}: {out}{error}");
    out
}

#[track_caller]
fn bad(data: &Path, words: &str, input: &str) -> String {
    let (code, out, error) = command(data, words, input);
    assert_eq!(code, 1, "{words}: {out}{error}");
    error
}

fn root_of(data: &Path) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(data.join("ca.pem")).unwrap()
}

#[tokio::test]
async fn from_nothing_to_video() {
    let parent = tempfile::tempdir().unwrap();
    let data = parent.path().join("state");
    let gateway = Running::start(&data, "text");
    let camera = Newcomer::new("SN-0042");
    let (reply, _) = camera.dial_to(gateway.address("uplink"), &root_of(&data)).await;
    assert!(reply.starts_with("HTTP/1.1 503 "), "{reply}");
    let listed = good(&data, "camera list", "");
    assert!(
        listed.contains("Waiting to be claimed") && listed.contains("SN-0042  Dome"),
        "{listed}"
    );
    let wrong = bad(
        &data,
        "camera claim --serial SN-0042 --name porch",
        "AAAA-BBBB-CCCC-DDDD\n",
    );
    assert!(wrong.contains("not the PIN"), "{wrong}");
    let claimed = good(
        &data,
        "camera claim --serial SN-0042 --name porch --account acme",
        "7k3m 9qxo lbcd ef2g\n",
    );
    assert!(claimed.contains("porch is claimed"), "{claimed}");
    let added = good(&data, "viewer add carol", "");
    let password = added.trim().rsplit(' ').next().unwrap().to_owned();
    let token = good(&data, "token create portal --scope view --json", "");
    let token: Value = serde_json::from_str(&token).unwrap();
    let token = token["token"].as_str().unwrap().to_owned();

    let (reply, stream) = camera.dial_to(gateway.address("uplink"), &root_of(&data)).await;
    assert!(reply.starts_with("HTTP/1.1 101 "), "{reply}");
    let _agent = Agent::start(CarrierStream::Direct(stream), Play::Frames(3, 100));
    within("the camera to be online", async {
        while !good(&data, "camera show porch", "").contains("online        yes") {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let tcp = tokio::net::TcpStream::connect(gateway.address("rtsp"))
        .await
        .unwrap();
    let base = format!("rtsp://{}/porch/main", gateway.address("rtsp"));
    let mut viewer = Viewer::of(tcp, &base, "carol", &password);
    viewer.play().await;
    viewer.read_frames(3 * 104).await;
    let link = good(&data, "link porch main --json", "");
    let views = good(&data, "views", "");
    assert!(views.contains("porch") && views.contains("carol"), "{views}");
    drop(viewer);
    let mode = |name: &str| std::fs::metadata(data.join(name)).unwrap().permissions().mode() & 0o777;
    for name in ["lenscap.db", "ca.key", "gateway.key", "control.sock", "lock"] {
        assert_eq!(mode(name), 0o600, "{name}");
    }
    let pin = lenscap_gateway::ca::pin(&data.join("gateway.pem")).unwrap();
    let port = gateway.address("uplink").port();
    let log = gateway.stop();
    let line = format!(
        "config uplink 'main'; option endpoint 'https://localhost:{port}/onvif/uplink'; list pin '{pin}'"
    );
    assert!(
        log.contains(&line) && log.contains(&data.display().to_string()),
        "{log}"
    );
    // Nothing secret in a log, and no address of a peer above DEBUG.
    let link: Value = serde_json::from_str(&link).unwrap();
    let play = link["rtsp"].as_str().unwrap().split("play=").nth(1).unwrap();
    let key = std::fs::read_to_string(data.join("gateway.key")).unwrap();
    let secrets = [
        password.as_str(),
        &token,
        play,
        "7K3M",
        "7k3m",
        "AAAA-BBBB",
        key.lines().nth(1).unwrap(),
    ];
    for secret in secrets {
        assert!(!log.contains(secret), "{secret} in the log");
    }
    for line in log
        .lines()
        .filter(|line| line.contains(" INFO ") || line.contains(" WARN "))
    {
        assert!(!line.contains("127.0.0.1"), "{line}");
    }
    assert!(!data.join("control.sock").exists());
    // Everything is there the next time, and the pin is the same.
    let listed = good(&data, "camera list --json", "");
    assert!(listed.contains("\"state\":\"claimed\""), "{listed}");
    let again = Running::start(&data, "json");
    assert_eq!(lenscap_gateway::ca::pin(&data.join("gateway.pem")).unwrap(), pin);
    let (reply, _) = camera.dial_to(again.address("uplink"), &root_of(&data)).await;
    assert!(reply.starts_with("HTTP/1.1 101 "), "{reply}");
    let log = again.stop();
    for line in log.lines() {
        let _: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"));
    }
    assert!(log.contains("camera_line"), "{log}");
}

#[tokio::test]
async fn commands_act_on_the_running_gateway_and_without_one() {
    let parent = tempfile::tempdir().unwrap();
    let data = parent.path().join("state");
    let error = bad(&data, "camera list", "");
    assert!(error.contains("there is no data folder"), "{error}");
    // Without a gateway.
    let key = Newcomer::new("x").fingerprint();
    good(
        &data,
        &format!("camera claim --fingerprint {key} --name porch"),
        "",
    );
    let list = parent.path().join("list.csv");
    std::fs::write(&list, "serial,pin\nSN1,7K3M-9QX0-1BCD-EF2G\nSN2,\n").unwrap();
    let import = format!("camera import {}", list.display());
    assert_eq!(good(&data, &import, ""), "2 added, 0 updated, 0 as they were\n");
    std::fs::write(&list, "serial,pin\nSN3,7K3M-9QX0-1BCD-EF2G\nSN4,1234\n").unwrap();
    let error = bad(&data, &import, "");
    let place = format!("{}:3:5: pin: this PIN is worth 13 bits", list.display());
    assert!(
        error.contains(&place) && error.contains("nothing was imported"),
        "{error}"
    );
    // The same with one, which was killed in between and has left its socket.
    Running::start(&data, "text").kill();
    assert!(data.join("control.sock").exists());
    assert!(good(&data, "camera list", "").contains("porch"));
    let gateway = Running::start(&data, "text");
    assert_eq!(bad(&data, &import, ""), error);
    good(&data, "camera release porch", "");
    good(
        &data,
        "viewer add bob --password-file - --account acme --days 3",
        "a-long-password\n",
    );
    let shown = good(&data, "viewer list", "");
    assert!(shown.contains("bob   database  acme     all"), "{shown}");
    let exported = good(&data, "camera export", "");
    assert!(
        exported.contains("SN1,,SN1,") && !exported.contains("porch"),
        "{exported}"
    );
    let error = bad(&data, "camera show porch", "");
    assert_eq!(error, "no such camera\n");
    let error = bad(&data, "restore /nonexistent", "");
    assert!(error.contains("stop it first"), "{error}");
    let backup = parent.path().join("backup");
    good(&data, &format!("backup {}", backup.display()), "");
    assert_eq!(
        std::fs::metadata(&backup).unwrap().permissions().mode() & 0o777,
        0o600
    );
    drop(gateway.stop());
    good(&data, "viewer revoke bob", "");
    let ca = std::fs::read(data.join("ca.key")).unwrap();
    std::fs::remove_file(data.join("ca.key")).unwrap();
    let restored = good(&data, &format!("restore {}", backup.display()), "");
    assert!(restored.contains("what was there is now"), "{restored}");
    assert!(good(&data, "viewer list", "").contains("bob"));
    assert_eq!(std::fs::read(data.join("ca.key")).unwrap(), ca);
}

#[test]
fn what_is_wrong_is_said_and_nothing_is_lost() {
    let parent = tempfile::tempdir().unwrap();
    let data = parent.path().join("state");
    good(&data, "ca init", "");
    let error = bad(&data, "ca init", "");
    assert!(error.contains("is there already"), "{error}");
    let out = parent.path().join("other");
    let made = good(
        &data,
        &format!("ca issue gw.example 192.0.2.1 --out {}", out.display()),
        "",
    );
    assert!(
        made.contains("other.pem\n") && made.contains("other.key\n"),
        "{made}"
    );
    let key = std::fs::metadata(out.with_extension("key")).unwrap();
    assert_eq!(key.permissions().mode() & 0o777, 0o600);
    let (code, _, error) = command(&data, &format!("ca issue a/b --out {}x", out.display()), "");
    assert_eq!(code, 2);
    assert!(error.contains("neither a host name nor an address"), "{error}");
    good(&data, "viewer add bob", "");
    let database = data.join("lenscap.db");
    let whole = std::fs::read(&database).unwrap();
    let mut newer = whole.clone();
    newer[60..64].copy_from_slice(&99_u32.to_be_bytes());
    for (bytes, why) in [
        (&newer[..], "written by a newer lenscap-gateway"),
        (&whole[..whole.len() / 2], "is damaged"),
        (
            b"this is not a database, but long enough to look at",
            "is damaged",
        ),
    ] {
        std::fs::write(&database, bytes).unwrap();
        let error = bad(&data, "viewer list", "");
        assert!(
            error.contains(why) && error.contains("nothing was changed"),
            "{error}"
        );
        let output = program().args(["run", "--data"]).arg(&data).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        let log = String::from_utf8(output.stderr).unwrap();
        assert!(log.contains(why), "{log}");
        assert_eq!(std::fs::read(&database).unwrap(), bytes);
    }
    std::fs::write(&database, whole).unwrap();
    assert!(good(&data, "viewer list", "").contains("bob"));
    let busy = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = busy.local_addr().unwrap().to_string();
    let output = program()
        .args(["run", "--uplink-listen", &address, "--data"])
        .arg(&data)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let log = String::from_utf8(output.stderr).unwrap();
    assert!(
        log.contains(&format!("cannot listen on {address} for [uplink]")),
        "{log}"
    );
}

/// What it says when it does not start.
#[track_caller]
fn refused(data: &Path) -> String {
    let output = program()
        .args(["run", "--uplink-listen", "127.0.0.1:0", "--data"])
        .arg(data)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn what_is_lost_is_not_replaced_in_silence() {
    let parent = tempfile::tempdir().unwrap();
    let data = parent.path().join("state");
    drop(Running::start(&data, "text").stop());
    good(&data, "viewer add bob", "");
    let backup = parent.path().join("backup");
    good(&data, &format!("backup {}", backup.display()), "");
    let refused_for = |name: &str, why: &str| {
        let log = refused(&data);
        assert!(log.contains(name) && log.contains(why), "{log}");
        let (code, _, error) = command(&data, "check", "");
        assert!(
            code == 1 && error.contains(name) && error.contains(why),
            "{error}"
        );
    };
    let (key, database) = (data.join("gateway.key"), data.join("lenscap.db"));
    std::fs::rename(&key, parent.path().join("key")).unwrap();
    refused_for("gateway.key", "which cameras may pin");
    assert!(!key.exists());
    std::fs::rename(parent.path().join("key"), &key).unwrap();
    std::fs::write(&database, "").unwrap();
    refused_for("lenscap.db", "everything that was kept in it is lost");
    assert_eq!(std::fs::metadata(&database).unwrap().len(), 0);
    good(&data, &format!("restore {}", backup.display()), "");
    assert!(good(&data, "viewer list", "").contains("bob"));
    drop(Running::start(&data, "text").stop());
}

#[test]
fn the_data_folder_is_checked_without_a_configuration() {
    let parent = tempfile::tempdir().unwrap();
    let data = parent.path().join("state");
    let error = bad(&data, "check", "");
    assert!(error.contains("there is no data folder"), "{error}");
    drop(Running::start(&data, "text").stop());
    good(&data, "viewer add bob", "");
    let before = list(&data);
    let shown = good(&data, "check", "");
    for part in [
        "gateway.pem: ok, until 20",
        ", for localhost\n",
        "ca.pem: ok, until 20",
        "lenscap.db: ok, 0 cameras, 1 viewers\n",
    ] {
        assert!(shown.contains(part), "{shown}");
    }
    assert_eq!(list(&data), before);
    // Beside a running gateway too.
    let gateway = Running::start(&data, "text");
    assert_eq!(good(&data, "check", ""), shown);
    drop(gateway.stop());
    let file = |name: &str| std::fs::read(data.join(name)).unwrap();
    let good_key = file("ca.key");
    std::fs::write(data.join("ca.key"), file("gateway.key")).unwrap();
    let error = bad(&data, "check", "");
    assert!(
        error.contains("ca.key is not the private key of ca.pem"),
        "{error}"
    );
    std::fs::write(data.join("ca.key"), good_key).unwrap();
    std::fs::write(
        data.join("lenscap.db"),
        "no database, but long enough to be looked at",
    )
    .unwrap();
    let error = bad(&data, "check", "");
    assert!(error.contains("is damaged"), "{error}");
}

/// What is in a folder, but for what SQLite has beside a database that is being read.
fn list(folder: &Path) -> Vec<String> {
    let names = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = names
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.ends_with("-wal") && !name.ends_with("-shm"))
        .collect();
    names.sort();
    names
}

/// The camera that dials the address of before goes on finding the gateway.
#[tokio::test]
async fn another_host_cuts_nobody_off() {
    let parent = tempfile::tempdir().unwrap();
    let data = parent.path().join("state");
    let (now, before) = (std::time::SystemTime::now(), ["vm.example".to_owned()]);
    std::fs::create_dir(&data).unwrap();
    lenscap_gateway::ca::ensure(&data, &before, now).unwrap();
    let gateway = Running::start(&data, "text");
    let names = lenscap_gateway::ca::names_of(&data.join("gateway.pem"));
    assert_eq!(names, ["localhost", "vm.example"]);
    let camera = Newcomer::new("SN-0042");
    let (reply, _) = camera.dial_to(gateway.address("uplink"), &root_of(&data)).await;
    assert!(reply.starts_with("HTTP/1.1 503 "), "{reply}");
    let log = gateway.stop();
    let line = log
        .lines()
        .find(|line| line.contains(" INFO ") && line.contains("is for localhost, vm.example"));
    assert!(line.is_some_and(|line| line.contains("To drop a name")), "{log}");
}
