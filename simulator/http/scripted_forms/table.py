"""The way of each route."""

from __future__ import annotations

from simulator.http.scripted_forms.chat import ScriptedChat
from simulator.http.scripted_forms.messages import ScriptedMessages
from simulator.http.scripted_forms.responses import ScriptedResponses

SCRIPTED_FORMS = {
    "/v1/chat/completions": ScriptedChat,
    "/v1/messages": ScriptedMessages,
    "/v1/responses": ScriptedResponses,
}
