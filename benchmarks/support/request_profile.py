"""Where the CPU time of a request goes, by the step that it is spent for.

Samples, taken by the process's own CPU clock: what a function calls costs nothing more than it
does without them, and what else the machine does leaves the shares alone. A sample counts for the
innermost function of ours, so the time of what it calls in libraries is its own.
"""

from __future__ import annotations

import contextlib
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

ROOT = f"{Path(__file__).parents[2]}/"
PACKAGES = ("serve_app", "router", "classifier")
EVERY_S = 0.001
OTHER = "event loop"

STEPS: dict[str, tuple[str, ...]] = {
    "front": ("serve_app/front/", "serve_app/protocol/http_rules", "serve_app/protocol/encodings"),
    "tenancy": ("serve_app/tenancy/",),
    "bodies": ("serve_app/bodies/", "serve_app/agents/", "router/agents/", "router/stable_text/"),
    "classifier": ("classifier/", "serve_app/routing/scores"),
    "routing": (
        "serve_app/routing/",
        "router/routing/",
        "router/tokens",
        "router/types",
        "serve_app/pipeline/preparation",
        "serve_app/pipeline/fitting",
        "serve_app/pipeline/rescoring",
        "serve_app/pipeline/noting",
        "serve_app/request/answer_limit",
        "serve_app/request/plan",
        "serve_app/summaries/",
        "serve_app/experiments/",
    ),
    "admission": (
        "serve_app/admission/",
        "router/admission/",
        "router/limits/",
        "router/leases/",
        "router/scaling/",
        "serve_app/leases/",
        "serve_app/swap/",
        "serve_app/pipeline/reserving",
        "serve_app/request/charge",
        "serve_app/request/metering",
    ),
    "placement": ("serve_app/placement/", "router/placement/", "serve_app/request/turn"),
    "dispatch": (
        "serve_app/relay/",
        "router/recovery/",
        "serve_app/transport/",
        "serve_app/pipeline/asking",
        "serve_app/request/response_headers",
        "serve_app/protocol/",
    ),
    "settle": (
        "serve_app/pipeline/settlement",
        "serve_app/slo/",
        "router/slo/",
        "serve_app/metrics/",
    ),
    "records": (
        "serve_app/records/",
        "serve_app/tracing/",
        "serve_app/traces/",
        "serve_app/pipeline/trace_keeping",
        "serve_app/pipeline/shadowing",
    ),
    "pipeline": ("serve_app/",),
}


class Samples:
    """Samples of one thread, the main one: by step and by function."""

    def __init__(self) -> None:
        self.steps: Counter[str] = Counter()
        self.functions: Counter[str] = Counter()

    @contextlib.contextmanager
    def taken(self) -> Iterator[None]:
        """Take samples meanwhile."""
        before = signal.signal(signal.SIGPROF, self._take)
        signal.setitimer(signal.ITIMER_PROF, EVERY_S, EVERY_S)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0.0)
            signal.signal(signal.SIGPROF, before)

    def _take(self, _: int, frame: FrameType | None) -> None:
        while frame is not None and not _is_ours(frame):
            frame = frame.f_back
        if frame is None:
            self.steps[OTHER] += 1
            return
        path = frame.f_code.co_filename.removeprefix(ROOT)
        step = next((name for name, begins in STEPS.items() if path.startswith(begins)), OTHER)
        self.steps[step] += 1
        self.functions[f"{path.removesuffix('.py')}:{frame.f_code.co_qualname}"] += 1

    def shares(self) -> dict[str, float]:
        """Of all samples, by step, the dearest first."""
        total = self.steps.total()
        return {step: count / total for step, count in self.steps.most_common()}

    def dearest(self, most: int) -> list[dict[str, Any]]:
        """The functions that take most, with their percentage."""
        total = self.steps.total()
        return [
            {"function": name, "percent": 100 * count / total}
            for name, count in self.functions.most_common(most)
        ]


@contextlib.contextmanager
def counted_calls() -> Iterator[list[int]]:
    """Count calls of functions of ours meanwhile; a coroutine that goes on is one more."""
    count = [0]

    def note(frame: FrameType, event: str, _: Any) -> None:
        count[0] += event == "call" and _is_ours(frame)

    sys.setprofile(note)
    try:
        yield count
    finally:
        sys.setprofile(None)


def _is_ours(frame: FrameType) -> bool:
    """Return whether it is a function in a file of ours: constructors of records are in none."""
    path = frame.f_code.co_filename
    return path.startswith(ROOT) and path.removeprefix(ROOT).startswith(PACKAGES)
