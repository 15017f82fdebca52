"""Does a lane fit its card, before anything is downloaded."""

import json

import pytest
from doctor_recordings import recorded

from fleet.cards.table import cards, cards_by_kind
from fleet.memory.budget import DRIVER_BYTES, GIB, kv_bytes_per_token
from fleet.memory.checkpoint.config_json import shape_of
from fleet.memory.shape import NotReckoned
from serve_app.config.lane import LaneConfig
from serve_app.config.settings import fleet_path, load_fleet
from serve_app.doctor.check import Result
from serve_app.doctor.fit.checkpoint import shape_of_lane
from serve_app.doctor.fit.checks import fit_checks, fit_of
from serve_app.doctor.fit.reckoning import engine_of, reckon
from serve_app.doctor.fit.remedies import remedy

RTX4090 = load_fleet(fleet_path("rtx4090"))
KNOWN_CARDS = cards_by_kind()
CARD = KNOWN_CARDS["GeForce-RTX-4090"]
LLAMA_8B = {
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "intermediate_size": 14336,
    "vocab_size": 128256,
    "max_position_embeddings": 131072,
}


def lane(of="chat", **changes) -> LaneConfig:
    """A lane of the 4090 fleet; other names than the lane's own go to its engine_args."""
    own = {key: changes.pop(key) for key in list(changes) if key in LaneConfig.model_fields}
    before = RTX4090.lanes[of]
    args = {**before.engine_args, **changes}
    args = {key: value for key, value in args.items() if value != "absent"}
    return before.model_copy(update={**own, "engine_args": args})


def checked(name, given, cards=None):
    return fit_of(name, given, {} if cards is None else cards)


def test_every_lane_of_the_shipped_fleet_fits_and_says_how():
    found = [check.run() for check in fit_checks(RTX4090, recorded("four_4090").by_kind())]
    assert {x.result for x in found} == {Result.OK}
    chat = found[0]
    assert chat.check == "fit chat"
    # The table at the head of the fleet file: 8.46 GiB, 12.2 GiB.
    assert "8.5 GiB weights + 1.0 overhead + 12.2 KV of 21.6: 199,068 tokens" in chat.detail


def test_vram_of_a_loaded_lane_is_the_documents():
    """22.0 of 24.5 GB resident, with what the driver keeps."""
    shape, _ = shape_of_lane(lane())
    of = reckon(lane(), shape, CARD.memory_bytes).memory
    resident = of.weights + of.overhead + of.pool + DRIVER_BYTES
    assert resident / GIB == pytest.approx(22.0, abs=0.15)


@pytest.mark.parametrize(
    ("of", "changes", "fix"),
    [
        # The model's whole window on a card that has room for two thirds of it.
        ("heavy", {"max_model_len": 32_768}, "lanes.heavy.max_model_len: 20480"),
        # 16-bit KV halves the pool: the milder change is to have it back.
        ("long_context_128k", {"kv_cache_dtype": "auto"}, "engine_args.kv_cache_dtype: fp8"),
        ("frontier", {"tensor_parallel_size": 1}, "lanes.frontier.engine_args.tensor_parallel_si"),
        # 24.5 GB of 16-bit weights.
        ("mistral_nemo", {"quantization": "absent"}, "engine_args.quantization: fp8"),
        ("chat", {"gpu_memory_utilization": 0.42}, "engine_args.gpu_memory_utilization: 0.92"),
    ],
)
def test_what_does_not_fit_is_told_with_the_line_to_change(of, changes, fix):
    found = checked(of, lane(of, **changes))
    assert found.result is Result.FAILURE
    assert "does not fit one window" in found.detail
    assert fix in found.fix


@pytest.mark.parametrize(
    ("of", "changes", "said", "fix"),
    [
        ("quality", {"max_model_len": 65_536}, "at most 32,768", "quality.max_model_len: 32768"),
        ("frontier", {"tensor_parallel_size": 3}, "64 attention heads", "a divisor of 64"),
    ],
)
def test_what_vllm_refuses_before_it_loads_is_found(of, changes, said, fix):
    found = checked(of, lane(of, **changes))
    assert found.result is Result.FAILURE
    assert said in found.detail
    assert fix in found.fix


