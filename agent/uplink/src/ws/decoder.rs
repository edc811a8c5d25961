//! The incremental frame decoder.

use super::{MAX_CONTROL_PAYLOAD, MAX_HEADER, Opcode, Role, WsError, apply_mask, close_code};

/// Bounds of a decoder.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most payload of one frame, in bytes. Payload is never gathered, so this bounds time, not memory.
    pub max_frame: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_frame: 16 << 20 }
    }
}

/// What the received bytes hold.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A piece of a binary message, unmasked. Boundaries mean nothing.
    Data(&'a [u8]),
    /// Answer with a pong of the same payload.
    Ping(&'a [u8]),
    /// A pong.
    Pong(&'a [u8]),
    /// The peer closes; nothing is taken after it. `None` when it gave no code.
    Close {
        /// The peer's code.
        code: Option<u16>,
    },
}

/// Decodes frames from pieces of any size.
#[derive(Debug)]
pub struct Decoder {
    role: Role,
    limits: Limits,
    state: State,
    in_message: bool,
    control: [u8; MAX_CONTROL_PAYLOAD],
}

#[derive(Debug, Clone, Copy)]
enum State {
    Header {
        bytes: [u8; MAX_HEADER],
        len: usize,
    },
    Payload {
        opcode: Opcode,
        mask: Option<[u8; 4]>,
        done: u64,
        len: u64,
    },
    Closed,
    Failed(WsError),
}

struct Header {
    opcode: Opcode,
    fin: bool,
    len: u64,
    mask: Option<[u8; 4]>,
}

const START: State = State::Header {
    bytes: [0; MAX_HEADER],
    len: 0,
};

fn protocol(reason: &'static str) -> WsError {
    WsError {
        close_code: close_code::PROTOCOL_ERROR,
        reason,
    }
}

impl Decoder {
    /// A decoder for what the peer of `role` sends.
    pub fn new(role: Role, limits: Limits) -> Self {
        Self {
            role,
            limits,
            state: START,
            in_message: false,
            control: [0; MAX_CONTROL_PAYLOAD],
        }
    }

    /// Whether the peer's close frame has arrived.
    pub fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    /// Takes received bytes, which are unmasked in place, and reports what they hold. After an error every further
    /// call gives the same error; after a close frame, input is ignored.
    pub fn handle_input(&mut self, bytes: &mut [u8], on: &mut dyn FnMut(Event<'_>)) -> Result<(), WsError> {
        let mut rest = bytes;
        loop {
            match self.state {
                State::Closed => return Ok(()),
                State::Failed(error) => return Err(error),
                State::Header { .. } => {
                    let taken = self
                        .take_header(rest)
                        .inspect_err(|error| self.state = State::Failed(*error))?;
                    rest = rest.split_at_mut(taken).1;
                    if matches!(self.state, State::Header { .. }) {
                        return Ok(());
                    }
                }
                State::Payload {
                    opcode,
                    mask,
                    done,
                    len,
                } => {
                    let want = usize::try_from(len - done).unwrap_or(usize::MAX);
                    if want > 0 && rest.is_empty() {
                        return Ok(());
                    }
                    let (piece, after) = rest.split_at_mut(want.min(rest.len()));
                    rest = after;
                    if let Some(mask) = mask {
                        apply_mask(piece, mask, (done % 4) as usize);
                    }
                    let now_done = done + piece.len() as u64;
                    self.state = State::Payload {
                        opcode,
                        mask,
                        done: now_done,
                        len,
                    };
                    self.take_payload(opcode, piece, done as usize, now_done == len, on)
                        .inspect_err(|error| self.state = State::Failed(*error))?;
                }
            }
        }
    }

    /// Moves bytes into the header until it is whole; returns how many were taken.
    fn take_header(&mut self, input: &[u8]) -> Result<usize, WsError> {
        let State::Header { mut bytes, mut len } = self.state else {
            return Ok(0);
        };
        let mut taken = 0;
        for byte in input {
            if let Some(place) = bytes.get_mut(len) {
                *place = *byte;
            }
            len += 1;
            taken += 1;
            if let Some(header) = self.parse_header(bytes.get(..len).unwrap_or(&[]))? {
                self.accept(&header)?;
                return Ok(taken);
            }
        }
        self.state = State::Header { bytes, len };
        Ok(taken)
    }

    /// `None` while more bytes are needed. What the first two bytes can betray is judged at once.
    fn parse_header(&self, bytes: &[u8]) -> Result<Option<Header>, WsError> {
        let &[first, second, ref rest @ ..] = bytes else {
            return Ok(None);
        };
        if first & 0x70 != 0 {
            return Err(protocol("a reserved bit is set, but no extension was agreed"));
        }
        let Some(opcode) = Opcode::from_bits(first & 0x0f) else {
            return Err(protocol("unknown opcode"));
        };
        let masked = second & 0x80 != 0;
        match (self.role, masked) {
            (Role::Server, false) => return Err(protocol("a client must mask its frames")),
            (Role::Client, true) => return Err(protocol("a server must not mask its frames")),
            _ => {}
        }
        let short = second & 0x7f;
        if opcode.is_control() && (first & 0x80 == 0 || usize::from(short) > MAX_CONTROL_PAYLOAD) {
            return Err(protocol("a control frame is fragmented or longer than 125 bytes"));
        }
        let extended = match short {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let Some((long, mask)) = rest.split_at_checked(extended) else {
            return Ok(None);
        };
        let len = match extended {
            0 => u64::from(short),
            _ => long.iter().fold(0, |len, byte| (len << 8) | u64::from(*byte)),
        };
        let mask = match (masked, <[u8; 4]>::try_from(mask)) {
            (false, _) => None,
            (true, Ok(mask)) => Some(mask),
            (true, Err(_)) => return Ok(None),
        };
        check_length(extended, len)?;
        Ok(Some(Header {
            opcode,
            fin: first & 0x80 != 0,
            len,
            mask,
        }))
    }

    fn accept(&mut self, header: &Header) -> Result<(), WsError> {
        match header.opcode {
            Opcode::Text => {
                return Err(WsError {
                    close_code: close_code::UNSUPPORTED_DATA,
                    reason: "text messages are not taken",
                });
            }
            Opcode::Continuation if !self.in_message => {
                return Err(protocol("a continuation frame without a message"));
            }
            Opcode::Binary if self.in_message => {
                return Err(protocol("a new message inside a fragmented one"));
            }
            Opcode::Continuation | Opcode::Binary => self.in_message = !header.fin,
            Opcode::Close if header.len == 1 => return Err(protocol("a close frame of one byte")),
            Opcode::Close | Opcode::Ping | Opcode::Pong => {}
        }
        if header.len > self.limits.max_frame {
            return Err(WsError {
                close_code: close_code::TOO_BIG,
                reason: "a frame is too long",
            });
        }
        self.state = State::Payload {
            opcode: header.opcode,
            mask: header.mask,
            done: 0,
            len: header.len,
        };
        Ok(())
    }

    fn take_payload(
        &mut self,
        opcode: Opcode,
        piece: &[u8],
        at: usize,
        complete: bool,
        on: &mut dyn FnMut(Event<'_>),
    ) -> Result<(), WsError> {
        if complete {
            self.state = START;
        }
        if !opcode.is_control() {
            if !piece.is_empty() {
                on(Event::Data(piece));
            }
            return Ok(());
        }
        if let Some(place) = self.control.get_mut(at..at + piece.len()) {
            place.copy_from_slice(piece);
        }
        if !complete {
            return Ok(());
        }
        let payload = self.control.get(..at + piece.len()).unwrap_or(&[]);
        match opcode {
            Opcode::Ping => on(Event::Ping(payload)),
            Opcode::Pong => on(Event::Pong(payload)),
            Opcode::Close => {
                let code = close_code_of(payload)?;
                self.state = State::Closed;
                on(Event::Close { code });
            }
            Opcode::Continuation | Opcode::Text | Opcode::Binary => {}
        }
        Ok(())
    }
}

/// RFC 6455, section 5.2: the shortest form, and no top bit in the 64-bit one.
fn check_length(extended: usize, len: u64) -> Result<(), WsError> {
    match extended {
        2 if len < 126 => Err(protocol("a length in a longer form than needed")),
        8 if len >> 63 != 0 => Err(protocol("a 64-bit length with its top bit set")),
        8 if len <= 0xffff => Err(protocol("a length in a longer form than needed")),
        _ => Ok(()),
    }
}

/// RFC 6455, section 7.4: which codes may be on the wire; the reason must be UTF-8.
fn close_code_of(payload: &[u8]) -> Result<Option<u16>, WsError> {
    let &[high, low, ref reason @ ..] = payload else {
        return Ok(None);
    };
    let code = u16::from_be_bytes([high, low]);
    if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return Err(protocol("a close code that must not be sent"));
    }
    if core::str::from_utf8(reason).is_err() {
        return Err(WsError {
            close_code: 1007,
            reason: "a close reason that is not UTF-8",
        });
    }
    Ok(Some(code))
}
