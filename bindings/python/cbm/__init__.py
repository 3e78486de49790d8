"""Circuit breakers that all processes of a host share.

    from cbm import get_circuit_breaker_manager

    manager = get_circuit_breaker_manager()
    result = manager.call("billing_api", charge_the_customer)

or, as a decorator:

    @cbm.circuit_breaker("billing_api", failure_threshold=3, timeout=30)
    def charge_the_customer(): ...
"""
from ._breaker import CircuitBreaker
from ._cbm import Permit
from ._cbm import version as __version__
from ._errors import (AddressError, AwayError, CbmError, CircuitForcedOpenError, CircuitHalfOpenError, CircuitOpenError,
                      DeniedError, FullError, InheritedError, InternalError, InvalidError, NoMemoryError, NotFoundError,
                      ProtocolError, RateLimitedError, RefusedError, TooLargeError, UnknownOperationError, UnsupportedError,
                      UntrustedError)
from ._manager import CircuitBreakerCore, circuit_breaker, get_circuit_breaker_manager, open
from ._outcomes import CircuitState, Outcome

# `open` is left out: `from cbm import *` is not to take the place of Python's own.
__all__ = [
    "AddressError", "AwayError", "CbmError", "CircuitBreaker", "CircuitBreakerCore", "CircuitForcedOpenError",
    "CircuitHalfOpenError", "CircuitOpenError", "CircuitState", "DeniedError", "FullError", "InheritedError", "InternalError",
    "InvalidError", "NoMemoryError", "NotFoundError", "Outcome", "Permit", "ProtocolError", "RateLimitedError",
    "RefusedError", "TooLargeError", "UnknownOperationError", "UnsupportedError", "UntrustedError", "circuit_breaker",
    "get_circuit_breaker_manager",
]
