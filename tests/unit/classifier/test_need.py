"""`need` on texts unlike those it was fitted on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from classifier import SURFACE_NAMES
from classifier.heads import NEED
from classifier.training.corpus import Corpus
from classifier.training.held_out import TrainingSet
from classifier.training.model import ComplexityModel
from tests.unit.classifier.made import made_set


@pytest.fixture(scope="module")
def rows() -> TrainingSet:
    return made_set()


@pytest.fixture(scope="module")
def model(rows) -> ComplexityModel:
    return rows.fit_without(np.zeros(len(rows.data), dtype=bool))


def with_surface(rows: TrainingSet, name: str, value: float) -> Corpus:
    """The rows, with one surface feature the same in all."""
    surface = rows.corpus.surface.copy()
    surface[:, SURFACE_NAMES.index(name)] = value
    return replace(rows.corpus, surface=surface)


@pytest.mark.parametrize("name", ["log_bytes", "log_code_marks", "digit_share"])
def test_further_out_than_the_training_rows_is_their_edge(rows, model, name):
    """Ten times or a million times as many: the score is the same."""
    most = float(model.most[SURFACE_NAMES.index(name)])

    at_the_edge, beyond, far = (
        model.heads(with_surface(rows, name, value)) for value in (most, most + 1, most + 1e6)
    )

    assert (at_the_edge == beyond).all()
    assert (at_the_edge == far).all()


def test_words_and_surface_count_the_same(rows, model):
    """Over the rows with outcomes, whatever the penalties."""
    measured = rows.corpus.take(rows.data.measured)
    surface = model.of_surface(measured)

    words = model.heads(measured)[:, NEED] - surface

    assert surface.std() == pytest.approx(1)
    assert words.std() == pytest.approx(1)
