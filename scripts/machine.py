#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""The emulated machine: its one description, and the harness that runs jobs on it.

The machine is QEMU's arm64 "virt" with GICv3 and ITS, EFI and ACPI. Root bus
pcie.0 has no SMMU and carries the channels to the harness. Each SMMUv3 sits on
a root bus of its own (pxb-pcie, bus number 16 * (n + 1)), with every device
behind it on a pcie-root-port, since a pxb takes only bridges. SMMUs are
numbered in the order of their buses: first the nested ones, then the
stage-1-only and the stage-2-only one.

Linux allows vSMMUs only where the IORT says that PCI can force write-back
caching (CANWBS). QEMU does not say so, so the table is read from the machine
once per topology, edited, cached, and handed to the kernel as an ACPI table
upgrade at the front of the initrd.

A job is a shell script that /init (machine/init) runs as /job; see
machine/job.sh for what it can use. It must report its results as (K)TAP.
"""
import argparse
import base64
import contextlib
import fcntl
import hashlib
import json
import os
import platform
import re
import shlex
import shutil
import signal
import socket
import stat
import struct
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import results

REPO = Path(__file__).resolve().parent.parent
BUILD = Path(os.environ.get("BUILD", REPO / "build"))
CACHE = Path(os.environ.get("CACHE") or
             Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "smmu-domains")
QEMU = os.environ.get("QEMU", "qemu-system-aarch64")
FIRMWARE = ("/usr/share/qemu-efi-aarch64/QEMU_EFI.fd", "/usr/share/AAVMF/AAVMF_CODE.fd",
            "/usr/share/edk2/aarch64/QEMU_EFI.fd")
QEMU_OLDEST = (10, 2)
BUSES_PER_SMMU = 16             # the root bus itself and 15 root ports
MAX_SMMUS = 12
IMAGE_SIZE = 16 << 20
APPEND = "console=ttyAMA0 earlycon loglevel=7 panic=-1"
HEARTBEAT = 15                  # seconds between signs of life
MONITOR = 60                    # seconds for an answer of QEMU's monitor
TABLES = 1                      # to be raised when what is edited in an ACPI table changes


class Error(Exception):
    """Something the user can mend; its text is one line that says how."""


# --- The machine ----------------------------------------------------------

@dataclass(frozen=True)
class Topology:
    """What may differ between two machines of ours."""
    smmus: int = 2              # nested SMMUs (stage 1 and stage 2)
    nvme: int = 1               # NVMe controllers behind each SMMU
    testdev: int = 0            # iommu-testdev functions behind each SMMU
    s1only: bool = False        # one SMMU more that has stage 1 only
    s2only: bool = False        # one SMMU more that has stage 2 only
    pair: bool = False          # two NVMe controllers more behind the first SMMU, in one group
    ats: bool = False           # a virtio function with an ATS capability behind the first SMMU, which has no ATS
    virt: bool = False          # EL2 for the guest, so that it can run KVM
    cpus: int = 2
    mem: int = 2048             # MiB
    icount: bool = False        # a clock that counts instructions, one a nanosecond, of CPUs that take turns

    def __post_init__(self):
        stages = len(self.stages())
        ports = self.nvme + self.testdev + self.pair + self.ats
        if self.smmus < 0 or not 1 <= stages <= MAX_SMMUS:
            raise Error(f"{stages} SMMUs asked for: this machine has 1 to {MAX_SMMUS}")
        if min(self.nvme, self.testdev) < 0 or not 1 <= ports < BUSES_PER_SMMU:
            raise Error(f"{ports} devices per SMMU asked for: "
                        f"a root bus here has 1 to {BUSES_PER_SMMU - 1}")
        if not 1 <= self.cpus <= 16 or self.mem < 512:
            raise Error("a machine needs 1 to 16 CPUs (--cpus) and at least 512 MiB (--mem)")

    def stages(self):
        return ["nested"] * self.smmus + ["1"] * self.s1only + ["2"] * self.s2only

    def serials(self):
        """The NVMe serial numbers of each SMMU, which are also the image names."""
        return [[f"smmu{s}-nvme{n}" for n in range(self.nvme)]
                for s in range(len(self.stages()))]

    def board(self):
        """QEMU's arguments for CPU and memory."""
        virt = ",virtualization=on" if self.virt else ""
        accel = ["tcg,thread=single", "-icount", "shift=0"] if self.icount else ["tcg,thread=multi"]
        return ["-M", f"virt,gic-version=3,its=on,iommu=none{virt}",
                "-cpu", "max,pauth=off", "-accel", *accel,
                "-smp", str(self.cpus), "-m", f"{self.mem}M"]

    def devices(self):
        """QEMU's arguments for the SMMUs and all that is behind them."""
        args = []
        for s, stage in enumerate(self.stages()):
            bus = f"pcie.{s + 1}"
            args += ["-device", f"pxb-pcie,id={bus},bus=pcie.0,bus_nr={BUSES_PER_SMMU * (s + 1)}",
                     "-device", f"arm-smmuv3,primary-bus={bus},stage={stage}"]
            behind = [f"nvme,serial={serial},drive={serial}" for serial in self.serials()[s]]
            for serial in self.serials()[s]:
                args += ["-drive", f"if=none,id={serial},format=raw,file=images/{serial}.img"]
            behind += ["iommu-testdev"] * self.testdev
            for p, device in enumerate(behind):
                port = f"rp{s}.{p}"
                args += ["-device", f"pcie-root-port,id={port},bus={bus},chassis={s + 1},slot={p}",
                         "-device", f"{device},bus={port}"]
        if self.pair:
            # Functions of one device without ACS cannot be told apart.
            args += ["-device", f"pcie-root-port,id=pair,bus=pcie.1,chassis=1,slot={len(behind)}"]
            for f in range(2):
                args += ["-drive", f"if=none,id=pair{f},driver=null-co,size={IMAGE_SIZE}",
                         "-device", f"nvme,serial=pair{f},drive=pair{f},bus=pair,addr=0.{f},multifunction=on"]
        if self.ats:
            # No other device of QEMU has the capability; this one has a class of its own.
            args += ["-device", f"pcie-root-port,id=ats,bus=pcie.1,chassis=1,slot={len(behind) + self.pair}",
                     "-device", "virtio-scsi-pci,bus=ats,iommu_platform=on,ats=on"]
        return args


