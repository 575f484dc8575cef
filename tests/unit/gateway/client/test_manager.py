"""The Python API against a real gateway: each handle its own adapter, and nothing left behind."""

from __future__ import annotations

import asyncio
import gc
import json
import signal
import sys
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path
from typing import TypeVar, assert_type

import pytest
from pydantic import BaseModel

from gateway.client import (
    AdapterNotLoaded,
    AlreadyConfigured,
    AsyncModelManager,
    AuthenticationFailed,
    Concept,
    ConnectionLost,
    EngineFailed,
    EngineStarting,
    ModelManager,
    ModelStatus,
    OutputInvalid,
    PermissionDenied,
    RateLimited,
    RequestRefused,
)
from gateway.client.calls import JsonObject
from launch.supervisor.tenancy.issued_keys import digest_of
from tests.fakes.fake_engine import Answer
from tests.support.stack import TASKS, Stack, eventually, stack

pytestmark = pytest.mark.anyio
Result = TypeVar("Result")
ROOT = Path(__file__).parents[4]
CONCEPTS = json.dumps({"concepts": [{"definition": "eaten", "members": ["apple", "pear"]}]})


class Group(BaseModel):
    definition: str
    members: list[str]


class Groups(BaseModel):
    concepts: list[Group]


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LORA_GATEWAY_URL", "LORA_GATEWAY_API_KEY"):
        monkeypatch.delenv(name, raising=False)


def url_of(running: Stack) -> str:
    return f"http://127.0.0.1:{running.port}"


async def plainly(running: Stack, work: Callable[[ModelManager], Result]) -> Result:
    """Plain code in a thread, since the gateway runs in the test's own loop; then its manager is closed."""

    def run() -> Result:
        manager = ModelManager()
        manager.configure_models_sync(url=url_of(running))
        try:
            return work(manager)
        finally:
            manager.close()

    result = await asyncio.to_thread(run)
    await unconnected(running)
    return result


async def unconnected(running: Stack) -> None:
    await running.at_rest()
    await eventually(lambda: not running.server.connections)


def named_answers(running: Stack) -> None:
    for task, adapter in TASKS.items():
        running.engine.answers[adapter] = Answer([task, "'s"])


async def test_recommended_direct_and_manual_patterns(tmp_path: Path) -> None:
    async with stack(tmp_path) as running:
        named_answers(running)
        running.engine.answers[TASKS["concept"]] = Answer([CONCEPTS[:9], CONCEPTS[9:]])

        def work(manager: ModelManager) -> None:
            with manager.use_model("concept") as model:
                assert model.generate_modeling("apple, pear") == json.loads(CONCEPTS)
                assert model.get_active_adapter() == "concept"
            with manager.use_model("naming") as model:
                assert model.generate_text("eaten") == "naming's"
                assert list(model.stream_text("eaten")) == ["naming", "'s"]
            with manager.use_model("base") as base:
                assert base.get_active_adapter() is None
                base.set_lora_adapter("concept")
                assert base.generate_modeling("p", response_model=Groups).concepts[0].members == [
                    "apple",
                    "pear",
                ]
                base.set_lora_adapter("naming")
                assert base.generate_text("p") == "naming's"
                assert base.get_active_adapter() == "naming"
                assert base.list_adapters() == ["concept", "naming"]
                base.set_lora_adapter(None)
                assert base.generate_text("p") == "Paris"

        await plainly(running, work)


async def test_same_patterns_awaited(tmp_path: Path) -> None:
    async with stack(tmp_path) as running:
        named_answers(running)
        running.engine.answers[TASKS["concept"]] = Answer([CONCEPTS])
        manager = ModelManager()
        await manager.configure_models(url=f"{url_of(running)}/v1/")
        async with manager.use_model("concept") as model:
            assert (await model.generate_modeling("p", response_model=Groups)).concepts[
                0
            ].definition == "eaten"
            await model.set_lora_adapter("naming")
            assert await model.generate_text("p") == "naming's"
            assert [piece async for piece in model.stream_text("p")] == ["naming", "'s"]
            assert await model.list_adapters() == ["concept", "naming"]
        manager.close()
        await unconnected(running)


