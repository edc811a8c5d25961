"""Violations of HTTP/2 (RFC 9113), HPACK (RFC 7541) and WebSocket (RFC 6455), one of each class.

Each entry gives the bytes to send after the preface and SETTINGS were exchanged, and the error codes that
the agent may answer, in GOAWAY or RST_STREAM (a stream error may be treated as one of the connection). An
entry that expects nothing is no violation: the agent must go on.
"""

import asyncio
import struct
import time

from . import frames as f
from .report import Failure, emit
from .rtsp import CONNECT

GET = [(":method", "GET"), (":scheme", "https"), (":authority", "agent"), (":path", "/status")]
OPEN = f.headers(1, CONNECT, end_stream=False)
FLOOD = 20_000
CHUNK = 16 << 10
PACE = 0.001
MARK = b"violate!"


def _get(stream, *extra, drop=()):
    fields = [field for field in GET if field[0] not in drop] + list(extra)
    return f.headers(stream, fields)


def _update(stream, increment):
    return f.frame(f.WINDOW_UPDATE, 0, stream, struct.pack(">I", increment))


def _rapid_reset():
    out = []
    for index in range(2000):
        stream = 2 * index + 1
        out.append(_get(stream) + f.frame(f.RST_STREAM, 0, stream, struct.pack(">I", f.CANCEL)))
    return b"".join(out)


def _many_streams():
    return b"".join(f.headers(2 * index + 1, CONNECT, end_stream=False) for index in range(40))


def _continuation_flood():
    first = f.frame(f.HEADERS, 0, 1, f.block(*GET))
    return first + b"".join(f.frame(f.CONTINUATION, 0, 1, f.block(("x-fill", "y" * 1000))) for _ in range(2000))


def _empty_continuation_flood():
    return f.frame(f.HEADERS, 0, 1, f.block(*GET)) + f.frame(f.CONTINUATION, 0, 1) * FLOOD


def _large_headers():
    parts = [f.block((f"x-{index}", "y" * 1000)) for index in range(64)]
    out = f.frame(f.HEADERS, f.END_STREAM, 1, f.block(*GET))
    for index, part in enumerate(parts):
        out += f.frame(f.CONTINUATION, f.END_HEADERS if index == len(parts) - 1 else 0, 1, part)
    return out


def _ws(opcode, payload=b"", fin=True, masked=True, reserved=0, length=None):
    """A WebSocket frame, right or wrong."""
    size = len(payload) if length is None else length
    head = bytes([(0x80 if fin else 0) | reserved | opcode])
    if size < 126:
        head += bytes([(0x80 if masked else 0) | size])
    else:
        head += bytes([(0x80 if masked else 0) | 126]) + struct.pack(">H", size)
    if not masked:
        return head + payload
    mask = b"\x11\x22\x33\x44"
    return head + mask + bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))


def _inner(payload):
    return OPEN + f.frame(f.DATA, 0, 1, payload)


P, FC, FS = f.PROTOCOL_ERROR, f.FLOW_CONTROL_ERROR, f.FRAME_SIZE_ERROR
CALM, REFUSED, CLOSED, COMPRESSION = f.ENHANCE_YOUR_CALM, f.REFUSED_STREAM, f.STREAM_CLOSED, f.COMPRESSION_ERROR
OPTIONS = b"OPTIONS rtsp://a/main RTSP/1.0\r\nCSeq: 1\r\n\r\n"

