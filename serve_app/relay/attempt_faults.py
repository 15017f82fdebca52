"""What went wrong with an attempt on an engine, and what its client is told for want of another."""

from __future__ import annotations

from dataclasses import dataclass

from router.errors import Rejected, RejectReason
from serve_app.protocol.engine_words import NOT_NOW, engine_error, from_engine, objection
from serve_app.transport.upstream import BrokenConnection, Response, SilentConnection

UPSTREAM_FAULTS = (BrokenConnection, SilentConnection)

BROKEN_OFF = Rejected(RejectReason.NO_REPLICA, "The model broke off; a retry is safe.")
TOO_LONG = Rejected(RejectReason.DEADLINE_EXCEEDED, "The model took too long.")


@dataclass(eq=False)
class AttemptFailed(Exception):
    """An attempt failed; nothing is wrong with the request.

    Attributes:
        refused: what the client is told if nothing mends it.
        is_final: the client has waited enough; another replica would be as slow.
        is_loss: the replica may be gone, and this request may be why.
        objection: what the client is told if the replica is well: the engine said that it
            failed, so that what it was asked is not.

    """

    refused: Rejected = BROKEN_OFF
    is_final: bool = False
    is_loss: bool = True
    objection: Rejected | None = None


async def read_whole(response: Response) -> bytes:
    try:
        return await response.read()
    except UPSTREAM_FAULTS as error:
        raise broken(error, is_final=True) from error


def fault_of(status: int, body: bytes) -> AttemptFailed:
    if status in NOT_NOW:
        return AttemptFailed(from_engine(status, b""), is_loss=False)
    return AttemptFailed(objection=objection(body))


def fault_of_event(data: bytes) -> AttemptFailed:
    """A stream that ended with an error event; empty: without its end mark."""
    if not data:
        return AttemptFailed()
    code = engine_error(data).get("code")
    return fault_of(code if isinstance(code, int) else 500, data)


def broken(error: Exception, *, is_final: bool) -> AttemptFailed:
    """A broken connection, or an engine that was silent for as long as it may be."""
    if isinstance(error, SilentConnection) and is_final:
        return AttemptFailed(TOO_LONG, is_final=True)
    return AttemptFailed()
