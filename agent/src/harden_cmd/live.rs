//! On a running camera: the facts that decide, the owner's confirmation, and what is taken back without one.

use core::time::Duration;
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use lenscap_harden::defaults::Checker;
use lenscap_harden::engine::{self, Plan, Settings};
use lenscap_harden::firewall::{Allowed, Policy, is_own};
use lenscap_harden::firmware::Tried;
use lenscap_harden::gate::{
    CONFIRM_WITHIN, Confirmation, Decision, Due, Mode, OwnerPath, Situation, Why, decide, owner_path,
};
use lenscap_harden::journal::Journal;
use lenscap_harden::report::{Finding, Measure, Status};
use lenscap_harden::root::Root;
use lenscap_harden::secret::LoginPassword;
use lenscap_harden::started::stays;
use lenscap_harden::storage::{self, Storage};
use lenscap_harden::survey::Survey;
use lenscap_harden::transaction::Store;
use lenscap_harden::{credentials, proof};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use nix::sys::signal::{SigSet, Signal};

use super::{
    Request, failed, hostkeys, local, lock, recover, refused, say, shown, ssh, stopping, tell, unknown,
};
use crate::cli::{EXIT_FAILURE, EXIT_OK, Stop};
use crate::config::{self, Harden, HardenMode, HardenPassword};
use crate::{firewall, monitor, sys};

/// How often what cannot be waited for is tried: a file system that comes back, a folder that the kernel does not watch.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// How it begins that what is overdue could not be taken back.
pub(super) const NOT_TAKEN_BACK: &str = "what was not confirmed in time is not taken back: ";

/// Only root changes a camera.
pub(super) fn must_be_root() -> Result<(), Stop> {
    if sys::is_root() {
        return Ok(());
    }
    Err(Stop("only root can change this camera".into(), EXIT_FAILURE))
}

/// Applies the measures that the camera's situation allows.
pub(super) fn apply(request: &Request, root: &Root, mut settings: Settings) -> Result<u8, Stop> {
    must_be_root()?;
    let boot_id = boot_id(root)?;
    // What the plans of this run do not tell: what it does not do, and what came of that which is in no file.
    let mut told = Vec::new();
    let credentials = |status, text| Finding::new(Measure::Credentials, status, text);
    if let Err(why) = take_back_overdue(root, &settings, &request.config, &boot_id)?.services {
        told.push(credentials(Status::Fails, why.to_string()));
    }
    // From the first look on: the service's own would come in between.
    let _lock = lock(root)?;
    recover(request, root, &settings)?;
    forget_left(request, root, &settings)?;
    let survey = engine::survey(root, &settings);
    let mut checker = engine::checker(root, &settings, u64::MAX);
    let mut confirm_needed = false;
    let harden = harden_config(&request.config);
    let given = request.password.is_some() || request.password_file.is_some();
    if !given && harden.password == HardenPassword::Lock {
        settings.login_password = LoginPassword::Lock;
    }
    let ways = ssh::ways(
        root,
        Allowed::parse_all(&harden.allow_lan),
        Some(&survey),
        &settings.state_dir,
    );
    let mut measures = core::mem::take(&mut settings.measures);
    // What gives root the owner's password comes before what needs it.
    if let Some(at) = measures
        .iter()
        .position(|measure| *measure == Measure::Credentials)
    {
        measures.swap(0, at);
    }
    settings.proof = shown::way_in(root, request, &boot_id, &ways);
    let mut taken = false;
    for measure in measures {
        let looked = (measure, &harden, &ways);
        let (situation, findings) =
            situation(request, root, &settings, looked, &survey, &mut checker, taken)?;
        let why = match decide(measure, &situation) {
            Decision::Apply { .. } if !given && lacks_secret(&harden, measure) => Why::NoSecret,
            Decision::Apply { confirm } => {
                confirm_needed |= confirm;
                taken |= measure == Measure::Credentials && situation.owner == Some(OwnerPath::Secret);
                settings.measures.push(measure);
                continue;
            }
            Decision::PlanOnly(why) => why,
        };
        told.extend(findings);
        let mut text = format!("{measure} is not changed: {}", why.explain());
        if why == Why::NoOwner {
            text.push_str(&ways.unreached);
            if request.password_file.is_some() {
                text.push_str(
                    "; no SSH server that stays would take the given password from whoever may reach it",
                );
            }
        }
        told.push(Finding::new(measure, Status::Fails, text));
    }
    // Somebody asks: what went wrong at boots before is forgiven.
    let mut boots = engine::boots(root, &settings);
    boots.forget();
    engine::keep_boots(root, &settings, &boots).map_err(refused)?;
    let applied_at = confirm_needed.then(|| (boot_id.as_str(), sys::monotonic()));
    // Whoever came by telnet is hung up on by what this stops, and it must be brought to its end.
    let hangup = SigSet::from(Signal::SIGHUP);
    hangup.thread_block().map_err(|error| refused(error.into()))?;
    let outcome = close_services(request, root, &settings, applied_at).and_then(|closed| {
        let key = harden.owner_key.as_deref();
        for (status, lines) in [(Status::Fails, closed.failed), (Status::Unknown, closed.untold)] {
            told.extend(lines.into_iter().map(|line| credentials(status, line)));
        }
        super::apply(
            request,
            root,
            &settings,
            &survey,
            &mut checker,
            applied_at,
            key,
            &told,
        )
    });
    if outcome.is_err() {
        // It may have come to that before it failed. A second one does no harm.
        wait_if_needed(request, root, &settings)?;
    }
    if engine::waiting(root, &settings).map_err(unknown)?.is_some() {
        let minutes = CONFIRM_WITHIN.as_secs() / 60;
        tell(
            request,
            "waiting",
            &format!("`lenscap harden --confirm` within {minutes} minutes, or it is taken back"),
            Some(CONFIRM_WITHIN),
        )?;
    }
    let status = outcome?;
    say(
        request,
        "restart    services take new passwords when the camera starts again",
    )?;
    Ok(status)
}

