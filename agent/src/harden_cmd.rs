//! `lenscap harden`: shows what is open on a camera or in a root file system tree, closes it, and takes it back.

mod again;
mod hostkeys;
mod live;
mod local;
mod shown;
mod ssh;
mod stopping;

use core::time::Duration;
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::path::PathBuf;

use base64ct::{Base64, Encoding as _};
use lenscap_harden::credentials::{LOCKED, Secrets};
use lenscap_harden::defaults::Checker;
use lenscap_harden::engine::{self, Plan, Settings, Undone};
use lenscap_harden::firewall::{Allowed, Watch, is_own};
use lenscap_harden::gate::Why;
use lenscap_harden::report::{Finding, Measure, Status, Verdict};
use lenscap_harden::root::{Attributes, Lock, Root};
use lenscap_harden::secret::{LoginPassword, Secret};
use lenscap_harden::survey::Survey;
use lenscap_harden::transaction::{Failure, Recovered};
use nix::sys::stat::{fstat, makedev};

use crate::cli::{EXIT_FAILURE, EXIT_OK, EXIT_USAGE, Stop, finish};
use crate::config::{self, Config, HardenPassword};
use crate::json::Writer;
use crate::seal::Recipient;
use crate::{firewall, sys};

/// A login password that is encrypted to its owner.
const LOGIN_FILE: &str = "/etc/lenscap/login.age";
/// How long another run is waited for, and how often it is looked for.
const LOCK_WAIT: Duration = Duration::from_secs(30);
const LOCK_PAUSE: Duration = Duration::from_millis(100);
/// How long whoever reads may take for a part of what is said, and how large that is.
const OUTPUT_WAIT: Duration = Duration::from_secs(30);
const OUTPUT_PART: usize = 1024;
/// Something could not be told.
pub const EXIT_UNKNOWN: u8 = 2;

/// What is asked for.
#[derive(Debug)]
pub struct Request {
    /// A tree; `None`: the running camera.
    pub root: Option<PathBuf>,
    /// What to do.
    pub action: Action,
    /// The configuration, for a running camera.
    pub config: PathBuf,
    /// Measures, by name and with commas; `None`: all.
    pub only: Option<String>,
    /// `random` or `lock`.
    pub password: Option<String>,
    /// A file whose first line becomes the login password.
    pub password_file: Option<PathBuf>,
    /// Whoever watches now and is not allowed is cut off.
    pub cut: bool,
    /// JSON instead of text.
    pub json: bool,
    /// A start script asks.
    pub boot: bool,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Show the plan.
    Plan,
    /// Show and apply it.
    Apply,
    /// What was applied stays.
    Confirm,
    /// Wait for the confirmation, and take back what was not confirmed in time.
    RollBack {
        /// It is not waited for.
        now: bool,
    },
    /// Put the firewall in place again, if it was applied and confirmed.
    Restore,
    /// Look again, and close again what was opened since.
    Recheck,
    /// The same within the time that a boot has.
    Boot,
    /// Take back what was applied.
    Undo {
        /// Default and empty passwords too.
        restore_insecure: bool,
    },
}

/// Does it. Gives the exit status.
#[must_use]
pub fn run(request: &Request) -> u8 {
    finish(try_run(request))
}

