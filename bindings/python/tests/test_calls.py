"""call(), decorator, context managers, permits: what passes through, what is refused, what is counted."""
import gc
import pickle
import sys
import threading
import time
import weakref

import cbm
import support


class Calls(support.BrokerTest):
    def setUp(self):
        self.client = self.open()

    def _statistics(self, name):
        return self.client.get_all_states()[name]["statistics"]

    def _open_circuit(self, **policy):
        name = self.name()
        self.client.get(name, failure_threshold=1, **policy)
        support.fail_times(self.client, name, 1)
        return name

    def a_call_returns_what_the_function_returns(self):
        result = object()
        self.assertIs(self.client.call(self.name(), lambda: result), result)
        self.assertEqual(self.client.call(self.name(), lambda *a, **k: (a, k), None, 1, x=2), ((1,), {"x": 2}))

    def a_call_needs_a_name_and_a_function_once_each(self):
        for arguments, named in (((), {}), (("x",), {}), ((), {"func": len}), (("x", len), {"name": "y"}),
                                 (("x", len, None), {"correlation_id": "y"}), ((1, len), {}), (([], len), {}),
                                 (("x", len, 7), {})):
            with self.assertRaises(TypeError, msg=(arguments, named)):
                self.client.call(*arguments, **named)

    def names_and_correlation_ids_that_are_none_are_refused(self):
        for name in ("", "x" * 129, "a\nb", "a\0b", "\ud800"):
            with self.assertRaises(ValueError, msg=repr(name)):
                self.client.call(name, self.fail)
        with self.assertRaises(ValueError):
            self.client.call("x", self.fail, "a\0b")

    def the_call_of_what_is_no_function_is_a_failure_like_any_other(self):
        with self.assertRaises(TypeError):
            self.client.call(self.name(), 7)
        self.assertEqual(self._statistics(self.name())["failed_calls"], 1)

    def an_exception_passes_through_as_it_is(self):
        error = support.Upstream("x")

        def function():
            raise error
        try:
            self.client.call(self.name(), function)
        except support.Upstream as caught:
            self.assertIs(caught, error)
            self.assertEqual(caught.__traceback__.tb_next.tb_frame.f_code.co_name, "function")
            self.assertIsNone(caught.__context__)

    def an_open_circuit_refuses_and_tells_when_to_try_again(self):
        name = self._open_circuit(timeout=30)
        with self.assertRaises(cbm.CircuitOpenError) as caught:
            self.client.call(name, self.fail)
        # By a clock that is cheap to read, which may be some milliseconds late.
        self.assertAlmostEqual(caught.exception.retry_after, 30, delta=0.5)
        self.assertEqual((caught.exception.name, caught.exception.error), (name, "open"))
        self.assertIn("open; try again in", str(caught.exception))
        self.assertEqual(self._statistics(name)["rejected_calls"], 1)

    def all_clients_share_a_breaker(self):
        name = self._open_circuit()
        with self.assertRaises(cbm.CircuitOpenError):
            self.open(shared_memory=False).call(name, self.fail)

    def the_first_call_after_the_timeout_is_the_probe(self):
        name = self._open_circuit(timeout=0.05)
        breaker = self.client.get(name)
        permit = support.wait_until(lambda: self._begin_or_none(breaker))
        self.assertTrue(permit.probe)
        with self.assertRaises(cbm.CircuitHalfOpenError):
            self.client.call(name, self.fail)
        self.assertIs(breaker.state, cbm.CircuitState.HALF_OPEN)
        permit.report(cbm.Outcome.SUCCESS)
        self.assertIs(breaker.state, cbm.CircuitState.CLOSED)

    def _begin_or_none(self, breaker):
        try:
            return breaker.begin()
        except cbm.CircuitOpenError:
            return None

    def a_forgotten_probe_is_given_back(self):
        name = self._open_circuit(timeout=0.05)
        breaker = self.client.get(name)
        permit = support.wait_until(lambda: self._begin_or_none(breaker))
        self.assertEqual(breaker.get_state()["permits_out"], 1)
        del permit
        self.assertEqual(breaker.get_state()["permits_out"], 0)
        self.assertTrue(breaker.begin().probe)

    def a_circuit_opened_by_hand_refuses_until_it_is_enabled(self):
        breaker = self.client.get(self.name())
        breaker.force_open("maintenance")
        with self.assertRaises(cbm.CircuitForcedOpenError) as caught:
            breaker.call(self.fail)
        self.assertIsNone(caught.exception.retry_after)
        self.assertEqual((breaker.state.value, breaker.get_state()["reason"]), ("FORCED_OPEN", "maintenance"))
        breaker.enable()
        self.assertEqual(breaker.call(lambda: 1), 1)
        breaker.disable(for_seconds=60)
        self.assertIs(breaker.state, cbm.CircuitState.DISABLED)
        breaker.metrics_only()
        self.assertIs(breaker.state, cbm.CircuitState.METRICS_ONLY)

    def the_function_of_a_coroutine_is_not_taken_for_a_success(self):
        async def function():
            raise AssertionError("not awaited")
        with self.assertRaisesRegex(TypeError, "call_async"):
            self.client.call(self.name(), function)
        self.assertEqual(self._statistics(self.name())["successful_calls"], 0)

    def calls_within_calls(self):
        outer, inner = self.name("_outer"), self.name("_inner")
        self.assertEqual(self.client.call(outer, self.client.call, None, inner, lambda: 7), 7)
        self.assertEqual((self._statistics(outer)["successful_calls"], self._statistics(inner)["successful_calls"]), (1, 1))

    def a_function_may_drop_the_breaker_that_protects_it(self):
        breakers = [self.client.circuit_breaker(self.name())]

        def function():
            breakers.clear()
            gc.collect()
            return 1
        self.assertEqual(breakers[0].call(function), 1)

    def a_correlation_id_reaches_the_log(self):
        name = self.name()
        self.client.get(name, failure_threshold=1)
        with self.assertRaises(support.Upstream):
            self.client.call(name, support.fail, "request 4711")
        support.wait_until(lambda: "request 4711" in self.broker.log())

    def durations_are_measured_when_asked(self):
        timed, untimed = self.client.circuit_breaker(self.name("_timed"), timed=True), self.client.get(self.name())
        timed.call(time.sleep, 0.02)
        self.assertGreaterEqual(self._statistics(timed.name)["p50_ms"], 15)
        with untimed.begin() as permit:
            permit.report("success", duration=0.25)
        self.assertAlmostEqual(self._statistics(untimed.name)["p50_ms"], 250, delta=30)


