"""NVML as it would answer for the cards of `card_readings.json`."""

# ruff: noqa: N802  # the names are NVML's

import json
from pathlib import Path
from types import SimpleNamespace

READINGS = json.loads(Path(__file__).with_name("card_readings.json").read_text())


class NvmlFault(Exception):
    """What NVML says where it has no answer."""


class RecordedNvml:
    """Stands for the module `pynvml` on a machine with these cards; none: without a driver.

    `is_old`: a driver that does not know the newer calls.
    """

    NVMLError = NvmlFault
    NVML_CLOCK_SM, NVML_CLOCK_MEM, NVML_TEMPERATURE_GPU = 1, 2, 0

    def __init__(self, *states: str, is_old: bool = False) -> None:
        self.cards = [READINGS[x] | {"uuid": f"GPU-{i}"} for i, x in enumerate(states)]
        self.is_old, self.loads, self.reads = is_old, 0, 0

    def nvmlInit(self):
        self.loads += 1
        if not self.cards:
            raise NvmlFault("Driver Not Loaded")

    def nvmlSystemGetDriverVersion(self):
        return READINGS["driver"]

    def nvmlDeviceGetCount(self):
        return len(self.cards)

    def nvmlDeviceGetHandleByIndex(self, index):
        return self.cards[index]

    def nvmlDeviceGetUUID(self, card):
        return card["uuid"]

    def nvmlDeviceGetName(self, card):
        return card["name"].encode() if self.is_old else card["name"]

    def nvmlDeviceGetCudaComputeCapability(self, card):
        return told(card["capability"])

    def nvmlDeviceGetMemoryInfo(self, card):
        return SimpleNamespace(**told(card["memory"]))

    def nvmlDeviceGetUtilizationRates(self, card):
        return SimpleNamespace(gpu=told(card["utilization"]))

    def nvmlDeviceGetPowerUsage(self, card):
        self.reads += 1
        return told(card["power"])

    def nvmlDeviceGetEnforcedPowerLimit(self, card):
        return told(card["power_limit"])

    def nvmlDeviceGetTemperatureV(self, card, _):
        return self.newer(card["temperature"])

    def nvmlDeviceGetTemperature(self, card, _):
        return told(card["temperature"])

    def nvmlDeviceGetClockInfo(self, card, kind):
        return told(card["sm_clock" if kind == self.NVML_CLOCK_SM else "memory_clock"])

    def nvmlDeviceGetFanSpeed(self, card):
        return told(card["fan"])

    def nvmlDeviceGetCurrentClocksEventReasons(self, card):
        return self.newer(card["reasons"])

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, card):
        return told(card["reasons"])

    def nvmlDeviceGetComputeRunningProcesses(self, card):
        return told(card.get("processes"))

    def newer(self, value):
        if self.is_old:
            raise NvmlFault("Function Not Found")
        return told(value)


def told(value):
    if value is None:
        raise NvmlFault("Not Supported")
    return value
