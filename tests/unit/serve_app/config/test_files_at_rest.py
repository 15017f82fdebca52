"""A fleet or tenants file is read when it has stopped changing, and never in part."""

import asyncio
import copy
import os

import pytest
import yaml

from serve_app.config.files import await_rest, is_open_for_writing, stamps_of
from serve_app.config.fleet import FleetConfig
from serve_app.config.settings import load_tenants
from serve_app.routing.reload import Reloader
from serve_app.tenancy.auth import make_key
from tests.unit.serve_app.conftest import FLEET, TIERS

SETTLE_S = 2.0


def tenants_text(*names: str) -> str:
    """A tenants file; cut after any of the tenants, it is a valid one."""
    rows = "".join(f"  {name}: {{tier: paid}}\n" for name in names)
    return f"{yaml.safe_dump({'tiers': TIERS})}tenants:\n{rows}"


class Watched:
    """A reloader over real files, with a clock that stands still until it is moved."""

    def __init__(self, folder) -> None:
        self.fleet, self.tenants = folder / "fleet.yaml", folder / "tenants.yaml"
        self.fleet.write_text(yaml.safe_dump(FLEET))
        self.tenants.write_text(tenants_text("acme", "guest"))
        self.now, self.applied = 0.0, []
        self.reloader = Reloader(
            self.fleet,
            self.tenants,
            FleetConfig.model_validate(FLEET),
            self.applied.append,
            clock=lambda: self.now,
        )

    async def look(self, *, after_s: float = 0.0) -> None:
        self.now += after_s
        await self.reloader.look()

    async def rest(self) -> None:
        """Looks until a change that has come is over its time."""
        await self.look()
        await self.look(after_s=SETTLE_S)

    def names(self) -> list[list[str]]:
        """The tenants of every set of policies that was applied."""
        known = ("acme", "guest", "third", "fourth")
        return [[n for n in known if x.auth.tenant(n) is not None] for x in self.applied]


@pytest.fixture
def watched(tmp_path) -> Watched:
    return Watched(tmp_path)


async def test_a_change_is_applied_when_it_has_come_to_rest(watched):
    """Not before its time, and once."""
    watched.tenants.write_text(tenants_text("acme"))

    await watched.look()
    await watched.look(after_s=SETTLE_S - 0.1)
    assert watched.applied == []
    await watched.look(after_s=0.2)
    await watched.look(after_s=10)

    assert watched.names() == [["acme"]]


@pytest.mark.parametrize("name", ["tenants", "fleet"])
async def test_a_file_that_comes_in_drops_is_never_applied_in_part(watched, name):
    """Every cut between two entries is a valid file; writer and file are closed between."""
    path = getattr(watched, name)
    whole = tenants_text("acme", "guest", "third", "fourth") if name == "tenants" else None
    whole = whole or yaml.safe_dump({**FLEET, "note": "new"}, sort_keys=False)
    lines = whole.splitlines(keepends=True)

    for count in range(1, len(lines) + 1):
        path.write_text("".join(lines[:count]))
        await watched.look(after_s=SETTLE_S * 0.9)
    assert watched.applied == [] and watched.reloader.last_error == ""
    await watched.rest()

    assert len(watched.applied) == 1
    if name == "tenants":
        assert watched.names() == [["acme", "guest", "third", "fourth"]]


async def test_a_writer_that_pauses_is_waited_for_however_long(watched):
    """The file is open: nothing says that the rest will not come."""
    with watched.tenants.open("w") as writer:
        writer.write(tenants_text("acme"))
        writer.flush()
        assert is_open_for_writing(watched.tenants)
        for _ in range(20):
            await watched.look(after_s=SETTLE_S)
        assert watched.applied == []
        assert "open for writing" in watched.reloader.status()["warnings"][0]
        writer.write("  guest: {tier: paid}\n")
    await watched.rest()

    assert not is_open_for_writing(watched.tenants)
    assert watched.names() == [["acme", "guest"]]
    assert watched.reloader.status() == {"error": "", "changing_s": None, "warnings": []}


async def test_a_change_while_the_files_are_read_is_not_applied(watched, monkeypatch):
    """What was read may be one half of each."""
    load = watched.reloader.load

    def load_slowly():
        found = load()
        watched.tenants.write_text(tenants_text("acme", "guest", "third"))
        monkeypatch.setattr(watched.reloader, "load", load)
        return found

    monkeypatch.setattr(watched.reloader, "load", load_slowly)
    watched.tenants.write_text(tenants_text("acme"))
    await watched.rest()
    assert watched.applied == []
    await watched.rest()

    assert watched.names() == [["acme", "guest", "third"]]


