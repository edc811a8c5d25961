//! `delayline`: a link between two network namespaces with a delay, a loss and a rate, in user
//! space, for kernels without netem. Two TUN devices, IP packets carried between them by one
//! thread; a timerfd gives the time at which a packet arrives.
//!
//! It prints one JSON line when the link stands and one with its statistics when it ends.

mod line;
mod sniff;
mod tun;

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Parser;
use lenscap_tests::netns::Namespace;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use serde_json::json;

use line::{Line, LineConfig};

/// Packets read from one device before the other gets its turn and due packets are sent.
const READ_BATCH: usize = 64;
const MAX_PACKET_BYTES: usize = 65_536;

/// A link with delay, loss and rate between two network namespaces.
#[derive(Parser)]
struct Args {
    /// Create both namespaces, with CUBIC and large windows, and delete them at the end.
    #[arg(long)]
    setup: bool,
    /// First namespace.
    #[arg(long)]
    a: String,
    /// Second namespace.
    #[arg(long)]
    b: String,
    /// Name of the TUN device in both.
    #[arg(long, default_value = "dl0")]
    dev: String,
    /// Address of the first end.
    #[arg(long, default_value = "10.77.0.1/30")]
    addr_a: String,
    /// Address of the second end.
    #[arg(long, default_value = "10.77.0.2/30")]
    addr_b: String,
    /// Largest packet, bytes.
    #[arg(long, default_value_t = 1500)]
    mtu: u16,
    /// Delay each way, milliseconds; fractions are allowed.
    #[arg(long, default_value_t = 0.0)]
    delay_ms: f64,
    /// Probability of losing a packet, 0 to 1, each way.
    #[arg(long, default_value_t = 0.0)]
    loss: f64,
    /// Bits per second each way, as 800k, 50M or 1G; without it the link has no rate.
    #[arg(long, value_parser = parse_rate)]
    rate: Option<u64>,
    /// Queue before the rate, in milliseconds of it; a longer one is cut at its tail.
    #[arg(long, default_value_t = 100)]
    queue_ms: u64,
    /// Queue before the rate in bytes, instead of milliseconds.
    #[arg(long)]
    queue_bytes: Option<u64>,
    /// Seed of the losses.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// End when standard input ends, so that the link goes with the program that started it.
    #[arg(long)]
    until_eof: bool,
}

fn main() -> Result<()> {
    let args = Args::parse();
    if !(0.0..=1.0).contains(&args.loss) || !(0.0..=60_000.0).contains(&args.delay_ms) {
        bail!("--loss is a probability from 0 to 1 and --delay-ms at most a minute");
    }
    // Blocked before anything exists, so that an early signal still removes the namespaces.
    let signals = block_signals()?;
    let take = if args.setup {
        Namespace::create
    } else {
        Namespace::existing
    };
    let (a, b) = (take(&args.a)?, take(&args.b)?);
    if args.setup {
        a.tune_tcp()?;
        b.tune_tcp()?;
    }
    let mut link = Link::open(&args, &a, &b)?;
    let ready =
        json!({"event": "ready", "a": args.a, "b": args.b, "addr_a": args.addr_a, "addr_b": args.addr_b});
    emit(&ready)?;
    link.run(&signals, args.until_eof)?;
    emit(&link.stats(&args, &a, &b)?)
}

fn emit(value: &serde_json::Value) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{value}")?;
    Ok(out.flush()?)
}

fn block_signals() -> Result<SignalFd> {
    let mut set = SigSet::empty();
    set.add(Signal::SIGTERM);
    set.add(Signal::SIGINT);
    set.thread_block()?;
    Ok(SignalFd::with_flags(
        &set,
        SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC,
    )?)
}

/// `800k`, `50M`, `1G` or plain bits per second.
fn parse_rate(text: &str) -> Result<u64, String> {
    let (digits, unit) = match text.char_indices().last() {
        Some((at, 'k' | 'K')) => (&text[..at], 1_000),
        Some((at, 'M')) => (&text[..at], 1_000_000),
        Some((at, 'G')) => (&text[..at], 1_000_000_000),
        _ => (text, 1),
    };
    let number: f64 = digits
        .parse()
        .map_err(|_| format!("'{text}' is no rate such as 50M"))?;
    let rate = number * f64::from(unit);
    if !(1_000.0..=1e11).contains(&rate) {
        return Err(format!("'{text}' is not between 1k and 100G"));
    }
    Ok(rate as u64)
}

/// Both directions and what drives them.
struct Link {
    devices: [File; 2],
    /// `lines[n]` carries what `devices[n]` sent to the other one.
    lines: [Line; 2],
    timer: TimerFd,
    armed_ns: Option<u64>,
    start: Instant,
    write_errors: u64,
}

impl Link {
    fn open(args: &Args, a: &Namespace, b: &Namespace) -> Result<Self> {
        let queue_of_rate = args.rate.map_or(0, |rate| rate / 8 * args.queue_ms / 1000);
        let line = |direction: u64| {
            Line::new(LineConfig {
                delay_ns: (args.delay_ms * 1e6) as u64,
                loss: args.loss,
                rate_bps: args.rate,
                queue_bytes: args.queue_bytes.unwrap_or(queue_of_rate),
                seed: args.seed.wrapping_mul(2).wrapping_add(direction),
            })
        };
        Ok(Self {
            devices: [
                tun::open(a, &args.dev, &args.addr_a, args.mtu)?,
                tun::open(b, &args.dev, &args.addr_b, args.mtu)?,
            ],
            lines: [line(0), line(1)],
            timer: TimerFd::new(
                ClockId::CLOCK_MONOTONIC,
                TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC,
            )?,
            armed_ns: None,
            start: Instant::now(),
            write_errors: 0,
        })
    }

