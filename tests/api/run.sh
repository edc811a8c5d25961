#!/bin/sh
# The HTTP API against its own description: schemathesis reads /openapi.json from a running gateway and sends what the
# description allows and what it forbids. No answer may be a 500, or one that is not described.
#
# usage: tests/api/run.sh [EXAMPLES]   examples of each operation, 40 unless it is said
# LENSCAP_GATEWAY: the program (target/debug/lenscap-gateway). A failure names its seed; SEED=... repeats it.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
gateway=${LENSCAP_GATEWAY:-$root/target/debug/lenscap-gateway}
schemathesis=${SCHEMATHESIS:-$root/.venv/bin/schemathesis}
examples=${1:-40}
token=conformance-0123456789

for program in "$gateway" "$schemathesis"; do
	[ -x "$program" ] || {
		echo "tests/api: $program is missing; tests/install-deps.sh test, and cargo build --workspace" >&2
		exit 1
	}
done

dir=$(mktemp -d)
pid=
# shellcheck disable=SC2317 # called by the trap
finish() {
	[ -z "$pid" ] || kill "$pid" 2>/dev/null || true
	[ -z "$pid" ] || wait "$pid" 2>/dev/null || true
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
token_sha256 = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
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
http=$(printf '%s' "$listening" | sed 's/.*"http":"\([^"]*\)".*/\1/')

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
cd "$dir"
cp "$here/schemathesis.toml" .
status=0
"$schemathesis" run "http://$http/openapi.json" --header "Authorization: Bearer $token" \
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
if grep -q 'panicked' "$dir/log"; then
	grep -A3 'panicked' "$dir/log" >&2
	exit 1
fi
exit "$status"
