"""Opens a random mix of sockets and compares what `lenscap audit` and Debian's netstat say of them.

Run it in a network namespace of its own, as root: sockets.py LENSCAP SEED
"""

import collections
import json
import os
import random
import re
import shutil
import socket
import subprocess
import sys

LOOKS = 20
STATES = {
    1: "ESTABLISHED", 2: "SYN_SENT", 3: "SYN_RECV", 4: "FIN_WAIT1", 5: "FIN_WAIT2", 6: "TIME_WAIT", 7: "CLOSE",
    8: "CLOSE_WAIT", 9: "LAST_ACK", 10: "LISTEN", 11: "CLOSING",
}


def open_some(rng):
    """Gives sockets that must stay open."""
    held = []
    for _ in range(rng.randrange(20, 60)):
        kind = rng.choice(["tcp", "tcp6", "any6", "pair", "half", "udp", "udp6", "connected", "raw", "raw6", "bound", "child"])
        if kind in ("tcp", "tcp6", "any6"):
            family = socket.AF_INET if kind == "tcp" else socket.AF_INET6
            one = socket.socket(family, socket.SOCK_STREAM)
            one.bind(({"tcp": "127.0.0.1", "tcp6": "::1", "any6": "::"}[kind], 0))
            one.listen(rng.randrange(1, 100))
            held.append(one)
        elif kind in ("pair", "half"):
            listener = socket.create_server(("127.0.0.1", 0))
            client = socket.create_connection(listener.getsockname())
            server, _ = listener.accept()
            held += [listener, client, server]
            if kind == "half":
                server.shutdown(socket.SHUT_WR)
        elif kind in ("udp", "udp6", "connected"):
            family = socket.AF_INET6 if kind == "udp6" else socket.AF_INET
            one = socket.socket(family, socket.SOCK_DGRAM)
            one.bind(("::" if kind == "udp6" else "0.0.0.0", 0))
            if kind == "connected":
                one.connect(("127.0.0.1", 9))
            held.append(one)
        elif kind in ("raw", "raw6"):
            family = socket.AF_INET6 if kind == "raw6" else socket.AF_INET
            held.append(socket.socket(family, socket.SOCK_RAW, rng.choice([1, 2, 6, 47, 58, 253])))
        elif kind == "bound":
            # netstat shows a socket that is bound and nothing else only where it is in the kernel's tables.
            one = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            one.bind(("127.0.0.1", 0))
            held.append(one)
        else:
            one = socket.create_server(("127.0.0.1", 0))
            one.set_inheritable(True)
            # Two processes share it; a name that breaks lines and terminals.
            name = rng.choice(["a b\nc", "\x1b[2J", "x" * 60, "(sd)", "telnetd"])
            child = subprocess.Popen([name, "1000"], executable=shutil.which("sleep"), pass_fds=[one.fileno()])
            held += [one, child]
    return held


def endpoint(text):
    address, port = text.rsplit(":", 1)
    return address, 0 if port == "*" else int(port)


def netstat():
    """Of each socket: protocol, ends, state, process."""
    output = subprocess.run(["netstat", "-anpuwt"], check=True, capture_output=True, text=True, errors="replace").stdout
    found = []
    for line in output.splitlines():
        words = line.split()
        if not words or not re.fullmatch(r"(tcp|udp|raw)6?", words[0]):
            continue
        proto, _, _, local, remote, *rest = words
        state = rest[0] if rest and not re.match(r"\d+/|-$", rest[0]) else ""
        owner = next((word for word in rest[1 if state else 0:]), "-")
        pid = int(owner.split("/")[0]) if owner != "-" else None
        found.append((proto, endpoint(local), endpoint(remote), state, pid))
    return found


def audit(lenscap):
    output = subprocess.run([lenscap, "audit", "--json", "--no-probe", "--only", "network"], capture_output=True).stdout
    found = []
    for one in json.loads(output)["sockets"]:
        proto = one["protocol"]
        if proto == "packet":
            continue
        if proto.startswith("tcp"):
            state = STATES[one["state"]]
        elif proto.startswith("udp"):
            state = "ESTABLISHED" if one["state"] == 1 else ""
        else:
            state = str(one["state"])
        ends = [(end["address"], end["port"]) for end in (one["local"], one["remote"])]
        found.append((proto, *ends, state, one.get("pid")))
    return found


def normal(found):
    """netstat cuts long addresses and writes mapped ones as IPv4; ports of TIME_WAIT have no owner for either."""
    def address(pair):
        text, port = pair
        return text.removeprefix("::ffff:"), port
    return collections.Counter((proto, address(local), address(remote), state, pid) for proto, local, remote, state, pid in found)


def main():
    lenscap, seed = sys.argv[1], int(sys.argv[2])
    rng = random.Random(seed)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    held = open_some(rng)
    try:
        # A socket may go from one state to the next between two looks: those count between which netstat saw none do so.
        for _ in range(LOOKS):
            theirs, ours, after = normal(netstat()), normal(audit(lenscap)), normal(netstat())
            if theirs == after:
                break
        else:
            sys.exit(f"seed {seed}: {LOOKS} times sockets changed while they were looked at")
    finally:
        for one in held:
            if isinstance(one, subprocess.Popen):
                one.kill()
                one.wait()
    if theirs != ours:
        print(f"seed {seed}: netstat alone {theirs - ours}; audit alone {ours - theirs}")
        sys.exit(1)
    print(f"seed {seed}: {sum(ours.values())} sockets, {len({key[0] for key in ours})} protocols, the same")


main()
