#!/bin/sh
# Packs what packaging/toolchain/build.sh built: OpenWrt packages and their indexes, tarballs, bills of materials.
# Builds the agent first. Fails when the armv7 program with its usual features is over its budget, and packs nothing then.
#
# usage: packaging/packages.sh [rust-target ...]     default: armv7-unknown-linux-musleabihf; "all" for every one
#
# Result: dist/. LENSCAP_KEYS: folder of the signing keys, made at first use (default: lenscap/keys in the user's data
# folder). LENSCAP_ARCH: OpenWrt's name of the architecture instead of the target's usual one, for a single target.
# LENSCAP_BUILT=1: pack what lies in dist/ without building.
# LENSCAP_OUT: another folder for the packages, refused where packages of others lie in it.
# LENSCAP_FULL=1: lenscap-full as well, the package that has everything and takes lenscap's place.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=packaging/toolchain/targets.sh
. "$here/toolchain/targets.sh"

[ $# -gt 0 ] || set -- armv7-unknown-linux-musleabihf
# shellcheck disable=SC2086 # words on purpose
[ "$1" != all ] || set -- $LENSCAP_TARGETS
if [ -n "${LENSCAP_ARCH:-}" ] && [ $# -ne 1 ]; then
	echo "packages: LENSCAP_ARCH goes with one target" >&2
	exit 2
fi

builds=
for target; do
	target_facts "$target"
	builds="$builds $target=${LENSCAP_ARCH:-$openwrt_arch}"
done
full=
[ "${LENSCAP_FULL:-}" != 1 ] || full=--full
if [ "${LENSCAP_BUILT:-}" != 1 ]; then
	LENSCAP_VARIANT=base "$here/toolchain/build.sh" "$@"
	[ -z "$full" ] || LENSCAP_VARIANT=full "$here/toolchain/build.sh" "$@"
fi

source=--source
# Git says which files are the agent's.
[ -e "$here/../.git" ] || {
	source=
	echo "packages: no git repository here, so no source tarball and no Buildroot tree"
}
# shellcheck disable=SC2086 # words on purpose
exec "$here/python.sh" -m mkpkg.cli ${LENSCAP_KEYS:+--keys "$LENSCAP_KEYS"} ${LENSCAP_OUT:+--out "$(realpath -m "$LENSCAP_OUT")"} $source $full $builds
