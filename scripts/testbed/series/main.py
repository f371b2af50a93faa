# SPDX-License-Identifier: GPL-2.0
"""Turn patches/ into a git branch on Linux v7.3, and the branch back.

  apply   create or update the branch 'series' in build/linux, on the tag 'base'
  save    write the branch to patches/, and every file it adds to its kernel path from
          the root of this repository
  check   verify that patches, branch and files are in sync, and that git am of the patches
          results in the tree of the branch
  fixes   verify that every patch of the folders *-fixes applies to the base alone,
          or with those that needs.txt names
  mails   write the numbered mails and the cover letter of each folder to build/series/
  rebase  rebase the branch to the newest v7.3.y in Debian, or to LINUX=DIR, which may be
          any newer version
  base    only create the base if necessary, and print its directory

patches/ has patches and a cover-letter.txt, or folders N-name of patches, each with a
0000-cover-letter.txt, that are applied in the order of their numbers. Work in build/linux
as on any kernel: commit, rebase, fixup; then save, which puts each commit back into the
folder it came from, and new ones at the tip into the last. apply and save never discard
changes that are not committed or not saved.
"""
import argparse
from collections.abc import Callable

from testbed.paths import BUILD, TREE, Error
from testbed.series import branch, mails
from testbed.series.base import base, say


def print_fixes() -> None:
    branch.state()
    wrong = [f"'{subject}': {problem}" for subject, problem in mails.fixes() if problem]
    if wrong:
        raise Error("\n".join(wrong))
    say("every fix applies to the base alone, or with what patches/needs.txt says")


def main() -> int:
    commands: dict[str, Callable[[], None]] = {
        "apply": branch.apply, "save": branch.save, "check": mails.check, "fixes": print_fixes,
        "mails": mails.mails, "rebase": branch.rebase, "base": lambda: print(base())}
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=commands)
    parser.add_argument("--force", action="store_true",
                        help="save: overwrite what was edited in patches/")
    args = parser.parse_args()
    BUILD.mkdir(exist_ok=True)
    if args.command not in ("base", "apply") and not TREE.exists():
        raise Error(f"there is no {TREE} yet; 'make apply' first")
    if args.command == "save":
        branch.save(args.force)
    else:
        commands[args.command]()
    return 0
