"""Figures in the comments of configs/fleets, beside what `pointsman plan` reckons with.

The tables at the heads are compared line by line in test_fleet_files.py.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace

import pytest

from fleet.cards.table import Card, cards
from fleet.memory.budget import DRIVER_BYTES, GIB, Memory, weight_bytes
from fleet.plan.reckoning.engine import Served
from serve_app.cli import main
from serve_app.config.settings import load_fleet
from serve_app.doctor.fit.reckoning import engine_of
from tests.unit.fleet.test_fleet_files import FLEETS, lanes_on_cards, shape_of_table

TEXTS = {path.stem: " ".join(path.read_text().replace("#", " ").split()) for path in FLEETS}
CARD = cards()
USUAL_TOKENS = 1500
"""Of a session, by the chat guide: what `max_num_seqs` of them hold has room in every pool."""


def served(fleet: str, lane: str, card: Card | None = None, **engine) -> Served:
    """A lane of a file as the planner has it, with other settings of the engine."""
    path = next(x for x in FLEETS if x.stem == fleet)
    _, config, own = next(x for x in lanes_on_cards(path) if x[0] == lane)
    card = card or own
    settings = replace(engine_of(config), **engine)
    return Served(config.model_source, shape_of_table(config), settings, card, card.kind)


def memory(fleet: str, lane: str, **engine) -> Memory:
    return served(fleet, lane, **engine).memory


def window(fleet: str, lane: str) -> int:
    path = next(x for x in FLEETS if x.stem == fleet)
    return load_fleet(path).lanes[lane].max_model_len


def loads(path):
    """Each lane with its replica's engine, its slots and its window."""
    for name, lane, card in lanes_on_cards(path):
        found = Served(lane.model_source, shape_of_table(lane), engine_of(lane), card, card.kind)
        yield name, found, lane.max_num_seqs, lane.max_model_len


@pytest.mark.parametrize("path", FLEETS, ids=lambda path: path.stem)
def test_weights_overhead_window_and_sessions_fit_what_a_file_gives(path):
    for name, engine, slots, longest in loads(path):
        held = engine.memory
        assert held.weights + held.overhead + held.pool == pytest.approx(held.budget), name
        assert held.budget <= engine.engine.gpu_memory_utilization * engine.card.memory_bytes, name
        assert held.has_room_for(longest), name
        assert held.sessions(USUAL_TOKENS) >= slots, name
        assert engine.num_gpu_blocks * held.layout.block_bytes <= held.pool, name


def downloads(path, *, all_lanes: bool) -> float:
    """GB of weights that a file's lanes fetch: in 16 bits where vLLM makes FP8 of them."""
    found = {}
    fleet = load_fleet(path)
    for name, lane, _ in lanes_on_cards(path):
        if fleet.lanes[name].enabled or all_lanes:
            engine = replace(engine_of(lane), tensor_parallel_size=1, pipeline_parallel_size=1)
            if engine.quantization == "fp8":
                engine = replace(engine, quantization=None)
            found[lane.model_source] = weight_bytes(shape_of_table(lane), engine) / 1e9
    return sum(found.values())


@pytest.mark.parametrize(
    "path", [x for x in FLEETS if x.stem != "local"], ids=lambda path: path.stem
)
def test_the_volume_that_a_file_asks_for_holds_what_its_lanes_download(path):
    text = TEXTS[path.stem]
    told = re.search(r"HF_HOME (?:a directory )?on a volume (?:of|with) (\d+) GB", text)
    together = re.search(r"\((\d+) GB volume, then\)", text) or told
    assert downloads(path, all_lanes=False) * 1.1 < float(told[1])
    assert downloads(path, all_lanes=True) * 1.1 < float(together[1])


def ratio(of: str, what: str, to: str = "rtx4090") -> float:
    return getattr(CARD[of], what) / getattr(CARD[to], what)


def on_4090(lane: str, **engine) -> Memory:
    return memory("rtx4090", lane, **engine)