class Decorated(support.BrokerTest):
    def setUp(self):
        self.client = self.open()
        self.breaker = self.client.circuit_breaker(self.name(), failure_threshold=2)

    def _calls(self, breaker=None):
        statistics = (breaker or self.breaker).get_state()["statistics"]
        return statistics["successful_calls"], statistics["failed_calls"], statistics["ignored_calls"]

    def decorating_asks_nobody(self):
        @self.breaker
        def function():
            return 1
        self.assertNotIn(self.name(), self.client.get_all_states())
        self.assertIs(self.breaker.state, cbm.CircuitState.CLOSED)
        self.assertEqual(self.breaker.failures, 0)
        with self.assertRaises(cbm.NotFoundError):
            self.breaker.get_state()
        function()
        self.assertEqual(self.breaker.get_state()["threshold"], 2)

    def a_function(self):
        @self.breaker
        def function(number, *, factor=1):
            """Multiplies."""
            return number * factor
        self.assertEqual(function(3, factor=2), 6)
        self.assertEqual((function.__name__, function.__doc__), ("function", "Multiplies."))
        for _ in range(2):
            with self.assertRaises(TypeError):
                function()
        with self.assertRaises(cbm.CircuitOpenError):
            function(1)
        self.assertEqual(self._calls(), (1, 2, 0))

    def a_method(self):
        breaker = self.breaker

        class Api:
            @breaker
            def me(self):
                return self

            @staticmethod
            @breaker
            def static():
                return 1
        api = Api()
        self.assertIs(api.me(), api)
        self.assertEqual(Api.static(), 1)

    def a_generator(self):
        @self.breaker
        def numbers():
            received = yield 1
            yield received
            return 3
        generator = numbers()
        self.assertEqual((next(generator), generator.send(2)), (1, 2))
        with self.assertRaises(StopIteration) as caught:
            next(generator)
        self.assertEqual(caught.exception.value, 3)
        generator = numbers()
        next(generator)
        generator.close()  # says nothing about the other side
        self.assertEqual(self._calls(), (1, 0, 1))

    def the_name_of_the_function_is_the_name_of_the_breaker(self):
        @self.client.circuit_breaker(failure_threshold=3)
        def function():
            return 1
        function()
        name = f"{__name__}.Decorated.the_name_of_the_function_is_the_name_of_the_breaker.<locals>.function"
        self.assertEqual(self.client.get_all_states()[name]["threshold"], 3)

    def the_decorator_of_the_process_s_manager(self):
        @cbm.circuit_breaker
        def bare():
            return 1

        @cbm.circuit_breaker("with a name", timeout=5)
        def named():
            return 2
        self.assertEqual((bare(), named()), (1, 2))
        self.assertEqual(cbm.get_circuit_breaker_manager().states("with a *")["with a name"]["timeout"], 5)

    def a_block(self):
        with self.breaker as permit:
            self.assertFalse(permit.probe or permit.unprotected or permit.reported)
        self.assertTrue(permit.reported)
        for _ in range(2):
            with self.assertRaises(support.Upstream), self.breaker:
                support.fail()
        with self.assertRaises(cbm.CircuitOpenError), self.breaker:
            self.fail("it is open")
        self.assertEqual(self._calls(), (1, 2, 0))

    def blocks_within_blocks(self):
        other = self.client.circuit_breaker(self.name("_other"))
        with self.breaker as outer, other as middle, self.breaker as inner:
            self.assertIsNot(outer, inner)
        self.assertTrue(outer.reported and middle.reported and inner.reported)
        self.assertEqual((self._calls(), self._calls(other)), ((2, 0, 0), (1, 0, 0)))

    def blocks_of_generators_that_take_turns(self):
        other = self.client.circuit_breaker(self.name("_other"))

        def block(breaker):
            with breaker as permit:
                yield permit
        first, second, third = block(self.breaker), block(other), block(self.breaker)
        permits = [next(generator) for generator in (first, second, third)]
        self.assertEqual([next(generator, None) for generator in (first, third, second)], [None] * 3)
        self.assertTrue(all(permit.reported for permit in permits))
        self.assertEqual((self._calls(), self._calls(other)), ((2, 0, 0), (1, 0, 0)))

    def a_block_that_reports_for_itself_is_not_reported_again(self):
        with self.breaker as permit:
            permit.report("failure", error_text="the answer was empty")
        self.assertEqual(self._calls(), (0, 1, 0))
        self.assertEqual(self.breaker.get_state()["last_error_text"], "the answer was empty")

    def a_permit_is_reported_once(self):
        permit = self.breaker.begin("an id")
        permit.report(cbm.Outcome.IGNORED)
        with self.assertRaises(ValueError):
            permit.report()
        for word in ("bad", None, 1):
            with self.assertRaises(ValueError):
                self.breaker.begin().report(word)

    def a_permit_comes_from_a_breaker_alone(self):
        with self.assertRaises(TypeError):
            cbm.Permit()

    def a_permit_may_be_reported_by_another_thread(self):
        permit = self.breaker.begin()
        thread = threading.Thread(target=permit.report, args=("failure",))
        thread.start()
        thread.join()
        self.assertEqual(self._calls(), (0, 1, 0))

    def an_outcome_seen_elsewhere(self):
        self.breaker.report("failure", error_text="the nightly job", duration=1.5)
        self.breaker.report(cbm.Outcome.FAILURE)
        self.assertIs(self.breaker.state, cbm.CircuitState.OPEN)


