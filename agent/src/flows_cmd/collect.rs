//! One sample of the camera that this runs on.

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::net::IpAddr;
use std::path::Path;

use lenscap_audit::flows::attributes::{Attributes, address};
use lenscap_audit::flows::sockets::{self, Socket, TCP, UDP};
use lenscap_audit::flows::{
    Connection, Counts, Interface, MAX_INTERFACES, Sample, Source, clean_name, conntrack, interfaces,
};

use crate::sys::{self, Netlink};

/// The most sockets that are looked at.
const MAX_SOCKETS: usize = 1024;
/// The most entries of connection tracking.
const MAX_ENTRIES: usize = 2048;
/// The most addresses of the camera.
const MAX_ADDRESSES: usize = 64;
/// The most of a file in `/proc`, in bytes.
const MAX_TABLE_BYTES: u64 = 2 * 1024 * 1024;
/// The most processes, and descriptors of each, that are looked at.
const MAX_PROCESSES: usize = 4096;
/// `AF_INET` and `AF_INET6`.
const FAMILIES: [u8; 2] = [2, 10];
/// Where the kernel shows connection tracking; the second is of kernels before 2.6.14.
const CONNTRACK_FILES: [&str; 2] = ["/proc/net/nf_conntrack", "/proc/net/ip_conntrack"];

/// Looks at everything once.
pub(super) fn sample() -> Sample {
    let millis = |time: core::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let mut sample = Sample {
        time_ms: millis(sys::since_1970()),
        uptime_ms: millis(sys::monotonic()),
        interfaces: outer_interfaces(),
        ..Sample::default()
    };
    if sample.interfaces.is_empty() {
        sample.blind.push("no interface: /proc/net/dev shows none".into());
    }
    let sockets = all_sockets(&mut sample.blind);
    sample.connections = tracked(&mut sample.blind);
    let listening: Vec<(u8, u16)> = sockets
        .iter()
        .filter(|socket| socket.listening)
        .map(|socket| (socket.protocol, socket.local.port()))
        .collect();
    for found in sockets.iter().filter_map(|socket| socket.connection(&listening)) {
        merge(&mut sample.connections, found);
    }
    if !sys::is_root() {
        sample
            .blind
            .push("programs of other users: this is not root".into());
    }
    name_programs(&mut sample.connections, &sockets);
    sample
}

/// What connection tracking does not know or does not count, the socket may.
fn merge(connections: &mut Vec<Connection>, found: Connection) {
    let same = |known: &&mut Connection| {
        (known.protocol, known.local, known.remote) == (found.protocol, found.local, found.remote)
    };
    match connections.iter_mut().find(same) {
        None => connections.push(found),
        Some(known) if known.source < found.source => {
            known.source = found.source;
            known.counts = found.counts;
        }
        Some(_) => {}
    }
}

fn all_sockets(blind: &mut Vec<String>) -> Vec<Socket> {
    let mut found = Vec::new();
    let diag = FAMILIES.into_iter().try_for_each(|family| {
        sys::dump(
            Netlink::SockDiag,
            sockets::DUMP,
            &sockets::request(family, sockets::EVERY_STATE),
            &mut |kind, message| {
                found.extend(sockets::parse_message(kind, message));
                found.len() < MAX_SOCKETS
            },
        )
    });
    if let Err(error) = diag {
        blind.push(format!(
            "TCP is not counted: this kernel has no INET_DIAG ({error})"
        ));
        found.clear();
        for name in ["tcp", "tcp6"] {
            read_sockets(TCP, name, &mut found);
        }
    } else if found.iter().any(is_open) && found.iter().all(|socket| socket.counts == Counts::default()) {
        blind.push("TCP is not counted: tcp_info counts no bytes before Linux 4.1".into());
    }
    for name in ["udp", "udp6"] {
        read_sockets(UDP, name, &mut found);
    }
    if found.len() >= MAX_SOCKETS {
        blind.push(format!("sockets beyond the first {MAX_SOCKETS}"));
    }
    found
}

