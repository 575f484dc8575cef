"""Which route a key may take: its tasks', with every version of theirs, and no word of the others."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.admission.api_keys import Principal
from gateway.config.document import KeyConfig
from gateway.errors import Forbidden, ModelNotFound
from gateway.routing.permission import permitted_route
from gateway.routing.table import Loaded, build_table
from tests.support.stack import TASKS, config_of

EVERYBODY = Principal("admin")
NAMER = Principal("namer", frozenset({"naming"}))


LOADED = {name: [Loaded(one)] for name, one in TASKS.items()}
VERSIONS = dict.fromkeys(TASKS.values(), True)


def test_key_takes_its_own_tasks_and_their_versions(tmp_path: Path) -> None:
    table = build_table(config_of(tmp_path), LOADED, versions=VERSIONS)
    for principal in (EVERYBODY, NAMER):
        assert permitted_route(table, principal, "naming").name == "naming"
        assert permitted_route(table, principal, TASKS["naming"]).name == "naming"
    assert permitted_route(table, EVERYBODY, "concept").name == "concept"


@pytest.mark.parametrize("model", ["concept", "base", "concept-naming", TASKS["concept"]])
def test_other_models_are_forbidden_and_its_own_are_named(tmp_path: Path, model: str) -> None:
    table = build_table(config_of(tmp_path), LOADED, versions=VERSIONS)
    with pytest.raises(Forbidden, match=r"It may call: naming\.$"):
        permitted_route(table, NAMER, model)


def test_name_of_nobody_is_not_found_and_only_its_own_are_listed(tmp_path: Path) -> None:
    table = build_table(config_of(tmp_path), {})
    with pytest.raises(ModelNotFound) as missing:
        permitted_route(table, NAMER, "nobody")
    assert "naming" in missing.value.message
    assert "concept" not in missing.value.message


@pytest.mark.parametrize("suffix", ["", "@aaaaaaaaaaaa", "@bbbbbbbbbbbb"])
def test_another_tenants_task_is_as_one_that_does_not_exist(tmp_path: Path, suffix: str) -> None:
    config = config_of(tmp_path)
    task = config.tasks["concept"]
    keys = {"beta": KeyConfig.model_validate({"sha256": "a" * 64, "tenant": "beta"})}
    tasks = {**config.tasks, "beta.secret": task, "acme.own": task, "v1.dotted": task}
    config = config.model_copy(update={"tasks": tasks, "keys": keys})
    table = build_table(config, {}, versions={"beta.secret@aaaaaaaaaaaa": True})
    acme = Principal("acme-1", frozenset({"acme.own"}), tenant="acme")
    said = set()
    for name in ("beta.secret", "beta.nobody"):
        with pytest.raises(ModelNotFound) as missing:
            permitted_route(table, acme, f"{name}{suffix}")
        said.add(missing.value.message.replace(name, "x"))
    assert len(said) == 1
    assert "beta" not in said.pop()
    with pytest.raises(Forbidden):  # no tenant's namespace: a name with a dot
        permitted_route(table, acme, "v1.dotted")
    beta = Principal("beta", frozenset({"beta.other"}), tenant="beta")
    with pytest.raises(Forbidden):  # its own tenant's, which it may see
        permitted_route(table, beta, "beta.secret")
