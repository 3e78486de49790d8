"""One breaker: call(), decorator, context manager, and what is known of it."""
from __future__ import annotations

import functools
import inspect
import re
from contextvars import ContextVar
from types import TracebackType
from typing import (TYPE_CHECKING, Any, AsyncIterator, Awaitable, Callable, Dict, Generator, Optional, Tuple, Type, TypeVar,
                    Union, cast)

from . import _aio, _cbm
from ._cbm import Permit
from ._errors import NotFoundError
from ._outcomes import TIMEOUTS, CircuitState, Outcome

if TYPE_CHECKING:
    from ._manager import CircuitBreakerCore

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")
Which = Union[Type[BaseException], Tuple[Type[BaseException], ...], Callable[[BaseException], bool]]
"""Some exceptions: a class, a tuple of classes, or a function that tells."""

# The permits of `with breaker:` blocks that are under way, the innermost first, as (breaker, permit, those around it). Each
# thread and each task has a context of its own, so that blocks of many of them on one breaker do not mix.
_Entered = Optional[Tuple["CircuitBreaker", Permit, Any]]
_entered: ContextVar[_Entered] = ContextVar("cbm_entered", default=None)

_GLOB = re.compile(r"([\\*?\[\]])")


class CircuitBreaker(_cbm.Breaker):
    """A breaker that all processes of the host share by its name, with what its user counts as a failure.

    Made by a manager's get() or circuit_breaker(). It is a decorator (of functions, `async def` and generators) and a context
    manager (`with` and `async with`).
    """

    def __init__(self, client: CircuitBreakerCore, name: str, *,
                 failure_on: Optional[Which] = Exception,
                 timeout_on: Optional[Which] = TIMEOUTS,
                 success_on: Optional[Which] = None,
                 ignore: Optional[Which] = None,
                 open_for: Union[None, str, Callable[[BaseException], Optional[float]]] = None,
                 error_text: Optional[Callable[[BaseException], str]] = None,
                 timed: bool = False,
                 **policy: Any) -> None:
        """
        What an exception means is the first of these that matches: `ignore` (no effect on the rule), `success_on` (the other
        side works), `timeout_on` (a failure, counted as a timeout), `failure_on`; one that none matches is ignored. Each is a
        class, a tuple of classes, or a function of the exception. KeyboardInterrupt, SystemExit, GeneratorExit and
        asyncio.CancelledError are no Exceptions, and so are ignored unless you say otherwise.

        open_for: the name of an exception's attribute, or a function of the exception, that gives the seconds for which the
        other side asks to be left alone (a 429's Retry-After): such a failure opens the circuit at once, for that long.
        error_text: describes a failure to the broker (`last_error_text`), where all who may connect can read it. Its class's
        name by default.
        timed: measure and record each call's duration. Rules about slow calls measure without being told.
        """
        for value, argument in ((failure_on, "failure_on"), (timeout_on, "timeout_on"), (success_on, "success_on"),
                                (ignore, "ignore")):
            _check_which(value, argument)
        self._bind(client, name, policy, failure_on, timeout_on, success_on, ignore, open_for, error_text, timed)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}>"

    # ---- Calls ------------------------------------------------------------------------------------------------------

    def begin(self, correlation_id: Optional[str] = None) -> Permit:
        """May a call be made? A permit, to be reported once: by its report(), or as `with breaker.begin():`."""
        return self._begin(correlation_id)

    async def call_async(self, func: Callable[..., Awaitable[T]], /, *args: Any, **kwargs: Any) -> T:
        """await func(*args, **kwargs) under the protection of this breaker."""
        return cast(T, await _aio.call(self, None, func, args, kwargs))

    def __call__(self, func: F) -> F:
        """The function under the protection of this breaker, as a decorator."""
        if inspect.iscoroutinefunction(func):
            wrapper = _coroutine_wrapper(self, func)
        elif inspect.isasyncgenfunction(func):
            wrapper = _async_generator_wrapper(self, func)
        elif inspect.isgeneratorfunction(func):
            wrapper = _generator_wrapper(self, func)
        else:
            wrapper = _function_wrapper(self, func)
        return cast(F, functools.wraps(func)(wrapper))

    def __enter__(self) -> Permit:
        permit = self._begin(None)
        _entered.set((self, permit, _entered.get()))
        return permit

    def __exit__(self, kind: Optional[Type[BaseException]], raised: Optional[BaseException],
                 traceback: Optional[TracebackType]) -> None:
        permit = self._leave()
        if permit is not None:
            permit._finish(raised)

    async def __aenter__(self) -> Permit:
        permit = await _aio.begin(self)
        _entered.set((self, permit, _entered.get()))
        return permit

    async def __aexit__(self, kind: Optional[Type[BaseException]], raised: Optional[BaseException],
                        traceback: Optional[TracebackType]) -> None:
        permit = self._leave()
        if permit is not None:
            await _aio.finish(permit, raised)

    def _leave(self) -> Optional[Permit]:
        """The permit of the innermost block of this breaker that is left now.

        None in a block that is left in another context than it was entered in, as when a forgotten asynchronous generator is
        closed by the loop: its permit gives itself back.
        """
        entry = _entered.get()
        if entry is not None and entry[0] is self:
            _entered.set(entry[2])
            return entry[1]
        between = []
        while entry is not None and entry[0] is not self:
            between.append(entry)
            entry = entry[2]
        if entry is None:
            return None
        rest = entry[2]
        for breaker, permit, _ in reversed(between):  # interleaved generators leave in another order
            rest = (breaker, permit, rest)
        _entered.set(rest)
        return entry[1]

    # ---- Looking and steering -----------------------------------------------------------------------------------------

    @property
    def state(self) -> CircuitState:
        """What it is now, asked of the manager. A breaker that the manager does not know (any more) is closed."""
        try:
            return CircuitState(self.get_state()["state"])
        except NotFoundError:
            return CircuitState.CLOSED

    def get_state(self) -> Dict[str, Any]:
        """Its state dict, as in get_all_states()."""
        found = self.client._states(_GLOB.sub(r"\\\1", self.name))
        if self.name not in found:
            raise NotFoundError(f"{self.name}: there is no breaker of that name", name=self.name)
        return found[self.name]

    @property
    def failures(self) -> int:
        """The failures that count now."""
        try:
            return cast(int, self.get_state()["failures"])
        except NotFoundError:
            return 0

    def reset(self, correlation_id: Optional[str] = None) -> None:
        """CLOSED, failures cleared; statistics stay."""
        self.client._reset_breaker(self.name)

    def configure(self, **policy: Any) -> None:
        """Changes the given fields of its policy; state and counts are kept."""
        self.client._configure(self.name, policy)

    def force_open(self, reason: Optional[str] = None, for_seconds: Optional[float] = None) -> None:
        """Refuses all calls, for so long or until enable()."""
        self.client._control("force_open", self.name, reason, for_seconds)

    def disable(self, reason: Optional[str] = None, for_seconds: Optional[float] = None) -> None:
        """Lets all calls pass, for so long or until enable(); statistics only."""
        self.client._control("disable", self.name, reason, for_seconds)

    def metrics_only(self, reason: Optional[str] = None, for_seconds: Optional[float] = None) -> None:
        """Lets all calls pass, and shows whether it would have opened."""
        self.client._control("metrics_only", self.name, reason, for_seconds)

    def enable(self) -> None:
        """Ends force_open, disable and metrics_only: CLOSED."""
        self.client._control("enable", self.name, None, None)


