"""What is read of a deployment as a whole, and the operators' reload."""

from __future__ import annotations

from serve_app.front.control import Control
from serve_app.front.http_request import HttpRequest
from serve_app.front.response_routes import ResponseRoutes
from serve_app.tenancy.auth import Tenant

TEXT = b"text/plain; version=0.0.4; charset=utf-8"


class OperatingRoutes:
    """Answers `/health`, `/ready`, `/metrics`, `/status`, `/admin/advice` and `/admin/reload`."""

    def __init__(self, control: Control, stored: ResponseRoutes) -> None:
        self._control = control
        self._stored = stored

    async def health(self, request: HttpRequest) -> None:
        await request.json({"status": "ok"})

    async def ready(self, request: HttpRequest) -> None:
        loading = await self._control.loading_lanes()
        if loading:
            body = {"status": "loading", "loading": loading}
            await request.json(body, 503, [(b"retry-after", b"1")])
        else:
            await request.json({"status": "ready", "loading": []})

    async def metrics(self, request: HttpRequest, _: Tenant) -> None:
        text = await self._control.metrics_text()
        await request.respond(200, text.encode(), TEXT)

    async def status(self, request: HttpRequest, tenant: Tenant) -> None:
        if tenant.is_admin:
            await request.json(await self._control.status())
        else:
            own = self._control.tenant_status(tenant)
            await request.json({**own, **self._stored.status_of(tenant)})

    async def advice(self, request: HttpRequest, _: Tenant) -> None:
        await request.json(self._control.advice.told())

    async def reload(self, request: HttpRequest, _: Tenant) -> None:
        told = await self._control.reload_everywhere()
        request.noted["ok"] = told["ok"]
        await request.json(told)
