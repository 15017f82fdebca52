"""The operators' routes below /admin: keys, ceilings, replicas, the audit trail (docs/admin.md)."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import parse_qs

import orjson

from router.errors import Rejected, RejectReason
from serve_app.admin.audit import MAX_LISTED
from serve_app.admin.browser_guard import refuse_form
from serve_app.admin.ceilings import MAX_LISTED as MAX_TENANTS
from serve_app.admin.ceilings import NO_TENANT, CannotWrite
from serve_app.admin.desk import AdminDesk
from serve_app.admin.drains import DrainReplica
from serve_app.admin.keys import MakeKey, RevokeKey
from serve_app.config.errors import ConfigError, StrictModel, validate
from serve_app.front.admin_gate import AdminGate, Handler
from serve_app.front.http_request import HttpRequest
from serve_app.front.intake import Arrival, Intake
from serve_app.tenancy.auth import Tenant
from serve_app.tenancy.tenants_file import FileChanged

MAX_BYTES = 16_384
MAX_MESSAGE_CHARS = 2000

KEYS, CEILINGS, REPLICAS = "/admin/keys/", "/admin/ceilings/", "/admin/replicas/"

STORE_FAULTS = (sqlite3.Error, OSError)

M = TypeVar("M", bound=StrictModel)


class AdminRoutes:
    """Reads what an admin asks for and answers in JSON."""

    def __init__(self, desk: AdminDesk, gate: AdminGate, intake: Intake) -> None:
        self._desk = desk
        self._intake = intake
        reading, acting = gate.reading, gate.acting
        self.fixed: dict[str, dict[str, Handler]] = {
            "/admin/keys": {
                "GET": reading("keys.list", self._list_keys),
                "POST": acting("keys.make", self._make_key),
            },
            "/admin/ceilings": {"GET": reading("ceilings.list", self._list_ceilings)},
            "/admin/replicas": {"GET": reading("replicas.list", self._list_replicas)},
            "/admin/audit": {"GET": reading("audit.read", self._audit)},
        }
        self._revoke = {"POST": acting("keys.revoke", self._revoke_key)}
        self._ceilings = {
            "GET": reading("ceilings.show", self._show_ceilings),
            "PUT": acting("ceilings.set", self._set_ceilings),
        }
        self._drain = {"POST": acting("replicas.drain", self._drain_replica)}
        self._undrain = {"POST": acting("replicas.undrain", self._undrain_replica)}

    def find(self, path: str) -> dict[str, Handler] | None:
        """Return the handlers of a path with a name in it, by method."""
        if path.startswith(CEILINGS):
            return self._ceilings
        before, _, rest = path.partition("/admin/")
        kind, _, tail = rest.partition("/")
        name, _, verb = tail.rpartition("/")
        if before or not name or "/" in name:
            return None
        ways = {
            ("keys", "revoke"): self._revoke,
            ("replicas", "drain"): self._drain,
            ("replicas", "undrain"): self._undrain,
        }
        return ways.get((kind, verb))

    # -- keys -------------------------------------------------------------------------

    async def _list_keys(self, request: HttpRequest, _: Tenant) -> None:
        tenant = _query(request, "tenant")
        await _try(request, lambda: self._desk.keys.listing(tenant or None))

    async def _make_key(self, request: HttpRequest, tenant: Tenant) -> None:
        asked = await self._read(request, tenant, MakeKey)
        if asked is None:
            return
        wish = {"tenant": asked.tenant, "tier": asked.tier, "days": asked.days}
        request.noted |= {"target": asked.tenant, "asked": {**wish, **_rights(asked)}}

        async def make() -> dict[str, Any] | Rejected:
            told = await self._desk.keys.make(asked)
            if isinstance(told, dict):
                request.noted["after"] = {k: told[k] for k in ("id", "tenant", "new_tenant")}
            return told

        # What is shown once is not kept by whatever stands between.
        await _try(request, make, [(b"cache-control", b"no-store")])

    async def _revoke_key(self, request: HttpRequest, tenant: Tenant) -> None:
        key_id = request.path.removeprefix(KEYS).removesuffix("/revoke")
        asked = await self._read(request, tenant, RevokeKey)
        if asked is None:
            return
        request.noted["target"] = key_id
        who = self._desk.trail.who(request.caller, tenant)
        if who["key"] == key_id and not asked.force:
            await request.refuse(OWN_KEY, 409)
            return

        async def revoke() -> dict[str, Any] | Rejected:
            told = await self._desk.keys.revoke(key_id)
            return NO_KEY if told is None else told

        await _try(request, revoke)

    # -- ceilings ---------------------------------------------------------------------

    async def _list_ceilings(self, request: HttpRequest, _: Tenant) -> None:
        search, limit = _query(request, "search"), _limit(request, MAX_TENANTS)
        await _try(request, lambda: self._desk.ceilings.listing(search, limit))

    async def _show_ceilings(self, request: HttpRequest, _: Tenant) -> None:
        name = request.path.removeprefix(CEILINGS)
        await _try(request, lambda: self._desk.ceilings.show(name))

    async def _set_ceilings(self, request: HttpRequest, tenant: Tenant) -> None:
        name = request.path.removeprefix(CEILINGS)
        body = await self._body(request, tenant)
        if body is None:
            return
        request.noted |= {"target": name, "asked": body}
        etag = request.headers.get(b"if-match", b"").decode("latin-1").strip().strip('"')
        if not etag:
            await request.refuse(NO_TAG, 428)
            return

        async def set_them() -> dict[str, Any] | Rejected:
            told = await self._desk.ceilings.set(name, body, etag)
            if isinstance(told, dict):
                request.noted |= {"before": told["before"], "after": told["after"]}
            return told

        await _try(request, set_them)

    # -- replicas ---------------------------------------------------------------------

    async def _list_replicas(self, request: HttpRequest, _: Tenant) -> None:
        await request.json(await self._desk.drains.listing())

    async def _drain_replica(self, request: HttpRequest, tenant: Tenant) -> None:
        replica = request.path.removeprefix(REPLICAS).removesuffix("/drain")
        asked = await self._read(request, tenant, DrainReplica)
        if asked is None:
            return
        request.noted |= {"target": replica, "asked": asked.model_dump()}

        async def drain() -> dict[str, Any] | Rejected:
            told = await self._desk.drains.drain(replica, asked)
            return NO_REPLICA if told is None else told

        await _try(request, drain)

    async def _undrain_replica(self, request: HttpRequest, tenant: Tenant) -> None:
        replica = request.path.removeprefix(REPLICAS).removesuffix("/undrain")
        if await self._body(request, tenant) is None:
            return
        request.noted["target"] = replica

        async def undrain() -> dict[str, Any] | Rejected:
            told = await self._desk.drains.undrain(replica)
            return NO_REPLICA if told is None else told

        await _try(request, undrain)

    # -- the trail --------------------------------------------------------------------

    async def _audit(self, request: HttpRequest, _: Tenant) -> None:
        limit = _limit(request, MAX_LISTED)
        await _try(request, lambda: self._desk.trail.newest(limit))

    # -- bodies -----------------------------------------------------------------------

    async def _read(self, request: HttpRequest, tenant: Tenant, model: type[M]) -> M | None:
        """The body as a model; None: it was refused."""
        body = await self._body(request, tenant)
        if body is None:
            return None
        try:
            return validate(body, model, "body")
        except ConfigError as error:
            await request.refuse(Rejected(RejectReason.INVALID_REQUEST, str(error)))
            return None

    async def _body(self, request: HttpRequest, tenant: Tenant) -> dict[str, Any] | None:
        """The body as an object, empty where there is none; None: it was refused."""
        with Arrival() as arrival:
            raw = await self._intake.read_or_refuse(request, tenant, MAX_BYTES, arrival)
        if raw is None:
            return None
        refused = refuse_form(request.headers, raw)
        body = {} if refused is not None else _parsed(raw)
        if refused is not None or not isinstance(body, dict):
            await request.refuse(refused or NO_OBJECT, 415 if refused is not None else None)
            return None
        return body


NO_KEY = Rejected(
    RejectReason.INVALID_REQUEST,
    "No key has this id; 'pointsman tenants list' has them.",
    None,
    "id",
)
OWN_KEY = Rejected(
    RejectReason.INVALID_REQUEST,
    "This is the key that you came with: without another one you could not undo anything. Say "
    "'force' if it is meant.",
    param="force",
)
NO_REPLICA = Rejected(
    RejectReason.INVALID_REQUEST,
    "No lane replica of this id answers; /admin/replicas has them.",
    param="replica",
)
NO_TAG = Rejected(
    RejectReason.INVALID_REQUEST,
    "Say which file the ceilings are for: 'If-Match' with the 'etag' that was read with them.",
    param="if-match",
)
NO_OBJECT = Rejected(RejectReason.INVALID_JSON, "The request body is not a JSON object.")

_MISSING = (NO_KEY, NO_REPLICA, NO_TENANT)
"""Refusals that are 404: a name in the path that is nobody's."""


