#!/usr/bin/env bash
# `make qemu-test`: builds, then the emulated cameras, and beside them the agent of every target in user-mode emulation and
# the firewall on four kernels.
#
# usage: qemu/run-all.sh [IMAGE] [VARIANT ...]   IMAGE: an image of your own instead, or '' for the project's
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
image=${1:-}
[ $# -eq 0 ] || shift

if [ -n "$image" ]; then
	exec /usr/bin/python3 qemu/own_image.py "$image"
fi
qemu/build.sh
for variant; do
	set -- "$@" --variant "$variant"
	shift
done
# The other targets are built while the cameras wait, and have the processors that the cameras leave.
log=out/qemu/targets.log
mkdir -p out/qemu
echo "qemu-test: beside the cameras, every target in user-mode emulation and the firewall on four kernels ($log)"
# A group of its own, so that all of it can be ended, but no session: Linux shares the processors between sessions first,
# whatever the priority.
set -m
qemu/targets.sh >"$log" 2>&1 &
targets=$!
set +m
trap 'kill -- "-$targets" 2>/dev/null' INT TERM
status=0
/usr/bin/python3 qemu/test.py "$@" || status=$?
wait "$targets" || status=1
cat "$log"
# That all of them can be packed, lenscap-full too, and that what is packed is what was built. Elsewhere than in dist/, where
# packages of the user's own may lie.
export LENSCAP_BUILT=1 LENSCAP_OUT=out/qemu/dist
rm -rf "$LENSCAP_OUT"
full=armv7-unknown-linux-musleabihf
if packaging/packages.sh all >out/qemu/packages.log 2>&1 &&
	packaging/python.sh tests/packaging/shipped.py --dist "$LENSCAP_OUT" --programs dist &&
	LENSCAP_FULL=1 packaging/packages.sh "$full" >out/qemu/packages-full.log 2>&1 &&
	packaging/python.sh tests/packaging/shipped.py --dist "$LENSCAP_OUT" --programs dist "$full"; then
	grep -h 'in xz' out/qemu/packages-full.log
else
	cat out/qemu/packages*.log
	status=1
fi
exit "$status"
