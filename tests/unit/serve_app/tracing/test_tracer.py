"""The spans of a task: how they hang together, when they are sent, and what they say."""

from __future__ import annotations

import pytest

from router.errors import Rejected, RejectReason
from serve_app.agents.verdict import CallOutcome, JudgedCall
from serve_app.request.call import Outcome
from serve_app.tracing import open_tasks
from tests.unit.serve_app.tracing.calls import (
    SECOND,
    Clock,
    answer,
    by_name,
    called,
    make_call,
    make_tracer,
    result,
    user,
)

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED = {b"traceparent": f"00-{TRACE}-{SPAN}-01".encode(), b"tracestate": b"v=1"}
NOT_SAMPLED = {b"traceparent": f"00-{TRACE}-{SPAN}-00".encode()}


class Traced:
    """One ingress replica's tracer, its clock and what it has sent."""

    def __init__(self, **config) -> None:
        self.spans, self.clock = [], Clock()
        self.tracer = make_tracer(self.spans.append, self.clock, **config)

    def ask(self, messages, *ids, takes_s=2.0, outcome=Outcome.ANSWERED, **more):
        """One request and its answer, which makes these calls."""
        call = make_call(messages, **more)
        self.tracer.begin(call)
        self.clock.pass_s(takes_s)
        answer(call, *ids, outcome=outcome)
        self.tracer.end(call)
        return call

    def of(self, name):
        return by_name(self.spans, name)


@pytest.fixture
def traced():
    return Traced()


def one_turn(traced, **more):
    """A turn of two LLM calls with a tool call of three seconds between them."""
    traced.ask([user("go")], "a", **more)
    traced.clock.pass_s(3)
    return traced.ask([user("go"), called("a"), result("a")], **more)


def test_a_turn_with_a_tool_call_is_a_tree(traced):
    one_turn(traced)
    traced.tracer.close()

    (task,), (turn,) = traced.of("invoke_workflow"), traced.of("invoke_agent")
    first, second = traced.of("chat")
    (tool,) = traced.of("execute_tool")
    assert {x.context.trace_id for x in traced.spans} == {task.context.trace_id}
    assert task.parent_id is None and turn.parent_id == task.context.span_id
    assert {x.parent_id for x in (first, second, tool)} == {turn.context.span_id}
    assert tool.linked == first.context
    assert tool.name == "execute_tool look"


def test_a_tool_call_lasts_from_its_answer_to_the_request_that_brings_its_result(traced):
    begun_ns = traced.clock.now_ns
    one_turn(traced)

    (tool,), (turn,) = traced.of("execute_tool"), traced.of("invoke_agent")
    assert tool.end_ns - tool.start_ns == pytest.approx(3 * SECOND, abs=SECOND / 2)
    assert tool.attributes["pointsman.tool.start_seen"] is True
    assert tool.attributes["pointsman.tool.outcome"] == "valid"
    assert tool.attributes["gen_ai.tool.call.id"] == "a"
    assert turn.start_ns == pytest.approx(begun_ns, abs=SECOND / 2)
    assert turn.end_ns == traced.clock.now_ns


def test_where_another_ingress_replica_made_the_call_its_start_is_unknown(traced):
    traced.ask([user("go"), called("a"), result("a")])

    (tool,) = traced.of("execute_tool")
    assert tool.attributes["pointsman.tool.start_seen"] is False
    assert tool.start_ns == tool.end_ns and tool.linked is None
    assert tool.name == "execute_tool look" and "pointsman.tool.outcome" not in tool.attributes


def test_a_turn_ends_with_the_answer_that_calls_nothing(traced):
    traced.ask([user("go")], "a")
    assert traced.of("invoke_agent") == []

    traced.ask([user("go"), called("a"), result("a")])

    (turn,) = traced.of("invoke_agent")
    assert turn.attributes["pointsman.ended_by"] == "answer"
    assert turn.attributes["pointsman.llm_calls"] == 2
    assert turn.attributes["pointsman.tool_calls"] == 1
    assert turn.attributes["gen_ai.usage.input_tokens"] == 20


def test_a_turn_whose_client_left_ends_when_its_task_is_idle():
    traced = Traced(idle_s=30)
    traced.ask([user("go")], "a", outcome=Outcome.LEFT)
    ended_ns = traced.clock.now_ns
    traced.clock.pass_s(29)
    traced.tracer.tasks.sweep(traced.clock())
    assert traced.of("invoke_agent") == []

    traced.clock.pass_s(2)
    traced.tracer.tasks.sweep(traced.clock())

    (turn,), (task,) = traced.of("invoke_agent"), traced.of("invoke_workflow")
    assert turn.attributes["pointsman.ended_by"] == task.attributes["pointsman.ended_by"] == "idle"
    assert turn.end_ns == task.end_ns == ended_ns