fn try_run(request: &Request) -> Result<u8, Stop> {
    let mut settings = settings(request)?;
    let root = match &request.root {
        Some(tree) => {
            Root::tree(tree).map_err(|error| Stop(format!("{}: {error}", tree.display()), EXIT_USAGE))?
        }
        None => Root::live().map_err(unknown)?,
    };
    let mut watch = Watch {
        cut: request.cut,
        ..Watch::default()
    };
    let given = request.password.is_some() || request.password_file.is_some();
    let mut owner_key = None;
    if !root.is_live() {
        let text = root.read(config::DEFAULT_PATH).unwrap_or_default();
        let harden = config::harden_leniently(&String::from_utf8_lossy(&text));
        owner_key = harden.owner_key;
        settings.login_password = match harden.password {
            _ if given => settings.login_password,
            HardenPassword::Secret => LoginPassword::Missing,
            // One that its owner alone can read may be in all cameras of an image.
            HardenPassword::Random if owner_key.is_some() => LoginPassword::Random,
            HardenPassword::Random | HardenPassword::Lock => LoginPassword::Lock,
        };
    }
    if let Some(Config {
        harden,
        agent,
        profiles,
        ..
    }) = config_of(request, &root)
    {
        watch.allowed = Allowed::parse_all(&harden.allow_lan);
        for profile in profiles {
            watch.ports.push(profile.rtsp_addr.port());
            watch.ports.extend(profile.snapshot.map(|url| url.addr.port()));
        }
        settings.resolv_conf = agent.resolv_conf.to_str().map(str::to_owned);
        if request.only.is_none() && harden.closes_network() {
            settings.measures.push(Measure::Firewall);
        }
        settings.close = harden.close;
    } else if matches!(request.action, Action::Recheck)
        && request.only.is_none()
        && engine::applied(&root, &settings)
            .measures
            .contains(&Measure::Firewall)
    {
        // It stays as its record has it, and that nothing says any more what it is to be is told.
        settings.measures.push(Measure::Firewall);
    }
    settings.watch = root.is_live().then_some(watch);
    match request.action {
        Action::Plan => {
            let mut checker = engine::checker(&root, &settings, u64::MAX);
            let mut plan = plan(request, &root, &settings, &mut checker)?;
            if root.is_live() && settings.measures.contains(&Measure::Credentials) {
                local::look(&root, &settings, &request.config, &mut plan);
            }
            show(request, &plan, "planned")?;
            Ok(exit_status(plan.verdict()))
        }
        Action::Apply if root.is_live() => live::apply(request, &root, settings),
        Action::Apply => {
            let _lock = lock(&root)?;
            let survey = engine::survey(&root, &settings);
            let mut checker = engine::checker(&root, &settings, u64::MAX);
            let key = owner_key.as_deref();
            apply(request, &root, &settings, &survey, &mut checker, None, key, &[])
        }
        Action::Confirm => live::confirm(request, &root, &settings),
        Action::RollBack { now } => live::roll_back(request, &root, &settings, now),
        Action::Restore => live::restore(&root, &settings),
        Action::Recheck => again::recheck(request, &root, &settings),
        Action::Boot => again::boot(request),
        Action::Undo { restore_insecure } => undo(request, &root, &settings, restore_insecure),
    }
}

fn settings(request: &Request) -> Result<Settings, Stop> {
    let usage = |why: String| Stop(why, EXIT_USAGE);
    let mut settings = Settings::default();
    if let Some(only) = &request.only {
        let all = [Measure::Telnet, Measure::Credentials, Measure::Firewall];
        let measure = |name: &str| {
            let known = all.iter().find(|measure| measure.name() == name);
            known.copied().ok_or_else(|| {
                usage(format!(
                    "there is no measure `{name}`: telnet, credentials, firewall"
                ))
            })
        };
        settings.measures = only.split(',').map(measure).collect::<Result<_, _>>()?;
    }
    settings.login_password = match (request.password.as_deref(), &request.password_file) {
        (None | Some("random"), None) => LoginPassword::Random,
        (Some("lock"), None) => LoginPassword::Lock,
        (None, Some(path)) => {
            let text = std::fs::read_to_string(path)
                .map_err(|error| usage(format!("{}: {error}", path.display())))?;
            let first = text.lines().next().unwrap_or_default();
            LoginPassword::Given(
                Secret::of_login(first).map_err(|why| usage(format!("{}: {why}", path.display())))?,
            )
        }
        (Some(other), None) => return Err(usage(format!("--password takes random or lock, not `{other}`"))),
        (Some(_), Some(_)) => return Err(usage("give --password or --password-file, not both".into())),
    };
    Ok(settings)
}

