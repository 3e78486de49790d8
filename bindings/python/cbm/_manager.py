"""The manager, and the process's singleton of it."""
from __future__ import annotations

import sys
from types import TracebackType
from typing import Any, Awaitable, Callable, Dict, Optional, Type, TypeVar, Union, overload

from . import _aio, _cbm
from ._breaker import CircuitBreaker, F
from ._errors import CbmError, RateLimitedError

T = TypeVar("T")
C = TypeVar("C", bound="CircuitBreakerCore")

_WHEN_AWAY = {"fail_open": 0, "fail_closed": 1, "local": 2}
_NO_SHM = 1


class CircuitBreakerCore(_cbm.Client):
    """A process's way to the manager that all processes of the host share.

    get_circuit_breaker_manager() gives the one of this process; cbm.open() makes others.
    """

    def __init__(self, address: Optional[str] = None, *, when_away: str = "local", call_timeout_ms: int = 100,
                 timeout_ms: int = 1000, shared_memory: bool = True) -> None:
        """
        address: of the broker, as `cbmd --listen` has it; `local:` for a manager inside this process alone; None: $CBM_ADDRESS,
        else the user's broker if it is there, else the system's.
        when_away: what happens to calls when the broker cannot be asked: "fail_open" lets them pass, "fail_closed" refuses
        them (AwayError), "local" goes on with a manager inside this process.
        call_timeout_ms, timeout_ms: how long a call's two messages, and all others, may take.
        shared_memory: False to do everything by messages.
        """
        if when_away not in _WHEN_AWAY:
            raise ValueError(f"when_away: {when_away!r} is none of {', '.join(_WHEN_AWAY)}")
        if call_timeout_ms <= 0 or timeout_ms <= 0:
            raise ValueError("call_timeout_ms, timeout_ms: a positive number is needed")
        self._open(address, _WHEN_AWAY[when_away], call_timeout_ms, timeout_ms, 0 if shared_memory else _NO_SHM)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {'closed' if self.closed else self.address}>"

    def __enter__(self: C) -> C:
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], raised: Optional[BaseException],
                 traceback: Optional[TracebackType]) -> None:
        self.close()

    def _new_breaker(self, name: str) -> CircuitBreaker:
        """Called by the extension module for a name that it sees for the first time."""
        return CircuitBreaker(self, name)

    # ---- The specification's methods ----------------------------------------------------------------------------------

    def get(self, name: str, failure_threshold: Optional[int] = None, timeout: Optional[float] = None,
            correlation_id: Optional[str] = None, **policy: Any) -> CircuitBreaker:
        """The breaker of that name, created with that policy when there is none; an existing one is returned unchanged.

        failure_threshold: failures before it opens (5). timeout: seconds before recovery is tried (60). Other fields of a
        policy by their names: rule="failures", window_s=600. What is not given is the broker's to say.
        One operation of the manager: RateLimitedError when there are too many.
        """
        policy.update(failure_threshold=failure_threshold, timeout=timeout)
        return self._get(name, policy, correlation_id)

    def get_all_states(self, correlation_id: Optional[str] = None) -> Dict[str, Dict[str, Any]]:
        """All breakers' state dicts by name."""
        return self._states(None)

    def reset_all(self, correlation_id: Optional[str] = None) -> None:
        """All breakers CLOSED, failures cleared; statistics and breakers stay."""
        self._reset_all()

    def get_stats(self, correlation_id: Optional[str] = None) -> Dict[str, Any]:
        """The manager's statistics and all breakers' state dicts, as 'data' in the gateway's wrapper.

        When the manager cannot be asked, 'success' is False, 'message' says why and 'error' is the protocol's word for it.
        """
        try:
            return {"success": True, "message": "Circuit breaker statistics", "data": self._stats()}
        except CbmError as failure:
            return {"success": False, "message": str(failure), "error": failure.error}

    def reset(self, correlation_id: Optional[str] = None) -> bool:
        """No breakers, all counters zero. False when the rate limit is exceeded."""
        try:
            self._reset_manager()
        except RateLimitedError:
            return False
        return True

    # ---- Beside them ------------------------------------------------------------------------------------------------

    async def call_async(self, name: str, func: Callable[..., Awaitable[T]], correlation_id: Optional[str] = None,
                         *args: Any, **kwargs: Any) -> T:
        """call() for asyncio: func(*args, **kwargs) is awaited."""
        result: T = await _aio.call(self._breaker(name), correlation_id, func, args, kwargs)
        return result

    @overload
    def circuit_breaker(self, name: str, **options: Any) -> CircuitBreaker: ...

    @overload
    def circuit_breaker(self, name: None = None, **options: Any) -> Callable[[F], F]: ...

    def circuit_breaker(self, name: Optional[str] = None, **options: Any) -> Any:
        """A decorator and context manager: CircuitBreaker(self, name, **options), without a message.

        Without a name the function's own is used: module and qualified name.
        """
        if name is not None:
            return CircuitBreaker(self, name, **options)
        return lambda func: CircuitBreaker(self, name_of(func), **options)(func)

    def states(self, pattern: Optional[str] = None) -> Dict[str, Dict[str, Any]]:
        """The state dicts of the breakers whose names match the glob, by name."""
        return self._states(pattern)


def name_of(func: Callable[..., Any]) -> str:
    return f"{func.__module__}.{func.__qualname__}"


def open(address: Optional[str] = None, *, when_away: str = "fail_open", call_timeout_ms: int = 100, timeout_ms: int = 1000,
         shared_memory: bool = True) -> CircuitBreakerCore:
    """A manager of one's own: CircuitBreakerCore, but that calls pass when the broker is away."""
    return CircuitBreakerCore(address, when_away=when_away, call_timeout_ms=call_timeout_ms, timeout_ms=timeout_ms,
                              shared_memory=shared_memory)


_manager: Optional[CircuitBreakerCore] = None


def _own_manager() -> CircuitBreakerCore:
    global _manager
    if _manager is None:
        made = CircuitBreakerCore.__new__(CircuitBreakerCore)
        made._open_singleton()
        _manager = made
    return _manager


def get_circuit_breaker_manager() -> CircuitBreakerCore:
    """The manager of this process: the broker's when it is there, else one inside the process.

    Where the program has loaded a module `gateway` with a registry of singletons, it is registered there as
    'circuit_breaker_manager', and one that stands there already is used.
    """
    gateway = sys.modules.get("gateway")
    if gateway is None:
        return _manager or _own_manager()
    try:
        registered = gateway.singleton_get("circuit_breaker_manager")
        if isinstance(registered, CircuitBreakerCore):
            return registered
        gateway.singleton_register("circuit_breaker_manager", _own_manager())
    except Exception:  # it is another gateway, or it is ill
        pass
    return _own_manager()


@overload
def circuit_breaker(name: str, **options: Any) -> CircuitBreaker: ...


@overload
def circuit_breaker(name: None = None, **options: Any) -> Callable[[F], F]: ...


@overload
def circuit_breaker(name: F) -> F: ...


def circuit_breaker(name: Union[str, F, None] = None, **options: Any) -> Any:
    """A decorator and context manager of the process's manager: `@circuit_breaker("billing_api", failure_threshold=3)`.

    Options are those of CircuitBreaker and the fields of a policy. Without a name the function's own is used.
    """
    if callable(name):
        return get_circuit_breaker_manager().circuit_breaker(**options)(name)
    return get_circuit_breaker_manager().circuit_breaker(name, **options)
