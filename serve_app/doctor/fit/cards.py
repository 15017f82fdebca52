"""The cards that a fleet file may name: memory and what their tensor cores can do."""

from __future__ import annotations

from dataclasses import dataclass

from serve_app.config.lane import LaneConfig

MIB = 2**20
KIND = "accelerator_type:"
"""Begins the resource by which Ray places a lane on one kind of card."""


@dataclass(frozen=True, slots=True)
class KnownCard:
    """One kind of card.

    Attributes:
        memory_bytes: as nvidia-smi reports the total.
        capability: CUDA's compute capability; FP8 tensor cores begin with (8, 9).
        power_cap_watts: what the documents cap it at for a steady latency; None: no advice.

    """

    memory_bytes: int
    capability: tuple[int, int]
    power_cap_watts: int | None = None


KNOWN_CARDS = {
    # The FP8 document: 24,564 MiB, `nvidia-smi -pl 400`.
    "GeForce-RTX-4090": KnownCard(24_564 * MIB, (8, 9), 400),
    "GeForce-RTX-3090": KnownCard(24_576 * MIB, (8, 6)),
    "GeForce-RTX-5090": KnownCard(32_607 * MIB, (12, 0)),
    "L4": KnownCard(23_034 * MIB, (8, 9)),
    "L40S": KnownCard(46_068 * MIB, (8, 9)),
    "A100": KnownCard(40_960 * MIB, (8, 0)),
    "H100": KnownCard(81_559 * MIB, (9, 0)),
}
"""By the name that Ray gives the kind, without `accelerator_type:`."""


def kind_of_lane(lane: LaneConfig) -> str | None:
    """Return the kind of card that the lane's bundle asks for; None: any."""
    names = [name.removeprefix(KIND) for name in lane.bundle or {} if name.startswith(KIND)]
    return names[0] if names else None
