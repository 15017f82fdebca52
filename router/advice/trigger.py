"""What a trigger is: one row of the table."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

MINUTE = 60.0
HOUR = 3600.0
DAY = 24 * HOUR


class Severity(StrEnum):
    """How soon somebody should act.

    `NOW`: users feel it. `SOON`: they will, or quality suffers. `SAVE`: money or memory is spent
    for nothing.
    """

    NOW = "now"
    SOON = "soon"
    SAVE = "save"


class Pool(StrEnum):
    """How a window of points becomes the value that is compared.

    `MEAN`: mean of the readings, and most of the points must be beyond the limit themselves.
    `RATE`: quotient of the sums (tokens found in a cache of all tokens).
    `SHARE`: share of events that were bad; chance is taken into account.
    `PEAK`: the busiest hundredth of the window's points.
    `SWING`: the busiest hundredth over the quietest twentieth.
    """

    MEAN = "mean"
    RATE = "rate"
    SHARE = "share"
    PEAK = "peak"
    SWING = "swing"


class Scope(StrEnum):
    """Which subjects a row is about.

    `EACH`: every lane. `DEFAULT`: the default lane. `TOOLS`: the lane for tools. `STRONGER`: lanes
    that hard requests climb to. `FLEET`: the deployment as a whole.
    """

    EACH = "each"
    DEFAULT = "default"
    TOOLS = "tools"
    STRONGER = "stronger"
    FLEET = "fleet"


class Price(StrEnum):
    """What a remedy costs a month: a further card, nothing, or a card less."""

    CARD = "card"
    LARGER_CARD = "larger card"
    NOTHING = "nothing"
    SAVES_CARD = "saves a card"


class Change(StrEnum):
    """What the simulator changes to tell a remedy's effect; `NONE`: it cannot tell."""

    NONE = "none"
    REPLICA_MORE = "one replica more"
    REPLICA_LESS = "one replica less"
    FEWER_SEQUENCES = "fewer sequences at once"
    FULL_SPEED = "the card at full speed"
    CEILING = "a ceiling on the largest tenant"
    WARM_CACHE = "prefixes found in the cache again"


@dataclass(frozen=True, slots=True)
class Trigger:
    """One row: when something should be changed, what, and how it is undone.

    Attributes:
        name: as it is in metrics and `/status`.
        signal: which series is judged.
        says: the condition, in words.
        limit: fires beyond it; `clear`: ends on the other side of it.
        hold_s: the window that is judged.
        remedy: one sentence with the key of the fleet or tenants file to change. Braces stand
            for facts of the subject (`facts`).
        source: which document says so.
        is_above: fires over the limit, not under it.
        least: readings or events that the window must have.
        unit: of the value.
        needs: a fact that has to be true; else the row does not apply to the subject.

    """

    name: str
    signal: str
    says: str
    limit: float
    clear: float
    hold_s: float
    remedy: str
    undo: str
    source: str
    severity: Severity = Severity.NOW
    price: Price = Price.NOTHING
    change: Change = Change.NONE
    scope: Scope = Scope.EACH
    pool: Pool = Pool.MEAN
    is_above: bool = True
    least: float = 0.0
    unit: str = ""
    needs: str = ""

    @property
    def is_long(self) -> bool:
        """Whether hours and days are judged, by coarser points."""
        return self.hold_s > HOUR

    @property
    def keep_s(self) -> float:
        """How long it fires on after it last held, unless it is seen to have cleared before."""
        return max(30 * MINUTE, 2 * self.hold_s) if not self.is_long else self.hold_s

    @property
    def memory_s(self) -> float:
        """How much of the past decides whether it fires: nothing before that has a say."""
        return self.keep_s + self.hold_s

    def is_beyond(self, value: float, limit: float) -> bool:
        return value > limit if self.is_above else value < limit
