"""Questions whose answers can be computed: what `benchmarks.cascade` asks a small model.

Twelve sources, each from its own seed. A source's questions differ in difficulty, and its
number of worked examples is such that SmolLM2-135M is right in some and wrong in some.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

from benchmarks.support.cascade_code import passes
from serve_app.commands.label.exact import is_expected, normalized

Question = tuple[str, str]
"""What is asked, and the answer: a text, or for code an expression with the same values."""

DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
MONTHS = (
    "January February March April May June July August September October November December"
).split()
WORDS = (
    "apple river stone cloud music garden window yellow planet silver orange butter castle dragon "
    "forest guitar hammer island jacket kitten ladder market needle ocean pencil quiet rabbit "
    "saddle tunnel umbrella valley winter zebra anchor bridge candle desert engine feather glove "
    "harbor insect jungle kettle lemon mirror napkin olive paper quilt rocket sugar tiger uncle "
    "violin whistle yogurt basket copper dinner eagle flower grape helmet iron jelly kite lamp "
    "moon nest owl pear queen rain snow tree van wolf bread chair door egg fish goat hat ice"
).split()
CAPITALS = (
    "France Paris;Germany Berlin;Italy Rome;Spain Madrid;Portugal Lisbon;Greece Athens;"
    "Poland Warsaw;Austria Vienna;Hungary Budapest;Norway Oslo;Sweden Stockholm;Finland Helsinki;"
    "Denmark Copenhagen;Ireland Dublin;Belgium Brussels;Netherlands Amsterdam;Switzerland Bern;"
    "Russia Moscow;Ukraine Kyiv;Romania Bucharest;Bulgaria Sofia;Serbia Belgrade;Croatia Zagreb;"
    "Slovenia Ljubljana;Slovakia Bratislava;Albania Tirana;Estonia Tallinn;Latvia Riga;"
    "Lithuania Vilnius;Iceland Reykjavik;Turkey Ankara;Egypt Cairo;Morocco Rabat;Algeria Algiers;"
    "Tunisia Tunis;Libya Tripoli;Sudan Khartoum;Kenya Nairobi;Uganda Kampala;Ghana Accra;"
    "Nigeria Abuja;Senegal Dakar;Mali Bamako;Angola Luanda;Zambia Lusaka;Zimbabwe Harare;"
    "Namibia Windhoek;Botswana Gaborone;Mozambique Maputo;Rwanda Kigali;Somalia Mogadishu;"
    "Japan Tokyo;China Beijing;India Delhi;Thailand Bangkok;Vietnam Hanoi;Indonesia Jakarta;"
    "Philippines Manila;Mongolia Ulaanbaatar;Nepal Kathmandu;Bangladesh Dhaka;Pakistan Islamabad;"
    "Afghanistan Kabul;Iran Tehran;Iraq Baghdad;Syria Damascus;Jordan Amman;Lebanon Beirut;"
    "Israel Jerusalem;Qatar Doha;Oman Muscat;Yemen Sanaa;Armenia Yerevan;Georgia Tbilisi;"
    "Azerbaijan Baku;Canada Ottawa;Cuba Havana;Jamaica Kingston;Haiti Port-au-Prince;"
    "Honduras Tegucigalpa;Nicaragua Managua;Colombia Bogota;Venezuela Caracas;Ecuador Quito;"
    "Peru Lima;Bolivia Sucre;Chile Santiago;Paraguay Asuncion;Uruguay Montevideo;Brazil Brasilia;"
    "Australia Canberra;Cambodia Phnom Penh;Laos Vientiane;Malaysia Kuala Lumpur"
).split(";")
LISTS = {
    "the sum of xs": "sum(xs)",
    "the largest number of xs": "max(xs)",
    "the smallest number of xs": "min(xs)",
    "the number of elements of xs": "len(xs)",
    "xs in reverse order": "xs[::-1]",
    "xs sorted in ascending order": "sorted(xs)",
    "xs sorted in descending order": "sorted(xs, reverse=True)",
    "the first element of xs": "xs[0]",
    "the last element of xs": "xs[-1]",
    "the mean of xs": "sum(xs) / len(xs)",
    "xs without its first element": "xs[1:]",
    "xs without its last element": "xs[:-1]",
    "the set of the elements of xs": "set(xs)",
    "how often {n} is in xs": "xs.count({n})",
    "whether {n} is in xs": "{n} in xs",
    "each element of xs times {n}": "[x * {n} for x in xs]",
    "each element of xs plus {n}": "[x + {n} for x in xs]",
    "the elements of xs that are greater than {n}": "[x for x in xs if x > {n}]",
    "the elements of xs that are less than {n}": "[x for x in xs if x < {n}]",
    "the first {n} elements of xs": "xs[:{n}]",
    "the last {n} elements of xs": "xs[-{n}:]",
    "the even elements of xs": "[x for x in xs if x % 2 == 0]",
    "the odd elements of xs": "[x for x in xs if x % 2 == 1]",
    "the sum of xs plus {n}": "sum(xs) + {n}",
    "the largest minus the smallest number of xs": "max(xs) - min(xs)",
    "the squares of the elements of xs": "[x ** 2 for x in xs]",
    "the index of the largest element of xs": "xs.index(max(xs))",
    "every second element of xs": "xs[::2]",
}
FUNCTIONS = {
    "returns x plus {n}": "x + {n}",
    "returns x times {n}": "x * {n}",
    "returns {n} minus x": "{n} - x",
    "returns x to the power of {n}": "x ** {n}",
    "returns the remainder of x divided by {n}": "x % {n}",
    "returns x divided by {n}, rounded down": "x // {n}",
    "returns True if x is greater than {n}, else False": "x > {n}",
    "returns True if x is divisible by {n}, else False": "x % {n} == 0",
    "returns the larger of x and {n}": "max(x, {n})",
    "returns the smaller of x and {n}": "min(x, {n})",
    "returns the absolute value of x minus {n}": "abs(x - {n})",
    "returns the sum of the numbers from 1 to x": "sum(range(1, x + 1))",
    "returns x as a string": "str(x)",
    "returns the number of digits of x": "len(str(x))",
    "returns the square of x, plus {n}": "x ** 2 + {n}",
    "returns twice x minus {n}": "2 * x - {n}",
    "returns the negative of x": "-x",
    "returns a list of the numbers from 0 to x - 1": "list(range(x))",
    "returns the sum of the digits of x": "sum(int(d) for d in str(x))",
    "returns the half of x, plus {n}": "x / 2 + {n}",
}


@dataclass(frozen=True)
class Source:
    """Questions of one kind; `examples`: how many worked ones stand before each."""

    ask: Callable[[random.Random], Question]
    examples: int
    code: str = ""


@dataclass(frozen=True)
class Task:
    """One question as it is asked."""

    source: str
    text: str
    answer: str
    code: str

    def is_right(self, said: str) -> bool:
        """Whether the first line that is not empty has the answer; for code, what it computes."""
        if self.code:
            return passes(said, self.answer, kind=self.code)
        line = next((part for part in said.splitlines() if part.strip()), "")
        words = line.rpartition(":")[2]
        return is_expected(line, [self.answer]) or normalized(words) == normalized(self.answer)


def tasks(name: str, count: int) -> list[Task]:
    """Return up to `count` different questions of a source."""
    rng = random.Random(name)
    source = SOURCES[name]
    asked = _different(source.ask, rng)
    shown = list(islice(asked, source.examples))
    before = "".join(f"{question}\n{answer}\n\n" for question, answer in _answered(shown, source))
    return [
        Task(name, before + question, answer, source.code)
        for question, answer in islice(asked, count)
    ]


def _answered(shown: list[Question], source: Source) -> list[Question]:
    if source.code != "function":
        return shown
    return [(question, f"def f(x):\n    return {answer}") for question, answer in shown]


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


def _digits(rng: random.Random, most: int) -> int:
    digits = rng.randint(1, most)
    return rng.randrange(10 ** (digits - 1), 10**digits)


def _add(rng: random.Random) -> Question:
    one, other = _digits(rng, 3), _digits(rng, 3)
    return f"What is {one} + {other}?", str(one + other)


def _subtract(rng: random.Random) -> Question:
    small, large = sorted((_digits(rng, 3), _digits(rng, 3)))
    return f"What is {large} - {small}?", str(large - small)


def _multiply(rng: random.Random) -> Question:
    one, other = _digits(rng, 2), _digits(rng, 1)
    return f"What is {one} times {other}?", str(one * other)


def _copy(rng: random.Random) -> Question:
    letters = "".join(rng.choices("abcdefghijklmnopqrstuvwxyz0123456789", k=rng.randint(4, 20)))
    return f"Repeat exactly: {letters}", letters


def _reverse(rng: random.Random) -> Question:
    words = rng.sample(WORDS, rng.randint(2, 5))
    return f"Write these words in reverse order: {' '.join(words)}", " ".join(reversed(words))


def _letters(rng: random.Random) -> Question:
    word = rng.choice(WORDS)
    if rng.random() < 0.5:
        return f"What is the first letter of the word {word}?", word[0] * 1
    return f"How many letters are in the word {word}?", str(len(word))


def _calendar(rng: random.Random) -> Question:
    names, unit = rng.choice([(DAYS, "day"), (MONTHS, "month")])
    at, steps = rng.randrange(len(names)), rng.randint(-3, 5) or 1
    side = "after" if steps > 0 else "before"
    ask = f"Which {unit} is {abs(steps)} {unit}{'s' * (abs(steps) > 1)} {side} {names[at]}?"
    return ask, names[(at + steps) % len(names)]


def _capital(rng: random.Random) -> Question:
    country, _, city = rng.choice(CAPITALS).partition(" ")
    way = rng.choice(["What is the capital of {}?", "Which city is the capital of {}?"])
    return way.format(country), city


def _compare(rng: random.Random) -> Question:
    numbers = [_digits(rng, 4) for _ in range(rng.randint(2, 4))]
    numbers = list(dict.fromkeys(numbers)) or numbers
    way, of = rng.choice([("largest", max), ("smallest", min)])
    return f"Which number is the {way}: {', '.join(map(str, numbers))}?", str(of(numbers))


def _sort(rng: random.Random) -> Question:
    numbers = rng.sample(range(1, 100), rng.randint(2, 6))
    ask = f"Sort from small to large: {', '.join(map(str, numbers))}"
    return ask, ", ".join(map(str, sorted(numbers)))


def _written(rng: random.Random, of: dict[str, str], way: str) -> Question:
    asked, answer = rng.choice(list(of.items()))
    number = str(rng.randint(2, 9))
    return way.format(asked.replace("{n}", number)), answer.replace("{n}", number)


def _list(rng: random.Random) -> Question:
    return _written(rng, LISTS, "Write a Python expression for {}.")


def _function(rng: random.Random) -> Question:
    return _written(rng, FUNCTIONS, "Write a Python function f(x) that {}.")


SOURCES = {
    "add": Source(_add, 3),
    "subtract": Source(_subtract, 3),
    "multiply": Source(_multiply, 3),
    "copy": Source(_copy, 0),
    "reverse": Source(_reverse, 3),
    "letters": Source(_letters, 3),
    "calendar": Source(_calendar, 3),
    "capital": Source(_capital, 0),
    "compare": Source(_compare, 3),
    "sort": Source(_sort, 3),
    "list": Source(_list, 2, code="expression"),
    "function": Source(_function, 2, code="function"),
}
