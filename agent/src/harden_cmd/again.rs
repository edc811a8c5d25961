//! Looking again at a running camera, unasked: from the monitor, and at boot before the network.
//!
//! It closes what a run closed before and a firmware has opened again, and no more, unless the configuration lets it go
//! further by itself.

use core::time::Duration;
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;

use lenscap_harden::applied::Applied;
use lenscap_harden::engine::{self, Plan, Settings};
use lenscap_harden::firewall::Allowed;
use lenscap_harden::gate::{
    BOOT_LIMIT, Confirmation, Decision, MAX_BAD_BOOTS, MAX_RESTORES, OwnerPath, Situation, Why, decide,
};
use lenscap_harden::journal::Journal;
use lenscap_harden::look::{self, Memory};
use lenscap_harden::proof;
use lenscap_harden::report::{Finding, Measure, Status, Verdict};
use lenscap_harden::root::Root;
use lenscap_harden::secret::LoginPassword;
use lenscap_harden::storage::{self, Storage};
use lenscap_harden::survey::Survey;
use lenscap_harden::transaction::Store;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::{
    EXIT_UNKNOWN, Request, exit_status, failed, live, local, lock, recover, shown, ssh, stopping, unknown,
};
use crate::cli::Stop;
use crate::config::{self, Harden, HardenMode, HardenPassword};
use crate::flat;
use crate::{files, firewall, sys};

/// Work for one look at passwords, in units of `crypt::cost`: some seconds of a slow processor. The next look goes on.
const BUDGET: u64 = 3_000_000;
/// What looks know of each other, in the run folder.
const MEMORY: &str = "harden.look";
const MAX_MEMORY_BYTES: u64 = 1024;
/// What a look tells is not longer.
const MAX_REASON_BYTES: usize = 256;

/// What came of a look.
#[derive(Default)]
struct Outcome {
    verdict: Option<Verdict>,
    restored: Vec<String>,
    stopped: usize,
    gave_up: bool,
    waiting_for_owner: bool,
    standing_aside: bool,
    /// Why it does not hold, or could not be told.
    reason: String,
}

impl Outcome {
    fn give_up(&mut self) {
        self.gave_up = true;
        "what was closed is opened again and again: it is left open until an hour is over"
            .clone_into(&mut self.reason);
    }
}

/// What a look needs to know.
struct Look<'a> {
    request: &'a Request,
    root: &'a Root,
    settings: Settings,
    harden: Harden,
    boot_id: String,
    now: Duration,
    bad_boots: u8,
    journal: Journal,
    applied: Applied,
}

/// Looks again, and says what came of it. It is told even when there is nothing to tell it with: an answer that is
/// missing would be taken for the last one.
pub(super) fn recheck(request: &Request, root: &Root, settings: &Settings) -> Result<u8, Stop> {
    let now = sys::monotonic();
    let memory_path = config::load_agent_leniently(&request.config).run_dir.join(MEMORY);
    let text = files::read(&memory_path, MAX_MEMORY_BYTES).unwrap_or_default();
    let mut memory = Memory::parse(&String::from_utf8_lossy(&text), now);
    let before = memory.to_text();
    let outcome = look(request, root, settings, now, &mut memory).unwrap_or_else(|Stop(why, _)| Outcome {
        verdict: why.starts_with(live::NOT_TAKEN_BACK).then_some(Verdict::Fails),
        reason: bounded(why),
        ..Outcome::default()
    });
    if memory.to_text() != before {
        // Without it the next look is a full one, and forgets restores: no reason not to tell what was seen.
        let _ = files::replace_volatile(&memory_path, memory.to_text().as_bytes());
    }
    let waiting = engine::waiting(root, settings).ok().flatten();
    let here = |waiting: &Confirmation| {
        let boot = live::boot_id(root);
        boot.is_ok_and(|boot| boot == waiting.boot_id && !live::is_overdue(root, settings, waiting, &boot))
    };
    let uplink = waiting.as_ref().is_some_and(here) && live::owned_since(root, &request.config).is_some();
    let boot = waiting.is_none() && !proof::unproven(root, settings).is_empty();
    tell(request, &outcome, &memory, now, (waiting.is_some(), uplink, boot))?;
    Ok(exit_status(outcome.verdict.unwrap_or(Verdict::Unknown)))
}

