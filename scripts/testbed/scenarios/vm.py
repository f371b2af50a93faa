# SPDX-License-Identifier: GPL-2.0
"""The kernel under test and the VMs on it, driven from the host.

Each scenario sends scripts to the kernel under test and lines to the shell of the guest
(machine/vmm-middle.sh, vmm-guest.sh), and commands to the monitors of both QEMUs. It
reads the stream tables and stage-2 tables of the SMMUs, and the driver's debugfs files.
DMA is done by NVMe controllers, which demo-dma checks, and by iommu-testdev.
"""
import json
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from testbed.machine import smmu
from testbed.machine.acpi import Route
from testbed.machine.guest import Guest, lines_of
from testbed.machine.job import Result
from testbed.machine.smmu import DebugFile, Smmu, Ste

MEMORY = 768                    # MiB of the guest
PATIENCE = 120                  # seconds for one step, longer on a slow host
DIMM = 64 << 20
NVME, TESTDEV = "0x0108", "0x00ff"                  # classes
STOPPED, PASSED = "dead0002", ("dead0004", "0")     # results of testdev
T = TypeVar("T")


class Broken(Exception):
    """A scenario cannot continue."""


class Middle:
    """The kernel under test, which runs scripts of the scenarios."""

    def __init__(self, guest: Guest, routes: Sequence[Route], smmus: int, timeout: float,
                 verbose: bool = False) -> None:
        self.guest, self.routes, self.smmus, self.verbose = guest, routes, smmus, verbose
        self.start, self.timeout = time.monotonic(), timeout
        self.out, self.number = guest.directory / "out", 0
        self.vm: VM | None = None
        self.scenario, self.result = "", Result(name="scenarios")

    def say(self, text: str) -> None:
        if self.verbose:
            print(f"  {text}", flush=True)

    def expect(self, test: str, good: object, why: object = "") -> None:
        """Report a test of the scenario."""
        self.say(f"{'ok' if good else 'not ok'} {test}")
        self.result.expect(f"{self.scenario}: {test}", good, str(why))

    def wait(self, what: str, found: Callable[[], T], timeout: float = PATIENCE) -> T:
        """Wait until the result of FOUND() is not empty, and return it."""
        start = time.monotonic()
        while not (value := found()):
            if self.guest.process.poll() is not None:
                raise Broken("the emulated machine died")
            if self.guest.expired(self.start, self.timeout):
                raise Broken(f"{what}: no time is left for the scenarios of this machine "
                             "(--timeout)")
            if self.guest.expired(start, timeout):
                raise Broken(f"{what}: nothing after {time.monotonic() - start:.0f} s")
            self.guest.progress()
            time.sleep(0.05)
        return value

    def sh(self, script: str, timeout: float = PATIENCE, good: bool = True) -> str:
        """Run a script in the kernel under test and return its output."""
        (self.out / "do.new").write_text(script + "\n")
        (self.out / "do.new").rename(self.out / "do")
        self.wait(f"'{script}'", (self.out / "status").exists, timeout)
        status = int((self.out / "status").read_text())
        said = (self.out / "said").read_text(errors="replace")
        (self.out / "status").unlink()
        if good and status:
            raise Broken(f"'{script}' ended with status {status}: {said.strip()}")
        return said

    def picture(self) -> list[Smmu]:
        return smmu.picture(self.guest, self.routes)

    def stes(self) -> dict[str, Ste]:
        """The STEs of all assigned functions, by BDF."""
        return {bdf: ste for one in self.picture() for bdf, ste in one.stes.items()}

    def configs(self) -> list[list[int]]:
        """The configs of the STEs of each SMMU."""
        return [sorted({ste.config for ste in one.stes.values()}) for one in self.picture()]

    def debugfs(self) -> list[DebugFile]:
        self.sh("rm -rf /out/debugfs; debugfs_files /out/debugfs", good=False)
        files = [lines_of(self.out / f"debugfs/{n}") for n in range(self.smmus)]
        if not files[0] or not files[0][0]:
            raise Broken("the driver has no files in debugfs")
        return [smmu.debug_file(file) for file in files]

    def memory(self, address: int) -> int | None:
        """32 bits of the guest's memory, found through the stage-2 table of each nested SMMU;
        None if not mapped."""
        found: set[int | None] = set()
        for ste in self.stes().values():
            if ste.stage2:
                place = smmu.stage2_walk(lambda a: self.guest.peek(a)[0], ste, address)
                found.add(None if place is None else self.guest.peek32(place))
        if len(found) != 1:
            raise Broken(f"the stage-2 tables do not agree about {address:#x}: {found}")
        return found.pop()

    def running(self) -> "VM":
        """The running VM, or a new VM."""
        if not self.vm:
            self.number += 1
            return VM(self, f"vm{self.number}")
        return self.vm

    def check_dma(self, vm: "VM", when: str) -> None:
        """All controllers do DMA."""
        disks = len(vm.sh("disks"))
        vm.sh("start_dma && sleep 2")
        done, wrong = vm.dma()
        self.expect(f"{when}: DMA of all controllers", disks == vm.disks and done and not wrong,
                    f"{disks} controllers, {done} DMAs, {wrong} wrong")

    def check_nested(self, vm: "VM", when: str) -> None:
        """All controllers do DMA through stage 1 and stage 2."""
        self.check_dma(vm, when)
        configs = self.configs()
        self.expect(f"{when}: the STEs of each SMMU have stage 1 and stage 2",
                    all(c == [smmu.NESTED] for c in configs), configs)

    def dma_went_on(self, vm: "VM", when: str) -> None:
        done, wrong = vm.dma()
        self.expect(when, done and not wrong, f"{done} DMAs, {wrong} wrong")

    def clean(self, when: str) -> None:
        """No VM is left in the driver."""
        left = [line for file in self.debugfs() for line in file.vmids() + file.unowned() +
                [e for entries in file.domains.values() for e in entries if e["type"] != "S1_ASID"]]
        self.expect(f"{when}: no SMMU has a VMID, lost an id or lists a stage-2 domain",
                    not left, left)
        stes = self.stes()
        self.expect(f"{when}: no STE has a stage 2", not any(s.stage2 for s in stes.values()), stes)

    def leaks(self) -> None:
        """Scan for leaks, if the kernel has kmemleak."""
        if self.sh("ls /sys/kernel/debug/kmemleak", good=False).startswith("/sys"):
            said = self.sh("leaks")
            self.expect("at the end: kmemleak found nothing", "##problem" not in said, said[:2000])


