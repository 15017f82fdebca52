"""What lanes can do, and the roles that need it."""

import pytest
from pydantic import ValidationError

from router.types import Task
from serve_app.config.abilities import pooling_lanes, sight
from serve_app.config.fleet import FleetConfig
from serve_app.config.lane import LaneConfig

PLAIN = {"model_id": "m", "model_source": "x", "max_model_len": 256}


def lane(**more) -> LaneConfig:
    return LaneConfig.model_validate({**PLAIN, **more})


def fleet(lanes, **routing) -> FleetConfig:
    routing = {"default": "chat", **routing}
    made = {"chat": {**PLAIN, "model_id": "c"}, **lanes}
    return FleetConfig.model_validate({"name": "f", "lanes": made, "routing": routing})


def refused(lanes, **routing) -> str:
    with pytest.raises(ValidationError) as caught:
        fleet(lanes, **routing)
    return str(caught.value)


EMBED, SCORE = {**PLAIN, "task": "embed"}, {**PLAIN, "task": "score"}


def test_an_embedding_model_compares_texts_too():
    assert lane().tasks == {Task.GENERATE}
    assert lane(task="embed").tasks == {Task.EMBED, Task.SCORE}
    assert lane(task="score").tasks == {Task.SCORE}


@pytest.mark.parametrize(
    ("role", "given", "words"),
    [
        ("default", EMBED, "generates no text"),
        ("complex", SCORE, "generates no text"),
        ("tools", EMBED, "generates no text"),
        ("background", EMBED, "generates no text"),
        ("tool_fallback", EMBED, "generates no text"),
        ("vision", EMBED, "generates no text"),
        ("vision", PLAIN, "say 'sees: true'"),
        ("embeddings", PLAIN, "the role is for lanes of task: embed"),
        ("embeddings", SCORE, "the role is for lanes of task: embed"),
        ("rerank", PLAIN, "the role is for lanes of task: score"),
    ],
)
def test_a_role_is_for_lanes_that_can(role, given, words):
    said = refused({"other": given}, **{role: "other"})

    assert f"routing.{role}: lane 'other'" in said and words in said


@pytest.mark.parametrize(
    ("role", "given"),
    [
        ("embeddings", EMBED),
        ("rerank", EMBED),
        ("rerank", SCORE),
        ("vision", {**PLAIN, "sees": True}),
    ],
)
def test_roles_of_lanes_that_are_off_wait(role, given):
    made = fleet({"other": {**given, "enabled": False}}, **{role: "other"})

    assert f"routing.{role}: lane 'other' is off" in made.idle_roles[0]


def test_a_role_s_lane_has_to_be_there():
    assert "no lane 'embd'; did you mean 'embed'?" in refused({"embed": EMBED}, embeddings="embd")


def test_the_first_lane_has_a_task_that_the_file_gives_to_none():
    """A reranker before an embedding model, wherever it stands."""
    lanes = {"a": lane(task="embed"), "b": lane(task="score"), "c": lane(task="embed")}

    assert pooling_lanes(None, None, lanes) == {Task.EMBED: "a", Task.SCORE: "b"}
    assert pooling_lanes("c", "c", lanes) == {Task.EMBED: "c", Task.SCORE: "c"}
    assert pooling_lanes("off", None, {"a": lanes["a"]}) == {Task.EMBED: "a", Task.SCORE: "a"}
    assert pooling_lanes(None, None, {"chat": lane()}) == {}


def test_lanes_get_images_by_what_is_known_of_them():
    """Where nothing is, engines are asked, as before there was the key."""
    quiet, hosts = lane(), lane(media_hosts=["media.example.com"])

    assert sight({"a": quiet, "e": lane(task="embed")}) == {"a": True, "e": False}
    assert sight({"a": quiet, "b": lane(sees=True)}) == {"a": False, "b": True}
    assert sight({"a": quiet, "b": hosts}) == {"a": False, "b": True}
    assert sight({"a": lane(sees=False), "b": quiet}) == {"a": False, "b": True}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"engine_args": {"runner": "pooling"}}, "follows from the lane's task"),
        ({"task": "embed", "sees": True}, "others get no images"),
        ({"task": "rerank"}, "task"),
    ],
)
def test_a_lane_contradicts_itself_in_no_way(given, words):
    with pytest.raises(ValidationError, match=words):
        lane(**given)


def test_a_simulated_encoder_calls_no_tools():
    assert lane(engine="simulated").calls_tools
    assert not lane(engine="simulated", task="embed").calls_tools
