"""What a heartbeat costs the ledger and an ingress replica, in one process, without Ray.

The classes that production calls, in virtual time; CPU by the process's clock. `tenants` have
requests on every replica at once, each with all four kinds of ceilings.
"""

from __future__ import annotations

import pickle
import time
from typing import Any

from router.leases.holder import LeaseHolder
from router.leases.ledger import Ledger
from router.leases.messages import Answer, LaneReport, Report
from router.limits.ceiling import CeilingConfig
from router.limits.reservation import Reservation
from serve_app.config.admission import LedgerConfig

HEARTBEAT_S = LedgerConfig().heartbeat_s
ROUNDS, WARM_ROUNDS = 12, 3
SHAPES = ((2, 1), (8, 1), (8, 100), (8, 1000), (32, 100), (64, 100))
"""Ingress replicas and active tenants."""

CONFIG = CeilingConfig(
    tokens_per_second=1e5,
    tokens_per_minute=100_000_000,
    requests_per_minute=1_000_000,
    concurrent_requests=100_000,
)
LANES = {lane: LaneReport(0, False, 3, 0) for lane in ("chat", "quality")}


def row(replicas: int, tenants: int) -> dict[str, Any]:
    """Microseconds of CPU and bytes of one heartbeat, and what they make of a second."""
    agreed = LedgerConfig().terms(replicas)
    ledger = Ledger(1, agreed, learning_until=0.0, is_first=True)
    holders = [LeaseHolder(f"i{number}", agreed) for number in range(replicas)]
    names = [f"tenant-{number}" for number in range(tenants)]
    ledger_s = holder_s = 0.0
    sent, now = 0, 1.0
    for round_ in range(WARM_ROUNDS + ROUNDS):
        is_measured = round_ >= WARM_ROUNDS
        for holder in holders:
            _use(holder, names, now)
            begun = time.process_time()
            told = holder.report(LANES, now=now).to_wire()
            drafted = time.process_time()
            answer = ledger.exchange(Report.from_wire(told), now=now)
            assert answer is not None
            wire = answer.to_wire()
            answered = time.process_time()
            holder.apply(Answer.from_wire(wire), now=now)
            ended = time.process_time()
            if is_measured:
                ledger_s += answered - drafted
                holder_s += drafted - begun + ended - answered
                sent += len(pickle.dumps(told)) + len(pickle.dumps(wire))
            now += HEARTBEAT_S / replicas
    beats = ROUNDS * replicas
    return {
        "replicas": replicas,
        "tenants": tenants,
        "ledger_us_per_heartbeat": 1e6 * ledger_s / beats,
        "ingress_us_per_heartbeat": 1e6 * holder_s / beats,
        "bytes_per_heartbeat": sent / beats,
        "ledger_cores": ledger_s / beats * replicas / HEARTBEAT_S,
        "ledger_mb_per_s": sent / beats * replicas / HEARTBEAT_S / 1e6,
    }


def _use(holder: LeaseHolder, names: list[str], now: float) -> None:
    """One request of each tenant, whose tokens are delivered."""
    for name in names:
        ceiling = holder.ceiling(name, CONFIG, now=now)
        admitted = ceiling.try_admit(300, now=now)
        if ceiling.pacer is not None:
            ceiling.pacer.book(60, now=now)
        if isinstance(admitted, Reservation):
            ceiling.settle(admitted, 250, now=now)


def rows() -> list[dict[str, Any]]:
    return [row(*shape) for shape in SHAPES]
