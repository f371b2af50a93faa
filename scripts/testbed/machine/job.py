# SPDX-License-Identifier: GPL-2.0
"""Boot a kernel on the emulated machine and run a job there.

A job is a shell script that /init (machine/init) runs as /job. It can use the functions
of machine/job.sh. It reports its results as (K)TAP.

Linux supports vSMMUs only if the IORT has CANWBS for PCI: write-back caching can be
forced. QEMU's IORT lacks it. The IORT of each topology is read once from the machine,
edited, cached, and passed to the kernel as an ACPI table upgrade.
"""
import base64
import hashlib
import json
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from testbed.machine import acpi, klog, topology as machines
from testbed.machine.guest import Guest
from testbed.machine.initramfs import acpi_tables, base_files, cpio, tree
from testbed.machine.tap import RESULT, Tap, parse_tap
from testbed.machine.topology import Topology, firmware, kernel_image, qemu_version
from testbed.paths import CACHE, RUNS, Error, making

APPEND = "console=ttyAMA0 earlycon loglevel=7 panic=-1"
HEARTBEAT = 15                  # seconds between signs of progress
REPORT = 2                      # seconds for the rest of a report
FAILED = re.compile(f"(?:{klog.STAMP.pattern})? *not ok ")
TABLES = 2                      # increment when the edits of ACPI tables change


@dataclass(frozen=True)
class Share:
    """A directory mounted as /TAG in the guest by 9p."""
    tag: str
    path: Path
    readonly: bool = True

    def arguments(self) -> list[str]:
        mode = ",readonly=on" if self.readonly else ""
        return ["-fsdev", f"local,id={self.tag},path={self.path},security_model=none{mode},"
                "multidevs=remap",
                "-device", f"virtio-9p-pci,bus=pcie.0,fsdev={self.tag},mount_tag={self.tag}"]


@dataclass(kw_only=True)
class Result(Tap):
    """The result of a run. It has passed if no test failed and there are no problems."""
    name: str
    devices: list[str] = field(default_factory=list)    # lines of /run/devices
    kernel: str = ""
    lockdep: str = "absent"                             # or on, off
    seconds: float = 0
    console: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)       # the output of the job
    directory: Path = Path()

    @property
    def ok(self) -> bool:
        return not self.failed and not self.problems

    def summary(self) -> str:
        more = f", {len(self.problems)} problems" if self.problems else ""
        return (f"{self.name}: {self.passed} passed, {self.failed} failed, "
                f"{self.skipped} skipped{more} in {self.seconds:.0f} s")

    def report(self, keep: bool = False) -> int:
        """Print the result, and remove the files if it has passed."""
        for text in self.failures + self.problems:
            print(f"  {text}")
        for name in self.named("skipped")[:5]:
            print(f"  skipped: {name}")
        print(self.summary(), flush=True)
        if self.ok and not keep:
            shutil.rmtree(self.directory, ignore_errors=True)
        else:
            print(f"  (logs in {self.directory})", flush=True)
        return 0 if self.ok else 1


class JobOutput:
    """Parses the output of a job: TAP streams between ##begin and ##done, and the other
    ## lines of machine/init."""

    def __init__(self, result: Result) -> None:
        self.result, self.label, self.ended = result, "", False
        self.stream: list[str] = []

    def finish(self, status: int | None = None) -> None:
        """Evaluate a stream, whose program ended with this status."""
        tap, label = parse_tap(self.stream, self.label), self.label
        seen = tap.passed + tap.failed + tap.skipped
        if label and status == 4 and not seen:
            tap.skip(label)
        elif label and not seen:
            tap.problems.append(f"{label}: reported no test (status {status})")
        elif label and status not in (0, 4) and not tap.failed:
            tap.problems.append(f"{label}: ended with status {status} though no test failed")
        self.result.add(tap)
        self.stream, self.label = [], ""

    def word(self, word: str, rest: str) -> None:
        result = self.result
        match word:
            case "begin":
                self.finish()
                self.label = rest
            case "done":
                self.finish(int(rest.split()[-1]))
            case "kernel":
                result.kernel = rest
            case "device":
                result.devices.append(rest)
            case "problem":
                result.problems.append(rest)
            case "lockdep":
                result.lockdep = "on" if rest == "1" else "off"
                if rest != "1":
                    result.problems.append("lockdep switched itself off during the run")
            case "tainted":
                result.problems += klog.scan_taint(int(rest))
            case "end":
                self.ended = True
                if rest != "0":
                    result.problems.append(f"the job ended with status {rest}")

    def read(self, lines: Sequence[str]) -> bool:
        """Fill the result. True if the job has ended."""
        for line in lines:
            if line.startswith("##"):
                word, _, rest = line[2:].partition(" ")
                self.word(word, rest)
            else:
                self.stream.append(line)
        if self.label:
            self.result.problems.append(f"{self.label}: never ended")
            self.label = ""
        self.finish()
        return self.ended


