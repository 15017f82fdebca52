"""Taking a request in: it is counted at its header, then its body is read and decoded."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Self

from router.errors import Rejected
from serve_app.front.http_request import HttpRequest
from serve_app.pipeline.state import IngressState
from serve_app.protocol.encodings import ACCEPTED, unknown_coding
from serve_app.request.response_headers import ratelimit_headers
from serve_app.tenancy.auth import Tenant


class Arrival:
    """What one request holds until its body is here and read; given back once."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held: list[Callable[[], None]] = []

    def holds(self, give_back: Callable[[], None]) -> None:
        """Hold something that is given back by this call."""
        self._held.append(give_back)

    def close(self) -> None:
        """Give back what is still held."""
        while self._held:
            self._held.pop()()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Intake:
    """Takes requests in, and answers those that are refused meanwhile."""

    def __init__(self, state: IngressState) -> None:
        self._state = state

    async def read(
        self,
        request: HttpRequest,
        tenant: Tenant,
        max_bytes: int,
        arrival: Arrival,
        *,
        will_run: bool = False,
    ) -> bytes | Rejected | None:
        """Count the request, then take its body in; None when a refusal has been answered.

        `arrival`: gives back, when it is closed, what the request holds until its body has
        been read: many megabytes may wait for that.

        Returns: the decoded body, or why a ceiling lets the request not be read.
        """
        most = self._state.policies.fleet.limits.max_uploads_per_tenant
        uploads = self._state.uploads
        refused = uploads.try_begin(tenant.name, most)
        if refused is not None:
            return refused
        arrival.holds(partial(uploads.end, tenant.name))
        refused = await self._state.count_request(tenant, will_run=will_run)
        if refused is not None:
            arrival.close()
            return refused
        if will_run:
            arrival.holds(self._state.ceiling(tenant).arrived)
        return await self._body(request, max_bytes)

    async def read_or_refuse(
        self, request: HttpRequest, tenant: Tenant, max_bytes: int, arrival: Arrival
    ) -> bytes | None:
        """Do what `read` does and answer ceilings' refusals, too: for what generates nothing."""
        raw = await self.read(request, tenant, max_bytes, arrival)
        if not isinstance(raw, Rejected):
            return raw
        await self.refuse(request, tenant, raw)
        return None

    async def refuse(self, request: HttpRequest, tenant: Tenant, refused: Rejected) -> None:
        """Answer that a ceiling refuses the request, and what is left of the minute."""
        left = ratelimit_headers(self._state.ceiling(tenant))
        await request.refuse(refused, headers=left)

    async def _body(self, request: HttpRequest, max_bytes: int) -> bytes | None:
        unknown = unknown_coding(request.codings)
        if unknown is not None:
            await request.refuse(unknown, 415, [(b"accept-encoding", ACCEPTED)])
            return None
        raw = await request.read(self._state.policies.fleet.limits, max_bytes)
        if isinstance(raw, Rejected):
            await request.refuse(raw)
            return None
        return raw
