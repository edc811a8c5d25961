//! Passwords that everybody knows: of logins, of RTSP, ONVIF and the web, with everything that depends on them.

mod accounts;
mod servers;
mod services;

use std::io;

use crate::applied::{Applied, IMAGE, OF_IMAGE};
use crate::crypt::{Scheme, verify};
use crate::defaults::{Checker, Strength, is_known};
use crate::edits::{Edits, why_left};
use crate::engine::{SERVICES, Settings, note_path};
use crate::firmware::Recognised;
use crate::hostkeys;
use crate::report::{Measure, Status};
use crate::root::Attributes;
use crate::secret::{self, LoginPassword, Random, Secret};
use crate::survey::Survey;

pub use accounts::{is_roots, options_of_dropbear};

/// This program on a camera: what makes its own media password at the first boot.
pub const PROGRAM: &str = "/usr/sbin/lenscap";

/// A password field that no password fits. With `!` OpenSSH without PAM would take no key either.
pub const LOCKED: &str = "*";

/// What is planned for the passwords of a root.
pub(crate) struct Context<'c, 'r> {
    pub(crate) edits: &'c mut Edits<'r>,
    pub(crate) survey: &'c Survey,
    pub(crate) recognised: &'c [Recognised],
    pub(crate) checker: &'c mut Checker,
    pub(crate) random: Random<'c>,
    pub(crate) settings: &'c Settings,
    scheme: Scheme,
    secrets: Secrets,
    kept: &'c Applied,
    hashes: Vec<(&'static str, String)>,
    /// Root's password field, if it gets another.
    root_field: Option<String>,
    /// Whether media keeps its passwords, as somebody watches; once it is asked.
    waits: Option<bool>,
    /// The password that the streamer has, which is nobody else's: others become this one, for the agent has it too.
    own: Option<Secret>,
    /// Why media must keep its passwords, if so, and where that shows.
    unsure: Option<(String, &'static str)>,
    /// The media password that the image gave to every camera: another takes its place.
    image: Option<Secret>,
}

/// Passwords that the plan makes.
#[derive(Clone, Default)]
pub struct Secrets {
    /// Of root's login, if a new one was made at random.
    pub login: Option<Secret>,
    /// Of RTSP, ONVIF and the like.
    pub media: Option<Secret>,
    /// The user that goes with it, where the firmware names one.
    pub media_user: Option<String>,
    /// What the tables get, by whose it is.
    pub fields: Vec<(&'static str, String)>,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secrets")
    }
}

/// Everything that the measure needs beside the edits.
pub struct Inputs<'c> {
    /// The root's files.
    pub survey: &'c Survey,
    /// The firmwares that fit.
    pub recognised: &'c [Recognised],
    /// Judges hashes.
    pub checker: &'c mut Checker,
    /// Randomness for new passwords.
    pub random: Random<'c>,
    /// How passwords are made, and where the agent finds its own.
    pub settings: &'c Settings,
    /// What an earlier run wrote.
    pub kept: &'c Applied,
}

/// Looks for weak passwords and plans new ones.
///
/// # Errors
/// When a file that was seen cannot be read, or there is no randomness.
pub fn plan(inputs: Inputs<'_>, edits: &mut Edits<'_>) -> io::Result<Secrets> {
    let before = edits.findings.len();
    let root = edits.root();
    let mut image = None;
    // Services that no file holds have it too, where they were given it.
    let services = note_path(inputs.settings, SERVICES);
    if root.is_live() && inputs.kept.has_media_of_image() && !root.exists(&services) {
        let stored = edits.read(&inputs.settings.password_file)?.unwrap_or_default();
        image = Secret::given(String::from_utf8_lossy(&stored).trim_end()).ok();
    }
    let mut context = Context {
        survey: inputs.survey,
        recognised: inputs.recognised,
        checker: inputs.checker,
        random: inputs.random,
        settings: inputs.settings,
        scheme: Scheme::Md5,
        secrets: Secrets::default(),
        kept: inputs.kept,
        hashes: Vec::new(),
        root_field: None,
        waits: None,
        own: None,
        unsure: None,
        image,
        edits,
    };
    let tables = accounts::read(&mut context);
    let used: Vec<Scheme> = tables.schemes();
    let (scheme, why) = secret::strongest(context.edits.root(), context.survey, &used);
    context.scheme = scheme;
    hostkeys::report(context.edits);
    if accounts::must_stay(&mut context, &tables)? {
        context.waits = Some(true);
    }
    servers::look(&mut context)?;
    services::plan(&mut context)?;
    accounts::plan(&mut context, &tables)?;
    if context.waits == Some(true) {
        context.secrets.media = None;
    }
    if context.secrets.media.is_some() {
        keep_media_password(&mut context)?;
    }
    if !root.is_live() {
        in_every_camera(&mut context);
    }
    if !context.survey.complete {
        let text = "some files could not be looked at";
        context.find(Status::Unknown, None, text);
    }
    if !context.hashes.is_empty() {
        let text = format!("new login passwords are hashed with {scheme}: {why}");
        context
            .edits
            .find(Measure::Credentials, Status::Notice, None, text);
    }
    let Context { edits, secrets, .. } = context;
    if edits.findings[before..]
        .iter()
        .all(|finding| finding.status == Status::Notice)
    {
        edits.find(
            Measure::Credentials,
            Status::Holds,
            None,
            "no password is one that everybody knows",
        );
    }
    Ok(secrets)
}

/// What a tree holds all cameras of its image will have.
fn in_every_camera(context: &mut Context<'_, '_>) {
    if context.secrets.login.is_some() {
        context.find(
            Status::Notice,
            None,
            "every camera of this image has the new login password",
        );
    }
    if context.secrets.media.is_none() && context.kept.field(IMAGE).is_none() {
        return;
    }
    let (status, text) = if context.edits.root().exists(PROGRAM) {
        (
            Status::Notice,
            "the media password is part of the image: the first boot makes another",
        )
    } else {
        (
            Status::Fails,
            "the media password is part of the image: every camera will have it",
        )
    };
    context.find(status, None, text);
}

impl Context<'_, '_> {
    fn find(&mut self, status: Status, at: Option<(&str, u32)>, text: impl Into<String>) {
        self.edits.find(Measure::Credentials, status, at, text);
    }

