# SPDX-License-Identifier: GPL-2.0
"""Tests of the demonstration and of the VMM's scenarios, with simulated runs."""
import contextlib
import dataclasses
import io
import re
import struct
import sys
import tempfile
import time
import types
import unittest
from pathlib import Path
from unittest import mock
from xml.etree import ElementTree

REPO = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPO / "scripts"))
from testbed.machine import smmu  # noqa: E402
from testbed.machine.guest import Guest  # noqa: E402
from testbed.machine.job import Result  # noqa: E402
from testbed.machine.smmu import Smmu, Ste  # noqa: E402
from testbed.machine.topology import Topology  # noqa: E402
from testbed.paths import MACHINE, TREE  # noqa: E402
from testbed.scenarios import demo, libvirt, vmm  # noqa: E402
from testbed.scenarios.demo import Round, Observer  # noqa: E402
from testbed.scenarios.vm import PASSED, STOPPED, VM, Broken, Middle  # noqa: E402


class Demo(unittest.TestCase):
    """Tests of the checks of the demonstration, with a simulated run."""
    STE = Ste(config=7, vmid=1, s2ttb=0x1000)
    TWO = [STE, STE._replace(s2ttb=0x2000)]
    HWPT = "7@1.2:iommufd_backend_alloc_hwpt  iommufd=21 dev_id=%d pt_id=2 flags=0x1 hwpt_type=0 " \
           "len=0 data_ptr=0x0 out_hwpt=%d (%d)\n"
    VIOMMU = "7@1.2:iommufd_backend_alloc_viommu  iommufd=21 dev_id=%d type=1 hwpt_id=%d data_ptr=0x0 " \
             "data_len=0x0 viommu_id=%d (0)\n"
    BASE = HWPT % (1, 3, 0) + VIOMMU % (1, 3, 4) + HWPT % (7, 8, 0) + VIOMMU % (7, 8, 9)
    SHARED = HWPT % (1, 3, 0) + VIOMMU % (1, 3, 4) + HWPT % (7, 8, -22) + VIOMMU % (7, 3, 9)
    TRACE = "smmuv3_cmdq_opcode <--- SMMU_CMD_TLBI_NH_VA\nsmmuv3_range_inval vmid=1 asid=1\n" \
            "smmuv3_cmdq_opcode <--- SMMU_CMD_SYNC\n"

    # Two rounds, one through stage 1 and one with it bypassed.
    ROUNDS = [Round({config}, [0x1000, 0x2000], ["0x80000000"], [place] * 2, 2)
              for config, place in ((7, 0x4000), (6, 0x9000))]
    ONE_TABLE = [dataclasses.replace(r, tables=[0x1000]) for r in ROUNDS]
    SAID = ["##dma 64 8 0", "##dma 64 8 0"]

    # The file of an SMMU, with a domain of a device that is not assigned to the guest.
    FILE = "smmu arm-smmu-v3.{0}.auto\nasid 1 domain c0 users 1\nvmid 1 vsmmu a{0} domain d0 users 1\n" \
           "domain c0 stage S1\n\tentry phase TLBI smmu arm-smmu-v3.{0}.auto type S1_ASID id 1 users 1\n" \
           "domain d0 stage S2\n" + "".join(
               f"\tentry phase {phase} smmu arm-smmu-v3.{n}.auto type {kind} id 1 users 1\n"
               for phase, kind in (("TLBI", "S2_VMID_VSMMU"), ("S1_CLEAR", "S2_VMID_S1_CLEAR")) for n in (0, 1))
    FILES = [FILE.format(0), FILE.format(1)]

    def check(self, trace, stes, nonce="now", smmu_trace=TRACE, said=SAID, rounds=ROUNDS,
              tables=2, files=None):
        run = demo.Demonstration(Topology(2), Path("Image"), 4, {"DMA": 1, "identity": 1}, tables,
                                 debugfs=files is not None, nonce="now")
        run.guest = Result(name="g", devices=["a iommu0", "b iommu1"], said=said)
        run.observer = Observer([], [Smmu(stes={"d": ste}) for ste in stes], len("before\n"), rounds)
        with tempfile.TemporaryDirectory() as tmp:
            run.result = Result(name="t", directory=Path(tmp))
            for where in ("images", "out/guest", "out/debugfs"):
                Path(tmp, where).mkdir(parents=True)
            for serial in ("smmu0-nvme0", "smmu1-nvme0"):
                data = demo.pattern(nonce, serial, 4) + b"x"
                Path(tmp, f"images/{serial}.img").write_bytes(data)
            Path(tmp, "out/guest/vmm.trace").write_text(trace)
            Path(tmp, "trace.log").write_text("before\n" + smmu_trace)
            for n, file in enumerate(files or ()):
                Path(tmp, f"out/debugfs/{n}").write_text(file)
            run.check()
        return run

    def test_two_tables(self):
        run = self.check(self.BASE, self.TWO)
        self.assertEqual(run.result.failures, [])
        self.assertEqual((len(run.stage2), len(run.parents)), (2, 2))
        self.assertEqual((run.tlbi(), run.vmids), ({"TLBI_NH_VA": 1}, {1: 1}))

    def test_one_table(self):
        run = self.check(self.SHARED, [self.STE, self.STE], tables=1, files=self.FILES,
                         rounds=self.ONE_TABLE)
        self.assertEqual(run.result.failures, [])
        self.assertEqual([f.smmu for f in run.files], ["arm-smmu-v3.0.auto", "arm-smmu-v3.1.auto"])
        self.assertEqual((len(run.stage2), len(run.parents), len(run.viommus)), (1, 1, 2))
        with contextlib.redirect_stdout(io.StringIO()) as out:
            run.summarize()
        self.assertIn("stage-2 tables  1, for 2 SMMUs", out.getvalue())

    def test_each_lie_is_found(self):
        good = self.TWO
        for why, args in {
                "raw image": (self.BASE, good, "stale nonce"),
                "picture": (self.BASE, good[:1]),
                "stage 1 and stage 2": (self.BASE, [good[0], good[1]._replace(config=6)]),
                "one vSMMU per SMMU": (self.BASE.replace(self.VIOMMU % (7, 8, 9), ""), good),
                "stage-2 tables of the STEs": (self.SHARED, good),
                "TLB invalidations": (self.BASE, good, "now", "")}.items():
            with self.subTest(why=why):
                self.assertIn(why, "\n".join(self.check(*args).result.failures))

    def test_number_of_tables(self):
        result = self.check(self.BASE, self.TWO, tables=1).result
        self.assertEqual(result.failures, ["not ok: 1 stage-2 table for 2 SMMUs (there are 2)"])
        result = self.check(self.SHARED, [self.STE, self.STE], tables=2,
                            rounds=self.ONE_TABLE).result
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
                run = self.check(self.SHARED, [self.STE, self.STE], tables=1, files=files,
                                 rounds=self.ONE_TABLE)
                self.assertIn(why, "\n".join(run.result.failures))

    def test_no_vsmmu_is_found(self):
        """Files and STEs may be consistent but empty."""
        files = [smmu.debug_file(["smmu arm-smmu-v3.0.auto"])]
        self.assertEqual(demo.check_debugfs([Smmu()], files, 1), "no file has a vSMMU")

    def test_each_lie_of_a_round_is_found(self):
        first, last = self.ROUNDS

        def other(**more):
            return {"rounds": [first, dataclasses.replace(last, **more)]}

        for why, lie in {
                "rounds of unmapping": {"rounds": [first]},
                "all rounds": {"said": self.SAID[:1]},
                "wrong data (3 of 144": {"said": ["##dma 64 8 0", "##dma 64 8 3"]},
                "DMA went on": {"said": ["##dma 64 8 0", "##dma 64 0 0"]},
                "stage 1 bypassed": other(configs={6, 7}),
                "the same stage-2 tables": other(tables=[0x3000]),
                "where stage 2 leads to (3 of 4)": other(right=1),
                "other host pages": other(places=[0x9000, 0x4000]),
                "same guest pages": other(pages=["0x80001000"])}.items():
            with self.subTest(why=why):
                run = self.check(self.BASE, self.TWO, **lie)
                self.assertIn(why, "\n".join(run.result.failures))

    def test_stage2_walk(self):
        # 44 bits from level 0; 40 bits from level 1, two tables side by side.
        level0 = Ste(vtcr=20 | 2 << 6, s2ttb=0x1000)
        level1 = Ste(vtcr=24 | 1 << 6, s2ttb=0x10000)
        memory = {0x1000 + 8 * 1: 0x2003, 0x2000 + 8 * 2: 0x3003, 0x3000 + 8 * 3: 0x4003,
                  0x4000 + 8 * 4: 0x0040_0000_abcd_e7ff, 0x3000 + 8 * 5: 0x8060_07fd,
                  0x10000 + 8 * 600: 0x5003, 0x5000 + 8 * 7: 0xc020_07fd}
        where = 1 << 39 | 2 << 30
        for ste, address, place in (
                (level0, where | 3 << 21 | 4 << 12 | 5, 0xabcd_e005), (level0, where | 3 << 21 | 6 << 12, None),
                (level0, where | 5 << 21 | 0x12345, 0x8061_2345), (level0, 2 << 39, None),
                (level1, 600 << 30 | 7 << 21 | 0x1f_ffff, 0xc03f_ffff)):
            with self.subTest(address=hex(address)):
                self.assertEqual(smmu.stage2_walk(lambda a: memory.get(a, 0), ste, address), place)

    def test_observer_looks_through_every_ste(self):
        text, other = "now 0 1", "now 0 2"
        memory = {0x1000: 0x4000_07fd, 0x2000: 0x8000_07fd}

        def qmp(command, **arguments):
            count, address = re.match(r"xp /(\d+)gx (0x\w+)", arguments["command-line"]).groups()
            data = text.encode().ljust(64, b"\0") if int(address, 16) == 0x4000_0000 else bytes(64)
            words = [memory[int(address, 16)]] if int(count) == 1 else struct.unpack("<8Q", data)
            return "".join(f"{address}: {word:#018x}\r\n" for word in words)

        guest = Guest.__new__(Guest)
        guest.qmp = qmp
        stes = [Ste(config=6, vmid=1, vtcr=33 | 1 << 6, s2ttb=table) for table in memory]
        picture = [Smmu(stes={f"d{n}": ste}) for n, ste in enumerate(stes)]
        seen = demo.look(guest, picture, ["##dma 1 1 0", f"##page 0x0 {text}"])
        self.assertEqual(seen, Round({6}, [0x1000, 0x2000], ["0x0"], [0x4000_0000, 0x8000_0000], 1))
        seen = demo.look(guest, picture[:1], [f"##page 0x0 {other}"])
        self.assertEqual(seen.right, 0)


