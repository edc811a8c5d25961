//! A small RTSP client over interleaved TCP (RFC 2326) for measuring: blocking, one connection,
//! raw RTP packets out. It knows nothing of the agent's code.
//!
//! It is strict where a test wants to know: bytes between frames that are neither a frame nor a
//! reply are an error, unless [`Options::tolerate_garbage`] is set (then they are counted).

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use crate::annexb::Codec;
use crate::digest::{Algorithm, Credentials, DigestInput, param, parse_header};

/// Largest reply, head and body.
const MAX_REPLY: usize = 1 << 20;
/// Frames that may arrive while a reply is awaited; more means the reply never comes.
const MAX_EARLY_FRAMES: usize = 100_000;

/// How to connect.
#[derive(Clone, Debug)]
pub struct Options {
    /// `rtsp://host:port/path`.
    pub url: String,
    /// User and password, when the server asks.
    pub credentials: Option<Credentials>,
    /// Longest wait for a connection or a reply.
    pub timeout: Duration,
    /// Skip bytes between frames that mean nothing, and count them.
    pub tolerate_garbage: bool,
    /// `SO_RCVBUF`, for slow readers.
    pub receive_buffer: Option<usize>,
}

impl Options {
    /// As a strict client that reads as fast as it can.
    #[must_use]
    pub fn strict(url: &str, (user, password): (&str, &str), timeout: Duration) -> Self {
        Self {
            url: url.to_owned(),
            credentials: Some(Credentials {
                user: user.to_owned(),
                password: password.to_owned(),
            }),
            timeout,
            tolerate_garbage: false,
            receive_buffer: None,
        }
    }
}

/// A reply.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    /// Status code.
    pub status: u16,
    /// Header names in lower case with their values.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub body: Vec<u8>,
}

impl Reply {
    /// The first header of that (lower-case) name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, v)| v.as_str())
    }
}

/// A media description of the SDP (RFC 4566 section 5.14).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Track {
    /// `video`, `audio`, ...
    pub media: String,
    /// RTP payload type.
    pub payload_type: u8,
    /// Encoding name of `a=rtpmap`, upper case.
    pub encoding: String,
    /// Clock rate.
    pub clock: u32,
    /// `a=fmtp` parameters.
    pub fmtp: String,
    /// `a=control`, as sent.
    pub control: String,
    /// RTP channel, once set up.
    pub channel: u8,
}

impl Track {
    /// The video codec, when it is one the tools can take apart.
    pub fn codec(&self) -> Option<Codec> {
        Codec::from_name(&self.encoding)
    }
}

/// One interleaved frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Channel.
    pub channel: u8,
    /// RTP or RTCP packet.
    pub data: Vec<u8>,
}

/// A connection to an RTSP server.
pub struct Client {
    options: Options,
    stream: TcpStream,
    input: Vec<u8>,
    consumed: usize,
    early: Vec<Frame>,
    /// Channels in use, RTP and RTCP; a `$` in front of any other byte is no frame.
    channels: Vec<u8>,
    cseq: u32,
    nonce_count: u32,
    challenge: Option<String>,
    session: Option<String>,
    base: String,
    keepalive: Duration,
    public: String,
    last_request: Instant,
    /// Tracks of the SDP, after DESCRIBE.
    pub tracks: Vec<Track>,
    /// Bytes skipped between frames.
    pub garbage_bytes: u64,
    /// Bytes read from the socket.
    pub read_bytes: u64,
}

enum Item {
    Frame(Frame),
    Reply(Reply),
}

impl Client {
    /// Connects; sends nothing yet.
    pub fn connect(options: Options) -> Result<Self> {
        let authority = authority_of(&options.url)?;
        let address = if authority
            .rsplit_once(':')
            .is_some_and(|(_, p)| p.parse::<u16>().is_ok())
        {
            authority.to_owned()
        } else {
            format!("{authority}:554")
        };
        let stream = connect(&address, &options).with_context(|| format!("cannot connect to {address}"))?;
        Ok(Self {
            base: options.url.clone(),
            options,
            stream,
            input: Vec::new(),
            consumed: 0,
            early: Vec::new(),
            channels: Vec::new(),
            cseq: 0,
            nonce_count: 0,
            challenge: None,
            session: None,
            keepalive: Duration::from_secs(30),
            public: String::new(),
            last_request: Instant::now(),
            tracks: Vec::new(),
            garbage_bytes: 0,
            read_bytes: 0,
        })
    }

