//! Sockets registered with the one poller, and their readiness.
//!
//! An event only sets bits in the readiness cell of the socket it belongs to; nothing is done with it here.
//! mio is edge-triggered, so a bit stays set until an operation says `WouldBlock` (or, for a stream, returns
//! less than was asked for while the peer has not closed): work that was skipped is found again by its bit.

use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice, Read, Write};
use std::net::SocketAddr;
use std::rc::Rc;

use lenscap_uplink::table::Table;
use mio::event::{Event, Source};
use mio::net::{TcpStream, UdpSocket};
use mio::{Interest, Registry, Token};

/// Sockets registered at one time. No usual load comes near it, but the other bounds allow more: 16 sessions with
/// 8 pairs of UDP ports each are 272 sockets with their connections. What comes last then fails, as without descriptors.
pub(super) const MAX_SOCKETS: usize = 256;

/// Token of the signal descriptor.
pub(super) const SIGNALS: Token = Token(0);
/// Token of the waker behind [`super::Handle`].
pub(super) const WAKER: Token = Token(1);
/// Token of the channel to the monitor.
pub(super) const MONITOR: Token = Token(2);
const FIRST: usize = 3;

const READABLE: u8 = 1;
const WRITABLE: u8 = 2;
const READ_CLOSED: u8 = 4;

/// The poller's registry together with the readiness of every socket in it.
#[derive(Debug)]
pub(super) struct Net {
    registry: Registry,
    sockets: RefCell<Table<usize, Rc<Cell<u8>>>>,
    next: Cell<usize>,
}

impl Net {
    pub(super) fn new(registry: Registry) -> Rc<Self> {
        Rc::new(Self {
            registry,
            sockets: RefCell::new(Table::new()),
            next: Cell::new(FIRST),
        })
    }

    /// Records what an event says. Tokens are never used twice, so a late event of a closed socket finds nothing.
    pub(super) fn handle_event(&self, event: &Event) {
        let sockets = self.sockets.borrow();
        let Some(ready) = sockets.get(&event.token().0) else {
            return;
        };
        let mut bits = ready.get();
        if event.is_readable() {
            bits |= READABLE;
        }
        if event.is_writable() {
            bits |= WRITABLE;
        }
        if event.is_read_closed() || event.is_error() {
            bits |= READABLE | READ_CLOSED;
        }
        ready.set(bits);
    }

    /// Registers `io` for reading and writing.
    pub(super) fn add<S: Source>(self: &Rc<Self>, mut io: S) -> io::Result<Sock<S>> {
        let mut sockets = self.sockets.borrow_mut();
        if sockets.len() >= MAX_SOCKETS {
            return Err(io::Error::other("too many sockets"));
        }
        let id = self.next.get();
        self.next.set(id.checked_add(1).unwrap_or(FIRST));
        self.registry
            .register(&mut io, Token(id), Interest::READABLE | Interest::WRITABLE)?;
        let ready = Rc::new(Cell::new(0));
        sockets.insert(id, Rc::clone(&ready));
        Ok(Sock {
            io,
            id,
            ready,
            net: Rc::clone(self),
        })
    }

    /// Starts a TCP connection; it is established once [`Sock::poll_connected`] says so.
    pub(super) fn connect(self: &Rc<Self>, to: SocketAddr) -> io::Result<Sock<TcpStream>> {
        self.add(TcpStream::connect(to)?)
    }
}

/// A registered socket; dropping it takes it out of the poller and closes it.
#[derive(Debug)]
pub(super) struct Sock<S: Source> {
    io: S,
    id: usize,
    ready: Rc<Cell<u8>>,
    net: Rc<Net>,
}

impl<S: Source> Drop for Sock<S> {
    fn drop(&mut self) {
        self.net.sockets.borrow_mut().remove(&self.id);
        // Closing the descriptor takes it out of the poller as well, should this fail.
        let _ = self.net.registry.deregister(&mut self.io);
    }
}

impl<S: Source> Sock<S> {
    pub(super) fn io(&self) -> &S {
        &self.io
    }

    pub(super) fn is_readable(&self) -> bool {
        self.ready.get() & READABLE != 0
    }

    pub(super) fn is_writable(&self) -> bool {
        self.ready.get() & WRITABLE != 0
    }

    fn clear(&self, bits: u8) {
        self.ready.set(self.ready.get() & !bits);
    }

    /// Asks for a fresh writable event. The kernel reports writability only after it refused bytes or is asked
    /// again, so a writer which stops of its own accord must ask.
    pub(super) fn arm_writable(&mut self) -> io::Result<()> {
        self.clear(WRITABLE);
        self.net.registry.reregister(
            &mut self.io,
            Token(self.id),
            Interest::READABLE | Interest::WRITABLE,
        )
    }
}

impl Sock<TcpStream> {
    /// `Ok(true)` once the connection is established, `Ok(false)` while it is under way.
    pub(super) fn poll_connected(&self) -> io::Result<bool> {
        if !self.is_writable() {
            return Ok(false);
        }
        if let Some(error) = self.io.take_error()? {
            return Err(error);
        }
        match self.io.peer_addr() {
            Ok(_) => Ok(true),
            Err(e) if e.kind() == io::ErrorKind::NotConnected => {
                self.clear(WRITABLE);
                Ok(false)
            }
            Err(e) => Err(e),
        }
    }
}

impl Read for Sock<TcpStream> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = retry(|| self.io.read(buf));
        match &read {
            // A short read empties the socket; only an end that was already announced is still behind it.
            Ok(n) if *n < buf.len() && self.ready.get() & READ_CLOSED == 0 => self.clear(READABLE),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => self.clear(READABLE),
            Ok(_) | Err(_) => {}
        }
        read
    }
}

impl Write for Sock<TcpStream> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let written = retry(|| self.io.write(buf));
        self.note_write(&written);
        written
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        let written = retry(|| self.io.write_vectored(bufs));
        self.note_write(&written);
        written
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sock<TcpStream> {
    fn note_write(&self, written: &io::Result<usize>) {
        if let Err(e) = written
            && e.kind() == io::ErrorKind::WouldBlock
        {
            self.clear(WRITABLE);
        }
    }
}

impl Sock<UdpSocket> {
    pub(super) fn recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let received = retry(|| self.io.recv_from(buf));
        if let Err(e) = &received
            && e.kind() == io::ErrorKind::WouldBlock
        {
            self.clear(READABLE);
        }
        received
    }
}

fn retry<T>(mut op: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match op() {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}
