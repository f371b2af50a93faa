# SPDX-License-Identifier: GPL-2.0
"""Checks of the scripts, the models and the fuzzer."""
import ast
import os
import re
import shutil
import sys
import time
import unittest
from collections.abc import Iterator
from pathlib import Path
from subprocess import CompletedProcess

from model import run as searches
from testbed import litmus as herd
from testbed.checks.tally import COUNT, command, kernel, result, skipped
from testbed.paths import BUILD, REPO, TREE, Error, image
from testbed.process import Arg, said

SCRIPTS, TESTS = REPO / "scripts", REPO / "tests"
LONGEST = 50                    # lines of a function
FUZZ_RUNS = 25000               # 10 seconds
COVERED = ("DA", "BRDA")        # of an lcov file: lines, and ways out of a condition


def tools() -> None:
    """unit tests of the scripts: series, toolbox, machine"""
    if not kernel("check"):
        return
    os.environ["KERNEL"] = str(image("check"))
    suite = unittest.defaultTestLoader.discover(str(TESTS))
    ran = unittest.TextTestRunner(stream=sys.stdout, verbosity=2).run(suite)
    wrong = [*ran.failures, *ran.errors]
    # Several subtests of one test may fail.
    tests = {getattr(test, "test_case", test).id() for test, _ in wrong}
    COUNT["passed"] += ran.testsRun - len(tests) - len(ran.skipped)
    COUNT["failed"] += len(wrong)
    for test, reason in ran.skipped:
        skipped(test.id(), reason)


def lint() -> None:
    """the scripts: types with mypy --strict, style with flake8, no long functions"""
    env = os.environ | {"MYPYPATH": f"{SCRIPTS}:{TESTS}", "MYPY_CACHE_DIR": str(BUILD / "mypy")}
    command("mypy --strict", "mypy", "--strict", "-p", "testbed", env=env)
    command("flake8 of scripts", "flake8", "--config", SCRIPTS / "flake8.cfg", SCRIPTS)
    # The tests have long lines, so only run pyflakes.
    command("flake8 of tests", "flake8", "--select=F", TESTS)
    result(f"functions of at most {LONGEST} lines", "\n".join(long_functions()))


def long_functions() -> Iterator[str]:
    for file in [*SCRIPTS.rglob("*.py"), *TESTS.rglob("*.py")]:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.FunctionDef) and node.end_lineno:
                lines = node.end_lineno - node.lineno + 1
                if lines > LONGEST:
                    yield f"{file.relative_to(REPO)}:{node.lineno}: {node.name}() has {lines} lines"


def model() -> None:
    """the Spin model of the command queues: it is correct, and inserted bugs are detected"""
    start = time.monotonic()
    for name, problem, remark in searches.run():
        result(f"model {name}: {remark}", problem, start)
        start = time.monotonic()


def litmus() -> None:
    """litmus tests with herd7, in the memory models of the kernel and of Armv8"""
    start = time.monotonic()
    try:
        for name, problem in herd.run(TREE / "Documentation/litmus-tests/arm-smmu-v3",
                                      TREE / "tools/memory-model"):
            result(f"litmus {name}", problem, start)
            start = time.monotonic()
    except Error as error:
        result("litmus", str(error))


def run_fuzz(tree: Path, out: Path, *goals: Arg) -> CompletedProcess[str]:
    return said("make", "-s", "-C", tree / "tools/testing/arm-smmu-v3-invs", f"O={out}", *goals)


def new_directory(name: str) -> Path:
    out = BUILD / name
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    return out


def fuzz() -> None:
    """the fuzzer of the invalidation array, with a fixed seed, and its coverage"""
    out, start = new_directory("fuzz-check"), time.monotonic()
    run = run_fuzz(TREE, out, "fuzz", "SEED=1", f"RUNS={FUZZ_RUNS}")
    found = re.search(r"^(\d+ sequences of \d+ steps) without a difference:\n((?:  .*\n)+)",
                      run.stdout, re.M)
    if run.returncode or not found:
        result("fuzz", run.stdout[-3000:], start)
        return
    result(f"fuzz: {found[1]}", "", start)
    print(found[2], end="", flush=True)
    start = time.monotonic()
    run = run_fuzz(TREE, out, "coverage")
    # Coverage is complete, including warnings, as the fuzzer also makes invalid calls.
    lcov = (out / "invs.lcov").read_text() if not run.returncode else ""
    count, missed = coverage(lcov)
    if not all(count.values()):
        missed.append(run.stdout[-3000:])
    result(f"fuzz: covered {count['DA']} lines, {count['BRDA']} branches", "\n".join(missed), start)
    for line in run.stdout.splitlines():
        if line.startswith(("Filename", "arm-smmu-v3-invs", "TOTAL")):
            print("    " + re.sub(r"   +", "  ", line), flush=True)


def coverage(lcov: str) -> tuple[dict[str, int], list[str]]:
    """The numbers of lines and branches in an lcov file, and those without coverage."""
    file, missed, count = Path(), [], dict.fromkeys(COVERED, 0)
    for line in lcov.splitlines():
        kind, _, rest = line.partition(":")
        if kind == "SF":
            file = Path(rest)
        elif kind in count:
            count[kind] += 1
            if rest.split(",")[-1] in ("0", "-"):
                number = int(rest.split(",")[0])
                text = file.read_text().splitlines()[number - 1].strip()
                missed.append(f"{file.name}:{number}: {kind}: {text}")
    return count, missed


def fuzz_notices(tree: Path) -> list[str]:
    """The problem that the fuzzer finds in a mutant, if any."""
    run = run_fuzz(tree, new_directory("fuzz-mutant"), "fuzz", "SEED=1", f"RUNS={FUZZ_RUNS}")
    found = re.search(r"check failed: .*|ERROR: \w+Sanitizer: \S+|runtime error: .*|"
                      "libFuzzer: timeout", run.stdout)
    if run.returncode and not found:
        raise Error(f"the fuzzer of a mutant did not run: {run.stdout[-500:]}")
    after = re.search(r"number_of_executed_units: (\d+)", run.stdout)
    if not run.returncode or not found:
        return []
    return [f"{found[0]}, after {after[1] if after else '?'} sequences"]
