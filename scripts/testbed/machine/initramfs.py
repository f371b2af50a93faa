# SPDX-License-Identifier: GPL-2.0
"""The initramfs of a guest, built from an arm64 user space."""
import hashlib
import os
import platform
import shlex
import shutil
import stat
from collections.abc import Mapping
from pathlib import Path

from testbed.debian import SOURCES, unpack
from testbed.paths import CACHE, MACHINE, Error, making
from testbed.process import said

# {path: (mode, content)}
Files = dict[str, tuple[int, bytes]]
WASTE = ("usr/share/AAVMF", "usr/share/doc", "usr/share/locale", "usr/share/man",
         "var/cache/apt", "var/lib/apt")


def cpio(files: Files) -> bytes:
    """A newc archive of FILES and their parent directories."""
    entries: Files = {}
    for path, entry in files.items():
        for parent in reversed(Path(path).parents[:-1]):
            entries.setdefault(str(parent), (stat.S_IFDIR | 0o755, b""))
        entries[path] = entry
    entries["TRAILER!!!"] = (0, b"")
    out = bytearray()
    for inode, (path, (mode, data)) in enumerate(entries.items(), 1):
        name = path.encode() + b"\0"
        head = [inode, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name), 0]
        for part in (b"070701" + b"".join(b"%08X" % n for n in head) + name, data):
            out += part + b"\0" * (-(len(out) + len(part)) % 4)
    return bytes(out)


def script(path: Path) -> tuple[int, bytes]:
    return (stat.S_IFREG | 0o755, path.read_bytes())


def compiled(name: str, directory: Path) -> Path:
    """machine/NAME.c, compiled for the guest in DIRECTORY."""
    compiler = "gcc" if platform.machine() == "aarch64" else "aarch64-linux-gnu-gcc"
    path = directory / name
    made = said(compiler, "-O2", "-Wall", "-static", "-o", path, MACHINE / f"{name}.c")
    if made.returncode:
        raise Error(f"cannot compile machine/{name}.c: {made.stdout.strip()}")
    return path


def tree(directory: Path, prefix: str) -> Files:
    """The regular files and links below DIRECTORY, under PREFIX."""
    found: Files = {}
    for path in sorted(directory.rglob("*")):
        name = f"{prefix}/{path.relative_to(directory)}"
        if path.is_symlink():
            found[name] = (stat.S_IFLNK | 0o777, os.readlink(path).encode())
        elif path.is_file():
            found[name] = (stat.S_IFREG | path.stat().st_mode & 0o777, path.read_bytes())
    return found


def acpi_tables(tables: Mapping[str, bytes]) -> bytes:
    """An archive of {name: ACPI table} for the start of an initrd. The kernel uses these
    tables in addition to the firmware's, or in place of them."""
    return cpio({f"kernel/firmware/acpi/{name}.aml": (stat.S_IFREG | 0o644, table)
                 for name, table in tables.items()})


def base_files(job: str) -> Files:
    """The files of all guests: busybox, /init and the shell script JOB."""
    return {"bin/busybox": script(user_space() / "usr/bin/busybox"),
            "dev/console": (stat.S_IFREG | 0o600, b""),
            "init": script(MACHINE / "init"),
            "lib/job.sh": script(MACHINE / "job.sh"),
            "job": (stat.S_IFREG | 0o755, b". /lib/job.sh\n" + job.encode())}


def user_space(*more: str) -> Path:
    """The unpacked arm64 packages of machine/packages and of the lists MORE in machine/. They
    are unpacked once, without emulation."""
    lines = "\n".join((MACHINE / recipe).read_text() for recipe in ("packages", *more)).split("\n")
    names = [line for line in lines if line and not line.startswith("#")]
    if not SOURCES.exists():
        raise Error(f"there is no {SOURCES} here: use 'scripts/toolbox'")
    pins = sorted(Path("/etc/apt/preferences.d").glob("*"))
    made_of = [b"2" + " ".join(names).encode(), *(f.read_bytes() for f in (SOURCES, *pins))]
    target = CACHE / f"arm64-{hashlib.sha256(b''.join(made_of)).hexdigest()[:16]}"
    if target.exists():
        return target
    with making(target) as work:
        if work:
            print(f"machine: unpacking {' '.join(names)} and what they need for arm64 "
                  "(once, about 10 s)", flush=True)
            setup = "; ".join(['mkdir -p "$1/etc/apt/preferences.d"', *(
                f'cp {shlex.quote(str(pin))} "$1/etc/apt/preferences.d/"' for pin in pins)])
            unpack(names, work, "", "-", "--architectures=arm64", f"--setup-hook={setup}",
                   sources=SOURCES.read_bytes())
            for waste in WASTE:
                shutil.rmtree(work / waste, ignore_errors=True)
    return target
