"""Command line of the independent gateway."""

import argparse
import asyncio
import json
import ssl
import sys

from . import violations
from .carrier import Carrier, tls_context
from .report import emit
from .scenarios import BAD_REPLIES, FAILURES, SCENARIOS, Server


def parse_args():
    parser = argparse.ArgumentParser(
        prog="python -m pygateway",
        description="An independent gateway that plays with, moves, refuses and provokes a Lenscap agent.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="scenarios:\n" + "\n".join(f"  {name:14} {run.__doc__}" for name, run in SCENARIOS.items()),
    )
    add = parser.add_argument
    add("--cert", help="PEM certificate chain")
    add("--key", help="PEM key")
    add("--client-ca", help="ask for client certificates; PEM with the agents' (or their CA's)")
    add("--listen", default="127.0.0.1:0", help="HOST:PORT, port 0 lets the system choose")
    add("--scenario", choices=sorted(SCENARIOS), default="play")
    add("--profile", default="main", help="profile to play; empty for none")
    add("--seconds", type=float, default=5, help="how long to play, hold or watch")
    add("--end", choices=["teardown", "ws-close", "end-stream", "reset"], default="teardown")
    add("--snapshot", action="store_true", help="with play: fetch the profile's snapshot too")
    add("--path", action="append", default=[], help="with get")
    add("--method", default="GET", help="with get")
    add("--status", type=int, default=307, help="with redirect, refuse and move-refused")
    add("--location", action="append", default=[], help="with redirect, move and move-refused")
    add("--pin", help="with redirect: Lenscap-Pin")
    add("--retry-after", help="with refuse")
    add("--count", type=int, default=1, help="sessions of play; answers of redirect and refuse (0: no end)")
    add("--reply", choices=sorted(BAD_REPLIES), default="garbage", help="with bad-reply")
    add("--violation", action="append", default=[], help="with violate; 'all' for every one")
    add("--list-violations", action="store_true")
    add("--then", choices=["accept", "exit"], default="exit", help="what follows refusals and violations")
    add("--timeout", type=float, default=5, help="longest wait for an answer")
    add("--accept-timeout", type=float, default=60, help="longest wait for an agent")
    add("--max-seconds", type=float, default=300, help="longest run")
    args = parser.parse_args()
    if args.list_violations:
        print(json.dumps({"common": [n for n in violations.ALL if n not in violations.OUTER], "wss": list(violations.OUTER)}))
        sys.exit(0)
    if not args.cert or not args.key:
        parser.error("--cert and --key are needed")
    unknown = [name for name in args.violation if name != "all" and name not in violations.ALL]
    if unknown:
        parser.error(f"unknown violation {unknown[0]}; see --list-violations")
    if args.scenario == "violate" and not args.violation:
        parser.error("--violation is needed")
    return args


async def run(args):
    server = Server(args)
    context = tls_context(args.cert, args.key, args.client_ca)

    async def accept(reader, writer):
        await server.accepted.put(Carrier(reader, writer))

    def note(_loop, details):
        # A handshake that failed is a result, not a traceback.
        error = details.get("exception")
        if isinstance(error, (ssl.SSLError, ConnectionError)):
            emit("tls_failed", error=str(error))
        else:
            emit("internal", error=f"{details.get('message')}: {error}")

    asyncio.get_running_loop().set_exception_handler(note)
    host, _, port = args.listen.rpartition(":")
    listener = await asyncio.start_server(accept, host.strip("[]"), int(port), ssl=context)
    address = listener.sockets[0].getsockname()
    emit("listening", uplink=f"{address[0]}:{address[1]}")
    try:
        await asyncio.wait_for(SCENARIOS[args.scenario](server), args.max_seconds)
    except FAILURES as error:
        emit("result", ok=False, scenario=args.scenario, error=f"{error or type(error).__name__}")
        return 1
    finally:
        listener.close()
    emit("result", ok=True, scenario=args.scenario)
    return 0


def main():
    args = parse_args()
    sys.exit(asyncio.run(run(args)))


main()
