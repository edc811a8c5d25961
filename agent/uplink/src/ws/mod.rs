//! WebSocket frames (RFC 6455): a decoder that passes payload on piecewise, encoders, and the carrier that takes
//! a whole HTTP/2 connection through a WebSocket.
//!
//! The opening handshake is not here: the inner WebSocket opens with an extended CONNECT, the outer one in
//! [`crate::upgrade`]. Extensions and text messages are refused.

mod carrier;
mod decoder;
mod encoder;
#[cfg(test)]
mod tests;

pub use carrier::Carrier;
pub use decoder::{Decoder, Event, Limits};
pub use encoder::{apply_mask, begin_frame, encode_close, encode_control, encode_header, finish_frame};

use core::fmt;

/// Most bytes a frame header takes: 2, a 64-bit length and a mask.
pub const MAX_HEADER: usize = 14;
/// Most payload of a control frame (RFC 6455, section 5.5).
pub const MAX_CONTROL_PAYLOAD: usize = 125;

/// Which side *this* side is. A client masks what it sends; a server takes only masked frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Sends masked frames, takes unmasked ones.
    Client,
    /// Sends unmasked frames, takes masked ones.
    Server,
}

/// Frame types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opcode {
    /// Continues a fragmented message.
    Continuation,
    /// UTF-8 text; refused on receipt.
    Text,
    /// Binary.
    Binary,
    /// Close.
    Close,
    /// Ping.
    Ping,
    /// Pong.
    Pong,
}

impl Opcode {
    /// The four bits on the wire.
    pub fn bits(self) -> u8 {
        match self {
            Self::Continuation => 0x0,
            Self::Text => 0x1,
            Self::Binary => 0x2,
            Self::Close => 0x8,
            Self::Ping => 0x9,
            Self::Pong => 0xa,
        }
    }

    fn from_bits(bits: u8) -> Option<Self> {
        match bits {
            0x0 => Some(Self::Continuation),
            0x1 => Some(Self::Text),
            0x2 => Some(Self::Binary),
            0x8 => Some(Self::Close),
            0x9 => Some(Self::Ping),
            0xa => Some(Self::Pong),
            _ => None,
        }
    }

    fn is_control(self) -> bool {
        self.bits() & 0x8 != 0
    }
}

/// Close codes of RFC 6455, section 7.4.1.
pub mod close_code {
    /// The session is over.
    pub const NORMAL: u16 = 1000;
    /// This side goes away.
    pub const GOING_AWAY: u16 = 1001;
    /// The peer broke the protocol.
    pub const PROTOCOL_ERROR: u16 = 1002;
    /// The peer sent a type of data that is not taken.
    pub const UNSUPPORTED_DATA: u16 = 1003;
    /// A message or frame is too big.
    pub const TOO_BIG: u16 = 1009;
    /// This side failed.
    pub const INTERNAL_ERROR: u16 = 1011;
}

/// The peer broke the protocol; close with [`WsError::close_code`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WsError {
    /// What to put into the close frame.
    pub close_code: u16,
    /// What the peer did.
    pub reason: &'static str,
}

impl fmt::Display for WsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the peer broke the WebSocket protocol: {} ({})",
            self.reason, self.close_code
        )
    }
}

impl core::error::Error for WsError {}
