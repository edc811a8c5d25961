"""The limit of the emulated cameras' wake-ups: what a gateway's clock adds to it, and that nothing else does."""

import re
import struct
import sys
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "qemu"))

from lab.pcap import tcp_payloads  # noqa: E402
from scenarios import watching  # noqa: E402

PING, QUESTION = 39, 41
GATEWAY, CAMERA = b"\x0a\x00\x02\x64", b"\x0a\x00\x02\x0f"


def frame(source, target, ports, sequence, payload, protocol=6, padding=0):
    """Ethernet, IPv4, TCP."""
    tcp = struct.pack("!HHIIBBHHH", *ports, sequence, 0, 5 << 4, 0x18, 0, 0, 0)
    ip = struct.pack("!BBHHHBBH", 0x45, 0, 40 + payload, 0, 0, 64, protocol, 0) + source + target
    return bytes(12) + b"\x08\x00" + ip + tcp + bytes(payload + padding)


class Idle(unittest.TestCase):
    def test_in_a_minute_of_one_clock_six_are_the_limit(self):
        for pings in range(5):
            self.assertEqual(watching.idle_limit([PING] * pings), 6)

    def test_what_the_gateway_sends_by_its_own_clock_is_added(self):
        self.assertEqual(watching.idle_limit([PING] * 9), 11)
        self.assertEqual(watching.idle_limit([PING, QUESTION, QUESTION + 6, *[PING] * 6]), 15)
        # Smaller than any ping: nothing that wakes for long.
        self.assertEqual(watching.idle_limit([PING - 4] * 20), 6)

    def test_the_gateways_clock_is_the_one_that_it_has(self):
        link = (ROOT / "gateway/src/uplink/link.rs").read_text()
        self.assertEqual(int(re.search(r"PING_AFTER: Duration = Duration::from_secs\((\d+)\)", link)[1]), watching.PING_AFTER_SECONDS)
        reports = (ROOT / "gateway/src/reports/mod.rs").read_text()
        retry, jitter = (re.search(pattern, reports)[1] for pattern in (r"FIRST_RETRY: Duration = Duration::from_secs\((\d+)\)", r"JITTER: f64 = ([\d.]+);"))
        self.assertEqual(round(int(retry) * (1 - float(jitter))), watching.ASKED_AGAIN_SECONDS)
        self.assertEqual(watching.PINGS_A_MINUTE, -(-watching.IDLE_SECONDS // watching.PING_AFTER_SECONDS))
        # Frame header and 8 bytes; in TLS 1.3: record header, type of the content, tag.
        self.assertEqual(watching.PING_BYTES, 9 + 8 + 5 + 1 + 16)

    def test_what_a_capture_says_that_the_gateway_sent(self):
        there, back = (8443, 39700), (39700, 8443)
        sent = (
            frame(GATEWAY, CAMERA, there, 1, 39), frame(CAMERA, GATEWAY, back, 1, 39), frame(GATEWAY, CAMERA, there, 40, 0, padding=6),
            frame(GATEWAY, CAMERA, there, 40, 41), frame(GATEWAY, CAMERA, there, 40, 41), frame(GATEWAY, CAMERA, (80, 39700), 7, 39),
            frame(CAMERA, GATEWAY, there, 8, 39), frame(GATEWAY, CAMERA, there, 81, 39, protocol=17), frame(GATEWAY, CAMERA, (8443, 39701), 40, 47),
            bytes(20),
        )
        with tempfile.NamedTemporaryFile() as file:
            file.write(b"\xd4\xc3\xb2\xa1" + bytes(20))
            for one in sent:
                file.write(struct.pack("<IIII", 0, 0, len(one), len(one)) + one)
            # As it is while somebody writes it.
            file.write(b"\0" * 9)
            file.flush()
            self.assertEqual(tcp_payloads(Path(file.name), "10.0.2.100:8443"), [39, 41, 47])


if __name__ == "__main__":
    unittest.main()
