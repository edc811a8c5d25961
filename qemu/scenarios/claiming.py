"""From nothing to video, as docs/gateway.md says it: a gateway that was started with one command, a camera that is switched
on for the first time, an owner with the PIN on the label."""

import json

from lab.fresh import FreshGateway
from lab.image import MEDIA_USER
from lab.lab import CONFIG, PROGRAM, SERVICE, STATE, Lab
from lab.machine import UPLINK_PORT, Machine

SERIAL, MODEL = "SN-0042", "Dome"
NAME = "porch"
# What a factory's image does not have in it yet.
FIRST_BOOT = f"rm -f {STATE}/identity.pem {STATE}/pin {STATE}/pin.key {STATE}/uplinks; sync"
PIN_SECONDS = 120


def _configuration(line: str) -> str:
    """What the guide says: the gateway's line, and a profile for each stream."""
    profiles = "".join(
        f"config profile '{name}'\n\toption rtsp 'rtsp://127.0.0.1:554/stream={number}'\n\toption user '{MEDIA_USER}'\n"
        f"\toption password_file '{STATE}/camera-password'\n\n" for number, name in enumerate(("main", "sub")))
    return (f"config agent\n\toption log 'syslog'\n\toption serial '{SERIAL}'\n\toption model '{MODEL}'\n\n{line}\n\n{profiles}")


def _label(machine: Machine) -> dict:
    """What `lenscap enroll` shows."""
    text = machine.check(f"{PROGRAM} enroll --json", 120)
    return json.loads(text[text.index("{"):])


def claim(lab: Lab, gateway: FreshGateway, extra: str = "", beside: bool = False) -> tuple[Machine, dict, str]:
    """A camera from nothing to claimed by the label's PIN, with `extra` in its configuration: its machine, its label, and the
    password of a viewer."""
    line = gateway.camera_line()
    # The guest reaches the gateway's port through the emulator, which gives it another number there.
    line = line.replace(f":{lab.gateway.port}/", f":{UPLINK_PORT}/")
    machine = lab.new_machine(beside=beside)
    machine.boot()
    lab.install(machine)
    machine.run(f"{SERVICE} stop", 60)
    machine.check(f"mkdir -p {STATE}")
    machine.write_file(f"{STATE}/camera-password", lab.variant.media_password + "\n", "600")
    machine.write_file(CONFIG, _configuration(line) + extra, "600")
    machine.check(f"{PROGRAM} check")
    machine.check(FIRST_BOOT)
    machine.power_off()

    machine.boot()
    waiting = gateway.wait_for(lambda: gateway.cameras()["pending"], "no camera waits")
    lab.check(len(waiting) == 1 and waiting[0]["serial"] == SERIAL and waiting[0]["model"] == MODEL,
              f"what waits is {waiting}")
    lab.check(not gateway.cameras()["cameras"], "a camera was let in that nobody has claimed")
    fingerprint = waiting[0]["fingerprint"]
    label = _label(machine)
    lab.check((label["serial"], label["fingerprint"]) == (SERIAL, fingerprint), f"the label says {label}")
    lab.say(f"first boot: {SERIAL} ({MODEL}) waits, and its label says the same key; PIN of {len(label['pin'])} characters")
    gateway.wait_for(lambda: any(camera["pin"] for camera in gateway.cameras()["pending"]),
                     "the camera does not show its PIN", PIN_SECONDS)
    gateway.ask("camera", "claim", "--serial", SERIAL, "--name", NAME, "--account", "home", typed=label["pin"] + "\n")
    wait_online(gateway)
    added = json.loads(gateway.ask("viewer", "add", "carol", "--account", "home", "--days", "30", "--json"))
    plays(lab, gateway, added["password"], "claimed by its PIN")
    return machine, label, added["password"]


def claimed(lab: Lab) -> None:
    """From nothing to video: first boot, pending, claimed by the label's PIN, ffprobe; again after a pulled plug."""
    lab.gateway.stop()
    with FreshGateway(lab.folder / "fresh", lab.gateway.port) as gateway:
        machine, label, password = claim(lab, gateway)

        machine.check("sync")
        machine.cut_power()
        machine.boot()
        wait_online(gateway)
        plays(lab, gateway, password, "after a pulled plug")
        lab.check(_label(machine) == label, "the label has changed")
        text = gateway.log_text() + lab.log_text(machine)
        # A password that is the user's name stands in any log.
        for secret in {label["pin"], password, lab.variant.media_password} - {MEDIA_USER}:
            lab.check(secret not in text, "a PIN or a password is in a log")


def wait_online(gateway: FreshGateway, seconds: float = 120) -> None:
    """Until the claimed camera is there."""
    gateway.wait_for(lambda: any(camera["name"] == NAME and camera["online"] for camera in gateway.cameras()["cameras"]),
                     "the claimed camera does not come", seconds)


def plays(lab: Lab, gateway: FreshGateway, password: str, when: str) -> None:
    """The viewer sees both profiles."""
    seen = {profile: gateway.probe("carol", password, NAME, profile) for profile in ("main", "sub")}
    lab.check(seen == {"main": "h264,640,360", "sub": "h264,320,180"}, f"ffprobe sees {seen}")
    lab.say(f"{when}: ffprobe sees main {seen['main']}, sub {seen['sub']}")
