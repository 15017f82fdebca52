"""What an idle engine is asked, and that none that hangs is missed."""

import asyncio
import os
import signal
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from serve_app.watchdog import engine_liveness
from serve_app.watchdog.engine_liveness import EngineLiveness, is_stopped
from serve_app.watchdog.heartbeat import EngineSilent, Heartbeat


class FakeEngine:
    """Counts what it is asked; `stuck` never answers."""

    def __init__(self) -> None:
        self.core = 0
        self.workers = 0
        self.stuck = ""

    async def is_sleeping(self) -> bool:
        self.core += 1
        if self.stuck == "core":
            await asyncio.Event().wait()
        return False

    async def collective_rpc(self, method: str) -> list[None]:
        assert method == "check_health"
        self.workers += 1
        if self.stuck == "worker":
            await asyncio.Event().wait()
        return [None]


@contextmanager
def child_of_its_own_group():
    process = subprocess.Popen(["sleep", "600"], process_group=0)
    try:
        yield process.pid
    finally:
        process.kill()
        process.wait()


def liveness_at(clock, group: int = os.getpgrp(), **settings) -> EngineLiveness:
    return EngineLiveness(group, clock=clock, **settings)


async def test_idle_workers_are_asked_once_a_minute_and_the_core_each_time():
    """A question wakes a worker into a second of spinning."""
    now = 0.0
    engine, liveness = FakeEngine(), liveness_at(lambda: now)
    for _ in range(60):
        await liveness.ask(engine, has_work=False)
        now += 2.0
    assert engine.core == 60
    assert engine.workers == 2


async def test_workers_that_work_are_asked_each_time():
    engine, liveness = FakeEngine(), liveness_at(lambda: 0.0)
    for _ in range(5):
        await liveness.ask(engine, has_work=True)
    assert engine.workers == 5


@pytest.mark.parametrize("part", ["core", "worker"])
async def test_a_part_that_does_not_answer_leaves_the_question_open(part):
    engine, liveness = FakeEngine(), liveness_at(lambda: 0.0)
    engine.stuck = part
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await liveness.ask(engine, has_work=True)


def state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][:1]


def until(check) -> None:
    deadline = time.monotonic() + 20
    while not check():
        assert time.monotonic() < deadline
        time.sleep(0.01)


async def test_a_stopped_idle_worker_is_seen_without_asking_it(monkeypatch):
    """It answers again as soon as it goes on."""
    monkeypatch.setattr(engine_liveness, "LOOK_PERIOD_S", 0.01)
    with child_of_its_own_group() as worker:
        engine, liveness = FakeEngine(), liveness_at(lambda: 0.0, worker)
        await liveness.ask(engine, has_work=False)
        os.kill(worker, signal.SIGSTOP)
        until(lambda: state(worker) == "T")
        asked = asyncio.ensure_future(liveness.ask(engine, has_work=False))
        await asyncio.sleep(0.2)
        assert not asked.done()
        assert engine.workers == 1
        os.kill(worker, signal.SIGCONT)
        async with asyncio.timeout(20):
            await asked


async def test_a_stopped_idle_worker_ends_the_replica(monkeypatch):
    """Within `silent_after_s`, as when it was asked."""
    monkeypatch.setattr(engine_liveness, "LOOK_PERIOD_S", 0.01)
    monkeypatch.setattr(Heartbeat, "_start_watchdog", lambda self: os.open(os.devnull, os.O_WRONLY))
    monkeypatch.setattr("serve_app.watchdog.heartbeat.PERIOD_S", 0.01)
    monkeypatch.setattr("serve_app.watchdog.heartbeat.CHECK_PERIOD_S", 0.02)
    monkeypatch.setattr(os, "setpgid", lambda *_: None)
    with child_of_its_own_group() as worker:
        engine, liveness = FakeEngine(), liveness_at(lambda: 0.0, worker)
        heartbeat = Heartbeat("test", 2.0)
        watching = asyncio.ensure_future(
            heartbeat.watch(lambda: liveness.ask(engine, has_work=False))
        )
        await asyncio.sleep(0.3)
        assert not watching.done()
        os.kill(worker, signal.SIGSTOP)
        with pytest.raises(EngineSilent):
            async with asyncio.timeout(20):
                await watching


def test_a_process_that_is_gone_is_not_stopped():
    with child_of_its_own_group() as pid:
        assert not is_stopped(pid)
    assert not is_stopped(pid)
