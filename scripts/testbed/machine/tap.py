# SPDX-License-Identifier: GPL-2.0
"""A parser of TAP 13/14 and KTAP, the formats of selftests and KUnit."""
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

PLAN = re.compile(r"^1\.\.(\d+)(?:\s+#\s*SKIP\b *(.*))?", re.I)
RESULT = re.compile(r"^(not )?ok\b(?: +(\d+))?(?: +-?\s*(.*?))?\s*$")
DIRECTIVE = re.compile(r"(?:^|\s)#\s*(SKIP|TODO|XFAIL|TIMEOUT|ERROR)\b[:\s]*(.*)$", re.I)
HEADER = re.compile(r"^K?TAP version \d+\s*$")
SUBTEST = re.compile(r"^# Subtest: (.*)")
NOTES = 20                      # lines of diagnostics that are kept for a failure


@dataclass
class Tap:
    """Counts of leaf tests. Skipped tests have not passed. failures has an entry for each
    failed test, problems has one for each violation of the format."""
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    tests: list[tuple[str, str]] = field(default_factory=list)  # (status, name), in order
    failures: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def add(self, other: "Tap") -> None:
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped
        self.tests += other.tests
        self.failures += other.failures
        self.problems += other.problems

    def skip(self, name: str) -> None:
        self.skipped += 1
        self.tests.append(("skipped", name))

    def expect(self, name: str, good: object, why: str = "") -> None:
        """Report a test, with the reason WHY if it failed."""
        self.tests.append(("passed" if good else "failed", name))
        if good:
            self.passed += 1
        else:
            self.failed += 1
            self.failures.append(f"not ok: {name}" + (f" ({why})" if why else ""))

    def named(self, status: str) -> list[str]:
        return [name for have, name in self.tests if have == status]


@dataclass
class Level:
    """The results of one indentation."""
    indent: int
    name: str = ""
    plan: int | None = None
    count: int = 0
    failed: int = 0


class Parser:
    """Plans, nested subtests by indentation, skips.

    Several streams may follow each other: a header or a second plan starts a new stream.
    Every stream must have a plan and match it. Subtests need no plan, as KUnit's parameters
    have none. The result line of a parent is a failure only if no child failed.
    """

    def __init__(self, label: str = "") -> None:
        self.tap, self.label = Tap(), label
        self.stack: list[Level] = []
        self.notes: list[str] = []

    def problem(self, text: str) -> None:
        self.tap.problems.append(f"{self.label}: {text}" if self.label else text)

    def close(self) -> Level:
        level = self.stack.pop()
        where = f"'{level.name}'" if level.name else "the test plan"
        if level.plan is None and level.count and not level.indent:
            self.problem(f"{where}: {level.count} results but no plan (1..N)")
        elif level.plan is not None and level.plan != level.count:
            self.problem(f"{where} announced {level.plan} tests, {level.count} reported")
        return level

    def at(self, indent: int, name: str = "") -> Level:
        """The level of this indentation. Close deeper levels."""
        while self.stack and self.stack[-1].indent > indent:
            self.close()
        if not self.stack or self.stack[-1].indent < indent:
            self.stack.append(Level(indent, name))
        return self.stack[-1]

    def end(self) -> None:
        while self.stack:
            self.close()

    def line(self, raw: str) -> None:
        text = raw.lstrip(" ")
        indent = len(raw) - len(text)
        if HEADER.match(text):
            if indent == 0:
                self.end()
        elif m := SUBTEST.match(text):
            # KUnit indents this line like the subtest, TAP 14 does not.
            if indent:
                self.at(indent, m[1]).name = m[1]
        elif m := PLAN.match(text):
            self.plan(indent, int(m[1]), m[2])
        elif text.startswith("Bail out!"):
            self.problem(text.strip())
        elif m := RESULT.match(text):
            self.result(indent, bool(m[1]), m[2], m[3] or "")
            self.notes = []
        elif text.startswith("#"):
            self.notes = (self.notes + [raw])[-NOTES:]

    def plan(self, indent: int, number: int, reason: str | None) -> None:
        level = self.at(indent)
        if level.plan is not None:
            self.close()
            level = self.at(indent)
        level.plan = number
        if reason is not None:
            self.tap.skip(reason.strip() or "everything")
        elif number == 0:
            self.problem("a plan of no tests (1..0) without a reason")

    def result(self, indent: int, bad: bool, number: str | None, name: str) -> None:
        child = None
        while self.stack and self.stack[-1].indent > indent:
            child = self.close()
        level = self.at(indent)
        level.count += 1
        word = ""
        if directive := DIRECTIVE.search(name):
            name, word = name[:directive.start()].strip(), directive[1].upper()
        if number and int(number) != level.count:
            self.problem(f"result number {number} ('{name}') where {level.count} was due")
            level.count = int(number)
        if child:
            level.failed += child.failed
            # The children are counted already.
            if child.count and (not bad or child.failed):
                return
        path = [above.name for above in self.stack[1:] if above.name] + [name]
        full = " / ".join(path) if len(self.stack) > 1 else name
        if word == "SKIP":
            self.tap.skip(full)
            return
        bad = (bad or word in ("TIMEOUT", "ERROR")) and word != "XFAIL"
        level.failed += bad
        self.tap.expect(full, not bad)
        if bad:
            self.tap.failures[-1] += "".join("\n    " + note.strip() for note in self.notes)


def parse_tap(lines: Iterable[str], label: str = "") -> Tap:
    parser = Parser(label)
    for line in lines:
        parser.line(line)
    parser.end()
    return parser.tap
