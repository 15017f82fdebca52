"""`/v1/responses/{id}` and what is below it: stored responses are read and deleted."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs

from router.errors import Rejected, RejectReason
from serve_app.bodies.big_bodies import BigBodies
from serve_app.bodies.json_body import dump
from serve_app.front.http_request import JSON, HttpRequest
from serve_app.pipeline.state import IngressState
from serve_app.responses.desk import StoredResponses
from serve_app.responses.listing import MAX_LIMIT, Page, listing, page_of
from serve_app.responses.rows import Total
from serve_app.tenancy.auth import Tenant

PREFIX = "/v1/responses/"

_NUMBER = re.compile(r"[0-9]{1,4}")

NOTHING_STORED = Rejected(
    RejectReason.INVALID_REQUEST,
    "No responses are stored here: whoever runs the deployment turns that on with 'responses' of "
    "a tier or a tenant (docs/responses.md).",
)
NOT_RUNNING = Rejected(
    RejectReason.INVALID_REQUEST,
    "Only a response with 'background' can be cancelled, and none runs here. Close the "
    "connection of a request to end it.",
)
NOT_STREAMED = Rejected(
    RejectReason.INVALID_REQUEST,
    "'stream' must be left out: a stored response is whole.",
    param="stream",
)

Handler = Callable[[HttpRequest, Tenant], Awaitable[None]]


def kind_of(path: str) -> str:
    """Return which of the routes a path under the prefix is; empty: none."""
    response_id, _, rest = path.removeprefix(PREFIX).partition("/")
    kinds = {"": "response", "input_items": "input_items", "cancel": "cancel"}
    return kinds.get(rest, "") if response_id else ""


class ResponseRoutes:
    """Answers them for one ingress replica.

    Attributes:
        handlers: by kind of route, and method.

    """

    def __init__(
        self, stored: StoredResponses | None, state: IngressState, big_bodies: BigBodies
    ) -> None:
        self._stored = stored
        self._state = state
        self._big_bodies = big_bodies
        self.handlers: dict[str, dict[str, Handler]] = {
            "response": {"GET": self._get, "DELETE": self._delete},
            "input_items": {"GET": self._list_items},
            "cancel": {"POST": self._cancel},
        }

    def status_of(self, tenant: Tenant) -> dict[str, Any]:
        """Return a tenant's own part of `/status`; nothing where it stores nothing."""
        bounds = tenant.responses
        if self._stored is None or bounds is None:
            return {}
        used = self._stored.totals.get(tenant.name, Total(0, 0))
        most = {"max_responses": bounds.max_responses, "max_bytes": bounds.max_bytes}
        return {"stored_responses": {**used._asdict(), **most}}

    async def _store_for(self, request: HttpRequest, tenant: Tenant) -> StoredResponses | None:
        """The store; None when it has been told that this tenant has none."""
        if self._stored is not None and tenant.responses is not None:
            return self._stored
        await request.refuse(NOTHING_STORED, 404)
        return None

    async def _get(self, request: HttpRequest, tenant: Tenant) -> None:
        store = await self._store_for(request, tenant)
        if store is None:
            return
        if _query(request).get("stream", "false") not in ("false", "0"):
            await request.refuse(NOT_STREAMED)
            return
        found = await store.get(tenant.name, _id(request))
        if isinstance(found, Rejected):
            await request.refuse(_not_read(found))
        elif found is None:
            await request.refuse(_unknown(request), 404)
        else:
            body = b'{"output":%b,%b' % (found.output, found.head[1:])
            await request.respond(200, body, JSON)

    async def _delete(self, request: HttpRequest, tenant: Tenant) -> None:
        store = await self._store_for(request, tenant)
        if store is None:
            return
        gone = await store.delete(tenant.name, _id(request))
        if isinstance(gone, Rejected):
            await request.refuse(_not_read(gone))
        elif gone:
            told = {"id": _id(request), "object": "response", "deleted": True}
            await request.json(told)
        else:
            await request.refuse(_unknown(request), 404)

    async def _list_items(self, request: HttpRequest, tenant: Tenant) -> None:
        store = await self._store_for(request, tenant)
        if store is None:
            return
        page = _page(request)
        if isinstance(page, Rejected):
            await request.refuse(page)
            return
        most = self._state.policies.fleet.limits.max_body_bytes
        found = await store.conversation(tenant.name, _id(request), most)
        if isinstance(found, Rejected):
            await request.refuse(_not_read(found))
            return
        listed = None
        if found is not None:
            size = sum(len(array) for exchange in found for array in exchange)
            items = listing(found, _id(request))
            listed = page_of(await self._big_bodies.read(items, size, tenant.name), page)
        if listed is None:
            await request.refuse(_unknown(request), 404)
        else:
            await request.respond(200, dump(listed), JSON)

    async def _cancel(self, request: HttpRequest, tenant: Tenant) -> None:
        if await self._store_for(request, tenant) is not None:
            await request.refuse(NOT_RUNNING)


def _id(request: HttpRequest) -> str:
    return request.path.removeprefix(PREFIX).partition("/")[0]


def _not_read(refused: Rejected) -> Rejected:
    """Why a store was not read, without what a request to go on is told to do."""
    if refused.reason is not RejectReason.RESPONSE_STORE_UNAVAILABLE:
        return replace(refused, param="response_id")
    message = "The stored responses cannot be read or deleted now. Try again."
    return replace(refused, message=message, param=None)


def _unknown(request: HttpRequest) -> Rejected:
    """The same words whether nobody or another tenant has it."""
    message = f"Response with id '{_id(request)[:128]}' not found."
    return Rejected(RejectReason.INVALID_REQUEST, message, param="response_id")


def _query(request: HttpRequest) -> dict[str, str]:
    return {k: v[-1] for k, v in parse_qs(request.query.decode("latin-1")).items()}


def _page(request: HttpRequest) -> Page | Rejected:
    query: dict[str, Any] = _query(request)
    order, limit = query.get("order", "desc"), query.get("limit", "20")
    if order not in ("asc", "desc"):
        return _wrong("order", "'asc' or 'desc'")
    if not _NUMBER.fullmatch(limit) or not 1 <= int(limit) <= MAX_LIMIT:
        return _wrong("limit", f"from 1 to {MAX_LIMIT}")
    return Page(order == "desc", int(limit), query.get("after"))


def _wrong(name: str, what: str) -> Rejected:
    return Rejected(RejectReason.INVALID_REQUEST, f"'{name}' must be {what}.", param=name)
