#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""What a real VMM does to the driver beside what the demonstration shows.

As in demo.py: the emulated machine, on it the kernel under test, on that
Debian's own arm64 QEMU with vSMMUs. Each scenario is driven from here: scripts
for the kernel under test and lines for the shell of the guest (machine/
vmm-middle.sh, vmm-guest.sh), commands for the monitors of both QEMUs. What counts
is looked up in the stream tables and stage-2 tables that the SMMUs use, and in
the driver's files in debugfs; DMA is that of NVMe controllers, which demo-dma
checks, and of iommu-testdev.

After the scenarios of a machine no VMM is left. Then no SMMU may have a VMID, the
controllers have to work with their own driver, and kmemleak, where the kernel has
it, must have found nothing.

The guest always boots the kernel of build/bench, which is faster.
"""
import argparse
import contextlib
import itertools
import json
import re
import secrets
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from xml.etree import ElementTree

import machine
import results
import vsmmu
from machine import BUILD, REPO, Error, Result, Topology

MEMORY = 768                    # MiB of the guest
PATIENCE = 120                  # seconds for one step, on a busy host
PLUGGED = 8 << 20
DIMM = 64 << 20
STOPPED, PASSED = "dead0002", ("dead0004", "0")     # what testdev says
TEST_DATA = 0x12345678
EXAMPLE = "Documentation/userspace-api/iommufd_arm_smmuv3.xml"
# The words of an STE's config
ABORT, BYPASS, STAGE1, STAGE2, NESTED = 0, 4, 5, 6, 7
# Plugged memory is there for DMA only. Without ASPM this kernel does not ask the
# firmware for PCIe hot-plug; the ports have no more room than their devices need.
APPEND = (vsmmu.GUEST_APPEND.replace("online_movable", "offline")
          + " pcie_ports=native pci=hpmmiosize=1M,hpmmioprefsize=0,hpiosize=0")
# Reserved memory regions: the RID of the function and the address, in a DIMM of
# which the kernel does not know. One region has no function, one function no region.
PAGE64K = 0x10000
RMRS = {"direct": (0x1200, 0xc0000000), "relaxable": (0x2200, 0xc0100000), "absent": (0x1210, 0xc0200000)}
NO_RMR = 0x1300
DIMM_OUTSIDE = ["-m", "slots=1,maxmem=8G", "-object", "memory-backend-ram,id=rmr,size=128M",
                "-device", f"pc-dimm,memdev=rmr,addr={RMRS['direct'][1]:#x}"]


# --- Registers of the guest's SMMUs ---------------------------------------

OPERATIONS = {
    "disable": "CR0 = CR0 & 0xfffffffe\nReturn (CR0A)",
    "enable": "CR0 = CR0 | 1\nReturn (CR0A)",
    "abort": "GBPA = GBPA | 0x80100000\nReturn (GBPA)",
    "bypass": "GBPA = (GBPA & 0xffefffff) | 0x80000000\nReturn (GBPA)",
}


def register_table(smmus):
    """An SSDT with a device for each thing that a guest is to do to an SMMU, which
    it does when its file 'sun' is read: user space cannot get at the registers."""
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
    with tempfile.TemporaryDirectory() as tmp:
        Path(tmp, "ssdt.asl").write_text(
            f'DefinitionBlock ("", "SSDT", 2, "SERIES", "REGISTER", 1) {{ Scope (\\_SB) {{{devices} }} }}')
        made = subprocess.run(["iasl", "-vs", "ssdt.asl"], cwd=tmp, capture_output=True, text=True)
        if made.returncode:
            raise Error(f"iasl: {made.stdout}{made.stderr}")
        return Path(tmp, "ssdt.aml").read_bytes()


# --- The kernel under test, and a VM on it --------------------------------

class Broken(Exception):
    """A scenario cannot go on."""


class Middle:
    """The kernel under test, which does what it is told."""

    def __init__(self, guest, routes, smmus, say, timeout):
        self.guest, self.routes, self.smmus, self.say = guest, routes, smmus, say
        self.deadline = time.monotonic() + timeout
        self.out, self.vm, self.number = guest.directory / "out", None, 0

    def wait(self, what, found, timeout):
        """What FOUND() gives, once that is something."""
        end = min(time.monotonic() + timeout, self.deadline)
        while not (value := found()):
            if self.guest.process.poll() is not None:
                raise Broken("the emulated machine died")
            if time.monotonic() > end:
                raise Broken(f"{what}: " + ("no time is left for the scenarios of this machine (--timeout)"
                                            if end == self.deadline else f"nothing after {timeout} s"))
            time.sleep(0.05)
        return value

    def sh(self, script, timeout=PATIENCE, good=True):
        """Run a script there; what it said."""
        (self.out / "do.new").write_text(script + "\n")
        (self.out / "do.new").rename(self.out / "do")
        self.wait(f"'{script}'", (self.out / "status").exists, timeout)
        status, said = int((self.out / "status").read_text()), (self.out / "said").read_text(errors="replace")
        (self.out / "status").unlink()
        if good and status:
            raise Broken(f"'{script}' ended with status {status}: {said.strip()}")
        return said

    def picture(self):
        return vsmmu.picture(self.guest, self.routes)

    def stes(self):
        """{BDF: STE} of all assigned functions."""
        return {bdf: ste for smmu in self.picture() for bdf, ste in smmu["stes"].items()}

    def configs(self):
        """The configs of the STEs of each SMMU."""
        return [sorted({ste["config"] for ste in smmu["stes"].values()}) for smmu in self.picture()]

    def debugfs(self):
        self.sh("rm -rf /out/debugfs; debugfs_files /out/debugfs", good=False)
        if not vsmmu.lines_of(self.out / "debugfs/0")[0]:
            raise Broken("the driver has no files in debugfs")
        return [vsmmu.debugfs(vsmmu.lines_of(self.out / f"debugfs/{n}")) for n in range(self.smmus)]

    def memory(self, address):
        """32 bits of the guest's memory, found through the stage-2 table of each
        nested SMMU; None where it leads nowhere."""
        found = set()
        for ste in self.stes().values():
            if ste["config"] in (STAGE2, NESTED):
                place = vsmmu.stage2_walk(lambda a: vsmmu.peek(self.guest, a)[0], ste, address)
                found.add(None if place is None else vsmmu.peek32(self.guest, place))
        if len(found) != 1:
            raise Broken(f"the stage-2 tables do not agree about {address:#x}: {found}")
        return found.pop()

    def running(self):
        """A VM whose guest has come up: this one's or, if it has none, a new one."""
        if not self.vm:
            self.number += 1
            VM(self, self.number)
        return self.vm


