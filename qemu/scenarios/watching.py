"""What the agent opens, how much memory it takes, how often it wakes."""

import json
import re
import time

from lab import paths
from lab.floods import ROUTE
from lab.lab import GUEST_ADDRESS, PROGRAM, Lab, kib
from lab.machine import UPLINK_ADDRESS, UPLINK_PORT
from lab.pcap import conversations, tcp_payloads

IDLE_SECONDS = 60
IDLE_WAKEUPS_A_MINUTE = 6
# The gateway's PING_AFTER, by its own clock. Where that is the camera's too, so many in a minute are among the 6.
PING_AFTER_SECONDS = 17
PINGS_A_MINUTE = 4
# A PING frame in a TLS record. Questions are larger: a gateway asks for flows and for an audit two minutes (less a tenth) after
# it had none, and then ever later. Each wakes the agent, the monitor that reads the file, and the agent again.
PING_BYTES = 39
QUESTION_WAKEUPS = 3
QUESTIONS, ASKED_AGAIN_SECONDS = 2, 108
WATCH_SECONDS = 15
WATCH_AT_MOST_SECONDS = 300
IDLE_KIB = 3 * 1024
WATCHED_KIB = 5 * 1024
# What a camera's own network code sends: leases, neighbours, multicast groups. Names are in its /etc/hosts.
HARMLESS = re.compile(r"arp|udp (255\.255\.255\.255|10\.0\.2\.2):67|ipv6 (0|icmpv6) \S+|igmp .*")
# What lies behind the cable but is not the uplink: the emulator's own addresses, and a stranger's. Beside them, a port of this
# machine that answers, as the emulator would show it to a guest that is not kept in.
ELSEWHERE = ("10.0.2.2:22", "10.0.2.3:53", "203.0.113.9:8443")
THIS_MACHINE = "10.0.2.2"
REACH_SECONDS = 5
ALLOWED = re.compile(rf"tcp {re.escape(UPLINK_ADDRESS)}:{UPLINK_PORT}( syn)?")
CAMERA_PORTS = {"127.0.0.1:554", "127.0.0.1:80"}
LISTEN = "0A"
# In the guest: the agent plays two profiles.
TWO_PLAY = "[ $(netstat -tn | grep -c '127.0.0.1:554 *ESTABLISHED') -ge 2 ]"


def _address(field: str) -> str:
    """An address of /proc/net/tcp, little-endian hex."""
    host, port = field.split(":")
    if len(host) == 8:
        dotted = ".".join(str(byte) for byte in reversed(bytes.fromhex(host)))
        return f"{dotted}:{int(port, 16)}"
    return f"[{host}]:{int(port, 16)}"


def sockets(lab: Lab) -> dict[str, list[str]]:
    """The agent's sockets by inode: kind, local, remote, state; judged by /proc alone."""
    machine = lab.machine
    inodes = set()
    for pid in lab.processes(machine):
        links = machine.run(f"ls -l /proc/{pid}/fd").output
        inodes |= set(re.findall(r"socket:\[(\d+)\]", links))
    found = {}
    for kind in ("tcp", "tcp6", "udp", "udp6", "icmp", "icmp6", "raw", "raw6", "packet"):
        table = machine.run(f"cat /proc/net/{kind} 2>/dev/null").output
        for line in table.splitlines()[1:]:
            fields = line.split()
            inode = fields[8] if kind == "packet" else fields[9] if len(fields) > 9 else ""
            if inode in inodes:
                if kind == "packet":
                    found[inode] = [kind, "", "", ""]
                else:
                    found[inode] = [kind, _address(fields[1]), _address(fields[2]), fields[3]]
    return found


def reach_nothing_else(lab: Lab) -> tuple[str, ...]:
    """A program in the guest connects to the uplink's address, and to nothing else that it tries. Gives that."""
    lab.machine.check(ROUTE)
    elsewhere = (*ELSEWHERE, f"{THIS_MACHINE}:{lab.gateway.port}")

    def connects(address: str) -> bool:
        # BusyBox' nc ends with success once it was connected.
        return lab.machine.run(f"timeout {REACH_SECONDS} nc {address.replace(':', ' ')} </dev/null >/dev/null").status == 0

    lab.check(connects(f"{UPLINK_ADDRESS}:{UPLINK_PORT}"), "a program in the guest does not reach the uplink either")
    reached = [address for address in elsewhere if connects(address)]
    lab.check(not reached, f"the guest reaches {reached}")
    lab.say(f"a program in the guest reaches the uplink, and none of {', '.join(elsewhere)}")
    return elsewhere


