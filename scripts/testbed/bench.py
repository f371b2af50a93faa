# SPDX-License-Identifier: GPL-2.0
"""Measure the base and the patched kernel, booted in turn.

There are five kinds of runs, each in a separate boot:

  machine   an emulated machine with 8 SMMUs; a program attaches, maps and unmaps
            with iommufd (machine/bench-iommufd.c). Base: build/base-bench, the
            unmodified kernel.
  time      KUnit on fake SMMUs that take 1 ms for a CMD_SYNC
  threads   the same in up to 8 threads, on 9 CPUs, one of them for the SMMUs
  count     KUnit on fake SMMUs that take no time: instructions on one CPU
  parallel  KUnit on fake SMMUs that take no time, on two CPUs at the same time
            (the last four: the suite arm-smmu-v3-bench of the kernel). Base:
            build/fake-bench, the base with the fixes at the start of the series
            and the fake SMMU, which the base lacks. Both kernels have the suite
            of the series.

Except in parallel, the clock of the machine counts instructions of 1 ns each, and the
CPUs take turns, so that times do not depend on the load of the host. Emulation of an
SMMU by QEMU takes no time. With --wall, times are from the host's clock.

The result of a boot is the median of several samples. A figure is the median of the
boots of a kernel. The ratio is the median of patched/base over pairs of successive
boots, the spread is half of the range of these. The noise is the maximum of
|base/base - 1| over successive boots. Goals that include the noise allow at least 1 %.
Three boots are sufficient if the clock counts instructions.

The output is also written to build/bench.tsv (id, base, patched, ratio, spread) and
drawn in build/bench.svg. join-time-* and inval-[1-9]* are drawn in figures.svg for the
README, except with --quick. The status is 1 if a figure is missing or a run failed, but
not if a goal is missed.
"""
import argparse
import fnmatch
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from testbed.machine.initramfs import compiled
from testbed.machine.job import Job, Result
from testbed.machine.topology import Topology, kernel_image, qemu_version
from testbed.paths import BUILD, REPO, Error

SMMUS = (1, 2, 4, 8)
MORE_SMMUS = (*SMMUS, 16)
THREADS = (1, 2, 4, 8)
DEVICES = (1, 4, 16, 64, 256, 1024, 4096)
MEBIBYTES = 256
TIMEOUT = 600
COUNT_BOOTS = 3
LEAST_NOISE = 0.01              # also if the clock counts instructions


@dataclass(frozen=True)
class Kind:
    """A kind of runs: its kernels, CPUs, and whether the clock counts instructions."""
    name: str
    base: str
    cpus: int
    icount: bool

    def flavours(self) -> tuple[str, str]:
        return self.base, "bench"


MACHINE = Kind("machine", "base-bench", 1, True)
TIME = Kind("time", "fake-bench", 2, True)
COUNT = Kind("count", "fake-bench", 1, True)
ON_THREADS = Kind("threads", "fake-bench", 9, True)
PARALLEL = Kind("parallel", "fake-bench", 2, False)
KINDS = (MACHINE, TIME, COUNT, ON_THREADS, PARALLEL)
# Driver messages about an SMMU that does not respond intentionally
DEAD = r"fake-?smmu\.\d+\.auto: (CMD_SYNC timeout|CMDQ timeout)"
FIGURE = re.compile(r"(?:##|# \w+: )figure (\S+) (\S+) ([\d.]+) ([\d.]+) ([\d.]+) (\d+)$")
# {figure: (unit, median)} of a boot
Boot = dict[str, tuple[str, float]]
# For each kind of runs, the boots of the base and of the patched kernel
Boots = dict[Kind, tuple[list[Boot], list[Boot]]]


