//! The system below: kernel, BusyBox, memory, mounts, modules, logs, and the agent's own processes.

mod logs;
#[cfg(feature = "audit-formats")]
mod packages;
mod ssh;

use std::fs::File;
use std::io::{self, Read};

use lenscap_audit::facts::{
    Clock, Fact, Facts, Missing, Module, ModuleFile, Mount, Processes, Sandbox, Storage,
};
use lenscap_harden::root::Root;
use lenscap_harden::storage;

use super::processes::{field, text};
pub(super) use ssh::refuses;

use super::{is_absent, missing};
use crate::config::AgentConfig;
use crate::{clock, monitor, sys};

/// The longest of the small tables of `/proc`.
const MAX_TABLE_BYTES: u64 = 64 * 1024;
/// The largest BusyBox.
const MAX_BUSYBOX_BYTES: usize = 4 * 1024 * 1024;
/// What a tree tells too.
#[inline(never)]
pub(super) fn collect(root: &Root, facts: &mut Facts) {
    facts.busybox.becomes(busybox(root));
    #[cfg(feature = "audit-formats")]
    {
        facts.packages.becomes(packages::read(root));
    }
    facts.preload.becomes(preload(root));
    let kernel = if root.is_live() {
        running_kernel(root)
    } else {
        kernel(root)
    };
    facts.kernel.becomes(kernel);
    facts.clock.becomes(Fact::seen(
        "adjtimex",
        Clock {
            now: facts.about.time,
            built: clock::BUILD_TIME,
            kept: sys::clock_synchronised(),
        },
    ));
}

/// What only a running camera tells.
#[inline(never)]
pub(super) fn collect_live(root: &Root, agent: &AgentConfig, facts: &mut Facts) {
    facts.memory.becomes(memory(root));
    facts.modules.becomes(modules(root));
    let table = mount_table(root);
    let mounts = match &table {
        Ok(table) => Fact::seen("/proc/mounts", table.lines().filter_map(mount).collect()),
        Err(error) => Fact::missing("/proc/mounts", missing(error)),
    };
    facts.mounts.becomes(mounts);
    facts.storage.becomes(state_storage(root, agent, table));
    facts.logs = logs::read(root);
    facts.sandbox.becomes(sandbox(root, &facts.processes));
    facts.ssh_passwords.becomes(ssh::read(root, facts));
    facts.unconfirmed.becomes(unconfirmed(root));
}

#[inline(never)]
fn running_kernel(root: &Root) -> Fact<String> {
    let source = "/proc/sys/kernel/osrelease";
    match text(root, source, 128) {
        Ok(release) => Fact::seen(source, release.trim().to_owned()),
        Err(error) => Fact::missing(source, missing(&error)),
    }
}

/// A tree has the modules of one kernel, as a rule.
#[inline(never)]
fn kernel(root: &Root) -> Fact<String> {
    let source = "/lib/modules";
    let digit = |name: &str| name.starts_with(|c: char| c.is_ascii_digit());
    match root.list(source) {
        Ok(entries) => {
            let mut versions = entries
                .into_iter()
                .map(|entry| entry.name)
                .filter(|name| digit(name));
            match (versions.next(), versions.next()) {
                (Some(one), None) => Fact::seen(source, one),
                _ => Fact::missing(source, Missing::because("does not tell one version")),
            }
        }
        Err(error) => Fact::missing(source, missing(&error)),
    }
}

#[inline(never)]
fn busybox(root: &Root) -> Fact<Option<String>> {
    let source = "/bin/busybox";
    if !root.exists(source) {
        return match root.list("/bin") {
            Ok(_) => Fact::seen(source, None),
            Err(error) => Fact::missing(source, missing(&error)),
        };
    }
    match root.reader(source).and_then(busybox_version) {
        Ok(version) => Fact::seen(source, Some(version)),
        Err(error) => Fact::missing(source, missing(&error)),
    }
}