    /// OPTIONS and DESCRIBE; fills [`Self::tracks`].
    pub fn describe(&mut self) -> Result<Reply> {
        let url = self.options.url.clone();
        let options = self.request("OPTIONS", &url, &[])?;
        self.public = options.header("public").unwrap_or_default().to_owned();
        let reply = self.expect_ok("DESCRIBE", &url, &[("Accept", "application/sdp")])?;
        if let Some(base) = reply.header("content-base").or(reply.header("content-location")) {
            self.base = base.to_owned();
        }
        self.tracks = parse_sdp(&String::from_utf8_lossy(&reply.body));
        ensure!(!self.tracks.is_empty(), "the SDP describes no media");
        Ok(reply)
    }

    /// SETUP of every track, channels 0-1, 2-3, ...
    pub fn setup_all(&mut self) -> Result<()> {
        for index in 0..self.tracks.len() {
            self.setup(index)?;
        }
        Ok(())
    }

    /// SETUP of one track; takes the channels that the server answers.
    pub fn setup(&mut self, index: usize) -> Result<()> {
        let track = self.tracks.get(index).context("no such track")?;
        let url = resolve(&self.base, &track.control);
        let wanted = u8::try_from(index * 2).context("too many tracks")?;
        let transport = format!("RTP/AVP/TCP;unicast;interleaved={wanted}-{}", wanted + 1);
        let reply = self.expect_ok("SETUP", &url, &[("Transport", &transport)])?;
        let session = reply.header("session").context("SETUP reply without Session")?;
        let (id, params) = session.split_once(';').unwrap_or((session, ""));
        self.session = Some(id.trim().to_owned());
        let timeout = params
            .trim()
            .strip_prefix("timeout=")
            .and_then(|t| t.trim().parse::<u64>().ok());
        self.keepalive = Duration::from_secs(timeout.unwrap_or(60)).max(Duration::from_secs(2)) / 2;
        let answered = reply.header("transport").unwrap_or_default();
        let channel = answered
            .split(';')
            .find_map(|part| part.trim().strip_prefix("interleaved="))
            .and_then(|pair| pair.split('-').next()?.trim().parse().ok());
        if let Some(track) = self.tracks.get_mut(index) {
            track.channel = channel.unwrap_or(wanted);
            self.channels
                .extend([track.channel, track.channel.wrapping_add(1)]);
        }
        Ok(())
    }

    /// PLAY from now.
    pub fn play(&mut self) -> Result<Reply> {
        let url = self.aggregate();
        self.expect_ok("PLAY", &url, &[("Range", "npt=0.000-")])
    }

    /// TEARDOWN; the connection stays open.
    pub fn teardown(&mut self) -> Result<Reply> {
        let url = self.aggregate();
        let reply = self.expect_ok("TEARDOWN", &url, &[])?;
        self.session = None;
        Ok(reply)
    }

    /// The next interleaved frame, `None` at the deadline. Sends keep-alives in time.
    pub fn next_frame(&mut self, deadline: Instant) -> Result<Option<Frame>> {
        if !self.early.is_empty() {
            return Ok(Some(self.early.remove(0)));
        }
        if self.session.is_some() && self.last_request.elapsed() >= self.keepalive {
            self.send_keepalive()?;
        }
        loop {
            match self.next_item(deadline)? {
                Some(Item::Frame(frame)) => return Ok(Some(frame)),
                // The reply to a keep-alive.
                Some(Item::Reply(_)) => {}
                None => return Ok(None),
            }
        }
    }

    /// The track whose RTP arrives on a channel.
    pub fn track_of(&self, channel: u8) -> Option<usize> {
        self.tracks.iter().position(|track| track.channel == channel)
    }

