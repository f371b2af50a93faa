# SPDX-License-Identifier: GPL-2.0
"""Run the tests and count them; the last line is 'N passed, N failed'."""
import argparse
import json
import os
import re
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, MutableSequence, Sequence
from concurrent.futures import ThreadPoolExecutor

from testbed.checks import kunit, mutants, selftests, static, tools, vm
from testbed.checks.tally import COUNT, result
from testbed.paths import BUILD, locked

Check = Callable[[], None]
TIMES = BUILD / "times.json"
# All checks run in two processes: one starts at the beginning, where most units boot the
# machine, and the other at the end, where most units use one CPU. Checks in the same unit
# use the same work tree.
UNITS: list[list[Check]] = [
    [vm.vmm], [selftests.dma], [selftests.selftests], [kunit.kunit], [kunit.kunitpy],
    [selftests.hardware], [selftests.stress], [vm.demo], [tools.tools],
    [tools.litmus, tools.fuzz], [tools.lint], [static.series, static.fixes, static.mails],
    [tools.model], [static.compile, static.sparse, static.docs]]
CHECKS = [check for unit in UNITS for check in unit]
# Run only if named, as they are slow
MORE = [static.corners, vm.deb, kunit.kcsan, static.static, static.clang,
        static.bigendian, kunit.pages, selftests.module, selftests.mock]
COUNTS = re.compile(r"(\d+) passed, (\d+) failed(?:, (\d+) skipped)?")
COUNTING = threading.Lock()
# Lines of a process that are not part of the combined output
OWN = re.compile(r"in [\d.]+ minutes$|minutes of|\d+ passed, ")
PROGRESS = re.compile(r"    \S.*: \d+ s$")


def about(check: Check) -> str:
    return f"{check.__name__:12}{' '.join((check.__doc__ or '').split())}"


def times() -> dict[str, float]:
    return dict(json.loads(TIMES.read_text())) if TIMES.exists() else {}


def run(checks: Sequence[Check]) -> None:
    """Run checks in this process."""
    for check in checks:
        print(f"== {about(check)}", flush=True)
        since = time.monotonic()
        try:
            check()
        except Exception as error:  # always print the counts
            result(check.__name__, "".join(traceback.format_exception(error)[-3:]))
        with locked(TIMES.with_suffix(".lock")):
            took = times() | {check.__name__: (time.monotonic() - since) / 60}
            TIMES.write_text(json.dumps(took))


class Worker:
    """Runs units of checks, each in a separate process, and counts the results. A LIVE worker
    takes the first unit and prints its output immediately. Other workers take the last unit
    and print its output at the end."""

    def __init__(self, units: MutableSequence[list[Check]], live: bool) -> None:
        self.units, self.live = units, live
        self.process: subprocess.Popen[str] | None = None

    def work(self) -> None:
        while self.units:
            try:
                unit = self.units.pop(0 if self.live else -1)
            except IndexError:      # another worker has taken the last unit
                return
            names = [check.__name__ for check in unit]
            lines, status = self.run(names)
            with COUNTING:
                self.count(", ".join(names), lines, status)

    def run(self, names: list[str]) -> tuple[list[str], int]:
        """Run a unit. Returns its output and status."""
        lines: list[str] = []
        self.process = subprocess.Popen([sys.executable, sys.argv[0], *names], text=True,
                                        errors="replace", stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        with self.process as process:
            for line in process.stdout or ():
                lines.append(line.rstrip("\n"))
                if self.live and not OWN.match(lines[-1]):
                    print(lines[-1], flush=True)
        return lines, process.returncode

    def count(self, names: str, lines: list[str], status: int) -> None:
        last = lines[-1] if lines else ""
        if not self.live:
            print("\n".join(line for line in lines if not OWN.match(line) and
                            not PROGRESS.match(line)), flush=True)
        counts = COUNTS.fullmatch(last)
        if not counts:
            result(f"{names} ended", f"status {status}, the last line: {last}")
            return
        for kind, number in zip(COUNT, counts.groups("0")):
            COUNT[kind] += int(number)


def run_all() -> None:
    """Run all checks in two processes."""
    units = list(UNITS)
    workers = [Worker(units, live=True), Worker(units, live=False)]
    with ThreadPoolExecutor(len(workers)) as pool:
        try:
            for done in [pool.submit(worker.work) for worker in workers]:
                done.result()
        finally:
            units.clear()
            for worker in workers:
                if worker.process:      # terminate() ignores processes that have ended
                    worker.process.terminate()


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="\n  ".join(["checks:", *map(about, CHECKS)]) +
        "\n  ".join(["\nonly if named:", *map(about, MORE)]))
    add: Callable[..., object] = parser.add_argument
    add("names", nargs="*", metavar="CHECK", help="only these, in this order")
    add("--bisect", action="store_true", help="instead: boot every patch and run KUnit on it")
    add("--stress", type=float, metavar="MINUTES",
        help="instead: stress the driver that long with KASAN, and as long with KCSAN")
    add("--seed", type=int, help="repeat the random choices of an earlier --stress")
    add("--mutants", action="store_true", help="instead: insert bugs into the driver that the "
        f"tests must detect; CHECK is one of {', '.join(mutants.WATCHERS)}")
    add("--selftests", action="store_true", help="instead: build the selftests, for 'make shell'")
    args = parser.parse_args()
    known = list(mutants.WATCHERS) if args.mutants else [c.__name__ for c in CHECKS + MORE]
    for name in args.names:
        if name not in known:
            parser.error(f"no {'test' if args.mutants else 'check'} is called {name}; there are "
                         f"{', '.join(known)}")
    if args.stress is not None and args.stress <= 0:
        parser.error("--stress: give more than 0 minutes")
    return args


def main() -> int:
    args = arguments()
    if args.selftests:
        return 0 if selftests.iommu_selftests() else 1

    def long_stress() -> None:
        kunit.long_stress(args.stress, args.seed)

    def broken() -> None:
        mutants.mutants(args.names)

    long_stress.__doc__, broken.__doc__ = kunit.long_stress.__doc__, mutants.mutants.__doc__
    start = time.monotonic()
    named = [check for name in args.names for check in CHECKS + MORE if check.__name__ == name]
    todo = ([kunit.bisect] * args.bisect + [broken] * args.mutants +
            [long_stress] * (args.stress is not None)) or named
    names, took = [check.__name__ for check in todo or CHECKS], times()
    if last := [f"{name} {took[name]:.1f}" for name in names if name in took]:
        print(f"minutes of the last run: {', '.join(last)}", flush=True)
    if todo:
        run(todo)
    elif os.cpu_count() == 1:
        run(CHECKS)
    else:
        run_all()
    print(f"in {(time.monotonic() - start) / 60:.1f} minutes")
    skips = f", {COUNT['skipped']} skipped" if COUNT["skipped"] else ""
    print(f"{COUNT['passed']} passed, {COUNT['failed']} failed{skips}")
    return 1 if COUNT["failed"] or not COUNT["passed"] else 0