class VM:
    """A VMM and its guest."""

    def __init__(self, middle: Middle, name: str, disks: int = 0) -> None:
        self.middle, self.name, self.where = middle, name, middle.out / name
        self.asked, self.dimm, self.disks = 0, 0, disks or middle.smmus
        self.devices: list[list[str]] = []
        self.at_reset: list[Smmu] = []
        middle.vm = self
        middle.say(f"starting {self.name}")
        self.start()
        self.come_up()

    def start(self) -> None:
        self.middle.sh(f'start_vmm /out/{self.name} "$@"')
        self.answer("query-status")
        self.at_reset = self.middle.picture()
        self.answer("cont")

    def lines(self, name: str) -> list[str]:
        return lines_of(self.where / name)

    def come_up(self, times: int = 1, timeout: float = 4 * PATIENCE) -> None:
        """Wait for the guest's shell."""
        try:
            self.middle.wait(f"{self.name}: the guest's shell",
                             lambda: self.lines("job.log").count("##ready") >= times, timeout)
        except Broken as broken:
            last = [l for l in self.lines("console.log") + self.lines("vmm.log") if l.strip()][-6:]
            raise Broken("\n".join([str(broken), *last])) from None
        # The devices of the last boot
        self.devices = []
        for line in self.lines("job.log"):
            if line.startswith("##kernel"):
                self.devices = []
            elif line.startswith("##device "):
                self.devices.append(line.split()[1:])

    def functions(self, smmu_number: int, code: str) -> list[str]:
        """BDFs in the guest, by the vSMMU and the class."""
        return [d[0] for d in self.devices if int(d[1]) == smmu_number and d[4].startswith(code)]

    def messages(self) -> list[dict[str, Any]]:
        """The messages of the VMM's monitor, without an incomplete line."""
        return [json.loads(line) for line in self.lines("qmp.log")[:-1] if line]

    def answer(self, command: str, timeout: float = PATIENCE, **arguments: object) -> Any:
        """Send a command to the VMM's monitor."""
        self.asked += 1
        request = json.dumps({"execute": command, "arguments": arguments, "id": self.asked})
        self.middle.sh(f"timeout $((20 * SLOW)) sh -c 'cat >/run/qmp.in' <<'EOF'\n{request}\nEOF")
        said = self.middle.wait(
            f"{self.name}: {command}",
            lambda: [m for m in self.messages() if m.get("id") == self.asked], timeout)[0]
        if "error" in said:
            raise Broken(f"the VMM refused {command}: {said['error']['desc']}")
        return said["return"]

    def event(self, name: str, timeout: float = PATIENCE, **data: object) -> None:
        """Wait for an event of the VMM with DATA."""
        self.middle.wait(f"{self.name}: {name} {data}", lambda: any(
            message.get("event") == name and data.items() <= message["data"].items()
            for message in self.messages()), timeout)

    def sh(self, line: str, timeout: float = PATIENCE, good: bool = True) -> list[str]:
        """Run a line in the guest, and return the lines of its output."""
        before = len(self.lines("job.log")) - 1
        self.middle.sh(f"timeout $((20 * SLOW)) sh -c 'cat >/run/job.in' <<'EOF'\n{line}\nEOF")

        def found() -> list[str]:
            said = self.lines("job.log")[before:-1]
            end = next((i for i, l in enumerate(said) if l.startswith("##did ")), -1)
            return said[:end + 1]

        *said, status = self.middle.wait(f"{self.name}: '{line}'", found, timeout)
        if good and status != "##did 0":
            raise Broken(f"{self.name}: '{line}' in the guest: {said} {status}")
        return [l for l in said if l]

    def testdev(self, bdf: str, address: int) -> tuple[bool, int | None, int | None]:
        """One DMA to a guest-physical address: whether it was not blocked, and the content of the
        memory before and after."""
        before = self.middle.memory(address)
        said = self.sh(f"testdev {bdf} {address:#x}")[-1]
        # The device compares the data at the same address of the emulated machine, which may
        # contain data of an earlier DMA. Therefore read the guest's memory.
        if said not in (STOPPED, *PASSED):
            raise Broken(f"testdev {bdf} says {said}")
        return said in PASSED, before, self.middle.memory(address)

    def dma(self) -> tuple[int, int]:
        """Stop the DMA in the background; the numbers of DMAs and of those with wrong data."""
        line = [l for l in self.sh("stop_dma", good=False) if l.startswith("##dma ")]
        if not line:
            raise Broken(f"{self.name}: the DMA ended by itself: {self.sh('cat /tmp/dma')}")
        done, wrong = line[0].split()[2:]
        return int(done), int(wrong)

    def scratch(self) -> int:
        """The address of guest-physical memory that is not used by the guest's kernel, plugged at
        the first call."""
        if not self.dimm:
            kind: dict[str, Any] = {"qom-type": "memory-backend-ram"}
            self.answer("object-add", id="scratch", size=DIMM, **kind)
            self.answer("device_add", driver="pc-dimm", id="dimm", memdev="scratch")
            self.dimm = self.memory_device("dimm")
        return self.dimm

    def memory_device(self, name: str) -> int:
        device = next(d["data"] for d in self.answer("query-memory-devices")
                      if d["data"].get("id") == name)
        return int(device.get("addr", device.get("memaddr")))

    def request(self, size: int) -> None:
        """Request SIZE bytes of virtio-mem from the guest."""
        self.answer("qom-set", path="pluggable-memory", property="requested-size", value=size)

    def plug(self, size: int) -> None:
        """Resize virtio-mem to SIZE bytes and wait."""
        self.request(size)
        self.middle.wait(f"{self.name}: virtio-mem of {size} bytes", lambda: self.answer(
            "qom-get", path="pluggable-memory", property="size") == size)

    def end(self, signal: str = "") -> None:
        """Terminate the VMM, or kill it with SIGNAL."""
        self.middle.vm = None
        if signal:
            self.middle.sh(f"kill -{signal} $vmm")
        else:
            self.answer("quit")
        self.middle.sh("wait $vmm", good=not signal)


def array(file: DebugFile) -> list[dict[str, str]]:
    """The entries of the domains that have a vSMMU."""
    return [entry for tag in file.vmids() for entry in file.domains.get(tag.get("domain", ""), [])]
