#!/usr/bin/env bash
# `make qemu-test`: builds, then the emulated cameras, and beside them the firewall on four kernels, the cameras' programs in
# user-mode emulation, and their packages.
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
log=out/qemu/beside.log
mkdir -p out/qemu
echo "qemu-test: beside the cameras, the firewall on four kernels and the programs of their CPUs ($log)"
beside() {
	local status=0
	/usr/bin/python3 qemu/firewall.py || status=1
	# shellcheck disable=SC2046 # one word a target
	qemu/targets.sh $(qemu/build.sh targets) || status=1
	return "$status"
}
# A group of its own, so that all of it can be ended, but no session: Linux shares the processors between sessions first,
# whatever the priority.
set -m
beside >"$log" 2>&1 &
beside=$!
set +m
trap 'kill -- "-$beside" 2>/dev/null' INT TERM
status=0
/usr/bin/python3 qemu/test.py "$@" || status=$?
wait "$beside" || status=1
cat "$log"
exit "$status"
