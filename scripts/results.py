# SPDX-License-Identifier: GPL-2.0
"""What a test run said: a (K)TAP parser and a scanner of kernel logs.

Both work on plain text and know nothing of QEMU, so tests/test_machine.py can
show for every kind of bad line that it is found.
"""
import re
from dataclasses import dataclass, field

# "[    1.234567] " or "[    1.234567][  T123] ", as printk puts it.
STAMP = re.compile(r"^\[ *\d+\.\d+\](?:\[ *[TC]\d+\])? ?")
# Escape sequences of the firmware.
ESCAPE = re.compile(r"\x1b(?:\[[0-9;?=]*[A-Za-z]|[=>])")

# (what it is, how the kernel says it). The first match names the line.
BAD_LINES = [(kind, re.compile(pattern)) for kind, pattern in (
    ("lockdep off", r"turning off the locking correctness validator|BUG: MAX_(LOCK|STACK)"),
    ("KASAN", r"BUG: (K[AC]SAN|KFENCE): "),
    ("lockdep", r"possible (circular|recursive|irq|unsafe)\b.*(lock|depend)|inconsistent lock state|"
                r"suspicious RCU usage|bad unlock balance|held lock freed|lock held when returning|"
                r"INVALID (WAIT CONTEXT|STATE)|Invalid wait context|irq lock inversion|"
                r"nested lock was not taken|-safe -> .*-unsafe lock order|DEBUG_LOCKS_WARN_ON|possible deadlock"),
    ("RCU stall", r"detected (expedited )?stalls? on CPU|rcu.*stall.*detected|rcu.*kthread starved"),
    ("hung task", r"blocked for more than \d+ seconds|blocked in I/O wait for more than"),
    ("lockup", r"BUG: (soft|hard) lockup|Watchdog detected hard LOCKUP|workqueue lockup|SPINLOCK lockup|"
               r"spinlock (lockup|bad magic|recursion)"),
    ("WARN", r"\bWARNING: |\[ cut here \]"),
    ("BUG", r"\bBUG: |\bkernel BUG at|\bBUG \S+ ?\(|Unable to handle kernel|Internal error: |\bOops\b|"
            r"Kernel panic|Bad mode in|Unhandled .*exception|SError Interrupt"),
    ("debug check", r"ODEBUG: |UBSAN: |refcount_t: |list_(add|del) (corruption|double)|"
                    r"pagealloc: (memory|single bit)|Poison overwritten|nobody cared|"
                    r"Kernel memory leak detector disabled"),
    ("CMDQ error", r"CMDQ error|retrying command fetch|skipping command in error"),
    ("CMD_SYNC timeout", r"CMD_SYNC timeout|CMDQ timeout"),
    ("event queue overflow", r"(EVTQ|PRIQ) overflow"),
    ("SMMU global error", r"unexpected global error reported|entered Service Failure Mode|"
                          r"(EVTQ|PRIQ|GERROR|CMDQ)( MSI)? write aborted"),
    ("log lost", r"printk messages dropped"),
)]
# Lines of a report that do not help to understand it.
NOISE = re.compile(r"^(x\d+ ?: |sp : |pstate: |Hardware name: |Modules linked in:|Tainted: |Code: |$)")
# /proc/sys/kernel/tainted: a second witness, should the line itself be lost.
BAD_TAINTS = {5: "B: bad page", 7: "D: died", 9: "W: warned", 14: "L: soft lockup"}


def clean(text):
    """A console's bytes, decoded, as a list of lines without escapes and CR."""
    return [ESCAPE.sub("", line).replace("\r", "") for line in text.split("\n")]


def scan_log(lines, allow=(), context=40, shown=18):
    """Find the bad lines of a kernel log.

    Returns a list of problems, each the kind and the lines that say why. A
    report of many lines is one problem: what follows a hit within its context
    belongs to it. ALLOW holds regular expressions of lines that a test provokes
    on purpose; one that never matches is a problem too.
    """
    problems, used, shown_to = [], set(), -1
    for number, line in enumerate(lines):
        kind = next((kind for kind, pattern in BAD_LINES if pattern.search(line)), None)
        if not kind:
            continue
        excuse = next((a for a in allow if re.search(a, line)), None)
        if excuse is not None:
            used.add(excuse)
            continue
        if number < shown_to:
            continue
        report = [l for l in lines[number:number + context]
                  if not NOISE.match(STAMP.sub("", l).strip())][:shown]
        shown_to = number + context
        if "cut here" in line and len(report) > 1:
            kind = next((k for k, p in BAD_LINES if p.search(report[1])), kind)
        problems.append(kind + " in the kernel log:\n" + "\n".join("    " + l for l in report))
    problems += [f"no line of the kernel log matches the allowed '{a}'" for a in allow if a not in used]
    return problems


def split_races(lines, ours, allow=()):
    """Part KCSAN's reports that do not match OURS from a kernel log.

    Returns the lines without them, and a list of these reports. A report ends
    with the line of "=" that it began after; one that does not end is kept, and
    so is one into which another CPU has said something bad that ALLOW does not
    match.
    """
    kept, others, begin = [], [], None
    for line in lines:
        kept.append(line)
        if "BUG: KCSAN: " in line:
            begin = len(kept) - 1
        elif begin is not None and STAMP.sub("", line).startswith("=" * 60):
            report = kept[begin:]
            rest = [l for l in report[1:] if not any(re.search(a, l) for a in allow)]
            if not any(re.search(ours, l) for l in report) and not scan_log(rest):
                del kept[begin:]
                others.append(report)
            begin = None
    return kept, others


