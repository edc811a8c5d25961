"""TLS, the agent's HTTP/1.1 upgrade request, and the two carriers of HTTP/2 bytes."""

import asyncio
import base64
import hashlib
import ssl

from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Ping, TextMessage
from wsproto.utilities import RemoteProtocolError

from .report import Failure, emit

MAX_HEAD = 16 << 10
MAX_READ = 64 << 10
WS_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def tls_context(cert, key, client_ca=None):
    """A server context; with `client_ca` (one or more certificates) it asks for a client certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    context.set_alpn_protocols(["http/1.1"])
    if client_ca:
        context.verify_mode = ssl.CERT_OPTIONAL
        # The agent's own certificate may be the anchor, self-signed or not.
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        context.load_verify_locations(client_ca)
    return context


class Upgrade:
    """A parsed upgrade request."""

    def __init__(self, head):
        lines = head.decode("latin-1").split("\r\n")
        self.method, self.target, self.version = (lines[0].split(" ") + ["", "", ""])[:3]
        self.headers = {}
        for line in lines[1:]:
            name, _, value = line.partition(":")
            if name:
                self.headers.setdefault(name.strip().lower(), []).append(value.strip())

    def first(self, name, default=""):
        return self.headers.get(name, [default])[0]

    @property
    def carrier(self):
        return "websocket" if self.first("upgrade").lower() == "websocket" else "h2c-reverse"

    def problems(self):
        """What is wrong with the request, as a list of sentences."""
        found = []
        if (self.method, self.version) != ("GET", "HTTP/1.1"):
            found.append(f"request line {self.method} {self.version}")
        if not self.target.startswith("/"):
            found.append(f"target {self.target!r}")
        for name in ("host", "user-agent", "connection", "upgrade"):
            if len(self.headers.get(name, [])) != 1:
                found.append(f"{len(self.headers.get(name, []))} {name} headers")
        if "upgrade" not in [token.strip().lower() for token in self.first("connection").split(",")]:
            found.append("Connection without upgrade")
        if not self.first("user-agent").startswith("lenscap/"):
            found.append(f"User-Agent {self.first('user-agent')!r}")
        if self.carrier == "websocket":
            found += self._websocket_problems()
        elif self.first("upgrade").lower() != "h2c-reverse":
            found.append(f"Upgrade {self.first('upgrade')!r}")
        return found

    def _websocket_problems(self):
        found = []
        if self.first("sec-websocket-version") != "13":
            found.append("Sec-WebSocket-Version is not 13")
        if self.first("sec-websocket-protocol") != "h2c-reverse":
            found.append("Sec-WebSocket-Protocol is not h2c-reverse")
        try:
            if len(base64.b64decode(self.first("sec-websocket-key"), validate=True)) != 16:
                found.append("Sec-WebSocket-Key is not 16 bytes")
        except ValueError:
            found.append("Sec-WebSocket-Key is not base64")
        return found

    def switching(self):
        """The right 101 reply."""
        if self.carrier == "h2c-reverse":
            return b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c-reverse\r\n\r\n"
        digest = hashlib.sha1((self.first("sec-websocket-key") + WS_GUID).encode()).digest()
        accept = base64.b64encode(digest).decode()
        return (
            "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: WebSocket\r\n"
            f"Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: h2c-reverse\r\n\r\n"
        ).encode()

    def describe(self):
        """What goes into the report; a token is named by its hash."""
        token = self.first("authorization").partition(" ")[2]
        return {
            "carrier": self.carrier,
            "target": self.target,
            "host": self.first("host"),
            "user_agent": self.first("user-agent"),
            "token_sha256": hashlib.sha256(token.encode()).hexdigest() if token else None,
            "headers": sorted(self.headers),
        }


class Carrier:
    """The bytes of one uplink after the upgrade, whichever way they travel."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer
        self.websocket = None
        self.pending = b""
        self.closed_by_agent = False
        self.ws_close = None

    async def read_upgrade(self, timeout):
        """Reads the upgrade request."""
        tls = self.writer.get_extra_info("ssl_object")
        der = tls.getpeercert(binary_form=True)
        emit(
            "tls",
            version=tls.version(),
            cipher=tls.cipher()[0],
            alpn=tls.selected_alpn_protocol(),
            resumed=tls.session_reused,
            client_cert_sha256=hashlib.sha256(der).hexdigest() if der else None,
        )
        try:
            head = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), timeout)
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, asyncio.TimeoutError) as error:
            raise Failure(f"no upgrade request: {type(error).__name__}") from error
        if len(head) > MAX_HEAD:
            raise Failure("the upgrade request is too large")
        upgrade = Upgrade(head)
        emit("upgrade", problems=upgrade.problems(), **upgrade.describe())
        return upgrade

    async def switch(self, upgrade, first=b""):
        """Answers 101 with the first HTTP/2 bytes in the same segment."""
        problems = upgrade.problems()
        if problems:
            raise Failure("bad upgrade request: " + "; ".join(problems))
        if upgrade.carrier == "websocket":
            self.websocket = Connection(ConnectionType.SERVER)
            first = self._wrap(first)
        await self.send_raw(upgrade.switching() + first)

    def _wrap(self, data):
        """One binary message, in two fragments when it is long enough: boundaries mean nothing."""
        if not data:
            return b""
        half = len(data) // 2
        if half < 16:
            return self.websocket.send(BytesMessage(data=data))
        first = self.websocket.send(BytesMessage(data=data[:half], message_finished=False))
        return first + self.websocket.send(BytesMessage(data=data[half:]))

    async def send(self, data):
        if data:
            await self.send_raw(self._wrap(data) if self.websocket else data)

    async def send_raw(self, data):
        self.writer.write(data)
        await self.writer.drain()

    async def receive(self, timeout=None):
        """The next HTTP/2 bytes; empty at the end."""
        while True:
            try:
                data = await asyncio.wait_for(self.reader.read(MAX_READ), timeout)
            except (ConnectionError, ssl.SSLError):
                data = b""
            if not data:
                self.closed_by_agent = True
                return b""
            if self.websocket is None:
                return data
            data = await self._unwrap(data)
            if data or self.closed_by_agent:
                return data

    async def _unwrap(self, data):
        out = b""
        try:
            self.websocket.receive_data(data)
            for event in self.websocket.events():
                if isinstance(event, BytesMessage):
                    out += bytes(event.data)
                elif isinstance(event, Ping):
                    await self.send_raw(self.websocket.send(event.response()))
                elif isinstance(event, CloseConnection):
                    self.ws_close = int(event.code)
                    self.closed_by_agent = True
                elif isinstance(event, TextMessage):
                    raise Failure("a text message on the carrier")
        except RemoteProtocolError as error:
            raise Failure(f"bad WebSocket frame on the carrier: {error}") from error
        return out

    def close(self):
        self.writer.close()
