"""From a request's bytes to its plan: parse, leave old turns out, choose the lane, estimate."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from hashlib import blake2b
from math import ceil

from router.agents.background import Background
from router.errors import Rejected
from router.limits.reservation import Reckoning
from router.placement.session import derive_session_id
from router.routing.lane import decide_lane
from router.routing.policy import Judge, Judgement
from router.routing.window_room import left
from router.types import LaneDecision, RequestFacts, Task
from serve_app.agents.background import background_of
from serve_app.bodies.images import has_images
from serve_app.bodies.media_urls import looking_for_media
from serve_app.bodies.opening import opening_of, session_hint
from serve_app.bodies.parsed_request import ParsedRequest, reading
from serve_app.bodies.steps import Steps
from serve_app.pipeline.fitting import check_session, check_window, session_limit, wish_of
from serve_app.pipeline.state import IngressState
from serve_app.pipeline.tool_versions import expanding, keeping_version
from serve_app.registry.tool_sets import ToolSets
from serve_app.request.answer_limit import answer_limit, unlimited_tokens
from serve_app.request.call import Call
from serve_app.request.plan import Plan
from serve_app.request.request_bounds import too_many
from serve_app.request.stages import Stage
from serve_app.summaries.shaping import Shape, Shaping
from serve_app.summaries.source import Asker
from serve_app.summaries.summariser import Summariser, wants_summaries

MAX_TASK_ID_BYTES = 256


class Preparation:
    """Plans the requests of one ingress replica. Nothing is spent, nothing awaited."""

    def __init__(self, state: IngressState, summariser: Summariser) -> None:
        self._state = state
        self._summariser = summariser
        self._shaping = Shaping(state.tasks, time.monotonic)

    def preparing(self, call: Call, raw: bytes) -> Steps[Plan | Rejected]:
        """The plan of a request, in pieces; what is found is noted in the call on the way."""
        # The same for the whole of a request, whatever is promoted meanwhile.
        sets = self._state.tool_book.sets
        limits = call.policies.fleet.limits
        parsed = yield from reading(raw, call.route, limits, expanding(call, sets))
        if isinstance(parsed, Rejected):
            return parsed
        return (yield from self.planning(call, parsed, sets))

    def planning(self, call: Call, parsed: ParsedRequest, sets: ToolSets) -> Steps[Plan | Rejected]:
        """The plan of a request that was read with the tools of these sets, in pieces."""
        identified = yield from self._identifying(call, parsed, sets)
        if isinstance(identified, Rejected):
            return identified
        parsed = identified
        if parsed.tools:
            bounds = call.policies.fleet.limits.schemas
            tools = parsed.body.get("tools")
            yield from self._state.lint_log.noting(tools, call.tenant.name, bounds)
        # After the session id, which comes from the first turn, and before all that
        # should see what the engine will.
        yield
        view = self._summariser.view(asker_of(call)) if wants_summaries(call.tenant) else None
        shape = yield from self._shaping.shaping(call.tenant, call.task_key, parsed, view)
        if isinstance(shape, Rejected):
            return shape
        _take(call, shape)
        call.turn_key = _turn_key(call, shape.parsed)
        yield
        return (yield from self._choosing(call, shape))

    def choosing_again(self, call: Call, plan: Plan) -> Steps[Plan | Rejected]:
        """The plan with the lane that better scores lead to, in pieces."""
        if plan.shape is None:
            return plan
        return (yield from self._choosing(call, plan.shape))

    def _choosing(self, call: Call, shape: Shape) -> Steps[Plan | Rejected]:
        parsed = shape.parsed
        decision = self._decide(call, parsed)
        if isinstance(decision, Rejected):
            return decision
        call.decision = decision
        yield
        hosts = call.policies.fleet.lanes[decision.lane.name].media_hosts
        refused = yield from looking_for_media(parsed.body, hosts)
        if refused is not None:
            return refused
        plan = self._measure(call, shape, decision)
        return check_window(plan) or check_session(call, plan) or plan

    def _identifying(
        self, call: Call, parsed: ParsedRequest, sets: ToolSets
    ) -> Steps[ParsedRequest | Rejected]:
        """Whose session a request is of, and with it the version of its tools."""
        call.parsed = parsed
        call.background = background_of(parsed, call.headers, call.policies.routing)
        yield
        refused = too_many(call, parsed) or self._identify_session(call, parsed)
        if refused is not None:
            return refused
        if parsed.tool_set is None:
            return parsed
        kept = yield from keeping_version(call, parsed, sets)
        call.parsed = parsed if isinstance(kept, Rejected) else kept
        return kept

    def shaping_again(self, call: Call, plan: Plan) -> Steps[Plan]:
        """The plan with the summaries that were made since; its lane stays, in pieces."""
        shape = plan.shape
        if shape is None:
            return plan
        again = yield from self._shaping.shaping(
            call.tenant, call.task_key, shape.given, shape.view
        )
        if isinstance(again, Rejected):
            # A bound in seconds may have been passed meanwhile: the next request is told.
            again = shape
        _take(call, again)
        return self._measure(call, again, plan.decision)

    def on_lane(self, call: Call, plan: Plan, decision: LaneDecision) -> Plan:
        """The plan on another lane, as it is reckoned there."""
        if plan.shape is None:
            return replace(plan, decision=decision, lane=decision.lane.name)
        return self._measure(call, plan.shape, decision)

    def _identify_session(self, call: Call, parsed: ParsedRequest) -> Rejected | None:
        call.task_id = task_id_of(call.headers)
        given = self._state.session_id_of(call.headers)
        if isinstance(given, Rejected):
            return given
        call.session_id = given or _derived_session(call, parsed)
        return None

    def _decide(self, call: Call, parsed: ParsedRequest) -> LaneDecision | Rejected:
        call.stages.enter(Stage.CLASSIFY)
        policies, judge = call.policies, self._state.escalation.judge
        judging: Judge = partial(judge, policies, call.tenant, parsed, call.session_key)
        if self._state.scoring is not None:
            judging = self._doubting(call, parsed, judging)
        facts = self._facts(call, parsed)
        decision = decide_lane(policies.routing, call.tenant.rules, facts, judging)
        call.stages.enter(Stage.PARSE)
        return decision

    def _doubting(self, call: Call, parsed: ParsedRequest, judging: Judge) -> Judge:
        """Return the judge that also notes which of the scores it would rather have better."""

        def judge(*, is_planning: bool = False) -> Judgement:
            judged = judging(is_planning=is_planning)
            call.doubts = self._state.escalation.doubts(
                call.policies, call.tenant, parsed, judged, is_planning=is_planning
            )
            return judged

        call.doubts = []
        return judge

    def _facts(self, call: Call, parsed: ParsedRequest) -> RequestFacts:
        default = call.policies.routing.default
        wish = wish_of(call, parsed) if call.route.answers else parsed.output_tokens
        is_step, held = parsed.prompt.is_step, None
        cascading = self._state.escalation.cascading
        if is_step and call.turn_key is not None:
            held = self._state.turn_lanes.find(call.turn_key, time.monotonic())
        return RequestFacts(
            pinned=parsed.model,
            # Where its tools were taken away, a turn ends on the lane that it ran on.
            has_tools=parsed.tools > 0 or (call.guarded is not None and call.guarded.is_finished),
            prompt_tokens=self._longest(default, parsed),
            output_tokens=wish or 0,
            is_step=is_step,
            held=held,
            is_background=call.background is not None,
            is_sub_agent=call.background is Background.SUB_AGENT,
            language=None if held is not None else _language(call, parsed),
            task=call.route.task,
            has_images=call.policies.routing.has_blind_lanes and has_images(parsed.messages),
            arms=self._state.experiments.arms(call.session_key, call.tenant),
            moved=None if cascading is None else cascading.moved(call.session_key, parsed),
        )

    def _longest(self, lane: str, parsed: ParsedRequest) -> int:
        """Of a batch, the longest prompt's tokens in a lane's tokenizer; else the prompt's."""
        size = ceil(parsed.prompt.bytes * parsed.prompt.longest)
        return self._state.estimator(lane).estimate(size, parsed.prompt.messages)

    def _measure(self, call: Call, shape: Shape, decision: LaneDecision) -> Plan:
        """Estimate, once, what the request will be counted, queued and charged by."""
        lane, parsed, prompt = decision.lane, shape.parsed, shape.parsed.prompt
        tokens = self._state.estimator(lane.name).estimate(prompt.bytes, prompt.messages)
        longest = self._longest(lane.name, parsed)
        window = call.policies.routing.lanes[lane.name].window_tokens
        if call.route.task is not Task.GENERATE:
            tokens, longest = _truncated(parsed, tokens, longest, window)
        room = left(longest, window)
        limit = answer_limit(parsed, longest, tokens, window, session_limit(call))
        answers = _answer_tokens(call, parsed, room, limit)
        # What is charged is never less than what may come: a stream without a limit is
        # charged as it grows, a whole answer is there at once.
        is_open = limit is None and not parsed.stream and call.route.answers
        most = room * parsed.num_sequences if is_open else answers
        return Plan(
            parsed=parsed,
            history=shape.history,
            decision=decision,
            lane=decision.lane.name,
            prompt_tokens=tokens,
            longest_tokens=longest,
            answer_limit=limit,
            answer_tokens=answers,
            cost=_reckon(call, parsed, tokens, answers, most),
            shape=shape,
        )