class VM:
    """A VMM and its guest."""

    def __init__(self, middle, number):
        self.middle, self.name = middle, f"vm{number}"
        self.where, self.asked, self.dimm, middle.vm = middle.out / self.name, 0, None, self
        middle.say(f"starting {self.name}")
        self.start()
        self.come_up()

    def start(self):
        self.middle.sh(f'start_vmm /out/{self.name} "$@"')
        self.answer("query-status")
        self.at_reset = self.middle.picture()
        self.answer("cont")

    def lines(self, name):
        return vsmmu.lines_of(self.where / name)

    def come_up(self, times=1, timeout=4 * PATIENCE):
        """Wait for the guest's shell."""
        try:
            self.middle.wait(f"{self.name}: the guest's shell", lambda: self.lines("job.log").count("##ready") >= times,
                             timeout)
        except Broken as broken:
            last = [l for l in self.lines("console.log") + self.lines("vmm.log") if l.strip()][-6:]
            raise Broken("\n".join([str(broken), *last]))
        said = self.lines("job.log")
        said = said[len(said) - said[::-1].index("##ready") - 1::-1]
        said = said[:next((i for i, l in enumerate(said) if l.startswith("##kernel")), None)]
        self.devices = [line.split()[1:] for line in said[::-1] if line.startswith("##device ")]

    def functions(self, smmu, code):
        """BDFs in the guest, by the vSMMU and the class."""
        return [d[0] for d in self.devices if int(d[1]) == smmu and d[4].startswith(code)]

    def messages(self):
        """What the VMM's monitor said, without a line that is not complete."""
        return [json.loads(line) for line in self.lines("qmp.log")[:-1] if line]

    def answer(self, command, timeout=PATIENCE, **arguments):
        """Ask the VMM's monitor."""
        self.asked += 1
        self.middle.sh("timeout 20 sh -c 'cat >/run/qmp.in' <<'EOF'\n" + json.dumps(
            {"execute": command, "arguments": arguments, "id": self.asked}) + "\nEOF")

        def found():
            return next((message for message in self.messages() if message.get("id") == self.asked), None)

        said = self.middle.wait(f"{self.name}: {command}", found, timeout)
        if "error" in said:
            raise Broken(f"the VMM refused {command}: {said['error']['desc']}")
        return said["return"]

    def event(self, name, timeout=PATIENCE, **data):
        """Wait for an event of the VMM with these data."""
        self.middle.wait(f"{self.name}: {name} {data}", lambda: any(
            message.get("event") == name and data.items() <= message["data"].items()
            for message in self.messages()), timeout)

    def sh(self, line, timeout=PATIENCE, good=True):
        """Run a line in the guest; the lines that it said."""
        before = len(self.lines("job.log")) - 1
        self.middle.sh(f"timeout 20 sh -c 'cat >/run/job.in' <<'EOF'\n{line}\nEOF")

        def found():
            said = self.lines("job.log")[before:-1]
            end = next((i for i, l in enumerate(said) if l.startswith("##did ")), None)
            return said[:end + 1] if end is not None else None

        *said, status = self.middle.wait(f"{self.name}: '{line}'", found, timeout)
        if good and status != "##did 0":
            raise Broken(f"{self.name}: '{line}' in the guest: {said} {status}")
        return [l for l in said if l]

    def registers(self, smmu, operation):
        """Let the guest do one of OPERATIONS; the register afterwards."""
        file = f"$(dirname $(grep -lx {smmu}-{operation} /sys/bus/acpi/devices/SMMU0001:*/uid))/sun"
        return int(self.sh(f"cat {file}")[0])

    def testdev(self, bdf, address):
        """One DMA to a guest-physical address: whether an SMMU let it pass, and what
        was in that memory before and after."""
        before = self.middle.memory(address)
        said = self.sh(f"testdev {bdf} {address:#x}")[-1]
        # It looks for the data at the same address of the emulated machine, where there
        # may be those of an earlier DMA. Where they are is seen in the guest's memory.
        if said not in (STOPPED, *PASSED):
            raise Broken(f"testdev {bdf} says {said}")
        return said in PASSED, before, self.middle.memory(address)

    def dma(self):
        """Stop the DMA in the background; how many there were, how many wrong."""
        line = [l for l in self.sh("stop_dma", good=False) if l.startswith("##dma ")]
        if not line:
            raise Broken(f"{self.name}: the DMA ended by itself: {self.sh('cat /tmp/dma')}")
        return tuple(map(int, line[0].split()[2:]))

    def scratch(self):
        """Guest-physical memory that the guest's kernel does not know of; plugged in
        when first asked for."""
        if not self.dimm:
            self.answer("object-add", **{"qom-type": "memory-backend-ram", "id": "scratch", "size": DIMM})
            self.answer("device_add", driver="pc-dimm", id="dimm", memdev="scratch")
            self.dimm = self.memory_device("dimm")
        return self.dimm

    def memory_device(self, name):
        device = next(d["data"] for d in self.answer("query-memory-devices") if d["data"].get("id") == name)
        return device.get("addr", device.get("memaddr"))

    def plug(self, size):
        """Let virtio-mem have SIZE bytes."""
        self.answer("qom-set", path="pluggable-memory", property="requested-size", value=size)
        self.middle.wait(f"{self.name}: virtio-mem of {size} bytes", lambda: self.answer(
            "qom-get", path="pluggable-memory", property="size") == size, PATIENCE)

    def end(self, signal=None):
        """Let the VMM end well, or kill it."""
        self.middle.vm = None
        if signal:
            self.middle.sh(f"kill -{signal} $vmm")
        else:
            self.answer("quit")
        self.middle.sh("wait $vmm", good=not signal)


