"""How urgent a request is: its tier's priority, which its body may only lower.

A larger number is served later, as in vLLM's scheduler. Two fields of a body count:

- `priority`: a number larger than the tier's;
- `service_tier: flex`, OpenAI's word for work that may wait: as late as the
  deployment's lowest tier. `auto`, `default`, `priority`, `scale` and Anthropic's
  `standard_only` leave it where it is.
"""

from __future__ import annotations

from serve_app.bodies.parsed_request import ParsedRequest
from serve_app.tenancy.auth import Tenant

MAX_PRIORITY = 2**31 - 1
LATER = "flex"


def priority_of(tenant: Tenant, parsed: ParsedRequest) -> int:
    """Return the tier's priority, or what the body lowers it to."""
    wanted = tenant.tier.priority
    given = parsed.body.get("priority")
    if isinstance(given, int) and not isinstance(given, bool):
        wanted = max(wanted, min(given, MAX_PRIORITY))
    if parsed.body.get("service_tier") == LATER:
        wanted = max(wanted, tenant.lowest_priority)
    return wanted
