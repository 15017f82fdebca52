"""Has invalid tool calls made again, before the client sees them (docs/agents.md).

The same lane is asked first, with the schema as its grammar; then a stronger one, if the
fleet names one and it has room now. What nobody could make is an error that says so.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

from router.errors import Rejected, RejectReason
from router.types import Lane, LaneDecision, Reason
from serve_app.agents.forms import form_of
from serve_app.agents.forms.form import MadeCall
from serve_app.agents.gate import Fault, Gate
from serve_app.agents.json_answers import judge_answers, schema_asked
from serve_app.agents.repair import repair_body
from serve_app.agents.schemas import Schemas
from serve_app.agents.tools import tools_of
from serve_app.agents.verdict import EMPTY, NO_CALL, CallOutcome, Verdict
from serve_app.bodies.routes import Route
from serve_app.config.agents import ToolCallsConfig
from serve_app.metrics import AgentMetrics
from serve_app.protocol.engine_words import engine_error
from serve_app.protocol.errors import Dialect
from serve_app.protocol.sse import read_usage
from serve_app.relay.attempts import RequestAttempts
from serve_app.relay.repair_asking import IS_REFUSED, RepairAsking, fallbacks
from serve_app.request.call import Call
from serve_app.request.plan import Plan

MAX_FAULTS = 16
"""Calls of one answer that are made again: each takes an engine's answer of its own."""


class ToolRepair:
    """Mends the tool calls of one ingress replica's answers."""

    def __init__(self, asking: RepairAsking, metrics: AgentMetrics) -> None:
        self._asking = asking
        self._metrics = metrics
        self._schemas = Schemas()

    def gate_for(self, call: Call, plan: Plan) -> Gate | None:
        """Return what judges the calls of a request's answer; None: it can have none."""
        if not plan.parsed.tools:
            return None
        path = call.route.path
        form, tools = form_of(path), tools_of(plan.parsed.body, path)
        if form is None or tools is None:
            return None
        return Gate(form, tools, self._schemas, holds=tools.has_strict or _holds(call))

    async def mend(self, attempts: RequestAttempts, gate: Gate) -> Rejected | None:
        """Have each invalid call of an answer made again; return why one cannot be."""
        if len(gate.faults) > MAX_FAULTS:
            return _refusal(gate.faults[MAX_FAULTS])
        for fault in list(gate.faults):
            made = await self._made_again(attempts, gate, fault)
            if isinstance(made, Rejected):
                return made
            if isinstance(made, str):
                gate.say(fault, made)
            else:
                gate.mend(fault, made)
        mending = attempts.call.served.mending
        if mending is not None:
            gate.note_usage(mending.prompt_tokens, mending.completion_tokens)
        return None

    async def make_anew(self, attempts: RequestAttempts, gate: Gate) -> dict[str, Any] | Rejected:
        """Return a whole answer with valid calls in place of one that its engine cannot write."""
        call, lane = attempts.call, attempts.plan.decision.lane
        self._metrics.tool_calls.labels(call.lane, UNREADABLE.outcome).inc()
        call.reply.verdicts = [UNREADABLE.outcome]
        # The engine does not say which of its calls it was, nor how many there were.
        may_be_many = gate.tools.named is None and gate.tools.allows_parallel
        fault = Fault((0, -1), gate.tools.named, "", UNREADABLE, may_be_many)
        if not gate.holds:
            return _refusal(fault)
        _path, config = call.route.path, _config(call)
        body = _asked(attempts, gate, fault)
        for _ in range(config.attempts):
            answer = await self._asking.ask(attempts, lane, body)
            if self._is_made(call, lane, "grammar", gate, answer):
                return _taken(call, answer)
        for stronger in fallbacks(attempts) if config.fallback else ():
            answer = await self._asking.ask_elsewhere(attempts, stronger, body)
            if self._is_made(call, stronger, "fallback", gate, answer):
                call.decision = LaneDecision(stronger, Reason.VALIDATION_FAILED)
                return _taken(call, answer)
        return _refusal(fault)

    def _is_made(
        self, call: Call, lane: Lane, step: str, gate: Gate, answer: dict[str, Any]
    ) -> bool:
        """Return whether an answer has calls, and only valid ones."""
        judged = gate.afresh()
        judged.read_whole(answer)
        made = [] if judged.faults else self._calls_of(call, answer)
        if made:
            call.reply.gate = judged
        self._note_step(call, lane, step, made)
        return bool(made)

    def _calls_of(self, call: Call, answer: dict[str, Any]) -> list[MadeCall]:
        form = form_of(call.route.path)
        return [] if form is None else form.whole_calls(answer)

    def note(self, call: Call, gate: Gate) -> None:
        """Count how the calls of an answer were."""
        call.reply.gate, call.reply.verdicts = gate, gate.outcomes
        for outcome in gate.outcomes:
            self._metrics.tool_calls.labels(call.lane, outcome).inc()

    def note_json(self, attempts: RequestAttempts, answer: Any) -> None:
        """Count how a whole answer stands to the JSON schema that it was to match, if any."""
        call = attempts.call
        schema = schema_asked(attempts.plan.parsed.body)
        form = form_of(call.route.path)
        if schema is None or form is None or not isinstance(answer, dict):
            return
        for outcome in judge_answers(form, answer, schema, self._schemas):
            self._metrics.json_answers.labels(call.lane, outcome).inc()

    async def _made_again(
        self, attempts: RequestAttempts, gate: Gate, fault: Fault
    ) -> list[MadeCall] | str | Rejected:
        """Return valid calls for a fault's place, or a text for that of an empty answer."""
        config = _config(attempts.call)
        body, left = _asked(attempts, gate, fault), config.attempts
        while left > 0:
            left -= 1
            lane = attempts.plan.decision.lane
            answer = await self._asking.ask(attempts, lane, body)
            made = gate.made_again(answer, fault) or _said(gate, answer, fault)
            self._note_step(attempts.call, lane, "grammar", made)
            if made:
                return made
            if fault.verdict is EMPTY and (IS_REFUSED in answer or gate.finds_faults(answer)):
                # It wants to call, as it turns out: from now on under a grammar, at least once.
                fault = replace(fault, verdict=NO_CALL)
                body, left = _asked(attempts, gate, fault), max(left, 1)
        for stronger in fallbacks(attempts) if config.fallback else ():
            answer = await self._asking.ask_elsewhere(attempts, stronger, body)
            made = gate.made_again(answer, fault) or _said(gate, answer, fault)
            self._note_step(attempts.call, stronger, "fallback", made)
            if made:
                attempts.call.decision = LaneDecision(stronger, Reason.VALIDATION_FAILED)
                return made
            if fault.verdict is EMPTY and (IS_REFUSED in answer or gate.finds_faults(answer)):
                fault = replace(fault, verdict=NO_CALL)
                body = _asked(attempts, gate, fault)
        return [] if fault.verdict is EMPTY else _refusal(fault)

    def _note_step(self, call: Call, lane: Lane, step: str, made: list[MadeCall] | str) -> None:
        outcome = "mended" if made else "failed"
        self._metrics.tool_repairs.labels(lane.name, step, outcome).inc()
        call.reply.repairs.append(step if made else f"{step}-failed")


