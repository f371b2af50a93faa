# SPDX-License-Identifier: GPL-2.0
"""Tests of testbed.machine: it detects all failures.

Without KERNEL in the environment only the text scanners and the builders are
tested. With KERNEL=.../Image (a check kernel) real guests warn, hang and die.
"""
import contextlib
import io
import os
import re
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from pathlib import Path
from unittest import mock

REPO = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPO / "scripts"))
from testbed import paths  # noqa: E402
from testbed.checks.selftests import operations  # noqa: E402
from testbed.machine import acpi, guest, initramfs, job, klog  # noqa: E402
from testbed.machine.job import Job, Result, Share  # noqa: E402
from testbed.machine.tap import parse_tap  # noqa: E402
from testbed.machine.topology import Topology  # noqa: E402

KERNEL = os.environ.get("KERNEL")

# One or more lines per kind, as the kernel prints them.
SAMPLES = {
    "WARN": ["WARNING: drivers/iommu/iommu.c:12 at iommu_attach+0x20/0x30, CPU#0: sh/91",
             "------------[ cut here ]------------"],
    "BUG": ["kernel BUG at mm/slub.c:553!",
            "BUG: sleeping function called from invalid context at kernel/locking/mutex.c:580",
            "Unable to handle kernel NULL pointer dereference at virtual address 0000000000000010",
            "Internal error: Oops: 0000000096000004 [#1]  SMP",
            "BUG kmalloc-64 (Not tainted): Left Redzone overwritten",
            "Kernel panic - not syncing: sysrq triggered crash"],
    "lockdep": ["WARNING: possible circular locking dependency detected",
                "WARNING: possible recursive locking detected",
                "WARNING: inconsistent lock state",
                "WARNING: suspicious RCU usage",
                "WARNING: bad unlock balance detected!",
                "[ BUG: Invalid wait context ]",
                "WARNING: HARDIRQ-safe -> HARDIRQ-unsafe lock order detected",
                "WARNING: possible irq lock inversion dependency detected"],
    "lockdep off": ["turning off the locking correctness validator.",
                    "BUG: MAX_LOCKDEP_CHAINS too low!"],
    "KASAN": ["BUG: KASAN: slab-use-after-free in arm_smmu_invs_unref+0x14/0x20",
              "BUG: KFENCE: out-of-bounds read in f+0x1/0x2"],
    "RCU stall": ["rcu: INFO: rcu_preempt self-detected stall on CPU",
                  "rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:",
                  "rcu: INFO: rcu_preempt detected expedited stalls on CPUs/tasks: { 1-.... }",
                  "rcu: rcu_preempt kthread starved for 5252 jiffies!"],
    "hung task": ["INFO: task sh:91 blocked for more than 60 seconds."],
    "lockup": ["watchdog: BUG: soft lockup - CPU#1 stuck for 22s! [sh:91]",
               "BUG: workqueue lockup - pool cpus=0 node=0 flags=0x0 nice=0 stuck for 31s!",
               "BUG: spinlock bad magic on CPU#0, sh/91"],
    "debug check": ["ODEBUG: free active (active state 0) object: 00000000 object type: timer_list",
                    "refcount_t: underflow; use-after-free.",
                    "list_del corruption. prev->next should be ffff, but was ffff",
                    "pagealloc: memory corruption",
                    "kmemleak: Kernel memory leak detector disabled"],
    "CMDQ error": ["arm-smmu-v3 arm-smmu-v3.0.auto: CMDQ error (cons 0x01000012): Illegal command"],
    "CMD_SYNC timeout": ["arm-smmu-v3 arm-smmu-v3.0.auto: CMD_SYNC timeout at 0x00000014 "
                         "[hwprod 0x00000015, hwcons 0x00000014]",
                         "arm-smmu-v3 arm-smmu-v3.0.auto: CMDQ timeout"],
    "event queue overflow": ["arm-smmu-v3 arm-smmu-v3.0.auto: EVTQ overflow detected -- events lost"],
    "SMMU global error": ["arm-smmu-v3 arm-smmu-v3.0.auto: unexpected global error reported "
                          "(0x00000001), this could be serious",
                          "arm-smmu-v3 arm-smmu-v3.0.auto: device has entered Service Failure Mode!"],
    "log lost": ["** 12 printk messages dropped **"],
}
GOOD_LOG = """\
[    0.000000] Booting Linux on physical CPU 0x0000000000 [0x000f0510]
[    0.000000] RCU restricting CPUs from NR_CPUS=16 to nr_cpu_ids=2.
[    0.000000] Running RCU self tests
[    0.012000] rcu: Hierarchical SRCU implementation.
[    0.000000] ... MAX_LOCKDEP_SUBCLASSES:  8
[    0.000000] ... MAX_LOCKDEP_CHAINS:      65536
[    1.100000] arm-smmu-v3 arm-smmu-v3.0.auto: allocated 65536 entries for cmdq
[    1.100000] arm-smmu-v3 arm-smmu-v3.0.auto: event: F_TRANSLATION client: 0000:11:00.0 sid: 0x1100
[    1.200000] FAULT_INJECTION: forcing a failure.
[    1.200000] Call trace:
[    1.300000] kmemleak: Kernel memory leak detector initialized
""".split("\n")


