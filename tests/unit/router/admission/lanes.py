"""A lane's queue beside a clock of its own, which tests wind."""

from router.admission.lane_queue import LaneQueue, QueueConfig
from router.admission.ticket import SlotRequest


class QueuedLane:
    """One lane; `now` is its time, `changes` are the tickets that were told something."""

    def __init__(self, capacity, peers=lambda: 0, **config) -> None:
        self.now = 0.0
        self.queue = LaneQueue(QueueConfig(**config), capacity, peers)
        self.changes = []

    def submit(self, tier, tenant, prompt, copies, kv=None, user=""):
        request = SlotRequest(tier, tenant, prompt, copies, kv=kv, user=user)
        ticket = self.queue.submit(request, self.now)
        ticket.on_change = lambda: self.changes.append(ticket)
        return ticket

    def end(self, ticket, tokens=0):
        self.queue.release(ticket, tokens, self.now)

    def wait(self, seconds):
        self.now += seconds
        self.queue.poll(self.now)


def stages(*tickets):
    """What each of them is doing."""
    return [ticket.stage.value for ticket in tickets]
