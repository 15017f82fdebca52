"""What must hold of every explored decision: its propensity is the measure of its draws."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.routing.lane import decide_lane
from router.routing.levels import Band, LevelView
from router.routing.policy import Judgement, RoutingPolicy, StrongerLane
from router.types import Lane, Reason, RequestFacts, TierRules

LANES = {name: Lane(name, name, 8000) for name in ("chat", "quality", "frontier")}
STRONGER = (StrongerLane("frontier", Reason.FRONTIER), StrongerLane("quality", Reason.COMPLEX))
PLAIN = RequestFacts(pinned=None, has_tools=False, prompt_tokens=100, output_tokens=50)
CELLS = 16
"""The draws at the middle of so many equal cells stand for all: epsilons are whole cells."""

unit = st.integers(0, 8).map(lambda n: n / 8)


@st.composite
def views(draw):
    threshold = draw(unit)
    low, high = sorted((draw(unit), draw(unit)))
    return LevelView(
        threshold,
        max(threshold, draw(unit)),
        draw(st.booleans()),
        draw(st.booleans()),
        band=Band(low, high),
    )


@given(
    cells=st.integers(1, CELLS // 2),
    scores=st.lists(unit, min_size=1, max_size=3),
    before=st.lists(unit.map(lambda x: min(x, 0.99)), min_size=2, max_size=2),
    frontier=views(),
    quality=views(),
)
def test_the_propensity_of_a_lane_is_the_measure_of_the_draws_that_lead_there(
    cells, scores, before, frontier, quality
):
    epsilon = cells / CELLS
    policy = RoutingPolicy(lanes=LANES, default="chat", stronger=STRONGER, epsilon=epsilon)
    found: dict[str, list[float]] = {}

    for cell in range(CELLS):
        draws = [*before[: len(scores) - 1], (cell + 0.5) / CELLS]
        judgement = Judgement(scores, {"frontier": frontier, "quality": quality}, draws)
        decision = decide_lane(policy, TierRules(), PLAIN, lambda j=judgement, **_: j)
        found.setdefault(decision.lane.name, []).append(decision.propensity)

    for propensities in found.values():
        assert propensities == pytest.approx([len(propensities) / CELLS] * len(propensities))