class Scanner(unittest.TestCase):
    def test_good_log(self):
        self.assertEqual(klog.scan_log(GOOD_LOG), [])

    def test_every_kind(self):
        self.assertEqual(set(SAMPLES), {kind for kind, _ in klog.BAD_LINES})
        for kind, lines in SAMPLES.items():
            for line in lines:
                with self.subTest(line=line):
                    found = klog.scan_log(GOOD_LOG + ["[    2.000000][  T91] " + line] + GOOD_LOG)
                    self.assertEqual(len(found), 1)
                    self.assertTrue(found[0].startswith(kind + " in"), found[0])
                    self.assertIn(line, found[0])

    def test_races(self):
        """KCSAN reports are distinguished by their backtraces."""
        end = "[    1.5] " + "=" * 66
        ours = [end, "[    1.5] BUG: KCSAN: data-race in a / b", "[    1.5]  arm_smmu_x+0x1/0x2", end]
        theirs = [end, "[    1.6] BUG: KCSAN: data-race in c / d", "[    1.6]  tick+0x1/0x2", end]
        cut = ["[    1.7] BUG: KCSAN: data-race in e / f", "[    1.7]  tick+0x1/0x2"]
        lines, others = klog.split_races(GOOD_LOG + ours + theirs + GOOD_LOG + cut, "arm_smmu")
        self.assertEqual(others, [theirs[1:]])
        self.assertEqual(lines, GOOD_LOG + ours + theirs[:1] + GOOD_LOG + cut)

    def test_races_hide_nothing(self):
        """Messages of another CPU within a report are kept."""
        end = "[    1.5] " + "=" * 66
        for line in SAMPLES["lockdep"] + SAMPLES["CMD_SYNC timeout"]:
            with self.subTest(line=line):
                log = [end, "[    1.6] BUG: KCSAN: data-race in c / d", "[    1.6] " + line, "[    1.6]  tick+0x1/0x2", end]
                self.assertEqual(klog.split_races(log, "arm_smmu_"), (log, []))
                self.assertEqual(klog.split_races(log, "arm_smmu_", [re.escape(line)]), (log[:1], [log[1:]]))

    def test_operations(self):
        said = ["# seed 7", "# map: 354", "ok 1 guest 0000:11:00.0: 262 operations", "# DMA that hit: 0",
                "# 60 s", "# guest 0000:11:00.0: lost translation: 5", "# Totals: pass:18 fail:0"]
        self.assertEqual(operations(said), {"map": 354, "DMA that hit": 0})

    def test_cut_here_takes_the_next_lines_kind(self):
        found = klog.scan_log(["------------[ cut here ]------------", "kernel BUG at a.c:1!"])
        self.assertTrue(found[0].startswith("BUG in"), found)

    def test_two_far_reports_are_two(self):
        line = SAMPLES["CMDQ error"][0]
        self.assertEqual(len(klog.scan_log([line] + [""] * 50 + [line])), 2)

    def test_allow(self):
        line = SAMPLES["CMDQ error"][0]
        self.assertEqual(klog.scan_log([line], allow=["CMDQ error .*Illegal"]), [])
        self.assertEqual(len(klog.scan_log([line] + SAMPLES["WARN"][:1], allow=["CMDQ error"])), 1)
        self.assertEqual(len(klog.scan_log([], allow=["never said"])), 1)

    def test_taint(self):
        self.assertEqual(klog.scan_taint(0), [])
        self.assertEqual(klog.scan_taint(1 << 18 | 1 << 12), [])     # test, out of tree
        for bit in (5, 7, 9, 14):                                       # include/linux/panic.h
            self.assertEqual(len(klog.scan_taint(1 << bit)), 1, bit)
        self.assertEqual(klog.scan_taint(1 << 4), [])                # machine check


