# SPDX-License-Identifier: GPL-2.0
"""Checks that boot nothing: patches, mails, compilers, sparse, documentation, Coccinelle."""
import concurrent.futures as futures
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePath

from testbed.checks.selftests import build_selftests
from testbed.checks.tally import (WORKTREE, cached, command, fingerprint, hashed, of_tree,
                                  patches, remember, result, seen, skipped)
from testbed.kernel import CROSS
from testbed.paths import BUILD, CONFIG, REPO, TREE
from testbed.process import checkout, git, output, said
from testbed.series.mails import MAILS, fixes as alone

KERNEL = REPO / "scripts/kernel"
CHECKPATCH = ["--strict", "--no-signoff", "--codespell", "--show-types",
              # The directory's pattern in MAINTAINERS covers new files there;
              # get_maintainer.pl is asked about every mail instead. Debian's source has no
              # history, in which to look up the commits of Fixes: tags.
              "--ignore", "FILE_PATH_CHANGES,UNKNOWN_COMMIT_ID"]
LISTS = {"iommu@lists.linux.dev", "kvm@vger.kernel.org"}
# sparse 0.6.4 does not support typeof_unqual, so Kbuild ignores C= with it. For sparse, strlen()
# of a string is not constant, as MODULE_*() needs. It prints no warnings after an error.
SPARSE = ("CHECK=sparse -D__typeof_unqual__=__typeof__ "
          "'-D__builtin_strlen(x)=(sizeof(x)-1)'")
CHECKED = re.compile(r"^  CHECK ", re.M)


def series() -> None:
    """patches/, the branch and the added files agree; apply and save are the identity"""
    command("patches, branch and files agree", REPO / "scripts/series", "check")


def fixes() -> None:
    """every patch of the folders *-fixes applies to the base, alone or as in needs.txt"""
    found = list(alone())
    for subject, problem in found:
        result(f"alone: {subject}", problem)
    if not found:
        skipped("fixes", "patches/ has no folder *-fixes")


def lists(*what: str) -> set[str]:
    """The lists that get_maintainer.pl names, but the one that gets everything."""
    got = output("perl", "scripts/get_maintainer.pl", "--nogit", "--nogit-fallback", "--no-m",
                 "--no-r", "--no-rolestats", *what)
    return set(got.split()) - {"linux-kernel@vger.kernel.org"}


def mails() -> None:
    """checkpatch --strict on every mail and cover letter; each goes to the IOMMU or the KVM
    list, and MAINTAINERS has a list for every file when it comes"""
    if not command("the mails to send", REPO / "scripts/series", "mails"):
        return
    # In the order of the numbers of the folders
    files = sorted(MAILS.rglob("*.patch"), key=lambda f: [
        int(n) for n in re.findall(r"\d+", str(f.relative_to(MAILS)))])
    commits = iter(git("rev-list", "--reverse", "base..HEAD").splitlines())
    known, jobs = {"MAINTAINERS"}, []
    for file in files:
        commit = "" if "0000-cover-letter" in file.name else next(commits)
        touches = git("diff-tree", "-r", "--no-commit-id", "--name-only",
                      commit).splitlines() if commit else []
        jobs.append((file, commit, [f for f in touches if f not in known and (TREE / f).exists()]))
        known |= set(touches)
    with futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(lambda job: mail(*job), jobs))