fn plan<'a>(
    request: &Request,
    root: &'a Root,
    settings: &Settings,
    checker: &mut Checker,
) -> Result<Plan<'a>, Stop> {
    plan_surveyed(request, root, settings, &engine::survey(root, settings), checker)
}

fn plan_surveyed<'a>(
    request: &Request,
    root: &'a Root,
    settings: &Settings,
    survey: &Survey,
    checker: &mut Checker,
) -> Result<Plan<'a>, Stop> {
    let mut with_filter = settings.clone();
    if root.is_live() && settings.measures.contains(&Measure::Telnet) {
        let resolv_conf = settings.resolv_conf.as_deref();
        with_filter.filter = firewall::in_force(root, &settings.state_dir, resolv_conf);
    }
    let planned = engine::plan_surveyed(root, &with_filter, survey, checker, &mut fill);
    let mut plan = planned.map_err(unknown)?;
    if root.is_live()
        && settings.measures.contains(&Measure::Telnet)
        && let Some((_, why)) = stopping::inetd_unread(root, settings)
    {
        plan.edits.find(Measure::Telnet, Status::Unknown, None, why);
    }
    if settings.measures.contains(&Measure::Firewall) {
        let config = config_of(request, root);
        let record = firewall::record_path(&settings.state_dir);
        let waiting = engine::waiting(root, settings).map_err(unknown)?;
        let asked = firewall::Request {
            config: config.as_ref(),
            state_dir: &settings.state_dir,
            unconfirmed: waiting.is_some_and(|waiting| engine::waits_for(&waiting, &record)),
            watch: settings.watch.as_ref(),
            probe: !matches!(request.action, Action::Recheck | Action::Boot),
        };
        firewall::plan(asked, &mut plan.edits).map_err(unknown)?;
    }
    Ok(plan)
}

/// The camera's configuration, or that of a tree, where there is one that can be used.
fn config_of(request: &Request, root: &Root) -> Option<Config> {
    if root.is_live() {
        return Some(config::load(&request.config).ok()?.config);
    }
    let text = root.read(config::DEFAULT_PATH).ok()?;
    config::parse_leniently(&String::from_utf8_lossy(&text))
}

fn fill(buffer: &mut [u8]) -> io::Result<()> {
    for part in buffer.chunks_mut(16) {
        let random = sys::random::<16>()?;
        part.copy_from_slice(&random[..part.len()]);
    }
    Ok(())
}

/// The caller has locked the root, and looked at it at this moment. `told`: what is known beside the plan.
#[allow(clippy::too_many_arguments, reason = "what a run has")]
fn apply(
    request: &Request,
    root: &Root,
    settings: &Settings,
    survey: &Survey,
    checker: &mut Checker,
    applied_at: Option<(&str, Duration)>,
    owner_key: Option<&str>,
    told: &[Finding],
) -> Result<u8, Stop> {
    recover(request, root, settings)?;
    let mut first = plan_surveyed(request, root, settings, survey, checker)?;
    add(&mut first, told);
    let sealed = seal_login(&mut first, owner_key)?;
    show(request, &first, "planned")?;
    let mut fields = first.secrets.fields.iter();
    if settings.login_password == LoginPassword::Missing && fields.any(|(_, field)| field == LOCKED) {
        return Err(Stop(Why::NoSecret.explain().into(), EXIT_FAILURE));
    }
    let mut tell = |secrets: &Secrets| disclose(request, secrets, sealed.as_deref());
    let before = firewall::record(root, &settings.state_dir);
    engine::apply(&first, settings, applied_at, &mut tell).map_err(failed)?;
    // Before anything is stopped: that may be what this run's own terminal hangs on.
    let waiter = if root.is_live() {
        live::wait_if_needed(request, root, settings)
    } else {
        Ok(())
    };
    let mut held = Ok(());
    if settings.measures.contains(&Measure::Firewall) {
        held = live::sync_firewall(root, settings, before.as_ref());
    }
    let mut renewed = Ok(());
    let mut back = false;
    if root.is_live() && settings.measures.contains(&Measure::Telnet) {
        renewed = stopping::renew(root, settings, &first);
        back = !first.edits.awaited && stopping::stop_shells(root, settings, true).1;
    }
    // What was written is looked at again, as if by another run; which files matter is known.
    let mut second = plan_surveyed(request, root, settings, survey, checker)?;
    add(&mut second, told);
    if back {
        let why = "what was stopped is started again, by something that runs until the camera starts again";
        second.edits.find(Measure::Telnet, Status::Fails, None, why);
    }
    if root.is_live() {
        engine::remember(root, settings, checker);
    }
    if root.is_live() || first.edits.files().next().is_some() {
        say(request, "")?;
        show(request, &second, "verified")?;
    }
    held?;
    renewed?;
    waiter?;
    Ok(exit_status(second.verdict()))
}

