//! Playing one session: RTP packets of each track at the right time.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use super::media::{Profile, Track, clock_rate};
use crate::rtp::{Header, interleave};
use crate::synthetic::now_us;

/// Time between sender reports.
const REPORT_INTERVAL: Duration = Duration::from_secs(5);
/// Attempts to find a free even port with a free odd one above.
const UDP_ATTEMPTS: usize = 64;
/// Seconds from the NTP epoch to the Unix epoch (RFC 5905).
const NTP_UNIX: u64 = 2_208_988_800;

/// Where the packets of a track go.
#[derive(Debug)]
pub enum Transport {
    /// Interleaved channels for RTP and RTCP.
    Interleaved(u8, u8),
    /// Datagrams.
    Udp(UdpPair),
}

/// A bound pair of UDP sockets with the client's addresses.
#[derive(Debug)]
pub struct UdpPair {
    rtp: UdpSocket,
    rtcp: UdpSocket,
    rtp_peer: SocketAddr,
    rtcp_peer: SocketAddr,
}

impl UdpPair {
    /// Binds a pair on `local` for a client's `client_port`s.
    pub fn bind(local: IpAddr, peer: IpAddr, ports: (u16, u16)) -> std::io::Result<Self> {
        for _ in 0..UDP_ATTEMPTS {
            let rtp = UdpSocket::bind((local, 0))?;
            let port = rtp.local_addr()?.port();
            if port % 2 == 1 {
                continue;
            }
            if let Ok(rtcp) = UdpSocket::bind((local, port + 1)) {
                rtp.set_nonblocking(true)?;
                rtcp.set_nonblocking(true)?;
                let (rtp_peer, rtcp_peer) = ((peer, ports.0).into(), (peer, ports.1).into());
                return Ok(Self {
                    rtp,
                    rtcp,
                    rtp_peer,
                    rtcp_peer,
                });
            }
        }
        Err(std::io::ErrorKind::AddrInUse.into())
    }

    /// The server's ports.
    pub fn ports(&self) -> std::io::Result<(u16, u16)> {
        Ok((self.rtp.local_addr()?.port(), self.rtcp.local_addr()?.port()))
    }

    /// Sends one packet; `false` when the socket is full or the peer is gone.
    pub fn send(&self, rtcp: bool, packet: &[u8]) -> bool {
        let sent = if rtcp {
            self.rtcp.send_to(packet, self.rtcp_peer)
        } else {
            self.rtp.send_to(packet, self.rtp_peer)
        };
        sent.is_ok()
    }
}

/// RTP state of one track that was set up.
#[derive(Debug)]
pub struct TrackPlayer {
    /// Index of the track in its profile.
    pub index: usize,
    /// Where it goes.
    pub transport: Transport,
    /// Its synchronisation source.
    pub ssrc: u32,
    /// Packets made.
    pub packets: u64,
    /// Payload bytes made.
    pub octets: u64,
    sequence: u16,
    timestamp_base: u32,
    next_unit: u64,
    next_report: Option<Instant>,
}

impl TrackPlayer {
    /// A track at its beginning. The first sequence number is near the end of its range, so that
    /// every client meets the wrap soon.
    pub fn new(profile: &Profile, index: usize, transport: Transport, seed: u32) -> Self {
        let path = profile
            .path
            .bytes()
            .fold(u64::from(seed), |hash, b| mix(hash ^ u64::from(b)));
        let random = mix(path ^ (index as u64 + 1));
        Self {
            index,
            transport,
            ssrc: (random >> 32) as u32,
            packets: 0,
            octets: 0,
            sequence: 65_000 + (random % 500) as u16,
            timestamp_base: random as u32,
            next_unit: 0,
            next_report: None,
        }
    }

    /// Sequence number and timestamp of the next packet, for `RTP-Info`.
    pub fn next_numbers(&self, track: &Track) -> (u16, u32) {
        (
            self.sequence,
            self.timestamp_base
                .wrapping_add(track.timestamp(self.next_unit) as u32),
        )
    }

    /// Time of the next unit on the session's own time line.
    pub fn next_due(&self, track: &Track) -> Duration {
        track.due(self.next_unit)
    }

