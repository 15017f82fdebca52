"""deploy/kubernetes: by Kubernetes' schemas, by Ray's, and by what one file says of another."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from serve_app.config.fleet import FleetConfig
from serve_app.config.settings import load_fleet, load_tenants

ROOT = Path(__file__).resolve().parents[3]
FOLDER = ROOT / "deploy" / "kubernetes"
KUBERNETES = "1.32"
CONFIG = "/etc/pointsman-config"

FIELDS = {
    "service": {
        *("deploymentUnhealthySecondThreshold", "excludeHeadPodFromServeSvc", "managedBy"),
        *("rayClusterConfig", "rayClusterDeletionDelaySeconds", "serveConfigV2", "serveService"),
        *("serviceUnhealthySecondThreshold", "suspend", "upgradeStrategy"),
    },
    "cluster": {
        *("authOptions", "autoscalerOptions", "enableInTreeAutoscaling"),
        *("gcsFaultToleranceOptions", "headGroupSpec", "headServiceAnnotations", "managedBy"),
        *("rayVersion", "suspend", "upgradeStrategy", "workerGroupSpecs"),
    },
    "head": {
        *("enableIngress", "headService", "labels", "rayStartParams", "resources"),
        *("serviceType", "template"),
    },
    "worker": {
        *("groupName", "idleTimeoutSeconds", "labels", "maxReplicas", "minReplicas", "numOfHosts"),
        *("rayStartParams", "replicas", "resources", "scaleStrategy", "suspend", "template"),
    },
}
"""What KubeRay's `ray.io/v1` takes; its API server drops what it does not know without a word."""


def documents() -> Iterator[dict[str, Any]]:
    kustomization = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
    for name in kustomization["resources"]:
        yield from yaml.safe_load_all((FOLDER / name).read_text())


def of_kind(kind: str) -> list[dict[str, Any]]:
    return [x for x in documents() if x["kind"] == kind]


@pytest.fixture(scope="module")
def spec() -> dict[str, Any]:
    (service,) = of_kind("RayService")
    return service["spec"]


@pytest.fixture(scope="module")
def groups(spec) -> dict[str, dict[str, Any]]:
    """Every group of pods by its component label: the head's and the lanes'."""
    cluster = spec["rayClusterConfig"]
    found = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    return {x["template"]["metadata"]["labels"]["app.kubernetes.io/component"]: x for x in found}


@pytest.fixture(scope="module")
def served(spec, deploys) -> Any:
    return deploys(yaml.safe_load(spec["serveConfigV2"]))


@pytest.fixture(scope="module")
def fleet() -> FleetConfig:
    return load_fleet(FOLDER / "fleet.yaml")


@pytest.mark.parametrize("kind", sorted({x["kind"] for x in documents()} - {"RayService"}))
def test_resources_are_as_kubernetes_has_them(kind):
    for resource in of_kind(kind):
        kubernetes_validate.validate(resource, KUBERNETES, strict=True)


def test_a_field_that_does_not_exist_is_found():
    """What the test above is worth."""
    (policy,) = of_kind("NetworkPolicy")
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(
            policy | {"spec": policy["spec"] | {"ingres": []}}, KUBERNETES, strict=True
        )


def test_pods_are_as_kubernetes_has_them(groups):
    for name, group in groups.items():
        template = {
            "apiVersion": "v1",
            "kind": "PodTemplate",
            "metadata": {"name": name},
            "template": group["template"],
        }
        kubernetes_validate.validate(template, KUBERNETES, strict=True)


def test_the_service_has_no_field_that_kuberay_would_drop(spec):
    cluster = spec["rayClusterConfig"]
    assert set(spec) <= FIELDS["service"]
    assert set(cluster) <= FIELDS["cluster"]
    assert set(cluster["headGroupSpec"]) <= FIELDS["head"]
    for group in cluster["workerGroupSpecs"]:
        assert set(group) <= FIELDS["worker"]
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]


def test_what_serve_gets_is_as_the_shipped_configuration(served):
    (application,) = served.applications
    shipped = yaml.safe_load((ROOT / "serve_config.yaml").read_text())
    (ours,) = shipped["applications"]
    assert application.import_path == ours["import_path"]
    assert application.name == ours["name"]
    assert set(ours["args"]) <= set(application.args)
    assert application.args["listen"] == served.http_options.host == "0.0.0.0"


