"""Asking the contextual classifier: in time, late, dead, left alone, tried again."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest
from prometheus_client import CollectorRegistry

from classifier import Conversation
from serve_app.scoring.asking import OUTCOMES, ScoreAsking, asking_of

TURNS = [Conversation("one", "system", 2, 1), Conversation("two")]


class Service:
    """A fake deployment that does what it is told, and a clock."""

    def __init__(self) -> None:
        self.does, self.asked, self.now = [0.1, 0.2], [], 100.0
        self.registry = CollectorRegistry()

    async def __call__(self, fields):
        self.asked.append(fields)
        if isinstance(self.does, Exception):
            raise self.does
        if self.does is None:
            await asyncio.Event().wait()
        return self.does

    def asking(self, deadline_s=60.0) -> ScoreAsking:
        return ScoreAsking(self, deadline_s, self.registry, lambda: self.now)

    def counted(self) -> dict[str, float]:
        name = "pointsman_classifier_service_total"
        counts = {x: self.registry.get_sample_value(name, {"outcome": x}) for x in OUTCOMES}
        return {outcome: count for outcome, count in counts.items() if count}


@pytest.fixture
def service() -> Service:
    return Service()


async def test_an_answer_is_given_with_all_that_the_classifier_reads(service):
    assert await service.asking().shares(TURNS) == [0.1, 0.2]
    assert service.asked == [[("one", "system", 2, 1), ("two", "", 1, 0)]]
    assert service.counted() == {"answered": 1}


async def test_who_does_not_answer_in_time_is_late(service):
    service.does = None

    assert await service.asking(deadline_s=0.0).shares(TURNS) is None
    assert service.counted() == {"late": 1}


@pytest.mark.parametrize(
    "does", [RuntimeError("no replica"), [0.1], [0.1, 0.0], [0.1, 1.5], [0.1, float("nan")]]
)
async def test_a_fault_and_an_answer_that_is_none_leave_the_score(service, does):
    service.does = does

    assert await service.asking().shares(TURNS) is None
    assert service.counted() == {"failed": 1}


async def test_a_dead_service_is_left_alone_and_tried_again_by_one_request(service):
    """Five faults open the breaker; after its pause one request tries, the others do not wait."""
    asking, service.does = service.asking(), RuntimeError("dead")
    for _ in range(8):
        assert await asking.shares(TURNS) is None
    assert service.counted() == {"failed": 5, "open": 3}
    assert len(service.asked) == 5

    service.now += 1.0
    service.does = None
    trial = asyncio.ensure_future(asking.shares(TURNS))
    await asyncio.sleep(0)
    assert await asking.shares(TURNS) is None
    assert len(service.asked) == 6
    trial.cancel()
    with pytest.raises(asyncio.CancelledError):
        await trial

    # Its client went: the next trial is given out after a while.
    service.now += 10.0
    service.does = [0.3, 0.4]
    assert await asking.shares(TURNS) == [0.3, 0.4]
    assert await asking.shares(TURNS) == [0.3, 0.4]
    assert service.counted() == {"answered": 2, "failed": 5, "open": 4}


async def test_no_part_of_a_prompt_is_logged(service, caplog):
    caplog.set_level("DEBUG", "ray.serve")
    asking, service.does = service.asking(), RuntimeError("cannot embed 'one'")
    for _ in range(6):
        await asking.shares(TURNS)

    assert "left alone" in caplog.text and "'one'" not in caplog.text


async def test_a_request_that_nobody_waits_for_is_taken_back():
    """A late one would only delay those behind it."""
    taken_back = []

    class Response:
        def __await__(self):
            return asyncio.Event().wait().__await__()

        def cancel(self):
            taken_back.append(True)

    remote = SimpleNamespace(remote=lambda _: Response())
    task = asyncio.ensure_future(asking_of(SimpleNamespace(shares=remote))([]))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert taken_back == [True]
