//! Carries one viewer's connection: requests through the guard, media through as it is.
//!
//! Both directions have bounded queues. HTTP/2 credit goes back to the agent only for bytes that the viewer's
//! socket took, so a slow viewer is felt by the agent, which drops whole access units.

use std::collections::VecDeque;
use std::future::{pending, poll_fn};
use std::io::{self, IoSlice};
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::task::Poll;
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use h2::{RecvStream, SendStream};
use prometheus_client::metrics::counter::Counter;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{debug, warn};

use super::guard::{Guard, Policy, Verdict};
use super::head::{HeadError, reply};
use super::splitter::{Piece, SplitError, Splitter};
use crate::metrics::Direction;
use crate::net::Stranger;
use crate::server::Shared;
use crate::store::View;
use crate::uplink::requests::{AskError, RtspStream, open_rtsp};
use crate::ws;

/// Bytes for the viewer that are queued here; more wait in the stream's HTTP/2 window.
pub const MAX_DOWN_BYTES: usize = 256 * 1024;
/// Bytes for the agent that are queued here before the viewer is read no further.
pub const MAX_UP_BYTES: usize = 64 * 1024;
/// Bytes of own replies that are queued before the viewer is read no further.
const MAX_LOCAL_BYTES: usize = 32 * 1024;
/// Bytes read from a viewer at a time.
const READ_BYTES: usize = 16 * 1024;
/// DATA frames and slices handled at a time.
const BATCH: usize = 32;
/// Credit below this is returned together with the next.
const CREDIT_STEP_BYTES: usize = 32 * 1024;
/// Time for a connection to log in and reach a camera.
const LOGIN_DEADLINE: Duration = Duration::from_secs(60);
/// A viewer that takes nothing for this long, while there is something, is cut.
const STALL_DEADLINE: Duration = Duration::from_secs(30);
/// A session without a byte in any direction ends after this.
const IDLE_DEADLINE: Duration = Duration::from_secs(180);
/// Time for the last bytes at the end, to the viewer and to the agent.
const END_DEADLINE: Duration = Duration::from_secs(5);

#[derive(Debug, Error)]
enum End {
    #[error("the viewer left")]
    Viewer,
    #[error("the viewer's connection: {0}")]
    ViewerIo(io::Error),
    #[error("the viewer sent {0}")]
    ViewerSplit(SplitError),
    #[error("the agent ended the session")]
    Agent,
    #[error("the uplink is lost: {0}")]
    Uplink(h2::Error),
    #[error("the agent sent a bad WebSocket frame: {0}")]
    Ws(#[from] ws::WsError),
    #[error("the agent sent bad RTSP: {0}")]
    AgentSplit(SplitError),
    #[error("the agent sent a bad head: {0}")]
    AgentHead(HeadError),
    #[error("the request was refused")]
    Refused,
    #[error("no login in time")]
    LoginDeadline,
    #[error("the viewer takes nothing")]
    Stalled,
    #[error("nothing was sent for a long time")]
    Idle,
    #[error("the viewer may not watch this camera any more")]
    Revoked,
    #[error("the gateway stops")]
    Stopped,
}

impl End {
    /// The WebSocket close code for the agent (RFC 6455 section 7.4.1).
    fn close_code(&self) -> u16 {
        match self {
            Self::Ws(error) => error.close_code(),
            Self::AgentSplit(_) | Self::AgentHead(_) => 1002,
            Self::Stopped => 1001,
            _ => 1000,
        }
    }
}

/// Bytes for the viewer, as slices of what came in.
#[derive(Default)]
struct Outbox {
    slices: VecDeque<Bytes>,
    bytes: usize,
}

impl Outbox {
    fn push(&mut self, slice: Bytes) {
        if !slice.is_empty() {
            self.bytes += slice.len();
            self.slices.push_back(slice);
        }
    }

