#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Figures: the base and the patched kernel in turn, on this machine, in one call.

There are five kinds of runs, each a boot of its own:

  machine   an emulated machine with 8 SMMUs; a program joins, maps and unmaps
            through iommufd (machine/bench-iommufd.c). Base: build/base-bench, the
            untouched kernel.
  time      KUnit on fake SMMUs that take 1 ms for a CMD_SYNC
  threads   the same, of up to 8 threads: on 9 CPUs, of which the SMMUs have one
  count     KUnit on fake SMMUs that take no time: instructions on one CPU
  parallel  KUnit on fake SMMUs that take no time, on two CPUs at once
            (these four: the suite arm-smmu-v3-bench of the kernel). Base:
            build/fake-bench, which is the base with the fixes that come first in
            the series and with the fake SMMU, since the base has none. The suite
            is the one of the series in both.

But for parallel, the clock of the machine counts the instructions of its CPUs,
which take turns: each is 1 ns, whatever else the host does. So all times are
counted too; what the emulator itself does in place of an SMMU takes none. --wall
has the host's clock instead, and its noise.

A boot gives the median of several samples. A figure is the median over the boots
of a kernel. The ratio is the median of patched/base of the boots that followed
each other, the spread half the range of these. The noise is how far base/base of
two boots in succession is from 1, at the most; goals that allow for noise allow for
1 % at least. Where the clock counts instructions three boots are enough.

What is printed is also in build/bench.tsv (id, base, patched, ratio, spread) and
drawn in build/bench.svg. Of join-time-* and inval-[1-9]* there is a picture in the
README, figures.svg, which is drawn anew unless with --quick. The status is 1 if a
figure is missing or a run failed, not if a goal is missed.
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

import machine
from machine import BUILD, REPO, Error, Topology

SMMUS = (1, 2, 4, 8)
MORE_SMMUS = (*SMMUS, 16)
THREADS = (1, 2, 4, 8)
DEVICES = (1, 4, 16, 64, 256, 1024, 4096)
MEBIBYTES = 256
TIMEOUT = 600
COUNT_BOOTS = 3
LEAST_NOISE = 0.01              # of times, even where they are counted

# (kernels, CPUs, whether the clock counts instructions)
KINDS = {
    "machine": (("base-bench", "bench"), 1, True),
    "time": (("fake-bench", "bench"), 2, True),
    "count": (("fake-bench", "bench"), 1, True),
    "threads": (("fake-bench", "bench"), 9, True),
    "parallel": (("fake-bench", "bench"), 2, False),
}
# What the driver says of the SMMU that is dead on purpose
DEAD = r"fake-?smmu\.\d+\.auto: (CMD_SYNC timeout|CMDQ timeout)"
FIGURE = re.compile(r"(?:##|# \w+: )figure (\S+) (\S+) ([\d.]+) ([\d.]+) ([\d.]+) (\d+)$")


def wanted():
    """{id: kind of run} of every figure there must be, in the order of the table."""
    ids = {}
    for name in ("join-time", "join-little-time", "map-time", "map-pages", "unmap-time", "unmap-2m-time",
                 "unmap-4k-time"):
        ids |= {f"{name}-{k}": "machine" for k in SMMUS}
    for name in ("inval", "inval-cmds", "inval-syncs", "sva-notifier", "sva-munmap", "sva-cmds", "sva-syncs",
                 "sva-exit", "sva-exit-stop"):
        ids |= {f"{name}-{k}": "time" for k in MORE_SMMUS}
    ids |= {name: "time" for name in ("detach-time-1", "detach-ats-time-1", "detach-ats-stays-time-1")}
    for name in ("attach-parallel", "inval-parallel", "inval-parallel-syncs"):
        ids |= {f"{name}-{n}": "threads" for n in THREADS}
    ids |= {name: "threads" for name in ("attach-beside-none", "attach-beside-dead")}
    for name in ("s1", "s1-ats", "s2-only", "s2", "s2-ats", "nested", "nested-ats"):
        for size in ("4k", "2m", "all"):
            ids |= {f"inval-insn-1-{name}-{size}": "count", f"inval-insn-1-{name}-{size}-poll": "count",
                    f"inval-cmds-1-{name}-{size}": "count", f"inval-syncs-1-{name}-{size}": "count"}
    ids |= {name: "count" for name in ("attach-1", "detach-ats-stays-1")}
    for name in ("attach-nth", "detach-nth", "attach-bytes"):
        ids |= {f"{name}-{n}": "count" for n in DEVICES}
    ids |= {f"{name}-{cpus}": "parallel" for name in ("parallel", "parallel-ats") for cpus in (1, 2)}
    return ids


