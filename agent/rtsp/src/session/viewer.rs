//! The viewer's requests: which are allowed, which the agent answers alone, what becomes of the others.

use rtsp_types::Method;

use super::core::Core;
use super::exchange::{Exchange, Origin, Setup};
use super::rewrite;
use crate::message::{Message, Start};
use crate::transport::Transport;
use crate::uri::ViewerUri;
use crate::{FinishReason, Now};

/// What a viewer may ask for (design: no ANNOUNCE, RECORD or REDIRECT).
pub(super) const ALLOWED: [Method; 8] = [
    Method::Options,
    Method::Describe,
    Method::Setup,
    Method::Play,
    Method::Pause,
    Method::Teardown,
    Method::GetParameter,
    Method::SetParameter,
];
const ALLOW: &[u8] = b"OPTIONS, DESCRIBE, SETUP, PLAY, PAUSE, TEARDOWN, GET_PARAMETER, SET_PARAMETER";

/// Largest body taken from a viewer; parameters are short.
const MAX_VIEWER_BODY: usize = 8 << 10;

/// A refusal: status and reason.
type Refusal = (u16, &'static str);

impl Core {
    pub(super) fn handle_viewer_message(&mut self, now: Now, head: &[u8], body: &[u8]) {
        if !self.is_open() {
            return;
        }
        match Message::parse(head, body) {
            Some(message) => match message.start {
                Start::Request { .. } if body.len() > MAX_VIEWER_BODY => {
                    self.answer(message.header("CSeq"), 413, "", &[], b"");
                    self.close(now, FinishReason::ViewerProtocol);
                }
                Start::Request { .. } => self.queue_request(now, message),
                // The agent asks the viewer nothing.
                Start::Response { .. } => {}
            },
            // There is no place in the line for what cannot be read, so nothing else bounds the answers.
            None => {
                self.answer(None, 400, "", &[], b"");
                self.close(now, FinishReason::ViewerProtocol);
            }
        }
    }

    pub(super) fn handle_request(&mut self, now: Now, request: Message) {
        let Start::Request { method, uri } = &request.start else {
            return;
        };
        let cseq = request.header("CSeq");
        let method = Method::from(method.as_str());
        if !ALLOWED.contains(&method) {
            self.counters.requests_answered += 1;
            let status = if matches!(method, Method::Extension(_)) {
                501
            } else {
                405
            };
            return self.answer(cseq, status, "", &[("Allow", ALLOW)], b"");
        }
        let uri = ViewerUri::parse(uri);
        if method == Method::Options && uri.profile.is_empty() {
            self.counters.requests_answered += 1;
            return self.answer(cseq, 200, "", &[("Public", ALLOW)], b"");
        }
        let answered = self.bind(uri).and_then(|()| match method {
            Method::GetParameter | Method::Options if self.is_keep_alive(&method, &request) => Ok(None),
            _ => self.plan(now, method.clone(), uri, &request).map(Some),
        });
        match answered {
            Ok(Some(exchange)) => {
                self.counters.requests_forwarded += 1;
                self.start_exchange(now, exchange);
            }
            Ok(None) => {
                self.counters.requests_answered += 1;
                let session = self.session_header();
                let mut headers: Vec<(&str, &[u8])> = Vec::new();
                if method == Method::Options {
                    headers.push(("Public", ALLOW));
                }
                if !session.is_empty() {
                    headers.push(("Session", &session));
                }
                self.answer(cseq, 200, "", &headers, b"");
            }
            Err((status, reason)) => {
                self.counters.requests_answered += 1;
                self.answer(cseq, status, reason, &[], b"");
            }
        }
    }

    fn bind(&mut self, uri: ViewerUri<'_>) -> Result<(), Refusal> {
        let by_name = |profile: &crate::Profile| profile.name.as_bytes() == uri.profile;
        let index = self
            .config
            .profiles
            .iter()
            .position(by_name)
            .ok_or((404, "No Such Profile"))?;
        match self.select_profile(index) {
            true => Ok(()),
            false => Err((404, "Not Of This Profile")),
        }
    }

    /// The agent keeps the camera's session alive itself; passing on what some cameras answer by closing
    /// would gain nothing.
    fn is_keep_alive(&self, method: &Method, request: &Message) -> bool {
        match method {
            Method::Options => self.abilities.known,
            _ => self.rtsp.is_some() && request.body.is_empty(),
        }
    }

    /// Turns a viewer's request into one for the camera.
    fn plan(
        &mut self,
        now: Now,
        method: Method,
        uri: ViewerUri<'_>,
        request: &Message,
    ) -> Result<Exchange, Refusal> {
        self.check_session(&method, request)?;
        let track = self.track_of(uri)?;
        let target = match (&self.described, track) {
            (Some(described), Some(index)) => described
                .media
                .get(index)
                .map(|medium| medium.uri.clone())
                .ok_or((404, ""))?,
            (Some(described), None) if !matches!(method, Method::Options | Method::Describe) => {
                described.aggregate.clone()
            }
            _ => self.camera_uri(),
        };
        let origin = Origin::Viewer {
            cseq: request.header("CSeq").map(<[u8]>::to_vec),
            base: uri.base.to_vec(),
            track,
        };
        let deadline = now + self.config.limits.response_timeout;
        let mut exchange = Exchange::new(origin, method.clone(), target, deadline);
        exchange.headers = rewrite::request_headers(request);
        match method {
            Method::Setup => {
                let setup = self.plan_setup(track, request)?;
                // A profile of one medium may be named in its place.
                let medium = self
                    .described
                    .as_ref()
                    .and_then(|described| described.media.get(setup.media));
                exchange.uri = medium.map_or(exchange.uri, |medium| medium.uri.clone());
                exchange.headers.retain(|(name, _)| *name != "Transport");
                if self.udp_only {
                    return Ok(self.with_udp(exchange, setup));
                }
                let value = Transport::interleaved_value(setup.camera_channels, setup.mode, None);
                exchange.headers.push(("Transport", value));
                exchange.setup = Some(setup);
            }
            Method::Describe if request.header("Accept").is_none() => {
                exchange.headers.push(("Accept", b"application/sdp".to_vec()));
            }
            Method::GetParameter | Method::SetParameter => exchange.body.clone_from(&request.body),
            _ => {}
        }
        Ok(exchange)
    }

    fn check_session(&self, method: &Method, request: &Message) -> Result<(), Refusal> {
        let given = request.header("Session").map(rewrite::session_id);
        match (&self.rtsp, given) {
            (Some(rtsp), Some(given)) if rtsp.id != given => Err((454, "")),
            (None, Some(_)) => Err((454, "")),
            (None, None) if matches!(method, Method::Play | Method::Pause | Method::Teardown) => {
                Err((454, ""))
            }
            _ => Ok(()),
        }
    }

    /// The media section a URI names; `None` for the profile itself.
    fn track_of(&self, uri: ViewerUri<'_>) -> Result<Option<usize>, Refusal> {
        if uri.control.is_empty() {
            return Ok(None);
        }
        let Some(described) = &self.described else {
            return Err((455, "DESCRIBE First"));
        };
        let tokens = (0..described.media.len()).map(crate::sdp::token);
        let mut named = tokens
            .enumerate()
            .filter(|(_, token)| token.as_bytes() == uri.control);
        named
            .next()
            .map(|(index, _)| Some(index))
            .ok_or((404, "Not Of This Profile"))
    }

    fn plan_setup(&self, track: Option<usize>, request: &Message) -> Result<Setup, Refusal> {
        let described = self.described.as_ref().ok_or((455, "DESCRIBE First"))?;
        let media = match (track, described.media.len()) {
            (Some(media), _) => media,
            (None, 1) => 0,
            (None, _) => return Err((459, "")),
        };
        let offer = Transport::parse(request.header("Transport").unwrap_or_default());
        let wanted = offer
            .iter()
            .find(|transport| transport.tcp && !transport.multicast)
            .ok_or((461, ""))?;
        let viewer_channels = self
            .viewer_channels_for(media, wanted.interleaved)
            .ok_or((461, ""))?;
        let first = u8::try_from(2 * media).map_err(|_| (404, ""))?;
        Ok(Setup {
            media,
            viewer_channels,
            camera_channels: (first, first + 1),
            mode: wanted.mode,
            pair: None,
            ports: None,
        })
    }

    /// `Session` for the viewer; empty without a session.
    pub(super) fn session_header(&self) -> Vec<u8> {
        match &self.rtsp {
            Some(rtsp) => [
                &rtsp.id,
                format!(";timeout={}", rtsp.timeout.as_secs()).as_bytes(),
            ]
            .concat(),
            None => Vec::new(),
        }
    }
}