/// What is not done does not hold.
fn add(plan: &mut Plan<'_>, told: &[Finding]) {
    for finding in told {
        if !plan.edits.findings.contains(finding) {
            plan.edits.findings.push(finding.clone());
        }
    }
}

fn undo(request: &Request, root: &Root, settings: &Settings, restore_insecure: bool) -> Result<u8, Stop> {
    let firewall = settings.measures.contains(&Measure::Firewall);
    let files = settings
        .measures
        .iter()
        .filter(|measure| **measure != Measure::Firewall)
        .count();
    if request.only.is_some() && files == 1 {
        let why = "telnet and credentials are taken back together: `--only firewall`, or `--only telnet,credentials`";
        return Err(Stop(why.into(), EXIT_USAGE));
    }
    let wanted = |path: &str| {
        let own = is_own(path, &settings.state_dir);
        request.only.is_none() || if own { firewall } else { files > 0 }
    };
    let _lock = lock(root)?;
    recover(request, root, settings)?;
    live::forget_left(request, root, settings)?;
    let mut services = Ok(());
    if root.is_live() && restore_insecure && (request.only.is_none() || files > 0) {
        services = local::undo(root, settings, &request.config).map_err(refused);
    }
    // A service that could not be reached has that password.
    let wanted = |path: &str| wanted(path) && (services.is_ok() || path != settings.password_file);
    let before = firewall::record(root, &settings.state_dir);
    let undone = engine::undo_some(root, settings, restore_insecure, &wanted).map_err(failed)?;
    stopping::revive(root, &undone.restored, "");
    live::sync_firewall(root, settings, before.as_ref())?;
    let Undone {
        restored,
        kept,
        changed_since,
    } = &undone;
    let lists = [
        ("restored", restored, "as it was"),
        (
            "kept",
            kept,
            "holds default or empty passwords: --restore-insecure brings it back",
        ),
        (
            "changed_since",
            changed_since,
            "left alone: somebody else changed it since, or it cannot be put back",
        ),
    ];
    if request.json {
        let mut json = Writer::new();
        json.object(|o| {
            o.key("event").string("undone");
            for (name, paths, _) in &lists {
                o.key(name)
                    .array(|a| paths.iter().for_each(|path| a.item().string(path)));
            }
        });
        print(&(json.finish() + "\n"))?;
    }
    for (_, paths, what) in lists {
        for path in paths {
            say(request, &format!("{path}  {what}"))?;
        }
    }
    services?;
    let complete = kept.is_empty() && changed_since.is_empty();
    Ok(if complete { EXIT_OK } else { EXIT_FAILURE })
}

/// On a running camera the service looks by itself, for some seconds; whoever comes meanwhile waits for that.
fn lock(root: &Root) -> Result<Lock, Stop> {
    let deadline = sys::monotonic() + LOCK_WAIT;
    loop {
        match root.lock() {
            Err(error)
                if error.kind() == io::ErrorKind::ResourceBusy
                    && root.is_live()
                    && sys::monotonic() < deadline =>
            {
                std::thread::sleep(LOCK_PAUSE);
            }
            locked => return locked.map_err(refused),
        }
    }
}