def mail(file: Path, commit: str, files: Sequence[str]) -> None:
    """checkpatch on one mail, and its recipients; FILES come with it."""
    # The numbers of a mail change with every other patch.
    content = re.sub(rb"^Subject: \[PATCH[^\]]*\]", b"", file.read_bytes(), flags=re.M)
    # Its words are codespell's, a package of the toolbox.
    key = "checkpatch " + hashed(content, (TREE / "scripts/checkpatch.pl").read_bytes(),
                                 repr(CHECKPATCH).encode(),
                                 (REPO / "scripts/toolbox.packages").read_bytes())
    # A cover letter has git's list of new files, and of patch ids.
    more = [] if commit else ["--ignore", "COMMIT_LOG_LONG_LINE"]
    if seen(key):
        result(f"checkpatch {file.name} (seen before)")
    elif command(f"checkpatch {file.name}", "perl", TREE / "scripts/checkpatch.pl", "--root", TREE,
                 *CHECKPATCH, *more, file, cwd=TREE):
        remember(key)
    if not commit:
        return
    maintainers, script = git("show", f"{commit}:MAINTAINERS"), TREE / "scripts/get_maintainer.pl"

    def look() -> tuple[list[str], list[str]]:
        """The lists for the mail, and the files without one."""
        with tempfile.NamedTemporaryFile("w") as then:
            then.write(maintainers)
            then.flush()
            return (sorted(lists("--mpath", then.name, str(file))),
                    [f for f in files if not lists("--mpath", then.name, "-f", f)])

    to, lost = cached(hashed(content, maintainers.encode(), script.read_bytes(),
                             repr(files).encode()), look)
    if not LISTS & set(to):
        lost.append(f"the mail itself, which goes to {', '.join(to) or 'no list'}")
    result(f"get_maintainer {file.name}: {', '.join(to)}",
           f"no list for {', '.join(lost)}" if lost else "")


def touched() -> tuple[list[str], list[PurePath]]:
    """The directories with code that the series touches, and the files."""
    names = git("diff", "--name-only", "--diff-filter=d", "base", "series").splitlines()
    code = [PurePath(name) for name in names if name.endswith((".c", ".h"))]
    dirs = {f"{f.parent}/" for f in code if f.parts[0] == "drivers"}
    if any(f.parts[0] == "include" for f in code):
        dirs |= {"drivers/iommu/iommufd/", "drivers/iommu/arm/arm-smmu-v3/"}
    # make takes no directory beside one that is inside it. Of this one a few files are enough.
    if "drivers/iommu/" in dirs:
        dirs.remove("drivers/iommu/")
        dirs |= {str(f.with_suffix(".o")) for f in code
                 if str(f.parent) == "drivers/iommu" and f.suffix == ".c"}
    return sorted(d for d in dirs if not any(o != d and d.startswith(o) for o in dirs)), code


def compile_patch(commit: str, name: str) -> None:
    """Compile the touched directories at COMMIT in every corner of the configuration."""
    dirs, _ = touched()
    for corner in sorted(CONFIG.glob("corner-*.config")):
        what = f"compile {name[:40]} {corner.stem}"
        key = fingerprint(commit, f"{corner.stem} {' '.join(dirs)}", CONFIG / "common.config",
                          corner)
        if seen(key):
            result(f"{what} (seen before)")
            continue
        checkout(WORKTREE, commit)
        if command(what, KERNEL, "-s", WORKTREE, corner.stem, "W=1e", *dirs):
            remember(key)


def compile() -> None:
    """the touched directories at the tip in every corner of the configuration, W=1"""
    compile_patch(*patches()[-1])


def corners() -> None:
    """the same and the selftests at every patch"""
    tools = git("rev-parse", "base:tools")
    for commit, name in patches():
        if git("rev-parse", f"{commit}:tools") != tools:
            tools = git("rev-parse", f"{commit}:tools")
            checkout(WORKTREE, commit)
            build_selftests(WORKTREE, BUILD / "selftests-bisect", f"compile {name[:40]} selftests",
                            "iommu vfio")
        compile_patch(commit, name)


def complaints(text: str) -> list[str]:
    """Warnings and errors, without the numbers of lines and the path of this clone: other
    clones get them from the cache."""
    return [re.sub(r":\d+(:\d+)?:?", ":", line.replace(f"{WORKTREE}/", "").replace(f"{BUILD}/", ""))
            for line in text.splitlines()
            if re.search(r"warning|error|severe|critical", line, re.I)]