def network(lab: Lab) -> None:
    """With two profiles watched the agent has its uplink and the camera's own ports open, and nothing listens. Nothing but
    the uplink can be reached.

    The capture holds everything the guest sent since it was switched on.
    """
    machine = lab.installed_machine(pcap=True, sealed=True)
    machine.boot()
    lab.gateway.wait_online()
    lab.watch_ok()
    stop = lab.folder / "net-stop"
    stop.unlink(missing_ok=True)
    viewers = [lab.gateway.watch(profile, WATCH_AT_MOST_SECONDS, lab.folder / f"net-{profile}.json", stop)
               for profile in ("main", "sub")]
    try:
        machine.wait_for(TWO_PLAY, 10)
        found = sockets(lab)
    finally:
        stop.touch()
        for viewer in viewers:
            viewer.wait(60)
    remotes = sorted({f"{kind} {remote}" for kind, _, remote, _ in found.values()})
    lab.check(all(state != LISTEN for kind, _, _, state in found.values() if kind.startswith("tcp")), f"the agent listens: {found}")
    wanted = {f"tcp {UPLINK_ADDRESS}:{UPLINK_PORT}"} | {f"tcp {port}" for port in CAMERA_PORTS}
    lab.check(f"tcp {UPLINK_ADDRESS}:{UPLINK_PORT}" in remotes, f"no uplink among {remotes}")
    lab.check(set(remotes) <= wanted, f"the agent opened more: {remotes}")
    lab.say(f"sockets of the agent while two profiles play: {', '.join(remotes)}; none listens")
    elsewhere = reach_nothing_else(lab)
    machine.cut_power()
    sent = conversations(lab.pcap_path(), GUEST_ADDRESS)
    tried = {f"tcp {address} syn" for address in elsewhere}
    lab.check(tried <= set(sent), f"not in the capture of all tries: {tried - set(sent)}")
    others = {what: count for what, count in sent.items()
              if what not in tried and not ALLOWED.fullmatch(what) and not HARMLESS.fullmatch(what)}
    lab.check(not others, f"the guest sent more: {others}")
    lab.check(sent[f"tcp {UPLINK_ADDRESS}:{UPLINK_PORT} syn"] >= 1, "no connection to the uplink in the capture")
    total = sum(sent.values())
    lab.say(f"{total} frames left the guest: " + ", ".join(f"{what} {count}" for what, count in sorted(sent.items())))
    # `idle` wants to know what the gateway sends.
    machine.network.pcap, machine.network.payload = paths.OUT / f"{lab.variant.name}-idle.pcap", lab.payload
    machine.boot()
    lab.gateway.wait_online()


def _memory(lab: Lab) -> tuple[dict[int, tuple[int, int]], int]:
    """(RSS, peak) by process id, and the proportional set of all of them, in KiB."""
    machine = lab.machine
    each = {}
    shared = 0
    for pid in lab.processes(machine):
        status = machine.check(f"cat /proc/{pid}/status")
        # Counted page by page: VmRSS may lag behind by some hundred KiB.
        rollup = machine.check(f"cat /proc/{pid}/smaps_rollup")
        each[pid] = (kib(rollup, "Rss"), kib(status, "VmHWM"))
        shared += kib(rollup, "Pss")
    return each, shared


