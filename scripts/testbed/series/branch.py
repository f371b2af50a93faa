# SPDX-License-Identifier: GPL-2.0
"""apply and save: patches/ to the branch 'series' of build/linux, and back.

patches/ has the patches of one series, or a folder N-name for each of several series,
which are applied in the order of their numbers. In the second case each commit of the
branch has a git note (refs/notes/folder) with its folder, which rebase and commit --amend
keep. Save puts a commit without a note into the folder of the saved commit with the same
subject, else into the folder of the preceding commit, and new commits at the tip into the
last folder.
"""
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePath

from testbed.paths import BUILD, PATCHES, REPO, TREE, Error, remove
from testbed.process import AUTHOR, GIT_ENV, git, try_git
from testbed.series.base import MADE_ON, base, say

FORMAT = ["format-patch", "-q", "--zero-commit", "--no-signature", "--no-thread",
          "--no-cover-letter", "--no-attach", "--no-renames", "--abbrev=12",
          "--diff-algorithm=myers", "--unified=3", "--src-prefix=a/", "--dst-prefix=b/",
          "--filename-max-length=64", "--no-base", "--subject-prefix=PATCH"]
NOTES = ["notes", "--ref=folder"]
SAVED = "refs/series/saved"     # the branch as last applied or saved
UNFINISHED = ("rebase-merge", "rebase-apply", "CHERRY_PICK_HEAD", "REVERT_HEAD", "BISECT_LOG",
              "MERGE_HEAD")
# {name of a folder: its commits}. The name is empty if there are no folders.
Parts = dict[str, list[str]]


# --- Files ------------------------------------------------------------------

def folders() -> list[str]:
    """The names of the folders in patches/, or one empty name if there are none."""
    found = [p.name for p in PATCHES.glob("[0-9]*-*") if p.is_dir()]
    if found and any(PATCHES.glob("*.patch")):
        raise Error("patches/ has folders, and patches outside of them; move these into a folder")
    return sorted(found, key=lambda name: (int(re.findall(r"\d+", name)[0]), name)) or [""]


def patches(where: Path = PATCHES) -> dict[str, Path]:
    """The patches of all folders in order, by their names with the folder."""
    return {f"{folder}/{file.name}".lstrip("/"): file for folder in folders()
            for file in sorted((where / folder).glob("*.patch"))}


def digest(files: dict[str, Path]) -> str:
    total = hashlib.sha256()
    for name, file in files.items():
        total.update(name.encode() + b"\0" + file.read_bytes())
    return total.hexdigest()


def text_of(files: Iterable[Path]) -> str:
    return "".join(file.read_text(errors="surrogateescape") for file in files)


def added_by(files: Iterable[Path]) -> set[str]:
    """The paths that all patches together add to the kernel."""
    added = set()
    for path, mode in re.findall(r"^diff --git a/(\S+) b/\1\n(new|deleted|)", text_of(files), re.M):
        if mode == "new":
            added.add(path)
        elif mode == "deleted":
            added.discard(path)
    return added


# --- The branch -------------------------------------------------------------

def value(*args: str) -> str:
    """The output of git in build/linux, empty if git fails."""
    run = try_git(*args)
    return "" if run.returncode else run.stdout.strip()


def config(name: str) -> str:
    return value("config", f"series.{name}")


def ours() -> None:
    """Fail if the tree was not created by this tool."""
    if not config("tip") or not value("rev-parse", "-q", "--verify", "base"):
        raise Error(f"{TREE} was not made by this tool; move it away and try again")


def state() -> None:
    """Fail if the tree has changes that could get lost."""
    ours()
    for name in UNFINISHED:
        if (TREE / ".git" / name).exists():
            raise Error(f"{TREE} is in the middle of something ({name}); finish or abort that")
    if value("symbolic-ref", "-q", "--short", "HEAD") != "series":
        raise Error(f"{TREE} is not on its branch; 'git -C {TREE} checkout series' first")
    if dirty := git("status", "--porcelain").splitlines():
        raise Error(f"{TREE} has changes that are not committed ({dirty[0].strip()} ...); commit, "
                    "stash or remove them first")
    if try_git("merge-base", "--is-ancestor", "base", "HEAD").returncode:
        raise Error(f"the branch in {TREE} is not on top of the tag 'base'; rebase it onto that")
    if git("rev-list", "--merges", "base..HEAD"):
        raise Error(f"the branch in {TREE} has merges, which mails cannot carry; rebase it")


def commits(tip: str) -> list[tuple[str, str, str]]:
    """(hash, folder in the note, subject) of each commit, oldest first."""
    log = git("log", "--reverse", "--notes=folder", "--format=%H%x00%N%x00%s%x01", f"base..{tip}")
    records = (record.strip().split("\0") for record in log.split("\1") if record.strip())
    return [(name, "".join(note.splitlines()[:1]), subject) for name, note, subject in records]