    fn advance(&mut self, mut count: usize) {
        self.bytes = self.bytes.saturating_sub(count);
        while let Some(front) = self.slices.front_mut() {
            if count < front.len() {
                front.advance(count);
                return;
            }
            count -= front.len();
            self.slices.pop_front();
        }
    }
}

struct Link {
    stream: RtspStream,
    /// DATA bytes received for which the agent has no credit back yet.
    uncredited: usize,
}

enum Event {
    Written(io::Result<usize>),
    Read(io::Result<usize>),
    Data,
    DataEnd(Option<h2::Error>),
    Capacity(Result<usize, Option<h2::Error>>),
    Timer,
    Stop,
    Rules,
}

struct Bridge {
    shared: Arc<Shared>,
    by: &'static str,
    address: IpAddr,
    guard: Guard,
    rules: watch::Receiver<Arc<Policy>>,
    /// What is written down of this session, and how much it has taken so far.
    view: Option<View>,
    given: u64,
    link: Option<Link>,
    /// Bytes just read from the viewer.
    inbox: BytesMut,
    from_viewer: Splitter,
    forward_body: bool,
    /// WebSocket frames for the agent.
    up: BytesMut,
    from_agent: Splitter,
    decoder: ws::Decoder,
    batch: Vec<Bytes>,
    down: Outbox,
    /// Own replies, each with the requests that the agent must have answered before it.
    local: VecDeque<(u64, Vec<u8>)>,
    local_bytes: usize,
    /// Requests that went to the agent, and its final replies.
    asked: u64,
    answered: u64,
    /// Held until the viewer has logged in.
    stranger: Option<Stranger>,
    /// A camera was reached just now.
    bound: bool,
    opened: Instant,
    last_progress: Instant,
    last_activity: Instant,
    down_counter: Counter<u64, AtomicU64>,
    up_counter: Counter<u64, AtomicU64>,
}

/// Serves one viewer to the end of its connection. `by`: `rtsp` or `rtsps`.
pub async fn run<R, W>(
    (mut reader, mut writer): (R, W),
    by: &'static str,
    address: IpAddr,
    stranger: Stranger,
    shared: Arc<Shared>,
    mut stop: watch::Receiver<bool>,
) where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let metrics = Arc::clone(&shared.metrics);
    metrics.viewers.inc();
    let mut bridge = Bridge::new(shared, by, address, stranger);
    let end = bridge.pump(&mut reader, &mut writer, &mut stop).await;
    debug!(reason = %end, peer = %address, "viewer's connection ends");
    bridge.finish(&end, &mut writer).await;
    metrics.viewers.dec();
}

impl Bridge {
    fn new(shared: Arc<Shared>, by: &'static str, address: IpAddr, stranger: Stranger) -> Self {
        let now = Instant::now();
        let mut rules = shared.fleet.policy();
        let policy = Arc::clone(&rules.borrow_and_update());
        Self {
            guard: Guard::new(policy, rand::random()),
            rules,
            by,
            view: None,
            given: 0,
            down_counter: shared.metrics.byte_counter(Direction::Down),
            up_counter: shared.metrics.byte_counter(Direction::Up),
            shared,
            address,
            link: None,
            inbox: BytesMut::new(),
            from_viewer: Splitter::new(),
            forward_body: false,
            up: BytesMut::new(),
            from_agent: Splitter::new(),
            decoder: ws::Decoder::new(),
            batch: Vec::with_capacity(BATCH),
            down: Outbox::default(),
            local: VecDeque::new(),
            local_bytes: 0,
            asked: 0,
            answered: 0,
            stranger: Some(stranger),
            bound: false,
            opened: now,
            last_progress: now,
            last_activity: now,
        }
    }

