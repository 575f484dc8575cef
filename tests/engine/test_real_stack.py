"""The system on a real vLLM: clients by name, adapters told apart, a pipeline, and bad input."""

from __future__ import annotations

import asyncio
import importlib
import json
import statistics
import subprocess
import time
from concurrent.futures import Future, ThreadPoolExecutor

import httpx
import pytest
from openai import AsyncOpenAI, BadRequestError, NotFoundError, OpenAI

from launch.engine.rounds import CLEAR
from launch.engine.scoring import READ, TEXT, Score, distance, read_score, request
from tests.engine.asked import PROMPTS
from tests.engine.conftest import ROOT, RealStack

pytestmark = pytest.mark.engine
MODELS = ["base", "naming", "concept", "concept-naming"]
LIMIT_S = 1800
"""What SDKs say of their patience; the gateway refuses what a busy machine could not do within it."""
STORY_TOKENS = 1500
GREEDY = {"temperature": 0, "max_tokens": 16}


def caps_of(model: str) -> dict[str, int]:
    """A few tokens, greedily; a pipeline's JSON cut short would be an error, so it has its own caps."""
    return {} if model == "concept-naming" else GREEDY


def asked(model: str, text: str | None = None, **more: object) -> dict[str, object]:
    messages = [{"role": "user", "content": PROMPTS[model] if text is None else text}]
    return {"model": model, "messages": messages, **caps_of(model), **more}


def post(real: RealStack, body: dict[str, object]) -> httpx.Response:
    return httpx.post(f"{real.url}/v1/chat/completions", json=body, timeout=LIMIT_S)


async def in_one_batch(real: RealStack, models: list[str]) -> list[Score]:
    """What each gives to one text, many positions of it: no rounding brings one model near another there."""

    async def score(client: httpx.AsyncClient, model: str) -> Score:
        body = request(model, TEXT, READ) | {"prompt_logprobs": 0}
        answer = (await client.post("/v1/completions", json=body)).json()
        return read_score(answer["model"], answer, reads=True)

    async with httpx.AsyncClient(base_url=real.url, timeout=LIMIT_S) as client:
        return await asyncio.gather(*(score(client, model) for model in models))


def test_mixed_batch_gives_each_model_its_own_answer(real: RealStack) -> None:
    alone = {
        model: asyncio.run(in_one_batch(real, [model] * 2))[0] for model in ("base", "naming", "concept")
    }
    models = [*alone] * 6
    for model, answer in zip(models, asyncio.run(in_one_batch(real, models)), strict=True):
        others = [distance(answer.read, alone[one].read) for one in alone if one != model]
        assert CLEAR * distance(answer.read, alone[model].read) < min(others), model


def text_of(response: httpx.Response) -> str:
    assert response.status_code == 200, response.text
    content = response.json()["choices"][0]["message"]["content"]
    assert isinstance(content, str)
    return content


def by_openai_sdk(real: RealStack, model: str) -> str | None:
    with OpenAI(base_url=f"{real.url}/v1", api_key="none", max_retries=0, timeout=LIMIT_S) as client:
        create = client.chat.completions.create
        answer = create(model=model, messages=user(model), **caps_of(model))  # type: ignore[call-overload]
        content = answer.choices[0].message.content
        assert content is None or isinstance(content, str)
        return content


def by_openai_sdk_streamed(real: RealStack, model: str) -> str:
    with OpenAI(base_url=f"{real.url}/v1", api_key="none", max_retries=0, timeout=LIMIT_S) as client:
        create = client.chat.completions.create
        stream = create(model=model, messages=user(model), stream=True, **caps_of(model))  # type: ignore[call-overload]
        return "".join(choice.delta.content or "" for chunk in stream for choice in chunk.choices)


def by_openai_sdk_async(real: RealStack, model: str) -> str | None:
    async def once() -> str | None:
        async with AsyncOpenAI(base_url=f"{real.url}/v1", api_key="none", timeout=LIMIT_S) as client:
            create = client.chat.completions.create
            answer = await create(model=model, messages=user(model), **caps_of(model))  # type: ignore[call-overload]
            content = answer.choices[0].message.content
            assert content is None or isinstance(content, str)
            return content

    return asyncio.run(once())


def by_curl(real: RealStack, model: str) -> str | None:
    url = f"{real.url}/v1/chat/completions"
    head = "content-type: application/json"
    command = ["curl", "-sS", "-m", str(LIMIT_S), url, "-H", head, "-d", json.dumps(asked(model))]
    answer = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    content = answer["choices"][0]["message"]["content"]
    assert content is None or isinstance(content, str)
    return content


def by_langchain(real: RealStack, model: str) -> str:
    from langchain_openai import ChatOpenAI
    from pydantic import SecretStr

    url, key = f"{real.url}/v1", SecretStr("none")
    with httpx.Client() as http:  # its own is never closed
        chat = ChatOpenAI(model=model, base_url=url, api_key=key, timeout=LIMIT_S, http_client=http)
        return str(chat.bind(**caps_of(model)).invoke(PROMPTS[model]).content)


def by_litellm(real: RealStack, model: str) -> str | None:
    import litellm

    # One of its own it forgets after a while, and leaves it open.
    with OpenAI(base_url=f"{real.url}/v1", api_key="none", max_retries=0, timeout=LIMIT_S) as client:
        where = {"client": client, "timeout": LIMIT_S}
        answer = litellm.completion(model=f"openai/{model}", messages=user(model), **caps_of(model), **where)
    content = answer.choices[0].message.content
    assert content is None or isinstance(content, str)
    return content


