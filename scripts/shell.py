#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""A console on the emulated machine, or one command in it.

The kernel is one that scripts/kernel has built. Inside, /tests has the selftests
and is on the PATH, /repo is this repository (read-only), and what is written to
/out is seen in build/shell/out. debugfs and tracefs are mounted. The functions of
machine/job.sh are defined: 'devices' lists the PCI functions, 'bind_vfio BDF' gives
one to vfio-pci.

Ctrl-C goes to the machine. 'exit' powers it off; Ctrl-A X ends QEMU at once.
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

import machine
from machine import BUILD, REPO, Error, Topology

PROMPT = r"""
export PS1='smmu:\w# ' TERM={term}
stty sane rows {rows} cols {columns} 2>/dev/null
echo "$(grep -c . /run/devices) devices behind $(smmus | wc -l) SMMUs; selftests in /tests; /repo; /out; 'exit' or Ctrl-A X ends"
cd /root 2>/dev/null || cd /
ENV=/lib/job.sh exec setsid -c sh -i
"""


def job(command):
    """The text of the job, and whether it is a dialogue."""
    if command is not None:
        return command, False
    if not sys.stdin.isatty():
        script = sys.stdin.read()
        if not script.strip():
            raise Error("no console: standard input is no terminal and has no script; give RUN='command'")
        return script, False
    size = shutil.get_terminal_size()
    return PROMPT.format(term=os.environ.get("TERM", "vt100"), rows=size.lines, columns=size.columns), True


def gdb(topology, kernel):
    """QEMU's arguments to wait for a debugger, whose command is printed."""
    machine.iort(topology, kernel)      # a debugger does not wait for the first reading of it
    vmlinux = kernel.parents[3] / "vmlinux"
    print("shell: the machine waits for a debugger; in another terminal:\n"
          f"  {REPO}/scripts/toolbox gdb-multiarch {vmlinux} -ex 'target remote :1234'", flush=True)
    return ["-S", "-gdb", "tcp:127.0.0.1:1234"]


def console(topology, kernel, text, extra, append):
    """Connect the terminal to the machine until that ends."""
    directory = BUILD / "shell"
    shutil.rmtree(directory, ignore_errors=True)
    guest = machine.start_guest(topology, kernel, text, directory=directory, files=files(), append=append,
                          shares=[("repo", REPO, ",readonly=on")], extra=extra, terminal=True)
    try:
        guest.process.wait()
    finally:
        guest.kill()
        subprocess.run(["stty", "sane"], check=False)
    return 0


def files():
    installed = BUILD / "selftests/kselftest/iommu"
    return [installed] if installed.is_dir() else []


def command(topology, kernel, text, extra, append, timeout):
    """Run one command, print what it says, return its status. What the harness says
    goes to standard error."""
    shown, out = 0, sys.stdout

    def show(guest):
        nonlocal shown
        said = guest.lines("job.log")[:-1]
        for line in said[shown:]:
            if not line.startswith("##"):
                print(line, file=out, flush=True)
        shown = len(said)

    with tempfile.TemporaryDirectory(dir=BUILD) as work, contextlib.redirect_stdout(sys.stderr):
        got = machine.run(topology, kernel, f"(\n{text}\n)\nstatus=$?\necho\nexit $status\n", name="shell", files=files(), tests=False,
                          shares=[("repo", REPO, ",readonly=on")], extra=extra, append=append, watch=show,
                          timeout=timeout, directory=Path(work) / "run")
        ends = [line for line in got.said if line.startswith("##end ")]
        for line in got.said[shown:]:
            if line.strip() and not line.startswith("##"):
                print(line, file=out)
        files_out = Path(work) / "run/out"
        if any(files_out.iterdir()):
            shutil.copytree(files_out, BUILD / "shell/out", dirs_exist_ok=True)
    for problem in got.problems:
        if not re.match("the job ended with status", problem):
            print(f"shell: {problem}", file=sys.stderr)
    return int(ends[-1].split()[1]) if ends else 1


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kernel", default="check", metavar="FLAVOUR", help="what to boot, see scripts/kernel --help (default check)")
    parser.add_argument("--smmus", type=int, default=2, metavar="N", help="SMMUs with stage 1 and 2, 1 to 12 (default 2)")
    parser.add_argument("--nvme", type=int, default=1, metavar="N", help="NVMe controllers behind each (default 1)")
    parser.add_argument("--gdb", action="store_true", help="wait for a debugger")
    parser.add_argument("--run", metavar="COMMAND", help="run this, and return its status")
    parser.add_argument("--timeout", type=int, default=3600, metavar="SECONDS", help="for --run (default 3600)")
    parser.add_argument("--dry", action="store_true", help="only check the arguments")
    args = parser.parse_args()
    if not args.kernel or not re.fullmatch(r"[a-z0-9-]+", args.kernel):
        raise Error(f"--kernel {args.kernel}: give a flavour, such as check, bench or base-check")
    topology = Topology(smmus=args.smmus, nvme=args.nvme, virt=True)
    if args.dry:
        known = subprocess.run([REPO / "scripts/kernel", "--known", args.kernel], check=False, capture_output=True, text=True)
        if known.returncode:
            raise Error(known.stderr.strip().removeprefix("kernel: "))
        if args.run is None and not sys.stdin.isatty() and sys.stdin.closed:
            raise Error("no console: standard input is closed; give RUN='command'")
        return 0
    text, dialogue = job(args.run)
    kernel = machine.kernel_image(BUILD / args.kernel)
    extra, append = (gdb(topology, kernel), "nokaslr") if args.gdb else ([], "")
    if dialogue:
        return console(topology, kernel, text, extra, append)
    return command(topology, kernel, text, extra, append, args.timeout)


if __name__ == "__main__":
    sys.exit(machine.cli(main))
