#!/usr/bin/env python3
"""Tries logins. Run on the host that tries: logins.py {ssh|telnet} ADDRESS, with a JSON list of user and password on
standard input; says for each `open`, `refused` (the password) or `unreachable`.
"""

import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor

# Dropbear lets one address have five connections that are not logged in.
AT_ONCE = 2
ASK_AGAIN = 10
PAUSE_SECONDS = 1
CONNECT_SECONDS = 30
TRY_SECONDS = 120
IAC, WILL, DO, SUB, SUB_END = 255, 251, 253, 250, 240


def ssh(address: str, user: str, password: str) -> str:
    """One try, with OpenSSH's client. A server with too many connections just hangs up, and is asked again."""
    for _ in range(ASK_AGAIN):
        answer = _ssh(address, user, password)
        if not answer.startswith("ssh: kex_exchange"):
            break
        time.sleep(PAUSE_SECONDS)
    return answer


def _ssh(address: str, user: str, password: str) -> str:
    with tempfile.TemporaryFile("w+") as secret:
        secret.write(password + "\n")
        secret.flush()
        secret.seek(0)
        done = subprocess.run(
            ["sshpass", f"-d{secret.fileno()}", "ssh", "-F", "none", "-o", "PreferredAuthentications=password",
             "-o", "PubkeyAuthentication=no", "-o", "NumberOfPasswordPrompts=1", "-o", "StrictHostKeyChecking=no",
             "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", "-o", f"ConnectTimeout={CONNECT_SECONDS}",
             f"{user}@{address}", "echo in"],
            pass_fds=(secret.fileno(),), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=TRY_SECONDS, check=False)
    if done.stdout.strip() == "in":
        return "open"
    if "Permission denied" in done.stderr or done.returncode == 5:
        return "refused"
    if "refused" in done.stderr or "timed out" in done.stderr or "unreachable" in done.stderr or "No route" in done.stderr:
        return "unreachable"
    return f"ssh: {done.stderr.strip().splitlines()[-1] if done.stderr.strip() else done.returncode}"


class Telnet:
    """A terminal that can do nothing (RFC 854): every option is refused."""

    def __init__(self, address: str):
        self.socket = socket.create_connection((address, 23), CONNECT_SECONDS)
        self.text = ""
        self.raw = b""

    def expect(self, pattern: str, seconds: float) -> re.Match | None:
        """Waits for text."""
        deadline = time.monotonic() + seconds
        while True:
            match = re.search(pattern, self.text)
            left = deadline - time.monotonic()
            if match or left <= 0:
                return match
            self.socket.settimeout(left)
            try:
                data = self.socket.recv(4096)
            except OSError:
                return None
            if not data:
                return None
            self._take(data)

    def send(self, line: str) -> None:
        """Types a line; what was said before is forgotten."""
        self.text = ""
        self.socket.sendall(line.encode() + b"\r\n")

    def _take(self, data: bytes) -> None:
        data, self.raw = self.raw + data, b""
        at = 0
        while at < len(data):
            if data[at] != IAC:
                self.text += chr(data[at])
                at += 1
            elif at + 2 >= len(data):
                self.raw = data[at:]
                return
            elif data[at + 1] == SUB:
                end = data.find(bytes((IAC, SUB_END)), at)
                if end < 0:
                    self.raw = data[at:]
                    return
                at = end + 2
            else:
                # WILL is answered by DONT, DO by WONT.
                answer = {WILL: 254, DO: 252}.get(data[at + 1])
                if answer:
                    self.socket.sendall(bytes((IAC, answer, data[at + 2])))
                at += 3 if data[at + 1] >= SUB + 1 else 2


def telnet(address: str, user: str, password: str) -> str:
    """One try."""
    try:
        terminal = Telnet(address)
    except OSError:
        return "unreachable"
    with terminal.socket:
        if not terminal.expect(r"login: $", 20):
            return "telnet: no prompt"
        terminal.send(user)
        if not terminal.expect(r"assword: $", 20):
            return "refused"
        terminal.send(password)
        seen = terminal.expect(r"incorrect|[#$] (\x1b\[6n)?$", 20)
        return "open" if seen and seen[0] != "incorrect" else "refused"


def main() -> None:
    """Tries all of them."""
    service, address = sys.argv[1:]
    pairs = json.load(sys.stdin)
    one = {"ssh": ssh, "telnet": telnet}[service]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        answers = list(pool.map(lambda pair: one(address, *pair), pairs))
    json.dump(answers, sys.stdout)


if __name__ == "__main__":
    os.umask(0o077)
    main()
