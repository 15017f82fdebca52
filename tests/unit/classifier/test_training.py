"""Training: the same bytes each time, honest probabilities, nothing seen that is held out."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from classifier import SURFACE_NAMES, Conversation
from classifier.artifact import save_artifact
from classifier.embedded import EmbeddingScorer
from classifier.heads import Priors, Weights
from classifier.training.build import calibration_rows, train
from classifier.training.calibrate import expected_error, fit_knots
from classifier.training.dataset import from_rows, joined_easy, read_rows, scores_of
from classifier.training.evaluate import held_out, on_sources, top_precision
from classifier.training.held_out import heads_when_held_out, source_parts
from classifier.training.model import Settings, gain_targets, kind_targets
from classifier.training.written import written_rows
from tests.unit.classifier.made import FakeTeacher, made_data, made_rows, made_set


@pytest.fixture(scope="module")
def rows():
    return made_set()


@pytest.fixture(scope="module")
def artifact(rows):
    return train(rows, {"note": "made up"})


def test_training_again_gives_the_same_bytes(artifact, tmp_path):
    """Every file of the artefact, from rows read anew."""
    again = train(made_set(), {"note": "made up"})
    for name, made in (("a", artifact), ("b", again)):
        save_artifact(made, tmp_path / name)

    names = sorted(file.name for file in (tmp_path / "a").iterdir())
    assert names == sorted(file.name for file in (tmp_path / "b").iterdir())
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_a_model_learns_the_kinds(artifact):
    """Words of the hard rows score over words of the easy ones."""
    scorer = artifact.scorer()

    hard = scorer.features(Conversation("prove the theorem about integrals and matrix"))
    easy = scorer.features(Conversation("where is my card please help"))

    assert hard["kind"] > easy["kind"]


def test_what_is_held_out_is_not_seen(rows):
    """Labels of a held-out source do not change its scores."""
    part = {"s0": rows.source("s0")}
    before = heads_when_held_out(rows, part)["s0"]
    turned = rows.data.weak.copy()
    turned[rows.source("s0")] = 1 - turned[rows.source("s0")]
    object.__setattr__(rows.data, "weak", turned)

    after = heads_when_held_out(rows, part)["s0"]

    object.__setattr__(rows.data, "weak", np.where(rows.source("s0"), 1 - turned, turned))
    assert (before == after).all()


def test_the_held_out_table_has_every_part_and_baseline(rows):
    """Sources, the other half, subjects never seen; classifier, MiniLM, length."""
    table = held_out(rows, FakeTeacher().embed(list(made_data().text)))

    assert {row["part"] for row in table} == {
        "s0",
        "s1",
        "s0, other half of the questions",
        "s0, subjects never seen",
    }
    assert {row["by"] for row in table} == {"classifier", "MiniLM + LR", "prompt length"}
    assert all(row["apgr_low"] <= row["apgr_high"] for row in table)
    apgr = {(row["part"], row["by"]): row["apgr"] for row in table}
    for row in table:
        over = row["apgr"] - apgr[row["part"], "prompt length"]
        assert row.get("over_length", 0) == pytest.approx(over)


def test_precision_is_of_pairs_that_were_both_held_out(rows):
    """One everyday and one complex source each."""
    table = top_precision(rows)

    assert [(row["everyday"], row["complex"]) for row in table] == [("s2", "s4"), ("s3", "s4")]
    assert all(0 <= row["precision, classifier"] <= 1 for row in table)


def test_figures_of_a_scorer_stand_beside_prompt_length(artifact):
    """`evaluate` without --held-out."""
    data = made_data()

    table = on_sources(data, scores_of(artifact.scorer(), data))

    assert [(row["part"], row["by"]) for row in table] == [
        (part, by) for part in ("s0", "s1") for by in ("classifier", "prompt length")
    ]


@given(
    st.lists(
        st.tuples(st.floats(0.001, 0.999), st.booleans(), st.floats(0.1, 5)),
        min_size=3,
        max_size=80,
    )
)
def test_calibration_keeps_the_order_of_scores(rows):
    """Higher stays higher: the map rises everywhere, inside [0, 1]."""
    raw, outcome, weight = (np.array(column, dtype=float) for column in zip(*rows, strict=True))

    x, y = fit_knots(raw, outcome, weight)

    assert (np.diff(x) > 0).all()
    assert (np.diff(y) >= 0).all()
    assert y[0] >= 0
    assert y[-1] <= 1


def test_calibration_finds_the_true_probability():
    """Outcomes that come with probability raw^2."""
    rng = np.random.default_rng(0)
    raw = rng.random(20_000)
    outcome = (rng.random(20_000) < raw**2).astype(float)

    probability = np.interp(raw, *fit_knots(raw, outcome, np.ones(20_000)))

    assert expected_error(probability, outcome) < 0.01
    assert np.abs(probability - raw**2).max() < 0.1


@pytest.mark.parametrize(
    ("probability", "outcome", "error"),
    [([0.2, 0.2, 0.2, 0.2, 0.2], [0, 0, 0, 0, 1], 0.0), ([0.9, 0.9], [0, 1], 0.4), ([1.0], [0], 1)],
)
def test_the_expected_calibration_error(probability, outcome, error):
    """Mean gap between probability and outcome, bin by bin."""
    assert expected_error(np.array(probability), np.array(outcome)) == pytest.approx(error)


def test_everyday_rows_calibrate_as_never_needing_the_stronger_lane(rows):
    """The assumption that the card states."""
    raw = {source: np.full(mask.sum(), 0.5) for source, mask in source_parts(rows).items()}

    _, outcome, weight = calibration_rows(rows, raw, without="s0")

    counts = {s: int((rows.data.source == s).sum()) for s in ("s2", "s3")}
    inside = rows.data.source == "s1"
    assert len(weight) == (inside & rows.data.measured).sum() + sum(counts.values())
    assert (outcome[-sum(counts.values()) :] == 0).all()
    assert set(weight) == {1.0}  # s4 has no outcome, written rows are no measurement


def test_targets_say_nothing_of_the_source():
    """Gains are centred in each source, and no source outweighs another of 2,500 rows."""
    data = from_rows(
        [{"text": "a", "source": "x", "weak": n % 2, "strong": 1} for n in range(5000)]
        + [{"text": "b", "source": "y", "weak": 0, "strong": n} for n in (0, 1)]
        + [{"text": "c", "source": "z", "weak": 0.5}]
        + [{"text": "d", "source": "feedback", "thumb": thumb} for thumb in ("up", "down")]
    )

    target, weight = gain_targets(data, Settings())

    assert sorted(set(target[:5000])) == [-0.5, 0.5]
    assert weight[:5000].sum() == pytest.approx(2500)
    assert target[5000:5002].tolist() == [-0.5, 0.5]
    assert np.isnan(target[5002])  # what fails here says nothing of the strong model
    assert target[5003:].tolist() == [-0.5, 0.5]
    assert weight[5003:].tolist() == [10.0, 10.0]


def test_kinds_have_targets_and_bounded_weight():
    """No source speaks for all."""
    data = from_rows(
        [{"text": "a", "source": "x", "tier": "easy"}] * 9000
        + [{"text": "b", "source": "y", "tier": "mixed"}, {"text": "c", "source": "z", "weak": 1}]
        + [{"text": "d", "source": "w"}]
    )

    target, weight = kind_targets(data, Settings())

    assert target[:9000].max() == 0
    assert weight[:9000].sum() == pytest.approx(8000)
    assert target[9000:9002].tolist() == [0.4, 1.0]
    assert np.isnan(target[9002])


def test_rows_are_read_from_plain_and_zipped_files(tmp_path):
    """Texts, messages, outcomes and thumbs."""
    lines = [
        {"text": "a", "source": "s", "weak": 0, "strong": 1, "tier": "mixed", "domain": "d"},
        {"messages": [{"role": "user", "content": "b"}], "thumb": "down"},
    ]
    (tmp_path / "a.jsonl").write_text(json.dumps(lines[0]) + "\n\n")
    with gzip.open(tmp_path / "b.jsonl.gz", "wt") as file:
        file.write(json.dumps(lines[1]))

    data = read_rows([tmp_path / "a.jsonl", tmp_path / "b.jsonl.gz"])

    assert data.text.tolist() == ["a", "b"]
    assert data.gain[0] == 1
    assert data.weak.tolist() == [0, 0]
    assert data.measured.tolist() == [True, False]
    assert data.counts() == {"s": 1, "unnamed": 1}


@pytest.mark.parametrize("line", ["{", "[]", '{"text": 3}', '{"messages": "x"}', '{"a": 1}'])
def test_a_bad_line_is_named(tmp_path, line):
    """File and line, so that it can be mended."""
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "ok"}\n' + line)

    with pytest.raises(ValueError, match=r"rows\.jsonl:2: "):
        read_rows([path])


def test_joined_rows_carry_no_outcome():
    """They teach kinds, not which model is better."""
    data = made_data()
    joined = joined_easy(data, 5, np.random.default_rng(0))

    assert set(joined.tier) == {"easy"}
    assert joined.counts() == {"s2": 5, "s3": 5}
    assert np.isnan(joined.weak).all()


def test_an_embedding_model_trains_and_serves_behind_the_same_interface(monkeypatch, tmp_path):
    """`train --embedding MODEL`."""
    from classifier.artifact import load_artifact
    from classifier.training import embedding

    monkeypatch.setattr(embedding, "Teacher", lambda *_: FakeTeacher())
    monkeypatch.setattr("classifier.embedded.Embedder", lambda _: FakeTeacher().embed)
    data = from_rows(made_rows())
    made = embedding.train_embedding(data, "mine", tmp_path, {})
    save_artifact(made, tmp_path / "a")

    scorer = load_artifact(tmp_path / "a").scorer()

    hard = "prove the theorem about integrals and derive a matrix, 12 = x^2?"
    assert 0 <= scorer.score(Conversation(hard)) <= 1
    assert made.version == "embedding-mine"
    assert {"need", "kind"} <= scorer.features(Conversation(hard)).keys()


def test_a_batch_is_embedded_in_one_pass_and_scored_as_each_alone(monkeypatch):
    """Texts that were read, a system prompt among them, are not embedded again."""
    passes = []

    def embed(texts):
        passes.append(list(texts))
        return FakeTeacher().embed(texts)

    monkeypatch.setattr("classifier.embedded.Embedder", lambda _: embed)
    marks, line = np.full((len(SURFACE_NAMES), 2), 0.01), np.array([0.0, 1.0])
    far = np.full(len(SURFACE_NAMES), 99.0)
    weights = Weights(-far, far, marks, np.zeros(2), marks, np.zeros(2), line, line)
    asked = [
        Conversation("Where is my card?", "You are a bank."),
        Conversation("Prove Goldbach.", "You are a bank."),
        Conversation("Prove Goldbach.", user_turns=3),
    ]

    def scorer():
        return EmbeddingScorer("v", "mine", np.full((24, 2), 0.01), weights, Priors())

    alone = [scorer().score(c) for c in asked]
    passes.clear()
    together = scorer()

    assert together.score_all(asked) == pytest.approx(alone)
    assert passes == [["Where is my card?", "Prove Goldbach.", "You are a bank."]]
    assert together.score_all(asked[:1]) == pytest.approx(alone[:1])
    assert passes[1:] == [["Where is my card?"]]
    assert together.score_all([]) == []


@pytest.mark.slow
def test_the_real_minilm_embeds_to_unit_length():
    """The packaged model, offline."""
    from classifier.embedded import Embedder

    vectors = Embedder()(["Where is my card?", "My card has not arrived.", "Prove Goldbach."])

    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-5)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2]


def test_written_phrases_are_whole_and_distinct():
    """No slot stays open, both tiers are there, and nothing is said twice."""
    made = written_rows(500, np.random.default_rng(0))

    assert {row["tier"] for row in made} == {"easy", "complex"}
    assert not any("{" in row["text"] for row in made)
    assert len({row["text"] for row in made}) == len(made)
    assert made == written_rows(500, np.random.default_rng(0))
