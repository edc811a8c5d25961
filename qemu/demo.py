#!/usr/bin/env python3
"""`make demo`: boots an emulated ARM camera as its vendor left it, shows what a stranger on its network finds, installs
Lenscap, watches it through the gateway, closes it, and looks again.

Says what it saw; writes out/demo/frame.png and out/demo/report.html. KEEP=1 leaves everything running and says how to watch.

usage: qemu/demo.py [VARIANT]     default: vendor; of another camera the page is out/demo/VARIANT/report.html
"""

import json
import os
import struct
import sys
import time
from dataclasses import replace
from pathlib import Path

from lab import knock, page, paths
from lab.floods import Floods, Row
from lab.gateway import VIEWER, GatewayError
from lab.lab import PROGRAM, Failed, Lab
from lab.machine import GuestError
from lab.owner import CLOSE_SECONDS, Owner
from lab.segment import ADDRESS, SegmentError
from lab.stopwatch import timed
from lab.variants import VARIANTS, VENDOR
from scenarios.closing import CAMERA_PORTS, VERDICTS

WATCH_SECONDS = 10
# One account in DES and one in SHA-512, with a password that no list has: every pair is tried on both.
CHECKED = "/tmp/checked"
TELNET_PORT = 23
PASSWD = "root:x:0:0::/root:/bin/sh\nadmin:x:1000:1000::/:/bin/sh\n"
SHADOW = """root:abbgu7wMwR4Mg:0:0:99999:7:::
admin:$6$Yk2vQe8sTn4LwZ1b$Xus9FPK5pneC9oQQEjlWnsJxDhkmVB2mrmlBOXnXE8H0Jpw0yxmA25H9HnGQsiMuiwKRaqX0PAbfW7AfcKXdA/:0:0:99999:7:::
"""
STEP_WIDTH = 74


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


