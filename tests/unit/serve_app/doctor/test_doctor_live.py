"""What a running deployment is asked; a stand-in answers as one, faults included."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from doctor_recordings import NONE, Recorded, recorded

from serve_app.config.fleet import FleetConfig
from serve_app.config.settings import fleet_path, load_fleet
from serve_app.doctor.check import Result
from serve_app.doctor.live.answers import prefix_cache, profile_of, sound, speed
from serve_app.doctor.live.deployment import Answer, Deployment, NoAnswer
from serve_app.doctor.live.engine_checks import kv_type, quantization
from serve_app.doctor.live.engine_facts import EngineFacts, facts_of
from serve_app.doctor.live.examination import examine_live
from serve_app.engine.engine_info import FellBack, engine_info, refuse_fall_back

RTX4090 = load_fleet(fleet_path("rtx4090"))
LOCAL = load_fleet(fleet_path("local"))
HEALTHY = (
    Path(__file__).parents[1] / "machine" / "failures" / "healthy_start.log"
).read_text().splitlines()  # fmt: skip
HELLO = "Hello! Bonjour! Hola! Guten Tag! Ciao! These are greetings in five languages for you."

# As the pinned vLLM writes them under Ray; the figures are a 4090's.
FP8 = ("chat", "free")
TOKENS = {"free": "468000"}
"""Of lanes with another pool than the 14B's."""
AT = "(ServeReplica:pointsman:lane:chat pid=9) (EngineCore pid=10) INFO 11-30 03:30:05 "
GPU_START = f"""
{AT}[core.py:123] Initializing a V1 LLM engine (v0.29.0) with config: model='meta/Llama', \
dtype=torch.bfloat16, max_seq_len=8192, quantization=fp8, kv_cache_dtype=fp8, device_config=cuda
{AT}[gpu_worker.py:625] Available KV cache memory: 12.11 GiB
{AT}[kv_cache_utils.py:2032] GPU KV cache size: TOKENS tokens, Maximum concurrency for 8,192 tokens
"""


def gpu_log(tokens="198,352"):
    return GPU_START.replace("TOKENS", tokens).splitlines()


def exposition(lanes=("chat", "quality", "agent", "free"), **over):
    """`/metrics` of a deployment; values of one lane may be given."""
    values = {
        "cache_dtype": "fp8", "tokens": "198352", "quantization": None, "kv_used": 0.31,
        "waiting": 0, "running": 0, "prefix": "True", **over,
    }  # fmt: skip
    lines = ['pointsman_requests_total{ingress="i1",lane="chat"} 7.0']
    for lane in lanes:
        method = values["quantization"] or ("fp8" if lane in FP8 else "auto_awq")
        at = f'lane="{lane}",replica="r1"'
        tokens = values["tokens"] if lane == "chat" else TOKENS.get(lane, "123000")
        cache = (
            f'cache_dtype="{values["cache_dtype"]}",kv_cache_size_tokens="{tokens}",'
            f'enable_prefix_caching="{values["prefix"]}"'
        )
        lines += [
            f"vllm:cache_config_info{{{at},{cache}}} 1.0",
            f'pointsman_engine_info{{{at},quantization="{method}"}} 1.0',
            f"vllm:num_requests_running{{{at}}} {values['running']}",
            f"vllm:num_requests_waiting{{{at}}} {values['waiting']}",
            f"vllm:kv_cache_usage_perc{{{at}}} {values['kv_used']}",
        ]
    return "\n".join([*lines, *over.get("more", ())]) + "\n"


