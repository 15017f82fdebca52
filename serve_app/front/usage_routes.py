"""`GET /v1/usage`: what the caller's own tenant has used, and what is left."""

from __future__ import annotations

import sqlite3

from router.errors import Rejected, RejectReason
from serve_app.admin.own_usage import OwnUsage
from serve_app.front.http_request import HttpRequest
from serve_app.tenancy.auth import Tenant

AWAY = Rejected(
    RejectReason.RESPONSE_STORE_UNAVAILABLE, "Usage cannot be read now; requests are counted on."
)


class UsageRoutes:
    """Answers one tenant about itself."""

    def __init__(self, usage: OwnUsage) -> None:
        self._usage = usage

    async def show(self, request: HttpRequest, tenant: Tenant) -> None:
        try:
            told = await self._usage.of(tenant)
        except (sqlite3.Error, OSError):
            await request.refuse(AWAY)
            return
        await request.json(told, headers=[(b"cache-control", b"no-store")])
