"""One card's figures at one moment, and why its clocks are lower than they could be."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Protocol

THROTTLE_REASONS = {
    "power_cap": 0x04,
    "hw_slowdown": 0x08,
    "sync_boost": 0x10,
    "sw_thermal": 0x20,
    "hw_thermal": 0x40,
    "power_brake": 0x80,
}
"""Bits of NVML's `nvmlClocksEventReason*` that hold a card back against its owner's will.

`power_cap`: the power limit, the usual one under load; `sw_thermal` and `hw_thermal`: too
hot; `hw_slowdown`: one of the hardware's, which `hw_thermal` and `power_brake` tell apart;
`power_brake`: the power supply asked for it; `sync_boost`: it waits for a slower card of its
group. Left out are an idle card's bit (0x01) and clocks that somebody has set (0x02, 0x100).
"""


@dataclass(frozen=True, slots=True)
class CardReading:
    """What one card says; None: this card, or this driver, does not tell.

    Attributes:
        card: the card's UUID, the same in every process and after a restart.
        power_limit_watts: what the driver enforces now (`nvidia-smi -pl`).
        utilization: share of the last sample period in which a kernel ran, 0 to 1.
        fan: share of the fans' top speed, 0 to 1; passively cooled cards have none.
        reasons: NVML's bits, see `THROTTLE_REASONS`.

    """

    card: str
    name: str
    power_watts: float | None = None
    power_limit_watts: float | None = None
    temperature_celsius: float | None = None
    sm_clock_hertz: float | None = None
    memory_clock_hertz: float | None = None
    memory_used_bytes: float | None = None
    memory_total_bytes: float | None = None
    utilization: float | None = None
    fan: float | None = None
    reasons: int | None = None

    @property
    def throttled_by(self) -> list[str]:
        """Return the reasons that hold the card back now, by their names."""
        return [name for name, bit in THROTTLE_REASONS.items() if (self.reasons or 0) & bit]

    def row(self) -> dict[str, Any]:
        """Return the card as `/status` shows it."""
        known = {name: value for name, value in asdict(self).items() if name != "reasons"}
        return {**known, "throttled_by": self.throttled_by}


@dataclass(frozen=True, slots=True)
class CardFacts:
    """What does not change while the driver is loaded.

    Attributes:
        index: as nvidia-smi numbers it.
        driver: the driver's version, such as `580.82.07`.
        compute_capability: major and minor, such as (8, 9) of an RTX 4090.

    """

    card: str
    index: int
    name: str
    driver: str
    compute_capability: tuple[int, int]
    memory_total_bytes: int


class Cards(Protocol):
    """Where readings come from: NVML, or what was recorded for a test.

    Both methods block, for milliseconds or, while the driver is busy, longer.
    """

    def facts(self) -> list[CardFacts]:
        """Return what every card of the machine is."""

    def read(self, wanted: frozenset[str] | None = None) -> list[CardReading]:
        """Return a reading of each card: of those whose UUID is wanted, None: of all."""
