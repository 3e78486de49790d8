"""The specification's examples, run as they stand there but for the module that they import from.

spec_examples.md has all its code blocks. Where the specification itself lies in a folder beside the checkout, it must say the same.
"""
import ast
import collections
import contextlib
import glob
import inspect
import io
import os
import re
import subprocess
import sys
import types
import typing
import unittest

import cbm
import support

BLOCKS = os.path.join(support.HERE, "spec_examples.md")
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(support.HERE)))
IMPORT = re.compile(r"^from circuit_breaker\.circuit_breaker_manager import ", re.M)


def code_blocks(path):
    """(heading, label, code) of all blocks of a Markdown file. label: "Example", or "" for none."""
    blocks, heading, label, code = [], "", "", None
    with open(path, encoding="utf-8") as file:
        for line in file.read().split("\n"):
            line = line.rstrip()
            if code is not None and line == "```":
                blocks.append((heading, label, "\n".join(code) + "\n"))
                code, label = None, ""
            elif code is not None:
                code.append(line)
            elif line == "```python":
                code = []
            elif line.startswith("#"):
                heading, label = line.lstrip("# "), ""
            elif re.fullmatch(r"\*\*[\w ]+:\*\*", line):
                label = line.strip("*:")
    return blocks


def of(heading, label=""):
    """The one block with that heading and label."""
    found = [code for block_heading, block_label, code in code_blocks(BLOCKS)
             if block_heading.startswith(heading) and block_label == label]
    if len(found) != 1:
        raise AssertionError(f"{heading}, {label}: {len(found)} blocks")
    return found[0]


class HaClient:
    def get_state(self, entity):
        return f"{entity} is on"


def run(code, **names):
    """(what it printed, its names) of an example. What the specification takes for granted is given."""
    names.setdefault("get_circuit_breaker_manager", cbm.get_circuit_breaker_manager)
    names.setdefault("ha_client", HaClient())
    names.setdefault("my_function", lambda: "my result")
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(IMPORT.sub("from cbm import ", code), "example", "exec"), names)
    return printed.getvalue(), names


class Text(unittest.TestCase):
    def all_blocks_of_the_specification_are_here(self):
        paths = [os.environ["CBM_SPEC"]] if "CBM_SPEC" in os.environ else glob.glob(
            os.path.join(ROOT, os.pardir, "*", "spec", "circuit_breaker_manager.md"))
        if not paths:
            self.skipTest("the specification does not lie beside this tree, nor does $CBM_SPEC tell where")
        self.assertEqual(code_blocks(BLOCKS), code_blocks(paths[0]))

    def every_block_is_tried_by_a_test(self):
        with open(__file__, encoding="utf-8") as file:
            source = ast.parse(file.read())
        tried = {tuple(argument.value for argument in node.args) for node in ast.walk(source)
                 if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "of"
                 and all(isinstance(argument, ast.Constant) for argument in node.args)}
        for heading, label, _ in code_blocks(BLOCKS):
            if label != "Signature":  # those are all compared by one test
                self.assertTrue(any(heading.startswith(asked[0]) and label == (asked[1:] or ("",))[0] for asked in tried),
                                f"{heading}: {label}")