KUNIT = """\
KTAP version 1
1..2
    KTAP version 1
    # Subtest: one
    # module: one
    1..3
    ok 1 a
        KTAP version 1
        # Subtest: b
        ok 1 p1
        ok 2 p2 # SKIP no feature
    ok 2 b
    ok 3 c
# one: pass:3 fail:0 skip:0 total:3
ok 1 one
    KTAP version 1
    # Subtest: two
    1..1
    # d: EXPECTATION FAILED at x.c:1
    not ok 1 d
not ok 2 two""".split("\n")


class Tap(unittest.TestCase):
    def counts(self, text, problems=0):
        tap = parse_tap(text if isinstance(text, list) else text.split("\n"))
        self.assertEqual(len(tap.problems), problems, tap.problems)
        return tap.passed, tap.failed, tap.skipped

    def test_plain(self):
        self.assertEqual(self.counts("TAP version 13\n1..3\nok 1 a\nnot ok 2 b\nok 3 c # SKIP why"),
                         (1, 1, 1))

    def test_noise_is_ignored(self):
        self.assertEqual(self.counts("hello\n1..1\n# okay\nok 1 a\nokay then"), (1, 0, 0))

    def test_nested(self):
        self.assertEqual(self.counts(KUNIT), (3, 1, 1))
        tap = parse_tap(KUNIT)
        self.assertIn("EXPECTATION FAILED", tap.failures[0])
        self.assertIn("d", tap.failures[0])

    def test_parent_contradicts_children(self):
        self.assertEqual(self.counts("1..1\n    1..1\n    ok 1 a\nnot ok 1 parent"), (1, 1, 0))

    def test_child_fails_under_good_parent(self):
        self.assertEqual(self.counts("1..1\n    1..1\n    not ok 1 a\nok 1 parent"), (0, 1, 0))

    def test_one_failure_counts_once_through_three_levels(self):
        self.assertEqual(self.counts("1..1\n    1..1\n        1..1\n        not ok 1 a\n"
                                     "    not ok 1 b\nnot ok 1 c"), (0, 1, 0))

    def test_plan_too_long(self):
        self.counts("1..3\nok 1 a\nok 2 b", problems=1)

    def test_plan_too_short(self):
        self.counts("1..1\nok 1 a\nok 2 b", problems=1)

    def test_nested_plan(self):
        self.counts("1..1\n    1..2\n    ok 1 a\nok 1 parent", problems=1)

    def test_no_plan(self):
        self.counts("ok 1 a", problems=1)

    def test_plan_without_results(self):
        self.counts("TAP version 13\n1..2", problems=1)

    def test_numbers(self):
        self.counts("1..2\nok 1 a\nok 3 b", problems=2)

    def test_skip_all(self):
        self.assertEqual(self.counts("1..0 # SKIP no device"), (0, 0, 1))
        self.counts("1..0", problems=1)

    def test_skipped_failure_is_a_skip(self):
        self.assertEqual(self.counts("1..1\nnot ok 1 a # SKIP no"), (0, 0, 1))

    def test_timeout_directive_fails(self):
        self.assertEqual(self.counts("1..1\nnot ok 1 a # TIMEOUT 45 seconds"), (0, 1, 0))

    def test_bail_out(self):
        self.counts("1..1\nok 1 a\nBail out! broken", problems=1)

    def test_two_streams(self):
        self.assertEqual(self.counts("TAP version 13\n1..1\nok 1 a\nTAP version 13\n1..1\nok 1 b"),
                         (2, 0, 0))
        self.assertEqual(self.counts("1..1\nok 1 a\n1..1\nok 1 b"), (2, 0, 0))


