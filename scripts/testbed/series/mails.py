# SPDX-License-Identifier: GPL-2.0
"""The mails with their cover letters, and checks of them and of patches/."""
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

from testbed.paths import BUILD, PATCHES, REPO, TREE, Error, remove
from testbed.process import git, try_git
from testbed.series.base import base, say
from testbed.series.branch import (added, am, by_number, commits, folders, format_patches,
                                   git_bytes, git_mode, parts, patches, state, text_of, value)

MAILS = BUILD / "series"
NEEDS = PATCHES / "needs.txt"
COVER_FORM = ("the subject, an empty line, the text; for every version but the first a list "
              "'Changes in vN:', the newest first")


def cover(folder: str) -> Path:
    return PATCHES / folder / ("0000-cover-letter.txt" if folder else "cover-letter.txt")


def cover_version(folder: str) -> int:
    """The version of the series according to the cover letter."""
    file = cover(folder)
    if not file.exists():
        raise Error(f"there is no {file}; write it: {COVER_FORM}")
    lines = file.read_text().splitlines()
    if (len(lines) < 3 or not lines[0].strip() or lines[1].strip() or
            not "".join(lines[2:]).strip()):
        raise Error(f"{file} must have {COVER_FORM}")
    for number, line in enumerate(lines, 1):
        if not line.isascii():
            raise Error(f"{file}, line {number}: not plain ASCII, which git does not declare here")
        if len(line.expandtabs()) > 75:
            raise Error(f"{file}, line {number}: more than 75 columns")
        if re.search(r"\*\*\*|\b(TODO|TBD|XXX)\b", line):
            raise Error(f"{file}, line {number}: to be filled in: {line.strip()}")
    log = [line.strip() for line in lines[1:] if re.match(r"change.*\bv\d", line.strip(), re.I)]
    if log != [f"Changes in v{n}:" for n in range(len(log) + 1, 1, -1)]:
        raise Error(f"{file}: the change log has {', '.join(log)}; it must have 'Changes in vN:' "
                    "for every version, the newest first and 'Changes in v2:' last")
    return len(log) + 1


def mails() -> None:
    """Write the mails of each folder."""
    state()
    found = parts()
    versions = {folder: cover_version(folder) for folder in found}
    upstream = try_git("config", "series.upstream", tree=base()).stdout.strip()
    linux = git("show", "-s", "--format=%s", "base^{commit}")
    if not upstream:
        say(f"note: the mails name {linux} as their base, not its commit, which is not in "
            "Debian's source; LINUX=DIR with a git tree has it")
    if MAILS.exists():
        remove(MAILS)
    for folder, version in versions.items():
        if not found[folder]:
            raise Error(f"patches/{folder} has no patches; remove it")
        extra = ["--numbered", "--cover-letter", "--cover-from-description=subject", "--base=base",
                 f"--description-file={cover(folder)}", *[f"-v{version}"] * (version > 1)]
        format_patches(MAILS, {folder: found[folder]}, extra=extra)
        letter = next((MAILS / folder).glob("*0000-cover-letter.patch"))
        # The commit of the tag is not in other trees.
        line = f"base-commit: {upstream}" if upstream else f"base: {linux}"
        letter.write_text(re.sub(r"(?m)^base-commit: .*$", line, letter.read_text()))
        say(f"version {version}: a cover letter and {len(found[folder])} mails in {MAILS / folder}")


def comparable(text: str) -> str:
    """A patch without the lines that depend on its base."""
    text = re.sub(r"^index .*\n", "", text, flags=re.M)
    return re.sub(r"^@@ -\S+ \+\S+ @@.*", "@@", text, flags=re.M)


def compare(want: dict[str, Path], have: dict[str, Path], foreign: bool, what: str) -> None:
    for name in sorted({*want, *have}):
        if name not in want or name not in have:
            raise Error(f"{what}: {name} is only on one side; 'make save' or 'make apply'")
        a, b = want[name].read_bytes(), have[name].read_bytes()
        if a != b and not (foreign and comparable(a.decode(errors="surrogateescape")) ==
                           comparable(b.decode(errors="surrogateescape"))):
            raise Error(f"{what}: {name} differs; 'make save' or 'make apply'")


def made_on_another(files: dict[str, Path]) -> bool:
    """Whether the patches were created on another base."""
    blobs: dict[str, str] = {}
    for path, blob in re.findall(r"^diff --git a/(\S+) b/\1\nindex ([0-9a-f]{12,})\.\.",
                                 text_of(files.values()), re.M):
        blobs.setdefault(path, blob)
    there = {path: value("rev-parse", "-q", "--verify", f"base:{path}") for path in blobs}
    # A file that the series adds is not in the base.
    return any(there[path] and not there[path].startswith(blob) for path, blob in blobs.items())


