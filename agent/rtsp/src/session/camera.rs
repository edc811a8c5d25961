//! What the camera sends besides media: its answers, and the rare request of its own.

use core::time::Duration;

use rtsp_types::Method;

use super::core::{Abilities, Core, DEFAULT_TIMEOUT, Described, Medium, RtspSession, TIMEOUT_RANGE};
use super::exchange::{Exchange, Origin, Setup};
use super::media::{Path, Track};
use super::rewrite;
use super::viewer::ALLOWED;
use crate::auth::AuthError;
use crate::gate::Gate;
use crate::message::{Message, Start, Writer, parse_number};
use crate::sdp;
use crate::transport::Transport;
use crate::uri::resolve_control;
use crate::{Event, FinishReason, Notice, Now};

/// Redirects followed within the camera, for one request.
const MAX_REDIRECTS: u8 = 1;
/// Longest session id taken.
const MAX_SESSION_ID: usize = 256;
/// Longest URI taken from the camera.
const MAX_URI: usize = 4096;
/// The option tag of ONVIF's audio backchannel (ONVIF Streaming Specification).
const BACKCHANNEL: &[u8] = b"www.onvif.org/ver20/backchannel";

impl Core {
    pub(super) fn handle_camera_message(&mut self, now: Now, head: &[u8], body: &[u8]) {
        if self.is_finished() {
            return;
        }
        let Some(message) = Message::parse(head, body) else {
            self.counters.camera_skipped_bytes += head.len() as u64;
            return;
        };
        match &message.start {
            Start::Request { method, .. } => self.answer_camera(method, &message),
            Start::Response { status, .. } => {
                let status = *status;
                self.handle_reply(now, status, &message);
            }
        }
    }

    /// Cameras may ask for a sign of life; there is nothing else they could want.
    fn answer_camera(&mut self, method: &str, request: &Message) {
        let status = match Method::from(method) {
            Method::Options | Method::GetParameter | Method::SetParameter => 200,
            _ => 501,
        };
        let mut writer = Writer::response(status, b"");
        if let Some(cseq) = request.header("CSeq") {
            writer.header("CSeq", cseq);
        }
        let bytes = writer.finish(b"");
        if self.outbox.len() + bytes.len() <= self.config.limits.camera_queue_bytes {
            self.outbox.push(&bytes);
        }
    }

    fn handle_reply(&mut self, now: Now, status: u16, reply: &Message) {
        if status < 200 {
            return;
        }
        let cseq = reply.header("CSeq").and_then(parse_number);
        // A reply without a CSeq can only be to the one request that is out.
        let ours = |exchange: &&mut Exchange| match (exchange.cseq, cseq) {
            (Some(sent), Some(got)) => sent == got,
            (Some(_), None) => true,
            (None, _) => false,
        };
        let Some(exchange) = self.exchange.as_mut().filter(ours) else {
            self.counters.stray_replies += 1;
            return self.handle_stray(now, status, cseq, reply);
        };
        let wants_tcp = exchange.setup.as_ref().is_some_and(|setup| setup.pair.is_none());
        match status {
            401 => return self.handle_challenge(now, reply),
            300..=399 if exchange.is_viewers() => return self.handle_redirect(now, reply),
            461 | 406 if wants_tcp => return self.fall_back_to_udp(now),
            200..=299 if wants_tcp && is_udp(reply) => {
                // The session stands; its transport is changed (RFC 2326 section 10.4).
                if self.rtsp.is_none() {
                    self.rtsp = session_of(reply);
                    self.keep_alive_from(now);
                }
                return self.fall_back_to_udp(now);
            }
            551 if self.ask_without_backchannel(now) => return,
            _ => {}
        }
        let Some(exchange) = self.exchange.take() else {
            return;
        };
        self.note_public(&exchange.method, status, reply);
        match &exchange.origin {
            Origin::Teardown => {
                self.rtsp = None;
                self.exchange_done(now);
            }
            Origin::KeepAlive => self.keep_alive_done(now, status, &exchange.method),
            Origin::Viewer { .. } => {
                self.deliver(now, status, reply, &exchange);
                self.exchange_done(now);
            }
        }
    }

    /// A SETUP answered too late has made a session all the same.
    fn handle_stray(&mut self, now: Now, status: u16, cseq: Option<u32>, reply: &Message) {
        if cseq.is_none() || cseq != self.late_setup {
            return;
        }
        self.late_setup = None;
        if let Some(late) = session_of(reply).filter(|_| (200..300).contains(&status)) {
            self.tear_down_late(now, &late.id);
        }
    }

