# SPDX-License-Identifier: GPL-2.0
"""Tests of scripts/series with a kernel of three files: apply and save are the
identity, and no changes get lost."""
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
        self.cover = self.root / "patches/cover-letter.txt"
        self.cover.write_text("Three patches\n\nWhy they are good.\n")
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

    def refused(self, words, *args, lines=1):
        """An error that says WORDS; nothing in patches/ or the branch moves."""
        before = self.everything()
        code, text = self.run_series(*args)
        self.assertEqual(code, 2, text)
        self.assertNotIn("Traceback", text)
        self.assertEqual(text.strip().splitlines()[-lines].count("series: "), 1)
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

    def patches(self):
        return sorted((self.root / "patches").glob("*.patch"))

    def edit(self, line, subject):
        text = (self.tree / "drivers/a.c").read_text().replace(f"line {line}\n", f"line {line}, {subject}\n")
        self.commit("drivers/a.c", text, subject)

    def everything(self):
        """The state that must not get lost."""
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

    def newer(self, old, new, version="3\nSUBLEVEL = 1"):
        """A newer kernel, in which @old of drivers/a.c is @new."""
        text = (self.linux / "drivers/a.c").read_text()
        self.linux = self.linux.with_name("newer")
        (self.linux / "drivers").mkdir(parents=True)
        (self.linux / "Makefile").write_text(f"VERSION = 7\nPATCHLEVEL = {version}\n")
        (self.linux / "drivers/a.c").write_text(text.replace(old, new))
        self.env["LINUX"] = str(self.linux)


