# SPDX-License-Identifier: GPL-2.0
"""Debian packages of the patched kernel, built by the kernel's target bindeb-pkg.

Run by scripts/deb in the toolbox, with the configuration on standard input and its name as
the argument."""
import platform
import re
import shutil
import sys
import time

from testbed.kernel import ENV, in_place, jobs, make
from testbed.paths import BUILD, TREE, Error, cli
from testbed.process import git
from testbed.series.base import version

OUT = BUILD / "deb"
VERSION = "-smmu-domains"
NEEDED = ("ARM64", "ACPI", "PCI", "EFI_STUB", "MODULES", "ARM_SMMU_V3", "ARM_SMMU_V3_IOMMUFD",
          "IOMMUFD", "VFIO", "VFIO_DEVICE_CDEV", "VFIO_PCI")
# Keys of the distribution, which are not available here
DISTRIBUTION = re.compile(r'^(CONFIG_SYSTEM_(?:TRUSTED|REVOCATION)_KEYS=).*', re.M)


def lacking(config: str) -> str:
    """The required options that are not set."""
    return " ".join(name for name in NEEDED
                    if not re.search(rf"^CONFIG_{name}=[ym]", config, re.M))


def environment() -> dict[str, str]:
    """The environment of the build. The version includes the number of patches."""
    number = version((TREE / "Makefile").read_text())
    count = git("rev-list", "--count", "base..HEAD")
    profiles = [*["cross"] * (platform.machine() != "aarch64"), f"pkg.linux{VERSION}.nokerneldbg"]
    return dict(ENV) | {
        "LOCALVERSION": VERSION, "KDEB_SOURCENAME": f"linux{VERSION}",
        "KDEB_CHANGELOG_DIST": "unstable", "KDEB_COMPRESS": "gzip",
        "KDEB_PKGVERSION": f"{number}-{count}", "DEB_BUILD_PROFILES": " ".join(profiles)}


def build(config: str) -> None:
    for program in ("dpkg-buildpackage", "dh_testdir", "rsync"):
        if not shutil.which(program):
            raise Error("bindeb-pkg needs dpkg-dev, debhelper and rsync: install them or leave "
                        "TOOLBOX unset")
    (OUT / "kernel").mkdir(parents=True, exist_ok=True)
    for old in OUT.glob("*.deb"):
        old.unlink()
    settings = OUT / "kernel/.config"
    settings.write_text(DISTRIBUTION.sub(r'\1""', config) +
                        "# CONFIG_LOCALVERSION_AUTO is not set\n")
    log, env, start = OUT / "build.log", environment(), time.monotonic()
    log.write_text("")
    prefix, source, out = in_place(TREE, OUT)
    command = [*prefix, "make", "-C", source, f"O={out}/kernel"]
    make("deb, configuration", [*command, "olddefconfig"], log, env)
    if missing := lacking(settings.read_text()):
        raise Error(f"with v7.3 this configuration lacks {missing}; see what they depend on")
    # -d: ignore build dependencies, whose names differ for a cross build.
    make("deb", [*command, f"-j{jobs()}", "DPKG_FLAGS=-d", "bindeb-pkg"], log, env)
    # This package would replace the one of Debian.
    for file in OUT.glob("linux-libc-dev_*.deb"):
        file.unlink()
    print(f"deb: made in {time.monotonic() - start:.0f} s")
    print("\n".join(str(file) for file in sorted(OUT.glob("*.deb"))))


def main() -> int:
    config, name = sys.stdin.read(), f"CONFIG={sys.argv[1]}"
    if not re.search(r"^CONFIG_[A-Z0-9_]*=", config, re.M):
        raise Error(f"{name} is not a configuration of a kernel")
    if missing := lacking(config):
        raise Error(f"{name} lacks {missing}; set them in a copy, with build/linux/scripts/config "
                    "--file COPY -e NAME")
    if "--dry" not in sys.argv[2:]:
        if not TREE.is_dir():
            raise Error("there is no build/linux yet; run 'make apply'")
        build(config)
    return 0


if __name__ == "__main__":
    cli(main)