fn look(
    request: &Request,
    root: &Root,
    settings: &Settings,
    now: Duration,
    memory: &mut Memory,
) -> Result<Outcome, Stop> {
    live::must_be_root()?;
    let boot_id = live::boot_id(root)?;
    let waits = engine::waiting(root, settings).is_ok_and(|waiting| waiting.is_some());
    if request.boot && (waits || !proof::unproven(root, settings).is_empty()) {
        // Whatever comes of this look, and whether or not others follow: nobody else takes it back.
        live::wait_in_background(&request.config)?;
    }
    // Whatever keeps it from being noted, the rest is looked at.
    let proven = shown::prove(root, settings, &request.config);
    let overdue = live::take_back_overdue(root, settings, &request.config, &boot_id)?.services;
    let proven = match proven {
        Err(stop) if stop.0.starts_with(live::NOT_TAKEN_BACK) => return Err(stop),
        proven => proven.err().map(|stop| stop.0),
    };
    let _lock = lock(root)?;
    recover(request, root, settings)?;
    confirm_by_uplink(request, root, settings, &boot_id)?;
    let harden = live::harden_config(&request.config);
    let mut failed = finish_services(request, root, settings, &harden, (&boot_id, now))?;
    let left = engine::left(root, settings);
    if !left.is_empty() {
        failed.push(live::not_taken_back(&left));
    }
    let mut outcome = look_again(request, root, settings, boot_id, now, harden, memory)?;
    if let Some(why) = failed.into_iter().next() {
        outcome.verdict = Some(Verdict::Fails);
        outcome.reason = bounded(why);
    } else if outcome.verdict == Some(Verdict::Holds)
        && let Some(why) = overdue.err().map(|why| why.to_string()).or(proven)
    {
        outcome.verdict = Some(Verdict::Unknown);
        outcome.reason = bounded(why);
    }
    Ok(outcome)
}

/// A run that was cut short between the camera's services and the files is finished: until then the agent has not the
/// password that they have. Not at boot, when they are not up yet. Gives what could not be done, and what a run left open.
fn finish_services(
    request: &Request,
    root: &Root,
    settings: &Settings,
    harden: &Harden,
    applied_at: (&str, Duration),
) -> Result<Vec<String>, Stop> {
    let mut failed = Vec::new();
    if !request.boot && local::is_unfinished(root, settings) {
        // As it would have been.
        let confirm = (harden.mode != HardenMode::Enforce).then_some(applied_at);
        let nets = Allowed::parse_all(&harden.allow_lan);
        let ways = ssh::ways(root, nets, None, &settings.state_dir);
        let mut shown = settings.clone();
        shown.proof = shown::way_in(root, request, applied_at.0, &ways);
        match local::finish(root, &shown, &request.config, confirm) {
            Ok(closed) => failed = closed.failed,
            Err(Stop(why, _)) => failed.push(why),
        }
        if confirm.is_some() && engine::waiting(root, settings).is_ok_and(|waiting| waiting.is_some()) {
            live::wait_in_background(&request.config)?;
        }
    }
    failed.extend(local::still_open(root, settings));
    Ok(failed)
}

fn look_again(
    request: &Request,
    root: &Root,
    settings: &Settings,
    boot_id: String,
    now: Duration,
    harden: Harden,
    memory: &mut Memory,
) -> Result<Outcome, Stop> {
    if harden.mode == HardenMode::Off {
        return Ok(Outcome {
            reason: Why::Off.explain().into(),
            ..Outcome::default()
        });
    }
    let bad_boots = if request.boot {
        count_boot(root, settings, &boot_id)
    } else {
        engine::boots(root, settings).bad()
    };
    let journal = Store::new(root, &settings.state_dir).journal().map_err(unknown)?;
    let mut look = Look {
        request,
        root,
        settings: settings.clone(),
        applied: engine::applied(root, settings),
        harden,
        boot_id,
        now,
        bad_boots,
        journal,
    };
    look.settings
        .measures
        .retain(|measure| look.harden.wants(*measure));
    look.settings.login_password = look.login_password();
    look.all(memory)
}

