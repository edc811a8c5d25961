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
failed=out/qemu/beside.failed
mkdir -p out/qemu
rm -f "$failed"
echo "qemu-test: beside the cameras, the firewall on four kernels and the programs of their CPUs ($log)"
# shellcheck disable=SC2317 # called by name
firewall() {
	/usr/bin/python3 qemu/firewall.py
}
# shellcheck disable=SC2317 # called by name
targets() {
	# shellcheck disable=SC2046,SC2317 # one word a target
	qemu/targets.sh $(qemu/build.sh targets)
}
# Each of them, and the names of those that failed.
beside() {
	local status=0 what
	for what; do
		"$what" || {
			status=1
			echo "$what" >>"$failed"
		}
	done
	return "$status"
}
# A group of its own, so that all of it can be ended, but no session: Linux shares the processors between sessions first,
# whatever the priority.
set -m
beside firewall targets >"$log" 2>&1 &
beside=$!
set +m
trap 'kill -- "-$beside" 2>/dev/null' INT TERM
status=0
/usr/bin/python3 qemu/test.py "$@" || status=$?
wait "$beside" || true
cat "$log"
# As with the cameras: what a starved machine did does not happen again, a fault does.
if [ -e "$failed" ]; then
	again=$(cat "$failed")
	rm "$failed"
	echo "qemu-test: once more, alone: $again"
	for console in out/qemu/firewall-*.log; do
		case $console in *-first.log) ;; *) mv "$console" "${console%.log}-first.log" ;; esac
	done
	# shellcheck disable=SC2086 # words
	if beside $again; then
		echo "qemu-test: passed only alone: $again"
	else
		status=1
	fi
fi
exit "$status"