    /// Whether RTSP asks for root's own password.
    fn has_one_password(&self) -> bool {
        self.recognised.iter().any(|known| known.adapter.one_password)
    }

    /// Whether others have a service's password too.
    fn is_weak(&self, password: &str) -> bool {
        let image = self.image.as_ref();
        is_known(password) || image.is_some_and(|image| image.reveal() == password)
    }

    /// Whether all cameras of the image have a hash.
    fn is_of_image(&self, hash: &str) -> bool {
        self.image.is_some() && self.kept.field("media") == Some(hash)
    }

    /// Whether media keeps its passwords until somebody decides, or as one of their places must stay: the agent would lose
    /// its video.
    fn media_waits(&mut self) -> bool {
        let (settings, edits) = (self.settings, &mut *self.edits);
        let mut places = self.recognised.iter().flat_map(|known| known.adapter.places);
        *self.waits.get_or_insert_with(|| {
            if let Some((path, text)) = &self.unsure {
                edits.find(Measure::Credentials, Status::Fails, Some((path, 0)), *text);
                return true;
            }
            let stays = places.find(|place| !edits.root().may_change(place.path));
            if let Some(place) = stays {
                let text = why_left(edits.root(), place.path);
                edits.find(Measure::Credentials, Status::Fails, Some((place.path, 0)), text);
            }
            stays.is_some() || !settings.media_may_change(edits)
        })
    }

    /// The media password: that of an earlier run where there is one.
    fn media_secret(&mut self) -> io::Result<Secret> {
        if let Some(secret) = &self.secrets.media {
            return Ok(secret.clone());
        }
        let stored = self.edits.read(&self.settings.password_file)?.unwrap_or_default();
        let stored = String::from_utf8_lossy(&stored);
        let stored = Secret::given(stored.trim_end())
            .ok()
            .filter(|_| self.image.is_none());
        let secret = match self.own.clone().or(stored) {
            Some(secret) => {
                // Tables that are put back get the hash that the others have.
                let fits = |hash: &&str| verify(hash, secret.reveal().as_bytes()) == Some(true);
                if let Some(hash) = self.kept.field("media").filter(fits) {
                    self.hashes.push(("media", hash.to_owned()));
                }
                secret
            }
            None => Secret::random(self.random)?,
        };
        self.secrets.media = Some(secret.clone());
        Ok(secret)
    }

    fn media_hash(&mut self) -> io::Result<String> {
        let secret = self.media_secret()?;
        self.hash("media", &secret)
    }

