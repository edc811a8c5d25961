//! On a running camera: the facts that decide, the owner's confirmation, and processes that are stopped.

use core::time::Duration;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use lenscap_harden::engine::{self, Settings};
use lenscap_harden::firewall::{Allowed, Policy};
use lenscap_harden::firmware::{Tried, recognise};
use lenscap_harden::gate::{CONFIRM_WITHIN, Decision, Due, Mode, OwnerFacts, Situation, decide, owner_path};
use lenscap_harden::listeners;
use lenscap_harden::report::Measure;
use lenscap_harden::root::{Root, folder_of};
use lenscap_harden::storage::{self, Storage};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{Request, Stop, failed, lock, recover, say, unknown};
use crate::cli::{EXIT_FAILURE, EXIT_OK};
use crate::config::{self, HardenMode};
use crate::{firewall, sys};

/// Where authorised SSH keys lie.
const KEYS: &[&str] = &["/etc/dropbear/authorized_keys", "/root/.ssh/authorized_keys"];
/// How long a process that was told to end may take, and what restarts it at once is seen.
const SETTLE: Duration = Duration::from_secs(2);
/// The longest table of mounts.
const MAX_MOUNTS_BYTES: u64 = 64 * 1024;
/// How often a waiting process looks for the confirmation.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Applies the measures that the camera's situation allows.
pub(super) fn apply(request: &Request, root: &Root, mut settings: Settings) -> Result<u8, Stop> {
    if !sys::is_root() {
        return Err(Stop("only root can change this camera".into(), EXIT_FAILURE));
    }
    let boot_id = boot_id(root)?;
    take_back_overdue(root, &settings, &boot_id)?;
    let mut situations = Vec::new();
    for measure in &settings.measures {
        situations.push((*measure, situation(request, root, &settings, *measure)?));
    }
    let mut confirm_needed = false;
    let mut waiting = Vec::new();
    settings.measures.clear();
    for (measure, situation) in &situations {
        match decide(*measure, situation) {
            Decision::Apply { confirm } => {
                confirm_needed |= confirm;
                settings.measures.push(*measure);
            }
            Decision::PlanOnly(why) => waiting.push((*measure, why)),
        }
    }
    for (measure, why) in &waiting {
        say(request, &format!("{measure} is not changed: {}", why.explain()))?;
    }
    let applied_at = confirm_needed.then(|| (boot_id.as_str(), sys::monotonic()));
    let outcome = super::apply(request, root, &settings, applied_at);
    if engine::waiting(root, &settings)
        .map_err(|error| unknown(&error))?
        .is_some()
    {
        wait_in_background()?;
        let minutes = CONFIRM_WITHIN.as_secs() / 60;
        say(
            request,
            &format!("confirm    `lenscap harden --confirm` within {minutes} minutes, or it is taken back"),
        )?;
    }
    let status = outcome?;
    say(
        request,
        "restart    services take new passwords when the camera starts again",
    )?;
    Ok(if waiting.is_empty() { status } else { EXIT_FAILURE })
}

/// The owner is there.
pub(super) fn confirm(request: &Request, root: &Root, settings: &Settings) -> Result<u8, Stop> {
    let _lock = lock(root)?;
    recover(request, root, settings)?;
    let waited = engine::confirm(root, settings).map_err(|error| Stop(error.to_string(), EXIT_FAILURE))?;
    sync_firewall(root, settings, None)?;
    say(
        request,
        if waited {
            "confirmed: it stays"
        } else {
            "nothing waits for a confirmation"
        },
    )?;
    Ok(if waited { EXIT_OK } else { EXIT_FAILURE })
}

/// Waits until there is nothing to wait for.
pub(super) fn roll_back(root: &Root, settings: &Settings) -> Result<u8, Stop> {
    let boot_id = boot_id(root)?;
    loop {
        let waiting = engine::waiting(root, settings).map_err(|error| unknown(&error))?;
        let Some(confirmation) = waiting else {
            return Ok(EXIT_OK);
        };
        match confirmation.due(&boot_id, sys::monotonic()) {
            Due::Wait(left) => std::thread::sleep(left.min(LOOK_EVERY)),
            Due::RollBack => match take_back_overdue(root, settings, &boot_id) {
                Ok(()) => return Ok(EXIT_OK),
                // Another run, or a file system that comes back.
                Err(_) => std::thread::sleep(LOOK_EVERY),
            },
        }
    }
}

fn take_back_overdue(root: &Root, settings: &Settings, boot_id: &str) -> Result<(), Stop> {
    let _lock = lock(root)?;
    engine::recover(root, settings).map_err(|error| Stop(error.to_string(), EXIT_FAILURE))?;
    let waiting = engine::waiting(root, settings).map_err(|error| unknown(&error))?;
    match waiting.map(|confirmation| confirmation.due(boot_id, sys::monotonic())) {
        Some(Due::RollBack) => {
            let before = firewall::record(root, &settings.state_dir);
            engine::roll_back(root, settings).map_err(failed)?;
            sync_firewall(root, settings, before.as_ref())
        }
        Some(Due::Wait(_)) | None => Ok(()),
    }
}

