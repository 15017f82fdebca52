"""Questions whose answers can be computed: what `benchmarks.cascade` asks a small model.

Twelve sources, each from its own seed. A source's questions differ in difficulty, and its
number of worked examples is such that SmolLM2-135M is right in some and wrong in some.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

import yaml

from benchmarks.support.cascade_code import passes
from benchmarks.support.deployment import ROOT
from evals.replay.exact import is_expected, normalized

Question = tuple[str, str]
"""What is asked, and the answer: a text, or for code an expression with the same values."""

_DATA = yaml.safe_load((ROOT / "benchmarks/data/cascade/questions.yaml").read_text())
DAYS, MONTHS, WORDS = (_DATA[name].split() for name in ("days", "months", "words"))
CAPITALS = [pair.replace("_", " ").split("=") for pair in _DATA["capitals"].split()]


@dataclass(frozen=True)
class Source:
    """Questions of one kind.

    `examples`: how many stand before each, answered in the `form` of question and answer.
    """

    ask: Callable[[random.Random], Question]
    examples: int
    form: str = "{1}"
    code: str = ""


@dataclass(frozen=True)
class Task:
    """One question as it is asked, after `examples` of questions with their answers."""

    source: str
    examples: tuple[Question, ...]
    text: str
    answer: str
    code: str

    @property
    def messages(self) -> list[dict[str, str]]:
        """The conversation: the examples are turns before the question."""
        turns = [*self.examples, (self.text, "")]
        both = (zip(("user", "assistant"), turn, strict=True) for turn in turns)
        said = [{"role": role, "content": text} for pair in both for role, text in pair]
        return said[:-1]

    @property
    def stop(self) -> str:
        """What ends an answer: the next question would follow."""
        return "\n\n" if self.code else "\n"

    def is_right(self, said: str) -> bool:
        """Whether the first line is the answer or ends with it; for code, whether it computes it.

        An answer of several words has to be the whole line.
        """
        if self.code:
            return passes(said, self.answer, kind=self.code)
        line = next((part for part in said.splitlines() if part.strip()), "")
        ends = normalized(line).split()[-1:] == [normalized(self.answer)]
        return ends or is_expected(line, [self.answer])


def tasks(name: str, count: int) -> list[Task]:
    """Return up to `count` different questions of a source."""
    rng = random.Random(name)
    source = SOURCES[name]
    asked = _different(source.ask, rng)
    shown = tuple(_answered(list(islice(asked, source.examples)), source))
    return [
        Task(name, shown, question, answer, source.code)
        for question, answer in islice(asked, count)
    ]


def _answered(shown: list[Question], source: Source) -> list[Question]:
    """Examples with their answers as they should be given."""
    return [(question, source.form.format(question, answer)) for question, answer in shown]


def _different(ask: Callable[[random.Random], Question], rng: random.Random) -> Iterator[Question]:
    """Yield questions until a thousand in a row have been asked already."""
    seen: set[str] = set()
    stale = 0
    while stale < 1000:
        found = ask(rng)
        stale = stale + 1 if found[0] in seen else 0
        if not stale:
            seen.add(found[0])
            yield found


def _add(rng: random.Random) -> Question:
    one, other = (rng.randrange(1, rng.choice([10, 20, 60])) for _ in range(2))
    return f"{one} + {other}", str(one + other)


def _multiply(rng: random.Random) -> Question:
    one, other = (rng.randrange(1, rng.choice([10, 15, 30])) for _ in range(2))
    return f"{one} * {other}", str(one * other)


def _copy(rng: random.Random) -> Question:
    letters = "".join(rng.choices("abcdefghijklmnopqrstuvwxyz0123456789", k=rng.randint(8, 32)))
    return f"Repeat exactly: {letters}", letters


def _reverse(rng: random.Random) -> Question:
    words = rng.sample(WORDS, rng.choice([2, 2, 2, 3]))
    return f"Write these words in reverse order: {' '.join(words)}", " ".join(reversed(words))


def _letters(rng: random.Random) -> Question:
    word = rng.choice(WORDS)
    if rng.random() < 0.5:
        return f"What is the first letter of the word {word}?", word[0]
    return f"How many letters are in the word {word}?", str(len(word))


def _calendar(rng: random.Random) -> Question:
    names, unit = rng.choice([(DAYS, "day"), (MONTHS, "month")])
    at, (side, step) = rng.randrange(len(names)), rng.choice([("after", 1), ("before", -1)])
    way = rng.choice(["What comes {} {}?", f"Which {unit} comes {{}} {{}}?"])
    return way.format(side, names[at]), names[(at + step) % len(names)]


def _last(rng: random.Random) -> Question:
    words = rng.sample(WORDS, rng.randint(2, 6))
    return f"What is the last word of: {' '.join(words)}", words[-1]


def _capital(rng: random.Random) -> Question:
    country, city = rng.choice(CAPITALS)
    way = rng.choice(["What is the capital of {}?", "Which city is the capital of {}?"])
    return way.format(country), city


def _compare(rng: random.Random) -> Question:
    numbers = rng.sample(range(1, rng.choice([10, 100, 1000])), rng.randint(2, 3))
    way, of = rng.choice([("largest", max), ("smallest", min)])
    return f"Which number is the {way}: {', '.join(map(str, numbers))}?", str(of(numbers))


def _sort(rng: random.Random) -> Question:
    numbers = rng.sample(range(1, 100), rng.choice([2, 2, 3]))
    ask = f"Sort from small to large: {', '.join(map(str, numbers))}"
    return ask, ", ".join(map(str, sorted(numbers)))


def _written(rng: random.Random, of: dict[str, str], way: str) -> Question:
    asked, answer = rng.choice(list(of.items()))
    number = str(rng.randint(2, 9))
    return way.format(asked.replace("{n}", number)), answer.replace("{n}", number)


def _list(rng: random.Random) -> Question:
    return _written(rng, _DATA["lists"], "Write a Python expression for {}.")


def _function(rng: random.Random) -> Question:
    return _written(rng, _DATA["functions"], "Write a Python function f(x) that {}.")


SOURCES = {
    "add": Source(_add, 5, form="{} = {}"),
    "capital": Source(_capital, 0),
    "reverse": Source(_reverse, 3),
    "function": Source(_function, 2, form="def f(x):\n    return {1}", code="function"),
    "letters": Source(_letters, 2),
    "sort": Source(_sort, 4),
    "list": Source(_list, 2, code="expression"),
    "compare": Source(_compare, 3),
    "multiply": Source(_multiply, 5, form="{} = {}"),
    "last": Source(_last, 3),
    "calendar": Source(_calendar, 3),
    "copy": Source(_copy, 2),
}