/// Closes what no file of the tree holds, before the files.
fn close_services(
    request: &Request,
    root: &Root,
    settings: &Settings,
    applied_at: Option<(&str, Duration)>,
) -> Result<local::Closed, Stop> {
    if !settings.measures.contains(&Measure::Credentials) {
        return Ok(local::Closed::default());
    }
    let mut closed = local::close(root, settings, &request.config, applied_at)?;
    closed
        .changed
        .extend(hostkeys::renew(root, settings, applied_at)?);
    for line in &closed.changed {
        say(request, &format!("credentials  {line}"))?;
    }
    Ok(closed)
}

/// The owner is there.
pub(super) fn confirm(request: &Request, root: &Root, settings: &Settings) -> Result<u8, Stop> {
    let _lock = lock(root)?;
    recover(request, root, settings)?;
    let waiting = engine::waiting(root, settings).map_err(unknown)?;
    if let Some(waiting) = waiting
        && is_overdue(root, settings, &waiting, &boot_id(root)?)
    {
        let why = "it was not confirmed in time, and is taken back: `lenscap harden --apply` does it anew";
        if request.json {
            tell(request, "too_late", why, None)?;
        }
        return Err(Stop(why.into(), EXIT_FAILURE));
    }
    let waited = engine::confirm(root, settings).map_err(refused)?;
    let boot = !proof::unproven(root, settings).is_empty();
    sync_firewall(root, settings, None)?;
    let (event, text) = if waited && boot {
        (
            "confirmed",
            "confirmed: it stays, once a boot after it was applied has let you in by SSH",
        )
    } else if waited {
        ("confirmed", "confirmed: it stays")
    } else {
        ("nothing_waits", "nothing waits for a confirmation")
    };
    tell(request, event, text, None)?;
    keep_firewall(root, settings)?;
    Ok(if waited { EXIT_OK } else { EXIT_FAILURE })
}

