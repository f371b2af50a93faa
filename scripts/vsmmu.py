# SPDX-License-Identifier: GPL-2.0
"""What demo.py and vmm.py share: what a VM's SMMUs really use, read through the
outer emulator, what the driver says of it in debugfs, and the files of a guest.
"""
import contextlib
import re
import shutil
import tempfile
from pathlib import Path

import machine
import results
from machine import REPO

# Of the guest's kernel log only warnings: each character is an exit to the VMM.
GUEST_APPEND = "console=ttyAMA0 loglevel=5 panic=-1 kunit.enable=0 memhp_default_state=online_movable"


def peek(guest, address, count=1):
    """Guest-physical memory or registers, as 64-bit words."""
    text = guest.qmp("human-monitor-command", **{"command-line": f"xp /{count}gx {address:#x}"})
    return [int(word, 16) for line in text.splitlines() for word in line.split(":")[1].split()]


def peek32(guest, address):
    text = guest.qmp("human-monitor-command", **{"command-line": f"xp /1wx {address:#x}"})
    return int(text.split(":")[1].split()[0], 16)


def features(guest, base):
    """The words of IDR0, 1, 3 and 5 that matter here (SMMUv3 specification, 6.3)."""
    idr0, idr1, idr3, idr5 = (peek32(guest, base + r) for r in (0x0, 0x4, 0xc, 0x14))
    words = [name for bit, name in ((1, "S1"), (0, "S2"), (4, "coherent"), (10, "ATS"), (16, "PRI"),
                                    (13, "MSI"), (12, "ASID16"), (18, "VMID16")) if idr0 >> bit & 1]
    words += ["RIL"] if idr3 >> 10 & 1 else []
    words += ["S2FWB"] if idr3 >> 8 & 1 else []
    words += ["PASID"] if idr1 >> 6 & 31 else []
    return words + [f"OAS{(32, 36, 40, 42, 44, 48, 52, 56)[idr5 & 7]}"]


def stream_table_entry(guest, base, sid):
    """The STE of a StreamID: walk the table as the SMMU does (3.3 and 5.2)."""
    table = peek(guest, base + 0x80)[0] & 0x000f_ffff_ffff_ffc0
    config = peek32(guest, base + 0x88)
    if config >> 16 & 3:                            # two levels
        split = config >> 6 & 31
        level1 = peek(guest, table + 8 * (sid >> split))[0]
        if not level1 & 31:
            return {"config": 0, "vmid": 0, "vtcr": 0, "s2ttb": 0}
        table, sid = level1 & 0x000f_ffff_ffff_ffc0, sid & (1 << split) - 1
    ste = peek(guest, table + 64 * sid, 4)
    return {"config": ste[0] >> 1 & 7 if ste[0] & 1 else 0, "vmid": ste[2] & 0xffff,
            "vtcr": ste[2] >> 32 & 0x7ffff, "s2ttb": ste[3] & 0x000f_ffff_ffff_fff0}


def stage2_walk(read, ste, address):
    """Where the stage-2 table of an STE leads to (granule of 4 KiB), or None.
    READ gives the 64-bit word at a physical address."""
    level = 2 - (ste["vtcr"] >> 6 & 3)              # SL0
    table, bits = ste["s2ttb"], 64 - (ste["vtcr"] & 63)
    while True:
        shift = 39 - 9 * level
        entry = read(table + 8 * (address % (1 << bits) >> shift))
        if not entry & 1:
            return None
        table, bits = entry & 0x0000_ffff_ffff_f000, shift
        if level == 3 or not entry & 2:
            return table >> bits << bits | address % (1 << bits)
        level += 1


def picture(guest, routes):
    """The SMMUs with the STEs of the middle's devices. ROUTES is what
    machine.iort_routes() gives."""
    found = {}
    for line in guest.lines("job.log"):
        if not line.startswith("##device "):
            continue
        bdf, number, _, _, _, iommu = line.split()[1:]
        bus, slot, function = (int(x, 16) for x in re.split("[:.]", bdf)[1:])
        rid = bus << 8 | slot << 3 | function
        first, _, out, base = next(r for r in routes if r[0] <= rid <= r[1])
        smmu = found.setdefault(int(number), {
            "name": iommu, "base": base, "features": features(guest, base), "stes": {}})
        smmu["stes"][bdf] = stream_table_entry(guest, base, rid - first + out)
    return [found[n] for n in sorted(found)]


def debugfs(text):
    """A file of the driver: the tags, and the entries of each domain."""
    tags, domains, entries = [], {}, None
    for line in filter(None, text):
        words = line.split()
        if line.startswith("\tentry "):
            entries.append(dict(zip(words[1::2], words[2::2])))
        elif words[0] == "domain":
            entries = domains[words[1]] = []
        elif words[0] in ("asid", "vmid"):
            tags.append(dict(zip(words[::2], words[1::2])) if "unowned" not in words else
                        {words[0]: words[1], "unowned": True})
    return {"smmu": text[0].split()[1], "tags": tags, "domains": domains}


# --- The two storeys above the emulated machine ---------------------------

def lines_of(path):
    with contextlib.suppress(FileNotFoundError):
        return results.clean(path.read_text(errors="replace"))
    return []


def middle(name):
    """The job of the kernel under test that starts a VMM."""
    return "".join((REPO / "machine" / part).read_text() for part in ("vmm.sh", name))


@contextlib.contextmanager
def shares(kernel, inner, programs, tables=b"", packages=()):
    """The 9p shares of a middle, with PACKAGES (lists in machine/) beside the VMM, whose
    guest boots KERNEL with ACPI TABLES (an archive of their own) and runs the job INNER,
    which needs PROGRAMS."""
    with tempfile.TemporaryDirectory() as share:
        shutil.copy(kernel, f"{share}/Image")
        made = {f"bin/{name}": machine.script(machine.program(name, share)) for name in programs}
        Path(share, "initrd").write_bytes(tables + machine.cpio(machine.base_files(inner) | made))
        yield [("debian", machine.user_space(*packages), ",readonly=on"), ("share", share, ",readonly=on")]
