//! A viewer that looks at every byte.

use lenscap_gateway::rtsp::digest::{Algorithm, Ha1};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{TestGateway, within};

/// A raw RTSP client with Digest (MD5, no qop), as VLC does it.
pub struct Viewer<S = TcpStream> {
    pub stream: S,
    buffer: Vec<u8>,
    pub frames: Vec<u8>,
    base: String,
    user: String,
    password: String,
    nonce: Option<String>,
    cseq: u32,
}

#[derive(Debug)]
pub struct Reply {
    pub head: String,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn status(&self) -> u16 {
        self.head[9..12].parse().unwrap()
    }
}

impl Viewer {
    pub async fn connect(gateway: &TestGateway, user: &str, password: &str, path: &str) -> Self {
        let stream = TcpStream::connect(gateway.rtsp()).await.unwrap();
        Self::over(stream, gateway, user, password, path)
    }

    pub fn over(stream: TcpStream, gateway: &TestGateway, user: &str, password: &str, path: &str) -> Self {
        Self::of(
            stream,
            &format!("rtsp://localhost:{}/{path}", gateway.rtsp().port()),
            user,
            password,
        )
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Viewer<S> {
    pub fn of(stream: S, base: &str, user: &str, password: &str) -> Self {
        let base = base.to_owned();
        let (user, password) = (user.to_owned(), password.to_owned());
        Self {
            stream,
            buffer: Vec::new(),
            frames: Vec::new(),
            base,
            user,
            password,
            nonce: None,
            cseq: 0,
        }
    }

    pub fn base(&self) -> &str {
        &self.base
    }

    pub async fn send(&mut self, method: &str, suffix: &str, fields: &str) {
        self.cseq += 1;
        let uri = format!("{}{suffix}", self.base);
        let auth = self.nonce.as_ref().map_or_else(String::new, |nonce| {
            let ha1 = Ha1::from_password(&self.user, "lenscap", &self.password).md5.unwrap();
            let ha2 = Algorithm::Md5.hex(format!("{method}:{uri}").as_bytes());
            let response = Algorithm::Md5.hex(format!("{ha1}:{nonce}:{ha2}").as_bytes());
            format!(
                "Authorization: Digest username=\"{}\", realm=\"lenscap\", nonce=\"{nonce}\", uri=\"{uri}\", response=\"{response}\"\r\n",
                self.user
            )
        });
        let head = format!(
            "{method} {uri} RTSP/1.0\r\nCSeq: {}\r\n{auth}{fields}\r\n",
            self.cseq
        );
        self.stream.write_all(head.as_bytes()).await.unwrap();
    }

    /// Sends a request, logs in if it is asked to, and gives the final reply.
    pub async fn request(&mut self, method: &str, suffix: &str, fields: &str) -> Reply {
        self.send(method, suffix, fields).await;
        let reply = self.reply().await.expect("a reply");
        if reply.status() != 401 || self.nonce.is_some() {
            return reply;
        }
        let nonce = reply
            .head
            .split("nonce=\"")
            .nth(1)
            .unwrap()
            .split('"')
            .next()
            .unwrap();
        self.nonce = Some(nonce.to_owned());
        self.send(method, suffix, fields).await;
        self.reply().await.expect("a reply")
    }

    /// The next reply; frames on the way are collected. `None` at the end of the connection.
    pub async fn reply(&mut self) -> Option<Reply> {
        loop {
            self.take_frames();
            if let Some(end) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                let head = String::from_utf8(self.buffer[..end + 4].to_vec()).unwrap();
                let length = head
                    .lines()
                    .find_map(|line| line.strip_prefix("Content-Length: "))
                    .map_or(0, |length| length.parse::<usize>().unwrap());
                if self.buffer.len() >= end + 4 + length {
                    let body = self.buffer[end + 4..end + 4 + length].to_vec();
                    self.buffer.drain(..end + 4 + length);
                    return Some(Reply { head, body });
                }
            }
            if !self.fill().await {
                return None;
            }
        }
    }

    fn take_frames(&mut self) {
        while let [b'$', _, high, low, ..] = self.buffer[..] {
            let length = 4 + usize::from(u16::from_be_bytes([high, low]));
            if self.buffer.len() < length {
                return;
            }
            self.frames.extend(self.buffer.drain(..length));
        }
    }

    /// Reads once; false at the end.
    pub async fn fill(&mut self) -> bool {
        let read = within("bytes from the gateway", self.stream.read_buf(&mut self.buffer)).await;
        matches!(read, Ok(count) if count > 0)
    }

    pub async fn read_frames(&mut self, bytes: usize) {
        self.take_frames();
        while self.frames.len() < bytes {
            assert!(
                self.fill().await,
                "the stream ended after {} of {bytes} bytes",
                self.frames.len()
            );
            self.take_frames();
        }
    }

    pub async fn play(&mut self) {
        assert_eq!(self.request("DESCRIBE", "", "").await.status(), 200);
        let transport = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n";
        assert_eq!(self.request("SETUP", "/trackID=1", transport).await.status(), 200);
        let reply = self.request("PLAY", "", "Session: 77\r\n").await;
        assert_eq!(reply.status(), 200);
        assert!(
            reply
                .head
                .contains(&format!("RTP-Info: url={}/trackID=1;seq=0\r\n", self.base)),
            "{}",
            reply.head
        );
    }

    /// Reads until the gateway closes.
    pub async fn closed(&mut self) {
        while self.fill().await {}
    }
}
