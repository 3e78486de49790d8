#!/usr/bin/env python3
"""What a successful call through a breaker of this process costs in Python: circuitbreaker, beside a bare call.

    in_process.py [--quick]

Rounds and figures as those of rounds.h.
"""
import sys
import time

import circuitbreaker

QUICK = "--quick" in sys.argv
BATCH = 100 if QUICK else 10000
BATCHES = 3 if QUICK else 11


def succeed():
    return 1


@circuitbreaker.circuit(failure_threshold=5, recovery_timeout=60)
def succeed_protected():
    return 1


def call_ns(call):
    each = []
    for _ in range(BATCHES):
        begun = time.perf_counter_ns()
        for _ in range(BATCH):
            call()
        each.append((time.perf_counter_ns() - begun) / BATCH)
    return sorted(each)[BATCHES // 2]


def main():
    print("ready", flush=True)
    for _ in sys.stdin:
        print(f"in_process.bare_python {call_ns(succeed)} ns")
        print(f"in_process.circuitbreaker {call_ns(succeed_protected)} ns")
        print(".", flush=True)


main()