/// The version behind `BusyBox v` in a program; empty: it is not there.
#[inline(never)]
fn busybox_version(mut file: File) -> io::Result<String> {
    const MARK: &[u8] = b"BusyBox v";
    const OVERLAP: usize = 64;
    let mut window = Vec::with_capacity(16 * 1024 + OVERLAP);
    let mut seen = 0;
    while seen < MAX_BUSYBOX_BYTES {
        let read = (&mut file).take(16 * 1024).read_to_end(&mut window)?;
        seen += read;
        if let Some(at) = window.windows(MARK.len()).position(|part| part == MARK)
            && (at + OVERLAP < window.len() || read == 0)
        {
            let version = window.get(at + MARK.len()..).unwrap_or_default();
            let part = |byte: &&u8| byte.is_ascii_digit() || **byte == b'.';
            return Ok(version
                .iter()
                .take_while(part)
                .map(|byte| char::from(*byte))
                .collect());
        }
        if read == 0 {
            break;
        }
        let cut = window.len().saturating_sub(OVERLAP);
        window.drain(..cut);
    }
    Ok(String::new())
}

#[inline(never)]
fn preload(root: &Root) -> Fact<Option<String>> {
    let source = "/etc/ld.so.preload";
    match root.read(source) {
        Ok(text) => {
            let text = String::from_utf8_lossy(&text).trim().to_owned();
            Fact::seen(source, Some(text).filter(|text| !text.is_empty()))
        }
        Err(error) if is_absent(&error) && root.exists("/etc") => Fact::seen(source, None),
        Err(error) => Fact::missing(source, missing(&error)),
    }
}

#[inline(never)]
fn memory(root: &Root) -> Fact<(u64, u64)> {
    let source = "/proc/meminfo";
    let table = match text(root, source, 8192) {
        Ok(table) => table,
        Err(error) => return Fact::missing(source, missing(&error)),
    };
    let number = |name: &str| field(&table, name).and_then(|value| value.parse::<u64>().ok());
    // Before Linux 3.14 there is no MemAvailable.
    let parts =
        || Some(number("MemFree:")? + number("Cached:").unwrap_or(0) + number("Buffers:").unwrap_or(0));
    match (number("MemTotal:"), number("MemAvailable:").or_else(parts)) {
        (Some(all), Some(left)) => Fact::seen(source, (all, left)),
        _ => Fact::missing(source, Missing::because("does not say")),
    }
}

/// Loaded modules; their files are looked for later.
#[inline(never)]
fn modules(root: &Root) -> Fact<Vec<Module>> {
    let source = "/proc/modules";
    let kernels = "/sys/module";
    // Before the list: what is loaded meanwhile is then in the list.
    let known = match root.list(kernels) {
        Ok(known) => known,
        Err(error) => return Fact::missing(kernels, missing(&error)),
    };
    match text(root, source, MAX_TABLE_BYTES) {
        Ok(table) => {
            let listed = table.lines().filter_map(|line| line.split(' ').next());
            let module = |name: &str, file| Module {
                name: name.to_owned(),
                file,
            };
            let mut all: Vec<Module> = listed.map(|name| module(name, ModuleFile::Nowhere)).collect();
            for entry in known {
                let name = &entry.name;
                // What is built in has no such file; what is just loaded or unloaded says so.
                let state = format!("{kernels}/{name}/initstate");
                if !all.iter().any(|listed| listed.name == *name)
                    && text(root, &state, 8).is_ok_and(|state| state.trim() == "live")
                {
                    all.push(module(name, ModuleFile::Hidden));
                }
            }
            Fact::seen(source, all)
        }
        // A kernel without modules; one that hides everything is another matter.
        Err(error) if is_absent(&error) && root.exists("/proc/net/tcp") => Fact::seen(source, Vec::new()),
        Err(error) => Fact::missing(source, missing(&error)),
    }
}

/// The kernel's table of mounts, if it is whole and is one.
#[inline(never)]
pub(super) fn mount_table(root: &Root) -> io::Result<String> {
    let table = text(root, "/proc/mounts", MAX_TABLE_BYTES + 1)?;
    let why = if table.len() as u64 > MAX_TABLE_BYTES {
        "is longer than what is read of it"
    } else if !table.lines().all(|line| mount(line).is_some()) {
        "holds a line that makes no sense"
    } else if !table.lines().filter_map(mount).any(|mount| mount.point == "/") {
        "shows nothing mounted at /"
    } else {
        return Ok(table);
    };
    Err(io::Error::other(why))
}

