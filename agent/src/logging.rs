//! Where log lines go: standard error with a time, or the system's log (`/dev/log`, RFC 3164), which adds its own.
//!
//! Logging never fails. A line that the system's log does not take at once is dropped, and the next one says how many were;
//! standard error is waited for, so whoever started the program must read it.

use std::io::{self, Write};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use log::{Level, LevelFilter, Log, Metadata, Record};

use crate::clock::timestamp;
use crate::config::LogTarget;
use crate::sys;

/// The socket of the system's log.
const DEV_LOG: &str = "/dev/log";
/// The longest line, in bytes: RFC 3164, section 4.1, and BusyBox' syslogd takes no more.
const MAX_SYSLOG_BYTES: usize = 1024;
/// `LOG_DAEMON` of syslog(3).
const FACILITY: u8 = 3;

/// How soon a new socket is asked for again.
const ASK_AGAIN: Duration = Duration::from_secs(5);

/// Where a socket goes that comes from outside.
static HANDOVER: OnceLock<Arc<Mutex<State>>> = OnceLock::new();

/// Starts logging. Call it once: the target stays as it is for the life of the process, and later calls change the
/// level alone.
pub fn init(target: LogTarget, level: LevelFilter) {
    let logger: Box<dyn Log> = match target {
        LogTarget::Stderr => line_logger(io::stderr()),
        LogTarget::Syslog => {
            let syslog = Syslog::new(PathBuf::from(DEV_LOG));
            // Before the file system is given up.
            syslog.open();
            let _ = HANDOVER.set(Arc::clone(&syslog.state));
            Box::new(syslog)
        }
    };
    // A second call fails here, and that is right.
    let _ = log::set_boxed_logger(logger);
    log::set_max_level(level);
}

/// A new socket of the system's log, which never blocks.
///
/// # Errors
/// When nobody listens there.
pub fn connect() -> io::Result<UnixDatagram> {
    connect_to(Path::new(DEV_LOG))
}

/// Whether lines were lost and a new socket is wanted, which can only come from outside: the log's program was started
/// again, and this process has no file system to find it in. True at most once in a while.
#[must_use]
pub fn wants_socket(now: Duration) -> bool {
    let Some(state) = HANDOVER.get() else { return false };
    let mut state = lock(state);
    let wanted = state.dropped > 0 && now >= state.ask_at;
    if wanted {
        state.ask_at = now + ASK_AGAIN;
    }
    wanted
}

/// Takes a socket as [`connect`] makes them.
pub fn take_socket(socket: UnixDatagram) {
    if let Some(state) = HANDOVER.get() {
        lock(state).socket = Some(socket);
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A logger of our own: simplelog brings the time crate along, and both are 8 kB of compressed flash.
fn line_logger(out: impl Write + Send + 'static) -> Box<dyn Log> {
    Box::new(Lines { out: Mutex::new(out) })
}

/// Line ends and terminal escapes are no part of a message.
fn printable(text: &str) -> impl Iterator<Item = char> + '_ {
    text.chars().map(|c| if c.is_control() { ' ' } else { c })
}

/// Writes each record as one line and at once, whatever a peer put into it: time, level, where it comes from if that is for
/// developers, text.
struct Lines<W> {
    out: Mutex<W>,
}

impl<W: Write + Send> Log for Lines<W> {
    fn enabled(&self, _metadata: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let mut line = format!("{} [{:<5}] ", timestamp(sys::realtime()), record.level().as_str());
        if record.level() >= Level::Debug {
            line += record.target();
            line += ": ";
        }
        line.extend(printable(&record.args().to_string()));
        line.push('\n');
        let _ = self
            .out
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .write_all(line.as_bytes());
    }

    fn flush(&self) {}
}

/// Sends each line as one datagram.
struct Syslog {
    path: PathBuf,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    socket: Option<UnixDatagram>,
    dropped: u32,
    /// No new socket is asked for before this.
    ask_at: Duration,
}

impl Syslog {
    fn new(path: PathBuf) -> Self {
        Self {
            path,
            state: Arc::default(),
        }
    }

    fn open(&self) {
        lock(&self.state).socket = connect_to(&self.path).ok();
    }
}

impl Log for Syslog {
    fn enabled(&self, _metadata: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let mut state = lock(&self.state);
        if state.dropped > 0 {
            let note = format!(
                "{} lines were lost, as the system's log did not take them",
                state.dropped
            );
            if send(&self.path, &mut state.socket, Level::Warn, &note) {
                state.dropped = 0;
            }
        }
        if !send(
            &self.path,
            &mut state.socket,
            record.level(),
            &record.args().to_string(),
        ) {
            state.dropped = state.dropped.saturating_add(1);
        }
    }

    fn flush(&self) {}
}

/// Sends a line, over a new socket if the old one is dead (the log's program was started again).
fn send(path: &Path, socket: &mut Option<UnixDatagram>, level: Level, text: &str) -> bool {
    let line = syslog_line(level, text);
    if let Some(open) = socket {
        match open.send(&line) {
            Ok(_) => return true,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
            Err(_) => *socket = None,
        }
    }
    let Ok(fresh) = connect_to(path) else {
        return false;
    };
    let sent = fresh.send(&line).is_ok();
    *socket = Some(fresh);
    sent
}

fn connect_to(path: &Path) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    socket.connect(path)?;
    Ok(socket)
}

