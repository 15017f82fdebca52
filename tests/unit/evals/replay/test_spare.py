"""How much of a lane a replay takes."""

import pytest

from evals.replay.spare import LaneUse, room_in


@pytest.mark.parametrize(
    ("use", "own", "room"),
    [
        (LaneUse(0, 0, 16), 0, 4),
        (LaneUse(6, 0, 16), 0, 2),
        (LaneUse(6, 0, 16), 4, 4),
        (LaneUse(8, 0, 16), 0, 0),
        (LaneUse(1, 1, 16), 0, 0),
        (LaneUse(0, 0, 16, kv=0.7), 0, 0),
        (LaneUse(0, 0, 16, is_burning=True), 0, 0),
        (LaneUse(0, 0, None), 0, 1),
        (LaneUse(1, 0, None), 1, 1),
        (LaneUse(2, 0, None), 1, 0),
        (LaneUse(0, 0, 1), 0, 0),
    ],
)
def test_half_of_a_lane_is_left_and_nobody_waits(use, own, room) -> None:
    found = room_in(use, own, most=4)

    assert found.requests == room
    assert bool(found.why) == (room == 0)
