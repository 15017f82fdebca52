"""Which kind of artefact is scored where: a quick one in the ingress, a slow one beside it."""

from __future__ import annotations

from pathlib import Path

from classifier import ArtifactError
from classifier.artifact import SENTENCE_TRANSFORMERS, kind_of
from serve_app.config.errors import ConfigError
from serve_app.config.routing import ClassifierServiceConfig
from serve_app.config.settings import home


def refuse_slow(folder: Path, role: str) -> None:
    """Raise ConfigError where every stream would stand still while the ingress scores a text.

    Told before the artefact is loaded, which takes torch.
    """
    if _kind(folder) == SENTENCE_TRANSFORMERS:
        raise ConfigError(
            f"routing.{role}: {folder} is of kind {SENTENCE_TRANSFORMERS}, which would hold every "
            "stream for as long as it scores; name it as routing.classifier_service.artifact"
        )


def refuse_quick(config: ClassifierServiceConfig) -> None:
    """Raise ConfigError where nothing would be won by asking another process."""
    folder = home() / config.artifact
    kind = _kind(folder)
    if kind != SENTENCE_TRANSFORMERS:
        raise ConfigError(
            f"routing.classifier_service.artifact: {folder} is of kind {kind}, which the ingress "
            f"scores itself; name it as routing.classifier, or one of kind {SENTENCE_TRANSFORMERS}"
        )


def _kind(folder: Path) -> str:
    try:
        return kind_of(folder)
    except (ArtifactError, OSError) as error:
        raise ConfigError(f"{folder}: {error}") from error
