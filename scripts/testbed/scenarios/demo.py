# SPDX-License-Identifier: GPL-2.0
"""The demonstration: an unmodified VMM with a vSMMU for each physical SMMU.

There are three levels: the emulated machine, the kernel under test on it, and in that
Debian's arm64 QEMU with -accel kvm. The guest of this QEMU does I/O on NVMe controllers
assigned by vfio and iommufd, translated by stage 1 and stage 2 of the driver under test.
The guest runs the same kernel.

Then memory of the guest is unplugged and plugged in rounds, during DMA of all controllers
to the same guest pages (machine/demo-dma.c). In each round these are in different host
pages, as the stage-2 tables show. A stale translation would result in wrong data.

The driver's messages are from the kernel log. Stage-2 tables and VMIDs are from the STEs
used by the SMMUs while the guest runs. Other values are from the traces of the two QEMUs,
and the data from the raw disk images at the end. The number of stage-2 tables must be 1,
or 1 for each SMMU on the base. The driver's debugfs files must be consistent with the
STEs and each other. The base has no such files.
"""
import argparse
import re
import secrets
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from testbed.machine import klog, smmu
from testbed.machine.acpi import Route, iort_routes
from testbed.machine.guest import Guest, lines_of
from testbed.machine.job import Job, Result, iort, read_job
from testbed.machine.smmu import DebugFile, Smmu
from testbed.machine.topology import Topology, kernel_image, qemu_version
from testbed.paths import MACHINE, Error, image
from testbed.scenarios import storeys

MAX_SMMUS = 8
LINE = 64                       # bytes
LINES, LINES_SHORT = 4096, 256  # written to each disk
# Rounds of unmap and map: with stage 1 (domain type DMA) and with stage 1 bypassed
ROUNDS = {"DMA": 2, "identity": 6}
ROUNDS_SHORT = {"DMA": 1, "identity": 3}
TRACE = ("smmuv3_cmdq_opcode", "smmuv3_range_inval", "smmuv3_cmdq_tlbi_*")
HWPT = re.compile(r"iommufd_backend_alloc_hwpt .*flags=(0x[0-9a-f]+) .*out_hwpt=(\d+) \(0\)")
VIOMMU = re.compile(r"iommufd_backend_alloc_viommu .*hwpt_id=(\d+) .*viommu_id=(\d+) \(0\)")
PASSED_ON = re.compile(r"iommufd_backend_invalidate_cache .*done_num=(\d+) ")
OPCODE = re.compile(r"smmuv3_cmdq_opcode <--- SMMU_CMD_(\w+)")
VMID = re.compile(r"smmuv3_(?:range_inval|cmdq_tlbi_\w+) vmid=(\d+)")


def pattern(nonce: str, serial: str, lines: int) -> bytes:
    """The data that demo-guest.sh writes to a disk."""
    return "".join(f"{nonce:<32} {serial:<20} {i:9}\n" for i in range(lines)).encode()


@dataclass
class Round:
    """The pages of a round of DMA: guest addresses, and addresses found through each STE."""
    configs: set[int] = field(default_factory=set)
    tables: list[int] = field(default_factory=list)
    pages: list[str] = field(default_factory=list)
    places: list[int | None] = field(default_factory=list)
    right: int = 0              # places with the content reported by the guest


@dataclass
class Observer:
    """Reads the SMMUs' tables when the guest is at a checkpoint, and records the position in
    the trace at which the VMM starts. The first checkpoint is before the rounds. At the
    others the guest prints its pages and their content."""
    routes: Sequence[Route]
    smmus: list[Smmu] = field(default_factory=list)
    trace_from: int | None = None
    rounds: list[Round] = field(default_factory=list)
    seen: int = 0

    def __call__(self, guest: Guest) -> None:
        if self.trace_from is None and "##start" in guest.lines("job.log"):
            self.trace_from = (guest.directory / "trace.log").stat().st_size
        parts = "\n".join(guest.lines("out/guest/job.log")).split("##checkpoint\n")
        if len(parts) < self.seen + 2:
            return
        guest.qmp("stop")
        picture = smmu.picture(guest, self.routes)
        if self.smmus:
            self.rounds.append(look(guest, picture, parts[self.seen].split("\n")))
        else:
            self.smmus = picture
        guest.qmp("cont")
        self.seen += 1
        (guest.directory / "out/go").touch()