async def test_a_text_of_the_same_size_and_time_is_noticed(watched):
    """`cp -p` onto the file, `rsync --inplace -t`: nobody can set the inode's own time."""
    before = watched.tenants.stat()
    other = watched.tenants.read_text().replace("guest", "third")
    while watched.tenants.stat().st_ctime_ns == before.st_ctime_ns:  # the clock of files is coarse
        watched.tenants.write_text(other)
        os.utime(watched.tenants, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = watched.tenants.stat()
    assert (after.st_ino, after.st_size, after.st_mtime_ns) == (
        before.st_ino,
        before.st_size,
        before.st_mtime_ns,
    )

    await watched.rest()

    assert watched.names() == [["acme", "third"]]


async def test_a_replacement_by_rename_is_noticed_with_the_old_one_s_size_and_time(watched):
    """As careful editors write."""
    before = watched.tenants.stat()
    partial = watched.tenants.with_name("partial")
    partial.write_text(watched.tenants.read_text().replace("guest", "third"))
    os.utime(partial, ns=(before.st_atime_ns, before.st_mtime_ns))
    partial.replace(watched.tenants)

    await watched.rest()

    assert watched.names() == [["acme", "third"]]


async def test_a_link_that_is_swapped_is_noticed(watched, tmp_path):
    """Kubernetes mounts a ConfigMap as links into `..data`, and swaps that."""
    for version, names in (("..1", ("acme",)), ("..2", ("acme", "third"))):
        (tmp_path / version).mkdir()
        (tmp_path / version / "tenants.yaml").write_text(tenants_text(*names))
    data = tmp_path / "..data"
    data.symlink_to("..1")
    watched.tenants.unlink()
    watched.tenants.symlink_to("..data/tenants.yaml")
    await watched.rest()

    partial = tmp_path / "..data_tmp"
    partial.symlink_to("..2")
    partial.replace(data)
    await watched.rest()

    assert watched.names() == [["acme"], ["acme", "third"]]


async def test_a_file_that_is_gone_for_a_moment_changes_nothing(watched):
    """Removed and put back, as some editors do."""
    text = watched.tenants.read_text()
    watched.tenants.unlink()
    await watched.look(after_s=SETTLE_S / 2)
    watched.tenants.write_text(text)
    await watched.rest()

    assert watched.reloader.last_error == ""
    assert watched.names() == [["acme", "guest"]]


async def test_a_file_that_stays_away_is_told_and_the_old_policies_stay(watched):
    """And its return is noticed."""
    text = watched.tenants.read_text()
    watched.tenants.unlink()
    await watched.rest()
    assert "cannot be read" in watched.reloader.status()["error"]
    assert watched.applied == []

    watched.tenants.write_text(text)
    await watched.rest()

    assert watched.reloader.last_error == ""
    assert watched.names() == [["acme", "guest"]]


async def test_a_file_that_does_not_come_to_rest_is_told(watched, caplog):
    """In `/status` for how long, in the log once."""
    for count in range(20):
        watched.tenants.write_text(tenants_text("acme") + "# more\n" * count)
        await watched.look(after_s=1)

    status = watched.reloader.status()
    assert status["changing_s"] >= 10 and watched.applied == []
    assert str(watched.tenants) in status["warnings"][0] and "changing" in status["warnings"][0]
    assert sum("has been changing" in x.getMessage() for x in caplog.records) == 1


async def test_a_fault_is_told_once_and_not_before_rest(watched, caplog):
    """A cut that does not parse is no fault yet."""
    watched.tenants.write_text("tiers: {paid: {")
    await watched.look()
    assert watched.reloader.last_error == ""
    await watched.look(after_s=SETTLE_S)
    await watched.look(after_s=SETTLE_S)

    assert "is not YAML" in watched.reloader.last_error
    assert sum("refused" in x.getMessage() for x in caplog.records) == 1


async def test_who_asks_for_it_is_answered_at_once_and_told_that_it_is_young(watched):
    """An operator's word counts; a file at rest is read without remark."""
    old = watched.reloader
    watched.tenants.write_text(tenants_text("acme"))
    with watched.fleet.open("a"):
        young = await old.reload()

    assert young["ok"] and len(watched.applied) == 1
    assert [x.split(":")[0] for x in young["warnings"]] == [
        str(watched.fleet),
        str(watched.tenants),
    ]
    await watched.rest()
    assert len(watched.applied) == 1  # it was read


async def test_a_reload_of_files_at_rest_has_nothing_to_add(watched, monkeypatch):
    """The plain answer."""
    monkeypatch.setattr(
        "serve_app.routing.reload.wall_s", lambda: watched.fleet.stat().st_ctime + 3600
    )

    assert await watched.reloader.reload() == {"ok": True}


async def test_the_time_to_rest_is_a_setting_that_reloads(watched):
    """`reload.settle_s` of the fleet file."""
    watched.fleet.write_text(yaml.safe_dump({**FLEET, "reload": {"settle_s": 30}}))
    await watched.rest()
    assert len(watched.applied) == 1

    watched.tenants.write_text(tenants_text("acme"))
    await watched.rest()
    assert len(watched.applied) == 1
    await watched.look(after_s=30)

    assert len(watched.applied) == 2


async def test_a_change_between_reading_and_watching_is_noticed(watched):
    """The state that was read is the one from before it was read."""
    stamps = stamps_of([watched.fleet, watched.tenants])
    watched.tenants.write_text(tenants_text("acme"))
    late = Reloader(
        watched.fleet,
        watched.tenants,
        FleetConfig.model_validate(FLEET),
        watched.applied.append,
        stamps=stamps,
        clock=lambda: watched.now,
    )

    await late.look()
    watched.now += SETTLE_S
    await late.look()

    assert watched.names() == [["acme"]]


async def test_the_watch_goes_on_after_whatever_happens(watched, monkeypatch):
    """A look that fails is not the last one."""
    looks = asyncio.Queue()

    async def look():
        looks.put_nowait(1)
        raise RuntimeError

    monkeypatch.setattr("serve_app.routing.reload.WATCH_PERIOD_S", 0.0)
    monkeypatch.setattr(watched.reloader, "look", look)
    monkeypatch.setattr(watched.reloader, "_has_changed", lambda: True)
    task = asyncio.create_task(watched.reloader.watch())
    await asyncio.wait_for(looks.get(), 10)
    await asyncio.wait_for(looks.get(), 10)
    task.cancel()


def test_a_start_waits_for_a_file_that_is_being_written(tmp_path):
    """A replica that takes another's place has no older policies to keep."""
    path, now = tmp_path / "tenants.yaml", [0.0]
    path.write_text(tenants_text("acme"))
    made = path.stat().st_ctime
    waits = []

    def sleep(seconds: float) -> None:
        now[0] += seconds
        waits.append(seconds)
        if len(waits) == 3:
            path.write_text(tenants_text("acme", "guest"))
            now[0] = path.stat().st_ctime - made

    stamps = await_rest([path], SETTLE_S, clock=lambda: made + now[0], sleep=sleep)

    assert stamps == stamps_of([path])
    assert set(load_tenants(path).tenants) == {"acme", "guest"}
    assert now[0] >= SETTLE_S
    # At rest, or not there: nothing to wait for.
    waits.clear()
    await_rest([path, tmp_path / "none"], SETTLE_S, clock=lambda: made + 3600, sleep=sleep)
    assert waits == []


def test_a_start_does_not_wait_for_ever(tmp_path):
    """What is there then is read, and may be refused."""
    path, now = tmp_path / "tenants.yaml", [0.0]
    with path.open("w"):
        made = path.stat().st_ctime
        await_rest(
            [path],
            SETTLE_S,
            within_s=5,
            clock=lambda: made + now[0],
            sleep=lambda seconds: now.__setitem__(0, now[0] + seconds),
        )

    assert now[0] == pytest.approx(5, abs=0.2)


def test_a_key_id_that_two_tenants_have_is_told_with_both_places(tmp_path):
    """A revocation would hit both."""
    _, entry = make_key()
    row = {"tier": "paid", "keys": [entry.model_dump()]}
    path = tmp_path / "tenants.yaml"
    path.write_text(
        yaml.safe_dump({"tiers": TIERS, "tenants": {"a": row, "b": copy.deepcopy(row)}})
    )

    with pytest.raises(Exception, match=f"tenants.b.keys.0.id: '{entry.id}'.*tenants.a.keys.0"):
        load_tenants(path)
