"""Tool calls in the answers of the three routes that know them."""

from __future__ import annotations

from serve_app.agents.forms.chat import ChatForm
from serve_app.agents.forms.form import Form
from serve_app.agents.forms.messages import MessagesForm
from serve_app.agents.forms.responses import ResponsesForm

_FORMS: dict[str, Form] = {
    "/v1/chat/completions": ChatForm(),
    "/v1/messages": MessagesForm(),
    "/v1/responses": ResponsesForm(),
}


def form_of(path: str) -> Form | None:
    """Return a route's form, or None for one whose answers call no tools."""
    return _FORMS.get(path)
