"""Which replicas of a lane are its warm pool: loaded, and placed nothing until they are needed."""

from __future__ import annotations

from collections.abc import Mapping

USED = 0.85
"""Mean use of the others from which one of the pool takes turns; autoscaling's `high`."""


def standing_by(in_use: Mapping[str, float], standby: int) -> frozenset[str]:
    """Return the live replicas that get no turns because the others have room.

    The same wherever it is asked of the same figures: the last ones by name. They are warm, so
    one that is needed is there with the next turn.

    Args:
        in_use: by replica, the share of it that is used, 0 to 1.
        standby: how many the lane keeps.

    """
    names = sorted(in_use)
    work = sum(in_use.values())
    for awake in range(max(1, len(names) - standby), len(names)):
        if work <= USED * awake:
            return frozenset(names[awake:])
    return frozenset()
