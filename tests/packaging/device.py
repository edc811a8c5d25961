"""A device's root file system, with BusyBox and nothing else, that commands run in as on the device itself."""

import os
import shutil
import subprocess
from pathlib import Path

TIMEOUT = 60
_IN_ROOT = """
mount --bind "$0" "$0" && mount --bind /dev/null "$0/dev/null" && mount --rbind /proc "$0/proc" && exec chroot "$0" "$@"
"""


class Device:
    """In a folder. Commands see it as the root, in a mount namespace of their own, and are root there."""

    def __init__(self, folder):
        self.root = Path(folder)
        busybox = shutil.which("busybox")
        if busybox is None:
            raise AssertionError("no busybox: apt-get install busybox-static")
        for path in ("bin", "dev", "etc", "lib", "proc", "tmp", "usr/bin", "var/run"):
            (self.root / path).mkdir(parents=True)
        shutil.copy(busybox, self.root / "bin/busybox")
        for applet in subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True).stdout.split():
            if applet != "busybox":
                (self.root / "bin" / applet).symlink_to("busybox")
        self.put("dev/null", b"")

    def put(self, path, data, mode=0o644):
        """A file with its folders."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
        file.chmod(mode)

    def run(self, *words, **environment):
        """A command on the device, to its end."""
        path = "/usr/sbin:/usr/bin:/sbin:/bin"
        # Behind the device's own, this machine's, for what comes before.
        environment = {"PATH": f"{path}:{os.environ['PATH']}", **environment}
        words = ["unshare", "--map-root-user", "--mount", "sh", "-c", _IN_ROOT, self.root, *words]
        return subprocess.run(words, env=environment, capture_output=True, text=True, timeout=TIMEOUT, check=False)
