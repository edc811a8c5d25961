//! The monitor's side of one agent: the process and the channel to it.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use super::AGENT_COMMAND;
use super::bundle::Bundle;
use super::message::{MESSAGE_BYTES, Order, Report};
use crate::{logging, sys};

/// How long the agent may leave a full channel unread before it counts as hung.
const SEND_TIMEOUT: Duration = Duration::from_secs(5);

/// An agent.
#[derive(Debug)]
pub(super) struct Running {
    child: Child,
    channel: OwnedFd,
    /// Its side of the channel is closed; its end will be known by SIGCHLD.
    closed: bool,
    pub(super) since: Duration,
    /// It has said how it is.
    pub(super) up: bool,
}

/// What was heard.
#[derive(Debug)]
pub(super) enum Said {
    Nothing,
    Report(Report),
    /// No message of ours: the agent is broken or taken.
    Nonsense,
    /// It has closed its side: it has ended, or can no longer be reached.
    Gone,
}

impl Running {
    /// Executes this program anew. `Command` empties the child's signal mask and closes what is not its own.
    pub(super) fn start(now: Duration) -> io::Result<Self> {
        let (channel, theirs) = sys::channel()?;
        let child = Command::new("/proc/self/exe")
            .arg0("lenscap")
            .arg(AGENT_COMMAND)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::from(theirs))
            .spawn()?;
        Ok(Self {
            child,
            channel,
            closed: false,
            since: now,
            up: false,
        })
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What to wait on for messages.
    pub(super) fn channel(&self) -> Option<BorrowedFd<'_>> {
        (!self.closed).then(|| self.channel.as_fd())
    }

    /// Sends an order. An agent that does not take it is killed, and started again.
    pub(super) fn order(&mut self, order: &Order) {
        if let Err(error) = self.send(order, None) {
            self.give_up(&error);
        }
    }

    /// Hands over a socket of the system's log. Where nobody listens on it there is none, and the agent asks again.
    pub(super) fn hand_log(&mut self) {
        let Ok(socket) = logging::connect() else { return };
        let socket = std::fs::File::from(OwnedFd::from(socket));
        if let Err(error) = self.send(&Order::Log, Some(&socket)) {
            self.give_up(&error);
        }
    }

    /// Hands over what the agent does not have as it is now.
    pub(super) fn hand_files(&mut self, bundle: &mut Bundle) {
        let handed = bundle.hand_changed(|path, file| {
            let errno = match file {
                Ok(_) => 0,
                Err(number) => u32::try_from(number).unwrap_or(u32::MAX),
            };
            let path = path.display().to_string();
            self.send(&Order::File { path, errno }, file.ok())
        });
        if let Err(error) = handed {
            self.give_up(&error);
        }
    }

    fn give_up(&mut self, error: &io::Error) {
        // Its end may just not be known yet.
        if error.kind() != io::ErrorKind::BrokenPipe && error.kind() != io::ErrorKind::ConnectionReset {
            log::error!("the agent does not take orders ({error}); killing it");
            self.kill();
        }
    }

    fn send(&self, order: &Order, file: Option<&std::fs::File>) -> io::Result<()> {
        let Some(wire) = order.encode() else {
            log::error!("a path in the configuration is too long to be handed over");
            return Ok(());
        };
        loop {
            match sys::send(&self.channel, &wire, file) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if !sys::wait_writable(self.channel.as_fd(), SEND_TIMEOUT)? {
                        return Err(io::ErrorKind::TimedOut.into());
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }

    /// The next message.
    pub(super) fn listen(&mut self) -> Said {
        let mut bytes = [0; MESSAGE_BYTES];
        match sys::receive(&self.channel, &mut bytes, false) {
            // An empty message looks the same, and is none of ours either.
            Ok((0, _)) => {
                self.closed = true;
                Said::Gone
            }
            Ok((length, _)) => match bytes.get(..length).and_then(Report::decode) {
                Some(report) => Said::Report(report),
                None => Said::Nonsense,
            },
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Said::Nothing,
            Err(_) => {
                self.closed = true;
                Said::Gone
            }
        }
    }

    /// Ends it at once.
    pub(super) fn kill(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
    }

    /// The exit status, once it has ended.
    pub(super) fn exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Waits for the end of a killed process.
    pub(super) fn wait(&mut self) {
        let _ = self.child.wait();
    }
}

/// A process that is no agent, and the agent's end of its channel.
#[cfg(test)]
pub(super) fn stand_in(now: Duration) -> (Running, OwnedFd) {
    let (channel, theirs) = sys::channel().unwrap();
    let child = Command::new("sleep").arg("60").spawn().unwrap();
    let running = Running {
        child,
        channel,
        closed: false,
        since: now,
        up: false,
    };
    (running, theirs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn running() -> (Running, OwnedFd) {
        stand_in(Duration::ZERO)
    }

    #[test]
    fn an_agent_that_lives_on_without_its_channel_is_noticed() {
        let (mut agent, theirs) = running();
        assert!(matches!(agent.listen(), Said::Nothing));
        sys::send(&theirs, &Report::Reload.encode().unwrap(), None).unwrap();
        assert!(matches!(agent.listen(), Said::Report(Report::Reload)));
        sys::send(&theirs, b"", None).unwrap();
        assert!(matches!(agent.listen(), Said::Gone) && agent.channel().is_none());
        agent.kill();
        agent.wait();
        let (mut agent, theirs) = running();
        drop(theirs);
        // A process that another test starts at this moment may hold it until it executes its program.
        let limit = Some(Duration::from_secs(10));
        assert_eq!(sys::wait_readable([agent.channel()], limit).unwrap(), [true]);
        assert!(matches!(agent.listen(), Said::Gone));
        agent.kill();
        agent.wait();
    }
}
