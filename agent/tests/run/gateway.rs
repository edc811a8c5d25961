//! A gateway in the test's own process, on the `h2` crate: it accepts uplinks and speaks HTTP/2 as the client.

use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use h2::client::SendRequest;
use http::Request;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::server::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

/// No step of any test takes this long unless something is broken.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Waits for something that must happen.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what} did not happen within {PATIENCE:?}"),
    }
}

/// A certificate authority and one certificate for `localhost`.
pub(crate) struct Pki {
    pub(crate) ca_pem: String,
    config: Arc<ServerConfig>,
}

impl Pki {
    pub(crate) fn new() -> Self {
        let ca_key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let ca = params.self_signed(&ca_key).unwrap();
        let ca_pem = ca.pem();
        let issuer = rcgen::Issuer::new(params, ca_key);
        let key = rcgen::KeyPair::generate().unwrap();
        let leaf = rcgen::CertificateParams::new(vec!["localhost".into()])
            .unwrap()
            .signed_by(&key, &issuer)
            .unwrap();
        let chain: Vec<CertificateDer<'static>> = vec![leaf.der().clone()];
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        Self {
            ca_pem,
            config: Arc::new(config),
        }
    }

    pub(crate) fn write(&self, dir: &Path) {
        std::fs::write(dir.join("ca.pem"), &self.ca_pem).unwrap();
    }
}

pub(crate) struct TestGateway {
    listener: TcpListener,
    acceptor: TlsAcceptor,
    pub(crate) port: u16,
}

/// An upgrade request that waits for its answer.
pub(crate) struct Asked {
    pub(crate) head: String,
    stream: TlsStream<TcpStream>,
}

/// A live uplink.
pub(crate) struct Live {
    pub(crate) send: SendRequest<Bytes>,
    /// Ends with the connection.
    pub(crate) connection: tokio::task::JoinHandle<Result<(), h2::Error>>,
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl TestGateway {
    pub(crate) async fn new(pki: &Pki) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        Self {
            listener,
            acceptor: TlsAcceptor::from(Arc::clone(&pki.config)),
            port,
        }
    }

    /// The next upgrade request.
    pub(crate) async fn next(&self) -> Asked {
        soon("an uplink", async {
            loop {
                let (tcp, _) = self.listener.accept().await.unwrap();
                let Ok(mut stream) = self.acceptor.accept(tcp).await else {
                    continue;
                };
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let Ok(byte) = stream.read_u8().await else { break };
                    head.push(byte);
                }
                if head.ends_with(b"\r\n\r\n") {
                    return Asked {
                        head: String::from_utf8(head).unwrap(),
                        stream,
                    };
                }
            }
        })
        .await
    }

    /// The next uplink, accepted on whichever carrier it asks for.
    pub(crate) async fn accept(&self) -> Live {
        self.next().await.accept().await
    }
}

impl Asked {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (n, value) = line.split_once(':')?;
            n.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// Answers with something else than 101.
    pub(crate) async fn reply(mut self, head: &str) {
        self.stream.write_all(head.as_bytes()).await.unwrap();
        let _ = self.stream.shutdown().await;
    }

    pub(crate) async fn accept(self) -> Live {
        self.accept_with("").await
    }

    /// Accepts with more lines of fields.
    pub(crate) async fn accept_with(mut self, more: &str) -> Live {
        let websocket = self.header("upgrade").unwrap().eq_ignore_ascii_case("websocket");
        let io: Pin<Box<dyn Stream>> = if websocket {
            assert_eq!(self.header("sec-websocket-protocol"), Some("h2c-reverse"));
            let accept = accept_key(self.header("sec-websocket-key").unwrap());
            let reply = format!(
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                 Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: h2c-reverse\r\n{more}\r\n"
            );
            self.stream.write_all(reply.as_bytes()).await.unwrap();
            Box::pin(inside_websocket(self.stream).await)
        } else {
            assert_eq!(self.header("upgrade"), Some("h2c-reverse"));
            let reply = format!(
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c-reverse\r\nConnection: Upgrade\r\n{more}\r\n"
            );
            self.stream.write_all(reply.as_bytes()).await.unwrap();
            Box::pin(self.stream)
        };
        let (send, connection) = h2::client::Builder::new()
            .initial_window_size(2 << 20)
            .initial_connection_window_size(4 << 20)
            .handshake(io)
            .await
            .unwrap();
        let connection = tokio::spawn(connection);
        let mut send = soon("SETTINGS", send.ready()).await.unwrap();
        soon("extended CONNECT", async {
            while !send.is_extended_connect_protocol_enabled() {
                tokio::task::yield_now().await;
                send = send.clone().ready().await.unwrap();
            }
        })
        .await;
        Live { send, connection }
    }
}