    /// Sends a request and waits for its reply, answering one challenge.
    pub fn request(&mut self, method: &str, uri: &str, headers: &[(&str, &str)]) -> Result<Reply> {
        for _ in 0..2 {
            self.send(method, uri, headers)?;
            let reply = self.wait_reply(method)?;
            let challenge = pick_challenge(&reply);
            if reply.status == 401 && challenge.is_some() && self.options.credentials.is_some() {
                self.challenge = challenge;
                self.nonce_count = 0;
                continue;
            }
            return Ok(reply);
        }
        bail!("{method}: the server refuses the credentials (401)")
    }

    fn expect_ok(&mut self, method: &str, uri: &str, headers: &[(&str, &str)]) -> Result<Reply> {
        let reply = self.request(method, uri, headers)?;
        ensure!(reply.status == 200, "{method}: status {}", reply.status);
        Ok(reply)
    }

    fn aggregate(&self) -> String {
        self.base.clone()
    }

    fn send_keepalive(&mut self) -> Result<()> {
        let method = if self.public.contains("GET_PARAMETER") {
            "GET_PARAMETER"
        } else {
            "OPTIONS"
        };
        let url = self.aggregate();
        self.send(method, &url, &[])
    }

    fn send(&mut self, method: &str, uri: &str, headers: &[(&str, &str)]) -> Result<()> {
        self.cseq += 1;
        let mut text = format!(
            "{method} {uri} RTSP/1.0\r\nCSeq: {}\r\nUser-Agent: rtp-sink\r\n",
            self.cseq
        );
        if let Some(value) = self.authorization(method, uri) {
            text.push_str(&format!("Authorization: {value}\r\n"));
        }
        if let Some(session) = &self.session {
            text.push_str(&format!("Session: {session}\r\n"));
        }
        for (name, value) in headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str("\r\n");
        self.last_request = Instant::now();
        self.stream
            .write_all(text.as_bytes())
            .with_context(|| format!("cannot send {method}"))
    }

    fn authorization(&mut self, method: &str, uri: &str) -> Option<String> {
        let credentials = self.options.credentials.as_ref()?;
        let (scheme, params) = parse_header(self.challenge.as_deref()?);
        if scheme == "basic" {
            return Some(credentials.basic());
        }
        let algorithm = match param(&params, "algorithm") {
            Some(name) if name.eq_ignore_ascii_case("SHA-256") => Algorithm::Sha256,
            _ => Algorithm::Md5,
        };
        let (realm, nonce) = (param(&params, "realm")?, param(&params, "nonce")?);
        self.nonce_count += 1;
        let (nc, cnonce) = (
            format!("{:08x}", self.nonce_count),
            format!("{:016x}", rand::random::<u64>()),
        );
        let qop = param(&params, "qop").is_some_and(|qop| qop.split(',').any(|q| q.trim() == "auth"));
        let qop_auth = qop.then_some((nc.as_str(), cnonce.as_str()));
        let response = DigestInput {
            algorithm,
            realm,
            nonce,
            method,
            uri,
            qop_auth,
        }
        .response(credentials);
        let mut value = format!(
            "Digest username=\"{}\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"{uri}\", response=\"{response}\"",
            credentials.user
        );
        if param(&params, "algorithm").is_some() {
            value.push_str(&format!(", algorithm={}", algorithm.name()));
        }
        if let Some((nc, cnonce)) = qop_auth {
            value.push_str(&format!(", qop=auth, nc={nc}, cnonce=\"{cnonce}\""));
        }
        if let Some(opaque) = param(&params, "opaque") {
            value.push_str(&format!(", opaque=\"{opaque}\""));
        }
        Some(value)
    }

