//! One RTSP connection: requests in, replies and media out, on a non-blocking socket.

use std::io::{self, ErrorKind, Read as _};
use std::net::TcpStream;
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde_json::json;

use super::message::{Parsed, parse};
use super::output::Output;
use super::player::{Transport, frame};
use super::session::{Playing, Session};
use super::{Shared, lock};

/// Reads in a row before media gets its turn.
const MAX_READS: usize = 16;
/// Units in a row before input gets its turn.
const MAX_UNITS: usize = 64;
/// With --bulk, credit that does not come for so long counts as lost.
const CREDIT_TIMEOUT: Duration = Duration::from_secs(1);
/// The longest wait of one turn.
const MAX_WAIT: Duration = Duration::from_secs(1);
/// Frames between two injected lines of text.
const TEXT_EVERY: u64 = 20;
const TEXT: &[u8] = b"\r\nALARM: motion detected, $25 reward\r\n";

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The client closed it.
    Client,
    /// TEARDOWN, then the client or we closed it.
    Teardown,
    /// The client sent no request for too long.
    Timeout,
    /// A quirk.
    Quirk,
    /// The client sent no RTSP.
    Invalid,
    /// simcam stops.
    Stop,
    /// The socket failed.
    Error,
}

/// One client.
pub(super) struct Connection {
    pub(super) shared: Arc<Shared>,
    pub(super) id: u64,
    pub(super) socket: TcpStream,
    pub(super) output: Output,
    pub(super) session: Option<Session>,
    pub(super) last_request: Instant,
    pub(super) end: Option<End>,
    pub(super) totals: Totals,
    input: Vec<u8>,
}

/// What a connection did, for the event log.
#[derive(Default)]
pub(super) struct Totals {
    pub(super) torn_down: bool,
    pub(super) rtp_packets: u64,
    pub(super) rtp_bytes: u64,
    pub(super) tracks: Vec<u64>,
    frames: u64,
    texts: u64,
    rtcp_in: u64,
    credit_resets: u64,
}

impl Connection {
    pub(super) fn new(shared: Arc<Shared>, id: u64, socket: TcpStream) -> Self {
        let output = Output::new(shared.quirks.partial_write_corruption);
        let last_request = Instant::now();
        Self {
            shared,
            id,
            socket,
            output,
            session: None,
            last_request,
            end: None,
            totals: Totals::default(),
            input: Vec::new(),
        }
    }

    /// Serves the client to the end.
    pub(super) fn run(mut self) {
        self.event("connected", json!({}));
        let started = Instant::now();
        if let Err(error) = self.serve() {
            // A client that resets right after its TEARDOWN is met by a write as often as by a read.
            let _ = self.read();
            let _ = self.handle_input();
            let end = match error.kind() {
                ErrorKind::BrokenPipe | ErrorKind::ConnectionReset => End::Client,
                _ => End::Error,
            };
            self.end.get_or_insert(end);
        }
        self.finish(started);
    }

    /// Writes an event with the connection's number.
    pub(super) fn event(&self, name: &str, mut fields: serde_json::Value) {
        if let Some(object) = fields.as_object_mut() {
            object.insert("conn".to_owned(), json!(self.id));
        }
        self.shared.events.write(name, fields);
    }

    fn serve(&mut self) -> io::Result<()> {
        while self.end.is_none() {
            let now = Instant::now();
            self.run_timers(now);
            self.send_media(now)?;
            if self.end.is_some() {
                break;
            }
            self.wait(now)?;
            if self.output.is_blocked() {
                self.output.flush(&mut &self.socket)?;
            }
            self.read()?;
            self.handle_input()?;
            self.note_eagain();
        }
        Ok(())
    }

    fn note_eagain(&self) {
        let shared = &self.shared;
        // The total is in the `closed` event; one event tells the moment of the first.
        if self.output.counters.eagain > 0 && !lock(&shared.eagain_noted).contains(&self.id) {
            lock(&shared.eagain_noted).insert(self.id);
            self.event("eagain", json!({"count": self.output.counters.eagain}));
        }
    }

