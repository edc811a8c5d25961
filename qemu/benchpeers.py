"""What relays the camera's video in the guest of `make bench-arm`: each starts its processes and proves its cipher.

All processes run in one guest. What stands on a camera is started with `start_counted`, everything else beside it.
"""

import json
from dataclasses import dataclass

BULK_PORT, CREDIT_PORT, PACED_PORT = 554, 555, 556
# Where the server's side offers what the camera's side forwards.
FORWARD = 18000
BULK_WINDOW_KIB = 128
CAMERA = "simcam --listen 0.0.0.0:{port} --http-listen 127.0.0.1:0 --synthetic --path /stream --bitrate 4M"
# In bulk every picture can be decoded alone, so that a drop would cost no more than itself.
BULK = CAMERA.format(port=BULK_PORT) + f" --gop 1 --bulk --bulk-listen 0.0.0.0:{CREDIT_PORT} --bulk-window {BULK_WINDOW_KIB}"
PACED = CAMERA.format(port=PACED_PORT) + " --gop 50"


class CipherError(Exception):
    """A peer negotiated something else than ChaCha20-Poly1305."""


@dataclass
class Running:
    """A peer at work."""

    programs: tuple
    bulk: str
    paced: str
    credit: str = f"127.0.0.1:{CREDIT_PORT}"
    login: bool = False

    def login_words(self) -> str:
        """Arguments of rtp-sink."""
        return "--user viewer --password-file /keys/viewer.password" if self.login else ""


def forwarded(programs: tuple) -> Running:
    """A peer that forwards ports on loopback."""
    return Running(programs, f"rtsp://127.0.0.1:{FORWARD + BULK_PORT}/stream", f"rtsp://127.0.0.1:{FORWARD + PACED_PORT}/stream")


def start_cameras(rig, prefix: str = "") -> tuple:
    """Both cameras: one as fast as it is credited, one at its own pace."""
    rig.start("camera-bulk", prefix + BULK)
    rig.start("camera-paced", prefix + PACED)
    for name in ("camera-bulk", "camera-paced"):
        rig.machine.wait_for(f"grep -q listening /tmp/{name}.log")
    return ("camera-bulk", "camera-paced")


def line_with(rig, name: str, marker: str, wanted: str) -> str:
    """The log's line about the cipher, which must name the wanted one."""
    lines = [line.strip() for line in rig.log(name).splitlines() if marker in line]
    bad = [line for line in lines if wanted not in line]
    if not lines or bad:
        raise CipherError(f"{name}: not {wanted}: {bad or 'its log says no cipher'}")
    return lines[-1][lines[-1].index(marker):]


class Lenscap:
    """The agent, with the gateway beside it."""

    NAME = "lenscap"

    @staticmethod
    def start(rig) -> Running:
        """Writes both configurations, and starts both."""
        cameras = start_cameras(rig)
        machine = rig.machine
        machine.check("mkdir -p /etc/config /etc/lenscap")
        profile = "config profile '{name}'\n\toption rtsp 'rtsp://127.0.0.1:{port}/stream'\n\n"
        rig.secret("/etc/config/lenscap", (
            "config agent\n\toption log 'stderr'\n\toption log_level 'debug'\n\n"
            "config uplink 'main'\n\toption endpoint 'https://127.0.0.1:8443/onvif/uplink'\n\toption ca_file '/keys/ca.pem'\n\n"
            + profile.format(name="bulk", port=BULK_PORT) + profile.format(name="paced", port=PACED_PORT)))
        text = machine.check("lenscap identity --json 2>/dev/null")
        fingerprint = json.loads(text[text.index("{"):])["fingerprint"]
        rig.secret("/etc/gateway.toml", (
            '[uplink]\nlisten = "127.0.0.1:8443"\ncert = "/keys/gateway.pem"\nkey = "/keys/gateway.key"\n'
            '[rtsp]\nlisten = "127.0.0.1:8554"\n[http]\nlisten = "127.0.0.1:8080"\n'
            f'[[camera]]\nname = "front"\nfingerprint = "{fingerprint}"\n'
            '[[viewer]]\nuser = "viewer"\npassword_file = "/keys/viewer.password"\n'))
        rig.start("gateway", "lenscap-gateway run --config /etc/gateway.toml")
        machine.wait_for("grep -q listening /tmp/gateway.log")
        rig.start_counted(Lenscap.NAME, "lenscap run")
        url = "rtsp://127.0.0.1:8554/front/"
        return Running((Lenscap.NAME, "gateway", *cameras), url + "bulk", url + "paced", login=True)

    @staticmethod
    def cipher(rig) -> str:
        """What the agent says."""
        return line_with(rig, Lenscap.NAME, "TLS13_", "TLS13_CHACHA20_POLY1305_SHA256")