/// Has OpenWrt's own firewall keep ours, now that it is confirmed: not before, for it would bring it back after a boot.
pub(super) fn keep_firewall(root: &Root, settings: &Settings) -> Result<(), Stop> {
    let mut plan = local::empty_plan(root);
    firewall::include(&settings.state_dir, &mut plan.edits).map_err(unknown)?;
    let mut none = settings.clone();
    none.measures.clear();
    engine::apply(&plan, &none, None, &mut |_| Ok(())).map_err(failed)
}

/// What was not taken back when nobody confirmed it is told to whoever asks for something else now, once more.
pub(super) fn forget_left(request: &Request, root: &Root, settings: &Settings) -> Result<(), Stop> {
    let left = engine::left(root, settings);
    if !left.is_empty() {
        tell(request, "not_taken_back", &not_taken_back(&left), None)?;
        engine::forget_left(root, settings).map_err(refused)?;
    }
    Ok(())
}

/// A sentence about files that somebody else changed, or that cannot be replaced.
pub(super) fn not_taken_back(left: &[String]) -> String {
    format!(
        "not confirmed, and not taken back, since somebody else changed it meanwhile or it cannot be: {}",
        left.join(", ")
    )
}

/// Waits until there is nothing to wait for. `now`: takes it back at once, as whoever removes this program must.
pub(super) fn roll_back(request: &Request, root: &Root, settings: &Settings, now: bool) -> Result<u8, Stop> {
    if now {
        let done = take_back_now(request, root, settings);
        let journal = Store::new(root, &settings.state_dir)
            .journal()
            .unwrap_or_default();
        let unproven = proof::unproven(root, settings);
        let waits = |path: &str| unproven.iter().any(|(_, of)| engine::waits_for(of, path));
        // The firewall goes with the program.
        let mut logins = journal.entries.iter();
        if logins
            .any(|entry| (entry.insecure || engine::closes_telnet(entry, settings)) && waits(&entry.path))
        {
            // Where whoever removes this program sees it.
            let _ = writeln!(
                io::stderr(),
                "lenscap: no boot has shown yet that SSH lets you in, and nobody looks for it any more: \
                 `lenscap harden --undo --restore-insecure` opens what was closed"
            );
        }
        return done;
    }
    loop {
        // Another run may have the lock, or a file system comes back.
        let looks = shown::prove(root, settings, &request.config);
        let looks = looks.unwrap_or_else(|_| shown::is_due(root, settings).unwrap_or(false));
        let waiting = engine::waiting(root, settings).map_err(unknown)?;
        let Some(confirmation) = waiting else {
            if looks {
                std::thread::sleep(LOOK_EVERY);
                continue;
            }
            return Ok(EXIT_OK);
        };
        let boot_id = boot_id(root)?;
        match due(root, settings, &confirmation, &boot_id) {
            // A confirmation removes a file of this folder.
            Due::Wait(left) => wait_for_change(&settings.state_dir, left),
            Due::RollBack => match take_back_overdue(root, settings, &request.config, &boot_id) {
                Ok(taken) if taken.services.is_ok() => {
                    let told = tell_taken(taken).map(|()| EXIT_OK);
                    let waits = engine::waiting(root, settings).map_err(unknown)?.is_some();
                    if !waits && !shown::is_due(root, settings)? {
                        return told;
                    }
                }
                // Another run, or a file system or a service that comes back.
                Ok(_) | Err(_) => std::thread::sleep(LOOK_EVERY),
            },
        }
    }
}

fn take_back_now(request: &Request, root: &Root, settings: &Settings) -> Result<u8, Stop> {
    must_be_root()?;
    let _lock = lock(root)?;
    recover(request, root, settings)?;
    let waiting = engine::waiting(root, settings).map_err(unknown)?;
    if let Some(waiting) = waiting {
        let taken = take_back(root, settings, &request.config, &waiting)?;
        if taken.left.is_empty() {
            tell_taken(taken)?;
            tell(
                request,
                "taken_back",
                "what was not confirmed is taken back",
                None,
            )?;
        } else {
            if request.json {
                tell(request, "not_taken_back", &not_taken_back(&taken.left), None)?;
            }
            tell_taken(taken)?;
        }
    } else if local::is_unfinished(root, settings) {
        let undone = local::undo(root, settings, &request.config);
        undone.map_err(refused)?;
    }
    Ok(EXIT_OK)
}

