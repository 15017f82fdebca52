"""What a classifier read of a request, worked out beside the classifier that decides.

A scorer is no two threads' at once, so this thread has one of its own from the same artefact.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from classifier import DEFAULT_ARTIFACT, ArtifactError, Scorer, load_artifact
from classifier.artifact import SENTENCE_TRANSFORMERS
from serve_app.bodies.parsed_request import ParsedRequest
from serve_app.config.settings import home
from serve_app.routing.policies import Policies
from serve_app.routing.scores import newest_turn

logger = logging.getLogger("ray.serve")


class OwnFeatures:
    """Features by the classifier in force; used by one thread."""

    def __init__(self) -> None:
        self._version = ""
        self._scorer: Scorer | None = None

    def __call__(self, policies: Policies, parsed: ParsedRequest) -> Mapping[str, float]:
        """Return them; none where the artefact is not that of the policies any more.

        None either of a full embedding model: a second one would take a card's memory.
        """
        version = policies.scorer.version
        if version != self._version:
            self._version, self._scorer = version, _scorer_of(policies)
        return {} if self._scorer is None else self._scorer.features(newest_turn(parsed))


def _scorer_of(policies: Policies) -> Scorer | None:
    given = policies.fleet.routing.classifier
    try:
        artifact = load_artifact(home() / given if given else DEFAULT_ARTIFACT)
    except (ArtifactError, OSError) as error:
        logger.warning("traces: no features: %s", error)
        return None
    if artifact.version != policies.scorer.version or artifact.kind == SENTENCE_TRANSFORMERS:
        return None
    return artifact.scorer()
