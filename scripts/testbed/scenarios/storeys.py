# SPDX-License-Identifier: GPL-2.0
"""The two levels above the emulated machine: the kernel under test runs Debian's arm64
QEMU, which runs a guest."""
import contextlib
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from testbed.machine import initramfs
from testbed.machine.job import Share
from testbed.paths import MACHINE

# Only warnings of the guest's kernel log, as each character is an exit to the VMM
GUEST_APPEND = "console=ttyAMA0 loglevel=5 panic=-1 kunit.enable=0 memhp_default_state="
# Memory plugged by a VMM of the scenarios is for DMA only. Without ASPM this kernel does not
# request PCIe hot-plug from the firmware. The ports have only as much space as required.
VMM_APPEND = (GUEST_APPEND + "offline pcie_ports=native "
              "pci=hpmmiosize=1M,hpmmioprefsize=0,hpiosize=0")


def middle(name: str) -> str:
    """The job of the kernel under test that starts a VMM."""
    return "".join((MACHINE / part).read_text() for part in ("vmm.sh", name))


@contextlib.contextmanager
def shares(kernel: Path, inner: str, programs: Sequence[str], tables: bytes = b"",
           packages: Sequence[str] = ()) -> Iterator[list[Share]]:
    """The 9p shares of the kernel under test, with the VMM and PACKAGES (lists in machine/).
    The guest of the VMM boots KERNEL with ACPI TABLES (an archive) and runs the job INNER,
    which uses PROGRAMS."""
    with tempfile.TemporaryDirectory() as tmp:
        share = Path(tmp)
        shutil.copy(kernel, share / "Image")
        made = {f"bin/{name}": initramfs.script(initramfs.compiled(name, share))
                for name in programs}
        files = initramfs.base_files(inner) | made
        (share / "initrd").write_bytes(tables + initramfs.cpio(files))
        yield [Share("debian", initramfs.user_space(*packages)), Share("share", share)]
