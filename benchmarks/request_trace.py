"""The way of one streamed request through an ingress replica: its calls, module by module.

    make bench-request_trace
    python -m benchmarks.request_trace --tokens 3 --functions

The deployment is one process (`support/one_process.py`). Counted is each call of a function of
`serve_app`, `router` or `classifier` in the request's own tasks, and each call that goes from
`relay/` up into `pipeline/`. The engine's replica and background tasks are left out. Prints the
modules in the order in which the request first comes to them; the same tree of code always
prints the same.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from collections import Counter
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from benchmarks.support import report
from benchmarks.support.one_process import one_process

ROOT = Path(__file__).parents[1]
PACKAGES = ("serve_app.", "router.", "classifier.")
_IS_TRACED: ContextVar[bool] = ContextVar("is_traced", default=False)


@dataclass
class Trace:
    """Calls of the request so far: (module, function) in order of the first call.

    Attributes:
        upward: those of `pipeline/` that `relay/` made, by caller and callee.

    """

    calls: Counter[tuple[str, str]] = field(default_factory=Counter)
    upward: Counter[str] = field(default_factory=Counter)
    _seen: dict[FrameType, None] = field(default_factory=dict)

    def __call__(self, frame: FrameType, event: str, _: Any) -> None:
        """`sys.setprofile` calls it; a coroutine that goes on is no second call."""
        if event != "call" or not _IS_TRACED.get() or frame in self._seen:
            return
        here = _place(frame)
        if here is None:
            return
        self._seen[frame] = None
        self.calls[here] += 1
        above = frame.f_back
        while above is not None and _place(above) is None:
            above = above.f_back
        caller = _place(above) if above is not None else None
        if caller and caller[0].startswith("relay/") and here[0].startswith("pipeline/"):
            self.upward[f"{':'.join(caller)} -> {':'.join(here)}"] += 1


def _place(frame: FrameType) -> tuple[str, str] | None:
    """Module as `folder/name` and function; None for code that is not ours."""
    module, name = str(frame.f_globals.get("__name__", "")), frame.f_code.co_qualname
    if not module.startswith(PACKAGES) or name.endswith(("comp>", "<genexpr>", "<module>")):
        return None
    if name.startswith("__create_fn__"):  # a dataclass's
        owner = type(frame.f_locals["self"]).__name__
        name = name.replace("__create_fn__.<locals>", owner)
    return module.removeprefix("serve_app.").replace(".", "/"), name


async def traced(tokens: int) -> Trace:
    """Serve one streamed request twice; the second's calls, when all is imported and known."""
    with tempfile.TemporaryDirectory() as folder:
        files = ROOT / "benchmarks/overhead_fleet.yaml", ROOT / "benchmarks/overhead_tenants.yaml"
        async with one_process(*files, Path(folder)) as made:
            await _ask(made.app, tokens)
            trace = Trace()
            _IS_TRACED.set(True)
            sys.setprofile(trace)
            try:
                await _ask(made.app, tokens)
            finally:
                sys.setprofile(None)
                _IS_TRACED.set(False)
            return trace


async def _ask(app: Any, tokens: int) -> None:
    words = "Why is the sky blue, and what would it be on Mars?"
    chat = {"stream": True, "max_tokens": tokens, "messages": [{"role": "user", "content": words}]}
    body = json.dumps(chat).encode()
    asked = [{"type": "http.request", "body": body, "more_body": False}]
    sent = []

    async def receive() -> dict[str, Any]:
        if asked:
            return asked.pop()
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    headers = [(b"host", b"localhost"), (b"content-length", b"%d" % len(body))]
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "POST",
        "path": "/v1/chat/completions",
        "headers": [*headers, (b"content-type", b"application/json")],
        "client": ("127.0.0.1", 1),
    }
    await app(scope, receive, send)
    if sent[0]["status"] != 200:
        raise RuntimeError(sent)


def rows(trace: Trace) -> list[dict[str, Any]]:
    """A row a module, in the order of the first calls."""
    modules: dict[str, Counter[str]] = {}
    for (module, name), count in trace.calls.items():
        modules.setdefault(module, Counter())[name] += count
    return [
        {
            "#": i,
            "module": module,
            "enters at": next(iter(names)),
            "functions": len(names),
            "calls": names.total(),
        }
        for i, (module, names) in enumerate(modules.items(), start=1)
    ]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--tokens", type=int, default=3)
    parser.add_argument("--functions", action="store_true", help="a line a function, too")
    args = parser.parse_args()
    trace = asyncio.run(traced(args.tokens))
    if args.functions:
        for (module, name), count in trace.calls.items():
            print(f"{count:5} {module}:{name}")
    print(report.table(rows(trace)))
    print(f"{trace.calls.total()} calls of {len(trace.calls)} functions", end="; ")
    print(f"{trace.upward.total()} from relay/ up into pipeline/")
    for call, count in trace.upward.items():
        print(f"{count:5} {call}")


if __name__ == "__main__":
    main()
