"""Who is let in to what: a rule for each kind of request."""

from __future__ import annotations

from router.errors import Rejected, RejectReason
from serve_app.pipeline.state import IngressState
from serve_app.tenancy.auth import Tenant
from serve_app.tenancy.callers import Caller, bar_pages

NO_ADMIN = Rejected(
    RejectReason.ADMIN_ONLY,
    "This needs an admin key. At the machine of the deployment, 'pointsman reload' and 'pointsman "
    "status' send one by themselves: the one in the file 'admin-key' of the state directory.",
)
NO_TENANT = Rejected(
    RejectReason.MODEL_NOT_ALLOWED,
    "The local admin key is no tenant's while the tenants file names no local_tenant: it operates "
    "the deployment and generates nothing. 'pointsman tenants add' makes a tenant's key.",
)


class Door:
    """Identifies callers and says no to those who may not.

    Args:
        trusts_local: nothing listens beyond loopback.

    """

    def __init__(self, state: IngressState, *, trusts_local: bool) -> None:
        self._state = state
        self._trusts_local = trusts_local

    def reader(self, caller: Caller) -> Tenant | Rejected:
        return self._state.identify(caller, trusts_local=self._trusts_local)

    def user(self, caller: Caller) -> Tenant | Rejected:
        tenant = self.reader(caller)
        is_nobody = isinstance(tenant, Tenant) and tenant.is_operator
        return NO_TENANT if is_nobody else tenant

    def socket(self, caller: Caller) -> Tenant | Rejected:
        """Let in to the models over a socket, which browsers let every page open."""
        allowed = self._state.policies.fleet.cors.allow_origins
        return self.user(bar_pages(caller, allowed))

    def status(self, caller: Caller) -> Tenant | Rejected:
        """Let in to the deployment's state, or to the part that is the caller's."""
        return self.reader(bar_pages(caller))

    def own(self, caller: Caller) -> Tenant | Rejected:
        """Let in to what the caller's own tenant has used."""
        return self.user(bar_pages(caller))

    def metrics(self, caller: Caller) -> Tenant | Rejected:
        """Let in to the metrics, which anybody at this machine may read."""
        tenant = self.status(caller)
        if isinstance(tenant, Rejected) or tenant.is_admin or tenant.is_keyless:
            return tenant
        return NO_ADMIN

    def admin(self, caller: Caller) -> Tenant | Rejected:
        tenant = self.status(caller)
        return tenant if isinstance(tenant, Rejected) or tenant.is_admin else NO_ADMIN
