#!/bin/sh
# Builds the agent for camera CPUs: static, 64-bit time_t, the same bytes wherever the tree lies.
#
# usage: packaging/toolchain/build.sh [rust-target ...]     default: armv7-unknown-linux-musleabihf; "all" for every one
#
# Result: dist/<target>/lenscap; of LENSCAP_VARIANT=full, which has everything, dist/<target>/full/lenscap. For 64-bit CPUs the standard library comes from rustup where the target is installed there,
# else it is built from Debian's sources; one that was built by others has a 32-bit time_t on 32-bit CPUs. The C compiler,
# linker and libc are zig's in either case.
# LENSCAP_TOOLS: where zig and its cache are kept (default: the user's cache folder).
# LENSCAP_STD=build: build the standard library even where rustup has it.
# Beside it lies lenscap.symbols, the same program with its symbols, to see what costs bytes.
# LENSCAP_FEATURES: what is in it besides the uplink and hardening (default: "firewall", of `lenscap harden`); agent/Cargo.toml
# lists what there is. "full" is everything, for a flash that has room.
# LENSCAP_ROOTS: the web's CAs that it trusts: "common" (agent/data/common-roots; the default here), "all" (37 kB more of
# compressed flash) or "none", where every configuration names a CA or a pin.
# LENSCAP_BIN="package binary [option ...]": build that program instead, a test tool say, with these options of cargo's; it
# stays in target/cross/<target>/<target>/release.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
# shellcheck source=packaging/toolchain/versions.sh
. "$here/versions.sh"
# shellcheck source=packaging/toolchain/targets.sh
. "$here/targets.sh"

LENSCAP_TOOLS=${LENSCAP_TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/lenscap-toolchain}
std_source=/usr/lib/rustlib/src/rust

fail() {
	echo "build: $*" >&2
	exit 1
}

as_root() {
	if [ "$(id -u)" = 0 ]; then
		"$@"
	elif command -v sudo >/dev/null 2>&1; then
		sudo "$@"
	else
		fail "root is needed once, for: $*"
	fi
}

version_of() {
	dpkg-query -W -f='${Version}' "$1" 2>/dev/null || true
}

# alone FILE: waits until no other of these scripts is at the same; together: lets the others.
alone() {
	exec 9>"$1"
	flock 9 || fail "flock is needed: apt-get install util-linux"
}
together() {
	exec 9>&-
}

install_zig() {
	export LENSCAP_ZIG="$LENSCAP_TOOLS/zig-$ZIG_VERSION/bin/python"
	if [ ! -x "$LENSCAP_ZIG" ] || ! "$LENSCAP_ZIG" -c 'import ziglang' 2>/dev/null; then
		echo "build: installing zig $ZIG_VERSION (C compiler, linker and musl; about 400 MB) in $LENSCAP_TOOLS"
		python3 -m venv "$LENSCAP_TOOLS/zig-$ZIG_VERSION" || fail "python3 with venv is needed: apt-get install python3-venv"
		"$LENSCAP_ZIG" -m pip install -q --disable-pip-version-check "ziglang==$ZIG_VERSION"
	fi
	export ZIG_GLOBAL_CACHE_DIR="${ZIG_GLOBAL_CACHE_DIR:-$LENSCAP_TOOLS/zig-cache}"
}

# The compiler and the library's sources must be of one version.
install_rust_sources() {
	for package in rustc-web cargo-web rust-web-src; do
		[ "$(version_of "$package")" = "$RUST_DEBIAN_VERSION" ] && continue
		echo "build: installing rustc-web, cargo-web and rust-web-src $RUST_DEBIAN_VERSION (145 MB), to build std from"
		as_root apt-get update -qq
		as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
			"rustc-web=$RUST_DEBIAN_VERSION" "cargo-web=$RUST_DEBIAN_VERSION" "rust-web-src=$RUST_DEBIAN_VERSION" >/dev/null ||
			fail "Debian 12's rustc-web $RUST_DEBIAN_VERSION is not to be had here: packaging/toolchain/versions.sh names another, or for 64-bit CPUs: rustup target add $1"
		break
	done
}

rustup_has() {
	case $1 in aarch64-*) ;; *) return 1 ;; esac
	command -v rustup >/dev/null 2>&1 || return 1
	sysroot=$(rustc --print sysroot 2>/dev/null) || return 1
	[ -d "$sysroot/lib/rustlib/$1/lib" ]
}