class JobOutput(unittest.TestCase):
    def read(self, text):
        result = Result(name="t")
        return job.read_job(result, text.split("\n")), result

    def test_good(self):
        ended, r = self.read("##kernel 7.3\n##begin a\n1..1\nok 1 x\n\n##done a 0\n"
                             "##lockdep 1\n##tainted 0\n##end 0\n")
        self.assertTrue(ended and r.ok)
        self.assertEqual((r.passed, r.kernel, r.lockdep), (1, "7.3", "on"))

    def test_bad(self):
        for text in ("##begin a\n##done a 0\n##end 0",                  # said nothing
                     "##begin a\n1..1\nok 1 x\n##done a 139\n##end 0",  # crashed after it
                     "##begin a\n1..1\nok 1 x\n##end 0",                # never came back
                     "1..1\nok 1 x\n##end 1",
                     "1..1\nok 1 x\n##lockdep 0\n##end 0",
                     "1..1\nok 1 x\n##tainted 512\n##end 0",
                     "1..1\nok 1 x\n##problem no share\n##end 0"):
            with self.subTest(text=text):
                ended, r = self.read(text)
                self.assertTrue(ended)
                self.assertEqual(len(r.problems), 1, r.problems)

    def test_no_end(self):
        self.assertFalse(self.read("1..1\nok 1 x\n")[0])

    def test_skip_status(self):
        _, r = self.read("##begin a\n##done a 4\n##end 0")
        self.assertEqual((r.passed, r.skipped, r.problems), (0, 1, []))


KMEMLEAK = """\
unreferenced object 0xffff000001032240 (size 1992):
  comm "sh", pid 626, jiffies 4294933459
  hex dump (first 32 bytes):
    00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00  ................
  backtrace (crc 0):
    kmemleak_alloc+0xb4/0xc8
    mm_alloc+0x1c/0x54
    [<0000000012345678>] known_loser+0x84/0xe0
unreferenced object (percpu) 0xffff8000809d8250 (size 16):
  comm "sh", pid 627, jiffies 4294933460
  backtrace (crc 0):
    kmemleak_alloc_percpu+0xa4/0xb8
    arm_smmu_invs_alloc.isra.0+0x28/0x2c0
"""


class Leaks(unittest.TestCase):
    def said(self, text, known=""):
        return subprocess.run(["sh", "-c", '. "$0/machine/job.sh"; list_leaks "$1"', REPO, known], input=text,
                              capture_output=True, text=True, check=True).stdout.splitlines()

    def test_none(self):
        self.assertEqual(self.said(""), ["# leaks: 0 known"])

    def test_each_is_a_problem(self):
        first, second, end = self.said(KMEMLEAK)
        self.assertRegex(first, r"^##problem leak: .*size 1992.*pid 626.* < mm_alloc < known_loser$")
        self.assertRegex(second, r"^##problem leak: .*percpu.*pid 627.* < arm_smmu_invs_alloc.isra.0$")
        self.assertEqual(end, "# leaks: 0 known")

    def test_known(self):
        other, end = self.said(KMEMLEAK, "< known_loser$|< nothing ")
        self.assertIn("arm_smmu_invs_alloc", other)
        self.assertEqual(end, "# leaks: 1 known")


class Devices(unittest.TestCase):
    """Errors of job.sh for devices that cannot be used."""
    FUNCTIONS = """smmus() { echo 0; }; devices() { echo 0000:01:00.0; }
        bind_vfio() { echo "##problem $1"; return $bad; }
        devices=$(stress_devices) && echo "ran" $devices"""

    def test_stress(self):
        for bad, said in ((0, "ran --disk /dev/nvme*n1 0000:01:00.0"), (1, "")):
            run = subprocess.run(["sh", "-c", f'. "$0/machine/job.sh"; bad={bad}; {self.FUNCTIONS}', REPO],
                                 capture_output=True, text=True)
            self.assertEqual(" ".join(run.stdout.split()), said)
            self.assertIn("##problem 0000:01:00.0", run.stderr)


