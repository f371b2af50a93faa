#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Tests of the harness itself: that it sees what it claims to see.

Without KERNEL in the environment only the text scanners and the builders are
tested. With KERNEL=…/Image (a check kernel) real guests warn, hang and die.
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
import types
import unittest
from pathlib import Path
from unittest import mock

REPO = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPO / "scripts"))
import demo  # noqa: E402
import machine  # noqa: E402
import results  # noqa: E402
import vmm  # noqa: E402
import vsmmu  # noqa: E402

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
        self.assertEqual(results.scan_log(GOOD_LOG), [])

    def test_every_kind(self):
        self.assertEqual(set(SAMPLES), {kind for kind, _ in results.BAD_LINES})
        for kind, lines in SAMPLES.items():
            for line in lines:
                with self.subTest(line=line):
                    found = results.scan_log(GOOD_LOG + ["[    2.000000][  T91] " + line] + GOOD_LOG)
                    self.assertEqual(len(found), 1)
                    self.assertTrue(found[0].startswith(kind + " in"), found[0])
                    self.assertIn(line, found[0])

    def test_races(self):
        """KCSAN's reports are told apart by what is in their stacks."""
        end = "[    1.5] " + "=" * 66
        ours = [end, "[    1.5] BUG: KCSAN: data-race in a / b", "[    1.5]  arm_smmu_x+0x1/0x2", end]
        theirs = [end, "[    1.6] BUG: KCSAN: data-race in c / d", "[    1.6]  tick+0x1/0x2", end]
        cut = ["[    1.7] BUG: KCSAN: data-race in e / f", "[    1.7]  tick+0x1/0x2"]
        lines, others = results.split_races(GOOD_LOG + ours + theirs + GOOD_LOG + cut, "arm_smmu")
        self.assertEqual(others, [theirs[1:]])
        self.assertEqual(lines, GOOD_LOG + ours + theirs[:1] + GOOD_LOG + cut)

    def test_races_hide_nothing(self):
        """What another CPU says in the middle of a report is not lost with it."""
        end = "[    1.5] " + "=" * 66
        for line in SAMPLES["lockdep"] + SAMPLES["CMD_SYNC timeout"]:
            with self.subTest(line=line):
                log = [end, "[    1.6] BUG: KCSAN: data-race in c / d", "[    1.6] " + line, "[    1.6]  tick+0x1/0x2", end]
                self.assertEqual(results.split_races(log, "arm_smmu_"), (log, []))
                self.assertEqual(results.split_races(log, "arm_smmu_", [re.escape(line)]), (log[:1], [log[1:]]))

    def test_operations(self):
        said = ["# seed 7", "# map: 354", "ok 1 guest 0000:11:00.0: 262 operations", "# DMA that hit: 0",
                "# 60 s", "# guest 0000:11:00.0: lost translation: 5", "# Totals: pass:18 fail:0"]
        self.assertEqual(results.operations(said), {"map": 354, "DMA that hit": 0})

    def test_cut_here_takes_the_next_lines_kind(self):
        found = results.scan_log(["------------[ cut here ]------------", "kernel BUG at a.c:1!"])
        self.assertTrue(found[0].startswith("BUG in"), found)

    def test_two_far_reports_are_two(self):
        line = SAMPLES["CMDQ error"][0]
        self.assertEqual(len(results.scan_log([line] + [""] * 50 + [line])), 2)

    def test_allow(self):
        line = SAMPLES["CMDQ error"][0]
        self.assertEqual(results.scan_log([line], allow=["CMDQ error .*Illegal"]), [])
        self.assertEqual(len(results.scan_log([line] + SAMPLES["WARN"][:1], allow=["CMDQ error"])), 1)
        self.assertEqual(len(results.scan_log([], allow=["never said"])), 1)

    def test_taint(self):
        self.assertEqual(results.scan_taint(0), [])
        self.assertEqual(results.scan_taint(1 << 18 | 1 << 12), [])     # test, out of tree
        for bit in (5, 7, 9, 14):                                       # include/linux/panic.h
            self.assertEqual(len(results.scan_taint(1 << bit)), 1, bit)
        self.assertEqual(results.scan_taint(1 << 4), [])                # machine check


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
        tap = results.parse_tap(text if isinstance(text, list) else text.split("\n"))
        self.assertEqual(len(tap.problems), problems, tap.problems)
        return tap.passed, tap.failed, tap.skipped

    def test_plain(self):
        self.assertEqual(self.counts("TAP version 13\n1..3\nok 1 a\nnot ok 2 b\nok 3 c # SKIP why"),
                         (1, 1, 1))

    def test_noise_is_ignored(self):
        self.assertEqual(self.counts("hello\n1..1\n# okay\nok 1 a\nokay then"), (1, 0, 0))

    def test_nested(self):
        self.assertEqual(self.counts(KUNIT), (3, 1, 1))
        tap = results.parse_tap(KUNIT)
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


