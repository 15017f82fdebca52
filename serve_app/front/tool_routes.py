"""The operators' routes of the tool registry: /admin/tools and what is below it."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs

import orjson

from router.errors import Rejected, RejectReason
from serve_app.front.control import Control
from serve_app.front.http_request import HttpRequest
from serve_app.front.intake import Arrival, Intake
from serve_app.tenancy.auth import Tenant

MAX_BYTES = 4096
FLAGS = frozenset({"now", "force"})


class ToolRoutes:
    """Reads what an operator asks for and answers in JSON.

    What was refused or could not be done is told with `"ok": false`, as of a reload; a body
    that cannot be understood is a 400.
    """

    def __init__(self, control: Control, intake: Intake) -> None:
        self._control = control
        self._intake = intake

    async def show(self, request: HttpRequest, _: Tenant) -> None:
        """List all sets, or with `?set=crm@7` one version."""
        asked = parse_qs(request.query.decode("latin-1")).get("set")
        told = self._control.rotation.show(asked[-1]) if asked else self._control.rotation.listing()
        await _answer(request, told)

    async def promote(self, request: HttpRequest, tenant: Tenant) -> None:
        asked = await self._read(request, tenant)
        if asked is not None:
            name, flags = asked
            told = await self._control.rotation.promote(
                name, now=flags.get("now", False), force=flags.get("force", False)
            )
            await _answer(request, told)

    async def rollback(self, request: HttpRequest, tenant: Tenant) -> None:
        asked = await self._read(request, tenant)
        if asked is not None:
            name, flags = asked
            await _answer(
                request,
                await self._control.rotation.rollback(name, force=flags.get("force", False)),
            )

    async def retire(self, request: HttpRequest, tenant: Tenant) -> None:
        asked = await self._read(request, tenant)
        if asked is not None:
            await _answer(request, await self._control.rotation.retire(asked[0]))

    async def _read(
        self, request: HttpRequest, tenant: Tenant
    ) -> tuple[str, dict[str, bool]] | None:
        """The set that is meant and the flags; None: it was refused."""
        with Arrival() as arrival:
            raw = await self._intake.read_or_refuse(request, tenant, MAX_BYTES, arrival)
        if raw is None:
            return None
        asked = _parse(raw)
        if isinstance(asked, Rejected):
            await request.refuse(asked)
            return None
        request.noted |= {"target": asked[0], "asked": asked[1]}
        return asked


def _parse(raw: bytes) -> tuple[str, dict[str, bool]] | Rejected:
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return Rejected(RejectReason.INVALID_JSON, "The request body is not valid JSON.")
    name = body.get("set") if isinstance(body, dict) else None
    if not isinstance(name, str):
        return Rejected(
            RejectReason.INVALID_REQUEST, "'set' must be the name of a tool set.", param="set"
        )
    flags = {key: value for key, value in body.items() if key != "set"}
    wrong = next((k for k, x in flags.items() if k not in FLAGS or not isinstance(x, bool)), None)
    if wrong is not None:
        message = f"'{wrong[:40]}' is none of the flags now and force, which are true or false."
        return Rejected(RejectReason.INVALID_REQUEST, message)
    return name, flags


async def _answer(request: HttpRequest, told: dict[str, Any] | Rejected) -> None:
    if isinstance(told, Rejected):
        await request.refuse(told)
    else:
        request.noted["ok"] = told.get("ok", True)
        await request.json(told)