/// What came of taking back.
pub(super) struct Taken {
    /// Files that somebody else changed since: they stay.
    left: Vec<String>,
    /// Whether services have their old passwords.
    pub(super) services: io::Result<()>,
}

fn tell_taken(taken: Taken) -> Result<(), Stop> {
    taken.services.map_err(refused)?;
    if taken.left.is_empty() {
        return Ok(());
    }
    Err(Stop(not_taken_back(&taken.left), EXIT_FAILURE))
}

/// Waits until something is removed from a folder, at most for `limit`. A kernel that does not tell is asked again.
fn wait_for_change(dir: &str, limit: Duration) {
    let watch = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK).and_then(|inotify| {
        inotify.add_watch(dir, AddWatchFlags::IN_DELETE | AddWatchFlags::IN_DELETE_SELF)?;
        Ok(inotify)
    });
    let Ok(watch) = watch else {
        return std::thread::sleep(limit.min(LOOK_EVERY));
    };
    // It may have happened before the folder was watched.
    if Path::new(dir).join("unconfirmed").exists()
        && sys::wait_readable([Some(watch.as_fd())], Some(limit)).is_err()
    {
        std::thread::sleep(limit.min(LOOK_EVERY));
    }
}

/// Takes back what nobody confirmed in time.
pub(super) fn take_back_overdue(
    root: &Root,
    settings: &Settings,
    config: &Path,
    boot_id: &str,
) -> Result<Taken, Stop> {
    let _lock = lock(root)?;
    engine::recover(root, settings).map_err(refused)?;
    let waiting = engine::waiting(root, settings).map_err(unknown)?;
    match waiting {
        Some(waiting) if is_overdue(root, settings, &waiting, boot_id) => {
            take_back(root, settings, config, &waiting)
        }
        Some(_) | None => Ok(Taken {
            left: Vec::new(),
            services: Ok(()),
        }),
    }
}

/// Whether the time to confirm it is over. What could not be taken back yet is not confirmed any more: the rest of it was.
pub(super) fn is_overdue(root: &Root, settings: &Settings, waiting: &Confirmation, boot_id: &str) -> bool {
    due(root, settings, waiting, boot_id) == Due::RollBack
}

/// What is due. Where boot after boot ends before its time is over, less has to do.
fn due(root: &Root, settings: &Settings, waiting: &Confirmation, boot_id: &str) -> Due {
    let mut now = sys::monotonic();
    if waiting.boot_id != boot_id && shown::is_one_of_many(root, settings, boot_id) {
        now += CONFIRM_WITHIN - shown::SHORT;
    }
    waiting.due(boot_id, now)
}

/// Every login works as before, that of services too; what cannot be reached does not hold up the others, and its password
/// waits on.
fn take_back(root: &Root, settings: &Settings, config: &Path, waiting: &Confirmation) -> Result<Taken, Stop> {
    let waits = |path: &str| engine::waits_for(waiting, path);
    let services = if waits(&settings.password_file) {
        local::undo(root, settings, config)
    } else {
        Ok(())
    };
    let needed = services.is_err().then_some(settings.password_file.as_str());
    let before = firewall::record(root, &settings.state_dir);
    // What keeps the firewall goes with it, of whichever run it is.
    let firewall = waits(&firewall::record_path(&settings.state_dir));
    let along = |path: &str| firewall && is_own(path, &settings.state_dir);
    let journal = Store::new(root, &settings.state_dir)
        .journal()
        .unwrap_or_default();
    let mut stopped = engine::kept(root, settings, engine::STOPPED);
    if telnet_waits(&journal, settings, core::slice::from_ref(waiting)) == Some(false) {
        // It stays closed.
        stopped.clear();
    }
    let undone = engine::roll_back(root, settings, needed, &along).map_err(|failure| {
        // Whoever is shut out cannot make room on a full disk; rules need none.
        if let Some(before) = before.as_ref().filter(|_| firewall) {
            let _ = firewall::remove(before);
        }
        let Stop(why, status) = failed(failure);
        Stop(format!("{NOT_TAKEN_BACK}{why}"), status)
    })?;
    // Before anything that takes time: nothing tells of rules without a record.
    let synced = sync_firewall(root, settings, before.as_ref());
    stopping::revive(root, &undone.restored, &stopped);
    synced?;
    Ok(Taken {
        left: undone.changed_since,
        services,
    })
}

