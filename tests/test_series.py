# SPDX-License-Identifier: GPL-2.0
"""scripts/series on a kernel of three files: apply and save are the identity,
and nothing gets lost."""
import os
import pathlib
import subprocess
import tempfile
import unittest

SERIES = pathlib.Path(__file__).resolve().parent.parent / "scripts/series"
MAKEFILE = "VERSION = 7\nPATCHLEVEL = 3\nSUBLEVEL = 0\n"


class Series(unittest.TestCase):
    def setUp(self):
        tmp = tempfile.TemporaryDirectory()
        self.addCleanup(tmp.cleanup)
        self.root = pathlib.Path(tmp.name) / "repo"
        self.linux = pathlib.Path(tmp.name) / "linux"
        self.tree = self.root / "build/linux"
        (self.root / "patches").mkdir(parents=True)
        (self.linux / "drivers").mkdir(parents=True)
        (self.linux / "Makefile").write_text(MAKEFILE)
        (self.linux / ".gitignore").write_text("*.o\n/*\n")  # as Debian's
        (self.linux / "drivers/a.c").write_text("".join(f"line {n}\n" for n in range(30)))
        self.env = {"PATH": os.environ["PATH"], "HOME": tmp.name, "SERIES_ROOT": str(self.root),
                    "CACHE": str(self.root / "cache"), "LINUX": str(self.linux),
                    "GIT_CONFIG_NOSYSTEM": "1"}

    def run_series(self, *args):
        run = subprocess.run([SERIES, *args], env=self.env, text=True, capture_output=True)
        return run.returncode, run.stdout + run.stderr

    def good(self, *args):
        code, text = self.run_series(*args)
        self.assertEqual(code, 0, text)
        return text

    def refused(self, words, *args):
        """One line that says @words; nothing in patches/ or the branch moves."""
        before = self.everything()
        code, text = self.run_series(*args)
        self.assertEqual(code, 1, text)
        self.assertNotIn("Traceback", text)
        self.assertEqual(text.strip().splitlines()[-1].count("series: "), 1)
        self.assertRegex(text, words)
        self.assertEqual(before, self.everything())

    def git(self, *args):
        return subprocess.run(["git", "-C", self.tree, *args], env=self.env | {"GIT_EDITOR": "true", "EMAIL": "n@localhost"}, text=True,
                              check=True, capture_output=True).stdout.strip()

    def commit(self, path, text, subject):
        (self.tree / path).parent.mkdir(parents=True, exist_ok=True)
        (self.tree / path).write_text(text)
        self.git("add", "-A")
        self.git("commit", "-q", "-m", subject)

    def edit(self, line, subject):
        text = (self.tree / "drivers/a.c").read_text().replace(f"line {line}\n", f"line {line}, {subject}\n")
        self.commit("drivers/a.c", text, subject)

    def everything(self):
        """All that must not get lost."""
        files = {p: p.read_bytes() for d in ("patches", "drivers") for p in (self.root / d).rglob("*") if p.is_file()}
        if (self.tree / ".git").is_dir():
            files |= {p: p.read_bytes() for p in self.tree.rglob("*") if p.is_file() and ".git" not in p.parts}
            files["log"] = self.git("log", "--format=%T %s %b")
        return files

    def identity(self):
        """save, check, then apply from nothing gives the same tree and the same files."""
        self.good("save")
        self.good("check")
        before = self.everything()
        subprocess.run(["rm", "-rf", self.tree], check=True)
        self.good("apply")
        self.assertEqual(before, self.everything())
        self.good("save")
        self.assertEqual(before, self.everything())

    def three(self):
        self.good("apply")
        self.edit(3, "one")
        self.commit("drivers/new.c", "new\n", "two: a file")
        self.edit(20, "three")
        self.good("save")

    def test_empty(self):
        self.good("apply")
        self.identity()

    def test_add(self):
        self.three()
        self.assertEqual((self.root / "drivers/new.c").read_text(), "new\n")
        self.identity()

    def test_odd_content(self):
        self.three()
        self.commit("drivers/odd.c", "no newline at end, Grüße \x0c", "odd: --- and\n\nFrom the start\n\n\ttab")
        (self.tree / "drivers/run.sh").write_text("#!/bin/sh\n")
        (self.tree / "drivers/run.sh").chmod(0o755)
        self.git("add", "-A")
        self.git("commit", "-q", "-m", "mode: an executable")
        self.identity()
        self.assertTrue((self.root / "drivers/run.sh").stat().st_mode & 0o100)

    def test_drop(self):
        self.three()
        self.git("rebase", "-q", "--onto", "HEAD~2", "HEAD~1")
        self.identity()
        self.assertFalse((self.root / "drivers/new.c").exists())
        self.assertEqual(len(list((self.root / "patches").iterdir())), 2)

    def test_reorder(self):
        self.three()
        one, two, three = self.git("log", "--reverse", "--format=%H", "base..").split()
        self.git("reset", "-q", "--hard", "base")
        self.git("cherry-pick", three, one, two)
        self.identity()

    def test_split(self):
        self.three()
        self.git("reset", "-q", "--hard", "base")
        self.edit(3, "one")
        self.edit(4, "one, the rest")
        self.commit("drivers/new.c", "new\nand more\n", "two: a file")
        self.identity()

    def test_patches_from_outside(self):
        """What a pull brings is applied, if the branch has nothing of its own."""
        self.three()
        last = max((self.root / "patches").iterdir())
        text = last.read_text().replace("+line 20, three", "+line 20, other")
        last.write_text(text)
        self.refused("patches/ has changed", "save")
        self.refused("differs", "check")
        self.good("apply")
        self.assertIn("line 20, other", (self.tree / "drivers/a.c").read_text())
        self.refused("differs", "check")  # its index line is still the old one
        self.identity()

    def test_both_changed(self):
        self.three()
        last = max((self.root / "patches").iterdir())
        last.write_text(last.read_text().replace("three", "3"))
        self.edit(10, "mine")
        self.refused("both", "apply")

    def test_unsaved_commit_stays(self):
        self.three()
        self.edit(10, "mine")
        self.assertIn("not saved", self.good("apply"))
        self.refused("only on one side", "check")

    def test_dirty(self):
        self.three()
        (self.tree / "drivers/a.c").write_text("work\n")
        self.refused("not committed", "save")
        self.git("checkout", "drivers/a.c")
        (self.tree / "drivers/untracked.c").write_text("work\n")
        self.refused("not committed", "save")
        max((self.root / "patches").iterdir()).unlink()
        self.refused("not committed", "apply")

    def test_middle_of_rebase(self):
        self.three()
        subprocess.run(["git", "-C", self.tree, "rebase", "-q", "-x", "false", "base"], env=self.env, capture_output=True)
        self.refused("middle of something", "save")

    def test_foreign(self):
        (self.tree).mkdir(parents=True)
        self.git("init", "-q")
        self.commit("mine", "mine\n", "mine")
        self.refused("not made by this tool", "save")
        self.refused("not made by this tool", "apply")

    def test_other_branch_and_merge(self):
        self.three()
        self.git("checkout", "-q", "-b", "side", "HEAD~1")
        self.refused("not on its branch", "save")
        self.edit(25, "side")
        self.git("checkout", "-q", "series")
        self.git("merge", "-q", "--no-edit", "side")
        self.refused("merges", "save")

    def test_edited_copy(self):
        self.three()
        (self.root / "drivers/new.c").write_text("edited at the wrong place\n")
        self.refused("not the tip", "check")
        self.commit("drivers/new.c", "newer\n", "fix")
        self.refused("was edited here", "save")

    def test_stray_file(self):
        self.three()
        (self.root / "drivers/stray.c").write_text("stray\n")
        self.refused("does not add it", "check")

    def test_no_longer_applies(self):
        self.three()
        (self.linux / ".gitignore").write_text("*.o\n/*\n")  # as Debian's
        (self.linux / "drivers/a.c").write_text("another kernel\n")
        os.utime(self.linux / "Makefile", (0, 0))
        self.refused("0001-one.patch does not apply", "apply")

    def test_other_base(self):
        """Another v7.3.y moves the patches' line numbers and blobs, no more."""
        self.three()
        text = (self.linux / "drivers/a.c").read_text()
        (self.linux / ".gitignore").write_text("*.o\n/*\n")  # as Debian's
        (self.linux / "drivers/a.c").write_text(text.replace("line 10\n", "line 10\n" + "more\n" * 9))
        os.utime(self.linux / "Makefile", (0, 0))
        self.refused("another base", "check")
        self.good("apply")
        self.assertIn("another v7.3.y", self.good("check"))

    def test_git_tree_as_base(self):
        (self.linux / ".gitignore").unlink()
        for args in (["init", "-q"], ["add", "-A"], ["-c", "user.name=n", "-c", "user.email=e", "commit", "-q", "-m", "m"]):
            subprocess.run(["git", "-C", self.linux, *args], check=True, env=self.env)
        self.three()
        self.identity()

    def test_another_cache(self):
        """The objects that build/linux borrows may move."""
        self.three()
        (self.root / "cache").rename(self.root / "cache2")
        self.env["CACHE"] = str(self.root / "cache2")
        self.good("apply")
        self.good("check")

    def test_broken_git_tree_as_base(self):
        (self.linux / ".git").mkdir()
        self.refused("git rev-parse failed", "apply")

    def test_wrong_base(self):
        (self.linux / "Makefile").write_text("VERSION = 6\nPATCHLEVEL = 12\n")
        self.refused("not Linux v7.3", "apply")
        (self.linux / "Makefile").unlink()
        self.refused("no kernel tree", "apply")

    def test_debian_has_no_source(self):
        (self.root / "bin").mkdir()
        (self.root / "bin/apt-get").write_text("#!/bin/sh\necho 'E: Unable to locate package' >&2\nexit 100\n")
        (self.root / "bin/apt-get").chmod(0o755)
        del self.env["LINUX"]
        self.env["PATH"] = f"{self.root}/bin:{self.env['PATH']}"
        self.refused("cannot get linux-source-7.3.*Unable to locate.*LINUX=/path/to/tree", "apply")

    def test_interrupted(self):
        """What a killed run left is not taken for a tree."""
        (self.root / "build/linux.tmp/.git").mkdir(parents=True)
        (self.root / "cache/base-0123456789ab.git.tmp").mkdir(parents=True)
        self.three()
        self.identity()

    def test_built_base(self):
        (self.linux / ".config").write_text("CONFIG_X=y\n")
        self.refused("mrproper", "apply")

    def test_mails(self):
        self.three()
        self.good("mails")
        mails = sorted(p.name for p in (self.root / "build/series").iterdir())
        self.assertEqual(mails, ["0001-one.patch", "0002-two-a-file.patch", "0003-three.patch"])
        self.assertIn("[PATCH 1/3] one", (self.root / "build/series/0001-one.patch").read_text())

    def test_not_applied_yet(self):
        self.refused("make apply", "save")

    def test_unknown_command(self):
        code, text = self.run_series("frobnicate")
        self.assertEqual(code, 2)
        self.assertIn("invalid choice", text)


if __name__ == "__main__":
    unittest.main()
