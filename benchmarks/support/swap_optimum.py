"""The fewest swaps that any plan could have done with, and what others do."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Sequence

from benchmarks.support.swap_world import Request


def fewest_swaps(requests: Sequence[Request], swap_s: float, bound_s: float) -> int:
    """Return the swaps of an optimal plan that knows all requests: dynamic programming.

    Two lanes, one card. A plan says which requests each spell of a lane serves: all that came
    before it opens or while it is open. A spell ends when its streams have ended, and the other
    lane opens `swap_s` later, within `bound_s` of its oldest request. The state after so many
    swaps is how far either lane has been served and when the lane that is awake opened; of two
    plans that have served the same, the one that opened earlier is never worse, so that it alone
    is kept. The first lane is awake from the first request on.

    Raises ValueError where no plan keeps the bound.
    """
    names = sorted({x.lane for x in requests})
    lanes = [[x for x in requests if x.lane == name] for name in names]
    arrivals = [[x.at for x in lane] for lane in lanes]
    first = 0 if lanes[0][0].at <= lanes[1][0].at else 1
    states = {(0, 0): lanes[first][0].at}
    awake, swaps = first, 0
    while states:
        reached: dict[tuple[int, int], float] = {}
        for served, opened in states.items():
            own, other = served[awake], served[1 - awake]
            lane, end = lanes[awake], opened
            # All that wait when it opens are served, and then one more at a time.
            least = max(bisect_right(arrivals[awake], opened), own)
            for request in lane[own:least]:
                end = max(end, opened + request.service_s)
            due = _due(arrivals[1 - awake], other, bound_s)
            for until in range(least, len(lane) + 1):
                if until > least:
                    request = lane[until - 1]
                    end = max(end, request.at + request.service_s)
                    if request.at + swap_s > due:
                        break
                if until == len(lane) and other == len(lanes[1 - awake]):
                    return swaps
                opens = max(end, _next(arrivals[1 - awake], other) - swap_s) + swap_s
                if opens <= due:
                    key = (until, other) if awake == 0 else (other, until)
                    reached[key] = min(opens, reached.get(key, opens))
        states, awake, swaps = _undominated(reached), 1 - awake, swaps + 1
    raise ValueError(f"no plan keeps every wait under {bound_s:g} s")


def _due(arrivals: Sequence[float], served: int, bound_s: float) -> float:
    return arrivals[served] + bound_s if served < len(arrivals) else float("inf")


def _next(arrivals: Sequence[float], served: int) -> float:
    return arrivals[served] if served < len(arrivals) else float("-inf")


def _undominated(states: dict[tuple[int, int], float]) -> dict[tuple[int, int], float]:
    """Leave out what has served no more than another, and opened no earlier."""
    kept: dict[tuple[int, int], float] = {}
    for key in sorted(states, reverse=True):
        opened = states[key]
        if not any(x[0] >= key[0] and x[1] >= key[1] and o <= opened for x, o in kept.items()):
            kept[key] = opened
    return kept


def in_order(requests: Sequence[Request], swap_s: float) -> int:
    """Serve strictly in the order of arrival, as llama-swap did until it collated.

    A request for another model than the loaded one waits for open ones to end, and everything
    behind it waits as well. Returns the swaps.
    """
    awake, free_at, now, swaps = requests[0].lane, 0.0, 0.0, 0
    for request in requests:
        now = max(now, request.at)
        if request.lane != awake:
            now = max(now, free_at) + swap_s
            awake, swaps = request.lane, swaps + 1
        request.started = now
        free_at = max(free_at, now + request.service_s)
    return swaps


def collated(requests: Sequence[Request], swap_s: float, *, joins: bool) -> int:
    """Serve all that wait for one model together, then the model of the oldest request.

    `joins`: requests for the loaded model are served at once even while others wait (a naive
    cache that evicts the least recently used model when it is idle); else they get in line
    behind a swap that is due (llama-swap since it collates). Neither has a bound on the wait.
    Returns the swaps.
    """
    ahead, line = deque(requests), deque[Request]()
    awake, free_at, now, swaps = requests[0].lane, 0.0, 0.0, 0

    def begin(request: Request, at: float) -> None:
        nonlocal free_at
        request.started = at
        free_at = max(free_at, at + request.service_s)

    while ahead or line:
        # What comes until the loaded model is idle, or until there is something to do.
        until = max(now, free_at) if line else ahead[0].at
        if ahead and ahead[0].at <= until:
            request = ahead.popleft()
            now = max(now, request.at)
            if request.lane == awake and (joins or not line):
                begin(request, now)
            else:
                line.append(request)
            continue
        now = until + swap_s
        while ahead and ahead[0].at <= now:
            line.append(ahead.popleft())
        awake, swaps = line[0].lane, swaps + 1
        for request in [x for x in line if x.lane == awake]:
            line.remove(request)
            begin(request, now)
    return swaps