def look(guest: Guest, picture: Iterable[Smmu], said: Iterable[str]) -> Round:
    """Find the pages of a round through each STE and compare their content."""
    words: dict[int, int] = {}

    def read(address: int) -> int:
        if address not in words:
            words[address] = guest.peek(address)[0]
        return words[address]

    stes = [ste for one in picture for ste in one.stes.values()]
    found = Round({ste.config for ste in stes}, sorted({ste.s2ttb for ste in stes}))
    for address, text in (line.split(" ", 2)[1:] for line in said if line.startswith("##page ")):
        found.pages.append(address)
        for ste in stes:
            place = smmu.stage2_walk(read, ste, int(address, 16))
            there = b"" if place is None else b"".join(
                word.to_bytes(8, "little") for word in guest.peek(place, LINE // 8))
            found.places.append(place)
            found.right += there.rstrip(b"\0") == text.encode()
    return found


@dataclass
class Demonstration:
    """A run and its results."""
    topology: Topology
    kernel: Path
    lines: int
    rounds: Mapping[str, int]
    tables: int                 # stage-2 tables expected
    debugfs: bool = True        # whether the driver has files there
    nonce: str = field(default_factory=lambda: secrets.token_hex(16))
    result: Result = field(default_factory=lambda: Result(name="demo"))
    guest: Result = field(default_factory=lambda: Result(name="guest"))
    observer: Observer = field(default_factory=lambda: Observer([]))
    # Set by check()
    stage2: list[int] = field(default_factory=list)
    parents: list[int] = field(default_factory=list)
    viommus: list[tuple[int, int]] = field(default_factory=list)
    opcodes: Counter[str] = field(default_factory=Counter)
    vmids: Counter[int] = field(default_factory=Counter)
    verified: int = 0
    passed_on: int = 0
    dma: list[tuple[int, ...]] = field(default_factory=list)
    files: list[DebugFile] = field(default_factory=list)

    def run(self, timeout: int, directory: Path | None) -> None:
        """Run it. The result includes the results of the guest."""
        rounds = " ".join(f"{kind}={number}" for kind, number in self.rounds.items())
        script = (f"VMM_TIMEOUT={timeout} VMM_MEM=768M "
                  f"VMM_APPEND='{storeys.GUEST_APPEND}online_movable'\n"
                  + storeys.middle("demo-middle.sh"))
        inner = (f"NONCE={self.nonce} LINES_PER_DISK={self.lines} ROUNDS='{rounds}'\n"
                 + (MACHINE / "demo-guest.sh").read_text())
        self.observer = Observer(iort_routes(iort(self.topology, self.kernel)))
        with storeys.shares(self.kernel, inner, ["demo-dma"]) as shares:
            self.result = Job(self.topology, self.kernel, script, name="demo", shares=shares,
                              timeout=timeout + 300, trace=TRACE, watch=self.observer,
                              directory=directory).run()
        out, guest = self.result.directory / "out/guest", self.guest
        guest.said = lines_of(out / "job.log")
        if not read_job(guest, guest.said):
            last = [l for l in lines_of(out / "console.log") if l.strip()][-8:]
            guest.problems.append("\n    ".join(
                ["the guest did not reach its end; its last lines:", *last]))
        guest.problems += klog.scan_log(lines_of(out / "console.log"))
        guest.problems = ["guest: " + p for p in guest.problems]
        self.result.add(guest)

    def check(self) -> None:
        """Check the run from outside of the machine."""
        self.check_disks()
        self.check_tables()
        self.check_rounds()
        self.check_invalidations()

    def check_disks(self) -> None:
        for serial in self.topology.disks():
            data = (self.result.directory / f"images/{serial}.img").read_bytes()
            wanted = pattern(self.nonce, serial, self.lines)
            same = data[:len(wanted)] == wanted
            self.verified += len(wanted) * same
            self.result.expect(f"{serial}: the raw image holds what the guest wrote", same)

    def check_tables(self) -> None:
        expect, wanted = self.result.expect, len(self.topology.stages())
        disks, smmus = self.topology.disks(), self.observer.smmus
        trace = self.vmm_trace()
        self.parents = [int(m[2]) for m in map(HWPT.match, trace) if m and int(m[1], 16) & 1]
        self.viommus = [(int(m[1]), int(m[2])) for m in map(VIOMMU.match, trace) if m]
        self.passed_on = sum(int(m[1]) for m in map(PASSED_ON.match, trace) if m)
        stes = [ste for one in smmus for ste in one.stes.values()]
        self.stage2 = sorted({ste.s2ttb for ste in stes})
        nested = [s for s in stes if s.config == smmu.NESTED and s.s2ttb and s.vmid]
        expect("a picture of the stream tables was taken while the guest ran", len(smmus) == wanted)
        expect("every controller's STE has stage 1 and stage 2", len(nested) == len(disks),
               f"{len(nested)} of {len(disks)}")
        expect("one vSMMU per SMMU", len(self.viommus) == wanted,
               f"{len(self.viommus)} of {wanted}")
        with_vsmmu = {parent for parent, _ in self.viommus}
        expect("the VMM's nesting parents are the stage-2 tables of the STEs",
               len(self.stage2) == len(with_vsmmu) >= 1,
               f"{len(self.stage2)} tables, {len(with_vsmmu)} parents with a vSMMU")
        expect(f"{self.tables} stage-2 table{'s' * (self.tables > 1)} for {wanted} SMMUs",
               len(self.stage2) == self.tables, f"there are {len(self.stage2)}")
        guest_smmus = {line.split()[-1] for line in self.guest.devices}
        expect("the guest has its controllers behind as many SMMUs", len(guest_smmus) == wanted,
               f"{len(guest_smmus)} of {wanted}")
        texts = [lines_of(self.result.directory / f"out/debugfs/{n}") for n in range(wanted)]
        self.files = [smmu.debug_file(text) for text in texts if any(text)]
        if self.debugfs:
            problem = check_debugfs(smmus, self.files, len(disks))
            expect("the driver's files in debugfs agree with the STEs and with each other",
                   not problem, problem)

    def vmm_trace(self) -> list[str]:
        # pid and time precede an event, as in "1234@5678.9:name args".
        return [re.sub(r"^\S+:", "", line).strip()
                for line in lines_of(self.result.directory / "out/guest/vmm.trace")]

    def check_rounds(self) -> None:
        # DMAs to the pages of a round, to others while memory changed, with wrong data
        dma = self.dma = [tuple(map(int, line.split()[1:])) for line in self.guest.said
                          if line.startswith("##dma ")]
        expect, seen, every = self.result.expect, self.observer.rounds, sum(self.rounds.values())
        expect("all rounds of unmapping and mapping guest memory ran",
               len(dma) == len(seen) == every,
               f"{len(dma)} in the guest, {len(seen)} seen outside, of {every}")
        expect("the rounds ran on the same stage-2 tables",
               all(r.tables == self.stage2 for r in seen))
        expect("the rounds ran through stage 1, then with stage 1 bypassed",
               [r.configs for r in seen] == [{smmu.NESTED}] * self.rounds["DMA"]
               + [{smmu.STAGE2}] * self.rounds["identity"])
        wrong, total = sum(d[2] for d in dma), sum(d[0] + d[1] for d in dma)
        expect("no DMA of the rounds gave wrong data", dma and not wrong,
               f"{wrong} of {total} wrong")
        expect("DMA went on in each change of memory", dma and all(d[0] and d[1] for d in dma))
        expect("what the guest has in the pages of the rounds is where stage 2 leads to",
               seen and all(r.right == len(r.places) > 0 for r in seen),
               f"{sum(r.right for r in seen)} of {sum(len(r.places) for r in seen)}")
        moved = [(sum(old != new for old, new in zip(a.places, b.places)), len(b.places))
                 for a, b in zip(seen, seen[1:]) if a.pages == b.pages]
        expect("every round used the same guest pages in other host pages",
               len(moved) == every - 1 and all(some == of for some, of in moved),
               f"moved, of: {moved}")

    def check_invalidations(self) -> None:
        if self.observer.trace_from is not None:
            with open(self.result.directory / "trace.log", errors="replace") as trace:
                trace.seek(self.observer.trace_from)
                for line in trace:
                    if m := OPCODE.search(line):
                        self.opcodes[m[1]] += 1
                    elif m := VMID.search(line):
                        self.vmids[int(m[1])] += 1
        self.result.expect("the SMMUs executed TLB invalidations for the guest", bool(self.tlbi()))

    def tlbi(self) -> dict[str, int]:
        return {op: n for op, n in sorted(self.opcodes.items()) if op.startswith("TLBI")}

    def summarize(self) -> None:
        log = [klog.STAMP.sub("", line) for line in self.result.console]
        driver = [l.split(": ", 1)[1] for l in log if re.match(r"arm-smmu-v3 .*features", l)]
        print("\nThe demonstration")
        row("kernel", f"Linux {self.result.kernel} ({self.kernel}), lockdep {self.result.lockdep}")
        row("VMM", next((l[6:] for l in self.result.said if l.startswith("##vmm ")), "?")
            + ", accel=kvm, iommufd")
        row("guest", f"Linux {self.guest.kernel}")
        for n, one in enumerate(self.observer.smmus):
            row(f"SMMU {n}", f"{one.name}: {' '.join(one.features)}", *driver[n:n + 1],
                *(f"{bdf}: STE config {ste.config:#05b}, VMID {ste.vmid}, stage-2 table at "
                  f"{ste.s2ttb:#x}" for bdf, ste in one.stes.items()))
        row("vSMMUs", "; ".join([f"{len(self.viommus)}", *(
            f"vIOMMU {v} on stage-2 HWPT {p}" for p, v in self.viommus)]))
        row("stage-2 tables", f"{len(self.stage2)}, for {len(self.observer.smmus)} SMMUs "
            f"({len(self.parents)} nesting-parent HWPTs made by the VMM)")
        row("VMIDs", "in invalidations: " + (", ".join(
            f"VMID {v} named {n} times" for v, n in sorted(self.vmids.items())) or "none"))
        row("debugfs", *(f"{file.smmu}: " + ", ".join(
            f"VMID {tag['vmid']} is a vSMMU's, devices: {tag['users']}" for tag in file.vsmmus())
            for file in self.files), *["the driver has no files there"] * (not self.files))
        tlbi = self.tlbi()
        row("invalidations", f"{sum(tlbi.values())} TLBI: "
            + ", ".join(f"{op} {n}" for op, n in tlbi.items())
            + f"; {self.opcodes['SYNC']} CMD_SYNC",
            f"{self.passed_on} commands of the guest passed on by the VMM through iommufd")
        row("I/O", f"verified in the raw images: {self.verified >> 10} KiB")
        seen = self.observer.rounds
        row("unmap and map", f"{len(self.dma)} rounds, {sum(d[0] + d[1] for d in self.dma)} DMAs "
            f"checked, {sum(d[2] for d in self.dma)} wrong",
            f"{sum(d[0] for d in self.dma)} of them in the same "
            f"{len(seen[-1].pages) if seen else 0} guest pages, on "
            f"{len({place for r in seen for place in r.places})} host pages in turn")


def row(what: str, *texts: str) -> None:
    for text in texts:
        print(f"  {what:<15} {text}")
        what = ""


def check_debugfs(smmus: Sequence[Smmu], files: Sequence[DebugFile], devices: int) -> str:
    """The problem of the debugfs files: missing, or not consistent with each other or the
    STEs."""
    if len(files) != len(smmus):
        return f"{len(files)} files for {len(smmus)} SMMUs"
    arrays = []
    for one, file in zip(smmus, files):
        vsmmus = file.vsmmus()
        vmids = sorted(ste.vmid for ste in one.stes.values())
        if sorted(int(tag["vmid"]) for tag in vsmmus for _ in range(int(tag["users"]))) != vmids:
            return f"{file.smmu} has {vsmmus}, the STEs VMID {vmids}"
        if file.unowned():
            return f"{file.smmu} lost a tag"
        if missing := [tag for tag in vsmmus if tag["domain"] not in file.domains]:
            return f"{file.smmu} does not list the domains of {missing}"
        arrays += [file.domains[tag["domain"]] for tag in vsmmus]
    if not arrays:
        return "no file has a vSMMU"
    if any(array != arrays[0] for array in arrays):
        return f"the arrays are not the same: {arrays}"
    users: Counter[str] = Counter()
    for entry in arrays[0]:
        users[entry["type"]] += int(entry["users"])
    wanted = {"S2_VMID_VSMMU": devices, "S2_VMID_S1_CLEAR": devices}
    return "" if users == wanted else f"users {dict(users)}, wanted {wanted}"


def main() -> int:
    parser = argparse.ArgumentParser(description="Run a VM with vSMMUs on the kernel under test.")
    add: Callable[..., object] = parser.add_argument
    add("--kernel", default="bench", metavar="FLAVOUR",
        help="a flavour below build/ (bench, base-bench, check ...), or an Image (default bench)")
    add("--smmus", type=int, default=2, metavar="N", help=f"1 to {MAX_SMMUS} (default 2)")
    add("--timeout", type=int, default=600, metavar="SECONDS",
        help="for the VMM (default 600), longer on a slow host")
    add("--short", action="store_true", help="less data, fewer rounds")
    add("--keep", type=Path, metavar="DIR", help="keep logs, traces and images there")
    add("--dry", action="store_true", help="only check the arguments")
    args = parser.parse_args()
    if not 1 <= args.smmus <= MAX_SMMUS:
        raise Error(f"--smmus {args.smmus}: the demonstration takes 1 to {MAX_SMMUS}")
    if args.dry:
        return 0
    print(f"demo: {qemu_version()}, {args.smmus} SMMUs, guest with {args.smmus} vSMMUs", flush=True)
    base = args.kernel.startswith("base-")
    demo = Demonstration(Topology(smmus=args.smmus, virt=True, mem=3072),
                         kernel_image(image(args.kernel)), LINES_SHORT if args.short else LINES,
                         ROUNDS_SHORT if args.short else ROUNDS,
                         tables=args.smmus if base else 1, debugfs=not base)
    demo.run(args.timeout, args.keep)
    demo.check()
    demo.summarize()
    return demo.result.report(keep=bool(args.keep))