RTX4090 = next(path for path in FLEETS if path.stem == "rtx4090")
Figure = Callable[[], float]
FIGURES: list[tuple[str, str, float, Figure]] = [
    # File, pattern, share that it may be off by, what is reckoned.
    (
        "one_card",
        r"([\d.]+) full windows fit",
        0.02,
        lambda: memory("one_card", "chat").sessions(window("one_card", "chat")),
    ),
    (
        "one_card",
        r"16 sessions have ([\d.]+)k tokens",
        0.02,
        lambda: memory("one_card", "chat").pool_tokens / 16e3,
    ),
    (
        "one_card_two_models",
        r"needs some (\d+) GB of RAM",
        0.1,
        lambda: sum(memory("one_card_two_models", x).weights for x in ("chat", "coder")) / 1e9,
    ),
    (
        "one_card_two_models",
        r"(\d) GiB of KV are left",
        0.15,
        lambda: memory("one_card_two_models", "coder").pool / GIB,
    ),
    (
        "rtx3090",
        r"has ([\d.]+) of the bandwidth of a 4090",
        0.02,
        lambda: ratio("rtx3090", "bandwidth_gb_per_s"),
    ),
    ("rtx3090", r"and ([\d.]+) of its arithmetic", 0.02, lambda: ratio("rtx3090", "tflops_16bit")),
    (
        "rtx5090",
        r"has ([\d.]+) times the bandwidth of a 4090",
        0.03,
        lambda: ratio("rtx5090", "bandwidth_gb_per_s"),
    ),
    (
        "rtx5090",
        r"and ([\d.]+) times its arithmetic",
        0.03,
        lambda: ratio("rtx5090", "tflops_16bit"),
    ),
    (
        "rtx5090",
        r"times its arithmetic in 16 and (8) bits",
        0.0,
        lambda: 8 * round(ratio("rtx5090", "tflops_fp8") / ratio("rtx5090", "tflops_16bit")),
    ),
    ("rtx4090", r"on download (\d+) GB", 0.03, lambda: downloads(RTX4090, all_lanes=False)),
    ("rtx4090", r"in this file about (\d+) GB", 0.03, lambda: downloads(RTX4090, all_lanes=True)),
    (
        "rtx4090",
        r"CUDA gives out ([\d,]+);",
        0.001,
        lambda: (CARD["rtx4090"].memory_bytes - DRIVER_BYTES) / 2**20,
    ),
    ("rtx4090", r"0.92 of that is ([\d.]+) GiB", 0.005, lambda: on_4090("chat").budget / GIB),
    ("rtx4090", r"CUDA graphs\) is ([\d.]+) GiB", 0.06, lambda: on_4090("chat").overhead / GIB),
    (
        "rtx4090",
        r"GiB and ([\d.]+) more with two cards",
        0.01,
        lambda: (on_4090("chat", tensor_parallel_size=2).overhead - on_4090("chat").overhead) / GIB,
    ),
    (
        "rtx4090",
        r"pool of `chat` is about ([\d,]+)\)",
        0.01,
        lambda: served("rtx4090", "chat").num_gpu_blocks,
    ),
    (
        "rtx4090",
        r"([\d,]+) tokens of `chat`, as much again",
        0.03,
        lambda: 12 * GIB / on_4090("chat").kv_per_token,
    ),
    ("rtx4090", r"4 GiB of KV; ([\d.]+) are left", 0.03, lambda: on_4090("heavy").pool / GIB),
    (
        "rtx4090",
        r"(\d+)k tokens of KV are about 4k each",
        0.03,
        lambda: on_4090("heavy").pool_tokens / 1e3,
    ),
    (
        "rtx4090",
        r"so it takes two cards, ([\d.]+) GiB on each",
        0.01,
        lambda: on_4090("frontier").weights / GIB,
    ),
    (
        "rtx4090",
        r"16k would fit by ([\d.]+) GiB",
        0.15,
        lambda: (on_4090("frontier").pool - on_4090("frontier").window_bytes(16_384)) / GIB,
    ),
    (
        "rtx4090",
        r"billion weights are (\d+) GiB at four bits",
        0.02,
        lambda: 2 * on_4090("mixtral").weights / GIB,
    ),
    (
        "rtx4090",
        r"(\d+)k tokens are 6k each",
        0.02,
        lambda: on_4090("mistral_nemo").pool_tokens / 1e3,
    ),
    (
        "rtx4090",
        r"([\d.]+) GB of bf16 to fetch",
        0.02,
        lambda: (
            weight_bytes(
                served("rtx4090", "mistral_nemo").shape,
                replace(served("rtx4090", "mistral_nemo").engine, quantization=None),
            )
            / 1e9
        ),
    ),
    (
        "rtx4090",
        r"one such prompt takes (\d+) of the pool's 12 GiB",
        0.01,
        lambda: on_4090("long_context_128k").session_bytes(131_072) / GIB,
    ),
    (
        "rtx4090",
        r"No grouped KV heads: (\d+) KiB a token",
        0.01,
        lambda: on_4090("phi3_mini").kv_per_token / 1024,
    ),
    (
        "rtx4090",
        r"and (\d+) KiB of KV a token for its 64",
        0.01,
        lambda: on_4090("free").kv_per_token / 1024,
    ),
]


