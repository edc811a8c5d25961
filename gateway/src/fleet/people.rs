//! Viewers, tokens and playback addresses.

use serde::{Deserialize, Serialize};
use tracing::info;

use super::access::Access;
use super::link::{self, Link};
use super::{Fleet, FleetError, sealed};
use crate::clock::unix_now;
use crate::config::{is_name, is_user};
use crate::rtsp::digest::Ha1;
use crate::store::{Scope, Token, ViewerRow};
use crate::tls::sha256;

/// Most viewers, and most tokens.
const MAX_PEOPLE: usize = 10_000;
/// Shortest password.
const MIN_PASSWORD_CHARS: usize = 8;
/// Longest password, in bytes.
const MAX_PASSWORD_BYTES: usize = 256;
/// Most cameras that a list names.
const MAX_LISTED: usize = 1000;

/// A viewer to be made.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewViewer {
    /// Login name.
    pub user: String,
    /// Made if it is not given.
    pub password: Option<String>,
    /// Whose cameras.
    pub account: Option<String>,
    /// Only these.
    pub cameras: Option<Vec<String>>,
    /// For so many seconds from now.
    pub seconds: Option<u64>,
}

impl std::fmt::Debug for NewViewer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewViewer")
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

/// A viewer as shown.
#[derive(Debug, Serialize)]
pub struct ViewerView {
    /// Login name.
    pub user: String,
    /// Whose cameras; empty for all.
    pub account: String,
    /// Only these; null for all.
    pub cameras: Option<Vec<String>>,
    /// Seconds since 1970.
    pub created: Option<u64>,
    /// Seconds since 1970.
    pub expires: Option<u64>,
    /// In the configuration file.
    pub fixed: bool,
}

/// A token to be made.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    /// For people.
    pub name: String,
    /// What it is good for.
    pub scopes: Vec<Scope>,
    /// Only this account's cameras.
    pub account: Option<String>,
    /// Only these.
    pub cameras: Option<Vec<String>>,
    /// For so many seconds from now.
    pub seconds: Option<u64>,
}

/// A token as shown; never the token itself.
#[derive(Debug, Serialize)]
pub struct TokenView {
    /// Its number.
    pub id: i64,
    /// For people.
    pub name: String,
    /// What it is good for.
    pub scopes: Vec<Scope>,
    /// Only this account's cameras; empty for all.
    pub account: String,
    /// Only these; null for all.
    pub cameras: Option<Vec<String>>,
    /// Seconds since 1970.
    pub created: u64,
    /// Seconds since 1970.
    pub expires: Option<u64>,
}

impl Fleet {
    /// Makes a viewer; gives the password, which is not shown again.
    ///
    /// # Errors
    /// See [`FleetError`].
    pub fn add_viewer(&self, new: NewViewer) -> Result<String, FleetError> {
        self.must_keep()?;
        if !is_user(&new.user) {
            let why = "a user's name has 1 to 64 bytes, without quotes, colons and backslashes";
            return Err(FleetError::Bad(why.to_owned()));
        }
        if self.fixed.viewers.contains_key(&new.user) {
            return Err(FleetError::Conflict(format!(
                "the configuration file has a viewer {:?}",
                new.user
            )));
        }
        if self.live().viewers.len() >= MAX_PEOPLE {
            return Err(FleetError::Conflict(format!(
                "there are {MAX_PEOPLE} viewers already"
            )));
        }
        let password = match new.password {
            None => random_text(16),
            Some(password) if is_password(&password) => password,
            Some(_) => {
                let why = format!(
                    "a password has {MIN_PASSWORD_CHARS} characters or more, {MAX_PASSWORD_BYTES} bytes at most, and no control characters"
                );
                return Err(FleetError::Bad(why));
            }
        };
        let now = unix_now();
        let row = ViewerRow {
            ha1: Ha1::from_password(&new.user, &self.fixed.realm, &password),
            user: new.user,
            account: check_account(new.account)?,
            cameras: self.check_cameras(new.cameras)?,
            created: now,
            expires: expiry(now, new.seconds)?,
        };
        self.change(|store| Ok(store.add_viewer(&row)?))?;
        info!(user = row.user, "viewer added");
        Ok(password)
    }

    /// Takes a viewer away; its sessions end.
    ///
    /// # Errors
    /// See [`FleetError`].
    pub fn remove_viewer(&self, user: &str) -> Result<(), FleetError> {
        if self.fixed.viewers.contains_key(user) {
            let why = format!("{user:?} is in the configuration file; take it out there");
            return Err(FleetError::Conflict(why));
        }
        self.change_at_any_time(|store| Ok(store.remove_viewer(user)?))?;
        info!(user, "viewer revoked");
        Ok(())
    }

    /// All viewers.
    #[must_use]
    pub fn viewers(&self) -> Vec<ViewerView> {
        let fixed = self.fixed.viewers.iter().map(|(user, viewer)| ViewerView {
            user: user.clone(),
            account: String::new(),
            cameras: viewer
                .cameras
                .as_ref()
                .map(|names| names.iter().cloned().collect()),
            created: None,
            expires: None,
            fixed: true,
        });
        let live = self.live();
        let kept = live.viewers.iter().map(|row| ViewerView {
            user: row.user.clone(),
            account: row.account.clone(),
            cameras: row.cameras.clone(),
            created: Some(row.created),
            expires: row.expires,
            fixed: false,
        });
        fixed.chain(kept).collect()
    }

