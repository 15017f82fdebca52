"""Guard rails on time that are relative: the treatment's 95th percentile beside the control's.

Both arms' times are counted by the same edges, the treatment's divided by the allowed ratio. For an
edge b two things are tested, each by a likelihood ratio as in `router.experiments.guard`:

- of the control, that at least 5 % of its times are over b; evidence against it says that the
  control's 95th percentile is b at most;
- of the treatment, that at most 5 % of its times are over ratio * b; evidence against it says that
  its 95th percentile is more.

Where both are established at one edge, the treatment's percentile is more than `ratio` times the
control's. That needs no correction for the number of edges. Let q be the control's percentile. A
claim at an edge under q is false of the control, and the evidence for it is the most at the last of
those edges, as the number of times over an edge falls with it. A claim at q or over it is false of
a treatment that keeps the ratio, and the evidence for it is the most at the first of those. So one
test of each can be wrong, each at half the error, whenever it is looked at (Ville's inequality).

Like the other rails it begins anew each day and assumes that a request's chance to be slow is
within the allowance given those before it. Arms that run side by side meet the same hours of the
day. Those of a switchback do not, so there it is refused.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

from router.experiments.guard import Rails, Tally, log_evidence, log_evidence_of_fewer
from router.slo.judging import End, Ended
from router.slo.objectives import LATE_RATIO

EDGES_A_DOUBLING = 5
"""So an edge is 15 % over the one before: what is established is so much more than the ratio."""

LEAST_S = 0.001

TTFT, ANSWER = "ttft_ratio", "answer_ratio"
"""Rails: times to the first token of streams, and to the end of an answer."""

Times = Mapping[int, float]
"""Requests of an arm and day by number of their bucket; see `bucket`."""


class Slower(NamedTuple):
    """What was established: how many times were over which edge.

    Attributes:
        edge_s: of the control; the treatment's is `ratio` times that.

    """

    edge_s: float
    treatment: Tally
    control: Tally


def times_of(ended: Ended) -> dict[str, float]:
    """Return the times, in seconds, by which arms are compared, by rail.

    A client that left shows how long it waited, not how long it would have: it counts for what it
    was given. The rails on objectives count it as late.
    """
    found: dict[str, float] = {}
    if not ended.is_timed or ended.end not in (End.ANSWERED, End.LEFT):
        return found
    if ended.is_stream and ended.ttft_s is not None:
        found[TTFT] = ended.ttft_s
    if ended.end is End.ANSWERED:
        found[ANSWER] = ended.took_s
    return found


def bucket(seconds: float) -> int:
    """Return the number of the edge that a time is not over, 0 for the least."""
    if seconds <= LEAST_S:
        return 0
    return math.ceil(EDGES_A_DOUBLING * math.log2(seconds / LEAST_S))


def edge_s(number: int) -> float:
    return LEAST_S * math.exp2(number / EDGES_A_DOUBLING)


def slower(rails: Rails, treatment: Times, control: Times) -> Slower | None:
    """Return where it is established that the treatment is slower by more than the ratio.

    `treatment`: of times that were divided by the ratio. None: it is not established.
    """
    limit = math.log(2.0 * rails.days / rails.error)
    for number in sorted(control):
        ours, theirs = _over(number, treatment), _over(number, control)
        if ours.bad < rails.min_bad_events:
            return None
        if (
            log_evidence(ours, LATE_RATIO) >= limit
            and log_evidence_of_fewer(theirs, LATE_RATIO) >= limit
        ):
            return Slower(edge_s(number), ours, theirs)
    return None


def breach_of_ratios(rails: Rails, times: Mapping[str, Mapping[str, Times]]) -> str | None:
    """Say why the treatment has to stop; `times`: of both arms, today, by rail."""
    for rail, ratio in rails.ratios.items():
        arms = times.get(rail, {})
        found = slower(rails, arms.get("treatment", {}), arms.get("control", {}))
        if found is not None:
            ours, theirs = found.treatment, found.control
            return (
                f"{rail}: {ours.bad} of {sum(ours)} requests of a day took over "
                f"{ratio * found.edge_s:.3g} s, and {theirs.bad} of {sum(theirs)} of the control's "
                f"over {found.edge_s:.3g} s (allowed {ratio:g} times its 95th percentile)"
            )
    return None


def _over(number: int, times: Times) -> Tally:
    bad = sum(n for edge, n in times.items() if edge > number)
    return Tally(int(sum(times.values()) - bad), int(bad))
