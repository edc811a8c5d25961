//! Network namespaces for tests that need two hosts: create, enter, tune, remove.
//!
//! Needs root and iproute2. Processes and sockets made inside [`Namespace::run`] live in that
//! namespace for good, since a network namespace belongs to a thread until it makes something.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Child, Command};
use std::thread;

use anyhow::{Context, Result, anyhow, bail};
use nix::fcntl::{Flock, FlockArg};
use nix::sched::{CloneFlags, setns};

/// Largest window a socket inside a tuned namespace may grow to: 400 Mbit/s at 300 ms.
const MAX_WINDOW_BYTES: usize = 16 * 1024 * 1024;
const ALLOWED_CONTROL: &str = "/proc/sys/net/ipv4/tcp_allowed_congestion_control";
const CONTROL_LOCK: &str = "/run/lenscap-congestion-control.lock";

/// A network namespace by name, as `ip netns` knows it.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    owned: bool,
}

impl Namespace {
    /// Creates a namespace with its loopback interface up. It is deleted on drop.
    pub fn create(name: &str) -> Result<Self> {
        ip(&["netns", "add", name])?;
        let namespace = Self {
            name: name.to_owned(),
            owned: true,
        };
        ip(&["-n", name, "link", "set", "lo", "up"])?;
        Ok(namespace)
    }

    /// Takes a namespace that exists already; it is left alone on drop.
    pub fn existing(name: &str) -> Result<Self> {
        let namespace = Self {
            name: name.to_owned(),
            owned: false,
        };
        namespace.open()?;
        Ok(namespace)
    }

    /// The name, as in `ip netns list`.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn open(&self) -> Result<File> {
        let path = Path::new("/run/netns").join(&self.name);
        File::open(&path).with_context(|| format!("no network namespace {}", self.name))
    }

    /// Moves the calling thread, and what it creates from now on, into the namespace.
    pub fn enter(&self) -> Result<()> {
        setns(self.open()?, CloneFlags::CLONE_NEWNET)
            .with_context(|| format!("entering network namespace {} (root needed)", self.name))
    }

    /// Runs `work` on a thread inside the namespace and waits for it.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        thread::scope(|scope| {
            scope
                .spawn(|| {
                    self.enter()?;
                    work()
                })
                .join()
                .map_err(|_| anyhow!("a thread in namespace {} panicked", self.name))?
        })
    }

    /// Starts a program inside the namespace.
    pub fn spawn(&self, command: &mut Command) -> Result<Child> {
        self.run(|| {
            command
                .spawn()
                .with_context(|| format!("starting {:?}", command.get_program()))
        })
    }

    /// Sets CUBIC and windows large enough for a long fat path, and forgets what TCP learnt
    /// about a peer when its connection ends, so that one run does not colour the next.
    pub fn tune_tcp(&self) -> Result<()> {
        self.run(|| {
            set_cubic()?;
            let windows = format!("4096 131072 {MAX_WINDOW_BYTES}");
            write_sysctl("/proc/sys/net/ipv4/tcp_rmem", &windows)?;
            write_sysctl("/proc/sys/net/ipv4/tcp_wmem", &windows)?;
            write_sysctl("/proc/sys/net/ipv4/tcp_no_metrics_save", "1")
        })
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if self.owned {
            // Nothing can be done about a failure here; the next run uses other names.
            let _ = ip(&["netns", "del", &self.name]);
        }
    }
}

/// Joins two namespaces with a veth pair named `dev` on both sides, addresses in CIDR form.
pub fn join(a: &Namespace, b: &Namespace, dev: &str, addr_a: &str, addr_b: &str) -> Result<()> {
    ip(&[
        "-n",
        a.name(),
        "link",
        "add",
        dev,
        "type",
        "veth",
        "peer",
        "name",
        dev,
        "netns",
        b.name(),
    ])?;
    for (namespace, address) in [(a, addr_a), (b, addr_b)] {
        ip(&["-n", namespace.name(), "addr", "add", address, "dev", dev])?;
        ip(&["-n", namespace.name(), "link", "set", dev, "up"])?;
    }
    Ok(())
}

/// Runs `ip` with these arguments; an error carries what it wrote.
pub fn ip(args: &[&str]) -> Result<()> {
    let output = Command::new("ip")
        .args(args)
        .output()
        .context("running ip (iproute2)")?;
    if !output.status.success() {
        bail!(
            "ip {}: {}",
            args.join(" "),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}

/// A namespace other than the first may only choose what the first one calls allowed, so CUBIC is
/// allowed for the moment of the choice. The lock keeps two of these programs apart.
fn set_cubic() -> Result<()> {
    const CONTROL: &str = "/proc/sys/net/ipv4/tcp_congestion_control";
    if std::fs::read_to_string(CONTROL)?.trim() == "cubic" {
        return Ok(());
    }
    let lock = File::options()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(CONTROL_LOCK)?;
    let _lock = Flock::lock(lock, FlockArg::LockExclusive)
        .map_err(|(_, error)| error)
        .context("locking the choice of congestion control")?;
    match write_sysctl(CONTROL, "cubic") {
        Ok(()) => return Ok(()),
        Err(error) if is_permission(&error) => {}
        Err(error) => return Err(error),
    }
    let before = thread_outside(|| Ok(std::fs::read_to_string(ALLOWED_CONTROL)?.trim().to_owned()))?;
    let with_cubic = format!("{before} cubic");
    thread_outside(|| write_sysctl(ALLOWED_CONTROL, &with_cubic))?;
    let outcome = write_sysctl(CONTROL, "cubic");
    thread_outside(|| write_sysctl(ALLOWED_CONTROL, &before))?;
    outcome
}

/// Runs `work` on a thread that is back in the namespace the process was started in.
fn thread_outside<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    thread::scope(|scope| {
        scope
            .spawn(|| {
                // The main thread's namespace: only other threads enter one.
                setns(File::open("/proc/self/ns/net")?, CloneFlags::CLONE_NEWNET)?;
                work()
            })
            .join()
            .map_err(|_| anyhow!("a thread panicked"))?
    })
}

fn write_sysctl(path: &str, value: &str) -> Result<()> {
    File::options()
        .write(true)
        .open(path)
        .and_then(|mut file| file.write_all(value.as_bytes()))
        .with_context(|| format!("setting {path} to \"{value}\""))
}

fn is_permission(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<std::io::Error>()
        .is_some_and(|error| error.kind() == ErrorKind::PermissionDenied)
}
