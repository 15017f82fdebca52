"""The artefact: what is refused, and that saving is exact."""

from __future__ import annotations

import json

import numpy as np
import pytest

from classifier import SURFACE_NAMES, Artifact, ArtifactError, load_artifact
from classifier.artifact import COMPILED, FILE_NAME, kind_of, save_artifact
from classifier.heads import Priors, Weights
from classifier.training.teacher import teacher_tokenizer

GRID = tuple(i / 1000 for i in range(1001))
COUNT = len(SURFACE_NAMES)


def made() -> Artifact:
    return Artifact(
        version="test-v1",
        kind=COMPILED,
        weights=Weights(
            least=np.zeros(COUNT),
            most=np.ones(COUNT),
            marks=np.full((COUNT, 2), 0.1),
            bias=np.zeros(2),
            marks_alone=np.full((COUNT, 2), 0.2),
            bias_alone=np.zeros(2),
            knots_x=np.array([0.0, 1.0]),
            knots_y=np.array([0.0, 1.0]),
        ),
        priors=Priors(),
        quantiles=GRID,
        training={"rows": 1},
        tables={
            "gram_keys": np.arange(3, dtype=np.uint64),
            "gram_rows": np.ones((3, 3), np.float32),
        },
        tokenizer=teacher_tokenizer().to_str(),
    )


@pytest.fixture
def folder(tmp_path):
    """A saved artefact."""
    save_artifact(made(), tmp_path)
    return tmp_path


def test_an_artefact_survives_a_round_trip(folder, tmp_path):
    """What is loaded and saved again has the same bytes, file by file."""
    again = tmp_path / "again"
    save_artifact(load_artifact(folder), again)

    for file in again.iterdir():
        assert file.read_bytes() == (folder / file.name).read_bytes()


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"version": "other"}, "damaged"),
        ({"format": 99}, "format"),
        ({"marks": ["one"]}, "damaged"),
        ({"files": {}}, "damaged"),
    ],
)
def test_a_changed_artefact_is_refused(folder, change, word):
    """A change of any field is noticed."""
    path = folder / FILE_NAME
    path.write_text(json.dumps(json.loads(path.read_text()) | change))

    with pytest.raises(ArtifactError, match=word):
        load_artifact(folder)


@pytest.mark.parametrize("name", ["gram_keys.npy", "gram_rows.npy"])
def test_a_changed_table_is_refused(folder, name):
    """One bit is enough."""
    data = bytearray((folder / name).read_bytes())
    data[-1] ^= 1
    (folder / name).write_bytes(data)

    with pytest.raises(ArtifactError, match=f"{name} is damaged"):
        load_artifact(folder)


@pytest.mark.parametrize("name", ["gram_rows.npy", "tokenizer.json"])
def test_a_missing_file_is_refused(folder, name):
    """The message names it."""
    (folder / name).unlink()

    with pytest.raises(ArtifactError, match=name):
        load_artifact(folder)


@pytest.mark.parametrize("text", ["", "not json", "[]", "{}"])
def test_what_is_no_artefact_is_refused(tmp_path, text):
    """Any other file is an ArtifactError."""
    (tmp_path / FILE_NAME).write_text(text)

    with pytest.raises(ArtifactError):
        load_artifact(tmp_path)


def test_a_missing_artefact_is_refused(tmp_path):
    """No file is an ArtifactError that names it."""
    with pytest.raises(ArtifactError, match=FILE_NAME):
        load_artifact(tmp_path / "none")


def test_an_artefact_for_other_marks_is_refused(tmp_path, monkeypatch):
    """An artefact trained on other features does not load."""
    monkeypatch.setattr("classifier.artifact.SURFACE_NAMES", ("other",))
    save_artifact(made(), tmp_path)
    monkeypatch.undo()

    with pytest.raises(ArtifactError, match="other features"):
        load_artifact(tmp_path)


def test_a_pickled_table_is_refused_even_with_the_right_checksum(folder, monkeypatch):
    """Whoever can write the folder still cannot run code through it."""
    np.save(folder / "gram_rows.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    monkeypatch.setattr("classifier.artifact._check_file", lambda *_: None)

    with pytest.raises(ValueError, match="allow_pickle"):
        load_artifact(folder)


@pytest.mark.parametrize(
    ("share", "threshold"), [(0.03, 0.97), (0.5, 0.5), (1.0, 0.0), (0.0005, 0.9995), (0, 1.1)]
)
def test_the_threshold_of_a_share_is_the_quantile(share, threshold):
    """Between grid points along a straight line; nothing reaches the one of 0."""
    assert made().threshold_for_share(share) == pytest.approx(threshold)


@pytest.mark.parametrize("share", [-0.1, 1.1])
def test_a_share_outside_0_to_1_is_refused(share):
    """It would be a mistake, not a wish."""
    with pytest.raises(ValueError, match="share"):
        made().threshold_for_share(share)


@pytest.mark.parametrize("share", [0.001, 0.03, 0.0305, 0.5, 1.0])
def test_the_share_of_a_threshold_is_the_share_that_it_was_made_for(share):
    artifact = made()

    assert artifact.share_of(artifact.threshold_for_share(share)) == pytest.approx(share)


def test_nothing_is_known_of_the_order_past_the_highest_quantile():
    """A share of nothing would be a score that no threshold has."""
    artifact = made()

    assert artifact.share_of(1.0) == artifact.share_of(2.0) == 0.0005
    assert artifact.share_of(-1.0) == 1.0


def test_the_kind_of_an_artefact_is_told_without_its_tables(folder):
    (folder / "gram_keys.npy").unlink()

    assert kind_of(folder) == COMPILED
    with pytest.raises(ArtifactError):
        kind_of(folder / "nowhere")
