//! The RTSP methods of simcam (RFC 2326 section 10) and the sessions they make.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;

use super::connection::{Connection, End};
use super::guard::Verdict;
use super::media::Profile;
use super::message::{Request, Response};
use super::player::{TrackPlayer, Transport, UdpPair};

/// The host in URLs of the quirk `absolute-control`.
const LAN_HOST: &str = "192.168.1.10";
const LAN_QUERY: &str = "?user=cam&channel=1";
/// Bytes of one garbage reply.
const GARBAGE_LEN: usize = 3000;

/// A session and its tracks.
pub(super) struct Session {
    pub(super) id: String,
    pub(super) profile: Arc<Profile>,
    pub(super) tracks: Vec<TrackPlayer>,
    pub(super) playing: Option<Playing>,
    aggregate: String,
    paused_at: Option<Duration>,
}

/// A session in the state Playing.
pub(super) struct Playing {
    /// PLAY came.
    pub(super) since: Instant,
    /// Where the time line of the units begins.
    pub(super) origin: Instant,
    pub(super) bulk_sent: u64,
    pub(super) credit_seen: u64,
    pub(super) credit_lost: u64,
    pub(super) credit_at: Instant,
}

impl Session {
    /// When the earliest unit is due on the session's time line.
    pub(super) fn next_due(&self) -> Option<Duration> {
        let due = |player: &TrackPlayer| Some(player.next_due(self.profile.tracks.get(player.index)?));
        self.tracks.iter().filter_map(due).min()
    }
}

/// The part of a request URI that says what is meant: path and query.
fn path_of(uri: &str) -> &str {
    let rest = uri.split_once("://").map_or(uri, |(_, rest)| rest);
    rest.find('/').and_then(|at| rest.get(at..)).unwrap_or("/")
}

fn track_of(path: &str) -> Option<usize> {
    let (_, tail) = path.split_once("trackID=")?;
    let end = tail.find(|c: char| !c.is_ascii_digit()).unwrap_or(tail.len());
    tail.get(..end)?.parse().ok()
}

fn port_pair(transport: &str, name: &str) -> Option<(u16, u16)> {
    let value = transport
        .split(';')
        .find_map(|part| part.trim().strip_prefix(name))?;
    let (first, second) = value.split_once('-').unwrap_or((value, value));
    Some((first.trim().parse().ok()?, second.trim().parse().ok()?))
}

impl Connection {
    /// The reply to a request; may end the connection.
    pub(super) fn handle_request(&mut self, request: &Request) -> Vec<u8> {
        let quirks = &self.shared.quirks;
        if quirks.garbage {
            self.log_request(request, "none", 0);
            return (0..GARBAGE_LEN)
                .map(|i| (i.wrapping_mul(7919) >> 3) as u8)
                .collect();
        }
        let open = request.method == "OPTIONS";
        let verdict = if open {
            Verdict::Ok
        } else {
            self.shared.guard.check(request)
        };
        let response = match verdict {
            Verdict::Ok => self.dispatch(request),
            refused => Response::new(401).with("WWW-Authenticate", self.shared.guard.challenge(refused)),
        };
        self.log_request(
            request,
            if open { "open" } else { verdict.name() },
            response.status,
        );
        response.encode(request.header("cseq"), &self.shared.quirks)
    }

    fn log_request(&self, request: &Request, auth: &str, status: u16) {
        let fields = json!({
            "method": request.method,
            "uri": request.uri,
            "cseq": request.header("cseq"),
            "auth": auth,
            "status": status,
            "user_agent": request.header("user-agent"),
        });
        self.event("request", fields);
    }

    fn dispatch(&mut self, request: &Request) -> Response {
        if request.header("require").is_some() {
            let required = request.header("require").unwrap_or_default();
            return Response::new(551).with("Unsupported", required);
        }
        let in_session = matches!(request.method.as_str(), "PLAY" | "PAUSE" | "TEARDOWN");
        let id = request
            .header("session")
            .map(|value| value.split(';').next().unwrap_or(value).trim());
        let known = self.session.as_ref().map(|session| session.id.as_str());
        if (in_session || id.is_some()) && (id.is_none() || id != known) {
            return Response::new(454);
        }
        if id.is_some()
            && matches!(
                request.method.as_str(),
                "OPTIONS" | "GET_PARAMETER" | "SET_PARAMETER"
            )
        {
            self.event("keepalive", json!({"method": request.method}));
        }
        match request.method.as_str() {
            "OPTIONS" => Response::new(200).with("Public", self.public()),
            "DESCRIBE" => self.describe(request),
            "SETUP" => self.setup(request),
            "PLAY" => self.play(),
            "PAUSE" => self.pause(),
            "TEARDOWN" => self.teardown(),
            "GET_PARAMETER" if self.shared.quirks.get_parameter_closes => {
                self.end = Some(End::Quirk);
                Response::new(200)
            }
            "GET_PARAMETER" if self.shared.quirks.public_without_get_parameter => Response::new(501),
            "GET_PARAMETER" | "SET_PARAMETER" => self.with_session(Response::new(200)),
            _ => Response::new(501),
        }
    }

