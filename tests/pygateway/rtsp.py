"""RTSP inside a WebSocket inside an HTTP/2 stream (RFC 8441, ONVIF Streaming)."""

import asyncio
import hashlib
import time

from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Ping, TextMessage

from .report import Failure, emit

CONNECT = [
    (":method", "CONNECT"),
    (":protocol", "websocket"),
    (":scheme", "https"),
    (":path", "/rtsp"),
    (":authority", "agent"),
    ("sec-websocket-protocol", "rtsp.onvif.org"),
    ("sec-websocket-version", "13"),
]


class Track:
    """What arrived of one media track."""

    def __init__(self, media, control):
        self.media, self.control = media, control
        self.channel = None
        self.packets = self.bytes = self.gaps = self.lost = 0
        self.last = None
        self.hash = hashlib.sha256()

    def handle(self, packet):
        if len(packet) < 12 or packet[0] >> 6 != 2:
            raise Failure("not an RTP packet")
        sequence = int.from_bytes(packet[2:4], "big")
        if self.last is not None and (step := (sequence - self.last) & 0xFFFF) != 1:
            self.gaps += 1
            self.lost += step - 1
        self.last = sequence
        self.packets += 1
        self.bytes += len(packet)
        self.hash.update(packet[12 + 4 * (packet[0] & 15) :])

    def report(self):
        return {
            "media": self.media,
            "packets": self.packets,
            "bytes": self.bytes,
            "gaps": self.gaps,
            "lost": self.lost,
            "payload_sha256": self.hash.hexdigest(),
        }


