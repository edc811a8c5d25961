#!/usr/bin/env python3
"""Boots the emulated cameras and runs every scenario. See qemu/README.md.

usage: qemu/test.py [--variant NAME]... [--scenario NAME]... [--jobs N] [--list]
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from lab import paths
from lab.lab import Lab
from lab.machine import GuestError, qemu_version
from lab.segment import Segment, SegmentError
from lab.variants import VARIANTS
from scenarios import LIFE, NAMED, TROUBLE

# A camera that waits, for a lease or a scan, leaves its processor to another.
CAMERAS_A_PROCESSOR = 2
# So many failed scenarios are run once more, alone; more are not a busy machine's doing.
AGAIN = 3
# What these measure has a limit that a busy machine does not move: `idle` counts what the gateway's clock adds.
ONCE = {"network", "memory", "idle"}
# Of a failed scenario's trace, repeated at the end.
TRACE_LINES = 80

INTERRUPTED = 130
USAGE = 2

stopped = threading.Event()
labs: list[Lab] = []
ASSEMBLY = threading.Lock()
print_lock = threading.Lock()


def say(text: str) -> None:
    """Prints lines that belong together."""
    with print_lock:
        print(text, flush=True)


def wanted(variant: str, scenario, only: list[str] | None) -> bool:
    """Whether a scenario runs for a variant."""
    name, _, variants = scenario
    return (variants is None or variant in variants) and (not only or name in only)


def trace_path(variant: str, scenario: str) -> Path:
    """What is known of a scenario's failure."""
    return paths.OUT / f"{variant}-{scenario}.trace"


def say_failures(bad: list[dict]) -> None:
    """Evidence, error and trace of what failed once more, where a reader of the last lines finds them."""
    for result in bad:
        path = trace_path(result["variant"], result["scenario"])
        trace = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []
        said = [*result["evidence"], result["error"], *trace[-TRACE_LINES:]]
        say(f"\n==== {result['variant']} {result['scenario']}\n" + "\n".join(said))


def run_scenario(lab: Lab, name: str, function) -> dict:
    """Runs one scenario; never raises."""
    lab.scenario, lab.evidence = name, []
    trace_path(lab.variant.name, name).unlink(missing_ok=True)
    if lab.machine is not None:
        lab.machine.log_to(lab.log_path())
    began = time.monotonic()
    error = ""
    try:
        function(lab)
    except Exception as failure:  # whatever it is, it is this scenario's failure
        error = f"{type(failure).__name__}: {failure}"
        paths.OUT.mkdir(parents=True, exist_ok=True)
        with trace_path(lab.variant.name, name).open("w", encoding="utf-8") as out:
            traceback.print_exc(file=out)
            if lab.machine is not None and lab.machine.is_on():
                try:
                    asked = "ps; free; grep oom_kill /proc/vmstat; cat /proc/buddyinfo; dmesg | tail -n 40; tail -n 60 /tmp/messages; cat /tmp/camera.log /tmp/lenscap.err /tmp/old.log"
                    out.write(lab.machine.run(asked, 30).output)
                except Exception as silent:
                    out.write(f"and the console says nothing: {silent}\n{lab.machine.engine_state()}\n")
            if lab.gateway.listening:
                out.write("\ngateway:\n" + lab.gateway.log_tail())
        # A shell that is stuck would fail the scenarios that go on with this camera.
        if isinstance(failure, GuestError) and lab.machine is not None:
            lab.machine.cut_power()
    seconds = time.monotonic() - began
    lines = [f"{'FAIL' if error else 'ok  '} {lab.variant.name:7} {name:22} {seconds:5.1f} s"]
    lines += [f"       {line}" for line in lab.evidence]
    if error:
        lines.append(f"       {error}")
    say("\n".join(lines))
    return {"variant": lab.variant.name, "scenario": name, "ok": not error, "seconds": round(seconds, 1),
            "evidence": lab.evidence, "error": error}