@pytest.mark.parametrize(
    ("scaling", "window"),
    [
        (None, 32_768),
        ({"rope_type": "llama3", "factor": 8.0}, 32_768),
        ({"type": "yarn", "factor": 4.0}, 131_072),
    ],
)
def test_a_stretched_window_counts_as_vllm_takes_it(scaling, window):
    config = {**LLAMA_8B, "max_position_embeddings": 32_768, "rope_scaling": scaling}
    assert shape_of(config).window == window


@pytest.mark.parametrize("of", ["heavy", "frontier", "mistral_nemo", "long_context_128k"])
@pytest.mark.parametrize("window", [4_096, 16_384, 65_536, 131_072])
@pytest.mark.parametrize("share", [0.5, 0.7, 0.92])
def test_a_lane_with_the_lines_that_are_told_fits(of, window, share):
    """Whatever is wrong with it; or nothing is enough, and that is said."""
    given = lane(
        of, max_model_len=window, gpu_memory_utilization=share, quantization="absent",
        kv_cache_dtype="auto", tensor_parallel_size=1,
    )  # fmt: skip
    shape, _ = shape_of_lane(given)
    if reckon(given, shape, CARD.memory_bytes).fits:
        return
    told = remedy(of, given, shape, CARD.memory_bytes, fp8=True)
    if told.startswith("no change"):
        return
    changes = {}
    for line in told.split(", "):
        place, _, value = line.partition(": ")
        changes[place.rpartition(".")[2]] = json.loads(value) if value[0].isdigit() else value
    args = {k: v for k, v in changes.items() if k != "max_model_len"}
    mended = given.model_copy(
        update={
            "engine_args": {**given.engine_args, **args},
            "max_model_len": changes.get("max_model_len", window),
        }
    )
    assert reckon(mended, shape, CARD.memory_bytes).fits


def test_a_card_without_fp8_is_not_told_to_use_it():
    given = lane("long_context_128k", kv_cache_dtype="auto")
    shape, _ = shape_of_lane(given)
    told = remedy("x", given, shape, KNOWN_CARDS["GeForce-RTX-3090"].memory_bytes, fp8=False)
    assert "kv_cache_dtype" not in told
    assert "max_model_len" in told


@pytest.mark.parametrize(
    ("of", "changes", "said", "fix"),
    [
        ("chat", {"gpu_memory_utilization": 0.97}, "leaves nothing for bursts", "0.92"),
        ("heavy", {"max_num_seqs": 32}, "tokens a session", "max_num_seqs: 20"),
        ("chat", {"quantization": "absent"}, "half the speed of FP8", "quantization: fp8"),
    ],
)
def test_what_fits_but_is_unwise_warns(of, changes, said, fix):
    found = checked(of, lane(of, **changes))
    assert found.result is Result.WARNING
    assert said in found.detail
    assert fix in found.fix


def checkpoint(tmp_path, **changes):
    (tmp_path / "config.json").write_text(json.dumps({**LLAMA_8B, **changes}))
    return str(tmp_path)


def test_awq_is_advised_from_14b_on_and_fp8_below(tmp_path):
    """On a card of 24 GB."""
    big = checkpoint(
        tmp_path, hidden_size=5120, num_hidden_layers=48, num_attention_heads=40,
        intermediate_size=13824, vocab_size=152064,
    )  # fmt: skip
    found = checked("big", lane(model_source=big))
    assert found.result is Result.WARNING
    assert "14.8B" in found.detail and "awq_marlin" in found.fix
    roomy = {"GeForce-RTX-4090": KNOWN_CARDS["H100"]}
    assert checked("big", lane(model_source=big), roomy).result is Result.OK

    small = checkpoint(tmp_path, quantization_config={"quant_method": "awq", "bits": 4})
    found = checked("small", lane(model_source=small, quantization="awq_marlin"))
    assert found.result is Result.OK
    assert "would fit as FP8" in found.detail


def test_a_model_that_is_here_is_read_and_not_looked_up(tmp_path):
    found = checked("chat", lane(model_source=checkpoint(tmp_path)))
    assert found.result is Result.OK
    assert "199,068 tokens" in found.detail and "its config.json" in found.detail


def test_the_card_that_is_here_counts_before_the_table():
    half = {"GeForce-RTX-4090": CARD.model_copy(update={"memory_mib": 12 * 1024})}
    assert checked("chat", lane("mistral_nemo"), half).result is Result.FAILURE


