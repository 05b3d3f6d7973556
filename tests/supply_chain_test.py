"""Promises of supply_chain.py: SPDX expressions and Cargo's version requirements are read right."""

import unittest

from supply_chain import affected, matches, satisfied


class Licences(unittest.TestCase):
    ALLOWED = {"MIT", "ISC"}

    def test_one_allowed_alternative_suffices(self):
        self.assertTrue(satisfied("Apache-2.0 OR MIT", self.ALLOWED))
        self.assertTrue(satisfied("MIT/Apache-2.0", self.ALLOWED))
        self.assertFalse(satisfied("Apache-2.0 OR GPL-3.0", self.ALLOWED))

    def test_every_part_of_a_conjunction_is_needed(self):
        self.assertTrue(satisfied("(GPL-2.0 OR MIT) AND ISC", self.ALLOWED))
        self.assertFalse(satisfied("MIT AND GPL-3.0", self.ALLOWED))
        self.assertFalse(satisfied("(MIT OR ISC) AND (GPL-2.0 OR GPL-3.0)", self.ALLOWED))

    def test_an_exception_is_part_of_the_licence(self):
        self.assertFalse(satisfied("MIT WITH some-exception", self.ALLOWED))
        self.assertTrue(satisfied("MIT WITH some-exception OR ISC", self.ALLOWED))


class Versions(unittest.TestCase):
    def test_comparators_are_those_of_cargo(self):
        for version, requirement, expected in [
            ("1.2.3", ">= 1.2.3", True),
            ("1.2.2", ">= 1.2.3", False),
            ("1.9.0", "^1.2", True),
            ("2.0.0", "^1.2", False),
            ("0.4.7", "^0.4.5", True),
            ("0.5.0", "^0.4.5", False),
            ("0.0.4", "^0.0.3", False),
            ("1.2.9", "~1.2.3", True),
            ("1.3.0", "~1.2.3", False),
            ("1.5.0", ">=1.4.1, <2", True),
            ("2.0.0", ">=1.4.1, <2", False),
            ("1.0.0-rc.1", ">= 1.0.0", False),
            ("1.2.3", "= 1.2.3", True),
            ("1.2.4", "= 1.2.3", False),
        ]:
            with self.subTest(version=version, requirement=requirement):
                self.assertEqual(matches(version, requirement), expected)

    def test_a_version_is_affected_unless_patched_or_unaffected(self):
        versions = {"patched": [">= 1.4.2", "^1.3.9"], "unaffected": ["< 1.0.0"]}
        self.assertTrue(affected("1.3.8", versions))
        self.assertFalse(affected("1.4.1", versions), "^1.3.9 covers 1.4.1")
        self.assertFalse(affected("1.4.2", versions))
        self.assertFalse(affected("0.9.0", versions))
        self.assertTrue(affected("5.0.0", {}))


if __name__ == "__main__":
    unittest.main()
