"""How many sessions are open at once, by Little's law: L = λ W.

Where a figure is assumed and not counted, `simulator.virtual_time.users` has the default
and docs/planning.md says what it was taken from.
"""

from __future__ import annotations

from dataclasses import dataclass

from fleet.plan.reckoning.load import Talk
from simulator.virtual_time.users import Users

HOUR_S, DAY_S, MONTH_S = 3600.0, 86_400.0, 30 * 86_400.0


def in_system(per_s: float, time_s: float) -> float:
    """Return Little's L: how many there are when so many arrive a second and stay so long."""
    return per_s * time_s


@dataclass(frozen=True, slots=True)
class Demand:
    """Sessions at once, and turns over the day.

    Attributes:
        peak: sessions at once in the busiest hour.
        burst: for minutes.
        planned: peak with room for growth; what a fleet is sized for.
        turns_per_s: in the busiest hour.
        turns_a_day: of all; from the shape of the day where only the peak is known.
        mean_ratio: mean of the day over its busiest hour.

    """

    peak: float
    burst: float
    planned: float
    turns_per_s: float
    turns_a_day: float
    mean_ratio: float

    def shared(self, ratio: float) -> Demand:
        """Return the demand of a share of the sessions."""
        return Demand(
            self.peak * ratio,
            self.burst * ratio,
            self.planned * ratio,
            self.turns_per_s * ratio,
            self.turns_a_day * ratio,
            self.mean_ratio,
        )


def demand(users: Users, talk: Talk, turn_s: float) -> Demand:
    """Return the sessions at once of users whose turns take `turn_s`."""
    cycle_s = turn_s + talk.think_s
    per_day = users.sessions_a_day
    mean_ratio = mean_of_swing(users.swing)
    if users.active is not None:
        peak = users.active
    elif users.turns_per_s is not None:
        peak = in_system(users.turns_per_s, cycle_s)
    else:
        assert per_day is not None
        begun_per_s = per_day * users.busy_hour_ratio / HOUR_S
        peak = in_system(begun_per_s, talk.turns * cycle_s)
        mean_ratio = min(1.0, 1 / (24 * users.busy_hour_ratio))
    turns_per_s = peak / cycle_s
    counted = users.active is None and users.turns_per_s is None and per_day is not None
    return Demand(
        peak=peak,
        burst=peak * users.burst,
        planned=peak * (1 + users.headroom),
        turns_per_s=turns_per_s,
        turns_a_day=per_day * talk.turns
        if counted and per_day is not None
        else turns_per_s * mean_ratio * DAY_S,
        mean_ratio=mean_ratio,
    )


def mean_of_swing(swing: float) -> float:
    """Return the mean of a sinusoidal day over its peak, the trough being 1 / `swing`."""
    return (1 + 1 / swing) / 2
