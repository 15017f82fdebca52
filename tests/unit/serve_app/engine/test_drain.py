"""A lane replica that an admin takes out of service, and takes back or lets end."""

import asyncio
from types import SimpleNamespace

import pytest

from router.placement.placement import Report
from serve_app.config.serving import AffinityConfig
from serve_app.engine import drain as module
from serve_app.engine.drain import Drain
from serve_app.engine.load_tracker import LoadTracker


class Endpoint:
    """An endpoint whose requests end when a test says so."""

    def __init__(self) -> None:
        self.guard = SimpleNamespace(in_flight=2)
        self.waits: list[tuple[float, float]] = []
        self.is_empty = asyncio.Event()

    async def drain(self, *, settle_s, within_s):
        self.waits.append((settle_s, within_s))
        await self.is_empty.wait()
        return self.guard.in_flight


@pytest.fixture
def ended():
    return []


@pytest.fixture
def endpoint():
    return Endpoint()


@pytest.fixture
def drain(endpoint, ended):
    return Drain("r1", endpoint, lambda: ended.append("ended"))


async def settled():
    for _ in range(5):
        await asyncio.sleep(0)


async def test_one_that_stays_only_says_that_it_drains(drain, endpoint, ended):
    endpoint.is_empty.set()

    told = drain.begin(None)
    await settled()

    assert told == {"draining": True, "ends": False, "in_flight": 2}
    assert drain.is_on and not ended and not endpoint.waits


async def test_one_that_is_to_end_ends_when_nothing_is_open(drain, endpoint, ended):
    """An ingress that has not heard of it yet may still place a turn: that is waited for."""
    told = drain.begin(30)
    await settled()
    before = list(ended)
    endpoint.is_empty.set()
    await settled()

    assert told["ends"] and not before
    assert endpoint.waits == [(module.SETTLE_S, 30)]
    assert ended == ["ended"]


async def test_taken_back_in_time_it_does_not_end(drain, endpoint, ended):
    drain.begin(30)
    await settled()

    told = drain.stop()
    endpoint.is_empty.set()
    await settled()

    assert told == {"draining": False, "ends": False, "in_flight": 2}
    assert not drain.is_on and not ended


async def test_the_last_word_counts(drain, endpoint, ended):
    """Drained to end, then drained to stay: it stays."""
    drain.begin(30)
    await settled()
    drain.begin(None)
    endpoint.is_empty.set()
    await settled()

    assert drain.is_on and not ended


def test_what_is_published_says_so_and_says_nothing_otherwise():
    """The load that goes to every ingress replica each second stays as small as it was."""
    visits = LoadTracker(None, AffinityConfig())

    assert visits.report(0.5, draining=True).to_mapping()["draining"] is True
    assert "draining" not in visits.report(0.5).to_mapping()
    assert Report.from_mapping({"draining": True}).draining
