"""Versions are published once: what a file says later changes nothing that is served."""

import sqlite3
from datetime import UTC, datetime

import pytest

from router.errors import Rejected, RejectReason
from serve_app.config.files import is_young, wall_s
from serve_app.registry.book import ToolBook
from serve_app.registry.store import FILE_NAME, ToolStore
from serve_app.registry.tool_set import CHAT
from serve_app.registry.tool_sets import Promotion
from tests.unit.serve_app.registry.tool_files import book_of, offered, tool, write


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "tools"


def said(book, reference="crm@7") -> str:
    found = book.sets.find(reference)
    return found.forms[CHAT].tools[0]["function"]["description"]


def promote(book, version, before, held=None, until=0.0) -> bool:
    done = book.store.promote(
        "crm", Promotion(version, before), held or {}, until=until, at=datetime.now(UTC)
    )
    book.refresh()
    return done


def test_the_first_version_of_a_set_is_promoted_and_later_ones_wait(folder, tmp_path):
    write(folder, version=6)
    write(folder, version=7)
    book = book_of(folder, tmp_path)
    assert book.sets.find("crm").version == 7

    write(folder, version=8)
    book.refresh(at_once=True)

    assert offered(book) == {"crm": [6, 7, 8]}
    assert book.sets.find("crm").version == 7
    assert book.refused == ()


@pytest.mark.parametrize("restarts", [False, True])
def test_an_edit_of_a_published_version_is_refused_and_the_old_goes_on_serving(
    folder, tmp_path, restarts
):
    """Also over a restart, and for a version that nothing stands for."""
    write(folder, version=6, tools=[tool(description="Six.")])
    write(folder, version=7, tools=[tool(description="As published.")])
    book = book_of(folder, tmp_path)
    for version in (6, 7):
        write(folder, version=version, tools=[tool(description="Edited at 3 a.m.")])

    if restarts:
        book = book_of(folder, tmp_path)
    refused = book.refresh(at_once=True)

    assert (said(book, "crm@6"), said(book, "crm@7")) == ("Six.", "As published.")
    assert [x.split(":")[0] for x in refused] == ["crm@6", "crm@7"]
    assert "a published version never changes" in refused[0]
    assert book.told_with({"ok": True}) == {"ok": False, "error": "\n".join(refused)}
    write(folder, version=6, tools=[tool(description="Six.")])
    write(folder, version=7, tools=[tool(description="As published.")])
    assert book.refresh(at_once=True) == ()


@pytest.mark.parametrize("restarts", [False, True])
def test_a_file_that_cannot_be_read_takes_nothing_away(folder, tmp_path, restarts):
    """Its name says which version it was."""
    write(folder, version=6)
    write(folder, version=7)
    book = book_of(folder, tmp_path)
    (folder / "crm-6.yaml").write_text("name: [")

    if restarts:
        book = book_of(folder, tmp_path)
    refused = book.refresh(at_once=True)

    assert offered(book) == {"crm": [6, 7]}
    assert len(refused) == 1 and "crm-6.yaml" in refused[0]


def test_a_bad_file_does_not_keep_the_others_away(folder, tmp_path):
    write(folder, version=7)
    (folder / "notes.yaml").write_text("name: crm\nversion: 9\ntools: [{name: t}]\n")
    (folder / ".crm-9.yaml.partial").write_text("{")

    book = book_of(folder, tmp_path)

    assert offered(book) == {"crm": [7]}
    assert len(book.refused) == 1 and "rename it" in book.refused[0]


def test_a_version_whose_file_is_gone_is_offered_no_more_but_the_promoted_one(folder, tmp_path):
    paths = {version: write(folder, version=version) for version in (5, 6, 7)}
    book = book_of(folder, tmp_path)
    assert promote(book, 6, before=7)
    for path in paths.values():
        path.unlink()

    refused = book.refresh(at_once=True)

    assert offered(book) == {"crm": [6, 7]}
    assert len(refused) == 1 and "pointsman tools retire crm" in refused[0]
    assert not book.has_files("crm")
    book.store.retire("crm")
    assert book.refresh() == ()
    assert offered(book) == {}
    # A name that was used stays used.
    write(folder, version=7, tools=[tool(description="Another.")])
    assert "never changes" in book.refresh(at_once=True)[0]


