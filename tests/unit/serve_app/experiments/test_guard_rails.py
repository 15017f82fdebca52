"""Treatments that are stopped: counted, established, kept, and told to the other replicas."""

import json

import pytest

from evals.experiments.report import Shown
from router.slo.judging import End, Ended
from router.types import Lane, LaneDecision, Reason
from serve_app.experiments.book import ExperimentBook
from serve_app.experiments.keeping import ExperimentKeeper, build_keeper
from serve_app.experiments.store import FILE_NAME, ExperimentStore
from tests.unit.serve_app.experiments.conftest import ONE, fleet_with, use

GUARD = {**ONE, "guard": {"ttft_p95_s": 1.0, "failures_ratio": 0.01}}
IN_TIME = Ended(End.ANSWERED, 2.0, 0.5, is_stream=True)
LATE = Ended(End.ANSWERED, 9.0, 5.0, is_stream=True)
FAILED = Ended(End.FAILED, 0.1)
TOKENS = 100, 0, 50


def decided(arm: str) -> LaneDecision:
    lane = Lane("quality" if arm == "treatment" else "chat", "m", 4096)
    return LaneDecision(lane, Reason.EXPERIMENT, experiment="models", arm=arm)


def settle(book, arm, *ends, tokens=TOKENS):
    for ended in ends:
        book.settle(decided(arm), ended, ended.ttft_s, tokens)


class Replicas:
    """Ingress replicas on one node or several, and how they reach each other."""

    def __init__(self, folder, clock, *experiments):
        self.folder, self.clock, self.fleet = folder, clock, fleet_with(*experiments)
        self.keepers: list[ExperimentKeeper] = []

    def add(self, node: str = "a") -> tuple[ExperimentBook, ExperimentKeeper]:
        book = ExperimentBook(self.fleet, self.clock)
        folder = self.folder / node
        folder.mkdir(exist_ok=True)
        keeper = build_keeper(book, folder, self._ask, lambda *_: Shown())
        self.keepers.append(keeper)
        return book, keeper

    async def _ask(self, method):
        assert method == "experiments_export"
        # As plain data, which Serve carries.
        return [json.loads(json.dumps(x.export())) for x in self.keepers] + [TimeoutError()]

    def close(self):
        for keeper in self.keepers:
            keeper.close()


@pytest.fixture
def replicas(tmp_path, clock):
    made = Replicas(tmp_path, clock, GUARD)
    yield made
    made.close()


def state(book) -> tuple[str, str | None]:
    (row,) = book.rows()
    return row["state"], row["stopped_why"]


async def test_a_treatment_that_is_late_is_stopped_and_all_go_to_the_control(replicas, world):
    """Sixteen late streams of forty are no chance where 5 % are allowed."""
    book, keeper = replicas.add()
    tenant = world.state.policies.auth.tenant("acme")
    settle(book, "treatment", *[IN_TIME] * 24, *[LATE] * 16)

    before = {book.arms(f"s{n}", tenant)[0].lane for n in range(20)}
    await keeper.look()

    assert before == {"chat", "quality"}
    assert state(book)[0] == "stopped"
    assert state(book)[1].startswith("ttft: 16 of 40 requests of a day were bad")
    assert {book.arms(f"s{n}", tenant) for n in range(20)} == {()}


RATIO = {**ONE, "guard": {"ttft_p95_ratio": 1.5}}
QUICK = Ended(End.ANSWERED, 2.0, 0.1, is_stream=True)


@pytest.mark.parametrize(
    ("control", "treatment", "stops"),
    [(QUICK, IN_TIME, True), (IN_TIME, IN_TIME, False), (LATE, LATE, False)],
)
async def test_a_treatment_that_is_slower_than_the_control_is_stopped(
    replicas, control, treatment, stops
):
    """By its own ratio, whatever both of them promise; both arms and all replicas count."""
    replicas.fleet = fleet_with(RATIO)
    pairs = [replicas.add("a"), replicas.add("b")]
    for book, _ in pairs:
        settle(book, "control", *[control] * 200)
        settle(book, "treatment", *[treatment] * 30)

    for _, keeper in [*pairs, *pairs]:
        await keeper.look()

    assert {state(book)[0] for book, _ in pairs} == {"stopped" if stops else "running"}
    assert not stops or state(pairs[0][0])[1].startswith("ttft_ratio: 60 of 60 requests")
    told = pairs[0][0].rows()[0]["arms"]["control"]
    assert (told["requests"], [x for x in told if "<" in x]) == (400, [])


@pytest.mark.parametrize(
    "ends",
    [
        [IN_TIME] * 500,
        [*[IN_TIME] * 96, *[LATE] * 4],
        [LATE] * 4,
        [Ended(End.EXCUSED, 0.1)] * 50,
        [Ended(End.LEFT, 0.1)] * 50,
    ],
)
async def test_what_may_be_chance_or_is_no_fault_stops_nothing(replicas, ends):
    """Nor what tenants did themselves."""
    book, keeper = replicas.add()
    settle(book, "treatment", *ends)

    await keeper.look()

    assert state(book) == ("running", None)


async def test_the_control_is_never_stopped(replicas):
    """There is nothing to fall back to."""
    book, keeper = replicas.add()
    settle(book, "control", *[FAILED] * 50)

    await keeper.look()

    assert state(book)[0] == "running"


