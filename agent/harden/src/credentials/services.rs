//! Passwords of services, which firmwares keep in clear.

use std::io;

use super::Context;
use crate::defaults::is_known;
use crate::firmware::{Adapter, Place, Role};
use crate::journal::{hex, sha256};
use crate::locate::{Form, insert, locate, url_passwords};
use crate::report::Status;

/// The user where a firmware has none.
const USER: &str = "lenscap";
/// The value of what was just put there.
const NEW: &str = "\u{1}";
const OPEN: &str = "media is given to everybody: there is no user";
const KNOWN: &str = "the password of a media service is one that everybody knows";
const WEB: &str = "the web interface's password is one that everybody knows";
const SWITCH: &str = "starts what has no users of its own, or none here: whoever reaches its port is let in. Switch it off, or have the firewall close the port";

pub(super) fn plan(context: &mut Context<'_, '_>) -> io::Result<()> {
    let mut in_files = context.edits.root().is_live();
    let mut inside = None;
    for recognised in context.recognised {
        let adapter = recognised.adapter;
        let mut old = Vec::new();
        for place in adapter.places {
            in_files |= service(context, place, &mut old)?;
        }
        dependents(context, adapter, &old)?;
        if adapter.own_users {
            inside = inside.or(Some(recognised));
        }
    }
    if let Some(known) = inside
        && !in_files
    {
        let text = "users of services are in no file here: `--apply` on the running camera asks the services";
        context.find(Status::Notice, Some((&known.evidence, 0)), text);
    }
    Ok(())
}

/// Says whether the file is there.
fn service(context: &mut Context<'_, '_>, place: &Place, old: &mut Vec<String>) -> io::Result<bool> {
    let Place { path, form, role } = *place;
    let Some(mut text) = context.edits.read(path)? else {
        return Ok(false);
    };
    let mut changed = false;
    let mut places = locate(&text, form);
    if places.is_empty()
        && (matches!(role, Role::NewUser | Role::NewPassword) || matches!(form, Form::Ini(..)))
    {
        match insert(&text, form, NEW) {
            Some(new) => {
                text = new;
                places = locate(&text, form);
            }
            None => context.find(Status::Fails, Some((path, 0)), OPEN),
        }
    }
    // From the end, so that earlier places stay where they are.
    for range in places.into_iter().rev() {
        let value = text.get(range.clone()).unwrap_or_default();
        let mut value = String::from_utf8_lossy(value).into_owned();
        if value == NEW {
            value.clear();
        }
        let line = text
            .get(..range.start)
            .map_or(1, |above| 1 + above.iter().filter(|byte| **byte == b'\n').count());
        let at = Some((path, u32::try_from(line).unwrap_or(0)));
        let Some((new, what)) = replacement(context, role, &value)? else {
            continue;
        };
        let stays = matches!(role, Role::Opens(_, "")) || !role.is_apart() && context.media_waits();
        let status = if stays { Status::Fails } else { Status::Planned };
        context.find(status, at, what);
        if stays {
            continue;
        }
        text.splice(range, new.bytes());
        old.push(value);
        changed = true;
    }
    if changed {
        let insecure = !matches!(role, Role::Must(_));
        context.edits.change(
            path,
            text,
            insecure,
            "passwords of services that everybody knows are replaced",
        )?;
    }
    Ok(true)
}

/// What a value becomes, and why. `None`: it stays.
fn replacement(
    context: &mut Context<'_, '_>,
    role: Role,
    value: &str,
) -> io::Result<Option<(String, &'static str)>> {
    Ok(match role {
        Role::MediaUser if value.is_empty() => {
            context.media_secret()?;
            context.secrets.media_user = Some(USER.into());
            Some((USER.into(), OPEN))
        }
        Role::MediaUser => {
            context.secrets.media_user.get_or_insert_with(|| value.to_owned());
            None
        }
        Role::NewUser if value.is_empty() => Some((USER.into(), OPEN)),
        Role::MediaPassword | Role::RtspPassword | Role::NewPassword if context.is_weak(value) => {
            let secret = context.media_secret()?;
            Some((secret.reveal().into(), KNOWN))
        }
        Role::EmptyPair(unless) if !value.is_empty() || context.edits.root().exists(unless) => None,
        Role::GivenPair if value.is_empty() => None,
        Role::MediaPair | Role::EmptyPair(_) if value.is_empty() => {
            let secret = context.media_secret()?;
            context.secrets.media_user = Some(USER.into());
            Some((format!("-U {USER}:{} ", secret.reveal()), OPEN))
        }
        Role::MediaPair | Role::GivenPair => {
            let (user, password) = value.split_once(':').unwrap_or((value, ""));
            context.secrets.media_user.get_or_insert_with(|| user.to_owned());
            if !context.is_weak(password) {
                return Ok(None);
            }
            let secret = context.media_secret()?;
            Some((format!("{user}:{}", secret.reveal()), KNOWN))
        }
        Role::WebDigest => {
            let (who, old) = value.rsplit_once(':').unwrap_or_default();
            let digest = |password: &str| hex(&lenscap_md5::md5(format!("{who}:{password}").as_bytes()));
            if !crate::defaults::known().any(|known| digest(known.password) == old.to_ascii_lowercase()) {
                return Ok(None);
            }
            let new = match context.login_secret()? {
                Some(secret) => digest(secret.reveal()),
                None => context.kept_or_locked("digest"),
            };
            context.note("digest", &new);
            Some((format!("{who}:{new}"), WEB))
        }
        Role::WebHash => {
            let value = value.to_ascii_lowercase();
            if !crate::defaults::known().any(|known| sha256(known.password.as_bytes()) == value) {
                return Ok(None);
            }
            let new = match context.login_secret()? {
                Some(secret) => sha256(secret.reveal().as_bytes()),
                None => context.kept_or_locked("web"),
            };
            context.note("web", &new);
            Some((new, WEB))
        }
        Role::ClearLogin if !value.is_empty() && is_known(value) => Some((
            String::new(),
            "a login password that everybody knows is set at boot",
        )),
        Role::Must(wanted) if value != wanted => {
            Some((wanted.into(), "a service asks nobody for a password"))
        }
        Role::Opens(bad, "") if value == bad => Some((String::new(), SWITCH)),
        Role::Opens(bad, good) if value == bad => {
            Some((good.into(), "a switch gives strangers what asks for no password"))
        }
        Role::MediaPassword
        | Role::RtspPassword
        | Role::NewUser
        | Role::NewPassword
        | Role::EmptyPair(_)
        | Role::ClearLogin
        | Role::Must(_)
        | Role::Opens(..) => None,
    })
}

/// URLs that hold what was replaced.
fn dependents(context: &mut Context<'_, '_>, adapter: &Adapter, old: &[String]) -> io::Result<()> {
    for (path, user) in adapter.urls {
        let Some(mut text) = context.edits.read(path)? else {
            continue;
        };
        let mut changed = false;
        for range in url_passwords(&text, user).into_iter().rev() {
            let value = String::from_utf8_lossy(text.get(range.clone()).unwrap_or_default()).into_owned();
            if !context.is_weak(&value) && !old.contains(&value) || context.media_waits() {
                continue;
            }
            let secret = context.media_secret()?;
            text.splice(range, secret.reveal().bytes());
            changed = true;
        }
        if changed {
            context.find(
                Status::Planned,
                Some((path, 0)),
                "uses the password of a media service that is replaced",
            );
            context
                .edits
                .change(path, text, true, "follows the media password")?;
        }
    }
    Ok(())
}