    /// Sends the request at hand again without its `Require: ...backchannel`; false when it had none. Cameras
    /// that know no backchannel refuse such a request, or leave it unanswered.
    pub(super) fn ask_without_backchannel(&mut self, now: Now) -> bool {
        let Some(exchange) = &mut self.exchange else {
            return false;
        };
        let before = exchange.headers.len();
        exchange
            .headers
            .retain(|(name, value)| *name != "Require" || !value.eq_ignore_ascii_case(BACKCHANNEL));
        if exchange.headers.len() == before {
            return false;
        }
        exchange.deadline = now + self.config.limits.response_timeout;
        self.send_exchange(now);
        true
    }

    fn handle_challenge(&mut self, now: Now, reply: &Message) {
        let profile = self.profile_name();
        let notice = match &mut self.auth {
            None => Notice::CredentialMissing { profile },
            Some(auth) => match auth.handle_challenge(reply.header_values("WWW-Authenticate")) {
                Ok(()) => {
                    self.counters.auth_rounds += 1;
                    return self.send_exchange(now);
                }
                Err(AuthError::Refused) => Notice::CredentialRefused { profile },
                Err(AuthError::Unsupported) => Notice::ChallengeUnsupported { profile },
            },
        };
        let reason = match &notice {
            Notice::CredentialMissing { .. } => "Camera Wants A Credential And None Is Configured",
            Notice::CredentialRefused { .. } => "Camera Refused Its Credential",
            _ => "Camera Wants Unsupported Authentication",
        };
        self.notice(notice);
        let is_teardown = self
            .exchange
            .as_ref()
            .is_some_and(|ex| matches!(ex.origin, Origin::Teardown));
        self.fail_exchange(502, reason);
        if is_teardown {
            self.rtsp = None;
        }
        self.exchange_done(now);
    }

