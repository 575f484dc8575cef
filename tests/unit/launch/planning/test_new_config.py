"""The text of a new configuration: what YAML reads of it is what was meant."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from launch.planning.new_config import LONG_CONTEXT, NewBase, NewTask, text_of


def read(
    base: NewBase, tasks: list[NewTask], target: Path = Path("/w/lora-gateway.yaml")
) -> dict[str, object]:
    found = yaml.safe_load(text_of(base, tasks, target))
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize(
    "name",
    [
        "owner/Model-1.5",
        "/path/with space",
        "./x",
        "yes",
        "null",
        "1e5",
        "12",
        "a: b",
        "${HOME}",
        "@x",
        "ü",
        "#x",
        "-",
    ],
)
def test_names_of_any_form_are_read_as_they_are(name: str) -> None:
    base = NewBase(name, "a test", None, None)
    assert read(base, [])["base"] == {"model": name}
    tasks = read(base, [NewTask(name, Path("/w") / "a", 8, 100)])["tasks"]
    assert tasks == {name: {"adapter": "./a"}}


def test_rank_and_adapters_are_written_where_they_are_known() -> None:
    tasks = [NewTask("a", Path("/w/a"), 8, 10), NewTask("b", Path("/elsewhere/b"), 16, 10)]
    document = read(NewBase("m", "x", 16, LONG_CONTEXT + 1), tasks)
    assert document["base"] == {
        "model": "m",
        "max_lora_rank": 16,
        "max_loras": 2,
        "max_model_len": LONG_CONTEXT,
    }
    assert document["tasks"] == {"a": {"adapter": "./a"}, "b": {"adapter": "/elsewhere/b"}}
    assert read(NewBase("m", "x", None, LONG_CONTEXT), [])["base"] == {"model": "m"}