class Objects(support.BrokerTest):
    """What Python takes for granted: memory, subclasses, pickling."""

    def a_client_that_nobody_holds_goes_with_its_breakers(self):
        client = cbm.open(self.broker.address)
        breaker = weakref.ref(client.get("a"))
        client.call("b", lambda: 1)
        del client
        gc.collect()
        self.assertIsNone(breaker())

    def calls_keep_nothing(self):
        client = self.open()
        function, error = (lambda *args, **kwargs: None), support.Upstream("x")

        def raises():
            raise error
        name = "x" * 50
        client.get(name, failure_threshold=1000000)

        def do(times):
            for _ in range(times):
                client.call(name, function, None, name, a=name)
                try:
                    client.call(name, raises)
                except support.Upstream:
                    error.__traceback__ = None
                with client.get(name):
                    pass
                client.get_all_states()
        do(20)
        before = [sys.getrefcount(thing) for thing in (function, error, name, client, None)]
        do(200)
        after = [sys.getrefcount(thing) for thing in (function, error, name, client, None)]
        for had, has in zip(before, after):
            self.assertLess(abs(has - had), 100)  # one kept at each turn would be 200

    def errors_survive_pickling(self):
        error = pickle.loads(pickle.dumps(cbm.CircuitOpenError(1.5, name="x")))
        self.assertEqual((type(error), error.retry_after, error.name), (cbm.CircuitOpenError, 1.5, "x"))
        error = pickle.loads(pickle.dumps(cbm.NotFoundError("no such", name="y")))
        self.assertEqual((type(error), str(error), error.name), (cbm.NotFoundError, "no such", "y"))

    def a_manager_of_one_s_own_class(self):
        class Breaker(cbm.CircuitBreaker):
            pass

        class Manager(cbm.CircuitBreakerCore):
            def _new_breaker(self, name):
                return Breaker(self, name)
        with Manager(self.broker.address) as manager:
            self.assertIsInstance(manager.get("x"), Breaker)
            self.assertEqual(manager.call("x", lambda: 1), 1)
        self.assertTrue(manager.closed)

    def what_is_half_made_is_refused(self):
        client = cbm.CircuitBreakerCore.__new__(cbm.CircuitBreakerCore)
        breaker = cbm.CircuitBreaker.__new__(cbm.CircuitBreaker)
        for function in (lambda: client.call("x", self.fail), lambda: client.get("x"), client.get_all_states,
                         lambda: client.address, lambda: breaker.call(self.fail), breaker.begin, lambda: breaker.report("failure"),
                         client._check_rate_limit):
            with self.assertRaises((ValueError, TypeError)):
                function()
        self.assertTrue(client.closed)