    /// The camera may move within itself; the agent connects nowhere else, so only the URI changes.
    fn handle_redirect(&mut self, now: Now, reply: &Message) {
        let Some(exchange) = &mut self.exchange else {
            return;
        };
        let location = reply.header("Location").filter(|location| {
            location.len() <= MAX_URI
                && location
                    .get(..7)
                    .is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"rtsp://"))
        });
        let may_follow = matches!(exchange.method, Method::Describe | Method::Options);
        match location {
            Some(location)
                if may_follow && exchange.redirects < MAX_REDIRECTS && !location.contains(&b'@') =>
            {
                exchange.redirects += 1;
                exchange.uri = location.to_vec();
                self.redirected = Some(location.to_vec());
                self.notice(Notice::Redirected);
                self.send_exchange(now);
            }
            _ => {
                self.fail_exchange(502, "Camera Redirects Elsewhere");
                self.exchange_done(now);
            }
        }
    }

    fn fall_back_to_udp(&mut self, now: Now) {
        let Some(mut exchange) = self.exchange.take() else {
            return;
        };
        let Some(setup) = exchange.setup.take() else {
            return;
        };
        if !self.udp_only {
            self.udp_only = true;
            self.notice(Notice::UdpFallback);
        }
        exchange.headers.retain(|(name, _)| *name != "Transport");
        exchange.deadline = now + self.config.limits.response_timeout;
        exchange.cseq = None;
        self.exchange = Some(self.with_udp(exchange, setup));
    }

    /// Asks for a pair of sockets; the SETUP goes out when they are open.
    pub(super) fn with_udp(&mut self, mut exchange: Exchange, mut setup: Setup) -> Exchange {
        let pair = self.udp_pairs;
        self.udp_pairs = self.udp_pairs.wrapping_add(1);
        self.events.push_back(Event::OpenUdp { pair });
        setup.pair = Some(pair);
        exchange.setup = Some(setup);
        exchange
    }

    pub(super) fn handle_udp_ready(&mut self, now: Now, pair: u8, ports: (u16, u16)) {
        let Some(exchange) = &mut self.exchange else {
            return;
        };
        let Some(setup) = exchange.setup.as_mut().filter(|setup| setup.pair == Some(pair)) else {
            return;
        };
        if setup.ports.is_some() {
            return;
        }
        setup.ports = Some(ports);
        exchange
            .headers
            .push(("Transport", Transport::udp_value(ports, setup.mode)));
        self.send_exchange(now);
    }

    pub(super) fn handle_udp_failed(&mut self, now: Now, pair: u8) {
        let opening = self
            .exchange
            .as_ref()
            .and_then(|exchange| exchange.setup.as_ref());
        if opening.is_some_and(|setup| setup.pair == Some(pair)) {
            self.fail_exchange(502, "No UDP Ports On The Camera");
            self.exchange_done(now);
        }
    }

    fn note_public(&mut self, method: &Method, status: u16, reply: &Message) {
        let Some(public) = reply.header("Public") else {
            return;
        };
        if *method != Method::Options || status >= 300 || self.abilities.known {
            return;
        }
        let has = |method: Method| {
            public.split(|&b| b == b',').any(|name| {
                name.trim_ascii()
                    .eq_ignore_ascii_case(<&str>::from(&method).as_bytes())
            })
        };
        self.abilities = Abilities {
            known: true,
            get_parameter: has(Method::GetParameter),
            set_parameter: has(Method::SetParameter),
        };
    }

    fn keep_alive_done(&mut self, now: Now, status: u16, method: &Method) {
        match status {
            454 => return self.finish(FinishReason::SessionLost),
            400.. => self.keep_alive_refused(method),
            _ => {}
        }
        self.exchange_done(now);
    }

    /// Takes note of a final answer and passes it on.
    fn deliver(&mut self, now: Now, status: u16, reply: &Message, exchange: &Exchange) {
        let Origin::Viewer { cseq, base, track } = &exchange.origin else {
            return;
        };
        let cseq = cseq.as_deref();
        let mut headers = rewrite::response_headers(reply);
        let mut body: Vec<u8> = Vec::new();
        let good = (200..300).contains(&status);
        match exchange.method {
            Method::Options if good => headers.push(("Public", public_for_viewer(reply))),
            Method::Describe if good => match self.describe(exchange, reply) {
                Some(text) => {
                    headers.push(("Content-Type", b"application/sdp".to_vec()));
                    headers.push(("Content-Base", [base, &b"/"[..]].concat()));
                    body = text;
                }
                None => return self.answer(cseq, 502, "Camera Sent No Session Description", &[], b""),
            },
            Method::Setup if good => match self.set_up(now, exchange, reply) {
                Some(transport) => headers.push(("Transport", transport)),
                None => return self.answer(cseq, 502, "Camera Sent No Usable SETUP Answer", &[], b""),
            },
            Method::Play if good => {
                self.playing(now);
                let info = self.rtp_info(reply, base);
                if !info.is_empty() {
                    headers.push(("RTP-Info", info));
                }
            }
            Method::Pause if good => self.media_at = None,
            Method::GetParameter if good => {
                if let Some(kind) = reply
                    .header("Content-Type")
                    .filter(|_| !sdp::shows_address(&reply.body))
                {
                    headers.push(("Content-Type", kind.to_vec()));
                    body.clone_from(&reply.body);
                }
            }
            _ => {}
        }
        if !good {
            self.release_pair(exchange);
        }
        let session = self.session_header();
        if !session.is_empty() {
            headers.push(("Session", session));
        }
        if exchange.method == Method::Teardown && (good || status == 454) {
            self.torn_down(*track);
        }
        let reason = match &reply.start {
            Start::Response { reason, .. } if !sdp::shows_place(reason) => {
                String::from_utf8_lossy(reason).into_owned()
            }
            _ => String::new(),
        };
        let headers: Vec<(&str, &[u8])> = headers
            .iter()
            .map(|(name, value)| (*name, value.as_slice()))
            .collect();
        self.answer(cseq, status, &reason, &headers, &body);
    }

    fn describe(&mut self, exchange: &Exchange, reply: &Message) -> Option<Vec<u8>> {
        let description = sdp::rewrite(&reply.body, &self.profile_name())?;
        let given = reply
            .header("Content-Base")
            .or_else(|| reply.header("Content-Location"));
        let base = match given {
            Some(base) if base.windows(3).any(|w| w == b"://") && base.len() <= MAX_URI => base,
            _ => &exchange.uri,
        };
        let media = description.media.iter().map(|media| Medium {
            uri: resolve_control(base, media.control.as_deref()),
            kind: media.kind,
            from_camera: media.from_camera,
        });
        self.described = Some(Described {
            aggregate: resolve_control(base, description.control.as_deref()),
            media: media.collect(),
        });
        Some(description.text)
    }

    fn set_up(&mut self, now: Now, exchange: &Exchange, reply: &Message) -> Option<Vec<u8>> {
        let setup = exchange.setup.as_ref()?;
        let medium = self.described.as_ref()?.media.get(setup.media)?;
        let (kind, from_camera) = (medium.kind, medium.from_camera);
        if self.rtsp.is_none() {
            self.rtsp = Some(session_of(reply)?);
            self.keep_alive_from(now);
        }
        let transport = Transport::parse(reply.header("Transport").unwrap_or_default())
            .into_iter()
            .next();
        let transport = transport.unwrap_or_default();
        let path = match setup.pair {
            Some(pair) => Path::Udp {
                pair,
                server_ports: transport.server_port,
            },
            None => {
                // An answer that would mix two tracks up is not believed.
                let (rtp, rtcp) = transport
                    .interleaved
                    .filter(|&channels| self.is_free_at_camera(setup.media, channels))
                    .unwrap_or(setup.camera_channels);
                Path::Interleaved(rtp, rtcp)
            }
        };
        self.add_track(Track {
            media: setup.media,
            viewer_channels: setup.viewer_channels,
            path,
            expects_media: from_camera && kind != sdp::Kind::Other,
            gate: match kind {
                sdp::Kind::Video(codec) => Some(Gate::new(codec)),
                sdp::Kind::Other => None,
            },
            ssrc: None,
        });
        Some(Transport::interleaved_value(
            setup.viewer_channels,
            transport.mode,
            transport.ssrc.as_deref(),
        ))
    }

    fn playing(&mut self, now: Now) {
        self.media_at = Some(now);
        for gate in self.tracks.iter_mut().filter_map(|track| track.gate.as_mut()) {
            gate.restart();
        }
    }

    fn rtp_info(&self, reply: &Message, base: &[u8]) -> Vec<u8> {
        let (Some(info), Some(described)) = (reply.header("RTP-Info"), &self.described) else {
            return Vec::new();
        };
        let controls: Vec<(usize, &[u8])> = self
            .tracks
            .iter()
            .filter_map(|track| Some((track.media, described.media.get(track.media)?.uri.as_slice())))
            .collect();
        rewrite::rtp_info(info, &controls, base)
    }

    fn torn_down(&mut self, track: Option<usize>) {
        match track {
            Some(media) => self.remove_track(media),
            None => self.remove_all_tracks(),
        }
        if self.tracks.is_empty() {
            self.rtsp = None;
            self.media_at = None;
        }
    }

    /// The SETUP came to nothing: its sockets are not needed.
    pub(super) fn release_pair(&mut self, exchange: &Exchange) {
        if let Some(pair) = exchange.setup.as_ref().and_then(|setup| setup.pair) {
            self.events.push_back(Event::CloseUdp { pair });
        }
    }
}

