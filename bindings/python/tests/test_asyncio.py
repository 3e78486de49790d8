"""asyncio: what must wait for the broker does not stop the loop, and a cancelled task leaves nothing behind."""
import asyncio
import time
import unittest

import cbm
import support


async def ticks_during(awaitable):
    """(the result or exception, how long it took, the longest time in which the loop did nothing else)."""
    longest, last, begun = 0.0, time.monotonic(), time.monotonic()
    task = asyncio.ensure_future(awaitable)
    while not task.done():
        await asyncio.sleep(0.002)
        longest, last = max(longest, time.monotonic() - last), time.monotonic()
    result = task.exception() or task.result()
    return result, time.monotonic() - begun, longest


class Asyncio(support.BrokerTest):
    def setUp(self):
        self.client = self.open()
        self.breaker = self.client.circuit_breaker(self.name(), failure_threshold=2)

    def _calls(self, breaker=None):
        statistics = (breaker or self.breaker).get_state()["statistics"]
        return statistics["successful_calls"], statistics["failed_calls"], statistics["ignored_calls"]

    def a_decorated_coroutine(self):
        @self.breaker
        async def function(number):
            """Fails below zero."""
            await asyncio.sleep(0)
            if number < 0:
                raise support.Upstream()
            return number
        self.assertTrue(asyncio.iscoroutinefunction(function))
        self.assertEqual(function.__doc__, "Fails below zero.")

        async def main():
            self.assertEqual(await function(1), 1)
            for _ in range(2):
                with self.assertRaises(support.Upstream):
                    await function(-1)
            with self.assertRaises(cbm.CircuitOpenError):
                await function(1)
        asyncio.run(main())
        self.assertEqual(self._calls(), (1, 2, 0))

    def call_async(self):
        async def function(*args, **kwargs):
            return args, kwargs

        async def main():
            self.assertEqual(await self.client.call_async(self.name(), function, None, 1, two=2), ((1,), {"two": 2}))
            self.assertEqual(await self.client.call_async(name=self.name(), func=function), ((), {}))
            self.assertEqual(await self.breaker.call_async(function, 1, two=2), ((1,), {"two": 2}))
        asyncio.run(main())
        self.assertEqual(self._calls(), (3, 0, 0))

    def a_block(self):
        async def main():
            async with self.breaker as permit:
                self.assertFalse(permit.reported)
            self.assertTrue(permit.reported)
            for _ in range(2):
                with self.assertRaises(support.Upstream):
                    async with self.breaker:
                        support.fail()
            with self.assertRaises(cbm.CircuitOpenError):
                async with self.breaker:
                    self.fail("it is open")
        asyncio.run(main())
        self.assertEqual(self._calls(), (1, 2, 0))

    def blocks_of_many_tasks_do_not_mix(self):
        permits = []

        async def block(number):
            await asyncio.sleep(0)
            async with self.breaker as permit:
                await asyncio.sleep(0.001 * (7 * number % 5))
                permits.append((permit, permit.reported))
            self.assertTrue(permit.reported)

        async def main():
            await asyncio.gather(*(block(number) for number in range(50)))
        asyncio.run(main())
        self.assertEqual([reported for _, reported in permits], [False] * 50)
        self.assertEqual(self._calls(), (50, 0, 0))

    def an_asynchronous_generator(self):
        @self.breaker
        async def numbers(count):
            for number in range(count):
                yield number
            if count == 0:
                raise support.Upstream()

        async def main():
            self.assertEqual([number async for number in numbers(3)], [0, 1, 2])
            with self.assertRaises(support.Upstream):
                async for _ in numbers(0):
                    pass
            generator = numbers(3)
            await generator.__anext__()
            await generator.aclose()
        asyncio.run(main())
        self.assertEqual(self._calls(), (1, 1, 1))

    def a_cancelled_call_is_ignored_and_a_timeout_within_is_a_timeout(self):
        async def main():
            with self.assertRaises(asyncio.TimeoutError):
                await asyncio.wait_for(self.breaker.call_async(asyncio.sleep, 60), 0.02)
            with self.assertRaises(asyncio.TimeoutError):
                async with self.breaker:
                    await asyncio.wait_for(asyncio.sleep(60), 0.02)
        asyncio.run(main())
        self.assertEqual(self._calls(), (0, 1, 1))
        self.assertEqual(self.breaker.get_state()["statistics"]["timeout_calls"], 1)

    def a_probe_taken_for_a_cancelled_task_is_given_back(self):
        """Cancelled while the begin waits for the broker, which then gives a permit that nobody waits for any more."""
        client = self.open(call_timeout_ms=10000, shared_memory=False)
        breaker = client.get(self.name(), failure_threshold=1, timeout=0.05, permit_lease_ms=60000)
        support.fail_times(client, breaker.name, 1)
        support.wait_until(lambda: breaker.get_state()["due"])

        async def main():
            self.broker.pause()
            try:
                task = asyncio.ensure_future(breaker.call_async(asyncio.sleep, 0))
                await asyncio.sleep(0.05)
                task.cancel()
                with self.assertRaises(asyncio.CancelledError):
                    await task
            finally:
                self.broker.go_on()
        asyncio.run(main())  # ends when the threads of its executor have
        support.wait_until(lambda: breaker.get_state()["permits_out"] == 0)
        self.assertEqual(breaker.get_state()["state"], "HALF_OPEN")

    def a_hung_broker_does_not_stop_the_loop(self):
        client = self.open(call_timeout_ms=400, shared_memory=False)
        breaker = client.get(self.name())
        self.broker.pause()
        self.addCleanup(self.broker.go_on)
        result, took, longest = asyncio.run(ticks_during(breaker.call_async(asyncio.sleep, 0, "done")))
        self.assertEqual(result, "done")
        self.assertGreaterEqual(took, 0.35)
        self.assertLess(longest, 0.2)

    def what_needs_no_message_stays_in_the_thread_of_the_loop(self):
        client = cbm.open("local:")
        self.addCleanup(client.close)
        self._stays_in_the_thread_of_the_loop(client)

    def nor_does_what_is_answered_by_shared_memory_leave_it(self):
        self.client.call(self.name(), lambda: 1)
        self._stays_in_the_thread_of_the_loop(self.client)
        self.client.get(self.name("_open"), failure_threshold=1)
        support.fail_times(self.client, self.name("_open"), 1)

        async def main():
            asyncio.get_running_loop().run_in_executor = lambda *_: self.fail("given to another thread")
            with self.assertRaises(cbm.CircuitOpenError):
                await self.client.call_async(self.name("_open"), asyncio.sleep, None, 0)
        asyncio.run(main())

    def _stays_in_the_thread_of_the_loop(self, client):
        async def main():
            loop = asyncio.get_running_loop()
            loop.run_in_executor = lambda *_: self.fail("given to another thread")
            await client.call_async(self.name(), asyncio.sleep, None, 0)
            async with client.get(self.name()):
                pass
        asyncio.run(main())


class Closed(unittest.TestCase):
    def the_client_may_be_closed_within_a_call(self):
        client = cbm.open("local:")

        async def function():
            client.close()
            return 1
        self.assertEqual(asyncio.run(client.call_async("x", function)), 1)
        with self.assertRaises(ValueError):
            asyncio.run(client.call_async("x", function))
