"""A real engine's core is killed.

Sorted before what needs no second replica, which runs while this one's successor loads.
"""

from __future__ import annotations

import signal

import httpx
import pytest

from tests.e2e.replicas import CHAT, Loss, codes_of
from tests.e2e.support import await_two_chat_replicas

pytestmark = pytest.mark.busy


def test_a_killed_core_takes_its_replica_along(real: str, http: httpx.Client) -> None:
    """Noticed as a death, not by its silence; the other replica answers."""
    await_two_chat_replicas(http, real)

    loss = Loss(CHAT, "EngineCore").send(signal.SIGKILL)

    loss.await_end()
    assert codes_of(real, [f"dead-core-{number}" for number in range(4)]) == [200] * 4
    assert loss.reason() != "EngineSilent"
    loss.await_another()
