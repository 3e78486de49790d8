#!/usr/bin/env python3
"""./dev demo: six processes share one breaker while their upstream breaks and comes back.

    demo.py BUILD_DIRECTORY

Shows it as it happens, then holds what was promised against the upstream's own log of requests and against the broker's
statistics. Exit status 0: all of it happened.
"""
import json
import os
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
BREAKER = "demo_api"
THRESHOLD = 5
OPEN_MS = 2000
SHELL_WORKERS = ["cron-1", "cron-2", "cron-3"]  # cbmctl run -- curl
C_WORKERS = ["app-1", "app-2", "app-3"]  # demo/worker.c on libcbm-client
WORKERS = SHELL_WORKERS + C_WORKERS
FAILED_PROBES = 2
DEADLINE_S = 30  # of each wait: far more than it takes, so that only a hang ends there


class Failed(Exception):
    """Something that was promised did not happen."""


class Request:
    """One request as the upstream saw it."""

    def __init__(self, begin, end, worker, status):
        self.begin, self.end, self.worker, self.status = float(begin), float(end), worker, int(status)


class Demo:
    def __init__(self, build):
        self.bin = os.path.join(os.path.abspath(build), "bin")
        self.directory = tempfile.mkdtemp(prefix="cbm-demo-")
        self.address = f"ipc://{self.directory}/cbm.sock"
        self.selector = selectors.DefaultSelector()
        self.children = {}  # name -> Popen
        self.buffers = {}
        self.begun = time.monotonic()
        self.port = None
        self.upstream_is = None  # "up", "down": what it said last
        self.requests = []
        self.outcomes = {worker: [] for worker in WORKERS}  # (seconds, "ok" | "failed" | "open")
        self.shown = {}  # worker -> what was last shown of it
        self.opened = False  # workers were seen to be refused
        self.recovered = False

    # ---- what people see

    def show(self, who, what):
        print(f"{time.monotonic() - self.begun:7.2f} s  {who:<9} {what}", flush=True)

    # ---- processes

    def environment(self):
        return dict(os.environ, CBM_ADDRESS=self.address)

    def start(self, name, command, **options):
        child = subprocess.Popen(command, start_new_session=True, env=self.environment(), **options)
        self.children[name] = child
        if child.stdout:
            os.set_blocking(child.stdout.fileno(), False)
            self.buffers[name] = b""
            self.selector.register(child.stdout, selectors.EVENT_READ, name)
        return child

    def stop(self, name):
        child = self.children.pop(name)
        try:
            os.killpg(child.pid, signal.SIGTERM)
        except ProcessLookupError:
            pass
        try:
            return child.wait(timeout=5)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
            raise Failed(f"{name} did not stop within 5 s of SIGTERM") from None

    def cbmctl(self, *arguments):
        return subprocess.run([f"{self.bin}/cbmctl", *arguments], env=self.environment(), capture_output=True, text=True,
                              timeout=DEADLINE_S, check=False)

    # ---- what they say

    def read_events(self, timeout_s):
        for key, _ in self.selector.select(timeout_s):
            name = key.data
            data = os.read(key.fd, 65536)
            if not data:
                self.selector.unregister(key.fileobj)
                if name in self.children:
                    raise Failed(f"{name} ended by itself (exit status {self.children[name].wait()})")
                continue
            *lines, self.buffers[name] = (self.buffers[name] + data).split(b"\n")
            for line in lines:
                self.handle_line(name, line.decode(errors="replace"))

    def handle_line(self, name, line):
        if name == "upstream":
            self.handle_upstream(line)
        else:
            self.handle_worker(name, line)

    def handle_upstream(self, line):
        word, _, rest = line.partition(" ")
        if word == "port":
            self.port, self.upstream_is = int(rest), "up"
        elif word == "request":
            request = Request(*rest.split())
            self.requests.append(request)
            if self.opened and not self.recovered:
                self.show("upstream", f"one probe, from {request.worker}: {request.status}")
                self.recovered = request.status == 200
        else:
            self.upstream_is = word

    def handle_worker(self, name, line):
        word, _, detail = line.partition(" ")
        if word == "trouble":
            raise Failed(f"{name} could not ask the broker: {detail}")
        self.outcomes[name].append((time.monotonic(), word))
        if word != self.shown.get(name) or word == "failed":
            if word == "ok":
                self.show(name, "calls, and is answered" if name not in self.shown else "goes on")
            elif word == "failed":
                self.show(name, f"call failed ({detail})")
            else:
                self.show(name, "stops: the circuit is open")
        self.shown[name] = word

    def wait_until(self, condition, what):
        deadline = time.monotonic() + DEADLINE_S
        while not condition():
            left = deadline - time.monotonic()
            if left <= 0:
                raise Failed(f"after {DEADLINE_S} s still not: {what}")
            self.read_events(min(left, 0.25))
            broker = self.children.get("broker")
            if broker and broker.poll() is not None:
                raise Failed(f"the broker ended by itself (exit status {broker.returncode})")

    def every_worker_since(self, moment, word, times=1):
        return all(sum(1 for at, said in self.outcomes[worker] if at > moment and said == word) >= times
                   for worker in WORKERS)

    def broken_requests(self):
        return [request for request in self.requests if request.status != 200]

    # ---- the scenes

    def start_broker(self):
        with open(f"{self.directory}/cbmd.log", "wb") as log:
            self.start("broker", [f"{self.bin}/cbmd", "--listen", self.address, "--state-dir",
                                  f"{self.directory}/state"], stderr=log)
        self.wait_until(lambda: self.cbmctl("ping").returncode == 0, "the broker answers a ping")
        created = self.cbmctl("get", BREAKER, f"--failure-threshold={THRESHOLD}", f"--timeout-ms={OPEN_MS}")
        if created.returncode != 0:
            raise Failed(f"cbmctl get: {created.stderr.strip()}")
        self.show("broker", f"cbmd listens on {self.address}")
        self.show("broker", f"breaker {BREAKER}: opens after {THRESHOLD} failures in a row, for {OPEN_MS / 1000:g} s")

    def start_upstream(self):
        self.start("upstream", [sys.executable, f"{HERE}/upstream.py"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.wait_until(lambda: self.port, "the upstream has a port")
        self.show("upstream", f"HTTP server at 127.0.0.1:{self.port}")

    def turn_upstream(self, word):
        self.children["upstream"].stdin.write(f"{word}\n".encode())
        self.children["upstream"].stdin.flush()
        self.wait_until(lambda: self.upstream_is == word, f"the upstream is {word}")
        return time.monotonic()

    def start_workers(self):
        for worker in SHELL_WORKERS:
            self.start(worker, [f"{HERE}/worker.sh", f"{self.bin}/cbmctl", BREAKER, str(self.port), worker],
                       stdout=subprocess.PIPE)
        for worker in C_WORKERS:
            self.start(worker, [f"{self.bin}/demo_worker", self.address, BREAKER, str(self.port), worker],
                       stdout=subprocess.PIPE)
        self.show("workers", f"{' '.join(SHELL_WORKERS)}: cbmctl run around curl; {' '.join(C_WORKERS)}: C, libcbm-client")
        self.wait_until(lambda: self.every_worker_since(0, "ok", 2), "every worker was answered twice")

    def break_upstream(self):
        self.show("upstream", "--- goes DOWN: every request takes 150 ms and ends in 503")
        down = self.turn_upstream("down")
        self.wait_until(lambda: self.every_worker_since(down, "open"), "every worker is refused by the open circuit")
        self.opened = True
        reached = len(self.broken_requests())
        self.show("broker", f"--- OPEN: {reached} calls failed in all, {THRESHOLD} is the threshold (a call already begun "
                  "goes on)")
        self.show("", f"    with a breaker in each process it would have taken {len(WORKERS)} x {THRESHOLD} = "
                  f"{len(WORKERS) * THRESHOLD}")
        self.wait_until(lambda: len(self.broken_requests()) >= reached + FAILED_PROBES,
                        f"{FAILED_PROBES} probes reached the broken upstream")

    def mend_upstream(self):
        self.show("upstream", "--- comes back UP")
        up = self.turn_upstream("up")
        self.wait_until(lambda: self.every_worker_since(up, "ok"), "every worker is answered again")
        self.show("workers", "--- all go on")

    def read_stats(self):
        nngcat = ["nngcat", "--req", "--dial", self.address, "--data", "stats", "--raw"]
        answer = subprocess.run(nngcat, capture_output=True, text=True, timeout=DEADLINE_S, check=False).stdout
        try:
            breaker = json.loads(answer)["data"]["breakers"][BREAKER]
        except (ValueError, KeyError, TypeError):
            raise Failed(f"nngcat read no statistics: {answer!r}") from None
        summary = ("{total_operations: .data.total_operations, breakers: (.data.breakers | map_values({state, failures, "
                   "threshold} + (.statistics | {successful_calls, failed_calls, rejected_calls, state_transitions})))}")
        print(f"\n$ nngcat --req --dial {self.address} --data stats --raw | jq '...'", flush=True)
        subprocess.run(["jq", summary], input=answer, text=True, timeout=DEADLINE_S, check=True)
        return breaker

    def run(self):
        self.start_broker()
        self.start_upstream()
        self.start_workers()
        self.break_upstream()
        self.mend_upstream()
        for worker in WORKERS:
            self.stop(worker)
        breaker = self.read_stats()
        self.stop("upstream")
        status = self.stop("broker")
        self.verify(breaker)
        check(status == 0 and not os.path.exists(f"{self.directory}/cbm.sock"), "SIGTERM ends the broker cleanly",
              f"exit status {status}, its socket is gone")

    # ---- was it so?

    def verify(self, breaker):
        print(flush=True)
        open_s = OPEN_MS / 1000
        broken = sorted(self.broken_requests(), key=lambda request: request.begin)
        # The report that opened the circuit came after the upstream's fifth 503, and the first probe so much later still.
        opened_not_before = sorted(request.end for request in broken)[THRESHOLD - 1]
        first = [request for request in broken if request.begin < opened_not_before + open_s]
        failed_probes = broken[len(first):]
        answered = sorted((request for request in self.requests if request.status == 200 and request.begin > broken[0].begin),
                          key=lambda request: request.begin)
        good_probe, after = answered[0], answered[1:]
        probes = failed_probes + [good_probe]
        statistics = breaker["statistics"]

        check(THRESHOLD <= len(first) <= THRESHOLD + len(WORKERS) - 1, "all workers stop at the threshold in total",
              f"{len(first)} requests reached the broken upstream, at most {THRESHOLD + len(WORKERS) - 1} could be under way")
        check(statistics["rejected_calls"] >= len(WORKERS), "every worker was refused without a call",
              f"{statistics['rejected_calls']} refusals")
        check(len(failed_probes) >= FAILED_PROBES, "the broken upstream was probed", f"{len(failed_probes)} times")
        # A probe opens the circuit again for the whole time. Two at once would be closer than that.
        gaps = [later.begin - earlier.end for earlier, later in zip(probes, probes[1:])]
        check(all(gap >= open_s for gap in gaps), "one probe at a time, for everybody",
              "seconds between them: " + ", ".join(f"{gap:.2f}" for gap in gaps))
        check(statistics["state_transitions"] == 1 + 2 * len(probes), "the broker saw the same probes",
              f"{statistics['state_transitions']} transitions: opened once, {len(probes)} times half-open and on")
        check(all(request.begin >= good_probe.end for request in after), "nobody called before the good probe was over",
              f"the next call came {(after[0].begin - good_probe.end) * 1000:.0f} ms after it" if after else "no call came")
        check({request.worker for request in answered} == set(WORKERS), "all workers go on", f"{len(answered)} calls since")
        check(breaker["state"] == "CLOSED" and breaker["failures"] == 0, "the circuit is closed", breaker["state"])
        check(statistics["failed_calls"] == len(broken), "the broker counted every failure once",
              f"{statistics['failed_calls']} failed calls, as the upstream says")

    def clean_up(self, keep_log):
        for name in list(self.children):
            try:
                self.stop(name)
            except Failed as failure:
                print(f"demo: {failure}", file=sys.stderr)
        if keep_log:
            try:
                with open(f"{self.directory}/cbmd.log", encoding="utf-8", errors="replace") as log:
                    sys.stderr.write("".join(log.readlines()[-30:]))
            except OSError:
                pass
        shutil.rmtree(self.directory, ignore_errors=True)


def check(happened, promise, detail):
    print(f"{'ok ' if happened else 'NOT'}  {promise} ({detail})", flush=True)
    if not happened:
        raise Failed(promise)


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: demo.py BUILD_DIRECTORY")
    demo = Demo(sys.argv[1])
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(1))
    failed = True
    try:
        demo.run()
        failed = False
    except (Failed, OSError) as failure:
        print(f"demo: did not happen: {failure}", file=sys.stderr)
    finally:
        demo.clean_up(failed)
    if failed:
        sys.exit(1)
    print(f"demo: all of it happened, in {time.monotonic() - demo.begun:.0f} s")


main()
