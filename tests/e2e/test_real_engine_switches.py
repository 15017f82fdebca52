"""What a client cannot switch on: held by vLLM's own bounds and defaults, which we leave alone."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.wrong_bodies import CHAT, COMPLETIONS, SMALLEST

pytestmark = pytest.mark.security

# vLLM's own bound is 20; -1 would be the whole vocabulary.
ASKS: list[tuple[str, dict[str, Any]]] = [
    *((CHAT, {"logprobs": True, "top_logprobs": count}) for count in (21, 10**6, -1)),
    *((COMPLETIONS, {"logprobs": count}) for count in (21, -1)),
    *((path, {"prompt_logprobs": n}) for path in (CHAT, COMPLETIONS) for n in (21, 10**6, -1)),
    (CHAT, {"chat_template": "{{ 7 * 7 }}"}),
    (CHAT, {"chat_template_kwargs": {"chat_template": "{{ 7 * 7 }}"}}),
    (COMPLETIONS, {"prompt_embeds": "AAAA"}),
    (COMPLETIONS, {"prompt_embeds": ["AAAA"]}),
    *((CHAT, {"stop": stop}) for stop in ([""], "", ["x"] * 100_000)),
    *((CHAT, {name: [10**9]}) for name in ("allowed_token_ids", "stop_token_ids")),
    (CHAT, {"logit_bias": {"999999999": 1}}),
]


@pytest.mark.parametrize(("path", "fields"), ASKS, ids=[str(x)[:60] for _, x in ASKS])
def test_what_only_an_operator_may_switch_on_is_refused(
    real: str, http: httpx.Client, path: str, fields: dict[str, Any]
) -> None:
    """400 in our form, from this engine alone: nothing is tried twice, nothing of it is run."""
    answer = http.post(f"{real}{path}", json={**SMALLEST[path], **fields})

    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["code"] == "invalid_request"
    assert "--" not in answer.json()["error"]["message"]
