#!/bin/sh
# The HTTP API against its own description: schemathesis reads /openapi.json from a running gateway and sends what the
# description allows and what it forbids. No answer may be a 500, or one that is not described.
#
# usage: tests/api/run.sh [EXAMPLES]   examples of each operation, 40 unless it is said
# LENSCAP_GATEWAY, LENSCAP: the programs (target/debug/). A failure names its seed; SEED=... repeats it.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
gateway=${LENSCAP_GATEWAY:-$root/target/debug/lenscap-gateway}
lenscap=${LENSCAP:-$root/target/debug/lenscap}
schemathesis=${SCHEMATHESIS:-$root/.venv/bin/schemathesis}
python=$(dirname "$schemathesis")/python
examples=${1:-40}
token=conformance-0123456789
uplink_token=uplink-0123456789
WAIT_SECONDS=30

for program in "$gateway" "$lenscap" "$schemathesis" "$python"; do
	[ -x "$program" ] || {
		echo "tests/api: $program is missing; tests/install-deps.sh test, and cargo build --workspace" >&2
		exit 1
	}
done

dir=$(mktemp -d)
pid=
camera=
# shellcheck disable=SC2317 # called by the trap
finish() {
	for one in $pid $camera; do
		kill "$one" 2>/dev/null || true
		wait "$one" 2>/dev/null || true
	done
	rm -rf "$dir"
}
trap finish EXIT
trap 'exit 1' INT TERM

umask 077
printf '%s\n' "$token" >"$dir/token"
printf 'a-password-of-alice\n' >"$dir/password"
"$gateway" ca init --data "$dir/data" >/dev/null
"$gateway" ca issue localhost --out "$dir/gateway" --data "$dir/data" >/dev/null
cat >"$dir/gateway.toml" <<EOF
data = "data"
[uplink]
listen = "127.0.0.1:0"
cert = "gateway.pem"
key = "gateway.key"
[rtsp]
listen = "127.0.0.1:0"
[http]
listen = "127.0.0.1:0"
token_file = "token"
[[camera]]
name = "front"
token_sha256 = "$(printf %s "$uplink_token" | sha256sum | cut -d' ' -f1)"
[reports]
flows_every_s = 1
audit_every_s = 1
[[viewer]]
user = "alice"
password_file = "password"
EOF
mkfifo "$dir/out"
"$gateway" run --config "$dir/gateway.toml" >"$dir/out" 2>"$dir/log" &
pid=$!
IFS= read -r listening <"$dir/out" || {
	cat "$dir/log" >&2
	exit 1
}
said() {
	printf '%s' "$listening" | sed "s/.*\"$1\":\"\([^\"]*\)\".*/\1/"
}
http=$(said http)

# Something to find: cameras that are claimed and expected, viewers, tokens, and keys that are sent elsewhere; enough of
# each that some are left when others have been released and taken away. Their names are in schemathesis.toml.
on() {
	"$gateway" "$@" --config "$dir/gateway.toml" >/dev/null
}
{
	echo name,serial,fingerprint,account
	for n in $(seq 20); do
		printf 'claimed-%d,,sha256:%064d,home\n' "$n" "$n"
		printf 'expected-%d,SN%d,,\n' "$n" "$n"
	done
} >"$dir/list.csv"
on camera import "$dir/list.csv"
for n in $(seq 10); do
	on viewer add "viewer-$n" --camera "claimed-$n"
	on token create "token-$n" --scope view --account home
	on camera forward "$(printf 'sha256:f%063d' "$n")" https://gw.example/onvif/uplink
done
# `front` is online, with a real audit of a made-up camera, and flows.
status=0
"$lenscap" audit --root "$root/tests/fixtures/openipc" --json >"$dir/audit.json" || status=$?
[ "$status" -le 2 ] || exit 1
"$python" "$here/camera.py" "$(said uplink)" "$dir/data/ca.pem" "$uplink_token" "$dir/audit.json" 2>"$dir/camera.log" &
camera=$!
fetch() {
	"$python" -c 'import sys, urllib.request as http
asked = http.Request(sys.argv[1], headers={"Authorization": "Bearer " + sys.argv[2]})
sys.stdout.buffer.write(http.urlopen(asked, timeout=10).read())' "http://$http$1" "$token" 2>/dev/null
}
for what in audit flows; do
	until fetch "/cameras/front/$what" >"$dir/$what.seen"; do
		WAIT_SECONDS=$((WAIT_SECONDS - 1))
		[ "$WAIT_SECONDS" -gt 0 ] || {
			echo "tests/api: the camera's $what does not come:" >&2
			tail -n 5 "$dir/camera.log" "$dir/log" >&2
			exit 1
		}
		sleep 1
	done
done
cmp "$dir/audit.json" "$dir/audit.seen"
cd "$dir"
cp "$here/schemathesis.toml" .
status=0
"$schemathesis" run "http://$http/openapi.json" --header "Authorization: Bearer $token" \
	--report har --report-har-path "$dir/exchanges.har" \
	--max-examples "$examples" --max-failures 20 ${SEED:+--seed "$SEED"} || status=$?
kill -0 "$pid" || {
	echo "tests/api: the gateway has ended:" >&2
	tail -n 20 "$dir/log" >&2
	exit 1
}
# The paths with names were reached: of what was there, some was taken away.
for kind in camera:claimed viewer:viewer token:token; do
	count=$("$gateway" "${kind%:*}" list --json --config "$dir/gateway.toml" | grep -o "\"${kind#*:}-[0-9]*\"" | sort -u | wc -l)
	initial=10
	[ "${kind%:*}" != camera ] || initial=20
	echo "tests/api: of $initial ${kind%:*}s, $count are left"
	[ "$count" -lt "$initial" ] || {
		echo "tests/api: no ${kind%:*} was reached by its name" >&2
		status=1
	}
done
# What has a body only where a camera is online was held to its description with one.
for what in audit flows; do
	"$python" "$here/answered.py" "$dir/exchanges.har" "/cameras/front/$what" || status=1
done
if grep -q 'panicked' "$dir/log"; then
	grep -A3 'panicked' "$dir/log" >&2
	exit 1
fi
exit "$status"
