//! `lenscap apart`: a streamer in a network namespace of its own, where nothing filters.
//!
//! Its network has a loopback interface and nothing else, so nobody reaches it and it reaches nobody, whatever it listens
//! on. One process, the relay, has both networks: the doors that it opened on the camera's own loopback interface before
//! it left, and the other side. It has no privilege, and carries bytes of TCP that it does not read.
//!
//! A start script has `$(lenscap apart) streamer`: without words this says how to start a program there, or nothing where
//! that cannot be had, and then the streamer starts as ever. The same holds when something fails: a camera without video
//! is worse than one whose streamer is open.

use std::fs::{self, File};
use std::io::{self, BufRead as _, Read as _, Seek as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use lenscap_harden::firewall::START;
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::cli::{EXIT_FAILURE, EXIT_OK};
use crate::config::{self, Config, DEFAULT_PATH, HardenMode};
use crate::sys;

/// The command; it is in no help text.
pub const COMMAND: &str = "apart";
/// There where the kernel has network namespaces.
const OWN_NETWORK: &str = "/proc/self/ns/net";
const RELAY: &str = "--relay";
/// Locked by the relay as long as it lives, with its process in it.
const LOCK: &str = "apart";
/// The relay's user, of no account: what runs as another program's user can be ended by it.
const OWN_USER: u32 = 61_834;
/// Connections at one time.
const MAX_CONNECTIONS: usize = 32;
const BUFFER_BYTES: usize = 16 * 1024;
/// A thread has its buffer elsewhere.
const STACK_BYTES: usize = 64 * 1024;
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// How often what is not ready is looked for again, and the pause between.
const TRIES: usize = 50;
const PAUSE: Duration = Duration::from_millis(100);
/// As a shell says it of a program that it cannot find.
const EXIT_NOT_FOUND: u8 = 127;

/// How often it is looked whether somebody lives there. After the first, who is named a relay has entered long ago.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// Every network has files of its own, and so another number here.
const NETWORK: &str = "net/dev";

/// How long both sides may be silent: RTSP's sessions say something every minute.
const SILENCE: Duration = Duration::from_secs(180);
/// How long whoever comes may take to say what for, one side may be silent when the other has ended, and bytes may wait for
/// somebody to take them.
const HASTE: Duration = Duration::from_secs(10);

static CONNECTIONS: AtomicUsize = AtomicUsize::new(0);

/// Does what the words after the command say. Gives the exit status; a program that starts replaces this one.
#[must_use]
pub fn main(words: &[&str]) -> u8 {
    match words {
        [] => offer(),
        [RELAY] => match relay() {
            Ok(()) => EXIT_OK,
            Err(error) => {
                eprintln!("lenscap: the streamer's network: {error}");
                EXIT_FAILURE
            }
        },
        [program, arguments @ ..] => start(program, arguments),
    }
}

/// Whether this kernel has network namespaces.
#[must_use]
pub fn has_networks() -> bool {
    fs::symlink_metadata(OWN_NETWORK).is_ok()
}

/// Where the agent reaches the camera's own services.
#[must_use]
pub fn doors(config: &Config) -> Vec<SocketAddr> {
    let mut doors: Vec<SocketAddr> = Vec::new();
    for profile in &config.profiles {
        for door in [
            Some(profile.rtsp_addr),
            profile.snapshot.as_ref().map(|url| url.addr),
        ] {
            doors.extend(door.filter(|door| door.ip().is_loopback() && !doors.contains(door)));
        }
    }
    doors
}

/// Ends the relay, if there is one: its doors are where a streamer in the camera's own network listens.
fn end() {
    let path = lock_path();
    let Ok(lock) = File::open(&path) else { return };
    if lock.try_lock().is_err()
        && let Some(pid) = number_in(&path)
        && kill(pid, Signal::SIGKILL).is_ok()
    {
        // Until it is gone.
        let _ = lock.lock();
    }
}

fn pid(text: &str) -> Option<Pid> {
    let number: i32 = text.trim_end().parse().ok()?;
    (number > 1).then(|| Pid::from_raw(number))
}

fn wanted() -> Option<Config> {
    let config = config::load(Path::new(DEFAULT_PATH)).ok()?.config;
    let wanted = config.harden.streamer.is_some() && config.harden.mode != HardenMode::Off;
    (wanted && !doors(&config).is_empty()).then_some(config)
}

fn offer() -> u8 {
    if wanted().is_some() && has_networks() && sys::is_root() {
        println!("{START}");
        return EXIT_OK;
    }
    end();
    EXIT_FAILURE
}

fn start(program: &str, arguments: &[&str]) -> u8 {
    if let Err(error) = enter() {
        eprintln!("lenscap: {program} starts in the camera's own network: {error}");
    }
    let error = Command::new(program).args(arguments).exec();
    eprintln!("lenscap: {program}: {error}");
    EXIT_NOT_FOUND
}

/// Goes where the relay is, which starts if there is none. One that was about to end is followed by another.
fn enter() -> io::Result<()> {
    let entered = try_to_enter().or_else(|_| try_to_enter());
    if entered.is_err() {
        // Its doors would be in the streamer's way.
        end();
    }
    entered
}

fn try_to_enter() -> io::Result<()> {
    let outside = File::open(OWN_NETWORK)?;
    let mut relay = Command::new("/proc/self/exe")
        .args([COMMAND, RELAY])
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .process_group(0)
        .spawn()?;
    let mut line = String::new();
    if let Some(said) = relay.stdout.take() {
        io::BufReader::new(said).read_line(&mut line)?;
    }
    let pid = pid(&line).ok_or_else(|| io::Error::other("there is no way into it"))?;
    let network = File::open(format!("/proc/{pid}/ns/net"))?;
    setns(network, CloneFlags::CLONE_NEWNET)?;
    if number_in(&lock_path()) == Some(pid) {
        return Ok(());
    }
    setns(outside, CloneFlags::CLONE_NEWNET)?;
    Err(io::ErrorKind::NotConnected.into())
}

fn number_in(path: &Path) -> Option<Pid> {
    pid(&fs::read_to_string(path).ok()?)
}

fn lock_path() -> PathBuf {
    let agent = config::load_agent_leniently(Path::new(DEFAULT_PATH));
    agent.run_dir.join(LOCK)
}

/// Opens the doors, leaves for a network of its own, says its process' number, and carries. One that is there already is
/// named instead.
fn relay() -> io::Result<()> {
    sys::set_process_name(c"lenscap-apart");
    let config = wanted().ok_or_else(|| io::Error::other("the configuration does not ask for it"))?;
    let (mut lock, path) = lock_file(&config.agent.run_dir)?;
    if lock.try_lock().is_err() {
        return name_other(&path);
    }
    lock.set_len(0)?;
    let doors = doors(&config);
    let open: Vec<TcpListener> = doors.iter().map(TcpListener::bind).collect::<io::Result<_>>()?;
    unshare(CloneFlags::CLONE_NEWNET)?;
    sys::loopback_up()?;
    let number = format!("{}\n", std::process::id());
    lock.write_all(number.as_bytes())?;
    sys::become_user(OWN_USER, OWN_USER)?;
    sys::set_no_new_privs()?;
    for (listener, door) in open.into_iter().zip(doors) {
        spawn(move || serve(&listener, door))?;
    }
    print!("{number}");
    io::stdout().flush()?;
    loop {
        thread::sleep(LOOK_EVERY);
        if is_lived_in() {
            continue;
        }
        // Whoever is just coming looks for the number once there.
        lock.set_len(0)?;
        if !is_lived_in() {
            return Ok(());
        }
        lock.rewind()?;
        lock.write_all(number.as_bytes())?;
    }
}

/// Whether another process has this network. Once none has, nobody comes back to it, and the doors are only in the way of
/// a streamer that starts outside.
fn is_lived_in() -> bool {
    let of = |process: &Path| fs::metadata(process.join(NETWORK)).map(|data| data.ino()).ok();
    let own = Path::new("/proc").join(std::process::id().to_string());
    // Where others' cannot be read (`hidepid`) nothing is known.
    let (Some(network), Some(_), Ok(processes)) = (of(&own), of(Path::new("/proc/1")), fs::read_dir("/proc"))
    else {
        return true;
    };
    let is_process = |path: &Path| {
        path.file_name()
            .is_some_and(|name| name.as_bytes()[0].is_ascii_digit())
    };
    processes
        .flatten()
        .map(|entry| entry.path())
        .any(|path| path != own && is_process(&path) && of(&path) == Some(network))
}

fn lock_file(run_dir: &Path) -> io::Result<(File, PathBuf)> {
    fs::create_dir_all(run_dir)?;
    let path = run_dir.join(LOCK);
    let file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)?;
    // Whoever may read it may hold its lock.
    file.set_permissions(fs::Permissions::from_mode(0o600))?;
    Ok((file, path))
}

