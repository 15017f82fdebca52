"""The artefact: what is refused, and that the shipped one is whole."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from classifier import (
    DEFAULT_ARTIFACT,
    FEATURE_NAMES,
    Artifact,
    ArtifactError,
    Conversation,
    load_artifact,
)
from classifier.artifact import FILE_NAME, save_artifact

GRID = tuple(i / 1000 for i in range(1001))


def made() -> Artifact:
    return Artifact("test-v1", (0.1,) * len(FEATURE_NAMES), -0.5, GRID, {"rows": 1})


def test_an_artefact_survives_a_round_trip(tmp_path: Path) -> None:
    """What is saved is what is loaded."""
    save_artifact(made(), tmp_path)

    assert load_artifact(tmp_path) == made()


def test_the_same_artefact_gives_the_same_bytes(tmp_path: Path) -> None:
    """Saving is deterministic."""
    first = save_artifact(made(), tmp_path / "a").read_bytes()

    assert save_artifact(made(), tmp_path / "b").read_bytes() == first


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"bias": 9.0}, "damaged"),
        ({"format": 99}, "format"),
        ({"features": ["one"]}, "damaged"),
    ],
)
def test_a_changed_artefact_is_refused(tmp_path: Path, change: dict, word: str) -> None:
    """A change of any field is noticed."""
    path = save_artifact(made(), tmp_path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))

    with pytest.raises(ArtifactError, match=word):
        load_artifact(tmp_path)


@pytest.mark.parametrize("text", ["", "not json", "[]", "{}"])
def test_what_is_no_artefact_is_refused(tmp_path: Path, text: str) -> None:
    """Any other file is an ArtifactError."""
    (tmp_path / FILE_NAME).write_text(text)

    with pytest.raises(ArtifactError):
        load_artifact(tmp_path)


def test_a_missing_artefact_is_refused(tmp_path: Path) -> None:
    """No file is an ArtifactError that names it."""
    with pytest.raises(ArtifactError, match=FILE_NAME):
        load_artifact(tmp_path / "none")


def test_an_artefact_for_other_features_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An artefact trained on other features does not load."""
    monkeypatch.setattr("classifier.artifact.FEATURE_NAMES", ("other",))
    save_artifact(made(), tmp_path)
    monkeypatch.undo()

    with pytest.raises(ArtifactError, match="other features"):
        load_artifact(tmp_path)


def test_the_threshold_falls_as_the_share_grows() -> None:
    """A larger share never needs a higher score."""
    thresholds = [made().threshold_for_share(share / 100) for share in range(101)]

    assert thresholds == sorted(thresholds, reverse=True)
    assert made().threshold_for_share(0.03) == pytest.approx(0.97)


def test_a_share_of_zero_escalates_nothing() -> None:
    """No score reaches its threshold."""
    assert made().threshold_for_share(0) > 1


def test_a_share_outside_zero_to_one_is_a_mistake() -> None:
    """ValueError names the share."""
    with pytest.raises(ValueError, match=r"1\.5"):
        made().threshold_for_share(1.5)


def test_the_shipped_artefact_escalates_about_three_percent_of_its_mix() -> None:
    """Its threshold stands where its own quantiles say."""
    artifact = load_artifact(DEFAULT_ARTIFACT)

    threshold = artifact.threshold_for_share(0.03)

    assert artifact.share_above(threshold) == pytest.approx(0.03, abs=0.002)


def test_the_shipped_artefact_tells_a_proof_from_a_greeting() -> None:
    """A support question stays, a many-part derivation escalates."""
    artifact = load_artifact(DEFAULT_ARTIFACT)
    scorer, threshold = artifact.scorer(), artifact.threshold_for_share(0.03)
    hard = (
        "A sphere of radius 6 is inscribed in a cone whose base has radius 12. Calculate the "
        "volume of the cone, then prove that the ratio of the two volumes does not depend on "
        "the units. Show each step, and state how many liters remain when 25 percent is removed."
    )

    assert scorer.score(Conversation("Where is my card?")) < threshold
    assert scorer.score(Conversation(hard)) >= threshold