def test_a_promotion_is_seen_by_every_replica_and_outlives_all_of_them(folder, tmp_path):
    write(folder, version=7)
    mine, other = book_of(folder, tmp_path), book_of(folder, tmp_path)
    write(folder, version=8)
    mine.refresh(at_once=True)

    assert promote(mine, 8, before=7, held={b"12345678": 7}, until=2e10)
    other.refresh()

    for book in (mine, other, book_of(folder, tmp_path)):
        assert book.sets.find("crm").version == 8
        assert book.sets.promoted["crm"].previous == 7
        assert book.sets.kept("crm", b"12345678", now=1e10).version == 7
        assert book.sets.kept("crm", b"12345678", now=3e10) is None
        assert book.sets.kept("crm", b"87654321", now=1e10) is None
        assert book.sets.kept("web", b"12345678", now=1e10) is None


def test_of_two_promotions_at_once_the_first_counts(folder, tmp_path):
    write(folder, version=7)
    write(folder, version=8)
    book = book_of(folder, tmp_path)

    assert promote(book, 7, before=8)
    assert not promote(book, 7, before=8)

    assert book.sets.promoted["crm"] == Promotion(7, 8)


def test_two_replicas_that_meet_different_files_serve_what_was_published_first(tmp_path):
    """As where one is on a checkout that is behind."""
    write(tmp_path / "a", tools=[tool(description="First.")])
    write(tmp_path / "b", tools=[tool(description="Second.")])

    first = book_of(tmp_path / "a", tmp_path)
    second = book_of(tmp_path / "b", tmp_path)

    assert said(first) == said(second) == "First."
    assert not first.refused and len(second.refused) == 1


def test_a_file_that_changes_is_read_when_it_has_been_at_rest(folder, tmp_path):
    """A part of a file may be valid, and what is published stays."""
    now = 0.0
    store = ToolStore(tmp_path / FILE_NAME)
    book = ToolBook(folder, store, settle_s=0.05, clock=lambda: now)
    path = write(folder)
    with path.open("a") as file:
        book.refresh()
        now += 1
        book.refresh()
        # Still open: nobody knows what it will be.
        now += 1
        book.refresh()
        assert offered(book) == {}
        file.write("note: whole now\n")
    # The file's own time is the machine's: it is old enough once that has passed.
    while is_young(path, 0.05, wall_s()):
        pass

    for _ in range(2):
        now += 1
        book.refresh()

    assert offered(book) == {"crm": [7]}
    book.close()


def test_a_file_that_is_being_written_over_stays_what_it_was(folder, tmp_path):
    write(folder, version=6)
    write(folder, version=7)
    book = book_of(folder, tmp_path)

    with (folder / "crm-6.yaml").open("w"):
        book.refresh(at_once=True)

        assert offered(book) == {"crm": [6, 7]}


def test_a_store_that_cannot_be_read_is_told_and_known_sets_stay(folder, tmp_path):
    write(folder)
    book = book_of(folder, tmp_path)
    (tmp_path / FILE_NAME).rename(tmp_path / "lost")
    (tmp_path / FILE_NAME).mkdir()

    refused = book.refresh(at_once=True)

    assert "store cannot be read" in refused[0]
    assert book.sets.find("crm@7").label == "crm@7"
    late = book_of(folder, tmp_path).sets.find("crm@7")
    assert isinstance(late, Rejected) and late.reason is RejectReason.NO_REPLICA
    assert str(tmp_path) not in late.message


def test_a_store_that_is_taken_away_gets_back_what_is_known(folder, tmp_path):
    """On every replica, and with the name where it stood."""
    write(folder, version=7, tools=[tool(description="As published.")])
    write(folder, version=8)
    book, other = book_of(folder, tmp_path), book_of(folder, tmp_path)
    assert promote(book, 7, before=8)
    other.refresh()
    write(folder, version=7, tools=[tool(description="Edited.")])

    for path in tmp_path.glob(f"{FILE_NAME}*"):
        path.unlink()
    for one in (book, other, book, other):
        one.refresh()

    late = book_of(folder, tmp_path)
    for one in (book, other, late):
        assert offered(one) == {"crm": [7, 8]}
        assert one.sets.promoted["crm"] == Promotion(7, 8)
        assert said(one) == "As published."
    assert book.store.revision() == late.store.revision()


def test_an_older_copy_of_the_store_counts_and_lacks_no_version(folder, tmp_path):
    """An operator who puts a copy back means what it says."""
    write(folder, version=7)
    book = book_of(folder, tmp_path)
    book.store.close()
    copy = (tmp_path / FILE_NAME).read_bytes()
    write(folder, version=8)
    book.refresh(at_once=True)
    assert promote(book, 8, before=7)

    for path in tmp_path.glob(f"{FILE_NAME}*"):
        path.unlink()
    (tmp_path / FILE_NAME).write_bytes(copy)
    book.refresh()

    assert offered(book) == {"crm": [7, 8]}
    assert book.sets.promoted["crm"] == Promotion(7, None)


