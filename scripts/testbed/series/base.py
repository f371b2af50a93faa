# SPDX-License-Identifier: GPL-2.0
"""The kernel that the series is for, as a bare git repository with the tag 'base'."""
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from testbed.paths import CACHE, PATCHES, Error, locked, remove
from testbed.process import GIT_ENV, git, said, watch

MADE_ON = PATCHES / "made-on"
PACKAGE = "linux-source-7.3"
OLDEST = [7, 3]
WHO = {f"GIT_{who}_{key}": value for who in ("AUTHOR", "COMMITTER") for key, value in
       (("NAME", "base"), ("EMAIL", "base@localhost"), ("DATE", "1767225600 +0000"))}


def say(text: str) -> None:
    print(f"series: {text}", flush=True)


def numbers(version: str) -> list[int]:
    return [int(n) for n in re.findall(r"\d+", version)]


def debian_source(newest: bool) -> Path:
    """Debian's package with the source, in the cache: the NEWEST, or the oldest in the cache
    that is not older than the base of the patches."""
    found = sorted(CACHE.glob(f"{PACKAGE}_*.deb"), key=lambda deb: numbers(deb.name))
    want = numbers(MADE_ON.read_text()) if MADE_ON.exists() else []
    fit = [deb for deb in found if numbers(deb.name.split("_")[1].split("-")[0]) >= want]
    if fit and not newest:
        return fit[0]
    say(f"fetching {PACKAGE} from Debian, about 160 MB")
    with tempfile.TemporaryDirectory(dir=CACHE, prefix="deb.tmp") as tmp:
        fetch = f"apt-get -qq update && apt-get -qq download {PACKAGE}"
        run = said("sh", "-c", fetch, cwd=Path(tmp))
        fetched = list(Path(tmp).glob("*.deb"))
        if run.returncode or not fetched:
            why = (run.stdout.strip().splitlines() or ["no reason given"])[-1]
            raise Error(f"cannot get {PACKAGE} from Debian ({why}); check the network, or, if "
                        "Debian has dropped it, give any v7.3 or v7.3.y tree: LINUX=/path/to/tree")
        return fetched[0].rename(CACHE / fetched[0].name)


def version(makefile: str) -> str:
    return ".".join(re.findall(r"^(?:VERSION|PATCHLEVEL|SUBLEVEL)\s*=\s*(\d+)", makefile, re.M))


def check_version(makefile: str, where: Path) -> None:
    found = version(makefile)
    if numbers(found)[:2] < OLDEST:
        raise Error(f"{where} is not Linux v7.3 or newer; give such a tree as LINUX=/path/to/tree")
    if numbers(found)[:2] > OLDEST:
        say(f"note: {where} is Linux {found}, newer than what the series is for")


def import_tree(source: Path, repo: Path) -> str:
    """Commit the unpacked tree SOURCE to the new bare REPO. Returns the tree's hash."""
    check_version((source / "Makefile").read_text(), source)
    for made in (".config", "vmlinux", "include/generated"):
        if (source / made).exists():
            raise Error(f"{source} has been built in ({made}); run 'make mrproper' there first")
    git("init", "-q", "--bare", repo, tree=Path("/"))
    say("importing the base into git, about a minute")
    # Treat all files as big, which adds them to one pack instead of 90,000 objects.
    add = subprocess.Popen(["git", f"--git-dir={repo}", f"--work-tree={source}", "-c",
                            "core.bigFileThreshold=1", "add", "-A", "-f", "."],
                           cwd=source, env=GIT_ENV, text=True)
    watch(add, lambda seconds: f"series:   {seconds:.0f} s, {packed(repo)} MB packed")
    if add.returncode:
        raise Error(f"cannot import {source}; see git's message above")
    # Debian's .gitignore ignores new files at the top, and so all files that the series adds.
    ignore = source / ".gitignore"
    if ignore.exists() and "\n/*\n" in ignore.read_text():
        new = repo / "gitignore"
        new.write_text(ignore.read_text().replace("\n/*\n", "\n"))
        blob = git("hash-object", "-w", new, tree=repo)
        git("update-index", "--cacheinfo", f"100644,{blob},.gitignore", tree=repo)
    return git("write-tree", tree=repo)


def packed(repo: Path) -> int:
    return sum(f.stat().st_size for f in repo.rglob("*pack*") if f.is_file()) >> 20


def base(newest: bool = False) -> Path:
    """The bare repository with the tag 'base'. It is created if it does not exist."""
    with locked(CACHE / "base.lock"):
        if linux := os.environ.get("LINUX"):
            return base_of(Path(linux))
        deb = debian_source(newest)
        repo = repo_of(f"2 {deb.name}")
        if not repo.exists():
            with tempfile.TemporaryDirectory(dir=new_cache(), prefix="base-", suffix=".tmp") as tmp:
                say(f"unpacking {deb.name}")
                subprocess.run(["dpkg-deb", "-x", deb, f"{tmp}/deb"], check=True)
                tar = next(Path(tmp, "deb/usr/src").glob("*.tar.xz"))
                subprocess.run(["tar", "-C", tmp, "-xf", tar], check=True)
                new = Path(tmp, "git")
                commit(new, import_tree(next(Path(tmp).glob("linux-source*")), new)).rename(repo)
        return repo


def base_of(linux: Path) -> Path:
    """The repository of the tree LINUX: its HEAD if it has git, else the files."""
    if not (linux / "Makefile").exists():
        raise Error(f"LINUX={linux} is no kernel tree: it has no Makefile")
    head = git("rev-parse", "HEAD^{tree}", tree=linux) if (linux / ".git").exists() else ""
    if head:
        check_version(git("show", "HEAD:Makefile", tree=linux), linux)
        if git("status", "--porcelain", "-uno", tree=linux):
            say(f"note: {linux} has changes that are not committed; its HEAD is taken")
    repo = repo_of(head or f"{linux.resolve()} {(linux / 'Makefile').stat().st_mtime_ns}")
    if repo.exists():
        return repo
    with tempfile.TemporaryDirectory(dir=new_cache(), prefix="base-", suffix=".tmp") as tmp:
        new = Path(tmp, "git")
        if head:
            git("clone", "-q", "--bare", "--depth=1", linux.resolve().as_uri(), new, tree=Path("/"))
            git("config", "series.upstream", git("rev-parse", "HEAD", tree=linux), tree=new)
        commit(new, head or import_tree(linux, new)).rename(repo)
    return repo


def repo_of(key: str) -> Path:
    return CACHE / f"base-{hashlib.sha256(key.encode()).hexdigest()[:12]}.git"


def new_cache() -> Path:
    """The cache, with enough space for another base."""
    for left in (*CACHE.glob("base-*.tmp*"), *CACHE.glob("deb.tmp*")):
        remove(left)
    if shutil.disk_usage(CACHE).free < 5 << 30:
        raise Error(f"{CACHE} has less than 5 GB free; make room or set CACHE elsewhere")
    return CACHE


def commit(repo: Path, tree: str) -> Path:
    """Commit the tree and tag it as base. The commit is the same in every clone."""
    name = f"Linux {version(git('show', f'{tree}:Makefile', tree=repo))}"
    new = git("commit-tree", "-m", name, tree, tree=repo, env=WHO)
    git("tag", "base", new, tree=repo)
    git("update-ref", "--no-deref", "HEAD", new, tree=repo)
    (repo / "shallow").unlink(missing_ok=True)
    return repo
