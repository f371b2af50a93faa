# SPDX-License-Identifier: GPL-2.0
"""Run litmus tests with herd7: those in C with the kernel's memory model, those
in AArch64 assembly with herd7's model of Armv8.

herd7 is in Debian testing, but not in a release. The package is unpacked into the
cache with the required libraries, and started with their loader.
"""
import hashlib
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from testbed.debian import SOURCES, unpack
from testbed.paths import CACHE, Error, making

SUITE, PACKAGE = "testing", "herdtools7"
# A flag of herd7 for tests with a barrier of the outer shareable domain
HARMLESS = {"Assuming-common-inner-shareable-domain"}
TIMEOUT = 600


def mirror() -> str:
    """The Debian mirror of this machine."""
    text = SOURCES.read_text() if SOURCES.exists() else ""
    found = re.findall(r"^deb (?:\[.*\] )?(\S+)", text, re.M)
    if not (os.environ.get("MIRROR") or found):
        raise Error(f"{SOURCES} has no Debian mirror to get herd7 from: use 'scripts/toolbox', or "
                    "set MIRROR")
    return os.environ.get("MIRROR") or str(found[0])


def unpack_herd7(work: Path) -> None:
    """Get herd7 from Debian: the program, its models and lib in WORK."""
    print(f"litmus: getting herd7 from Debian {SUITE} (once, about 20 s)", flush=True)
    root = work / "root"
    work.mkdir()
    try:
        # A mirror may be outdated, so check only the signature, not the age.
        unpack([PACKAGE], root, SUITE, mirror(), "--aptopt=Acquire::Check-Valid-Until \"false\"")
    except Error:
        shutil.rmtree(work)
        raise
    (root / "usr/bin/herd7").rename(work / "herd7")
    (root / "usr/share/herdtools7/herd").rename(work / "models")
    next(root.glob("usr/lib/*/libc.so.6")).parent.rename(work / "lib")
    shutil.rmtree(root)


def herd7() -> list[str]:
    """The command that starts herd7, which is unpacked into the cache if necessary."""
    key = hashlib.sha256(f"1 {SUITE} {PACKAGE} {platform.machine()}".encode()).hexdigest()[:12]
    target = CACHE / f"herd7-{key}"
    if not target.exists():
        with making(target) as work:
            if work:
                unpack_herd7(work)
    loader = next((target / "lib").glob("ld-linux-*.so.*"))
    return [str(loader), "--library-path", str(target / "lib"), str(target / "herd7"),
            "-set-libdir", str(target / "models")]


def promised(text: str) -> str:
    """The expected result in the comment of the litmus test @text."""
    found = re.search(r"^ \* Result: ((?:Never|Sometimes|Always)(?: DATARACE)?)$", text, re.M)
    return found[1] if found else ""


def problem_of(text: str, said: str) -> str:
    """The problem of @said, the output of herd7 for the litmus test @text."""
    if not promised(text):
        return ("its comment has no line ' * Result: Never' or ' * Result: Sometimes': add what "
                "herd7 has to find")
    found = re.search(r"^Observation \S+ (\w+) (\d+) (\d+)$", said, re.M)
    if not found or re.search(r"^Warning: ", said, re.M):
        return f"herd7 does not understand it: {said.strip()}"
    if found[2] == found[3] == "0":
        return ("no execution is possible, so nothing was tested: see herd7's manual for 'filter' "
                "and deadlocks")
    flags = sorted({"DATARACE" if flag == "data-race" else flag
                    for flag in re.findall(r"^Flag (.*)$", said, re.M) if flag not in HARMLESS})
    finds = " ".join([found[1], *flags])
    if finds == promised(text):
        return ""
    return (f"its comment says {promised(text)}, but herd7 finds {finds}: correct the code, or the "
            f"test and what quotes it\n{said}")


def without_broken_form(tests: dict[Path, str]) -> list[Path]:
    """Those @tests with the result Never that have no broken form, name-*.litmus for
    name.litmus, with another result."""
    broken = [str(path) for path, text in tests.items() if promised(text) not in ("Never", "")]
    return [path for path, text in tests.items() if promised(text) == "Never" and
            not any(form.startswith(f"{path.with_suffix('')}-") for form in broken)]


def run(directory: Path, model: Path) -> Iterator[tuple[str, str]]:
    """Run the tests in @directory, those in C with the kernel's memory model in @model.
    Yield the name and the problem of each."""
    tests = {path: path.read_text() for path in
             sorted(directory.rglob("*.litmus"), key=lambda path: (len(path.parts), path.stem))}
    if not tests:
        raise Error(f"there are no litmus tests in {directory}: run 'make apply'")
    herd = herd7()
    for path, text in tests.items():
        kernel = text.startswith("C ")
        options = ["-conf", "linux-kernel.cfg"] if kernel else ["-model", "aarch64.cat"]
        try:
            said = subprocess.run([*herd, *options, path.resolve()], cwd=model, text=True,
                                  timeout=TIMEOUT, check=False, stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT).stdout
            problem = problem_of(text, said)
        except subprocess.TimeoutExpired:
            problem = f"herd7 was not done after {TIMEOUT} s: make the test smaller"
        name, which = path.relative_to(directory), "kernel" if kernel else "Armv8"
        yield f"{name}: {promised(text)} ({which})", problem
    yield "each Never has a broken form", "\n".join(
        f"{path.relative_to(directory)}: add {path.stem}-*.litmus with a barrier left out"
        for path in without_broken_form(tests))
