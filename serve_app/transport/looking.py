"""Looking at something again and again without waking the event loop up."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable

logger = logging.getLogger("ray.serve")


async def look_until(name: str, look: Callable[[], object], period_s: float) -> None:
    """Call `look` every `period_s` seconds, on a thread of its own, until it returns something.

    What it raises is logged, and it goes on. A look that hangs holds nothing else up. Cancelled,
    it begins no other look. `name` is the thread's, and stands in the log.
    """
    loop = asyncio.get_running_loop()
    found: asyncio.Future[None] = loop.create_future()
    is_over = threading.Event()

    def run() -> None:
        while not is_over.wait(period_s):
            try:
                has_found = bool(look())
            except Exception:
                # It must outlive whatever it meets.
                logger.exception("%s: a look failed", name)
                continue
            if has_found:
                # The loop may have ended meanwhile.
                with contextlib.suppress(RuntimeError):
                    loop.call_soon_threadsafe(tell)
                return

    def tell() -> None:
        if not found.done():
            found.set_result(None)

    threading.Thread(target=run, name=name, daemon=True).start()
    try:
        await found
    finally:
        is_over.set()
