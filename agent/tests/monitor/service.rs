//! `lenscap run` as an init starts it, and what `/proc` says of its processes.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use lenscap::sys;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;

use crate::changes::Changes;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Whether this run may start the service as root. A run that cannot must say so, as nothing is skipped in silence.
pub(crate) fn may_be_root() -> bool {
    if nix::unistd::Uid::effective().is_root() {
        return true;
    }
    assert!(
        std::env::var_os("LENSCAP_TEST_UNPRIVILEGED").is_some(),
        "this test starts the service as root: run it as root, or set LENSCAP_TEST_UNPRIVILEGED=1 to leave it out"
    );
    eprintln!("left out, as LENSCAP_TEST_UNPRIVILEGED is set");
    false
}

/// Asks again and again until there is an answer: for what tells nobody of its changes, as `/proc` and answers of commands.
#[track_caller]
pub(crate) fn wait<T>(what: &str, ask: impl FnMut() -> Option<T>) -> T {
    wait_or(|| what.to_owned(), ask)
}

#[track_caller]
fn wait_or<T>(what: impl Fn() -> String, mut ask: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < end, "{}: not within {PATIENCE:?}", what());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The agent's connection to a gateway, within the patience.
#[track_caller]
pub(crate) fn accept(gateway: &TcpListener) -> TcpStream {
    let [comes] = sys::wait_readable([Some(gateway.as_fd())], Some(PATIENCE)).unwrap();
    assert!(comes, "no connection within {PATIENCE:?}");
    gateway.accept().unwrap().0
}

/// A folder with a configuration.
pub(crate) struct Place {
    pub(crate) dir: tempfile::TempDir,
}

impl Place {
    /// A configuration whose gateway refuses connections.
    pub(crate) fn new() -> Self {
        let place = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        place.write("hosts", "127.0.0.1 localhost\n");
        place.write("resolv.conf", "nameserver 127.0.0.1\n");
        place.configure(&place.uplink("main", "https://localhost:9/x"));
        place
    }

    /// The same with a gateway, by that name, that takes connections and says nothing.
    pub(crate) fn with_gateway(host: &str) -> (Self, TcpListener) {
        let place = Self::new();
        let gateway = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = gateway.local_addr().unwrap().port();
        place.configure(&place.uplink("main", &format!("https://{host}:{port}/x")));
        (place, gateway)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    pub(crate) fn uplink(&self, name: &str, endpoint: &str) -> String {
        format!("config uplink '{name}'\n\toption endpoint '{endpoint}'\n")
    }

    /// Writes the configuration: the given sections and all that is needed besides.
    pub(crate) fn configure(&self, sections: &str) {
        self.configure_state(&self.path("state"), sections);
    }

    pub(crate) fn configure_state(&self, state: &Path, sections: &str) {
        let dir = self.dir.path().display();
        let text = format!(
            "config agent\n\toption state_dir '{}'\n\toption run_dir '{dir}/run'\n\toption log_level 'debug'\n\
             \toption hosts '{dir}/hosts'\n\toption resolv_conf '{dir}/resolv.conf'\n{sections}\
             config profile 'main'\n\toption rtsp 'rtsp://127.0.0.1:9/x'\n",
            state.display()
        );
        self.write("lenscap", &text);
    }

    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lenscap"));
        command.arg("run").arg("--config").arg(self.path("lenscap"));
        command
    }

    pub(crate) fn start(&self) -> Service<'_> {
        self.start_command(self.command())
    }

    pub(crate) fn start_command(&self, mut command: Command) -> Service<'_> {
        let log = File::create(self.path("log")).unwrap();
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        Service { child, place: self }
    }

    /// `lenscap status --json`.
    pub(crate) fn status(&self) -> serde_json::Value {
        let output = self.status_command(&["--json"]);
        serde_json::from_slice(&output.stdout).unwrap()
    }

    pub(crate) fn status_command(&self, args: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_lenscap"))
            .arg("status")
            .arg("--config")
            .arg(self.path("lenscap"))
            .args(args)
            .output()
            .unwrap()
    }
}

