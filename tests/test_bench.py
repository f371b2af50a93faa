# SPDX-License-Identifier: GPL-2.0
"""Tests of the figures of scripts/bench.py, without booting."""
import contextlib
import io
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

REPO = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPO / "scripts"))
from testbed import bench, paths  # noqa: E402
from testbed.machine import klog  # noqa: E402
from testbed.machine.job import Result  # noqa: E402


def flat(value, names=None):
    """The result of a boot, with the same value for all figures."""
    return {name: ("us", value) for name in names or bench.wanted()}


def figure(base, patched, unit="us"):
    base = base if isinstance(base, list) else [base] * 3
    patched = patched if isinstance(patched, list) else [patched] * 3
    return bench.Figure(unit, base, patched)


class Parse(unittest.TestCase):
    def test_lines(self):
        found = bench.parse([
            "[    3.141592]     # bench_time_inval: figure inval-8 us 4123 4100 4300 9",
            "[    3.2]     # bench_count_attach: figure attach-1 insns 12345 12345 12345 9\n",
            "##figure join-time-1 us 230.9 229.6 472.4 3"])
        self.assertEqual(found, {"inval-8": ("us", 4123.0), "attach-1": ("insns", 12345.0),
                                 "join-time-1": ("us", 230.9)})

    def test_no_figure(self):
        self.assertEqual(bench.parse(["figure inval-8 us 1 1 1 9",           # of no test
                                      "# bench_time_inval: figure inval-8 us 1 1 1",    # cut off
                                      "# bench_time_inval: figure inval-8 us 1 1 1 9 and more",
                                      "ok 1 bench_time_inval", ""]), {})

    def test_twice(self):
        with self.assertRaisesRegex(paths.Error, "came twice"):
            bench.parse(["##figure a us 1 1 1 1"] * 2)

    def test_as_the_harness_gives_them(self):
        lines = klog.clean("##figure a-1 us 1.5 1 2 3\r\n##figure b-1 us 1 1 1 1\r\n")
        self.assertEqual(set(bench.parse(lines)), {"a-1", "b-1"})


class Figures(unittest.TestCase):
    def test_medians(self):
        f = figure([10, 30, 20], [1, 9, 4])
        self.assertEqual((f.base, f.patched), (20, 4))
        # Of the pairs, not the quotient of the medians, which here is 0.2 as well
        self.assertEqual(f.ratio, 0.2)
        self.assertAlmostEqual(f.spread, (0.3 - 0.1) / 2)

    def test_ratio_is_of_pairs(self):
        # Both kernels were half as fast in the second round.
        f = figure([10, 20, 10], [5, 10, 6])
        self.assertAlmostEqual(f.ratio, 0.5)
        self.assertAlmostEqual(f.spread, 0.05)

    def test_noise(self):
        self.assertAlmostEqual(figure([10, 11, 10.45], 1).noise, 0.1)
        self.assertAlmostEqual(figure([10, 9, 9], 1).noise, 0.1)
        self.assertEqual(figure([10], [10]).noise, 0)

    def test_zero(self):
        self.assertEqual(figure(0, 0).ratio, 1)
        self.assertEqual(figure(0, 1).ratio, float("inf"))
        self.assertEqual(figure(0, 1).spread, 0)
        self.assertEqual(figure(5, 0).ratio, 0)

    def test_collect(self):
        boots = {bench.TIME: ([{"a": ("us", 2), "b": ("us", 1)}, {"a": ("us", 4)}],
                          [{"a": ("us", 1), "b": ("us", 1)}, {"a": ("us", 2), "b": ("us", 1)}]),
                 bench.COUNT: ([{"c": ("insns", 3)}], [{"c": ("insns", 3)}])}
        found = bench.collect(boots)
        self.assertEqual(set(found), {"a", "c"})
        self.assertEqual((found["a"].base, found["a"].ratio, found["c"].unit), (3, 0.5, "insns"))


