"""HTTP/2 in the client role over a carrier, with h2."""

import asyncio
import json
import time

import h2.connection
import h2.config
import h2.events
import h2.exceptions
import h2.settings
from h2.settings import SettingCodes

from .frames import GOAWAY
from .report import Failure, emit

STREAM_WINDOW = 2 << 20
CONNECTION_WINDOW = 4 << 20
EXPECTED_SETTINGS = {
    SettingCodes.ENABLE_CONNECT_PROTOCOL: 1,
    SettingCodes.INITIAL_WINDOW_SIZE: 32768,
    SettingCodes.MAX_CONCURRENT_STREAMS: 32,
    SettingCodes.MAX_HEADER_LIST_SIZE: 16384,
}


class Closed(Exception):
    """The uplink ended."""


class Uplink:
    """One accepted uplink."""

    def __init__(self, carrier, timeout):
        self.carrier, self.timeout = carrier, timeout
        config = h2.config.H2Configuration(client_side=True, header_encoding="utf-8")
        self.h2 = h2.connection.H2Connection(config=config)
        initial = {SettingCodes.ENABLE_PUSH: 0, SettingCodes.INITIAL_WINDOW_SIZE: STREAM_WINDOW}
        self.h2.local_settings = h2.settings.Settings(client=True, initial_values=initial)
        self.streams = {}
        self.settings = asyncio.Event()
        self.window = asyncio.Event()
        self.agent_pings = 0
        self.goaways = []
        self.unread = b""
        self.pongs = 0
        self.closed = asyncio.get_running_loop().create_future()
        self.reader = None

    async def start(self, upgrade):
        """Switches protocols and waits for the agent's SETTINGS."""
        self.h2.initiate_connection()
        self.h2.increment_flow_control_window(CONNECTION_WINDOW - 65535)
        await self.carrier.switch(upgrade, self.h2.data_to_send())
        self.reader = asyncio.create_task(self._read())
        waiter = asyncio.create_task(self.settings.wait())
        await asyncio.wait([waiter, self.closed], timeout=self.timeout, return_when=asyncio.FIRST_COMPLETED)
        waiter.cancel()
        if not self.settings.is_set():
            raise Failure("no SETTINGS from the agent")
        seen = {code.name.lower(): self.h2.remote_settings.get(code) for code in EXPECTED_SETTINGS}
        wrong = [code.name for code, value in EXPECTED_SETTINGS.items() if self.h2.remote_settings.get(code) != value]
        emit("settings", values=seen, wrong=wrong)
        if wrong:
            raise Failure(f"unexpected SETTINGS: {', '.join(wrong)}")

    async def _read(self):
        try:
            while True:
                data = await self.carrier.receive()
                if not data:
                    break
                for event in self.h2.receive_data(self._take_goaways(data)):
                    self._handle(event)
                await self.flush()
            self._end(None)
        except (h2.exceptions.ProtocolError, Failure) as error:
            self._end(Failure(f"HTTP/2: {type(error).__name__}: {error}"))
        except Exception as error:  # noqa: BLE001 - ends up in the report
            self._end(Failure(f"{type(error).__name__}: {error}"))

    def _take_goaways(self, data):
        """Whole frames without GOAWAY: h2 closes its state machine at the first, an orderly one too, and could
        not finish the streams that RFC 9113 section 6.8 lets finish."""
        self.unread += data
        kept = b""
        while len(self.unread) >= 9 and len(self.unread) >= (size := 9 + int.from_bytes(self.unread[:3], "big")):
            frame, self.unread = self.unread[:size], self.unread[size:]
            if frame[3] == GOAWAY:
                last, code = (int.from_bytes(frame[at : at + 4], "big") for at in (9, 13))
                self.goaways.append({"code": code, "last_stream": last & 0x7FFFFFFF})
                emit("goaway", **self.goaways[-1])
            else:
                kept += frame
        return kept

    def _end(self, error):
        if not self.closed.done():
            self.closed.set_result(error)
        for queue in self.streams.values():
            queue.put_nowait(("closed", error))
        emit("closed", error=str(error) if error else None, goaways=self.goaways, ws_close=self.carrier.ws_close)

    def _handle(self, event):
        if isinstance(event, h2.events.RemoteSettingsChanged):
            self.settings.set()
        elif isinstance(event, h2.events.PingReceived):
            self.agent_pings += 1
        elif isinstance(event, h2.events.PingAckReceived):
            self.pongs += 1
        elif isinstance(event, h2.events.WindowUpdated):
            self.window.set()
        elif isinstance(event, h2.events.ResponseReceived):
            self._put(event.stream_id, ("headers", dict(event.headers)))
        elif isinstance(event, h2.events.DataReceived):
            self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            self._put(event.stream_id, ("data", event.data))
        elif isinstance(event, h2.events.StreamEnded):
            self._put(event.stream_id, ("end", None))
        elif isinstance(event, h2.events.StreamReset):
            self._put(event.stream_id, ("reset", int(event.error_code)))

    def _put(self, stream, item):
        if stream in self.streams:
            self.streams[stream].put_nowait(item)

    async def flush(self):
        await self.carrier.send(self.h2.data_to_send())

    async def open(self, headers, end_stream):
        """Sends HEADERS; returns the stream."""
        stream = self.h2.get_next_available_stream_id()
        self.streams[stream] = asyncio.Queue()
        self.h2.send_headers(stream, headers, end_stream=end_stream)
        await self.flush()
        return stream

    async def next(self, stream, timeout=None):
        """The next thing on a stream: ("headers"|"data"|"end"|"reset"|"closed", value)."""
        try:
            item = await asyncio.wait_for(self.streams[stream].get(), timeout or self.timeout)
        except asyncio.TimeoutError as error:
            raise Failure(f"nothing on stream {stream} in time") from error
        if item[0] == "closed":
            raise Closed("the uplink closed") from item[1]
        return item

    async def send_data(self, stream, data):
        """Sends within the agent's windows."""
        while data:
            room = min(self.h2.local_flow_control_window(stream), self.h2.max_outbound_frame_size)
            if room <= 0:
                self.window.clear()
                await asyncio.wait_for(self.window.wait(), self.timeout)
                continue
            self.h2.send_data(stream, data[:room])
            data = data[room:]
            await self.flush()

    async def request(self, method, path, headers=(), body=None):
        """A plain request; returns status, headers and body."""
        pseudo = [(":method", method), (":scheme", "https"), (":authority", "agent"), (":path", path)]
        stream = await self.open(pseudo + list(headers), end_stream=body is None)
        if body is not None:
            self.h2.send_data(stream, body, end_stream=True)
            await self.flush()
        status, answer, content = None, {}, b""
        while True:
            kind, value = await self.next(stream)
            if kind == "headers":
                status, answer = int(value[":status"]), value
            elif kind == "data":
                content += value
            elif kind == "end":
                break
            else:
                raise Failure(f"{method} {path}: reset with {value}")
        emit("http", method=method, path=path, status=status, content_type=answer.get("content-type"), bytes=len(content))
        return status, answer, content

    async def status(self):
        """GET /status, which must be JSON."""
        status, _, content = await self.request("GET", "/status")
        if status != 200:
            raise Failure(f"GET /status: {status}")
        parsed = json.loads(content)
        emit("status", status=parsed)
        return parsed

    async def ping(self):
        """A PING and its answer; returns the round trip in milliseconds."""
        start, before = time.monotonic(), self.pongs
        self.h2.ping(b"lenscap?")
        await self.flush()
        while self.pongs == before:
            if self.closed.done():
                raise Closed("the uplink closed")
            if time.monotonic() - start > self.timeout:
                raise Failure("PING is not answered")
            await asyncio.sleep(0.001)
        return (time.monotonic() - start) * 1000

    async def wait_closed(self, timeout):
        """Waits for the agent to close; `True` when it did."""
        done, _ = await asyncio.wait([self.closed], timeout=timeout)
        return bool(done)

    async def stop(self):
        """Closes from this side."""
        if self.reader:
            self.reader.cancel()
        self.carrier.close()