class World:
    """A deployment that answers at a given speed, on a clock of its own."""

    def __init__(self, fleet: FleetConfig = RTX4090, **metrics) -> None:
        self.fleet = fleet
        self.metrics = exposition(tuple(fleet.enabled_lanes), **metrics)
        self.now, self.rate, self.overhead_s = 0.0, 195.0, 0.05
        self.text = HELLO
        self.cached: int | None = 0
        self.keeps = True
        self.seen: set[str] = set()
        self.broken: set[str] = set()
        self.asked: list[tuple[str, str]] = []

    def clock(self) -> float:
        return self.now

    def ask(self, method: str, path: str, body) -> bytes:
        self.asked.append((method, path))
        if path in self.broken:
            raise NoAnswer("503 no_replica: no replica is loaded")
        if path == "/ready":
            return b'{"ready": true}'
        if path == "/v1/models":
            return json.dumps({"data": [{"id": x} for x in self.fleet.enabled_lanes]}).encode()
        if path == "/metrics":
            return self.metrics.encode()
        return self._chat(body)

    def _chat(self, body) -> bytes:
        prompt = body["messages"][0]["content"]
        tokens = body["max_tokens"] if body.get("ignore_eos") else min(40, body["max_tokens"])
        self.now += self.overhead_s + tokens / self.rate
        hit = len(prompt) // 5 if prompt in self.seen and self.keeps else 0
        self.seen.add(prompt)
        usage = {"completion_tokens": tokens, "prompt_tokens": len(prompt) // 4}
        if self.cached is not None:
            usage["prompt_tokens_details"] = {"cached_tokens": hit}
        message = {"role": "assistant", "content": self.text}
        return json.dumps({"choices": [{"message": message}], "usage": usage}).encode()


def findings(world, tmp_path, *, log=(), cards=NONE):
    path = tmp_path / "serve.log"
    path.write_text("\n".join(log))
    reader = cards if isinstance(cards, Recorded) else Recorded(cards)
    found = examine_live(world.fleet, world.ask, reader, path, world.clock)
    return {x.check: x for x in found}


def test_a_deployment_as_documented_passes_every_check(tmp_path):
    found = findings(World(), tmp_path, log=gpu_log(), cards=recorded("four_4090"))
    bad = {name: x.detail for name, x in found.items() if x.result is not Result.OK}
    # Nobody has documented the free lane's model on this card.
    assert bad.pop("speed free").endswith("this lane has no profile to compare with")
    assert bad == {}
    assert found["quantization chat"].detail == "fp8"
    measured = found["KV cache type chat"].detail
    assert measured == "fp8, confirmed: 64 KiB a token from the log, 64 reckoned"
    assert "195 tokens/s at batch 1" in found["speed chat"].detail
    assert "tokens of the same prompt found" in found["prefix cache chat"].detail


def test_the_silent_fall_back_to_16_bits_is_found_by_the_log(tmp_path):
    """Configured and named as fp8: only the size of a token shows it."""
    found = findings(World(), tmp_path, log=gpu_log("99,176"))["KV cache type chat"]
    assert found.result is Result.FAILURE
    assert "128 KiB a token from the log, 64 reckoned: the cache is in 16 bits" in found.detail
    assert "driver to 550" in found.fix


def test_the_silent_fall_back_is_found_from_afar_by_the_size_of_the_pool(tmp_path):
    found = findings(World(tokens="99176"), tmp_path)
    assert found["KV cache type chat"].result is Result.FAILURE
    assert "99,176 tokens in the pool, 199,068 reckoned" in found["KV cache type chat"].detail
    # The AWQ lanes have the pools that they should.
    assert found["KV cache type quality"].result is Result.OK


def test_an_engine_that_says_another_type_is_found(tmp_path):
    found = findings(World(cache_dtype="auto"), tmp_path)["KV cache type chat"]
    assert found.result is Result.FAILURE
    assert "runs with auto, the fleet file says fp8" in found.detail


def test_an_engine_with_other_weights_is_found(tmp_path):
    found = findings(World(quantization="none"), tmp_path)["quantization chat"]
    assert found.result is Result.FAILURE
    assert "runs with none, the fleet file says fp8" in found.detail


def test_awq_has_several_names():
    facts = EngineFacts(quantization="auto_awq")
    assert quantization("quality", RTX4090.lanes["quality"], facts).result is Result.OK


def test_without_any_source_nothing_is_guessed():
    chat = RTX4090.lanes["chat"]
    assert quantization("chat", chat, EngineFacts()).result is Result.NOT_APPLICABLE
    assert kv_type(chat, EngineFacts()).result is Result.NOT_APPLICABLE
    # A type without a size is believed, and said not to be measured.
    assert "no size of the pool" in kv_type(chat, EngineFacts(kv_dtype="fp8")).detail


def test_a_real_log_of_a_cpu_engine_gives_its_bytes_of_a_token():
    """0.25 GiB hold 5,824 tokens: 30 layers, K and V of 3 heads of 64 in float32."""
    facts = facts_of("chat", {}, HEALTHY, 1)
    assert facts.bytes_per_token == pytest.approx(2 * 30 * 3 * 64 * 4, rel=0.01)
    assert facts.pool_tokens == 5824
    assert facts_of("nobody", {}, HEALTHY, 1) == EngineFacts()


def test_of_several_starts_the_last_counts():
    facts = facts_of("chat", {}, [*gpu_log("99,176"), *gpu_log()], 1)
    assert facts.pool_tokens == 198352
    assert (facts.quantization, facts.kv_dtype) == ("fp8", "fp8")


@pytest.mark.parametrize(
    ("text", "result", "said"),
    [
        (HELLO, Result.OK, "without repetition"),
        ("", Result.WARNING, "empty"),
        ("HELLO AND WELCOME TO MY SERVER MY FRIEND", Result.WARNING, "capitals"),
        ("hello hello " * 30, Result.WARNING, "repeats itself"),
        ("Sure!<|im_end|>", Result.WARNING, "'<|im_end|>'"),
        ("Hi \ufffd\ufffd there", Result.WARNING, "chat template"),
        ("OK", Result.OK, ""),
        ("こんにちは。 你好。 안녕하세요. Привет. नमस्ते।", Result.OK, ""),
        ("1. Hello 2. Hola 3. Bonjour 4. Ciao 5. Hallo. 1, 2, 3, 4, 5!", Result.OK, ""),
    ],
)
def test_garbled_answers_are_only_ever_a_warning(text, result, said):
    found = sound("chat", text)
    assert found.result is result
    assert said in found.detail
    assert ("chat_template" in found.fix) == (result is Result.WARNING)


def test_a_dead_prefix_cache_is_found(tmp_path):
    world = World()
    world.keeps = False
    found = findings(world, tmp_path)["prefix cache chat"]
    assert found.result is Result.FAILURE
    assert "enable_prefix_caching: true" in found.fix


def test_a_prefix_cache_that_does_not_tell_or_is_off_is_no_failure(tmp_path):
    world = World()
    world.cached = None
    chat = RTX4090.lanes["chat"]
    assert prefix_cache(chat, "chat", Deployment(world.ask)).result is Result.NOT_APPLICABLE
    bare = chat.model_copy(update={"engine": "simulated"})
    assert prefix_cache(bare, "chat", Deployment(world.ask)).result is Result.NOT_APPLICABLE
    off = chat.model_copy(update={"engine_args": {"enable_prefix_caching": False}})
    assert prefix_cache(off, "chat", Deployment(world.ask)).result is Result.NOT_APPLICABLE


def test_each_run_asks_a_prompt_of_its_own():
    """What an earlier run left in the cache proves nothing of this one."""
    world = World()
    for _ in range(2):
        prefix_cache(RTX4090.lanes["chat"], "chat", Deployment(world.ask))
    assert len(world.seen) == 2


@pytest.mark.parametrize(
    ("rate", "overhead_s", "result"),
    [
        (195.0, 0.05, Result.OK),
        (160.0, 0.05, Result.OK),
        (149.0, 0.05, Result.WARNING),
        # The whole call above 1.5 s, though tokens come at their pace.
        (195.0, 1.0, Result.WARNING),
    ],
)
def test_a_card_that_is_held_back_is_found_by_its_speed(tmp_path, rate, overhead_s, result):
    world = World()
    world.rate, world.overhead_s = rate, overhead_s
    found = findings(world, tmp_path)["speed chat"]
    assert found.result is result
    assert ("-pl 400" in found.fix) == (result is Result.WARNING)


def test_the_document_s_wall_time_is_what_is_expected():
    """700 to 800 ms for some 140 tokens at 195 a second."""
    profile = profile_of(RTX4090.lanes["chat"])
    whole, first = Answer("", 140, 0, 0.772), Answer("", 1, 0, 0.055)
    found = speed(profile, whole, first)
    assert found.result is Result.OK
    assert "195 tokens/s and 723 ms by llama-3.1-8b-fp8-rtx4090" in found.detail


def test_a_busy_lane_and_one_without_profile_are_not_judged(tmp_path):
    assert findings(World(running=3), tmp_path)["speed chat"].result is Result.NOT_APPLICABLE
    found = speed(None, Answer("", 120, 0, 1.2), Answer("", 1, 0, 0.2))
    assert found.result is Result.NOT_APPLICABLE
    assert "119 tokens/s" in found.detail
    assert speed(None, Answer("", 12, 0, 1), Answer("", 1, 0, 0.2)).detail.endswith("12 tokens")


@pytest.mark.parametrize(
    ("metrics", "said", "fix"),
    [
        ({"kv_used": 0.94}, "94% full", "lanes.chat.engine_args.max_num_seqs: 24"),
        ({"waiting": 9}, "9 waiting", "lanes.chat.replicas.max: 3"),
    ],
)
def test_a_lane_at_its_limits_is_told_with_the_documents_remedy(tmp_path, metrics, said, fix):
    found = findings(World(**metrics), tmp_path)["pressure chat"]
    assert found.result is Result.WARNING
    assert said in found.detail
    assert fix in found.fix


@pytest.mark.parametrize(
    ("more", "result", "said"),
    [
        (
            [
                'pointsman_card_temperature_celsius{lane="chat",card="GPU-1"} 74.0',
                'pointsman_card_power_watts{lane="chat",card="GPU-1"} 352.4',
            ],
            Result.OK,
            "card GPU-1: 74 C, 352 W",
        ),
        (['pointsman_card_temperature_celsius{lane="chat",card="G"} 86'], Result.WARNING, "86 C"),
        (
            [
                'pointsman_card_temperature_celsius{lane="chat",card="G"} 79',
                'pointsman_card_throttled{lane="chat",card="G",reason="hw_thermal"} 1',
            ],
            Result.WARNING,
            "chat G: hw_thermal",
        ),
    ],
)
def test_cards_are_judged_by_the_metrics_of_their_lanes(tmp_path, more, result, said):
    found = findings(World(more=more), tmp_path)["cards"]
    assert found.result is result
    assert said in found.detail


def test_cards_of_this_machine_are_read_where_the_metrics_have_none(tmp_path):
    found = findings(World(), tmp_path, cards=recorded("hot"))["cards"]
    assert found.result is Result.WARNING
    assert findings(World(), tmp_path)["cards"].result is Result.NOT_APPLICABLE


def test_memory_that_grows_under_a_few_chats_is_found(tmp_path):
    grown = Recorded(recorded("four_4090"), recorded("leftover"))
    found = findings(World(), tmp_path, cards=grown)["card memory steady"]
    assert found.result is Result.WARNING
    assert "card 0: 22.3 of 24.0 GiB" in found.detail


def test_a_deployment_that_is_not_there_is_one_fault_and_no_crash(tmp_path):
    world = World()
    world.broken = {"/ready", "/v1/models", "/metrics"}
    found = findings(world, tmp_path)
    assert set(found) == {"ready", "models", "metrics"}
    assert {x.result for x in found.values()} == {Result.FAILURE}
    assert "make serve" in found["metrics"].fix


def test_one_lane_that_does_not_answer_hides_no_other_check(tmp_path):
    world = World()
    world.broken = {"/v1/chat/completions"}
    found = findings(world, tmp_path)
    assert found["answer chat"].result is Result.FAILURE
    assert "no replica is loaded" in found["answer chat"].detail
    assert found["quantization chat"].result is Result.OK


def test_metrics_that_miss_an_engine_are_found(tmp_path):
    world = World()
    world.metrics = exposition(("chat",))
    found = findings(world, tmp_path)["metrics"]
    assert found.result is Result.FAILURE
    assert "no engine of quality, agent, free" in found.detail
    world.metrics = world.metrics.partition("\n")[2].replace("ingress", "x")
    world.metrics = exposition().replace('ingress="i1",', "")
    assert "no ingress replica" in findings(world, tmp_path)["metrics"].detail


def test_another_fleet_than_the_file_s_is_found(tmp_path):
    world = World(LOCAL)
    world.fleet = RTX4090
    ask = World(LOCAL).ask
    found = {
        x.check: x for x in examine_live(RTX4090, ask, Recorded(NONE), tmp_path / "x", world.clock)
    }
    assert found["models"].result is Result.FAILURE
    assert "does not list agent, free" in found["models"].detail
    assert "--config" in found["models"].fix


@pytest.mark.parametrize("raw", [b"<html>", b"{}", b'{"choices": [], "usage": {}}'])
def test_an_answer_that_is_none_is_said_to_be(raw):
    with pytest.raises(NoAnswer):
        Deployment(lambda *_: raw).chat("chat", "x", tokens=1)


def test_what_is_no_exposition_is_said_to_be():
    with pytest.raises(NoAnswer, match="does not parse"):
        Deployment(lambda *_: b'a{b="c} 1\n').metrics()


def engine(quantization=None, kv="fp8"):
    """An engine's own configuration, as far as it is looked at."""
    return SimpleNamespace(
        model_config=SimpleNamespace(quantization=quantization, dtype="torch.bfloat16"),
        cache_config=SimpleNamespace(cache_dtype=kv),
    )


def test_a_replica_whose_engine_fell_back_from_fp8_does_not_start():
    asked = RTX4090.lanes["chat"].engine_args
    refuse_fall_back(asked, engine("fp8", "fp8_e4m3"))
    with pytest.raises(FellBack, match="kv_cache_dtype fp8, the engine runs with auto"):
        refuse_fall_back(asked, engine("fp8", "auto"))
    with pytest.raises(FellBack, match="quantization fp8, the engine runs with none"):
        refuse_fall_back(asked, engine(None, "fp8"))
    # A checkpoint that is in FP8 by another name.
    refuse_fall_back(asked, engine("modelopt", "fp8_ds_mla"))
    # What nobody asked for may be anything.
    refuse_fall_back({"kv_cache_dtype": "auto"}, engine("auto_awq", "bfloat16"))
    refuse_fall_back(RTX4090.lanes["quality"].engine_args, engine("auto_awq", "fp8"))


def test_an_engine_tells_what_it_runs_with():
    config = engine()
    samples = Deployment(lambda *_: engine_info(config).encode()).metrics()
    ((labels, value),) = samples["pointsman_engine_info"]
    assert (labels, value) == (
        {"quantization": "none", "kv_cache_dtype": "fp8", "dtype": "bfloat16"},
        1.0,
    )