class Goals(unittest.TestCase):
    def goals(self, **figures):
        return {name: goal.met for name, goal in bench.goals(
            {name.replace("_", "-"): f for name, f in figures.items()}).items()}

    def test_ratios(self):
        for name, limit in {"join-time-8": 0.005, "map-pages-8": 0.13, "inval-8": 0.15, "attach-1": 1.0,
                            "attach-parallel-8": 0.15, "sva-exit-8": 0.15, "sva-exit-stop-8": 0.15,
                            "detach-ats-time-1": 1.5, "detach-ats-stays-1": 1.05, "detach-ats-stays-time-1": 1.05,
                            "inval-insn-1-s1-4k": 1.0, "inval-insn-1-nested-ats-all": 1.0}.items():
            with self.subTest(name=name):
                self.assertEqual(bench.goals({name: figure(10000, 10000 * limit)})[name].met, True)
                self.assertEqual(bench.goals({name: figure(10000, 10000 * limit + 1)})[name].met, False)

    def test_no_goal(self):
        self.assertEqual(self.goals(inval_2=figure(1, 9), inval_insn_1_s1_4k_poll=figure(1, 9),
                                    sva_notifier_8=figure(1, 9)), {})

    def test_noise_is_allowed(self):
        self.assertTrue(self.goals(unmap_time_4=figure([100, 110, 100], 109))["unmap-time-4"])
        self.assertFalse(self.goals(unmap_time_4=figure([100, 101, 100], 109))["unmap-time-4"])
        self.assertTrue(self.goals(unmap_time_4=figure(1000, 1009))["unmap-time-4"])
        self.assertFalse(self.goals(unmap_time_4=figure(1000, 1011))["unmap-time-4"])

    def test_patched_against_patched(self):
        one, same, more = figure(10, 10), figure(90, 10), figure(90, 11)
        self.assertTrue(self.goals(map_time_1=one, map_time_8=same)["map-time-8"])
        self.assertFalse(self.goals(map_time_1=one, map_time_8=more)["map-time-8"])
        self.assertFalse(self.goals(join_little_time_8=figure(9999, 10), join_time_8=figure(9999, 20))["join-time-8"])
        self.assertFalse(self.goals(join_little_time_8=figure(90, 60), join_time_8=figure(90, 60))["join-time-8"])

    def test_threads(self):
        self.assertTrue(self.goals(inval_parallel_8=figure(1000, 991))["inval-parallel-8"])
        self.assertFalse(self.goals(inval_parallel_8=figure(1000, 989))["inval-parallel-8"])
        self.assertFalse(self.goals(inval_parallel_syncs_8=figure(100, 102))["inval-parallel-syncs-8"])

    def test_beside_dead(self):
        # There is no goal for the base, which waits for the other SMMU.
        for patched, met in (1050, True), (1051, False):
            self.assertEqual(self.goals(attach_beside_none=figure(900, 1000),
                                        attach_beside_dead=figure(9999999, patched))["attach-beside-dead"], met)

    def test_growth(self):
        self.assertTrue(self.goals(attach_nth_1=figure(10, 20), attach_nth_4096=figure(100, 110))["attach-nth-4096"])
        self.assertFalse(self.goals(attach_nth_1=figure(10, 10), attach_nth_4096=figure(100, 101))["attach-nth-4096"])


class Shown(unittest.TestCase):
    FIGURES = {"inval-8": figure([4000, 4100, 4050], 500), "map-pages-8": figure(1025, 130, "pages")}

    def test_tsv(self):
        lines = bench.tsv(self.FIGURES).splitlines()
        self.assertEqual(lines[0], "# id\tbase\tpatched\tratio\tspread")
        for line in lines[1:]:
            name, *values = line.split("\t")
            self.assertEqual(len([float(v) for v in values]), 4)
        self.assertEqual(lines[2], "map-pages-8\t1025\t130\t0.126829\t0")

    def test_table(self):
        said = "\n".join(bench.table(self.FIGURES, bench.goals(self.FIGURES)))
        self.assertIn("ratio ≤ 0.15: met", said)
        self.assertRegex(said, r"inval-8 +us +4050 +500 +0\.1235 +±0\.0015 +±0\.025")

    def test_plot(self):
        figures = bench.collect({bench.TIME: ([flat(2)], [flat(1)])})
        script = bench.plot(figures)
        self.assertEqual(script.count("\nplot "), 6)
        self.assertEqual(bench.plot(figures, bench.PICTURE).count("\nplot "), 2)
        self.assertIn("\n16 0.002 0.001\n", script)
        self.assertNotIn("\nplot ", bench.plot({}))

    def test_every_id_asked_for(self):
        names = bench.wanted()
        for name in ("join-time", "map-time", "map-pages", "unmap-time", "inval", "sva-notifier"):
            for k in (1, 2, 4, 8):
                self.assertIn(f"{name}-{k}", names)
        self.assertIn("attach-1", names)
        self.assertIn("inval-insn-1-s1-4k", names)


