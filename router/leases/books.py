"""How the ledger divides one limit of one tenant among the ingress replicas.

Each book answers one holder at a time, from what all have last reported, and never gives
out what another may still hold. Shares follow demand; what nobody has demand for stays with
the ledger, at hand for whoever asks next.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, floor

from router.leases.messages import (
    IDLE_S,
    BucketDemand,
    BucketGrant,
    PermitDemand,
    PermitGrant,
    RateDemand,
    RateGrant,
)
from router.limits.ceiling import MINUTE_S

# A share is left as it is while it is so near to what it should be: each change of
# hands leaves that much unused for a heartbeat or two.
STEADY_SHARE = 0.03

# Of what nobody waits for, so much is kept back for those who have nothing yet.
KEPT = 0.5

# A stash may exceed what its holder should have by this part of the bucket.
STEADY_STASH = 0.1

FRESH_S = 0.8 * IDLE_S
"""Age up to which an old ledger's answer counts: the rest is for heartbeats and clocks."""


@dataclass(slots=True)
class _RateHolder:
    held: float
    granted: float
    demand: float
    backlog: float

    @property
    def liable(self) -> float:
        """What it may hold by now: whether the last grant arrived is not known."""
        return max(self.held, self.granted)


class RateBook:
    """Tokens per second of one tenant: shares that never add up to more than 1."""

    def __init__(self) -> None:
        self._holders: dict[str, _RateHolder] = {}

    def exchange(self, holder: str, demand: RateDemand, *, is_frozen: bool) -> RateGrant:
        """Take what a holder reports and grant its next share.

        `is_frozen`: grants of an earlier ledger may be about; nobody gets more than it has.
        """
        mine = _RateHolder(demand.held, demand.held, demand.demand, demand.backlog)
        self._holders[holder] = mine
        others = [x for name, x in self._holders.items() if name != holder]
        room = max(0.0, 1.0 - sum(x.liable for x in others))
        if is_frozen:
            mine.granted = min(mine.held, room)
        else:
            wanted = mine.demand + sum(x.demand for x in others)
            target = mine.demand / wanted if wanted else 0.0
            is_near = abs(target - mine.held) <= STEADY_SHARE
            if target and is_near and any(x.demand for x in others) and not self._has_starving:
                target = mine.held
            mine.granted = min(target, room)
        return RateGrant(mine.granted, sum(x.backlog for x in others))

    @property
    def _has_starving(self) -> bool:
        """Whether somebody has demand and nothing: without a seat, not even a floor."""
        return any(x.demand and not x.liable for x in self._holders.values())

    def drop(self, holder: str) -> None:
        self._holders.pop(holder, None)

    def total(self) -> float:
        return sum(x.liable for x in self._holders.values())

    @property
    def is_idle(self) -> bool:
        """Whether forgetting it changes nothing."""
        return not self._holders


@dataclass(slots=True)
class _BucketHolder:
    stash: float
    returned: float
    need: float
    pace: float
    # Handed to it in the last answer, which may not have arrived.
    added: float = 0.0
    added_at: int = 0

    @property
    def out(self) -> float:
        return self.stash + self.added


class Past:
    """What is left of a bucket that an earlier ledger kept, from what its holders say.

    The last answer that counted anywhere says what was left then, stashes included. Since
    then less is left by what each holder has spent since the last of its own reports that was
    answered, at most, so that the result is never too much. What the bucket has gained since
    then is left out.

    A holder that spent after that answer, and told the old ledger, but has given the tenant up
    since, says nothing: it has been quiet for `IDLE_S`. So the answer must be younger.
    """

    def __init__(self) -> None:
        self._holders: dict[str, tuple[BucketDemand, float]] = {}

    def hear(self, holder: str, demand: BucketDemand, now: float, *, is_old: bool) -> None:
        """A holder's report: the last of the `is_old` ones counts, or else the first.

        The answer to that one is what the holder has taken, so nothing came in between;
        the later ones tell what it does with its stash.
        """
        if is_old or holder not in self._holders:
            self._holders[holder] = (demand, now)

    def centre(self, now: float) -> float:
        """Tokens left that nobody holds, once all holders were heard; 0: not known.

        Less than 0: what was owed.
        """
        said = [demand for demand, _ in self._holders.values()]
        last, at = max(self._holders.values(), key=lambda x: (x[0].epoch, x[0].number))
        if any(x.epoch < 0 for x in said) or last.age_s + now - at > FRESH_S:
            return 0.0
        spent = sum(x.unanswered for x in said)
        left = last.level - spent - sum(x.stash for x in said)
        return max(left, min(0.0, last.level))


