"""Reading cards from NVIDIA's library, which a fake stands in for; and from a real one."""

from types import SimpleNamespace

import pytest

from serve_app.doctor.machine.nvml import NvmlCards


class Error(Exception):
    """As NVML's."""


ANSWERS = {
    "nvmlShutdown": None,
    "nvmlDeviceGetCount": 1,
    "nvmlSystemGetDriverVersion": b"580.95.05",
    "nvmlDeviceGetHandleByIndex": 0,
    "nvmlDeviceGetName": "NVIDIA GeForce RTX 4090",
    "nvmlDeviceGetCudaComputeCapability": (8, 9),
    "nvmlDeviceGetMemoryInfo": SimpleNamespace(total=24_564 * 2**20, used=412 * 2**20),
    "nvmlDeviceGetPowerUsage": 352_400,
    "nvmlDeviceGetEnforcedPowerLimit": 400_000,
    "nvmlDeviceGetTemperature": 74,
    "nvmlDeviceGetCurrentClocksEventReasons": 0x1 | 0x4 | 0x20,
    "nvmlDeviceGetCurrentClocksThrottleReasons": 0x40,
    "nvmlDeviceGetComputeRunningProcesses": [SimpleNamespace(pid=1, usedGpuMemory=None)],
}


class FakeNvml:
    """One card; what is named in `lacks`, this driver does not have."""

    NVMLError = Error
    NVML_TEMPERATURE_GPU = 0

    def __init__(self, *lacks, cards=1, there=True):
        self._lacks = {*lacks, *([] if there else ["nvmlInit"])}
        self._answers = {"nvmlInit": None, **ANSWERS, "nvmlDeviceGetCount": cards}
        self.asked = []

    def __getattr__(self, name):
        def answer(*_):
            self.asked.append(name)
            if name in self._lacks:
                raise Error(f"{name}: Not Found")
            return self._answers[name]

        return answer


def test_a_card_is_read_in_watts_bytes_and_names():
    nvml = FakeNvml()
    found = NvmlCards(nvml).read()
    (card,) = found.cards
    assert (found.driver, found.why_none) == ("580.95.05", "")
    assert (card.power_watts, card.power_limit_watts) == (352.4, 400.0)
    assert (card.temperature_celsius, card.capability) == (74.0, (8, 9))
    # An idle card's bit is no fault.
    assert card.throttled_by == ("power_cap", "sw_thermal")
    assert card.processes[0].pid == 1 and card.processes[0].name
    assert nvml.asked[-1] == "nvmlShutdown"


def test_what_a_card_does_not_tell_is_none_or_asked_by_its_older_name():
    lacks = [
        "nvmlDeviceGetCurrentClocksEventReasons",
        "nvmlDeviceGetPowerUsage",
        "nvmlDeviceGetTemperature",
        "nvmlDeviceGetComputeRunningProcesses",
    ]
    (card,) = NvmlCards(FakeNvml(*lacks)).read().cards
    assert card.throttled_by == ("hw_thermal",)
    assert (card.power_watts, card.temperature_celsius, card.processes) == (None, None, ())


def test_without_driver_or_card_it_says_why():
    assert "Not Found" in NvmlCards(FakeNvml(there=False)).read().why_none
    assert NvmlCards(FakeNvml(cards=0)).read().why_none == "the driver sees no card"


@pytest.mark.gpu
def test_a_real_card_is_read():
    found = NvmlCards().read()
    if not found.cards:
        pytest.skip(found.why_none)
    for card in found.cards:
        assert card.memory_total_bytes > 2**30
        assert card.capability >= (5, 0)
        assert found.driver.split(".")[0].isdigit()