class Evaluation(unittest.TestCase):
    CONSOLE = "ACPI: Table Upgrade: override [IORT-BOCHS ]\nmachine: end of job, status 0"

    def problems(self, said, console=CONSOLE, **more):
        result = Result(name="t", console=console.split("\n"), said=said.split("\n"))
        Job(Topology(), Path("Image"), "", **more).evaluate(result, ["qemu's word"], "it died")
        return result.problems

    GOOD = "1..1\nok 1 x\n##end 0"

    def test_good(self):
        self.assertEqual(self.problems(self.GOOD), [])

    def test_bad(self):
        for why, args in {
                "it died": ["1..1\nok 1 x"],
                "misses its end marker": [self.GOOD, "override [IORT-"],
                "did not take the IORT": [self.GOOD, "machine: end of job"],
                "no test reported": ["##end 0"],
                "WARN in the kernel log": [self.GOOD, self.CONSOLE + "\nWARNING: a"]}.items():
            with self.subTest(why=why):
                found = self.problems(*args)
                self.assertEqual(len(found), 1, found)
                self.assertIn(why, found[0])

    def test_last_lines(self):
        found = self.problems("hello", "the kernel's word", tests=False)[0]
        for line in ("hello", "the kernel's word", "qemu's word"):
            self.assertIn(line, found)

    def test_shares(self):
        self.assertIn("share x", self.problems(self.GOOD, shares=[Share("x", Path("/x"))])[0])
        self.assertEqual(self.problems("##mounted x\n" + self.GOOD, shares=[Share("x", Path("/x"))]), [])

    def test_kunit(self):
        log = "".join(f"[    1.{i:06}] {line}\n" for i, line in enumerate(KUNIT))
        result = Result(name="t", console=(log + self.CONSOLE).split("\n"), said=["##end 0"])
        Job(Topology(), Path("Image"), "", kunit="x*").evaluate(result, [], "it died")
        self.assertEqual((result.passed, result.failed, result.skipped), (3, 1, 1))
        self.assertEqual(result.problems, [])
        self.assertIn("no test of this kernel matches", self.problems("##end 0", kunit="x*")[0])

    def test_short(self):
        """Of a run that was ended early, only the reason counts."""
        log = "KTAP version 1\n1..2\n[    1.000000] not ok 1 x\nfake-smmu.1.auto: CMD_SYNC timeout"
        short = {"kunit": "x*", "short": True, "allow": [r"fake-smmu\.1.auto", "not there"]}
        self.assertEqual(self.problems("", log, **short), [])
        found = self.problems("", log + "\nWARNING: a", **short)
        self.assertEqual([problem.split(":")[0] for problem in found], ["WARN in the kernel log"])
        self.assertIn("it died", "\n".join(self.problems("", log, kunit="x*")))


DSDT = """DefinitionBlock ("", "DSDT", 2, "BOCHS ", "BXPC    ", 1) { Device (\\_SB.PCI0) {
    Name (_HID, "PNP0A08")
    Method (_DSM, 4, NotSerialized) {
        If (Arg0 == ToUUID ("e5c937d0-3553-4d7a-9117-ea4d19c3434d")) {
            If (Arg2 == Zero) { Return (Buffer (One) { 0x00 }) }
        }
        Return (Buffer (One) { 0x00 })
    }
} }"""


