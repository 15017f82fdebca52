"""The messages of the pinned vLLM (0.29) that a client may read.

`PASSED` are its own words from their beginning on, as far as the pattern goes: what
follows (hints for operators, the value that was sent) is left out. Where a request can
put words of its own, no pattern reaches. `IN_OUR_WORDS` say something useful with what
only an operator should see.
"""

from __future__ import annotations

import re

_N = r"(?:-?\d[\d.]*(?:e[+-]?\d+)?|-?inf|nan)"
_FIELD = r"`?[a-z][a-z0-9_.]{0,60}`?"
_GRAMMAR = "The schema or grammar is not one that this model's answers can be held to."
_MEDIA = "An image, sound or video in the request cannot be read."

TOO_LONG = re.compile(
    r"This model's maximum context length|Input length \(|The prompt of \d+ tokens "
    r"|'\w+' asks for \d+ tokens: "
)
"""What of this is said about a prompt or an answer that does not fit the model's context."""

_OURS = (
    (
        rf"({_FIELD})=(\d+) cannot be greater than max_model_len=max_total_tokens=(\d+)",
        r"'\1' asks for \2 tokens: this model's context has \3.",
    ),
    (
        rf"({_FIELD})=(\d+) cannot be greater than max_model_len - \w+ = (-?\d+)",
        r"'\1' asks for \2 tokens: this model's context has room for \3.",
    ),
    (
        r"The \w+ prompt \(length (\d+)\) is longer than the maximum model length of (\d+)",
        r"The prompt of \1 tokens is longer than this model's context of \2 tokens.",
    ),
    (
        r"The \w+ prompt \(length (\d+)\) plus .{0,80} maximum model length of (\d+)",
        r"The prompt of \1 tokens leaves no room for an answer in a context of \2 tokens.",
    ),
    (r"The \w+ prompt cannot be empty", "The prompt is empty."),
    (
        r"Model .{1,300} does not support Matryoshka",
        "'dimensions' must be left out: this model makes vectors of one size.",
    ),
    (
        r"Model .{1,300} only supports dimensions in range \[(\d+), (\d+)\]",
        r"'dimensions' must be from \1 to \2.",
    ),
    (
        r"Model .{1,300} only supports Matryoshka dimensions \[([\d, ]{1,200})\]",
        r"'dimensions' must be one of \1.",
    ),
    (
        r"(max_tokens_per_\w+) \(\d+\) must be less than max_model_len \((\d+)\)",
        r"'\1' must be less than \2.",
    ),
    (
        r"(truncate_prompt_tokens) value is greater than max_model_len",
        r"'\1' must not be more than this model's context.",
    ),
    (
        r"Input lengths must be either 1:1, 1:N or N:N",
        "Texts are compared one by one, or one with each of the others.",
    ),
    (r"Either prompt or prompt_embeds must be provided", "'prompt' must not be empty."),
    (r"Cannot apply chat template to an empty conversation", "The conversation is empty."),
    (
        r"token_id\(s\) .{0,2000} in (\w+) contain out-of-vocab token ids.*?(\d+)\Z",
        r"'\1' has token ids that this model does not have: it has \2.",
    ),
    (
        r"The model vocabulary size is (\d+), but the following tokens were specified as bad",
        r"'bad_words' are made of tokens that this model does not have: it has \1.",
    ),
    (
        r"You must set `--enable-[a-z-]*embeds`",
        "Embeddings in the place of text or media are not taken here.",
    ),
    (r"Chat template is passed with request", "Chat templates of a request are not taken here."),
    (
        r"Found unexpected chat template kwargs",
        "'chat_template_kwargs' has a name that is not taken here.",
    ),
    (
        r"\"auto\" tool choice requires --|tool_choice=.{0,200} requires --tool-call-parser",
        "This model is not set up to call tools: leave 'tools' and 'tool_choice' out.",
    ),
    (
        r"thinking_token_budget is set but reasoning_config",
        "This model does not think before it answers: leave 'thinking_token_budget' out.",
    ),
    (r"This vLLM engine does not support `store=True`", "Nothing is stored here."),
    (
        r"[\w./-]{1,200} is not a multimodal model",
        "This model takes text alone: no images, sounds or videos.",
    ),
    (
        (
            r"Unsupported chat content part type|\d+ validation errors? for (?:ValidatorIterator"
            r"|ChatCompletionContentPart)"
        ),
        "A part of a message's content is of a type, or in a form, that is not taken here.",
    ),
    (r"The tool with name ", "'tool_choice' names a tool that is not among 'tools'."),
    (r"Choice '", "A choice of 'structured_outputs' must not be an empty list."),
    (r"Invalid (?:value for|`name` in) `(?:function|tool_choice)`", "'tool_choice' is not valid."),
    (r"Grammar error: at .{0,40}: invalid regex", "The regular expression cannot be read."),
    (
        r"Grammar error: Invalid type",
        "A 'type' in the schema is none that JSON Schema knows.",
    ),
    (r"Grammar error(?!: (?:type|schema|properties|items|required) must be)", _GRAMMAR),
    (r"Invalid grammar specification|Failed to (?:compile|convert|parse|make)|xgrammar", _GRAMMAR),
    (
        (
            r"Failed to (?:load|decode|fetch|open) |cannot identify image|Invalid data URL"
            r"|Only base64 data URLs|The URL must be|Cannot load local files|The file path"
            r"|Incorrect padding|Invalid base64"
        ),
        _MEDIA,
    ),
)
IN_OUR_WORDS = tuple((re.compile(pattern, re.DOTALL), words) for pattern, words in _OURS)

