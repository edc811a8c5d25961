//! The kernel's tables of sockets, line by line (proc(5), `/proc/net`), as netstat(8) reads them.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::io::{self, BufRead, BufReader, Read as _};

use lenscap_audit::facts::{Fact, LISTEN, Proto, Socket, Sockets};
use lenscap_audit::flows::sockets as diag;
use lenscap_harden::root::Root;

use super::{is_absent, missing};
use crate::sys::{self, Netlink};

/// In the order that the rules expect.
const TABLES: [(Proto, &str); 9] = [
    (Proto::Tcp, "/proc/net/tcp"),
    (Proto::Tcp6, "/proc/net/tcp6"),
    (Proto::Udp, "/proc/net/udp"),
    (Proto::Udp6, "/proc/net/udp6"),
    (Proto::UdpLite, "/proc/net/udplite"),
    (Proto::UdpLite6, "/proc/net/udplite6"),
    (Proto::Raw, "/proc/net/raw"),
    (Proto::Raw6, "/proc/net/raw6"),
    (Proto::Packet, "/proc/net/packet"),
];
/// The most lines of a table that are read.
const MAX_LINES: u64 = 65_536;
/// The longest line.
const MAX_LINE_BYTES: u64 = 512;
/// The most sockets of a table that are kept: those that wait, the others, and those on a botnet's port, for which there is
/// room whatever came before.
const MAX_KEPT: [usize; 3] = [1024, 1024, 16];

/// Reads all tables.
#[inline(never)]
pub(super) fn read(root: &Root) -> Vec<Fact<Sockets>> {
    let here = root.reader(TABLES[0].1).is_ok();
    let read = |(proto, path): (Proto, &'static str)| match root.reader(path) {
        Ok(file) => match table(proto, BufReader::with_capacity(4096, file), MAX_LINES) {
            Ok(sockets) => Fact::seen(path, sockets),
            Err(error) => Fact::missing(path, missing(&error)),
        },
        // A kernel without IPv6, UDP-Lite or raw sockets has no such table; one that hides them all is another matter.
        Err(error) if here && is_absent(&error) && proto != Proto::Udp => {
            Fact::seen(path, Sockets::default())
        }
        Err(error) => Fact::missing(path, missing(&error)),
    };
    // Of this kernel, not of a tree that somebody made.
    let before = if root.exists("/proc/self/net/tcp") {
        asked()
    } else {
        Vec::new()
    };
    let mut tables: Vec<Fact<Sockets>> = TABLES.into_iter().map(read).collect();
    if !before.is_empty() {
        add_hidden(&mut tables, &before, &asked());
    }
    tables
}

/// TCP sockets that wait, as the kernel tells them when it is asked (INET_DIAG): whoever changed what it writes into
/// `/proc` has rarely changed that too. Nothing where it cannot be asked.
#[inline(never)]
fn asked() -> Vec<Socket> {
    let mut found: Vec<Socket> = Vec::new();
    // AF_INET and AF_INET6.
    for (proto, family) in [(Proto::Tcp, 2), (Proto::Tcp6, 10)] {
        let request = diag::request(family, 1 << LISTEN);
        let _ = sys::dump(Netlink::SockDiag, diag::DUMP, &request, &mut |kind, message| {
            if let Some(socket) = diag::parse_message(kind, message) {
                found.push(Socket {
                    proto,
                    local: (socket.local.ip(), socket.local.port()),
                    remote: (socket.remote.ip(), 0),
                    state: LISTEN,
                    inode: socket.inode,
                    owner: None,
                    hidden: true,
                });
            }
            found.len() < MAX_KEPT[0]
        });
    }
    found
}