# --- Figures --------------------------------------------------------------

def parse(lines):
    """{id: (unit, median)} of a run."""
    found = {}
    for line in lines:
        if m := FIGURE.search(line.rstrip()):
            if m[1] in found:
                raise Error(f"figure {m[1]} came twice in one run")
            found[m[1]] = (m[2], float(m[3]))
    return found


def ratio(patched, base):
    """With nothing to compare with, nothing is as much as nothing."""
    return patched / base if base else 1.0 if not patched else float("inf")


class Figure:
    """One figure of both kernels: BASE and PATCHED have a value for each boot."""

    def __init__(self, unit, base, patched):
        self.unit = unit
        self.base, self.patched = statistics.median(base), statistics.median(patched)
        ratios = [ratio(p, b) for p, b in zip(patched, base)]
        self.ratio = statistics.median(ratios)
        self.spread = (max(ratios) - min(ratios)) / 2 if max(ratios) < float("inf") else 0.0
        self.noise = max((abs(ratio(b, a) - 1) for a, b in zip(base, base[1:])), default=0.0)


def collect(boots):
    """{id: Figure} from {kind: ([boot of the base, …], [boot of the patched, …])}."""
    figures = {}
    for base, patched in boots.values():
        if not base or not patched:
            continue
        every = base + patched
        for name in every[0]:
            if all(name in boot for boot in every):
                figures[name] = Figure(every[0][name][0], [b[name][1] for b in base], [p[name][1] for p in patched])
    return figures


# --- Goals ----------------------------------------------------------------

def goals(figures):
    """{id: (what is wanted, met)} of the figures for which there is a goal."""
    found = {}

    def ratio_at_most(glob, limit, but=()):
        for name in fnmatch.filter(figures, glob):
            if not any(fnmatch.fnmatch(name, b) for b in but):
                found[name] = (f"ratio ≤ {limit:g}", figures[name].ratio <= limit)

    ratio_at_most("join-time-8", 0.005)
    ratio_at_most("map-pages-8", 0.13)
    ratio_at_most("inval-8", 0.15)
    ratio_at_most("inval-insn-1-*", 1.0, but=("*-poll",))
    ratio_at_most("inval-cmds-1-*", 1.0)
    ratio_at_most("inval-syncs-1-*", 1.0)
    ratio_at_most("attach-1", 1.0)
    ratio_at_most("attach-parallel-8", 0.15)
    ratio_at_most("detach-ats-stays-*", 1.05)
    ratio_at_most("detach-ats-time-1", 1.5)
    ratio_at_most("sva-exit*-8", 0.15)
    for name in fnmatch.filter(figures, "unmap-*") + fnmatch.filter(figures, "inval-parallel-syncs-*"):
        f = figures[name]
        found[name] = ("ratio ≤ 1 + noise", f.ratio <= 1 + max(f.noise, LEAST_NOISE))
    for name in fnmatch.filter(figures, "inval-parallel-[0-9]*"):
        f = figures[name]
        found[name] = ("ratio ≥ 1 - noise", f.ratio >= 1 - max(f.noise, LEAST_NOISE))
    if {"attach-beside-none", "attach-beside-dead"} <= figures.keys():
        found["attach-beside-dead"] = ("patched ≤ 1.05 of none", figures["attach-beside-dead"].patched <=
                                       1.05 * figures["attach-beside-none"].patched)

    def near(name, other, what):
        if name in figures and other in figures:
            f = figures[name]
            found.setdefault(name, (what, True))
            met = f.patched <= figures[other].patched * (1 + max(f.noise, figures[other].noise, LEAST_NOISE))
            found[name] = (found[name][0] if found[name][0] == what else f"{found[name][0]}, {what}",
                           found[name][1] and met)

    near("map-time-8", "map-time-1", "patched ≤ at 1 + noise")
    near("join-time-8", "join-little-time-8", "patched ≤ little + noise")
    if {"attach-nth-1", "attach-nth-4096"} <= figures.keys():
        one, most = figures["attach-nth-1"], figures["attach-nth-4096"]
        found["attach-nth-4096"] = ("growth ≤ base's", most.patched - one.patched <= most.base - one.base)
    return found


# --- Runs -----------------------------------------------------------------