# name: (bytes, allowed codes). The codes of RFC 9113, the section named where it is not obvious.
VIOLATIONS = {
    "oversized-frame": (OPEN + f.frame(f.DATA, 0, 1, b"\0" * 16385), {FS}),
    "data-on-idle": (f.frame(f.DATA, 0, 5, b"x"), {P}),
    "data-on-stream-zero": (f.frame(f.DATA, 0, 0, b"x"), {P}),
    "data-after-end-stream": (_get(1) + f.frame(f.DATA, 0, 1, b"x"), {CLOSED, P}),
    "padding-too-long": (OPEN + f.frame(f.DATA, f.PADDED, 1, b"\x05abc"), {P}),
    "headers-even-stream": (_get(2), {P}),
    "headers-on-stream-zero": (_get(0), {P}),
    "stream-id-backwards": (_get(5) + _get(3), {P, CLOSED}),
    "too-many-streams": (_many_streams(), {REFUSED, P, CALM}),
    "window-overflow-connection": (_update(0, 0x7FFFFFFF), {FC}),
    "window-overflow-stream": (OPEN + _update(1, 0x7FFFFFFF), {FC}),
    "window-overflow-by-settings": (OPEN + _update(1, 0x7FFF0000) + f.settings((4, 0x7FFFFFFF)), {FC}),
    "window-update-zero-connection": (_update(0, 0), {P}),
    "window-update-zero-stream": (OPEN + _update(1, 0), {P}),
    "window-update-on-idle": (_update(7, 1), {P}),
    "window-update-length": (f.frame(f.WINDOW_UPDATE, 0, 0, b"\0\0\1"), {FS}),
    "settings-enable-push": (f.settings((2, 2)), {P}),
    "settings-window-size": (f.settings((4, 0x80000000)), {FC}),
    "settings-frame-size": (f.settings((5, 100)), {P}),
    "settings-connect-protocol": (f.settings((8, 2)), {P}),
    "settings-length": (f.frame(f.SETTINGS, 0, 0, b"\0" * 5), {FS}),
    "settings-on-stream": (f.frame(f.SETTINGS, 0, 1, b"\0" * 6), {P}),
    "settings-ack-payload": (f.frame(f.SETTINGS, f.ACK, 0, b"\0" * 6), {FS}),
    "ping-length": (f.frame(f.PING, 0, 0, b"short"), {FS}),
    "ping-on-stream": (f.frame(f.PING, 0, 1, b"\0" * 8), {P}),
    "rst-on-idle": (f.frame(f.RST_STREAM, 0, 9, b"\0\0\0\x08"), {P}),
    "rst-on-stream-zero": (f.frame(f.RST_STREAM, 0, 0, b"\0\0\0\x08"), {P}),
    "rst-length": (OPEN + f.frame(f.RST_STREAM, 0, 1, b"\0\0\x08"), {FS}),
    "priority-length": (OPEN + f.frame(f.PRIORITY, 0, 1, b"\0" * 4), {FS}),
    "priority-on-stream-zero": (f.frame(f.PRIORITY, 0, 0, b"\0" * 5), {P}),
    "goaway-on-stream": (f.frame(f.GOAWAY, 0, 1, b"\0" * 8), {P}),
    "goaway-length": (f.frame(f.GOAWAY, 0, 0, b"\0" * 7), {FS}),
    "push-promise": (OPEN + f.frame(f.PUSH_PROMISE, f.END_HEADERS, 1, b"\0\0\0\2" + f.block(*GET)), {P}),
    "continuation-alone": (f.frame(f.CONTINUATION, f.END_HEADERS, 1, b""), {P}),
    "continuation-interrupted": (f.frame(f.HEADERS, 0, 1, f.block(*GET)) + f.frame(f.PING, 0, 0, MARK), {P}),
    "continuation-other-stream": (
        f.frame(f.HEADERS, 0, 1, f.block(*GET)) + f.frame(f.CONTINUATION, f.END_HEADERS, 3, b""),
        {P},
    ),
    "continuation-flood": (_continuation_flood(), {CALM, P}),
    "continuation-flood-empty": (_empty_continuation_flood(), {CALM, P}),
    "headers-too-large": (_large_headers(), {CALM, P, REFUSED, f.CANCEL}),
    "rapid-reset": (_rapid_reset(), {CALM}),
    "ping-flood": (f.frame(f.PING, 0, 0, MARK) * FLOOD, {CALM}),
    "settings-flood": (f.settings((3, 100)) * FLOOD, {CALM}),
    "empty-data-flood": (OPEN + f.frame(f.DATA, 0, 1) * FLOOD, {CALM}),
    "window-update-flood": (OPEN + _update(1, 1) * FLOOD, {CALM}),
    "uppercase-header": (_get(1, ("X-Upper", "1")), {P}),
    "missing-method": (_get(1, drop=(":method",)), {P}),
    "missing-path": (_get(1, drop=(":path",)), {P}),
    "missing-scheme": (_get(1, drop=(":scheme",)), {P}),
    "duplicate-pseudo-header": (f.headers(1, [(":method", "GET"), *GET]), {P}),
    "unknown-pseudo-header": (f.headers(1, [(":colour", "red"), *GET]), {P}),
    "pseudo-header-last": (f.headers(1, [GET[0], ("x-a", "b"), *GET[1:]]), {P}),
    "connection-header": (_get(1, ("connection", "close")), {P}),
    "transfer-encoding-header": (_get(1, ("transfer-encoding", "chunked")), {P}),
    "header-with-line-feed": (_get(1, ("x-a", "b\nc")), {P}),
    "content-length-mismatch": (
        f.headers(1, [(":method", "POST"), *GET[1:3], (":path", "/uplink/move"), ("content-length", "5")]),
        {P},
    ),
    "connect-without-protocol-path": (f.headers(1, [c for c in CONNECT if c[0] != ":path"], end_stream=False), {P}),
    "hpack-index-zero": (f.frame(f.HEADERS, f.END_HEADERS | f.END_STREAM, 1, b"\x80"), {COMPRESSION}),
    "hpack-index-too-large": (f.frame(f.HEADERS, f.END_HEADERS | f.END_STREAM, 1, b"\xff\x80\x01"), {COMPRESSION}),
    "hpack-integer-overflow": (
        f.frame(f.HEADERS, f.END_HEADERS | f.END_STREAM, 1, b"\xff" + b"\xff" * 20 + b"\x01"),
        {COMPRESSION},
    ),
    "hpack-table-size": (f.frame(f.HEADERS, f.END_HEADERS | f.END_STREAM, 1, b"\x3f\xe1\xff\x7f"), {COMPRESSION}),
    "hpack-bad-huffman": (
        f.frame(f.HEADERS, f.END_HEADERS | f.END_STREAM, 1, b"\x00\x01a\x84\xff\xff\xff\xff"),
        {COMPRESSION},
    ),
    "hpack-cut-string": (f.frame(f.HEADERS, f.END_HEADERS | f.END_STREAM, 1, b"\x00\x01a\x20b"), {COMPRESSION}),
    # No violations: the agent must go on.
    "unknown-frame-type": (f.frame(0xFA, 0x55, 0, b"anything"), set()),
    "unknown-setting": (f.settings((0xFFFF, 1)), set()),
    "priority-frame": (f.frame(f.PRIORITY, 0, 3, b"\0\0\0\0\x10"), set()),
    "padded-headers": (
        f.frame(f.HEADERS, f.END_HEADERS | f.END_STREAM | f.PADDED, 1, b"\x04" + f.block(*GET) + b"\0" * 4),
        set(),
    ),
}

