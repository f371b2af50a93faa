# SPDX-License-Identifier: GPL-2.0
"""scripts/check: what runs in a second process is told and counted, and what was
found on the base is found once."""
import contextlib
import importlib.machinery
import importlib.util
import io
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

ROOT = Path(__file__).resolve().parent.parent
loader = importlib.machinery.SourceFileLoader("check", str(ROOT / "scripts/check"))
with mock.patch.object(sys, "dont_write_bytecode", True):
    check = importlib.util.module_from_spec(importlib.util.spec_from_loader("check", loader))
    loader.exec_module(check)


class SecondProcess(unittest.TestCase):
    def end(self, program):
        """The counts and the words after a second process that is PROGRAM."""
        with tempfile.TemporaryDirectory() as tmp, mock.patch.object(check, "__file__", f"{tmp}/check"), \
                mock.patch.object(check, "COUNT", {"passed": 5, "failed": 0, "skipped": 0}) as count, \
                contextlib.redirect_stdout(io.StringIO()) as out:
            Path(tmp, "check").write_text(program)
            check.Beside([check.docs]).end()
            return count, out.getvalue()

    def test_counted(self):
        count, said = self.end("import sys; print(sys.argv[1:]); print('not ok - a'); print('in 1.0 minutes');"
                               "print('3 passed, 2 failed, 1 skipped'); sys.exit(1)")
        self.assertEqual(count, {"passed": 8, "failed": 2, "skipped": 1})
        self.assertEqual(said, "['docs']\nnot ok - a\n")
        self.assertEqual(self.end("print('3 passed, 0 failed')")[0], {"passed": 8, "failed": 0, "skipped": 0})

    def test_died(self):
        for program in ("", "print('3 passed, 0 failed'); print('Killed')", "raise SystemExit(9)"):
            count, said = self.end(program)
            self.assertEqual(count, {"passed": 5, "failed": 1, "skipped": 0})
            self.assertIn("not ok - docs ended well", said)

    def test_all_checks_run_once(self):
        self.assertLess(set(check.BESIDE), set(check.CHECKS))
        self.assertEqual(len(set(check.CHECKS)), len(check.CHECKS))


class Base(unittest.TestCase):
    def test_found_once(self):
        with tempfile.TemporaryDirectory() as tmp, mock.patch.object(check.machine, "CACHE", Path(tmp)), \
                mock.patch.object(check, "output", lambda *args: "tree"):
            find = mock.Mock(return_value=[["a"], 3])
            self.assertEqual([check.of_base("x", find), check.of_base("x", find)], [[["a"], 3]] * 2)
            check.of_base("y", find)
            self.assertEqual(find.call_count, 2)
            with mock.patch.object(check, "tooling", lambda: "other"):
                check.of_base("x", find)
            self.assertEqual(find.call_count, 3)
            failed = mock.Mock(return_value=None)
            for _ in range(2):
                self.assertIsNone(check.of_base("z", failed))
            self.assertEqual(failed.call_count, 2)


if __name__ == "__main__":
    unittest.main()
