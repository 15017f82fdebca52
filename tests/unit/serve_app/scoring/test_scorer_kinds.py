"""Which artefact is scored where, and what the deployment answers."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import yaml

from classifier import DEFAULT_ARTIFACT, SURFACE_NAMES, Artifact
from classifier.artifact import SENTENCE_TRANSFORMERS, save_artifact
from classifier.heads import Priors, Weights
from serve_app.config.errors import ConfigError
from serve_app.config.fleet import FleetConfig
from serve_app.config.routing import ClassifierServiceConfig
from serve_app.routing.reload import Reloader, load_policies
from serve_app.scoring.kinds import refuse_quick
from serve_app.scoring.service import (
    ContextualScorer,
    build_classifier,
)
from tests.unit.serve_app.conftest import FLEET, TIERS

TENANTS = {"tiers": TIERS, "tenants": {"acme": {"tier": "paid"}}, "local_tenant": "acme"}


def contextual() -> Artifact:
    count, line = len(SURFACE_NAMES), np.array([0.0, 1.0])
    zeros = np.zeros((count, 2))
    return Artifact(
        version="mine",
        kind=SENTENCE_TRANSFORMERS,
        weights=Weights(line[:1], line[1:], zeros, np.zeros(2), zeros, np.zeros(2), line, line),
        priors=Priors(),
        quantiles=tuple(i / 1000 for i in range(1001)),
        training={},
        tables={},
        model="mine",
        embedding=np.ones((4, 2)),
    )


@pytest.fixture
def slow(tmp_path):
    save_artifact(contextual(), tmp_path / "slow")
    return str(tmp_path / "slow")


def files(folder, **routing):
    paths = folder / "fleet.yaml", folder / "tenants.yaml"
    fleet = {**FLEET, "routing": {**FLEET["routing"], **routing}}
    for path, data in zip(paths, (fleet, TENANTS), strict=True):
        path.write_text(yaml.safe_dump(data))
    return paths


@pytest.mark.parametrize("role", ["classifier", "shadow_classifier"])
def test_an_embedding_model_does_not_score_on_the_event_loop(tmp_path, slow, role):
    """The start is refused, and the word says where such an artefact belongs."""
    with pytest.raises(ConfigError, match=rf"routing\.{role}: .*classifier_service\.artifact"):
        load_policies(*files(tmp_path, **{role: slow}))


def test_the_same_artefact_is_taken_as_a_service(tmp_path, slow):
    policies = load_policies(*files(tmp_path, classifier_service={"artifact": slow}))

    assert policies.fleet.classifier_service == ClassifierServiceConfig(artifact=slow)
    assert build_classifier(policies.fleet.classifier_service) is not None


def test_a_compiled_artefact_needs_no_service():
    with pytest.raises(ConfigError, match=r"classifier_service\.artifact: .*'?compiled"):
        refuse_quick(ClassifierServiceConfig(artifact=str(DEFAULT_ARTIFACT)))


def test_an_artefact_that_is_not_there_is_told_by_its_folder():
    with pytest.raises(ConfigError, match="nowhere"):
        refuse_quick(ClassifierServiceConfig(artifact="nowhere"))


def test_without_one_nothing_is_deployed():
    assert build_classifier(None) is None


async def test_another_service_needs_a_new_deployment(tmp_path, slow):
    reloader = Reloader(*files(tmp_path), FleetConfig.model_validate(FLEET), lambda _: None)
    files(tmp_path, classifier_service={"artifact": slow})

    result = await reloader.reload()

    assert not result["ok"]
    assert "routing.classifier_service changed" in result["error"]


def test_a_request_gets_as_many_shares_as_it_has_turns():
    """Scores of all requests are worked out together; each is told as a share of the mix."""
    seen = []

    def score_all(conversations):
        seen.append([c.last_user for c in conversations])
        return [float(c.last_user) for c in conversations]

    scorer = ContextualScorer(contextual(), SimpleNamespace(score_all=score_all))
    shares = scorer.shares([[("0.9", "", 1, 0)], [], [("0.5", "", 1, 0), ("1.0", "", 2, 0)]])

    assert seen == [["0.9", "0.5", "1.0"]]
    assert shares[0] == pytest.approx([0.1])
    assert shares[1] == []
    assert shares[2] == pytest.approx([0.5, 0.0005])