fn mount(line: &str) -> Option<Mount> {
    let mount = storage::Mount::parse(line).filter(|mount| mount.point.starts_with('/'))?;
    Some(Mount {
        exec: !mount.options.iter().any(|option| option == "noexec"),
        point: mount.point,
        device: mount.source,
        kind: mount.kind,
    })
}

#[inline(never)]
fn state_storage(
    root: &Root,
    agent: &AgentConfig,
    table: io::Result<String>,
) -> Fact<(Storage, Option<u64>)> {
    let path = agent.state_dir.display().to_string();
    let judged = match table {
        Ok(table) => storage::judge(&table, &path),
        Err(error) => return Fact::missing(path, missing(&error)),
    };
    let storage = match judged {
        storage::Storage::Persistent => Storage::Persistent,
        storage::Storage::Volatile => Storage::Volatile,
        storage::Storage::ReadOnly => Storage::ReadOnly,
        storage::Storage::Unknown => {
            return Fact::missing(path, Missing::because("what holds it is not known"));
        }
    };
    let free = root.free_bytes(&path);
    Fact::seen(path, (storage, free))
}

#[inline(never)]
fn sandbox(root: &Root, processes: &Fact<Processes>) -> Fact<Option<Sandbox>> {
    let list = match &processes.value {
        Ok(processes) => &processes.list,
        Err(why) => return Fact::missing(processes.source.clone(), why.clone()),
    };
    // The agent itself, or the one process of those that were not started by root.
    let agent = list.iter().find(|process| {
        let mut words = process.words.split(' ');
        let program = words.next().unwrap_or_default().rsplit('/').next();
        let command = words.next().unwrap_or_default();
        let own = command == monitor::AGENT_COMMAND || command == "run" && process.uid != Some(0);
        own && (program == Some("lenscap") || program == Some("exe"))
    });
    let Some(agent) = agent else {
        return whole(processes).unwrap_or_else(|| Fact::seen("/proc", None));
    };
    let source = format!("/proc/{}/status", agent.pid);
    let status = match text(root, &source, 4096) {
        Ok(status) => status,
        Err(error) => return Fact::missing(source, missing(&error)),
    };
    let is = |name: &str, wanted: &str| field(&status, name).is_some_and(|value| value == wanted);
    let sandbox = Sandbox {
        pid: agent.pid,
        user: field(&status, "Uid:").is_some_and(|uid| uid != "0"),
        capabilities: is("CapEff:", "0000000000000000") && is("CapPrm:", "0000000000000000"),
        no_new_privs: is("NoNewPrivs:", "1"),
        seccomp: is("Seccomp:", "2"),
    };
    Fact::seen(source, Some(sandbox))
}

/// That something does not run is known only if all that runs is.
fn whole<T>(processes: &Fact<Processes>) -> Option<Fact<T>> {
    let doubt = processes.value()?.doubt()?;
    Some(Fact::missing("/proc", Missing::because(doubt)))
}

#[inline(never)]
fn unconfirmed(root: &Root) -> Fact<bool> {
    let folder = lenscap_harden::engine::STATE_DIR;
    match root.list(folder) {
        Ok(entries) => {
            let waits = entries.iter().any(|entry| entry.name == "unconfirmed");
            Fact::seen(folder, waits)
        }
        Err(error) if is_absent(&error) => Fact::seen(folder, false),
        Err(error) => Fact::missing(folder, missing(&error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Seek as _, Write as _};

    pub(super) fn file(contents: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(contents).unwrap();
        file.rewind().unwrap();
        file
    }

    #[test]
    fn busybox_tells_its_version_wherever_it_stands() {
        for before in [0, 5, 16_380, 16_384 - 4, 40_000] {
            let mut program = vec![0; before];
            program.extend_from_slice(b"BusyBox v1.36.1 (2024-01-01)\0");
            program.resize(before + 50_000, 0);
            assert_eq!(busybox_version(file(&program)).unwrap(), "1.36.1", "{before}");
            program.truncate(before + 15);
            assert_eq!(busybox_version(file(&program)).unwrap(), "1.36.1", "{before}");
        }
        assert_eq!(busybox_version(file(b"nothing")).unwrap(), "");
    }
}
