"""A finished request on its way to a trace: what it is made of, and the making."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from evals.traces.redaction import Redactor
from evals.traces.trace import Trace
from serve_app.bodies.parsed_request import ParsedRequest
from serve_app.routing.policies import Policies
from serve_app.traces.answer import Answer, answer_of

Features = Callable[[Policies, ParsedRequest], Mapping[str, float]]
"""What a classifier read of a request, by name; called on the writer's thread."""


@dataclass(frozen=True, slots=True)
class Kept:
    """One request that ended.

    Attributes:
        trace: without what is read from bytes, and not redacted.
        keep_days: how long its tenant lets it be kept.
        given: as its client sent it; None: it was not read, or is too long to keep.
        read: as its classifier read it, which is that of `policies`; None: it was not scored.
        parts: the answer's bytes; `is_stream`: they are events.
        size: bytes that it holds while it waits, about.

    """

    trace: Trace
    keep_days: int
    policies: Policies | None = None
    given: ParsedRequest | None = None
    read: ParsedRequest | None = None
    parts: Sequence[bytes] = ()
    is_stream: bool = False
    size: int = 0


class Completing:
    """Makes traces whole, on the writer's thread alone."""

    def __init__(self, redactor: Redactor, features: Features) -> None:
        self._redactor, self._features = redactor, features

    def __call__(self, kept: Kept) -> Trace:
        """Read the answer, work the features out, redact.

        Raises whatever an operator's redaction raises.
        """
        answer, policies, read = _answer(kept), kept.policies, kept.read
        features = {} if policies is None or read is None else self._features(policies, read)
        whole = replace(
            kept.trace,
            body={} if kept.given is None else kept.given.body,
            answer=answer.text,
            tool_calls=answer.tool_calls,
            finish_reason=answer.finish_reason,
            features=features,
        )
        return self._redactor.trace(whole)


def _answer(kept: Kept) -> Answer:
    if not kept.parts:
        return Answer()
    return answer_of(kept.trace.api, b"".join(kept.parts), is_stream=kept.is_stream)
