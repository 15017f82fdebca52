"""What a lane's engine may fetch: media only from named hosts, a model only as it was chosen.

Pure: `fleet` checks with it, `vllm_lane` passes it on, `media_fetch` asks it again
for every address.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Any

CONNECTOR = "pointsman"
"""The name of our media connector in vLLM's registry (`serve_app.engine.media_fetch`)."""

MEDIA_ENV = {"VLLM_MEDIA_URL_ALLOW_REDIRECTS": "0", "VLLM_MEDIA_CONNECTOR": CONNECTOR}
"""In the environment of every engine."""

STORE_ENV = {"VLLM_ENABLE_RESPONSES_API_STORE": "0"}
"""The same. vLLM's own store of responses is each engine process's, forgets nothing and knows
no tenants."""

NOWHERE = "/nowhere"
"""In vLLM an empty list of domains allows all of them; no host has a slash."""

COMMIT = re.compile(r"[0-9a-f]{40}")
MOVING = frozenset({"main", "master"})

_HOST = re.compile(
    r"(?P<host>[a-z0-9](?:[a-z0-9-]*\.)*[a-z0-9-]*[a-z0-9])(?::(?P<port>[0-9]{1,5}))?"
)
_LOCAL = ("localhost", "local", "internal", "lan", "home", "intranet", "corp", "private")
_NAT64 = IPv6Network("64:ff9b::/96")


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Return whether an address, and any that it wraps, is one of the internet's."""
    if isinstance(address, IPv6Address):
        inner = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
        if address in _NAT64:
            inner.append(IPv4Address(int(address) & 0xFFFF_FFFF))
        if any(wrapped is not None and not is_public(wrapped) for wrapped in inner):
            return False
        if address.ipv4_mapped is not None:
            return True
    return address.is_global and not address.is_multicast


def host_fault(entry: str) -> str | None:
    """Say what is wrong with an entry of `media_hosts`."""
    found = _HOST.fullmatch(entry)
    if found is None:
        return "is no host: say name or name:port, in ASCII, without a scheme or a path"
    host = found["host"]
    last = host.rpartition(".")[2]
    if last.isdigit() or last.startswith("0x"):
        return _literal_fault(host)
    if host == last or last in _LOCAL:
        return "is a name of this machine or network: its services are not for clients"
    return None


def _literal_fault(host: str) -> str | None:
    try:
        address = ip_address(host)
    except ValueError:
        return "is no address: say four decimal numbers"
    return None if is_public(address) else "is an address of this machine or network"


def contradiction(engine_args: Mapping[str, Any], env: Mapping[str, str]) -> str | None:
    """Say which setting of an operator's would undo a wall."""
    for name, instead in _SET_HERE.items():
        if name in engine_args:
            return f"engine_args: '{name}' {instead}"
    for name in MEDIA_ENV:
        if name in env:
            return f"env: '{name}' is set by Pointsman (media_hosts says what is fetched)"
    for name in STORE_ENV:
        if name in env:
            return f"env: '{name}' is set by Pointsman, which stores responses itself"
    return None


_SET_HERE = {
    "allowed_local_media_path": "would let every client read files of the engine's host",
    "allowed_media_domains": "is the lane's media_hosts here",
}


def media_args(media_hosts: list[str]) -> dict[str, list[str]]:
    """Engine arguments for a lane's media hosts: vLLM knows no ports."""
    return {"allowed_media_domains": [x.partition(":")[0] for x in media_hosts] or [NOWHERE]}


def is_hub_id(source: str) -> bool:
    """Return whether a model comes from a hub, by its name: no path, no URL."""
    return "://" not in source and not source.startswith(("/", "./", "../", "~"))


def revision_args(source: str, revision: str | None, given: Mapping[str, Any]) -> dict[str, str]:
    """Engine arguments for a hub model's revision, where the operator gave none of their own."""
    if revision is None or not is_hub_id(source):
        return {}
    # A tokenizer of another repository has other revisions.
    names = ("revision",) if "tokenizer" in given else ("revision", "tokenizer_revision")
    return {name: revision for name in names if name not in given}


def revision_fault(source: str, revision: str | None, given: Mapping[str, Any]) -> str | None:
    """Say why a model is not started at this revision: its code would be anybody's."""
    if revision is not None and given.get("revision", revision) != revision:
        return "revision: engine_args has another one"
    chosen = revision or given.get("revision")
    is_pinned = isinstance(chosen, str) and COMMIT.fullmatch(chosen) is not None
    if is_pinned or not given.get("trust_remote_code") or not is_hub_id(source):
        return None
    return (
        "engine_args: 'trust_remote_code' runs whatever the model's repository holds at the time; "
        "pin it with 'revision: COMMIT' (40 hexadecimal digits), or download the model and name "
        "its directory"
    )


def unpinned(name: str, source: str, revision: object) -> str | None:
    """Warn of a model that may be another one at the next start."""
    if not is_hub_id(source) or (revision and revision not in MOVING):
        return None
    return (
        f"lanes.{name}: '{source}' is whatever its repository holds at the next start; add "
        "'revision: COMMIT' (from the history on the model's page) to pin it"
    )