fn is_open(socket: &Socket) -> bool {
    !socket.listening && socket.inode != 0
}

fn read_sockets(protocol: u8, name: &str, found: &mut Vec<Socket>) {
    // Kernels without IPv6 lack the second file of each pair.
    let _ = each_line(&format!("/proc/net/{name}"), &mut |line| {
        found.extend(sockets::parse_line(protocol, line));
        found.len() < MAX_SOCKETS
    });
}

fn tracked(blind: &mut Vec<String>) -> Vec<Connection> {
    let ours = own_addresses();
    if ours.is_empty() {
        blind.push("tracked connections: this camera's own addresses could not be asked for".into());
    }
    let is_ours = |address: IpAddr| ours.contains(&address);
    let mut found = Vec::new();
    let mut take = |connection: Option<Connection>| {
        found.extend(connection);
        found.len() < MAX_ENTRIES
    };
    let mut outcome = Err(io::ErrorKind::NotFound.into());
    for path in CONNTRACK_FILES {
        if outcome.is_err() {
            outcome = each_line(path, &mut |line| take(conntrack::parse_line(line, is_ours)));
        }
    }
    if outcome.is_err() {
        outcome = sys::dump(
            Netlink::Netfilter,
            conntrack::DUMP,
            &conntrack::DUMP_BODY,
            &mut |kind, message| take(conntrack::parse_message(kind, message, is_ours)),
        );
    }
    if let Err(error) = outcome {
        blind.push(format!(
            "UDP is not counted, and connections between two samples are not seen: no connection tracking ({error})"
        ));
    } else if found.is_empty() && !ours.is_empty() {
        blind.push(
            "UDP is not counted, and connections between two samples are not seen: connection tracking follows none"
                .into(),
        );
    } else if found
        .iter()
        .all(|connection| connection.source != Source::Conntrack)
    {
        blind.push(
            "connection tracking counts nothing: `sysctl -w net.netfilter.nf_conntrack_acct=1` makes it"
                .into(),
        );
    }
    if found.len() >= MAX_ENTRIES {
        blind.push(format!("tracked connections beyond the first {MAX_ENTRIES}"));
    }
    found
}

/// The camera's addresses. Without them every tracked connection is somebody else's.
fn own_addresses() -> Vec<IpAddr> {
    /// `RTM_GETADDR` and its answer, `RTM_NEWADDR`; both begin with `struct ifaddrmsg`.
    const GET: u16 = 22;
    const NEW: u16 = 20;
    const HEADER: [u8; 8] = [0; 8];
    /// `IFA_LOCAL`, which point-to-point links have beside `IFA_ADDRESS`, their peer's.
    const LOCAL: u16 = 2;
    const ADDRESS: u16 = 1;
    let mut found = Vec::new();
    let _ = sys::dump(Netlink::Route, GET, &HEADER, &mut |kind, message| {
        if kind == NEW {
            let attributes = Attributes(message.get(HEADER.len()..).unwrap_or_default());
            found.extend(address(attributes.value(LOCAL)).or_else(|| address(attributes.value(ADDRESS))));
        }
        found.len() < MAX_ADDRESSES
    });
    found
}

/// The interfaces that packets leave the camera by: what passes a bridge, a bond, a VLAN or a tunnel passes another
/// interface too and would count twice.
fn outer_interfaces() -> Vec<Interface> {
    let mut found = Vec::new();
    let _ = each_line("/proc/net/dev", &mut |line| {
        let is_outer = |interface: &Interface| {
            let name = &interface.name;
            let has = |file: &str| Path::new(&format!("/sys/class/net/{name}/{file}")).exists();
            name != "lo"
                && !["bridge", "bonding", "tun_flags"].into_iter().any(has)
                && !Path::new(&format!("/proc/net/vlan/{name}")).exists()
        };
        found.extend(interfaces::parse_line(line).filter(is_outer));
        found.len() < MAX_INTERFACES
    });
    found
}

