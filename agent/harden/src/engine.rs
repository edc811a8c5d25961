//! Plans, applies and verifies all measures of a root, and notes what waits; [`undo`] and its like take it back.

use core::time::Duration;
use std::io;

use crate::anew;
use crate::applied::Applied;
use crate::credentials::{self, Secrets};
use crate::defaults::Checker;
use crate::edits::{Edit, Edits};
use crate::firewall::{Policy, Watch, is_own, is_streamers, watchers_agree};
use crate::firmware::{Recognised, recognise};
use crate::gate::{Boots, Confirmation, Due};
use crate::journal::{Entry, Saved, sha256};
use crate::listeners::{self, Close};
use crate::proof;
use crate::report::{Finding, Measure, Verdict, verdict};
use crate::root::{Attributes, Root};
use crate::secret::{LoginPassword, Random};
use crate::survey::Survey;
pub use crate::taking_back::{Undone, roll_back, undo, undo_some};
use crate::telnet;
use crate::transaction::{FILE_OVERHEAD, Failure, Recovered, Store, Write, is_absent};

/// Where the journal is, if nothing else is said.
pub const STATE_DIR: &str = "/etc/lenscap/harden";
/// Where the agent finds the media password, if nothing else is said.
pub const PASSWORD_FILE: &str = "/etc/lenscap/camera-password";

/// What is to be done, and how.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The measures that are wanted.
    pub measures: Vec<Measure>,
    /// How login passwords are made.
    pub login_password: LoginPassword,
    /// The folder of journal and originals.
    pub state_dir: String,
    /// The file of the media password.
    pub password_file: String,
    /// Services that are closed too.
    pub close: Close,
    /// What the kernel's filter lets pass, if one is in force.
    pub filter: Option<Policy>,
    /// Where name servers are named, beside the usual places.
    pub resolv_conf: Option<String>,
    /// Who is asked before media gets another password; `None`: nobody can be there.
    pub watch: Option<Watch>,
    /// What a later boot is to show of the owner's way in, before what closed a login is believed to stay: this boot, a blank,
    /// and a word for that way.
    pub proof: Option<String>,
}

impl Settings {
    /// Whether media may get another password. Once it has one of ours, that was decided.
    pub fn media_may_change(&self, edits: &mut Edits<'_>) -> bool {
        let Some(watch) = &self.watch else {
            return true;
        };
        let journal = Store::new(edits.root(), &self.state_dir).journal();
        journal.is_ok_and(|journal| journal.applies(&self.password_file))
            || watchers_agree(edits, Measure::Credentials, watch)
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            measures: vec![Measure::Telnet, Measure::Credentials],
            login_password: LoginPassword::Random,
            state_dir: STATE_DIR.into(),
            password_file: PASSWORD_FILE.into(),
            close: Close::default(),
            filter: None,
            resolv_conf: None,
            watch: None,
            proof: None,
        }
    }
}

/// Notes of the state folder. What inetd is to close: the boot, how many, and the sockets that it had.
pub const INETD: &str = "inetd";
/// The programs that were stopped and start again if nobody confirms or no boot shows the way in, one in a line.
pub const STOPPED: &str = "stopped";
/// Users of services that no file holds: what was changed, or is about to be: how to take it back, or to finish it.
pub const SERVICES: &str = "services";
pub(crate) const UNCONFIRMED: &str = "unconfirmed";
const BOOTS: &str = "boots";
pub(crate) const LEFT: &str = "left";
pub(crate) const APPLIED: &str = "applied";
const VERDICTS: &str = "verdicts";

/// A note of the state folder; nothing if there is none.
#[must_use]
pub fn kept(root: &Root, settings: &Settings, name: &str) -> String {
    let text = root.read(&note_path(settings, name)).unwrap_or_default();
    String::from_utf8_lossy(&text).into_owned()
}

/// Keeps a note in the place of another.
///
/// # Errors
/// When the file system refuses.
pub fn keep(root: &Root, settings: &Settings, name: &str, text: &str) -> io::Result<()> {
    let path = note_path(settings, name);
    let temporary = format!("{path}.new");
    root.remove(&temporary)?;
    let written = root.create(&temporary, text.as_bytes(), Attributes::PRIVATE);
    let kept = written.and_then(|()| root.rename(&temporary, &path));
    if kept.is_err() {
        let _ = root.remove(&temporary);
    }
    kept
}

/// Where a note lies.
#[must_use]
pub fn note_path(settings: &Settings, name: &str) -> String {
    format!("{}/{name}", settings.state_dir)
}

/// What an earlier run learned about hashes.
#[must_use]
pub fn checker(root: &Root, settings: &Settings, budget: u64) -> Checker {
    Checker::with_memory(budget, &kept(root, settings, VERDICTS))
}