def qemu_version():
    """QEMU's version, once it is known to be new enough."""
    try:
        out = subprocess.run([QEMU, "--version"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        raise Error(f"cannot run '{QEMU}': use 'scripts/toolbox {Path(sys.argv[0]).name} …' "
                    "or set QEMU= to one that emulates arm64")
    found = re.search(r"version (\d+)\.(\d+)", out)
    if not found or (int(found[1]), int(found[2])) < QEMU_OLDEST:
        raise Error(f"{QEMU} is '{out.splitlines()[0]}', too old: several SMMUs need "
                    f"{QEMU_OLDEST[0]}.{QEMU_OLDEST[1]}; use 'scripts/toolbox' or set QEMU=")
    return out.splitlines()[0]


def firmware():
    path = os.environ.get("QEMU_EFI") or next((f for f in FIRMWARE if Path(f).exists()), FIRMWARE[0])
    if not Path(path).is_file():
        raise Error(f"no EFI firmware at {path}: install qemu-efi-aarch64 or set QEMU_EFI=")
    return path


def kernel_image(path):
    path = Path(path)
    if path.is_dir():
        path = path / "arch/arm64/boot/Image"
    if not path.is_file():
        raise Error(f"no kernel at {path}: run 'make kernels'")
    with open(path, "rb") as f:
        if f.read(64)[56:60] != b"ARM\x64":
            raise Error(f"{path} is not an arm64 Image: give …/arch/arm64/boot/Image")
    return path.resolve()


# --- The initramfs --------------------------------------------------------

def cpio(files):
    """A newc archive of {path: (mode, content)}, parents included."""
    entries = {}
    for path, (mode, data) in files.items():
        for parent in reversed(Path(path).parents):
            if str(parent) != ".":
                entries.setdefault(str(parent), (stat.S_IFDIR | 0o755, b""))
        entries[path] = (mode, data)
    out = bytearray()

    def put(name, mode, data, inode):
        name = name.encode() + b"\0"
        head = [inode, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name), 0]
        out.extend(b"070701" + b"".join(b"%08X" % n for n in head) + name)
        out.extend(b"\0" * (-len(out) % 4))
        out.extend(data)
        out.extend(b"\0" * (-len(out) % 4))

    for inode, (name, (mode, data)) in enumerate(entries.items(), 1):
        put(name, mode, data, inode)
    put("TRAILER!!!", 0, b"", 0)
    return bytes(out)


def script(path):
    return (stat.S_IFREG | 0o755, Path(path).read_bytes())


def program(name, directory):
    """machine/NAME.c for the guest, made in DIRECTORY; returns its path."""
    compiler = "gcc" if platform.machine() == "aarch64" else "aarch64-linux-gnu-gcc"
    path = f"{directory}/{name}"
    made = subprocess.run([compiler, "-O2", "-Wall", "-static", "-o", path, REPO / f"machine/{name}.c"],
                          capture_output=True, text=True)
    if made.returncode:
        raise Error(f"cannot compile machine/{name}.c: {made.stderr.strip()}")
    return path


def tree(directory, prefix):
    """The regular files and links below DIRECTORY for cpio(), under PREFIX."""
    directory, found = Path(directory), {}
    if not directory.is_dir():
        raise Error(f"--files {directory}: no such directory")
    for path in sorted(directory.rglob("*")):
        name = f"{prefix}/{path.relative_to(directory)}"
        if path.is_symlink():
            found[name] = (stat.S_IFLNK | 0o777, os.readlink(path).encode())
        elif path.is_file():
            found[name] = (stat.S_IFREG | path.stat().st_mode & 0o777, path.read_bytes())
    return found


def acpi_tables(tables):
    """The archive, in front of all others of an initrd, of {name: ACPI table}
    that the kernel is to take in place of the firmware's or beside them."""
    return cpio({f"kernel/firmware/acpi/{name}.aml": (stat.S_IFREG | 0o644, table) for name, table in tables.items()})


def base_files(job):
    """The files of every guest of ours: busybox, /init and the job (a string)."""
    return {"bin/busybox": script(user_space() / "usr/bin/busybox"),
            "dev/console": (stat.S_IFREG | 0o600, b""),
            "init": script(REPO / "machine/init"),
            "lib/job.sh": script(REPO / "machine/job.sh"),
            "job": (stat.S_IFREG | 0o755, b". /lib/job.sh\n" + job.encode())}


@contextlib.contextmanager
def making(target):
    """A temporary path that becomes TARGET when the block ends well; yields
    None if TARGET is there already. Two processes never make the same thing."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with open(target.parent / f".{target.name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if target.exists():
            yield None
            return
        for stale in target.parent.glob(f"{target.name}.tmp*"):
            shutil.rmtree(stale) if stale.is_dir() else stale.unlink()
        work = target.parent / f"{target.name}.tmp"
        yield work
        os.rename(work, target)


def user_space(*more):
    """The unpacked arm64 packages of machine/packages, and of the lists MORE beside it:
    made once, no emulation."""
    names = [line for recipe in ("packages", *more) for line in (REPO / "machine" / recipe).read_text().split("\n")
             if line and not line.startswith("#")]
    sources = Path("/etc/apt/sources.list")
    if not sources.exists() or not shutil.which("mmdebstrap"):
        raise Error("no mmdebstrap or no /etc/apt/sources.list here: use 'scripts/toolbox'")
    pins = sorted(Path("/etc/apt/preferences.d").glob("*"))
    key = hashlib.sha256(b"1" + " ".join(names).encode() + sources.read_bytes()
                         + b"".join(p.read_bytes() for p in pins)).hexdigest()[:16]
    target = CACHE / f"arm64-{key}"
    if target.exists():
        return target
    with making(target) as work:
        if work:
            print(f"machine: unpacking {' '.join(names)} and what they need for arm64 "
                  "(once, about 10 s)", flush=True)
            setup = 'mkdir -p "$1/etc/apt/preferences.d"'
            for pin in pins:
                setup += f'; cp {shlex.quote(str(pin))} "$1/etc/apt/preferences.d/"'
            made = subprocess.run(
                ["mmdebstrap", "--mode=root", "--variant=extract", "--architectures=arm64",
                 "--format=directory", "--skip=chroot/mount,output/dev,output/mknod", f"--setup-hook={setup}",
                 f"--include={','.join(names)}", "", str(work), "-"],
                input=sources.read_bytes(), capture_output=True)
            if made.returncode:
                said = made.stderr.decode(errors="replace")
                if absent := re.search(r"^E: (?:Unable to locate package|Release '\S+' for|Version '\S+' for) .*", said, re.M):
                    raise Error(f"the suites of /etc/apt/sources.list lack a package: {absent[0][3:]}")
                sys.stderr.write(said[-2000:])
                raise Error("mmdebstrap could not get the arm64 packages (see above): "
                            "is the mirror of /etc/apt/sources.list reachable?")
            for waste in ("usr/share/AAVMF", "usr/share/doc", "usr/share/locale", "usr/share/man",
                          "var/cache/apt", "var/lib/apt"):
                shutil.rmtree(work / waste, ignore_errors=True)
    return target


# --- The IORT -------------------------------------------------------------

IORT_PCI_ROOT_COMPLEX = 2
IORT_SMMU_V3 = 4
IORT_RMR = 6


def iort_nodes(table):
    """(offset, type, length) of each node of an IORT."""
    if table[:4] != b"IORT" or struct.unpack_from("<I", table, 4)[0] != len(table):
        raise Error("what the machine gave as its IORT is none")
    count, offset = struct.unpack_from("<II", table, 36)
    for _ in range(count):
        kind, length = struct.unpack_from("<BH", table, offset)
        yield offset, kind, length
        offset += length


def iort_with_canwbs(table):
    """The same IORT with coherent path, attributes and CANWBS for PCI (memory
    access flags 0x7), which Linux takes in place of the firmware's."""
    table = bytearray(table)
    if sum(table) & 0xff:
        raise Error("the IORT of the machine has a wrong checksum")
    roots = [offset for offset, kind, _ in iort_nodes(table) if kind == IORT_PCI_ROOT_COMPLEX]
    if not roots:
        raise Error("the IORT of the machine has no PCI root complex")
    for offset in roots:
        table[offset + 16 + 7] = 0x7
    return upgraded(table)


def iort_with_rmr(table, stream_id, address, size, remap=False):
    """The same IORT with a reserved memory region (IORT E.d, node type 6) of a
    StreamID, whose mapping REMAP permits to change."""
    smmu = next((node for first, last, out, node in iort_mappings(table) if 0 <= stream_id - out <= last - first), None)
    if smmu is None:
        raise Error(f"no SMMU of the machine has a StreamID {stream_id:#x}")
    count, = struct.unpack_from("<I", table, 36)
    # Mapping and region behind the node; normal memory, inner and outer write-back
    node = struct.pack("<BHBIII", IORT_RMR, 68, 3, count, 1, 28) + struct.pack("<III", 5 << 2 | remap, 1, 48)
    node += struct.pack("<5I", 0, 0, stream_id, smmu, 1) + struct.pack("<QQI", address, size, 0)
    table = bytearray(table + node)
    struct.pack_into("<I", table, 4, len(table))
    struct.pack_into("<I", table, 36, count + 1)
    return upgraded(table)


def dsdt_with_boot_config(table):
    """The same DSDT, which says that the kernel has to keep the firmware's PCI
    configuration. Without that it believes in no RMR of a PCI device. What the
    machine's _DSM gives for any function but the first, which lists them, is 0."""
    old, new = bytes.fromhex("936a00a411030100a411030100"), bytes.fromhex("936a00a411030100a400a3a3a3")
    if old not in table:
        raise Error("the DSDT of the machine has another _DSM than the one to edit")
    return upgraded(bytearray(table.replace(old, new)))


def upgraded(table):
    """The bytes of an edited table with a higher OEM revision and a right checksum."""
    struct.pack_into("<I", table, 24, struct.unpack_from("<I", table, 24)[0] + 1)
    table[9] = (table[9] - sum(table)) & 0xff
    return bytes(table)


def iort_mappings(table):
    """(first RID, last RID, first StreamID, offset of the SMMU's node) of each
    mapping of the PCI root complexes."""
    for offset, kind, _ in iort_nodes(table):
        if kind != IORT_PCI_ROOT_COMPLEX:
            continue
        count, start = struct.unpack_from("<II", table, offset + 8)
        for m in range(count):
            first, more, out, ref, _ = struct.unpack_from("<5I", table, offset + start + 20 * m)
            if table[ref] == IORT_SMMU_V3:
                yield first, first + more, out, ref


def iort_routes(table):
    """[(first RID, last RID, first StreamID, SMMU base address)] of the PCI
    root complexes."""
    return [(first, last, out, struct.unpack_from("<Q", table, node + 16)[0])
            for first, last, out, node in iort_mappings(table)]


def table(signature, edit, topology, kernel):
    """An ACPI table of this topology, edited: from the cache, or by booting once."""
    key = hashlib.sha256(json.dumps([
        TABLES, qemu_version(), Path(firmware()).stat().st_size, topology.board(), topology.devices()
    ]).encode()).hexdigest()[:16]
    target = CACHE / f"{signature.lower()}-{key}.aml"
    if not target.exists():
        with making(target) as work:
            if work:
                print(f"machine: reading the {signature} of a new topology (once)", flush=True)
                with tempfile.TemporaryDirectory() as tmp:
                    got = run(topology, kernel, f"base64 /sys/firmware/acpi/tables/{signature} | sed s/^/table:/",
                              name=signature.lower(), timeout=300, upgrade=False, tests=False, directory=tmp)
                if not got.ok:
                    raise Error(f"cannot read the machine's {signature}:\n" + "\n".join(got.problems))
                text = "".join(line[6:] for line in got.said if line.startswith("table:"))
                work.write_bytes(edit(base64.b64decode(text)))
    return target.read_bytes()


def iort(topology, kernel):
    return table("IORT", iort_with_canwbs, topology, kernel)


def dsdt(topology, kernel):
    return table("DSDT", dsdt_with_boot_config, topology, kernel)


# --- Running a job --------------------------------------------------------

@dataclass
class Result:
    """What a run gave. OK only if something passed or was skipped with a
    reason, nothing failed, and nobody complained."""
    name: str
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    tests: list = field(default_factory=list)
    failures: list = field(default_factory=list)
    problems: list = field(default_factory=list)
    devices: list = field(default_factory=list)     # lines of /run/devices
    kernel: str = ""
    lockdep: str = "absent"                         # or on, off
    seconds: float = 0
    console: list = field(default_factory=list)
    said: list = field(default_factory=list)        # the job's own lines
    directory: str = ""

    @property
    def ok(self):
        return not self.failed and not self.problems

    def add(self, tap):
        self.passed += tap.passed
        self.failed += tap.failed
        self.skipped += tap.skipped
        self.tests += tap.tests
        self.failures += tap.failures
        self.problems += tap.problems

    def expect(self, name, good, why=""):
        """A test of the harness itself."""
        self.tests.append(("passed" if good else "failed", name))
        if good:
            self.passed += 1
        else:
            self.failed += 1
            self.failures.append(f"not ok: {name}" + (f" ({why})" if why else ""))

    def summary(self):
        more = f", {len(self.problems)} problems" if self.problems else ""
        return (f"{self.name}: {self.passed} passed, {self.failed} failed, "
                f"{self.skipped} skipped{more} in {self.seconds:.0f} s")


def read_job(result, lines):
    """Fill RESULT from the lines of the job's channel: streams between ##begin
    and ##done, and the harness' own ## lines. True if the job came to its end."""
    stream, label, ended = [], "", False

    def finish(status=None):
        nonlocal stream
        tap = results.parse_tap(stream, label)
        seen = tap.passed + tap.failed + tap.skipped
        if label:
            if status == 4 and not seen:
                tap.skipped, tap.tests = 1, [("skipped", label)]
            elif not seen:
                tap.problems.append(f"{label}: reported no test (status {status})")
            elif status not in (0, 4) and not tap.failed:
                tap.problems.append(f"{label}: ended with status {status} though no test failed")
        result.add(tap)
        stream = []

    for line in lines:
        if not line.startswith("##"):
            stream.append(line)
            continue
        word, _, rest = line[2:].partition(" ")
        if word == "begin":
            finish()
            label = rest
        elif word == "done":
            finish(int(rest.split()[-1]))
            label = ""
        elif word == "kernel":
            result.kernel = rest
        elif word == "device":
            result.devices.append(rest)
        elif word == "problem":
            result.problems.append(rest)
        elif word == "lockdep":
            result.lockdep = "on" if rest == "1" else "off"
            if rest != "1":
                result.problems.append("lockdep switched itself off during the run")
        elif word == "tainted":
            result.problems += results.scan_taint(int(rest))
        elif word == "end":
            ended = True
            if rest != "0":
                result.problems.append(f"the job ended with status {rest}")
    if label:
        result.problems.append(f"{label}: never ended")
        label = ""
    finish()
    return ended


class Guest:
    """A QEMU that runs in DIRECTORY, where its channels are files."""

    def __init__(self, topology, kernel, directory, initrd, append="", shares=(), trace=(),
                 extra=(), terminal=False):
        self.directory, self.timed_out = directory, False
        (directory / "images").mkdir()
        (directory / "out").mkdir()
        for serial in sum(topology.serials(), []):
            with open(directory / f"images/{serial}.img", "wb") as f:
                f.truncate(IMAGE_SIZE)
        (directory / "initrd").write_bytes(initrd)
        self.args = [QEMU, *topology.board(), "-bios", firmware(), "-nodefaults", "-display", "none",
                     "-no-reboot", "-kernel", str(kernel), "-initrd", "initrd",
                     "-append", f"{APPEND} {append}".strip(),
                     # The kernel log on ttyAMA0, the job on hvc0, QEMU's monitor.
                     "-serial", "file:console.log", "-device", "virtio-serial-pci,bus=pcie.0",
                     "-chardev", "stdio,id=job,mux=on,signal=off,logfile=job.log" if terminal else "file,id=job,path=job.log",
                     "-device", "virtconsole,chardev=job",
                     "-qmp", "unix:qmp,server=on,wait=off", *topology.devices()]
        for tag, path, mode in [("out", "out", ""), *shares]:
            self.args += ["-fsdev", f"local,id={tag},path={path},security_model=none{mode},multidevs=remap",
                          "-device", f"virtio-9p-pci,bus=pcie.0,fsdev={tag},mount_tag={tag}"]
        for pattern in trace:
            self.args += ["-trace", pattern, "-D", "trace.log"]
        self.args += extra
        (directory / "qemu.sh").write_text(shlex.join(self.args) + "\n")
        with open(directory / "qemu.log", "wb") as log:
            self.process = subprocess.Popen(self.args, cwd=directory, stdin=None if terminal else subprocess.DEVNULL,
                                            stdout=None if terminal else log, stderr=log)

    def lines(self, name):
        with contextlib.suppress(FileNotFoundError):
            return results.clean((self.directory / name).read_text(errors="replace"))
        return []

    def qmp(self, command, **arguments):
        """Ask QEMU's monitor."""
        try:
            with socket.socket(socket.AF_UNIX) as s, s.makefile("rw") as stream:
                s.settimeout(MONITOR)
                # Through /proc, since the name of a socket may only be short.
                here = os.open(self.directory, os.O_PATH)
                s.connect(f"/proc/self/fd/{here}/qmp")
                os.close(here)
                stream.readline()
                for execute, args in (("qmp_capabilities", {}), (command, arguments)):
                    stream.write(json.dumps({"execute": execute, "arguments": args}) + "\n")
                    stream.flush()
                    while "event" in (answer := json.loads(stream.readline())):
                        pass
        except (TimeoutError, json.JSONDecodeError):
            raise Error(f"QEMU's monitor did not answer {command}")
        if "error" in answer:
            raise Error(f"QEMU refused {command}: {answer['error']['desc']}")
        return answer["return"]

    def kill(self):
        self.process.kill()
        self.process.wait()


def start_guest(topology, kernel, job, *, directory, files=(), append="", kunit=None, shares=(), trace=(), extra=(),
                upgrade=True, terminal=False):
    """Start the machine that runs JOB. With TERMINAL the job's channel is ours. The
    other arguments are those of run()."""
    qemu_version()
    kernel = kernel_image(kernel)
    if upgrade is True:
        upgrade = {"iort": iort(topology, kernel)}
    initrd = acpi_tables(upgrade) if upgrade else b""
    content = base_files(job)
    for entry in [files] if isinstance(files, (str, Path)) else files:
        content |= tree(entry, "tests")
    initrd += cpio(content)
    append += f" kunit.enable=1 kunit.filter_glob={kunit}" if kunit else " kunit.enable=0"
    directory.mkdir(parents=True, exist_ok=True)
    return Guest(topology, kernel, directory, initrd, append, shares, trace, extra, terminal)


def run(topology, kernel, job, *, name="job", files=(), timeout=120, append="", kunit=None,
        shares=(), trace=(), extra=(), allow=(), upgrade=True, tests=True, directory=None,
        verbose=False, watch=None):
    """Boot KERNEL on the machine and run JOB (the text of a shell script).

    FILES are directories whose content goes to /tests. KUNIT is a glob of
    suites that run at boot. SHARES are 9p shares (tag, path, ",readonly=on" or
    ""). ALLOW are regular expressions of bad lines the job provokes on purpose.
    UPGRADE is {name: ACPI table}, or False for those of the firmware, or True for
    its IORT with CANWBS. WATCH(guest) is called several times a second.
    TESTS=False is for jobs that are no tests. Returns a Result; whatever is wrong
    is in its problems.
    """
    if directory:
        directory = Path(directory).resolve()
        if directory.exists() and any(directory.iterdir()):
            if not (directory / "qemu.sh").exists():
                raise Error(f"--keep {directory}: not empty, and not of an earlier run that ended; remove it")
            shutil.rmtree(directory)
    else:
        (BUILD / "runs").mkdir(parents=True, exist_ok=True)
        directory = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=BUILD / "runs"))
    result = Result(name, directory=str(directory))
    start = time.monotonic()
    guest = start_guest(topology, kernel, job, directory=directory, files=files, append=append, kunit=kunit, shares=shares,
                        trace=trace, extra=extra, upgrade=upgrade)
    try:
        _wait(guest, result, start, timeout, verbose, watch)
    finally:
        guest.kill()
    result.seconds = time.monotonic() - start

    result.console, result.said = guest.lines("console.log"), guest.lines("job.log")
    how = f"timeout: no end after {timeout} s" if guest.timed_out else \
        f"the guest died (QEMU's status {guest.process.returncode}) before the end of the job"
    evaluate(result, how, guest.lines("qemu.log"), kunit=kunit, upgraded=upgrade,
             shares=[tag for tag, _, _ in shares], allow=allow, tests=tests)
    return result


