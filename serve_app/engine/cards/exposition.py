"""Readings of cards as Prometheus metrics."""

from __future__ import annotations

from serve_app.engine.cards.reading import THROTTLE_REASONS, CardReading

_GAUGES = {
    "power_watts": ("power_watts", "Power that the card draws."),
    "power_limit_watts": ("power_limit_watts", "Power limit that the driver enforces."),
    "temperature_celsius": ("temperature_celsius", "Temperature of the card's chip."),
    "sm_clock_hertz": ("sm_clock_hertz", "Clock of the card's multiprocessors."),
    "memory_clock_hertz": ("memory_clock_hertz", "Clock of the card's memory."),
    "memory_used_bytes": ("memory_used_bytes", "Memory of the card that is in use."),
    "memory_total_bytes": ("memory_total_bytes", "Memory of the card."),
    "utilization": ("utilization_ratio", "Part of the time in which a kernel ran, 0 to 1."),
    "fan": ("fan_ratio", "Part of the fans' top speed, 0 to 1."),
}


def cards_text(readings: list[CardReading]) -> str:
    """Return the metrics of cards: none of a figure that no card tells, nothing without cards."""
    lines: list[str] = []
    for attribute, (suffix, text) in _GAUGES.items():
        known = [(x.card, getattr(x, attribute)) for x in readings]
        samples = [f'{{card="{card}"}} {value}' for card, value in known if value is not None]
        lines += _family(f"pointsman_card_{suffix}", text, samples)
    throttled = [
        f'{{card="{x.card}",reason="{reason}"}} {int(reason in x.throttled_by)}'
        for x in readings
        if x.reasons is not None
        for reason in THROTTLE_REASONS
    ]
    lines += _family(
        "pointsman_card_throttled", "1 while the card's clocks are held down by it.", throttled
    )
    return "".join(f"{line}\n" for line in lines)


def _family(name: str, text: str, samples: list[str]) -> list[str]:
    if not samples:
        return []
    head = [f"# HELP {name} {text}", f"# TYPE {name} gauge"]
    return head + [name + sample for sample in samples]
