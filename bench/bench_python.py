#!/usr/bin/env python3
"""What a call costs in Python through a breaker that processes share, beside circuitbreaker, whose breakers are one process's own.

    bench_python.py BUILD_DIRECTORY [--rounds N] [--quick]

With --rounds: so many rounds, and a table of medians; ratios are made of two figures of the same round. Without: one round for each
line on standard input, in the form that table.py reads. The function called is empty; another process uses the same breaker all
the while. In each round the subjects take turns, batch by batch.
"""
import argparse
import asyncio
import multiprocessing
import os
import select
import signal
import statistics
import subprocess
import sys
import tempfile
import time

SYSTEM_PYTHON = "/usr/bin/python3"  # has Debian's packages, whatever comes first in PATH
NAME = "billing_api"


def succeed():
    return None


async def succeed_later():
    return None


def start_broker(build, directory):
    program, address = os.path.join(build, "bin", "cbmd"), f"ipc://{directory}/cbm.sock"
    text = subprocess.run([program, "--help"], capture_output=True, text=True, check=True).stdout
    ready, writes = os.pipe()
    broker = subprocess.Popen([program, "--listen", address, "--rate-limit", "0", f"--ready-fd={writes}"]
                              + ["--no-store"] * ("--no-store" in text), pass_fds=[writes], stderr=subprocess.DEVNULL)
    os.close(writes)
    if not select.select([ready], [], [], 10)[0] or not os.read(ready, 1):
        sys.exit("bench_python: cbmd did not start")
    os.close(ready)
    return broker, address


def use_too(address, interval_s):
    """Another process of the same breaker."""
    import cbm
    breaker = cbm.open(address).get(NAME)
    while True:
        breaker.call(succeed)
        time.sleep(interval_s)


def subjects(client):
    """{figure: a function of a number of calls, that makes them}."""
    import cbm
    import circuitbreaker

    breaker = client.get(NAME)
    by_peer, by_cbm = circuitbreaker.circuit()(succeed), breaker(succeed)
    by_coroutine = breaker(succeed_later)

    def bare(times):
        for _ in range(times):
            succeed()

    def peer(times):
        for _ in range(times):
            by_peer()

    def call(times):
        call = client.call
        for _ in range(times):
            call(NAME, succeed)

    def decorated(times):
        for _ in range(times):
            by_cbm()

    def begun(times):
        for _ in range(times):
            with breaker.begin():
                succeed()

    def block(times):
        for _ in range(times):
            with breaker:
                succeed()

    def coroutine(times):
        async def calls():
            for _ in range(times):
                await by_coroutine()
        asyncio.run(calls())

    assert cbm.CircuitState.CLOSED is breaker.state
    return {"python.bare": bare, "python.circuitbreaker": peer, "python.call": call, "python.decorated": decorated,
            "python.permit": begun, "python.block": block, "python.coroutine": coroutine}


def take_round(calls, batches, batch_s):
    """{figure: ns a call}: the median of batches of about batch_s each."""
    sizes = {}
    for figure, make in calls.items():
        make(20)
        begun = time.perf_counter()
        make(500)
        sizes[figure] = max(500, int(500 * batch_s / (time.perf_counter() - begun)))
    each = {figure: [] for figure in calls}
    for _ in range(batches):
        for figure, make in calls.items():
            begun = time.perf_counter_ns()
            make(sizes[figure])
            each[figure].append((time.perf_counter_ns() - begun) / sizes[figure])
    return {figure: statistics.median(values) for figure, values in each.items()}


TITLES = {"python.bare": "the function alone", "python.circuitbreaker": "circuitbreaker's decorator (not shared)",
          "python.call": "manager.call", "python.decorated": "decorator", "python.permit": "with breaker.begin()",
          "python.block": "with breaker", "python.coroutine": "decorator, of a coroutine"}


def print_table(rounds):
    print(f"{'':42} {'ns a call':>10}   times circuitbreaker's")
    for figure, title in TITLES.items():
        values = [taken[figure] for taken in rounds]
        ratios = [taken[figure] / taken["python.circuitbreaker"] for taken in rounds]
        print(f"{title:42} {statistics.median(values):10.0f}   {statistics.median(ratios):.2f}")


def run(arguments, client, other):
    calls = subjects(client)
    batches, batch_s = (3, 0.0005) if arguments.quick else (9, 0.005)
    if arguments.rounds:
        print_table([take_round(calls, batches, batch_s) for _ in range(arguments.rounds)])
        return
    print("ready", flush=True)
    os.kill(other.pid, signal.SIGSTOP)  # not in the rounds of other benchmarks
    for _ in sys.stdin:
        os.kill(other.pid, signal.SIGCONT)
        for figure, value in take_round(calls, batches, batch_s).items():
            print(f"{figure} {value} ns")
        os.kill(other.pid, signal.SIGSTOP)
        print(".", flush=True)


def measure(arguments):
    import cbm
    with tempfile.TemporaryDirectory(prefix="cbm-bench-") as directory:
        broker, address = start_broker(arguments.build, directory)
        other = multiprocessing.get_context("fork").Process(target=use_too, args=(address, 0.001), daemon=True)
        try:
            other.start()
            with cbm.open(address) as client:
                run(arguments, client, other)
        finally:
            other.kill()
            other.join()
            broker.terminate()
            broker.wait()


def skip(arguments, why):
    """Nothing is measured, and nothing has failed."""
    print(f"skipped python: {why}", flush=True)
    if arguments.rounds:
        return
    print("ready", flush=True)
    for _ in sys.stdin:
        print(".", flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("build")
    parser.add_argument("--rounds", type=int, default=0)
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    sys.path.insert(0, os.path.join(arguments.build, "python"))
    try:
        import circuitbreaker  # noqa: F401
    except ImportError:
        if os.path.exists(SYSTEM_PYTHON) and os.path.realpath(sys.executable) != os.path.realpath(SYSTEM_PYTHON):
            os.execv(SYSTEM_PYTHON, [SYSTEM_PYTHON, *sys.argv])
        skip(arguments, "circuitbreaker is not installed (Debian: python3-circuitbreaker)")
        return
    try:
        import cbm  # noqa: F401
    except ImportError as missing:
        skip(arguments, f"the module is not built ({missing})")
        return
    measure(arguments)


main()