def evaluate(result, how, qemu=(), *, kunit=None, upgraded=True, shares=(), allow=(), tests=True):
    """Fill RESULT from its console and said lines. HOW says in words how QEMU
    ended, should it turn out that the job did not come to its end."""
    if kunit:
        log = [results.STAMP.sub("", line) for line in result.console]
        first = next((i for i, l in enumerate(log) if results.HEADER.match(l)), len(log))
        seen = results.parse_tap(log[first:], "KUnit")
        result.add(seen)
        if not seen.tests:
            result.problems.append(f"KUnit: this kernel ran no test that matches '{kunit}'")
    if not read_job(result, result.said):
        last = ["(kernel log)"] + [l for l in result.console if l.strip()][-12:]
        last += ["(job)"] + [l for l in result.said if l.strip()][-8:]
        last += ["(QEMU)"] + [l for l in qemu if l.strip()][-8:]
        result.problems.append(f"{how}; the last lines:\n" + "\n".join("    " + l for l in last))
    else:
        if not any("machine: end of job" in l for l in result.console):
            result.problems.append("the kernel log misses its end marker, so part of it is lost")
        if upgraded and not any("override [IORT" in l for l in result.console):
            result.problems.append("the kernel did not take the IORT: it needs CONFIG_ACPI_TABLE_UPGRADE")
        result.problems += [f"share {tag} was not mounted: has this kernel 9p over virtio?"
                            for tag in shares if f"##mounted {tag}" not in result.said]
    result.problems += results.scan_log(result.console, allow)
    if tests and not result.tests:
        result.problems.append("no test reported anything")