fn recover(request: &Request, root: &Root, settings: &Settings) -> Result<(), Stop> {
    let recovered = engine::recover(root, settings).map_err(|error| {
        Stop(
            format!("an interrupted run cannot be finished: {error}"),
            EXIT_FAILURE,
        )
    })?;
    match recovered {
        Recovered::Nothing => Ok(()),
        Recovered::Cleaned => say(
            request,
            "an interrupted run had changed nothing yet; its preparations are removed",
        ),
        Recovered::Finished => say(request, "an interrupted run is finished"),
    }
}

fn failed(failure: Failure) -> Stop {
    match failure {
        Failure::Unchanged(error) => Stop(format!("nothing was changed: {error}"), EXIT_FAILURE),
        Failure::Unfinished(error) => Stop(
            format!("some files are changed, the next run changes the others: {error}"),
            EXIT_FAILURE,
        ),
    }
}

#[allow(clippy::needless_pass_by_value, reason = "as `map_err` gives it")]
fn unknown(error: io::Error) -> Stop {
    Stop(format!("it could not be told: {error}"), EXIT_UNKNOWN)
}

#[allow(clippy::needless_pass_by_value, reason = "as `map_err` gives it")]
fn refused(error: io::Error) -> Stop {
    Stop(error.to_string(), EXIT_FAILURE)
}

fn exit_status(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Holds => EXIT_OK,
        Verdict::Fails => EXIT_FAILURE,
        Verdict::Unknown => EXIT_UNKNOWN,
    }
}

/// Plans a file that holds a new login password for its owner alone. Gives its contents.
fn seal_login(plan: &mut Plan<'_>, owner_key: Option<&str>) -> Result<Option<Vec<u8>>, Stop> {
    let (Some(login), Some(owner_key)) = (&plan.secrets.login, owner_key) else {
        return Ok(None);
    };
    let sealed = Recipient::parse(owner_key)
        .and_then(|owner| owner.seal(login.reveal().as_bytes()))
        .map_err(|why| Stop(format!("option owner_key: {why}"), EXIT_FAILURE))?;
    let why = "root's new login password, for the owner's key alone";
    plan.edits
        .put(LOGIN_FILE, sealed.clone(), Attributes::PRIVATE, why)
        .map_err(unknown)?;
    Ok(Some(sealed))
}

/// The one time that a login password is shown: before anything depends on it. One that is encrypted to its owner is not.
fn disclose(request: &Request, secrets: &Secrets, sealed: Option<&[u8]>) -> io::Result<()> {
    let Some(login) = &secrets.login else {
        return Ok(());
    };
    // The language opens that file where standard output is closed.
    let nowhere = fstat(io::stdout()).is_ok_and(|out| out.st_rdev == makedev(1, 3));
    if sealed.is_none() && nowhere {
        let why = "nobody would see the new login password: standard output is closed, or /dev/null";
        return Err(io::Error::other(why));
    }
    let text = if request.json {
        let mut json = Writer::new();
        json.object(|o| {
            o.key("event").string("login_password");
            match sealed {
                Some(sealed) => o.key("age").string(&Base64::encode_string(sealed)),
                None => o.key("password").string(login.reveal()),
            }
        });
        json.finish() + "\n"
    } else if sealed.is_some() {
        format!("\nroot's new login password is in {LOGIN_FILE}, for the owner: age -d -i KEY\n")
    } else {
        format!(
            "\nroot's new login password, shown only now: {}\n",
            login.reveal()
        )
    };
    write_out(&text)
}

/// Nobody must hold up the end of a run by not reading what it says: others wait for it, and so may the owner who is shut out.
fn write_out(text: &str) -> io::Result<()> {
    let mut out = io::stdout();
    // A pipe that can be written takes as much at least.
    for part in text.as_bytes().chunks(OUTPUT_PART) {
        if !sys::wait_writable(out.as_fd(), OUTPUT_WAIT)? {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "nobody reads it"));
        }
        out.write_all(part)?;
        out.flush()?;
    }
    Ok(())
}