class Demo:
    """The steps and what they found."""

    def __init__(self, lab: Lab, out: Path):
        self.lab = lab
        self.variant = lab.variant
        # What is reached when it is closed: where no packet filter is, what the camera serves.
        self.reached = CAMERA_PORTS if self.variant.unfilter is None else set()
        self.frame = out / "frame.png"
        self.report = out / "report.html"
        for path in (self.frame, self.report):
            path.unlink(missing_ok=True)
        self.machine = None
        self.owner = None
        self.scans: dict[str, knock.Scan] = {}
        self.logins: dict[str, tuple[dict, int]] = {}
        self.facts: list[str] = []
        self.floods: dict[str, list[Row]] = {}
        # What no filter on the camera stops: (what, packets before, packets after).
        self.unstopped: list[tuple[str, int, int]] = []
        self.raw_before = 0

    def boot(self) -> None:
        """The camera as its vendor left it."""
        began = step("camera: ARMv7, 48 MB, BusyBox, emulated")
        self.machine = self.lab.new_machine(beside=True, pcap=True)
        self.owner = Owner(self.lab, self.machine)
        self.machine.boot()
        self.owner.wait_streaming()
        print(f"{self.machine.check('uname -sr')}, shell after {time.monotonic() - began:.1f} s")

    def look(self, when: str) -> knock.Scan:
        """Scans it."""
        step(f"{when}: nmap from a host beside it ({ADDRESS})")
        found = self.owner.look()
        self.scans[when] = found
        print(found.says())
        return found

    def try_factory_password(self, when: str) -> None:
        """That the default login opens is what makes later refusals mean something."""
        pair = ("root", self.variant.password)
        services = ["telnet", "ssh"] if self.variant.telnet else ["ssh"]
        step(f"{when}: the factory's password, root / {pair[1]}")
        found = {service: knock.logins(self.lab.beside(), service, [pair]) for service in services}
        self.logins[when] = (found, 1)
        opened = [service for service, (pairs, _) in found.items() if pairs]
        self.lab.check(opened == services, f"the factory's password opens {opened} alone: {found}")
        media = ""
        if self.variant.prudynt:
            self.lab.check(self.owner.try_media_password(self.variant.media_password), "the factory's password does not open RTSP")
            media = f"; {self.variant.media_password} opens RTSP"
        print(f"opens {' and '.join(opened)}{media}")

    def flood(self, when: str) -> None:
        """What malware on the camera would send, counted on the cable."""
        step(f"{when}: floods started on the camera, packets that leave it")
        floods = Floods(self.machine, self.lab.pcap_path())
        tells = self.variant.tells_senders
        rows = self.floods[when] = [replace(row, may_pass=row.may_pass and not tells) for row in floods.run()]
        if when == "before":
            silent = [f"{row.what} by {row.sender}" for row in rows if row.packets == 0 and not row.off]
            self.lab.check(not silent, f"before, nothing of these leaves, so that later silence would mean nothing: {silent}")
            self.raw_before = floods.raw()
        else:
            self.check_floods(when, rows, floods)
        stopped = sum(row.packets for row in rows if not row.may_pass)
        passing = sum(row.packets for row in rows if row.may_pass)
        print(f"{stopped}" if tells else f"{stopped}, and {passing} to the uplink's port")

    def check_floods(self, when: str, rows: list[Row], floods: Floods) -> None:
        """Nothing leaves a closed camera, but what no filter stops; without a filter the page says what leaves."""
        if self.reached:
            return
        leaks = [f"{row.what} by {row.sender}: {row.packets}" for row in rows if row.packets and not row.may_pass]
        self.lab.check(not leaks, f"{when}: {leaks}")
        self.unstopped.append(("root past all rules (AF_PACKET; here ARP)", self.raw_before, floods.raw()))
        was = next(row.packets for row in self.floods["before"] if row.sender != rows[0].sender)
        remove = self.variant.unfilter
        self.unstopped.append((f"root, who removes the rules first ({remove}; UDP, port 9999)", was, floods.without_rules(remove)))
        # As the service would at its next look.
        self.machine.run(f"{PROGRAM} harden --recheck", 60)

    def install(self) -> None:
        """The package, its configuration, the uplink."""
        lab, machine = self.lab, self.machine
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

    def close(self) -> str:
        """The owner closes it."""
        step("owner: lenscap harden --apply, with a password of the owner's")
        status, said = self.owner.close()
        # Of what a kernel cannot do `vendor` says that it could not be tried from within, `bare` that nothing holds.
        wanted, _ = VERDICTS[self.variant.name]
        self.lab.check(status == wanted, said[-1500:])
        if self.reached:
            self.lab.check("not enforceable here" in said, "nothing says that this kernel cannot filter")
        if self.variant.prudynt:
            self.lab.check(self.owner.media_password() != self.variant.media_password, "the password for video is the factory's")
            self.facts.append("its RTSP server had the factory's password for video and has another now, which the agent alone "
                              "knows; the old one is refused")
        print(f"exit status {status}{'; a new password for video too' if self.variant.prudynt else ''}")
        for what, took in self.owner.took.items():
            step(f"        {what}, by the camera's clock")
            print(took)
        slow = self.owner.too_slow()
        self.lab.check(not slow, f"more than {CLOSE_SECONDS} s: {slow}")
        self.facts.append(f"`lenscap harden` on the emulated camera (at most {CLOSE_SECONDS} s are wanted): {self.owner.times()}")
        return said

    def time_passwords(self) -> None:
        """How long it takes to try all known passwords."""
        step("known passwords, all tried on one account in DES and one in SHA-512")
        machine = self.machine
        machine.check(f"mkdir -p {CHECKED}/etc")
        machine.write_file(f"{CHECKED}/etc/passwd", PASSWD)
        machine.write_file(f"{CHECKED}/etc/shadow", SHADOW, "600")
        done, took = timed(machine, f"{PROGRAM} harden --root {CHECKED} --only credentials --dry-run", 120)
        self.lab.check(done.status == 0, f"{done.status}: {done.output[-800:]}")
        print(took)
        self.facts.append(f"trying all known passwords on one account in DES and one in SHA-512 took {took}")

    def try_known_passwords(self, when: str) -> None:
        """All that Mirai knows, with the firewall taken down for it."""
        step(f"{when}: all of Mirai's passwords, the firewall taken down for it")
        found = self.owner.try_known_passwords()
        tried = len(knock.mirai_pairs())
        self.logins[when] = (found, tried)
        for service, (opened, _) in found.items():
            self.lab.check(not opened, f"{service} opens to {opened}")
        media = "; nor RTSP to the old one" if self.variant.prudynt else ""
        print(f"none of {tried}{media}: " + "; ".join(f"{service} {why}" for service, (_, why) in found.items()))

    def watch(self) -> None:
        """Video through the gateway, by tools that count every packet."""
        lab = self.lab
        step("ffprobe, through the uplink")
        seen = lab.watch_ok().removeprefix("ffprobe: ")
        print(seen)
        step(f"rtp-sink: {WATCH_SECONDS} s of live video")
        report = lab.folder / "sink.json"
        lab.gateway.watch("main", WATCH_SECONDS, report).wait(WATCH_SECONDS * 5)
        sink = json.loads(report.read_text(encoding="utf-8"))
        gaps = sum(track["gaps"] + track["torn"] for track in sink["tracks"])
        lab.check(sink["ok"] and gaps == 0, f"{gaps} gaps, {sink.get('error')}")
        counted = f"{sink['packets']} packets, {sink['bytes']} bytes, no gap"
        print(counted)
        self.facts += [f"ffprobe sees {seen}", f"{WATCH_SECONDS} s of live video: {counted}"]
        step("a frame as picture")
        lab.gateway.frame(self.frame)
        size = png_size(self.frame)
        lab.check(size == (640, 360), f"the picture is {size}")
        print(self.frame.relative_to(paths.ROOT))

    def reboot(self) -> None:
        """Off and on."""
        began = step("camera: reboot")
        since = self.lab.gateway.camera().get("since")
        self.machine.reboot()
        self.lab.gateway.wait_online(after=since)
        self.owner.wait_streaming()
        print(f"online again after {time.monotonic() - began:.1f} s")

    def filters(self) -> str:
        """What this kernel's packet filter can do, for the page."""
        if self.reached:
            return "This kernel has no packet filter: nothing of this can be stopped on the camera, and the camera says so."
        if self.variant.tells_senders:
            return "This kernel's filter tells who sends: the agent alone may dial the uplink's port."
        return ("This kernel's filter cannot tell who sends, so that every program may dial the uplink's port; a kernel with an "
                "owner match lets the agent alone.")

    def run(self) -> None:
        """All of it."""
        lab = self.lab
        self.boot()
        before = self.look("before")
        lab.check(CAMERA_PORTS | ({TELNET_PORT} if self.variant.telnet else set()) <= set(before.tcp), "the camera is not as open as it should be at first")
        lab.check(before.udp_answered == before.udp_scanned, "a UDP port is silent at first; its silence would mean nothing")
        self.try_factory_password("before")
        self.flood("before")
        self.install()
        self.time_passwords()
        said = self.close()
        for when in ("after", "after a reboot"):
            found = self.look(when)
            lab.check(set(found.tcp) == self.reached, f"{when}: {found.says()}")
            lab.check(not found.udp_answered or self.reached, f"{when}: {found.says()}")
            self.try_known_passwords(when)
            if when == "after":
                self.watch()
                self.flood(when)
                self.reboot()
        self.facts.append(f"after the reboot: {lab.watch_ok()}")
        told = self.machine.run(f"{PROGRAM} status", 60).output
        step("the page with both scans and the frame")
        page.write(self.report, f"{self.variant.what}; emulated by QEMU", self.scans, self.logins,
                   f"{said.strip()}\n\n{told.strip()}", self.facts, page.floods(self.floods, self.unstopped, self.filters()))
        print(self.report.relative_to(paths.ROOT))


