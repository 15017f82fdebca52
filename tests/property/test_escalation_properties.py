"""What must always hold of escalation."""

from bisect import bisect
from copy import deepcopy
from itertools import accumulate
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.routing.escalation import EscalationConfig, EscalationController, EscalationLevel
from router.routing.quantile import QuantileConfig
from tests.examples import examples

LANES = ("frontier", "complex")
BOUND = 1000

scores = st.one_of(st.just(0.0), st.just(0.99), st.just(1.0), st.floats(0, 1))
shares = st.floats(0.001, 0.3)


def shipped(share):
    """Uniform scores."""
    return 1 - share


def small_controller(replicas=1, tenants=2000, share=0.03, name=""):
    quantile = QuantileConfig(window=128, refresh_every=8, prior_weight=20)
    config = EscalationConfig(replicas=replicas, tenants=tenants, quantile=quantile)
    levels = (EscalationLevel("frontier", share / 3), EscalationLevel("complex", share))
    return EscalationController(levels, shipped, config, replica=name)


def ask(controller, tenant, budgets, score, *, sticky, now=0.0):
    """Decide as a router does, taking whatever is offered; returns the lane."""
    lane = None
    for name, view in controller.view(tenant, budgets).items():
        paid = view.has_sticky_budget if sticky else view.has_budget
        if lane is None and paid and (sticky or score >= view.yield_threshold):
            lane = name
    controller.note(tenant, budgets, score, lane, sticky=sticky, now=now)
    return lane


def most_in_a_window(lanes, lane):
    """The most escalations to `lane` in any `BOUND` consecutive requests."""
    sums = [0, *accumulate(name == lane for name in lanes)]
    return max(
        sums[min(len(lanes), start + BOUND)] - sums[start] for start in range(max(1, len(lanes)))
    )


notes = st.lists(
    st.tuples(st.sampled_from("abcdef"), scores, st.sampled_from([None, *LANES]), st.booleans()),
    max_size=120,
)


@given(notes, st.lists(shares, min_size=2, max_size=6).map(sorted), st.floats(0, 1))
def test_a_larger_share_has_no_higher_threshold(history, asked, fraction):
    """Whatever was seen: of the window's thresholds, of levels, and of yielding."""
    controller = small_controller()
    for tenant, score, lane, sticky in history:
        controller.note(tenant, {}, score, lane, sticky=sticky, now=0.0)
    controller.set_yield("complex", fraction)
    controller.window.refresh()

    thresholds = [controller.window.threshold(share) for share in asked]
    view = controller.view("a", {})

    assert thresholds == sorted(thresholds, reverse=True)
    assert view["frontier"].threshold >= view["complex"].threshold
    assert view["complex"].yield_threshold >= view["complex"].threshold


@given(notes, st.lists(st.sampled_from("abcxyz"), max_size=5), st.floats(0, 1))
def test_looking_changes_nothing(history, looks, budget):
    seen, unseen = small_controller(), small_controller()
    for tenant, score, lane, sticky in history:
        for look in looks:
            first = seen.view(look, {"complex": budget})
            assert seen.view(look, {"complex": budget}) == first
        seen.note(tenant, {}, score, lane, sticky=sticky, now=0.0)
        unseen.note(tenant, {}, score, lane, sticky=sticky, now=0.0)

    assert seen.export() == unseen.export()
    assert list(seen.accounts) == list(unseen.accounts)
    for tenant in "abcdefxyz":
        assert seen.view(tenant, {}) == unseen.view(tenant, {})


@st.composite
def onslaughts(draw):
    """Runs of (replica, score, sticky, how often) of one tenant, few to draw, long to play."""
    replicas = draw(st.integers(1, 8))
    runs = st.tuples(
        st.integers(0, replicas - 1), scores, st.booleans(), st.integers(1, 700), st.booleans()
    )
    return replicas, draw(st.lists(runs, min_size=1, max_size=8))


@examples(40)
@given(onslaughts(), st.sampled_from([0.001, 0.004, 0.01, 0.03, 0.2]), st.integers(0, 99))
def test_no_window_of_a_tenant_exceeds_twice_its_budget(onslaught, budget, seed):
    """Over any 1,000 requests, summed over replicas, however they are spread and scored."""
    replicas, runs = onslaught
    rng = Random(seed)
    controllers = [small_controller(replicas) for _ in range(replicas)]
    budgets = dict.fromkeys(LANES, budget)
    lanes = []
    for which, score, sticky, count, spread in runs:
        for _ in range(count):
            at = rng.randrange(replicas) if spread else which
            lanes.append(ask(controllers[at], "a", budgets, score, sticky=sticky))

    for lane in LANES:
        assert most_in_a_window(lanes, lane) <= 2 * budget * BOUND


@examples(15)
@given(st.integers(1, 20), st.floats(0.03, 0.3))
def test_a_budget_can_be_used(replicas, budget):
    """The bound is not kept by refusing everything: a tenant in need gets its budget."""
    controllers = [small_controller(replicas, share=budget) for _ in range(replicas)]
    count = 1500
    lanes = [
        ask(controllers[number % replicas], "a", {}, 0.0, sticky=True) for number in range(count)
    ]

    assert lanes.count("frontier") >= 0.7 * budget / 3 * count - replicas