class Closing(support.BrokerTest):
    def a_closed_client_refuses(self):
        with cbm.open(self.broker.address) as client:
            breaker = client.get(self.name())
            permit = breaker.begin()
        client.close()
        for function in (lambda: client.call("x", self.fail), client.get_stats, breaker.begin, permit.report,
                         lambda: client.connected, breaker.reset, lambda: breaker.report("failure")):
            with self.assertRaisesRegex(ValueError, "closed"):
                function()

    def a_call_under_way_outlives_its_client(self):
        client = cbm.open(self.broker.address)
        self.assertEqual(client.call(self.name(), lambda: client.close() or 7), 7)
        with self.assertRaises(support.Upstream):
            other = cbm.open(self.broker.address)
            other.call(self.name(), lambda: other.close() or support.fail())

    def a_client_knows_nothing_of_one_that_was_closed_before(self):
        broker = support.Broker()
        with cbm.open(broker.address) as client:
            client.call("x", lambda: 1)
        broker.free()
        client = self.open()
        self.assertTrue(client.connected)
        self.assertNotIn("x", client.get_all_states())

    def it_waits_for_those_who_wait_for_the_broker(self):
        client = cbm.open(self.broker.address, call_timeout_ms=500, shared_memory=False)
        breaker = client.get(self.name())
        self.broker.pause()
        self.addCleanup(self.broker.go_on)
        thread = threading.Thread(target=breaker.call, args=(lambda: 1,))
        thread.start()
        time.sleep(0.05)
        client.close()
        thread.join(support.DEADLINE_S)
        self.assertFalse(thread.is_alive())
        self.assertTrue(client.closed)

    def the_manager_of_the_process_is_not_closed(self):
        with self.assertRaises(ValueError):
            cbm.get_circuit_breaker_manager().close()


