"""The machine's cards, from recorded readings of NVIDIA's library; and from a real one."""

from types import SimpleNamespace

import pytest

from serve_app.doctor.machine.nvml import MachineCards
from serve_app.engine.cards.nvml import NvmlCards
from tests.recorded_cards import RecordedNvml


def test_a_card_is_read_in_watts_bytes_and_names():
    nvml = RecordedNvml("idle", "too_hot")
    nvml.cards[1]["processes"] = [SimpleNamespace(pid=1, usedGpuMemory=None)]

    found = MachineCards(NvmlCards(nvml)).read()

    idle, card = found.cards
    assert (found.driver, found.why_none) == ("580.82.07", "")
    assert (card.index, card.name) == (1, "NVIDIA GeForce RTX 4090")
    assert (card.power_watts, card.power_limit_watts) == (pytest.approx(327.45), 450.0)
    assert (card.temperature_celsius, card.capability) == (84.0, (8, 9))
    assert card.memory_used_bytes == 22 * 2**30
    # An idle card's bit is no fault.
    assert idle.throttled_by == () and "hw_thermal" in card.throttled_by
    assert card.processes[0].pid == 1 and card.processes[0].name
    assert card.processes[0].memory_bytes is None


def test_what_a_card_does_not_tell_is_none_or_asked_by_its_older_name():
    old, silent = RecordedNvml("too_hot", is_old=True), RecordedNvml("silent")

    (card,) = MachineCards(NvmlCards(old)).read().cards
    assert "hw_thermal" in card.throttled_by and card.temperature_celsius == 84.0
    (card,) = MachineCards(NvmlCards(silent)).read().cards
    assert (card.power_watts, card.temperature_celsius, card.processes) == (None, None, ())
    assert (card.memory_total_bytes, card.throttled_by) == (0, ())


def test_without_driver_or_card_it_says_why():
    nvml = RecordedNvml("steady")
    cards = NvmlCards(nvml)
    assert cards.is_there
    nvml.cards.clear()

    assert MachineCards(cards).read().why_none == "the driver sees no card"
    assert "Driver Not Loaded" in MachineCards(NvmlCards(nvml)).read().why_none


@pytest.mark.gpu
def test_a_real_card_is_read():
    found = MachineCards().read()
    if not found.cards:
        pytest.skip(found.why_none)
    for card in found.cards:
        assert card.memory_total_bytes > 2**30
        assert card.capability >= (5, 0)
        assert found.driver.split(".")[0].isdigit()
