"""A model in use by coroutines, as the plain one."""

from __future__ import annotations

import httpx
import pytest

from gateway.client.models.async_model import AsyncModel
from gateway.client.transport import target_of
from tests.unit.gateway.client.conftest import URL
from tests.unit.gateway.client.models.test_sync_model import STREAM
from tests.unit.gateway.client.test_transport import body_of, network, said

pytestmark = pytest.mark.anyio


async def test_text_data_and_streams_go_to_the_active_adapter() -> None:
    asked: list[dict[str, object]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(body_of(request))
        if asked[-1].get("stream"):
            head = {"content-type": "text/event-stream"}
            return httpx.Response(200, content=STREAM + b"data: [DONE]\n\n", headers=head)
        return said('{"name": "pip"}')

    link = network(answer).async_link(target_of(URL, None))
    made = AsyncModel(link, await link.catalogue(), "naming")
    assert await made.list_adapters() == ["concept", "naming"]
    assert await made.generate_text("p") == '{"name": "pip"}'
    await made.set_lora_adapter("concept")
    assert await made.generate_modeling("p") == {"name": "pip"}
    await made.set_lora_adapter(None)
    assert [piece async for piece in made.stream_text("p")] == ["pi", "p"]
    assert [one["model"] for one in asked] == ["naming", "concept", "smol"]
    await link.close()
