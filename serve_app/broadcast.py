"""Asking every replica of a deployment at once."""

from __future__ import annotations

import asyncio
from typing import Any

from ray.serve.handle import DeploymentHandle


async def ask_all(handle: DeploymentHandle, method: str, *args: Any, within_s: float) -> list[Any]:
    """What each replica answered, or the exception that it raised; nothing of who is late.

    One replica that hangs leaves the others' answers as they are.

    Raises:
        TimeoutError: it was not even known in time who is to be asked.
        DeploymentUnavailableError: there is nobody.

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
        answered = [one for one in asked if one.done() and not one.cancelled()]
    finally:
        for one in asked:
            one.cancel()
    return [one.exception() or one.result() for one in answered]
