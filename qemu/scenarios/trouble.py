"""Cameras on which something is wrong: clear words, no harm, and all well once it is put right."""

import re

from lab.lab import CONFIG, PROGRAM, SERVICE, STATE, Lab
from lab.machine import PAYLOAD_ADDRESS, PAYLOAD_PORT
from scenarios.life import FILES

FILL = ("dd if=/dev/zero of=/overlay/filler bs=64k 2>/dev/null; dd if=/dev/zero of=/overlay/filler2 bs=1k 2>/dev/null; "
        "sync; df -k / | tail -n 1")
FETCH_TOOLS = f"nc {PAYLOAD_ADDRESS} {PAYLOAD_PORT} </dev/null | tar -xf - -C /tmp tools/oldkernel tools/setclock"
# 2040-01-01.
IN_2040 = 2208988800
HOUR = 3600
NEW_LOG = "rm -f /tmp/messages; killall syslogd; syslogd -O /tmp/messages"
RETRY_SECONDS = 90


def _last_words(lab: Lab, *wanted: str) -> str:
    """The agent's log must have one of these words; gives the line."""
    text = lab.log_text(lab.machine)
    for line in reversed(text.splitlines()):
        if any(word in line.lower() for word in wanted):
            return line.strip()
    lab.check(False, f"no clear line ({', '.join(wanted)}) in the log: {text[-1500:]}")
    raise AssertionError


def full_flash_install(lab: Lab) -> None:
    """Refused before a byte is written, and the space needed is said."""
    machine = lab.new_machine()
    machine.boot()
    machine.fetch_payload("/tmp/package")
    machine.check(FILL)
    machine.check(f"{FILES} | grep -v filler >/tmp/before; sha256sum /etc/passwd /etc/group >>/tmp/before")
    result = machine.run("sh /tmp/package/first/install.sh", 60)
    lab.check(result.status != 0, f"the installer claims success: {result.output}")
    # Two numbers: a version has digits as well.
    lab.check(re.search(r"needs \d+ KiB in \S+, \d+ KiB are free", result.output) is not None, f"no space named: {result.output}")
    machine.check(f"{FILES} | grep -v filler >/tmp/after; sha256sum /etc/passwd /etc/group >>/tmp/after")
    left = machine.run("diff /tmp/before /tmp/after").output
    lab.check(not left, f"something was written: {left}")
    lab.say(f"refused with {result.status}: {' / '.join(result.output.splitlines())}; nothing was written")
    machine.check("rm /overlay/filler /overlay/filler2; sync")
    lab.install(machine)
    lab.say("with space again: installed")


def _fresh_without_key(lab: Lab, append: str = ""):
    """An installed camera that has not made its key yet, its service not running."""
    machine = lab.installed_machine(append)
    machine.boot()
    machine.run(f"{SERVICE} stop", 60)
    machine.check(f"rm -f {STATE}/identity.pem; {NEW_LOG}; sync")
    return machine


def _comes_up(lab: Lab) -> None:
    """The key that is made now is another one: the gateway is told, and sees the camera."""
    machine = lab.machine
    machine.wait_for(f"[ -s {STATE}/identity.pem ]", RETRY_SECONDS)
    lab.gateway.start(lab.identity(machine))
    lab.gateway.wait_online(seconds=RETRY_SECONDS)


def full_flash_start(lab: Lab) -> None:
    """A first start with no room for the key says so and is tried again."""
    machine = _fresh_without_key(lab)
    machine.check(FILL)
    machine.run(f"{SERVICE} start")
    machine.wait_for("grep -q 'lenscap.*space' /tmp/messages", 30)
    lab.say(f"said: {_last_words(lab, 'space')}")
    lab.check(machine.run(f"[ -s {STATE}/identity.pem ]").status != 0, "there is a key file on a full flash")
    machine.check("rm /overlay/filler /overlay/filler2; sync")
    _comes_up(lab)
    lab.say(f"with space again, without a hand: key made, uplink up; {lab.watch_ok()}")


def read_only_etc(lab: Lab) -> None:
    """A first start on a read-only /etc says so, and is tried again."""
    machine = _fresh_without_key(lab)
    machine.check("mount -o bind /etc /etc && mount -o remount,bind,ro /etc")
    lab.check(machine.run("touch /etc/probe").status != 0, "/etc is writable")
    machine.run(f"{SERVICE} start")
    machine.wait_for("grep -qi 'lenscap.*read-only' /tmp/messages", 30)
    lab.say(f"said: {_last_words(lab, 'read-only')}")
    machine.check("mount -o remount,bind,rw /etc")
    _comes_up(lab)
    lab.say("writable again, without a hand: key made, uplink up")