/// Adds those that were there before and after the tables were read, and are in none of them.
fn add_hidden(tables: &mut [Fact<Sockets>], before: &[Socket], after: &[Socket]) {
    let whole = |table: &Fact<Sockets>| {
        table
            .value()
            .is_some_and(|table| table.left_out == 0 && table.odd == 0)
    };
    // The first two are TCP's.
    if !tables.iter().take(2).all(whole) {
        return;
    }
    let has = |list: &[Socket], inode| list.iter().any(|socket| socket.inode == inode);
    for socket in before.iter().filter(|socket| has(after, socket.inode)) {
        let shown = tables.iter().take(2).filter_map(Fact::value);
        let mut shown = shown.filter(|table| has(&table.list, socket.inode));
        let none = shown.next().is_none();
        if none
            && let Some(Ok(table)) = tables
                .get_mut(socket.proto as usize)
                .map(|table| &mut table.value)
        {
            table.list.push(socket.clone());
        }
    }
}

#[inline(never)]
fn table(proto: Proto, mut text: impl BufRead, max_lines: u64) -> io::Result<Sockets> {
    let mut sockets = Sockets::default();
    let mut kept = [0; MAX_KEPT.len()];
    let mut line = Vec::new();
    for number in 0..=max_lines {
        line.clear();
        let ended = (&mut text).take(MAX_LINE_BYTES).read_until(b'\n', &mut line)? == 0;
        // The first line names the columns; without it this is none of the kernel's tables.
        if number == 0 && !matches!(line.trim_ascii_start(), [b's', b'l' | b'k', b' ', ..]) {
            sockets.odd += 1;
        }
        if ended {
            return Ok(sockets);
        }
        if number == 0 {
            continue;
        }
        let parsed = str::from_utf8(&line).ok().filter(|line| line.ends_with('\n'));
        let Some(socket) = parsed.and_then(|line| parse(proto, line)) else {
            sockets.odd = sockets.odd.saturating_add(1);
            continue;
        };
        let kind = if socket.is_botnets() {
            2
        } else {
            usize::from(!socket.waits())
        };
        if kept[kind] < MAX_KEPT[kind] {
            kept[kind] += 1;
            sockets.list.push(socket);
        } else {
            sockets.left_out += 1;
        }
    }
    // At least one more may be there.
    sockets.left_out += 1;
    Ok(sockets)
}