class Builders(unittest.TestCase):
    def test_icount(self):
        self.assertIn("-icount", Topology(cpus=1, icount=True).board())
        self.assertNotIn("-icount", Topology(cpus=1).board())
        self.assertNotIn("tcg,thread=multi", Topology(icount=True).board())

    def test_cpio(self):
        data = initramfs.cpio({"a/b/c": (0o100644, b"hello"), "d": (0o100755, b"")})
        self.assertEqual(len(data) % 4, 0)
        listed = subprocess.run(["cpio", "-it", "--quiet"], input=data, capture_output=True, check=True)
        self.assertEqual(listed.stdout.split(), [b"a", b"a/b", b"a/b/c", b"d"])

    @staticmethod
    def iort_nodes(table):
        """(offset, type, length) of each node."""
        count, offset = struct.unpack_from("<II", table, 36)
        for _ in range(count):
            kind, length = struct.unpack_from("<BH", table, offset)
            yield offset, kind, length
            offset += length

    def test_iort(self):
        # The SMMU is mapped to the ITS, the root complex to the SMMU.
        its = struct.pack("<BHBIIIII", 0, 24, 1, 0, 0, 0, 1, 0)
        smmu = struct.pack("<BHBIIIQ", 4, 88, 4, 1, 1, 68, 0xb010000).ljust(68, b"\0")
        smmu += struct.pack("<5I", 0, 0xffff, 0, 48, 0)
        root = struct.pack("<BHBIIIIBHB", 2, 56, 3, 2, 1, 36, 1, 0, 0, 3).ljust(36, b"\0")
        root += struct.pack("<5I", 0x1000, 0xfff, 0x1000, 72, 0)
        nodes = its + smmu + root
        head = struct.pack("<4sIBB6s8sI4sI", b"IORT", 48 + len(nodes), 5, 0, b"BOCHS ",
                           b"BXPC    ", 1, b"BXPC", 1) + struct.pack("<III", 3, 48, 0)
        table = bytearray(head + nodes)
        table[9] = -sum(table) & 0xff
        new = acpi.iort_with_canwbs(bytes(table))
        self.assertEqual(sum(new) & 0xff, 0)
        self.assertEqual(struct.unpack_from("<I", new, 24)[0], 2)
        self.assertEqual(new[48 + 24 + 88 + 23], 7)
        self.assertEqual(acpi.iort_routes(new), [(0x1000, 0x1fff, 0x1000, 0xb010000)])
        with self.subTest("RMR"):
            more = acpi.iort_with_rmr(new, 0x1200, 0xc0000000, 0x10000)
            more = acpi.iort_with_rmr(more, 0x1fff, 0xd0000000, 0x20000, True)
            self.assertEqual((sum(more) & 0xff, struct.unpack_from("<I", more, 24)[0]), (0, 4))
            nodes = list(self.iort_nodes(more))
            self.assertEqual([kind for _, kind, _ in nodes], [0, 4, 2, 6, 6])
            self.assertEqual(nodes[-1][0] + nodes[-1][2], len(more))
            for (offset, _, _), flags, stream_id, region in zip(
                    nodes[3:], (20, 21), (0x1200, 0x1fff), ((0xc0000000, 0x10000), (0xd0000000, 0x20000))):
                mappings, where = struct.unpack_from("<II", more, offset + 8)
                said, regions, place = struct.unpack_from("<III", more, offset + 16)
                self.assertEqual((mappings, regions, said), (1, 1, flags))
                self.assertEqual(struct.unpack_from("<5I", more, offset + where), (0, 0, stream_id, 72, 1))
                self.assertEqual(struct.unpack_from("<QQI", more, offset + place), (*region, 0))
            self.assertEqual(acpi.iort_routes(more), acpi.iort_routes(new))
            for stream_id in (0xfff, 0x2000):
                with self.assertRaises(paths.Error):
                    acpi.iort_with_rmr(new, stream_id, 0xc0000000, 0x10000)
        table[60] ^= 1
        with self.assertRaises(paths.Error):
            acpi.iort_with_canwbs(bytes(table))

    def test_dsdt(self):
        """The _DSM returns 0 for all functions except the first one, which lists the others."""
        table = acpi.iasl(DSDT)
        new = acpi.dsdt_with_boot_config(table)
        self.assertEqual((sum(new) & 0xff, new[24]), (0, table[24] + 1))
        text = acpi.disassembled(new)
        self.assertRegex(text, r"Arg2 == Zero\)\)\s*\{\s*Return \(Buffer[^}]*\}\)\s*\}\s*\}\s*Return \(Zero\)")
        self.assertEqual(text.count("Return"), 2)
        with self.assertRaises(paths.Error):
            acpi.dsdt_with_boot_config(new)

    def test_topology(self):
        args = " ".join(Topology(8, 2, 1, True, True).devices())
        self.assertEqual(args.count("arm-smmuv3,"), 10)
        self.assertEqual(args.count("stage=nested"), 8)
        self.assertEqual(args.count("nvme,serial="), 20)
        self.assertEqual(args.count("iommu-testdev"), 10)
        args = " ".join(Topology(2, pair=True).devices())
        self.assertEqual(args.count("nvme,serial="), 4)
        self.assertEqual(args.count("pcie-root-port,"), 3)
        args = Topology(2, pair=True, ats=True).devices()
        self.assertEqual(" ".join(args).count(",ats=on"), 1)
        ports = [a.split("bus=")[1] for a in args if a.startswith("pcie-root-port,")]
        self.assertEqual(len(ports), len(set(ports)))
        for bad in ({"smmus": 0}, {"smmus": 13}, {"nvme": 0}, {"nvme": 16}, {"cpus": 0}):
            with self.assertRaises(paths.Error):
                Topology(**bad)

    def test_half_made_things_are_not_trusted(self):
        with tempfile.TemporaryDirectory() as tmp:
            target = Path(tmp) / "thing"
            with self.assertRaises(RuntimeError), paths.making(target) as work:
                work.write_text("half")
                raise RuntimeError
            self.assertFalse(target.exists())
            with paths.making(target) as work:
                self.assertFalse(work.exists())
                work.write_text("whole")
            self.assertEqual(target.read_text(), "whole")


