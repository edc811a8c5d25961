#!/bin/sh
# Builds what `make bench-arm` needs and runs it: the agent as it ships, and for the same CPU the gateway, the camera,
# the sink and the cipher alone. Arguments go to the benchmark (--only lenscap,stunnel4, --bulk-mib 24).
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
target=armv7-unknown-linux-musleabihf

packaging/toolchain/build.sh $target
for program in "lenscap-gateway lenscap-gateway" "lenscap-tests simcam" "lenscap-tests rtp-sink" "lenscap-tests aead"; do
	LENSCAP_BIN=$program packaging/toolchain/build.sh $target
done
exec python3 qemu/bench.py "$@"