def _check_which(which: Any, argument: str) -> None:
    """A mistake is to show where it is made, not at the first failure."""
    classes = which if isinstance(which, tuple) else (which,) if isinstance(which, type) else ()
    if which is None or classes and all(isinstance(kind, type) and issubclass(kind, BaseException) for kind in classes):
        return
    if which == () or not isinstance(which, (type, tuple)) and callable(which):
        return
    raise TypeError(f"{argument}: an exception class, a tuple of them or a function is needed")


# ---- Wrappers of the decorator: closures, since functions become methods in classes and objects do not ----------------


def _function_wrapper(breaker: CircuitBreaker, func: Callable[..., Any]) -> Callable[..., Any]:
    call = breaker.call

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return call(func, *args, **kwargs)
    return wrapper


def _coroutine_wrapper(breaker: CircuitBreaker, func: Callable[..., Any]) -> Callable[..., Any]:
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        return await _aio.call(breaker, None, func, args, kwargs)
    return wrapper


def _generator_wrapper(breaker: CircuitBreaker, func: Callable[..., Any]) -> Callable[..., Any]:
    def wrapper(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        with breaker.begin():
            return (yield from func(*args, **kwargs))
    return wrapper


def _async_generator_wrapper(breaker: CircuitBreaker, func: Callable[..., Any]) -> Callable[..., Any]:
    async def wrapper(*args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        permit = await _aio.begin(breaker)
        try:
            async for item in func(*args, **kwargs):
                yield item
        except BaseException as raised:
            await _aio.finish(permit, raised)
            raise
        await _aio.finish(permit, None)
    return wrapper
