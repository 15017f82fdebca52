"""The deployment: an embedding model that scores the texts of many requests in one pass.

It stands apart from the ingress because a pass takes longer than a token may wait there. What
it answers is the share of the stated mix that scores as high: scores of two classifiers do not
compare, shares do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from ray import serve
from ray.serve import Application

from classifier import Artifact, Conversation, load_artifact
from serve_app.config.routing import ClassifierServiceConfig
from serve_app.config.settings import home
from serve_app.scoring.kinds import refuse_quick

MAX_BATCH = 8
"""Requests a pass. 32 cost a text a tenth less, if it is short, and take four times as long."""
BATCH_WAIT_S = 0.002

Asked = Sequence[tuple[str, str, int, int]]
"""The fields of each `Conversation` of one request."""


class ContextualScorer:
    """An artefact and its scorer; one pass at a time."""

    def __init__(self, artifact: Artifact, scorer: Any) -> None:
        self._artifact, self._scorer = artifact, scorer

    def shares(self, requests: Sequence[Asked]) -> list[list[float]]:
        """The shares of each request's texts, all of which are embedded together."""
        together = [Conversation(*fields) for asked in requests for fields in asked]
        scores = iter(self._scorer.score_all(together))
        return [[self._artifact.share_of(next(scores)) for _ in asked] for asked in requests]


class ClassifierServer:
    """The Serve deployment."""

    def __init__(self, *, artifact: str) -> None:
        loaded = load_artifact(home() / artifact)
        # Takes torch and the model: seconds, in which requests keep their own scores.
        self._contextual = ContextualScorer(loaded, loaded.scorer())
        self._contextual.shares([[("", "", 1, 0)]])

    @serve.batch(max_batch_size=MAX_BATCH, batch_wait_timeout_s=BATCH_WAIT_S)
    async def shares(self, requests: list[Asked]) -> list[list[float]]:
        """Serve calls it with one request each and hands over those that came together."""
        return await asyncio.to_thread(self._contextual.shares, requests)


def build_classifier(config: ClassifierServiceConfig | None) -> Application | None:
    """The deployment, where the fleet has one. Raises ConfigError for what it cannot score with."""
    if config is None:
        return None
    refuse_quick(config)
    return serve.deployment(
        name="classifier",
        num_replicas=config.replicas,
        max_ongoing_requests=2 * MAX_BATCH,
        # More would be late by the time it is their turn.
        max_queued_requests=2 * MAX_BATCH,
        graceful_shutdown_timeout_s=1.0,
        graceful_shutdown_wait_loop_s=0.1,
        ray_actor_options={"num_cpus": config.num_cpus},
    )(ClassifierServer).bind(artifact=config.artifact)