async def _try(
    request: HttpRequest,
    work: Callable[[], Any],
    headers: list[tuple[bytes, bytes]] | None = None,
) -> None:
    """Answer what the work tells, or why it could not be done."""
    try:
        told = await work()
    except FileChanged as error:
        await request.refuse(_invalid(str(error)), 412)
    except CannotWrite as error:
        await request.refuse(_invalid(str(error)), 409)
    except ConfigError as error:
        await request.refuse(_invalid(str(error)), 409)
    except STORE_FAULTS as error:
        what = getattr(error, "strerror", None) or str(error)
        await request.refuse(_invalid(f"Nothing was done, or not all of it: {what}."), 503)
    else:
        await _answer(request, told, headers or [])


async def _answer(
    request: HttpRequest, told: dict[str, Any] | Rejected, headers: list[tuple[bytes, bytes]]
) -> None:
    if isinstance(told, dict):
        request.noted["ok"] = told.get("ok", True)
        if "etag" in told:
            headers = [*headers, (b"etag", b'"%s"' % str(told["etag"]).encode())]
        await request.json(told, headers=headers)
        return
    status = 404 if told in _MISSING else None
    if status is None and told.param == "force":
        status = 409
    await request.refuse(told, status)


def _invalid(message: str) -> Rejected:
    # A file can have a fault in each of its thousand tenants.
    return Rejected(RejectReason.INVALID_REQUEST, message[:MAX_MESSAGE_CHARS])


def _rights(asked: MakeKey) -> dict[str, bool]:
    return {"admin": asked.admin, "proxy": asked.proxy}


def _parsed(raw: bytes) -> Any:
    if not raw:
        return {}
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        return None


def _query(request: HttpRequest, name: str) -> str:
    found = parse_qs(request.query.decode("latin-1")).get(name)
    return found[-1][:128] if found else ""


def _limit(request: HttpRequest, most: int) -> int:
    asked = _query(request, "limit")
    return min(most, int(asked)) if asked.isdecimal() and len(asked) < 9 else min(most, 50)
