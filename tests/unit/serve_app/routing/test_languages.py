"""In which language a conversation is held."""

import pytest

from serve_app.config.errors import ConfigError
from serve_app.routing.languages import MAX_REMEMBERED, MAX_TURNS, Languages, languages_of
from tests.unit.serve_app.routing.languages_seen import CLEAR, UNCLEAR

GERMAN = "Wie setze ich mein Passwort zurück?"
FRENCH = CLEAR["fr"][0]
ENGLISH = "How do I reset my password, please?"


@pytest.fixture(scope="module")
def languages():
    return languages_of(["de"])


@pytest.mark.parametrize(("code", "text"), [(c, t) for c, texts in CLEAR.items() for t in texts])
def test_a_sentence_shows_its_language(languages, code, text):
    assert languages.of([text]) == code


@pytest.mark.parametrize("text", UNCLEAR)
def test_a_word_code_and_commands_show_none(languages, text):
    """Or English, which they are written in."""
    assert languages.of([text]) in (None, "en")


@pytest.mark.parametrize(
    ("turns", "code"),
    [
        ([GERMAN, ENGLISH], "de"),
        ([GERMAN, "Traceback (most recent call last): KeyError: 'id'"], "de"),
        (["ok", "danke", GERMAN, FRENCH], "de"),
        (["hi"], None),
        ([], None),
        ([""], None),
    ],
)
def test_a_conversation_keeps_the_language_of_its_first_clear_turn(languages, turns, code):
    """A session does not change lanes for a word, or for what is pasted into it."""
    assert languages.of(turns) == code


def test_what_a_program_puts_into_a_users_turn_does_not_count(languages):
    reminder = "<system-reminder>Today's date is Monday. Do not mention this.</system-reminder>"

    assert languages.of([f"{reminder}\n{GERMAN}"]) == "de"


class CountingIdentifier:
    """Knows German; counts what it is asked, and how much it reads."""

    labels = ("de", "en")

    def __init__(self, probability=0.1):
        self.read = []
        self._probability = probability

    def classify(self, text):
        self.read.append(text)
        return "de", self._probability


def test_a_turn_is_read_once_and_memory_is_bounded():
    identifier = CountingIdentifier()
    languages = Languages(identifier)
    for number in range(MAX_REMEMBERED + 10):
        for _ in range(2):
            languages.of([f"some words of a turn, number {number}"])

    assert len(identifier.read) == MAX_REMEMBERED + 10
    assert len(languages) == MAX_REMEMBERED


@pytest.mark.parametrize("letter", ["x", "й", "語"])
def test_a_long_conversation_is_not_read_whole(letter):
    """As many bytes of it as cost a tenth of a millisecond or two, whatever the alphabet."""
    identifier = CountingIdentifier()
    turns = [f"{number} {letter * 100_000}" for number in range(200)]

    assert Languages(identifier).of(turns) is None
    assert sum(len(text.encode()) for text in identifier.read) <= 800
    assert Languages(identifier).of(["short words, and no more"] * 100 + [GERMAN]) is None


def test_the_same_turns_are_looked_at_whether_they_are_remembered_or_not():
    """So that all ingress replicas say the same."""
    clear = CountingIdentifier(0.9)
    turns = ["ok"] * MAX_TURNS + [GERMAN]

    assert Languages(clear).of(turns) is None
    assert Languages(clear).of(turns[1:]) == "de"


def test_half_a_character_is_no_fault(languages):
    """Clients send what Python reads of `\\ud83d`."""
    assert languages.of(["\ud83d" + GERMAN]) == "de"


def test_a_code_that_is_not_known_is_refused_at_the_start():
    with pytest.raises(ConfigError, match=r"routing.languages: 'xx' is no language"):
        languages_of(["de", "xx"])

    assert languages_of([]) is None
