"""Everything that the doctor asks a running deployment, put together."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from serve_app.config.fleet import FleetConfig
from serve_app.config.lane import LaneConfig
from serve_app.doctor.check import (
    Check,
    Finding,
    Section,
    Verdict,
    failure,
    not_applicable,
    ok,
)
from serve_app.doctor.live.answers import (
    GREETING,
    TOKENS,
    pooled_answer,
    prefix_cache,
    profile_of,
    sound,
    speed,
)
from serve_app.doctor.live.deployment import Ask, Deployment, NoAnswer, Samples, of_lane
from serve_app.doctor.live.engine_checks import kv_type, quantization
from serve_app.doctor.live.engine_facts import facts_of
from serve_app.doctor.live.load import cards_of_lanes, memory_steady, pressure
from serve_app.doctor.machine.cards import CardReader

START = "start it (make serve), or give --url and --key of the deployment"
READ = "pointsman status, and the lane's part of serve.log"
MAX_LOG_BYTES = 64 * 2**20


def examine_live(
    fleet: FleetConfig,
    ask: Ask,
    reader: CardReader,
    log: Path,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Finding]:
    """Ask a deployment of this fleet.

    Args:
        fleet: the file that it should run.
        ask: sends a request with an operator's key.
        reader: of this machine's cards.
        log: `serve.log`, which is not there where the deployment is on another machine.
        clock: seconds that only go forward.

    """
    deployment = Deployment(ask, clock)

    def run(name: str, look: Callable[[], Verdict]) -> Finding:
        return Check(name, Section.DEPLOYMENT, lambda: _answered(look)).run()

    before = reader.read()
    ready = run("ready", lambda: _ready(deployment))
    yield ready
    yield run("models", lambda: _models(fleet, deployment))
    try:
        samples = deployment.metrics()
    except NoAnswer as error:
        told = str(error)
        yield run("metrics", lambda: failure(told, START))
        return
    yield run("metrics", lambda: _metrics(fleet, samples))
    lines = _lines(log)
    for name, lane in fleet.enabled_lanes.items():
        checks = _Lane(name, lane, deployment, samples, lines)
        for what, look in checks.all():
            yield run(f"{what} {name}", look)
    yield run("cards", lambda: cards_of_lanes(samples, before))
    yield run("card memory steady", lambda: memory_steady(before, reader.read()))


class _Lane:
    """The checks of one lane; each asks by itself, so that one fault hides no other."""

    def __init__(
        self,
        name: str,
        lane: LaneConfig,
        deployment: Deployment,
        samples: Samples,
        log: list[str],
    ) -> None:
        self._name, self._lane = name, lane
        self._deployment, self._samples = deployment, samples
        self._facts = facts_of(name, samples, log, lane.workers)

    def all(self) -> list[tuple[str, Callable[[], Verdict]]]:
        if not self._lane.generates:
            return [("quantization", self._quantization), ("answer", self._pooled)]
        return [
            ("quantization", self._quantization),
            ("KV cache type", self._kv_type),
            ("answer", self._answer),
            ("prefix cache", lambda: prefix_cache(self._lane, self._name, self._deployment)),
            ("speed", self._speed),
            ("pressure", lambda: pressure(self._name, self._lane, self._samples)),
        ]

    def _quantization(self) -> Verdict:
        if self._lane.engine != "vllm":
            return not_applicable("a simulated engine has no weights")
        return quantization(self._name, self._lane, self._facts)

    def _kv_type(self) -> Verdict:
        if self._lane.engine != "vllm":
            return not_applicable("a simulated engine has no KV cache")
        return kv_type(self._lane, self._facts)

    def _answer(self) -> Verdict:
        answer = self._deployment.chat(self._name, GREETING, tokens=TOKENS)
        if self._lane.engine != "vllm":
            return not_applicable("a simulated engine says syllables; it does answer")
        return sound(self._name, answer.text)

    def _pooled(self) -> Verdict:
        return pooled_answer(self._name, self._lane, self._deployment)

    def _speed(self) -> Verdict:
        running = sum(x for _, x in of_lane(self._samples, "vllm:num_requests_running", self._name))
        if running:
            return not_applicable(f"the lane is serving {running:.0f} requests: not at batch 1")
        first = self._deployment.chat(self._name, GREETING, tokens=1)
        whole = self._deployment.chat(self._name, GREETING, tokens=TOKENS, to_the_end=True)
        return speed(profile_of(self._lane), whole, first)


def _answered(look: Callable[[], Verdict]) -> Verdict:
    try:
        return look()
    except NoAnswer as error:
        return failure(str(error), READ)


def _ready(deployment: Deployment) -> Verdict:
    deployment.json("/ready")
    return ok("every required lane is loaded and warm")


def _models(fleet: FleetConfig, deployment: Deployment) -> Verdict:
    listed = {card["id"] for card in deployment.json("/v1/models").get("data", [])}
    missing = sorted(set(fleet.enabled_lanes) - listed)
    if missing:
        fix = "give --config the file that the deployment runs (`pointsman status` names its fleet)"
        return failure(f"/v1/models does not list {', '.join(missing)}", fix)
    return ok(f"/v1/models lists {len(listed)}")


def _metrics(fleet: FleetConfig, samples: Samples) -> Verdict:
    """Whether `/metrics` has every lane's engines and at least one ingress replica."""
    without = [
        name
        for name in fleet.enabled_lanes
        if not of_lane(samples, "vllm:num_requests_running", name)
    ]
    if without:
        return failure(f"/metrics has no engine of {', '.join(without)}", READ)
    ingresses = {
        labels["ingress"] for rows in samples.values() for labels, _ in rows if "ingress" in labels
    }
    if not ingresses:
        return failure("/metrics has no ingress replica", READ)
    return ok(f"{len(ingresses)} ingress replicas and {len(fleet.enabled_lanes)} lanes")


def _lines(log: Path) -> list[str]:
    """Lines of the log; none where there is none."""
    try:
        if log.stat().st_size > MAX_LOG_BYTES:
            return []
        return log.read_text(errors="replace").splitlines()
    except OSError:
        return []