class Stunnel:
    """TLS 1.3 forwarding; the server's side dials, for stunnel has no reverse mode."""

    NAME = "stunnel4"
    COMMON = ("foreground = yes\nsyslog = no\npid =\ndebug = 6\nsslVersion = TLSv1.3\n"
              "ciphersuites = TLS_CHACHA20_POLY1305_SHA256\nsocket = l:TCP_NODELAY=1\nsocket = r:TCP_NODELAY=1\n")

    @classmethod
    def start(cls, rig) -> Running:
        """The camera's side accepts TLS."""
        cameras = start_cameras(rig)
        camera, server = cls.COMMON, cls.COMMON
        for port in (BULK_PORT, PACED_PORT):
            camera += (f"[c{port}]\naccept = 127.0.0.1:{FORWARD + 1000 + port}\nconnect = 127.0.0.1:{port}\n"
                       "cert = /keys/gateway.pem\nkey = /keys/gateway.key\n")
            server += (f"[s{port}]\nclient = yes\naccept = 127.0.0.1:{FORWARD + port}\n"
                       f"connect = 127.0.0.1:{FORWARD + 1000 + port}\nCAfile = /keys/ca.pem\nverifyChain = yes\n")
        rig.start_counted(cls.NAME, f"stunnel4 {rig.secret('/etc/stunnel-camera.conf', camera)}")
        rig.start("stunnel-server", f"stunnel4 {rig.secret('/etc/stunnel-server.conf', server)}")
        return forwarded((cls.NAME, "stunnel-server", *cameras))

    @classmethod
    def cipher(cls, rig) -> str:
        """What the camera's side says of each connection."""
        return line_with(rig, cls.NAME, "ciphersuite:", "TLS_CHACHA20_POLY1305_SHA256")


class Dropbear:
    """Remote forwarding with dbclient, to dropbear."""

    NAME = "dropbear"
    CIPHER = "chacha20-poly1305@openssh.com"

    @classmethod
    def start(cls, rig) -> Running:
        """Keys of this run, a server, and the client that forwards."""
        cameras = start_cameras(rig)
        rig.machine.check(
            "[ -f /tmp/host.key ] || dropbearkey -t ed25519 -f /tmp/host.key >/dev/null 2>&1; "
            "[ -f /tmp/client.key ] || dropbearkey -t ed25519 -f /tmp/client.key >/dev/null 2>&1; "
            "dropbearkey -y -f /tmp/client.key | grep ^ssh-ed25519 >/root/.ssh/authorized_keys; "
            "chmod 600 /root/.ssh/authorized_keys")
        rig.start("sshd", "dropbear -r /tmp/host.key -p 127.0.0.1:2222 -F -E -s")
        ports = " ".join(f"-R 127.0.0.1:{FORWARD + port}:127.0.0.1:{port}" for port in (BULK_PORT, PACED_PORT))
        rig.start_counted(cls.NAME, f"dbclient -y -y -N -T -c {cls.CIPHER} -i /tmp/client.key {ports} root@127.0.0.1/2222")
        return forwarded((cls.NAME, "sshd", *cameras))

    @classmethod
    def cipher(cls, rig) -> str:
        """It says nothing, but was allowed no other, and carried bytes."""
        command = rig.machine.check(f"tr '\\0' ' ' </proc/$(cat /tmp/{cls.NAME}.pid)/cmdline")
        if f"-c {cls.CIPHER}" not in command:
            raise CipherError(f"{cls.NAME} runs as {command}")
        return f"the only one offered: {cls.CIPHER}"


class OpenVpn:
    """A tunnel over TCP, in user space. The camera and its end of the tunnel are in a network namespace."""

    NAME = "openvpn"
    SERVER, CAMERA = "10.99.0.1", "10.99.0.2"

    @classmethod
    def start(cls, rig) -> Running:
        """Both ends over loopback; the camera's tunnel device moves to the camera."""
        machine = rig.machine
        common = ("disable-dco\nsocket-flags TCP_NODELAY\ndata-ciphers CHACHA20-POLY1305\nverb 4\n"
                  "cert /keys/{cert}.pem\nkey /keys/{cert}.key\npeer-fingerprint {peer}\n")
        server = (f"dev tun0\ndev-type tun\nproto tcp-server\nlocal 127.0.0.1\nport 1194\ntls-server\ndh none\n"
                  f"ifconfig {cls.SERVER} {cls.CAMERA}\nifconfig-noexec\n"
                  + common.format(cert="gateway", peer=rig.certificate_digest("camera.pem")))
        client = (f"dev tun1\ndev-type tun\nproto tcp-client\nremote 127.0.0.1 1194\nnobind\ntls-client\n"
                  f"ifconfig {cls.CAMERA} {cls.SERVER}\nifconfig-noexec\n"
                  + common.format(cert="camera", peer=rig.certificate_digest("gateway.pem")))
        rig.start("namespace", "unshare -n sleep 1000000")
        rig.start("openvpn-server", f"openvpn --config {rig.secret('/etc/openvpn-server.conf', server)}")
        rig.start_counted(cls.NAME, f"openvpn --config {rig.secret('/etc/openvpn-camera.conf', client)}")
        machine.wait_for(f"grep -q 'Initialization Sequence Completed' /tmp/{cls.NAME}.log", 120)
        inside = "nsenter --net=/proc/$(cat /tmp/namespace.pid)/ns/net "
        machine.check(f"ip addr add {cls.SERVER} peer {cls.CAMERA} dev tun0 && ip link set tun0 up")
        machine.check(f"ip link set tun1 netns $(cat /tmp/namespace.pid) && {inside} ip addr add {cls.CAMERA} peer {cls.SERVER} dev tun1 && "
                      f"{inside} ip link set tun1 up && {inside} ip link set lo up")
        cameras = start_cameras(rig, inside)
        return Running((cls.NAME, "openvpn-server", *cameras, "namespace"), f"rtsp://{cls.CAMERA}:{BULK_PORT}/stream",
                       f"rtsp://{cls.CAMERA}:{PACED_PORT}/stream", f"{cls.CAMERA}:{CREDIT_PORT}")

    @classmethod
    def cipher(cls, rig) -> str:
        """What the camera's end says."""
        return line_with(rig, cls.NAME, "Outgoing Data Channel: Cipher", "CHACHA20-POLY1305")


PEERS = (Lenscap, Stunnel, Dropbear, OpenVpn)
