"""The camera is closed by its owner, stays closed, carries its video all the while, and is opened again."""

import os
import select
import socket
from dataclasses import replace

from lab.lab import PROGRAM, STATE, Lab
from lab.machine import Machine

# What to say at each door, so that a service behind it answers: SSH and telnet speak first.
DOORS = {
    22: b"",
    23: b"",
    80: b"GET /image.jpg HTTP/1.0\r\n\r\n",
    554: b"OPTIONS rtsp://camera/stream=0 RTSP/1.0\r\nCSeq: 1\r\n\r\n",
}
ANSWER_SECONDS = 8
# The address that knocks, as the guest sees it, may still use SSH.
OWNER = "10.0.2.2:22"
HARDEN = f"""config harden
	option mode 'enforce'
	list allow_lan '{OWNER}'
"""


def answering(machine: Machine) -> dict[int, bytes]:
    """Which doors answer from outside, and what they say first. All are knocked at together, and waited for together."""
    knocks = {}
    try:
        for host, port in machine.network.forwards.items():
            knock = socket.create_connection(("127.0.0.1", host), ANSWER_SECONDS)
            knock.sendall(DOORS[port])
            knocks[knock] = port
        heard = {}
        waiting = set(knocks)
        while waiting:
            ready = select.select(list(waiting), [], [], ANSWER_SECONDS)[0]
            if not ready:
                break
            for knock in ready:
                waiting.discard(knock)
                try:
                    said = knock.recv(100)
                except OSError:
                    said = b""
                if said:
                    heard[knocks[knock]] = said
        return heard
    finally:
        for knock in knocks:
            knock.close()


def closed(lab: Lab) -> None:
    """`lenscap harden --apply` by the owner: what strangers reached is gone, at once and after a reboot; then removed."""
    variant = lab.variant
    filtered = variant.name != "bare"
    machine = lab.installed_machine(doors=tuple(DOORS))
    machine.boot()
    lab.gateway.wait_online()
    machine.wait_for("netstat -ltn | grep -q ':554 '", 30)
    before = answering(machine)
    wanted = set(DOORS) if variant.telnet else set(DOORS) - {23}
    lab.check(set(before) == wanted, f"before, {sorted(before)} answer, not {sorted(wanted)}")
    secret = os.urandom(12).hex()
    machine.write_file("/tmp/secret", secret + "\n", "600")
    lab.configure(machine, HARDEN)
    machine.check("/etc/init.d/S60lenscap reload")
    applied = machine.run(f"{PROGRAM} harden --apply --cut --password-file /tmp/secret", 300)
    lab.say(f"harden --apply ended with {applied.status}: {' | '.join(applied.output.splitlines()[-3:])}")
    lab.check(applied.status == (0 if filtered else 1), applied.output[-1500:])
    machine.check("rm /tmp/secret")
    after = answering(machine)
    left = {22} if filtered else {22, 80, 554}
    lab.check(set(after) == left, f"after, {sorted(after)} answer, not {sorted(left)}")
    lab.gateway.wait_online()
    lab.say(f"answering from outside: {sorted(before)} before, {sorted(after)} after (SSH: the owner's); {lab.watch_ok()}")
    shadow = machine.check("grep ^root: /etc/shadow")
    if variant.password is not None:
        lab.check(variant.password_hash not in shadow, "the factory password still opens the login")
        machine.variant = replace(variant, password=secret)

    since = lab.gateway.camera().get("since")
    machine.reboot()
    lab.gateway.wait_online(after=since)
    machine.wait_for("netstat -ltn | grep -q ':554 '", 30)
    after = answering(machine)
    lab.check(set(after) == left, f"after a reboot, {sorted(after)} answer, not {sorted(left)}")
    hardening = lab.gateway.status()["hardening"]
    lab.check(hardening is not None and not hardening["gave_up"], f"/status says {hardening}")
    lab.check((hardening["verdict"] == "holds") == filtered, f"/status says {hardening}")
    lab.say(f"after a reboot: {sorted(after)} answer, the owner's password opens the console, /status says "
            f"{hardening['verdict']}; {lab.watch_ok()}")

    machine.fetch_payload("/tmp/package")
    said = machine.check("sh /tmp/package/first/install.sh --uninstall", 120)
    lab.check("harden --undo" in said, f"the installer does not say that it stays closed: {said}")
    machine.check(f"[ -s {STATE}/harden/journal ]")
    opened = answering(machine)
    wanted = {22, 80, 554}
    lab.check(set(opened) == wanted, f"without Lenscap, {sorted(opened)} answer, not {sorted(wanted)}")
    lab.say(f"uninstalled: {sorted(opened)} answer, telnet stays off, the originals are kept")
    machine.cut_power()