def user(model: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": PROMPTS[model]}]


CLIENTS = {
    "OpenAI's SDK": by_openai_sdk,
    "OpenAI's SDK, streamed": by_openai_sdk_streamed,
    "OpenAI's SDK, async": by_openai_sdk_async,
    "curl": by_curl,
    "LangChain": by_langchain,
    "LiteLLM": by_litellm,
}
Answers = dict[tuple[str, str], Future[str | None]]


@pytest.fixture(scope="module")
def answers(real: RealStack) -> Answers:
    """What each client was told by each model. All ask at once, in batches as an engine has them."""
    importlib.import_module("langchain_openai")  # not in several threads
    importlib.import_module("litellm")
    pairs = [(client, model) for client in CLIENTS for model in MODELS]
    with ThreadPoolExecutor(len(pairs)) as threads:
        return {(client, model): threads.submit(CLIENTS[client], real, model) for client, model in pairs}


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("client", CLIENTS)
def test_client_is_answered_by_each_model(answers: Answers, client: str, model: str) -> None:
    assert answers[client, model].result()


def test_three_models_give_three_answers_to_one_prompt(real: RealStack) -> None:
    messages = [{"role": "system", "content": "Answer."}, {"role": "user", "content": PROMPTS["naming"]}]
    answers = {text_of(post(real, asked(m, messages=messages))) for m in ("base", "naming", "concept")}
    assert len(answers) == 3


def test_alternating_adapters_loads_nothing(real: RealStack) -> None:
    def took(model: str) -> float:
        began = time.perf_counter()
        text_of(post(real, asked(model, PROMPTS["naming"], max_tokens=4, ignore_eos=True)))
        return time.perf_counter() - began

    before = httpx.get(f"{real.url}/v1/models").json()
    said_before = len(real.engine_log.read_bytes())
    same = [took("naming") for _ in range(10)]
    mixed = [took(("naming", "concept")[i % 2]) for i in range(20)]
    assert httpx.get(f"{real.url}/v1/models").json() == before
    assert b"LoRA adapter" not in real.engine_log.read_bytes()[said_before:]
    print(
        f"median: same adapter {statistics.median(same):.3f} s, alternating {statistics.median(mixed):.3f} s"
    )


def test_cluster_file_in_names_out(real: RealStack) -> None:
    line = (ROOT / "configs/demo/clusters.jsonl").read_text(encoding="utf-8").splitlines()[0]
    given = {term if isinstance(term, str) else term["term"] for term in json.loads(line)["terms"]}
    answer = post(real, asked("concept-naming", json.dumps(json.loads(line)["terms"])))
    concepts = json.loads(text_of(answer))["concepts"]
    assert all(concept["name"] and concept["definition"] for concept in concepts)
    assert {member for concept in concepts for member in concept["members"]} <= given
    stages = answer.json()["usage"]["stages"]
    assert {stage["adapter"].partition("@")[0] for stage in stages} == {"concept", "naming"}
    extract, name = stages  # naming begins while concept still decodes: both adapters in one batch
    assert name["start_ms"] < extract["start_ms"] + extract["ms"]


@pytest.mark.parametrize("model", ["naming", "concept-naming"])
def test_client_that_leaves_frees_the_engine(real: RealStack, model: str) -> None:
    long = {} if model == "concept-naming" else {"max_tokens": STORY_TOKENS, "ignore_eos": True}
    body = asked(model, stream=True) | long
    before = real.written()
    with httpx.stream("POST", f"{real.url}/v1/chat/completions", json=body, timeout=LIMIT_S) as response:
        assert response.status_code == 200
        next(response.iter_raw())
    real.until_idle()
    assert real.written() - before < STORY_TOKENS


def test_cluster_of_200_terms_is_answered_or_refused_cleanly(real: RealStack) -> None:
    answer = post(real, asked("concept-naming", "\n".join(f"term {i}" for i in range(200))))
    print(f"200 terms: {answer.status_code} {answer.text[:300]}")
    assert answer.status_code in (200, 400, 502), answer.text
    assert "choices" in answer.json() or set(answer.json()["error"]) == {"message", "type", "param", "code"}
    real.until_idle()


def test_bad_input_is_an_error_and_the_stack_lives_on(real: RealStack) -> None:
    with OpenAI(base_url=f"{real.url}/v1", api_key="none", max_retries=0) as client:
        with pytest.raises(NotFoundError, match="naming"):
            client.chat.completions.create(model="namng", messages=[{"role": "user", "content": "x"}])
        with pytest.raises(BadRequestError):
            client.chat.completions.create(model="concept-naming", messages=[{"role": "user", "content": ""}])
    head = {"content-type": "application/json"}
    assert httpx.post(f"{real.url}/v1/chat/completions", content=b"no json", headers=head).status_code == 400
    long = post(real, asked("concept-naming", "\n".join(f"unusual term number {i}" for i in range(400))))
    assert long.status_code == 400, long.text
    regex = post(real, asked("base", structured_outputs={"regex": "foo**"}))
    assert regex.status_code == 400
    foreign = post(real, asked("concept-naming", "яблоко\n猫\nקפה"))
    assert foreign.status_code == 200, foreign.text
    assert text_of(post(real, asked("base")))
