"""What a lane replica publishes: the engine's text, its own metrics, a row for `/status`."""

import asyncio
import logging

import pytest
from prometheus_client.parser import text_string_to_metric_families

from serve_app.engine.cards.nvml import NvmlCards
from serve_app.engine.cards.own_cards import OwnCards, no_cards
from serve_app.engine.engine_signals import LOAD_FRESH_S, EngineSignals
from tests.recorded_cards import RecordedNvml

TEXT = """\
# HELP vllm:num_requests_running Running.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{{engine="0",model_name="m"}} {running}
# HELP vllm:num_requests_waiting Waiting.
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{{engine="0",model_name="m"}} {waiting}
# HELP vllm:num_requests_waiting_by_reason Waiting.
# TYPE vllm:num_requests_waiting_by_reason gauge
vllm:num_requests_waiting_by_reason{{engine="0",model_name="m",reason="capacity"}} 0.0
vllm:num_requests_waiting_by_reason{{engine="0",model_name="m",reason="deferred"}} {waiting}
# HELP vllm:kv_cache_usage_perc KV.
# TYPE vllm:kv_cache_usage_perc gauge
vllm:kv_cache_usage_perc{{engine="0",model_name="m"}} 0.25
# HELP vllm:generation_tokens_total Tokens.
# TYPE vllm:generation_tokens_total counter
vllm:generation_tokens_total{{engine="0",model_name="m"}} {tokens}
# HELP vllm:prompt_tokens_by_source_total Tokens.
# TYPE vllm:prompt_tokens_by_source_total counter
vllm:prompt_tokens_by_source_total{{engine="0",model_name="m",source="local_compute"}} 40.0
# HELP vllm:cache_config_info Cache.
# TYPE vllm:cache_config_info gauge
vllm:cache_config_info{{block_size="16",cache_dtype="fp8_e4m3",engine="0"}} 1.0
# HELP vllm:kv_block_reuse_gap_seconds Gap.
# TYPE vllm:kv_block_reuse_gap_seconds histogram
vllm:kv_block_reuse_gap_seconds_bucket{{engine="0",le="+Inf",model_name="m"}} 4.0
vllm:kv_block_reuse_gap_seconds_count{{engine="0",model_name="m"}} 4.0
vllm:kv_block_reuse_gap_seconds_sum{{engine="0",model_name="m"}} 10.0
"""


class Replica:
    """An engine that says what a test wants, and the clock by which it is read."""

    def __init__(self, cards: OwnCards | None = None) -> None:
        self.now, self.fetched, self.in_flight = 0.0, 0, 3
        self.says = {"running": 0, "waiting": 3, "tokens": 100}
        self.held: asyncio.Event | None = None
        self.fault: Exception | None = None
        self.signals = EngineSignals(
            self.fetch,
            cards or OwnCards(no_cards),
            lambda: self.in_flight,
            lane="chat",
            replica="r1",
            stalled_after_s=30.0,
            clock=lambda: self.now,
        )

    async def fetch(self) -> str:
        self.fetched += 1
        if self.held is not None:
            await self.held.wait()
        if self.fault is not None:
            raise self.fault
        return TEXT.format(**self.says)

    async def look(self, now: float, **says: float) -> dict:
        self.now = now
        self.says |= says
        return await self.signals.metrics()


def values(text: str) -> dict[str, float]:
    found = text_string_to_metric_families(text)
    return {s.name: s.value for family in found for s in family.samples}


async def test_every_sample_is_labelled_with_lane_and_replica():
    """The engine's own names are untouched, and ours stand beside them."""
    row = await Replica().look(0.0)

    families = list(text_string_to_metric_families(row["text"]))
    assert {(s.labels["lane"], s.labels["replica"]) for x in families for s in x.samples} == {
        ("chat", "r1")
    }
    assert values(row["text"])["vllm:num_requests_waiting"] == 3.0
    assert "pointsman_prompt_tokens_total" in values(row["text"])
    assert "pointsman_card_power_watts" not in values(row["text"]) and row["cards"] == []


