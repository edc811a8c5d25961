#!/bin/sh
# The part of `make qemu-test` that needs no camera: the firewall on four kernels, and the agent of every target in user-mode
# emulation. What is not built yet is built at the lowest priority.
set -u

cd "$(dirname "$0")/.." || exit 1
status=0
/usr/bin/python3 qemu/firewall.py || status=1
if nice -n 19 packaging/toolchain/build.sh all && LENSCAP_VARIANT=full nice -n 19 packaging/toolchain/build.sh; then
	/usr/bin/python3 qemu/user_smoke.py || status=1
else
	status=1
fi
exit "$status"