# --- A VM of libvirt ------------------------------------------------------

class Domain(VM):
    """A VM that libvirt runs, from the XML that the kernel's documentation has as its
    example, with a vSMMU for each of the first SMMUs."""

    def __init__(self, middle, smmus):
        self.bdfs = [middle.sh(f"devices {smmu} 0x0108").split()[0] for smmu in range(smmus)]
        super().__init__(middle, f"-libvirt-{smmus}")

    def start(self):
        self.where.mkdir()
        (self.where / "domain.xml").write_text(domain_xml((BUILD / "linux" / EXAMPLE).read_text(), self.name, self.bdfs))
        self.middle.sh(f"start_domain /out/{self.name}", timeout=4 * PATIENCE)

    def hostdev(self, number):
        """The file with one of the assigned devices, as the path that virsh gets."""
        devices = ElementTree.parse(self.where / "domain.xml").findall("devices/hostdev")
        (self.where / "hostdev.xml").write_bytes(ElementTree.tostring(devices[number]))
        return f"/out/{self.name}/hostdev.xml"

    def has(self, bdf):
        """Does libvirt say that the running domain has a function of the host?"""
        found = ElementTree.fromstring(self.middle.sh("virsh dumpxml vsmmus"))
        return any(source(hostdev) == bdf for hostdev in found.findall("devices/hostdev"))

    def end(self, signal=None):
        self.middle.vm = None
        self.middle.sh("virsh destroy vsmmus; virsh undefine --nvram vsmmus")


