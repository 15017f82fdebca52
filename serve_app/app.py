"""The composition root: `serve_config.yaml` imports `build`, and that is the graph."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import asdict
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, Literal

from ray import serve
from ray.serve import Application
from ray.serve.config import RequestRouterConfig

from router.types import Task
from serve_app.config.addresses import frontend_host, refuse_unreachable
from serve_app.config.errors import ConfigError, StrictModel, load_yaml, validate
from serve_app.config.files import await_rest
from serve_app.config.fleet import FleetConfig, ReloadConfig
from serve_app.config.lane import LaneConfig
from serve_app.config.serving import AffinityConfig
from serve_app.config.settings import (
    deployment_secret,
    fleet_path,
    load_fleet,
    load_tenants,
    own_path,
    refuse_unknown_lanes,
    tenants_path,
)
from serve_app.engine.embedded_model import resolve_source
from serve_app.engine.lane_endpoint import LaneLife, SimulatedLaneServer
from serve_app.front import doorway
from serve_app.ingress import Ingress
from serve_app.leases.ledger import LedgerServer
from serve_app.machine.head_node import BESIDE_THE_STATE, on_head
from serve_app.machine.ray_walls import refuse_open_ray
from serve_app.scaling.deployment import replica_options
from serve_app.scoring.service import build_classifier
from serve_app.swap.pools import with_part_of_cards
from serve_app.swap.service import SwapServer
from serve_app.tenancy.local_key import keep_admin_key
from serve_app.traces.hook import load_hook
from simulator.http.spec import NO_PROFILE_SLEEP, EngineSpec
from simulator.model.profile import FixedTiming, Profile, SleepCosts, profile_path
from simulator.script.model import ScriptError, load_script

logger = logging.getLogger("ray.serve")

# Serve kills a replica that drains for longer than its own deadline and this.
DRAIN_MARGIN_S = 15.0


class AppArgs(StrictModel):
    """`args` in serve_config.yaml.

    Attributes:
        fleet: a name under configs/fleets, a path, or `auto`.
        engine: `simulated` replaces every lane's engine with the simulated one.
        listen: where the frontend and the engine endpoints listen. Say here what
            http_options.host says: with anything but loopback, every caller
            needs a key. IPv4.
        revision: any text. Change it to deploy fleet-file changes of lanes or
            ingress: Serve builds again only when `args` differ.

    """

    fleet: str = "auto"
    tenants: str | None = None
    engine: Literal["as_configured", "simulated"] = "as_configured"
    listen: IPv4Address = IPv4Address("127.0.0.1")
    revision: str | int = ""


def build(args: dict[str, Any]) -> Application:
    """Build the graph: one deployment per lane, and the ingress over them.

    Raises ConfigError before anything is deployed.
    """
    refuse_open_ray()
    options = validate(args, AppArgs, "serve_config.yaml: args")
    refuse_unreachable(frontend_host())
    fleet_file = fleet_path(options.fleet)
    tenants_file = tenants_path(options.tenants)
    await_rest((fleet_file, tenants_file), ReloadConfig().settle_s)
    fleet = load_fleet(fleet_file)
    tenants = load_tenants(tenants_file)
    _refuse_open_door(options, tenants.local_tenant)
    refuse_unknown_lanes(tenants, fleet, tenants_file)
    # An ingress replica that cannot start says so once the lanes have loaded, again and again.
    load_hook(fleet.traces.redact)
    for warning in fleet.outdated:
        logger.warning("%s: %s", fleet_file, warning)
    if options.engine == "as_configured":
        for warning in fleet.unpinned:
            logger.warning("%s", warning)
    secret = on_head(_secret)
    lanes = {
        name: _lane(name, with_part_of_cards(lane, fleet), options, secret, fleet)
        for name, lane in fleet.enabled_lanes.items()
    }
    return _ingress(fleet).bind(
        lanes,
        fleet_file=str(fleet_file),
        tenants_file=str(tenants_file),
        secret=secret,
        listen=str(options.listen),
        ledger=_ledger(fleet, str(tenants_file)) if fleet.ingress.replicas > 1 else None,
        swap=_swap(fleet, fleet_file, options, lanes) if fleet.pools else None,
        classifier=build_classifier(fleet.classifier_service),
    )


def _secret() -> str:
    """Make the secret on first use, and have the commands of this node's user find their key."""
    secret = deployment_secret()
    keep_admin_key(secret)
    return secret


def _only_one(name: str) -> Callable[[type], serve.Deployment]:
    """A deployment of one replica beside the state, which decides for all ingress replicas."""
    return serve.deployment(
        name=name,
        num_replicas=1,
        max_ongoing_requests=1000,
        # A dead one is noticed at the next check; its epoch keeps two of them apart. The first
        # one is where `swap` begins its work.
        health_check_period_s=1.0,
        health_check_timeout_s=5.0,
        graceful_shutdown_timeout_s=1.0,
        graceful_shutdown_wait_loop_s=0.1,
        ray_actor_options={"num_cpus": 0, "resources": BESIDE_THE_STATE},
    )


def _ledger(fleet: FleetConfig, tenants_file: str) -> Application:
    """One replica beside the store; the only ingress replica needs none."""
    terms = asdict(fleet.ledger.terms(fleet.ingress.replicas))
    return _only_one("ledger")(LedgerServer).bind(terms, tenants_file=tenants_file)


def _swap(
    fleet: FleetConfig, fleet_file: Path, options: AppArgs, lanes: dict[str, Application]
) -> Application:
    """One replica, which tells the lanes that share cards to wake and to rest."""
    pooled = {x: lanes[x] for x, lane in fleet.enabled_lanes.items() if lane.cards is not None}
    return _only_one("swap")(SwapServer).bind(
        pooled, fleet_file=str(fleet_file), simulated=options.engine == "simulated"
    )


