# SPDX-License-Identifier: GPL-2.0
"""Checks with the driver's KUnit suites."""
import json
import random
import time
from pathlib import Path

from testbed.checks.selftests import (DMA, STOPPED, iommu_selftests, kcsan_was_on, stressed,
                                      without_races)
from testbed.checks.tally import (COUNT, WORKTREE, booted, command, fingerprint, kernel,
                                  nothing_else_skipped, patches, remember, result, seen)
from testbed.kernel import CROSS, in_place, jobs
from testbed.machine.job import Job, Result
from testbed.machine.topology import Topology
from testbed.paths import BUILD, CONFIG, RUNS, TREE, image
from testbed.process import checkout

ALL = "arm-smmu-v3*"
CONFIGURATION = "drivers/iommu/arm/arm-smmu-v3/tests"
# A leak of KUnit: kunit_attach_mm() takes two references to the mm and the exit of the
# test's thread drops only one of them.
LEAKS = r"< kunit_attach_mm |< kunit_vm_mmap_init "
# Skipped on a busy host, if two CPUs do not run at the same time
SKIPS = r"arm-smmu-v3-order / order_test_"


def kunit_boot(flavour: str, name: str, timeout: float = 900, leaks: bool = False,
               suites: str = ALL, append: str = "", short: bool = False) -> Result:
    kernel_image = image(flavour)
    # A run fails if an allowed message is missing. Only the queue suite always stops an SMMU.
    stops = suites == ALL and b"arm-smmu-v3-queue" in kernel_image.read_bytes()
    return Job(Topology(smmus=1, cpus=3), kernel_image, f"leaks '{LEAKS}'" if leaks else "true",
               name=name, kunit=suites, append=append, allow=[STOPPED] * stops,
               timeout=timeout, tests=False, directory=RUNS / flavour, short=short).run()


def kunit() -> None:
    """the driver's KUnit suites on the check kernel"""
    if not kernel("check"):
        return
    run = kunit_boot("check", "kunit", leaks=True, append="arm_smmu_v3_kunit.steps=400")
    booted(run)
    nothing_else_skipped(run, SKIPS)


def kunitpy() -> None:
    """the suites with the kernel's kunit.py and their .kunitconfig, in a separate kernel"""
    out = BUILD / "kunitpy"
    out.mkdir(exist_ok=True)
    prefix, tree, build = in_place(TREE, out)
    if not command("kunit.py: kernel and suites", *prefix, "env", "-C", tree,
                   "tools/testing/kunit/kunit.py", "run", "--arch=arm64",
                   *[f"--cross_compile={CROSS}"] * bool(CROSS), f"--build_dir={build}",
                   f"--kunitconfig={CONFIGURATION}", f"--jobs={jobs()}",
                   "--timeout=1800", "--kernel_args=kunit.timeout=3600",
                   "--qemu_args=-smp 3", f"--json={build}/result.json", ALL):
        return
    counts = json.loads((out / "result.json").read_text())["misc"]
    result(f"kunit.py ran {counts['tests']} tests, skipped {counts['skipped']}",
           "" if counts["tests"] > 50 else "too few")


def kcsan() -> None:
    """the driver's KUnit suites on a kernel with KCSAN"""
    if not kernel("kcsan"):
        return
    run = kunit_boot("kcsan", "kunit with KCSAN", timeout=1200)
    booted(without_races(run, [STOPPED]))
    kcsan_was_on(run)


def pages() -> None:
    """kernels with pages of 16 and 64 KiB: KUnit, and arm_smmu_v3 with real DMA"""
    for flavour in ("16k", "64k"):
        if not kernel(flavour):
            continue
        run = kunit_boot(flavour, f"kunit with pages of {flavour}")
        booted(run)
        nothing_else_skipped(run, SKIPS)
        if iommu_selftests():
            booted(DMA.run(flavour))


def bisect() -> None:
    """build every patch's check kernel and run KUnit on it"""
    fragments = (CONFIG / "common.config", CONFIG / "check.config", Path(__file__))
    for commit, name in patches():
        key = fingerprint(commit, "kunit", *fragments)
        if seen(key):
            result(f"bisect {name} (seen before)")
            continue
        checkout(WORKTREE, commit)
        before = COUNT["failed"]
        if kernel("bisect-check", "-s", WORKTREE):
            booted(kunit_boot("bisect-check", f"kunit at {name}"))
        if COUNT["failed"] == before:
            remember(key)


def random_programs(flavour: str, seconds: int, seed: int | None = None) -> None:
    """Boot repeatedly and run KUnit's random operations on the model, with SEED or with a new
    seed for each boot."""
    if not kernel(flavour):
        return
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        number = random.getrandbits(32) if seed is None else seed
        run = kunit_boot(flavour, f"random operations {flavour}", timeout=1800,
                         suites="arm-smmu-v3-random",
                         append=f"arm_smmu_v3_kunit.seed={number} arm_smmu_v3_kunit.steps=1000")
        booted(without_races(run))


def long_stress(minutes: float, seed: int | None) -> None:
    """arm_smmu_v3_stress and random operations in KUnit, with KASAN and with KCSAN"""
    for flavour in ("kasan", "kcsan"):
        stressed(flavour, round(60 * minutes), seed)
        random_programs(flavour, round(15 * minutes), seed)