class Job(unittest.TestCase):
    def read(self, text):
        result = machine.Result("t")
        return machine.read_job(result, text.split("\n")), result

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
        other, end = self.said(KMEMLEAK, "< known_loser$|< nobody ")
        self.assertIn("arm_smmu_invs_alloc", other)
        self.assertEqual(end, "# leaks: 1 known")


class Devices(unittest.TestCase):
    """What job.sh says of devices that are not as they should be."""
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
        result = machine.Result("t", console=console.split("\n"), said=said.split("\n"))
        machine.evaluate(result, "it died", ["qemu's word"], **more)
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
        self.assertIn("share x", self.problems(self.GOOD, shares=["x"])[0])
        self.assertEqual(self.problems("##mounted x\n" + self.GOOD, shares=["x"]), [])

    def test_kunit(self):
        log = "".join(f"[    1.{i:06}] {line}\n" for i, line in enumerate(KUNIT))
        result = machine.Result("t", console=(log + self.CONSOLE).split("\n"), said=["##end 0"])
        machine.evaluate(result, "it died", kunit="x*")
        self.assertEqual((result.passed, result.failed, result.skipped), (3, 1, 1))
        self.assertEqual(result.problems, [])
        self.assertIn("ran no test", self.problems("##end 0", kunit="x*")[0])


class Builders(unittest.TestCase):
    def test_icount(self):
        self.assertIn("-icount", machine.Topology(cpus=1, icount=True).board())
        self.assertNotIn("-icount", machine.Topology(cpus=1).board())
        self.assertNotIn("tcg,thread=multi", machine.Topology(icount=True).board())

    def test_cpio(self):
        data = machine.cpio({"a/b/c": (0o100644, b"hello"), "d": (0o100755, b"")})
        self.assertEqual(len(data) % 4, 0)
        listed = subprocess.run(["cpio", "-it", "--quiet"], input=data, capture_output=True, check=True)
        self.assertEqual(listed.stdout.split(), [b"a", b"a/b", b"a/b/c", b"d"])

    def test_iort(self):
        smmu = struct.pack("<BHBIIIQ", 4, 68, 4, 0, 0, 0, 0xb010000).ljust(68, b"\0")
        root = struct.pack("<BHBIIIIBHB", 2, 56, 3, 1, 1, 36, 1, 0, 0, 3).ljust(36, b"\0")
        root += struct.pack("<5I", 0x1000, 0xfff, 0x1000, 48, 0)
        head = struct.pack("<4sIBB6s8sI4sI", b"IORT", 48 + 68 + len(root), 5, 0, b"BOCHS ",
                           b"BXPC    ", 1, b"BXPC", 1) + struct.pack("<III", 2, 48, 0)
        table = bytearray(head + smmu + root)
        table[9] = -sum(table) & 0xff
        new = machine.iort_with_canwbs(bytes(table))
        self.assertEqual(sum(new) & 0xff, 0)
        self.assertEqual(struct.unpack_from("<I", new, 24)[0], 2)
        self.assertEqual(new[48 + 68 + 23], 7)
        self.assertEqual(machine.iort_routes(new), [(0x1000, 0x1fff, 0x1000, 0xb010000)])
        with self.subTest("RMR"):
            more = machine.iort_with_rmr(new, 0x1200, 0xc0000000, 0x10000)
            more = machine.iort_with_rmr(more, 0x1fff, 0xd0000000, 0x20000, True)
            self.assertEqual((sum(more) & 0xff, struct.unpack_from("<I", more, 24)[0]), (0, 4))
            nodes = list(machine.iort_nodes(more))
            self.assertEqual([kind for _, kind, _ in nodes], [4, 2, 6, 6])
            self.assertEqual(nodes[-1][0] + nodes[-1][2], len(more))
            for (offset, _, _), flags, stream_id, region in zip(
                    nodes[2:], (20, 21), (0x1200, 0x1fff), ((0xc0000000, 0x10000), (0xd0000000, 0x20000))):
                mappings, where = struct.unpack_from("<II", more, offset + 8)
                said, regions, place = struct.unpack_from("<III", more, offset + 16)
                self.assertEqual((mappings, regions, said), (1, 1, flags))
                self.assertEqual(struct.unpack_from("<5I", more, offset + where), (0, 0, stream_id, 48, 1))
                self.assertEqual(struct.unpack_from("<QQI", more, offset + place), (*region, 0))
            self.assertEqual(machine.iort_routes(more), machine.iort_routes(new))
            for stream_id in (0xfff, 0x2000):
                with self.assertRaises(machine.Error):
                    machine.iort_with_rmr(new, stream_id, 0xc0000000, 0x10000)
        table[60] ^= 1
        with self.assertRaises(machine.Error):
            machine.iort_with_canwbs(bytes(table))

    def test_dsdt(self):
        # If (Arg2 == 0) Return (Buffer {0}); Return (Buffer {0})
        table = bytearray(b"DSDT".ljust(36, b"\0") + bytes.fromhex("a009936a00a411030100a411030100"))
        new = machine.dsdt_with_boot_config(bytes(table))
        self.assertEqual((len(new), sum(new) & 0xff, new[24]), (len(table), 0, 1))
        self.assertEqual(new[36:].hex(), "a009936a00a411030100" "a400a3a3a3")
        with self.assertRaises(machine.Error):
            machine.dsdt_with_boot_config(new)

    def test_topology(self):
        args = " ".join(machine.Topology(8, 2, 1, True, True).devices())
        self.assertEqual(args.count("arm-smmuv3,"), 10)
        self.assertEqual(args.count("stage=nested"), 8)
        self.assertEqual(args.count("nvme,serial="), 20)
        self.assertEqual(args.count("iommu-testdev"), 10)
        args = " ".join(machine.Topology(2, pair=True).devices())
        self.assertEqual(args.count("nvme,serial="), 4)
        self.assertEqual(args.count("pcie-root-port,"), 3)
        args = machine.Topology(2, pair=True, ats=True).devices()
        self.assertEqual(" ".join(args).count(",ats=on"), 1)
        ports = [a.split("bus=")[1] for a in args if a.startswith("pcie-root-port,")]
        self.assertEqual(len(ports), len(set(ports)))
        for bad in ({"smmus": 0}, {"smmus": 13}, {"nvme": 0}, {"nvme": 16}, {"cpus": 0}):
            with self.assertRaises(machine.Error):
                machine.Topology(**bad)

    def test_half_made_things_are_not_trusted(self):
        with tempfile.TemporaryDirectory() as tmp:
            target = Path(tmp) / "thing"
            with self.assertRaises(RuntimeError), machine.making(target) as work:
                work.write_text("half")
                raise RuntimeError
            self.assertFalse(target.exists())
            with machine.making(target) as work:
                self.assertFalse(work.exists())
                work.write_text("whole")
            self.assertEqual(target.read_text(), "whole")


