"""Forks and threads: processes that share a breaker, children of a process that has used it."""
import http.client
import multiprocessing
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import unittest

import cbm
import support


class Fork(support.BrokerTest):
    def setUp(self):
        self.client = self.open()
        self.breaker = self.client.circuit_breaker(self.name(), failure_threshold=4)

    def a_child_goes_on_with_what_it_inherits(self):
        self.breaker.call(lambda: 1)
        self.assertTrue(support.in_child(lambda: self.breaker.call(lambda: 7) == 7))
        self.breaker.call(lambda: 1)
        self.assertEqual(self.breaker.get_state()["statistics"]["successful_calls"], 3)

    def a_child_of_a_parent_that_has_only_opened(self):
        client = self.open()
        self.assertTrue(support.in_child(lambda: client.call(self.name(), lambda: 7) == 7))

    def children_share_the_breaker_with_their_parent(self):
        def fail_once():
            support.fail_times(self.client, self.name(), 1)
            return True
        self.breaker.begin().report("failure")
        for _ in range(3):
            self.assertTrue(support.in_child(fail_once))
        with self.assertRaises(cbm.CircuitOpenError):
            self.breaker.call(self.fail)

    def a_permit_is_its_parent_s(self):
        permit = self.breaker.begin()

        def report():
            try:
                permit.report("failure")
            except cbm.InheritedError:
                return True
            return False
        self.assertTrue(support.in_child(report))
        permit.report()
        self.assertEqual(self.breaker.get_state()["statistics"]["total_calls"], 1)

    def a_block_in_which_a_process_forks_is_reported_once(self):
        with self.breaker:
            child = os.fork()
            if child == 0:
                try:
                    with self.breaker:
                        pass
                finally:
                    os._exit(0)
            self.assertEqual(os.waitpid(child, 0)[1], 0)
        self.assertEqual(self.breaker.get_state()["statistics"]["successful_calls"], 2)

    def a_probe_that_a_child_inherits_stays_the_parent_s(self):
        breaker = self.client.get(self.name("_probe"), failure_threshold=1, timeout=0.05, permit_lease_ms=60000)
        support.fail_times(self.client, breaker.name, 1)
        permits = []

        def probe():
            try:
                permits.append(breaker.begin())
            except cbm.CircuitOpenError:
                return False
            return True
        support.wait_until(probe)
        self.assertTrue(support.in_child(lambda: permits.clear() or True))
        self.assertEqual(breaker.get_state()["permits_out"], 1)

    def a_child_forked_while_other_threads_are_in_calls(self):
        stop = threading.Event()

        def work():
            while not stop.is_set():
                self.breaker.call(lambda: 1)
        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(10):
                self.assertTrue(support.in_child(lambda: self.breaker.call(lambda: 7) == 7 and bool(self.client.get_all_states())))
        finally:
            stop.set()
            for thread in threads:
                thread.join()

    def a_pool_of_processes(self):
        with multiprocessing.get_context("fork").Pool(3) as pool:
            self.assertEqual(pool.starmap(_call, [(self.broker.address, self.name(), number) for number in range(30)]),
                             list(range(30)))
        self.assertEqual(self.breaker.get_state()["statistics"]["successful_calls"], 30)


def _call(address, name, number):
    with cbm.open(address) as client:
        return client.call(name, lambda: number)


class Threads(support.BrokerTest):
    def calls_of_many_threads_all_count(self):
        client = self.open()
        breaker, failures = client.get(self.name(), failure_threshold=1000000), []

        def work(number):
            for turn in range(100):
                try:
                    breaker.call(support.fail if turn % 10 == number else (lambda: 1))
                except support.Upstream:
                    failures.append(1)
                with breaker:
                    pass
        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        statistics = breaker.get_state()["statistics"]
        self.assertEqual((statistics["successful_calls"], statistics["failed_calls"]), (1600 - len(failures), len(failures)))
        self.assertEqual(len(failures), 80)

    def one_object_for_each_name_whoever_asks_first(self):
        client = self.open()
        found = []
        threads = [threading.Thread(target=lambda: found.append(client._breaker(self.name()))) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(len(set(map(id, found))), 1)


APPLICATION = '''
import os

import cbm

# Before the workers are forked (--preload): they all inherit it.
breaker = cbm.get_circuit_breaker_manager().get("upstream", failure_threshold=5, timeout=60)


def application(environ, start_response):
    """"PID called|refused" of a call that fails."""
    try:
        with breaker:
            raise RuntimeError("the upstream is down")
    except cbm.CircuitOpenError:
        answer = "refused"
    except RuntimeError:
        answer = "called"
    body = f"{os.getpid()} {answer}".encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
'''


def gunicorn_is_there():
    return subprocess.run([sys.executable, "-c", "import gunicorn"], capture_output=True, check=False).returncode == 0


@unittest.skipUnless(gunicorn_is_there(), "gunicorn is not installed")
class Gunicorn(support.BrokerTest):
    WORKERS = 4

    def _start(self, *options):
        directory = tempfile.mkdtemp(prefix="cbm-python-")
        self.addCleanup(shutil.rmtree, directory)
        with open(os.path.join(directory, "app.py"), "w", encoding="utf-8") as file:
            file.write(APPLICATION)
        self.socket = os.path.join(directory, "http.sock")
        with open(os.path.join(directory, "log"), "wb") as log:
            server = subprocess.Popen(
                [sys.executable, "-m", "gunicorn", "app:application", f"--workers={self.WORKERS}", f"--bind=unix:{self.socket}",
                 "--chdir", directory, *options],
                env={**os.environ, "CBM_ADDRESS": self.broker.address}, stdout=log, stderr=log)
        self.addCleanup(self._stop, server)
        support.wait_until(lambda: self._listens() or server.poll() is not None, "gunicorn's socket")
        self.assertIsNone(server.poll(), open(os.path.join(directory, "log"), encoding="utf-8").read())

    def _listens(self):
        """It is there a moment before anybody can connect."""
        with socket.socket(socket.AF_UNIX) as attempt:
            return attempt.connect_ex(self.socket) == 0

    def _stop(self, server):
        server.terminate()
        server.wait(support.DEADLINE_S)

    def _get(self):
        """(pid of the worker, its answer)."""
        connection = http.client.HTTPConnection("localhost", timeout=support.DEADLINE_S)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(support.DEADLINE_S)
        connection.sock.connect(self.socket)
        try:
            connection.request("GET", "/")
            return connection.getresponse().read().decode().split()
        finally:
            connection.close()

    def _all_workers_refuse_after_five_failures(self):
        answers = []
        support.wait_until(lambda: answers.append(self._get()) or
                           len({pid for pid, answer in answers if answer == "refused"}) == self.WORKERS,
                           "an answer of every worker")
        self.assertEqual([answer for _, answer in answers[:6]], ["called"] * 5 + ["refused"])
        self.assertEqual([answer for _, answer in answers if answer == "called"], ["called"] * 5)

    def workers_share_a_breaker(self):
        self.open().remove("*")
        self._start()
        self._all_workers_refuse_after_five_failures()

    def workers_share_a_breaker_that_was_got_before_they_were_forked(self):
        self.open().remove("*")
        self._start("--preload")
        self._all_workers_refuse_after_five_failures()
