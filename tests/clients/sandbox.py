"""Runs a command without any network but a loopback on which one port leads out.

Run by the harness as `unshare --user --map-root-user --net python sandbox.py SOCKET PORT
COMMAND ...`: in the new network namespace `127.0.0.1:PORT` is the Unix socket SOCKET outside.
A script of its own, on the standard library alone: it runs before any environment.
"""

from __future__ import annotations

import asyncio
import fcntl
import socket
import struct
import sys

_SIOCGIFFLAGS, _SIOCSIFFLAGS = 0x8913, 0x8914
_IFF_UP = 1


def loopback_up() -> None:
    """Switch the loopback interface on; a new network namespace begins with it off."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as handle:
        asked = struct.pack("16sh14x", b"lo", 0)
        flags = struct.unpack("16sh14x", fcntl.ioctl(handle, _SIOCGIFFLAGS, asked))[1]
        fcntl.ioctl(handle, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | _IFF_UP))


async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass bytes on until this direction ends."""
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.write_eof()
    except OSError:
        writer.close()


async def run(path: str, port: int, command: list[str]) -> int:
    """Run the command; its exit code."""

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_unix_connection(path)
        await asyncio.gather(pipe(reader, inner_writer), pipe(inner_reader, writer))
        inner_writer.close()
        writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", port)
    process = await asyncio.create_subprocess_exec(*command)
    code = await process.wait()
    server.close()
    return code


if __name__ == "__main__":
    loopback_up()
    sys.exit(asyncio.run(run(sys.argv[1], int(sys.argv[2]), sys.argv[3:])))
