"""Lanes that embed, score or see: what leads there, and what does not."""

import pytest

from router.errors import Rejected, RejectReason
from router.routing.abilities import MAX_TOLD
from router.routing.aliases import Aliases
from router.routing.lane import auto_window, decide_lane
from router.routing.policy import Judgement, RoutingPolicy
from router.types import HeldLane, Lane, Reason, RequestFacts, Task, TierRules

BOTH = frozenset({Task.EMBED, Task.SCORE})
LANES = {
    lane.name: lane
    for lane in (
        Lane("embed", "minilm", 256, tasks=BOTH),
        Lane("rank", "ranker", 512, tasks=frozenset({Task.SCORE})),
        Lane("chat", "small", 4096, sees=False),
        Lane("strong", "large", 4096, sees=False),
        Lane("long", "longer", 65536, sees=False),
        Lane("eyes", "eyes-8b", 4096),
        Lane("wide", "eyes-70b", 32768),
    )
}
ALL = TierRules()


def policy(**roles) -> RoutingPolicy:
    roles = {"vision": "eyes", "pooling": {Task.EMBED: "embed", Task.SCORE: "rank"}, **roles}
    names = Aliases({"gpt-*": "auto", "text-embedding-*": "embed"})
    by_model = {lane.model_id: lane.name for lane in LANES.values()}
    return RoutingPolicy(LANES, "chat", by_model=by_model, aliases=names, **roles)


def facts(pinned=None, **given) -> RequestFacts:
    size = {"prompt_tokens": 10, "output_tokens": 10}
    return RequestFacts(pinned, **{"has_tools": False, **size, **given})


def unasked(**_) -> Judgement:
    pytest.fail("it is scored for nothing")


def went(made) -> tuple[str, Reason]:
    assert not isinstance(made, Rejected), made
    return made.lane.name, made.reason


def decide(asked: RequestFacts, tier: TierRules = ALL, **roles):
    return decide_lane(policy(**roles), tier, asked, unasked)


@pytest.mark.parametrize("named", [None, "auto", "gpt-4o"])
@pytest.mark.parametrize(("task", "lane"), [(Task.EMBED, "embed"), (Task.SCORE, "rank")])
def test_a_task_has_its_lane(named, task, lane):
    assert went(decide(facts(named, task=task))) == (lane, Reason.DEFAULT)


def test_a_tier_gets_another_lane_that_can_where_its_lanes_are_few():
    tier = TierRules(frozenset({"chat", "embed"}))

    assert went(decide(facts(task=Task.SCORE), tier)) == ("embed", Reason.TIER)
    assert went(decide(facts(task=Task.SCORE), pooling={})) == ("embed", Reason.TIER)


@pytest.mark.parametrize("named", ["embed", "minilm", "text-embedding-3-small"])
def test_a_name_pins(named):
    for task in BOTH:
        assert went(decide(facts(named, task=task))) == ("embed", Reason.PINNED)


@pytest.mark.parametrize(
    ("named", "task", "reason", "words"),
    [
        ("chat", Task.EMBED, RejectReason.INVALID_REQUEST, "make embeddings; these do: embed."),
        ("rank", Task.EMBED, RejectReason.INVALID_REQUEST, "these do: embed."),
        ("chat", Task.SCORE, RejectReason.INVALID_REQUEST, "these do: embed, rank."),
        ("embed", Task.GENERATE, RejectReason.INVALID_REQUEST, "generate text; these do: chat,"),
        ("text-ada", Task.EMBED, RejectReason.MODEL_NOT_FOUND, "does not exist"),
    ],
)
def test_a_name_that_cannot_is_told_who_can(named, task, reason, words):
    """An unknown name leads to no embedding model: vectors of two do not compare."""
    refused = decide(facts(named, task=task))

    assert isinstance(refused, Rejected) and refused.reason is reason
    assert words in refused.message and refused.param == "model"


def test_who_has_none_is_told_so():
    tier = TierRules(frozenset({"chat"}))
    without = RoutingPolicy({"chat": LANES["chat"]}, "chat")

    closed = decide(facts(task=Task.EMBED), tier)
    named = decide(facts("chat", task=Task.EMBED), tier)
    nowhere = decide_lane(without, ALL, facts(task=Task.EMBED), unasked)

    assert closed.reason is RejectReason.MODEL_NOT_ALLOWED
    assert "none that is open" in named.message
    assert nowhere.reason is RejectReason.MODEL_NOT_FOUND


def test_no_more_lanes_are_named_than_are_read():
    many = {f"m{i}": Lane(f"m{i}", f"m{i}", 64, tasks=BOTH) for i in range(20)}
    crowded = RoutingPolicy({**LANES, **many}, "chat")
    refused = decide_lane(crowded, ALL, facts("chat", task=Task.EMBED), unasked)

    assert refused.message.count(", ") == MAX_TOLD - 1


@pytest.mark.parametrize("tier", [TierRules(default_lane="embed"), TierRules(default_lane="gone")])
def test_a_chat_is_never_where_nothing_is_written(tier):
    assert went(decide(facts(), tier)) == ("chat", Reason.DEFAULT)


def test_a_tier_of_lanes_that_write_nothing_has_none_for_chats():
    tier = TierRules(frozenset({"embed", "rank"}))

    assert decide(facts(), tier).reason is RejectReason.MODEL_NOT_ALLOWED
    assert auto_window(policy(), tier) is None


def test_images_go_where_they_are_seen():
    assert went(decide(facts(has_images=True))) == ("eyes", Reason.VISION)
    assert went(decide(facts("gpt-4o", has_images=True))) == ("eyes", Reason.VISION)
    assert went(decide(facts(has_images=True), vision=None)) == ("eyes", Reason.VISION)


def test_a_usual_lane_that_sees_keeps_its_images():
    tier = TierRules(default_lane="wide")

    assert went(decide(facts(has_images=True), tier)) == ("wide", Reason.TIER)


def test_images_stay_out_of_every_role_that_is_blind():
    """Background, tools, language, length, and the lane of the turn."""
    held = HeldLane("strong", Reason.STICKY)
    roles = {"background": "strong", "tools": "strong", "languages": {"de": "strong"}}
    for asked in (
        facts(has_images=True, is_background=True),
        facts(has_images=True, has_tools=True),
        facts(has_images=True, language="de"),
        facts(has_images=True, is_step=True, held=held),
        facts(has_images=True, prompt_tokens=20_000),
    ):
        made = decide(asked, **roles, long_context="long")
        assert went(made) == ("eyes", Reason.VISION)


def test_long_prompts_with_images_go_to_a_long_lane_that_sees():
    asked = facts(has_images=True, prompt_tokens=20_000)

    assert went(decide(asked, long_context="wide")) == ("wide", Reason.LONG_CONTEXT)


def test_a_lane_that_is_blind_says_which_are_not():
    refused = decide(facts("chat", has_images=True))

    assert refused.reason is RejectReason.INVALID_REQUEST
    assert refused.message == "The model 'small' does not read images; these do: eyes, wide."


def test_who_looks_for_images_may_ask_whether_it_matters():
    seeing = {name: LANES[name] for name in ("embed", "eyes")}

    assert policy().has_blind_lanes
    assert not RoutingPolicy(seeing, "eyes").has_blind_lanes


def test_a_tenant_without_a_lane_that_sees_is_told_so():
    refused = decide(facts(has_images=True), TierRules(frozenset({"chat", "embed"})))

    assert refused.reason is RejectReason.INVALID_REQUEST
    assert "read images: send text alone" in refused.message
