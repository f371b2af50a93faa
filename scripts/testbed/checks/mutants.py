# SPDX-License-Identifier: GPL-2.0
"""Insert bugs into the driver, one in each kernel, which a test must detect."""
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import mutants as breaks
from testbed.checks.kunit import ALL, kunit_boot
from testbed.checks.selftests import DMA, INPUT, iommu_selftests, stress_run
from testbed.checks.tally import kernel, result, skipped
from testbed.checks.tools import fuzz_notices
from testbed.machine.job import Result
from testbed.paths import BUILD, REPO, RUNS, image
from testbed.process import checkout
from testbed.scenarios.vmm import FOUR, RMR, TWO, Machine

HEALTHY_LIMIT = 900             # seconds for a test of the healthy driver
HEALTHY = ("nothing is broken", "", "", "")


@dataclass(frozen=True)
class Lane:
    """A work tree and a kernel. The next mutant is built in one lane while the machine runs
    the kernel of the other."""
    name: str

    @property
    def tree(self) -> Path:
        return BUILD / f"mutant-{self.name}"

    @property
    def flavour(self) -> str:
        return f"mutant-{self.name}-check"


# The argument is a timeout, as some mutants hang. Job makes it longer on a slow host. The
# result is what was wrong.
Watcher = Callable[[Lane, float], list[str]]


def complaints(run: Result) -> list[str]:
    return run.named("failed") + run.problems


def suites(glob: str, leaks: bool = False, append: str = "") -> Watcher:
    return lambda lane, limit: complaints(
        kunit_boot(lane.flavour, f"mutant, {glob}", limit, leaks=leaks, suites=glob, append=append,
                   short=True))


def scenarios(machine: Machine) -> Watcher:
    return lambda lane, limit: complaints(
        machine.run(image(lane.flavour), directory=RUNS / "vmm-mutant"))


# The tests by their names in tests/mutants.py. Of several, the first that detects a mutant
# counts.
WATCHERS: dict[str, list[Watcher]] = {
    "kunit": [suites("arm-smmu-v3-random"), suites(ALL)],
    "model": [suites("arm-smmu-v3-random", append="arm_smmu_v3_kunit.steps=1000"),
              suites("arm-smmu-v3-reach")],
    "fuzz": [lambda lane, limit: fuzz_notices(lane.tree)],
    "leaks": [suites(ALL, leaks=True)],
    "arm_smmu_v3": [lambda lane, limit: complaints(DMA.run(lane.flavour))],
    "arm_smmu_v3_input": [lambda lane, limit: complaints(INPUT.run(lane.flavour))],
    "stress": [lambda lane, limit: complaints(stress_run(lane.flavour, 60))],
    "vmm-two": [scenarios(TWO)],
    "vmm-four": [scenarios(FOUR)],
    "vmm-rmr": [scenarios(RMR)],
}
ALONE = ("kunit", "model", "fuzz", "leaks")         # do not require selftests


class Mutant:
    """A mutant that is being built in a lane."""

    def __init__(self, lane: Lane, mutant: tuple[str, str, str, str], build: bool) -> None:
        self.lane = lane
        self.name, file, old, new = mutant
        self.wrong, self.process = "", None
        checkout(lane.tree, "series")
        if file:
            text = (lane.tree / file).read_text()
            if text.count(old) != 1:
                self.wrong = (f"its text occurs {text.count(old)} times in {file}: "
                              "correct tests/mutants.py")
                return
            (lane.tree / file).write_text(text.replace(old, new))
        if build:
            self.process = subprocess.Popen(
                [REPO / "scripts/kernel", "-s", lane.tree, lane.flavour], text=True,
                errors="replace", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT)

    def wait(self) -> None:
        """Wait for the build. If it fails, this sets WRONG."""
        if self.process:
            said = self.process.communicate()[0]
            if self.process.returncode:
                self.wrong = f"does not build: {said}"

    def stop(self) -> None:
        if self.process:
            self.process.terminate()
        checkout(self.lane.tree, "series")


def built(mutants: Sequence[tuple[str, str, str, str]], build: bool) -> Iterator[Mutant]:
    """Build mutants. The next one is built while the caller uses one."""
    lanes = Lane("a"), Lane("b")
    following = Mutant(lanes[0], mutants[0], build)
    try:
        for number in range(len(mutants)):
            current = following
            current.wait()
            if number + 1 < len(mutants):
                following = Mutant(lanes[(number + 1) % 2], mutants[number + 1], build)
            yield current
    finally:
        following.stop()


def mutants(names: Sequence[str]) -> None:
    """bugs inserted into the driver, one in each kernel, which a test must detect"""
    for name in names or WATCHERS:
        if name not in ALONE and not (iommu_selftests() and kernel("bench")):
            return
        watch(name)


def watch(name: str) -> None:
    """Run a test on the unmodified driver, where it must pass, and then on all of its mutants.
    The timeout for the mutants depends on the time of this first run."""
    watchers, limit = WATCHERS[name], HEALTHY_LIMIT
    counts = [0] * len(watchers)
    start = time.monotonic()
    for mutant in built([HEALTHY, *breaks.MUTANTS[name]], name != "fuzz"):
        begin, found = time.monotonic(), list[str]()
        for number, watcher in enumerate(watchers):
            if not found and not mutant.wrong:
                found = watcher(mutant.lane, limit)
                counts[number] += bool(found)
        if mutant.name == HEALTHY[0]:
            result(f"{name} on the healthy driver", "\n".join([*found, mutant.wrong]).strip(),
                   start)
            if found or mutant.wrong:
                return
            limit = max(300, 2 * round(time.monotonic() - begin))
        else:
            noticed(name, mutant, found, start)
        start = time.monotonic()
    if len(watchers) > 1:
        print(f"    random operations alone detect {counts[0]} of {len(breaks.MUTANTS[name])}",
              flush=True)


def noticed(name: str, mutant: Mutant, found: list[str], start: float) -> None:
    """Report a mutant and what was FOUND."""
    unnoticed = breaks.UNNOTICED.get(mutant.name)
    if found:
        also = f" and {len(found) - 1} more" if len(found) > 1 else ""
        print(f"    {mutant.name}: {found[0].splitlines()[0][:90]}{also}", flush=True)
    elif unnoticed and not mutant.wrong:
        skipped(f"mutant: {mutant.name}", f"not noticed this time: {unnoticed}")
        return
    result(f"mutant: {mutant.name} ({name})",
           mutant.wrong or ("" if found else "no test noticed"), start)