/// The answer to an interleaved SETUP speaks of UDP.
fn is_udp(reply: &Message) -> bool {
    let transports = Transport::parse(reply.header("Transport").unwrap_or_default());
    transports
        .first()
        .is_some_and(|transport| !transport.tcp && transport.server_port.is_some())
}

fn session_of(reply: &Message) -> Option<RtspSession> {
    let value = reply.header("Session")?;
    let id = rewrite::session_id(value);
    if id.is_empty() || id.len() > MAX_SESSION_ID {
        return None;
    }
    let timeout = value.split(|&b| b == b';').skip(1).find_map(|param| {
        let (name, seconds) = param.trim_ascii().split_at_checked(8)?;
        name.eq_ignore_ascii_case(b"timeout=")
            .then(|| parse_number(seconds))?
    });
    let timeout = timeout.map_or(DEFAULT_TIMEOUT, |seconds| Duration::from_secs(seconds.into()));
    let (shortest, longest) = TIMEOUT_RANGE;
    Some(RtspSession {
        id: id.to_vec(),
        timeout: timeout.clamp(shortest, longest),
    })
}

/// What both the camera and we allow.
fn public_for_viewer(reply: &Message) -> Vec<u8> {
    let public = reply.header("Public").unwrap_or_default();
    let both: Vec<&str> = ALLOWED
        .iter()
        .map(<&str>::from)
        .filter(|name| {
            public.is_empty()
                || public
                    .split(|&b| b == b',')
                    .any(|have| have.trim_ascii().eq_ignore_ascii_case(name.as_bytes()))
        })
        .collect();
    both.join(", ").into_bytes()
}
