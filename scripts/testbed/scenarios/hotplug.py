# SPDX-License-Identifier: GPL-2.0
"""All functions behind a vSMMU are unplugged and plugged, while another does DMA."""
from testbed.scenarios.vm import NVME, TESTDEV, VM, Middle, array


def run(m: Middle) -> None:
    vm = m.running()
    vm.sh("start_dma 0")
    last = m.smmus - 1
    bdfs = m.sh(f"echo $(devices {last} {NVME}) $(devices {last} {TESTDEV})").split()
    functions = vm.functions(last, NVME) + vm.functions(last, TESTDEV)
    unplug(m, vm, last, bdfs)
    # One after the other, so that the guest can allocate space for the BARs.
    for slot, (bdf, function) in enumerate(zip(bdfs, functions)):
        vm.answer("device_add", driver="vfio-pci", host=bdf, iommufd="iommufd0",
                  bus=f"rp{last}.{slot}", id=f"vfio{last}.{slot}")
        vm.sh(f"until [ -e /sys/bus/pci/devices/{function}/iommu_group ]; do sleep 0.1; done; "
              "disks >/dev/null")
    file = m.debugfs()[last]
    m.expect("plugged again, it has one", file.vmids(), file)
    m.dma_went_on(vm, "DMA went on behind the other vSMMU")
    m.check_nested(vm, "plugged again")
    tables = {ste.s2ttb for ste in m.stes().values()}
    m.expect("one stage-2 table", len(tables) == 1, tables)


def unplug(m: Middle, vm: VM, last: int, bdfs: list[str]) -> None:
    """Unplug all functions behind the last SMMU and check the driver's state."""
    before = m.debugfs()
    for slot in range(len(bdfs)):
        vm.answer("device_del", id=f"vfio{last}.{slot}")
    for slot in range(len(bdfs)):
        vm.event("DEVICE_DELETED", device=f"vfio{last}.{slot}")
    files = m.debugfs()
    name = files[last].smmu
    m.expect("the SMMU of the unplugged functions has no VMID",
             before[last].vmids() and not files[last].vmids(), files[last])
    entries = [[entry["smmu"] for entry in array(some[0])] for some in (before, files)]
    m.expect("the array has no entry for it any more",
             name in entries[0] and entries[1] and name not in entries[1],
             f"{before[0]}, then {files[0]}")
    stes = m.stes()
    m.expect("their STEs have no stage 2", not any(stes[bdf].stage2 for bdf in bdfs), stes)
