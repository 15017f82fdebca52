"""Failures to get or to read a checkpoint: hub, cache, files."""

from __future__ import annotations

from serve_app.machine.failures.fingerprint import row

HUB = (
    row(
        "licence_not_accepted",
        r"Access to model (?P<model>\S+) is restricted and you are not in the authorized list"
        r"|Your request to access model (?P<asked>\S+) (?:is awaiting|has been rejected)",
        "the token's account has not accepted the licence of a gated model",
        "open the model's page on huggingface.co with that account, accept the licence, and "
        "start again",
    ),
    row(
        "token_lacks_permission",
        r"Please enable access to public gated repositories in your fine-grained token settings"
        r"|403 Forbidden: .{0,200}\n?Cannot access content at: (?P<url>\S+)",
        "the token may not read this repository",
        "huggingface.co/settings/tokens: give the token read access to gated repositories, or "
        "export HF_TOKEN with one that has it",
    ),
    row(
        "no_token",
        r"Access to model (?P<model>\S+) is restricted\. You must have access to it and be "
        r"authenticated|401 Client Error.{0,200}?gated repo"
        r"|You are trying to access a gated repo"
        r"|Cannot access gated repo for url",
        "the model is gated, and the start had no token of an account that may read it",
        "export HF_TOKEN=hf_... in the shell that starts Ray or Serve, of an account that has "
        "accepted the licence",
    ),
    row(
        "token_refused",
        r"Invalid credentials in Authorization header|Invalid user token|token.{0,20}is expired",
        "the hub does not know the token",
        "export HF_TOKEN with a valid one (huggingface.co/settings/tokens); `hf auth whoami` "
        "checks it",
    ),
    row(
        "revision_not_found",
        r"RevisionNotFoundError|Revision Not Found for url"
        r"|is not a valid git identifier \(branch name, tag name or commit id\)",
        "the repository has no such revision",
        "lanes.{lane}.revision: a commit of the history on the model's page",
    ),
    row(
        "rate_limited",
        r"HfHubHTTPError: 429|429 Too Many Requests for url",
        "the hub limits how often this address may ask",
        "wait some minutes; export HF_TOKEN (accounts have a higher limit), or download once with "
        "`hf download` and start with HF_HUB_OFFLINE=1",
    ),
    row(
        "hub_is_down",
        r"HfHubHTTPError: (?:Server error ')?5\d\d\b",
        "the model hub answered with an error of its own",
        "wait and start again; status.huggingface.co says how the hub is",
    ),
    row(
        "offline_and_not_cached",
        r"offline mode is enabled\. To disable it|outgoing traffic has been disabled"
        r"|OfflineModeIsEnabled",
        "HF_HUB_OFFLINE is set, and the checkpoint is not in the cache",
        "unset HF_HUB_OFFLINE for one start, or `hf download MODEL` on a host with a network and "
        "the same HF_HOME",
    ),
    row(
        "hub_not_reachable",
        r"couldn't connect to 'https?://\S+' to load the files"
        r"|Got: (?:ConnectError|ConnectTimeout|ReadTimeout|ProxyError)"
        r"|An error happened while trying to locate the files? on the Hub"
        r"|Failed to resolve 'huggingface\.co'|SSLCertVerificationError.{0,200}huggingface"
        r"|CERTIFICATE_VERIFY_FAILED",
        "the model hub cannot be reached, and the checkpoint is not in the cache",
        "curl -sI https://huggingface.co from this host; behind a proxy export HTTPS_PROXY, with "
        "a certificate of its own export SSL_CERT_FILE; or lanes.{lane}.model_source: a directory",
    ),
    row(
        "not_in_the_directory",
        r"Invalid repository ID or local directory specified: '(?P<path>[^']+)'"
        r"|It looks like the config file at '(?P<file>[^']+)' is not a valid JSON file"
        r"|does not appear to have a file named (?P<missing>\S+?)\. ",
        "model_source is no complete checkpoint: its config.json is missing or damaged",
        "lanes.{lane}.model_source: a directory with config.json, tokenizer and *.safetensors, "
        "on every host of the lane; or a hub id",
    ),
    row(
        "no_such_model",
        r"Repo id must be in the form 'repo_name' or 'namespace/repo_name': '(?P<given>[^']+)'"
        r"|(?P<name>\S+) is not a local folder (?:and is not a valid model identifier|or a valid "
        r"repository name)|Repository Not Found for url|RepositoryNotFoundError",
        "model_source names neither a directory that is there nor a model of the hub",
        "lanes.{lane}.model_source: an existing directory (absolute, on every host of the lane) "
        "or OWNER/NAME as on huggingface.co; a private one needs HF_TOKEN",
    ),
    row(
        "damaged_weights",
        r"SafetensorError: Error while deserializing header|PytorchStreamReader failed"
        r"|incomplete metadata, file not fully covered|HeaderTooLarge|InvalidHeaderDeserialization"
        r"|MetadataIncompleteBuffer",
        "a weight file is damaged or was downloaded in part (or is a Git LFS pointer)",
        "delete it and download again: `hf cache delete`, or `hf download MODEL --force-download`",
    ),
    row(
        "no_weights",
        r"Cannot find any model weights with `?(?P<path>[^`\n]+)`?",
        "there are no weights in {path}",
        "lanes.{lane}.model_source: a directory with *.safetensors",
    ),
    row(
        "no_tokenizer",
        r"Couldn't instantiate the backend tokenizer from one of"
        r"|Can't load tokenizer for '(?P<path>[^']+)'"
        r"|Tokenizer class (?P<kind>\w+) does not exist or is not currently imported",
        "the checkpoint has no tokenizer that can be read",
        "copy tokenizer.json and tokenizer_config.json of the model into model_source, or "
        "lanes.{lane}.engine_args.tokenizer: OWNER/NAME",
    ),
    row(
        "cache_not_writable",
        r"PermissionError at (?P<path>\S+) when downloading"
        r"|PermissionError: \[Errno 13\] Permission denied: "
        r"'(?P<file>[^']*(?:hugging|/hub/|\.cache)[^']*)'"
        r"|Read-only file system: '(?P<folder>[^']+)'",
        "the model cache cannot be written by this user",
        "export HF_HOME to a directory of this user, or chown the cache",
    ),
)
