"""Ask vLLM's own media code for what a lane's settings should keep it from.

Run as a script, by `test_media_fetch.py`, in a process of its own: importing vLLM is heavy,
and its settings are read from the environment. Reads a port of 127.0.0.1 from argv[1],
which answers `/` with a redirect to `/image` and `/image` with a picture, and prints a
JSON object of what became of each case.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
from typing import Any

from aiohttp.abc import AbstractResolver

from serve_app.config.engine_walls import MEDIA_ENV, media_args

PNG = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk"
    "+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


class Fixed(AbstractResolver):
    """A name server that says one address of every name, and any that a test calls public."""

    def __init__(self, *addresses: str) -> None:
        self._addresses = addresses

    async def resolve(self, host: str, port: int = 0, family: Any = socket.AF_INET) -> list[Any]:
        return [
            {
                "hostname": host,
                "host": address,
                "port": port,
                "family": socket.AF_INET6 if ":" in address else socket.AF_INET,
                "proto": 0,
                "flags": 0,
            }
            for address in self._addresses
        ]

    async def close(self) -> None:
        """Hold nothing."""


async def main(port: int) -> dict[str, str]:
    """What became of each case: `fetched`, or the name of the error."""
    from vllm import envs
    from vllm.multimodal.media import MEDIA_CONNECTOR_REGISTRY

    from serve_app.engine import media_fetch

    async def fetch(url: str, hosts: list[str], resolver: AbstractResolver | None = None) -> str:
        connection = media_fetch.PublicConnection(resolver)
        connector = MEDIA_CONNECTOR_REGISTRY.load(
            envs.VLLM_MEDIA_CONNECTOR, connection=connection, **media_args(hosts)
        )
        try:
            await connector.fetch_image_async(url)
        except Exception as error:  # noqa: BLE001
            return f"{type(error).__name__}: {error}"
        finally:
            if connection._async_client is not None:
                await connection._async_client.close()
        return "fetched"

    here = f"127.0.0.1:{port}"
    named = f"http://media.example.com:{port}"
    results = {
        "connector": envs.VLLM_MEDIA_CONNECTOR,
        "data": await fetch(PNG, []),
        "no hosts": await fetch(f"http://{here}/image", []),
        "none": await fetch(f"http:///nowhere:{port}/image", []),
        "another host": await fetch(f"http://{here}/image", ["media.example.com"]),
        "file": await fetch("file:///etc/hostname", ["media.example.com"]),
    }
    for address in ("127.0.0.1", "::1", "10.0.0.1", "::ffff:127.0.0.1"):
        results[address] = await fetch(named + "/image", ["media.example.com"], Fixed(address))
    os.environ["http_proxy"] = f"http://{here}"
    results["proxy"] = await fetch(named + "/image", ["media.example.com"], Fixed("10.0.0.1"))
    # From here on, 127.0.0.1 counts as an address of the internet.
    media_fetch.is_public = lambda _: True
    results["public"] = await fetch(named + "/image", ["media.example.com"], Fixed("127.0.0.1"))
    results["redirect"] = await fetch(named + "/", ["media.example.com"], Fixed("127.0.0.1"))
    try:
        media_fetch.PublicConnection().get_bytes(f"http://{here}/image")
    except RuntimeError as error:
        results["sync"] = str(error)
    return results


if __name__ == "__main__":
    assert {name: os.environ[name] for name in MEDIA_ENV} == MEDIA_ENV
    print(json.dumps(asyncio.run(main(int(sys.argv[1])))))
