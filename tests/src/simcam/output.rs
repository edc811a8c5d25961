//! What waits for a client's socket: replies and interleaved frames, with a count of every moment
//! the socket would have blocked.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Write};

/// Bytes that may wait; media frames beyond are dropped whole.
const MAX_QUEUED: usize = 4 << 20;

/// Counters of one connection's output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutputCounters {
    /// Writes that found the socket full (`EAGAIN`, or a short write).
    pub eagain: u64,
    /// Media frames dropped whole because too much was waiting.
    pub dropped: u64,
    /// Media frames cut in the middle by the quirk.
    pub torn: u64,
}

/// Ordered output of one connection.
#[derive(Debug, Default)]
pub struct Output {
    queue: VecDeque<Vec<u8>>,
    queued: usize,
    written_of_front: usize,
    corrupting: bool,
    /// Counters.
    pub counters: OutputCounters,
}

impl Output {
    /// `corrupting`: when the socket blocks in mid-frame, the rest of the frame is dropped.
    pub fn new(corrupting: bool) -> Self {
        Self {
            corrupting,
            ..Self::default()
        }
    }

    /// Whether bytes wait for the socket.
    pub fn is_blocked(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Sends a reply; it is never dropped.
    pub fn send_reply(&mut self, socket: &mut impl Write, bytes: Vec<u8>) -> io::Result<()> {
        self.push(bytes);
        self.flush(socket)
    }

    /// Sends a media frame; `false` when it was dropped, whole or in part.
    pub fn send_media(&mut self, socket: &mut impl Write, frame: Vec<u8>) -> io::Result<bool> {
        if self.corrupting {
            return self.send_or_tear(socket, &frame);
        }
        if self.queued + frame.len() > MAX_QUEUED {
            self.counters.dropped += 1;
            return Ok(false);
        }
        let was_blocked = self.is_blocked();
        self.push(frame);
        if !was_blocked {
            self.flush(socket)?;
        }
        Ok(true)
    }

    /// Writes what waits, as far as the socket takes it.
    pub fn flush(&mut self, socket: &mut impl Write) -> io::Result<()> {
        while let Some(front) = self.queue.front() {
            let rest = front.get(self.written_of_front..).unwrap_or_default();
            match write_some(socket, rest)? {
                n if n == rest.len() => {
                    self.queued -= front.len();
                    self.queue.pop_front();
                    self.written_of_front = 0;
                }
                0 => {
                    self.counters.eagain += 1;
                    return Ok(());
                }
                n => self.written_of_front += n,
            }
        }
        Ok(())
    }

    fn push(&mut self, bytes: Vec<u8>) {
        self.queued += bytes.len();
        self.queue.push_back(bytes);
    }

    fn send_or_tear(&mut self, socket: &mut impl Write, frame: &[u8]) -> io::Result<bool> {
        self.flush(socket)?;
        if self.is_blocked() {
            self.counters.dropped += 1;
            return Ok(false);
        }
        let n = write_some(socket, frame)?;
        if n == frame.len() {
            return Ok(true);
        }
        self.counters.eagain += 1;
        if n == 0 {
            self.counters.dropped += 1;
        } else {
            self.counters.torn += 1;
        }
        Ok(false)
    }
}

fn write_some(socket: &mut impl Write, bytes: &[u8]) -> io::Result<usize> {
    loop {
        match socket.write(bytes) {
            Ok(0) if !bytes.is_empty() => return Err(ErrorKind::WriteZero.into()),
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(0),
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes as many bytes as it has room for.
    struct Socket {
        room: usize,
        got: Vec<u8>,
    }

    impl Write for Socket {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let n = bytes.len().min(self.room);
            if n == 0 && !bytes.is_empty() {
                return Err(ErrorKind::WouldBlock.into());
            }
            self.room -= n;
            self.got.extend_from_slice(&bytes[..n]);
            Ok(n)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_blocked_socket_is_counted_and_nothing_is_lost() {
        let mut socket = Socket {
            room: 6,
            got: Vec::new(),
        };
        let mut output = Output::new(false);
        assert!(output.send_media(&mut socket, b"abcd".to_vec()).unwrap());
        assert_eq!(output.counters.eagain, 0);
        assert!(output.send_media(&mut socket, b"efgh".to_vec()).unwrap());
        assert_eq!(output.counters.eagain, 1);
        assert!(output.is_blocked());
        socket.room = 100;
        output.send_reply(&mut socket, b"ij".to_vec()).unwrap();
        assert_eq!(socket.got, b"abcdefghij");
        assert!(!output.is_blocked());
        assert_eq!(output.queued, 0);
    }

    #[test]
    fn the_quirk_tears_frames_and_goes_on() {
        let mut socket = Socket {
            room: 6,
            got: Vec::new(),
        };
        let mut output = Output::new(true);
        assert!(output.send_media(&mut socket, b"abcd".to_vec()).unwrap());
        assert!(!output.send_media(&mut socket, b"efgh".to_vec()).unwrap());
        assert!(!output.send_media(&mut socket, b"ijkl".to_vec()).unwrap());
        socket.room = 100;
        assert!(output.send_media(&mut socket, b"mnop".to_vec()).unwrap());
        assert_eq!(socket.got, b"abcdefmnop");
        let counters = output.counters;
        assert_eq!((counters.eagain, counters.torn, counters.dropped), (2, 1, 1));
    }
}
