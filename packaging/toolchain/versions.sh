# shellcheck shell=sh
# shellcheck disable=SC2034
# Pinned: a different compiler makes different bytes.

# PyPI wheel: C compiler, linker and musl for every target.
ZIG_VERSION=0.17.1
# Debian package rustc-web and the standard library's sources of the very same version (rust-web-src).
RUST_DEBIAN_VERSION=1.96.0+dfsg1-1~deb12u2