    fn now_ns(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn run(&mut self, signals: &SignalFd, until_eof: bool) -> Result<()> {
        let stdin = std::io::stdin();
        loop {
            self.deliver();
            let more = self.take()?;
            self.deliver();
            self.arm()?;
            let timeout = if more {
                PollTimeout::ZERO
            } else {
                PollTimeout::NONE
            };
            let mut fds = vec![
                PollFd::new(signals.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.devices[0].as_fd(), PollFlags::POLLIN),
                PollFd::new(self.devices[1].as_fd(), PollFlags::POLLIN),
                PollFd::new(self.timer.as_fd(), PollFlags::POLLIN),
            ];
            if until_eof {
                fds.push(PollFd::new(stdin.as_fd(), PollFlags::POLLIN));
            }
            match poll(&mut fds, timeout) {
                Ok(_) => {}
                Err(nix::errno::Errno::EINTR) => continue,
                Err(error) => return Err(error).context("waiting for packets"),
            }
            let ready = |at: usize| fds.get(at).and_then(PollFd::any).unwrap_or(false);
            let (signalled, timed, input) = (ready(0), ready(3), ready(4));
            if signalled {
                return Ok(());
            }
            if timed {
                self.armed_ns = None;
            }
            if input && stdin.lock().read(&mut [0; 256])? == 0 {
                return Ok(());
            }
        }
    }

    /// Reads what the devices sent, a batch each; true if there may be more.
    fn take(&mut self) -> Result<bool> {
        let mut buffer = [0; MAX_PACKET_BYTES];
        let mut more = false;
        for side in 0..2 {
            let mut left = READ_BATCH;
            while left > 0 {
                match self.devices[side].read(&mut buffer) {
                    Ok(len) => {
                        let now_ns = self.now_ns();
                        self.lines[side].handle_packet(now_ns, &buffer[..len]);
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error).context("reading from a TUN device"),
                }
                left -= 1;
            }
            more |= left == 0;
        }
        Ok(more)
    }

    fn deliver(&mut self) {
        for side in 0..2 {
            let now_ns = self.now_ns();
            while let Some(packet) = self.lines[side].poll_packet(now_ns) {
                if self.devices[1 - side].write_all(&packet).is_err() {
                    self.write_errors += 1;
                }
                self.lines[side].recycle(packet);
            }
        }
    }

    /// Sets the timer to the next arrival, unless it is set to that already.
    fn arm(&mut self) -> Result<()> {
        let next = self.lines.iter().filter_map(Line::poll_timeout).min();
        if next == self.armed_ns {
            return Ok(());
        }
        match next {
            None => self.timer.unset()?,
            Some(due_ns) => {
                // Zero would switch the timer off.
                let wait = Duration::from_nanos(due_ns.saturating_sub(self.now_ns()).max(1));
                let wait = Expiration::OneShot(TimeSpec::from_duration(wait));
                self.timer.set(wait, TimerSetTimeFlags::empty())?;
            }
        }
        self.armed_ns = next;
        Ok(())
    }

    fn stats(&self, args: &Args, a: &Namespace, b: &Namespace) -> Result<serde_json::Value> {
        Ok(json!({
            "event": "stats",
            "seconds": self.start.elapsed().as_secs_f64(),
            "a_to_b": self.lines[0].stats(),
            "b_to_a": self.lines[1].stats(),
            "write_errors": self.write_errors,
            "kernel_dropped_a": kernel_drops(a, &args.dev)?,
            "kernel_dropped_b": kernel_drops(b, &args.dev)?,
        }))
    }
}

/// Packets the kernel dropped because this program did not read them in time: these are not part
/// of the link that was asked for, so they must be 0 for a measurement to count.
fn kernel_drops(namespace: &Namespace, dev: &str) -> Result<u64> {
    let table = namespace.run(|| Ok(std::fs::read_to_string("/proc/thread-self/net/dev")?))?;
    let fields = table
        .lines()
        .find_map(|line| line.trim_start().strip_prefix(dev)?.strip_prefix(':'))
        .with_context(|| format!("{dev} is gone"))?;
    // Eight receive columns, then bytes, packets, errors, drops sent.
    let dropped = fields
        .split_whitespace()
        .nth(11)
        .context("short line in net/dev")?;
    Ok(dropped.parse()?)
}

#[cfg(test)]
mod tests {
    use super::parse_rate;

    #[test]
    fn rates_have_units() {
        assert_eq!(parse_rate("800k"), Ok(800_000));
        assert_eq!(parse_rate("2.5M"), Ok(2_500_000));
        assert_eq!(parse_rate("1G"), Ok(1_000_000_000));
        assert_eq!(parse_rate("64000"), Ok(64_000));
        assert!(parse_rate("fast").is_err());
        assert!(parse_rate("0").is_err());
    }
}
