"""One trace from the client's own span to the engine's, as a collector gets it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from opentelemetry.semconv._incubating.attributes.gen_ai_attributes import GenAiProviderNameValues

from gateway.traces.otel import PROVIDERS
from tests.fakes.fake_collector import attributes_of, collector
from tests.fakes.fake_engine import Answer
from tests.support.stack import TASKS, Stack, eventually, stack
from tests.unit.gateway.relay.fallback.test_fallbacks import fallen

pytestmark = pytest.mark.anyio
NAMING, CONCEPT = TASKS["naming"], TASKS["concept"]
CLIENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
NOT_SAMPLED = CLIENT[:-2] + "00"


async def ask(s: Stack, traceparent: str | None = CLIENT, **fields: object) -> int:
    body = {"model": "naming", "messages": [{"role": "user", "content": "cat"}], **fields}
    headers = {"traceparent": traceparent} if traceparent else {}
    answer = await s.client.post("/v1/chat/completions", json=body, headers=headers)
    return answer.status_code


def to_engine(s: Stack, nth: int = -1) -> str:
    """The `traceparent` that the engine was sent, without its flags."""
    said = s.engine.completions[nth].headers["traceparent"]
    assert int(said[-2:], 16) & 1, "it is sampled"
    return said[:-3]


def parent_said(trace: Span) -> str:
    return f"00-{trace.trace_id.hex()}-{trace.span_id.hex()}"


@pytest.mark.usefixtures("both_ways")
@pytest.mark.parametrize("streaming", [False, True])
async def test_from_the_clients_span_to_the_engine(tmp_path: Path, streaming: bool) -> None:
    with collector() as kept:
        async with stack(tmp_path, traces={"endpoint": kept.url}) as s:
            s.engine.answers[NAMING] = Answer(tokens=["a", "b", "c"])
            assert await ask(s, stream=streaming) == 200
            await s.at_rest()
            sent = to_engine(s)
        root, engine = kept.named("chat naming"), kept.named(f"engine {NAMING}")
        assert root.trace_id.hex() == CLIENT.split("-")[1]
        assert root.parent_span_id.hex() == CLIENT.split("-")[2]
        assert engine.parent_span_id == root.span_id
        assert sent == parent_said(engine)
        assert (root.kind, engine.kind) == (Span.SPAN_KIND_SERVER, Span.SPAN_KIND_CLIENT)
        assert root.start_time_unix_nano <= engine.start_time_unix_nano
        assert engine.end_time_unix_nano <= root.end_time_unix_nano
        facts = attributes_of(root)
        assert facts["gen_ai.operation.name"] == "chat"
        assert (facts["gen_ai.provider.name"], facts["gen_ai.request.model"]) == ("vllm", "naming")
        assert facts["gen_ai.response.model"] == NAMING
        assert facts["gen_ai.usage.input_tokens"] == 7
        assert facts["gen_ai.usage.output_tokens"] == 3
        assert facts["http.response.status_code"] == 200
        assert facts["lora_gateway.replica"] == "engine-0"
        assert [event.name for event in root.events] == ["first token"] * streaming
        assert kept.services == {"lora-gateway"}
        assert b"cat" not in b"".join(span.SerializeToString() for span in kept.spans)


async def test_a_pipelines_stages_are_its_children(tmp_path: Path) -> None:
    with collector() as kept:
        async with stack(tmp_path, traces={"endpoint": kept.url}) as s:
            s.engine.answers[CONCEPT] = Answer(tokens=[json.dumps({"concepts": [{"definition": "x"}]})])
            s.engine.answers[NAMING] = Answer(tokens=['"Paris"'])
            assert await ask(s, None, model="concept-naming") == 200
            await s.at_rest()
            sent = [to_engine(s, 0), to_engine(s, 1)]
        root = kept.named("chat concept-naming")
        stages = kept.children(root)
        assert stages.keys() >= {"chat concept", "chat naming"}
        calls = {name: kept.children(stages[f"chat {name}"]) for name in TASKS}
        assert [parent_said(calls[name][f"engine {TASKS[name]}"]) for name in TASKS] == sent
        assert {span.trace_id for span in kept.spans} == {root.trace_id}
        assert root.parent_span_id == b""


async def test_the_wait_for_a_place_is_a_span(tmp_path: Path) -> None:
    with collector() as kept:
        async with stack(tmp_path, traces={"endpoint": kept.url}, max_in_flight=1) as s:
            held = asyncio.Event()
            s.engine.answers[NAMING] = Answer(tokens=["a"], hold_head=held)
            first = asyncio.create_task(ask(s))
            await s.engine.until(lambda: s.engine.active == 1)
            second = asyncio.create_task(ask(s, None, model="concept"))
            await eventually(lambda: s.gateway.admission.waiting == 1)
            held.set()
            assert [await first, await second] == [200, 200]
            await s.at_rest()
        waited = kept.children(kept.named("chat concept"))
        assert waited.keys() == {"queue", f"engine {CONCEPT}"}
        assert waited["queue"].end_time_unix_nano <= waited[f"engine {CONCEPT}"].end_time_unix_nano
        assert waited["queue"].start_time_unix_nano < waited["queue"].end_time_unix_nano
        assert kept.children(kept.named("chat naming")).keys() == {f"engine {NAMING}"}


async def test_what_fails_says_why(tmp_path: Path) -> None:
    with collector() as kept:
        async with stack(tmp_path, traces={"endpoint": kept.url}) as s:
            s.engine.answers[NAMING] = Answer(status=500, body=b"{}")
            assert await ask(s) == 500
            assert await ask(s, None, model="nobody") == 404
            await s.at_rest()
        failed, unknown = kept.named("chat naming"), kept.named("chat")
        assert failed.status.code == Status.STATUS_CODE_ERROR
        assert attributes_of(failed)["error.type"]
        assert unknown.status.code == Status.STATUS_CODE_UNSET
        assert attributes_of(unknown)["error.type"] == "model_not_found"


@pytest.mark.usefixtures("both_ways")
async def test_a_client_that_leaves_ends_its_spans(tmp_path: Path) -> None:
    with collector() as kept:
        async with stack(tmp_path, traces={"endpoint": kept.url}) as s:
            s.engine.answers[NAMING] = Answer(tokens=["a", "b"], hold_token={1: asyncio.Event()})
            reader, writer = await s.open(stream=True)
            await reader.readuntil(b'"a"')
            writer.transport.abort()
            await s.at_rest()
        assert attributes_of(kept.named("chat naming"))["error.type"] == "client_left"
        assert kept.named(f"engine {NAMING}")


async def test_what_a_fallback_answers_has_its_provider(tmp_path: Path) -> None:
    with collector() as kept:
        async with fallen(tmp_path, "failed", ready=True, traces={"endpoint": kept.url}) as fell:
            await fell.stack.engine.stop()
            assert await ask(fell.stack) == 200
            await fell.stack.at_rest()
        root = kept.named("chat naming")
        facts = attributes_of(root)
        assert (facts["gen_ai.provider.name"], facts["gen_ai.response.model"]) == ("openai", "openai/base")
        assert "lora_gateway.replica" not in facts
        (engine,) = kept.children(root).values()
        assert (engine.name, engine.status.code) == ("engine", Status.STATUS_CODE_ERROR)
        assert not engine.attributes, "nothing of the fallback's"


def test_providers_are_named_as_the_conventions_name_them() -> None:
    assert set(PROVIDERS.values()) <= {one.value for one in GenAiProviderNameValues}


@pytest.mark.parametrize(("sampled", "said"), [(1.0, NOT_SAMPLED), (0.0, None)])
async def test_what_is_not_sampled_is_not_sent_and_the_engine_is_told(
    tmp_path: Path, sampled: float, said: str | None
) -> None:
    with collector() as kept:
        async with stack(tmp_path, traces={"endpoint": kept.url, "sampled": sampled}) as s:
            assert await ask(s, said) == 200
            await s.at_rest()
            assert s.engine.completions[-1].headers["traceparent"].endswith(("-00", "-02"))
        assert kept.spans == []


@pytest.mark.parametrize("odd", ["00-zz-zz-01", "x" * 3000, "00-" + "0" * 32 + "-b7ad6b7169203331-01"])
async def test_a_header_that_is_none_begins_a_trace_of_its_own(tmp_path: Path, odd: str) -> None:
    with collector() as kept:
        async with stack(tmp_path, traces={"endpoint": kept.url}) as s:
            assert await ask(s, odd) == 200
            await s.at_rest()
        assert kept.named("chat naming").parent_span_id == b""


async def test_without_traces_the_engine_is_sent_no_header(tmp_path: Path) -> None:
    async with stack(tmp_path) as s:
        assert await ask(s) == 200
        assert "traceparent" not in s.engine.completions[-1].headers