def _wait(guest, result, start, timeout, verbose, watch):
    """Until QEMU ends or TIMEOUT passes, tell what happens."""
    shown, beat = 0, start
    while guest.process.poll() is None:
        now = time.monotonic()
        if now - start > timeout:
            guest.timed_out = True
            return
        if watch:
            watch(guest)
        if verbose:
            said = guest.lines("job.log")[:-1]
            for line in filter(str.strip, said[shown:]):
                print(f"  {line}", flush=True)
                beat = now
            shown = len(said)
        if now - beat > HEARTBEAT:
            count = sum(bool(results.RESULT.match(l.strip())) for l in guest.lines("job.log"))
            logs = [p for p in guest.directory.rglob("*.log") if p.name in ("console.log", "job.log")]
            newest = max(logs, key=lambda path: path.stat().st_mtime, default="console.log")
            last = [l for l in guest.lines(newest) if l.strip()] or ["nothing yet"]
            print(f"  {result.name}: {now - start:.0f} s of at most {timeout}, {count} results so far, "
                  f"last: {last[-1][:90]}", flush=True)
            beat = now
        time.sleep(0.1)


def report(result, keep=False, verbose=False):
    """Print a result; forget the files of a good one."""
    for text in result.failures + result.problems:
        print(f"  {text}")
    skips = [name for status, name in result.tests if status == "skipped"]
    for name in skips if verbose else skips[:5]:
        print(f"  skipped: {name}")
    print(result.summary(), flush=True)
    if result.ok and not keep:
        shutil.rmtree(result.directory, ignore_errors=True)
    else:
        print(f"  (logs in {result.directory})", flush=True)
    return 0 if result.ok else 1


