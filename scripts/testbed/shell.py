# SPDX-License-Identifier: GPL-2.0
"""A console on the emulated machine, or one command in it.

The kernel is one built by scripts/kernel. Inside, /tests contains the selftests and
is in the PATH, /repo is this repository (read-only), and files written to /out are in
build/shell/out. debugfs and tracefs are mounted. The functions of machine/job.sh are
defined: 'devices' lists the PCI functions, 'bind_vfio BDF' binds one to vfio-pci.

Ctrl-C is passed to the machine. 'exit' powers it off; Ctrl-A X terminates QEMU.
Without a terminal, standard input is the script to run.
"""
import argparse
import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from testbed.kernel import Kernel
from testbed.machine.guest import Guest
from testbed.machine.job import Job, Share, iort
from testbed.machine.topology import Topology, kernel_image
from testbed.paths import BUILD, REPO, Error, image

OUT = BUILD / "shell"
TIMEOUT = 3600                  # seconds for a command
PROMPT = r"""
export PS1='smmu:\w# ' TERM={term}
stty sane rows {rows} cols {columns} 2>/dev/null
echo "$(grep -c . /run/devices) devices behind $(smmus | wc -l) SMMUs; selftests in /tests; /repo; /out; 'exit' or Ctrl-A X ends"
cd /root 2>/dev/null || cd /
ENV=/lib/job.sh exec setsid -c sh -i
"""  # noqa: E501


def script(command: str | None) -> tuple[str, bool]:
    """The text of the job, and whether it is interactive."""
    if command is not None:
        return command, False
    if not sys.stdin.isatty():
        text = sys.stdin.read()
        if not text.strip():
            raise Error("no console: standard input is no terminal and has no script; give "
                        "RUN='command'")
        return text, False
    size = shutil.get_terminal_size()
    return PROMPT.format(term=os.environ.get("TERM", "vt100"), rows=size.lines,
                         columns=size.columns), True


def wait_for_gdb(job: Job) -> None:
    """Make QEMU wait for a debugger and print the command to start it."""
    # Read the IORT first, which boots the machine.
    iort(job.topology, job.kernel)
    job.extra, job.append = ["-S", "-gdb", "tcp:127.0.0.1:1234"], "nokaslr"
    print("shell: the machine waits for a debugger; in another terminal:\n"
          f"  {REPO}/scripts/toolbox gdb-multiarch {job.kernel.parents[3] / 'vmlinux'} "
          "-ex 'target remote :1234'", flush=True)


def console(job: Job) -> int:
    """Connect the terminal to the machine until it ends."""
    shutil.rmtree(OUT, ignore_errors=True)
    guest = job.start(OUT, terminal=True)
    try:
        guest.process.wait()
    finally:
        guest.kill()
        subprocess.run(["stty", "sane"], check=False)
    return 0


class Shown:
    """Prints the output of a job while it runs."""

    def __init__(self) -> None:
        self.count, self.out = 0, sys.stdout

    def lines(self, said: list[str]) -> None:
        for line in said[self.count:]:
            if not line.startswith("##"):
                print(line, file=self.out, flush=True)
        self.count = len(said)

    def watch(self, guest: Guest) -> None:
        self.lines(guest.lines("job.log")[:-1])


def command(job: Job) -> int:
    """Run one command, print its output, and return its status. All other output is on
    standard error."""
    shown = Shown()
    job.script = f"(\n{job.script}\n)\nstatus=$?\necho\nexit $status\n"
    job.watch = shown.watch
    with tempfile.TemporaryDirectory(dir=BUILD) as work, contextlib.redirect_stdout(sys.stderr):
        job.directory = Path(work) / "run"
        got = job.run()
        shown.lines([line for n, line in enumerate(got.said) if n < shown.count or line.strip()])
        files = job.directory / "out"
        if any(files.iterdir()):
            shutil.copytree(files, OUT / "out", dirs_exist_ok=True)
    for problem in got.problems:
        if not problem.startswith("the job ended with status"):
            print(f"shell: {problem}", file=sys.stderr)
    ends = [line for line in got.said if line.startswith("##end ")]
    return int(ends[-1].split()[1]) if ends else 1


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kernel", default="check", metavar="FLAVOUR",
                        help="what to boot, see scripts/kernel --help (default check)")
    parser.add_argument("--smmus", type=int, default=2, metavar="N",
                        help="SMMUs with stage 1 and 2, 1 to 12 (default 2)")
    parser.add_argument("--nvme", type=int, default=1, metavar="N",
                        help="NVMe controllers behind each (default 1)")
    parser.add_argument("--gdb", action="store_true", help="wait for a debugger")
    parser.add_argument("--run", metavar="COMMAND", help="run this, and return its status")
    parser.add_argument("--dry", action="store_true", help="only check the arguments")
    return parser.parse_args()


def main() -> int:
    args = arguments()
    if not re.fullmatch(r"[a-z0-9-]+", args.kernel):
        raise Error(f"--kernel {args.kernel}: give a flavour, such as check, bench or base-check")
    topology = Topology(smmus=args.smmus, nvme=args.nvme, virt=True)
    if args.dry:
        Kernel(args.kernel)
        if args.run is None and sys.stdin.closed:
            raise Error("no console: standard input is closed; give RUN='command'")
        return 0
    text, dialogue = script(args.run)
    installed = BUILD / "selftests/kselftest/iommu"
    job = Job(topology, kernel_image(image(args.kernel)), text, name="shell", tests=False,
              files=[installed] if installed.is_dir() else [], shares=[Share("repo", REPO)],
              timeout=TIMEOUT)
    if args.gdb:
        wait_for_gdb(job)
    return console(job) if dialogue else command(job)