@pytest.mark.parametrize("restarts", [False, True])
def test_a_folder_that_cannot_be_read_takes_nothing_away(folder, tmp_path, restarts):
    """A mount that is gone for a moment, say; here a file is in its place."""
    for version in (5, 6, 7):
        write(folder, version=version)
    book = book_of(folder, tmp_path)
    folder.rename(tmp_path / "elsewhere")
    folder.write_text("")

    book = book_of(folder, tmp_path) if restarts else book
    refused = book.refresh(at_once=True)

    assert offered(book) == {"crm": [5, 6, 7]}
    assert refused == (f"{folder}: cannot be read: Not a directory",)
    folder.unlink()
    (tmp_path / "elsewhere").rename(folder)
    assert book.refresh() == ()
    assert offered(book) == {"crm": [5, 6, 7]}


def test_a_second_file_of_a_version_is_named_and_changes_nothing(folder, tmp_path):
    path = write(folder, tools=[tool(description="First.")])
    write(folder, tools=[tool(description="Second.")]).rename(folder / "crm-7.yml")
    path.write_text((folder / "crm-7.yml").read_text().replace("Second.", "First."))

    book = book_of(folder, tmp_path)

    assert said(book) == "First."
    assert len(book.refused) == 1
    assert "crm-7.yml: crm@7 is crm-7.yaml already" in book.refused[0]


def test_each_file_whose_name_is_no_version_s_is_named(folder, tmp_path):
    for name in ("a", "b"):
        write(folder).rename(folder / f"{name}.yaml")

    refused = book_of(folder, tmp_path).refused

    assert ["a.yaml" in refused[0], "b.yaml" in refused[1]] == [True, True]


def test_one_file_too_many_takes_no_other_away(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("serve_app.registry.book.MAX_FILES", 2)
    for version in (7, 8):
        write(folder, version=version)
    book = book_of(folder, tmp_path)
    write(folder, name="bikes", version=1)

    refused = book.refresh(at_once=True)

    assert offered(book) == {"bikes": [1], "crm": [7, 8]}
    assert len(refused) == 1 and "2 at most are read" in refused[0]


def test_a_published_version_that_is_none_any_more_takes_no_other_away(folder, tmp_path):
    """A later release may refuse what an earlier one took."""
    for version in (6, 7):
        write(folder, version=version)
    book_of(folder, tmp_path)
    (folder / "crm-7.yaml").unlink()
    with sqlite3.connect(tmp_path / FILE_NAME) as db:
        db.execute("UPDATE versions SET content = '{}' WHERE version = 7")

    book = book_of(folder, tmp_path)

    assert said(book, "crm@6") and offered(book) == {"crm": [6]}
    assert "crm@7: what was published is none" in book.refused[0]
    refused = book.sets.find("crm")
    assert isinstance(refused, Rejected) and "has no version 7" in refused.message


def test_without_files_there_is_no_store(folder, tmp_path):
    """A deployment that has no sets pays nothing for it."""
    book = book_of(folder, tmp_path)

    assert not (tmp_path / FILE_NAME).exists()
    assert isinstance(book.sets.find("crm"), Rejected)
    assert ToolBook().refresh() == ()


def test_the_store_is_its_owners_alone(folder, tmp_path):
    write(folder)
    book_of(folder, tmp_path)

    assert (tmp_path / FILE_NAME).stat().st_mode & 0o077 == 0
    with sqlite3.connect(tmp_path / FILE_NAME) as db:
        assert db.execute("SELECT count(*) FROM versions").fetchone() == (1,)


@pytest.mark.parametrize(
    ("reference", "allowed", "said"),
    [
        ("crn", None, "There is no tool set 'crn' here that you may use; did you mean 'crm'?"),
        ("crm@9", None, "has no version 9: crm (versions 6, 7; 'crm' alone is 7)"),
        ("web", {"crm"}, "There are: crm (versions 6, 7; 'crm' alone is 7)."),
        ("crm", {"web"}, "There are: web (versions 1; 'web' alone is 1)."),
        ("crm", set(), "nor any other that you may use"),
        ("crm@", None, "as 'crm@7'"),
        ("crm@x", None, "as 'crm@7'"),
        ("", None, "as 'crm@7'"),
    ],
)
def test_a_refusal_names_what_there_is_for_the_tenant(folder, tmp_path, reference, allowed, said):
    write(folder, version=6)
    write(folder, version=7)
    write(folder, name="web", version=1)
    sets = book_of(folder, tmp_path).sets

    refused = sets.find(reference, None if allowed is None else frozenset(allowed))

    assert isinstance(refused, Rejected) and refused.param == "tools"
    assert said in refused.message
    if allowed is not None:
        assert not {"crm", "web"} - allowed - {reference} & set(refused.message.split())
