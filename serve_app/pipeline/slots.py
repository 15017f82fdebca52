"""A request's place in the line for a lane's slots."""

from __future__ import annotations

from serve_app.admission.admission import Admission
from serve_app.admission.lane_slots import SlotHold
from serve_app.request.call import Call
from serve_app.request.plan import Plan


def in_line(admission: Admission, call: Call, plan: Plan, lane: str) -> SlotHold | None:
    """Get in line for what the request needs of a lane; see `Admission.take`."""
    return admission.take(
        lane,
        call.tenant,
        plan.parsed.num_sequences,
        plan.prompt_tokens,
        plan.answer_tokens,
        is_background=call.background is not None,
        user=call.user,
    )
