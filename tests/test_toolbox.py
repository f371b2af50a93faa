# SPDX-License-Identifier: GPL-2.0
"""Tests of invalid input for scripts/toolbox, kernel and check: one line, a bad status,
and no incomplete files for later runs."""
import fcntl
import hashlib
import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent


class BadInput(unittest.TestCase):
    def setUp(self):
        tmp = tempfile.TemporaryDirectory()
        self.addCleanup(tmp.cleanup)
        self.tmp = pathlib.Path(tmp.name)
        self.env = {"PATH": os.environ["PATH"], "HOME": tmp.name, "CACHE": f"{tmp.name}/cache", "LANG": "C.UTF-8"}

    def refused(self, words, *args, before=(), **env):
        run = subprocess.run([*before, *args], env=self.env | env, cwd=ROOT, text=True, capture_output=True)
        self.assertNotEqual(run.returncode, 0, run.stdout + run.stderr)
        self.assertNotIn("Traceback", run.stderr)
        self.assertRegex(run.stderr.strip().splitlines()[-1], words)
        self.assertEqual([], [p for p in (self.tmp / "cache").glob("root-*") if p.is_dir() and ".tmp" not in p.name])

    def toolbox(self, words, *args, **kwargs):
        self.refused(words, "scripts/toolbox", *(args or ("true",)), **kwargs)

    def fake(self, name, says):
        (self.tmp / "bin").mkdir(exist_ok=True)
        (self.tmp / "bin" / name).write_text(f"#!/bin/sh\necho '{says}'\n")
        (self.tmp / "bin" / name).chmod(0o755)
        return f"{self.tmp}/bin:{os.environ['PATH']}"

    def test_unknown_option(self):
        self.toolbox("unknown option --frobnicate", "--frobnicate")

    def test_linux_is_no_directory(self):
        self.toolbox("LINUX=/no/such/tree is not a directory", LINUX="/no/such/tree")

    def test_linux_relative(self):
        self.toolbox("LINUX=linux must be an absolute path", LINUX="linux")

    def test_cache_relative(self):
        self.toolbox("CACHE=cache must be an absolute path", CACHE="cache")

    def test_unknown_toolbox(self):
        self.toolbox("TOOLBOX=docker is unknown", TOOLBOX="docker")

    def test_another_root_is_being_made(self):
        packages = hashlib.sha256((ROOT / "scripts/toolbox.packages").read_bytes()).hexdigest()[:12]
        (self.tmp / "cache" / f"root-{packages}").mkdir(parents=True)
        with (self.tmp / "cache/lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            subprocess.run(["scripts/toolbox"], cwd=ROOT, env=self.env, check=True, timeout=300)

    def test_host_qemu_too_old(self):
        path = self.fake("qemu-system-aarch64", "QEMU emulator version 7.2.1 (Debian)")
        self.toolbox("QEMU here is 7.2, but 10.2 is needed", TOOLBOX="host", PATH=path)

    def test_host_qemu_new_enough(self):
        path = self.fake("qemu-system-aarch64", "QEMU emulator version 10.2.0")
        subprocess.run(["scripts/toolbox", "true"], cwd=ROOT, env=self.env | {"TOOLBOX": "host", "PATH": path}, check=True)

    def test_host_without_compiler(self):
        (self.tmp / "bin").mkdir()
        for tool in ("sh", "dirname", "mkdir", "id"):
            (self.tmp / "bin" / tool).symlink_to(shutil.which(tool))
        self.toolbox("there is no qemu-system-aarch64 here", TOOLBOX="host", PATH=str(self.tmp / "bin"))

    def test_disk_full(self):
        (self.tmp / "cache").mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", self.tmp / "cache"], check=True)
        self.addCleanup(subprocess.run, ["umount", self.tmp / "cache"])
        self.toolbox("MB free, but 6000 MB are needed")

    def test_no_network(self):
        with tempfile.TemporaryDirectory(dir=ROOT / "build") as cache:  # /tmp may be small
            for _ in range(2):  # the second run does not use files of the first as a root
                self.toolbox("mmdebstrap failed.*check the network", MIRROR="http://127.0.0.1:1/debian", CACHE=cache)
                self.assertEqual([], list(pathlib.Path(cache).glob("root-*[0-9a-f]")))

    def test_too_old_a_debian(self):
        path = self.fake("mmdebstrap", "mmdebstrap 0.7.5")
        with tempfile.TemporaryDirectory(dir=ROOT / "build") as cache:
            self.toolbox("mmdebstrap here is too old; Debian 12 or 13 is needed", PATH=path, CACHE=cache)

    def test_no_root_and_no_user_namespaces(self):
        (self.tmp / "cache").mkdir()
        for where in (self.tmp, self.tmp / "cache"):
            where.chmod(0o777)
        self.toolbox("needs root, or user namespaces", before=("setpriv", "--reuid=65534", "--clear-groups"))

    def test_unknown_flavour(self):
        self.refused("unknown flavour frob", "scripts/kernel", "frob")

    def test_option_that_vanishes(self):
        config = self.tmp / "config"
        config.mkdir()
        # On arm64 the AMD page table, and so IOMMUFD_TEST, needs COMPILE_TEST.
        (config / "common.config").write_text("CONFIG_64BIT=y\nCONFIG_IOMMU_SUPPORT=y\nCONFIG_IOMMU_PT_AMDV1=y\n")
        (config / "vanishes.config").write_text("# CONFIG_64BIT is not set\nCONFIG_64BIT=y\n")
        self.addCleanup(shutil.rmtree, ROOT / "build/vanishes", True)
        self.refused("not as asked for: CONFIG_IOMMU_PT_AMDV1", "scripts/kernel", "vanishes", CONFIG=str(config))

    def test_unknown_check(self):
        self.refused("no check is called frob", "scripts/check", "frob")
        self.refused("no test is called kunti", "scripts/check", "--mutants", "kunti")

    def test_configuration_of_a_package(self):
        config = self.tmp / "config"
        for text, words in (("hello\n", "is not a configuration of a kernel"),
                            ("CONFIG_ARM64=y\nCONFIG_IOMMUFD=m\n# CONFIG_VFIO is not set\n", "lacks ACPI .* ARM_SMMU_V3_IOMMUFD VFIO ")):
            config.write_text(text)
            self.refused(words, "scripts/deb", str(config), TOOLBOX="inside")
        self.refused("no such file", "scripts/deb", str(self.tmp / "nothing"))
        self.refused("unknown option --frob", "scripts/deb", "--frob")
        self.refused("SMMUv3s are in arm64 machines only", "scripts/deb", str(config), ARCH="amd64")
        if os.uname().machine != "aarch64":
            self.refused("no configuration: give CONFIG=", "scripts/deb")

    def test_no_stress(self):
        for minutes in ("0", "-1"):
            self.refused("more than 0 minutes", "scripts/check", f"--stress={minutes}")
