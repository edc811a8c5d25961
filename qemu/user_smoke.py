#!/usr/bin/env python3
"""Runs the agent of every target under user-mode emulation of the oldest CPU it is for, against the gateway.

usage: qemu/user_smoke.py [rust-target ...]

Each must say the packages' version, do its TLS handshake and carry an RTSP session: ffprobe reads the profile, rtp-sink sees no gap.
The agent runs unprivileged, and so without its monitor, which would start it anew: without binfmt_misc, which is the
whole machine's matter, a foreign program cannot be started by an emulated one. The booted images show both.
"""

import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import tomllib
from pathlib import Path

from lab import paths
from lab.gateway import MORTAL, Gateway, GatewayError, private, program
from lab.image import media
from lab.package import ARMV7_C, guest_tool

PASSWORD = "smoke-only"
SINK_SECONDS = 3
ONLINE_SECONDS = 60
STOP_SECONDS = 20
NOBODY = 65534


def hand_over(folder: Path) -> dict:
    """Gives the folder to an unprivileged user, and the arguments that start a process as that user."""
    if os.geteuid() != 0:
        return {}
    for path in (folder, *folder.rglob("*")):
        os.chown(path, NOBODY, NOBODY)
    return {"user": NOBODY, "group": NOBODY, "extra_groups": []}


def facts() -> dict[str, tuple[str, str]]:
    """Emulator and CPU by target, from the toolchain's own table."""
    script = '. packaging/toolchain/targets.sh; for t in $LENSCAP_TARGETS; do target_facts $t; echo $t $emulator $emulator_cpu; done'
    done = subprocess.run(["sh", "-c", script], cwd=paths.ROOT, capture_output=True, text=True, check=True)
    return {line.split()[0]: tuple(line.split()[1:]) for line in done.stdout.splitlines()}


def package_version() -> str:
    """What the packages' names say."""
    return tomllib.loads((paths.ROOT / "Cargo.toml").read_text(encoding="utf-8"))["workspace"]["package"]["version"]


