"""What cards say of themselves, from recorded readings; on a machine with cards, from those."""

import asyncio

import pynvml
import pytest
from prometheus_client.parser import text_string_to_metric_families

from serve_app.engine.cards.exposition import cards_text
from serve_app.engine.cards.nvml import NvmlCards
from serve_app.engine.cards.own_cards import (
    OwnCards,
    cards_of_engine,
    no_cards,
    visible_cards,
)
from serve_app.engine.cards.reading import THROTTLE_REASONS
from serve_app.engine.cards.worker import CardReporter
from tests.recorded_cards import RecordedNvml

REASONS = {
    "power_cap": pynvml.nvmlClocksEventReasonSwPowerCap,
    "hw_slowdown": pynvml.nvmlClocksEventReasonHwSlowdown,
    "sync_boost": pynvml.nvmlClocksEventReasonSyncBoost,
    "sw_thermal": pynvml.nvmlClocksEventReasonSwThermalSlowdown,
    "hw_thermal": pynvml.nvmlClocksEventReasonHwThermalSlowdown,
    "power_brake": pynvml.nvmlClocksEventReasonHwPowerBrakeSlowdown,
}


needs_gpu = pytest.mark.skipif(not NvmlCards().is_there, reason="no NVIDIA driver answers")


class Engine:
    """An engine whose workers answer, or do not."""

    def __init__(self, answer) -> None:
        self.answer = answer

    async def collective_rpc(self, method):
        if isinstance(self.answer, Exception):
            raise self.answer
        return [self.answer] if method == "reported_card" else []


def samples(*states: str) -> dict[tuple, float]:
    text = cards_text(NvmlCards(RecordedNvml(*states)).read())
    found = text_string_to_metric_families(text)
    return {(s.name, *s.labels.values()): s.value for x in found for s in x.samples}


def test_the_reasons_are_nvml_s_bits():
    """By name, so that a new release of the binding that moves one is found."""
    assert THROTTLE_REASONS == REASONS


@pytest.mark.parametrize("is_old", [False, True])
def test_a_card_is_read_in_watts_degrees_hertz_and_bytes(is_old):
    """Also by a driver that knows the older calls alone."""
    (card,) = NvmlCards(RecordedNvml("steady", is_old=is_old)).read()

    assert card.name == "NVIDIA GeForce RTX 4090" and card.card == "GPU-0"
    assert card.power_watts == pytest.approx(340.12) and card.power_limit_watts == 450
    assert card.temperature_celsius == 74 and card.fan == pytest.approx(0.58)
    assert card.sm_clock_hertz == 2.64e9 and card.memory_clock_hertz == 1.0501e10
    assert card.memory_used_bytes == 22 * 2**30 and card.memory_total_bytes == 24_564 * 2**20
    assert card.utilization == 0.97 and card.throttled_by == []


@pytest.mark.parametrize(
    ("state", "reasons"),
    [
        ("too_hot", ["hw_slowdown", "sw_thermal", "hw_thermal"]),
        ("power_capped", ["power_cap"]),
        ("idle", []),
        ("silent", []),
    ],
)
def test_what_holds_a_card_back_is_told_by_name(state, reasons):
    """An idle card clocks down, and nothing holds it back."""
    (card,) = NvmlCards(RecordedNvml(state)).read()

    assert card.throttled_by == card.row()["throttled_by"] == reasons


def test_each_reason_is_a_series_of_each_card():
    """0 where it does not hold the card back: an alert needs the series."""
    found = samples("too_hot", "power_capped")

    throttled = {k[1:]: v for k, v in found.items() if k[0] == "pointsman_card_throttled"}
    assert len(throttled) == 2 * len(THROTTLE_REASONS)
    assert {k for k, v in throttled.items() if v} == {
        ("GPU-0", "hw_slowdown"),
        ("GPU-0", "sw_thermal"),
        ("GPU-0", "hw_thermal"),
        ("GPU-1", "power_cap"),
    }
    assert found["pointsman_card_temperature_celsius", "GPU-0"] == 84
    assert found["pointsman_card_power_limit_watts", "GPU-1"] == 400
    assert found["pointsman_card_utilization_ratio", "GPU-1"] == 0.97
    assert found["pointsman_card_fan_ratio", "GPU-0"] == 1.0


def test_what_a_card_does_not_tell_is_absent_not_zero():
    """A laptop's card has no fan to ask for, a virtual one no power."""
    assert samples("silent") == {}
    assert {k[1] for k in samples("silent", "steady")} == {"GPU-1"}


