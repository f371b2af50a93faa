# SPDX-License-Identifier: GPL-2.0
"""A guest's SMMU is disabled, bypasses, aborts, and is enabled again."""
import itertools
from collections.abc import Callable

from testbed.machine import acpi
from testbed.machine.smmu import ABORT, NESTED, STAGE2
from testbed.scenarios.vm import NVME, TESTDEV, VM, Middle

TEST_DATA = 0x12345678
# Operations of a guest on its SMMU. Each returns the register.
OPERATIONS = {
    "disable": "CR0 = CR0 & 0xfffffffe\nReturn (CR0A)",
    "enable": "CR0 = CR0 | 1\nReturn (CR0A)",
    "abort": "GBPA = GBPA | 0x80100000\nReturn (GBPA)",
    "bypass": "GBPA = (GBPA & 0xffefffff) | 0x80000000\nReturn (GBPA)",
}


def register_table(smmus: int) -> bytes:
    """An SSDT with a device for each operation on each SMMU, since user space cannot access
    the registers. Reading the file 'sun' of the device performs the operation."""
    devices = "".join(f"""
        Device (S{smmu}O{n}) {{
            Name (_HID, "SMMU0001")
            Name (_UID, "{smmu}-{name}")
            OperationRegion (REGS, SystemMemory, {0xc000000 + 0x20000 * smmu:#x}, 0x48)
            Field (REGS, DWordAcc, NoLock, Preserve) {{
                Offset (0x20), CR0, 32, CR0A, 32, Offset (0x44), GBPA, 32
            }}
            Method (_SUN) {{ {body} }}
        }}""" for smmu in range(smmus) for n, (name, body) in enumerate(OPERATIONS.items()))
    return acpi.iasl('DefinitionBlock ("", "SSDT", 2, "SERIES", "REGISTER", 1) '
                     f'{{ Scope (\\_SB) {{{devices} }} }}')


def registers(vm: VM, smmu: int, operation: str) -> int:
    """Perform one of OPERATIONS in the guest. Returns the register."""
    file = f"$(dirname $(grep -lx {smmu}-{operation} /sys/bus/acpi/devices/SMMU0001:*/uid))/sun"
    return int(vm.sh(f"cat {file}")[0])


def dma_test(m: Middle, vm: VM) -> Callable[[str, int, bool], None]:
    """A test of the STE config of the first SMMU and of whether DMA is blocked."""
    pages, testdev = itertools.count(vm.scratch(), 0x1000), vm.functions(0, TESTDEV)[0]

    def dma(what: str, config: int, passes: bool) -> None:
        got = vm.testdev(testdev, next(pages))
        m.expect(f"{what}: DMA to a guest-physical address {'arrives' if passes else 'is stopped'}",
                 got == (passes, 0, TEST_DATA if passes else 0), got)
        configs = m.configs()
        m.expect(f"{what}: config {config} in the STEs of this SMMU, those of the other have stage "
                 "1", configs == [[config], [NESTED]], configs)

    return dma


def run(m: Middle) -> None:
    vm = m.running()
    picture = vm.at_reset
    m.expect("before the guest runs, every STE bypasses stage 1",
             {s.config for smmu in picture for s in smmu.stes.values()} == {STAGE2}, picture)
    dma = dma_test(m, vm)
    vm.sh("start_dma 1")
    # The nvme driver cannot shut down a controller without access to memory.
    for bdf in vm.functions(0, NVME):
        vm.sh(f"unbind {bdf}")
    dma("enabled", NESTED, False)
    # The VMM evaluates SMMUEN when GBPA is written.
    registers(vm, 0, "disable")
    registers(vm, 0, "bypass")
    dma("SMMUEN=0", STAGE2, True)
    m.expect("GBPA.ABORT is set", registers(vm, 0, "abort") >> 20 & 1)
    dma("SMMUEN=0, GBPA.ABORT=1", ABORT, False)
    m.expect("GBPA.ABORT is clear", not registers(vm, 0, "bypass") >> 20 & 1)
    dma("SMMUEN=0, GBPA.ABORT=0", STAGE2, True)
    m.expect("SMMUEN is set", registers(vm, 0, "enable") & 1)
    # The VMM evaluates an STE when it is invalidated.
    for bdf in vm.functions(0, ""):
        vm.sh(f"attach_again {bdf}")
    dma("enabled again", NESTED, False)
    m.dma_went_on(vm, "DMA behind the other vSMMU went on")
    m.check_nested(vm, "enabled again")