async def test_the_row_tells_why_requests_wait_and_how_long_blocks_stay():
    """None: the engine has not counted any yet."""
    row = await Replica().look(0.0)

    assert (row["waiting"], row["waiting_deferred"], row["waiting_capacity"]) == (3.0, 3.0, 0.0)
    assert row["kv_block_reuse_gap_s"] == 2.5 and row["kv_block_lifetime_s"] is None
    assert row["kv_cache_dtype"] == "fp8_e4m3"
    assert row["prompt_tokens"] == {"device": 0.0, "host": 0.0, "recomputed": 40.0}
    assert (row["replica"], row["in_flight"], row["preemptions"]) == ("r1", 3, 0.0)


async def test_an_engine_that_admits_nothing_is_told_of_everywhere(caplog):
    """In the row, as a metric, and once in the log; and that it works again."""
    replica = Replica()
    with caplog.at_level(logging.INFO, logger="ray.serve"):
        rows = [await replica.look(float(now)) for now in (0, 29, 31, 40)]
        again = await replica.look(42.0, tokens=101)

    assert [x["stalled"] for x in rows] == [False, False, True, True] and not again["stalled"]
    assert [values(x["text"])["pointsman_engine_stalled"] for x in (*rows, again)] == [
        0,
        0,
        1,
        1,
        0,
    ]
    assert rows[-1]["stalled_s"] == 40.0 and again["stalled_s"] == 0.0
    told = [x for x in caplog.records if "admits nothing" in x.message]
    assert len(told) == 1 and "3 wait (3 deferred), 0 run" in told[0].message
    assert "works again" in caplog.records[-1].message


async def test_a_gauge_that_vllm_left_standing_is_no_stall():
    """The client of what waited has gone: the engine has nothing to do, and says so no more."""
    replica = Replica()
    await replica.look(0.0)
    replica.in_flight = 0

    assert not (await replica.look(99.0))["stalled"]
    replica.in_flight = 1
    assert not (await replica.look(110.0))["stalled"]


async def test_all_who_ask_at_once_share_one_reading():
    """One who leaves takes nothing from the others."""
    replica = Replica()
    replica.held = asyncio.Event()
    asking = [asyncio.ensure_future(replica.signals.metrics()) for _ in range(3)]
    asking.append(asyncio.ensure_future(replica.signals.load()))
    await asyncio.sleep(0)
    asking[0].cancel()
    replica.held.set()
    done = await asyncio.gather(*asking, return_exceptions=True)

    assert replica.fetched == 1
    assert isinstance(done[0], asyncio.CancelledError)
    assert done[1]["text"] == done[2]["text"] and "text" not in done[3]


async def test_load_is_read_anew_only_when_it_is_old():
    """Every ingress replica asks each second; a scrape always reads."""
    replica = Replica()
    await replica.signals.load()
    replica.now = LOAD_FRESH_S
    assert (await replica.signals.load())["waiting"] == 3.0 and replica.fetched == 1
    await replica.signals.metrics()
    assert replica.fetched == 2
    replica.now = 3 * LOAD_FRESH_S
    await replica.signals.load()
    assert replica.fetched == 3


async def test_an_engine_that_cannot_be_read_is_asked_again():
    """The error goes to whoever waited, and no further."""
    replica = Replica()
    replica.fault = OSError("gone")
    with pytest.raises(OSError, match="gone"):
        await replica.signals.metrics()
    replica.fault = None

    assert (await replica.signals.metrics())["waiting"] == 3.0


async def test_a_replica_s_cards_are_in_its_row_and_its_text():
    """With the labels of lane and replica."""

    async def own() -> frozenset[str]:
        return frozenset({"GPU-0"})

    row = await Replica(OwnCards(own, NvmlCards(RecordedNvml("power_capped")))).look(0.0)

    assert [(x["card"], x["throttled_by"]) for x in row["cards"]] == [("GPU-0", ["power_cap"])]
    capped = 'pointsman_card_throttled{lane="chat",replica="r1",card="GPU-0",reason="power_cap"} 1'
    assert capped in row["text"]