/// `<PRI>lenscap[PID]: TEXT`. Without a time, as the log's program adds its own on reception.
fn syslog_line(level: Level, text: &str) -> Vec<u8> {
    let severity = match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    };
    let head = format!("<{}>lenscap[{}]: ", FACILITY * 8 + severity, std::process::id());
    let mut line = head.into_bytes();
    for c in printable(text) {
        if line.len() + c.len_utf8() > MAX_SYSLOG_BYTES {
            break;
        }
        line.extend(c.encode_utf8(&mut [0; 4]).as_bytes());
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn log(logger: &dyn Log, level: Level, text: &str) {
        logger.log(
            &Record::builder()
                .level(level)
                .target("test")
                .args(format_args!("{text}"))
                .build(),
        );
    }

    fn received(socket: &UnixDatagram) -> Option<String> {
        let mut bytes = [0; 2048];
        let length = socket.recv(&mut bytes).ok()?;
        Some(String::from_utf8(bytes[..length].to_vec()).unwrap())
    }

    fn listen(path: &Path) -> UnixDatagram {
        let _ = std::fs::remove_file(path);
        let socket = UnixDatagram::bind(path).unwrap();
        socket.set_nonblocking(true).unwrap();
        socket
    }

    #[test]
    fn lines_reach_the_system_log_with_their_priority() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let server = listen(&path);
        let logger = Syslog::new(path);
        for (level, priority) in [
            (Level::Error, 27),
            (Level::Warn, 28),
            (Level::Info, 30),
            (Level::Debug, 31),
        ] {
            log(&logger, level, "two\nlines");
            let expected = format!("<{priority}>lenscap[{}]: two lines", std::process::id());
            assert_eq!(received(&server), Some(expected));
        }
    }

    #[test]
    fn a_log_that_comes_and_goes_is_found_again_and_told_of_lost_lines() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let logger = Syslog::new(path.clone());
        log(&logger, Level::Info, "nobody");
        let server = listen(&path);
        log(&logger, Level::Info, "first");
        assert!(received(&server).unwrap().contains("1 lines were lost"));
        assert!(received(&server).unwrap().ends_with("first"));
        drop(server);
        log(&logger, Level::Info, "lost");
        let server = listen(&path);
        log(&logger, Level::Info, "second");
        assert!(received(&server).unwrap().contains("1 lines were lost"));
        assert!(received(&server).unwrap().ends_with("second"));
    }

    #[test]
    fn a_log_that_takes_nothing_is_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let server = listen(&path);
        let logger = Syslog::new(path);
        for _ in 0..5000 {
            log(&logger, Level::Info, &"x".repeat(900));
        }
        while received(&server).is_some() {}
        log(&logger, Level::Info, "again");
        assert!(received(&server).unwrap().contains("lines were lost"));
        assert!(received(&server).unwrap().ends_with("again"));
    }

    #[test]
    fn lines_on_standard_error_have_a_time_and_are_written_at_once() {
        #[derive(Clone, Default)]
        struct Writes(std::sync::Arc<Mutex<Vec<Vec<u8>>>>);
        impl Write for Writes {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0.lock().unwrap().push(bytes.to_vec());
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let writes = Writes::default();
        let logger = line_logger(writes.clone());
        log(&*logger, Level::Info, "a");
        log(&*logger, Level::Warn, "b");
        let written = writes.0.lock().unwrap();
        let written: Vec<_> = written.iter().map(|line| String::from_utf8_lossy(line)).collect();
        assert_eq!(written.len(), 2);
        for (line, end) in written.iter().zip(["Z [INFO ] a\n", "Z [WARN ] b\n"]) {
            assert!(line.starts_with("20") && line.ends_with(end), "{line}");
        }
    }

    #[test]
    fn what_a_peer_says_is_one_line_without_controls() {
        #[derive(Clone, Default)]
        struct Shared(std::sync::Arc<Mutex<Vec<u8>>>);
        impl Write for Shared {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0.lock().unwrap().write(bytes)
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let written = Shared::default();
        let logger = line_logger(written.clone());
        log(
            &*logger,
            Level::Warn,
            "a\n2026-11-22T10:30:00Z [ERROR] b\r\u{1b}[2Jc",
        );
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        assert!(
            text.ends_with("a 2026-11-22T10:30:00Z [ERROR] b  [2Jc\n"),
            "{text}"
        );
        assert_eq!(text.chars().filter(|c| c.is_control()).count(), 1);
    }

    proptest! {
        #[test]
        fn any_text_is_one_line_of_bounded_length(text in "\\PC{0,50}|[\\n\\x00-\\x1fé]{0,900}") {
            let line = String::from_utf8(syslog_line(Level::Info, &text)).unwrap();
            prop_assert!(line.len() <= MAX_SYSLOG_BYTES && !line.chars().any(char::is_control));
        }
    }
}