class BucketBook:
    """Tokens (or requests) per minute of one tenant: one bucket, handed out in parts.

    Args:
        full_from: when the bucket is known to have been empty at worst; None: it is full.
        past: collects what holders say of an earlier ledger, while it is quiet.

    """

    def __init__(
        self, limit: float, *, full_from: float | None, now: float, past: Past | None = None
    ) -> None:
        self._past = past
        self.limit = limit
        self._at = now
        since = float("inf") if full_from is None else max(0.0, now - full_from)
        self._centre = min(limit, since * limit / MINUTE_S)
        self._holders: dict[str, _BucketHolder] = {}

    def exchange(
        self,
        holder: str,
        seq: int,
        applied: int,
        demand: BucketDemand,
        *,
        now: float,
        frozen: bool,
        is_old: bool = False,
        all_heard: bool = False,
    ) -> BucketGrant:
        """Take what a holder reports, in answer to its report `seq`, and hand out.

        `frozen`: the ledger is quiet. `is_old`: the holder has had no answer of this ledger.
        `all_heard`: whom the one before answered.
        """
        self.limit = demand.limit
        if self._past is not None:
            self._past.hear(holder, demand, now, is_old=is_old)
            if not frozen:
                self._centre += self._past.centre(now) if all_heard else 0.0
                self._past = None
        self._refill(now, frozen=frozen)
        mine = self._holders.get(holder)
        if mine is None or (frozen and is_old):
            # What it has returned so far it returned to earlier ledgers.
            mine = self._holders[holder] = _BucketHolder(0.0, demand.returned, 0.0, 0.0)
        if applied != mine.added_at:
            # The answer never counted, and will not.
            self._centre += mine.added
        self._centre += max(0.0, demand.returned - mine.returned)
        mine.stash, mine.returned, mine.added = demand.stash, demand.returned, 0.0
        mine.need, mine.pace, mine.added_at = demand.need, demand.pace, seq
        self._clip()
        if frozen:
            return BucketGrant(0.0, None, self.level)
        target = self._target(mine)
        # What is overdrawn is made good at once: everybody's debt is the tenant's.
        mine.added = max(0.0, -mine.stash, min(target - mine.stash, self._centre))
        self._centre -= mine.added
        excess = mine.stash - target > STEADY_STASH * self.limit
        return BucketGrant(mine.added, target if excess else None, self.level)

    def _target(self, mine: _BucketHolder) -> float:
        needs = sum(x.need for x in self._holders.values())
        paces = sum(x.pace for x in self._holders.values())
        spare = max(0.0, self.level - needs)
        part = mine.pace / paces if paces else 0.0
        return min(self.limit, mine.need) + KEPT * spare * part

    def _refill(self, now: float, *, frozen: bool) -> None:
        if now > self._at:
            if not frozen:
                self._centre += (now - self._at) * self.limit / MINUTE_S
            self._at = now
        self._clip()

    def _clip(self) -> None:
        """The bucket is one: what is out counts as being in it."""
        self._centre = min(self._centre, self.limit - self._out)

    @property
    def _out(self) -> float:
        return sum(x.out for x in self._holders.values())

    @property
    def level(self) -> float:
        """Tokens left, here and with the holders."""
        return self._centre + self._out

    def drop(self, holder: str) -> None:
        """It holds nothing any more; what it owed is owed."""
        gone = self._holders.pop(holder, None)
        if gone is not None:
            self._centre += min(0.0, gone.out)

    def is_idle(self, now: float, *, frozen: bool) -> bool:
        """Whether forgetting it changes nothing: it is full, and nobody holds a part."""
        self._refill(now, frozen=frozen)
        return not self._holders and self._centre >= self.limit


@dataclass(slots=True)
class _PermitHolder:
    limit: int
    held: int
    granted: int
    used: int
    wanted: int

    @property
    def liable(self) -> int:
        return max(self.held, self.granted)


class PermitBook:
    """Concurrent requests of one tenant: permits that never add up to more than the limit."""

    def __init__(self) -> None:
        self._holders: dict[str, _PermitHolder] = {}

    def exchange(self, holder: str, demand: PermitDemand, *, is_frozen: bool) -> PermitGrant:
        mine = _PermitHolder(demand.limit, demand.held, demand.held, demand.used, demand.wanted)
        self._holders[holder] = mine
        others = [x for name, x in self._holders.items() if name != holder]
        # Readers of the tenants file are at different versions for a moment.
        limit = min(x.limit for x in self._holders.values())
        room = max(0, limit - sum(x.liable for x in others))
        wish = mine.held if is_frozen else self._target(mine, limit)
        mine.granted = min(wish, room)
        return PermitGrant(mine.granted, sum(x.used for x in others))

    def _target(self, mine: _PermitHolder, limit: int) -> int:
        need = mine.used + mine.wanted
        needs = sum(x.used + x.wanted for x in self._holders.values())
        if needs >= limit:
            # Rounded up: what there is not room for is not granted anyway.
            return ceil(limit * need / needs) if needs else 0
        return need + floor((limit - needs) * KEPT / len(self._holders))

    def drop(self, holder: str) -> None:
        self._holders.pop(holder, None)

    def total(self) -> int:
        return sum(x.liable for x in self._holders.values())

    @property
    def is_idle(self) -> bool:
        """Whether forgetting it changes nothing."""
        return not self._holders