def scan_taint(value):
    return [f"the kernel is tainted ({name})" for bit, name in BAD_TAINTS.items() if value >> bit & 1]


def operations(lines):
    """{kind: number} of what arm_smmu_v3_stress says that it has done, in its order."""
    found = (re.match(r"# (\D[^:]*): (\d+)$", line) for line in lines)
    return {m[1]: int(m[2]) for m in found if m}


@dataclass
class Tap:
    """Counts of leaf tests; a skip is never a pass. One entry of failures and
    problems per failed test or broken rule of the format."""
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    tests: list = field(default_factory=list)       # (status, name), in order
    failures: list = field(default_factory=list)
    problems: list = field(default_factory=list)


PLAN = re.compile(r"^1\.\.(\d+)(?:\s+#\s*SKIP\b *(.*))?", re.I)
RESULT = re.compile(r"^(not )?ok\b(?: +(\d+))?(?: +-?\s*(.*?))?\s*$")
DIRECTIVE = re.compile(r"(?:^|\s)#\s*(SKIP|TODO|XFAIL|TIMEOUT|ERROR)\b[:\s]*(.*)$", re.I)
HEADER = re.compile(r"^K?TAP version \d+\s*$")
SUBTEST = re.compile(r"^# Subtest: (.*)")


class _Level:
    def __init__(self, indent, name=""):
        self.indent, self.name = indent, name
        self.plan, self.count, self.failed = None, 0, 0


def parse_tap(lines, label=""):
    """Parse TAP 13/14 and KTAP: plans, nested subtests by indentation, skips.

    A stream may follow another: a header, or a second plan, begins a new one.
    Every stream needs a plan (subtests may do without, as KUnit's parameters
    do) and plans must be kept; the result line of a parent adds a failure only
    if it contradicts its children.
    """
    tap, stack, notes = Tap(), [], []

    def problem(text):
        tap.problems.append(f"{label}: {text}" if label else text)

    def close(level):
        where = f"'{level.name}'" if level.name else "the test plan"
        if level.plan is None and level.count and not level.indent:
            problem(f"{where}: {level.count} results but no plan (1..N)")
        elif level.plan is not None and level.plan != level.count:
            problem(f"{where} announced {level.plan} tests, {level.count} reported")

    def at(indent, name=""):
        """The level of this indentation, closing deeper ones without a parent."""
        while stack and stack[-1].indent > indent:
            close(stack.pop())
        if not stack or stack[-1].indent < indent:
            stack.append(_Level(indent, name))
        return stack[-1]

    for raw in lines:
        text = raw.lstrip(" ")
        indent = len(raw) - len(text)
        if HEADER.match(text):
            if indent == 0:
                while stack:
                    close(stack.pop())
            continue
        if m := SUBTEST.match(text):
            # KUnit indents the line like the subtest it opens; TAP 14 not.
            if indent:
                at(indent, m[1]).name = m[1]
            continue
        if m := PLAN.match(text):
            level = at(indent)
            if level.plan is not None:
                close(stack.pop())
                level = at(indent)
            level.plan = int(m[1])
            if m[2] is not None:
                tap.skipped += 1
                tap.tests.append(("skipped", (m[2] or "everything").strip()))
            elif level.plan == 0:
                problem("a plan of no tests (1..0) without a reason")
            continue
        if text.startswith("Bail out!"):
            problem(text.strip())
            continue
        m = RESULT.match(text)
        if not m:
            if text.startswith("#"):
                notes = (notes + [raw])[-20:]
            continue
        child = None
        while stack and stack[-1].indent > indent:
            child = stack.pop()
            close(child)
        level = at(indent)
        level.count += 1
        name = m[3] or ""
        directive = DIRECTIVE.search(name)
        if directive:
            name, directive = name[:directive.start()].strip(), directive[1].upper()
        if m[2] and int(m[2]) != level.count:
            problem(f"result number {m[2]} ('{name}') where {level.count} was due")
            level.count = int(m[2])
        if child:
            level.failed += child.failed
        bad = bool(m[1]) or directive in ("TIMEOUT", "ERROR")
        full = " / ".join([l.name for l in stack[1:] if l.name] + [name]) if len(stack) > 1 else name
        if child and child.count:
            if not m[1] or child.failed:
                notes = []
                continue                            # children were counted
        if bad and directive not in ("SKIP", "XFAIL"):
            level.failed += 1
            tap.failed += 1
            tap.tests.append(("failed", full))
            tap.failures.append("\n".join([f"not ok: {full}"] + ["    " + n.strip() for n in notes]))
        elif directive == "SKIP":
            tap.skipped += 1
            tap.tests.append(("skipped", full))
        else:
            tap.passed += 1
            tap.tests.append(("passed", full))
        notes = []
    while stack:
        close(stack.pop())
    return tap