async def test_sixteen_threads_that_alternate_adapters_get_their_own_answers(tmp_path: Path) -> None:
    async with stack(tmp_path) as running:
        named_answers(running)
        manager = ModelManager()
        await manager.configure_models(url=url_of(running))

        def alternate(first: int) -> list[tuple[str, str]]:
            found = []
            with manager.use_model("base") as model:
                for turn in range(10):
                    adapter = ("concept", "naming")[(first + turn) % 2]
                    model.set_lora_adapter(adapter)
                    found.append((adapter, model.generate_text(f"{first} {turn}")))
            return found

        found = await asyncio.gather(*(asyncio.to_thread(alternate, first) for first in range(16)))
        assert all(text == f"{adapter}'s" for pairs in found for adapter, text in pairs)
        manager.close()
        await unconnected(running)


async def test_sixty_four_tasks_that_alternate_adapters_get_their_own_answers(tmp_path: Path) -> None:
    async with stack(tmp_path) as running:
        named_answers(running)
        manager = AsyncModelManager()
        await manager.configure_models(url=url_of(running))

        async def alternate(first: int) -> None:
            async with manager.use_model("base") as model:
                for turn in range(3):
                    adapter = ("concept", "naming")[(first + turn) % 2]
                    await model.set_lora_adapter(adapter)
                    assert await model.generate_text("p") == f"{adapter}'s"

        await asyncio.gather(*(alternate(first) for first in range(64)))
        await manager.close()
        await unconnected(running)


async def test_sampling_and_system_prompt_reach_the_engine(tmp_path: Path) -> None:
    async with stack(tmp_path) as running:

        def work(manager: ModelManager) -> None:
            with manager.use_model("naming") as model:
                model.generate_text(
                    "p", system="Say it.", max_tokens=3, seed=7, extra_body={"logprobs": True}
                )

        await plainly(running, work)
        sent = running.engine.completions[-1].json
        assert sent["messages"] == [
            {"role": "system", "content": "Say it."},
            {"role": "user", "content": "p"},
        ]
        assert (sent["max_tokens"], sent["seed"], sent["logprobs"], sent["temperature"]) == (3, 7, True, 0)


async def test_pipeline_names_the_concepts_of_a_cluster(tmp_path: Path) -> None:
    async with stack(tmp_path) as running:
        running.engine.answers[TASKS["concept"]] = Answer([CONCEPTS])
        running.engine.answers[TASKS["naming"]] = Answer(['"fruit"'])
        expected = [Concept(name="fruit", definition="eaten", members=["apple", "pear"])]
        assert (
            await plainly(running, lambda m: m.extract_concepts_from_cluster(["apple", "pear"])) == expected
        )
        manager = AsyncModelManager()
        await manager.configure_models(url=url_of(running))
        assert await manager.extract_concepts_from_cluster([{"term": "apple", "gloss": "a"}]) == expected


async def test_answer_cut_short_says_so_and_has_the_text(tmp_path: Path) -> None:
    async with stack(tmp_path) as running:
        cut = {"choices": [{"message": {"content": '{"concepts": [{"me'}, "finish_reason": "length"}]}
        running.engine.answers[TASKS["concept"]] = Answer(body=json.dumps(cut).encode())

        def work(manager: ModelManager) -> OutputInvalid:
            with (
                manager.use_model("concept") as model,
                pytest.raises(OutputInvalid, match="cut short by max_tokens") as told,
            ):
                model.generate_modeling("p")
            return told.value

        error = await plainly(running, work)
        assert (error.text, error.finish_reason, error.model) == ('{"concepts": [{"me', "length", "concept")


async def test_answer_is_held_against_the_tasks_own_schema(tmp_path: Path) -> None:
    async with stack(tmp_path) as running:
        running.engine.answers[TASKS["naming"]] = Answer(['{"name": "fruit"}'])

        def work(manager: ModelManager) -> str:
            with (
                manager.use_model("naming") as model,
                pytest.raises(OutputInvalid, match="is not of type 'string'") as told,
            ):
                model.generate_modeling("p")
            return told.value.text

        assert await plainly(running, work) == '{"name": "fruit"}'


async def test_misspelt_adapter_is_told_the_nearest_and_its_variable(tmp_path: Path) -> None:
    async with stack(tmp_path) as running:

        def work(manager: ModelManager) -> str:
            with pytest.raises(AdapterNotLoaded, match="did you mean 'naming'"), manager.use_model("nameing"):
                pass
            with manager.use_model("base") as base, pytest.raises(AdapterNotLoaded) as told:
                base.set_lora_adapter("relationship")
            assert base.get_active_adapter() is None
            return str(told.value)

        assert await plainly(running, work) == (
            "Adapter 'relationship' not loaded: check that its path was configured "
            "(RELATIONSHIP_ADAPTER_PATH); loaded: concept, naming."
        )