class Monitor(unittest.TestCase):
    """QEMU's monitor, which may be dead."""

    def ask(self, answers, stay=True):
        with tempfile.TemporaryDirectory() as tmp, socket.socket(socket.AF_UNIX) as server:
            server.bind(f"{tmp}/qmp")
            server.listen()

            def serve():
                connection, _ = server.accept()
                connection.settimeout(10)
                with connection:
                    connection.sendall(b'{"QMP": {}}\n')
                    for answer in answers:
                        connection.recv(4096)
                        connection.sendall(answer)
                    while stay and connection.recv(4096):
                        pass

            thread = threading.Thread(target=serve)
            thread.start()
            guest = machine.Guest.__new__(machine.Guest)
            guest.directory = tmp
            try:
                return guest.qmp("stop")
            finally:
                thread.join()

    def test_answer(self):
        self.assertEqual(self.ask([b'{"return": {}}\n', b'{"event": "STOP"}\n{"return": 7}\n']), 7)

    def test_refused(self):
        with self.assertRaisesRegex(machine.Error, "no such"):
            self.ask([b'{"return": {}}\n', b'{"error": {"desc": "no such"}}\n'])

    def test_silence(self):
        begun = time.monotonic()
        with mock.patch.object(machine, "MONITOR", 0.2), self.assertRaisesRegex(machine.Error, "did not answer stop"):
            self.ask([b'{"return": {}}\n'])
        self.assertLess(time.monotonic() - begun, 5)

    def test_end(self):
        with self.assertRaisesRegex(machine.Error, "did not answer stop"):
            self.ask([b'{"return": {}}\n', b""], stay=False)