async def test_replicas_of_all_nodes_count_together(replicas):
    """None of them has seen enough by itself."""
    pairs = [replicas.add("a"), replicas.add("b"), replicas.add("b")]
    for book, _ in pairs:
        settle(book, "treatment", *[IN_TIME] * 20, *[FAILED] * 3)

    for _, keeper in [*pairs, *pairs, *pairs]:
        await keeper.look()

    assert {state(book)[0] for book, _ in pairs} == {"stopped"}
    assert "failures: 6 of 46" in state(pairs[0][0])[1]
    arms = pairs[2][0].rows()[0]["arms"]
    assert (arms["treatment"]["requests"], arms["treatment"]["ended:failed"]) == (69, 9)


async def test_a_stopped_arm_stays_stopped_until_the_file_changes(replicas, world):
    """Over a restart, too; a changed definition is another experiment."""
    book, keeper = replicas.add()
    settle(book, "treatment", *[FAILED] * 20)
    await keeper.look()
    replicas.close()
    replicas.keepers.clear()

    again, _ = replicas.add()
    tenant = world.state.policies.auth.tenant("acme")
    while_stopped = again.arms("s", tenant)
    again.apply(fleet_with({**GUARD, "share": 0.4}))

    assert while_stopped == ()
    assert again.arms("s", tenant) != ()
    assert state(again)[0] == "running"


async def test_one_that_a_reload_brings_back_after_a_restart_is_stopped_at_once(replicas, world):
    """Before the keeper has looked."""
    book, keeper = replicas.add()
    settle(book, "treatment", *[FAILED] * 20)
    await keeper.look()
    replicas.fleet = fleet_with()

    again, _ = replicas.add()
    again.apply(fleet_with(GUARD))

    assert again.arms("s", world.state.policies.auth.tenant("acme")) == ()


async def test_a_new_day_is_judged_by_itself(replicas, clock):
    """A lane that was good for a day is stopped by what it does on the next."""
    book, keeper = replicas.add()
    settle(book, "treatment", *[IN_TIME] * 3000)
    await keeper.look()
    clock.now += 86_400

    settle(book, "treatment", *[LATE] * 12)
    await keeper.look()

    assert state(book)[0] == "stopped"


async def test_what_could_not_be_written_is_counted_later(replicas, monkeypatch):
    """A full disk loses nothing."""
    book, keeper = replicas.add()
    settle(book, "treatment", IN_TIME)
    with monkeypatch.context() as patched:
        patched.setattr(ExperimentStore, "add", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            await keeper.look()

    await keeper.look()
    await keeper.look()

    assert book.rows()[0]["arms"]["treatment"]["requests"] == 1


async def test_an_arm_tells_its_means(replicas):
    """Of costs by the fleet's prices, and of the time to the first token."""
    price = {"prompt": 1_000_000, "completion": 2_000_000}
    replicas.fleet = fleet_with(GUARD, prices={"lanes": {"chat": price}})
    book, keeper = replicas.add()
    settle(book, "control", IN_TIME, LATE)

    await keeper.look()
    (row,) = keeper.rows()

    arm = row["arms"]["control"]
    assert (arm["cost_mean"], arm["ttft_mean_s"]) == (200.0, 2.75)
    assert (arm["good:ttft"], arm["bad:ttft"]) == (1, 1)
    assert row["report"]["verdict"].startswith("undecided")


async def test_a_shadow_tells_how_long_its_copies_took_beside_their_requests(replicas):
    """On average."""
    replicas.fleet = fleet_with({**ONE, "kind": "shadow"})
    book, keeper = replicas.add()
    for seconds in (1.0, 2.0):
        took = {"duration_s": seconds, "control_duration_s": 2 * seconds}
        book.count("models", "shadow", {"answered": 1.0, **took})

    await keeper.look()

    arm = book.rows()[0]["arms"]["shadow"]
    assert (arm["duration_mean_s"], arm["control_duration_mean_s"]) == (1.5, 3.0)


async def test_ratings_count_since_requests_are_divided_as_they_are(replicas, clock):
    """A longer experiment goes on; another share begins anew, and so does the first one then."""
    book, keeper = replicas.add()
    begun, since = clock.now, []
    longer, other = {**GUARD, "max_days": 30}, {**GUARD, "share": 0.2}
    for definition in (GUARD, longer, other, GUARD):
        clock.now += 100
        book.apply(fleet_with(definition))
        clock.now += 3
        await keeper.look()
        since.append(keeper.rows()[0]["since"] - begun)

    _, second = replicas.add()
    await second.look()

    assert since == [100, 100, 306, 409]
    assert second.rows()[0]["since"] - begun == 409


def test_experiments_wait_run_and_end(clock):
    """By their own dates."""
    book = ExperimentBook(fleet_with(ONE), clock)
    states = []
    for days in (-2, 0, 20):
        clock.now += days * 86_400
        states.append(state(book)[0])

    assert states == ["waiting", "waiting", "ended"]


def test_a_fleet_without_experiments_costs_nothing(tmp_path, clock, world):
    """No file is made, no arm looked for."""
    book = ExperimentBook(fleet_with(), clock)
    keeper = build_keeper(book, tmp_path, None, lambda *_: Shown())
    settle(book, "treatment", FAILED)

    assert book.arms("s", world.state.policies.auth.tenant("acme")) == ()
    assert (not book, keeper.rows()) == (True, [])
    assert not (tmp_path / FILE_NAME).exists()


async def test_requests_that_fail_are_counted_by_their_arm(world, clock):
    """From the client's request to the count, through the pipeline."""
    book = use(world, clock, {**ONE, "share": 0.999})
    body = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 4}
    world.lanes.empty = True
    for _ in range(3):
        await world.post("/v1/chat/completions", body, key="acme")

    counted = {cell.name: n for cell, n in book.take_fresh().items() if cell.arm == "treatment"}

    assert counted["requests"] == counted["ended:failed"] == 3