/// The other may be about to write its number.
fn name_other(path: &Path) -> io::Result<()> {
    for _ in 0..TRIES {
        let text = fs::read_to_string(path)?;
        if pid(&text).is_some() {
            print!("{text}");
            return io::stdout().flush();
        }
        thread::sleep(PAUSE);
    }
    Err(io::ErrorKind::TimedOut.into())
}

fn spawn(work: impl FnOnce() + Send + 'static) -> io::Result<thread::JoinHandle<()>> {
    thread::Builder::new().stack_size(STACK_BYTES).spawn(work)
}

/// Takes what comes to a door.
fn serve(listener: &TcpListener, door: SocketAddr) {
    for arrived in listener.incoming() {
        let Ok(here) = arrived else {
            // Out of descriptors, for example.
            thread::sleep(PAUSE);
            continue;
        };
        if CONNECTIONS.fetch_add(1, Ordering::Relaxed) >= MAX_CONNECTIONS
            || spawn(move || {
                let _ = carry(here, door);
                CONNECTIONS.fetch_sub(1, Ordering::Relaxed);
            })
            .is_err()
        {
            CONNECTIONS.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// What both directions of a connection know.
#[derive(Default)]
struct Course {
    /// Whoever came has said something.
    begun: AtomicBool,
    /// A direction has come to its end.
    half: AtomicBool,
    /// Counts what was carried.
    carried: AtomicU32,
}

/// This thread's network is the streamer's.
fn carry(here: TcpStream, door: SocketAddr) -> io::Result<()> {
    let there = TcpStream::connect_timeout(&door, CONNECT_WITHIN)?;
    for side in [&here, &there] {
        side.set_nodelay(true)?;
        side.set_read_timeout(Some(HASTE))?;
        side.set_write_timeout(Some(HASTE))?;
    }
    let (here_too, there_too) = (here.try_clone()?, there.try_clone()?);
    let course = Arc::new(Course::default());
    let course_too = Arc::clone(&course);
    let back = spawn(move || pump(there_too, here_too, &course_too, false))?;
    pump(here, there, &course, true);
    drop(back.join());
    Ok(())
}

/// Carries one direction to its end. A connection with nothing on its way gives its place to another.
fn pump(mut from: TcpStream, mut to: TcpStream, course: &Course, inwards: bool) {
    let mut buffer = vec![0; BUFFER_BYTES];
    let (mut seen, mut silent) = (0, Duration::ZERO);
    loop {
        match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => {
                course.begun.fetch_or(inwards, Ordering::Relaxed);
                course.carried.fetch_add(1, Ordering::Relaxed);
                if to.write_all(buffer.get(..length).unwrap_or_default()).is_err() {
                    let _ = from.shutdown(Shutdown::Both);
                    break;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let carried = course.carried.load(Ordering::Relaxed);
                silent = if carried == seen {
                    silent + HASTE
                } else {
                    Duration::ZERO
                };
                seen = carried;
                let patient = course.begun.load(Ordering::Relaxed) && !course.half.load(Ordering::Relaxed);
                if !silent.is_zero() && (!patient || silent >= SILENCE) {
                    let _ = from.shutdown(Shutdown::Both);
                    let _ = to.shutdown(Shutdown::Both);
                    break;
                }
            }
            Err(_) => break,
        }
    }
    course.half.store(true, Ordering::Relaxed);
    let _ = to.shutdown(Shutdown::Write);
    let _ = from.shutdown(Shutdown::Read);
}