#[inline(never)]
fn parse(proto: Proto, line: &str) -> Option<Socket> {
    let mut fields = line.split_ascii_whitespace();
    if proto == Proto::Packet {
        // sk RefCnt Type Proto Iface R Rmem User Inode
        let protocol = u16::from_str_radix(fields.nth(3)?, 16).ok()?;
        let inode = fields.nth(4)?.parse().ok()?;
        let nowhere = (IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
        return Some(Socket {
            proto,
            local: (nowhere.0, protocol),
            remote: nowhere,
            state: 0,
            inode,
            owner: None,
            hidden: false,
        });
    }
    let local = address(fields.nth(1)?)?;
    let remote = address(fields.next()?)?;
    let state = u8::from_str_radix(fields.next()?, 16).ok()?;
    let inode = fields.nth(5)?.parse().ok()?;
    Some(Socket {
        proto,
        local,
        remote,
        state,
        inode,
        owner: None,
        hidden: false,
    })
}

/// Numbers of 32 bits in hexadecimal, each in the byte order of the machine.
fn address(text: &str) -> Option<(IpAddr, u16)> {
    let (hex, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| Some(u32::from_str_radix(hex.get(at..at + 8)?, 16).ok()?.to_ne_bytes());
    let ip = match hex.len() {
        8 => IpAddr::V4(Ipv4Addr::from(word(0)?)),
        32 => {
            let mut bytes = [0; 16];
            for (n, part) in bytes.chunks_exact_mut(4).enumerate() {
                part.copy_from_slice(&word(n * 8)?);
            }
            IpAddr::V6(Ipv6Addr::from(bytes))
        }
        _ => return None,
    };
    Some((ip, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_there_all_the_time_and_is_in_no_table_hides() {
        let of = |inode| Socket {
            hidden: true,
            inode,
            ..parse(Proto::Tcp, LINE).unwrap()
        };
        let tables = |odd| -> Vec<Fact<Sockets>> {
            let list = vec![parse(Proto::Tcp, LINE).unwrap()];
            let first = Sockets {
                list,
                odd,
                ..Sockets::default()
            };
            vec![Fact::seen("tcp", first), Fact::seen("tcp6", Sockets::default())]
        };
        // 102 is in the table; 1 ended meanwhile, 2 came.
        let (before, after) = ([of(102), of(1), of(7)], [of(7), of(2), of(102)]);
        let mut seen = tables(0);
        add_hidden(&mut seen, &before, &after);
        let list = &seen[0].value().unwrap().list;
        assert_eq!(list.len(), 2);
        assert_eq!((list[1].inode, list[1].hidden), (7, true));
        // Half a table tells nothing.
        let mut seen = tables(1);
        add_hidden(&mut seen, &before, &after);
        assert_eq!(seen[0].value().unwrap().list.len(), 1);
    }

    const HEAD: &str =
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n";
    const LINE: &str = "   0: 0100007F:022A 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 102 1 0\n";

    #[cfg(target_endian = "little")]
    #[test]
    fn lines_are_read_as_the_kernel_writes_them() {
        let text = format!("{HEAD}{LINE}");
        let table = table(Proto::Tcp, text.as_bytes(), 9).unwrap();
        let [socket] = table.list.as_slice() else {
            panic!("{table:?}")
        };
        assert_eq!(socket.local, ("127.0.0.1".parse().unwrap(), 554));
        assert_eq!((socket.state, socket.inode), (10, 102));
        assert!(socket.waits() && socket.is_loopback());
        let six = "   1: 0000000000000000FFFF00000100007F:1F90 000080FE00000000FF005450B6AD1DFE:01BB 01 0:0 0:0 0 0 0 104 1\n";
        let socket = parse(Proto::Tcp6, six).unwrap();
        assert_eq!(socket.local.0, "::ffff:127.0.0.1".parse::<IpAddr>().unwrap());
        assert_eq!(socket.remote, ("fe80::5054:ff:fe1d:adb6".parse().unwrap(), 443));
        assert!(socket.is_loopback());
        let packet = "ffff8ec1 3      3    0003   2     1 0      0      18741\n";
        let socket = parse(Proto::Packet, packet).unwrap();
        assert_eq!((socket.local.1, socket.inode), (3, 18_741));
    }

    #[test]
    fn no_crowd_hides_a_botnets_port() {
        let crowd = LINE.repeat(3000);
        let known = LINE.replace("022A", "BBE5");
        let text = format!("{HEAD}{crowd}{}", known.repeat(99));
        let long = table(Proto::Tcp, text.as_bytes(), MAX_LINES).unwrap();
        assert_eq!((long.list.len(), long.left_out), (1040, 1976 + 83));
        assert_eq!(long.list.last().unwrap().local.1, 48_101);
    }

    #[test]
    fn odd_lines_are_counted_and_long_tables_cut() {
        let text = format!("{HEAD}{LINE}nonsense\n\u{1}\n{}\n{LINE}cut", "x".repeat(2000));
        let odd = table(Proto::Tcp, text.as_bytes(), 99).unwrap();
        assert_eq!(odd.list.len(), 2);
        assert!(odd.odd >= 4);
        let text = format!("{HEAD}{}", LINE.repeat(3000));
        let long = table(Proto::Tcp, text.as_bytes(), MAX_LINES).unwrap();
        assert_eq!((long.list.len(), long.left_out), (1024, 1976));
        let cut = table(Proto::Tcp, text.as_bytes(), 10).unwrap();
        assert_eq!((cut.list.len(), cut.left_out), (10, 1));
        assert_eq!(table(Proto::Tcp, HEAD.as_bytes(), 9).unwrap(), Sockets::default());
        for none in ["", "\n", LINE, "nothing\n"] {
            assert_eq!(table(Proto::Tcp, none.as_bytes(), 9).unwrap().odd, 1, "{none}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_table_makes_it_panic(text in proptest::collection::vec(0..=255u8, 0..400), line in "[0-9A-F: \\n]{0,200}") {
            for proto in [Proto::Tcp, Proto::Tcp6, Proto::Packet] {
                let _ = table(proto, text.as_slice(), 99);
                let _ = table(proto, line.as_bytes(), 99);
            }
        }
    }
}
