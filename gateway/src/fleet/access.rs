//! What whoever asks may do.

use std::sync::Arc;

use crate::store::{Scope, Token};

/// Who asks, by which right.
#[derive(Clone, Debug)]
pub struct Access {
    right: Right,
}

#[derive(Clone, Debug)]
enum Right {
    Operator,
    Token(Arc<Token>),
    /// The camera of a playback address, and who made that.
    Link(String, String),
}

impl Access {
    /// The operator: the local socket, or the configured token.
    #[must_use]
    pub fn operator() -> Self {
        Self {
            right: Right::Operator,
        }
    }

    /// Whoever has this token. The caller has checked that it has not expired.
    #[must_use]
    pub fn token(token: Arc<Token>) -> Self {
        Self {
            right: Right::Token(token),
        }
    }

    /// Whoever has a playback address of this camera, which the caller has checked. `user`: who made it.
    #[must_use]
    pub fn link(camera: &str, user: String) -> Self {
        Self {
            right: Right::Link(camera.to_owned(), user),
        }
    }

    /// Who, for the list of views and for limits.
    #[must_use]
    pub fn who(&self) -> String {
        match &self.right {
            Right::Operator => "operator".to_owned(),
            Right::Token(token) => format!("token:{}", token.name),
            Right::Link(_, user) => user.clone(),
        }
    }

    /// Who, in playback addresses.
    #[must_use]
    pub fn issuer(&self) -> String {
        match &self.right {
            Right::Operator => "admin".to_owned(),
            Right::Token(token) => token.id.to_string(),
            Right::Link(..) => String::new(),
        }
    }

    /// True if it is good for this.
    #[must_use]
    pub fn allows(&self, scope: Scope) -> bool {
        match &self.right {
            Right::Operator => true,
            Right::Token(token) => token.scopes.contains(&scope) || token.scopes.contains(&Scope::Admin),
            // Which camera and profile was looked at before.
            Right::Link(..) => scope == Scope::View,
        }
    }

    /// The only account whose cameras it sees; `None` for every account's.
    #[must_use]
    pub fn account(&self) -> Option<&str> {
        match &self.right {
            Right::Token(token) if !token.account.is_empty() => Some(&token.account),
            Right::Operator | Right::Token(_) | Right::Link(..) => None,
        }
    }

    /// True if it is for some cameras by name, whoever's they are.
    #[must_use]
    pub fn is_list(&self) -> bool {
        match &self.right {
            Right::Token(token) => token.account.is_empty() && token.cameras.is_some(),
            Right::Operator => false,
            Right::Link(..) => true,
        }
    }

    /// True if it sees all cameras.
    #[must_use]
    pub fn is_unbounded(&self) -> bool {
        match &self.right {
            Right::Operator => true,
            Right::Token(token) => token.account.is_empty() && token.cameras.is_none(),
            Right::Link(..) => false,
        }
    }

    /// True if it sees this camera. What it does not see does not exist for it.
    #[must_use]
    pub fn sees(&self, camera: &str, account: &str) -> bool {
        match &self.right {
            Right::Operator => true,
            Right::Token(token) => {
                let listed = |cameras: &Vec<String>| cameras.iter().any(|name| name == camera);
                (token.account.is_empty() || token.account == account)
                    && token.cameras.as_ref().is_none_or(listed)
            }
            Right::Link(own, _) => own == camera,
        }
    }

    /// True for a playback address of this camera.
    #[must_use]
    pub fn sees_by_link(&self, camera: &str) -> bool {
        matches!(&self.right, Right::Link(own, _) if own == camera)
    }

    /// When it ends.
    #[must_use]
    pub fn expires(&self) -> Option<u64> {
        match &self.right {
            Right::Token(token) => token.expires,
            Right::Operator | Right::Link(..) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(scopes: &[Scope], account: &str, cameras: Option<&[&str]>) -> Access {
        Access::token(Arc::new(Token {
            id: 7,
            name: "t".into(),
            hash: [0; 32],
            scopes: scopes.to_vec(),
            account: account.into(),
            cameras: cameras.map(|names| names.iter().map(|name| (*name).to_owned()).collect()),
            created: 0,
            expires: None,
        }))
    }

    #[test]
    fn scopes_accounts_and_lists_all_bind() {
        let view = access(&[Scope::View], "acme", Some(&["front"]));
        assert!(view.allows(Scope::View) && !view.allows(Scope::Claim) && !view.allows(Scope::Admin));
        assert!(view.sees("front", "acme") && !view.sees("front", "other") && !view.sees("back", "acme"));
        let admin = access(&[Scope::Admin], "", None);
        assert!(Scope::ALL.iter().all(|(scope, _)| admin.allows(*scope)));
        assert!(admin.is_unbounded() && !view.is_unbounded() && Access::operator().is_unbounded());
    }
}