def check() -> None:
    """Check that patches/, the branch and the added files are in sync."""
    state()
    repo, files = base(), patches()
    if git("rev-parse", "base", tree=repo) != git("rev-parse", "base"):
        raise Error(f"{TREE} is on another base than LINUX asks for; 'make apply' with that LINUX=")
    foreign = made_on_another(files)
    if foreign:
        say("note: the patches were made on another v7.3.y; index lines and line numbers are not "
            "compared")
    with tempfile.TemporaryDirectory(dir=BUILD, prefix="check.tmp") as tmp:
        tree = Path(tmp, "tree")
        compare(files, format_patches(Path(tmp, "branch"), parts()), foreign, "patches and branch")
        tip = am(repo, list(files.values()), tree)
        if git("rev-parse", f"{tip}^{{tree}}", tree=tree) != git("rev-parse", "HEAD^{tree}"):
            raise Error("git am of the patches gives another tree than the branch; 'make save' or "
                        "'make apply'")
        again = by_number(files, git("rev-list", "--reverse", "base..HEAD", tree=tree).splitlines())
        compare(files, format_patches(Path(tmp, "again"), again, tree), foreign, "apply and save")
    check_added()
    for folder in folders():
        cover_version(folder)
    say(f"{len(files)} patches, the branch and {len(added())} added files agree; apply and save "
        "are the identity")


def check_added() -> None:
    """Check the files at kernel paths, which must be those added by the series."""
    for path in added():
        here = REPO / path
        if not here.is_file() or here.read_bytes() != git_bytes(f"HEAD:{path}"):
            raise Error(f"{path} here is not the tip of the series; 'make save'")
        if here.stat().st_mode & 0o111 != git_mode(path) & 0o111:
            raise Error(f"{path} here has another mode than the tip of the series; 'make save'")
    tops = set(git("ls-tree", "-d", "--name-only", "HEAD").splitlines()) - {"scripts"}
    stray = {str(f.relative_to(REPO)) for top in tops for f in (REPO / top).rglob("*")
             if f.is_file()} - set(added())
    if stray:
        raise Error(f"{min(stray)} is at a kernel path, but the series does not add it; remove it")


# --- Fixes ------------------------------------------------------------------

def needs() -> dict[str, list[str]]:
    """{subject of a fix: subjects of the fixes it depends on}, from patches/needs.txt, where
    the latter are indented lines below the fix."""
    found: dict[str, list[str]] = {}
    wanted: list[str] = []
    for line in NEEDS.read_text().splitlines() if NEEDS.exists() else ():
        if line.startswith("\t"):
            wanted.append(line.strip())
        elif line.strip() and not line.startswith("#"):
            wanted = found[line.strip()] = []
    return found


def picked(onto: str, commit: str) -> str:
    """The tree of a cherry-pick of COMMIT onto the tree ONTO, empty if it conflicts."""
    run = try_git("merge-tree", "--write-tree", f"--merge-base={commit}^", onto, commit)
    return "" if run.returncode else run.stdout.split()[0]


def with_needs(subject: str, needed: dict[str, list[str]]) -> set[str]:
    """A fix and its direct and indirect dependencies."""
    found, todo = {subject}, [subject]
    while todo:
        more = set(needed.get(todo.pop(), ())) - found
        found |= more
        todo += more
    return found


def fixes() -> Iterator[tuple[str, str]]:
    """Apply each patch of the folders *-fixes to the base, or to the base with its
    dependencies. Yield its subject and the problem."""
    members = [commit for folder, some in parts().items() if folder.endswith("-fixes")
               for commit in some]
    fix = {subject: commit for commit, _, subject in commits("HEAD") if commit in members}
    needed = needs()
    for subject, commit in fix.items():
        wanted, tree, problem = with_needs(subject, needed), "base", ""
        for other in fix:
            if other in wanted:
                tree = tree and picked(tree, fix[other])
        if not tree or wanted - set(fix):
            problem = f"it does not apply to the base alone, nor with what {NEEDS.name} names"
        elif subject in needed and picked("base", commit):
            problem = f"it applies to the base alone; remove it from {NEEDS.name}"
        yield subject, problem
    for subject in needed.keys() - fix.keys():
        yield subject, f"{NEEDS.name} names it, but no folder *-fixes has it"
