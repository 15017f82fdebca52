"""What a request asks of its lane, and what it holds: a place in the queue, then slots."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

from router.admission.fair_queue import OUTPUT_WEIGHT, Account
from router.admission.kv_budget import KvAsk, KvHold
from router.errors import Rejected
from router.types import record


class Stage(Enum):
    """Where a request is in its lane. DONE and REFUSED are final."""

    WAITING = "waiting"
    RUNNING = "running"
    EVICTED = "evicted"
    """Told to leave; it still holds its slots."""
    REFUSED = "refused"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class Tier:
    """How a tier queues.

    Attributes:
        priority: smaller goes first, always.
        sheddable: it waits, is shed and evicted for the sake of the others, the protected.
        min_share: share of the lane's slots that a sheddable tier keeps while the
            lane is saturated, of what protected work does not need.
        start_within_s: a request that cannot start in this time is refused; None: it
            waits as long as its client does.

    """

    name: str
    priority: int = 0
    sheddable: bool = False
    min_share: float = 0.0
    start_within_s: float | None = None


@record
class SlotRequest:
    """What a request asks of its lane.

    Attributes:
        num_sequences: that it runs at once; each takes a slot.
        weight: its tenant's, in the fair queue.
        kv: what it needs of its tenant's KV budget, if that has one.
        is_background: nobody waits for it: it goes behind its tenant's other requests.
        user: whose it is within its tenant (`router.admission.rotation`).

    """

    tier: Tier
    tenant: str
    prompt_tokens: int
    num_sequences: int = 1
    weight: float = 1.0
    kv: KvAsk | None = None
    is_background: bool = False
    user: str = ""


@dataclass(slots=True, eq=False)
class Ticket:
    """One request in one lane.

    Attributes:
        cost: slots it takes.
        has_begun: its first token was sent.
        hold: its tokens in the tenant's KV budget, if that has one.
        overdue: why it will be refused, once no sheddable work is left to make room.
        refused: why, when the stage is REFUSED or EVICTED.
        on_change: called when a queued request starts or is refused, and when a
            running one is evicted; never inside `LaneQueue.submit` of the same request.
            Dropped when the request is over: what it calls usually holds the ticket, and
            such circles make the garbage collector pause all streams.

    """

    tier: Tier
    account: Account
    cost: int
    prompt_tokens: int
    deadline: float
    is_background: bool = False
    user: str = ""
    stage: Stage = Stage.WAITING
    has_begun: bool = False
    charged_tokens: int = 0
    hold: KvHold | None = None
    overdue: Rejected | None = None
    refused: Rejected | None = None
    on_change: Callable[[], None] | None = field(default=None, repr=False)

    def deliver(self, tokens: int) -> None:
        """Charge the tenant for output tokens; `tokens` are all so far."""
        new = tokens - self.charged_tokens
        if new > 0:
            self.charged_tokens = tokens
            # As `Account.charge`, without a call: a server does this for each event of a stream.
            account = self.account
            account.counter += OUTPUT_WEIGHT * new / account.weight
            if self.hold is not None:
                self.hold.grow(tokens)

    def tell(self) -> None:
        if self.on_change is not None:
            self.on_change()
        if self.stage is Stage.REFUSED:
            self.on_change = None