def wanted() -> dict[str, Kind]:
    """{id: kind of run} of all figures, in the order of the table."""
    ids: dict[str, Kind] = {}

    def add(kind: Kind, names: Iterable[str], suffixes: Iterable[object] = ("",)) -> None:
        for name in names:
            for suffix in suffixes:
                ids[f"{name}-{suffix}".rstrip("-")] = kind

    add(MACHINE, ("join-time", "join-little-time", "map-time", "map-pages", "unmap-time",
                  "unmap-2m-time", "unmap-4k-time"), SMMUS)
    add(TIME, ("inval", "inval-cmds", "inval-syncs", "sva-notifier", "sva-munmap", "sva-cmds",
               "sva-syncs", "sva-exit", "sva-exit-stop"), MORE_SMMUS)
    add(TIME, ("detach-time-1", "detach-ats-time-1", "detach-ats-stays-time-1"))
    add(ON_THREADS, ("attach-parallel", "inval-parallel", "inval-parallel-syncs"), THREADS)
    add(ON_THREADS, ("attach-beside-none", "attach-beside-dead"))
    for domain in ("s1", "s1-ats", "s2-only", "s2", "s2-ats", "nested", "nested-ats"):
        for size in ("4k", "2m", "all"):
            where = f"1-{domain}-{size}"
            add(COUNT, (f"inval-insn-{where}", f"inval-insn-{where}-poll", f"inval-cmds-{where}",
                        f"inval-syncs-{where}"))
    add(COUNT, ("attach-1", "detach-ats-stays-1"))
    add(COUNT, ("attach-nth", "detach-nth", "attach-bytes"), DEVICES)
    add(PARALLEL, ("parallel", "parallel-ats"), (1, 2))
    return ids


# --- Figures ----------------------------------------------------------------

def parse(lines: Iterable[str]) -> Boot:
    found: Boot = {}
    for line in lines:
        if m := FIGURE.search(line.rstrip()):
            if m[1] in found:
                raise Error(f"figure {m[1]} came twice in one run")
            found[m[1]] = (m[2], float(m[3]))
    return found


def ratio(patched: float, base: float) -> float:
    """patched/base, or 1 if both are 0."""
    return patched / base if base else 1.0 if not patched else float("inf")


class Figure:
    """One figure of both kernels: BASE and PATCHED have a value for each boot."""

    def __init__(self, unit: str, base: Sequence[float], patched: Sequence[float]) -> None:
        self.unit = unit
        self.base, self.patched = statistics.median(base), statistics.median(patched)
        ratios = [ratio(p, b) for p, b in zip(patched, base)]
        self.ratio = statistics.median(ratios)
        infinite = max(ratios) == float("inf")
        self.spread = 0.0 if infinite else (max(ratios) - min(ratios)) / 2
        self.noise = max((abs(ratio(b, a) - 1) for a, b in zip(base, base[1:])), default=0.0)


Figures = Mapping[str, Figure]


def collect(boots: Boots) -> dict[str, Figure]:
    """The figures found in all boots."""
    figures = {}
    for base, patched in boots.values():
        every = base + patched
        for name in every[0] if base and patched else ():
            if all(name in boot for boot in every):
                figures[name] = Figure(every[0][name][0], [b[name][1] for b in base],
                                       [p[name][1] for p in patched])
    return figures


# --- Goals --------------------------------------------------------------------

AT_MOST = {"join-time-8": 0.005, "map-pages-8": 0.13, "inval-8": 0.15, "inval-insn-1-*": 1.0,
           "inval-cmds-1-*": 1.0, "inval-syncs-1-*": 1.0, "attach-1": 1.0,
           "attach-parallel-8": 0.15, "detach-ats-stays-*": 1.05, "detach-ats-time-1": 1.5,
           "sva-exit*-8": 0.15}
NO_GOAL = "*-poll"
WITHIN_NOISE = ("unmap-*", "inval-parallel-syncs-*")
AS_MANY = "inval-parallel-[0-9]*"
# Figures of the patched kernel that must be close to another figure of it
NEAR = {"map-time-8": ("map-time-1", "patched ≤ at 1 + noise"),
        "join-time-8": ("join-little-time-8", "patched ≤ little + noise")}


@dataclass
class Goal:
    text: str
    met: bool