class Monitor(unittest.TestCase):
    """Tests of QEMU's monitor, which may not respond."""

    def ask(self, answers, stay=True):
        with tempfile.TemporaryDirectory() as tmp, socket.socket(socket.AF_UNIX) as server:
            server.bind(f"{tmp}/qmp")
            server.listen()

            def serve():
                connection, _ = server.accept()
                connection.settimeout(100)
                with connection:
                    connection.sendall(b'{"QMP": {}}\n')
                    for answer in answers:
                        connection.recv(4096)
                        connection.sendall(answer)
                    while stay and connection.recv(4096):
                        pass

            thread = threading.Thread(target=serve)
            thread.start()
            qemu = guest.Guest.__new__(guest.Guest)
            qemu.directory = tmp
            try:
                return qemu.qmp("stop")
            finally:
                thread.join()

    def test_answer(self):
        self.assertEqual(self.ask([b'{"return": {}}\n', b'{"event": "STOP"}\n{"return": 7}\n']), 7)

    def test_refused(self):
        with self.assertRaisesRegex(paths.Error, "no such"):
            self.ask([b'{"return": {}}\n', b'{"error": {"desc": "no such"}}\n'])

    def test_silence(self):
        begun = time.monotonic()
        with mock.patch.object(guest, "MONITOR", 0.2), self.assertRaisesRegex(paths.Error, "did not answer stop"):
            self.ask([b'{"return": {}}\n'])
        self.assertLess(time.monotonic() - begun, 60)

    def test_end(self):
        with self.assertRaisesRegex(paths.Error, "did not answer stop"):
            self.ask([b'{"return": {}}\n', b""], stay=False)


