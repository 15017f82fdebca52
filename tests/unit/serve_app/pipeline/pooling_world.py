"""A gateway over simulated lanes that embed, score, see, and do none of that."""

from serve_app.config.fleet import FleetConfig
from serve_app.pipeline.state import IngressState
from serve_app.routing.policies import build_policies
from simulator.http.app import SimulatedEngineApp
from simulator.http.spec import EngineSpec
from tests.unit.serve_app.conftest import FLEET, FakeScorer
from tests.unit.serve_app.simulated_lanes import AT_ONCE, SimulatedLanes

EMBED, RANK, EYES = "minilm", "ranker", "eyes-8b"
WINDOW = 256

LANE = {"model_source": "x", "engine_args": {"max_num_seqs": 8}}
LANES = {
    **FLEET["lanes"],
    "embed": {**LANE, "model_id": EMBED, "max_model_len": WINDOW, "task": "embed"},
    "rank": {**LANE, "model_id": RANK, "max_model_len": WINDOW, "task": "score"},
    "eyes": {**LANE, "model_id": EYES, "max_model_len": 4096, "sees": True},
}
ALIASES = {"text-embedding-*": "embed", "gpt-*": "auto"}


class PoolingLanes(SimulatedLanes):
    """The lanes of `SimulatedLanes` and those."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for lane, model in (("embed", EMBED), ("rank", RANK), ("eyes", EYES)):
            window = WINDOW if lane != "eyes" else 4096
            spec = EngineSpec(model, window, AT_ONCE, is_pooling=lane != "eyes", seed=7)
            for name in ("r1", "r2", "r3"):
                self.engines[lane, name] = SimulatedEngineApp(spec)

    def names(self) -> list[str]:
        return list(LANES)


def with_pooling(world, lanes=None, **fleet) -> PoolingLanes:
    """Have the world serve these lanes; return them."""
    config = {**FLEET, "lanes": lanes or LANES, "aliases": ALIASES, **fleet}
    config["limits"] = {**FLEET["limits"], "max_body_bytes": 2**22}
    policies = build_policies(
        FleetConfig.model_validate(config),
        world.tenants,
        FakeScorer(),
        lambda _: 0.5,
        None,
        world.book,
    )
    served = PoolingLanes()
    world.use(served, state=IngressState(policies, "s3"))
    return served
