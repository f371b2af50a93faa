# SPDX-License-Identifier: GPL-2.0
"""Registers and tables of the SMMUs of a running machine, read through QEMU's monitor, and
the driver's debugfs files."""
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from testbed.machine.acpi import Route
from testbed.machine.guest import Guest

# Values of the field Config of an STE
ABORT, BYPASS, STAGE1, STAGE2, NESTED = 0, 4, 5, 6, 7
# Bits of IDR0 (SMMUv3 specification, 6.3)
IDR0 = {1: "S1", 0: "S2", 4: "coherent", 10: "ATS", 16: "PRI", 13: "MSI", 12: "ASID16",
        18: "VMID16"}
OAS = (32, 36, 40, 42, 44, 48, 52, 56)
ADDRESS = 0x000f_ffff_ffff_ffc0


class Ste(NamedTuple):
    """A stream table entry."""
    config: int = 0
    vmid: int = 0
    vtcr: int = 0
    s2ttb: int = 0

    @property
    def stage2(self) -> bool:
        return self.config in (STAGE2, NESTED)


@dataclass
class Smmu:
    """An SMMU, with the STEs of the devices of the kernel under test."""
    name: str = ""
    features: list[str] = field(default_factory=list)
    stes: dict[str, Ste] = field(default_factory=dict)      # by BDF


def features(guest: Guest, base: int) -> list[str]:
    """Names of features in IDR0, 1, 3 and 5."""
    idr0, idr1, idr3, idr5 = (guest.peek32(base + r) for r in (0x0, 0x4, 0xc, 0x14))
    words = [name for bit, name in IDR0.items() if idr0 >> bit & 1]
    words += ["RIL"] * (idr3 >> 10 & 1) + ["S2FWB"] * (idr3 >> 8 & 1)
    words += ["PASID"] * bool(idr1 >> 6 & 31)
    return words + [f"OAS{OAS[idr5 & 7]}"]


def stream_table_entry(guest: Guest, base: int, sid: int) -> Ste:
    """The STE of a StreamID, found by a walk of the stream table (3.3 and 5.2)."""
    table = guest.peek(base + 0x80)[0] & ADDRESS
    config = guest.peek32(base + 0x88)
    if config >> 16 & 3:                            # two levels
        split = config >> 6 & 31
        level1 = guest.peek(table + 8 * (sid >> split))[0]
        if not level1 & 31:
            return Ste()
        table, sid = level1 & ADDRESS, sid & (1 << split) - 1
    words = guest.peek(table + 64 * sid, 4)
    return Ste(config=words[0] >> 1 & 7 if words[0] & 1 else ABORT, vmid=words[2] & 0xffff,
               vtcr=words[2] >> 32 & 0x7ffff, s2ttb=words[3] & 0x000f_ffff_ffff_fff0)


def ste_of(guest: Guest, routes: Iterable[Route], rid: int) -> tuple[int, Ste]:
    """The base address of the SMMU of a RID, and the STE."""
    first, _, out, base = next(r for r in routes if r[0] <= rid <= r[1])
    return base, stream_table_entry(guest, base, rid - first + out)


def stage2_walk(read: Callable[[int], int], ste: Ste, address: int) -> int | None:
    """The address that the stage-2 table of an STE gives (granule of 4 KiB), or None.
    READ gives the 64-bit word at a physical address."""
    level = 2 - (ste.vtcr >> 6 & 3)                 # SL0
    table, bits = ste.s2ttb, 64 - (ste.vtcr & 63)
    while True:
        shift = 39 - 9 * level
        entry = read(table + 8 * (address % (1 << bits) >> shift))
        if not entry & 1:
            return None
        table, bits = entry & 0x0000_ffff_ffff_f000, shift
        if level == 3 or not entry & 2:
            return table >> bits << bits | address % (1 << bits)
        level += 1


def picture(guest: Guest, routes: Sequence[Route]) -> list[Smmu]:
    """The SMMUs in the order of their numbers."""
    found: dict[int, Smmu] = {}
    for line in guest.lines("job.log"):
        if not line.startswith("##device "):
            continue
        bdf, number, _, _, _, name = line.split()[1:]
        bus, slot, function = (int(x, 16) for x in re.split("[:.]", bdf)[1:])
        base, ste = ste_of(guest, routes, bus << 8 | slot << 3 | function)
        smmu = found.setdefault(int(number), Smmu(name))
        smmu.features = smmu.features or features(guest, base)
        smmu.stes[bdf] = ste
    return [found[number] for number in sorted(found)]


@dataclass
class DebugFile:
    """The debugfs file of an SMMU: the tags, and the entries of each domain. Tags and
    entries are {word: value}."""
    smmu: str
    tags: list[dict[str, str]] = field(default_factory=list)
    domains: dict[str, list[dict[str, str]]] = field(default_factory=dict)

    def vmids(self) -> list[dict[str, str]]:
        return [tag for tag in self.tags if "vmid" in tag]

    def vsmmus(self) -> list[dict[str, str]]:
        return [tag for tag in self.tags if "vsmmu" in tag]

    def unowned(self) -> list[dict[str, str]]:
        return [tag for tag in self.tags if "unowned" in tag]


def pairs(words: Sequence[str]) -> dict[str, str]:
    return dict(zip(words[::2], words[1::2]))


def debug_file(text: Sequence[str]) -> DebugFile:
    file = DebugFile(text[0].split()[1])
    entries: list[dict[str, str]] = []
    for line in filter(None, text):
        words = line.split()
        if line.startswith("\tentry "):
            entries.append(pairs(words[1:]))
        elif words[0] == "domain":
            entries = file.domains[words[1]] = []
        elif words[0] in ("asid", "vmid"):
            file.tags.append({words[0]: words[1], "unowned": ""} if "unowned" in words else
                             pairs(words))
    return file