    /// Makes a token; gives its number and the token, which is not shown again.
    ///
    /// # Errors
    /// See [`FleetError`].
    pub fn add_token(&self, new: NewToken) -> Result<(i64, String), FleetError> {
        self.must_keep()?;
        if !is_name(&new.name) {
            let why = "a token's name has 1 to 64 of the letters a-z, A-Z, 0-9, `-`, `_` and `.`";
            return Err(FleetError::Bad(why.to_owned()));
        }
        if new.scopes.is_empty() || new.scopes.len() > Scope::ALL.len() {
            let names: Vec<&str> = Scope::ALL.iter().map(|(_, name)| *name).collect();
            return Err(FleetError::Bad(format!(
                "a token needs scopes: {}",
                names.join(", ")
            )));
        }
        let bounded =
            new.account.as_ref().is_some_and(|account| !account.is_empty()) || new.cameras.is_some();
        if bounded && new.scopes.contains(&Scope::Admin) {
            let why = "an admin token is for everything; give claim or view with an account or cameras";
            return Err(FleetError::Bad(why.to_owned()));
        }
        if self.live().tokens.len() >= MAX_PEOPLE {
            return Err(FleetError::Conflict(format!(
                "there are {MAX_PEOPLE} tokens already"
            )));
        }
        let secret = format!("lct_{}", random_text(32));
        let now = unix_now();
        let token = Token {
            id: 0,
            hash: sha256(secret.as_bytes()),
            account: check_account(new.account)?,
            cameras: self.check_cameras(new.cameras)?,
            created: now,
            expires: expiry(now, new.seconds)?,
            name: new.name,
            scopes: new.scopes,
        };
        let id = self.change(|store| Ok(store.add_token(&token)?))?;
        info!(token = token.name, "token created");
        Ok((id, secret))
    }

    /// Takes a token away, and with it the playback addresses made by it.
    ///
    /// # Errors
    /// See [`FleetError`].
    pub fn remove_token(&self, id: i64) -> Result<(), FleetError> {
        self.change_at_any_time(|store| Ok(store.remove_token(id)?))?;
        info!(token = id, "token revoked");
        Ok(())
    }

    /// All tokens.
    #[must_use]
    pub fn tokens(&self) -> Vec<TokenView> {
        let live = self.live();
        let mut tokens: Vec<TokenView> = live
            .tokens
            .values()
            .map(|token| TokenView {
                id: token.id,
                name: token.name.clone(),
                scopes: token.scopes.clone(),
                account: token.account.clone(),
                cameras: token.cameras.clone(),
                created: token.created,
                expires: token.expires,
            })
            .collect();
        tokens.sort_by_key(|token| token.id);
        tokens
    }

    /// The query parameter of a playback address, and when it ends.
    ///
    /// # Errors
    /// See [`FleetError`].
    pub fn make_link(
        &self,
        access: &Access,
        camera: &str,
        profile: &str,
        seconds: u64,
    ) -> Result<(String, u64), FleetError> {
        if !self.sees(access, camera) {
            return Err(FleetError::Missing(format!("there is no camera {camera:?}")));
        }
        if !is_name(profile) {
            return Err(FleetError::Bad("this cannot be a profile's name".to_owned()));
        }
        if seconds == 0 || seconds > link::MAX_SECONDS {
            return Err(FleetError::Bad(format!("seconds: 1 to {}", link::MAX_SECONDS)));
        }
        let asked = self.now()? + seconds;
        let expires = access.expires().map_or(asked, |end| end.min(asked));
        let rules = self.policy.borrow();
        let owner = rules.owner(camera);
        let text = Link::new(camera, profile, &access.issuer(), owner, expires).seal(&rules.link_key);
        Ok((text, expires))
    }

    /// Who made this playback address, if it is good for the profile now.
    #[must_use]
    pub fn accept_link(&self, text: &str, camera: &str, profile: &str) -> Option<String> {
        let rules = self.policy.borrow();
        let link = Link::accept(text, &rules.link_key, camera, profile, unix_now())?;
        let good = rules.counts_link(link.by(), link.owner(), camera);
        good.then(|| format!("link:{}", link.by()))
    }

    fn check_cameras(&self, cameras: Option<Vec<String>>) -> Result<Option<Vec<String>>, FleetError> {
        let Some(cameras) = cameras else { return Ok(None) };
        if cameras.len() > MAX_LISTED {
            return Err(FleetError::Bad(format!(
                "more than {MAX_LISTED} cameras; use an account"
            )));
        }
        match cameras.iter().find(|name| self.account_of(name).is_none()) {
            Some(name) => Err(FleetError::Bad(format!("there is no camera {name:?}"))),
            None => Ok(Some(cameras)),
        }
    }
}

fn check_account(account: Option<String>) -> Result<String, FleetError> {
    let account = account.unwrap_or_default();
    if account.is_empty() || is_name(&account) {
        Ok(account)
    } else {
        Err(FleetError::Bad("this cannot be an account's name".to_owned()))
    }
}

fn expiry(now: u64, seconds: Option<u64>) -> Result<Option<u64>, FleetError> {
    /// A hundred years.
    const MAX: u64 = 100 * 366 * 86_400;
    match seconds {
        Some(0) => Err(FleetError::Bad("seconds: 1 or more".to_owned())),
        Some(seconds) if seconds > MAX => Err(FleetError::Bad("seconds: a hundred years at most".to_owned())),
        other => Ok(other.map(|seconds| now + seconds)),
    }
}

fn is_password(password: &str) -> bool {
    password.chars().count() >= MIN_PASSWORD_CHARS
        && password.len() <= MAX_PASSWORD_BYTES
        && !password.chars().any(char::is_control)
}

/// Random bytes as text.
fn random_text(bytes: usize) -> String {
    let random: [u8; 32] = rand::random();
    sealed::encode(&random[..bytes.min(random.len())])
}
