//! The second carrier: an HTTP/2 connection inside a WebSocket, this side being the client.

use super::{
    Decoder, Event, Limits, Opcode, Role, WsError, begin_frame, close_code, encode_close, encode_control,
    finish_frame,
};
use crate::rng::Rng;
use alloc::vec::Vec;

/// Most bytes of pongs that wait to be sent; further pings are not answered until they are gone.
const MAX_CONTROL_BYTES: usize = 4096;
/// HTTP/2 bytes may come in frames of any size; their own limits hold inside.
const LIMITS: Limits = Limits {
    max_frame: u64::MAX >> 1,
};

/// Turns HTTP/2 bytes into masked binary frames and back.
#[derive(Debug)]
pub struct Carrier {
    decoder: Decoder,
    rng: Rng,
    control: Vec<u8>,
    closing: bool,
    peer_closed: bool,
}

impl Carrier {
    /// A carrier whose masking keys come from `seed`, which must be fresh for each connection.
    pub fn new(seed: [u8; 16]) -> Self {
        Self {
            decoder: Decoder::new(Role::Client, LIMITS),
            rng: Rng::from_bytes(seed),
            control: Vec::new(),
            closing: false,
            peer_closed: false,
        }
    }

    /// Takes received bytes and appends the HTTP/2 bytes in them to `inner`. Pings are answered by
    /// [`Carrier::poll_output`]. On an error a close frame is queued: flush it, then close.
    pub fn handle_input(&mut self, bytes: &mut [u8], inner: &mut Vec<u8>) -> Result<(), WsError> {
        let Self {
            decoder,
            rng,
            control,
            closing,
            peer_closed,
        } = self;
        let result = decoder.handle_input(bytes, &mut |event| match event {
            Event::Data(data) => inner.extend_from_slice(data),
            Event::Ping(payload) => {
                if !*closing && control.len() < MAX_CONTROL_BYTES {
                    encode_control(control, Opcode::Pong, payload, Some(rng.mask()));
                }
            }
            Event::Pong(_) => {}
            Event::Close { code } => {
                *peer_closed = true;
                if !*closing {
                    *closing = true;
                    encode_close(control, code.unwrap_or(close_code::NORMAL), Some(rng.mask()));
                }
            }
        });
        if let Err(error) = result {
            self.close(error.close_code);
        }
        result
    }

    /// Queues a close frame, once. Nothing is wrapped after it.
    pub fn close(&mut self, code: u16) {
        if !self.closing {
            self.closing = true;
            encode_close(&mut self.control, code, Some(self.rng.mask()));
        }
    }

    /// The peer sent its close frame.
    pub fn is_peer_closed(&self) -> bool {
        self.peer_closed
    }

    /// A close frame is queued or sent.
    pub fn is_closing(&self) -> bool {
        self.closing
    }

    /// Whether pongs or a close frame wait.
    pub fn wants_output(&self) -> bool {
        !self.control.is_empty()
    }

    /// Appends waiting pongs and the close frame to `out`. Not between [`Carrier::begin`] and [`Carrier::finish`].
    pub fn poll_output(&mut self, out: &mut Vec<u8>) {
        out.append(&mut self.control);
    }

    /// Reserves a frame header at the end of `out`; append HTTP/2 bytes, then call [`Carrier::finish`] with the place.
    /// The header takes up to 8 bytes for payload under 64 KiB.
    pub fn begin(&mut self, out: &mut Vec<u8>) -> usize {
        begin_frame(out, true)
    }

    /// Completes and masks the frame in place; without payload, or once closing, it is taken back.
    pub fn finish(&mut self, out: &mut Vec<u8>, start: usize) {
        if self.closing {
            out.truncate(start);
            return;
        }
        let mask = self.rng.mask();
        finish_frame(out, start, Some(mask));
    }
}
