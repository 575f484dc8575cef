"""Groups are named by a served base, and written by its pipeline."""

from __future__ import annotations

import asyncio
import json
import random

import httpx
import pytest
from openai import AsyncOpenAI

from gateway.errors import ConfigError
from launch.training.ask_groups import group_examples, groups_named, groups_written
from launch.training.data.groups import known_groups
from tests.unit.launch.training.data.test_groups import DOGS, GASES, NET, NONE


def served(said: dict[str, str]) -> AsyncOpenAI:
    """A gateway whose base goes on as `said` tells of one word, and whose pipeline finds DOGS."""

    def answer(request: httpx.Request) -> httpx.Response:
        asked = json.loads(request.content)
        if request.url.path == "/v1/completions":
            assert asked["model"] == "base"
            line = asked["prompt"].rpartition("\n")[2]
            text = next((name for word, name in said.items() if word in line.lower()), " nothing")
            return httpx.Response(200, json={"choices": [{"text": text}]})
        assert asked["model"] == "concept-naming"
        assert sorted(asked["messages"][0]["content"].split("\n")) == sorted(DOGS.members + GASES.members)
        concept = {"name": "x", "definition": "A small animal.", "members": list(DOGS.members)}
        content = json.dumps({"concepts": [concept]})
        return httpx.Response(200, json={"choices": [{"message": {"role": "assistant", "content": content}}]})

    http = httpx.AsyncClient(transport=httpx.MockTransport(answer))
    return AsyncOpenAI(base_url="http://127.0.0.1/v1", api_key="none", http_client=http)


def test_only_what_wordnet_confirms_is_kept_in_the_order_asked() -> None:
    groups = known_groups(NET, NONE, NONE, random.Random(1))
    shares: list[float] = []

    async def ask() -> None:
        async with served({"terrier": " dogs", "argon": " metal"}) as client:
            found = await groups_named(client, groups, NONE, lambda _what, share: shares.append(share or 0.0))
        wanted = [group.members for group in groups if "terrier" in group.members]
        assert [group.members for group in found] == wanted
        assert {group.name for group in found} == {"dog"}

    asyncio.run(ask())
    assert shares[-1] == 1.0


def test_the_pipeline_gets_the_words_of_a_cluster_and_what_it_writes_is_named() -> None:
    async def ask() -> None:
        async with served({}) as client:
            (one,) = await groups_written(client, [[DOGS, GASES]], random.Random(1), lambda *_: None)
        assert one.prompt == "Definition: A small animal.\nMembers: terrier, poodle, beagle"
        assert one.answer == "dog"

    asyncio.run(ask())


def test_where_nothing_is_served_is_said() -> None:
    with pytest.raises(ConfigError, match="is it served"):
        asyncio.run(group_examples("http://127.0.0.1:9/v1", NET, 1, lambda *_: None))
