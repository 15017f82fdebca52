"""What holds for every schedule of the simulated engine."""

from __future__ import annotations

from array import array
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from simulator.model.engine import BatchingEngine, Sequence
from simulator.model.profile import Scheduling, Timing
from simulator.model.text import END_OF_MESSAGE, ROLES, answer, pieces, tokenize
from tests.examples import examples

TIMING = Timing.model_validate(
    {"decode_step_ms": {1: 1.0, 8: 2.0}, "prefill_ms_per_token": 0.05, "interference": 0.4}
)

asks = st.tuples(
    st.floats(0, 0.2),  # arrival
    st.integers(1, 120),  # prompt
    st.integers(1, 80),  # output
    st.integers(0, 3),  # owner of the prefix
    st.integers(0, 2),  # priority
    st.booleans(),  # aborted half way
)


@examples(150)
@given(
    st.lists(asks, min_size=1, max_size=14),
    st.integers(13, 40),
    st.integers(1, 6),
    st.booleans(),
    st.booleans(),
    st.sampled_from([0, 16, 40]),
    st.booleans(),
    st.booleans(),
)
def test_every_token_is_generated_once_and_every_block_comes_back(
    given_asks: list[tuple[float, int, int, int, int, bool]],
    blocks: int,
    seqs: int,
    chunked: bool,
    cached: bool,
    threshold: int,
    reserves: bool,
    ahead: bool,
) -> None:
    scheduling = Scheduling(
        max_num_seqs=seqs,
        max_num_batched_tokens=64,
        enable_chunked_prefill=chunked,
        enable_prefix_caching=cached,
        long_prefill_token_threshold=threshold,
        scheduler_reserve_full_isl=reserves,
        async_scheduling=ahead,
        num_gpu_blocks=blocks,
    )
    engine = BatchingEngine(TIMING, scheduling, lists_decoded=True, keeps_step_times=True)
    arrivals = sorted(
        (at, number, Sequence(p, o, lambda i, w=owner: w * 10_000 + i, priority), stops)
        for number, (at, p, o, owner, priority, stops) in enumerate(given_asks)
    )
    made = [(sequence, stops) for _, _, sequence, stops in arrivals]
    seen: Counter[Sequence] = Counter()
    last = 0.0
    for _ in range(50_000):
        at = engine.next_at
        if arrivals and (at is None or arrivals[0][0] <= at):
            arrived, _, sequence, _ = arrivals.pop(0)
            engine.add(sequence, arrived)
            continue
        if at is None:
            break
        assert at >= last
        last = at
        result = engine.advance()
        assert len(result.decoded) <= seqs and engine.running <= seqs
        assert 0 <= engine.pool.in_use <= blocks
        assert engine.pool.in_use + engine.pool.cached <= blocks
        seen.update(result.first)
        seen.update(result.decoded)
        for sequence, stops in made:
            if stops and engine.generated(sequence) >= sequence.output_tokens // 2 > 0:
                engine.abort(sequence)
    assert engine.next_at is None, "the engine does not come to rest"
    assert (engine.running, engine.waiting, engine.pool.in_use) == (0, 0, 0)
    for sequence, _ in made:
        # What was scheduled ahead of an abort is computed and given to nobody.
        assert seen[sequence] <= engine.generated(sequence) <= sequence.output_tokens
        if not ahead:
            assert seen[sequence] == engine.generated(sequence)
        if not sequence.aborted:
            assert seen[sequence] == sequence.output_tokens
            assert sequence.finished_at is not None and sequence.first_token_at is not None
            assert sequence.arrived_at <= sequence.first_token_at <= sequence.finished_at


@given(st.text(max_size=200))
def test_pieces_join_to_the_text(text: str) -> None:
    assert b"".join(piece for _, piece in pieces(text.encode())) == text.encode()


@given(st.lists(st.sampled_from(["hello", " there", " 42", "!"]), min_size=1), st.integers(1, 60),
       st.integers(0, 60), st.sampled_from([None, 20.0]))  # fmt: skip
def test_a_cut_answer_goes_on_word_for_word(
    words: list[str], most: int, cut: int, mean: float | None
) -> None:
    prompt = array("I", [ROLES["user"], *tokenize("".join(words).encode()), END_OF_MESSAGE])
    prompt.append(ROLES["assistant"])
    whole = answer(prompt, most, mean=mean)
    cut = min(cut, len(whole) - 1)
    said = b"".join(piece for _, piece in whole[:cut])
    # As text given back through the tokenizer, and as token ids.
    for given_back in (tokenize(said), array("I", [number for number, _ in whole[:cut]])):
        rest = answer(prompt + given_back, most - cut, mean=mean)
        assert whole[:cut] + rest == whole
