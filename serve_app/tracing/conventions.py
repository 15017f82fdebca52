"""Names of spans and attributes: OpenTelemetry's, of one version, and our own.

The GenAI conventions are not stable yet: names change between releases. They are pinned
here, and stand nowhere else; a later version is a change of this file, of docs/tracing.md
and of the dashboards that read them. 1.41.0 is the last release of the general conventions
that has those for GenAI, and the newest that has a schema collectors can convert from.
https://github.com/open-telemetry/semantic-conventions/tree/v1.41.0/docs/gen-ai
"""

from __future__ import annotations

from typing import Final

VERSION: Final = "1.41.0"
SCHEMA_URL: Final = f"https://opentelemetry.io/schemas/{VERSION}"

# -- operations, which begin a span's name --------------------------------------

OPERATION: Final = "gen_ai.operation.name"
TASK: Final = "invoke_workflow"
TURN: Final = "invoke_agent"
CHAT: Final = "chat"
EMBEDDINGS: Final = "embeddings"
TEXT_COMPLETION: Final = "text_completion"
EXECUTE_TOOL: Final = "execute_tool"

# -- attributes of the conventions ------------------------------------------------

PROVIDER: Final = "gen_ai.provider.name"
CONVERSATION_ID: Final = "gen_ai.conversation.id"
REQUEST_MODEL: Final = "gen_ai.request.model"
RESPONSE_MODEL: Final = "gen_ai.response.model"
REQUEST_STREAM: Final = "gen_ai.request.stream"
REQUEST_MAX_TOKENS: Final = "gen_ai.request.max_tokens"
REQUEST_TEMPERATURE: Final = "gen_ai.request.temperature"
REQUEST_TOP_P: Final = "gen_ai.request.top_p"
REQUEST_CHOICES: Final = "gen_ai.request.choice.count"
TIME_TO_FIRST_CHUNK: Final = "gen_ai.response.time_to_first_chunk"
INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"
CACHED_TOKENS: Final = "gen_ai.usage.cache_read.input_tokens"
OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"
REASONING_TOKENS: Final = "gen_ai.usage.reasoning.output_tokens"
TOOL_NAME: Final = "gen_ai.tool.name"
TOOL_TYPE: Final = "gen_ai.tool.type"
TOOL_CALL_ID: Final = "gen_ai.tool.call.id"
ERROR_TYPE: Final = "error.type"
HTTP_STATUS: Final = "http.response.status_code"

SERVICE_NAME: Final = "service.name"
SERVICE_VERSION: Final = "service.version"
SERVICE_INSTANCE_ID: Final = "service.instance.id"

VLLM: Final = "vllm"
"""As `gen_ai.provider.name`: whose form the requests have. A simulated engine speaks it, too."""

FUNCTION: Final = "function"
"""As `gen_ai.tool.type`: a tool that the client runs."""

# -- our own ----------------------------------------------------------------------

TENANT: Final = "pointsman.tenant.id"
TIER: Final = "pointsman.tier"
TASK_ID: Final = "pointsman.task.id"
REQUEST_ID: Final = "pointsman.request.id"
LANE: Final = "pointsman.lane"
REPLICA: Final = "pointsman.replica"
REASON: Final = "pointsman.reason"
SCORE: Final = "pointsman.score"
THRESHOLD: Final = "pointsman.threshold"
HOLD: Final = "pointsman.cascade.outcome"
UNCERTAINTY: Final = "pointsman.cascade.uncertainty"
CODE: Final = "pointsman.code"
BACKGROUND: Final = "pointsman.background"
AFFINITY: Final = "pointsman.affinity"
RECOVERY: Final = "pointsman.recovery"
PACED_S: Final = "pointsman.paced_s"
STAGE: Final = "pointsman.stage.{}_s"
"""Seconds of a stage (`serve_app.request.stages`)."""

TOOL_OUTCOME: Final = "pointsman.tool.outcome"
TOOL_OUTCOMES: Final = "pointsman.tool.outcomes"
TOOL_REPAIRS: Final = "pointsman.tool.repairs"
TOOL_START_SEEN: Final = "pointsman.tool.start_seen"
"""Whether the span's start is the end of the answer that made the call; else it is unknown."""

TOOL_ERROR: Final = "tool_error"
"""As `error.type`: the client says that the tool failed."""

LLM_CALLS: Final = "pointsman.llm_calls"
TOOL_CALLS: Final = "pointsman.tool_calls"
TURNS: Final = "pointsman.turns"
ENDED_BY: Final = "pointsman.ended_by"
