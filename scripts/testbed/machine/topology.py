# SPDX-License-Identifier: GPL-2.0
"""The hardware of the emulated machine, as QEMU's arguments.

The machine is QEMU's arm64 "virt" with GICv3 and ITS, EFI and ACPI. Root bus
pcie.0 has no SMMU and is used for the channels to the host. Each SMMUv3 has a separate
root bus (pxb-pcie, bus number 16 * (n + 1)). Devices behind it are on pcie-root-ports,
since a pxb supports only bridges. SMMUs are numbered in the order of their buses: first
the nested ones, then the one with stage 1 only and the one with stage 2 only.
"""
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from testbed.paths import Error

QEMU = os.environ.get("QEMU", "qemu-system-aarch64")
QEMU_OLDEST = (10, 2)
FIRMWARE = ("/usr/share/qemu-efi-aarch64/QEMU_EFI.fd", "/usr/share/AAVMF/AAVMF_CODE.fd",
            "/usr/share/edk2/aarch64/QEMU_EFI.fd")
BUSES_PER_SMMU = 16             # the root bus itself and 15 root ports
MAX_SMMUS = 12
IMAGE_SIZE = 16 << 20


@dataclass(frozen=True)
class Topology:
    """The configuration of a machine."""
    smmus: int = 2              # nested SMMUs (stage 1 and stage 2)
    nvme: int = 1               # NVMe controllers behind each SMMU
    testdev: int = 0            # iommu-testdev functions behind each SMMU
    s1only: bool = False        # one more SMMU that has stage 1 only
    s2only: bool = False        # one more SMMU that has stage 2 only
    pair: bool = False          # two more NVMe controllers behind the first SMMU, in one group
    ats: bool = False           # a virtio function with an ATS capability behind the first SMMU
    virt: bool = False          # EL2 for the guest, so that it can run KVM
    cpus: int = 2
    mem: int = 2048             # MiB
    icount: bool = False        # the clock counts instructions, 1 ns each; CPUs take turns

    def __post_init__(self) -> None:
        stages = len(self.stages())
        ports = self.nvme + self.testdev + self.pair + self.ats
        if self.smmus < 0 or not 1 <= stages <= MAX_SMMUS:
            raise Error(f"{stages} SMMUs asked for: this machine has 1 to {MAX_SMMUS}")
        if min(self.nvme, self.testdev) < 0 or not 1 <= ports < BUSES_PER_SMMU:
            raise Error(f"{ports} devices per SMMU asked for: "
                        f"a root bus has 1 to {BUSES_PER_SMMU - 1}")
        if not 1 <= self.cpus <= 16 or self.mem < 512:
            raise Error("a machine needs 1 to 16 CPUs and at least 512 MiB")

    def stages(self) -> list[str]:
        return ["nested"] * self.smmus + ["1"] * self.s1only + ["2"] * self.s2only

    def serials(self) -> list[list[str]]:
        """The NVMe serial numbers of each SMMU, which are also the image names."""
        return [[f"smmu{s}-nvme{n}" for n in range(self.nvme)]
                for s in range(len(self.stages()))]

    def disks(self) -> list[str]:
        return [serial for behind in self.serials() for serial in behind]

    def board(self) -> list[str]:
        """QEMU's arguments for CPU and memory."""
        virt = ",virtualization=on" if self.virt else ""
        accel = (["tcg,thread=single", "-icount", "shift=0"] if self.icount else
                 ["tcg,thread=multi"])
        return ["-M", f"virt,gic-version=3,its=on,iommu=none{virt}",
                "-cpu", "max,pauth=off", "-accel", *accel,
                "-smp", str(self.cpus), "-m", f"{self.mem}M"]

    def devices(self) -> list[str]:
        """QEMU's arguments for the SMMUs and the devices behind them."""
        args: list[str] = []
        for s, (stage, serials) in enumerate(zip(self.stages(), self.serials())):
            bus = f"pcie.{s + 1}"
            args += ["-device", f"pxb-pcie,id={bus},bus=pcie.0,bus_nr={BUSES_PER_SMMU * (s + 1)}",
                     "-device", f"arm-smmuv3,primary-bus={bus},stage={stage}"]
            behind = [f"nvme,serial={serial},drive={serial}" for serial in serials]
            for serial in serials:
                args += ["-drive", f"if=none,id={serial},format=raw,file=images/{serial}.img"]
            behind += ["iommu-testdev"] * self.testdev
            for p, device in enumerate(behind):
                args += self.port(s, f"rp{s}.{p}", p) + ["-device", f"{device},bus=rp{s}.{p}"]
        slot = self.nvme + self.testdev
        if self.pair:
            # Functions of one device without ACS are in one group.
            args += self.port(0, "pair", slot)
            for f in range(2):
                args += ["-drive", f"if=none,id=pair{f},driver=null-co,size={IMAGE_SIZE}",
                         "-device", f"nvme,serial=pair{f},drive=pair{f},bus=pair,addr=0.{f},"
                         "multifunction=on"]
        if self.ats:
            # QEMU has no other device with an ATS capability. Its class is unique here.
            args += self.port(0, "ats", slot + self.pair)
            args += ["-device", "virtio-scsi-pci,bus=ats,iommu_platform=on,ats=on"]
        return args

    @staticmethod
    def port(smmu: int, name: str, slot: int) -> list[str]:
        return ["-device", f"pcie-root-port,id={name},bus=pcie.{smmu + 1},chassis={smmu + 1},"
                f"slot={slot}"]


def qemu_version() -> str:
    """The version of QEMU. Fail if it is too old."""
    try:
        run = subprocess.run([QEMU, "--version"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        raise Error(f"cannot run '{QEMU}': use 'scripts/toolbox COMMAND', or set QEMU= to one that "
                    "emulates arm64") from None
    name = run.stdout.splitlines()[0]
    found = re.search(r"version (\d+)\.(\d+)", name)
    if not found or (int(found[1]), int(found[2])) < QEMU_OLDEST:
        raise Error(f"{QEMU} is '{name}', too old: several SMMUs need "
                    f"{QEMU_OLDEST[0]}.{QEMU_OLDEST[1]}; use 'scripts/toolbox' or set QEMU=")
    return name


def firmware() -> Path:
    found = [Path(f) for f in FIRMWARE if Path(f).exists()] or [Path(FIRMWARE[0])]
    path = Path(os.environ.get("QEMU_EFI") or found[0])
    if not path.is_file():
        raise Error(f"no EFI firmware at {path}: install qemu-efi-aarch64 or set QEMU_EFI=")
    return path


def kernel_image(path: Path) -> Path:
    """The arm64 Image PATH, or the one in the build directory PATH."""
    if path.is_dir():
        path = path / "arch/arm64/boot/Image"
    if not path.is_file():
        raise Error(f"no kernel at {path}: run 'make kernels'")
    with open(path, "rb") as file:
        if file.read(64)[56:60] != b"ARM\x64":
            raise Error(f"{path} is not an arm64 Image: give .../arch/arm64/boot/Image")
    return path.resolve()
