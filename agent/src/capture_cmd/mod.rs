//! `lenscap capture`: the headers of packets into a pcap file, for a bounded time. What the packets carry is left out.
//!
//! It is a command for someone who is logged in as root and has switched it on; nothing that comes over an uplink
//! leads here.

mod headers;

use core::time::Duration;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use crate::cli::{EXIT_CONFIG, EXIT_FAILURE, EXIT_OK, EXIT_USAGE};
use crate::sys::{self, Packet, Packets, Signal, Signals};
use crate::{config, files};

/// The longest capture.
pub const MAX_SECONDS: u32 = 3600;
/// The largest file, in bytes.
pub const MAX_FILE_BYTES: u32 = 64 * 1024 * 1024;
/// The most of one packet: no header is longer, but for chains of extensions.
pub const MAX_SNAPLEN: u32 = 256;
/// Packets that are written together.
const BATCH: usize = 128;
/// Linux cooked capture: `LINKTYPE_LINUX_SLL`.
const LINK_TYPE: u32 = 113;
const LINK_BYTES: usize = 16;
const FILE_HEADER_BYTES: u32 = 24;
/// What a pipe takes at once if it takes anything (pipe(7): `PIPE_BUF`).
const PIECE_BYTES: usize = 4096;
/// The one file that is written though it is there.
const STDOUT: &str = "/dev/stdout";

/// What is asked for.
#[derive(Debug)]
pub struct Request {
    /// The interface; `None`: all.
    pub interface: Option<String>,
    /// How long.
    pub seconds: u32,
    /// How large the file may become.
    pub bytes: u32,
    /// How much of a packet at most.
    pub snaplen: u32,
    /// The file, which must not be there yet; `/dev/stdout` is standard output.
    pub file: PathBuf,
    /// The configuration.
    pub config: PathBuf,
}

/// Does it. Gives the exit status.
#[must_use]
pub fn run(request: &Request) -> u8 {
    match try_run(request) {
        Ok(summary) => {
            let _ = writeln!(io::stderr(), "lenscap: {summary}");
            EXIT_OK
        }
        Err((why, status)) => {
            let _ = writeln!(io::stderr(), "lenscap: {why}");
            status
        }
    }
}

fn try_run(request: &Request) -> Result<String, (String, u8)> {
    let failed = |what: &str, error: &io::Error| (format!("{what}: {error}"), EXIT_FAILURE);
    for (name, value, most) in [
        ("seconds", request.seconds, MAX_SECONDS),
        ("bytes", request.bytes, MAX_FILE_BYTES),
        ("snaplen", request.snaplen, MAX_SNAPLEN),
    ] {
        if value == 0 || value > most {
            return Err((format!("--{name} is 1 to {most}"), EXIT_USAGE));
        }
    }
    let agent = config::load_agent(&request.config).map_err(|errors| (errors.to_string(), EXIT_CONFIG))?;
    if !agent.capture {
        let path = request.config.display();
        let why =
            format!("capture is switched off: `option capture '1'` in `config agent` of {path} allows it");
        return Err((why, EXIT_FAILURE));
    }
    let interface = request.interface.as_deref();
    let packets = Packets::new(interface).map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied => ("capture needs root".into(), EXIT_FAILURE),
        io::ErrorKind::NotFound => {
            let name = interface.unwrap_or_default();
            (
                format!("there is no interface `{name}`; /proc/net/dev lists them"),
                EXIT_FAILURE,
            )
        }
        _ => failed("packets", &error),
    })?;
    let signals = Signals::new().map_err(|error| failed("signals", &error))?;
    let mut out = open(&request.file).map_err(|error| failed(&request.file.display().to_string(), &error))?;
    let started = sys::monotonic();
    let (count, bytes) = Capture {
        request,
        packets: &packets,
        signals,
    }
    .copy(&mut out)
    .map_err(|error| failed("capture", &error))?;
    let lost = match packets.dropped() {
        0 => String::new(),
        lost => format!("; {lost} passed too fast"),
    };
    let seconds = sys::monotonic().saturating_sub(started).as_secs();
    Ok(format!("{count} packets, {bytes} bytes, {seconds} s{lost}"))
}

/// A file for its owner alone; one that is there already may be a link to another.
fn open(path: &Path) -> io::Result<File> {
    if path == Path::new(STDOUT) {
        // Without the buffer of the library, which would wait for a reader at the program's end.
        return io::stdout().as_fd().try_clone_to_owned().map(File::from);
    }
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

struct Capture<'a> {
    request: &'a Request,
    packets: &'a Packets,
    signals: Signals,
}

