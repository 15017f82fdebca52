"""Real engines without requests: they cost next to nothing, and one that hangs is found.

One wait for both: the others' idle time is that in which the hung one is not yet found.
"""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass

import httpx
import pytest

from benchmarks.support.deployment import cpu_s, pids_of
from serve_app.watchdog.watchdog import members
from tests.e2e.replicas import CHAT, QUALITY, Loss
from tests.e2e.support import await_all, eventually, is_idle

pytestmark = pytest.mark.busy

ALONE_S = 5.0
BOUND_PERCENT = 25.0
"""Of one core: three lane replicas, two with a worker process that spins for a second when
it is asked, once a minute. Asked every two seconds, these two burn a whole core."""


@dataclass(frozen=True)
class Hung:
    """The quality lane's engine, stopped while nobody asks anything.

    Attributes:
        workers: processes of the chat lane's engines that spin when they are asked.
        percent: of one core, what all three replicas used: quality's until it was stopped.

    """

    loss: Loss
    workers: int
    percent: float


@pytest.fixture(scope="module")
def hung(real: str) -> Hung:
    """SIGSTOP of an engine core that has no worker process, as in the default fleet."""
    with httpx.Client(timeout=60) as http:
        await_all(http, real, ingresses=1)
        eventually(lambda: is_idle(http, real))
    # Each replica with its engine and its watchdog: they are one process group.
    chat = {pid: line for actor in pids_of(CHAT) for pid, line in members(actor).items()}
    quality = [pid for actor in pids_of(QUALITY) for pid in members(actor)]
    begun, of_chat, of_quality = time.monotonic(), cpu_s([*chat]), cpu_s(quality)
    time.sleep(ALONE_S)
    share = (cpu_s(quality) - of_quality) / (time.monotonic() - begun)
    loss = Loss(QUALITY, "EngineCore").send(signal.SIGSTOP)
    loss.await_end()
    share += (cpu_s([*chat]) - of_chat) / (time.monotonic() - begun)
    return Hung(loss, sum(x.startswith(b"VLLM::Worker") for x in chat.values()), share * 100)


def test_an_idle_deployment_leaves_the_cores_alone(hung: Hung) -> None:
    assert hung.workers == 2
    assert hung.percent < BOUND_PERCENT


def test_a_hung_engine_without_worker_processes_ends_its_replica(hung: Hung) -> None:
    """The default fleet's kind of engine; nobody asks it anything meanwhile."""
    assert set(hung.loss.parts) == {"actor", "EngineCore"}
    assert hung.loss.reason() == "EngineSilent"
    hung.loss.await_another()
