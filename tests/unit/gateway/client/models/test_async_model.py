"""A model in use by coroutines, as the plain one."""

from __future__ import annotations

import pytest

from gateway.client.models.async_model import AsyncModel
from gateway.client.transport import target_of
from tests.unit.gateway.client.conftest import URL
from tests.unit.gateway.client.models.test_sync_model import answering

pytestmark = pytest.mark.anyio


async def test_text_data_and_streams_go_to_the_active_adapter() -> None:
    asked: list[dict[str, object]] = []
    link = answering(asked).async_link(target_of(URL, None))
    made = AsyncModel(link, await link.catalogue(), "naming")
    assert await made.list_adapters() == ["concept", "naming"]
    assert await made.generate_text("p") == '{"name": "pip"}'
    await made.set_lora_adapter("concept")
    assert await made.generate_modeling("p") == {"name": "pip"}
    await made.set_lora_adapter(None)
    assert [piece async for piece in made.stream_text("p")] == ["pi", "p"]
    assert [one["model"] for one in asked] == ["naming", "concept", "smol"]
    await link.close()