class CommandLine(unittest.TestCase):
    def fails(self, *args, **env):
        done = subprocess.run([sys.executable, REPO / "scripts/machine.py", "run", *args],
                              capture_output=True, text=True, env={**os.environ, **env})
        self.assertEqual(done.returncode, 2)
        self.assertEqual(len(done.stderr.strip().split("\n")), 1, done.stderr)
        return done.stderr

    def test_errors_are_one_line(self):
        self.assertIn("make kernels", self.fails("--kernel", "/nowhere/Image", "--command", ":"))
        self.assertIn("12", self.fails("--kernel", "x", "--command", ":", "--smmus", "99"))
        self.assertIn("nothing to run", self.fails("--kernel", "x"))
        self.assertIn("no such file", self.fails("--kernel", "x", "--job", "/nowhere"))

    def test_old_qemu(self):
        with tempfile.TemporaryDirectory() as tmp:
            old = Path(tmp) / "qemu"
            old.write_text("#!/bin/sh\necho QEMU emulator version 10.0.13\n")
            old.chmod(0o755)
            said = self.fails("--kernel", "x", "--command", ":", QEMU=str(old))
            self.assertIn("too old", said)
        self.assertIn("cannot run", self.fails("--kernel", "x", "--command", ":", QEMU="/nowhere"))


