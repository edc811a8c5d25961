#!/bin/sh
# Everything `make test` runs, stage by stage. A failing stage does not stop the next; the last line says how many
# tests passed and failed over all of them, and the exit status is 0 only when every stage passed.
set -u

root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root" || exit 1
[ -x "$HOME/.cargo/bin/cargo" ] && PATH=$HOME/.cargo/bin:$PATH
logs=out/test
rm -rf "$logs"
mkdir -p "$logs"
started=$(date +%s)
failed_stages=

# stage NAME COMMAND...: runs it with its output on the screen and in out/test/NAME.log.
stage() {
	name=$1
	shift
	stage_started=$(date +%s)
	printf '\n==> %s: %s\n' "$name" "$*"
	status_file=$logs/$name.status
	{
		"$@" 2>&1
		echo $? >"$status_file"
	} | tee "$logs/$name.log"
	status=$(cat "$status_file")
	rm -f "$status_file"
	seconds=$(($(date +%s) - stage_started))
	if [ "$status" = 0 ]; then
		printf '==> %s passed in %d s\n' "$name" "$seconds"
	else
		printf '==> %s FAILED in %d s (%s/%s.log)\n' "$name" "$seconds" "$logs" "$name"
		failed_stages="$failed_stages $name"
	fi
	return "$status"
}

# Sums one column of the `test result:` lines of all logs.
total() {
	sed -n "s/.*test result: .* \([0-9]*\) $1.*/\1/p" "$logs"/*.log | awk '{ n += $1 } END { print n + 0 }'
}

# Always the whole workspace: with other selections cargo would unify features anew and build twice.
stage deps tests/install-deps.sh test || exit 1
stage build cargo build --locked --workspace --all-targets || exit 1
stage unit cargo test --locked --workspace --lib --bins --no-fail-fast
# Most end-to-end tests wait for real time to pass, so more of them than processors run at once.
RUST_TEST_THREADS=${LENSCAP_E2E_THREADS:-4}
export RUST_TEST_THREADS
# Their figures (ages, memory, wake-ups) are worth reading even when all is well.
stage e2e cargo test --locked --workspace --test '*' --no-fail-fast -- --show-output
stage api tests/api/run.sh
stage packaging packaging/python.sh -m unittest discover -s tests/packaging
stage lint make --no-print-directory lint

seconds=$(($(date +%s) - started))
printf '\n%d passed, %d failed in %d min %02d s' "$(total passed)" "$(total failed)" $((seconds / 60)) $((seconds % 60))
if [ -n "$failed_stages" ]; then
	printf '; failed:%s\n' "$failed_stages"
	exit 1
fi
printf '\n'
