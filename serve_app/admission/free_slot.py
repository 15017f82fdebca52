"""Work of our own that takes a lane's slot only where one is free, so that nobody waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from serve_app.admission.admission import Admission
from serve_app.admission.lane_slots import SlotHold
from serve_app.tenancy.auth import Tenant


class Done(Protocol):
    """What came of it."""

    @property
    def output_tokens(self) -> int:
        """Tokens that the engine wrote."""


T = TypeVar("T", bound=Done)


async def in_free_slot(
    admission: Admission,
    lane: str,
    tenant: Tenant,
    tokens: tuple[int, int],
    work: Callable[[SlotHold | None], Awaitable[T]],
    *,
    is_background: bool = False,
) -> T | None:
    """Do the work in a free slot; None: there is none, or it was taken back.

    `tokens`: of the prompt and of the answer, estimated. Runs in a task of its own: that is
    cancelled where protected work needs the slot.
    """
    if not admission.has_room(lane):
        return None
    hold = admission.take(lane, tenant, 1, *tokens, is_background=is_background)
    if hold is None:
        return await work(None)
    done: T | None = None
    try:
        if not hold.is_waiting and hold.refused is None:
            done = await work(hold)
    except asyncio.CancelledError:
        # Its slot is wanted for protected work, or its maker is stopped.
        if hold.evicted() is None:
            raise
    finally:
        hold.leave(done.output_tokens if done is not None else 0)
    return done