def damaged_config(lab: Lab) -> None:
    """A damaged configuration is named by line; the last good one holds, at a start too; a repaired one is taken."""
    machine = lab.installed_machine()
    machine.boot()
    lab.gateway.start(lab.fingerprint)
    lab.gateway.wait_online()
    machine.check(f"cp {CONFIG} /tmp/good; printf 'config uplink\\n\\toption endp\\000' >{CONFIG}")
    machine.check(f"{SERVICE} reload")
    machine.wait_for("grep -q 'lenscap.*/etc/config/lenscap' /tmp/messages", 20)
    lab.say(f"reload: {_last_words(lab, '/etc/config/lenscap')}")
    lab.say(f"the last good one stays in force: {lab.watch_ok()}")
    machine.run(f"{SERVICE} stop", 60)
    lab.gateway.wait_online(online=False)
    machine.check(": >/tmp/messages")
    machine.run(f"{SERVICE} start")
    result = machine.run(f"{PROGRAM} check")
    lab.check(result.status == 78 and f"{CONFIG}:" in result.output, f"check says {result.status}: {result.output}")
    lab.say(f"lenscap check: {result.output.splitlines()[0]}")
    lab.gateway.wait_online(seconds=RETRY_SECONDS)
    machine.check(f"{PROGRAM} status --json | grep -q '\"config\": \"last good copy\"'")
    lab.say("started with the damaged file: uplink up with the last good copy")
    machine.check(f"cat /tmp/good >{CONFIG}; {SERVICE} reload")
    machine.wait_for(f"{PROGRAM} status --json | grep -q '\"config\": \"current\"'", 30)
    lab.gateway.wait_online(seconds=RETRY_SECONDS)
    lab.say(f"repaired and reloaded: the file counts again; {lab.watch_ok()}")


def after_2038(lab: Lab) -> None:
    """A clock in 2040, beyond what 32 bits of seconds hold: a key, the uplink by its pin, video, an agent started again.

    Debian's BusyBox counts in 32 bits and cannot even look at a file of that year: the shell touches none.
    """
    machine = _fresh_without_key(lab)
    machine.check(FETCH_TOOLS, 60)
    # The dates of a certificate do not count for a pin.
    authority = f"ca_file '{STATE}/ca.pem'\n"
    pinned = lab.configuration().replace(authority, f"{authority}\tlist pin '{lab.gateway.pin()}'\n")
    machine.write_file(CONFIG, pinned, "600")
    machine.check(f"/tmp/tools/setclock {IN_2040}")
    lab.gateway.start(lab.identity(machine))
    # It starts, but the script does not find the pid file, which is of 2040.
    machine.run(f"{SERVICE} start")
    lab.gateway.wait_online(seconds=RETRY_SECONDS)
    lab.say(f"up in 2040 with a key made there: {lab.watch_ok()}")
    since = lab.gateway.camera().get("since")
    _, agent = lab.processes(machine)
    machine.check(f"kill -9 {agent}")
    lab.gateway.wait_online(after=since, seconds=RETRY_SECONDS)
    shown = int(machine.check("/tmp/tools/setclock"))
    lab.check(IN_2040 <= shown < IN_2040 + HOUR, f"the guest's clock says {shown}")
    lab.say(f"agent started again at {shown} seconds since 1970; {lab.watch_ok()}")


def no_resolver_no_ipv6(lab: Lab) -> None:
    """No resolv.conf, no IPv6 in the kernel: a gateway named in /etc/hosts is reached."""
    machine = lab.installed_machine("ipv6.disable=1")
    machine.boot()
    machine.run(f"{SERVICE} stop", 60)
    machine.check("rm -f /tmp/resolv.conf /etc/resolv.conf")
    lab.check(machine.run("cat /proc/net/tcp6").status != 0, "IPv6 is there")
    machine.check(f"{SERVICE} start")
    lab.gateway.start(lab.fingerprint)
    lab.gateway.wait_online()
    lab.say(f"no /etc/resolv.conf, no /proc/net/tcp6: uplink up; {lab.watch_ok()}")


def old_kernel(lab: Lab) -> None:
    """Linux 3.0's system calls and no later ones."""
    machine = lab.installed_machine()
    machine.boot()
    machine.run(f"{SERVICE} stop", 60)
    machine.check(FETCH_TOOLS, 60)
    probe = machine.check("/tmp/tools/oldkernel --list")
    lab.say(f"answered with ENOSYS: {probe}")
    lab.gateway.start(lab.fingerprint)
    machine.check(f"/tmp/tools/oldkernel {PROGRAM} run --config {CONFIG} >/tmp/old.log 2>&1 & echo started")
    lab.gateway.wait_online()
    lab.say(f"uplink up; {lab.watch_ok()}")


def no_entropy(lab: Lab) -> None:
    """Without getrandom and without /dev/urandom there is no key and no TLS: it says so, and goes on once there is."""
    machine = lab.installed_machine()
    machine.boot()
    machine.run(f"{SERVICE} stop", 60)
    machine.check(FETCH_TOOLS, 60)
    machine.check(f"mv /dev/urandom /dev/urandom.away; mv /dev/random /dev/random.away; {NEW_LOG}")
    lab.gateway.start(lab.fingerprint)
    command = f"/tmp/tools/oldkernel {PROGRAM} run --config {CONFIG}"
    machine.check(f"(while :; do {command}; sleep 2; done) >/tmp/lenscap.err 2>&1 & echo started")
    machine.wait_for("grep -qi -e random -e entropy /tmp/messages /tmp/lenscap.err", 40)
    lab.say(f"said: {_last_words(lab, 'random', 'entropy')}")
    machine.check("mv /dev/random.away /dev/random; mv /dev/urandom.away /dev/urandom")
    lab.gateway.wait_online(seconds=RETRY_SECONDS)
    lab.say("with /dev/urandom again, without a hand: uplink up")
