"""What must hold between the parts of records that keep sums beside what they sum up."""

from collections import Counter

from router.admission.fair_queue import _SLACK, FairQueue
from router.placement.hot_prefixes import HotPrefixes
from router.placement.session import SessionMemory


def check_fair_queue(queue: FairQueue) -> None:
    accounts = queue._accounts.values()
    waiting = [a for a in accounts if a.waits]
    assert sum(len(a.queued) + len(a.later) for a in waiting) == len(queue)
    assert len(waiting) == queue.waiting_tenants
    assert all(a.is_listed for a in waiting)
    assert all(stored <= a.counter for stored, _, a in queue._order)
    idle = sum(a.idle_entry >= 0 for a in accounts)
    assert idle == queue._idle_count <= queue._max_idle
    assert len(queue._order) <= 2 * queue.waiting_tenants + _SLACK + 1
    assert len(queue._idle) <= 2 * queue._idle_count + _SLACK + 1


def check_hot_prefixes(hot: HotPrefixes) -> None:
    held = [one for noted in hot._lanes.values() for one in noted.values()]
    assert hot._bytes == sum(len(one.prefix) for one in held) <= hot._max_bytes
    assert all(len(noted) <= hot._capacity for noted in hot._lanes.values())


def check_sessions(memory: SessionMemory) -> None:
    assert Counter(lane for lane, _, _ in memory._seen.values()) == memory._recent
    assert len(memory._seen) <= memory._capacity
