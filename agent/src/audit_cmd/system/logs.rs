//! What the system logged: kernel, files, and what is kept in memory.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Read, Seek as _, SeekFrom};
use std::os::fd::AsFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::process::{ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use lenscap_audit::facts::{Fact, Log, Missing};
use lenscap_harden::root::Root;

use super::super::{is_absent, missing};
use crate::sys;

/// The most records of the kernel's log, and the bytes from the end of others, that are read.
const MAX_RECORDS: u32 = 65_536;
const MAX_LOG_BYTES: u64 = 128 * 1024;
/// The longest line of a log that is looked at.
const MAX_LINE_BYTES: u64 = 1024;
/// Where systems log.
const LOGS: &[&str] = &[
    "/var/log/messages",
    "/var/log/syslog",
    "/var/log/auth.log",
    "/tmp/messages",
];
/// Programs that show a log that is kept in memory, and how long they may take.
const LOG_READERS: &[&str] = &[
    "/sbin/logread",
    "/usr/sbin/logread",
    "/bin/logread",
    "/usr/bin/logread",
];
const LOG_READER_LIMIT: Duration = Duration::from_secs(5);

#[inline(never)]
pub(super) fn read(root: &Root) -> Vec<Fact<Log>> {
    let mut logs = vec![match kernel_log() {
        Ok(log) => Fact::seen("/dev/kmsg", log),
        Err(error) => Fact::missing("/dev/kmsg", missing(&error)),
    }];
    let before = logs.len();
    for path in LOGS {
        match root.reader(path).and_then(tail) {
            Ok(log) => logs.push(Fact::seen(*path, log)),
            Err(error) if is_absent(&error) => {}
            Err(error) => logs.push(Fact::missing(*path, missing(&error))),
        }
    }
    let program = LOG_READERS
        .iter()
        .find(|path| root.is_live() && root.exists(path));
    match program.map(|program| (*program, memory_log(program))) {
        // It is there for a log that is in a file, too.
        Some((program, Ok(log))) if log.lines > 0 => logs.push(Fact::seen(program, log)),
        Some((program, Err(error))) => logs.push(Fact::missing(program, missing(&error))),
        Some((_, Ok(_))) | None if logs.len() == before => {
            let why = "there is no file of the system's log, and logread shows none";
            logs.push(Fact::missing("/var/log", Missing::because(why)));
        }
        Some((_, Ok(_))) | None => {}
    }
    logs
}

/// One record a read, from the oldest on, without waiting for more.
#[inline(never)]
fn kernel_log() -> io::Result<Log> {
    let flags = nix::libc::O_NONBLOCK;
    let mut file = OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open("/dev/kmsg")?;
    let mut log = Log::default();
    let mut record = [0; 2048];
    for _ in 0..MAX_RECORDS {
        match file.read(&mut record) {
            Ok(0) => break,
            Ok(length) => count(&mut log, record.get(..length).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            // Records were overwritten while they were read.
            Err(error) if error.raw_os_error() == Some(nix::libc::EPIPE) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(log)
}

#[inline(never)]
fn tail(mut file: File) -> io::Result<Log> {
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(MAX_LOG_BYTES)))?;
    lines(&mut file)
}

/// What a log says; of one that has no end to start from, its first lines.
fn lines(text: &mut dyn Read) -> io::Result<Log> {
    let mut log = Log::default();
    let mut text = BufReader::new(text.take(MAX_LOG_BYTES));
    let mut line = Vec::new();
    loop {
        line.clear();
        if (&mut text).take(MAX_LINE_BYTES).read_until(b'\n', &mut line)? == 0 {
            break;
        }
        count(&mut log, &line);
    }
    Ok(log)
}

/// The log that BusyBox' syslogd or OpenWrt's logd keeps in memory, each in a way of its own: their program knows it.
#[inline(never)]
fn memory_log(program: &str) -> io::Result<Log> {
    let mut command = Command::new(program);
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.stderr(Stdio::null()).spawn()?;
    let log = match child.stdout.take() {
        Some(output) => lines(&mut Timely(output, Instant::now() + LOG_READER_LIMIT)),
        None => Ok(Log::default()),
    };
    // One that goes on is not waited for.
    child.kill()?;
    child.wait()?;
    log
}

/// Output that has to end in time.
struct Timely(ChildStdout, Instant);

impl Read for Timely {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.1.saturating_duration_since(Instant::now());
        let [ready] = sys::wait_readable([Some(self.0.as_fd())], Some(left))?;
        if ready {
            self.0.read(buffer)
        } else {
            Err(io::ErrorKind::TimedOut.into())
        }
    }
}

fn count(log: &mut Log, line: &[u8]) {
    const CRASHES: &[&str] = &[
        "segfault at ",
        "unhandled signal",
        "Internal error: Oops",
        "traps: ",
        "sigsegv",
    ];
    const OOMS: &[&str] = &["Out of memory", "oom-killer", "oom_reaper"];
    const FAILURES: &[&str] = &[
        "ad password attempt",
        "ailed password",
        "nvalid password",
        "authentication failure",
        "ogin failed",
        "FAILED LOGIN",
        "attempt for nonexistent user",
    ];
    log.lines += 1;
    let text = String::from_utf8_lossy(line);
    let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
    let counter = if says(CRASHES) {
        &mut log.crashes
    } else if says(OOMS) {
        &mut log.ooms
    } else if says(FAILURES) {
        &mut log.failures
    } else {
        return;
    };
    *counter += 1;
    log.last = masked(text.lines().next().unwrap_or_default());
}

/// A line without what may be a password: what follows such a word, and what stands before a host in a URL.
fn masked(line: &str) -> String {
    const WORDS: &[&str] = &[
        "password",
        "passwd",
        "passphrase",
        "pass",
        "pwd",
        "psk",
        "key",
        "token",
        "secret",
        "bearer",
        "basic",
    ];
    /// What people and programs say behind such a word.
    const HARMLESS: &[&str] = &["attempt", "for", "is", "was"];
    let mut out: Vec<String> = Vec::new();
    let mut hide = false;
    for word in line.split(' ') {
        let lower = word.to_ascii_lowercase();
        let plain = lower.trim_matches(|c: char| !c.is_ascii_alphanumeric());
        if word.is_empty() || hide && (HARMLESS.contains(&plain) || plain.is_empty()) {
            out.push(word.to_owned());
            continue;
        }
        if hide {
            out.push("…".into());
            hide = WORDS.contains(&plain);
            continue;
        }
        // `…password=x`, `"token":"x"`: shown as far as the sign.
        let named = |at: &usize| {
            let before = lower.get(..*at).unwrap_or_default().trim_end_matches(['"', '\'']);
            WORDS.iter().any(|name| before.ends_with(name))
        };
        let sign = lower.match_indices(['=', ':']).map(|(at, _)| at).find(named);
        if let Some(at) = sign {
            let behind = word.get(at + 1..).unwrap_or_default();
            hide = behind.trim_matches(['"', '\'']).is_empty();
            let end = if hide { "" } else { "…" };
            out.push(format!("{}{end}", word.get(..=at).unwrap_or_default()));
            continue;
        }
        hide = WORDS.iter().any(|name| plain.ends_with(name));
        out.push(
            match word
                .split_once("://")
                .and_then(|(scheme, rest)| Some((scheme, rest.rsplit_once('@')?)))
            {
                Some((scheme, (_, host))) => format!("{scheme}://…@{host}"),
                None => word.to_owned(),
            },
        );
    }
    out.join(" ")
}

#[cfg(test)]
mod tests {
    use super::super::tests::file;
    use super::*;

    #[test]
    fn what_may_be_a_password_is_not_quoted() {
        for line in [
            "login failed: password=geheim for root",
            "login failed, password: geheim",
            "login failed {\"token\":\"geheim\",\"user\":1}",
            "login failed: --PASSWD geheim",
            "login failed: WPA_PSK='geheim'",
            "login failed: the secret is geheim",
            "login failed: rtsp://admin:geheim@192.0.2.1/x",
            "login failed: Authorization: Basic geheim",
        ] {
            let log = tail(file(line.as_bytes())).unwrap();
            assert!(
                !log.last.contains("geheim") && log.last.starts_with("login failed"),
                "{}",
                log.last
            );
        }
        let line = "dropbear[9]: Bad password attempt for 'root' from 192.0.2.1:99";
        assert!(masked(line).ends_with("from 192.0.2.1:99"), "{}", masked(line));
    }

    #[test]
    fn logs_tell_of_what_went_wrong() {
        let text = "6,1,1,-;x[12]: segfault at 0 ip 0\nfine\nOut of memory: Killed process 7\ndropbear[9]: Bad password attempt for 'root' from 192.0.2.1\n";
        let log = tail(file(text.as_bytes())).unwrap();
        assert_eq!((log.lines, log.crashes, log.ooms, log.failures), (4, 1, 1, 1));
        assert!(log.last.starts_with("dropbear[9]"));
        // The last is read, however short all are.
        let long = "x\n".repeat(1_000_000) + "Out of memory: Killed process 7\n";
        let long = tail(file(long.as_bytes())).unwrap();
        assert_eq!(long.ooms, 1);
        assert!(u64::from(long.lines) <= MAX_LOG_BYTES);
    }
}