    fn wait(&self, now: Instant) -> io::Result<()> {
        let deadline = self
            .next_deadline(now)
            .saturating_duration_since(now)
            .min(MAX_WAIT);
        // Rounded up, so that a turn never comes too early and spins.
        let ms = deadline.as_micros().div_ceil(1000);
        let timeout = PollTimeout::try_from(ms as i32).unwrap_or(PollTimeout::MAX);
        let mut flags = PollFlags::POLLIN;
        if self.output.is_blocked() {
            flags |= PollFlags::POLLOUT;
        }
        let news = self.shared.credit.news();
        let mut fds = vec![
            PollFd::new(self.socket.as_fd(), flags),
            PollFd::new(self.shared.stop.as_fd(), PollFlags::POLLIN),
        ];
        if self.shared.options.bulk && self.playing().is_some() {
            fds.push(PollFd::new(news.as_fd(), PollFlags::POLLIN));
        }
        match poll(&mut fds, timeout) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        if fds.len() > 2 {
            self.shared.credit.clear_news();
        }
        Ok(())
    }

    fn playing(&self) -> Option<&Playing> {
        self.session.as_ref()?.playing.as_ref()
    }

    fn next_deadline(&self, now: Instant) -> Instant {
        let mut deadline = now + MAX_WAIT;
        if let Some(session) = &self.session {
            deadline = deadline.min(self.last_request + self.session_timeout());
            if let Some(playing) = &session.playing {
                let quirks = &self.shared.quirks;
                deadline = deadline.min(
                    quirks
                        .close_midstream
                        .map_or(deadline, |after| playing.since + after),
                );
                if !self.shared.options.bulk && !self.is_stalled(now) {
                    let due = session.next_due();
                    deadline = deadline.min(due.map_or(deadline, |due| playing.origin + due));
                }
            }
        }
        deadline
    }

    fn session_timeout(&self) -> Duration {
        Duration::from_secs(self.shared.options.session_timeout)
    }

    fn is_stalled(&self, now: Instant) -> bool {
        let stall = self.shared.quirks.stall;
        self.playing()
            .zip(stall)
            .is_some_and(|(playing, after)| now >= playing.since + after)
    }

    fn run_timers(&mut self, now: Instant) {
        if self.shared.is_stopping() {
            self.end = Some(End::Stop);
        } else if self.session.is_some() && now >= self.last_request + self.session_timeout() {
            self.end = Some(End::Timeout);
        } else if let (Some(playing), Some(after)) = (self.playing(), self.shared.quirks.close_midstream)
            && now >= playing.since + after
        {
            self.end = Some(End::Quirk);
        }
    }

    fn send_media(&mut self, now: Instant) -> io::Result<()> {
        if self.playing().is_none() || self.is_stalled(now) {
            return Ok(());
        }
        // Taken out for the turn, so that its tracks and the output can be used together.
        let Some(mut session) = self.session.take() else {
            return Ok(());
        };
        let sent = if self.shared.options.bulk {
            self.send_bulk(&mut session, now)
        } else {
            self.send_live(&mut session, now)
        };
        self.session = Some(session);
        sent
    }

    fn send_live(&mut self, session: &mut Session, now: Instant) -> io::Result<()> {
        let Some(origin) = session.playing.as_ref().map(|playing| playing.origin) else {
            return Ok(());
        };
        let since = now.saturating_duration_since(origin);
        let profile = Arc::clone(&session.profile);
        for player in &mut session.tracks {
            let Some(track) = profile.tracks.get(player.index) else {
                continue;
            };
            if let Some(report) = player.poll_report(track, now, since) {
                self.send_packet(&player.transport, true, &report)?;
            }
            for _ in 0..MAX_UNITS {
                if player.next_due(track) > since {
                    break;
                }
                for packet in player.next_packets(track, self.shared.options.mtu) {
                    self.count(player.index, packet.len());
                    // One write a packet, as camera firmwares do it.
                    self.send_packet(&player.transport, false, &packet)?;
                }
            }
        }
        Ok(())
    }

    fn count(&mut self, track: usize, bytes: usize) {
        self.totals.rtp_packets += 1;
        self.totals.rtp_bytes += bytes as u64;
        if self.totals.tracks.len() <= track {
            self.totals.tracks.resize(track + 1, 0);
        }
        if let Some(count) = self.totals.tracks.get_mut(track) {
            *count += 1;
        }
    }

