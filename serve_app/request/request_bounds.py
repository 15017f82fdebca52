"""How much one request may ask for at once: answers by its tier, prompts by the fleet."""

from __future__ import annotations

from router.errors import Rejected, RejectReason
from serve_app.bodies.parsed_request import ParsedRequest
from serve_app.request.call import Call


def too_many(call: Call, parsed: ParsedRequest) -> Rejected | None:
    """Refuse a request that goes over a bound, and name the field that does."""
    route, limits = call.route, call.policies.fleet.limits
    most = limits.max_prompts if route.answers else limits.max_inputs
    what = "prompts in a request" if route.answers else "texts in a request"
    bounds = (
        ("n", parsed.n, call.tenant.tier.max_n, "answers to a prompt"),
        (route.prompt, parsed.prompts, most, what),
    )
    for name, asked, limit, what in bounds:
        if asked > limit:
            message = f"'{name}' asks for {asked} {what}: at most {limit} are served."
            return Rejected(RejectReason.INVALID_REQUEST, message, param=name)
    return None