    /// The packets of the next unit.
    pub fn next_packets(&mut self, track: &Track, mtu: usize) -> Vec<Vec<u8>> {
        let payloads = track.payloads(self.next_unit, mtu);
        let (_, timestamp) = self.next_numbers(track);
        self.next_unit += 1;
        let count = payloads.len();
        let mut packets = Vec::with_capacity(count);
        for (at, payload) in payloads.iter().enumerate() {
            let header = Header {
                marker: track.marks() && at + 1 == count,
                payload_type: track.payload_type(),
                sequence: self.sequence,
                timestamp,
                ssrc: self.ssrc,
            };
            self.sequence = self.sequence.wrapping_add(1);
            self.packets += 1;
            self.octets += payload.len() as u64;
            let mut packet = Vec::with_capacity(payload.len() + crate::rtp::HEADER_LEN);
            header.encode(&mut packet);
            packet.extend_from_slice(payload);
            packets.push(packet);
        }
        packets
    }

    /// A sender report (RFC 3550 section 6.4.1) when one is due: at first and every five seconds.
    pub fn poll_report(&mut self, track: &Track, now: Instant, since_play: Duration) -> Option<Vec<u8>> {
        if self.next_report.is_some_and(|at| now < at) {
            return None;
        }
        self.next_report = Some(now + REPORT_INTERVAL);
        let media = u64::try_from(since_play.as_micros()).unwrap_or(0) * clock_rate(track) / 1_000_000;
        let us = now_us();
        let fraction = ((us % 1_000_000) << 32) / 1_000_000;
        let mut report = vec![0x80, 200, 0, 6];
        report.extend_from_slice(&self.ssrc.to_be_bytes());
        report.extend_from_slice(&((us / 1_000_000 + NTP_UNIX) as u32).to_be_bytes());
        report.extend_from_slice(&(fraction as u32).to_be_bytes());
        report.extend_from_slice(&self.timestamp_base.wrapping_add(media as u32).to_be_bytes());
        report.extend_from_slice(&(self.packets as u32).to_be_bytes());
        report.extend_from_slice(&(self.octets as u32).to_be_bytes());
        // RFC 3550 section 6.1: every compound packet carries a CNAME.
        report.extend_from_slice(&[0x81, 202, 0, 4]);
        report.extend_from_slice(&self.ssrc.to_be_bytes());
        report.extend_from_slice(b"\x01\x06simcam\x00\x00\x00\x00");
        Some(report)
    }
}

/// `$`, channel, length and packet.
pub fn frame(channel: u8, packet: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(packet.len() + 4);
    interleave(&mut frame, channel, packet.len() as u16);
    frame.extend_from_slice(packet);
    frame
}

/// SplitMix64's finaliser.
fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtp::SequenceTracker;
    use crate::simcam::options::{Audio, FrameRate, ProfileSpec};

    /// Audio alone.
    fn profile() -> Profile {
        let spec = ProfileSpec {
            path: "/a".into(),
            fps: FrameRate { num: 25, den: 1 },
            video: None,
            audio: Audio::Pcmu,
        };
        Profile::load(&spec).unwrap()
    }

    #[test]
    fn packets_are_continuous_and_reproducible() {
        let profile = profile();
        let track = &profile.tracks[0];
        let run = || {
            let mut player = TrackPlayer::new(&profile, 0, Transport::Interleaved(0, 1), 7);
            (0..2000)
                .flat_map(|_| player.next_packets(track, 1400))
                .collect::<Vec<_>>()
        };
        let packets = run();
        assert_eq!(packets, run());
        let mut tracker = SequenceTracker::default();
        for packet in &packets {
            tracker.handle_sequence(Header::parse(packet).unwrap().0.sequence);
        }
        assert_eq!((tracker.packets, tracker.gaps, tracker.reordered), (2000, 0, 0));
    }

    #[test]
    fn reports_are_well_formed_and_paced() {
        let profile = profile();
        let mut player = TrackPlayer::new(&profile, 0, Transport::Interleaved(0, 1), 7);
        let now = Instant::now();
        let report = player
            .poll_report(&profile.tracks[0], now, Duration::ZERO)
            .unwrap();
        assert_eq!(report.len(), 28 + 20);
        assert_eq!(player.poll_report(&profile.tracks[0], now, Duration::ZERO), None);
        assert!(
            player
                .poll_report(&profile.tracks[0], now + REPORT_INTERVAL, Duration::ZERO)
                .is_some()
        );
    }
}