def goals(figures: Figures) -> dict[str, Goal]:
    """The goals of figures."""
    found: dict[str, Goal] = {}
    for glob, limit in AT_MOST.items():
        for name in fnmatch.filter(figures, glob):
            if not fnmatch.fnmatch(name, NO_GOAL):
                found[name] = Goal(f"ratio ≤ {limit:g}", figures[name].ratio <= limit)
    for glob in WITHIN_NOISE:
        for name in fnmatch.filter(figures, glob):
            met = figures[name].ratio <= 1 + noise(figures[name])
            found[name] = Goal("ratio ≤ 1 + noise", met)
    for name in fnmatch.filter(figures, AS_MANY):
        met = figures[name].ratio >= 1 - noise(figures[name])
        found[name] = Goal("ratio ≥ 1 - noise", met)
    for name, (other, text) in NEAR.items():
        if name in figures and other in figures:
            allowed = 1 + noise(figures[name], figures[other])
            met = figures[name].patched <= figures[other].patched * allowed
            if before := found.get(name):
                text, met = f"{before.text}, {text}", before.met and met
            found[name] = Goal(text, met)
    if {"attach-beside-none", "attach-beside-dead"} <= figures.keys():
        none, dead = figures["attach-beside-none"], figures["attach-beside-dead"]
        met = dead.patched <= 1.05 * none.patched
        found["attach-beside-dead"] = Goal("patched ≤ 1.05 of none", met)
    if {"attach-nth-1", "attach-nth-4096"} <= figures.keys():
        one, most = figures["attach-nth-1"], figures["attach-nth-4096"]
        met = most.patched - one.patched <= most.base - one.base
        found["attach-nth-4096"] = Goal("growth ≤ base's", met)
    return found


def noise(*figures: Figure) -> float:
    return max(LEAST_NOISE, *(figure.noise for figure in figures))


# --- Runs ---------------------------------------------------------------------

def boot(kind: Kind, flavour: str, programs: Path, samples: int,
         wall: bool = False) -> tuple[Boot, Result]:
    """Boot once. Return the figures and the result."""
    kernel = kernel_image(BUILD / flavour)
    name, icount = f"bench-{kind.name}-{flavour}", kind.icount and (not wall or kind is COUNT)
    if kind is MACHINE:
        script = ("bdfs=$(for s in $(smmus); do devices $s 0x0108; done; devices 0 0x00ff)\n"
                  f"bind_vfio $bdfs && bench-iommufd {samples} {MEBIBYTES} "
                  "$(for bdf in $bdfs; do vfio_cdev $bdf; done)")
        run = Job(Topology(smmus=max(SMMUS), testdev=1, cpus=kind.cpus, icount=icount), kernel,
                  script, name=name, files=[programs], timeout=TIMEOUT, tests=False).run()
        return parse(run.said), run
    run = Job(Topology(smmus=1, cpus=kind.cpus, icount=icount), kernel, ":", name=name,
              kunit=f"arm-smmu-v3-bench.bench_{kind.name}_*", timeout=TIMEOUT, tests=False,
              allow=[DEAD] if kind is ON_THREADS else []).run()
    run.problems += [f"skipped: {test}" for test in run.named("skipped")]
    return parse(run.console), run


@dataclass
class Measurement:
    """Boots both kernels in turn."""
    kinds: Sequence[Kind]
    repeats: int
    samples: int
    wall: bool
    boots: Boots = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def rounds(self, kind: Kind) -> int:
        return min(self.repeats, COUNT_BOOTS) if kind.icount and not self.wall else self.repeats

    def run(self) -> None:
        self.boots = {kind: ([], []) for kind in self.kinds}
        todo = [(kind, side) for number in range(self.repeats) for kind in self.kinds
                if number < self.rounds(kind) for side in range(2)]
        start = time.monotonic()
        with tempfile.TemporaryDirectory() as tmp:
            if MACHINE in self.kinds:
                compiled("bench-iommufd", Path(tmp))
            for done, (kind, side) in enumerate(todo, 1):
                flavour = kind.flavours()[side]
                found, run = boot(kind, flavour, Path(tmp), self.samples, self.wall)
                print(f"bench: {time.monotonic() - start:4.0f} s, boot {done} of {len(todo)}: "
                      f"{kind.name} on {flavour}, {len(found)} figures in {run.seconds:.0f} s",
                      flush=True)
                if not run.ok:
                    run.report()
                    self.problems.append(f"{kind.name} on {flavour} failed, see above")
                    return
                shutil.rmtree(run.directory, ignore_errors=True)
                self.boots[kind][side].append(found)