def boot(kind, flavour, programs, samples, wall=False):
    """One run. Returns its figures and the Result."""
    kernel = machine.kernel_image(BUILD / flavour)
    name = f"bench-{kind}-{flavour}"
    _, cpus, icount = KINDS[kind]
    icount &= not wall or kind == "count"
    if kind == "machine":
        job = ("bdfs=$(for s in $(smmus); do devices $s 0x0108; done; devices 0 0x00ff)\n"
               f"bind_vfio $bdfs && bench-iommufd {samples} {MEBIBYTES} "
               "$(for bdf in $bdfs; do vfio_cdev $bdf; done)")
        run = machine.run(Topology(smmus=max(SMMUS), testdev=1, cpus=cpus, icount=icount), kernel, job,
                          name=name, files=programs, timeout=TIMEOUT, tests=False)
        return parse(run.said), run
    run = machine.run(Topology(smmus=1, cpus=cpus, icount=icount), kernel, ":", name=name,
                      kunit=f"arm-smmu-v3-bench.bench_{kind}_*", timeout=TIMEOUT, tests=False,
                      allow=[DEAD] * (kind == "threads"))
    run.problems += [f"skipped: {test}" for status, test in run.tests if status == "skipped"]
    return parse(run.console), run


def measure(kinds, repeats, samples, wall):
    """Boot both kernels in turn. Returns what collect() takes, and the problems."""
    boots = {kind: ([], []) for kind in kinds}
    problems = []
    start, done = time.monotonic(), 0
    rounds = {kind: repeats if wall or not KINDS[kind][2] else min(repeats, COUNT_BOOTS) for kind in kinds}
    with tempfile.TemporaryDirectory() as programs:
        if "machine" in kinds:
            machine.program("bench-iommufd", programs)
        for number in range(repeats):
            for kind in kinds:
                if number >= rounds[kind]:
                    continue
                for side, flavour in enumerate(KINDS[kind][0]):
                    found, run = boot(kind, flavour, programs, samples, wall)
                    done += 1
                    print(f"bench: {time.monotonic() - start:4.0f} s, boot {done} of {2 * sum(rounds.values())}: "
                          f"{kind} on {flavour}, {len(found)} figures in {run.seconds:.0f} s", flush=True)
                    if not run.ok:
                        machine.report(run)
                        problems.append(f"{kind} on {flavour} failed, see above")
                        return boots, problems
                    shutil.rmtree(run.directory, ignore_errors=True)
                    boots[kind][side].append(found)
    return boots, problems


# --- What is shown --------------------------------------------------------

def number(value):
    return f"{value:.0f}" if value >= 100 or value == int(value) else f"{value:.1f}"


def table(figures, judged):
    """The lines for a person."""
    lines = [f"{'figure':<30} {'unit':<9} {'base':>11} {'patched':>11} {'ratio':>8} {'spread':>8} {'noise':>7}  goal"]
    for name, f in figures.items():
        goal = ""
        if name in judged:
            goal = f"{judged[name][0]}: {'met' if judged[name][1] else 'missed'}"
        lines.append(f"{name:<30} {f.unit:<9} {number(f.base):>11} {number(f.patched):>11} {f.ratio:>8.4f} "
                     f"{'±' + format(f.spread, '.4f'):>8} {'±' + format(f.noise, '.3f'):>7}  {goal}".rstrip())
    return lines


def tsv(figures):
    lines = ["# id\tbase\tpatched\tratio\tspread"]
    lines += [f"{name}\t{f.base:.6g}\t{f.patched:.6g}\t{f.ratio:.6g}\t{f.spread:.4g}" for name, f in figures.items()]
    return "\n".join(lines) + "\n"


JOIN = (f"K - 1 SMMUs join {MEBIBYTES} MiB", "SMMUs", "ms", 1e-3, SMMUS[1:], (("", "join-time"),))
INVALIDATION = ("One invalidation of 4 KiB", "SMMUs", "ms", 1e-3, MORE_SMMUS, (("", "inval"),))
# What the README shows
PICTURE = (JOIN, INVALIDATION)
PANELS = (
    INVALIDATION,
    ("munmap() of a process with SVA", "SMMUs", "ms", 1e-3, MORE_SMMUS, (("", "sva-munmap"),)),
    JOIN,
    (f"Pages for tables of {MEBIBYTES} MiB", "SMMUs", "pages", 1, SMMUS, (("", "map-pages"),)),
    ("Attach (or detach) the Nth device with ATS", "devices", "instructions", 1, DEVICES,
     (("attach, ", "attach-nth"), ("detach, ", "detach-nth"))),
    ("The invalidation array", "devices", "bytes", 1, DEVICES, (("", "attach-bytes"),)),
)