/// Keeps what was learned, for a slow processor's next run. It is no loss if that fails.
pub fn remember(root: &Root, settings: &Settings, checker: &Checker) {
    if let Some(memory) = checker.memory().filter(|_| root.exists(&settings.state_dir)) {
        let _ = keep(root, settings, VERDICTS, &memory);
    }
}

/// The boots so far.
#[must_use]
pub fn boots(root: &Root, settings: &Settings) -> Boots {
    Boots::parse(&kept(root, settings, BOOTS))
}

/// Keeps the count of boots, if it is another one.
///
/// # Errors
/// When the file system refuses.
pub fn keep_boots(root: &Root, settings: &Settings, boots: &Boots) -> io::Result<()> {
    if *boots == self::boots(root, settings) {
        return Ok(());
    }
    root.make_folders(&settings.state_dir)?;
    keep(root, settings, BOOTS, &boots.to_text())
}

/// What earlier runs applied.
#[must_use]
pub fn applied(root: &Root, settings: &Settings) -> Applied {
    Applied::parse(&kept(root, settings, APPLIED))
}

/// What was found, and what would be changed. Nothing is changed yet.
pub struct Plan<'a> {
    /// The firmwares that fit.
    pub recognised: Vec<Recognised>,
    /// The changes and the findings.
    pub edits: Edits<'a>,
    /// New passwords.
    pub secrets: Secrets,
    /// Whether an earlier run was cut short.
    pub interrupted: bool,
}

impl Plan<'_> {
    /// What was found.
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        &self.edits.findings
    }

    /// The bytes that must be free while the plan is applied.
    #[must_use]
    pub fn space_needed(&self) -> u64 {
        let sizes = self.edits.files().map(|(_, edit)| {
            let original = edit.original.as_ref().map_or(0, Vec::len);
            (edit.contents.len() + original) as u64 + 2 * FILE_OVERHEAD
        });
        sizes.sum::<u64>() + 4 * FILE_OVERHEAD
    }

    /// Whether everything is as it should be, without any change.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        verdict(self.findings())
    }
}

/// The walk over a root that a plan begins with, if its measures need one.
#[must_use]
pub fn survey(root: &Root, settings: &Settings) -> Survey {
    if settings
        .measures
        .iter()
        .all(|measure| *measure == Measure::Firewall)
    {
        return Survey::default();
    }
    Survey::take(root, &settings.state_dir)
}

/// Looks at a root and plans what closes it.
///
/// # Errors
/// When a file that was seen cannot be read, or there is no randomness.
pub fn plan<'a>(
    root: &'a Root,
    settings: &Settings,
    checker: &mut Checker,
    random: Random<'_>,
) -> io::Result<Plan<'a>> {
    plan_surveyed(root, settings, &survey(root, settings), checker, random)
}

/// The same after a walk that serves several plans of one moment.
///
/// # Errors
/// As [`plan`].
pub fn plan_surveyed<'a>(
    root: &'a Root,
    settings: &Settings,
    survey: &Survey,
    checker: &mut Checker,
    random: Random<'_>,
) -> io::Result<Plan<'a>> {
    let recognised = recognise(root, survey);
    let mut edits = Edits::new(root);
    anew::plan(root, settings, &mut edits)?;
    let mut secrets = Secrets::default();
    if settings.measures.contains(&Measure::Telnet) {
        if root.is_live() {
            listeners::report(settings.close, settings.filter.as_ref(), &mut edits);
        }
        telnet::plan(survey, settings.close, &mut edits)?;
    }
    if settings.measures.contains(&Measure::Credentials) {
        let inputs = credentials::Inputs {
            survey,
            recognised: &recognised,
            checker,
            random,
            settings,
            kept: &applied(root, settings),
        };
        secrets = credentials::plan(inputs, &mut edits)?;
    }
    edits.settle_anew();
    edits.tell_unsteady();
    Ok(Plan {
        recognised,
        edits,
        secrets,
        interrupted: Store::new(root, &settings.state_dir).is_interrupted(),
    })
}

