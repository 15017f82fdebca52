"""Requests and the feedback on them: what finds what, and what training reads."""

from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve_app.bodies.parsed_request import Prompt
from serve_app.records.feedback_store import DAY_S, Feedback, labelled_rows
from tests.examples import examples
from tests.unit.serve_app.records.records import NOW, RECORD, UP, make_store, record, rows


def test_feedback_finds_a_request_of_its_tenant(store, path):
    """It takes with it what training and experiments read."""
    store.write([RECORD])

    missing = store.give("acme", UP, now=NOW + 1)

    assert missing is None
    columns = "tenant, request_id, kind, at, thumb, lane, model, reason, score, classifier, prompt"
    assert rows(path, f"SELECT {columns} FROM feedback") == [
        ("acme", "r-1", "thumb", NOW + 1, "up", "chat", "small", "default", 0.25, "v1", None)
    ]


@pytest.mark.parametrize(
    ("tenant", "request_id", "after_s"),
    [
        ("acme", "r-2", 1),
        ("other", "r-1", 1),
        ("ACME", "r-1", 1),
        ("acme", "r-1", 7 * DAY_S),
    ],
    ids=["never seen", "another tenant's", "case", "expired"],
)
def test_any_other_request_is_unknown(store, path, tenant, request_id, after_s):
    """Nothing is kept, and the answer is the same."""
    store.write([RECORD])

    missing = store.give(tenant, Feedback(request_id, thumb="up"), now=NOW + after_s)

    assert missing == "request_id"
    assert rows(path, "SELECT * FROM feedback") == []


def test_a_preference_needs_both_requests_of_the_same_tenant(store, path):
    """The field that names no request is told."""
    better = record("r-2", lane="quality", model="large", score=0.75)
    store.write([RECORD, better, record("r-3", tenant="other")])

    assert store.give("acme", Feedback("r-2", preferred_over="r-1"), now=NOW) is None
    assert store.give("acme", Feedback("r-1", preferred_over="r-3"), now=NOW) == "preferred_over"
    assert store.give("acme", Feedback("r-3", preferred_over="r-1"), now=NOW) == "request_id"
    columns = "lane, score, preferred_over, other_lane, other_model, other_score"
    assert rows(path, f"SELECT {columns} FROM feedback") == [
        ("quality", 0.75, "r-1", "chat", "small", 0.25)
    ]


def test_the_newest_thumb_counts_and_a_preference_stands_beside_it(store, path):
    """Who changes his mind is not counted twice."""
    store.write([RECORD, record("r-2")])

    for feedback in (UP, Feedback("r-1", preferred_over="r-2"), Feedback("r-1", thumb="down")):
        store.give("acme", feedback, now=NOW)

    found = rows(path, "SELECT kind, thumb, preferred_over FROM feedback ORDER BY kind")
    assert found == [("preference", None, "r-2"), ("thumb", "down", None)]


def test_a_request_id_used_twice_names_the_newest_request(store, path):
    """The caller chooses it; two tenants may choose the same."""
    store.write([RECORD, record(tenant="other", lane="quality")])
    store.write([record(lane="quality")])

    store.give("acme", UP, now=NOW)

    assert rows(path, "SELECT tenant, lane FROM feedback") == [("acme", "quality")]
    assert rows(path, "SELECT count(*) FROM requests") == [(2,)]


@examples(30)  # a file each
@given(st.text(max_size=128), st.text(max_size=128))
def test_no_id_finds_what_is_not_its_own(tmp_path_factory, kept, asked):
    """Ids are compared whole, whatever is in them."""
    path = tmp_path_factory.mktemp("state") / "feedback.db"
    with closing(make_store(path)) as store:
        store.write([record(kept)])

        missing = store.give("acme", Feedback(asked, thumb="up"), now=NOW)

    assert (missing is None) == (kept == asked)


def test_labelled_rows_are_feedback_with_a_kept_prompt(store, path):
    """The messages, where they went, and what was thought of it."""
    prompt = Prompt("be kind", ("one", "two"), 9, 3)
    kept = {"prompt": prompt, "keep_prompt_days": 1}
    store.write([RECORD._replace(**kept), record("r-2"), record("r-3", lane="quality", text="x")])
    store.give("acme", UP, now=NOW)
    store.give("acme", Feedback("r-2", thumb="down"), now=NOW)
    store.give("acme", Feedback("r-3", preferred_over="r-2"), now=NOW)

    found = list(labelled_rows(path, now=NOW))

    one = {"source": "feedback", "model": "small", "score": 0.25}
    said = [("system", "be kind"), ("user", "one"), ("user", "two")]
    messages = [{"role": role, "content": content} for role, content in said]
    other = {"lane": "chat", "model": "small", "score": 0.25}
    assert found == [
        one | {"messages": messages, "lane": "chat", "thumb": "up"},
        one
        | {
            "messages": [{"role": "user", "content": "x"}],
            "lane": "quality",
            "preferred_over": other,
        },
    ]


def test_an_expired_prompt_is_no_label_even_before_it_is_swept(store, path):
    """The time counts, not the sweep."""
    store.write([record(text="x", days=1)])
    store.give("acme", UP, now=NOW)

    assert list(labelled_rows(path, now=NOW + DAY_S)) == []


def test_without_a_file_there_are_no_labels(path):
    """Nobody has given feedback yet; nothing is created by asking."""
    assert list(labelled_rows(path)) == []
    assert not path.exists()


@examples(30)  # a file each
@given(st.lists(st.text(st.characters() | st.just("\ud800"), max_size=20), min_size=1, max_size=3))
def test_any_text_that_a_request_may_hold_is_kept(tmp_path_factory, texts):
    """Half a character (a lone surrogate) reaches us in JSON escapes and is replaced."""
    path = tmp_path_factory.mktemp("state") / "feedback.db"
    kept = {"prompt": Prompt("", tuple(texts), 1, 1), "keep_prompt_days": 1}
    with closing(make_store(path)) as store:
        store.write([RECORD._replace(**kept)])
        store.give("acme", UP, now=NOW)

    (row,) = labelled_rows(path, now=NOW)

    expected = [text.encode("utf-8", "replace").decode() for text in texts]
    assert [message["content"] for message in row["messages"]] == expected
