# SPDX-License-Identifier: GPL-2.0
"""Paths and other helpers of all commands."""
import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

# SERIES_ROOT is for the tests of scripts/series.
REPO = Path(os.environ.get("SERIES_ROOT") or Path(__file__).resolve().parents[2])
BUILD, CONFIG, MACHINE = REPO / "build", REPO / "config", REPO / "machine"
TREE, PATCHES, RUNS = BUILD / "linux", REPO / "patches", BUILD / "runs"
CACHE = Path(os.environ.get("CACHE") or
             Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "smmu-domains")


class Error(Exception):
    """An error that the user can correct, as described by its text of one line."""


def image(flavour: str) -> Path:
    """The kernel that scripts/kernel builds, or the Image at a path."""
    return Path(flavour) if "/" in flavour else BUILD / flavour / "arch/arm64/boot/Image"


@contextlib.contextmanager
def locked(file: Path) -> Iterator[None]:
    """Run the block in one process at a time."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with open(file, "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


@contextlib.contextmanager
def making(target: Path) -> Iterator[Path | None]:
    """A temporary path that is renamed to TARGET if the block succeeds, or None if TARGET
    exists. Other processes wait."""
    with locked(target.parent / f".{target.name}.lock"):
        if target.exists():
            yield None
            return
        work = target.parent / f"{target.name}.tmp"
        remove(work)
        yield work
        work.rename(target)


def cli(main: Callable[[], int]) -> None:
    """Run a command. An Error is one line on stderr and status 2."""
    # Raise an exception, so that QEMU is terminated
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        sys.exit(main())
    except (Error, OSError, subprocess.CalledProcessError) as error:
        print(f"{Path(sys.argv[0]).name}: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