class Demo(unittest.TestCase):
    """The judge of the demonstration, on a run that never was."""
    STE = {"config": 7, "vmid": 1, "s2ttb": 0x1000}
    HWPT = "7@1.2:iommufd_backend_alloc_hwpt  iommufd=21 dev_id=%d pt_id=2 flags=0x1 hwpt_type=0 " \
           "len=0 data_ptr=0x0 out_hwpt=%d (%d)\n"
    VIOMMU = "7@1.2:iommufd_backend_alloc_viommu  iommufd=21 dev_id=%d type=1 hwpt_id=%d data_ptr=0x0 " \
             "data_len=0x0 viommu_id=%d (0)\n"
    BASE = HWPT % (1, 3, 0) + VIOMMU % (1, 3, 4) + HWPT % (7, 8, 0) + VIOMMU % (7, 8, 9)
    SHARED = HWPT % (1, 3, 0) + VIOMMU % (1, 3, 4) + HWPT % (7, 8, -22) + VIOMMU % (7, 3, 9)
    TRACE = "smmuv3_cmdq_opcode <--- SMMU_CMD_TLBI_NH_VA\nsmmuv3_range_inval vmid=1 asid=1\n" \
            "smmuv3_cmdq_opcode <--- SMMU_CMD_SYNC\n"

    # Two rounds, one through stage 1 and one with it bypassed.
    ROUNDS = [{"configs": {config}, "tables": [0x1000, 0x2000], "pages": ["0x80000000"],
               "places": [place] * 2, "right": 2}
              for config, place in ((7, 0x4000), (6, 0x9000))]
    SAID = ["##dma 64 8 0", "##dma 64 8 0"]

    # The file of an SMMU, with a domain of a device that is not the guest's.
    FILE = "smmu arm-smmu-v3.{0}.auto\nasid 1 domain c0 users 1\nvmid 1 vsmmu a{0} domain d0 users 1\n" \
           "domain c0 stage S1\n\tentry phase TLBI smmu arm-smmu-v3.{0}.auto type S1_ASID id 1 users 1\n" \
           "domain d0 stage S2\n" + "".join(
               f"\tentry phase {phase} smmu arm-smmu-v3.{n}.auto type {kind} id 1 users 1\n"
               for phase, kind in (("TLBI", "S2_VMID_VSMMU"), ("S1_CLEAR", "S2_VMID_S1_CLEAR")) for n in (0, 1))
    FILES = [FILE.format(0), FILE.format(1)]

    def judge(self, vmm, stes, nonce="now", trace=TRACE, said=SAID, rounds=ROUNDS, tables=2, files=None):
        topology = machine.Topology(2)
        with tempfile.TemporaryDirectory() as tmp:
            for where in ("images", "out/guest", "out/debugfs"):
                Path(tmp, where).mkdir(parents=True)
            for serial in ("smmu0-nvme0", "smmu1-nvme0"):
                Path(tmp, f"images/{serial}.img").write_bytes(demo.pattern(nonce, serial, 4) + b"x")
            Path(tmp, "out/guest/vmm.trace").write_text(vmm)
            Path(tmp, "trace.log").write_text("before\n" + trace)
            for n, file in enumerate(files or ()):
                Path(tmp, f"out/debugfs/{n}").write_text(file)
            result = machine.Result("t", directory=tmp)
            result.guest = machine.Result("g", devices=["a iommu0", "b iommu1"], said=said)
            witness = demo.Witness([])
            witness.trace_from = len("before\n")
            witness.smmus = [{"stes": {"d": ste}} for ste in stes]
            witness.rounds = rounds
            figures = demo.judge(result, topology, witness, "now", 4,
                                 {"DMA": 1, "identity": 1}, tables, files is None)
        return result, figures

    def test_two_tables(self):
        result, figures = self.judge(self.BASE, [self.STE, self.STE | {"s2ttb": 0x2000}])
        self.assertEqual(result.failures, [])
        self.assertEqual((len(figures["tables"]), len(figures["parents"])), (2, 2))
        self.assertEqual((figures["tlbi"], figures["vmids"]), ({"TLBI_NH_VA": 1}, {1: 1}))

    def test_one_table(self):
        result, figures = self.judge(self.SHARED, [self.STE, self.STE], tables=1, files=self.FILES,
                                     rounds=[r | {"tables": [0x1000]} for r in self.ROUNDS])
        self.assertEqual(result.failures, [])
        self.assertEqual([f["smmu"] for f in figures["files"]], ["arm-smmu-v3.0.auto", "arm-smmu-v3.1.auto"])
        self.assertEqual((len(figures["tables"]), len(figures["parents"]), len(figures["viommus"])),
                         (1, 1, 2))

    def test_each_lie_is_found(self):
        good = [self.STE, self.STE | {"s2ttb": 0x2000}]
        for why, args in {
                "raw image": (self.BASE, good, "stale nonce"),
                "picture": (self.BASE, good[:1]),
                "stage 1 and stage 2": (self.BASE, [good[0], good[1] | {"config": 6}]),
                "one vSMMU per SMMU": (self.BASE.replace(self.VIOMMU % (7, 8, 9), ""), good),
                "stage-2 tables of the STEs": (self.SHARED, good),
                "TLB invalidations": (self.BASE, good, "now", "")}.items():
            with self.subTest(why=why):
                result, _ = self.judge(*args)
                self.assertIn(why, "\n".join(result.failures))

    def test_number_of_tables(self):
        good = [self.STE, self.STE | {"s2ttb": 0x2000}]
        result, _ = self.judge(self.BASE, good, tables=1)
        self.assertEqual(result.failures, ["not ok: 1 stage-2 table for 2 SMMUs (there are 2)"])
        result, _ = self.judge(self.SHARED, [self.STE, self.STE], tables=2,
                               rounds=[r | {"tables": [0x1000]} for r in self.ROUNDS])
        self.assertEqual(result.failures, ["not ok: 2 stage-2 tables for 2 SMMUs (there are 1)"])

    def test_each_lie_of_debugfs_is_found(self):
        zero, one = self.FILES
        for why, files in {
                "1 files for 2 SMMUs": [zero],
                "0 files for 2 SMMUs": [],
                "the STEs VMID [1]": [zero, one.replace("vmid 1", "vmid 2")],
                "arm-smmu-v3.1.auto has []": [zero, one.replace(" vsmmu a1", "")],
                "arm-smmu-v3.0.auto lost": [zero.replace("domain c0 stage", "vmid 7 unowned\ndomain c0 stage"), one],
                "arm-smmu-v3.1.auto does not list": [zero, one.replace("domain d0 stage", "domain e0 stage")],
                "not the same": [zero, one.replace("1 users 1\n\tentry", "1 users 2\n\tentry")],
                "wanted {": [f.replace("S2_VMID_S1_CLEAR id 1 users 1", "S2_VMID_S1_CLEAR id 1 users 2")
                             for f in self.FILES]}.items():
            with self.subTest(why=why):
                result, _ = self.judge(self.SHARED, [self.STE, self.STE], tables=1, files=files,
                                       rounds=[r | {"tables": [0x1000]} for r in self.ROUNDS])
                self.assertIn(why, "\n".join(result.failures))

    def test_no_vsmmu_is_found(self):
        """Files and STEs may agree that there is nothing."""
        witness = demo.Witness([])
        witness.smmus = [{"stes": {}}]
        files = [vsmmu.debugfs(["smmu arm-smmu-v3.0.auto"])]
        self.assertEqual(demo.judge_debugfs(witness, files, 1), "no file has a vSMMU")

    def test_each_lie_of_a_round_is_found(self):
        first, last = self.ROUNDS
        for why, lie in {
                "rounds of unmapping": {"rounds": [first]},
                "all rounds": {"said": self.SAID[:1]},
                "wrong data (3 of 144": {"said": ["##dma 64 8 0", "##dma 64 8 3"]},
                "DMA went on": {"said": ["##dma 64 8 0", "##dma 64 0 0"]},
                "stage 1 bypassed": {"rounds": [first, last | {"configs": {6, 7}}]},
                "the same stage-2 tables": {"rounds": [first, last | {"tables": [0x3000]}]},
                "where stage 2 leads to (3 of 4)": {"rounds": [first, last | {"right": 1}]},
                "other host pages": {"rounds": [first, last | {"places": [0x9000, 0x4000]}]},
                "same guest pages": {"rounds": [first, last | {"pages": ["0x80001000"]}]}}.items():
            with self.subTest(why=why):
                result, _ = self.judge(self.BASE, [self.STE, self.STE | {"s2ttb": 0x2000}], **lie)
                self.assertIn(why, "\n".join(result.failures))

    def test_stage2_walk(self):
        # 44 bits from level 0; 40 bits from level 1, two tables side by side.
        level0 = {"vtcr": 20 | 2 << 6, "s2ttb": 0x1000}
        level1 = {"vtcr": 24 | 1 << 6, "s2ttb": 0x10000}
        memory = {0x1000 + 8 * 1: 0x2003, 0x2000 + 8 * 2: 0x3003, 0x3000 + 8 * 3: 0x4003,
                  0x4000 + 8 * 4: 0x0040_0000_abcd_e7ff, 0x3000 + 8 * 5: 0x8060_07fd,
                  0x10000 + 8 * 600: 0x5003, 0x5000 + 8 * 7: 0xc020_07fd}
        where = 1 << 39 | 2 << 30
        for ste, address, place in (
                (level0, where | 3 << 21 | 4 << 12 | 5, 0xabcd_e005), (level0, where | 3 << 21 | 6 << 12, None),
                (level0, where | 5 << 21 | 0x12345, 0x8061_2345), (level0, 2 << 39, None),
                (level1, 600 << 30 | 7 << 21 | 0x1f_ffff, 0xc03f_ffff)):
            with self.subTest(address=hex(address)):
                self.assertEqual(vsmmu.stage2_walk(lambda a: memory.get(a, 0), ste, address), place)

    def test_witness_looks_through_every_ste(self):
        text, other = "now 0 1", "now 0 2"
        memory = {0x1000: 0x4000_07fd, 0x2000: 0x8000_07fd}

        def qmp(command, **arguments):
            count, address = re.match(r"xp /(\d+)gx (0x\w+)", arguments["command-line"]).groups()
            data = text.encode().ljust(64, b"\0") if int(address, 16) == 0x4000_0000 else bytes(64)
            words = [memory[int(address, 16)]] if int(count) == 1 else struct.unpack("<8Q", data)
            return "".join(f"{address}: {word:#018x}\r\n" for word in words)

        guest = types.SimpleNamespace(qmp=qmp)
        stes = [{"config": 6, "vmid": 1, "vtcr": 33 | 1 << 6, "s2ttb": table} for table in memory]
        picture = [{"stes": {f"d{n}": ste}} for n, ste in enumerate(stes)]
        seen = demo.Witness([]).look(guest, picture, ["##dma 1 1 0", f"##page 0x0 {text}"])
        self.assertEqual(seen, {"configs": {6}, "tables": [0x1000, 0x2000], "pages": ["0x0"],
                                "places": [0x4000_0000, 0x8000_0000], "right": 1})
        seen = demo.Witness([]).look(guest, picture[:1], [f"##page 0x0 {other}"])
        self.assertEqual(seen["right"], 0)


