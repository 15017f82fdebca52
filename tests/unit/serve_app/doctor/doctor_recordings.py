"""Readings of cards, as files."""

import json
from pathlib import Path

from serve_app.doctor.machine.cards import Card, CardProcess, Cards

HERE = Path(__file__).parent / "recorded"
NONE = Cards(why_none="no NVIDIA driver answers (NVML Shared Library Not Found)")


def recorded(name: str) -> Cards:
    data = json.loads((HERE / f"{name}.json").read_text())
    cards = tuple(
        Card(
            **{
                **card,
                "capability": tuple(card["capability"]),
                "throttled_by": tuple(card["throttled_by"]),
                "processes": tuple(CardProcess(**x) for x in card["processes"]),
            }
        )
        for card in data["cards"]
    )
    return Cards(data["driver"], cards)


class Recorded:
    """Gives one reading after the other, the last for ever."""

    def __init__(self, *readings: Cards) -> None:
        self._readings = list(readings)

    def read(self) -> Cards:
        return self._readings.pop(0) if len(self._readings) > 1 else self._readings[0]
