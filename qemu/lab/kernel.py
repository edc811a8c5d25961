"""Takes a kernel out of the archive that unpacks itself: an emulated CPU needs seconds for that at each boot, and the host
an instant, once."""

import lzma
import re
import struct
import zlib
from pathlib import Path

XZ = b"\xfd7zXZ\0"
# The header of U-Boot's images, which QEMU reads: magic, the header's own sum, time, size, address, entry, sum of the rest,
# system (Linux), CPU (ARM), kind (kernel), compression (none), name.
HEADER = struct.Struct(">7I4B32s")
MAGIC = 0x27051956
LINUX, ARM, KERNEL, UNCOMPRESSED = 5, 2, 2, 0
# Where a kernel begins behind the start of memory, in arch/arm/Makefile: further behind if one of these machines is meant too,
# whose firmware lies there.
TEXT_OFFSET = 0x8000
FAR_OFFSET = 0x208000
FAR_MACHINES = ("MESON", "MSM8X60", "MSM8960", "IPQ40XX")
# Where memory starts on QEMU's `virt`.
VIRT_MEMORY = 0x40000000
# What a distribution's kernel does at each boot, an emulated CPU takes seconds for, and no camera's kernel does: it tries its
# own ciphers, and reads its maker's certificate, which its modules are signed with.
FAST = "cryptomgr.notests=1 initcall_blacklist=load_system_certificate_list"


def unpacked(package: Path, memory: int) -> bytes:
    """The kernel of an unpacked Debian package as an image for `-kernel`, of a machine whose memory starts at `memory`."""
    packed = next((package / "boot").glob("vmlinuz-*")).read_bytes()
    config = next((package / "boot").glob("config-*")).read_text(encoding="ascii")
    far = re.search(rf"^CONFIG_ARCH_({'|'.join(FAR_MACHINES)})=y$", config, re.MULTILINE)
    # What unpacks it knows the magic as well, and comes first; length and tables follow it.
    start = packed.rindex(XZ)
    code = lzma.LZMADecompressor(lzma.FORMAT_XZ).decompress(packed[start:])
    address = memory + (FAR_OFFSET if far else TEXT_OFFSET)

    def header(own_sum: int) -> bytes:
        return HEADER.pack(MAGIC, own_sum, 0, len(code), address, address, zlib.crc32(code),
                           LINUX, ARM, KERNEL, UNCOMPRESSED, b"linux")

    return header(zlib.crc32(header(0))) + code
