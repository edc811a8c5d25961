"""A gateway that is started from nothing with one command, and its own commands."""

import json
import select
import subprocess
from pathlib import Path

from .gateway import MORTAL, NAME, START_SECONDS, GatewayError, end, first_answer, probe, program

COMMAND_SECONDS = 30


class FreshGateway:
    """`lenscap-gateway run` without a configuration, on this uplink port; its data lies in `folder`."""

    def __init__(self, folder: Path, port: int):
        folder.mkdir(parents=True, exist_ok=True)
        self.data = folder / "data"
        self.log = folder / "gateway.log"
        self.port = port
        self.start()

    def start(self) -> None:
        """Starts it, with what an earlier one has left."""
        anywhere = "127.0.0.1:0"
        with self.log.open("ab") as errors:
            self._process = subprocess.Popen(
                [*MORTAL, program("lenscap-gateway"), "run", "--data", self.data, "--host", NAME,
                 "--uplink-listen", f"127.0.0.1:{self.port}", "--rtsp-listen", anywhere, "--rtsps-listen", anywhere,
                 "--http-listen", anywhere],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors)
        ready = select.select([self._process.stdout], [], [], START_SECONDS)[0]
        line = self._process.stdout.readline() if ready else b""
        if not line:
            self.stop()
            raise GatewayError(f"the gateway does not start: {self.log_text()[-600:]}")
        self.listening = json.loads(line)

    def __enter__(self) -> "FreshGateway":
        return self

    def __exit__(self, *_) -> None:
        self.stop()

    def stop(self) -> None:
        """Ends it."""
        end(self._process)

    def log_text(self) -> str:
        """What it said."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def camera_line(self) -> str:
        """The line that it says to put on a camera."""
        return self.wait_for(
            lambda: next((line.strip() for line in self.log_text().splitlines() if "config uplink 'main'" in line), ""),
            "the gateway says no line for a camera")

    def ask(self, *words: str, typed: str | None = None) -> str:
        """One of its commands; gives what it printed."""
        done = subprocess.run([program("lenscap-gateway"), *words, "--data", self.data], input=typed or "",
                              capture_output=True, text=True, timeout=COMMAND_SECONDS, check=False)
        if done.returncode != 0:
            raise GatewayError(f"lenscap-gateway {words[0]} {words[1]}: {done.stderr.strip()[-400:]}")
        return done.stdout

    def cameras(self) -> dict:
        """`camera list`: those that are claimed, and those that wait."""
        return json.loads(self.ask("camera", "list", "--json"))

    def wait_for(self, ask, complaint: str, seconds: float = 120):
        """The first answer that is not empty."""
        answer = first_answer(ask, seconds)
        if not answer:
            raise GatewayError(f"{complaint}; {self.log_text()[-600:]}")
        return answer

    def probe(self, user: str, password: str, camera: str, profile: str) -> str:
        """Codec and size, as ffprobe reads them."""
        return probe(f"rtsp://{user}:{password}@{self.listening['rtsp']}/{camera}/{profile}", password)
