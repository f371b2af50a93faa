#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Search every state of the model of the command queues, tests/model/cmdq.pml.

The rules must hold, in a search that is complete and reaches each statement.
Each way to break them must be found: that search has to end in the error it is
known for. What the rules are and what is not modelled: the top of cmdq.pml.
"""
import argparse
import concurrent.futures as futures
import os
import pathlib
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

HERE = pathlib.Path(__file__).resolve().parent
MODEL = HERE / "cmdq.pml"
BUILD = HERE.parent.parent / "build/model"
MEGABYTES, DEPTH = 2800, 3000000
STUCK, CYCLE = r"invalid end state", r"non-progress cycle"


@dataclass
class Case:
    name: str
    macros: str
    error: str = ""         # the error that must be found; none: the rules hold
    cycles: bool = False    # search for cycles, too


ONE_QUEUE = "CPUS=2 QUEUES=1 SIZE=2"
CASES = [
    Case("rules: 1 CPU, 2 queues of 2", "CPUS=1 SIZE=2"),
    Case("rules: 2 CPUs, 1 queue of 2", ONE_QUEUE),
    Case("rules: 3 CPUs, 1 queue of 1", "CPUS=3 QUEUES=1"),
    Case("rules: 3 CPUs, 1 queue of 2, 1 post each", "CPUS=3 QUEUES=1 SIZE=2 POSTS=1"),
    Case("rules: 2 CPUs, 2 queues of 1", ""),
    Case("rules: 2 CPUs, 2 queues of 2, 2 posts with CMD_SYNC each", "SIZE=2 POSTS=2 SYNCS"),
    Case("timeouts: 2 CPUs, 1 queue of 2", f"GIVE_UP {ONE_QUEUE}"),
    Case("timeouts: 2 CPUs, 2 queues of 1", "GIVE_UP SYNCS POSTS=3"),
    Case("MSIs: 2 CPUs, 1 queue of 2", f"MSI {ONE_QUEUE}"),
    Case("late MSIs: 2 CPUs, 1 queue of 1", "MSI GIVE_UP CPUS=2 QUEUES=1"),
    Case("late MSIs: 2 CPUs, 1 queue of 2, 3 posts with CMD_SYNC each", f"MSI GIVE_UP POSTS=3 SYNCS {ONE_QUEUE}"),
    Case("late MSIs: 2 CPUs, 2 queues of 1, 2 posts each", "MSI GIVE_UP POSTS=2"),
    Case("dead: 2 CPUs, 1 queue of 2", f"DEAD GIVE_UP {ONE_QUEUE}"),
    Case("walks: 2 CPUs, 2 queues of 1, 2 posts with CMD_SYNC each", "RCU SYNCS POSTS=2"),
    Case("dead, walks: 2 CPUs, 1 queue of 1", "RCU DEAD GIVE_UP QUEUES=1"),
    Case("dead, walks: 1 CPU, 2 queues of 1, 3 posts", "RCU DEAD GIVE_UP CPUS=1 POSTS=3"),
    Case("ends: 2 CPUs, 2 queues of 1, 2 posts each", "POSTS=2", cycles=True),
    Case("rules, with base's wait for space and its time-out: 2 CPUs, 2 queues of 1", "BASE_SPACE TIMEOUT"),
    Case("base: 2 CPUs, 2 queues of 1, one CMD_SYNC at a time, wfe first", "PENDING=1 NAIVE_WFE BASE_SPACE TIMEOUT"),
    Case("naive: blocks while something is pending", "NAIVE_BLOCK SYNCS", STUCK),
    Case("naive: blocks for another queue only", "NAIVE_OTHER SYNCS", STUCK),
    Case("naive: blocks for the same queue only", "NAIVE_SAME SYNCS", STUCK),
    Case("naive: blocks without CMD_SYNC only", "NAIVE_NOSYNC", STUCK),
    Case("naive: wfe before the first look", "NAIVE_WFE", STUCK),
    Case("naive: one look after a wfe", "NAIVE_SKIP", STUCK),
    Case("naive: a walk begins again and forgets what is pending", "NAIVE_RESTART RCU QUEUES=1", STUCK),
    Case("naive: lock released by the post", "NAIVE_LOCK", STUCK),
    Case("base: a wait for space that does not end", "BASE_SPACE QUEUES=1", STUCK),
    Case("base: two last holders, neither of them refreshes", "BASE_SPACE CPUS=3 QUEUES=1 SIZE=2 POSTS=1 SYNCS", STUCK),
    Case("base: wfe for space without an event", "BASE_WFE QUEUES=1", STUCK),
    Case("base: CONS published as if all was consumed", f"BASE_CONS MSI GIVE_UP POSTS=3 {ONE_QUEUE}", r"assertion.*slot.*==0"),
    Case("base: an MSI writes to a slot", f"BASE_SLOT MSI GIVE_UP POSTS=3 {ONE_QUEUE}", r"assertion.*slot.*==0"),
    Case("base: a dead SMMU holds up the grace period", "BASE_RCU RCU DEAD GIVE_UP QUEUES=1", r"assertion.*restarts"),
    Case("base: no report when the queue is not full", f"BASE_FULL DEAD GIVE_UP {ONE_QUEUE}", STUCK),
    Case("naive: a late MSI completes the next CMD_SYNC", f"NAIVE_LATE MSI GIVE_UP POSTS=3 {ONE_QUEUE}", r"assertion.*slot.*==0"),
    Case("broken: space counted wrong", f"BREAK_SPACE {ONE_QUEUE}", r"assertion.*slot.*==0"),
    Case("broken: CMD_SYNC taken for done too early", f"BREAK_SYNC {ONE_QUEUE}", r"assertion.*slot.*==0"),
    Case("broken: owner does not wait for its turn", f"BREAK_OWNER {ONE_QUEUE}", r"assertion.*hwprod"),
    Case("broken: owner does not wait for the valid map", f"BREAK_VALID {ONE_QUEUE}", r"assertion.*got!=0"),
    Case("broken: exclusive lock beside shared ones", "BREAK_LOCK", r"assertion.*slot.*==0"),
    Case("broken: each holder writes the copy of CONS", f"BREAK_LAST {ONE_QUEUE}", r"assertion.*slot.*==0"),
    Case("broken: event before CONS", "BREAK_EVENT", STUCK),
    Case("reached: no space after waiting for all", "REACH", r"assertion"),
    Case("reached: a cycle, without a limit of posts", "", CYCLE, cycles=True),
]
DEEP = [
    Case("rules: 2 CPUs, 2 queues of 2, 2 posts each", "SIZE=2 POSTS=2"),
    Case("rules: 3 CPUs, 2 queues of 1, 2 posts with CMD_SYNC each", "CPUS=3 POSTS=2 SYNCS"),
]


def output(directory: pathlib.Path, *args: str) -> tuple[int, str]:
    run = subprocess.run(args, cwd=directory, text=True, stdin=subprocess.DEVNULL,
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return run.returncode, run.stdout


def search(case: Case) -> tuple[str, int, set[str], set[str]]:
    """Returns (problem, states, the lines of all statements, those that were not all reached)."""
    where = BUILD / re.sub(r"\W+", "-", case.name)
    where.mkdir(parents=True, exist_ok=True)
    for old in where.iterdir():
        old.unlink()
    (where / MODEL.name).write_text(MODEL.read_text())
    macros = [f"-D{m}" for m in case.macros.split()]
    # Breadth first finds the shortest way to an error. No partial order
    # reduction: it gains nothing here.
    how = ["-O2", "-DNP"] if case.cycles else ["-DSAFETY", "-DBFS", "-O0"] if case.error else ["-O2", "-DSAFETY"]
    for step in (["spin", *macros, "-a", MODEL.name],
                 ["gcc", "-w", "-DNOREDUCE", f"-DMEMLIM={MEGABYTES}", *how, "-o", "pan", "pan.c"]):
        status, said = output(where, *step)
        if status:
            return f"{' '.join(step)}: {said}", 0, set(), set()
    lines = set(re.findall(r"cmdq\.pml:(\d+) =>", output(where, "./pan", "-d")[1]))
    status, said = output(where, "./pan", f"-m{DEPTH}", *["-l"] * case.cycles)
    (where / "log").write_text(said)
    found = re.findall(r"^pan:\d+: (.*)", said, re.M)
    stored = re.search(r"(\d+) states, stored", said)
    states = int(stored[1]) if stored else 0
    # The queues have no end.
    unreached = set(re.findall(r"^\s+cmdq\.pml:(\d+), state \d+, (?!\"-end-)", said, re.M))
    if case.error:
        if not found or not re.search(case.error, found[0]):
            return f"not found: {case.error}; {found}", states, lines, unreached
        (where / "trail").write_text(output(where, "spin", *macros, "-t", MODEL.name)[1])
    elif (status or found or "errors: 0" not in said or "Full statespace search" not in said or
          re.search(r"max search depth too small|MEMLIM|not completed|out of memory", said)):
        return f"{found or 'the search is not complete'}:\n{said[-2000:]}", states, lines, unreached
    return "", states, lines, unreached


def run(cases: list[Case] = CASES) -> Iterator[tuple[str, str, str]]:
    """Run @cases; yields (name, problem, remark) of each and, if all are run, of what no rules case reached."""
    known: set[str] = set()
    reached: set[str] = set()
    # Each may take MEGABYTES.
    with futures.ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        for case, (problem, states, lines, unreached) in zip(cases, pool.map(search, cases)):
            if not case.error and "BASE" not in case.macros:
                known |= lines
                reached |= lines - unreached
            yield case.name, problem, f"{states} states"
    if cases[:len(CASES)] == CASES:
        text = MODEL.read_text().splitlines()
        never = [f"line {line}: {text[int(line) - 1].strip()}" for line in sorted(known - reached, key=int)]
        yield "rules: each statement is reached", "\n".join(never), f"{len(never)} unreached"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
                                     epilog="cases:\n" + "\n".join(f"  {c.name}" for c in CASES + DEEP))
    parser.add_argument("words", nargs="*", metavar="WORD", help="only the cases with one of these words in the name")
    parser.add_argument("--deep", action="store_true", help="larger ones as well: minutes, and 2.5 GB")
    parser.add_argument("--trail", action="store_true", help="print the way to each error that is found")
    args = parser.parse_args()
    cases = [c for c in CASES + DEEP * args.deep if not args.words or any(w in c.name for w in args.words)]
    if not cases:
        parser.error("no case has such a name")
    failed, start = 0, time.monotonic()
    for name, problem, remark in run(cases):
        failed += bool(problem)
        print(f"{'FAILED' if problem else 'ok':8}{name}: {remark}, {time.monotonic() - start:.1f} s", flush=True)
        for line in problem.strip().splitlines():
            print(f"    {line}")
        trail = BUILD / re.sub(r"\W+", "-", name) / "trail"
        if args.trail and trail.exists():
            print(trail.read_text())
        start = time.monotonic()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
