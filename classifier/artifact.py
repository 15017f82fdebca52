"""The artefact: what training leaves behind and serving reads.

A folder with `model.json` (everything small, and the SHA-256 of every other
file), two `.npy` tables and `tokenizer.json`. Nothing is pickled; tables are
read with `allow_pickle=False`.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from classifier.compiled import CompiledScorer, NativeScorer
from classifier.features.surface import SURFACE_NAMES
from classifier.features.words import GramTables
from classifier.heads import HEADS, Floats, Priors, Weights
from classifier.native import LEXICON, Choice, chosen
from classifier.scorer import Scorer

FORMAT = 4
FILE_NAME = "model.json"
DEFAULT_ARTIFACT = Path(__file__).parent / "artifacts" / "lexical-v4"

COMPILED = "compiled"
SENTENCE_TRANSFORMERS = "sentence-transformers"
TABLES = ("gram_keys", "gram_rows")
TOKENIZER = "tokenizer.json"


class ArtifactError(ValueError):
    """An artefact that must not be used: damaged, or made for other features."""


@dataclass(frozen=True)
class Artifact:
    """A trained classifier.

    Attributes:
        version: name and version, as in `lexical-v4`.
        kind: `compiled`, or `sentence-transformers` for a full embedding model.
        weights: the linear parts and the calibration map.
        priors: log-odds for system prompt, tools and turns.
        quantiles: score at each of the shares 0, 1/1000 .. 1 of the stated mix,
            ascending; shape (1001,).
        training: data, seeds and figures, for people.
        tables: the arrays of `GramTables`, by name; empty unless compiled.
        tokenizer: content of tokenizer.json; empty unless compiled.
        model: name or path of the sentence-transformers model; empty if compiled.
        embedding: shape (dimensions, heads), for sentence-transformers only.

    """

    version: str
    kind: str
    weights: Weights
    priors: Priors
    quantiles: tuple[float, ...]
    training: dict[str, Any]
    tables: dict[str, NDArray[Any]]
    tokenizer: str = ""
    model: str = ""
    embedding: Floats | None = None

    def scorer(self, choice: Choice | None = None) -> Scorer:
        """With the twin of `choice`, by default this process's.

        Raises NativeError where POINTSMAN_PUMP asks for the compiled one and it cannot be had.
        """
        if self.kind == SENTENCE_TRANSFORMERS:
            from classifier.embedded import EmbeddingScorer

            assert self.embedding is not None
            return EmbeddingScorer(
                self.version, self.model, self.embedding, self.weights, self.priors
            )
        grams = GramTables(
            json.loads(self.tokenizer)["model"]["vocab"],
            np.ascontiguousarray(self.tables["gram_keys"], np.uint64),
            np.ascontiguousarray(self.tables["gram_rows"], np.float32),
        )
        module = (choice or chosen(LEXICON)).module
        if module is None:
            return CompiledScorer(self.version, grams, self.weights, self.priors)
        return NativeScorer(self.version, grams, self.weights, self.priors, module)

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

    def share_of(self, score: float) -> float:
        """The share of the stated mix that reaches `score`: `threshold_for_share` reversed.

        At least half of a grid step: past the highest quantile nothing is known of the order.
        """
        steps = len(self.quantiles) - 1
        grid = np.linspace(0.0, 1.0, steps + 1)
        return max(0.5 / steps, 1.0 - float(np.interp(score, self.quantiles, grid)))


def save_artifact(artifact: Artifact, folder: Path) -> Path:
    """Write the artefact; the same artefact gives the same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for name, table in sorted(artifact.tables.items()):
        np.save(folder / f"{name}.npy", table, allow_pickle=False)
        files.append(f"{name}.npy")
    if artifact.tokenizer:
        (folder / TOKENIZER).write_text(artifact.tokenizer, encoding="utf-8")
        files.append(TOKENIZER)
    payload = {
        "format": FORMAT,
        "version": artifact.version,
        "kind": artifact.kind,
        "marks": list(SURFACE_NAMES),
        "heads": list(HEADS),
        "weights": {name: _plain(value) for name, value in vars(artifact.weights).items()},
        "priors": asdict(artifact.priors),
        "quantiles": list(artifact.quantiles),
        "training": artifact.training,
        "model": artifact.model,
        "embedding": None if artifact.embedding is None else artifact.embedding.tolist(),
        "files": {name: _digest(folder / name) for name in files},
    }
    payload["checksum"] = _checksum(payload)
    path = folder / FILE_NAME
    path.write_text(json.dumps(payload, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return path


def kind_of(folder: Path) -> str:
    """The kind of an artefact, its tables unread; raises ArtifactError as `load_artifact` does."""
    return str(_read_payload(folder / FILE_NAME)["kind"])


def load_artifact(folder: Path) -> Artifact:
    """Read an artefact, or raise ArtifactError saying what is wrong with it."""
    payload = _read_payload(folder / FILE_NAME)
    for name, digest in payload["files"].items():
        _check_file(folder / name, digest)
    weights = {
        name: np.array(value) if isinstance(value, list) else value
        for name, value in payload["weights"].items()
    }
    is_compiled = payload["kind"] == COMPILED
    embedding = payload["embedding"]
    return Artifact(
        version=payload["version"],
        kind=payload["kind"],
        weights=Weights(**weights),
        priors=Priors(**payload["priors"]),
        quantiles=tuple(payload["quantiles"]),
        training=payload["training"],
        tables={n: _load(folder / f"{n}.npy") for n in TABLES} if is_compiled else {},
        tokenizer=(folder / TOKENIZER).read_text(encoding="utf-8") if is_compiled else "",
        model=payload["model"],
        embedding=None if embedding is None else np.array(embedding),
    )


def _read_payload(path: Path) -> dict[str, Any]:
    try:
        payload = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ArtifactError(f"{path} is not JSON") from error
    if not isinstance(payload, dict) or payload.get("format") != FORMAT:
        raise ArtifactError(f"{path} has a format that this version does not read")
    if payload.pop("checksum", None) != _checksum(payload):
        raise ArtifactError(f"{path} is damaged: its checksum does not match")
    if payload["marks"] != list(SURFACE_NAMES) or payload["heads"] != list(HEADS):
        raise ArtifactError(f"{path} was trained on other features than this version computes")
    if payload["kind"] == COMPILED and set(payload["files"]) != {
        TOKENIZER,
        *(f"{name}.npy" for name in TABLES),
    }:
        raise ArtifactError(f"{path} does not list the files of a compiled artefact")
    return payload


def _check_file(path: Path, digest: str) -> None:
    try:
        found = _digest(path)
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read: {error.strerror}") from error
    if found != digest:
        raise ArtifactError(f"{path} is damaged: its checksum does not match")


def _load(path: Path) -> NDArray[Any]:
    table: NDArray[Any] = np.load(path, allow_pickle=False)
    return table


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray) else value


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _checksum(payload: dict[str, Any]) -> str:
    canonical = json.dumps(payload, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()