def run_variant(name: str, only: list[str] | None) -> list[dict]:
    """All scenarios of one variant: the life of one camera, then trouble on fresh ones."""
    began = time.monotonic()
    try:
        # One at a time: they share the cache of packages.
        with ASSEMBLY:
            lab = Lab(VARIANTS[name])
            labs.append(lab)
    except Exception as error:
        say(f"FAIL {name:7} image: {error}")
        return [{"variant": name, "scenario": "image", "ok": False, "seconds": 0, "evidence": [], "error": str(error)}]
    results = []
    try:
        for scenario in LIFE + TROUBLE + (NAMED if only else ()):
            if not stopped.is_set() and wanted(name, scenario, only and ["install", *only]):
                results.append(run_scenario(lab, scenario[0], scenario[1]))
    finally:
        lab.close()
    say(f"---- {name}: {sum(r['ok'] for r in results)} of {len(results)} in {time.monotonic() - began:.0f} s")
    return results


def once_more(bad: list[dict]) -> list[dict]:
    """Runs the scenarios that failed again, with no other camera beside; gives those that failed again.

    What a starved machine did to a guest does not happen again, a fault of ours does; both are told."""
    still = []
    for variant in dict.fromkeys(result["variant"] for result in bad):
        names = [result["scenario"] for result in bad if result["variant"] == variant]
        say(f"---- {variant}: {', '.join(names)} once more, alone")
        for name in names:
            for kept in paths.OUT.glob(f"{variant}-{name}.*"):
                kept.rename(kept.with_stem(f"{kept.stem}-first"))
        # Without an image nothing was tried.
        still += [result for result in run_variant(variant, None if "image" in names else names) if not result["ok"]]
    return still


def stop(*_) -> None:
    """SIGINT or SIGTERM: the cameras lose their power, their scenarios fail, and what was made is taken away as ever."""
    stopped.set()
    for lab in labs:
        if lab.machine is not None:
            lab.machine.kill()
        if lab.segment is not None:
            lab.segment.kill()


def main() -> int:
    """Runs what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--variant", action="append", choices=list(VARIANTS))
    parser.add_argument("--scenario", action="append", help="only these, and `install`, which they build upon")
    jobs = CAMERAS_A_PROCESSOR * (os.cpu_count() or 1)
    parser.add_argument("--jobs", type=int, default=jobs, help=f"cameras at the same time ({jobs} here)")
    parser.add_argument("--list", action="store_true")
    options = parser.parse_args()
    if options.list:
        for name, function, variants in LIFE + TROUBLE + NAMED:
            print(f"{name:22} {', '.join(variants or VARIANTS):28} {function.__doc__.splitlines()[0]}")
        return 0
    try:
        # Known now instead of after minutes.
        Segment().close()
    except SegmentError as error:
        say(f"qemu-test: {error}")
        return USAGE
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    began = time.monotonic()
    paths.OUT.mkdir(parents=True, exist_ok=True)
    names = options.variant or list(VARIANTS)
    say(f"{qemu_version()}; consoles are logged in out/qemu/")
    with ThreadPoolExecutor(max_workers=options.jobs) as pool:
        results = [result for some in pool.map(lambda name: run_variant(name, options.scenario), names) for result in some]
    bad = [result for result in results if not result["ok"]]
    alone = ""
    measured = [result for result in bad if result["scenario"] in ONCE]
    first = [result for result in bad if result not in measured]
    if first and len(bad) <= AGAIN and not stopped.is_set():
        say_failures(first)
        bad = measured + once_more(first)
        if not bad:
            alone = "; passed only alone: " + ", ".join(f"{result['variant']} {result['scenario']}" for result in first)
    if stopped.is_set():
        say("qemu-test: interrupted")
        return INTERRUPTED
    seconds = time.monotonic() - began
    (paths.OUT / "report.json").write_text(
        json.dumps({"seconds": round(seconds), "results": results}, indent=1) + "\n", encoding="utf-8")
    say_failures(bad)
    failed = ", ".join(f"{result['variant']} {result['scenario']}" for result in bad)
    say(f"qemu-test: {len(results) - len(bad)} passed, {len(bad)} failed in {seconds:.0f} s{failed and f': {failed}'}{alone}")
    return 1 if bad else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except subprocess.CalledProcessError as error:
        sys.exit(f"qemu-test: {error}")