class Flat(Series):
    """patches/ without folders"""

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
        self.assertEqual(len(self.patches()), 2)

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
        """Changes of patches/ are applied if the branch has no changes."""
        self.three()
        last = self.patches()[-1]
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
        last = self.patches()[-1]
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
        self.patches()[-1].unlink()
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
        """The objects used by build/linux may be moved."""
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
        self.refused("not Linux v7.3 or newer", "apply")
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
        """Files of a killed run are not used as a tree."""
        (self.root / "build/linux.tmp/.git").mkdir(parents=True)
        (self.root / "cache/base-0123456789ab.git.tmp").mkdir(parents=True)
        self.three()
        self.identity()

    def test_built_base(self):
        (self.linux / ".config").write_text("CONFIG_X=y\n")
        self.refused("mrproper", "apply")

    def mails(self):
        self.good("mails")
        return {p.name: p.read_text() for p in sorted((self.root / "build/series").iterdir())}

    def test_mails(self):
        self.three()
        mails = self.mails()
        self.assertEqual(list(mails), ["0000-cover-letter.patch", "0001-one.patch", "0002-two-a-file.patch", "0003-three.patch"])
        self.assertIn("[PATCH 1/3] one", mails["0001-one.patch"])
        cover = mails["0000-cover-letter.patch"]
        self.assertIn("\nSubject: [PATCH 0/3] Three patches\n", cover)
        self.assertIn("\n\nWhy they are good.\n\n", cover)
        self.assertRegex(cover, r"\n  one\n  two: a file\n  three\n(.*\n)+ 2 files changed, 3 insertions")
        self.assertNotIn("***", cover)

    def test_mails_of_a_later_version(self):
        self.three()
        self.mails()
        self.cover.write_text(self.cover.read_text() + "\nChanges in v3:\n - b\n\nChanges in v2:\n - a\n")
        mails = self.mails()
        self.assertEqual(list(mails)[:2], ["v3-0000-cover-letter.patch", "v3-0001-one.patch"])
        self.assertEqual(len(mails), 4)
        self.assertIn("[PATCH v3 0/3] Three patches", mails["v3-0000-cover-letter.patch"])
        self.assertIn("[PATCH v3 3/3] three", mails["v3-0003-three.patch"])

    def test_cover_letter_not_fit_to_be_sent(self):
        self.three()
        good = self.cover.read_text()
        for bad, why in (("", "must have the subject"), ("Subject\n\n \n", "must have the subject"),
                         ("Subject\nText\n", "must have the subject"), ("\n" + good, "must have the subject"),
                         (good + "x" * 76, "line 4: more than 75 columns"), (good + "\t" * 9 + "1234", "line 4: more"),
                         (good.replace("Three", "*** SUBJECT HERE ***"), "line 1: to be filled in"),
                         (good + "Grüße\n", "line 4: not plain ASCII"),
                         (good + "Tested: TBD\n", "line 4: to be filled in: Tested"),
                         (good + "Changes in v3:\n", "the change log has Changes in v3:;"),
                         (good + "Changes in v2:\nChanges in v3:\n", "the change log"),
                         (good + "Changes since v1:\n", "the change log has Changes since v1:")):
            self.cover.write_text(bad)
            self.refused(why, "mails")
            self.refused(why, "check")
        self.cover.unlink()
        self.refused("there is no .*cover-letter.txt; write it: the subject", "mails")
        self.refused("there is no .*cover-letter.txt", "check")
        self.good("save")
        self.cover.write_text(good)
        self.good("check")

    def test_rebase(self):
        """Also with patches that are in the newer kernel, and with unsaved commits."""
        self.three()
        self.assertEqual((self.root / "patches/made-on").read_text(), "Linux 7.3.0\n")
        self.assertIn("on Linux 7.3.0 already", self.good("rebase"))
        self.edit(10, "four")
        self.newer("line 3\n", "line 3, one\n", "4\nSUBLEVEL = 0")
        self.refused("both .* have changed", "apply")
        self.assertRegex(self.good("rebase"), "note: 'one' is in Linux 7.4.0 already\nseries: 3 patches are on Linux 7.4.0")
        self.assertEqual(self.git("log", "--format=%s", "base.."), "four\nthree\ntwo: a file")
        self.identity()
        self.assertEqual((self.root / "patches/made-on").read_text(), "Linux 7.4.0\n")

    def test_rebase_with_conflict(self):
        self.three()
        before = self.everything()
        self.newer("line 3\n", "line III\n")
        self.refused("0001-one.patch does not apply.* 'make rebase'", "apply")
        code, text = self.run_series("rebase")
        self.assertEqual(code, 2)
        self.assertRegex(text, "series: 'one' conflicts with Linux 7.3.1 in drivers/a.c; .*rebase --continue.*make save.*rebase --abort")
        self.assertEqual(len(text.splitlines()), 1)
        self.refused("middle of something", "rebase")
        self.git("rebase", "--abort")
        self.assertEqual(before, self.everything())
        self.env["LINUX"] = str(self.linux.with_name("linux"))
        self.good("check")
        self.env["LINUX"] = str(self.linux)
        self.run_series("rebase")
        self.commit("drivers/a.c", (self.linux / "drivers/a.c").read_text().replace("III", "III, one"), "one")
        self.git("rebase", "--continue")
        self.identity()
        self.assertEqual(self.git("log", "-1", "--format=%s", "base^{commit}"), "Linux 7.3.1")
        self.assertEqual(len(self.patches()), 3)

    def test_rebase_loses_nothing(self):
        self.three()
        self.newer("line 10\n", "line X\n")
        (self.tree / "drivers/a.c").write_text("work\n")
        self.refused("not committed", "rebase")

    def debian(self, *versions):
        """An apt-get with kernels of these versions, the last one is the newest."""
        (self.root / "bin").mkdir(exist_ok=True)
        for version in versions:
            deb = self.root / "deb" / version
            (deb / "DEBIAN").mkdir(parents=True)
            (deb / "usr/src").mkdir(parents=True)
            (deb / "DEBIAN/control").write_text(f"Package: linux-source-7.3\nVersion: {version}\nArchitecture: all\n"
                                                "Maintainer: n <n@localhost>\nDescription: d\n")
            source = self.root / "deb/linux-source-7.3"
            source.mkdir(exist_ok=True)
            (source / "Makefile").write_text(MAKEFILE.replace("0", version.split("-")[0].split(".")[2]))
            (source / "drivers").mkdir(exist_ok=True)
            (source / "drivers/a.c").write_text((self.linux / "drivers/a.c").read_text() + f"{version}\n")
            subprocess.run(["tar", "-C", source.parent, "-cJf", deb / "usr/src/linux-source-7.3.tar.xz", source.name], check=True)
            subprocess.run(["dpkg-deb", "-b", deb, f"{deb}.deb"], check=True, capture_output=True)
        (self.root / "bin/apt-get").write_text(f"#!/bin/sh\ncase $* in *download*) cp {deb}.deb linux-source-7.3_{version}_all.deb;; esac\n")
        (self.root / "bin/apt-get").chmod(0o755)
        self.env.pop("LINUX", None)
        if str(self.root) not in self.env["PATH"]:
            self.env["PATH"] = f"{self.root}/bin:{self.env['PATH']}"

    def test_newer_kernel_in_debian(self):
        """Only rebase takes it; 7.3.10 is newer than 7.3.9."""
        self.debian("7.3.9-1")
        self.three()
        self.debian("7.3.10-1")
        self.assertIn("up to date", self.good("apply"))
        self.assertIn("3 patches are on Linux 7.3.10", self.good("rebase"))
        self.refused("another base", "check")  # until it is saved
        self.identity()
        self.assertEqual(self.git("log", "-1", "--format=%s", "base^{commit}"), "Linux 7.3.10")

    def test_not_applied_yet(self):
        self.refused("make apply", "save")

    def test_unknown_command(self):
        code, text = self.run_series("frobnicate")
        self.assertEqual(code, 2)
        self.assertIn("invalid choice", text)