/// The owner's uplink that came up after something was applied passes it, and so is the owner's confirmation.
fn confirm_by_uplink(request: &Request, root: &Root, settings: &Settings, boot_id: &str) -> Result<(), Stop> {
    let waiting = engine::waiting(root, settings).map_err(unknown)?;
    let came_back = waiting.is_some_and(|waiting| {
        let since = live::owned_since(root, &request.config);
        // Whole seconds are kept: of the same one it is not known which came first.
        let after = |since: Duration| since.as_secs() > waiting.applied_at.as_secs();
        waiting.boot_id == boot_id
            && !live::is_overdue(root, settings, &waiting, boot_id)
            && since.is_some_and(after)
    });
    if came_back {
        engine::confirm(root, settings).map_err(unknown)?;
        live::keep_firewall(root, settings)?;
    }
    Ok(())
}

impl Look<'_> {
    /// Nobody is there who could be told a new password: without a key to encrypt it to, keys alone open a login.
    fn login_password(&self) -> LoginPassword {
        if self.applied.field("login").is_some() {
            LoginPassword::Kept
        } else if self.harden.password == HardenPassword::Random && self.harden.owner_key.is_some() {
            LoginPassword::Random
        } else {
            LoginPassword::Lock
        }
    }

    fn all(&self, memory: &mut Memory) -> Result<Outcome, Stop> {
        let mut outcome = Outcome::default();
        let stamp = look::stamp(self.root, &self.journal);
        self.put_firewall_back(memory, &mut outcome)?;
        let mut shells = stopping::shells(self.root, self.settings.close).len();
        if !self.settings.measures.contains(&Measure::Telnet) {
            shells = 0;
        }
        if shells == 0 && !outcome.gave_up && memory.trusts(self.now, &stamp) {
            outcome.verdict = Some(Verdict::Holds);
            self.prove(stamp, memory, &mut outcome);
            return Ok(outcome);
        }
        let mut seen = Vec::new();
        let survey = engine::survey(self.root, &self.settings);
        for measure in &self.settings.measures {
            let mut alone = self.settings.clone();
            alone.measures = vec![*measure];
            let (findings, changed) =
                self.measure(*measure, &alone, &survey, shells, memory, &mut outcome)?;
            seen.extend(findings);
            if changed {
                // As if by another run.
                let mut checker = engine::checker(self.root, &alone, BUDGET);
                let plan = super::plan_surveyed(self.request, self.root, &alone, &survey, &mut checker)?;
                engine::remember(self.root, &alone, &checker);
                seen.extend_from_slice(plan.findings());
            }
        }
        let verdict = lenscap_harden::report::verdict(&seen);
        outcome.verdict = Some(if outcome.gave_up { Verdict::Fails } else { verdict });
        if outcome.reason.is_empty() {
            outcome.reason = reason(&seen);
        }
        let journal = Store::new(self.root, &self.settings.state_dir).journal();
        let stamp = journal.map_or(stamp, |journal| look::stamp(self.root, &journal));
        memory.note(self.now, stamp.clone(), outcome.verdict == Some(Verdict::Holds));
        self.prove(stamp, memory, &mut outcome);
        Ok(outcome)
    }

    /// Rules that are in place may do nothing: a packet from outside tells, once for each state of the camera. Where none
    /// can be made it is never known. Neither is a reason to change anything.
    fn prove(&self, stamp: String, memory: &mut Memory, outcome: &mut Outcome) {
        let firewall = self.settings.measures.contains(&Measure::Firewall);
        if !firewall || outcome.verdict != Some(Verdict::Holds) || memory.proven.as_ref() == Some(&stamp) {
            return;
        }
        let resolv_conf = self.settings.resolv_conf.as_deref();
        let (status, why) = firewall::tried(self.root, &self.settings.state_dir, resolv_conf);
        outcome.verdict = Some(match status {
            Status::Holds => {
                memory.proven = Some(stamp);
                return;
            }
            Status::Notice => return,
            Status::Fails | Status::Planned => Verdict::Fails,
            Status::Unknown => Verdict::Unknown,
        });
        outcome.reason = bounded(why);
    }

    /// Rules are in the kernel alone: whoever loads others removes them without touching a file, and after a boot there are
    /// none. Other name servers than at the last look need other rules: that is no restore.
    fn put_firewall_back(&self, memory: &mut Memory, outcome: &mut Outcome) -> Result<(), Stop> {
        let applied = self.applied.measures.contains(&Measure::Firewall);
        let aside = self.bad_boots >= MAX_BAD_BOOTS || !self.settings.measures.contains(&Measure::Firewall);
        if !applied || aside {
            return Ok(());
        }
        let servers = firewall::known_servers(self.root, self.settings.resolv_conf.as_deref());
        let others = memory.servers.as_ref().is_some_and(|known| *known != servers);
        let allowed = others || memory.restores.count(self.now) < MAX_RESTORES;
        let lacked = live::put_firewall_back(self.root, &self.settings, allowed)?;
        if lacked {
            memory.proven = None;
        }
        if lacked && !allowed {
            outcome.give_up();
        } else if lacked && !others {
            outcome.restored.push("firewall".into());
            if !self.request.boot {
                memory.restores.allow(self.now);
            }
        }
        memory.servers = Some(servers);
        Ok(())
    }

    /// Looks at one measure. Gives what was found, and whether something was changed since: then what could not be done.
    fn measure(
        &self,
        measure: Measure,
        alone: &Settings,
        survey: &Survey,
        shells: usize,
        memory: &mut Memory,
        outcome: &mut Outcome,
    ) -> Result<(Vec<Finding>, bool), Stop> {
        let mut checker = engine::checker(self.root, alone, BUDGET);
        let mut plan = super::plan_surveyed(self.request, self.root, alone, survey, &mut checker)?;
        engine::remember(self.root, alone, &checker);
        let findings = plan.findings().to_vec();
        let stops = measure == Measure::Telnet && !plan.edits.awaited;
        let shells = if stops { shells } else { 0 };
        let files: Vec<String> = plan.edits.files().map(|(path, _)| path.to_owned()).collect();
        if files.is_empty() && shells == 0 {
            return Ok((findings, false));
        }
        let put_back: Vec<String> = files
            .iter()
            .filter(|path| self.journal.applies(path))
            .cloned()
            .collect();
        let asked_once = self.applied.measures.contains(&measure);
        let kept = self.settings.login_password == LoginPassword::Kept;
        let (situation, proof) = self.situation(&plan, survey)?;
        let decision = match decide(measure, &situation) {
            Decision::Apply { .. } if !kept && live::lacks_secret(&self.harden, measure) => {
                Decision::PlanOnly(Why::NoSecret)
            }
            decision => decision,
        };
        let (confirm, new_too) = match decision {
            // A confirmation that names no file would be one of all.
            Decision::Apply { confirm: true } if files.is_empty() && !asked_once => {
                return Ok((findings, false));
            }
            Decision::Apply { confirm } => (confirm && put_back.len() < files.len(), true),
            Decision::PlanOnly(why @ (Why::NotTried | Why::NoOwner)) => {
                outcome.waiting_for_owner |= why == Why::NoOwner && put_back.len() < files.len();
                // Another configuration is another firewall: nobody has confirmed that the owner still comes in.
                let new = measure == Measure::Firewall;
                if new || !asked_once || put_back.is_empty() && shells == 0 {
                    why.explain().clone_into(&mut outcome.reason);
                    return Ok((findings, false));
                }
                if measure == Measure::Credentials && self.forgot(&plan) {
                    "a login password was put back, and what it had been replaced with is not known: run `lenscap harden --apply`"
                        .clone_into(&mut outcome.reason);
                    return Ok((findings, false));
                }
                (false, false)
            }
            Decision::PlanOnly(why) => {
                outcome.standing_aside |= why == Why::StandingAside;
                why.explain().clone_into(&mut outcome.reason);
                return Ok((findings, false));
            }
        };
        if asked_once && (!put_back.is_empty() || shells > 0) && !memory.restores.allow(self.now) {
            outcome.give_up();
            return Ok((findings, false));
        }
        if !new_too {
            // The image's media password goes everywhere or nowhere: in what the tree's run had no need to write, too.
            let renews = measure == Measure::Credentials && self.applied.has_media_of_image();
            let stays = |path: &&String| {
                !put_back.contains(path)
                    && (!renews || matches!(path.as_str(), "/etc/passwd" | "/etc/shadow"))
            };
            for path in files.iter().filter(stays) {
                plan.edits.leave(path);
            }
        }
        super::seal_login(&mut plan, self.harden.owner_key.as_deref())?;
        let applied_at = confirm.then_some((self.boot_id.as_str(), self.now));
        let mut alone = alone.clone();
        alone.proof = proof.filter(|_| new_too && put_back.len() < files.len());
        let alone = &alone;
        if let Err(failure) = engine::apply(&plan, alone, applied_at, &mut |_| Ok(())) {
            // What is open is known, whatever kept it from being closed.
            let Stop(why, _) = failed(failure);
            let mut findings = findings;
            findings.push(Finding::new(measure, Status::Fails, why.clone()));
            outcome.reason = bounded(why);
            return Ok((findings, false));
        }
        let mut done = Ok(());
        if confirm {
            done = live::wait_in_background(&self.request.config);
        }
        outcome.restored.extend(put_back);
        // Whatever fails from here on, the rest is done.
        let done = done.and(match measure {
            Measure::Telnet => {
                let renewed = stopping::renew(self.root, alone, &plan);
                if stops {
                    outcome.stopped = stopping::stop_shells(self.root, alone, !self.request.boot).0;
                }
                renewed
            }
            Measure::Firewall => live::sync_firewall(self.root, alone, None),
            Measure::Credentials => Ok(()),
        });
        let late = done
            .err()
            .map(|Stop(text, _)| Finding::new(measure, Status::Unknown, text));
        Ok((late.into_iter().collect(), true))
    }

    /// Whether the plan would have to make a login password anew.
    fn forgot(&self, plan: &Plan<'_>) -> bool {
        let login = plan.secrets.fields.iter().any(|(whose, _)| *whose == "login");
        login && self.applied.field("login").is_none()
    }

    /// What decides, and what a later boot is to show then.
    fn situation(&self, plan: &Plan<'_>, survey: &Survey) -> Result<(Situation, Option<String>), Stop> {
        let ways = ssh::ways(
            self.root,
            Allowed::parse_all(&self.harden.allow_lan),
            Some(survey),
            &self.settings.state_dir,
        );
        let facts = ssh::owner_facts(self.root, &self.request.config, false, &ways);
        let tried = plan.recognised.iter().map(|known| known.adapter.tried).min();
        let proof = shown::way_in(self.root, self.request, &self.boot_id, &ways);
        let situation = Situation {
            mode: live::mode(&self.harden),
            asked: false,
            tried: tried.unwrap_or(lenscap_harden::firmware::Tried::Fixture),
            owner: lenscap_harden::gate::owner_path(&facts).filter(|path| *path != OwnerPath::Secret),
            other_login: ways.surest,
            storage: live::storage(self.root, &self.settings, plan),
            bad_boots: self.bad_boots,
        };
        Ok((situation, proof))
    }
}

