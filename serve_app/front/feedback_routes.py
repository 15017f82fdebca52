"""`/v1/feedback`: what a client thinks of an answer."""

from __future__ import annotations

from router.errors import Rejected
from serve_app.front.http_request import HttpRequest
from serve_app.front.intake import Arrival, Intake
from serve_app.records.feedback import MAX_FEEDBACK_BYTES, FeedbackDesk, parse_feedback
from serve_app.tenancy.auth import Tenant


class FeedbackRoutes:
    """Takes feedback in for one ingress replica."""

    def __init__(self, feedback: FeedbackDesk, intake: Intake) -> None:
        self._feedback = feedback
        self._intake = intake

    async def take(self, request: HttpRequest, tenant: Tenant) -> None:
        with Arrival() as arrival:
            raw = await self._intake.read_or_refuse(request, tenant, MAX_FEEDBACK_BYTES, arrival)
        if raw is None:
            return
        given = parse_feedback(raw)
        if isinstance(given, Rejected):
            await request.refuse(given)
        elif (unknown := await self._feedback.take(tenant.name, given)) is not None:
            await request.refuse(unknown, 404)
        else:
            await request.json({"object": "feedback", "request_id": given.request_id})