def test_the_files_that_it_names_are_in_the_configuration(served, groups):
    generated = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())["configMapGenerator"]
    (config,) = generated
    args = served.applications[0].args
    named = [Path(args["fleet"]), Path(args["tenants"])]
    assert {x.name for x in named} == set(config["files"])
    assert {str(x.parent) for x in named} == {CONFIG}
    for group in groups.values():
        pod = group["template"]["spec"]
        volumes = {x["name"]: x for x in pod["volumes"]}
        mounts = {x["mountPath"]: x["name"] for x in pod["containers"][0]["volumeMounts"]}
        assert volumes[mounts[CONFIG]]["configMap"]["name"] == config["name"]
        assert set(mounts.values()) == set(volumes)


def test_nobody_comes_in_without_a_key():
    assert load_tenants(FOLDER / "tenants.yaml").local_tenant is None


def test_each_lane_has_a_group_with_a_card_for_each_replica(fleet, groups):
    for name, lane in fleet.enabled_lanes.items():
        group = groups[f"lane-{name}"]
        has = json.loads(json.loads(group["rayStartParams"]["resources"]))
        own = {key: amount for key, amount in lane.bundle.items() if key not in ("CPU", "GPU")}
        assert own == has == {f"lane-{name}": 1}
        assert group["replicas"] == lane.replicas.min
        (container,) = group["template"]["spec"]["containers"]
        assert int(container["resources"]["limits"]["nvidia.com/gpu"]) == lane.bundle["GPU"]


def test_ingress_replicas_have_room_beside_the_state(fleet, groups):
    assert fleet.ingress.resources == {}
    cpus = int(groups["head"]["rayStartParams"]["num-cpus"])
    assert fleet.ingress.replicas * fleet.ingress.num_cpus < cpus


def test_a_pod_is_given_the_time_that_its_streams_have(fleet, groups):
    drains = [lane.drain_s for lane in fleet.enabled_lanes.values()]
    longest = max(*drains, fleet.ingress.graceful_shutdown_timeout_s)
    for group in groups.values():
        assert group["template"]["spec"]["terminationGracePeriodSeconds"] > longest


def test_pods_run_without_rights_and_with_the_settings(groups):
    for group in groups.values():
        pod = group["template"]["spec"]
        (container,) = pod["containers"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert container["command"][:2] == ["pointsman", "run"]
        # Without it the operator would put its own command in the place of this one.
        kept = group["template"]["metadata"]["annotations"]["ray.io/overwrite-container-cmd"]
        assert kept == "true" and "KUBERAY_GEN_RAY_START_CMD" in container["args"][0]
        assert {"name": "POINTSMAN_CLUSTER", "value": "1"} in container["env"]


def test_every_pod_has_probes_and_a_budget(groups):
    budgets = {
        x["spec"]["selector"]["matchLabels"]["app.kubernetes.io/component"]
        for x in of_kind("PodDisruptionBudget")
    }
    assert budgets == set(groups)
    for group in groups.values():
        (container,) = group["template"]["spec"]["containers"]
        assert {"startupProbe", "livenessProbe", "readinessProbe"} <= set(container)


def test_the_head_is_ready_before_there_is_an_api(groups):
    """KubeRay deploys the application to a head that is ready: waiting for it would be for ever."""
    (container,) = groups["head"]["template"]["spec"]["containers"]
    assert "8000" not in json.dumps(container["readinessProbe"])


def test_secrets_are_named_and_not_there(spec):
    assert of_kind("Secret") == []
    text = json.dumps(spec)
    assert spec["rayClusterConfig"]["authOptions"]["mode"] == "token"
    for key in ("hf_token", "endpoint_secret"):
        assert f'"key": "{key}"' in text


def test_only_those_who_are_named_reach_the_pods():
    (policy,) = of_kind("NetworkPolicy")
    for rule in policy["spec"]["ingress"]:
        assert rule["from"]
    opened = [set(rule) for rule in policy["spec"]["ingress"][1:]]
    assert all("ports" in x for x in opened)


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
def test_kubectl_puts_it_together():
    done = subprocess.run(
        ["kubectl", "kustomize", FOLDER], capture_output=True, text=True, check=True
    )
    kinds = sorted(x["kind"] for x in yaml.safe_load_all(done.stdout))
    assert kinds == sorted([*(x["kind"] for x in documents()), "ConfigMap"])
