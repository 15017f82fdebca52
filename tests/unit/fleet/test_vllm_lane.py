"""A lane's deployment is what `ray.serve.llm` would make of it, without importing vLLM."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from pydantic import ValidationError

from serve_app.config.lane import LaneConfig
from serve_app.config.settings import load_fleet
from tests.unit.conftest import PRIVATE_RAY

ROOT = Path(__file__).parents[3]
FLEETS = sorted(ROOT.glob("configs/fleets/*.yaml"))
LANES = [
    pytest.param(name, lane, id=f"{path.stem}-{name}")
    for path in FLEETS
    for name, lane in load_fleet(path).lanes.items()
]
SPREAD = LaneConfig(
    model_id="m",
    model_source="a/b",
    max_model_len=128,
    engine_args={"tensor_parallel_size": 2, "pipeline_parallel_size": 2},
)
SHARED = LaneConfig(
    model_id="m",
    model_source="a/b",
    max_model_len=128,
    task="embed",
    bundle={"CPU": 1, "GPU": 0.1},
    engine_args={"gpu_memory_utilization": 0.08},
)
"""An encoder beside another lane on one card."""
ALONE = [pytest.param("spread", SPREAD, id="spread"), pytest.param("shared", SHARED, id="shared")]
importing_ray = pytest.mark.filterwarnings(
    "ignore:Using extra keyword arguments:pydantic.warnings.PydanticDeprecatedSince20"
)


@importing_ray
@pytest.mark.parametrize(("name", "lane"), [*LANES, *ALONE])
def test_resources_and_environment_are_those_that_ray_would_give(name, lane, monkeypatch):
    import ray
    from ray.serve.llm.deployment import LLMServer

    from serve_app.app import lane_options
    from serve_app.engine.vllm_lane import (
        actor_options,
        llm_config,
        worker_bundles,
        worker_strategy,
    )

    # Asked outside a Ray process, it would start Ray.
    context = SimpleNamespace(runtime_env={"env_vars": {"A": "1"}, "working_dir": "x"})
    monkeypatch.setattr(ray, "get_runtime_context", lambda: context)
    options = lane_options(name, lane)
    options.pop("name")
    theirs = LLMServer.get_deployment_options(llm_config(lane, "a/b", dict(options)))
    assert worker_bundles(lane) == theirs.pop("placement_group_bundles")
    assert worker_strategy(lane) == theirs.pop("placement_group_strategy")
    assert actor_options(lane) == theirs.pop("ray_actor_options")
    assert theirs == options


@importing_ray
def test_a_lane_that_writes_nothing_has_a_pooling_engine():
    from serve_app.engine.vllm_lane import llm_config

    assert llm_config(SHARED, "a/b", {}).engine_kwargs["runner"] == "pooling"
    assert "runner" not in llm_config(SPREAD, "a/b", {}).engine_kwargs


def test_building_the_default_graph_imports_neither_vllm_nor_torch(tmp_path):
    """12 s of a core, before the first lane begins to start."""
    code = """
import sys
from types import SimpleNamespace
import ray
from serve_app import app
ray.get_runtime_context = lambda: SimpleNamespace(runtime_env={})
app.resolve_source = lambda source: "/a/b"
app.build({"fleet": "local", "tenants": sys.argv[1]})
print(sorted({"vllm", "torch", "ray.llm"} & set(sys.modules)))
"""
    tenants = tmp_path / "tenants.yaml"
    tenants.write_text("tiers: {open: {}}\ntenants: {local: {tier: open}}\nlocal_tenant: local\n")
    done = subprocess.run(
        [sys.executable, "-c", code, str(tenants)],
        cwd=ROOT,
        env={**PRIVATE_RAY, "PYTHONPATH": str(ROOT), "POINTSMAN_STATE": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "[]", done.stderr[-2000:]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"accelerator": "gpu"}, "on the CPU"),
        ({"engine_args": {"tensor_parallel_size": 2}}, "one worker"),
        ({"env": {}}, "nobind"),
    ],
)
def test_one_process_is_for_one_unbound_worker_on_the_cpu(fields, words):
    good = {
        "model_id": "m",
        "model_source": "a/b",
        "accelerator": "cpu",
        "max_model_len": 128,
        "engine_args": {"distributed_executor_backend": "uni"},
        "env": {"VLLM_CPU_OMP_THREADS_BIND": "nobind"},
    }
    assert LaneConfig.model_validate(good).workers == 1
    bad = {**good, **fields}
    bad["engine_args"] = {**good["engine_args"], **fields.get("engine_args", {})}
    with pytest.raises(ValidationError, match=words):
        LaneConfig.model_validate(bad)
