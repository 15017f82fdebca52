"""Cards as NVIDIA's management library has them. Without a driver there are none."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pynvml

from serve_app.doctor.machine.cards import Card, CardProcess, Cards
from serve_app.engine.cards.reading import THROTTLE_REASONS


class NvmlCards:
    """Reads all cards of the machine."""

    def __init__(self, nvml: Any = pynvml) -> None:
        self._nvml = nvml

    def read(self) -> Cards:
        nvml = self._nvml
        try:
            nvml.nvmlInit()
        except nvml.NVMLError as error:
            return Cards(why_none=f"no NVIDIA driver answers ({error})")
        try:
            count = self._ask(nvml.nvmlDeviceGetCount) or 0
            cards = tuple(self._card(index) for index in range(count))
            driver = _text(self._ask(nvml.nvmlSystemGetDriverVersion))
            return Cards(driver, cards, "" if cards else "the driver sees no card")
        finally:
            with contextlib.suppress(nvml.NVMLError):
                nvml.nvmlShutdown()

    def _card(self, index: int) -> Card:
        nvml, ask = self._nvml, self._ask
        handle = ask(nvml.nvmlDeviceGetHandleByIndex, index)
        memory = ask(nvml.nvmlDeviceGetMemoryInfo, handle)
        capability = ask(nvml.nvmlDeviceGetCudaComputeCapability, handle) or (0, 0)
        bits = ask(nvml.nvmlDeviceGetCurrentClocksEventReasons, handle)
        if bits is None:
            # Drivers before R535 have the same bits under this name alone.
            bits = ask(nvml.nvmlDeviceGetCurrentClocksThrottleReasons, handle) or 0
        return Card(
            index=index,
            name=_text(ask(nvml.nvmlDeviceGetName, handle)),
            capability=(int(capability[0]), int(capability[1])),
            memory_total_bytes=0 if memory is None else int(memory.total),
            memory_used_bytes=0 if memory is None else int(memory.used),
            # NVML says milliwatts.
            power_watts=_watts(ask(nvml.nvmlDeviceGetPowerUsage, handle)),
            power_limit_watts=_watts(ask(nvml.nvmlDeviceGetEnforcedPowerLimit, handle)),
            temperature_celsius=self._temperature(handle),
            throttled_by=tuple(name for name, bit in THROTTLE_REASONS.items() if bits & bit),
            processes=tuple(
                CardProcess(found.pid, _name_of(found.pid), found.usedGpuMemory)
                for found in ask(nvml.nvmlDeviceGetComputeRunningProcesses, handle) or ()
            ),
        )

    def _temperature(self, handle: Any) -> float | None:
        # Newer releases of the library have a call of the same name with a version.
        found = self._ask(
            self._nvml.nvmlDeviceGetTemperature, handle, self._nvml.NVML_TEMPERATURE_GPU
        )
        return None if found is None else float(found)

    def _ask(self, question: Callable[..., Any], *args: Any) -> Any:
        """Return NVML's answer; None where this card or driver has none."""
        with contextlib.suppress(self._nvml.NVMLError):
            return question(*args)
        return None


def _watts(milliwatts: int | None) -> float | None:
    return None if milliwatts is None else milliwatts / 1000


def _name_of(pid: int) -> str:
    """The name of a process of this machine; a container does not see those of its host."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return "a process that is not visible from here"


def _text(value: Any) -> str:
    # Older releases of the binding give bytes.
    return value.decode() if isinstance(value, bytes) else str(value or "")
