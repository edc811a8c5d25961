"""The two processes keep each other: the monitor brings the agent back, the service brings both back."""

from lab.gateway import GatewayError
from lab.lab import SERVICE, Lab

BACK_SECONDS = 60


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


def kill_agent(lab: Lab) -> None:
    """SIGKILL to the agent: the monitor lives on and starts another."""
    machine = lab.running()
    lab.gateway.wait_online()
    monitor, agent = _roles(lab)
    status = machine.check(f"cat /proc/{agent}/status")
    uid = [line for line in status.splitlines() if line.startswith("Uid:")][0].split()[1]
    caps = [line.split()[1] for line in status.splitlines() if line.startswith(("CapInh", "CapPrm", "CapEff", "CapBnd"))]
    lab.check(uid != "0", "the agent is root")
    lab.check(all(int(cap, 16) == 0 for cap in caps), f"the agent has capabilities: {caps}")
    lab.say(f"monitor {monitor} (root), agent {agent} (uid {uid}, no capabilities)")
    before = lab.gateway.camera().get("since")
    machine.check(f"kill -9 {agent}")
    seconds = _new_uplink(lab, before)
    again, other = _roles(lab)
    lab.check(again == monitor and other != agent, f"now {again} and {other}")
    lab.say(f"agent killed: another one's uplink after {seconds:.1f} s, same monitor; {lab.watch_ok()}")


def kill_monitor(lab: Lab) -> None:
    """SIGKILL to the monitor: the agent ends with it, and the service starts both again."""
    machine = lab.running()
    lab.gateway.wait_online()
    monitor, agent = _roles(lab)
    before = lab.gateway.camera().get("since")
    machine.check(f"kill -9 {monitor}")
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
    lab.say(f"both were started again without a hand, uplink after {seconds:.1f} s")