class Vmm(unittest.TestCase):
    """What vmm.py reads, on a VM that never was."""

    def middle(self, tmp, stes=(), files=(), memory=None):
        """A Middle whose scripts do nothing and whose SMMUs are made up."""
        guest = types.SimpleNamespace(directory=Path(tmp), process=types.SimpleNamespace(poll=lambda: None))
        middle = vmm.Middle(guest, [], len(files), lambda text: None, 600)
        middle.sh = lambda script, **more: ""
        middle.picture = lambda: [{"stes": {f"d{n}": ste}} for n, ste in enumerate(stes)]
        (middle.out / "debugfs").mkdir(parents=True)
        for n, file in enumerate(files):
            (middle.out / f"debugfs/{n}").write_text(file)
        return middle

    def guest(self, tmp, job="", qmp=""):
        """A VM that has said this."""
        middle = self.middle(tmp)
        vm = vmm.VM.__new__(vmm.VM)
        vm.middle, vm.name, vm.where, vm.asked = middle, "vm1", middle.out / "vm1", 0
        vm.where.mkdir()
        (vm.where / "job.log").write_text(job)
        (vm.where / "qmp.log").write_text(qmp)
        return vm

    def test_clean(self):
        host, guest = Demo.FILE.format(0), {"config": 5}
        good = host.replace("vmid 1 vsmmu a0 domain d0 users 1\n", "")
        good = good[:good.index("domain d0")]
        for why, file, ste in (
                ("", good, guest),
                ("vsmmu", host, guest),
                ("unowned", good.replace("domain c0 stage", "asid 7 unowned\ndomain c0 stage"), guest),
                ("S2_VMID_S1_CLEAR", good + host[host.index("domain d0"):], guest),
                ("STE", good, {"config": 7}), ("STE", good, {"config": 6})):
            with self.subTest(why=why), tempfile.TemporaryDirectory() as tmp:
                result = machine.Result("t")
                vmm.clean(self.middle(tmp, [ste], [file]), result.expect, "then")
                self.assertEqual(len(result.failures), bool(why))
                self.assertIn(why, "\n".join(result.failures))

    def test_memory(self):
        table = {"config": 7, "vtcr": 33 | 1 << 6, "s2ttb": 0x1000}
        memory = {0x1000: 0x4000_07fd, 0x2000: 0x8000_07fd}

        def qmp(command, **arguments):
            size, address = re.match(r"xp /1(\w)x (0x\w+)", arguments["command-line"]).groups()
            return f"{address}: {memory.get(int(address, 16), 0) if size == 'g' else int(address, 16) >> 12:#x}\r\n"

        for stes, found in (([table, table | {"config": 6}], 0x40000), ([table, {"config": 0}], 0x40000),
                            ([table | {"s2ttb": 0x3000}], None)):
            with tempfile.TemporaryDirectory() as tmp:
                middle = self.middle(tmp, stes)
                middle.guest.qmp = qmp
                self.assertEqual(middle.memory(0), found)
                for stes in ([table, table | {"s2ttb": 0x2000}], [{"config": 0}]):
                    middle.picture = lambda: [{"stes": dict(enumerate(stes))}]
                    with self.assertRaises(vmm.Broken):
                        middle.memory(0)

    def test_no_time_left(self):
        """However long each step may take, the scenarios of a machine may not."""
        with tempfile.TemporaryDirectory() as tmp:
            middle = self.middle(tmp)
            middle.deadline = time.monotonic() + 0.2
            with self.assertRaisesRegex(vmm.Broken, "sleep: no time is left"):
                middle.wait("sleep", lambda: False, 600)
            self.assertEqual(middle.wait("nothing", lambda: 5, 600), 5)
            middle.deadline += 600
            with self.assertRaisesRegex(vmm.Broken, "sleep: nothing after 0 s"):
                middle.wait("sleep", lambda: False, 0)

    def test_domain(self):
        """Each device of a domain is below a bus of its own that has a vSMMU."""
        example = (Path(machine.BUILD) / "linux" / vmm.EXAMPLE).read_text()
        for number in (2, 4):
            bdfs = [f"000{n}:{n}1:1f.7" for n in range(number)]
            found = vmm.ElementTree.fromstring(vmm.domain_xml(example, "vm1", bdfs)).find("devices")
            self.assertEqual([vmm.source(h) for h in found.findall("hostdev")], bdfs)
            controllers = {c.get("index"): c for c in found.findall("controller")}
            roots = []
            for hostdev in found.findall("hostdev"):
                port = controllers[str(int(hostdev.find("address").get("bus"), 0))]
                roots.append(str(int(port.find("address").get("bus"), 0)))
            self.assertEqual(roots, [i.find("driver").get("pciBus") for i in found.findall("iommu")])
            self.assertEqual((len(set(roots)), len(controllers)), (number, 2 * number))
            self.assertEqual(len({controllers[root].find("target").get("busNr") for root in roots}), number)

    def test_a_scenario_that_breaks(self):
        """It takes neither the results so far nor the other scenarios with it."""
        def good(m, expect):
            expect("this", True)

        def bad(m, expect):
            expect("that", True)
            raise ValueError("no number")

        def slow(m, expect):
            m.wait("for ever", lambda: False, 600)

        def fake(topology, kernel, job, *, watch, directory, **more):
            out = Path(directory) / "out"
            out.mkdir()
            watch(types.SimpleNamespace(directory=Path(directory), lines=lambda name: ["##serving"],
                                        process=types.SimpleNamespace(poll=lambda: None)))
            self.assertEqual((out / "do").read_text(), "exit 0\n")
            return machine.Result("t", directory=directory)

        with tempfile.TemporaryDirectory() as tmp, contextlib.ExitStack() as patches:
            for where, name, new in ((vmm, "WHERE", {"two": (good, bad, slow, good)}), (machine, "run", fake),
                                     (vmm, "aftermath", good), (machine, "iort", lambda *_: b""),
                                     (machine, "iort_routes", lambda table: []), (machine, "program", lambda *_: ""),
                                     (machine, "kernel_image", lambda path: path), (vmm, "register_table", lambda n: b""),
                                     (vsmmu, "shares", lambda *_: contextlib.nullcontext([]))):
                patches.enter_context(mock.patch.object(where, name, new))
            patches.enter_context(contextlib.redirect_stdout(io.StringIO()))
            result = vmm.run("two", "Image", timeout=1, directory=tmp)
        self.assertEqual((result.passed, result.failed, result.problems), (4, 2, []))
        self.assertIn("bad: went to its end (ValueError: no number)", result.failures[0])
        self.assertIn("slow: went to its end (Broken: for ever: no time is left", result.failures[1])

    def test_guest_that_came_up_twice(self):
        boot = "##kernel 7.3\n##device {0} 0 2 1b36:0010 0x010802 smmu\n" \
               "##device {0}f 1 2 1b36:0005 0x00ff00 smmu\n##ready\n"
        with tempfile.TemporaryDirectory() as tmp:
            vm = self.guest(tmp, boot.format("a") + "##did 0\n" + boot.format("b"))
            vm.come_up(2)
            self.assertEqual([d[0] for d in vm.devices], ["b", "bf"])
            self.assertEqual([vm.functions(*which) for which in ((0, "0x0108"), (1, ""), (1, "0x0108"))],
                             [["b"], ["bf"], []])
            with self.assertRaises(vmm.Broken):
                vm.come_up(3, timeout=0)

    def test_lines_of_the_guest(self):
        with tempfile.TemporaryDirectory() as tmp:
            vm = self.guest(tmp, "##ready\n##did 0\n")
            for said, status in ((["5", "6"], 0), (["no"], 1)):
                more = "".join(f"{l}\n" for l in said) + f"##did {status}\n"
                log = vm.where / "job.log"
                vm.middle.sh = lambda script: log.write_text(log.read_text() + more)
                if status:
                    with self.assertRaises(vmm.Broken):
                        vm.sh("line")
                self.assertEqual(vm.sh("line", good=False), said)

    def test_monitor(self):
        event = '{"event": "DEVICE_DELETED", "data": {"device": "d1", "path": "p"}}\n'
        with tempfile.TemporaryDirectory() as tmp:
            vm = self.guest(tmp, qmp='{"QMP": {}}\n{"return": 7, "id": 1}\n' + event
                            + '{"error": {"desc": "no such"}, "id": 2}\n{"return": 8, "id"')
            self.assertEqual(vm.answer("first"), 7)
            with self.assertRaisesRegex(vmm.Broken, "no such"):
                vm.answer("second")
            with self.assertRaises(vmm.Broken):
                vm.answer("third", timeout=0)
            vm.event("DEVICE_DELETED", device="d1")
            with self.assertRaises(vmm.Broken):
                vm.event("DEVICE_DELETED", timeout=0, device="d2")

    def test_testdev(self):
        with tempfile.TemporaryDirectory() as tmp:
            vm = self.guest(tmp)
            vm.middle.memory = lambda address: 5
            for said, passed in ((vmm.STOPPED, False), *((said, True) for said in vmm.PASSED)):
                vm.sh = lambda line: [said]
                self.assertEqual(vm.testdev("b", 0), (passed, 5, 5))
            vm.sh = lambda line: ["dead0005"]
            with self.assertRaises(vmm.Broken):
                vm.testdev("b", 0)

    def test_dma(self):
        with tempfile.TemporaryDirectory() as tmp:
            vm = self.guest(tmp)
            vm.sh = lambda line, **more: ["##dma 0 64 3"]
            self.assertEqual(vm.dma(), (64, 3))
            vm.sh = lambda line, **more: ["demo-dma: /dev/nvme0n1"]
            with self.assertRaises(vmm.Broken):
                vm.dma()


@unittest.skipUnless(KERNEL, "KERNEL= not given")
class Guests(unittest.TestCase):
    """Real boots: each must be found out, with the lines that say why."""

    def boot(self, job, timeout=100, **more):
        with tempfile.TemporaryDirectory() as tmp, contextlib.redirect_stdout(io.StringIO()):
            return machine.run(machine.Topology(1), KERNEL, job, name="t", timeout=timeout,
                               directory=tmp, **more)

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
        result = self.boot(self.OK + "echo about to hang; sleep 1000\n", timeout=25)
        self.assertIn("timeout: no end after 25 s", result.problems[0])
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
        return subprocess.run([str(REPO / "scripts/shell.py"), *args], input=said, text=True, capture_output=True, timeout=300)

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


if __name__ == "__main__":
    unittest.main()