impl Capture<'_> {
    /// Until the time, the room or the patience of whoever waits is over. Gives packets and bytes.
    fn copy(mut self, out: &mut File) -> io::Result<(u64, u32)> {
        let end = sys::monotonic() + Duration::from_secs(self.request.seconds.into());
        let (mut count, mut bytes) = (0, FILE_HEADER_BYTES);
        if !self.write(out, &file_header(self.request.snaplen), end)? {
            return Ok((0, 0));
        }
        loop {
            let left = end.saturating_sub(sys::monotonic());
            if left.is_zero() {
                return Ok((count, bytes));
            }
            let fds = [Some(self.packets.as_fd()), Some(self.signals.as_fd())];
            sys::wait_readable(fds, Some(left))?;
            if self.is_ended()? {
                return Ok((count, bytes));
            }
            let (mut batch, mut packets) = (Vec::new(), 0);
            let mut is_full = false;
            for _ in 0..BATCH {
                let mut buffer = [0; MAX_SNAPLEN as usize];
                let packet = match self.packets.receive(&mut buffer) {
                    Ok(packet) => packet,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    // The interface went down; it may come up again.
                    Err(error) if files::errno(&error) == nix::libc::ENETDOWN => break,
                    Err(error) => return Err(error),
                };
                let read = buffer.get(..packet.read).unwrap_or_default();
                let record = record(&packet, read, self.request.snaplen as usize, sys::since_1970());
                let room = self.request.bytes.saturating_sub(bytes) as usize;
                if batch.len() + record.len() > room {
                    is_full = true;
                    break;
                }
                batch.extend(record);
                packets += 1;
            }
            let is_written = self.write(out, &batch, end)?;
            if is_written {
                count += packets;
                bytes += u32::try_from(batch.len()).unwrap_or(u32::MAX);
            }
            if is_full || !is_written {
                return Ok((count, bytes));
            }
        }
    }

    /// Writes all of it, as fast as it is taken. False: it was not taken until the time or the patience was over.
    fn write(&mut self, out: &mut File, mut bytes: &[u8], end: Duration) -> io::Result<bool> {
        while !bytes.is_empty() {
            let left = end.saturating_sub(sys::monotonic());
            let [is_signalled, is_writable] = sys::wait_either(self.signals.as_fd(), out.as_fd(), left)?;
            if !is_writable {
                if left.is_zero() || is_signalled && self.is_ended()? {
                    return Ok(false);
                }
                continue;
            }
            let piece = bytes.get(..PIECE_BYTES).unwrap_or(bytes);
            match out.write(piece) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                    ) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    fn is_ended(&mut self) -> io::Result<bool> {
        while let Some(signal) = self.signals.poll()? {
            if signal == Signal::Terminate {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// The head of a pcap file, in network order.
fn file_header(snaplen: u32) -> Vec<u8> {
    let mut header = Vec::new();
    // The magic, version 2.4, no time zone, no accuracy.
    for word in [
        0xa1b2_c3d4,
        0x0002_0004,
        0,
        0,
        snaplen + LINK_BYTES as u32,
        LINK_TYPE,
    ] {
        header.extend(u32::to_be_bytes(word));
    }
    header
}

/// One packet of the file: its time and lengths, the cooked link header, and its headers.
fn record(packet: &Packet, read: &[u8], snaplen: usize, time: Duration) -> Vec<u8> {
    let kind = headers::begins_with(packet.protocol, read);
    let kept = headers::header_bytes(kind, read).min(snaplen);
    let mut record = Vec::new();
    for word in [
        time.as_secs(),
        time.subsec_micros().into(),
        (LINK_BYTES + kept) as u64,
        (LINK_BYTES + packet.length) as u64,
    ] {
        record.extend(u32::try_from(word).unwrap_or(u32::MAX).to_be_bytes());
    }
    let (address, length) = packet.address;
    for half in [packet.kind.into(), packet.hardware, length.into()] {
        record.extend(half.to_be_bytes());
    }
    record.extend(address);
    record.extend(kind.to_be_bytes());
    record.extend(read.get(..kept).unwrap_or_default());
    record
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_has_both_lengths_and_no_payload() {
        let mut read = [0xEE; 64];
        read[..20].copy_from_slice(&[
            0x45, 0, 5, 220, 0, 0, 0, 0, 64, 17, 0, 0, 192, 168, 1, 20, 203, 0, 113, 7,
        ]);
        let packet = Packet {
            read: 64,
            length: 1500,
            kind: 4,
            hardware: 1,
            address: ([1, 2, 3, 4, 5, 6, 0, 0], 6),
            protocol: 0x0800,
        };
        let time = Duration::new(1_700_000_000, 5_000_000);
        let record = record(&packet, &read, 256, time);
        assert_eq!(record.len(), 16 + 16 + 28);
        assert_eq!(record[4..16], [0, 0, 0x13, 0x88, 0, 0, 0, 44, 0, 0, 5, 236]);
        assert_eq!(record[16..32], [0, 4, 0, 1, 0, 6, 1, 2, 3, 4, 5, 6, 0, 0, 8, 0]);
        assert_eq!(super::record(&packet, &read, 20, time).len(), 16 + 16 + 20);
        assert_eq!(file_header(128).len() as u32, FILE_HEADER_BYTES);
    }
}