fn show(request: &Request, plan: &Plan<'_>, event: &str) -> Result<(), Stop> {
    print(&if request.json {
        to_json(plan, event)
    } else {
        to_text(plan)
    })
}

fn say(request: &Request, line: &str) -> Result<(), Stop> {
    if request.json {
        return Ok(());
    }
    print(&format!("{line}\n"))
}

/// The same as an event, for whoever reads JSON; `due`: until when it is to be confirmed.
fn tell(request: &Request, event: &str, line: &str, due: Option<Duration>) -> Result<(), Stop> {
    if !request.json {
        let label = if due.is_some() { "confirm    " } else { "" };
        return say(request, &format!("{label}{line}"));
    }
    let mut json = Writer::new();
    json.object(|o| {
        o.key("event").string(event);
        o.key("text").string(line);
        if let Some(due) = due {
            o.key("confirm_within_seconds").number(due.as_secs());
        }
    });
    print(&(json.finish() + "\n"))
}

/// Whoever asked must see the plan before it is applied.
fn print(text: &str) -> Result<(), Stop> {
    write_out(text).map_err(|error| Stop(format!("standard output: {error}"), EXIT_FAILURE))
}

fn to_text(plan: &Plan<'_>) -> String {
    let mut text = String::new();
    for known in &plan.recognised {
        let (name, tried) = (known.adapter.name, known.adapter.tried);
        text.push_str(&format!(
            "firmware     {name}, known by {} (tried: {tried})\n",
            known.evidence
        ));
    }
    for finding in plan.findings() {
        let Finding {
            measure,
            status,
            path,
            line,
            text: what,
        } = finding;
        let at = match (path, line) {
            (Some(path), Some(line)) => format!("{path}:{line}: "),
            (Some(path), None) => format!("{path}: "),
            (None, _) => String::new(),
        };
        text.push_str(&format!(
            "{:<12} {:<8} {at}{what}\n",
            measure.name(),
            status.name()
        ));
    }
    let mut changes = 0;
    for (path, edit) in plan.edits.files() {
        let verb = if edit.original.is_some() {
            "change"
        } else {
            "create"
        };
        text.push_str(&format!("{verb:<12} {path}: {}\n", edit.why.join("; ")));
        changes += 1;
    }
    if changes > 0 {
        text.push_str(&format!(
            "space        {} KiB while it runs\n",
            plan.space_needed().div_ceil(1024)
        ));
    }
    if plan.interrupted {
        text.push_str(
            "note         an earlier run was cut short; the next that changes something finishes it\n",
        );
    }
    text + &format!("verdict      {}\n", plan.verdict().name())
}

fn to_json(plan: &Plan<'_>, event: &str) -> String {
    let mut json = Writer::new();
    json.object(|o| {
        o.key("event").string(event);
        o.key("firmwares").array(|a| {
            for known in &plan.recognised {
                a.item().object(|o| {
                    o.key("name").string(known.adapter.name);
                    o.key("evidence").string(&known.evidence);
                    o.key("tried").string(&known.adapter.tried.to_string());
                });
            }
        });
        o.key("findings").array(|a| {
            for finding in plan.findings() {
                a.item().object(|o| {
                    o.key("measure").string(finding.measure.name());
                    o.key("status").string(finding.status.name());
                    o.key("file").optional(finding.path.as_deref());
                    match finding.line {
                        Some(line) => o.key("line").number(line.into()),
                        None => o.key("line").null(),
                    }
                    o.key("text").string(&finding.text);
                });
            }
        });
        o.key("changes").array(|a| {
            for (path, edit) in plan.edits.files() {
                a.item().object(|o| {
                    o.key("file").string(path);
                    o.key("why").string(&edit.why.join("; "));
                });
            }
        });
        o.key("space_needed_bytes").number(plan.space_needed());
        o.key("interrupted").bool(plan.interrupted);
        o.key("verdict").string(plan.verdict().name());
    });
    json.finish() + "\n"
}
