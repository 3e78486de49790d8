"""For asyncio: what would have to wait for the broker is done by a thread of the loop's default executor.

Most calls need no message and are done right here, without leaving the loop's thread. A permit may be reported by another thread
than the one that took it.
"""
from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Optional

if TYPE_CHECKING:
    from ._breaker import CircuitBreaker
    from ._cbm import Permit


async def begin(breaker: CircuitBreaker, correlation_id: Optional[str] = None) -> Permit:
    """As breaker.begin()."""
    permit = breaker._begin_now(correlation_id)
    if permit is not None:
        return permit
    loop = asyncio.get_running_loop()
    answer = loop.run_in_executor(None, breaker._begin, correlation_id)
    try:
        return await asyncio.shield(answer)
    except asyncio.CancelledError:
        # The thread goes on; nobody will make the call that it may have got a permit for.
        answer.add_done_callback(_give_back)
        raise


def _give_back(answer: asyncio.Future[Permit]) -> None:
    if answer.cancelled() or answer.exception() is not None:
        return
    permit = answer.result()
    try:
        answer.get_loop().run_in_executor(None, permit._finish, asyncio.CancelledError())
    except RuntimeError:  # the loop is ending, and has no threads any more
        permit._finish(asyncio.CancelledError())


async def finish(permit: Permit, raised: Optional[BaseException]) -> None:
    """Reports by what the call raised. A cancellation meanwhile goes on, and so does the report."""
    if not permit._finish_now(raised):
        loop = asyncio.get_running_loop()
        await asyncio.shield(loop.run_in_executor(None, permit._finish, raised))


async def call(breaker: CircuitBreaker, correlation_id: Optional[str], func: Any, args: Any, kwargs: Any) -> Any:
    """func(*args, **kwargs), awaited, under the protection of the breaker."""
    permit = await begin(breaker, correlation_id)
    try:
        result = await func(*args, **kwargs)
    except BaseException as raised:
        await finish(permit, raised)
        raise
    await finish(permit, None)
    return result
