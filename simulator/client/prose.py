"""Texts of a wanted length for load: everyday questions and complex ones."""

from __future__ import annotations

from random import Random

from simulator.model.text import tokenize

_EVERYDAY = (
    "How do I change the email address on my account?",
    "The export button does nothing when I click it.",
    "Can you tell me when my next invoice is due?",
    "I was charged twice this month, please check.",
    "Where do I find the settings for notifications?",
    "My colleague cannot see the shared dashboard.",
    "What does the yellow icon next to a report mean?",
    "Please resend the invitation to our new team member.",
    "We would like to add three more seats to our plan.",
    "The page says that my session has expired.",
    "Is there a way to download all attachments at once?",
    "Thanks, that worked. One more thing about billing.",
)
_COMPLEX = (
    (
        "Prove that the sum of two independent gamma variables with the same rate is gamma "
        "distributed, and derive its parameters step by step."
    ),
    (
        "Design a lock-free bounded queue for many producers and one consumer, state the "
        "memory ordering of every access, and argue why no element is lost."
    ),
    (
        "Derive the closed-form solution of ridge regression, then analyse how its bias and "
        "variance change with the penalty, with all intermediate steps."
    ),
    (
        "Given a directed graph with negative edges but no negative cycles, explain and prove "
        "an algorithm for all-pairs shortest paths faster than cubic on sparse graphs."
    ),
)


def everyday(tokens: int, random: Random) -> str:
    """Support chat of about so many tokens (by the simulator's tokenizer)."""
    return _grow([], tokens, random)


def complex_question(tokens: int, random: Random) -> str:
    """A hard question, followed by everyday context up to so many tokens."""
    return _grow([random.choice(_COMPLEX)], tokens, random)


def system_prompt(tenant: int, tokens: int) -> str:
    """The system prompt of one tenant: always the same text."""
    random = Random(tenant)
    return _grow([f"You are the support assistant of customer {tenant}."], tokens, random)


def _grow(said: list[str], tokens: int, random: Random) -> str:
    count = sum(len(tokenize(text.encode())) for text in said)
    while count < tokens:
        sentence = random.choice(_EVERYDAY)
        length = len(tokenize(f" {sentence}".encode()))
        if count + length > tokens:
            words = sentence.split()
            said.append(" ".join(words[: max(1, tokens - count)]))
            break
        said.append(sentence)
        count += length
    return " ".join(said)
