"""What is reserved is at least what the engine may do: the pinned vLLM's own reader says so."""

import json
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from vllm.entrypoints.anthropic.protocol import AnthropicMessagesRequest
    from vllm.entrypoints.anthropic.serving import AnthropicServingMessages
    from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
    from vllm.entrypoints.openai.completion.protocol import CompletionRequest
    from vllm.entrypoints.openai.responses.protocol import ResponsesRequest
    from vllm.entrypoints.pooling.embed.protocol import EmbeddingCompletionRequest
    from vllm.entrypoints.pooling.scoring.protocol import (
        RerankRequest,
        ScoreQueriesDocumentsRequest,
    )
    from vllm.entrypoints.serve.utils.api_utils import get_max_tokens
    from vllm.exceptions import VLLMError
    from vllm.renderers.inputs.preprocess import prompt_to_seq

from serve_app.bodies.body_rules import RULES
from serve_app.bodies.parsed_request import ParsedRequest, for_engine, parse
from serve_app.bodies.routes import ROUTES
from tests.wrong_bodies import FIELDS

CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"
RESPONSES = "/v1/responses"
MESSAGES = "/v1/messages"
WINDOW = 4096
READ = 10
"""Tokens of a prompt, as the oracle supposes."""

numbers = st.one_of(
    st.integers(-2, 5000),
    st.sampled_from([0, 1, 16, 4085, 4086, 4087, 10**9, 2**31, 2**63, 2**64, 10**30]),
    st.integers(-2, 5000).map(float),
    st.floats(-2, 5000),
)
spellings = st.one_of(
    st.none(),
    numbers,
    numbers.map(str),
    st.booleans(),
    st.sampled_from(["true", "off", "", " 7 ", "1e3", "0x10", [], {}, [5]]),
)
flags = st.none() | st.booleans() | st.sampled_from([0, 1, "off", "on", "true", "false", "0"])
texts = st.text(max_size=4)
ids = st.integers(0, 9)
prompts = st.one_of(
    texts,
    st.lists(texts, max_size=4),
    st.lists(ids | ids.map(float) | ids.map(str), max_size=4),
    st.lists(st.lists(ids, max_size=3), max_size=4),
)
fields = st.fixed_dictionaries(
    {},
    optional={
        "max_tokens": spellings,
        "max_completion_tokens": spellings,
        "max_output_tokens": spellings,
        "n": spellings,
        "best_of": spellings,
        "min_tokens": spellings,
        "ignore_eos": flags,
        "echo": flags,
        "stream": flags,
        "stream_options": st.dictionaries(
            st.sampled_from(["include_usage", "continuous_usage_stats"]), flags
        ),
        "stream_interval": spellings,
        "use_beam_search": flags,
        "truncate_prompt_tokens": spellings,
        "prompt_logprobs": spellings,
    },
)
PROMPT = {
    CHAT: {"messages": [{"role": "user", "content": "Hi"}]},
    COMPLETIONS: {"prompt": "Hi"},
    RESPONSES: {"input": "Hi"},
    MESSAGES: {"messages": [{"role": "user", "content": "Hi"}]},
}


def engine_reads(path, body):
    """The request as vLLM reads it: its model, the field that caps, and its prompts."""
    if path == COMPLETIONS:
        request = CompletionRequest.model_validate(body)
        given = [*prompt_to_seq(request.prompt)]
        return request, request.max_tokens, len(given)
    if path == RESPONSES:
        request = ResponsesRequest.model_validate(body)
        return request, request.max_output_tokens, 1
    if path == MESSAGES:
        asked = AnthropicMessagesRequest.model_validate(body)
        request = AnthropicServingMessages.to_chat_completion_request(asked)
    else:
        request = ChatCompletionRequest.model_validate(body)
    given = request.max_completion_tokens
    # Read past the descriptor, which warns that the field is deprecated.
    return request, vars(request)["max_tokens"] if given is None else given, 1


def engine_may(path, body):
    """Tokens of each answer, answers, and the request; None when vLLM refuses."""
    try:
        request, asked, count = engine_reads(path, body)
        kept = None if path == RESPONSES else request.truncate_prompt_tokens
        limit = get_max_tokens(WINDOW, asked, READ, {}, None, kept)
        params = request.to_sampling_params(limit, {})
    except (VLLMError, ValueError, TypeError, AttributeError, KeyError):
        return None
    return params.max_tokens, params.n * count, request


def reserved(parsed):
    """What stands for a missing limit is the context: of a prompt cut short, all of it."""
    each = WINDOW if parsed.output_tokens is None else parsed.output_tokens
    return each * parsed.num_sequences


