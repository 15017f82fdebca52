"""The slots of one lane, what protected work needs of them, and how fast they drain.

A slot is one sequence that an engine of the lane runs at once. An ingress replica fills its
share of them and no more, so that requests wait here, in our order, and not in
the engine's. With N ingress replicas each owns 1/N, at least one. Protected work may start
beyond that in what the others have not taken, as they said at the last heartbeat; where two of them
do so at once, a request or two waits in an engine for as long as one there takes to end.
"""

from __future__ import annotations

from math import ceil, exp

TINY = 1e-9

LEAST_STARTS = 4
"""Starts below which the rate is not known."""


def share_of(slots: int, replicas: int, ingresses: int) -> int:
    """Return one ingress replica's slots of a lane: its part of all, at least one."""
    return max(1, slots * replicas // ingresses)


class Slots:
    """This ingress replica's `capacity` of slots, one for each sequence of a request.

    `lane` are the lane's, the other ingress replicas' among them; None: none are theirs.
    """

    def __init__(self, capacity: int | None) -> None:
        self.capacity = capacity
        self.lane: int | None = None
        self.used = 0

    def cost(self, num_sequences: int) -> int:
        """Return what a request of so many sequences takes: never more than there are."""
        return num_sequences if self.capacity is None else min(num_sequences, self.capacity)

    def fits(self, cost: int) -> bool:
        """Return whether a request can start. When nothing runs it can, whatever its size."""
        return self.capacity is None or self.used + cost <= self.capacity or self.used == 0

    def are_empty(self, cost: int, elsewhere: int) -> bool:
        """Return whether the lane has so many empty while the others run `elsewhere`."""
        return self.lane is not None and self.used + elsewhere + cost <= self.lane

    def take(self, cost: int) -> None:
        self.used += cost

    def give_back(self, cost: int) -> None:
        """Empty slots; once for each `take`."""
        self.used -= cost
        assert self.used >= 0


class ReplicaSlots:
    """What this ingress replica runs on each replica of a lane, of its part of their slots.

    Attributes:
        full: replicas that run all they can.
        used: slots by replica; one that runs nothing is not in it.

    """

    def __init__(self, of_replica: int | None) -> None:
        self._of_replica = of_replica
        self.full: frozenset[str] = frozenset()
        self.used: dict[str, int] = {}

    def note(self, replica: str | None, cost: int) -> None:
        """Count so many sequences more, or fewer, at a replica."""
        if replica is None or self._of_replica is None:
            return
        used = self.used.get(replica, 0) + cost
        if used > 0:
            self.used[replica] = used
        else:
            self.used.pop(replica, None)
        if (used >= self._of_replica) != (replica in self.full):
            self.full = self.full ^ {replica}


class Need:
    """Slots that protected work needed lately: a peak that decays.

    Each new height counts at once and is forgotten at a steady pace: a peak of the
    whole lane in `forget_s`, a smaller one sooner.
    """

    def __init__(self, slots: Slots, forget_s: float) -> None:
        self._slots, self._forget_s = slots, forget_s
        self._peak = 0.0
        self._held = 0
        self._at = 0.0

    def add(self, cost: int, *, now: float) -> None:
        """Count slots more, or fewer, that protected work runs in or waits for."""
        self._decay(now)
        self._held += cost
        if cost > 0:
            self._decay(now)

    def kept(self, *, now: float) -> int:
        """Return the slots to keep empty of other work."""
        self._decay(now)
        return ceil(self._peak - TINY)

    def _decay(self, now: float) -> None:
        capacity, held, peak = self._slots.capacity, self._held, self._peak
        if now > self._at:
            peak -= (now - self._at) * (capacity or 1) / self._forget_s
            self._at = now
        if capacity is not None and held > capacity:
            held = capacity
        self._peak = peak if peak > held else float(held)


class DrainRate:
    """Starts a second while a request waits: what a wait is reckoned from.

    Time in which none waited counts for nothing, so a quiet hour does not make the
    next queue look slow. Older starts fade with `memory_s` of waiting time.
    """

    def __init__(self, memory_s: float = 30.0) -> None:
        self._memory_s = memory_s
        self._starts = 0.0
        self._waited_s = 0.0
        self._since: float | None = None

    def note_waiting(self, *, is_waiting: bool, now: float) -> None:
        self._advance(now)
        self._since = now if is_waiting else None

    def note_start(self, *, now: float) -> None:
        self._advance(now)
        self._starts += 1

    def wait_s(self, position: int, *, now: float) -> float | None:
        """Return the seconds until the request at `position` (1 is next) starts, if known."""
        self._advance(now)
        if self._starts < LEAST_STARTS or self._waited_s <= 0:
            return None
        return position * self._waited_s / self._starts

    def _advance(self, now: float) -> None:
        if self._since is None or now <= self._since:
            return
        step = now - self._since
        self._since = now
        # Starts fade as the time does in which they were counted; a drought (starts
        # stop, time goes on) therefore shows as a falling rate.
        keep = exp(-step / self._memory_s)
        self._starts *= keep
        self._waited_s = self._waited_s * keep + self._memory_s * (1 - keep)
