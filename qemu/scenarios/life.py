"""A package's life on a camera: install, boot, stop, upgrade, remove."""

import re

from lab.lab import CONFIG, PROGRAM, SERVICE, STATE, Lab, sha256
from lab.package import upgraded

# What an installer may not touch, and what changes by itself.
APART = " -o ".join(f"-path /{name}" for name in ("proc", "sys", "dev", "tmp", "run", "overlay", "rom"))
FILES = f"find / -xdev \\( {APART} \\) -prune -o -print | sort"
# What is in the files: of the installer's own snapshots, nothing.
CONTENTS = "find /etc -xdev -type f ! -name '*-before' | sort | xargs sha256sum"
# The configuration, the key and the secrets that the owner put there.
KEPT = {"/etc/config/lenscap", STATE, f"{STATE}/identity.pem", f"{STATE}/ca.pem", f"{STATE}/camera-password"}


def install(lab: Lab) -> None:
    """The tarball installs, the service starts and reaches the gateway, a viewer sees both profiles."""
    machine = lab.new_machine()
    machine.boot()
    lab.say(f"booted to a shell in {machine.boot_seconds:.1f} s: {machine.check('uname -r')}, {machine.check('date')}")
    if lab.variant.raspi:
        lab.check("1970" in machine.check("date"), "this camera has no clock and must start in 1970")
    machine.check(f"{FILES} >/etc/files-before; {CONTENTS} >/etc/contents-before; sync")
    said = lab.install(machine)
    lab.say(f"install.sh: {said.splitlines()[0]} … {said.splitlines()[-1]}")
    lab.configure(machine)
    machine.check(f"{PROGRAM} check")
    lab.fingerprint = lab.identity(machine)
    lab.gateway.start(lab.fingerprint)
    machine.run(f"{SERVICE} restart", 60)
    lab.say(f"uplink {lab.gateway.wait_online():.1f} s after the start; {lab.watch_ok()}")
    jpeg = lab.gateway.get("/cameras/front/main.jpg")
    lab.check(jpeg[:2] == b"\xff\xd8", "the snapshot is no JPEG")
    lab.say(f"snapshot of {len(jpeg)} bytes")
    lab.keep_installed()


def boot(lab: Lab) -> None:
    """Starts at boot without a hand, again after an orderly reboot, and after the plug was pulled."""
    machine = lab.installed_machine()
    machine.boot()
    lab.say(f"first boot: uplink {lab.gateway.wait_online():.1f} s after the shell, by itself; {lab.watch_ok()}")
    if lab.variant.raspi:
        lab.check("1970" in machine.check("date"), "the clock is not in 1970")
        lab.say(f"the clock says {machine.check('date')}: the certificate counted by the clock rule")
    before = lab.gateway.camera().get("since")
    machine.reboot()
    lab.gateway.wait_online(after=before)
    lab.say(f"reboot: shell after {machine.boot_seconds:.1f} s, uplink back; {lab.watch_ok()}")
    before = lab.gateway.camera().get("since")
    machine.check("sync")
    machine.cut_power()
    machine.boot()
    lab.gateway.wait_online(after=before)
    lab.check(lab.identity(machine) == lab.fingerprint, "the camera has another key now")
    lab.say(f"plug pulled: same key, uplink back; {lab.watch_ok()}")


def stop(lab: Lab) -> None:
    """A stop ends the sessions and every process, and leaves nothing open."""
    machine = lab.running()
    lab.gateway.wait_online()
    report = lab.folder / "stop.json"
    plays = int(machine.run("grep -c PLAY /tmp/simcam.events").output or 0)
    viewer = lab.gateway.watch("main", 60, report)
    try:
        machine.wait_for(f"[ $(grep -c PLAY /tmp/simcam.events) -gt {plays} ]", 30)
        teardowns = int(machine.run("grep -c TEARDOWN /tmp/simcam.events").output or 0)
        machine.check(f"{SERVICE} stop", 60)
        machine.wait_for(f"[ $(grep -c TEARDOWN /tmp/simcam.events) -gt {teardowns} ]", 10)
    finally:
        viewer.wait(30)
    lab.check(not lab.processes(machine), "a process is left after the stop")
    lab.gateway.wait_online(online=False, seconds=20)
    left = machine.run("netstat -tun | grep ':8443' | grep -v -e TIME_WAIT -e FIN_WAIT").output
    lab.check(not left, f"left open: {left}")
    lab.say("stopped: TEARDOWN reached the camera, no process, no socket; the gateway saw it go")
    machine.check(f"{SERVICE} start")
    lab.gateway.wait_online()
    lab.say("started again: uplink back")


def upgrade(lab: Lab) -> None:
    """An upgrade keeps the changed configuration and runs the new program; the old process is gone."""
    machine = lab.running()
    old = lab.processes(machine)
    lab.check(bool(old), "the agent does not run")
    config = machine.check(f"sha256sum {CONFIG}")
    before = lab.gateway.camera().get("since")
    lab.install(machine, "second")
    lab.gateway.wait_online(after=before)
    lab.check(machine.check(f"sha256sum {CONFIG}") == config, "the configuration changed")
    new = lab.processes(machine)
    lab.check(bool(new) and not set(new) & set(old), f"old processes {old} beside {new}")
    wanted = sha256(upgraded(lab.package).files["lenscap"][1])
    for pid in new:
        running = machine.check(f"sha256sum /proc/{pid}/exe").split()[0]
        lab.check(running == wanted, f"process {pid} does not run the new program")
    lab.check(lab.identity(machine) == lab.fingerprint, "the camera has another key now")
    lab.say(f"processes {old} -> {new}, which run the new file; configuration and key unchanged; {lab.watch_ok()}")


def remove(lab: Lab) -> None:
    """Removal leaves nothing but the configuration."""
    machine = lab.running()
    if machine.run("[ -d /tmp/package ]").status != 0:
        machine.fetch_payload("/tmp/package")
    machine.check("sh /tmp/package/second/install.sh --uninstall", 60)
    lab.check(not lab.processes(machine), "a process is left")
    left = machine.run(f"{FILES} >/tmp/files-after; diff /etc/files-before /tmp/files-after | grep '^[-+]/'").output
    files = {line[1:] for line in left.splitlines() if line.startswith("+")} - {"/etc/files-before", "/etc/contents-before"}
    gone = [line[1:] for line in left.splitlines() if line.startswith("-")]
    lab.check(CONFIG in files, f"the owner's configuration is gone; left: {files}")
    lab.check(not gone, f"files of the firmware are gone: {gone}")
    lab.check(files <= KEPT, f"left behind: {sorted(files - KEPT)}")
    differ = machine.run(f"{CONTENTS} | diff /etc/contents-before - | grep '^[-+<>][^-+]'").output
    # diff of BusyBox prints lines with the file's name last.
    changed = {line.split()[-1] for line in differ.splitlines()}
    lab.check(CONFIG in changed, f"the comparison does not see the new configuration: {differ}")
    changed -= KEPT
    lab.check(not changed, f"files of the firmware, accounts among them, differ: {sorted(changed)}")
    running = machine.run("ls -d /run/lenscap* /tmp/lenscap*").output
    lab.check("/lenscap" not in re.sub(r"(?m)^ls: .*", "", running), f"left in memory: {running}")
    lab.say(f"left behind: {', '.join(sorted(files))}; every other file of /etc has its old bytes")
    machine.power_off()
