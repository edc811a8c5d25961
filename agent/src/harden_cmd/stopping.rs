//! Processes of a running camera: those that read their tables again, those that are stopped, and those that start again.

use core::time::Duration;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use lenscap_harden::engine::{self, Plan, Settings};
use lenscap_harden::journal::Journal;
use lenscap_harden::listeners::{self, Close, Listener, Process};
use lenscap_harden::root::{Root, name_of};
use lenscap_harden::survey::contains;
use lenscap_harden::transaction::Store;
use lenscap_harden::{proof, respawn, telnet};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::live::{boot_id, start_apart, telnet_waits};
use super::unknown;
use crate::cli::Stop;
use crate::sys;

/// How long processes that were told to end may take, and how often they are looked at: before Linux 5.3 nothing tells
/// of the end of a process that is not a child.
const END_WITHIN: Duration = Duration::from_secs(2);
const END_PAUSE: Duration = Duration::from_millis(20);
/// The most processes that are started again.
const MAX_STOPPED: usize = 16;
/// What restarts one at once has done so by then, BusyBox's init after a second; nothing tells that a firmware starts it
/// again.
const RESTARTED_WITHIN: Duration = Duration::from_millis(1200);
/// Loops of cameras look every ten seconds.
const LOOPED_WITHIN: Duration = Duration::from_secs(12);
/// What comes back that often is left.
const MAX_COMEBACKS: usize = 3;

/// Has init and inetd read tables again that a plan changed, and waits for inetd to close what lines were taken out for.
pub(super) fn renew(root: &Root, settings: &Settings, plan: &Plan<'_>) -> Result<(), Stop> {
    let files = || plan.edits.files();
    let removed: usize = files().map(telnet::inetd_lines).sum();
    let before = listeners::inetd(&listeners::read(root).unwrap_or_default());
    let mut pids: Vec<u32> = before.iter().map(|(pid, _)| *pid).collect();
    pids.dedup();
    let waits = removed > 0 && !before.is_empty();
    let mut kept = Ok(());
    if waits {
        let owed = removed + inetd_unread(root, settings).map_or(0, |(owed, _)| owed);
        let note = format!("{} {owed} {}", boot_id(root)?, sockets(&before).join(" "));
        // Before it is told: whatever becomes of this run, it is not believed.
        kept = engine::keep(root, settings, engine::INETD, &note).map_err(unknown);
    }
    renew_init(root, plan);
    let tables = files().map(|(path, _)| path);
    hang_up(root, tables.filter(|path| name_of(path) != "inittab"), pids);
    let deadline = sys::monotonic() + END_WITHIN;
    while waits && inetd_unread(root, settings).is_some() && sys::monotonic() < deadline {
        std::thread::sleep(END_PAUSE);
    }
    kept
}

/// How many sockets inetd still has of those for which its table has no lines any more, since it was told to read that
/// again, and what to tell then: what is open is what counts, not what a table says.
pub(super) fn inetd_unread(root: &Root, settings: &Settings) -> Option<(usize, String)> {
    let note = engine::kept(root, settings, engine::INETD);
    let mut words = note.split_whitespace();
    // After a boot it has read its table.
    let boot = words.next()?;
    if boot_id(root).is_ok_and(|now| now != boot) {
        return None;
    }
    let owed: usize = words.next()?.parse().ok()?;
    let before: Vec<&str> = words.collect();
    let now = listeners::read(root).ok();
    let now = now.map(|listeners| sockets(&listeners::inetd(&listeners)));
    // What cannot be told is as it was.
    let mut still = before.clone();
    still.retain(|socket| {
        now.as_ref()
            .is_none_or(|now| now.iter().any(|have| have == socket))
    });
    let owed = owed.saturating_sub(before.len() - still.len());
    let ports = still.iter().filter_map(|socket| socket.split(':').nth(1));
    let ports: Vec<&str> = ports.collect();
    let text = format!(
        "inetd still listens on port {}, though lines of its table are gone: what they started may be open until it, or \
         the camera, starts again",
        ports.join(", ")
    );
    (owed > 0).then_some((owed, text))
}

fn sockets(inetd: &[(u32, u16)]) -> Vec<String> {
    inetd.iter().map(|(pid, port)| format!("{pid}:{port}")).collect()
}

/// Has those read their tables again that have them among these files.
fn hang_up<'p>(root: &Root, changed: impl Iterator<Item = &'p str>, mut inetd: Vec<u32>) {
    for path in changed {
        let pids = match name_of(path) {
            // Others than BusyBox's may take that signal for something else.
            "inittab" if respawn::is_init(root) => vec![1],
            "inetd.conf" => std::mem::take(&mut inetd),
            _ => Vec::new(),
        };
        for pid in pids {
            signal(pid, Some(Signal::SIGHUP));
        }
    }
}

fn signal(pid: u32, signal: Option<Signal>) -> bool {
    i32::try_from(pid).is_ok_and(|pid| kill(Pid::from_raw(pid), signal).is_ok())
}

