"""The admin's part of one ingress replica, built in one place."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from serve_app.admin.audit import AuditLog
from serve_app.admin.ceilings import CeilingsDesk
from serve_app.admin.drains import DrainDesk
from serve_app.admin.keys import KeyDesk
from serve_app.admin.own_usage import OwnUsage
from serve_app.admin.peers import Broadcast, Peer, Peers, Reload
from serve_app.admin.tenants_reading import TenantsReading
from serve_app.admin.trail import Trail
from serve_app.config.settings import state_dir
from serve_app.pipeline.records import Records
from serve_app.pipeline.state import IngressState
from serve_app.placement.lanes import Lanes
from serve_app.tenancy.keys import KeyBook
from serve_app.tenancy.store import TenancyStore


@dataclass(frozen=True, slots=True)
class AdminDesk:
    """What admins may do, and what a key's holder may see.

    Attributes:
        peer: what other ingress replicas ask of this one.
        trail: of all that was done.

    """

    keys: KeyDesk
    ceilings: CeilingsDesk
    drains: DrainDesk
    trail: Trail
    usage: OwnUsage
    peer: Peer


def build_admin(
    state: IngressState,
    lanes: Lanes,
    records: Records,
    *,
    store: TenancyStore,
    book: KeyBook,
    tenants_file: Path,
    broadcast: Broadcast,
    reload: Reload,
    me: str,
    secret: str,
) -> AdminDesk:
    """Build it over what the ingress replica `me` has."""
    log = AuditLog(state_dir() / "audit")
    peers = Peers(broadcast, state)
    tenants = TenantsReading(tenants_file)
    return AdminDesk(
        keys=KeyDesk(store, tenants, peers),
        ceilings=CeilingsDesk(state, tenants, peers),
        drains=DrainDesk(state, lanes, peers),
        trail=Trail(log, peers, me, secret),
        usage=OwnUsage(state, store, records.meter, peers),
        peer=Peer(me, state, lanes, book, log, records.recorder.recent, reload),
    )
