//! Judges every request of one viewer's connection: who asks, for which camera, and what goes on inside.
//!
//! No input or output: bytes in, a verdict out. It keeps no media state; the agent does that.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use ring::hmac;

use super::digest::{Authorization, DigestServer, Ha1, NonceState};
use super::head::{Field, HeadError, Message, Request, reply};
use super::uri::{ViewerUri, outward, outward_rtp_info};
use crate::fleet::link::{self, Link};

/// Methods that go through to the agent (design section 4), and what OPTIONS answers.
const FORWARDED: [&str; 7] = [
    "DESCRIBE",
    "SETUP",
    "PLAY",
    "PAUSE",
    "TEARDOWN",
    "GET_PARAMETER",
    "SET_PARAMETER",
];
const PUBLIC: &str = "OPTIONS, DESCRIBE, SETUP, PLAY, PAUSE, TEARDOWN, GET_PARAMETER, SET_PARAMETER";

/// What one viewer may do.
#[derive(Clone, Debug)]
pub struct Viewer {
    /// Hashes of the password.
    pub ha1: Ha1,
    /// The cameras it may see; `None` is all of them.
    pub cameras: Option<BTreeSet<String>>,
}

/// What holds for all connections.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Challenges and their answers.
    pub digest: DigestServer,
    /// By user name.
    pub viewers: BTreeMap<String, Viewer>,
    /// Names of all cameras that may be watched.
    pub cameras: BTreeSet<String>,
    /// Proves signed playback addresses.
    pub link_key: hmac::Key,
    /// Whose playback addresses count, and the cameras that each of them may see now; `None` is all of them.
    pub link_issuers: BTreeMap<String, Option<BTreeSet<String>>>,
    /// Whose the cameras are that an account has.
    pub owners: BTreeMap<String, String>,
    /// The time of day, in seconds since 1970, at the start of monotonic time.
    pub unix_start: u64,
}

impl Policy {
    /// The account that has a camera; empty for the operator's own.
    #[must_use]
    pub fn owner(&self, camera: &str) -> &str {
        self.owners.get(camera).map_or("", String::as_str)
    }

    /// True if this issuer's playback addresses of this camera, made when it was `owner`'s, count now.
    #[must_use]
    pub fn counts_link(&self, by: &str, owner: &str, camera: &str) -> bool {
        if owner != link::owner_tag(self.owner(camera)) {
            return false;
        }
        match self.link_issuers.get(by) {
            None => false,
            Some(None) => true,
            Some(Some(cameras)) => cameras.contains(camera),
        }
    }

    fn unix(&self, now: Duration) -> u64 {
        self.unix_start + now.as_secs()
    }
}

/// What to do with a request. `Reply` bytes go to the viewer when the stream is between messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Answer it here; the body, if any, is skipped.
    Reply {
        /// The whole reply.
        bytes: Vec<u8>,
        /// Close the connection after it.
        close: bool,
        /// A wrong password or an unknown user: counts against the address.
        failed_login: bool,
    },
    /// Send it to the camera's agent, with its body.
    Forward {
        /// The camera's name.
        camera: String,
        /// The rewritten head.
        head: Vec<u8>,
        /// Copied into a reply if the camera cannot be reached.
        cseq: Vec<u8>,
    },
    /// A reply: neither the gateway nor an agent asks viewers anything. Its body, if any, is skipped.
    Ignore,
}

/// The state of one connection.
#[derive(Debug)]
pub struct Guard {
    policy: Arc<Policy>,
    connection: u64,
    /// The nonce that authenticated this connection, and whom.
    established: Option<(String, String)>,
    /// The playback address that this connection came by.
    link: Option<Granted>,
    /// The camera that the connection is bound to.
    camera: Option<String>,
    /// Of the last request that was let through.
    profile: String,
    public_base: String,
}

#[derive(Debug)]
struct Granted {
    camera: String,
    profile: String,
    by: String,
    owner: String,
    user: String,
    /// Seconds since 1970.
    expires: u64,
}