/// After files were put back: init and inetd read them, and what gave a login and was stopped starts again.
pub(super) fn revive(root: &Root, restored: &[String], stopped: &str) {
    if !root.is_live() {
        return;
    }
    let paths = restored.iter().map(String::as_str);
    hang_up(root, paths, listeners::named(root, "inetd"));
    if stopped.is_empty() {
        return;
    }
    // Some have somebody who starts them.
    std::thread::sleep(END_WITHIN);
    let listeners = listeners::read(root).unwrap_or_default();
    let running: Vec<String> = processes(&listeners).map(command_line).collect();
    let here = |line: &&str| running.iter().any(|have| have == line);
    for line in stopped.lines().filter(|line| !here(line)) {
        let mut words = line.split('\0');
        let (program, name) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        // It must not be what somebody else put there meanwhile.
        let about = root.attributes(program);
        if about.is_ok_and(|file| file.uid == 0 && file.mode & 0o022 == 0) {
            let _ = start_apart(Command::new(program).arg0(name).args(words));
        }
    }
}

fn processes(listeners: &[Listener]) -> impl Iterator<Item = &Process> {
    listeners.iter().flat_map(|listener| &listener.processes)
}

/// A process's program and words, in one line.
fn command_line(process: &Process) -> String {
    let program = process.program.as_deref().unwrap_or_default();
    format!("{program}\0{}", process.words.join("\0")).replace('\n', " ")
}

/// Keeps what is to start again if nobody confirms. What another than root runs, root must not. Where all files of telnet's
/// are confirmed, none of them comes back, and neither does it.
fn note_stopped(root: &Root, settings: &Settings, journal: &Journal, listeners: &[Listener], told: &[u32]) {
    let mut waiting = Vec::new();
    waiting.extend(engine::waiting(root, settings).ok().flatten());
    waiting.extend(proof::unproven(root, settings).into_iter().map(|(_, of)| of));
    if told.is_empty() || waiting.is_empty() || telnet_waits(journal, settings, &waiting) == Some(false) {
        return;
    }
    let mut note = engine::kept(root, settings, engine::STOPPED);
    for process in processes(listeners).filter(|process| told.contains(&process.pid)) {
        let line = command_line(process);
        let status = root.head(&format!("/proc/{}/status", process.pid), 1024);
        let roots = contains(&status.unwrap_or_default(), b"\nUid:\t0\t0\t");
        if roots && note.lines().count() < MAX_STOPPED && !note.lines().any(|have| have == line) {
            note.push_str(&line);
            note.push('\n');
        }
    }
    if !note.is_empty() {
        // Without it they start with the camera.
        let _ = engine::keep(root, settings, engine::STOPPED, &note);
    }
}

/// Has init read its table again where a plan took lines out of it: what it starts again is in its memory.
fn renew_init(root: &Root, plan: &Plan<'_>) {
    if plan.edits.files().any(telnet::is_inittab) && respawn::is_init(root) {
        signal(1, Some(Signal::SIGHUP));
    }
}

/// The processes that give a shell to the network, or a service that is to be closed, and may be stopped.
pub(super) fn shells(root: &Root, close: Close) -> Vec<u32> {
    listeners::stoppable(&listeners::read(root).unwrap_or_default(), close)
}

/// Ends them, and loops that start them again, if they do. Says how many processes that were, and whether one came back
/// and stayed. `patient`: where something may start them again, that is waited for.
pub(super) fn stop_shells(root: &Root, settings: &Settings, patient: bool) -> (usize, bool) {
    let end = |pids: &[u32]| {
        for pid in pids {
            signal(*pid, Some(Signal::SIGTERM));
        }
        let deadline = sys::monotonic() + END_WITHIN;
        while pids.iter().any(|pid| signal(*pid, None)) && sys::monotonic() < deadline {
            std::thread::sleep(END_PAUSE);
        }
    };
    let journal = Store::new(root, &settings.state_dir)
        .journal()
        .unwrap_or_default();
    let mut until = Duration::ZERO;
    let mut told: Vec<u32> = Vec::new();
    for comebacks in 0..=MAX_COMEBACKS {
        let mut back = loop {
            let mut back = shells(root, settings.close);
            back.retain(|pid| !told.contains(pid));
            if !back.is_empty() {
                break back;
            }
            if sys::monotonic() >= until {
                return (told.len(), false);
            }
            std::thread::sleep(RESTARTED_WITHIN);
        };
        let listeners = listeners::read(root).unwrap_or_default();
        let mut starters = respawn::starters(root, &listeners, &back, &journal);
        let wait = patient && (comebacks > 0 || !starters.is_empty());
        if comebacks > 0 {
            starters.retain(|(_, may_end)| *may_end);
            if starters.is_empty() || comebacks == MAX_COMEBACKS {
                break;
            }
            let starters: Vec<u32> = starters.into_iter().map(|(pid, _)| pid).collect();
            end(&starters);
        }
        note_stopped(root, settings, &journal, &listeners, &back);
        end(&back);
        told.append(&mut back);
        until = sys::monotonic() + if wait { LOOPED_WITHIN } else { RESTARTED_WITHIN };
    }
    (told.len(), true)
}
