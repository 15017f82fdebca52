"""An experiment: which requests it is about, and which arm a session of theirs is in.

Nothing is drawn at random and nothing is remembered. An arm is a hash of the experiment's name
and of the session, or of the block of time, so every ingress replica finds the same one, after
a restart too, and two experiments divide the same sessions independently of each other. It
depends on nothing that the experiment may change.

- *A/B*: a session is in one arm as long as the experiment runs, whatever else it does.
- *Switchback*: all sessions are in the same arm for a block of time, then perhaps in the other
  one. For effects that sessions have on each other, such as by a queue or by a cache. Each
  block is drawn by itself, which is what the test of blocks goes by; let them be short enough
  that neither arm has all the mornings. A block begins with a washout, in which requests do
  not count: what the block before left is still at work.
- *Shadow*: requests stay where they are, and a part of them is sent to the treatment's lane
  once more; nobody waits for that, and nobody reads its answer.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from enum import StrEnum
from hashlib import blake2b

from router.types import Arm

CONTROL, TREATMENT = "control", "treatment"


class Kind(StrEnum):
    """How arms are told apart. The values are those of the fleet file's key `kind`."""

    AB = "ab"
    SWITCHBACK = "switchback"
    SHADOW = "shadow"


@dataclass(frozen=True, slots=True)
class Experiment:
    """One experiment on the requests for a lane. Times are seconds since 1970.

    Attributes:
        control, treatment: lanes; requests for the first may go to the second.
        share: probability of the treatment: of a session, a block, or of a copy.
        tenants, tiers: whose requests; empty: everybody's.
        block_s, washout_s: of a switchback.

    """

    name: str
    kind: Kind
    control: str
    treatment: str
    share: float
    begins: float
    ends: float
    tenants: frozenset[str] = frozenset()
    tiers: frozenset[str] = frozenset()
    block_s: float = 3600.0
    washout_s: float = 0.0

    def covers(self, tenant: str, tier: str, now: float) -> bool:
        """Whether it runs, and is about this tenant."""
        return (
            self.begins <= now < self.ends
            and (not self.tenants or tenant in self.tenants)
            and (not self.tiers or tier in self.tiers)
        )

    def block_of(self, now: float) -> int:
        """Number of the block of time, from 0."""
        return int((now - self.begins) // self.block_s)

    def is_treated(self, session: str, now: float) -> bool:
        """Whether the treatment has this session, at this time."""
        is_by_time = self.kind is Kind.SWITCHBACK
        unit = f"block {self.block_of(now)}" if is_by_time else session
        return self._fraction(unit) < self.share

    def is_washout(self, now: float) -> bool:
        """Whether the block before still has an effect."""
        if self.kind is not Kind.SWITCHBACK:
            return False
        return (now - self.begins) % self.block_s < self.washout_s

    def _fraction(self, unit: str) -> float:
        """A number in [0, 1) that the unit always has in this experiment."""
        text = f"{self.name}\0{unit}".encode("utf-8", "surrogatepass")
        return int.from_bytes(blake2b(text, digest_size=8).digest(), "big") / 2**64


def arms_of(
    experiments: Iterable[Experiment],
    stopped: Collection[str],
    session: str,
    tenant: str,
    tier: str,
    now: float,
) -> tuple[Arm, ...]:
    """Return the arm of each experiment that moves a tenant's requests.

    `stopped`: names of experiments whose treatment was stopped: all go to the control, and
    nothing counts any more. `session`: its key across tenants.
    """
    found = []
    for x in experiments:
        if x.kind is Kind.SHADOW or x.name in stopped or not x.covers(tenant, tier, now):
            continue
        treated = x.is_treated(session, now)
        name = TREATMENT if treated else CONTROL
        found.append(
            Arm(
                x.name,
                None if x.is_washout(now) else name,
                x.treatment if treated else x.control,
                x.control,
                x.treatment,
                x.share if treated else 1.0 - x.share,
            )
        )
    return tuple(found)


def shadows_of(
    experiments: Iterable[Experiment],
    stopped: Collection[str],
    request: str,
    tenant: str,
    tier: str,
    lane: str,
    now: float,
) -> list[Experiment]:
    """Return the experiments that want a copy of this request, which went to `lane`."""
    return [
        x
        for x in experiments
        if x.kind is Kind.SHADOW
        and x.control == lane
        and x.name not in stopped
        and x.covers(tenant, tier, now)
        and x.is_treated(request, now)
    ]
