"""How much of a lane a replay takes."""

import pytest

from evals.replay.spare import QUIET_S, REST, LaneUse, rest_s, room_in


@pytest.mark.parametrize(
    ("use", "own", "quiet_s", "room"),
    [
        (LaneUse(0, 0, 16), 0, QUIET_S, 4),
        (LaneUse(0, 0, 16), 0, 0.0, 1),
        (LaneUse(6, 0, 16), 0, 0.0, 1),
        (LaneUse(4, 0, 16), 4, QUIET_S, 4),
        (LaneUse(8, 0, 16), 0, 0.0, 0),
        (LaneUse(8, 0, 16), 1, 0.0, 1),
        (LaneUse(1, 1, 16), 0, QUIET_S, 0),
        (LaneUse(0, 0, 16, kv=0.7), 0, QUIET_S, 0),
        (LaneUse(0, 0, 16, is_burning=True), 0, QUIET_S, 0),
        (LaneUse(0, 0, None), 0, QUIET_S, 1),
        (LaneUse(0, 0, 1), 0, QUIET_S, 0),
    ],
)
def test_one_beside_others_more_where_it_is_quiet_none_where_it_is_full(
    use, own, quiet_s, room
) -> None:
    found = room_in(use, own, most=4, quiet_s=quiet_s)

    assert found.requests == room
    assert bool(found.why) == (room == 0)


def test_it_rests_while_others_are_served() -> None:
    assert rest_s(2.0, quiet_s=0.0) == 2.0 * REST
    assert rest_s(2.0, quiet_s=QUIET_S) == 0.0
