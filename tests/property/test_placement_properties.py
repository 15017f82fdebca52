"""What must always hold of several ingress replicas that place turns side by side."""

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from router.placement.affinity import AffinityConfig, Outcome, TurnFacts
from router.placement.placement import LanePlacement, Report
from router.placement.spilled_sessions import SpilledSessions, session_hash
from router.placement.tenant_load import MOST_PUBLISHED, GroupDemand, Step

REPLICAS = ("r1", "r2", "r3", "r4")
SLOTS = 4
CONFIG = AffinityConfig()
WARM_S = 60.0
turns = st.builds(
    TurnFacts,
    st.sampled_from(["a", "b", "c"]),
    st.sampled_from([f"s{i}" for i in range(12)]),
    st.integers(0, 3_000),
    st.just(500),
)
reports = st.builds(
    Report,
    open=st.dictionaries(st.sampled_from(["i1", "i2", "i3"]), st.integers(0, 6)),
    kv_utilization=st.floats(0, 1),
    spilled=st.dictionaries(
        st.sampled_from([session_hash(f"s{i}") for i in range(12)]), st.integers(1, 5)
    ),
    groups=st.dictionaries(
        st.sampled_from(["a", "b", "c"]),
        st.tuples(st.floats(0, 20), st.floats(0, 300_000)),
    ),
)


@given(
    st.fixed_dictionaries(dict.fromkeys(REPLICAS, reports)),
    turns,
    st.booleans(),
)
def test_ingress_replicas_with_the_same_view_place_alike(published, turn, dedicated):
    """Nothing but the reports decides, in whatever order they are listed."""
    stats = {name: report.to_mapping() for name, report in published.items()}
    config = AffinityConfig(dedicated_replicas=dedicated)

    chosen = [
        LanePlacement(config, me).choose(turn, dict(view), SLOTS, now=0.0)
        for me, view in (("x", stats.items()), ("y", reversed(stats.items())))
    ]

    assert chosen[0] == chosen[1]
    assert sorted(chosen[0].order) == sorted(REPLICAS)


@given(reports)
def test_a_report_survives_its_journey(report):
    """As plain values and back."""
    again = Report.from_mapping(report.to_mapping())

    assert again.to_mapping() == report.to_mapping()


@given(st.lists(st.floats(0.01, 1e6), min_size=1, max_size=40))
def test_a_step_is_near_its_value_and_holds_still(values):
    """Never more than a factor of two off; a value that wavers by little changes nothing."""
    step = Step()
    for value in values:
        shown = step.of(value)
        assert value / 2.0001 < shown < value * 1.4143
        assert step.of(value * 0.99) == step.of(value * 1.0) or value * 0.99 < shown / 1.4


@given(st.lists(st.tuples(st.integers(0, 300), st.floats(0, 30)), max_size=200))
def test_published_demand_is_bounded(turns):
    """However many groups come by."""
    demand, now = GroupDemand(capacity=50), 0.0
    for group, gap in turns:
        now += gap
        demand.begin(f"g{group}", now=now)

    assert len(demand.groups) <= 50
    assert len(demand.published(now=now)) <= MOST_PUBLISHED


class Fleet(RuleBasedStateMachine):
    """Two ingress replicas, four lane replicas, reports whenever the rules say so."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.ingresses = {me: LanePlacement(CONFIG, me, warm_s=WARM_S) for me in ("i1", "i2")}
        self.spilled = {name: SpilledSessions(64, WARM_S) for name in REPLICAS}
        self.open: dict[str, dict[str, int]] = {name: {} for name in REPLICAS}
        self.under_way: list[tuple[str, str]] = []
        self.stats: dict[str, dict] = {}

    @initialize()
    def first_reports(self):
        self.publish()

    @rule()
    def publish(self):
        self.stats = {
            name: Report(
                open=dict(self.open[name]), spilled=self.spilled[name].numbers(now=self.now)
            ).to_mapping()
            for name in REPLICAS
        }

    @rule(gap=st.floats(0.1, 20))
    def time_passes(self, gap):
        self.now += gap

    @rule(me=st.sampled_from(["i1", "i2"]), turn=turns)
    def a_turn_comes(self, me, turn):
        ingress = self.ingresses[me]
        ingress._update(self.stats, SLOTS)
        before = ingress.loads(now=self.now)

        chosen = ingress.choose(turn, self.stats, SLOTS, now=self.now)

        replica = chosen.order[0]
        # Whoever stands in a line does so because reading everything again costs more.
        everything = turn.history_tokens + turn.system_tokens
        for name, count in before.items():
            if replica != name and count < SLOTS <= before[replica]:
                line = before[replica] + 1 - SLOTS
                cost = (before[replica] - count) * CONFIG.seat_tokens + line * CONFIG.wait_tokens
                assert cost <= everything
        assert (chosen.spilled is None) <= (chosen.outcome is Outcome.HOME)
        ingress.begin(replica)
        self.open[replica][me] = self.open[replica].get(me, 0) + 1
        self.under_way.append((me, replica))
        if chosen.spilled is not None:
            self.spilled[replica].note(*chosen.spilled, now=self.now)

    @rule(turn=turns)
    def a_spilled_session_is_found_by_everyone_once_published(self, turn):
        """Both look for it where the highest number is, unless load drives it on."""
        self.publish()
        idle = {name: {**stats, "open": {}} for name, stats in self.stats.items()}

        views = [
            LanePlacement(AffinityConfig(seat_tokens=0), me).choose(turn, idle, SLOTS, now=self.now)
            for me in ("x", "y")
        ]

        claims = {
            name: stats["spilled"].get(session_hash(turn.session), 0)
            for name, stats in idle.items()
        }
        highest = max(claims.values())
        assert views[0] == views[1]
        if highest:
            assert claims[views[0].order[0]] == highest

    @rule(data=st.data())
    def a_turn_ends(self, data):
        if not self.under_way:
            return
        me, replica = self.under_way.pop(data.draw(st.integers(0, len(self.under_way) - 1)))
        self.ingresses[me].end(replica)
        self.open[replica][me] -= 1

    @invariant()
    def what_is_open_here_is_counted_here(self):
        for me, ingress in self.ingresses.items():
            loads = ingress.loads(now=self.now)
            for name, count in loads.items():
                assert count >= self.open[name].get(me, 0)


TestFleet = Fleet.TestCase
