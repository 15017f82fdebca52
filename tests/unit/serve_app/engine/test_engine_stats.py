"""Reading engines' metrics."""

from prometheus_client.parser import text_string_to_metric_families

from serve_app.engine.engine_stats import engine_load, levels_text, prompt_tokens_by_level
from tests.unit.serve_app.engines import running

TEXT = """\
# TYPE vllm:prompt_tokens_by_source_total counter
vllm:prompt_tokens_by_source_total{engine="0",model_name="m",source="local_compute"} 100.0
vllm:prompt_tokens_by_source_total{engine="0",model_name="m",source="local_cache_hit"} 1.5e+06
vllm:prompt_tokens_by_source_total{engine="0",model_name="m",source="external_kv_transfer"} 40.0
vllm:prompt_tokens_by_source_total{engine="1",model_name="m",source="local_compute"} 11.0
vllm:prompt_tokens_by_source_created{engine="0",model_name="m",source="local_compute"} 1.7e+09
vllm:num_requests_running{engine="0",model_name="m"} 2.0
vllm:num_requests_running{engine="1",model_name="m"} 3.0
"""


def test_prompt_tokens_by_level_are_summed_over_engine_cores() -> None:
    assert prompt_tokens_by_level(TEXT) == {"device": 1.5e6, "host": 40.0, "recomputed": 111.0}
    assert engine_load(TEXT)["running"] == 5.0


def test_an_engine_that_tells_nothing_has_zeros() -> None:
    assert prompt_tokens_by_level("") == {"device": 0.0, "host": 0.0, "recomputed": 0.0}


def test_levels_are_told_as_a_prometheus_counter() -> None:
    (family,) = text_string_to_metric_families(levels_text(prompt_tokens_by_level(TEXT)))

    assert (family.name, family.type) == ("pointsman_prompt_tokens", "counter")
    assert {s.labels["level"]: s.value for s in family.samples} == prompt_tokens_by_level(TEXT)


async def test_the_simulated_engine_tells_its_levels_as_vllm_does() -> None:
    """What is found and what is read are all prompt tokens together."""
    body = {"prompt": "word " * 200, "max_tokens": 1}

    async with running() as engine:
        for _ in range(3):
            await engine.post("/v1/completions", body)
        async with engine.http.get("/metrics") as response:
            text = await response.text()

    levels, load = prompt_tokens_by_level(text), engine_load(text)
    assert levels["device"] == load["prefix_cache_hits"] > 0
    assert levels["device"] + levels["recomputed"] == load["prefix_cache_queries"]
    assert levels["host"] == 0
