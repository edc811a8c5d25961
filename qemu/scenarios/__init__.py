"""What each emulated camera must show. A scenario is a function that takes the lab, says what it saw, and raises when
something is not as it must be. Those of LIFE run in this order on one camera; those of TROUBLE each on a fresh one.
"""

from . import audited, claiming, closing, confirming, life, selfkeeping, trouble, watching

# Name, function, variants (None: all).
LIFE = (
    ("install", life.install, None),
    ("boot", life.boot, None),
    ("network", watching.network, None),
    ("memory", watching.memory, None),
    ("idle", watching.idle, ("vendor", "v6")),
    ("kill-agent", selfkeeping.kill_agent, None),
    ("kill-monitor", selfkeeping.kill_monitor, None),
    ("stop", life.stop, None),
    ("upgrade", life.upgrade, None),
    ("remove", life.remove, None),
)
# What is the same on every variant is tried on one, so that all are done at about the same time.
TROUBLE = (
    ("claimed", claiming.claimed, ("vendor",)),
    ("closed", closing.closed, ("vendor", "modern", "bare")),
    ("full-flash-install", trouble.full_flash_install, ("bare",)),
    ("full-flash-start", trouble.full_flash_start, ("bare",)),
    ("read-only-etc", trouble.read_only_etc, ("bare",)),
    ("damaged-config", trouble.damaged_config, ("bare",)),
    ("no-resolver-no-ipv6", trouble.no_resolver_no_ipv6, ("vendor", "modern")),
    ("old-kernel", trouble.old_kernel, ("vendor", "v6")),
    ("after-2038", trouble.after_2038, ("vendor",)),
    ("no-entropy", trouble.no_entropy, ("bare",)),
)
# Only when they are named: `audited` needs what `qemu/build.sh audit` builds, and the others wait for minutes.
NAMED = (
    ("confirmed", confirming.confirmed, ("vendor",)),
    ("taken-back", confirming.taken_back, ("vendor",)),
    ("taken-back-unplugged", confirming.taken_back_unplugged, ("vendor",)),
    ("audited", audited.audited, None),
)
