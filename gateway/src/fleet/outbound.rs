//! Asks the operator's own system over HTTP: one fixed address, no redirects, bounded in time and size.

use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use http::{Request, StatusCode, Uri, header};
use hyper_util::rt::TokioIo;
use ring::hmac;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::rtsp::digest::hex;

/// Time for the whole question.
pub const DEADLINE: Duration = Duration::from_secs(5);
/// Largest answer, in bytes.
const MAX_ANSWER_BYTES: usize = 16 * 1024;
/// The field that carries the signature.
pub const SIGNATURE: &str = "lenscap-callback-signature";

/// What is asked.
#[derive(Debug, Serialize)]
pub struct Question<'a> {
    /// `pending`: an unknown camera came. `claim`: somebody claims one. `connect`: a claimed one came.
    pub event: &'static str,
    /// The key, `sha256:<hex>`.
    pub fingerprint: Option<String>,
    /// What the camera says.
    pub serial: Option<&'a str>,
    /// What the camera says.
    pub model: Option<&'a str>,
    /// Name here, where it has one.
    pub camera: Option<&'a str>,
    /// Whose it is or would be.
    pub account: Option<&'a str>,
}

/// What the operator's system says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Answer {
    /// Yes or no.
    pub allow: bool,
    /// The account that the camera goes to, instead of the one asked for.
    pub account: Option<String>,
    /// The name that it gets, instead of the one asked for.
    pub name: Option<String>,
}

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum AskError {
    /// It cannot be reached.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// HTTP failed.
    #[error("{0}")]
    Http(#[from] hyper::Error),
    /// Too slow.
    #[error("no answer within {} s", DEADLINE.as_secs())]
    Timeout,
    /// Not 200; redirects are not followed.
    #[error("it answered {0}")]
    Status(StatusCode),
    /// Not what it has to be.
    #[error("its answer is not JSON with `allow`")]
    Answer,
}

/// Why the address cannot be used.
#[derive(Debug, Error)]
pub enum AddressError {
    /// Not `https:`, nor `http:` to this machine.
    #[error("must be https://HOST/..., or http:// to a loopback address")]
    Address,
    /// The CA file.
    #[error("{0} has no usable PEM certificate")]
    Ca(String),
    /// TLS refused.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
}

/// One address to ask.
pub struct Callback {
    host: String,
    port: u16,
    authority: String,
    path: String,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    key: hmac::Key,
}

impl std::fmt::Debug for Callback {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Callback")
            .field("host", &self.host)
            .finish_non_exhaustive()
    }
}

impl Callback {
    /// `secret` signs the questions; `ca` replaces the public CAs.
    ///
    /// # Errors
    /// See [`AddressError`].
    pub fn new(url: &str, secret: &[u8], ca: Option<&Path>) -> Result<Self, AddressError> {
        let uri: Uri = url.parse().map_err(|_| AddressError::Address)?;
        let authority = uri.authority().ok_or(AddressError::Address)?;
        if authority.as_str().contains('@') {
            return Err(AddressError::Address);
        }
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        let (tls, default_port) = match uri.scheme_str() {
            Some("https") => {
                let name = ServerName::try_from(host.clone()).map_err(|_| AddressError::Address)?;
                (Some((connector(ca)?, name)), 443)
            }
            Some("http") if is_loopback(&host) => (None, 80),
            _ => return Err(AddressError::Address),
        };
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        Ok(Self {
            port: authority.port_u16().unwrap_or(default_port),
            authority: authority.as_str().to_owned(),
            path: path.to_owned(),
            host,
            tls,
            key: hmac::Key::new(hmac::HMAC_SHA256, secret),
        })
    }

    /// Asks once. `now`: seconds since 1970, signed together with the question.
    ///
    /// # Errors
    /// See [`AskError`].
    pub async fn ask(&self, now: u64, question: &Question<'_>) -> Result<Answer, AskError> {
        let body = serde_json::to_vec(question).map_err(|_| AskError::Answer)?;
        timeout(DEADLINE, self.exchange(now, body))
            .await
            .unwrap_or(Err(AskError::Timeout))
    }

