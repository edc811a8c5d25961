"""Where things lie."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
QEMU = ROOT / "qemu"
GUEST = QEMU / "guest"
OUT = ROOT / "out" / "qemu"
# Where the packages lie.
DIST = Path(os.environ.get("LENSCAP_DIST", ROOT / "dist"))
CROSS = ROOT / "target" / "cross"
# Images are made of this checkout's files: another checkout's tests run beside on its own.
IMAGES = ROOT / "target" / "qemu-images"
# Downloads and what is unpacked from them: outside the tree, shared by all checkouts.
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lenscap-qemu"


def with_audit(target: str) -> Path:
    """The program of lenscap-full for a CPU."""
    return DIST / target / "full" / "lenscap"