class Examples(unittest.TestCase):
    """With the manager of this process: the broker's, or `local:` when $CBM_ADDRESS says so."""

    @classmethod
    def setUpClass(cls):
        if os.environ["CBM_ADDRESS"] == "local:":
            return
        cls.broker = support.Broker()
        cls.addClassCleanup(cls.broker.free)
        # The manager of a process is opened once: so each run of this class is the first and only one of its process.
        os.environ["CBM_ADDRESS"] = cls.broker.address

    def setUp(self):
        # The example of reset() is tried more than once, which the rate limit lets pass.
        self.manager = cbm.get_circuit_breaker_manager()
        self.assertTrue(self.manager.reset())

    def get(self):
        printed, names = run(of("get()", "Example"))
        self.assertEqual(printed, "Breaker state: CLOSED\n")
        state = names["breaker"].get_state()
        self.assertEqual((state["threshold"], state["timeout"]), (3, 30))
        self.assertIs(names["manager"].get("ha_api"), names["breaker"])

    def get_has_the_defaults_of_the_specification(self):
        state = self.manager.get("never got before").get_state()
        self.assertEqual((state["threshold"], state["timeout"]), (5, 60))

    def get_of_one_that_exists_changes_nothing(self):
        self.manager.get("ha_api", 3, 30, "a correlation id")
        self.assertEqual(self.manager.get("ha_api", 7).get_state()["threshold"], 3)

    def call(self):
        _, names = run(of("call()", "Example"))
        self.assertEqual(names["result"], "light.living_room is on")
        self.assertEqual(self.manager.get_all_states()["ha_api"]["statistics"]["successful_calls"], 1)

    def call_is_one_operation(self):
        before = self.manager.get_stats()["data"]["total_operations"]
        run(of("call()", "Example"))
        self.assertEqual(self.manager.get_stats()["data"]["total_operations"], before + 1)

    def call_hands_arguments_on(self):
        result = self.manager.call("ha_api", lambda *args, **kwargs: (args, kwargs), "an id", 1, 2, three=3)
        self.assertEqual(result, ((1, 2), {"three": 3}))
        result = self.manager.call(correlation_id=None, func=lambda **kwargs: kwargs, name="ha_api", three=3)
        self.assertEqual(result, {"three": 3})

    def call_raises_what_the_function_raises_until_the_circuit_is_open(self):
        for _ in range(5):
            with self.assertRaises(support.Upstream):
                self.manager.call("fails", support.fail)
        with self.assertRaises(Exception) as caught:
            self.manager.call("fails", support.fail)
        self.assertIsInstance(caught.exception, cbm.CircuitOpenError)

    def inside_of_call(self):
        """The debug timing of the manager's own call(), which hands the breaker its limiter and the correlation id."""
        @contextlib.contextmanager
        def debug_timing(correlation_id, module, what):
            timed.append((correlation_id, module, what))
            yield
        timed = []
        code = "def inner_call(self, name, func, correlation_id=None, *args, **kwargs):\n" + "".join(
            f"    {line}\n" for line in of("call()", "Debug Timing").splitlines())
        _, names = run(code, debug_timing=debug_timing)
        self.assertEqual(names["inner_call"](self.manager, "ha_api", lambda *args, **kwargs: (args, kwargs), "id", 1, two=2),
                         ((1,), {"two": 2}))
        self.assertEqual(timed, [("id", "CIRCUIT_BREAKER", "manager.call:ha_api")])

    def get_all_states(self):
        self.manager.get("ha_api", failure_threshold=3)
        support.fail_times(self.manager, "ha_api", 2)
        printed, _ = run(of("get_all_states()", "Example"))
        self.assertEqual(printed, "ha_api:\n  State: CLOSED\n  Failures: 2/3\n  Calls: 2\n")

    def reset_all(self):
        breaker = self.manager.get("ha_api", failure_threshold=5)
        support.fail_times(self.manager, "ha_api", 5)
        self.assertEqual(breaker.state.value, "OPEN")
        printed, _ = run(of("reset_all()", "Example"))
        self.assertEqual(printed, "All breakers reset to CLOSED state\n")
        state = self.manager.get_all_states()["ha_api"]
        self.assertEqual((state["state"], state["failures"], state["statistics"]["total_calls"]), ("CLOSED", 0, 5))
        self.assertIsNone(self.manager.reset_all())

    def get_stats(self):
        self.manager.get("ha_api")
        printed, _ = run(of("get_stats()", "Example"))
        self.assertEqual(printed, "Total operations: 1\nActive breakers: 1\nRate limited: 0\nRate utilization: 1/1000\n")

    def get_stats_has_the_structure_shown(self):
        for name in ("ha_api", "alexa_api"):
            self.manager.get(name)
        shown = ast.literal_eval(of("get_stats()", "Response Structure").replace("{...}", "{}").replace(",\n            ...", ""))
        stats = self.manager.get_stats()
        self._same_structure(shown, stats)
        self.assertEqual((stats["success"], stats["message"]), (True, "Circuit breaker statistics"))

    def _same_structure(self, shown, found):
        """All keys shown are there, with values of the same types; more may be beside them."""
        for key, value in shown.items():
            self.assertIn(key, found)
            self.assertIs(type(found[key]), type(value), key)
            if isinstance(value, dict):
                self._same_structure(value, found[key])
            elif key.startswith(("max_", "rate_limit_window")):
                self.assertEqual(found[key], value, key)

    def reset(self):
        self.manager.get("ha_api")
        printed, names = run(of("reset()", "Example"))
        self.assertEqual(printed, "Manager reset successful\nAll breakers removed\nAll counters reset\n")
        self.assertIs(names["success"], True)
        stats = self.manager.get_stats()["data"]
        self.assertEqual((stats["breakers_count"], stats["total_operations"], stats["rate_limited_count"]), (0, 0, 0))

    def a_new_manager_is_as_the_specification_initialises_one(self):
        code = "\n".join(["def init(self):"] + of("CircuitBreakerCore", "Initialization").splitlines()[1:])
        _, names = run(code, Dict=typing.Dict, CircuitBreaker=cbm.CircuitBreaker, deque=collections.deque)
        specified = types.SimpleNamespace()
        names["init"](specified)
        self.manager.reset()
        stats = self.manager.get_stats()["data"]
        self.assertEqual(stats["breakers"], specified._breakers)
        # The reset itself has passed the limiter, and is no operation.
        self.assertLessEqual(stats["current_rate_limit_size"], 1)
        self.assertEqual(stats["max_rate_limit"], specified._rate_limiter.maxlen)
        self.assertEqual(stats["rate_limit_window_ms"], specified._rate_limit_window_ms)
        self.assertEqual(stats["rate_limited_count"], specified._rate_limited_count)
        self.assertEqual(stats["total_operations"], specified._total_operations)

    def check_rate_limit(self):
        run(of("_check_rate_limit()", "Example"), self=self.manager)
        self.assertIs(self.manager._check_rate_limit(), True)

    def the_singleton(self):
        _, names = run(of("get_circuit_breaker_manager()", "Usage"))
        self.assertIs(names["manager"], self.manager)

    def the_singleton_as_the_specification_makes_it(self):
        code = of("get_circuit_breaker_manager()", "Implementation")
        _, names = run(code, CircuitBreakerCore=cbm.CircuitBreakerCore)
        manager = names["get_circuit_breaker_manager"]()
        self.assertIsInstance(manager, cbm.CircuitBreakerCore)
        self.assertIs(names["get_circuit_breaker_manager"](), manager)
        self.assertEqual(manager.call("ha_api", lambda: 1), 1)

    def the_singleton_is_registered_with_the_gateway_that_the_program_has(self):
        registry = {}
        gateway = types.ModuleType("gateway")
        gateway.singleton_get, gateway.singleton_register = registry.get, registry.__setitem__
        sys.modules["gateway"] = gateway
        self.addCleanup(sys.modules.pop, "gateway")
        self.assertIs(cbm.get_circuit_breaker_manager(), self.manager)
        self.assertEqual(registry, {"circuit_breaker_manager": self.manager})
        self.assertIs(cbm.get_circuit_breaker_manager(), self.manager)

    def a_gateway_that_is_something_else_does_no_harm(self):
        sys.modules["gateway"] = types.ModuleType("gateway")
        self.addCleanup(sys.modules.pop, "gateway")
        self.assertIs(cbm.get_circuit_breaker_manager(), self.manager)

    def pattern_1(self):
        _, names = run(of("Pattern 1"))
        self.assertEqual(names["result"], "my result")
        self.assertEqual(names["breaker"].name, "ha_api")

    def pattern_2(self):
        printed, names = run(of("Pattern 2"))
        self.assertEqual((printed, names["utilization"] <= 0.8), ("", True))

    def pattern_3(self):
        self.manager.get("well")
        support.fail_times(self.manager, "ill", 1)
        _, names = run(of("Pattern 3"))
        self.assertEqual(names["dashboard"]["breakers"], {"well": {"state": "CLOSED", "health": "healthy"},
                                                          "ill": {"state": "CLOSED", "health": "degraded"}})
        self.assertEqual(names["dashboard"]["manager"]["operations"], 2)


