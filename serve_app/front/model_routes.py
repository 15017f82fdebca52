"""`/v1/models` and what is below it: the models that a tenant may use."""

from __future__ import annotations

from router.errors import Rejected, RejectReason
from serve_app.front.control import Control
from serve_app.front.http_request import HttpRequest
from serve_app.front.model_cards import listed, listing
from serve_app.tenancy.auth import Tenant

PREFIX = "/v1/models/"


class ModelRoutes:
    """Answers them in the form of the client's dialect."""

    def __init__(self, control: Control) -> None:
        self._control = control

    async def show_all(self, request: HttpRequest, tenant: Tenant) -> None:
        cards = self._control.models(tenant).all()
        await request.json(listing(cards, request.dialect, request.query))

    async def show(self, request: HttpRequest, tenant: Tenant) -> None:
        name = request.path.removeprefix(PREFIX)
        model = self._control.models(tenant).find(name)
        if model is not None:
            await request.json(listed(model, request.dialect))
            return
        message = "The model does not exist; GET /v1/models lists the models."
        await request.refuse(Rejected(RejectReason.MODEL_NOT_FOUND, message, param="model"))