uses_rustup() {
	[ "${LENSCAP_STD:-}" != build ] && rustup_has "$1"
}

# list_crates FILE: what $target's program with the features $list will be made of, for the program itself. The file is as
# old as what it says.
list_crates() {
	(cd "$root/packaging" && unset RUSTC && PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3 -m mkpkg.auditable "$target" "$list" "$1.new") ||
		fail "the list of crates cannot be made; see above"
	if cmp -s "$1.new" "$1"; then
		rm "$1.new"
	else
		mv "$1.new" "$1"
	fi
}

# link PACKAGE BINARY: builds the program for $target.
link() {
	# shellcheck disable=SC2086 # words on purpose
	(cd "$root" && "$cargo" build --locked --release -p "$1" --bin "$2" \
		--target "$target" $features $build_std $profile --target-dir "$cross")
}

# forget_other_toolchain: cargo does not see a change of the C compiler, the linker or what these scripts give them.
forget_other_toolchain() {
	stamp=$cross.toolchain
	now=$(cat "$here"/* | cksum)
	mkdir -p "${cross%/*}"
	alone "$cross.lock"
	if [ "$(cat "$stamp" 2>/dev/null)" != "$now" ]; then
		rm -rf "${root:?}/target/cross/$target"
		mkdir -p "$cross"
		printf '%s\n' "$now" >"$stamp"
	fi
	together
}

build() {
	target=$1 features='' cross=$root/target/cross/$1
	forget_other_toolchain
	profile=
	case $target in
	# ring's ciphers are plain code here, where size would cost speed all day.
	mips*) profile="--config profile.release.package.ring.opt-level=3" ;;
	esac
	target_facts "$target" || exit 2
	export LENSCAP_ZIG_TARGET="$zig_target" LENSCAP_ZIG_CPU="$zig_cpu"
	unset LENSCAP_LEAVE_OUT
	# Test tools print where they panicked. Not a flag of rustc's, which would build everything anew for either.
	case ${LENSCAP_BIN:+test}$target in
	arm*)
		mkdir -p "$cross"
		"$here/zigcc" -c -Os -g0 -o "$cross/leave-out.o" "$here/leave-out.c"
		"$here/zigcc" -c -g0 -o "$cross/memcpy.o" "$here/memcpy.S"
		export LENSCAP_LEAVE_OUT="$cross/leave-out.o $cross/memcpy.o"
		;;
	esac
	if uses_rustup "$target"; then
		cargo=cargo build_std='' panic_flags=''
		std_path="$(rustc --print sysroot)/lib/rustlib/src/rust"
		unset RUSTC RUSTC_BOOTSTRAP
	else
		cargo=/usr/bin/cargo
		build_std="-Zbuild-std=std,panic_abort -Zbuild-std-features=optimize_for_size"
		std_path=$std_source
		# A panic is a trap without its message: 83 kB of flash. Debug builds and other machines have the message. What `{:?}`
		# would print is left out too, 4.3 kB more of compressed flash: tests/packaging/test_debug.py looks for it.
		panic_flags="-Zunstable-options -Cpanic=immediate-abort -Zlocation-detail=none -Zfmt-debug=none"
		export RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1
		unset RUSTUP_TOOLCHAIN
	fi

	upper=$(echo "$target" | tr 'a-z-' 'A-Z_')
	lower=$(echo "$target" | tr - _)
	cargo_home=${CARGO_HOME:-$HOME/.cargo}
	remap="--remap-path-prefix=$root=/lenscap --remap-path-prefix=$cargo_home=/cargo --remap-path-prefix=$std_path=/std"
	unset RUSTFLAGS
	# Nothing unwinds: a panic ends the process. Tables for it would be 17 kB of flash. Functions with much on the stack stay
	# apart: in one large frame most of it is out of the short instructions' reach, which is 3 kB.
	# Instructions stay in the order in which they were chosen: the same code then has the same bytes, 12 kB of compressed flash.
	# What two ways compute stays where it is: moved to one place it takes 1.4 kB more.
	small="-Cllvm-args=-inline-max-stacksize=96 -Cllvm-args=-inline-threshold=0 -Cllvm-args=-disable-post-ra -Cllvm-args=-enable-pre=false"
	export "CARGO_TARGET_${upper}_LINKER=$here/zigcc" "CC_$lower=$here/zigcc" "AR_$lower=$here/zigar"
	export "CARGO_TARGET_${upper}_RUSTFLAGS=-Clink-self-contained=no -Ctarget-feature=+crt-static$rust_features -Crelocation-model=static -Cforce-unwind-tables=no $small $panic_flags $remap"
	export "CFLAGS_$lower=-ffile-prefix-map=$cargo_home=/cargo -ffile-prefix-map=$root=/lenscap -g0 -fno-unwind-tables -fno-asynchronous-unwind-tables $c_features"
	# 64-bit time_t: else the clock panics from 2038-01-19 on 32-bit machines. std's timed waits then return too
	# early; agent/clippy.toml bans them.
	export RUST_LIBC_UNSTABLE_MUSL_V1_2_3=1
	export LENSCAP_ROOTS="${LENSCAP_ROOTS:-common}"
	if [ -z "${SOURCE_DATE_EPOCH:-}" ] && [ -e "$root/.git" ]; then
		SOURCE_DATE_EPOCH=$(git -C "$root" log -1 --format=%ct) || fail "git does not say when the last commit was: set SOURCE_DATE_EPOCH"
	fi
	export SOURCE_DATE_EPOCH="${SOURCE_DATE_EPOCH:-$(stat -c %Y "$root/Cargo.lock")}"

	# shellcheck disable=SC2086 # words on purpose
	set -- ${LENSCAP_BIN:-lenscap lenscap}
	echo "build: $2 for $target ($("$cargo" --version))"
	if [ -n "${LENSCAP_BIN:-}" ]; then
		program=$2 package=$1
		shift 2
		features=$*
		link "$package" "$program"
		return
	fi
	out=$root/dist/$target list=$(echo "${LENSCAP_FEATURES-firewall}" | tr ' ' ,)
	[ "$variant" = base ] || out=$out/$variant list=$variant
	mkdir -p "$out"
	# Of each choice of features: cargo keeps their programs apart too.
	symbols=$cross/$target/release/lenscap.symbols.$list
	[ -f "$symbols" ] || rm -f "$cross/$target/release/deps/lenscap-"*
	LENSCAP_DEPENDENCIES=$cross.crates.$list
	list_crates "$LENSCAP_DEPENDENCIES"
	export LENSCAP_DEPENDENCIES
	features="--no-default-features --features=$list"
	LENSCAP_SYMBOLS_TO=$symbols link "$1" "$2"
	cp "$symbols" "$out/lenscap.symbols"
	cp "$cross/$target/release/lenscap" "$out/lenscap"
	printf '%s\n' "$list" >"$out/features"
	# What is linked in beside crates, for the bill of materials.
	printf 'std %s\nmusl zig-%s\n' "$("${RUSTC:-rustc}" --version | cut -d' ' -f2)" "$ZIG_VERSION" \
		>"$out/toolchain"
	echo "build: ${out#"$root/"}/lenscap, $(stat -c %s "$out/lenscap") bytes"
}

case $root${CARGO_HOME:-$HOME} in
*[[:space:]]*) fail "the compiler takes no path with a blank in it: $root, ${CARGO_HOME:-$HOME}" ;;
esac
variant=${LENSCAP_VARIANT:-base}
case $variant in
base | full) ;;
*) fail "there is no LENSCAP_VARIANT $variant; known: base full" ;;
esac
[ $# -gt 0 ] || set -- armv7-unknown-linux-musleabihf
# shellcheck disable=SC2086 # words on purpose
[ "$1" != all ] || set -- $LENSCAP_TARGETS
for wanted; do
	target_facts "$wanted"
done
mkdir -p "$LENSCAP_TOOLS"
alone "$LENSCAP_TOOLS/lock"
install_zig
for wanted; do
	uses_rustup "$wanted" || install_rust_sources "$wanted"
done
together
# Two targets at a time: the last crate of each is the work of one thread.
lane() {
	for wanted; do
		build "$wanted"
	done
}
odd='' even=''
for wanted; do
	odd="$odd $wanted"
	swap=$odd odd=$even even=$swap
done
# shellcheck disable=SC2086 # words on purpose
if [ $# -gt 1 ]; then
	(lane $odd) &
	one=$!
	(lane $even) &
	two=$!
	status=0
	wait "$one" || status=$?
	wait "$two" || status=$?
	exit "$status"
fi
lane "$@"