def source(hostdev):
    """The BDF of the host's function."""
    a = {name: int(value, 0) for name, value in hostdev.find("source/address").attrib.items()}
    return f"{a['domain']:04x}:{a['bus']:02x}:{a['slot']:02x}.{a['function']:x}"


def domain_xml(example, name, bdfs):
    """The EXAMPLE with the functions BDFS, each behind a vSMMU, that boots the kernel
    and initrd of the share and has the channels of a guest of ours."""
    domain = ElementTree.fromstring(example)
    devices = domain.find("devices")
    behind = len(devices) // 2                      # elements of each vSMMU
    pattern = [ElementTree.tostring(device) for device in devices[:behind]]
    for n in range(2, len(bdfs)):
        for text in pattern:
            device = ElementTree.fromstring(text)
            for element in device.iter():
                # Two buses more, and a root bus with a number of its own
                if "busNr" in element.attrib:
                    element.set("busNr", str(int(element.get("busNr")) * (n + 1)))
                for key in {"index", "pciBus", "bus"} & set(element.keys()):
                    element.set(key, str(int(element.get(key), 0) + 2 * n))
            devices.append(device)
    for hostdev, bdf in zip(devices.findall("hostdev"), bdfs):
        address = hostdev.find("source/address")
        for key, value in zip(("domain", "bus", "slot", "function"), re.split("[:.]", bdf)):
            address.set(key, f"0x{value}")
    domain.find("memory").text = str(MEMORY)
    firmware = domain.find("os")
    firmware.attrib.clear()
    for key, value in {"loader": "/run/code.fd", "nvram": "/run/vars.fd", "kernel": "/share/Image",
                       "initrd": "/share/initrd", "cmdline": APPEND}.items():
        ElementTree.SubElement(firmware, key).text = value
    firmware.find("loader").attrib.update(readonly="yes", type="pflash")
    devices.extend(ElementTree.fromstring(f"""<devices>
        <serial type='file'><source path='/out/{name}/console.log'/></serial>
        <console type='pipe'><source path='/run/job'/><target type='virtio'/></console>
    </devices>"""))
    return ElementTree.tostring(domain, encoding="unicode")


# --- The scenarios --------------------------------------------------------

def libvirt(m, expect):
    """libvirt runs VMs with two and four vSMMUs; virsh unplugs, plugs and destroys under DMA"""
    m.sh(f"back_to_nvme {secrets.token_hex(8)}")
    m.sh((REPO / "machine/libvirt.sh").read_text(), timeout=4 * PATIENCE)
    for smmus in (2, m.smmus):
        vm = Domain(m, smmus)
        last = smmus - 1
        check_domain(m, vm, expect, f"{smmus} vSMMUs")
        vm.sh("start_dma 0")
        file = vm.hostdev(last)
        m.sh(f"virsh detach-device vsmmus {file} --live")
        m.wait("the device is unplugged", lambda: not vm.has(vm.bdfs[last]), PATIENCE)
        left = m.stes()[vm.bdfs[last]]
        expect(f"{smmus} vSMMUs, one device detached: its STE has no stage 2", left["config"] not in (STAGE2, NESTED), str(left))
        m.sh(f"virsh attach-device vsmmus {file} --live")
        expect(f"{smmus} vSMMUs: libvirt has the device again", vm.has(vm.bdfs[last]))
        m.wait("the guest has the disk again", lambda: len(vm.sh("disks")) == smmus, PATIENCE)
        done, wrong = vm.dma()
        expect(f"{smmus} vSMMUs: DMA of the others went on", done and not wrong, f"{done} DMAs, {wrong} wrong")
        check_domain(m, vm, expect, f"{smmus} vSMMUs, after detach and attach")
        vm.sh("start_dma")
        vm.end()
        clean(m, expect, f"{smmus} vSMMUs, after virsh destroy")


def check_domain(m, vm, expect, when):
    """All controllers of the domain do DMA through one stage-2 table."""
    disks = len(vm.sh("disks"))
    vm.sh("start_dma && sleep 2")
    done, wrong = vm.dma()
    expect(f"{when}: DMA of all controllers", disks == len(vm.bdfs) and done and not wrong,
           f"{disks} controllers, {done} DMAs, {wrong} wrong")
    stes = [m.stes()[bdf] for bdf in vm.bdfs]
    expect(f"{when}: stage 1 and one stage-2 table for all", all(s["config"] == NESTED for s in stes) and
           len({s["s2ttb"] for s in stes}) == 1, str(stes))


