#!/bin/sh
# Builds what `make bench-gateway` needs, all with the server profile, and runs it. Arguments go to the measurement
# (--quick, --only idle,watched,failover).
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
[ -x "$HOME/.cargo/bin/cargo" ] && PATH=$HOME/.cargo/bin:$PATH
target=${CARGO_TARGET_DIR:-target}

if [ "$(id -u)" != 0 ]; then
	echo "bench-gateway: root is needed for that many open files: sudo make bench-gateway" >&2
	exit 1
fi

echo "bench-gateway: building with the server profile; minutes, the first time"
cargo build --locked --profile server -p lenscap -p lenscap-gateway
cargo build --locked --profile server -p lenscap-tests --bin bench-gateway --bin simcam --bin rtp-sink

exec "$target/server/bench-gateway" --out out/bench "$@"