_UNREADABLE = re.compile(
    r"[^\n]{1,80}: line \d+ column \d+ \(char \d+\)$|1 validation error for AnthropicContentBlock\b"
)

UNREADABLE = Verdict(CallOutcome.NOT_JSON, "the arguments are no JSON object")


def is_unreadable_call(route: Route, body: bytes) -> bool:
    """Return whether an engine's error is about its own model's call, not about the request.

    vLLM reads the arguments of each call to write a whole answer of `/v1/messages`, and
    tells the client what its reader says.
    """
    if route.dialect is not Dialect.ANTHROPIC or not route.generates:
        return False
    said = engine_error(body).get("message")
    return isinstance(said, str) and _UNREADABLE.match(said) is not None


def _taken(call: Call, answer: dict[str, Any]) -> dict[str, Any]:
    """The answer, which is all that was delivered, with what all attempts took."""
    served, own = call.served, read_usage(answer)
    took = served.usage = served.mending
    served.mending = None
    if own is None or took is None or took == own:
        return answer
    usage = dict(answer["usage"])
    usage["input_tokens"] = usage.get("input_tokens", 0) + took.prompt_tokens - own.prompt_tokens
    usage["output_tokens"] = (
        usage.get("output_tokens", 0) + took.completion_tokens - own.completion_tokens
    )
    return {**answer, "usage": usage}


def _said(gate: Gate, answer: dict[str, Any], fault: Fault) -> list[MadeCall] | str:
    """The text that comes instead of an empty answer: there was nothing to call."""
    return gate.text_of(answer) if fault.verdict is EMPTY else []


def _asked(attempts: RequestAttempts, gate: Gate, fault: Fault) -> dict[str, Any]:
    """What is asked in a fault's place."""
    # Python's reader leaves the request's numbers as they are.
    body = json.loads(attempts.body)
    return repair_body(body, attempts.call.route.path, gate.tools, fault)


def _config(call: Call) -> ToolCallsConfig:
    agents = call.tenant.agents
    return ToolCallsConfig() if agents is None else agents.tool_calls


def _holds(call: Call) -> bool:
    return call.tenant.agents is not None and _config(call).check == "hold"


def _refusal(fault: Fault) -> Rejected:
    named = "a tool" if fault.name is None else f"the tool '{fault.name}'"
    return Rejected(
        RejectReason.TOOL_CALL_INVALID,
        f"The model's call of {named} is not valid ({fault.verdict.outcome.value}), and it could "
        "not make a valid one. A retry may do better; so may a simpler schema.",
        param="tools",
    )