class Folders(Series):
    """patches/ in folders"""

    def setUp(self):
        super().setUp()
        self.cover.unlink()
        for name in ("1-early-fixes", "2-middle", "10-late"):
            (self.root / "patches" / name).mkdir()
            letter = self.root / "patches" / name / "0000-cover-letter.txt"
            letter.write_text(f"Series {name}\n\nWhy it is good.\n")
        self.cover = letter

    def patches(self):
        """In the order in which they are applied"""
        return [p for n in ("1-early-fixes", "2-middle", "10-late")
                for p in sorted((self.root / "patches" / n).glob("*.patch"))]

    def names(self):
        return [str(p.relative_to(self.root / "patches")) for p in self.patches()]

    def note(self, commit, folder):
        self.git("notes", "--ref=folder", "add", "-f", "-m", folder, commit)

    def three(self):
        """A patch in each folder"""
        super().three()
        for commit, folder in (("HEAD~2", "1-early-fixes"), ("HEAD~1", "2-middle"), ("HEAD", "10-late")):
            self.note(commit, folder)
        self.good("save")
        self.assertEqual(self.names(), self.THREE)
        self.identity()

    THREE = ["1-early-fixes/0001-one.patch", "2-middle/0001-two-a-file.patch", "10-late/0001-three.patch"]

    def mails(self):
        self.good("mails")
        where = self.root / "build/series"
        return {str(p.relative_to(where)): p.read_text() for p in sorted(where.rglob("*.patch"))}

    def test_mails(self):
        self.three()
        self.edit(10, "four")
        mails = self.mails()
        self.assertEqual(len(mails), 7)
        for name, subject in (("1-early-fixes/0000-cover-letter", "[PATCH 0/1] Series 1-early-fixes"),
                              ("1-early-fixes/0001-one", "[PATCH 1/1] one"),
                              ("10-late/0000-cover-letter", "[PATCH 0/2] Series 10-late"),
                              ("10-late/0002-four", "[PATCH 2/2] four")):
            self.assertIn(f"Subject: {subject}\n", mails[f"{name}.patch"])
        covers = [mails[f"{name}/0000-cover-letter.patch"] for name in ("1-early-fixes", "2-middle", "10-late")]
        self.assertEqual([c.count("\nprerequisite-patch-id: ") for c in covers], [0, 1, 2])
        for cover in covers:
            self.assertIn("\nbase: Linux 7.3.0\n", cover)
            self.assertNotIn("base-commit", cover)

    def test_mails_name_the_upstream_commit(self):
        (self.linux / ".gitignore").unlink()
        for args in (["init", "-q"], ["add", "-A"], ["-c", "user.name=n", "-c", "user.email=e", "commit", "-q", "-m", "m"]):
            subprocess.run(["git", "-C", self.linux, *args], check=True, env=self.env)
        head = subprocess.run(["git", "-C", self.linux, "rev-parse", "HEAD"], check=True, env=self.env,
                              capture_output=True, text=True).stdout
        self.three()
        self.assertIn(f"\nbase-commit: {head}", self.mails()["2-middle/0000-cover-letter.patch"])

    def test_mails_of_a_later_version(self):
        self.three()
        self.cover.write_text(self.cover.read_text() + "\nChanges in v2:\n - a\n")
        self.assertEqual([name for name in self.mails() if "/v2-" in name],
                         ["10-late/v2-0000-cover-letter.patch", "10-late/v2-0001-three.patch"])

    def test_new_commits(self):
        """At the tip they go into the last folder, else beside the one before."""
        self.three()
        self.edit(10, "four")
        self.commit("drivers/b.c", "b", "five")
        self.good("save")
        self.assertEqual(self.names()[2:], ["10-late/0001-three.patch", "10-late/0002-four.patch", "10-late/0003-five.patch"])
        one = self.git("rev-parse", "HEAD~4")
        self.git("checkout", "-q", "--detach", one)
        self.commit("drivers/c.c", "c", "between")
        self.git("rebase", "-q", "--onto", "HEAD", one, "series")
        self.good("save")
        self.assertEqual(self.names()[:3], ["1-early-fixes/0001-one.patch", "1-early-fixes/0002-between.patch",
                                            "2-middle/0001-two-a-file.patch"])
        self.identity()

    def test_rebase_and_amend_keep_the_folder(self):
        """Also that of a commit with another subject"""
        self.three()
        self.git("commit", "-q", "--amend", "-m", "III")
        editor = {"GIT_SEQUENCE_EDITOR": "sed -i '1,2s/^pick/reword/'", "GIT_EDITOR": "sed -i '1s/$/, again/'"}
        subprocess.run(["git", "-C", self.tree, "rebase", "-q", "-i", "base"], check=True, capture_output=True,
                       env=self.env | editor)
        self.good("save")
        self.assertEqual(self.names(), ["1-early-fixes/0001-one-again.patch", "2-middle/0001-two-a-file-again.patch",
                                        "10-late/0001-III.patch"])
        self.identity()

    def test_cherry_picks(self):
        """Commits without notes are assigned by their subjects, but their order is checked."""
        self.three()
        one, two, three = self.git("log", "--reverse", "--format=%H", "base..").split()
        self.git("reset", "-q", "--hard", "base")
        self.edit(25, "before")
        self.git("cherry-pick", one, two, three)
        self.assertEqual(self.git("log", "--notes=folder", "--format=%N", "base.."), "")
        self.good("save")
        self.assertEqual(self.names(), ["1-early-fixes/0001-before.patch", "1-early-fixes/0002-one.patch",
                                        *self.THREE[1:]])
        self.identity()
        commits = self.git("log", "--reverse", "--format=%H", "base..").split()
        self.git("reset", "-q", "--hard", "base")
        self.git("cherry-pick", commits[3], *commits[:3])
        self.refused("'before' belongs to patches/1-early-fixes, but comes after commits of patches/10-late; move it", "save")
        for commit in ("HEAD~2", "HEAD~1", "HEAD"):
            self.note(commit, "10-late")
        self.identity()
        self.assertEqual(len({name.split("/")[0] for name in self.names()}), 1)

    def test_newer_kernel(self):
        self.three()
        self.newer("line 10\n", "line X\n")
        self.assertIn("3 patches are on Linux 7.3.1", self.good("rebase"))
        self.identity()
        self.assertEqual(self.names(), self.THREE)

    def test_no_such_folder(self):
        self.three()
        self.note("HEAD", "3-nowhere")
        self.refused("'three' belongs to patches/3-nowhere, which does not exist", "save")

    def test_mixed(self):
        self.three()
        self.patches()[0].rename(self.root / "patches/0001-one.patch")
        self.refused("has folders, and patches outside of them", "apply")

    def test_from_flat(self):
        """Patches that are moved into folders stay the same."""
        self.three()
        flat = self.root / "patches"
        tree = self.git("rev-parse", "HEAD^{tree}")
        (flat / "10-late/0001-three.patch").rename(flat / "2-middle/0002-three.patch")
        self.good("apply")
        self.assertEqual(self.git("rev-parse", "HEAD^{tree}"), tree)
        self.identity()
        self.assertEqual(self.names()[1:], ["2-middle/0001-two-a-file.patch", "2-middle/0002-three.patch"])
        self.refused("patches/10-late has no patches", "mails")

    def test_cover_letter_not_fit_to_be_sent(self):
        self.three()
        self.cover.write_text("Subject\n\nTested: TBD\n")
        self.refused("10-late/0000-cover-letter.txt, line 3: to be filled in", "mails")
        self.refused("10-late/0000-cover-letter.txt, line 3: to be filled in", "check")

    def test_fixes(self):
        """Each fix applies to the base alone or with its dependencies."""
        needs = self.root / "patches/needs.txt"
        self.good("apply")
        self.edit(3, "one")
        self.edit(20, "two")
        self.commit("drivers/a.c", (self.tree / "drivers/a.c").read_text().replace("line 3, one", "line III"), "three")
        self.commit("drivers/a.c", (self.tree / "drivers/a.c").read_text().replace("line III", "line iii"), "four")
        self.edit(10, "other")
        for commit in ("HEAD~4", "HEAD~3", "HEAD~2", "HEAD~1"):
            self.note(commit, "1-early-fixes")
        self.good("save")
        self.refused("'three': it does not apply to the base alone(.*\n)+'four': it does not apply", "fixes", lines=2)
        needs.write_text("# why\nthree\n\tone\nfour\n\tthree\n")
        self.assertIn("every fix applies", self.good("fixes"))
        needs.write_text("three\n\tone\nfour\n\ttwo\n")
        self.refused("'four': it does not apply", "fixes")
        needs.write_text("three\n\tone\nfour\n\tthree\ntwo\n\tone\n")
        self.refused("'two': it applies to the base alone; remove it from needs.txt", "fixes")
        needs.write_text("three\n\tone\nfour\n\tthree\nother\n\tone\n")
        self.refused("'other': needs.txt names it, but no folder", "fixes")