    fn wait_reply(&mut self, method: &str) -> Result<Reply> {
        let deadline = Instant::now() + self.options.timeout;
        loop {
            match self.next_item(deadline)? {
                Some(Item::Reply(reply)) => {
                    let cseq = reply.header("cseq").and_then(|v| v.trim().parse::<u32>().ok());
                    // An older one answers a keep-alive.
                    if cseq.is_none_or(|cseq| cseq >= self.cseq) {
                        return Ok(reply);
                    }
                }
                Some(Item::Frame(frame)) => {
                    ensure!(
                        self.early.len() < MAX_EARLY_FRAMES,
                        "{method}: frames but no reply"
                    );
                    self.early.push(frame);
                }
                None => bail!("{method}: no reply in {:?}", self.options.timeout),
            }
        }
    }

    fn next_item(&mut self, deadline: Instant) -> Result<Option<Item>> {
        loop {
            match take_item(
                self.input.get(self.consumed..).unwrap_or_default(),
                &self.channels,
            )? {
                Taken::Item(item, len) => {
                    self.consumed += len;
                    return Ok(Some(item));
                }
                Taken::Garbage(len) => {
                    ensure!(
                        self.options.tolerate_garbage,
                        "{len} bytes between frames that mean nothing"
                    );
                    self.consumed += len;
                    self.garbage_bytes += len as u64;
                }
                Taken::NeedMore => {
                    if !self.fill(deadline)? {
                        return Ok(None);
                    }
                }
            }
        }
    }

    /// Reads once; `false` at the deadline.
    fn fill(&mut self, deadline: Instant) -> Result<bool> {
        self.input.drain(..self.consumed);
        self.consumed = 0;
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(false);
        }
        self.stream.set_read_timeout(Some(left))?;
        let mut buffer = [0; 32 << 10];
        match self.stream.read(&mut buffer) {
            Ok(0) => bail!("the server closed the connection"),
            Ok(n) => {
                self.read_bytes += n as u64;
                self.input.extend_from_slice(buffer.get(..n).unwrap_or_default());
                Ok(true)
            }
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Ok(false),
            Err(e) if e.kind() == ErrorKind::Interrupted => Ok(true),
            Err(e) => Err(e).context("the connection broke"),
        }
    }
}

fn connect(address: &str, options: &Options) -> Result<TcpStream> {
    use std::net::ToSocketAddrs as _;
    let mut last = None;
    for address in address.to_socket_addrs()? {
        let socket =
            socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::STREAM, None)?;
        if let Some(size) = options.receive_buffer {
            // Before connecting: the window scale is fixed with the SYN.
            socket.set_recv_buffer_size(size)?;
        }
        match socket.connect_timeout(&address.into(), options.timeout) {
            Ok(()) => {
                let stream = TcpStream::from(socket);
                stream.set_nodelay(true)?;
                stream.set_write_timeout(Some(options.timeout))?;
                return Ok(stream);
            }
            Err(error) => last = Some(error),
        }
    }
    Err(last.map_or_else(|| anyhow::anyhow!("no address"), Into::into))
}

fn authority_of(url: &str) -> Result<&str> {
    let rest = url
        .strip_prefix("rtsp://")
        .context("the URL must begin with rtsp://")?;
    let authority = rest.split(['/', '?']).next().unwrap_or(rest);
    ensure!(
        !authority.contains('@'),
        "give the credentials apart from the URL"
    );
    Ok(authority)
}

/// The strongest challenge that can be answered.
fn pick_challenge(reply: &Reply) -> Option<String> {
    let strength = |value: &str| {
        let (scheme, params) = parse_header(value);
        match (scheme.as_str(), param(&params, "algorithm")) {
            ("digest", Some(name)) if name.eq_ignore_ascii_case("SHA-256") => 3,
            ("digest", _) => 2,
            ("basic", _) => 1,
            _ => 0,
        }
    };
    let challenges = reply
        .headers
        .iter()
        .filter(|(name, _)| name == "www-authenticate")
        .map(|(_, v)| v);
    challenges
        .max_by_key(|value| strength(value))
        .filter(|value| strength(value) > 0)
        .cloned()
}

