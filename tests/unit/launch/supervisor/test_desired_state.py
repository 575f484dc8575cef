"""What is wanted: the configuration first, over it what commands changed, and back again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from gateway.config.document import Config
from gateway.errors import ConfigError
from launch.adapters.versions import Version, Wanted
from launch.supervisor.database import StateStore
from launch.supervisor.desired_state import DesiredState
from tests.support.stack import config_of

NAMING = Wanted("naming", (Version("naming@1", "/n1", weight=100.0),))
OTHER = Wanted("naming", (Version("naming@2", "/n2", weight=100.0),), previous="naming@1")
CONFIGURED = {"naming": NAMING}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[StateStore]:
    with closing(StateStore(tmp_path)) as made:
        yield made


def desired_state(folder: Path, store: StateStore, config: Config | None = None) -> DesiredState:
    return DesiredState(config or config_of(folder), CONFIGURED, store)


def test_command_wins_until_it_is_reset_and_outlives_a_restart(tmp_path: Path, store: StateStore) -> None:
    made = desired_state(tmp_path, store)
    assert made.desired == CONFIGURED
    made.keep(OTHER)
    assert made.desired["naming"].versions[0].id == "naming@2"
    assert [version.id for version in made.by_command] == ["naming@2"]
    (change,) = made.diff()
    assert (change["configured"], change["previous"]) == (["naming@1"], "naming@1")
    assert desired_state(tmp_path, store).desired["naming"].versions == OTHER.versions
    made.reset("naming")
    assert (made.desired, made.diff()) == (CONFIGURED, [])
    assert desired_state(tmp_path, store).desired == CONFIGURED


def test_the_base_cannot_have_the_name_of_a_task_that_a_command_changed(
    tmp_path: Path, store: StateStore
) -> None:
    """Else gateways refuse each table, and serve by the last one of before."""
    made = desired_state(tmp_path, store)
    made.keep(Wanted("late", OTHER.versions))
    renamed = config_of(tmp_path, base="late")
    with pytest.raises(ConfigError, match="adapters remove late"):
        made.adopt(renamed, CONFIGURED)
    with pytest.raises(ConfigError, match=r"base\.name"):
        desired_state(tmp_path, store, renamed)
    made.remove("late")
    assert desired_state(tmp_path, store, renamed).models[0] == "late"


def test_what_the_configuration_says_anyway_is_no_change(tmp_path: Path, store: StateStore) -> None:
    made = desired_state(tmp_path, store)
    made.keep(OTHER)
    made.keep(NAMING)
    assert made.diff() == []


def test_what_the_configuration_says_since_is_no_change_either(tmp_path: Path, store: StateStore) -> None:
    made = desired_state(tmp_path, store)
    said = made.settings("naming", None)["system"]
    same = Wanted("naming", (Version("naming@2", "/n2", weight=100.0, settings={"system": said}),))
    made.keep(same)
    assert len(made.diff()) == 1
    made.adopt(config_of(tmp_path), {"naming": same})
    assert (made.diff(), made.desired) == ([], {"naming": same})
    made.remove("naming")
    made.adopt(config_of(tmp_path), {})
    assert (made.diff(), made.desired) == ([], {})
    made.adopt(config_of(tmp_path), CONFIGURED)  # what a command said still wins
    assert [change["wanted"] for change in made.diff()] == [None]


def test_task_is_removed_though_it_is_configured_and_one_by_command_is_forgotten(
    tmp_path: Path, store: StateStore
) -> None:
    made = desired_state(tmp_path, store)
    made.remove("naming")
    assert made.desired == {}
    assert [change["wanted"] for change in made.diff()] == [None]
    assert desired_state(tmp_path, store).desired == {}
    made.keep(Wanted("extra", (Version("extra@1", "/e"),)))
    made.remove("extra")
    assert [change["task"] for change in made.diff()] == ["naming"]
    made.keep(OTHER)  # it is wanted again
    assert "naming" in made.desired


def test_settings_of_a_command_stand_over_the_configurations(tmp_path: Path, store: StateStore) -> None:
    made = desired_state(tmp_path, store)
    settings = made.settings("naming", Version("naming@2", "/n2", settings={"system": "Other."}))
    assert (settings["system"], settings["defaults"]) == ("Other.", {"temperature": 0, "max_tokens": 24})
    assert made.settings("nobody", None) == {"adapter": ""}


def test_live_sections_alone_are_taken_over(tmp_path: Path, store: StateStore) -> None:
    made = desired_state(tmp_path, store)
    changed = config_of(tmp_path, max_in_flight=7)
    document = changed.model_dump(mode="json", by_alias=True)
    del document["tasks"]["concept"], document["pipelines"]["concept-naming"]
    made.adopt(Config.model_validate(document), {})
    assert "concept" not in made.config.tasks
    assert made.config.gateway.max_in_flight != 7
    assert made.desired == {}


def test_sections_that_do_not_go_with_the_rest_are_refused(tmp_path: Path, store: StateStore) -> None:
    document = config_of(tmp_path).model_dump(mode="json", by_alias=True)
    document["gateway"]["workers"] = 4
    made = desired_state(tmp_path, store, Config.model_validate(document))
    document["gateway"]["workers"] = 1  # at the next start
    document["tasks"]["naming"]["max_in_flight"] = 2
    with pytest.raises(ConfigError, match="2 cannot be shared by 4 workers"):
        made.adopt(Config.model_validate(document), {})
    assert made.desired == CONFIGURED
