#!/bin/sh
# `make qemu-targets`: builds the agent for every target, and lenscap-full for one; runs each in user-mode emulation; packs
# them all, opens what it packed, and compares that with what was built. With targets, only those, which are built already,
# and no lenscap-full: the part of it that `make qemu-test` has.
#
# usage: qemu/targets.sh [rust-target ...]
set -eu

cd "$(dirname "$0")/.."
# Elsewhere than in dist/, where packages of the user's own may lie.
export LENSCAP_BUILT=1 LENSCAP_OUT=out/qemu/dist
log=out/qemu/packages.log
mkdir -p out/qemu
rm -rf "$LENSCAP_OUT"

# pack PROGRAM-OPTIONS...: says what it did when that fails.
pack() {
	packaging/packages.sh "$@" >"$log" 2>&1 || {
		cat "$log"
		return 1
	}
	grep 'in xz' "$log"
	if [ "$1" = all ]; then
		shift
	fi
	packaging/python.sh tests/packaging/shipped.py --dist "$LENSCAP_OUT" --programs dist "$@"
}

if [ $# -eq 0 ]; then
	full=armv7-unknown-linux-musleabihf
	packaging/toolchain/build.sh all
	LENSCAP_VARIANT=full packaging/toolchain/build.sh "$full"
	/usr/bin/python3 qemu/user_smoke.py
	pack all
	# Before a function's name it would reach its programs in some shells only.
	export LENSCAP_FULL=1
	pack "$full"
else
	/usr/bin/python3 qemu/user_smoke.py "$@"
	pack "$@"
fi
