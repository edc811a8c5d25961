//! A gateway in this process, an agent made of the `h2` crate's server, and a raw RTSP client.
#![allow(
    dead_code,
    unreachable_pub,
    unused_imports,
    reason = "each test file uses its part"
)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a helper that fails fails the test"
)]

mod newcomer;
mod viewer;

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{RecvStream, SendStream};
use http::{Method, Response, StatusCode};
use lenscap_gateway::config;
use lenscap_gateway::rtsp::digest::hex;
use lenscap_gateway::server::{Addresses, Gateway, Reloader};
use lenscap_gateway::tls::{sha256, spki_fingerprint};
use lenscap_gateway::uplink::carrier::CarrierStream;
use rcgen::{CertifiedKey, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::Role;

pub use newcomer::{Newcomer, field, introduced};
pub use viewer::Viewer;

pub const DEADLINE: Duration = Duration::from_secs(20);
pub const TOKEN: &str = "token-of-the-back-camera";
pub const SDP: &str = "v=0\r\nm=video 0 RTP/AVP 96\r\na=control:trackID=1\r\n";

/// Fails the test instead of hanging.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(DEADLINE, future)
        .await
        .unwrap_or_else(|_| panic!("timed out: {what}"))
}

pub struct Keys {
    pub server: CertifiedKey<KeyPair>,
    pub camera: CertifiedKey<KeyPair>,
}

pub fn self_signed(name: &str) -> CertifiedKey<KeyPair> {
    rcgen::generate_simple_self_signed([name.to_owned()]).unwrap()
}

