# SPDX-License-Identifier: GPL-2.0
"""Libvirt runs VMs with two and four vSMMUs; virsh unplugs, plugs and destroys under DMA."""
import re
import secrets
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from testbed.machine.smmu import NESTED
from testbed.paths import MACHINE, TREE
from testbed.scenarios.storeys import VMM_APPEND
from testbed.scenarios.vm import MEMORY, NVME, PATIENCE, VM, Middle

EXAMPLE = Path("Documentation/userspace-api/iommufd_arm_smmuv3.xml")


class Domain(VM):
    """A VM of libvirt with a vSMMU for each of the first SMMUs, defined by the example XML of
    the kernel's documentation."""

    def __init__(self, middle: Middle, smmus: int) -> None:
        self.bdfs = [middle.sh(f"devices {n} {NVME}").split()[0] for n in range(smmus)]
        super().__init__(middle, f"vm-libvirt-{smmus}", smmus)

    def start(self) -> None:
        self.where.mkdir()
        xml = domain_xml((TREE / EXAMPLE).read_text(), self.name, self.bdfs)
        (self.where / "domain.xml").write_text(xml)
        self.middle.sh(f"start_domain /out/{self.name}", timeout=4 * PATIENCE)

    def hostdev(self, number: int) -> str:
        """Write the XML of an assigned device and return its path for virsh."""
        devices = ElementTree.parse(self.where / "domain.xml").findall("devices/hostdev")
        (self.where / "hostdev.xml").write_bytes(ElementTree.tostring(devices[number]))
        return f"/out/{self.name}/hostdev.xml"

    def has(self, bdf: str) -> bool:
        """Whether a function of the host is assigned to the domain, according to libvirt."""
        found = ElementTree.fromstring(self.middle.sh("virsh dumpxml vsmmus"))
        return any(source(hostdev) == bdf for hostdev in found.findall("devices/hostdev"))

    def end(self, signal: str = "") -> None:
        self.middle.vm = None
        self.middle.sh("virsh destroy vsmmus; virsh undefine --nvram vsmmus")


def child(parent: Element, path: str) -> Element:
    found = parent.find(path)
    assert found is not None, f"no {path} in {parent.tag}"
    return found


def source(hostdev: Element) -> str:
    """The BDF of the host's function."""
    a = {name: int(value, 0) for name, value in child(hostdev, "source/address").attrib.items()}
    return f"{a['domain']:04x}:{a['bus']:02x}:{a['slot']:02x}.{a['function']:x}"


def domain_xml(example: str, name: str, bdfs: Sequence[str]) -> str:
    """The EXAMPLE with the functions BDFS, each behind a vSMMU. It boots the kernel and initrd
    of the share and has the channels of other guests."""
    domain = ElementTree.fromstring(example)
    devices = child(domain, "devices")
    behind = len(devices) // 2                      # elements of each vSMMU
    pattern = [ElementTree.tostring(device) for device in devices[:behind]]
    for n in range(2, len(bdfs)):
        devices.extend(shifted(text, n) for text in pattern)
    for hostdev, bdf in zip(devices.findall("hostdev"), bdfs):
        words = zip(("domain", "bus", "slot", "function"), re.split("[:.]", bdf))
        child(hostdev, "source/address").attrib.update({key: f"0x{value}" for key, value in words})
    child(domain, "memory").text = str(MEMORY)
    firmware = child(domain, "os")
    firmware.attrib.clear()
    for key, value in {"loader": "/run/code.fd", "nvram": "/run/vars.fd", "kernel": "/share/Image",
                       "initrd": "/share/initrd", "cmdline": VMM_APPEND}.items():
        ElementTree.SubElement(firmware, key).text = value
    child(firmware, "loader").attrib.update(readonly="yes", type="pflash")
    devices.extend(ElementTree.fromstring(f"""<devices>
        <serial type='file'><source path='/out/{name}/console.log'/></serial>
        <console type='pipe'><source path='/run/job'/><target type='virtio'/></console>
    </devices>"""))
    return ElementTree.tostring(domain, encoding="unicode")


def shifted(text: bytes, n: int) -> Element:
    """A device of the first vSMMU changed for vSMMU N, with other numbers of its two buses and
    of its root bus."""
    device = ElementTree.fromstring(text)
    for element in device.iter():
        if "busNr" in element.attrib:
            element.set("busNr", str(int(element.attrib["busNr"]) * (n + 1)))
        for key in {"index", "pciBus", "bus"} & set(element.keys()):
            element.set(key, str(int(element.attrib[key], 0) + 2 * n))
    return device


def run(m: Middle) -> None:
    m.sh(f"back_to_nvme {secrets.token_hex(8)}")
    m.sh((MACHINE / "libvirt.sh").read_text(), timeout=4 * PATIENCE)
    for smmus in (2, m.smmus):
        what = f"{smmus} vSMMUs"
        vm = Domain(m, smmus)
        check(m, vm, what)
        vm.sh("start_dma 0")
        last = vm.bdfs[-1]
        file = vm.hostdev(smmus - 1)
        m.sh(f"virsh detach-device vsmmus {file} --live")
        m.wait("the device is unplugged", lambda: not vm.has(last))
        left = m.stes()[last]
        m.expect(f"{what}, one device detached: its STE has no stage 2", not left.stage2, left)
        m.sh(f"virsh attach-device vsmmus {file} --live")
        m.expect(f"{what}: libvirt has the device again", vm.has(last))
        m.wait("the guest has the disk again", lambda: len(vm.sh("disks")) == vm.disks)
        m.dma_went_on(vm, f"{what}: DMA of the others went on")
        check(m, vm, f"{what}, after detach and attach")
        vm.sh("start_dma")
        vm.end()
        m.clean(f"{what}, after virsh destroy")


def check(m: Middle, vm: Domain, when: str) -> None:
    """All controllers of the domain do DMA through one stage-2 table."""
    m.check_dma(vm, when)
    every = m.stes()
    stes = [every[bdf] for bdf in vm.bdfs]
    m.expect(f"{when}: stage 1 and one stage-2 table for all",
             all(s.config == NESTED for s in stes) and len({s.s2ttb for s in stes}) == 1, stes)
