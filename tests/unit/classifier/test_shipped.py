"""The shipped artefact: whole, small, and sensible on texts that no data set has."""

from __future__ import annotations

import numpy as np
import pytest

from classifier import DEFAULT_ARTIFACT, Conversation, load_artifact

ARTIFACT = load_artifact(DEFAULT_ARTIFACT)
SCORER = ARTIFACT.scorer()
THRESHOLD = ARTIFACT.threshold_for_share(0.03)

EVERYDAY = [
    "hi",
    "thanks, that worked",
    "Where is my parcel? It should have been here on Monday.",
    "please cancel my subscription and send me the last invoice",
    "How do I change the email address of my account?",
    "my card was declined twice at the shop, what should i do",
    "What time do you close on Saturdays?",
    "I want to return the shoes, they are too small. Do I have to pay for the parcel?",
]
COMPLEX = [
    (
        "Prove that there are infinitely many primes of the form 4k + 3, and say where the "
        "proof fails for 4k + 1."
    ),
    (
        "Implement a lock-free queue in C++ with hazard pointers and explain why the memory orders "
        "you chose are sufficient."
    ),
    (
        "Let f be a continuous function on [0, 1] with f(0) = f(1). Show that for every n there is "
        "an x with f(x) = f(x + 1/n)."
    ),
    (
        "Design a database schema and the SQL queries for a double-entry ledger with multi-"
        "currency accounts; then analyse the isolation level that each query needs."
    ),
]


def score(text: str, **kwargs) -> float:
    return SCORER.score(Conversation(text, **kwargs))


def test_it_fits_the_repository():
    """At most 10 MB, and a card beside it."""
    files = list(DEFAULT_ARTIFACT.iterdir())

    assert sum(file.stat().st_size for file in files) <= 10_000_000
    assert (DEFAULT_ARTIFACT / "MODEL_CARD.md").is_file()
    assert {file.suffix for file in files} <= {".json", ".npy", ".md"}


def test_its_quantiles_rise_from_0_to_1():
    """The start-up thresholds of any share."""
    quantiles = np.array(ARTIFACT.quantiles)

    assert (np.diff(quantiles) >= 0).all()
    assert quantiles[0] >= 0
    assert quantiles[-1] <= 1


@pytest.mark.parametrize("text", EVERYDAY)
def test_everyday_messages_stay_on_the_default_lane(text):
    """Far below the threshold of the target share."""
    assert score(text) < THRESHOLD


@pytest.mark.parametrize("text", COMPLEX)
def test_complex_queries_go_up(text):
    """At the threshold of the target share."""
    assert score(text) >= THRESHOLD


@pytest.mark.parametrize("seed", range(5))
def test_a_long_everyday_message_is_not_complex(seed):
    """Length alone does not make a message complex."""
    rng = np.random.default_rng(seed)
    text = " ".join(rng.choice(EVERYDAY[2:], 12))

    assert score(text) < THRESHOLD


@pytest.mark.parametrize(
    ("easy", "hard"),
    [
        (
            "Wo ist mein Paket? Es sollte schon am Montag hier sein.",
            (
                "Beweise durch Induktion: 1 + 2 + ... + n = n(n+1)/2. Zeige dann\n1. die Formel "
                "für n^2\n2. die Formel für n^3 = (n(n+1)/2)^2."
            ),
        ),
        (
            "我的包裹在哪里?",
            (
                "证明:对任意正整数 n,1^3 + 2^3 + ... + n^3 = (n(n+1)/2)^2,并写出 `def f(n):` "
                "的递归实现,分析其时间复杂度 O(n)。"
            ),
        ),
        (
            "Где моя посылка?",
            (
                "Докажите, что x^2 + y^2 = z^2 имеет бесконечно много решений;\n1) найдите все "
                "решения\n2) напишите `def solve(n): return [...]`."
            ),
        ),
    ],
    ids=["German", "Chinese", "Russian"],
)
def test_other_languages_are_ordered_by_their_marks(easy, hard):
    """Mathematics, code and lists are seen in any language; words are not."""
    assert score(easy) < min(score(hard), THRESHOLD)


def test_what_surrounds_a_text_moves_its_score_a_little():
    """A technical system prompt, tools and more turns raise it; support talk lowers it."""
    text = "It fails again. What now?"
    plain = SCORER.raw(Conversation(text))

    technical = SCORER.raw(Conversation(text, system=COMPLEX[0]))
    support = SCORER.raw(Conversation(text, system=" ".join(EVERYDAY)))
    tools = SCORER.raw(Conversation(text, tools=2))
    later = SCORER.raw(Conversation(text, user_turns=4))

    assert support < plain < min(technical, tools, later)


def test_a_system_prompt_alone_makes_no_message_complex():
    """Every request of a tenant has the same one: it must not send them all up."""
    for text in EVERYDAY:
        assert score(text, system=COMPLEX[2], user_turns=9, tools=5) < THRESHOLD