    fn public(&self) -> String {
        let mut methods = vec!["OPTIONS", "DESCRIBE", "SETUP", "PLAY", "PAUSE", "TEARDOWN"];
        if !self.shared.quirks.public_without_get_parameter {
            methods.extend(["GET_PARAMETER", "SET_PARAMETER"]);
        }
        methods.join(", ")
    }

    fn with_session(&self, response: Response) -> Response {
        let Some(session) = &self.session else {
            return response;
        };
        let value = if self.shared.quirks.no_session_timeout {
            session.id.clone()
        } else {
            format!("{};timeout={}", session.id, self.shared.options.session_timeout)
        };
        response.with("Session", value)
    }

    /// The aggregate URL of a profile, and the control URL of a track.
    fn aggregate_url(&self, profile: &Profile, uri: &str) -> String {
        if self.shared.quirks.absolute_control {
            return format!("rtsp://{LAN_HOST}:554{}/{LAN_QUERY}", profile.path);
        }
        let authority = uri.split_once("://").map_or("", |(_, rest)| rest);
        let authority = authority.split('/').next().unwrap_or_default();
        format!("rtsp://{authority}{}/", profile.path)
    }

    fn control_url(&self, profile: &Profile, track: usize) -> String {
        if self.shared.quirks.absolute_control {
            format!("rtsp://{LAN_HOST}:554{}/trackID={track}{LAN_QUERY}", profile.path)
        } else {
            format!("trackID={track}")
        }
    }

    fn describe(&self, request: &Request) -> Response {
        let Some(profile) = self.shared.find_profile(path_of(&request.uri)) else {
            return Response::new(404);
        };
        let base = self.aggregate_url(profile, &request.uri);
        let (host, aggregate) = if self.shared.quirks.absolute_control {
            (LAN_HOST, base.as_str())
        } else {
            ("127.0.0.1", "*")
        };
        let sdp = profile.sdp(host, aggregate, |track| self.control_url(profile, track));
        let mut response = Response::new(200)
            .with("Content-Type", "application/sdp")
            .with("Content-Base", base.clone());
        response.body = sdp.into_bytes();
        response
    }

    fn setup(&mut self, request: &Request) -> Response {
        let path = path_of(&request.uri);
        let Some(profile) = self.shared.find_profile(path).cloned() else {
            return Response::new(404);
        };
        let Some(track) = track_of(path).filter(|&track| track < profile.tracks.len()) else {
            return Response::new(404);
        };
        let asked = request.header("transport").unwrap_or_default();
        let Some((transport, reply)) = self.choose_transport(asked, track) else {
            return Response::new(461);
        };
        if self.session.is_none() {
            if !self.shared.acquire_session() {
                return Response::new(453);
            }
            self.session = Some(Session {
                id: format!("{:08X}", rand::random::<u32>()),
                aggregate: self.aggregate_url(&profile, &request.uri),
                profile: Arc::clone(&profile),
                tracks: Vec::new(),
                playing: None,
                paused_at: None,
            });
        }
        let player = TrackPlayer::new(&profile, track, transport, self.shared.options.seed);
        let reply = format!("{reply};ssrc={:08X}", player.ssrc);
        if let Some(session) = &mut self.session {
            if session.playing.is_some() || session.profile.path != profile.path {
                return Response::new(455);
            }
            session.tracks.retain(|other| other.index != track);
            session.tracks.push(player);
        }
        self.event(
            "setup",
            json!({"path": profile.path, "track": track, "transport": reply}),
        );
        self.with_session(Response::new(200).with("Transport", reply))
    }

