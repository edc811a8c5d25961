//! The media path: camera packets to the viewer's queue, viewer packets to the camera.

use super::core::Core;
use crate::access_unit::Rtp;
use crate::framing::ChannelUse;
use crate::gate::{Gate, Outlet};
use crate::queue::Kind;
use crate::{Datagram, Event, Now, UdpId};

/// Datagrams for the camera that wait for their socket.
const MAX_DATAGRAMS: usize = 64;
const NONE: u8 = 0xff;
/// Second bytes of RTCP packets, which no RTP packet has (RFC 5761 section 4).
const RTCP_TYPES: core::ops::RangeInclusive<u8> = 192..=223;

/// How a track's packets travel between agent and camera.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Path {
    Interleaved(u8, u8),
    Udp {
        pair: u8,
        server_ports: Option<(u16, u16)>,
    },
}

#[derive(Debug)]
pub(super) struct Track {
    pub(super) media: usize,
    pub(super) viewer_channels: (u8, u8),
    pub(super) path: Path,
    /// Silence while playing means that something is wrong.
    pub(super) expects_media: bool,
    /// For video; everything else is kept as it comes.
    pub(super) gate: Option<Gate>,
    pub(super) ssrc: Option<u32>,
}

/// From channel number to track and side: twice the track's index, plus one for RTCP.
#[derive(Debug)]
pub(super) struct Channels {
    camera: [u8; 256],
    viewer: [u8; 256],
}

impl Default for Channels {
    fn default() -> Self {
        Self {
            camera: [NONE; 256],
            viewer: [NONE; 256],
        }
    }
}

impl Channels {
    fn camera(&self, channel: u8) -> Option<(usize, bool)> {
        self.camera
            .get(usize::from(channel))
            .and_then(|&slot| split_slot(slot))
    }

    fn viewer(&self, channel: u8) -> Option<(usize, bool)> {
        self.viewer
            .get(usize::from(channel))
            .and_then(|&slot| split_slot(slot))
    }
}

fn split_slot(slot: u8) -> Option<(usize, bool)> {
    (slot != NONE).then_some((usize::from(slot >> 1), slot & 1 == 1))
}

fn set_slot(table: &mut [u8; 256], channel: u8, slot: usize) {
    if let (Some(entry), Ok(slot)) = (table.get_mut(usize::from(channel)), u8::try_from(slot)) {
        *entry = slot;
    }
}

impl Core {
    /// The tracks have changed.
    pub(super) fn index_channels(&mut self) {
        self.channels = Channels::default();
        for (index, track) in self.tracks.iter().enumerate() {
            set_slot(&mut self.channels.viewer, track.viewer_channels.0, 2 * index);
            set_slot(&mut self.channels.viewer, track.viewer_channels.1, 2 * index + 1);
            if let Path::Interleaved(rtp, rtcp) = track.path {
                set_slot(&mut self.channels.camera, rtp, 2 * index);
                set_slot(&mut self.channels.camera, rtcp, 2 * index + 1);
            }
        }
    }

    /// Whether a camera's channels can be told from each other and from those of the other tracks.
    pub(super) fn is_free_at_camera(&self, media: usize, (rtp, rtcp): (u8, u8)) -> bool {
        let free = |channel: u8| match self.channels.camera(channel) {
            Some((index, _)) => self.tracks.get(index).is_none_or(|track| track.media == media),
            None => true,
        };
        rtp != rtcp && free(rtp) && free(rtcp)
    }

    /// The channels the viewer asked for, or the next pair that is free.
    pub(super) fn viewer_channels_for(&self, media: usize, wanted: Option<(u8, u8)>) -> Option<(u8, u8)> {
        let free = |channel: u8| match self.channels.viewer(channel) {
            Some((index, _)) => self.tracks.get(index).is_none_or(|track| track.media == media),
            None => true,
        };
        let usable = |&(rtp, rtcp): &(u8, u8)| rtp != rtcp && free(rtp) && free(rtcp);
        let pairs = (0..=254).step_by(2).map(|rtp: u8| (rtp, rtp + 1));
        wanted.into_iter().chain(pairs).find(usable)
    }

    pub(super) fn add_track(&mut self, track: Track) {
        self.remove_track(track.media);
        self.tracks.push(track);
        self.index_channels();
    }

    pub(super) fn remove_track(&mut self, media: usize) {
        if let Some(index) = self.tracks.iter().position(|track| track.media == media) {
            let track = self.tracks.remove(index);
            self.close_udp(track.path);
            self.index_channels();
        }
    }

    pub(super) fn remove_all_tracks(&mut self) {
        self.close_all_udp();
        self.tracks.clear();
        self.index_channels();
    }

    pub(super) fn close_all_udp(&mut self) {
        let paths: Vec<Path> = self.tracks.iter().map(|track| track.path).collect();
        paths.into_iter().for_each(|path| self.close_udp(path));
        let opening = self
            .exchange
            .as_ref()
            .and_then(|exchange| exchange.setup.as_ref()?.pair);
        if let Some(pair) = opening {
            self.events.push_back(Event::CloseUdp { pair });
        }
    }

    fn close_udp(&mut self, path: Path) {
        if let Path::Udp { pair, .. } = path {
            self.events.push_back(Event::CloseUdp { pair });
        }
    }

