"""Which route a key may take: its tasks', with every version of theirs, and no word of the others."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.admission.api_keys import Principal
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