/// Counts this boot where the count survives it. What cannot be counted never stands aside, and changes nothing either:
/// it has no storage.
fn count_boot(root: &Root, settings: &Settings, boot_id: &str) -> u8 {
    let mut boots = engine::boots(root, settings);
    boots.begin(boot_id);
    if storage::place(root, &settings.state_dir) == Storage::Persistent {
        let _ = engine::keep_boots(root, settings, &boots);
    }
    boots.bad()
}

/// The first sentence that speaks against it.
fn reason(findings: &[Finding]) -> String {
    let worst = [Status::Fails, Status::Planned, Status::Unknown];
    let first = worst
        .iter()
        .find_map(|status| findings.iter().find(|finding| finding.status == *status));
    let Some(Finding { path, text, .. }) = first else {
        return String::new();
    };
    bounded(match path {
        Some(path) => format!("{path}: {text}"),
        None => text.clone(),
    })
}

fn bounded(mut text: String) -> String {
    while text.len() > MAX_REASON_BYTES {
        text.pop();
    }
    text
}

fn tell(
    request: &Request,
    outcome: &Outcome,
    memory: &Memory,
    now: Duration,
    (waiting, for_uplink, for_boot): (bool, bool, bool),
) -> Result<(), Stop> {
    let Outcome {
        verdict,
        restored,
        stopped,
        gave_up,
        waiting_for_owner,
        standing_aside,
        reason,
    } = outcome;
    let verdict = verdict.unwrap_or(Verdict::Unknown);
    if !request.json {
        let mut line = format!("hardening    {}", verdict.name());
        if !restored.is_empty() || *stopped > 0 {
            line.push_str(&format!(
                "; closed again: {} files, {stopped} processes",
                restored.len()
            ));
        }
        if !reason.is_empty() {
            line.push_str(&format!("; {reason}"));
        }
        return super::print(&(line + "\n"));
    }
    let mut lines = flat::Lines::default();
    lines.string("event", "rechecked");
    lines.string(
        "verdict",
        match verdict {
            Verdict::Holds => "holds",
            Verdict::Fails => "fails",
            Verdict::Unknown => "unknown",
        },
    );
    lines.string("reason", reason);
    lines.number("looked_s", now.as_secs());
    lines.string("restored", &restored.join(" "));
    lines.number("stopped", *stopped as u64);
    lines.number("restores_last_hour", memory.restores.count(now) as u64);
    for (name, value) in [
        ("gave_up", *gave_up),
        ("waiting_for_owner", *waiting_for_owner),
        ("waiting_for_confirmation", waiting),
        ("waiting_for_uplink", for_uplink),
        ("waiting_for_boot", for_boot),
        ("standing_aside", *standing_aside),
    ] {
        lines.bool(name, value);
    }
    super::print(&lines.finish())
}

