"""What an exception means for the breaker."""
import asyncio
import concurrent.futures
import socket
import sys

import cbm
import support


class TooManyRequests(support.Upstream):
    def __init__(self, retry_after):
        super().__init__()
        self.retry_after = retry_after


class Outcomes(support.BrokerTest):
    def setUp(self):
        self.client = self.open()

    def _reported(self, raised, **options):
        """The one outcome that a call which raises it is reported with."""
        breaker = self.client.circuit_breaker(self.name(), failure_threshold=1000, **options)

        def function():
            raise raised
        before = self._counts()
        with self.assertRaises(type(raised)):
            breaker.call(function)
        after = self._counts()
        changed = {key for key in after if after[key] != before.get(key, 0)} - {"total_calls", "state_transitions"}
        return {frozenset({"successful_calls"}): "success", frozenset({"failed_calls"}): "failure",
                frozenset({"failed_calls", "timeout_calls"}): "timeout", frozenset({"ignored_calls"}): "ignored"}[frozenset(changed)]

    def _counts(self):
        state = self.client.get_all_states().get(self.name(), {"statistics": {}})
        return {key: value for key, value in state["statistics"].items() if key.endswith("_calls")}

    def an_exception_is_a_failure(self):
        self.assertEqual(self._reported(ValueError()), "failure")

    def what_ends_things_from_outside_is_ignored(self):
        for raised in (KeyboardInterrupt(), SystemExit(), GeneratorExit(), asyncio.CancelledError()):
            self.assertEqual(self._reported(raised), "ignored", raised)

    def unless_one_says_otherwise(self):
        self.assertEqual(self._reported(KeyboardInterrupt(), failure_on=BaseException), "failure")

    def a_timeout_is_a_timeout(self):
        for raised in (TimeoutError(), socket.timeout(), asyncio.TimeoutError(), concurrent.futures.TimeoutError()):
            self.assertEqual(self._reported(raised), "timeout", raised)
        self.assertEqual(self._reported(LookupError(), timeout_on=(TimeoutError, LookupError)), "timeout")
        self.assertEqual(self._reported(TimeoutError(), timeout_on=None), "failure")

    def some_exceptions_are_failures_others_ignored(self):
        self.assertEqual(self._reported(OSError(), failure_on=OSError), "failure")
        self.assertEqual(self._reported(ConnectionError(), failure_on=(OSError, EOFError)), "failure")
        self.assertEqual(self._reported(ValueError(), failure_on=(OSError, EOFError)), "ignored")
        self.assertEqual(self._reported(ValueError(), ignore=ValueError), "ignored")
        self.assertEqual(self._reported(LookupError(), success_on=LookupError), "success")
        self.assertEqual(self._reported(KeyError(), ignore=KeyError, success_on=LookupError), "ignored")
        self.assertEqual(self._reported(ValueError(), failure_on=()), "ignored")

    def a_predicate_decides(self):
        def is_server_error(error):
            return error.args[0] >= 500
        self.assertEqual(self._reported(support.Upstream(503), failure_on=is_server_error), "failure")
        self.assertEqual(self._reported(support.Upstream(404), failure_on=is_server_error), "ignored")
        self.assertEqual(self._reported(support.Upstream(404), success_on=lambda error: error.args[0] == 404), "success")

    def a_predicate_that_fails_says_no_and_is_told(self):
        told = []
        hook, sys.unraisablehook = sys.unraisablehook, lambda what: told.append(what.exc_type)
        try:
            self.assertEqual(self._reported(support.Upstream(), ignore=lambda error: error.no_such), "failure")
        finally:
            sys.unraisablehook = hook
        self.assertEqual(told, [AttributeError])

    def _retry_after(self, raised, **options):
        breaker = self.client.circuit_breaker(self.name(), failure_threshold=1000, **options)
        with self.assertRaises(type(raised)), breaker:
            raise raised
        return breaker.get_state()["retry_after_ms"]

    def a_failure_may_tell_for_how_long_to_open(self):
        self.assertAlmostEqual(self._retry_after(TooManyRequests(7.5), open_for="retry_after"), 7500, delta=200)

    def a_function_may_tell_it(self):
        self.assertAlmostEqual(self._retry_after(support.Upstream({"Retry-After": "9"}),
                                                 open_for=lambda error: float(error.args[0]["Retry-After"])), 9000, delta=200)

    def what_is_no_time_opens_nothing(self):
        for retry_after in (None, "soon", -1, float("nan")):
            self.assertEqual(self._retry_after(TooManyRequests(retry_after), open_for="retry_after"), 0)
        self.assertEqual(self._retry_after(support.Upstream(), open_for="retry_after"), 0)

    def not_asked_for_it_is_not_looked_at(self):
        self.assertEqual(self._retry_after(TooManyRequests(7)), 0)

    def a_permit_may_open_it(self):
        breaker = self.client.circuit_breaker(self.name())
        breaker.begin().report("failure", open_for=4)
        self.assertAlmostEqual(breaker.get_state()["retry_after_ms"], 4000, delta=200)

    def the_broker_is_told_what_failed_but_not_what_it_said(self):
        self._reported(support.Upstream("password=secret"))
        self.assertEqual(self.client.get_all_states()[self.name()]["last_error_text"], "Upstream")
        self._reported(support.Upstream("status 503"), error_text=str)
        self.assertEqual(self.client.get_all_states()[self.name()]["last_error_text"], "status 503")