def task_id_of(headers: Mapping[bytes, bytes]) -> str:
    """What a client calls its agent's task; empty: nothing."""
    return headers.get(b"x-task-id", b"")[:MAX_TASK_ID_BYTES].decode("latin-1").strip()


def _truncated(parsed: ParsedRequest, tokens: int, longest: int, window: int) -> tuple[int, int]:
    """The tokens of all texts and of the longest, where the engine is told to cut them off."""
    most = parsed.body.get("truncate_prompt_tokens")
    if most is None:
        return tokens, longest
    most = window if most <= 0 else most
    return min(tokens, most * parsed.prompts * parsed.route.texts_each), min(longest, most)


def _derived_session(call: Call, parsed: ParsedRequest) -> str:
    if call.route.task is not Task.GENERATE:
        # Each is by itself: any replica is as good as another.
        return derive_session_id(call.tenant.name, call.request_id)
    hint = session_hint(parsed.body)
    return derive_session_id(call.tenant.name, *([hint] if hint else []), *opening_of(parsed))


def _language(call: Call, parsed: ParsedRequest) -> str | None:
    """The conversation's language, where a lane may be chosen by it."""
    policies = call.policies
    if policies.languages is None or not policies.routing.leaves_choice(parsed.model):
        return None
    is_sub_agent = call.background is Background.SUB_AGENT
    if policies.fleet.routing.language_scope == "sub_agents" and not is_sub_agent:
        return None
    call.language = policies.languages.of(parsed.prompt.users)
    return call.language


