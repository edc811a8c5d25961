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
alone=

# ended NAME STATUS STARTED: says how a stage ended.
ended() {
	seconds=$(($(date +%s) - $3))
	if [ "$2" = 0 ]; then
		printf '==> %s passed in %d s\n' "$1" "$seconds"
	else
		printf '==> %s FAILED in %d s (%s/%s.log)\n' "$1" "$seconds" "$logs" "$1"
		failed_stages="$failed_stages $1"
	fi
	return "$2"
}

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
	ended "$name" "$(cat "$status_file")" "$stage_started"
}

# beside NAME COMMAND...: runs it in the background, its output in out/test/NAME.log only.
beside() {
	name=$1
	shift
	date +%s >"$logs/$name.started"
	"$@" >"$logs/$name.log" 2>&1
	echo $? >"$logs/$name.status"
	date +%s >"$logs/$name.ended"
}

# The end-to-end tests' programs but the longest, which takes as long as all of these.
others() {
	python3 -c 'import json, sys
names = {target["name"] for package in json.load(sys.stdin)["packages"] for target in package["targets"]
         if "test" in target["kind"]} - {"e2e"}
print(*(f"--test={name}" for name in sorted(names)))'
}

# The stages that run beside the end-to-end tests, which mostly wait: one after the other, at the lowest priority.
aside() {
	# Cargo lets one build or check at a time go on in a target folder; the tests come first.
	until grep -q '^     Running' "$logs/e2e.log" 2>/dev/null || [ -e "$logs/e2e.over" ]; do
		sleep 1
	done
	beside api nice -n 19 tests/api/run.sh
	beside packaging nice -n 19 packaging/python.sh -m unittest discover -s tests/packaging
	beside lint nice -n 19 make --no-print-directory lint
}

# joined NAME: shows what a stage printed that ran aside.
joined() {
	printf '\n==> %s, beside the others:\n' "$1"
	cat "$logs/$1.log"
	now=$(date +%s)
	ended "$1" "$(cat "$logs/$1.status")" $((now - $(cat "$logs/$1.ended") + $(cat "$logs/$1.started")))
}

# Which tests failed and what they said, once more, where a reader of the last lines finds it.
failures() {
	for log in "$logs"/*.log; do
		# Rust's tests list failures between these lines, Python's from a line of = on.
		awk '/^failures:$/ { on = 1 } /^test result:/ { on = 0 } /^=====/ { python = 1 } on || python' "$log" | head -n 150
	done
}

# The tests of a log's failed programs; nothing when a program ended without telling its result.
failed_tests() {
	awk '
		/^     Running / { running++ }
		/^failures:$/ { on = 1; count = 0; next }
		on && /^    [^ ]+$/ { names[count++] = $1 }
		/^test result:/ { results++; if ($3 == "FAILED.") for (i = 0; i < count; i++) all = all " " names[i]; on = count = 0 }
		END { if (running == results) print all }' "$1"
}

# A test that failed beside the others is run once more, alone, and told: what a busy machine did to it does not
# happen again, a fault of ours does. More than a few are not the machine's doing.
again() {
	set --
	for name in e2e programs; do
		case "$failed_stages " in *" $name "*) ;; *) continue ;; esac
		found=$(failed_tests "$logs/$name.log")
		[ -n "$found" ] || return
		# shellcheck disable=SC2086 # one word for each name
		set -- "$@" $found
	done
	if [ $# -eq 0 ] || [ $# -gt 3 ]; then
		return
	fi
	RUST_TEST_THREADS=1
	stage again cargo test --locked --workspace --test '*' --no-fail-fast -- --exact "$@" || return
	failed_stages=$(printf '%s' "$failed_stages" | sed 's/ e2e\>//; s/ programs\>//')
	alone="; passed only alone: $*"
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
others=$(cargo metadata --locked --no-deps --format-version 1 | others)
[ -n "$others" ] || exit 1
aside &
aside=$!
# Their figures (ages, memory, wake-ups) are worth reading even when all is well.
# shellcheck disable=SC2086 # one word for each program
beside programs cargo test --locked --workspace $others --no-fail-fast -- --show-output &
programs=$!
trap 'kill "$aside" "$programs" 2>/dev/null; exit 130' INT TERM
stage e2e cargo test --locked --workspace --test e2e --no-fail-fast -- --show-output
: >"$logs/e2e.over"
wait "$aside" "$programs"
for name in programs api packaging lint; do
	joined "$name"
done
again

seconds=$(($(date +%s) - started))
[ -z "$failed_stages" ] || failures
printf '\n%d passed, %d failed in %d min %02d s%s' "$(total passed)" "$(total failed)" \
	$((seconds / 60)) $((seconds % 60)) "$alone"
if [ -n "$failed_stages" ]; then
	printf '; failed:%s\n' "$failed_stages"
	exit 1
fi
printf '\n'