# --- Output -------------------------------------------------------------------

def number(value: float) -> str:
    return f"{value:.0f}" if value >= 100 or value == int(value) else f"{value:.1f}"


def table(figures: Figures, goal_of: Mapping[str, Goal]) -> list[str]:
    """The lines of the printed table."""
    lines = [f"{'figure':<30} {'unit':<9} {'base':>11} {'patched':>11} {'ratio':>8} {'spread':>8} "
             f"{'noise':>7}  goal"]
    for name, f in figures.items():
        goal = goal_of.get(name)
        text = f"{goal.text}: {'met' if goal.met else 'missed'}" if goal else ""
        spread, far = f"±{f.spread:.4f}", f"±{f.noise:.3f}"
        lines.append(f"{name:<30} {f.unit:<9} {number(f.base):>11} {number(f.patched):>11} "
                     f"{f.ratio:>8.4f} {spread:>8} {far:>7}  {text}".rstrip())
    return lines


def tsv(figures: Figures) -> str:
    lines = ["# id\tbase\tpatched\tratio\tspread"]
    lines += [f"{name}\t{f.base:.6g}\t{f.patched:.6g}\t{f.ratio:.6g}\t{f.spread:.4g}"
              for name, f in figures.items()]
    return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class Panel:
    """A plot of figures NAME-N over N, with a labelled curve for each."""
    title: str
    x: str
    unit: str
    scale: float
    counts: Sequence[int]
    curves: Mapping[str, str]

    def points(self, figures: Figures, name: str) -> list[tuple[int, Figure]]:
        return [(n, figures[f"{name}-{n}"]) for n in self.counts if f"{name}-{n}" in figures]

    def script(self, figures: Figures, panel: int) -> list[str]:
        """The gnuplot script with the data."""
        script, plots = [], []
        for c, (name, label) in enumerate(self.curves.items()):
            found, data = self.points(figures, name), f"$d{panel}{c}"
            if not found:
                continue
            script += [f"{data} << EOD", *(f"{n} {f.base * self.scale} {f.patched * self.scale}"
                                           for n, f in found), "EOD"]
            for column, side in ((2, "base"), (3, "patched")):
                plots.append(f"{data} using 1:{column} title '{label}{side}' lc {column + 2 * c}")
        if not plots:
            return []
        return [*script, f"set title '{self.title}'", f"set xlabel '{self.x}'",
                f"set ylabel '{self.unit}'", f"set xtics ({', '.join(map(str, self.counts))})",
                "plot " + ", ".join(plots)]


JOIN = Panel(f"K - 1 SMMUs join {MEBIBYTES} MiB", "SMMUs", "ms", 1e-3, SMMUS[1:], {"join-time": ""})
INVALIDATION = Panel("One invalidation of 4 KiB", "SMMUs", "ms", 1e-3, MORE_SMMUS, {"inval": ""})
# The panels in the README
PICTURE = (JOIN, INVALIDATION)
PANELS = (
    INVALIDATION,
    Panel("munmap() of a process with SVA", "SMMUs", "ms", 1e-3, MORE_SMMUS, {"sva-munmap": ""}),
    JOIN,
    Panel(f"Pages for tables of {MEBIBYTES} MiB", "SMMUs", "pages", 1, SMMUS, {"map-pages": ""}),
    Panel("Attach (or detach) the Nth device with ATS", "devices", "instructions", 1, DEVICES,
          {"attach-nth": "attach, ", "detach-nth": "detach, "}),
    Panel("The invalidation array", "devices", "bytes", 1, DEVICES, {"attach-bytes": ""}),
)


