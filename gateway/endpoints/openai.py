"""`/v1/chat/completions` and `/v1/completions`: the hot path, as plain ASGI."""

from __future__ import annotations

import time

import msgspec
from starlette.types import Receive, Scope, Send

from gateway.config import GatewayConfig
from gateway.endpoints.pipelines import PipelineEndpoint
from gateway.endpoints.reply import ClientLeft, read_json_body, request_id_of, send_error
from gateway.errors import RequestError
from gateway.limits import check_fields
from gateway.relay import Relay, apply_contract, decode_body, flag_field, text_field, until_client_leaves

_encode = msgspec.json.Encoder().encode


class Completions:
    """One of OpenAI's two completion routes. `path` is the engine's, which is the same."""

    def __init__(self, path: str, relay: Relay, pipelines: PipelineEndpoint, bounds: GatewayConfig) -> None:
        self._path = path.encode()
        self._chat = path.endswith("/chat/completions")
        self._relay = relay
        self._pipelines = pipelines
        self._bounds = bounds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        arrived = time.perf_counter()
        request_id = request_id_of(scope)
        try:
            body = await read_json_body(scope, receive, self._bounds)
            await until_client_leaves(self._answer(body, request_id, arrived, send), receive)
        except ClientLeft:
            return
        except RequestError as error:
            await send_error(send, error, request_id)

    async def _answer(self, body: bytes, request_id: bytes, arrived: float, send: Send) -> None:
        fields = decode_body(body)
        route = self._relay.replicas.table.find(text_field(fields, "model"))
        check_fields(fields, self._bounds)
        streaming = flag_field(fields, "stream")
        if route.kind == "pipeline":
            await self._pipelines.answer(route, body, self._chat, streaming, request_id, send)
            return
        apply_contract(fields, route)
        await self._relay.forward(route, self._path, _encode(fields), request_id, arrived, send)
