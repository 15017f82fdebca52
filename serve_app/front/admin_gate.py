"""The way to every admin route: who may, from which page, and the entry in the audit trail."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from functools import partial

from router.errors import Rejected
from serve_app.admin.browser_guard import refuse_host, refuse_page
from serve_app.admin.trail import Outcome, Trail
from serve_app.front.door import Door
from serve_app.front.http_request import HttpRequest
from serve_app.front.request_body import ClientGone
from serve_app.pipeline.state import IngressState
from serve_app.tenancy.auth import Tenant

logger = logging.getLogger("ray.serve")

Handler = Callable[[HttpRequest], Awaitable[None]]
AdminHandler = Callable[[HttpRequest, Tenant], Awaitable[None]]


class AdminGate:
    """Lets admins in to handlers, and has noted what they did.

    Args:
        trail: None: nothing is noted.
        is_private: nothing listens beyond loopback.

    """

    def __init__(
        self, state: IngressState, door: Door, trail: Trail | None, *, is_private: bool
    ) -> None:
        self._state = state
        self._door = door
        self._trail = trail
        self._is_private = is_private

    def reading(self, action: str, handler: AdminHandler) -> Handler:
        """A route that changes nothing: only who was refused is noted."""

        async def handle(request: HttpRequest) -> None:
            tenant = self._door.admin(request.caller)
            refused = self._refuse_host(request) or _rejected(tenant)
            if refused is not None or isinstance(tenant, Rejected):
                await self._refuse(request, action, refused)
            else:
                await handler(request, tenant)

        return handle

    def acting(self, action: str, handler: AdminHandler) -> Handler:
        """A route that changes something: it is done to its end, and noted before the answer.

        Who asked may leave meanwhile: a change without an entry would be worse than one that
        nobody hears the end of.
        """

        async def handle(request: HttpRequest) -> None:
            tenant = self._door.admin(request.caller)
            refused = (
                self._refuse_host(request)
                or refuse_page(request.headers, request.caller)
                or _rejected(tenant)
            )
            if refused is not None or isinstance(tenant, Rejected):
                await self._refuse(request, action, refused)
                return
            request.on_answer = partial(self._note, request, action, tenant)
            work = asyncio.ensure_future(_done(request, tenant, handler))
            await asyncio.shield(work)

        return handle

    def _refuse_host(self, request: HttpRequest) -> Rejected | None:
        allowed = self._state.policies.fleet.cors.allow_origins
        return refuse_host(request.headers, request.caller, allowed, is_private=self._is_private)

    async def _refuse(self, request: HttpRequest, action: str, refused: Rejected | None) -> None:
        if refused is None:
            return
        seen = self._door.status(request.caller)
        known = None if isinstance(seen, Rejected) else seen
        request.noted["why"] = refused.reason.value
        request.on_answer = partial(self._note, request, action, known, is_refused=True)
        await request.refuse(refused)

    async def _note(
        self,
        request: HttpRequest,
        action: str,
        tenant: Tenant | None,
        status: int,
        *,
        is_refused: bool = False,
    ) -> None:
        request.on_answer = None
        if self._trail is None:
            return
        caller = request.caller
        is_done = status < 400 and request.noted.get("ok", True)
        outcome: Outcome = "refused" if is_refused else "done" if is_done else "failed"
        await self._trail.note(
            action,
            outcome,
            status=status,
            who=self._trail.who(caller, tenant),
            client={
                "address": request.client,
                "forwarded_for": request.headers.get(b"x-forwarded-for", b"").decode("latin-1"),
                "origin": request.headers.get(b"origin", b"").decode("latin-1"),
            },
            request_id=request.id,
            noted=request.noted,
        )


async def _done(request: HttpRequest, tenant: Tenant, handler: AdminHandler) -> None:
    """Run to the end, whoever waits; a fault is answered and noted here."""
    try:
        with contextlib.suppress(ClientGone):
            await handler(request, tenant)
    except Exception:
        logger.exception("request %s failed", request.id)
        await request.fail()


def _rejected(tenant: Tenant | Rejected) -> Rejected | None:
    return tenant if isinstance(tenant, Rejected) else None
