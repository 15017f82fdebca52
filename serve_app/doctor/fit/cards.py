"""What a lane's fit needs to know of a card, be it one of the table or one of this machine."""

from __future__ import annotations

from typing import Protocol

from serve_app.config.lane import LaneConfig

KIND = "accelerator_type:"
"""Begins the resource by which Ray places a lane on one kind of card."""


class SizedCard(Protocol):
    """A card's memory in bytes, as nvidia-smi reports the total, and its compute capability."""

    @property
    def memory_bytes(self) -> int: ...

    @property
    def capability(self) -> tuple[int, int]: ...


def kind_of_lane(lane: LaneConfig) -> str | None:
    """Return the kind of card that the lane's bundle asks for; None: any."""
    names = [name.removeprefix(KIND) for name in lane.bundle or {} if name.startswith(KIND)]
    return names[0] if names else None