# --- Command line ---------------------------------------------------------

def topology_arguments(parser, **defaults):
    d = replace(Topology(), **defaults)
    g = parser.add_argument_group("machine")
    g.add_argument("--smmus", type=int, default=d.smmus, metavar="N",
                   help=f"nested SMMUs, each with a root bus of its own (default {d.smmus})")
    g.add_argument("--nvme", type=int, default=d.nvme, metavar="N",
                   help=f"NVMe controllers behind each SMMU (default {d.nvme})")
    g.add_argument("--testdev", type=int, default=d.testdev, metavar="N",
                   help="iommu-testdev functions behind each SMMU (default 0)")
    g.add_argument("--s1only", action="store_true", help="add an SMMU with stage 1 only")
    g.add_argument("--s2only", action="store_true", help="add an SMMU with stage 2 only")
    g.add_argument("--pair", action="store_true",
                   help="add two NVMe controllers in one group behind the first SMMU")
    g.add_argument("--ats", action="store_true",
                   help="add a virtio function with an ATS capability behind the first SMMU")
    g.add_argument("--virt", action="store_true", help="give the kernel EL2, so that it has KVM")
    g.add_argument("--cpus", type=int, default=d.cpus, metavar="N", help=f"(default {d.cpus})")
    g.add_argument("--mem", type=int, default=d.mem, metavar="MIB", help=f"(default {d.mem})")
    g.add_argument("--icount", action="store_true", help="let its clock count the instructions of all CPUs, which take turns")


