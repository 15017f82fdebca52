"""Engine and replica end together, whichever is lost."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from serve_app.watchdog import heartbeat as heartbeats
from serve_app.watchdog import watchdog
from serve_app.watchdog.heartbeat import EngineSilent, Heartbeat, answer_or_engine_death
from serve_app.watchdog.watchdog import Silence

HERE = Path(__file__).parent
ROOT = HERE.parents[3]


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]
    except OSError:
        return False
    return state not in "ZX"


def until(check, within_s: float = 20) -> None:
    deadline = time.monotonic() + within_s
    while not check():
        assert time.monotonic() < deadline, f"not within {within_s} s"
        time.sleep(0.02)


class Replica:
    """The process of `heartbeat_process.py` and what it started."""

    def __init__(self, how: str, silent_after_s: float = 600) -> None:
        command = [sys.executable, str(HERE / "heartbeat_process.py"), how, str(silent_after_s)]
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        told = json.loads(self.process.stdout.readline())
        self.core, self.worker = told["core"], told["worker"]
        self.children = told["children"]
        self.memory = Path("/dev/shm") / told["memory"]

    @property
    def pid(self) -> int:
        return self.process.pid

    def members(self) -> dict[int, bytes]:
        return watchdog.members(self.pid)

    def watchdog(self) -> int:
        (pid,) = (pid for pid, line in self.members().items() if b"watchdog.py" in line)
        return pid

    def end(self) -> None:
        for pid in (self.pid, *self.members()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()
        self.process.stdout.close()


@pytest.fixture
def replica():
    started = []

    def start(*args) -> Replica:
        started.append(Replica(*args))
        return started[-1]

    yield start
    for one in started:
        one.end()


def test_a_killed_replica_takes_engine_worker_and_shared_memory_with_it(replica):
    """SIGKILL leaves it no last word; the watchdog has it."""
    made = replica("alive")
    assert is_alive(made.core) and is_alive(made.worker) and made.memory.exists()

    os.kill(made.pid, signal.SIGKILL)
    made.process.wait()

    until(lambda: not made.members())
    assert not is_alive(made.core) and not is_alive(made.worker)
    assert not made.memory.exists()


def test_a_stopped_engine_is_ended_too(replica):
    """SIGSTOP defers every signal but SIGKILL."""
    made = replica("alive")
    for pid in (made.core, made.worker):
        os.kill(pid, signal.SIGSTOP)

    os.kill(made.pid, signal.SIGKILL)
    made.process.wait()

    until(lambda: not made.members())


def test_a_replica_that_exits_by_itself_leaves_nothing(replica):
    """The engine's end ends the stand-in; the watchdog goes as well."""
    made = replica("mute")

    os.kill(made.worker, signal.SIGKILL)

    assert made.process.wait(20) == 0
    until(lambda: not made.members())


def test_a_stopped_replica_is_ended_after_its_silence(replica):
    """SIGSTOP of the replica: no heartbeats, no replica, no engine."""
    made = replica("alive", 2)

    os.kill(made.pid, signal.SIGSTOP)

    assert made.process.wait(20) == -signal.SIGKILL
    until(lambda: not made.members())


def test_an_event_loop_that_stands_still_is_ended(replica):
    """Heartbeats come from the event loop, so that a blocked one has none."""
    made = replica("still", 2)

    assert made.process.wait(20) == -signal.SIGKILL
    until(lambda: not made.members())


def test_a_replica_that_still_loads_is_not_silent(replica):
    """The count begins with the first heartbeat: a load blocks the loop for minutes."""
    made = replica("mute", 0.5)

    with pytest.raises(subprocess.TimeoutExpired):
        made.process.wait(2.5)

    assert is_alive(made.core)


def test_a_lost_watchdog_is_replaced(replica):
    """Nothing else would notice; the next heartbeat does."""
    made = replica("alive")
    first = made.watchdog()

    os.kill(first, signal.SIGKILL)
    until(lambda: any(b"watchdog.py" in x for p, x in made.members().items() if p != first))
    os.kill(made.pid, signal.SIGKILL)
    made.process.wait()

    until(lambda: not made.members())


def test_the_watchdog_is_no_child_of_the_replica(replica):
    """A worker of Ray that exits kills its direct children first."""
    made = replica("alive")

    assert made.watchdog() not in made.children


