# SPDX-License-Identifier: GPL-2.0
"""Scenarios of a VMM beyond the demonstration.

As in the demonstration, the emulated machine runs the kernel under test, and that runs
Debian's arm64 QEMU with vSMMUs. After the scenarios of a machine, without a VMM, no SMMU
may have a VMID, the controllers must work with the nvme driver, and kmemleak, if enabled,
must not find leaks.

The guest always boots the kernel of build/bench, which is faster.
"""
import argparse
import contextlib
import secrets
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from testbed.machine import initramfs, klog
from testbed.machine.acpi import iort_routes
from testbed.machine.guest import Guest, lines_of
from testbed.machine.job import Job, Result, iort
from testbed.machine.topology import Topology, kernel_image
from testbed.paths import MACHINE, Error, image
from testbed.scenarios import gbpa, hotplug, kill, libvirt, memory, reboot, rmr, storeys
from testbed.scenarios.vm import MEMORY, Middle

TIMEOUT = 1500                  # seconds for the scenarios of a machine, longer on a slow host
Step = Callable[[Middle], None]


def short(module: ModuleType) -> str:
    return module.__name__.rpartition(".")[2]


def aftermath(m: Middle) -> None:
    """Check the state without any VM."""
    if m.vm:
        m.vm.end()
    m.clean("at the end")
    m.sh(f"back_to_nvme {secrets.token_hex(8)}")
    m.expect("at the end: the controllers work with their own driver", True)
    m.leaks()


@dataclass
class Run:
    """The scenarios of one machine while it runs."""
    machine: "Machine"
    kernel: Path
    steps: dict[str, Step]
    timeout: float
    verbose: bool
    result: Result | None = None

    def watch(self, guest: Guest) -> None:
        if self.result or "##serving" not in guest.lines("job.log"):
            return
        topology = self.machine.topology
        m = Middle(guest, iort_routes(iort(topology, self.kernel)), topology.smmus, self.timeout,
                   self.verbose)
        self.result = m.result
        for m.scenario, step in self.steps.items():
            m.say(m.scenario)
            begun = time.monotonic()
            try:
                step(m)
            except Exception as broken:  # keep the earlier results
                m.expect("went to its end", False, f"{type(broken).__name__}: {broken}")
                with contextlib.suppress(Exception):
                    if m.vm:
                        m.vm.end(signal="KILL")
            print(f"  {self.machine.name}: {m.scenario} took {time.monotonic() - begun:.0f} s",
                  flush=True)
        (m.out / "do").write_text("exit 0\n")


@dataclass(frozen=True)
class Machine:
    """A machine and the scenarios that run on it, one after the other."""
    name: str
    topology: Topology
    scenarios: Sequence[ModuleType]
    packages: Sequence[str] = ()

    def steps(self) -> dict[str, Step]:
        return {short(s): s.run for s in self.scenarios} | {"aftermath": aftermath}

    @contextlib.contextmanager
    def job(self, kernel: Path) -> Iterator[Job]:
        """The job of the kernel under test with a VMM."""
        script = (f"VMM_MEM={MEMORY}M VMM_APPEND='{storeys.VMM_APPEND}'\n"
                  + storeys.middle("vmm-middle.sh"))
        inner = f"NONCE={secrets.token_hex(16)}\n" + (MACHINE / "vmm-guest.sh").read_text()
        tables = initramfs.acpi_tables({"ssdt": gbpa.register_table(self.topology.smmus)})
        with storeys.shares(kernel_image(image("bench")), inner, ["demo-dma", "testdev"], tables,
                            self.packages) as shares:
            yield Job(self.topology, kernel, script, shares=shares)

    def run(self, kernel: Path, names: Sequence[str] = (), *, timeout: float = TIMEOUT,
            verbose: bool = False, directory: Path | None = None) -> Result:
        """Run all scenarios, or those in NAMES, for at most TIMEOUT seconds, longer on a slow host.
        Booting and the end have 300 seconds more."""
        steps = {name: step for name, step in self.steps().items()
                 if name in names or not names or name == "aftermath"}
        run = Run(self, kernel, steps, timeout, verbose)
        with self.job(kernel) as job:
            job.name, job.timeout, job.tests = f"vmm-{self.name}", timeout + 300, False
            job.watch, job.directory = run.watch, directory
            got = job.run()
        if run.result:
            got.add(run.result)
        if not run.result or not run.result.tests:
            got.problems.append("no scenario ran")
        for log in sorted(got.directory.glob("out/vm*/console.log")):
            got.problems += [f"guest of {log.parent.name}: {problem}"
                             for problem in klog.scan_log(lines_of(log))]
        return got


class WithoutVmm(Machine):
    """A machine whose firmware has reserved memory regions, and no VMM."""

    def steps(self) -> dict[str, Step]:
        return {short(s): s.run for s in self.scenarios}

    @contextlib.contextmanager
    def job(self, kernel: Path) -> Iterator[Job]:
        with tempfile.TemporaryDirectory() as tmp:
            for program in ("testdev", "vfio-claim"):
                initramfs.compiled(program, Path(tmp))
            yield Job(self.topology, kernel, (MACHINE / "vmm-middle.sh").read_text(),
                      files=[Path(tmp)], tables=rmr.tables(self.topology, kernel),
                      extra=rmr.DIMM_OUTSIDE)


TWO = Machine("two", Topology(smmus=2, testdev=1, virt=True, mem=3072),
              (gbpa, memory, hotplug, reboot))
FOUR = Machine("four", Topology(smmus=4, virt=True, mem=3072), (kill,))
RMR = WithoutVmm("rmr", Topology(smmus=2, testdev=2), (rmr,))
LIBVIRT = Machine("libvirt", Topology(smmus=4, virt=True, mem=3072), (libvirt,),
                  ("packages-libvirt",))
MACHINES = (TWO, FOUR, RMR, LIBVIRT)
SCENARIOS = {short(s): s for machine in MACHINES for s in machine.scenarios}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="scenarios:\n" + "\n".join(f"  {n:10}{s.__doc__}" for n, s in SCENARIOS.items()))
    parser.add_argument("names", nargs="*", metavar="SCENARIO", help="only these (default: all)")
    parser.add_argument("--kernel", default="check", metavar="FLAVOUR",
                        help="the kernel under test: a flavour below build/, or an Image")
    parser.add_argument("--timeout", type=int, default=TIMEOUT, metavar="SECONDS",
                        help=f"for the scenarios of each machine (default {TIMEOUT}), longer on a "
                        "slow host")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep logs and images there")
    parser.add_argument("--dry", action="store_true", help="only check the arguments")
    parser.add_argument("-v", "--verbose", action="store_true", help="show each step")
    args = parser.parse_args()
    for name in args.names:
        if name not in SCENARIOS:
            raise Error(f"no scenario is called {name}: there are {', '.join(SCENARIOS)}")
    if args.dry:
        return 0
    status = 0
    for machine in MACHINES:
        if not args.names or any(short(s) in args.names for s in machine.scenarios):
            result = machine.run(kernel_image(image(args.kernel)), args.names, timeout=args.timeout,
                                 verbose=args.verbose,
                                 directory=args.keep / machine.name if args.keep else None)
            status |= result.report(keep=bool(args.keep))
    return status