_PASSED = (
    (
        r"This model's maximum context length is \d+ tokens(?:\. However, you requested \d+ output "
        r"tokens(?: and your prompt contains [a-z0-9 ,()]{1,200}"
        r"(?:\. Please reduce [a-z ]{1,120})?)?)?\.?"
    ),
    r"Input length \(\d+\) exceeds model's maximum context length \(\d+\)",
    # What bounds a number has, and of what kind a field is.
    (
        rf"{_FIELD}(?:, {_FIELD})? (?:must|cannot) (?:not )?(?:be|contain|equal) "
        rf"(?:True if set|[a-z0-9 \[\](),.>=_-]{{1,60}}?)"
        rf"(?:(?:,? got {_N})?(?:\.(?= |\Z)|\Z)|(?=; |, got ))"
    ),
    r"Requested (?:sample|prompt) logprobs of \d+, which is greater than max allowed: \d+",
    r"Requested logprob_token_ids of length \d+, which is greater than max allowed: \d+",
    (
        r"When both logprobs and logprob_token_ids are set, logprobs must equal "
        r"len\(logprob_token_ids\)\."
    ),
    r"[Ww]hen using `[a-z_]+`, `[a-z_]+` must be set(?: to true)?\.?",
    r"`[a-z_]+` (?:is|are) not (?:supported|available) when [a-z0-9_`=. ]{1,60}?(?:True|False|0)`",
    r"`[a-z_]+` is not supported with beam search\.",
    r"Stream options can only be defined when `stream=True`\.",
    r"Cannot set both `[a-z_]+` and `[a-z_]+` to True\.",
    r"Cannot specify both [a-z_]+ and [a-z_.]+",
    r"Only one of `[a-z_]+` and `[a-z_]+` can be set\.",
    r"When response_format type is 'json_schema', the 'json_schema' field must be provided\.",
    r"You (?:can only|must) use one kind of structured outputs constraint but \w+ are specified",
    (
        r"You can only use one kind of constraints for structured outputs "
        r"\('json', 'regex' or 'choice'\)\."
    ),
    r"You can only either use constraints for structured outputs or tools, not both\.",
    r"Invalid (?:structured_outputs|response_format) structural_tag specification",
    r"Invalid JSON grammar specification",
    r"Grammar error: (?:type|schema|properties|items|required) must be [a-z ]{1,60}",
    r"Expected field `name` in `function` in `tool_choice`!",
    r"The tool specified in `tool_choice` does not match any of the specified `tools`",
    (
        r"Tool choice '(?:required|function)' (?:must be specified with|not found in) "
        r"'tools' parameter\."
    ),
    r"assistant tool_calls entries must be objects\.",
    r"chat completions only support assistant tool_calls of type 'function'\.",
    r"(?:Missing|Invalid) 'type' field in multimodal part\.",
    r"(?:stop|bad_words) cannot contain an empty string",
    r"bad_words entries must tokenize to at least one token\.",
    r"Too many bad words after tokenization: \d+\. The max number is \d+\.",
    r"min_count must be >= 2 to detect repetitive patterns in engine output\.",
    r"logit_bias contains key\(s\) that cannot be converted to integer token IDs",
    r"Token id -?\d+ is out of vocabulary",
    r"At most \d+ (?:image|audio|video)\(s\) may be provided in one prompt\.",
    r"Mixing raw (?:image|audio|video) and embedding inputs is not allowed",
    r"(?:suffix|prompt template) is not (?:currently )?supported",
    r"Echo is unsupported with prompt embeds\.",
    r"The [a-z_, ]{1,120} sampling parameters are not yet supported with speculative decoding\.",
    r"logprobs are not supported with gpt-oss models",
    r"This model does not support [a-z]{1,20}",
    # Of chat templates.
    (
        r"(?:After the optional system message, c|C)onversation roles must alternate "
        r"user/assistant/user/assistant/\.\.\."
    ),
    r"System (?:role|message) (?:not supported|is not supported|must be at the beginning)\.?",
    r"Only user(?:, system)?(?:,)? and assistant roles are supported",
    # Of pydantic: what one field must be.
    r"Input should (?:be|have|match) [a-z0-9 ,.-]{1,120}\Z",
    r"Input should be (?:'[a-z0-9_. -]{1,60}'(?:, | or )?){1,40}\Z",
    r"Field required\Z",
    r"(?:List|String|Dictionary|Value|Data) should have at (?:least|most) \d+ [a-z ]{1,40}",
    r"Unable to parse input string as an integer, exceeded maximum size\Z",
)
PASSED = tuple(re.compile(pattern) for pattern in _PASSED)