async def test_status_counts_uses_and_names_what_is_loaded(tmp_path: Path) -> None:
    async with stack(tmp_path) as running:
        named_answers(running)
        held = asyncio.Event()
        running.engine.answers[TASKS["concept"]] = Answer(hold_head=held)
        manager = ModelManager()
        await manager.configure_models(url=url_of(running))
        async with manager.use_model("naming") as naming, manager.use_model("concept") as concept:
            for _ in range(3):
                await naming.generate_text("p")
            waiting = asyncio.create_task(concept.generate_text("p"))
            await running.engine.until(lambda: running.engine.active == 1)
            status = await manager.get_model_status("base")
            assert (status["status"], status["use_count"], status["in_flight"]) == ("ready", 3, 1)
            assert (status["adapters"], status["active_adapters"]) == (["concept", "naming"], ["concept"])
            assert (status["memory_bytes"], status["max_model_len"]) == (None, 512)
            held.set()
            await waiting
        status = await asyncio.to_thread(manager.get_model_status_sync, "naming")
        assert (status["kind"], status["use_count"], status["adapters"]) == ("task", 3, ["naming"])
        with pytest.raises(AdapterNotLoaded, match="did you mean 'concept'"):
            await manager.get_model_status("concpt")
        manager.close()


async def test_wrong_key_and_forbidden_model_are_told(tmp_path: Path) -> None:
    keys = {"team": {"sha256": digest_of("sk-right"), "tasks": ["naming"]}}
    async with stack(tmp_path, keys=keys) as running:
        manager = ModelManager()
        with pytest.raises(AuthenticationFailed, match="LORA_GATEWAY_API_KEY"):
            await manager.configure_models(url=url_of(running), api_key="sk-wrong")
        await manager.configure_models(url=url_of(running), api_key="sk-right")
        async with manager.use_model("naming") as model:
            assert await model.generate_text("p") == "Paris"
            model._entry = model._entry.__class__("concept", "task", True)  # as if it was its own before
            with pytest.raises(PermissionDenied, match="may call: naming"):
                await model.generate_text("p")
        with pytest.raises(AdapterNotLoaded):
            async with manager.use_model("concept"):
                pass


async def test_engine_that_starts_says_when_to_come_again(tmp_path: Path) -> None:
    async with stack(tmp_path, ready=False, cold_timeout_s=0.05) as running:
        manager = ModelManager()
        await manager.configure_models(url=url_of(running))
        async with manager.use_model("naming") as model:
            with pytest.raises((EngineStarting, EngineFailed)) as told:
                await model.generate_text("p")
        assert told.value.status == 503
        assert told.value.retry_after_s
        assert told.value.request_id


async def test_full_task_and_refused_parameter_are_told(tmp_path: Path) -> None:
    async with stack(tmp_path, max_in_flight_per_task=1, max_waiting_per_task=0) as running:
        held = asyncio.Event()
        running.engine.answers[TASKS["naming"]] = Answer(hold_head=held)
        manager = ModelManager()
        await manager.configure_models(url=url_of(running))
        async with manager.use_model("naming") as model:
            first = asyncio.create_task(model.generate_text("p"))
            await running.engine.until(lambda: running.engine.active == 1)
            with pytest.raises(RateLimited) as told:
                await model.generate_text("p")
            assert told.value.retry_after_s
            held.set()
            await first
            with pytest.raises(RequestRefused) as refused:
                await model.generate_text("p", extra_body={"n": 1000})
            assert refused.value.param == "n"


async def test_stream_that_is_left_is_aborted_at_the_engine(tmp_path: Path) -> None:
    async with stack(tmp_path) as running:
        never = asyncio.Event()
        running.engine.answers[TASKS["naming"]] = Answer(["a", "b"], hold_token={1: never})

        def leave(manager: ModelManager) -> None:
            with manager.use_model("naming") as model:
                assert next(iter(model.stream_text("p"))) == "a"

        await plainly(running, leave)
        assert running.engine.aborts == 1
        manager = ModelManager()
        await manager.configure_models(url=url_of(running))
        async with manager.use_model("naming") as left, aclosing(left.stream_text("p")) as pieces:
            assert await anext(pieces) == "a"
        manager.close()
        await unconnected(running)
        assert running.engine.aborts == 2