/// A control attribute as URL: absolute, `*`, or below the base (RFC 2326 appendix C.1.1, the way
/// clients do it: appended, not resolved).
fn resolve(base: &str, control: &str) -> String {
    if control.starts_with("rtsp://") {
        return control.to_owned();
    }
    if control.is_empty() || control == "*" {
        return base.to_owned();
    }
    format!(
        "{}/{}",
        base.trim_end_matches('/'),
        control.trim_start_matches('/')
    )
}

/// The media descriptions of an SDP.
pub fn parse_sdp(sdp: &str) -> Vec<Track> {
    let mut tracks: Vec<Track> = Vec::new();
    for line in sdp.lines() {
        let line = line.trim_end();
        if let Some(media) = line.strip_prefix("m=") {
            let mut words = media.split(' ');
            let name = words.next().unwrap_or_default().to_owned();
            let payload_type = words
                .nth(2)
                .and_then(|word| word.parse().ok())
                .unwrap_or_default();
            tracks.push(Track {
                media: name,
                payload_type,
                ..Track::default()
            });
            continue;
        }
        let Some(track) = tracks.last_mut() else { continue };
        if let Some(map) = line.strip_prefix("a=rtpmap:") {
            let mut encoding = map.split_once(' ').map_or("", |(_, rest)| rest).split('/');
            track.encoding = encoding.next().unwrap_or_default().to_ascii_uppercase();
            track.clock = encoding
                .next()
                .and_then(|clock| clock.parse().ok())
                .unwrap_or_default();
        } else if let Some(fmtp) = line.strip_prefix("a=fmtp:") {
            track.fmtp = fmtp.split_once(' ').map_or("", |(_, rest)| rest).to_owned();
        } else if let Some(control) = line.strip_prefix("a=control:") {
            track.control = control.trim().to_owned();
        }
    }
    tracks
}

enum Taken {
    Item(Item, usize),
    Garbage(usize),
    NeedMore,
}

fn take_item(input: &[u8], channels: &[u8]) -> Result<Taken> {
    let known = |channel: u8| channels.is_empty() || channels.contains(&channel);
    let is_frame = |at: &[u8]| at.first() == Some(&b'$') && at.get(1).is_none_or(|&channel| known(channel));
    if let [b'$', channel, high, low, rest @ ..] = input
        && known(*channel)
    {
        let len = usize::from(u16::from_be_bytes([*high, *low]));
        let Some(data) = rest.get(..len) else {
            return Ok(Taken::NeedMore);
        };
        return Ok(Taken::Item(
            Item::Frame(Frame {
                channel: *channel,
                data: data.to_vec(),
            }),
            len + 4,
        ));
    }
    if input.is_empty() || is_frame(input) || (input.len() < 5 && b"RTSP/".starts_with(input)) {
        return Ok(Taken::NeedMore);
    }
    if !input.starts_with(b"RTSP/") {
        let next = input
            .windows(5)
            .position(|w| w == b"RTSP/")
            .unwrap_or(input.len());
        let frame = (1..input.len())
            .find(|&at| input.get(at..).is_some_and(is_frame))
            .unwrap_or(input.len());
        return Ok(Taken::Garbage(next.min(frame).max(1)));
    }
    let head_len = |end: &[u8]| {
        input
            .windows(end.len())
            .position(|w| w == end)
            .map(|at| at + end.len())
    };
    let (crlf, lf) = (head_len(b"\r\n\r\n"), head_len(b"\n\n"));
    let Some(head_len) = [crlf, lf].into_iter().flatten().min() else {
        ensure!(input.len() <= MAX_REPLY, "the head of a reply is too large");
        return Ok(Taken::NeedMore);
    };
    let mut reply = parse_reply(&String::from_utf8_lossy(
        input.get(..head_len).unwrap_or_default(),
    ))?;
    let body_len = reply
        .header("content-length")
        .map_or(Ok(0), |v| v.trim().parse::<usize>())?;
    ensure!(body_len <= MAX_REPLY, "the body of a reply is too large");
    let Some(body) = input.get(head_len..head_len + body_len) else {
        return Ok(Taken::NeedMore);
    };
    reply.body = body.to_vec();
    Ok(Taken::Item(Item::Reply(reply), head_len + body_len))
}

