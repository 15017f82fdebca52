"""Signs of life of engine and replica: who sends them, what counts, who is ended."""

import asyncio
import subprocess
import sys

import pytest

from serve_app.watchdog import heartbeat as heartbeats
from serve_app.watchdog import watchdog
from serve_app.watchdog.heartbeat import EngineSilent, Heartbeat, answer_or_engine_death
from serve_app.watchdog.watchdog import Silence


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