class Options(support.BrokerTest):
    def policies_by_keyword(self):
        client = self.open()
        breaker = client.get("p", rule="count_window", window_size=20, minimum_calls=10, failure_rate=33.3, jitter=0,
                             timeout_ms=1500, permit_lease_ms=0, expire_after_s=0, on_abandon="release")
        policy = breaker.get_state()["policy"]
        self.assertEqual((policy["rule"], policy["window_size"], policy["failure_rate"], policy["timeout_ms"]),
                         ("count_window", 20, 33.3, 1500))
        self.assertEqual((policy["permit_lease_ms"], policy["expire_after_s"], policy["on_abandon"]), (0, 0, "release"))
        self.assertEqual(breaker.get_state()["timeout"], 1.5)
        breaker.configure(failure_rate=50, window_size=30)
        self.assertEqual(breaker.get_state()["policy"]["window_size"], 30)

    def policies_that_are_not_valid(self):
        client = self.open()
        for policy in ({"failure_threshold": 0}, {"failure_threshold": -1}, {"failure_threshold": 10**30}, {"timeout": 0},
                       {"timeout": -1}, {"timeout": float("nan")}, {"failure_rate": 0}, {"failure_rate": 101},
                       {"failure_rate": float("inf")}, {"rule": "bad"}, {"rule": 1}, {"rule": "failures"}, {"timeout_ms": 2**32},
                       {"window_size": 2**32 - 1}):
            with self.assertRaises(ValueError, msg=policy):
                client.get("bad", **policy)
            with self.assertRaises(ValueError, msg=policy):
                client.circuit_breaker("bad", **policy).call(lambda: self.fail("called"))
        for policy in ({"failure_threshold": 1.5}, {"failure_threshold": "3"}, {"no_such_field": 1}, {"timeout": "30"},
                       {"failure_rate": "50"}, {"timeout": 1, "timeout_ms": 1000}):
            with self.assertRaises(TypeError, msg=policy):
                client.get("bad", **policy)

    def options_that_are_not_valid(self):
        for options in ({"when_away": "no such"}, {"call_timeout_ms": 0}, {"timeout_ms": -1}):
            with self.assertRaises(ValueError, msg=options):
                cbm.open("local:", **options)
        with self.assertRaises(cbm.AddressError):
            cbm.open("tcp://127.0.0.1:80")
        with self.assertRaises(OverflowError):
            cbm.open("local:", timeout_ms=2**32)
        with self.assertRaises(TypeError):
            cbm.open(7)

    def a_mistake_in_the_mapping_shows_at_once(self):
        client = self.open()
        for which in ("ValueError", 7, int, (ValueError, 7)):
            with self.assertRaises(TypeError, msg=repr(which)):
                client.circuit_breaker("x", ignore=which)

    def names_that_look_like_patterns(self):
        client = self.open()
        for name in ("a*", "a?", "a[b]", "a\\b", "ab", "ac", "ünï"):
            client.get(name)
        for name in ("a*", "a?", "a[b]", "a\\b", "ünï"):
            self.assertEqual(client.get(name).get_state()["name"], name)
        self.assertEqual(set(client.states("a[bc]")), {"ab", "ac"})
        self.assertEqual(client.remove("a[bc]"), 2)

    def the_rest_of_the_client(self):
        client = self.open()
        client.ping()
        self.assertTrue(client.connected)
        self.assertEqual(client.address, self.broker.address)
        self.assertIn('"pong"', client.command("ping"))
        self.assertIn('"unknown_op"', client.command("nonsense"))
        with self.assertRaises(cbm.UnsupportedError):
            cbm.open("local:").ping()
        with self.assertRaises(cbm.NotFoundError):
            client.circuit_breaker("nobody knows it").reset()
        self.assertIn(client.address, repr(client))
