"""`option mode 'confirm'`: what closes logins waits for its owner, and goes when the owner does not come in time."""

from dataclasses import replace

from lab import knock
from lab.fresh import FreshGateway
from lab.lab import PROGRAM, STATE, Lab
from lab.owner import OWNER, SECRET, Owner

from .claiming import claim, plays, wait_online

CONFIRM = f"config harden\n\toption mode 'confirm'\n\tlist allow_lan '{OWNER}'\n"
UNCONFIRMED = f"{STATE}/harden/unconfirmed"
# What hardening may write on these cameras, telnet's script first.
FILES = f"/etc/init.d/S40telnet /etc/passwd /etc/shadow /etc/prudynt.json {STATE}/camera-password"
# agent/harden/src/gate.rs, and how late it may be.
LIMIT_SECONDS, LATE_SECONDS = 600, 60
LOOK_SECONDS = 120
REVIVE_SECONDS = 20
AGAIN_SECONDS = 300
# `lenscap harden --apply`: without TUN nobody has tried the firewall.
UNKNOWN = 2


class Waiting:
    """A claimed camera with its owner, who has its console, and a stranger beside it."""

    def __init__(self, lab: Lab, gateway: FreshGateway):
        self.lab = lab
        self.gateway = gateway
        self.machine, _, self.viewer = claim(lab, gateway, CONFIRM, beside=True)
        self.owner = Owner(lab, self.machine)
        self.factory = lab.variant
        self.files = self.machine.check(f"sha256sum {FILES}")
        self.owner.wait_streaming()
        self.open_before = self.owner.look(every_port=False)

    def status_says(self, what: str) -> None:
        """What the service's looks have found, sooner or later."""
        self.machine.wait_for(f"{PROGRAM} status --json | grep -q '{what}'", LOOK_SECONDS)

    def plans_only(self) -> None:
        """Nobody asked, and nothing was tried on a device: the service tells, and changes nothing."""
        why = "never tried on a device"
        self.status_says(why)
        done = self.machine.run(f"{PROGRAM} harden --recheck", LOOK_SECONDS)
        self.lab.check(why in done.output, f"a look says {done.output}")
        self.lab.check(self.machine.check(f"sha256sum {FILES}") == self.files, "something was changed that nobody asked for")

    def logins(self, when: str, password: str, *opened: str) -> None:
        """The stranger's tries with a password of root's: it opens these services, and no other."""
        pair = [("root", password)]
        found = {service: knock.logins(self.lab.beside(), service, pair) for service in ("ssh", "telnet")}
        self.lab.check({service for service, (good, _) in found.items() if good} == set(opened), f"{when}: {found}")
        for service in opened:
            found[service] = ([], "open")
        whose = "factory" if password == self.factory.password else "owner's"
        self.lab.say(f"{when}, the {whose} password: " + ", ".join(f"{name} {word}" for name, (_, word) in found.items()))

    def apply(self) -> None:
        """`lenscap harden --apply`, with a password that the owner has. It waits from then on."""
        self.machine.write_file(SECRET, self.owner.password + "\n", "600")
        done = self.owner.harden("closing", f"--apply --cut --password-file {SECRET}")
        self.lab.check(done.status == UNKNOWN and "within 10 minutes, or it is taken back" in done.output, done.output[-1500:])
        self.lab.say(f"harden --apply ended with {done.status}: {done.output.splitlines()[-2]}")
        self.machine.check(f"[ -s {UNCONFIRMED} ]")
        self.console(self.owner.password)
        self.logins("closed, not confirmed", self.factory.password)

    def console(self, password: str) -> None:
        """From now on the console takes this one."""
        self.machine.variant = replace(self.factory, password=password)

    def uptime(self) -> float:
        """Seconds since the camera was switched on."""
        return float(self.machine.check("cut -d' ' -f1 /proc/uptime"))

    def wait_for_limit(self) -> None:
        """Until what waits is gone, the whole ten minutes."""
        seconds = LIMIT_SECONDS + LATE_SECONDS
        rounds = seconds // 2
        done = self.machine.run(f"n={rounds}; while [ -e {UNCONFIRMED} ] && [ $n -gt 0 ]; do sleep 2; n=$((n - 1)); done; "
                                f"[ ! -e {UNCONFIRMED} ]", seconds + LATE_SECONDS)
        self.lab.check(done.status == 0, "it still waits")

    def as_before(self, when: str) -> None:
        """Nothing is left of it: the same files, the same ports, the factory's password everywhere."""
        self.console(self.factory.password)
        found = self.machine.check(f"sha256sum {FILES}")
        self.lab.check(found == self.files, f"{when}, other files than before: {found}")
        # What was ended starts some seconds after the files are back.
        self.machine.wait_for("netstat -ltn | grep -q ':23 '", REVIVE_SECONDS)
        self.logins(when, self.factory.password, "ssh", "telnet")
        look = self.owner.look(every_port=False)
        self.lab.check(look.tcp == self.open_before.tcp, f"{when}: {look.says()}")
        self.lab.say(f"{when}: the files are those of before; {look.says()}")