def keep_running(lab: Lab, demo: Demo) -> None:
    """Waits for Ctrl-C."""
    password = lab.gateway.dir / "viewer.password"
    print(f"\nIt keeps running; Ctrl-C ends it. To watch in VLC:\n"
          f"  URL        rtsp://{lab.gateway.listening['rtsp']}/front/main\n  user       {VIEWER}\n  password   in {password}")
    try:
        demo.machine.wait()
    except KeyboardInterrupt:
        pass


def main() -> int:
    """The demonstration."""
    name = (sys.argv[1:] or [VENDOR.name])[0]
    if name not in VERDICTS:
        print(f"demo: VARIANT is one of {', '.join(VERDICTS)}, and not {name}", file=sys.stderr)
        return 2
    if os.geteuid() != 0:
        # The host beside the camera takes a network namespace.
        os.execvp("sudo", ["sudo", f"KEEP={os.environ.get('KEEP', '')}", f"HOME={os.environ.get('HOME', '')}", sys.executable, *sys.argv])
    variant = VARIANTS[name]
    out = paths.ROOT / "out" / "demo"
    if variant is not VENDOR:
        out /= variant.name
    out.mkdir(parents=True, exist_ok=True)
    lab = Lab(variant)
    lab.scenario = "demo"
    try:
        demo = Demo(lab, out)
        demo.run()
        if os.environ.get("KEEP") == "1":
            keep_running(lab, demo)
        return 0
    except (Failed, GuestError, GatewayError, SegmentError, OSError) as error:
        print(f"\ndemo: FAILED: {error}\ndemo: the console's log is {lab.log_path()}", file=sys.stderr)
        return 1
    finally:
        lab.close()


if __name__ == "__main__":
    sys.exit(main())
