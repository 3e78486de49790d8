"""Exceptions: what the library's error codes become."""
from __future__ import annotations

from typing import Any, Dict, Optional, Tuple, Type


class CbmError(Exception):
    """Whatever cbm itself has to say; `code` is the number of cbm.h, `error` the word of the protocol ("open")."""

    code: int = 0
    error: str = "internal"

    def __init__(self, message: str = "", *, name: Optional[str] = None) -> None:
        super().__init__(message)
        self.name = name
        """The breaker it is about, if it is about one."""

    def __reduce__(self) -> Tuple[Any, ...]:
        # An exception is pickled by its arguments, which would lose the rest on its way from a worker process.
        return _rebuild, (type(self), str(self), self.__dict__)


class RefusedError(CbmError):
    """The call was not made: the circuit is open, or the manager's rate limit is exceeded."""

    def __init__(self, retry_after: Optional[float] = None, *, name: Optional[str] = None,
                 message: Optional[str] = None) -> None:
        super().__init__(message or self._sentence(retry_after, name), name=name)
        self.retry_after = retry_after
        """Seconds until a call may be let through; None: not known, or not before somebody enables it."""

    def _sentence(self, retry_after: Optional[float], name: Optional[str]) -> str:
        when = "" if retry_after is None else f"; try again in {retry_after:.3g} s"
        return f"{name or 'the call'}: {self.error.replace('_', ' ')}{when}"


class CircuitOpenError(RefusedError):
    """The circuit is open: the call was not made."""

    code, error = -5, "open"


class CircuitHalfOpenError(CircuitOpenError):
    """The circuit is half-open and others are trying already: the call was not made."""

    code, error = -6, "half_open_full"


class CircuitForcedOpenError(CircuitOpenError):
    """Somebody opened the circuit by hand: the call was not made."""

    code, error = -7, "forced_open"


class RateLimitedError(RefusedError):
    """The manager's rate limit is exceeded: nothing was done."""

    code, error = -8, "rate_limited"


class InvalidError(CbmError, ValueError):
    """A name, a policy or an argument that is not valid."""

    code, error = -1, "bad_request"


class NoMemoryError(CbmError, MemoryError):
    """Out of memory, here or in the broker."""

    code, error = -2, "no_memory"


class NotFoundError(CbmError, LookupError):
    """There is no breaker of that name."""

    code, error = -3, "not_found"


class FullError(CbmError):
    """The manager holds as many breakers as it may."""

    code, error = -4, "full"


class UnknownOperationError(CbmError):
    """The broker is too old for that."""

    code, error = -20, "unknown_op"


class DeniedError(CbmError):
    """This user may not do that, or may not connect to the broker's socket."""

    code, error = -21, "denied"


class TooLargeError(CbmError):
    """A request or an answer that is too large."""

    code, error = -22, "too_large"


class UnsupportedError(CbmError):
    """Not offered by this broker, or not in local mode."""

    code, error = -23, "unsupported"


class InternalError(CbmError):
    """The broker failed to answer."""

    code, error = -24, "internal"


class AwayError(CbmError):
    """The broker cannot be reached, or missed its deadline."""

    code, error = -40, "away"


class UntrustedError(CbmError):
    """What listens on the socket is not root, this user, or the owner of its directory."""

    code, error = -41, "untrusted"


class InheritedError(CbmError):
    """The permit was taken by the parent process, and is the parent's to report."""

    code, error = -42, "inherited"


class ProtocolError(CbmError):
    """The broker's answer was not understood."""

    code, error = -43, "protocol"


class AddressError(CbmError, ValueError):
    """The address is not one of a Unix socket."""

    code, error = -44, "address"


def _classes(base: Type[CbmError]) -> Dict[int, Type[CbmError]]:
    found = {} if base.code == 0 else {base.code: base}
    for derived in base.__subclasses__():
        found.update(_classes(derived))
    return found


_BY_CODE = _classes(CbmError)
for _kind in (CbmError, RefusedError, *_BY_CODE.values()):
    _kind.__module__ = "cbm"  # where users find them; tracebacks and pickles say so


def _rebuild(kind: Type[CbmError], message: str, attributes: Dict[str, Any]) -> CbmError:
    made = kind.__new__(kind)
    made.args = (message,)
    made.__dict__.update(attributes)
    return made


def make_error(code: int, error: str, retry_after_ms: int, message: str, name: Optional[str]) -> CbmError:
    """The exception for an error of the library. Called by the extension module."""
    kind = _BY_CODE.get(code, CbmError)
    if issubclass(kind, RefusedError):
        return kind(retry_after_ms / 1000 if retry_after_ms > 0 else None, name=name)
    made = kind(f"{name}: {message}" if name else message, name=name)
    if kind is CbmError:  # of a library newer than this
        made.code, made.error = code, error
    return made
