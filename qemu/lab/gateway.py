"""The gateway on this machine, its certificates, and viewers that look through it."""

import json
import os
import select
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

from . import paths

CAMERA = "front"
VIEWER = "viewer"
NAME = "gateway.lenscap.test"
START_SECONDS = 60
ONLINE_SECONDS = 90
PROBE_SECONDS = 180
POLL_SECONDS = 0.1
# Seconds of a guest may take as many of ours on a busy machine. Who is done does not wait.
PATIENCE = 4
# Before a program that is not to outlive the test, however that ends.
MORTAL = ("setpriv", "--pdeathsig", "KILL")


class GatewayError(Exception):
    """The gateway or a viewer did not do what it had to."""


def program(name: str) -> Path:
    """A program of this workspace, built for this machine."""
    folder = Path(os.environ.get("CARGO_TARGET_DIR", paths.ROOT / "target")) / "debug"
    if not (folder / name).exists():
        raise GatewayError(f"{folder / name} is not built: make qemu-build")
    return folder / name


def free_port() -> int:
    """A port that was free a moment ago: QEMU's command line wants it before the gateway starts."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def openssl(folder: Path, *arguments: str) -> None:
    """Runs openssl in `folder`."""
    done = subprocess.run(["openssl", *arguments], cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise GatewayError(f"openssl: {done.stderr.strip()[-300:]}")


def private(path: Path, text: str) -> Path:
    """Writes a file for its owner alone."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as out:
        out.write(text)
    return path


