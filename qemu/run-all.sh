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
for variant; do
	set -- "$@" --variant "$variant"
	shift
done
# A name that is none is told now instead of after the build.
/usr/bin/python3 qemu/test.py "$@" --list >/dev/null
qemu/build.sh
log=out/qemu/beside.log
passed=out/qemu/beside.passed
mkdir -p out/qemu
: >"$passed"
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
# Each of them, and the names of those that passed: whoever dies has not.
beside() {
	local status=0 what
	for what; do
		if "$what"; then
			echo "$what" >>"$passed"
		else
			status=1
		fi
	done
	return "$status"
}
# A group of its own, so that all of it can be ended, but no session: Linux shares the processors between sessions first,
# whatever the priority.
set -m
beside firewall targets >"$log" 2>&1 &
beside=$!
set +m
trap 'kill -- "-$beside" 2>/dev/null; exit 130' INT TERM
status=0
/usr/bin/python3 qemu/test.py "$@" || status=$?
beside_status=0
wait "$beside" || beside_status=$?
cat "$log"
again=
for what in firewall targets; do
	grep -qx "$what" "$passed" || again="$again $what"
done
if [ "$beside_status" -ne 0 ]; then
	echo "qemu-test: what ran beside the cameras ended with status $beside_status; not passed:${again:- nothing}"
	# It died with all its work done, and nobody knows of what.
	[ -n "$again" ] || status=1
fi
# As with the cameras: what a starved machine did does not happen again, a fault does.
if [ -n "$again" ]; then
	echo "qemu-test: once more, alone:$again"
	case $again in
	*firewall*)
		for console in out/qemu/firewall-*.log; do
			# None, where it failed before the first.
			[ -e "$console" ] || continue
			case $console in *-first.log) ;; *) mv "$console" "${console%.log}-first.log" ;; esac
		done
		;;
	esac
	# shellcheck disable=SC2086 # words
	if beside $again; then
		echo "qemu-test: passed only alone:$again"
	else
		status=1
	fi
fi
exit "$status"