def confirmed(lab: Lab) -> None:
    """What the owner applies waits; the claimed uplink that is dialled anew through it confirms it; it outlives a pulled plug."""
    lab.gateway.stop()
    with FreshGateway(lab.folder / lab.scenario, lab.gateway.port) as gateway:
        camera = Waiting(lab, gateway)
        machine = camera.machine
        camera.plans_only()
        camera.logins("before", camera.factory.password, "ssh", "telnet")
        _, before = lab.processes(machine)
        camera.apply()

        machine.wait_for(f"[ ! -e {UNCONFIRMED} ]", LOOK_SECONDS)
        camera.status_says('"waiting_for_confirmation": false')
        wait_online(gateway)
        _, after = lab.processes(machine)
        lab.check(before != after and "dialled anew" in lab.log_text(machine), f"the agent is {before}, then {after}")
        lab.check(machine.run(f"[ -s {STATE}/harden/journal ]").status == 0, "nothing is known of what was changed")
        lab.say("confirmed by the uplink that another agent dialled; the journal is kept, nothing waits")

        machine.cut_power()
        machine.boot()
        wait_online(gateway)
        camera.owner.wait_streaming()
        camera.logins("after a pulled plug", camera.factory.password)
        look = camera.owner.look(every_port=False)
        lab.check(not look.tcp, f"after a pulled plug: {look.says()}")
        plays(lab, gateway, camera.viewer, f"after a pulled plug: {look.says()}")
    machine.cut_power()


def taken_back(lab: Lab) -> None:
    """Nobody confirms, and the uplink does not come: after ten minutes every login is as it was."""
    _taken_back(lab, unplugged=False)


def taken_back_unplugged(lab: Lab) -> None:
    """The same when the plug is pulled meanwhile: the firewall is gone at once, the rest ten minutes after the boot."""
    _taken_back(lab, unplugged=True)


def _taken_back(lab: Lab, unplugged: bool) -> None:
    lab.gateway.stop()
    with FreshGateway(lab.folder / lab.scenario, lab.gateway.port) as gateway:
        camera = Waiting(lab, gateway)
        machine = camera.machine
        camera.logins("before", camera.factory.password, "ssh", "telnet")
        gateway.stop()
        began = camera.uptime()
        camera.apply()
        camera.status_says('"waiting_for_confirmation": true')
        if unplugged:
            machine.cut_power()
            machine.boot()
            began = 0
            camera.logins("after a pulled plug", camera.factory.password)
            # Who is locked out of the network by the firewall only has to switch the camera off.
            camera.logins("after a pulled plug", camera.owner.password, "ssh")

        camera.wait_for_limit()
        waited = camera.uptime() - began
        lab.check(LIMIT_SECONDS <= waited <= LIMIT_SECONDS + LATE_SECONDS, f"taken back after {waited:.0f} s")
        camera.as_before(f"{waited:.0f} s after " + ("the boot" if unplugged else "that"))

        # With the uplink again, a look closes nothing of it unasked.
        gateway.start()
        wait_online(gateway, AGAIN_SECONDS)
        camera.plans_only()
        if unplugged:
            # The streamer has started with the password that is gone.
            machine.reboot()
            wait_online(gateway)
            camera.owner.wait_streaming()
            camera.as_before("after a reboot")
        plays(lab, gateway, camera.viewer, "with the gateway again")
    machine.cut_power()