class Offered(unittest.TestCase):
    def the_exports(self):
        _, names = run(of("EXPORTS"))
        self.assertLessEqual(set(names["__all__"]), set(cbm.__all__))
        for name in cbm.__all__:
            self.assertTrue(hasattr(cbm, name), name)

    def the_signatures(self):
        """Each parameter shown has its name, its place and its kind. Defaults of a policy are the manager's, and tried above."""
        compared = 0
        for heading, label, code in code_blocks(BLOCKS):
            if label != "Signature":
                continue
            names = {"CircuitBreaker": object, "CircuitBreakerCore": object, "Callable": object, "Any": object,
                     "Dict": typing.Dict}
            exec(code.replace("Dict[str, Dict[str, Any]]", "dict").replace("Dict[str, Any]", "dict").rstrip()
                 .removesuffix(":") + ":\n    pass\n", names)
            name = heading.partition("(")[0]
            ours = getattr(cbm.CircuitBreakerCore, name, None) or getattr(cbm, name)
            shown = list(inspect.signature(names[name]).parameters.values())
            found = list(inspect.signature(ours).parameters.values())[:len(shown)]
            self.assertEqual([parameter.name for parameter in found], [parameter.name for parameter in shown], name)
            for mine, theirs in zip(found, shown):
                if mine.name != "self":
                    self.assertEqual(mine.kind, theirs.kind, f"{name}: {mine.name}")
                    self.assertEqual(mine.default is mine.empty, theirs.default is theirs.empty, f"{name}: {mine.name}")
            compared += 1
        self.assertEqual(compared, 8)