def test_a_tool_that_takes_long_is_waited_for():
    traced = Traced(idle_s=30, result_s=900)
    traced.ask([user("go")], "a")
    traced.clock.pass_s(600)
    traced.tracer.tasks.sweep(traced.clock())

    traced.ask([user("go"), called("a"), result("a")])

    (tool,) = traced.of("execute_tool")
    assert tool.end_ns - tool.start_ns == pytest.approx(600 * SECOND, abs=SECOND)
    assert len(traced.of("invoke_agent")) == 1


def test_a_result_that_never_comes_is_not_waited_for_for_ever():
    traced = Traced(idle_s=30, result_s=900)
    traced.ask([user("go")], "a")
    traced.ask([user("other")], task="u")
    for seconds, ended in ((40, ["u"]), (870, ["u", "t"])):
        traced.clock.pass_s(seconds)
        traced.tracer.tasks.sweep(traced.clock())
        found = traced.of("invoke_workflow")
        assert [x.attributes["gen_ai.conversation.id"] for x in found] == ended


def test_a_task_that_runs_is_not_idle_and_holds_up_no_other():
    traced = Traced(idle_s=30)
    running = make_call([user("long")], task="running")
    traced.tracer.begin(running)
    traced.ask([user("short")], task="idle")
    traced.clock.pass_s(60)

    traced.tracer.tasks.sweep(traced.clock())

    (task,) = traced.of("invoke_workflow")
    assert task.attributes["gen_ai.conversation.id"] == "idle"
    assert len(traced.tracer.tasks) == 1


def test_a_task_that_ran_for_long_holds_up_no_other():
    traced = Traced(idle_s=30)
    long = make_call([user("long")], task="long")
    traced.tracer.begin(long)
    traced.ask([user("short")], task="short")
    traced.clock.pass_s(20)
    answer(long)
    traced.tracer.end(long)
    traced.clock.pass_s(20)

    traced.tracer.tasks.sweep(traced.clock())

    (task,) = traced.of("invoke_workflow")
    assert task.attributes["gen_ai.conversation.id"] == "short"


def test_a_turn_that_is_taken_up_again_begins_with_its_tool_call(traced):
    """Two answers at once: one calls a tool, the other ends the turn."""
    calling, answering = make_call([user("go")]), make_call([user("go")])
    for call in (calling, answering):
        traced.tracer.begin(call)
    for call, ids in ((calling, ["a"]), (answering, [])):
        answer(call, *ids)
        traced.tracer.end(call)
    traced.clock.pass_s(60)
    traced.ask([user("go"), called("a"), result("a")])
    traced.tracer.close()

    (tool,) = traced.of("execute_tool")
    _, turn = traced.of("invoke_agent")
    assert tool.parent_id == turn.context.span_id
    assert turn.start_ns == tool.start_ns < tool.end_ns <= turn.end_ns


def test_a_conversation_has_a_turn_for_each_message_of_the_users(traced):
    traced.ask([user("one")])
    traced.ask([user("one"), {"role": "assistant", "content": "x"}, user("two")])
    traced.tracer.close()

    (task,) = traced.of("invoke_workflow")
    assert len(traced.of("invoke_agent")) == task.attributes["pointsman.turns"] == 2
    assert task.attributes["pointsman.ended_by"] == "shutdown"


def test_calls_of_a_turn_that_run_at_once_end_it_together(traced):
    first, second = make_call([user("go")]), make_call([user("go")])
    traced.tracer.begin(first)
    traced.tracer.begin(second)
    for call in (first, second):
        assert traced.of("invoke_agent") == []
        traced.clock.pass_s(1)
        answer(call)
        traced.tracer.end(call)

    (turn,) = traced.of("invoke_agent")
    assert turn.end_ns == traced.clock.now_ns and turn.attributes["pointsman.llm_calls"] == 2


def test_of_calls_that_run_at_once_the_one_that_began_first_may_be_read_last(traced):
    small, large = make_call([user("go")]), make_call([user("go")])
    large.started = small.started - 0.5
    for call in (small, large):
        traced.tracer.begin(call)
    for call in (small, large):
        answer(call)
        traced.tracer.end(call)
    traced.tracer.close()

    spans = {span.context.span_id: span for span in traced.spans}
    assert all(x.start_ns >= spans[x.parent_id].start_ns for x in traced.spans if x.parent_id)


