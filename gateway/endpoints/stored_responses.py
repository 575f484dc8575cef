"""Routes of OpenAI's Responses that need a response that is kept: there is none, and the answer says so."""

from __future__ import annotations

from starlette.types import Receive, Scope, Send

from gateway.admission.api_keys import Keys
from gateway.endpoints.asgi import Head
from gateway.errors import NotFound

_ELSEWHERE = {
    "compact": "nothing is compacted here; send what the model is to see.",
    "input_tokens": "POST /tokenize and POST /v1/messages/count_tokens count a prompt's tokens.",
}
"""Routes beside these that need no kept response, and what there is instead."""


class UnkeptResponse:
    """To retrieve, cancel or delete a response."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        head = Head(scope["headers"])
        self._keys.principal(head.authorization, head.api_keys, scope.get("client"))
        nowhere = f"There is no route {scope['method']} {scope['path']}"
        if not scope["path_params"]["rest"]:
            raise NotFound(f"{nowhere}. Did you mean '/v1/responses'?")
        if (instead := _ELSEWHERE.get(scope["path_params"]["rest"])) and scope["method"] == "POST":
            raise NotFound(f"{nowhere}: {instead}")
        raise NotFound(
            f"{nowhere}: no response is kept here, so none can be retrieved, cancelled or deleted. The "
            "answer to POST /v1/responses has all there is.",
            code="responses_not_kept",
        )
