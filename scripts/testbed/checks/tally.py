# SPDX-License-Identifier: GPL-2.0
"""Print and count results, and other helpers of all checks."""
import hashlib
import json
import os
import re
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from testbed.machine.job import Result
from testbed.paths import BUILD, CACHE, REPO, TREE
from testbed.process import Arg, git, strings, watch

SEEN = CACHE / "seen"
WORKTREE = TREE.with_name("bisect")
COUNT = {"passed": 0, "failed": 0, "skipped": 0}
# Cached results are valid as long as these files do not change.
TOOLING = (REPO / "scripts/toolbox.packages", REPO / "scripts/testbed/kernel.py",
           REPO / "scripts/testbed/checks/static.py")


def result(name: str, problem: str = "", since: float | None = None) -> None:
    """Report a test. It has passed if PROBLEM, a text, is empty."""
    COUNT["failed" if problem else "passed"] += 1
    took = f" ({time.monotonic() - since:.0f} s)" if since else ""
    print(f"{'not ok' if problem else 'ok'} - {name}{took}", flush=True)
    for line in problem.strip().splitlines()[:40]:
        print(f"    {line}", flush=True)


def skipped(name: str, reason: str) -> None:
    COUNT["skipped"] += 1
    print(f"skipped - {name}: {reason}", flush=True)


def command(name: str, *args: Arg, cwd: Path = REPO, env: Mapping[str, str] | None = None) -> bool:
    """Report a command as a test."""
    start = time.monotonic()
    run = subprocess.Popen(strings(args), cwd=cwd, text=True, errors="replace", env=env,
                           stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                           stderr=subprocess.STDOUT)
    text = watch(run, lambda seconds: f"    {name}: {seconds:.0f} s").strip()
    result(name, (text[-3000:] or f"status {run.returncode}") if run.returncode else "", start)
    return run.returncode == 0


def booted(run: Result) -> None:
    """Report the results of a run of the machine."""
    run.report()
    COUNT["passed"] += run.passed
    COUNT["failed"] += run.failed
    COUNT["skipped"] += run.skipped
    if run.problems:
        result(f"{run.name}: nothing else wrong", "see above")


def nothing_else_skipped(run: Result, right: str) -> None:
    """Check that only tests that match RIGHT were skipped."""
    odd = [test for test in run.named("skipped") if not re.match(right, test)]
    result(f"{run.name}: something ran and nothing else was skipped",
           "" if run.passed and not odd else f"{run.passed} passed, skipped: {odd}")


def kernel(flavour: str, *more: Arg) -> bool:
    """Build a kernel if something has changed. Its output is printed immediately, as it may
    take minutes. A kernel that was up to date is not counted."""
    start, stamp = time.monotonic(), BUILD / flavour / "stamp"
    before = stamp.read_text() if stamp.exists() else ""
    run = subprocess.run([REPO / "scripts/kernel", *more, flavour], stdin=subprocess.DEVNULL,
                         check=False)
    if run.returncode or not stamp.exists() or stamp.read_text() != before:
        result(f"kernel {flavour}", "see above" if run.returncode else "", start)
    return run.returncode == 0


def patches() -> list[tuple[str, str]]:
    """(hash, short name) of the commits of the series, oldest first."""
    lines = git("log", "--reverse", "--format=%h %f", "base..series").splitlines()
    return [(line.split(" ", 1)[0], line.split(" ", 1)[1]) for line in lines]


# --- Results of earlier runs --------------------------------------------------

def seen(key: str) -> bool:
    """Whether this passed before."""
    return SEEN.exists() and key in SEEN.read_text().splitlines()


def remember(key: str) -> None:
    with SEEN.open("a") as file:
        file.write(key + "\n")


def hashed(*what: bytes) -> str:
    return hashlib.sha256(b"\0".join(what)).hexdigest()[:20]


def tooling() -> bytes:
    return b"".join(file.read_bytes() for file in TOOLING)


def fingerprint(commit: str, what: str, *files: Path) -> str:
    """An identifier of the kernel of COMMIT with the configuration FILES."""
    tree = [line for line in git("ls-tree", commit).splitlines()
            if not line.endswith(("\ttools", "\tDocumentation", "\tMAINTAINERS"))]
    name = hashed("\n".join(tree).encode(), tooling(), *(f.read_bytes() for f in files))
    return f"{what} {name}"


def of_tree(tree: str, what: str, find: Callable[[], Any]) -> Any:
    """The result of FIND() on a tree, cached for all clones."""
    name = git("rev-parse", f"{tree}^{{tree}}")
    return cached(hashed(what.encode(), name.encode(), tooling()), find)


def cached(key: str, find: Callable[[], Any]) -> Any:
    """The result of FIND(), cached by KEY unless it is None."""
    file = CACHE / "results" / key
    if file.exists():
        return json.loads(file.read_text())
    found = find()
    if found is not None:
        file.parent.mkdir(exist_ok=True)
        new = file.with_suffix(f".{os.getpid()}")
        new.write_text(json.dumps(found))
        new.rename(file)
    return found
