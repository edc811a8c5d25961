"""The camera is closed by its owner, stays closed, carries its video all the while, and is opened again."""

from lab import knock
from lab.lab import STATE, Lab
from lab.owner import Owner

CAMERA_PORTS = {22, 80, 554}
# Exit status of applying, and the word of a look later. Without TUN the camera cannot try its filter from within, and says
# so, then and at every look.
VERDICTS = {"vendor": (2, "unknown"), "modern": (0, "holds"), "bare": (1, "fails")}


def closed(lab: Lab) -> None:
    """`lenscap harden --apply` by the owner: what strangers reached is gone, at once and after a reboot; then removed."""
    variant = lab.variant
    filtered = variant.unfilter is not None
    machine = lab.installed_machine(beside=True)
    # `claimed` has had one of its own meanwhile.
    lab.gateway.start(lab.fingerprint)
    machine.boot()
    lab.gateway.wait_online()
    owner = Owner(lab, machine)
    owner.wait_streaming()

    # All ports are looked at when nothing may be found; `make demo` shows both.
    before = owner.look(every_port=False)
    wanted = CAMERA_PORTS | ({23} if variant.telnet else set())
    lab.check(set(before.tcp) == wanted, f"before: {before.says()}")
    # That a port answers now is what makes its silence mean something later.
    lab.check(before.udp_answered == before.udp_scanned, f"before: {before.says()}")
    lab.say(f"before: {before.says()}")
    factory = [("root", variant.password)] if variant.password is not None else []
    for service in ("ssh", "telnet") if variant.telnet else ("ssh",) if factory else ():
        opened, why = knock.logins(lab.beside(), service, factory)
        lab.check(opened == factory, f"before, the factory password does not open {service}: {why}")

    status, said = owner.close()
    lab.say(f"harden --apply ended with {status}: {' | '.join(said.splitlines()[-3:])}")
    wanted_status, word = VERDICTS[variant.name]
    lab.check(status == wanted_status, said[-1500:])
    lab.check(filtered or "not enforceable here" in said, "nothing says that this kernel cannot filter")
    # Judged by `make demo`, which has no other camera beside it.
    lab.say(f"`lenscap harden`, timed: {owner.times()}")
    look_closed(lab, owner, filtered, "closed")

    look_refused(lab, owner, "closed")

    since = lab.gateway.camera().get("since")
    machine.reboot()
    lab.gateway.wait_online(after=since)
    owner.wait_streaming()
    look_closed(lab, owner, filtered, "after a reboot", every_port=False)
    look_refused(lab, owner, "after a reboot")
    hardening = lab.gateway.wait_hardening()
    lab.check(not hardening["gave_up"] and hardening["verdict"] == word, f"/status says {hardening}")
    opens = "the owner's password opens the console; " if variant.password is not None else ""
    lab.say(f"{opens}/status says {hardening['verdict']}")

    machine.fetch_payload("/tmp/package", "first/install.sh")
    # Where there was nothing to change there is nothing to take back.
    changed = machine.run(f"[ -s {STATE}/harden/journal ]").status == 0
    lab.check(changed or not variant.telnet, "nothing is known of what hardening changed")
    said = machine.check("sh /tmp/package/first/install.sh --uninstall", 120)
    # The firewall is taken back in any case.
    kept = machine.run(f"[ -s {STATE}/harden/journal ]").status == 0
    lab.check(("harden --undo" in said) == kept, f"the installer: {said}")
    opened = owner.look(every_port=False)
    lab.check(set(opened.tcp) == CAMERA_PORTS, f"without Lenscap: {opened.says()}")
    lab.say(f"uninstalled: {opened.says()}{'; the originals are kept' if kept else ''}")
    machine.cut_power()


def look_closed(lab: Lab, owner: Owner, filtered: bool, when: str, every_port: bool = True) -> None:
    """A stranger finds nothing; viewers at the gateway see the video."""
    found = owner.look(every_port)
    wanted = set() if filtered else CAMERA_PORTS
    lab.check(set(found.tcp) == wanted, f"{when}: {found.says()}")
    lab.check(found.udp_answered == 0 or not filtered, f"{when}: {found.says()}")
    lab.gateway.wait_online()
    lab.say(f"{when}: {found.says()}; {lab.watch_ok()}")


def look_refused(lab: Lab, owner: Owner, when: str) -> None:
    """No password that strangers know opens anything, even without the firewall."""
    for service, (opened, why) in owner.try_known_passwords().items():
        lab.check(not opened, f"{when}: {service} still opens to {opened}")
        lab.say(f"{when}, without the firewall, {service} opens to none of Mirai's pairs: {why}")
