"""What the gateway does to agents that dial it."""

import asyncio
import time

import h2.exceptions

from . import violations
from .frames import GOAWAY, frame
from .report import Failure, emit
from .rtsp import RtspStream
from .uplink import Closed, Uplink

SCENARIOS = {}
POLL_SECONDS = 0.05


def scenario(function):
    """Registers a scenario under its name."""
    SCENARIOS[function.__name__.replace("_", "-")] = function
    return function


class Server:
    """Accepted connections, in order."""

    def __init__(self, args):
        self.args = args
        self.accepted = asyncio.Queue()

    async def next(self, timeout=None):
        """The next connection that sent an upgrade request: (carrier, upgrade)."""
        end = time.monotonic() + (timeout or self.args.accept_timeout)
        while (left := end - time.monotonic()) > 0:
            try:
                carrier = await asyncio.wait_for(self.accepted.get(), left)
                return carrier, await carrier.read_upgrade(self.args.timeout)
            except asyncio.TimeoutError:
                break
            except Failure as error:
                emit("no_upgrade", error=str(error))
        raise Failure("no agent came in time")

    async def uplink(self, timeout=None):
        """The next uplink, switched and with SETTINGS exchanged."""
        carrier, upgrade = await self.next(timeout)
        uplink = Uplink(carrier, self.args.timeout)
        await uplink.start(upgrade)
        return uplink


@scenario
async def play(server):
    """Status, a profile for --seconds, its orderly end, and status again."""
    args = server.args
    uplink = await server.uplink()
    await uplink.status()
    await _snapshot(uplink, args)
    for _ in range(args.count):
        stream = await RtspStream.open(uplink)
        await stream.start(args.profile)
        whole = await stream.play(args.seconds)
        if not whole:
            raise Failure(f"the stream ended early: {stream.ended}")
        await stream.finish(args.end)
        stream.report()
    emit("ping", ms=await uplink.ping())
    # The camera's answer to TEARDOWN may be on its way.
    deadline = time.monotonic() + args.timeout
    while left := (await uplink.status()).get("sessions"):
        if time.monotonic() > deadline:
            raise Failure(f"{left} sessions are left")
        await asyncio.sleep(POLL_SECONDS)
    if left is None:
        raise Failure("the status does not count sessions")
    await uplink.stop()


async def _snapshot(uplink, args):
    if not args.snapshot:
        return
    status, headers, content = await uplink.request("GET", f"/snapshot/{args.profile}")
    if status != 200 or headers.get("content-type") != "image/jpeg" or content[:2] != b"\xff\xd8":
        raise Failure(f"snapshot: {status} {headers.get('content-type')} {content[:40]!r}")
    if int(headers.get("content-length", -1)) != len(content):
        raise Failure("snapshot: content-length is wrong")


@scenario
async def get(server):
    """GET (or --method) each --path and report; no judgement."""
    uplink = await server.uplink()
    for path in server.args.path:
        status, _, content = await uplink.request(server.args.method, path)
        emit("get", path=path, status=status, body=content[:200].decode("latin-1") if status != 200 else None)
    await uplink.stop()


@scenario
async def hold(server):
    """Holds an uplink for --seconds with a PING after 17 s of silence, as gateways do."""
    uplink = await server.uplink()
    end = time.monotonic() + server.args.seconds
    while (left := end - time.monotonic()) > 0:
        if await uplink.wait_closed(min(17, left)):
            raise Failure("the agent closed an uplink that was alive")
        emit("ping", ms=await uplink.ping())
    emit("held", agent_pings=uplink.agent_pings)
    await uplink.stop()


@scenario
async def silent(server):
    """Says nothing after SETTINGS and answers no PING: the agent asks after 22 s and closes after 30."""
    carrier, upgrade = await server.next()
    uplink = Uplink(carrier, server.args.timeout)
    await uplink.start(upgrade)
    start = time.monotonic()

    async def swallow():
        uplink.h2.data_to_send()

    uplink.flush = swallow
    if not await uplink.wait_closed(40):
        raise Failure("the agent did not close a dead uplink in 40 s")
    seconds = time.monotonic() - start
    emit("silent", seconds=seconds, agent_pings=uplink.agent_pings)
    if not 25 <= seconds <= 35 or not uplink.agent_pings:
        raise Failure(f"closed after {seconds:.1f} s with {uplink.agent_pings} PINGs")


