# SPDX-License-Identifier: GPL-2.0
"""Insert bugs into the driver, one at a time, which a test must detect."""
import time
from collections.abc import Callable, Sequence

import mutants as breaks
from testbed.checks.kunit import kunit_boot
from testbed.checks.selftests import DMA, INPUT, iommu_selftests, stress_run
from testbed.checks.tally import kernel, result, skipped
from testbed.checks.tools import fuzz_notices
from testbed.machine.job import Result
from testbed.paths import BUILD, REPO, RUNS, image
from testbed.process import checkout, said
from testbed.scenarios.vmm import FOUR, RMR, TWO, Machine

TREE, FLAVOUR = BUILD / "mutant", "mutant-check"
HEALTHY_LIMIT = 900             # seconds for KUnit on the healthy driver
# The argument is a timeout in seconds, as some mutants hang.
Watcher = Callable[[float], list[str]]


def complaints(run: Result) -> list[str]:
    return run.named("failed") + run.problems


def scenarios(machine: Machine) -> Watcher:
    return lambda limit: complaints(machine.run(image(FLAVOUR), directory=RUNS / "vmm-mutant"))


# The tests by their names in tests/mutants.py
WATCHERS: dict[str, Watcher] = {
    "kunit": lambda limit: complaints(kunit_boot(FLAVOUR, "kunit on a mutant", limit)),
    "model": lambda limit: complaints(kunit_boot(FLAVOUR, "model on a mutant", limit,
                                                 suites="arm-smmu-v3-r*")),
    "fuzz": lambda limit: fuzz_notices(TREE),
    "leaks": lambda limit: complaints(kunit_boot(FLAVOUR, "kunit on a mutant", limit, leaks=True)),
    "arm_smmu_v3": lambda limit: complaints(DMA.run(FLAVOUR)),
    "arm_smmu_v3_input": lambda limit: complaints(INPUT.run(FLAVOUR)),
    "stress": lambda limit: complaints(stress_run(FLAVOUR, 60)),
    "vmm-two": scenarios(TWO),
    "vmm-four": scenarios(FOUR),
    "vmm-rmr": scenarios(RMR),
}
ALONE = ("kunit", "model", "fuzz", "leaks")         # do not require selftests


def broken(what: str, file: str, old: str, new: str, build: bool) -> bool:
    """Replace the text OLD of a file by NEW in a tree, and build a kernel if BUILD."""
    checkout(TREE, "series")
    if file:
        text = (TREE / file).read_text()
        if text.count(old) != 1:
            result(f"mutant: {what}", f"its text occurs {text.count(old)} times in {file}: "
                   "correct tests/mutants.py")
            return False
        (TREE / file).write_text(text.replace(old, new))
    if build:
        run = said(REPO / "scripts/kernel", "-s", TREE, FLAVOUR)
        if run.returncode:
            result(f"mutant: {what}", f"does not build: {run.stdout}")
            return False
    return True


def mutants(names: Sequence[str]) -> None:
    """bugs inserted into the driver, one at a time, which a test must detect"""
    for name in names or WATCHERS:
        if name not in ALONE and not (iommu_selftests() and kernel("bench")):
            return
        watch(name)
    checkout(TREE, "series")


def watch(name: str) -> None:
    """Run one test on all of its mutants, and first on the unmodified driver, where it must
    pass. The timeout for the mutants depends on the time of this first run."""
    watcher, build = WATCHERS[name], name != "fuzz"
    start = time.monotonic()
    if not broken("nothing is broken", "", "", "", build):
        return
    watched = time.monotonic()
    found = watcher(HEALTHY_LIMIT)
    limit = max(150, 3 * round(time.monotonic() - watched))
    result(f"{name} on the healthy driver", "\n".join(found), start)
    if found:
        return
    for what, file, old, new in breaks.MUTANTS[name]:
        start = time.monotonic()
        if not broken(what, file, old, new, build):
            continue
        found = watcher(limit)
        if found:
            also = f" and {len(found) - 1} more" if len(found) > 1 else ""
            print(f"    {what}: {found[0].splitlines()[0][:90]}{also}", flush=True)
        elif what in breaks.UNNOTICED:
            skipped(f"mutant: {what}", f"not noticed this time: {breaks.UNNOTICED[what]}")
            continue
        result(f"mutant: {what} ({name})", "" if found else "no test noticed", start)