def reboot(m, expect):
    """the guest is reset in the middle of its DMA and comes back"""
    vm = m.running()
    vm.sh("start_dma")
    before = m.stes()
    vm.answer("stop")
    vm.answer("system_reset")
    m.wait("the reset", lambda: m.configs() == [[STAGE2]] * m.smmus, PATIENCE)
    at_reset = m.stes()
    expect("in a reset every STE bypasses stage 1, on the same stage-2 table and VMID",
           all(at_reset[bdf][word] == before[bdf][word] for bdf in before for word in ("s2ttb", "vmid")), str(at_reset))
    boots = vm.lines("job.log").count("##ready")
    vm.answer("cont")
    vm.come_up(boots + 1)
    check_dma(m, vm, expect, "after the reset")


def check_dma(m, vm, expect, when):
    """All controllers do DMA through stage 1 and stage 2."""
    disks = len(vm.sh("disks"))
    vm.sh("start_dma && sleep 2")
    done, wrong = vm.dma()
    expect(f"{when}: DMA of all controllers", disks == m.smmus and done and not wrong,
           f"{disks} controllers, {done} DMAs, {wrong} wrong")
    configs = m.configs()
    expect(f"{when}: the STEs of each SMMU have stage 1 and stage 2", all(c == [NESTED] for c in configs), str(configs))


def gbpa(m, expect):
    """a guest's SMMU is disabled, bypasses, aborts, is enabled again"""
    vm = m.running()
    picture = vm.at_reset
    expect("before the guest runs, every STE bypasses stage 1",
           {s["config"] for smmu in picture for s in smmu["stes"].values()} == {STAGE2}, str(picture))
    pages, testdev = itertools.count(vm.scratch(), 0x1000), vm.functions(0, "0x00ff")[0]
    vm.sh("start_dma 1")
    # Its driver could not say goodbye to a controller that does not reach memory.
    for bdf in vm.functions(0, "0x0108"):
        vm.sh(f"unbind {bdf}")

    def dma(what, config, passes):
        got = vm.testdev(testdev, next(pages))
        expect(f"{what}: DMA to a guest-physical address {'arrives' if passes else 'is stopped'}",
               got == (passes, 0, TEST_DATA if passes else 0), str(got))
        configs = m.configs()
        expect(f"{what}: config {config} in the STEs of this SMMU, those of the other have stage 1",
               configs == [[config], [NESTED]], str(configs))

    dma("enabled", NESTED, False)
    # The VMM looks at GBPA when it is written, and at SMMUEN then.
    vm.registers(0, "disable")
    vm.registers(0, "bypass")
    dma("SMMUEN=0", STAGE2, True)
    expect("GBPA.ABORT is set", vm.registers(0, "abort") >> 20 & 1)
    dma("SMMUEN=0, GBPA.ABORT=1", ABORT, False)
    expect("GBPA.ABORT is clear", not vm.registers(0, "bypass") >> 20 & 1)
    dma("SMMUEN=0, GBPA.ABORT=0", STAGE2, True)
    expect("SMMUEN is set", vm.registers(0, "enable") & 1)
    # And it looks at a guest's STE when that is invalidated.
    for bdf in vm.functions(0, ""):
        vm.sh(f"attach_again {bdf}")
    dma("enabled again", NESTED, False)
    done, wrong = vm.dma()
    expect("DMA behind the other vSMMU went on", done and not wrong, f"{done} DMAs, {wrong} wrong")
    check_dma(m, vm, expect, "enabled again")


