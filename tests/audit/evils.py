"""A camera that was broken into, harmlessly: it holds what Mirai and its kin leave, and says `ready`.

Run it in a network and a mount namespace of its own, as root: evils.py FOLDER. It ends with its standard input.
"""

import os
import shutil
import socket
import subprocess
import sys

VICTIMS = range(2, 40)


def bot(folder):
    """Runs from a file that it deletes, calls itself something else, and waits on Mirai's port."""
    program = os.path.join(folder, "dvrHelper")
    shutil.copy(os.path.realpath(sys.executable), program)
    code = (
        "import os, socket, sys\n"
        f"os.unlink({program!r})\n"
        "open('/proc/self/comm', 'w').write('dvqbi2h4vtfb3lk')\n"
        "one = socket.create_server(('127.0.0.1', 48101))\n"
        "print('there', flush=True)\n"
        "sys.stdin.read()\n"
    )
    child = subprocess.Popen(["dvqbi2h4vtfb3lk", "-c", code], executable=program, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdout.readline() == b"there\n"
    return child


def shell():
    """A telnet server's first bytes on a port that vendors use."""
    one = socket.create_server(("0.0.0.0", 9527))
    if os.fork() == 0:
        while True:
            client, _ = one.accept()
            client.sendall(b"\xff\xfd\x01\xff\xfd\x1fcamera login: ")
            client.close()
    return one


def hidden():
    """Listens, and lays a mount over its folder in /proc."""
    child = subprocess.Popen([sys.executable, "-c", "import socket, sys\n"
                              "one = socket.create_server(('127.0.0.1', 2222))\n"
                              "print('there', flush=True)\nsys.stdin.read()\n"],
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdout.readline() == b"there\n"
    subprocess.run(["mount", "-t", "tmpfs", "none", f"/proc/{child.pid}"], check=True)
    return child


def scanner():
    """Knocks on telnet of a network that swallows everything."""
    held = []
    for host in VICTIMS:
        one = socket.socket()
        one.setblocking(False)
        one.connect_ex((f"10.213.0.{host}", 23))
        held.append(one)
    return held


def main():
    commands = [
        "link set lo up",
        "link add evil0 type veth peer name evil1",
        "addr add 10.213.0.1/24 dev evil0",
        "link set evil1 up",
        "link set evil0 up",
    ]
    commands += [f"neigh add 10.213.0.{host} lladdr 02:00:00:00:00:02 dev evil0" for host in VICTIMS]
    subprocess.run(["ip", "-batch", "-"], input="\n".join(commands), text=True, check=True)
    os.setpgid(0, 0)
    held = [bot(sys.argv[1]), shell(), hidden(), scanner()]
    # Mirai's scanner makes its packets by itself.
    held.append(socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP))
    print("ready", flush=True)
    sys.stdin.read()
    os.killpg(0, 9)


main()
