# SPDX-License-Identifier: GPL-2.0
"""Find problems in a kernel log."""
import re
from collections.abc import Iterable, Sequence

# "[    1.234567] " or "[    1.234567][  T123] ", as printk puts it.
STAMP = re.compile(r"^\[ *\d+\.\d+\](?:\[ *[TC]\d+\])? ?")
# Escape sequences of the firmware.
ESCAPE = re.compile(r"\x1b(?:\[[0-9;?=]*[A-Za-z]|[=>])")

# (kind, patterns). The first match determines the kind of a line.
BAD_LINES = [(kind, re.compile("|".join(patterns))) for kind, *patterns in (
    ("lockdep off", r"turning off the locking correctness validator", r"BUG: MAX_(LOCK|STACK)"),
    ("KASAN", r"BUG: (K[AC]SAN|KFENCE): "),
    ("lockdep", r"possible (circular|recursive|irq|unsafe)\b.*(lock|depend)",
     r"inconsistent lock state", r"suspicious RCU usage", r"bad unlock balance",
     r"held lock freed", r"lock held when returning", r"INVALID (WAIT CONTEXT|STATE)",
     r"Invalid wait context", r"irq lock inversion", r"nested lock was not taken",
     r"-safe -> .*-unsafe lock order", r"DEBUG_LOCKS_WARN_ON", r"possible deadlock"),
    ("RCU stall", r"detected (expedited )?stalls? on CPU", r"rcu.*stall.*detected",
     r"rcu.*kthread starved"),
    ("hung task", r"blocked for more than \d+ seconds", r"blocked in I/O wait for more than"),
    ("lockup", r"BUG: (soft|hard) lockup", r"Watchdog detected hard LOCKUP", r"workqueue lockup",
     r"SPINLOCK lockup", r"spinlock (lockup|bad magic|recursion)"),
    ("WARN", r"\bWARNING: ", r"\[ cut here \]"),
    ("BUG", r"\bBUG: ", r"\bkernel BUG at", r"\bBUG \S+ ?\(", r"Unable to handle kernel",
     r"Internal error: ", r"\bOops\b", r"Kernel panic", r"Bad mode in", r"Unhandled .*exception",
     r"SError Interrupt"),
    ("debug check", r"ODEBUG: ", r"UBSAN: ", r"refcount_t: ", r"list_(add|del) (corruption|double)",
     r"pagealloc: (memory|single bit)", r"Poison overwritten", r"nobody cared",
     r"Kernel memory leak detector disabled"),
    ("CMDQ error", r"CMDQ error", r"retrying command fetch", r"skipping command in error"),
    ("CMD_SYNC timeout", r"CMD_SYNC timeout", r"CMDQ timeout"),
    ("event queue overflow", r"(EVTQ|PRIQ) overflow"),
    ("SMMU global error", r"unexpected global error reported", r"entered Service Failure Mode",
     r"(EVTQ|PRIQ|GERROR|CMDQ)( MSI)? write aborted"),
    ("log lost", r"printk messages dropped"),
)]
# Lines of a report that are not shown
NOISE = re.compile(r"^(x\d+ ?: |sp : |pstate: |Hardware name: |Modules linked in:|Tainted: |"
                   r"Code: |$)")
CONTEXT = 40                    # lines of a report
SHOWN = 18                      # lines of a report that are shown
# /proc/sys/kernel/tainted also shows some problems whose messages are lost.
BAD_TAINTS = {5: "B: bad page", 7: "D: died", 9: "W: warned", 14: "L: soft lockup"}


def clean(text: str) -> list[str]:
    """The lines of a console, without escape sequences and CR."""
    return [ESCAPE.sub("", line).replace("\r", "") for line in text.split("\n")]


def bad(line: str) -> str:
    """The kind of a bad line, else an empty string."""
    return next((kind for kind, pattern in BAD_LINES if pattern.search(line)), "")


def scan_log(lines: Sequence[str], allow: Iterable[str] = ()) -> list[str]:
    """The problems of a kernel log, each with its kind and the lines of its report.

    A report is one problem: up to CONTEXT lines belong to a bad line. ALLOW has regular
    expressions of bad lines that a test causes intentionally. An expression without a match
    is a problem, too.
    """
    problems: list[str] = []
    used: set[str] = set()
    end = -1
    for number, line in enumerate(lines):
        kind = bad(line)
        excuse = next((a for a in allow if re.search(a, line)), None) if kind else None
        if excuse is not None:
            used.add(excuse)
        elif kind and number >= end:
            end = number + CONTEXT
            report = [l for l in lines[number:end] if not NOISE.match(STAMP.sub("", l).strip())]
            if "cut here" in line and len(report) > 1:
                kind = bad(report[1]) or kind
            problems.append("\n    ".join([f"{kind} in the kernel log:", *report[:SHOWN]]))
    return problems + [f"no line of the kernel log matches the allowed '{a}'"
                       for a in allow if a not in used]


def split_races(lines: Iterable[str], ours: str,
                allow: Iterable[str] = ()) -> tuple[list[str], list[list[str]]]:
    """Remove KCSAN reports that do not match OURS from a kernel log.

    Returns the other lines, and a list of the removed reports. A report ends with a line of
    "=". A report is not removed if it has no end, or if another CPU printed a bad line within
    it that ALLOW does not match.
    """
    kept: list[str] = []
    others: list[list[str]] = []
    begin: int | None = None
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


def scan_taint(value: int) -> list[str]:
    return [f"the kernel is tainted ({name})" for bit, name in BAD_TAINTS.items()
            if value >> bit & 1]
