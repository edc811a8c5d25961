//! A camera and its local network: two networks of threads, joined by a cable.

use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::{alone, run};

/// An allowed host, a stranger, and the camera.
pub(super) const FRIEND: &str = "10.9.0.2";
pub(super) const STRANGER: &str = "10.9.0.3";
pub(super) const CAMERA: &str = "10.9.0.1";
pub(super) const FRIEND6: &str = "fd00::2";
pub(super) const STRANGER6: &str = "2001:db8::3";
pub(super) const CAMERA6: &str = "fd00::1";
/// How long a packet may take on a cable inside this machine.
const CABLE: Duration = Duration::from_millis(250);

type Work = Box<dyn FnOnce() + Send>;

/// The other side of the cable.
pub(super) struct Lan {
    work: Option<mpsc::Sender<Work>>,
    thread: Option<JoinHandle<()>>,
}

/// Runs on a camera with a cable to a network.
pub(super) fn with_lan<T: Send>(work: impl FnOnce(&Lan) -> T + Send) -> T {
    alone(|| {
        let lan = Lan::connect();
        work(&lan)
    })
}

impl Lan {
    fn connect() -> Self {
        let (work, inbox) = mpsc::channel::<Work>();
        let (say, tid) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            alone(move || {
                say.send(nix::unistd::gettid().as_raw()).unwrap();
                while let Ok(work) = inbox.recv() {
                    work();
                }
            });
        });
        let tid = tid.recv().unwrap().to_string();
        let cable = [
            "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", &tid,
        ];
        run("ip", &cable);
        let lan = Self {
            work: Some(work),
            thread: Some(thread),
        };
        let up = |addresses: &[&str]| {
            for address in addresses {
                let mut args = vec!["addr", "add", address, "dev", "eth0"];
                if address.contains(':') {
                    args.push("nodad");
                }
                run("ip", &args);
            }
            run("ip", &["link", "set", "eth0", "up"]);
        };
        up(&["10.9.0.1/24", "fd00::1/64", "2001:db8::1/64"]);
        lan.run(move || up(&["10.9.0.2/24", "10.9.0.3/24", "fd00::2/64", "2001:db8::3/64"]));
        run("ip", &["route", "add", "default", "via", FRIEND]);
        run("ip", &["-6", "route", "add", "default", "via", FRIEND6]);
        lan
    }

    /// Runs over there.
    pub(super) fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let (say, answer) = mpsc::channel();
        let boxed: Work = Box::new(move || {
            let _ = say.send(work());
        });
        self.work.as_ref().unwrap().send(boxed).unwrap();
        answer.recv().unwrap()
    }

    /// Connects from there to the camera.
    pub(super) fn dial(&self, from: &str, to: &str, port: u16) -> Option<TcpStream> {
        let (from, to) = (socket(from, 0), socket(to, port));
        self.run(move || connect(Some(from), to))
    }

    /// Listens there.
    pub(super) fn listen(&self, at: &str, port: u16) -> TcpListener {
        let at = socket(at, port);
        self.run(move || TcpListener::bind(at).unwrap())
    }

    /// Takes datagrams there.
    pub(super) fn receive(&self, at: &str, port: u16) -> UdpSocket {
        let at = socket(at, port);
        self.run(move || {
            let socket = UdpSocket::bind(at).unwrap();
            socket.set_read_timeout(Some(CABLE)).unwrap();
            socket
        })
    }
}

impl Drop for Lan {
    fn drop(&mut self) {
        self.work = None;
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

pub(super) fn socket(addr: &str, port: u16) -> SocketAddr {
    SocketAddr::new(addr.parse().unwrap(), port)
}

/// Connects in this thread's network. `None`: nobody answered in time, or it may not be sent.
pub(super) fn connect(from: Option<SocketAddr>, to: SocketAddr) -> Option<TcpStream> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP)).unwrap();
    if let Some(from) = from {
        socket.bind(&SockAddr::from(from)).unwrap();
    }
    socket.connect_timeout(&to.into(), CABLE).ok()?;
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(CABLE)).unwrap();
    Some(stream)
}

/// The datagrams that arrive until none does any more.
pub(super) fn count(socket: &UdpSocket) -> usize {
    let mut bytes = [0; 64];
    let mut count = 0;
    while socket.recv(&mut bytes).is_ok() {
        count += 1;
    }
    count
}

/// Sends many datagrams from this thread's network, as fast as it goes. What may not be sent is an error, and lost.
pub(super) fn flood(to: &[SocketAddr], packets: usize) {
    let sockets = ["0.0.0.0:0", "[::]:0"].map(|any| UdpSocket::bind(any).unwrap());
    for _ in 0..packets {
        for to in to {
            let socket = if to.is_ipv4() { &sockets[0] } else { &sockets[1] };
            let _ = socket.send_to(b"flood", to);
        }
    }
}
