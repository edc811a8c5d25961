#!/bin/sh
# Builds what the emulated cameras need: the gateway and the viewers for this machine, simcam and the packages for the
# cameras' CPUs. With `demo`, the first CPU alone. With `audit`, nothing but the programs for the scenario `audited`, those of
# `lenscap-full`. With `targets`, nothing: it prints the CPUs.
#
# usage: qemu/build.sh [demo | audit | targets]
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
cargo=$(command -v cargo 2>/dev/null || echo "$HOME/.cargo/bin/cargo")
# The CPUs of the images in qemu/lab/variants.py, and the one whose RTSP server runs on all of them.
targets="armv7-unknown-linux-musleabihf arm-unknown-linux-musleabi"
camera=arm-unknown-linux-musleabi
if [ "${1:-}" = demo ]; then
	targets=armv7-unknown-linux-musleabihf
	camera=$targets
fi

if [ "${1:-}" = targets ]; then
	echo "$targets"
	exit
fi
if [ "${1:-}" = audit ]; then
	export LENSCAP_VARIANT=full
	# shellcheck disable=SC2086 # one word a target
	exec packaging/toolchain/build.sh $targets
fi
if [ "${1:-}" = demo ]; then
	"$cargo" build --locked -p lenscap-gateway --bin lenscap-gateway
	"$cargo" build --locked -p lenscap-tests --bin simcam --bin rtp-sink
else
	# As the tests build it: what they have built is not built again.
	"$cargo" build --locked --workspace --all-targets
fi
# Beside the packages of the other CPU.
LENSCAP_BIN="lenscap-tests simcam --no-default-features" packaging/toolchain/build.sh $camera &
simcam=$!
status=0
# shellcheck disable=SC2086 # one word a target
packaging/packages.sh $targets || status=$?
wait "$simcam" || status=$?
exit "$status"
