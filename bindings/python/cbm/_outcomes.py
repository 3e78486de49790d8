"""The words for states and outcomes, and which exceptions are timeouts."""
from __future__ import annotations

import enum
import socket
import sys
from typing import Tuple, Type


class CircuitState(str, enum.Enum):
    """What a breaker is; `value` is the word of the protocol."""

    CLOSED = "CLOSED"
    OPEN = "OPEN"
    HALF_OPEN = "HALF_OPEN"
    FORCED_OPEN = "FORCED_OPEN"
    DISABLED = "DISABLED"
    METRICS_ONLY = "METRICS_ONLY"


class Outcome(str, enum.Enum):
    """How a call went."""

    SUCCESS = "success"
    FAILURE = "failure"
    TIMEOUT = "timeout"
    """A failure with a counter of its own."""
    IGNORED = "ignored"
    """Gives the permit back; no effect on the rule."""


def _timeouts() -> Tuple[Type[BaseException], ...]:
    if sys.version_info >= (3, 11):
        return (TimeoutError,)
    # They became one class in 3.10 and 3.11.
    import asyncio
    import concurrent.futures
    return (TimeoutError, socket.timeout, asyncio.TimeoutError, concurrent.futures.TimeoutError)


TIMEOUTS = _timeouts()
