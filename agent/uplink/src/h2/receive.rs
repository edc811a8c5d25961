//! What a connection does with received frames (RFC 9113, sections 3.4, 5 and 6).

use super::connection::{Block, Connection, DRAIN_PING, Drain, Phase, empty};
use super::frame::{self, DEFAULT_WINDOW, HEADER_LEN, Head, MAX_FRAME, MAX_WINDOW, PREFACE, Violation};
use super::frame::{flag, kind, setting};
use super::headers::Builder;
use super::stream::{Ended, Send};
use super::{ErrorCode, Event, StreamId};
use crate::Now;
use crate::hpack::ListSize;
use alloc::vec::Vec;

/// Most CONTINUATION frames of one block; a list within its limit needs one or two.
const MAX_CONTINUATIONS: u32 = 32;
/// Most bytes of one compressed block beside SETTINGS_MAX_HEADER_LIST_SIZE.
const BLOCK_SLACK: usize = 16_384;

impl Connection {
    pub(super) fn receive(&mut self, now: Now, bytes: &[u8]) -> Result<(), Violation> {
        let mut rest = self.take_preface(bytes)?;
        while !rest.is_empty() {
            if !self.input.is_empty() {
                rest = self.complete(now, rest)?;
                continue;
            }
            let Some(head) = Head::parse(rest) else {
                self.input.extend_from_slice(rest);
                break;
            };
            check_size(head)?;
            let Some((whole, after)) = rest.split_at_checked(HEADER_LEN + head.len) else {
                self.input.extend_from_slice(rest);
                break;
            };
            self.handle_frame(now, head, whole.get(HEADER_LEN..).unwrap_or(&[]))?;
            rest = after;
        }
        Ok(())
    }

