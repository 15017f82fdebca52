"""Lets the calls of an answer through when they are valid, and holds what is not.

Theory of operation. A client acts on a call when the answer ends, or as soon as the next
one begins, and what it was given cannot be taken back. So the events of a call wait until
its arguments are complete and have been judged; text and reasoning pass as they come,
unless they begin like a call. From the first invalid call on everything waits for the
answer's end, in order, so that calls come as the model made them and never half of one.
Then whoever owns the gate has each fault mended, and `rest` gives what waited with the
calls that came in their place.

`gate` has the stream's events, and which of them wait; `answers` judges what they say;
`frame` reads most events without their JSON; `writing` writes what waited.
"""

from __future__ import annotations

from serve_app.agents.gate.answers import Fault
from serve_app.agents.gate.gate import Gate

__all__ = ["Fault", "Gate"]
