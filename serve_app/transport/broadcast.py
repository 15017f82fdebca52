"""Replicas of a deployment: which one this is, and asking all of them at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from ray import serve
from ray.serve.handle import DeploymentHandle

Broadcast = Callable[[str], Awaitable[list[Any]]]
"""Calls a method on every ingress replica, this one included."""


async def ask_all(
    handle: DeploymentHandle[Any], method: str, *args: Any, within_s: float
) -> list[Any]:
    """Return what each replica answered, or the exception that it raised. Late: TimeoutError.

    One replica that hangs leaves the others' answers as they are.

    Raises:
        TimeoutError: it was not even known in time which replicas are to be asked.
        DeploymentUnavailableError: there is no replica.

    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + within_s
    response = handle.broadcast(method, *args)
    async with asyncio.timeout_at(deadline):
        # Not `results_async`: it has all answers or, when its time is up, none.
        replicas = await response._fetch_replica_results_async()  # noqa: SLF001
    asked = [asyncio.ensure_future(replica.get_async()) for replica in replicas]
    if not asked:
        return []
    try:
        await asyncio.wait(asked, timeout=max(0.0, deadline - loop.time()))
        return [_outcome(one) for one in asked]
    finally:
        for one in asked:
            one.cancel()


def _outcome(asked: asyncio.Future[Any]) -> Any:
    if asked.cancelled() or not asked.done():
        return TimeoutError("no answer in time")
    return asked.exception() or asked.result()


def replica_id() -> str:
    """This replica's short id, as Serve's handles name it."""
    return str(serve.get_replica_context().replica_id.unique_id)
