"""What the classifier reads of a request."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Conversation:
    """The parts of a chat request that may tell how complex it is.

    `user_turns` counts user messages including the last one; `tools` counts
    the tools that the request declares.
    """

    last_user: str
    system: str = ""
    user_turns: int = 1
    tools: int = 0
