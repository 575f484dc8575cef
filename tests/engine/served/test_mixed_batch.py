"""Nobody's answer is another's, and an adapter is shown to act: on the engine that is served, and on one that
computes in the other type, whatever this machine's is.

A batch of another shape rounds otherwise, in bfloat16 by a tenth of a log-probability and more. Nothing here
is held against a fixed distance.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateway.config.document import load_config
from launch.base.locate import resolve_base
from launch.bench.engine.dummy_adapters import AdapterShape, write_dummy_adapter
from launch.bench.faults.proof_trials import Traffic, load_scaled, try_proofs
from launch.engine.canary import mistaken_for
from launch.engine.http import load_adapter, served_models, unload_adapter
from launch.engine.rounds import CLEAR
from launch.engine.scoring import READ, WRITTEN, Score, asker
from tests.engine.conftest import CONFIG, RealStack
from tests.engine.own_stack import OwnStack

pytestmark = pytest.mark.engine
MADE = 6  # beside the demo's two, on four slots
SHAPE = AdapterShape(4, ("q_proj", "v_proj", "o_proj", "down_proj"))
STRENGTH = 0.2
COPIES = 2
SYSTEMS = ("", "Name the concept.")
IN_FLIGHT = 16
PROOFS = 2  # of each kind; `lora-gateway bench proof` has 200


@dataclass(frozen=True)
class Engine:
    url: str
    key: str


@pytest.fixture(scope="module", params=["served", "other type"])
def engine(
    request: pytest.FixtureRequest,
    real: RealStack,
    own_start: Future[OwnStack],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Engine]:
    """An engine with the demo's adapters, and others that only it knows."""
    stack = real if request.param == "served" else own_start.result()
    yield from with_made(Engine(stack.engine_url, stack.engine_key), tmp_path_factory.mktemp("engine"))


def with_made(engine: Engine, folder: Path) -> Iterator[Engine]:
    base = resolve_base(load_config(CONFIG).base)
    url, key = engine.url, engine.key
    before = served_models(url, key=key)
    try:
        for seed in range(MADE):
            write_dummy_adapter(folder / f"made-{seed}", base, SHAPE, seed, STRENGTH)
            load_adapter(url, f"made-{seed}", folder / f"made-{seed}", key=key)
        yield engine
    finally:
        for name in served_models(url, key=key).keys() - before.keys():
            unload_adapter(url, name, key=key)


def ask_all(engine: Engine, models: Sequence[str], system: str, written: int) -> list[Score]:
    ask = asker(engine.url, reads=True, key=engine.key)
    with ThreadPoolExecutor(len(models)) as threads:
        return list(threads.map(lambda model: ask(model, system, written), models))


@pytest.mark.parametrize(("system", "written"), [*((system, READ) for system in SYSTEMS), ("", WRITTEN)])
def test_base_and_more_adapters_than_slots_in_one_batch(engine: Engine, system: str, written: int) -> None:
    served = served_models(engine.url, key=engine.key)
    models = [name for name in served if name.startswith(("base", "made-")) or "@" in name]
    assert len(models) >= MADE + 3
    alone = {model: ask_all(engine, [model] * COPIES, system, written)[0] for model in models}
    # The base comes last and again: by then every slot is taken, the last one too.
    mixed = [*(model for model in models for _ in range(COPIES)), *["base"] * COPIES]
    for model, answer in zip(mixed, ask_all(engine, mixed, system, written), strict=True):
        assert mistaken_for(answer, model, alone) == ""
        own = answer.distance(alone[model])
        others = [answer.distance(alone[one]) for one in models if one != model]
        assert CLEAR * own < min(others), model


def test_a_slot_that_is_loaded_again_answers_by_what_it_holds_now(engine: Engine, tmp_path: Path) -> None:
    """All other slots are taken, so that each load goes into the one that was left just before."""
    base, url, key = resolve_base(load_config(CONFIG).base), engine.url, engine.key
    ask = asker(url, reads=True, key=key)
    folders = [tmp_path / f"again-{seed}" for seed in range(2)]
    for seed, folder in enumerate(folders):
        write_dummy_adapter(folder, base, SHAPE, MADE + seed, STRENGTH)
    others = [name for name in served_models(url, key=key) if name.startswith("made-")][:3]
    scores: list[list[Score]] = [[], []]
    try:
        for turn in range(4):
            load_adapter(url, "again", folders[turn % 2], key=key)
            together = ask_all(engine, [*others, "again"], "", READ)
            scores[turn % 2] += [together[-1], ask("again", "", READ)]
            unload_adapter(url, "again", key=key)
    finally:
        unload_adapter(url, "again", key=key)
    within = max(one.distance(other) for same in scores for one in same for other in same)
    between = min(one.distance(other) for one in scores[0] for other in scores[1])
    assert CLEAR * within < between


@pytest.mark.parametrize("in_flight", [0, IN_FLIGHT])
def test_proof_errs_neither_way(engine: Engine, in_flight: int, tmp_path: Path) -> None:
    folders = [task.adapter for task in load_config(CONFIG).tasks.values()]
    loaded = load_scaled(engine.url, folders, tmp_path, 1 / 16, engine.key)
    try:
        with Traffic(engine.url, ["base"], in_flight, engine.key):
            at_once = PROOFS if in_flight else 1  # beside others they need not take turns
            errors = try_proofs(engine.url, "base", loaded, in_flight, PROOFS, at_once, key=engine.key)
    finally:
        for name in (*loaded.weak, *loaded.untrained):
            unload_adapter(engine.url, name, key=engine.key)
    assert errors.wrong == 0, errors
    assert (errors.proofs, errors.others_held, errors.mixed_batches) == (PROOFS, PROOFS, 1)
