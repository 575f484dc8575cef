"""The snapshot that gateways get, of what is wanted and what the engines have."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.config.document import Config, KeyConfig
from gateway.config.snapshot import EngineStatus
from launch.adapters.versions import Version, Wanted
from launch.supervisor.database import StateStore
from launch.supervisor.desired_state import DesiredState
from launch.supervisor.snapshots import Observed, compose, without_leaving
from tests.support.stack import config_of

VERSIONS = (Version("naming@1", "/n1", weight=90.0), Version("naming@2", "/n2", weight=10.0))
WANTED = {
    "naming": Wanted("naming", VERSIONS, shadow="naming@3", shadow_share=0.5),
    "concept": Wanted("concept", (Version("concept@1", "/c1", weight=100.0),)),
}
NOTHING = Observed([], {}, {}, (), (), {})


@pytest.fixture
def desired_state(tmp_path: Path) -> Iterator[DesiredState]:
    with closing(StateStore(tmp_path)) as store:
        yield DesiredState(config_of(tmp_path), WANTED, store)


def test_versions_say_how_they_stand(desired_state: DesiredState) -> None:
    observed = replace(
        NOTHING,
        engines=[EngineStatus("engine-0", loaded=["naming@1"])],
        failures={"naming@1": "an old reason", "naming@2": "no effect"},
        fingerprints={"naming@1": "abc"},
    )
    task = compose(5, desired_state, observed).tasks["naming"]
    assert [(one.id, one.state, one.reason, one.weight) for one in task.versions] == [
        ("naming@1", "ready", "", 90.0),
        ("naming@2", "failed", "no effect", 10.0),
    ]
    assert task.versions[0].fingerprint == "abc"
    assert task.shadow is not None
    assert (task.shadow.id, task.configured, task.settings["adapter"]) == ("naming@3", True, "/n1")
    assert compose(5, desired_state, NOTHING).tasks["concept"].versions[0].state == "pending"


def test_pipeline_goes_with_its_tasks_and_keys_lose_what_is_gone(desired_state: DesiredState) -> None:
    assert list(compose(1, desired_state, NOTHING).pipelines) == ["concept-naming"]
    desired_state.remove("concept")
    key = KeyConfig.model_validate({"sha256": "a" * 64, "tasks": ["concept", "naming", "acme.*"]})
    snapshot = compose(2, desired_state, NOTHING, {"made": key})
    assert snapshot.pipelines == {}
    assert snapshot.issued_keys["made"]["tasks"] == ["naming", "acme.*"]
    assert (snapshot.version, snapshot.base, snapshot.keys) == (2, "base", {})


def test_pipeline_gives_way_to_a_task_that_a_command_gave_its_name(desired_state: DesiredState) -> None:
    """A gateway would refuse the whole, and whatever comes later."""
    desired_state.keep(Wanted("concept-naming", VERSIONS))
    assert compose(1, desired_state, NOTHING).pipelines == {}
    desired_state.remove("concept-naming")
    desired_state.remove("concept")
    key = KeyConfig.model_validate({"sha256": "a" * 64, "tasks": ["concept-naming"]})
    assert compose(2, desired_state, NOTHING, {"made": key}).issued_keys["made"]["tasks"] == []


def test_tenants_are_told_as_they_are_configured(tmp_path: Path) -> None:
    limits = {"requests_per_minute": 60}
    document = {"base": {"model": "m"}, "tenants": {"acme": {"limits": limits}}}
    with closing(StateStore(tmp_path)) as store:
        desired_state = DesiredState(Config.model_validate(document), WANTED, store)
        told = compose(1, desired_state, NOTHING).tenants
    assert told is not None
    assert told["acme"]["limits"]["requests_per_minute"] == 60


def test_what_goes_on_is_told(desired_state: DesiredState) -> None:
    snapshot = compose(1, desired_state, replace(NOTHING, retiring={"b@1", "a@1"}, faults={"tick": 2}))
    assert (snapshot.retiring, snapshot.faults) == (["a@1", "b@1"], {"tick": 2})


def test_what_only_an_engine_that_starts_has_is_on_its_way(desired_state: DesiredState) -> None:
    starting = EngineStatus("engine-1", state="starting", loaded=["concept@1"])
    observed = replace(NOTHING, engines=[starting], to_come={"concept@1"})
    assert compose(1, desired_state, observed).tasks["concept"].versions[0].state == "loading"
    assert (
        compose(1, desired_state, replace(observed, to_come=())).tasks["concept"].versions[0].state == "ready"
    )


def test_what_is_about_to_leave_an_engine_is_told_apart() -> None:
    status = EngineStatus("engine-0", loaded=["a@1", "b@1"])
    assert without_leaving(status, {"c@1"}) is status
    told = without_leaving(status, {"a@1"})
    assert (told.loaded, told.leaving) == (["b@1"], ["a@1"])


def test_many_adapters_on_many_engines_are_not_looked_for_one_by_one(
    desired_state: DesiredState, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Looked(list[str]):
        def __contains__(self, adapter_id: object) -> bool:
            raise AssertionError("of 10,000 on 100 engines this took a second for each snapshot")

    engines = [EngineStatus(f"engine-{number}", loaded=Looked(["naming@1"])) for number in range(3)]
    versions = compose(1, desired_state, replace(NOTHING, engines=engines)).tasks["naming"].versions
    assert [one.state for one in versions] == ["ready", "pending"]
