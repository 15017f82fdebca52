"""Failures that a line of the fleet file causes."""

from __future__ import annotations

from serve_app.machine.failures.fingerprint import row

FLEET_FILE = (
    row(
        "unknown_quantization",
        r"Unknown quantization method: (?P<given>\S+?)\. Must be one of"
        r"|[Uu]nsupported quantization:? '?(?P<old>\w+)'?",
        "the installed vLLM has no such quantization",
        "lanes.{lane}.engine_args.quantization: fp8 (or awq_marlin for an AWQ checkpoint); the "
        "log lists all of them",
    ),
    row(
        "quantization_of_another_checkpoint",
        r"Quantization method specified in the model config \((?P<has>\S+)\) does not match the "
        r"quantization method specified in the `quantization` argument \((?P<given>\S+)\)",
        "the checkpoint is quantised with {has}, the fleet file says {given}",
        "lanes.{lane}.engine_args.quantization: {has}, or a checkpoint that is not quantised",
    ),
    row(
        "dtype_of_another_quantization",
        r"(?P<dtype>torch\.\w+) is not supported for quantization method (?P<method>\S+?)\. "
        r"Supported dtypes: (?P<known>[^\n]+?\])",
        "{method} weights do not compute in {dtype}",
        "lanes.{lane}.engine_args.dtype: auto ({method} takes {known})",
    ),
    row(
        "window_over_the_model_s_limit",
        r"max_model_len \((?P<given>\d+)\) is greater than the derived max_model_len "
        r"\(max_position_embeddings=(?P<limit>\d+)",
        "the model reads at most {limit} tokens, the fleet file says {given}",
        "lanes.{lane}.max_model_len: {limit}",
    ),
    row(
        "heads_do_not_divide",
        r"Total number of attention heads \((?P<heads>\d+)\) must be divisible by tensor parallel "
        r"size \((?P<cards>\d+)\)",
        "{heads} attention heads cannot be divided among {cards} cards",
        "lanes.{lane}.engine_args.tensor_parallel_size: 2 (or another divisor of {heads})",
    ),
    row(
        "more_cards_than_there_are",
        r"World size \((?P<wanted>\d+)\) is larger than the number of available GPUs "
        r"\((?P<there>\d+)\)"
        r"|number of required GPUs exceeds the total number of available GPUs in the placement "
        r"group\. Required number of devices: (?P<required>\d+)",
        "one replica asks for more cards than a host has for it",
        "lanes.{lane}.engine_args.tensor_parallel_size: the number of cards of one host",
    ),
    row(
        "batch_smaller_than_window",
        r"max_num_batched_tokens \((?P<batch>\d+)\) is smaller than max_model_len "
        r"\((?P<window>\d+)\)",
        "without chunked prefill a step must hold a whole prompt",
        "lanes.{lane}.engine_args.enable_chunked_prefill: true (or max_num_batched_tokens: "
        "{window})",
    ),
    row(
        "prefill_cap_over_the_window",
        r"long_prefill_token_threshold \((?P<cap>\d+)\) cannot be greater than the max_model_len "
        r"\((?P<window>\d+)\)",
        "the cap on one request's prefill ({cap}) is longer than the window",
        "lanes.{lane}.engine_args.long_prefill_token_threshold: 512",
    ),
    row(
        "unknown_flag",
        r"(?:Async)?EngineArgs\.__init__\(\) got an unexpected keyword argument '(?P<flag>\w+)'"
        r"|FrontendArgs\.__init__\(\) got an unexpected keyword argument '(?P<other>\w+)'"
        r"|unrecognized arguments: (?P<arguments>\S+)",
        "a name under engine_args is no flag of the installed vLLM",
        "`pointsman doctor --config FILE` names it and the nearest one that there is",
    ),
    row(
        "unknown_tool_parser",
        r"invalid (?:tool call|reasoning) parser: (?P<given>\S+)"
        r"|requires tool_parser:'(?P<name>[^']+)' which has not been registered"
        r"|(?:Tool|Reasoning) parser '(?P<other>[^'{]+)' not found",
        "the installed vLLM has no tool or reasoning parser of that name: {given}{name}{other}",
        "lanes.{lane}.engine_args.tool_call_parser: hermes (Qwen), llama3_json (Llama) or "
        "mistral; the log lists all of them",
    ),
    row(
        "tool_choice_without_parser",
        r"--enable-auto-tool-choice requires --tool-call-parser",
        "enable_auto_tool_choice is on, and no parser is named",
        "lanes.{lane}.engine_args.tool_call_parser: hermes (or the model's own)",
    ),
    row(
        "chat_template_file_missing",
        r"The supplied chat template \((?P<path>.+?)\) looks like a file path, but it failed to be "
        r"opened",
        "the chat template {path} cannot be opened",
        "lanes.{lane}.engine_args.chat_template: the path of a file on every host of the lane, or "
        "without the line the checkpoint's own",
    ),
    row(
        "no_chat_template",
        r"default chat template is no longer allowed|No chat template available"
        r"|does not have a chat_template|tokenizer\.chat_template is not set",
        "the tokenizer of the checkpoint has no chat template: it is a base model, or an "
        "incomplete copy",
        "use the -Instruct checkpoint, copy its tokenizer_config.json (or chat_template.jinja), "
        "or lanes.{lane}.engine_args.chat_template: FILE",
    ),
    row(
        "unknown_architecture",
        r"Model architectures \['(?P<given>\w+)'\S* (?:\S+ )?(?:are not supported for now"
        r"|failed to be inspected)",
        "the installed vLLM does not know the architecture {given}",
        "lanes.{lane}.model_source: a model that vLLM 0.29.0 lists, or a newer Pointsman",
    ),
    row(
        "unknown_model_type",
        r"checkpoint you are trying to load has model type `(?P<given>[^`]+)` but Transformers "
        r"does not recognize",
        "the installed Transformers does not know the model type {given}",
        "lanes.{lane}.model_source: an older model; newer ones come with a newer Pointsman "
        "(do not upgrade transformers alone: the versions are locked together)",
    ),
    row(
        "custom_code",
        r"contains custom code which must be executed to correctly load the model",
        "the checkpoint brings Python code of its own, which is not run unless you say so",
        "read that code, then lanes.{lane}.revision: COMMIT and "
        "lanes.{lane}.engine_args.trust_remote_code: true",
    ),
    row(
        "unknown_kv_cache_dtype",
        r"validation errors? for CacheConfig\ncache_dtype\n\s+"
        r"(?P<why>Input should be [^\[\n]{1,400})",
        "engine_args.kv_cache_dtype: {why}",
        "lanes.{lane}.engine_args.kv_cache_dtype: fp8 (or auto for 16 bits)",
    ),
    row(
        "unknown_scheduling_policy",
        r"validation errors? for SchedulerConfig\npolicy\n\s+"
        r"(?P<why>Input should be [^\[\n]{1,400})",
        "engine_args.scheduling_policy: {why}",
        "lanes.{lane}.engine_args.scheduling_policy: priority",
    ),
    row(
        "value_not_allowed",
        r"validation errors? for (?P<config>\w+Config)\n(?P<field>\w+)\n\s+(?P<why>Input "
        r"should be [^\[\n]{1,400})",
        "engine_args.{field}: {why}",
        "lanes.{lane}.engine_args.{field}: a value that is allowed",
    ),
)