def _refuse_open_door(options: AppArgs, local_tenant: str | None) -> None:
    if not options.listen.is_loopback and local_tenant is not None:
        raise ConfigError(
            f"listening on {options.listen} with local_tenant '{local_tenant}' would let "
            "anyone in without a key: remove local_tenant from the tenants file and make "
            "keys with 'pointsman tenants add'"
        )


def _ingress(fleet: FleetConfig) -> serve.Deployment:
    config = fleet.ingress
    return serve.deployment(
        name="ingress",
        num_replicas=config.replicas,
        max_ongoing_requests=config.max_ongoing_requests,
        graceful_shutdown_timeout_s=config.graceful_shutdown_timeout_s,
        graceful_shutdown_wait_loop_s=1.0,
        # A replica that has ended is noticed within this; one that hangs ends itself.
        health_check_period_s=5.0,
        ray_actor_options={
            "num_cpus": config.num_cpus,
            "resources": config.resources or BESIDE_THE_STATE,
            "runtime_env": {"env_vars": doorway.ENVIRONMENT},
        },
    )(Ingress)


def _lane(
    name: str, lane: LaneConfig, options: AppArgs, secret: str, fleet: FleetConfig
) -> Application:
    life = LaneLife(
        lane=name,
        secret=secret,
        host=str(options.listen),
        silent_after_s=lane.silent_after_s,
        stalled_after_s=lane.stalled_after_s,
        drain_s=lane.drain_s,
        warm_up=fleet.warm_up,
        affinity=fleet.sessions.affinity,
        task=Task(lane.task),
    )
    ttft_s = None if fleet.slo is None else fleet.slo.policy().of(name, "").ttft_p95_s
    if lane.engine == "simulated" or options.engine == "simulated":
        return _simulated(name, lane, life, ttft_s)
    return _vllm(name, lane, life, ttft_s)


def _simulated(name: str, lane: LaneConfig, life: LaneLife, ttft_s: float | None) -> Application:
    return serve.deployment(
        **lane_options(name, lane, life.affinity, ttft_s),
        placement_group_bundles=placement_bundles(lane),
        placement_group_strategy="STRICT_PACK",
        ray_actor_options={"num_cpus": 0},
    )(SimulatedLaneServer).bind(_engine_spec(lane), life=life, pool=lane.cards)


def _engine_spec(lane: LaneConfig) -> EngineSpec:
    """Raises ConfigError when the profile or the script cannot be read."""
    config = lane.simulated
    timing: Profile | FixedTiming = FixedTiming(
        ttft_s=config.ttft_s, itl_s=config.itl_s, in_step=config.in_step
    )
    if config.profile is not None:
        try:
            timing = load_yaml(profile_path(config.profile), Profile)
        except FileNotFoundError as error:
            raise ConfigError(f"simulated.profile: {error}") from error
    try:
        script = None if config.script is None else load_script(Path(config.script))
    except ScriptError as error:
        raise ConfigError(f"simulated.script: {error}") from error
    return EngineSpec(
        lane.model_id,
        lane.max_model_len,
        timing,
        trims_template=config.trims_template,
        faults=config.faults,
        script=script,
        sleep=config.sleep or _sleep_of(timing),
        is_pooling=not lane.generates,
    )


def _sleep_of(timing: Profile | FixedTiming) -> SleepCosts:
    return timing.sleep if isinstance(timing, Profile) else NO_PROFILE_SLEEP


def _vllm(name: str, lane: LaneConfig, life: LaneLife, ttft_s: float | None) -> Application:
    # Imported here: it imports vLLM, which a simulated fleet does without.
    from serve_app.engine.vllm_lane import build_vllm_lane

    source = resolve_source(lane.model_source)
    lane = _with_own_template(lane)
    return build_vllm_lane(lane, source, lane_options(name, lane, life.affinity, ttft_s), life)


def _with_own_template(lane: LaneConfig) -> LaneConfig:
    """Return it with a chat template's file from the home; vLLM would look where Ray put it."""
    given = lane.engine_args.get("chat_template")
    if not isinstance(given, str):
        return lane
    args = {**lane.engine_args, "chat_template": own_path(given)}
    return lane.model_copy(update={"engine_args": args})


def lane_options(
    name: str,
    lane: LaneConfig,
    affinity: AffinityConfig = AffinityConfig(),
    ttft_s: float | None = None,
) -> dict[str, Any]:
    return {
        "name": f"lane:{name}",
        **replica_options(name, lane, placement_bundles(lane), ttft_s),
        # Streams do not pass through Serve; this bounds metrics calls only.
        "max_ongoing_requests": 100,
        "graceful_shutdown_timeout_s": lane.drain_s + DRAIN_MARGIN_S,
        "graceful_shutdown_wait_loop_s": 0.5,
        "health_check_period_s": 5.0,
        "health_check_timeout_s": 30.0,
        "request_router_config": RequestRouterConfig.model_validate(
            {
                "request_router_class": "serve_app.placement.replica_router.SessionRouter",
                "request_routing_stats_period_s": affinity.report_period_s,
            }
        ),
    }


def placement_bundles(lane: LaneConfig) -> list[dict[str, float]]:
    """Resources of one replica: a bundle for each GPU, or its CPUs."""
    if lane.accelerator == "cpu":
        return [{"CPU": lane.num_cpus}]
    bundle = lane.bundle or {"CPU": 1, "GPU": 1}
    return [dict(bundle) for _ in range(lane.tensor_parallel_size)]