async def test_stream_that_breaks_off_is_an_error(tmp_path: Path) -> None:
    async with stack(tmp_path) as running:
        running.engine.answers[TASKS["naming"]] = Answer(["a", "b"], break_before=1)
        manager = ModelManager()
        await manager.configure_models(url=url_of(running))
        async with manager.use_model("naming") as model:
            stream = model.stream_text("p")
            assert await anext(stream) == "a"
            with pytest.raises((EngineFailed, ConnectionLost)):
                await anext(stream)


async def test_cancelled_task_is_aborted_at_the_engine(tmp_path: Path) -> None:
    async with stack(tmp_path) as running:
        running.engine.answers[TASKS["naming"]] = Answer(hold_head=asyncio.Event())
        manager = ModelManager()
        await manager.configure_models(url=url_of(running))
        async with manager.use_model("naming") as model:
            asking = asyncio.create_task(model.generate_text("p"))
            await running.engine.until(lambda: running.engine.active == 1)
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
            await running.engine.until(lambda: running.engine.aborts == 1)
        manager.close()
        await unconnected(running)


CTRL_C = """
from gateway.client import get_model_manager
with get_model_manager().use_model("naming") as model:
    try:
        model.generate_text("p")
    except KeyboardInterrupt:
        print("interrupted", flush=True)
        input()
"""


async def test_ctrl_c_in_a_call_aborts_it_at_the_engine(tmp_path: Path) -> None:
    async with stack(tmp_path) as running:
        running.engine.answers[TASKS["naming"]] = Answer(hold_head=asyncio.Event())
        program = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            CTRL_C,
            env={"LORA_GATEWAY_URL": url_of(running), "PYTHONPATH": str(ROOT)},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        await running.engine.until(lambda: running.engine.active == 1)
        program.send_signal(signal.SIGINT)
        assert program.stdout is not None
        assert await program.stdout.readline() == b"interrupted\n"
        await running.engine.until(lambda: running.engine.aborts == 1)  # while the process lives on
        await program.communicate(b"\n")
        assert program.returncode == 0


async def test_manager_that_is_dropped_leaves_no_connection(tmp_path: Path) -> None:
    async with stack(tmp_path) as running:

        def use() -> None:
            manager = ModelManager()
            manager.configure_models_sync(url=url_of(running))
            with manager.use_model("naming") as model:
                model.generate_text("p")

        await asyncio.to_thread(use)
        gc.collect()
        await unconnected(running)


async def test_same_settings_again_change_nothing_and_others_are_refused(tmp_path: Path) -> None:
    async with stack(tmp_path) as running:
        manager = ModelManager()
        await manager.configure_models(url=url_of(running))
        before = manager._core.link
        await manager.configure_models(url=f"{url_of(running)}/v1")
        assert manager._core.link is before
        with pytest.raises(AlreadyConfigured, match=r"http://127.0.0.1:1\b.*close\(\) first"):
            await manager.configure_models(url="http://127.0.0.1:1")
        with pytest.raises(AlreadyConfigured, match="another api_key"):
            await manager.configure_models(url=url_of(running), api_key="another")
        manager.close()
        await manager.configure_models(url=url_of(running))
        manager.close()


async def types_that_users_see(manager: ModelManager, other: AsyncModelManager) -> None:
    """Never run: `make check` holds the types of user code."""
    await manager.configure_models(
        base_model_path="/b",
        concept_adapter_path="/c",
        naming_adapter_path="/n",
        relationship_adapter_path="/r",
        auto_unload=False,
        gpu_memory_utilization=0.75,
        tensor_parallel_size=1,
    )
    with manager.use_model("concept") as model:
        assert_type(model.generate_modeling("p"), JsonObject)
        assert_type(model.generate_modeling("p", response_model=Groups, temperature=0.5), Groups)
        assert_type(model.generate_text("p", max_tokens=3), str)
        assert_type(model.get_active_adapter(), str | None)
        assert_type(model.list_adapters(), list[str])
        model.generate_text("p", temperatur=0)  # type: ignore[call-arg]
    async with other.use_model("naming") as awaited:
        assert_type(await awaited.generate_text("p"), str)
        assert_type(await awaited.generate_modeling("p", response_model=Groups), Groups)
    assert_type(await manager.get_model_status("base"), ModelStatus)
    assert_type((await manager.get_model_status("base"))["use_count"], int)
    assert_type(manager.extract_concepts_from_cluster(["a"]), list[Concept])
    assert_type(await other.extract_concepts_from_cluster("a, b"), list[Concept])