class Vmm(unittest.TestCase):
    """Tests of vmm.py with a simulated VM."""

    def middle(self, tmp, stes=(), files=(), memory=None):
        """A Middle with simulated SMMUs, whose scripts do nothing."""
        guest = Guest.__new__(Guest)
        guest.directory, guest.process = Path(tmp), types.SimpleNamespace(poll=lambda: None)
        guest.progress = mock.Mock()
        middle = Middle(guest, [], len(files), 600)
        middle.sh = lambda script, **more: ""
        middle.picture = lambda: [Smmu(stes={f"d{n}": ste}) for n, ste in enumerate(stes)]
        (middle.out / "debugfs").mkdir(parents=True)
        for n, file in enumerate(files):
            (middle.out / f"debugfs/{n}").write_text(file)
        return middle

    def guest(self, tmp, job="", qmp=""):
        """A VM with this output."""
        middle = self.middle(tmp)
        vm = VM.__new__(VM)
        vm.middle, vm.name, vm.where, vm.asked = middle, "vm1", middle.out / "vm1", 0
        vm.where.mkdir()
        (vm.where / "job.log").write_text(job)
        (vm.where / "qmp.log").write_text(qmp)
        return vm

    def test_clean(self):
        host, guest = Demo.FILE.format(0), Ste(config=5)
        good = host.replace("vmid 1 vsmmu a0 domain d0 users 1\n", "")
        good = good[:good.index("domain d0")]
        for why, file, ste in (
                ("", good, guest),
                ("vsmmu", host, guest),
                ("unowned", good.replace("domain c0 stage", "asid 7 unowned\ndomain c0 stage"), guest),
                ("S2_VMID_S1_CLEAR", good + host[host.index("domain d0"):], guest),
                ("STE", good, Ste(config=7)), ("STE", good, Ste(config=6))):
            with self.subTest(why=why), tempfile.TemporaryDirectory() as tmp:
                middle = self.middle(tmp, [ste], [file])
                middle.clean("then")
                result = middle.result
                self.assertEqual(len(result.failures), bool(why))
                self.assertIn(why, "\n".join(result.failures))

    def test_memory(self):
        table = Ste(config=7, vtcr=33 | 1 << 6, s2ttb=0x1000)
        memory = {0x1000: 0x4000_07fd, 0x2000: 0x8000_07fd}

        def qmp(command, **arguments):
            size, address = re.match(r"xp /1(\w)x (0x\w+)", arguments["command-line"]).groups()
            return f"{address}: {memory.get(int(address, 16), 0) if size == 'g' else int(address, 16) >> 12:#x}\r\n"

        for stes, found in (([table, table._replace(config=6)], 0x40000), ([table, Ste()], 0x40000),
                            ([table._replace(s2ttb=0x3000)], None)):
            with tempfile.TemporaryDirectory() as tmp:
                middle = self.middle(tmp, stes)
                middle.guest.qmp = qmp
                self.assertEqual(middle.memory(0), found)
                for stes in ([table, table._replace(s2ttb=0x2000)], [Ste()]):
                    middle.picture = lambda: [Smmu(stes=dict(enumerate(stes)))]
                    with self.assertRaises(Broken):
                        middle.memory(0)

    def test_no_time_left(self):
        """The timeout of the scenarios also limits each step."""
        with tempfile.TemporaryDirectory() as tmp:
            middle = self.middle(tmp)
            middle.start -= 599.8
            with self.assertRaisesRegex(Broken, "sleep: no time is left"):
                middle.wait("sleep", lambda: False, 600)
            self.assertEqual(middle.wait("nothing", lambda: 5, 600), 5)
            middle.guest.progress.assert_called()
            middle.start += 600
            with self.assertRaisesRegex(Broken, "sleep: nothing after 0 s"):
                middle.wait("sleep", lambda: False, 0)

    def test_slow_host(self):
        """The longer the kernel took to boot, the longer a step may take."""
        with tempfile.TemporaryDirectory() as tmp:
            middle = self.middle(tmp)
            guest, console = middle.guest, Path(tmp, "console.log")
            console.write_text("[    0.000000] Booting Linux\n")
            guest.start = time.monotonic() - 5000
            self.assertEqual(guest.slowness(), 1)
            for line in ("[    4.500000] Run /init as init process", "[    4.500000][    T1] KTAP version 1"):
                guest.booted, guest.start = 0, time.monotonic() - 5000
                console.write_text(f"[    0.000000] Booting Linux\n{line}\n")
                self.assertAlmostEqual(guest.slowness(), 1001, delta=100)
            self.assertFalse(guest.expired(time.monotonic() - 800, 1))
            self.assertTrue(guest.expired(time.monotonic() - 1200, 1))
            middle.start -= 6000
            with self.assertRaisesRegex(Broken, r"sleep: nothing after \d+ s"):
                middle.wait("sleep", lambda: False, 0.001)
            middle.start -= 1000000
            with self.assertRaisesRegex(Broken, "sleep: no time is left"):
                middle.wait("sleep", lambda: False, 600)

    def test_limits_of_scripts(self):
        """All time limits of the scripts of the machine are longer on a slow host."""
        for script in [*MACHINE.glob("*.sh"), MACHINE / "init"]:
            for limit in re.findall(r"(?:\btimeout (?:-s \w+ )?|read.* -t )([\d$].*)", script.read_text()):
                self.assertRegex(limit, r"^\$\(\(\w+ \* SLOW\)\) ", script)

    def test_domain(self):
        """Each device of a domain is on a separate bus with a vSMMU."""
        example = (TREE / libvirt.EXAMPLE).read_text()
        for number in (2, 4):
            bdfs = [f"000{n}:{n}1:1f.7" for n in range(number)]
            found = ElementTree.fromstring(libvirt.domain_xml(example, "vm1", bdfs)).find("devices")
            self.assertEqual([libvirt.source(h) for h in found.findall("hostdev")], bdfs)
            controllers = {c.get("index"): c for c in found.findall("controller")}
            roots = []
            for hostdev in found.findall("hostdev"):
                port = controllers[str(int(hostdev.find("address").get("bus"), 0))]
                roots.append(str(int(port.find("address").get("bus"), 0)))
            self.assertEqual(roots, [i.find("driver").get("pciBus") for i in found.findall("iommu")])
            self.assertEqual((len(set(roots)), len(controllers)), (number, 2 * number))
            self.assertEqual(len({controllers[root].find("target").get("busNr") for root in roots}), number)

    def test_a_scenario_that_breaks(self):
        """Earlier results are kept, and the other scenarios run."""
        def good(m):
            m.expect("this", True)

        def bad(m):
            m.expect("that", True)
            raise ValueError("no number")

        def slow(m):
            m.wait("for ever", lambda: False, 600)

        class Machine(vmm.Machine):
            def steps(self):
                return {"good": good, "bad": bad, "slow": slow, "aftermath": good}

            @contextlib.contextmanager
            def job(self, kernel):
                yield Job(self.topology, kernel, "")

        class Job:
            def __init__(self, topology, kernel, script):
                self.watch, self.directory = None, None

            def run(self):
                out = self.directory / "out"
                out.mkdir()
                process = types.SimpleNamespace(poll=lambda: None)
                guest = Guest.__new__(Guest)
                guest.directory, guest.process = self.directory, process
                guest.progress, guest.lines = mock.Mock(), lambda name: ["##serving"]
                self.watch(guest)
                assert (out / "do").read_text() == "exit 0\n"
                return Result(name="t", directory=self.directory)

        with tempfile.TemporaryDirectory() as tmp, contextlib.redirect_stdout(io.StringIO()), \
                mock.patch.multiple(vmm, iort=lambda *_: b"", iort_routes=lambda table: []):
            machine = Machine("two", Topology(2), ())
            result = machine.run(Path("Image"), timeout=1, directory=Path(tmp))
        self.assertEqual((result.passed, result.failed, result.problems), (3, 2, []))
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
            with self.assertRaises(Broken):
                vm.come_up(3, timeout=0)

    def test_lines_of_the_guest(self):
        with tempfile.TemporaryDirectory() as tmp:
            vm = self.guest(tmp, "##ready\n##did 0\n")
            for said, status in ((["5", "6"], 0), (["no"], 1)):
                more = "".join(f"{l}\n" for l in said) + f"##did {status}\n"
                log = vm.where / "job.log"
                vm.middle.sh = lambda script: log.write_text(log.read_text() + more)
                if status:
                    with self.assertRaises(Broken):
                        vm.sh("line")
                self.assertEqual(vm.sh("line", good=False), said)

    def test_monitor(self):
        event = '{"event": "DEVICE_DELETED", "data": {"device": "d1", "path": "p"}}\n'
        with tempfile.TemporaryDirectory() as tmp:
            vm = self.guest(tmp, qmp='{"QMP": {}}\n{"return": 7, "id": 1}\n' + event
                            + '{"error": {"desc": "no such"}, "id": 2}\n{"return": 8, "id"')
            self.assertEqual(vm.answer("first"), 7)
            with self.assertRaisesRegex(Broken, "no such"):
                vm.answer("second")
            with self.assertRaises(Broken):
                vm.answer("third", timeout=0)
            vm.event("DEVICE_DELETED", device="d1")
            with self.assertRaises(Broken):
                vm.event("DEVICE_DELETED", timeout=0, device="d2")

    def test_testdev(self):
        with tempfile.TemporaryDirectory() as tmp:
            vm = self.guest(tmp)
            vm.middle.memory = lambda address: 5
            for said, passed in ((STOPPED, False), *((said, True) for said in PASSED)):
                vm.sh = lambda line: [said]
                self.assertEqual(vm.testdev("b", 0), (passed, 5, 5))
            vm.sh = lambda line: ["dead0005"]
            with self.assertRaises(Broken):
                vm.testdev("b", 0)

    def test_dma(self):
        with tempfile.TemporaryDirectory() as tmp:
            vm = self.guest(tmp)
            vm.sh = lambda line, **more: ["##dma 0 64 3"]
            self.assertEqual(vm.dma(), (64, 3))
            vm.sh = lambda line, **more: ["demo-dma: /dev/nvme0n1"]
            with self.assertRaises(Broken):
                vm.dma()
