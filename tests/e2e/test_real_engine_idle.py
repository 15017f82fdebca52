"""Real engines without requests: they cost next to nothing, and one that hangs is found."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import httpx

from benchmarks.support.deployment import cpu_s, pids_of
from serve_app.watchdog.watchdog import members
from tests.e2e.support import LOADED_S, await_all, eventually, is_idle

QUALITY = "ray::ServeReplica:pointsman:lane:quality"
REPLICAS = "ray::ServeReplica:pointsman:"
IDLE_S = 60.0
BOUND_PERCENT = 25.0
"""Of one core: three lane replicas, two with a worker process that spins for a second when
it is asked, once a minute. Asked every two seconds, these two burn a whole core."""


def test_an_idle_deployment_leaves_the_cores_alone(real: str, http: httpx.Client) -> None:
    eventually(lambda: is_idle(http, real))
    # Each replica with its engine and its watchman: they are one process group.
    found = {pid: line for actor in pids_of(REPLICAS) for pid, line in members(actor).items()}
    assert sum(line.startswith(b"VLLM::Worker") for line in found.values()) == 2
    ours = list(found)
    before, begun = cpu_s(ours), time.monotonic()
    time.sleep(IDLE_S)
    assert (cpu_s(ours) - before) / (time.monotonic() - begun) * 100 < BOUND_PERCENT


def test_a_hung_engine_without_worker_processes_ends_its_replica(
    real: str, http: httpx.Client
) -> None:
    """The default fleet's kind of engine; nobody asks it anything meanwhile."""
    actor = pids_of(QUALITY)[0]
    (core,) = (pid for pid, line in members(actor).items() if b"EngineCore" in line)
    os.kill(core, signal.SIGSTOP)
    eventually(lambda: not Path(f"/proc/{actor}").exists() and not members(actor), within_s=180)
    eventually(lambda: pids_of(QUALITY) not in ([], [actor]), within_s=LOADED_S, every_s=1)
    await_all(http, real, ingresses=1)
