"""What mypy is to accept, and what it is to find out: test_types.py compares its findings with the comments here."""
from __future__ import annotations

from typing import Dict, Iterator

import cbm
from cbm import CircuitBreaker, CircuitBreakerCore, CircuitOpenError, Outcome, get_circuit_breaker_manager

manager: CircuitBreakerCore = get_circuit_breaker_manager()
breaker: CircuitBreaker = manager.get("ha_api", failure_threshold=3, timeout=30, rule="failures", window_s=60)


def answer(question: str) -> int:
    return len(question)


number: int = manager.call("ha_api", answer, None, "what?")
number = breaker.call(answer, "what?")
text: str = manager.call("ha_api", answer, None, "what?")  # error: Incompatible types in assignment


@breaker
def decorated(question: str) -> int:
    return len(question)


@cbm.circuit_breaker("other", failure_on=(OSError, EOFError), open_for="retry_after", timed=True)
def also_decorated(question: str) -> int:
    return len(question)


@cbm.circuit_breaker
def by_its_own_name(question: str) -> int:
    return len(question)


@manager.circuit_breaker(failure_threshold=3)
def generated(count: int) -> Iterator[int]:
    yield from range(count)


number = decorated("what?") + also_decorated("what?") + by_its_own_name("what?") + sum(generated(3))
decorated(7)  # error: Argument 1 to "decorated" has incompatible type
by_its_own_name(7)  # error: Argument 1 to "by_its_own_name" has incompatible type


async def asynchronous() -> int:
    async with breaker as permit:
        reported: bool = permit.reported
    return await manager.call_async("ha_api", slowly, None, "what?") + int(reported)


async def slowly(question: str) -> int:
    return len(question)


try:
    with breaker as permit:
        permit.report(Outcome.FAILURE, duration=1.5, error_text="empty", open_for=30)
except CircuitOpenError as refused:
    seconds: float = refused.retry_after  # error: Incompatible types in assignment
    if refused.retry_after is not None:
        seconds = refused.retry_after

states: Dict[str, Dict[str, object]] = {**manager.get_all_states()}
state: cbm.CircuitState = breaker.state
word: str = state.value
manager.no_such_method()  # error: "CircuitBreakerCore" has no attribute "no_such_method"
