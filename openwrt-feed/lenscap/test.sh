#!/bin/sh
# Run by OpenWrt's package CI on the device: test.sh PACKAGE VERSION.
set -eu

case "$1" in
lenscap | lenscap-full)
	lenscap --version | grep -F "$2"
	[ "$1" = lenscap ] || lenscap audit --only system.kernel --fail-on fail
	lenscap check --config /etc/config/lenscap
	grep -q '^lenscap:' /etc/passwd
	grep -q '^lenscap:' /etc/group
	;;
esac