class RtspStream:
    """One RTSP session over an uplink."""

    def __init__(self, uplink, stream):
        self.uplink, self.stream = uplink, stream
        self.websocket = Connection(ConnectionType.CLIENT)
        self.input = bytearray()
        self.cseq = 0
        self.session = None
        self.tracks = []
        self.ended = None
        self.ws_close = None
        self.first_rtp = None
        self.rtcp = 0

    @classmethod
    async def open(cls, uplink):
        """Extended CONNECT; fails unless the agent answers as RFC 8441 says."""
        stream = await uplink.open(CONNECT, end_stream=False)
        kind, headers = await uplink.next(stream)
        if kind != "headers" or headers.get(":status") != "200":
            raise Failure(f"extended CONNECT: {kind} {headers}")
        if headers.get("sec-websocket-protocol") != "rtsp.onvif.org":
            raise Failure(f"extended CONNECT: subprotocol {headers.get('sec-websocket-protocol')!r}")
        return cls(uplink, stream)

    async def send_bytes(self, data):
        await self.uplink.send_data(self.stream, self.websocket.send(BytesMessage(data=data)))

    async def _receive(self, timeout=None):
        kind, value = await self.uplink.next(self.stream, timeout)
        if kind != "data":
            self.ended = (kind, value)
            return
        self.websocket.receive_data(value)
        for event in self.websocket.events():
            if isinstance(event, BytesMessage):
                self.input += event.data
            elif isinstance(event, Ping):
                await self.uplink.send_data(self.stream, self.websocket.send(event.response()))
            elif isinstance(event, CloseConnection):
                self.ws_close = int(event.code)
            elif isinstance(event, TextMessage):
                raise Failure("a text message in the RTSP WebSocket")

    def _take(self):
        """The next frame or reply of the input, or None."""
        data = self.input
        if not data:
            return None
        if data[0] == 0x24:
            if len(data) < 4 or len(data) < 4 + (length := int.from_bytes(data[2:4], "big")):
                return None
            frame = (data[1], bytes(data[4 : 4 + length]))
            del data[: 4 + length]
            return frame
        if not b"RTSP/1.0 ".startswith(bytes(data[:9])):
            raise Failure(f"neither a frame nor a reply: {bytes(data[:16])!r}")
        end = data.find(b"\r\n\r\n")
        if end < 0:
            return None
        lines = bytes(data[:end]).decode("utf-8").split("\r\n")
        headers = {}
        for line in lines[1:]:
            name, _, value = line.partition(":")
            headers[name.strip().lower()] = value.strip()
        length = int(headers.get("content-length", "0"))
        if len(data) < end + 4 + length:
            return None
        body = bytes(data[end + 4 : end + 4 + length])
        del data[: end + 4 + length]
        return (int(lines[0].split(" ")[1]), headers, body)

    async def next_item(self, timeout=None):
        """A frame `(channel, packet)`, a reply `(status, headers, body)`, or None at the end."""
        while True:
            item = self._take()
            if item is not None or self.ended:
                return item
            await self._receive(timeout)

    async def request(self, method, uri, **headers):
        """Sends a request; frames that arrive before the reply are counted."""
        self.cseq += 1
        lines = [f"{method} {uri} RTSP/1.0", f"CSeq: {self.cseq}"]
        if self.session:
            lines.append(f"Session: {self.session}")
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        await self.send_bytes(("\r\n".join(lines) + "\r\n\r\n").encode())
        while True:
            item = await self.next_item()
            if item is None:
                raise Failure(f"{method}: the stream ended ({self.ended})")
            if len(item) == 2:
                self.handle_frame(item)
                continue
            status, answer, body = item
            if answer.get("cseq") != str(self.cseq):
                raise Failure(f"{method}: CSeq {answer.get('cseq')!r}")
            if "www-authenticate" in answer:
                raise Failure(f"{method}: the viewer sees WWW-Authenticate")
            emit("rtsp", method=method, status=status)
            return status, answer, body

    def handle_frame(self, frame):
        channel, packet = frame
        track = next((track for track in self.tracks if track.channel == channel), None)
        if track is None:
            self.rtcp += 1
            return
        self.first_rtp = self.first_rtp or time.monotonic()
        track.handle(packet)

    async def start(self, profile):
        """DESCRIBE, SETUP of all tracks, PLAY."""
        uri = f"rtsp://gateway.invalid/{profile}"
        status, headers, body = await self.request("DESCRIBE", uri, Accept="application/sdp")
        if status != 200:
            raise Failure(f"DESCRIBE: {status}")
        base = headers.get("content-base", uri).rstrip("/")
        sdp = body.decode("utf-8")
        self._parse_sdp(sdp)
        emit("sdp", content_base=headers.get("content-base"), sdp=sdp)
        for index, track in enumerate(self.tracks):
            url = track.control if track.control.startswith("rtsp://") else f"{base}/{track.control}"
            wanted = f"RTP/AVP/TCP;unicast;interleaved={2 * index}-{2 * index + 1}"
            status, headers, _ = await self.request("SETUP", url, Transport=wanted)
            if status != 200:
                raise Failure(f"SETUP: {status}")
            self.session = headers["session"].split(";")[0]
            track.channel = self._channel(headers.get("transport", ""))
        status, _, _ = await self.request("PLAY", base, Range="npt=0.000-")
        if status != 200:
            raise Failure(f"PLAY: {status}")
        self.uri = base

    def _parse_sdp(self, sdp):
        for line in sdp.splitlines():
            if line.startswith("m="):
                self.tracks.append(Track(line[2:].split(" ")[0], ""))
            elif line.startswith("a=control:") and self.tracks:
                self.tracks[-1].control = line[len("a=control:") :].strip()
        if not self.tracks:
            raise Failure("the SDP describes no media")

    @staticmethod
    def _channel(transport):
        for part in transport.split(";"):
            if part.strip().startswith("interleaved="):
                return int(part.split("=")[1].split("-")[0])
        raise Failure(f"Transport {transport!r} without interleaved")

    async def play(self, seconds):
        """Counts packets for so long; `False` when the stream ended before."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            try:
                item = await asyncio.wait_for(self.next_item(), left)
            except asyncio.TimeoutError:
                return True
            if item is None:
                return False
            if len(item) == 2:
                self.handle_frame(item)
        return True

    async def finish(self, how):
        """Ends the session: teardown, ws-close, end-stream or reset."""
        if how == "teardown":
            status, _, _ = await self.request("TEARDOWN", self.uri)
            if status != 200:
                raise Failure(f"TEARDOWN: {status}")
        if how == "reset":
            self.uplink.h2.reset_stream(self.stream, error_code=8)
            await self.uplink.flush()
            return
        if how == "end-stream":
            self.uplink.h2.end_stream(self.stream)
            await self.uplink.flush()
        else:
            await self.uplink.send_data(self.stream, self.websocket.send(CloseConnection(code=1000)))
        while not self.ended:
            await self._receive()
            self.input.clear()

    def report(self):
        tracks = [track.report() for track in self.tracks]
        emit("rtp", tracks=tracks, rtcp=self.rtcp, ended=self.ended, ws_close=self.ws_close)
        problems = [track for track in tracks if track["gaps"] or not track["packets"]]
        if problems:
            raise Failure(f"RTP gaps or no packets: {problems}")