def points(figures, name, counts):
    return [(n, figures[f"{name}-{n}"]) for n in counts if f"{name}-{n}" in figures]


def plot(figures, panels=PANELS):
    """A gnuplot script with its data."""
    rows = len(panels) // 2
    script = [f"set terminal svg size 1000,{400 * rows} font 'sans-serif,13' background 'white'", "set key top left",
              "set logscale xy", "set grid", "set style data linespoints", "set pointsize 0.6",
              f"set multiplot layout {rows},2"]
    for p, (title, x, unit, scale, counts, curves) in enumerate(panels):
        plots = []
        for c, (label, name) in enumerate(curves):
            found = points(figures, name, counts)
            if not found:
                continue
            script += [f"$d{p}{c} << EOD", *(f"{n} {f.base * scale} {f.patched * scale}" for n, f in found), "EOD"]
            for column, side in ((2, "base"), (3, "patched")):
                plots.append(f"$d{p}{c} using 1:{column} title '{label}{side}' lc {column + 2 * c}")
        if plots:
            ticks = ", ".join(str(n) for n in counts)
            script += [f"set title '{title}'", f"set xlabel '{x}'", f"set ylabel '{unit}'",
                       f"set xtics ({ticks})", "plot " + ", ".join(plots)]
    return "\n".join([*script, "unset multiplot"]) + "\n"


def draw(script, path):
    if not shutil.which("gnuplot"):
        raise Error(f"no gnuplot here, so {path.name} is not drawn: use 'scripts/toolbox'")
    drawn = subprocess.run(["gnuplot"], input=script, capture_output=True, text=True)
    if drawn.returncode or drawn.stderr:
        raise Error(f"gnuplot: {drawn.stderr.strip()[-500:]}")
    path.write_text(drawn.stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two boots of each kernel, fewer samples")
    parser.add_argument("--only", metavar="GLOB,...", default="*", help="only these figures, and the runs for them")
    parser.add_argument("--wall", action="store_true", help="time by the host's clock, with as many boots")
    parser.add_argument("--repeats", type=int, metavar="N", help="boots of each kernel (default 5)")
    args = parser.parse_args()
    repeats = args.repeats or (2 if args.quick else 5)
    if repeats < 1:
        raise Error("--repeats: at least 1")
    names = {name: kind for name, kind in wanted().items() if any(fnmatch.fnmatch(name, g) for g in args.only.split(","))}
    if not names:
        raise Error(f"--only {args.only}: no figure has such a name")
    kinds = [kind for kind in KINDS if kind in names.values()]
    for flavour in {flavour for kind in kinds for flavour in KINDS[kind][0]}:
        machine.kernel_image(BUILD / flavour)

    print(f"bench: {machine.qemu_version()}, {platform.machine()}, {len(names)} figures, "
          f"{repeats} boots of each kernel", flush=True)
    boots, problems = measure(kinds, repeats, 3 if args.quick else 5, args.wall)
    found = collect(boots)
    figures = {name: found[name] for name in names if name in found}
    judged = goals(found)
    print("\nBase: the untouched kernel for join, map and unmap; for all others the base with the fixes "
          "and the fake SMMU.\n")
    print("\n".join(table(figures, judged)))
    missed = [name for name in judged if name in figures and not judged[name][1]]
    print(f"\nGoals: {sum(name in figures for name in judged) - len(missed)} met, {len(missed)} missed"
          + (f": {', '.join(missed)}" if missed else ""))
    missing = [name for name in names if name not in figures]
    if missing:
        problems.append(f"{len(missing)} figures are missing: {', '.join(missing[:10])}{' …' * (len(missing) > 10)}")
    if figures:
        (BUILD / "bench.tsv").write_text(tsv(figures))
        draw(plot(figures), BUILD / "bench.svg")
        print("bench: build/bench.tsv and build/bench.svg are written")
        if not args.quick and all(len(points(figures, name, counts)) == len(counts)
                                  for *_, counts, curves in PICTURE for _, name in curves):
            draw(plot(figures, PICTURE), REPO / "figures.svg")
            print("bench: figures.svg is written, which README.md shows")
    for problem in problems:
        print(f"bench: {problem}", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(machine.cli(main))
