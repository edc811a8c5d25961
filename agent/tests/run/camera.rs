//! A scripted camera: RTSP with one H.264 track, and snapshots behind Digest, over std's blocking sockets.

use std::io::{BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};

/// The image it gives.
pub(crate) const JPEG: &[u8] = b"\xff\xd8\xff\xe0 a very small image \xff\xd9";

pub(crate) struct Camera {
    pub(crate) port: u16,
    /// Method of every RTSP request, in order.
    pub(crate) methods: Receiver<String>,
}

fn head(reader: &mut impl std::io::BufRead) -> Option<Vec<String>> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim_end().to_owned();
        if line.is_empty() {
            return Some(lines);
        }
        lines.push(line);
    }
}

impl Camera {
    pub(crate) fn rtsp() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, methods) = channel();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let sender = sender.clone();
                std::thread::spawn(move || serve_rtsp(stream, &sender));
            }
        });
        Self { port, methods }
    }

    /// Waits until a request with this method has come.
    pub(crate) fn wait_for(&self, method: &str) {
        loop {
            let got = self.methods.recv_timeout(super::gateway::PATIENCE);
            match got {
                Ok(got) if got == method => return,
                Ok(_) => {}
                Err(_) => panic!("the camera saw no {method}"),
            }
        }
    }
}

fn serve_rtsp(stream: TcpStream, methods: &Sender<String>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut writer = stream;
    while let Some(lines) = head(&mut reader) {
        let method = lines[0].split(' ').next().unwrap().to_owned();
        let uri = lines[0].split(' ').nth(1).unwrap().to_owned();
        let cseq = lines
            .iter()
            .find_map(|l| l.strip_prefix("CSeq: "))
            .unwrap_or("0")
            .to_owned();
        let _ = methods.send(method.clone());
        let (extra, body) = match method.as_str() {
            "OPTIONS" => (
                "Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN, GET_PARAMETER\r\n".to_owned(),
                String::new(),
            ),
            "DESCRIBE" => (
                format!("Content-Base: {uri}/\r\nContent-Type: application/sdp\r\n"),
                "v=0\r\no=- 1 1 IN IP4 192.168.1.10\r\ns=x\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\n\
                 a=rtpmap:96 H264/90000\r\na=control:track1\r\n"
                    .to_owned(),
            ),
            "SETUP" => (
                "Session: 77\r\nTransport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n".to_owned(),
                String::new(),
            ),
            _ => ("Session: 77\r\n".to_owned(), String::new()),
        };
        let reply = format!(
            "RTSP/1.0 200 OK\r\nCSeq: {cseq}\r\n{extra}Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        if writer.write_all(reply.as_bytes()).is_err() {
            return;
        }
        if method == "PLAY" {
            for sequence in 0..3u16 {
                let _ = writer.write_all(&packet(sequence));
            }
        }
    }
}

/// An interleaved RTP packet with a whole IDR picture.
fn packet(sequence: u16) -> Vec<u8> {
    let payload = [&[0x65u8, 0x88][..], &[0x55; 900][..]].concat();
    let mut packet = vec![b'$', 0];
    packet.extend_from_slice(&(12 + payload.len() as u16).to_be_bytes());
    packet.extend_from_slice(&[0x80, 0x80 | 96]);
    packet.extend_from_slice(&sequence.to_be_bytes());
    packet.extend_from_slice(&(u32::from(sequence) * 3600).to_be_bytes());
    packet.extend_from_slice(&[1, 2, 3, 4]);
    packet.extend_from_slice(&payload);
    packet
}

/// A camera that takes connections and says nothing.
pub(crate) fn silent() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let _open: Vec<TcpStream> = listener.incoming().flatten().collect();
    });
    port
}

/// The size of an image of [`large_snapshots`].
pub(crate) const LARGE_BYTES: usize = 3 << 20;

/// A web server that gives everybody an image of [`LARGE_BYTES`].
pub(crate) fn large_snapshots() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let _ = head(&mut BufReader::new(stream.try_clone().unwrap()));
                let reply = format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nContent-Length: {LARGE_BYTES}\r\n\r\n"
                );
                let _ = stream.write_all(reply.as_bytes());
                let mut image = vec![0x5a; LARGE_BYTES];
                image[..2].copy_from_slice(&JPEG[..2]);
                let _ = stream.write_all(&image);
            });
        }
    });
    port
}

/// A web server that wants Digest once and then gives [`JPEG`] in chunks.
pub(crate) fn snapshots() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let Some(lines) = head(&mut BufReader::new(stream.try_clone().unwrap())) else {
                continue;
            };
            let authorized = lines.iter().any(|line| {
                let line = line.to_ascii_lowercase();
                line.starts_with("authorization: digest")
                    && line.contains("username=\"cam\"")
                    && line.contains("response=")
            });
            let reply = if authorized {
                let (a, b) = JPEG.split_at(7);
                let mut reply =
                    b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nTransfer-Encoding: chunked\r\n\r\n"
                        .to_vec();
                for part in [a, b] {
                    reply.extend_from_slice(format!("{:x}\r\n", part.len()).as_bytes());
                    reply.extend_from_slice(part);
                    reply.extend_from_slice(b"\r\n");
                }
                reply.extend_from_slice(b"0\r\n\r\n");
                reply
            } else {
                b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Digest realm=\"c\", nonce=\"n1\", qop=\"auth\"\r\n\
                  Content-Length: 0\r\n\r\n"
                    .to_vec()
            };
            let _ = stream.write_all(&reply);
        }
    });
    port
}