    pub(super) fn camera_channel(&self, channel: u8) -> Option<ChannelUse> {
        let (index, rtcp) = self.channels.camera(channel)?;
        match rtcp {
            true => Some(ChannelUse::Rtcp),
            false => Some(ChannelUse::Rtp {
                ssrc: self.tracks.get(index)?.ssrc,
            }),
        }
    }

    pub(super) fn viewer_channel(&self, channel: u8) -> Option<ChannelUse> {
        let (_, rtcp) = self.channels.viewer(channel)?;
        Some(if rtcp {
            ChannelUse::Rtcp
        } else {
            ChannelUse::Rtp { ssrc: None }
        })
    }

    pub(super) fn handle_camera_frame(&mut self, now: Now, channel: u8, payload: &[u8]) {
        if let Some((index, rtcp)) = self.channels.camera(channel) {
            self.handle_packet(now, index, rtcp, payload);
        }
    }

    pub(super) fn handle_datagram(&mut self, now: Now, socket: UdpId, bytes: &[u8]) {
        let of_pair = |track: &Track| matches!(track.path, Path::Udp { pair, .. } if pair == socket.pair);
        if let Some(index) = self.tracks.iter().position(of_pair) {
            self.handle_packet(now, index, socket.rtcp, bytes);
        }
    }

    fn handle_packet(&mut self, now: Now, index: usize, rtcp: bool, packet: &[u8]) {
        // After the end nobody waits for media; the camera is drained all the same.
        if !self.is_open() {
            return;
        }
        let Some(track) = self.tracks.get_mut(index) else {
            return;
        };
        let Ok(len) = u16::try_from(packet.len()) else {
            return;
        };
        let [high, low] = len.to_be_bytes();
        let channel = if rtcp {
            track.viewer_channels.1
        } else {
            track.viewer_channels.0
        };
        let head = [b'$', channel, high, low];
        // Some cameras send sender reports among the RTP packets.
        if rtcp || packet.get(1).is_some_and(|kind| RTCP_TYPES.contains(kind)) {
            self.counters.rtcp_packets_in += 1;
            return self.queue_side(now, head, packet);
        }
        let Some(rtp) = Rtp::parse(packet) else {
            self.counters.camera_skipped_bytes += packet.len() as u64;
            return;
        };
        self.counters.rtp_packets_in += 1;
        self.counters.rtp_bytes_in += packet.len() as u64;
        track.ssrc = Some(rtp.ssrc);
        if let Some(at) = self.media_at.as_mut().filter(|_| track.expects_media) {
            *at = now;
        }
        let Some(gate) = &mut track.gate else {
            return self.queue_side(now, head, packet);
        };
        let mut outlet = Outlet {
            now,
            limits: &self.config.limits,
            queue: &mut self.queue,
            counters: &mut self.counters,
        };
        gate.handle_packet(head, packet, &rtp, &mut outlet);
        self.note_peak();
    }

    /// Audio, metadata and RTCP are kept as long as their share of the queue has room.
    fn queue_side(&mut self, now: Now, head: [u8; 4], packet: &[u8]) {
        let len = head.len() + packet.len();
        let limits = &self.config.limits;
        if self.queue.side_bytes() + len > limits.side_queue_bytes
            || self.queue.len() + len > limits.queue_hard_bytes
        {
            self.counters.dropped_side.units += 1;
            self.counters.dropped_side.add_packet(len);
            return;
        }
        self.queue.push(now, Kind::Side, &head, packet);
        self.counters.packets_queued += 1;
        self.note_peak();
    }

    fn note_peak(&mut self) {
        let peak = &mut self.counters.queue_peak_bytes;
        *peak = (*peak).max(self.queue.len() as u64);
    }

    /// Talk-back and RTCP of the viewer.
    pub(super) fn handle_viewer_frame(&mut self, channel: u8, packet: &[u8]) {
        let Some((index, rtcp)) = self.channels.viewer(channel) else {
            return;
        };
        let Some(track) = self.tracks.get(index) else {
            return;
        };
        let sent = match track.path {
            Path::Interleaved(rtp_channel, rtcp_channel) => {
                let channel = if rtcp { rtcp_channel } else { rtp_channel };
                self.send_frame(channel, packet)
            }
            Path::Udp { pair, server_ports } => {
                self.send_datagram(UdpId { pair, rtcp }, server_ports, packet)
            }
        };
        if sent {
            self.counters.viewer_packets_in += 1;
        } else {
            self.counters.dropped_viewer.units += 1;
            self.counters.dropped_viewer.add_packet(packet.len());
        }
    }

    fn send_frame(&mut self, channel: u8, packet: &[u8]) -> bool {
        let Ok(len) = u16::try_from(packet.len()) else {
            return false;
        };
        if self.outbox.len() + packet.len() + 4 > self.config.limits.camera_queue_bytes {
            return false;
        }
        let [high, low] = len.to_be_bytes();
        self.outbox.push(&[b'$', channel, high, low]);
        self.outbox.push(packet);
        true
    }

    fn send_datagram(&mut self, socket: UdpId, ports: Option<(u16, u16)>, packet: &[u8]) -> bool {
        let Some((rtp_port, rtcp_port)) = ports else {
            return false;
        };
        if self.datagrams.len() >= MAX_DATAGRAMS {
            return false;
        }
        let port = if socket.rtcp { rtcp_port } else { rtp_port };
        self.datagrams.push_back(Datagram {
            socket,
            port,
            payload: packet.to_vec(),
        });
        true
    }
}
