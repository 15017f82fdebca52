"""Driver and cards, on recorded readings, against what the 4090 fleet needs."""

import pytest
from doctor_recordings import NONE, recorded

from fleet.cards.table import cards_by_kind
from serve_app.config.settings import fleet_path, load_fleet
from serve_app.doctor.check import Result
from serve_app.doctor.machine.card_checks import CardChecks

RTX4090 = load_fleet(fleet_path("rtx4090"))
LOCAL = load_fleet(fleet_path("local"))

# Ray 2.60's own models still pass pydantic arguments that pydantic 2 deprecates.
importing_ray = pytest.mark.filterwarnings(
    "ignore:Using extra keyword arguments:pydantic.warnings.PydanticDeprecatedSince20"
)


def findings(cards, fleet=RTX4090, cuda=13):
    return {x.name: x.run() for x in CardChecks(fleet, cards, cuda).all()}


def test_four_cards_as_documented_pass_every_check():
    found = findings(recorded("four_4090"))
    assert {name: x.result for name, x in found.items()} == dict.fromkeys(found, Result.OK)
    assert "580.95.05" in found["driver"].detail
    assert "8.9, FP8 tensor cores" in found["compute capability"].detail
    assert "24,564 MiB" in found["card memory"].detail


@pytest.mark.parametrize(
    ("recording", "cuda", "result", "said", "fix"),
    [
        ("old_driver", 12, Result.FAILURE, "FP8 KV falls silently back", "nvidia-driver-550"),
        ("old_driver", 13, Result.FAILURE, "CUDA 13, which needs 580", "nvidia-driver-580"),
        ("driver_of_cuda_12", 13, Result.FAILURE, "CUDA 13, which needs 580", "nvidia-driver-580"),
        ("driver_of_cuda_12", 12, Result.OK, "570.124.06, for CUDA 12", ""),
        ("four_4090", None, Result.WARNING, "the CPU build is installed", "scripts/install"),
    ],
)
def test_the_driver_is_held_against_the_build_and_fp8(recording, cuda, result, said, fix):
    found = findings(recorded(recording), cuda=cuda)["driver"]
    assert found.result is result
    assert said in found.detail
    assert fix in found.fix


@pytest.mark.parametrize(
    ("recording", "check", "result", "said", "fix"),
    [
        ("uncapped", "power limit", Result.WARNING, "0: 450 W", "sudo nvidia-smi -i 0 -pl 400"),
        ("uncapped", "card kind", Result.WARNING, "lanes ask for 4 x GeForce-RTX-4090", "enabled"),
        ("hot", "throttling", Result.WARNING, "card 0: sw_thermal; card 0: 86 C", "-pl 400"),
        ("at_its_cap", "throttling", Result.OK, "no card is held back; 0: 74 C", ""),
        ("leftover", "card free", Result.WARNING, "VLLM::EngineCor (pid 41235, 22,424", "41235"),
        ("rebadged", "card memory", Result.FAILURE, "has 16,376 MiB; that kind has 24,564", "-q"),
        ("one_3090", "compute capability", Result.WARNING, "Marlin", "kv_cache_dtype: auto"),
        ("one_3090", "card kind", Result.FAILURE, "4 x GeForce-RTX-4090", "GeForce-RTX-3090"),
        ("one_v100", "compute capability", Result.FAILURE, "begin at 7.5", "another card"),
    ],
)
def test_what_is_wrong_with_a_card_is_said_with_its_fix(recording, check, result, said, fix):
    found = findings(recorded(recording))[check]
    assert found.result is result
    assert said in found.detail
    assert fix in found.fix


def test_without_a_card_nothing_of_this_applies_and_each_says_why():
    found = findings(NONE)
    assert {x.result for x in found.values()} == {Result.NOT_APPLICABLE}
    assert all("no NVIDIA driver answers" in x.detail and not x.fix for x in found.values())


def test_a_fleet_without_gpu_lanes_asks_nothing_of_cards():
    found = findings(recorded("old_driver"), fleet=LOCAL)
    assert {x.result for x in found.values()} == {Result.NOT_APPLICABLE}


@importing_ray
@pytest.mark.parametrize(
    "name",
    [
        "NVIDIA GeForce RTX 4090",
        "NVIDIA GeForce RTX 4090 Laptop GPU",
        "NVIDIA L40S",
        "NVIDIA H100 80GB HBM3",
        "NVIDIA A100-SXM4-40GB",
        "Tesla V100-SXM2-16GB",
        "NVIDIA RTX PRO 6000 Blackwell Workstation Edition",
    ],
)
def test_a_card_s_kind_is_what_ray_calls_it(name):
    from dataclasses import replace

    from ray._private.accelerators.nvidia_gpu import NvidiaGPUAcceleratorManager

    (card, *_) = recorded("four_4090").cards
    kind = NvidiaGPUAcceleratorManager._gpu_name_to_accelerator_type(name)
    assert replace(card, name=name).kind == kind


def test_the_fleet_s_kinds_are_known():
    kinds = {
        name.removeprefix("accelerator_type:")
        for lane in RTX4090.lanes.values()
        for name in lane.bundle or {}
        if name.startswith("accelerator_type:")
    }
    assert kinds <= set(cards_by_kind())