def parts() -> Parts:
    """The commits of the branch by folder."""
    names, every = folders(), commits("HEAD")
    if names == [""]:
        return {"": [commit for commit, _, _ in every]}
    old = commits(SAVED) if value("rev-parse", "-q", "--verify", SAVED) else []
    saved = {subject: note for _, note, subject in old}
    wanted = [note or saved.get(subject, "") for _, note, subject in every]
    while wanted and not wanted[-1]:
        wanted.pop()
    found: Parts = {name: [] for name in names}
    at = 0
    for (commit, _, subject), folder in zip(every, wanted + [names[-1]] * len(every)):
        folder = folder or names[at]
        mend = f"'git notes --ref=folder add -f -m FOLDER {commit[:12]}' changes its folder"
        if folder not in names:
            raise Error(f"'{subject}' belongs to patches/{folder}, which does not exist; {mend}")
        if names.index(folder) < at:
            raise Error(f"'{subject}' belongs to patches/{folder}, but comes after commits of "
                        f"patches/{names[at]}; move it, or {mend}")
        at = names.index(folder)
        found[folder].append(commit)
    return found


def synced(found: Parts) -> None:
    """Record that patches/ and the branch are in sync."""
    notes = {commit: note for commit, note, _ in commits("HEAD")}
    for folder, members in found.items():
        for commit in members:
            if notes[commit] != folder:
                git(*NOTES, "add", "-f", "-m", folder, commit)
    git("config", "notes.rewriteRef", "refs/notes/folder")
    git("config", "series.patches", digest(patches()))
    git("config", "series.tip", git("rev-parse", "HEAD"))
    git("update-ref", SAVED, "HEAD")


def format_patches(where: Path, found: Parts, tree: Path = TREE,
                   extra: Sequence[str] = ("--no-numbered",)) -> dict[str, Path]:
    """Write the patches of each folder to WHERE."""
    for folder, members in found.items():
        (where / folder).mkdir(parents=True, exist_ok=True)
        if members:
            git(*FORMAT, *extra, "-o", where / folder, f"{members[0]}^..{members[-1]}", tree=tree)
    return patches(where)


def am(repo: Path, files: Sequence[Path], scratch: Path) -> str:
    """git am FILES on the base of REPO in SCRATCH, a sparse checkout of the changed files.
    Returns the commit."""
    git("clone", "-q", "--shared", "--no-checkout", repo, scratch, tree=Path("/"))
    touched = set(re.findall(r"^diff --git a/(\S+) b/\1$", text_of(files), re.M))
    # .gitattributes is used for the function names in hunk headers.
    git("sparse-checkout", "set", "--no-cone", "/Makefile", "/.gitattributes",
        *(f"/{path}" for path in sorted(touched)), tree=scratch)
    git("checkout", "-q", "-B", "series", "base", tree=scratch)
    for file in files:
        if try_git("am", "-q", "--committer-date-is-author-date", file, tree=scratch).returncode:
            run = try_git("apply", "--check", file, tree=scratch)
            why = (run.stderr.strip().splitlines() or ["bad mail"])[0]
            raise Error(f"{file.name} does not apply on this base: {why}; apply on the base that "
                        "the patches were made on (patches/made-on), then 'make rebase', with "
                        "LINUX= for this one")
    return git("rev-parse", "HEAD", tree=scratch)


def clone(repo: Path, wanted: str) -> None:
    """Create build/linux with the branch at the base."""
    if shutil.disk_usage(REPO).free < 8 << 30:
        raise Error(f"{REPO} has less than 8 GB free; make room")
    new = TREE.with_name("linux.tmp")
    remove(new)
    say(f"checking out the base in {TREE}")
    git("clone", "-q", "--shared", "--no-checkout", repo, new, tree=Path("/"))
    git("checkout", "-q", "-B", "series", "base", tree=new)
    for name, setting in (("user.name", AUTHOR[0]), ("user.email", AUTHOR[1]),
                          ("series.tip", wanted), ("series.patches", digest({}))):
        git("config", name, setting, tree=new)
    new.rename(TREE)


def apply() -> None:
    repo, files = base(), patches()
    wanted = git("rev-parse", "base", tree=repo)
    if not TREE.exists():
        clone(repo, wanted)
    alternates = TREE / ".git/objects/info/alternates"
    if alternates.exists():  # the cache may have been moved
        have = [d for d in alternates.read_text().splitlines()
                if os.path.isdir(d) and d != f"{repo}/objects"]
        alternates.write_text("".join(f"{d}\n" for d in (f"{repo}/objects", *have)))
    ours()
    rebased = git("rev-parse", "base") != wanted
    if digest(files) == config("patches") and not rebased:
        ahead = git("rev-parse", "HEAD") != config("tip")
        say(f"{TREE} is up to date" + (", with commits that are not saved" if ahead else ""))
        return
    state()
    if git("rev-parse", "HEAD") != config("tip"):
        raise Error(f"both {TREE} and {'the base' if rebased else PATCHES} have changed; save the "
                    "branch elsewhere (git branch mine), 'git reset --hard $(git config "
                    "series.tip)' there, apply, then rebase it")
    with tempfile.TemporaryDirectory(dir=BUILD, prefix="am.tmp") as tmp:
        scratch = Path(tmp, "tree")
        tip = am(repo, list(files.values()), scratch)
        git("fetch", "-q", "--force", "--no-tags", scratch, "series:refs/series/new")
    if rebased:
        git("tag", "-f", "base", wanted)
    git("update-ref", "refs/series/old", "HEAD")
    git("reset", "-q", "--keep", tip)
    synced(by_number(files, git("rev-list", "--reverse", "base..HEAD").splitlines()))
    say(f"{len(files)} patches are on the branch 'series' of {TREE}")


