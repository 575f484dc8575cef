"""The quick reference's Python, as it is written there, on the real engine."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from gateway.client import AdapterNotLoaded, ModelManager, OutputInvalid, get_model_manager
from gateway.client.concepts import concept_schema
from gateway.config.snapshot import read_snapshot
from launch.bench.faults.recovery_kills import is_alive
from tests.engine.asked import NAMING
from tests.engine.conftest import ROOT, RealStack
from tests.engine.own_stack import OwnStack
from tests.support.waiting import until

pytestmark = pytest.mark.engine
TERMS = ["apple", "truck", "banana", "bus"]
PROMPT = "\n".join(TERMS)
RELATING = "Name the relation of the first term to the second."


@pytest.fixture
def model_manager(real: RealStack) -> Iterator[ModelManager]:
    manager = get_model_manager()
    manager.configure_models_sync(url=real.url)
    yield manager
    manager.close()


def test_recommended_pattern_returns_checked_concepts(model_manager: ModelManager) -> None:
    with model_manager.use_model("concept") as model:
        result = model.generate_modeling(PROMPT)
    groups = result["concepts"]
    assert groups
    assert all(group["definition"] and group["members"] for group in groups)


def test_swap_from_concept_to_naming_happens_inside_the_extraction(model_manager: ModelManager) -> None:
    concepts = model_manager.extract_concepts_from_cluster(TERMS)
    assert concepts
    assert all(concept.name and concept.definition for concept in concepts)
    assert {member for concept in concepts for member in concept.members} <= set(TERMS)


def test_direct_pattern_returns_text(real: RealStack, model_manager: ModelManager) -> None:
    model_mgr = get_model_manager()
    with model_mgr.use_model("naming") as model:
        text = model.generate_text(NAMING)
    assert isinstance(text, str)
    assert text.strip()


def test_manual_pattern_switches_adapters_on_one_handle(model_manager: ModelManager) -> None:
    model_mgr, p = model_manager, NAMING
    with model_mgr.use_model("base") as base:
        base.set_lora_adapter("concept")
        assert base.generate_modeling(PROMPT)["concepts"]
        base.set_lora_adapter("naming")
        named = base.generate_text(p)
        assert base.get_active_adapter() == "naming"
        assert base.list_adapters() == ["concept", "naming"]
    with model_mgr.use_model("naming") as model:
        assert model.generate_text(p) == named


def test_switch_takes_less_than_a_tenth_of_a_second(model_manager: ModelManager) -> None:
    with model_manager.use_model("base") as base:
        began = time.perf_counter()
        for turn in range(20):
            base.set_lora_adapter(("concept", "naming")[turn % 2])
        assert (time.perf_counter() - began) / 20 < 0.1


def test_status_counts_and_measures(real: RealStack, model_manager: ModelManager) -> None:
    model_mgr = model_manager

    async def monitor() -> None:
        before = await model_mgr.get_model_status("base")
        async with model_mgr.use_model("naming") as model:
            await model.generate_text(NAMING, max_tokens=2)
        status = await model_mgr.get_model_status("base")
        assert status["status"] == "ready"
        assert status["use_count"] == before["use_count"] + 1
        assert status["adapters"] == ["concept", "naming"]
        assert status["memory_on"] == "host"
        assert status["memory_bytes"] is not None
        assert 1e9 < status["memory_bytes"] < 16e9

    asyncio.run(monitor())


def test_schema_is_enforced_by_the_engine(model_manager: ModelManager) -> None:
    with model_manager.use_model("concept") as model:
        answer = model.generate_modeling(PROMPT, schema=concept_schema(TERMS))
        members = {member for group in answer["concepts"] for member in group["members"]}
        assert members <= set(TERMS)
        with pytest.raises(OutputInvalid, match="cut short") as told:
            model.generate_modeling(PROMPT, max_tokens=6)
    assert told.value.text.startswith("{")


def test_threads_that_alternate_adapters_get_their_own_answers(model_manager: ModelManager) -> None:
    def alternate(first: int) -> dict[str, set[str]]:
        texts: dict[str, set[str]] = {"concept": set(), "naming": set()}
        with model_manager.use_model("base") as base:
            for turn in range(2):
                adapter = ("concept", "naming")[(first + turn) % 2]
                base.set_lora_adapter(adapter)
                texts[adapter].add(base.generate_text(NAMING, system="Answer.", max_tokens=3, temperature=0))
        return texts

    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(alternate, range(8)))
    concept, naming = (set().union(*(one[task] for one in found)) for task in ("concept", "naming"))
    assert not concept & naming


def test_adapter_that_was_never_configured_says_what_to_check(model_manager: ModelManager) -> None:
    with pytest.raises(
        AdapterNotLoaded, match=r"check that its path was configured \(RELATIONSHIP_ADAPTER_PATH\)"
    ):
        model_manager.use_model("relationship").__enter__()


LIMIT_S = 240
"""Of what would otherwise never end; no machine is so slow."""
STORY_TOKENS = 1500
# A shell has what it runs in the background ignore SIGINT, and children inherit that.
LONG = f"""
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from gateway.client import get_model_manager
with get_model_manager().use_model("base") as model:
    print("asks", flush=True)
    model.generate_text("Tell a story.", max_tokens={STORY_TOKENS}, ignore_eos=True)
"""


def test_ctrl_c_is_an_abort_at_the_engine(real: RealStack) -> None:
    real.until_idle()
    before = real.written()
    env = os.environ | {"LORA_GATEWAY_URL": real.url, "PYTHONPATH": str(ROOT)}
    program = subprocess.Popen(
        [sys.executable, "-c", LONG],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=env,
    )
    assert program.stdout is not None
    assert program.stdout.readline() == b"asks\n"
    until(lambda: real.running() > 0 or program.poll() is not None, LIMIT_S)
    program.send_signal(signal.SIGINT)
    assert b"KeyboardInterrupt" in program.communicate(timeout=LIMIT_S)[1]
    real.until_idle(LIMIT_S)
    assert real.written() - before < STORY_TOKENS  # it was cut short, however long that took here


def test_configure_models_starts_a_stack_that_ends_with_close(own_stack: OwnStack) -> None:
    """The last of the tests that use it."""
    manager = own_stack.manager
    try:
        assert own_stack.adapters == ["concept", "naming", "relationship"]
        concepts = manager.extract_concepts_from_cluster(TERMS)
        assert all(concept.name and concept.members for concept in concepts)
        with manager.use_model("relationship") as model:
            assert model.generate_text("dog, animal", system=RELATING, max_tokens=8)
        status = manager.get_model_status_sync("base")
        assert status["status"] == "ready"
        assert status["memory_bytes"]
        snapshot = read_snapshot(own_stack.state / "engine.json")
        assert snapshot is not None
        pid = snapshot.engines[0].pid
        assert is_alive(pid)
    finally:
        manager.close()
    assert not is_alive(pid)