    async fn exchange(&self, now: u64, body: Vec<u8>) -> Result<Answer, AskError> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
        match &self.tls {
            Some((connector, name)) => {
                let stream = connector.connect(name.clone(), stream).await?;
                self.post(stream, now, body).await
            }
            None => self.post(stream, now, body).await,
        }
    }

    async fn post<S>(&self, stream: S, now: u64, body: Vec<u8>) -> Result<Answer, AskError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let driver = tokio::spawn(connection);
        let signed = [now.to_string().as_bytes(), b".", &body].concat();
        let signature = hex(hmac::sign(&self.key, &signed).as_ref());
        let request = Request::post(&self.path)
            .header(header::HOST, &self.authority)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::CONNECTION, "close")
            .header(SIGNATURE, format!("t={now}, v1={signature}"))
            .body(Body::from(body))
            .map_err(|_| AskError::Answer)?;
        let response = sender.send_request(request).await;
        let answer = async {
            let response = response?;
            if response.status() != StatusCode::OK {
                return Err(AskError::Status(response.status()));
            }
            let bytes = axum::body::to_bytes(Body::new(response.into_body()), MAX_ANSWER_BYTES)
                .await
                .map_err(|_| AskError::Answer)?;
            serde_json::from_slice(&bytes).map_err(|_| AskError::Answer)
        }
        .await;
        driver.abort();
        answer
    }
}

/// TLS to servers that the public CAs vouch for, or those of the file `ca`.
///
/// # Errors
/// The file has no certificate.
pub fn connector(ca: Option<&Path>) -> Result<TlsConnector, AddressError> {
    let mut roots = RootCertStore::empty();
    match ca {
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Some(path) => {
            let unusable = || AddressError::Ca(path.display().to_string());
            for certificate in CertificateDer::pem_file_iter(path).map_err(|_| unusable())? {
                roots
                    .add(certificate.map_err(|_| unusable())?)
                    .map_err(|_| unusable())?;
            }
            if roots.is_empty() {
                return Err(unusable());
            }
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    const QUESTION: Question<'static> = Question {
        event: "claim",
        fingerprint: None,
        serial: Some("SN1"),
        model: None,
        camera: None,
        account: None,
    };

    /// Answers one question with `reply`; gives what was asked.
    async fn asked(reply: &'static str) -> (Result<Answer, AskError>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut seen = Vec::new();
            while !seen.ends_with(b"}") {
                assert!(stream.read_buf(&mut seen).await.unwrap() > 0);
            }
            stream.write_all(reply.as_bytes()).await.unwrap();
            String::from_utf8(seen).unwrap()
        });
        let answer = Callback::new(&url, b"secret", None)
            .unwrap()
            .ask(5, &QUESTION)
            .await;
        (answer, server.await.unwrap())
    }

    #[tokio::test]
    async fn a_question_is_signed_and_its_answer_read() {
        let reply = "HTTP/1.1 200 OK\r\nContent-Length: 32\r\n\r\n{\"allow\":true,\"account\":\"acme\"} ";
        let (answer, seen) = asked(reply).await;
        let expected = Answer {
            allow: true,
            account: Some("acme".into()),
            name: None,
        };
        assert_eq!(answer.unwrap(), expected);
        let (head, body) = seen.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("POST /hook HTTP/1.1\r\n"), "{head}");
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"secret");
        let tag = hex(hmac::sign(&key, format!("5.{body}").as_bytes()).as_ref());
        assert!(head.contains(&format!("{SIGNATURE}: t=5, v1={tag}")), "{head}");
    }

    #[tokio::test]
    async fn redirects_and_other_answers_are_no_answer() {
        let moved = "HTTP/1.1 307 Moved\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n";
        assert!(matches!(asked(moved).await.0, Err(AskError::Status(_))));
        let odd = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
        assert!(matches!(asked(odd).await.0, Err(AskError::Answer)));
        assert!(matches!(
            asked("nonsense\r\n\r\n").await.0,
            Err(AskError::Http(_))
        ));
    }

    #[test]
    fn only_tls_or_this_machine() {
        for url in [
            "http://example.net/",
            "ftp://127.0.0.1/",
            "https://u:p@example.net/",
            "/path",
            "https://",
        ] {
            assert!(Callback::new(url, b"x", None).is_err(), "{url}");
        }
        for url in [
            "https://example.net/hook",
            "http://localhost:1/",
            "http://[::1]:8/x",
        ] {
            assert!(Callback::new(url, b"x", None).is_ok(), "{url}");
        }
    }
}