def by_number(files: dict[str, Path], members: Sequence[str]) -> Parts:
    """The commits of the applied patches, by folder."""
    found: Parts = {folder: [] for folder in folders()}
    for name, commit in zip(files, members):
        found[name.rpartition("/")[0]].append(commit)
    return found


# --- Saving -----------------------------------------------------------------

def added() -> list[str]:
    """The files that the branch adds to the kernel."""
    return git("diff", "--no-renames", "--name-only", "--diff-filter=A", "base",
               "HEAD").splitlines()


def git_bytes(what: str) -> bytes | None:
    run = subprocess.run(["git", "-C", TREE, "show", what], env=GIT_ENV, capture_output=True,
                         check=False)
    return None if run.returncode else run.stdout


def git_mode(path: str) -> int:
    return 0o755 if git("ls-tree", "HEAD", path).startswith("100755") else 0o644


def save(force: bool = False) -> None:
    state()
    old, found = patches(), parts()
    lose = "or 'scripts/toolbox scripts/series save --force' to lose"
    with tempfile.TemporaryDirectory(dir=BUILD, prefix="save.tmp") as tmp:
        new = format_patches(Path(tmp, "patches"), found)
        if not force and digest(old) not in (config("patches"), digest(new)):
            raise Error("patches/ has changed since it was applied; apply it first, "
                        f"{lose} that change")
        texts = {path: git_bytes(f"HEAD:{path}") or b"" for path in added()}
        gone = added_by(old.values()) - set(texts)
        for path in set(texts) | gone:
            here = REPO / path
            mine = here.read_bytes() if here.exists() else None
            known = (None, git_bytes(f"{config('tip')}:{path}"), texts.get(path))
            if not force and mine not in known:
                raise Error(f"{path} was edited here, not in {TREE}, where it belongs; move the "
                            f"change there, {lose} it")
        for name, file in new.items():
            target = PATCHES / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if not target.exists() or target.read_bytes() != file.read_bytes():
                shutil.copyfile(file, target)
    for name, file in old.items():
        if name not in new:
            file.unlink()
    MADE_ON.write_text(git("show", "-s", "--format=%s", "base^{commit}") + "\n")
    save_added(texts, gone)
    synced(found)
    say(f"saved {len(new)} patches and {len(texts)} added files")


def save_added(texts: dict[str, bytes], gone: Iterable[str]) -> None:
    """Write the files added by the series, and remove those no longer added."""
    for path in gone:
        (REPO / path).unlink(missing_ok=True)
        for parent in PurePath(path).parents[:-1]:
            if (REPO / parent).is_dir() and not any((REPO / parent).iterdir()):
                (REPO / parent).rmdir()
    for path, text in texts.items():
        (REPO / path).parent.mkdir(parents=True, exist_ok=True)
        (REPO / path).write_bytes(text)
        (REPO / path).chmod(git_mode(path))


def rebase() -> None:
    state()
    repo = base(newest=True)
    new, name = git("log", "-1", "--format=%H %s", "base", tree=repo).split(" ", 1)
    if git("rev-parse", "base") == new:
        say(f"{TREE} is on {name} already, nothing newer is there")
        return
    git("fetch", "-q", "--force", "--no-tags", repo, "refs/tags/base:refs/series/base")
    old = git("log", "--format=%s", "base..HEAD").splitlines()
    # Move the tag in the last step: also after --continue, but not after --abort.
    editor = {"GIT_SEQUENCE_EDITOR": f"echo 'exec git tag -f base {new}' >>", "GIT_EDITOR": "true"}
    try:
        git("rebase", "-q", "-i", "--empty=drop", "--onto", new, "base", "series", env=editor)
    except Error:
        stopped = value("log", "-1", "--format=%s", "REBASE_HEAD")
        if not stopped:
            raise
        where = git("diff", "--name-only", "--diff-filter=U").split()
        raise Error(f"'{stopped}' conflicts with {name} in {', '.join(where)}; in {TREE} correct "
                    "that and 'git add' it, then 'git rebase --continue' till the end and 'make "
                    "save'; or 'git rebase --abort' and all is as before") from None
    for subject in set(old) - set(git("log", "--format=%s", "base..HEAD").splitlines()):
        say(f"note: '{subject}' is in {name} already")
    count = git("rev-list", "--count", "base..HEAD")
    say(f"{count} patches are on {name}; test, then 'make save'")
