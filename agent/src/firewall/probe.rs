//! A packet that comes in as from a network: whether this camera answers it. What a program sends to its own camera goes
//! over the loopback interface and says nothing.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::net::Ipv4Addr;
use std::os::fd::AsFd as _;
use std::time::Duration;

use crate::sys;

/// Ours and a stranger's, of the network for measurements (RFC 2544).
const NEAR: Ipv4Addr = Ipv4Addr::new(198, 18, 113, 1);
pub(super) const STRANGER: Ipv4Addr = Ipv4Addr::new(198, 18, 113, 2);
const MASK: Ipv4Addr = Ipv4Addr::new(255, 255, 255, 252);
const INTERFACE: &str = "lenscap-probe";
const SOURCE_PORT: u16 = 40_113;
/// How long an answer may take: it never leaves the camera.
const WAIT: Duration = Duration::from_millis(300);
const TCP: u8 = 6;
/// The most packets that are read for one answer; the kernel announces itself to a new interface.
const MAX_READS: usize = 64;

/// Where strangers' packets come from.
pub(super) struct Probe(File);

impl Probe {
    /// Makes a network interface for as long as the probe lives.
    pub(super) fn new() -> io::Result<Self> {
        sys::tun(INTERFACE, NEAR, MASK).map(Self)
    }

    /// Sends one SYN from a stranger to each port of an address of this camera. Gives the ports of which anything of TCP
    /// came back.
    pub(super) fn answered(&mut self, address: Ipv4Addr, ports: &[u16]) -> io::Result<Vec<u16>> {
        for port in ports {
            self.0.write_all(&syn(address, *port))?;
        }
        let mut packet = [0; 2048];
        let mut answered = Vec::new();
        for _ in 0..MAX_READS {
            if answered.len() == ports.len() || !sys::wait_readable([Some(self.0.as_fd())], Some(WAIT))?[0] {
                break;
            }
            let length = match self.0.read(&mut packet) {
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(error) => return Err(error),
            };
            let port = answers(packet.get(..length).unwrap_or_default());
            if let Some(port) = port.filter(|port| ports.contains(port) && !answered.contains(port)) {
                answered.push(port);
            }
        }
        Ok(answered)
    }
}

/// The port that a packet of TCP to the stranger comes from.
fn answers(packet: &[u8]) -> Option<u16> {
    let first = *packet.first()?;
    let is_tcp4 = first >> 4 == 4 && packet.get(9) == Some(&TCP);
    if !is_tcp4 || packet.get(16..20) != Some(&STRANGER.octets()) {
        return None;
    }
    let tcp = packet.get(usize::from(first & 15) * 4..)?;
    tcp.first_chunk().copied().map(u16::from_be_bytes)
}

/// A whole IPv4 packet (RFC 791, RFC 9293).
fn syn(address: Ipv4Addr, port: u16) -> Vec<u8> {
    let mut tcp = Vec::with_capacity(20);
    tcp.extend_from_slice(&SOURCE_PORT.to_be_bytes());
    tcp.extend_from_slice(&port.to_be_bytes());
    // Sequence number, acknowledgement, five words of header, SYN, window, checksum, urgent pointer.
    tcp.extend_from_slice(&[
        0x4c, 0x65, 0x6e, 0x73, 0, 0, 0, 0, 0x50, 0x02, 0x20, 0, 0, 0, 0, 0,
    ]);
    let addresses = [STRANGER.octets(), address.octets()].concat();
    let pseudo = [&addresses[..], &[0, TCP, 0, 20], &tcp].concat();
    tcp[16..18].copy_from_slice(&checksum(&pseudo).to_be_bytes());
    let mut ip = vec![0x45, 0, 0, 40, 0, 1, 0, 0, 64, TCP, 0, 0];
    ip.extend_from_slice(&addresses);
    let sum = checksum(&ip).to_be_bytes();
    ip[10..12].copy_from_slice(&sum);
    ip.extend_from_slice(&tcp);
    ip
}

/// RFC 1071, of an even number of bytes.
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes
        .chunks_exact(2)
        .map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_packet_is_right() {
        let packet = syn(Ipv4Addr::new(192, 168, 1, 20), 554);
        assert_eq!(packet.len(), 40);
        assert_eq!(checksum(&packet[..20]), 0);
        let pseudo = [&packet[12..20], &[0, TCP, 0, 20], &packet[20..]].concat();
        assert_eq!(checksum(&pseudo), 0);
        assert_eq!(packet[20..24], [0x9c, 0xb1, 0x02, 0x2a]);
        assert_eq!(packet[33], 2, "SYN alone");
        assert_eq!(answers(&packet), None, "it goes the other way");
        let mut answer = packet.clone();
        answer[16..20].copy_from_slice(&STRANGER.octets());
        assert_eq!(answers(&answer), Some(SOURCE_PORT));
        (0..22).for_each(|length| assert_eq!(answers(&answer[..length]), None));
    }
}