    async fn pump<R, W>(&mut self, reader: &mut R, writer: &mut W, stop: &mut watch::Receiver<bool>) -> End
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        let mut timer = pin!(sleep_until(self.deadline()));
        loop {
            let read_more = self.up.len() < MAX_UP_BYTES && self.local_bytes < MAX_LOCAL_BYTES;
            let (recv, send) = match &mut self.link {
                Some(link) => (Some(&mut link.stream.recv), Some(&mut link.stream.send)),
                None => (None, None),
            };
            self.inbox.reserve(if read_more { READ_BYTES } else { 0 });
            let event = tokio::select! {
                written = write_some(writer, &self.down), if self.down.bytes > 0 => Event::Written(written),
                event = next_batch(recv, &mut self.batch), if self.down.bytes < MAX_DOWN_BYTES => event,
                event = capacity(send, self.up.len()), if !self.up.is_empty() => event,
                read = reader.read_buf(&mut self.inbox), if read_more => Event::Read(read),
                _ = stop.wait_for(|stop| *stop) => Event::Stop,
                Ok(()) = self.rules.changed() => Event::Rules,
                () = timer.as_mut() => Event::Timer,
            };
            if matches!(event, Event::Timer) {
                match self.overdue() {
                    Some(end) => return end,
                    None => timer.as_mut().reset(self.deadline()),
                }
            } else if matches!(event, Event::Rules) {
                if let Err(end) = self.handle_rules() {
                    return end;
                }
            } else if let Err(end) = self.handle(event).await {
                return end;
            } else if std::mem::take(&mut self.bound) {
                // A playback address may end before the time to log in does.
                timer.as_mut().reset(self.deadline());
            }
        }
    }

    async fn handle(&mut self, event: Event) -> Result<(), End> {
        self.last_activity = Instant::now();
        if self.down.bytes == 0 {
            self.last_progress = self.last_activity;
        }
        match event {
            Event::Written(Ok(0)) => Err(End::Viewer),
            Event::Written(Ok(count)) => {
                self.last_progress = self.last_activity;
                self.down.advance(count);
                self.down_counter.inc_by(count as u64);
                self.given += count as u64;
                self.return_credit()
            }
            Event::Written(Err(error)) | Event::Read(Err(error)) => Err(End::ViewerIo(error)),
            Event::Read(Ok(0)) => Err(End::Viewer),
            Event::Read(Ok(_)) => self.handle_viewer().await,
            Event::Data => self.handle_agent(),
            Event::DataEnd(None) => Err(End::Agent),
            Event::DataEnd(Some(error)) => Err(End::Uplink(error)),
            Event::Capacity(Ok(count)) => self.send_up(count),
            Event::Capacity(Err(None)) => Err(End::Agent),
            Event::Capacity(Err(Some(error))) => Err(End::Uplink(error)),
            Event::Stop => Err(End::Stopped),
            Event::Timer | Event::Rules => Ok(()),
        }
    }

    /// Who may watch what has changed.
    fn handle_rules(&mut self) -> Result<(), End> {
        let policy = Arc::clone(&self.rules.borrow_and_update());
        if self.guard.handle_policy(self.shared.elapsed(), policy) {
            Ok(())
        } else {
            Err(End::Revoked)
        }
    }

    fn deadline(&self) -> Instant {
        let now = Instant::now();
        let quiet = if self.link.is_none() {
            self.opened + LOGIN_DEADLINE
        } else if self.down.bytes > 0 {
            self.last_progress + STALL_DEADLINE
        } else {
            // Looked at again when the stall could have begun, for the timer is not moved while bytes flow.
            (self.last_activity + IDLE_DEADLINE).min(now + STALL_DEADLINE)
        };
        let left = self.guard.time_left(self.shared.elapsed());
        // Far beyond what the clock can count there is nothing to wait for.
        let end = left.and_then(|left| now.checked_add(left));
        end.map_or(quiet, |end| quiet.min(end))
    }

    fn overdue(&self) -> Option<End> {
        let now = Instant::now();
        if self
            .guard
            .time_left(self.shared.elapsed())
            .is_some_and(|left| left.is_zero())
        {
            Some(End::Revoked)
        } else if self.link.is_none() {
            (now >= self.opened + LOGIN_DEADLINE).then_some(End::LoginDeadline)
        } else if self.down.bytes > 0 {
            (now >= self.last_progress + STALL_DEADLINE).then_some(End::Stalled)
        } else {
            (now >= self.last_activity + IDLE_DEADLINE).then_some(End::Idle)
        }
    }

    async fn handle_viewer(&mut self) -> Result<(), End> {
        self.up_counter.inc_by(self.inbox.len() as u64);
        let mut input = self.inbox.split().freeze();
        while let Some(piece) = self
            .from_viewer
            .poll_piece(&mut input)
            .map_err(End::ViewerSplit)?
        {
            match piece {
                Piece::Frames(frames) => self.push_up(&frames),
                Piece::Body(body) => {
                    if self.forward_body {
                        self.push_up(&body);
                    }
                }
                Piece::Head(head) => self.handle_request(&head).await?,
            }
        }
        self.flush_local();
        Ok(())
    }

    async fn handle_request(&mut self, head: &[u8]) -> Result<(), End> {
        if self.rules.has_changed().unwrap_or(false) {
            self.handle_rules()?;
        }
        let now = self.shared.elapsed();
        let blocked = self.shared.throttle().blocked(now, self.address);
        let known = self.guard.user().is_some();
        self.forward_body = false;
        match self.guard.handle_viewer(now, head, blocked) {
            Verdict::Reply {
                bytes,
                close,
                failed_login,
            } => {
                if failed_login {
                    self.shared.metrics.auth_failures.inc();
                    self.shared.throttle().handle_failure(now, self.address);
                }
                self.push_local(bytes);
                if close {
                    return Err(End::Refused);
                }
            }
            Verdict::Forward { camera, head, cseq } => {
                self.stranger = None;
                if !known {
                    self.shared.throttle().handle_success(self.address);
                }
                if self.link.is_none() && !self.open(&camera, &cseq, &head).await {
                    return Ok(());
                }
                self.forward_body = true;
                self.asked += 1;
                self.push_up(&head);
            }
            Verdict::Ignore => {}
        }
        Ok(())
    }

    /// Opens the session over the camera's newest uplink that takes one; false if the viewer was told why not.
    async fn open(&mut self, camera: &str, cseq: &[u8], head: &[u8]) -> bool {
        let uplinks = self
            .shared
            .registry
            .index(camera)
            .map(|index| self.shared.registry.uplinks(index));
        let mut refused = (503, "Camera Offline", None);
        for uplink in uplinks.unwrap_or_default() {
            match open_rtsp(&uplink).await {
                Ok(stream) => {
                    debug!(camera, user = self.guard.user(), "session opened");
                    self.shared.metrics.sessions_opened.inc();
                    self.shared.metrics.sessions.inc();
                    self.guard.handle_bound(camera);
                    self.bound = true;
                    let user = self.guard.user().unwrap_or_default();
                    let (profile, address) = (self.guard.profile(), self.address.to_string());
                    self.view = self
                        .shared
                        .fleet
                        .begin_view(camera, profile, user, self.by, &address);
                    self.given = 0;
                    self.link = Some(Link {
                        stream,
                        uncredited: 0,
                    });
                    self.last_progress = Instant::now();
                    return true;
                }
                Err(error) if error.is_gone() => debug!(camera, %error, "uplink takes no session"),
                Err(error) => {
                    warn!(camera, %error, "session not opened");
                    refused = match error {
                        AskError::Timeout => (504, "Camera Does Not Answer", None),
                        _ => (503, "Camera Busy", Some(("Retry-After", "5"))),
                    };
                    break;
                }
            }
        }
        let (status, reason, field) = refused;
        let cseq = (!cseq.is_empty()).then_some(cseq);
        if status == 503
            && let Some(base) = self.shared.fleet.elsewhere(camera).and_then(|(rtsp, _)| rtsp)
        {
            let location = self.guard.elsewhere(head, &format!("{base}/{camera}"));
            let fields = [("Location", location.as_str())];
            self.push_local(reply(302, "Moved Temporarily", cseq, &fields));
            return false;
        }
        self.push_local(reply(status, reason, cseq, field.as_slice()));
        false
    }

    fn handle_agent(&mut self) -> Result<(), End> {
        let mut batch = std::mem::take(&mut self.batch);
        for mut data in batch.drain(..) {
            if let Some(link) = &mut self.link {
                link.uncredited += data.len();
            }
            while let Some(piece) = self.decoder.poll_piece(&mut data)? {
                match piece {
                    ws::Piece::Data(bytes) => self.handle_rtsp(bytes)?,
                    ws::Piece::Ping(payload) if self.up.len() < MAX_UP_BYTES => {
                        ws::encode_frame(&mut self.up, ws::PONG, &payload, rand::random());
                    }
                    ws::Piece::Ping(_) | ws::Piece::Pong => {}
                    ws::Piece::Close(_) => return Err(End::Agent),
                }
            }
        }
        self.batch = batch;
        self.flush_local();
        // Frames without payload would otherwise keep their credit for ever.
        self.return_credit()
    }

    fn handle_rtsp(&mut self, mut bytes: Bytes) -> Result<(), End> {
        loop {
            if !self.local.is_empty() {
                self.flush_local();
            }
            match self.from_agent.poll_piece(&mut bytes).map_err(End::AgentSplit)? {
                None => return Ok(()),
                Some(Piece::Frames(part) | Piece::Body(part)) => self.down.push(part),
                Some(Piece::Head(head)) => {
                    self.answered += u64::from(is_final_reply(&head));
                    self.down
                        .push(self.guard.handle_agent(&head).map_err(End::AgentHead)?.into());
                }
            }
        }
    }

    fn push_local(&mut self, bytes: Vec<u8>) {
        self.local_bytes += bytes.len();
        self.local.push_back((self.asked, bytes));
    }

    /// Own replies go out between messages, and in the order of the requests (RFC 2326 section 9.1).
    fn flush_local(&mut self) {
        if !self.from_agent.at_boundary() {
            return;
        }
        while self
            .local
            .front()
            .is_some_and(|(after, _)| *after <= self.answered)
            && let Some((_, bytes)) = self.local.pop_front()
        {
            self.local_bytes -= bytes.len();
            self.down.push(bytes.into());
        }
    }

    fn push_up(&mut self, bytes: &[u8]) {
        if self.link.is_some() {
            ws::encode_frame(&mut self.up, ws::BINARY, bytes, rand::random());
        }
    }

    fn send_up(&mut self, count: usize) -> Result<(), End> {
        let Some(link) = &mut self.link else { return Ok(()) };
        let part = self.up.split_to(count.min(self.up.len())).freeze();
        link.stream.send.send_data(part, false).map_err(End::Uplink)
    }

    fn return_credit(&mut self) -> Result<(), End> {
        let Some(link) = &mut self.link else { return Ok(()) };
        let taken = link.uncredited.saturating_sub(self.down.bytes);
        if taken >= CREDIT_STEP_BYTES || (taken > 0 && self.down.bytes == 0) {
            link.uncredited -= taken;
            link.stream
                .recv
                .flow_control()
                .release_capacity(taken)
                .map_err(End::Uplink)?;
        }
        Ok(())
    }

    /// Tells both sides that it is over, within a bounded time.
    async fn finish<W: AsyncWrite + Unpin>(mut self, end: &End, writer: &mut W) {
        if let Some(view) = self.view.take() {
            self.shared.fleet.end_view(view, self.given);
        }
        let link = self.link.take();
        if link.is_some() {
            self.shared.metrics.sessions.dec();
        }
        let link = link.filter(|_| !matches!(end, End::Uplink(_)));
        let mut last = std::mem::take(&mut self.up);
        ws::encode_close(&mut last, end.close_code(), rand::random());
        // At once, for the camera waits for its TEARDOWN and the viewer may be stalled.
        tokio::join!(self.tell_viewer(end, writer), tell_agent(link, last.freeze()));
    }

    async fn tell_viewer<W: AsyncWrite + Unpin>(&mut self, end: &End, writer: &mut W) {
        if matches!(end, End::Viewer | End::ViewerIo(_) | End::Stalled) {
            return;
        }
        // The agent will answer no more.
        self.answered = self.asked;
        self.flush_local();
        let _ = timeout(END_DEADLINE, async {
            while self.down.bytes > 0 {
                let count = write_some(writer, &self.down).await?;
                self.down.advance(count.max(1));
            }
            writer.shutdown().await
        })
        .await;
    }
}

