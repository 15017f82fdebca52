"""What `/status` and `/metrics` say of engines and cards."""

import asyncio

from prometheus_client.parser import text_string_to_metric_families

ROW = {
    "replica": "r1",
    "in_flight": 3,
    "waiting": 3.0,
    "waiting_deferred": 0.0,
    "running": 0.0,
    "kv_utilization": 0.5,
    "stalled": True,
    "stalled_s": 42.4,
    "cards": [{"card": "GPU-0", "throttled_by": ["power_cap"]}],
    "text": "",
}


class Rows:
    """Lanes whose replicas say this, and for how long they think about it."""

    def __init__(self, world, **changes) -> None:
        self.asked, self.gate, self.waits = [], asyncio.Event(), asyncio.Event()
        self.row = {**ROW, **changes}
        self.gate.set()
        world.lanes.engine_metrics = self.engine_metrics

    async def engine_metrics(self, lane) -> list[dict]:
        self.asked.append(lane)
        self.waits.set()
        await self.gate.wait()
        return [self.row] if lane == "chat" else []


async def status(world) -> dict:
    async with world.client(key="root") as client:
        return (await client.get("/status")).json()


async def test_an_engine_that_admits_nothing_is_a_warning_with_what_to_do(world):
    """It says which, for how long, and whether the requests wait for something else."""
    Rows(world)

    (warning,) = [x for x in (await status(world))["warnings"] if "admits nothing" in x]

    assert warning.startswith("lane 'chat': the engine of replica r1 answers and admits nothing: ")
    assert "3 requests wait, 0 run, nothing has advanced for 42 s; none of them waits" in warning
    assert "Serve starts another" in warning


async def test_what_requests_wait_for_is_in_the_warning(world):
    """A grammar that never compiles is no broken engine."""
    Rows(world, waiting_deferred=2.0)

    (warning,) = [x for x in (await status(world))["warnings"] if "admits nothing" in x]

    assert "; 2 of them wait for a grammar, for KV on its way or for an adapter" in warning


async def test_an_engine_that_works_is_no_warning_and_its_cards_are_shown(world):
    """With what holds them back."""
    Rows(world, stalled=False)

    said = await status(world)

    assert not [x for x in said["warnings"] if "admits nothing" in x]
    (replica,) = said["lanes"]["chat"]["replicas"]
    assert replica["cards"] == ROW["cards"] and "text" not in replica


async def test_scrapes_at_the_same_time_share_one_collection(world):
    """The next one collects anew."""
    rows = Rows(world, text="# TYPE up gauge\nup 1\n")
    rows.gate.clear()
    async with world.client(key="root") as client:
        scrapes = [asyncio.ensure_future(client.get("/metrics")) for _ in range(3)]
        await rows.waits.wait()
        for _ in range(20):
            await asyncio.sleep(0)
        rows.gate.set()
        texts = {x.text for x in await asyncio.gather(*scrapes)}
        assert len(texts) == 1 and sorted(rows.asked) == ["chat", "quality"]
        await client.get("/metrics")

    assert len(rows.asked) == 4
    assert "up" in {x.name for x in text_string_to_metric_families(texts.pop())}
