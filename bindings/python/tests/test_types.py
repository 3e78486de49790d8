"""The package's types: complete in the eyes of mypy, and right in those of a program that uses it."""
import ast
import inspect
import os
import re
import shutil
import subprocess
import tempfile
import unittest

import cbm
import support
from cbm import _cbm

PACKAGE = os.path.dirname(cbm.__file__)


def mypy(*arguments):
    with tempfile.TemporaryDirectory(prefix="cbm-python-") as cache:
        # Without a sanitizer's libraries in it, which only make it slow.
        variables = {name: value for name, value in os.environ.items() if name not in ("LD_PRELOAD", "PYTHONMALLOC")}
        return subprocess.run(["mypy", "--strict", "--cache-dir", cache, *arguments], capture_output=True, text=True, check=False,
                              timeout=100, env={**variables, "MYPYPATH": os.path.dirname(PACKAGE)}).stdout


class Types(unittest.TestCase):
    def the_package_says_that_it_is_typed(self):
        self.assertTrue(os.path.exists(os.path.join(PACKAGE, "py.typed")))

    def the_stub_has_what_the_extension_has(self):
        with open(os.path.join(PACKAGE, "_cbm.pyi"), encoding="utf-8") as file:
            classes = {node.name: {member.name for member in node.body if isinstance(member, ast.FunctionDef)}
                       for node in ast.parse(file.read()).body if isinstance(node, ast.ClassDef)}
        for name, members in classes.items():
            kind = getattr(_cbm, name)
            offered = {member for member in vars(kind) if not re.fullmatch("__(?!enter|exit)\\w+__", member)}
            self.assertEqual(members, offered, name)

    def whoever_asks_for_help_finds_some(self):
        for kind in (cbm.CircuitBreakerCore, cbm.CircuitBreaker, cbm.Permit):
            for name, member in inspect.getmembers(kind):
                if not name.startswith("_"):
                    self.assertTrue(inspect.getdoc(member), f"{kind.__name__}.{name}")

    @unittest.skipUnless(shutil.which("mypy"), "mypy is not installed")
    def mypy_finds_nothing_in_the_package(self):
        self.assertIn("Success: no issues found", mypy("-p", "cbm"))

    @unittest.skipUnless(shutil.which("mypy"), "mypy is not installed")
    def mypy_understands_a_program_that_uses_it(self):
        path = os.path.join(support.HERE, "typed_use.py")
        with open(path, encoding="utf-8") as file:
            wanted = {number: line.partition("# error: ")[2].strip() for number, line in enumerate(file, 1) if "# error: " in line}
        found = {}
        for line in mypy(path).splitlines():
            match = re.match(r".*typed_use\.py:(\d+): error: (.*)", line)
            if match:
                found[int(match.group(1))] = match.group(2)
        self.assertEqual(sorted(found), sorted(wanted), found)
        for number, text in wanted.items():
            self.assertIn(text, found[number])
