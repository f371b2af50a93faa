# SPDX-License-Identifier: GPL-2.0
"""Run other programs: git, and programs that show progress."""
import os
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from testbed.paths import TREE, Error

HEARTBEAT = 20                  # seconds between signs of progress
AUTHOR = ("smmu-domains", "smmu-domains@localhost")
# The output must not depend on the user's git configuration.
GIT_ENV = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")} | {
    "GIT_CONFIG_GLOBAL": str(Path(__file__).with_name("gitconfig")),
    "GIT_CONFIG_SYSTEM": "/dev/null", "GIT_OPTIONAL_LOCKS": "0",
    "GIT_COMMITTER_NAME": AUTHOR[0], "GIT_COMMITTER_EMAIL": AUTHOR[1]}
Arg = str | Path


def strings(args: tuple[Arg, ...]) -> list[str]:
    return [str(arg) for arg in args]


def said(*args: Arg, cwd: Path | None = None,
         env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a program. stdout of the result includes stderr."""
    return subprocess.run(strings(args), cwd=cwd, env=env, text=True, errors="replace", check=False,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT)


def output(*args: Arg, cwd: Path = TREE) -> str:
    return subprocess.run(strings(args), cwd=cwd, text=True, errors="replace", check=True,
                          stdout=subprocess.PIPE).stdout


def watch(process: subprocess.Popen[str], progress: Callable[[float], str]) -> str:
    """Wait for PROCESS, print PROGRESS(seconds) regularly, and return the output."""
    start = time.monotonic()
    try:
        while True:
            try:
                return process.communicate(timeout=HEARTBEAT)[0] or ""
            except subprocess.TimeoutExpired:
                print(progress(time.monotonic() - start), flush=True)
    finally:
        process.terminate()


def try_git(*args: Arg, tree: Path = TREE, env: Mapping[str, str] | None = None,
            ) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["git", "-C", str(tree), *strings(args)], env=GIT_ENV | dict(env or {}),
                          text=True, errors="surrogateescape", capture_output=True, check=False)


def git(*args: Arg, tree: Path = TREE, env: Mapping[str, str] | None = None) -> str:
    """Run git in TREE and return its output, stripped."""
    run = try_git(*args, tree=tree, env=env)
    if run.returncode:
        why = "; ".join((run.stderr or run.stdout).strip().splitlines())
        raise Error(f"git {args[0]} failed in {tree}: {why}")
    return run.stdout.strip()


def checkout(tree: Path, commit: str) -> None:
    """Check out COMMIT in TREE, a work tree of build/linux."""
    # Without .git in the tree, git would use this repository.
    if (not (tree / ".git").exists() or
            try_git("rev-parse", "-q", "--verify", "HEAD", tree=tree).returncode):
        subprocess.run(["rm", "-rf", tree], check=True)
        git("worktree", "add", "-q", "-f", "--detach", tree, commit)
    git("checkout", "-q", "-f", "--detach", commit, tree=tree)
