"""Reads what QEMU's filter-dump wrote, and says who the guest talked to."""

import socket
import struct
from collections import Counter
from pathlib import Path

ETHERNET_IPV4, ETHERNET_ARP, ETHERNET_IPV6 = 0x0800, 0x0806, 0x86DD
PROTOCOLS = {1: "icmp", 2: "igmp", 6: "tcp", 17: "udp", 58: "icmpv6"}
TCP_SYN, TCP_ACK = 0x02, 0x10


def frames(path: Path):
    """The frames of a capture file, in order; a last one that is cut short is left out."""
    data = path.read_bytes()
    if data[:4] != b"\xd4\xc3\xb2\xa1":
        raise ValueError(f"{path} is no capture of this byte order")
    at = 24
    while at + 16 <= len(data):
        length = struct.unpack_from("<I", data, at + 8)[0]
        if at + 16 + length > len(data):
            return
        yield data[at + 16: at + 16 + length]
        at += 16 + length


def _ipv4(frame: bytes) -> tuple[str, str] | None:
    """(source, what went to whom) of an IPv4 packet."""
    if len(frame) < 34:
        return None
    head = (frame[14] & 15) * 4
    protocol = PROTOCOLS.get(frame[23], str(frame[23]))
    source, target = socket.inet_ntoa(frame[26:30]), socket.inet_ntoa(frame[30:34])
    if protocol in ("tcp", "udp") and len(frame) >= 14 + head + 4:
        from_port, to_port = struct.unpack_from("!HH", frame, 14 + head)
        syn = protocol == "tcp" and len(frame) > 14 + head + 13 and frame[14 + head + 13] & (TCP_SYN | TCP_ACK) == TCP_SYN
        note = " syn" if syn else ""
        return source, f"{protocol} {target}:{to_port}{note}" if syn or to_port < 32768 else f"{protocol} {target} from {from_port}"
    return source, f"{protocol} {target}"


def tcp_payloads(path: Path, source: str) -> list[int]:
    """The sizes of what `source`, an address with its port, sent over TCP, in order; what was sent again counts once."""
    address, port = source.split(":")
    sizes, seen = [], set()
    for frame in frames(path):
        if len(frame) < 54 or struct.unpack_from("!H", frame, 12)[0] != ETHERNET_IPV4 or PROTOCOLS.get(frame[23]) != "tcp":
            continue
        tcp = 14 + (frame[14] & 15) * 4
        from_port, to_port, sequence = struct.unpack_from("!HHI", frame, tcp)
        if socket.inet_ntoa(frame[26:30]) != address or from_port != int(port):
            continue
        size = 14 + struct.unpack_from("!H", frame, 16)[0] - tcp - (frame[tcp + 12] >> 4) * 4
        if size > 0 and (to_port, sequence) not in seen:
            seen.add((to_port, sequence))
            sizes.append(size)
    return sizes


def conversations(path: Path, guest: str) -> Counter:
    """How many frames the guest sent, by kind and address."""
    sent: Counter = Counter()
    for frame in frames(path):
        kind = struct.unpack_from("!H", frame, 12)[0] if len(frame) >= 14 else 0
        if kind == ETHERNET_ARP:
            sent["arp"] += 1
        elif kind == ETHERNET_IPV6:
            if len(frame) >= 54:
                target = socket.inet_ntop(socket.AF_INET6, frame[38:54])
                sent[f"ipv6 {PROTOCOLS.get(frame[20], frame[20])} {target}"] += 1
        elif kind == ETHERNET_IPV4:
            packet = _ipv4(frame)
            if packet and packet[0] in (guest, "0.0.0.0"):
                sent[packet[1]] += 1
        else:
            sent[f"ethernet 0x{kind:04x}"] += 1
    return sent
