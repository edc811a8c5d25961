//! Authentication of simcam's clients, over RTSP and HTTP alike.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use super::message::Request;
use super::options::{AuthKind, NonceChange, Quirks};
use crate::digest::{Algorithm, Credentials, DigestInput, param, parse_header};

/// Nonces remembered, so that an HTTP client may answer on a new connection.
const MAX_NONCES: usize = 256;
/// With the quirk `nonce-change`, requests that one nonce is good for.
const NONCE_USES: u32 = 3;

/// Outcome of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Right, or no authentication configured.
    Ok,
    /// No `Authorization` header.
    Missing,
    /// Wrong user, password, URI or scheme.
    Bad,
    /// Right answer to a nonce that is no longer valid.
    Stale,
}

impl Verdict {
    /// Its name in the event log.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Missing => "missing",
            Self::Bad => "bad",
            Self::Stale => "stale",
        }
    }
}

#[derive(Debug)]
struct Nonce {
    text: String,
    uses: u32,
    revoked: bool,
}

/// Checks `Authorization` headers and makes challenges.
#[derive(Debug)]
pub struct Guard {
    kind: AuthKind,
    realm: String,
    qop: bool,
    credentials: Credentials,
    refuses: bool,
    change: Option<NonceChange>,
    nonces: Mutex<VecDeque<Nonce>>,
}

impl Guard {
    /// A guard for one camera.
    pub fn new(kind: AuthKind, realm: &str, qop: bool, credentials: Credentials, quirks: &Quirks) -> Self {
        Self {
            kind,
            realm: realm.to_owned(),
            qop,
            credentials,
            refuses: quirks.refuses_password,
            change: quirks.nonce_change,
            nonces: Mutex::new(VecDeque::new()),
        }
    }

    /// Judges a request.
    pub fn check(&self, request: &Request) -> Verdict {
        if self.kind == AuthKind::None {
            return Verdict::Ok;
        }
        let Some(value) = request.header("authorization") else {
            return Verdict::Missing;
        };
        if self.refuses {
            return Verdict::Bad;
        }
        match self.algorithm() {
            None if value == self.credentials.basic() => Verdict::Ok,
            None => Verdict::Bad,
            Some(algorithm) => self.check_digest(algorithm, request, value),
        }
    }

    /// The value of `WWW-Authenticate` after a verdict that is not [`Verdict::Ok`].
    pub fn challenge(&self, verdict: Verdict) -> String {
        let Some(algorithm) = self.algorithm() else {
            return format!("Basic realm=\"{}\"", self.realm);
        };
        let nonce = format!("{:032x}", rand::random::<u128>());
        let mut value = format!("Digest realm=\"{}\", nonce=\"{nonce}\"", self.realm);
        if algorithm == Algorithm::Sha256 {
            value.push_str(", algorithm=SHA-256");
        }
        if self.qop {
            value.push_str(", qop=\"auth\"");
        }
        if verdict == Verdict::Stale && self.change != Some(NonceChange::Fresh) {
            value.push_str(", stale=true");
        }
        let mut nonces = self.nonces.lock().unwrap_or_else(PoisonError::into_inner);
        if nonces.len() == MAX_NONCES {
            nonces.pop_front();
        }
        nonces.push_back(Nonce {
            text: nonce,
            uses: 0,
            revoked: false,
        });
        value
    }

    fn algorithm(&self) -> Option<Algorithm> {
        match self.kind {
            AuthKind::None | AuthKind::Basic => None,
            AuthKind::DigestMd5 => Some(Algorithm::Md5),
            AuthKind::DigestSha256 => Some(Algorithm::Sha256),
        }
    }