@pytest.mark.parametrize(
    ("fleet", "pattern", "off", "reckoned"), FIGURES, ids=[f"{x[0]}-{x[1]}" for x in FIGURES]
)
def test_a_figure_in_a_comment_is_what_is_reckoned(fleet, pattern, off, reckoned):
    found = re.search(pattern, TEXTS[fleet])
    assert found is not None, "the comment is another one now"
    assert float(found[1].replace(",", "")) == pytest.approx(reckoned(), rel=off)


@pytest.mark.parametrize(
    "fleet", ["one_card", "one_card_two_models", "two_cards", "two_cards_free_tier"]
)
def test_fp8_kv_doubles_the_sessions_of_the_starters(fleet):
    assert "`kv_cache_dtype: fp8` doubles the sessions" in TEXTS[fleet]
    path = next(x for x in FLEETS if x.stem == fleet)
    for name, _, _, longest in loads(path):
        sixteen, eight = (
            served(fleet, name, CARD["rtx4090"], kv_cache_dtype=kind).memory.sessions(longest)
            for kind in ("auto", "fp8")
        )
        assert eight / sixteen == pytest.approx(2.0, rel=0.01)


def test_a_card_of_16_gb_takes_the_smaller_model_with_so_many_sessions():
    told = re.search(
        r"card of 16 GB takes (\S+) instead \(`max_num_seqs: (\d+)`\)", TEXTS["one_card"]
    )
    eight = served("two_cards", "chat", CARD["rtx5060ti-16gb"], max_num_seqs=int(told[2]))
    assert eight.source == told[1]
    assert eight.memory.has_room_for(window("one_card", "chat"))
    assert eight.memory.sessions(4096) >= int(told[2])


def test_the_free_lane_holds_the_sessions_that_the_planner_says(capsys):
    told = re.search(
        r"by the data sheet (\d+) of the chat guide's sessions where `chat` has (\d+) "
        r"\(`pointsman (plan [^`]+)`\)",
        TEXTS["rtx4090"],
    )
    assert main([*told[3].split(), "--json"]) == 0
    lanes = {x["lane"]: x for x in json.loads(capsys.readouterr().out)["lanes"]}
    for name, sessions in (("free", told[1]), ("chat", told[2])):
        assert lanes[name]["sessions"] == pytest.approx(float(sessions), rel=0.02)
        # The plan's own slots and window; the file's are larger, and so are its graphs.
        held = memory("rtx4090", name)
        assert lanes[name]["weights_bytes_per_card"] == held.weights
        assert lanes[name]["kv_bytes_per_token"] == held.kv_per_token
        assert lanes[name]["kv_tokens"] == pytest.approx(held.pool_tokens, rel=0.03)
