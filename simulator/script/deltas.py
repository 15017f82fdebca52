"""An answer as tokens, and what each token adds for who reads the stream.

The tokens are the text that a model of the Hermes family would write. As in vLLM's streaming
parser for it, a call's name comes first, its arguments in pieces, and markup adds nothing.
"""

from __future__ import annotations

from codecs import getincrementaldecoder
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from simulator.model.text import END_PIECE, Piece, pieces
from simulator.script.answer import Answer, ToolCall, hermes

Kind = Literal["reasoning", "content", "name", "arguments"]


@dataclass(frozen=True, slots=True)
class Delta:
    """What one token adds.

    Attributes:
        call: number of the tool call, for its name and arguments.

    """

    kind: Kind
    text: str
    call: int = 0


Token = tuple[Piece, Delta | None]


@dataclass(slots=True)
class Message:
    """Deltas put together: what one step of the engine adds, or a whole answer.

    Attributes:
        reasoning: None where there is none, as for the content.
        calls: number, name and arguments, each where it is there. A call whose name and
            first arguments come at once is two entries, as in vLLM's chunks.

    """

    reasoning: str | None = None
    content: str | None = None
    calls: list[tuple[int, str | None, str | None]] = field(default_factory=list)

    def __bool__(self) -> bool:
        return self.reasoning is not None or self.content is not None or bool(self.calls)


def tokens_of(answer: Answer) -> list[Token]:
    """The answer's tokens, with the one that ends it."""
    return [*_tokens(answer), (END_PIECE, None)]


def put_together(deltas: Sequence[Delta | None]) -> Message:
    made = Message()
    for delta in deltas:
        if delta is None:
            continue
        if delta.kind == "reasoning":
            made.reasoning = (made.reasoning or "") + delta.text
        elif delta.kind == "content":
            made.content = (made.content or "") + delta.text
        elif delta.kind == "name":
            made.calls.append((delta.call, delta.text, None))
        elif made.calls and made.calls[-1][0] == delta.call and made.calls[-1][1] is None:
            made.calls[-1] = (delta.call, None, (made.calls[-1][2] or "") + delta.text)
        else:
            made.calls.append((delta.call, None, delta.text))
    return made


def whole_calls(message: Message) -> list[ToolCall]:
    """The calls of a whole answer, names and arguments together."""
    names: list[str] = []
    arguments: list[str] = []
    for number, name, piece in message.calls:
        if name is not None:
            names.append(name)
            arguments.append("")
        arguments[number] += piece or ""
    return [ToolCall(*pair) for pair in zip(names, arguments, strict=True)]


def _tokens(answer: Answer) -> Iterator[Token]:
    if answer.reasoning:
        yield from _markup("<think>")
        yield from _shown("reasoning", answer.reasoning)
        yield from _markup("</think>")
    yield from _shown("content", answer.text)
    for number, call in enumerate(answer.calls):
        head, tail = hermes(ToolCall(call.name, "\0")).split("\0")
        # The name is told once its closing quotation mark is there.
        start, mark, middle = head.rpartition('", "arguments": ')
        *before, last = pieces((start + mark[:1]).encode())
        yield from ((piece, None) for piece in before)
        yield last, Delta("name", call.name, number)
        yield from _markup(mark[1:] + middle)
        yield from _shown("arguments", call.arguments, number)
        yield from _markup(tail)


def _markup(text: str) -> Iterator[Token]:
    return ((piece, None) for piece in pieces(text.encode()))


def _shown(kind: Kind, text: str, call: int = 0) -> Iterator[Token]:
    """Tokens of a text; one that ends within a character shows nothing yet."""
    decoder = getincrementaldecoder("utf-8")()
    for piece in pieces(text.encode()):
        said = decoder.decode(piece[1])
        yield piece, Delta(kind, said, call) if said else None
