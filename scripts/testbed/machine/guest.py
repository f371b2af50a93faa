# SPDX-License-Identifier: GPL-2.0
"""A QEMU process whose channels are files in its directory."""
import contextlib
import json
import os
import re
import shlex
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from testbed.machine.klog import clean
from testbed.paths import Error

MONITOR = 600                   # seconds for an answer of QEMU's monitor
BOOTED = re.compile(r"\[.*\] (?:KTAP version|Run /init) ")
BOOT = 5                        # seconds, see Guest.slowness()


def lines_of(path: Path) -> list[str]:
    """The lines of a log, or none if it does not exist yet."""
    with contextlib.suppress(FileNotFoundError):
        return clean(path.read_text(errors="replace"))
    return []


class Guest:
    """A running QEMU. With TERMINAL its job uses the terminal of this process."""
    booted = 0.0                # seconds that the kernel took to start init or KUnit

    def __init__(self, directory: Path, args: Sequence[str], terminal: bool = False) -> None:
        self.directory, self.timed_out = directory, False
        self.start = time.monotonic()
        # Prints the progress of the job. Each loop that waits for the guest calls it.
        self.progress: Callable[[], None] = lambda: None
        (directory / "qemu.sh").write_text(shlex.join(args) + "\n")
        with open(directory / "qemu.log", "wb") as log:
            self.process = subprocess.Popen(args, cwd=directory, stderr=log,
                                            stdin=None if terminal else subprocess.DEVNULL,
                                            stdout=None if terminal else log)

    def lines(self, name: str) -> list[str]:
        return lines_of(self.directory / name)

    def slowness(self) -> float:
        """The factor of time limits, which is 1 plus 1 for each BOOT seconds of booting. Booting
        ends when the kernel starts init or KUnit, after about 3 seconds on an idle host. Scripts
        in the machine use SLOW of machine/init."""
        if not self.booted and any(map(BOOTED.match, self.lines("console.log"))):
            self.booted = time.monotonic() - self.start
        return 1 + self.booted / BOOT

    def expired(self, start: float, limit: float) -> bool:
        """Whether more than LIMIT seconds have passed since START. The limit is longer on a slow
        host."""
        return time.monotonic() - start > limit * self.slowness()

    def qmp(self, command: str, **arguments: object) -> Any:
        """Send a command to QEMU's monitor."""
        try:
            with socket.socket(socket.AF_UNIX) as s, s.makefile("rw") as stream:
                s.settimeout(MONITOR)
                # Use /proc, as names of sockets are limited in length.
                here = os.open(self.directory, os.O_PATH)
                s.connect(f"/proc/self/fd/{here}/qmp")
                os.close(here)
                stream.readline()
                for request in ({"execute": "qmp_capabilities"},
                                {"execute": command, "arguments": arguments}):
                    stream.write(json.dumps(request) + "\n")
                    stream.flush()
                    while "event" in (answer := json.loads(stream.readline())):
                        pass
        except (TimeoutError, json.JSONDecodeError):
            raise Error(f"QEMU's monitor did not answer {command}") from None
        if "error" in answer:
            raise Error(f"QEMU refused {command}: {answer['error']['desc']}")
        return answer["return"]

    def peek(self, address: int, count: int = 1, size: str = "g") -> list[int]:
        """Read physical memory or registers in words of 64 bits, or of 32 with SIZE "w"."""
        text: str = self.qmp("human-monitor-command",
                             **{"command-line": f"xp /{count}{size}x {address:#x}"})
        return [int(word, 16) for line in text.splitlines() for word in line.split(":")[1].split()]

    def peek32(self, address: int) -> int:
        return self.peek(address, size="w")[0]

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
