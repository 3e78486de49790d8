"""The broker is away, dies, hangs, comes back."""
import threading
import time
import unittest

import cbm
import support


class Away(unittest.TestCase):
    def setUp(self):
        self.broker = support.Broker("--rate-limit", "0")
        self.addCleanup(self.broker.free)

    def _open(self, **options):
        client = cbm.open(self.broker.address, **options)
        self.addCleanup(client.close)
        return client

    def by_default_calls_pass_unprotected(self):
        client = self._open()
        self.assertFalse(client.get("x").begin().unprotected)
        self.broker.kill()
        self.assertTrue(client.get("x").begin().unprotected)
        for _ in range(10):
            with self.assertRaises(support.Upstream):
                client.call("x", support.fail)
        self.assertFalse(client.connected)
        with self.assertRaises(cbm.AwayError):
            client.get_all_states()
        stats = client.get_stats()
        self.assertEqual((stats["success"], stats["error"]), (False, "away"))

    def fail_closed_refuses(self):
        client = self._open(when_away="fail_closed")
        self.assertEqual(client.call("x", lambda: 1), 1)
        self.broker.kill()
        with self.assertRaises(cbm.AwayError):
            client.call("x", self.fail)
        with self.assertRaises(cbm.AwayError):
            cbm.open(self.broker.address, when_away="fail_closed")

    def local_counts_in_the_process(self):
        client = self._open(when_away="local")
        client.get("x", failure_threshold=2)
        self.broker.kill()
        support.fail_times(client, "x", 2)
        with self.assertRaises(cbm.CircuitOpenError):
            client.call("x", self.fail)
        self.assertEqual(client.get_all_states()["x"]["state"], "OPEN")

    def it_goes_on_when_the_broker_is_back(self):
        client = self._open()
        breaker = client.circuit_breaker("x", failure_threshold=2)
        breaker.call(lambda: 1)
        self.broker.kill()
        breaker.call(lambda: 1)
        self.broker.start()
        support.wait_until(lambda: not breaker.begin().unprotected, "the broker's word")
        self.assertEqual(breaker.get_state()["threshold"], 2)

    def a_hung_broker_does_not_stop_other_threads(self):
        client = self._open(call_timeout_ms=300, shared_memory=False)
        breaker = client.get("x")
        self.broker.pause()
        done = []
        thread = threading.Thread(target=lambda: done.append(breaker.call(lambda: 1)))
        begun = time.monotonic()
        thread.start()
        steps = 0
        while not done and time.monotonic() - begun < support.DEADLINE_S:
            steps += 1
            time.sleep(0.005)
        thread.join()
        took = time.monotonic() - begun
        self.assertGreaterEqual(took, 0.25)
        self.assertGreaterEqual(steps, took / 0.005 / 4)  # were the GIL kept, there would be one or two