def asker_of(call: Call) -> Asker:
    """Who a request's summaries are for."""
    told = {"x-request-id": call.request_id} | call.trace_headers
    return Asker(call.tenant, call.policies, call.session_key, told)


def _take(call: Call, shape: Shape) -> None:
    call.guarded, call.history, call.parsed = shape.guarded, shape.history, shape.parsed


def _turn_key(call: Call, parsed: ParsedRequest) -> tuple[str, bytes] | None:
    """Whose turn it is, and which: the same for all of its steps."""
    users = parsed.prompt.users
    if not users or not (parsed.tools or parsed.prompt.is_step):
        return None
    text = users[-1].encode("utf-8", "surrogatepass")
    return call.session_key, blake2b(text, digest_size=16).digest()


def _answer_tokens(call: Call, parsed: ParsedRequest, room: int, limit: int | None) -> int:
    if not call.route.answers:
        return 0
    most = limit
    if most is None:
        most = unlimited_tokens(parsed, call.policies.default_output_tokens, room)
    return min(most, room) * parsed.num_sequences


def _reckon(call: Call, parsed: ParsedRequest, prompt: int, answers: int, most: int) -> Reckoning:
    weigh, usual = call.tenant.weights.weigh, call.policies.default_output_tokens
    return Reckoning(
        ceil(weigh(prompt, 0, 0)),
        ceil(weigh(prompt, 0, min(usual * parsed.num_sequences, answers))),
        ceil(weigh(prompt, 0, most)),
    )
