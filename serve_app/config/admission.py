"""The ingress replicas, what they share, and waiting for a slot of a lane."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from router.admission.lane_queue import QueueBounds
from router.admission.saturation import SaturationConfig
from router.leases.messages import LeaseBounds, LeaseTerms
from serve_app.config.errors import STRICT, StrictModel

MAX_SAFE_SHARE = 0.2
"""Of a ceiling, what all safe capacities together may be."""

SAFE_SHARES = 0.04
"""Of a ceiling, what they are together unless it is set: 1 % each with two ingress replicas. What
is in those of empty seats, and of replicas without demand, nobody has."""


class IngressConfig(StrictModel):
    """The ingress replicas.

    Attributes:
        replicas: fixed, because each has 1/replicas of a lane's slots, and a safe
            capacity of every ceiling; from two on, they share ceilings through the ledger.
        graceful_shutdown_timeout_s: longest stream a redeploy waits for.
        silent_after_s: a replica whose event loop stands still for so long is killed and
            replaced; Serve alone would drain it for as long as its stuck streams last.
        listens: on the frontend's own address, beside HAProxy, which then passes on only what
            comes while no replica listens. Clients' bytes take one hop less.
        resources: what each replica takes of Ray's own resources beside CPUs: of a cluster,
            it runs on the nodes that have them, as a lane by its `bundle`. Empty: on the
            head node, which has the tenancy store and whatever else is kept.

    """

    replicas: int = Field(1, ge=1)
    num_cpus: float = Field(1, gt=0)
    max_ongoing_requests: int = Field(2000, ge=1)
    graceful_shutdown_timeout_s: float = Field(900, gt=0)
    silent_after_s: float = Field(15, ge=5)
    listens: bool = True
    resources: dict[str, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)


@dataclass(config=STRICT, frozen=True)
class LedgerConfig(LeaseBounds):
    """How several ingress replicas share what they enforce (docs/tenancy.md).

    Attributes:
        heartbeat_s: how often each tells the ledger what it holds and wants.
        safe_share: part of each ceiling that a replica has without the ledger; None: 0.04 over
            all seats, two for each replica.
        grace_s: protected work that is late, or finds the queue full, is refused after so
            long even if it is not known what the others hold. Longer than a lease.

    """

    heartbeat_s: float = Field(default=0.2, ge=0.05)
    safe_share: float | None = Field(default=None, ge=0)
    grace_s: float = Field(default=12, gt=0)

    @model_validator(mode="after")
    def _times_are_in_order(self) -> Self:
        if self.stale_s < 2 * self.heartbeat_s:
            raise ValueError("stale_s must be two heartbeats at least")
        if not 4 * self.heartbeat_s <= self.lease_s <= self.seat_s:
            raise ValueError("lease_s lies between four heartbeats and seat_s")
        if self.grace_s <= self.lease_s:
            raise ValueError("grace_s must be longer than lease_s")
        return self

    def terms(self, ingresses: int) -> LeaseTerms:
        """What the ledger and the ingress replicas agree on."""
        seats = 2 * ingresses
        share = SAFE_SHARES / seats if self.safe_share is None else self.safe_share
        return LeaseTerms(self.lease_s, self.seat_s, self.stale_s, seats, share)


@dataclass(config=STRICT, frozen=True)
class AdmissionConfig(QueueBounds, SaturationConfig):
    """Waiting for a slot of a lane (docs/fairness.md). Lanes need `max_num_seqs`.

    Attributes:
        enabled: false: every request goes straight to its engine's own queue. Takes
            effect at a restart.

    """

    enabled: bool = True
