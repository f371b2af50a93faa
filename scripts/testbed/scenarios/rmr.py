# SPDX-License-Identifier: GPL-2.0
"""Reserved memory regions (RMR) keep their 1:1 mapping; a function without one is blocked."""
from pathlib import Path

from testbed.machine import acpi
from testbed.machine.job import dsdt, iort
from testbed.machine.smmu import ABORT, BYPASS, ste_of
from testbed.machine.topology import Topology
from testbed.scenarios.vm import STOPPED, Middle

# The RID of the function and the address of the region, in a DIMM that is not used by the
# kernel. One region has no function, and one function has no region.
PAGE64K = 0x10000
RMRS = {"direct": (0x1200, 0xc0000000), "relaxable": (0x2200, 0xc0100000),
        "absent": (0x1210, 0xc0200000)}
NO_RMR = 0x1300
DIMM_OUTSIDE = ["-m", "slots=1,maxmem=8G", "-object", "memory-backend-ram,id=rmr,size=128M",
                "-device", f"pc-dimm,memdev=rmr,addr={RMRS['direct'][1]:#x}"]


def tables(topology: Topology, kernel: Path) -> dict[str, bytes]:
    """An IORT with the regions, and a DSDT that makes the kernel use them."""
    table = iort(topology, kernel)
    for kind, (rid, address) in RMRS.items():
        table = acpi.iort_with_rmr(table, rid, address, PAGE64K, kind == "relaxable")
    return {"iort": table, "dsdt": dsdt(topology, kernel)}


def config(m: Middle, rid: int) -> int:
    return ste_of(m.guest, m.routes, rid)[1].config


def bdf_of(rid: int) -> str:
    return f"0000:{rid >> 8:02x}:00.0"


def run(m: Middle) -> None:
    direct, relaxable = bdf_of(RMRS["direct"][0]), bdf_of(RMRS["relaxable"][0])
    there = {direct: RMRS["direct"][1], relaxable: RMRS["relaxable"][1],
             bdf_of(NO_RMR): RMRS["direct"][1]}
    bdfs = " ".join(there)

    def dma(when: str) -> None:
        said = [m.sh(f"testdev {bdf} {address:#x}").strip() for bdf, address in there.items()]
        m.expect(f"{when}: DMA to the regions arrives, without one it is stopped",
                 said == ["0", "0", STOPPED], said)

    absent = RMRS["absent"][0]
    m.expect("a StreamID without a device bypasses the SMMU as long as it has a region",
             (config(m, absent), config(m, absent + 1)) == (BYPASS, ABORT))
    for bdf, word in ((direct, "direct"), (relaxable, "direct-relaxable")):
        line = f"0x{there[bdf]:016x} 0x{there[bdf] + PAGE64K - 1:016x} {word}"
        said = m.sh(f"cat /sys/bus/pci/devices/{bdf}/iommu_group/reserved_regions")
        m.expect(f"the function has the region, {word}", line in said.split("\n"), said)
    dma("without a driver")
    m.sh(f"bind_vfio {bdfs}")
    dma("with vfio-pci")
    claims = [m.sh(f"vfio-claim $(vfio_cdev {bdf}) 'testdev {bdf} {address:#x}'").split("\n")[:-1]
              for bdf, address in there.items()]
    m.expect("vfio is refused the first and has the others, in whose DMA nothing is mapped",
             claims == [["claim 22"], *[["claim 0", "attach 0", STOPPED]] * 2], claims)
    dma("given back by vfio")
    m.sh(f"for bdf in {bdfs}; do echo $bdf >/sys/bus/pci/drivers/vfio-pci/unbind; done")
    dma("unbound from vfio-pci")
    remove(m, there)
    m.sh("echo 1 >/sys/bus/pci/rescan")
    dma("found again")
    m.leaks()


def remove(m: Middle, there: dict[str, int]) -> None:
    """Remove the functions, then let the devices do DMA."""
    bars = [int(m.sh(f"sed 's/ .*//;q' /sys/bus/pci/devices/{bdf}/resource"), 0) for bdf in there]
    for bdf, address in there.items():
        m.sh(f"testdev {bdf} {address:#x} arm; echo 1 >/sys/bus/pci/devices/{bdf}/remove")
    configs = [config(m, rid) for rid in (RMRS["direct"][0], RMRS["relaxable"][0], NO_RMR)]
    m.expect("removed, the first bypasses the SMMU and the others are blocked",
             configs == [BYPASS, ABORT, ABORT], configs)
    said = []
    for bar in bars:
        # The BARs still exist in QEMU. Reading the first register starts the DMA.
        m.guest.peek32(bar)
        said.append(m.guest.peek32(bar + 0x10))
    m.expect("and so does their DMA", said == [0, int(STOPPED, 16), int(STOPPED, 16)],
             [hex(s) for s in said])
