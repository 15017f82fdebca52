"""How an engine fetches media: from public addresses alone, asked at the moment of connecting.

A lane's hosts are checked by name at the ingress and by vLLM. What a name resolves to is
known here only: checked any earlier, it could be another address by now. Importing this
imports vLLM.
"""

from __future__ import annotations

import errno
import socket
from ipaddress import ip_address
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from vllm.connections import HTTPConnection
from vllm.multimodal.media import MEDIA_CONNECTOR_REGISTRY, MediaConnector

from serve_app.config.engine_walls import CONNECTOR, is_public


class PublicResolver(AbstractResolver):
    """Names to the internet's addresses; those of this machine and network are left out."""

    def __init__(self, resolver: AbstractResolver | None = None) -> None:
        self._resolver = resolver or aiohttp.ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Raises OSError where nothing is left."""
        found = await self._resolver.resolve(host, port, family)
        public = [x for x in found if is_public(ip_address(x["host"].partition("%")[0]))]
        if not public:
            raise OSError(errno.EADDRNOTAVAIL, f"{host} has no public address")
        return public

    async def close(self) -> None:
        await self._resolver.close()


class PublicConnection(HTTPConnection):
    """vLLM's client over `PublicResolver`; no proxy, which would resolve names by itself."""

    def __init__(self, resolver: AbstractResolver | None = None) -> None:
        super().__init__()
        self._resolver = resolver

    async def get_async_client(self) -> aiohttp.ClientSession:
        """The one session, made in the loop that uses it."""
        if self._async_client is None:
            connector = aiohttp.TCPConnector(resolver=PublicResolver(self._resolver))
            self._async_client = aiohttp.ClientSession(connector=connector, trust_env=False)
        return self._async_client

    def get_sync_client(self) -> Any:
        """A server fetches nothing this way, and requests resolves names by itself."""
        raise RuntimeError("media are fetched asynchronously")


_CONNECTION = PublicConnection()


@MEDIA_CONNECTOR_REGISTRY.register(CONNECTOR)
class PublicMedia(MediaConnector):
    """vLLM's connector over `PublicConnection`."""

    def __init__(
        self,
        media_io_kwargs: dict[str, dict[str, Any]] | None = None,
        connection: HTTPConnection = _CONNECTION,
        **limits: Any,
    ) -> None:
        super().__init__(media_io_kwargs, connection, **limits)