/// Gives each connection the program that has its socket.
fn name_programs(connections: &mut [Connection], sockets: &[Socket]) {
    let wanted = |inode: u64| inode != 0 && sockets.iter().any(|socket| socket.inode == inode);
    let mut programs: Vec<(u64, String)> = Vec::new();
    for process in entries("/proc") {
        if !process.bytes().all(|byte| byte.is_ascii_digit()) {
            continue;
        }
        for descriptor in entries(&format!("/proc/{process}/fd")) {
            let Ok(link) = fs::read_link(format!("/proc/{process}/fd/{descriptor}")) else {
                continue;
            };
            let inode = link.to_str().and_then(|link| {
                link.strip_prefix("socket:[")?
                    .strip_suffix(']')?
                    .parse::<u64>()
                    .ok()
            });
            if let Some(inode) = inode.filter(|inode| wanted(*inode)) {
                programs.push((inode, program(&process)));
            }
        }
    }
    for connection in connections {
        let inodes = sockets
            .iter()
            .filter(|socket| socket.carries(connection))
            .map(|socket| socket.inode);
        connection.program = inodes
            .filter_map(|inode| programs.iter().find(|(have, _)| *have == inode))
            .map(|(_, program)| program.clone())
            .next();
    }
}

/// The file that a process runs, or its own word where that cannot be read.
fn program(process: &str) -> String {
    let file = fs::read_link(format!("/proc/{process}/exe")).map(|path| path.display().to_string());
    let name = file.or_else(|_| fs::read_to_string(format!("/proc/{process}/comm")));
    clean_name(name.unwrap_or_default().trim_end())
}

/// Names in a folder of `/proc`; processes end while they are looked at.
fn entries(folder: &str) -> impl Iterator<Item = String> {
    fs::read_dir(folder)
        .into_iter()
        .flatten()
        .take(MAX_PROCESSES)
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
}

/// Gives each line to `handle`, until it says `false`.
fn each_line(path: &str, handle: &mut dyn FnMut(&str) -> bool) -> io::Result<()> {
    let mut reader = BufReader::new(File::open(path)?.take(MAX_TABLE_BYTES));
    let mut line = Vec::new();
    loop {
        line.clear();
        if reader.read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        if let Ok(text) = core::str::from_utf8(&line)
            && !handle(text)
        {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream, UdpSocket};

    #[test]
    fn a_connection_of_this_process_is_seen_with_its_bytes_and_its_program() {
        use std::io::Write as _;
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        client.write_all(&[7; 5000]).unwrap();
        server.read_exact(&mut [0; 5000]).unwrap();
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        udp.connect(listener.local_addr().unwrap()).unwrap();
        let sample = sample();
        let find = |local, remote| {
            let found = sample
                .connections
                .iter()
                .find(|found| found.local == local && found.remote == remote);
            found.unwrap().clone()
        };
        let ends = (client.local_addr().unwrap(), listener.local_addr().unwrap());
        let (out, into) = (find(ends.0, ends.1), find(ends.1, ends.0));
        assert_eq!((out.opener.as_str(), into.opener.as_str()), ("out", "in"));
        let this = clean_name(&std::env::current_exe().unwrap().display().to_string());
        assert_eq!(out.program.as_deref(), Some(this.as_str()));
        assert!((5000..20_000).contains(&out.counts.or_zero()[0]), "{out:?}");
        assert!((5000..20_000).contains(&into.counts.or_zero()[1]), "{into:?}");
        let udp = find(udp.local_addr().unwrap(), udp.peer_addr().unwrap());
        assert_eq!((udp.protocol, udp.program), (UDP, Some(this)));
    }

    #[test]
    fn the_addresses_of_this_machine_are_known() {
        assert!(own_addresses().contains(&IpAddr::from([127, 0, 0, 1])));
        assert!(outer_interfaces().iter().all(|found| found.name != "lo"));
    }
}
