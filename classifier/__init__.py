"""How complex is a conversation? The serving side: no training code, no scikit-learn.

What is named here is imported once it is used: it takes NumPy and a tokenizer, which those who
only need `classifier.arguments` (every command does) should not wait for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from classifier.artifact import DEFAULT_ARTIFACT, Artifact, ArtifactError, load_artifact
    from classifier.features.conversation import Conversation
    from classifier.features.surface import SURFACE_NAMES
    from classifier.scorer import Scorer

__all__ = [
    "DEFAULT_ARTIFACT",
    "SURFACE_NAMES",
    "Artifact",
    "ArtifactError",
    "Conversation",
    "Scorer",
    "load_artifact",
]

_HOMES = {
    "Conversation": "classifier.features.conversation",
    "SURFACE_NAMES": "classifier.features.surface",
    "Scorer": "classifier.scorer",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES.get(name, "classifier.artifact")), name)
