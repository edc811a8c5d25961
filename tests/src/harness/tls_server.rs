//! A server that does with an agent's connection what a script says: bad certificates, refusals, redirects,
//! cut handshakes. It never speaks HTTP/2.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, Stream};

use super::certs::CertFiles;
use super::wait;

/// How long one connection may take.
const CONNECTION_LIMIT: Duration = Duration::from_secs(5);
/// The longest request head kept.
const MAX_HEAD: usize = 16 << 10;

/// What to do with a connection.
#[derive(Debug, Clone)]
pub enum Script {
    /// TLS, read the request, send these bytes, close.
    Reply(Vec<u8>),
    /// Send the first bytes of a TLS handshake record that never ends, then close.
    TruncateTls,
    /// Send bytes that are no TLS.
    NoTls,
    /// Close at once.
    Close,
}

impl Script {
    /// A response with no body: `Script::status("403 Forbidden", "Retry-After: 1\r\n")`.
    pub fn status(status: &str, headers: &str) -> Self {
        Self::Reply(format!("HTTP/1.1 {status}\r\n{headers}Content-Length: 0\r\n\r\n").into_bytes())
    }
}

/// What the server saw so far.
#[derive(Debug, Default, Clone)]
pub struct Seen {
    /// Connections taken.
    pub connections: usize,
    /// Request heads that came through TLS, in order.
    pub requests: Vec<String>,
}

/// A running server on a loopback port of its own.
#[derive(Debug)]
pub struct ScriptedServer {
    port: u16,
    seen: Arc<Mutex<Seen>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl ScriptedServer {
    /// Starts with this certificate; `script` is asked with the number of each connection, from 0.
    #[track_caller]
    pub fn start(files: &CertFiles, script: impl Fn(usize) -> Script + Send + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a loopback port");
        let port = listener.local_addr().expect("it has an address").port();
        let config = server_config(files);
        let seen = Arc::new(Mutex::new(Seen::default()));
        let stop = Arc::new(AtomicBool::new(false));
        let (thread_seen, thread_stop) = (Arc::clone(&seen), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if thread_stop.load(Ordering::Acquire) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let number = {
                    let mut seen = thread_seen.lock().expect("no panic under the lock");
                    seen.connections += 1;
                    seen.connections - 1
                };
                // A peer that goes away in mid-handshake is this server's daily work.
                let _ = serve(stream, &config, &script(number), &thread_seen);
            }
        });
        Self {
            port,
            seen,
            stop,
            thread: Some(thread),
        }
    }

    /// `https://<host>:<port>/onvif/uplink`.
    pub fn endpoint(&self, host: &str) -> String {
        format!("https://{host}:{}/onvif/uplink", self.port)
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What it saw so far.
    pub fn seen(&self) -> Seen {
        self.seen.lock().expect("no panic under the lock").clone()
    }

    /// Waits until it has taken `count` connections.
    #[track_caller]
    pub fn wait_connections(&self, count: usize, limit: Duration) {
        wait::until(
            &format!("{count} connections at the scripted server"),
            limit,
            || (self.seen().connections >= count).then_some(()),
        );
    }

    /// Waits until `count` requests have come through TLS.
    #[track_caller]
    pub fn wait_requests(&self, count: usize, limit: Duration) -> Vec<String> {
        wait::until(&format!("{count} requests at the scripted server"), limit, || {
            let requests = self.seen().requests;
            (requests.len() >= count).then_some(requests)
        })
    }
}

impl Drop for ScriptedServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        // Wakes the thread out of accept.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn server_config(files: &CertFiles) -> Arc<ServerConfig> {
    let certs = CertificateDer::pem_file_iter(&files.cert)
        .expect("the certificate can be read")
        .collect::<Result<Vec<_>, _>>()
        .expect("the certificate is PEM");
    let key = PrivateKeyDer::from_pem_file(&files.key).expect("the key can be read");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring supports the default versions")
        .with_no_client_auth()
        .with_single_cert(certs, key)
        .expect("certificate and key belong together");
    Arc::new(config)
}

fn serve(
    mut stream: TcpStream,
    config: &Arc<ServerConfig>,
    script: &Script,
    seen: &Mutex<Seen>,
) -> std::io::Result<()> {
    stream.set_read_timeout(Some(CONNECTION_LIMIT))?;
    stream.set_write_timeout(Some(CONNECTION_LIMIT))?;
    match script {
        Script::Close => Ok(()),
        Script::NoTls => stream.write_all(b"SSH-2.0-nonsense\r\n"),
        Script::TruncateTls => {
            let mut hello = [0; 512];
            let _ = stream.read(&mut hello)?;
            // A handshake record of 122 bytes of which 6 come.
            stream.write_all(&[0x16, 0x03, 0x03, 0x00, 0x7a, 0x02, 0x00, 0x00, 0x76, 0x03, 0x03])?;
            stream.shutdown(Shutdown::Write)
        }
        Script::Reply(bytes) => {
            let mut tls = ServerConnection::new(Arc::clone(config)).map_err(std::io::Error::other)?;
            let mut stream = Stream::new(&mut tls, &mut stream);
            let head = read_head(&mut stream)?;
            seen.lock().expect("no panic under the lock").requests.push(head);
            stream.write_all(bytes)?;
            stream.conn.send_close_notify();
            stream.flush()
        }
    }
}

fn read_head(stream: &mut impl std::io::Read) -> std::io::Result<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && head.len() < MAX_HEAD {
        if stream.read(&mut byte)? == 0 {
            break;
        }
        head.push(byte[0]);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}