@examples(15)
@given(st.integers(1, 3), st.integers(0, 99), st.floats(0.01, 0.1))
def test_being_forgotten_earns_nothing(capacity, seed, budget):
    """Tenants that push each other out of the memory get no more than the others would."""
    rng = Random(seed)
    controller = small_controller(tenants=capacity)
    budgets = {"complex": budget, "frontier": 0}
    lanes = {tenant: [] for tenant in "abcdefgh"}
    order = rng.choices("abcdefgh", k=1500)
    for tenant in order:
        lanes[tenant].append(ask(controller, tenant, budgets, 1.0, sticky=True))

    # Before anybody was forgotten, an unknown tenant is a new one with a full bucket.
    new = list(dict.fromkeys(order))[: capacity + 1]
    for tenant, gone in lanes.items():
        bucket = 500 * budget if tenant in new else 0
        assert gone.count("complex") <= bucket + 1.5 * budget * len(gone)
    in_turn = [ask(controller, tenant, budgets, 1.0, sticky=True) for tenant in "abcdefgh" * 9]
    assert in_turn[16:].count("complex") == 0


@st.composite
def exports(draw):
    """What three peers send."""
    made = {}
    for peer in "bcd":
        controller = small_controller()
        for tenant, score, lane, sticky in draw(notes):
            controller.note(tenant, {}, score, lane, sticky=sticky, now=0.0)
        controller.window.refresh()
        made[peer] = controller.export()
    return made


@examples(40)
@given(exports(), st.permutations("bcd"), st.lists(st.sampled_from("bcd"), max_size=3), notes)
def test_merging_is_idempotent_and_takes_peers_in_any_order(made, order, again, history):
    once, other = small_controller(name="a"), small_controller(name="a")
    for peer in "bcd":
        once.merge(peer, made[peer], now=0.0)
    for peer in [*order, *again]:
        other.merge(peer, made[peer], now=0.0)
    own = once.export()
    for controller in (once, other):
        for tenant, score, lane, sticky in history:
            controller.note(tenant, {}, score, lane, sticky=sticky, now=1.0)
        controller.window.refresh([tail for _, tail, _ in controller._live_peers(1.0)])

    assert once.share(now=1.0) == other.share(now=1.0)
    for share in (0.01, 0.03, 0.1):
        assert once.window.threshold(share) == other.window.threshold(share)
    assert once.view("a", {}) == other.view("a", {})
    assert once.export() == other.export()
    assert own["scored"] == 0


@given(notes)
def test_a_merge_leaves_the_own_part_alone(history):
    controller, peer = small_controller(name="a"), small_controller(name="b")
    for tenant, score, lane, sticky in history:
        peer.note(tenant, {}, score, lane, sticky=sticky, now=0.0)
        controller.note(tenant, {}, 1 - score, lane, sticky=sticky, now=0.0)
    before = deepcopy(controller.export())

    controller.merge("b", peer.export(), now=0.0)

    assert controller.export() == before


@given(shares, st.sampled_from("abc"))
def test_at_the_start_thresholds_are_the_shipped_quantiles(share, tenant):
    view = small_controller(share=share).view(tenant, {})

    assert view["frontier"].threshold == pytest.approx(shipped(share / 3))
    assert view["complex"].threshold == pytest.approx(shipped(share / 3 + share))


class Deployment:
    """Replicas behind a load balancer, and tenants of Zipf-distributed traffic."""

    def __init__(self, rng, replicas, tenants=100):
        self.rng = rng
        config = EscalationConfig(replicas=replicas)
        base = sorted((self.score(0.035) for _ in range(20_000)), reverse=True)
        levels = (EscalationLevel("complex", 0.03),)
        self.controllers = [
            EscalationController(levels, lambda share: base[int(share * 19_999)], config)
            for _ in range(replicas)
        ]
        self.ranks = list(accumulate(1 / rank for rank in range(1, tenants + 1)))
        self.sticky = set()

    def score(self, hard):
        """The score of a query that is complex with probability `hard`."""
        if self.rng.random() < hard:
            return self.rng.betavariate(7, 3)
        return self.rng.betavariate(2, 9)

    def tenant(self):
        return f"t{bisect(self.ranks, self.rng.random() * self.ranks[-1])}"

    def serve(self, tenant, score):
        """One request at a random replica; half of the escalated ones have another turn."""
        sticky = tenant in self.sticky
        self.sticky.discard(tenant)
        lane = ask(self.rng.choice(self.controllers), tenant, {}, score, sticky=sticky)
        if lane and self.rng.random() < 0.5:
            self.sticky.add(tenant)
        return lane


@pytest.mark.parametrize("mix", [(0.035, 0.105), (0.035, 0.0175), (0.0175, 0.105, 0.0175)])
def test_the_share_holds_when_the_mix_shifts(mix):
    """Four replicas that hear nothing of each other, 100 tenants."""
    deployment = Deployment(Random(5), replicas=4)
    count = 24_000
    lanes = [
        deployment.serve(deployment.tenant(), deployment.score(mix[number * len(mix) // count]))
        for number in range(count)
    ]

    assert 0.027 <= lanes.count("complex") / count <= 0.033
    # Not only by making up at the end for what went wrong before.
    halves = lanes[: count // 2], lanes[count // 2 :]
    assert all(0.025 <= half.count("complex") / len(half) <= 0.035 for half in halves)


def others_share(rng, tenants, flood, count=14_000):
    """The share of everybody else while "adversary" sends `flood` of the traffic."""
    deployment = Deployment(rng, replicas=4, tenants=tenants)
    lanes = []
    while len(lanes) < count:
        if rng.random() < flood:
            deployment.serve("adversary", 0.99)
        else:
            lanes.append(deployment.serve(deployment.tenant(), deployment.score(0.035)))
    return lanes.count("complex") / count


@pytest.mark.parametrize("tenants", [1, 3, 100])
def test_a_flood_of_hard_looking_prompts_changes_nothing_for_others(tenants):
    calm = others_share(Random(6), tenants, 0.0)
    flooded = others_share(Random(6), tenants, 0.5)

    assert flooded == pytest.approx(calm, abs=0.002)