def plot(figures: Figures, panels: Sequence[Panel] = PANELS) -> str:
    rows = len(panels) // 2
    script = [f"set terminal svg size 1000,{400 * rows} font 'sans-serif,13' background 'white'",
              "set key top left", "set logscale xy", "set grid", "set style data linespoints",
              "set pointsize 0.6", f"set multiplot layout {rows},2"]
    for p, panel in enumerate(panels):
        script += panel.script(figures, p)
    return "\n".join([*script, "unset multiplot"]) + "\n"


def draw(script: str, path: Path) -> None:
    if not shutil.which("gnuplot"):
        raise Error(f"no gnuplot here, so {path.name} is not drawn: use 'scripts/toolbox'")
    drawn = subprocess.run(["gnuplot"], input=script, capture_output=True, text=True, check=False)
    if drawn.returncode or drawn.stderr:
        raise Error(f"gnuplot: {drawn.stderr.strip()[-500:]}")
    path.write_text(drawn.stdout)


def write(figures: Figures, quick: bool) -> None:
    """Write the figures and draw them."""
    (BUILD / "bench.tsv").write_text(tsv(figures))
    draw(plot(figures), BUILD / "bench.svg")
    print("bench: build/bench.tsv and build/bench.svg are written")
    if not quick and all(len(panel.points(figures, name)) == len(panel.counts)
                         for panel in PICTURE for name in panel.curves):
        draw(plot(figures, PICTURE), REPO / "figures.svg")
        print("bench: figures.svg is written, which README.md shows")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true",
                        help="two boots of each kernel, fewer samples")
    parser.add_argument("--only", metavar="GLOB,...", default="*",
                        help="only these figures, and the runs for them")
    parser.add_argument("--wall", action="store_true",
                        help="use the host's clock, and all repeats")
    parser.add_argument("--repeats", type=int, metavar="N", help="boots of each kernel (default 5)")
    args = parser.parse_args()
    args.repeats = (2 if args.quick else 5) if args.repeats is None else args.repeats
    if args.repeats < 1:
        raise Error("--repeats: at least 1")
    return args


def main() -> int:
    args = arguments()
    names = {name: kind for name, kind in wanted().items()
             if any(fnmatch.fnmatch(name, glob) for glob in args.only.split(","))}
    if not names:
        raise Error(f"--only {args.only}: no figure has such a name")
    kinds = [kind for kind in KINDS if kind in names.values()]
    for flavour in {flavour for kind in kinds for flavour in kind.flavours()}:
        kernel_image(BUILD / flavour)
    print(f"bench: {qemu_version()}, {platform.machine()}, {len(names)} figures, "
          f"{args.repeats} boots of each kernel", flush=True)
    measured = Measurement(kinds, args.repeats, 3 if args.quick else 5, args.wall)
    measured.run()
    found = collect(measured.boots)
    figures = {name: found[name] for name in names if name in found}
    goal_of = {name: goal for name, goal in goals(found).items() if name in figures}
    print("\nBase: the unmodified kernel for join, map and unmap; for all others the base with the "
          "fixes and the fake SMMU.\n")
    print("\n".join(table(figures, goal_of)))
    missed = [name for name, goal in goal_of.items() if not goal.met]
    print(f"\nGoals: {len(goal_of) - len(missed)} met, {len(missed)} missed"
          + (f": {', '.join(missed)}" if missed else ""))
    problems, missing = measured.problems, [name for name in names if name not in figures]
    if missing:
        problems.append(f"{len(missing)} figures are missing: {', '.join(missing[:10])}"
                        f"{' ...' * (len(missing) > 10)}")
    if figures:
        write(figures, args.quick)
    for problem in problems:
        print(f"bench: {problem}", file=sys.stderr)
    return 1 if problems else 0