def read_job(result: Result, lines: Sequence[str]) -> bool:
    return JobOutput(result).read(lines)


@dataclass
class Job:
    """A shell script, and the machine and kernel that run it."""
    topology: Topology
    kernel: Path
    script: str
    name: str = "job"
    files: Sequence[Path] = ()              # directories copied to /tests
    shares: Sequence[Share] = ()
    kunit: str = ""                         # glob of suites to run at boot
    append: str = ""                        # kernel arguments
    timeout: float = 300                    # seconds, longer on a slow host
    tests: bool = True                      # whether the job reports tests
    allow: Sequence[str] = ()               # regular expressions of expected bad lines
    tables: Mapping[str, bytes] | None = None   # ACPI tables; None: an IORT with CANWBS
    trace: Sequence[str] = ()               # QEMU's trace events
    extra: Sequence[str] = ()               # QEMU's arguments
    directory: Path | None = None           # for logs and images
    watch: Callable[[Guest], None] | None = None    # called several times a second
    short: bool = False                     # end when a KUnit case fails or the kernel complains

    def start(self, directory: Path, terminal: bool = False) -> Guest:
        """Start the machine. With TERMINAL the job uses the terminal of this process."""
        qemu_version()
        kernel = kernel_image(self.kernel)
        tables = self.tables
        if tables is None:
            tables = {"iort": iort(self.topology, kernel)}
        content = base_files(self.script)
        for entry in self.files:
            content |= tree(entry, "tests")
        for name in ("images", "out"):
            (directory / name).mkdir(parents=True)
        (directory / "initrd").write_bytes((acpi_tables(tables) if tables else b"") + cpio(content))
        for serial in self.topology.disks():
            with open(directory / f"images/{serial}.img", "wb") as file:
                file.truncate(machines.IMAGE_SIZE)
        return Guest(directory, self.arguments(kernel, terminal), terminal)

    def arguments(self, kernel: Path, terminal: bool) -> list[str]:
        kunit = ("kunit.enable=0" if not self.kunit else
                 f"kunit.enable=1 kunit.timeout=3600 kunit.filter_glob={self.kunit}")
        channel = ("stdio,id=job,mux=on,signal=off,logfile=job.log" if terminal else
                   "file,id=job,path=job.log")
        args = [machines.QEMU, *self.topology.board(), "-bios", str(firmware()), "-nodefaults",
                "-display", "none", "-no-reboot", "-kernel", str(kernel), "-initrd", "initrd",
                "-append", " ".join(filter(None, (APPEND, self.append, kunit))),
                # The kernel log on ttyAMA0, the job on hvc0, QEMU's monitor
                "-serial", "file:console.log", "-device", "virtio-serial-pci,bus=pcie.0",
                "-chardev", channel, "-device", "virtconsole,chardev=job",
                "-qmp", "unix:qmp,server=on,wait=off", *self.topology.devices()]
        for share in (Share("out", Path("out"), readonly=False), *self.shares):
            args += share.arguments()
        for pattern in self.trace:
            args += ["-trace", pattern, "-D", "trace.log"]
        return args + list(self.extra)

    def run(self) -> Result:
        """Run the job to its end. The result contains all problems."""
        directory = self.empty_directory()
        result = Result(name=self.name, directory=directory)
        start = time.monotonic()
        guest = self.start(directory)
        try:
            self.wait(guest, start)
        finally:
            guest.kill()
        result.seconds = time.monotonic() - start
        result.console, result.said = guest.lines("console.log"), guest.lines("job.log")
        self.evaluate(result, guest.lines("qemu.log"),
                      f"timeout: no end after {result.seconds:.0f} s" if guest.timed_out else
                      f"the guest died (QEMU's status {guest.process.returncode}) before the end "
                      "of the job")
        return result

    def is_wrong(self, line: str) -> bool:
        """Whether a line of the kernel log is a failed test or an unexpected bad line."""
        return bool(FAILED.match(line) or
                    klog.bad(line) and not any(re.search(a, line) for a in self.allow))

    def empty_directory(self) -> Path:
        if not self.directory:
            RUNS.mkdir(parents=True, exist_ok=True)
            return Path(tempfile.mkdtemp(prefix=f"{self.name}-", dir=RUNS))
        directory = self.directory.resolve()
        if directory.exists() and any(directory.iterdir()):
            if not (directory / "qemu.sh").exists():
                raise Error(f"{directory} is not empty, and not of an earlier run; remove it")
            shutil.rmtree(directory)
        directory.mkdir(parents=True, exist_ok=True)
        return directory

    def wait(self, guest: Guest, start: float) -> None:
        """Wait until QEMU ends or the timeout expires, and show progress."""
        beat, wrong, read = start, 0.0, 0

        def progress() -> None:
            nonlocal beat
            now = time.monotonic()
            if now - beat > HEARTBEAT:
                self.show(guest, now - start)
                beat = now

        guest.progress = progress
        while guest.process.poll() is None:
            now = time.monotonic()
            if guest.expired(start, self.timeout):
                guest.timed_out = True
                return
            if wrong and now > wrong + REPORT:
                return
            if self.watch:
                self.watch(guest)
            if self.short:
                lines = guest.lines("console.log")
                if not wrong and any(map(self.is_wrong, lines[read:])):
                    wrong = now
                read = max(0, len(lines) - 1)
            progress()
            time.sleep(0.1)

    def show(self, guest: Guest, seconds: float) -> None:
        """Print the progress after these SECONDS."""
        count = sum(bool(RESULT.match(l.strip())) for l in guest.lines("job.log"))
        results = f"{count} results so far, " if self.tests else ""
        logs = [*guest.directory.rglob("console.log"), *guest.directory.rglob("job.log")]
        newest = max(logs, key=lambda path: path.stat().st_mtime, default=Path("none"))
        last = [l for l in guest.lines(str(newest)) if l.strip()] or ["nothing yet"]
        print(f"  {self.name}: {seconds:.0f} s of at most {self.timeout * guest.slowness():.0f}, "
              f"{results}last: {last[-1][:90]}", flush=True)

    def evaluate(self, result: Result, qemu: Sequence[str], how: str) -> None:
        """Fill RESULT from its console and the output of the job. HOW describes the end of
        QEMU, for a job that has not ended."""
        if self.kunit:
            log = [klog.STAMP.sub("", line) for line in result.console]
            first = next((i for i, l in enumerate(log) if l.startswith("KTAP version")), len(log))
            seen = parse_tap(log[first:], "KUnit")
            result.add(seen)
            if self.short and any(map(self.is_wrong, result.console)):
                # The rest of the log is missing.
                result.problems = klog.scan_log([l for l in result.console if self.is_wrong(l)])
                return
            if not seen.tests:
                result.problems.append(f"KUnit: no test of this kernel matches '{self.kunit}'")
        if read_job(result, result.said):
            result.problems += self.missing(result)
        else:
            last = [how + "; the last lines:"]
            for what, log, count in (("kernel log", result.console, 12), ("job", result.said, 8),
                                     ("QEMU", list(qemu), 8)):
                last += [f"({what})", *[l for l in log if l.strip()][-count:]]
            result.problems.append("\n    ".join(last))
        result.problems += klog.scan_log(result.console, self.allow)
        if self.tests and not result.tests:
            result.problems.append("no test reported anything")

    def missing(self, result: Result) -> list[str]:
        """Check the console and shares of a job that has ended."""
        problems = []
        if not any("machine: end of job" in l for l in result.console):
            problems.append("the kernel log misses its end marker, so part of it is lost")
        if self.tables != {} and not any("override [IORT" in l for l in result.console):
            problems.append("the kernel did not take the IORT: it needs CONFIG_ACPI_TABLE_UPGRADE")
        return problems + [f"share {share.tag} was not mounted: has this kernel 9p over virtio?"
                           for share in self.shares if f"##mounted {share.tag}" not in result.said]


