"""A prompt that is scored beside running requests: no shape ends the engine, each row has its own adapter."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from safetensors.torch import save_file

from gateway.config.document import load_config
from launch.base.locate import resolve_base
from launch.engine.http import load_adapter, unload_adapter
from tests.engine.conftest import CONFIG, RealStack

pytestmark = pytest.mark.engine
RUNNING = 6
TOKENS = 50  # of each stream, of which one follows the other
BOTH = ("head-1", "head-2")
RANK = 4
STRENGTH = 0.1
ROUNDING = 0.5  # between batches, in bfloat16 too; an adapter of another slot is off by more than 2
LONG = " ".join(f"{number} apples," for number in range(300))  # three chunks of the engine's
Scored = list[dict[str, dict[str, Any]] | None]


@pytest.fixture(scope="module")
def heads(real: RealStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealStack]:
    """The engine with two adapters of lm_head alone, which the gateway does not know."""
    folder, url, key = tmp_path_factory.mktemp("heads"), real.engine_url, real.engine_key
    try:
        for seed, name in enumerate(BOTH):
            write_head(folder / name, seed)
            load_adapter(url, name, folder / name, key=key)
        yield real
    finally:
        for name in BOTH:
            unload_adapter(url, name, key=key)


def write_head(folder: Path, seed: int) -> None:
    base = resolve_base(load_config(CONFIG).base)
    sides = json.loads((Path(base.model) / "config.json").read_text())
    source = torch.Generator().manual_seed(seed)
    a = torch.randn(RANK, sides["hidden_size"], generator=source) / math.sqrt(sides["hidden_size"])
    b = torch.randn(sides["vocab_size"], RANK, generator=source) * STRENGTH
    folder.mkdir()
    name = "base_model.model.lm_head"
    tensors = {f"{name}.lora_A.weight": a.bfloat16(), f"{name}.lora_B.weight": b.bfloat16()}
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    settings = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "bias": "none", "r": RANK}
    settings |= {"lora_alpha": 8 * RANK, "target_modules": ["lm_head"], "base_model_name_or_path": base.name}
    (folder / "adapter_config.json").write_text(json.dumps(settings))


@asynccontextmanager
async def running(client: httpx.AsyncClient, models: tuple[str, ...], tokens: int) -> AsyncIterator[None]:
    """A stream for each of `models`, one after the other until this is left; all must end whole.

    All decode when it is entered, and on whatever machine something runs beside what is asked.
    """
    begun = [asyncio.Event() for _ in models]
    left = asyncio.Event()

    async def stream(model: str, decodes: asyncio.Event) -> None:
        while not left.is_set():
            assert await one_stream(model, decodes) >= tokens / 2

    async def one_stream(model: str, decodes: asyncio.Event) -> int:
        body = {"model": model, "prompt": f"Once {len(model)}", "max_tokens": tokens, "stream": True}
        body |= {"ignore_eos": True, "temperature": 0}
        events = 0
        async with client.stream("POST", "/v1/completions", json=body) as response:
            assert response.status_code == 200, await response.aread()
            async for line in response.aiter_lines():
                events += line.startswith('data: {"id"')
                if events >= 2:
                    decodes.set()
                assert '"error"' not in line, line
        decodes.set()
        return events

    async with asyncio.TaskGroup() as group:
        for one in zip(models, begun, strict=True):
            group.create_task(stream(*one))
        for decodes in begun:
            await decodes.wait()
        yield
        left.set()


async def ask(client: httpx.AsyncClient, **body: Any) -> Any:
    response = await client.post("/v1/completions", json={"temperature": 0, "max_tokens": 1, **body})
    assert response.status_code == 200, response.text
    return response.json()


def client_of(real: RealStack) -> httpx.AsyncClient:
    """Of the engine itself."""
    headers = {"Authorization": f"Bearer {real.engine_key}"}
    return httpx.AsyncClient(base_url=real.engine_url, headers=headers, timeout=240)


def client_through(real: RealStack) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=real.url, timeout=240)


SCORING: list[dict[str, Any]] = [
    {"prompt": "the cat sat", "prompt_logprobs": 1},
    {"prompt": "the cat sat", "prompt_logprobs": 0},
    {"prompt": "the cat sat", "echo": True, "logprobs": 1},
    {"prompt": "the", "prompt_logprobs": 1},
    {"prompt": LONG, "prompt_logprobs": 1},
    {"prompt": ["the cat sat", "on", "a mat that was not its own, and slept"], "prompt_logprobs": 1},
    {"prompt": "the cat sat", "prompt_logprobs": 1, "n": 3, "temperature": 1},
    {"prompt": "the cat sat", "prompt_logprobs": 1, "max_tokens": 12},
]


@pytest.mark.parametrize(
    "models", [("base",) * RUNNING, ("base", "naming", "concept") * 2], ids=["base", "mixed"]
)
def test_prompts_are_scored_while_others_decode(real: RealStack, models: tuple[str, ...]) -> None:
    async def all_at_once() -> list[Any]:
        async with client_through(real) as client, running(client, models, TOKENS):
            first = await ask(
                client, model="base", **SCORING[0]
            )  # alone in its step, with fewer rows than requests
            together = (ask(client, model=model, **one) for model in ("base", "naming") for one in SCORING)
            return [first, *await asyncio.gather(*together)]

    for answer in asyncio.run(all_at_once()):
        assert all(choice["text"] or choice["logprobs"] for choice in answer["choices"])


async def continuation(
    client: httpx.AsyncClient, model: str, prompt: list[int]
) -> tuple[list[int], list[float]]:
    """Greedy tokens and their log-probabilities, as they were sampled."""
    body = {"model": model, "prompt": prompt, "max_tokens": 12, "logprobs": 0, "return_token_ids": True}
    (choice,) = (await ask(client, ignore_eos=True, **body))["choices"]
    return choice["token_ids"], choice["logprobs"]["token_logprobs"]


async def scores(client: httpx.AsyncClient, model: str, tokens: list[int]) -> list[float]:
    """Of every token after the first, as they are scored in a prompt."""
    answer = await ask(client, model=model, prompt=tokens, prompt_logprobs=0)
    scored: Scored = answer["choices"][0]["prompt_logprobs"]
    found = zip(scored[1:], tokens[1:], strict=True)
    return [float(one[str(token)]["logprob"]) for one, token in found if one is not None]


def off(one: list[float], other: list[float]) -> float:
    return max(abs(a - b) for a, b in zip(one, other, strict=True))


async def sampled_and_scored(real: RealStack) -> None:
    prompt = [504, 3575, 2330, 335, 260]
    async with client_of(real) as client:
        sampled = {name: await continuation(client, name, prompt) for name in (*BOTH, "base")}
        asked = {name: prompt + tokens for name, (tokens, _) in sampled.items()}
        async with running(client, ("base", *BOTH) * 2, TOKENS):
            names = [*sampled] * 3
            beside = await asyncio.gather(*(scores(client, name, asked[name]) for name in names))
        alone = {name: await scores(client, name, asked[name]) for name in sampled}
        by_base = {name: await scores(client, "base", asked[name]) for name in BOTH}
    for name, found in [*zip(names, beside, strict=True), *alone.items()]:
        assert off(found[len(prompt) - 1 :], sampled[name][1]) < ROUNDING, name
    for name in BOTH:  # so that a row of another slot's, or of none, would have been seen
        assert off(by_base[name], alone[name]) > 4 * ROUNDING


def test_a_prompts_scores_are_those_of_its_own_lm_head(heads: RealStack) -> None:
    asyncio.run(sampled_and_scored(heads))
