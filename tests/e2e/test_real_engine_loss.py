"""Losing parts of a replica on real engines: nothing stays behind, and Serve replaces it.

Sorted last: nothing waits for the engines that load in place of these.
"""

from __future__ import annotations

import signal

import httpx
import pytest

from benchmarks.support.deployment import pids_of
from tests.e2e.replicas import CHAT, QUALITY, Loss, Redeploy, codes_of
from tests.e2e.support import LOADED_S, await_all, eventually

pytestmark = [pytest.mark.usefixtures("redeployed"), pytest.mark.busy]


def test_a_redeploy_replaces_every_engine(
    redeployed: Redeploy, real: str, http: httpx.Client
) -> None:
    """None of those before is left, and all are there."""
    eventually(
        lambda: not redeployed.before & {*pids_of(CHAT), *pids_of(QUALITY)},
        within_s=LOADED_S,
        every_s=1,
    )
    await_all(http, real, ingresses=1)


def test_parts_that_hang_take_their_replicas_along(real: str, http: httpx.Client) -> None:
    """Noticed by their silence: a worker, and a core that has one, of two lanes in one wait."""
    await_all(http, real, ingresses=1)

    losses = [Loss(CHAT, "Worker"), Loss(QUALITY, "EngineCore")]
    for loss in losses:
        loss.send(signal.SIGSTOP)

    for loss in losses:
        assert set(loss.parts) == {"actor", "EngineCore", "Worker"}
        loss.await_end()
    assert codes_of(real, [f"hung-{number}" for number in range(4)]) == [200] * 4
    assert [loss.reason() for loss in losses] == ["EngineSilent"] * 2
    for loss in losses:
        loss.await_another()


def test_a_killed_worker_takes_its_replica_along(real: str) -> None:
    """Noticed as a death, not by its silence."""
    loss = Loss(CHAT, "Worker").send(signal.SIGKILL)

    loss.await_end()
    assert loss.reason() != "EngineSilent"
    loss.await_another()
