//! One request that is with the camera, and the bytes on their way to it.

use rtsp_types::Method;

use crate::Now;
use crate::message::Writer;
use crate::transport::Mode;

/// Sent bytes are cut off the front of the outbox once there are this many.
const COMPACT: usize = 16 << 10;

/// On whose behalf a request goes to the camera.
#[derive(Debug)]
pub(super) enum Origin {
    /// The viewer's, with what its answer needs.
    Viewer {
        cseq: Option<Vec<u8>>,
        /// `Content-Base` and `RTP-Info` begin with this.
        base: Vec<u8>,
        /// It named a track, not the profile.
        track: Option<usize>,
    },
    KeepAlive,
    Teardown,
}

/// What a SETUP is about.
#[derive(Debug)]
pub(super) struct Setup {
    pub(super) media: usize,
    pub(super) viewer_channels: (u8, u8),
    pub(super) camera_channels: (u8, u8),
    pub(super) mode: Option<Mode>,
    /// The pair of UDP sockets, once the camera has refused TCP.
    pub(super) pair: Option<u8>,
    /// Their ports, once they are open.
    pub(super) ports: Option<(u16, u16)>,
}

impl Setup {
    pub(super) fn lacks_ports(&self) -> bool {
        self.pair.is_some() && self.ports.is_none()
    }
}

#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) origin: Origin,
    pub(super) method: Method,
    pub(super) uri: Vec<u8>,
    pub(super) headers: Vec<(&'static str, Vec<u8>)>,
    pub(super) body: Vec<u8>,
    pub(super) setup: Option<Setup>,
    /// The CSeq under which it went out last; `None` while it has not.
    pub(super) cseq: Option<u32>,
    pub(super) deadline: Now,
    pub(super) redirects: u8,
}

impl Exchange {
    pub(super) fn new(origin: Origin, method: Method, uri: Vec<u8>, deadline: Now) -> Self {
        Self {
            origin,
            method,
            uri,
            headers: Vec::new(),
            body: Vec::new(),
            setup: None,
            cseq: None,
            deadline,
            redirects: 0,
        }
    }

    pub(super) fn is_viewers(&self) -> bool {
        matches!(self.origin, Origin::Viewer { .. })
    }

    /// The request's bytes. `own` are the agent's headers.
    pub(super) fn encode(&self, own: &[(&str, &[u8])]) -> Vec<u8> {
        let mut writer = Writer::request(<&str>::from(&self.method), &self.uri);
        for (name, value) in own {
            writer.header(name, value);
        }
        for (name, value) in &self.headers {
            writer.header(name, value);
        }
        writer.finish(&self.body)
    }
}

/// Bytes for the camera's TCP connection.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    bytes: Vec<u8>,
    sent: usize,
    up: bool,
}

impl Outbox {
    /// What is left to write; nothing while there is no connection.
    pub(super) fn bytes(&self) -> &[u8] {
        if self.up {
            self.bytes.get(self.sent..).unwrap_or_default()
        } else {
            &[]
        }
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len() - self.sent
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    pub(super) fn advance(&mut self, n: usize) {
        self.sent = (self.sent + n).min(self.bytes.len());
        if self.sent == self.bytes.len() {
            self.bytes.clear();
            self.bytes.shrink_to(COMPACT);
            self.sent = 0;
        } else if self.sent > COMPACT {
            self.bytes.drain(..self.sent);
            self.sent = 0;
        }
    }

    /// A connection begins or has ended: nothing of the old one is for the new one.
    pub(super) fn reset(&mut self, up: bool) {
        *self = Self {
            up,
            ..Self::default()
        };
    }
}
