# SPDX-License-Identifier: GPL-2.0
"""Unpack Debian packages without installing them."""
import re
import subprocess
from collections.abc import Iterable
from pathlib import Path

from testbed.paths import Error

SOURCES = Path("/etc/apt/sources.list")


def unpack(names: Iterable[str], target: Path, suite: str, source: str, *options: str,
           sources: bytes = b"") -> None:
    """Unpack packages and their dependencies: from SUITE of the mirror SOURCE, or with "-" from
    the sources.list SOURCES."""
    try:
        made = subprocess.run(
            ["mmdebstrap", "--mode=root", "--variant=extract", "--format=directory",
             "--skip=chroot/mount,output/dev,output/mknod", *options,
             f"--include={','.join(names)}", suite, str(target), source],
            input=sources, capture_output=True, check=False)
    except OSError as error:
        raise Error(f"cannot run mmdebstrap ({error}): use 'scripts/toolbox'") from None
    if made.returncode:
        said = made.stderr.decode(errors="replace")
        why = re.findall(r"^E: .*", said, re.M) or [f"mmdebstrap: status {made.returncode}"]
        raise Error(f"cannot get {' '.join(names)} from Debian {suite or SOURCES} ({why[0]}): "
                    "check the network, and that the mirror of this machine has them")