    fn choose_transport(&self, asked: &str, track: usize) -> Option<(Transport, String)> {
        let quirks = &self.shared.quirks;
        asked.split(',').find_map(|one| {
            if one.contains("multicast") || !one.trim().starts_with("RTP/AVP") {
                return None;
            }
            if one.contains("RTP/AVP/TCP") {
                if quirks.udp_only {
                    return None;
                }
                return self.interleaved(one, track);
            }
            let ports = port_pair(one, "client_port=")?;
            let (local, peer) = (self.socket.local_addr().ok()?, self.socket.peer_addr().ok()?);
            let pair = UdpPair::bind(local.ip(), peer.ip(), ports).ok()?;
            let server = pair.ports().ok()?;
            let reply = format!(
                "RTP/AVP;unicast;client_port={}-{};server_port={}-{}",
                ports.0, ports.1, server.0, server.1
            );
            Some((Transport::Udp(pair), reply))
        })
    }

    fn interleaved(&self, asked: &str, track: usize) -> Option<(Transport, String)> {
        let quirks = &self.shared.quirks;
        let default = u8::try_from(track * 2).ok()?;
        let wanted = match port_pair(asked, "interleaved=") {
            Some((rtp, rtcp)) => (u8::try_from(rtp).ok()?, u8::try_from(rtcp).ok()?),
            None => (default, default + 1),
        };
        let shift = if quirks.other_channels { 4 } else { 0 };
        let (rtp, rtcp) = (wanted.0.checked_add(shift)?, wanted.1.checked_add(shift)?);
        let reply = if quirks.no_interleaved {
            "RTP/AVP/TCP;unicast".to_owned()
        } else {
            format!("RTP/AVP/TCP;unicast;interleaved={rtp}-{rtcp}")
        };
        Some((Transport::Interleaved(rtp, rtcp), reply))
    }

    fn play(&mut self) -> Response {
        let now = Instant::now();
        let Some(session) = &mut self.session else {
            return Response::new(454);
        };
        let mut infos = Vec::new();
        let absolute = self.shared.quirks.absolute_control;
        for player in &session.tracks {
            let Some(track) = session.profile.tracks.get(player.index) else {
                continue;
            };
            let (seq, rtptime) = player.next_numbers(track);
            let url = if absolute {
                format!(
                    "rtsp://{LAN_HOST}:554{}/trackID={}{LAN_QUERY}",
                    session.profile.path, player.index
                )
            } else {
                format!("{}trackID={}", session.aggregate, player.index)
            };
            infos.push(format!("url={url};seq={seq};rtptime={rtptime}"));
        }
        if session.playing.is_none() {
            self.shared.credit.restart();
            let played = session.paused_at.take().unwrap_or_default();
            session.playing = Some(Playing {
                since: now,
                origin: now.checked_sub(played).unwrap_or(now),
                bulk_sent: 0,
                credit_seen: 0,
                credit_lost: 0,
                credit_at: now,
            });
        }
        self.event("play", json!({}));
        let response = Response::new(200)
            .with("Range", "npt=now-")
            .with("RTP-Info", infos.join(","));
        self.with_session(response)
    }

    fn pause(&mut self) -> Response {
        if let Some(session) = &mut self.session
            && session.playing.take().is_some()
        {
            session.paused_at = session.next_due();
        }
        self.event("pause", json!({}));
        self.with_session(Response::new(200))
    }

    fn teardown(&mut self) -> Response {
        let id = self
            .session
            .as_ref()
            .map(|session| session.id.clone())
            .unwrap_or_default();
        self.release_session(true);
        self.totals.torn_down = true;
        self.event("teardown", json!({"session": id}));
        Response::new(200).with("Session", id)
    }

    /// Gives the session's place back; without TEARDOWN it may stay taken for a while.
    pub(super) fn release_session(&mut self, torn_down: bool) {
        if self.session.take().is_some() {
            let stale = if torn_down {
                None
            } else {
                self.shared.quirks.stale_sessions
            };
            self.shared.release_session(stale);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris_and_transports() {
        assert_eq!(path_of("rtsp://h:1/a/trackID=1?x=2"), "/a/trackID=1?x=2");
        assert_eq!(path_of("rtsp://h:1"), "/");
        assert_eq!(track_of("/a/trackID=12?x"), Some(12));
        assert_eq!(track_of("/a"), None);
        assert_eq!(
            port_pair("RTP/AVP/TCP;unicast;interleaved=2-3", "interleaved="),
            Some((2, 3))
        );
        assert_eq!(
            port_pair("RTP/AVP;client_port=5000", "client_port="),
            Some((5000, 5000))
        );
        assert_eq!(port_pair("RTP/AVP;client_port=x", "client_port="), None);
    }
}
