"""Traces against a classifier and a policy, with nothing running."""

from datetime import UTC, datetime

import pytest

from classifier.artifact import DEFAULT_ARTIFACT
from evals.traces.trace import Trace
from serve_app.commands.client import CommandError
from serve_app.commands.replay.offline import against_classifier, against_policy

FLEET = """
name: new
lanes:
  chat: &lane
    {model_id: small, model_source: x, engine: simulated, accelerator: cpu, max_model_len: 4096}
  quality: {<<: *lane, model_id: large}
  agent: {<<: *lane, model_id: worker}
routing: {default: chat, complex: quality, tools: agent, escalation_share: 0.25}
"""
TENANTS = "tiers: {paid: {priority: 0}}\ntenants: {acme: {tier: paid}}\n"
TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]


def trace(name, text="Hello", lane="chat", **more):
    body = {"messages": [{"role": "user", "content": text}], **more.pop("body", {})}
    given = {"score": 0.1, "prompt_tokens": 10, "tenant": "acme"} | more
    return Trace(
        time=datetime(2026, 11, 30, tzinfo=UTC), request_id=name, tier="paid",
        api="/v1/chat/completions", body=body, lane=lane, code="200", **given,
    )  # fmt: skip


@pytest.fixture
def files(tmp_path):
    fleet, tenants = tmp_path / "fleet.yaml", tmp_path / "tenants.yaml"
    fleet.write_text(FLEET)
    tenants.write_text(TENANTS)
    return str(fleet), str(tenants)


def test_a_policy_moves_what_its_rules_move(files) -> None:
    """A lane for tools is new, and a quarter of the scored requests climbs instead of none."""
    traces = [
        trace("easy"),
        trace("easy too", score=0.2),
        trace("easy as well", score=0.15),
        trace("hard", score=0.9),
        trace("tools", score=None, body={"tools": TOOLS}),
        trace("pinned", score=None, lane="quality", body={"model": "quality"}),
        trace("gone", score=None, body={"model": "nothing-like-it"}),
        trace("stranger", score=None, tenant="nobody"),
        trace("unreadable", score=None, body={"messages": 7}),
    ]

    told = against_policy(traces, *files)

    lanes = {(x["from"], x["to"]): x["requests"] for x in told["lanes"]}
    assert lanes == {
        ("chat", "chat"): 3,
        ("chat", "quality"): 1,
        ("chat", "agent"): 1,
        ("quality", "quality"): 1,
        ("chat", "(refused)"): 1,
    }
    assert (told["moved"], told["unread"], told["unknown_tenants"]) == (3, 1, 1)
    assert told["reasons"]["chat -> quality: complex"] == 1


def test_the_classifier_in_force_moves_nobody() -> None:
    texts = ["Hi", "Prove that there are infinitely many primes.", "Thanks!", "What is 2 + 2?"]

    told = against_classifier(
        [trace(str(n), x, score=None) for n, x in enumerate(texts)], DEFAULT_ARTIFACT, 0.25
    )

    assert (told["requests"], told["moved_up"], told["moved_down"]) == (4, 0, 0)
    assert told["up_with_both"] == 1
    assert told["rank_correlation"] == pytest.approx(1.0)


def test_scores_of_two_classifiers_are_not_put_in_one_order() -> None:
    traces = [trace("a", classifier="lexical-v1"), trace("b", classifier="lexical-v2")]

    with pytest.raises(CommandError, match="lexical-v1, lexical-v2"):
        against_classifier(traces, DEFAULT_ARTIFACT, 0.5)


def test_traces_without_a_turn_to_score_are_told() -> None:
    with pytest.raises(CommandError, match="no trace has a user's turn"):
        against_classifier([], DEFAULT_ARTIFACT, 0.5)
