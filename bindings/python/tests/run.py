"""Runs the tests beside this file against the module on PYTHONPATH and the programs in $CBM_BIN.

    run.py [TEST ...]      all of them, or those named: test_calls, test_calls.Calls.a_call_returns_what_the_function_returns
"""
import os
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))


def load(names):
    loader = unittest.TestLoader()
    # Tests read as statements, so any public method of a test class that is its own is a test.
    loader.getTestCaseNames = case_names
    if names:
        return loader.loadTestsFromNames(names)
    return loader.discover(HERE, top_level_dir=HERE)


def case_names(case):
    mine = [vars(kind) for kind in case.__mro__[:-1] if kind.__module__.startswith("test_")]
    return sorted(name for members in mine for name, member in members.items()
                  if callable(member) and not name.startswith("_") and not isinstance(member, type)
                  and name not in dir(unittest.TestCase))


def main():
    sys.path.insert(0, HERE)
    # Nobody's broker but those that the tests start: without an address the default one would be asked.
    with tempfile.TemporaryDirectory(prefix="cbm-python-") as nowhere:
        os.environ.setdefault("CBM_ADDRESS", f"ipc://{nowhere}/none.sock")
        result = unittest.TextTestRunner(verbosity=2 if len(sys.argv) > 1 else 1).run(load(sys.argv[1:]))
    failed, crashed = len(result.failures), len(result.errors)
    passed = result.testsRun - failed - crashed - len(result.skipped)
    for test, reason in result.skipped:
        print(f"skipped: {test}: {reason}", file=sys.stderr)
    print(f"Tested: {result.testsRun} | Passing: {passed} | Failing: {failed} | Crashing: {crashed}")
    sys.exit(0 if result.wasSuccessful() and passed > 0 else 1)


if __name__ == "__main__":
    main()
