"""Usage is exact whatever fails and dies, and when: requests, flushes, faults, kills."""

import contextlib
import sqlite3
import tempfile
from pathlib import Path

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from router.limits.quota import EVEN_WEIGHTS, QuotaConfig
from serve_app.tenancy.sqlite_store import SqliteStore
from serve_app.tenancy.store import Counts
from serve_app.tenancy.usage_log import dead_writers, recover_dead
from tests.examples import examples
from tests.unit.serve_app.tenancy.usage_made import begin, kill, make_meter, total


class Killed(Exception):
    """The process is gone at this point."""


class FaultyStore(SqliteStore):
    """Fails or dies before or after its next commit of a batch, when told to."""

    fault = None

    def record(self, writer, batch):
        fault, self.fault = self.fault, None
        if fault and fault[0] == "before":
            raise fault[1]
        super().record(writer, batch)
        if fault:
            raise fault[1]


class Replica:
    """One ingress replica with the requests that are open in it."""

    def __init__(self, path) -> None:
        self.store = FaultyStore(path)
        self.meter = make_meter(self.store)
        self.open = {}
        self.flushed = {}
        self.has_failed = False

    def seen(self) -> dict[int, int]:
        """What each open request has used by now."""
        return {number: used[0] for number, used in self.open.items()}

    def kill(self) -> None:
        kill(self.meter)
        self.store.close()


class UsageMachine(RuleBasedStateMachine):
    """Two replicas over one store.

    `ended` is exact. `floor` and `ceiling` bound what the requests cut off by kills may add:
    what the last flush saw at least, what they had by then at most.
    """

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "tenancy.db"
        self.replicas = [Replica(self.path), Replica(self.path)]
        self.ended = 0
        self.floor = self.ceiling = 0

    replica = st.integers(0, 1)

    @rule(at=replica, tokens=st.integers(1, 9))
    def answers(self, at, tokens):
        meter = self.replicas[at].meter
        meter.end(begin(meter), Counts(1, 0, 0, tokens))
        self.ended += tokens

    @rule(at=replica, tokens=st.integers(1, 9))
    def begins(self, at, tokens):
        used = [tokens]
        number = begin(self.replicas[at].meter, progress=lambda: (0, used[0]), reserved=1)
        self.replicas[at].open[number] = used

    @rule(at=replica, tokens=st.integers(1, 9))
    def streams(self, at, tokens):
        for used in self.replicas[at].open.values():
            used[0] += tokens

    @rule(at=replica, how_many=st.integers(1, 3))
    def ends(self, at, how_many):
        self._end(at, how_many)

    def _end(self, at, how_many):
        replica = self.replicas[at]
        for number in sorted(replica.open)[:how_many]:
            used = replica.open.pop(number)[0]
            replica.meter.end(number, Counts(1, 0, 0, used))
            self.ended += used

    @rule(at=replica)
    def flushes(self, at):
        assert self.flush(at)

    @rule(at=replica, when=st.sampled_from(["before", "after"]))
    def fails_to_flush(self, at, when):
        self.replicas[at].store.fault = when, sqlite3.OperationalError("disk I/O error")
        self.flush(at)
        self.replicas[at].store.fault = None

    @rule(at=replica, when=st.sampled_from([None, "before", "after"]), ending=st.integers(0, 2))
    def is_killed(self, at, when, ending):
        """At rest, or on either side of a commit; a moment after requests have ended."""
        self._end(at, ending)
        dying = self.replicas[at]
        if when is not None:
            dying.store.fault = when, Killed()
            with contextlib.suppress(Killed):
                dying.meter.flush()
        self.floor += sum(dying.flushed.get(number, 0) for number in dying.open)
        self.ceiling += sum(dying.seen().values())
        dying.kill()
        self.replicas[at] = Replica(self.path)

    @rule(at=replica, is_killed=st.booleans())
    def recovers(self, at, is_killed):
        """It may die itself, when the store has it and the files are still there."""
        folder = self.path.with_name("usage")
        if not is_killed:
            recover_dead(self.replicas[at].store, folder)
            return
        for dead in dead_writers(folder):
            self.replicas[at].store.recover(dead.writer, dead.replay)

    def flush(self, at) -> bool:
        replica = self.replicas[at]
        try:
            replica.meter.flush()
        except sqlite3.Error:
            replica.has_failed = True
            return False
        if not replica.has_failed:
            # After a failure, an earlier snapshot may be the one that is kept.
            replica.flushed = replica.seen()
        replica.has_failed = False
        return True

    @invariant()
    def a_quota_counts_at_least_what_ended_here(self):
        """What a replica knows never misses its own."""
        for replica in self.replicas:
            pending = sum(x.completion for x in replica.meter.pending.values())
            quota = QuotaConfig(tokens_per_day=max(1, pending))
            if pending:
                assert replica.meter.refusal("acme", quota, EVEN_WEIGHTS, 1) is not None

    def teardown(self):
        for replica in self.replicas:
            for number in list(replica.open):
                replica.meter.end(number, None)
            replica.meter.try_flush()
            replica.kill()
        store = SqliteStore(self.path)
        for _ in range(2):
            recover_dead(store, self.path.with_name("usage"))
        found = total(store).completion
        reserved = store.totals(0, "nobody").reserved
        store.close()
        left = list(self.path.with_name("usage").iterdir())
        self.folder.cleanup()
        assert self.ended + self.floor <= found <= self.ended + self.ceiling
        assert reserved == {}
        assert left == []


TestUsage = UsageMachine.TestCase
TestUsage.settings = examples(80, stateful_step_count=25)