def test_a_process_that_does_not_lead_its_group_is_not_watched():
    """Ending the group would end strangers."""
    done = subprocess.run(
        [sys.executable, "-I", "-S", watchdog.__file__, "1", "5"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        timeout=20,
    )

    assert done.returncode == 1
    assert b"does not lead" in done.stderr


def test_silence_is_counted_in_ticks_that_were_lived_through():
    """A suspended machine wakes up to one long tick, not to a death sentence."""
    silence = Silence()
    silence.tick(600)
    assert silence.seconds == 0

    silence.end()
    silence.tick(600)
    assert silence.seconds == 2
    silence.tick(1)
    assert silence.seconds == 3

    silence.end()
    assert silence.seconds == 0


class Deaf(Heartbeat):
    """A heartbeat without a watchdog, in which a second is a hundredth."""

    def __init__(self, silent_after_s: float) -> None:
        self._name, self._silent_after_s = "test", silent_after_s
        self.sent = 0

    def _send(self) -> None:
        self.sent += 1

    async def _sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)


async def test_an_engine_that_does_not_answer_ends_its_replica():
    """The question hangs; the replica does not wait for ever."""
    ended = []
    heartbeat = Deaf(0.05)

    async def check() -> None:
        await asyncio.Event().wait()

    with pytest.raises(EngineSilent):
        await heartbeat.watch(check)
    await heartbeat.run(check, lambda: ended.append(True))

    assert ended == [True]
    assert heartbeat.sent >= 2


async def test_a_dead_engine_ends_its_replica():
    """vLLM's own EngineDeadError, or anything else that the question raises."""
    ended = []
    answers = [None, None, RuntimeError("EngineCore died")]

    async def check() -> None:
        if (answer := answers.pop(0)) is not None:
            raise answer

    await Deaf(600).run(check, lambda: ended.append(True))

    assert ended == [True] and not answers


async def test_a_replica_without_an_engine_sends_them_all_the_same(monkeypatch):
    """An ingress replica: its event loop turns, or it does not."""
    monkeypatch.setattr(heartbeats, "PERIOD_S", 0.001)
    heartbeat = Deaf(600)

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(heartbeat.keep_sending(), 0.5)

    assert heartbeat.sent >= 3


async def test_a_replica_that_finds_no_watchdog_serves_on(monkeypatch, caplog):
    """Its streams are worth more; the log says that nobody watches."""
    heartbeat = Deaf(600)

    def no_watchdog() -> None:
        raise RuntimeError("no watchdog (1)")

    monkeypatch.setattr(heartbeat, "_send", no_watchdog)
    with caplog.at_level("ERROR", "ray.serve"):
        await heartbeat.keep_sending()

    assert "nobody watches it any more" in caplog.text


async def test_a_watch_that_is_cancelled_ends_nothing():
    """A replica that drains and closes stops its watch."""
    ended = []

    async def check() -> None:
        return

    task = asyncio.create_task(Deaf(600).run(check, lambda: ended.append(True)))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])

    assert task.cancelled() and not ended


async def test_an_engine_that_dies_while_it_is_asked_ends_its_replica(monkeypatch):
    """vLLM leaves such a question open for ever; its note of the death is read meanwhile."""
    monkeypatch.setattr(heartbeats, "PERIOD_S", 0.01)
    health = [None, None, RuntimeError("EngineCore died")]
    question = asyncio.get_running_loop().create_future()
    ended = []

    async def check() -> None:
        if (found := health.pop(0)) is not None:
            raise found

    async def ask() -> None:
        await answer_or_engine_death(question, check)

    await Deaf(600).run(ask, lambda: ended.append(True))

    assert ended == [True] and not health
    assert question.cancelled()


async def test_what_a_living_engine_answers_counts():
    """An answer is one, and so is an error of a worker's own."""

    async def check() -> None:
        return

    async def answer(error: Exception | None) -> None:
        await asyncio.sleep(0)
        if error is not None:
            raise error

    await answer_or_engine_death(answer(None), check)
    with pytest.raises(RuntimeError, match="Worker died"):
        await answer_or_engine_death(answer(RuntimeError("Worker died")), check)