/// A running service; killed when dropped.
pub(crate) struct Service<'a> {
    child: Child,
    place: &'a Place,
}

impl Service<'_> {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.place.path("log")).unwrap()
    }

    #[track_caller]
    pub(crate) fn wait_log(&self, part: &str) {
        let changes = Changes::of(&[&self.place.path("log")]);
        let end = Instant::now() + PATIENCE;
        while !self.log().contains(part) {
            assert!(changes.wait(end), "no {part:?} in the log:\n{}", self.log());
        }
    }

    /// Waits until an agent other than `not` is up; gives its process.
    #[track_caller]
    pub(crate) fn wait_up(&self, not: u32) -> u32 {
        let what = || format!("{}\nan agent other than {not}", self.log());
        wait_or(what, || {
            let status = self.place.status();
            let up = status["state"] == "up" && status["agent_pid"] != not;
            up.then(|| u32::try_from(status["agent_pid"].as_u64().unwrap()).unwrap())
        })
    }

    pub(crate) fn signal(&self, signal: Signal) {
        send(self.pid(), signal);
    }

    /// The exit status, within the patience.
    #[track_caller]
    pub(crate) fn wait_exit(&mut self) -> ExitStatus {
        let (ended, end) = mpsc::channel();
        let id = Id::Pid(Pid::from_raw(self.pid().cast_signed()));
        // It stays to be buried below.
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
        std::thread::spawn(move || ended.send(waitid(id, flags)));
        let ended = end.recv_timeout(PATIENCE);
        assert!(
            matches!(ended, Ok(Ok(_))),
            "it does not end: {ended:?}\n{}",
            self.log()
        );
        self.child.wait().unwrap()
    }
}

impl Drop for Service<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn send(pid: u32, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(pid).unwrap()), signal).unwrap();
}

/// Waits until a process is gone; a zombie that nobody has buried counts as gone.
#[track_caller]
pub(crate) fn wait_gone(pid: u32) {
    wait("the process' end", || {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok();
        let alive = status.is_some_and(|text| !field(&text, "State:").starts_with('Z'));
        (!alive).then_some(())
    });
}

/// A field of `/proc/PID/status`.
pub(crate) fn field(status: &str, name: &str) -> String {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap_or("").trim().to_owned()
}

pub(crate) fn status_of(pid: u32) -> String {
    fs::read_to_string(format!("/proc/{pid}/status")).unwrap()
}

/// What a process' descriptors lead to.
pub(crate) fn descriptors(pid: u32) -> Vec<String> {
    fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .filter_map(|entry| fs::read_link(entry.unwrap().path()).ok())
        .map(|target| target.display().to_string())
        .collect()
}

/// The inodes of a process' sockets that `/proc/net` lists as of the network: all of them, or those that listen.
pub(crate) fn network_sockets(pid: u32, listening: bool) -> BTreeSet<String> {
    let own: BTreeSet<String> = descriptors(pid)
        .iter()
        .filter_map(|target| Some(target.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned()))
        .collect();
    let mut found = BTreeSet::new();
    for table in ["tcp", "tcp6", "udp", "udp6", "raw", "raw6", "packet"] {
        // Kernels without IPv6 have no such tables.
        let text = fs::read_to_string(format!("/proc/{pid}/net/{table}")).unwrap_or_default();
        for line in text.lines().skip(1) {
            let words: Vec<&str> = line.split_whitespace().collect();
            let inode = if table == "packet" {
                words.last()
            } else {
                words.get(9)
            };
            let listens = table.starts_with("tcp") && words.get(3) == Some(&"0A");
            if let Some(inode) = inode.filter(|inode| own.contains(**inode) && (listens || !listening)) {
                found.insert((*inode).to_owned());
            }
        }
    }
    found
}
