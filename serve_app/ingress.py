"""The ingress deployment: one process that answers HTTP and decides."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
from functools import partial
from pathlib import Path
from typing import Any

from ray import serve
from ray.serve.exceptions import DeploymentUnavailableError
from ray.serve.handle import DeploymentHandle

from serve_app.admin.desk import build_admin
from serve_app.admission.admission import watch_saturation
from serve_app.admission.shed_order_watch import ShedOrderWatch
from serve_app.advice.view import AdviceView, build_adviser
from serve_app.config.addresses import frontend, frontend_host
from serve_app.config.admission import IngressConfig
from serve_app.config.files import await_rest
from serve_app.config.fleet import ReloadConfig
from serve_app.config.served import note_served
from serve_app.config.settings import load_tenants, state_dir, tenancy_path
from serve_app.console.console import Console
from serve_app.console.deployments import Deployments, serve_states
from serve_app.console.log_ring import keep_log
from serve_app.experiments.keeping import build_keeper
from serve_app.front.control import Control
from serve_app.front.gateway import Gateway
from serve_app.front.listener.listener import Listener
from serve_app.leases.lease_sync import LeaseSync
from serve_app.leases.metrics import LedgerMetrics
from serve_app.metrics import Metrics
from serve_app.peer_answers import PeerAnswers
from serve_app.pipeline.pipeline import Pipeline
from serve_app.pipeline.records import Records
from serve_app.pipeline.state import IngressState
from serve_app.placement.lanes import Lanes
from serve_app.placement.turn_placement import build_placements
from serve_app.records.feedback import FeedbackDesk
from serve_app.records.rated import rated
from serve_app.relay.pump.choice import chosen, twin
from serve_app.request.metering import Metering
from serve_app.routing.in_step import keep_in_step
from serve_app.routing.policies import Policies
from serve_app.routing.reload import Reloader, load_policies
from serve_app.scaling.decisions import last
from serve_app.scaling.standing import Standing
from serve_app.scoring.asking import ScoreAsking, asking_of
from serve_app.slo.keeping import FOLDER, SloKeeper
from serve_app.swap.gates import Gates
from serve_app.tenancy.callers import is_loopback
from serve_app.tenancy.keys import KeyBook
from serve_app.tenancy.stores import open_store
from serve_app.transport.broadcast import ask_all, replica_id
from serve_app.transport.endpoint import published_host
from serve_app.watchdog.heartbeat import Heartbeat
from serve_app.websocket.service import SocketService

BROADCAST_TIMEOUT_S = 3.0


@serve.ingress()
class Ingress(PeerAnswers):
    """Builds every object of one ingress replica and owns its background tasks."""

    def __init__(
        self,
        handles: dict[str, DeploymentHandle[Any]],
        *,
        fleet_file: str,
        tenants_file: str,
        secret: str,
        listen: str,
        ledger: DeploymentHandle[Any] | None = None,
        swap: DeploymentHandle[Any] | None = None,
        classifier: DeploymentHandle[Any] | None = None,
    ) -> None:
        self._id = replica_id()
        files = (Path(fleet_file), Path(tenants_file))
        # A replica that takes another's place may meet a file that is just being written.
        stamps = await_rest(files, ReloadConfig().settle_s)
        tenants = load_tenants(files[1])
        tenancy = tenancy_path(tenants)
        self._keys = open_store(tenants.store, tenancy)
        self._book = KeyBook(self._keys)
        self._book.load()
        # Where they cannot be what was wanted, no replica starts.
        chosen()
        policies = load_policies(*files, self._book)
        note_served(files[0], policies.fleet)
        self._heartbeat = Heartbeat("ingress", policies.fleet.ingress.silent_after_s)
        self._metrics = Metrics(self._id)
        self._records = Records(policies, tenancy, secret, self._id, self._metrics)
        self._state = IngressState(policies, secret, self._id, self._records.tools)
        self._slo = SloKeeper(self._state.slo, state_dir() / FOLDER, self._id)
        self._experiments = build_keeper(
            self._state.experiments,
            state_dir(),
            self._broadcast if policies.fleet.ingress.replicas > 1 else None,
            lambda terms, since: rated(self._records.feedback.file.path, terms.config, since),
        )
        self._placements = build_placements(policies.fleet, self._id)
        self._lanes = Lanes(handles, secret, policies.fleet.timeouts, self._placements, twin().Feed)
        self._reloader = Reloader(
            *files,
            policies.fleet,
            self._apply,
            book=self._book,
            store=policies.store,
            auth=policies.auth,
            stamps=stamps,
        )
        self._control = Control(
            self._state, self._lanes, self._metrics, self._reloader, self._broadcast
        )
        self._adviser = build_adviser(
            self._state, self._control.metrics_text, self._broadcast, self._keys
        )
        self._control.advice = AdviceView(self._adviser)
        self._control.experiments = self._experiments.rows
        self._pipeline = Pipeline(
            self._state,
            self._lanes,
            self._metrics,
            self._records.recorder,
            Metering(self._records.meter),
            self._records.responses,
            self._records.tracer,
            self._records.shelf,
            self._records.traces,
        )
        self._websockets = SocketService(
            self._state,
            self._pipeline,
            self._metrics,
            self._broadcast,
            replica=self._id,
            secret=secret,
            host=published_host(listen),
        )
        self._admin = build_admin(
            self._state,
            self._lanes,
            self._records,
            store=self._keys,
            book=self._book,
            tenants_file=files[1],
            broadcast=self._broadcast,
            reload=self.reload,
            me=self._id,
            secret=secret,
        )
        states = Deployments(serve_states).states
        self._console = Console(self._control, replica=self._id, deployments=states)
        self._control.scaling = Standing(policies.fleet.scaled_lanes, states, last)
        self._log_ring = keep_log(logging.getLogger("ray.serve"))
        trusts_local = is_loopback(listen) and is_loopback(frontend_host() or "")
        self._gateway = Gateway(
            self._state,
            self._pipeline,
            self._control,
            FeedbackDesk(self._records.feedback),
            trusts_local=trusts_local,
            sockets=self._websockets.sockets,
            responses=self._records.responses,
            admin=self._admin,
            console=self._console,
        )
        self._shed_order = ShedOrderWatch(
            self._state.admission.log,
            self._metrics,
            self._broadcast,
            self._id,
            policies.fleet.ingress.replicas,
        )
        if ledger is not None and self._state.lease_holder is not None:
            self._state.leases = LeaseSync(
                self._state.lease_holder,
                self._state.admission,
                partial(_exchange, ledger),
                policies.fleet.ledger,
                LedgerMetrics(self._metrics.registry),
            )
        if swap is not None:
            ask = partial(_ask_swap, swap)
            self._state.gates = Gates(policies.fleet, self._id, ask)
        service = policies.fleet.classifier_service
        if classifier is not None and service is not None:
            self._state.scoring = ScoreAsking(
                asking_of(classifier), service.deadline_s, self._metrics.registry
            )
        self._listener = self._build_listener(policies.fleet.ingress)
        self._tasks: list[asyncio.Task[None]] = []

    def _build_listener(self, config: IngressConfig) -> Listener | None:
        place = frontend() if config.listens else None
        if place is None:
            return None
        name = serve.get_replica_context().app_name
        return Listener(self._gateway, place, name=name)

    def __serve_build_asgi_app__(self) -> Gateway:
        """Called by Serve once, on the replica's event loop."""
        loop = asyncio.get_running_loop()
        # What is there by now stays. The collector would look through all of it (0.1 s, in
        # which every stream waits) whenever a large body has made a lot of objects.
        gc.collect()
        gc.freeze()
        # Never cancelled: it watches over the end, too.
        self._beating = loop.create_task(self._send_heartbeats())
        work = [
            self._reloader.watch(),
            self._book.watch(),
            keep_in_step(
                self._state.escalation,
                self._lanes,
                self._metrics,
                self._broadcast,
                has_peers=self._state.policies.fleet.ingress.replicas > 1,
            ),
            self._websockets.run(),
            watch_saturation(self._state.admission, self._lanes),
            self._shed_order.run(),
            self._state.contentions.run(),
            self._slo.run(),
            self._experiments.run(),
            *self._records.start(self._state),
        ]
        if self._state.leases is not None:
            work.append(self._state.leases.run())
        if self._state.gates is not None:
            work.append(self._state.gates.run())
        if self._adviser is not None:
            work.append(self._adviser.run())
        if self._listener is not None:
            work.append(self._listener.run())
        self._tasks = [loop.create_task(x) for x in work]
        return self._gateway

    async def _send_heartbeats(self) -> None:
        # The first broadcast of all asks Serve's controller, and has no time limit: what stands
        # still there is not this replica's fault. However it ends, the heartbeats begin.
        await asyncio.gather(self._broadcast("snapshot"), return_exceptions=True)
        await self._heartbeat.keep_sending()

    def _apply(self, policies: Policies) -> None:
        self._state.apply(policies)
        self._lanes.apply(policies.fleet.timeouts)
        for name, lane in policies.fleet.enabled_lanes.items():
            if name in self._placements:
                self._placements[name].apply(policies.fleet.sessions, lane.assumed_slots)

    async def _broadcast(
        self, method: str, within_s: float = BROADCAST_TIMEOUT_S, *args: Any
    ) -> list[Any]:
        context = serve.get_replica_context()
        me = serve.get_deployment_handle(context.deployment, context.app_name)
        answers = []
        with contextlib.suppress(TimeoutError, DeploymentUnavailableError):
            answers = await ask_all(me, method, *args, within_s=within_s)
        if all(isinstance(x, BaseException) for x in answers):
            # It may not be listed itself: it has just begun, or is on its way out.
            answers.append(await getattr(self, method)(*args))
        return answers

    # Called on every ingress replica, by broadcast, as what `PeerAnswers` has.

    async def refresh_tools(self) -> dict[str, Any]:
        refused = await asyncio.to_thread(self._records.tools.refresh, at_once=True)
        return {"ok": not refused, "replica": self._id, "refused": list(refused)}

    async def reload(self) -> dict[str, Any]:
        outcome = await self._reloader.reload()
        await self.refresh_tools()
        return self._records.tools.told_with(outcome)

    async def __del__(self) -> None:
        # Serve's sockets are closed by now, and then our own. Clients come back elsewhere and
        # read what still runs here through the endpoint; Serve bounds the wait.
        if self._listener is not None:
            await self._listener.stop()
        self._console.close()
        await self._websockets.drain()
        for task in self._tasks:
            task.cancel()
        await self._websockets.close()
        self._pipeline.summariser.stop()
        await self._pipeline.shadowing.stop()
        await self._lanes.close()
        await asyncio.to_thread(self._slo.close)
        await asyncio.to_thread(self._experiments.close)
        if self._adviser is not None:
            await asyncio.to_thread(self._adviser.close)
        await asyncio.to_thread(self._records.close)
        await asyncio.to_thread(self._keys.close)


async def _exchange(ledger: DeploymentHandle[Any], report: dict[str, Any]) -> dict[str, Any] | None:
    answer: dict[str, Any] | None = await ledger.exchange.remote(report)
    return answer


async def _ask_swap(swap: DeploymentHandle[Any], report: dict[str, Any]) -> dict[str, Any]:
    answer: dict[str, Any] = await swap.exchange.remote(report)
    return answer
