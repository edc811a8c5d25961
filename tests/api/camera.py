"""A camera that has an audit and flows, for the API to show: it dials the gateway and answers what is asked over the uplink.

usage: camera.py HOST:PORT CA TOKEN AUDIT     AUDIT: a file, as `lenscap audit --json` wrote it. Ends with SIGTERM.
"""

import json
import pathlib
import socket
import ssl
import sys
import time

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h2.settings

AGAIN_SECONDS = 0.2
MAX_HEAD_BYTES = 16 << 10
# One record of each way to count and of both directions (docs/protocol.md, "Flows").
COUNTERS = {"bytes_out": 9_000_000, "bytes_in": 120_000, "packets_out": 8000, "packets_in": 1500}
HEAD = {
    "epoch": "5d0c00000000a1b2", "cursor": 3, "started_ms": 1_790_000_000_000, "time_ms": 1_790_000_060_000, "samples": 7,
    "evicted": 0, "untracked": 0, "resets": 0, "carried": COUNTERS, "explained": COUNTERS,
    "unexplained": dict.fromkeys(COUNTERS, 0), "blind": ["UDP is not counted: this kernel follows no connections"],
}
RECORD = {
    "local": "192.168.1.20", "connections": 2, "first_ms": 1_790_000_000_000, "last_ms": 1_790_000_050_000,
}
FLOWS = (
    {"cursor": 1, "peer": "203.0.113.7", "protocol": "tcp", "port": 8443, "direction": "out", "program": "/usr/sbin/lenscap",
     "source": "conntrack", **COUNTERS},
    {"cursor": 2, "peer": "2001:db8::7", "protocol": "udp", "port": 123, "direction": "out", "program": None, "source": "proc",
     **dict.fromkeys(COUNTERS)},
    {"cursor": 3, "peer": "192.168.1.9", "protocol": "tcp", "port": 554, "direction": "in", "program": "streamer",
     "source": "tcp_info", **COUNTERS},
)


def answer(method, path, audit):
    """(status, type, body) of one request."""
    path, _, query = path.partition("?")
    if method == "GET" and path == "/audit":
        return (202, "text/plain", b"") if query == "again" else (200, "application/json", audit)
    if method == "GET" and path == "/flows":
        lines = [json.dumps(line) + "\n" for line in (HEAD, *({**RECORD, **flow} for flow in FLOWS))]
        return 200, "application/jsonl", "".join(lines).encode()
    return 404, "text/plain", b"there is no such thing"


def dial(address, ca, token):
    """The uplink, upgraded."""
    host, port = address.rsplit(":", 1)
    context = ssl.create_default_context(cafile=ca)
    context.set_alpn_protocols(["http/1.1"])
    stream = context.wrap_socket(socket.create_connection((host, int(port))), server_hostname="localhost")
    head = (f"GET /onvif/uplink HTTP/1.1\r\nHost: localhost\r\nUser-Agent: tests\r\nConnection: Upgrade\r\n"
            f"Upgrade: h2c-reverse\r\nAuthorization: Bearer {token}\r\n\r\n")
    stream.sendall(head.encode())
    reply = b""
    while not reply.endswith(b"\r\n\r\n"):
        byte = stream.recv(1)
        if not byte or len(reply) > MAX_HEAD_BYTES:
            raise ConnectionError(f"no upgrade: {reply!r}")
        reply += byte
    if not reply.startswith(b"HTTP/1.1 101 "):
        raise ConnectionError(f"refused: {reply!r}")
    return stream


def serve(stream, audit):
    """Answers until the gateway ends the uplink."""
    connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
    connect = h2.settings.SettingCodes.ENABLE_CONNECT_PROTOCOL
    connection.local_settings = h2.settings.Settings(client=False, initial_values={connect: 1})
    connection.initiate_connection()
    waiting = {}
    while True:
        stream.sendall(connection.data_to_send())
        data = stream.recv(65536)
        if not data:
            return
        for event in connection.receive_data(data):
            if isinstance(event, h2.events.ConnectionTerminated):
                return
            if isinstance(event, h2.events.StreamReset):
                waiting.pop(event.stream_id, None)
            if isinstance(event, h2.events.RequestReceived):
                asked = dict(event.headers)
                status, kind, body = answer(asked[b":method"].decode(), asked[b":path"].decode(), audit)
                connection.send_headers(event.stream_id, [(":status", str(status)), ("content-type", kind)])
                waiting[event.stream_id] = body
        send(connection, waiting)


def send(connection, waiting):
    """As much as the gateway's windows take."""
    for stream, body in list(waiting.items()):
        try:
            size = min(connection.local_flow_control_window(stream), len(body))
            while size:
                piece = min(size, connection.max_outbound_frame_size)
                connection.send_data(stream, body[:piece])
                body, size = body[piece:], size - piece
            waiting[stream] = body
            if not body:
                connection.end_stream(stream)
                del waiting[stream]
        except h2.exceptions.ProtocolError:
            # It was reset meanwhile.
            del waiting[stream]


def main():
    address, ca, token, audit = sys.argv[1:]
    body = pathlib.Path(audit).read_bytes()
    while True:
        try:
            serve(dial(address, ca, token), body)
        except OSError as error:
            print(f"camera: {error}", file=sys.stderr, flush=True)
        # Somebody who may has ended it; it comes back as a camera does.
        time.sleep(AGAIN_SECONDS)


main()