impl Guard {
    /// `connection` is a random number of this connection's own.
    #[must_use]
    pub fn new(policy: Arc<Policy>, connection: u64) -> Self {
        Self {
            policy,
            connection,
            established: None,
            link: None,
            camera: None,
            profile: String::new(),
            public_base: String::new(),
        }
    }

    /// The user of the last request that was let through; `link:` and who made it for a playback address.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        let link = self.link.as_ref().map(|link| link.user.as_str());
        link.or(self.established.as_ref().map(|(_, user)| user.as_str()))
    }

    /// The profile of the last request that was let through.
    #[must_use]
    pub fn profile(&self) -> &str {
        &self.profile
    }

    /// The rules have changed; false if this connection must end by them.
    #[must_use]
    pub fn handle_policy(&mut self, now: Duration, policy: Arc<Policy>) -> bool {
        self.policy = policy;
        self.holds(now)
    }

    /// How much longer this connection may last, if it came by a playback address.
    #[must_use]
    pub fn time_left(&self, now: Duration) -> Option<Duration> {
        let link = self.link.as_ref()?;
        // Good to the end of that second.
        let left = (link.expires.saturating_add(1)).saturating_sub(self.policy.unix(now));
        Some(Duration::from_secs(left))
    }

    /// False if this connection must end by the rules as they are.
    fn holds(&self, now: Duration) -> bool {
        match (&self.camera, &self.link, &self.established) {
            (None, ..) => true,
            (Some(camera), Some(link), _) => self.link_holds(now, link, camera),
            (Some(camera), None, Some((_, user))) => self.may_see(user, camera),
            (Some(_), None, None) => false,
        }
    }

    /// Judges one message head from the viewer. `blocked` is how long its address must wait after failed logins.
    pub fn handle_viewer(&mut self, now: Duration, head: &[u8], blocked: Option<Duration>) -> Verdict {
        match Message::parse(head) {
            Ok(Message::Request(request)) => self.judge(now, request, blocked),
            Ok(Message::Reply(_)) => Verdict::Ignore,
            Err(HeadError::Version) => refuse(505, "RTSP Version Not Supported", None, true),
            Err(_) => refuse(400, "Bad Request", None, true),
        }
    }

    fn judge(&mut self, now: Duration, mut request: Request, blocked: Option<Duration>) -> Verdict {
        let cseq = request.fields.value("cseq").map(<[u8]>::to_vec);
        let cseq_ref = cseq.as_deref();
        if request.method == "OPTIONS" {
            return answer(reply(200, "OK", cseq_ref, &[("Public", PUBLIC)]), false);
        }
        if !FORWARDED.contains(&request.method.as_str()) {
            let bytes = reply(405, "Method Not Allowed", cseq_ref, &[("Allow", PUBLIC)]);
            return answer(bytes, false);
        }
        let outcome = self.handle_link(now, &mut request);
        let by_link = matches!(outcome, Some(true));
        if let Some(wait) = blocked.filter(|_| !by_link && !self.is_users_own(&request)) {
            let wait = (wait.as_secs() + 1).to_string();
            let bytes = reply(503, "Too Many Failed Logins", cseq_ref, &[("Retry-After", &wait)]);
            return answer(bytes, true);
        }
        if outcome == Some(false) {
            let bytes = reply(403, "This Address Is Not Valid Any More", cseq_ref, &[]);
            return Verdict::Reply {
                bytes,
                close: false,
                failed_login: true,
            };
        }
        let user = if by_link {
            String::new()
        } else {
            match self.authenticate(now, &request) {
                Ok(user) => user,
                Err(failure) => return self.challenge(now, failure, cseq_ref),
            }
        };
        let Some(uri) = ViewerUri::parse(&request.uri) else {
            return refuse(
                404,
                "Not Found: rtsp://HOST:PORT/<camera>/<profile>",
                cseq_ref,
                false,
            );
        };
        let visible = if by_link {
            self.policy.cameras.contains(uri.camera)
        } else {
            self.may_see(&user, uri.camera)
        };
        if !visible {
            return refuse(404, "Not Found: unknown camera", cseq_ref, false);
        }
        if self.camera.as_deref().is_some_and(|camera| camera != uri.camera) {
            return refuse(455, "One camera for each connection", cseq_ref, false);
        }
        self.public_base = uri.public_base();
        self.profile = uri.profile.to_owned();
        let (camera, inner) = (uri.camera.to_owned(), uri.inner());
        forward(request, camera, inner, cseq.unwrap_or_default())
    }

    /// The address of a request that was let through, at another gateway.
    #[must_use]
    pub fn elsewhere(&self, head: &[u8], base: &str) -> String {
        let inner = head.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
        String::from_utf8_lossy(&outward(inner, base)).into_owned()
    }

    /// From now on this connection is for one camera; called once its agent was reached.
    pub fn handle_bound(&mut self, camera: &str) {
        self.camera = Some(camera.to_owned());
    }

    /// Takes a playback address out of the request. `Some(true)`: the request is let through by it, or by the one
    /// that this connection came by. `Some(false)`: it is no good. `None`: there is none.
    fn handle_link(&mut self, now: Duration, request: &mut Request) -> Option<bool> {
        let uri = ViewerUri::parse(&request.uri)?;
        let Some((text, rest)) = link::take(uri.rest) else {
            let link = self.link.as_ref()?;
            let same = link.camera == uri.camera && link.profile == uri.profile;
            return (same && self.link_holds(now, link, uri.camera)).then_some(true);
        };
        let unix = self.policy.unix(now);
        let link = Link::accept(text, &self.policy.link_key, uri.camera, uri.profile, unix);
        let granted = link.map(|link| Granted {
            camera: uri.camera.to_owned(),
            profile: uri.profile.to_owned(),
            by: link.by().to_owned(),
            owner: link.owner().to_owned(),
            user: format!("link:{}", link.by()),
            expires: link.expires(),
        });
        let without = format!(
            "{}://{}/{}/{}{rest}",
            uri.scheme, uri.authority, uri.camera, uri.profile
        );
        let good = granted.filter(|link| self.policy.counts_link(&link.by, &link.owner, &link.camera));
        request.uri = without;
        match good {
            Some(link) => {
                self.link = Some(link);
                Some(true)
            }
            None => Some(false),
        }
    }

    fn link_holds(&self, now: Duration, link: &Granted, camera: &str) -> bool {
        link.camera == camera
            && self.policy.unix(now) <= link.expires
            && self.policy.counts_link(&link.by, &link.owner, camera)
            && self.policy.cameras.contains(camera)
    }

    /// True if it claims to come from the user who has logged in here: a blocked address keeps its sessions,
    /// and nobody else's password can be tried within them.
    fn is_users_own(&self, request: &Request) -> bool {
        let claimed = request
            .fields
            .text("authorization")
            .and_then(Authorization::parse);
        claimed.is_some_and(|auth| self.user() == Some(auth.username.as_str()))
    }

    /// A camera that a viewer may not see does not exist for it.
    fn may_see(&self, user: &str, camera: &str) -> bool {
        let allowed = match self.policy.viewers.get(user).map(|viewer| &viewer.cameras) {
            None => false,
            Some(None) => true,
            Some(Some(cameras)) => cameras.contains(camera),
        };
        allowed && self.policy.cameras.contains(camera)
    }

    fn authenticate(&mut self, now: Duration, request: &Request) -> Result<String, AuthFailure> {
        let value = request.fields.text("authorization").ok_or(AuthFailure::Missing)?;
        let auth = Authorization::parse(value).ok_or(AuthFailure::Wrong)?;
        let ours = self
            .established
            .as_ref()
            .is_some_and(|(nonce, _)| *nonce == auth.nonce)
            || self.policy.digest.nonce_state(now, self.connection, &auth.nonce) == NonceState::Fresh;
        if !ours {
            return Err(AuthFailure::Stale);
        }
        let ha1 = self.policy.viewers.get(&auth.username).map(|viewer| &viewer.ha1);
        if !self.policy.digest.verify(&auth, &request.method, ha1) || !same_target(&auth.uri, &request.uri) {
            return Err(AuthFailure::Wrong);
        }
        self.established = Some((auth.nonce, auth.username.clone()));
        Ok(auth.username)
    }

    fn challenge(&self, now: Duration, failure: AuthFailure, cseq: Option<&[u8]>) -> Verdict {
        let nonce = self.policy.digest.nonce(now, self.connection);
        let lines = self
            .policy
            .digest
            .challenges(&nonce, failure == AuthFailure::Stale);
        let fields: Vec<(&str, &str)> = lines
            .iter()
            .map(|line| ("WWW-Authenticate", line.as_str()))
            .collect();
        Verdict::Reply {
            bytes: reply(401, "Unauthorized", cseq, &fields),
            close: false,
            failed_login: failure == AuthFailure::Wrong,
        }
    }

    /// Rewrites one message head from the agent for the viewer.
    ///
    /// # Errors
    /// The agent sent something that is no RTSP head.
    pub fn handle_agent(&self, head: &[u8]) -> Result<Vec<u8>, HeadError> {
        match Message::parse(head)? {
            Message::Request(mut request) => {
                let uri = outward(request.uri.as_bytes(), &self.public_base);
                request.uri = String::from_utf8_lossy(&uri).into_owned();
                Ok(request.encode())
            }
            Message::Reply(mut reply) => {
                // The camera's own challenge is the agent's business; a viewer would answer it with its password.
                reply.fields.remove("WWW-Authenticate");
                if reply.status == 401 {
                    reply.status = 502;
                    reply.reason = b"Camera Refused The Agent".to_vec();
                }
                for field in &mut reply.fields.0 {
                    self.rewrite_field(field);
                }
                Ok(reply.encode())
            }
        }
    }

    fn rewrite_field(&self, field: &mut Field) {
        let name = field.name.to_ascii_lowercase();
        match name.as_str() {
            "content-base" | "content-location" | "location" => {
                field.value = outward(&field.value, &self.public_base);
            }
            "rtp-info" => field.value = outward_rtp_info(&field.value, &self.public_base),
            _ => {}
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AuthFailure {
    Missing,
    Stale,
    Wrong,
}

/// Some clients sign the base URI for SETUP; camera and profile must be those that are asked for.
fn same_target(signed: &str, asked: &str) -> bool {
    match (ViewerUri::parse(signed), ViewerUri::parse(asked)) {
        (Some(a), Some(b)) => a.camera == b.camera && a.profile == b.profile,
        _ => signed == asked,
    }
}

fn forward(mut request: Request, camera: String, inner: String, cseq: Vec<u8>) -> Verdict {
    request.fields.remove("Authorization");
    request.fields.remove("Proxy-Authorization");
    if request.method == "SETUP"
        && let Some(transport) = request
            .fields
            .0
            .iter_mut()
            .find(|f| f.name.eq_ignore_ascii_case("transport"))
    {
        transport.value = interleaved_only(&transport.value);
        if transport.value.is_empty() {
            return refuse(461, "Unsupported Transport: use RTP/AVP/TCP", Some(&cseq), false);
        }
    }
    request.uri = inner;
    Verdict::Forward {
        camera,
        head: request.encode(),
        cseq,
    }
}

/// The transports over this connection, out of all that a client offers.
fn interleaved_only(value: &[u8]) -> Vec<u8> {
    let tcp = |spec: &&[u8]| {
        let spec = spec.trim_ascii();
        let protocol = spec.split(|byte| *byte == b';').next().unwrap_or_default();
        protocol.trim_ascii().to_ascii_uppercase().ends_with(b"/TCP")
    };
    let kept: Vec<&[u8]> = value
        .split(|byte| *byte == b',')
        .filter(tcp)
        .map(<[u8]>::trim_ascii)
        .collect();
    kept.join(&b","[..])
}

fn answer(bytes: Vec<u8>, close: bool) -> Verdict {
    Verdict::Reply {
        bytes,
        close,
        failed_login: false,
    }
}

fn refuse(status: u16, reason: &str, cseq: Option<&[u8]>, close: bool) -> Verdict {
    answer(reply(status, reason, cseq, &[]), close)
}

#[cfg(test)]
#[path = "guard_tests.rs"]
mod tests;