/// Puts the firewall in place again after a boot, or after others' rules were loaded. What the owner has not confirmed
/// is not put in place in another boot than that in which it was applied: switching the camera off is a way out.
pub(super) fn restore(root: &Root, settings: &Settings) -> Result<u8, Stop> {
    put_firewall_back(root, settings, true).map(|_| EXIT_OK)
}

/// The same; says whether something had to be done. Without `act` it is not.
pub(super) fn put_firewall_back(root: &Root, settings: &Settings, act: bool) -> Result<bool, Stop> {
    let path = firewall::record_path(&settings.state_dir);
    if !root.exists(&path) {
        return Ok(false);
    }
    let waiting = engine::waiting(root, settings).map_err(unknown)?;
    if let Some(confirmation) = waiting.filter(|waiting| engine::waits_for(waiting, &path)) {
        let boot_id = boot_id(root)?;
        let why = if confirmation.boot_id != boot_id {
            "the firewall was not confirmed before the camera started again: it waits for `lenscap harden --confirm`"
        } else if is_overdue(root, settings, &confirmation, &boot_id) {
            "the firewall was not confirmed in time: it is to be taken back"
        } else {
            ""
        };
        if !why.is_empty() {
            return Err(Stop(why.into(), EXIT_FAILURE));
        }
    }
    if shown::is_lost(root, settings, &path)? {
        let why = "this boot has not shown the owner's way in: the firewall is to be taken back";
        return Err(Stop(why.into(), EXIT_FAILURE));
    }
    if firewall::record(root, &settings.state_dir).is_none() {
        return Err(Stop(
            format!("{path} is damaged: `lenscap harden --apply --only firewall` writes it anew"),
            EXIT_FAILURE,
        ));
    }
    let resolv_conf = settings.resolv_conf.as_deref();
    firewall::sync(root, &settings.state_dir, resolv_conf, None, act).map_err(|why| Stop(why, EXIT_FAILURE))
}

/// Makes the kernel's rules agree with what the journal says. A tree has none.
pub(super) fn sync_firewall(root: &Root, settings: &Settings, before: Option<&Policy>) -> Result<(), Stop> {
    if !root.is_live() {
        return Ok(());
    }
    let resolv_conf = settings.resolv_conf.as_deref();
    let synced = firewall::sync(root, &settings.state_dir, resolv_conf, before, true);
    synced.map(|_| ()).map_err(|why| Stop(why, EXIT_FAILURE))
}

/// Waits in the background if something waits for a confirmation.
pub(super) fn wait_if_needed(request: &Request, root: &Root, settings: &Settings) -> Result<(), Stop> {
    match engine::waiting(root, settings) {
        Ok(None) => Ok(()),
        Ok(Some(_)) => wait_in_background(&request.config),
        Err(error) => Err(unknown(error)),
    }
}

/// In its own process group, so that the end of the owner's session is not its end.
pub(super) fn wait_in_background(config: &Path) -> Result<(), Stop> {
    let started = super::again::program().and_then(|program| {
        let mut command = Command::new(program);
        start_apart(command.args(["harden", "--roll-back", "--config"]).arg(config))
    });
    match started {
        Ok(()) => Ok(()),
        Err(error) => {
            let why =
                format!("nothing waits for the confirmation ({error}): run `lenscap harden --roll-back &`");
            Err(Stop(why, EXIT_FAILURE))
        }
    }
}

/// It outlives the job that it may be started from.
pub(super) fn start_apart(command: &mut Command) -> io::Result<()> {
    let command = command.env_remove(monitor::JOB).process_group(0);
    let command = command.stdin(Stdio::null()).stdout(Stdio::null());
    command.stderr(Stdio::null()).spawn().map(|_| ())
}

