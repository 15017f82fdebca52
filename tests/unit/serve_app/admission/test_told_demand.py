"""What the lanes that are scaled are told: tokens that wait, tokens that came."""

import time
from types import SimpleNamespace

from serve_app.admission.admission import Admission, observe_lanes
from serve_app.config.errors import validate
from serve_app.config.fleet import FleetConfig
from serve_app.config.tiers import TierConfig
from tests.unit.serve_app.conftest import FLEET

LANE = {**FLEET["lanes"]["chat"], "engine_args": {"max_num_seqs": 1}}


def admission_of(**replicas):
    fleet = {**FLEET, "lanes": {**FLEET["lanes"], "chat": {**LANE, **replicas}}}
    return Admission(SimpleNamespace(fleet=validate(fleet, FleetConfig, "fleet.yaml")))


TENANT = SimpleNamespace(name="acme", tier_name="paid", tier=TierConfig(), weight=1.0, kv=None)


class Listening:
    """Lane replicas that hear what they are told, and answer nothing."""

    def __init__(self):
        self.heard = {}

    async def engine_load(self, lane, *told):
        self.heard[lane] = told
        return []


async def test_what_waits_is_told_until_it_waits_no_more():
    admission = admission_of(replicas={"min": 1, "max": 2})
    runs = admission.take("chat", TENANT, 1, 100, 20)
    waits = [admission.take("chat", TENANT, 1, 300, 20) for _ in range(2)]
    lanes = Listening()
    await observe_lanes(admission, lanes)
    queued, _ = lanes.heard["chat"]
    assert queued == 2 * 320
    waits[0].leave()
    runs.leave(output_tokens=10)
    assert not waits[1].is_waiting
    assert admission.demands()["chat"][0] == 0
    # The next ones are expected to answer as the last did.
    admission.take("chat", TENANT, 1, 100, 20)
    assert admission.demands()["chat"][0] == 110


async def test_a_lane_of_a_fixed_number_is_told_nothing():
    admission = admission_of(replicas=1)
    hold = admission.take("chat", TENANT, 1, 100, 20)
    admission.lanes["chat"].queue.poll(time.monotonic())
    lanes = Listening()
    await observe_lanes(admission, lanes)
    assert lanes.heard == {"chat": ()}
    assert hold.refused is None