def nothing_new(tool: str, base: Sequence[str], tip: Sequence[str], since: float) -> None:
    rest, new = list(base), []
    for line in tip:
        if line in rest:
            rest.remove(line)
        else:
            new.append(line)
    result(f"{tool}: nothing new", "\n".join(new), since)


def sparse() -> None:
    """sparse on the directories that the series changes: no messages that the base lacks"""
    dirs, _ = touched()
    start = time.monotonic()

    def look(which: str) -> tuple[list[str], int] | None:
        checkout(WORKTREE, which)
        run = said(KERNEL, "-s", WORKTREE, "sparse", "C=2", SPARSE, *dirs)
        if run.returncode:
            result(f"sparse on {which}", run.stdout)
            return None
        log = (BUILD / "sparse/build.log").read_text()
        return complaints(log), len(CHECKED.findall(log))

    base, tip = (of_tree(which, f"{SPARSE} {dirs}", lambda: look(which))
                 for which in ("base", "series"))
    if base and tip:
        nothing_new("sparse", base[0], tip[0], start)
        result(f"sparse looked at {tip[1]} files", "" if tip[1] else "none")


def docs() -> None:
    """Sphinx on the pages that the series changes, kernel-doc on its code: no messages that the
    base lacks"""
    code = [str(f) for f in touched()[1]]
    pages = [PurePath(name) for name in git("diff", "--name-only", "--diff-filter=d", "base",
                                            "series", "--", "Documentation/*.rst").splitlines()]
    start = time.monotonic()

    def look(which: str) -> tuple[list[str], list[str], list[str]] | None:
        checkout(WORKTREE, which)
        there = [f for f in code if (WORKTREE / f).exists()]
        from_code = said("tools/docs/kernel-doc", "-none", "-Wall", *there, cwd=WORKTREE).stdout
        from_pages = html(which, pages)
        if from_pages is None:
            return None
        out = BUILD / "docs" / which / "Documentation/output"
        missing = [str(page) for page in pages
                   if not (out / page.relative_to("Documentation").with_suffix(".html")).exists()]
        return complaints(from_code), complaints(from_pages), missing

    base, tip = (of_tree(which, f"docs {code} {pages}", lambda: look(which))
                 for which in ("base", "series"))
    if base and tip:
        nothing_new("kernel-doc", base[0], tip[0], start)
        nothing_new("htmldocs", base[1], tip[1], start)
        result(f"htmldocs made {len(pages) - len(tip[2])} pages",
               " ".join(tip[2]) if pages else "none")


def html(which: str, pages: Iterable[PurePath]) -> str | None:
    """What Sphinx says of these pages."""
    out, text = BUILD / "docs" / which, ""
    shutil.rmtree(out, ignore_errors=True)
    books = {next(d for d in page.parents if (TREE / d / "index.rst").exists()) for page in pages}
    for book in sorted(books):
        # The index complains of the pages that are left out, with the base as well.
        mine = ",".join(str(f.relative_to(book)) for f in pages if f.is_relative_to(book))
        run = said("make", "-s", "-C", WORKTREE, f"O={out}", "htmldocs",
                   f"SPHINXDIRS={book.relative_to('Documentation')}",
                   f"SPHINXOPTS=-D include_patterns=index.rst,{mine}")
        text += run.stdout
        if run.returncode:
            result(f"htmldocs of {book} on {which}", text)
            return None
    return text


def clang() -> None:
    """the touched directories at the tip, W=1: with LLVM in every corner, and with both
    compilers as check has them"""
    dirs, _ = touched()
    checkout(WORKTREE, "series")
    corner = [f"clang-{c.stem}" for c in sorted(CONFIG.glob("corner-*.config"))]
    for flavour in [*corner, "clang-check", "warn-check"]:
        command(f"compile {flavour}", KERNEL, "-s", WORKTREE, flavour, "W=1e", *dirs)