class RateLimit(unittest.TestCase):
    """More operations than the limit: a broker with a limit of three a minute."""

    def setUp(self):
        broker = support.Broker("--rate-limit", "3", "--rate-window-ms", "60000", "--rate-limit-scope", "calls")
        self.addCleanup(broker.free)
        self.manager = cbm.open(broker.address)
        self.addCleanup(self.manager.close)
        for _ in range(3):
            self.manager.get("ha_api")

    def get_and_call_raise(self):
        with self.assertRaises(cbm.RateLimitedError):
            self.manager.get("ha_api")
        with self.assertRaises(cbm.RateLimitedError) as caught:
            self.manager.call("ha_api", self.fail)
        self.assertTrue(0 < caught.exception.retry_after <= 60, caught.exception.retry_after)
        self.assertEqual(self.manager.get_stats()["data"]["rate_limited_count"], 2)
        self.assertIs(self.manager._check_rate_limit(), False)

    def reset_returns_false(self):
        self.assertIs(self.manager.reset(), False)


class WithoutABroker(unittest.TestCase):
    def the_examples_run_with_a_manager_inside_the_process(self):
        command = [sys.executable, os.path.join(support.HERE, "run.py"), "test_spec.Examples"]
        outcome = subprocess.run(command, env={**os.environ, "CBM_ADDRESS": "local:"}, capture_output=True, text=True,
                                 timeout=100, check=False)
        self.assertEqual(outcome.returncode, 0, outcome.stdout + outcome.stderr)
        self.assertRegex(outcome.stdout, r"Tested: 2\d \|")
