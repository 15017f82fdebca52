"""Subcommands that talk to a running deployment: route, chat, status, reload."""

from __future__ import annotations

import argparse
import json
import os
import sys
import urllib.error
import urllib.request
from typing import Any

from classifier.arguments import add_action
from serve_app.commands.local_access import NotOurs, key_for
from serve_app.commands.slo_lines import slo_lines
from serve_app.tenancy.local_key import admin_key_path

DEFAULT_URL = "http://127.0.0.1:8000"
TIMEOUT_S = 30.0


class CommandError(Exception):
    """What went wrong, for the person at the keyboard."""


def add_commands(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    route = subparser(
        subparsers,
        "route",
        "Show which lane a prompt would go to, and why.",
        'pointsman route "Prove that there are infinitely many primes."',
    )
    route.add_argument("prompt")
    route.add_argument("--system", help="system prompt")
    route.add_argument("--model", default="auto", help="lane or model id to pin")
    route.set_defaults(func=_route)

    chat = subparser(
        subparsers,
        "chat",
        "Stream one answer to the terminal.",
        'pointsman chat "What is the capital of France?"',
    )
    chat.add_argument("prompt")
    chat.add_argument("--model", default="auto")
    chat.add_argument("--max-tokens", type=int, default=256)
    chat.set_defaults(func=_chat)

    status = subparser(
        subparsers,
        "status",
        "Show lanes, replicas, queues and warnings.",
        "pointsman status",
    )
    status.set_defaults(func=_status)

    reload = subparser(
        subparsers,
        "reload",
        "Make every ingress replica read its files again; streams go on.",
        "pointsman reload",
    )
    reload.set_defaults(func=_reload)


def subparser(
    subparsers: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    summary: str,
    example: str,
    *,
    remote: bool = True,
) -> argparse.ArgumentParser:
    """A subcommand with its example and `--json`; `remote` adds `--url` and `--key`."""
    parser = add_action(subparsers, name, summary, example)
    if remote:
        parser.add_argument("--url", default=os.environ.get("POINTSMAN_URL", DEFAULT_URL))
        parser.add_argument(
            "--key", default=os.environ.get("POINTSMAN_API_KEY"), help="API key, if one is needed"
        )
    return parser


def request_json(
    args: argparse.Namespace,
    method: str,
    path: str,
    body: Any = None,
    *,
    operates: bool = False,
    within_s: float = TIMEOUT_S,
) -> Any:
    """Call the deployment and return its JSON, or raise CommandError."""
    answer = request_bytes(args, method, path, body, operates=operates, within_s=within_s)
    return json.loads(answer)


def request_bytes(
    args: argparse.Namespace,
    method: str,
    path: str,
    body: Any = None,
    *,
    operates: bool = False,
    within_s: float = TIMEOUT_S,
) -> bytes:
    """Call the deployment and return the response's body, or raise CommandError.

    `operates`: with this machine's admin key, where it is this machine's and none is given.
    """
    headers = {"content-type": "application/json"}
    local_key = _local_key(args.url) if operates and not args.key else None
    if args.key or local_key:
        headers["authorization"] = f"Bearer {args.key or local_key}"
    data = json.dumps(body).encode() if body is not None else None
    # The URL is the operator's own.
    request = urllib.request.Request(  # noqa: S310
        args.url.rstrip("/") + path, data=data, headers=headers, method=method
    )
    # What is meant for this machine does not pass through the environment's proxy.
    proxies = urllib.request.ProxyHandler({} if local_key else None)
    try:
        opener = urllib.request.build_opener(proxies, _Stays)
        with opener.open(request, timeout=within_s) as response:
            return bytes(response.read())
    except urllib.error.HTTPError as error:
        hint = _WRONG_KEY.format(admin_key_path()) if local_key and error.code == 401 else ""
        raise CommandError(_message_of(error) + hint) from error
    except (urllib.error.URLError, TimeoutError) as error:
        raise CommandError(f"nothing answers at {args.url}: is it running?") from error


class _Stays(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: the key would go along."""

    def redirect_request(self, *_: Any) -> None:
        """Return nothing: the redirect is then the answer, and an error."""


_WRONG_KEY = " (It is that of {}: does the deployment run with the same POINTSMAN_STATE?)"


def _local_key(url: str) -> str | None:
    try:
        return key_for(url)
    except NotOurs as error:
        raise CommandError(str(error)) from error


def _message_of(error: urllib.error.HTTPError) -> str:
    try:
        body = json.load(error)["error"]
        return f"{error.code} {body['code']}: {body['message']}"
    except (ValueError, KeyError, TypeError):
        return f"{error.code} {error.reason}"


def _route(args: argparse.Namespace) -> int:
    messages = [{"role": "user", "content": args.prompt}]
    if args.system:
        messages.insert(0, {"role": "system", "content": args.system})
    decision = request_json(args, "POST", "/v1/route", {"model": args.model, "messages": messages})
    if args.json:
        print(json.dumps(decision))
        return 0
    for name in ("lane", "model", "reason", "score", "threshold", "prompt_tokens_estimate"):
        print(f"{name:>22}  {decision[name]}")
    return 0


def _chat(args: argparse.Namespace) -> int:
    import openai

    client = openai.OpenAI(base_url=args.url.rstrip("/") + "/v1", api_key=args.key or "none")
    try:
        raw = client.chat.completions.with_raw_response.create(
            model=args.model,
            messages=[{"role": "user", "content": args.prompt}],
            max_tokens=args.max_tokens,
            stream=True,
        )
        text = "".join(_printed(raw.parse(), quiet=args.json))
    except openai.APIError as error:
        raise CommandError(str(error)) from error
    lane, reason = raw.headers["x-pointsman-lane"], raw.headers["x-pointsman-reason"]
    if args.json:
        print(json.dumps({"text": text, "lane": lane, "reason": reason}))
    else:
        print(f"\n[{lane}: {reason}]", file=sys.stderr)
    return 0


def _printed(stream: Any, *, quiet: bool) -> Any:
    for chunk in stream:
        text = (chunk.choices[0].delta.content or "") if chunk.choices else ""
        if not quiet:
            print(text, end="", flush=True)
        yield text


def _status(args: argparse.Namespace) -> int:
    status = request_json(args, "GET", "/status", operates=True)
    if args.json:
        print(json.dumps(status))
        return 0
    for name in ("fleet", "note", "ready", "tenant", "tier"):
        if status.get(name) not in (None, ""):
            print(f"{name:>12}  {status[name]}")
    for name, lane in status.get("lanes", {}).items():
        print(
            f"{name:>12}  {len(lane['replicas'])} of {lane['replicas_wanted']} replicas, "
            f"{lane['running']:g} running, {lane['queue']:g} waiting, "
            f"KV cache {lane['kv_utilization']:.0%}, {lane['model']}"
        )
    for line in slo_lines(status.get("slo", ())):
        print(f"{'slo':>12}  {line}")
    for warning in status.get("warnings", ()):
        print(f"{'warning':>12}  {warning}")
    return 0


def _reload(args: argparse.Namespace) -> int:
    outcome = request_json(args, "POST", "/admin/reload", operates=True)
    if args.json:
        print(json.dumps(outcome))
    else:
        for number, replica in enumerate(outcome["replicas"]):
            print(f"ingress {number}: {replica.get('error') or 'reloaded'}")
            for warning in replica.get("warnings", ()):
                print(f"  {warning}")
    return 0 if outcome["ok"] else 1
