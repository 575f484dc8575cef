"""Adapters exchanged under traffic on the real engine; `lora-gateway bench churn` is the long form."""

from __future__ import annotations

from gateway.config.document import load_config
from launch.base.locate import resolve_base
from launch.base.steps import Steps
from launch.bench.engine.dummy_adapters import write_versions
from launch.bench.faults.churn import FIRST_SEED, TASKS, VERSIONS, ChurnPlan, churn, learn
from launch.engine.http import served_models
from launch.supervisor.control_client import ControlClient
from tests.engine.conftest import CONFIG, RealStack
from tests.support.waiting import until

REQUESTS = 120
PAUSE_S = 0.5


def is_unloaded(real: RealStack, tasks: tuple[str, ...]) -> bool:
    return not any(name.startswith(tasks) for name in served_models(real.engine_url, key=real.engine_key))


def test_no_answer_comes_from_another_adapter_or_the_base(real: RealStack) -> None:
    base, versions = resolve_base(load_config(CONFIG).base), dict.fromkeys(TASKS, VERSIONS)
    folders = write_versions(real.adapters, base, versions, FIRST_SEED)
    truth = learn(real.engine_url, "base", folders, keep=set(), key=real.engine_key)
    control = ControlClient(real.state)
    try:
        for task, found in folders.items():
            status, said = control.answer("POST", "/adapters", {"task": task, "source": str(found[0])})
            assert status == 200, said
        tally, operator = churn(
            real.url, control, truth, folders, ChurnPlan(REQUESTS, 4, PAUSE_S), Steps(print)
        )
    finally:
        for task in folders:
            control.answer("DELETE", f"/adapters/{task}")
        until(lambda: is_unloaded(real, tuple(folders)))  # the next tests look at what is served
    assert (tally.faults, operator.faults) == ([], [])
    assert tally.verdicts["own"] + tally.verdicts["untold"] == tally.answers
    assert tally.verdicts["own"] > tally.answers / 2
    assert tally.answers > REQUESTS / 2
    assert len(operator.changes) > 4