    /// What goes into the password field of a login.
    fn login_field(&mut self) -> io::Result<String> {
        match self.login_secret()? {
            Some(secret) => self.hash("login", &secret),
            None => Ok(self.kept_or_locked("login")),
        }
    }

    /// What an earlier run wrote, if that is wanted; else no password fits.
    fn kept_or_locked(&mut self, whose: &'static str) -> String {
        let kept = self
            .kept
            .field(whose)
            .filter(|_| self.settings.login_password == LoginPassword::Kept);
        let field = kept.unwrap_or(LOCKED).to_owned();
        self.note(whose, &field);
        field
    }

    fn note(&mut self, whose: &'static str, field: &str) {
        if !self.secrets.fields.iter().any(|(have, _)| *have == whose) {
            self.secrets.fields.push((whose, field.to_owned()));
        }
    }

    /// The login password; `None`: logins are locked, or it is no longer known.
    fn login_secret(&mut self) -> io::Result<Option<Secret>> {
        match &self.settings.login_password {
            LoginPassword::Lock | LoginPassword::Kept | LoginPassword::Missing => return Ok(None),
            LoginPassword::Given(secret) => return Ok(Some(secret.clone())),
            LoginPassword::Random => {}
        }
        if self.secrets.login.is_none() {
            self.secrets.login = Some(Secret::random(self.random)?);
        }
        Ok(self.secrets.login.clone())
    }

    /// One hash for all tables, so that they agree to the letter.
    fn hash(&mut self, whose: &'static str, secret: &Secret) -> io::Result<String> {
        let known = self.hashes.iter().find(|(name, _)| *name == whose);
        let hash = match known.map(|(_, hash)| hash.clone()) {
            Some(hash) => hash,
            None => {
                let hash = secret.hash(self.scheme, self.random)?;
                self.hashes.push((whose, hash.clone()));
                hash
            }
        };
        self.checker.trust(&hash);
        self.note(whose, &hash);
        Ok(hash)
    }
}

/// Plans the file of the media password. The agent reads it and nothing else: its group may, where there is one, others may
/// not, whatever was there before. Says whether it is another one.
///
/// # Errors
/// When a file that is there cannot be read.
pub fn write_password_file(edits: &mut Edits<'_>, path: &str, secret: &Secret) -> io::Result<bool> {
    let contents = format!("{}\n", secret.reveal()).into_bytes();
    let groups = edits.read("/etc/group")?.unwrap_or_default();
    let group = group(&groups, "lenscap");
    let attributes = Attributes {
        mode: if group.is_some() { 0o640 } else { 0o600 },
        uid: 0,
        gid: group.unwrap_or(0),
    };
    let same = edits.read(path)?.as_ref() == Some(&contents);
    if same
        && edits
            .root()
            .attributes(path)
            .is_ok_and(|have| have.serves(attributes))
    {
        return Ok(false);
    }
    let why = "the agent's password for RTSP and ONVIF";
    edits.put_owned(path, contents, attributes, why)?;
    Ok(!same)
}

fn keep_media_password(context: &mut Context<'_, '_>) -> io::Result<()> {
    let secret = context.media_secret()?;
    let live = context.edits.root().is_live();
    if !live || context.image.is_some() {
        context.note(IMAGE, if live { "renewed" } else { OF_IMAGE });
    }
    let path = &context.settings.password_file;
    if !write_password_file(context.edits, path, &secret)? {
        return Ok(());
    }
    let user = context.secrets.media_user.clone();
    let text = match user {
        Some(user) => format!("the agent logs in to the streamer as `{user}` with the password in {path}"),
        None => format!("the agent logs in to the streamer with the password in {path}"),
    };
    context.find(Status::Notice, None, text);
    Ok(())
}

fn group(text: &[u8], name: &str) -> Option<u32> {
    let text = String::from_utf8_lossy(text);
    let line = text.lines().find(|line| line.split(':').next() == Some(name))?;
    line.split(':').nth(2)?.parse().ok()
}

/// A sentence about a weak password. It does not say the password.
fn describe(strength: Strength) -> String {
    match strength {
        Strength::Empty => "has no password".into(),
        Strength::Known(known) if known.password.is_empty() => "has the empty password".into(),
        Strength::Known(known) => format!("has a password that everybody knows (list: {})", known.source),
        Strength::Unknown(why) => why.into(),
        Strength::Own | Strength::Locked | Strength::Shadowed => "has a password of the image".into(),
    }
}