def test_a_starter_is_reckoned_on_the_card_that_is_said():
    """Its lanes are for any card, so that without one nothing can be told."""
    for name in ("one_card", "one_card_two_models", "two_cards", "two_cards_free_tier"):
        fleet = load_fleet(fleet_path(name))
        found = [x.run() for x in fit_checks(fleet, {}, cards()["rtx3090"])]
        assert {x.result for x in found} == {Result.OK}, [x.detail for x in found]
    small = CARD.model_copy(update={"memory_mib": 12 * 1024})
    (chat,) = (x.run() for x in fit_checks(load_fleet(fleet_path("one_card")), {}, small))
    assert chat.result is Result.FAILURE
    # A lane that names its card is reckoned on that.
    assert fit_of("chat", lane("chat"), {}, small).result is Result.OK


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"model_source": "acme/unheard-of"}, "hf download acme/unheard-of config.json"),
        ({"quantization": "exl3"}, "exl3 is not known here"),
        ({"kv_cache_dtype": "turboquant_k8v4"}, "a KV cache of turboquant_k8v4"),
        ({"bundle": {"CPU": 1, "GPU": 1}}, "names no kind of card"),
        ({"engine": "simulated"}, "a simulated engine"),
        ({"accelerator": "cpu"}, "host memory"),
    ],
)
def test_what_cannot_be_told_is_not_guessed(changes, why):
    found = checked("chat", lane(**changes))
    assert found.result is Result.NOT_APPLICABLE
    assert why in found.detail
    assert not found.fix


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({**LLAMA_8B, "mamba_d_state": 128}, "state-space layers"),
        ({k: v for k, v in LLAMA_8B.items() if k != "vocab_size"}, "has no vocab_size"),
        ({**LLAMA_8B, "quantization_config": {"quant_method": "exl3"}}, "quantised as exl3"),
    ],
)
def test_a_model_of_another_form_is_said_to_be(config, why):
    with pytest.raises(NotReckoned, match=why):
        shape_of(config)


def test_a_damaged_config_is_no_crash(tmp_path):
    (tmp_path / "config.json").write_text('{"a": ')
    found = checked("chat", lane(model_source=str(tmp_path)))
    assert found.result is Result.NOT_APPLICABLE
    assert "cannot be read" in found.detail


@pytest.mark.parametrize(
    ("changes", "billion"),
    [
        # Qwen3 0.6B: tied embeddings, heads wider than hidden / heads.
        (
            {
                "hidden_size": 1024, "num_hidden_layers": 28, "num_attention_heads": 16,
                "head_dim": 128, "intermediate_size": 3072, "vocab_size": 151936,
                "tie_word_embeddings": True,
            },
            0.596,
        ),
        # Mixtral 8x7B: every expert is resident.
        ({"vocab_size": 32000, "num_local_experts": 8, "num_experts_per_tok": 2}, 46.7),
    ],
)  # fmt: skip
def test_published_sizes_are_met(changes, billion):
    shape = shape_of({**LLAMA_8B, **changes})
    assert shape.parameters / 1e9 == pytest.approx(billion, rel=0.005)


def test_kv_of_a_token_is_the_documents():
    """64 KiB of Llama 3.1 8B in FP8, twice that in 16 bits, four times in float32."""
    shape, _ = shape_of_lane(lane())

    def kib(**changes):
        return kv_bytes_per_token(shape, engine_of(lane(**changes))) / 1024

    assert (kib(), kib(kv_cache_dtype="auto")) == (64, 128)
    assert kib(kv_cache_dtype="auto", dtype="float32") == 256


def test_more_cards_than_kv_heads_share_none_further():
    shape, _ = shape_of_lane(lane())
    eight = reckon(lane(tensor_parallel_size=8), shape, CARD.memory_bytes)
    sixteen = reckon(lane(tensor_parallel_size=16), shape, CARD.memory_bytes)
    assert eight.memory.kv_per_token == sixteen.memory.kv_per_token


def test_a_size_of_kv_that_is_given_is_taken():
    shape, _ = shape_of_lane(lane())
    fit = reckon(lane(kv_cache_memory_bytes=GIB), shape, CARD.memory_bytes)
    assert fit.pool_tokens == GIB / (64 * 1024)
