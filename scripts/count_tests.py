#!/usr/bin/env python3
"""Prints "PASSED FAILED" of a JUnit file of ctest: Criterion's own cases where a test ran some, else the test itself."""
import re
import sys
import xml.etree.ElementTree as ElementTree

SYNTHESIS = re.compile(r"Tested: (\d+) \| Passing: (\d+) \| Failing: (\d+) \| Crashing: (\d+)")
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def skipped(testcase):
    """Switched off, or the test itself said that it cannot run here. One whose program is missing is not meant."""
    reason = testcase.find("skipped")
    return testcase.get("status") == "disabled" or (reason is not None and "SKIP" in reason.get("message", ""))


def count(testcase):
    """(passed, failed) of one test of ctest."""
    run = testcase.get("status") == "run"
    output = COLOUR.sub("", testcase.findtext("system-out") or "")
    passed = failed = 0
    for match in SYNTHESIS.finditer(output):
        passed += int(match.group(2))
        failed += int(match.group(3)) + int(match.group(4))
    if passed + failed == 0:
        return (1, 0) if run else (0, 1)
    # A program that failed beside its cases (a leak found at its end) has failed once.
    return (passed, failed) if run else (passed, max(failed, 1))


def main():
    counts = [count(testcase) for testcase in ElementTree.parse(sys.argv[1]).iter("testcase") if not skipped(testcase)]
    print(sum(passed for passed, _ in counts), sum(failed for _, failed in counts))


main()
