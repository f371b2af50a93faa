# SPDX-License-Identifier: GPL-2.0
"""Tests of the litmus check: it fails if herd7 has another result."""
import os
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "scripts"))
from testbed import litmus  # noqa: E402
from testbed.paths import Error  # noqa: E402

MODEL = ROOT / "build/linux/tools/memory-model"
# Store buffering
TEST = """C {name}

(*
 * Result: {result}
 *)

{{}}

P0(int *x, int *y)
{{
	int r0;

	WRITE_ONCE(*x, 1);
	{barrier}();
	r0 = READ_ONCE(*y);
}}

P1(int *x, int *y)
{{
	int r0;

	WRITE_ONCE(*y, 1);
	smp_mb();
	r0 = READ_ONCE(*x);
}}

exists (0:r0=0 /\\ 1:r0=0)
"""


class Litmus(unittest.TestCase):
    def setUp(self):
        tmp = tempfile.TemporaryDirectory()
        self.addCleanup(tmp.cleanup)
        self.tmp = Path(tmp.name)

    def write(self, name, result, barrier, edit=lambda text: text):
        text = edit(TEST.format(name=name, result=result, barrier=barrier))
        (self.tmp / f"{name}.litmus").write_text(text)

    def problems(self):
        return [problem for _, problem in litmus.run(self.tmp, MODEL)]

    def test_right_and_broken(self):
        self.write("sb", "Never", "smp_mb")
        self.write("sb-wmb", "Sometimes", "smp_wmb")
        self.assertEqual(["", "", ""], self.problems())

    def test_wrong_result(self):
        self.write("sb", "Never", "smp_wmb")
        self.write("sb-wmb", "Sometimes", "smp_mb")
        right, broken, pairs = self.problems()
        self.assertRegex(right, "comment says Never, but herd7 finds Sometimes")
        self.assertRegex(broken, "comment says Sometimes, but herd7 finds Never")
        self.assertEqual("", pairs)

    def test_data_race(self):
        self.write("sb", "Sometimes", "smp_wmb", lambda text: text.replace("WRITE_ONCE(*x, 1);", "*x = 1;"))
        self.assertRegex(self.problems()[0], "comment says Sometimes, but herd7 finds Sometimes DATARACE")

    def test_no_broken_form(self):
        self.write("sb", "Never", "smp_mb")
        self.write("other-wmb", "Sometimes", "smp_wmb")
        self.assertRegex(self.problems()[-1], r"^sb.litmus: add sb-\*.litmus")

    def test_bad_files(self):
        self.write("unknown", "Sometimes", "frobnicate")
        self.write("unpromised", "", "smp_wmb")
        self.write("impossible", "Never", "smp_wmb", lambda text: text.replace("exists", "filter (0:r0=7)\nexists"))
        impossible, unknown, unpromised, _ = self.problems()
        self.assertRegex(impossible, "no execution is possible")
        self.assertRegex(unknown, "herd7 does not understand it: .*frobnicate")
        self.assertRegex(unpromised, "no line ' \\* Result: Never'")

    def test_no_tests(self):
        with self.assertRaisesRegex(Error, "no litmus tests in .*: run 'make apply'"):
            self.problems()

    def test_no_network(self):
        self.write("sb", "Never", "smp_mb")
        with mock.patch.object(litmus, "CACHE", self.tmp / "cache"), \
                mock.patch.dict(os.environ, MIRROR="http://127.0.0.1:1/debian"):
            with self.assertRaisesRegex(Error, "cannot get herdtools7 from Debian testing .*: check the network"):
                self.problems()
        self.assertEqual([], list((self.tmp / "cache").glob("herd7-*")))

    def test_no_mirror(self):
        with mock.patch.object(litmus, "SOURCES", Path("/nowhere")), \
                mock.patch.dict(os.environ), self.assertRaisesRegex(Error, "use 'scripts/toolbox', or set MIRROR"):
            os.environ.pop("MIRROR", None)
            litmus.mirror()