fn accept_key(key: &str) -> String {
    let mut context = ring::digest::Context::new(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY);
    context.update(key.as_bytes());
    context.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    <base64ct::Base64 as base64ct::Encoding>::encode_string(context.finish().as_ref())
}

/// The bytes inside binary messages, as a stream.
async fn inside_websocket(stream: TlsStream<TcpStream>) -> tokio::io::DuplexStream {
    let (ours, theirs) = tokio::io::duplex(256 * 1024);
    let websocket = WebSocketStream::from_raw_socket(stream, Role::Server, None).await;
    let (mut sink, mut source) = websocket.split();
    let (mut read, mut write) = tokio::io::split(theirs);
    tokio::spawn(async move {
        while let Some(Ok(message)) = source.next().await {
            match message {
                Message::Binary(data) if write.write_all(&data).await.is_err() => return,
                Message::Close(_) => break,
                _ => {}
            }
        }
        let _ = write.shutdown().await;
    });
    tokio::spawn(async move {
        let mut buffer = vec![0; 5000];
        while let Ok(n @ 1..) = read.read(&mut buffer).await {
            let data = Bytes::copy_from_slice(&buffer[..n]);
            if sink.send(Message::Binary(data)).await.is_err() {
                return;
            }
        }
        let _ = sink.close().await;
    });
    ours
}

impl Live {
    /// Sends a request without a body and gives status, headers and body of the answer.
    pub(crate) async fn request(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
    ) -> (u16, http::HeaderMap, Vec<u8>) {
        soon("an answer", async {
            let mut request = Request::builder()
                .method(method)
                .uri(format!("https://camera{path}"));
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            let (response, _) = self.send.send_request(request.body(()).unwrap(), true).unwrap();
            let response = response.await.unwrap();
            let (parts, mut body) = response.into_parts();
            let mut bytes = Vec::new();
            while let Some(data) = body.data().await {
                let data = data.unwrap();
                body.flow_control().release_capacity(data.len()).unwrap();
                bytes.extend_from_slice(&data);
            }
            (parts.status.as_u16(), parts.headers, bytes)
        })
        .await
    }

    /// Sends a GET and gives the status, and the body that nobody reads yet.
    pub(crate) async fn start(&mut self, path: &str) -> (u16, h2::RecvStream) {
        soon("the head of an answer", async {
            let request = Request::get(format!("https://camera{path}")).body(()).unwrap();
            let (response, _) = self.send.send_request(request, true).unwrap();
            let response = response.await.unwrap();
            (response.status().as_u16(), response.into_body())
        })
        .await
    }

    /// Opens an RTSP session.
    pub(crate) async fn rtsp(&mut self) -> Rtsp {
        soon("a session", async {
            let mut request = Request::builder()
                .method("CONNECT")
                .uri("https://camera/rtsp")
                .header("sec-websocket-protocol", "rtsp.onvif.org")
                .header("sec-websocket-version", "13")
                .body(())
                .unwrap();
            request
                .extensions_mut()
                .insert(h2::ext::Protocol::from_static("websocket"));
            let (response, send) = self.send.send_request(request, false).unwrap();
            let response = response.await.unwrap();
            assert_eq!(response.status(), 200);
            assert_eq!(response.headers()["sec-websocket-protocol"], "rtsp.onvif.org");
            Rtsp {
                send,
                body: response.into_body(),
                frames: Vec::new(),
                stream: Vec::new(),
                cseq: 0,
            }
        })
        .await
    }
}

/// An RTSP session over WebSocket frames in an HTTP/2 stream.
pub(crate) struct Rtsp {
    send: h2::SendStream<Bytes>,
    body: h2::RecvStream,
    frames: Vec<u8>,
    stream: Vec<u8>,
    cseq: u32,
}

