"""The emulated cameras: what differs between them."""

from dataclasses import dataclass

from .debs import Wanted
from .kernel import VIRT_MEMORY

BUSYBOX = Wanted("busybox-static", "1.35.")
LIBC = (Wanted("libc6", "2.36"), Wanted("libgcc-s1", "12."))
DROPBEAR = (
    Wanted("dropbear-bin", "2022.83"), Wanted("libcrypt1", "4."), Wanted("libtomcrypt1", "1.18"),
    Wanted("libtommath1", "1."), Wanted("zlib1g", "1.2"), Wanted("libgmp10", "6.2"),
)
IPTABLES = (Wanted("iptables", "1.8.9"), Wanted("libxtables12", "1.8.9"), Wanted("libip4tc2", "1.8.9"),
            Wanted("libip6tc2", "1.8.9"))
NFTABLES = (
    Wanted("nftables", "1.0.6"), Wanted("libnftables1", "1.0.6"), Wanted("libnftnl11", "1.2"),
    Wanted("libmnl0", "1.0"), Wanted("libxtables12", "1.8.9"), Wanted("libjansson4", "2."),
    Wanted("libgmp10", "6.2"), Wanted("libedit2", "3.1"), Wanted("libbsd0", "0."), Wanted("libmd0", "1."),
    Wanted("libtinfo6", "6.4"),
)
KERNEL_6_1 = Wanted("linux-image-6.1.0-*-armmp", "6.1.")
KERNEL_6_12 = Wanted("linux-image-6.12.*-armmp", "6.12.")
KERNEL_RPI = Wanted("linux-image-6.1.0-*-rpi", "6.1.")

# The target whose programs run on every variant.
ARMV6 = "arm-unknown-linux-musleabi"
# Modules that the initramfs loads to find its disk. crc32c first: ext4 and nf_tables look for it.
DISK_MODULES = ("crc32c_generic", "squashfs", "overlay", "ext4")
VIRT_MODULES = ("virtio_mmio", "virtio_blk", "virtio_net", "virtio_rng")


@dataclass(frozen=True)
class Variant:
    """One camera-like machine."""

    name: str
    what: str
    kernel: Wanted
    debian_arch: str = "armhf"
    target: str = "armv7-unknown-linux-musleabihf"
    boot_modules: tuple = DISK_MODULES + VIRT_MODULES
    modules: tuple = ()
    packages: tuple = LIBC + DROPBEAR
    # Login at the serial console: None gives a shell without asking.
    password: str | None = None
    password_hash: str = "*"
    telnet: bool = False
    # The RTSP server's, and where it is kept: alone in a file, or as firmwares with prudynt have it.
    media_password: str = "admin123"
    prudynt: bool = False
    # How root takes the packet filter's rules away; None: the kernel has no filter. And whether it tells who sends, so that
    # the agent alone reaches the uplink's port.
    unfilter: str | None = None
    tells_senders: bool = False
    machine: tuple = ("-M", "virt", "-cpu", "cortex-a7", "-m", "64M")
    # Where memory starts.
    memory_at: int = VIRT_MEMORY
    disk: str = "vda"
    watchdog: str = "/dev/watchdog"
    append: str = "mem=48M"
    dtb: str | None = None
    raspi: bool = False
    overlay_mib: int = 24


VENDOR = Variant(
    name="vendor",
    what="Linux 6.1, BusyBox init, telnet, passwords of Mirai's list, iptables' filter table alone, watchdog",
    kernel=KERNEL_6_1,
    modules=("softdog", "iptable_filter", "xt_tcpudp"),
    packages=LIBC + DROPBEAR + IPTABLES,
    # crypt("xc3511", "ab"): DES, of which 8 characters count. XiongMai's, and first in Mirai's list.
    password="xc3511",
    password_hash="absxcfbgXtb3o",
    telnet=True,
    # Mirai's list has it too.
    media_password="admin",
    prudynt=True,
    unfilter="iptables -F",
)
MODERN = Variant(
    name="modern",
    what="Linux 6.12, nftables with connection tracking, no telnet, a password of Mirai's list",
    kernel=KERNEL_6_12,
    modules=("softdog", "nf_tables", "nf_conntrack", "nft_ct", "nft_limit", "nft_log", "nf_log_syslog", "nft_reject_inet",
             # A way to try the filter from within the camera; few cameras have it.
             "tun"),
    packages=LIBC + DROPBEAR + NFTABLES,
    password="anko",
    # SHA-512, as libraries of today make it.
    password_hash="$6$anko0001$NztyFm1DI/DlFcAeSpopghbA4rM7/D189cNjU2V4LPl6BMSbppaphMcxTzBG9IETB8c0149Ko5tOPFDw5Hoio0",
    media_password="admin",
    prudynt=True,
    unfilter="nft flush ruleset",
    tells_senders=True,
)
BARE = Variant(
    name="bare",
    what="Linux 6.1 without any packet filter, telnet, a password of Mirai's list",
    kernel=KERNEL_6_1,
    modules=("softdog",),
    password="1234",
    # MD5.
    password_hash="$1$bare0001$TlNf89r.lMaa62O/DEgCi.",
    telnet=True,
)
V6 = Variant(
    name="v6",
    what="Raspberry Pi Zero: ARMv6, Linux 6.1, no clock, network over USB",
    kernel=KERNEL_RPI,
    debian_arch="armel",
    target=ARMV6,
    boot_modules=DISK_MODULES + ("cdc_ether",),
    # The board's timer interrupts only when its counter meets the compare register. On a busy host the emulated CPU may
    # be stopped between reading the one and writing the other, and then misses it for 71 minutes: so time is counted
    # in instructions here.
    machine=("-M", "raspi0", "-icount", "shift=3,sleep=on"),
    memory_at=0,
    disk="mmcblk0p",
    modules=("softdog",),
    # The board's own comes first, and QEMU resets the machine as soon as somebody starts it.
    watchdog="/dev/watchdog1",
    # QEMU puts the initramfs at 128 MiB, whence the second piece of memory.
    # QEMU has no power domains of this board: their driver would wait for ever.
    append="mem=48M@0 mem=4M@0x8000000 cma=4M initcall_blacklist=bcm2835_power_driver_init",
    dtb="bcm2835-rpi-zero.dtb",
    raspi=True,
)

# The longest first: two run at a time.
VARIANTS = {variant.name: variant for variant in (VENDOR, V6, MODERN, BARE)}
