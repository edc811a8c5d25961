//! Cameras whose uplinks live for long get a fresh credential over them: whenever one is cut, the camera can come
//! back while the endpoint is down.

use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::StreamExt as _;
use http::StatusCode;
use tokio::time::{MissedTickBehavior, interval};
use tracing::debug;

use super::link::Uplink;
use super::requests::give_resume;
use crate::clock::unix_now;
use crate::fleet::resume::RENEW_SECONDS;
use crate::server::Shared;

/// How often is looked for credentials that are old.
const LOOK: Duration = Duration::from_secs(60);
/// Cameras that are given one at a time: those that do not answer must not keep the others waiting for long.
const MAX_AT_ONCE: usize = 256;
/// A camera that did not take one is asked again after this.
const AGAIN_SECONDS: u64 = 3600;

/// What a camera was given last to come back with.
#[derive(Default)]
pub struct WayBack {
    credential: Option<String>,
    /// When, in seconds since 1970; 0 for never.
    issued: u64,
    /// When it last did not take one.
    failed: u64,
    /// Its agent knows nothing of this.
    is_unable: bool,
}

impl fmt::Debug for WayBack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WayBack")
            .field("issued", &self.issued)
            .finish_non_exhaustive()
    }
}

impl WayBack {
    /// What came with the 101, if anything.
    #[must_use]
    pub fn new(credential: Option<String>, now: u64) -> Self {
        Self {
            issued: if credential.is_some() { now } else { 0 },
            credential,
            ..Self::default()
        }
    }

    /// True if the camera is to be given a fresh one. Distances count in both directions: a clock that was wrong when
    /// the last one was made is made good for.
    fn is_due(&self, now: u64) -> bool {
        let apart = |then: u64, seconds| now.abs_diff(then) >= seconds;
        !self.is_unable && apart(self.issued, RENEW_SECONDS) && apart(self.failed, AGAIN_SECONDS)
    }
}

/// Renews for as long as the process lives.
pub async fn run(shared: Arc<Shared>) {
    let mut look = interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        look.tick().await;
        renew_all(&shared, unix_now()).await;
    }
}

/// Renews what is due.
async fn renew_all(shared: &Shared, now: u64) {
    if !shared.fleet.has_elsewhere() {
        return;
    }
    let all = shared.registry.all_uplinks().into_iter();
    // A strong reference would keep an uplink open that ends before its turn comes.
    let due: Vec<(String, Weak<Uplink>)> = all
        .filter(|(_, uplink)| uplink.way_back().is_due(now))
        .map(|(camera, uplink)| (camera, Arc::downgrade(&uplink)))
        .collect();
    futures_util::stream::iter(due)
        .for_each_concurrent(MAX_AT_ONCE, |(camera, uplink)| async move {
            if let Some(uplink) = uplink.upgrade() {
                renew(shared, now, &camera, &uplink).await;
            }
        })
        .await;
}