async fn tell_agent(link: Option<Link>, last: Bytes) {
    let Some(link) = link else { return };
    let RtspStream {
        mut send, mut recv, ..
    } = link.stream;
    if send.send_data(last, true).is_ok() {
        // Read to the end, so that the agent's TEARDOWN is not cut short by a reset.
        let _ = timeout(END_DEADLINE, async {
            while let Some(Ok(data)) = recv.data().await {
                let _ = recv.flow_control().release_capacity(data.len());
            }
        })
        .await;
    }
}

/// Not a request of the camera, nor an interim reply.
fn is_final_reply(head: &[u8]) -> bool {
    let status = head.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
    head.starts_with(b"RTSP/") && !status.starts_with(b"1")
}

async fn write_some<W: AsyncWrite + Unpin>(writer: &mut W, down: &Outbox) -> io::Result<usize> {
    let mut slices = [IoSlice::new(&[]); BATCH];
    let mut used = 0;
    for (slot, slice) in slices.iter_mut().zip(&down.slices) {
        *slot = IoSlice::new(slice);
        used += 1;
    }
    writer.write_vectored(&slices[..used]).await
}

/// Takes what has arrived, at most [`BATCH`] DATA frames; waits only for the first.
async fn next_batch(recv: Option<&mut RecvStream>, batch: &mut Vec<Bytes>) -> Event {
    let Some(recv) = recv else { return pending().await };
    poll_fn(|cx| {
        while batch.len() < BATCH {
            match recv.poll_data(cx) {
                Poll::Ready(Some(Ok(data))) => batch.push(data),
                Poll::Ready(end) if batch.is_empty() => {
                    return Poll::Ready(Event::DataEnd(end.and_then(Result::err)));
                }
                Poll::Pending if batch.is_empty() => return Poll::Pending,
                Poll::Ready(_) | Poll::Pending => break,
            }
        }
        Poll::Ready(Event::Data)
    })
    .await
}

/// Waits until the agent grants credit for some of `wanted` bytes.
async fn capacity(send: Option<&mut SendStream<Bytes>>, wanted: usize) -> Event {
    let Some(send) = send else { return pending().await };
    send.reserve_capacity(wanted);
    let outcome = poll_fn(|cx| {
        if send.capacity() > 0 {
            return Poll::Ready(Ok(send.capacity()));
        }
        // An empty grant has woken this task once for nothing; only a pending poll wakes it again.
        loop {
            match send.poll_capacity(cx) {
                Poll::Ready(Some(Ok(0))) => {}
                Poll::Ready(Some(Ok(count))) => return Poll::Ready(Ok(count)),
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(Some(error))),
                Poll::Ready(None) => return Poll::Ready(Err(None)),
                Poll::Pending => return Poll::Pending,
            }
        }
    });
    Event::Capacity(outcome.await)
}
