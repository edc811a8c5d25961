#!/bin/sh
# `make qemu-test`: builds, then the agent of every target in user-mode emulation, the firewall on four
# kernels, then the emulated cameras.
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
qemu/build.sh all
status=0
/usr/bin/python3 qemu/user_smoke.py || status=1
/usr/bin/python3 qemu/firewall.py || status=1
for variant; do
	set -- "$@" --variant "$variant"
	shift
done
/usr/bin/python3 qemu/test.py "$@" || status=1
exit "$status"
