# SPDX-License-Identifier: GPL-2.0
"""Tests of scripts/check: results of other processes are printed and counted, and results on
the base are cached."""
import contextlib
import io
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "scripts"))
from testbed.checks import main, tally, tools  # noqa: E402


class Processes(unittest.TestCase):
    def units(self, program, live=False, units=1):
        """The counts and output of units of checks that run PROGRAM."""
        with tempfile.TemporaryDirectory() as tmp, \
                mock.patch.object(sys, "argv", [f"{tmp}/check"]), \
                mock.patch.dict(tally.COUNT, passed=5, failed=0, skipped=0), \
                contextlib.redirect_stdout(io.StringIO()) as out:
            Path(tmp, "check").write_text(program)
            main.Worker([[main.static.docs]] * units, live).work()
            return dict(tally.COUNT), out.getvalue()

    def test_counted(self):
        program = ("import sys; print(sys.argv[1:]); print('not ok - a'); print('    a: 20 s');"
                   "print('3 passed, 2 failed, 1 skipped'); sys.exit(1)")
        count, said = self.units(program)
        self.assertEqual(count, {"passed": 8, "failed": 2, "skipped": 1})
        self.assertEqual(said, "['docs']\nnot ok - a\n")
        count, said = self.units(program, live=True, units=2)
        self.assertEqual(count, {"passed": 11, "failed": 4, "skipped": 2})
        self.assertEqual(said, "['docs']\nnot ok - a\n    a: 20 s\n" * 2)
        count, _ = self.units("print('3 passed, 0 failed')")
        self.assertEqual(count, {"passed": 8, "failed": 0, "skipped": 0})

    def test_died(self):
        for program in ("", "print('3 passed, 0 failed'); print('Killed')", "raise SystemExit(9)"):
            count, said = self.units(program)
            self.assertEqual(count, {"passed": 5, "failed": 1, "skipped": 0})
            self.assertIn("not ok - docs ended", said)

    def test_all_checks_run_once(self):
        names = [check.__name__ for check in main.CHECKS + main.MORE]
        self.assertEqual(len(set(names)), len(names))


class Complaints(unittest.TestCase):
    def test_without_numbers_and_clone(self):
        """Results are cached for all clones."""
        static = main.static
        self.assertEqual(static.complaints(
            f"{static.WORKTREE}/Documentation/a.rst:3: WARNING: x\nfine\n"
            f"{static.BUILD}/docs/b.rst: ERROR: y\ndrivers/c.c:12:34: error: z"),
            ["Documentation/a.rst: WARNING: x", "docs/b.rst: ERROR: y", "drivers/c.c: error: z"])


class Units(unittest.TestCase):
    def test_results_of_unittest(self):
        """Failures, errors and skips are counted."""
        program = """import unittest
class T(unittest.TestCase):
    def test_good(self): pass
    def test_bad(self): self.fail()
    def test_error(self): raise OSError
    def test_subtests(self):
        for n in range(3):
            with self.subTest(n=n): self.assertEqual(n, 1)
    @unittest.skip("why")
    def test_skipped(self): pass
"""
        with tempfile.TemporaryDirectory() as tmp, mock.patch.object(tools, "TESTS", Path(tmp)), \
                mock.patch.object(tools, "kernel", lambda flavour: True), \
                mock.patch.dict(tally.COUNT, passed=0, failed=0, skipped=0), \
                mock.patch.object(sys, "path", [*sys.path]), mock.patch.dict("os.environ"), \
                contextlib.redirect_stdout(io.StringIO()) as out:
            Path(tmp, "test_of_a_test.py").write_text(program)
            tools.tools()
            self.assertEqual(tally.COUNT, {"passed": 1, "failed": 4, "skipped": 1})
        self.assertIn("skipped - test_of_a_test.T.test_skipped: why", out.getvalue())

    def test_long_functions(self):
        with tempfile.TemporaryDirectory() as tmp, \
                mock.patch.multiple(tools, SCRIPTS=Path(tmp), REPO=Path(tmp), TESTS=Path(tmp, "t")):
            for lines, found in ((49, []), (50, ["a.py:1: f() has 51 lines"])):
                Path(tmp, "a.py").write_text("def f():\n" + "    pass\n" * lines)
                self.assertEqual(list(tools.long_functions()), found)


class Trees(unittest.TestCase):
    def test_found_once(self):
        with tempfile.TemporaryDirectory() as tmp, mock.patch.object(tally, "CACHE", Path(tmp)), \
                mock.patch.object(tally, "git", lambda *args: "tree"):
            find = mock.Mock(return_value=[["a"], 3])
            for _ in range(2):
                self.assertEqual(tally.of_tree("base", "x", find), [["a"], 3])
            tally.of_tree("base", "y", find)
            self.assertEqual(find.call_count, 2)
            with mock.patch.object(tally, "tooling", lambda: b"other"):
                tally.of_tree("base", "x", find)
            self.assertEqual(find.call_count, 3)
            with mock.patch.object(tally, "git", lambda *args: "other tree"):
                tally.of_tree("base", "x", find)
            self.assertEqual(find.call_count, 4)
            failed = mock.Mock(return_value=None)
            for _ in range(2):
                self.assertIsNone(tally.of_tree("base", "z", failed))
            self.assertEqual(failed.call_count, 2)
