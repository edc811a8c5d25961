"""How large the program is, what its bytes are spent on, and whether that is within its budget."""

import bisect
import lzma
import re
from collections import Counter

from . import elf

KIB = 1024
# Of the stripped armv7 program: camera flash is 8 or 16 MB, and most of that is the vendor's.
BUDGET_TARGET = "armv7-unknown-linux-musleabihf"
LIMIT_BYTES, TARGET_BYTES = 1280 * KIB, 1024 * KIB
LIMIT_XZ_BYTES, TARGET_XZ_BYTES = 520 * KIB, 420 * KIB
# What the limits are for, by variant; a program with other features has none.
FEATURES = {"base": {"firewall"}, "full": {"full"}}
# Of lenscap-full, for flash that has room: what it took when this was set, and a little. It has no other target.
FULL_LIMIT_XZ_BYTES = 660 * KIB

_V0_CRATE = re.compile(r"C(?:s[0-9A-Za-z]*_)?(\d+)_?")
_LEGACY_PART = re.compile(r"[a-z_][a-z0-9_]*(?=\.\.|::)")
_RING = re.compile(r"^(ring_core|GFp_|bn_|gfp_|ecp_nistz|p256_|p384_|fiat_|x25519_|fe_|ge_|_?bsaes_|_?vpaes_|sha\d+_|chacha20|poly1305|aes_|gcm_|bssl|LIMB)", re.I)


def xz_bytes(program):
    """The size under xz -9e, as firmware images compress it."""
    return len(lzma.compress(program, preset=9 | lzma.PRESET_EXTREME))


def verdict(program, variant="base"):
    """(lines to print, what is over its limit as words)."""
    in_xz = (TARGET_XZ_BYTES, LIMIT_XZ_BYTES) if variant == "base" else (FULL_LIMIT_XZ_BYTES, FULL_LIMIT_XZ_BYTES)
    rows = (
        ("stripped", len(program), TARGET_BYTES, LIMIT_BYTES),
        ("in xz", xz_bytes(program), *in_xz),
    )
    lines, over = [], []
    for name, size, target, limit in rows:
        word = "within the target" if size <= target else "over the target" if size <= limit else "OVER THE LIMIT"
        lines.append(f"  {name:<9}{size:>10,} bytes; target {target:>9,}, limit {limit:>9,}: {word}")
        if size > limit:
            over.append(f"{size:,} bytes {name}, {limit:,} are the limit")
    return lines, over


def counted(target, variant, features):
    """Whether the limits are for a target's program with these features, separated by commas: what is left out of the
    usual ones makes it smaller."""
    return target == BUDGET_TARGET and set(filter(None, features.split(","))) <= FEATURES[variant]


def by_crate(symbols_program):
    """Bytes in the file by crate, largest first; what no symbol covers is named after its section."""
    sections, symbols = elf.read(symbols_program)
    sections.sort(key=lambda section: section.address)
    starts = [section.address for section in sections]
    covered, spent, seen = Counter(), Counter(), set()
    for symbol in symbols:
        address = symbol.address & ~1 if symbol.address & 1 else symbol.address
        at = bisect.bisect(starts, address) - 1
        if at < 0 or address >= sections[at].address + sections[at].size or address in seen:
            continue
        # Identical functions are folded into one, with several names.
        seen.add(address)
        covered[at] += symbol.size
        spent[crate_of(symbol.name)] += symbol.size
    for at, section in enumerate(sections):
        if section.size > covered[at]:
            spent[f"({section.name})"] += section.size - covered[at]
    return spent.most_common()


def crate_of(name):
    """The crate that a symbol belongs to; C code is ring's or libc's."""
    if name.startswith("_R"):
        return _v0_crate(name)
    if name.startswith("_ZN"):
        return _legacy_crate(name)
    return "ring (C)" if _RING.match(name) else "libc (musl)"


def _v0_crate(name):
    match = _V0_CRATE.search(name)
    if not match:
        return "?"
    return name[match.end() : match.end() + int(match[1])] or "?"


def _legacy_crate(name):
    match = re.match(r"_ZN(\d+)", name)
    if not match:
        return "?"
    first = name[match.end() : match.end() + int(match[1])]
    if not first.startswith("_$"):
        return first
    # `<T as Trait>::method`: T's crate, where it has one.
    inner = _LEGACY_PART.search(first.removeprefix("_$LT$"))
    return inner[0] if inner else "core"


def table(spent, total, rows=40):
    """The lines of a table; small crates are summed up in the last."""
    lines = [f"  {size:>9,}  {100 * size / total:5.1f} %  {name}" for name, size in spent[:rows]]
    rest = sum(size for _, size in spent[rows:])
    if rest:
        lines.append(f"  {rest:>9,}  {100 * rest / total:5.1f} %  {len(spent) - rows} more")
    return lines