def topology_from(args):
    return Topology(args.smmus, args.nvme, args.testdev, args.s1only, args.s2only, args.pair, args.ats,
                    args.virt, args.cpus, args.mem, args.icount)


def main():
    parser = argparse.ArgumentParser(description="Run a job on the emulated machine.",
                                     epilog="machine/job.sh says what a job can use.")
    commands = parser.add_subparsers(dest="command", required=True)
    r = commands.add_parser("run", help="boot a kernel and run a job that speaks (K)TAP",
                            description="Boot a kernel, run a job, collect its (K)TAP results.")
    topology_arguments(r)
    r.add_argument("--kernel", required=True, help="arch/arm64/boot/Image, or a build directory")
    r.add_argument("--job", metavar="FILE", help="shell script to run in the guest as /job")
    r.add_argument("--command", dest="line", metavar="CMD", help="or one line of shell")
    r.add_argument("--files", action="append", default=[], metavar="DIR",
                   help="directory whose files go to /tests of the guest (may be repeated)")
    r.add_argument("--share", action="append", default=[], metavar="TAG=DIR",
                   help="directory to share by 9p as /TAG (may be repeated)")
    r.add_argument("--kunit", metavar="GLOB", help="run these KUnit suites at boot")
    r.add_argument("--allow", action="append", default=[], metavar="REGEX",
                   help="a bad kernel line that the job provokes on purpose (may be repeated)")
    r.add_argument("--append", default="", metavar="ARGS", help="more kernel arguments")
    r.add_argument("--trace", action="append", default=[], metavar="EVENT", help="QEMU trace events")
    r.add_argument("--timeout", type=int, default=120, metavar="SECONDS", help="(default 120)")
    r.add_argument("--name", help="what to call the run (default: the job's file name)")
    r.add_argument("--no-tests", action="store_true", help="the job reports no tests")
    r.add_argument("--json", metavar="FILE", help="write the counts and problems there")
    r.add_argument("--keep", metavar="DIR", help="keep logs, images and /out there")
    r.add_argument("-v", "--verbose", action="store_true", help="show what the job says")
    commands.add_parser("prepare", help="fetch and unpack the arm64 user space")
    args = parser.parse_args()
    if args.command == "prepare":
        print(user_space())
        return 0

    topology = topology_from(args)
    if args.job and not Path(args.job).is_file():
        raise Error(f"--job {args.job}: no such file")
    if not (args.job or args.line or args.kunit):
        raise Error("nothing to run: give --job, --command or --kunit")
    job = Path(args.job).read_text() if args.job else args.line or ":"
    shares = []
    for share in args.share:
        tag, _, path = share.partition("=")
        if not Path(path).is_dir():
            raise Error(f"--share {share}: give TAG=DIR with a directory that exists")
        shares.append((tag, Path(path).resolve(), ""))
    name = args.name or (Path(args.job).stem if args.job else "kunit" if args.kunit else "job")
    result = run(topology, args.kernel, job, name=name, files=args.files, shares=shares,
                 kunit=args.kunit, allow=args.allow, append=args.append, trace=args.trace,
                 timeout=args.timeout, tests=not args.no_tests, directory=args.keep,
                 verbose=args.verbose)
    if args.json:
        Path(args.json).write_text(json.dumps({k: getattr(result, k) for k in (
            "name", "passed", "failed", "skipped", "failures", "problems", "tests", "devices",
            "kernel", "lockdep", "seconds", "ok", "directory")}, indent=1) + "\n")
    return report(result, keep=bool(args.keep), verbose=args.verbose)


def cli(main):
    """Run a main(): errors of the user are one line on stderr and status 2."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))     # so that no QEMU stays behind
    try:
        return main()
    except Error as error:
        print(f"{Path(sys.argv[0]).name}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(cli(main))