def bigendian() -> None:
    """the touched directories at the tip for a big-endian CPU, W=1 and sparse; arm64 marks this
    configuration as BROKEN"""
    dirs, _ = touched()
    checkout(WORKTREE, "series")
    kconfig, broken = WORKTREE / "arch/arm64/Kconfig", 'bool "Build big-endian kernel"\n'
    kconfig.write_text(kconfig.read_text().replace(f"{broken}\tdepends on BROKEN\n", broken))
    start = time.monotonic()
    if command("compile bigendian", KERNEL, "-s", WORKTREE, "bigendian", "W=1e", "C=2", SPARSE,
               *dirs):
        log = (BUILD / "bigendian/build.log").read_text()
        wrong = [line for line in log.splitlines()
                 if re.search(r"warning: .*(restricted|incorrect type)", line)]
        result(f"bigendian: sparse looked at {len(CHECKED.findall(log))} files", "\n".join(wrong),
               start)
    checkout(WORKTREE, "series")


def coccinelle(directory: str, rules: Iterable[str]) -> list[str] | None:
    """What the semantic patches RULES of WORKTREE say of DIRECTORY, without line numbers."""
    found: list[str] = []
    for rule in rules:
        # To ask git which files to look at takes longer than to look, and to read all
        # headers takes many minutes.
        run = said("bash", "scripts/coccicheck", cwd=WORKTREE, env=os.environ | {
            "srctree": ".", "srcroot": directory, "MODE": "report", "COCCI": rule, "J": "1",
            "SPFLAGS": "--use-coccigrep --local-includes", "LINUXINCLUDE": ""})
        if run.returncode:
            print(f"    {rule}: {run.stdout[-300:]}", flush=True)
            return None
        found += [re.sub(r":[\d:-]+|\bline \d+", ":", line) for line in run.stdout.splitlines()
                  if re.match(r"\S+\.[ch]:\d", line)]
    return found


def static() -> None:
    """Coccinelle on the touched directories: nothing new; includes and version.h; iommufd.h by
    itself"""
    dirs, code = touched()
    for tool in ("includes", "version"):
        run = said("perl", "-w", f"scripts/check{tool}.pl", *map(str, code), cwd=TREE)
        text = run.stdout.replace("No duplicate includes found.", "").strip()
        result(f"check{tool} of {len(code)} files",
               f"status {run.returncode}" if run.returncode else text)
    uapi_headers([f for f in code if f.is_relative_to("include/uapi")])
    # Of those that report; the two in OCaml want its compiler.
    rules = [f for f in git("grep", "-lE", "^virtual[[:space:]]+report", "--",
                            "scripts/coccinelle").splitlines()
             if "script:ocaml" not in (TREE / f).read_text()]
    for directory in dirs + sorted({f"{f.parent}/" for f in code if f.parts[0] == "tools"}):
        start, found = time.monotonic(), {}
        for which in ("base", "series"):
            checkout(WORKTREE, which)
            there = (WORKTREE / directory).is_dir()
            found[which] = coccinelle(directory.rstrip("/"), rules) if there else []
        base, tip = found["base"], found["series"]
        if base is None or tip is None:
            result(f"Coccinelle on {directory}", "coccicheck failed", start)
        else:
            nothing_new(f"Coccinelle on {directory}, {len(rules)} rules", base, tip, start)


def uapi_headers(headers: Iterable[PurePath]) -> None:
    """Each header for user space compiles by itself."""
    out = BUILD / "headers"
    if not command("uapi headers", "make", "-s", "-C", TREE, "ARCH=arm64", f"CROSS_COMPILE={CROSS}",
                   f"O={out}", "headers"):
        return
    include = out / "usr/include"
    for name in headers:
        header = include / name.relative_to("include/uapi")
        # Twice, for the guard, as the kernel's own test does it.
        command(f"uapi {header.name} compiles by itself", f"{CROSS}gcc", "-std=c90", "-Wall",
                "-Werror", "-fsyntax-only", "-I", include, "-include", header, "-include", header,
                "-x", "c", "/dev/null")
        command(f"uapi {header.name}: headers_check", "perl", TREE / "usr/include/headers_check.pl",
                include, header)
