# SPDX-License-Identifier: GPL-2.0
"""Tests of the mutants: each has a test and its text exists in the driver."""
import subprocess
import sys
import unittest
from pathlib import Path

import mutants

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "scripts"))
from testbed.checks.mutants import WATCHERS  # noqa: E402
from testbed.paths import TREE  # noqa: E402


class Mutants(unittest.TestCase):
    def test_watchers(self):
        self.assertEqual(set(WATCHERS), set(mutants.MUTANTS))

    def test_names(self):
        names = [m[0] for several in mutants.MUTANTS.values() for m in several]
        self.assertEqual(len(names), len(set(names)))
        self.assertLessEqual(set(mutants.UNNOTICED), set(names))

    @unittest.skipUnless(TREE.exists(), "no build/linux")
    def test_texts(self):
        show = ["git", "-c", "safe.directory=*", "-C", TREE, "show"]
        texts = {}
        for what, file, old, new in (m for several in mutants.MUTANTS.values() for m in several):
            with self.subTest(what=what):
                if file not in texts:
                    texts[file] = subprocess.run([*show, f"series:{file}"], check=True, capture_output=True, text=True).stdout
                self.assertEqual(texts[file].count(old), 1)
                self.assertNotEqual(old, new)
