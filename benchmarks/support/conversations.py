"""Recorded conversations: the same turns, in the same order, whoever answers them.

Users' messages and the assistant's answers are fixed beforehand, so what an engine says
changes no later prompt. Texts are words of one token each in the embedded model's
tokenizer, drawn at random: lengths in words are lengths in tokens, less what the chat
template adds.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from random import Random

TEXT = """
the order ship late paper blue window garden river stone bread market train station ticket price
month week account invoice customer report table chair house street city village music picture
letter number machine engine wheel metal glass water fire light sound voice story history science
school teacher student doctor nurse hospital office meeting project plan budget server network
keyboard screen button file folder image video camera phone message email address password login
error warning update version release test result score team player game match goal ball field tree
leaf flower fruit apple orange lemon sugar salt pepper coffee tea milk cheese
"""
WORDS = tuple(TEXT.split())

Message = dict[str, str]


@dataclass(frozen=True)
class Mix:
    """Sizes of the traffic; ranges are inclusive, texts in words (tokens).

    Attributes:
        apart: other sessions that have their turn before a session has its next one,
            while there are so many.

    """

    sessions: int = 40
    tenants: int = 8
    turns: tuple[int, int] = (6, 7)
    system_words: int = 300
    user_words: tuple[int, int] = (20, 50)
    answer_words: tuple[int, int] = (10, 24)
    apart: int = 8


@dataclass(frozen=True)
class Turn:
    """One request: the conversation so far, with the new message at its end."""

    session: int
    tenant: int
    messages: list[Message]


def record(mix: Mix, seed: int) -> list[Turn]:
    """Every turn of every session, interleaved, in the order in which they are asked."""
    random = Random(seed)
    systems = [_text(random, mix.system_words) for _ in range(mix.tenants)]
    waiting = {
        session: deque(_turns(mix, session, systems[session % mix.tenants], random))
        for session in range(mix.sessions)
    }
    recent: deque[int] = deque(maxlen=mix.apart)
    order: list[Turn] = []
    while waiting:
        rested = [session for session in waiting if session not in recent]
        session = random.choice(rested) if rested else next(s for s in recent if s in waiting)
        order.append(waiting[session].popleft())
        recent.append(session)
        if not waiting[session]:
            del waiting[session]
    return order


def _turns(mix: Mix, session: int, system: str, random: Random) -> list[Turn]:
    messages: list[Message] = [{"role": "system", "content": system}]
    turns = []
    for _ in range(random.randint(*mix.turns)):
        user = _text(random, random.randint(*mix.user_words))
        messages = [*messages, {"role": "user", "content": user}]
        turns.append(Turn(session, session % mix.tenants, messages))
        answer = _text(random, random.randint(*mix.answer_words))
        messages = [*messages, {"role": "assistant", "content": answer}]
    return turns


def _text(random: Random, words: int) -> str:
    return " ".join(random.choices(WORDS, k=words))