/// Does it in a child, so that nothing that hangs holds up the boot.
pub(super) fn boot(request: &Request) -> Result<u8, Stop> {
    let failed = |error: io::Error| Stop(format!("hardening could not be started: {error}"), EXIT_UNKNOWN);
    let (ours, theirs) = sys::channel().map_err(failed)?;
    let mut command = Command::new(program().map_err(failed)?);
    command.args(["harden", "--boot", "--recheck", "--config"]);
    command.arg(&request.config);
    if request.json {
        command.arg("--json");
    }
    if let Some(only) = &request.only {
        command.args(["--only", only]);
    }
    // It holds the other end until it ends.
    let mut child = command.stdin(theirs).process_group(0).spawn().map_err(failed)?;
    // The command has a copy.
    drop(command);
    let [ended] = sys::wait_readable([Some(ours.as_fd())], Some(BOOT_LIMIT)).map_err(failed)?;
    if ended {
        let status = child.wait().map_err(failed)?;
        return Ok(status
            .code()
            .and_then(|code| code.try_into().ok())
            .unwrap_or(EXIT_UNKNOWN));
    }
    if let Ok(group) = i32::try_from(child.id()) {
        let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
    }
    // It is not waited for: what waits for a broken device cannot even be killed.
    let _ = child.try_wait();
    let seconds = BOOT_LIMIT.as_secs();
    Err(Stop(
        format!("hardening took longer than {seconds} s; the boot goes on without it"),
        EXIT_UNKNOWN,
    ))
}

/// This program's file.
pub(super) fn program() -> io::Result<PathBuf> {
    std::env::current_exe().or_else(|error| std::env::args_os().next().map(Into::into).ok_or(error))
}
