#!/bin/sh
# Run by OpenWrt's package CI on the device: test.sh PACKAGE VERSION.
set -eu

case "$1" in
lenscap-gateway)
	lenscap-gateway --version | grep -F "$2"
	grep -q '^lenscap-gateway:' /etc/passwd
	;;
esac
