"""Whatever is stored, continued, deleted and swept: bounds hold and no conversation is torn."""

from __future__ import annotations

import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from serve_app.config.records import ResponsesConfig
from serve_app.responses import rows as row_module
from serve_app.responses.rows import DAY_S, Content, NewResponse, Outcome
from serve_app.responses.store import ResponseStore

TENANTS = ("acme", "other")
MOST = 10**9
BOUNDS = st.builds(
    ResponsesConfig,
    keep_days=st.sampled_from([1, 3]),
    max_responses=st.sampled_from([1, 3, 7, 100]),
    max_bytes=st.sampled_from([4096, 8192, 20_000]),
)


def content(number: int, size: int) -> Content:
    return Content(b"{}", b'["i%d"]' % number, b'["o%d%b"]' % (number, b"x" * size))


class Stored(RuleBasedStateMachine):
    """One file, two connections to it, and what a plain dictionary says should be in it."""

    @initialize(bounds=BOUNDS)
    def begin(self, bounds: ResponsesConfig) -> None:
        self.folder = tempfile.TemporaryDirectory()
        # Small pieces, so that conversations are on both sides of their borders.
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(row_module, "PIECE_ROWS", 2)
        path = Path(self.folder.name) / "r.db"
        self.stores = [ResponseStore(path), ResponseStore(path)]
        self.path, self.bounds, self.now, self.number = path, bounds, 1e9, 0
        # By tenant and id: the ids of its conversation, oldest first, and its items.
        self.made: dict[tuple[str, str], list[str]] = {}
        self.contents: dict[tuple[str, str], Content] = {}
        self.asked_away: set[tuple[str, str]] = set()

    @rule(
        which=st.integers(0, 1),
        tenant=st.sampled_from(TENANTS),
        size=st.integers(0, 6_000),
        data=st.data(),
    )
    def put(self, which: int, tenant: str, size: int, data: Any) -> None:
        mine = sorted(x for owner, x in self.made if owner == tenant)
        previous = data.draw(st.sampled_from([None, *mine]))
        self.number += 1
        name, made = f"r{self.number}", content(self.number, size)
        before = self.chain(tenant, previous) if previous is not None else []
        new = NewResponse(tenant, name, previous, made)
        done = self.stores[which].put(new, self.bounds, now=self.now)
        if done.outcome is Outcome.STORED:
            self.made[tenant, name] = [*(self.made[tenant, previous] if previous else []), name]
            self.contents[tenant, name] = made
            # What it continues was not pushed out to make room for it.
            after = self.chain(tenant, name)
            assert after == [*(before or []), (made.input, made.output)]
        elif previous is None:
            assert done.outcome is Outcome.NO_ROOM and made.size > self.bounds.max_bytes
        elif done.outcome is Outcome.PREVIOUS_GONE:
            assert before is None
        else:
            assert done.outcome is Outcome.NO_ROOM and before is not None

    def chain(self, tenant: str, name: str) -> list[tuple[bytes, bytes]] | None:
        found = self.stores[0].conversation(tenant, name, now=self.now, most_bytes=MOST)
        return None if found is None else [tuple(x) for x in found]

    @rule(tenant=st.sampled_from(TENANTS), data=st.data())
    def delete(self, tenant: str, data: Any) -> None:
        mine = sorted(x for owner, x in self.made if owner == tenant)
        name = data.draw(st.sampled_from([*mine, "none"]))
        was_there = self.stores[0].get(tenant, name, now=self.now) is not None
        assert self.stores[1].delete(tenant, name, now=self.now) == was_there
        assert self.stores[0].get(tenant, name, now=self.now) is None
        self.asked_away.add((tenant, name))

    @rule(hours=st.sampled_from([-5, 10, 20]))
    def wait(self, hours: int) -> None:
        """Clocks may go back."""
        self.now += hours * DAY_S / 24

    @rule(bounds=BOUNDS)
    def change_bounds(self, bounds: ResponsesConfig) -> None:
        self.bounds = bounds
        self.sweep()

    def sweep(self) -> None:
        limits = dict.fromkeys(TENANTS, self.bounds)
        while any(self.stores[1].sweep(limits, now=self.now)):
            pass

    @rule(is_known=st.booleans())
    def sweep_a_piece(self, *, is_known: bool) -> None:
        """The rest of the conversations of that piece are looked at before the next one."""
        limits = dict.fromkeys(TENANTS, self.bounds) if is_known else {}
        self.stores[1].sweep(limits, now=self.now)

    @rule(tenant=st.sampled_from(TENANTS))
    def forget(self, tenant: str) -> None:
        while self.stores[1].forget(tenant):
            pass
        assert tenant not in self.stores[0].totals()

    @invariant()
    def bounds_hold(self) -> None:
        for total in self.stores[0].totals().values():
            assert 0 < total.responses <= self.bounds.max_responses
            assert 0 < total.bytes <= self.bounds.max_bytes

    @invariant()
    def totals_are_what_is_there(self) -> None:
        with closing(sqlite3.connect(self.path)) as db:
            counted = db.execute("SELECT tenant, count(*), sum(bytes) FROM responses GROUP BY 1")
            rows = {tenant: tuple(x) for tenant, *x in counted}
            stray = db.execute(
                "SELECT count(*) FROM contents WHERE seq NOT IN (SELECT seq FROM responses)"
            ).fetchone()[0]
        assert rows == {k: tuple(v) for k, v in self.stores[0].totals().items()}
        assert stray == 0

    @invariant()
    def a_conversation_is_whole_or_was_torn_by_who_asked_for_it(self) -> None:
        """And its items are its own, in their order."""
        for (tenant, name), ids in self.made.items():
            if self.stores[0].get(tenant, name, now=self.now) is None:
                continue
            found = self.chain(tenant, name)
            if found is None:
                assert any((tenant, x) in self.asked_away for x in ids)
            else:
                parts = [self.contents[tenant, x] for x in ids]
                assert found == [(x.input, x.output) for x in parts]

    @invariant()
    def nobody_has_another_s(self) -> None:
        for tenant, name in self.made:
            other = next(x for x in TENANTS if x != tenant)
            assert self.stores[1].get(other, name, now=self.now) is None

    def teardown(self) -> None:
        for store in self.stores:
            store.close()
        self.folder.cleanup()
        self.patch.undo()


TestStored = Stored.TestCase
TestStored.settings = settings(TestStored.settings, max_examples=25, stateful_step_count=30)