/// What decides about one measure, and what it finds. `taken`: the given password will be root's.
fn situation(
    request: &Request,
    root: &Root,
    settings: &Settings,
    (measure, harden, ways): (Measure, &Harden, &ssh::Ways),
    survey: &Survey,
    checker: &mut Checker,
    taken: bool,
) -> Result<(Situation, Vec<Finding>), Stop> {
    let mut facts = ssh::owner_facts(root, &request.config, false, ways);
    let mut alone = settings.clone();
    alone.measures = vec![measure];
    let plan = super::plan_surveyed(request, root, &alone, survey, checker)?;
    let tried = plan.recognised.iter().map(|known| known.adapter.tried).min();
    let firewall = measure == Measure::Firewall;
    // Behind the firewall a password is of no use but from an allowed address.
    let behind = firewall || root.exists(&firewall::record_path(&settings.state_dir));
    if let LoginPassword::Given(secret) = &settings.login_password {
        let asked = if behind { ways.asked } else { ways.asks };
        facts.secret_given = asked && (taken || credentials::is_roots(&plan.edits, secret))
            // No login is seen that it would end, and it goes unless it is confirmed.
            || firewall && ways.unseen && mode(harden) == Mode::Confirm;
    }
    let situation = Situation {
        mode: mode(harden),
        asked: true,
        tried: tried.unwrap_or(Tried::Fixture),
        owner: owner_path(&facts),
        other_login: ways.surest,
        storage: storage(root, settings, &plan),
        bad_boots: 0,
    };
    Ok((situation, plan.edits.findings))
}

/// What the configuration says about hardening. Without a configuration nobody allowed anything.
pub(super) fn harden_config(path: &Path) -> Harden {
    config::load(path)
        .map(|loaded| loaded.config.harden)
        .unwrap_or_default()
}

/// Since when the owner's uplink is up, where a boot finds again what it needs.
pub(super) fn owned_since(root: &Root, path: &Path) -> Option<Duration> {
    let config = config::load(path).ok()?.config;
    let kept = [path, &config.agent.state_dir];
    let kept = kept
        .iter()
        .all(|path| path.to_str().is_some_and(|path| stays(root, path)));
    monitor::owned_since(&config).filter(|_| kept)
}

/// Whether the login password is to be given.
pub(super) fn lacks_secret(harden: &Harden, measure: Measure) -> bool {
    measure == Measure::Credentials && harden.password == HardenPassword::Secret
}

pub(super) fn mode(harden: &Harden) -> Mode {
    match harden.mode {
        HardenMode::Enforce => Mode::Enforce,
        HardenMode::Off => Mode::Off,
        HardenMode::Confirm => Mode::Confirm,
    }
}

/// Judges where the journal and each file that the plan changes lie. The first that a reboot may lose counts.
pub(super) fn storage(root: &Root, settings: &Settings, plan: &Plan<'_>) -> Storage {
    let paths = plan.edits.files().map(|(path, _)| path);
    for path in paths.chain([settings.state_dir.as_str()]) {
        match storage::place(root, path) {
            Storage::Persistent => {}
            other => return other,
        }
    }
    Storage::Persistent
}

pub(super) fn boot_id(root: &Root) -> Result<String, Stop> {
    let text = root
        .head("/proc/sys/kernel/random/boot_id", 64)
        .map_err(unknown)?;
    Ok(String::from_utf8_lossy(&text).trim().to_owned())
}

/// Whether one of the files waits that were changed to close telnet, if any was.
pub(super) fn telnet_waits(journal: &Journal, settings: &Settings, waiting: &[Confirmation]) -> Option<bool> {
    let entries = journal.entries.iter();
    let telnets = entries.filter(|entry| engine::closes_telnet(entry, settings));
    let waits = |path: &str| waiting.iter().any(|waiting| engine::waits_for(waiting, path));
    telnets.map(|entry| waits(&entry.path)).max()
}
