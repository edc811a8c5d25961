#!/bin/sh
# Builds what `make bench` needs and runs it: the agent as it ships (release), the gateway, the camera, the delay line
# and the benchmark with the server profile. Arguments go to the benchmark (--quick, --only lenscap,stunnel).
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
[ -x "$HOME/.cargo/bin/cargo" ] && PATH=$HOME/.cargo/bin:$PATH
target=${CARGO_TARGET_DIR:-target}

if [ "$(id -u)" != 0 ]; then
	echo "bench: root is needed for network namespaces and TUN devices: sudo make bench" >&2
	exit 1
fi
if [ ! -c /dev/net/tun ]; then
	echo "bench: /dev/net/tun is missing: modprobe tun, or run the container with --device /dev/net/tun" >&2
	exit 1
fi

echo "bench: building the agent (release) and the rest (server profile); minutes, the first time"
cargo build --locked --release -p lenscap
cargo build --locked --profile server -p lenscap-gateway
cargo build --locked --profile server -p lenscap-tests --bin bench --bin simcam --bin delayline

exec "$target/server/bench" --agent "$target/release/lenscap" --gateway "$target/server/lenscap-gateway" \
	--simcam "$target/server/simcam" --delayline "$target/server/delayline" --out out/bench "$@"
