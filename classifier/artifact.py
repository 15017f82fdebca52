"""The artefact: what training leaves behind and serving reads. JSON, checksummed."""

import hashlib
import json
from bisect import bisect_left
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from classifier.features import FEATURE_NAMES
from classifier.scorer import LinearScorer

FORMAT = 1
FILE_NAME = "model.json"
DEFAULT_ARTIFACT = Path(__file__).parent / "artifacts" / "surface-v1"


class ArtifactError(Exception):
    """An artefact that must not be used: damaged, or made for other features."""


@dataclass(frozen=True)
class Artifact:
    """A trained classifier.

    Attributes:
        version: name and version, as in `surface-v1`.
        weights: one a feature; the scaler is folded in.
        bias: intercept.
        quantiles: score at each of the shares 0, 1/1000 .. 1 of the stated mix,
            ascending; shape (1001,).
        training: data, seeds and figures, for people.

    """

    version: str
    weights: tuple[float, ...]
    bias: float
    quantiles: tuple[float, ...]
    training: dict[str, Any]

    def scorer(self) -> LinearScorer:
        """The classifier itself."""
        return LinearScorer(self.version, self.weights, self.bias)

    def threshold_for_share(self, share: float) -> float:
        """The score that `share` of the stated mix reaches.

        Between grid points it follows a straight line; a share of 0 gives a
        threshold that nothing reaches.
        """
        if not 0.0 <= share <= 1.0:
            message = f"share must be in [0, 1], is {share}"
            raise ValueError(message)
        if share == 0.0:
            return 1.1
        place = (1.0 - share) * (len(self.quantiles) - 1)
        below = min(int(place), len(self.quantiles) - 2)
        part = place - below
        low, high = self.quantiles[below], self.quantiles[below + 1]
        return low + part * (high - low)

    def share_above(self, threshold: float) -> float:
        """The share of the stated mix that scores at or above `threshold`."""
        return 1.0 - bisect_left(self.quantiles, threshold) / (len(self.quantiles) - 1)


def save_artifact(artifact: Artifact, folder: Path) -> Path:
    """Write the artefact; the same artefact gives the same bytes."""
    payload = {"format": FORMAT, "features": list(FEATURE_NAMES), **asdict(artifact)}
    payload["checksum"] = _checksum(payload)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / FILE_NAME
    path.write_text(json.dumps(payload, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return path


def load_artifact(folder: Path) -> Artifact:
    """Read an artefact, or raise ArtifactError saying what is wrong with it."""
    path = folder / FILE_NAME
    try:
        payload = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ArtifactError(f"{path} is not JSON") from error
    _check(payload, path)
    return Artifact(
        version=payload["version"],
        weights=tuple(payload["weights"]),
        bias=payload["bias"],
        quantiles=tuple(payload["quantiles"]),
        training=payload["training"],
    )


def _check(payload: Any, path: Path) -> None:
    if not isinstance(payload, dict) or payload.get("format") != FORMAT:
        raise ArtifactError(f"{path} has a format that this version does not read")
    if payload.pop("checksum", None) != _checksum(payload):
        raise ArtifactError(f"{path} is damaged: its checksum does not match")
    if payload["features"] != list(FEATURE_NAMES):
        raise ArtifactError(f"{path} was trained on other features than this version computes")


def _checksum(payload: dict[str, Any]) -> str:
    canonical = json.dumps(payload, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()