def end(process: subprocess.Popen) -> None:
    """Ends a gateway orderly, or else at once."""
    process.terminate()
    try:
        process.wait(START_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    process.stdout.close()


def first_answer(ask, seconds: float):
    """The first answer that is not empty; what is asked last when the time is over."""
    deadline = time.monotonic() + seconds
    while not (answer := ask()) and time.monotonic() <= deadline:
        select.select([], [], [], POLL_SECONDS)
    return answer


def probe(url: str, password: str) -> str:
    """Codec and size, as ffprobe reads them; the password in the URL is in no error."""
    done = subprocess.run(
        ["ffprobe", "-v", "error", "-rtsp_transport", "tcp", "-select_streams", "v", "-show_entries",
         "stream=codec_name,width,height", "-of", "csv=p=0", url],
        capture_output=True, text=True, timeout=PROBE_SECONDS, check=False)
    if done.returncode != 0 or not done.stdout.strip():
        raise GatewayError(f"ffprobe: {done.stderr.replace(password, '***').strip()[-400:]}")
    return done.stdout.strip()


class Gateway:
    """Certificates once, then the program as often as a scenario wants, on one uplink port."""

    def __init__(self, folder: Path):
        self.dir = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.password = os.urandom(16).hex()
        self.listening: dict = {}
        self._process: subprocess.Popen | None = None
        self._certificates()
        private(folder / "viewer.password", self.password)

    def _certificates(self) -> None:
        openssl(self.dir, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30",
                "-subj", "/CN=Lenscap test authority", "-addext", "basicConstraints=critical,CA:TRUE",
                "-addext", "keyUsage=critical,keyCertSign", "-keyout", "ca.key", "-out", "ca.pem")
        openssl(self.dir, "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={NAME}",
                "-keyout", "gateway.key", "-out", "gateway.csr")
        (self.dir / "gateway.ext").write_text(
            f"subjectAltName=DNS:{NAME},DNS:localhost,IP:10.0.2.100,IP:127.0.0.1\nextendedKeyUsage=serverAuth\n", encoding="ascii")
        openssl(self.dir, "x509", "-req", "-in", "gateway.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
                "-days", "30", "-extfile", "gateway.ext", "-out", "gateway.pem")
        (self.dir / "gateway.key").chmod(0o600)

    @property
    def ca(self) -> str:
        """The authority's certificate, PEM."""
        return (self.dir / "ca.pem").read_text(encoding="ascii")

    def pin(self) -> str:
        """The pin of the gateway's key, as the camera's configuration has it."""
        shown = subprocess.run(
            "openssl x509 -in gateway.pem -noout -pubkey | openssl pkey -pubin -outform der | openssl dgst -sha256 -binary | base64",
            shell=True, cwd=self.dir, capture_output=True, text=True, check=True)
        return f"sha256/{shown.stdout.strip()}"

    def start(self, fingerprint: str) -> None:
        """Starts the gateway for a camera with this key."""
        self.stop()
        config = self.dir / "gateway.toml"
        config.write_text(
            f'[uplink]\nlisten = "127.0.0.1:{self.port}"\ncert = "{self.dir}/gateway.pem"\nkey = "{self.dir}/gateway.key"\n'
            '[rtsp]\nlisten = "127.0.0.1:0"\n[http]\nlisten = "127.0.0.1:0"\n'
            f'[[camera]]\nname = "{CAMERA}"\nfingerprint = "{fingerprint}"\n'
            f'[[viewer]]\nuser = "{VIEWER}"\npassword_file = "{self.dir}/viewer.password"\n', encoding="utf-8")
        with (self.dir / "gateway.log").open("ab") as errors:
            self._process = subprocess.Popen(
                [*MORTAL, program("lenscap-gateway"), "run", "--config", config], stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=errors)
        if not select.select([self._process.stdout], [], [], START_SECONDS)[0]:
            raise GatewayError("the gateway does not start")
        line = self._process.stdout.readline()
        if not line:
            raise GatewayError(f"the gateway ended: {self.log_tail()}")
        self.listening = json.loads(line)

    def log_tail(self) -> str:
        """The end of the gateway's log."""
        return (self.dir / "gateway.log").read_text(encoding="utf-8", errors="replace")[-600:]

    def stop(self) -> None:
        """Ends the gateway."""
        if self._process is not None:
            end(self._process)
        self._process = None

    def get(self, path: str, timeout: float = 20) -> bytes:
        """One resource of the HTTP API."""
        with urllib.request.urlopen(f"http://{self.listening['http']}{path}", timeout=timeout) as reply:
            return reply.read()

    def camera(self) -> dict:
        """What the gateway knows of the camera."""
        return json.loads(self.get("/cameras"))[0]

    def status(self) -> dict:
        """The agent's own status, through the uplink."""
        return json.loads(self.get(f"/cameras/{CAMERA}/status"))

    def wait_online(self, online: bool = True, seconds: float = ONLINE_SECONDS, after: str | None = None) -> float:
        """Waits until the camera is there, or gone; `after` is the `since` of an uplink that does not count."""
        began = time.monotonic()
        while True:
            camera = self.camera()
            if camera["online"] == online and (after is None or camera.get("since") != after):
                return time.monotonic() - began
            if time.monotonic() - began > seconds * PATIENCE:
                state = "not" if online else "still"
                raise GatewayError(f"the camera is {state} online after {seconds * PATIENCE:.0f} s: {camera}; {self.log_tail()}")
            select.select([], [], [], POLL_SECONDS)

    def wait_profiles(self) -> list[str]:
        """The camera's profiles, which the gateway asks for once the uplink is there."""
        return self._wait_for(lambda: self.camera()["profiles"], "the gateway knows no profile")

    def wait_hardening(self) -> dict:
        """What the camera says of its hardening, once the service has looked."""
        return self._wait_for(lambda: self.status()["hardening"], "/status says nothing of hardening")

    def _wait_for(self, ask, complaint: str):
        """The first answer that is not empty."""
        answer = first_answer(ask, ONLINE_SECONDS * PATIENCE)
        if not answer:
            raise GatewayError(f"{complaint}; {self.log_tail()}")
        return answer

    def url(self, profile: str = "main") -> str:
        """What a viewer plays. The password is made for one run and knows one test picture."""
        return f"rtsp://{VIEWER}:{self.password}@{self.listening['rtsp']}/{CAMERA}/{profile}"

    def probe(self, profile: str = "main") -> str:
        """Codec and size, as ffprobe reads them."""
        return probe(self.url(profile), self.password)

    def frame(self, path: Path, profile: str = "main", seconds: int = 2) -> None:
        """The last picture of some seconds of video, as PNG."""
        done = subprocess.run(
            ["ffmpeg", "-v", "error", "-nostdin", "-y", "-rtsp_transport", "tcp", "-i", self.url(profile), "-map", "0:v",
             "-t", str(seconds), "-update", "1", str(path)],
            capture_output=True, text=True, timeout=PROBE_SECONDS, check=False)
        if done.returncode != 0 or not path.exists():
            raise GatewayError(f"ffmpeg: {done.stderr.replace(self.password, '***').strip()[-400:]}")

    def watch(self, profile: str, seconds: float, report: Path, stop: Path | None = None) -> subprocess.Popen:
        """Starts rtp-sink, which looks at every packet, for some seconds or until the file `stop` is there; `report` gets
        its JSON."""
        until = [] if stop is None else ["--stop-file", stop]
        return subprocess.Popen(
            [*MORTAL, program("rtp-sink"), f"rtsp://{self.listening['rtsp']}/{CAMERA}/{profile}", "--user", VIEWER, "--password-file",
             self.dir / "viewer.password", "--seconds", str(seconds), "--report", report, *until],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