async def _reply(carrier, head):
    await carrier.send_raw(("\r\n".join(head) + "\r\n\r\n").encode("latin-1"))
    carrier.close()


@scenario
async def redirect(server):
    """Answers --status with Location: the first --location, the others as Link rel=alternate; --count times
    (0: always). Reports every attempt for --seconds."""
    args = server.args
    if not args.location:
        raise Failure("--location is needed")
    head = [f"HTTP/1.1 {args.status} Redirect", f"Location: {args.location[0]}"]
    head += [f'Link: <{target}>; rel="alternate"' for target in args.location[1:]]
    head += [f"Lenscap-Pin: {args.pin}"] if args.pin else []
    head += ["Content-Length: 0", "Connection: close"]
    await _answer_attempts(server, head)


@scenario
async def refuse(server):
    """Answers --status (401, 403, 429, 503, ...) with --retry-after; reports every attempt for --seconds."""
    args = server.args
    head = [f"HTTP/1.1 {args.status} Refused"]
    head += [f"Retry-After: {args.retry_after}"] if args.retry_after else []
    head += ['WWW-Authenticate: Bearer realm="test"'] if args.status == 401 else []
    head += ["Content-Length: 0", "Connection: close"]
    await _answer_attempts(server, head)


async def _answer_attempts(server, head):
    args, attempts = server.args, []
    end = time.monotonic() + args.seconds
    while (args.count == 0 or len(attempts) < args.count) and (left := end - time.monotonic()) > 0:
        try:
            carrier, _ = await server.next(left)
        except Failure:
            break
        attempts.append(round(time.monotonic(), 3))
        await _reply(carrier, head)
    gaps = [round(after - before, 3) for before, after in zip(attempts, attempts[1:])]
    emit("attempts", count=len(attempts), gaps=gaps)
    if not attempts:
        raise Failure("no agent came in time")
    # Then it behaves, so that a test sees the agent come back here or stay away.
    if args.then == "accept":
        uplink = await server.uplink()
        await uplink.status()
        await uplink.stop()


BAD_REPLIES = {
    "garbage": b"\x16\x03\x01 this is no HTTP \x00\xff\r\n\r\n",
    "not-http": b"RTSP/1.0 200 OK\r\n\r\n",
    "ok": b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "wrong-upgrade": b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
    "no-upgrade": b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\r\n",
    "no-connection": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c-reverse\r\n\r\n",
    "wrong-accept": (
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\nSec-WebSocket-Protocol: h2c-reverse\r\n\r\n"
    ),
    "endless-head": b"HTTP/1.1 101 Switching Protocols\r\n" + b"X-Fill: " + b"y" * 100_000,
    "endless-interim": b"HTTP/1.1 100 Continue\r\n\r\n" * 5000,
    "cut": b"HTTP/1.1 101 Switch",
    "redirect-without-location": b"HTTP/1.1 307 Temporary Redirect\r\nContent-Length: 0\r\n\r\n",
    "redirect-garbage": b"HTTP/1.1 308 Permanent Redirect\r\nLocation: https://[::/\x01\r\nContent-Length: 0\r\n\r\n",
    "silence": b"",
}


@scenario
async def bad_reply(server):
    """Answers the upgrade with --reply; the agent must give the connection up, and come again."""
    args = server.args
    carrier, _ = await server.next()
    start = time.monotonic()
    try:
        await carrier.send_raw(BAD_REPLIES[args.reply])
        if args.reply == "cut":
            carrier.writer.write_eof() if carrier.writer.can_write_eof() else carrier.close()
        while await carrier.receive(args.timeout * 3):
            pass
    except (ConnectionError, asyncio.TimeoutError) as error:
        if isinstance(error, asyncio.TimeoutError):
            raise Failure("the agent kept the connection") from error
    emit("given_up", reply=args.reply, ms=round((time.monotonic() - start) * 1000, 1))
    uplink = await server.uplink()
    await uplink.status()
    await uplink.stop()


