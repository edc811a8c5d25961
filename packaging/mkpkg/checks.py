"""What OpenWrt's package CI looks for in a program, and what ours promises besides."""

import re
import struct

from . import sizes
from .model import PackageError

# Paths of a build machine. The names that the toolchain scripts put in their place are relative to nothing. Where cameras
# keep their owner's keys, their settings and the firmware below an overlay are none; strings
# lie one behind the other.
_BUILD_PATHS = re.compile(rb"((?<!/rom)/root/(?!(?:root/)?\.ssh)|/home/(?!yi-hack(?:-v[45])?/|app/|initrun\.sh)|/build/|/builds/|/usr/src/|/usr/lib/rustlib/|\.cargo/registry|\.rustup/)[\x21-\x7e]{0,80}")
# What lies in the project's folder, and what the toolchain calls that folder in place of its path.
_FOLDERS, _REMAPPED = ("agent", "target", "dist"), "/lenscap"
_PT_INTERP, _PT_DYNAMIC = 3, 2
_SHT_SYMTAB = 2
# Rust's own, and what it brings along; their version is the compiler's.
_STANDARD = {
    "__rustc", "addr2line", "adler2", "alloc", "compiler_builtins", "core", "gimli", "hashbrown", "memchr", "miniz_oxide",
    "object", "panic_abort", "panic_unwind", "rustc_demangle", "std", "std_detect", "unwind",
}


def check_program(name, program, root):
    """Raises unless the program is static, stripped and free of build paths."""
    found = _BUILD_PATHS.search(program)
    if found:
        raise PackageError(f"{name} has a path of the build machine in it: {found[0].decode('ascii')}")
    for folder in _FOLDERS if str(root) != _REMAPPED else ():
        path = f"{root}/{folder}/"
        # At the start of a path: /app may be a project's folder and /home/app a camera's.
        if re.search(rb"(?<![\w.-])" + re.escape(path.encode()), program):
            raise PackageError(f"{name} has a path of the build machine in it: {path}")
    if program[:4] != b"\x7fELF":
        raise PackageError(f"{name} is no ELF program")
    kinds = _segments(program)
    if _PT_INTERP in kinds or _PT_DYNAMIC in kinds:
        raise PackageError(f"{name} is linked dynamically; it must be static")
    if _SHT_SYMTAB in _sections(program):
        raise PackageError(f"{name} is not stripped")


def check_crates(name, symbols_program, closure):
    """Raises if the program, as it is with its symbols, has code of a crate that is not in `closure`."""
    known = _STANDARD | {crate.library for crate in closure}
    # What belongs to no crate has a name that is none.
    unknown = sorted(crate for crate, _ in sizes.by_crate(symbols_program) if crate.isidentifier() and crate not in known)
    if unknown:
        raise PackageError(f"{name} has code of {', '.join(unknown)}, which the list of its crates does not name")


def _segments(program):
    wide = program[4] == 2
    offset = struct.unpack_from("<Q" if wide else "<I", program, 32 if wide else 28)[0]
    size, count = struct.unpack_from("<HH", program, 54 if wide else 42)
    return {struct.unpack_from("<I", program, offset + i * size)[0] for i in range(count)}


def _sections(program):
    wide = program[4] == 2
    offset = struct.unpack_from("<Q" if wide else "<I", program, 40 if wide else 32)[0]
    size, count = struct.unpack_from("<HH", program, 58 if wide else 46)
    return {struct.unpack_from("<I", program, offset + i * size + 4)[0] for i in range(count)}