async fn renew(shared: &Shared, now: u64, camera: &str, uplink: &Uplink) {
    let old = uplink.way_back().credential.clone();
    let Some((credential, others)) = shared.fleet.renewal(now, camera, old.as_deref()) else {
        return;
    };
    let taken = give_resume(uplink, &credential, &others).await;
    let mut way_back = uplink.way_back();
    match taken {
        Ok(status) if status.is_success() => *way_back = WayBack::new(Some(credential), now),
        Ok(StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED) => {
            debug!(camera, "its agent takes no credential over a live uplink");
            way_back.is_unable = true;
        }
        Ok(status) => {
            debug!(camera, %status, "it did not take a credential");
            way_back.failed = now;
        }
        Err(error) => {
            debug!(camera, %error, "it did not take a credential");
            way_back.failed = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use bytes::Bytes;
    use http::Response;
    use ring::hmac;
    use tokio::sync::{mpsc, watch};
    use tokio::time::sleep;

    use super::*;
    use crate::fleet::operator::OperatorKey;
    use crate::fleet::resume::{RESUME_SECONDS, Resume};
    use crate::fleet::{Fixed, Part};
    use crate::roles::message::Rules;
    use crate::roles::remote::Remote;
    use crate::rtsp::digest::hex;
    use crate::server::share_fixed;
    use crate::uplink::link::{self, Peer};
    use crate::uplink::requests::TEXT_DEADLINE;

    /// Cameras that take requests and never answer.
    const MUTE: usize = 40;
    const HOUR: u64 = 3600;
    const DAY: u64 = 24 * HOUR;

    fn fleet_key() -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, &[7; 32])
    }

    fn rules() -> Rules {
        let operator = OperatorKey::from_pkcs8(&OperatorKey::generate()).unwrap();
        Rules {
            operator: hex(operator.public()),
            resume_key: "07".repeat(32),
            cameras: (0..MUTE)
                .map(|n| (format!("deaf{n}"), true))
                .chain([("front".to_owned(), true)])
                .collect(),
            streamers: ["s1", "s2"]
                .map(|name| (name.to_owned(), format!("https://{name}/")))
                .into(),
            ..Rules::default()
        }
    }

    fn streamer(rules: Rules) -> Arc<Shared> {
        let fixed = Fixed {
            part: Part::Streamer { name: "s1".into() },
            ..Fixed::default()
        };
        let shared = share_fixed(fixed, None, String::new(), None, None).unwrap();
        shared
            .fleet
            .set_remote(Arc::new(Remote::new("s1", rules).unwrap()));
        shared
    }

    /// The camera `front`, whose agent answers with `status`; what it is given.
    async fn camera(shared: &Arc<Shared>, status: u16, resume: &str) -> mpsc::UnboundedReceiver<Vec<String>> {
        camera_named("front", shared, status, resume).await
    }

    /// The same for one of another name; with status 0 it does not answer.
    async fn camera_named(
        name: &str,
        shared: &Arc<Shared>,
        status: u16,
        resume: &str,
    ) -> mpsc::UnboundedReceiver<Vec<String>> {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let (given, seen) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let mut server = h2::server::Builder::new();
            let handshake = server.enable_connect_protocol().handshake::<_, Bytes>(theirs);
            let mut agent = handshake.await.unwrap();
            let mut unanswered = Vec::new();
            while let Some(Ok((request, mut respond))) = agent.accept().await {
                let is_ours = request.uri().path() == "/uplink/resume";
                if is_ours {
                    assert_eq!(request.method(), "POST");
                    let values = ["lenscap-resume", "link"].map(|name| request.headers().get_all(name));
                    let values = values.iter().flatten();
                    let _ = given.send(values.map(|value| value.to_str().unwrap().to_owned()).collect());
                }
                let status = if is_ours { status } else { 404 };
                if status == 0 {
                    unanswered.push(respond);
                    continue;
                }
                let reply = Response::builder().status(status).body(()).unwrap();
                let _ = respond.send_response(reply, true);
            }
        });
        let peer = Peer {
            camera: shared.registry.index(name).unwrap(),
            address: ([127, 0, 0, 1], 1).into(),
            version: None,
            boot: None,
            resume: Some(resume.to_owned()),
        };
        let (stop, stopped) = watch::channel(false);
        let running = link::run(ours, peer, Arc::clone(shared), stopped, mpsc::channel(1).0);
        tokio::spawn(async move {
            running.await;
            drop(stop);
        });
        let here = |name: &str| shared.registry.online().iter().any(|online| online == name);
        while !here(name) {
            sleep(Duration::from_millis(1)).await;
        }
        seen
    }

    fn given_at(now: u64) -> String {
        Resume::new(&[1; 32], "front", Some(&[9; 32]), now).seal(&fleet_key())
    }

    #[tokio::test(start_paused = true)]
    async fn an_uplink_of_a_month_always_has_a_credential_that_is_good() {
        let shared = streamer(rules());
        let start = unix_now();
        let mut held = given_at(start);
        let mut seen = camera(&shared, 200, &held).await;
        let mut renewals = 0;
        for hour in 0..30 * 24 {
            let now = start + hour * HOUR;
            renew_all(&shared, now).await;
            while let Ok(given) = seen.try_recv() {
                assert_eq!(given[1..], ["<https://s2/>; rel=alternate"]);
                held.clone_from(&given[0]);
                renewals += 1;
            }
            let almost_in_six_days = now + RESUME_SECONDS - DAY - HOUR;
            let good = Resume::accept(
                &held,
                &fleet_key(),
                &[1; 32],
                &BTreeMap::new(),
                almost_in_six_days,
            );
            assert_eq!(good.unwrap().proof(), Some([9; 32]), "hour {hour}");
        }
        assert_eq!(renewals, 29, "once a day");
    }

    #[tokio::test(start_paused = true)]
    async fn cameras_that_do_not_answer_keep_no_other_waiting() {
        let (shared, start) = (streamer(rules()), unix_now());
        let mut kept = Vec::new();
        let given = |name: &str| Resume::new(&[1; 32], name, Some(&[9; 32]), start).seal(&fleet_key());
        for n in 0..MUTE {
            let name = format!("deaf{n}");
            kept.push(camera_named(&name, &shared, 0, &given(&name)).await);
        }
        let mut seen = camera(&shared, 200, &given("front")).await;
        // The cameras came a second after the start, or more, if the machine is busy.
        let due = start + RENEW_SECONDS + HOUR;
        let begun = tokio::time::Instant::now();
        let (all, one) = tokio::join!(
            async {
                renew_all(&shared, due).await;
                begun.elapsed()
            },
            async {
                seen.recv().await.unwrap();
                begun.elapsed()
            }
        );
        assert!(
            one < Duration::from_secs(2) && all < 2 * TEXT_DEADLINE,
            "{one:?} {all:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_was_wrong_is_made_good_for() {
        let shared = streamer(rules());
        let start = unix_now();
        let mut seen = camera(&shared, 200, &given_at(start)).await;
        // The gateway's clock was ahead by months when this camera came.
        renew_all(&shared, start - 100 * DAY).await;
        assert!(seen.try_recv().is_ok());
        renew_all(&shared, start - 100 * DAY + HOUR).await;
        assert!(seen.try_recv().is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_take_one_is_not_pestered() {
        let start = unix_now();
        for (status, times) in [(404, 1), (503, 10)] {
            let shared = streamer(rules());
            let mut seen = camera(&shared, status, &given_at(start)).await;
            for minute in 0..600 {
                renew_all(&shared, start + 2 * DAY + minute * 60).await;
            }
            let asked = std::iter::from_fn(|| seen.try_recv().ok()).count();
            assert_eq!(asked, times, "{status}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_renewed_that_was_revoked_or_suspended() {
        let start = unix_now();
        let mut revoked = rules();
        revoked.revoked.insert(hex(&[1; 32]), start + 1);
        let mut suspended = rules();
        suspended.suspended.insert("front".to_owned());
        for rules in [revoked, suspended] {
            let shared = streamer(rules);
            assert_eq!(
                shared.fleet.renewal(start + DAY, "front", Some(&given_at(start))),
                None
            );
        }
        let shared = streamer(rules());
        let renew = |old: &str| shared.fleet.renewal(start + DAY, "front", Some(old));
        assert!(renew(&given_at(start)).is_some() && renew("x.y").is_none());
        let other = Resume::new(&[1; 32], "back", None, start).seal(&fleet_key());
        assert_eq!(renew(&other), None);
    }
}
