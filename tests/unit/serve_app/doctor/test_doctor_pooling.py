"""What the doctor says of lanes that write nothing, and of eyes that nobody told of."""

import json

import pytest

from serve_app.config.fleet import FleetConfig
from serve_app.config.lane import LaneConfig
from serve_app.doctor.check import Result
from serve_app.doctor.files.lane_flags import lane_flags, template_checks
from serve_app.doctor.fit.checkpoint import shape_of_lane
from serve_app.doctor.fit.checks import fit_of
from serve_app.doctor.live.answers import pooled_answer
from serve_app.doctor.live.deployment import Deployment

ENCODER = {
    "model_id": "minilm",
    "model_source": "embedded://all-minilm-l6-v2",
    "max_model_len": 256,
    "task": "embed",
}
ARGS = {"kv_cache_dtype": "fp8"}


def fleet(**lanes) -> FleetConfig:
    made = {"name": "f", "lanes": lanes, "routing": {"default": next(iter(lanes))}}
    return FleetConfig.model_validate(made)


def chat(source) -> dict:
    return {"model_id": "c", "model_source": source, "max_model_len": 256, "engine_args": ARGS}


def test_a_cache_bounds_no_encoder():
    lane = LaneConfig.model_validate(ENCODER)

    assert fit_of("embed", lane, {}).result is Result.NOT_APPLICABLE
    assert "gpu_memory_utilization" in fit_of("embed", lane, {}).detail
    assert shape_of_lane(lane)[0].hidden == 384


def test_it_needs_neither_template_nor_the_flags_of_chats(tmp_path):
    made = fleet(chat=chat(str(tmp_path)), embed=ENCODER)

    assert [check.name for check in template_checks(made)] == ["chat template chat"]
    assert lane_flags(made).result is Result.OK


@pytest.mark.parametrize(("sees", "result"), [(None, Result.WARNING), (False, Result.OK)])
def test_a_model_that_reads_images_is_told_of(tmp_path, sees, result):
    """Nothing is routed by its config.json: that may not be on this machine."""
    (tmp_path / "config.json").write_text(json.dumps({"vision_config": {}}))
    told = lane_flags(fleet(chat={**chat(str(tmp_path)), "sees": sees}))

    assert told.result is result
    assert result is Result.OK or told.fix == "lanes.chat.sees: true"


@pytest.mark.parametrize(
    ("scores", "result"), [((0.8, 0.1), Result.OK), ((0.1, 0.8), Result.WARNING)]
)
def test_a_running_one_is_asked_what_is_alike(scores, result):
    asked = []

    def ask(method, path, body):
        asked.append((method, path, body["model"]))
        rows = [{"index": i, "score": x} for i, x in enumerate(scores)]
        return json.dumps({"data": rows}).encode()

    lane = LaneConfig.model_validate(ENCODER)
    assert pooled_answer("embed", lane, Deployment(ask)).result is result
    assert asked == [("POST", "/v1/score", "embed")]
