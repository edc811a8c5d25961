//! A camera that nobody has claimed.

use std::net::SocketAddr;

use base64ct::{Base64, Encoding as _};
use lenscap_gateway::fleet::{pin, sealed};
use lenscap_gateway::tls::spki_fingerprint;
use lenscap_gateway::uplink::carrier::CarrierStream;
use rcgen::{CertifiedKey, KeyPair};
use rustls::pki_types::CertificateDer;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::{Agent, DIRECT, Play, TestGateway, dial, fingerprint, self_signed, upgrade};

/// A camera that nobody knows yet, as an agent introduces it.
pub struct Newcomer {
    pub pair: CertifiedKey<KeyPair>,
    pub serial: String,
    /// What is on the label.
    pub pin: String,
    pub operator: String,
    pub boot: String,
}

impl Newcomer {
    pub fn new(serial: &str) -> Self {
        Self {
            pair: self_signed("camera"),
            serial: serial.to_owned(),
            pin: "7K3M-9QX0-1BCD-EF2G".to_owned(),
            operator: "none".to_owned(),
            boot: "ab".repeat(16),
        }
    }

    /// Is reset at the device, which gives each reset a number.
    pub fn reset(&mut self, number: u32) {
        self.operator = format!("reset\r\nLenscap-Reset: {number:08x}");
    }

    pub fn key(&self) -> [u8; 32] {
        spki_fingerprint(self.pair.cert.der()).unwrap()
    }

    pub fn fingerprint(&self) -> String {
        format!("sha256:{}", fingerprint(&self.pair))
    }

    /// K of docs/protocol.md, section 4.
    pub fn pin_key(&self) -> [u8; 32] {
        pin::Pin::parse(&self.pin).unwrap().key(&self.serial)
    }

    pub fn fields(&self) -> String {
        let proof = sealed::encode(&pin::proof(&self.pin_key(), &self.key()));
        format!(
            "{DIRECT}Lenscap-Serial: {}\r\nLenscap-Model: Dome\r\nLenscap-Boot: {}\r\nLenscap-Operator: {}\r\n\
             Lenscap-Pin-Proof: {proof}\r\n",
            self.serial, self.boot, self.operator
        )
    }

    /// One connection; the gateway's reply, and the stream behind it.
    pub async fn dial(&self, gateway: &TestGateway) -> (String, TlsStream<TcpStream>) {
        self.dial_to(gateway.addresses.uplink, gateway.keys.server.cert.der())
            .await
    }

    pub async fn dial_to(
        &self,
        address: SocketAddr,
        root: &CertificateDer<'static>,
    ) -> (String, TlsStream<TcpStream>) {
        let mut stream = dial(address, root, Some(&self.pair)).await;
        let reply = upgrade(&mut stream, "/onvif/uplink", &self.fields()).await;
        (reply, stream)
    }

    /// The same with another address and more fields.
    pub async fn dial_at(
        &self,
        gateway: &TestGateway,
        path: &str,
        more: &str,
    ) -> (String, TlsStream<TcpStream>) {
        let mut stream = gateway.dial(Some(&self.pair)).await;
        let reply = upgrade(&mut stream, path, &format!("{}{more}", self.fields())).await;
        (reply, stream)
    }

    /// Comes, is not known, and waits.
    pub async fn waits(&self, gateway: &TestGateway) -> String {
        let (reply, _) = self.dial(gateway).await;
        assert!(
            reply.starts_with("HTTP/1.1 503 ") && reply.contains("\r\nLenscap-Claim: pending\r\n"),
            "{reply}"
        );
        reply
    }

    /// Comes and is let in; the reply, and the agent that answers from now on.
    pub async fn comes(&self, gateway: &TestGateway, play: Play) -> (String, Agent) {
        let (reply, stream) = self.dial(gateway).await;
        assert!(reply.starts_with("HTTP/1.1 101 "), "{reply}");
        (reply, Agent::start(CarrierStream::Direct(stream), play))
    }
}

/// A field of an answer's head.
pub fn field<'a>(reply: &'a str, name: &str) -> Option<&'a str> {
    reply
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

/// The operator's public key and the proof that came with it.
pub fn introduced(reply: &str) -> (Vec<u8>, Option<Vec<u8>>) {
    let value = field(reply, "Lenscap-Operator").expect(reply);
    let (key, proof) = match value.split_once(", proof=") {
        Some((key, proof)) => (key, sealed::decode(proof)),
        None => (value, None),
    };
    (
        Base64::decode_vec(key.strip_prefix("p256/").unwrap()).unwrap(),
        proof,
    )
}
