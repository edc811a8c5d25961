# shellcheck shell=sh
# shellcheck disable=SC2034
# What differs between the cameras' CPUs. Sourced by the scripts here and in qemu/.

# The Rust targets the agent is built for, the first one first.
LENSCAP_TARGETS="armv7-unknown-linux-musleabihf arm-unknown-linux-musleabi armv5te-unknown-linux-musleabi aarch64-unknown-linux-musl mipsel-unknown-linux-musl"

# target_facts TARGET: sets zig_target, zig_cpu (C compiler and linker), rust_features (of the Rust code, from the first
# comma on), c_features (of ring's C code), openwrt_arch (package architecture), and emulator, emulator_cpu (qemu-user, for smoke tests on the oldest CPU that must run it).
target_facts() {
	rust_features='' c_features=''
	case $1 in
	armv7-unknown-linux-musleabihf)
		# zig's v7a has NEON in it, which not every ARMv7 camera has; ring asks the kernel before it uses NEON.
		# Thumb-2 says the same in fewer bytes; the ciphers are assembly either way.
		zig_target=thumb-linux-musleabihf zig_cpu=generic+v7a+vfp3d16-neon rust_features=,+thumb-mode
		# zig takes -Oz for -Os.
		c_features="-Xclang -Oz"
		openwrt_arch=arm_cortex-a7_neon-vfpv4 emulator=qemu-arm emulator_cpu=cortex-a7
		;;
	arm-unknown-linux-musleabi)
		zig_target=arm-linux-musleabi zig_cpu=arm1176jzf_s
		openwrt_arch=arm_arm1176jzf-s_vfp emulator=qemu-arm emulator_cpu=arm1176
		;;
	armv5te-unknown-linux-musleabi)
		zig_target=arm-linux-musleabi zig_cpu=arm926ej_s
		openwrt_arch=arm_arm926ej-s emulator=qemu-arm emulator_cpu=arm926
		;;
	aarch64-unknown-linux-musl)
		zig_target=aarch64-linux-musl zig_cpu=generic
		openwrt_arch=aarch64_generic emulator=qemu-aarch64 emulator_cpu=cortex-a53
		;;
	mipsel-unknown-linux-musl)
		zig_target=mipsel-linux-musleabi zig_cpu=mips32r2+soft_float
		openwrt_arch=mipsel_24kc emulator=qemu-mipsel emulator_cpu=24Kc
		;;
	*)
		echo "unknown target '$1'; known: $LENSCAP_TARGETS" >&2
		return 2
		;;
	esac
}