impl Rtsp {
    /// Sends one request and gives the whole head and body of the reply.
    pub(crate) async fn ask(&mut self, method: &str, uri: &str, headers: &str) -> String {
        self.cseq += 1;
        let text = format!("{method} {uri} RTSP/1.0\r\nCSeq: {}\r\n{headers}\r\n", self.cseq);
        self.send_frame(0x82, text.as_bytes());
        soon(method, async {
            loop {
                if let Some(reply) = self.take_reply() {
                    return reply;
                }
                assert!(
                    self.fill().await,
                    "the session ended; {:?}",
                    String::from_utf8_lossy(&self.stream)
                );
            }
        })
        .await
    }

    /// The next interleaved frame: channel and payload.
    pub(crate) async fn frame(&mut self) -> (u8, Vec<u8>) {
        soon("a frame", async {
            loop {
                if self.stream.first() == Some(&b'$') && self.stream.len() >= 4 {
                    let len = usize::from(u16::from_be_bytes([self.stream[2], self.stream[3]]));
                    if self.stream.len() >= 4 + len {
                        let frame: Vec<u8> = self.stream.drain(..4 + len).collect();
                        return (frame[1], frame[4..].to_vec());
                    }
                }
                assert!(self.fill().await, "the session ended");
            }
        })
        .await
    }

    /// Sends a WebSocket close frame and waits for the end of the stream.
    pub(crate) async fn close(mut self) {
        self.send_frame(0x88, &1000u16.to_be_bytes());
        soon("the end of the session", async { while self.fill().await {} }).await;
    }

    /// Waits for the end of the stream.
    pub(crate) async fn ended(mut self) {
        soon("the end of the session", async { while self.fill().await {} }).await;
    }

    fn send_frame(&mut self, first: u8, payload: &[u8]) {
        let mask = [0x11, 0x22, 0x33, 0x44];
        let mut frame = vec![first];
        match payload.len() {
            len @ 0..126 => frame.push(0x80 | len as u8),
            len => {
                frame.push(0x80 | 126);
                frame.extend_from_slice(&(len as u16).to_be_bytes());
            }
        }
        frame.extend_from_slice(&mask);
        frame.extend(
            payload
                .iter()
                .zip(mask.iter().cycle())
                .map(|(byte, key)| byte ^ key),
        );
        self.send.send_data(frame.into(), false).unwrap();
    }

    /// Reads DATA; false at the end of the stream.
    async fn fill(&mut self) -> bool {
        let Some(Ok(data)) = self.body.data().await else {
            return false;
        };
        self.body.flow_control().release_capacity(data.len()).unwrap();
        self.frames.extend_from_slice(&data);
        while let Some((opcode, payload)) = self.take_frame() {
            if opcode == 2 {
                self.stream.extend_from_slice(&payload);
            }
        }
        true
    }

    fn take_frame(&mut self) -> Option<(u8, Vec<u8>)> {
        let (&first, &second) = (self.frames.first()?, self.frames.get(1)?);
        assert_eq!(second & 0x80, 0, "the agent must not mask");
        assert_eq!(first & 0x80, 0x80, "the agent does not fragment");
        let (header, len) = match second {
            126 => (
                4,
                usize::from(u16::from_be_bytes(self.frames.get(2..4)?.try_into().unwrap())),
            ),
            127 => panic!("a frame is never that long"),
            len => (2, usize::from(len)),
        };
        if self.frames.len() < header + len {
            return None;
        }
        let frame: Vec<u8> = self.frames.drain(..header + len).collect();
        Some((first & 0x0f, frame[header..].to_vec()))
    }

    fn take_reply(&mut self) -> Option<String> {
        while self.stream.first() == Some(&b'$') {
            let len = usize::from(u16::from_be_bytes(self.stream.get(2..4)?.try_into().unwrap()));
            if self.stream.len() < 4 + len {
                return None;
            }
            self.stream.drain(..4 + len);
        }
        let head = self.stream.windows(4).position(|w| w == b"\r\n\r\n")? + 4;
        let text = String::from_utf8_lossy(&self.stream[..head]).into_owned();
        let body: usize = text
            .lines()
            .find_map(|line| {
                line.to_ascii_lowercase()
                    .strip_prefix("content-length:")?
                    .trim()
                    .parse()
                    .ok()
            })
            .unwrap_or(0);
        if self.stream.len() < head + body {
            return None;
        }
        let whole: Vec<u8> = self.stream.drain(..head + body).collect();
        Some(String::from_utf8_lossy(&whole).into_owned())
    }
}