class CommandLine(unittest.TestCase):
    def fails(self, *args, **env):
        done = subprocess.run([sys.executable, REPO / "scripts/shell.py", "--run", ":", *args],
                              capture_output=True, text=True, env={**os.environ, **env})
        self.assertEqual(done.returncode, 2)
        self.assertEqual(len(done.stderr.strip().split("\n")), 1, done.stderr)
        return done.stderr

    def test_errors_are_one_line(self):
        self.assertIn("make kernels", self.fails("--kernel", "nowhere"))
        self.assertIn("12", self.fails("--smmus", "99"))
        self.assertIn("is not an arm64 Image", self.fails("--kernel", "test-no-image"))
        self.assertIn("give a flavour", self.fails("--kernel", "/nowhere"))

    def test_old_qemu(self):
        with tempfile.TemporaryDirectory() as tmp:
            old = Path(tmp) / "qemu"
            old.write_text("#!/bin/sh\necho QEMU emulator version 10.0.13\n")
            old.chmod(0o755)
            said = self.fails("--kernel", "test-empty-image", QEMU=str(old))
            self.assertIn("too old", said)
        self.assertIn("cannot run", self.fails("--kernel", "test-empty-image", QEMU="/nowhere"))

    def setUp(self):
        """Files that are not kernels"""
        for name, text in (("test-no-image", b"x" * 64), ("test-empty-image", b"x" * 56 + b"ARM\x64")):
            file = paths.BUILD / name / "arch/arm64/boot/Image"
            self.assertFalse(file.exists())
            file.parent.mkdir(parents=True)
            file.write_bytes(text)
            self.addCleanup(paths.remove, paths.BUILD / name)


@unittest.skipUnless(KERNEL, "KERNEL= not given")
class Guests(unittest.TestCase):
    """Real boots: each failure is detected, with the lines that show the reason."""

    def boot(self, text, hangs=""):
        """Run a job, whose timeout expires only if it HANGS, even on a slow host."""
        with tempfile.TemporaryDirectory() as tmp, contextlib.redirect_stdout(io.StringIO()):
            task = Job(Topology(1), Path(KERNEL), text, name="t", timeout=600, directory=Path(tmp))

            def watch(guest):
                if hangs and hangs in guest.lines("job.log"):
                    task.timeout = 1

            task.watch = watch
            return task.run()

    OK = "echo 1..1; echo ok 1 fine\n"

    def test_good(self):
        result = self.boot(self.OK)
        self.assertEqual(result.problems, [])
        self.assertEqual((result.passed, len(result.devices)), (1, 1))

    def test_warn(self):
        result = self.boot(self.OK + "echo WARNING >/sys/kernel/debug/provoke-crash/DIRECT\n")
        self.assertEqual(result.passed, 1)
        text = "\n".join(result.problems)
        self.assertIn("WARN in the kernel log", text)
        self.assertIn("lkdtm", text)
        self.assertIn("tainted (W", text)

    def test_hang(self):
        result = self.boot(self.OK + "echo about to hang; sleep 1000\n", hangs="about to hang")
        self.assertRegex(result.problems[0], r"timeout: no end after \d+ s")
        self.assertIn("about to hang", result.problems[0])

    def test_death(self):
        result = self.boot(self.OK + "echo c >/proc/sysrq-trigger\n")
        text = "\n".join(result.problems)
        self.assertIn("the guest died", text)
        self.assertIn("sysrq triggered crash", text)


@unittest.skipUnless(KERNEL, "KERNEL= not given")
class Shell(unittest.TestCase):
    """scripts/shell.py, without a terminal"""

    def shell(self, *args, said=""):
        return subprocess.run([str(REPO / "scripts/shell.py"), *args], input=said, text=True, capture_output=True, timeout=600)

    def test_command(self):
        got = self.shell("--run", "echo hello; ls /repo/Makefile; echo x >/repo/x; exit 3")
        self.assertEqual(got.returncode, 3, got.stderr)
        self.assertIn("hello\n/repo/Makefile\n", got.stdout)
        self.assertIn("Read-only", got.stdout)

    def test_script(self):
        got = self.shell(said="devices\n")
        self.assertEqual((got.returncode, got.stdout.split()), (0, ["0000:11:00.0", "0000:21:00.0"]), got.stderr)

    def test_bad_input(self):
        for args, message in (([], "no console"), (["--smmus", "13", "--dry"], "1 to 12"), (["--nvme", "99", "--dry"], "devices"),
                              (["--kernel", "nosuch", "--dry"], "unknown flavour"), (["--kernel", "../x", "--dry"], "give a flavour")):
            with self.subTest(args=args):
                got = self.shell(*args)
                self.assertEqual(got.returncode, 2)
                self.assertIn(message, got.stderr)
                self.assertEqual(len(got.stderr.splitlines()), 1)