class Main(unittest.TestCase):
    """Tests of main() with simulated boots."""

    def main(self, boot, *args):
        out, err = io.StringIO(), io.StringIO()
        with tempfile.TemporaryDirectory() as build, \
                mock.patch.multiple(bench, BUILD=Path(build), boot=boot,
                                    draw=lambda figures, path: None, kernel_image=lambda path: path,
                                    qemu_version=lambda: "QEMU",
                                    compiled=lambda name, directory: None), \
                mock.patch.object(sys, "argv", ["bench.py", *args]), \
                contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            with self.assertRaises(SystemExit) as end:
                paths.cli(bench.main)
            written = Path(build, "bench.tsv")
            return end.exception.code, out.getvalue(), err.getvalue(), written.read_text() if written.exists() else ""

    @staticmethod
    def result(*problems):
        return Result(name="t", problems=list(problems), directory=Path("/nonexistent"))

    def test_interleaved(self):
        booted = []

        def boot(kind, flavour, programs, samples, wall):
            booted.append((kind, flavour))
            return flat(1), self.result()

        status, out, err, written = self.main(boot, "--repeats", "4")
        self.assertEqual((status, err), (0, ""))
        self.assertEqual(booted[:4], [(bench.MACHINE, "base-bench"), (bench.MACHINE, "bench"),
                                      (bench.TIME, "fake-bench"), (bench.TIME, "bench")])
        self.assertEqual([booted.count((kind, "bench")) for kind in bench.KINDS], [3, 3, 3, 3, 4])
        booted.clear()
        self.main(boot, "--repeats", "4", "--wall")
        self.assertEqual([booted.count((kind, "bench")) for kind in bench.KINDS], [4, 4, 4, 4, 4])
        self.assertEqual(len(written.splitlines()), 1 + len(bench.wanted()))

    def test_only(self):
        booted = set()

        def boot(kind, flavour, programs, samples, wall):
            booted.add(kind)
            return flat(1), self.result()

        status, _, _, written = self.main(boot, "--only", "inval-[0-9]*", "--quick")
        self.assertEqual((status, booted, len(written.splitlines())), (0, {bench.TIME}, 6))
        booted.clear()
        status, out, _, written = self.main(boot, "--only", "join-time-*,inval-[1-9]*")
        self.assertEqual((status, booted, len(written.splitlines())), (0, {bench.MACHINE, bench.TIME}, 10))
        self.assertIn("figures.svg is written", out)
        self.assertNotIn("figures.svg is", self.main(boot, "--only", "inval-[1-9]*")[1])
        self.assertNotIn("figures.svg is", self.main(boot, "--quick")[1])
        self.assertEqual(self.main(boot, "--only", "nothing")[0], 2)

    def test_missing(self):
        def boot(kind, flavour, programs, samples, wall):
            found = flat(1)
            if flavour == "bench":
                del found["inval-8"]
            return found, self.result()

        status, out, err, written = self.main(boot)
        self.assertEqual(status, 1)
        self.assertIn("1 figures are missing: inval-8", err)
        self.assertIn("map-pages-8\t", written)

    def test_failed_run(self):
        status, out, err, _ = self.main(lambda *args: (flat(1), self.result("it died")))
        self.assertEqual(status, 1)
        self.assertIn("machine on base-bench failed", err)
        self.assertIn("it died", out)

    def test_missed_goal_is_told(self):
        status, out, _, _ = self.main(lambda kind, flavour, *args: (flat(1 + (flavour == "bench")), self.result()))
        self.assertEqual(status, 0)
        self.assertRegex(out, r"Goals: \d+ met, \d+ missed: .*\binval-8\b")
