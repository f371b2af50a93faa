#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""The demonstration: an unmodified VMM gives a VM one vSMMU per physical SMMU.

Three storeys: the emulated machine (machine.py); on it the kernel under test;
on that Debian's own arm64 QEMU with -accel kvm, whose guest does I/O on NVMe
controllers assigned through vfio and iommufd, that is through stage 1 and
stage 2 of the driver under test. Guest and middle boot the same kernel.

Then memory of the guest is unplugged and plugged again, round after round, with
small DMA of every controller to the same guest pages (machine/demo-dma.c). In
each round they lie in other host pages, which is looked up in the stage-2
tables; a translation that outlived its unmap would be seen as wrong data.

The driver's words come from the kernel's log, stage-2 tables and VMIDs from the
stream table entries that the SMMUs use while the guest runs, the rest from the
traces of the two QEMUs, and the data from the raw disk images after the end. The
one number expected is that of the stage-2 tables (--tables). What the driver says
in debugfs of its VMIDs and of what it would invalidate has to agree; the base
has no such files.
"""
import argparse
import re
import secrets
import sys
from collections import Counter
from pathlib import Path

import machine
import results
import vsmmu
from machine import BUILD, REPO, Error, Result, Topology

MAX_SMMUS = 4
LINE = 64                       # bytes
LINES = 4096                    # written to each disk
LINES_SHORT = 256
# Rounds of unmap and map: through stage 1 (domain type DMA), and bypassing it.
ROUNDS = {"DMA": 2, "identity": 6}
ROUNDS_SHORT = {"DMA": 1, "identity": 3}
TRACE = ("smmuv3_cmdq_opcode", "smmuv3_range_inval", "smmuv3_cmdq_tlbi_*")


def pattern(nonce, serial, lines):
    """What demo-guest.sh writes to a disk."""
    return "".join(f"{nonce:<32} {serial:<20} {i:9}\n" for i in range(lines)).encode()


class Witness:
    """Watches the run: takes a picture when the guest is at a checkpoint, and
    notes where in the trace the VMM began. The first checkpoint is before the
    rounds; at the others the guest names its pages and what is in them."""

    def __init__(self, routes):
        self.routes, self.smmus, self.trace_from = routes, [], None
        self.rounds, self.seen = [], 0

    def __call__(self, guest):
        if self.trace_from is None and "##start" in guest.lines("job.log"):
            self.trace_from = (guest.directory / "trace.log").stat().st_size
        parts = "\n".join(guest.lines("out/guest/job.log")).split("##checkpoint\n")
        if len(parts) < self.seen + 2:
            return
        guest.qmp("stop")
        picture = vsmmu.picture(guest, self.routes)
        if self.smmus:
            self.rounds.append(self.look(guest, picture, parts[self.seen].split("\n")))
        else:
            self.smmus = picture
        guest.qmp("cont")
        self.seen += 1
        (guest.directory / "out/go").touch()

    def look(self, guest, picture, said):
        """Find the pages of a round through each STE, and see if they hold
        what the guest says."""
        words = {}

        def read(address):
            if address not in words:
                words[address] = vsmmu.peek(guest, address)[0]
            return words[address]

        stes = [ste for smmu in picture for ste in smmu["stes"].values()]
        found = {"configs": {ste["config"] for ste in stes}, "tables": sorted({ste["s2ttb"] for ste in stes}),
                 "pages": [], "places": [], "right": 0}
        for address, text in (line.split(" ", 2)[1:] for line in said if line.startswith("##page ")):
            found["pages"].append(address)
            for ste in stes:
                place = vsmmu.stage2_walk(read, ste, int(address, 16))
                there = b"" if place is None else b"".join(
                    word.to_bytes(8, "little") for word in vsmmu.peek(guest, place, LINE // 8))
                found["places"].append(place)
                found["right"] += there.rstrip(b"\0") == text.encode()
        return found


# --- The run --------------------------------------------------------------

def demonstrate(topology, kernel, lines, rounds, timeout, verbose, directory):
    """Run it. Returns the merged Result, the Witness and the nonce."""
    kernel = machine.kernel_image(kernel)
    nonce = secrets.token_hex(16)
    middle = (f"VMM_TIMEOUT={timeout} VMM_MEM=768M VMM_APPEND='{vsmmu.GUEST_APPEND}'\n"
              + vsmmu.middle("demo-middle.sh"))
    inner = (f"NONCE={nonce} LINES_PER_DISK={lines} ROUNDS='{' '.join(f'{t}={n}' for t, n in rounds.items())}'\n"
             + (REPO / "machine/demo-guest.sh").read_text())
    witness = Witness(machine.iort_routes(machine.iort(topology, kernel)))
    with vsmmu.shares(kernel, inner, ["demo-dma"]) as shares:
        result = machine.run(
            topology, kernel, middle, name="demo", timeout=timeout + 60, verbose=verbose,
            trace=TRACE, watch=witness, directory=directory, shares=shares)

    # The guest's own tests and kernel log count like the middle's.
    out = Path(result.directory) / "out/guest"
    guest = Result("guest")
    guest.said = vsmmu.lines_of(out / "job.log")
    if not machine.read_job(guest, guest.said):
        last = [l for l in vsmmu.lines_of(out / "console.log") if l.strip()][-8:]
        guest.problems.append("the guest never came to its end; its last lines:\n"
                              + "\n".join("    " + l for l in last))
    guest.problems += results.scan_log(vsmmu.lines_of(out / "console.log"))
    guest.problems = ["guest: " + p for p in guest.problems]
    result.add(guest)
    result.guest = guest
    return result, witness, nonce


def judge_debugfs(witness, files, devices):
    """What is wrong with the files of the driver: none, unlike each other, or
    unlike the STEs."""
    if len(files) != len(witness.smmus):
        return f"{len(files)} files for {len(witness.smmus)} SMMUs"
    arrays = []
    for smmu, file in zip(witness.smmus, files):
        vsmmus = [tag for tag in file["tags"] if "vsmmu" in tag]
        vmids = sorted(ste["vmid"] for ste in smmu["stes"].values())
        if sorted(int(tag["vmid"]) for tag in vsmmus for _ in range(int(tag["users"]))) != vmids:
            return f"{file['smmu']} has {vsmmus}, the STEs VMID {vmids}"
        if any("unowned" in tag for tag in file["tags"]):
            return f"{file['smmu']} lost a tag"
        missing = [tag for tag in vsmmus if tag["domain"] not in file["domains"]]
        if missing:
            return f"{file['smmu']} does not list the domains of {missing}"
        arrays += [file["domains"][tag["domain"]] for tag in vsmmus]
    if not arrays:
        return "no file has a vSMMU"
    if any(array != arrays[0] for array in arrays):
        return f"the arrays are not the same: {arrays}"
    users = Counter()
    for entry in arrays[0]:
        users[entry["type"]] += int(entry["users"])
    wanted = {"S2_VMID_VSMMU": devices, "S2_VMID_S1_CLEAR": devices}
    return "" if users == wanted else f"users {dict(users)}, wanted {wanted}"


def judge(result, topology, witness, nonce, lines, rounds, wanted_tables, base):
    """Check from outside what can be seen only there; collect the figures."""
    directory = Path(result.directory)

    expect = result.expect
    disks = sum(topology.serials(), [])
    verified = []
    for serial in disks:
        data = (directory / f"images/{serial}.img").read_bytes()
        wanted = pattern(nonce, serial, lines)
        same = data[:len(wanted)] == wanted
        verified += [len(wanted)] if same else []
        expect(f"{serial}: the raw image holds what the guest wrote", same)

    # pid and time precede an event, as in "1234@5678.9:name args".
    vmm = [re.sub(r"^\S+:", "", l).strip() for l in vsmmu.lines_of(directory / "out/guest/vmm.trace")]
    parents = [int(m[2]) for l in vmm if (m := re.match(
        r"iommufd_backend_alloc_hwpt .*flags=(0x[0-9a-f]+) .*out_hwpt=(\d+) \(0\)", l)) and int(m[1], 16) & 1]
    viommus = [(int(m[1]), int(m[2])) for l in vmm if (m := re.match(
        r"iommufd_backend_alloc_viommu .*hwpt_id=(\d+) .*viommu_id=(\d+) \(0\)", l))]
    tables = sorted({ste["s2ttb"] for smmu in witness.smmus for ste in smmu["stes"].values()})
    nested = [ste for smmu in witness.smmus for ste in smmu["stes"].values()
              if ste["config"] == 7 and ste["s2ttb"] and ste["vmid"]]
    wanted = len(topology.stages())
    expect("a picture of the stream tables was taken while the guest ran", len(witness.smmus) == wanted)
    expect("every controller's STE has stage 1 and stage 2", len(nested) == len(disks),
           f"{len(nested)} of {len(disks)}")
    expect("one vSMMU per SMMU", len(viommus) == wanted, f"{len(viommus)} of {wanted}")
    expect("the VMM's nesting parents are the stage-2 tables of the STEs",
           len(tables) == len({parent for parent, _ in viommus}) >= 1,
           f"{len(tables)} tables, {len(set(p for p, _ in viommus))} parents with a vSMMU")
    expect(f"{wanted_tables} stage-2 table{'s' * (wanted_tables > 1)} for {wanted} SMMUs",
           len(tables) == wanted_tables, f"there are {len(tables)}")
    guest_smmus = {line.split()[-1] for line in result.guest.devices}
    expect("the guest has its controllers behind as many SMMUs", len(guest_smmus) == wanted,
           f"{len(guest_smmus)} of {wanted}")

    files = [vsmmu.debugfs(text) for n in range(wanted) if any(text := vsmmu.lines_of(directory / f"out/debugfs/{n}"))]
    if not base:
        problem = judge_debugfs(witness, files, len(disks))
        expect("the driver's files in debugfs agree with the STEs and with each other", not problem, problem)

    # DMAs in the pages of a round, in others while the memory changed, wrong ones.
    dma = [tuple(map(int, line.split()[1:])) for line in result.guest.said if line.startswith("##dma ")]
    seen, every = witness.rounds, sum(rounds.values())
    expect("all rounds of unmapping and mapping guest memory ran", len(dma) == len(seen) == every,
           f"{len(dma)} in the guest, {len(seen)} seen outside, of {every}")
    expect("the rounds ran on the same stage-2 tables", all(r["tables"] == tables for r in seen))
    expect("the rounds ran through stage 1, then with stage 1 bypassed",
           [r["configs"] for r in seen] == [{7}] * rounds["DMA"] + [{6}] * rounds["identity"])
    expect("no DMA of the rounds gave wrong data", dma and not sum(d[2] for d in dma),
           f"{sum(d[2] for d in dma)} of {sum(d[0] + d[1] for d in dma)} wrong")
    expect("DMA went on in each change of memory", dma and all(d[0] and d[1] for d in dma))
    expect("what the guest has in the pages of the rounds is where stage 2 leads to",
           seen and all(r["right"] == len(r["places"]) > 0 for r in seen),
           f"{sum(r['right'] for r in seen)} of {sum(len(r['places']) for r in seen)}")
    moved = [(sum(old != new for old, new in zip(a["places"], b["places"])), len(b["places"]))
             for a, b in zip(seen, seen[1:]) if a["pages"] == b["pages"]]
    expect("every round used the same guest pages in other host pages",
           len(moved) == every - 1 and all(some == of for some, of in moved), f"moved, of: {moved}")

    opcodes, vmids = Counter(), Counter()
    if witness.trace_from is not None:
        with open(directory / "trace.log", errors="replace") as trace:
            trace.seek(witness.trace_from)
            for line in trace:
                if m := re.search(r"smmuv3_cmdq_opcode <--- SMMU_CMD_(\w+)", line):
                    opcodes[m[1]] += 1
                elif m := re.search(r"smmuv3_(?:range_inval|cmdq_tlbi_\w+) vmid=(\d+)", line):
                    vmids[int(m[1])] += 1
    tlbi = {op: n for op, n in sorted(opcodes.items()) if op.startswith("TLBI")}
    expect("the SMMUs executed TLB invalidations for the guest", bool(tlbi))
    return {"parents": parents, "viommus": viommus, "tables": tables, "tlbi": tlbi, "opcodes": opcodes,
            "vmids": vmids, "verified": verified, "disks": disks, "dma": dma, "files": files,
            "passed_on": sum(int(m[1]) for l in vmm if (m := re.match(
                r"iommufd_backend_invalidate_cache .*done_num=(\d+) ", l)))}


def summarize(result, witness, figures, kernel):
    """The words for a person."""
    log = [results.STAMP.sub("", l) for l in result.console]
    driver = [l for l in log if re.match(r"arm-smmu-v3 .*features", l)]
    vmm = next((l[6:] for l in result.said if l.startswith("##vmm ")), "?")

    def row(what, text):
        print(f"  {what:<15} {text}")

    print("\nThe demonstration")
    row("kernel", f"Linux {result.kernel} ({kernel}), lockdep {result.lockdep}")
    row("VMM", f"{vmm}, accel=kvm, iommufd")
    row("guest", f"Linux {result.guest.kernel}")
    for n, smmu in enumerate(witness.smmus):
        row(f"SMMU {n}", f"{smmu['name']}: {' '.join(smmu['features'])}")
        row("", f"{driver[n].split(': ', 1)[1] if n < len(driver) else '(the driver said nothing)'}")
        for bdf, ste in smmu["stes"].items():
            row("", f"{bdf}: STE config {ste['config']:#05b}, VMID {ste['vmid']}, "
                    f"stage-2 table at {ste['s2ttb']:#x}")
    row("vSMMUs", f"{len(figures['viommus'])}"
        + "".join(f"; vIOMMU {v} on stage-2 HWPT {p}" for p, v in figures["viommus"]))
    row("stage-2 tables", f"{len(figures['tables'])}, for {len(witness.smmus)} SMMUs "
        f"({len(figures['parents'])} nesting-parent HWPTs made by the VMM)")
    row("VMIDs", ", ".join(f"SMMU {n}: " + " ".join(
        map(str, sorted({s['vmid'] for s in smmu['stes'].values()}))) for n, smmu in enumerate(witness.smmus))
        + "; in invalidations: " + (", ".join(f"VMID {v} named {n} times" for v, n in
                                             sorted(figures["vmids"].items())) or "none"))
    for n, file in enumerate(figures["files"]):
        ids = Counter(next(iter(tag)) for tag in file["tags"] if "unowned" not in tag)
        row("debugfs" if not n else "", f"{file['smmu']}: ASIDs in use {ids['asid']}, VMIDs {ids['vmid']}, "
            f"unowned {sum('unowned' in tag for tag in file['tags'])}; " + ", ".join(
                f"VMID {tag['vmid']} is a vSMMU's with {tag['users']} device" + "s" * (tag["users"] != "1")
                for tag in file["tags"] if "vsmmu" in tag))
    for domain in dict.fromkeys(tag["domain"] for file in figures["files"] for tag in file["tags"] if "vsmmu" in tag):
        entries = next((f["domains"][domain] for f in figures["files"] if domain in f["domains"]), [])
        for phase in dict.fromkeys(entry["phase"] for entry in entries):
            row("", f"domain {domain} {phase}: " + ", ".join(
                f"{e['type']} {e.get('id') or e['sid']} on {e['smmu']} ({e['users']})"
                for e in entries if e["phase"] == phase))
    if not figures["files"]:
        row("debugfs", "the driver has no files there")
    row("invalidations", f"{sum(figures['tlbi'].values())} TLBI: "
        + ", ".join(f"{op} {n}" for op, n in figures["tlbi"].items())
        + f"; {figures['opcodes']['SYNC']} CMD_SYNC")
    row("", f"{figures['passed_on']} commands of the guest passed on by the VMM through iommufd")
    row("I/O", f"verified outside, in the raw images: {sum(figures['verified']) >> 10} KiB on "
        f"{len(figures['verified'])} of {len(figures['disks'])} disks")
    dma, seen = figures["dma"], witness.rounds
    row("unmap and map", f"{len(dma)} rounds, {sum(d[0] + d[1] for d in dma)} DMAs checked, "
        f"{sum(d[2] for d in dma)} wrong")
    row("", f"{sum(d[0] for d in dma)} of them in the same {len(seen[-1]['pages']) if seen else 0} guest pages, "
        f"on {len({place for r in seen for place in r['places']})} host pages in turn")


def main():
    parser = argparse.ArgumentParser(description="Run a VM with vSMMUs on the kernel under test.")
    parser.add_argument("--kernel", default="bench", metavar="FLAVOUR",
                        help="a flavour below build/ (bench, base-bench, check …), or an Image (default bench)")
    parser.add_argument("--smmus", type=int, default=2, metavar="N", help=f"1 to {MAX_SMMUS} (default 2)")
    parser.add_argument("--nvme", type=int, default=1, metavar="N",
                        help="controllers behind each SMMU (default 1)")
    parser.add_argument("--tables", type=int, metavar="N",
                        help="stage-2 tables expected (default: 1; on a base-* kernel one per SMMU)")
    parser.add_argument("--timeout", type=int, default=240, metavar="SECONDS",
                        help="for the VMM (default 240)")
    parser.add_argument("--short", action="store_true", help="less data, fewer rounds")
    parser.add_argument("--keep", metavar="DIR", help="keep logs, traces and images there")
    parser.add_argument("--dry", action="store_true", help="only check the arguments")
    parser.add_argument("-v", "--verbose", action="store_true", help="show what the middle says")
    args = parser.parse_args()
    if not 1 <= args.smmus <= MAX_SMMUS:
        raise Error(f"--smmus {args.smmus}: the demonstration takes 1 to {MAX_SMMUS}")
    if args.dry:
        return 0
    kernel = Path(args.kernel) if "/" in args.kernel else BUILD / args.kernel / "arch/arm64/boot/Image"
    topology = Topology(smmus=args.smmus, nvme=args.nvme, virt=True, mem=3072)
    print(f"demo: {machine.qemu_version()}, {args.smmus} SMMUs, guest with {args.smmus} vSMMUs", flush=True)
    lines, rounds = (LINES_SHORT, ROUNDS_SHORT) if args.short else (LINES, ROUNDS)
    base = args.kernel.startswith("base-")
    tables = args.tables or (args.smmus if base else 1)
    result, witness, nonce = demonstrate(topology, kernel, lines, rounds, args.timeout, args.verbose, args.keep)
    figures = judge(result, topology, witness, nonce, lines, rounds, tables, base)
    summarize(result, witness, figures, kernel)
    return machine.report(result, keep=bool(args.keep))


if __name__ == "__main__":
    sys.exit(machine.cli(main))