async def _overlap(server, old, stream, ask):
    """Asks the agent to go elsewhere and waits for make-before-break: the new uplink, then the old one's end."""
    args = server.args
    playing = asyncio.create_task(stream.play(args.seconds)) if stream else None
    try:
        await ask()
        await _break_after_make(server, old, stream, playing)
    finally:
        if playing:
            playing.cancel()
            await asyncio.gather(playing, return_exceptions=True)


async def _break_after_make(server, old, stream, playing):
    args = server.args
    start = time.monotonic()
    new = None
    if not args.location:
        new = await server.uplink(args.accept_timeout)
        emit("new_uplink", ms=round((time.monotonic() - start) * 1000, 1), old_open=not old.closed.done())
        if old.closed.done():
            raise Failure("the old uplink closed before the new one was up")
        moves = (await new.status())["counters"]["moves"]
        if moves != 1:
            raise Failure(f"one move was asked for, the agent counts {moves}")
    if playing:
        whole = await playing
        emit("old_stream", whole=whole, ended=stream.ended)
        if whole:
            await stream.finish("teardown")
        stream.report()
    if not await old.wait_closed(args.accept_timeout):
        raise Failure("the old uplink did not close")
    codes = [goaway["code"] for goaway in old.goaways]
    emit("drained", goaways=old.goaways, ms=round((time.monotonic() - start) * 1000, 1))
    if not codes or any(codes):
        raise Failure(f"the old uplink ended without an orderly GOAWAY: {old.goaways}")
    if new:
        if new.closed.done():
            raise Failure("the new uplink did not stay")
        await new.stop()


async def _begin(server):
    uplink = await server.uplink()
    await uplink.status()
    stream = None
    if server.args.profile:
        stream = await RtspStream.open(uplink)
        await stream.start(server.args.profile)
    return uplink, stream


@scenario
async def drain(server):
    """GOAWAY in two steps with a stream open (none with --profile ''): a new uplink, the old one drains."""
    old, stream = await _begin(server)

    async def ask():
        for last in (b"\x7f\xff\xff\xff", b"\0" * 4):
            await old.carrier.send(frame(GOAWAY, 0, 0, last + b"\0" * 4))

    await _overlap(server, old, stream, ask)


@scenario
async def move(server):
    """POST /uplink/move, to --location when given (then the new uplink comes up there and not here)."""
    args = server.args
    old, stream = await _begin(server)

    async def ask():
        headers = [("location", args.location[0])] if args.location else []
        status, _, _ = await old.request("POST", "/uplink/move", headers, body=b"")
        if status != 202:
            raise Failure(f"POST /uplink/move: {status}")

    await _overlap(server, old, stream, ask)


@scenario
async def move_refused(server):
    """POST /uplink/move to each --location must give --status and leave the uplink up."""
    args = server.args
    uplink = await server.uplink()
    for target in args.location:
        status, _, _ = await uplink.request("POST", "/uplink/move", [("location", target)], body=b"")
        if status != args.status:
            raise Failure(f"POST /uplink/move to {target}: {status}, not {args.status}")
    emit("ping", ms=await uplink.ping())
    await uplink.status()
    await uplink.stop()


@scenario
async def violate(server):
    """Each --violation on a connection of its own ("all": every one the carrier allows), then a good uplink."""
    args = server.args
    names = list(args.violation)
    failed, first = [], True
    while names:
        carrier, upgrade = await server.next()
        if first and names == ["all"]:
            outer = upgrade.carrier == "websocket"
            names = [name for name in violations.ALL if outer or name not in violations.OUTER]
        first = False
        name = names.pop(0)
        try:
            if not await violations.violate(carrier, upgrade, name, args.timeout):
                failed.append(name)
        except (Failure, ConnectionError, asyncio.TimeoutError) as error:
            emit("violation", name=name, ok=False, error=f"{type(error).__name__}: {error}")
            failed.append(name)
            carrier.close()
    if args.then == "accept":
        uplink = await server.uplink()
        await uplink.status()
        await uplink.stop()
    if failed:
        raise Failure(f"wrong answers to: {', '.join(failed)}")


FAILURES = (Failure, Closed, h2.exceptions.H2Error, ConnectionError, asyncio.TimeoutError)
