"""Cards as NVIDIA's management library has them. Without a driver there are none."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pynvml

from serve_app.engine.cards.reading import CardFacts, CardReading

_MEGAHERTZ = 1_000_000


class NvmlCards:
    """Reads cards. The library is loaded at the first call, not at import.

    Safe to call from several threads: NVML is, and loading it is locked here.
    """

    def __init__(self, nvml: Any = pynvml) -> None:
        self._nvml = nvml
        self._lock = threading.Lock()
        self._is_loaded: bool | None = None
        self.fault = ""
        """Why no driver answers, as NVML says it, once `is_there` is known."""

    @property
    def is_there(self) -> bool:
        """Whether a driver answers. Asked once: a driver is not loaded under a running process."""
        with self._lock:
            if self._is_loaded is None:
                try:
                    self._nvml.nvmlInit()
                except self._nvml.NVMLError as error:
                    self._is_loaded, self.fault = False, str(error)
                else:
                    self._is_loaded = True
            return self._is_loaded

    def facts(self) -> list[CardFacts]:
        driver, found = self.driver(), []
        for index, handle, uuid in self._handles():
            ask, nvml = self._ask, self._nvml
            capability = ask(nvml.nvmlDeviceGetCudaComputeCapability, handle)
            memory = ask(nvml.nvmlDeviceGetMemoryInfo, handle)
            found.append(
                CardFacts(
                    card=uuid,
                    index=index,
                    name=_text(ask(nvml.nvmlDeviceGetName, handle)),
                    driver=driver,
                    compute_capability=(0, 0) if capability is None else tuple(capability),
                    memory_total_bytes=0 if memory is None else int(memory.total),
                )
            )
        return found

    def read(self, wanted: frozenset[str] | None = None) -> list[CardReading]:
        return [
            self._reading(handle, uuid)
            for _, handle, uuid in self._handles()
            if wanted is None or uuid in wanted
        ]

    def driver(self) -> str:
        """Return the driver's version; empty where none answers."""
        return _text(self._ask(self._nvml.nvmlSystemGetDriverVersion))

    def processes(self, index: int) -> list[tuple[int, int | None]]:
        """Return the processes on a card, and the bytes of its memory that each has, if told."""
        handle = self._ask(self._nvml.nvmlDeviceGetHandleByIndex, index)
        found = self._ask(self._nvml.nvmlDeviceGetComputeRunningProcesses, handle)
        return [(x.pid, x.usedGpuMemory) for x in found or ()]

    def _handles(self) -> Iterator[tuple[int, Any, str]]:
        if not self.is_there:
            return
        nvml = self._nvml
        for index in range(self._ask(nvml.nvmlDeviceGetCount) or 0):
            handle = self._ask(nvml.nvmlDeviceGetHandleByIndex, index)
            uuid = None if handle is None else self._ask(nvml.nvmlDeviceGetUUID, handle)
            if uuid is not None:
                yield index, handle, _text(uuid)

    def _reading(self, handle: Any, uuid: str) -> CardReading:
        nvml, ask = self._nvml, self._ask
        memory = ask(nvml.nvmlDeviceGetMemoryInfo, handle)
        rates = ask(nvml.nvmlDeviceGetUtilizationRates, handle)
        return CardReading(
            card=uuid,
            name=_text(ask(nvml.nvmlDeviceGetName, handle)),
            # NVML says milliwatts, degrees, megahertz and percent.
            power_watts=_scaled(ask(nvml.nvmlDeviceGetPowerUsage, handle), 0.001),
            power_limit_watts=_scaled(ask(nvml.nvmlDeviceGetEnforcedPowerLimit, handle), 0.001),
            temperature_celsius=self._temperature(handle),
            sm_clock_hertz=self._clock(handle, nvml.NVML_CLOCK_SM),
            memory_clock_hertz=self._clock(handle, nvml.NVML_CLOCK_MEM),
            memory_used_bytes=None if memory is None else float(memory.used),
            memory_total_bytes=None if memory is None else float(memory.total),
            utilization=None if rates is None else rates.gpu / 100,
            fan=_scaled(ask(nvml.nvmlDeviceGetFanSpeed, handle), 0.01),
            reasons=self._reasons(handle),
        )

    def _clock(self, handle: Any, kind: int) -> float | None:
        return _scaled(self._ask(self._nvml.nvmlDeviceGetClockInfo, handle, kind), _MEGAHERTZ)

    def _temperature(self, handle: Any) -> float | None:
        nvml = self._nvml
        # The versioned call is the one that stays; drivers before R575 lack it.
        found = self._ask(nvml.nvmlDeviceGetTemperatureV, handle, nvml.NVML_TEMPERATURE_GPU)
        if found is None:
            found = self._ask(nvml.nvmlDeviceGetTemperature, handle, nvml.NVML_TEMPERATURE_GPU)
        return None if found is None else float(found)

    def _reasons(self, handle: Any) -> int | None:
        nvml = self._nvml
        # The same bits: drivers before R535 have them under the older name alone.
        found = self._ask(nvml.nvmlDeviceGetCurrentClocksEventReasons, handle)
        if found is None:
            found = self._ask(nvml.nvmlDeviceGetCurrentClocksThrottleReasons, handle)
        return None if found is None else int(found)

    def _ask(self, question: Callable[..., Any], *args: Any) -> Any:
        """Return NVML's answer; None where this card or driver has none."""
        with contextlib.suppress(self._nvml.NVMLError):
            return question(*args) if self.is_there else None
        return None


def _scaled(value: Any, factor: float) -> float | None:
    return None if value is None else float(value) * factor


def _text(value: Any) -> str:
    # Older releases of the binding give bytes.
    return value.decode() if isinstance(value, bytes) else str(value or "")