/// Puts the firewall in place again after a boot, or after others' rules were loaded. What the owner has not confirmed
/// is not put in place in another boot than that in which it was applied: switching the camera off is a way out.
pub(super) fn restore(root: &Root, settings: &Settings) -> Result<u8, Stop> {
    let path = firewall::record_path(&settings.state_dir);
    if !root.exists(&path) {
        return Ok(EXIT_OK);
    }
    let waiting = engine::waiting(root, settings).map_err(|error| unknown(&error))?;
    if let Some(confirmation) = waiting
        && confirmation.boot_id != boot_id(root)?
        && (confirmation.paths.is_empty() || confirmation.paths.contains(&path))
    {
        return Err(Stop(
            "the firewall was not confirmed before the camera started again: it waits for `lenscap harden --confirm`"
                .into(),
            EXIT_FAILURE,
        ));
    }
    if firewall::record(root, &settings.state_dir).is_none() {
        return Err(Stop(
            format!("{path} is damaged: `lenscap harden --apply --only firewall` writes it anew"),
            EXIT_FAILURE,
        ));
    }
    sync_firewall(root, settings, None)?;
    Ok(EXIT_OK)
}

/// Makes the kernel's rules agree with what the journal says. A tree has none.
pub(super) fn sync_firewall(root: &Root, settings: &Settings, before: Option<&Policy>) -> Result<(), Stop> {
    if !root.is_live() {
        return Ok(());
    }
    let synced = firewall::sync(root, &settings.state_dir, before);
    synced.map(|_| ()).map_err(|why| Stop(why, EXIT_FAILURE))
}

/// In its own process group, so that the end of the owner's session is not its end.
fn wait_in_background() -> Result<(), Stop> {
    let program =
        std::env::current_exe().or_else(|error| std::env::args_os().next().map(Into::into).ok_or(error));
    let started = program.and_then(|program| {
        Command::new(program)
            .args(["harden", "--roll-back"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
    });
    match started {
        Ok(_) => Ok(()),
        Err(error) => {
            let why =
                format!("nothing waits for the confirmation ({error}): run `lenscap harden --roll-back &`");
            Err(Stop(why, EXIT_FAILURE))
        }
    }
}

fn situation(
    request: &Request,
    root: &Root,
    settings: &Settings,
    measure: Measure,
) -> Result<Situation, Stop> {
    // Without a configuration nobody allowed anything.
    let harden = config::load(&request.config)
        .ok()
        .map(|loaded| loaded.config.harden);
    let mode = match harden.as_ref().map(|harden| harden.mode) {
        Some(HardenMode::Enforce) => Mode::Enforce,
        Some(HardenMode::Off) => Mode::Off,
        Some(HardenMode::Confirm) | None => Mode::Confirm,
    };
    let to_ssh = |text: &String| Allowed::parse(text).is_ok_and(|allowed| allowed.tcp && allowed.port == 22);
    let allowed_lan = harden.is_some_and(|harden| harden.allow_lan.iter().any(to_ssh));
    let facts = OwnerFacts {
        authorised_key: KEYS.iter().any(|path| has_key(root, path)),
        allowed_lan,
        claimed_uplink: false,
        // Behind the firewall a password is of no use but from an allowed address.
        secret_given: request.password_file.is_some() && (measure != Measure::Firewall || allowed_lan),
    };
    let tried = recognise(root).iter().map(|known| known.adapter.tried).min();
    Ok(Situation {
        mode,
        asked: true,
        tried: tried.unwrap_or(Tried::Fixture),
        owner: owner_path(&facts),
        storage: storage(request, root, settings, measure)?,
        bad_boots: 0,
    })
}

fn has_key(root: &Root, path: &str) -> bool {
    let text = root.read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    text.lines()
        .any(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#'))
}

/// Judges where the journal and each file that the measure changes lie. The first that a reboot may lose counts.
fn storage(request: &Request, root: &Root, settings: &Settings, measure: Measure) -> Result<Storage, Stop> {
    let mounts = root
        .head("/proc/mounts", MAX_MOUNTS_BYTES)
        .map_err(|error| unknown(&error))?;
    let mounts = String::from_utf8_lossy(&mounts);
    let mut alone = settings.clone();
    alone.measures = vec![measure];
    let mut checker = engine::checker(root, settings, u64::MAX);
    let plan = super::plan(request, root, &alone, &mut checker)?;
    let paths = plan.edits.files().map(|(path, _)| path);
    for mut path in paths.chain([settings.state_dir.as_str()]) {
        while !root.exists(path) {
            path = folder_of(path);
        }
        let path = root.canonical(path).map_err(|error| unknown(&error))?;
        match storage::judge(&mounts, &path) {
            Storage::Persistent => {}
            other => return Ok(other),
        }
    }
    Ok(Storage::Persistent)
}

fn boot_id(root: &Root) -> Result<String, Stop> {
    let text = root
        .head("/proc/sys/kernel/random/boot_id", 64)
        .map_err(|error| unknown(&error))?;
    Ok(String::from_utf8_lossy(&text).trim().to_owned())
}

/// Ends what gives a shell to the network. Whether it stays away, the next look tells.
pub(super) fn stop_shells(root: &Root) {
    let running = listeners::read(root).unwrap_or_default();
    let mut stopped = false;
    for pid in listeners::stoppable(&running) {
        if let Ok(pid) = i32::try_from(pid) {
            stopped |= kill(Pid::from_raw(pid), Signal::SIGTERM).is_ok();
        }
    }
    if stopped {
        std::thread::sleep(SETTLE);
    }
}