def table(signature: str, edit: Callable[[bytes], bytes], topology: Topology,
          kernel: Path) -> bytes:
    """The edited ACPI table of a topology, cached or read by booting once."""
    made_of = [TABLES, qemu_version(), firmware().stat().st_size, topology.board(),
               topology.devices()]
    key = hashlib.sha256(json.dumps(made_of).encode()).hexdigest()[:16]
    target = CACHE / f"{signature.lower()}-{key}.aml"
    if target.exists():
        return target.read_bytes()
    with making(target) as work, tempfile.TemporaryDirectory() as tmp:
        if work:
            print(f"machine: reading the {signature} of a new topology (once)", flush=True)
            got = Job(topology, kernel, name=signature.lower(), tables={}, tests=False,
                      directory=Path(tmp), script="base64 /sys/firmware/acpi/tables/"
                      f"{signature} | sed s/^/table:/").run()
            # Ignore other problems, such as messages of the kernel.
            if "##end 0" not in got.said:
                raise Error(f"cannot read the machine's {signature}:\n" + "\n".join(got.problems))
            text = "".join(line[6:] for line in got.said if line.startswith("table:"))
            work.write_bytes(edit(base64.b64decode(text)))
    return target.read_bytes()


def iort(topology: Topology, kernel: Path) -> bytes:
    return table("IORT", acpi.iort_with_canwbs, topology, kernel)


def dsdt(topology: Topology, kernel: Path) -> bytes:
    return table("DSDT", acpi.dsdt_with_boot_config, topology, kernel)