fn parse_reply(head: &str) -> Result<Reply> {
    let mut lines = head.lines();
    let first = lines.next().unwrap_or_default();
    let status = first.split(' ').nth(1).and_then(|s| s.trim().parse().ok());
    let mut reply = Reply {
        status: status.with_context(|| format!("no status in {first:?}"))?,
        ..Reply::default()
    };
    for line in lines {
        if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = reply.headers.last_mut() {
                value.push(' ');
                value.push_str(line.trim());
            }
        } else if let Some((name, value)) = line.split_once(':') {
            reply
                .headers
                .push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
    Ok(reply)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(input: &[u8]) -> Vec<String> {
        let (mut at, mut seen) = (0, Vec::new());
        loop {
            match take_item(&input[at..], &[0, 1]).unwrap() {
                Taken::Item(Item::Frame(frame), len) => {
                    seen.push(format!("frame {} {}", frame.channel, frame.data.len()));
                    at += len;
                }
                Taken::Item(Item::Reply(reply), len) => {
                    seen.push(format!("reply {} {}", reply.status, reply.body.len()));
                    at += len;
                }
                Taken::Garbage(len) => {
                    seen.push(format!("garbage {len}"));
                    at += len;
                }
                Taken::NeedMore => return seen,
            }
        }
    }

    #[test]
    fn frames_replies_and_garbage() {
        let input = b"$\x00\x00\x02abRTSP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nxyz$25 ok$\x01\x00\x00RTSP/1.0 404\nA: b\n\n$\x00";
        assert_eq!(
            items(input),
            [
                "frame 0 2",
                "reply 200 3",
                "garbage 6",
                "frame 1 0",
                "reply 404 0"
            ]
        );
        for cut in 0..input.len() {
            let _ = items(&input[..cut]);
        }
    }

    #[test]
    fn folded_headers() {
        let reply =
            parse_reply("RTSP/1.0 200 OK\r\nPublic: OPTIONS,\r\n PLAY\r\n \r\nCSeq: 1\r\n\r\n").unwrap();
        assert_eq!(reply.header("public"), Some("OPTIONS, PLAY "));
        assert_eq!(reply.header("cseq"), Some("1"));
    }

    #[test]
    fn sdp_tracks() {
        let tracks = parse_sdp(
            "v=0\r\na=control:*\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 h264/90000\r\na=fmtp:96 packetization-mode=1\r\n\
             a=control:trackID=0\r\nm=audio 0 RTP/AVP 0\r\na=control:trackID=1\r\n",
        );
        assert_eq!(tracks.len(), 2);
        assert_eq!(tracks[0].codec(), Some(Codec::H264));
        assert_eq!((tracks[0].clock, tracks[0].payload_type), (90_000, 96));
        assert_eq!(
            (tracks[1].media.as_str(), tracks[1].control.as_str()),
            ("audio", "trackID=1")
        );
    }

    #[test]
    fn control_urls() {
        assert_eq!(resolve("rtsp://h/a/", "trackID=0"), "rtsp://h/a/trackID=0");
        assert_eq!(resolve("rtsp://h/a", "trackID=0"), "rtsp://h/a/trackID=0");
        assert_eq!(resolve("rtsp://h/a", "rtsp://x/y"), "rtsp://x/y");
        assert_eq!(resolve("rtsp://h/a", "*"), "rtsp://h/a");
    }

    #[test]
    fn the_strongest_challenge_is_answered() {
        let mut reply = Reply {
            status: 401,
            ..Reply::default()
        };
        for value in [
            "Basic realm=\"a\"",
            "Digest realm=\"a\", nonce=\"m\"",
            "Negotiate",
        ] {
            reply.headers.push(("www-authenticate".into(), value.into()));
        }
        assert!(pick_challenge(&reply).is_some_and(|c| c.contains("\"m\"")));
        reply.headers.remove(0);
        reply.headers.remove(0);
        assert_eq!(pick_challenge(&reply), None);
    }
}
