# SPDX-License-Identifier: GPL-2.0
"""Checks with a VMM, and of the Debian packages."""
import gzip
import re
import shutil
import subprocess
import time

from testbed.checks.tally import booted, command, kernel, result
from testbed.machine.initramfs import user_space
from testbed.machine.job import Job, Share
from testbed.machine.topology import Topology
from testbed.paths import BUILD, MACHINE, REPO, RUNS, image
from testbed.process import output
from testbed.scenarios.vmm import FOUR, LIBVIRT, MACHINES

DEB_NAMES = ["linux-headers-*-smmu-domains", "linux-image-*-smmu-domains"]


def demo() -> None:
    """the demonstration: I/O of a VM through its vSMMUs"""
    if not kernel("bench"):
        return
    start = time.monotonic()
    run = subprocess.run([REPO / "scripts/demo.py", "--short"], check=False)
    result("demonstration", "see above" if run.returncode else "", start)


def vmm() -> None:
    """a VMM: guest reset, hot-plug, disabled vSMMUs, killing the VMM; RMRs"""
    if not kernel("check") or not kernel("bench"):
        return
    for machine in MACHINES:
        # Four SMMUs are too slow with lockdep, and the other machines cover lockdep.
        flavour = "bench" if machine in (FOUR, LIBVIRT) else "check"
        booted(machine.run(image(flavour), directory=RUNS / f"vmm-{machine.name}"))


def deb() -> None:
    """Debian packages of the bench configuration: build, install in an arm64 root, boot"""
    if not kernel("bench") or not command("deb", REPO / "scripts/deb", BUILD / "bench/.config"):
        return
    packages = sorted((BUILD / "deb").glob("*.deb"))
    names = [package.name.split("_")[0] for package in packages]
    right = [re.sub(r"-[\d.]+-", "-*-", name) for name in names] == DEB_NAMES
    result(f"deb: {' '.join(names)}", "" if right else "not these two")
    root = BUILD / "deb/root"
    shutil.rmtree(root, ignore_errors=True)
    output("cp", "-a", user_space(), root)              # keeps device nodes
    # The maintainer scripts run outside of that root, as arm64 programs cannot run here.
    if not command("deb: dpkg installs them", "dpkg", f"--root={root}", "--force-architecture",
                   "--force-script-chrootless", "--install", *packages):
        return
    has = output("dpkg-query", f"--root={root}", "-W", "-f", "${Package} ${Status}\n", *names)
    installed = has.splitlines() == [f"{name} install ok installed" for name in names]
    result("deb: dpkg has them installed", "" if installed else has)
    vmlinuz = next((root / "boot").glob("vmlinuz-*")).read_bytes()
    kernel_file = BUILD / "deb/Image"
    packed = vmlinuz[:2] == b"\x1f\x8b"
    kernel_file.write_bytes(gzip.decompress(vmlinuz) if packed else vmlinuz)
    booted(Job(Topology(smmus=2), kernel_file, (MACHINE / "deb.sh").read_text(), name="deb",
               shares=[Share("debian", root, readonly=False)], directory=RUNS / "deb").run())
