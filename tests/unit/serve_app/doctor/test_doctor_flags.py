"""Engine arguments by name and value, and what the FP8 document asks of them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from serve_app.config.settings import fleet_path, load_fleet
from serve_app.doctor.check import Result
from serve_app.doctor.files.engine_args import checked
from serve_app.doctor.files.lane_flags import lane_flags, template_checks, template_of
from serve_app.doctor.machine.packages import packages, pins

ROOT = Path(__file__).parents[4]
RTX4090 = load_fleet(fleet_path("rtx4090"))
FLAGS = frozenset(
    {key for lane in RTX4090.lanes.values() for key in lane.engine_args} | {"chat_template"}
)
VALUES = {
    "quantization": frozenset({"fp8", "awq_marlin"}),
    "kv_cache_dtype": frozenset({"auto", "fp8"}),
}


def changed(**args):
    chat = RTX4090.lanes["chat"]
    args = {**chat.engine_args, **args}
    lanes = {**RTX4090.lanes, "chat": chat.model_copy(update={"engine_args": args})}
    return RTX4090.model_copy(update={"lanes": lanes})


def test_the_shipped_fleet_passes():
    assert checked(RTX4090, FLAGS, VALUES).result is Result.OK
    assert lane_flags(RTX4090).result is Result.OK


@pytest.mark.parametrize(
    ("args", "said", "fix"),
    [
        ({"quantization": "fp9"}, "'fp9' is not one of", "quantization: fp8"),
        ({"kv_cache_dtype": "fp7"}, "'fp7' is not one of", "kv_cache_dtype: fp8"),
        ({"enable_prefix_cachng": True}, "not a flag", "mean 'enable_prefix_caching'"),
        ({"quantization": "zzz"}, "'zzz' is not one of awq_marlin, fp8", "awq_marlin"),
    ],
)
def test_a_name_or_value_that_vllm_has_not_fails(args, said, fix):
    found = checked(changed(**args), FLAGS, VALUES)
    assert found.result is Result.FAILURE
    assert said in found.detail
    assert f"lanes.chat.engine_args.{next(iter(args))}" in found.fix
    assert fix in found.fix


def test_no_value_is_vllm_s_own_default():
    assert checked(changed(quantization=None), FLAGS, VALUES).result is Result.OK


@pytest.mark.parametrize(
    ("args", "said", "fix"),
    [
        ({"enable_chunked_prefill": False}, "stops every other stream", "chunked_prefill: true"),
        ({"enable_prefix_caching": False}, "reads its whole history", "prefix_caching: true"),
        ({"kv_cache_dtype": "auto"}, "half the tokens", "kv_cache_dtype: fp8"),
    ],
)
def test_flags_that_the_document_asks_for_are_missed(args, said, fix):
    found = lane_flags(changed(**args))
    assert found.result is Result.WARNING
    assert said in found.detail
    assert fix in found.fix


def at(tmp_path, **files):
    for name, text in files.items():
        (tmp_path / name.replace("__", ".")).write_text(text)
    return RTX4090.lanes["chat"].model_copy(update={"model_source": str(tmp_path)})


def test_a_chat_template_is_found_in_either_place(tmp_path):
    lane = at(tmp_path, tokenizer_config__json=json.dumps({"chat_template": "{{ x }}"}))
    assert template_of("chat", lane).result is Result.OK
    lane = at(tmp_path, tokenizer_config__json="{}", chat_template__jinja="{{ x }}")
    assert template_of("chat", lane).result is Result.OK
    file = tmp_path / "x.jinja"
    named = lane.model_copy(update={"engine_args": {"chat_template": str(file)}})
    missing = template_of("chat", named)
    assert (missing.result, str(file) in missing.detail) == (Result.FAILURE, True)
    file.write_text("{{ x }}")
    assert template_of("chat", named).detail == str(file)
    within = lane.model_copy(update={"engine_args": {"chat_template": "{{ x }}"}})
    assert template_of("chat", within).detail == "the fleet file has one"


def test_a_tokenizer_without_a_template_warns(tmp_path):
    found = template_of("chat", at(tmp_path, tokenizer_config__json="{}"))
    assert found.result is Result.WARNING
    assert "-Instruct" in found.fix


@pytest.mark.parametrize("files", [{}, {"tokenizer_config__json": "{"}])
def test_a_tokenizer_that_cannot_be_read_is_no_guess(tmp_path, files):
    assert template_of("chat", at(tmp_path, **files)).result is Result.NOT_APPLICABLE


def test_simulated_lanes_have_no_template():
    lanes = {"a": RTX4090.lanes["chat"].model_copy(update={"engine": "simulated"})}
    assert template_checks(RTX4090.model_copy(update={"lanes": lanes})) == []


def test_packages_are_held_against_the_pinned_releases():
    assert {"ray": "2.60.0", "vllm": "0.29.0"}.items() <= pins().items()
    there = {"ray": "2.60.0", "vllm": "0.29.0", "torch": "2.13.0"}
    assert packages(pins(), there.get).result is Result.OK
    found = packages(pins(), {**there, "vllm": "0.6.3"}.get)
    assert found.result is Result.FAILURE
    assert "vllm 0.6.3, pinned 0.29.0" in found.detail
    assert "scripts/install" in found.fix
    assert "no vLLM" in packages(pins(), {"ray": "2.60.0"}.get).detail
    # What is installed here is what the tests run on.
    assert packages(pins()).result is Result.OK


@pytest.mark.slow
def test_the_installed_vllm_knows_the_shipped_values_and_refuses_others(tmp_path):
    """In a process of its own: vLLM warns at import, and warnings are errors here."""
    text = (ROOT / "configs/fleets/rtx4090.yaml").read_text()
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(
        text.replace("quantization: fp8", "quantization: fp9", 1)
        .replace("tool_call_parser: hermes", "tool_call_parser: hermess", 1)
        .replace("scheduling_policy: priority", "scheduling_policy: fair", 1)
    )
    code = (
        "import sys; from pathlib import Path\n"
        "from serve_app.config.settings import load_fleet\n"
        "from serve_app.doctor.files.engine_args import engine_args\n"
        "for path in sys.argv[1:]:\n"
        "    found = engine_args(load_fleet(Path(path))); print(found.result, '|', found.detail)\n"
    )
    shipped = ROOT / "configs/fleets/rtx4090.yaml"
    done = subprocess.run(
        [sys.executable, "-c", code, str(shipped), str(wrong)],
        capture_output=True, text=True, cwd=ROOT, check=True,
    )  # fmt: skip
    told = [x for x in done.stdout.splitlines() if "lanes" in x or x.startswith(("ok", "fail"))]
    assert told[0].startswith("ok |")
    assert told[1].startswith("failure |")
    for value in ("'fp9'", "'hermess'", "'fair'"):
        assert any(value in line for line in told[1:])
