"""Scores of user turns, each worked out once in an ingress replica.

Where a contextual classifier is asked (`serve_app.scoring`), what it says of a turn takes the
place of the turn's score; a turn that it has not answered for keeps its own.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from classifier import Conversation, Scorer
from router.routing.levels import Band
from serve_app.bodies.parsed_request import ParsedRequest
from serve_app.routing.policies import Policies

SCORE_CACHE_SIZE = 20_000
MAX_BRIEF_CHARS = 4096


@dataclass(frozen=True, slots=True)
class Doubt:
    """A turn whose score is so near a threshold that a better one may change the lane.

    `key` names it among the scores.
    """

    key: bytes
    conversation: Conversation


class Scores:
    """Scores of turns by digest, those that came last at the end.

    `learned` are those that the contextual classifier has answered for.
    """

    def __init__(self) -> None:
        self.cache: OrderedDict[bytes, float] = OrderedDict()
        self.learned: OrderedDict[bytes, float] = OrderedDict()

    def of_turns(self, policies: Policies, parsed: ParsedRequest) -> list[float]:
        """Scores of the last user turns, newest last; old turns come from a cache.

        A turn is scored as it looked when it was the newest one, so each ingress
        replica finds the same score for it, whether it saw that turn or not. Turns that
        the engine will not read are not scored.
        """
        system = brief(parsed.prompt.system)
        turns = _last_turns(policies, parsed)
        return [self.score(policies.scorer, turn, system) for turn in turns]

    def score(self, scorer: Scorer, conversation: Conversation, system: str) -> float:
        key = _key(scorer, conversation, system)
        if self.learned and (learned := self.learned.get(key)) is not None:
            return learned
        score = self.cache.get(key)
        if score is None:
            score = scorer.score(conversation)
            _keep(self.cache, key, score)
        return score

    def doubts(
        self,
        policies: Policies,
        parsed: ParsedRequest,
        scores: Sequence[float],
        bands: Collection[Band],
    ) -> list[Doubt]:
        """The turns of these scores that lie in a band and that nobody was asked about yet."""
        system = brief(parsed.prompt.system)
        return [
            Doubt(key, turn)
            for turn, score in zip(_last_turns(policies, parsed), scores, strict=True)
            if any(band.holds(score) for band in bands)
            and (key := _key(policies.scorer, turn, system)) not in self.learned
        ]

    def learn(self, doubts: Sequence[Doubt], scores: Sequence[float]) -> None:
        """Have these turns the given scores from now on."""
        for doubt, score in zip(doubts, scores, strict=True):
            _keep(self.learned, doubt.key, score)


def newest_turn(parsed: ParsedRequest) -> Conversation:
    """Return what the classifier reads of the newest user turn."""
    users = parsed.prompt.users
    return _conversation(parsed, users[-1] if users else "", max(1, len(users)))


def brief(system: str) -> str:
    """What stands for a system prompt in the keys of its turns: a long one is read once."""
    return system if len(system) <= MAX_BRIEF_CHARS else _digest(system).hex()


def _last_turns(policies: Policies, parsed: ParsedRequest) -> list[Conversation]:
    turns, dropped = parsed.prompt.users, parsed.prompt.dropped_users
    before = max(len(turns) - policies.sticky_turns, dropped)
    return [
        _conversation(parsed, text, before + index + 1) for index, text in enumerate(turns[before:])
    ]


def _conversation(parsed: ParsedRequest, text: str, turn: int) -> Conversation:
    return Conversation(
        last_user=text, system=parsed.prompt.system, user_turns=turn, tools=parsed.tools
    )


def _keep(scores: OrderedDict[bytes, float], key: bytes, score: float) -> None:
    scores[key] = score
    if len(scores) > SCORE_CACHE_SIZE:
        scores.popitem(last=False)


def _key(scorer: Scorer, c: Conversation, system: str) -> bytes:
    return _digest(f"{scorer.version}\0{c.user_turns}\0{c.tools}\0{system}\0{c.last_user}")


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