class Camera:
    """simcam on this machine."""

    def __init__(self, folder: Path):
        password = private(folder / "camera.password", PASSWORD)
        self.process = subprocess.Popen(
            [*MORTAL, program("simcam"), "--auth", "digest-md5", "--user", "admin", "--password-file", password, "--path", "/main",
             "--video", media() / "main.h264", "--fps", "15"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        if not select.select([self.process.stdout], [], [], 20)[0]:
            raise GatewayError("simcam does not start")
        self.address = json.loads(self.process.stdout.readline())["rtsp"]

    def close(self) -> None:
        """Ends it."""
        self.process.terminate()
        self.process.wait(STOP_SECONDS)
        self.process.stdout.close()


def configure(folder: Path, gateway: Gateway, camera: Camera) -> Path:
    """The agent's configuration."""
    (folder / "state").mkdir()
    private(folder / "state/camera-password", PASSWORD)
    path = folder / "lenscap.conf"
    path.write_text(
        f"config agent\n\toption state_dir '{folder}/state'\n\toption log 'stderr'\n\toption log_level 'info'\n\n"
        f"config uplink 'main'\n\toption endpoint 'https://localhost:{gateway.port}/onvif/uplink'\n"
        f"\toption ca_file '{gateway.dir}/ca.pem'\n\n"
        f"config profile 'main'\n\toption rtsp 'rtsp://{camera.address}/main'\n\toption user 'admin'\n"
        f"\toption password_file '{folder}/state/camera-password'\n", encoding="utf-8")
    return path


def smoke(target: str, emulator: str, cpu: str, camera: Camera, base: Path) -> str:
    """One target; gives what was seen."""
    binary = paths.DIST / target / "lenscap"
    if not binary.exists():
        raise GatewayError(f"{binary} is missing: make agent TARGET={target}")
    folder = base / target
    folder.mkdir()
    gateway = Gateway(base / f"{target}-gateway")
    gateway.dir.chmod(0o755)
    config = configure(folder, gateway, camera)
    shutil.copy2(binary, folder / "lenscap")
    unprivileged = hand_over(folder)
    emulated = [f"{emulator}-static", "-cpu", cpu, str(folder / "lenscap")]
    told = subprocess.run([*emulated, "--version"], capture_output=True, text=True, timeout=60, check=False, **unprivileged)
    if told.stdout != f"lenscap {package_version()}\n":
        raise GatewayError(f"lenscap --version: {told.stdout!r} instead of {package_version()}, status {told.returncode}")
    said = subprocess.run([*emulated, "identity", "--json", "--config", config], capture_output=True, text=True, timeout=60,
                          check=False, **unprivileged)
    if said.returncode != 0:
        raise GatewayError(f"lenscap identity: {said.stderr.strip()[-300:]}")
    gateway.start(json.loads(said.stdout)["fingerprint"])
    log = folder / "agent.log"
    with log.open("wb") as out:
        agent = subprocess.Popen([*MORTAL, *emulated, "run", "--config", config], stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                                 start_new_session=True, **unprivileged)
    try:
        try:
            began = time.monotonic()
            gateway.wait_online(seconds=ONLINE_SECONDS)
            online = time.monotonic() - began
            video = gateway.probe("main")
            report = folder / "sink.json"
            gateway.watch("main", SINK_SECONDS, report).wait(60)
        except GatewayError as error:
            raise GatewayError(f"{error}; the agent: {log.read_text(encoding='utf-8', errors='replace')[-600:]}") from None
        sink = json.loads(report.read_text(encoding="utf-8"))
        gaps = sum(track["gaps"] + track["torn"] for track in sink["tracks"])
        if not sink["ok"] or gaps or video != "h264,640,360":
            raise GatewayError(f"saw {video}, {gaps} gaps, {sink.get('error')}")
        agent.terminate()
        if agent.wait(STOP_SECONDS) != 0:
            raise GatewayError(f"the agent ended with {agent.returncode}")
        return f"uplink {online:.1f} s, {video}, {sink['packets']} packets without a gap, ended orderly"
    finally:
        if agent.poll() is None:
            os.killpg(agent.pid, signal.SIGKILL)
            agent.wait()
        gateway.stop()
        paths.OUT.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(log, paths.OUT / f"user-{target}.log")


def check_memcpy() -> None:
    """The copying that the toolchain adds to 32-bit ARM programs, for all alignments."""
    toolchain = paths.ROOT / "packaging/toolchain"
    plain = guest_tool("memcpy", toolchain / "memcpy.S")
    neon = guest_tool("memcpy", toolchain / "memcpy.S", toolchain / "leave-out.c", machine=ARMV7_C)
    for program, cpu in ((plain, "arm1176"), (neon, "cortex-a7")):
        done = subprocess.run(["qemu-arm-static", "-cpu", cpu, program], capture_output=True, text=True, timeout=120, check=False)
        if done.returncode != 0 or ("NEON" in done.stdout) != (program == neon):
            raise GatewayError(f"memcpy's check on {cpu} ended with {done.returncode}: {done.stdout.strip()}")
        print(f"ok   {cpu}: {done.stdout.strip()}", flush=True)


def certify(folder: Path) -> None:
    """Two CAs of one name, and a server's certificate of the first: all RSA."""
    def openssl(*words) -> None:
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True, timeout=120)
    for name in ("ca", "other"):
        openssl("req", "-x509", "-newkey", "rsa:4096", "-nodes", "-subj", "/CN=ca", "-days", "9", "-keyout", f"{name}.key",
                "-out", f"{name}.pem")
    openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-keyout", "server.key", "-out", "server.csr")
    (folder / "names").write_text("subjectAltName=DNS:localhost\n", encoding="utf-8")
    openssl("x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "9",
            "-extfile", "names", "-out", "server.pem")


def check_rsa(base: Path) -> None:
    """RSA and SHA-256 where the CPU has NEON, whose functions the toolchain leaves out (packaging/toolchain/plain.h)."""
    binary = paths.DIST / "armv7-unknown-linux-musleabihf/lenscap"
    if not binary.exists():
        return
    folder = base / "rsa"
    folder.mkdir()
    certify(folder)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [*MORTAL, "openssl", "s_server", "-accept", f"127.0.0.1:{port}", "-cert", "server.pem", "-key", "server.key", "-tls1_3",
         "-alpn", "http/1.1"], cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        while b"ACCEPT" not in (line := server.stdout.readline()):
            if not line:
                raise GatewayError("openssl s_server does not start")
        for ca, sign in (("ca", "TLSv1_3 "), ("other", "a signature in the handshake")):
            config = folder / f"{ca}.conf"
            config.write_text(
                f"config agent\n\toption state_dir '{folder}/{ca}'\n\toption log 'stderr'\n\toption log_level 'debug'\n\n"
                f"config uplink 'main'\n\toption endpoint 'https://localhost:{port}/'\n\toption ca_file '{folder}/{ca}.pem'\n\n"
                "config profile 'main'\n\toption rtsp 'rtsp://127.0.0.1:9/main'\n", encoding="utf-8")
            (folder / ca).mkdir()
            agent = subprocess.Popen(
                [*MORTAL, "qemu-arm-static", "-cpu", "cortex-a7", str(binary), "run", "--config", config],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, **hand_over(folder))
            watchdog = threading.Timer(ONLINE_SECONDS, agent.kill)
            watchdog.start()
            said = ""
            for line in agent.stderr:
                said += line.decode(errors="replace")
                if sign in said:
                    break
            watchdog.cancel()
            agent.kill()
            agent.wait()
            agent.stderr.close()
            if sign not in said:
                raise GatewayError(f"RSA on cortex-a7: {sign!r} is not in {said[-600:]}")
        print("ok   cortex-a7: a chain of RSA is verified, and a wrong one refused", flush=True)
    finally:
        server.kill()
        server.wait()
        server.stdin.close()
        server.stdout.close()


def main() -> int:
    """All targets, or those asked for."""
    table = facts()
    wanted = sys.argv[1:] or list(table)
    base = Path(tempfile.mkdtemp(prefix="lenscap-smoke-"))
    base.chmod(0o755)
    camera = Camera(base)
    bad = 0
    try:
        check_memcpy()
        check_rsa(base)
        for target in wanted:
            emulator, cpu = table[target]
            try:
                print(f"ok   {target:32} {cpu:10} {smoke(target, emulator, cpu, camera, base)}", flush=True)
            except (GatewayError, subprocess.SubprocessError, OSError, ValueError) as error:
                bad += 1
                print(f"FAIL {target:32} {cpu:10} {error}", flush=True)
    finally:
        camera.close()
        shutil.rmtree(base, ignore_errors=True)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
