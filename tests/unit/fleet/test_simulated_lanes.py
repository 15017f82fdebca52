"""A lane's simulated engine, from its configuration to what the replica is given."""

import pytest

from serve_app.config.errors import ConfigError
from serve_app.config.lane import LaneConfig
from simulator.model.profile import FixedTiming, Profile


def lane(**simulated) -> LaneConfig:
    fields = {"model_id": "m", "model_source": "x", "max_model_len": 4096}
    return LaneConfig.model_validate({**fields, "engine": "simulated", "simulated": simulated})


def test_fixed_times_are_the_default() -> None:
    from serve_app.app import _engine_spec

    spec = _engine_spec(lane(ttft_s=0.02, itl_s=0.05, in_step=False))

    assert spec.timing == FixedTiming(ttft_s=0.02, itl_s=0.05, in_step=False)
    assert (spec.model_id, spec.window_tokens) == ("m", 4096)


@pytest.mark.parametrize("task", ["embed", "score"])
def test_a_lane_that_writes_nothing_is_simulated_as_one(task) -> None:
    from serve_app.app import _engine_spec

    assert _engine_spec(lane().model_copy(update={"task": task})).is_pooling
    assert not _engine_spec(lane()).is_pooling


def test_a_profile_by_its_name() -> None:
    from serve_app.app import _engine_spec

    spec = _engine_spec(
        lane(
            profile="llama-3.1-8b-fp8-rtx4090",
            trims_template=True,
            faults={"fail": 0.1, "slowdown": 2},
        )
    )

    assert isinstance(spec.timing, Profile) and spec.timing.name == "llama-3.1-8b-fp8-rtx4090"
    assert spec.trims_template and spec.faults.fail == 0.1


def test_a_profile_that_is_not_there_stops_the_start(tmp_path) -> None:
    from serve_app.app import _engine_spec

    with pytest.raises(ConfigError, match="no profile 'nothing'"):
        _engine_spec(lane(profile="nothing"))
    broken = tmp_path / "broken.yaml"
    broken.write_text("name: x\nunknown_key: {}\n")
    with pytest.raises(ConfigError, match="unknown_key"):
        _engine_spec(lane(profile=str(broken)))