pub fn write_private(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

pub fn fingerprint(camera: &CertifiedKey<KeyPair>) -> String {
    hex(&spki_fingerprint(camera.cert.der()).unwrap())
}

pub struct TestGateway {
    pub addresses: Addresses,
    pub keys: Keys,
    pub folder: tempfile::TempDir,
    /// A field that every request of [`TestGateway::http`] carries.
    auth: String,
    pub reloader: Reloader,
    stop: Option<oneshot::Sender<()>>,
    served: tokio::task::JoinHandle<()>,
}

impl TestGateway {
    /// Cameras `front` (by key) and `back` (by token); viewers `alice` (all) and `bob` (back only).
    pub async fn start() -> Self {
        Self::start_with("", "", "").await
    }

    /// The same, that takes two boots for two devices after so many seconds.
    pub async fn start_looking_for_clones(first: &str, rtsp: &str, http: &str, seconds: u64) -> Self {
        Self::start_changed(first, rtsp, http, |config| {
            config.clone_after_seconds = Some(seconds)
        })
        .await
    }

    /// The same with a data folder, RTSPS, and a token for the operator.
    pub async fn start_kept() -> Self {
        Self::start_with("data = \"data\"\n", RTSPS, HTTP_TOKEN).await
    }

    /// `first` goes to the top of the configuration, `rtsp` into its section, `http` into its section and behind.
    pub async fn start_with(first: &str, rtsp: &str, http: &str) -> Self {
        Self::start_changed(first, rtsp, http, |_| {}).await
    }

    async fn start_changed(
        first: &str,
        rtsp: &str,
        http: &str,
        change: impl FnOnce(&mut config::Config),
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let keys = Keys {
            server: self_signed("localhost"),
            camera: self_signed("camera"),
        };
        std::fs::write(folder.path().join("gw.pem"), keys.server.cert.pem()).unwrap();
        write_private(
            &folder.path().join("gw.key"),
            &keys.server.signing_key.serialize_pem(),
        );
        write_private(&folder.path().join("pw"), "secret\n");
        write_private(&folder.path().join("http.token"), OPERATOR_TOKEN);
        write_private(&folder.path().join("hook.secret"), HOOK_SECRET);
        write_private(&folder.path().join("join.token"), JOIN_TOKEN);
        let text = format!(
            "{first}[uplink]\nlisten = \"127.0.0.1:0\"\ncert = \"gw.pem\"\nkey = \"gw.key\"\n\
             [rtsp]\nlisten = \"127.0.0.1:0\"\n{rtsp}[http]\nlisten = \"127.0.0.1:0\"\n{http}\
             [[camera]]\nname = \"front\"\nfingerprint = \"sha256:{}\"\n\
             [[camera]]\nname = \"back\"\ntoken_sha256 = \"{}\"\n\
             [[viewer]]\nuser = \"alice\"\npassword_file = \"pw\"\n\
             [[viewer]]\nuser = \"bob\"\npassword_file = \"pw\"\ncameras = [\"back\"]\n",
            fingerprint(&keys.camera),
            hex(&sha256(TOKEN.as_bytes())),
        );
        std::fs::write(folder.path().join("gateway.toml"), text).unwrap();
        let auth = match http.contains("token_file") {
            true => format!("Authorization: Bearer {OPERATOR_TOKEN}\r\n"),
            false => String::new(),
        };
        let (addresses, reloader, stop, served) = serve(folder.path(), change).await;
        Self {
            addresses,
            keys,
            folder,
            auth,
            reloader,
            stop: Some(stop),
            served,
        }
    }

    pub async fn stop(mut self) {
        drop(self.stop.take());
        within("the gateway to stop", &mut self.served).await.unwrap();
    }

    /// Stops, and starts again with the same files.
    pub async fn restart(&mut self) {
        drop(self.stop.take());
        within("the gateway to stop", &mut self.served).await.unwrap();
        let (addresses, reloader, stop, served) = serve(self.folder.path(), |_| {}).await;
        (self.addresses, self.reloader) = (addresses, reloader);
        (self.stop, self.served) = (Some(stop), served);
    }

    /// Asks the API as the operator; the body of the answer as JSON.
    pub async fn api(&self, method: &str, path: &str, body: serde_json::Value) -> (u16, serde_json::Value) {
        self.api_with("", method, path, body).await
    }

    /// The same with a token of its own.
    pub async fn api_with(
        &self,
        token: &str,
        method: &str,
        path: &str,
        body: serde_json::Value,
    ) -> (u16, serde_json::Value) {
        let auth = match token {
            "" => self.auth.clone(),
            token => format!("Authorization: Bearer {token}\r\n"),
        };
        let text = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let (status, body) = self.raw("localhost", method, path, &auth, text.as_bytes()).await;
        let json = serde_json::from_slice(&body);
        (
            status,
            json.unwrap_or_else(|_| String::from_utf8_lossy(&body).into_owned().into()),
        )
    }

    pub fn rtsp(&self) -> SocketAddr {
        self.addresses.rtsp.unwrap()
    }

    /// TLS to the uplink port, as an agent does it.
    pub async fn dial(&self, certificate: Option<&CertifiedKey<KeyPair>>) -> TlsStream<TcpStream> {
        dial(self.addresses.uplink, self.keys.server.cert.der(), certificate).await
    }

    /// An agent for `front`, with its key, over the direct carrier.
    pub async fn front(&self, play: Play) -> Agent {
        let mut stream = self.dial(Some(&self.keys.camera)).await;
        let reply = upgrade(&mut stream, "/onvif/uplink", "Upgrade: h2c-reverse\r\n").await;
        assert!(reply.starts_with("HTTP/1.1 101 "), "{reply}");
        let agent = Agent::start(CarrierStream::Direct(stream), play);
        self.wait_for(|list| list.contains("\"name\":\"front\",\"online\":true"))
            .await;
        agent
    }

    /// The same, and `alice`, who has it played: the agent has had her three requests.
    pub async fn watched(&self, play: Play) -> (Agent, Viewer) {
        let mut agent = self.front(play).await;
        let mut viewer = Viewer::connect(self, "alice", "secret", "front/main").await;
        viewer.play().await;
        for _ in 0..3 {
            agent.next_request().await;
        }
        (agent, viewer)
    }

    /// An agent for `back`, with its token, over the WebSocket carrier.
    pub async fn back(&self, play: Play) -> Agent {
        let mut stream = self.dial(None).await;
        let fields = format!(
            "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             Sec-WebSocket-Protocol: h2c-reverse\r\nAuthorization: Bearer {TOKEN}\r\n"
        );
        let reply = upgrade(&mut stream, "/onvif/uplink", &fields).await;
        assert!(
            reply.contains("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"),
            "{reply}"
        );
        let socket = WebSocketStream::from_raw_socket(stream, Role::Client, None).await;
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        tokio::spawn(pipe(socket, theirs));
        let agent = Agent::start(ours, play);
        self.wait_for(|list| list.contains("\"name\":\"back\",\"online\":true"))
            .await;
        agent
    }

    /// Asks for the cameras until the list is as expected.
    pub async fn wait_for(&self, expected: impl Fn(&str) -> bool) -> String {
        within("the list of cameras", async {
            loop {
                let (_, body) = self.http("GET", "/cameras", "", b"").await;
                let list = String::from_utf8(body).unwrap();
                if expected(&list) {
                    return list;
                }
                tokio::task::yield_now().await;
            }
        })
        .await
    }

    pub async fn http(&self, method: &str, path: &str, fields: &str, body: &[u8]) -> (u16, Vec<u8>) {
        self.http_to("localhost", method, path, fields, body).await
    }

    pub async fn http_to(
        &self,
        host: &str,
        method: &str,
        path: &str,
        fields: &str,
        body: &[u8],
    ) -> (u16, Vec<u8>) {
        self.raw(host, method, path, &format!("{}{fields}", self.auth), body)
            .await
    }

    /// Without the operator's token.
    pub async fn raw(
        &self,
        host: &str,
        method: &str,
        path: &str,
        fields: &str,
        body: &[u8],
    ) -> (u16, Vec<u8>) {
        let (head, body) = self.reply((host, method, path), fields, body).await;
        let status = head[9..12].parse().unwrap();
        if head.contains("transfer-encoding: chunked") {
            return (status, unchunk(&body));
        }
        (status, body)
    }

    /// The head in lower case, and all that follows it as it came.
    pub async fn reply(
        &self,
        (host, method, path): (&str, &str, &str),
        fields: &str,
        body: &[u8],
    ) -> (String, Vec<u8>) {
        let mut stream = TcpStream::connect(self.addresses.http.unwrap()).await.unwrap();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{fields}Content-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(&[head.as_bytes(), body].concat()).await.unwrap();
        let mut reply = Vec::new();
        within("an HTTP reply", stream.read_to_end(&mut reply))
            .await
            .unwrap();
        let end = reply.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
        let head = String::from_utf8_lossy(&reply[..end]).to_ascii_lowercase();
        (head, reply.split_off(end + 4))
    }

    pub async fn metric(&self, name: &str) -> f64 {
        let (_, body) = self.http("GET", "/metrics", "", b"").await;
        let text = String::from_utf8(body).unwrap();
        let line = text
            .lines()
            .find(|line| line.starts_with(&format!("lenscap_gateway_{name} ")));
        line.map_or(0.0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
    }
}

/// TLS to an uplink port that `root` vouches for by the name localhost.
pub async fn dial(
    address: SocketAddr,
    root: &CertificateDer<'static>,
    certificate: Option<&CertifiedKey<KeyPair>>,
) -> TlsStream<TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(root.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match certificate {
        None => builder.with_no_client_auth(),
        Some(pair) => {
            let key = PrivateKeyDer::try_from(pair.signing_key.serialize_der()).unwrap();
            let chain: Vec<CertificateDer<'static>> = vec![pair.cert.der().clone()];
            builder.with_client_auth_cert(chain, key).unwrap()
        }
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let tcp = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let stream = TlsConnector::from(Arc::new(config))
        .connect(name, tcp)
        .await
        .unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    stream
}

type Served = (
    Addresses,
    Reloader,
    oneshot::Sender<()>,
    tokio::task::JoinHandle<()>,
);

async fn serve(folder: &Path, change: impl FnOnce(&mut config::Config)) -> Served {
    let mut loaded = config::load(&folder.join("gateway.toml")).unwrap();
    assert_eq!(loaded.warnings, []);
    change(&mut loaded.config);
    let gateway = Gateway::bind(loaded.config).await.unwrap();
    let (addresses, reloader) = (gateway.addresses(), gateway.reloader());
    let (stop, stopped) = oneshot::channel();
    let served = tokio::spawn(gateway.serve(async {
        let _ = stopped.await;
    }));
    (addresses, reloader, stop, served)
}

fn unchunk(mut body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    loop {
        let end = body.windows(2).position(|window| window == b"\r\n").unwrap();
        let size = usize::from_str_radix(std::str::from_utf8(&body[..end]).unwrap(), 16).unwrap();
        if size == 0 {
            return out;
        }
        out.extend_from_slice(&body[end + 2..end + 2 + size]);
        body = &body[end + 4 + size..];
    }
}

pub const DIRECT: &str = "Upgrade: h2c-reverse\r\n";
pub const RTSPS: &str = "listen_tls = \"127.0.0.1:0\"\n";
pub const OPERATOR_TOKEN: &str = "the-operators-own-token";
pub const HTTP_TOKEN: &str = "token_file = \"http.token\"\n";
pub const JOIN_TOKEN: &str = "the-token-of-the-streamers";
pub const HOOK_SECRET: &str = "the-secret-of-the-hook";

pub async fn upgrade<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, path: &str, fields: &str) -> String {
    let head = format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUser-Agent: lenscap/9.8.7\r\n{fields}\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut reply = Vec::new();
    within("the upgrade's reply", async {
        while !reply.ends_with(b"\r\n\r\n") {
            reply.push(stream.read_u8().await.unwrap());
        }
    })
    .await;
    String::from_utf8(reply).unwrap()
}

/// Bytes on one side, binary messages on the other.
async fn pipe(socket: WebSocketStream<TlsStream<TcpStream>>, stream: tokio::io::DuplexStream) {
    use futures_util::{SinkExt as _, StreamExt as _};
    use tokio_tungstenite::tungstenite::Message;
    let (mut sink, mut source) = socket.split();
    let (mut reader, mut writer) = tokio::io::split(stream);
    let up = async {
        let mut buffer = vec![0; 5000];
        while let Ok(count) = reader.read(&mut buffer).await {
            let message = Message::Binary(Bytes::copy_from_slice(&buffer[..count]));
            if count == 0 || sink.send(message).await.is_err() {
                return;
            }
        }
    };
    let down = async {
        while let Some(Ok(message)) = source.next().await {
            if let Message::Binary(bytes) = message
                && writer.write_all(&bytes).await.is_err()
            {
                return;
            }
        }
    };
    tokio::join!(up, down);
}

/// What the agent sends after PLAY.
#[derive(Clone, Copy, Debug)]
pub enum Play {
    /// This many frames of this many bytes, split oddly over messages and DATA frames.
    Frames(usize, usize),
    /// Frames without end, as fast as credit allows.
    Flood,
    /// Nothing.
    Silent,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Seen {
    Rtsp(String),
    /// The WebSocket close code.
    Closed(u16),
    Moved(Option<String>),
    /// Bytes written by a flood so far, each time that it had to wait.
    Blocked(usize),
}

pub struct Agent {
    pub seen: mpsc::UnboundedReceiver<Seen>,
    pub task: tokio::task::JoinHandle<()>,
}

impl Agent {
    pub fn start<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(stream: S, play: Play) -> Self {
        let (events, seen) = mpsc::unbounded_channel();
        let task = tokio::spawn(async move {
            let mut connection = h2::server::Builder::new()
                .enable_connect_protocol()
                .initial_window_size(32_768)
                .max_concurrent_streams(32)
                .handshake::<_, Bytes>(stream)
                .await
                .unwrap();
            let mut tasks = tokio::task::JoinSet::new();
            while let Some(Ok((request, respond))) = connection.accept().await {
                tasks.spawn(answer(request, respond, play, events.clone()));
            }
        });
        Self { seen, task }
    }

    pub async fn next(&mut self) -> Seen {
        within("something seen by the agent", self.seen.recv())
            .await
            .unwrap()
    }

    pub async fn next_request(&mut self) -> String {
        match self.next().await {
            Seen::Rtsp(head) => head,
            other => panic!("expected a request, saw {other:?}"),
        }
    }
}

async fn answer(
    request: http::Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    play: Play,
    events: mpsc::UnboundedSender<Seen>,
) {
    let path = request.uri().path().to_owned();
    if request.method() == Method::CONNECT {
        assert_eq!(
            request.extensions().get::<h2::ext::Protocol>().unwrap().as_str(),
            "websocket"
        );
        assert_eq!(request.headers()["sec-websocket-protocol"], "rtsp.onvif.org");
        assert_eq!(path, "/rtsp");
        let reply = Response::builder()
            .header("sec-websocket-protocol", "rtsp.onvif.org")
            .body(())
            .unwrap();
        let send = respond.send_response(reply, false).unwrap();
        return session(request.into_body(), send, play, events).await;
    }
    let (status, body): (u16, Bytes) = match (request.method().as_str(), path.as_str()) {
        ("GET", "/status") => (
            200,
            r#"{"version":"1.2.3","profiles":["main","sub"],"sessions":0}"#.into(),
        ),
        ("GET", "/audit") => (200, r#"{"rules":[{"id":"telnet","verdict":"fail"}]}"#.into()),
        ("GET", "/snapshot/main") => (200, vec![0xFF; 300_000].into()),
        ("GET", "/snapshot/broken") => (502, "camera closed the connection\n".into()),
        ("GET", "/snapshot/slow") => (504, "camera timeout\n".into()),
        ("GET", "/snapshot/huge") => (200, vec![0; 9 << 20].into()),
        ("POST", "/uplink/move") => {
            let location = request
                .headers()
                .get("location")
                .map(|value| value.to_str().unwrap().to_owned());
            let allowed = location.as_deref() != Some("https://elsewhere.example/");
            let _ = events.send(Seen::Moved(location));
            (if allowed { 202 } else { 403 }, Bytes::new())
        }
        _ => (404, "not here\n".into()),
    };
    let reply = Response::builder()
        .status(StatusCode::from_u16(status).unwrap())
        .body(())
        .unwrap();
    let Ok(mut send) = respond.send_response(reply, false) else {
        return;
    };
    let _ = write(&mut send, body, None).await;
    let _ = send.send_data(Bytes::new(), true);
}

/// Writes as credit allows; `Err` when the stream is gone.
pub async fn write(
    send: &mut SendStream<Bytes>,
    mut data: Bytes,
    blocked: Option<&mut (dyn FnMut() + Send)>,
) -> Result<(), ()> {
    let mut blocked = blocked;
    while !data.is_empty() {
        send.reserve_capacity(data.len());
        let granted = std::future::poll_fn(|cx| match send.poll_capacity(cx) {
            std::task::Poll::Pending => {
                if let Some(blocked) = &mut blocked {
                    blocked();
                }
                std::task::Poll::Pending
            }
            ready => ready,
        });
        let count = granted.await.ok_or(())?.map_err(|_| ())?;
        if count > 0 {
            send.send_data(data.split_to(count.min(data.len())), false)
                .map_err(|_| ())?;
        }
    }
    Ok(())
}

fn unmasked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    match payload.len() {
        short @ 0..126 => out.push(short as u8),
        long => {
            out.push(126);
            out.extend((long as u16).to_be_bytes());
        }
    }
    out.extend(payload);
    out
}

/// Takes one masked frame off the front.
fn take_frame(buffer: &mut Vec<u8>) -> Option<(u8, Vec<u8>)> {
    let (&first, &second) = (buffer.first()?, buffer.get(1)?);
    assert!(second & 0x80 != 0, "the gateway must mask");
    let (length, at) = match second & 0x7F {
        126 => (
            usize::from(u16::from_be_bytes([*buffer.get(2)?, *buffer.get(3)?])),
            4,
        ),
        127 => panic!("frame of the gateway too large"),
        short => (usize::from(short), 2),
    };
    if buffer.len() < at + 4 + length {
        return None;
    }
    let mask: Vec<u8> = buffer[at..at + 4].to_vec();
    let payload = buffer[at + 4..at + 4 + length]
        .iter()
        .zip(mask.iter().cycle())
        .map(|(a, b)| a ^ b)
        .collect();
    buffer.drain(..at + 4 + length);
    Some((first & 0x0F, payload))
}

async fn session(
    mut recv: RecvStream,
    mut send: SendStream<Bytes>,
    play: Play,
    events: mpsc::UnboundedSender<Seen>,
) {
    let (mut wire, mut rtsp) = (Vec::new(), Vec::new());
    while let Some(Ok(data)) = recv.data().await {
        let _ = recv.flow_control().release_capacity(data.len());
        wire.extend_from_slice(&data);
        while let Some((opcode, payload)) = take_frame(&mut wire) {
            match opcode {
                2 => rtsp.extend(payload),
                8 => {
                    let _ = events.send(Seen::Closed(u16::from_be_bytes([payload[0], payload[1]])));
                    let _ = send.send_data(unmasked(0x88, &payload).into(), true);
                    return;
                }
                other => panic!("unexpected opcode {other}"),
            }
        }
        while let Some(end) = rtsp.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8(rtsp.drain(..end + 4).collect()).unwrap();
            let method = head.split(' ').next().unwrap().to_owned();
            let reply = rtsp_reply(&head);
            let _ = events.send(Seen::Rtsp(head));
            if write(&mut send, unmasked(0x82, reply.as_bytes()).into(), None)
                .await
                .is_err()
            {
                return;
            }
            if method == "PLAY" && media(&mut send, play, &events).await.is_err() {
                return;
            }
        }
    }
}

fn rtsp_reply(head: &str) -> String {
    let line = |name: &str| {
        head.lines()
            .find(|line| line.starts_with(name))
            .unwrap_or_default()
            .to_owned()
    };
    let (method, uri) = head.split_once(' ').unwrap();
    let uri = uri.split(' ').next().unwrap();
    let cseq = line("CSeq");
    match method {
        "DESCRIBE" if uri.contains("/nothere") => format!("RTSP/1.0 404 Unknown Profile\r\n{cseq}\r\n\r\n"),
        "DESCRIBE" => format!(
            "RTSP/1.0 200 OK\r\n{cseq}\r\nContent-Base: {uri}/\r\nContent-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{SDP}",
            SDP.len()
        ),
        "SETUP" => format!(
            "RTSP/1.0 200 OK\r\n{cseq}\r\n{}\r\nSession: 77;timeout=60\r\n\r\n",
            line("Transport")
        ),
        "PLAY" => {
            format!("RTSP/1.0 200 OK\r\n{cseq}\r\nSession: 77\r\nRTP-Info: url={uri}/trackID=1;seq=0\r\n\r\n")
        }
        _ => format!("RTSP/1.0 200 OK\r\n{cseq}\r\nSession: 77\r\n\r\n"),
    }
}

/// Frame `n` is filled with its number.
pub fn frame(n: usize, size: usize) -> Vec<u8> {
    let mut out = vec![b'$', 0];
    out.extend((size as u16).to_be_bytes());
    out.extend((n as u32).to_be_bytes().iter().cycle().take(size));
    out
}

async fn media(
    send: &mut SendStream<Bytes>,
    play: Play,
    events: &mpsc::UnboundedSender<Seen>,
) -> Result<(), ()> {
    match play {
        Play::Silent => Ok(()),
        Play::Frames(count, size) => {
            let rtsp: Vec<u8> = (0..count).flat_map(|n| frame(n, size)).collect();
            for part in rtsp.chunks(1777) {
                // A message in two fragments, in DATA frames of their own.
                let (head, tail) = part.split_at(part.len() / 3);
                write(send, unmasked(0x02, head).into(), None).await?;
                write(send, unmasked(0x80, tail).into(), None).await?;
            }
            Ok(())
        }
        Play::Flood => {
            let message: Bytes = unmasked(0x82, &[frame(1, 1400), frame(2, 1400)].concat()).into();
            let mut sent = 0;
            loop {
                let events = events.clone();
                let mut blocked = move || {
                    let _ = events.send(Seen::Blocked(sent));
                };
                write(send, message.clone(), Some(&mut blocked)).await?;
                sent += message.len();
            }
        }
    }
}