def test_a_request_that_is_made_again_tells_its_results_once(traced):
    messages = [user("go"), called("a"), result("a")]
    traced.ask(messages, outcome=Outcome.FAILED)
    traced.ask(messages)

    assert len(traced.of("execute_tool")) == 1


def test_calls_of_every_step_may_have_the_same_id(traced):
    """Some engines count from 0 in each answer."""
    step = [called("call_0"), result("call_0")]
    traced.ask([user("go")], "call_0")
    traced.ask([user("go"), *step], "call_0")
    traced.ask([user("go"), *step, *step])

    assert [x.attributes["pointsman.tool.start_seen"] for x in traced.of("execute_tool")] == [
        True,
        True,
    ]


# -- whose trace it is -------------------------------------------------------------


def test_several_ingress_replicas_find_the_same_trace():
    here, there = Traced(), Traced(idle_s=60)

    one_turn(here)
    one_turn(there)

    assert here.spans[0].context.trace_id == there.spans[0].context.trace_id


def test_a_clients_span_is_the_parent_and_its_state_goes_on(traced):
    call = one_turn(traced, headers=SAMPLED)
    traced.tracer.close()

    assert {x.name.split()[0] for x in traced.spans} == {"chat", "execute_tool"}
    assert {(x.context.trace, x.parent_id) for x in traced.spans} == {(TRACE, int(SPAN, 16))}
    assert all(x.has_remote_parent for x in traced.spans)
    assert call.trace.headers["tracestate"] == "v=1"
    assert call.trace.headers["traceparent"].startswith(f"00-{TRACE}-")
    assert SPAN not in call.trace.headers["traceparent"]


def test_what_a_client_does_not_sample_is_not_kept(traced):
    call = traced.ask([user("go")], headers=NOT_SAMPLED)
    traced.tracer.close()

    # Its own headers go on to the engine as they came.
    assert call.trace is None and traced.spans == []


def test_what_is_not_in_the_share_is_told_the_engine_and_nobody_else():
    traced = Traced(sample_ratio=0)

    call = traced.ask([user("go")], "a")
    traced.tracer.close()

    assert call.trace.headers["traceparent"].endswith("-00")
    assert traced.spans == [] and len(traced.tracer.tasks) == 0


def test_counting_tokens_is_no_llm_call(traced):
    call = traced.ask([user("go")], path="/v1/messages/count_tokens", max_tokens=1)

    assert call.trace is None and traced.spans == []


def test_a_completion_has_a_span_and_no_turn(traced):
    call = make_call("Once", path="/v1/completions")
    traced.tracer.begin(call)
    traced.tracer.end(call)
    traced.tracer.close()

    (span,) = traced.spans
    assert span.name == "text_completion" and span.parent_id is None


def test_a_request_that_was_not_read_has_a_span_with_its_error(traced):
    call = make_call([user("go")])
    call.parsed, call.session_id = None, ""
    traced.tracer.begin(call)
    call.refuse(Rejected(RejectReason.INVALID_JSON, "Your secret prompt is no JSON."))
    traced.tracer.end(call)

    (span,) = traced.spans
    assert span.error == span.attributes["error.type"] == "invalid_json"
    assert span.attributes["http.response.status_code"] == 400
    assert "secret" not in str(span)


# -- bounds --------------------------------------------------------------------------


@pytest.mark.security
def test_a_tenants_tasks_are_bounded_and_push_out_nobody_elses(traced, monkeypatch):
    monkeypatch.setattr(open_tasks, "MAX_TASKS_OF_TENANT", 3)
    traced.ask([user("go")], "a", tenant="guest", task="mine")

    for number in range(5):
        traced.ask([user("go")], "a", tenant="greedy", task=f"t{number}")

    assert len(traced.tracer.tasks) == 4
    ended = traced.of("invoke_workflow")
    assert [x.attributes["gen_ai.conversation.id"] for x in ended] == ["t0", "t1"]
    assert {x.attributes["pointsman.ended_by"] for x in ended} == {"bound"}


@pytest.mark.security
def test_where_all_tenants_have_too_many_the_largest_gives_way(traced, monkeypatch):
    monkeypatch.setattr(open_tasks, "MAX_TASKS", 3)
    for number in range(3):
        traced.ask([user("go")], "a", tenant="large", task=f"t{number}")

    traced.ask([user("go")], "a", tenant="small")

    (ended,) = traced.of("invoke_workflow")
    assert ended.attributes["pointsman.tenant.id"] == "large"