def memory(m, expect):
    """memory comes and goes, and a balloon, while all controllers do DMA"""
    vm = m.running()
    vm.sh("start_dma")
    testdevs = [vm.functions(n, "0x00ff")[0] for n in range(m.smmus)]
    for bdf in testdevs:
        vm.sh(f"domain_type {bdf} identity")

    def dma(what, address, passes):
        got = [vm.testdev(bdf, address + 0x1000 * n) for n, bdf in enumerate(testdevs)]
        expect(f"{what}: DMA to it {'arrives' if passes else 'is stopped'}",
               all(g == ((True, 0, TEST_DATA) if passes else (False, None, None)) for g in got), str(got))

    plugged = vm.memory_device("pluggable-memory")
    for _ in range(2):
        dma("memory that is not plugged", plugged, False)
        vm.plug(PLUGGED)
        dma("memory that is plugged", plugged, True)
        vm.plug(0)
    dma("memory that was plugged", plugged, False)
    dma("a new DIMM", vm.scratch() + DIMM // 2, True)

    before = sum("unmap_dma " in l for l in vm.lines("vmm.trace"))
    for size in (MEMORY // 2, MEMORY):
        vm.answer("balloon", value=size << 20)
        m.wait(f"balloon to {size} MiB", lambda: vm.answer("query-balloon")["actual"] == size << 20, PATIENCE)
    # With vfio the VMM keeps what is in the balloon.
    after = sum("unmap_dma " in l for l in vm.lines("vmm.trace"))
    expect("a balloon takes no memory from the VM", after == before > 0, f"unmapped {before} times, then {after}")
    done, wrong = vm.dma()
    expect("DMA went on while memory changed", done and not wrong, f"{done} DMAs, {wrong} wrong")
    for bdf in testdevs:
        vm.sh(f"domain_type {bdf} DMA")


def hotplug(m, expect):
    """all functions behind a vSMMU are unplugged and plugged, while another does DMA"""
    vm = m.running()
    vm.sh("start_dma 0")
    before = m.debugfs()
    last = m.smmus - 1
    bdfs = m.sh(f"echo $(devices {last} 0x0108) $(devices {last} 0x00ff)").split()
    functions = vm.functions(last, "0x0108") + vm.functions(last, "0x00ff")
    for slot in range(len(bdfs)):
        vm.answer("device_del", id=f"vfio{last}.{slot}")
    for slot in range(len(bdfs)):
        vm.event("DEVICE_DELETED", device=f"vfio{last}.{slot}")
    files = m.debugfs()
    expect("the SMMU of the unplugged functions has no VMID", vmids(before[last]) and not vmids(files[last]),
           str(files[last]))

    def named(files):
        return any(entry["smmu"] == files[last]["smmu"] for entry in array(files[0]))

    expect("the array has no entry for it any more", named(before) and array(files[0]) and not named(files),
           f"{before[0]}, then {files[0]}")
    stes = {b: m.stes()[b] for b in bdfs}
    expect("their STEs have no stage 2", all(s["config"] not in (STAGE2, NESTED) for s in stes.values()), str(stes))
    # One after the other: the guest is still to find room for their registers.
    for slot, bdf in enumerate(bdfs):
        vm.answer("device_add", driver="vfio-pci", host=bdf, iommufd="iommufd0", bus=f"rp{last}.{slot}",
                  id=f"vfio{last}.{slot}")
        vm.sh(f"until [ -e /sys/bus/pci/devices/{functions[slot]}/iommu_group ]; do sleep 0.1; done; disks >/dev/null")
    files = m.debugfs()
    expect("plugged again, it has one", vmids(files[last]), str(files[last]))
    done, wrong = vm.dma()
    expect("DMA went on behind the other vSMMU", done and not wrong, f"{done} DMAs, {wrong} wrong")
    check_dma(m, vm, expect, "plugged again")
    tables = {s["s2ttb"] for s in m.stes().values()}
    expect("one stage-2 table", len(tables) == 1, str(tables))


def kill(m, expect):
    """the VMM is killed while all controllers do DMA and memory changes; another one runs well"""
    vm = m.running()
    check_dma(m, vm, expect, "before")
    vm.sh("start_dma")
    for size in (PLUGGED, 0, PLUGGED):
        vm.answer("qom-set", path="pluggable-memory", property="requested-size", value=size)
    vm.end(signal="KILL")
    clean(m, expect, "after kill -9")
    vm = m.running()
    check_dma(m, vm, expect, "a second VMM")


def rmr(m, expect):
    """reserved memory regions (RMR) keep their 1:1 mapping; a function without one is blocked"""
    direct, relaxable, none = (f"0000:{rid >> 8:02x}:00.0" for rid in (RMRS["direct"][0], RMRS["relaxable"][0], NO_RMR))
    there = {direct: RMRS["direct"][1], relaxable: RMRS["relaxable"][1], none: RMRS["direct"][1]}
    bdfs = " ".join(there)

    def config(rid):
        first, _, out, base = next(r for r in m.routes if r[0] <= rid <= r[1])
        return vsmmu.stream_table_entry(m.guest, base, rid - first + out)["config"]

    def dma(when):
        said = [m.sh(f"testdev {bdf} {address:#x}").strip() for bdf, address in there.items()]
        expect(f"{when}: DMA to the regions arrives, without one it is stopped", said == ["0", "0", STOPPED], str(said))

    expect("a StreamID without a device bypasses the SMMU as long as it has a region",
           (config(RMRS["absent"][0]), config(RMRS["absent"][0] + 1)) == (BYPASS, ABORT))
    for bdf, word in ((direct, "direct"), (relaxable, "direct-relaxable")):
        address = there[bdf]
        line = f"0x{address:016x} 0x{address + PAGE64K - 1:016x} {word}"
        said = m.sh(f"cat /sys/bus/pci/devices/{bdf}/iommu_group/reserved_regions")
        expect(f"the function has the region, {word}", line in said.split("\n"), said)
    dma("without a driver")
    m.sh(f"bind_vfio {bdfs}")
    dma("with vfio-pci")
    claims = [m.sh(f"vfio-claim $(vfio_cdev {bdf}) 'testdev {bdf} {address:#x}'").split("\n")[:-1]
              for bdf, address in there.items()]
    expect("vfio is refused the first and has the others, in whose DMA nothing is mapped",
           claims == [["claim 22"], *[["claim 0", "attach 0", STOPPED]] * 2], str(claims))
    dma("given back by vfio")
    m.sh(f"for bdf in {bdfs}; do echo $bdf >/sys/bus/pci/drivers/vfio-pci/unbind; done")
    dma("unbound from vfio-pci")

    bars = [int(m.sh(f"sed 's/ .*//;q' /sys/bus/pci/devices/{bdf}/resource"), 0) for bdf in there]
    for bdf, address in there.items():
        m.sh(f"testdev {bdf} {address:#x} arm; echo 1 >/sys/bus/pci/devices/{bdf}/remove")
    configs = [config(rid) for rid in (RMRS["direct"][0], RMRS["relaxable"][0], NO_RMR)]
    expect("removed, the first bypasses the SMMU and the others are blocked", configs == [BYPASS, ABORT, ABORT],
           str(configs))
    # The emulator can reach what is left of them. Reading the first register is the DMA.
    said = [(vsmmu.peek32(m.guest, bar), vsmmu.peek32(m.guest, bar + 0x10))[1] for bar in bars]
    expect("and so does their DMA", said == [0, int(STOPPED, 16), int(STOPPED, 16)], str([hex(s) for s in said]))
    m.sh("echo 1 >/sys/bus/pci/rescan")
    dma("found again")
    leaks(m, expect)


def vmids(file):
    return [tag for tag in file["tags"] if "vmid" in tag]


def array(file):
    """The entries of the domains that have a vSMMU."""
    return [e for tag in vmids(file) for e in file["domains"].get(tag.get("domain"), [])]


def clean(m, expect, when):
    """No VM is left in the driver."""
    files = m.debugfs()
    left = [line for file in files for line in vmids(file) + [t for t in file["tags"] if "unowned" in t] +
            [e for entries in file["domains"].values() for e in entries if e["type"] != "S1_ASID"]]
    expect(f"{when}: no SMMU has a VMID, lost an id or lists a stage-2 domain", not left, str(left))
    stes = m.stes()
    expect(f"{when}: no STE has a stage 2", all(s["config"] not in (STAGE2, NESTED) for s in stes.values()), str(stes))


def leaks(m, expect):
    """A scan for leaks, where the kernel can do it."""
    if m.sh("ls /sys/kernel/debug/kmemleak", good=False).startswith("/sys"):
        said = m.sh("leaks")
        expect("at the end: kmemleak found nothing", "##problem" not in said, said[:2000])


def aftermath(m, expect):
    """What has to be so when no VM is left."""
    if m.vm:
        m.vm.end()
    clean(m, expect, "at the end")
    m.sh(f"back_to_nvme {secrets.token_hex(8)}")
    expect("at the end: the controllers work with their own driver", True)
    leaks(m, expect)


MACHINES = {"two": Topology(smmus=2, testdev=1, virt=True, mem=3072), "four": Topology(smmus=4, virt=True, mem=3072),
            "rmr": Topology(smmus=2, testdev=2), "libvirt": Topology(smmus=4, virt=True, mem=3072)}
WHERE = {"two": (gbpa, memory, hotplug, reboot), "four": (kill,), "rmr": (rmr,), "libvirt": (libvirt,)}
SCENARIOS = {s.__name__: s for scenarios in WHERE.values() for s in scenarios}


# --- The run --------------------------------------------------------------

def run(name, kernel, names=(), *, timeout=1500, verbose=False, directory=None):
    """Run the scenarios of one machine, or of these those that are named.
    TIMEOUT is theirs in seconds; booting and what comes behind have 300 more.
    Returns a Result."""
    topology, scenarios = MACHINES[name], [s for s in WHERE[name] if s.__name__ in names or not names]
    nonce = secrets.token_hex(16)
    result = Result(name)

    def say(text):
        if verbose:
            print(f"  {name}: {text}", flush=True)

    def watch(guest):
        if "##serving" not in guest.lines("job.log") or result.tests:
            return
        m = Middle(guest, machine.iort_routes(machine.iort(topology, kernel)), topology.smmus, say, timeout)
        for what in scenarios + [aftermath] * (rmr not in scenarios):
            say(what.__name__)
            begun = time.monotonic()

            def expect(test, good, why=""):
                say(f"{'ok' if good else 'not ok'} {test}")
                result.expect(f"{what.__name__}: {test}", good, why)

            try:
                what(m, expect)
            except Exception as broken:  # what was found before must not be lost
                result.expect(f"{what.__name__}: went to its end", False, f"{type(broken).__name__}: {broken}")
                with contextlib.suppress(Exception):
                    if m.vm:
                        m.vm.end(signal="KILL")
            print(f"  {name}: {what.__name__} took {time.monotonic() - begun:.0f} s", flush=True)
        (m.out / "do").write_text("exit 0\n")

    more = dict(name=f"vmm-{name}", timeout=timeout + 300, verbose=verbose, watch=watch, directory=directory, tests=False)
    with tempfile.TemporaryDirectory() as tmp:
        for program in ("testdev", "vfio-claim"):
            machine.program(program, tmp)
        if rmr in scenarios:
            iort = machine.iort(topology, kernel)
            for kind, (rid, address) in RMRS.items():
                iort = machine.iort_with_rmr(iort, rid, address, PAGE64K, kind == "relaxable")
            tables = {"iort": iort, "dsdt": machine.dsdt(topology, kernel)}
            got = machine.run(topology, kernel, (REPO / "machine/vmm-middle.sh").read_text(), files=tmp,
                              upgrade=tables, extra=DIMM_OUTSIDE, **more)
        else:
            middle = f"VMM_MEM={MEMORY}M VMM_APPEND='{APPEND}'\n" + vsmmu.middle("vmm-middle.sh")
            inner = f"NONCE={nonce}\n" + (REPO / "machine/vmm-guest.sh").read_text()
            tables = machine.acpi_tables({"ssdt": register_table(topology.smmus)})
            with vsmmu.shares(machine.kernel_image(BUILD / "bench"), inner, ["demo-dma", "testdev"], tables,
                              ["packages-libvirt"] * (libvirt in scenarios)) as shares:
                got = machine.run(topology, kernel, middle, shares=shares, **more)
    got.add(result)
    if not result.tests:
        got.problems.append("no scenario ran")
    for log in sorted(Path(got.directory).glob("out/vm*/console.log")):
        got.problems += [f"guest of {log.parent.name}: {p}" for p in results.scan_log(vsmmu.lines_of(log))]
    return got


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="scenarios:\n" + "\n".join(f"  {n:10}{s.__doc__}" for n, s in SCENARIOS.items()))
    parser.add_argument("names", nargs="*", metavar="SCENARIO", help="only these (default: all)")
    parser.add_argument("--kernel", default="check", metavar="FLAVOUR",
                        help="the kernel under test: a flavour below build/, or an Image (default check)")
    parser.add_argument("--timeout", type=int, default=1500, metavar="SECONDS",
                        help="for the scenarios of each machine (default 1500)")
    parser.add_argument("--keep", metavar="DIR", help="keep logs, traces and images there")
    parser.add_argument("--dry", action="store_true", help="only check the arguments")
    parser.add_argument("-v", "--verbose", action="store_true", help="show each step")
    args = parser.parse_args()
    for name in args.names:
        if name not in SCENARIOS:
            raise Error(f"no scenario is called {name}: there are {', '.join(SCENARIOS)}")
    if args.dry:
        return 0
    kernel = Path(args.kernel) if "/" in args.kernel else BUILD / args.kernel / "arch/arm64/boot/Image"
    status = 0
    for name, scenarios in WHERE.items():
        if args.names and not any(s.__name__ in args.names for s in scenarios):
            continue
        keep = Path(args.keep) / name if args.keep else None
        result = run(name, machine.kernel_image(kernel), args.names, timeout=args.timeout, verbose=args.verbose,
                     directory=keep)
        status |= machine.report(result, keep=bool(keep))
    return status


if __name__ == "__main__":
    sys.exit(machine.cli(main))
