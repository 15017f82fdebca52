"""The KV pool of a card, against a recorded run and what must always hold."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.cards.table import cards
from fleet.memory.budget import DRIVER_BYTES, GIB, EngineMemory, memory_of, overhead_bytes
from fleet.memory.models import known_models
from fleet.memory.shape import NotReckoned

RTX4090 = cards()["rtx4090"]


def shape(name):
    return known_models()[name].shape


LLAMA = shape("meta-llama/Llama-3.1-8B-Instruct")
GEMMA = shape("google/gemma-3-12b-it")
QWEN = shape("Qwen/Qwen3.5-9B")


def test_the_recorded_run_of_a_4090_is_met():
    """vLLM 0.19, Llama 3.1 8B in bf16, 0.9 of the card: 2,588 blocks of 16 tokens."""
    memory = memory_of(LLAMA, EngineMemory(gpu_memory_utilization=0.9), RTX4090.memory_bytes)
    assert memory.pool_tokens / 16 == pytest.approx(2588, rel=0.005)
    # What CUDA says that the card has, against nvidia-smi's figure in the table.
    assert RTX4090.memory_bytes - DRIVER_BYTES == pytest.approx(25_250_627_584, abs=2**20)


def test_the_documents_sessions_fit():
    """30 active sessions of the guide's 8k at most, in FP8: 12 GiB of pool."""
    engine = EngineMemory("fp8", "fp8", max_num_batched_tokens=4096, max_num_seqs=32)
    memory = memory_of(LLAMA, engine, RTX4090.memory_bytes)
    assert memory.sessions(6_000) > 30 > memory.sessions(8_192)
    assert memory.session_bytes(8_192) == 8_192 * 64 * 1024
    assert memory.logged_tokens(8_192) == pytest.approx(memory.pool_tokens)


@pytest.mark.parametrize(("cards_of_one", "kib"), [(1, 64), (2, 32), (4, 16), (8, 8), (16, 8)])
def test_heads_are_divided_and_then_copied(cards_of_one, kib):
    engine = EngineMemory(kv_cache_dtype="fp8", tensor_parallel_size=cards_of_one)
    assert memory_of(LLAMA, engine, RTX4090.memory_bytes).kv_per_token == kib * 1024


def test_a_latent_vector_is_on_every_card():
    lite = shape("deepseek-ai/DeepSeek-V2-Lite-Chat")
    one, two = (
        memory_of(lite, EngineMemory(tensor_parallel_size=n), RTX4090.memory_bytes) for n in (1, 2)
    )
    assert one.kv_per_token == two.kv_per_token == 27 * 576 * 2


@pytest.mark.parametrize(
    ("dtype", "bytes_of_head"),
    [("auto", 512), ("fp8", 256), ("int8_per_token_head", 264), ("nvfp4", 144)],
)
def test_types_of_kv_have_their_scales(dtype, bytes_of_head):
    memory = memory_of(LLAMA, EngineMemory(kv_cache_dtype=dtype), RTX4090.memory_bytes)
    assert memory.kv_per_token == 32 * 8 * bytes_of_head


def test_a_kv_type_of_unknown_size_is_not_guessed():
    with pytest.raises(NotReckoned, match="turboquant_k8v4"):
        memory_of(LLAMA, EngineMemory(kv_cache_dtype="turboquant_k8v4"), RTX4090.memory_bytes)


def test_a_long_session_keeps_a_window_of_most_layers():
    """Gemma 3 12B: 8 of 48 layers keep all of 32k, the others 1,024 tokens."""
    memory = memory_of(GEMMA, EngineMemory("fp8"), RTX4090.memory_bytes)
    layer = 8 * 512 * 2
    exact = layer * (8 * 32_768 + 40 * 1_024)
    assert memory.session_bytes(32_768) == pytest.approx(exact, rel=0.01)
    # While the prompt is read, two steps' tokens are kept as well.
    assert memory.window_bytes(32_768) > memory.session_bytes(32_768) * 1.3


def test_a_state_takes_a_page_and_pages_are_as_large_as_a_state():
    """Qwen 3.5 9B: 2.05 MiB of state make blocks of 528 tokens of 4 KiB."""
    memory = memory_of(QWEN, EngineMemory("fp8"), RTX4090.memory_bytes)
    assert memory.layout.block_bytes == 8 * 528 * 4 * 1024
    short, long = memory.session_bytes(100), memory.session_bytes(5_280)
    # Two states in three groups of eight layers, and one block, or ten.
    assert (short, long) == (7 * memory.layout.block_bytes, 16 * memory.layout.block_bytes)
    without = replace(EngineMemory("fp8"), enable_prefix_caching=False)
    assert memory_of(QWEN, without, RTX4090.memory_bytes).session_bytes(100) == short * 4 / 7


def test_overhead_grows_with_steps_and_sequences():
    small = EngineMemory(max_num_batched_tokens=2048, max_num_seqs=32)
    large = EngineMemory(max_num_batched_tokens=8192, max_num_seqs=1024)
    assert overhead_bytes(LLAMA, small) / GIB == pytest.approx(0.94, abs=0.01)
    assert overhead_bytes(LLAMA, large) / GIB == pytest.approx(2.16, abs=0.02)
    two = replace(small, tensor_parallel_size=2)
    assert overhead_bytes(LLAMA, two) - overhead_bytes(LLAMA, small) == 0.5 * GIB


tokens = st.integers(1, 200_000)


names = st.sampled_from(sorted(known_models()))


@given(name=names, some=tokens, more=tokens, several=st.sampled_from([1, 2, 4, 8]))
def test_longer_sessions_take_no_less(name, some, more, several):
    memory = memory_of(shape(name), EngineMemory(tensor_parallel_size=several), 10**11)
    assert memory.session_bytes(some) <= memory.session_bytes(some + more)
    assert memory.session_bytes(some) <= memory.window_bytes(some)
    assert memory.has_room_for(some) or not memory.has_room_for(some + more)


@given(name=names, many=tokens)
def test_a_session_takes_at_least_its_exact_bytes(name, many):
    """What each layer keeps, without blocks and padding."""
    model = shape(name)
    exact = sum(
        layers.count
        * (layers.state_bytes + layers.heads * layers.values * 2 * min(many, layers.window or many))
        for layers in model.cache
    )
    assert memory_of(model, EngineMemory(), 10**11).session_bytes(many) >= exact
