# SPDX-License-Identifier: GPL-2.0
"""Memory hot-plug and a balloon during DMA of all controllers."""
from testbed.scenarios.gbpa import TEST_DATA
from testbed.scenarios.vm import DIMM, MEMORY, TESTDEV, Middle

PLUGGED = 8 << 20


def run(m: Middle) -> None:
    vm = m.running()
    vm.sh("start_dma")
    testdevs = [vm.functions(n, TESTDEV)[0] for n in range(m.smmus)]
    for bdf in testdevs:
        vm.sh(f"domain_type {bdf} identity")

    def dma(what: str, address: int, passes: bool) -> None:
        got = [vm.testdev(bdf, address + 0x1000 * n) for n, bdf in enumerate(testdevs)]
        want = (True, 0, TEST_DATA) if passes else (False, None, None)
        m.expect(f"{what}: DMA to it {'arrives' if passes else 'is stopped'}",
                 all(g == want for g in got), got)

    plugged = vm.memory_device("pluggable-memory")
    for _ in range(2):
        dma("memory that is not plugged", plugged, False)
        vm.plug(PLUGGED)
        dma("memory that is plugged", plugged, True)
        vm.plug(0)
    dma("memory that was plugged", plugged, False)
    dma("a new DIMM", vm.scratch() + DIMM // 2, True)

    def unmapped() -> int:
        return sum("unmap_dma " in line for line in vm.lines("vmm.trace"))

    before = unmapped()
    for size in (MEMORY // 2 << 20, MEMORY << 20):
        vm.answer("balloon", value=size)
        m.wait(f"balloon to {size >> 20} MiB",
               lambda: vm.answer("query-balloon")["actual"] == size)
    # With vfio the VMM does not free memory in the balloon.
    after = unmapped()
    m.expect("a balloon takes no memory from the VM", after == before > 0,
             f"unmapped {before} times, then {after}")
    m.dma_went_on(vm, "DMA went on while memory changed")
    for bdf in testdevs:
        vm.sh(f"domain_type {bdf} DMA")
