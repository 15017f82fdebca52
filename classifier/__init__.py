"""How complex is a conversation? The serving side: no training code, no scikit-learn."""

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
