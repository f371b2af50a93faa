# SPDX-License-Identifier: GPL-2.0
"""The mutants can be made: somebody is to notice each, and its text is there."""
import importlib.machinery
import importlib.util
import pathlib
import subprocess
import unittest

import mutants

ROOT = pathlib.Path(__file__).resolve().parent.parent
TREE = ROOT / "build/linux"


class Mutants(unittest.TestCase):
    def test_watchers(self):
        loader = importlib.machinery.SourceFileLoader("check", str(ROOT / "scripts/check"))
        check = importlib.util.module_from_spec(importlib.util.spec_from_loader("check", loader))
        loader.exec_module(check)
        self.assertEqual(set(check.WATCHERS), set(mutants.MUTANTS))

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


if __name__ == "__main__":
    unittest.main()
