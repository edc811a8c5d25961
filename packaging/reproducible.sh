#!/bin/sh
# `make reproducible`: builds the agent in two other folders and compares the programs byte for byte. Only what is committed is built.
#
# usage: packaging/reproducible.sh [rust-target ...]     default: armv7-unknown-linux-musleabihf; "all" for every one
#
# Some minutes for each target and folder. The folders lie in LENSCAP_SCRATCH (default: TMPDIR, else /tmp).
set -eu

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/.." && pwd)
# shellcheck source=packaging/toolchain/targets.sh
. "$here/toolchain/targets.sh"

[ $# -gt 0 ] || set -- armv7-unknown-linux-musleabihf
# shellcheck disable=SC2086 # words on purpose
[ "$1" != all ] || set -- $LENSCAP_TARGETS
for target; do
	target_facts "$target"
done

scratch=$(mktemp -d "${LENSCAP_SCRATCH:-${TMPDIR:-/tmp}}/lenscap-reproducible.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
trap 'exit 1' HUP INT TERM

SOURCE_DATE_EPOCH=$(git -C "$root" log -1 --format=%ct)
export SOURCE_DATE_EPOCH
one=$scratch/a two=$scratch/a-much-longer/folder/b
status=0
for folder in "$one" "$two"; do
	mkdir -p "$folder"
	git -C "$root" archive HEAD | tar -xf - -C "$folder"
done
for target; do
	for folder in "$one" "$two"; do
		# The second with other environment, time zone and language, and one job at a time.
		if [ "$folder" = "$two" ]; then
			(umask 077 && LC_ALL=C.UTF-8 TZ=Asia/Kathmandu CARGO_BUILD_JOBS=1 "$folder/packaging/toolchain/build.sh" "$target")
		else
			"$folder/packaging/toolchain/build.sh" "$target"
		fi
	done
	if cmp "$one/dist/$target/lenscap" "$two/dist/$target/lenscap"; then
		echo "reproducible: $target: the same bytes from two folders, $(sha256sum <"$one/dist/$target/lenscap" | cut -c1-64)"
	else
		echo "reproducible: $target: the programs differ" >&2
		status=1
	fi
done
exit "$status"
