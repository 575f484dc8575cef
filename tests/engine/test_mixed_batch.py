"""More adapters than LoRA slots, and the base among them in one batch: everybody has their own answer."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from gateway.config import load_config
from launch.base import resolve_base
from launch.bench.dummy_adapters import AdapterShape, write_dummy_adapter
from launch.engine_http import load_adapter, served_models, unload_adapter
from launch.proof import NOISE, Canary, read_canary
from tests.engine.conftest import CONFIG, RealStack

pytestmark = pytest.mark.engine
MADE = 6  # beside the demo's two, on four slots
SHAPE = AdapterShape(4, ("q_proj", "v_proj", "o_proj", "down_proj"))
STRENGTH = 0.2
COPIES = 2
PROMPTS = ("The capital of France is", "apple\ntruck\nbanana\nbus")


def engine_url(real: RealStack) -> str:
    found = re.search(r'"url": ?"([^"]+)"', (real.state / "engine.json").read_text())
    assert found is not None
    return found[1]


@pytest.fixture(scope="module")
def engine(real: RealStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The engine itself with random adapters that the gateway does not know."""
    folder: Path = tmp_path_factory.mktemp("made")
    base, url = resolve_base(load_config(CONFIG).base), engine_url(real)
    names = [f"made-{number}" for number in range(MADE)]
    try:
        for seed, name in enumerate(names):
            write_dummy_adapter(folder / name, base, SHAPE, seed, STRENGTH)
            load_adapter(url, name, folder / name)
        yield url
    finally:
        for name in names:
            unload_adapter(url, name)


async def ask(client: httpx.AsyncClient, model: str, prompt: str) -> Canary:
    body = {"model": model, "prompt": prompt, "max_tokens": 8, "temperature": 0, "logprobs": 1}
    return read_canary(model, (await client.post("/v1/completions", json=body)).json())


async def ask_all(url: str, models: list[str], prompt: str) -> list[Canary]:
    async with httpx.AsyncClient(base_url=url, timeout=240) as client:
        return await asyncio.gather(*(ask(client, model, prompt) for model in models))


@pytest.mark.parametrize("prompt", PROMPTS)
def test_base_and_more_adapters_than_slots_in_one_batch(engine: str, prompt: str) -> None:
    models = [*served_models(engine)]
    assert models[0] == "base"
    alone = {model: asyncio.run(ask_all(engine, [model], prompt))[0] for model in models}
    assert not any(alone[model].agrees(alone["base"]) for model in models[1:])
    # The base comes last and again: by then every slot is taken, the last one too.
    mixed = [*(model for model in models for _ in range(COPIES)), *["base"] * COPIES]
    for model, answer in zip(mixed, asyncio.run(ask_all(engine, mixed, prompt)), strict=True):
        # A batch of another size rounds otherwise.
        assert answer.distance(alone[model]) < 2 * NOISE, model
        if model == "base":
            assert answer.tokens == alone["base"].tokens
            assert answer.distance(alone["base"]) < NOISE