def memory(lab: Lab) -> None:
    """RSS at rest and with two profiles watched."""
    machine = lab.running()
    lab.gateway.wait_online()
    idle, idle_shared = _memory(lab)
    lab.check(bool(idle), "the agent does not run")
    # The clock outside goes on while a slow emulator's stands still, so the viewers are told when to end.
    stop = lab.folder / "mem-stop"
    stop.unlink(missing_ok=True)
    viewers = [lab.gateway.watch(profile, WATCH_AT_MOST_SECONDS, lab.folder / f"mem-{profile}.json", stop)
               for profile in ("main", "sub")]
    try:
        machine.wait_for(TWO_PLAY, 10)
        machine.run(f"sleep {WATCH_SECONDS // 2}")
        watched, watched_shared = _memory(lab)
        lab.check(machine.run(TWO_PLAY).status == 0, "the viewers went before the memory was read")
    finally:
        stop.touch()
        for viewer in viewers:
            viewer.wait(60)
    gaps = torn = 0
    for profile in ("main", "sub"):
        report = json.loads((lab.folder / f"mem-{profile}.json").read_text(encoding="utf-8"))
        lab.check(report["ok"], f"rtp-sink: {report.get('error')}")
        gaps += sum(track["gaps"] for track in report["tracks"])
        torn += sum(track["torn"] for track in report["tracks"])
    # A guest that gets no processor time for a second drops old pictures whole, and counts them.
    dropped = sum(int(count) for count in re.findall(
        r'"dropped_units_(?:full|late)": ?(\d+)', machine.check(f"{PROGRAM} status --json")))
    lab.check(not torn and (not gaps or dropped), f"{gaps} gaps, {torn} torn units, {dropped} dropped")
    lab.say(f"at rest: RSS {idle} KiB (now, peak), {idle_shared} KiB proportional in all")
    lab.say(f"while two profiles are watched, {gaps} gaps: RSS {watched} KiB, {watched_shared} KiB proportional in all")
    lab.check(sum(rss for rss, _ in idle.values()) <= IDLE_KIB, f"more than {IDLE_KIB} KiB at rest")
    lab.check(sum(max(both) for both in watched.values()) <= WATCHED_KIB, f"more than {WATCHED_KIB} KiB when watched")


def idle_limit(received: list[int]) -> int:
    """How often the agent may wake in a minute of its own in which it received so much from the gateway.

    6 in all, of which 4 are pings, as on a camera; no more of its own on a slow one. What the gateway's clock does, which goes
    on while a slow emulator's stands still, is counted and added: each further ping, each question. Nothing else is."""
    pings = received.count(PING_BYTES)
    questions = sum(size > PING_BYTES for size in received)
    return IDLE_WAKEUPS_A_MINUTE + max(0, pings - PINGS_A_MINUTE) + QUESTION_WAKEUPS * questions


def idle(lab: Lab) -> None:
    """Voluntary context switches of a minute with nobody watching."""
    machine = lab.running()
    if machine.network.pcap is None:
        machine = lab.installed_machine(pcap=True)
        machine.boot()
    lab.gateway.wait_online()

    def switches() -> int:
        total = 0
        for pid in lab.processes(machine):
            total += sum(int(line.split()[1]) for line in machine.check(
                f"cat /proc/{pid}/task/*/status | grep ^voluntary").splitlines())
        return total

    def received() -> list[int]:
        return tcp_payloads(machine.network.pcap, f"{UPLINK_ADDRESS}:{UPLINK_PORT}")

    # The last session's end is still being told.
    machine.run("sleep 3")
    pids = lab.processes(machine)
    lab.check(bool(pids), "the agent does not run")
    # What comes while the switches are read is among what was received.
    began, seen = time.monotonic(), len(received())
    before = switches()
    machine.run(f"sleep {IDLE_SECONDS}", IDLE_SECONDS * 2)
    woken = switches() - before
    got, outside = received()[seen:], time.monotonic() - began
    # A process that has gone takes its count with it.
    lab.check(lab.processes(machine) == pids, "a process was started again meanwhile")
    limit = idle_limit(got)
    pings, questions = got.count(PING_BYTES), sum(size > PING_BYTES for size in got)
    lab.say(f"{woken} wake-ups in {IDLE_SECONDS} s ({outside:.0f} s outside), {limit} are the limit; "
            f"the gateway sent {pings} pings and {questions} questions")
    lab.check(pings <= outside / PING_AFTER_SECONDS + 1, f"{pings} pings: the gateway's clock does not explain them")
    lab.check(questions <= QUESTIONS * (outside // ASKED_AGAIN_SECONDS + 1), f"{questions} questions: the gateway's clock does not explain them")
    lab.check(woken <= limit, f"{woken} wake-ups a minute ({outside:.0f} s outside), {limit} are the limit")