@pytest.mark.parametrize("path", PROMPT)
@given(body=fields, prompt=prompts)
def test_reserved_is_at_least_what_the_engine_may_do(path, body, prompt):
    """Whatever the spelling: it is read as the engine reads it, or refused."""
    given_prompt = {"prompt": prompt} if path == COMPLETIONS else PROMPT[path]
    parsed = parse(json.dumps({"model": "m", **given_prompt, **body}).encode(), ROUTES[path])
    if not isinstance(parsed, ParsedRequest):
        return
    sent = json.loads(for_engine(parsed, model="m", cache_salt=None, priority=None))
    does = engine_may(path, sent)
    if does is None:
        return

    each, answers, request = does
    assert reserved(parsed) >= each * answers
    assert parsed.stream == bool(request.stream)
    if parsed.stream and path in (CHAT, COMPLETIONS):
        # Every event is a token, and the last one tells their number.
        assert request.stream_options.include_usage is True
        assert request.stream_interval in (None, 1)


@pytest.mark.parametrize("path", PROMPT)
@given(limit=st.integers(1, 5000), copies=st.integers(1, 4))
def test_what_is_reserved_is_what_the_engine_caps_at(path, limit, copies):
    """Not more either: a limit in the field that counts there is the limit."""
    name = {RESPONSES: "max_output_tokens", MESSAGES: "max_tokens"}.get(path, "max_tokens")
    body = {"model": "m", **PROMPT[path], name: limit, "n": copies}

    parsed = parse(json.dumps(body).encode(), ROUTES[path])

    does = engine_may(path, body)
    assert min(parsed.output_tokens, WINDOW - READ) == does[0]
    assert parsed.num_sequences == does[1]


@pytest.mark.parametrize(
    ("path", "fields", "each"),
    [
        (COMPLETIONS, {"max_completion_tokens": 1, "max_tokens": 300}, 300),
        (COMPLETIONS, {"max_completion_tokens": 1}, 16),
        (COMPLETIONS, {"max_tokens": None}, 16),
        (COMPLETIONS, {"max_output_tokens": 5}, 16),
        (COMPLETIONS, {"echo": True, "max_tokens": 0}, 1),
        (CHAT, {"max_completion_tokens": 1, "max_tokens": 300}, 1),
        (CHAT, {"max_completion_tokens": None, "max_tokens": 300}, 300),
        (CHAT, {"max_output_tokens": 1}, None),
        (CHAT, {"max_tokens": 16.0}, 16),
        (RESPONSES, {"max_tokens": 1}, None),
        (RESPONSES, {"max_tokens": 1, "max_output_tokens": 300}, 300),
        (MESSAGES, {"max_completion_tokens": 1, "max_tokens": 300}, 300),
    ],
)
def test_which_field_caps_an_answer_depends_on_the_route(path, fields, each):
    """And so does what caps it when there is none; None: the context does."""
    parsed = parse(json.dumps({"model": "m", **PROMPT[path], **fields}).encode(), ROUTES[path])

    assert parsed.output_tokens == each
    does = engine_may(path, {"model": "m", **PROMPT[path], **fields})
    assert does[0] == (WINDOW - READ if each is None else each)


@pytest.mark.parametrize(
    ("path", "fields", "copies"),
    [
        (COMPLETIONS, {"prompt": ["a", "b"], "n": 3}, 6),
        (COMPLETIONS, {"prompt": [[1], [2], [3]]}, 3),
        (COMPLETIONS, {"prompt": [1, 2, 3]}, 1),
        (CHAT, {"n": 3}, 3),
        (RESPONSES, {"n": 3}, 1),
        (MESSAGES, {"n": 3, "max_tokens": 1}, 1),
    ],
)
def test_answers_are_those_that_the_engine_makes(path, fields, copies):
    """Fields that the route does not know make none."""
    body = {"model": "m", **PROMPT[path], **fields}

    assert parse(json.dumps(body).encode(), ROUTES[path]).num_sequences == copies
    assert engine_may(path, body)[1] == copies


def test_every_field_of_the_engine_is_tried_with_wrong_values():
    """The generator of wrong bodies knows the fields of the pinned vLLM's request models."""
    models = {
        CHAT: ChatCompletionRequest,
        COMPLETIONS: CompletionRequest,
        RESPONSES: ResponsesRequest,
        MESSAGES: AnthropicMessagesRequest,
        "/v1/embeddings": EmbeddingCompletionRequest,
        "/v1/score": ScoreQueriesDocumentsRequest,
        "/v1/rerank": RerankRequest,
    }
    for path, model in models.items():
        known = {*FIELDS[path], *RULES[path], "model", "cache_salt"}
        assert set(model.model_fields) <= known, path