/// Makes all changes of a plan, or none. With `applied_at`, the boot and the time in it, they wait for a confirmation from
/// the same moment on. `disclose` tells new passwords to whoever must know them; it is called when
/// nothing but the decision is missing, and its error stops the rest.
///
/// # Errors
/// See [`Failure`].
pub fn apply(
    plan: &Plan<'_>,
    settings: &Settings,
    applied_at: Option<(&str, Duration)>,
    disclose: &mut dyn FnMut(&Secrets) -> io::Result<()>,
) -> Result<(), Failure> {
    let root = plan.edits.root();
    let store = Store::new(root, &settings.state_dir);
    let mut journal = store.journal().map_err(Failure::Unchanged)?;
    let mut writes = Vec::new();
    let mut originals = Vec::new();
    for (path, edit) in plan.edits.files() {
        let was = edit.original.as_deref().map(sha256);
        // Else somebody else wrote it since: what they wrote is what undo returns to.
        let known = journal
            .entry(path)
            .filter(|known| was.as_ref() == Some(&known.written));
        let (original, insecure, below) = original_of(root, path, edit, known);
        let mut why = known.map_or(String::new(), |known| known.why.clone());
        for more in &edit.why {
            if !why.split("; ").any(|have| have == more) {
                let before = if why.is_empty() { "" } else { "; " };
                why.extend([before, more]);
            }
        }
        if let Some((contents, _)) = &edit.base {
            originals.push(contents.clone());
        }
        if let (Some(saved), Some(contents)) = (&original, &edit.original)
            && was.as_ref() == Some(&saved.name)
        {
            originals.push(contents.clone());
        }
        journal.put(Entry {
            path: path.to_owned(),
            original,
            written: sha256(&edit.contents),
            insecure: insecure || edit.insecure,
            below,
            why,
        });
        writes.push(Write::File {
            path: path.to_owned(),
            contents: edit.contents.clone(),
            attributes: edit.attributes,
            was,
        });
    }
    let changes = !writes.is_empty();
    writes.extend(applied_write(plan, settings, changes));
    if writes.is_empty() {
        return Ok(());
    }
    // A note alone waits for nobody: a confirmation without files would mean all of the journal.
    if changes {
        let paths: Vec<String> = plan.edits.files().map(|(path, _)| path.to_owned()).collect();
        add_waits(root, settings, &paths, applied_at, &mut writes).map_err(Failure::Unchanged)?;
    }
    let needed = Store::space_needed(&writes, &originals);
    if root
        .free_bytes(&settings.state_dir)
        .is_some_and(|free| free < needed)
    {
        return Err(Failure::Unchanged(io::Error::new(
            io::ErrorKind::StorageFull,
            format!("{needed} bytes must be free in {}", settings.state_dir),
        )));
    }
    let done = store.commit(&writes, &originals, &journal, &mut || disclose(&plan.secrets));
    done.map(|_| ())
}

/// What undo of a change returns to, whether that holds a default password, and whether it is the firmware's own file, below
/// an overlay. `known`: the entry of what is there, if it is ours.
fn original_of(root: &Root, path: &str, edit: &Edit, known: Option<&Entry>) -> (Option<Saved>, bool, bool) {
    let saved = |contents: &Vec<u8>, attributes| Saved {
        name: sha256(contents),
        attributes,
    };
    match (&edit.base, known) {
        (Some((contents, attributes)), _) => (Some(saved(contents, *attributes)), false, true),
        (None, Some(known)) => (known.original.clone(), known.insecure, known.below),
        (None, None) => {
            let original = edit.original.as_ref();
            let below = root
                .below(path)
                .is_ok_and(|(contents, _)| original == Some(&contents));
            (
                original.map(|contents| saved(contents, edit.before)),
                false,
                below,
            )
        }
    }
}

/// Notes what was applied, if that is new. A tree that needed no change gets no note either.
fn applied_write(plan: &Plan<'_>, settings: &Settings, changes: bool) -> Option<Write> {
    let root = plan.edits.root();
    let before = applied(root, settings);
    let mut after = before.clone();
    for measure in &settings.measures {
        if !after.measures.contains(measure) {
            after.measures.push(*measure);
        }
    }
    for (whose, field) in &plan.secrets.fields {
        after.put(whose, field);
    }
    let wanted = after != before && !after.measures.is_empty() && (changes || root.is_live());
    wanted.then(|| note(settings, APPLIED, after.to_text()))
}

pub(crate) fn note(settings: &Settings, name: &str, text: String) -> Write {
    Write::File {
        path: note_path(settings, name),
        contents: text.into_bytes(),
        attributes: Attributes::PRIVATE,
        was: None,
    }
}

/// Whether a file was changed to close telnet.
#[must_use]
pub fn closes_telnet(entry: &Entry, settings: &Settings) -> bool {
    let other = is_own(&entry.path, &settings.state_dir) || entry.path == settings.password_file;
    entry.original.is_some() && !entry.insecure && !other && !is_streamers(&entry.why)
}

