"""Recorded requests, sent to a fleet at their own times whatever becomes of them (an open loop).

Clients that would have asked sooner, had they been answered sooner, are not modelled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from fleet.simulation.world import Answer, Ask, Fleet
from simulator.model.sequence import ENDLESS, KeyRuns

_INDEX_BITS = 24


@dataclass(frozen=True, slots=True)
class Recorded:
    """One request as it came.

    Attributes:
        at: seconds from the record's beginning.
        session: tells conversations apart; empty: it is none that goes on.
        history_tokens: of its prompt, what its session has said before, as far as is known.
        shared_tokens: with which all prompts of its tenant begin.
        hash_ids, hash_tokens: content of its prompt, a number for each so many tokens; empty:
            session and tenant tell what is alike.
        score: of its newest user turn; None: it was not scored.
        model: that it named; None: it left the choice.
        code: how it ended then.

    """

    at: float
    prompt_tokens: int
    output_tokens: int
    tenant: str = "trace"
    tier: str = ""
    session: str = ""
    history_tokens: int = 0
    shared_tokens: int = 0
    hash_ids: tuple[int, ...] = ()
    hash_tokens: int = 512
    score: float | None = None
    model: str | None = None
    has_tools: bool = False
    is_background: bool = False
    is_sub_agent: bool = False
    code: str = "200"


@dataclass(slots=True)
class Replay:
    """Recorded requests as a `Source`.

    Attributes:
        requests: by their time.
        tier: of those that name none, or one that the fleet does not have.
        speed: how many times as fast as they came.

    """

    requests: Iterable[Recorded]
    tier: str
    tiers: frozenset[str] = frozenset()
    speed: float = 1.0
    _fleet: Fleet = field(init=False)
    _left: Iterator[Recorded] = field(init=False)
    _numbers: dict[str, int] = field(init=False, default_factory=dict)

    def begin(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._left = iter(self.requests)
        self._next()

    def _next(self) -> None:
        request = next(self._left, None)
        if request is not None:
            self._fleet.world.at(request.at / self.speed, lambda _: self._send(request))

    def _send(self, request: Recorded) -> None:
        self._next()
        own = f"{request.tenant}\0{request.session or id(request)}"
        number = self._numbers.setdefault(own, len(self._numbers))
        tenant = self._numbers.setdefault(request.tenant, len(self._numbers))
        self._fleet.ask(
            Ask(
                request.tenant,
                request.tier if request.tier in self.tiers else self.tier,
                number,
                max(1, request.prompt_tokens),
                max(1, request.output_tokens),
                _blocks(request, number, tenant),
                _ignore,
                max(0, request.history_tokens - request.shared_tokens),
                request.shared_tokens,
                scores=() if request.score is None else (request.score,),
                pinned=request.model,
                turn=len(self._numbers),
                has_tools=request.has_tools,
                is_background=request.is_background or request.is_sub_agent,
                is_sub_agent=request.is_sub_agent,
            )
        )


def _ignore(_answer: Answer, _now: float) -> None:
    """Whoever asked is not told: the record goes on by itself."""


def _blocks(request: Recorded, number: int, tenant: int) -> Callable[[int], KeyRuns]:
    """Return what names the blocks of a prompt: by its content, or its tenant and session."""
    own = (2 * number) << _INDEX_BITS
    common = (2 * tenant + 1) << _INDEX_BITS

    def blocks(size: int) -> KeyRuns:
        hashes = request.hash_ids
        if not hashes:
            return KeyRuns((request.shared_tokens // size, common), (ENDLESS, own))
        # The last of them may stand for less than a whole block: then it is its own.
        each = max(1, request.hash_tokens // size)
        runs = [(each * (n + 1), _content(one, n, each)) for n, one in enumerate(hashes)]
        return KeyRuns(*runs, (ENDLESS, own))

    return blocks


def _content(hashed: int, place: int, each: int) -> int:
    """Return what makes keys of the blocks that one hash stands for; none is a session's."""
    return -((hashed + 1) * each) - place * each