    fn check_digest(&self, algorithm: Algorithm, request: &Request, value: &str) -> Verdict {
        let (scheme, params) = parse_header(value);
        let get = |name| param(&params, name).unwrap_or_default();
        let named =
            param(&params, "algorithm").is_none_or(|name| name.eq_ignore_ascii_case(algorithm.name()));
        let algorithm_named = named && (algorithm == Algorithm::Md5 || param(&params, "algorithm").is_some());
        let qop_auth = param(&params, "qop").map(|_| (get("nc"), get("cnonce")));
        let input = DigestInput {
            algorithm,
            realm: &self.realm,
            nonce: get("nonce"),
            method: &request.method,
            uri: &request.uri,
            qop_auth,
        };
        let right = scheme == "digest"
            && get("username") == self.credentials.user
            && get("realm") == self.realm
            && get("uri") == request.uri
            && algorithm_named
            && qop_auth.is_some() == self.qop
            && get("response") == input.response(&self.credentials);
        if !right {
            return Verdict::Bad;
        }
        self.use_nonce(get("nonce"))
    }

    fn use_nonce(&self, text: &str) -> Verdict {
        let mut nonces = self.nonces.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(nonce) = nonces.iter_mut().find(|nonce| nonce.text == text) else {
            return Verdict::Stale;
        };
        nonce.revoked |= self.change.is_some() && nonce.uses >= NONCE_USES;
        if nonce.revoked {
            return Verdict::Stale;
        }
        nonce.uses += 1;
        Verdict::Ok
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(uri: &str, authorization: Option<String>) -> Request {
        Request {
            method: "DESCRIBE".into(),
            uri: uri.into(),
            headers: authorization
                .map(|value| ("authorization".to_owned(), value))
                .into_iter()
                .collect(),
        }
    }

    fn answer(guard: &Guard, challenge: &str, signed_uri: &str) -> String {
        let (_, params) = parse_header(challenge);
        let nonce = param(&params, "nonce").unwrap_or_default();
        let input = DigestInput {
            algorithm: guard.algorithm().unwrap(),
            realm: "cam",
            nonce,
            method: "DESCRIBE",
            uri: signed_uri,
            qop_auth: None,
        };
        let response = input.response(&guard.credentials);
        format!(
            "Digest username=\"u\", realm=\"cam\", nonce=\"{nonce}\", uri=\"{signed_uri}\", \
             response=\"{response}\", algorithm={}",
            guard.algorithm().unwrap().name()
        )
    }

    #[test]
    fn digest_binds_the_uri_and_nonces_wear_out() {
        let credentials = Credentials {
            user: "u".into(),
            password: "p".into(),
        };
        let quirks = Quirks {
            nonce_change: Some(NonceChange::Stale),
            ..Quirks::default()
        };
        for kind in [AuthKind::DigestMd5, AuthKind::DigestSha256] {
            let guard = Guard::new(kind, "cam", false, credentials.clone(), &quirks);
            assert_eq!(guard.check(&request("rtsp://a/b", None)), Verdict::Missing);
            let challenge = guard.challenge(Verdict::Missing);
            let good = answer(&guard, &challenge, "rtsp://a/b");
            assert_eq!(
                guard.check(&request("rtsp://a/b/", Some(good.clone()))),
                Verdict::Bad
            );
            for _ in 0..NONCE_USES {
                assert_eq!(
                    guard.check(&request("rtsp://a/b", Some(good.clone()))),
                    Verdict::Ok
                );
            }
            assert_eq!(guard.check(&request("rtsp://a/b", Some(good))), Verdict::Stale);
            assert!(guard.challenge(Verdict::Stale).contains("stale=true"));
        }
    }

    #[test]
    fn basic_and_refusal() {
        let credentials = Credentials {
            user: "u".into(),
            password: "p".into(),
        };
        let basic = credentials.basic();
        let guard = Guard::new(
            AuthKind::Basic,
            "cam",
            false,
            credentials.clone(),
            &Quirks::default(),
        );
        assert_eq!(guard.check(&request("/", Some(basic.clone()))), Verdict::Ok);
        assert_eq!(
            guard.check(&request("/", Some("Basic dTpx".into()))),
            Verdict::Bad
        );
        let quirks = Quirks {
            refuses_password: true,
            ..Quirks::default()
        };
        let guard = Guard::new(AuthKind::Basic, "cam", false, credentials, &quirks);
        assert_eq!(guard.check(&request("/", Some(basic))), Verdict::Bad);
    }
}