/// What waits for the owner: this run's files, and those of an earlier one that waits already. The earlier time counts,
/// but where it is over: then something could not be taken back yet, and goes with this run.
fn confirmation_write(
    root: &Root,
    paths: &[String],
    settings: &Settings,
    (boot_id, applied_at): (&str, Duration),
) -> io::Result<Write> {
    let earlier = waiting(root, settings)?;
    let all = earlier.as_ref().is_some_and(|earlier| earlier.paths.is_empty());
    let mut confirmation = Confirmation {
        boot_id: boot_id.to_owned(),
        applied_at,
        paths: Vec::new(),
    };
    if let Some(earlier) = earlier {
        if earlier.due(boot_id, applied_at) == Due::RollBack {
            confirmation.paths = earlier.paths;
        } else {
            confirmation = earlier;
        }
    }
    for path in paths {
        if !all && !confirmation.paths.contains(path) {
            confirmation.paths.push(path.clone());
        }
    }
    Ok(note(settings, UNCONFIRMED, confirmation.to_text()))
}

/// Adds what has files wait, for the owner or a boot.
fn add_waits(
    root: &Root,
    settings: &Settings,
    paths: &[String],
    applied_at: Option<(&str, Duration)>,
    writes: &mut Vec<Write>,
) -> io::Result<()> {
    if let Some(applied_at) = applied_at {
        writes.push(confirmation_write(root, paths, settings, applied_at)?);
    }
    if let Some(proof) = &settings.proof {
        writes.push(proof::with(root, settings, proof, paths));
    }
    Ok(())
}

/// Has something wait for a confirmation, and for a boot, that goes with a file, and is not in it: users of services go with the
/// media password, whether or not that is a new one.
///
/// # Errors
/// See [`Failure`].
pub fn wait_with(
    root: &Root,
    settings: &Settings,
    path: &str,
    applied_at: Option<(&str, Duration)>,
) -> Result<(), Failure> {
    let store = Store::new(root, &settings.state_dir);
    let journal = store.journal().map_err(Failure::Unchanged)?;
    let mut writes = Vec::new();
    add_waits(root, settings, &[path.to_owned()], applied_at, &mut writes).map_err(Failure::Unchanged)?;
    if writes.is_empty() {
        return Ok(());
    }
    let done = store.commit(&writes, &[], &journal, &mut || Ok(()));
    done.map(|_| ())
}

/// The file that is there as long as something waits for a confirmation.
#[must_use]
pub fn confirmation_path(settings: &Settings) -> String {
    note_path(settings, UNCONFIRMED)
}

/// What waits for a confirmation.
///
/// # Errors
/// When it cannot be read.
pub fn waiting(root: &Root, settings: &Settings) -> io::Result<Option<Confirmation>> {
    match root.read(&confirmation_path(settings)) {
        Ok(text) => Ok(Some(Confirmation::parse(&String::from_utf8_lossy(&text)))),
        Err(error) if is_absent(&error) => Ok(None),
        // Too large: it is damaged.
        Err(error) if error.raw_os_error().is_none() => Ok(Some(Confirmation::parse(""))),
        Err(error) => Err(error),
    }
}

/// Whether a file is among what waits.
#[must_use]
pub fn waits_for(waiting: &Confirmation, path: &str) -> bool {
    waiting.paths.is_empty() || waiting.paths.iter().any(|waits| waits == path)
}

/// The owner confirms: what was applied stays, unless a later boot has something to show yet: see [`proof`]. Says whether
/// something waited.
///
/// # Errors
/// When the file system refuses.
pub fn confirm(root: &Root, settings: &Settings) -> io::Result<bool> {
    let waited = waiting(root, settings)?.is_some();
    if waited {
        if proof::unproven(root, settings).is_empty() {
            root.remove(&note_path(settings, STOPPED))?;
            root.remove(&note_path(settings, proof::SHORT))?;
        }
        root.remove(&confirmation_path(settings))?;
        root.sync_folder(&settings.state_dir)?;
    }
    Ok(waited)
}

/// Files that were not taken back when nobody confirmed them, since somebody else had changed them: until somebody asks
/// for hardening again.
#[must_use]
pub fn left(root: &Root, settings: &Settings) -> Vec<String> {
    kept(root, settings, LEFT).lines().map(str::to_owned).collect()
}

/// Somebody knows of them.
///
/// # Errors
/// When the file system refuses.
pub fn forget_left(root: &Root, settings: &Settings) -> io::Result<()> {
    root.remove(&note_path(settings, LEFT))
}

/// Brings an interrupted run to its end.
///
/// # Errors
/// When the file system refuses.
pub fn recover(root: &Root, settings: &Settings) -> io::Result<Recovered> {
    Store::new(root, &settings.state_dir).recover()
}

pub(crate) fn current(root: &Root, path: &str) -> io::Result<Option<String>> {
    match root.read(path) {
        Ok(contents) => Ok(Some(sha256(&contents))),
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => Err(error),
    }
}