    fn take_preface<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], Violation> {
        let Phase::Preface(matched) = self.phase else {
            return Ok(bytes);
        };
        let missing = PREFACE.get(matched..).unwrap_or(&[]);
        let (piece, rest) = bytes.split_at(missing.len().min(bytes.len()));
        if !missing.starts_with(piece) {
            return Err(Violation::protocol("no HTTP/2 preface"));
        }
        let matched = matched + piece.len();
        self.phase = if matched == PREFACE.len() {
            Phase::FirstSettings
        } else {
            Phase::Preface(matched)
        };
        Ok(rest)
    }

    /// Moves bytes into the frame that has begun, handles it when it is whole, and returns the bytes behind.
    fn complete<'a>(&mut self, now: Now, bytes: &'a [u8]) -> Result<&'a [u8], Violation> {
        let mut rest = bytes;
        if self.input.len() < HEADER_LEN {
            rest = self.take_up_to(HEADER_LEN, rest);
        }
        let Some(head) = Head::parse(&self.input) else {
            return Ok(rest);
        };
        check_size(head)?;
        rest = self.take_up_to(HEADER_LEN + head.len, rest);
        if self.input.len() == HEADER_LEN + head.len {
            let mut whole = core::mem::take(&mut self.input);
            self.handle_frame(now, head, whole.get(HEADER_LEN..).unwrap_or(&[]))?;
            empty(&mut whole);
            self.input = whole;
        }
        Ok(rest)
    }

    fn take_up_to<'a>(&mut self, target: usize, bytes: &'a [u8]) -> &'a [u8] {
        let missing = target.saturating_sub(self.input.len());
        let (piece, rest) = bytes.split_at(missing.min(bytes.len()));
        self.input.extend_from_slice(piece);
        rest
    }

    fn handle_frame(&mut self, now: Now, head: Head, payload: &[u8]) -> Result<(), Violation> {
        self.stats.frames_received += 1;
        if self.phase == Phase::FirstSettings {
            if head.kind != kind::SETTINGS || head.has(flag::ACK) {
                return Err(Violation::protocol("the first frame is not SETTINGS"));
            }
            self.phase = Phase::Open;
        }
        if let Some(block) = &self.block
            && (head.kind != kind::CONTINUATION || head.stream != block.stream)
        {
            return Err(Violation::protocol("a header block was interrupted"));
        }
        match head.kind {
            kind::DATA => self.handle_data(now, head, payload),
            kind::HEADERS => self.handle_headers(now, head, payload),
            kind::PRIORITY => self.handle_priority(now, head, payload),
            kind::RST_STREAM => self.handle_reset(now, head, payload),
            kind::SETTINGS => self.handle_settings(now, head, payload),
            kind::PUSH_PROMISE => Err(Violation::protocol("PUSH_PROMISE from a client")),
            kind::PING => self.handle_ping(now, head, payload),
            kind::GOAWAY => self.handle_goaway(now, head, payload),
            kind::WINDOW_UPDATE => self.handle_window_update(now, head, payload),
            kind::CONTINUATION => self.handle_continuation(now, head, payload),
            _ => self.limits.handle_other(now),
        }
    }

    /// Frames other than HEADERS and PRIORITY must not come for a stream that was never opened.
    fn check_not_idle(&self, stream: u32) -> Result<(), Violation> {
        if stream == 0 {
            return Err(Violation::protocol("a stream's frame on stream 0"));
        }
        if stream > self.highest || stream.is_multiple_of(2) {
            return Err(Violation::protocol("a frame on an idle stream"));
        }
        Ok(())
    }

    fn handle_data(&mut self, now: Now, head: Head, payload: &[u8]) -> Result<(), Violation> {
        self.check_not_idle(head.stream)?;
        let size = payload.len() as u32;
        self.stats.data_bytes_received += u64::from(size);
        // Every DATA byte counts for the connection, whatever becomes of its stream (section 6.9).
        self.recv_window -= i64::from(size);
        if self.recv_window < 0 {
            return Err(Violation::new(
                ErrorCode::FLOW_CONTROL_ERROR,
                "DATA beyond the connection's window",
            ));
        }
        self.recv_credit += size;
        let data = frame::strip(head, payload)?;
        let end_stream = head.has(flag::END_STREAM);
        if data.is_empty() && !end_stream {
            self.limits.handle_empty_data(now)?;
        }
        let Some(stream) = self.streams.get_mut(&head.stream) else {
            return self.handle_late_data(now, head.stream);
        };
        if !stream.recv_open {
            return self.stream_error(now, head.stream, ErrorCode::STREAM_CLOSED);
        }
        stream.recv_window -= i64::from(size);
        if stream.recv_window < 0 {
            return self.stream_error(now, head.stream, ErrorCode::FLOW_CONTROL_ERROR);
        }
        stream.recv_credit += size;
        if let Some(expected) = stream.expected {
            match expected.checked_sub(data.len() as u64) {
                Some(left) if left == 0 || !end_stream => stream.expected = Some(left),
                _ => return self.stream_error(now, head.stream, ErrorCode::PROTOCOL_ERROR),
            }
        }
        self.report_data(head.stream, data, end_stream);
        Ok(())
    }

    fn report_data(&mut self, id: u32, bytes: &[u8], end: bool) {
        if let Some(Event::Data {
            stream,
            data,
            end_stream,
        }) = self.events.back_mut()
            && stream.0 == id
        {
            data.extend_from_slice(bytes);
            *end_stream = end;
        } else if !bytes.is_empty() || end {
            self.events.push_back(Event::Data {
                stream: StreamId(id),
                data: bytes.into(),
                end_stream: end,
            });
        }
        if end {
            self.end_receive(id);
        }
    }

    fn end_receive(&mut self, id: u32) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        stream.recv_open = false;
        stream.linger_until = None;
        if stream.send == Send::Ended {
            self.forget(id, Ended::ByPeer);
        }
    }

    fn handle_late_data(&mut self, now: Now, id: u32) -> Result<(), Violation> {
        match self.recent.find(id) {
            // It was under way when this side gave the stream up; the window bounds how much that can be.
            Some(Ended::Here) => Ok(()),
            Some(Ended::ByPeer) | None => {
                self.limits.handle_other(now)?;
                self.push_reset(id, ErrorCode::STREAM_CLOSED);
                Ok(())
            }
        }
    }

    /// A stream error (section 5.4.2). A peer that makes many of them is not worth its connection.
    fn stream_error(&mut self, now: Now, id: u32, code: ErrorCode) -> Result<(), Violation> {
        self.limits.handle_reset(now)?;
        if self.streams.contains_key(&id) {
            self.reset_stream(id, code, true);
        } else {
            self.push_reset(id, code);
        }
        Ok(())
    }

    fn handle_headers(&mut self, now: Now, head: Head, payload: &[u8]) -> Result<(), Violation> {
        if head.stream.is_multiple_of(2) {
            return Err(Violation::protocol("HEADERS on stream 0 or on an even stream"));
        }
        let bytes = frame::strip(head, payload)?;
        let end_stream = head.has(flag::END_STREAM);
        if head.has(flag::END_HEADERS) {
            return self.handle_block(now, head.stream, end_stream, bytes);
        }
        self.block = Some(Block {
            stream: head.stream,
            end_stream,
            bytes: bytes.into(),
            frames: 0,
        });
        Ok(())
    }

    fn handle_continuation(&mut self, now: Now, head: Head, payload: &[u8]) -> Result<(), Violation> {
        let Some(mut block) = self.block.take() else {
            return Err(Violation::protocol("CONTINUATION without HEADERS"));
        };
        block.frames += 1;
        let max = self.config.max_header_list as usize + BLOCK_SLACK;
        if block.frames > MAX_CONTINUATIONS || block.bytes.len() + payload.len() > max {
            return Err(Violation::calm("CONTINUATION flood"));
        }
        block.bytes.extend_from_slice(payload);
        if head.has(flag::END_HEADERS) {
            return self.handle_block(now, block.stream, block.end_stream, &block.bytes);
        }
        self.block = Some(block);
        Ok(())
    }

    /// A whole header block. It is always decoded, for the HPACK state belongs to the connection.
    fn handle_block(&mut self, now: Now, id: u32, end: bool, block: &[u8]) -> Result<(), Violation> {
        let mut fields = Builder::default();
        let max_list = self.config.max_header_list as usize;
        let size = self
            .decoder
            .decode(block, max_list, &mut |name, value| fields.field(name, value))
            .map_err(|error| Violation::new(ErrorCode::COMPRESSION_ERROR, error.0))?;
        if id > self.highest {
            self.highest = id;
            return self.handle_request(now, id, end, size, fields);
        }
        if let Some(stream) = self.streams.get(&id) {
            let (open, complete) = (stream.recv_open, stream.expected.is_none_or(|left| left == 0));
            return match fields.check_trailers() {
                _ if !open => self.stream_error(now, id, ErrorCode::STREAM_CLOSED),
                Ok(()) if end && complete && size == ListSize::Within => {
                    self.report_data(id, &[], true);
                    Ok(())
                }
                _ => self.stream_error(now, id, ErrorCode::PROTOCOL_ERROR),
            };
        }
        match self.recent.find(id) {
            Some(Ended::Here) => self.limits.handle_other(now),
            Some(Ended::ByPeer) => Err(Violation::new(
                ErrorCode::STREAM_CLOSED,
                "HEADERS on a closed stream",
            )),
            None => Err(Violation::protocol("a stream number that does not grow")),
        }
    }

    fn handle_request(
        &mut self,
        now: Now,
        id: u32,
        end: bool,
        size: ListSize,
        fields: Builder,
    ) -> Result<(), Violation> {
        if matches!(self.drain, Drain::Final { .. }) {
            self.recent.push(id, Ended::Here);
            return self.limits.handle_other(now);
        }
        if self.streams.len() >= self.config.max_streams as usize {
            return self.stream_error(now, id, ErrorCode::REFUSED_STREAM);
        }
        if size == ListSize::Exceeded {
            self.limits.handle_reset(now)?;
            self.push_response(id, 431, &[], true);
            match end {
                true => self.recent.push(id, Ended::ByPeer),
                false => self.push_reset(id, ErrorCode::NO_ERROR),
            }
            return Ok(());
        }
        match fields.into_request() {
            Ok(parsed) if end && parsed.content_length.is_some_and(|length| length > 0) => {
                self.stream_error(now, id, ErrorCode::PROTOCOL_ERROR)
            }
            Ok(parsed) => {
                self.open(id, parsed, end);
                Ok(())
            }
            Err(_) => self.stream_error(now, id, ErrorCode::PROTOCOL_ERROR),
        }
    }

    fn handle_priority(&mut self, now: Now, head: Head, payload: &[u8]) -> Result<(), Violation> {
        self.limits.handle_other(now)?;
        if head.stream == 0 {
            return Err(Violation::protocol("PRIORITY on stream 0"));
        }
        if payload.len() != 5 {
            self.reset_stream(head.stream, ErrorCode::FRAME_SIZE_ERROR, true);
        }
        Ok(())
    }

    fn handle_reset(&mut self, now: Now, head: Head, payload: &[u8]) -> Result<(), Violation> {
        let code = match (payload.len(), frame::be_u32(payload)) {
            (4, Some(code)) => ErrorCode(code),
            _ => return Err(Violation::size("RST_STREAM is not 4 bytes long")),
        };
        self.check_not_idle(head.stream)?;
        self.limits.handle_reset(now)?;
        if self.streams.contains_key(&head.stream) {
            self.stats.resets_received += 1;
            self.forget(head.stream, Ended::ByPeer);
            self.events.push_back(Event::Reset {
                stream: StreamId(head.stream),
                code,
            });
        }
        Ok(())
    }

    fn handle_settings(&mut self, now: Now, head: Head, payload: &[u8]) -> Result<(), Violation> {
        if head.stream != 0 {
            return Err(Violation::protocol("SETTINGS on a stream"));
        }
        if head.has(flag::ACK) {
            if !payload.is_empty() {
                return Err(Violation::size("a SETTINGS acknowledgement with a payload"));
            }
            return self.handle_settings_ack(now);
        }
        self.limits.handle_settings(now)?;
        let (entries, odd) = payload.as_chunks::<6>();
        if !odd.is_empty() {
            return Err(Violation::size("SETTINGS is not a multiple of 6 bytes long"));
        }
        for [i0, i1, v0, v1, v2, v3] in entries {
            let value = u32::from_be_bytes([*v0, *v1, *v2, *v3]);
            self.handle_setting(u16::from_be_bytes([*i0, *i1]), value)?;
        }
        self.push_settings_ack();
        Ok(())
    }

    fn handle_setting(&mut self, id: u16, value: u32) -> Result<(), Violation> {
        match id {
            setting::HEADER_TABLE_SIZE => self.handle_peer_table_size(),
            setting::ENABLE_PUSH if value > 1 => {
                return Err(Violation::protocol("SETTINGS_ENABLE_PUSH is neither 0 nor 1"));
            }
            setting::ENABLE_CONNECT_PROTOCOL if value > 1 => {
                return Err(Violation::protocol(
                    "SETTINGS_ENABLE_CONNECT_PROTOCOL is neither 0 nor 1",
                ));
            }
            setting::MAX_FRAME_SIZE if !(16_384..=16_777_215).contains(&value) => {
                return Err(Violation::protocol("SETTINGS_MAX_FRAME_SIZE is out of its range"));
            }
            setting::INITIAL_WINDOW_SIZE => return self.handle_initial_window(value),
            // The rest binds requests and pushes, which this side does not send, or is unknown.
            _ => {}
        }
        Ok(())
    }

    fn handle_initial_window(&mut self, value: u32) -> Result<(), Violation> {
        let error = |reason| Violation::new(ErrorCode::FLOW_CONTROL_ERROR, reason);
        if i64::from(value) > MAX_WINDOW {
            return Err(error("SETTINGS_INITIAL_WINDOW_SIZE is too large"));
        }
        let change = i64::from(value) - i64::from(self.peer_initial_window);
        self.peer_initial_window = value;
        for stream in self.streams.values_mut() {
            stream.send_window += change;
            if stream.send_window > MAX_WINDOW {
                return Err(error("SETTINGS_INITIAL_WINDOW_SIZE overflows a stream's window"));
            }
        }
        let ids: Vec<u32> = self.streams.keys().copied().collect();
        for id in ids {
            self.queue_if_ready(id);
        }
        Ok(())
    }

    /// From here on the peer keeps to this side's windows.
    fn handle_settings_ack(&mut self, now: Now) -> Result<(), Violation> {
        if self.settings_due.take().is_none() {
            return self.limits.handle_other(now);
        }
        let change = i64::from(self.config.stream_window) - i64::from(DEFAULT_WINDOW);
        for stream in self.streams.values_mut() {
            stream.recv_window += change;
        }
        Ok(())
    }

    fn handle_ping(&mut self, now: Now, head: Head, payload: &[u8]) -> Result<(), Violation> {
        if payload.len() != 8 {
            return Err(Violation::size("PING is not 8 bytes long"));
        }
        if head.stream != 0 {
            return Err(Violation::protocol("PING on a stream"));
        }
        self.limits.handle_ping(now)?;
        if !head.has(flag::ACK) {
            self.push_pong(payload);
        } else if payload == DRAIN_PING && matches!(self.drain, Drain::Announced { .. }) {
            self.finish_drain();
        }
        Ok(())
    }

    fn handle_goaway(&mut self, now: Now, head: Head, payload: &[u8]) -> Result<(), Violation> {
        if head.stream != 0 {
            return Err(Violation::protocol("GOAWAY on a stream"));
        }
        self.limits.handle_other(now)?;
        let code = payload.get(4..).and_then(frame::be_u32);
        let code = code.ok_or(Violation::size("GOAWAY is shorter than 8 bytes"))?;
        self.events.push_back(Event::PeerGoAway {
            code: ErrorCode(code),
        });
        Ok(())
    }

    fn handle_window_update(&mut self, now: Now, head: Head, payload: &[u8]) -> Result<(), Violation> {
        let increment = match (payload.len(), frame::be_u32(payload)) {
            (4, Some(value)) => i64::from(value & 0x7fff_ffff),
            _ => return Err(Violation::size("WINDOW_UPDATE is not 4 bytes long")),
        };
        self.limits.handle_window_update(now)?;
        if head.stream == 0 {
            return self.handle_connection_credit(increment);
        }
        self.check_not_idle(head.stream)?;
        let Some(stream) = self.streams.get_mut(&head.stream) else {
            return Ok(());
        };
        if increment == 0 {
            return self.stream_error(now, head.stream, ErrorCode::PROTOCOL_ERROR);
        }
        stream.send_window += increment;
        if stream.send_window > MAX_WINDOW {
            return self.stream_error(now, head.stream, ErrorCode::FLOW_CONTROL_ERROR);
        }
        self.queue_if_ready(head.stream);
        Ok(())
    }

    fn handle_connection_credit(&mut self, increment: i64) -> Result<(), Violation> {
        if increment == 0 {
            return Err(Violation::protocol("a WINDOW_UPDATE of 0"));
        }
        self.send_window += increment;
        if self.send_window > MAX_WINDOW {
            let reason = "WINDOW_UPDATE overflows the connection's window";
            return Err(Violation::new(ErrorCode::FLOW_CONTROL_ERROR, reason));
        }
        Ok(())
    }
}

fn check_size(head: Head) -> Result<(), Violation> {
    if head.len > MAX_FRAME {
        Err(Violation::size("a frame longer than 16384 bytes"))
    } else {
        Ok(())
    }
}
