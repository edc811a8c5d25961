"""The two processes keep each other: the monitor brings the agent back, the service brings both back."""

import json

from lab.gateway import GatewayError
from lab.lab import PROGRAM, SERVICE, Lab
from lab.machine import UPLINK_ADDRESS, UPLINK_PORT
from scenarios.watching import sockets

BACK_SECONDS = 60
WATCH_AT_MOST_SECONDS = 300
# Every measure of this version (agent/src/monitor/sandbox.rs).
SANDBOX = "monitor user capabilities no_new_privs not_dumpable limits chroot"
RTSP = "127.0.0.1:554"


def _roles(lab: Lab) -> tuple[int, int]:
    """(monitor, agent): the monitor is the agent's parent."""
    pids = lab.processes(lab.machine)
    lab.check(len(pids) == 2, f"expected monitor and agent, found {pids}")
    parents = {pid: int(lab.machine.check(f"grep ^PPid: /proc/{pid}/status").split()[1]) for pid in pids}
    for agent, parent in parents.items():
        if parent in pids:
            return parent, agent
    lab.check(False, f"none is the other's parent: {parents}")
    raise AssertionError


def _new_uplink(lab: Lab, before: str) -> float:
    return lab.gateway.wait_online(after=before, seconds=BACK_SECONDS)


def _kill_watched(lab: Lab, pid: int) -> None:
    """SIGKILL while somebody watches."""
    stop, report = lab.folder / "kill-stop", lab.folder / "kill.json"
    stop.unlink(missing_ok=True)
    viewer = lab.gateway.watch("main", WATCH_AT_MOST_SECONDS, report, stop)
    try:
        lab.machine.wait_for(f"netstat -tn | grep -q '{RTSP} *ESTABLISHED'", 30)
        lab.machine.check(f"kill -9 {pid}")
    finally:
        stop.touch()
        viewer.wait(60)


def _nothing_open(lab: Lab) -> None:
    """Once nobody watches: no session at the camera's RTSP server, and one connection to the gateway, the new agent's."""
    # Who closed first remembers that for a minute (TIME_WAIT), with no program behind it.
    lab.machine.wait_for(f"! netstat -tn | grep '{RTSP} ' | grep -qv TIME_WAIT", 30)
    held = lab.machine.run(f"netstat -tn | grep '{UPLINK_ADDRESS}:{UPLINK_PORT} *ESTABLISHED'").output.splitlines()
    own = [socket for socket in sockets(lab).values() if socket[2] == f"{UPLINK_ADDRESS}:{UPLINK_PORT}"]
    lab.check(len(held) == 1 and len(own) == 1, f"connections to the gateway: {held}, the agent's are {own}")
    lab.say("no session is left at the camera's RTSP server, and one connection to the gateway, the new agent's")


def kill_agent(lab: Lab) -> None:
    """SIGKILL to the agent: the monitor lives on and starts another; nothing of the old one is left open."""
    machine = lab.running()
    lab.gateway.wait_online()
    monitor, agent = _roles(lab)
    status = machine.check(f"cat /proc/{agent}/status")
    uid = [line for line in status.splitlines() if line.startswith("Uid:")][0].split()[1]
    caps = [line.split()[1] for line in status.splitlines() if line.startswith(("CapInh", "CapPrm", "CapEff", "CapBnd"))]
    lab.check(uid != "0", "the agent is root")
    lab.check(all(int(cap, 16) == 0 for cap in caps), f"the agent has capabilities: {caps}")
    said = machine.check(f"{PROGRAM} status --json")
    sandbox = json.loads(said[said.index("{"):])["sandbox"]
    lab.check(sandbox == SANDBOX, f"in force is {sandbox}")
    lab.say(f"monitor {monitor} (root), agent {agent} (uid {uid}, no capabilities); in force: {sandbox}")
    before = lab.gateway.camera().get("since")
    _kill_watched(lab, agent)
    seconds = _new_uplink(lab, before)
    again, other = _roles(lab)
    lab.check(again == monitor and other != agent, f"now {again} and {other}")
    _nothing_open(lab)
    lab.say(f"agent killed: another one's uplink after {seconds:.1f} s, same monitor; {lab.watch_ok()}")


def kill_monitor(lab: Lab) -> None:
    """SIGKILL to the monitor: the agent ends with it, and the service starts both again; nothing of the old ones is open."""
    machine = lab.running()
    lab.gateway.wait_online()
    monitor, agent = _roles(lab)
    before = lab.gateway.camera().get("since")
    _kill_watched(lab, monitor)
    machine.wait_for(f"! [ -d /proc/{agent} ]", 20)
    lab.say("monitor killed: the agent ended with it")
    try:
        seconds = _new_uplink(lab, before)
    except GatewayError:
        # For the scenarios that follow.
        machine.run(f"{SERVICE} stop; {SERVICE} start", 60)
        raise
    again, other = _roles(lab)
    lab.check(not {again, other} & {monitor, agent}, f"now {again} and {other}")
    _nothing_open(lab)
    lab.say(f"both were started again without a hand, uplink after {seconds:.1f} s")