def test_open_turns_and_awaited_calls_of_a_task_are_bounded(traced):
    for number in range(40):
        traced.ask([user(f"sub-agent {number}")], *(f"{number}-{x}" for x in range(8)))

    assert len(traced.of("invoke_agent")) == 40 - open_tasks.MAX_TURNS
    traced.ask([user("sub-agent 0"), called("0-0", "39-0"), result("0-0"), result("39-0")])
    seen = [x.attributes["pointsman.tool.start_seen"] for x in traced.of("execute_tool")]
    assert seen == [False, True]


def test_a_call_whose_task_was_pushed_out_still_has_its_span(traced, monkeypatch):
    monkeypatch.setattr(open_tasks, "MAX_TASKS_OF_TENANT", 1)
    call = make_call([user("go")], task="first")
    traced.tracer.begin(call)

    traced.ask([user("go")], task="second")
    answer(call, "a")
    traced.tracer.end(call)
    traced.tracer.close()

    ids = {x.context.span_id for x in traced.spans}
    assert all(x.parent_id in ids for x in traced.spans if x.name.split()[0] != "invoke_workflow")
    assert len(traced.of("chat")) == 2 and len(traced.tracer.tasks) == 0


# -- what spans say ------------------------------------------------------------------


@pytest.mark.security
def test_no_span_has_a_prompt_an_argument_a_result_or_a_key(traced):
    key = {b"authorization": b"Bearer secret key", b"x-api-key": b"secret"}
    messages = [user("secret prompt"), called("a"), result("a")]
    traced.ask([user("secret prompt")], "a", headers=key, user="secret user", stop=["secret"])
    traced.ask(messages, headers=key, metadata={"x": "secret"})
    traced.tracer.close()

    assert len(traced.spans) == 5
    assert "secret" not in repr(traced.spans)


def test_texts_of_clients_are_short_and_on_one_line(traced):
    odd = "x\n\x00" + "y" * 5000
    traced.ask([user("go")], task="s", headers={b"x-task-id": odd.encode()})
    traced.ask([user("go"), called(odd, name=odd), result(odd)], "a")
    call = make_call([user("go")])
    traced.tracer.begin(call)
    answer(call)
    call.reply.gate.delivered = [JudgedCall(odd, odd, CallOutcome.SCHEMA)]
    traced.tracer.end(call)
    traced.tracer.close()

    for span in traced.spans:
        texts = [span.name, *(x for x in span.attributes.values() if isinstance(x, str))]
        assert all(len(x) < 300 and x.isprintable() for x in texts)


def test_a_failed_tool_is_an_error_of_its_own_span(traced):
    block = {"type": "tool_result", "tool_use_id": "a", "content": "no", "is_error": True}
    traced.ask(
        [user("go"), {"role": "user", "content": [block]}], path="/v1/messages", max_tokens=9
    )

    (tool,) = traced.of("execute_tool")
    assert tool.error == tool.attributes["error.type"] == "tool_error"
    (call,) = traced.of("chat")
    assert call.error == "" and call.attributes["gen_ai.request.max_tokens"] == 9


@pytest.mark.parametrize(
    ("outcome", "error"),
    [
        (Outcome.ANSWERED, ""),
        (Outcome.LEFT, ""),
        (Outcome.FAILED, "500"),
        (Outcome.BROKEN, "broken"),
    ],
)
def test_a_client_that_left_is_no_error(traced, outcome, error):
    traced.ask([user("go")], outcome=outcome)

    (span,) = traced.of("chat")
    assert span.error == error and span.attributes.get("error.type", "") == error
    assert span.attributes["pointsman.code"] == outcome.value


def test_whatever_fails_in_tracing_fails_no_request(traced, caplog):
    broken = make_call([user("go")])
    broken.headers = None
    traced.tracer.begin(broken)
    traced.tracer.begin(broken)
    traced.tracer.end(broken)

    assert [record.message for record in caplog.records] == [
        "a request could not be traced; further ones are not told"
    ]
    traced.ask([user("go")])
    assert len(traced.of("chat")) == 1


def test_a_turn_does_not_stay_open_because_a_span_could_not_be_made(traced, monkeypatch):
    call = make_call([user("go")])
    traced.tracer.begin(call)
    answer(call)
    call.reply.verdicts = [None]

    traced.tracer.end(call)

    assert len(traced.of("invoke_agent")) == 1 and traced.of("chat") == []
