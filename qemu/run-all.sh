#!/bin/sh
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
# A group of its own, so that all of it can be ended.
setsid qemu/targets.sh >"$log" 2>&1 &
targets=$!
trap 'kill -- "-$targets" 2>/dev/null' INT TERM
status=0
/usr/bin/python3 qemu/test.py "$@" || status=$?
wait "$targets" || status=1
cat "$log"
# That all of them can be packed, and that what is packed is what was built.
if LENSCAP_BUILT=1 packaging/packages.sh all >out/qemu/packages.log 2>&1; then
	packaging/python.sh tests/packaging/shipped.py || status=1
else
	cat out/qemu/packages.log
	status=1
fi
exit "$status"