    fn send_packet(&mut self, transport: &Transport, rtcp: bool, packet: &[u8]) -> io::Result<()> {
        let channel = match transport {
            Transport::Interleaved(rtp, rtcp_channel) => {
                if rtcp {
                    *rtcp_channel
                } else {
                    *rtp
                }
            }
            Transport::Udp(pair) => {
                if !pair.send(rtcp, packet) {
                    self.output.counters.dropped += 1;
                }
                return Ok(());
            }
        };
        self.totals.frames += 1;
        if self.shared.quirks.text_between_frames && self.totals.frames.is_multiple_of(TEXT_EVERY) {
            self.totals.texts += 1;
            self.output.send_reply(&mut &self.socket, TEXT.to_vec())?;
        }
        self.output
            .send_media(&mut &self.socket, frame(channel, packet))?;
        Ok(())
    }

    fn send_bulk(&mut self, session: &mut Session, now: Instant) -> io::Result<()> {
        let window = self.shared.options.bulk_window << 10;
        let profile = Arc::clone(&session.profile);
        let Some(playing) = session.playing.as_mut() else {
            return Ok(());
        };
        let received = self.shared.credit.received();
        if received != playing.credit_seen {
            playing.credit_seen = received;
            playing.credit_at = now;
        } else if now >= playing.credit_at + CREDIT_TIMEOUT
            && playing.bulk_sent > received + playing.credit_lost
        {
            playing.credit_lost = playing.bulk_sent - received;
            playing.credit_at = now;
            self.totals.credit_resets += 1;
        }
        let Some(player) = session.tracks.first_mut() else {
            return Ok(());
        };
        let Some(track) = profile.tracks.get(player.index) else {
            return Ok(());
        };
        let Transport::Interleaved(channel, _) = player.transport else {
            return Ok(());
        };
        for _ in 0..MAX_UNITS {
            let in_flight = playing.bulk_sent.saturating_sub(received + playing.credit_lost);
            if in_flight >= window || self.output.is_blocked() {
                break;
            }
            // A unit in one write: the sender should not be what is measured.
            let mut frames = Vec::new();
            for packet in player.next_packets(track, self.shared.options.mtu) {
                self.count(player.index, packet.len());
                frames.extend_from_slice(&frame(channel, &packet));
            }
            playing.bulk_sent += frames.len() as u64;
            self.output.send_media(&mut &self.socket, frames)?;
        }
        Ok(())
    }

    fn read(&mut self) -> io::Result<()> {
        let mut buffer = [0; 16 << 10];
        for _ in 0..MAX_READS {
            match (&self.socket).read(&mut buffer) {
                Ok(0) => {
                    self.end.get_or_insert(End::Client);
                    return Ok(());
                }
                Ok(n) => self.input.extend_from_slice(buffer.get(..n).unwrap_or_default()),
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    fn handle_input(&mut self) -> io::Result<()> {
        loop {
            match parse(&self.input) {
                Parsed::Incomplete => return Ok(()),
                Parsed::Interleaved(len) => {
                    self.totals.rtcp_in += 1;
                    self.input.drain(..len);
                }
                Parsed::Request(request, len) => {
                    self.input.drain(..len);
                    self.last_request = Instant::now();
                    let reply = self.handle_request(&request);
                    self.output.send_reply(&mut &self.socket, reply)?;
                }
                Parsed::Invalid => {
                    self.end = Some(End::Invalid);
                    return Ok(());
                }
            }
        }
    }

    fn finish(mut self, started: Instant) {
        self.release_session(false);
        let (counters, totals) = (self.output.counters, &self.totals);
        let reason = match self.end {
            Some(End::Client) if totals.torn_down => End::Teardown,
            Some(end) => end,
            None => End::Error,
        };
        let fields = json!({
            "reason": format!("{reason:?}").to_ascii_lowercase(),
            "teardown": totals.torn_down,
            "eagain": counters.eagain,
            "dropped": counters.dropped,
            "torn": counters.torn,
            "rtp_sent": totals.tracks,
            "rtp_packets": totals.rtp_packets,
            "rtp_bytes": totals.rtp_bytes,
            "texts": totals.texts,
            "rtcp_in": totals.rtcp_in,
            "credit_resets": totals.credit_resets,
            "seconds": started.elapsed().as_secs_f64(),
        });
        lock(&self.shared.eagain_noted).remove(&self.id);
        self.event("closed", fields);
        let _ = self.socket.shutdown(std::net::Shutdown::Both);
    }
}