# Instead of the preface and SETTINGS.
PREFACES = {
    "bad-preface": (b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n" + f.settings(), {P, None}),
    "http1-instead-of-preface": (b"GET / HTTP/1.1\r\nHost: agent\r\n\r\n", {P, None}),
    "no-settings": (f.PREFACE + f.frame(f.PING, 0, 0, MARK), {P}),
}

# Frames of the WebSocket inside the stream, with the close codes that RFC 6455 section 7.4.1 allows. The agent
# ends the stream with them; the connection stays.
INNER = {
    "ws-unmasked": (_inner(_ws(2, OPTIONS, masked=False)), {1002}),
    "ws-reserved-bits": (_inner(_ws(2, OPTIONS, reserved=0x40)), {1002}),
    "ws-unknown-opcode": (_inner(_ws(3, OPTIONS)), {1002}),
    "ws-text": (_inner(_ws(1, b"text")), {1003, 1002}),
    "ws-fragmented-ping": (_inner(_ws(9, b"x", fin=False)), {1002}),
    "ws-long-ping": (_inner(_ws(9, b"x" * 126)), {1002}),
    "ws-continuation-alone": (_inner(_ws(0, OPTIONS)), {1002}),
    "ws-interleaved-messages": (_inner(_ws(2, b"a", fin=False) + _ws(2, b"b")), {1002}),
    "ws-close-one-byte": (_inner(_ws(8, b"x")), {1002}),
    "ws-close-bad-code": (_inner(_ws(8, struct.pack(">H", 999))), {1002}),
}

# Frames of the outer WebSocket: only over that carrier, in place of HTTP/2 bytes.
OUTER = {
    "carrier-masked": (_ws(2, f.frame(f.PING, 0, 0, MARK)), {1002}),
    "carrier-text": (_ws(1, b"text", masked=False), {1003, 1002}),
    "carrier-reserved-bits": (_ws(2, f.frame(f.PING, 0, 0, MARK), masked=False, reserved=0x20), {1002}),
    "carrier-unknown-opcode": (_ws(0xB, b"", masked=False), {1002}),
}

ALL = {**PREFACES, **VIOLATIONS, **INNER, **OUTER}


class Watch:
    """What the agent answers."""

    def __init__(self):
        self.reader = f.Reader()
        self.goaway = self.ws_close = None
        self.resets, self.statuses, self.pongs = [], 0, 0
        self.ended = False
        self.settings = self.acked = False
        self.inner = b""

    def feed(self, data):
        for kind, flags, stream, payload in self.reader.feed(data):
            if kind == f.GOAWAY:
                self.goaway = int.from_bytes(payload[4:8], "big")
            elif kind == f.RST_STREAM:
                self.resets.append(int.from_bytes(payload, "big"))
            elif kind == f.SETTINGS:
                self.acked |= bool(flags & f.ACK)
                self.settings |= not flags & f.ACK
            elif kind == f.PING and flags & f.ACK:
                self.pongs += 1
            elif kind == f.HEADERS:
                self.statuses += 1
            elif kind == f.DATA and stream == 1:
                self.inner += payload
            if kind in (f.HEADERS, f.DATA) and flags & f.END_STREAM:
                self.ended = True
        if len(self.inner) >= 4 and self.inner[0] == 0x88:
            self.ws_close = int.from_bytes(self.inner[2:4], "big")


async def _exchange_settings(carrier, watch, timeout):
    end = time.monotonic() + timeout
    while not (watch.settings and watch.acked):
        data = await carrier.receive(max(0.01, end - time.monotonic()))
        if not data:
            raise Failure("the uplink closed before SETTINGS were exchanged")
        watch.feed(data)


async def violate(carrier, upgrade, name, timeout):
    """Sends one violation over a fresh carrier; returns whether the agent did right."""
    if name in OUTER and upgrade.carrier != "websocket":
        raise Failure(f"{name} needs a wss: endpoint")
    payload, expected = ALL[name]
    watch = Watch()
    if name in PREFACES:
        await carrier.switch(upgrade)
    else:
        await carrier.switch(upgrade, f.PREFACE + f.settings((4, 1 << 20)))
        await _exchange_settings(carrier, watch, timeout)
        await carrier.send(f.SETTINGS_ACK)
    start = time.monotonic()
    sender = asyncio.create_task(_send(carrier, name, payload))
    closed, answered_ms = await _observe(carrier, watch, name, start, timeout)
    sender.cancel()
    codes = ([watch.goaway] if watch.goaway is not None else []) + watch.resets
    ok = _judge(name, expected, watch, codes, closed, carrier.ws_close)
    emit(
        "violation",
        name=name,
        ok=ok,
        carrier=upgrade.carrier,
        expected=sorted(str(code) for code in expected),
        goaway=watch.goaway,
        resets=sorted(set(watch.resets)),
        ws_close=watch.ws_close if name in INNER else carrier.ws_close,
        stream_ended=watch.ended,
        closed=closed,
        answered_ms=answered_ms,
        close_ms=round((time.monotonic() - start) * 1000, 1) if closed else None,
    )
    carrier.close()
    return ok


async def _send(carrier, name, payload):
    try:
        if name in OUTER:
            await carrier.send_raw(payload)
        else:
            for at in range(0, len(payload), CHUNK):
                await carrier.send(payload[at : at + CHUNK])
                # The reader gets its turn: after a reset by the agent asyncio throws away what was not yet read.
                await asyncio.sleep(PACE)
        if not ALL[name][1]:
            await carrier.send(f.frame(f.PING, 0, 0, MARK))
    except ConnectionError:
        pass  # The agent closed in the middle, which is its right.


async def _observe(carrier, watch, name, start, timeout):
    """Reads until the agent closed, or all was seen that can come."""
    end, answered = start + timeout, None
    while (left := end - time.monotonic()) > 0:
        try:
            data = await carrier.receive(left)
        except asyncio.TimeoutError:
            break
        if data:
            watch.feed(data)
        seen = watch.goaway is not None or watch.resets or watch.ws_close is not None or carrier.ws_close
        if seen and answered is None:
            answered = round((time.monotonic() - start) * 1000, 1)
        if not data:
            return True, answered
        # A stream error leaves the connection up: nothing more is to come.
        if watch.resets and watch.goaway is None and name not in ("rapid-reset", "too-many-streams"):
            return False, answered
        if watch.ws_close is not None and watch.ended:
            return False, answered
        if not ALL[name][1] and watch.pongs:
            return False, answered
    return False, answered


def _judge(name, expected, watch, codes, closed, outer_close):
    if not expected:
        return not codes and not closed and watch.pongs > 0
    if name in INNER:
        return watch.goaway is None and watch.ws_close in expected
    if name in OUTER:
        return closed and outer_close in expected
    if not codes:
        # 431 is an answer to a header list that is too large; None says that closing without a word will do.
        return (name == "headers-too-large" and watch.statuses > 0) or (None in expected and closed)
    # Streams that were right may be answered, cancelled or refused meanwhile.
    return set(codes) <= expected | {f.NO_ERROR, f.CANCEL, f.REFUSED_STREAM} and any(code in expected for code in codes)