def test_without_a_driver_there_are_no_cards_and_nothing_is_asked_again():
    """As on a machine without a GPU."""
    nvml = RecordedNvml()
    cards = NvmlCards(nvml)

    assert [cards.read(), cards.read(), cards.facts()] == [[], [], []]
    assert nvml.loads == 1 and cards_text([]) == ""


def test_what_a_card_is_can_be_asked():
    """Driver and compute capability, for whoever checks a machine."""
    steady, silent = NvmlCards(RecordedNvml("steady", "silent")).facts()

    assert (steady.driver, steady.compute_capability) == ("580.82.07", (8, 9))
    assert steady.memory_total_bytes == 24_564 * 2**20
    assert silent.compute_capability == (0, 0) and silent.memory_total_bytes == 0


async def test_a_replica_reads_its_own_cards_at_most_once_a_second():
    """Not those of its neighbours on the machine."""
    nvml, now = RecordedNvml("steady", "too_hot"), [0.0]

    async def second() -> frozenset[str]:
        return frozenset({"GPU-1"})

    own = OwnCards(second, NvmlCards(nvml), lambda: now[0])
    first = await own.read()
    now[0] = 0.9
    again = await own.read()
    assert [x.card for x in first] == ["GPU-1"] and again is first and nvml.reads == 1
    now[0] = 1.1
    await own.read()
    assert nvml.reads == 2


async def test_a_lane_without_cards_never_asks_the_driver():
    """CPU lanes and simulated ones, on a machine that has a card."""
    nvml = RecordedNvml("steady")

    assert await OwnCards(no_cards, NvmlCards(nvml)).read() == []
    assert nvml.loads == 0


async def test_a_driver_that_is_stuck_holds_up_nobody(monkeypatch):
    """The figures before are told; it is not asked again while it is."""
    monkeypatch.setattr("serve_app.engine.cards.own_cards.WAIT_S", 0.0)
    found, now = asyncio.Event(), [0.0]

    async def find() -> frozenset[str]:
        await found.wait()
        return frozenset({"GPU-0"})

    nvml = RecordedNvml("steady")
    own = OwnCards(find, NvmlCards(nvml), lambda: now[0])
    assert await own.read() == []
    now[0] = 5.0
    assert await own.read() == [] and nvml.reads == 0
    found.set()
    monkeypatch.setattr("serve_app.engine.cards.own_cards.WAIT_S", 10.0)
    assert [x.card for x in await own.read()] == ["GPU-0"]


async def test_a_reading_that_fails_is_told_once_and_tried_again(caplog):
    """And costs the engine's own figures nothing."""
    now, faults = [0.0], [OSError("lost"), OSError("lost")]

    async def find() -> frozenset[str]:
        if faults:
            raise faults.pop()
        return frozenset({"GPU-0"})

    own = OwnCards(find, NvmlCards(RecordedNvml("steady")), lambda: now[0])
    read = []
    for second in (0.0, 1.0, 2.0):
        now[0] = second
        read.append(len(await own.read()))

    assert read == [0, 0, 1]
    assert len([x for x in caplog.records if "cards cannot be read" in x.message]) == 1


async def test_an_engine_s_cards_are_those_that_its_workers_name(monkeypatch):
    """Where they cannot say, those that the environment names by UUID."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-7, 3")

    assert await cards_of_engine(Engine("GPU-1")) == {"GPU-1"}
    assert await cards_of_engine(Engine(None)) == {"GPU-7"}
    assert await cards_of_engine(Engine(RuntimeError("no such method"))) == {"GPU-7"}
    assert visible_cards({}) == visible_cards({"CUDA_VISIBLE_DEVICES": ""}) == frozenset()


@pytest.mark.gpu
@needs_gpu
def test_the_cards_of_this_machine_can_be_read():
    """Every figure that a data-centre or consumer card tells, within what is possible."""
    cards = NvmlCards()
    facts, readings = cards.facts(), cards.read()

    assert facts and [x.card for x in facts] == [x.card for x in readings]
    for fact, card in zip(facts, readings, strict=True):
        assert fact.driver and fact.compute_capability >= (7, 0)
        assert 0 < card.memory_used_bytes < card.memory_total_bytes == fact.memory_total_bytes
        assert 0 < card.power_watts < 1500 and 0 < card.temperature_celsius < 110
        assert 0 <= card.utilization <= 1 and card.sm_clock_hertz > 1e8


@pytest.mark.gpu
@needs_gpu
def test_a_worker_s_card_is_one_that_nvml_knows_by_that_name():
    """torch and NVML write UUIDs alike."""
    assert CardReporter().reported_card() in {x.card for x in NvmlCards().facts()}
