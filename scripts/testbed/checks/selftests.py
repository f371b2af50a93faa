# SPDX-License-Identifier: GPL-2.0
"""Checks with the kernel's iommu selftests: with the mock driver, and with real DMA."""
import re
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from testbed.checks.tally import booted, command, kernel, nothing_else_skipped, result
from testbed.kernel import CROSS
from testbed.machine import klog
from testbed.machine.job import Job, Result
from testbed.machine.topology import Topology
from testbed.paths import BUILD, MACHINE, RUNS, TREE, image, locked
from testbed.process import git

OUT = BUILD / "selftests"
INSTALLED = OUT / "kselftest/iommu"
# Driver messages about a fake SMMU that is stopped or reports errors intentionally
STOPPED = (r"fake-?smmu\.\d+\.auto: (CMD_SYNC timeout|CMDQ timeout|CMDQ error|EVTQ overflow|"
           r"retrying command fetch|skipping command in error)")


def build_selftests(tree: Path, out: Path, name: str, targets: str) -> bool:
    """Build static arm64 programs in OUT/kselftest, from scratch."""
    make = ["make", "-s", "ARCH=arm64", f"CROSS_COMPILE={CROSS}", f"O={out}", "-C"]
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    return (command(f"{name}: headers", *make, tree, "headers") and
            command(name, *make, tree / "tools/testing/selftests", f"TARGETS={targets}",
                    "FORCE_TARGETS=1", "LDFLAGS=-static"))


def iommu_selftests() -> bool:
    """Build the iommu selftests, once for each state of the tree."""
    made_from = git("rev-parse", "HEAD:tools", "HEAD:include/uapi") + git("status", "--porcelain")
    stamp = OUT / "stamp"
    with locked(BUILD / ".selftests.lock"):
        if not stamp.exists() or stamp.read_text() != made_from:
            if not build_selftests(TREE, OUT, "iommu selftests build", "iommu"):
                return False
            stamp.write_text(made_from)
    return True


@dataclass(frozen=True)
class Selftest:
    """A selftest, the machine it requires, and the tests that may be skipped."""
    name: str
    topology: Topology
    script: str
    # The machines do not support PASIDs. iommufd.c has no tests for the variant without a
    # vIOMMU.
    skips: str = r"iommufd_viommu\.no_viommu\.|fail_nth\.\w+\.pasid$"

    def run(self, flavour: str = "check") -> Result:
        return Job(self.topology, image(flavour), self.script, name=self.name, files=[INSTALLED],
                   timeout=900, directory=RUNS / self.name).run()


# Tests of kselftest_harness.h have a timeout of 30 seconds. With icount it does not depend
# on the speed and the load of the host.
IOMMUFD = Selftest("iommufd", Topology(smmus=2, icount=True),
                   "echo 64 >/proc/sys/vm/nr_hugepages; run iommufd iommufd")
# Tests of the parts of iommufd that the series changes
VIOMMU = Selftest("iommufd_viommu", IOMMUFD.topology,
                  "run iommufd iommufd -f iommufd_viommu -f iommufd_device_pasid "
                  "-t alloc_hwpt_nested -t dmabuf_simple -t dmabuf_revoke")
FAIL_NTH = Selftest("fail_nth", Topology(smmus=1, cpus=1, icount=True),
                    "run fail_nth iommufd_fail_nth")
# Two controllers behind each of three SMMUs, SMMUs that cannot share domains with these, two
# controllers in one group, and a device with an ATS capability. Tests of a single device use
# the first argument, here one behind the second SMMU. The device with ATS does not support
# DMA by the tests. As the last argument it is used only by tests that require ATS.
DMA = Selftest("arm_smmu_v3",
               Topology(smmus=3, nvme=2, s1only=True, s2only=True, pair=True, ats=True),
               "bdfs=$(for s in 1 0 2 3 4; do devices $s 0x0108; done; devices 0 0x0100)\n"
               "bind_vfio $bdfs && run arm_smmu_v3 arm_smmu_v3 --expect-stale $bdfs && leaks")
# One run with a fixed seed and one with a new seed, which is in the log
INPUT = Selftest("arm_smmu_v3_input", Topology(smmus=2, nvme=2),
                 "bdfs=$(devices '' 0x0108)\nbind_vfio $bdfs && "
                 "run fixed arm_smmu_v3_input --seed=1 --count=100000 $bdfs && "
                 "run random arm_smmu_v3_input --count=20000 $bdfs && leaks")
# The example of the documentation for VMMs. Two devices cannot nest. Tests skipped by
# ksft_test_result_skip() have no name.
EXAMPLE = Selftest("arm_smmu_v3_vmm", Topology(smmus=3, nvme=2, s1only=True),
                   "bdfs=$(devices '' 0x0108)\n"
                   "bind_vfio $bdfs && run arm_smmu_v3_vmm arm_smmu_v3_vmm $bdfs", r"$")


def run_selftests(*tests: Selftest) -> Result | None:
    """Run tests and return the last result."""
    run = None
    if kernel("check") and iommu_selftests():
        for test in tests:
            run = test.run()
            booted(run)
            nothing_else_skipped(run, test.skips)
    return run


