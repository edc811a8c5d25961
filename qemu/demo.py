#!/usr/bin/env python3
"""`make demo`: boots an emulated ARM camera, installs Lenscap on it, and watches it through the gateway here.

Says what it saw and writes out/demo/frame.png. KEEP=1 leaves everything running and says how to watch.
"""

import json
import os
import struct
import sys
import time
from pathlib import Path

from lab import paths
from lab.gateway import VIEWER, GatewayError
from lab.lab import Failed, Lab
from lab.machine import GuestError
from lab.variants import VENDOR

WATCH_SECONDS = 10
STEP_WIDTH = 56


def step(what: str) -> float:
    """Says what happens next."""
    print(f"{what:{STEP_WIDTH}}", end="", flush=True)
    return time.monotonic()


def png_size(path: Path) -> tuple[int, int]:
    """Width and height out of a PNG's header."""
    head = path.read_bytes()[:24]
    if head[:8] != b"\x89PNG\r\n\x1a\n":
        raise Failed(f"{path} is no PNG")
    return struct.unpack("!II", head[16:24])


def main() -> int:
    """The demonstration."""
    out = paths.ROOT / "out" / "demo"
    out.mkdir(parents=True, exist_ok=True)
    frame = out / "frame.png"
    frame.unlink(missing_ok=True)
    lab = Lab(VENDOR)
    lab.scenario = "demo"
    try:
        began = step("camera: ARMv7, 48 MB, BusyBox, telnet open, emulated")
        machine = lab.new_machine()
        machine.boot()
        print(f"{machine.check('uname -sr')}, shell after {time.monotonic() - began:.1f} s")

        step("camera: RTSP on all addresses")
        machine.wait_for("netstat -ltn | grep -q ':554 '", 30)
        print(machine.check("netstat -ltn | awk '/LISTEN/ { print $4 }' | tr '\\n' ' '"))

        step("package: installed with install.sh")
        said = lab.install(machine).splitlines()
        print(next((line for line in said if "needs" in line), said[0]))

        step("camera: configured, its own key made on the camera")
        lab.configure(machine)
        lab.fingerprint = lab.identity(machine)
        print(f"{lab.fingerprint[:23]}...")

        step("gateway: on this machine; the agent dials it")
        lab.gateway.start(lab.fingerprint)
        began = time.monotonic()
        machine.run("/etc/init.d/S60lenscap restart", 60)
        lab.gateway.wait_online()
        profiles = lab.gateway.wait_profiles()
        print(f"online after {time.monotonic() - began:.1f} s, profiles {', '.join(profiles)}")

        step("ffprobe, through the uplink")
        print(lab.watch_ok().removeprefix("ffprobe: "))

        step(f"rtp-sink: {WATCH_SECONDS} s of live video")
        report = lab.folder / "sink.json"
        lab.gateway.watch("main", WATCH_SECONDS, report).wait(WATCH_SECONDS * 5)
        sink = json.loads(report.read_text(encoding="utf-8"))
        gaps = sum(track["gaps"] + track["torn"] for track in sink["tracks"])
        lab.check(sink["ok"] and gaps == 0, f"{gaps} gaps, {sink.get('error')}")
        print(f"{sink['packets']} packets, {sink['bytes']} bytes, no gap")

        step("a frame as picture")
        lab.gateway.frame(frame)
        size = png_size(frame)
        lab.check(size == (640, 360), f"the picture is {size}")
        print(frame.relative_to(paths.ROOT))
        if os.environ.get("KEEP") == "1":
            password = lab.gateway.dir / "viewer.password"
            print(f"\nIt keeps running; Ctrl-C ends it. To watch in VLC:\n"
                  f"  URL        rtsp://{lab.gateway.listening['rtsp']}/front/main\n  user       {VIEWER}\n  password   in {password}")
            try:
                machine.wait()
            except KeyboardInterrupt:
                pass
        return 0
    except (Failed, GuestError, GatewayError, OSError) as error:
        print(f"\ndemo: FAILED: {error}\ndemo: the console's log is {lab.log_path()}", file=sys.stderr)
        return 1
    finally:
        lab.close()


if __name__ == "__main__":
    sys.exit(main())