def mock() -> None:
    """the kernel's own iommufd selftests with the mock driver: all, and fault injection"""
    run_selftests(IOMMUFD, FAIL_NTH)


def dma() -> None:
    """arm_smmu_v3, the selftest with real DMA"""
    run_selftests(DMA)


def selftests() -> None:
    """iommufd's tests of vIOMMUs with the mock driver, invalid input, the example of a VMM"""
    if run := run_selftests(VIOMMU, INPUT, EXAMPLE):
        shares = "# nesting parents: 1, vIOMMUs: 3" in run.said
        result("arm_smmu_v3_vmm: one nesting parent, three vIOMMUs, two devices that cannot nest",
               "" if shares and run.skipped == 2 else f"not so, or {run.skipped} skipped")


def hardware() -> None:
    """arm_smmu_v3_hw.sh, the tests on hardware: invalid arguments, Ctrl-C, the report"""
    if not kernel("check") or not iommu_selftests():
        return
    # The report contains the KUnit suites that ran at boot. One is sufficient.
    booted(Job(Topology(smmus=2, nvme=2, pair=True, cpus=3), image("check"),
               (MACHINE / "hardware.sh").read_text(), name="hardware",
               files=[INSTALLED, TREE / "tools/testing/selftests/iommu"], kunit="arm-smmu-v3-array",
               timeout=900, directory=RUNS / "hardware").run())


def module() -> None:
    """the driver as a module: loading, KUnit, arm_smmu_v3, no removal while it is in use"""
    if not kernel("module") or not iommu_selftests():
        return
    files = BUILD / "modules"
    shutil.rmtree(files, ignore_errors=True)
    files.mkdir()
    for file in (BUILD / "module/drivers/iommu/arm/arm-smmu-v3").rglob("*.ko"):
        shutil.copy(file, files)
    run = Job(Topology(smmus=2, cpus=3), image("module"), (MACHINE / "module.sh").read_text(),
              name="module", files=[files, INSTALLED], kunit="arm-smmu-v3*", allow=[STOPPED],
              timeout=900, directory=RUNS / "module").run()
    # The kernel has no built-in suites, which KUnit reports at boot.
    nothing = "KUnit: a plan of no tests (1..0) without a reason"
    run.problems = [p for p in run.problems if p != nothing]
    booted(run)
    suites = {test.split(" / ")[0] for test in run.named("passed")}
    result("module: KUnit and arm_smmu_v3 ran",
           "" if "arm-smmu-v3-ids" in suites else f"only {suites}")


# --- Everything at the same time ----------------------------------------------

def stress_run(flavour: str, seconds: int, seed: int | None = None) -> Result:
    # A disk and a device for each VM behind each SMMU
    topology = Topology(smmus=4, nvme=2, testdev=3, cpus=4)
    script = (f"devices=$(stress_devices) && run stress arm_smmu_v3_stress --all-kinds --seconds "
              f"{seconds} {'' if seed is None else f'--seed {seed}'} $devices")
    if "CONFIG_DEBUG_KMEMLEAK=y" in (BUILD / flavour / ".config").read_text():
        script += " && leaks"
    return Job(topology, image(flavour), script, name=f"stress {flavour}", files=[INSTALLED],
               timeout=seconds + 900, directory=RUNS / f"stress-{flavour}").run()


def operations(lines: Iterable[str]) -> dict[str, int]:
    """{kind: number} of the operations reported by arm_smmu_v3_stress."""
    found = (re.match(r"# (\D[^:]*): (\d+)$", line) for line in lines)
    return {m[1]: int(m[2]) for m in found if m}


def stressed(flavour: str, seconds: int, seed: int | None = None) -> None:
    """Run arm_smmu_v3_stress."""
    if not kernel(flavour) or not iommu_selftests():
        return
    run = stress_run(flavour, seconds, seed)
    booted(without_races(run))
    if flavour == "kcsan":
        kcsan_was_on(run)
    print("    " + ", ".join(f"{kind} {num}" for kind, num in operations(run.said).items()),
          flush=True)


def stress() -> None:
    """arm_smmu_v3_stress on 4 SMMUs for a minute; 'make stress' takes longer"""
    stressed("check", 60)


def without_races(run: Result, allow: Sequence[str] = ()) -> Result:
    """Remove races outside of the driver from RUN and print them."""
    lines, others = klog.split_races(run.console, r"arm_smmu|iommu|_test_", allow)
    found = klog.scan_log(run.console, allow)
    run.problems = [p for p in run.problems if p not in found] + klog.scan_log(lines, allow)
    for report in others:
        print("note: a race outside of the driver:\n    " + "\n    ".join(report[:18]), flush=True)
    return run


def kcsan_was_on(run: Result) -> None:
    """Check that KCSAN was enabled."""
    said = "\n".join(run.console)
    early = "kcsan: enabled early" in said
    result("KCSAN was on from the start", "" if early else "the kernel log does not say so")
    passed = re.search(r"kcsan: selftest: (\d+)/\1 tests passed", said)
    result("KCSAN's own selftest", "" if passed else "the kernel log has no line that it passed")
